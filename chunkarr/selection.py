"""What a basic NumPy key means: ints, slices, None and Ellipsis, with NumPy's own errors.

A key becomes one item per axis of the result or of the array: :class:`Pick` drops an axis, a
:class:`Stride` keeps it, None makes a new one of size 1.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import numpy as np

from chunkarr.grid import Shape

__all__ = ["Item", "Pick", "Stride", "is_basic", "is_integer", "parse_key"]


@dataclass(frozen=True, slots=True)
class Pick:
    """One index of an axis, which the result does not have."""

    index: int  # 0 <= index < size of the axis


@dataclass(frozen=True, slots=True)
class Stride:
    """Every ``step``-th element of an axis from ``start``, ``length`` of them."""

    start: int  # first element taken
    step: int  # never 0; negative runs backwards
    length: int  # elements taken


Item = Pick | Stride | None


def is_integer(item: object) -> bool:
    """Say whether ``item`` of a key picks one index: an integer, but no boolean."""
    if isinstance(item, bool | np.bool_):
        return False
    if isinstance(item, int | np.integer):
        return True
    return isinstance(item, np.ndarray) and item.ndim == 0 and item.dtype.kind in "iu"


def is_basic(key: Any) -> bool:
    """Say whether NumPy would take ``key`` as basic indexing.

    >>> is_basic((3, slice(None), None, ...)), is_basic([1, 2])
    (True, False)
    """
    items = key if isinstance(key, tuple) else (key,)
    return all(i is None or i is Ellipsis or isinstance(i, slice) or is_integer(i) for i in items)


def parse_key(key: Any, shape: Shape) -> tuple[Item, ...]:
    """Return what a basic ``key`` selects from an array of ``shape``.

    Raises IndexError with NumPy's messages.

    >>> parse_key((-1, slice(None, None, -1)), (3, 4))
    (Pick(index=2), Stride(start=3, step=-1, length=4))
    """
    items = list(key) if isinstance(key, tuple) else [key]
    if sum(i is Ellipsis for i in items) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    used = sum(i is not None and i is not Ellipsis for i in items)
    if used > len(shape):
        message = f"too many indices for array: array is {len(shape)}-dimensional, but {used} were indexed"
        raise IndexError(message)
    fill = [slice(None)] * (len(shape) - used)
    at = next((n for n, i in enumerate(items) if i is Ellipsis), len(items))
    items[at : at + 1] = fill
    result: list[Item] = []
    axis = 0
    for item in items:
        if item is None:
            result.append(None)
            continue
        size = shape[axis]
        if isinstance(item, slice):
            start, stop, step = item.indices(size)
            result.append(Stride(start, step, len(range(start, stop, step))))
        else:
            index = operator.index(item)
            if not -size <= index < size:
                message = f"index {index} is out of bounds for axis {axis} with size {size}"
                raise IndexError(message)
            result.append(Pick(index % size))
        axis += 1
    return tuple(result)
