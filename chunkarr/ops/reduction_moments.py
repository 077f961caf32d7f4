"""Mean, variance and standard deviation.

A variance is two passes over a leaf in cache (its mean, then the squares of the deviations), and
states (count, mean, M2) are merged by the formulas of Chan, Golub and LeVeque (1979), "Updating
Formulae and a Pairwise Algorithm for Computing Sample Variances". Means of leaves differ by little, so
the rounding of a large mean would show in their differences: float32 leaves are corrected for it and
merged in float64, wider ones carry it along as a fourth array, the rest of the mean. Integers of 8
and 16 bits need neither.
"""

from __future__ import annotations

import warnings

import numpy as np

from chunkarr.ops.reduction_contract import Asked, DType, Leaf, Reduction, State, Tile
from chunkarr.ops.reduction_fold import as_real, canonical, count_true, leaf_fold, ordered_fold

__all__ = [
    "combine_mean",
    "combine_var",
    "finish_mean",
    "finish_nan_mean",
    "finish_nan_std",
    "finish_nan_var",
    "finish_std",
    "finish_var",
    "leaf_mean",
    "leaf_nan_mean",
    "leaf_nan_var",
    "leaf_var",
    "mean_state",
    "nan_mean_state",
    "var_state",
]

_COUNT = np.dtype(np.int64)
_WIDER = {np.dtype(np.float16): np.dtype(np.float32)}
_DOUBLED = {np.dtype(np.float32): np.dtype(np.float64), np.dtype(np.complex64): np.dtype(np.complex128)}


def _sum_dtype(row: Reduction, asked: Asked) -> DType:
    """Return the dtype of a mean's sum: exact for narrow integers, float32 for float16, else NumPy's."""
    result = row.result(asked)
    if asked.dtype is None and asked.in_dtype.kind in "biu" and asked.in_dtype.itemsize <= 2:
        return _COUNT  # 2**47 elements cannot overflow it
    return _WIDER.get(result, result)


def mean_state(row: Reduction, asked: Asked) -> tuple[DType, ...]:
    """Return the dtypes of (sum,), or of (sum, count) when elements may be left out."""
    total = _sum_dtype(row, asked)
    return (total, _COUNT) if asked.masked else (total,)


def nan_mean_state(row: Reduction, asked: Asked) -> tuple[DType, ...]:
    """Return the dtypes of (sum, count); of (sum,) for dtypes without NaN."""
    total = _sum_dtype(row, asked)
    return (total, _COUNT) if asked.masked or asked.in_dtype.kind in "fc" else (total,)


def leaf_mean(x: Tile, mask: Tile | None, leaf: Leaf) -> State:
    """Sum a tile, and count what the mask lets through."""
    state = leaf_fold(np.add, x, mask, leaf)
    return state if mask is None else (*state, count_true(mask, leaf.inner))


def leaf_nan_mean(x: Tile, mask: Tile | None, leaf: Leaf) -> State:
    """Sum and count what is neither masked nor NaN."""
    if x.dtype.kind not in "fc":
        return leaf_mean(x, mask, leaf)
    if mask is None:
        (total,) = leaf_fold(np.add, x, None, leaf)
        if not np.isnan(total).any():
            return total, np.full(total.shape, x.shape[1], _COUNT)
    present = ~np.isnan(x)
    return leaf_mean(x, present if mask is None else present & mask, leaf)


def combine_mean(left: State, right: State) -> State:
    """Add sums and counts."""
    for mine, other in zip(left, right, strict=True):
        np.add(mine, other, out=mine)
    return left


def _counts(state: State, asked: Asked) -> Tile:
    return state[1] if len(state) > 1 else np.asarray(asked.count)


def finish_mean(state: State, asked: Asked, dtype: DType) -> Tile:
    """Divide; warn of empty slices as NumPy does."""
    count = _counts(state, asked)
    if (count == 0).any():
        warnings.warn("Mean of empty slice", RuntimeWarning, stacklevel=2)
    return canonical(np.true_divide(state[0], count).astype(dtype, copy=False))


def finish_nan_mean(state: State, asked: Asked, dtype: DType) -> Tile:
    """Divide; slices without numbers are NaN, with NumPy's warning."""
    if asked.in_dtype.kind not in "fc":
        return finish_mean(state, asked, dtype)
    count = _counts(state, asked)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.true_divide(state[0], count)
    if (count == 0).any():
        warnings.warn("Mean of empty slice", RuntimeWarning, stacklevel=2)
    return canonical(mean.astype(dtype, copy=False))


def _deviation_dtype(asked: Asked) -> DType:
    """Return the dtype in which deviations are computed: `dtype` if it is inexact, else the input's or float64."""
    given = asked.in_dtype if asked.dtype is None or asked.dtype.kind not in "fc" else asked.dtype
    if given.kind not in "fc":
        return np.dtype(np.float64)
    given = given.newbyteorder("=")
    if given.kind == "c" and asked.in_dtype.kind != "c":
        given = np.zeros(0, given).real.dtype
    return _WIDER.get(given, given)


def _real(dtype: DType) -> DType:
    """Return the dtype of the real part."""
    return np.zeros(0, dtype).real.dtype


def _is_narrow(asked: Asked) -> bool:
    return asked.in_dtype.kind in "biu" and asked.in_dtype.itemsize <= 2


def var_state(row: Reduction, asked: Asked) -> tuple[DType, ...]:
    """Return the dtypes of (count, mean, M2), or of (count, mean, M2, rest of the mean)."""
    row.result(asked)
    work = _deviation_dtype(asked)
    mean = _DOUBLED.get(work, work)
    state = _COUNT, mean, _real(mean)
    return state if mean != work or _is_narrow(asked) else (*state, mean)


def leaf_var(x: Tile, mask: Tile | None, leaf: Leaf) -> State:
    """Return (count, mean, M2) of a tile."""
    work = _deviation_dtype(leaf.asked)
    x = as_real(x, work)
    buffer = leaf.work(x.shape, work)
    if mask is not None or x.dtype != work or not x.flags.aligned:
        np.copyto(buffer, x, casting="unsafe")
        x = buffer
    absent = None
    if mask is None:
        count = np.full((x.shape[0], x.shape[2]), x.shape[1], _COUNT)
    else:
        absent = np.logical_not(mask)
        np.copyto(buffer, 0, where=absent)
        count = count_true(mask, leaf.inner)
    divisor = np.maximum(count, 1).astype(_real(work))
    mean = ordered_fold(np.add, x, leaf.inner) / divisor
    deviation = np.subtract(x, mean[:, None, :], out=buffer)
    if absent is not None:
        np.copyto(deviation, 0, where=absent)
    if len(leaf.state) == 3 and leaf.state[1] == work:
        return count, mean, _sum_of_squares(deviation, leaf.inner)
    return _corrected(count, divisor, mean, deviation, leaf)


def _corrected(count: Tile, divisor: Tile, mean: Tile, deviation: Tile, leaf: Leaf) -> State:
    """Return the state with what the rounded mean left behind; `deviation` is overwritten."""
    left_over = ordered_fold(np.add, deviation, leaf.inner).astype(leaf.state[1])
    rest = left_over / divisor
    m2 = _sum_of_squares(deviation, leaf.inner).astype(leaf.state[2])
    m2 -= left_over.real * rest.real
    if m2.dtype != leaf.state[1]:
        m2 -= left_over.imag * rest.imag
    np.maximum(m2, 0, out=m2)
    if len(leaf.state) == 3:
        return count, mean + rest, m2
    return count, mean, m2, rest


def _sum_of_squares(deviation: Tile, inner: bool) -> Tile:
    """Sum the squared magnitudes along axis 1; `deviation` is overwritten."""
    if deviation.dtype.kind != "c":
        return ordered_fold(np.add, np.square(deviation, out=deviation), inner)
    real, imag = deviation.real, deviation.imag
    np.square(real, out=real)
    np.square(imag, out=imag)
    return ordered_fold(np.add, real + imag, inner)


def leaf_nan_var(x: Tile, mask: Tile | None, leaf: Leaf) -> State:
    """Return (count, mean, M2) of what is neither masked nor NaN."""
    if x.dtype.kind not in "fc":
        return leaf_var(x, mask, leaf)
    if mask is None:
        present = ~np.isnan(x)
        return leaf_var(x, None if present.all() else present, leaf)
    return leaf_var(x, mask & ~np.isnan(x), leaf)


def combine_var(left: State, right: State) -> State:
    """Merge the states of two disjoint sets."""
    (n, mean, m2, *rest), (other_n, other_mean, other_m2, *other_rest) = left, right
    total = n + other_n
    share = (other_n / np.maximum(total, 1)).astype(m2.dtype, copy=False)
    delta = other_mean - mean
    if rest:
        delta += other_rest[0] - rest[0]
    square = np.square(delta) if delta.dtype.kind != "c" else np.square(delta.real) + np.square(delta.imag)
    m2 += other_m2
    m2 += square * (n * share)
    delta *= share
    np.copyto(n, total)
    if not rest:
        mean += delta
        return left
    delta += rest[0]
    old = mean.copy()
    mean += delta
    step = mean - old  # what was added; the rest of delta is kept (Knuth's two-sum)
    np.add(old - (mean - step), delta - step, out=rest[0])
    return left


def _variance(state: State, asked: Asked) -> Tile:
    count, _, m2, *_ = state
    if (asked.ddof >= count).any():
        warnings.warn("Degrees of freedom <= 0 for slice", RuntimeWarning, stacklevel=3)
    return np.asarray(np.true_divide(m2, np.maximum(count - asked.ddof, 0)))


def finish_var(state: State, asked: Asked, dtype: DType) -> Tile:
    """Divide M2 by the degrees of freedom; warn as NumPy does when there are none."""
    return canonical(_cast(_variance(state, asked), dtype))


def finish_std(state: State, asked: Asked, dtype: DType) -> Tile:
    """Return the square root of the variance."""
    return canonical(_cast(np.sqrt(_variance(state, asked)), dtype))


def _nan_variance(state: State, asked: Asked) -> Tile:
    count, _, m2, *_ = state
    freedom = count - asked.ddof
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.asarray(np.true_divide(m2, freedom))
    bad = freedom <= 0
    if bad.any():
        warnings.warn("Degrees of freedom <= 0 for slice.", RuntimeWarning, stacklevel=3)
        variance[bad] = np.nan
    return variance


def finish_nan_var(state: State, asked: Asked, dtype: DType) -> Tile:
    """Divide M2 by the degrees of freedom; NaN where there are none, with NumPy's warning."""
    if asked.in_dtype.kind not in "fc":
        return finish_var(state, asked, dtype)
    return canonical(_cast(_nan_variance(state, asked), dtype))


def finish_nan_std(state: State, asked: Asked, dtype: DType) -> Tile:
    """Return the square root of `finish_nan_var`'s variance."""
    if asked.in_dtype.kind not in "fc":
        return finish_std(state, asked, dtype)
    return canonical(_cast(np.sqrt(_nan_variance(state, asked)), dtype))


def _cast(values: Tile, dtype: DType) -> Tile:
    return values.astype(dtype, copy=False)
