"""Changing a Zarr array: new objects staged beside it, recorded, and put in place in one transaction."""

from __future__ import annotations

import json
import math
import os
import stat
import weakref
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr import fsio
from chunkarr.buffers import memory_error
from chunkarr.errors import CorruptChunkError, GridError, UnsupportedError
from chunkarr.formats.contract import Stored, Target, Update
from chunkarr.formats.zarr_json import load
from chunkarr.formats.zarr_layout import check_shape
from chunkarr.formats.zarr_manifest import ABSENT, ENTRY, Draft, Manifest, Root, fingerprint, first_root, resized
from chunkarr.formats.zarr_meta import ArrayMeta
from chunkarr.formats.zarr_objects import ObjectWriter, boxes, index_of_key, object_keys
from chunkarr.formats.zarr_txn import Transaction, staged_name, unlock
from chunkarr.grid import Grid, Region, Shape, intersect, region_key, region_shape
from chunkarr.settings import budget

if TYPE_CHECKING:
    from chunkarr.formats.zarr import ZarrArray

__all__ = ["StagingWriter", "ZarrUpdate", "begin"]


class StagingWriter(Target):
    """What writes objects of a change into its directory; what an update is in another process."""

    distributable = True

    def __init__(self, meta: ArrayMeta, directory: str) -> None:
        self.meta = meta
        self.directory = directory
        self.shape, self.dtype = meta.shape, meta.dtype
        self.grid = Grid(meta.shape, meta.object_shape)
        self._objects = ObjectWriter(meta)
        self._places: set[str] = set()  # directories of objects that were looked at

    def scratch_bytes(self, region: Region) -> int:
        """Return the bytes that `write` holds besides ``block``: a chunk raw, and one or a batch encoded."""
        del region
        return self._objects.scratch_bytes()

    def write(self, region: Region, block: np.ndarray[Any, Any], scratch: np.ndarray[Any, Any]) -> None:
        """Stage ``block`` at ``region``, made of whole boxes of ``grid``; a box written again is replaced."""
        self._objects.check(region, block)
        if not block.size:
            return
        block = self._objects.as_stored(block)
        for index, at in boxes(self.meta.object_shape, region):
            key = self.meta.key(index)
            self._check_place(key)
            file = os.path.join(self.directory, staged_name(key))
            try:
                entries = self._objects.write(file, block[at], scratch)
            except FileExistsError:
                fsio.discard(file)
                entries = self._objects.write(file, block[at], scratch)
            self.wrote(index, key, entries)

    def wrote(self, index: Shape, key: str, entries: np.ndarray[Any, Any]) -> None:
        """Hear of an object that was staged."""

    def _check_place(self, key: str) -> None:
        """Refuse to put an object where something lies that is not a file, or lies outside the array."""
        file = os.path.join(self.meta.path, key)
        try:
            mode = os.lstat(file).st_mode
        except FileNotFoundError:
            mode = 0
        if stat.S_ISDIR(mode):
            raise CorruptChunkError(f"{self.meta.path}: chunk {key} is a directory, not a file; remove {file}")
        where = os.path.dirname(file)
        while where not in self._places and where != self.meta.path:
            if os.path.lexists(where) and not stat.S_ISDIR(os.lstat(where).st_mode):
                raise CorruptChunkError(
                    f"{self.meta.path}: {where} is a file or a symbolic link, not a directory; nothing is written"
                )
            self._places.add(where)
            where = os.path.dirname(where)

    def commit(self) -> None:
        """Refuse: only the process that began the change commits it."""
        raise UnsupportedError(f"{self.meta.path}: a change is committed by the process that began it")

    def abort(self) -> None:
        """Do nothing: the process that began the change removes it."""


def begin(before: ZarrArray, shape: Shape | None, lock: fsio.ArrayLock, durability: fsio.Durability) -> ZarrUpdate:
    """Begin a change of ``before``, the newest generation, whose lock is held; with ``shape`` of its shape, too."""
    old, manifest = before.meta, before.manifest
    meta = old if shape is None else replace(old, shape=_checked(old, shape))
    stored = manifest is not None
    if manifest is None:
        # Chunks of others may hold anything beyond the edge.
        root = first_root(old, 0, loose=True, soft=False)
        manifest = Draft(old.path, root, None)
    root = replace(
        manifest.root,
        generation=manifest.root.generation + 1,
        shape=meta.shape,
        fingerprint=fingerprint(meta),
        soft=durability != "full",
        pages=b"",
    )
    transaction = Transaction(old.path, root.generation)
    try:
        if meta.shape == old.shape:
            draft = Draft(old.path, root, manifest if stored else None, transaction.directory)
        else:
            draft = resized(manifest, root, stored=stored, change=transaction.directory)
        return ZarrUpdate(before, meta, manifest, draft, transaction, lock, durability)
    except BaseException:
        transaction.abort()
        raise


def _checked(meta: ArrayMeta, shape: Shape) -> Shape:
    """Return ``shape`` if the array can have it."""
    shape = check_shape(shape)
    if len(shape) != len(meta.shape):
        raise GridError(f"{meta.path}: shape {shape} has {len(shape)} axes, the array has {len(meta.shape)}")
    if math.prod(max(n, 1) for n in shape) * meta.dtype.itemsize >= 2**63:
        raise GridError(f"{meta.path}: shape {shape} x {meta.dtype.itemsize} B exceeds 2**63-1 bytes")
    per_object = math.prod(s // c for s, c in zip(meta.object_shape, meta.chunk, strict=True))
    chunks = math.prod(-(-n // s) for n, s in zip(shape, meta.object_shape, strict=True)) * per_object
    if 3 * chunks * ENTRY.itemsize > budget():
        raise memory_error(
            f"{meta.path}: the manifest of {chunks} chunks", 3 * chunks * ENTRY.itemsize, budget(), "use larger chunks"
        )
    return shape


class ZarrUpdate(StagingWriter, Update):
    """A change of a Zarr array; see `Update`. Pickles as what only writes."""

    before: ZarrArray

    def __init__(
        self,
        before: ZarrArray,
        meta: ArrayMeta,
        manifest: Manifest,
        draft: Draft,
        transaction: Transaction,
        lock: fsio.ArrayLock,
        durability: fsio.Durability,
    ) -> None:
        super().__init__(meta, transaction.directory)
        self.before = before
        self.path = meta.path
        self._old, self._draft = manifest.root, draft
        self._transaction = transaction
        self._durable = durability == "full"
        self._lock = lock
        self._staged: set[str] = set()  # keys
        self._writes = 0
        self._edge = dict(_edges(before.meta, meta, manifest)) if before.shape != meta.shape else {}
        self.stale: tuple[Region, ...] = tuple(self._edge.values())
        self._drop = weakref.finalize(self, _drop, transaction, lock)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as what writes in another process; `commit` looks at what it left."""
        return StagingWriter, (self.meta, self.directory)

    def wrote(self, index: Shape, key: str, entries: np.ndarray[Any, Any]) -> None:
        """Record an object that was staged."""
        self._draft.record(self._draft.root.first(index), entries)
        self._staged.add(key)
        self._writes += 1
        self._edge.pop(index, None)

    def staged(self) -> Stored:
        """Return the array as `commit` would make it now."""
        self._check_held()
        self._write_edges()
        return self.before.over(self.meta, self._draft, lambda: self._writes)

    def commit(self) -> None:
        """Make the change, whole; see `Transaction.commit` for what it raises."""
        self._check_held()
        try:
            self._write_edges()
            self._collect()
            if self._staged or self.before.shape != self.shape:
                self._commit()
        finally:
            self.abort()

    def abort(self) -> None:
        """Drop what was not committed, and let the next writer in; never raises."""
        self._drop()

    def _check_held(self) -> None:
        if not self._drop.alive or not self._lock.held:
            raise UnsupportedError(f"{self.path}: this change is over, or began in another process; begin a new one")

    def _commit(self) -> None:
        root, pages = self._draft.seal()
        metadata = None
        if self.before.shape != self.shape:
            metadata = os.path.basename(self.before.file), _document(self.before.file, self.shape)
        if self._durable and self._old.soft:
            # The manifest that is made durable now names chunks that no change before has synced.
            fsio.sync_tree(self.path)
            fsio.sync_dir(os.path.dirname(self.path))
        self._transaction.commit(
            root,
            pages,
            sorted(self._staged),
            metadata=metadata,
            shrinks=any(a < b for a, b in zip(self.shape, self.before.shape, strict=True)),
            removed=self._removed(root),
            durable=self._durable,
        )

    def _collect(self) -> None:
        """Record objects that other processes staged."""
        for name in os.listdir(self.directory):
            key = name.replace("+", "/")
            index = index_of_key(self.meta, key)
            if index is not None and key not in self._staged:
                self.wrote(index, key, self._objects.collect(os.path.join(self.directory, name)))

    def _write_edges(self) -> None:
        """Write the boxes that a new shape makes stale and that nobody wrote."""
        for region in list(self._edge.values()):
            block = np.full(region_shape(region), self.meta.fill, self.dtype)
            common = intersect(region, tuple((0, n) for n in self.before.shape))
            if common is not None:
                self.before.read(
                    common, block[region_key(common, region)], np.empty(self.before.scratch_bytes(common), np.uint8)
                )
            self.write(region, block, np.empty(self.scratch_bytes(region), np.uint8))

    def _removed(self, root: Root) -> list[str]:
        """Return what a new shape leaves over: objects outside it, pages of the manifest, strays where it grows."""
        old, new = self._old, root
        if old.shape == new.shape:
            return []
        result = []
        kept = tuple(range(min(a, b)) for a, b in zip(old.counts, new.counts, strict=True))
        manifest = self.before.manifest
        for number, index in enumerate(product(*map(range, old.counts))):
            if all(i in r for i, r in zip(index, kept, strict=True)):
                continue
            if manifest is None or _written(manifest, number * old.per_object):
                result.append(self.meta.key(index))
        if any(a > b for a, b in zip(new.shape, old.shape, strict=True)):
            # Chunks that others left where the array was not: they would come back as values.
            for key in object_keys(self.meta):
                stray = index_of_key(self.meta, key)
                if stray is not None and any(i >= n for i, n in zip(stray, old.counts, strict=True)):
                    result.append(key)
        pages = range(len(new.pages) // 4, len(old.pages) // 4)
        result += [f".chunkarr/pages/{number}" for number in pages]
        return sorted(set(result) - self._staged)


def _edges(old: ArrayMeta, new: ArrayMeta, manifest: Manifest) -> Iterator[tuple[Shape, Region]]:
    """Yield the objects whose stored values beyond the edge would show, or that a shorter array cuts."""
    box = new.object_shape
    cut = [b < a and b % n != 0 for a, b, n in zip(old.shape, new.shape, box, strict=True)]
    grown = [b > a and a % n != 0 and manifest.root.loose for a, b, n in zip(old.shape, new.shape, box, strict=True)]
    root, grid = manifest.root, Grid(new.shape, box)
    counts = [min(a, b) for a, b in zip(root.counts, grid.counts, strict=True)]
    seen: set[Shape] = set()
    for axis, (c, g) in enumerate(zip(cut, grown, strict=True)):
        if not c and not g:
            continue
        edge = range(counts[axis] - 1, counts[axis])
        for index in product(*(edge if i == axis else range(n) for i, n in enumerate(counts))):
            if index not in seen and _written(manifest, root.first(index)):
                seen.add(index)
                yield index, grid.region(index)


def _written(manifest: Manifest, first: int) -> bool:
    """Say whether the object whose first entry is number ``first`` was written, or may have been."""
    n = manifest.root.per_object
    return any(length != ABSENT["length"] for length, _ in manifest.at(first, (n,), ((0, n),)))


def _document(file: str, shape: Shape) -> bytes:
    """Return a metadata document with another shape."""
    document = load(file)
    document["shape"] = [*shape, *document["shape"][len(shape) :]]
    return json.dumps(document, indent=2, allow_nan=False).encode()


def _drop(transaction: Transaction, lock: fsio.ArrayLock) -> None:
    """Remove what was staged, if the process that began the change asks."""
    if lock.held:
        try:
            transaction.abort()
        finally:
            unlock(transaction.path, lock)
