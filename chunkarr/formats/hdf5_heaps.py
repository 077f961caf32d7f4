"""The heaps of an HDF5 file, where strings of variable length lie, read without the HDF5 library.

A heap begins with ``GCOL``, version 1, three bytes, and its size in 8 bytes. Then come its objects: index and count
of references in 2 bytes each, four bytes, the object's size in 8 bytes, and its bytes, padded to a multiple of 8. The
object of index 0 is what is free. (HDF5 File Format Specification 3.0, III.E.)
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from chunkarr.errors import CorruptChunkError
from chunkarr.formats.runs import Source

__all__ = ["Heaps"]

WINDOW = 64 << 10  # bytes read at once
HEAD = struct.Struct("<4sB3xQ")
OBJECT = struct.Struct("<HHIQ")


class Heaps:
    """The heaps of a file, from which texts are taken; holds no more than the texts asked for and a window.

    Parameters
    ----------
    source
        The file.
    base
        Byte that the addresses of heaps count from.
    size
        Bytes of the file.
    where
        The file and data set, for errors.
    """

    def __init__(self, source: Source, base: int, size: int, where: str) -> None:
        self._source, self._base, self._size, self._where = source, base, size, where

    def texts(self, places: np.ndarray[Any, Any]) -> list[bytes]:
        """Return the texts that ``places`` name, one axis of `PLACE`, as far as their first zero byte."""
        found = [b""] * places.size
        sizes, indices = places["size"].tolist(), places["index"].tolist()
        order = np.argsort(places["heap"], kind="stable")
        heaps = places["heap"][order]
        starts = np.flatnonzero(np.diff(heaps, prepend=heaps[:1] ^ np.uint64(1)))
        for first, group in zip(starts, np.split(order, starts[1:]), strict=True):
            wanted: dict[int, list[int]] = {}
            for k in group.tolist():
                if sizes[k]:
                    wanted.setdefault(indices[k], []).append(k)
            if wanted:
                self._take(int(heaps[first]), wanted, sizes, found)
        return found

    def _take(self, address: int, wanted: dict[int, list[int]], sizes: list[int], found: list[bytes]) -> None:
        """Fill ``found`` at ``wanted``, by index of the object, from the heap at ``address``."""
        start = self._base + address
        if start + HEAD.size > self._size:
            raise CorruptChunkError(f"{self._where}: a text lies in a heap at byte {start} of {self._size}")
        window = _Window(self._source, start, self._size)
        sign, version, size = HEAD.unpack(window.read(start, HEAD.size))
        end = start + size
        if sign != b"GCOL" or version != 1 or end > self._size:
            raise CorruptChunkError(f"{self._where}: there is no heap of texts at byte {start}")
        at, left = start + HEAD.size, set(wanted)
        while left and at + OBJECT.size <= end:
            index, _, _, nbytes = OBJECT.unpack(window.read(at, OBJECT.size))
            at += OBJECT.size
            if not index or nbytes > end - at:
                break
            if index in left:
                left.discard(index)
                for k in wanted[index]:
                    if sizes[k] > nbytes:
                        raise CorruptChunkError(f"{self._where}: a text of {sizes[k]} B has {nbytes} B in its heap")
                    found[k] = window.read(at, sizes[k]).split(b"\0", 1)[0]
            at += -(-nbytes // 8) * 8
        if left:
            raise CorruptChunkError(f"{self._where}: the heap at byte {start} has no text {min(left)}")


class _Window:
    """A file read forward in pieces."""

    def __init__(self, source: Source, start: int, end: int) -> None:
        self._source, self._start, self._end, self._bytes = source, start, end, b""

    def read(self, at: int, nbytes: int) -> bytes:
        """Return bytes that lie in the file."""
        offset = at - self._start
        if not 0 <= offset <= len(self._bytes) - nbytes:
            buffer = bytearray(min(max(nbytes, self._first()), self._end - at))
            self._source.read_into(buffer, at)
            self._start, self._bytes, offset = at, bytes(buffer), 0
        return self._bytes[offset : offset + nbytes]

    def _first(self) -> int:
        """Return how much is read at once: the usual size of a heap first."""
        return WINDOW if self._bytes else 4096
