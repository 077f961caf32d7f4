"""Bytes that come in parts of one length with gaps between them, read as if there were none.

Records with a stride larger than they are, and the records of sequential Fortran files, each between
two markers that hold its length. `Gapped` is a `runs.Source`: what reads blocks of bytes need not know.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from chunkarr import fsio
from chunkarr.errors import CorruptChunkError, FormatError, OptionError
from chunkarr.formats.runs import Descriptor

__all__ = ["Gapped", "Records", "count_of", "find_records"]

Array = np.ndarray[Any, Any]

SMALL = 16 << 10  # bytes of a part up to which the gaps are read too
SPAN = 256 << 10  # bytes read at once then


def count_of(name: str, value: Any, least: int = 0, what: str = "number of bytes") -> int:
    """Return a number that was given as option ``name``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not least <= value < 1 << 63:
        raise OptionError(f"{name} is a {what}, {least} or more, not {value!r}")
    return int(value)


@dataclass(frozen=True)
class Records:
    """Sequential Fortran records of one length: a marker, the bytes, the marker again."""

    start: int  # byte of the first one's bytes
    nbytes: int  # of one
    count: int
    marker: str  # dtype of a marker

    @property
    def period(self) -> int:
        """Bytes from one to the next."""
        return self.nbytes + 2 * np.dtype(self.marker).itemsize


@dataclass(frozen=True)
class Gapped:
    """The bytes of all parts, one after another."""

    file: Descriptor
    start: int  # byte in the file of the first part
    nbytes: int  # of a part
    period: int  # bytes from one part to the next
    marker: str = ""  # dtype of the markers at both ends of a part that hold its length, if there are any

    def get(self, generation: tuple[int, int, int] | None = None) -> int:
        """Return the file's descriptor; see `Descriptor.get`."""
        return self.file.get(generation)

    def read_each(self, views: Iterable[Any], offsets: Iterable[int]) -> None:
        """Fill each of ``views`` from the offset of its own."""
        for view, offset in zip(views, offsets, strict=True):
            self.read_into(view, offset)

    def read_into(self, buffer: Any, offset: int) -> None:
        """Fill ``buffer`` with the bytes from ``offset`` on, gaps not counted."""
        out = np.asarray(fsio.bytes_of(buffer))
        done = 0
        while done < out.nbytes:
            part, within = divmod(offset + done, self.nbytes)
            left = out.nbytes - done
            if within == 0 and left >= self.nbytes and self.nbytes <= SMALL:
                count = min(left // self.nbytes, max(1, SPAN // self.period))
                self._read_parts(out[done : done + count * self.nbytes], part, count)
                done += count * self.nbytes
                continue
            count = min(left, self.nbytes - within)
            self._check_marker(part)
            self.file.read_into(out[done : done + count], self.start + part * self.period + within)
            done += count

    def _read_parts(self, out: Array, part: int, count: int) -> None:
        """Fill ``out`` with whole parts, which are read with the gaps between them."""
        width = np.dtype(self.marker).itemsize if self.marker else 0
        span = np.empty((count - 1) * self.period + self.nbytes + 2 * width, np.uint8)
        self.file.read_into(span, self.start - width + part * self.period)
        for at in (0, width + self.nbytes) if width else ():
            marks = np.ndarray((count,), self.marker, span, at, (self.period,))
            wrong = marks != self.nbytes
            if wrong.any():
                which = int(wrong.argmax())
                self._refuse(part + which, int(marks[which]))
        out.reshape(count, self.nbytes)[...] = np.ndarray((count, self.nbytes), np.uint8, span, width, (self.period, 1))

    def _check_marker(self, part: int) -> None:
        """Raise CorruptChunkError if a marker does not say what the first one says."""
        if not self.marker:
            return
        mark = np.empty(1, self.marker)
        start = self.start + part * self.period
        for place in (start - mark.nbytes, start + self.nbytes):
            self.file.read_into(mark, place)
            if mark[0] != self.nbytes:
                self._refuse(part, int(mark[0]))

    def _refuse(self, part: int, found: int) -> None:
        at = self.start + part * self.period
        raise CorruptChunkError(
            f"{self.file.path}: record {part} at byte {at} has a marker of {found} B, the first has {self.nbytes} B; "
            "records of several lengths are read one at a time, with record="
        )


def find_records(path: str, start: int, stop: int, width: Any, record: Any, *, drop: bool) -> Records:
    """Return the records that lie between two bytes of a sequential Fortran file.

    Parameters
    ----------
    path
        The file.
    start, stop
        The byte of the first marker, and the byte behind the last.
    width
        Bytes of a marker, 4 or 8. Its byte order is the one in which the first record ends with the same marker.
    record
        Which one; None: all, which have one length.
    drop
        Whether what is no whole record at the end is left out.

    Raises
    ------
    FormatError
        If there are no such records.
    """
    if isinstance(width, bool) or width not in (4, 8):
        raise OptionError(f"markers is 4 or 8, the bytes of a Fortran record marker, not {width!r}")
    skipped = 0 if record is None else count_of("record", record, what="record's number")
    fd = fsio.open_read(path)
    try:
        marker, nbytes = _first(fd, path, start, stop, int(width))
        if record is None:
            if not nbytes:
                raise FormatError(f"{path}: the Fortran record at byte {start} is empty; choose another with record=")
            count, rest = divmod(stop - start, nbytes + 2 * width)
            if rest and not drop:
                raise FormatError(
                    f"{path}: {stop - start} B are no whole number of Fortran records of {nbytes} B with two markers "
                    f"of {width} B, as the first is; records of several lengths are read one at a time, with record="
                )
            return Records(start + width, nbytes, count, marker)
        for _ in range(skipped):
            start += nbytes + 2 * width
            nbytes = _length(fd, path, start, stop, marker)
        return Records(start + width, nbytes, 1, marker)
    finally:
        os.close(fd)


def _first(fd: int, path: str, start: int, stop: int, width: int) -> tuple[str, int]:
    """Return the dtype of the markers and the length of the first record."""
    reasons = []
    for order in "<>":
        try:
            marker = f"{order}i{width}"
            return marker, _length(fd, path, start, stop, marker)
        except FormatError as error:
            reasons.append(str(error).removeprefix(f"{path}: "))
    raise FormatError(f"{path}: no Fortran record begins at byte {start}: {'; '.join(reasons)}")


def _length(fd: int, path: str, start: int, stop: int, marker: str) -> int:
    """Return the bytes of the record whose marker is at ``start``."""
    mark = np.zeros(1, marker)
    if start + 2 * mark.nbytes > stop:
        raise FormatError(f"{path}: no marker of {mark.nbytes} B at byte {start}: the records end at byte {stop}")
    fsio.read_into(fd, mark, start, path)
    nbytes = int(mark[0])
    end = start + mark.nbytes + nbytes
    if nbytes < 0 or end + mark.nbytes > stop:
        hint = " (negative: a part of a longer record, which is not read)" if nbytes < 0 else ""
        raise FormatError(f"{path}: marker {marker} at byte {start} says {nbytes} B{hint}, {stop - start} B follow")
    fsio.read_into(fd, mark, end, path)
    if int(mark[0]) != nbytes:
        raise FormatError(
            f"{path}: marker {marker} at byte {start} says {nbytes} B, the one behind them {int(mark[0])} B"
        )
    return nbytes
