"""Histograms of blocks: the bins that NumPy puts each element in, found by comparing where that is cheaper."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.graph import Kernel, Node
from chunkarr.grid import Grid, Region, Shape

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["BinCounter", "GridCounter", "ValueCounter", "weighed"]

Block = np.ndarray[Any, Any]
TILE = 1 << 16  # elements that are compared at a time: few calls, so that threads seldom wait for the interpreter
FEW = 24  # bins up to which every edge is compared with every element
SLACK = 64  # roundings by which a place among bins of one width may be wrong, and more


class BinCounter:
    """NumPy's counts of elements in bins.

    Parameters
    ----------
    edges
        Of the bins, ascending, shape ``(size + 1,)``.
    uniform
        The least and the greatest value that count, where all bins have one width; else None.
    """

    def __init__(self, edges: Block, uniform: tuple[Any, Any] | None) -> None:
        self.edges, self.uniform = edges, uniform
        self.size = len(edges) - 1

    def __call__(self, blocks: Sequence[Block]) -> Block:
        """Count, tile by tile."""
        (values,) = blocks
        counts = np.zeros(self.size, np.int64)
        plain = values.dtype == self.edges.dtype and values.dtype.kind == "f"
        for start in range(0, len(values), TILE):
            tile = values[start : start + TILE]
            found = None
            if plain and self.uniform is not None:
                found = self._compared(tile) if self.size <= FEW else self._placed(tile)
            counts += self._by_numpy(tile) if found is None else found
        return counts

    def _by_numpy(self, tile: Block) -> Block:
        if self.uniform is None:
            return np.histogram(tile, self.edges)[0]
        return np.histogram(tile, self.size, self.uniform)[0]

    def _compared(self, tile: Block) -> Block | None:
        """Count what lies below each edge; NaN is below none. What is out of range is left to NumPy."""
        first, last = self.edges[0], self.edges[-1]
        if not (tile.min() >= first and tile.max() <= last):
            return None
        below = np.empty(self.size + 1, np.int64)
        below[0], below[-1] = 0, len(tile)
        mask = np.empty(len(tile), np.bool_)
        for k in range(1, self.size):
            below[k] = np.count_nonzero(np.less(tile, self.edges[k], out=mask))
        return np.diff(below)

    def _placed(self, tile: Block) -> Block | None:
        """Divide by the width of bins, and ask NumPy about elements near an edge; None where one is out of range."""
        assert self.uniform is not None
        first, last = self.uniform
        if not (tile.min() >= first and tile.max() <= last):
            return None
        place = np.subtract(tile, first)
        np.multiply(place, self.size / (last - first), out=place)
        near = np.rint(place)
        np.subtract(place, near, out=near)
        np.abs(near, out=near)
        scale = max(abs(float(first)), abs(float(last))) / float(last - first)
        width = SLACK * np.finfo(tile.dtype).eps * self.size * (1 + scale)
        places = place.astype(np.intp)
        if near.min() > width:
            return np.bincount(places, minlength=self.size)
        unsure = near <= width
        places[unsure] = self.size  # a bin of their own
        counts = np.bincount(places, minlength=self.size + 1)[: self.size]
        counts += self._by_numpy(tile[unsure])
        return counts

    def held_bytes(self, elements: int) -> int:
        """Count tiles and counts, NumPy's included."""
        return 24 * 8 * min(elements, TILE) + 8 * 8 * (self.size + 2)


class GridCounter:
    """NumPy's counts of points in boxes; ``edges`` are those along each axis."""

    def __init__(self, edges: Sequence[Block]) -> None:
        self.edges = list(edges)
        self.size = math.prod(len(e) - 1 for e in edges)

    def __call__(self, blocks: Sequence[Block]) -> Block:
        """Count, a part of the points at a time."""
        counts = np.zeros(self.size, np.int64)
        step = max(4 * TILE, self.size)
        for start in range(0, len(blocks[0]), step):
            found, _ = np.histogramdd(tuple(block[start : start + step] for block in blocks), self.edges)
            counts += found.reshape(-1).astype(np.int64)
        return counts

    def held_bytes(self, elements: int) -> int:
        """Count NumPy's places and counts, which have a border."""
        axes = len(self.edges)
        border = math.prod(len(e) + 1 for e in self.edges)
        return 8 * (min(elements, max(4 * TILE, self.size)) * (3 * axes + 3) + 4 * border)


class ValueCounter:
    """How often each whole number from zero on is there.

    Parameters
    ----------
    size
        One more than the greatest.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, blocks: Sequence[Block]) -> Block:
        """Count."""
        return np.bincount(blocks[0], minlength=self.size)

    def held_bytes(self, elements: int) -> int:
        """Count the block as wide integers, and counts."""
        return 8 * (elements + 2 * self.size)


class Weighed(Kernel):
    """Sums over boxes of a grid that NumPy's function makes of samples and weights; the sums follow the boxes."""

    __slots__ = ("function", "grid", "held", "inputs")

    def __init__(self, shape: Shape, dtype: np.dtype[Any], grid: Grid, inputs: Sequence[Node], function: Any) -> None:
        super().__init__(shape, dtype)
        self.grid, self.function, self.inputs = grid, function, len(inputs)
        self.held = sum(n.dtype.itemsize for n in inputs) + 64

    def needs(self, region: Region) -> tuple[Region | None, ...]:
        """Need the boxes."""
        (a, b), *_ = region
        return (((self.grid.bounds(0, a)[0], self.grid.bounds(0, b - 1)[1]),),) * self.inputs

    def kernel(self, blocks: Sequence[Block | None], region: Region, out: Block, scratch: Block) -> None:  # noqa: ARG002
        """Call the function box by box; of other sums than it makes, take those that are asked for."""
        (a, b), *rest = region
        origin = self.grid.bounds(0, a)[0]
        key = tuple(slice(c, d) for c, d in rest)
        for k in range(a, b):
            start, stop = (bound - origin for bound in self.grid.bounds(0, k))
            out[k - a] = self.function(*(None if block is None else block[start:stop] for block in blocks))[key]

    def scratch_bytes(self, region: Region) -> int:  # noqa: ARG002 - one box at a time
        """Count NumPy's copies of a box, and its sums."""
        return self.held * self.grid.steps[0] + 4 * 8 * int(np.prod(self.shape[1:]))


def weighed(shape: Shape, dtype: np.dtype[Any], inputs: Sequence[Node], function: Any, step: int) -> Node:
    """Return the node, shape ``(boxes, *shape)``, of what ``function`` makes of ``step`` elements of flat inputs."""
    grid = Grid(inputs[0].shape, (min(step, inputs[0].shape[0]),))
    op = Weighed((grid.counts[0], *shape), dtype, grid, inputs, function)
    return Node(op, inputs, Grid(op.shape, (1, *shape)))
