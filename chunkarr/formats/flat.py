"""New files that hold an array as one uncompressed block in C or Fortran order: npy, raw."""

from __future__ import annotations

import os
from collections.abc import Sequence
from math import prod
from typing import Any, Literal

import numpy as np

from chunkarr import fsio
from chunkarr.errors import ChunkarrError, OptionError, ResumeMismatchError
from chunkarr.formats import journal
from chunkarr.formats.contract import Target
from chunkarr.formats.runs import Descriptor, staging, write_block
from chunkarr.grid import Grid, Region, Shape, region_shape

__all__ = ["FlatTarget", "Order", "check_block", "check_order", "check_shape"]

Order = Literal["C", "F"]
Array = np.ndarray[Any, Any]

MAX_DIMS = 64  # as NumPy


class FlatTarget(Target):
    """A new file of ``header`` and one block of bytes, written as a hidden sibling.

    Parameters
    ----------
    path, header
        The file to be, and the bytes before its block.
    shape, dtype, order
        What the block holds.
    overwrite, durability
        As in `journal.publish`.
    adopt
        An unfinished sibling of the same file and its lock, to go on with instead of a new one.
    tail
        Bytes after the block, zeros at first.
    """

    distributable = True

    def __init__(
        self,
        path: str,
        shape: Shape,
        dtype: np.dtype[Any],
        *,
        header: bytes,
        order: Order,
        overwrite: bool,
        durability: fsio.Durability,
        adopt: tuple[str, int] | None = None,
        tail: int = 0,
    ) -> None:
        self.path, self.shape, self.dtype, self.order = path, shape, dtype, order
        self.grid = Grid(shape, (1,) * len(shape))
        self.offset = len(header)
        self._overwrite, self._durability = overwrite, durability
        fsio.refuse_existing(path, overwrite)
        fsio.sweep(path)
        size = self.offset + prod(shape) * dtype.itemsize + tail
        if adopt is not None and os.path.getsize(adopt[0]) != size:
            raise ResumeMismatchError(
                f"{adopt[0]}: has {os.path.getsize(adopt[0])} B, not {size} B; start without resume"
            )
        self.part, lock = fsio.new_part(path, size=size) if adopt is None else adopt
        self._file = Descriptor(self.part, writable=True)
        self._owned: fsio.Owned | None = fsio.Owned(self, self.part, lock)
        try:
            fsio.write_at(self._file.get(), header, 0, self.part)
        except BaseException:
            # Now, not when the error and with it this object is forgotten.
            (self.abort if adopt is None else self.release)()
            raise

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_owned": None}

    def write(self, region: Region, block: Array, scratch: Array) -> None:
        """Write ``block`` at ``region``; see `Target.write`."""
        check_block(region, block, self.dtype)
        if self.order == "F":
            write_block(self._file, self.offset, self.shape[::-1], region[::-1], block=block.T, scratch=scratch)
        else:
            write_block(self._file, self.offset, self.shape, region, block=block, scratch=scratch)

    def scratch_bytes(self, region: Region) -> int:
        """Return the bytes of scratch that writing ``region`` may take; see `Target.scratch_bytes`."""
        return staging(*_c_order(self.shape, region, self.order), self.dtype.itemsize)

    def commit(self) -> None:
        """Make the file appear under its name; see `Target.commit`."""
        if self._owned is None or not self._owned.alive:
            raise RuntimeError(f"{self.path}: only the object that created a target commits it, once")
        if self._durability == "full":
            fsio.sync_file(self._file.get())
        self._file.close()
        journal.publish(self.part, self.path, self._overwrite, self._durability)
        self._owned.remove()

    def settle(self, regions: Sequence[Region], *, durable: bool) -> list[int]:
        """Return 0 for each region: the file has no checksums; see `Target.settle`."""
        if durable:
            fsio.sync_file(self._file.get())
        return [0] * len(regions)

    def release(self) -> None:
        """Give up the lock without removing the unfinished file; see `Target.release`."""
        self._file.close()
        if self._owned is not None:
            self._owned.release()

    def abort(self) -> None:
        """Remove the unfinished file; never raises."""
        self._file.close()
        if self._owned is not None:
            self._owned.remove()


def _c_order(shape: Shape, region: Region, order: Order) -> tuple[Shape, Region]:
    """Return shape and region of the C-ordered array that lies in the same bytes."""
    return (shape[::-1], region[::-1]) if order == "F" else (shape, region)


def check_block(region: Region, block: Array, dtype: np.dtype[Any]) -> None:
    """Raise ValueError or TypeError where a block would be read or written as other bytes than it is."""
    if block.dtype != dtype:
        raise TypeError(f"the block is of dtype {block.dtype}, the array of {dtype}")
    if block.shape != region_shape(region):
        raise ValueError(f"the block has shape {block.shape}, the region {region_shape(region)}")


def check_order(order: str) -> Order:
    """Return ``order`` if it is one."""
    if order == "C":
        return "C"
    if order == "F":
        return "F"
    raise OptionError(f'order is "C" or "F", not {order!r}')


def check_shape(path: str, shape: Sequence[Any], dtype: np.dtype[Any], error: type[ChunkarrError]) -> Shape:
    """Return ``shape`` as Python integers if an array can have it; raise ``error`` if not."""
    if len(shape) > MAX_DIMS:
        raise error(f"{path}: shape has {len(shape)} axes, at most {MAX_DIMS} are possible")
    for axis, n in enumerate(shape):
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or not 0 <= n < 1 << 63:
            raise error(f'{path}: "shape"[{axis}] must be an integer 0 to 2**63-1, is {n!r:.100}')
    whole = tuple(int(n) for n in shape)
    # An empty array of absurd other axes is refused as NumPy refuses it.
    if prod(n for n in whole if n) * max(dtype.itemsize, 1) >= 1 << 63:
        raise error(f"{path}: shape {whole} of dtype {dtype} is more than 2**63-1 B")
    return whole
