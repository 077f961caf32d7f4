"""Write to a data set of an open HDF5 file: whole chunks encoded here, the rest by the library, one at a time."""

from __future__ import annotations

import json
import math
import posixpath
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5i, h5o, h5p, h5s

from chunkarr.buffers import aligned
from chunkarr.errors import UnsupportedError
from chunkarr.formats.hdf5_access import find
from chunkarr.formats.hdf5_filters import encode, encoded_bound, gather
from chunkarr.formats.hdf5_io import LibraryFile
from chunkarr.formats.hdf5_layout import ATTRIBUTE, Layout
from chunkarr.formats.hdf5_library import SLAB, pieces, read_piece, write_piece
from chunkarr.formats.runs import plain
from chunkarr.grid import Grid, Region, Shape, intersect, region_key, region_shape, whole

__all__ = ["Writer"]

Array = np.ndarray[Any, Any]


class Writer:
    """A data set that is being changed; all axes are those of the file.

    Parameters
    ----------
    io
        The file, on which the library is opened.
    layout
        What describes the data set as it is.
    shape
        What it is given.
    """

    def __init__(self, io: LibraryFile, layout: Layout, shape: Shape) -> None:
        self.layout, self.shape, self.chunk = layout, shape, layout.chunk
        self.writes = 0  # how often something was written
        self._io = io
        with self._library():
            io.file = h5py.File(io, "r+", rdcc_nbytes=0)
            dataset, outside = find(io.file, layout.path, layout.member, allow_external=layout.allow_external)
            made = dataset.get_create_plist()
            if outside or made.get_layout() == h5d.VIRTUAL or made.get_external_count():
                raise UnsupportedError(f"{layout.path}::{layout.member}: has values in other files; change it there")
            self.dataset = dataset if shape == layout.shape else self._resized(dataset)
        self._item = layout.dtype.itemsize
        self._chunk_bytes = math.prod(self.chunk) * self._item
        first = layout.filters[0] if layout.filters else None
        self._shuffled = first is not None and first.name == "shuffle" and first.parameter == self._item
        rest = layout.filters[1:] if self._shuffled else layout.filters
        self._direct = layout.kind == "chunked" and all(step.name != "shuffle" for step in rest)

    def _library(self) -> AbstractContextManager[None]:
        """Have the library for oneself; see `LibraryFile.library`."""
        return self._io.library(self.layout.path, self.layout.member)

    def areas(self, region: Region) -> Iterator[Region]:
        """Yield the chunks of ``region``, or pieces of it where there are none."""
        return pieces(region, self.shape, self.chunk, self._item)

    def scratch_bytes(self, size: int) -> int:
        """Return the bytes that moving ``size`` elements holds, those that the library allocates included."""
        if self.chunk:
            return max(aligned(self._chunk_bytes) + 2 * encoded_bound(self.layout.filters, self._chunk_bytes),
                       4 * self._chunk_bytes)  # fmt: skip
        return min(size * self._item, SLAB + self._item) + SLAB

    def put(self, area: Region, block: Array, scratch: Array) -> None:
        """Write ``block``, any strides, at ``area``, one of `areas`."""
        if self._direct and region_shape(area) == self.chunk:
            self._put_chunk(area, block.view(plain(block.dtype)), scratch)
        else:
            with self._library():
                write_piece(self.dataset, area, block, scratch)
        self.writes += 1

    def _put_chunk(self, area: Region, block: Array, scratch: Array) -> None:
        if block.flags.c_contiguous and not self._shuffled:
            values = block.reshape(-1).view(np.uint8)
        else:
            values = gather(block, self.chunk, self._shuffled, scratch)
        corner = tuple(a for a, _ in area[: self.dataset.rank])
        stored = encode(values, self.layout.filters)
        with self._library():
            old = self.dataset.get_chunk_info_by_coord(corner)
            if old.filter_mask and old.size == len(stored):
                stored = encode(values, self.layout.filters, unlike=old.size)
            self.dataset.write_direct_chunk(corner, stored)

    def get(self, region: Region, out: Array, scratch: Array) -> None:
        """Fill ``out`` with ``region`` as it is now."""
        with self._library():
            for area in self.areas(region):
                read_piece(self.dataset, area, out[region_key(area, region)], scratch)

    def finish(self) -> None:
        """Let the library write what it holds, and close."""
        with self._library():
            attributes = h5py.Dataset(self.dataset).attrs
            if ATTRIBUTE.decode() in attributes:
                attributes.create(ATTRIBUTE.decode(), np.bytes_(self._note()))
            self._io.close_library()

    def _note(self) -> bytes:
        """Return what chunkarr notes: the shape for which it holds, the order, and whether every chunk is there."""
        written = not self.chunk or self.dataset.get_num_chunks() == Grid(self.shape, self.chunk).size
        note = {"v": 1, "complete": written, "order": self.layout.order, "shape": list(self.shape)}
        return json.dumps(note).encode()

    # --- other shapes ---

    def _resized(self, dataset: h5d.DatasetID) -> h5d.DatasetID:
        """Give the data set its shape, or put one of that shape in its place."""
        rank = dataset.rank
        if self.shape[rank:] != self.layout.shape[rank:]:
            raise UnsupportedError(
                f"{self.layout.path}::{self.layout.member}: axes from {rank} on belong to the type of its elements"
            )
        shape = self.shape[:rank]
        most = dataset.get_space().get_simple_extent_dims(True)
        if self.chunk and all(m == h5s.UNLIMITED or n <= m for n, m in zip(shape, most, strict=True)):
            dataset.set_extent(shape)
            return dataset
        return self._replaced(dataset, shape)

    def _replaced(self, old: h5d.DatasetID, shape: Shape) -> h5d.DatasetID:
        """Put a data set of ``shape``, with what both have in common, in the place of ``old``."""
        if h5o.get_info(old).rc > 1:
            raise UnsupportedError(
                f"{self.layout.path}::{self.layout.member}: has a fixed size and several names; save a changed copy"
            )
        made = old.get_create_plist()
        if not self.chunk:
            made.set_layout(h5d.CONTIGUOUS)
            made.set_alloc_time(h5d.ALLOC_TIME_EARLY)
            made.set_fill_time(h5d.FILL_TIME_ALLOC)
        space = h5s.create_simple(shape, (h5s.UNLIMITED,) * len(shape) if self.chunk else shape)
        new = h5d.create(self._io.file.id, None, old.get_type(), space, made)  # type: ignore[union-attr]
        self._copy_values(old, new)
        self._copy_attributes(h5py.Dataset(old), h5py.Dataset(new))
        place, name = posixpath.split(h5i.get_name(old))
        parent = h5o.open(h5i.get_file_id(old), place)
        parent.unlink(name)
        h5o.link(new, parent, name, lcpl=h5p.create(h5p.LINK_CREATE))
        return new

    def _copy_values(self, old: h5d.DatasetID, new: h5d.DatasetID) -> None:
        common = intersect(whole(self.layout.shape), whole(self.shape))
        if common is None:
            return
        for area in pieces(common, self.layout.shape, self.chunk, self.layout.dtype.itemsize):
            values = np.empty(region_shape(area), self.layout.dtype)
            scratch = np.empty(max(1, values.nbytes), np.uint8)
            read_piece(old, area, values, scratch)
            write_piece(new, area, values, scratch)

    def _copy_attributes(self, old: h5py.Dataset, new: h5py.Dataset) -> None:
        for name in old.attrs:
            kind = old.attrs.get_id(name)
            try:
                if kind.get_space().get_simple_extent_type() == h5s.NULL:
                    new.attrs[name] = old.attrs[name]
                else:
                    new.attrs.create(name, old.attrs[name], kind.shape, kind.dtype)
            except (TypeError, ValueError, OSError, RuntimeError) as error:
                raise UnsupportedError(
                    f"{self.layout.path}::{self.layout.member}: has a fixed size, and its attribute {name!r} "
                    f"cannot be copied to one of another size: {error}"
                ) from error
