"""Reading Zarr chunks from plain files: a region of an array, one chunk file after another.

Per chunk the work is an open, a read into scratch, a decode and a close; whatever depends on the
array or on the region only is decided before the loop. A chunk that the region covers whole is
decoded into the output where its part there is contiguous, else into scratch, and the part copied.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import stat
import struct
from collections.abc import Iterable, Iterator
from itertools import product, repeat
from typing import Any, NoReturn

import google_crc32c
import numpy as np

from chunkarr import fsio
from chunkarr.buffers import aligned
from chunkarr.errors import CorruptChunkError, ForeignChangeError, MissingChunkError
from chunkarr.formats.zarr_codecs import CodecError, decoder, decoder_bytes, encoded_limit
from chunkarr.formats.zarr_manifest import Manifest
from chunkarr.formats.zarr_meta import ArrayMeta
from chunkarr.grid import Region, Shape, region_shape

__all__ = ["UNKNOWN", "ChunkReader", "Piece", "axis_pieces", "describe_absence", "load_file"]

Piece = tuple[int, slice, slice, bool]  # chunk, where in the output, where in the chunk, whether it is all of it
MAX_CALL = 1 << 30  # bytes per system call: Linux and macOS refuse or cut calls of 2 GiB
GAP = 1 << 16  # bytes of a gap that cost as much to read as another call
UNKNOWN = (-3, 0)  # length and crc32c of a chunk that no manifest records
_CRC = struct.Struct("<I").unpack_from
_READV = getattr(os, "readv", None)  # not on Windows
FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)  # a named pipe in place of a chunk must not block
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


def axis_pieces(chunk: int, lo: int, hi: int) -> list[Piece]:
    """Return the pieces of chunks along one axis that cover ``lo`` to ``hi``.

    >>> axis_pieces(4, 3, 9)[0]
    (0, slice(0, 1, None), slice(3, 4, None), False)
    """
    pieces = []
    for index in range(lo // chunk, -(-hi // chunk) if hi > lo else 0):
        start = index * chunk
        a, b = max(lo, start), min(hi, start + chunk)
        pieces.append((index, slice(a - lo, b - lo), slice(a - start, b - start), b - a == chunk))
    return pieces


def load_file(fd: int, into: np.ndarray[Any, Any]) -> int:
    """Read a whole file of fewer bytes than ``into`` has; return how many, and close it."""
    try:
        if _READV is None or into.nbytes > MAX_CALL:
            return _fill(fd, into)
        n: int = _READV(fd, (into,))
    finally:
        os.close(fd)
    return n


def _fill(fd: int, into: np.ndarray[Any, Any]) -> int:
    view = memoryview(into)
    done = 0
    while done < len(view):
        data = os.read(fd, min(len(view) - done, 1 << 20))
        if not data:
            break
        view[done : done + len(data)] = data
        done += len(data)
    return done


def describe_absence(label: str, path: str, error: OSError) -> NoReturn:
    """Raise what an OSError of a chunk file means."""
    if error.errno in (errno.ELOOP, errno.EMLINK):
        raise CorruptChunkError(f"{label}: {path} is a symbolic link, which could lead outside the array") from None
    if error.errno in (errno.EISDIR, errno.ENOTDIR, errno.ENXIO) or (
        error.errno == errno.EACCES and os.path.isdir(path)
    ):
        raise CorruptChunkError(f"{label}: {path} is not a file") from None
    raise OSError(error.errno, error.strerror, path) from error


class ChunkReader:
    """Reads regions of one array whose chunks are files. Holds no handle and no data."""

    def __init__(
        self, meta: ArrayMeta, *, missing_is_error: bool, manifest: Manifest | None = None, salvage: bool = False
    ) -> None:
        self.meta = meta
        self.missing_is_error = missing_is_error  # of a chunk that no manifest records
        self.manifest = manifest
        self.salvage = salvage  # whether a lost chunk reads as fill, too
        self.size = meta.chunk_bytes
        self.limit = encoded_limit(meta.encoding, self.size)
        self.decode = decoder(meta.encoding, self.size)
        self.codec_bytes = decoder_bytes(meta.encoding, self.size)
        self.raw = meta.encoding.compressor is None
        # NumPy copies structures field by field and loses padding; their bytes are what is stored.
        self.stored = np.dtype(f"V{meta.stored.itemsize}") if meta.stored.names else meta.stored
        self.fill = meta.fill.reshape(1).view(self.stored)[0]
        perm = meta.encoding.perm
        self.file_shape = meta.chunk if perm is None else tuple(meta.chunk[axis] for axis in perm)
        self.inverse = None if perm is None else tuple(np.argsort(perm).tolist())

    # --- sizes ---

    def scratch_bytes(self, region: Region) -> int:
        """Return what reading ``region`` needs: one chunk decoded, one encoded, and what the codec takes itself."""
        del region
        return aligned(self.size) + self.encoded_bytes + self.codec_bytes + 64

    def block_scratch_bytes(self, region: Region) -> int:
        """Return the same where ``out`` is contiguous: whole chunks that lie in it as stored are decoded in place."""
        chunk = self.meta.chunk
        whole = all(not a % c and not b % c for (a, b), c in zip(region, chunk, strict=True))
        if whole and self.inverse is None and self.meta.dtype == self.stored and region_shape(region)[1:] == chunk[1:]:
            return self.encoded_bytes + self.codec_bytes + 64
        return self.scratch_bytes(region)

    @property
    def encoded_bytes(self) -> int:
        """Bytes of scratch for one encoded chunk, and one more that shows that a file is too long."""
        return 0 if self.raw else aligned(self.limit + 1)

    def bytes_read(self, region: Region) -> int:
        """Return the decoded bytes of the chunks that ``region`` touches, or its own if ranges can be read."""
        if self.raw and not self.meta.encoding.crc and self.meta.shard is None and self.manifest is None:
            return math.prod(b - a for a, b in region) * self.meta.stored.itemsize
        counts = (-(-b // c) - a // c if b > a else 0 for (a, b), c in zip(region, self.meta.chunk, strict=True))
        return math.prod(counts) * self.size

    # --- the loop ---

    def read(self, region: Region, out: np.ndarray[Any, Any], scratch: np.ndarray[Any, Any]) -> bool:
        """Fill ``out`` with ``region``; say whether the manifest vouches for all of it."""
        out = self.as_stored(out)
        encoded, rest = scratch[: self.limit + 1], scratch[self.encoded_bytes :]
        held = kept = rest
        if rest.nbytes >= self.size:  # else every chunk is decoded in place
            held, kept = self.buffers(rest)
        direct = self.is_direct(out)
        perm = self.meta.encoding.perm
        decode, limit = self.decode, self.limit
        entries = self.expected(region)
        for (path, at, inside, covered), entry in zip(self.visit(region, self.meta.chunk), entries, strict=False):
            box = out[at]
            try:
                fd = self.open_object(path)
                if self.raw:
                    self.read_raw(fd, path, box, inside, covered and direct, held, kept, entry)
                    continue
                n = load_file(fd, encoded)
                if entry is not UNKNOWN:
                    self.check_entry(path, encoded, n, entry)
                if n > limit:
                    self.corrupt(path, f"is longer than the {limit} B that a chunk of {self.size} B can take")
                if covered and direct:
                    decode(encoded, n, box if perm is None else box.transpose(perm))
                else:
                    decode(encoded, n, held)
                    box[...] = kept[inside]
            except FileNotFoundError:
                self.absent(path, box, entry)
            except CodecError as error:
                self.corrupt(path, str(error))
            except OSError as error:
                describe_absence(self.label(path), path, error)
        return self.manifest is not None and not (type(entries) is list and UNKNOWN in entries)

    # --- what the manifest says ---

    def expected(self, region: Region) -> Iterable[tuple[int, int]]:
        """Return length and crc32c of each stored object of plain chunks that ``region`` touches, in C order."""
        if self.manifest is None:
            return repeat(UNKNOWN)
        chunk = self.meta.chunk
        spans = tuple((a // c, -(-b // c)) for (a, b), c in zip(region, chunk, strict=True))
        found = self.manifest.at(0, self.manifest.root.counts, spans)
        return [UNKNOWN if length == UNKNOWN[0] else (length, crc) for length, crc in found]

    def open_object(self, path: str) -> int:
        """Open a stored object: the one staged by a committed change that is not yet in place, else that in place."""
        if self.manifest is not None and self.manifest.change:
            name = path[len(self.meta.path) + 1 :].replace("/", "+")
            with contextlib.suppress(FileNotFoundError):
                return os.open(os.path.join(self.manifest.change, name), FLAGS)
        return os.open(path, FLAGS)

    def check_entry(
        self, path: str, encoded: np.ndarray[Any, Any], n: int, entry: tuple[int, int], at: int | None = None
    ) -> None:
        """Raise if the ``n`` bytes of an encoded chunk (at byte ``at`` of a shard) are not those of its ``entry``."""
        if self.meta.encoding.crc:
            found = _CRC(encoded, n - 4)[0] if 4 <= n <= len(encoded) else -1
        else:
            found = google_crc32c.value(encoded[:n])
        if (n, found) == entry:
            return
        whole = self.meta.encoding.crc and n >= 4 and google_crc32c.value(encoded[: n - 4]) == found
        self.differs(path, n, found, entry, whole=whole, at=at)

    def differs(
        self, path: str, n: int, found: int, entry: tuple[int, int], *, whole: bool, at: int | None = None
    ) -> NoReturn:
        """Raise what it means that ``n`` bytes are not those of ``entry``; ``whole``: they pass their own check."""
        length, crc = entry
        if length < 0:
            text = f"has {n} B, but the manifest says that this chunk was never written"
        elif n == 0:
            text, whole = f"is empty, the manifest says {length} B", False
        elif n != length:
            text = f"has {n} B, the manifest says {length} B"
        else:
            text = f"crc32c of its {n} B is {found:08x}, the manifest says {crc:08x}"
        if at is not None:
            text = f"inner chunk at byte {at} {text}"
        if whole or length < 0:
            raise ForeignChangeError(
                f"{self.label(path)}: {text}; another writer than chunkarr changed it: "
                f"restore it, or accept the change with `chunkarr adopt`; file {path}"
            )
        self.corrupt(path, text)

    def as_stored(self, out: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return ``out`` seen as what is stored where that only renames bytes."""
        return out.view(self.stored) if self.meta.stored.names else out

    def buffers(self, scratch: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Return scratch for one decoded chunk, as it is stored and with the axes of the array."""
        held = np.ndarray(self.file_shape, self.stored, scratch)
        return held, held if self.inverse is None else held.transpose(self.inverse)

    def is_direct(self, out: np.ndarray[Any, Any]) -> bool:
        """Say whether a whole chunk's part of ``out`` is one block of memory, laid out as stored."""
        if out.dtype != self.stored or not out.flags.writeable:
            return False
        perm = self.meta.encoding.perm
        strides = out.strides if perm is None else tuple(out.strides[axis] for axis in perm)
        step = self.stored.itemsize
        for stride, n in zip(reversed(strides), reversed(self.file_shape), strict=True):
            if n > 1 and stride != step:
                return False
            step *= n
        return True

    def visit(self, region: Region, chunk: Shape) -> Iterator[tuple[str, tuple[Any, ...], tuple[Any, ...], bool]]:
        """Yield for each object: its file, its part of the output, the part of it, whether that is all of it."""
        meta = self.meta
        axes = [axis_pieces(c, a, b) for c, (a, b) in zip(chunk, region, strict=True)]
        start = os.path.join(meta.path, meta.key_prefix)
        if not axes:
            # Not out[()], which is a copy.
            yield os.path.join(meta.path, meta.key(())), (...,), (...,), True
            return
        self._refuse_links(start, meta.path)
        separator, suffix = meta.key_separator, meta.key_suffix
        last = [(f"{index}{suffix}", (at,), (inside,), whole) for index, at, inside, whole in axes[-1]]
        for outer in product(*axes[:-1]):
            front = start + "".join(f"{piece[0]}{separator}" for piece in outer)
            if outer:
                self._refuse_links(front, start)
            ats = tuple(piece[1] for piece in outer)
            insides = tuple(piece[2] for piece in outer)
            wholes = all(piece[3] for piece in outer)
            for name, at, inside, whole in last:
                if suffix:
                    self._refuse_links(front + name, front)
                yield front + name, ats + at, insides + inside, wholes and whole

    def _refuse_links(self, front: str, known: str) -> None:
        """Refuse symbolic links among the directories of ``front`` below ``known``."""
        place = front.rpartition("/")[0]
        while len(place) >= len(known) and place != self.meta.path:
            with contextlib.suppress(OSError):
                if stat.S_ISLNK(os.lstat(place).st_mode):
                    raise CorruptChunkError(
                        f"{self.meta.path}: {place} is a symbolic link, which could lead outside the array"
                    )
            place = place.rpartition("/")[0]

    # --- uncompressed chunks ---

    def read_raw(
        self,
        fd: int,
        path: str,
        box: np.ndarray[Any, Any],
        inside: tuple[slice, ...],
        whole: bool,
        held: np.ndarray[Any, Any],
        kept: np.ndarray[Any, Any],
        entry: tuple[int, int],
    ) -> None:
        """Read an uncompressed chunk: whole if a checksum covers it, else only the bytes asked for."""
        perm, crc = self.meta.encoding.perm, self.meta.encoding.crc
        known = entry is not UNKNOWN
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise CodecError("is not a file")
            if known and status.st_size != entry[0]:
                self.differs(path, status.st_size, 0, entry, whole=False)
            if status.st_size != self.limit:
                raise CodecError(f"has {status.st_size} B, {self.limit} B were declared")
            target = held
            if whole:
                target = box if perm is None else box.transpose(perm)
            elif not crc and not known:
                part = inside if perm is None else tuple(inside[axis] for axis in perm)
                self._read_ranges(fd, box if perm is None else box.transpose(perm), part, held, path)
                return
            fsio.read_into(fd, target, 0, path)
            if crc or known:
                self._check(fd, target, path, entry)
            if not whole:
                box[...] = kept[inside]
        finally:
            os.close(fd)

    def _check(self, fd: int, target: np.ndarray[Any, Any], path: str, entry: tuple[int, int]) -> None:
        found = google_crc32c.value(fsio.bytes_of(target))
        if self.meta.encoding.crc:
            tail = bytearray(4)
            fsio.read_into(fd, tail, self.size, path)
            stored = int.from_bytes(tail, "little")
            if found != stored:
                raise CodecError(f"crc32c of its {self.size} B is {found:08x}, stored is {stored:08x}")
        if entry is not UNKNOWN and found != entry[1]:
            self.differs(path, self.limit, found, entry, whole=self.meta.encoding.crc)

    def _read_ranges(
        self,
        fd: int,
        box: np.ndarray[Any, Any],
        part: tuple[slice, ...],
        held: np.ndarray[Any, Any],
        path: str,
    ) -> None:
        """Read ``part`` of a chunk into ``box``: along the first axes box by box where the gaps are wide."""
        itemsize = self.stored.itemsize
        lengths = [piece.stop - piece.start for piece in part]
        steps = [math.prod(self.file_shape[axis + 1 :]) for axis in range(len(part))]
        split = 0
        for axis, (n, step) in enumerate(zip(lengths, steps, strict=True)):
            inner = sum((m - 1) * s for m, s in zip(lengths[axis + 1 :], steps[axis + 1 :], strict=True)) + 1
            if n > 1 and (step - inner) * itemsize > GAP:
                split = axis + 1
        flat = fsio.bytes_of(held)
        for index in product(*(range(n) for n in lengths[:split])):
            starts = [piece.start + i for piece, i in zip(part, (*index, *(0,) * len(part)), strict=False)]
            first = sum(start * step for start, step in zip(starts, steps, strict=True)) * itemsize
            rest, strides = lengths[split:], steps[split:]
            span = (sum((n - 1) * s for n, s in zip(rest, strides, strict=True)) + 1) * itemsize
            place: tuple[Any, ...] = (*index, ...)
            target = box[place]
            if span == target.nbytes and target.flags.c_contiguous and target.dtype == self.stored:
                fsio.read_into(fd, target, first, path)
                continue
            fsio.read_into(fd, flat[:span], first, path)
            target[...] = np.ndarray(rest, self.stored, flat, 0, [s * itemsize for s in strides])

    # --- what is wrong ---

    def label(self, path: str) -> str:
        """Name array and chunk."""
        return f"{self.meta.path}: chunk {os.path.relpath(path, self.meta.path)}"

    def corrupt(self, path: str, reason: str) -> NoReturn:
        """Raise CorruptChunkError."""
        raise CorruptChunkError(f"{self.label(path)}: {reason}; file {path}") from None

    def absent(self, path: str, box: np.ndarray[Any, Any], entry: tuple[int, int] = (-3, 0)) -> None:
        """Fill the part of a chunk that is not there, or raise if it should be."""
        if self.missing_is_error if entry == UNKNOWN else entry[0] >= 0 and not self.salvage:
            raise MissingChunkError(f"{self.label(path)}: is missing, but it was written; file {path}") from None
        box[...] = self.fill
