"""The table of reductions: one `Reduction` a row, walked by a planner.

A planner cuts an array into leaves (K, R, C), whose boundaries along reduced axes depend on shape
and source chunks only, and runs::

    row = REDUCTIONS["mean"]
    asked = Asked(in_dtype=x.dtype, count=elements along the reduced axes)
    dtype = row.result(asked)                # NumPy's dtype, NumPy's errors; raises before any work
    leaf = Leaf(asked, row.states(asked), inner=..., index=..., scratch=...)
    left = row.leaf(tile, mask, leaf)        # a tuple of new arrays (K, C)
    left = row.combine(left, right)          # in place; left covers the lower indices
    values = row.finish(left, asked, dtype)  # or row.empty(asked) when there are no elements

- **Bits.** A state depends on the values of its column and on `inner`, not on K, C or strides.
  Floating sums are pairwise along R when `inner`, else one by one along R (R is small then).
- **dtype** as in NumPy. float16 is summed and multiplied in float32 and rounded once. Means of
  8- and 16-bit integers are exact sums divided once. ``var`` and ``std`` with an integer `dtype`
  are computed in float64 and truncated once (NumPy truncates the mean and each square too).
- **where** replaces masked elements by the ufunc's neutral one; ``result`` refuses it, as NumPy,
  where there is neither an identity nor an `initial`.
- **initial** is folded in by `finish`, once, in front of everything.
- **Extremes.** NaN propagate (``fmax`` and ``nanmax`` skip them); of zeros -0.0 is the smaller.
- **Memory.** `leaf_nbytes` bounds what a leaf function allocates, scratch included.
"""

from __future__ import annotations

import warnings
from functools import partial
from typing import Final

import numpy as np

from chunkarr.ops import reduction_fold as fold
from chunkarr.ops import reduction_index as index
from chunkarr.ops import reduction_moments as moments
from chunkarr.ops.reduction_contract import NO_INITIAL, Asked, DType, Leaf, Reduction, State, Tile

__all__ = ["NO_INITIAL", "REDUCTIONS", "Asked", "Leaf", "Reduction", "leaf_nbytes"]


def leaf_nbytes(asked: Asked, elements: int) -> int:
    """Return the bytes that a leaf of so many elements may allocate, its scratch and its state included.

    Examples
    --------
    >>> leaf_nbytes(Asked(np.dtype("u2")), 65_536)
    2621440
    """
    widest = max(16, asked.in_dtype.itemsize, 0 if asked.dtype is None else asked.dtype.itemsize)
    return elements * (2 * widest + 8)


def _fold_state(row: Reduction, asked: Asked) -> tuple[DType, ...]:
    """Return the dtype of the result."""
    return (row.result(asked),)


def _sum_state(row: Reduction, asked: Asked) -> tuple[DType, ...]:
    """Return the dtype of the result, float32 for float16."""
    result = row.result(asked)
    return (np.dtype(np.float32) if result == np.float16 else result,)


def _count_state(row: Reduction, asked: Asked) -> tuple[DType, ...]:
    row.result(asked)
    return (np.dtype(np.int64),)


def _ptp_state(row: Reduction, asked: Asked) -> tuple[DType, ...]:
    row.result(asked)
    return (asked.in_dtype.newbyteorder("="),) * 2


def _truth(x: Tile) -> Tile:
    """Return whether elements are true, as a bool tile."""
    if x.dtype.kind == "b":
        return x
    return x != 0 if x.dtype.kind in "iufc" else x.astype(bool)


def _leaf_logical(ufunc: np.ufunc, x: Tile, mask: Tile | None, leaf: Leaf) -> State:
    return fold.leaf_fold(ufunc, _truth(x), mask, leaf)


def _leaf_count(x: Tile, mask: Tile | None, leaf: Leaf) -> State:
    truth = _truth(x)
    return (fold.count_true(truth if mask is None else truth & mask, leaf.inner),)


def _leaf_ptp(x: Tile, mask: Tile | None, leaf: Leaf) -> State:
    return (*fold.leaf_extreme(np.maximum, x, mask, leaf), *fold.leaf_extreme(np.minimum, x, mask, leaf))


def _combine_ptp(left: State, right: State) -> State:
    fold.combine_extreme(np.maximum, left[:1], right[:1])
    fold.combine_extreme(np.minimum, left[1:], right[1:])
    return left


def _finish_ptp(state: State, asked: Asked, dtype: DType) -> Tile:  # noqa: ARG001 - one signature for all rows
    return fold.canonical(np.subtract(state[0], state[1]).astype(dtype, copy=False))


def _finish_nan_extreme(ufunc: np.ufunc, state: State, asked: Asked, dtype: DType) -> Tile:
    values = fold.finish_fold(ufunc, state, asked, dtype)
    if dtype.kind in "fcmM" and np.isnan(values).any():
        warnings.warn("All-NaN slice encountered", RuntimeWarning, stacklevel=2)
    return values


def _sum_row(name: str, ufunc: np.ufunc) -> Reduction:
    """Return the row of a sum or product: `name` is NumPy's function or the ufunc itself."""
    numpy = ufunc.reduce if name == ufunc.__name__ else getattr(np, name)
    leaf = fold.leaf_nan_fold if name.startswith("nan") else fold.leaf_fold
    return Reduction(
        name=name,
        numpy=numpy,
        state=_sum_state,
        leaf=partial(leaf, ufunc),
        combine=partial(fold.combine_fold, ufunc),
        finish=partial(fold.finish_fold, ufunc),
    )


def _ufunc_row(ufunc: np.ufunc) -> Reduction:
    """Return the row of ``ufunc.reduce``."""
    return Reduction(
        name=ufunc.__name__,
        numpy=ufunc.reduce,
        state=_fold_state,
        leaf=partial(fold.leaf_fold, ufunc),
        combine=partial(fold.combine_fold, ufunc),
        finish=partial(fold.finish_fold, ufunc),
    )


def _logical_row(name: str, ufunc: np.ufunc) -> Reduction:
    numpy = ufunc.reduce if name == ufunc.__name__ else getattr(np, name)
    return Reduction(
        name=name,
        numpy=numpy,
        state=_fold_state,
        leaf=partial(_leaf_logical, ufunc),
        combine=partial(fold.combine_fold, ufunc),
        finish=partial(fold.finish_fold, ufunc),
    )


def _extreme_row(name: str, ufunc: np.ufunc) -> Reduction:
    numpy = ufunc.reduce if name == ufunc.__name__ else getattr(np, name)
    finish = _finish_nan_extreme if name.startswith("nan") else fold.finish_fold
    return Reduction(
        name=name,
        numpy=numpy,
        state=_fold_state,
        leaf=partial(fold.leaf_extreme, ufunc),
        combine=partial(fold.combine_extreme, ufunc),
        finish=partial(finish, ufunc),
    )


def _index_row(name: str, *, upper: bool) -> Reduction:
    without_nan = name.startswith("nan")
    return Reduction(
        name=name,
        numpy=getattr(np, name),
        state=index.index_state,
        leaf=partial(index.leaf_nan_index if without_nan else index.leaf_index, upper),
        combine=partial(index.combine_index, upper),
        finish=index.finish_nan_index if without_nan else index.finish_index,
    )


_MOMENTS = (
    Reduction("mean", np.mean, moments.mean_state, moments.leaf_mean, moments.combine_mean, moments.finish_mean),
    Reduction("var", np.var, moments.var_state, moments.leaf_var, moments.combine_var, moments.finish_var),
    Reduction("std", np.std, moments.var_state, moments.leaf_var, moments.combine_var, moments.finish_std),
    Reduction(
        "nanmean",
        np.nanmean,
        moments.nan_mean_state,
        moments.leaf_nan_mean,
        moments.combine_mean,
        moments.finish_nan_mean,
    ),
    Reduction(
        "nanvar", np.nanvar, moments.var_state, moments.leaf_nan_var, moments.combine_var, moments.finish_nan_var
    ),
    Reduction(
        "nanstd", np.nanstd, moments.var_state, moments.leaf_nan_var, moments.combine_var, moments.finish_nan_std
    ),
)

_ROWS = (
    *(_sum_row(name, np.add) for name in ("sum", "nansum", "add")),
    *(_sum_row(name, np.multiply) for name in ("prod", "nanprod", "multiply")),
    *(_extreme_row(name, np.maximum) for name in ("max", "maximum")),
    *(_extreme_row(name, np.minimum) for name in ("min", "minimum")),
    *(_extreme_row(name, np.fmax) for name in ("nanmax", "fmax")),
    *(_extreme_row(name, np.fmin) for name in ("nanmin", "fmin")),
    *(_logical_row(name, np.logical_or) for name in ("any", "logical_or")),
    *(_logical_row(name, np.logical_and) for name in ("all", "logical_and")),
    _logical_row("logical_xor", np.logical_xor),
    *(_ufunc_row(ufunc) for ufunc in (np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.gcd, np.lcm)),
    *(_ufunc_row(ufunc) for ufunc in (np.hypot, np.logaddexp, np.logaddexp2)),
    *(_index_row(name, upper=True) for name in ("argmax", "nanargmax")),
    *(_index_row(name, upper=False) for name in ("argmin", "nanargmin")),
    Reduction(
        "count_nonzero",
        np.count_nonzero,
        _count_state,
        _leaf_count,
        partial(fold.combine_fold, np.add),
        partial(fold.finish_fold, np.add),
    ),
    Reduction("ptp", np.ptp, _ptp_state, _leaf_ptp, _combine_ptp, _finish_ptp),
    *_MOMENTS,
)

REDUCTIONS: Final[dict[str, Reduction]] = {row.name: row for row in _ROWS}
