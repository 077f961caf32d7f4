"""The system calls that change a disk, one function each: the only place where chunkarr makes them.

Tests put a `Watcher` between a function and its call, to count, fail, tear or trace each of them, or to
kill the process there. Without a watcher a call costs one comparison more.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from typing import Any

__all__ = [
    "EXCHANGE",
    "NOREPLACE",
    "NO_SUCH_CALL",
    "Watcher",
    "chmod",
    "free_bytes",
    "fsync",
    "give_back",
    "link",
    "mkdir",
    "open_for_change",
    "pwrite",
    "rename",
    "rename_with",
    "replace",
    "reserve",
    "rmdir",
    "truncate",
    "unlink",
    "utime",
    "watched",
    "write",
    "writev",
]

# Called as watcher(name, call, args): does call(*args) and returns its result, or does something else.
Watcher = Callable[[str, Callable[..., Any], tuple[Any, ...]], Any]

NO_SUCH_CALL = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOTTY}
NOREPLACE, EXCHANGE = (4, 2) if sys.platform == "darwin" else (1, 2)  # flags of `rename_with`
_AT_FDCWD = -100
_HOLE = 3  # fallocate: make a hole, keep the size
_TMPFS = 0x01021994  # what fstatfs calls a file system in memory; statfs(2)

fcntl: Any = None if os.name == "nt" else import_module("fcntl")
_watcher: Watcher | None = None


@contextlib.contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Pass every call of this process through ``watcher`` while the context lasts."""
    global _watcher  # noqa: PLW0603 - one per process: that is its purpose
    before, _watcher = _watcher, watcher
    try:
        yield
    finally:
        _watcher = before


def _do(name: str, call: Callable[..., Any], *args: Any) -> Any:
    return call(*args) if _watcher is None else _watcher(name, call, args)


def open_for_change(path: str, flags: int, mode: int = 0o666) -> int:
    """Open a file for writing; with O_CREAT in ``flags``, make it."""
    fd: int = _do("open", os.open, path, flags, mode)
    return fd


def mkdir(path: str) -> None:
    """Make one directory."""
    _do("mkdir", os.mkdir, path)


def pwrite(fd: int, view: Any, offset: int) -> int:
    """Write once from ``view`` at ``offset``; return how many bytes went."""
    count: int = _do("pwrite", os.pwrite, fd, view, offset)
    return count


def write(fd: int, view: Any) -> int:
    """Write once at the descriptor's position; return how many bytes went."""
    count: int = _do("write", os.write, fd, view)
    return count


def writev(fd: int, views: list[Any]) -> int:
    """Write several buffers in one call at the descriptor's position; return how many bytes went."""
    count: int = _do("writev", os.writev, fd, views)
    return count


def truncate(fd: int, size: int) -> None:
    """Cut a file, or lengthen it by zeros."""
    _do("truncate", os.ftruncate, fd, size)


def free_bytes(place: str | int) -> int | None:
    """Return the bytes free on the file system of a path or descriptor; None if it does not tell, or has no limit."""
    if not hasattr(os, "statvfs"):
        return None
    state = os.statvfs(place)
    return state.f_bavail * state.f_frsize if state.f_blocks else None  # in memory without a limit there are none


def reserve(fd: int, size: int, start: int = 0) -> None:
    """Give a file the blocks for its bytes from ``start`` up to ``size``, where the file system can.

    In memory, where that would take as long as writing, it only says so where there is no room.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    if _in_memory(fd):
        free = free_bytes(fd)
        if free is not None and size - start > free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return
    try:
        _do("reserve", os.posix_fallocate, fd, start, size - start)
    except OSError as error:
        if error.errno not in NO_SUCH_CALL:
            raise


def _in_memory(fd: int) -> bool:
    """Say whether a file is on a file system in memory."""
    state = (ctypes.c_long * 64)()
    return _LIBC is not None and hasattr(_LIBC, "fstatfs") and not _LIBC.fstatfs(fd, state) and state[0] == _TMPFS


def give_back(fd: int, runs: Iterable[tuple[int, int]]) -> None:
    """Free the pages of runs of bytes (first, end) of a file in memory, which read as zeros from then on.

    A file on a disk stays as it is: a hole there would cost more than it frees.
    """
    if _LIBC is None or not hasattr(_LIBC, "fallocate64"):
        return
    if not _in_memory(fd):
        return
    for first, end in runs:
        _do("give_back", _LIBC.fallocate64, fd, _HOLE, ctypes.c_int64(first), ctypes.c_int64(end - first))


def fsync(fd: int) -> None:
    """Return when a file's bytes, or a directory's entries, are on the disk."""
    _do("fsync", _fsync, fd)


def _fsync(fd: int) -> None:
    full = getattr(fcntl, "F_FULLFSYNC", None)  # macOS: fsync alone leaves the bytes in the drive's cache
    if full is not None:
        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, full)
            return
    os.fsync(fd)


def rename(source: str, target: str) -> None:
    """Rename; on POSIX a file takes the place of a file."""
    _do("rename", os.rename, source, target)


def replace(source: str, target: str) -> None:
    """Rename a file over another one, on every system."""
    _do("rename", os.replace, source, target)


def rename_with(source: str, target: str, flag: int) -> bool:
    """Rename with `NOREPLACE` or `EXCHANGE`, atomically; return False where the system does not offer it.

    Linux has renameat2, macOS renamex_np; Python wraps neither.
    """
    if _LIBC is None:
        return False
    done: bool = _do("exchange" if flag == EXCHANGE else "rename", _rename_with, source, target, flag)
    return done


def _rename_with(source: str, target: str, flag: int) -> bool:
    assert _LIBC is not None, "rename_with has looked"
    one, two = os.fsencode(source), os.fsencode(target)
    if sys.platform == "darwin":
        failed = _LIBC.renamex_np(one, two, ctypes.c_uint(flag))
    else:
        failed = _LIBC.renameat2(_AT_FDCWD, one, _AT_FDCWD, two, ctypes.c_uint(flag))
    if not failed:
        return True
    code = ctypes.get_errno()
    if code in NO_SUCH_CALL:
        return False
    raise OSError(code, os.strerror(code), source, None, target)


def _find_libc() -> ctypes.CDLL | None:
    """Return the C library if it can rename with flags."""
    if os.name == "nt":
        return None
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        getattr(libc, "renamex_np" if sys.platform == "darwin" else "renameat2")
    except (OSError, AttributeError):
        return None
    return libc


_LIBC = _find_libc()


def link(source: str, target: str) -> None:
    """Give a file a second name."""
    _do("link", os.link, source, target)


def unlink(path: str) -> None:
    """Remove a file's name."""
    _do("unlink", os.unlink, path)


def rmdir(path: str) -> None:
    """Remove an empty directory."""
    _do("rmdir", os.rmdir, path)


def chmod(path: str, mode: int) -> None:
    """Set permissions."""
    _do("chmod", os.chmod, path, mode)


def utime(path: str, modified: int) -> None:
    """Set the time of last change, in nanoseconds; that of last access is set to the same."""
    _do("utime", _utime, path, modified)


def _utime(path: str, modified: int) -> None:
    os.utime(path, ns=(modified, modified))
