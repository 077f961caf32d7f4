"""Plan the collection of scattered elements: which boxes of the source hold any, and what a task holds of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.buffers import aligned, memory_error
from chunkarr.errors import MemoryBudgetError
from chunkarr.grid import Grid, Region, Shape, region_size, shift
from chunkarr.ops.gathering import Collect
from chunkarr.plan.blocks import choose_blocks
from chunkarr.plan.cutting import copied, costly, split_reads
from chunkarr.plan.fuse import NARROW, Flow, flatten
from chunkarr.plan.program import compile_flow
from chunkarr.plan.stages import Pending, Result, Stage

if TYPE_CHECKING:
    from chunkarr.graph import Node
    from chunkarr.plan.blocks import Choice
    from chunkarr.plan.state import State

__all__ = ["CollectStage", "plan_collection", "wanted_of"]

Numbers = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, eq=False)
class CollectStage(Stage):
    """Read boxes of the first root, and bring the elements that are asked for to their places in memory."""

    op: Collect | None = None  # restricted to what is asked for
    blocks: Grid = field(default_factory=lambda: Grid((), ()))  # over the span of the elements
    origin: Shape = ()  # where that begins
    numbers: Numbers = field(default_factory=lambda: np.zeros(0, np.int64))  # of the blocks that hold elements
    returned: bool = False  # whether tasks return what they found, because they run elsewhere

    def box(self, position: int) -> Region:
        """Return the region of the ``position``-th block that holds elements."""
        index = np.unravel_index(self.numbers[position], self.blocks.counts)
        return shift(self.blocks.region(tuple(int(i) for i in index)), self.origin)


def plan_collection(node: Node, region: Region, state: State, *, direct: bool) -> None:
    """Plan the stage that collects ``region`` of ``node``; ``direct``: into the array that was asked for.

    Raises MemoryBudgetError when result, indices and one block of the source do not fit together.
    """
    op: Collect = node.op.restricted(region)  # type: ignore[attr-defined]
    result = _held(node, region, op, state, direct=direct)
    known = state.known(node.inputs)
    flow = flatten(node.inputs, known)
    natural = node.inputs[0].grid
    span = op.span(natural)
    origin = tuple(a for a, _ in span)
    try:
        choice = _choose(flow, natural, span, op, state, state.workers)
    except MemoryBudgetError:
        flow = flatten(node.inputs, known, widest=NARROW)
        choice = _choose(flow, natural, span, op, state, state.workers)
    numbers = op.boxes(choice.grid, origin)
    if _often(flow, span, op, choice, numbers) and state.workers > 1:  # whole boxes for one are better than halves
        choice = _choose(flow, natural, span, op, state, 1)
        numbers = op.boxes(choice.grid, origin)
    often = _often(flow, span, op, choice, numbers)
    if often:
        middle = shift(choice.grid.region(tuple(n // 2 for n in choice.grid.counts)), origin)
        flow = copied(flow, often, wanted_of(flow, op.most(middle)), wanted_of(flow, op.most(span)), state)
        choice = _choose(flow, natural, span, op, state, state.workers)
        numbers = op.boxes(choice.grid, origin)
    share = numbers.size / max(1, choice.grid.size)
    file_bytes, scratch_bytes = split_reads(flow, {k: n * share for k, n in choice.reads.items()})
    state.add(
        CollectStage(
            flow=flow,
            results=(result,),
            label=f"collect {'x'.join(str(b - a) for a, b in region)} of {'x'.join(map(str, node.inputs[0].shape))}",
            workers=choice.workers,
            allowance=choice.peak,
            peak=choice.peak * choice.workers + op.nbytes,
            bytes_read=file_bytes,
            bytes_scratch=scratch_bytes,
            tasks=state.tasks(numbers.size),
            op=op,
            blocks=choice.grid,
            origin=origin,
            numbers=numbers,
            returned=state.shared,
        )
    )
    if not direct:
        state.resolved[id(node)] = Pending(node.shape, result)


def _held(node: Node, region: Region, op: Collect, state: State, *, direct: bool) -> Result:
    """Count the result, which is held in memory, or raise MemoryBudgetError."""
    nbytes = region_size(region) * node.dtype.itemsize
    held = 0 if direct else nbytes * (1 + state.shared)  # where tasks run elsewhere, also the pieces they return
    if held + op.nbytes > state.available:
        raise memory_error(
            f"indexing {'x'.join(map(str, node.inputs[0].shape))} elements with arrays or masks",
            nbytes + held + op.nbytes,
            state.budget,
            "take fewer elements at a time, or in ascending order of their indices",
        )
    state.held += held
    result = Result(next(state.key), region, node.dtype, "target" if direct else "memory")
    if region == node.region and nbytes <= state.budget // 64 and not direct:
        state.owners.append((result.key, node))
    return result


def wanted_of(flow: Flow, regions: tuple[Region, ...]) -> dict[int, list[Region]]:
    """Return what is wanted of each root of the flow; nothing where there are no regions."""
    found: dict[int, list[Region]] = {}
    if regions:
        for root, region in zip(flow.roots, regions, strict=True):
            found.setdefault(root, []).append(region)
    return found


def _choose(flow: Flow, natural: Grid, span: Region, op: Collect, state: State, workers: int) -> Choice:
    """Choose the blocks of the source."""
    origin = tuple(a for a, _ in span)
    return choose_blocks(
        flow,
        flow.roots[0],
        span,
        natural.within(span),
        op.unit,
        lambda box: aligned(op.held_bytes(shift(box, origin))),
        state.available - op.nbytes,
        workers,
        wanted=lambda block: wanted_of(flow, op.most(block)),
        what="indexing with arrays or masks",
    )


def _often(flow: Flow, span: Region, op: Collect, choice: Choice, numbers: Numbers) -> list[int]:
    """Return the Load units that would be read too often; only the blocks of these ``numbers`` are read."""
    once = compile_flow(flow, wanted_of(flow, op.most(span))).bytes_read
    share = numbers.size / max(1, choice.grid.size)
    return costly(flow, {k: n * share for k, n in choice.reads.items()}, once)
