"""WAV files: samples of 8 to 64 bits, one column a channel; RIFF, RIFX and, beyond 4 GiB, RF64.

A file is ``RIFF``, a size, ``WAVE`` and chunks of a name, a size and bytes, padded to an even number.
``fmt`` says what a sample is, ``data`` holds them. In RF64 (EBU Tech 3306) the sizes of 32 bits are
0xffffffff and ``ds64`` holds those of 64. Integers are as they are stored: 8 bits unsigned, 24 bits
from -2**23 to 2**23-1 as int32, 40 to 56 bits as int64.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from functools import partial as bind
from math import prod
from typing import Any

import numpy as np

from chunkarr import fsio
from chunkarr.errors import FormatError, OptionError, UnsupportedError
from chunkarr.formats import journal
from chunkarr.formats.contract import Target
from chunkarr.formats.file_stored import FileStored, check_access
from chunkarr.formats.flat import FlatTarget, check_shape
from chunkarr.formats.flat_stored import FlatStored
from chunkarr.formats.packed_layouts import stream
from chunkarr.formats.packed_stored import PackedStored, Placement
from chunkarr.formats.packed_target import PackedTarget
from chunkarr.grid import Shape

__all__ = ["create", "open"]

CHUNKS = 10_000  # at most before the data: each takes a read
UNKNOWN = 0xFFFFFFFF  # a size that is elsewhere, or that the writer did not live to write
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE


def open(path: str, mode: str = "r", *, partial: str = "error") -> FileStored:  # noqa: A001 - every format has an `open`
    """Open a WAV file.

    Parameters
    ----------
    path, mode
        The file; ``mode`` is "r".
    partial
        "error" or "drop": what becomes of a file that ends before its data do. With "drop" the whole frames
        that are there are the array, which is also how recordings that were cut off are read.

    Returns
    -------
    FileStored
        Of shape (frames,) or, with several channels, (frames, channels). Its ``rate`` is frames a second.

    Raises
    ------
    FormatError
        If the file is not a whole WAV file.
    UnsupportedError
        If its samples are compressed.

    Examples
    --------
    >>> import tempfile, chunkarr as ca
    >>> with tempfile.TemporaryDirectory() as d:
    ...     a = ca.save(d + "/x.wav", np.zeros((4, 2), "i2"), rate=8000)
    ...     print(a.shape, a.dtype, os.path.getsize(d + "/x.wav"))
    (4, 2) int16 60
    """
    access = check_access(path, mode, None, 0.0)
    if access.mode == "r+":
        raise UnsupportedError(f"{path}: WAV files cannot be changed in place; save a changed copy")
    if partial not in ("error", "drop"):
        raise OptionError(f'partial is "error" or "drop", not {partial!r}')
    return _open(path, drop=partial == "drop")


def _open(path: str, *, drop: bool) -> FileStored:
    def look(generation: tuple[int, int, int]) -> FileStored:
        sound = _read_header(path, generation[0], drop=drop)
        shape = (sound.frames, sound.channels) if sound.channels > 1 else (sound.frames,)
        stored: _WavStored | _WavPacked
        if sound.width in (1, 2, 4, 8):
            stored = _WavStored(
                path, shape, sound.dtype, format="wav", offset=sound.start, order="C", generation=generation
            )
        else:
            layout = stream(8 * sound.width, "little" if sound.order == "<" else "big")
            stored = _WavPacked(
                path,
                shape,
                Placement.of(shape, layout, 0, "twos", "C"),
                format="wav",
                offset=sound.start,
                order="C",
                generation=generation,
                again=bind(_open, path, drop=drop),
            )
        stored.rate, stored.drop = sound.rate, drop
        return stored

    return journal.read_stable(journal.resolve(path), look)


class _WavStored(FlatStored):
    """Samples of whole bytes that NumPy has a type for."""

    rate: int  # frames a second
    drop: bool

    def reopen(self) -> FileStored:
        """Open the array again, as it is now."""
        return _open(self.path, drop=self.drop)


class _WavPacked(PackedStored):
    """Samples of 3, 5, 6 or 7 bytes."""

    rate: int  # frames a second
    drop: bool


@dataclass(frozen=True)
class _Sound:
    """What a header says."""

    order: str  # "<" or ">"
    float: bool
    width: int  # bytes of a sample
    channels: int
    rate: int  # frames a second
    start: int  # byte of the first sample
    frames: int

    @property
    def dtype(self) -> np.dtype[Any]:
        kind = "f" if self.float else "u" if self.width == 1 else "i"
        return np.dtype(f"{self.order}{kind}{self.width}")


def _read_header(path: str, size: int, *, drop: bool) -> _Sound:
    fd = fsio.open_read(path)
    try:
        head = _bytes(fd, path, 0, 12, size)
        if head[:4] not in (b"RIFF", b"RIFX", b"RF64", b"BW64") or head[8:] != b"WAVE":
            raise FormatError(f"{path}: not a WAV file: begins with {head!r}")
        order = ">" if head[:4] == b"RIFX" else "<"
        large = head[:4] in (b"RF64", b"BW64")
        at, wide, shape = 12, None, None
        for _ in range(CHUNKS):
            name, nbytes = struct.unpack(f"{order}4sI", _bytes(fd, path, at, 8, size))
            at += 8
            if name == b"ds64" and large:
                wide = struct.unpack("<QQ", _bytes(fd, path, at, 16, size))[1]
            elif name == b"fmt ":
                shape = _parse_format(path, order, _bytes(fd, path, at, min(max(nbytes, 16), 40), size), nbytes)
            elif name == b"data":
                if shape is None:
                    raise FormatError(
                        f'{path}: the data at byte {at} come before the chunk "fmt " that says what they are'
                    )
                nbytes = wide if large and nbytes == UNKNOWN and wide is not None else nbytes
                return _Sound(order, *shape, at, _frames(path, nbytes, size - at, shape[1] * shape[2], drop=drop))
            at += nbytes + nbytes % 2
        raise FormatError(f"{path}: no data within the first {CHUNKS} chunks")
    finally:
        os.close(fd)


def _bytes(fd: int, path: str, at: int, count: int, size: int) -> bytes:
    if at + count > size:
        raise FormatError(f"{path}: ends at byte {size}, within its header: {count} B are expected at byte {at}")
    found = bytearray(count)
    fsio.read_into(fd, found, at, path)
    return bytes(found)


def _parse_format(path: str, order: str, chunk: bytes, nbytes: int) -> tuple[bool, int, int, int]:
    """Return whether samples are floating, their bytes, the channels and the rate."""
    tag, channels, rate, _, frame, bits = struct.unpack_from(f"{order}HHIIHH", chunk)
    if tag == EXTENSIBLE and nbytes >= 40:
        (tag,) = struct.unpack_from(f"{order}I", chunk, 24)  # the first part of a GUID
    if tag not in (PCM, FLOAT):
        raise UnsupportedError(f"{path}: samples are coded in format {tag:#x}; PCM (1) and IEEE floats (3) are read")
    if not channels or not bits or frame % channels:
        raise FormatError(f"{path}: {channels} channels of {bits} bits in frames of {frame} B cannot be")
    width = frame // channels
    known = (4, 8) if tag == FLOAT else range(1, 9)
    if width not in known or bits > 8 * width:
        raise UnsupportedError(f"{path}: samples of {bits} bits in {width} B; {', '.join(map(str, known))} B are read")
    return tag == FLOAT, width, channels, rate


def _frames(path: str, nbytes: int, have: int, frame: int, *, drop: bool) -> int:
    """Return the frames of the data."""
    frames, left = divmod(nbytes, frame)
    if nbytes <= have and not left:
        return frames
    if drop:
        return min(nbytes, have) // frame
    if nbytes > have:
        raise FormatError(
            f'{path}: header says {nbytes} B of data, the file has {have} B; pass partial="drop" for what is there'
        )
    raise FormatError(f'{path}: {nbytes} B of data are {frames} frames of {frame} B and {left} B; pass partial="drop"')


def create(
    path: str,
    shape: Shape,
    dtype: Any,
    *,
    rate: Any = 44100,
    bits: Any = None,
    overwrite: bool = False,
    durability: fsio.Durability = "full",
    adopt: tuple[str, int] | None = None,
) -> Target:
    """Create a WAV file that appears on ``commit``; RF64 where its size needs more than 32 bits.

    Parameters
    ----------
    path, shape, dtype
        The file and what it will hold: (frames,) or (frames, channels) of uint8, int16, int32, int64, float32 or
        float64; with ``bits`` any integers.
    rate
        Frames a second.
    bits
        8 (unsigned), 16, 24 or 32, for integers; by default those of ``dtype``.
    overwrite
        Whether a file of that name may be replaced.
    durability
        "full": on the disk when ``commit`` returns; "process": safe against kill, not power loss.
    adopt
        An unfinished sibling of the same file and its lock, to go on with instead of a new one.

    Raises
    ------
    TargetExistsError
        If the file exists and ``overwrite`` is False.
    UnsupportedError
        If a WAV file cannot hold such an array.
    """
    path, kind = os.fspath(path), np.dtype(dtype)
    whole = check_shape(path, shape, kind, OptionError)
    channels = whole[1] if len(whole) == 2 else 1
    if len(whole) not in (1, 2) or not 1 <= channels <= 0xFFFF:
        raise UnsupportedError(
            f"{path}: a WAV file holds (frames,) or (frames, 1 to 65535 channels), not shape {whole}"
        )
    if isinstance(rate, bool) or not isinstance(rate, int | np.integer) or not 1 <= rate < 1 << 32:
        raise OptionError(f"rate is the number of frames a second, 1 to 2**32-1, not {rate!r}")
    bits = _bits(path, kind, bits)
    if channels * bits > 8 * 0xFFFF:
        raise UnsupportedError(f"{path}: a frame of {channels} samples of {bits} bits is more than 65535 B")
    size = prod(whole) * bits // 8
    header = _header(size, floats=kind.kind == "f", bits=bits, channels=channels, rate=int(rate))
    if kind.kind == "f" or bits == 64:
        return FlatTarget(
            path, whole, kind, header=header, order="C", overwrite=overwrite, durability=durability, adopt=adopt
        )
    place = Placement.of(whole, stream(bits, "little"), 0, "no" if bits == 8 else "twos", "C")
    return PackedTarget(
        path, whole, kind, place, header=header, tail=size % 2, order="C", overwrite=overwrite,
        durability=durability, adopt=adopt,
    )  # fmt: skip


def _bits(path: str, kind: np.dtype[Any], bits: Any) -> int:
    """Return the bits of a sample in the file."""
    own = {"u1": 8, "i2": 16, "i4": 32, "i8": 64, "f4": 32, "f8": 64}.get(f"{kind.kind}{kind.itemsize}")
    if bits is not None:
        if kind.kind not in "biu" or isinstance(bits, bool) or bits not in (8, 16, 24, 32):
            raise OptionError(f"{path}: bits is 8, 16, 24 or 32, for integers, not {bits!r} for dtype {kind}")
        return int(bits)
    if own is None:
        raise UnsupportedError(
            f"{path}: a WAV file has no samples of dtype {kind}; give bits=8, 16, 24 or 32 for integers, or use "
            "astype for int16, int32, float32 ..."
        )
    if (kind.kind == "f" or own == 64) and kind != kind.newbyteorder("<"):
        raise UnsupportedError(
            f"{path}: samples of dtype {kind} are big-endian; use astype({kind.newbyteorder('<').str!r})"
        )
    return own


def _header(size: int, *, floats: bool, bits: int, channels: int, rate: int) -> bytes:
    """Return what comes before ``size`` bytes of samples."""
    frame = channels * bits // 8
    form = struct.pack("<HHIIHH", FLOAT if floats else PCM, channels, rate, min(rate * frame, UNKNOWN), frame, bits)
    chunks = b"fmt " + struct.pack("<I", len(form)) + form
    if floats:
        form += b"\0\0"
        frames = min(size // frame, UNKNOWN)
        chunks = b"fmt " + struct.pack("<I", len(form)) + form + b"fact" + struct.pack("<II", 4, frames)
    total = 4 + len(chunks) + 8 + size + size % 2
    if total < UNKNOWN:
        return b"RIFF" + struct.pack("<I", total) + b"WAVE" + chunks + b"data" + struct.pack("<I", size)
    sizes = b"ds64" + struct.pack("<IQQQI", 28, total + 36, size, size // frame, 0)
    unknown = struct.pack("<I", UNKNOWN)
    return b"RF64" + unknown + b"WAVE" + sizes + chunks + b"data" + unknown
