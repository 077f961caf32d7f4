"""Plan an external sort: runs that a task sorts in memory, samples of them, and what reading the result will hold."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from chunkarr.buffers import memory_error
from chunkarr.grid import Grid
from chunkarr.ops.sorting import Sort, piece
from chunkarr.plan.holding import HoldStage, plan_boxes
from chunkarr.plan.merging import PendingRuns, Runs
from chunkarr.plan.stages import Result
from chunkarr.settings import format_bytes

if TYPE_CHECKING:
    from chunkarr.graph import Node
    from chunkarr.plan.state import State

__all__ = ["SortStage", "plan_sort"]

RUN = 8 << 20  # bytes that are sorted at a time: more take longer to sort, fewer make more runs to read from
SLACK = 64  # part of a piece that is read beyond its ends
FEW = 8  # part of a piece that may be, for the sake of short runs
PLENTY = 3  # times what a task holds that are left for it where runs are held in memory
SAMPLES = 8  # part of the budget that samples may take


@dataclass(frozen=True)
class SortStage(HoldStage):
    """Sort runs of the lines of the first root, a box each, and write them to scratch."""

    runs: Runs | None = None

    @property
    def work(self) -> int:
        """Return the bytes that are sorted."""
        return math.prod(self.boxes.shape) * self.runs.ordering.dtype.itemsize  # type: ignore[union-attr]


def plan_sort(node: Node, state: State, *, once: bool) -> None:
    """Plan the stage that sorts the runs of ``node``, whose last axis does not fit a task.

    ``once``: each element of the result is read by one task, and never again.

    Raises MemoryBudgetError where not even a short run fits, or where no samples that fit tell the runs apart.
    """
    op: Sort = node.op  # type: ignore[assignment]
    (source,) = node.inputs
    box, runs = _choose(op, source.grid.steps[-1], state.budget, state.available, state.workers)
    if not _fits(runs, state.available):
        _refuse(op, source.grid.steps[-1], state)
    runs = replace(runs, once=once)
    state.held += runs.sampled_bytes
    if state.keep:
        runs = replace(runs, kept=_kept(runs, box, state))
    state.held += runs.kept * runs.item_bytes
    state.scratch += (math.prod(runs.shape) - runs.kept) * runs.item_bytes
    used = Result(next(state.key), source.region, op.dtype, "scratch", (1,) * len(op.shape))
    spare = op.ordering.sort_bytes(runs.run)
    if op.places:
        spare = op.ordering.permutation_bytes(runs.run) + runs.run * op.ordering.dtype.itemsize
    boxes = Grid(node.shape, (*(1 for _ in node.shape[:-1]), box))
    state.add(
        SortStage(
            results=(used,),
            label=f"sort {'x'.join(map(str, node.shape))} in runs of {runs.run}{_kept_words(runs)}",
            runs=runs,
            **plan_boxes(source, boxes, spare, state, "sorting runs"),
        )
    )
    state.resolved[id(node)] = PendingRuns(used, runs)


def _choose(op: Sort, unit: int, budget: int, available: int, workers: int) -> tuple[int, Runs]:
    """Return how many elements a task reads at a time, whole ``unit``s if it can be, and the runs it sorts them in.

    Short runs are sorted in the cache, but the more runs and the fewer samples, the more is read beyond the ends of a
    piece: boxes grow, as far as a task has room, where that would be much.
    """
    ordering, size = op.ordering, op.shape[-1]
    item = max(1, ordering.dtype.itemsize)
    length = piece(item, size)
    most = max(1, budget // SAMPLES // (2 * item + 24))

    def runs_of(run: int) -> Runs:
        step = max(1, length // (SLACK * -(-size // run)), -(-math.prod(op.shape) // most))
        return Runs(op.shape, run, step, ordering, op.places)

    def is_cheap(runs: Runs) -> bool:
        return runs.reach(length) - length <= length // FEW

    each = ordering.permutation_bytes(1 << 10) if op.places else ordering.sort_bytes(1 << 10)
    room = max(1, available // workers // 2 // max(1, (each >> 10) + ordering.dtype.itemsize * (2 if op.places else 1)))
    box = min(room, 2 * length)
    while box < min(room, size) and not is_cheap(runs_of(box)):
        box = min(room, 2 * box)
    box = min(size, box // unit * unit if unit <= box else box)
    times = [t for t in range(1, max(1, box * item // RUN) + 1) if box % t == 0 and is_cheap(runs_of(box // t))]
    return box, runs_of(box // max(times, default=1))


def _kept(runs: Runs, box: int, state: State) -> int:
    """Return how many elements are held in memory: as far as all tasks have plenty, and half of it is left."""
    task = max(runs.held_bytes(piece(runs.item_bytes, runs.size)), box * runs.item_bytes)
    room = min(state.available // 2, state.available - PLENTY * state.workers * task)
    return min(math.prod(runs.shape), max(0, room) // runs.item_bytes)


def _kept_words(runs: Runs) -> str:
    return f", {format_bytes(runs.kept * runs.item_bytes)} of them in memory" if runs.kept else ""


def _fits(runs: Runs, available: int) -> bool:
    """Say whether one task can read one element of the result."""
    return runs.sampled_bytes + runs.held_bytes(1) <= available


def _refuse(op: Sort, unit: int, state: State) -> None:
    """Raise MemoryBudgetError with a budget that would do."""
    more = 2
    while not _fits(
        _choose(op, unit, more * state.budget, more * state.available, state.workers)[1], more * state.available
    ):
        more *= 2
    what = f"sorting {op.shape[-1]} elements of {op.ordering.dtype.itemsize} B along an axis"
    raise memory_error(what, more * state.budget, state.budget, "sort parts of it")
