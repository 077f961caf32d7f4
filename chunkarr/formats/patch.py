"""Changes of a file that lie beside it: a sparse file in which changed bytes have the place that they will have.

Changes are kept by page: a page that is changed in part is first filled with what the file has there, so
one mark a page says all there is to say about what was changed, however many regions were written. When
most pages are marked, the rest is copied from the file and the sparse file can take its place; when few
are, they are copied into the file (see `journal`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from chunkarr import fsio
from chunkarr.formats.runs import Source

__all__ = ["PAGE", "Patch", "marked_runs"]

PAGE = 4096  # bytes of a page, at least; what disks and the kernel's cache change at once
PAGES = 1 << 22  # pages of a file, at most: a byte of memory marks each
NEAR = 64 << 10  # bytes that are filled and changed in memory, to be written in one call

Bytes = np.ndarray[Any, np.dtype[np.uint8]]


class Patch:
    """A file of ``size`` bytes as it will be: ``base``, with the changed pages of a sparse file over it.

    Any number of threads may write; ranges that several of them touch the pages of are written one by one.

    Parameters
    ----------
    path, fd
        The sparse file, of at least ``size`` bytes, and its descriptor.
    base
        The file as it is.
    kept
        Bytes at its beginning that stay what they are unless they are changed.
    size
        Bytes of the file to be; beyond ``kept`` what is not written is zero.
    """

    def __init__(self, path: str, fd: int, base: Source, kept: int, size: int) -> None:
        self.path, self.fd, self.size = path, fd, size
        self._base, self._whole, self._kept = base, kept, min(kept, size)
        self.page = PAGE
        while -(-size // self.page) > PAGES:
            self.page *= 2
        self.marks = np.zeros(-(-size // self.page), np.bool_)  # which pages were changed
        self.writes = 0  # how often something was written
        self._busy: list[tuple[int, int]] = []  # ranges of bytes that are being written
        self._turn = threading.Condition()

    @property
    def changed(self) -> int:
        """Bytes in changed pages."""
        return min(int(np.count_nonzero(self.marks)) * self.page, self.size)

    # --- reading: `Source` ---

    def read_into(self, buffer: Any, offset: int) -> None:
        """Fill ``buffer`` with the bytes from ``offset`` on, as they will be."""
        view = fsio.bytes_of(buffer)
        stop = offset + view.nbytes
        first, last = offset // self.page, -(-stop // self.page)
        marks = self.marks[first:last]
        if not marks.any():
            self._read_base(view, offset)
            return
        if marks.all():
            fsio.read_into(self.fd, view, offset, self.path)
            return
        self._read_base(view, offset)
        for a, b in marked_runs(marks):
            start, end = max(offset, (first + a) * self.page), min(stop, (first + b) * self.page)
            fsio.read_into(self.fd, view[start - offset : end - offset], start, self.path)

    def read_each(self, views: Iterable[Any], offsets: Iterable[int]) -> None:
        """Fill each of ``views`` from the offset of its own."""
        for view, offset in zip(views, offsets, strict=True):
            self.read_into(view, offset)

    def _read_base(self, view: Any, offset: int) -> None:
        """Read what the file has; zeros where nothing of it is kept."""
        count = max(0, min(view.nbytes, self._kept - offset))
        if count:
            self._base.read_into(view[:count], offset)
        if count < view.nbytes:
            rest = memoryview(view)[count:]
            rest[:] = bytes(rest.nbytes)

    # --- writing: `Store` ---

    def write_at(self, buffer: Any, offset: int) -> None:
        """Write all of ``buffer`` at ``offset``."""
        view = fsio.bytes_of(buffer)
        if view.nbytes:
            with self.claim(offset, offset + view.nbytes):
                self.put(view, offset)

    @contextmanager
    def claim(self, start: int, stop: int) -> Iterator[None]:
        """Wait until nobody writes to the pages of these bytes; keep others away until the context ends."""
        span = start // self.page, -(-stop // self.page)
        with self._turn:
            while any(a < span[1] and span[0] < b for a, b in self._busy):
                self._turn.wait()
            self._busy.append(span)
        try:
            yield
        finally:
            with self._turn:
                self._busy.remove(span)
                self._turn.notify_all()

    def put(self, buffer: Any, offset: int) -> None:
        """Write ``buffer`` at ``offset``, within a claim."""
        view = fsio.bytes_of(buffer)
        stop = offset + view.nbytes
        first, last = offset // self.page, -(-stop // self.page)
        before = first * self.page if not self.marks[first] else offset
        after = min(last * self.page, self.size) if not self.marks[last - 1] else stop
        if after - before <= NEAR:
            room = np.empty(after - before, np.uint8)
            self.read_into(room[: offset - before], before)
            self.read_into(room[stop - before :], stop)
            room[offset - before : stop - before] = np.frombuffer(view, np.uint8)
            fsio.write_at(self.fd, room, before, self.path)
        else:
            self._fill(before, offset)
            fsio.write_at(self.fd, view, offset, self.path)
            self._fill(stop, after)
        self.marks[first:last] = True
        self.writes += 1

    def _fill(self, start: int, stop: int) -> None:
        """Copy what is there, part of a page, so that the page is whole."""
        if start < stop:
            room = np.empty(stop - start, np.uint8)
            self.read_into(room, start)
            fsio.write_at(self.fd, room, start, self.path)

    def resize(self, size: int) -> None:
        """Let the file to be have ``size`` bytes; nobody may write meanwhile. What is new is zero, also after a cut."""
        fsio.calls.truncate(self.fd, size)
        pages = -(-size // self.page)
        self.marks = np.concatenate((self.marks[:pages], np.zeros(max(0, pages - self.marks.size), np.bool_)))
        self.size, self._kept = size, min(self._kept, size)
        again = min(self._whole, size)  # bytes that the file has, though some were cut off here
        if self._kept < again:
            first = self._kept // self.page
            if not self.marks[first]:
                self._fill(first * self.page, self._kept)
            self.marks[first : -(-again // self.page)] = True

    def complete(self, room: Bytes) -> None:
        """Copy every page of the file that was not changed, through ``room``: the sparse file is whole then."""
        limit = -(-self._kept // self.page)  # pages beyond are zero, as holes are
        for a, b in marked_runs(~self.marks[:limit]):
            stop = min(b * self.page, self._kept)
            for start in range(a * self.page, stop, room.nbytes):
                piece = room[: min(room.nbytes, stop - start)]
                self._base.read_into(piece, start)
                fsio.write_at(self.fd, piece, start, self.path)


def marked_runs(marks: np.ndarray[Any, np.dtype[np.bool_]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the runs of True as rows (start, stop).

    >>> marked_runs(np.array([True, False, True, True])).tolist()
    [[0, 1], [2, 4]]
    """
    edges = np.flatnonzero(np.diff(marks, prepend=False, append=False))
    return edges.reshape(-1, 2)
