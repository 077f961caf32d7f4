"""Plan an external sort: runs that a task sorts in memory, samples of them, and what reading the result will hold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chunkarr.grid import Grid
from chunkarr.ops.sorting import Sort, piece
from chunkarr.plan.holding import HoldStage, plan_boxes
from chunkarr.plan.merging import PendingRuns, Runs
from chunkarr.plan.stages import Result

if TYPE_CHECKING:
    from chunkarr.graph import Node
    from chunkarr.plan.state import State

__all__ = ["SortStage", "plan_sort"]

RUN = 4 << 20  # bytes that are sorted at a time, in the cache of a core
SLACK = 64  # part of a piece that is read beyond its ends
FEW = 8  # part of a piece that may be, for the sake of short runs
SAMPLES = 16  # part of the budget that samples may take


@dataclass(frozen=True)
class SortStage(HoldStage):
    """Sort runs of the lines of the first root, a box each, and write them to scratch."""

    runs: Runs | None = None

    @property
    def work(self) -> int:
        """Return the bytes that are sorted."""
        return math.prod(self.boxes.shape) * self.runs.ordering.dtype.itemsize  # type: ignore[union-attr]


def plan_sort(node: Node, state: State) -> None:
    """Plan the stage that sorts the runs of ``node``, whose last axis does not fit a task.

    Raises MemoryBudgetError where not even a short run does.
    """
    op: Sort = node.op  # type: ignore[assignment]
    (source,) = node.inputs
    box = _box_length(op, source, state)
    runs, used = _runs(op, box, source, state)
    item = op.ordering.dtype.itemsize
    spare = op.ordering.permutation_bytes(runs.run) + runs.run * item if op.places else op.ordering.sort_bytes(runs.run)
    boxes = Grid(node.shape, (*(1 for _ in node.shape[:-1]), box))
    state.add(
        SortStage(
            results=(used,),
            label=f"sort {'x'.join(map(str, node.shape))} in runs of {runs.run}",
            runs=runs,
            **plan_boxes(source, boxes, spare, state, "sorting runs"),
        )
    )
    state.resolved[id(node)] = PendingRuns(used, runs)


def _runs(op: Sort, box: int, source: Node, state: State) -> tuple[Runs, Result]:
    """Choose runs and samples; count what they take in scratch and in memory.

    Short runs are sorted in the cache, but the more there are the more is read beyond the ends of a piece.
    """
    item, lines, size = max(1, op.ordering.dtype.itemsize), math.prod(op.shape[:-1]), op.shape[-1]
    most = max(1, state.budget // SAMPLES // (2 * item + 24))
    length = piece(item)

    def step(run: int) -> int:
        return max(1, length // (SLACK * -(-size // run)), -(-lines * size // most))

    times = [t for t in range(1, max(1, box * item // RUN) + 1) if box % t == 0]
    cheap = [t for t in times if 2 * -(-size // (box // t)) * (step(box // t) - 1) <= length // FEW]
    run = box // max(cheap, default=1)
    state.held += lines * (size // step(run)) * (item + 16)
    state.scratch += lines * size * (item + (8 if op.places else 0))
    used = Result(next(state.key), source.region, op.dtype, "scratch", (1,) * len(op.shape))
    return Runs(op.shape, run, step(run), op.ordering, op.places), used


def _box_length(op: Sort, source: Node, state: State) -> int:
    """Return how many elements a task reads and sorts at a time: whole boxes of the source's grid, if it can be."""
    each = op.ordering.permutation_bytes(1 << 10) if op.places else op.ordering.sort_bytes(1 << 10)
    item = op.ordering.dtype.itemsize
    each = (each >> 10) + item * (2 if op.places else 1)
    share = state.available // state.workers // 2
    box = max(1, min(2 * piece(max(1, item)), share // max(1, each)))
    step = source.grid.steps[-1]
    return min(op.shape[-1], box // step * step if step <= box else box)
