"""Order along an axis, and elements by their places along one: NumPy's names, for arrays larger than memory.

Where the lines along the axis fit a task, NumPy's function is called on blocks of whole lines. Longer lines
are sorted in scratch, and gathered from.
"""

from __future__ import annotations

import math
import operator
from functools import partial
from typing import Any

import numpy as np

from chunkarr import engine
from chunkarr.array import Array, as_node, implements, wrap
from chunkarr.array.expression import Expression
from chunkarr.graph import Node
from chunkarr.grid import Shape
from chunkarr.ops import elementwise, layout, sorting
from chunkarr.ops.fetching import in_bounds
from chunkarr.ops.searching import fits_a_task, on_lines
from chunkarr.ops.sources import arange, constant, full

__all__ = ["argpartition", "lexsort", "partition", "put_along_axis", "sort_complex", "take_along_axis"]


def _lines(a: Any, axis: int | None) -> tuple[Node, int]:
    """Return an array, flattened if ``axis`` is None, and its axis."""
    node = as_node(a)
    if axis is None:
        return layout.reshape(node, (math.prod(node.shape),)), 0
    return node, int(np.lib.array_utils.normalize_axis_index(operator.index(axis), node.ndim))


# --- partitions ------------------------------------------------------------------------------------------------------


@implements(np.partition)
def partition(a: Any, kth: Any, axis: int | None = -1, kind: str = "introselect", order: Any = None) -> Array:
    """Return the elements so that those at ``kth`` are where a sort would put them, smaller ones before them.

    Lines that do not fit a task are sorted, which is a partition too.

    Parameters
    ----------
    a : array_like
    kth : int or sequence of ints
        Positions along the axis.
    axis : int, optional
        None: of the flattened array.
    kind : {"introselect"}
    order : str or list of str, optional
        Fields of a structured array to compare first.

    Examples
    --------
    >>> import chunkarr as ca
    >>> int(ca.partition(ca.asarray([7, 1, 9, 3]), 1)[1])
    3
    """
    node, at, places = _partitioned(np.partition, a, kth, axis, kind, order)
    if node.shape[at] and not fits_a_task([node], at):
        return wrap(sorting.sort(node, at, order=order))
    if 0 in node.shape:
        return wrap(node)
    function = partial(np.partition, kth=places, axis=at, kind=kind, order=order)
    return wrap(on_lines(function, [node], at, node.dtype))


@implements(np.argpartition)
def argpartition(a: Any, kth: Any, axis: int | None = -1, kind: str = "introselect", order: Any = None) -> Array:
    """Return the positions along an axis that partition it; see `partition`.

    Examples
    --------
    >>> import chunkarr as ca
    >>> int(ca.argpartition(ca.asarray([7, 1, 9, 3]), 1)[1])
    3
    """
    node, at, places = _partitioned(np.argpartition, a, kth, axis, kind, order)
    if node.shape[at] and not fits_a_task([node], at):
        return wrap(sorting.argsort(node, at, order=order))
    if 0 in node.shape:
        return wrap(full(node.shape, np.intp(0)))
    function = partial(np.argpartition, kth=places, axis=at, kind=kind, order=order)  # type: ignore[arg-type]
    return wrap(on_lines(function, [node], at, np.intp))


def _partitioned(function: Any, a: Any, kth: Any, axis: int | None, kind: str, order: Any) -> tuple[Node, int, Any]:
    """Return the array, the axis and the positions, or raise what NumPy raises."""
    places = kth.compute() if isinstance(kth, Expression) else kth
    given = as_node(a)
    if not given.ndim and axis is not None:
        function(np.zeros((), given.dtype), places, axis)  # NumPy's own refusal, if it has one
        given = layout.reshape(given, (1,))
    node, at = _lines(wrap(given), axis)
    few = np.zeros(2, node.dtype)
    function(few, np.zeros_like(np.asarray(places)), kind=kind, order=order)
    size = node.shape[at]
    for place in np.asarray(places).reshape(-1) if 0 not in node.shape else ():
        if not -size <= place < size:
            raise ValueError(f"kth(={place}) out of bounds ({size})")
    return node, at, places


# --- sorts -----------------------------------------------------------------------------------------------------------


@implements(np.sort_complex)
def sort_complex(a: Any) -> Array:
    """Return complex numbers sorted along the last axis, first by their real parts.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.sort_complex(ca.asarray([3, 1 + 2j, 1])).tolist()
    [(1+0j), (1+2j), (3+0j)]
    """
    node = as_node(a)
    kind = np.sort_complex(np.zeros(1, node.dtype)).dtype
    at = int(np.lib.array_utils.normalize_axis_index(-1, node.ndim))
    return wrap(elementwise.astype(sorting.sort(node, at), kind))


@implements(np.lexsort)
def lexsort(keys: Any, axis: int = -1) -> Array:
    """Return the positions along an axis that sort by several keys, the last of them first; stable.

    Parameters
    ----------
    keys : sequence of array_like, or array_like, shape (K, ...)
        Of one shape.
    axis : int

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.lexsort((ca.asarray([9, 4, 6]), [1, 2, 1])).tolist()
    [2, 0, 1]
    """
    if isinstance(keys, Expression | np.ndarray) and keys.ndim:
        keys = [wrap(as_node(keys))[k] for k in range(keys.shape[0])]
    nodes = [elementwise.astype(n, n.dtype.newbyteorder("=")) for n in map(as_node, keys)]  # NumPy misorders others
    if not nodes:
        raise TypeError("need sequence of keys with len > 0 in lexsort")
    if len({n.shape for n in nodes}) > 1:
        raise ValueError("all keys need to be the same shape")
    node = nodes[0]
    if not node.ndim:
        return wrap(constant(np.lexsort([np.zeros((), n.dtype) for n in nodes], axis)))
    at = int(np.lib.array_utils.normalize_axis_index(operator.index(axis), node.ndim))
    np.lexsort([np.zeros(1, n.dtype) for n in nodes])
    if fits_a_task(nodes, at) or 0 in node.shape:
        return wrap(on_lines(partial(_lexsort, axis=at), nodes, at, np.intp))
    places = engine.settle(sorting.argsort(nodes[0], at, stable=True))
    for key in nodes[1:]:
        ordered = engine.settle(_along(key, places, at))
        places = engine.settle(_along(places, sorting.argsort(ordered, at, stable=True), at))
    return wrap(places)


def _lexsort(*keys: Any, axis: int) -> Any:
    return np.lexsort(keys, axis)


# --- places along an axis --------------------------------------------------------------------------------------------


@implements(np.take_along_axis)
def take_along_axis(arr: Any, indices: Any, axis: int | None = -1) -> Array:
    """Return the elements at places along an axis, which may differ from line to line.

    Parameters
    ----------
    arr : array_like
    indices : array_like of int
        Of the same number of axes, equal to those of ``arr`` or 1 but along ``axis``.
    axis : int, optional
        None: of the flattened array, by indices of one axis.

    Examples
    --------
    >>> import chunkarr as ca
    >>> a = ca.asarray([[30, 10], [5, 6]])
    >>> ca.take_along_axis(a, [[1], [0]], 1).tolist()
    [[10], [5]]
    """
    node, at, places = _along_checked(arr, indices, axis)
    return wrap(_along(node, places, at))


def _along_checked(arr: Any, places: Any, axis: int | None) -> tuple[Node, int, Node]:
    """Return array, axis and indices, or raise what NumPy raises."""
    where = as_node(places)
    if axis is None and where.ndim != 1:
        raise ValueError("when axis=None, `indices` must have a single dimension.")
    node, at = _lines(arr, axis)
    if where.dtype.kind not in "iu":
        raise IndexError("`indices` must be an integer array")
    if where.ndim != node.ndim:
        raise ValueError("`indices` and `arr` must have the same number of dimensions")
    for k, (n, m) in enumerate(zip(node.shape, where.shape, strict=True)):
        if k != at and n != m and 1 not in (n, m):
            raise IndexError(
                f"shape mismatch: indexing arrays could not be broadcast together: {node.shape} and {where.shape} "
                f"differ along axis {k}"
            )
    return node, at, where


def _along(node: Node, places: Node, axis: int) -> Node:
    """Return ``np.take_along_axis`` of nodes that suit each other."""
    if fits_a_task([node, places], axis) or 0 in (*node.shape, *places.shape):
        function = partial(np.take_along_axis, axis=axis)
        return on_lines(function, [node, places], axis, node.dtype, places.shape[axis])
    if node.ndim == 1:
        return as_node(wrap(node)[wrap(places)])
    flat = layout.reshape(node, (math.prod(node.shape),))
    return as_node(wrap(flat)[wrap(_flat_places(node.shape, places, axis))])


def _check_bounds(places: Any, size: int, axis: int) -> None:
    """Raise NumPy's IndexError for places beyond the ends of an axis."""
    if places.size:
        for place in (int(places.min()), int(places.max())):
            if not -size <= place < size:
                raise IndexError(f"index {place} is out of bounds for axis {axis} with size {size}")


def _flat_places(shape: Shape, places: Node, axis: int) -> Node:
    """Return places along an axis as flat indices."""
    result: Any = wrap(in_bounds(places, shape[axis], axis)) * math.prod(shape[axis + 1 :])
    for k, n in enumerate(shape):
        if k != axis and n > 1:
            line = layout.reshape(arange(0, n, 1), tuple(n if j == k else 1 for j in range(len(shape))))
            result = result + wrap(line) * math.prod(shape[k + 1 :])
    return as_node(result)


@implements(np.put_along_axis)
def put_along_axis(arr: Any, indices: Any, values: Any, axis: int | None) -> None:
    """Set the elements at places along an axis, on disk when it returns.

    Parameters
    ----------
    arr : Array or ndarray
        A stored array opened "r+", or a view of one.
    indices : array_like of int
        As of `take_along_axis`; held in memory.
    values : array_like
        Broadcast against the indices.
    axis : int, optional
        None: of the flattened array, by indices of one axis.
    """
    if not isinstance(arr, Expression):
        held, given = (x.compute() if isinstance(x, Expression) else x for x in (indices, values))
        np.put_along_axis(arr, held, given, axis)
        return
    node, at, where = _along_checked(arr, indices, axis)
    (held,) = engine.compute([where])
    target: Any = arr
    if axis is None:
        size = node.shape[0]
        _check_bounds(held, size, 0)
        target = target if target.ndim else target[None]
        key: tuple[Any, ...] = np.unravel_index(np.where(held < 0, held + size, held), target.shape)
    else:
        key = tuple(
            held if k == at else np.arange(n).reshape([n if j == k else 1 for j in range(node.ndim)])
            for k, n in enumerate(node.shape)
        )
    target[key] = values
