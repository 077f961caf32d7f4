"""Zarr arrays at rest: open them by region, create new ones.

Local arrays of regular chunks and the usual codecs are read and written here, without zarr-python:
its cost per chunk is fifty times that of reading a small chunk. Everything else (remote stores, zip
files, other codecs and types) goes through zarr-python, imported when it is needed.
"""

from __future__ import annotations

import contextlib
import os
import threading
import zipfile
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from chunkarr import fsio
from chunkarr.errors import (
    ArrayLockedError,
    CorruptChunkError,
    ForeignChangeError,
    GenerationChangedError,
    MetadataError,
    MissingChunkError,
    OptionError,
    StaleExpressionError,
    UnsupportedError,
)
from chunkarr.formats.contract import Member, Problem, Stored, ignore
from chunkarr.formats.zarr_chunks import ChunkReader
from chunkarr.formats.zarr_columns import open_columns
from chunkarr.formats.zarr_groups import list_arrays, make_groups
from chunkarr.formats.zarr_manifest import ADVICE, PLACE, Draft, Manifest, current, fingerprint
from chunkarr.formats.zarr_meta import ArrayMeta, BeyondError, read_meta
from chunkarr.formats.zarr_shards import ShardReader
from chunkarr.formats.zarr_target import ZarrTarget, create
from chunkarr.formats.zarr_txn import lock_array, recover, settle, unlock
from chunkarr.formats.zarr_update import ZarrUpdate, begin
from chunkarr.formats.zarr_verify import problems
from chunkarr.grid import Grid, Region, Shape
from chunkarr.settings import durability as default_durability

__all__ = ["ZarrArray", "ZarrTarget", "create", "make_groups", "members", "open"]


def open(  # noqa: A001
    path: str, mode: str = "r", *, missing: str | None = None, durability: str | None = None, timeout: float = 0.0
) -> Stored:
    """Open the Zarr array in directory ``path``, or in a store that zarr-python knows; no chunk is read.

    Parameters
    ----------
    path
        A directory, a ``.zip`` file or an address such as ``s3://bucket/a.zarr``.
    mode
        "r": to be read; "r+": to be changed, too, which finishes what a killed writer left.
    missing
        What a chunk that is not there means: "fill" (the fill value, Zarr's rule) or "error". None is "error"
        for chunks that chunkarr wrote, "fill" for others. Either word also reads an array whose manifest is gone.
    durability
        Of changes: "full", safe against power loss when they return; "process", against a killed process.
        None is what the settings say.
    timeout
        Seconds that a change waits for another writer of the array.

    Raises
    ------
    FileNotFoundError
        If there is no array at ``path``.
    MetadataError
        If its metadata are cut, absurd or contradict themselves.
    UnsupportedError
        If neither chunkarr nor zarr-python can read it.

    Examples
    --------
    >>> import tempfile
    >>> place = tempfile.mkdtemp() + "/a.zarr"
    >>> target = create(place, (4, 6), "i4", chunks=(2, 6))
    >>> target.write(((0, 4), (0, 6)), np.arange(24, dtype="i4").reshape(4, 6), np.empty(1 << 20, "u1"))
    >>> target.commit()
    >>> stored = open(place)
    >>> out = np.empty((2, 2), "i4")
    >>> stored.read(((1, 3), (4, 6)), out, np.empty(stored.scratch_bytes(((1, 3), (4, 6))), "u1"))
    >>> out
    array([[10, 11],
           [16, 17]], dtype=int32)
    """
    path = os.fspath(path)
    if mode not in ("r", "r+"):
        raise OptionError(f'mode {mode!r}: a Zarr array is opened with "r" or "r+"; `create` makes a new one')
    if missing not in (None, "fill", "error"):
        raise OptionError(f'missing={missing!r}: use "fill", "error" or None')
    if durability not in (None, "full", "process"):
        raise OptionError(f'durability={durability!r}: use "full", "process" or None')
    if not timeout >= 0:
        raise OptionError(f"timeout={timeout!r}: give seconds, 0 or more")
    is_file = "://" not in path and os.path.isfile(path)
    if is_file and not zipfile.is_zipfile(path):
        raise MetadataError(f"{path}: is neither a directory nor a zip file, so no Zarr array")
    if is_file or "://" in path:
        return _through_zarr(path, mode, "a store that is not a directory", missing)
    path = os.path.abspath(path)
    if mode == "r+":
        with contextlib.suppress(ArrayLockedError):  # a writer at work: nothing is left over
            recover(path)
        fsio.sweep(path, keep_unfinished=True)
    try:
        return ZarrArray(Snapshot.of(path), missing, mode == "r+", durability, timeout)
    except BeyondError as error:
        return _through_zarr(path, mode, str(error), missing)
    except MetadataError:  # a group, perhaps
        columns = open_columns(path, missing, _open_again)
        if columns is None:
            raise
        return columns


def _open_again(path: str, missing: str | None) -> Stored:
    return open(path, missing=missing)


def members(path: str) -> list[Member]:
    """List the arrays of a group, at any depth.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     make_groups(directory + "/all.zarr", directory + "/all.zarr/run/x")
    ...     create(directory + "/all.zarr/run/x", (2, 3), "i2").abort()
    ...     create(directory + "/all.zarr/run/y", (0,), "i2").commit()
    ...     members(directory + "/all.zarr")
    [Member(name='run/y', shape=(0,), dtype=dtype('int16'), note='')]
    """
    return list_arrays(path, open)


def _through_zarr(path: str, mode: str, why: str, missing: str | None) -> Stored:
    from chunkarr.formats.zarr_fallback import open_through_zarr

    if mode != "r":
        raise UnsupportedError(f"{path}: {why} is read through zarr-python and cannot be changed; save a changed copy")
    return open_through_zarr(path, why, missing)


@dataclass(frozen=True)
class Snapshot:
    """The metadata and the manifest of one generation."""

    meta: ArrayMeta
    file: str  # of the metadata
    manifest: Manifest | None  # None: an array of others, or a damaged manifest
    damage: CorruptChunkError | None = None  # what reading raises

    @classmethod
    def of(cls, path: str) -> Snapshot:
        """Return those of the newest generation of the array in ``path``."""
        before: Any = None
        while True:
            try:
                found = current(path)
            except CorruptChunkError as error:
                return cls(*read_meta(path), None, error)
            if found is None:
                meta, file = read_meta(path)
                if meta.manifest and current(path) is None:
                    place = os.path.join(path, PLACE)
                    gone = MissingChunkError(f"{place}: is missing, but {file} says that there is a manifest; {ADVICE}")
                    return cls(meta, file, None, gone)
                if not meta.manifest:
                    return cls(meta, file, None)
                continue
            root, change = found
            try:
                meta, file = read_meta(path, change)
            except BeyondError as beyond:
                raise ForeignChangeError(
                    f"{path}: its metadata are not those that chunkarr wrote: {beyond} is not known; {ADVICE}"
                ) from None
            if fingerprint(meta) == root.fingerprint and root.is_of(meta):
                return cls(meta, file, Manifest(path, root, change))
            if before == (root.key, change):  # else the array changed between the two looks
                what = f"shape {meta.shape}, the manifest {root.shape}"
                if meta.shape == root.shape:
                    what = "other types, chunks or codecs than the manifest"
                foreign = ForeignChangeError(
                    f"{file}: is not what chunkarr wrote: it says {what}; "
                    "another writer changed it: restore it, or accept the change with `chunkarr adopt`"
                )
                return cls(meta, file, None, foreign)
            before = root.key, change


class ZarrArray(Stored):
    """A Zarr array in a local directory, read by chunkarr's own chunk path."""

    format = "zarr"
    contiguous = False

    def __init__(
        self,
        snapshot: Snapshot,
        missing: str | None = None,
        writable: bool = False,
        durability: str | None = None,
        timeout: float = 0.0,
    ) -> None:
        self.meta, self.file, self.manifest = snapshot.meta, snapshot.file, snapshot.manifest
        # Who says what a lost chunk means wants what can be had of an array whose manifest is gone.
        gone = isinstance(snapshot.damage, MissingChunkError)
        self.damage = None if gone and missing is not None else snapshot.damage
        self.missing, self.writable = missing, writable
        self._durability, self._timeout = durability, timeout
        self.path = self.meta.path
        self.shape = self.meta.shape
        self.dtype = self.meta.dtype
        self.grid = Grid(self.meta.shape, self.meta.chunk)
        self._known: tuple[Hashable, int] = (_signature(self.file), self.meta.generation)
        self._own: Hashable = self.manifest.root.key if self.manifest else self._of_files()
        self._lock = threading.Lock()
        self._reader: ChunkReader | None = None

    @property
    def reader(self) -> ChunkReader:
        """What reads the chunks: made, and its codec imported, when first asked for."""
        with self._lock:
            if self._reader is None:
                error = self.missing == "error" or (self.missing is None and self.meta.complete)
                kind = ChunkReader if self.meta.shard is None else ShardReader
                self._reader = kind(
                    self.meta, missing_is_error=error, manifest=self.manifest, salvage=self.missing == "fill"
                )
            return self._reader

    def read(self, region: Region, out: np.ndarray[Any, Any], scratch: np.ndarray[Any, Any]) -> None:
        """Fill ``out`` with ``region``; see `Stored.read`."""
        if not out.size:
            return
        self.refuse_damage()
        try:
            sure = self.reader.read(region, out, scratch)
        except (CorruptChunkError, OSError) as error:
            if self._changed():
                raise self._stale() from error
            raise
        if not sure and self._changed():
            raise self._stale()

    def refuse_damage(self) -> None:
        """Raise what is wrong with the metadata or the manifest, if anything is."""
        if self.damage is not None:
            raise type(self.damage)(*self.damage.args)

    def _stale(self) -> GenerationChangedError:
        return GenerationChangedError(f"{self.path}: changed while it was read; read it again")

    def _changed(self) -> bool:
        """Say whether the array in place is not of the generation that this object stands for."""
        try:
            found = current(self.path)
        except CorruptChunkError:
            return False
        return found is not None and found[0].key != self._own

    def scratch_bytes(self, region: Region) -> int:
        """Return the bytes that `read` needs besides ``out``: a chunk decoded and encoded."""
        return self.reader.scratch_bytes(region)

    def block_scratch_bytes(self, region: Region) -> int:
        """Return the bytes that `read` into a contiguous block holds besides it."""
        return self.reader.block_scratch_bytes(region)

    def bytes_read(self, region: Region) -> int:
        """Return the decoded bytes of the chunks that ``region`` touches."""
        return self.reader.bytes_read(region)

    def generation(self) -> Hashable:
        """Return what changes with the data: the manifest's generation, or of others' arrays what their files say."""
        if self.damage is not None:  # another one than that of chunks which were read before
            return "damaged", str(self.damage)
        try:
            found = current(self.path)
        except CorruptChunkError as error:
            return "damaged", str(error)
        return self._of_files() if found is None else found[0].key

    def _of_files(self) -> Hashable:
        """Return the metadata file's signature, and that of the chunks' directory of others' arrays."""
        signature = _signature(self.file)
        if signature != self._known[0]:
            self._known = (signature, read_meta(self.path)[0].generation)
        if self.meta.complete:
            return self._known
        root = os.path.join(self.path, self.meta.key_prefix.rstrip("./"))
        return (*self._known, os.stat(root).st_mtime_ns if os.path.isdir(root) else 0)

    def fresh(self) -> Stored:
        """Return the array as it is now, with the same options."""
        return self if self.damage is None and self.generation() == self._own else self._again()

    def _again(self) -> ZarrArray:
        return ZarrArray(Snapshot.of(self.path), self.missing, self.writable, self._durability, self._timeout)

    def over(self, meta: ArrayMeta, draft: Draft, writes: Callable[[], int]) -> Stored:
        """Return this array with a change over it that has been written to ``writes()`` times."""
        return StagedArray(self, meta, draft, writes)

    def update(self, shape: Shape | None = None) -> ZarrUpdate:
        """Begin a change; see `Stored.update`."""
        if not self.writable:
            raise UnsupportedError(f'{self.path}: was opened to be read; open it with mode="r+" to change it')
        lock = lock_array(self.path, self._timeout)
        try:
            settle(self.path)
            before = self._again()
            before.refuse_damage()
            how: Any = self._durability or default_durability()
            return begin(before, shape, lock, how)
        except BaseException:
            unlock(self.path, lock)
            raise

    def checked_by(self) -> str:
        """Return what tells `problems` that stored bytes changed."""
        if self.manifest is not None:
            return "the manifest: length and crc32c of each chunk"
        return "the crc32c of each chunk" if self.meta.encoding.crc else ""

    def problems(self, share: tuple[int, int] = (0, 1), done: Callable[[int], object] = ignore) -> Iterator[Problem]:
        """Read everything and yield what is not as it was written; see `Stored.problems`."""
        return problems(self, share, done)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as path, options and generation."""
        return _reopen, (self.path, self.missing, self.generation())

    def __repr__(self) -> str:
        """Name path, shape and dtype."""
        return f"<ZarrArray {self.path} {self.shape} {self.dtype}>"


class StagedArray(ZarrArray):
    """A Zarr array with a change over it that is not committed; belongs to that change."""

    def __init__(self, before: ZarrArray, meta: ArrayMeta, draft: Draft, writes: Callable[[], int]) -> None:
        super().__init__(Snapshot(meta, before.file, draft), before.missing)
        self._writes = writes

    def _changed(self) -> bool:
        """Say no: the lock is held."""
        return False

    def generation(self) -> Hashable:
        """Return what changes with each write."""
        return self._own, "staged", self._writes()

    def fresh(self) -> Stored:
        """Return itself: it shows each write."""
        return self


def _signature(file: str) -> Hashable:
    status = os.stat(file)
    return status.st_mtime_ns, status.st_size, status.st_ino


def _reopen(path: str, missing: str | None, generation: Hashable) -> Stored:
    """Open ``path`` where a pickle arrives; what was pickled must still be there."""
    stored = open(path, missing=missing)
    if stored.generation() != generation:
        raise StaleExpressionError(f"{path}: was replaced or changed since it was opened; open it again")
    return stored
