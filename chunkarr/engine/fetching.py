"""Tasks that fetch rows by indices: some sort the indices by slab, the others read slabs and write their rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.engine.holding import held_box
from chunkarr.engine.tasks import boxes
from chunkarr.formats.scratch import ScratchArray
from chunkarr.grid import region_size
from chunkarr.plan.program import Flags
from chunkarr.plan.routes import PLACE, Fetched, Routes
from chunkarr.settings import scratch_directory

if TYPE_CHECKING:
    from chunkarr.engine.tasks import Context
    from chunkarr.plan.fetching import FetchStage, RouteStage

__all__ = ["Routed", "run_fetch", "run_route"]

Block = np.ndarray[Any, Any]
NOTHING = np.empty(0, np.uint8)


class Routed:
    """Indices sorted by slab, block by block: where each lies in its slab, and where it stood in its block."""

    def __init__(self, routes: Routes) -> None:
        directory, size = scratch_directory(), (routes.count,)
        self.routes = routes
        self.sources = ScratchArray(directory, size, PLACE, size)
        self.places = ScratchArray(directory, size, PLACE, size)
        self.values = ScratchArray(directory, size, routes.item, size)
        self.starts = np.empty((0, 0), PLACE)  # of each slab's rows in each block, one row a block; when all are sorted

    def fetched(self) -> Fetched:
        """Return the rows, which were written."""
        return Fetched(self.routes, self.values, self.places)


def run_route(
    stage: RouteStage, routed: Routed, start: int, stop: int, context: Context
) -> tuple[list[Block], list[tuple[str, str]]]:
    """Sort the blocks ``start`` ... ``stop`` of the indices; return their starts, and floating-point events."""
    flags = Flags()
    starts = []
    with context.slabs.take(stage.allowance) as slab, np.errstate(all="call", call=flags):
        for box in boxes(stage.boxes, range(start, stop)):
            indices = held_box(stage, box, slab, flags, context)
            starts.append(_route(indices, box[0][0], routed))
            context.advance(indices.nbytes)
    return starts, list(flags.seen)


def _route(indices: Block, first: int, routed: Routed) -> Block:
    """Sort one block of indices, which begins at ``first``, by slab."""
    routes = routed.routes
    numbers = np.empty(len(indices), np.uint8 if routes.slabs <= 256 else np.uint16)
    counts = np.zeros(routes.slabs, np.int64)
    for a, b in routes.pieces(0, len(indices)):
        number = indices[a:b] // routes.slab
        counts += np.bincount(number, minlength=routes.slabs)
        numbers[a:b] = number
    order = np.argsort(numbers, kind="stable")
    del numbers
    for a, b in routes.pieces(0, len(indices)):
        where = ((first + a, first + b),)
        routed.places.write(where, order[a:b].astype(PLACE), NOTHING)
        routed.sources.write(where, (indices[order[a:b]] % routes.slab).astype(PLACE), NOTHING)
    starts = np.zeros(routes.slabs + 1, PLACE)
    np.cumsum(counts, out=starts[1:], dtype=PLACE)
    return starts


def run_fetch(
    stage: FetchStage, routed: Routed, start: int, stop: int, context: Context
) -> tuple[list[Block], list[tuple[str, str]]]:
    """Read the slabs ``start`` ... ``stop`` and write their rows; return nothing, and floating-point events."""
    flags = Flags()
    with context.slabs.take(stage.allowance) as slab, np.errstate(all="call", call=flags):
        for number, box in enumerate(boxes(stage.boxes, range(start, stop)), start):
            first, last = routed.starts[:, number], routed.starts[:, number + 1]
            if (last > first).any():
                rows = held_box(stage, box, slab, flags, context).view(routed.routes.item)
                _fetch(rows, first, last, routed, context)
            context.advance(region_size(box) * stage.results[0].dtype.itemsize)
    return [], list(flags.seen)


def _fetch(rows: Block, first: Block, last: Block, routed: Routed, context: Context) -> None:
    """Write the rows of one slab where the indices of each block stood."""
    routes = routed.routes
    sources, values = np.empty(routes.step, PLACE), np.empty(routes.step, routes.item)
    for block in np.flatnonzero(last > first).tolist():
        context.check()
        base = block * routes.block
        for a, b in routes.pieces(base + int(first[block]), base + int(last[block])):
            routed.sources.read(((a, b),), sources[: b - a], NOTHING)
            np.take(rows, sources[: b - a], out=values[: b - a], mode="clip")  # "raise" would copy
            routed.values.write(((a, b),), values[: b - a], NOTHING)
