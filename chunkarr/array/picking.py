"""Parts of an array that a key with lists, index arrays or masks takes."""

from __future__ import annotations

from typing import Any

from chunkarr.advanced import parse_advanced
from chunkarr.array.expression import Expression
from chunkarr.graph import Node
from chunkarr.ops.gathering import take_advanced

__all__ = ["pick", "with_values"]


def pick(array: Expression, key: Any) -> Node:
    """Return the node of ``array[key]`` for a key that is not basic; Arrays in it are computed, but for a lone mask.

    Raises
    ------
    IndexError, ValueError
        As NumPy raises them.
    MemoryBudgetError
        If the index arrays do not fit the budget.
    """
    return take_advanced(array._node, parse_advanced(with_values(key), array.shape))  # noqa: SLF001


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
