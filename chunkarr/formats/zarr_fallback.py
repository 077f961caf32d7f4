"""Zarr arrays that the chunk path does not cover, read through zarr-python, one chunk at a time.

zarr-python reads many chunks of a selection at once, whatever memory that takes. Asked for one chunk
at a time, it holds one chunk encoded, decoded and as a result: that is what `scratch_bytes` counts.
"""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Hashable, Iterator
from typing import Any

import numpy as np

from chunkarr.errors import CorruptChunkError, MissingChunkError, StaleExpressionError, UnsupportedError
from chunkarr.formats.contract import Stored
from chunkarr.formats.zarr_dtypes import check_descr, mark_of
from chunkarr.formats.zarr_json import Fields, load
from chunkarr.grid import Grid, Region, Shape, intersect, region_slices, shift

__all__ = ["ZarrLibraryArray", "open_through_zarr"]

COPIES = 3  # of a chunk that zarr-python holds: encoded, decoded, result
CODECS = frozenset(
    ("bytes", "transpose", "sharding_indexed", "blosc", "zstd", "gzip", "zlib", "bz2", "lzma", "lz4", "crc32c",
     "crc32", "adler32", "fletcher32", "jenkins_lookup3", "delta", "fixedscaleoffset", "shuffle", "bitround",
     "astype", "packbits", "quantize", "pcodec", "zfpy")
)  # fmt: skip


def open_through_zarr(path: str, why: str, missing: str | None) -> Stored:
    """Open ``path`` with zarr-python; ``why`` says in errors what chunkarr's own path lacks.

    Raises
    ------
    UnsupportedError
        If a codec or data type is not known there either, or is not safe.
    """
    local = "://" not in path
    if local and os.path.isdir(path):
        for codec in _codec_names(path):
            if codec not in CODECS:
                raise UnsupportedError(f'{path}: codec "{codec[:60]}" is not known')
    array = _open_array(path, why)
    return ZarrLibraryArray(array, path, missing)


def _codec_names(path: str) -> Iterator[str]:
    """Yield the name of each codec that the metadata of a local array name, without its namespace."""
    for name in ("zarr.json", ".zarray"):
        file = os.path.join(path, name)
        if not os.path.exists(file):
            continue
        document = load(file)
        level: list[Any] = [document.get(key) for key in ("codecs", "filters", "compressor")]
        while level:
            item = level.pop()
            if isinstance(item, list):
                level.extend(item)
            elif isinstance(item, dict):
                yield str(item.get("name", item.get("id", "?"))).removeprefix("numcodecs.")
                inner = item.get("configuration")
                if isinstance(inner, dict):
                    level += [inner.get("codecs"), inner.get("index_codecs")]
            elif isinstance(item, str):
                yield item.removeprefix("numcodecs.")
        return


def _open_array(path: str, why: str) -> Any:
    import zarr

    store: Any = path
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if os.path.isfile(path):
                store = zarr.storage.ZipStore(path, mode="r")
            array = zarr.open_array(store, mode="r")
    except FileNotFoundError as error:
        raise FileNotFoundError(2, "No Zarr array there", path) from error
    except OSError:
        raise
    except Exception as error:
        raise UnsupportedError(f"{path}: {why} is not known; zarr-python says: {str(error)[:200]}") from error
    dtype: Any = array.dtype
    if not isinstance(dtype, np.dtype) or dtype.hasobject or dtype.kind == "T":
        raise UnsupportedError(f"{path}: data type {dtype}: its values have no fixed number of bytes")
    return array


class ZarrLibraryArray(Stored):
    """A Zarr array read through zarr-python."""

    format = "zarr"
    contiguous = False

    def __init__(self, array: Any, path: str, missing: str | None) -> None:
        self.path = path
        self.missing = missing
        self._array = array
        fields = Fields({}, path)
        self._mark: dict[str, Any] = mark_of(json.loads(json.dumps(dict(array.attrs))), fields)
        self._records = self._mark.get("layout") == "records"
        self.shape, self.dtype = tuple(array.shape), array.dtype
        chunk: Shape = tuple(array.chunks)
        if "dtype" in self._mark:
            self.dtype = check_descr(self._mark["dtype"], fields)
        if self._records:
            if self.shape[-1:] != (self.dtype.itemsize,):
                fields.fail(f"attributes say records of {self.dtype.itemsize} B, but the last axis holds no record")
            self.shape, chunk = self.shape[:-1], chunk[:-1]
        self._chunk_bytes: int = math.prod(chunk) * self.dtype.itemsize
        self.grid = Grid(self.shape, chunk)
        self._objects = tuple(array.shards or array.chunks)
        self._must_exist = missing == "error" or (missing is None and bool(self._mark.get("complete")))

    def read(self, region: Region, out: np.ndarray[Any, Any], scratch: np.ndarray[Any, Any]) -> None:
        """Fill ``out`` with ``region``; see `Stored.read`."""
        del scratch
        if self._records and self.dtype.names:
            # NumPy copies structures field by field and loses padding.
            out = out.view(f"V{self.dtype.itemsize}")
        origin = tuple(-a for a, _ in region)
        for index in self.grid.touching(region):
            part = intersect(self.grid.region(index), region)
            if part is None:  # an axis of length 0, or no axes
                if region:
                    return
                part = ()
            if self._must_exist:
                self._check_exists(part)
            try:
                values = np.asarray(self._array[(*region_slices(part), ...)])
            except (OSError, MemoryError):
                raise
            except Exception as error:
                raise CorruptChunkError(
                    f"{self.path}: chunk {index}: zarr-python cannot read it: {str(error)[:200]}"
                ) from error
            if self._records:
                values = np.ascontiguousarray(values).view(out.dtype)[..., 0]
            out[region_slices(shift(part, origin))] = values

    def _check_exists(self, part: Region) -> None:
        from zarr.core.sync import sync

        index = tuple(a // n for (a, _), n in zip(part, self._objects, strict=False))
        key = self._array.metadata.encode_chunk_key((*index, 0) if self._records else index)
        place = self._array.store_path / key
        if not sync(place.store.exists(place.path)):
            raise MissingChunkError(f"{self.path}: chunk {key}: is missing; file {place}")

    def scratch_bytes(self, region: Region) -> int:
        """Return the bytes that zarr-python takes to read one chunk; they do not come from scratch."""
        del region
        return COPIES * self._chunk_bytes

    def bytes_read(self, region: Region) -> int:
        """Return the decoded bytes of the chunks that ``region`` touches."""
        return math.prod(b - a for a, b in self.grid.span(region)) * self._chunk_bytes

    def generation(self) -> Hashable:
        """Return what changes with local data; what lies elsewhere is taken as it was opened."""
        for name in ("", "zarr.json", ".zarray"):
            file = os.path.join(self.path, name) if name else self.path
            if "://" not in file and os.path.isfile(file):
                status = os.stat(file)
                folder = os.stat(os.path.dirname(file)).st_mtime_ns if name else 0
                return status.st_mtime_ns, status.st_size, status.st_ino, folder
        return int(self._mark.get("generation", 0))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as path, options and generation."""
        return _reopen, (self.path, self.missing, self.generation())


def _reopen(path: str, missing: str | None, generation: Hashable) -> Stored:
    stored = open_through_zarr(path, "this array", missing)
    if stored.generation() != generation:
        raise StaleExpressionError(f"{path}: was replaced or changed since it was opened; open it again")
    return stored
