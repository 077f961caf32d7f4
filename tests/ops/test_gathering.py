"""Index arrays: lazily block by block, or collected in one pass; the same elements either way."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chunkarr as ca
from chunkarr.array import as_node
from chunkarr.ops import gathering
from chunkarr.ops.gathering import Gather, Indexed
from tests.oracle import check, same
from tests.strategies import advanced_keys, arrays, chunked, chunks_of, examples, shapes, stored

MIB = 2**20


@pytest.fixture(params=["lazy", "collected"])
def way(request, monkeypatch):
    """Let all results be computed in one way, however small."""
    if request.param == "collected":
        monkeypatch.setattr(gathering, "CELL", 0)
        monkeypatch.setattr(gathering, "PIECE", 7)
    return request.param


@pytest.mark.parametrize("collected", [False, True])
@settings(max_examples=examples(40))
@given(x=arrays(shape=shapes(4, 300)), data=st.data())
def test_elements_of_expressions(collected, x, data):
    key = data.draw(advanced_keys(x.shape))
    with pytest.MonkeyPatch.context() as patch:
        if collected:
            patch.setattr(gathering, "CELL", 0)
            patch.setattr(gathering, "PIECE", data.draw(st.integers(1, 50)))
        a = chunked(x, data.draw(chunks_of(x.shape)))
        # Flipped twice: an expression, of which no block is there without computing.
        check(lambda: ca.flip(ca.flip(a)[...])[key], lambda: np.asarray(x[key], x.dtype))
        check(lambda: a[key][..., None][::-1], lambda: np.asarray(x[key], x.dtype)[..., None][::-1])


def test_far_apart_elements_are_collected_and_near_ones_are_lazy(tmp_path):
    a = ca.zeros((4000, 4000))
    assert isinstance(as_node(a[[1, 2, 3]]).op, Gather)
    assert isinstance(as_node(a[[1, 3999, 2000]]).op, Indexed)
    rows = np.arange(0, 4000, 2)
    assert isinstance(as_node(a[rows]).op, Gather)
    assert isinstance(as_node(a[rows[::-1]]).op, Indexed)


def test_each_box_is_read_once(way, tmp_path):
    x = np.random.default_rng(1).normal(size=(400, 300))
    a = stored(x, tmp_path / "x.zarr", chunks=(50, 100), codec=None)
    rows = np.random.default_rng(2).permutation(100)
    part = a[rows]
    same(part, x[rows])
    assert part.plan().bytes_read <= 2 * 50 * 300 * 8 * (2 if way == "lazy" else 1)


def test_parts_of_what_was_collected_read_less(tmp_path, monkeypatch):
    monkeypatch.setattr(gathering, "CELL", 0)
    x = np.random.default_rng(1).normal(size=(4000, 300))
    a = stored(x, tmp_path / "x.npy")
    indices = np.arange(3999, -1, -1)
    assert a[indices][:10].plan().bytes_read < a.nbytes / 10
    same(a[indices][5:10, ::3], x[indices][5:10, ::3])


@pytest.mark.parametrize("suffix", ["npy", "zarr", "h5"])
def test_stored_arrays_and_what_is_computed_from_them(way, suffix, tmp_path):
    x = np.random.default_rng(3).normal(size=(60, 70, 5))
    options = {} if suffix == "npy" else {"chunks": (13, 20, 5)}
    a = stored(x, tmp_path / f"x.{suffix}", **options)
    i, j = np.random.default_rng(4).integers(-60, 60, (2, 9, 8))
    for key in (
        i,
        (i, j),
        (..., [0, 3, 3]),
        (slice(None, None, -3), j % 70),
        np.ix_(i[0], j[0], [1, 0]),
        (i, 2, j % 5),
    ):
        same(a[key], x[key])
        same((a + a)[key] * 2, (x + x)[key] * 2)
        same(a[key].max(axis=0), x[key].max(axis=0))
        same(ca.save(tmp_path / "y.npy", a[key], overwrite=True), x[key])
    same(a[i] + a[i][:, ::-1].sum() * 0, x[i])  # the same result for two readers


def test_what_lies_under_a_barrier_is_asked_for_what_is_read(way, tmp_path):
    x = np.random.default_rng(3).normal(size=(60, 70))
    a = stored(x, tmp_path / "x.zarr", chunks=(16, 16))
    rows, columns = np.array([30, 11, 12]), np.array([[40], [21]])
    moved = (a - ca.cumsum(a, axis=0)) * a[:, [33]]
    expected = (x - np.cumsum(x, axis=0)) * x[:, [33]]
    np.testing.assert_allclose(moved[rows, columns].compute(), expected[rows, columns], rtol=1e-12)
    np.testing.assert_allclose(moved[columns % 9, 3:50:4].sum().compute(), expected[columns % 9, 3:50:4].sum())


def test_structured_elements_keep_their_padding_and_fields(way, tmp_path):
    kind = np.dtype({"names": ["a", "b"], "formats": ["u1", "<f4"], "offsets": [0, 4], "itemsize": 12})
    x = np.zeros(50, kind)
    x["a"], x["b"] = np.arange(50), np.arange(50) / 2
    a = stored(x, tmp_path / "x.npy")
    same(a[[3, -1, 3]], x[[3, -1, 3]])
    same(a[x["a"] > 40]["b"], x[x["a"] > 40]["b"])
    same(a["b"][a["a"] < 5], x["b"][x["a"] < 5])


def test_arrays_are_keys(way):
    x = np.arange(20.0).reshape(4, 5)
    a = chunked(x, (2, 2))
    same(a[ca.asarray([1, -1])], x[[1, -1]])
    same(a[ca.asarray([1, -1]), ca.asarray(2)], x[[1, -1], 2])
    same(a[:, a[0] > 2], x[:, x[0] > 2])
    same(a[ca.asarray(True)], x[True])
    with pytest.raises(IndexError, match="must be of integer"):
        a[a]


def test_a_result_that_does_not_fit_goes_through_scratch(tmp_path):
    a = ca.ones((1 << 16, 64))  # 32 MiB
    rows = np.random.default_rng(0).permutation(1 << 16)
    with ca.config.set(memory=16 * MIB):
        assert float(a[rows].sum()) == 1 << 22
        assert float(a[rows][:100].sum()) == 6400
        with pytest.raises(ca.MemoryBudgetError, match="write them with"):
            a[rows].compute()


def test_rows_in_order_may_be_larger_than_memory(tmp_path):
    x = np.arange(1 << 22, dtype="f8").reshape(-1, 64)  # 32 MiB
    a = stored(x, tmp_path / "x.npy")
    rows = np.flatnonzero(np.arange(len(x)) % 5)
    with ca.config.set(memory=16 * MIB):
        picked = ca.save(tmp_path / "y.npy", a[rows])
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), x[rows])
    assert picked.shape == (len(rows), 64)
