"""Numbers out of text, many at a time and correctly rounded.

A field ``[sign] digits [. digits] [e [sign] digits]`` is ``w * 10**q``. Its digits are taken from eight
neighbouring bytes at a time: three multiplications turn eight digits into their number. With ``w`` below 2**64,
the product with a power of ten that is held as the sum of two doubles is known to about 100 bits (Dekker's
product). Where both ends of that uncertainty round to the same double it is the nearest one; the few other
fields, longer ones, and words like nan, are named and left to the caller.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    "eight",
    "nearest",
    "padded",
    "product",
    "read_numbers",
    "to_floats",
    "to_integers",
]

Array = np.ndarray[Any, Any]
Work = Sequence[Array] | None  # `WORK` arrays of uint64, as long as what is worked on; None: new ones

WORK = 10  # arrays that the longest of these calculations needs
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


@dataclass(frozen=True, slots=True)
class _Powers:
    """10**q for q from -`LARGEST` to `LARGEST` as two doubles that are to be added; the first as two halves, too."""

    high: Array
    low: Array
    upper: Array
    lower: Array


@cache
def _powers() -> _Powers:
    exact = [Fraction(10) ** q for q in range(-LARGEST, LARGEST + 1)]
    high = np.array([float(power) for power in exact])
    low = np.array([float(power - Fraction(float(power))) for power in exact])
    upper = high * SPLIT
    upper -= upper - high
    return _Powers(high, low, upper, high - upper)


def eight(words: Array, total: Array | None = None, high: Array | None = None) -> Array:
    """Return the number that eight digits make, in ``total``; ``words`` hold the digits, the first one lowest.

    ``words`` and ``high`` are used up.
    """
    total = np.multiply(words, np.uint64(10), out=total)
    words >>= np.uint64(8)
    total += words
    high = np.right_shift(total, np.uint64(16), out=high)
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
        value = eight(word)
        number += value * POW10[group] if group else value
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


def to_floats(numbers: Numbers, work: Work = None) -> tuple[Array, Array]:
    """Return the nearest doubles, and the indices of those fields for which that is not known.

    The doubles lie in the first array of ``work``.
    """
    slots = _slots(numbers.mantissa.size, work)
    largest = int(numbers.mantissa.max(initial=0))
    values = slots[0].view(np.float64)
    values[...] = numbers.mantissa.view(np.int64) if largest < 1 << 63 else numbers.mantissa  # signed is quicker
    odd = numbers.odd
    least, most = int(numbers.exponent.min(initial=0)), int(numbers.exponent.max(initial=0))
    if -len(TENS) < least and most <= 0 and largest <= EXACT:
        if least:
            index = np.negative(numbers.exponent, out=slots[1].view(np.int64))
            values /= TENS.take(index, out=slots[2].view(np.float64), mode="clip")  # two exact doubles: one rounding
    elif least or most:
        exponent = numbers.exponent
        if max(-least, most) > LARGEST:
            far = np.abs(exponent) > LARGEST
            odd, exponent = odd | far, np.where(far, 0, exponent)
        odd = odd | _scale(values, numbers.mantissa, exponent, slots[1:])
    signs = slots[1]
    signs[...] = numbers.negative
    signs <<= np.uint64(63)
    bits = slots[0]
    bits |= signs
    return values, np.flatnonzero(odd)


def nearest(mantissa: Array, exponent: Array, work: Work = None) -> tuple[Array, Array]:
    """Return the doubles nearest to ``mantissa * 10**exponent``, and where it is unsure which these are.

    ``mantissa`` is uint64 below 10**19, ``exponent`` between -`LARGEST` and `LARGEST`.
    """
    slots = _slots(mantissa.size, work)
    values = slots[0].view(np.float64)
    values[...] = mantissa
    return values, _scale(values, mantissa, exponent, slots[1:])


def product(values: Array, exponent: Array, work: Work = None) -> tuple[Array, Array]:
    """Return ``values * 10**exponent``, far from the limits of doubles, as two doubles that are to be added."""
    slots = _slots(values.size, work)
    index = np.add(exponent, LARGEST, out=slots[0].view(np.int64))
    whole, rest, spare = (slot.view(np.float64) for slot in slots[1:4])
    _multiply(values, index, whole, rest, slots[3:])
    _powers().low.take(index, out=spare, mode="clip")
    spare *= values
    rest += spare
    total = np.add(whole, rest, out=spare)
    whole -= total  # what the sum lost of the larger one is exact
    rest += whole
    return total, rest


def _scale(values: Array, mantissa: Array, exponent: Array, slots: Sequence[Array]) -> Array:
    """Multiply ``values``, the doubles nearest to ``mantissa``, by ``10**exponent``; return where that is unsure."""
    index = np.add(exponent, LARGEST, out=slots[0].view(np.int64))
    whole, error, rest, spare = (slot.view(np.float64) for slot in slots[1:5])
    np.copyto(slots[3], values, casting="unsafe")
    np.subtract(mantissa, slots[3], out=slots[3])
    rest[...] = slots[3].view(np.int64)  # what conversion to double took away
    rest *= _powers().high.take(index, out=spare, mode="clip")
    _powers().low.take(index, out=spare, mode="clip")
    spare *= values
    rest += spare
    _multiply(values, index, whole, error, slots[4:])
    error += rest
    margin = np.multiply(whole, UNSURE, out=rest)
    least = np.subtract(error, margin, out=spare)
    least += whole
    error += margin
    np.add(whole, error, out=values)
    unsure: Array = least != values
    return unsure


def _multiply(values: Array, index: Array, whole: Array, error: Array, slots: Sequence[Array]) -> None:
    """Put ``values * 10**(index - LARGEST)`` into ``whole`` and what rounding took into ``error``: Dekker's product."""
    one, one_low, two, two_low, spare = (slot.view(np.float64) for slot in slots[:5])
    powers = _powers()
    np.multiply(values, powers.high.take(index, out=two, mode="clip"), out=whole)
    np.multiply(values, SPLIT, out=one)
    np.subtract(one, values, out=spare)
    one -= spare
    np.subtract(values, one, out=one_low)
    powers.upper.take(index, out=two, mode="clip")
    powers.lower.take(index, out=two_low, mode="clip")
    np.multiply(one, two, out=error)
    error -= whole
    for first, second in ((one, two_low), (one_low, two), (one_low, two_low)):
        error += np.multiply(first, second, out=spare)


def _slots(count: int, work: Work) -> Sequence[Array]:
    return work if work is not None else list(np.empty((WORK, count), np.uint64))


def to_integers(numbers: Numbers, dtype: Any = np.int64) -> tuple[Array, Array]:
    """Return the integers as int64 or uint64, and the indices of those fields that are none of that type."""
    kind = np.dtype(dtype)
    if kind == np.uint64:
        odd = numbers.odd | ~numbers.whole | (numbers.negative & (numbers.mantissa > 0))
        return numbers.mantissa, np.flatnonzero(odd)
    limit = np.uint64((1 << 63) - 1)
    values = np.minimum(numbers.mantissa, limit).astype(np.int64)
    signs = numbers.negative.astype(np.int64)
    values ^= -signs
    values += signs
    return values, np.flatnonzero(numbers.odd | ~numbers.whole | (numbers.mantissa > limit))
