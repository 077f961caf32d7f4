"""A digest of values: the same for equal arrays, however they are stored.

An array is cut into tiles whose shape follows from the array's shape and the size of an element alone.
The values of a tile in C order, each little-endian, fields one after another without the padding
between them, are hashed; the digest is the hash of the array's shape and dtype and of these hashes,
tile by tile in C order. Chunks, byte order, padding and format do not enter it. Bits do: the digest tells
0.0 from -0.0 and one NaN from another.

A tile is a few rows of the last axis: small and flat enough that blocks that suit most chunks can be made
of whole tiles, so that an array is read once, chunk by chunk.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from chunkarr.errors import UnsupportedError
from chunkarr.formats.contract import Target
from chunkarr.formats.memory import MemoryTarget
from chunkarr.formats.runs import plain
from chunkarr.formats.scratch import ScratchArray
from chunkarr.grid import Grid, Region, Shape, region_key, region_shape, region_size, tiles

__all__ = ["DigestTarget", "canonical_dtype", "tile_shape"]

Array = np.ndarray[Any, Any]

TILE = 64 << 10  # bytes of a tile: a hash of less is mostly the call, more is harder to fit to chunks
ROWS = 8  # rows of a tile: a number that divides the height of most chunks
WIDTH = 32  # bytes of a sha256
HELD = 1 << 20  # bytes of hashes that are kept in memory; more go to scratch
PREFIX = "ca1:"  # says how a digest was made


def tile_shape(shape: Shape, itemsize: int) -> Shape:
    """Return the tile of an array: a few rows of the last axis, powers of two, less at the edges.

    >>> tile_shape((100, 2048, 2048), 2), tile_shape((10**6, 3), 8), tile_shape((7,), 1)
    ((1, 16, 2048), (2048, 4), (8,))
    """
    steps = [1] * len(shape)
    room = max(1, TILE // max(1, itemsize))

    def stretch(axis: int, limit: int) -> None:
        while steps[axis] < shape[axis] and math.prod(steps) * 2 <= limit:
            steps[axis] *= 2

    axes = range(len(shape) - 1, -1, -1)
    for axis in axes[:1]:
        stretch(axis, max(1, room // ROWS))
    for axis in (*axes[1:2], *axes[:1], *axes[2:]):
        stretch(axis, room)
    return tuple(steps)


def canonical_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype whose bytes are hashed: little-endian, fields packed.

    >>> canonical_dtype(np.dtype({"names": ["a", "b"], "formats": ["u1", ">f4"], "offsets": [0, 4]}))
    dtype([('a', 'u1'), ('b', '<f4')])

    Raises
    ------
    UnsupportedError
        For Python objects and long doubles, whose bytes are those of one process or platform.
    """
    if dtype.subdtype is not None:
        base, extent = dtype.subdtype
        return np.dtype((canonical_dtype(base), extent))
    if dtype.names is not None:
        fields: Any = dtype.fields
        return np.dtype([(name, canonical_dtype(fields[name][0])) for name in dtype.names])
    if dtype.hasobject or dtype.char in "gG":
        raise UnsupportedError(f"dtype {dtype} has no digest: its bytes differ between machines; use astype first")
    return dtype.newbyteorder("<")


def _describe(dtype: np.dtype[Any]) -> Any:
    """Return a canonical dtype as JSON can hold it."""
    if dtype.subdtype is not None:
        return [_describe(dtype.subdtype[0]), list(dtype.subdtype[1])]
    if dtype.names is not None:
        fields: Any = dtype.fields
        return [[name, _describe(fields[name][0])] for name in dtype.names]
    return dtype.str


def _copy(out: Array, values: Array) -> None:
    """Copy values into their canonical form, bit by bit; padding is left behind."""
    if values.dtype.names is not None:
        for name in values.dtype.names:
            _copy(out[name], values[name])
        return
    if values.dtype.itemsize and values.dtype == out.dtype:  # as bytes, at full speed
        out, values = out.view(plain(out.dtype)), values.view(plain(values.dtype))
    np.copyto(out, values, casting="equiv")


class DigestTarget(Target):
    """A target that keeps a hash of each tile that is written; `value` is the digest once it is committed.

    Parameters
    ----------
    shape, dtype
        Of the array.
    scratch
        Directory for the hashes of a very large array.
    shared
        Whether other processes write too; the hashes are in scratch then, which all can see.

    Examples
    --------
    >>> target = DigestTarget((2, 3), np.dtype(">i4"), "", shared=False)
    >>> target.write(((0, 2), (0, 3)), np.arange(6, dtype=">i4").reshape(2, 3), np.empty(100, "u1"))
    >>> target.commit()
    >>> target.value
    'ca1:b44923f56d9a5cf6a438feb2ac720ca977d8a80e643438e9c9d879ed003672de'
    """

    value = ""

    def __init__(self, shape: Shape, dtype: np.dtype[Any], scratch: str, *, shared: bool) -> None:
        self.shape, self.dtype = tuple(shape), np.dtype(dtype)
        self.canonical = canonical_dtype(self.dtype)
        self.grid = Grid(self.shape, tile_shape(self.shape, self.canonical.itemsize))
        extent = (*self.grid.counts, WIDTH)
        self.hashes: MemoryTarget | ScratchArray
        if 0 in extent or (math.prod(extent) <= HELD and not shared):
            self.hashes = MemoryTarget(np.zeros(extent, np.uint8))
        else:
            key = tiles(extent, HELD)[0][1]
            self.hashes = ScratchArray(scratch, extent, np.uint8, key)
        self.distributable = isinstance(self.hashes, ScratchArray)

    def write(self, region: Region, block: Array, scratch: Array) -> None:
        """Hash each tile of ``region``; see `Target.write`."""
        boxes = (*self.grid.span(region), (0, WIDTH))
        shape = region_shape(boxes)
        nbytes = math.prod(shape)
        found, rest = scratch[:nbytes].reshape(-1, WIDTH), scratch[nbytes:]
        for number, index in enumerate(self.grid.touching(region)):
            tile = self.grid.region(index)
            size = region_size(tile) * self.canonical.itemsize
            held = rest[:size]
            if size:
                _copy(held.view(self.canonical).reshape(region_shape(tile)), block[region_key(tile, region)])
            found[number] = np.frombuffer(hashlib.sha256(held).digest(), np.uint8)
        self.hashes.write(boxes, found.reshape(shape), rest)

    def scratch_bytes(self, region: Region) -> int:
        """Return the bytes of one tile in its canonical form, and of the hashes of ``region``."""
        boxes = (*self.grid.span(region), (0, WIDTH))
        tile = math.prod(self.grid.steps) * self.canonical.itemsize
        return region_size(boxes) + max(tile, self.hashes.scratch_bytes(boxes))

    def commit(self) -> None:
        """Work out `value`."""
        head = {"shape": self.shape, "dtype": _describe(self.canonical)}
        whole = hashlib.sha256(json.dumps(head, separators=(",", ":")).encode())
        for piece in self._pieces():
            whole.update(piece)
        self.value = PREFIX + whole.hexdigest()
        self.abort()

    def _pieces(self) -> Iterator[Any]:
        """Yield the hashes of all tiles, in C order."""
        if isinstance(self.hashes, MemoryTarget):
            yield np.ascontiguousarray(self.hashes.array).data if self.hashes.array.size else b""
            return
        for box in self.hashes.grid:
            held = np.empty(region_shape(box), np.uint8)
            self.hashes.read(box, held, np.empty(self.hashes.scratch_bytes(box), np.uint8))
            yield held.data

    def abort(self) -> None:
        """Remove the hashes; never raises."""
        if isinstance(self.hashes, ScratchArray):
            self.hashes.remove()
