"""Changes of HDF5 data sets: the library works on the file with its changes beside it, as `patch` keeps them.

So nothing of the file is copied that need not be, and nobody sees the change before it is committed. Then
the file is replaced, because others may have it open with the HDF5 library, which would read a mix of old
and new metadata; with ``unsafe_inplace`` the changes are copied into it, through a journal.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from chunkarr import fsio
from chunkarr.errors import GridError, UnsupportedError
from chunkarr.formats import journal
from chunkarr.formats.contract import Stored, Update
from chunkarr.formats.file_stored import FileStored
from chunkarr.formats.flat import check_block
from chunkarr.formats.hdf5_io import PatchedFile
from chunkarr.formats.hdf5_writer import Writer
from chunkarr.formats.patch import Patch
from chunkarr.formats.runs import Descriptor
from chunkarr.fsio import ArrayLock
from chunkarr.grid import Grid, Region, Shape, region_key, region_size

if TYPE_CHECKING:
    from chunkarr.formats.hdf5_layout import Layout

__all__ = ["Hdf5Update"]

Array = np.ndarray[Any, Any]


class Hdf5Update(Update):
    """A change of a data set; see `Update`.

    Parameters
    ----------
    stored
        The data set, opened to be written.
    shape
        What it will have; None: what it has.
    """

    distributable = False

    def __init__(self, stored: FileStored, shape: Shape | None) -> None:
        self.file, self._access = stored.file, stored.access
        lock = journal.hold(self.file, self._access.timeout)
        try:
            self.before: FileStored = stored.fresh()
            self.shape = self.before.shape if shape is None else self.before.check_resize(shape)
            size = self.before.found[0]
            name = journal.journal_file(self.file)
            fd = fsio.open_new(name, size, reserve=False, mode=0o600)
        except BaseException:
            lock.release()
            raise
        patch = Patch(name, fd, Descriptor(self.file, writable=False), size, size)
        self._io = PatchedFile(self.file, patch)
        self._close = weakref.finalize(self, _close, self._io, lock, os.getpid())
        self._broken, self._changed = False, self.shape != self.before.shape
        layout: Layout = self.before.layout  # type: ignore[attr-defined]  # every class of data sets has it
        self.dtype, self.order = layout.dtype, layout.order
        try:
            self._writer = Writer(self._io, layout, self._stored(self.shape))
        except BaseException:
            self.abort()
            raise
        chunk = self._writer.chunk or (1,) * len(self.shape)
        self.grid = Grid(self.shape, self._stored(chunk))

    def __reduce__(self) -> NoReturn:
        raise UnsupportedError(f"{self.file}: is changed by the process that holds its lock only")

    def _stored(self, axes: Any) -> Any:
        """Turn the user's axes into those of the file, and back."""
        return axes[::-1] if self.order == "F" else axes

    def write(self, region: Region, block: Array, scratch: Array) -> None:
        """Stage ``block`` at ``region``; see `Target.write`."""
        check_block(region, block, self.dtype)
        if not block.size:
            return
        if self.grid.round_out(region) != region:
            raise GridError(f"{self.file}: region {region} is not made of whole chunks of {self.grid.steps}")
        self._changed = True
        region, block = self._stored(region), block.T if self.order == "F" else block
        try:
            for area in self._writer.areas(region):
                self._writer.put(area, block[region_key(area, region)], scratch)
        except BaseException:
            self._broken = True
            raise

    def scratch_bytes(self, region: Region) -> int:
        """Return the bytes of scratch that staging ``region`` may take; see `Target.scratch_bytes`."""
        return self._writer.scratch_bytes(region_size(region))

    def staged(self) -> Stored:
        """Return the array as it would be after ``commit`` now; see `Update.staged`."""
        return _Staged(self, self._writer)

    def commit(self) -> None:
        """Make the change; see `Target.commit`."""
        if not self._close.alive or self._broken:
            raise RuntimeError(f"{self.file}: a change is committed or aborted once, and not after a failed write")
        try:
            if self._changed:
                self._writer.finish()
                journal.make(
                    self._io.patch, self.file, self.before.found, self._access.durable(), inplace=self._access.inplace
                )
        finally:
            self._close()

    def abort(self) -> None:
        """Forget the change; never raises."""
        self._close()


def _close(io: PatchedFile, lock: ArrayLock, pid: int) -> None:
    """Remove what was staged and let the next writer in; a forked child leaves its parent's alone."""
    io.close()
    journal.forget(io.patch.path, io.patch.fd, mine=os.getpid() == pid)
    lock.release()


class _Staged(Stored):
    """A data set with what an update staged, read through the library."""

    format = "hdf5"

    def __init__(self, update: Hdf5Update, writer: Writer) -> None:
        self.shape, self.dtype, self.path = update.shape, update.dtype, update.before.path
        self.contiguous = not writer.chunk
        self.grid = update.grid if writer.chunk else Grid(self.shape, self.shape)
        self._update, self._writer, self._found = update, writer, update.before.found

    def __reduce__(self) -> NoReturn:
        self._update.__reduce__()

    def read(self, region: Region, out: Array, scratch: Array) -> None:
        """Fill ``out`` with ``region``; see `Stored.read`."""
        check_block(region, out, self.dtype)
        if self._update.order == "F":
            region, out = region[::-1], out.T
        if out.size:
            self._writer.get(region, out, scratch)

    def scratch_bytes(self, region: Region) -> int:
        """Return the bytes of one piece here, and of the chunk in its stages within the library."""
        return self._writer.scratch_bytes(region_size(region))

    def bytes_read(self, region: Region) -> int:
        """Return the bytes of the whole chunks touched, of ``region`` alone where there are no chunks."""
        return region_size(region if self.contiguous else self.grid.round_out(region)) * self.dtype.itemsize

    def generation(self) -> Hashable:
        """Return what changes whenever something is staged."""
        return self._found, self._writer.writes
