"""Changes of stored arrays: only the storage boxes that are touched are evaluated and written."""

from __future__ import annotations

import math
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.engine.small import SMALL
from chunkarr.formats.contract import Target
from chunkarr.grid import Region, region_key, region_shape, region_size, shift

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from chunkarr.formats.contract import Update
    from chunkarr.graph import Node
    from chunkarr.ops.assign import Assign

__all__ = ["Window", "are_small", "change_bytes", "pieces", "small_parts", "update_small"]

Block = np.ndarray[Any, Any]

FEW = 64  # boxes that are changed one after another, without a plan
LITTLE = 16 << 20  # bytes of all these boxes


class Window(Target):
    """A region of an update as a target of its own: what is written there goes to the update, in parts."""

    def __init__(self, change: Update, region: Region, touched: Callable[[Region], Iterable[Region]]) -> None:
        self.change, self.touched = change, touched
        self.shape, self.dtype = region_shape(region), change.dtype
        self.grid = change.grid.within(region)
        self.distributable, self.order = change.distributable, change.order
        self._corner = tuple(a for a, _ in region)

    def _there(self, region: Region) -> Region:
        return shift(region, self._corner)

    def parts(self, region: Region) -> Iterable[Region]:
        """Return the touched parts of ``region``."""
        back = tuple(-a for a in self._corner)
        return (shift(part, back) for part in self.touched(self._there(region)))

    def write(self, region: Region, block: Block, scratch: Block) -> None:
        """Write a block to its place in the update."""
        self.change.write(self._there(region), block, scratch)

    def scratch_bytes(self, region: Region) -> int:
        """Ask the update."""
        return self.change.scratch_bytes(self._there(region))

    def commit(self) -> None:
        """Do nothing: the update is committed by who began it."""

    def abort(self) -> None:
        """Do nothing: the update is aborted by who began it."""


def small_parts(parts: Iterable[Region], itemsize: int, limit: int) -> list[Region] | None:
    """Return the parts as a list if they are few, and of at most ``limit`` bytes; else None."""
    found = list(islice(parts, FEW + 1))
    nbytes = sum(map(region_size, found)) * itemsize
    return found if len(found) <= FEW and nbytes <= min(LITTLE, limit) else None


def change_bytes(parts: Sequence[Region], op: Assign, change: Update) -> int:
    """Return the bytes that changing the largest of ``parts`` holds."""
    return max(
        (region_size(part) * op.dtype.itemsize + _scratch(part, change) + op.scratch_bytes(part) for part in parts),
        default=0,
    )


def _scratch(part: Region, change: Update) -> int:
    return max(change.before.scratch_bytes(part), change.scratch_bytes(part))


def update_small(op: Assign, values: Sequence[Block], change: Update, parts: Iterable[Region]) -> None:
    """Change ``parts`` one after another in memory: no plan, no tasks."""
    for part in parts:
        block = np.zeros(region_shape(part), op.dtype)
        scratch = np.empty(_scratch(part, change), np.uint8)
        old, *needed = op.needs(part)
        if old is not None:
            change.before.read(old, block, scratch)
        op.change(block, part, pieces(values, needed))
        change.write(part, block, scratch)


def pieces(values: Sequence[Block], needed: Sequence[Region | None]) -> list[Block | None]:
    """Return the part of each value that is needed."""
    return [None if need is None else v[region_key(need)] for v, need in zip(values, needed, strict=True)]


def are_small(values: Sequence[Node]) -> bool:
    """Say whether values can be computed into memory without more ado."""
    return sum(math.prod(n.shape) * n.dtype.itemsize for n in values) <= SMALL
