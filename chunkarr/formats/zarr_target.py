"""Writing a new Zarr array: chunk files and shards in a hidden sibling that appears whole or never.

Each chunk carries its crc32c and every chunk is written, those of fill values too, so that a reader
can tell a lost chunk from an empty one. ``zarr.json`` comes last.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import google_crc32c
import numpy as np

from chunkarr import fsio
from chunkarr.errors import MissingChunkError, OptionError, TargetExistsError, UnsupportedError
from chunkarr.formats.contract import Target
from chunkarr.formats.zarr_columns import ColumnsTarget, fields_of
from chunkarr.formats.zarr_layout import INNER as INNER_BYTES
from chunkarr.formats.zarr_layout import Access, check_shape, choose_chunks, choose_shards, document_of
from chunkarr.formats.zarr_manifest import ABSENT, NOT_RECORDED, PAGE, PLACE, Draft, first_root
from chunkarr.formats.zarr_meta import meta_of
from chunkarr.formats.zarr_objects import ObjectWriter, boxes
from chunkarr.formats.zarr_txn import lock_array
from chunkarr.grid import Grid, Region, Shape

__all__ = ["ZarrTarget", "create"]


def create(
    path: str,
    shape: int | Sequence[int],
    dtype: Any,
    *,
    chunks: int | Sequence[int] | None = None,
    shards: int | Sequence[int] | Literal[False] | None = None,
    codec: str | None = "blosc-lz4",
    fill_value: Any = 0,
    access: Access = "cube",
    order: Literal["C", "F"] = "C",
    attributes: Mapping[str, Any] | None = None,
    layout: Literal["records", "columns"] = "records",
    overwrite: bool = False,
    durability: fsio.Durability = "full",
    adopt: tuple[str, int] | None = None,
) -> ZarrTarget | ColumnsTarget:
    """Begin a new Zarr v3 array that appears at ``path`` when the returned target is committed.

    Parameters
    ----------
    path
        A local directory that does not exist, or with ``overwrite`` one that holds Zarr data.
    shape, dtype
        Of the array. Types that Zarr's core lacks (strings, dates, structures) are stored as bytes.
    chunks
        Elements per axis of what is encoded at once; None chooses about 4 MiB, as ``access`` says.
    shards
        Elements per axis of a file that holds several chunks; None chooses shards when there would be
        more than about 50,000 files, False never does.
    codec
        "blosc-lz4", "blosc-zstd", "zstd", "gzip", "none" or None, with a level as in "zstd:5".
    fill_value
        What pads chunks at the edge.
    access
        How it will be read: "cube", "rows" (long in the last axes) or "columns" (long in the first).
    order
        Of the elements in a chunk.
    attributes
        JSON to keep with the array.
    layout
        Of structured arrays: "records", one array of bytes that keeps all of any dtype; "columns", a group of
        one array per field, which every reader of Zarr opens.
    overwrite
        Whether an array at ``path`` may be replaced.
    durability
        "full": survives power loss once committed; "process": survives a killed process.
    adopt
        An unfinished sibling of the same array and its lock, to go on with instead of a new one.

    Raises
    ------
    GridError
        If chunks or shards do not fit the shape.
    TargetExistsError
        If something is at ``path`` and may not be replaced.
    UnsupportedError
        If the dtype has no fixed number of bytes.
    """
    path = os.fspath(path)
    if "://" in path:
        raise UnsupportedError(f"{path}: new Zarr arrays are written to local directories; copy the result there")
    if durability not in ("full", "process"):
        raise OptionError(f'durability={durability!r}: use "full" or "process"')
    shape, dtype = check_shape(shape), np.dtype(dtype)
    itemsize = max(dtype.itemsize, 1)
    shard: Shape | None = None
    if shards is not None and shards is not False:
        shard = check_shape(shards, "shards", 1)
    if chunks is not None:
        chunk = check_shape(chunks, "chunks", 1)
    elif shard is not None:
        chunk = _within(shard, itemsize, access)
    else:
        chunk = choose_chunks(shape, itemsize, access)
    if shards is None and len(chunk) == len(shape):
        if chunks is None and choose_shards(shape, chunk, itemsize):
            chunk = choose_chunks(shape, itemsize, access, INNER_BYTES)
        shard = choose_shards(shape, chunk, itemsize)
    if layout not in ("records", "columns"):
        raise OptionError(f'layout is "records" or "columns", not {layout!r}')
    columns = fields_of(path, dtype) if layout == "columns" and dtype.names else None
    how: dict[str, Any] = {"codec": codec, "order": order, "attributes": attributes}
    if columns is None:
        documents = {"": document_of(shape, dtype, chunk, shard, fill_value=fill_value, **how)}
    else:
        how["fill_value"] = 0
        documents = {
            name: document_of((*shape, *axes), base, (*chunk, *_own(axes)), shard and (*shard, *_own(axes)), **how)
            for name, (base, axes) in columns.items()
        }
    _check_replaceable(path, overwrite)
    fsio.sweep(path)
    if adopt is not None:
        for name in documents:
            for file in ("zarr.json", ".chunkarr"):  # of a commit that was not finished
                fsio.discard(os.path.join(adopt[0], name, file))
    part, lock = adopt or fsio.new_part(path, directory=True)
    try:
        if columns is None:
            return ZarrTarget(documents[""], path, part, lock, overwrite, durability)
        fields = {
            name: ZarrTarget(document, os.path.join(path, name), os.path.join(part, name), None, overwrite, durability)
            for name, document in documents.items()
        }
        for name in fields:
            fsio.make_dir(os.path.join(part, name))
        return ColumnsTarget(path, part, lock, shape, dtype, fields, overwrite, durability)
    except BaseException:
        if adopt is None:
            fsio.discard(part)
            os.close(lock)
        raise


def _own(axes: Shape) -> Shape:
    """Return the chunk of a field's own axes: all of them."""
    return tuple(max(1, n) for n in axes)


def _within(shard: Shape, itemsize: int, access: Access) -> Shape:
    """Return chunks of about 1 MiB that divide ``shard``."""
    wanted = choose_chunks(shard, itemsize, access, INNER_BYTES)
    return tuple(next(n for n in range(w, 0, -1) if s % n == 0) for s, w in zip(shard, wanted, strict=True))


def _check_replaceable(path: str, overwrite: bool) -> None:
    fsio.refuse_existing(path, overwrite)
    if not os.path.exists(path):
        parent = os.path.dirname(os.path.abspath(path))
        if not os.path.isdir(parent):
            raise FileNotFoundError(2, "No such directory to make an array in", parent)
        return
    if not os.path.isdir(path):
        raise TargetExistsError(f"{path}: is a file, which a Zarr directory does not replace; remove it first")
    names = os.listdir(path)
    if names and not {"zarr.json", ".zarray", ".zgroup"} & set(names):
        raise TargetExistsError(f"{path}: is a directory that holds no Zarr data; overwrite=True does not remove it")


class ZarrTarget(Target):
    """A Zarr array being written. Pickles for writers in other processes; only its creator commits."""

    distributable = True

    def __init__(
        self,
        document: dict[str, Any],
        path: str,
        part: str,
        lock: int | None,
        overwrite: bool,
        durability: fsio.Durability,
    ) -> None:
        self.recipe = (document, path, part, None, overwrite, durability)
        self.document = document
        self.path, self.part = path, part
        self.overwrite, self.durability = overwrite, durability
        self.meta = meta_of(document, os.path.join(path, "zarr.json"), path)
        self.shape, self.dtype = self.meta.shape, self.meta.dtype
        self.grid = Grid(self.shape, self.meta.object_shape)
        self._objects = ObjectWriter(self.meta)
        self._made: set[str] = set()
        self._draft = Draft(
            path, first_root(self.meta, self.meta.generation, loose=False, soft=durability != "full"), None
        )
        # Forgotten, or at exit: only the process that made the hidden sibling may remove it.
        self._owned = None if lock is None else fsio.Owned(self, part, lock)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as a recipe for writers, without the lock."""
        return ZarrTarget, self.recipe

    def scratch_bytes(self, region: Region) -> int:
        """Return the bytes that `write` holds besides ``block``: a chunk raw, and one or a batch encoded."""
        del region
        return self._objects.scratch_bytes()

    def write(self, region: Region, block: np.ndarray[Any, Any], scratch: np.ndarray[Any, Any]) -> None:
        """Write ``block`` at ``region``, made of whole boxes of ``grid``; a box written again is replaced."""
        self._objects.check(region, block)
        if not block.size:
            return
        block = self._objects.as_stored(block)
        root = self._draft.root
        for index, at in boxes(self.meta.object_shape, region):
            path = os.path.join(self.part, self.meta.key(index))
            directory = os.path.dirname(path)
            if directory not in self._made:
                fsio.make_dir(directory)
                self._made.add(directory)
            try:
                entries = self._objects.write(path, block[at], scratch)
            except FileExistsError:
                # A task that ran again, after its worker was lost.
                fsio.discard(path)
                entries = self._objects.write(path, block[at], scratch)
            self._draft.record(root.first(index), entries)

    def blank(self) -> None:
        """Record chunks that were not written as absent; see `Target.blank`."""
        for number in range(-(-self._draft.root.entries // PAGE)):
            page = self._draft.page(number)
            unknown = page["length"] == NOT_RECORDED["length"]
            self._draft.record(number * PAGE, np.where(unknown, ABSENT, page))

    def commit(self) -> None:
        """Make the array appear, whole, under its name.

        Raises
        ------
        MissingChunkError
            If a chunk was not written; nothing appears.
        """
        with self._other_writers_kept_out():
            self.complete()
            if self.durability == "full":
                fsio.sync_tree(self.part)
            fsio.publish(self.part, self.path, self.overwrite, self.durability)
        self.abort()

    def complete(self) -> None:
        """Write manifest and metadata: the hidden sibling is a whole array then."""
        self._collect()
        root, pages = self._draft.seal()
        place = os.path.join(self.part, PLACE)
        for left in (place, os.path.join(self.part, "zarr.json")):  # by a commit that failed
            fsio.discard(left)
        fsio.make_dir(os.path.join(place, "pages"))
        for number, page in pages.items():
            fsio.write_new(os.path.join(place, "pages", str(number)), page)
        fsio.write_new(os.path.join(place, "manifest"), root.pack())
        fsio.write_new(os.path.join(place, "lock"))
        raw = json.dumps(self.document, indent=2, allow_nan=False).encode()
        fsio.write_new(os.path.join(self.part, "zarr.json"), raw)

    def _collect(self) -> None:
        """Record the objects that other processes wrote; raise MissingChunkError if one was not written."""
        root = self._draft.root
        missing = 0
        for number in range(-(-root.entries // PAGE)):
            page = self._draft.page(number)
            unknown = np.flatnonzero(page["length"] == NOT_RECORDED["length"]) + number * PAGE
            for which in np.unique(unknown // root.per_object).tolist():
                index = tuple(map(int, np.unravel_index(which, root.counts))) if root.counts else ()
                try:
                    entries = self._objects.collect(os.path.join(self.part, self.meta.key(index)))
                except FileNotFoundError:
                    missing += 1
                    continue
                self._draft.record(which * root.per_object, entries)
        if missing:
            raise MissingChunkError(
                f"{self.path}: {self.grid.size - missing} of {self.grid.size} chunk files were written; "
                "write all, then commit"
            )

    @contextlib.contextmanager
    def _other_writers_kept_out(self) -> Iterator[None]:
        """Hold the lock of an array that is to be replaced: a change of it must not go into the new one."""
        if not os.path.exists(os.path.join(self.path, PLACE)):
            yield
            return
        lock = lock_array(self.path)
        try:
            yield
        finally:
            lock.release()

    def settle(self, regions: Sequence[Region], *, durable: bool) -> list[int]:
        """Return a mark of the files of each region: of their lengths and last bytes, which are checksums."""
        files = [
            [os.path.join(self.part, self.meta.key(index)) for index, _ in boxes(self.meta.object_shape, region)]
            for region in regions
        ]
        if durable:
            every = [file for some in files for file in some]
            directories = {self.part}
            for place in {os.path.dirname(file) for file in every}:
                while place not in directories:
                    directories.add(place)
                    place = os.path.dirname(place)
            fsio.for_each(fsio.sync_file, every)
            fsio.for_each(fsio.sync_dir, sorted(directories, key=len, reverse=True))
        return [_mark(some) for some in files]

    def release(self) -> None:
        """Give up the lock without removing the unfinished array; see `Target.release`."""
        if self._owned is not None:
            self._owned.release()

    def abort(self) -> None:
        """Remove the unfinished array; never raises, and does nothing to one that was committed."""
        if self._owned is not None:
            self._owned.remove()


def _mark(files: Sequence[str]) -> int:
    """Return a checksum of the lengths and last bytes of files, -1 if one is not there or too short."""
    seen = b""
    for file in files:
        try:
            fd = fsio.open_read(file, follow=False)
        except FileNotFoundError:
            return -1
        try:
            size, tail = os.fstat(fd).st_size, bytearray(4)
            if size < len(tail):
                return -1
            fsio.read_into(fd, tail, size - len(tail), file)
        finally:
            os.close(fd)
        seen += size.to_bytes(8, "little") + bytes(tail)
    return int(google_crc32c.value(seen))
