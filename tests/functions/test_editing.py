"""insert and delete against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chunkarr as ca
from tests.oracle import check
from tests.strategies import arrays, chunked, chunks_of, numeric_dtypes, shapes


def places(n):
    """Draw what names indices of an axis of ``n``: rightly, and wrongly now and then."""
    bound = st.none() | st.integers(-n - 1, n + 1)
    index = st.integers(-n, max(0, n - 1))
    return st.one_of(
        index,
        st.integers(-n - 2, n + 2),
        st.builds(slice, bound, bound, st.sampled_from([None, 1, 2, 3, -1, -2])),
        st.lists(index, max_size=5),
        st.lists(index, max_size=5).map(lambda v: np.array(v, ">i4")),
        st.lists(st.booleans(), min_size=n, max_size=n).map(np.array),
        st.sampled_from([[1.5, 2.5], [[0], [0]], np.zeros((2, 2), bool), np.array([], "f8")]),
    )


def axis_of(data, x):
    axis = data.draw(st.none() | st.integers(-x.ndim - 1, x.ndim))
    inside = axis is not None and -x.ndim <= axis < x.ndim
    return axis, x.shape[axis] if inside else x.size


@given(arrays(shape=shapes(3, 100)), st.data())
def test_delete_is_numpys(x, data):
    axis, n = axis_of(data, x)
    obj = data.draw(places(n))
    a = chunked(x, data.draw(chunks_of(x.shape)))
    check(lambda: np.delete(a, obj, axis), lambda: np.delete(x, obj, axis))


@given(arrays(dtype=numeric_dtypes(), shape=shapes(3, 100)), st.data())
@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::numpy.exceptions.ComplexWarning")
def test_insert_is_numpys(x, data):
    axis, n = axis_of(data, x)
    obj = data.draw(places(n))
    if not isinstance(obj, slice):
        low = np.array(obj, "f8").min(initial=0)
        obj = obj if low >= -n else 0  # NumPy takes some indices before the first one as if they were at the end
    a = chunked(x, data.draw(chunks_of(x.shape)))
    values = data.draw(st.one_of(st.sampled_from([0, True, [1], [1, 2]]), arrays(dtype="f4", shape=shapes(2, 6))))
    check(lambda: np.insert(a, obj, values, axis), lambda: np.insert(x, obj, values, axis))


@pytest.mark.parametrize("extent", [(0, 0), (2, 0), (0, 2), (3,), (0, 3, 0), (1, 0, 0), (), (1,), (2, 3, 1, 2)])
def test_values_of_any_number_of_axes_may_be_put_nowhere(extent):
    values = np.zeros(extent)
    for x, axis in ((np.array(True), None), (np.arange(6).reshape(2, 3), 0), (np.arange(6).reshape(2, 3), 1)):
        for obj in ([], slice(0, 0), np.zeros(3, bool)[: x.shape[axis] if axis is not None else x.size]):
            check(lambda x=x, k=axis, o=obj: np.insert(chunked(x), o, values, k),
                  lambda x=x, k=axis, o=obj: np.insert(x, o, values, k))  # fmt: skip


def test_what_is_edited_is_read_once(tmp_path):
    x = np.arange(60_000.0).reshape(300, 200)
    a = ca.save(tmp_path / "x.zarr", x, chunks=(50, 50))
    removed = np.delete(a, [3, 250], axis=0)
    merged = np.insert(a, [7, 7, 200], a[:3], axis=0)
    assert removed.plan().bytes_read <= 1.2 * x.nbytes
    assert merged.plan().bytes_read <= 1.3 * x.nbytes
    np.testing.assert_array_equal(removed, np.delete(x, [3, 250], axis=0))
    np.testing.assert_array_equal(merged, np.insert(x, [7, 7, 200], x[:3], axis=0))
