"""Every file call that changes something, and the reads beside them: the one module that knows the platform.

A new file or directory is written under a hidden sibling's name and appears under its own by
`publish`. The writer holds a lock on the hidden sibling, and the lock dies with the process: a
hidden sibling whose lock is free is litter, and `sweep` removes it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import secrets
import shutil
import stat
import sys
import threading
from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any, Literal

import numpy as np

from chunkarr.errors import CorruptChunkError, TargetExistsError, UnsafeInputError

__all__ = [
    "Durability",
    "bytes_of",
    "discard",
    "hidden_sibling",
    "hold",
    "make_dir",
    "new_part",
    "open_new",
    "open_read",
    "open_write",
    "publish",
    "read_each",
    "read_into",
    "refuse_existing",
    "sweep",
    "sync_dir",
    "sync_file",
    "sync_tree",
    "try_hold",
    "write_at",
    "write_new",
]

Durability = Literal["full", "process"]
Buffer = Any  # bytes, bytearray, memoryview or a C- or F-contiguous ndarray

PIECE = 1 << 30  # bytes per system call: Linux and macOS refuse or cut calls of 2 GiB
NAME_BYTES = 180  # bytes of a file's name kept in its hidden sibling's: a name has at most 255
VECTORS = 512  # buffers per writev, half of what POSIX systems allow

fcntl: Any = None if os.name == "nt" else import_module("fcntl")
_BASE = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOCTTY", 0)
# Without O_NONBLOCK, opening a named pipe that lies where a chunk should be waits for ever.
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _BASE
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_RENAME_NOREPLACE, _RENAME_EXCHANGE = (4, 2) if sys.platform == "darwin" else (1, 2)
_AT_FDCWD = -100
_NO_SUCH_CALL = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOTTY}
_SEEK = threading.Lock()  # where there is no pread, a descriptor's position is shared


# --- bytes ---------------------------------------------------------------------------------------


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
def _naming(path: str) -> Iterator[None]:
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
    with _naming(path):
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
    with _naming(path):
        while done < view.nbytes:
            done += _pwrite(fd, view[done : done + PIECE], offset + done)


def _pwrite(fd: int, view: Any, offset: int) -> int:
    """Write once from ``view``; return how many bytes went."""
    if hasattr(os, "pwrite"):
        return os.pwrite(fd, view, offset)
    with _SEEK:
        os.lseek(fd, offset, os.SEEK_SET)
        return os.write(fd, view)


# --- opening and making --------------------------------------------------------------------------


def open_read(path: str, *, follow: bool = True) -> int:
    """Open a file for reading; with ``follow=False`` a symbolic link is refused.

    Raises
    ------
    UnsafeInputError
        If ``path`` is a symbolic link and ``follow`` is False.
    """
    try:
        return os.open(path, _READ if follow else _READ | _NOFOLLOW)
    except OSError as error:
        if not follow and error.errno in (errno.ELOOP, errno.EMLINK):
            raise UnsafeInputError(f"{path}: is a symbolic link, which could lead outside the array") from None
        raise


def open_write(path: str) -> int:
    """Open an existing file for reading and writing."""
    return os.open(path, os.O_RDWR | _BASE)


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
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _BASE, mode)
    if not size:
        return fd
    try:
        with _naming(path):
            os.ftruncate(fd, size)
            if reserve:
                _reserve(fd, size)
    except BaseException:
        os.close(fd)
        discard(path)
        raise
    return fd


def _reserve(fd: int, size: int) -> None:
    """Reserve the blocks of a file where the file system can."""
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError as error:
        if error.errno not in _NO_SUCH_CALL:
            raise


def write_new(path: str, *buffers: Buffer) -> None:
    """Write a whole new file; nothing is left behind if that fails.

    Raises
    ------
    FileExistsError
        If ``path`` exists.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BASE, 0o666)
    try:
        with _naming(path):
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
        done = os.writev(fd, views)
        while views and done >= views[0].nbytes:
            done -= views.pop(0).nbytes
        if views:
            views[0] = views[0][done:]
    for view in views:
        done = 0
        while done < view.nbytes:
            done += os.write(fd, view[done : done + PIECE])


def make_dir(path: str) -> None:
    """Make a directory and those above it that are missing."""
    os.makedirs(path, exist_ok=True)


# --- hidden siblings and their locks -------------------------------------------------------------


def hidden_sibling(path: str) -> str:
    """Return a new name ``.name.<32 hex digits>.part`` beside ``path`` (beside its target if it is a link).

    >>> sibling = hidden_sibling("there/a.npy")
    >>> os.path.basename(sibling)[:7], sibling[-5:]
    ('.a.npy.', '.part')
    """
    directory, name = os.path.split(_resolve(path))
    return os.path.join(directory, f".{_short(name)}.{secrets.token_hex(16)}.part")


def _short(name: str) -> str:
    raw = os.fsencode(name)
    return name if len(raw) <= NAME_BYTES else raw[:NAME_BYTES].decode(errors="ignore")


def _resolve(path: str) -> str:
    """Follow symbolic links and drop a trailing separator: what a link names is written, not the link."""
    path = os.fspath(path)
    return os.path.realpath(path) if os.path.islink(path.rstrip("/")) else (path.rstrip("/") or path)


def new_part(
    path: str, *, directory: bool = False, size: int | None = None, reserve: bool = True, mode: int = 0o666
) -> tuple[str, int]:
    """Make a hidden sibling of ``path`` and hold it.

    Parameters
    ----------
    path
        The name that it may get by `publish`.
    directory
        Whether it is a directory; else it is a file.
    size, reserve, mode
        Of a file, as in `open_new`.

    Returns
    -------
    part : str
        Its path.
    lock : int
        A descriptor that keeps `sweep` away until it is closed or the process ends.
    """
    while True:
        part = hidden_sibling(path)
        if directory:
            os.mkdir(part)
        else:
            os.close(open_new(part, size, reserve=reserve, mode=mode))
        try:
            return part, hold(part)
        except FileNotFoundError:
            if not os.path.isdir(os.path.dirname(part) or "."):
                raise
        except BaseException:
            discard(part)
            raise


def hold(path: str) -> int:
    """Hold the lock of a file or directory until the returned descriptor is closed.

    Raises
    ------
    FileNotFoundError
        If ``path`` is not there any more, or is held by someone who is removing it.
    """
    lock = try_hold(path)
    if lock is None:
        raise FileNotFoundError(errno.ENOENT, "is being removed by another process", path)
    return lock


def try_hold(path: str) -> int | None:
    """Hold ``path`` as `hold` does, or return None if another process or descriptor holds it."""
    if fcntl is None:
        # Windows opens no directories; a file that is open cannot be removed there, which is lock enough.
        return os.open(os.devnull if os.path.isdir(path) else path, os.O_RDONLY | _BASE)
    fd = os.open(path, _READ)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    except OSError as error:
        if error.errno not in _NO_SUCH_CALL | {errno.ENOLCK}:
            os.close(fd)
            raise
        return fd
    if _same_file(fd, path):
        return fd
    os.close(fd)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


def _same_file(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except FileNotFoundError:
        return False


def sweep(final: str) -> list[str]:
    """Remove the hidden siblings of ``final`` that nobody holds; return their paths.

    Never raises: what cannot be removed stays. Without locks (Windows, some network file systems)
    nothing can be told apart, and nothing is removed.
    """
    directory, name = os.path.split(_resolve(final))
    pattern = re.compile(rf"\.{re.escape(_short(name))}\.[0-9a-f]{{32}}\.part")
    try:
        names = [entry for entry in os.listdir(directory or ".") if pattern.fullmatch(entry)]
    except OSError:
        return []
    return [path for path in (os.path.join(directory, entry) for entry in names) if _remove_if_free(path)]


def _remove_if_free(path: str) -> bool:
    """Remove ``path`` if its lock works and is free."""
    if fcntl is None:
        return False
    try:
        lock = os.open(path, _READ | _NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        discard(path)
    except OSError:
        return False
    finally:
        os.close(lock)
    return not os.path.lexists(path)


def discard(path: str) -> None:
    """Remove a file or a tree; never raises."""
    try:
        if stat.S_ISDIR(os.lstat(path).st_mode):
            shutil.rmtree(path, ignore_errors=True)
        else:
            os.unlink(path)
    except OSError:
        pass


# --- durability ----------------------------------------------------------------------------------


def sync_file(path_or_fd: str | int) -> None:
    """Return when the file's bytes are on the disk."""
    if isinstance(path_or_fd, str):
        # Windows flushes only what is open for writing.
        fd = os.open(path_or_fd, (os.O_RDWR if os.name == "nt" else os.O_RDONLY) | _BASE)
        try:
            with _naming(path_or_fd):
                sync_file(fd)
        finally:
            os.close(fd)
        return
    full = getattr(fcntl, "F_FULLFSYNC", None)  # macOS: fsync alone leaves the bytes in the drive's cache
    if full is not None:
        with contextlib.suppress(OSError):
            fcntl.fcntl(path_or_fd, full)
            return
    os.fsync(path_or_fd)


def sync_dir(path: str) -> None:
    """Return when the directory's entries are on the disk (Windows has no such call)."""
    if os.name != "nt":
        sync_file(path or ".")


def sync_tree(directory: str) -> None:
    """Return when every file and directory below ``directory``, and itself, is on the disk."""
    directories = []
    for place, _, names in os.walk(directory):
        directories.append(place)
        for name in names:
            sync_file(os.path.join(place, name))
    for place in reversed(directories):
        sync_dir(place)


# --- publishing ----------------------------------------------------------------------------------


def refuse_existing(path: str, overwrite: bool) -> None:
    """Raise TargetExistsError if something is at ``path`` and may not be replaced."""
    if not overwrite and os.path.exists(path):
        raise TargetExistsError(f"{path}: exists already; pass overwrite=True to replace it")


def publish(part: str, final: str, overwrite: bool, durability: Durability) -> None:
    """Make ``part`` (whole and, if that is asked, synced) appear as ``final``, in one step.

    Over an existing file or directory the new one takes its place atomically and the old one is
    removed; its permissions stay. Where the system cannot exchange two directories, it is two renames.

    Parameters
    ----------
    part, final
        Files or directories in one directory (a link ``final`` is followed).
    overwrite
        Whether something at ``final`` may be replaced.
    durability
        "full" returns when the new name is on the disk; "process" is safe against kill, not power loss.

    Raises
    ------
    TargetExistsError
        If ``final`` exists and ``overwrite`` is False, or if a file would replace a directory.
    """
    if durability not in ("full", "process"):
        raise ValueError(f'durability is "full" or "process", not {durability!r}')
    final = _resolve(final)
    old = None if _rename_absent(part, final) else part
    if old is not None:
        refuse_existing(final, overwrite)
        old = _replace(part, final)
    if durability == "full":
        sync_dir(os.path.dirname(final))
    if old is not None:
        discard(old)


def _rename_absent(part: str, final: str) -> bool:
    """Rename ``part`` to ``final`` if there is nothing there; say whether it was done."""
    if os.name == "nt":
        try:
            os.rename(part, final)
        except FileExistsError:
            return False
        return True
    try:
        if _rename_flag(part, final, _RENAME_NOREPLACE):
            return True
        if not os.path.isdir(part):
            os.link(part, final)
            os.unlink(part)
            return True
    except FileExistsError:
        return False
    except OSError as error:
        # File systems without hard links: what remains is to look first.
        if error.errno not in _NO_SUCH_CALL | {errno.EPERM, errno.EMLINK}:
            raise
    if os.path.lexists(final):
        return False
    os.rename(part, final)
    return True


def _replace(part: str, final: str) -> str | None:
    """Put ``part`` in the place of ``final``; return where the old one is now, if anywhere."""
    is_tree = os.path.isdir(final)
    if is_tree and not os.path.isdir(part):
        raise TargetExistsError(
            f"{final}: is a directory, which a file does not replace; remove it or use another name"
        )
    with contextlib.suppress(OSError):
        if is_tree == os.path.isdir(part):
            os.chmod(part, stat.S_IMODE(os.stat(final).st_mode))
    if not os.path.isdir(part):
        os.replace(part, final)
        return None
    if _rename_flag(part, final, _RENAME_EXCHANGE):
        return part
    aside = hidden_sibling(final)
    os.rename(final, aside)
    try:
        os.rename(part, final)
    except BaseException:
        os.rename(aside, final)
        raise
    return aside


def _rename_flag(source: str, target: str, flag: int) -> bool:
    """Rename with a flag of renameat2 (Linux) or renamex_np (macOS); False where that is not offered."""
    if _LIBC is None:
        return False
    one, two = os.fsencode(source), os.fsencode(target)
    if sys.platform == "darwin":
        failed = _LIBC.renamex_np(one, two, ctypes.c_uint(flag))
    else:
        failed = _LIBC.renameat2(_AT_FDCWD, one, _AT_FDCWD, two, ctypes.c_uint(flag))
    if not failed:
        return True
    code = ctypes.get_errno()
    if code in _NO_SUCH_CALL:
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
