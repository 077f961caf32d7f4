"""Stages whose tasks hold a box of an array at a time, whole and contiguous, while they work on it.

The box is evaluated block by block, straight into the memory where it is worked on.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import islice, product
from typing import TYPE_CHECKING, Any

from chunkarr.buffers import ALIGNMENT, aligned, memory_error
from chunkarr.errors import MemoryBudgetError
from chunkarr.grid import Grid, Region, Shape, intersect, region_size
from chunkarr.plan.blocks import choose_blocks, halves
from chunkarr.plan.cutting import cut_sources, split_reads
from chunkarr.plan.fuse import NARROW, flatten
from chunkarr.plan.program import compile_flow
from chunkarr.plan.stages import Stage

if TYPE_CHECKING:
    from chunkarr.graph import Node
    from chunkarr.plan.blocks import Choice
    from chunkarr.plan.fuse import Flow
    from chunkarr.plan.state import State

__all__ = ["HoldStage", "plan_boxes"]


@dataclass(frozen=True)
class HoldStage(Stage):
    """Evaluate boxes of the first root, each in the memory of the task that works on it."""

    boxes: Grid = field(default_factory=lambda: Grid((), ()))
    blocks: Grid = field(default_factory=lambda: Grid((), ()))  # in which boxes are evaluated
    unit: Shape = ()


def plan_boxes(source: Node, boxes: Grid, spare: int, state: State, what: str) -> dict[str, Any]:
    """Return the fields of a `HoldStage` over ``boxes`` of ``source``, of which the first is the largest.

    ``spare``: bytes that a task holds besides the box once that is evaluated. Raises MemoryBudgetError where
    a box and that do not fit.
    """
    buffer = aligned(region_size(boxes.region((0,) * len(boxes.shape))) * source.dtype.itemsize)
    region, known = source.region, state.known([source])
    flow = flatten([source], known)
    try:
        choice = _choose(flow, source.grid, region, buffer, spare, boxes, state, what)
    except MemoryBudgetError:
        flow = flatten([source], known, widest=NARROW)
        choice = _choose(flow, source.grid, region, buffer, spare, boxes, state, what)
    middle = choice.grid.region(tuple(n // 2 for n in choice.grid.counts))
    flow, changed = cut_sources(flow, flow.roots[0], region, choice.reads, middle, state)
    if changed:
        choice = _choose(flow, source.grid, region, buffer, spare, boxes, state, what)
    file_bytes, scratch_bytes = split_reads(flow, choice.reads)
    return {
        "flow": flow,
        "workers": choice.workers,
        "allowance": buffer + aligned(choice.peak),
        "peak": (buffer + max(aligned(choice.peak), spare)) * choice.workers,
        "bytes_read": file_bytes,
        "bytes_scratch": scratch_bytes,
        "tasks": state.tasks(boxes.size),
        "boxes": boxes,
        "blocks": choice.grid,
        "unit": (1,) * source.ndim,
    }


def _choose(
    flow: Flow, natural: Grid, region: Region, buffer: int, spare: int, boxes: Grid, state: State, what: str
) -> Choice:
    """Choose the blocks in which boxes are evaluated, straight into the memory where they are worked on."""
    for workers in range(state.workers, 0, -1):
        room = state.available // workers - buffer - ALIGNMENT
        if room < spare:
            continue
        try:
            choice = choose_blocks(
                flow, flow.roots[0], region, natural, (1,) * len(region), lambda _: 0, room, 1,
                direct=True, what=what,
            )  # fmt: skip
        except MemoryBudgetError:
            continue
        peak = max(choice.peak, _peak_in_boxes(flow, choice.grid, boxes, room))
        if peak <= room:
            return replace(choice, workers=workers, peak=peak)
    raise memory_error(what, buffer + spare, state.available)


def _peak_in_boxes(flow: Flow, blocks: Grid, boxes: Grid, room: int) -> int:
    """Return what blocks hold where boxes cut them: a part of a chunk may take more than the whole one."""
    peak = 0
    for picks in product(*(sorted({0, n // 2, n - 1}) for n in boxes.counts)):
        box = boxes.region(picks)
        for index in islice(blocks.touching(box), 8):
            part = intersect(blocks.region(index), box)
            assert part is not None
            peak = max(peak, _peak_of(flow, part, room))
    return peak


def _peak_of(flow: Flow, part: Region, room: int) -> int:
    """Return what a part of a block holds; one that does not fit is cut in two, as the task will do."""
    (root,) = flow.roots
    nbytes = compile_flow(flow, {root: [part]}, direct=frozenset({root})).nbytes
    if nbytes <= room or region_size(part) == 1:
        return nbytes
    return max(_peak_of(flow, half, room) for half in halves(part, (1,) * len(part), nbytes, room))
