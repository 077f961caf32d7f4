"""Temporary arrays on disk: uncompressed tiles in one sparse file that never outlives its process.

Tile after tile lies in a slot of a full tile's size; a tile cut short by the array's edge fills the
beginning of its slot. Within a tile the elements lie in C order, so that a whole tile is one run of bytes.
"""

from __future__ import annotations

import errno
import mmap
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

import numpy as np

from chunkarr import fsio
from chunkarr.errors import GridError, UnsupportedError
from chunkarr.formats.contract import Stored, Target
from chunkarr.formats.flat import check_block
from chunkarr.formats.progress_log import read_log
from chunkarr.formats.runs import Descriptor, bytes_moved, plain, read_block, staging, write_block
from chunkarr.grid import Grid, Region, Shape, intersect, region_shape, region_slices, shift

__all__ = ["JOB_NAME", "ScratchArray", "sweep_scratch"]

Array = np.ndarray[Any, Any]

NAME = "chunkarr-scratch"
ADVICE = 'free some, or have them elsewhere with chunkarr.config.set(scratch="/directory/on/a/larger/disk")'
JOB_NAME = "chunkarr-job"  # with a digest: scratch of a job that can be resumed
_OF_JOB = re.compile(rf"\.({JOB_NAME}-[0-9a-f]+-[0-9]+)\.[0-9a-f]{{32}}\.log")
_swept: set[str] = set()


def sweep_scratch(directory: str) -> list[str]:
    """Remove the scratch files in ``directory`` whose process is gone; return their paths.

    Those of an unfinished job stay as long as the job can be resumed: its hidden sibling is there.
    """
    removed = fsio.sweep(os.path.join(directory, NAME))
    for name in sorted(os.listdir(directory)) if os.path.isdir(directory) else ():
        if found := _OF_JOB.fullmatch(name):
            log = read_log(os.path.join(directory, name))
            if log is None or not os.path.exists(str(log.head.get("for"))):
                removed += fsio.sweep(os.path.join(directory, found[1]))
    return removed


class ScratchArray(Stored, Target):
    """A temporary array, read and written by region, from many threads and processes.

    The object that created it owns it: the file goes with it, or with its process. Pickled copies
    read and write the same file while the owner lives. Any region may be read or written; regions
    written at the same time must not overlap. What was not written reads as zero bytes.

    Parameters
    ----------
    directory
        Where its file is made; what killed processes left there is removed first.
    shape, dtype
        As of any array, without Python objects.
    tile
        Elements per axis of a tile, each at least 1.
    name
        What its file's name begins with.
    adopt
        A scratch file of the same array that another process left, and its lock, to go on with.

    Examples
    --------
    >>> import tempfile
    >>> scratch = np.empty(1 << 18, "u1")
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     a = ScratchArray(directory, (4, 5), "i4", (2, 2))
    ...     a.write(((1, 3), (0, 5)), np.arange(10, dtype="i4").reshape(2, 5), scratch)
    ...     out = np.empty((3, 1), "i4")
    ...     a.read(((1, 4), (4, 5)), out, scratch)
    ...     a.remove()
    >>> out.ravel()
    array([4, 9, 0], dtype=int32)
    """

    contiguous = False
    distributable = True
    format = "scratch"

    def __init__(
        self,
        directory: str,
        shape: Shape,
        dtype: Any,
        tile: Shape,
        *,
        name: str = NAME,
        adopt: tuple[str, int] | None = None,
    ) -> None:
        self.shape, self.dtype = tuple(shape), np.dtype(dtype)
        if self.dtype.hasobject:
            raise UnsupportedError(f"dtype {self.dtype} holds Python objects, which cannot lie in a file")
        if len(tile) != len(self.shape) or any(n < 1 for n in tile):
            raise GridError(f"tile {tuple(tile)} does not fit shape {self.shape}: one size of 1 or more per axis")
        self.grid = Grid(self.shape, tuple(tile))
        self._slot = prod(self.grid.steps) * self.dtype.itemsize  # bytes
        size = self.grid.size * self._slot
        fsio.make_dir(directory)
        if directory not in _swept:
            sweep_scratch(directory)
            _swept.add(directory)
        if adopt is None:
            _check_space(directory, prod(self.shape) * self.dtype.itemsize)
            # Others who share the directory need not see what passes through.
            with _room(directory):
                adopt = fsio.new_part(os.path.join(directory, name), size=size, reserve=False, mode=0o600)
        self.path, lock = adopt
        self.part = self.path
        self._file = Descriptor(self.path, writable=True)
        self._owned: fsio.Owned | None = fsio.Owned(self, self.path, lock)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_owned": None}

    def _pieces(self, region: Region) -> Iterator[tuple[int, Shape, Region, Any]]:
        """Yield per tile: its byte in the file, its shape, the region within it, the key within the block."""
        for index in self.grid.touching(region):
            tile = self.grid.region(index)
            common = intersect(tile, region)
            assert common is not None, "touching yields tiles that touch"
            number = 0
            for i, count in zip(index, self.grid.counts, strict=True):
                number = number * count + i
            local = shift(common, [-a for a, _ in tile])
            yield number * self._slot, region_shape(tile), local, (*region_slices(common, region), ...)

    def read(self, region: Region, out: Array, scratch: Array) -> None:
        """Fill ``out`` with ``region``; see `Stored.read`."""
        check_block(region, out, self.dtype)
        for offset, tile, local, place in self._pieces(region):
            read_block(self._file, offset, tile, local, out=out[place], scratch=scratch)

    def read_runs(self, starts: Array, lengths: Array, out: Array) -> None:
        """Fill ``out`` (one axis, contiguous) with runs of elements of an array of one tile, one run after another."""
        item = self.dtype.itemsize
        view = memoryview(out.view(plain(out.dtype)).reshape(-1).view(np.uint8)) if out.nbytes else memoryview(b"")
        ends = (np.cumsum(lengths) * item).tolist()
        wanted = [(at, end) for at, end in zip([0, *ends], ends, strict=False) if at < end]
        offsets = (starts[lengths > 0] * item).tolist()
        self._file.read_each([view[a:b] for a, b in wanted], offsets)

    def give_back(self, starts: Array, ends: Array) -> None:
        """Free the memory of runs of elements of an array of one tile, none of which will be read, if it lies there."""
        item, page = self.dtype.itemsize, mmap.PAGESIZE
        firsts, lasts = -(-starts * item // page) * page, ends * item // page * page
        some = firsts < lasts
        fsio.calls.give_back(self._file.get(), zip(firsts[some].tolist(), lasts[some].tolist(), strict=True))

    def write(self, region: Region, block: Array, scratch: Array) -> None:
        """Write ``block`` at ``region``, which need not be whole tiles; see `Target.write`."""
        check_block(region, block, self.dtype)
        with _room(os.path.dirname(self.path)):
            for offset, tile, local, place in self._pieces(region):
                write_block(self._file, offset, tile, local, block=block[place], scratch=scratch)

    @property
    def unit(self) -> Shape:
        """Any region may be written."""
        return (1,) * len(self.shape)

    def scratch_bytes(self, region: Region) -> int:
        """Return the bytes of scratch that reading or writing ``region`` may take."""
        steps = self.grid.steps
        widest = tuple((0, min(b - a, s)) for (a, b), s in zip(region, steps, strict=True))
        return staging(steps, widest, self.dtype.itemsize)

    def bytes_read(self, region: Region) -> int:
        """Return the bytes read for ``region``, gaps that are read over included."""
        item = self.dtype.itemsize
        return sum(bytes_moved(tile, local, item) for _, tile, local, _ in self._pieces(region))

    def generation(self) -> str:
        """Return the file's name: a scratch array is written once, then read."""
        return self.path

    def settle(self, regions: Sequence[Region], *, durable: bool) -> list[int]:
        """Return 0 for each region: a scratch file has no checksums; see `Target.settle`."""
        if durable:
            fsio.sync_file(self._file.get())
        return [0] * len(regions)

    def release(self) -> None:
        """Give up the lock without removing the file; see `Target.release`."""
        self._file.close()
        if self._owned is not None:
            self._owned.release()

    def commit(self) -> None:
        """Do nothing: a scratch array has no other name to appear under."""

    def abort(self) -> None:
        """Remove the file; never raises."""
        self.remove()

    def remove(self) -> None:
        """Remove the file now, if this object owns it; never raises."""
        self._file.close()
        if self._owned is not None:
            self._owned.remove()


def _check_space(directory: str, nbytes: int) -> None:
    """Raise OSError if ``nbytes`` do not fit the disk now; a sparse file reserves nothing."""
    free = fsio.calls.free_bytes(directory)
    if free is not None and nbytes > free:
        words = f"scratch array needs {nbytes} B, the disk has {free} B free; {ADVICE}"
        raise OSError(errno.ENOSPC, words, directory)


@contextmanager
def _room(directory: str) -> Iterator[None]:
    """Say of an error for want of space where the space is missing, and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            words = f"{error.strerror} for temporary files in {directory}; {ADVICE}"
            raise OSError(error.errno, words, error.filename or directory) from None
        raise
