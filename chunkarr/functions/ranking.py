"""The elements at some ranks of an array of any size: a few passes that count digits of keys, and one that picks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr import engine
from chunkarr.ops import elementwise
from chunkarr.ops.keys import DIGIT, key_bits, values_of
from chunkarr.ops.ranking import DigitCounter, FirstCounter, Sieve, SievePicker, refine
from chunkarr.ops.tallying import pick_elements, tally
from chunkarr.settings import budget

if TYPE_CHECKING:
    from chunkarr.graph import Node

__all__ = ["Ranking"]

Block = np.ndarray[Any, Any]
Indices = np.ndarray[Any, np.dtype[np.int64]]
PICKED = 4  # the part of the budget that picked elements may take
TABLES = 32  # the part of the budget that the counts of one pass may take


class Ranking:
    """An array whose elements are looked up by their rank; counts first digits when it is made.

    Parameters
    ----------
    node
        Not empty; of a dtype that has keys.
    counts
        Those of `FirstCounter`, where they are known already.

    Attributes
    ----------
    missing
        How many elements are NaN or NaT; these have no rank.
    count
        How many are not.
    """

    def __init__(self, node: Node, counts: Indices | None = None) -> None:
        self.dtype = node.dtype.newbyteorder("=")
        self.node = node if node.dtype == self.dtype else elementwise.astype(node, self.dtype)
        if counts is None:
            (counts,) = engine.compute([tally(FirstCounter(self.dtype), [self.node])])
        self.first = counts[:-1]
        self.missing = int(counts[-1])
        self.count = int(self.first.sum())

    def at(self, ranks: Indices) -> Block:
        """Return the elements at ascending ``ranks``, counted from the least."""
        if not ranks.size:
            return np.empty(0, self.dtype)
        width = key_bits(self.dtype)
        sieve = refine(None, self.dtype, min(DIGIT, width), self.first, ranks)
        while sieve.bits < width and sieve.size * self.dtype.itemsize > budget() // PICKED:
            room = budget() // TABLES // (8 * len(sieve.prefixes))
            bits = min(width - sieve.bits, DIGIT, max(1, room.bit_length() - 1))
            (counts,) = engine.compute([tally(DigitCounter(sieve, bits), [self.node])])
            sieve = refine(sieve, self.dtype, bits, counts, ranks)
        row = np.searchsorted(sieve.before, ranks, "right") - 1
        if sieve.bits == width:
            return values_of(sieve.prefixes[row].astype(f"u{width // 8}"), self.dtype)
        return self._picked(sieve, row, ranks)

    def _picked(self, sieve: Sieve, row: Indices, ranks: Indices) -> Block:
        """Return the elements at ``ranks`` of those that a sieve leaves."""
        (left,) = engine.compute([pick_elements(SievePicker(sieve), sieve.size, self.node)])
        left.sort()
        start = np.cumsum(sieve.counts) - sieve.counts
        values: Block = left[start[row] + ranks - sieve.before[row]]
        return values
