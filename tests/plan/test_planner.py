"""What the planner promises before anything is read: memory, tasks, passes, cuts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chunkarr as ca
from chunkarr import engine
from chunkarr.array import as_node, wrap
from chunkarr.formats.contract import Stored
from chunkarr.functions import accumulating, reducing  # noqa: F401  # register what NumPy's functions do
from chunkarr.grid import Grid, region_size
from chunkarr.ops.sources import load

MIB = 2**20


class Unread(Stored):
    """A stored array of any size that counts what is read of it: zeros."""

    def __init__(self, shape, chunks, dtype="f8", *, readable=False):
        self.shape, self.dtype, self.grid = shape, np.dtype(dtype), Grid(shape, chunks)
        self.contiguous, self.format, self.path = False, "test", "unread"
        self.readable, self.seen = readable, 0

    def read(self, region, out, scratch):
        assert self.readable, "read before the plan was accepted"
        self.seen += self.bytes_read(region)
        out[...] = 0

    def scratch_bytes(self, region):
        return 0

    def bytes_read(self, region):
        return region_size(self.grid.round_out(region)) * self.dtype.itemsize

    def generation(self):
        return 0


def unread(shape, chunks, dtype="f8", **options):
    """Return an Array of a source that must not be read, and the source."""
    source = Unread(shape, chunks, dtype, **options)
    return wrap(load(source)), source


def test_hundred_thousand_chunks_are_few_tasks():
    a, source = unread((100_000, 4000), (1, 4000))
    plan = np.sum(np.sqrt(a * a + 1)).plan()
    assert plan.tasks <= 1000
    assert plan.bytes_read == a.nbytes
    assert plan.passes == 1
    assert np.mean(a, axis=0).plan().tasks <= 1000
    assert source.seen == 0


@pytest.mark.parametrize("chunks", [(16, 1000), (1000, 16), (100, 100)])
def test_several_results_are_one_pass(chunks):
    a, source = unread((2000, 1000), chunks, readable=True)
    results = (np.min(a), np.max(a), np.mean(a), np.std(a))
    plan = engine.make_plan([as_node(r) for r in results])
    assert plan.passes == 1
    assert plan.bytes_read == a.nbytes
    assert [float(v) for v in ca.compute(*results)] == [0, 0, 0, 0]
    assert source.seen == a.nbytes


def test_a_transpose_over_row_chunks_is_cut_through_scratch():
    a, _ = unread((8000, 8000), (100, 8000))
    with ca.config.set(memory="64MiB"):
        plan = wrap(as_node(np.sum(a + a.T, axis=0))).plan()
        assert plan.scratch >= a.nbytes
        assert any("copy" in stage.label for stage in plan.stages)
        assert plan.bytes_read <= 3 * a.nbytes
        assert "scratch" in str(plan)
        assert (a + 1).sum().plan().scratch == 0


def test_centring_reads_twice_and_copies_nothing():
    a, _ = unread((100_000, 500), (1000, 500))
    with ca.config.set(memory="64MiB"):
        plan = np.abs(a - a.mean(axis=0)).max().plan()
    assert plan.passes == 2
    assert plan.bytes_read == 2 * a.nbytes
    assert plan.scratch == 0


def test_what_cannot_fit_is_refused_before_anything_is_read():
    a, source = unread((40_000, 40_000), (40_000, 1000))  # a chunk takes 305 MiB
    with ca.config.set(memory="64MiB"):
        for refused in (a.sum().compute, a.compute, a.sum().plan, (a + 1).compute):
            with pytest.raises(ca.MemoryBudgetError, match=r"allows 64(\.0)? MiB"):
                refused()
    assert source.seen == 0


def test_a_slice_reads_its_own_chunks():
    a, source = unread((10_000, 100), (100, 100), readable=True)
    assert np.mean(a, axis=1)[150:160].plan().bytes_read == 100 * 100 * 8
    np.mean(a[::-1] * 2, axis=1)[150:160].compute()
    assert source.seen == 100 * 100 * 8


def test_ten_thousand_calls_and_forty_doublings_read_once():
    a, source = unread((1000, 1000), (100, 1000), readable=True)
    chain = doubled = a
    for _ in range(10_000):
        chain = chain + 1
    for _ in range(40):
        doubled = doubled + doubled
    assert chain.plan().bytes_read == doubled.plan().bytes_read == a.nbytes
    assert float(chain[5, 5]) == 10_000
    source.seen = 0
    assert float(np.max(doubled + 1)) == 1
    assert source.seen == a.nbytes


# --- random expressions and budgets -------------------------------------------------------------

STEPS = {
    "add": lambda a, k: a + k,
    "own transpose": lambda a, _: a + a.transpose() if a.ndim == 2 and a.shape[0] == a.shape[1] else a,
    "transpose": lambda a, _: a.transpose(),
    "reverse": lambda a, _: a[::-1],
    "every other": lambda a, _: a[..., ::2] if a.ndim and a.shape[-1] > 1 else a,
    "centre": lambda a, k: a - np.mean(a, axis=k % a.ndim, keepdims=True) if a.ndim else a,
    "flatten": lambda a, _: a.reshape(-1),
    "sum": lambda a, k: np.sum(a, axis=k % a.ndim) if a.ndim > 1 else a,
    "scan": lambda a, k: np.cumsum(a, axis=k % a.ndim) if a.ndim else a,
    "mask": lambda a, _: np.add(a, 1, where=a > 0),
    "narrow": lambda a, _: a.astype("f4"),
}


@st.composite
def expressions(draw):
    """Draw an expression of a large source that is never read."""
    shape = draw(st.sampled_from([(10**7,), (3000, 3000), (64, 500, 700), (5, 10**6), (10**6, 5)]))
    chunks = tuple(draw(st.integers(max(1, n // 50), max(1, n // 2))) for n in shape)
    while np.prod(chunks) * 8 > MIB:
        chunks = tuple(-(-c // 2) for c in chunks)
    a, _ = unread(shape, chunks, draw(st.sampled_from(["f8", "u2", ">i4"])))
    names = draw(st.lists(st.sampled_from(list(STEPS)), min_size=1, max_size=5))
    for name in names:
        a = STEPS[name](a, draw(st.integers(0, 2)))
    return names, np.max(a) if draw(st.booleans()) else a


@given(expressions(), st.sampled_from(["8MiB", "24MiB", "64MiB", "256MiB", "1GiB"]), st.integers(1, 4))
@settings(max_examples=40)
def test_planned_memory_is_within_the_budget(expression, memory, workers):
    _, a = expression
    with ca.config.set(memory=memory, workers=workers):
        try:
            plan = a.plan()
        except ca.MemoryBudgetError as refusal:
            assert "budget allows" in str(refusal) or "allow" in str(refusal)  # noqa: PT017
            return
    assert 0 < plan.memory <= plan.budget
    assert plan.tasks <= 1000 * len(plan.stages)
    assert plan.scratch >= 0
    assert all(stage.workers <= workers for stage in plan.stages)


@given(st.sampled_from(["8MiB", "16MiB", "64MiB"]), st.integers(1, 3), st.integers(0, 2**16))
@settings(max_examples=10)
def test_values_do_not_depend_on_the_plan(memory, workers, seed):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 100, (300, 300)).astype("f8")
    a = ca.asarray(x, chunks=(int(rng.integers(1, 40)) + 5, int(rng.integers(1, 300)) + 10))
    with ca.config.set(memory=memory, workers=workers):
        got = ((a + a.T)[::-2].cumsum(axis=0) - a.mean(axis=0)).compute()
    np.testing.assert_allclose(got, (x + x.T)[::-2].cumsum(axis=0) - x.mean(axis=0), rtol=1e-12)
