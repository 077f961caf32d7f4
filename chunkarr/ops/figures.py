"""What an array of real numbers holds, in figures: found in one pass, with what quantiles need of it.

A block is looked at piece by piece, in cache. Moments of pieces are merged after Chan, Golub and LeVeque, those of
blocks in the order of the blocks; least, greatest and counts do not depend on an order.
"""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.formats.contract import Target
from chunkarr.grid import Grid, region_size
from chunkarr.ops.keys import has_keys
from chunkarr.ops.ranking import FirstCounter

if TYPE_CHECKING:
    from chunkarr.graph import Node
    from chunkarr.grid import Region

__all__ = ["Figures"]

Block = np.ndarray[Any, Any]
Moments = tuple[int, float, float, float]  # count, mean, what its rounding lost, sum of squared differences from it
PIECE = 1 << 18  # elements that are looked at together
NOTHING: Moments = (0, 0.0, 0.0, 0.0)


class Figures(Target):
    """Takes the blocks of an array of real numbers, of native byte order, in any order.

    Attributes
    ----------
    count
        Elements that are not NaN.
    low, high
        The least and the greatest of them; None where there are none.
    digits
        Counts of `FirstCounter`; None for dtypes that have no keys.
    """

    distributable = False

    def __init__(self, node: Node) -> None:
        self.shape, self.dtype = node.shape, node.dtype
        self.grid = Grid(node.shape, (1,) * node.ndim)
        self.count = 0
        self.low: Any = None
        self.high: Any = None
        self._counter = FirstCounter(node.dtype) if has_keys(node.dtype) else None
        self.digits = None if self._counter is None else np.zeros(self._counter.size, np.int64)
        self._moments: dict[tuple[int, ...], Moments] = {}
        self._lock = threading.Lock()

    def write(self, region: Region, block: Block, scratch: Block) -> None:  # noqa: ARG002 - the contract's
        """Look at a block."""
        flat = np.ascontiguousarray(block).reshape(-1)
        found = NOTHING
        with np.errstate(all="ignore"):  # infinities: the extremes tell
            for start in range(0, len(flat), PIECE):
                found = _merged(found, self._look(flat[start : start + PIECE]))
        with self._lock:
            self._moments[tuple(a for a, _ in region)] = found

    def _look(self, piece: Block) -> Moments:
        """Count digits and extremes of a piece, and return the moments of what is not NaN."""
        digits = None if self._counter is None else self._counter([piece])
        low = piece.min()
        if low != low:  # noqa: PLR0124 - NaN
            piece = piece[~np.isnan(piece)]
        moments, high = NOTHING, None
        if piece.size:
            low, high = piece.min(), piece.max()
            mean = piece.mean(dtype=np.float64)
            apart = np.subtract(piece, mean, dtype=np.float64)
            lost = float(apart.mean())
            squares = float(np.square(apart, out=apart).sum())
            moments = piece.size, float(mean), lost, max(0.0, squares - piece.size * lost * lost)
        with self._lock:
            if digits is not None:
                self.digits += digits
            if piece.size:
                self.count += piece.size
                self.low = low if self.low is None else min(self.low, low)
                self.high = high if self.high is None else max(self.high, high)
        return moments

    def spread(self) -> tuple[float, float]:
        """Return mean and standard deviation of what is not NaN, of which there is something."""
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            return float(self.low) + float(self.high) if self.low != self.high else float(self.low), math.nan
        total = NOTHING
        with np.errstate(all="ignore"):
            for place in sorted(self._moments):
                total = _merged(total, self._moments[place])
        return total[1], math.sqrt(total[3] / total[0])

    def held_bytes(self) -> int:
        """Return the bytes of the counts of digits."""
        return 0 if self.digits is None else self.digits.nbytes

    def scratch_bytes(self, region: Region) -> int:
        """Count a contiguous copy of the block; of a piece its numbers as floats, and what is not NaN."""
        size = region_size(region)
        piece = min(size, PIECE)
        digits = 0 if self._counter is None else self._counter.held_bytes(piece)
        return size * self.dtype.itemsize + max(digits, piece * (17 + self.dtype.itemsize))

    def commit(self) -> None:
        """Do nothing: figures are taken by name."""

    def abort(self) -> None:
        """Do nothing: nothing lies on a disk."""


def _merged(one: Moments, other: Moments) -> Moments:
    """Return the moments of the elements of both."""
    if not one[0] or not other[0]:
        return one if one[0] else other
    share = other[0] / (one[0] + other[0])
    apart = (other[1] - one[1]) + (other[2] - one[2])
    step = one[2] + apart * share
    mean = one[1] + step
    back = mean - step
    lost = (one[1] - back) + (step - (mean - back))  # what the sum was rounded by, after Knuth
    return one[0] + other[0], mean, lost, one[3] + other[3] + apart * apart * one[0] * share
