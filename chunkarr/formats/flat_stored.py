"""Arrays that lie in a file as one uncompressed block in C or Fortran order, read and changed by region."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from chunkarr import fsio, settings
from chunkarr.errors import CorruptChunkError, GenerationChangedError, OptionError, UnsupportedError
from chunkarr.formats import journal
from chunkarr.formats.contract import Stored
from chunkarr.formats.flat import Order, check_block, check_shape
from chunkarr.formats.flat_update import FlatUpdate
from chunkarr.formats.runs import Descriptor, bytes_moved, file_generation, read_block, staging
from chunkarr.grid import Grid, Region, Shape

__all__ = ["READ", "Access", "FlatStored", "check_access"]

Array = np.ndarray[Any, Any]
DURABLE: dict[str | None, fsio.Durability | None] = {None: None, "full": "full", "process": "process"}


@dataclass(frozen=True, slots=True)
class Access:
    """What an array was opened for."""

    mode: str = "r"  # or "r+"
    durability: fsio.Durability | None = None  # of changes; None: as the setting says then
    timeout: float = 0.0  # seconds to wait for another writer

    @property
    def options(self) -> dict[str, Any]:
        """The keywords of `open` that say this."""
        return {"mode": self.mode, "durability": self.durability, "timeout": self.timeout}

    def durable(self) -> fsio.Durability:
        """Return the durability of a change that begins now."""
        return self.durability or DURABLE[settings.durability()] or "full"


READ = Access()


def check_access(path: str, mode: str, durability: str | None, timeout: Any) -> Access:
    """Return how ``path`` is to be opened, if that is possible.

    Raises
    ------
    OptionError
        If an option has a value that it does not take.
    PermissionError
        If the file may not be written to.
    """
    if mode not in ("r", "r+"):
        raise OptionError(f'{path}: mode is "r" or "r+", not {mode!r}; new arrays are made by save and create')
    if durability not in DURABLE:
        raise OptionError(f'durability is "full" or "process", not {durability!r}')
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout >= 0:
        raise OptionError(f"timeout is a number of seconds, 0 or more, not {timeout!r}")
    if mode == "r+" and os.path.exists(path) and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
    return Access(mode, DURABLE[durability], float(timeout))


class FlatStored(Stored):
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
        self.path, self.format, self.access = path, format, access
        self.shape, self.dtype, self.order, self.offset = shape, dtype, order, offset
        self.grid = Grid(shape, shape)
        self.writable = access.mode == "r+"
        self.found = generation
        self.file = journal.resolve(path)
        self.source = Descriptor(path, writable=False)
        self._commit_file = journal.commit_file(self.file)

    def read(self, region: Region, out: Array, scratch: Array) -> None:
        """Fill ``out`` with ``region``; see `Stored.read`."""
        check_block(region, out, self.dtype)
        try:
            self.source.get(self.found)
            if self.order == "F":
                read_block(self.source, self.offset, self.shape[::-1], region[::-1], out=out.T, scratch=scratch)
            else:
                read_block(self.source, self.offset, self.shape, region, out=out, scratch=scratch)
        except CorruptChunkError:  # cut short: by a writer?
            self._check_generation()
            raise
        self._check_generation()

    def _check_generation(self) -> None:
        """Raise GenerationChangedError if what was read may be of another generation; see `journal`."""
        if os.access(self._commit_file, os.F_OK) or file_generation(self.path) != self.found:
            raise GenerationChangedError(
                f"{self.path}: changed while it was read, or since it was opened: "
                f"(size, mtime_ns, inode) was {self.found}, is {self.generation()}"
            )

    def scratch_bytes(self, region: Region) -> int:
        """Return the bytes of scratch that reading ``region`` may take; see `Stored.scratch_bytes`."""
        return staging(*self.in_file(self.shape, region), self.dtype.itemsize)

    def bytes_read(self, region: Region) -> int:
        """Return the bytes read for ``region``, gaps that are read over included."""
        return bytes_moved(*self.in_file(self.shape, region), self.dtype.itemsize)

    def in_file(self, shape: Shape, region: Region) -> tuple[Shape, Region]:
        """Return shape and region of the C-ordered array that lies in the same bytes."""
        return (shape[::-1], region[::-1]) if self.order == "F" else (shape, region)

    def generation(self) -> tuple[int, int, int]:
        """Return size, mtime_ns and inode of the file as it is now; inode -1 while a change is put in place."""
        waiting = os.access(self._commit_file, os.F_OK)  # first, as `journal` says
        size, modified, inode = file_generation(self.path)
        return size, modified, -1 if waiting else inode

    def fresh(self) -> FlatStored:
        """Return the array as it is now; see `Stored.fresh`."""
        return self if self.generation() == self.found else self.reopen()

    # --- changes ---

    def update(self, shape: Shape | None = None) -> FlatUpdate:
        """Begin a change; see `Stored.update`."""
        if not self.writable:
            raise UnsupportedError(f'{self.path}: was opened with mode="r"; open it with mode="r+" to change it')
        return FlatUpdate(self, shape)

    def reopen(self) -> FlatStored:
        """Open the array again, as it is now."""
        raise UnsupportedError(f"{self.path}: changed since it was opened; open it again")

    def check_resize(self, shape: Shape) -> Shape:
        """Return ``shape`` if the array can have it."""
        if len(shape) != len(self.shape):
            raise OptionError(f"{self.path}: shape {self.shape} cannot become {tuple(shape)}: the axes stay as many")
        return check_shape(self.path, shape, self.dtype, OptionError)

    def head(self, shape: Shape) -> bytes:
        """Return what the file has before the block where the array has ``shape``; nothing if that stays as it is."""
        del shape
        return b""

    def resized(self, shape: Shape) -> None:
        """Hear that the array was given ``shape``."""
