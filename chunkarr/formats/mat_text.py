"""Text of MATLAB files: code units, one element each, the characters of a line along the last axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from chunkarr.grid import Shape

__all__ = ["decode_units", "text_dtype", "text_shape", "units_of_utf8"]

Array = np.ndarray[Any, Any]


def text_dtype(length: int, words: str) -> np.dtype[np.str_]:
    """Return the dtype of lines of ``length`` units, at least one, in the byte order ``words``.

    >>> text_dtype(0, "<")
    dtype('<U1')
    """
    return np.dtype(f"{words}U{max(1, length)}")


def text_shape(dims: Shape) -> Shape:
    """Return the shape of lines of characters; where they have none there are none, as in scipy's loadmat.

    >>> text_shape((2, 5)), text_shape((2, 0))
    ((2,), (0,))
    """
    return dims[:-1] if dims[-1] else (0,) * (len(dims) - 1)


def decode_units(units: Array) -> Array:
    """Return lines of text, shape ``units.shape[:-1]``: units of 1 byte are Latin-1, of 2 UTF-16, of 4 UTF-32.

    Pairs of surrogates become one character; what stands for none becomes U+FFFD.

    >>> decode_units(np.array([[72, 105], [0xD83D, 0xDE00]], "u2")).tolist()
    ['Hi', '😀']
    """
    shape = units.shape
    with np.errstate(invalid="ignore"):  # version 4 has characters that are doubles, perhaps NaN
        codes = np.ascontiguousarray(units.astype("<u4", order="C", casting="unsafe"))
    if units.dtype.kind == "i":
        codes &= (1 << 8 * units.dtype.itemsize) - 1
    odd = ((codes >= 0xD800) & (codes < 0xE000)) | (codes > 0x10FFFF)
    lines: Array = codes.view(text_dtype(shape[-1], "<")).reshape(shape[:-1])
    if not odd.any():
        return lines
    flat = codes.reshape(-1, shape[-1])
    for row in np.flatnonzero(odd.reshape(flat.shape).any(axis=1)):
        line = flat[row].copy()
        line[line > 0x10FFFF] = 0xFFFD
        text = _joined(line)
        flat[row] = 0
        flat[row, : len(text)] = np.array([text]).view("<u4")
    return lines


def _joined(codes: Array) -> str:
    """Return the text of UTF-16 units, or of characters, one in each of ``codes``."""
    raw = "".join(map(chr, codes.tolist())).encode("utf-16-le", "surrogatepass")
    return raw.decode("utf-16-le", "replace")


def units_of_utf8(raw: bytes, count: int) -> Array | None:
    """Return ``count`` characters or UTF-16 units of text in UTF-8, shape (count,), or None where it has others.

    Damaged bytes become U+FFFD.

    >>> units_of_utf8("é!".encode(), 2).tolist()
    [233, 33]
    """
    text = raw.decode("utf-8", "replace")
    if len(text) == count:
        return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
    units = np.frombuffer(text.encode("utf-16-le", "surrogatepass"), "<u2")
    return units if len(units) == count else None
