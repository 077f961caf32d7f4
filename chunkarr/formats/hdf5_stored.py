"""Read data sets of HDF5 files: chunks by plain reads and own decoding, the rest through the library."""

from __future__ import annotations

import math
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np

from chunkarr.buffers import aligned
from chunkarr.errors import CorruptChunkError, FormatError, MissingChunkError
from chunkarr.formats import journal
from chunkarr.formats.contract import Update
from chunkarr.formats.file_stored import READ, Access, FileStored
from chunkarr.formats.flat import check_block
from chunkarr.formats.flat_stored import FlatStored
from chunkarr.formats.hdf5_access import data_sets, find, naming, opened
from chunkarr.formats.hdf5_filters import DecodeError, decode, encoded_bound, scatter
from chunkarr.formats.hdf5_layout import Layout, chunk_index, describe
from chunkarr.formats.hdf5_library import SLAB, pieces, read_piece
from chunkarr.formats.hdf5_text import TextHdf5
from chunkarr.formats.hdf5_update import Hdf5Update
from chunkarr.formats.isolation import ask, dtype_as_json
from chunkarr.formats.runs import Descriptor, plain, read_block, staging
from chunkarr.grid import Grid, Region, Shape, intersect, region_shape, region_size, region_slices

__all__ = ["ChunkedHdf5", "ContiguousHdf5", "LibraryHdf5", "open_member", "stored_of"]

Array = np.ndarray[Any, Any]
LISTED = 20  # members that an error names


class _Hdf5(FileStored):
    """What all data sets share: axes as the user sees them, and a pickle without handles."""

    format = "hdf5"

    def __init__(self, layout: Layout, access: Access = READ) -> None:
        self._found(layout.path, layout.generation, access)
        self.layout = layout
        self.member = layout.member
        self.dtype = layout.dtype
        self.order = layout.order
        self.shape = self._user(layout.shape)
        chunk = layout.chunk or layout.shape
        self.grid = Grid(self.shape, self._user(chunk))
        self._stored_grid = Grid(layout.shape, chunk)
        self._chunk_bytes = math.prod(chunk) * layout.dtype.itemsize

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.layout, self.access)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path}::{self.layout.member} {self.shape} {self.dtype}>"

    def checked_by(self) -> str:
        """Return what tells `problems` that stored bytes changed."""
        summed = any(step.name == "fletcher32" for step in self.layout.filters)
        return "the fletcher32 of each chunk" if summed else ""

    def reopen(self) -> FileStored:
        """Open the data set again, as it is now."""
        return reopened(self.layout, self.access)

    def update(self, shape: Shape | None = None) -> Update:
        """Begin a change; see `Stored.update`."""
        self.check_writable()
        return Hdf5Update(self, shape)

    def read(self, region: Region, out: Array, scratch: Array) -> None:
        """Fill ``out`` with ``region``; see `Stored.read`."""
        check_block(region, out, self.dtype)
        if not out.size:
            return
        if self.order == "F":
            region, out = region[::-1], out.T
        try:
            self.read_axes(region, out, scratch)
        except FormatError:  # of a file that is being written, perhaps
            self.check_generation()
            raise
        self.check_generation()

    def read_axes(self, region: Region, out: Array, scratch: Array) -> None:
        """Fill ``out``; all axes as in the file."""
        raise NotImplementedError

    def _user(self, axes: Shape) -> Shape:
        return axes[::-1] if self.layout.order == "F" else axes

    def _whole_chunks(self, region: Region) -> int:
        """Return the decoded bytes of all chunks that ``region`` touches."""
        return math.prod(b - a for a, b in self.grid.span(region)) * self._chunk_bytes


class ChunkedHdf5(_Hdf5):
    """A chunked data set whose filters are undone here, in the calling thread, without the library's lock."""

    def __init__(self, layout: Layout, access: Access = READ) -> None:
        super().__init__(layout, access)
        self.contiguous = not layout.filters
        self._bound = encoded_bound(layout.filters, self._chunk_bytes)
        self._file = Descriptor(layout.path, writable=False)
        self._library = LibraryHdf5(layout, access)
        self._fill = np.frombuffer(layout.fill, np.uint8).view(plain(layout.dtype))[0]

    def scratch_bytes(self, region: Region) -> int:
        """Return the bytes of an encoded and a decoded chunk."""
        if not region_size(region):
            return 0
        if not self.layout.filters:
            return min(self._chunk_bytes, staging(self.layout.chunk, self._corner(region), self.dtype.itemsize))
        return max(2 * aligned(self._bound), self._library.scratch_bytes(region))

    def _corner(self, region: Region) -> Region:
        """Return the part of a chunk that takes the most scratch: the widest that ``region`` has."""
        extents = self._user(region_shape(region))
        return tuple((0, min(n, c)) for n, c in zip(extents, self.layout.chunk, strict=True))

    def bytes_read(self, region: Region) -> int:
        """Return the bytes of the whole chunks touched, of ``region`` alone where nothing is encoded."""
        if not self.layout.filters:
            return region_size(region) * self.dtype.itemsize
        return self._whole_chunks(region)

    def read_axes(self, region: Region, out: Array, scratch: Array) -> None:
        """Fill ``out``; all axes as in the file."""
        self._file.get(self.layout.generation)
        index = chunk_index(self.layout)
        grid = self._stored_grid
        values = out.view(plain(out.dtype))
        for box in grid.touching(region):
            area = grid.region(box)
            common = intersect(area, region)
            assert common is not None
            place = 0
            for i, count in zip(box, grid.counts, strict=True):
                place = place * count + i
            entry = index.find(place)
            target = values[region_slices(common, region)]
            if entry is None:
                if self.layout.complete:
                    raise MissingChunkError(f"{self._name(area)} is missing")
                target[...] = self._fill
                continue
            try:
                self._read_chunk(entry, area, common, out=target, scratch=scratch)
            except (DecodeError, CorruptChunkError) as error:
                raise CorruptChunkError(f"{self._name(area)} {error}") from None

    def _name(self, area: Region) -> str:
        return f"{self.path}::{self.layout.member}: the chunk at {tuple(a for a, _ in area)}"

    def _read_chunk(
        self, entry: tuple[int, int, int], area: Region, common: Region, *, out: Array, scratch: Array
    ) -> None:
        """Fill ``out`` with the part ``common`` of the chunk that covers ``area``."""
        start, size, mask = entry
        layout, nbytes = self.layout, self._chunk_bytes
        part = tuple((a - o, b - o) for (a, b), (o, _) in zip(common, area, strict=True))
        if not layout.filters:
            if size != nbytes:
                raise DecodeError(f"has {size} bytes instead of {nbytes}")
            read_block(self._file, start, layout.chunk, part, out=out, scratch=scratch)
            return
        partial = region_shape(area) != layout.chunk
        if partial and size == nbytes and not mask:
            # Writers may leave chunks at the edge unfiltered, and only the library knows.
            self._library.read_axes(common, out.view(layout.dtype), scratch)
            return
        if size > self._bound:
            raise DecodeError(f"has {size} stored bytes, more than the {self._bound} that its values can take")
        room = aligned(self._bound)
        first, second = scratch[:room], scratch[room : 2 * room]
        self._file.read_into(first[:size], start)
        final = out.reshape(-1).view(np.uint8) if out.nbytes == nbytes and out.flags.c_contiguous else None
        values, shuffled = decode(
            first, size, mask, layout.filters, nbytes=nbytes, itemsize=self.dtype.itemsize, second=second, final=final
        )
        if final is None or values.base is not final.base or values.ctypes.data != final.ctypes.data:
            scatter(values, shuffled, layout.chunk, tuple(slice(a, b) for a, b in part), out)


class LibraryHdf5(_Hdf5):
    """A data set that only the HDF5 library can read: other filters, converted types, compact, outside the file."""

    def __init__(self, layout: Layout, access: Access = READ) -> None:
        super().__init__(layout, access)
        self.contiguous = not layout.chunk

    def scratch_bytes(self, region: Region) -> int:
        """Return the bytes of one piece here, and of the chunk in its stages within the library."""
        if not region_size(region):
            return 0
        piece = min(region_size(region) * self.dtype.itemsize, self._chunk_bytes)
        return piece + 3 * self._chunk_bytes if self.layout.chunk else min(piece, SLAB + self.dtype.itemsize) + SLAB

    def bytes_read(self, region: Region) -> int:
        """Return the bytes of the whole chunks touched, of ``region`` alone where there are no chunks."""
        return self._whole_chunks(region) if self.layout.chunk else region_size(region) * self.dtype.itemsize

    def read_axes(self, region: Region, out: Array, scratch: Array) -> None:
        """Fill ``out``; all axes as in the file."""
        # Not kept open between reads: nobody in this process could write the file anew meanwhile.
        layout = self.layout
        if layout.isolated:
            self._ask(region, out, scratch)
            return
        with opened(self.path) as file, naming(self.path, layout.member):
            self.check_generation()
            dataset, _ = find(file, layout.path, layout.member, allow_external=layout.allow_external)
            for part in pieces(region, layout.shape, layout.chunk, self.dtype.itemsize):
                try:
                    read_piece(dataset, part, out[region_slices(part, region)], scratch)
                except (OSError, RuntimeError) as error:
                    where = f"{self.path}::{layout.member}: {part}"
                    raise CorruptChunkError(f"{where} cannot be read: {error}") from error

    def _ask(self, region: Region, out: Array, scratch: Array) -> None:
        """Let the child that parses the file read ``region``, piece by piece."""
        layout = self.layout
        question: dict[str, Any] = {"what": "read", "path": self.path, "member": layout.member}
        question |= {"dtype": dtype_as_json(layout.dtype), "external": layout.allow_external}
        for part in pieces(region, layout.shape, layout.chunk, self.dtype.itemsize):
            room = scratch[: region_size(part) * self.dtype.itemsize]
            ask({**question, "region": part}, into=room)
            target = out[region_slices(part, region)]
            values = np.ndarray(target.shape, out.dtype, room)
            np.copyto(target.view(plain(out.dtype)), values.view(plain(out.dtype)))


class ContiguousHdf5(FlatStored):
    """A data set whose values are one block of bytes: changed like that of an npy file, but for its shape."""

    def __init__(self, layout: Layout, access: Access = READ) -> None:
        assert layout.offset is not None, "who has no block is read through the library"
        shape = layout.shape[::-1] if layout.order == "F" else layout.shape
        super().__init__(
            layout.path,
            shape,
            layout.dtype,
            format="hdf5",
            offset=layout.offset,
            order=layout.order,
            generation=layout.generation,
            access=access if access.inplace else replace(access, inplace=None),
        )
        self.layout = layout
        self.member = layout.member

    def reopen(self) -> FileStored:
        """Open the data set again, as it is now."""
        return reopened(self.layout, self.access)

    def update(self, shape: Shape | None = None) -> Update:
        """Begin a change; see `Stored.update`."""
        self.check_writable()
        return super().update() if shape in (None, self.shape) else Hdf5Update(self, shape)


def open_member(path: str, member: str | None, *, allow_external: bool, access: Access) -> FileStored:
    """Open a data set in the way that it allows; see `hdf5.open`."""

    def look(generation: tuple[int, int, int]) -> FileStored:
        with opened(path) as file:
            name = _only(path, [name for name, _ in data_sets(file)]) if member is None else member
            with naming(path, name):
                dataset, outside = find(file, path, name, allow_external=allow_external)
                layout = describe(
                    dataset, path, name, generation, outside=outside, allow_external=allow_external, texts=True
                )
        return stored_of(layout, access)

    return journal.read_stable(journal.resolve(path), look)


def stored_of(layout: Layout, access: Access = READ) -> FileStored:
    """Return the data set that ``layout`` describes, read in the way that it allows."""
    if layout.kind == "chunked":
        stored: FileStored = ChunkedHdf5(layout, access)
    elif layout.kind == "library" or layout.offset is None:
        stored = LibraryHdf5(layout, access)
    else:
        stored = ContiguousHdf5(layout, access)
    return TextHdf5(stored) if layout.texts else stored


def reopened(layout: Layout, access: Access) -> FileStored:
    """Return the data set that ``layout`` described, as it is now."""
    if layout.isolated:  # who asks imports what is here
        ask_again = import_module("chunkarr.formats.hdf5_isolated").open_isolated
        again: FileStored = ask_again(layout.path, "hdf5", layout.member, allow_external=layout.allow_external)
        return again
    return open_member(
        layout.path,
        layout.member,
        allow_external=layout.allow_external,
        access=replace(access, inplace=bool(access.inplace)),
    )


def _only(path: str, names: list[str]) -> str:
    if len(names) != 1:
        more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
        raise FormatError(f"{path}: has {len(names)} data sets, choose one as {path}::name: {names[:LISTED]}{more}")
    return names[0]
