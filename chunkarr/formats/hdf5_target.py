"""Write new HDF5 files: chunks are encoded in the calling threads, the library only files them.

The library writes through a `PartFile`, see `hdf5_io`.
"""

from __future__ import annotations

import json
import math
import os
import weakref
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, NoReturn

import h5py
import numpy as np
from h5py import h5d, h5p, h5s, h5t

from chunkarr import fsio
from chunkarr.buffers import aligned
from chunkarr.errors import GridError, MissingChunkError, UnsupportedError
from chunkarr.formats import journal
from chunkarr.formats.contract import Target
from chunkarr.formats.flat import Order, check_block
from chunkarr.formats.hdf5_filters import Filter, encode, encoded_bound, gather
from chunkarr.formats.hdf5_io import PartFile
from chunkarr.formats.hdf5_layout import ATTRIBUTE
from chunkarr.formats.hdf5_library import write_piece
from chunkarr.formats.hdf5_types import storage_dtype
from chunkarr.formats.runs import plain, staging, write_block
from chunkarr.grid import Grid, Region, Shape, region_slices

__all__ = ["ChunkedTarget", "ContiguousTarget", "default_chunks"]

Array = np.ndarray[Any, Any]
CHUNK_BYTES = 1 << 20  # default size of a chunk
CHUNK_LIMIT = (1 << 32) - 1  # bytes of a chunk, and elements along an axis, that HDF5 can count


def default_chunks(shape: Shape, itemsize: int) -> Shape:
    """Return chunks of at most `CHUNK_BYTES`, about as long along each axis.

    >>> default_chunks((100, 3000, 3000), 2)
    (50, 94, 94)
    """
    chunk = [max(1, n) for n in shape]
    while math.prod(chunk) * itemsize > CHUNK_BYTES and max(chunk) > 1:
        axis = chunk.index(max(chunk))
        chunk[axis] = -(-chunk[axis] // 2)
    return tuple(chunk)


class _Hdf5Target(Target):
    """A new file with one data set, written as a hidden sibling.

    ``attributes`` are those of the data set besides chunkarr's own; ``user_block`` comes before what HDF5 looks at:
    nothing, or 512 bytes, 1024, 2048, ...
    """

    distributable = False

    def __init__(
        self,
        path: str,
        shape: Shape,
        dtype: np.dtype[Any],
        *,
        member: str,
        order: Order,
        overwrite: bool,
        durability: fsio.Durability,
        attributes: Mapping[str, Any] | None = None,
        user_block: bytes = b"",
    ) -> None:
        self.path, self.member = path, member
        self._attributes, self._user_block = dict(attributes or {}), user_block
        self.shape, self.dtype, self.order = shape, dtype, order
        self._overwrite, self._durability = overwrite, durability
        self._hdf5_dtype = storage_dtype(dtype)
        fsio.refuse_existing(path, overwrite)
        fsio.sweep(path)
        self._part, lock = fsio.new_part(path)
        try:
            self._io = PartFile(self._part)
        except BaseException:
            fsio.discard(self._part)
            os.close(lock)
            raise
        self._drop = weakref.finalize(self, _drop, self._io, lock, os.getpid())

    def __reduce__(self) -> NoReturn:
        raise UnsupportedError(
            f"{self.path}: an HDF5 file is written by the process that created it only; "
            "use threads, or write Zarr and convert"
        )

    def _library(self) -> AbstractContextManager[None]:
        """Have the library for oneself; see `LibraryFile.library`."""
        return self._io.library(self.path, self.member)

    def _stored(self, axes: Any) -> Any:
        """Turn the user's axes into those of the file, and back."""
        return axes[::-1] if self.order == "F" else axes

    def _create(self, made: h5p.PropDCID) -> h5d.DatasetID:
        """Create the data set in the hidden file, which stays open."""
        shape = self._stored(self.shape)
        links = h5p.create(h5p.LINK_CREATE)
        links.set_create_intermediate_group(1)
        made.set_obj_track_times(False)
        with self._library():
            self._io.file = h5py.File(self._io, "w", rdcc_nbytes=0, userblock_size=len(self._user_block) or None)
            space = h5s.create_simple(shape) if shape else h5s.create(h5s.SCALAR)
            kind = h5t.py_create(self._hdf5_dtype, logical=True)
            dataset = h5d.create(self._io.file.id, self.member.encode(), kind, space, made, links)
            self._note(dataset, complete=True)
            for name, value in self._attributes.items():
                h5py.Dataset(dataset).attrs.create(name, value)
        if self._user_block:
            self._io.write_at(self._user_block, 0)
        return dataset

    def _note(self, dataset: h5d.DatasetID, *, complete: bool) -> None:
        """Note in an attribute what chunkarr wrote."""
        note = {"v": 1, "complete": complete, "order": self.order, "shape": list(self._stored(self.shape))}
        h5py.Dataset(dataset).attrs.create(ATTRIBUTE.decode(), np.bytes_(json.dumps(note).encode()))

    def commit(self) -> None:
        """Make the file appear under its name; see `Target.commit`."""
        if not self._drop.alive:
            raise RuntimeError(f"{self.path}: a target is committed or aborted once")
        try:
            self._finish()
            if self._durability == "full":
                fsio.sync_file(self._io.fd)
            journal.publish(self._part, self.path, self._overwrite, self._durability)
        except BaseException:
            self.abort()
            raise
        self._drop()

    def _finish(self) -> None:
        """Check what was written, and close the library's view of it."""

    def abort(self) -> None:
        """Remove the unfinished file; never raises."""
        self._drop()


def _drop(io: PartFile, lock: int, pid: int) -> None:
    """Remove an unfinished file and release it; a forked child leaves its parent's alone."""
    io.close()
    if os.getpid() == pid:
        fsio.discard(io.path)
    os.close(lock)


class ContiguousTarget(_Hdf5Target):
    """A data set without chunks: the library makes room, values are written past it."""

    def __init__(self, path: str, shape: Shape, dtype: np.dtype[Any], **options: Any) -> None:
        super().__init__(path, shape, dtype, **options)
        self.grid = Grid(shape, (1,) * len(shape))
        made = h5p.create(h5p.DATASET_CREATE)
        made.set_layout(h5d.CONTIGUOUS)
        made.set_alloc_time(h5d.ALLOC_TIME_EARLY)
        made.set_fill_time(h5d.FILL_TIME_NEVER)
        try:
            dataset = self._create(made)
            with self._library():
                self._offset = dataset.get_offset()
                self._io.close_library()
        except BaseException:
            self.abort()
            raise

    def write(self, region: Region, block: Array, scratch: Array) -> None:
        """Write ``block`` at ``region``; see `Target.write`."""
        check_block(region, block, self.dtype)
        self._io.raise_failure()
        if block.size:
            shape, region = self._stored(self.shape), self._stored(region)
            block = block.T if self.order == "F" else block
            write_block(self._io, self._offset, shape, region, block=block, scratch=scratch)

    def scratch_bytes(self, region: Region) -> int:
        """Return the bytes of scratch that writing ``region`` may take; see `Target.scratch_bytes`."""
        return staging(self._stored(self.shape), self._stored(region), self.dtype.itemsize)


class ChunkedTarget(_Hdf5Target):
    """A data set of chunks, encoded here, in any number of threads; lzf by the library, one at a time."""

    def __init__(
        self,
        path: str,
        shape: Shape,
        dtype: np.dtype[Any],
        *,
        chunks: Shape,
        filters: tuple[Filter, ...],
        lzf: bool = False,
        **options: Any,
    ) -> None:
        if any(c > CHUNK_LIMIT for c in chunks) or math.prod(chunks) * dtype.itemsize > CHUNK_LIMIT:
            raise GridError(f"{path}: chunks {chunks} of {dtype} have more than the 4 GiB that HDF5 allows")
        super().__init__(path, shape, dtype, **options)
        self.grid = Grid(shape, chunks)
        self._filters, self._lzf, self._blank = filters, lzf, False
        self._chunk = self._stored(self.grid.steps)
        self._chunk_bytes = math.prod(self._chunk) * dtype.itemsize
        made = h5p.create(h5p.DATASET_CREATE)
        made.set_chunk(self._chunk)
        made.set_fill_value(np.zeros((), self._hdf5_dtype))
        for step in filters:
            if step.name == "shuffle":
                made.set_shuffle()
            elif step.name == "deflate":
                made.set_deflate(step.parameter)
            else:
                if lzf:
                    made.set_filter(h5py.h5z.FILTER_LZF, h5py.h5z.FLAG_OPTIONAL)
                made.set_fletcher32()
        try:
            self._dataset = self._create(made)
        except BaseException:
            self.abort()
            raise

    def scratch_bytes(self, region: Region) -> int:  # noqa: ARG002 - the contract's
        """Return the bytes of one chunk's values, of it compressed, and of that with its checksum."""
        return aligned(self._chunk_bytes) + 2 * encoded_bound(self._filters, self._chunk_bytes)

    def write(self, region: Region, block: Array, scratch: Array) -> None:
        """Write ``block`` at ``region``; see `Target.write`."""
        check_block(region, block, self.dtype)
        self._io.raise_failure()
        if not block.size:
            return
        shape = self._stored(self.shape)
        grid, region = Grid(shape, self._chunk), self._stored(region)
        block = (block.T if self.order == "F" else block).view(plain(self.dtype))
        if grid.round_out(region) != region:
            raise GridError(f"{self.path}: region {region} is not made of whole chunks of {self._chunk}")
        shuffled = any(step.name == "shuffle" for step in self._filters)
        for box in grid.touching(region):
            area = grid.region(box)
            part = block[region_slices(area, region)]
            if self._lzf:
                with self._library():
                    write_piece(self._dataset, area, part, scratch)
                continue
            if part.shape == self._chunk and part.flags.c_contiguous and not shuffled:
                values = part.reshape(-1).view(np.uint8)
            else:
                values = gather(part, self._chunk, shuffled, scratch)
            stored = encode(values, self._filters)
            with self._library():
                self._dataset.write_direct_chunk(tuple(a for a, _ in area), stored)

    def blank(self) -> None:
        """Leave chunks that were not written out; see `Target.blank`."""
        self._blank = True

    def _finish(self) -> None:
        """Check that every chunk was written, and write what the library still holds."""
        with self._library():
            missing = self.grid.size - self._dataset.get_num_chunks()
            if missing and self._blank:
                self._note(self._dataset, complete=False)
            self._io.close_library()
        if missing and not self._blank:
            raise MissingChunkError(f"{self.path}: {missing} of {self.grid.size} chunks were not written")
