"""Plain numbers, ``[-] digits [. digits]``, out of text: the usual case, in memory that is reused.

Where fields end and where their points are is all that is looked for in the bytes. The last 24 bytes of a field are
loaded as three words; the bytes before the point move up by one, which makes it vanish, and what lies before the
field is masked. Eight digits of each word become their number at a time. A byte that is no digit shows in the
same words, so whatever is not plain (an exponent, nan, blanks, a plus) is found and left to the caller, field by field.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from chunkarr import settings
from chunkarr.formats.text_dialect import Dialect
from chunkarr.formats.text_numbers import KEEP_LAST, PAD, Numbers, eight, to_floats, to_integers
from chunkarr.formats.text_source import TextBytes

__all__ = ["Plain", "Room", "divide_plain", "places", "plain_numbers", "room_bytes"]

Array = np.ndarray[Any, Any]

FIELDS = 64 << 10  # worked out together, at most: threads that do fewer ask for the interpreter too often
SHARE = 16  # part of the budget that the arrays of them may be
SLOTS = 12  # arrays of them that are needed at the same time
WIDEST = 24  # bytes of a field that are looked at
MOST = 999  # of 10**16 in a number below 10**19, which 64 bits hold
WINDOW = 4096  # bytes in which the end of a line is looked for
LF, CR, MINUS, ZERO = b"\n\r-0"

# How to keep the last n bytes of a word, for n from -WIDEST to WIDEST.
_KEEP = np.concatenate([np.repeat(KEEP_LAST[:1], WIDEST), KEEP_LAST, np.repeat(KEEP_LAST[-1:], WIDEST - 8)])
_ZEROS = np.uint64(0x3030303030303030)
_ABOVE = np.uint64(0x7676767676767676)  # added to a byte, sets its highest bit if it was above 9
_HIGH = np.uint64(0x8080808080808080)


class Room:
    """Memory of one thread to work in: for a text, and for what reading it takes.

    Parameters
    ----------
    capacity
        Bytes of text that fit.
    memory
        `room_bytes` of it; its own if None.
    """

    def __init__(self, capacity: int, memory: Array | None = None) -> None:
        whole = np.empty(room_bytes(capacity), np.uint8) if memory is None else memory
        self.fields = _fields()
        words, wide = SLOTS * self.fields * 8, _rounded(capacity)
        self._slots = whole[:words].view(np.uint64).reshape(SLOTS, self.fields)
        self._masks = [whole[words + k * wide : words + (k + 1) * wide].view(bool) for k in range(2)]
        self.text = whole[words + 2 * wide : words + 3 * wide + 2 * PAD]  # of which the first `PAD` bytes are zeros
        self.text[:PAD] = ZERO

    def fill(self, source: TextBytes, start: int, stop: int, newline: bytes) -> tuple[int, int]:
        """Read ``source`` from ``start`` to ``stop``; return where that lies in the text.

        ``newline`` ends its last line if nothing does; it is empty where another part of the text follows.
        """
        end = PAD + max(0, min(stop, source.size) - start)
        source.read_into(self.text[PAD:end], start)
        if newline and self.text[end - 1] != newline[0]:
            self.text[end] = newline[0]
            end += 1
        return PAD, end

    def line_end(self, place: int, end: int, newline: bytes) -> int:
        """Return where the line ends that byte ``place`` of the text is in; ``end`` at most."""
        for start in range(place, end, WINDOW):
            found = self.text[start : min(end, start + WINDOW)].tobytes().find(newline)
            if found >= 0:
                return start + found + 1
        return end

    def put(self, piece: bytes) -> tuple[int, int]:
        """Copy ``piece`` into the text; return where it begins and ends there."""
        end = PAD + len(piece)
        self.text[PAD:end] = np.frombuffer(piece, np.uint8)
        return PAD, end

    def mask(self, which: int, size: int) -> Array:
        """Return mask 0 or 1 for ``size`` bytes, up to a multiple of 8; the last ones are False."""
        mask = self._masks[which][: -(-size // 8) * 8]
        mask[size:] = False
        return mask

    def slots(self, count: int) -> list[Array]:
        """Return arrays of ``count`` words, whatever they hold."""
        return list(self._slots[:, :count])


def room_bytes(capacity: int) -> int:
    """Return the bytes of a `Room`."""
    return SLOTS * _fields() * 8 + 3 * _rounded(capacity) + 2 * PAD


def _fields() -> int:
    """Return how many fields are worked out together."""
    return max(1, min(FIELDS, settings.budget() // SHARE // (8 * SLOTS)))


def _rounded(size: int) -> int:
    return -(-size // 64) * 64


@dataclass(slots=True)
class Plain:
    """Where the fields of some rows lie, row after row."""

    text: Array  # uint8, of a `Room`
    starts: Array  # int64
    stops: Array  # int64
    points: Array  # int64: of the last point in each; before its start if it has none
    rows: int
    columns: int

    def take(self, columns: tuple[int, ...]) -> Plain:
        """Return the fields of some columns."""
        if columns == tuple(range(self.columns)):
            return self

        def some(places: Array) -> Array:
            return places.reshape(self.rows, self.columns)[:, columns].reshape(-1)

        return Plain(self.text, some(self.starts), some(self.stops), some(self.points), self.rows, len(columns))


def divide_plain(room: Room, begin: int, end: int, dialect: Dialect) -> Plain | None:
    """Return the fields of some lines of the text in ``room``, or None if not all have as many.

    The bytes from ``begin`` to ``end`` end with the end of a line; ``dialect`` has a delimiter. Quotes, comments
    and blank lines are not looked for: they leave fields behind that are no numbers.
    """
    assert dialect.delimiter is not None, "the caller has looked"
    text, newline = room.text, dialect.newline[0]
    body, separates, found = text[begin:end], room.mask(0, end - begin), room.mask(1, end - begin)
    np.equal(body, ord(dialect.delimiter), out=separates[: body.size])
    np.equal(body, newline, out=found[: body.size])
    separates |= found
    columns, stops = dialect.columns, places(separates)
    stops += begin
    last = text.take(stops[columns - 1 :: columns]) == newline
    if stops.size % columns or not last.all() or np.count_nonzero(found) != last.size:
        return None
    starts = np.empty_like(stops)
    starts[:1] = begin
    np.add(stops[:-1], 1, out=starts[1:])
    point = ord(dialect.words.decimal)
    np.equal(body, point, out=found[: body.size])
    points = places(found)
    points += begin
    if points.size != stops.size or (points < starts).any() or (points >= stops).any():
        separates |= found
        marks = places(separates)
        marks += begin
        points = _last_points(text, marks, point)
    if newline == LF and text[stops[columns - 1] - 1] == CR:
        ends = stops[columns - 1 :: columns]
        ends -= text.take(ends - 1) == CR
    if columns == 1 and (starts >= stops).any():  # blank lines
        return None
    return Plain(text, starts, stops, points, last.size, columns)


def places(mask: Array) -> Array:
    """Return where ``mask``, of a multiple of 8 elements, is true.

    `numpy.flatnonzero` looks at each byte; where few are true it is quicker to look at words first.
    """
    often = np.count_nonzero(mask)
    words = mask.view(np.uint64 if mask.size > 12 * often else np.uint32)
    at = np.flatnonzero(words != 0)
    if at.size != often:  # two in a word
        return np.flatnonzero(mask)
    below = words.take(at)
    np.subtract(below, 1, out=below)
    at *= words.itemsize
    at += np.bitwise_count(below) >> 3
    return at


def _last_points(text: Array, marks: Array, point: int) -> Array:
    """Return the place of the last point of each field, or one before it; ``marks`` are where points and ends are."""
    ends = np.flatnonzero(text.take(marks) != point)
    ends -= 1
    points = marks.take(ends, mode="clip")
    if ends[0] < 0:
        points[0] = 0
    return points


def plain_numbers(fields: Plain, dtype: np.dtype[Any], room: Room) -> tuple[Array, Array]:
    """Return the numbers of fields and the indices of those that are not known to be plain numbers.

    They are doubles for a floating ``dtype``, else int64 or uint64.
    """
    kind = {"f": np.float64, "u": np.uint64}.get(dtype.kind, np.int64)
    values, odd = np.empty(fields.stops.size, kind), [np.empty(0, np.int64)]
    for first in range(0, values.size, room.fields):
        tile = slice(first, first + room.fields)
        slots = room.slots(min(room.fields, values.size - first))
        numbers = _read(fields.text, fields.starts[tile], fields.stops[tile], fields.points[tile], slots)
        found, left = to_floats(numbers, slots[2:]) if dtype.kind == "f" else to_integers(numbers, kind)
        values[tile] = found
        odd.append(left + first)
    return values, np.concatenate(odd)


def _read(text: Array, starts: Array, stops: Array, points: Array, slots: list[Array]) -> Numbers:
    """Return the numbers of some fields; what is not one bit of each lies in the first two of ``slots``."""
    mantissa = slots[0]
    after, digits = slots[1].view(np.int64), slots[2].view(np.int64)
    wrong, low, high, spare, bits = slots[3:8]
    negative = text.take(starts) == MINUS
    np.subtract(stops, points, out=after)
    after -= 1
    np.subtract(stops, starts, out=digits)
    digits -= negative
    whole = points < starts
    if whole.any():
        np.copyto(after, digits, where=whole)
        digits += whole
    digits -= 1
    odd = digits.view(np.uint64) - np.uint64(1) >= WIDEST - 1  # none, or too many
    if odd.any():
        digits[odd], after[odd] = 1, 0
    most = int(digits.max(initial=1))
    loaded = _load(text.view("<u8"), stops, slots[8 : most // 8 + 10], low, high, spare)
    after += WIDEST
    digits += WIDEST
    wrong[...] = 0
    groups = -(-most // 8)
    for group, word in enumerate(loaded[:groups]):
        _take_out_point(word, loaded[group + 1 : group + 2], after, bits, spare)
        word ^= _ZEROS
        word &= _KEEP.take(digits, out=spare, mode="clip")
        np.add(word, _ABOVE, out=spare)
        spare |= word
        wrong |= spare
        number = eight(word, spare if group else mantissa, high)
        if group:
            odd = odd | (number > MOST) if group == 2 else odd
            number *= np.uint64(10 ** (8 * group))
            mantissa += number
        after -= 8
        digits -= 8
    wrong &= _HIGH
    odd = odd | (wrong != 0)
    after += 8 * groups - WIDEST
    exponent = np.negative(after, out=after)
    unknown = whole | odd
    if unknown.any():
        exponent[unknown], mantissa[odd] = 0, 0
    return Numbers(negative, mantissa, exponent, whole, odd)


def _load(words: Array, stops: Array, slots: list[Array], low: Array, high: Array, spare: Array) -> list[Array]:
    """Return the eight bytes before each of ``stops``, the eight before those and so on; the first byte is lowest."""
    at = spare.view(np.int64)
    np.right_shift(stops, 3, out=at)
    for slot in slots:
        words.take(at, out=slot, mode="clip")
        at -= 1
    np.bitwise_and(stops, 7, out=low.view(np.int64))
    low <<= np.uint64(3)
    np.subtract(np.uint64(64), low, out=high)
    for later, here in pairwise(slots):
        later <<= high
        np.right_shift(here, low, out=spare)
        later |= spare
    return slots[:-1]


def _take_out_point(word: Array, before: list[Array], after: Array, bits: Array, spare: Array) -> None:
    """Move those bytes of ``word`` up by one that are not ``after`` the point; ``before`` has the word before it."""
    np.left_shift(word, np.uint64(8), out=bits)
    for other in before:
        np.right_shift(other, np.uint64(56), out=spare)
        bits |= spare
    word ^= bits
    word &= _KEEP.take(after, out=spare, mode="clip")
    word ^= bits
