"""New npz files: members stored or deflated, box by box, several arrays in one file that appears whole.

A deflated member is a row of pieces, each made by the task that wrote a box and ended at a byte (a full
flush), with an empty last one behind: together one ordinary deflate stream. The CRC-32 of the member comes
from those of its boxes (see `combine`), so nothing is read again.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from functools import reduce
from math import prod
from typing import Any, NoReturn

import numpy as np

from chunkarr import fsio
from chunkarr.errors import GridError, MissingChunkError, OptionError, UnsafeInputError, UnsupportedError
from chunkarr.formats import journal
from chunkarr.formats.contract import Target
from chunkarr.formats.flat import Order, check_block, check_order, check_shape
from chunkarr.formats.npy import header_bytes
from chunkarr.formats.ordered import Sequencer, ordered_grid
from chunkarr.formats.runs import Descriptor
from chunkarr.formats.zip_members import DEFLATED, STORED
from chunkarr.grid import Region, Shape, region_key, region_shape, region_size

__all__ = ["NpzFile", "NpzTarget", "combine", "create"]

Array = np.ndarray[Any, Any]

ALIGN = 64  # bytes: where the values of a stored member begin, so that maps of them are aligned
PADDING = 0xD935  # the extra field that other writers pad with, too
LEVEL = 6  # of deflate; as numpy.savez_compressed
LAST = b"\3\0"  # an empty block that ends a deflate stream
DATE = 0x0021  # 1980-01-01, as numpy.savez, so that equal arrays make equal files
CODECS = ("none", *(f"deflate:{level}" for level in range(1, 10)))

_POLYNOMIAL = 0xEDB88320  # of CRC-32


def _times(matrix: list[int], vector: int) -> int:
    """Multiply over GF(2); a matrix is its 32 columns."""
    total = 0
    for column in matrix:
        if vector & 1:
            total ^= column
        vector >>= 1
    return total


def _squares() -> list[list[int]]:
    """Return what 1, 2, 4, 8, ... zero bytes do to a CRC."""
    matrix = [_POLYNOMIAL, *(1 << k for k in range(31))]  # one zero bit
    powers = []
    for k in range(66):
        matrix = [_times(matrix, column) for column in matrix]
        if k >= 2:
            powers.append(matrix)
    return powers


_ZEROS: list[list[list[int]]] = []


def combine(one: int, two: int, length: int) -> int:
    """Return the CRC-32 of bytes of which the first part has ``one``, and the ``length`` that follow have ``two``.

    Source: crc32_combine of zlib 1.2.11.

    >>> combine(zlib.crc32(b"chunk"), zlib.crc32(b"arr"), 3) == zlib.crc32(b"chunkarr")
    True
    """
    if not _ZEROS:
        _ZEROS.append(_squares())
    powers = _ZEROS[0]
    for k in range(length.bit_length()):
        if length >> k & 1:
            one = _times(powers[k], one)
    return one ^ two


@dataclass(frozen=True, slots=True)
class _Entry:
    """What the directory says of a member."""

    name: bytes
    method: int
    check: int
    packed: int  # bytes
    size: int  # bytes
    place: int  # of its local header

    def local(self, padding: bytes) -> bytes:
        """Return the local header: always with the zip64 field, so that its length does not depend on sizes."""
        extra = struct.pack("<2H2Q", 1, 16, self.size, self.packed) + padding
        return (
            struct.pack(
                "<4s5H3L2H", b"PK\3\4", 45, _flags(self.name), self.method, 0, DATE, self.check,
                0xFFFFFFFF, 0xFFFFFFFF, len(self.name), len(extra),
            )
            + self.name
            + extra
        )  # fmt: skip

    def listed(self) -> bytes:
        """Return the directory's entry."""
        values = (self.size, self.packed, self.place)
        long = [value for value in values if value >= 0xFFFFFFFF]
        size, packed, place = (min(value, 0xFFFFFFFF) for value in values)
        extra = struct.pack(f"<2H{len(long)}Q", 1, 8 * len(long), *long) if long else b""
        return (
            struct.pack(
                "<4s6H3L5H2L", b"PK\1\2", 3 << 8 | 45, 45, _flags(self.name), self.method, 0, DATE, self.check,
                packed, size, len(self.name), len(extra), 0, 0, 0, 0o600 << 16, place,
            )
            + self.name
            + extra
        )  # fmt: skip


def _flags(name: bytes) -> int:
    return 0 if name.isascii() else 0x800  # the name is UTF-8


def _end(count: int, length: int, start: int) -> bytes:
    """Return what comes after the directory."""
    record = b""
    if count >= 0xFFFF or length >= 0xFFFFFFFF or start >= 0xFFFFFFFF:
        record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, length, start)
        record += struct.pack("<4sLQL", b"PK\6\7", 0, start + length, 1)
    short, long = min(count, 0xFFFF), [min(n, 0xFFFFFFFF) for n in (length, start)]
    return record + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, short, short, *long, 0)


class NpzFile:
    """A new npz file, written member after member as a hidden sibling.

    Parameters
    ----------
    path
        The file to be.
    overwrite, durability
        As in `journal.publish`.
    """

    def __init__(self, path: str, *, overwrite: bool, durability: fsio.Durability) -> None:
        self.path, self._overwrite, self._durability = path, overwrite, durability
        self.end = 0  # bytes written
        self._entries: list[_Entry] = []
        fsio.refuse_existing(path, overwrite)
        fsio.sweep(path)
        self._part, lock = fsio.new_part(path)
        self.file = Descriptor(self._part, writable=True)
        self._owned = fsio.Owned(self, self._part, lock)

    def member(
        self, name: str, shape: Shape, dtype: np.dtype[Any], *, order: Order = "C", level: int = 0, alone: bool = False
    ) -> NpzTarget:
        """Return a target for the next array; it is to be committed before the one after it is begun.

        ``level`` is that of deflate, 0 to store. With ``alone`` its commit is that of the file.
        """
        return NpzTarget(self, _file_name(self.path, name), shape, dtype, order=order, level=level, alone=alone)

    def add(self, entry: _Entry, end: int) -> None:
        """Take in a member that ends at byte ``end``."""
        if any(entry.name == old.name for old in self._entries):
            raise OptionError(f"{self.path}: two arrays are called {entry.name.decode()!r}")
        self._entries.append(entry)
        self.end = end

    def commit(self) -> None:
        """Write the directory, and make the file appear under its name."""
        if not self._owned.alive:
            raise RuntimeError(f"{self.path}: a target is committed or aborted once")
        directory = b"".join(entry.listed() for entry in self._entries)
        self.file.write_at(directory + _end(len(self._entries), len(directory), self.end), self.end)
        if self._durability == "full":
            fsio.sync_file(self.file.get())
        self.file.close()
        journal.publish(self._part, self.path, self._overwrite, self._durability)
        self._owned.remove()

    def abort(self) -> None:
        """Remove the unfinished file; never raises."""
        self.file.close()
        self._owned.remove()


def _file_name(path: str, name: str) -> bytes:
    raw = f"{name}.npy".encode()
    if len(raw) > 0xFFFF or "\0" in name or name.startswith("/") or ".." in name.replace("\\", "/").split("/"):
        raise OptionError(f"{path}: {name[:80]!r} cannot be the name of a member")
    return raw


class NpzTarget(Target):
    """An array being written into a new npz file."""

    distributable = False

    def __init__(
        self,
        owner: NpzFile,
        name: bytes,
        shape: Shape,
        dtype: np.dtype[Any],
        *,
        order: Order,
        level: int,
        alone: bool,
    ) -> None:
        self.shape, self.dtype, self.order = shape, dtype, order
        self.path, self.grid = owner.path, ordered_grid(shape, dtype.itemsize, order)
        self._owner, self._level, self._alone, self._blank, self._ended = owner, level, alone, False, False
        header = header_bytes(shape, dtype, order)
        self._header_check, self._size = zlib.crc32(header), len(header) + prod(shape) * dtype.itemsize
        first = _deflate(header, level) if level else header
        self._entry = _Entry(name, DEFLATED if level else STORED, 0, 0, self._size, owner.end)
        self._padding = b"" if level else _padding(owner.end + len(self._entry.local(b"")) + len(first))
        self._begin = owner.end + len(self._entry.local(self._padding))
        owner.file.write_at(first, self._begin)
        self._values = self._begin + len(first)
        self._boxes = Sequencer(owner.file, self._values, owner.path)
        self._stored: dict[int, tuple[int, int]] = {}  # of boxes that were written: CRC-32, bytes

    def __reduce__(self) -> NoReturn:
        raise UnsupportedError(f"{self.path}: an npz file is written by the process that created it only; use threads")

    def write(self, region: Region, block: Array, scratch: Array) -> None:
        """Write ``block`` at ``region``; see `Target.write`."""
        del scratch
        check_block(region, block, self.dtype)
        if not block.size:
            return
        if self.grid.round_out(region) != region:
            raise GridError(f"{self.path}: region {region} is not made of whole boxes of {self.grid.steps}")
        for index in self.grid.touching(region):
            box = self.grid.region(index)
            part = block[region_key(box, region)]
            raw = fsio.bytes_of(np.ascontiguousarray(part.T if self.order == "F" else part))
            check = zlib.crc32(raw), region_size(box) * self.dtype.itemsize
            number = self._number(index)
            if self._level:
                self._boxes.put(number, _deflate(raw, self._level), check)
            else:  # where it lies is known
                self._owner.file.write_at(raw, self._values + self._offset(box))
                self._stored[number] = check

    def _offset(self, box: Region) -> int:
        """Return the bytes of the elements before ``box``, in the file's order."""
        place = 0
        for (first, _), n in zip(
            *((box[::-1], self.shape[::-1]) if self.order == "F" else (box, self.shape)), strict=True
        ):
            place = place * n + first
        return place * self.dtype.itemsize

    def _number(self, index: tuple[int, ...]) -> int:
        """Return which box in the file's order is at ``index`` of the grid."""
        pairs = list(zip(index, self.grid.counts, strict=True))
        number = 0
        for i, count in pairs[::-1] if self.order == "F" else pairs:
            number = number * count + i
        return number

    def scratch_bytes(self, region: Region) -> int:
        """Return the bytes of a box, copied and encoded; see `Target.scratch_bytes`."""
        del region
        box = prod(self.grid.steps) * self.dtype.itemsize
        return 2 * box + box // 1000 + (1 << 19)  # the decoder's and the spool's own

    def blank(self) -> None:
        """Let boxes that were not written hold zeros; see `Target.blank`."""
        self._blank = True

    def commit(self) -> None:
        """Complete the member; if it is alone, the file appears under its name."""
        if self._ended:
            raise RuntimeError(f"{self.path}: a target is committed or aborted once")
        if self._blank:
            for index in self.grid.touching(tuple((0, n) for n in self.shape)):
                if self._number(index) not in self._boxes.parts and self._number(index) not in self._stored:
                    box = self.grid.region(index)
                    self.write(box, np.zeros(region_shape(box), self.dtype), np.empty(0, np.uint8))
        count = self.grid.size if prod(self.shape) else 0
        if self._level:
            sums, end = [part.note for part in self._boxes.in_order(count)], self._boxes.end
        elif len(self._stored) < count:
            raise MissingChunkError(f"{self.path}: {count - len(self._stored)} of {count} boxes were not written")
        else:
            sums, end = [self._stored[number] for number in range(count)], self._begin + self._size
        check = reduce(lambda so_far, box: combine(so_far, *box), sums, self._header_check)
        if self._level:
            self._owner.file.write_at(LAST, end)
            end += len(LAST)
        entry = _Entry(
            self._entry.name, self._entry.method, check, end - self._begin, self._size, self._entry.place
        )  # fmt: skip
        self._owner.file.write_at(entry.local(self._padding), entry.place)
        self._owner.add(entry, end)
        self._boxes.close()
        self._ended = True
        if self._alone:
            self._owner.commit()

    def abort(self) -> None:
        """Remove the unfinished file; never raises."""
        self._ended = True
        self._boxes.close()
        self._owner.abort()


def _deflate(raw: Any, level: int) -> bytes:
    """Return a piece of a deflate stream that needs nothing before it, and ends at a byte."""
    stream = zlib.compressobj(level, zlib.DEFLATED, -15)
    return stream.compress(raw) + stream.flush(zlib.Z_FULL_FLUSH)


def _padding(begin: int) -> bytes:
    """Return an extra field after which values that would begin at ``begin`` begin at a multiple of `ALIGN`."""
    if begin % ALIGN == 0:
        return b""
    length = 4 + -(begin + 4) % ALIGN
    return struct.pack("<2H", PADDING, length - 4) + bytes(length - 4)


def create(
    path: str,
    shape: Shape,
    dtype: Any,
    *,
    member: str = "arr_0",
    codec: str = "none",
    order: str = "C",
    overwrite: bool = False,
    durability: fsio.Durability = "full",
) -> NpzTarget:
    """Create an npz file of one array; it appears on ``commit``.

    Parameters
    ----------
    path, shape, dtype
        The file and what it will hold.
    member
        The array's name.
    codec
        "none" as `numpy.savez`, or "deflate", "deflate:1" to "deflate:9", as `numpy.savez_compressed`.
    order
        "C" or "F": whether the last or the first axis varies fastest.
    overwrite
        Whether a file of that name may be replaced, all its arrays with it.
    durability
        "full": on the disk when ``commit`` returns; "process": safe against kill, not power loss.

    Raises
    ------
    TargetExistsError
        If the file exists and ``overwrite`` is False.
    UnsupportedError
        If an npy header cannot say what ``dtype`` is.
    """
    path = os.fspath(path)
    kind = np.dtype(dtype)
    if kind.hasobject:
        raise UnsafeInputError(f"{path}: dtype {kind} holds Python objects; chunkarr never pickles")
    whole, level = check_shape(path, shape, kind, OptionError), level_of(codec)
    file = NpzFile(path, overwrite=overwrite, durability=durability)
    try:
        return file.member(member, whole, kind, order=check_order(order), level=level, alone=True)
    except BaseException:
        file.abort()
        raise


def level_of(codec: str) -> int:
    """Return the level of deflate that ``codec`` names, 0 to store."""
    if codec == "deflate":
        return LEVEL
    if codec not in CODECS:
        raise OptionError(f'codec is "none", "deflate" or "deflate:1" to "deflate:9", not {codec!r}')
    return 0 if codec == "none" else int(codec[-1])
