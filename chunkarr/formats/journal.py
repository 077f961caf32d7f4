"""Changes of a single file that are whole or not there: a redo journal beside the file.

For a file ``x.npy``, beside it and under the lock of the file itself::

    .x.npy.journal      a change being prepared (see `patch`): nobody reads it but its writer
    .x.npy.commit       the same file, sealed (see `redo`) and renamed: the change is made, whoever dies now

After the rename, which is the commit point, the changed pages are copied into the file, its time is set
to later than before, and the commit file is removed. Whoever finds a commit file whose writer is gone
does the copying: it may be done any number of times. A change of more than half of a file is not copied
but completed, and renamed over the file; then that rename is the commit point.

A reader holds no lock. What it has read is of one generation if, *after* reading, there is first no
commit file and then the file has the size, time and inode that it had before: a writer that began
to copy meanwhile has left either its commit file or a later time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np

from chunkarr import fsio
from chunkarr.errors import (
    ArrayLockedError,
    CommittedNotAppliedError,
    FormatError,
    GenerationChangedError,
)
from chunkarr.formats.patch import Patch
from chunkarr.formats.redo import PIECE, Redo, stamp
from chunkarr.formats.runs import file_generation
from chunkarr.fsio import ArrayLock, Durability, calls

__all__ = [
    "commit_file",
    "finish",
    "forget",
    "hold",
    "journal_file",
    "make",
    "pending",
    "publish",
    "read_stable",
    "recover",
    "resolve",
    "settle",
    "tidy",
]

T = TypeVar("T")
Generation = tuple[int, int, int]  # as of `file_generation`

WAIT = 60.0  # seconds that a reader waits for a writer to finish copying
RECOVERY = 1.0  # seconds that a writer waits at least for a reader that finishes what another one left
PATIENCE = 0.005  # seconds in which a living writer usually finishes


# --- names and locks -----------------------------------------------------------------------------


def resolve(path: str) -> str:
    """Follow a symbolic link: what it names is changed, and has the journal beside it."""
    return os.path.realpath(path) if os.path.islink(path) else path


def _beside(file: str, suffix: str) -> str:
    directory, name = os.path.split(file)
    raw = os.fsencode(name)
    if len(raw) > 240:  # a name has at most 255 bytes
        name = f"{raw[:180].decode(errors='ignore')}.{hashlib.sha256(raw).hexdigest()[:16]}"
    return os.path.join(directory, f".{name}.{suffix}")


def journal_file(file: str) -> str:
    """Return the name of the change of ``file`` that is being prepared.

    >>> journal_file("there/a.npy")
    'there/.a.npy.journal'
    """
    return _beside(file, "journal")


def commit_file(file: str) -> str:
    """Return the name of the committed change of ``file``."""
    return _beside(file, "commit")


def pending(file: str) -> bool:
    """Say whether a committed change of ``file`` is not in its place yet."""
    return os.access(commit_file(file), os.F_OK)


def hold(file: str, timeout: float = 0.0) -> ArrayLock:
    """Hold the lock of ``file`` and finish or drop what a killed writer left; a reader that does that is waited for.

    Raises
    ------
    ArrayLockedError
        If another writer holds it still after ``timeout`` seconds.
    """
    with contextlib.suppress(ArrayLockedError):
        settle(file, max(timeout, RECOVERY))
    lock = ArrayLock(file, file, max(timeout, PATIENCE), make=False)
    try:
        finish(file)
    except BaseException:
        lock.release()
        raise
    return lock


def settle(file: str, wait: float = WAIT) -> None:
    """Return when no committed change of ``file`` waits: it was put in place by its writer, or here if that is gone.

    Raises
    ------
    ArrayLockedError
        If its writer does not finish.
    CommittedNotAppliedError
        If it cannot be put in place here.
    """
    began = time.monotonic()
    while pending(file):
        waited = time.monotonic() - began
        if waited > wait:
            raise ArrayLockedError(f"{file}: a writer has been putting a change in place for {wait:g} s; try again")
        if waited > PATIENCE and _finish_if_free(file):
            return
        time.sleep(0.0005)


def _finish_if_free(file: str) -> bool:
    try:
        recover(file)
    except ArrayLockedError:
        return False
    except OSError as error:
        raise CommittedNotAppliedError(
            error.errno,
            f"a committed change waits in {commit_file(file)} and could not be put in place ({error}); "
            "open the array where it can be written",
            file,
        ) from error
    return True


def tidy(file: str) -> None:
    """Finish or drop what killed writers of ``file`` left; for opening to write."""
    settle(file)
    fsio.sweep(file, keep_unfinished=True)
    if os.path.lexists(journal_file(file)):
        with contextlib.suppress(ArrayLockedError):
            recover(file)


def read_stable(file: str, look: Callable[[Generation], T]) -> T:
    """Return ``look(generation)``, asked again while the file changes under it."""
    end = time.monotonic() + WAIT
    while True:
        settle(file)
        generation = file_generation(file)
        failure = None
        try:
            found = look(generation)
        except (FormatError, GenerationChangedError) as error:
            failure = error
        if not pending(file) and file_generation(file) == generation:
            if failure is not None:
                raise failure
            return found
        if time.monotonic() > end:
            raise GenerationChangedError(f"{file}: changes faster than it can be opened; try again")


# --- committing ----------------------------------------------------------------------------------


def _commit(patch: Patch, file: str, generation: Generation, durability: Durability) -> None:
    """Make the changes of ``patch``, which lies in the journal file, those of ``file``: seal, rename, copy.

    ``generation`` is that of the file. An error before the commit point is raised as it is.

    Raises
    ------
    CommittedNotAppliedError
        If the change was committed, but not copied.
    """
    name = commit_file(file)
    target = fsio.open_write(file)
    try:
        redo = Redo.of(patch, target, file, generation[1])
        redo.seal(patch.fd, patch.path)
        if durability == "full":
            fsio.sync_file(patch.fd)
        _rename(patch.path, name)
        with _finishing(file, name):
            if durability == "full":
                fsio.sync_dir(os.path.dirname(name))
        if redo.size > redo.old:
            _make_room(redo, target, file, name)
        with _finishing(file, name):
            redo.apply(patch.fd, target, file)
            if durability == "full":
                fsio.sync_file(target)
            _drop(name, durability)
    finally:
        os.close(target)


def _rename(source: str, target: str) -> None:
    """Rename; return also if that was done and an error was reported nevertheless."""
    try:
        calls.replace(source, target)
    except OSError:
        if os.path.lexists(source):
            raise


@contextlib.contextmanager
def _finishing(file: str, name: str) -> Iterator[None]:
    """Say of an error after the commit point that the change is committed."""
    try:
        yield
    except OSError as error:
        raise CommittedNotAppliedError(
            error.errno,
            f"the change is committed in {name} and will not be lost, but could not be put in place ({error}); "
            "the next open does it",
            file,
        ) from error


def _make_room(redo: Redo, target: int, file: str, name: str) -> None:
    """Give ``file`` the blocks that it will need; where there is no room, take the commit back.

    Nothing was copied yet, readers have only waited, and the lock is held: so it can be taken back.
    """
    try:
        calls.reserve(target, redo.size, redo.old)
    except OSError:
        with _finishing(file, name):
            calls.truncate(target, redo.old)
            calls.utime(file, redo.modified)
            fsio.sync_file(target)
            _drop(name, "full")
        raise


def _drop(name: str, durability: Durability) -> None:
    """Remove a commit file for good: come back after power loss, it would undo later changes of others."""
    calls.unlink(name)
    if durability == "full":
        fsio.sync_dir(os.path.dirname(name))


def make(
    patch: Patch, file: str, generation: Generation, durability: Durability, *, inplace: bool | None = None
) -> None:
    """Make the changes of ``patch`` those of ``file``.

    ``generation`` is that of the file when the change began. With ``inplace`` the changes are copied into
    the file, without it the file is replaced; None: whatever writes less.

    Raises
    ------
    GenerationChangedError
        If another program changed the file meanwhile; nothing is done.
    CommittedNotAppliedError
        If the change was committed, but is not in its place.
    """
    now = file_generation(file)
    if now != generation:
        raise GenerationChangedError(
            f"{file}: another program changed it meanwhile: (size, mtime_ns, inode) was {generation}, "
            f"is {now}; nothing was done, open it again"
        )
    if inplace is None:
        inplace = 2 * patch.changed <= patch.size
    old, new = os.stat(file), os.fstat(patch.fd)
    # A new file would lose other names of the old one, and its owner.
    alone = old.st_nlink == 1 and (new.st_uid, new.st_gid) == (old.st_uid, old.st_gid)
    if inplace or not alone:
        _commit(patch, file, generation, durability)
    else:
        _replace(patch, file, generation, durability)


def forget(path: str, fd: int, *, mine: bool) -> None:
    """Close a journal file; remove it if it is ``mine`` and still there.

    Where it took the place of the array, the lock went with the old file, and another writer may have a
    journal of that name already.
    """
    with contextlib.suppress(OSError):
        if mine and os.path.samestat(os.fstat(fd), os.lstat(path)):
            fsio.discard(path)
    os.close(fd)


def _replace(patch: Patch, file: str, generation: Generation, durability: Durability) -> None:
    """Complete ``patch`` and let it take the place of ``file``, with its permissions.

    Raises
    ------
    CommittedNotAppliedError
        If it took the place, but that may not survive power loss.
    """
    patch.complete(np.empty(PIECE, np.uint8))
    calls.chmod(patch.path, stat.S_IMODE(os.stat(file).st_mode))
    stamp(patch.path, generation[1])
    if durability == "full":
        fsio.sync_file(patch.fd)
    _rename(patch.path, file)
    if durability == "full":
        try:
            fsio.sync_dir(os.path.dirname(file))
        except OSError as error:
            raise CommittedNotAppliedError(
                error.errno, f"the change is made, but the disk did not confirm it ({error})", file
            ) from error


def publish(part: str, path: str, overwrite: bool, durability: Durability) -> None:
    """Make ``part`` appear as ``path`` as `fsio.publish` does, between the changes of what is there.

    Raises
    ------
    ArrayLockedError
        If a writer changes the array that would be replaced.
    """
    file = resolve(path)
    if overwrite and os.path.isfile(file):
        lock = hold(file)
        try:
            fsio.publish(part, path, overwrite, durability)
        finally:
            lock.release()
        return
    if pending(file) and not os.path.lexists(file):  # of a file that was removed
        _drop(commit_file(file), durability)
    fsio.publish(part, path, overwrite, durability)


# --- recovery ------------------------------------------------------------------------------------


def recover(path: str, timeout: float = 0.0) -> str | None:
    """Finish or drop what a killed writer of a file left; return what was done, None if there was nothing.

    Raises
    ------
    ArrayLockedError
        If a writer is at work.
    ForeignChangeError, CorruptChunkError
        If the file or the change are not what they were; nothing is touched.
    """
    file = resolve(path)
    if not pending(file) and not os.path.lexists(journal_file(file)):
        return None
    lock = ArrayLock(file, file, timeout, make=False)
    try:
        return finish(file)
    finally:
        lock.release()


def finish(file: str) -> str | None:
    """Do what `recover` does, under the lock that the caller holds."""
    done = None
    if os.path.lexists(journal_file(file)):
        calls.unlink(journal_file(file))
        done = "dropped a change that was not committed"
    name = commit_file(file)
    try:
        fd = fsio.open_read(name, follow=False)
    except FileNotFoundError:
        return done
    try:
        redo = Redo.load(fd, name)
        target = fsio.open_write(file)
        try:
            redo.check_file(target, file, name)
            redo.apply(fd, target, file)
            fsio.sync_file(target)
        finally:
            os.close(target)
        _drop(name, "full")
    finally:
        os.close(fd)
    return f"finished a committed change of {int(redo.rows['count'].sum()) * redo.page} B"
