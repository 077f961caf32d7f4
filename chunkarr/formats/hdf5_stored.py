"""Read data sets of HDF5 files: chunks by plain reads and own decoding, the rest through the library."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from h5py import h5s, h5t

from chunkarr.buffers import aligned
from chunkarr.errors import CorruptChunkError, MissingChunkError, StaleExpressionError
from chunkarr.formats.contract import Stored
from chunkarr.formats.flat import check_block
from chunkarr.formats.hdf5_access import find, naming, opened
from chunkarr.formats.hdf5_filters import DecodeError, decode, encoded_bound, scatter
from chunkarr.formats.hdf5_layout import Layout, chunk_index
from chunkarr.formats.runs import Descriptor, file_generation, plain, read_block, staging
from chunkarr.grid import Grid, Region, Shape, intersect, region_shape, region_size, region_slices

__all__ = ["ChunkedHdf5", "LibraryHdf5"]

Array = np.ndarray[Any, Any]
SLAB = 1 << 20  # bytes asked of the library at once where there are no chunks


class _Hdf5(Stored):
    """What all data sets share: axes as the user sees them, and a pickle without handles."""

    format = "hdf5"

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.path = layout.path
        self.dtype = layout.dtype
        self.order = layout.order
        self.shape = self._user(layout.shape)
        chunk = layout.chunk or layout.shape
        self.grid = Grid(self.shape, self._user(chunk))
        self._stored_grid = Grid(layout.shape, chunk)
        self._chunk_bytes = math.prod(chunk) * layout.dtype.itemsize

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.layout,)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path}::{self.layout.member} {self.shape} {self.dtype}>"

    def generation(self) -> tuple[int, int, int]:
        """Return size, mtime_ns and inode of the file as it is now."""
        return file_generation(self.path)

    def read(self, region: Region, out: Array, scratch: Array) -> None:
        """Fill ``out`` with ``region``; see `Stored.read`."""
        check_block(region, out, self.dtype)
        if not out.size:
            return
        if self.order == "F":
            region, out = region[::-1], out.T
        self.read_axes(region, out, scratch)

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

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self.contiguous = not layout.filters
        self._bound = encoded_bound(layout.filters, self._chunk_bytes)
        self._file = Descriptor(layout.path, writable=False)
        self._library = LibraryHdf5(layout)
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

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
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
        with opened(self.path) as file, naming(self.path, self.layout.member):
            if file_generation(self.path) != self.layout.generation:
                raise StaleExpressionError(f"{self.path}: changed since it was opened; open it again")
            layout = self.layout
            dataset, _ = find(file, layout.path, layout.member, allow_external=layout.allow_external)
            for part in self._parts(region):
                self._read_part(dataset, part, out[region_slices(part, region)], scratch)

    def _parts(self, region: Region) -> Iterator[Region]:
        """Cut ``region`` at chunks, or in halves of halves until they are small."""
        if self.layout.chunk:
            boxes = map(self._stored_grid.region, self._stored_grid.touching(region))
            yield from (common for box in boxes if (common := intersect(box, region)))
            return
        pending = [region]
        while pending:
            part = pending.pop()
            extents = region_shape(part)
            if max(extents, default=1) == 1 or math.prod(extents) * self.dtype.itemsize <= SLAB:
                yield part
                continue
            axis = next(i for i, n in enumerate(extents) if n > 1)
            a, b = part[axis]
            cuts = ((a, (a + b) // 2), ((a + b) // 2, b))
            pending.extend((*part[:axis], cut, *part[axis + 1 :]) for cut in reversed(cuts))

    def _read_part(self, dataset: Any, region: Region, out: Array, scratch: Array) -> None:
        """Let the library read ``region``, axes as in the file, into scratch; copy it to ``out``."""
        values = np.ndarray(out.shape, self.dtype, scratch)
        scratch[: values.nbytes] = 0  # bytes of padding are not the library's to write
        try:
            space: Any = h5s.ALL
            memory: Any = h5s.ALL
            if region:
                space = dataset.get_space()
                space.select_hyperslab(tuple(a for a, _ in region), region_shape(region))
                memory = h5s.create_simple(region_shape(region))
            dataset.read(memory, space, values, h5t.py_create(dataset.dtype, logical=True))
        except (OSError, RuntimeError) as error:
            where = f"{self.path}::{self.layout.member}: {region}"
            raise CorruptChunkError(f"{where} cannot be read: {error}") from error
        np.copyto(out.view(plain(self.dtype)), values.view(plain(self.dtype)))
