"""What makes a file of changed pages a change that can be done again: its index, sealed at its end.

A row per run of pages (first page, pages, crc32c), a row for each of some pages that are not changed,
by which the file is told from another one of its size; before them a header, after them the crc32c of
all this, its length, and a mark.
"""

from __future__ import annotations

import os
import struct
import time
from dataclasses import dataclass
from typing import Any

import google_crc32c
import numpy as np

from chunkarr import fsio
from chunkarr.errors import CorruptChunkError, ForeignChangeError
from chunkarr.formats.patch import Patch, marked_runs
from chunkarr.fsio import calls

__all__ = ["PIECE", "Redo", "stamp"]

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Rows = np.ndarray[Any, Any]

MARK = b"chunkarr journal"
HEADER = struct.Struct("<IIQQQQQ")  # version, page, old size, new size, old mtime_ns, runs, witnesses
FOOT = struct.Struct("<IQ16s")  # crc32c of the index, its length, MARK
ROW = np.dtype([("page", "<u8"), ("count", "<u4"), ("crc", "<u4")])
VERSION = 1
PIECE = 1 << 20  # bytes copied at once; the most that one checksum covers, but for a larger page
WITNESSES = 8  # unchanged pages whose checksums are kept
INDEX_LIMIT = 1 << 28  # bytes


@dataclass(frozen=True)
class Redo:
    """A change of some pages of a file, and of its size."""

    page: int  # bytes of a page
    old: int  # bytes of the file before the change
    size: int  # bytes after it
    modified: int  # mtime_ns before it
    rows: Rows  # runs of changed pages, of ROW
    witnesses: Rows  # pages that stay, of ROW

    @classmethod
    def of(cls, patch: Patch, target: int, file: str, modified: int) -> Redo:
        """Return the change of ``file``, whose descriptor is ``target``, that ``patch`` holds."""
        room = np.empty(max(PIECE, patch.page), np.uint8)
        old = os.fstat(target).st_size
        rows = _rows(patch.marks, room.nbytes // patch.page)
        _sum(rows, patch.fd, patch.path, patch.page, patch.size, room)
        witnesses = _witnesses(patch.marks[: min(old, patch.size) // patch.page])
        _sum(witnesses, target, file, patch.page, old, room)
        return cls(patch.page, old, patch.size, modified, rows, witnesses)

    def seal(self, fd: int, path: str) -> None:
        """Append the index to the changed pages."""
        runs, kept = self.rows.size, self.witnesses.size
        head = HEADER.pack(VERSION, self.page, self.old, self.size, self.modified, runs, kept)
        index = head + self.rows.tobytes() + self.witnesses.tobytes()
        index += FOOT.pack(google_crc32c.value(index), len(index), MARK)
        fsio.write_at(fd, index, -(-self.size // self.page) * self.page, path)

    @classmethod
    def load(cls, fd: int, name: str) -> Redo:
        """Read the index of the file ``name``, whose descriptor is ``fd``, and check every page against it.

        Raises
        ------
        CorruptChunkError
            If index or pages are not as they were sealed.
        """
        end = os.fstat(fd).st_size - FOOT.size
        if end >= 0:
            foot = bytearray(FOOT.size)
            fsio.read_into(fd, foot, end, name)
            crc, length, mark = FOOT.unpack(foot)
            if mark == MARK and HEADER.size <= length <= min(end, INDEX_LIMIT):
                index = bytearray(length)
                fsio.read_into(fd, index, end - length, name)
                version, page, old, size, modified, runs, kept = HEADER.unpack_from(index)
                if google_crc32c.value(bytes(index)) == crc and version == VERSION:
                    rows = np.frombuffer(index, ROW, runs + kept, HEADER.size)
                    redo = cls(page, old, size, modified, rows[:runs], rows[runs:])
                    redo._check_pages(fd, name)
                    return redo
        raise _damaged(name, "its seal is not that of a committed change")

    def _check_pages(self, fd: int, name: str) -> None:
        found = self.rows.copy()
        _sum(found, fd, name, self.page, self.size, np.empty(max(PIECE, self.page), np.uint8))
        wrong = np.flatnonzero(found["crc"] != self.rows["crc"])
        if wrong.size:
            start = int(self.rows["page"][wrong[0]]) * self.page
            raise _damaged(name, f"bytes from {start} on do not match their crc32c")

    def check_file(self, target: int, file: str, name: str) -> None:
        """Raise ForeignChangeError if ``file`` is not the one that the change ``name`` was made for."""
        size = os.fstat(target).st_size
        same = min(self.old, self.size) <= size <= max(self.old, self.size)
        if same:
            found = self.witnesses.copy()
            _sum(found, target, file, self.page, size, np.empty(max(PIECE, self.page), np.uint8))
            same = bool((found == self.witnesses).all())
        if not same:
            raise ForeignChangeError(
                f"{file}: was changed by another writer after the change in {name} was committed; "
                "remove that file to keep the array as it is now"
            )

    def apply(self, fd: int, target: int, file: str) -> None:
        """Copy the pages from ``fd`` into ``file``, and give it its size and a later time. Can be done again."""
        room = np.empty(max(PIECE, self.page), np.uint8)
        for row in self.rows:
            fsio.write_at(target, _piece(row, fd, file, self.page, self.size, room), int(row["page"]) * self.page, file)
        if os.fstat(target).st_size != self.size:
            calls.truncate(target, self.size)
        stamp(file, self.modified)


def stamp(file: str, before: int) -> None:
    """Set the time of ``file`` to later than ``before``, whatever the clock says and the file system rounds to."""
    for step in (1, 1_000, 1_000_000, 2_000_000_000):
        calls.utime(file, max(time.time_ns(), before + step))
        if os.stat(file).st_mtime_ns > before:
            return


def _rows(marks: np.ndarray[Any, np.dtype[np.bool_]], most: int) -> Rows:
    """Return the runs of changed pages, none longer than ``most`` pages."""
    runs = marked_runs(marks)
    pieces = -(-(runs[:, 1] - runs[:, 0]) // most)
    first = np.repeat(np.cumsum(pieces) - pieces, pieces)
    rows = np.zeros(int(pieces.sum()), ROW)
    starts = np.repeat(runs[:, 0], pieces) + (np.arange(rows.size) - first) * most
    rows["page"], rows["count"] = starts, np.minimum(np.repeat(runs[:, 1], pieces) - starts, most)
    return rows


def _witnesses(marks: np.ndarray[Any, np.dtype[np.bool_]]) -> Rows:
    """Choose some pages, spread over all, that are not changed."""
    pages = np.unique(np.linspace(0, max(0, marks.size - 1), 8 * WITNESSES).astype(np.int64))[: marks.size]
    pages = pages[~marks[pages]]
    rows = np.zeros(min(pages.size, WITNESSES), ROW)
    rows["page"], rows["count"] = pages[np.linspace(0, max(0, pages.size - 1), rows.size).astype(np.int64)], 1
    return rows


def _sum(rows: Rows, fd: int, path: str, page: int, size: int, room: Bytes) -> None:
    """Enter the checksums of what lies in a file of ``size`` bytes."""
    for row in rows:
        row["crc"] = google_crc32c.value(_piece(row, fd, path, page, size, room))


def _piece(row: Any, fd: int, path: str, page: int, size: int, room: Bytes) -> Bytes:
    """Return the bytes of a row, read into ``room``."""
    start = int(row["page"]) * page
    piece = room[: min(int(row["count"]) * page, size - start)]
    fsio.read_into(fd, piece, start, path)
    return piece


def _damaged(name: str, why: str) -> CorruptChunkError:
    return CorruptChunkError(f"{name}: {why}; remove it to keep the array as it is now")
