"""Writing one stored object of a Zarr array, a chunk file or a shard, and telling what one holds.

What is told of each chunk is its *entry*: how many bytes it takes stored, and a checksum of these;
see `zarr_manifest`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from itertools import product
from typing import Any

import google_crc32c
import numpy as np

from chunkarr import fsio
from chunkarr.buffers import aligned
from chunkarr.errors import CorruptChunkError, GridError, OptionError
from chunkarr.formats.zarr_chunks import FLAGS, axis_pieces
from chunkarr.formats.zarr_codecs import encoded_limit, encoder
from chunkarr.formats.zarr_manifest import ABSENT, ENTRY
from chunkarr.formats.zarr_meta import ArrayMeta
from chunkarr.formats.zarr_shards import NOT_STORED
from chunkarr.grid import Grid, Region, Shape, region_shape

__all__ = ["ObjectWriter", "boxes", "index_of_key", "object_keys"]

BATCH = 1 << 20  # bytes of encoded chunks gathered for one write into a shard
PIECE = 1 << 20  # bytes read at once to checksum what has no checksum of its own

Entries = np.ndarray[Any, np.dtype[np.void]]  # shape (chunks of an object,), dtype ENTRY


def boxes(box: Shape, region: Region) -> Iterator[tuple[Shape, tuple[Any, ...]]]:
    """Yield index and place, relative to ``region``, of each box that ``region`` touches."""
    for pieces in product(*(axis_pieces(n, a, b) for n, (a, b) in zip(box, region, strict=True))):
        yield tuple([piece[0] for piece in pieces]), (*[piece[1] for piece in pieces], ...)


def object_keys(meta: ArrayMeta) -> Iterator[str]:
    """Yield the path, relative to the array's directory, of each file that could be a stored object."""
    places = [""]
    while places:
        place = places.pop()
        with os.scandir(os.path.join(meta.path, place)) as found:
            for entry in found:
                if place or not (entry.name.startswith(".") or entry.name == "zarr.json"):
                    name = f"{place}/{entry.name}" if place else entry.name
                    if entry.is_dir(follow_symlinks=False):
                        places.append(name)
                    else:
                        yield name


def index_of_key(meta: ArrayMeta, key: str) -> Shape | None:
    """Return the index of the stored object of ``key``; None if there can be no such object."""
    inner = key.removeprefix(meta.key_prefix).removesuffix(meta.key_suffix)
    parts = inner.split(meta.key_separator) if meta.shape else []
    if not all(part.isdecimal() for part in parts) or len(parts) != len(meta.shape):
        return None
    index = tuple(map(int, parts))
    return index if meta.key(index) == key else None


class ObjectWriter:
    """Encodes the objects of one array; holds no data, so that threads can share it."""

    def __init__(self, meta: ArrayMeta) -> None:
        self.meta = meta
        self.size = meta.chunk_bytes
        self.limit = encoded_limit(meta.encoding, self.size)
        self._encode = encoder(meta.encoding, meta.stored.itemsize, meta.path)
        # NumPy copies structures field by field and loses padding; their bytes are what is stored.
        self.stored = np.dtype(f"V{meta.stored.itemsize}") if meta.stored.names else meta.stored
        self.fill = meta.fill.reshape(1).view(self.stored)[0]
        self.counts = tuple(s // c for s, c in zip(meta.object_shape, meta.chunk, strict=True))
        self.grid = Grid(meta.shape, meta.object_shape)

    def scratch_bytes(self) -> int:
        """Return the bytes that `write` holds besides the values: a chunk raw, and one or a batch encoded."""
        # The codecs encode into a buffer of the greatest size and return a copy of what they filled.
        own = aligned(self.size) + (2 * self.limit if self.meta.encoding.compressor else 0) + 64
        if self.meta.shard is None:
            return own
        return own + 2 * (BATCH + self.limit) + 96 * math.prod(self.counts)

    def check(self, region: Region, block: np.ndarray[Any, Any]) -> None:
        """Refuse a block that does not fit ``region``, and a region that is not made of whole objects."""
        path, meta = self.meta.path, self.meta
        if block.dtype != meta.dtype or block.shape != region_shape(region):
            raise OptionError(
                f"{path}: block of {block.shape} {block.dtype} does not fit region {region} of {meta.dtype}"
            )
        inside = all(0 <= a <= b <= n for (a, b), n in zip(region, meta.shape, strict=True))
        if not inside or self.grid.round_out(region) != region:
            raise GridError(
                f"{path}: region {region} is not made of whole boxes of {meta.object_shape} of an array of {meta.shape}"
            )

    def as_stored(self, block: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return ``block`` seen as what is stored where that only renames bytes."""
        return block.view(self.stored) if self.meta.dtype.names else block

    def write(self, path: str, values: np.ndarray[Any, Any], scratch: np.ndarray[Any, Any]) -> Entries:
        """Write the object that ``values`` (cut at the array's edge) make to the new file ``path``.

        Returns
        -------
        ndarray of ENTRY
            One entry for each chunk that the object can hold, in C order.
        """
        if self.meta.shard is not None:
            return self._write_shard(path, values, scratch)
        encoded, tail, entry = self._encoded(values, scratch)
        fsio.write_new(path, encoded, tail)
        return np.array([entry], ENTRY)

    def _encoded(
        self, values: np.ndarray[Any, Any], scratch: np.ndarray[Any, Any]
    ) -> tuple[Any, bytes, tuple[int, int]]:
        """Return encoded bytes, the checksum that follows them if the array has one, and the entry of a chunk."""
        perm = self.meta.encoding.perm
        stored = values if perm is None else values.transpose(perm)
        if values.shape != self.meta.chunk or values.dtype != self.stored or not stored.flags.c_contiguous:
            chunk = self.meta.chunk
            shape = chunk if perm is None else tuple(chunk[axis] for axis in perm)
            held = np.ndarray(shape, self.stored, scratch)
            if values.shape != chunk:
                held[...] = self.fill
            held[tuple(slice(0, n) for n in stored.shape)] = stored
            stored = held
        encoded = self._encode(stored)
        crc = int(google_crc32c.value(encoded))
        tail = crc.to_bytes(4, "little") if self.meta.encoding.crc else b""
        return encoded, tail, (len(encoded) + len(tail), crc)

    def _write_shard(self, path: str, values: np.ndarray[Any, Any], scratch: np.ndarray[Any, Any]) -> Entries:
        index = np.full((*self.counts, 2), NOT_STORED, "<u8")
        entries = np.full(self.counts, ABSENT, ENTRY)
        batch: list[Any] = []
        total = index.nbytes + 4 * self.meta.index_crc
        done = total if self.meta.index_first else 0
        gathered = 0
        fd = fsio.open_new(path)
        try:
            for place, at in boxes(self.meta.chunk, tuple((0, n) for n in values.shape)):
                encoded, tail, entries[place] = self._encoded(values[at], scratch)
                # Without a compressor the encoded bytes are scratch, which the next chunk takes.
                piece = bytes(encoded) + tail if self.meta.encoding.compressor is None else encoded + tail
                index[place] = done + gathered, len(piece)
                batch.append(piece)
                gathered += len(piece)
                if gathered >= BATCH:
                    fsio.write_at(fd, b"".join(batch), done, path)
                    done, gathered = done + gathered, 0
                    batch.clear()
            raw = index.tobytes()
            if self.meta.index_crc:
                raw += int(google_crc32c.value(raw)).to_bytes(4, "little")
            if self.meta.index_first:
                fsio.write_at(fd, raw, 0, path)
            else:
                batch.append(raw)
            fsio.write_at(fd, b"".join(batch), done, path)
        except BaseException:
            fsio.discard(path)
            raise
        finally:
            os.close(fd)
        return entries.reshape(-1)

    # --- what files hold that another process wrote ---

    def collect(self, path: str) -> Entries:
        """Return the entries of the object in file ``path``, read from it.

        Raises
        ------
        FileNotFoundError
            If it is not there.
        CorruptChunkError
            If it is no file, or cannot be an object of this array.
        """
        fd = os.open(path, FLAGS)
        try:
            size = os.fstat(fd).st_size
            if self.meta.shard is None:
                return np.array([(size, self._checksum(fd, 0, size, path))], ENTRY)
            index = self._index(fd, size, path).reshape(-1, 2)
            entries = np.full(len(index), ABSENT, ENTRY)
            for number, (offset, length) in enumerate(index.tolist()):
                if (offset, length) != (NOT_STORED, NOT_STORED):
                    if offset + length > size:
                        raise CorruptChunkError(f"{path}: inner chunk {number} lies beyond the end of the file")
                    entries[number] = length, self._checksum(fd, offset, length, path)
            return entries
        finally:
            os.close(fd)

    def _index(self, fd: int, size: int, path: str) -> np.ndarray[Any, Any]:
        nbytes = 16 * math.prod(self.counts)
        total = nbytes + 4 * self.meta.index_crc
        if size < total:
            raise CorruptChunkError(f"{path}: has {size} B, too few for its index of {total} B")
        raw = np.empty(total, np.uint8)
        fsio.read_into(fd, raw, 0 if self.meta.index_first else size - total, path)
        if self.meta.index_crc and google_crc32c.value(raw[:nbytes]) != int.from_bytes(
            raw[nbytes:].tobytes(), "little"
        ):
            raise CorruptChunkError(f"{path}: its index does not match its checksum")
        return raw[:nbytes].view("<u8")

    def _checksum(self, fd: int, start: int, length: int, path: str) -> int:
        """Return what an entry holds of a chunk of ``length`` bytes from ``start`` on."""
        if self.meta.encoding.crc:
            if length < 4:
                raise CorruptChunkError(f"{path}: has {length} B, too few for a checksum")
            tail = bytearray(4)
            fsio.read_into(fd, tail, start + length - 4, path)
            return int.from_bytes(tail, "little")
        piece = np.empty(min(length, PIECE), np.uint8)
        crc = 0
        for done in range(0, length, PIECE):
            part = piece[: min(PIECE, length - done)]
            fsio.read_into(fd, part, start + done, path)
            crc = google_crc32c.extend(crc, part)
        return int(crc)
