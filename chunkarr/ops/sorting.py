"""Sorting along an axis: by a task where a line fits one, else in sorted runs that are read as one array.

The external sort has two passes. The first sorts runs of each line and writes them to scratch, and keeps every so
many-th element of each as a sample. The second is that of whoever reads the result: a part of it is sorted out of the
parts of all runs that may belong there, which the samples tell (see `chunkarr.plan.merging`). So the result is read
like any stored array: written straight to a target, or a slice of it alone.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.formats.runs import seen_plain
from chunkarr.graph import Barrier, Kernel, Node
from chunkarr.grid import Grid, Region, Shape, whole
from chunkarr.ops.layout import transpose
from chunkarr.ops.ordering import Ordering, ordering_of
from chunkarr.settings import budget, workers

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Sort", "SortWithin", "argsort", "piece", "sort"]

Block = np.ndarray[Any, Any]
PIECE = 16 << 20  # bytes of the result of an external sort that are read at a time; boxes have twice as many
PIECES = 1 << 12  # or more of them, where the result is very long
LINE = 32 << 20  # bytes of a line that a task sorts by itself


def piece(itemsize: int, size: int) -> int:
    """Return how many elements of an external sort's result, ``size`` long, are read at a time."""
    return max(1, min(max(PIECE, size * itemsize // PIECES), budget() // workers() // 8) // itemsize)


class SortWithin(Kernel):
    """Lines that a task sorts by itself; ``places``: the positions that sort them."""

    __slots__ = ("axis", "ordering", "places")

    def __init__(self, shape: Shape, ordering: Ordering, axis: int, *, places: bool) -> None:
        super().__init__(shape, np.dtype(np.intp) if places else ordering.dtype)
        self.ordering, self.axis, self.places = ordering, axis, places

    def needs(self, region: Region) -> tuple[Region | None, ...]:
        """Need whole lines."""
        return ((*region[: self.axis], (0, self.shape[self.axis]), *region[self.axis + 1 :]),)

    def kernel(self, blocks: Sequence[Block | None], region: Region, out: Block, scratch: Block) -> None:  # noqa: ARG002
        """Sort the lines, and keep what is asked for of each."""
        block: Any = blocks[0]
        a, b = region[self.axis]
        asked = (slice(None),) * self.axis + (slice(a, b),)
        order = list(self.ordering.fields) or None
        kind: Any = "stable" if self.ordering.stable or order else None
        if self.places:
            out[...] = np.argsort(block, self.axis, kind, order)[asked]
        elif order:
            places = np.argsort(block, self.axis, kind, order)
            seen_plain(out)[...] = np.take_along_axis(seen_plain(block), places[asked], self.axis)
        elif b - a == self.shape[self.axis] and out.dtype.isnative:
            out[...] = block
            out.sort(self.axis, kind)
        else:
            out[...] = np.sort(block.astype(self.ordering.native), self.axis, kind)[asked]

    def scratch_bytes(self, region: Region) -> int:
        """Count what NumPy allocates: positions, copies, one line and its workspace."""
        (need,) = self.needs(region)
        assert need is not None
        size, item = math.prod(b - a for a, b in need), self.ordering.dtype.itemsize
        line = self.shape[self.axis] * (2 * item + 16)
        if self.places or self.ordering.fields:
            return size * (8 + (0 if self.places else 8 + item)) + line
        straight = size == math.prod(b - a for a, b in region) and self.dtype.isnative
        return line + (0 if straight else 2 * size * item)


class Sort(Barrier):
    """The last axis sorted in runs; ``places``: the positions that sort it."""

    __slots__ = ("ordering", "places")

    def __init__(self, shape: Shape, ordering: Ordering, *, places: bool) -> None:
        super().__init__(shape, np.dtype(np.intp) if places else ordering.dtype)
        self.ordering, self.places = ordering, places

    def needs(self, region: Region) -> tuple[Region | None, ...]:  # noqa: ARG002 - runs are sorted once, for all
        """Need everything."""
        return (whole(self.shape),)


def sort(node: Node, axis: int, *, order: Any = None, stable: bool = False) -> Node:
    """Return ``node`` sorted along ``axis`` (0 <= axis < ndim); records by the fields ``order``, then the others."""
    return _sorted(node, axis, ordering_of(node.dtype, order, stable=stable), places=False)


def argsort(node: Node, axis: int, *, order: Any = None, stable: bool = False) -> Node:
    """Return the positions that sort ``node`` along ``axis`` (0 <= axis < ndim); arguments as of `sort`."""
    return _sorted(node, axis, ordering_of(node.dtype, order, stable=stable), places=True)


def _sorted(node: Node, axis: int, ordering: Ordering, *, places: bool) -> Node:
    size, item = node.shape[axis], max(1, node.dtype.itemsize)
    if 0 in node.shape or size * item <= min(LINE, budget() // workers() // 8):
        steps = tuple(size if k == axis else s for k, s in enumerate(node.grid.steps))
        firsts = tuple(0 if k == axis else f for k, f in enumerate(node.grid.firsts))
        steps = _narrowed(steps, axis, max(1, size) * item)
        return Node(SortWithin(node.shape, ordering, axis, places=places), (node,), Grid(node.shape, steps, firsts))
    order = (*(k for k in range(node.ndim) if k != axis), axis)
    last = transpose(node, order) if axis != node.ndim - 1 else node
    grid = Grid(last.shape, (*(1 for _ in order[:-1]), min(size, piece(max(item, 8 if places else 1), size))))
    result = Node(Sort(last.shape, ordering, places=places), (last,), grid)
    return transpose(result, tuple(int(k) for k in np.argsort(order))) if axis != node.ndim - 1 else result


def _narrowed(steps: Shape, axis: int, line: int) -> Shape:
    """Return boxes of whole lines, as large as what a task sorts: narrow along first axes, wide along last ones.

    What lies together in a file is then read together.
    """
    room = max(1, min(LINE, budget() // workers() // 8) // line)
    narrow = list(steps)
    for k in range(len(steps)):
        while k != axis and math.prod(narrow) // max(1, narrow[axis]) > room and narrow[k] > 1:
            narrow[k] = -(-narrow[k] // 2)
    return tuple(narrow)
