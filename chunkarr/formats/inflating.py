"""Deflated bytes read at any place: members of zip files, MATLAB's compressed variables, gzip files.

A deflate stream can only be decoded from its beginning, or from where a decoder stood that was kept. So
whoever decodes forward leaves copies of the decoder behind: coarse ones all along the stream, and fine
ones where work is going on. A read starts from the nearest, and what lies between is decoded and
dropped. Several threads read at a time; one that would decode what another is just decoding waits for it.

The running CRC of all bytes before goes with each decoder, so that whoever comes to the end, from
wherever it started, has the checksum of the whole stream.
"""

from __future__ import annotations

import os
import threading
import zlib
from bisect import bisect_right, insort
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

from chunkarr import fsio
from chunkarr.errors import CorruptChunkError
from chunkarr.formats.runs import Descriptor
from chunkarr.grid import Grid, Shape

__all__ = ["BOX", "Inflated", "Kind", "forward_grid"]

Kind = Literal["raw", "zlib", "gzip"]

BOX = 4 << 20  # decoded bytes of a grid's box, about
INPUT = 128 << 10  # bytes read and fed at once, at most: at the end of each call zlib saves its window, 32 KiB
LEAST = 4 << 10  # bytes fed at once, at least; about as many stay with a decoder that is kept
OUTPUT = 512 << 10  # bytes decoded at once: fits the second-level cache
FINE = 1 << 20  # decoded bytes between the decoders that are kept where work goes on
RECENT = 16  # decoders kept there
SPREAD = 48  # decoders kept all along, at most
END = 1 << 62  # beyond every size
_WINDOW = {"raw": -15, "zlib": 15, "gzip": 31}


class _Decoder:
    """A decoder, and where it stands."""

    __slots__ = ("check", "data", "ended", "fed", "position", "stream")

    def __init__(self, stream: Any, fed: int) -> None:
        self.stream = stream  # zlib's
        self.position = 0  # decoded bytes given
        self.fed = fed  # where in the file the next input that is not decoded lies
        self.data = memoryview(b"")  # of that, what was read
        self.check = 0  # CRC-32 of the bytes given
        self.ended = False  # the last stream's end was seen

    def copy(self) -> _Decoder:
        """Return another that goes on from here, and reads anew what this one has read ahead."""
        other = _Decoder(None if self.stream is None else self.stream.copy(), self.fed)
        other.position, other.check, other.ended = self.position, self.check, self.ended
        return other


@dataclass(eq=False, slots=True)
class _Walk:
    """A thread that decodes now."""

    decoder: _Decoder
    stop: int  # where it will leave its decoder

    def serves(self, start: int, offset: int) -> bool:
        """Say whether it will leave a decoder nearer to ``offset`` than ``start``, sooner than one gets there."""
        here = self.decoder.position
        return start <= here < offset and (self.stop <= offset or (here // FINE + 1) * FINE <= offset)


class Inflated:
    """The bytes that a deflate, zlib or gzip stream in a file decodes to: a `runs.Source`.

    Parameters
    ----------
    path
        The file.
    offset, length
        Where in it the stream lies; ``length`` None: up to the file's end.
    kind
        "raw": deflate alone, as in zip; "zlib", as in MATLAB files; "gzip", one stream or several in a row.
    size
        Bytes that it decodes to; None where only `measure` can tell.
    check
        CRC-32 of them, where it is known from elsewhere; zlib and gzip streams hold one of their own.
    origin
        What errors name; the path by default.
    generation
        Size, mtime_ns and inode that the file must have when it is first read.

    Examples
    --------
    >>> import os, tempfile
    >>> with tempfile.NamedTemporaryFile(delete=False) as file:
    ...     _ = file.write(zlib.compress(b"0123456789" * 1000))
    >>> source, part = Inflated(file.name, 0, None, "zlib", 10000), bytearray(4)
    >>> source.read_into(part, 5003)
    >>> os.remove(file.name)
    >>> part
    bytearray(b'3456')
    """

    def __init__(
        self,
        path: str,
        offset: int,
        length: int | None,
        kind: Kind,
        size: int | None,
        *,
        check: int | None = None,
        origin: str | None = None,
        generation: tuple[int, int, int] | None = None,
    ) -> None:
        self.path, self.offset, self.length, self.kind, self.size = path, offset, length, kind, size
        self.check, self.origin, self.found = check, origin or path, generation
        self.spacing = max(FINE, -(-(size or 0) // SPREAD // FINE) * FINE)  # bytes between decoders kept all along
        self._file = Descriptor(path, writable=False)
        self._turn = threading.Condition(threading.RLock())
        self._kept: dict[int, _Decoder] = {}
        self._places: list[int] = []  # sorted keys of _kept
        self._recent: deque[int] = deque()  # those of them that are not kept for long
        self._walks: list[_Walk] = []
        self._waiting: list[int] = []  # where threads want to begin that wait for others

    def __reduce__(self) -> tuple[Any, ...]:
        return _inflated, (
            self.path, self.offset, self.length, self.kind, self.size, self.check, self.origin, self.found
        )  # fmt: skip

    def read_into(self, buffer: Any, offset: int) -> None:
        """Fill ``buffer`` (as of `fsio.bytes_of`) with the decoded bytes from ``offset`` on.

        Raises
        ------
        CorruptChunkError
            If the stream is damaged, ends too early, or, where the last byte is read, too late or with
            another checksum.
        """
        self.read_each((fsio.bytes_of(buffer),), (offset,))

    def read_each(self, views: Iterable[Any], offsets: Iterable[int]) -> None:
        """Fill each of ``views`` from the offset of its own; quick where offsets go up."""
        walk: _Walk | None = None
        try:
            for view, offset in zip(views, offsets, strict=True):
                raw = memoryview(fsio.bytes_of(view))
                if not raw.nbytes:
                    continue
                if walk is not None and not 0 <= offset - walk.decoder.position <= FINE:
                    self._end_walk(walk)
                    walk = None
                if walk is None:
                    walk = self._begin_walk(offset)
                walk.stop = offset + raw.nbytes
                self._forward(walk, offset, None)
                self._forward(walk, walk.stop, raw)
                if walk.stop == self.size:
                    self._finish(walk.decoder)
        except BaseException:
            if walk is not None:
                self._end_walk(walk, keep=False)
            raise
        if walk is not None:
            self._end_walk(walk)

    def measure(self) -> int:
        """Decode to the end, checking the stream; return how many bytes there are.

        Raises
        ------
        CorruptChunkError
            As of `read_into`, where the last byte is read.
        """
        walk = self._begin_walk(END if self.size is None else self.size)
        keep = False
        try:
            walk.stop = END
            while self._forward(walk, walk.decoder.position + FINE if self.size is None else self.size, None):
                if walk.decoder.position == self.size:
                    break
            self.size = walk.decoder.position
            self._finish(walk.decoder)
            keep = True
        finally:
            self._end_walk(walk, keep=keep)
        return self.size

    def close(self) -> None:
        """Close the file and forget the decoders; a later read begins again."""
        with self._turn:
            self._kept.clear()
            self._places.clear()
            self._recent.clear()
        self._file.close()

    # --- decoders that are kept ---

    def _begin_walk(self, offset: int) -> _Walk:
        """Start from the nearest decoder up to ``offset``, waiting for one that another thread will leave there."""
        with self._turn:
            self._waiting.append(offset)
            try:
                while True:
                    place = bisect_right(self._places, offset) - 1
                    start = self._places[place] if place >= 0 else 0
                    sooner = any(start <= other < offset for other in self._waiting)
                    if not sooner and not any(walk.serves(start, offset) for walk in self._walks):
                        break
                    self._turn.wait()
            finally:
                self._waiting.remove(offset)
                self._turn.notify_all()
            walk = _Walk(self._kept[start].copy() if place >= 0 else self._first(), offset)
            self._walks.append(walk)
            return walk

    def _end_walk(self, walk: _Walk, *, keep: bool = True) -> None:
        """Leave the decoder of ``walk`` for others."""
        with self._turn:
            self._walks.remove(walk)
            if keep:
                self._keep(walk.decoder)
            self._turn.notify_all()

    def _first(self) -> _Decoder:
        return _Decoder(zlib.decompressobj(_WINDOW[self.kind]), self.offset)

    def _keep(self, decoder: _Decoder) -> None:
        """Keep ``decoder``, which nobody changes from now on, and forget old ones."""
        place = decoder.position
        with self._turn:
            if place in self._kept or not place:
                return
            decoder.data = memoryview(b"")
            self._kept[place] = decoder
            insort(self._places, place)
            if place % self.spacing:
                self._recent.append(place)
                while len(self._recent) > RECENT:
                    self._drop(self._recent.popleft())
            elif len(self._kept) - len(self._recent) > SPREAD:
                self.spacing *= 2
                for old in [p for p in self._places if p % self.spacing and p not in self._recent]:
                    self._drop(old)
            self._turn.notify_all()

    def _drop(self, place: int) -> None:
        del self._kept[place]
        self._places.remove(place)

    # --- decoding ---

    def _forward(self, walk: _Walk, stop: int, out: Any) -> bool:
        """Decode up to ``stop``, into ``out`` or nowhere; where the size is not known, return False at the end."""
        decoder = walk.decoder
        begin = decoder.position
        while decoder.position < stop:
            edge = (decoder.position // FINE + 1) * FINE
            data = self._decode(decoder, min(stop, edge, decoder.position + OUTPUT) - decoder.position)
            if not data:
                if self.size is None and out is None:
                    return False
                wanted = f"{self.size} B are declared" if self.size is not None else f"{stop} B were to be read"
                raise CorruptChunkError(
                    f"{self.origin}: its compressed data decode to {decoder.position} B, but {wanted}"
                )
            if out is not None:
                at = decoder.position - begin
                out[at : at + len(data)] = data
            if self.check is not None:
                decoder.check = zlib.crc32(data, decoder.check)
            decoder.position += len(data)
            if decoder.position == edge:
                self._keep(decoder.copy())
        return True

    def _decode(self, decoder: _Decoder, want: int) -> bytes:
        """Return the next bytes, at most ``want``; none at the end."""
        while not decoder.ended:
            if not decoder.data:
                decoder.data = self._input(decoder)
            # As much as decodes to what is wanted, as far as one can tell: zlib keeps what it was given too much.
            guess = want * (decoder.fed - self.offset) // max(1, decoder.position)
            piece = decoder.data[: max(LEAST, min(INPUT, guess))]
            try:
                data: bytes = decoder.stream.decompress(piece, want)
            except zlib.error as error:
                raise CorruptChunkError(
                    f"{self.origin}: its compressed data are damaged after decoded byte {decoder.position}: {error}"
                ) from None
            ended = decoder.stream.eof
            taken = len(piece) - len(decoder.stream.unused_data if ended else decoder.stream.unconsumed_tail)
            decoder.fed, decoder.data = decoder.fed + taken, decoder.data[taken:]
            if ended:
                self._next_stream(decoder)
            elif not piece and not data:
                raise CorruptChunkError(f"{self.origin}: its compressed data are cut short at byte {decoder.fed}")
            if data:
                return data
        return b""

    def _input(self, decoder: _Decoder) -> memoryview:
        """Return the next bytes of the stream as it lies in the file; none at its end."""
        fd = self._file.take(self.found)
        try:
            piece = bytearray(min(INPUT, max(0, self._end(fd) - decoder.fed)))
            fsio.read_into(fd, piece, decoder.fed, self.path)
        finally:
            self._file.give()
        return memoryview(piece)

    def _end(self, fd: int) -> int:
        if self.length is None:
            self.length = max(0, os.fstat(fd).st_size - self.offset)
        return self.offset + self.length

    def _next_stream(self, decoder: _Decoder) -> None:
        """Begin the next stream of a gzip file, if there is one."""
        decoder.ended = True
        if self.kind != "gzip":
            return
        while True:
            rest = bytes(decoder.data).lstrip(b"\0")  # padding, as gzip allows
            decoder.fed, decoder.data = decoder.fed + len(decoder.data) - len(rest), memoryview(rest)
            if rest:
                break
            decoder.data = self._input(decoder)
            if not decoder.data:
                return
        decoder.stream, decoder.ended = zlib.decompressobj(_WINDOW["gzip"]), False

    def _finish(self, decoder: _Decoder) -> None:
        """Check, all bytes being decoded, that the stream ends here and is what was written."""
        if self._decode(decoder, 1):
            raise CorruptChunkError(
                f"{self.origin}: its compressed data decode to more than the {self.size} B that are declared"
            )
        if self.check is not None and decoder.check != self.check:
            raise CorruptChunkError(
                f"{self.origin}: CRC-32 of its {self.size} B is {decoder.check:08x}, {self.check:08x} was written"
            )


def _inflated(
    path: str, offset: int, length: int | None, kind: Kind, size: int | None, check: int | None, origin: str,
    generation: tuple[int, int, int] | None,
) -> Inflated:  # fmt: skip
    return Inflated(path, offset, length, kind, size, check=check, origin=origin, generation=generation)


def forward_grid(shape: Shape, itemsize: int, order: str = "C", nbytes: int = BOX) -> Grid:
    """Return boxes of about ``nbytes`` bytes, each one run of bytes of an array in that order.

    Examples
    --------
    >>> forward_grid((100, 1000), 8, nbytes=80_000).steps
    (10, 1000)
    >>> forward_grid((100, 1000), 8, "F", nbytes=80_000).steps
    (100, 100)
    """
    extents = shape[::-1] if order == "F" else shape
    steps = [1] * len(extents)
    for axis in range(len(extents) - 1, -1, -1):
        inner = prod(extents[axis + 1 :]) * max(1, itemsize)
        steps[axis] = max(1, min(extents[axis], nbytes // max(1, inner)))
        if steps[axis] < extents[axis]:
            break
    return Grid(shape, tuple(steps[::-1] if order == "F" else steps))
