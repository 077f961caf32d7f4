"""The distinct elements of a stream of blocks: each block is sorted alone, the results are merged now and then.

What is held grows with the number of distinct values, not of elements. Runs of distinct values wait until together
they are as many as those merged before, so that each value takes part in few merges. Merging is a
stable sort of what lies end to end: runs that are sorted already take it little time.
"""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.errors import ChunkarrError
from chunkarr.formats.contract import Target
from chunkarr.grid import Grid, region_shape, region_size

if TYPE_CHECKING:
    from chunkarr.graph import Node
    from chunkarr.grid import Region

__all__ = ["Distinct", "TooManyError", "first_of_each"]

Block = np.ndarray[Any, Any]
Run = tuple[Block, Block | None, Block | None]  # values, first flat index of each, count of each
MANY = 4  # one in so many elements is another: too many, if it goes on like that
FEW = 1 << 16  # distinct values up to which merging costs nothing
SPAN = 1 << 16  # integers of a block that lie within so many are counted rather than sorted
COUNTED = 1 << 16  # elements of a block from which on that is quicker than sorting
PIECE = 1 << 18  # elements that are counted at a time: their copy as indices stays in cache


class TooManyError(ChunkarrError):
    """More distinct values than are to be held: another way must be taken."""


def first_of_each(values: Block, *, equal_nan: bool) -> Block:
    """Return where a sorted array holds another value than before; NaN are one value if ``equal_nan``.

    >>> first_of_each(np.array([1.0, 1.0, np.nan, np.nan]), equal_nan=True).tolist()
    [True, False, True, False]
    """
    mask = np.ones(values.shape, np.bool_)
    mask[1:] = values[1:] != values[:-1]  # of structured elements too
    if equal_nan and values.size and values.dtype.kind in "cfmM" and np.isnan(values[-1]):
        first = int(np.searchsorted(np.isnan(values), True))
        mask[first + 1 :] = False
    return mask


class Distinct(Target):
    """Takes the blocks of an array in any order and keeps what is distinct.

    Parameters
    ----------
    node
        The array whose blocks come.
    index, counts
        Whether to keep the first flat index, and the number, of each value.
    equal_nan
        Whether NaN are one value.
    limit
        Bytes that distinct values with their indices and counts may take; `TooManyError` beyond.
    """

    distributable = False

    def __init__(self, node: Node, *, index: bool, counts: bool, equal_nan: bool, limit: int) -> None:
        self.shape, self.dtype = node.shape, node.dtype
        self.grid = Grid(node.shape, (1,) * node.ndim)
        self.index, self.counts, self.equal_nan, self.limit = index, counts, equal_nan, limit
        self.record = self.dtype.itemsize + 8 * index + 8 * counts  # bytes of a distinct value
        self._lock = threading.Lock()
        self._merged: Run = (np.empty(0, self.dtype), np.empty(0, np.intp), np.empty(0, np.intp))
        self._waiting: list[Run] = []
        self._seen = 0

    @staticmethod
    def held_bytes(limit: int) -> int:
        """Return what is held where ``limit`` bytes of distinct values are allowed: two sides of a merge, its order."""
        return 8 * limit

    def write(self, region: Region, block: Block, scratch: Block) -> None:  # noqa: ARG002 - the contract's
        """Find what is distinct in a block, and keep it."""
        run = self._run(block, region)
        with self._lock:
            self._waiting.append(run)
            self._seen += block.size
            waiting = sum(r[0].size for r in self._waiting)
            if waiting > max(self._merged[0].size, FEW) or (waiting + self._merged[0].size) * self.record > self.limit:
                self._merge()
                self._check()

    def _check(self) -> None:
        """Give up where values do not fit, or where nearly all of many are distinct, so that they will not."""
        found = self._merged[0].size
        if found * self.record > self.limit:
            raise TooManyError(f"more than {self.limit} bytes of distinct values")
        expected = found * math.prod(self.shape) // max(1, self._seen)
        if MANY * found > self._seen and expected * self.record > 2 * self.limit:
            raise TooManyError(f"{found} distinct values among the first {self._seen}")

    def _run(self, block: Block, region: Region) -> Run:
        """Return the distinct elements of a block, sorted."""
        counted = None if self.index else _count(block)
        if counted is not None:
            return counted[0], None, counted[1]
        flat = block.reshape(-1)
        order: Block | None = None
        if self.index:
            order = np.argsort(flat, kind="stable")
            values = flat[order]
        else:
            values = np.sort(flat)
        mask = first_of_each(values, equal_nan=self.equal_nan)
        starts = np.flatnonzero(mask) if self.counts else None
        counts = None if starts is None else np.diff(starts, append=mask.size)
        first = None if order is None else self._flat_index(order[mask], region)
        return values[mask], first, counts

    def _flat_index(self, local: Block, region: Region) -> Block:
        """Return flat indices within a block as flat indices of the array."""
        if len(self.shape) == 1:
            return local + region[0][0]
        places = np.unravel_index(local, region_shape(region))
        flat: Block = np.ravel_multi_index([p + a for p, (a, _) in zip(places, region, strict=True)], self.shape)
        return flat

    def _merge(self) -> None:
        """Merge all runs into one."""
        runs = [r for r in (self._merged, *self._waiting) if r[0].size]
        self._waiting = []
        if len(runs) <= 1:
            self._merged = runs[0] if runs else self._merged
            return
        values = np.concatenate([r[0] for r in runs], dtype=self.dtype)
        if not self.index and not self.counts:
            del runs
            values.sort(kind="stable")
            self._merged = values[first_of_each(values, equal_nan=self.equal_nan)], None, None
            return
        order = np.argsort(values, kind="stable")
        values = values[order]
        mask = first_of_each(values, equal_nan=self.equal_nan)
        starts = np.flatnonzero(mask)
        index = counts = None
        if self.index:
            index = np.concatenate([r[1] for r in runs])[order]
            index = np.minimum.reduceat(index, starts) if starts.size else index
        if self.counts:
            counts = np.concatenate([r[2] for r in runs])[order]
            counts = np.add.reduceat(counts, starts) if starts.size else counts
        self._merged = values[mask], index, counts

    def found(self) -> Run:
        """Return the distinct values, sorted, their first flat indices and their counts, where asked for."""
        if self._waiting:
            self._merge()
            self._check()
        values, index, counts = self._merged
        return values, index if self.index else None, counts if self.counts else None

    def scratch_bytes(self, region: Region) -> int:
        """Count the sorted copy, what tells neighbours apart, the order and the counts."""
        size = region_size(region)
        return size * (3 * self.dtype.itemsize + 1 + 8 * self.counts + 32 * self.index)

    def commit(self) -> None:
        """Do nothing: values are taken by `found`."""

    def abort(self) -> None:
        """Do nothing: nothing lies on a disk."""


def _count(block: Block) -> tuple[Block, Block] | None:
    """Return the distinct values and counts of integers that lie close together, without sorting; None of others."""
    if block.dtype.kind not in "iu" or not block.dtype.isnative or block.size < COUNTED:
        return None
    low, high = int(block.min()), int(block.max())
    if high - low >= SPAN or not -(1 << 62) < low <= high < 1 << 62:
        return None
    flat = block.reshape(-1)
    counts = np.zeros(high - low + 1, np.intp)
    for start in range(0, flat.size, PIECE):
        places = np.subtract(flat[start : start + PIECE], low, dtype=np.intp)
        counts += np.bincount(places, minlength=counts.size)
    (found,) = np.nonzero(counts)
    return (found + low).astype(block.dtype), counts[found]
