"""Files as the HDF5 library sees them when it writes: positional reads and writes that never fail.

A full disk must not reach the library: after a failed write the file is lost anyway, and a library that saw
the failure cannot close the file and dies with the process. So the failure is kept here, for the caller to raise.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import h5py

from chunkarr import fsio
from chunkarr.formats.hdf5_access import LOCK, naming
from chunkarr.formats.patch import Patch

__all__ = ["LibraryFile", "PartFile", "PatchedFile"]


class LibraryFile:
    """What h5py writes to; subclasses say where the bytes go."""

    path: str

    def __init__(self) -> None:
        self.failure: BaseException | None = None
        self.file: h5py.File | None = None  # what writes here, while it is open
        self._at = 0

    @property
    def size(self) -> int:
        """Bytes of the file."""
        raise NotImplementedError

    def read_at(self, view: Any, offset: int) -> None:
        """Fill ``view`` with the bytes from ``offset`` on."""
        raise NotImplementedError

    def write_at(self, buffer: Any, offset: int) -> None:
        """Write all of ``buffer`` at ``offset``."""
        raise NotImplementedError

    def resize(self, size: int) -> None:
        """Let the file have ``size`` bytes."""
        raise NotImplementedError

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the position."""
        self._at = offset if whence == os.SEEK_SET else self.size + offset
        return self._at

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes."""
        buffer = bytearray(size)
        return bytes(buffer[: self.readinto(buffer)])

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer`` as far as there are bytes."""
        if self.failure is not None:
            return 0
        view = memoryview(buffer).cast("B")
        count = max(0, min(view.nbytes, self.size - self._at))
        try:
            self.read_at(view[:count], self._at)
        except BaseException as error:  # noqa: BLE001 - raised by `raise_failure`
            self.failure = error
            return 0
        self._at += count
        return count

    def write(self, buffer: Any) -> int:
        """Write at the position; after a failure nothing is written any more."""
        view = memoryview(buffer).cast("B")
        if self.failure is None:
            try:
                self.write_at(view, self._at)
            except BaseException as error:  # noqa: BLE001 - raised by `raise_failure`
                self.failure = error
        self._at += view.nbytes
        return view.nbytes

    def truncate(self, size: int) -> int:
        """Cut or lengthen the file."""
        if self.failure is None:
            try:
                self.resize(size)
            except BaseException as error:  # noqa: BLE001 - raised by `raise_failure`
                self.failure = error
        return size

    def flush(self) -> None:
        """Do nothing: the file is synced when it is whole."""

    def raise_failure(self) -> None:
        """Raise what failed."""
        if self.failure is not None:
            raise self.failure

    @contextlib.contextmanager
    def library(self, path: str, member: str) -> Iterator[None]:
        """Have the library for oneself; raise what failed beneath it, not what it made of that."""
        with LOCK:
            try:
                with naming(path, member):
                    yield
            finally:
                self.raise_failure()

    def close_library(self) -> None:
        """Let the library write what it holds, and close."""
        if self.file is not None:
            self.file.close()
            self.file = None
        self.raise_failure()

    def close(self) -> None:
        """Close for good; what the library has not written by now is dropped."""
        self.failure = self.failure or RuntimeError(f"{self.path}: was committed or aborted")
        # Not under LOCK: finalizers come here, in a thread that may hold the library's own lock.
        if self.file is not None:
            with contextlib.suppress(Exception):
                self.file.close()
            self.file = None


class PartFile(LibraryFile):
    """An unfinished file."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path
        self.fd = fsio.open_write(path)

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return os.fstat(self.fd).st_size

    def read_at(self, view: Any, offset: int) -> None:
        """Fill ``view`` with the bytes from ``offset`` on."""
        fsio.read_into(self.fd, view, offset, self.path)

    def write_at(self, buffer: Any, offset: int) -> None:
        """Write all of ``buffer`` at ``offset``."""
        fsio.write_at(self.fd, buffer, offset, self.path)

    def resize(self, size: int) -> None:
        """Let the file have ``size`` bytes."""
        fsio.calls.truncate(self.fd, size)

    def close(self) -> None:
        """Close for good."""
        super().close()
        os.close(self.fd)


class PatchedFile(LibraryFile):
    """A file that is there, with changes over it that lie beside it."""

    def __init__(self, path: str, patch: Patch) -> None:
        super().__init__()
        self.path, self.patch = path, patch

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.patch.size

    def read_at(self, view: Any, offset: int) -> None:
        """Fill ``view`` with the bytes from ``offset`` on."""
        self.patch.read_into(view, offset)

    def write_at(self, buffer: Any, offset: int) -> None:
        """Write all of ``buffer`` at ``offset``; the file grows where that is beyond its end."""
        end = offset + memoryview(buffer).nbytes
        if end > self.patch.size:
            self.patch.resize(end)
        self.patch.write_at(buffer, offset)

    def resize(self, size: int) -> None:
        """Let the file have ``size`` bytes."""
        if size != self.patch.size:
            self.patch.resize(size)
