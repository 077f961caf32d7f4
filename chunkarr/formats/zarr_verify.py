"""What of a stored Zarr array is not as it was written, chunk by chunk; and taking what is there as right."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice, product
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr import fsio
from chunkarr.errors import CorruptChunkError, ForeignChangeError, UnsupportedError
from chunkarr.formats.contract import PIECE, Problem
from chunkarr.formats.zarr_chunks import ChunkReader
from chunkarr.formats.zarr_manifest import (
    ABSENT,
    ENTRY,
    PAGE,
    PLACE,
    Draft,
    Manifest,
    current,
    first_root,
)
from chunkarr.formats.zarr_meta import ArrayMeta, BeyondError, read_meta
from chunkarr.formats.zarr_objects import ObjectWriter, index_of_key, object_keys
from chunkarr.formats.zarr_shards import ShardReader
from chunkarr.formats.zarr_txn import Transaction, lock_array, settle, unlock
from chunkarr.grid import Grid, Region, Shape, region_shape, region_size

if TYPE_CHECKING:
    from chunkarr.formats.zarr import ZarrArray

__all__ = ["adopt", "problems"]


def problems(array: ZarrArray, share: tuple[int, int], done: Callable[[int], object]) -> Iterator[Problem]:
    """Yield what is not as it was written; see `Stored.problems`. Reads every chunk and every page."""
    which, of = share
    if array.damage is not None:
        if which == 0:
            place = os.path.join(array.path, PLACE, "manifest")
            file = array.file if isinstance(array.damage, ForeignChangeError) else place
            name = os.path.relpath(file, array.path)
            yield Problem(array.path, name, file, type(array.damage).__name__, str(array.damage))
        return
    bad: set[int] = set()
    for number in range(-(-array.manifest.root.entries // PAGE) if array.manifest else 0):
        problem = _page_problem(array, number)
        if problem is not None:
            bad.add(number)
            if which == 0:
                yield problem
    if which == 0 and array.manifest is not None and not array.manifest.change:  # else old files lie there still
        yield from _strays(array)
    grid = Grid(array.shape, array.meta.object_shape)
    for index in islice(product(*map(range, grid.counts)), which, None, of):
        if not bad.intersection(_pages(array, index)):
            yield from _object_problems(array, index, grid.region(index), done)


def _page_problem(array: ZarrArray, number: int) -> Problem | None:
    assert array.manifest is not None, "the caller looked"
    try:
        Manifest(array.path, array.manifest.root, array.manifest.change).page(number)
    except (CorruptChunkError, OSError) as error:
        file = os.path.join(array.path, PLACE, "pages", str(number))
        return Problem(array.path, f"manifest page {number}", file, type(error).__name__, str(error))
    return None


def _pages(array: ZarrArray, index: Shape) -> range:
    """Return the numbers of the pages that hold the entries of one object."""
    if array.manifest is None:
        return range(0)
    root = array.manifest.root
    first = root.first(index)
    return range(first // PAGE, (first + root.per_object - 1) // PAGE + 1)


def _object_problems(array: ZarrArray, index: Shape, box: Region, done: Callable[[int], object]) -> Iterator[Problem]:
    """Yield what is wrong with one stored object, some MiB at a time; where something is, chunk by chunk."""
    meta = array.meta
    key = meta.key(index)
    file = os.path.join(array.path, key)
    found = False
    for region in _tiles(box, meta.chunk, max(1, PIECE // max(1, meta.chunk_bytes))):
        done(region_size(region) * array.dtype.itemsize)
        if _error(array, region) is None:
            continue
        for chunk in _tiles(region, meta.chunk, 1):
            error = _error(array, chunk)
            if error is not None:
                inner = tuple((a - b) // c for (a, _), (b, _), c in zip(chunk, box, meta.chunk, strict=True))
                name = key if meta.shard is None else f"{key} inner {inner}"
                found = True
                yield Problem(array.path, name, file, type(error).__name__, str(error))
    if not found and meta.shard is not None and array.manifest is not None and not array.manifest.root.loose:
        reason = _surplus(array, array.manifest, index, file)
        if reason:
            yield Problem(array.path, key, file, CorruptChunkError.__name__, reason)


def _tiles(box: Region, chunk: Shape, limit: int) -> Iterator[Region]:
    """Cut ``box``, which begins at a chunk's corner, into regions of ``limit`` chunks along the last axis, or fewer."""
    steps = [*chunk[:-1], chunk[-1] * limit] if chunk else []
    for corner in product(*(range(a, b, n) for (a, b), n in zip(box, steps, strict=True))):
        yield tuple((a, min(a + n, b)) for a, n, (_, b) in zip(corner, steps, box, strict=True))


def _error(array: ZarrArray, region: Region) -> Exception | None:
    """Read ``region``; return what reading it raises, if that is damage."""
    try:
        array.read(region, np.empty(region_shape(region), array.dtype), np.empty(array.scratch_bytes(region), np.uint8))
    except (CorruptChunkError, OSError) as error:
        return error
    return None


def _surplus(array: ZarrArray, manifest: Manifest, index: Shape, file: str) -> str:
    """Say what a shard holds besides its chunks and its index, if anything."""
    meta, per_object = array.meta, manifest.root.per_object
    entries = manifest.at(manifest.root.first(index), (per_object,), ((0, per_object),))
    lengths = [length for length, _ in entries if length >= 0]
    if len(lengths) + sum(length == ABSENT["length"] for length, _ in entries) < per_object or not lengths:
        return ""
    expected = sum(lengths) + 16 * per_object + 4 * meta.index_crc
    fd = array.reader.open_object(file)
    try:
        size = os.fstat(fd).st_size
    finally:
        os.close(fd)
    return "" if size == expected else f"{file}: has {size} B, the chunks and the index of this shard take {expected} B"


def _strays(array: ZarrArray) -> Iterator[Problem]:
    """Yield files that lie among the chunks and are none."""
    counts = Grid(array.shape, array.meta.object_shape).counts
    for key in object_keys(array.meta):
        index = index_of_key(array.meta, key)
        if index is None:
            if "/" not in key:  # beside the chunks, not among them
                continue
            wrong = True
        else:
            wrong = any(i >= n for i, n in zip(index, counts, strict=True))
        if wrong:
            file = os.path.join(array.path, key)
            reason = f"{file}: is not a part of an array of shape {array.shape}; another writer put it there"
            yield Problem(array.path, key, file, "ForeignChangeError", reason)


def adopt(path: str) -> str:
    """Take what the chunks of the array in directory ``path`` hold now as right; return what changed, as a sentence.

    Chunks that are not there read as the fill value from then on, which is Zarr's rule. Every chunk is
    read: one that does not decode is damaged, not changed, and is refused.

    Raises
    ------
    ArrayLockedError
        If another writer holds the array.
    CorruptChunkError
        If a chunk is damaged; nothing is adopted.
    UnsupportedError
        If the array can only be read through zarr-python.
    """
    path = os.path.abspath(path)
    lock = lock_array(path)
    try:
        before = _settled(path)
        try:
            meta, _ = read_meta(path)
        except BeyondError as error:
            raise UnsupportedError(
                f"{path}: {error} is read through zarr-python; there is no manifest to adopt"
            ) from None
        root = first_root(meta, 1, loose=True, soft=False)
        if before is not None:
            root = replace(root, identity=before.root.identity, generation=before.root.generation + 1)
        draft = Draft(path, root, None)
        text = _record(meta, draft, before)
        sealed, pages = draft.seal()
        transaction = Transaction(path, sealed.generation)
        try:
            old = len(before.root.pages) // 4 if before is not None else 0
            gone = [f"{PLACE}/pages/{number}" for number in range(len(pages), old)]
            fsio.sync_tree(path)  # what others wrote may not be on the disk
            transaction.commit(sealed, pages, (), removed=gone)
        finally:
            transaction.abort()
        return text
    finally:
        unlock(path, lock)


def _settled(path: str) -> Manifest | None:
    """Finish or drop what was left, and return the manifest; None if there is none that can be read."""
    try:
        settle(path)
        found = current(path)
    except CorruptChunkError:
        # A damaged manifest says nothing; without it the new one begins anew.
        place = os.path.join(path, PLACE)
        for name in os.listdir(place):
            if name.startswith("txn-"):
                fsio.discard(os.path.join(place, name))
        if os.path.lexists(os.path.join(place, "manifest")):
            fsio.discard(os.path.join(place, "manifest"))
        return None
    return None if found is None else Manifest(path, *found)


def _record(meta: ArrayMeta, draft: Draft, before: Manifest | None) -> str:
    """Read every object, record it, and say how many differ from the manifest before."""
    kind = ChunkReader if meta.shard is None else ShardReader
    reader, objects = kind(meta, missing_is_error=False), ObjectWriter(meta)
    same = before is not None and before.root.fingerprint == draft.root.fingerprint
    grid = Grid(meta.shape, meta.object_shape)
    per_object = draft.root.per_object
    changed = gone = 0
    known = "there was no manifest of it that could be read"
    for index in product(*map(range, grid.counts)):
        file = os.path.join(meta.path, meta.key(index))
        first = draft.root.first(index)
        if os.path.lexists(file):
            for region in _tiles(grid.region(index), meta.chunk, 1):
                block = np.empty(region_shape(region), meta.dtype)
                reader.read(region, block, np.empty(reader.scratch_bytes(region), np.uint8))
            entries = objects.collect(file)
        else:
            entries = np.full(per_object, ABSENT, ENTRY)
            gone += 1
        draft.record(first, entries)
        if before is not None and same:
            changed += _differs(before, first, entries)
            known = f"{changed} differ from what was recorded"
    return (
        f"recorded {math.prod(grid.counts)} stored chunks or shards as they are now: {known}, "
        f"{gone} are not there and read as the fill value"
    )


def _differs(before: Manifest, first: int, entries: np.ndarray[Any, Any]) -> bool:
    try:
        return bool(before.at(first, (len(entries),), ((0, len(entries)),)) != entries.tolist())
    except CorruptChunkError:
        return True
