"""Plan the collection of scattered elements: which boxes of the source hold any, and what a task holds of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.buffers import aligned, memory_error
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


@dataclass(frozen=True, eq=False)
class CollectStage(Stage):
    """Read boxes of the first root, and bring the elements that are asked for to their places in memory."""

    op: Collect | None = None  # restricted to what is asked for
    blocks: Grid = field(default_factory=lambda: Grid((), ()))  # over the span of the elements
    origin: Shape = ()  # where that begins
    numbers: np.ndarray[Any, np.dtype[np.int64]] = field(default_factory=lambda: np.zeros(0, np.int64))  # of blocks
    returned: bool = False  # whether tasks return what they found, because they run elsewhere

    def box(self, position: int) -> Region:
        """Return the region of the ``position``-th block that holds elements."""
        index = np.unravel_index(self.numbers[position], self.blocks.counts)
        return shift(self.blocks.region(tuple(int(i) for i in index)), self.origin)


def plan_collection(node: Node, region: Region, state: State, *, direct: bool) -> None:
    """Plan the stage that collects ``region`` of ``node``; ``direct``: into the array that was asked for.

    Raises MemoryBudgetError when result, indices and one block of the source do not fit together.
    """
    nbytes = region_size(region) * node.dtype.itemsize
    op: Collect = node.op.restricted(region)  # type: ignore[attr-defined]
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
    known = state.known(node.inputs)
    flow = flatten(node.inputs, known)
    try:
        choice = _choose(flow, node, op, state)
    except MemoryError:
        flow = flatten(node.inputs, known, widest=NARROW)
        choice = _choose(flow, node, op, state)
    numbers = op.boxes(choice.grid)
    share = numbers.size / max(1, choice.grid.size)
    flow, changed = _cut(flow, op, choice, share, state)
    if changed:
        choice = _choose(flow, node, op, state)
        numbers = op.boxes(choice.grid)
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
            origin=tuple(a for a, _ in op.span()),
            numbers=numbers,
            returned=state.shared,
        )
    )
    if not direct:
        state.resolved[id(node)] = Pending(node.shape, result)


def wanted_of(flow: Flow, regions: tuple[Region, ...]) -> dict[int, list[Region]]:
    """Return what is wanted of each root of the flow."""
    found: dict[int, list[Region]] = {}
    for root, region in zip(flow.roots, regions, strict=True):
        found.setdefault(root, []).append(region)
    return found


def _choose(flow: Flow, node: Node, op: Collect, state: State) -> Choice:
    """Choose the blocks of the source."""
    span = op.span()
    origin = tuple(a for a, _ in span)
    return choose_blocks(
        flow,
        flow.roots[0],
        span,
        node.inputs[0].grid.within(span),
        op.unit,
        lambda box: aligned(op.held_bytes(shift(box, origin))),
        state.available - op.nbytes,
        state.workers,
        wanted=lambda block: wanted_of(flow, op.most(block)),
        what="indexing with arrays or masks",
    )


def _cut(flow: Flow, op: Collect, choice: Choice, share: float, state: State) -> tuple[Flow, bool]:
    """Copy sources that would be read too often into scratch; only a ``share`` of the blocks is read."""
    span = op.span()
    everything = wanted_of(flow, op.most(span))
    once = compile_flow(flow, everything).bytes_read
    often = costly(flow, {k: n * share for k, n in choice.reads.items()}, once)
    if not often:
        return flow, False
    middle = choice.grid.region(tuple(n // 2 for n in choice.grid.counts))
    block = wanted_of(flow, op.most(shift(middle, [a for a, _ in span])))
    return copied(flow, often, block, everything, state), True
