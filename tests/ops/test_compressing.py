"""Masks as large as the array: counted, then read in boxes, or block by block for a result larger than memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chunkarr as ca
from chunkarr.array import as_node, picking
from chunkarr.grid import Grid
from chunkarr.ops import compressing, gathering
from chunkarr.ops.compressing import Hits, run_grid
from tests.oracle import check, same
from tests.strategies import arrays, chunked, chunks_of, examples, shapes, stored

MIB = 2**20
WAYS = ["collected", "streamed", "scratch"]


def _force(patch, way):
    """Let masks of any size be counted, and their results be computed in one way."""
    patch.setattr(picking, "LARGE", -1)
    if way != "collected":
        patch.setattr(compressing, "budget", lambda: 0)
    if way == "scratch":
        patch.setattr(compressing, "CELL", 0)


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    _force(monkeypatch, request.param)
    return request.param


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=examples(40))
@given(x=arrays(shape=shapes(3, 300)), data=st.data())
def test_masks_take_what_they_take_in_numpy(way, x, data):
    mask = np.random.default_rng(data.draw(st.integers(0, 99))).random(x.shape) < data.draw(
        st.sampled_from([0, 0.1, 1])
    )
    if mask.ndim > 1 and mask.shape[-1] and data.draw(st.booleans()):
        mask = np.asarray(mask[..., 0])
    with pytest.MonkeyPatch.context() as patch:
        _force(patch, way)
        patch.setattr(gathering, "PIECE", data.draw(st.integers(1, 40)))
        patch.setattr(compressing, "SHORT", data.draw(st.integers(1, 40)))
        patch.setattr(compressing, "BRIEF", data.draw(st.integers(0, 40)))
        a, keep = chunked(x, data.draw(chunks_of(x.shape))), chunked(mask, data.draw(chunks_of(mask.shape)))
        check(lambda: a[keep], lambda: x[mask])
        check(lambda: a[mask][1:5], lambda: x[mask][1:5])


@pytest.mark.parametrize("suffix", ["npy", "zarr"])
def test_stored_arrays_and_what_is_computed_from_them(way, suffix, tmp_path):
    x = np.random.default_rng(3).normal(size=(60, 70, 5))
    a = stored(x, tmp_path / f"x.{suffix}", **({} if suffix == "npy" else {"chunks": (13, 20, 5)}))
    same(a[a > 1], x[x > 1])
    same((a * 2)[a[..., 0] > 1][:, ::-1], (x * 2)[x[..., 0] > 1][:, ::-1])
    same(a[a > 1].max(), x[x > 1].max())
    same(a[np.abs(a) < 0.1] + a[np.abs(a) < 0.1], x[np.abs(x) < 0.1] * 2)
    same(ca.save(tmp_path / "y.npy", a[a < 0]), x[x < 0])
    same(a[a > 99], x[x > 99])


def test_a_mask_of_another_shape_is_refused(way):
    x = np.zeros((3, 4))
    for shape in [(4,), (3, 3), (3, 4, 1), (2,)]:
        mask = np.ones(shape, bool)
        check(lambda mask=mask: ca.asarray(x)[ca.asarray(mask)], lambda mask=mask: x[mask], message=True)


@given(shapes(3, 300).filter(lambda s: s and 0 not in s), st.data())
def test_runs_follow_one_another_in_c_order(shape, data):
    runs = run_grid(Grid(shape, data.draw(chunks_of(shape))))
    x = np.arange(np.prod(shape)).reshape(shape)
    found = [x[tuple(slice(a, b) for a, b in box)].ravel() for box in runs]
    np.testing.assert_array_equal(np.concatenate(found), x.ravel())
    hits = Hits.of(runs, np.array([len(f) for f in found]))
    first, last = sorted((data.draw(st.integers(0, runs.size - 1)), data.draw(st.integers(0, runs.size - 1))))
    start, stop = hits.stretch(first, last + 1)
    np.testing.assert_array_equal(np.concatenate(found[first : last + 1]), x.ravel()[start:stop])
    span = x[tuple(slice(a, b) for a, b in hits.span(first, last + 1))]
    assert set(x.ravel()[start:stop]) <= set(span.ravel())


def test_runs_are_few(monkeypatch):
    monkeypatch.setattr(compressing, "budget", lambda: 16 * MIB)
    for shape, steps in [((10**6, 4096), (100, 16)), ((10**9, 1), (1, 1)), ((300, 10**5, 3), (10, 10, 1))]:
        runs = run_grid(Grid(shape, steps))
        assert runs.size <= 32 << 10
        assert runs.size > 1


def test_boxes_without_a_hit_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(picking, "LARGE", -1)
    x = np.zeros((4000, 1000))
    x[3333, 77] = 1
    a = stored(x, tmp_path / "x.zarr", chunks=(400, 1000), codec=None)
    found = a[a == 1]
    assert found.plan().bytes_read < a.nbytes / 4
    assert found.tolist() == [1.0]


def test_results_larger_than_memory_are_streamed_or_go_to_scratch(tmp_path):
    x = np.random.default_rng(5).normal(size=(2048, 2048))  # 32 MiB
    x[500:1900] = 9  # of which nothing is taken: a gap
    a = stored(x, tmp_path / "x.zarr", chunks=(256, 256))
    with ca.config.set(memory=16 * MIB):
        some = a[a < 3]
        np.testing.assert_allclose(float(some.sum()), x[x < 3].sum())
        ca.save(tmp_path / "y.npy", some)
        assert some.plan().memory <= 16 * MIB
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), x[x < 3])


def test_a_source_that_changed_is_not_mixed(tmp_path):
    a = ca.open(ca.save(tmp_path / "x.npy", np.arange(2e6)).path, "r+")
    big = a[a > 5]
    assert as_node(big).shape == (2e6 - 6,)
    a[0] = 7
    with pytest.raises(ca.StaleExpressionError):
        big.compute()
    assert a[a > 5].shape == (2e6 - 5,)
