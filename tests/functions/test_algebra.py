"""Products against NumPy."""

from __future__ import annotations

from itertools import product as product_of

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chunkarr as ca
from chunkarr.functions import algebra
from tests.oracle import check, same
from tests.strategies import chunked, chunks_of, stored

SIDES = st.integers(0, 5)


@st.composite
def matrices(draw, shape):
    """Draw small integers in any dtype: their products are exact, in whatever order they are summed."""
    dtype = np.dtype(draw(st.sampled_from(["?", "i1", "<i4", ">i8", "<f4", ">f8", "F", "D"])))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    x = rng.integers(-3, 4, shape) * (1 + 1j if dtype.kind == "c" else 1)
    return np.asarray(x).astype(dtype)


def both(data, x):
    """Return ``x`` and its Array, cut at random."""
    return x, chunked(x, data.draw(chunks_of(x.shape)))


SHAPES = [
    ((3,), (3,)), ((4, 3), (3,)), ((3,), (3, 5)), ((4, 3), (3, 5)), ((2, 4, 3), (3, 5)), ((2, 4, 3), (2, 3, 5)),
    ((4, 3), (2, 3, 5)), ((2, 1, 4, 3), (5, 3, 2)), ((4, 0), (0, 3)), ((0, 3), (3, 2)), ((4, 3), (4, 3)), ((3,), (4,)),
    ((), (3,)), ((4, 3), ()), ((2, 4, 3), (3, 3, 5)), ((1, 1), (1, 1)),
]  # fmt: skip


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("function", [np.matmul, np.dot, np.inner, np.vdot, np.outer, np.vecdot, np.tensordot])
@given(st.data())
@settings(max_examples=4)
def test_products(function, shapes, data):
    x, a = both(data, data.draw(matrices(shapes[0])))
    y, b = both(data, data.draw(matrices(shapes[1])))
    check(lambda: function(a, b) + 0, lambda: function(x, y) + 0)  # of zeros, one sign
    check(lambda: function(a, y) + 0, lambda: function(x, y) + 0)


@pytest.mark.parametrize("shapes", [((2, 3), (2, 3)), ((4, 2, 3), (2, 3, 5)), ((3,), (4,))])
def test_dot_that_does_not_fit_says_what_numpy_says(shapes):
    x, y = (np.zeros(shape) for shape in shapes)
    check(lambda: np.dot(chunked(x), y), lambda: np.dot(x, y), message=True)
    check(lambda: chunked(x) @ y, lambda: x @ y, message=True)


@given(st.data())
@settings(max_examples=60)
def test_tensordot_over_any_axes(data):
    x, a = both(data, data.draw(matrices(tuple(data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))))))
    y, b = both(data, data.draw(matrices(tuple(data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))))))
    count = data.draw(st.integers(0, min(x.ndim, y.ndim)))
    left = data.draw(st.permutations(range(-x.ndim, 0)))[:count]
    right = data.draw(st.permutations(range(y.ndim)))[:count]
    for axes in ((left, right), count, (left[0], right[0]) if count else 0):
        check(lambda k=axes: np.tensordot(a, b, k) + 0, lambda k=axes: np.tensordot(x, y, k) + 0)


@given(st.data(), st.lists(SIDES, min_size=0, max_size=4), st.integers(-4, 4), st.integers(-3, 2), st.integers(-3, 2))
@settings(max_examples=100)
def test_diagonal_and_trace(data, sides, offset, one, other):
    x, a = both(data, data.draw(matrices(tuple(sides))))
    check(lambda: np.diagonal(a, offset, one, other), lambda: np.diagonal(x, offset, one, other))
    check(lambda: np.trace(a, offset, one, other) + 0, lambda: np.trace(x, offset, one, other) + 0)
    check(lambda: np.matrix_transpose(a), lambda: np.matrix_transpose(x))


def test_vectors_along_another_axis_and_out():
    x = np.arange(12.0).reshape(3, 4)
    a, out = chunked(x, 2), np.zeros((3, 3))
    same(np.vecdot(a, a * 2, axis=0), np.vecdot(x, x * 2, axis=0))
    assert algebra.matmul(a, a.T, out=out) is out
    same(out, x @ x.T)
    with pytest.raises(ValueError, match="read-only"):
        np.matmul(a, a.T, out=a)
    with pytest.raises(ValueError, match="shape"):
        np.dot(a, a.T, out=np.zeros(3))


def test_product_of_stored_matrices_within_a_small_budget(tmp_path):
    rng = np.random.default_rng(1)
    x, y = rng.integers(-9, 9, (700, 1100)).astype("f8"), rng.integers(-9, 9, (1100, 600)).astype("f8")
    a = stored(x, tmp_path / "x.zarr", chunks=(100, 300))
    b = stored(y, tmp_path / "y.npy")
    with ca.config.set(memory="12MiB"):
        product = a @ b
        assert product.plan().memory <= 12 * 2**20
        same(product[300:310, ::-7], (x @ y)[300:310, ::-7])
        same(product, x @ y)


@pytest.mark.parametrize("product", [lambda a: a @ a.T, lambda a: a.T @ a], ids=["rows", "columns"])
def test_bits_of_a_product_do_not_depend_on_budget_or_workers(tmp_path, product):
    x = np.random.default_rng(2).normal(size=(600, 900))
    a = stored(x, tmp_path / "x.zarr", chunks=(90, 200))
    bits = set()
    for memory, workers in product_of(("24MiB", "64MiB", "1GiB"), (1, 2, 3)):
        with ca.config.set(memory=memory, workers=workers):
            bits.add(product(a).compute().tobytes())
    assert len(bits) == 1
