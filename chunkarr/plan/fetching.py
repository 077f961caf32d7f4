"""Plan the fetching of rows by indices: one stage sorts the indices by slab of the source, one fetches slab by slab."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chunkarr.buffers import memory_error
from chunkarr.grid import Grid
from chunkarr.ops.fetching import Fetch
from chunkarr.plan.holding import HoldStage, plan_boxes
from chunkarr.plan.routes import PLACE, PendingRows, Routes
from chunkarr.plan.stages import Result

if TYPE_CHECKING:
    from chunkarr.graph import Node
    from chunkarr.plan.state import State

__all__ = ["FetchStage", "RouteStage", "plan_fetch"]

ROUTED = 40  # bytes that a task holds for each index while it sorts them
SLAB = 64 << 20  # bytes of a slab, at most
SLABS = 1 << 16  # of one source, at most: their numbers are sorted as two bytes
STEP = 1 << 16  # rows that are moved at a time, at most
MOVED = 1 << 20  # bytes of them, at most
MOVING = 40  # bytes that moving a row holds besides it
TABLE = 8  # part of the budget that the table of routes may take


@dataclass(frozen=True)
class RouteStage(HoldStage):
    """Sort each block of the indices, the first root, by the slab that each lies in."""

    routes: Routes | None = None

    @property
    def work(self) -> int:
        """Return the bytes of the indices."""
        return 8 * math.prod(self.boxes.shape)


@dataclass(frozen=True)
class FetchStage(HoldStage):
    """Read each slab of the first root, and write its rows where the indices stood."""

    routes: Routes | None = None

    @property
    def work(self) -> int:
        """Return the bytes of the source."""
        return self.boxes.shape[0] * self.routes.item.itemsize  # type: ignore[union-attr]


def plan_fetch(node: Node, state: State) -> None:
    """Plan the two stages that fetch ``node``.

    Raises MemoryBudgetError where a block of indices or a slab does not fit a task, or the table of routes does not
    fit the budget.
    """
    rows, places = node.inputs
    routes = _routes(node.op, rows, state)  # type: ignore[arg-type]
    state.held += 2 * routes.held_bytes  # as the tasks return it, and whole
    state.scratch += routes.count * (routes.item.itemsize + 2 * PLACE.itemsize)
    result = Result(next(state.key), node.region, node.dtype, "scratch", (1,) * node.ndim)
    moved = routes.step * (routes.item.itemsize + MOVING)
    index_boxes = Grid(places.shape, (routes.block,))
    number = f"{routes.count} of {routes.rows} rows"
    state.add(
        RouteStage(
            results=(result,),
            label=f"route {number}",
            routes=routes,
            **plan_boxes(places, index_boxes, 18 * routes.block + moved, state, "routing indices"),
        )
    )
    slabs = Grid(rows.shape, (routes.slab, *(max(1, n) for n in routes.row)))
    state.add(
        FetchStage(
            results=(result,),
            label=f"fetch {number}",
            routes=routes,
            **plan_boxes(rows, slabs, moved, state, "fetching rows"),
        )
    )
    state.resolved[id(node)] = PendingRows(result, routes)


def _routes(op: Fetch, rows: Node, state: State) -> Routes:
    """Choose blocks of indices and slabs of rows, as large as a task may hold."""
    share = state.available // state.workers
    row = math.prod(rows.shape[1:]) * rows.dtype.itemsize
    block = op.block
    while block > 1 and block * ROUTED > share:
        block = -(-block // 2)
    slab = max(1, min(share // 2, SLAB) // row, -(-rows.shape[0] // SLABS))
    natural = rows.grid.steps[0]
    slab = min(rows.shape[0], slab // natural * natural if natural <= slab else slab)
    step = max(1, min(STEP, MOVED // row, share // 8 // (row + MOVING)))
    routes = Routes(op.shape[0], block, rows.shape[0], slab, rows.shape[1:], rows.dtype, step)
    if 2 * routes.held_bytes > state.budget // TABLE:
        raise memory_error(
            f"the routes from {routes.slabs} slabs to {routes.blocks} blocks of a result of {op.shape[0]} rows",
            2 * TABLE * routes.held_bytes,
            state.budget,
            "index with a part of the indices at a time",
        )
    return routes
