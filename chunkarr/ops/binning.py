"""Histograms of blocks: the bins that NumPy puts each element in, found by comparing or by fixed-point arithmetic."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.graph import Kernel, Node
from chunkarr.grid import Grid, Region, Shape

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["BinCounter", "GridCounter", "ValueCounter", "weighed"]

Block = np.ndarray[Any, Any]
TILE = 1 << 16  # elements that are compared at a time: few calls, so that threads seldom wait for the interpreter
PLACED = 1 << 16  # elements whose places are found at a time: what that holds fits the second-level cache
COUNTED = 1 << 17  # bins that are counted at a time
FEW = 14  # bins up to which every edge is compared with every element
NARROW = 256  # bins up to which a byte says which
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
        if self.uniform is not None:
            if self.size <= FEW and values.dtype == self.edges.dtype and values.dtype.kind == "f":
                return self._each_tile(values, self._compared)
            bits = _fraction(values.dtype, self.edges)
            if bits:
                return _Places(self.edges, bits, len(values)).count(values)
        return self._each_tile(values, self._by_numpy)

    def _each_tile(self, values: Block, count: Callable[[Block], Block]) -> Block:
        counts = np.zeros(self.size, np.int64)
        for start in range(0, len(values), TILE):
            counts += count(values[start : start + TILE])
        return counts

    def _by_numpy(self, tile: Block) -> Block:
        if self.uniform is None:
            return np.histogram(tile, self.edges)[0]
        return np.histogram(tile, self.size, self.uniform)[0]

    def _compared(self, tile: Block) -> Block:
        """Count what lies below each edge; NaN is below none. What is out of range is left to NumPy."""
        first, last = self.edges[0], self.edges[-1]
        if not (tile.min() >= first and tile.max() <= last):
            return self._by_numpy(tile)
        below = np.empty(self.size + 1, np.int64)
        below[0], below[-1] = 0, len(tile)
        mask = np.empty(len(tile), np.bool_)
        for k in range(1, self.size):
            below[k] = np.count_nonzero(np.less(tile, self.edges[k], out=mask))
        return np.diff(below)

    def held_bytes(self, elements: int) -> int:
        """Count tiles and counts, NumPy's included."""
        paired = 3 * 8 * (self.size << 8) if self.size <= NARROW else 0
        return 24 * 8 * min(elements, TILE) + 12 * min(elements, COUNTED) + 8 * 8 * (self.size + 2) + paired


def _fraction(dtype: np.dtype[Any], edges: Block) -> int:
    """Return how many bits of a bin's width tell which elements are near an edge; 0 where rounding is too coarse.

    >>> _fraction(np.dtype("f8"), np.linspace(0, 1, 101)), _fraction(np.dtype("f8"), np.linspace(1e12, 1e12 + 1, 101))
    (16, 0)
    """
    whole = dtype.kind in "iu" and dtype.itemsize <= 4 and edges.dtype == np.float64
    if edges.dtype not in (np.float32, np.float64) or not (whole or dtype in (np.float32, edges.dtype)):
        return 0
    size, first, last = len(edges) - 1, float(edges[0]), float(edges[-1])
    span = float(edges[-1] - edges[0])
    if not (math.isfinite(span) and span > float(np.finfo(edges.dtype).tiny) * (size << 24)):
        return 0
    width = SLACK * float(np.finfo(edges.dtype).eps) * size * (1 + max(abs(first), abs(last)) / span)
    return next((bits for bits in (16, 8) if width * (1 << bits) < 1 and size << bits < 1 << 30), 0)


class _Places:
    """Counts of elements in bins of one width, in exact places.

    An element's place is a number of parts of a bin, 2**bits of them. Rounding is less than a part, so only in the
    first and in the last part of a bin may an element be on the wrong side of an edge; these few are compared with it.

    Parameters
    ----------
    edges
        Of the bins, shape ``(size + 1,)``.
    bits
        As of `_fraction`.
    elements
        How many will be counted.
    """

    def __init__(self, edges: Block, bits: int, elements: int) -> None:
        self.edges, self.bits, self.size = edges, bits, len(edges) - 1
        self.scale = edges.dtype.type((self.size << bits) / (edges[-1] - edges[0]))
        tile = min(elements, PLACED)
        self._place = np.empty(tile, edges.dtype)
        self._parts = np.empty(tile, np.int32)
        self._rest = np.empty(tile, f"u{bits // 8}")
        self._near = np.empty(tile, np.bool_)
        self._bins = np.empty(min(elements, COUNTED), np.uint8 if self.size <= NARROW else np.int32)

    def count(self, values: Block) -> Block:
        """Return the counts, shape ``(size,)``, int64."""
        counts, pairs = np.zeros(self.size, np.int64), None
        for start in range(0, len(values), COUNTED):
            bins = self._bins[: self._placed(values[start : start + COUNTED])]
            even = len(bins) // 2 * 2 if len(bins) >= self.size << 8 and self.size <= NARROW else 0
            if even:  # two bytes are one number: half as many to count
                found = np.bincount(bins[:even].view(np.uint16), minlength=self.size << 8)
                pairs = found if pairs is None else np.add(pairs, found, out=pairs)
            counts += np.bincount(bins[even:], minlength=self.size)
        if pairs is not None:
            table = pairs.reshape(self.size, 256)
            counts += table.sum(axis=1) + table.sum(axis=0)[: self.size]
        return counts

    def _placed(self, values: Block) -> int:
        """Put the bins of those ``values`` that are in range into ``_bins``; return how many there are."""
        done = 0
        with np.errstate(all="ignore"):  # what is far out of range overflows, and is found by that
            for start in range(0, len(values), PLACED):
                tile = values[start : start + PLACED]
                if not self._place_tile(tile, self._bins[done : done + len(tile)]):
                    tile = tile[(tile >= self.edges[0]) & (tile <= self.edges[-1])]
                    self._place_tile(tile, self._bins[done : done + len(tile)])
                done += len(tile)
        return done

    def _place_tile(self, tile: Block, bins: Block) -> bool:
        """Fill ``bins``; return False if an element is out of range."""
        count = len(tile)
        if not count:
            return True
        place, parts, rest, near = (a[:count] for a in (self._place, self._parts, self._rest, self._near))
        np.subtract(tile, self.edges[0], out=place)
        np.multiply(place, self.scale, out=place)
        np.copyto(parts, place, casting="unsafe")
        if parts.view(np.uint32).max() > self.size << self.bits:  # negative ones are great without a sign
            return False
        np.copyto(rest, parts, casting="unsafe")
        np.add(rest, 1, out=rest)
        if rest.min() <= 1:
            (unsure,) = np.nonzero(np.less_equal(rest, 1, out=near))
            found = tile[unsure]
            if not np.all((found >= self.edges[0]) & (found <= self.edges[-1])):
                return False
            edge = np.right_shift(parts[unsure] + 1, self.bits)
            parts[unsure] = np.minimum(edge - (found < self.edges[edge]), self.size - 1) << self.bits
        np.right_shift(parts, self.bits, out=parts)
        np.copyto(bins, parts, casting="unsafe")
        return True


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
