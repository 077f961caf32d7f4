"""Plan an external sort: runs that a task sorts in memory, samples of them, and what reading the result will hold."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from itertools import islice, product
from typing import TYPE_CHECKING

from chunkarr.buffers import ALIGNMENT, aligned, memory_error
from chunkarr.errors import MemoryBudgetError
from chunkarr.grid import Grid, Region, Shape, intersect
from chunkarr.ops.sorting import Sort, piece
from chunkarr.plan.blocks import choose_blocks
from chunkarr.plan.cutting import cut_sources, split_reads
from chunkarr.plan.fuse import NARROW, flatten
from chunkarr.plan.merging import PendingRuns, Runs
from chunkarr.plan.program import compile_flow
from chunkarr.plan.stages import Result, Stage

if TYPE_CHECKING:
    from chunkarr.graph import Node
    from chunkarr.plan.blocks import Choice
    from chunkarr.plan.fuse import Flow
    from chunkarr.plan.state import State

__all__ = ["SortStage", "plan_sort"]

SLACK = 64  # part of a piece that is read beyond its ends
SAMPLES = 32  # part of the budget that samples may take


@dataclass(frozen=True)
class SortStage(Stage):
    """Sort runs of the lines of the first root, and write them to scratch."""

    runs: Runs | None = None
    boxes: Grid = field(default_factory=lambda: Grid((), ()))  # one for each run
    blocks: Grid = field(default_factory=lambda: Grid((), ()))  # in which runs are evaluated
    unit: Shape = ()

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
    runs, used = _runs(op, source, state)
    item, run, region = op.ordering.dtype.itemsize, runs.run, node.region
    buffer = aligned(run * item)
    spare = op.ordering.permutation_bytes(run) + run * item if op.places else op.ordering.sort_bytes(run)
    boxes = Grid(node.shape, (*(1 for _ in node.shape[:-1]), run))
    known = state.known([source])
    flow = flatten([source], known)
    try:
        choice = _choose(flow, source.grid, region, buffer, spare, boxes, state)
    except MemoryBudgetError:
        flow = flatten([source], known, widest=NARROW)
        choice = _choose(flow, source.grid, region, buffer, spare, boxes, state)
    middle = choice.grid.region(tuple(n // 2 for n in choice.grid.counts))
    flow, changed = cut_sources(flow, flow.roots[0], region, choice.reads, middle, state)
    if changed:
        choice = _choose(flow, source.grid, region, buffer, spare, boxes, state)
    file_bytes, scratch_bytes = split_reads(flow, choice.reads)
    state.add(
        SortStage(
            flow=flow,
            results=(used,),
            label=f"sort {'x'.join(map(str, node.shape))} in runs of {run}",
            workers=choice.workers,
            allowance=buffer + aligned(choice.peak),
            peak=(buffer + max(aligned(choice.peak), spare)) * choice.workers,
            bytes_read=file_bytes,
            bytes_scratch=scratch_bytes,
            tasks=state.tasks(boxes.size),
            runs=runs,
            boxes=boxes,
            blocks=choice.grid,
            unit=(1,) * node.ndim,
        )
    )
    state.resolved[id(node)] = PendingRuns(used, runs)


def _runs(op: Sort, source: Node, state: State) -> tuple[Runs, Result]:
    """Choose runs and samples; count what they take in scratch and in memory."""
    item, lines, size = max(1, op.ordering.dtype.itemsize), math.prod(op.shape[:-1]), op.shape[-1]
    run = _run_length(op, source, state)
    most = max(1, state.budget // SAMPLES // (2 * item + 16))
    step = max(1, piece(item) // (SLACK * -(-size // run)), -(-lines * size // most))
    state.held += lines * (size // step) * (item + 8)
    state.scratch += lines * size * (item + (8 if op.places else 0))
    used = Result(next(state.key), source.region, op.dtype, "scratch", (1,) * len(op.shape))
    return Runs(op.shape, run, step, op.ordering, op.places), used


def _choose(flow: Flow, natural: Grid, region: Region, buffer: int, spare: int, boxes: Grid, state: State) -> Choice:
    """Choose the blocks in which runs are evaluated, straight into the memory where they are sorted."""
    for workers in range(state.workers, 0, -1):
        room = state.available // workers - buffer - ALIGNMENT
        if room < spare:
            continue
        try:
            choice = choose_blocks(
                flow, flow.roots[0], region, natural, (1,) * len(region), lambda _: 0, room, 1,
                direct=True, what="sorting",
            )  # fmt: skip
        except MemoryBudgetError:
            continue
        peak = max(choice.peak, _peak_in_runs(flow, choice.grid, boxes))
        if peak <= room:
            return replace(choice, workers=workers, peak=peak)
    raise memory_error("sorting runs", buffer + spare, state.available)


def _peak_in_runs(flow: Flow, blocks: Grid, boxes: Grid) -> int:
    """Return what blocks hold where runs cut them: a part of a chunk may take more than the whole one."""
    peak, (root,) = 0, flow.roots
    for picks in product(*(sorted({0, n // 2, n - 1}) for n in boxes.counts)):
        box = boxes.region(picks)
        for index in islice(blocks.touching(box), 8):
            part = intersect(blocks.region(index), box)
            assert part is not None
            peak = max(peak, compile_flow(flow, {root: [part]}, direct=frozenset({root})).nbytes)
    return peak


def _run_length(op: Sort, source: Node, state: State) -> int:
    """Return how many elements a task sorts at a time: whole boxes of the source's grid, if it can be."""
    each = op.ordering.permutation_bytes(1 << 10) if op.places else op.ordering.sort_bytes(1 << 10)
    item = op.ordering.dtype.itemsize
    each = (each >> 10) + item * (2 if op.places else 1)
    share = state.available // state.workers // 2
    run = max(1, min(2 * piece(max(1, item)), share // max(1, each)))
    step = source.grid.steps[-1]
    return min(op.shape[-1], run // step * step if step <= run else run)
