"""Elements by index or condition, and the indices of elements: what NumPy returns, or raises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chunkarr as ca
from chunkarr.array import picking
from tests.oracle import check, same
from tests.strategies import arrays, chunked, chunks_of, examples, numeric_dtypes, shapes


@given(arrays(dtype=numeric_dtypes(), shape=shapes(3, 200)), st.data())
def test_take(x, data):
    a = chunked(x, data.draw(chunks_of(x.shape)))
    axis = data.draw(st.none() | st.integers(-x.ndim - 1, x.ndim))
    mode = data.draw(st.sampled_from(["raise", "raise", "wrap", "clip"]))
    shape = data.draw(st.sampled_from([(), (0,), (1,), (5,), (2, 3)]))
    n = max(1, x.size if axis is None else max(x.shape, default=1))
    values = np.random.default_rng(data.draw(st.integers(0, 99))).integers(-n, n + data.draw(st.integers(0, 1)), shape)
    indices = data.draw(st.sampled_from([values, values.tolist(), values.astype("i2"), values.astype("f8")]))
    check(
        lambda: np.take(a, indices, axis, mode=mode), lambda: np.asarray(np.take(x, indices, axis, mode=mode), x.dtype)
    )


@given(arrays(dtype=numeric_dtypes(), shape=shapes(3, 200)), st.data())
def test_compress(x, data):
    a = chunked(x, data.draw(chunks_of(x.shape)))
    axis = data.draw(st.none() | st.integers(-x.ndim - 1, x.ndim))
    length = data.draw(st.integers(0, 1 + max(x.shape, default=1)))
    condition = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, 3, length)
    check(lambda: np.compress(condition, a, axis), lambda: np.compress(condition, x, axis))
    check(lambda: a.compress(ca.asarray(condition) > 0, axis), lambda: x.compress(condition > 0, axis))


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0), (0, 0, 3), (0,)])
@pytest.mark.parametrize("mode", ["raise", "clip"])  # with "wrap" NumPy itself never returns
def test_indices_of_nothing_are_looked_at_where_numpy_does(shape, mode):
    x = np.zeros(shape)
    a = chunked(x, tuple(max(1, n) for n in shape))
    for axis in (None, *range(x.ndim)):
        for indices in ([], [0], [5], [[1, -9]]):
            check(lambda i=indices, k=axis: a.take(i, k, mode=mode), lambda i=indices, k=axis: x.take(i, k, mode=mode))


@pytest.mark.parametrize("large", [False, True])
@settings(max_examples=examples(40))
@given(x=arrays(dtype=numeric_dtypes(), shape=shapes(3, 200)), data=st.data())
def test_where_elements_are_not_zero(large, x, data):
    with pytest.MonkeyPatch.context() as patch:
        if large:
            patch.setattr(picking, "LARGE", 0)
        a = chunked(x, data.draw(chunks_of(x.shape)))
        for function in (np.nonzero, np.flatnonzero, np.argwhere, np.where):
            check(lambda f=function: f(a), lambda f=function: f(x))
        check(lambda: np.extract(a > 1, a), lambda: np.extract(x > 1, x))
        check(lambda: np.extract(a, a[..., None]), lambda: np.extract(x, x[..., None]))


def test_results_go_into_an_ndarray():
    x = np.arange(10.0)
    out = np.empty(3)
    assert ca.take(chunked(x), [1, 2, 5], out=out) is out
    assert out.tolist() == [1, 2, 5]
    ca.compress([0, 1, 0, 1, 0, 1], chunked(x), out=out)
    assert out.tolist() == [1, 3, 5]


@pytest.mark.parametrize("wrong", [([[1]],), ([1.5],), (["a"],), ([True], None, None, "sideways"), ([99],), ([-99],)])
def test_wrong_arguments_raise_what_numpy_raises(wrong):
    x = np.arange(4)
    check(lambda: np.take(chunked(x), *wrong), lambda: np.take(x, *wrong), message=wrong[0] in ([99], [-99]))


@pytest.mark.parametrize("large", [False, True])
def test_text_and_records_are_zero_where_numpy_says_so(large, monkeypatch):
    if large:
        monkeypatch.setattr(picking, "LARGE", 0)
    records = np.zeros(6, [("a", "f4"), ("b", [("c", ">i2", (2,)), ("d", "S1")])])
    records["a"][1], records["b"]["c"][3], records["b"]["d"][4] = np.nan, [0, 256], "x"
    for x in (np.array([["a", "", "0"], ["", " ", "b"]]), np.array([b"", b"x"]), records, records.view("V9")):
        a = chunked(x, (2,) * x.ndim)
        for function in (np.nonzero, np.flatnonzero, np.argwhere, np.where, lambda y: y[y.nonzero()]):
            check(lambda f=function, a=a: f(a), lambda f=function, x=x: f(x))
    same(np.flatnonzero(ca.asarray("a")), np.flatnonzero("a"))


def test_conditions_of_two_axes_are_refused():
    x = np.arange(4)
    check(lambda: np.compress([[1]], chunked(x)), lambda: np.compress([[1]], x), message=True)
    with pytest.raises(TypeError, match=r"chunkarr\.take"):
        chunked(x).take([1], out=np.empty(1))
    same(chunked(x).take([1, 1]), x.take([1, 1]))
