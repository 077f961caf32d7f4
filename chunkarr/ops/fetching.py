"""Rows of an array by index arrays larger than memory, in any order: fetched in the order of the array, put back.

Indices are sorted within blocks by the slab of the array that each lies in, slabs are read one after another and
their rows written where the indices stood, and a block of the result is put in order when it is read. So the array is
read once, the indices twice and the rows twice, whatever the order (see `chunkarr.plan.fetching`).
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.graph import Barrier, Node
from chunkarr.grid import Grid, Region, Shape, whole
from chunkarr.lookups import Lookup
from chunkarr.ops.elementwise import map_tiles
from chunkarr.ops.layout import concatenate, reshape, take_basic, transpose
from chunkarr.ops.sorting import piece
from chunkarr.ops.sources import full
from chunkarr.selection import Stride
from chunkarr.settings import budget, workers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chunkarr.lookups import Advanced
    from chunkarr.selection import Item

__all__ = ["Fetch", "fetch", "in_bounds", "take_far"]

INDEX = np.dtype(np.int64)


class Fetch(Barrier):
    """Rows of the first input at the places of the second, which are in bounds."""

    __slots__ = ("block", "sources")

    def __init__(self, source: Node, places: Node, block: int) -> None:
        super().__init__((places.shape[0], *source.shape[1:]), source.dtype)
        self.block = block  # rows of the result that are put in order at a time
        self.sources = (source.shape, places.shape)

    def needs(self, region: Region) -> tuple[Region | None, ...]:  # noqa: ARG002 - rows are fetched once, for all
        """Need everything."""
        return tuple(whole(shape) for shape in self.sources)


def fetch(node: Node, places: Node) -> Node:
    """Return the rows of ``node``, shape (N, ...), at ``places``, shape (K,) of int64 in 0 ... N - 1."""
    shape = (places.shape[0], *node.shape[1:])
    row = math.prod(node.shape[1:]) * node.dtype.itemsize
    if 0 in shape or not row:
        return full(shape, np.zeros((), node.dtype)[()], node.dtype)
    widest = max(range(node.ndim), key=lambda k: node.shape[k] if k else 0)
    if row > max(1, budget() // workers() // 8) and widest:  # columns, so that a task can hold some rows
        middle = node.shape[widest] // 2
        if middle:
            parts = (Stride(0, 1, middle), Stride(middle, 1, node.shape[widest] - middle))
            keys = [tuple(p if k == widest else Stride(0, 1, n) for k, n in enumerate(node.shape)) for p in parts]
            return concatenate([fetch(take_basic(node, key), places) for key in keys], widest)
    block = min(shape[0], piece(max(row, 8), shape[0]))
    return Node(Fetch(node, places, block), (node, places), Grid(shape, (block, *node.shape[1:])))


def in_bounds(places: Node, size: int, axis: int) -> Node:
    """Return indices of an axis as int64 of 0 ... size - 1; IndexError is raised when others are met."""
    return map_tiles(partial(_in_bounds, size=size, axis=axis), (places,), INDEX)


def _in_bounds(places: Any, out: Any, size: int, axis: int) -> None:
    """Count negative indices from the end."""
    if not places.size:
        return
    for place in (int(places.min()), int(places.max())):
        if not -size <= place < size:
            raise IndexError(f"index {place} is out of bounds for axis {axis} with size {size}")
    np.copyto(out, places, casting="unsafe")
    if places.dtype.kind == "i":
        np.add(out, size, out=out, where=out < 0)


def take_far(node: Node, advanced: Advanced, arrays: Sequence[Sequence[Node]]) -> Node:
    """Return the elements that a parsed key names, of any order and number.

    Parameters
    ----------
    node
        What is indexed.
    advanced
        The key; the index arrays of its groups are not looked at.
    arrays
        Instead of these, for each group, nodes that broadcast to the extent's axes along which it varies, flattened.
    """
    lengths = iter(advanced.inner)
    basic: list[Item] = []
    for item in advanced.items:
        length = 1 if item is None else next(lengths)
        basic.append(Stride(0, 1, length) if isinstance(item, Lookup) else item)
    labels: list[Any] = [item for item in advanced.items if item is None or isinstance(item, Stride | Lookup)]
    result = take_basic(node, tuple(basic))
    for number, group in enumerate(advanced.groups):
        looked = [k for k, item in enumerate(labels) if isinstance(item, Lookup) and item.group == number]
        looked.sort(key=lambda k: labels[k].number)
        rest = [k for k in range(result.ndim) if k not in looked]
        front = transpose(result, (*looked, *rest))
        sizes, others = front.shape[: len(looked)], front.shape[len(looked) :]
        places = _flat(arrays[number], sizes, group.axes)
        result = fetch(reshape(front, (math.prod(sizes), *others)), places)
        labels = [number, *(labels[k] for k in rest)]
    return _placed(result, labels, advanced)


def _flat(arrays: Sequence[Node], sizes: Shape, axes: Shape) -> Node:
    """Return several index arrays, in bounds then, as one of the flattened axes."""
    places = in_bounds(arrays[0], sizes[0], axes[0])
    for array, size, axis in zip(arrays[1:], sizes[1:], axes[1:], strict=True):
        places = map_tiles(partial(_joined, size=size), (places, in_bounds(array, size, axis)), INDEX)
    return places


def _joined(high: Any, low: Any, out: Any, size: int) -> None:
    np.multiply(high, size, out=out)
    out += low


def _placed(result: Node, labels: list[Any], advanced: Advanced) -> Node:
    """Give the axes of the groups, which are those labelled with a number, their extents and places in the result."""
    groups, extent, first = advanced.groups, advanced.extent, advanced.place
    rest = [k for k, label in enumerate(labels) if not isinstance(label, int)]
    grouped = [labels.index(number) for number in range(len(groups))]
    moved = transpose(result, (*rest[:first], *grouped, *rest[first:]))
    along = [axis for group in groups for axis in group.along]
    lengths = (*moved.shape[:first], *(extent[axis] for axis in along), *moved.shape[first + len(groups) :])
    order = [first + int(k) for k in np.argsort(along)]
    wide = transpose(reshape(moved, lengths), (*range(first), *order, *range(first + len(along), len(lengths))))
    return reshape(wide, advanced.shape)
