"""Locks of arrays that are being changed: one writer at a time, whatever process or thread it is in.

A lock is a file that is locked with flock, so it dies with the process that holds it. It belongs to
the process that took it: a forked child closes its copies of the descriptors, which would otherwise
keep the lock alive after the parent has gone.
"""

from __future__ import annotations

import contextlib
import os
import time
import weakref

from chunkarr.errors import ArrayLockedError, UnsafeInputError
from chunkarr.fsio import calls
from chunkarr.fsio.publishing import try_hold
from chunkarr.fsio.transfer import BASE_FLAGS

__all__ = ["ArrayLock"]

PAUSE = 0.001  # seconds between the first two attempts; doubled up to 0.05


class ArrayLock:
    """The lock of one array, held from when it is made until `release`.

    Parameters
    ----------
    file
        The lock file; made if it is not there (its directory must be).
    array
        What the error names.
    timeout
        Seconds to wait for another writer.
    make
        Whether ``file`` is made if it is not there; else that is a FileNotFoundError.

    Raises
    ------
    ArrayLockedError
        If another writer, in this process or another, still holds it then.
    UnsafeInputError
        If ``file`` is a symbolic link.
    """

    def __init__(self, file: str, array: str, timeout: float = 0.0, *, make: bool = True) -> None:
        self.file = file
        self.process = os.getpid()
        self._fd: int | None = _take(file, array, timeout, make=make)
        _HELD.add(self)

    @property
    def held(self) -> bool:
        """Whether this process holds it still."""
        return self._fd is not None and self.process == os.getpid()

    def release(self) -> None:
        """Let the next writer in; does nothing the second time, or in a forked child."""
        fd, self._fd = self._fd, None
        if fd is not None and self.process == os.getpid():
            os.close(fd)

    def forget(self) -> None:
        """Close a forked child's copy; the parent's lock stays."""
        fd, self._fd = self._fd, None
        if fd is not None:
            with contextlib.suppress(OSError):
                os.close(fd)

    def __del__(self) -> None:
        """Let go of what was forgotten."""
        with contextlib.suppress(Exception):
            self.release()


def _take(file: str, array: str, timeout: float, *, make: bool) -> int:
    """Return a descriptor that holds ``file``."""
    end = time.monotonic() + timeout
    pause = PAUSE
    while True:
        try:
            fd = try_hold(file)
        except FileNotFoundError:
            # Not made yet, or removed or replaced by the writer that held it.
            if os.path.islink(file):
                raise UnsafeInputError(f"{file}: is a symbolic link, not a lock; remove it") from None
            if not make:
                os.stat(file)
                continue
            os.close(calls.open_for_change(file, os.O_RDWR | os.O_CREAT | BASE_FLAGS, 0o666))
            continue
        if fd is not None:
            return fd
        left = end - time.monotonic()
        if left <= 0:
            waited = f" after {timeout:g} s" if timeout else ""
            raise ArrayLockedError(
                f"{array}: another writer holds it{waited}; nothing was changed; open with timeout=seconds to wait"
            )
        time.sleep(min(pause, left))
        pause = min(2 * pause, 0.05)


_HELD: weakref.WeakSet[ArrayLock] = weakref.WeakSet()


def _forget_all() -> None:
    for lock in list(_HELD):
        lock.forget()
    _HELD.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
