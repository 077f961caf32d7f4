"""Doubles as the shortest text that is read as the same double: what ``repr`` gives, many at a time.

The first 17 digits of a number come from its product with a power of ten, known to about 100 bits (see
`text_numbers`); 17 digits always say which double it is. Where the same number rounded to 15 or 16 digits is
read as the same double, that is shorter. Digits become bytes eight at a time. Each number has a record of
four words with gaps, and one pass over all records drops the gaps. What is not written as plain digits and a
point (tiny, huge, not finite), and where rounding is in doubt, is left to ``repr``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chunkarr.formats.text_numbers import KEEP_LAST, POW10, nearest, product

__all__ = ["floats_as_text"]

Array = np.ndarray[Any, Any]

OTHER = b"\x01"  # in the place of a number that is left to repr
DOUBT = 1e-6  # of the last digit: nearer to a half than this, rounding is in doubt
SMALLEST, LARGEST = 1e-4, 1e6  # numbers that are written here; repr uses an exponent below the first
_ASCII = np.uint64(0x3030303030303030)


def floats_as_text(table: Array, delimiter: str, newline: str) -> bytes:
    r"""Return the rows of a table of doubles, shape (rows, columns), as lines.

    ``delimiter`` and ``newline`` are one byte each.

    >>> floats_as_text(np.array([[0.1, -2.0], [1e300, 12.5]]), ",", "\n")
    b'0.1,-2.0\n1e+300,12.5\n'
    """
    values = np.ascontiguousarray(table).reshape(-1)
    if not values.size:
        return newline.encode() * len(table)
    sizes = np.abs(values)
    inside = (sizes >= SMALLEST) & (sizes < LARGEST)
    digits, count, point, doubt = _shortest(np.where(inside, sizes, 1.0))
    other = ~inside | doubt
    places = np.maximum(count - point, 1)  # digits after the point
    power = POW10.take(np.minimum(places, 19))
    whole = np.where(point > count, digits * POW10.take(np.maximum(point - count, 0)), digits)
    fraction = whole.copy()
    split = (point > 0) & (point < count)
    np.floor_divide(whole, power, out=whole, where=split)
    whole[point <= 0] = 0
    fraction -= np.where(split, whole * power, 0)
    fraction[point >= count] = 0
    records = np.empty((values.size, 4), "<u8")
    records[:, 0] = _digits(whole) & KEEP_LAST.take(np.maximum(point, 1))
    records[:, 0] |= np.where(np.signbit(values), np.uint64(ord("-") << 8), np.uint64(0))
    high, low = np.divmod(fraction, np.uint64(10**8))
    records[:, 3] = _digits(low) & KEEP_LAST.take(np.minimum(places, 8))
    high, low = np.divmod(high, np.uint64(10**8))
    records[:, 2] = _digits(low) & KEEP_LAST.take(np.clip(places - 8, 0, 8))
    records[:, 1] = _digits(high) & KEEP_LAST.take(np.clip(places - 16, 0, 8))
    records[:, 1] |= np.uint64(ord("."))
    others = np.flatnonzero(other)
    records[others] = 0
    records[others, 0] = OTHER[0] << 8
    before = np.full(table.shape, ord(delimiter), np.uint64)
    before[:, 0] = ord(newline)
    records[:, 0] |= before.reshape(-1)
    text = records.tobytes().translate(None, b"\0")[1:] + newline.encode()
    if not others.size:
        return text
    parts = text.split(OTHER)
    words = [repr(value).encode() for value in values.take(others).tolist()]
    woven = [parts[0]]
    for word, part in zip(words, parts[1:], strict=True):
        woven += (word, part)
    return b"".join(woven)


def _shortest(values: Array) -> tuple[Array, Array, Array, Array]:
    """Return the digits of positive numbers as integers, how many, before which the point is, and where in doubt."""
    point = np.floor(np.log10(values)).astype(np.int64) + 1
    high, low = product(values, 17 - point)
    digits = high.astype(np.int64)
    nearest_ = np.rint(low)
    digits += nearest_.astype(np.int64)
    rest = low - nearest_  # of the 17th digit, left out
    doubt = (np.abs(rest) > 0.5 - DOUBT) | (digits < 10**16) | (digits >= 10**17)
    whole = digits.view(np.uint64)
    count = np.full(values.size, 17)
    todo = np.arange(values.size)
    for fewer in (15, 16):
        exact, after = whole.take(todo), rest.take(todo)
        unit = np.uint64(10 ** (17 - fewer))
        short = exact // unit
        cut = (exact - short * unit).astype(np.float64) + after
        half = float(unit) / 2
        short += cut > half
        again, unsure = nearest(short, point.take(todo) - fewer)
        same = again == values.take(todo)
        doubt[todo[unsure | (np.abs(cut - half) < DOUBT)]] = True
        found = todo[same]
        whole[found], count[found] = short[same], fewer
        todo = todo[~same]
    over = whole >= POW10.take(count)  # rounded up to a power of ten
    point += over
    count += over
    _strip_zeros(whole, count)
    return whole, count, point, doubt


def _strip_zeros(whole: Array, count: Array) -> None:
    """Take zeros from the ends of numbers; those of 17 digits have none."""
    todo = np.flatnonzero(count < 17)
    for zeros in (8, 4, 2, 1):
        unit = np.uint64(10**zeros)
        short = whole.take(todo) // unit
        same = short * unit == whole.take(todo)
        found = todo[same]
        whole[found] = short[same]
        count[found] -= zeros


def _digits(numbers: Array) -> Array:
    """Return the eight digits of numbers below 10**8 as bytes of a word, the first one lowest."""
    high = numbers // np.uint64(10_000)
    words = numbers - high * np.uint64(10_000)
    words <<= np.uint64(32)
    words |= high
    high = ((words * np.uint64(10486)) >> np.uint64(20)) & np.uint64(0x0000007F0000007F)
    words -= high * np.uint64(100)
    words <<= np.uint64(16)
    words |= high
    high = ((words * np.uint64(103)) >> np.uint64(10)) & np.uint64(0x000F000F000F000F)
    words -= high * np.uint64(10)
    words <<= np.uint64(8)
    words |= high
    words |= _ASCII
    result: Array = words
    return result
