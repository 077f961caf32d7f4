"""Arrays that lie in one file: opened to be read or changed, of one generation, found again as they are now."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import Any

from chunkarr import fsio, settings
from chunkarr.errors import GenerationChangedError, OptionError, UnsupportedError
from chunkarr.formats import journal
from chunkarr.formats.contract import Stored
from chunkarr.formats.flat import check_shape
from chunkarr.formats.runs import file_generation
from chunkarr.grid import Shape

__all__ = ["READ", "Access", "FileStored", "check_access"]

DURABLE: dict[str | None, fsio.Durability | None] = {None: None, "full": "full", "process": "process"}


@dataclass(frozen=True, slots=True)
class Access:
    """What an array was opened for."""

    mode: str = "r"  # or "r+"
    durability: fsio.Durability | None = None  # of changes; None: as the setting says then
    timeout: float = 0.0  # seconds to wait for another writer
    inplace: bool | None = None  # whether changes are copied into the file; None: where that writes less

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


class FileStored(Stored):
    """What arrays in a file share: their generation, and whether they can be changed."""

    def _found(self, path: str, generation: tuple[int, int, int], access: Access) -> None:
        """Note what the file was when it was found good, and what it was opened for."""
        self.path, self.found, self.access = path, generation, access
        self.writable = access.mode == "r+"
        self.file = journal.resolve(path)
        self._commit_file = journal.commit_file(self.file)

    def check_generation(self) -> None:
        """Raise GenerationChangedError if what was read may be of another generation; see `journal`."""
        if os.access(self._commit_file, os.F_OK) or file_generation(self.path) != self.found:
            raise GenerationChangedError(
                f"{self.path}: changed while it was read, or since it was opened: "
                f"(size, mtime_ns, inode) was {self.found}, is {self.generation()}"
            )

    def generation(self) -> tuple[int, int, int]:
        """Return size, mtime_ns and inode of the file as it is now; inode -1 while a change is put in place."""
        waiting = os.access(self._commit_file, os.F_OK)  # first, as `journal` says
        size, modified, inode = file_generation(self.path)
        return size, modified, -1 if waiting else inode

    def fresh(self) -> FileStored:
        """Return the array as it is now; see `Stored.fresh`."""
        return self if self.generation() == self.found else self.reopen()

    def reopen(self) -> FileStored:
        """Open the array again, as it is now."""
        raise NotImplementedError

    def check_resize(self, shape: Shape) -> Shape:
        """Return ``shape`` if the array can have it."""
        if len(shape) != len(self.shape):
            raise OptionError(f"{self.path}: shape {self.shape} cannot become {tuple(shape)}: the axes stay as many")
        return check_shape(self.path, shape, self.dtype, OptionError)

    def check_writable(self) -> None:
        """Raise UnsupportedError if it was opened to be read."""
        if not self.writable:
            raise UnsupportedError(f'{self.path}: was opened with mode="r"; open it with mode="r+" to change it')
