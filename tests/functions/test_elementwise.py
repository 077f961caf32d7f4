"""Elementwise functions against NumPy, on random arrays, dtypes, byte orders and chunks."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkarr.functions import elementwise, neighbours, ufuncs
from tests.oracle import check, same
from tests.strategies import arrays, chunked, chunks_of, numeric_dtypes, shapes, stored

UFUNCS = sorted({getattr(np, n) for n in ufuncs.__all__}, key=lambda f: f.__name__)
ONE = [f for f in UFUNCS if f.nin == 1]
TWO = [f for f in UFUNCS if f.nin == 2]
SCALARS = [0, 1, -1, 3, 300, 2.5, -0.0, np.inf, 1j, True, np.float32(1.5), np.int8(3), np.array(7, ">i4")]


@st.composite
def pairs(draw):
    """Draw two arrays whose shapes broadcast, or sometimes do not."""
    shape = draw(shapes(max_dims=3, max_size=300))
    other = tuple(draw(st.sampled_from([n, n, 1])) for n in shape)[draw(st.integers(0, len(shape))) :]
    if draw(st.integers(0, 9)) == 0:
        other = draw(shapes(max_dims=2, max_size=50))
    return draw(arrays(numeric_dtypes(), shape)), draw(arrays(numeric_dtypes(), other))


@st.composite
def cut(draw, x):
    """Draw a chunked Array of ``x``."""
    return chunked(x, draw(chunks_of(x.shape)))


@given(st.sampled_from(ONE), arrays(numeric_dtypes() | st.sampled_from(["m8[s]", "M8[D]"]).map(np.dtype)), st.data())
@settings(max_examples=150)
def test_ufunc_of_one_array(ufunc, x, data):
    a = data.draw(cut(x))
    check(lambda: ufunc(a), lambda: ufunc(x))


@given(st.sampled_from(TWO), pairs(), st.data())
@settings(max_examples=200)
def test_ufunc_of_two_arrays(ufunc, pair, data):
    x, y = pair
    a = data.draw(cut(x))
    b = data.draw(cut(y)) if data.draw(st.booleans()) else y
    check(lambda: ufunc(a, b), lambda: ufunc(x, y))
    check(lambda: ufunc(b, a), lambda: ufunc(y, x))


@given(st.sampled_from(TWO), arrays(numeric_dtypes()), st.sampled_from(SCALARS), st.data())
@settings(max_examples=150)
def test_ufunc_of_an_array_and_a_scalar(ufunc, x, scalar, data):
    if x.ndim == 0:
        x = x.reshape(1)  # NumPy's 0-d arrays are scalars at times, ours never
    a = data.draw(cut(x))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(lambda: ufunc(a, scalar), lambda: ufunc(x, scalar))
        check(lambda: ufunc(scalar, a), lambda: ufunc(scalar, x))


@given(arrays(st.sampled_from(["f4", ">f8", "i2"]), shapes(3, 300)), st.data())
def test_where_and_out_of_a_ufunc(x, data):
    mask = data.draw(arrays("?", x.shape))
    a = data.draw(cut(x))
    old = data.draw(arrays("f8", x.shape))
    expected, out = old.copy(), old.copy()
    np.add(x, 1.5, out=expected, where=mask)
    assert np.add(a, 1.5, out=out, where=chunked(mask)) is out
    same(out, expected)
    with np.errstate(invalid="ignore"):
        np.subtract(x, x, out=expected)
        np.subtract(a, a, out=out)
    same(out, expected)


def test_masked_call_keeps_the_digits_of_a_wider_output():
    out = np.full(3, 0.1)
    np.add(chunked(np.zeros(3, "f4")), 1, out=out, where=np.array([True, False, True]))
    same(out, np.array([1.0, 0.1, 1.0]))


def test_out_refuses_what_does_not_fit_before_computing():
    a = chunked(np.arange(6.0))
    with pytest.raises(ValueError, match="read-only"):
        np.add(a, 1, out=chunked(np.zeros(6)))
    with pytest.raises(ValueError, match=r"shape \(5,\), the result has shape \(6,\)"):
        elementwise.round(a, out=np.zeros(5))
    with pytest.raises(TypeError, match="same_kind"):
        elementwise.clip(a, 0, 3, out=np.zeros(6, int))
    with pytest.raises(TypeError, match="ArrayType"):
        elementwise.fix(a, out=[0] * 6)


@given(arrays(numeric_dtypes(), shapes(3, 300)), st.data())
@settings(max_examples=100)
def test_where(x, data):
    condition = data.draw(arrays(st.sampled_from(["?", "i1", "f4"]), x.shape[1:]))
    a, c = data.draw(cut(x)), data.draw(cut(condition))
    y = data.draw(st.sampled_from([0, -1, 1.5, 1j, True]) | arrays(numeric_dtypes(), x.shape[-1:]))
    check(lambda: np.where(c, a, y), lambda: np.where(condition, x, y))
    check(lambda: np.where(c, y, a), lambda: np.where(condition, y, x))


def test_where_refuses():
    a = chunked(np.arange(3))
    with pytest.raises(ValueError, match="either both or neither"):
        elementwise.where(a, 1)
    check(lambda: np.where(a, np.zeros(2), 0), lambda: np.where(np.arange(3), np.zeros(2), 0), message=True)


@given(arrays(st.sampled_from(["i4", "f8", "?"]), shapes(2, 100)), st.data())
def test_select(x, data):
    a = data.draw(cut(x))
    check(lambda: np.select([a < 1, a > 2], [a, a * 2], 9), lambda: np.select([x < 1, x > 2], [x, x * 2], 9))
    check(lambda: np.select([a < 1, a], [a, a]), lambda: np.select([x < 1, x], [x, x]))
    check(lambda: np.select([a < 1], [a, a]), lambda: np.select([x < 1], [x, x]), message=True)


@given(arrays(numeric_dtypes(), shapes(3, 300)), st.data())
@settings(max_examples=100)
def test_clip(x, data):
    a = data.draw(cut(x))
    bound = st.sampled_from([None, 0, 3, -1, 2.5, 300])
    low, high = data.draw(bound), data.draw(bound)
    check(lambda: np.clip(a, low, high), lambda: np.clip(x, low, high))
    check(lambda: np.clip(a, min=low, max=high), lambda: np.clip(x, min=low, max=high))


NUMPY = tuple(int(part) for part in np.__version__.split(".")[:2])
ON_TILES = {
    "round": lambda x: np.round(x, 1),
    "around": np.around,
    "round to tens": lambda x: np.round(x, -1),
    "fix": np.fix if NUMPY < (2, 5) else np.trunc,  # deprecated since
    "nan_to_num": np.nan_to_num,
    "nan_to_num with values": lambda x: np.nan_to_num(x, nan=1.5, posinf=2, neginf=-2),
    "real": np.real,
    "imag": np.imag,
    "angle": np.angle,
    "angle in degrees": lambda x: np.angle(x, deg=True),
    "iscomplex": np.iscomplex,
    "isreal": np.isreal,
    "isneginf": np.isneginf,
    "isposinf": np.isposinf,
    "sinc": np.sinc,
    "i0": np.i0,
    "real_if_close": np.real_if_close,
    "isclose": lambda x: np.isclose(x, 1.0),
}


@pytest.mark.parametrize("function", ON_TILES.values(), ids=ON_TILES)
@given(st.data())
@settings(max_examples=25)
def test_function_on_tiles(function, data):
    x = data.draw(arrays(numeric_dtypes(), shapes(3, 300).filter(lambda s: len(s) > 0)))
    check(lambda: function(data.draw(cut(x))), lambda: function(x))


def answer(value):
    """Return a bool as an array, so that it can be compared."""
    assert type(value) is bool
    return np.asarray(value)


@given(pairs(), st.booleans(), st.data())
def test_comparisons_of_whole_arrays(pair, equal_nan, data):
    x, y = pair
    if data.draw(st.booleans()):
        y = x.copy()
    a, b = data.draw(cut(x)), data.draw(cut(y))
    check(lambda: np.isclose(a, b, equal_nan=equal_nan), lambda: np.isclose(x, y, equal_nan=equal_nan))
    check(lambda: answer(np.allclose(a, b, equal_nan=equal_nan)), lambda: np.allclose(x, y, equal_nan=equal_nan))
    check(lambda: answer(np.array_equal(a, b, equal_nan)), lambda: np.array_equal(x, y, equal_nan))
    check(lambda: answer(np.array_equiv(a, b)), lambda: np.array_equiv(x, y))


@given(arrays(numeric_dtypes(), shapes(3, 300)), st.integers(-1, 3), st.integers(-3, 2), st.data())
@settings(max_examples=100)
def test_diff(x, n, axis, data):
    a = data.draw(cut(x))
    check(lambda: np.diff(a, n, axis), lambda: np.diff(x, n, axis))
    check(lambda: np.diff(a, prepend=0, append=x), lambda: np.diff(x, prepend=0, append=x))


@given(arrays(st.sampled_from(["i4", "f8"]), shapes(2, 100)), st.data())
def test_ediff1d(x, data):
    a = data.draw(cut(x))
    check(lambda: np.ediff1d(a), lambda: np.ediff1d(x))
    check(lambda: np.ediff1d(a, [1, 2], 3), lambda: np.ediff1d(x, [1, 2], 3))
    check(lambda: np.ediff1d(a, to_begin=1j), lambda: np.ediff1d(x, to_begin=1j), message=True)


def test_trapezoid_and_cross():
    x = np.arange(24.0).reshape(2, 4, 3) ** 1.5
    a = chunked(x, (1, 3, 2))
    check(lambda: np.trapezoid(a, dx=0.5, axis=1), lambda: np.trapezoid(x, dx=0.5, axis=1), rtol=1e-15)
    check(lambda: np.trapezoid(a, [1, 2, 5]), lambda: np.trapezoid(x, [1, 2, 5]), rtol=1e-15)
    check(lambda: np.cross(a, x[::-1]), lambda: np.cross(x, x[::-1]))
    check(lambda: np.cross(a, [1, 2, 3], axisc=0), lambda: np.cross(x, [1, 2, 3], axisc=0))
    check(lambda: np.cross(a, 1), lambda: np.cross(x, 1), message=True)
    with pytest.raises(ValueError, match="3 elements, these have 2"):
        neighbours.cross(a[..., :2], a[..., :2])


@pytest.mark.parametrize("suffix", ["npy", "zarr"])
def test_stored_arrays_of_any_byte_order(tmp_path, suffix):
    x = np.linspace(-2, 2, 600).reshape(20, 30).astype(">f4")
    a = stored(x, tmp_path / f"x.{suffix}")
    same(np.hypot(a, a[::-1].T[:20, :1]), np.hypot(x, x[::-1].T[:20, :1]))
    same(np.where(np.signbit(a), -a, 0), np.where(np.signbit(x), -x, 0))


# --- floating-point events ----------------------------------------------------------------------


def test_events_are_reported_once_where_the_values_are_asked_for():
    x = np.zeros((4, 300_000))
    a = np.divide(1.0, chunked(x, (1, 100_000)))
    with pytest.warns(RuntimeWarning, match="^divide by zero encountered in divide$") as seen:
        a.compute()
    assert len(seen) == 1


def test_errstate_is_that_of_the_caller():
    a = chunked(np.zeros(3), (1,))
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError, match="divide by zero encountered in divide"):
        np.divide(1.0, a).compute()
    with np.errstate(invalid="ignore"):
        assert np.isnan((a / a).compute()).all()
    calls = []
    with np.errstate(all="call", call=lambda kind, flag: calls.append(kind)):
        np.log(a).compute()
    assert calls == ["divide by zero"]


def test_comparing_infinities_warns_of_nothing():
    a = chunked(np.array([np.inf, 1.0, np.nan]))
    same(np.isclose(a, [np.inf, 1.0, np.nan]), np.array([True, True, False]))
