"""Evaluating a box whole, in the memory of the task that works on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.engine.tasks import map_block
from chunkarr.formats.memory import MemoryTarget
from chunkarr.grid import intersect, region_shape, region_size, shift

if TYPE_CHECKING:
    from chunkarr.engine.tasks import Context
    from chunkarr.grid import Region
    from chunkarr.plan.holding import HoldStage
    from chunkarr.plan.program import Flags

__all__ = ["held_box"]

Block = np.ndarray[Any, Any]


def held_box(stage: HoldStage, box: Region, slab: Block, flags: Flags, context: Context) -> Block:
    """Return the values of a box of the stage's array, contiguous and flat, in ``slab``."""
    dtype = stage.flow.units[stage.flow.roots[0]].op.dtype
    size = region_size(box)
    nbytes = size * dtype.itemsize
    values = slab[:nbytes].view(dtype) if nbytes else np.empty(size, dtype)
    room = slab[-(-nbytes // 64) * 64 :]
    origin = tuple(a for a, _ in box)
    target = MemoryTarget(values.reshape(region_shape(box)))
    for index in stage.blocks.touching(box):
        context.check()
        part = intersect(stage.blocks.region(index), box)
        assert part is not None
        map_block(stage, target, shift(part, [-a for a in origin]), origin, room, flags)
    return values
