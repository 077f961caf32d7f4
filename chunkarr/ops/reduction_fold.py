"""Folds: one ufunc over the reduced axis, the same bits whatever the tile's layout.

NumPy sums pairwise when the reduced axis is the iterator's innermost and one by one when it is
not, and picks the innermost axis from strides and lengths. `ordered_fold` takes that choice away:
pairwise along R when the array's last axis is reduced, one by one along R when it is not.

The sign of a zero extreme follows IEEE 754-2019 (-0.0 < +0.0), which NumPy leaves to the machine;
NaN come out with one bit pattern.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chunkarr.ops.reduction_contract import NO_INITIAL, Asked, DType, Leaf, State, Tile

__all__ = [
    "as_real",
    "canonical",
    "combine_extreme",
    "combine_fold",
    "combine_values",
    "count_true",
    "filled",
    "finish_fold",
    "leaf_extreme",
    "leaf_fold",
    "leaf_nan_fold",
    "neutral",
    "ordered_fold",
    "with_initial",
]

_UPPER = (np.maximum, np.fmax)
_EXTREMES = (np.maximum, np.fmax, np.minimum, np.fmin)


def neutral(ufunc: np.ufunc, dtype: DType) -> Tile:
    """Return the 0-d value that changes nothing: what masked elements are replaced by.

    Examples
    --------
    >>> neutral(np.maximum, np.dtype("i1")), neutral(np.fmin, np.dtype("f4"))
    (array(-128, dtype=int8), array(nan, dtype=float32))
    """
    if ufunc not in _EXTREMES:
        identity = 1 if ufunc is np.lcm else ufunc.identity
        return np.asarray(identity).astype(dtype)
    upper = ufunc in _UPPER
    if dtype.kind in "fc":
        if ufunc in (np.fmax, np.fmin):
            return np.asarray(np.nan, dtype)
        infinity = -np.inf if upper else np.inf
        return np.asarray(complex(infinity, infinity) if dtype.kind == "c" else infinity, dtype)
    if dtype.kind == "b":
        return np.asarray(not upper)
    if dtype.kind in "mM":
        if ufunc in (np.fmax, np.fmin):
            return np.asarray("NaT", dtype)
        span = np.iinfo(np.int64)  # its minimum is NaT
        return np.asarray(span.min + 1 if upper else span.max).view(dtype)
    limits = np.iinfo(dtype)
    return np.asarray(limits.min if upper else limits.max, dtype)


def as_real(x: Tile, dtype: DType) -> Tile:
    """Return x, or its real part when `dtype` cannot hold an imaginary one."""
    return x.real if x.dtype.kind == "c" and dtype.kind not in "cb" else x


def filled(x: Tile, mask: Tile, value: Tile, leaf: Leaf) -> Tile:
    """Return x cast to the dtype of `value`, with `value` where `mask` is False, in scratch."""
    out = leaf.work(x.shape, value.dtype)
    np.copyto(out, as_real(x, value.dtype), casting="unsafe")
    np.copyto(out, value, where=np.logical_not(mask))
    return out


def _is_exact(ufunc: np.ufunc, dtype: DType) -> bool:
    """Whether the order of the operands cannot show in the result."""
    return dtype.kind not in "fc" or ufunc in _EXTREMES


def ordered_fold(ufunc: np.ufunc, x: Tile, inner: bool) -> Tile:
    """Reduce axis 1 of x (K, R, C) in an order that depends on R and `inner` alone.

    Returns
    -------
    ndarray of shape (K, C), new.
    """
    if not (x.flags.aligned and x.dtype.isnative):
        x = x.astype(x.dtype.newbyteorder("="), order="C")
    if _is_exact(ufunc, x.dtype):
        return _reduce(ufunc, x)
    if ufunc is np.multiply and x.dtype.kind == "c":  # vector loops round complex products in another way
        return _reduce(ufunc, np.ascontiguousarray(x.transpose(0, 2, 1)).reshape(-1, x.shape[1])).reshape(
            x.shape[0], x.shape[2]
        )
    step_k, step_r, step_c = x.strides
    kept, _, columns = x.shape
    if inner:
        rows = x[:, :, 0]
        if step_r <= 0 or (kept > 1 and step_k <= step_r):
            rows = np.ascontiguousarray(rows)
        return _reduce(ufunc, rows)[:, None]
    if columns > 1 and 0 < step_c < step_r:
        return _reduce(ufunc, x)
    out = np.full((kept, columns), ufunc.identity, x.dtype)
    for row in range(x.shape[1]):
        ufunc(out, x[:, row], out=out)
    return out


def _reduce(ufunc: np.ufunc, x: Tile) -> Tile:
    """Reduce axis 1 in the dtype of x."""
    out: Tile = ufunc.reduce(x, axis=1, dtype=None if x.dtype.kind in "mM" else x.dtype)
    return out


def count_true(x: Tile, inner: bool) -> Tile:
    """Count the True along axis 1 of a bool tile (K, R, C); int64 of shape (K, C)."""
    kept, rows = x.shape[:2]
    if inner and kept * 64 <= rows:
        return np.array([[np.count_nonzero(x[k, :, 0])] for k in range(kept)], np.int64)
    if not inner and rows <= 255:  # a uint8 cannot overflow, and adds sixteen times as fast
        narrow: Tile = np.add.reduce(x.view(np.uint8), axis=1, dtype=np.uint8)
        return narrow.astype(np.int64)
    wide: Tile = np.add.reduce(x, axis=1, dtype=np.int64)
    return wide


def leaf_fold(ufunc: np.ufunc, x: Tile, mask: Tile | None, leaf: Leaf) -> State:
    """Fold a tile, masked elements being replaced by the neutral one."""
    dtype = leaf.state[0]
    if ufunc is np.add and x.dtype.kind == "b" and dtype.kind in "iu":
        kept = x if mask is None else np.logical_and(x, mask)
        return (count_true(kept, leaf.inner).astype(dtype, copy=False),)
    if mask is not None:
        return (ordered_fold(ufunc, filled(x, mask, neutral(ufunc, dtype), leaf), leaf.inner),)
    x = as_real(x, dtype)
    if x.dtype == dtype:
        return (ordered_fold(ufunc, x, leaf.inner),)
    if _is_exact(ufunc, dtype) and dtype.kind not in "mM" and x.dtype.kind not in "SU":
        out: Tile = ufunc.reduce(x, axis=1, dtype=dtype)  # casts in the cache
        return (out,)
    cast = leaf.work(x.shape, dtype)
    np.copyto(cast, x, casting="unsafe")
    return (ordered_fold(ufunc, cast, leaf.inner),)


def leaf_nan_fold(ufunc: np.ufunc, x: Tile, mask: Tile | None, leaf: Leaf) -> State:
    """Fold a tile without its NaN; tiles that have none cost no more than a fold."""
    if x.dtype.kind not in "fc":
        return leaf_fold(ufunc, x, mask, leaf)
    if mask is None:
        (out,) = leaf_fold(ufunc, x, None, leaf)
        if leaf.state[0].kind in "fc" and not np.isnan(out).any():
            return (out,)
    present = ~np.isnan(x)
    return leaf_fold(ufunc, x, present if mask is None else present & mask, leaf)


def leaf_extreme(ufunc: np.ufunc, x: Tile, mask: Tile | None, leaf: Leaf) -> State:
    """Fold a tile with maximum, minimum, fmax or fmin."""
    dtype = leaf.state[0]
    if mask is not None:
        x = filled(x, mask, neutral(ufunc, dtype), leaf)
    elif x.dtype != dtype:
        x = as_real(x, dtype).astype(dtype)
    if dtype.kind == "c" and not leaf.inner:  # which of several NaN comes out depends on the order
        first = x[:, 0].astype(dtype)
        for row in range(1, x.shape[1]):
            ufunc(first, x[:, row], out=first)
        return (first,)
    rows = np.ascontiguousarray(x) if dtype.kind == "c" else x
    out: Tile = ufunc.reduce(rows, axis=1)
    if dtype.kind == "f":
        zero = out == 0
        if zero.any():
            _sign_zeros(out, zero, _negative_zero(ufunc, x))
    return (out,)


def _negative_zero(ufunc: np.ufunc, x: Tile) -> Tile:
    """Tell for each column whose extreme is zero whether that is -0.0."""
    negative = np.signbit(x)
    if ufunc is np.fmax:
        negative |= np.isnan(x)
    elif ufunc is np.fmin:
        negative &= ~np.isnan(x)
    # Beside zeros the column of a zero maximum holds negative numbers only, of a minimum positive ones.
    join = np.logical_and if ufunc in _UPPER else np.logical_or
    out: Tile = join.reduce(negative, axis=1)
    return out


def _sign_zeros(out: Tile, zero: Tile, negative: Tile) -> None:
    out[zero & negative] = -0.0
    out[zero & ~negative] = 0.0


def combine_fold(ufunc: np.ufunc, left: State, right: State) -> State:
    """Fold the right state into the left one."""
    for mine, other in zip(left, right, strict=True):
        combine_values(ufunc, mine, other)
    return left


def combine_values(ufunc: np.ufunc, left: Tile, right: Tile) -> None:
    """Store ``ufunc(left, right)`` in left; the bits depend on the values alone."""
    if ufunc in _EXTREMES:
        combine_extreme(ufunc, (left,), (right,))
    elif ufunc is np.multiply and left.dtype.kind == "c":  # NumPy fuses here or not, as strides have it
        real = left.real * right.real - left.imag * right.imag
        left.imag = left.real * right.imag + left.imag * right.real
        left.real = real
    else:
        ufunc(left, right, out=left)


def combine_extreme(ufunc: np.ufunc, left: State, right: State) -> State:
    """Fold the right extreme into the left one; the sign of zero does not depend on the order."""
    (mine,), (other,) = left, right
    if mine.dtype.kind != "f":
        ufunc(mine, other, out=mine)
        return left
    zero = (mine == 0) & (other == 0)
    if not zero.any():
        ufunc(mine, other, out=mine)
        return left
    join = np.logical_and if ufunc in _UPPER else np.logical_or
    negative = join(np.signbit(mine), np.signbit(other))
    ufunc(mine, other, out=mine)
    _sign_zeros(mine, zero, negative)
    return left


def with_initial(ufunc: np.ufunc, values: Tile, asked: Asked, dtype: DType) -> Tile:
    """Return ``ufunc(initial, values)`` in the dtype of `values`, or `values` when there is none."""
    if asked.initial is NO_INITIAL or asked.initial is None:
        return values
    first: Any = np.asarray(asked.initial).astype(dtype).astype(values.dtype)
    if ufunc in _EXTREMES:
        start = np.broadcast_to(first, values.shape).copy()
        return combine_extreme(ufunc, (start,), (values,))[0]
    out: Tile = ufunc(first, values, out=values)
    return out


def canonical(values: Tile) -> Tile:
    """Give every NaN of `values` the same bits, in place."""
    if values.dtype.kind in "fc":
        parts = (values.real, values.imag) if values.dtype.kind == "c" else (values,)
        for part in parts:
            bad = np.isnan(part)
            if bad.any():
                part[bad] = np.nan
    return values


def finish_fold(ufunc: np.ufunc, state: State, asked: Asked, dtype: DType) -> Tile:
    """Return the folded values, `initial` in front, in the dtype of the result."""
    return canonical(with_initial(ufunc, state[0], asked, dtype).astype(dtype, copy=False))
