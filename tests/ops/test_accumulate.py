"""Scans of blocks chained by carries, against NumPy and against exact sums."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkarr.ops.accumulate import SCANS, exclusive_scan, scan_block, scan_dtype, scan_total, total_dtype

Array = np.ndarray[Any, Any]
DTYPES = ["?", "i1", ">u2", "<i8", "<f2", "<f4", ">f8", "g", "<c8", "<c16", "m8[s]", "M8[s]"]


def values(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Array:
    """Return values of any dtype, near one, so that products stay in range."""
    kind = np.dtype(dtype).kind
    if kind in "fc":
        x = 1 + rng.normal(size=shape) / 8 + (1j * rng.normal(size=shape) / 8 if kind == "c" else 0)
        return x.astype(dtype)
    return rng.integers(0, 2 if kind == "b" else 4, size=shape).astype(dtype)


def scan_by_blocks(ufunc: np.ufunc, x: Array, axis: int, edges: list[int], *, nan: bool = False) -> Array:
    """Scan x block by block as a planner does, checking totals on the way."""
    out = np.empty(x.shape, scan_dtype(ufunc, x.dtype))
    bounds = [0, *sorted(edges), x.shape[axis]]
    blocks = [(slice(None),) * axis + (slice(a, b),) for a, b in itertools.pairwise(bounds)]
    totals = np.stack([scan_total(ufunc, x[block], axis, nan=nan) for block in blocks], axis)
    assert totals.dtype == total_dtype(out.dtype)
    carries = exclusive_scan(ufunc, totals, axis)
    for number, block in enumerate(blocks):
        alone = scan_block(ufunc, x[block], axis, None, np.empty(x[block].shape, out.dtype), nan=nan)
        if alone.size and x[block].shape[axis]:
            last = np.asarray(alone.take(-1, axis))
            total = np.asarray(totals.take(number, axis)).astype(out.dtype)
            np.testing.assert_array_equal(last, total)
            if last.dtype.kind == "f":
                np.testing.assert_array_equal(np.signbit(last), np.signbit(total))
        carry = carries.take(number, axis) if number else None
        scan_block(ufunc, x[block], axis, carry, out[block], nan=nan)
    return out


@pytest.mark.parametrize("ufunc", SCANS, ids=lambda ufunc: ufunc.__name__)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), dtype=st.sampled_from(DTYPES), axis=st.integers(0, 2), length=st.integers(1, 700))
def test_blocks_give_numpy_accumulate(ufunc: np.ufunc, seed: int, dtype: str, axis: int, length: int) -> None:
    rng = np.random.default_rng(seed)
    shape = [2, 3, int(rng.choice([1, 20]))]
    shape[axis] = length
    x = values(rng, tuple(shape), dtype)
    if x.dtype.kind in "fc" and ufunc not in (np.add, np.multiply):
        x[rng.random(x.shape) < 0.01] = np.nan
    try:
        expected = ufunc.accumulate(x, axis=axis)
    except TypeError as error:
        with pytest.raises(TypeError) as caught:
            scan_dtype(ufunc, x.dtype)
        assert str(caught.value) == str(error)  # noqa: PT017 - NumPy's own message
        return
    edges = rng.integers(0, length + 1, size=rng.integers(0, 4)).tolist()
    got = scan_by_blocks(ufunc, x, axis, edges)
    assert got.dtype == expected.dtype
    if x.dtype.kind in "fc" and ufunc in (np.add, np.multiply):
        if x.dtype == np.float16:  # scanned in float32 here, in float16 by NumPy
            expected = ufunc.accumulate(x.astype("f4"), axis=axis).astype("f2")
        tolerance = 2000 * float(np.finfo(got.dtype).eps)
        np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)
    else:
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("ufunc", [np.add, np.multiply])
@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f8", "<c8", "<i4"])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_nan_scans_as_numpy(ufunc: np.ufunc, dtype: str, share: float) -> None:
    rng = np.random.default_rng(4)
    x = values(rng, (300, 2), dtype)
    if x.dtype.kind in "fc":
        x[rng.random(x.shape) < share] = np.nan
    with np.errstate(all="ignore"):
        expected = (np.nancumsum if ufunc is np.add else np.nancumprod)(x, axis=0)
    got = scan_by_blocks(ufunc, x, 0, [0, 7, 200], nan=True)
    assert got.dtype == expected.dtype
    eps = 0.0 if x.dtype.kind == "i" else 300 * float(np.finfo(dtype).eps)
    np.testing.assert_allclose(got, expected, rtol=eps, atol=eps)


@pytest.mark.parametrize("ufunc", [np.add, np.multiply])
def test_nan_and_inf_spread_as_in_numpy(ufunc: np.ufunc) -> None:
    x = np.ones((600, 4))
    x[500, 0], x[3, 1], x[130, 2], x[400, 2], x[599, 3] = np.nan, np.inf, np.inf, -np.inf, -np.inf
    with np.errstate(invalid="ignore"):
        expected = ufunc.accumulate(x, axis=0)
        np.testing.assert_allclose(scan_by_blocks(ufunc, x, 0, [256]), expected)


@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
def test_every_running_sum_is_within_a_pairwise_bound(dtype: str) -> None:
    rng = np.random.default_rng(6)
    x = rng.random(20_000).astype(dtype)
    got = scan_by_blocks(np.add, x, 0, [4096, 8192, 12_288, 16_384])
    unit = float(np.finfo(dtype).eps) / 2
    for at in range(0, 20_000, 997):
        truth = math.fsum(x[: at + 1].tolist())
        assert abs(float(got[at]) - truth) <= (128 + 25 + math.log2(at + 2)) * unit * truth


def test_many_equal_floats_do_not_drift() -> None:
    x = np.full(200_000, 0.1, np.float32)
    got = scan_block(np.add, x, 0, None, np.empty(x.shape, x.dtype))
    exact = np.arange(1, x.size + 1) * float(x[0])
    assert np.abs(got / exact - 1).max() < 4e-6
    assert np.abs(np.cumsum(x) / exact - 1).max() > 1e-4


@pytest.mark.parametrize("ufunc", SCANS, ids=lambda ufunc: ufunc.__name__)
@pytest.mark.parametrize("dtype", ["<f4", "<f8", "<c8", "<c16"])
def test_bits_depend_on_the_line_only(ufunc: np.ufunc, dtype: str) -> None:
    rng = np.random.default_rng(8)
    x = values(rng, (300, 40), dtype)
    if ufunc in (np.maximum, np.minimum):
        x = np.where(rng.random(x.shape) < 0.5, 0.0, -0.0).astype(dtype)
    try:
        result = scan_dtype(ufunc, x.dtype)
    except TypeError:
        return
    carry = np.asarray(values(rng, (40,), dtype).astype(result))
    whole = scan_block(ufunc, x, 0, carry, np.empty(x.shape, result))
    total = scan_total(ufunc, x, 0)
    for part in (slice(0, 1), slice(2, 5), slice(39, 40), slice(1, 18)):
        for layout in (x[:, part].copy(), np.asfortranarray(x[:, part]), x[:, part]):
            for order in "CF":
                out = np.empty(layout.shape, result, order=order)  # type: ignore[call-overload]
                assert scan_block(ufunc, layout, 0, carry[part], out).tobytes() == whole[:, part].tobytes()
            assert scan_total(ufunc, layout, 0).tobytes() == total[part].tobytes()


def test_an_empty_axis_has_the_neutral_total() -> None:
    assert scan_total(np.add, np.empty((2, 0, 3), np.int8), 1).tolist() == [[0] * 3] * 2
    assert scan_total(np.maximum, np.empty((0, 2)), 0).tolist() == [-math.inf] * 2
    assert scan_block(np.add, np.empty((0, 2)), 0, None, np.empty((0, 2))).shape == (0, 2)


def test_dtype_argument() -> None:
    x = np.array([1.7, 2.7, 3.0])
    assert scan_block(np.add, x, 0, None, np.empty(3, np.int16)).tolist() == np.cumsum(x, dtype="i2").tolist()
    assert scan_total(np.add, x, 0, np.dtype("i2")).tolist() == 6


@pytest.mark.parametrize("dtype", [np.dtype(object), np.dtype("i4,f4")])
def test_objects_and_structures_are_refused(dtype: np.dtype[Any]) -> None:
    with pytest.raises(TypeError):
        scan_dtype(np.add, dtype)
