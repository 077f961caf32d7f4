"""Reductions under NumPy's names and signatures: lazy, one pass, bit-reproducible.

Each is a row of `chunkarr.ops.reductions`; dtypes, errors and the answers for no elements are NumPy's.
Floating sums are pairwise along every axis. ``out=`` takes an ndarray and computes at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chunkarr.array import Array, as_node, implements, wrap
from chunkarr.array.dispatch import as_mask
from chunkarr.array.outputs import deliver
from chunkarr.errors import UnsupportedError
from chunkarr.ops.layout import broadcast_to
from chunkarr.ops.reduce import reduce
from chunkarr.ops.reductions import NO_INITIAL

__all__ = [
    "all", "amax", "amin", "any", "argmax", "argmin", "average", "count_nonzero", "max", "mean", "min", "nanargmax",
    "nanargmin", "nanmax", "nanmean", "nanmin", "nanprod", "nanstd", "nansum", "nanvar", "prod", "ptp", "std", "sum",
    "var",
]  # fmt: skip


def _reduced(
    row: str,
    a: Any,
    axis: Any,
    out: Any,
    keepdims: Any,
    *,
    dtype: Any = None,
    where: Any = True,
    initial: Any = NO_INITIAL,
    ddof: float = 0,
) -> Any:
    """Reduce by a row of the table."""
    node = reduce(
        as_node(a), row, axis, dtype=dtype, keepdims=bool(keepdims), where=as_mask(where), initial=initial, ddof=ddof
    )
    return deliver(wrap(node), out)


# --- sums and products --------------------------------------------------------------------------


@implements(np.sum)
def sum(  # noqa: A001
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: bool = False,
    initial: Any = NO_INITIAL,
    where: Any = True,
) -> Any:
    """Return the sum over axes; floating sums are pairwise along every axis.

    Parameters
    ----------
    a : array_like
    axis : int, tuple of int or None
        All by default.
    dtype : dtype, optional
        Of the sum; small integers are summed in the platform's integer.
    out : ndarray, optional
        Receives the values, at once.
    keepdims : bool
        Keep reduced axes with size 1.
    initial : scalar, optional
        Where the sum starts.
    where : array_like of bool
        Which elements count; broadcast to ``a``.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.sum(ca.arange(6).reshape(2, 3), axis=0).tolist()
    [3, 5, 7]
    """
    return _reduced("sum", a, axis, out, keepdims, dtype=_kind(dtype, out), where=where, initial=initial)


@implements(np.prod)
def prod(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: bool = False,
    initial: Any = NO_INITIAL,
    where: Any = True,
) -> Any:
    """Return the product over axes; parameters as of `sum`."""
    return _reduced("prod", a, axis, out, keepdims, dtype=_kind(dtype, out), where=where, initial=initial)


@implements(np.nansum)
def nansum(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: bool = False,
    initial: Any = NO_INITIAL,
    where: Any = True,
) -> Any:
    """Return the sum over axes, NaN counted as zero; parameters as of `sum`."""
    return _reduced("nansum", a, axis, out, keepdims, dtype=_kind(dtype, out), where=where, initial=initial)


@implements(np.nanprod)
def nanprod(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: bool = False,
    initial: Any = NO_INITIAL,
    where: Any = True,
) -> Any:
    """Return the product over axes, NaN counted as one; parameters as of `sum`."""
    return _reduced("nanprod", a, axis, out, keepdims, dtype=_kind(dtype, out), where=where, initial=initial)


def _kind(dtype: Any, out: Any) -> Any:
    """Return the dtype to sum in: NumPy takes that of ``out`` when none is given."""
    return out.dtype if dtype is None and isinstance(out, np.ndarray) else dtype


# --- extremes -----------------------------------------------------------------------------------


@implements(np.max)
def max(  # noqa: A001
    a: Any, axis: Any = None, out: Any = None, keepdims: bool = False, initial: Any = NO_INITIAL, where: Any = True
) -> Any:
    """Return the maximum over axes; NaN if there is one.

    Parameters
    ----------
    a, axis, out, keepdims, where
        As of `sum`; ``where`` needs ``initial``.
    initial : scalar, optional
        The least that the answer can be.

    Raises
    ------
    ValueError
        Of no elements, without ``initial``.

    Examples
    --------
    >>> import chunkarr as ca
    >>> int(ca.max(ca.arange(6)))
    5
    """
    return _reduced("max", a, axis, out, keepdims, where=where, initial=initial)


@implements(np.min)
def min(  # noqa: A001
    a: Any, axis: Any = None, out: Any = None, keepdims: bool = False, initial: Any = NO_INITIAL, where: Any = True
) -> Any:
    """Return the minimum over axes; NaN if there is one. Parameters as of `max`."""
    return _reduced("min", a, axis, out, keepdims, where=where, initial=initial)


amax = implements(np.amax)(max)
amin = implements(np.amin)(min)


@implements(np.nanmax)
def nanmax(
    a: Any, axis: Any = None, out: Any = None, keepdims: bool = False, initial: Any = NO_INITIAL, where: Any = True
) -> Any:
    """Return the maximum over axes, NaN left out; parameters as of `max`."""
    return _reduced("nanmax", a, axis, out, keepdims, where=where, initial=initial)


@implements(np.nanmin)
def nanmin(
    a: Any, axis: Any = None, out: Any = None, keepdims: bool = False, initial: Any = NO_INITIAL, where: Any = True
) -> Any:
    """Return the minimum over axes, NaN left out; parameters as of `max`."""
    return _reduced("nanmin", a, axis, out, keepdims, where=where, initial=initial)


@implements(np.ptp)
def ptp(a: Any, axis: Any = None, out: Any = None, keepdims: bool = False) -> Any:
    """Return the maximum minus the minimum over axes, in one pass; parameters as of `sum`."""
    return _reduced("ptp", a, axis, out, keepdims)


@implements(np.argmax)
def argmax(a: Any, axis: Any = None, out: Any = None, *, keepdims: bool = False) -> Any:
    """Return the index of the first maximum along an axis, or in the flattened array.

    Examples
    --------
    >>> import chunkarr as ca
    >>> int(ca.argmax(ca.asarray([3, 7, 7])))
    1
    """
    return _reduced("argmax", a, axis, out, keepdims)


@implements(np.argmin)
def argmin(a: Any, axis: Any = None, out: Any = None, *, keepdims: bool = False) -> Any:
    """Return the index of the first minimum along an axis, or in the flattened array."""
    return _reduced("argmin", a, axis, out, keepdims)


@implements(np.nanargmax)
def nanargmax(a: Any, axis: Any = None, out: Any = None, *, keepdims: bool = False) -> Any:
    """Return the index of the first maximum, NaN left out; ValueError, when computed, where all are NaN."""
    return _reduced("nanargmax", a, axis, out, keepdims)


@implements(np.nanargmin)
def nanargmin(a: Any, axis: Any = None, out: Any = None, *, keepdims: bool = False) -> Any:
    """Return the index of the first minimum, NaN left out; ValueError, when computed, where all are NaN."""
    return _reduced("nanargmin", a, axis, out, keepdims)


# --- truth --------------------------------------------------------------------------------------


@implements(np.any)
def any(a: Any, axis: Any = None, out: Any = None, keepdims: bool = False, *, where: Any = True) -> Any:  # noqa: A001
    """Return whether some element is true; parameters as of `sum`."""
    return _reduced("any", a, axis, out, keepdims, where=where)


@implements(np.all)
def all(a: Any, axis: Any = None, out: Any = None, keepdims: bool = False, *, where: Any = True) -> Any:  # noqa: A001
    """Return whether all elements are true; parameters as of `sum`."""
    return _reduced("all", a, axis, out, keepdims, where=where)


@implements(np.count_nonzero)
def count_nonzero(a: Any, axis: Any = None, *, keepdims: bool = False) -> Array:
    """Return how many elements are not zero, over axes."""
    result: Array = _reduced("count_nonzero", a, axis, None, keepdims)
    return result


# --- moments ------------------------------------------------------------------------------------


@implements(np.mean)
def mean(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False, *, where: Any = True
) -> Any:
    """Return the mean over axes; parameters as of `sum`."""
    return _reduced("mean", a, axis, out, keepdims, dtype=dtype, where=where)


@implements(np.nanmean)
def nanmean(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False, *, where: Any = True
) -> Any:
    """Return the mean over axes, NaN left out; parameters as of `sum`."""
    return _reduced("nanmean", a, axis, out, keepdims, dtype=dtype, where=where)


def _nan_spread(
    row: str,
    a: Any,
    axis: Any,
    out: Any,
    keepdims: Any,
    *,
    dtype: Any,
    ddof: float,
    where: Any,
    mean: Any,
    correction: float | None,
) -> Any:
    """Compute a variance or standard deviation without NaN."""
    if mean is not None:
        raise UnsupportedError(f"mean= of {row} is not supported: the mean is found in the same pass; leave it out")
    if correction is not None:
        if ddof != 0:
            raise ValueError("ddof and correction can't be provided simultaneously.")
        ddof = correction
    return _reduced(row, a, axis, out, keepdims, dtype=dtype, where=where, ddof=ddof)


@implements(np.var)
def var(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    where: Any = True,
    mean: Any = None,
    correction: float | None = None,
) -> Any:
    """Return the variance over axes in one pass, exact for large means too.

    Parameters
    ----------
    a, axis, dtype, out, keepdims, where
        As of `sum`.
    ddof : float
        The divisor is the number of elements minus this.
    mean : array_like, optional
        Already known, with ``keepdims``; otherwise it is found in the same pass.
    correction : float, optional
        Another name of ``ddof``.

    Examples
    --------
    >>> import chunkarr as ca
    >>> float(ca.var(ca.asarray([1e9 + 1, 1e9 + 2, 1e9 + 3]), ddof=1))
    1.0
    """
    values = wrap(as_node(a))
    result = values.var(axis, dtype, None, ddof, keepdims, where=where, mean=mean, correction=correction)
    return deliver(result, out)


@implements(np.std)
def std(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    where: Any = True,
    mean: Any = None,
    correction: float | None = None,
) -> Any:
    """Return the standard deviation over axes; parameters as of `var`."""
    values = wrap(as_node(a))
    result = values.std(axis, dtype, None, ddof, keepdims, where=where, mean=mean, correction=correction)
    return deliver(result, out)


@implements(np.nanvar)
def nanvar(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    where: Any = True,
    mean: Any = None,
    correction: float | None = None,
) -> Any:
    """Return the variance over axes, NaN left out; parameters as of `var`, but for ``mean``."""
    return _nan_spread(
        "nanvar", a, axis, out, keepdims, dtype=dtype, ddof=ddof, where=where, mean=mean, correction=correction
    )


@implements(np.nanstd)
def nanstd(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    where: Any = True,
    mean: Any = None,
    correction: float | None = None,
) -> Any:
    """Return the standard deviation over axes, NaN left out; parameters as of `var`, but for ``mean``."""
    return _nan_spread(
        "nanstd", a, axis, out, keepdims, dtype=dtype, ddof=ddof, where=where, mean=mean, correction=correction
    )


@implements(np.average)
def average(a: Any, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: bool = False) -> Any:
    """Return the weighted mean over axes.

    Parameters
    ----------
    a, axis, keepdims
        As of `sum`.
    weights : array_like, optional
        Of the shape of ``a``, or of its ``axis``; summed at once, to refuse a sum of zero.
    returned : bool
        Return the sum of weights too.

    Raises
    ------
    ZeroDivisionError
        If weights sum to zero.
    TypeError, ValueError
        If the shape of weights does not fit.

    Examples
    --------
    >>> import chunkarr as ca
    >>> float(ca.average(ca.asarray([1.0, 2.0, 4.0]), weights=[1, 1, 2]))
    2.75
    """
    values = wrap(as_node(a))
    axes = None if axis is None else np.lib.array_utils.normalize_axis_tuple(axis, values.ndim, argname="axis")
    if weights is None:
        result = mean(values, axis, keepdims=keepdims)
        scale: Any = np.asarray(values.size / result.size, result.dtype)  # of no results NumPy has none either
    else:
        wgt = broadcast_weights(weights, values, axes)
        kinds = (values.dtype, wgt.dtype, *(("f8",) if values.dtype.kind in "iub" else ()))
        dtype = np.result_type(*kinds)
        scale = sum(wgt, axes, dtype=dtype, keepdims=keepdims)
        if bool(any(np.equal(scale, 0.0))):
            raise ZeroDivisionError("Weights sum to zero, can't be normalized")
        result = sum(np.multiply(values, wgt, dtype=dtype), axes, keepdims=keepdims) / scale
    if not returned:
        return result
    return result, wrap(broadcast_to(as_node(scale), result.shape))


def broadcast_weights(weights: Any, values: Array, axes: tuple[int, ...] | None) -> Array:
    """Return weights that broadcast against ``values``; NumPy's errors."""
    wgt = wrap(as_node(weights))
    if wgt.shape == values.shape:
        return wgt
    if axes is None:
        raise TypeError("Axis must be specified when shapes of a and weights differ.")
    if wgt.shape != tuple(values.shape[k] for k in axes):
        raise ValueError("Shape of weights must be consistent with shape of a along specified axis.")
    key: list[Any] = [slice(None) if k in axes else None for k in range(values.ndim)]
    turned = wgt.transpose(tuple(int(k) for k in np.argsort(axes)))
    return turned[tuple(key)]
