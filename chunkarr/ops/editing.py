"""Indices taken out of an axis and put into it, in one pass over the array."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.graph import Kernel, Node
from chunkarr.grid import Grid, Region, Shape, region_size, whole
from chunkarr.ops.sources import natural_grid

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["cycled", "merge", "without"]

Block = np.ndarray[Any, Any]
Indices = np.ndarray[Any, np.dtype[np.intp]]


def _along(region: Region, axis: int, bounds: tuple[int, int]) -> Region:
    return (*region[:axis], bounds, *region[axis + 1 :])


class Without(Kernel):
    """The elements along an axis but for some."""

    __slots__ = ("axis", "before")

    def __init__(self, shape: Shape, dtype: np.dtype[Any], axis: int, removed: Indices) -> None:
        super().__init__(shape, dtype)
        self.axis = axis
        self.before = removed - np.arange(removed.size)  # for each removed element: how many before it are kept

    def _sources(self, region: Region) -> Indices:
        kept = np.arange(*region[self.axis])
        return kept + np.searchsorted(self.before, kept, side="right")

    def needs(self, region: Region) -> tuple[Region | None, ...]:
        """Need the elements from the first to the last that is kept."""
        a, b = region[self.axis]
        first, last = (int(k + np.searchsorted(self.before, k, side="right")) for k in (a, b - 1))
        return (_along(region, self.axis, (first, last + 1)),)

    def kernel(self, blocks: Sequence[Block | None], region: Region, out: Block, scratch: Block) -> None:  # noqa: ARG002
        """Take what is kept."""
        sources = self._sources(region)
        # With mode="raise" NumPy would hold a copy of the result.
        np.take(blocks[0], sources - sources[0], axis=self.axis, out=out, mode="clip")  # type: ignore[call-overload]

    def scratch_bytes(self, region: Region) -> int:
        """Count the indices."""
        a, b = region[self.axis]
        return 32 * (b - a)


def without(node: Node, removed: Indices, axis: int) -> Node:
    """Return ``node`` without the elements ``removed`` (ascending, each once) along ``axis``."""
    shape = (*node.shape[:axis], node.shape[axis] - removed.size, *node.shape[axis + 1 :])
    return Node(Without(shape, node.dtype, axis, removed), (node,), Grid(shape, node.grid.steps, node.grid.firsts))


class Merge(Kernel):
    """Two arrays in one along an axis: elements of the second at given places, those of the first between them."""

    __slots__ = ("axis", "order", "places")

    def __init__(self, shape: Shape, dtype: np.dtype[Any], axis: int, places: Indices, order: Indices) -> None:
        super().__init__(shape, dtype)
        self.axis, self.places, self.order = axis, places, order

    def _inserted(self, region: Region) -> tuple[int, int]:
        lo, hi = np.searchsorted(self.places, region[self.axis])
        return int(lo), int(hi)

    def needs(self, region: Region) -> tuple[Region | None, ...]:
        """Need the first array's elements between the places, and the values for the places."""
        (a, b), (lo, hi) = region[self.axis], self._inserted(region)
        old = _along(region, self.axis, (a - lo, b - hi)) if a - lo < b - hi else None
        if lo == hi:
            return old, None
        order = self.order[lo:hi]
        return old, _along(region, self.axis, (int(order.min()), int(order.max()) + 1))

    def kernel(self, blocks: Sequence[Block | None], region: Region, out: Block, scratch: Block) -> None:  # noqa: ARG002
        """Put both in their places."""
        old, values = blocks
        lo, hi = self._inserted(region)
        free = np.ones(out.shape[self.axis], np.bool_)
        places = self.places[lo:hi] - region[self.axis][0]
        free[places] = False
        lead: Any = (slice(None),) * self.axis
        if old is not None:
            out[(*lead, free)] = old
        if values is not None:
            order = self.order[lo:hi]
            out[(*lead, places)] = np.take(values, order - order.min(), axis=self.axis)

    def scratch_bytes(self, region: Region) -> int:
        """Count the indices, the mask, and the values in order."""
        (a, b), (lo, hi) = region[self.axis], self._inserted(region)
        row = region_size(region) // max(1, b - a)
        return 24 * (b - a) + (hi - lo) * row * self.dtype.itemsize


def merge(node: Node, values: Node, places: Indices, order: Indices, axis: int) -> Node:
    """Return ``node`` with ``values[order[k]]`` at ``places[k]`` of the result along ``axis``; places ascend."""
    shape = (*node.shape[:axis], node.shape[axis] + places.size, *node.shape[axis + 1 :])
    steps = node.grid.steps if math.prod(node.shape) else shape
    return Node(Merge(shape, node.dtype, axis, places, order), (node, values), Grid(shape, steps, node.grid.firsts))


class Cycled(Kernel):
    """The elements of an array, in C order and again and again, under a shape."""

    __slots__ = ("inner",)

    def __init__(self, shape: Shape, dtype: np.dtype[Any], inner: Shape) -> None:
        super().__init__(shape, dtype)
        self.inner = inner

    def needs(self, region: Region) -> tuple[Region | None, ...]:
        """Need everything."""
        del region
        return (whole(self.inner),)

    def kernel(self, blocks: Sequence[Block | None], region: Region, out: Block, scratch: Block) -> None:  # noqa: ARG002
        """Look up each element by its flat index."""
        places = np.zeros((), np.intp)
        for (a, b), n in zip(region, self.shape, strict=True):
            places = places[..., None] * n + np.arange(a, b)
        values: Any = blocks[0]
        out[...] = values.reshape(-1)[places % values.size]

    def scratch_bytes(self, region: Region) -> int:
        """Count the indices, the values that are looked up, and a copy of those that are not in C order."""
        size = math.prod(self.inner) * self.dtype.itemsize
        return region_size(region) * (24 + self.dtype.itemsize) + size


def cycled(node: Node, shape: Shape) -> Node:
    """Return the elements of ``node``, of which there are some, repeated to fill ``shape``."""
    return Node(
        Cycled(shape, node.dtype, node.shape),
        (node,),
        natural_grid(Grid(shape, shape), node.dtype.itemsize, contiguous=True),
    )
