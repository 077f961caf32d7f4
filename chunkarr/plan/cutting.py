"""Cut costly edges: where a pass would read a source too often, a stage before it copies the source to scratch.

The copy lies in tiles that suit both sides: as wide as the reader's blocks, as tall as the writer's.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from chunkarr.buffers import aligned
from chunkarr.graph import Load
from chunkarr.grid import Grid, Region, Shape, bounding, region_shape
from chunkarr.plan.blocks import REREAD, choose_blocks, source_sizes, stream_axes
from chunkarr.plan.fuse import Flow, Unit
from chunkarr.plan.program import compile_flow
from chunkarr.plan.stages import MapStage, Pending, Result

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chunkarr.formats.contract import Stored
    from chunkarr.plan.state import State

__all__ = ["copied", "costly", "cut_sources", "split_reads"]


def cut_sources(
    flow: Flow, root: int, region: Region, reads: Mapping[int, float], sample: Region, state: State
) -> tuple[Flow, bool]:
    """Copy sources that would be read too often into scratch; ``sample`` is a block of the pass."""
    often = costly(flow, reads, source_sizes(flow, root, region))
    if not often:
        return flow, False
    return copied(flow, often, {root: [sample]}, {root: [region]}, state), True


def costly(flow: Flow, reads: Mapping[int, float], sizes: Mapping[int, float]) -> list[int]:
    """Return the files among the Load units of which more than about twice ``sizes`` bytes are read."""
    return [
        k
        for k, nbytes in reads.items()
        if nbytes > REREAD * max(1, sizes.get(k, 0)) and _stored(flow, k).format not in ("memory", "scratch")
    ]


def copied(
    flow: Flow,
    often: Sequence[int],
    block: Mapping[int, list[Region]],
    all_of: Mapping[int, list[Region]],
    state: State,
) -> Flow:
    """Return ``flow`` reading scratch copies of its costly sources, in tiles that suit one ``block`` of the pass."""
    units = list(flow.units)
    spans, grains = _spans(flow, all_of), _grains(flow, block)
    for k in often:
        stored = _stored(flow, k)
        span = spans[k]
        grain = grains.get(k, region_shape(span))
        result = state.copies.get((id(stored), span)) or _plan_copy(stored, span, grain, state)
        units[k] = Unit(Load(Pending(stored.shape, result)), ())
    return replace(flow, units=tuple(units))


def _stored(flow: Flow, unit: int) -> Stored:
    stored: Stored = flow.units[unit].op.stored  # type: ignore[attr-defined]
    return stored


def _spans(flow: Flow, wanted: Mapping[int, list[Region]]) -> dict[int, Region]:
    """Return the bounding region that each Load must read for the wanted regions of units."""
    result: dict[int, Region] = {}
    for step in compile_flow(flow, wanted).steps:
        if isinstance(step.op, Load):
            have = result.get(step.unit)
            result[step.unit] = step.region if have is None else bounding(have, step.region)
    return result


def _grains(flow: Flow, wanted: Mapping[int, list[Region]]) -> dict[int, Shape]:
    """Return the least that each Load reads at once along each axis for the wanted regions of units."""
    result: dict[int, Shape] = {}
    for step in compile_flow(flow, wanted).steps:
        if isinstance(step.op, Load):
            have = result.get(step.unit, step.shape)
            result[step.unit] = tuple(min(m, n) for m, n in zip(have, step.shape, strict=True))
    return result


def _plan_copy(stored: Stored, span: Region, wanted: Shape, state: State) -> Result:
    """Plan the stage that copies ``span`` of a source into scratch tiles that suit readers of ``wanted`` shapes."""
    itemsize = stored.dtype.itemsize
    room = max(1, state.available // state.workers // 3 // max(1, itemsize))
    steps = list(stored.grid.steps) if not stored.contiguous else [1] * len(span)
    for axis in sorted(range(len(span)), key=lambda k: steps[k] / wanted[k]):  # thinnest against the need first
        n = span[axis][1] - span[axis][0]
        times = max(1, min(room // max(1, math.prod(steps)), -(-min(n, max(wanted[axis], steps[axis])) // steps[axis])))
        steps[axis] *= times
    for axis in range(len(span) - 1, -1, -1):  # then wider, so that writing has long runs
        n = span[axis][1] - span[axis][0]
        times = max(1, min(room // max(1, math.prod(steps)), -(-n // steps[axis])))
        steps[axis] *= times
    shape = region_shape(span)
    steps = [min(s, n) for s, n in zip(steps, shape, strict=True)]
    tile = tuple(min(s, w) for s, w in zip(steps, wanted, strict=True))
    result = Result(next(state.key), span, stored.dtype, "scratch", tile)
    state.scratch += result.nbytes
    state.copies[id(stored), span] = result
    flow = Flow((Unit(Load(stored), ()),), (0,))
    local = Grid(stored.shape, tuple(steps), stored.grid.firsts).within(span)
    unit = (1,) * len(span)
    choice = choose_blocks(
        flow,
        0,
        span,
        local,
        unit,
        lambda box: aligned(result.scratch_bytes(box)),
        state.available,
        state.workers,
        what="copy to scratch",
    )
    state.add(
        MapStage(
            flow=flow,
            results=(result,),
            label=f"copy {stored.path or 'source'} to scratch tiles",
            workers=choice.workers,
            allowance=choice.peak,
            peak=choice.peak * choice.workers,
            bytes_read=int(sum(choice.reads.values())),
            bytes_scratch=0,
            tasks=state.tasks(choice.grid.size),
            blocks=choice.grid,
            unit=unit,
            forward=stream_axes(flow, choice.grid, span),
        )
    )
    return result


def split_reads(flow: Flow, reads: Mapping[int, float]) -> tuple[int, int]:
    """Return the bytes read from files and from scratch."""
    files = scratch = 0
    for k, nbytes in reads.items():
        stored = flow.units[k].op.stored  # type: ignore[attr-defined]
        if stored.format == "scratch":
            scratch += int(nbytes)
        elif stored.format != "memory":
            files += int(nbytes)
    return files, scratch
