"""Scans along an axis of any length: each block is scanned alone, starting from what came before it.

The axis is cut into cells, a function of shape and chunks. One pass finds the total of each cell; the
totals, scanned, are the carries; a block of the result then needs its own cells and their carries, so
that a slice of a scan reads one cell once the carries are known.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.graph import Barrier, Kernel, Node
from chunkarr.grid import Grid, Region, Shape
from chunkarr.ops.accumulate import exclusive_scan, scan_block, scan_dtype, scan_total, total_dtype
from chunkarr.ops.sources import full

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Materialise", "materialise", "scan"]

Block = np.ndarray[Any, Any]
DEEP = 128  # elements along the axis that a cell has at least, so that carries are few
LONG = 1 << 19  # elements along the axis that a cell has at most, so that it fits in memory


class Materialise(Barrier):
    """The same values, computed once and held."""

    __slots__ = ()

    def needs(self, region: Region) -> tuple[Region | None, ...]:
        """Need the same region."""
        return (region,)


def materialise(node: Node) -> Node:
    """Return ``node`` evaluated once, in memory when small, else in scratch."""
    return Node(Materialise(node.shape, node.dtype), (node,), node.grid)


class _AlongAxis(Kernel):
    """What the kernels of a scan share: the ufunc, the axis, and the cells that cut it."""

    __slots__ = ("axis", "cells", "nan", "ufunc")

    def __init__(
        self, shape: Shape, dtype: np.dtype[Any], ufunc: np.ufunc, axis: int, cells: Grid, *, nan: bool
    ) -> None:
        super().__init__(shape, dtype)
        self.ufunc, self.axis, self.cells, self.nan = ufunc, axis, cells, nan

    def along(self, region: Region, bounds: tuple[int, int]) -> Region:
        """Return ``region`` with other bounds along the axis."""
        return (*region[: self.axis], bounds, *region[self.axis + 1 :])

    def part(self, block: Block, start: int, stop: int) -> Block:
        """Return a range of ``block`` along the axis."""
        result: Block = block[(slice(None),) * self.axis + (slice(start, stop),)]
        return result


class CellTotals(_AlongAxis):
    """The total of each cell."""

    __slots__ = ()

    def needs(self, region: Region) -> tuple[Region | None, ...]:
        """Need the whole cells."""
        a, b = region[self.axis]
        return (self.along(region, (self.cells.bounds(0, a)[0], self.cells.bounds(0, b - 1)[1])),)

    def kernel(self, blocks: Sequence[Block | None], region: Region, out: Block, scratch: Block) -> None:  # noqa: ARG002
        """Scan each cell and keep the last."""
        block: Any = blocks[0]
        a, b = region[self.axis]
        base = self.cells.bounds(0, a)[0]
        for cell in range(a, b):
            start, stop = self.cells.bounds(0, cell)
            piece = self.part(block, start - base, stop - base)
            total = scan_total(self.ufunc, piece, self.axis, self.dtype, nan=self.nan)
            self.part(out, cell - a, cell - a + 1)[...] = np.expand_dims(total, self.axis)

    def scratch_bytes(self, region: Region) -> int:
        """Count the scan of one cell and its cast copy, which NumPy allocates."""
        return _cell_bytes(self, region)


class Carries(_AlongAxis):
    """For each cell the scan of all totals before it."""

    __slots__ = ()

    def needs(self, region: Region) -> tuple[Region | None, ...]:
        """Need all totals up to the last cell."""
        return (self.along(region, (0, region[self.axis][1])),)

    def kernel(self, blocks: Sequence[Block | None], region: Region, out: Block, scratch: Block) -> None:  # noqa: ARG002
        """Scan the totals."""
        (block,) = blocks
        a, b = region[self.axis]
        out[...] = self.part(exclusive_scan(self.ufunc, block, self.axis), a, b)  # type: ignore[arg-type]

    def scratch_bytes(self, region: Region) -> int:
        """Count the scanned totals."""
        return 2 * math.prod(y - x for x, y in self.along(region, (0, region[self.axis][1]))) * self.dtype.itemsize


class Scan(_AlongAxis):
    """Blocks scanned from their carries; the second input are the carries, if there are several cells."""

    __slots__ = ()

    def _cells(self, region: Region) -> tuple[int, int]:
        a, b = region[self.axis]
        return self.cells.locate(0, a), self.cells.locate(0, b - 1) + 1

    def needs(self, region: Region) -> tuple[Region | None, ...]:
        """Need the cells from their beginning, and their carries."""
        first, last = self._cells(region)
        data = self.along(region, (self.cells.bounds(0, first)[0], region[self.axis][1]))
        return (data, self.along(region, (first, last))) if self.cells.size > 1 else (data,)

    def kernel(self, blocks: Sequence[Block | None], region: Region, out: Block, scratch: Block) -> None:  # noqa: ARG002
        """Scan cell by cell; what lies before the region is computed and dropped."""
        block: Any = blocks[0]
        a, b = region[self.axis]
        first, last = self._cells(region)
        base = self.cells.bounds(0, first)[0]
        for cell in range(first, last):
            start, stop = self.cells.bounds(0, cell)
            stop = min(stop, b)
            carry = None
            if cell:
                carry = np.take(blocks[1], cell - first, axis=self.axis)  # type: ignore[arg-type]
            piece = self.part(block, start - base, stop - base)
            if start >= a and piece.dtype == out.dtype:
                scan_block(self.ufunc, piece, self.axis, carry, self.part(out, start - a, stop - a), nan=self.nan)
                continue
            whole = np.empty(piece.shape, self.dtype)
            scan_block(self.ufunc, piece, self.axis, carry, whole, nan=self.nan)
            skip = max(0, a - start)
            self.part(out, start + skip - a, stop - a)[...] = self.part(whole, skip, stop - start)

    def scratch_bytes(self, region: Region) -> int:
        """Count the scan of one cell and its cast copy, which NumPy allocates."""
        return _cell_bytes(self, region)


def _cell_bytes(op: _AlongAxis, region: Region) -> int:
    depth = max(op.cells.steps)
    lines = math.prod(b - a for k, (a, b) in enumerate(region) if k != op.axis)
    return 3 * depth * lines * max(8, op.dtype.itemsize)


def scan(node: Node, ufunc: np.ufunc, axis: int, dtype: Any = None, *, nan: bool = False) -> Node:
    """Return ``ufunc.accumulate`` of ``node`` along ``axis`` (0 <= axis < ndim), as np.cumsum rounds or better.

    ``nan`` takes NaN as the neutral element. Reads the source twice when the axis has several cells.
    """
    result = scan_dtype(ufunc, node.dtype, None if dtype is None else np.dtype(dtype))
    size = node.shape[axis]
    if 0 in node.shape:
        return full(node.shape, np.zeros((), result)[()], result)
    step, first = node.grid.steps[axis], node.grid.firsts[axis]
    step *= -(-min(DEEP, size) // step)
    step = -(-step // -(-step // LONG))
    cells = Grid((size,), (step,), (first,))
    steps = tuple(step if k == axis else s for k, s in enumerate(node.grid.steps))
    grid = Grid(node.shape, steps, node.grid.firsts)
    if cells.size <= 1:
        return Node(Scan(node.shape, result, ufunc, axis, cells, nan=nan), (node,), grid)
    short = tuple(cells.size if k == axis else n for k, n in enumerate(node.shape))
    wide = total_dtype(result)
    each = Grid(short, tuple(1 if k == axis else s for k, s in enumerate(node.grid.steps)))
    totals = materialise(Node(CellTotals(short, wide, ufunc, axis, cells, nan=nan), (node,), each))
    lines = Grid(short, tuple(cells.size if k == axis else 1 << 12 for k in range(node.ndim)))
    carries = materialise(Node(Carries(short, wide, ufunc, axis, cells, nan=nan), (totals,), lines))
    return Node(Scan(node.shape, result, ufunc, axis, cells, nan=nan), (node, carries), grid)
