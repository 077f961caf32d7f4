"""Where two arrays differ, and by how much: one call on tiles that answers all at once."""

from __future__ import annotations

from typing import Any

import numpy as np

from chunkarr.errors import UnsupportedError
from chunkarr.formats.digesting import canonical_dtype
from chunkarr.graph import Node
from chunkarr.grid import tiles
from chunkarr.ops import elementwise

__all__ = ["Comparison", "compare", "incomparable", "same_dtype"]

Tile = np.ndarray[Any, Any]

PIECE = 16 << 10  # elements that are compared at once: their temporaries stay small and in cache
CLASSES = dict.fromkeys("biufc", "numbers") | {"S": "bytes", "U": "text", "M": "times", "m": "durations", "V": "raw"}


def incomparable(one: np.dtype[Any], other: np.dtype[Any]) -> str:
    """Return why elements of two dtypes cannot be compared; "" if they can.

    >>> incomparable(np.dtype("f8"), np.dtype("S3")), incomparable(np.dtype("f8"), np.dtype(">i2"))
    ('numbers and bytes', '')
    """
    if one.subdtype is not None or other.subdtype is not None:
        (one, extent), (other, extent2) = (d.subdtype or (d, ()) for d in (one, other))
        return incomparable(one, other) if extent == extent2 else f"elements of shapes {extent} and {extent2}"
    if one.names is not None or other.names is not None:
        if one.names != other.names:
            return f"fields {one.names} and {other.names}"
        fields, others = one.fields, other.fields
        assert fields is not None
        assert others is not None
        reasons = ((name, incomparable(fields[name][0], others[name][0])) for name in fields)
        return next((f"field {name!r}: {reason}" for name, reason in reasons if reason), "")
    kinds = [CLASSES.get(d.kind, d.kind) for d in (one, other)]
    if kinds[0] != kinds[1]:
        return f"{kinds[0]} and {kinds[1]}"
    if one.kind == "V" and one.itemsize != other.itemsize:
        return f"{one.itemsize} and {other.itemsize} raw bytes"
    try:
        np.result_type(one, other)
    except TypeError as error:
        return str(error)
    return ""


def same_dtype(one: np.dtype[Any], other: np.dtype[Any]) -> bool:
    """Say whether two dtypes differ in byte order and padding at most.

    >>> same_dtype(np.dtype("<f8"), np.dtype(">f8")), same_dtype(np.dtype("f8"), np.dtype("f4"))
    (True, False)
    """
    try:
        return bool(canonical_dtype(one) == canonical_dtype(other))
    except UnsupportedError:
        return one.newbyteorder("=") == other.newbyteorder("=")


def compare(one: Node, other: Node, rtol: float, atol: float) -> tuple[Node, ...]:
    """Return where two arrays of one shape differ, the absolute differences, and those relative to ``other``."""
    return elementwise.call(Comparison(rtol, atol), (one, other))


class Comparison:
    """Compare tiles of equal shape: a mask of what differs, and float64 differences absolute and relative.

    NaN equals NaN, and NaT equals NaT. Numbers that differ by at most ``atol + rtol * abs(other)`` are not
    different, but their difference counts. A difference that is no number is infinite. Times have no
    relative difference; text, bytes and structured elements have none at all, which is 0 here.

    >>> compared = Comparison(0.0, 0.0)(np.array([1.0, np.nan, 4.0]), np.array([1.0, np.nan, 5.0]))
    >>> [values.tolist() for values in compared]
    [[False, False, True], [0.0, 0.0, 1.0], [0.0, 0.0, 0.2]]
    """

    __name__ = "compare"

    def __init__(self, rtol: float, atol: float) -> None:
        self.rtol, self.atol = rtol, atol

    def __call__(self, one: Tile, other: Tile, out: tuple[Tile, ...] | None = None) -> tuple[Tile, ...]:
        """Fill ``out``, piece by piece."""
        outs = out or tuple(np.empty(one.shape, kind) for kind in (bool, np.float64, np.float64))
        with np.errstate(all="ignore"):
            for box, _ in tiles(one.shape, PIECE):
                key: Any = (*box, ...)
                # At least one axis: NumPy's answers to arrays without axes are scalars.
                self._piece(*(np.atleast_1d(tile[key]) for tile in (one, other, *outs)))
        return outs

    def _piece(self, one: Tile, other: Tile, mask: Tile, absolute: Tile, relative: Tile) -> None:
        unequal = _unequal(one, other)
        mask[...] = unequal
        absolute[...] = relative[...] = 0
        if one.dtype.kind not in "biufcmM" or not unequal.any():
            return
        distance = _distance(one, other)
        distance[np.isnan(distance)] = np.inf
        absolute[...] = np.where(unequal, distance, 0)
        if one.dtype.kind in "mM":
            return
        size = np.abs(other.astype(_wide(other.dtype))).astype(np.float64)
        quotient = distance / size
        quotient[np.isnan(quotient)] = np.inf
        relative[...] = np.where(unequal, quotient, 0)
        if self.rtol or self.atol:
            mask[...] = unequal & ~((distance <= self.atol + self.rtol * size) & np.isfinite(distance))


def _unequal(one: Tile, other: Tile) -> Tile:
    """Return where elements differ; NaN equals NaN in fields too."""
    if one.dtype.names is not None:
        result = np.zeros(one.shape, bool)
        for name in one.dtype.names:
            found = _unequal(one[name], other[name])
            result |= found.any(axis=tuple(range(one.ndim, found.ndim))) if found.ndim > one.ndim else found
        return result
    unequal: Tile = np.asarray(one != other)
    if one.dtype.kind in "fcmM" and unequal.any():
        unequal = unequal & np.asarray((one == one) | (other == other))  # noqa: PLR0124 - false for NaN and NaT alone
    return unequal


def _wide(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype in which differences of numbers are exact enough: no narrower than float64."""
    return np.result_type(dtype, np.complex128 if dtype.kind == "c" else np.float64)


def _distance(one: Tile, other: Tile) -> Tile:
    """Return ``abs(one - other)`` as new float64 values, NaN where there is no such number."""
    if one.dtype.kind in "mM":
        steps = np.asarray(one - other)
        return np.asarray(np.where(np.isnat(steps), np.nan, np.abs(steps.view(np.int64).astype(np.float64))))
    common = np.result_type(one, other)
    if common.kind in "biu":  # exact also where the difference of two int64 is none
        common = np.dtype(np.uint8) if common.kind == "b" else common.newbyteorder("=")
        one, other = one.astype(common), other.astype(common)
        gap: Tile = np.maximum(one, other) - np.minimum(one, other)
        return gap.view(np.dtype(f"u{common.itemsize}")).astype(np.float64)
    wide = _wide(common)
    distance: Tile = np.abs(one.astype(wide) - other.astype(wide)).astype(np.float64)
    if one.dtype.kind in "iu" and other.dtype.kind in "iu":  # int64 and uint64 meet in float64
        return np.asarray(np.maximum(distance, 1))
    return distance
