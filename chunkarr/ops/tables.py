"""The distinct integers of an array by a table: one count for each integer between the least and the largest."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.formats.contract import Target
from chunkarr.grid import Grid, region_size

if TYPE_CHECKING:
    from chunkarr.graph import Node
    from chunkarr.grid import Region

__all__ = ["Table"]

Block = np.ndarray[Any, Any]
PIECE = 1 << 18  # entries that are looked at together


class Table(Target):
    """Takes the blocks of an integer array in any order and counts each integer.

    A block is sorted first: its equal elements are counted where they lie, and the table is gone through in order.

    Parameters
    ----------
    node
        The array whose blocks come, of integers.
    low, high
        Its least and its largest element.
    """

    distributable = False

    def __init__(self, node: Node, low: int, high: int) -> None:
        self.shape, self.dtype = node.shape, node.dtype
        self.grid = Grid(node.shape, (1,) * node.ndim)
        self.low = low
        self._counts = np.zeros(high - low + 1, np.intp)
        self._lock = threading.Lock()

    @staticmethod
    def held_bytes(dtype: np.dtype[Any], low: int, high: int) -> int:
        """Return the bytes of the table, and of values and counts if all integers are there."""
        return (high - low + 1) * (16 + dtype.itemsize) + 32 * PIECE

    def write(self, region: Region, block: Block, scratch: Block) -> None:  # noqa: ARG002 - the contract's
        """Count the elements of a block."""
        values = np.sort(block.reshape(-1).astype(self.dtype.newbyteorder("="), copy=False))
        starts = np.flatnonzero(np.append(True, values[1:] != values[:-1]))
        places = np.subtract(values[starts], self.low, dtype=np.intp, casting="unsafe")
        counts = np.diff(starts, append=values.size)
        with self._lock:
            self._counts[places] += counts

    def found(self) -> tuple[Block, Block]:
        """Return the distinct integers, sorted, and their counts."""
        size = np.count_nonzero(self._counts)
        values, counts = np.empty(size, self.dtype), np.empty(size, np.intp)
        done = 0
        for start in range(0, self._counts.size, PIECE):
            part = self._counts[start : start + PIECE]
            (there,) = np.nonzero(part)
            counts[done : done + there.size] = part[there]
            values[done : done + there.size] = there + (start + self.low)
            done += there.size
        return values, counts

    def scratch_bytes(self, region: Region) -> int:
        """Count the sorted copy, what tells neighbours apart, their places and counts."""
        return region_size(region) * (2 * self.dtype.itemsize + 2 + 4 * 8)

    def commit(self) -> None:
        """Do nothing: counts are taken by `found`."""

    def abort(self) -> None:
        """Do nothing: nothing lies on a disk."""
