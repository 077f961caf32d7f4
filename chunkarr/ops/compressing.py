"""Reading by a mask as large as the array: one pass counts what is true, so that the shape is known; one pass reads.

The array is seen as *runs*: boxes of a grid whose elements follow one another in C order. How many elements
are true in each run is counted once; where those of a run begin in the result is then known, and every box of runs can
be read alone. A result in memory is filled box by box, in the order that suits the storage; a larger one
is computed block by block, each from the runs that hold its elements.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.formats.runs import seen_plain
from chunkarr.graph import Kernel, Node
from chunkarr.grid import Grid, Region, Shape, region_shape, region_size, region_slices, tiles, whole
from chunkarr.ops.gathering import Collect, moved_at_once
from chunkarr.ops.layout import reshape
from chunkarr.ops.scans import materialise
from chunkarr.ops.sources import CELL, full
from chunkarr.settings import budget

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["Hits", "compress", "count_runs", "run_grid"]

Block = np.ndarray[Any, Any]
Indices = np.ndarray[Any, np.dtype[np.int64]]
SHORT = 1 << 12  # elements that a run has at least, where it may go on
BRIEF = 1 << 8  # elements up to which runs are counted many at once: a call for each would take longer


def run_grid(grid: Grid) -> Grid:
    """Return boxes of which each is one run in C order, within those of ``grid``, or longer where there would be many.

    >>> run_grid(Grid((1000, 600), (10, 200))).steps, run_grid(Grid((1000, 600), (10, 600))).steps
    ((1, 200), (7, 600))
    """
    limit = max(1 << 10, budget() // 512)
    shape, axis = grid.shape, len(grid.shape) - 1
    steps = [1] * len(shape)
    steps[axis] = grid.steps[axis]
    while steps[axis] >= shape[axis] and axis and math.prod(steps) < SHORT:
        size = math.prod(steps)
        axis -= 1
        steps[axis] = min(shape[axis], -(-SHORT // size))
    while math.prod(-(-n // s) for n, s in zip(shape, steps, strict=True)) > limit:
        if steps[axis] >= shape[axis]:
            axis -= 1
        steps[axis] = min(2 * steps[axis], shape[axis])
    return Grid(shape, tuple(steps))


class RunCounts(Kernel):
    """How many elements of a mask are true in each run."""

    __slots__ = ("runs",)

    def __init__(self, runs: Grid) -> None:
        super().__init__(runs.counts, np.dtype(np.int64))
        self.runs = runs

    def needs(self, region: Region) -> tuple[Region | None, ...]:
        """Need the runs."""
        return (_box_of_runs(self.runs, region),)

    def kernel(self, blocks: Sequence[Block | None], region: Region, out: Block, scratch: Block) -> None:  # noqa: ARG002
        """Count run by run."""
        (block,) = blocks
        assert block is not None
        if self.runs.steps[-1] < self.runs.shape[-1] and self.runs.steps[-1] <= BRIEF:
            np.add.reduceat(block, range(0, block.shape[-1], self.runs.steps[-1]), axis=-1, out=out, dtype=out.dtype)
            return
        whole_region = _box_of_runs(self.runs, region)
        for index in np.ndindex(out.shape):
            box = self.runs.region([a + i for (a, _), i in zip(region, index, strict=True)])
            out[index] = np.count_nonzero(block[region_slices(box, whole_region)])


def _box_of_runs(runs: Grid, region: Region) -> Region:
    """Return the region of the array that a region of runs covers."""
    return tuple((runs.bounds(axis, a)[0], runs.bounds(axis, b - 1)[1]) for axis, (a, b) in enumerate(region))


def count_runs(mask: Node, runs: Grid) -> Node:
    """Return the counts of a boolean node's runs, of shape ``runs.counts``."""
    steps = tuple(max(1, g // s) for g, s in zip(mask.grid.steps, runs.steps, strict=True))
    return Node(RunCounts(runs), (mask,), Grid(runs.counts, steps))


@dataclass(frozen=True, eq=False)
class Hits:
    """Where the elements of each run begin among all that are true."""

    runs: Grid
    offsets: Indices  # one more than there are runs; the last one is the number of all

    @classmethod
    def of(cls, runs: Grid, counts: Indices) -> Hits:
        """Return the hits of counted runs."""
        return cls(runs, np.concatenate([np.zeros(1, np.int64), np.cumsum(counts.reshape(-1))]))

    @property
    def size(self) -> int:
        """Elements that are true."""
        return int(self.offsets[-1])

    @cached_property
    def starts(self) -> Indices:
        """The offsets without the last, as the runs lie."""
        return self.offsets[:-1].reshape(self.runs.counts)

    @cached_property
    def counts(self) -> Indices:
        """Elements that are true in each run, as the runs lie."""
        return np.diff(self.offsets).reshape(self.runs.counts)

    @property
    def nbytes(self) -> int:
        """Bytes of all of these."""
        return 3 * self.offsets.nbytes

    def holding(self, first: int, last: int) -> tuple[int, int]:
        """Return the range of runs that hold hits ``first`` ... ``last``."""
        return (
            int(np.searchsorted(self.offsets, first, "right")) - 1,
            int(np.searchsorted(self.offsets, last, "left")),
        )

    def corner(self, run: int) -> Region:
        """Return the region of a run."""
        return self.runs.region([int(i) for i in np.unravel_index(run, self.runs.counts)])

    def stretch(self, first: int, last: int) -> tuple[int, int]:
        """Return the positions in C order that a range of runs covers."""
        start, stop = (np.ravel_multi_index([a for a, _ in self.corner(r)], self.runs.shape) for r in (first, last - 1))
        return int(start), int(stop) + region_size(self.corner(last - 1))

    def span(self, first: int, last: int) -> Region:
        """Return the smallest box of whole runs that holds a range of runs."""
        low, high = (np.unravel_index(r, self.runs.counts) for r in (first, last - 1))
        bounds = []
        apart = False
        for axis, (a, b) in enumerate(zip(low, high, strict=True)):
            bounds.append((0, self.runs.counts[axis]) if apart else (int(a), int(b) + 1))
            apart = apart or a != b
        return _box_of_runs(self.runs, tuple(bounds))


class Compress(Kernel):
    """Those elements of the first input, flat, where the second, a flat mask, is true; further axes are kept."""

    __slots__ = ("hits",)

    def __init__(self, shape: Shape, dtype: np.dtype[Any], hits: Hits) -> None:
        super().__init__(shape, dtype)
        self.hits = hits

    def needs(self, region: Region) -> tuple[Region | None, ...]:
        """Need the runs that hold the elements."""
        stretch = self.hits.stretch(*self.hits.holding(*region[0]))
        return (stretch, *region[1:]), (stretch,)

    def kernel(self, blocks: Sequence[Block | None], region: Region, out: Block, scratch: Block) -> None:  # noqa: ARG002
        """Take a few elements at a time; the first run may hold some that come before."""
        values, mask = blocks
        assert values is not None
        assert mask is not None
        source, target = seen_plain(values), seen_plain(out)
        (first, _) = self.hits.holding(*region[0])
        at = int(self.hits.offsets[first]) - region[0][0]  # where the next hit goes
        step = max(1, moved_at_once(self.dtype.itemsize) // max(1, math.prod(target.shape[1:])))
        for start in range(0, len(mask), step):
            found = np.flatnonzero(mask[start : start + step]) + start
            low, high = max(0, -at), min(found.size, len(target) - at)
            if low < high:
                target[at + low : at + high] = source[found[low:high]]
            at += found.size

    def scratch_bytes(self, region: Region) -> int:
        """Count a few elements and their indices."""
        piece = moved_at_once(self.dtype.itemsize)
        return 8 * 3 * piece + max(piece, region_size(region[1:])) * self.dtype.itemsize


class Masked(Collect):
    """Those elements of the first input where the second, a mask of its leading axes, is true, in memory."""

    __slots__ = ("asked", "hits")

    def __init__(self, dtype: np.dtype[Any], hits: Hits, asked: Region) -> None:
        super().__init__(region_shape(asked), dtype)
        self.hits, self.asked = hits, asked  # asked: the region of the whole result that this is

    @property
    def unit(self) -> Shape:  # type: ignore[override]
        """Boxes are made of runs."""
        return (*self.hits.runs.steps, *(1 for _ in self.asked[1:]))

    @property
    def nbytes(self) -> int:  # type: ignore[override]
        """Bytes of what was counted."""
        return self.hits.nbytes

    def needs(self, region: Region) -> tuple[Region | None, ...]:
        """Need the runs that hold the elements."""
        return self.most(self.restricted(region).span(self.hits.runs))

    def restricted(self, region: Region) -> Masked:
        """Return the elements of a part of the result."""
        asked = tuple((a + c, a + d) for (a, _), (c, d) in zip(self.asked, region, strict=True))
        return Masked(self.dtype, self.hits, asked)

    def span(self, grid: Grid) -> Region:  # noqa: ARG002 - runs may not be cut
        """Return the box of runs that hold the elements."""
        return (*self.hits.span(*self.hits.holding(*self.asked[0])), *self.asked[1:])

    def boxes(self, grid: Grid, origin: Shape) -> Indices:
        """Return the boxes in which something is true."""
        runs = self.hits.runs
        ndim = len(runs.shape)
        first, last = self.hits.holding(*self.asked[0])
        true = self.hits.counts > 0
        flat = true.reshape(-1)
        flat[:first] = flat[last:] = False
        for axis in range(ndim):
            edges = [(grid.bounds(axis, k)[0] + origin[axis]) // runs.steps[axis] for k in range(grid.counts[axis])]
            true = np.logical_or.reduceat(true, edges, axis=axis)
        tail = math.prod(grid.counts[ndim:])
        return np.add.outer(np.flatnonzero(true) * tail, np.arange(tail)).reshape(-1)

    def wanted(self, box: Region) -> tuple[Region, ...]:
        """Read the box and its mask, unless nothing is true."""
        return self.most(box) if self.hits.counts[self._runs(box)].any() else ()

    def most(self, box: Region) -> tuple[Region, ...]:
        """Read the box and its mask."""
        return box, box[: len(self.hits.runs.shape)]

    def _runs(self, box: Region) -> tuple[slice, ...]:
        """Return the runs in a box, which is made of whole ones."""
        spans = zip(box, self.hits.runs.steps, strict=False)
        return tuple(slice(a // step, -(-b // step)) for (a, b), step in spans)

    def pick(self, blocks: Sequence[Block], wanted: Sequence[Region], box: Region) -> Iterator[Block]:
        """Go through the box in C order."""
        del wanted
        values, mask = seen_plain(blocks[0]), blocks[1]
        room = max(1, moved_at_once(self.dtype.itemsize) // region_size(box[mask.ndim :]))
        for key, _ in tiles(mask.shape, room):
            yield values[key][mask[key]]

    def put(self, out: Block, box: Region, values: Iterable[Block]) -> None:
        """Count on from where each run begins."""
        target = seen_plain(out)
        runs = self._runs(box)
        starts = self.hits.starts[runs].reshape(-1) - self.asked[0][0]
        before = np.concatenate([np.zeros(1, np.int64), np.cumsum(self.hits.counts[runs].reshape(-1))])
        tail = tuple(slice(a - c, b - c) for (a, b), (c, _) in zip(box[len(runs) :], self.asked[1:], strict=True))
        done = 0
        for value in values:
            rank = np.arange(done, done + len(value))
            run = np.searchsorted(before, rank, "right") - 1
            places = starts[run] + rank - before[run]
            inside = (places >= 0) & (places < len(target))
            target[(places[inside], *tail)] = value[inside]
            done += len(value)

    def held_bytes(self, box: Region) -> int:
        """Count a few elements with their places, and the runs of the box."""
        ndim = len(self.hits.runs.shape)
        runs = math.prod(-(-(b - a) // s) for (a, b), s in zip(box, self.hits.runs.steps, strict=False))
        piece = moved_at_once(self.dtype.itemsize)
        return 8 * (6 * piece + 4 * runs) + 2 * max(piece, region_size(box[ndim:])) * self.dtype.itemsize


def compress(node: Node, mask: Node, hits: Hits) -> Node:
    """Return ``node[mask]`` of a boolean node whose shape is that of the leading axes."""
    tail = node.shape[mask.ndim :]
    shape = (hits.size, *tail)
    if 0 in shape:
        return full(shape, np.zeros((), node.dtype)[()], node.dtype)
    grid = _result_grid(node, mask, hits)
    if 2 * (math.prod(shape) * node.dtype.itemsize + hits.nbytes) <= budget():
        return Node(Masked(node.dtype, hits, whole(shape)), (node, mask), grid)
    flat = reshape(node, (math.prod(mask.shape), *tail)), reshape(mask, (math.prod(mask.shape),))
    result = Node(Compress(shape, node.dtype, hits), flat, grid)
    return result if _even(result, grid) else materialise(result)


def _result_grid(node: Node, mask: Node, hits: Hits) -> Grid:
    """Return boxes whose elements come from about ``CELL`` bytes of the source."""
    steps = node.grid.steps[mask.ndim :]
    room = CELL // max(1, node.dtype.itemsize * math.prod(steps))
    share = max(1, room * hits.size // math.prod(mask.shape))
    return Grid((hits.size, *node.shape[mask.ndim :]), (min(share, hits.size), *steps))


def _even(result: Node, grid: Grid) -> bool:
    """Say whether no box of the result spans much more of the source than others."""
    for index in range(grid.counts[0]):
        (need, _) = result.op.needs((grid.bounds(0, index), *(grid.bounds(k, 0) for k in range(1, result.ndim))))
        if need is None or region_size(need) * result.dtype.itemsize > 4 * CELL:
            return False
    return True
