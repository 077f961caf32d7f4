"""How a new Zarr array is laid out: its chunks, its shards, its metadata document."""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from chunkarr.errors import GridError, OptionError
from chunkarr.formats.zarr_codecs import codec_json
from chunkarr.formats.zarr_dtypes import descr_of, fill_json, is_native
from chunkarr.formats.zarr_json import MAX_NDIM
from chunkarr.grid import Shape

__all__ = ["Access", "check_shape", "choose_chunks", "choose_shards", "document_of"]

Access = Literal["cube", "rows", "columns"]

CHUNK = 4 << 20  # bytes of a chunk that is a file
INNER = 1 << 20  # bytes of a chunk in a shard
SHARD = 64 << 20  # bytes of a shard at most
MAX_FILES = 50_000  # chunk files of an array, above which chunks go into shards
MAX_BLOSC = 2**31 - 17  # bytes that one blosc buffer takes
MAX_CHUNK = 1 << 40  # bytes; what metadata may say at most


def check_shape(shape: int | Sequence[int], what: str = "shape", least: int = 0) -> Shape:
    """Return ``shape`` as a tuple of ints that are at least ``least``.

    >>> check_shape(5), check_shape((np.int64(2), 3))
    ((5,), (2, 3))
    """
    try:
        values = shape if isinstance(shape, Sequence) else (operator.index(shape),)
        result = tuple(operator.index(n) for n in values)
    except TypeError:
        raise GridError(f"{what} must be an integer or a tuple of integers, is {shape!r}") from None
    if len(result) > MAX_NDIM:
        raise GridError(f"{what} has {len(result)} axes; at most {MAX_NDIM} are allowed")
    for n in result:
        if not least <= n < 2**63:
            raise GridError(f"{what} {result}: each must be {least}...2**63-1")
    return result


def choose_chunks(shape: Shape, itemsize: int, access: Access = "cube", nbytes: int = CHUNK) -> Shape:
    """Return chunks of about ``nbytes`` bytes.

    "rows" are long in the last axes, "columns" in the first, a "cube" is balanced; an axis is cut evenly.

    >>> choose_chunks((1000, 4096, 4096), 2), choose_chunks((1000, 4096, 4096), 2, "rows")
    ((125, 128, 128), (1, 512, 4096))
    """
    room = max(1, nbytes // itemsize)
    chunk = [1] * len(shape)
    if access not in ("cube", "rows", "columns"):
        raise OptionError(f'access={access!r}: use "cube", "rows" or "columns"')
    if access == "cube":
        # Short axes first: what they leave goes to the longer ones.
        order = sorted(range(len(shape)), key=lambda axis: shape[axis])
    else:
        order = list(range(len(shape)))[:: -1 if access == "rows" else 1]
    for done, axis in enumerate(order):
        side = int(room ** (1 / (len(order) - done)) + 1e-9) if access == "cube" else room
        n = max(shape[axis], 1)
        pieces = -(-n // max(1, min(n, side)))
        chunk[axis] = -(-n // pieces)
        room = max(1, room // chunk[axis])
    return tuple(chunk)


def choose_shards(shape: Shape, chunk: Shape, itemsize: int) -> Shape | None:
    """Return shards that keep the number of files at about 50,000 or less; None if the chunks do that alone.

    >>> choose_shards((1 << 30,), (8192,), 4)
    (1048576,)
    """

    def boxes(shard: Sequence[int]) -> list[int]:
        return [-(-n // s) for n, s in zip(shape, shard, strict=True)]

    if math.prod(boxes(chunk)) <= MAX_FILES:
        return None
    shard = list(chunk)
    while True:
        counts, nbytes = boxes(shard), math.prod(shard) * itemsize
        enough = math.prod(counts) <= MAX_FILES and nbytes >= CHUNK
        if enough or nbytes * 2 > SHARD or max(counts) == 1:
            return tuple(shard)
        shard[counts.index(max(counts))] *= 2


def document_of(
    shape: Shape,
    dtype: np.dtype[Any],
    chunk: Shape,
    shard: Shape | None,
    *,
    codec: str | None,
    fill_value: Any,
    order: Literal["C", "F"],
    attributes: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return the ``zarr.json`` of a new array; dtypes that Zarr's core lacks are stored as records of bytes."""
    descr = json.loads(json.dumps(descr_of(dtype)))  # with lists for its tuples, as it will be read
    mark: dict[str, Any] = {"v": 1, "complete": True, "manifest": True, "dtype": descr, "generation": 1}
    _check_grid(shape, dtype.itemsize, chunk, shard, codec)
    if is_native(dtype):
        tail: Shape = ()
        name, fill = dtype.name, _fill_of(dtype, fill_value)
    else:
        tail = (dtype.itemsize,)
        name, fill = "uint8", 0
        mark["layout"] = "records"
        if fill_value not in (None, 0):
            raise OptionError(f"fill_value={fill_value!r}: dtype {dtype} is stored as bytes, filled with 0 only")
    codecs: list[dict[str, Any]] = []
    ndim = len(shape)
    if order not in ("C", "F"):
        raise OptionError(f'order={order!r}: use "C" or "F"')
    if order == "F" and ndim > 1:
        axes = [*reversed(range(ndim)), *([ndim] if tail else [])]
        codecs.append({"name": "transpose", "configuration": {"order": axes}})
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    crc = {"name": "crc32c"}
    codecs += [{"name": "bytes"} if name in ("bool", "int8", "uint8") else little]
    codecs += [*codec_json(codec, dtype.itemsize), crc]
    if shard is not None:
        inner = {"chunk_shape": [*chunk, *tail], "codecs": codecs}
        inner |= {"index_codecs": [little, crc], "index_location": "end"}
        codecs = [{"name": "sharding_indexed", "configuration": inner}]
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [*shape, *tail],
        "data_type": name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [*(shard or chunk), *tail]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": fill,
        "codecs": codecs,
        "attributes": {**_checked(attributes or {}), "chunkarr": mark},
    }


def _fill_of(dtype: np.dtype[Any], fill_value: Any) -> Any:
    try:
        return fill_json(dtype, np.array(0 if fill_value is None else fill_value, dtype))
    except (TypeError, ValueError, OverflowError) as error:
        raise OptionError(f"fill_value={fill_value!r} is not a value of {dtype}: {error}") from None


def _checked(attributes: Mapping[str, Any]) -> dict[str, Any]:
    if "chunkarr" in attributes:
        raise OptionError('attributes: the name "chunkarr" is chunkarr\'s own; use another')
    try:
        json.dumps(attributes, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise OptionError(f"attributes must be JSON: {error}") from None
    return dict(attributes)


def _check_grid(shape: Shape, itemsize: int, chunk: Shape, shard: Shape | None, codec: str | None) -> None:
    if math.prod(max(n, 1) for n in shape) * itemsize >= 2**63:
        raise GridError(f"shape {shape} x {itemsize} B exceeds 2**63-1 bytes")
    for what, box in (("chunks", chunk), ("shards", shard)):
        if box is not None and len(box) != len(shape):
            raise GridError(f"{what} {box} have {len(box)} axes, the array has {len(shape)}")
    nbytes = math.prod(chunk) * itemsize
    most = MAX_BLOSC if (codec or "").startswith("blosc") else MAX_CHUNK - 1
    if nbytes > most:
        raise GridError(f"chunks {chunk} x {itemsize} B = {nbytes} B; {most} B are allowed with codec {codec}")
    if shard is None:
        return
    if any(s % c for s, c in zip(shard, chunk, strict=True)):
        raise GridError(f"shards {shard} must be whole numbers of chunks {chunk} along each axis")
    if math.prod(shard) * itemsize >= MAX_CHUNK:
        raise GridError(f"shards {shard} x {itemsize} B: less than 1 TiB is allowed")
