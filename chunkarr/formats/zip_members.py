"""What a zip file holds and where, read by a parser that believes nothing.

A zip file ends with a directory: of each member its name, its sizes, its CRC-32, and where it begins. There
a local header says the name again; the member's bytes follow it. Everything is checked against the file's
size and against what else is in it; names are never used as paths.
Source: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, sections 4.3 to 4.5
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from chunkarr import fsio
from chunkarr.errors import FormatError, UnsafeInputError, UnsupportedError

__all__ = ["DEFLATED", "STORED", "ZipMember", "data_offset", "read_directory"]

STORED, DEFLATED = 0, 8
DIRECTORY_LIMIT = 64 << 20  # bytes: some 600,000 members
RATIO = 1032  # deflate makes at most so many bytes of one

_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_METHODS = {1: "shrink", 6: "implode", 9: "deflate64", 12: "bzip2", 14: "lzma", 93: "zstd", 95: "xz", 99: "AES"}


@dataclass(frozen=True, slots=True)
class ZipMember:
    """A file within a zip file, as its directory describes it."""

    name: str
    raw_name: bytes
    method: int
    check: int  # CRC-32 of its bytes
    packed: int  # bytes in the zip file
    size: int  # bytes
    place: int  # of its local header
    limit: int  # where the next member, or the directory, begins
    refused: str  # why it cannot be read; "" where it can


def read_directory(path: str, size: int) -> list[ZipMember]:
    """List the members of a zip file of ``size`` bytes.

    Raises
    ------
    FormatError
        If it is not a whole zip file, or has two members of a name, or some that share bytes.
    UnsafeInputError
        If a member's name leads outside a directory.
    """
    fd = fsio.open_read(path)
    try:
        count, length, start, moved = _find_end(fd, path, size)
        raw = _bytes(fd, path, start, length)
    finally:
        os.close(fd)
    if length < count * _ENTRY.size:
        raise FormatError(f"{path}: zip directory of {length} B cannot describe {count} members")
    members = list(_entries(path, raw, count, start, moved))
    names: set[str] = set()
    for member in members:
        if member.name in names:
            raise FormatError(f"{path}: has two members of the name {member.name!r}")
        names.add(member.name)
    return _limited(path, members, start)


def _find_end(fd: int, path: str, size: int) -> tuple[int, int, int, int]:
    """Return how many members there are, the directory's bytes and place, and the bytes put before the zip file."""
    first = max(0, size - _END.size)
    tail = _bytes(fd, path, first, size - first)
    if tail[:4] != b"PK\5\6" or tail[-2:] != b"\0\0":  # there is a comment, or something else behind it
        first = max(0, size - _END.size - 0xFFFF)
        tail = _bytes(fd, path, first, size - first)
    at = tail.rfind(b"PK\5\6")
    while at >= 0 and at + _END.size + int.from_bytes(tail[at + 20 : at + 22], "little") != len(tail):
        at = tail.rfind(b"PK\5\6", 0, at)  # part of the comment
    if at < 0:
        raise FormatError(f"{path}: not a whole zip file: no directory at its end")
    _, disk, start_disk, here, count, length, start, _ = _END.unpack_from(tail, at)
    end = first + at
    place = end - _LOCATOR.size
    if 0xFFFF in (here, count) or 0xFFFFFFFF in (length, start):
        locator = _LOCATOR.unpack(_bytes(fd, path, place, _LOCATOR.size)) if place >= 0 else (b"",)
        if locator[0] == b"PK\6\7":
            end = place - _END64.size
            if end < 0:
                raise FormatError(f"{path}: zip directory begins before the file")
            found = _END64.unpack(_bytes(fd, path, end, _END64.size))
            if found[0] != b"PK\6\6":
                raise FormatError(f"{path}: zip64 end of the directory is not at byte {end}")
            disk, start_disk, here, count, length, start = found[4:]
    if disk or start_disk or here != count:
        raise UnsupportedError(f"{path}: zip file of several volumes")
    moved = end - length - start
    if moved < 0 or length > DIRECTORY_LIMIT:
        raise FormatError(f"{path}: zip directory of {length} B at byte {start}, the file has {end} B before its end")
    return count, length, start + moved, moved


def _bytes(fd: int, path: str, offset: int, length: int) -> bytes:
    raw = bytearray(length)
    fsio.read_into(fd, raw, offset, path)
    return bytes(raw)


def _entries(path: str, raw: bytes, count: int, start: int, moved: int) -> Iterator[ZipMember]:
    """Yield what the directory says of each member, checked by itself."""
    at = 0
    for number in range(count):
        if at + _ENTRY.size > len(raw) or raw[at : at + 4] != b"PK\1\2":
            raise FormatError(f"{path}: zip directory has {count} members, the one after {number} is damaged")
        entry = _ENTRY.unpack_from(raw, at)
        flags, method, check, packed, size = entry[3], entry[4], *entry[7:10]
        n_name, n_extra, n_comment, place = *entry[10:13], entry[16]
        after = at + _ENTRY.size + n_name + n_extra + n_comment
        if after > len(raw):
            raise FormatError(f"{path}: zip directory ends within member {number}")
        raw_name = raw[at + _ENTRY.size : at + _ENTRY.size + n_name]
        name = _name(path, raw_name, flags)
        extra = raw[at + _ENTRY.size + n_name : at + _ENTRY.size + n_name + n_extra]
        size, packed, place = _long(path, name, extra, (size, packed, place))
        place += moved
        if place + _LOCAL.size + n_name + packed > start:
            raise FormatError(f"{path}::{name}: {packed} B at byte {place} reach into the directory at byte {start}")
        yield ZipMember(
            name, raw_name, method, check, packed, size, place, start, _refusal(flags, method, packed, size)
        )
        at = after


def _name(path: str, raw: bytes, flags: int) -> str:
    try:
        name = raw.decode("utf-8" if flags & 0x800 else "cp437")
    except UnicodeDecodeError:
        raise FormatError(f"{path}: member name {raw[:80]!r} is not UTF-8") from None
    if "\0" in name or name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/"):
        raise UnsafeInputError(f"{path}: member name {name[:80]!r} leads outside")
    return name


def _long(path: str, name: str, extra: bytes, short: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return sizes and place, from the zip64 field where they are too large for their own."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1 and at + 4 + length <= len(extra):
            missing = sum(value == 0xFFFFFFFF for value in short)
            if length < 8 * missing:
                raise FormatError(f"{path}::{name}: zip64 field of {length} B, {8 * missing} B are needed")
            values = iter(struct.unpack_from(f"<{missing}Q", extra, at + 4))
            size, packed, place = (next(values) if value == 0xFFFFFFFF else value for value in short)
            return size, packed, place
        at += 4 + length
    return short


def _refusal(flags: int, method: int, packed: int, size: int) -> str:
    """Return why a member cannot be read; "" where it can."""
    if flags & 0x41:
        return "is encrypted"
    if flags & 0x20:
        return "is a patch"
    if method == STORED and packed != size:
        return f"is stored in {packed} B, but {size} B are declared"
    if method == DEFLATED and size > RATIO * packed:
        return f"is declared to inflate from {packed} B to {size} B; deflate makes at most {RATIO} of 1"
    if method not in (STORED, DEFLATED):
        return f"is compressed by method {method} ({_METHODS.get(method, 'unknown')}); known are stored and deflate"
    return ""


def _limited(path: str, members: list[ZipMember], start: int) -> list[ZipMember]:
    """Give each member its limit; refuse members that share bytes, with which a small file can hold endless ones."""
    ends: dict[int, int] = {}
    limit = start
    for member in sorted(members, key=lambda member: member.place, reverse=True):
        if member.place in ends or member.place + _LOCAL.size + len(member.raw_name) + member.packed > limit:
            raise FormatError(f"{path}::{member.name}: shares bytes with the next member")
        ends[member.place] = limit
        limit = member.place
    return [
        ZipMember(
            m.name, m.raw_name, m.method, m.check, m.packed, m.size, m.place, ends[m.place], m.refused
        )
        for m in members
    ]  # fmt: skip


def data_offset(fd: int, path: str, member: ZipMember) -> int:
    """Return where the member's bytes begin, checking its local header.

    Raises
    ------
    FormatError
        If it is encrypted, or its local header is another one's.
    UnsupportedError
        If it is compressed by another method than deflate.
    """
    if member.refused:
        beyond = member.method not in (STORED, DEFLATED) and "encrypted" not in member.refused
        raise (UnsupportedError if beyond else FormatError)(f"{path}::{member.name}: {member.refused}")
    local = _LOCAL.unpack(_bytes(fd, path, member.place, _LOCAL.size))
    n_name, n_extra = int(local[9]), int(local[10])
    begin = member.place + _LOCAL.size + n_name + n_extra
    if local[0] != b"PK\3\4" or begin + member.packed > member.limit:
        raise FormatError(f"{path}::{member.name}: no local header at byte {member.place}, or one that is too long")
    if _bytes(fd, path, member.place + _LOCAL.size, n_name) != member.raw_name or local[3] != member.method:
        raise FormatError(f"{path}::{member.name}: the local header at byte {member.place} is another member's")
    return begin
