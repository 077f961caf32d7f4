"""What a format must offer: arrays at rest that can be read by region, and targets written by region."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable
from typing import Any

import numpy as np

from chunkarr.grid import Grid, Region, Shape

__all__ = ["Stored", "Target"]


class Stored(ABC):
    """An array at rest. Cheap to hold, safe to share between threads, pickled as a recipe.

    Pickling keeps (path, options, generation) and reopens where it is used: no handle, no data.
    """

    shape: Shape
    dtype: np.dtype[Any]  # as the user sees it, byte order and padding included
    grid: Grid  # storage chunks (what one codec call decodes); one box if contiguous
    contiguous: bool  # True if any region can be read alone at the cost of its own bytes
    format: str  # name of the row in the table of formats
    path: str  # where it lies; "" for arrays in memory

    @abstractmethod
    def read(self, region: Region, out: np.ndarray[Any, Any], scratch: np.ndarray[Any, Any]) -> None:
        """Fill ``out`` (of the region's shape, this dtype, any strides) with ``region``.

        ``scratch`` is a uint8 array of at least ``scratch_bytes(region)`` bytes, owned by the calling
        task; its content is lost. Allocates nothing of the size of a chunk besides.
        Raises CorruptChunkError or MissingChunkError naming array, chunk and file.
        """

    @abstractmethod
    def scratch_bytes(self, region: Region) -> int:
        """Return the bytes that ``read`` of ``region`` needs besides ``out`` (encoded + decoded temporaries)."""

    @abstractmethod
    def bytes_read(self, region: Region) -> int:
        """Return the decoded bytes that reading ``region`` costs: whole chunks counted."""

    @abstractmethod
    def generation(self) -> Hashable:
        """Return what changes when the stored data change (size, mtime_ns, inode; manifest), read afresh."""


class Target(ABC):
    """A new array being written: a hidden sibling that appears under its name on ``commit`` or never.

    Life: the coordinator creates it, tasks call ``write`` (any thread; other processes if
    ``distributable``), the coordinator calls ``commit`` or ``abort``. Pickles as a recipe for writers.
    """

    shape: Shape
    dtype: np.dtype[Any]
    grid: Grid  # unit of writing: a shard, else a chunk, else 1-element boxes where any region can be written
    distributable: bool  # False: only this process may write (HDF5)

    @abstractmethod
    def write(self, region: Region, block: np.ndarray[Any, Any], scratch: np.ndarray[Any, Any]) -> None:
        """Write ``block`` (any strides, this dtype) at ``region``, made of whole boxes of ``grid``."""

    @abstractmethod
    def scratch_bytes(self, region: Region) -> int:
        """Return the bytes that ``write`` of ``region`` holds besides ``block`` (one chunk raw + encoded)."""

    @abstractmethod
    def commit(self) -> None:
        """Make the array appear, whole, under its name: fsync, then rename."""

    @abstractmethod
    def abort(self) -> None:
        """Remove every trace of the unfinished array; never raises."""
