"""Arrays made from formulas: NumPy's values, dtypes and errors, and no memory."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chunkarr as ca
from tests.oracle import check, same
from tests.strategies import arrays, chunked, dtypes, shapes

NUMBERS = st.integers(-50, 50) | st.floats(-50, 50, allow_nan=False, allow_subnormal=False)
KINDS = st.none() | st.sampled_from(["i4", "u1", ">i2", "f4", ">f8", "f2", "?"])


@given(NUMBERS, st.none() | NUMBERS, st.sampled_from([1, 2, -3, 0.5, -0.25, 7, 0.3]), KINDS)
def test_arange_is_numpys(start, stop, step, dtype):
    check(lambda: ca.arange(start, stop, step, dtype), lambda: np.arange(start, stop, step, dtype))


@given(NUMBERS, NUMBERS, st.integers(-1, 40), st.booleans(), KINDS)
def test_linspace_is_numpys(start, stop, num, endpoint, dtype):
    check(
        lambda: ca.linspace(start, stop, num, endpoint, dtype=dtype),
        lambda: np.linspace(start, stop, num, endpoint, dtype=dtype),
    )


@pytest.mark.parametrize(("num", "endpoint"), [(0, True), (1, True), (1, False), (2, True), (5, False)])
def test_linspace_gives_the_spacing(num, endpoint):
    line, step = ca.linspace(2, 3, num, endpoint, retstep=True)
    theirs, expected = np.linspace(2, 3, num, endpoint, retstep=True)
    same(line, theirs)
    np.testing.assert_equal(step, expected)


@given(shapes(), dtypes(), st.sampled_from(["zeros", "ones", "empty"]))
def test_constants_are_numpys(shape, dtype, name):
    numpys = np.zeros if name == "empty" else getattr(np, name)
    check(lambda: getattr(ca, name)(shape, dtype), lambda: numpys(shape, dtype))
    check(lambda: getattr(ca, name)(shape), lambda: numpys(shape))


@given(arrays(), st.none() | dtypes(), st.none() | st.just((2, 1)), st.sampled_from(["zeros", "ones", "full"]))
def test_likes_are_numpys(x, dtype, shape, name):
    value = () if name != "full" else (1,)
    for module in (ca, np):
        check(
            lambda module=module: getattr(module, name + "_like")(chunked(x), *value, dtype=dtype, shape=shape),
            lambda: getattr(np, name + "_like")(x, *value, dtype=dtype, shape=shape),
        )


FILLS = [3, 2.5, True, 1j, "ab", b"x", np.float32(2), [1, 2, 3], [[1.5], [2]], 300, float("nan")]


@given(st.sampled_from([(2, 3), (3,), (), (0, 3), 4, (2, -1)]), st.sampled_from(FILLS), KINDS)
def test_full_is_numpys(shape, value, dtype):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", np.exceptions.ComplexWarning)
        check(lambda: ca.full(shape, value, dtype), lambda: np.full(shape, value, dtype))


@given(st.integers(-1, 6), st.none() | st.integers(0, 6), st.integers(-8, 8), KINDS)
def test_diagonals_are_numpys(n, m, k, dtype):
    kind = float if dtype is None else dtype
    check(lambda: ca.eye(n, m, k, kind), lambda: np.eye(n, m, k, kind))
    check(lambda: ca.tri(max(n, 0), m, k, kind), lambda: np.tri(max(n, 0), m, k, kind))
    check(lambda: ca.identity(n, dtype), lambda: np.identity(n, dtype))


@given(arrays(dtype=st.sampled_from(["<i4", ">f8", "?", "c8"]), shape=shapes(3, 100)), st.integers(-4, 4))
def test_triangles_are_numpys(x, k):
    for name in ("tril", "triu"):
        check(lambda name=name: getattr(ca, name)(chunked(x), k), lambda name=name: getattr(np, name)(x, k))


@given(shapes(3, 300), st.sampled_from([int, "u1", ">f4"]), st.booleans())
def test_indices_are_numpys(shape, dtype, sparse):
    check(lambda: ca.indices(shape, dtype, sparse), lambda: np.indices(shape, dtype, sparse))


@given(st.lists(arrays(dtype=st.sampled_from(["<i4", ">f8"]), shape=shapes(1, 6)), max_size=3), st.data())
def test_meshgrid_is_numpys(lines, data):
    options = {"sparse": data.draw(st.booleans()), "indexing": data.draw(st.sampled_from(["xy", "ij", "zz"]))}
    check(
        lambda: ca.meshgrid(*map(chunked, lines), **options),
        lambda: np.meshgrid(*lines, **options),
    )


def test_fromfunction_calls_once_with_lazy_indices():
    calls = []

    def function(i, j, scale):
        calls.append((i, j))
        return (i - j) * scale

    same(ca.fromfunction(function, (3, 4), scale=2), np.fromfunction(lambda i, j: (i - j) * 2, (3, 4)))
    assert [type(i) for i in calls[0]] == [ca.Array, ca.Array]
    assert len(calls) == 1


def test_formulas_of_any_size_take_no_memory():
    huge = ca.arange(10**15)
    assert huge[123 * 10**12].item() == 123 * 10**12
    assert ca.linspace(0, 1, 10**12)[-1].item() == 1.0
    assert ca.zeros((10**6, 10**6))[5, 5].item() == 0
    assert ca.eye(10**7)[10**6 : 10**6 + 2, 10**6].tolist() == [1.0, 0.0]
    assert ca.indices((10**6, 10**6))[1, 7, 10**5].item() == 10**5
    with pytest.raises(ca.MemoryBudgetError, match="the budget allows"):
        huge.compute()


def test_what_is_not_supported_says_so():
    for refused in (
        lambda: ca.linspace([0, 1], 1),
        lambda: ca.zeros(3, object),
        lambda: ca.full(3, None),
        lambda: ca.arange(np.datetime64("2020"), np.datetime64("2021")),
    ):
        with pytest.raises(ca.UnsupportedError):
            refused()
    with pytest.raises(ValueError, match="cpu"):
        ca.zeros(3, device="gpu")
    with pytest.raises(ZeroDivisionError):
        ca.arange(0, 5, 0)
