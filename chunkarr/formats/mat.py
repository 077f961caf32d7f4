"""MATLAB's files of all versions: 4, 5, 6, 7 (compressed) and 7.3 (HDF5)."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from itertools import islice
from math import prod
from typing import Any

import numpy as np

from chunkarr import fsio
from chunkarr.errors import FormatError, OptionError, UnsafeInputError, UnsupportedError
from chunkarr.formats import journal
from chunkarr.formats.contract import Member, Stored, Target
from chunkarr.formats.file_stored import Access, FileStored, check_access
from chunkarr.formats.flat import check_shape
from chunkarr.formats.flat_stored import FlatStored
from chunkarr.formats.mat4 import Variable4, entries4, find4, variables4
from chunkarr.formats.mat5 import Variable, entries, find, variables
from chunkarr.formats.mat_stored import Layout, MatStored
from chunkarr.formats.mat_tags import Reader, Words
from chunkarr.formats.mat_writer import (
    LIMIT,
    FlatMatTarget,
    OrderedMatTarget,
    axes_of,
    check_kind,
    check_name,
    restored,
)
from chunkarr.formats.runs import Descriptor
from chunkarr.grid import Shape

__all__ = ["create", "members", "open"]

HEADER = 128  # bytes: a text, eight bytes for what is kept beside the variables, the version, the byte order
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
HDF5 = "chunkarr.formats.hdf5_matlab"  # imported where a file is of version 7.3
LISTED = 10_000  # members that are listed
ROOM = 4096  # bytes that may describe a variable
NAMED = 20  # members that an error names
Stamp = tuple[str, tuple[int, int, int]]  # a file and its generation


def members(path: str) -> list[Member]:
    """List what a file holds: name, shape, dtype and a note of each array, at any depth.

    Shape and dtype are None where it is no array that chunkarr reads.

    Raises
    ------
    FormatError
        If it is not a whole MATLAB file.

    Examples
    --------
    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = os.path.join(directory, "a.mat")
    ...     target = create(path, (2, 3), "<f8", member="x")
    ...     target.write(((0, 2), (0, 3)), np.ones((2, 3)), np.empty(0, np.uint8))
    ...     target.commit()
    ...     members(path)
    [Member(name='x', shape=(2, 3), dtype=dtype('float64'), note='')]
    """
    path = os.fspath(path)

    def look(generation: tuple[int, int, int]) -> list[Member]:
        found = list(islice(_entries(path, generation), LISTED + 1))
        if len(found) > LISTED:
            found[LISTED] = Member("…", None, None, f"there are more than {LISTED} members")
        return found

    return journal.read_stable(journal.resolve(path), look)


def open(  # noqa: A001 - every format has an `open`
    path: str, mode: str = "r", *, member: str | None = None, durability: str | None = None, timeout: float = 0.0
) -> Stored:
    """Open an array of a MATLAB file.

    Parameters
    ----------
    path, mode
        The file; ``mode`` is "r", or "r+" to change an array that is stored as it is: not compressed,
        converted or complex.
    member
        Its name: ``x``, ``s/field`` in a struct, ``c/0`` in a cell; not needed if the file has only one.
    durability
        "full": changes survive power loss; "process": the death of this process; None: as the setting says.
    timeout
        Seconds that a change waits for another writer.

    Raises
    ------
    FormatError
        If the file is not a whole MATLAB file, or has no such array.
    UnsupportedError
        If what has this name is no array that chunkarr reads.

    Examples
    --------
    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = os.path.join(directory, "a.mat")
    ...     target = create(path, (2, 3), ">i2", version="6")
    ...     target.write(((0, 2), (0, 3)), np.arange(6, dtype=">i2").reshape(2, 3), np.empty(100, np.uint8))
    ...     target.commit()
    ...     a = open(path, member="data")
    ...     out = np.empty((2, 1), a.dtype)
    ...     a.read(((0, 2), (1, 2)), out, np.empty(1000, np.uint8))
    >>> a.shape, out.tolist()
    ((2, 3), [[1], [4]])
    """
    path = os.fspath(path)
    access = check_access(path, mode, durability, timeout)
    if access.mode == "r+":
        journal.tidy(journal.resolve(path))
    return _open(path, member, access)


def _open(path: str, member: str | None, access: Access) -> FileStored:
    def look(generation: tuple[int, int, int]) -> FileStored:
        reader, version, axes = _reader(path, generation)
        name = _only(path, generation) if member is None else member
        if version == 73:
            opened: FileStored = import_module(HDF5).open73(path, name, generation, access)
            return opened
        layout = _find(reader, version, name, (path, generation))
        if "/" not in name:
            layout = replace(layout, shape=restored(layout.shape, axes))
        (block, *more) = layout.blocks or (None,)
        if block is not None and not more and layout.stream is None and block.dtype == layout.dtype:
            return _FlatMat(layout, block.offset, access)
        if access.mode == "r+":
            raise UnsupportedError(
                f"{path}::{name}: is compressed, complex or stored as another type than it is, so it cannot be changed "
                "in place; save a changed copy"
            )
        return MatStored(layout, _again, access)

    return journal.read_stable(journal.resolve(path), look)


def _again(layout: Layout, access: Access) -> FileStored:
    return _open(layout.path, layout.member, access)


class _FlatMat(FlatStored):
    """An array that is stored as it is."""

    def __init__(self, layout: Layout, offset: int, access: Access) -> None:
        super().__init__(
            layout.path, layout.shape, layout.dtype, format="mat", offset=offset, order="F",
            generation=layout.generation, access=access,
        )  # fmt: skip
        self.member = layout.member

    def reopen(self) -> FileStored:
        """Open the array again, as it is now."""
        return _open(self.path, self.member, self.access)

    def check_resize(self, shape: Shape) -> Shape:
        """Return ``shape`` if the array has it: what follows it in the file stays where it is."""
        if tuple(shape) != self.shape:
            raise UnsupportedError(
                f"{self.path}::{self.member}: shape {self.shape} of an array in a MATLAB file cannot change"
            )
        return self.shape


def create(
    path: str,
    shape: Shape,
    dtype: Any,
    *,
    member: str = "data",
    version: str | float | None = None,
    codec: str | None = None,
    overwrite: bool = False,
    durability: fsio.Durability = "full",
) -> Target:
    """Create a MATLAB file of one variable; it appears on ``commit``.

    Parameters
    ----------
    path, shape, dtype
        The file and what it will hold. MATLAB has at least two axes: an array of one becomes a row. Text
        becomes lines of characters.
    member
        The variable's name.
    version
        "6": as it is; "7": compressed, and like "6" up to 2 GiB; "7.3": HDF5; None: "7" or, where that cannot hold
        the array, "7.3", and "6" for text and with ``codec="none"``.
    codec
        "gzip:0" to "gzip:9", for "7" and "7.3"; "gzip" is "gzip:1"; "none" for "6" and "7.3".
    overwrite
        Whether a file of that name may be replaced, all its variables with it.
    durability
        "full": on the disk when ``commit`` returns; "process": safe against kill, not power loss.

    Raises
    ------
    TargetExistsError
        If the file exists and ``overwrite`` is False.
    UnsupportedError
        If MATLAB has no class for ``dtype``, or if it is more than the version can hold.
    """
    path = os.fspath(path)
    kind = np.dtype(dtype)
    if kind.hasobject:
        raise UnsafeInputError(f"{path}: dtype {kind} holds Python objects; chunkarr never pickles")
    whole = check_shape(path, shape, kind, OptionError)
    check_name(path, member)
    check_kind(path, kind)
    chosen = _version_for(whole, kind, codec) if version is None else str(version).removesuffix(".0")
    if chosen == "6":
        if codec not in (None, "none"):
            raise OptionError(f'{path}: codec {codec!r} is not for version "6", which compresses nothing')
        return FlatMatTarget(path, member, whole, kind, overwrite=overwrite, durability=durability)
    if chosen == "7.3":
        made: Target = import_module(f"{HDF5}_target").Mat73Target(
            path, member, whole, kind, codec=codec or "gzip", overwrite=overwrite, durability=durability
        )
        return made
    if chosen != "7":
        raise OptionError(f'{path}: version is "6", "7" or "7.3", not {version!r}')
    if kind.kind == "U":
        raise UnsupportedError(f'{path}: text is written uncompressed only, as version "6"')
    name, _, level = (codec or "gzip").partition(":")
    if name != "gzip" or level not in ("", *map(str, range(10))):
        raise OptionError(f'{path}: codec of version "7" is "gzip" or "gzip:0" to "gzip:9", not {codec!r}')
    return OrderedMatTarget(
        path, member, whole, kind, level=int(level or 1), overwrite=overwrite, durability=durability
    )


def _version_for(shape: Shape, dtype: np.dtype[Any], codec: str | None) -> str:
    """Return the version that MATLAB itself would choose, but for what is not to be compressed."""
    if prod(shape) * dtype.itemsize > LIMIT - ROOM:
        return "7.3"
    return "6" if dtype.kind == "U" or codec == "none" else "7"


# --- finding -------------------------------------------------------------------------------------


def _reader(path: str, generation: tuple[int, int, int]) -> tuple[Reader, int, int | None]:
    """Return what reads a file, whether it is of version 4, 5 (to 7) or 7.3, and the axes that chunkarr noted."""
    source = Descriptor(path, writable=False)
    size = generation[0]
    source.get(generation)
    head = bytearray(min(HEADER, size))
    fsio.read_into(source.get(), head, 0, path)
    mark = bytes(head[126:128])
    if mark in (b"IM", b"MI"):
        words: Words = "<" if mark == b"IM" else ">"
        version = int.from_bytes(head[124:126], "little" if words == "<" else "big")
        if version == 0x0200:
            return Reader(path, source, size, words), 73, None
        if version != 0x0100:
            raise FormatError(f"{path}: MATLAB file of version {version >> 8}.{version & 255}, expected is 1.0")
        return Reader(path, source, size, words), 5, axes_of(bytes(head))
    if head[:8] == HDF5_SIGNATURE:
        return Reader(path, source, size, "<"), 73, None
    if not size:
        raise FormatError(f"{path}: is empty, not a MATLAB file")
    return Reader(path, source, size, "<"), 4, None


def _variables(reader: Reader, version: int, generation: tuple[int, int, int]) -> Iterator[Variable | Variable4]:
    """Yield the variables of a file but those without a name, in which MATLAB keeps what objects need."""
    found: Iterator[Variable | Variable4] = variables4(reader) if version == 4 else variables(reader, generation)
    return (variable for variable in found if variable.name)


def _entries(path: str, generation: tuple[int, int, int]) -> Iterator[Member]:
    reader, version, axes = _reader(path, generation)
    if version == 73:
        yield from import_module(HDF5).members73(path, generation)
        return
    last = {variable.name: variable for variable in _variables(reader, version, generation)}
    for name, variable in last.items():
        for entry in entries4(variable) if isinstance(variable, Variable4) else entries(variable, name):
            yield entry._replace(shape=restored(entry.shape, axes)) if entry.shape and entry.name == name else entry


def _find(reader: Reader, version: int, member: str, stamp: Stamp) -> Layout:
    name, *parts = [part for part in member.split("/") if part] or [""]
    found = [variable for variable in _variables(reader, version, stamp[1]) if variable.name == name]
    if not found:
        names = [variable.name for variable in islice(_variables(reader, version, stamp[1]), NAMED)]
        raise FormatError(f"{stamp[0]}: there is no variable {name!r}, there are {names}")
    variable = found[-1]  # as MATLAB: a later one replaces an earlier one of its name
    if isinstance(variable, Variable4):
        return find4(variable, parts, stamp)
    return find(variable, name, parts, stamp)


def _only(path: str, generation: tuple[int, int, int]) -> str:
    found = list(islice(_entries(path, generation), LISTED))
    names = [entry.name for entry in found if entry.dtype is not None]
    rest = "; ".join(f"{entry.name!r} is {entry.note}" for entry in found if entry.dtype is None)
    if len(names) != 1:
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        raise FormatError(
            f"{path}: has {len(names)} arrays, choose one as {path}::name: {names[:NAMED]}{more}"
            + (f" ({rest[:1000]})" if rest else "")
        )
    if rest:
        warnings.warn(f"{path}: {names[0]!r} is its only array; skipped: {rest[:1000]}", UserWarning, stacklevel=2)
    return names[0]
