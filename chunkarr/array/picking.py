"""Parts of an array that a key with lists, index arrays or masks takes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chunkarr import engine
from chunkarr.advanced import parse_advanced
from chunkarr.array.expression import Expression, as_node
from chunkarr.graph import Node
from chunkarr.grid import Grid
from chunkarr.ops.compressing import Hits, compress, count_runs, run_grid
from chunkarr.ops.gathering import take_advanced

__all__ = ["pick", "take_where", "with_values"]

LARGE = 1 << 20  # elements of a mask from which on it is never held whole


def pick(array: Expression, key: Any) -> Node:
    """Return the node of ``array[key]`` for a key that is not basic; Arrays in it are computed.

    A large mask alone is not: it is counted, block by block, so that the shape is known.

    Raises
    ------
    IndexError, ValueError
        As NumPy raises them.
    MemoryBudgetError
        If the index arrays do not fit the budget.
    """
    node = array._node  # noqa: SLF001
    mask = key[0] if isinstance(key, tuple) and len(key) == 1 else key
    if isinstance(mask, Expression | np.ndarray) and mask.dtype == bool and mask.ndim and mask.size > LARGE:
        if mask.shape != array.shape[: mask.ndim]:
            parse_advanced(np.broadcast_to(np.False_, mask.shape), array.shape)  # raises
        (result,) = take_where([node], as_node(mask))
        return result
    return take_advanced(node, parse_advanced(with_values(key), array.shape))


def take_where(nodes: list[Node], mask: Node) -> list[Node]:
    """Return the elements of each node where ``mask``, of the shape of its leading axes, is true; counts it now."""
    if not math.prod(mask.shape):
        return [take_advanced(node, parse_advanced(np.zeros(mask.shape, bool), node.shape)) for node in nodes]
    widest = max(nodes, key=lambda n: n.dtype.itemsize)
    grid = widest.grid
    runs = run_grid(Grid(mask.shape, grid.steps[: mask.ndim]))
    (counts,) = engine.compute([count_runs(mask, runs)])
    hits = Hits.of(runs, counts)
    return [compress(node, mask, hits) for node in nodes]


def with_values(key: Any) -> Any:
    """Return a key with the values of the Arrays in it.

    Raises IndexError, as NumPy does, for Arrays that are neither of integers nor of booleans.
    """
    items = key if isinstance(key, tuple) else (key,)
    for item in items:
        if isinstance(item, Expression) and item.dtype.kind not in "biu":
            raise IndexError("arrays used as indices must be of integer (or boolean) type")
    values = tuple(item.compute() if isinstance(item, Expression) else item for item in items)
    return values if isinstance(key, tuple) else values[0]
