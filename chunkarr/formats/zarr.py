"""Zarr arrays at rest: open them by region, create new ones.

Local arrays of regular chunks and the usual codecs are read and written here, without zarr-python:
its cost per chunk is fifty times that of reading a small chunk. Everything else (remote stores, zip
files, other codecs and types) goes through zarr-python, imported when it is needed.
"""

from __future__ import annotations

import os
import threading
import zipfile
from collections.abc import Hashable
from typing import Any

import numpy as np

from chunkarr.errors import MetadataError, OptionError, StaleExpressionError
from chunkarr.formats.contract import Stored
from chunkarr.formats.zarr_chunks import ChunkReader
from chunkarr.formats.zarr_meta import ArrayMeta, BeyondError, read_meta
from chunkarr.formats.zarr_shards import ShardReader
from chunkarr.formats.zarr_target import ZarrTarget, create
from chunkarr.grid import Grid, Region

__all__ = ["ZarrArray", "ZarrTarget", "create", "open"]


def open(path: str, mode: str = "r", *, missing: str | None = None) -> Stored:  # noqa: A001
    """Open the Zarr array in directory ``path``, or in a store that zarr-python knows; nothing is read.

    Parameters
    ----------
    path
        A directory, a ``.zip`` file or an address such as ``s3://bucket/a.zarr``.
    mode
        "r": arrays are read here, and written as new ones by `create`.
    missing
        What a chunk that is not there means: "fill" (the fill value, Zarr's rule) or "error". None is "error"
        for arrays that chunkarr completed, "fill" for others.

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
    if mode != "r":
        raise OptionError(f'mode {mode!r}: a Zarr array is opened with mode "r"; save a changed copy with create')
    if missing not in (None, "fill", "error"):
        raise OptionError(f'missing={missing!r}: use "fill", "error" or None')
    is_file = "://" not in path and os.path.isfile(path)
    if is_file and not zipfile.is_zipfile(path):
        raise MetadataError(f"{path}: is neither a directory nor a zip file, so no Zarr array")
    if is_file or "://" in path:
        from chunkarr.formats.zarr_fallback import open_through_zarr

        return open_through_zarr(path, "a store that is not a directory", missing)
    path = os.path.abspath(path)
    try:
        meta, file = read_meta(path)
    except BeyondError as error:
        from chunkarr.formats.zarr_fallback import open_through_zarr

        return open_through_zarr(path, str(error), missing)
    return ZarrArray(meta, file, missing)


class ZarrArray(Stored):
    """A Zarr array in a local directory, read by chunkarr's own chunk path."""

    format = "zarr"
    contiguous = False

    def __init__(self, meta: ArrayMeta, file: str, missing: str | None) -> None:
        self.meta = meta
        self.file = file  # of the metadata
        self.missing = missing
        self.path = meta.path
        self.shape = meta.shape
        self.dtype = meta.dtype
        self.grid = Grid(meta.shape, meta.chunk)
        self._known: tuple[Hashable, int] = (_signature(file), meta.generation)
        self._lock = threading.Lock()
        self._reader: ChunkReader | None = None

    @property
    def reader(self) -> ChunkReader:
        """What reads the chunks: made, and its codec imported, when first asked for."""
        with self._lock:
            if self._reader is None:
                error = self.missing == "error" or (self.missing is None and self.meta.complete)
                kind = ChunkReader if self.meta.shard is None else ShardReader
                self._reader = kind(self.meta, missing_is_error=error)
            return self._reader

    def read(self, region: Region, out: np.ndarray[Any, Any], scratch: np.ndarray[Any, Any]) -> None:
        """Fill ``out`` with ``region``; see `Stored.read`."""
        if out.size:
            self.reader.read(region, out, scratch)

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
        """Return what changes with the data: the metadata file, and the chunks' directory of others' arrays."""
        signature = _signature(self.file)
        if signature != self._known[0]:
            self._known = (signature, read_meta(self.path)[0].generation)
        if self.meta.complete:
            return self._known
        root = os.path.join(self.path, self.meta.key_prefix.rstrip("./"))
        return (*self._known, os.stat(root).st_mtime_ns if os.path.isdir(root) else 0)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as path, options and generation."""
        return _reopen, (self.path, self.missing, self.generation())

    def __repr__(self) -> str:
        """Name path, shape and dtype."""
        return f"<ZarrArray {self.path} {self.shape} {self.dtype}>"


def _signature(file: str) -> Hashable:
    status = os.stat(file)
    return status.st_mtime_ns, status.st_size, status.st_ino


def _reopen(path: str, missing: str | None, generation: Hashable) -> Stored:
    """Open ``path`` where a pickle arrives; what was pickled must still be there."""
    stored = open(path, missing=missing)
    if stored.generation() != generation:
        raise StaleExpressionError(f"{path}: was replaced or changed since it was opened; open it again")
    return stored
