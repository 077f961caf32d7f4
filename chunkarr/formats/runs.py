"""Moving regions between memory and an uncompressed block of bytes in a file.

`read_block` and `write_block` do the work for a block in C order; a Fortran block is the transposed
region of the transposed array. Where file and memory are both contiguous, bytes go straight between
them. Else there are two ways, and the cheaper one is taken: one call per run, or whole rows through
the task's scratch memory in pieces of at most `PIECE` bytes, from which the wanted elements are copied.
What gives and takes the bytes is a `Source` or `Sink`: a file (`Descriptor`), or one with changes over it.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any, Protocol

import numpy as np

from chunkarr import fsio
from chunkarr.errors import GenerationChangedError
from chunkarr.grid import Region, Shape

__all__ = [
    "PIECE",
    "Descriptor",
    "Sink",
    "Source",
    "Store",
    "bytes_moved",
    "change_block",
    "file_generation",
    "plain",
    "read_block",
    "seen_plain",
    "staging",
    "write_block",
]

Array = np.ndarray[Any, Any]

PIECE = 256 << 10  # bytes: fits the second-level cache, and a call costs little beside copying it
CALL = 2e-6  # seconds for one read or copy call from Python
BYTE = 1e-10  # seconds to move one byte from the page cache or within memory

_PLAIN: dict[int, np.dtype[Any]] = {
    1: np.dtype("u1"),
    2: np.dtype("u2"),
    4: np.dtype("u4"),
    8: np.dtype("u8"),
    16: np.dtype("c16"),
}


class Source(Protocol):
    """What bytes are read from."""

    def read_into(self, buffer: Any, offset: int) -> None:
        """Fill ``buffer`` (as of `fsio.bytes_of`) with the bytes from ``offset`` on."""

    def read_each(self, views: Iterable[Any], offsets: Iterable[int]) -> None:
        """Fill each of ``views`` from the offset of its own."""


class Sink(Protocol):
    """What bytes are written to."""

    def write_at(self, buffer: Any, offset: int) -> None:
        """Write all of ``buffer`` at ``offset``."""


class Store(Source, Sink, Protocol):
    """What bytes are read from and written to, several threads at a time."""

    def claim(self, start: int, stop: int) -> AbstractContextManager[None]:
        """Keep other writers away from these bytes for the time of the context."""

    def put(self, buffer: Any, offset: int) -> None:
        """Write ``buffer`` at ``offset``, within a claim."""


def plain(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return a dtype of the same size that copies bytes as they are, padding included, at full speed.

    >>> plain(np.dtype(">f8")), plain(np.dtype("S5"))
    (dtype('uint64'), dtype('V5'))
    """
    return _PLAIN[dtype.itemsize] if dtype.itemsize in _PLAIN else np.dtype(f"V{dtype.itemsize}")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a region of a C-ordered block lies."""

    start: int  # byte of its first element in the file
    extents: Shape  # elements per axis
    strides: Shape  # bytes per step along each axis of the block
    run_axis: int  # from this axis on, the region is one run of bytes in the file
    item: int  # bytes of an element

    @classmethod
    def of(cls, offset: int, shape: Shape, region: Region, item: int) -> _Place:
        start, stride, run_axis, whole = offset, item, len(shape), True
        extents, strides = [0] * len(shape), [0] * len(shape)
        for axis in range(len(shape) - 1, -1, -1):
            a, b = region[axis]
            extents[axis], strides[axis] = b - a, stride
            start += a * stride
            if whole:
                run_axis = axis
                whole = b - a == shape[axis]
            stride *= shape[axis]
        return cls(start, tuple(extents), tuple(strides), run_axis, item)

    def calls(self, axis: int) -> int:
        """Pieces when the axes before ``axis`` are walked one index at a time."""
        return prod(self.extents[:axis])

    def span(self, axis: int) -> int:
        """Bytes from the first to the last element of one index of the axes before ``axis``."""
        pairs = zip(self.extents[axis:], self.strides[axis:], strict=True)
        return sum((n - 1) * s for n, s in pairs) + self.item

    def positions(self, axis: int) -> Iterator[int]:
        """Yield the byte in the file of each index of the axes before ``axis``."""
        steps = [range(0, n * s, s) for n, s in zip(self.extents[:axis], self.strides[:axis], strict=True)]
        if not steps:
            yield self.start
            return
        *outer, inner = steps
        for moves in product(*outer):
            first = self.start + sum(moves)
            yield from range(first, first + inner.stop, inner.step)

    def walk(self, axis: int) -> Iterator[tuple[Any, int]]:
        """Yield each index of the axes before ``axis``, as a key of a view, and its byte in the file."""
        indices = product(*map(range, self.extents[:axis]))
        return (((*index, ...), position) for index, position in zip(indices, self.positions(axis), strict=True))


@dataclass(frozen=True, slots=True)
class _Way:
    """How a region is moved."""

    axis: int  # the axes before it are walked
    staged: bool  # through scratch, or straight between file and memory
    nbytes: int  # bytes moved to or from the file
    seconds: float


def _memory_axis(array: Array) -> int:
    """Return the first axis from which on ``array`` is one run of bytes in memory."""
    expected, axis = array.itemsize, array.ndim
    while axis and (array.shape[axis - 1] == 1 or array.strides[axis - 1] == expected):
        axis -= 1
        expected *= array.shape[axis]
    return axis


def _choose(place: _Place, memory_axis: int, piece: int, *, gaps: bool) -> _Way:
    """Return the cheapest way; without ``gaps`` only one that touches the region's own bytes."""
    own = prod(place.extents) * place.item
    axis = max(place.run_axis, memory_axis)
    best = _Way(axis, staged=False, nbytes=own, seconds=place.calls(axis) * CALL + own * BYTE)
    for axis in range(0 if gaps else place.run_axis, len(place.extents)):
        if place.span(axis + 1) > piece:
            continue
        count, span = place.calls(axis), place.span(axis)
        pieces = count * -(-place.extents[axis] // _rows(place, axis, piece))
        seconds = pieces * 2 * CALL + (count * span + own) * BYTE
        if seconds < best.seconds:
            best = _Way(axis, staged=True, nbytes=count * span, seconds=seconds)
    return best


def _rows(place: _Place, axis: int, piece: int) -> int:
    """Return how many steps along ``axis`` fit a piece."""
    return min((piece - place.span(axis + 1)) // place.strides[axis] + 1, place.extents[axis])


def staging(shape: Shape, region: Region, item: int) -> int:
    """Return the bytes of scratch that moving ``region`` of a C-ordered block may take."""
    if not all(a < b for a, b in region):
        return 0
    return max(item, min(PIECE, _Place.of(0, shape, region, item).span(0)))


def bytes_moved(shape: Shape, region: Region, item: int) -> int:
    """Return the bytes that reading ``region`` of a C-ordered block takes from the file."""
    if not all(a < b for a, b in region) or not item:
        return 0
    return _choose(_Place.of(0, shape, region, item), 0, PIECE, gaps=True).nbytes


def _views(array: Array, place: _Place, axis: int) -> Iterator[Any]:
    """Yield the bytes of each index of the axes before ``axis``; a slice of memory is cheaper than one of an array."""
    if array.flags.c_contiguous:
        flat = memoryview(fsio.bytes_of(array))
        unit = flat.nbytes // place.calls(axis)
        return (flat[at : at + unit] for at in range(0, flat.nbytes, unit))
    return (fsio.bytes_of(array[index]) for index, _ in place.walk(axis))


def seen_plain(block: Array) -> Array:
    """Return a view of ``block`` that NumPy copies byte by byte, padding included."""
    return block.view(plain(block.dtype)) if block.dtype.itemsize else block


def read_block(source: Source, offset: int, shape: Shape, region: Region, *, out: Array, scratch: Array) -> None:
    """Fill ``out`` (any strides) with ``region`` of the C-ordered block of ``shape`` at ``offset``.

    ``scratch`` holds at least `staging` bytes. Raises CorruptChunkError if the file ends too early.
    """
    if not out.nbytes:
        return
    place = _Place.of(offset, shape, region, out.itemsize)
    if out.flags.c_contiguous and place.calls(place.run_axis) == 1:
        source.read_into(out, place.start)
        return
    out = out.view(plain(out.dtype))
    piece = min(PIECE, scratch.nbytes) if scratch.nbytes >= out.itemsize else 0
    way = _choose(place, _memory_axis(out), piece, gaps=True)
    if not way.staged:
        source.read_each(_views(out, place, way.axis), place.positions(way.axis))
        return
    axis, tail = way.axis, place.span(way.axis + 1)
    step, stride, rows = _rows(place, axis, piece), place.strides[axis], place.extents[axis]
    for index, position in place.walk(axis):
        target = out[index]
        for row in range(0, rows, step):
            count = min(step, rows - row)
            source.read_into(scratch[: (count - 1) * stride + tail], position + row * stride)
            target[row : row + count] = np.ndarray(
                (count, *place.extents[axis + 1 :]), out.dtype, scratch, 0, place.strides[axis:]
            )


def write_block(sink: Sink, offset: int, shape: Shape, region: Region, *, block: Array, scratch: Array) -> None:
    """Write ``block`` (any strides) to ``region`` of the C-ordered block of ``shape`` at ``offset``.

    Touches the region's own bytes only, so that disjoint regions may be written at the same time.
    """
    if not block.nbytes:
        return
    place = _Place.of(offset, shape, region, block.itemsize)
    if block.flags.c_contiguous and place.calls(place.run_axis) == 1:
        sink.write_at(block, place.start)
        return
    block = block.view(plain(block.dtype))
    piece = min(PIECE, scratch.nbytes) if scratch.nbytes >= block.itemsize else 0
    way = _choose(place, _memory_axis(block), piece, gaps=False)
    if not way.staged:
        for index, position in place.walk(way.axis):
            sink.write_at(block[index], position)
        return
    axis = way.axis
    step, stride, rows = _rows(place, axis, piece), place.strides[axis], place.extents[axis]
    for index, position in place.walk(axis):
        source = block[index]
        for row in range(0, rows, step):
            part = source[row : row + step]
            np.ndarray(part.shape, block.dtype, scratch)[...] = part
            sink.write_at(scratch[: part.nbytes], position + row * stride)


def change_block(store: Store, offset: int, shape: Shape, region: Region, *, block: Array, scratch: Array) -> None:
    """Write as `write_block` does, but short runs with the bytes between them, which are read before.

    Others may write to those bytes at the same time: each piece is claimed while it is changed.
    """
    if not block.nbytes:
        return
    place = _Place.of(offset, shape, region, block.itemsize)
    raw = block.view(plain(block.dtype))
    piece = min(PIECE, scratch.nbytes) if scratch.nbytes >= block.itemsize else 0
    way = _choose(place, _memory_axis(raw), piece, gaps=True)
    if not way.staged or way.axis >= place.run_axis:
        write_block(store, offset, shape, region, block=block, scratch=scratch)
        return
    axis, tail = way.axis, place.span(way.axis + 1)
    step, stride, rows = _rows(place, axis, piece), place.strides[axis], place.extents[axis]
    for index, position in place.walk(axis):
        source = raw[index]
        for row in range(0, rows, step):
            part = source[row : row + step]
            values = scratch[: (len(part) - 1) * stride + tail]
            start = position + row * stride
            with store.claim(start, start + values.nbytes):
                store.read_into(values, start)
                np.ndarray(part.shape, raw.dtype, values, 0, place.strides[axis:])[...] = part
                store.put(values, start)


def file_generation(path: str) -> tuple[int, int, int]:
    """Return size, mtime_ns and inode of a file: what changes when its content does."""
    state = os.stat(path)
    return state.st_size, state.st_mtime_ns, state.st_ino


MOST_OPEN = 128  # files that are kept open for reading at a time, where more are read: thousands that are joined
_open: deque[weakref.ref[Descriptor]] = deque()  # in the order in which they were opened


def _keep_open(one: Descriptor) -> None:
    """Note that a file is open for reading, and close those that have been open longest and are not being read."""
    _open.append(weakref.ref(one))
    for _ in range(len(_open) - MOST_OPEN):
        try:
            oldest = _open.popleft()()
        except IndexError:  # another thread was quicker
            return
        if oldest is not None and not oldest.close_unused():
            _open.append(weakref.ref(oldest))


class Descriptor:
    """A file's descriptor: opened at first use, closed with its owner, pickled as the path.

    Those that are read from are closed, too, while many others are open, and opened again when they are needed.

    Parameters
    ----------
    path
        The file.
    writable
        Whether it is opened for writing too.
    """

    def __init__(self, path: str, *, writable: bool) -> None:
        self.path = path
        self._writable = writable
        self._lock = threading.Lock()
        self._fd = -1
        self._users = 0  # readers that hold the number now

    def get(self, generation: tuple[int, int, int] | None = None) -> int:
        """Return the descriptor; the first time, check that the file is still of ``generation``."""
        fd = self._fd
        if fd >= 0:
            return fd
        with self._lock:
            new = self._fd < 0
            if new:
                fd = fsio.open_write(self.path) if self._writable else fsio.open_read(self.path)
                state = os.fstat(fd)
                found = (state.st_size, state.st_mtime_ns, state.st_ino)
                if generation is not None and found != generation:
                    os.close(fd)
                    raise GenerationChangedError(
                        f"{self.path}: changed since it was opened: (size, mtime_ns, inode) was {generation}, "
                        f"is {found}; open it again"
                    )
                self._closer = weakref.finalize(self, os.close, fd)
                self._fd = fd
            fd = self._fd
        if new and not self._writable:
            _keep_open(self)
        return fd

    def take(self, generation: tuple[int, int, int] | None = None) -> int:
        """Return the descriptor as `get` does; it stays open until `give` is called as often as this."""
        with self._lock:
            self._users += 1
        try:
            return self.get(generation)
        except BaseException:
            self.give()
            raise

    def give(self) -> None:
        """End what `take` began."""
        with self._lock:
            self._users -= 1

    def close_unused(self) -> bool:
        """Close it now if nobody is reading; say whether it is closed."""
        with self._lock:
            if self._fd >= 0 and not self._users:
                self._fd = -1
                self._closer()
            return self._fd < 0

    def read_into(self, buffer: Any, offset: int) -> None:
        """Fill ``buffer`` with the bytes from ``offset`` on; see `fsio.read_into`."""
        fd = self.take()
        try:
            fsio.read_into(fd, buffer, offset, self.path)
        finally:
            self.give()

    def read_each(self, views: Iterable[Any], offsets: Iterable[int]) -> None:
        """Fill each of ``views`` from the offset of its own; see `fsio.read_each`."""
        fd = self.take()
        try:
            fsio.read_each(fd, views, offsets, self.path)
        finally:
            self.give()

    def write_at(self, buffer: Any, offset: int) -> None:
        """Write all of ``buffer`` at ``offset``."""
        fsio.write_at(self.get(), buffer, offset, self.path)

    def close(self) -> None:
        """Close it now; a later `get` opens it again."""
        with self._lock:
            if self._fd >= 0:
                self._fd = -1
                self._closer()

    def __reduce__(self) -> tuple[Any, ...]:
        return _descriptor, (self.path, self._writable)


def _descriptor(path: str, writable: bool) -> Descriptor:
    return Descriptor(path, writable=writable)
