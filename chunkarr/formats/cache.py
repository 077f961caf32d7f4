"""A few decoded chunks kept for the next small read: loops over ``a[i, j]``, iteration, ``head``.

The cache belongs to the process, holds at most an eighth of the memory budget, and is emptied before
any larger run, so that it never adds to what a plan holds.
"""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.formats.contract import Stored
from chunkarr.grid import Region, intersect, region_key, region_shape, region_size

if TYPE_CHECKING:
    from collections.abc import Hashable

__all__ = ["CHUNKS", "Cached", "ChunkCache"]


class ChunkCache:
    """Least recently used chunks, bounded in bytes.

    >>> cache = ChunkCache()
    >>> cache.put("a", np.zeros(4, "u1"), limit=4); cache.put("b", np.zeros(3, "u1"), limit=4)
    >>> cache.get("a") is None, cache.get("b").nbytes
    (True, 3)
    """

    def __init__(self) -> None:
        self._held: OrderedDict[Hashable, np.ndarray[Any, Any]] = OrderedDict()
        self._lock = threading.Lock()
        self.nbytes = 0

    def get(self, key: Hashable) -> np.ndarray[Any, Any] | None:
        """Return the chunk of ``key`` if it is held."""
        with self._lock:
            chunk = self._held.get(key)
            if chunk is not None:
                self._held.move_to_end(key)
            return chunk

    def put(self, key: Hashable, chunk: np.ndarray[Any, Any], limit: int) -> None:
        """Hold a chunk, and let the oldest go until all are within ``limit`` bytes."""
        with self._lock:
            if key not in self._held:
                self._held[key] = chunk
                self.nbytes += chunk.nbytes
            while self.nbytes > limit and self._held:
                _, old = self._held.popitem(last=False)
                self.nbytes -= old.nbytes

    def clear(self) -> None:
        """Let all chunks go."""
        with self._lock:
            self._held.clear()
            self.nbytes = 0


CHUNKS = ChunkCache()
_NUMBERS: weakref.WeakKeyDictionary[Stored, int] = weakref.WeakKeyDictionary()
_NEXT = count()
_LOCK = threading.Lock()


def _number_of(stored: Stored) -> int:
    """Return a number that no other stored array has: neither another member of its file nor one read otherwise."""
    with _LOCK:
        return _NUMBERS.setdefault(stored, next(_NEXT))


class Cached(Stored):
    """A chunked array read through the cache: whole chunks are decoded and kept."""

    def __init__(self, inner: Stored, generation: Hashable, limit: int) -> None:
        self.inner, self.limit = inner, limit
        self.shape, self.dtype, self.grid = inner.shape, inner.dtype, inner.grid
        self.contiguous, self.format, self.path = False, inner.format, inner.path
        self._key = (_number_of(inner), generation)

    def read(self, region: Region, out: np.ndarray[Any, Any], scratch: np.ndarray[Any, Any]) -> None:
        """Fill ``out`` from chunks that are held, decoding those that are not."""
        for index in self.grid.touching(region):
            box = self.grid.region(index)
            key = (*self._key, index)
            chunk = CHUNKS.get(key)
            if chunk is None:
                chunk = np.empty(region_shape(box), self.dtype)
                self.inner.read(box, chunk, np.empty(self.inner.scratch_bytes(box), np.uint8))
                CHUNKS.put(key, chunk, self.limit)
            common = intersect(box, region)
            if common is not None:
                out[region_key(common, region)] = chunk[region_key(common, box)]
        del scratch

    def scratch_bytes(self, region: Region) -> int:
        """Count nothing: a chunk that is decoded is held by the cache."""
        del region
        return 0

    def bytes_read(self, region: Region) -> int:
        """Count whole chunks."""
        return sum(region_size(self.grid.region(i)) for i in self.grid.touching(region)) * self.dtype.itemsize

    def generation(self) -> Hashable:
        """Return what the chunks are kept under: the array is not looked at again."""
        return self._key
