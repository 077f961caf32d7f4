"""Searching sorted arrays, and order along an axis: NumPy's names, for arrays larger than memory."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chunkarr import engine
from chunkarr.array import Array, as_node, implements, wrap
from chunkarr.graph import Barrier, Node, topological
from chunkarr.ops import elementwise, layout
from chunkarr.ops.counting import Places
from chunkarr.ops.searching import located
from chunkarr.ops.sources import constant, full
from chunkarr.settings import budget

__all__ = ["searchsorted"]

PART = 8  # part of the budget that a sorted array may take to be held in memory


@implements(np.searchsorted)
def searchsorted(a: Any, v: Any, side: Any = "left", sorter: Any = None) -> Array:
    """Return where values would be inserted into a sorted array to keep its order.

    Parameters
    ----------
    a : array_like, shape (N,)
        Sorted. Up to an eighth of the budget it is held in memory, and the answer is lazy; a larger one is
        read now, once for as many values as an eighth of the budget holds.
    v : array_like
        Any size.
    side : {"left", "right"}
        Before or after equal elements.
    sorter : array_like, shape (N,), optional
        Indices that sort ``a``.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.searchsorted(ca.asarray([10, 20, 30]), [20, 25]).tolist()
    [1, 2]
    """
    known, values = as_node(a), as_node(v)
    order = None if sorter is None else as_node(sorter)
    _judge(known, values, side, order)
    if order is not None:
        known = as_node(wrap(known)[wrap(elementwise.astype(order, np.intp))])
    if 0 in (*known.shape, *values.shape):
        return wrap(full(values.shape, np.intp(0)))
    common = np.promote_types(known.dtype, values.dtype)
    if known.shape[0] * max(known.dtype.itemsize, common.itemsize) <= budget() // PART:
        (held,) = engine.compute([known])
        return wrap(located(values, constant(held), side))
    known = known if order is None else engine.settle(known)  # it is read once for each part
    return wrap(_one_by_one(elementwise.astype(known, common), elementwise.astype(values, common), side))


def _judge(known: Node, values: Node, side: Any, order: Node | None) -> None:
    """Raise what NumPy raises: it is asked about arrays of two elements at most."""
    few = np.zeros(tuple(min(2, n) for n in known.shape), known.dtype)
    sorter = None
    if order is not None:
        longer = order.shape != known.shape and order.ndim == 1
        sorter = np.zeros((few.size + longer,) * order.ndim, order.dtype)
    np.searchsorted(few, np.zeros(0, values.dtype), side, sorter)


def _one_by_one(known: Node, values: Node, side: Any) -> Node:
    """Look the values up in parts that fit memory, in a pass over the sorted array for each."""
    flat = layout.reshape(values, (math.prod(values.shape),))
    size = max(1, budget() // PART // (known.dtype.itemsize + 24))
    if flat.shape[0] > size and any(isinstance(n.op, Barrier) and n.memo is None for n in topological([known])):
        known = engine.settle(known)  # what took a pass of its own would take it for each part
    parts = []
    for start in range(0, flat.shape[0], size):
        (part,) = engine.compute([as_node(wrap(flat)[start : start + size])])
        order = np.argsort(part)
        visitor = Places(known, part[order], side)
        engine.visit(known, visitor, part.size * (2 * known.dtype.itemsize + 24))
        places = np.empty(part.size, np.intp)
        places[order] = visitor.found()
        found = constant(places)
        parts.append(found if flat.shape[0] <= size else engine.settle(found))
    return layout.reshape(layout.concatenate(parts, 0), values.shape)
