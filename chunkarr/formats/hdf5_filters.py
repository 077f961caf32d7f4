"""The filters of HDF5 chunks, without the HDF5 library: deflate, shuffle and fletcher32.

A chunk at rest is its values sent through the data set's filters in order; bit ``i`` of the chunk's
mask says that filter ``i`` was left out. Decoding runs backwards between two buffers of planned size,
whatever the stored bytes claim to hold.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numcodecs import Fletcher32

__all__ = ["DecodeError", "Filter", "byte_planes", "decode", "encode", "encoded_bound", "gather", "scatter"]

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
PIECE = 1 << 18  # bytes inflated at once, and bytes of planes that stay in cache
_CHECKSUM = Fletcher32()
_CHECKSUM_BYTES = 4


class DecodeError(ValueError):
    """Stored bytes do not decode to what they should; becomes a CorruptChunkError that says where."""


@dataclass(frozen=True, slots=True)
class Filter:
    """One step from values to stored bytes."""

    name: Literal["deflate", "shuffle", "fletcher32"]
    parameter: int = 0  # deflate: level; shuffle: bytes of an element


def encoded_bound(filters: Sequence[Filter], nbytes: int) -> int:
    """Return the most bytes that a chunk of ``nbytes`` can have between or after its filters.

    >>> encoded_bound((Filter("shuffle", 4), Filter("fletcher32")), 1000)
    1004
    """
    for step in filters:
        if step.name == "deflate":
            nbytes += nbytes // 100 + 1024  # more than zlib's own bound
        elif step.name == "fletcher32":
            nbytes += _CHECKSUM_BYTES
    return nbytes


def decode(
    first: Bytes,
    size: int,
    mask: int,
    filters: Sequence[Filter],
    *,
    nbytes: int,
    itemsize: int,
    second: Bytes,
    final: Bytes | None = None,
) -> tuple[Bytes, bool]:
    """Undo ``filters``, all but a shuffle of whole elements that came first.

    Parameters
    ----------
    first
        A buffer of `encoded_bound` bytes that begins with the ``size`` bytes at rest.
    mask
        Which filters were left out.
    nbytes, itemsize
        Bytes of the decoded chunk, and of one element.
    second
        A second buffer, as large as the first.
    final
        Where the values go if the last step can write there, else None.

    Returns
    -------
    values : uint8 array of ``nbytes``
        A part of one of the buffers, or ``final``.
    shuffled : bool
        Whether ``values`` still are byte planes: first bytes of all elements, then second bytes ...
    """
    now, room, other = first[:size], first, second
    todo = [i for i in range(len(filters)) if not mask >> i & 1]
    for i in reversed(todo):
        step = filters[i]
        if step.name == "fletcher32":
            now = _verified(now)
            continue
        if step.name == "shuffle":
            if step.parameter < 1:  # as of strings of variable length, whose chunks leave it out
                raise DecodeError("has its bytes shuffled, and nothing says in elements of how many")
            if i == todo[0] and step.parameter == itemsize:
                return _sized(now, nbytes), True
            into = other[: now.size]
            _unshuffle(now, step.parameter, into)
        else:
            limit = encoded_bound([filters[k] for k in todo if k < i], nbytes)
            into = final if final is not None and i == todo[0] else other[:limit]
            into = into[: inflate(now, into)]
        now, room, other = into, other, room
    return _sized(now, nbytes), False


def _sized(values: Bytes, nbytes: int) -> Bytes:
    if values.size != nbytes:
        raise DecodeError(f"decodes to {values.size} bytes instead of {nbytes}")
    return values


def _verified(stored: Bytes) -> Bytes:
    """Check the checksum at the end of ``stored`` and return what is before it."""
    if stored.size <= _CHECKSUM_BYTES:
        raise DecodeError(f"has {stored.size} bytes, too few for a checksum")
    try:
        _CHECKSUM.decode(stored)
    except RuntimeError:
        raise DecodeError("does not match its fletcher32 checksum") from None
    return stored[:-_CHECKSUM_BYTES]


def inflate(stored: Bytes, into: Bytes) -> int:
    """Decompress a zlib stream into a buffer, never holding more than a piece of it besides.

    >>> room = np.empty(10, np.uint8)
    >>> inflate(np.frombuffer(zlib.compress(b"abc"), np.uint8), room), bytes(room[:3])
    (3, b'abc')
    """
    stream = zlib.decompressobj()
    taken = done = 0
    try:
        while not stream.eof:
            # Feeding all at once would copy what is left over again and again.
            piece: Any = stream.unconsumed_tail
            if not piece:
                piece = stored[taken : taken + PIECE // 4]
                taken += piece.size
            values = stream.decompress(piece, min(PIECE, into.size - done + 1))
            if not values and not len(piece):
                raise DecodeError(f"its deflate stream is cut after {stored.size} bytes")
            if done + len(values) > into.size:
                raise DecodeError(f"decodes to more than {into.size} bytes")
            into[done : done + len(values)] = np.frombuffer(values, np.uint8)
            done += len(values)
    except zlib.error as error:
        raise DecodeError(f"its deflate stream is damaged: {error}") from None
    return done


def _unshuffle(stored: Bytes, size: int, into: Bytes) -> None:
    """Undo a shuffle of elements of ``size`` bytes; bytes beyond whole elements are as they were."""
    count = stored.size // size
    body = count * size
    into[:body].reshape(count, size)[...] = stored[:body].reshape(size, count).T
    into[body:] = stored[body:]


def byte_planes(array: np.ndarray[Any, Any]) -> Bytes:
    """View an array of at least one axis and any strides as uint8 with one more axis: the bytes of each element."""
    size = array.dtype.itemsize
    planes: Bytes = array.view(np.dtype([("bytes", np.uint8, (size,))]))["bytes"]
    return planes


def _slabs(shape: Sequence[int], itemsize: int) -> list[slice]:
    """Cut the first axis so that a slab stays in cache while its planes pass one by one."""
    rows = max(1, PIECE // max(1, math.prod(shape[1:]) * itemsize))
    return [slice(a, a + rows) for a in range(0, shape[0], rows)]


def scatter(
    values: Bytes, shuffled: bool, chunk: Sequence[int], part: tuple[slice, ...], out: np.ndarray[Any, Any]
) -> None:
    """Write ``part`` of a decoded chunk of shape ``chunk`` into ``out``; ``shuffled`` as `decode` returns it."""
    if not shuffled:
        np.copyto(out, values.view(out.dtype).reshape(chunk)[part])
        return
    size = out.dtype.itemsize
    planes = values.reshape(size, *chunk)[(slice(None), *part)]
    places = byte_planes(out)
    for rows in _slabs(out.shape, size):
        for i in range(size):
            np.copyto(places[rows, ..., i], planes[i, rows])


def gather(block: np.ndarray[Any, Any], chunk: Sequence[int], shuffled: bool, into: Bytes) -> Bytes:
    """Fill ``into`` with the bytes of a chunk that begins with ``block``; zeros where the chunk is larger."""
    size = block.dtype.itemsize
    part = tuple(slice(0, n) for n in block.shape)
    raw = into[: math.prod(chunk) * size]
    if block.shape != tuple(chunk):
        raw[:] = 0
    if not shuffled:
        np.copyto(raw.view(block.dtype).reshape(chunk)[part], block)
        return raw
    planes = raw.reshape(size, *chunk)
    places = byte_planes(block)
    for rows in _slabs(block.shape, size):
        for i in range(size):
            np.copyto(planes[i][part][rows], places[rows, ..., i])
    return raw


def encode(values: Bytes, filters: Sequence[Filter], *, unlike: int = -1) -> Any:
    """Send gathered values (shuffled already, where the filters begin so) through the other filters.

    No filter is left out, as HDF5 allows it where deflate does not make a chunk smaller: when such a chunk
    is written anew in the same number of bytes, the library (1.14) keeps the old mask, and cannot read it.

    Parameters
    ----------
    unlike
        A number of bytes that the result must not have, if deflate is among the filters.

    Returns
    -------
    stored : bytes-like
        What is to be written.
    """
    stored: Any = values
    rest = _CHECKSUM_BYTES * sum(step.name == "fletcher32" for step in filters)
    for step in filters:
        if step.name == "deflate":
            packed = zlib.compress(stored, step.parameter)
            if len(packed) >= stored.nbytes or len(packed) + rest == unlike:
                packed = zlib.compress(stored, 0)  # a copy in a frame: quick to decode
            stored = memoryview(packed)
        elif step.name == "fletcher32":
            stored = memoryview(_CHECKSUM.encode(stored))
    return stored
