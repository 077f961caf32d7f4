"""New files and directories: hidden siblings, held while they are written, that appear in one step.

The writer holds a lock on the hidden sibling, and the lock dies with the process: a hidden sibling
whose lock is free is litter, and `sweep` removes it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Literal

from chunkarr.errors import CommittedNotAppliedError, TargetExistsError
from chunkarr.fsio import calls
from chunkarr.fsio.calls import NO_SUCH_CALL, fcntl
from chunkarr.fsio.transfer import BASE_FLAGS, READ_FLAGS, discard, naming, open_new

__all__ = [
    "Durability",
    "Owned",
    "for_each",
    "hidden_sibling",
    "hold",
    "log_beside",
    "new_part",
    "publish",
    "refuse_existing",
    "restore",
    "sweep",
    "sync_dir",
    "sync_file",
    "sync_tree",
    "try_hold",
    "unfinished",
]

Durability = Literal["full", "process"]

MANY = 16  # calls from which on several threads wait for the disk
WAITERS = 8  # threads that wait for the disk
NAME_BYTES = 180  # bytes of a file's name kept in its hidden sibling's: a name has at most 255


def hidden_sibling(path: str) -> str:
    """Return a new name ``.name.<32 hex digits>.part`` beside ``path`` (beside its target if it is a link).

    >>> sibling = hidden_sibling("there/a.npy")
    >>> os.path.basename(sibling)[:7], sibling[-5:]
    ('.a.npy.', '.part')
    """
    directory, name = os.path.split(_resolve(path))
    return os.path.join(directory, f".{_short(name)}.{os.urandom(16).hex()}.part")


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
            calls.mkdir(part)
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


class Owned:
    """A hidden sibling that goes with the object that owns it, or with its process.

    Parameters
    ----------
    owner
        When it is forgotten, or at exit, the sibling is removed and its lock given up.
    part, lock
        As of `new_part`. A forked child that forgets its copy of ``owner`` leaves its parent's sibling alone.
    """

    def __init__(self, owner: object, part: str, lock: int) -> None:
        self._end = weakref.finalize(owner, _end, part, lock, os.getpid())

    @property
    def alive(self) -> bool:
        """Whether it was neither removed nor released."""
        return self._end.alive

    def remove(self) -> None:
        """Remove the sibling, if it is still there under its name, and give up its lock; never raises."""
        self._end()

    def release(self) -> None:
        """Give up the lock alone, so that another run can adopt the sibling."""
        found = self._end.detach()
        if found is not None:
            os.close(found[2][1])


def _end(part: str, lock: int, process: int) -> None:
    if os.getpid() == process:
        discard(part)
    os.close(lock)


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
        return os.open(os.devnull if os.path.isdir(path) else path, os.O_RDONLY | BASE_FLAGS)
    fd = os.open(path, READ_FLAGS)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    except OSError as error:
        if error.errno not in NO_SUCH_CALL | {errno.ENOLCK}:
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


def log_beside(part: str) -> str:
    """Return the name of the progress log of a hidden sibling, which says what of it is done.

    >>> log_beside(".a.npy.0f.part")
    '.a.npy.0f.log'
    """
    return part.removesuffix(".part") + ".log"


def unfinished(final: str) -> list[str]:
    """Return the names of the hidden siblings of ``final`` that have a progress log, whether or not they are there."""
    return [log.removesuffix(".log") + ".part" for log in _siblings(final, "log")]


def _siblings(final: str, suffix: str) -> list[str]:
    directory, name = os.path.split(_resolve(final))
    pattern = re.compile(rf"\.{re.escape(_short(name))}\.[0-9a-f]{{32}}\.{suffix}")
    try:
        return [os.path.join(directory, entry) for entry in os.listdir(directory or ".") if pattern.fullmatch(entry)]
    except OSError:
        return []


def sweep(final: str, *, keep_unfinished: bool = False) -> list[str]:
    """Remove the hidden siblings of ``final`` that nobody holds, and logs of what is gone; return the siblings' paths.

    With ``keep_unfinished``, those that have a progress log, and so can be resumed, stay.
    Never raises: what cannot be removed stays. Without locks (Windows, some network file systems)
    nothing can be told apart, and nothing is removed.
    """
    restore(final)
    kept = unfinished(final) if keep_unfinished else ()
    removed = [path for path in _siblings(final, "part") if path not in kept and _remove_if_free(path)]
    for part in unfinished(final):
        if not os.path.lexists(part):
            discard(log_beside(part))
    return removed


def restore(final: str) -> bool:
    """Put back the directory that a process killed between the two renames of `publish` left aside; say whether.

    Only systems that cannot exchange two directories need it. What is aside while ``final`` is there is removed.
    """
    aside = _siblings(final, "old")
    if not aside:
        return False
    if os.path.lexists(_resolve(final)):
        for path in aside:
            discard(path)
        return False
    with contextlib.suppress(OSError):
        calls.rename(aside[0], _resolve(final))
        return True
    return False


def _remove_if_free(path: str) -> bool:
    """Remove ``path`` if its lock works and is free."""
    if fcntl is None:
        return False
    try:
        lock = os.open(path, READ_FLAGS | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        discard(log_beside(path))  # first: half a sibling must not look as if it could be finished
        discard(path)
    except OSError:
        return False
    finally:
        os.close(lock)
    return not os.path.lexists(path)


def sync_file(path_or_fd: str | int) -> None:
    """Return when the file's bytes are on the disk."""
    if isinstance(path_or_fd, str):
        # Windows flushes only what is open for writing.
        fd = os.open(path_or_fd, (os.O_RDWR if os.name == "nt" else os.O_RDONLY) | BASE_FLAGS)
        try:
            with naming(path_or_fd):
                sync_file(fd)
        finally:
            os.close(fd)
        return
    calls.fsync(path_or_fd)


def sync_dir(path: str) -> None:
    """Return when the directory's entries are on the disk (Windows has no such call)."""
    if os.name != "nt":
        sync_file(path or ".")


def for_each(call: Callable[[Any], object], items: Sequence[Any]) -> None:
    """Call ``call`` with each of ``items``, which wait for the disk: many at once, because a disk is faster that way.

    Raises what the first that fails raises, when those that had begun are done.
    """
    if len(items) < MANY:
        for item in items:
            call(item)
        return
    # Here, not above: it brings logging with it, a tenth of the time that importing chunkarr takes.
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(WAITERS) as pool:
        futures = [pool.submit(call, item) for item in items]
        try:
            for future in futures:
                future.result()
        finally:
            for future in futures:
                future.cancel()


def sync_tree(directory: str) -> None:
    """Return when every file and directory below ``directory``, and itself, is on the disk."""
    directories, files = [], []
    for place, _, names in os.walk(directory):
        directories.append(place)
        files += [os.path.join(place, name) for name in names]
    for_each(sync_file, files)
    for_each(sync_dir, directories[::-1])


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
    CommittedNotAppliedError
        If it is in place, but the disk could not be asked to keep it there.
    """
    if durability not in ("full", "process"):
        raise ValueError(f'durability is "full" or "process", not {durability!r}')
    final = _resolve(final)
    old = None if _rename_absent(part, final) else part
    if old is not None:
        refuse_existing(final, overwrite)
        old = _replace(part, final)
    try:
        if durability == "full":
            sync_dir(os.path.dirname(final))
    except OSError as error:
        raise CommittedNotAppliedError(
            error.errno, f"the new array is in its place, but may not survive power loss ({error.strerror})", final
        ) from error
    finally:
        if old is not None:
            discard(old)


def _rename_absent(part: str, final: str) -> bool:
    """Rename ``part`` to ``final`` if there is nothing there; say whether it was done."""
    if os.name == "nt":
        try:
            calls.rename(part, final)
        except FileExistsError:
            return False
        return True
    try:
        if calls.rename_with(part, final, calls.NOREPLACE):
            return True
        if not os.path.isdir(part):
            calls.link(part, final)
            calls.unlink(part)
            return True
    except FileExistsError:
        return False
    except OSError as error:
        # File systems without hard links: what remains is to look first.
        if error.errno not in NO_SUCH_CALL | {errno.EPERM, errno.EMLINK}:
            raise
    if os.path.lexists(final):
        return False
    calls.rename(part, final)
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
            calls.chmod(part, stat.S_IMODE(os.stat(final).st_mode))
    if not os.path.isdir(part):
        calls.replace(part, final)
        return None
    if calls.rename_with(part, final, calls.EXCHANGE):
        return part
    # Not a hidden sibling, which `sweep` would remove: between the renames it is the only copy.
    aside = hidden_sibling(final).removesuffix(".part") + ".old"
    calls.rename(final, aside)
    try:
        calls.rename(part, final)
    except BaseException:
        calls.rename(aside, final)
        raise
    return aside
