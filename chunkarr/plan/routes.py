"""Fetched rows seen as one array, each block of which is put in order when it is read.

Indices are taken in blocks. Within a block they are sorted by the slab of the source they lie in, so that the rows that
a slab gives a block lie one after another, and where each belongs within the block is known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.formats.contract import Stored
from chunkarr.formats.runs import plain
from chunkarr.grid import Grid, Region, Shape, region_size
from chunkarr.plan.stages import Pending, Result

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from chunkarr.formats.scratch import ScratchArray

__all__ = ["PLACE", "Fetched", "PendingRows", "Routes"]

Block = np.ndarray[Any, Any]
PLACE = np.dtype(np.uint32)  # of a row within its block, and within its slab


@dataclass(frozen=True)
class Routes:
    """How indices, slabs and rows lie."""

    count: int  # indices
    block: int  # indices that are routed together; the last block may have fewer
    rows: int  # of the source
    slab: int  # rows of the source that are read together
    row: Shape  # of one row
    dtype: np.dtype[Any]
    step: int  # rows that are moved at a time

    @property
    def shape(self) -> Shape:
        """Shape of the result."""
        return (self.count, *self.row)

    @property
    def blocks(self) -> int:
        """How many blocks there are."""
        return -(-self.count // self.block)

    @property
    def slabs(self) -> int:
        """How many slabs there are."""
        return -(-self.rows // self.slab)

    @property
    def item(self) -> np.dtype[Any]:
        """A row as one element, which NumPy copies byte by byte."""
        return plain(np.dtype(f"V{math.prod(self.row) * self.dtype.itemsize}"))

    @property
    def held_bytes(self) -> int:
        """Bytes of the table that tells where the rows of each slab begin in each block."""
        return self.blocks * (self.slabs + 1) * PLACE.itemsize

    def pieces(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Cut a range of rows into pieces that are moved at a time."""
        return ((at, min(at + self.step, stop)) for at in range(start, stop, self.step))

    def scratch_bytes(self) -> int:
        """Return what putting rows in order holds: a piece of them, their places, and copies of both."""
        return self.step * (2 * self.item.itemsize + 3 * 8)

    def bytes_read(self, region: Region) -> int:
        """Count what reading a part of the result takes: all places of each block, and rows in whole."""
        a, b = region[0]
        covered = min(self.count, -(-b // self.block) * self.block) - a // self.block * self.block
        return covered * (PLACE.itemsize + self.item.itemsize) if b > a and region_size(region) else 0


class PendingRows(Pending):
    """Fetched rows before they are there: enough to plan with."""

    def __init__(self, result: Result, routes: Routes) -> None:
        super().__init__(routes.shape, result)
        self.routes = routes

    def scratch_bytes(self, region: Region) -> int:  # noqa: ARG002 - pieces are of one size
        """Count a piece."""
        return self.routes.scratch_bytes()

    def bytes_read(self, region: Region) -> int:
        """Count what is read of the blocks."""
        return self.routes.bytes_read(region)


class Fetched(Stored):
    """The rows that indices name, in the order of the indices.

    Parameters
    ----------
    routes
        How they lie.
    values, places
        The rows, block after block, those of each as the slabs gave them; and where each belongs in its block.
    """

    format = "scratch"
    path = ""
    contiguous = False

    def __init__(self, routes: Routes, values: ScratchArray, places: ScratchArray) -> None:
        self.routes, self.values, self.places = routes, values, places
        self.shape, self.dtype = routes.shape, routes.dtype
        self.grid = Grid(self.shape, (routes.block, *(max(1, n) for n in routes.row)))

    def scratch_bytes(self, region: Region) -> int:  # noqa: ARG002 - pieces are of one size
        """Count a piece."""
        return self.routes.scratch_bytes()

    def bytes_read(self, region: Region) -> int:
        """Count what is read of the blocks."""
        return self.routes.bytes_read(region)

    def generation(self) -> Hashable:
        """Never change."""
        return self.values.path

    def read(self, region: Region, out: Block, scratch: Block) -> None:
        """Put those rows of each block in order that are asked for."""
        routes, (start, stop) = self.routes, region[0]
        columns = (slice(None), *(slice(a, b) for a, b in region[1:]))
        for number in range(start // routes.block, -(-stop // routes.block)):
            base = number * routes.block
            end = min(base + routes.block, routes.count)
            low, high = max(start, base), min(stop, end)
            part = out[low - start : high - start]
            for a, b in routes.pieces(base, end):
                self._put(a, b, low - base, high - base, part, columns, scratch)

    def _put(self, a: int, b: int, low: int, high: int, part: Block, columns: Any, scratch: Block) -> None:
        """Bring those rows of ``a`` ... ``b`` to their places that belong at ``low`` ... ``high`` of their block."""
        routes, nothing = self.routes, np.empty(0, np.uint8)
        size = (b - a) * routes.item.itemsize
        places = scratch[size : size + 4 * (b - a)].view(PLACE)
        self.places.read(((a, b),), places, nothing)
        chosen: Any = slice(None)
        if high - low < min(routes.block, routes.count - a // routes.block * routes.block):
            chosen = np.flatnonzero((places >= low) & (places < high))
            if not chosen.size:
                return
        values = scratch[:size].view(routes.item)
        self.values.read(((a, b),), values, nothing)
        where = places[chosen].astype(np.intp)
        where -= low
        if routes.row:
            rows = values.view(plain(routes.dtype)).reshape(b - a, *routes.row)
            part.view(plain(routes.dtype))[where] = rows[columns][chosen]
        else:
            part.view(routes.item)[where] = values[chosen]
