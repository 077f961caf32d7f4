"""Arrays in memory, offered as sources and targets like those at rest."""

from __future__ import annotations

from typing import Any

import numpy as np

from chunkarr.formats.contract import Stored, Target
from chunkarr.formats.flat import check_block
from chunkarr.formats.runs import plain
from chunkarr.grid import Grid, Region, region_size, region_slices

__all__ = ["MemoryStored", "MemoryTarget"]

Array = np.ndarray[Any, Any]


def _copy(target: Array, source: Array) -> None:
    """Copy elements as bytes, padding included; Python objects by reference."""
    if target.itemsize and not target.dtype.hasobject:
        kind = plain(target.dtype)
        target, source = target.view(kind), source.view(kind)
    target[...] = source


class MemoryStored(Stored):
    """An ndarray as a source, seen through a read-only view; pickling copies its data.

    Parameters
    ----------
    array
        What it reads from. Whoever changes it later changes what is read.

    Examples
    --------
    >>> source = MemoryStored(np.arange(6).reshape(2, 3))
    >>> out = np.empty((1, 2), source.dtype)
    >>> source.read(((1, 2), (0, 2)), out, np.empty(0, "u1"))
    >>> out
    array([[3, 4]])
    """

    contiguous = True
    format = "memory"
    path = ""

    def __init__(self, array: Array) -> None:
        self.array = np.asarray(array).view()  # for views without a copy
        self.array.flags.writeable = False
        self.shape, self.dtype = self.array.shape, self.array.dtype
        self.grid = Grid(self.shape, self.shape)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the dtype too: NumPy loses the byte order of arrays without axes below protocol 5."""
        return _restored, (self.array, self.dtype)

    def read(self, region: Region, out: Array, scratch: Array) -> None:  # noqa: ARG002 - the contract's
        """Fill ``out`` with ``region``; see `Stored.read`."""
        check_block(region, out, self.dtype)
        key: Any = (*region_slices(region), ...)  # with the ellipsis, of no axes too a view
        _copy(out, self.array[key])

    def scratch_bytes(self, region: Region) -> int:  # noqa: ARG002 - the contract's
        """Return 0: nothing is held besides the output."""
        return 0

    def bytes_read(self, region: Region) -> int:
        """Return the bytes of ``region``."""
        return region_size(region) * self.dtype.itemsize

    def generation(self) -> int:
        """Return 0: that an array in memory changes is not seen."""
        return 0


def _restored(array: Array, dtype: np.dtype[Any]) -> MemoryStored:
    return MemoryStored(array.astype(dtype, copy=False))


class MemoryTarget(Target):
    """An ndarray that is filled by region; it is there as soon as it is written.

    Parameters
    ----------
    array
        What is filled: writable, any strides.
    """

    distributable = False

    def __init__(self, array: Array) -> None:
        if not array.flags.writeable:
            raise ValueError("output array is read-only")
        self.array = array
        self.shape, self.dtype = array.shape, array.dtype
        self.grid = Grid(self.shape, (1,) * array.ndim)

    def write(self, region: Region, block: Array, scratch: Array) -> None:  # noqa: ARG002 - the contract's
        """Write ``block`` at ``region``; see `Target.write`."""
        check_block(region, block, self.dtype)
        key: Any = (*region_slices(region), ...)
        _copy(self.array[key], block)

    def scratch_bytes(self, region: Region) -> int:  # noqa: ARG002 - the contract's
        """Return 0: nothing is held besides the block."""
        return 0

    def commit(self) -> None:
        """Do nothing: the values are in the array."""

    def abort(self) -> None:
        """Do nothing: the array is the caller's."""
