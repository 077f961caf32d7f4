"""Parts taken out of an array and put into it: new expressions, nothing is copied until they are asked for."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from chunkarr.array import Array, implements, wrap
from chunkarr.array.expression import as_node
from chunkarr.array.values import as_values, broadcasts, cast
from chunkarr.graph import Node
from chunkarr.ops import layout
from chunkarr.ops.editing import merge, without
from chunkarr.selection import Stride

__all__ = ["delete", "insert"]


def _on_axis(arr: Any, axis: Any) -> tuple[Node, int]:
    """Return an array and the axis that is meant, flattened where none is given."""
    node = as_node(arr)
    if axis is None:
        return (node if node.ndim == 1 else layout.reshape(node, (_size(node),))), 0
    return node, np.lib.array_utils.normalize_axis_index(operator.index(axis), node.ndim)


def _size(node: Node) -> int:
    return wrap(node).size


def _slab(node: Node, axis: int, start: int, stop: int) -> Node:
    """Return the elements ``start`` to ``stop`` along ``axis``."""
    items = [Stride(0, 1, n) for n in node.shape]
    items[axis] = Stride(start, 1, stop - start)
    return layout.take_basic(node, tuple(items))


@implements(np.delete)
def delete(arr: Any, obj: Any, axis: int | None = None) -> Array:
    """Return an array without some of its parts.

    Parameters
    ----------
    arr : array_like
        Not changed.
    obj : slice, int, array of ints or of bool
        Which indices along ``axis`` go.
    axis : int, optional
        None: along the flattened array.

    Examples
    --------
    >>> import chunkarr as ca
    >>> print(ca.delete(ca.arange(6), [0, -1]))
    [1 2 3 4]
    """
    node, at = _on_axis(arr, axis)
    n = node.shape[at]
    if isinstance(obj, slice):
        places = range(*obj.indices(n))
        places = places if places.step > 0 else places[::-1]
        if not places:
            return wrap(node).copy()
        if places.step > 1:
            return wrap(without(node, np.array(places, np.intp), at)).copy()
        return _gap(node, at, places.start, places.stop)
    single = isinstance(obj, int | np.integer) and not isinstance(obj, bool)
    given = np.asarray(obj)
    if not given.size and not isinstance(obj, np.ndarray | Array):
        given = given.astype(np.intp)
    if single or (given.size == 1 and given.dtype.kind in "iu"):
        index = int(given.item())
        if not -n <= index < n:
            raise IndexError(f"index {obj} is out of bounds for axis {at} with size {n}")
        return _gap(node, at, index % n, index % n + 1)
    return _without(node, given, at)


def _gap(node: Node, axis: int, start: int, stop: int) -> Array:
    """Return the array without a range."""
    parts = [_slab(node, axis, 0, start), _slab(node, axis, stop, node.shape[axis])]
    kept = [p for p in parts if p.shape[axis]] or parts[:1]
    return wrap(kept[0] if len(kept) == 1 else layout.concatenate(kept, axis, node.dtype)).copy()


def _without(node: Node, given: np.ndarray[Any, Any], axis: int) -> Array:
    """Return the array without the indices that an array names, or where it is true."""
    n = node.shape[axis]
    if given.dtype == bool:
        if given.shape != (n,):
            raise ValueError(
                "boolean array argument obj to delete must be one dimensional and match the axis length of " + str(n)
            )
        removed = np.flatnonzero(given)
    else:
        if given.dtype.kind not in "iu":
            raise IndexError("arrays used as indices must be of integer (or boolean) type")
        removed = np.unique(given)
        for index in removed[:1].tolist() + removed[-1:].tolist():
            if not -n <= index < n:
                raise IndexError(f"index {index} is out of bounds for axis 0 with size {n}")
        removed = np.unique(removed.astype(np.intp) % n) if removed.size else removed.astype(np.intp)
    return wrap(without(node, removed, axis) if removed.size else node).copy()


@implements(np.insert)
def insert(arr: Any, obj: Any, values: Any, axis: int | None = None) -> Array:
    """Return an array with values put in before given indices.

    Parameters
    ----------
    arr : array_like
        Not changed; its dtype is kept.
    obj : int, slice, array of ints or of bool
        Indices along ``axis`` of ``arr``; values of equal indices keep their order.
    values : array_like
        Broadcast to the places; an Array may be larger than memory.
    axis : int, optional
        None: along the flattened array.

    Examples
    --------
    >>> import chunkarr as ca
    >>> print(ca.insert(ca.arange(4), [1, 3], [10, 30]))
    [ 0 10  1  2 30  3]
    """
    node, at = _on_axis(arr, axis)
    n = node.shape[at]
    places = _insertions(obj, n)
    if places.size == 1:
        return _insert_one(node, places, values, at, obj)
    where = np.where(places < 0, places + n, places).astype(np.intp)
    if where.size and not (where.min() >= 0 and where.max() <= n):
        raise IndexError(f"index {where.max()} is out of bounds for axis {at} with size {n}")
    order = np.argsort(where, kind="stable")
    shape = (*node.shape[:at], where.size, *node.shape[at + 1 :])
    if not where.size:
        given = as_node(as_values(values, node.dtype, None))  # of nothing NumPy lets more axes pass
        np.empty(shape)[(slice(None),) * at + (where,)] = np.broadcast_to(np.empty(()), given.shape)
        return wrap(node).copy()
    new = _values(values, node, shape)
    return wrap(merge(node, new, where[order] + np.arange(where.size), order, at)).copy()


def _insertions(obj: Any, n: int) -> np.ndarray[Any, Any]:
    """Return where values go, as an array of integers."""
    if isinstance(obj, slice):
        return np.arange(*obj.indices(n), dtype=np.intp)
    places = np.asarray(obj)
    if places.dtype == bool:
        if places.ndim != 1:
            raise ValueError("boolean array argument obj to insert must be one dimensional")
        return np.flatnonzero(places)
    if places.ndim > 1:
        raise ValueError("index array argument obj to insert must be one dimensional or scalar")
    if not places.size and not isinstance(obj, np.ndarray | Array):
        places = places.astype(np.intp)
    if places.dtype.kind not in "iu":
        raise IndexError("arrays used as indices must be of integer (or boolean) type")
    return places


def _values(values: Any, node: Node, shape: tuple[int, ...]) -> Node:
    """Return what is inserted, cast and broadcast."""
    given = as_values(values, node.dtype, None)
    return layout.broadcast_to(cast(broadcasts(as_node(given), shape), node.dtype), shape)


def _insert_one(node: Node, places: np.ndarray[Any, Any], values: Any, axis: int, obj: Any) -> Array:
    """Insert one slab of any thickness before one index."""
    n = node.shape[axis]
    index = int(places.item())
    if not -n <= index <= n:
        raise IndexError(f"index {obj} is out of bounds for axis {axis} with size {n}")
    index += n if index < 0 else 0
    new = as_node(as_values(values, node.dtype, None))
    new = layout.reshape(new, (1,) * (node.ndim - new.ndim) + new.shape)
    if not places.ndim:  # of one index the values' first axis is the one that is inserted
        axes = list(range(1, new.ndim))
        axes.insert(axis, 0)
        new = layout.transpose(new, tuple(axes))
    shape = (*node.shape[:axis], new.shape[axis], *node.shape[axis + 1 :])
    new = layout.broadcast_to(cast(broadcasts(new, shape), node.dtype), shape)
    parts = [_slab(node, axis, 0, index), new, _slab(node, axis, index, n)]
    kept = [p for p in parts if p.shape[axis]] or parts[:1]
    return wrap(kept[0] if len(kept) == 1 else layout.concatenate(kept, axis, node.dtype)).copy()
