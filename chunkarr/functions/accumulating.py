"""Running sums and products, and the other scans: NumPy's names, an error no worse than pairwise.

A slice of a scan needs the totals of what lies before it, found in one pass, and then one cell.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from chunkarr.array import as_node, implements, wrap
from chunkarr.array.outputs import deliver
from chunkarr.graph import Node
from chunkarr.ops import layout
from chunkarr.ops.accumulate import SCANS
from chunkarr.ops.scans import scan
from chunkarr.ops.sources import full

__all__ = ["cumprod", "cumsum", "cumulative_prod", "cumulative_sum", "nancumprod", "nancumsum"]


def _one_axis(axis: Any, node: Node) -> tuple[Node, int]:
    """Return the node to scan and the axis: None means flattened."""
    if axis is None or node.ndim == 0:
        flat = layout.reshape(node, (math.prod(node.shape),))
        return flat, 0 if axis is None else int(np.lib.array_utils.normalize_axis_index(operator.index(axis), 1))
    return node, int(np.lib.array_utils.normalize_axis_index(operator.index(axis), node.ndim))


def _scanned(ufunc: np.ufunc, a: Any, axis: Any, dtype: Any, out: Any, *, nan: bool = False) -> Any:
    node, place = _one_axis(axis, as_node(a))
    if dtype is None and isinstance(out, np.ndarray):
        dtype = out.dtype
    return deliver(wrap(scan(node, ufunc, place, dtype, nan=nan)), out)


@implements(np.cumsum)
def cumsum(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
    """Return running sums along an axis, or of the flattened array.

    Parameters
    ----------
    a : array_like
    axis : int or None
        None flattens.
    dtype : dtype, optional
        Of the sums; small integers are summed in the platform's integer.
    out : ndarray, optional
        Receives the values, at once.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.cumsum(ca.arange(5)).tolist()
    [0, 1, 3, 6, 10]
    """
    return _scanned(np.add, a, axis, dtype, out)


@implements(np.cumprod)
def cumprod(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
    """Return running products; parameters as of `cumsum`."""
    return _scanned(np.multiply, a, axis, dtype, out)


@implements(np.nancumsum)
def nancumsum(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
    """Return running sums, NaN counted as zero; parameters as of `cumsum`."""
    return _scanned(np.add, a, axis, dtype, out, nan=True)


@implements(np.nancumprod)
def nancumprod(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
    """Return running products, NaN counted as one; parameters as of `cumsum`."""
    return _scanned(np.multiply, a, axis, dtype, out, nan=True)


def _cumulative(ufunc: np.ufunc, x: Any, axis: int | None, dtype: Any, out: Any, *, include_initial: bool) -> Any:
    node = as_node(x)
    if axis is None:
        if node.ndim >= 2:
            raise ValueError("For arrays which have more than one dimension ``axis`` argument is required.")
        axis = 0
    node, place = _one_axis(axis, node)
    result = scan(node, ufunc, place, dtype)
    if include_initial:
        shape = tuple(1 if k == place else n for k, n in enumerate(result.shape))
        start = full(shape, np.asarray(ufunc.identity, result.dtype)[()], result.dtype)
        result = layout.concatenate([start, result], place)
    return deliver(wrap(result), out)


@implements(np.cumulative_sum)
def cumulative_sum(
    x: Any, /, *, axis: int | None = None, dtype: Any = None, out: Any = None, include_initial: bool = False
) -> Any:
    """Return running sums along an axis, as the array API standard defines them.

    Parameters
    ----------
    x : array_like
    axis : int, optional
        May be left out for one axis only.
    dtype, out
        As of `cumsum`.
    include_initial : bool
        Put a zero in front.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.cumulative_sum(ca.asarray([1, 2, 3]), include_initial=True).tolist()
    [0, 1, 3, 6]
    """
    return _cumulative(np.add, x, axis, dtype, out, include_initial=include_initial)


@implements(np.cumulative_prod)
def cumulative_prod(
    x: Any, /, *, axis: int | None = None, dtype: Any = None, out: Any = None, include_initial: bool = False
) -> Any:
    """Return running products along an axis; parameters as of `cumulative_sum`."""
    return _cumulative(np.multiply, x, axis, dtype, out, include_initial=include_initial)


# --- methods of ufuncs --------------------------------------------------------------------------


@implements(np.ufunc.accumulate)
def _ufunc_accumulate(ufunc: np.ufunc, array: Any, axis: int = 0, dtype: Any = None, out: Any = None) -> Any:
    """Do what ``ufunc.accumulate`` does."""
    if ufunc not in SCANS:
        raise TypeError(f"numpy.{ufunc.__name__}.accumulate is not implemented for chunkarr arrays")
    node = as_node(array)
    if node.ndim == 0:
        raise TypeError("cannot accumulate on a scalar")
    if isinstance(out, tuple):
        (out,) = out
    return _scanned(ufunc, wrap(node), axis, dtype, out)
