"""Changes of npy and raw files: staged beside the file, then copied into it or renamed over it."""

from __future__ import annotations

import os
import weakref
from collections.abc import Hashable
from math import prod
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from chunkarr import fsio
from chunkarr.errors import CommittedNotAppliedError, UnsupportedError
from chunkarr.formats import journal
from chunkarr.formats.contract import Stored, Update
from chunkarr.formats.flat import check_block
from chunkarr.formats.patch import Patch
from chunkarr.formats.runs import bytes_moved, change_block, read_block, staging
from chunkarr.fsio import ArrayLock
from chunkarr.grid import Grid, Region, Shape, region_shape

if TYPE_CHECKING:
    from chunkarr.formats.flat_stored import FlatStored

__all__ = ["FlatUpdate"]

Array = np.ndarray[Any, Any]
PIECE = 1 << 20  # bytes moved at once where a new shape gives the elements other places


class FlatUpdate(Update):
    """A change of an array that is one block of bytes in a file.

    Parameters
    ----------
    stored
        The array, opened to be written.
    shape
        What it will have; None: what it has.
    """

    distributable = False

    def __init__(self, stored: FlatStored, shape: Shape | None) -> None:
        self.file, self._durability = stored.file, stored.access.durable()
        lock = journal.hold(self.file, stored.access.timeout)
        try:
            before = stored.newest()
            self.before: FlatStored = before
            self.shape = before.shape if shape is None else before.check_resize(shape)
            self.dtype, self.order = before.dtype, before.order
            self.grid = Grid(self.shape, (1,) * len(self.shape))
            self._generation, self._broken = before.found, False
            head = before.head(self.shape) if self.shape != before.shape else b""
            self.offset = len(head) or before.offset
            size = self._generation[0]
            if self.shape != before.shape:
                size = self.offset + prod(self.shape) * self.dtype.itemsize
            path = journal.journal_file(self.file)
            fd = fsio.open_new(path, size, reserve=False, mode=0o600)
        except BaseException:
            lock.release()
            raise
        self._close = weakref.finalize(self, _close, path, fd, lock, os.getpid())
        self._patch = Patch(path, fd, before.source, self._kept(size), size)
        try:
            self._move_elements()
            if head:
                self._patch.write_at(head, 0)
        except BaseException:
            self.abort()
            raise

    def __reduce__(self) -> NoReturn:
        raise UnsupportedError(f"{self.file}: is changed by the process that holds its lock only")

    def _moves(self) -> bool:
        """Say whether elements lie elsewhere in the file after the change."""
        if self.offset != self.before.offset:
            return True
        fast = slice(1, None) if self.order == "C" else slice(None, -1)
        return self.shape[fast] != self.before.shape[fast]

    def _kept(self, size: int) -> int:
        """Return the bytes at the beginning of the file that stay where they are."""
        if self.shape == self.before.shape:
            return size
        if self._moves():
            return min(self.before.offset, self.offset)
        return self.before.offset + prod(self.before.shape) * self.dtype.itemsize

    def _move_elements(self) -> None:
        """Copy the elements that both shapes have to their new places, where these are others."""
        if self.shape == self.before.shape or not self._moves():
            return
        self._patch.complete(np.empty(PIECE, np.uint8))
        common = tuple(map(min, self.shape, self.before.shape))
        for box in _pieces(common, self.dtype.itemsize, self.order):
            values = np.empty(region_shape(box), self.dtype, self.order)
            scratch = np.empty(max(self.scratch_bytes(box), self.before.scratch_bytes(box)), np.uint8)
            self.before.read(box, values, scratch)
            self.write(box, values, scratch)
        self._patch.marks[:] = True

    def write(self, region: Region, block: Array, scratch: Array) -> None:
        """Stage ``block`` at ``region``; see `Target.write`."""
        check_block(region, block, self.dtype)
        place, block = self.before.in_file(self.shape, region), block.T if self.order == "F" else block
        try:
            change_block(self._patch, self.offset, *place, block=block, scratch=scratch)
        except BaseException:
            self._broken = True
            raise

    def scratch_bytes(self, region: Region) -> int:
        """Return the bytes of scratch that staging ``region`` may take; see `Target.scratch_bytes`."""
        return staging(*self.before.in_file(self.shape, region), self.dtype.itemsize)

    def staged(self) -> Stored:
        """Return the array as it would be after ``commit`` now; see `Update.staged`."""
        return _Staged(self, self._patch)

    def commit(self) -> None:
        """Make the change; see `journal` for when it is made."""
        if not self._close.alive or self._broken:
            raise RuntimeError(f"{self.file}: a change is committed or aborted once, and not after a failed write")
        try:
            if self._patch.marks.any() or self.shape != self.before.shape:
                journal.make(
                    self._patch, self.file, self._generation, self._durability, inplace=self.before.access.inplace
                )
        except CommittedNotAppliedError:
            self.before.resized(self.shape)
            raise
        else:
            self.before.resized(self.shape)
        finally:
            self._close()

    def abort(self) -> None:
        """Forget the change; never raises."""
        self._close()


class _Staged(Stored):
    """An array with what an update staged over it."""

    contiguous = True

    def __init__(self, update: FlatUpdate, patch: Patch) -> None:
        self.shape, self.dtype, self.grid = update.shape, update.dtype, Grid(update.shape, update.shape)
        self.path, self.format = update.before.path, update.before.format
        self._update, self._patch = update, patch

    def __reduce__(self) -> NoReturn:
        self._update.__reduce__()

    def read(self, region: Region, out: Array, scratch: Array) -> None:
        """Fill ``out`` with ``region``; see `Stored.read`."""
        check_block(region, out, self.dtype)
        place = self._update.before.in_file(self.shape, region)
        out = out.T if self._update.order == "F" else out
        read_block(self._patch, self._update.offset, *place, out=out, scratch=scratch)

    def scratch_bytes(self, region: Region) -> int:
        """Return the bytes of scratch that reading ``region`` may take; see `Stored.scratch_bytes`."""
        return self._update.scratch_bytes(region)

    def bytes_read(self, region: Region) -> int:
        """Return the bytes read for ``region``, gaps that are read over included."""
        return bytes_moved(*self._update.before.in_file(self.shape, region), self.dtype.itemsize)

    def generation(self) -> Hashable:
        """Return what changes whenever something is staged."""
        return self._update.before.found, self._patch.writes


def _close(path: str, fd: int, lock: ArrayLock, pid: int) -> None:
    """Remove what was staged and let the next writer in; a forked child leaves its parent's alone."""
    journal.forget(path, fd, mine=os.getpid() == pid)
    lock.release()


def _pieces(shape: Shape, item: int, order: str) -> Grid:
    """Cut an array into boxes of about `PIECE` bytes, each a run in the file: whole fast axes, a range of one."""
    steps: list[int] = []
    room = max(1, PIECE // max(1, item))
    for n in shape if order == "F" else reversed(shape):
        step = max(1, min(n, room))
        steps.append(step)
        room = room // step if step == n else 1
    return Grid(shape, tuple(steps) if order == "F" else tuple(reversed(steps)))
