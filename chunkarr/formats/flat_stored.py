"""Arrays that lie in a file as one uncompressed block in C or Fortran order, read and changed by region."""

from __future__ import annotations

from typing import Any

import numpy as np

from chunkarr.errors import CorruptChunkError, GenerationChangedError
from chunkarr.formats.contract import Update
from chunkarr.formats.file_stored import READ, Access, FileStored
from chunkarr.formats.flat import Order, check_block
from chunkarr.formats.flat_update import FlatUpdate
from chunkarr.formats.runs import Descriptor, bytes_moved, read_block, staging
from chunkarr.grid import Grid, Region, Shape

__all__ = ["FlatStored"]

Array = np.ndarray[Any, Any]


class FlatStored(FileStored):
    """An array that is one block of bytes at an offset in a file.

    Parameters
    ----------
    path, format
        The file, and the name of its format's row.
    shape, dtype, order
        What the block holds; ``order`` is "C" or "F".
    offset
        Bytes before the block.
    generation
        What `file_generation` said when the file was found good.
    access
        What it was opened for.
    """

    contiguous = True

    def __init__(
        self,
        path: str,
        shape: Shape,
        dtype: np.dtype[Any],
        *,
        format: str,  # noqa: A002 - the contract's word
        offset: int,
        order: Order,
        generation: tuple[int, int, int],
        access: Access = READ,
    ) -> None:
        self._found(path, generation, access)
        self.format = format
        self.shape, self.dtype, self.order, self.offset = shape, dtype, order, offset
        self.grid = Grid(shape, shape)
        self.source = Descriptor(path, writable=False)

    def read(self, region: Region, out: Array, scratch: Array) -> None:
        """Fill ``out`` with ``region``; see `Stored.read`."""
        check_block(region, out, self.dtype)
        try:
            self.source.get(self.found)
            if self.order == "F":
                read_block(self.source, self.offset, self.shape[::-1], region[::-1], out=out.T, scratch=scratch)
            else:
                read_block(self.source, self.offset, self.shape, region, out=out, scratch=scratch)
        except CorruptChunkError:  # cut short, perhaps by a writer
            self.check_generation()
            raise
        self.check_generation()

    def scratch_bytes(self, region: Region) -> int:
        """Return the bytes of scratch that reading ``region`` may take; see `Stored.scratch_bytes`."""
        return staging(*self.in_file(self.shape, region), self.dtype.itemsize)

    def bytes_read(self, region: Region) -> int:
        """Return the bytes read for ``region``, gaps that are read over included."""
        return bytes_moved(*self.in_file(self.shape, region), self.dtype.itemsize)

    def in_file(self, shape: Shape, region: Region) -> tuple[Shape, Region]:
        """Return shape and region of the C-ordered array that lies in the same bytes."""
        return (shape[::-1], region[::-1]) if self.order == "F" else (shape, region)

    # --- changes ---

    def update(self, shape: Shape | None = None) -> Update:
        """Begin a change; see `Stored.update`."""
        self.check_writable()
        return FlatUpdate(self, shape)

    def newest(self) -> FlatStored:
        """Return the array as it is now, if it is one block of bytes still."""
        now = self.fresh()
        if not isinstance(now, FlatStored):
            raise GenerationChangedError(f"{self.path}: is stored in another way since it was opened; open it again")
        return now

    def head(self, shape: Shape) -> bytes:
        """Return what the file has before the block where the array has ``shape``; nothing if that stays as it is."""
        del shape
        return b""

    def resized(self, shape: Shape) -> None:
        """Hear that the array was given ``shape``."""
