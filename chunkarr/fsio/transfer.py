"""Bytes in and out of files, files opened and made: positional, whole, with the path in every error."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from chunkarr.errors import CorruptChunkError, UnsafeInputError
from chunkarr.fsio import calls

__all__ = [
    "BASE_FLAGS",
    "PIECE",
    "READ_FLAGS",
    "bytes_of",
    "discard",
    "make_dir",
    "naming",
    "open_new",
    "open_read",
    "open_write",
    "read_each",
    "read_into",
    "write_at",
    "write_new",
]

Buffer = Any  # bytes, bytearray, memoryview or a C- or F-contiguous ndarray

PIECE = 1 << 30  # bytes per system call: Linux and macOS refuse or cut calls of 2 GiB
VECTORS = 512  # buffers per writev, half of what POSIX systems allow

BASE_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOCTTY", 0)
# Without O_NONBLOCK, opening a named pipe that lies where a chunk should be waits for ever.
READ_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | BASE_FLAGS

_SEEK = threading.Lock()  # where there is no pread, a descriptor's position is shared


def bytes_of(buffer: Buffer) -> Any:
    """Return ``buffer`` as a flat view of its bytes, without copying.

    >>> bytes_of(np.zeros((2, 3), "M8[s]")).nbytes
    48
    """
    if isinstance(buffer, np.ndarray):
        flags = buffer.flags
        if flags.c_contiguous:
            flat = buffer
        elif flags.f_contiguous:
            flat = buffer.T
        else:
            raise ValueError(f"an array of strides {buffer.strides} is not one block of bytes")
        if not buffer.nbytes:
            return memoryview(b"")
        # Not memoryview(array): numpy exports no buffer of datetimes.
        return flat.reshape(-1).view(np.uint8)
    view = memoryview(buffer)
    return view if view.format == "B" and view.ndim == 1 else view.cast("B")


@contextlib.contextmanager
def naming(path: str) -> Iterator[None]:
    """Put ``path`` into an OSError that names no file."""
    try:
        yield
    except OSError as error:
        if path and error.filename is None and error.errno is not None:
            raise OSError(error.errno, error.strerror, path) from None
        raise


def read_into(fd: int, buffer: Buffer, offset: int, path: str = "") -> None:
    """Fill ``buffer`` (writable, contiguous) with the bytes of ``fd`` from ``offset`` on.

    Raises
    ------
    CorruptChunkError
        If the file ends before the buffer is full.
    """
    view = bytes_of(buffer)
    wanted = view.nbytes
    done = 0
    while done < wanted:
        part = view if done == 0 and wanted <= PIECE else view[done : done + PIECE]
        try:
            count = _preadv(fd, part, offset + done)
        except OSError as error:
            raise OSError(error.errno, error.strerror, path or None) from None
        if count == 0:
            raise CorruptChunkError(
                f"{path}: ends at byte {offset + done}, but bytes {offset} to {offset + wanted} were to be read"
            )
        done += count


def read_each(fd: int, views: Iterable[Any], offsets: Iterable[int], path: str = "") -> None:
    """Fill each of ``views`` (as of `bytes_of`) from the offset of its own; what `read_into` does, for many runs."""
    with naming(path):
        for view, offset in zip(views, offsets, strict=True):
            if view.nbytes > PIECE or _preadv(fd, view, offset) != view.nbytes:
                read_into(fd, view, offset, path)


def _preadv(fd: int, view: Any, offset: int) -> int:
    """Read once into ``view``; return how many bytes came."""
    if hasattr(os, "preadv"):
        return os.preadv(fd, (view,), offset)
    with _SEEK:
        os.lseek(fd, offset, os.SEEK_SET)
        data = os.read(fd, min(view.nbytes, 1 << 20))
    memoryview(view)[: len(data)] = data
    return len(data)


def write_at(fd: int, buffer: Buffer, offset: int, path: str = "") -> None:
    """Write all of ``buffer`` (contiguous) at ``offset``."""
    view = bytes_of(buffer)
    done = 0
    with naming(path):
        while done < view.nbytes:
            done += _pwrite(fd, view[done : done + PIECE], offset + done)


def _pwrite(fd: int, view: Any, offset: int) -> int:
    """Write once from ``view``; return how many bytes went."""
    if hasattr(os, "pwrite"):
        return calls.pwrite(fd, view, offset)
    with _SEEK:
        os.lseek(fd, offset, os.SEEK_SET)
        return calls.write(fd, view)


def open_read(path: str, *, follow: bool = True) -> int:
    """Open a file for reading; with ``follow=False`` a symbolic link is refused.

    Raises
    ------
    UnsafeInputError
        If ``path`` is a symbolic link and ``follow`` is False.
    """
    try:
        return os.open(path, READ_FLAGS if follow else READ_FLAGS | getattr(os, "O_NOFOLLOW", 0))
    except OSError as error:
        if not follow and error.errno in (errno.ELOOP, errno.EMLINK):
            raise UnsafeInputError(f"{path}: is a symbolic link, which could lead outside the array") from None
        raise


def open_write(path: str) -> int:
    """Open an existing file for reading and writing."""
    return calls.open_for_change(path, os.O_RDWR | BASE_FLAGS)


def open_new(path: str, size: int | None = None, *, reserve: bool = True, mode: int = 0o666) -> int:
    """Create a file that does not exist and open it for reading and writing.

    Parameters
    ----------
    path
        Its name.
    size
        Bytes it has from the start, zeros.
    reserve
        Whether the disk must have these bytes now, so that a full disk is an error here and not in
        the middle of the work; without, the file is sparse.
    mode
        Permissions, which the process's mask reduces.

    Raises
    ------
    FileExistsError
        If ``path`` exists.
    OSError
        With ENOSPC (no space), EFBIG or EDQUOT, naming ``path``; nothing is left behind.
    """
    fd = calls.open_for_change(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | BASE_FLAGS, mode)
    if not size:
        return fd
    try:
        with naming(path):
            calls.truncate(fd, size)
            if reserve:
                calls.reserve(fd, size)
    except BaseException:
        os.close(fd)
        discard(path)
        raise
    return fd


def write_new(path: str, *buffers: Buffer) -> None:
    """Write a whole new file; nothing is left behind if that fails.

    Raises
    ------
    FileExistsError
        If ``path`` exists.
    """
    fd = calls.open_for_change(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | BASE_FLAGS, 0o666)
    try:
        with naming(path):
            _write_all(fd, [bytes_of(buffer) for buffer in buffers])
    except BaseException:
        os.close(fd)
        discard(path)
        raise
    os.close(fd)


def _write_all(fd: int, views: list[Any]) -> None:
    """Write ``views`` one after another at the descriptor's position."""
    views = [view for view in views if view.nbytes]
    if len(views) > 1 and hasattr(os, "writev") and len(views) <= VECTORS:
        done = calls.writev(fd, views)
        while views and done >= views[0].nbytes:
            done -= views.pop(0).nbytes
        if views:
            views[0] = views[0][done:]
    for view in views:
        done = 0
        while done < view.nbytes:
            done += calls.write(fd, view[done : done + PIECE])


def make_dir(path: str) -> None:
    """Make a directory and those above it that are missing."""
    missing = []
    while path and not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for place in reversed(missing):
        with contextlib.suppress(FileExistsError):
            calls.mkdir(place)
    if missing and not os.path.isdir(missing[0]):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), missing[0])


def discard(path: str) -> None:
    """Remove a file or a tree; never raises."""
    with contextlib.suppress(OSError):
        if stat.S_ISDIR(os.lstat(path).st_mode):
            _discard_tree(path)
        else:
            calls.unlink(path)


def _discard_tree(path: str) -> None:
    """Remove a directory and what it holds; links are removed, not followed."""
    with os.scandir(path) as entries:
        children = [(entry.path, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for child, is_dir in children:
        if is_dir:
            discard(child)
        else:
            with contextlib.suppress(OSError):
                calls.unlink(child)
    calls.rmdir(path)
