"""What an unfinished array holds already: a log beside its hidden sibling, and the parts that it leaves to do.

A line is a crc32c, a space and a JSON object. The first says what the array is made of; then come the
grids of boxes in which it was written, after each the boxes that were done, and before the array gets its
name a line that says which file or directory gets it. Reading ends where a line is torn or damaged:
what comes after it was never promised.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby, product
from typing import Any

import google_crc32c
import numpy as np

from chunkarr import fsio
from chunkarr.grid import Grid, Region, region_size, whole

__all__ = ["Coverage", "LogFile", "Record", "read_log"]

LIMIT = 64 << 20  # bytes of a log that are read: lines for millions of boxes


class Coverage:
    """Which boxes of a grid are written.

    >>> covered = Coverage(Grid((4, 6), (2, 2)))
    >>> covered.add(0)
    >>> covered.missing(((0, 2), (0, 6))), covered.missing(((0, 2), (0, 2)))
    ([((0, 2), (2, 6))], [])
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self._done = np.zeros(grid.counts, bool)

    def add(self, number: int) -> None:
        """Note that box ``number``, counted in C order, is written."""
        self._done.reshape(-1)[number] = True

    def remove(self, number: int) -> None:
        """Note that box ``number`` is not written."""
        self._done.reshape(-1)[number] = False

    def numbers(self) -> list[int]:
        """Return the numbers of the boxes that are written."""
        return [int(n) for n in np.flatnonzero(self._done)]

    def region(self, number: int) -> Region:
        """Return the region of box ``number``."""
        return self.grid.region([int(i) for i in np.unravel_index(number, self.grid.counts)])

    def number(self, box: Region) -> int:
        """Return the number of the box that is ``box``."""
        index = tuple(self.grid.locate(axis, a) for axis, (a, _) in enumerate(box))
        return int(np.ravel_multi_index(index, self.grid.counts)) if index else 0

    def missing(self, region: Region) -> list[Region]:
        """Return the parts of ``region`` that no written box covers, neighbours along the last axis as one."""
        spans = self.grid.span(region)
        window = self._done[tuple(slice(a, b) for a, b in spans)]
        if not window.any():
            return [region]
        if window.all():
            return []
        parts = []
        for lead in product(*(range(n) for n in window.shape[:-1])):
            at = 0
            for written, run in groupby(window[lead]):
                start, at = at, at + len(list(run))
                if not written:
                    places = [*((i, i + 1) for i in lead), (start, at)]
                    parts.append(self._cut(region, spans, places))
        return parts

    def _cut(self, region: Region, spans: Sequence[tuple[int, int]], places: Sequence[tuple[int, int]]) -> Region:
        """Return the part of ``region`` in the boxes at ``places``, counted from the first that it touches."""
        grid = self.grid
        return tuple(
            (max(a, grid.bounds(axis, first + i)[0]), min(b, grid.bounds(axis, first + j - 1)[1]))
            for axis, ((a, b), (first, _), (i, j)) in enumerate(zip(region, spans, places, strict=True))
        )


@dataclass
class Record:
    """What a log says."""

    head: dict[str, Any]  # of what the array is made
    levels: list[Coverage]  # what was done, in one grid after another
    marks: list[dict[int, int]]  # per level, of each box that was done
    published: tuple[int, int] | None = None  # device and inode of what was about to get the array's name
    length: int = 0  # bytes that are whole

    def hear(self, entry: dict[str, Any]) -> None:
        """Take what a line after the first says."""
        if "steps" in entry:
            self.levels.append(Coverage(Grid(tuple(entry["shape"]), tuple(entry["steps"]))))
            self.marks.append({})
        elif "inode" in entry:
            self.published = (entry["device"], entry["inode"])
        else:
            for number, mark in zip(entry["boxes"], entry["marks"], strict=True):
                self.levels[-1].add(number)
                self.marks[-1][number] = mark

    def keep_intact(self, marks: Sequence[dict[int, int]]) -> None:
        """Forget the boxes whose mark is not the one that was logged."""
        for level, logged, found in zip(self.levels, self.marks, marks, strict=True):
            for number, mark in logged.items():
                if found.get(number) != mark:
                    level.remove(number)

    @property
    def elements(self) -> int:
        """Elements that were written; those in boxes of several grids count once."""
        return count_done(self.levels)


def count_done(levels: Sequence[Coverage]) -> int:
    """Return how many elements the levels cover together."""
    if not levels:
        return 0
    todo = [whole(levels[0].grid.shape)]
    for level in levels:
        todo = [part for region in todo for part in level.missing(region)]
    size = region_size(whole(levels[0].grid.shape))
    return size - sum(region_size(region) for region in todo)


def read_log(path: str) -> Record | None:
    """Return what the log at ``path`` says, None if it is not there or not a log."""
    try:
        fd = fsio.open_read(path, follow=False)
    except OSError:
        return None
    try:
        raw = bytearray(min(os.fstat(fd).st_size, LIMIT))
        fsio.read_into(fd, raw, 0, path)
    finally:
        os.close(fd)
    record: Record | None = None
    for line in bytes(raw).splitlines(keepends=True):
        entry = _unseal(line)
        if entry is None:
            break
        if record is None:
            record = Record(entry, [], [])
        else:
            record.hear(entry)
        record.length += len(line)
    return record


def _seal(entry: dict[str, Any]) -> bytes:
    text = json.dumps(entry, separators=(",", ":"), allow_nan=False).encode()
    return b"%08x %b\n" % (google_crc32c.value(text), text)


def _unseal(line: bytes) -> dict[str, Any] | None:
    """Return the object of a line, None if the line is torn or damaged."""
    text = line[9:-1]
    if not line.endswith(b"\n") or line[:9] != b"%08x " % google_crc32c.value(text):
        return None
    entry: dict[str, Any] = json.loads(text)
    return entry


@dataclass
class LogFile:
    """A log that is being written; a line is on the disk when the call returns, if ``durable``."""

    path: str
    durable: bool
    length: int = 0  # bytes that are whole
    _fd: int = field(default=-1, init=False, repr=False)

    def append(self, *entries: dict[str, Any]) -> None:
        """Write lines; the first call makes the file, or cuts off what a killed writer tore."""
        if self._fd < 0:
            self._fd = self._open()
        raw = b"".join(_seal(entry) for entry in entries)
        fsio.write_at(self._fd, raw, self.length, self.path)
        if self.durable:
            fsio.sync_file(self._fd)
        self.length += len(raw)

    def _open(self) -> int:
        if not self.length:
            fd = fsio.open_new(self.path)
            if self.durable:
                fsio.sync_dir(os.path.dirname(self.path))
            return fd
        fd = fsio.open_write(self.path)
        fsio.calls.truncate(fd, self.length)
        return fd

    @property
    def there(self) -> bool:
        """Say whether something was written, now or by the run before."""
        return self.length > 0

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def remove(self) -> None:
        """Remove the file; never raises."""
        made = self._fd >= 0 or self.there
        self.close()
        if made:
            fsio.discard(self.path)
