"""The bytes of a text, whatever it is packed in, to be read at any place.

Plain files are read where they lie, gzip through decoders that are kept on the way. What can only be decoded
from its beginning to its end (bz2, xz, zst, another encoding than one of bytes, a pipe) is decoded once, into a
scratch file that goes with the object.
"""

from __future__ import annotations

import bz2
import codecs
import lzma
import os
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import chain
from typing import Any

from chunkarr import fsio, settings
from chunkarr.errors import CorruptChunkError, MemoryBudgetError, TextError, UnsupportedError
from chunkarr.formats.inflating import Inflated
from chunkarr.formats.runs import Descriptor, file_generation
from chunkarr.formats.scratch import NAME

__all__ = ["STDIN", "TextBytes", "is_compressed", "open_bytes"]

STDIN = "-"
PIECE = 1 << 20  # bytes moved at once into a scratch file
WIDE = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_GZIP, _BZ2, _XZ, _ZSTD = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"


def is_compressed(head: bytes) -> bool:
    """Say whether a file that begins so is compressed in a way that texts are."""
    return head.startswith((_GZIP, _BZ2, _XZ, _ZSTD))


class TextBytes:
    """Bytes of known size that can be read at any place, from several threads.

    Parameters
    ----------
    source
        What gives them.
    size
        How many there are.
    owned
        The scratch file that they are in, if they are.
    """

    def __init__(self, source: Descriptor | Inflated, size: int, owned: str = "", lock: int = -1) -> None:
        self.source, self.size = source, size
        self._owned = fsio.Owned(self, owned, lock) if owned else None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_owned": None}

    @property
    def parallel(self) -> bool:
        """Whether bytes are read as quickly anywhere as one after another."""
        return isinstance(self.source, Descriptor)

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from ``start`` to ``stop`` or the end."""
        return bytes(self.buffer(start, stop))

    def buffer(self, start: int, stop: int) -> bytearray:
        """Return the bytes from ``start`` to ``stop`` or the end, to be changed."""
        buffer = bytearray(max(0, min(stop, self.size) - start))
        self.read_into(buffer, start)
        return buffer

    def read_into(self, buffer: Any, start: int) -> None:
        """Fill ``buffer`` (as of `fsio.bytes_of`) with the bytes from ``start`` on."""
        self.source.read_into(buffer, start)


def open_bytes(path: str, encoding: str | None) -> TextBytes:
    """Open the bytes of the text at ``path`` ("-": standard input), as UTF-8 or another encoding of bytes.

    Raises
    ------
    CorruptChunkError
        If what compresses it is damaged.
    UnsupportedError
        If it is compressed in a way that needs a library that is not there.
    """
    if path == STDIN:
        return _decoded(path, _read_stdin(), encoding)
    fd = fsio.open_read(path)
    try:
        size = os.fstat(fd).st_size
        head = bytearray(min(6, size))
        fsio.read_into(fd, head, 0, path)
    finally:
        os.close(fd)
    start = bytes(head)
    if start.startswith(_GZIP):
        inflated = Inflated(path, 0, None, "gzip", None, generation=file_generation(path))
        whole = TextBytes(inflated, inflated.measure())
        if not _is_wide(whole.read(0, 2), encoding):
            return whole
        return _decoded(path, (whole.read(at, at + PIECE) for at in range(0, whole.size, PIECE)), encoding)
    if is_compressed(start):
        return _decoded(path, _unpacked(path, start), encoding)
    if _is_wide(start, encoding):
        return _decoded(path, _pieces(path), encoding)
    return TextBytes(Descriptor(path, writable=False), size)


def _is_wide(head: bytes, encoding: str | None) -> bool:
    """Say whether a character takes more than a byte where it need not."""
    return head[:2] in WIDE or (
        encoding is not None and encoding.lower().replace("_", "-").startswith(("utf-16", "utf-32"))
    )


def _decoded(path: str, pieces: Iterator[bytes], encoding: str | None) -> TextBytes:
    """Put the pieces of a text into a scratch file."""
    directory = settings.scratch_directory()
    fsio.make_dir(directory)
    part, lock = fsio.new_part(os.path.join(directory, NAME), mode=0o600)
    whole = TextBytes(Descriptor(part, writable=True), 0, part, lock)
    file = whole.source
    assert isinstance(file, Descriptor)
    decode: Callable[[bytes, bool], bytes] | None = None
    for piece in chain(pieces, [b""]):
        decode = decode or _narrowing(path, piece, encoding)
        text = decode(piece, not piece)
        file.write_at(text, whole.size)
        whole.size += len(text)
    return whole


def _narrowing(path: str, head: bytes, encoding: str | None) -> Callable[[bytes, bool], bytes]:
    """Return what turns pieces into UTF-8, if they are not in an encoding of bytes."""
    if not _is_wide(head, encoding):
        return lambda piece, _final: piece
    decoder = codecs.getincrementaldecoder(WIDE.get(head[:2]) or encoding or "utf-16")()

    def decode(piece: bytes, final: bool) -> bytes:
        try:
            return decoder.decode(piece, final).removeprefix("\ufeff").encode()
        except UnicodeDecodeError as error:
            raise TextError(f"{path}: is not {error.encoding} text: {error.reason}") from None

    return decode


def _read_stdin() -> Iterator[bytes]:
    while piece := sys.stdin.buffer.read(PIECE):
        yield piece


def _pieces(path: str) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            yield piece


def _unpacked(path: str, head: bytes) -> Iterator[bytes]:
    """Yield what a compressed file decodes to."""
    try:
        if head.startswith(_ZSTD):
            yield from _unpacked_zstd(path)
            return
        if head.startswith(_XZ):
            yield from _unpacked_xz(path)
            return
        with bz2.BZ2File(path) as file:
            while piece := file.read(PIECE):
                yield piece
    except (OSError, EOFError, lzma.LZMAError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise CorruptChunkError(f"{path}: its compressed data are damaged: {error}") from None


def _unpacked_xz(path: str) -> Iterator[bytes]:
    """Yield what an xz file of one or more streams decodes to, with a dictionary that fits the budget."""
    decoder, begun = lzma.LZMADecompressor(lzma.FORMAT_XZ, settings.budget()), False
    for piece in chain(_pieces(path), [b""]):
        data = piece if begun else piece.lstrip(b"\0")  # zeros may lie between streams
        while data or begun:
            try:
                text = decoder.decompress(data, PIECE)
            except lzma.LZMAError as error:
                if "limit" not in str(error):
                    raise
                raise _beyond(path, "a dictionary") from None
            if text:
                yield text
            data, begun = b"", True
            if decoder.eof:
                data, begun = decoder.unused_data.lstrip(b"\0"), False
                decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, settings.budget())
            elif decoder.needs_input:
                break
    if begun:
        raise EOFError("it ends before its stream does")


def _beyond(path: str, what: str) -> MemoryBudgetError:
    return MemoryBudgetError(
        f"{path}: it was packed with {what} that takes more than the budget of "
        f"{settings.format_bytes(settings.budget())}; raise the budget, or pack it anew with a smaller one"
    )


def _check_window(path: str) -> None:
    """Refuse a zst file whose window does not fit the budget, by the header of its frame (RFC 8878, 3.1.1.1)."""
    with open(path, "rb") as file:
        head = file.read(18).ljust(18, b"\0")
    flags = head[4]
    if flags & 0x20:  # a single segment: the window is as large as the content
        begin = 5 + (0, 1, 2, 4)[flags & 3]
        window = int.from_bytes(head[begin : begin + (1, 2, 4, 8)[flags >> 6]], "little")
    else:
        base = 1 << (10 + (head[5] >> 3))
        window = base + base // 8 * (head[5] & 7)
    if window > settings.budget():
        raise _beyond(path, "a window")


def _unpacked_zstd(path: str) -> Iterator[bytes]:
    """Yield what a zst file decodes to: by Python 3.14's own module, else by pyarrow."""
    _check_window(path)
    try:
        opened = import_module("compression.zstd").open(path)
    except ImportError:
        try:
            opened = import_module("pyarrow").CompressedInputStream(path, "zstd")
        except ImportError:
            raise UnsupportedError(f"{path}: zst needs pyarrow: pip install chunkarr[text]") from None
    buffer = bytearray(PIECE)
    with opened as file:
        while count := file.readinto(buffer):  # pyarrow's read loses its bytes when it fails
            yield bytes(memoryview(buffer)[:count])
