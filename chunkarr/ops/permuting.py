"""The stable permutation that sorts numbers: keys and places packed into one integer each, which sort fast.

Sorting places by comparing the values that they name costs a miss of the cache for most comparisons. Sorting 64-bit
integers whose high bits are a key and whose low bits are its place moves both together, at several times the speed,
and is stable by itself. Keys that are too wide for that lose their lowest bits; where that makes different ones
equal, the few are put right, and many are sorted by two digits, the lower one first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.ops.keys import has_keys, to_keys

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["groups_of", "permutation", "permutation_and_ties"]

Block = np.ndarray[Any, Any]
KEY = np.dtype(np.uint64)
PIECE = 1 << 14  # elements that are worked on at a time, so that they stay in the cache
FEW = 64  # part of the elements that may be put right one by one


def permutation(values: Block) -> Block:
    """Return the positions of values in ascending order, equal ones as they come; NaN and NaT last.

    They are contiguous, of native byte order and shape (N,).

    >>> permutation(np.array([2.0, np.nan, -1.0, 2.0])).tolist()
    [2, 0, 3, 1]
    """
    return _sorted_places(values)[0]


def permutation_and_ties(values: Block) -> tuple[Block, Block]:
    """Return `permutation` of values that have keys, and those places in it whose successors name an equal value.

    >>> permutation_and_ties(np.array([7, 1, 7]))[1].tolist()
    [1]
    """
    order, suspects = _sorted_places(values)
    if suspects is None:
        suspects = np.arange(len(order) - 1)
    return order, np.concatenate(
        [
            at[_keys(values[order[at]]) == _keys(values[order[at + 1]])]
            for at in (suspects[a:b] for a, b in _pieces(suspects.size))
        ]
        or [np.empty(0, np.int64)]
    )


def _sorted_places(values: Block) -> tuple[Block, Block | None]:
    """Return the permutation, and all of its places that may be before an equal value; None if that is not known."""
    if not has_keys(values.dtype):
        return np.argsort(values, kind="stable"), None
    if values.dtype.itemsize <= 2:
        return np.argsort(_keys(values), kind="stable"), None  # by radix
    packed = np.empty(len(values), KEY)
    for a, b in _pieces(len(values)):
        packed[a:b] = _keys(values[a:b])
    low = int(packed.min(initial=np.iinfo(KEY).max))
    width = (int(packed.max(initial=low)) - low).bit_length()
    bits = len(values).bit_length()  # of a place
    lost = max(0, width + bits - 64)
    _pack(packed, low, lost, bits)
    packed.sort()
    tied = _tied(packed, bits)
    packed &= KEY.type((1 << bits) - 1)
    order = packed.view(np.int64)
    if not lost or not tied.size or _mend(values, order, tied):
        return order, tied
    del packed, order
    return _by_two_digits(values, low, lost, bits), tied


def groups_of(tied: Block) -> tuple[Block, Block]:
    """Return all places that are tied, ascending, and the number of the group that each is in.

    >>> [x.tolist() for x in groups_of(np.array([1, 2, 7]))]
    [[1, 2, 3, 7, 8], [1, 1, 1, 2, 2]]
    """
    at = np.union1d(tied, tied + 1)
    return at, np.cumsum(~np.isin(at, tied + 1, assume_unique=True))


def _pieces(size: int) -> Iterator[tuple[int, int]]:
    return ((a, min(a + PIECE, size)) for a in range(0, size, PIECE))


def _keys(values: Block) -> Block:
    """Return keys in the order of the values: NaN and NaT alike, and last; zeros alike."""
    keys = to_keys(values)
    if values.dtype.kind == "f":
        nan = np.isnan(values)
        if nan.any():
            keys[nan] = np.iinfo(keys.dtype).max
        below_zero = keys.dtype.type((1 << (8 * keys.itemsize - 1)) - 1)  # the key of -0.0
        keys += keys == below_zero
    if values.dtype.kind in "mM":
        keys -= keys.dtype.type(1)  # NaT is the least integer
    return keys


def _pack(keys: Block, low: int, lost: int, bits: int) -> None:
    """Turn keys into their distance from the lowest, without the bits that are lost, and their places below it."""
    for a, b in _pieces(len(keys)):
        part = keys[a:b]
        part -= KEY.type(low)
        part >>= KEY.type(lost)
        part <<= KEY.type(bits)
        part |= np.arange(a, b, dtype=KEY)


def _tied(packed: Block, bits: int) -> Block:
    """Return the positions in sorted ``packed`` whose successors have the same key."""
    found = []
    for a, b in _pieces(len(packed) - 1):
        keys = packed[a : b + 1] >> KEY.type(bits)
        found.append(np.flatnonzero(keys[1:] == keys[:-1]) + a)
    return np.concatenate(found) if found else np.empty(0, np.int64)


def _mend(values: Block, order: Block, tied: Block) -> bool:
    """Put those in order whose keys were equal for lack of bits; return False if there are too many."""
    number = 0
    for a, b in _pieces(len(tied)):
        at = tied[a:b]
        wrong = _keys(values[order[at]]) > _keys(values[order[at + 1]])
        number += int(np.count_nonzero(wrong))
    if not number:
        return True
    if tied.size > len(values) // FEW:
        return False
    at, group = groups_of(tied)
    these = order[at]
    order[at] = these[np.lexsort((these, _keys(values[these]), group))]
    return True


def _by_two_digits(values: Block, low: int, lost: int, bits: int) -> Block:
    """Sort by the lower bits of the keys, then by the others, which keeps that order where they are equal."""
    digit = 64 - bits
    assert lost <= digit
    packed = np.empty(len(values), KEY)
    for a, b in _pieces(len(values)):
        packed[a:b] = (_keys(values[a:b]) - KEY.type(low)) << KEY.type(bits) | np.arange(a, b, dtype=KEY)
    packed.sort()
    packed &= KEY.type((1 << bits) - 1)
    first = packed.view(np.int64)
    second = np.empty(len(values), KEY)
    for a, b in _pieces(len(values)):
        keys = _keys(values[first[a:b]]) - KEY.type(low)
        second[a:b] = (keys >> KEY.type(digit)) << KEY.type(bits) | np.arange(a, b, dtype=KEY)
    second.sort()
    second &= KEY.type((1 << bits) - 1)
    return first[second.view(np.int64)]
