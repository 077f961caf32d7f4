"""Changes of a single file that are whole or not there: a redo journal beside the file.

For a file ``x.npy``, beside it and under the lock of the file itself::

    .x.npy.journal      a change being prepared (see `patch`): nobody reads it but its writer
    .x.npy.commit       the same file, sealed and renamed: the change is made, whoever dies now

After the rename, which is the commit point, the changed pages are copied into the file, its time is set
to later than before, and the commit file is removed. Whoever finds a commit file whose writer is gone
does the copying: it may be done any number of times. A change of more than half of a file is not copied
but completed, and renamed over the file; then that rename is the commit point.

A reader holds no lock. What it has read is of one generation if, *after* reading, there is first no
commit file and then the file has the size, time and inode that it had before: a writer that began
to copy meanwhile has left either its commit file or a later time.

The end of a commit file says what it holds: header, a row per run of pages (first page, pages, crc32c),
rows (page, crc32c) of some pages that are not changed, crc32c of all this, its length, and a mark.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import google_crc32c
import numpy as np

from chunkarr import fsio
from chunkarr.errors import (
    ArrayLockedError,
    CommittedNotAppliedError,
    CorruptChunkError,
    ForeignChangeError,
    FormatError,
    GenerationChangedError,
)
from chunkarr.formats.patch import Patch, marked_runs
from chunkarr.formats.runs import file_generation
from chunkarr.fsio import ArrayLock, Durability, calls

__all__ = [
    "commit",
    "commit_file",
    "finish",
    "hold",
    "journal_file",
    "pending",
    "read_stable",
    "recover",
    "replace",
    "resolve",
    "settle",
    "tidy",
]

T = TypeVar("T")
Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Rows = np.ndarray[Any, Any]  # of ROW

MARK = b"chunkarr journal"
HEADER = struct.Struct("<IIQQQQQ")  # version, page, old size, new size, old mtime_ns, runs, witnesses
FOOT = struct.Struct("<IQ16s")  # crc32c of the index, its length, MARK
ROW = np.dtype([("page", "<u8"), ("count", "<u4"), ("crc", "<u4")])
VERSION = 1
PIECE = 1 << 20  # bytes copied at once; the most that one checksum covers
WITNESSES = 8  # unchanged pages that tell a file from another one of its size
WAIT = 10.0  # seconds that a reader waits for a writer to finish copying
PATIENCE = 0.005  # seconds in which a living writer usually finishes
INDEX_LIMIT = 1 << 28  # bytes


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
    if timeout < WAIT and (pending(file) or os.path.lexists(journal_file(file))):
        with contextlib.suppress(ArrayLockedError):
            settle(file)
    lock = ArrayLock(file, file, max(timeout, PATIENCE), make=False)
    try:
        finish(file)
    except BaseException:
        lock.release()
        raise
    return lock


def settle(file: str) -> None:
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
        if waited > WAIT:
            raise ArrayLockedError(f"{file}: a writer has been putting a change in place for {WAIT:g} s; try again")
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
            f"{file}: a committed change waits in {commit_file(file)} and could not be put in place: {error}; "
            "open it where it can be written"
        ) from error
    return True


def tidy(file: str) -> None:
    """Finish or drop what a killed writer of ``file`` left, if it is gone; for opening to write."""
    settle(file)
    if os.path.lexists(journal_file(file)):
        with contextlib.suppress(ArrayLockedError):
            recover(file)


def read_stable(file: str, look: Callable[[tuple[int, int, int]], T]) -> T:
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


def commit(patch: Patch, file: str, generation: tuple[int, int, int], durability: Durability) -> None:
    """Make the changes of ``patch``, which lies in the journal file, those of ``file``: seal, rename, copy.

    ``generation`` is that of the file. An error before the commit point is raised as it is.

    Raises
    ------
    CommittedNotAppliedError
        If the change was committed, but not copied.
    """
    name = commit_file(file)
    room = np.empty(PIECE, np.uint8)
    rows = _rows(patch, room)
    index = _index(patch, rows, file, generation, room)
    fsio.write_at(patch.fd, index, -(-patch.size // patch.page) * patch.page, patch.path)
    if durability == "full":
        fsio.sync_file(patch.fd)
    try:
        calls.rename(patch.path, name)
    except OSError:
        if os.path.lexists(patch.path):
            raise
    with _finishing(file, name):
        if durability == "full":
            fsio.sync_dir(os.path.dirname(name))
    if patch.size > generation[0]:
        _make_room(patch.size, file, generation, name)
    with _finishing(file, name):
        _apply(patch.fd, rows, patch.page, patch.size, file, generation[1], room)
        if durability == "full":
            _sync(file)
        _drop(name, durability)


@contextlib.contextmanager
def _finishing(file: str, name: str) -> Iterator[None]:
    """Say of an error after the commit point that the change is committed."""
    try:
        yield
    except OSError as error:
        raise CommittedNotAppliedError(
            f"{file}: the change is committed in {name} and will not be lost, but could not be put in place: {error}; "
            "the next open does it"
        ) from error


def _make_room(size: int, file: str, generation: tuple[int, int, int], name: str) -> None:
    """Give ``file`` the blocks that it will need; where there is no room, take the commit back.

    Nothing was copied yet, readers have only waited, and the lock is held: so it can be taken back.
    """
    fd = fsio.open_write(file)
    try:
        calls.reserve(fd, size, generation[0])
    except OSError:
        with _finishing(file, name):
            calls.truncate(fd, generation[0])
            calls.utime(file, generation[1])
            fsio.sync_file(fd)
            _drop(name, "full")
        raise
    finally:
        os.close(fd)


def _drop(name: str, durability: Durability) -> None:
    """Remove a commit file for good: come back after power loss, it would undo later changes of others."""
    calls.unlink(name)
    if durability == "full":
        fsio.sync_dir(os.path.dirname(name))


def _sync(file: str) -> None:
    fsio.sync_file(file)


def _rows(patch: Patch, room: Bytes) -> Rows:
    """Return the runs of changed pages, none longer than ``room``, with their checksums."""
    runs = marked_runs(patch.marks)
    most = max(1, room.nbytes // patch.page)
    lengths = runs[:, 1] - runs[:, 0]
    pieces = -(-lengths // most)
    first = np.repeat(np.cumsum(pieces) - pieces, pieces)
    rows = np.zeros(int(pieces.sum()), ROW)
    rows["page"] = np.repeat(runs[:, 0], pieces) + (np.arange(rows.size) - first) * most
    rows["count"] = np.minimum(np.repeat(runs[:, 1], pieces) - rows["page"].astype(np.int64), most)
    for row in rows:
        row["crc"] = google_crc32c.value(_piece(patch.fd, patch.path, row, patch.page, patch.size, room))
    return rows


def _piece(fd: int, path: str, row: Any, page: int, size: int, room: Bytes) -> Bytes:
    """Return the bytes of a row, read into ``room``."""
    start = int(row["page"]) * page
    piece = room[: min(int(row["count"]) * page, size - start)]
    fsio.read_into(fd, piece, start, path)
    return piece


def _index(patch: Patch, rows: Rows, file: str, generation: tuple[int, int, int], room: Bytes) -> bytes:
    """Return what ends a commit file."""
    kept = min(generation[0], patch.size) // patch.page
    candidates = np.unique(np.linspace(0, kept - 1, 8 * WITNESSES).astype(np.int64)) if kept else np.zeros(0, np.int64)
    chosen = candidates[~patch.marks[candidates]][:: max(1, candidates.size // WITNESSES)]
    witnesses = np.zeros(chosen.size, ROW)
    witnesses["page"], witnesses["count"] = chosen, 1
    if chosen.size:
        fd = fsio.open_read(file)
        try:
            for row in witnesses:
                row["crc"] = google_crc32c.value(_piece(fd, file, row, patch.page, patch.size, room))
        finally:
            os.close(fd)
    head = HEADER.pack(VERSION, patch.page, generation[0], patch.size, generation[1], rows.size, witnesses.size)
    index = head + rows.tobytes() + witnesses.tobytes()
    return index + FOOT.pack(google_crc32c.value(index), len(index), MARK)


def _apply(fd: int, rows: Rows, page: int, size: int, file: str, before: int, room: Bytes) -> None:
    """Copy the changed pages into ``file``, and give it its size and a later time than ``before``."""
    target = fsio.open_write(file)
    try:
        for row in rows:
            fsio.write_at(target, _piece(fd, file, row, page, size, room), int(row["page"]) * page, file)
        if os.fstat(target).st_size != size:
            calls.truncate(target, size)
    finally:
        os.close(target)
    _stamp(file, before)


def _stamp(file: str, before: int) -> None:
    """Set the time of ``file`` to later than ``before``, whatever the clock says and the file system rounds to."""
    for step in (1, 1_000, 1_000_000, 2_000_000_000):
        calls.utime(file, max(time.time_ns(), before + step))
        if os.stat(file).st_mtime_ns > before:
            return


def replace(patch: Patch, file: str, generation: tuple[int, int, int], durability: Durability) -> None:
    """Complete ``patch`` and let it take the place of ``file``, with its permissions.

    Raises
    ------
    CommittedNotAppliedError
        If it took the place, but that may not survive power loss.
    """
    patch.complete(np.empty(PIECE, np.uint8))
    calls.chmod(patch.path, stat.S_IMODE(os.stat(file).st_mode))
    _stamp(patch.path, generation[1])
    if durability == "full":
        fsio.sync_file(patch.fd)
    try:
        calls.replace(patch.path, file)
    except OSError:
        if os.path.lexists(patch.path):
            raise
    if durability == "full":
        try:
            fsio.sync_dir(os.path.dirname(file))
        except OSError as error:
            raise CommittedNotAppliedError(
                f"{file}: the change is made, but the disk did not confirm it: {error}"
            ) from error


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
        room = np.empty(PIECE, np.uint8)
        head, rows, witnesses = _read_index(fd, name)
        _, page, old, size, before, _, _ = head
        _check(fd, name, rows, page, size, room)
        _check_file(file, name, witnesses, page, (old, size), room)
        _apply(fd, rows, page, size, file, before, room)
        _sync(file)
        _drop(name, "full")
    finally:
        os.close(fd)
    return f"finished a committed change of {int(rows['count'].sum()) * page} B"


def _read_index(fd: int, name: str) -> tuple[tuple[int, ...], Rows, Rows]:
    """Return header, rows and witnesses of a commit file."""
    end = os.fstat(fd).st_size - FOOT.size
    if end >= 0:
        foot = bytearray(FOOT.size)
        fsio.read_into(fd, foot, end, name)
        crc, length, mark = FOOT.unpack(foot)
        if mark == MARK and HEADER.size <= length <= min(end, INDEX_LIMIT):
            index = bytearray(length)
            fsio.read_into(fd, index, end - length, name)
            head = HEADER.unpack_from(index)
            if google_crc32c.value(bytes(index)) == crc and head[0] == VERSION:
                rows = np.frombuffer(index, ROW, head[5] + head[6], HEADER.size)
                return head, rows[: head[5]], rows[head[5] :]
    raise _damaged(name, "its seal is not that of a committed change")


def _damaged(name: str, why: str) -> CorruptChunkError:
    return CorruptChunkError(f"{name}: {why}; remove it to keep the array as it is now")


def _check(fd: int, name: str, rows: Rows, page: int, size: int, room: Bytes) -> None:
    """Raise CorruptChunkError if a page is not as it was committed."""
    for row in rows:
        if google_crc32c.value(_piece(fd, name, row, page, size, room)) != row["crc"]:
            raise _damaged(name, f"bytes from {int(row['page']) * page} on do not match their crc32c")


def _check_file(file: str, name: str, witnesses: Rows, page: int, sizes: tuple[int, int], room: Bytes) -> None:
    """Raise ForeignChangeError if ``file`` is not the one that the change was made for."""
    fd = fsio.open_read(file)
    try:
        found = os.fstat(fd).st_size
        same = min(sizes) <= found <= max(sizes) and all(
            google_crc32c.value(_piece(fd, file, row, page, found, room)) == row["crc"] for row in witnesses
        )
    finally:
        os.close(fd)
    if not same:
        raise ForeignChangeError(
            f"{file}: was changed by another writer after the change in {name} was committed; "
            "remove that file to keep the array as it is now"
        )
