"""Arrays as sets: NumPy's names, for arrays larger than memory, on top of ``unique``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chunkarr import engine
from chunkarr.array import Array, as_node, implements, wrap
from chunkarr.functions.distinct import SMALL, unique
from chunkarr.functions.joining import concatenate
from chunkarr.functions.searching import searchsorted
from chunkarr.graph import Node
from chunkarr.io import asarray
from chunkarr.ops import layout
from chunkarr.ops.searching import contained
from chunkarr.ops.sources import constant, full
from chunkarr.settings import budget

__all__ = ["intersect1d", "isin", "setdiff1d", "setxor1d", "union1d"]

PART = 8  # part of the budget that distinct values may take to be held in memory


def _flat(x: Any) -> Array:
    node = as_node(x)
    return wrap(layout.reshape(node, (math.prod(node.shape),)))


def _are_small(*arrays: Any) -> bool:
    """Say whether NumPy is called."""
    return bool(sum(a.size * a.dtype.itemsize for a in arrays) <= min(SMALL, budget() // 16))


def _by_numpy(function: Any, arrays: tuple[Array, ...], **options: Any) -> Any:
    answer = function(*engine.compute([as_node(a) for a in arrays]), **options)
    return tuple(asarray(x) for x in answer) if isinstance(answer, tuple) else asarray(answer)


@implements(np.isin)
def isin(
    element: Any, test_elements: Any, assume_unique: bool = False, invert: bool = False, *, kind: str | None = None
) -> Array:
    """Return which elements are among others, lazily; the others are made distinct now.

    Parameters
    ----------
    element : array_like
        Any size.
    test_elements : array_like
        Any size; best if the distinct ones fit an eighth of the budget.
    assume_unique : bool
        Changes nothing.
    invert : bool
        Return which are not.
    kind : {None, "sort", "table"}
        Changes nothing.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.isin(ca.arange(4), [1, 3, 9]).tolist()
    [False, True, False, True]
    """
    del assume_unique
    node, test = as_node(element), _flat(test_elements)
    np.isin(np.zeros(1, node.dtype), np.zeros(1, test.dtype), kind=kind)  # type: ignore[arg-type]  # its refusals
    if not test.size:
        return wrap(full(node.shape, np.bool_(invert)))
    known: Array = unique(test)
    if known.size * known.dtype.itemsize <= budget() // PART:
        (values,) = engine.compute([as_node(known)])
        return wrap(_contained(node, values, invert=invert))
    flat = _flat(wrap(node))
    found: Any = searchsorted(known, flat, "right") > searchsorted(known, flat, "left")
    if np.promote_types(known.dtype, flat.dtype).kind in "fcmM":
        found = found & (flat == flat)  # noqa: PLR0124 - NaN equal nothing
    found = ~found if invert else found
    return wrap(layout.reshape(as_node(found), node.shape))


def _contained(node: Node, known: np.ndarray[Any, Any], *, invert: bool) -> Node:
    """Look elements up among distinct values in memory; integers are compared exactly, whatever their types."""
    if node.dtype.kind in "iu" and known.dtype.kind in "iu":
        info = np.iinfo(node.dtype)
        known = known[(known >= info.min) & (known <= info.max)].astype(node.dtype)
    if not known.size:
        return full(node.shape, np.bool_(invert))
    return contained(node, constant(known), invert=invert)


@implements(np.intersect1d)
def intersect1d(ar1: Any, ar2: Any, assume_unique: bool = False, return_indices: bool = False) -> Any:
    """Return the distinct elements that are in both arrays, sorted.

    Parameters
    ----------
    ar1, ar2 : array_like
        Flattened.
    assume_unique : bool
        Both hold no element twice.
    return_indices : bool
        Return the indices of the first of each in both arrays too.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.intersect1d(ca.asarray([3, 1, 3]), [3, 4]).tolist()
    [3]
    """
    one, other = _flat(ar1), _flat(ar2)
    if _are_small(one, other):
        options = {"assume_unique": assume_unique, "return_indices": return_indices}
        return _by_numpy(np.intersect1d, (one, other), **options)
    dtype = np.result_type(one.dtype, other.dtype)
    if not return_indices:
        left: Array = unique(one)
        return left[isin(left, other)].astype(dtype)
    (left, first), (right, second) = unique(one, return_index=True), unique(other, return_index=True)
    both, back = isin(left, right), isin(right, left)
    return left[both].astype(dtype), first[both], second[back]


@implements(np.union1d)
def union1d(ar1: Any, ar2: Any) -> Array:
    """Return the distinct elements of both arrays, sorted.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.union1d(ca.asarray([3, 1, 3]), [3, 4]).tolist()
    [1, 3, 4]
    """
    found: Array = unique(concatenate([_flat(ar1), _flat(ar2)]))
    return found


@implements(np.setdiff1d)
def setdiff1d(ar1: Any, ar2: Any, assume_unique: bool = False) -> Array:
    """Return the distinct elements of the first array that are not in the second; with ``assume_unique`` in its order.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.setdiff1d(ca.asarray([3, 1, 3]), [3, 4]).tolist()
    [1]
    """
    one, other = _flat(ar1), _flat(ar2)
    values: Array = one if assume_unique else unique(one)
    return values[isin(values, other, invert=True)]


@implements(np.setxor1d)
def setxor1d(ar1: Any, ar2: Any, assume_unique: bool = False) -> Array:
    """Return the distinct elements that are in one of the arrays only, sorted.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.setxor1d(ca.asarray([3, 1, 3]), [3, 4]).tolist()
    [1, 4]
    """
    one, other = _flat(ar1), _flat(ar2)
    if _are_small(one, other):
        small: Array = _by_numpy(np.setxor1d, (one, other), assume_unique=assume_unique)
        return small
    left, right = unique(one), unique(other)
    apart = [left[isin(left, right, invert=True)], right[isin(right, left, invert=True)]]
    found: Array = unique(concatenate(apart), equal_nan=False)
    return found
