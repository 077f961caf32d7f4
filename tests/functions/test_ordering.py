"""Order along an axis, and elements by their places along one: what NumPy returns, or raises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chunkarr as ca
from chunkarr.array import picking
from chunkarr.functions import ordering
from chunkarr.ops import sorting
from chunkarr.plan import fetching
from tests.oracle import check, same
from tests.strategies import arrays, chunked, chunks_of, examples, numeric_dtypes, shapes


@pytest.fixture(params=["task", "scratch", "far"])
def way(request, monkeypatch):
    """Treat lines along the axis as too long for a task, and indices as too many for memory."""
    if request.param == "far":
        monkeypatch.setattr(picking, "HELD", 1 << 50)
        monkeypatch.setattr(fetching, "SLAB", 200)
    if request.param != "task":
        monkeypatch.setattr(ordering, "fits_a_task", lambda nodes, axis: False)
        monkeypatch.setattr(sorting, "LINE", 0)
        monkeypatch.setattr(sorting, "PIECE", 64)
    return request.param


@settings(max_examples=examples(15))
@given(x=arrays(numeric_dtypes(), shapes(3, 150)), data=st.data())
def test_partition(way, x, data):
    axis = data.draw(st.none() | st.integers(-x.ndim - 1, x.ndim))
    length = x.size if axis is None else max(x.shape, default=1)
    kth = data.draw(st.integers(-length - 1, length) | st.lists(st.integers(0, length), max_size=3))
    x = np.asarray(x + x.dtype.type(0), x.dtype)  # zeros of one sign
    a = chunked(x, data.draw(chunks_of(x.shape)))
    try:
        expected = np.partition(x, kth, axis)
    except Exception:  # noqa: BLE001 - the same is to be raised
        check(lambda: np.partition(a, kth, axis), lambda: np.partition(x, kth, axis))
        check(lambda: np.argpartition(a, kth, axis), lambda: np.argpartition(x, kth, axis))
        return
    line, at = (x.reshape(-1), 0) if axis is None else (x, axis)
    found = np.asarray(np.partition(a, kth, axis))
    places = np.asarray(np.argpartition(a, kth, axis))
    assert found.dtype == expected.dtype
    assert places.dtype == np.intp
    same(np.sort(found, at), np.sort(expected, at))
    same(np.sort(places, at), np.sort(np.argsort(line, at), at))
    if np.size(kth) and found.size:
        for way_there in (found, np.take_along_axis(line, places, at)):
            np.testing.assert_array_equal(np.take(way_there, kth, at), np.take(np.sort(line, at), kth, at))
            for k in np.atleast_1d(kth):
                head = np.take(way_there, range(k % line.shape[at] + 1), at)
                same(np.take(np.sort(head, at), [-1], at), np.take(np.sort(line, at), [k], at))


@settings(max_examples=examples(15))
@given(x=arrays(numeric_dtypes(), shapes(3, 60)), data=st.data())
def test_lexsort(way, x, data):
    a = chunked(x, data.draw(chunks_of(x.shape)))
    x = x.astype(x.dtype.newbyteorder("="))  # NumPy's lexsort misorders complex numbers of the other byte order
    axis = data.draw(st.integers(-x.ndim - 1, x.ndim))
    second = np.random.default_rng(7).integers(0, 3, x.shape)
    third = np.random.default_rng(8).integers(0, 2, x.shape)
    for ours, numpys in (((a,), (x,)), ((a, third, chunked(second)), (x, third, second)), (a, x)):
        check(lambda o=ours: np.lexsort(o, axis), lambda n=numpys: np.lexsort(n, axis))


def test_wrong_keys_of_lexsort():
    x = chunked(np.arange(3))
    for ours, numpys in (((), ()), ((x, [1, 2]), ([1, 2, 3], [1, 2]))):
        check(lambda o=ours: ca.lexsort(o), lambda n=numpys: np.lexsort(n))


@settings(max_examples=examples(15))
@given(x=arrays(numeric_dtypes(), shapes(3, 150)), data=st.data())
def test_sort_complex(x, data):
    x = np.asarray(x + x.dtype.type(0), x.dtype)  # zeros of one sign
    check(lambda: np.sort_complex(chunked(x, data.draw(chunks_of(x.shape)))), lambda: np.sort_complex(x))


@settings(max_examples=examples(25))
@given(x=arrays(shape=shapes(3, 150)), data=st.data())
def test_take_along_axis(way, x, data):
    a = chunked(x, data.draw(chunks_of(x.shape)))
    axis = data.draw(st.none() | st.integers(-x.ndim - 1, x.ndim))
    shape = [data.draw(st.sampled_from([n, n, n, 1])) for n in x.shape] if axis is not None else [5]
    if axis is not None and -x.ndim <= axis < x.ndim:
        shape[axis] = data.draw(st.integers(0, 6))
    n = max(1, x.size if axis is None or not -x.ndim <= axis < x.ndim else x.shape[axis])
    places = np.random.default_rng(2).integers(-n, n + data.draw(st.sampled_from([0, 0, 1])), shape)
    places = places.astype(data.draw(st.sampled_from(["i8", "i4", "i8", "f8"])))
    check(lambda: np.take_along_axis(a, chunked(places), axis), lambda: np.take_along_axis(x, places, axis))


@settings(max_examples=examples(12))
@given(x=arrays("i4", shapes(3, 60)), data=st.data())
def test_put_along_axis(tmp_path_factory, x, data):
    path = tmp_path_factory.mktemp("put") / "x.npy"
    np.save(path, x)
    axis = data.draw(st.none() | st.integers(0, max(0, x.ndim - 1)))
    shape = [5] if axis is None else list(x.shape)
    if axis is not None and x.ndim:
        shape[axis] = 2
    n = x.size if axis is None else x.shape[axis] if x.ndim else 0
    if not n or 0 in shape:
        return
    places = np.random.default_rng(3).integers(-n, n, shape)
    values = data.draw(st.sampled_from([7, np.arange(np.prod(shape)).reshape(shape)]))
    ca.put_along_axis(ca.open(path, "r+"), places, values, axis)
    np.put_along_axis(x, places, values, axis)
    same(np.load(path), x)


@pytest.mark.parametrize("suffix", [".npy", ".zarr"])
def test_partitioned_in_place(way, suffix, tmp_path):
    x = np.random.default_rng(0).random((30, 40))
    ca.save(tmp_path / f"x{suffix}", x)
    a = ca.open(tmp_path / f"x{suffix}", "r+")
    a.partition([7, 20], axis=0)
    found = ca.open(a.path).compute()
    ordered = np.sort(x, 0)
    same(np.sort(found, 0), ordered)
    same(found[[7, 20]], ordered[[7, 20]])
    same(np.sort(found[:8], 0), ordered[:8])
    a[3].partition(5)
    assert float(a[3, 5]) == np.sort(found[3])[5]
    with pytest.raises(ValueError, match="out of bounds"):
        a.partition(99)
    with pytest.raises(np.exceptions.AxisError):
        a.partition(0, axis=2)
    with pytest.raises(ValueError, match="read-only"):
        (a + 1).partition(0)


def test_methods_of_ndarray():
    x = np.random.default_rng(0).random(50)
    a, places = chunked(x, (7,)), np.argsort(x)
    same(a.searchsorted([0.2, 0.7], "right", places), x.searchsorted([0.2, 0.7], "right", places))
    same(np.sort(x[np.asarray(a.argpartition(9))[:10]]), np.sort(x)[:10])
