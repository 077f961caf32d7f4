"""Order statistics by counting digits of keys: from the counts of prefixes to those that hold the wanted ranks.

A *sieve* knows some prefixes of keys, and how many elements lie before each. Counting the digits that follow makes it
finer; when few enough elements are left they are picked, and sorted. When no digits are left the key is the value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.ops.keys import DIGIT, first_digits, key_bits, missing, ordered_digits, suspects, to_keys

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["DigitCounter", "FirstCounter", "Level", "Sieve", "SievePicker", "refine"]

Block = np.ndarray[Any, Any]
Indices = np.ndarray[Any, np.dtype[np.int64]]
FEW = 32  # digits that are compared with those of every element


class FirstCounter:
    """Counts of the first digits in the order of values, then the number of missing values."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.order = ordered_digits(dtype)
        self.suspects = suspects(dtype)
        self.size = len(self.order) + 1

    def __call__(self, blocks: Sequence[Block]) -> Block:
        """Count; where missing values may be, take them out."""
        (values,) = blocks
        digits = first_digits(values)
        counts = np.bincount(digits, minlength=len(self.order))
        absent = 0
        if self.suspects.size and counts[self.suspects].any():
            gone = missing(values)
            assert gone is not None
            lost = np.bincount(digits[gone], minlength=len(self.order))
            counts -= lost
            absent = int(lost.sum())
        return np.append(counts[self.order], absent)

    def held_bytes(self, elements: int) -> int:
        """Count the digits as wide integers, and counts."""
        return 8 * (elements + 5 * self.size) + 3 * elements


@dataclass(frozen=True, eq=False)
class Level:
    """One digit of a sieve: which digits behind which prefixes go on to be which prefixes."""

    bits: int  # of the digit
    slots: Indices  # per prefix and digit: the number of the longer prefix, -1 for none


@dataclass(frozen=True, eq=False)
class Sieve:
    """Some prefixes of keys, in order, with the elements that lie before and behind them."""

    dtype: np.dtype[Any]
    levels: tuple[Level, ...]
    prefixes: Block  # unsigned integers of the bits of all levels
    before: Indices  # elements less than any with this prefix
    counts: Indices  # elements with this prefix

    @property
    def bits(self) -> int:
        """Bits of keys that are known."""
        return sum(level.bits for level in self.levels)

    @property
    def size(self) -> int:
        """Elements that are left."""
        return int(self.counts.sum())

    @property
    def nbytes(self) -> int:
        """Bytes of the tables."""
        return sum(level.slots.nbytes for level in self.levels)

    def left(self, values: Block) -> tuple[Block, Indices]:
        """Return the values that have one of the prefixes, and which."""
        first, *rest = self.levels
        table = np.empty(len(first.slots), first.slots.dtype)
        table[ordered_digits(self.dtype)] = first.slots
        digits = np.ascontiguousarray(first_digits(values))
        chosen = _among(digits, np.flatnonzero(table >= 0), table)
        values, slots = values[chosen], table[digits[chosen]]
        gone = missing(values)
        if gone is not None and gone.any():
            values, slots = values[~gone], slots[~gone]
        known = first.bits
        for level in rest:
            slots = level.slots[(slots << level.bits) | next_digits(values, known, level.bits)]
            chosen = slots >= 0
            values, slots = values[chosen], slots[chosen]
            known += level.bits
        return values, slots


def _among(digits: Block, wanted: Indices, table: Indices) -> Block:
    """Return which digits are wanted: a few are compared, which is cheaper than looking them up."""
    if len(wanted) > FEW:
        found: Block = (table >= 0)[digits]
        return found
    chosen = np.zeros(len(digits), np.bool_)
    for digit in wanted:
        chosen |= digits == digits.dtype.type(digit)
    return chosen


def next_digits(values: Block, known: int, bits: int) -> Indices:
    """Return the digit of ``bits`` bits that follows the first ``known`` bits of the keys."""
    keys = to_keys(values)
    shift = keys.dtype.type(key_bits(values.dtype) - known - bits)
    mask = keys.dtype.type((1 << bits) - 1)
    digits: Indices = ((keys >> shift) & mask).astype(np.int64)
    return digits


class DigitCounter:
    """Counts of the next digit behind each prefix of a sieve."""

    def __init__(self, sieve: Sieve, bits: int) -> None:
        self.sieve, self.bits = sieve, bits
        self.size = len(sieve.prefixes) << bits

    def __call__(self, blocks: Sequence[Block]) -> Block:
        """Count those that are left."""
        values, slots = self.sieve.left(blocks[0])
        digits = next_digits(values, self.sieve.bits, self.bits)
        return np.bincount((slots << self.bits) | digits, minlength=self.size)

    def held_bytes(self, elements: int) -> int:
        """Count digits, places and values as if all were left, and the counts."""
        return 8 * (8 * elements + 2 * self.size + (1 << DIGIT)) + self.sieve.nbytes


class SievePicker:
    """The elements that a sieve leaves."""

    def __init__(self, sieve: Sieve) -> None:
        self.sieve = sieve

    def __call__(self, block: Block) -> Block:
        """Sift a block."""
        return self.sieve.left(block)[0]

    def held_bytes(self, elements: int) -> int:
        """Count digits, places and values as if all were left."""
        return 8 * (8 * elements + (1 << DIGIT)) + self.sieve.nbytes


def refine(sieve: Sieve | None, dtype: np.dtype[Any], bits: int, counts: Block, ranks: Indices) -> Sieve:
    """Return the prefixes, longer by a digit, that hold the wanted ranks.

    ``counts`` are those of `FirstCounter`, without the missing, or of `DigitCounter`; a sieve of None knows nothing.
    """
    rows = counts.reshape(1 if sieve is None else len(sieve.prefixes), -1)
    ends: Any = np.cumsum(rows, axis=1) + (0 if sieve is None else sieve.before[:, None])
    row = np.zeros(len(ranks), np.int64) if sieve is None else np.searchsorted(sieve.before, ranks, "right") - 1
    digit = np.array([np.searchsorted(ends[r], rank, "right") for r, rank in zip(row, ranks, strict=True)], np.int64)
    places = np.unique((row << bits) | digit)
    slots = np.full(rows.size, -1, np.int64)
    slots[places] = np.arange(len(places))
    known = np.zeros(1, np.uint64) if sieve is None else sieve.prefixes
    prefixes: Block = (known[places >> bits] << np.uint64(bits)) | (places & ((1 << bits) - 1)).astype(np.uint64)
    found = rows.reshape(-1)[places]
    before: Indices = ends.reshape(-1)[places] - found
    levels = (*(() if sieve is None else sieve.levels), Level(bits, slots))
    return Sieve(dtype, levels, prefixes, before, found)
