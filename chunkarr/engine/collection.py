"""Tasks that collect scattered elements: each block is read once, its elements go to their places in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.grid import Region
from chunkarr.plan.blocks import halves
from chunkarr.plan.collecting import wanted_of
from chunkarr.plan.program import Flags, compile_flow, run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chunkarr.engine.tasks import Context
    from chunkarr.plan.collecting import CollectStage

__all__ = ["put_returned", "run_collect"]

Block = np.ndarray[Any, Any]
Found = list[tuple[Region, list[Block]]]


def run_collect(
    stage: CollectStage, out: Block | None, start: int, stop: int, context: Context
) -> tuple[list[tuple[str, str]], Found]:
    """Collect the elements of the blocks ``start`` ... ``stop`` into ``out``; without one, return them by block.

    Returns floating-point events, and what was found.
    """
    flags = Flags()
    found: Found = []
    share = stage.work // max(1, len(stage.numbers))
    with context.slabs.take(stage.allowance) as slab, np.errstate(all="call", call=flags):
        for position in range(start, stop):
            context.check()
            _collect(stage, stage.box(position), out, found, slab, flags)
            context.advance(share)
    return list(flags.seen), found


def _collect(stage: CollectStage, box: Region, out: Block | None, found: Found, slab: Block, flags: Flags) -> None:
    """Collect the elements of one block; one that turns out larger than planned is cut in two."""
    op = stage.op
    assert op is not None
    regions = op.wanted(box)
    if not regions:
        return
    wanted = wanted_of(stage.flow, regions)
    program = compile_flow(stage.flow, wanted)
    needed = program.nbytes + op.held_bytes(box)
    if needed > stage.allowance:
        for half in halves(box, op.unit, needed, stage.allowance):
            _collect(stage, half, out, found, slab, flags)
        return
    blocks = _by_root(stage, wanted, run(program, slab, flags))
    if out is None:
        found.append((box, [np.array(value) for value in op.pick(blocks, regions, box)]))
    else:
        op.move(blocks, regions, box, out)


def _by_root(stage: CollectStage, wanted: dict[int, list[Region]], results: list[Block]) -> list[Block]:
    """Return the block of each input; two inputs may be the same root."""
    each = iter(results)
    held = {root: [next(each) for _ in regions] for root, regions in wanted.items()}
    return [held[root].pop(0) for root in stage.flow.roots]


def put_returned(stage: CollectStage, out: Block, found: Sequence[tuple[Region, list[Block]]]) -> None:
    """Bring what tasks returned to its places."""
    assert stage.op is not None
    for box, values in found:
        stage.op.put(out, box, values)
