"""NumPy's npz files: zip files of npy files. Stored members are read in place, deflated ones from kept decoders.

``numpy.load(..., mmap_mode="r")`` reads npz files whole all the same; here a slice costs its own bytes, or
for a deflated member those since the nearest decoder that was kept (see `inflating`).
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from chunkarr import fsio
from chunkarr.errors import CorruptChunkError, FormatError, UnsupportedError
from chunkarr.formats import journal
from chunkarr.formats.contract import PIECE, Member, Problem, Update, ignore
from chunkarr.formats.file_stored import FileStored, check_access
from chunkarr.formats.flat import Order
from chunkarr.formats.flat_stored import FlatStored
from chunkarr.formats.inflated_stored import InflatedStored
from chunkarr.formats.inflating import Inflated
from chunkarr.formats.npy import read_header
from chunkarr.formats.npz_target import create
from chunkarr.formats.runs import Descriptor
from chunkarr.formats.zip_members import STORED, ZipMember, data_offset, read_directory
from chunkarr.grid import Region, Shape, whole

__all__ = ["create", "members", "open"]

LISTED = 20  # members that an error names
Array = np.ndarray[Any, Any]
Generation = tuple[int, int, int]


def open(path: str, mode: str = "r", *, member: str | None = None) -> FileStored:  # noqa: A001
    """Open an array of an npz file.

    Parameters
    ----------
    path, mode
        The file; ``mode`` is "r": arrays in a zip file cannot be changed in place.
    member
        The array's name, with or without ".npy"; not needed if the file has only one.

    Raises
    ------
    FormatError
        If the file is not a whole zip file, has no such member, or that is not a whole npy file.
    UnsafeInputError
        If the member holds Python objects, or a name in the file leads outside.
    UnsupportedError
        If it is compressed by another method than deflate, or to be changed.

    Examples
    --------
    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = os.path.join(directory, "a.npz")
    ...     np.savez(path, x=np.arange(6), y=np.arange(3.0))
    ...     a, out = open(path, member="x"), np.empty(2, np.int64)
    ...     a.read(((3, 5),), out, np.empty(0, np.uint8))
    >>> a.shape, out
    ((6,), array([3, 4]))
    """
    path = os.fspath(path)
    if check_access(path, mode, None, 0.0).mode == "r+":
        raise UnsupportedError(f"{path}: arrays in an npz file cannot be changed in place; save a changed copy")
    return _open(path, member)


def _open(path: str, member: str | None) -> FileStored:
    def look(generation: Generation) -> FileStored:
        listed = read_directory(path, generation[0])
        return _stored(path, _choose(path, listed, member), generation)

    return journal.read_stable(journal.resolve(path), look)


def members(path: str) -> list[Member]:
    """List the arrays of an npz file, and what else is in it.

    Raises
    ------
    FormatError
        If the file is not a whole zip file.

    Examples
    --------
    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = os.path.join(directory, "a.npz")
    ...     np.savez(path, np.zeros((2, 3), "<u2"))
    ...     members(path)
    [Member(name='arr_0', shape=(2, 3), dtype=dtype('uint16'), note='stored')]
    """
    path = os.fspath(path)

    def look(generation: Generation) -> list[Member]:
        listed = []
        for found in read_directory(path, generation[0]):
            if found.name.endswith("/"):
                continue
            name = found.name.removesuffix(".npy")
            try:
                stored = _stored(path, found, generation)
            except (FormatError, UnsupportedError) as error:
                listed.append(Member(name, None, None, str(error).removeprefix(f"{path}::{name}: ")))
            else:
                note = "stored" if found.method == STORED else f"deflated to {found.packed} B"
                listed.append(Member(name, stored.shape, stored.dtype, note))
        return listed

    return journal.read_stable(journal.resolve(path), look)


def _choose(path: str, listed: list[ZipMember], name: str | None) -> ZipMember:
    """Return the member of that name, as `numpy.load` finds it, or the only one."""
    found = {member.name: member for member in listed}
    if name is not None:
        for known in (name, f"{name}.npy"):
            if known in found:
                return found[known]
    arrays = [n for n in found if n.endswith(".npy")] or [n for n in found if not n.endswith("/")]
    if name is None and len(arrays) == 1:
        return found[arrays[0]]
    names = [n.removesuffix(".npy") for n in arrays]
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    has = f"{', '.join(names[:LISTED])}{more}" if names else "no arrays"
    if name is None:
        raise FormatError(f"{path}: has {len(names)} arrays, choose one as {path}::name; it has {has}")
    raise FormatError(f"{path}: has no member {name!r}; it has {has}")


def _stored(path: str, member: ZipMember, generation: Generation) -> FileStored:
    """Open the array that ``member`` is."""
    name = member.name.removesuffix(".npy")
    label = f"{path}::{name}"
    fd = fsio.open_read(path)
    try:
        place = data_offset(fd, path, member)
    finally:
        os.close(fd)
    if member.method == STORED:
        source = Descriptor(path, writable=False)
        source.get(generation)
        shape, dtype, order, offset = read_header(source, place, member.size, label)
        return _InPlace(path, name, member, shape, dtype, offset, order, place, generation)
    stream = Inflated(
        path, place, member.packed, "raw", member.size, check=member.check, origin=label, generation=generation
    )
    shape, dtype, order, offset = read_header(stream, 0, member.size, label)
    return _Deflated(stream, name, shape, dtype, format="npz", offset=offset, order=order, generation=generation)


class _Deflated(InflatedStored):
    """A deflated member."""

    def reopen(self) -> FileStored:
        """Open the array again, as it is now."""
        return _open(self.path, self.member)


class _InPlace(FlatStored):
    """A stored member."""

    def __init__(
        self,
        path: str,
        name: str,
        member: ZipMember,
        shape: Shape,
        dtype: np.dtype[Any],
        offset: int,
        order: Order,
        place: int,
        generation: Generation,
    ) -> None:
        super().__init__(path, shape, dtype, format="npz", offset=offset, order=order, generation=generation)
        self.member, self._entry, self._place = name, member, place

    def reopen(self) -> FileStored:
        """Open the array again, as it is now."""
        return _open(self.path, self.member)

    def read(self, region: Region, out: Array, scratch: Array) -> None:
        """Fill ``out`` with ``region``; compare the checksum if that is all of the member; see `Stored.read`."""
        super().read(region, out, scratch)
        if region != whole(self.shape):
            return
        flat = out.T if self.order == "F" else out
        if flat.flags.c_contiguous:
            head = bytearray(self.offset - self._place)
            self.source.read_into(head, self._place)
            check = zlib.crc32(flat.reshape(-1).view(np.uint8), zlib.crc32(head))
        elif scratch.nbytes:
            check = self._sum(memoryview(scratch.reshape(-1).view(np.uint8)), ignore)
        else:
            return
        if check != self._entry.check:
            self.check_generation()
            raise CorruptChunkError(
                f"{self.path}::{self.member}: CRC-32 is {check:08x}, {self._entry.check:08x} was written"
            )

    def update(self, shape: Shape | None = None) -> Update:
        """Refuse: the zip file's checksum of the member would not hold any more."""
        del shape
        raise UnsupportedError(f"{self.path}::{self.member}: arrays in a zip file cannot be changed in place")

    def checked_by(self) -> str:
        """Return what tells `problems` that stored bytes changed."""
        return "the CRC-32 of the member"

    def _sum(self, buffer: memoryview, done: Callable[[int], object]) -> int:
        """Return the CRC-32 of the member's bytes, read through ``buffer``."""
        check = 0
        for start in range(0, self._entry.size, max(1, len(buffer))):
            piece = buffer[: self._entry.size - start]
            self.source.read_into(piece, self._place + start)
            check = zlib.crc32(piece, check)
            done(piece.nbytes)
        return check

    def problems(self, share: tuple[int, int] = (0, 1), done: Callable[[int], object] = ignore) -> Iterator[Problem]:
        """Read the member from its beginning to its end and compare the checksum; see `Stored.problems`."""
        which, _ = share
        if which:
            return
        try:
            self.source.get(self.found)
            check = self._sum(memoryview(bytearray(min(PIECE, self._entry.size))), done)
            if check != self._entry.check:
                reason = f"CRC-32 is {check:08x}, {self._entry.check:08x} was written"
                yield Problem(self.path, self.member, self.path, CorruptChunkError.__name__, reason)
        except (CorruptChunkError, OSError) as error:
            yield Problem(self.path, self.member, self.path, type(error).__name__, str(error))
