"""Reading Zarr shards: one file that holds many chunks and an index of where each lies.

A shard's file is opened once per region and its index read once (and kept while the file stays the
same, if it is small). Chunks that lie one after another are read in one call.

Source: the sharding codec of Zarr v3, https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed.
"""

from __future__ import annotations

import math
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Iterable
from itertools import product, repeat
from operator import itemgetter
from typing import Any

import google_crc32c
import numpy as np

from chunkarr import fsio
from chunkarr.buffers import aligned
from chunkarr.formats.zarr_chunks import GAP, UNKNOWN, ChunkReader, Piece, axis_pieces, describe_absence
from chunkarr.formats.zarr_codecs import CodecError
from chunkarr.formats.zarr_manifest import Manifest
from chunkarr.formats.zarr_meta import ArrayMeta
from chunkarr.grid import Region

__all__ = ["NOT_STORED", "ShardReader"]

NOT_STORED = 2**64 - 1  # offset and length of a chunk that a shard does not hold
RUN = 1 << 20  # bytes read in one call at most, if a single chunk does not take more
KEPT_INDEX = 1 << 16  # bytes of the largest index that is kept
KEPT = 32  # indexes kept per array

# offset, length, where in the output, where in the chunk, whether that is all of it, its entry in the manifest
Entry = tuple[int, int, tuple[Any, ...], tuple[Any, ...], bool, tuple[int, int]]


class ShardReader(ChunkReader):
    """Reads regions of one array whose chunks lie in shards. Holds no handle, only small indexes."""

    def __init__(
        self, meta: ArrayMeta, *, missing_is_error: bool, manifest: Manifest | None = None, salvage: bool = False
    ) -> None:
        super().__init__(meta, missing_is_error=missing_is_error, manifest=manifest, salvage=salvage)
        self.counts = tuple(s // c for s, c in zip(meta.object_shape, meta.chunk, strict=True))
        self.index_bytes = 16 * math.prod(self.counts)  # without its checksum
        self.run = max(self.limit, RUN)
        self._kept: OrderedDict[str, tuple[Any, np.ndarray[Any, Any]]] = OrderedDict()
        self._lock = threading.Lock()

    def scratch_bytes(self, region: Region) -> int:
        """Return what reading ``region`` needs: a decoded chunk, a run of encoded ones, an index, the codec's own."""
        del region
        return aligned(self.size) + aligned(self.run) + aligned(self.index_bytes + 4) + self.codec_bytes + 64

    def block_scratch_bytes(self, region: Region) -> int:
        """Return the same: the chunks of a shard are small."""
        return self.scratch_bytes(region)

    def read(self, region: Region, out: np.ndarray[Any, Any], scratch: np.ndarray[Any, Any]) -> bool:
        """Fill ``out`` with ``region``; say whether the manifest vouches for all of it."""
        out = self.as_stored(out)
        direct = self.is_direct(out)
        sure = True
        numbers = self._numbers(region)
        objects = self.visit(region, self.meta.object_shape)
        for (path, at, inside, _), number in zip(objects, numbers, strict=False):
            box = out[at]
            axes = [axis_pieces(c, s.start, s.stop) for c, s in zip(self.meta.chunk, inside, strict=False)]
            expected = self._expected(number, axes)
            sure = sure and UNKNOWN not in expected
            try:
                fd = self.open_object(path)
            except FileNotFoundError:
                self.absent(path, box, max(expected))
                continue
            except OSError as error:
                describe_absence(self.label(path), path, error)
            try:
                self._read_shard(fd, path, box, axes, expected, direct, scratch)
            except CodecError as error:
                self.corrupt(path, str(error))
            finally:
                os.close(fd)
        return sure and self.manifest is not None

    def _numbers(self, region: Region) -> Iterable[int]:
        """Return the number of each shard that ``region`` touches, in C order."""
        if self.manifest is None:
            return repeat(0)
        counts = self.manifest.root.counts
        spans = (range(a // s, -(-b // s)) for (a, b), s in zip(region, self.meta.object_shape, strict=True))
        return (sum(i * math.prod(counts[axis + 1 :]) for axis, i in enumerate(index)) for index in product(*spans))

    def _expected(self, number: int, axes: list[list[Piece]]) -> list[tuple[int, int]]:
        """Return the manifest's entries of the chunks of shard ``number`` in ``axes``, in C order."""
        if self.manifest is None:
            return [UNKNOWN] * math.prod(map(len, axes))
        spans = tuple((axis[0][0], axis[-1][0] + 1) for axis in axes)
        return self.manifest.at(number * self.manifest.root.per_object, self.counts, spans)

    def _read_shard(
        self,
        fd: int,
        path: str,
        box: np.ndarray[Any, Any],
        axes: list[list[Piece]],
        expected: list[tuple[int, int]],
        direct: bool,
        scratch: np.ndarray[Any, Any],
    ) -> None:
        held, kept = self.buffers(scratch)
        start = aligned(self.size)
        run = scratch[start : start + self.run]
        entries = self._entries(fd, path, axes, expected, scratch[start + aligned(self.run) :])
        perm, decode = self.meta.encoding.perm, self.decode
        first = 0
        while first < len(entries):
            begin, _, at, _, _, entry = entries[first]
            if begin == NOT_STORED:
                self.absent(path, box[at], entry)
                first += 1
                continue
            last = self._run_end(entries, first)
            fsio.read_into(fd, run[: entries[last - 1][0] + entries[last - 1][1] - begin], begin, path)
            for offset, n, at, within, covered, entry in entries[first:last]:
                part = box[at]
                encoded = run[offset - begin :]
                if entry[0] != UNKNOWN[0]:
                    self.check_entry(path, encoded, n, entry, offset)
                try:
                    if direct and covered:
                        decode(encoded, n, part if perm is None else part.transpose(perm))
                    else:
                        decode(encoded, n, held)
                        part[...] = kept[within]
                except CodecError as error:
                    raise CodecError(f"inner chunk at byte {offset} {error}") from None
            first = last

    def _run_end(self, entries: list[Entry], first: int) -> int:
        """Return how far the entries from ``first`` on are read in one call."""
        begin, n, *_ = entries[first]
        end, last = begin + n, first + 1
        while last < len(entries):
            offset, n, *_ = entries[last]
            if offset + n - begin > self.run or offset - end > GAP:
                break
            end = max(end, offset + n)
            if end > offset + n:  # overlapping entries: each is read for itself
                break
            last += 1
        return last

    def _entries(
        self,
        fd: int,
        path: str,
        axes: list[list[Piece]],
        expected: list[tuple[int, int]],
        scratch: np.ndarray[Any, Any],
    ) -> list[Entry]:
        """Return what is to be read, checked and in the order of the file."""
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise CodecError("is not a file")
        index = self._index(fd, path, status, scratch)
        window = tuple(slice(axis[0][0], axis[-1][0] + 1) for axis in axes)
        found = index[window].reshape(-1, 2)
        self._check_entries(found, status.st_size, window)
        # The Ellipsis makes a view of what has no axes, too.
        ats = product(*([piece[1] for piece in axis] for axis in axes), (...,))
        withins = product(*([piece[2] for piece in axis] for axis in axes), (...,))
        covered = map(all, product(*([piece[3] for piece in axis] for axis in axes)))
        offsets, lengths = found.T.tolist()
        entries = list(zip(offsets, lengths, ats, withins, covered, expected, strict=True))
        entries.sort(key=itemgetter(0))
        return entries

    def _check_entries(self, found: np.ndarray[Any, Any], size: int, window: tuple[slice, ...]) -> None:
        """Refuse entries, shape (N, 2), that lie outside the file or are longer than a chunk can be."""
        offsets, lengths = found[:, 0], found[:, 1]
        absent = (offsets == NOT_STORED) & (lengths == NOT_STORED)
        # Not offset + length, which can overflow.
        good = (lengths > 0) & (lengths <= min(self.limit, size)) & (offsets <= size)
        good &= lengths <= size - np.minimum(offsets, size)
        bad = np.flatnonzero(~(good | absent))
        if bad.size:
            place = np.unravel_index(bad[0], [piece.stop - piece.start for piece in window])
            where = tuple(int(i) + piece.start for i, piece in zip(place, window, strict=True))
            raise CodecError(
                f"inner chunk {where}: the index says {lengths[bad[0]]} B at byte {offsets[bad[0]]}; "
                f"the file has {size} B, a chunk at most {self.limit} B"
            )

    def _index(self, fd: int, path: str, status: os.stat_result, scratch: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the index of a shard, shape (*counts, 2): offset and length of each chunk."""
        generation = (status.st_mtime_ns, status.st_size, status.st_ino)
        with self._lock:
            kept = self._kept.get(path)
            if kept is not None and kept[0] == generation:
                self._kept.move_to_end(path)
                return kept[1]
        total = self.index_bytes + 4 * self.meta.index_crc
        if status.st_size < total:
            raise CodecError(f"has {status.st_size} B, too few for its index of {total} B")
        raw = scratch[:total]
        fsio.read_into(fd, raw, 0 if self.meta.index_first else status.st_size - total, path)
        if self.meta.index_crc:
            stored = int.from_bytes(raw[-4:].tobytes(), "little")
            crc = google_crc32c.value(raw[:-4])
            if crc != stored:
                raise CodecError(f"crc32c of its index is {crc:08x}, stored is {stored:08x}")
        index = raw[: self.index_bytes].view("<u8").reshape(*self.counts, 2)
        if self.index_bytes > KEPT_INDEX:
            return index
        index = index.copy()
        with self._lock:
            self._kept[path] = (generation, index)
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return index
