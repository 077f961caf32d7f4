"""What a Zarr array's metadata say, checked: shape, chunks, types, codecs, where each chunk lies.

Source: the Zarr v2 and v3 core specifications, https://zarr-specs.readthedocs.io. What is well
formed but not for the chunk path here raises `BeyondError`, and zarr-python is asked instead.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chunkarr.errors import MetadataError, UnsupportedError
from chunkarr.formats.zarr_dtypes import NUMERIC, check_descr, fill_scalar, mark_of
from chunkarr.formats.zarr_json import Fields, load
from chunkarr.grid import Shape

__all__ = ["ArrayMeta", "BeyondError", "Encoding", "meta_of", "read_meta"]

MAX_CHUNK = 1 << 40  # bytes one chunk may decode to; what a task can hold is the planner's to say
MAX_INDEX = 1 << 28  # bytes of one shard's index
V3_KEYS = frozenset(
    ("zarr_format", "node_type", "shape", "data_type", "chunk_grid", "chunk_key_encoding", "fill_value",
     "codecs", "attributes", "dimension_names", "storage_transformers", "consolidated_metadata")
)  # fmt: skip
COMPRESSORS = frozenset(("blosc", "zstd", "gzip", "zlib"))


class BeyondError(Exception):
    """Well-formed metadata that the chunk path here does not cover; the text says what."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """How the values of one chunk become bytes."""

    perm: Shape | None  # axes of the chunk in the order they are stored; None: C order
    big: bool  # stored big-endian
    compressor: str | None  # blosc, zstd, gzip, zlib
    crc: bool  # the last 4 bytes are the crc32c of those before
    configuration: Mapping[str, Any]  # of the compressor, as the metadata say; only an encoder needs it


@dataclass(frozen=True, slots=True)
class ArrayMeta:
    """One array: what its metadata say, in axes and elements of the user's dtype."""

    path: str  # the array's directory
    shape: Shape
    dtype: np.dtype[Any]  # as the user sees it
    stored: np.dtype[Any]  # as the bytes of a decoded chunk are
    chunk: Shape  # elements per axis that one codec call encodes
    shard: Shape | None  # elements per axis of one stored object, if it holds several chunks
    encoding: Encoding
    index_crc: bool  # a shard's index ends in its crc32c
    index_first: bool  # a shard's index is at its start
    key_prefix: str  # "c/", "c." or ""
    key_separator: str
    key_suffix: str  # what follows the last index: "/0" for records
    fill: np.ndarray[Any, Any]  # value of what is not stored: 0-d, of `stored`
    complete: bool  # every chunk was written: a missing one is an error
    generation: int  # counted by chunkarr; 0 for others' arrays
    manifest: bool  # whether there must be a manifest of the chunks

    @property
    def chunk_bytes(self) -> int:
        """Decoded bytes of one chunk."""
        return math.prod(self.chunk) * self.stored.itemsize

    @property
    def object_shape(self) -> Shape:
        """Elements per axis of one stored object."""
        return self.shard or self.chunk

    def key(self, index: Shape) -> str:
        """Return the key of the stored object at ``index``."""
        if not index:
            return (self.key_prefix + self.key_suffix[1:] if self.key_suffix else self.key_prefix[:-1]) or "0"
        return self.key_prefix + self.key_separator.join(map(str, index)) + self.key_suffix


def read_meta(path: str, change: str = "") -> tuple[ArrayMeta, str]:
    """Return the metadata of the array in directory ``path`` and the file that they came from.

    Parameters
    ----------
    path
        The array's directory.
    change
        The directory of a change that was committed and not yet put in place; metadata there count first.

    Raises
    ------
    FileNotFoundError
        If there is no Zarr array there.
    MetadataError
        If the metadata are cut, absurd or contradict themselves.
    BeyondError
        If only zarr-python may be able to read the array.
    """
    file = os.path.join(path, "zarr.json")
    try:
        return meta_of(_document(path, "zarr.json", change), file, path), file
    except FileNotFoundError:
        pass
    file = os.path.join(path, ".zarray")
    try:
        fields = Fields(_document(path, ".zarray", change), file)
    except FileNotFoundError:
        if os.path.exists(os.path.join(path, ".zgroup")):
            raise MetadataError(_group(path, path)) from None
        raise FileNotFoundError(2, "No Zarr array there: neither zarr.json nor .zarray", path) from None
    try:
        attributes = load(os.path.join(path, ".zattrs"))
    except FileNotFoundError:
        attributes = {}
    return _v2(fields, path, attributes), file


def _document(path: str, name: str, change: str) -> dict[str, Any]:
    if change:
        for when in ("first", "last"):
            with contextlib.suppress(FileNotFoundError):
                return load(os.path.join(change, f"{when}!{name}"))
    return load(os.path.join(path, name))


def _group(path: str, file: str) -> str:
    """Say that ``path`` is a group, and name some of its arrays."""
    marks = ("zarr.json", ".zarray")
    inside = sorted(os.listdir(path))
    names = [name for name in inside if any(os.path.isfile(os.path.join(path, name, mark)) for mark in marks)]
    shown = ", ".join(names[:10]) or "there is none at its first level"
    return f"{file}: is a Zarr group; name one of its arrays, as group.zarr::name: {shown}"


def meta_of(document: dict[str, Any], file: str, path: str) -> ArrayMeta:
    """Return what a v3 metadata document says of the array at ``path``; ``file`` names it in errors."""
    fields = Fields(document, file)
    fields.one_of("zarr_format", 3)
    if fields.one_of("node_type", "array", "group") == "group":
        raise MetadataError(_group(path, fields.path))
    _check_extensions(fields)
    shape = fields.ints("shape")
    attributes = _object(fields, "attributes")
    mark = mark_of(attributes, fields)
    data_type, _ = fields.named("data_type")
    grid, grid_fields = fields.named("chunk_grid")
    prefix, separator = _key_encoding(fields)
    codecs = fields.named_list("codecs")
    fill_value = fields.need("fill_value")
    if grid != "regular":
        raise BeyondError(f'chunk grid "{grid}"')
    outer = _chunk_shape(grid_fields, "chunk_shape", shape)
    if data_type not in NUMERIC:
        _check_bytes(fields, shape, outer, 1)
        raise BeyondError(f'data type "{data_type}"')
    stored = np.dtype(data_type)
    _check_bytes(fields, shape, outer, stored.itemsize)
    shard, chunk = None, outer
    index_crc = index_first = False
    if codecs and codecs[0][0] == "sharding_indexed":
        if len(codecs) > 1:
            raise BeyondError(f'codec "{codecs[1][0]}" after "sharding_indexed"')
        inner = codecs[0][1]
        shard, chunk = outer, _chunk_shape(inner, "chunk_shape", shape)
        _check_shard(inner, shard, chunk)
        index_first = inner.one_of("index_location", "start", "end", default="end") == "start"
        index_crc = _index_codecs(inner)
        codecs = inner.named_list("codecs")
    encoding = _encoding(codecs, len(shape), stored.itemsize)
    fill = fill_scalar(stored, fill_value, fields)
    stored = stored.newbyteorder(">" if encoding.big else "<")
    meta = ArrayMeta(
        path, shape, stored.newbyteorder("="), stored, chunk, shard, encoding,
        index_crc, index_first, prefix, separator, "", np.array(fill, stored),
        bool(mark.get("complete")), mark.get("generation", 0), bool(mark.get("manifest")),
    )  # fmt: skip
    return _as_user_sees(meta, mark, fields)


def _object(fields: Fields, key: str) -> dict[str, Any]:
    value = fields.document.get(key, {})
    if not isinstance(value, dict):
        fields.fail(f'"{key}" must be an object')
    return value


def _check_extensions(fields: Fields) -> None:
    for key, value in fields.document.items():
        if key not in V3_KEYS and not (isinstance(value, dict) and value.get("must_understand") is False):
            raise UnsupportedError(f"{fields.path}: key {json.dumps(key[:60])} must be understood and is not known")
    if fields.document.get("storage_transformers"):
        raise UnsupportedError(f"{fields.path}: storage transformers are not known")


def _key_encoding(fields: Fields) -> tuple[str, str]:
    name, inner = fields.named("chunk_key_encoding")
    if name == "default":
        separator = inner.one_of("separator", "/", ".", default="/")
        return f"c{separator}", separator
    if name == "v2":
        return "", inner.one_of("separator", "/", ".", default=".")
    raise UnsupportedError(f'{fields.path}: chunk key encoding "{name[:60]}" is not known')


def _chunk_shape(fields: Fields, key: str, shape: Shape) -> Shape:
    chunk = fields.ints(key, least=1)
    if len(chunk) != len(shape):
        fields.fail(f'"{key}" has {len(chunk)} axes, the array has {len(shape)}')
    return chunk


def _check_bytes(fields: Fields, shape: Shape, chunk: Shape, itemsize: int) -> None:
    # An axis of length 0 makes the array empty, but not its other axes sane.
    if math.prod(max(n, 1) for n in shape) * itemsize >= 2**63:
        fields.fail(f"shape {shape} x {itemsize} B exceeds 2**63-1 bytes")
    nbytes = math.prod(chunk) * itemsize
    if nbytes >= MAX_CHUNK:
        counts = " x ".join(map(str, chunk))
        fields.fail(f"chunk {counts} x {itemsize} B = {nbytes / 2**40:.4g} TiB; 1 TiB or more is refused")


def _check_shard(fields: Fields, shard: Shape, chunk: Shape) -> None:
    if any(s % c for s, c in zip(shard, chunk, strict=True)):
        fields.fail(f"shards of {shard} are not whole numbers of chunks of {chunk}")
    entries = math.prod(s // c for s, c in zip(shard, chunk, strict=True))
    if entries * 16 > MAX_INDEX:
        fields.fail(f"the index of a shard of {entries} chunks exceeds {MAX_INDEX >> 20} MiB")


def _index_codecs(fields: Fields) -> bool:
    """Say whether the index ends in a checksum."""
    if "index_codecs" not in fields.document:
        fields.fail('key "index_codecs" is missing')
    codecs = fields.named_list("index_codecs")
    names = [name for name, _ in codecs]
    if names not in (["bytes"], ["bytes", "crc32c"]):
        raise BeyondError(f"shard index codecs {names}")
    if codecs[0][1].one_of("endian", "little", "big", default=None) != "little":
        raise BeyondError("a big-endian shard index")
    return len(names) == 2


def _encoding(codecs: list[tuple[str, Fields]], ndim: int, itemsize: int) -> Encoding:
    """Return what a chain of [transpose...] bytes [compressor] [crc32c] does."""
    perm = tuple(range(ndim))
    rest = list(codecs)
    while rest and rest[0][0] == "transpose":
        _, fields = rest.pop(0)
        order = fields.ints("order")
        if sorted(order) != list(range(ndim)):
            fields.fail(f'"order" must be a permutation of the {ndim} axes, is {list(order)}')
        perm = tuple(perm[axis] for axis in order)
    if not rest or rest[0][0] != "bytes":
        raise BeyondError(f'codec "{rest[0][0][:60]}"' if rest else "no codec that makes bytes")
    _, fields = rest.pop(0)
    endian = fields.one_of("endian", "little", "big", default=None)
    if endian is None and itemsize > 1:
        fields.fail('codec "bytes" needs "endian"')
    compressor, configuration = None, {}
    if rest and rest[0][0] in COMPRESSORS - {"zlib"}:
        compressor, inner = rest.pop(0)
        configuration = inner.document
    crc = bool(rest) and rest[0][0] == "crc32c"
    if crc:
        rest.pop(0)
    if rest:
        raise BeyondError(f'codec "{rest[0][0][:60]}"')
    return Encoding(None if perm == tuple(range(ndim)) else perm, endian == "big", compressor, crc, configuration)


def _as_user_sees(meta: ArrayMeta, mark: dict[str, Any], fields: Fields) -> ArrayMeta:
    """Restore the dtype that chunkarr noted when it wrote the array."""
    if "dtype" not in mark:
        return meta
    dtype = check_descr(mark["dtype"], fields)
    changes: dict[str, Any] = {"dtype": dtype}
    if mark.get("layout") == "records":
        perm, n = meta.encoding.perm, dtype.itemsize
        last = len(meta.shape) - 1
        lengths = (meta.shape[-1:], meta.chunk[-1:], meta.object_shape[-1:])
        if meta.stored != np.uint8 or lengths != ((n,),) * 3 or (perm is not None and perm[-1] != last):
            fields.fail(f"attributes say records of {n} B, but the last axis does not hold one record")
        perm = None if perm is None or perm[:-1] == tuple(range(last)) else perm[:-1]
        changes |= {
            "shape": meta.shape[:-1],
            "chunk": meta.chunk[:-1],
            "shard": meta.shard and meta.shard[:-1],
            "stored": dtype,
            "encoding": replace(meta.encoding, perm=perm, big=False),
            "key_suffix": f"{meta.key_separator}0",
            "fill": np.full(n, meta.fill, np.uint8).view(f"V{n}").view(dtype).reshape(()),
        }
    elif dtype.newbyteorder("<") != meta.stored.newbyteorder("<"):
        fields.fail(f"attributes say dtype {dtype.str}, but the data are {meta.stored.name}")
    return replace(meta, **changes)


def _v2(fields: Fields, path: str, attributes: dict[str, Any]) -> ArrayMeta:
    fields.one_of("zarr_format", 2)
    shape = fields.ints("shape")
    chunk = _chunk_shape(fields, "chunks", shape)
    dtype = check_descr(fields.need("dtype"), fields)
    _check_bytes(fields, shape, chunk, dtype.itemsize)
    separator = fields.one_of("dimension_separator", ".", "/", default=".")
    fortran = fields.one_of("order", "C", "F") == "F"
    configuration = fields.need("compressor")
    compressor = None
    if configuration is not None:
        if not isinstance(configuration, dict) or not isinstance(configuration.get("id"), str):
            fields.fail('"compressor" must be null or an object with "id"')
        compressor = configuration["id"]
        if compressor not in COMPRESSORS:
            raise BeyondError(f'codec "{compressor[:60]}"')
    if fields.document.get("filters"):
        raise BeyondError("filters")
    perm = tuple(reversed(range(len(shape)))) if fortran and len(shape) > 1 else None
    mark = mark_of(attributes, fields)
    encoding = Encoding(perm, False, compressor, False, configuration or {})
    return ArrayMeta(
        path, shape, dtype, dtype, chunk, None, encoding, False, False,
        "", separator, "", np.array(fill_scalar(dtype, fields.document.get("fill_value"), fields), dtype),
        bool(mark.get("complete")), mark.get("generation", 0), bool(mark.get("manifest")),
    )  # fmt: skip
