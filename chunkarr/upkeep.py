"""Put an array in order after a writer was killed, or after another program changed it."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any

from chunkarr import fsio
from chunkarr.array.saving import Path
from chunkarr.errors import ForeignChangeError, MetadataError
from chunkarr.formats import journal, zarr_json, zarr_txn, zarr_verify
from chunkarr.formats.table import place_of, split_member

__all__ = ["RecoverReport", "adopt", "recover"]


@dataclass(frozen=True)
class RecoverReport:
    """What `recover` did."""

    path: str
    done: tuple[str, ...]  # a sentence each
    unfinished: tuple[str, ...]  # hidden outputs that ``resume=True`` goes on with; they were left alone
    found: bool = True  # whether anything is at ``path``

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        """Return what was done, a line each."""
        nothing = "there was nothing to do" if self.found else "is not there, and there was nothing to do"
        lines = [f"{self.path}: {what}" for what in self.done or (nothing,)]
        return "\n".join([*lines, *(f"{part}: is unfinished, and was left to be resumed" for part in self.unfinished)])


def recover(path: Path, *, drop_unfinished: bool = False) -> RecoverReport:
    """Finish or drop what a killed writer of the array at ``path`` left.

    Opening the array ``"r+"`` does the same; this is for those who open it with other software first.
    A committed change is put in its place, one that was not committed is dropped, and hidden files
    of outputs that were never finished are removed.

    Parameters
    ----------
    path : path
        An array, or a directory with Zarr arrays in it. Nothing need be there: what an unfinished
        first save left is removed too.
    drop_unfinished : bool
        Remove unfinished outputs even if a job can still resume them.

    Raises
    ------
    ArrayLockedError
        If a writer is at work: nothing is left over then.
    CorruptChunkError
        If what was left is damaged, or the array was changed by others since; nothing is touched then.

    Examples
    --------
    >>> import tempfile, chunkarr as ca
    >>> with tempfile.TemporaryDirectory() as d:
    ...     a = ca.save(d + "/x.zarr", ca.arange(10))
    ...     ca.recover(d + "/x.zarr").done
    ()
    """
    file, _ = split_member(os.fspath(path))
    done = []
    for place in _arrays(file):
        what = zarr_txn.recover(place) if os.path.isdir(place) else journal.recover(place)
        if what is not None:
            done.append(what if place == file else f"{os.path.relpath(place, file)}: {what}")
    removed = fsio.sweep(file, keep_unfinished=not drop_unfinished)
    done += [f"removed an unfinished output, {part}" for part in removed]
    left = tuple(part for part in fsio.unfinished(file) if os.path.lexists(part))
    return RecoverReport(os.fspath(path), tuple(done), left, os.path.lexists(file))


def adopt(path: Path) -> str:
    """Accept what another program made of the array at ``path``; return what was done, as a sentence.

    What chunkarr recorded about its chunks is replaced by what they are now, so that reading it raises
    no more. It is not for damage: chunks that cannot be decoded are refused, and nothing is changed.

    Parameters
    ----------
    path : path
        A Zarr array, also ``group.zarr::member``; or a file for which a committed change waits that
        can no longer be put in place, because another program wrote to the file since.

    Raises
    ------
    CorruptChunkError
        If a chunk is damaged.
    ArrayLockedError
        If a writer is at work.
    UnsupportedError
        If chunkarr reads the array through zarr-python, and so records nothing about it.

    Examples
    --------
    >>> import tempfile, zarr, chunkarr as ca
    >>> with tempfile.TemporaryDirectory() as d:
    ...     a = ca.save(d + "/x.zarr", ca.arange(10))
    ...     zarr.open_array(d + "/x.zarr", mode="r+")[3] = 33
    ...     print(ca.adopt(d + "/x.zarr"))
    ...     print(ca.open(d + "/x.zarr")[3])
    recorded 1 stored chunks or shards as they are now: 1 differ from what was recorded, 0 are not there and read as \
the fill value
    33
    """
    place = place_of(os.fspath(path))
    if os.path.isdir(place):
        return zarr_verify.adopt(place)
    try:
        done = journal.recover(place)
    except ForeignChangeError:
        return _drop_commit(journal.resolve(place))
    return done or "nothing is recorded about the content of this file, so there is nothing to adopt"


def _drop_commit(file: str) -> str:
    """Remove a committed change of a file that another program has changed since."""
    lock = fsio.ArrayLock(file, file, 0.0, make=False)
    try:
        fsio.discard(journal.commit_file(file))
    finally:
        lock.release()
    return "dropped a committed change that another writer of the file made impossible; the file stays as it is"


def _arrays(file: str) -> list[str]:
    """Return the places where a change can have been left: a file, or the Zarr arrays at or below a directory."""
    from chunkarr.formats.zarr_manifest import PLACE  # not at start-up

    if not os.path.lexists(file):
        return []
    if not os.path.isdir(file):
        return [file]
    found, waiting = [], [file]
    while waiting:
        place = waiting.pop()
        if os.path.isdir(os.path.join(place, PLACE)):
            found.append(place)
        elif not _is_array(place):  # whose chunks may be millions of files
            with os.scandir(place) as entries:
                waiting += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    return sorted(found)


def _is_array(place: str) -> bool:
    """Say whether a directory is a Zarr array rather than one of arrays, as far as can be told."""
    if os.path.exists(os.path.join(place, ".zarray")):
        return True
    try:
        return zarr_json.load(os.path.join(place, "zarr.json")).get("node_type") == "array"
    except (FileNotFoundError, MetadataError):
        return False
