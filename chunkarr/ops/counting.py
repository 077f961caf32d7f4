"""Where values in memory lie in a sorted array of any size: each block of that tells how much of it comes before."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.formats.contract import Target
from chunkarr.grid import Grid, region_size

if TYPE_CHECKING:
    from chunkarr.graph import Node
    from chunkarr.grid import Region

__all__ = ["Places"]

Block = np.ndarray[Any, Any]


class Places(Target):
    """Takes the blocks of a sorted array of one axis in any order, and finds where ``values`` belong.

    Parameters
    ----------
    node
        The sorted array.
    values
        What is looked up, of its dtype, sorted.
    side
        As of ``np.searchsorted``.
    """

    distributable = False

    def __init__(self, node: Node, values: Block, side: Any) -> None:
        self.shape, self.dtype = node.shape, node.dtype
        self.grid = Grid(node.shape, (1,))
        self.values, self.side = values, side
        self._lock = threading.Lock()
        self._inside = np.zeros(values.size, np.intp)  # elements before, within the block that a value falls into
        self._passed = np.zeros(values.size + 1, np.intp)  # elements of blocks that end before a value, at the first

    def write(self, region: Region, block: Block, scratch: Block) -> None:  # noqa: ARG002 - the contract's
        """Look those values up that lie between the ends of the block; all beyond come after the whole block."""
        first, last = np.searchsorted(self.values, block[[0, -1]], "left")
        last = max(first, int(np.searchsorted(self.values, block[-1], "right")))
        for start in range(int(first), last, 1 << 16):
            stop = min(last, start + (1 << 16))
            found = np.searchsorted(block, self.values[start:stop], self.side)
            with self._lock:
                self._inside[start:stop] += found
        with self._lock:
            self._passed[last] += block.size

    def found(self) -> Block:
        """Return the place of each value."""
        places: Block = self._inside + np.cumsum(self._passed[:-1])
        return places

    def scratch_bytes(self, region: Region) -> int:
        """Count an aligned copy of the block, and a few values."""
        return region_size(region) * self.dtype.itemsize + (1 << 16) * (8 + self.dtype.itemsize)

    def commit(self) -> None:
        """Do nothing: places are taken by `found`."""

    def abort(self) -> None:
        """Do nothing: nothing lies on a disk."""
