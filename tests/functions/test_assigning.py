"""put, putmask, place, copyto, ufunc.at and out= on stored arrays, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chunkarr as ca
from tests.oracle import same
from tests.strategies import advanced_keys, arrays, basic_keys, chunked, chunks_of, numeric_dtypes, shapes
from tests.updating import QUIET, agree, changeable

SMALL = shapes(3, 80)
NUMBERS = st.sampled_from(["u1", "<i4", ">f4", "c8", "?"]).map(np.dtype)


def numbers(shape=None):
    return arrays(dtype=numeric_dtypes(), shape=SMALL if shape is None else shape)


def either(data, values):
    """Return values, or the Array of them."""
    lazy = isinstance(values, np.ndarray) and data.draw(st.booleans())
    return chunked(values) if lazy else values


@QUIET
@given(numbers(), st.data())
def test_put_is_numpys(x, data):
    n = x.size
    ind = data.draw(
        st.lists(st.integers(-n - 1, n), max_size=6) | st.integers(-n - 1, n) | st.sampled_from([[1.5], np.ones(2)])
    )
    v = data.draw(st.one_of(st.sampled_from([3, 300, [], [1, 2]]), numbers(st.sampled_from([(3,), (2, 2)]))))
    mode = data.draw(st.sampled_from(["raise", "wrap", "clip", "no"]))
    ours = either(data, v)
    agree(
        x,
        data.draw(st.none() | chunks_of(x.shape)),
        lambda a: np.put(a, ind, ours, mode),
        lambda y: np.put(y, ind, v, mode),
        also=(IndexError, TypeError, ValueError, OverflowError),
    )


@QUIET
@given(numbers(), st.data())
def test_putmask_is_numpys(x, data):
    shape = data.draw(st.sampled_from([x.shape, (x.size,), (x.size + 1,)]))
    mask = data.draw(arrays(dtype=st.sampled_from(["?", "u1"]), shape=shape))
    values = data.draw(st.one_of(st.sampled_from([3, [], [1, 2]]), numbers(st.sampled_from([x.shape, (5,), (1, 1)]))))
    ours = either(data, values)
    agree(
        x,
        data.draw(st.none() | chunks_of(x.shape)),
        lambda a: np.putmask(a, mask, ours),
        lambda y: np.putmask(y, mask, values),
        large=data.draw(st.booleans()),
    )


@QUIET
@given(numbers(), st.data())
def test_place_is_numpys(x, data):
    mask = data.draw(arrays(dtype=st.sampled_from(["?", "u1"]), shape=st.sampled_from([x.shape, (x.size,)])))
    values = data.draw(st.one_of(st.sampled_from([3, [], [1, 2]]), numbers(st.sampled_from([(2,), (5,), (1, 1)]))))
    ours = either(data, values)
    agree(
        x,
        data.draw(st.none() | chunks_of(x.shape)),
        lambda a: np.place(a, mask, ours),
        lambda y: np.place(y, mask, values),
    )


@QUIET
@given(numbers(), st.data())
def test_copyto_is_numpys(x, data):
    shape = x.shape[data.draw(st.integers(0, x.ndim)) :]
    src = data.draw(st.one_of(st.sampled_from([3, 300, 2.5, 1j, [1]]), numbers(st.sampled_from([shape, (2,)]))))
    where = data.draw(st.one_of(st.just(True), arrays(dtype=st.sampled_from(["?", "?", "u1"]), shape=shape)))
    casting = data.draw(st.sampled_from(["same_kind", "unsafe", "safe", "no"]))
    ours = either(data, src)
    agree(
        x,
        data.draw(st.none() | chunks_of(x.shape)),
        lambda a: np.copyto(a, ours, casting=casting, where=where),
        lambda y: np.copyto(y, src, casting=casting, where=where),
        large=data.draw(st.booleans()),
        also=(TypeError, ValueError, OverflowError),
    )


@QUIET
@given(arrays(dtype=NUMBERS, shape=SMALL), st.data())
def test_ufunc_at_is_numpys(x, data):
    key = data.draw(st.one_of(basic_keys(x.shape), advanced_keys(x.shape)))
    try:
        shape = x[key].shape
    except IndexError:
        shape = ()
    ufunc = data.draw(st.sampled_from([np.add, np.multiply, np.maximum, np.negative]))
    operands = ()
    if ufunc.nin == 2:
        chosen = st.sampled_from([shape, shape[1:], (*shape[:-1], 1), (2,)])
        operands = (data.draw(st.one_of(st.sampled_from([2, 1.5]), arrays(dtype=NUMBERS, shape=chosen))),)
    agree(
        x,
        data.draw(st.none() | chunks_of(x.shape)),
        lambda a: ufunc.at(a, key, *operands),
        lambda y: ufunc.at(y, key, *operands),
        large=data.draw(st.booleans()),
        also=(TypeError, ValueError, IndexError),
    )


@QUIET
@given(arrays(dtype=NUMBERS, shape=SMALL), st.data())
def test_out_is_numpys(x, data):
    other = data.draw(arrays(dtype=NUMBERS, shape=st.sampled_from([x.shape, (), (2,)])))
    where = data.draw(st.one_of(st.just(True), arrays(dtype="?", shape=x.shape)))
    ufunc = data.draw(st.sampled_from([np.add, np.multiply, np.greater]))
    agree(
        x,
        data.draw(st.none() | chunks_of(x.shape)),
        lambda a: ufunc(a, other, out=a, where=where),
        lambda y: ufunc(y, other, out=y, where=where),
        also=(TypeError, ValueError),  # where dtype and shape are both wrong, either may be named
    )


def test_results_of_reductions_and_functions_go_into_stored_arrays(tmp_path):
    x = np.arange(12.0).reshape(3, 4)
    a = ca.create(tmp_path / "x.zarr", (2, 4), chunks=(1, 2))
    assert np.add.reduce(chunked(x), out=a[0]) is not None
    chunked(x).mean(axis=0, out=a[1])
    same(ca.open(a.path), np.stack([x.sum(axis=0), x.mean(axis=0)]))
    out = ca.create(tmp_path / "y.npy", (3, 3))
    assert np.matmul(chunked(x), chunked(x).T, out=out) is out
    same(out, x @ x.T)
    view = out[:, ::-1]
    assert np.sqrt(out, out=view) is view
    same(out, np.sqrt(x @ x.T)[:, ::-1])
    for wrong, error in (
        (a, ValueError),
        (ca.open(a.path)[0], ValueError),
        (chunked(x)[0], ValueError),
        ([0], TypeError),
    ):
        with pytest.raises(error):
            np.sum(chunked(x), axis=0, out=wrong)


def test_two_outputs_are_kept_apart_from_operands(tmp_path):
    a, disk = changeable(np.arange(6.0))
    b, other = changeable(np.zeros(6))
    with pytest.raises(ca.UnsupportedError, match="several outputs"):
        np.divmod(a, 4, out=(a, b))
    assert disk.commits == other.commits == 0
    np.divmod(chunked(np.arange(6.0)), 4, out=(a, b))
    same(a, np.arange(6.0) // 4)
    same(b, np.arange(6.0) % 4)


def test_ndarrays_take_arrays_too():
    y = np.zeros(4)
    np.copyto(y, chunked(np.arange(4.0)), where=chunked(np.arange(4) > 1))
    np.put(y, chunked(np.array([0])), chunked(np.array([9.0])))
    np.putmask(y, chunked(np.arange(4) == 1), 5)
    np.add.at(y, [0, 0], chunked(np.ones(2)))
    assert y.tolist() == [11, 5, 2, 3]
