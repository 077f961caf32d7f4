"""Keys: unsigned integers that lie in the order of the values, so that order is a matter of digits.

The bits of a float are those of its magnitude below its sign: a negative one is turned over, a positive one gets the
highest bit. Signed integers, dates and durations get the highest bit turned. What counts as missing, NaN and NaT, has
no place in that order and is told apart.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

__all__ = [
    "DIGIT",
    "first_digits",
    "has_keys",
    "key_bits",
    "missing",
    "ordered_digits",
    "suspects",
    "to_keys",
    "values_of",
]

Block = np.ndarray[Any, Any]
DIGIT = 16  # bits of the first digit, where keys have as many


def has_keys(dtype: np.dtype[Any]) -> bool:
    """Say whether values of ``dtype`` have keys: booleans, integers, floats of up to 64 bits, dates, durations.

    >>> has_keys(np.dtype("f4")), has_keys(np.dtype("c8"))
    (True, False)
    """
    return dtype.kind in "biufmM" and dtype.itemsize in (1, 2, 4, 8)


def key_bits(dtype: np.dtype[Any]) -> int:
    """Return how many bits a key has."""
    return 8 * dtype.itemsize


def missing(values: Block) -> Block | None:
    """Return where values are NaN or NaT, None where the dtype has neither."""
    if values.dtype.kind == "f":
        return np.isnan(values)
    return np.isnat(values) if values.dtype.kind in "mM" else None


def _bits(values: Block) -> Block:
    return values.view(np.dtype(f"u{values.dtype.itemsize}"))


def first_digits(values: Block) -> Block:
    """Return the highest bits of contiguous values of native byte order, as they are stored: a view."""
    bits = _bits(values)
    if values.dtype.itemsize <= 2:
        return bits
    step = values.dtype.itemsize // 2
    return bits.view(np.uint16)[step - 1 if sys.byteorder == "little" else 0 :: step]


def ordered_digits(dtype: np.dtype[Any]) -> Block:
    """Return the first digits in the order of the values that they begin."""
    bits = min(DIGIT, key_bits(dtype))
    all_digits, half = np.arange(1 << bits), 1 << (bits - 1)
    if dtype.kind in "bu":
        return all_digits
    below, above = all_digits[half:], all_digits[:half]
    return np.concatenate([below[::-1] if dtype.kind == "f" else below, above])


def suspects(dtype: np.dtype[Any]) -> Block:
    """Return the first digits that missing values may have."""
    if dtype.kind in "mM":
        return np.array([1 << (DIGIT - 1)])
    if dtype.kind != "f":
        return np.zeros(0, np.int64)
    first = int(first_digits(np.full(1, np.inf, dtype))[0])
    half = 1 << (DIGIT - 1)
    return np.concatenate([np.arange(first, half), np.arange(first | half, 2 * half)])


def to_keys(values: Block) -> Block:
    """Return the keys of values of native byte order; of missing ones they mean nothing.

    >>> to_keys(np.array([-1, 0, 1], "i1")).tolist()
    [127, 128, 129]
    """
    bits = _bits(values)
    kind = values.dtype.kind
    if kind in "bu":
        return bits.copy()
    sign = bits.dtype.type(1 << (key_bits(values.dtype) - 1))
    if kind != "f":
        return np.asarray(bits ^ sign)
    signed = bits.view(np.dtype(f"i{bits.itemsize}"))
    turned = (signed >> (8 * bits.itemsize - 1)).view(bits.dtype)  # all bits of a negative number, none of others
    turned |= sign
    turned ^= bits
    return np.asarray(turned)


def values_of(keys: Block, dtype: np.dtype[Any]) -> Block:
    """Return the values that keys belong to.

    >>> values_of(to_keys(np.array([-1.5, 2.0])), np.dtype("f8")).tolist()
    [-1.5, 2.0]
    """
    if dtype.kind in "bu":
        return keys.copy().view(dtype)
    sign = keys.dtype.type(1 << (key_bits(dtype) - 1))
    bits = np.bitwise_xor(keys, sign) if dtype.kind != "f" else np.where(keys & sign, keys ^ sign, ~keys)
    values: Block = bits.view(dtype)
    return values
