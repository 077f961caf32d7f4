"""Numbers out of text, many at a time and correctly rounded.

A field ``[sign] digits [. digits] [e [sign] digits]`` is ``w * 10**q``. Its digits are taken from eight
neighbouring bytes at a time: three multiplications turn eight digits into their number. With ``w`` below 2**64,
the product with a power of ten that is held as the sum of two doubles is known to about 100 bits (Dekker's
product). Where both ends of that uncertainty round to the same double it is the nearest one; the few other
fields, longer ones, and words like nan, are named and left to the caller.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np

__all__ = [
    "KEEP_LAST",
    "PAD",
    "POW10",
    "Fields",
    "Numbers",
    "nearest",
    "padded",
    "product",
    "read_numbers",
    "to_floats",
    "to_integers",
]

Array = np.ndarray[Any, Any]

PAD = 32  # bytes that a `padded` text has before its first
DIGITS = 19  # decimal digits that always fit 64 bits
LARGEST = 250  # power of ten up to which no intermediate overflows or is subnormal
SPLIT = 134217729.0  # 2**27 + 1: cuts a double in two halves
UNSURE = 2.0**-100  # relative error of the product, at most
PLUS, MINUS, DOT, ZERO = b"+-.0"

EXACT = 1 << 53  # integers up to which doubles hold all
TENS = np.array([float(10**k) for k in range(23)])  # exact
POW10 = np.array([10**k for k in range(DIGITS + 1)], np.uint64)
KEEP_LAST = np.array([0] + [(1 << 64) - (1 << (64 - 8 * n)) for n in range(1, 9)], np.uint64)  # the last n bytes of 8
_LOW = np.uint64(0x000000FF000000FF)
_ZEROS = np.uint64(0x3030303030303030)


@dataclass(slots=True)
class Fields:
    """Where fields lie in a `padded` text, and the bytes in them that are no digits."""

    text: Array  # uint8, as of `padded`
    starts: Array  # int64, ascending
    stops: Array  # int64
    marks: Array  # int64: where the bytes that are no digits lie, ascending
    kinds: Array  # uint8: which these are
    owners: Array  # int64: in which field each is


@dataclass(slots=True)
class Numbers:
    """Fields of a text that may be numbers, each ``(-1)**negative * mantissa * 10**exponent``."""

    negative: Array  # bool
    mantissa: Array  # uint64
    exponent: Array  # int64
    whole: Array  # bool: no point and no exponent
    odd: Array  # bool: nothing is known of it


def padded(data: Any) -> Array:
    """Return a copy of ``data`` with room around it, as `Fields` needs it; byte ``i`` lies at ``PAD + i``."""
    view = np.frombuffer(data, np.uint8)
    text = np.empty((PAD + view.size + 15) // 8 * 8, np.uint8)
    text[:PAD] = ZERO
    text[PAD : PAD + view.size] = view
    text[PAD + view.size :] = ZERO
    return text


@cache
def _powers() -> tuple[Array, Array]:
    """Return 10**q for q from -`LARGEST` to `LARGEST` as two doubles that are to be added."""
    high, low = [], []
    for q in range(-LARGEST, LARGEST + 1):
        exact = Fraction(10) ** q
        high.append(float(exact))
        low.append(float(exact - Fraction(high[-1])))
    return np.array(high), np.array(low)


def _eight(words: Array) -> Array:
    """Return the number that eight digits make; ``words`` hold the values of the digits, the first one lowest."""
    total = words * np.uint64(10)
    words >>= np.uint64(8)
    total += words
    high = total >> np.uint64(16)
    high &= _LOW
    total &= _LOW
    total *= np.uint64(0x000F424000000064)
    high *= np.uint64(0x0000271000000001)
    total += high
    total >>= np.uint64(32)
    return total


def _digits(text: Array, stop: Array, count: Array) -> Array:
    """Return the number made by the ``count`` digits before ``stop``, of which the last 19 count."""
    words = text.view("<u8")
    most = int(count.max(initial=0))
    low = ((stop & 7) << 3).view(np.uint64)
    high = np.uint64(64) - low
    at = stop >> 3
    later, number = words.take(at), np.zeros(stop.size, np.uint64)
    for group in range(0, min(most, 24), 8):
        at -= 1
        here = words.take(at)
        word = here >> low
        word |= later << high
        word ^= _ZEROS
        word &= KEEP_LAST.take(count - group if group else count, mode="clip")
        later = here
        eight = _eight(word)
        number += eight * POW10[group] if group else eight
    return number


def read_numbers(fields: Fields) -> Numbers:
    """Read all fields as numbers; spaces around them have been left out of them."""
    starts, stops, kinds = fields.starts, fields.stops, fields.kinds
    odd, negative = np.zeros(starts.size, bool), np.zeros(starts.size, bool)
    is_dot = kinds == DOT
    lower = kinds | np.uint8(32)
    is_power = (lower == ord("e")) | (lower == ord("d"))
    begin, end, power = _signs(fields, negative, odd), stops, None
    other = ~(is_dot | is_power | (kinds == PLUS) | (kinds == MINUS))
    if other.any():
        odd[fields.owners[other]] = True
    if is_power.any():
        end, power = _exponents(fields, np.flatnonzero(is_power), odd)
    dots = np.flatnonzero(is_dot)
    owner, place = fields.owners.take(dots), fields.marks.take(dots)
    whole = np.ones(starts.size, bool)
    whole[owner] = False
    point = end.copy()
    point[owner] = place
    odd[owner[1:][owner[1:] == owner[:-1]]] = True  # two points
    before, after = point - begin, end - point
    after -= ~whole
    odd |= (before + after <= 0) | (after < 0) | (after > DIGITS) | (before > DIGITS)
    mantissa = _digits(fields.text, point, before)
    if dots.size:
        fraction = _digits(fields.text, end, after)
        odd |= (mantissa != 0) & (before + after > DIGITS)
        mantissa *= POW10.take(after, mode="clip")
        mantissa += fraction
    mantissa[odd] = 0
    exponent = -after
    if power is not None:
        exponent += power
        whole &= end == stops
    return Numbers(negative, mantissa, exponent, whole, odd)


def _signs(fields: Fields, negative: Array, odd: Array) -> Array:
    """Note the signs; return where the digits begin."""
    signs = np.flatnonzero((fields.kinds == MINUS) | (fields.kinds == PLUS))
    if not signs.size:
        return fields.starts
    owner, place, kind = fields.owners.take(signs), fields.marks.take(signs), fields.kinds.take(signs)
    first = place == fields.starts.take(owner)
    if not first.all():
        letter = fields.text.take(place - 1) | np.uint8(32)
        odd[owner[~first & (letter != ord("e")) & (letter != ord("d"))]] = True
        owner, kind = owner[first], kind[first]
    negative[owner] = kind == MINUS
    begin = fields.starts.copy()
    begin[owner] += 1
    return begin


def _exponents(fields: Fields, found: Array, odd: Array) -> tuple[Array, Array]:
    """Return where the digits end, and the exponents that are written."""
    owner, place = fields.owners.take(found), fields.marks.take(found)
    odd[owner[1:][owner[1:] == owner[:-1]]] = True
    end, power = fields.stops.copy(), np.zeros(fields.stops.size, np.int64)
    sign = fields.text.take(place + 1)
    signed = (sign == PLUS) | (sign == MINUS)
    count = fields.stops.take(owner) - place - 1 - signed
    value = _digits(fields.text, fields.stops.take(owner), np.clip(count, 0, 8)).view(np.int64)
    end[owner] = place
    power[owner] = np.where(sign == MINUS, -value, value)
    odd[owner[(count < 1) | (count > 4)]] = True
    late = fields.kinds == DOT
    if late.any():  # a point after the exponent
        odd[fields.owners[late & (fields.marks > end.take(fields.owners))]] = True
    return end, power


def to_floats(numbers: Numbers) -> tuple[Array, Array]:
    """Return the nearest doubles, and the indices of those fields for which that is not known."""
    values = numbers.mantissa.astype(np.float64)
    odd = numbers.odd
    least, most = int(numbers.exponent.min(initial=0)), int(numbers.exponent.max(initial=0))
    if -len(TENS) < least and most <= 0 and int(numbers.mantissa.max(initial=0)) <= EXACT:
        if least:
            values /= TENS.take(-numbers.exponent)  # of two exact doubles: one rounding
    elif least or most:
        far = np.abs(numbers.exponent) > LARGEST
        values, unsure = _scale(values, numbers.mantissa, np.where(far, 0, numbers.exponent))
        odd = odd | unsure | far
    np.negative(values, out=values, where=numbers.negative)
    return values, np.flatnonzero(odd)


def nearest(mantissa: Array, exponent: Array) -> tuple[Array, Array]:
    """Return the doubles nearest to ``mantissa * 10**exponent``, and where it is unsure which these are.

    ``mantissa`` is uint64 below 10**19, ``exponent`` between -`LARGEST` and `LARGEST`.
    """
    return _scale(mantissa.astype(np.float64), mantissa, exponent)


def product(values: Array, exponent: Array) -> tuple[Array, Array]:
    """Return ``values * 10**exponent``, far from the limits of doubles, as two doubles that are to be added."""
    high, low = _powers()
    index = exponent + LARGEST
    power = high.take(index)
    whole = values * power
    rest = _rounded_off(values, power, whole)
    rest += values * low.take(index)
    total = whole + rest
    return total, rest - (total - whole)


def _scale(values: Array, mantissa: Array, exponent: Array) -> tuple[Array, Array]:
    """Return ``mantissa * 10**exponent``, of which ``values`` are the nearest doubles, and where that is unsure."""
    high, low = _powers()
    index = exponent + LARGEST
    power = high.take(index)
    rest = (mantissa - values.astype(np.uint64)).view(np.int64).astype(np.float64)
    rest *= power
    rest += values * low.take(index)
    whole = values * power
    error = _rounded_off(values, power, whole)
    error += rest
    margin = whole * UNSURE
    least = whole + (error - margin)
    error += margin
    whole += error
    return whole, least != whole


def _rounded_off(values: Array, power: Array, whole: Array) -> Array:
    """Return what rounding took from ``whole``, the product of two doubles: Dekker's product."""
    one, one_low = _halves(values)
    two, two_low = _halves(power)
    error = one * two
    error -= whole
    error += one * two_low
    error += one_low * two
    error += one_low * two_low
    return error


def _halves(values: Array) -> tuple[Array, Array]:
    """Return two doubles of half the bits that add up to each of ``values``."""
    high = values * SPLIT
    high -= high - values
    return high, values - high


def to_integers(numbers: Numbers, dtype: Any = np.int64) -> tuple[Array, Array]:
    """Return the integers as int64 or uint64, and the indices of those fields that are none of that type."""
    kind = np.dtype(dtype)
    if kind == np.uint64:
        odd = numbers.odd | ~numbers.whole | (numbers.negative & (numbers.mantissa > 0))
        return numbers.mantissa, np.flatnonzero(odd)
    limit = np.uint64((1 << 63) - 1)
    values = np.minimum(numbers.mantissa, limit).astype(np.int64)
    np.negative(values, out=values, where=numbers.negative)
    return values, np.flatnonzero(numbers.odd | ~numbers.whole | (numbers.mantissa > limit))
