"""Changes of a Zarr array in place, each whole or not at all: staged beside the array, then renamed into it.

A change of generation g is made in ``.chunkarr/txn-<g+1>``. Its files there are whole new objects, the
pages of the manifest that change, and the new root. Then::

    sync each staged file, the directory, and the name of the directory
    rename COMMIT.tmp to COMMIT, sync the directory       <- the commit point: COMMIT is the new root
    rename the objects, pages and metadata into place, sync the directories they went to
    rename COMMIT to manifest, sync                       <- in place: nothing needs the directory any more
    remove the directory

Before the commit point the staged files are litter, which the next writer removes. After it, all that
is left to do are renames, which the next writer finishes: a file that is not in the directory any more
was renamed. The root in place comes last, so that a root in place always means that all of its
generation is there; until then readers take what is staged before what is in place.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Mapping

import google_crc32c

from chunkarr import fsio
from chunkarr.errors import CommittedNotAppliedError, CorruptChunkError
from chunkarr.formats.zarr_manifest import PLACE, Root, current
from chunkarr.fsio import calls

__all__ = ["Transaction", "lock_array", "recover", "settle", "staged_name", "unlock"]

_META = re.compile(r"(first|last)!(zarr\.json|\.zarray)")
_PAGE = re.compile(r"page-([0-9]+)")
_KEY = re.compile(r"(?:c|(?:c[+.])?[0-9]+(?:[+.][0-9]+)*)")
_REMOVED = re.compile(r"(?:c|(?:c[/.])?[0-9]+(?:[/.][0-9]+)*|\.chunkarr/pages/[0-9]+)")


def staged_name(key: str) -> str:
    """Return the name of a stored object in the directory of a change.

    >>> staged_name("c/0/12")
    'c+0+12'
    """
    return key.replace("/", "+")


def lock_array(path: str, timeout: float = 0.0) -> fsio.ArrayLock:
    """Hold the lock of the array in directory ``path``, made when it is not there.

    Raises
    ------
    ArrayLockedError
        If another writer holds it after ``timeout`` seconds.
    """
    place = os.path.join(path, PLACE)
    for where in (place, os.path.join(place, "pages")):
        if os.path.islink(where):
            raise CorruptChunkError(f"{where}: is a symbolic link, which could lead outside; nothing is written")
    for _ in range(100):
        with contextlib.suppress(FileExistsError):
            if not os.path.isdir(place):
                calls.mkdir(place)
        try:
            return fsio.ArrayLock(os.path.join(place, "lock"), path, timeout)
        except FileNotFoundError:
            # The writer before was the first one of this array and gave up: it removed what it had made.
            if not os.path.isdir(path):
                raise
    raise FileNotFoundError(2, "its lock file vanishes again and again", place)


def unlock(path: str, lock: fsio.ArrayLock) -> None:
    """Let the next writer in; of an array that has no manifest still, nothing of chunkarr's stays."""
    place = os.path.join(path, PLACE)
    try:
        if lock.held and os.listdir(place) == ["lock"]:
            calls.unlink(lock.file)
            calls.rmdir(place)
    except OSError:
        pass
    finally:
        lock.release()


class Transaction:
    """A change being made, of generation ``generation`` when it is done; the caller holds the array's lock."""

    def __init__(self, path: str, generation: int) -> None:
        self.path = path
        self.directory = os.path.join(path, PLACE, f"txn-{generation}")
        calls.mkdir(self.directory)

    def file(self, key: str) -> str:
        """Return where the object of ``key`` is staged."""
        return os.path.join(self.directory, staged_name(key))

    def commit(
        self,
        root: Root,
        pages: Mapping[int, bytes],
        keys: Iterable[str],
        *,
        metadata: tuple[str, bytes] | None = None,
        shrinks: bool = False,
        removed: Iterable[str] = (),
        durable: bool = True,
    ) -> None:
        """Make the change: the objects of ``keys`` that are staged, and what is given.

        Parameters
        ----------
        root, pages
            Of the new generation.
        keys
            Of the objects that were staged.
        metadata
            Name and content of the metadata file, where the shape changes.
        shrinks
            Whether the array becomes shorter along an axis.
        removed
            Paths in the array's directory, relative to it, that are not part of it any more.
        durable
            Whether to return when all of it survives power loss.

        Raises
        ------
        OSError
            If it could not be committed; the array is as it was.
        CommittedNotAppliedError
            If it was committed but not put in place.
        """
        names = [staged_name(key) for key in keys]
        for number, raw in pages.items():
            names.append(self._stage(f"page-{number}", raw))
        if metadata is not None:
            names.append(self._stage(f"{'first' if shrinks else 'last'}!{metadata[0]}", metadata[1]))
        gone = "\n".join(removed).encode()
        if gone:
            names.append(self._stage("removed", gone + int(google_crc32c.value(gone)).to_bytes(4, "little")))
        names.append(self._stage("COMMIT.tmp", root.pack()))
        if durable:
            fsio.for_each(fsio.sync_file, [os.path.join(self.directory, name) for name in names])
            fsio.sync_dir(self.directory)
            fsio.sync_dir(os.path.dirname(self.directory))
            if not os.path.exists(os.path.join(os.path.dirname(self.directory), "manifest")):
                fsio.sync_dir(self.path)  # the first change of an array of others made the directory of changes
        commit = os.path.join(self.directory, "COMMIT")
        calls.rename(f"{commit}.tmp", commit)
        try:
            if durable:
                fsio.sync_dir(self.directory)
            _apply(self.path, self.directory, durable=durable, redo=False)
        except OSError as error:
            raise CommittedNotAppliedError(
                error.errno,
                f"the change is committed and will not be lost, but is put in place only when the array is next "
                f"opened for writing, or by `chunkarr recover` ({error.strerror or error})",
                self.path,
            ) from error

    def _stage(self, name: str, raw: bytes) -> str:
        fsio.write_new(os.path.join(self.directory, name), raw)
        return name

    def abort(self) -> None:
        """Remove what was staged, if it was not committed; never raises."""
        if not os.path.exists(os.path.join(self.directory, "COMMIT")):
            fsio.discard(self.directory)


def _apply(path: str, change: str, *, durable: bool, redo: bool) -> None:
    """Put a committed change in place; what was put there before, by a writer that died, is not there to be moved."""
    place = os.path.join(path, PLACE)
    first, objects, last = _moves(path, change)
    everywhere = _directories(path) if redo else set()
    touched = {os.path.dirname(file) for _, file in first + objects + last}
    made = _make_directories(touched)
    if durable and (made or redo):
        # A file that was renamed into a directory is lost with it, so the directory's name comes first.
        _sync(made | everywhere)
    for move in (first, objects):
        fsio.for_each(lambda names: calls.replace(*names), move)
    removed = os.path.join(change, "removed")
    if os.path.exists(removed):
        _remove(path, removed, touched)
    fsio.for_each(lambda names: calls.replace(*names), last)
    if durable:
        # What was renamed before the writer died may not have reached the disk either.
        _sync(touched | everywhere)
    calls.replace(os.path.join(change, "COMMIT"), os.path.join(place, "manifest"))
    if durable:
        fsio.sync_dir(place)
    fsio.discard(change)


def _directories(path: str) -> set[str]:
    """Return the directories of the array, but those of changes."""
    changes = os.path.join(path, PLACE, "txn-")
    return {where for where, _, _ in os.walk(path) if not where.startswith(changes)}


def _moves(path: str, change: str) -> list[list[tuple[str, str]]]:
    """Return (staged file, its place) of metadata that come first, of objects and pages, of metadata that come last."""
    first: list[tuple[str, str]] = []
    objects: list[tuple[str, str]] = []
    last: list[tuple[str, str]] = []
    for name in sorted(os.listdir(change)):
        staged = os.path.join(change, name)
        if match := _META.fullmatch(name):
            (first if match[1] == "first" else last).append((staged, os.path.join(path, match[2])))
        elif match := _PAGE.fullmatch(name):
            objects.append((staged, os.path.join(path, PLACE, "pages", match[1])))
        elif _KEY.fullmatch(name):
            objects.append((staged, os.path.join(path, name.replace("+", "/"))))
    return [first, objects, last]


def _make_directories(wanted: set[str]) -> set[str]:
    """Make the directories that are missing; return those that hold a new name."""
    changed = set()
    for where in sorted(wanted):
        above = where
        while not os.path.isdir(above):
            above = os.path.dirname(above)
            changed.add(above)
        fsio.make_dir(where)
    return changed


def _sync(directories: set[str]) -> None:
    # What is not there any more was emptied and removed.
    fsio.for_each(fsio.sync_dir, sorted(where for where in directories if os.path.isdir(where)))


def _remove(path: str, file: str, touched: set[str]) -> None:
    """Remove the files that ``file`` lists, and the directories that this leaves empty."""
    fd = fsio.open_read(file, follow=False)
    try:
        raw = bytearray(os.fstat(fd).st_size)
        fsio.read_into(fd, raw, 0, file)
    finally:
        os.close(fd)
    names = bytes(raw[:-4]).decode("ascii", "replace").split("\n")
    sealed = google_crc32c.value(bytes(raw[:-4])) == int.from_bytes(raw[-4:], "little")
    if not sealed or not all(map(_REMOVED.fullmatch, names)):
        raise CorruptChunkError(f"{file}: does not match its checksum; accept what is there with `chunkarr adopt`")
    emptied = set()
    for name in names:
        # A directory there is damage that the array no longer has to do with.
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            calls.unlink(os.path.join(path, name))
        emptied.add(os.path.dirname(os.path.join(path, name)))
    while emptied:
        where = max(emptied, key=len)
        emptied.discard(where)
        if where in (path, os.path.join(path, PLACE, "pages")):
            touched.add(where)
            continue
        if os.path.isdir(where) and os.listdir(where):
            touched.add(where)
            continue
        with contextlib.suppress(FileNotFoundError):
            calls.rmdir(where)
        emptied.add(os.path.dirname(where))


def settle(path: str) -> str | None:
    """Finish or drop what a killed writer left; the caller holds the array's lock. Return what was done.

    Raises
    ------
    CorruptChunkError
        If the manifest or a committed change is damaged.
    """
    place = os.path.join(path, PLACE)
    done = []
    found = current(path)
    if found is not None and found[1]:
        _apply(path, found[1], durable=True, redo=True)
        done.append(f"finished the committed change to generation {found[0].generation}")
    for name in sorted(os.listdir(place)):
        if name.startswith("txn-"):
            fsio.discard(os.path.join(place, name))
            done.append(f"dropped the unfinished change {name}")
    return "; ".join(done) or None


def recover(path: str) -> str | None:
    """Finish or drop what a killed writer of the array in directory ``path`` left.

    Returns
    -------
    str or None
        What was done; None if there was nothing to do.

    Raises
    ------
    ArrayLockedError
        If a writer holds the array: it is at work, and nothing is left over.
    CorruptChunkError
        If the manifest or a committed change is damaged.
    """
    place = os.path.join(path, PLACE)
    left = set(os.listdir(place)) if os.path.isdir(place) else {"manifest"}
    if left - {"lock"} and not any(name.startswith("txn-") for name in left):
        return None
    lock = lock_array(path)
    try:
        return settle(path)
    finally:
        unlock(path, lock)
