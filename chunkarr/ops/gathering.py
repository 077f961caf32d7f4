"""Reading by index arrays: lazily where the indices of a block lie together, else collected in one pass.

A block of the result needs the smallest region that holds its elements. Where that is small the blocks
are computed as those of any other operation, and the result may be larger than memory. Else every box of the
source that holds wanted elements is read once, and they go to their places in a result in memory, or through
scratch where that does not fit (`chunkarr.ops.fetching`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from chunkarr.formats.runs import seen_plain
from chunkarr.graph import Barrier, Kernel, Node
from chunkarr.grid import Grid, Region, Shape, intersect, region_size, whole
from chunkarr.lookups import Advanced, Lookup, Part
from chunkarr.ops.fetching import take_far
from chunkarr.ops.layout import take_basic
from chunkarr.ops.sources import CELL, constant, full
from chunkarr.selection import Stride
from chunkarr.settings import budget

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["Collect", "Gather", "Indexed", "moved_at_once", "take_advanced"]

Block = np.ndarray[Any, Any]
PIECE = 1 << 15  # elements that are moved at a time: their indices stay in cache, and take memory
MOVED = 1 << 20  # bytes of them, at most: records may be wide


def moved_at_once(itemsize: int) -> int:
    """Return how many elements are moved at a time.

    >>> moved_at_once(8), moved_at_once(1 << 12)
    (32768, 256)
    """
    return max(1, min(PIECE, MOVED // max(1, itemsize)))


class Gather(Kernel):
    """The elements that index arrays name; a region needs the smallest region of the source that holds them."""

    __slots__ = ("advanced",)

    def __init__(self, dtype: np.dtype[Any], advanced: Advanced) -> None:
        super().__init__(advanced.shape, dtype)
        self.advanced = advanced

    def needs(self, region: Region) -> tuple[Region | None, ...]:
        """Need what holds the elements of the region."""
        return (self.advanced.restricted(region).span(),)

    def kernel(self, blocks: Sequence[Block | None], region: Region, out: Block, scratch: Block) -> None:  # noqa: ARG002
        """Take a few elements at a time."""
        (block,) = blocks
        assert block is not None
        here = self.advanced.restricted(region)
        source, target, span = seen_plain(block), seen_plain(out), here.span()
        for part in here.everything(moved_at_once(self.dtype.itemsize)):
            view, key = part.of_array(source, span)
            place, where = part.of_result(target, whole(here.shape))
            place[where] = view[key]

    def scratch_bytes(self, region: Region) -> int:
        """Count the indices of the region, and a few elements with theirs."""
        first, last = self.advanced.place, self.advanced.place + len(self.advanced.extent)
        indices = 8 * region_size(region[first:last]) * (len(self.advanced.inner) + 1)
        row = region_size((*region[:first], *region[last:]))
        return indices + _piece_bytes(self.advanced, row, self.dtype.itemsize)


def _piece_bytes(advanced: Advanced, row: int, itemsize: int) -> int:
    """Return what moving a few elements holds, or ``row`` elements, where a place of the extent has so many."""
    piece = moved_at_once(itemsize)
    indices = 8 * piece * (2 * len(advanced.inner) + 2 * len(advanced.extent) + 6)
    return indices + max(piece, row) * itemsize


class Collect(Barrier):
    """A result in memory whose elements lie anywhere in the source: each box of that is looked at once.

    ``restricted`` gives the operation of a part of the result; ``span``, ``unit`` and ``boxes`` say where its
    elements lie in the first input, whose boxes are multiples of ``unit``; ``wanted`` what a box needs of each
    input, ``most`` what it may need. ``pick`` takes the elements of a box, a few at a time, and ``put`` brings
    them to their places.
    """

    __slots__ = ()

    unit: Shape  # boxes are cut at multiples of this
    nbytes: int  # held to look elements up

    def restricted(self, region: Region) -> Self:
        """Return the operation whose result is ``region`` of this one's."""
        raise NotImplementedError

    def span(self, grid: Grid) -> Region:
        """Return a region of the first input that holds all elements; of whole boxes of its grid, if possible."""
        raise NotImplementedError

    def boxes(self, grid: Grid, origin: Shape) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return the numbers, ascending in C order, of the boxes that hold elements; ``grid`` begins at ``origin``."""
        raise NotImplementedError

    def wanted(self, box: Region) -> tuple[Region, ...]:
        """Return what is read of each input for the elements that lie in ``box``; () if there are none."""
        raise NotImplementedError

    def most(self, box: Region) -> tuple[Region, ...]:
        """Return what is read of each input if elements lie everywhere in ``box``; () where none can."""
        raise NotImplementedError

    def pick(self, blocks: Sequence[Block], wanted: Sequence[Region], box: Region) -> Iterator[Block]:
        """Yield the elements that lie in ``box``; ``blocks`` hold what was ``wanted``."""
        raise NotImplementedError

    def put(self, out: Block, box: Region, values: Iterable[Block]) -> None:
        """Bring what `pick` yielded to its places in ``out``, the whole result."""
        raise NotImplementedError

    def move(self, blocks: Sequence[Block], wanted: Sequence[Region], box: Region, out: Block) -> None:
        """Bring the elements that lie in ``box`` to their places."""
        self.put(out, box, self.pick(blocks, wanted, box))

    def held_bytes(self, box: Region) -> int:
        """Return what ``pick`` and ``put`` hold for a box, besides its blocks."""
        raise NotImplementedError


class Indexed(Collect):
    """The elements that index arrays name."""

    __slots__ = ("advanced", "reach")

    def __init__(self, dtype: np.dtype[Any], advanced: Advanced) -> None:
        super().__init__(advanced.shape, dtype)
        self.advanced = advanced
        self.reach = advanced.span()  # nothing is read beyond it

    @property
    def unit(self) -> Shape:  # type: ignore[override]
        """Boxes may be cut anywhere."""
        return (1,) * len(self.advanced.inner)

    @property
    def nbytes(self) -> int:  # type: ignore[override]
        """Bytes of the index arrays and their order."""
        return self.advanced.nbytes

    def needs(self, region: Region) -> tuple[Region | None, ...]:
        """Need what holds the elements of the region."""
        return (self.advanced.restricted(region).span(),)

    def restricted(self, region: Region) -> Indexed:
        """Return the selection of a part of the result."""
        return Indexed(self.dtype, self.advanced.restricted(region))

    def span(self, grid: Grid) -> Region:
        """Return what holds all elements."""
        return grid.round_out(self.reach)

    def boxes(self, grid: Grid, origin: Shape) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return the boxes in which indices lie."""
        counts = grid.counts
        weights = [math.prod(counts[axis + 1 :]) for axis in range(len(counts))]
        grouped = {axis for group in self.advanced.groups for axis in group.axes}
        found = np.zeros(1, np.int64)
        for group in self.advanced.groups:
            group.prepare()
            numbers = np.zeros(group.size, np.int64)
            for axis, array in zip(group.axes, group.arrays, strict=True):
                edges = [grid.bounds(axis, k)[0] + origin[axis] for k in range(counts[axis])]
                numbers += weights[axis] * (np.searchsorted(edges, array, "right") - 1)
            found = np.add.outer(found, np.unique(numbers)).reshape(-1)
        for axis, number in enumerate(counts):
            if axis not in grouped:
                found = np.add.outer(found, weights[axis] * np.arange(number)).reshape(-1)
        found.sort()
        return found

    def wanted(self, box: Region) -> tuple[Region, ...]:
        """Read what holds the elements, where they are few; nothing if there are none."""
        parts = self._parts(box)
        first = next(parts, None)
        if first is None:
            return ()
        return (first.source,) if next(parts, None) is None else self.most(box)

    def most(self, box: Region) -> tuple[Region, ...]:
        """Read the box, but nothing that no index reaches."""
        common = intersect(box, self.reach)
        return () if common is None else (common,)

    def pick(self, blocks: Sequence[Block], wanted: Sequence[Region], box: Region) -> Iterator[Block]:
        """Look the indices up."""
        source = seen_plain(blocks[0])
        for part in self._parts(box):
            view, key = part.of_array(source, wanted[0])
            yield view[key]

    def put(self, out: Block, box: Region, values: Iterable[Block]) -> None:
        """Look the places up."""
        target = seen_plain(out)
        for part, value in zip(self._parts(box), values, strict=True):
            place, where = part.of_result(target, whole(self.shape))
            place[where] = value

    def move(self, blocks: Sequence[Block], wanted: Sequence[Region], box: Region, out: Block) -> None:
        """Look indices and places up together."""
        source, target = seen_plain(blocks[0]), seen_plain(out)
        for part in self._parts(box):
            view, key = part.of_array(source, wanted[0])
            place, where = part.of_result(target, whole(self.shape))
            place[where] = view[key]

    def _parts(self, box: Region) -> Iterator[Part]:
        return self.advanced.parts(box, moved_at_once(self.dtype.itemsize))

    def held_bytes(self, box: Region) -> int:
        """Count a few elements with their indices."""
        kept = tuple(box[axis] for item, axis in self.advanced.placed() if isinstance(item, Stride))
        return _piece_bytes(self.advanced, region_size(kept), self.dtype.itemsize)


def take_advanced(node: Node, advanced: Advanced) -> Node:
    """Return ``node[key]`` of a parsed key with index arrays in memory."""
    if 0 in advanced.shape:
        return full(advanced.shape, np.zeros((), node.dtype)[()], node.dtype)
    if not advanced.groups:  # booleans alone
        return take_basic(node, tuple(i for i in advanced.items if not isinstance(i, Lookup)))
    allowed = budget()
    grid = _result_grid(node, advanced)
    gather = Gather(node.dtype, advanced)
    near = region_size(advanced.span()) * node.dtype.itemsize <= min(CELL, allowed // 8)
    together = near or _together(gather, grid)
    fits = 2 * (math.prod(advanced.shape) * node.dtype.itemsize + advanced.nbytes) <= allowed
    if near or (together and (advanced.ascending or not fits)):
        return Node(gather, (node,), grid)
    if fits:
        return Node(Indexed(node.dtype, advanced), (node,), grid)
    return take_far(node, advanced, [[constant(array) for array in group.arrays] for group in advanced.groups])


def _result_grid(node: Node, advanced: Advanced) -> Grid:
    """Return boxes of about ``CELL`` bytes that follow the grid of the source along axes without index arrays."""
    rest = []
    steps = iter(node.grid.steps)
    for item in advanced.items:
        step = 1 if item is None else next(steps)
        if item is None or isinstance(item, Stride):
            rest.append(1 if item is None else max(1, min(item.length, step // abs(item.step))))
    room = CELL // max(1, node.dtype.itemsize * math.prod(rest))
    extent: list[int] = []
    for length in reversed(advanced.extent):
        extent.insert(0, max(1, min(length, room)))
        room //= extent[0]
    return Grid(advanced.shape, (*rest[: advanced.place], *extent, *rest[advanced.place :]))


def _together(gather: Gather, grid: Grid) -> bool:
    """Say whether the elements of each box of the result lie in a small part of the source."""
    advanced = gather.advanced
    first, last = advanced.place, advanced.place + len(advanced.extent)
    corner = [grid.bounds(axis, 0) for axis in range(len(grid.shape))]
    limit = min(4 * CELL, budget() // 8)
    for index in np.ndindex(grid.counts[first:last]):
        bounds = [grid.bounds(first + k, i) for k, i in enumerate(index)]
        (need,) = gather.needs((*corner[:first], *bounds, *corner[last:]))
        assert need is not None
        if region_size(need) * gather.dtype.itemsize > limit and any(b - a > 1 for a, b in bounds):
            return False
    return True
