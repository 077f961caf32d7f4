"""Codecs of one chunk: bytes at rest to bytes in memory, into a buffer of exactly the declared size.

A decoder looks at the size that the encoded bytes claim before it decodes anything, so that a
damaged or hostile chunk costs no more memory than a good one. Everything that depends on the array
only is decided once, when the functions here return closures; those are called once per chunk.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import google_crc32c
import numpy as np

from chunkarr import fsio
from chunkarr.errors import OptionError, UnsupportedError
from chunkarr.formats.zarr_meta import Encoding

__all__ = [
    "CodecError",
    "Decoder",
    "Encoder",
    "checked",
    "codec_json",
    "decoder",
    "decoder_bytes",
    "encoded_limit",
    "encoder",
]

Decoder = Callable[[np.ndarray[Any, Any], int, np.ndarray[Any, Any]], None]  # (encoded, its bytes, into)
Encoder = Callable[[np.ndarray[Any, Any]], Any]  # contiguous chunk -> encoded bytes, without checksum

BLOSC_BLOCK = 1 << 20  # bytes of the largest block that blosc chooses
PIECE = 1 << 16  # bytes of gzip input at a time
LEVELS = {"blosc-lz4": 5, "blosc-zstd": 3, "zstd": 3, "gzip": 6}
LIMITS = {"blosc-lz4": (0, 9), "blosc-zstd": (0, 9), "zstd": (-131072, 22), "gzip": (0, 9)}

_HEADER = struct.Struct("<4xIII").unpack_from  # blosc: decoded bytes, bytes of a block, encoded bytes
_CRC = struct.Struct("<I").unpack_from
_crc32c = google_crc32c.value


class CodecError(Exception):
    """Encoded bytes that are not what was written; the text says why."""


def encoded_limit(encoding: Encoding, size: int) -> int:
    """Return the most bytes that a chunk of ``size`` bytes may take encoded."""
    return size + (size // 64 + 1024 if encoding.compressor else 0) + 4 * encoding.crc


def decoder_bytes(encoding: Encoding, size: int) -> int:
    """Return the bytes that decoding a chunk of ``size`` bytes takes from the C allocator.

    blosc asks for two of its blocks, which have at most 1 MiB when it chooses, aligned: glibc then holds
    four times as much, because the next such request does not fit where the last one was.
    """
    return 8 * min(size, BLOSC_BLOCK) if encoding.compressor == "blosc" else 0


def decoder(encoding: Encoding, size: int) -> Decoder:
    """Return what decodes chunks of ``size`` bytes."""
    inner = _DECODERS[encoding.compressor](size)
    return checked(inner) if encoding.crc else inner


def checked(inner: Decoder) -> Decoder:
    """Return ``inner`` behind the check of a trailing crc32c."""

    def decode(encoded: np.ndarray[Any, Any], n: int, into: np.ndarray[Any, Any]) -> None:
        n -= 4
        if n < 0:
            raise CodecError(f"has {n + 4} B, too few for a checksum")
        (stored,) = _CRC(encoded, n)
        found = _crc32c(encoded[:n])
        if found != stored:
            raise CodecError(f"crc32c of its {n} B is {found:08x}, stored is {stored:08x}")
        inner(encoded, n, into)

    return decode


def _raw(size: int) -> Decoder:
    def decode(encoded: np.ndarray[Any, Any], n: int, into: np.ndarray[Any, Any]) -> None:
        if n != size:
            raise CodecError(f"has {n} B, {size} B were declared")
        fsio.bytes_of(into)[:] = encoded[:n]

    return decode


def _blosc(size: int) -> Decoder:
    from numcodecs import blosc

    # One thread a task is the caller's choice; blosc's own pool is global and would serialise them.
    blosc.use_threads = False
    decompress = blosc.decompress

    def decode(encoded: np.ndarray[Any, Any], n: int, into: np.ndarray[Any, Any]) -> None:
        if n < 16:
            raise CodecError(f"has {n} B, too few for a blosc header")
        nbytes, _, cbytes = _HEADER(encoded)
        if nbytes != size:
            raise CodecError(_other_size(nbytes, size))
        if cbytes != n:
            raise CodecError(f"has {n} B, its blosc header says {cbytes} B")
        try:
            decompress(encoded[:n], into)
        except (RuntimeError, ValueError) as error:
            raise CodecError(f"blosc: {error}") from None

    return decode


def _other_size(found: int, size: int) -> str:
    return f"decodes to {'more' if found > size else 'less'} than {size} B: to {found} B"


def _zstd(size: int) -> Decoder:
    from numcodecs import zstd

    def decode(encoded: np.ndarray[Any, Any], n: int, into: np.ndarray[Any, Any]) -> None:
        declared = _zstd_size(encoded[: min(n, 18)].tobytes())
        if declared is not None and declared != size:
            raise CodecError(_other_size(declared, size))
        try:
            zstd.decompress(encoded[:n], into)
        except (RuntimeError, ValueError) as error:
            raise CodecError(f"zstd: {error}") from None

    return decode


def _zstd_size(head: bytes) -> int | None:
    """Return the decoded bytes that a zstd frame declares, None if it does not (RFC 8878, 3.1.1.1)."""
    if len(head) < 6 or head[:4] != b"\x28\xb5\x2f\xfd":
        raise CodecError("is not a zstd frame")
    flags = head[4]
    single = flags >> 5 & 1
    width = (single, 2, 4, 8)[flags >> 6]
    if not width:
        return None
    start = 5 + (not single) + (0, 1, 2, 4)[flags & 3]
    value = int.from_bytes(head[start : start + width], "little")
    return value + 256 if width == 2 else value


def _deflate(wbits: int) -> Callable[[int], Decoder]:
    def decode(encoded: np.ndarray[Any, Any], n: int, into: np.ndarray[Any, Any]) -> None:
        try:
            _inflate(memoryview(encoded)[:n], memoryview(fsio.bytes_of(into)), wbits)
        except zlib.error as error:
            raise CodecError(f"gzip: {error}") from None

    return lambda _: decode


def _inflate(encoded: memoryview, into: memoryview, wbits: int) -> None:
    """Inflate a whole stream into a buffer of its size, some KiB at a time."""
    stream = zlib.decompressobj(wbits)
    done = taken = 0
    pending: Any = b""
    while not stream.eof:
        if not pending:
            pending = encoded[taken : taken + PIECE]
            taken += len(pending)
        # One byte more than fits shows that there is more.
        data = stream.decompress(pending, min(len(into) - done + 1, 4 * PIECE))
        pending = stream.unconsumed_tail
        if done + len(data) > len(into):
            raise CodecError(f"decodes to more than {len(into)} B")
        into[done : done + len(data)] = data
        done += len(data)
        if not data and not pending and taken >= len(encoded) and not stream.eof:
            raise CodecError(f"gzip: is cut short after {len(encoded)} B")
    if done != len(into):
        raise CodecError(_other_size(done, len(into)))
    if stream.unused_data or taken < len(encoded):
        raise CodecError("gzip: has bytes after its end")


_DECODERS: dict[str | None, Callable[[int], Decoder]] = {
    None: _raw,
    "blosc": _blosc,
    "zstd": _zstd,
    "gzip": _deflate(31),
    "zlib": _deflate(15),
}


def _parse(codec: str | None) -> tuple[str, int]:
    """Return name and level of ``"name"`` or ``"name:level"``."""
    name, _, level = (codec or "none").partition(":")
    if name == "none" and not level:
        return name, 0
    if name not in LEVELS:
        raise OptionError(f"codec {codec!r} is not known; use one of {', '.join(LEVELS)}, none, or e.g. zstd:5")
    low, high = LIMITS[name]
    try:
        number = int(level) if level else LEVELS[name]
    except ValueError:
        number = high + 1
    if not low <= number <= high:
        raise OptionError(f"codec {codec!r}: the level of {name} is an integer {low}...{high}")
    return name, number


def codec_json(codec: str | None, itemsize: int) -> list[dict[str, Any]]:
    """Return the compressor that ``codec`` names as Zarr v3 metadata, in a list that may be empty.

    >>> codec_json("gzip:1", 4)
    [{'name': 'gzip', 'configuration': {'level': 1}}]
    """
    name, level = _parse(codec)
    if name == "none":
        return []
    configuration: dict[str, Any] = {"level": level}
    if name == "zstd":
        configuration["checksum"] = False
    if name.startswith("blosc"):
        typesize = itemsize if itemsize <= 255 else 1
        configuration = {
            "typesize": typesize,
            "cname": name.partition("-")[2],
            "clevel": level,
            "shuffle": "shuffle" if typesize > 1 else "noshuffle",
            "blocksize": 0,
        }
    return [{"name": name.partition("-")[0], "configuration": configuration}]


def encoder(encoding: Encoding, itemsize: int, path: str = "") -> Encoder:
    """Return what encodes chunks of elements of ``itemsize`` bytes as the metadata of the array at ``path`` say.

    Raises
    ------
    UnsupportedError
        If its compressor is configured as no encoder here knows.
    """
    given, name = encoding.configuration, encoding.compressor
    if name is None:
        return fsio.bytes_of
    level = given.get("clevel" if name == "blosc" else "level", _DEFAULT_LEVELS[name])
    if type(level) is not int:
        raise UnsupportedError(f"{path}: {name} of level {str(level)[:60]!r} is not known, so no chunk can be written")
    if name in ("gzip", "zlib"):
        return lambda chunk: _deflated(fsio.bytes_of(chunk), level, 31 if name == "gzip" else 15)
    if name == "zstd":
        from numcodecs import zstd

        checksum = given.get("checksum") is True
        return lambda chunk: zstd.compress(fsio.bytes_of(chunk), level, checksum)
    return _blosc_encoder(given, level, itemsize, path)


def _blosc_encoder(given: Mapping[str, Any], level: int, itemsize: int, path: str) -> Encoder:
    from numcodecs import blosc

    blosc.use_threads = False
    name, blocksize = given.get("cname", "lz4"), given.get("blocksize", 0)
    typesize = given.get("typesize", itemsize if itemsize <= 255 else 1)
    shuffle = given.get("shuffle", "auto")
    if not isinstance(shuffle, str):  # version 2 has numbers
        shuffle = {0: "noshuffle", 1: "shuffle", 2: "bitshuffle"}.get(shuffle, "auto")
    if shuffle == "auto":
        shuffle = "bitshuffle" if typesize == 1 else "shuffle"
    how = {"noshuffle": blosc.NOSHUFFLE, "shuffle": blosc.SHUFFLE, "bitshuffle": blosc.BITSHUFFLE}.get(shuffle)
    numbers = type(blocksize) is int and type(typesize) is int
    if name not in blosc.list_compressors() or how is None or not numbers:
        shown = str(dict(given))[:100]
        raise UnsupportedError(f"{path}: blosc configured as {shown} is not known, so no chunk can be written")
    cname = name.encode()
    return lambda chunk: blosc.compress(fsio.bytes_of(chunk), cname, level, how, blocksize, typesize)


def _deflated(chunk: Any, level: int, wbits: int) -> bytes:
    stream = zlib.compressobj(level, zlib.DEFLATED, wbits)
    return stream.compress(chunk) + stream.flush()


_DEFAULT_LEVELS = {"blosc": 5, "zstd": 3, "gzip": 6, "zlib": 1}
