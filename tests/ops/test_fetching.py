"""Index arrays larger than memory, of any order: fetched through scratch, equal to NumPy's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chunkarr as ca
from chunkarr.array import picking
from chunkarr.ops import sorting
from chunkarr.plan import fetching
from tests.strategies import examples

PADDED = np.dtype({"names": ["a", "b"], "formats": ["u1", ">f4"], "offsets": [1, 4], "itemsize": 12})
DTYPES = ["f8", ">i2", "?", "c16", "S3", "<M8[s]", "U2", PADDED]


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every index array be larger than memory, and blocks, slabs and pieces be of a few rows."""
    monkeypatch.setattr(picking, "HELD", 1 << 50)
    monkeypatch.setattr(sorting, "PIECE", 256)
    monkeypatch.setattr(fetching, "SLAB", 200)
    monkeypatch.setattr(fetching, "STEP", 5)


def _values(shape: tuple[int, ...], dtype: Any) -> Any:
    size = int(np.prod(shape))
    kind = np.dtype(dtype)
    raw = np.random.default_rng(size).integers(0, 2 if kind.kind == "?" else 100, size * kind.itemsize, np.uint8)
    return raw.view(kind).reshape(shape) if kind.kind != "U" else raw[:size].astype("U2").reshape(shape)


def _same(got: Any, expected: Any) -> None:
    assert got.shape == expected.shape
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got.compute(), expected)


@settings(max_examples=examples(20))
@given(st.data())
def test_rows_are_those_of_numpy(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 60), min_size=1, max_size=3)))
    values = _values(shape, data.draw(st.sampled_from(DTYPES)))
    a = ca.asarray(values, tuple(data.draw(st.integers(1, n)) for n in shape))
    axis = data.draw(st.integers(0, len(shape) - 1))
    extent = tuple(data.draw(st.lists(st.integers(1, 40), min_size=1, max_size=2)))
    seed = data.draw(st.integers(0, 99))
    kind = data.draw(st.sampled_from(["i8", "i2", ">i4", "u1"]))
    low = 0 if kind == "u1" else -shape[axis]
    places = np.random.default_rng(seed).integers(low, shape[axis], extent).astype(kind)
    key = (*(data.draw(st.sampled_from([slice(None), slice(None, None, -2), 0])) for _ in range(axis)),)
    lazy = ca.asarray(places, data.draw(st.integers(1, 9)))
    _same(a[(*key, lazy)], values[(*key, places)])
    part = data.draw(st.integers(0, extent[0] - 1))
    _same(a[(*key, lazy)][..., part:], values[(*key, places)][..., part:])


@pytest.mark.parametrize("kind", ["one", "ascending", "descending", "shuffled"])
def test_every_order_of_indices_is_fetched(kind: str) -> None:
    values = np.arange(3000) ** 2
    places = {
        "one": np.full(2000, 1234),
        "ascending": np.arange(3000),
        "descending": np.arange(3000)[::-1],
        "shuffled": np.random.default_rng(1).permutation(3000),
    }[kind]
    _same(ca.asarray(values, 100)[ca.asarray(places, 333)], values[places])


def test_several_index_arrays_and_new_axes_stand_where_numpy_puts_them() -> None:
    values = np.arange(5 * 6 * 7).reshape(5, 6, 7)
    a = ca.asarray(values, (2, 3, 7))
    i, j = np.array([[4], [-1], [0]]), np.array([1, 0, -6, 5])
    x, y = ca.asarray(i), ca.asarray(j)
    _same(a[x, y], values[i, j])
    _same(a[x, :, y], values[i, :, j])
    _same(a[:, y, x], values[:, j, i])
    _same(a[None, x, ..., 3], values[None, i, ..., 3])
    _same(a[[1, 2, 0, 4], ..., y], values[[1, 2, 0, 4], ..., j])
    _same(a[2:0:-1, y, None], values[2:0:-1, j, None])


@pytest.mark.parametrize("mode", ["raise", "wrap", "clip"])
def test_take_has_its_modes(mode: Any) -> None:
    values = np.arange(20).reshape(4, 5)
    places = np.array([3, -1, 2, 0]) if mode == "raise" else np.array([30, -1, 2, -70])
    _same(ca.asarray(values).take(ca.asarray(places), 1, mode=mode), values.take(places, 1, mode=mode))
    _same(ca.take(ca.asarray(values), ca.asarray(places), mode=mode), values.take(places, mode=mode))


@pytest.mark.parametrize("wrong", [5, -6, 1 << 40])
def test_indices_out_of_bounds_are_refused_when_they_are_met(wrong: int) -> None:
    values = np.zeros((3, 5))
    with pytest.raises(IndexError) as expected:
        values[:, np.array([0, wrong])]
    with pytest.raises(IndexError) as error:
        ca.asarray(values)[:, ca.asarray([0, wrong])].compute()
    assert str(error.value) == str(expected.value)


def test_masks_and_floats_are_refused_beside_large_indices() -> None:
    a = ca.asarray(np.zeros((4, 5)))
    with pytest.raises(ca.UnsupportedError, match="nonzero"):
        a[ca.asarray([0, 1]), np.ones(5, bool)]
    with pytest.raises(IndexError, match="integer"):
        a[ca.asarray([0, 1]), ca.asarray([0.0, 1.0])]


def test_a_table_is_sorted_by_one_of_its_columns() -> None:
    values = np.random.default_rng(0).integers(0, 50, (700, 3))
    a = ca.asarray(values, (90, 3))
    _same(a[a[:, 1].argsort(kind="stable")], values[values[:, 1].argsort(kind="stable")])


def test_rows_too_wide_for_a_task_are_fetched_in_parts() -> None:
    values = np.arange(40 * 3000.0).reshape(40, 3000)
    places = np.random.default_rng(0).permutation(40)
    with ca.config.set(memory="256KiB", workers=2):
        _same(ca.asarray(values, (5, 500))[ca.asarray(places)][:4], values[places][:4])


def test_results_beyond_the_budget_are_saved(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    rng = np.random.default_rng(0)
    values, places = rng.standard_normal(300_000), rng.integers(-300_000, 300_000, 400_000)
    np.save(tmp_path / "a.npy", values)
    np.save(tmp_path / "i.npy", places)
    with ca.config.set(memory="1MiB"):
        result = ca.open(tmp_path / "a.npy")[ca.open(tmp_path / "i.npy")]
        plan = result.plan()
        assert plan.memory <= 1 << 20
        assert plan.scratch >= 400_000 * 16
        ca.save(tmp_path / "b.npy", result)
    np.testing.assert_array_equal(np.load(tmp_path / "b.npy"), values[places])


def test_index_arrays_in_memory_may_select_more_than_fits(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    values = np.random.default_rng(0).integers(0, 99, (3000, 400))
    places = np.random.default_rng(1).permutation(3000)
    np.save(tmp_path / "a.npy", values)
    with ca.config.set(memory="4MiB"):
        a = ca.open(tmp_path / "a.npy")
        ca.save(tmp_path / "b.npy", a[places])
        ca.save(tmp_path / "c.npy", a[np.ix_(places, places[places < 400])])
    np.testing.assert_array_equal(np.load(tmp_path / "b.npy"), values[places])
    np.testing.assert_array_equal(np.load(tmp_path / "c.npy"), values[np.ix_(places, places[places < 400])])


def test_routes_that_do_not_fit_the_budget_are_refused() -> None:
    with ca.config.set(memory="64KiB"), pytest.raises(ca.MemoryBudgetError, match="part of the indices"):
        ca.arange(1 << 24)[ca.arange(1 << 24)].plan()
