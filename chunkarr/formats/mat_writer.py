"""New MATLAB files of one variable: version 6 (as it is) and 7 (compressed).

A file holds a header and one element. Version 6 is written like an npy file, anywhere at any time. Version 7 is
a zlib stream: its boxes are deflated by themselves, each closed with a full flush, so that they follow
each other as one stream, and Adler checksums of the boxes make that of the whole.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from chunkarr import fsio
from chunkarr.errors import OptionError, UnsupportedError
from chunkarr.formats.flat import FlatTarget, check_block
from chunkarr.formats.mat_tags import COMPRESSED, INT8, INT32, MATRIX, UINT32, UTF16, Words, padded
from chunkarr.formats.ordered import OrderedTarget, Part, ordered_grid
from chunkarr.formats.runs import staging, write_block
from chunkarr.grid import Grid, Region, Shape, region_size

__all__ = [
    "CLASSES",
    "LIMIT",
    "FlatMatTarget",
    "OrderedMatTarget",
    "axes_of",
    "check_kind",
    "check_name",
    "note",
    "restored",
    "stored_dims",
    "units_of",
]

Array = np.ndarray[Any, Any]
LIMIT = (1 << 31) - 1  # bytes of a variable that MATLAB reads from files before 7.3
NOTE = "MAT-file, written by chunkarr"
AXES = ", axes: "  # and how many the array had, where MATLAB has at least two
CLASSES = {"f8": 6, "f4": 7, "i1": 8, "u1": 9, "i2": 10, "u2": 11, "i4": 12, "u4": 13, "i8": 14, "u8": 15}
TYPES = {"i1": 1, "u1": 2, "i2": 3, "u2": 4, "i4": 5, "u4": 6, "f4": 7, "f8": 9, "i8": 12, "u8": 13}
CHAR, COMPLEX, LOGICAL = 4, 0x800, 0x200
ADLER = 65521  # the largest prime below 2**16


def check_name(path: str, member: str) -> str:
    """Return the name of a variable if MATLAB takes it."""
    if not re.fullmatch(r"[A-Za-z]\w{0,62}", member, re.ASCII):
        raise OptionError(f"{path}: a variable has a name of up to 63 letters, digits and _, unlike {member!r}")
    return member


def check_kind(path: str, dtype: np.dtype[Any]) -> str:
    """Return the code of the numbers that values of ``dtype`` are stored as.

    Raises
    ------
    UnsupportedError
        If MATLAB has no class for it.
    """
    code = {"b1": "u1", "c8": "f4", "c16": "f8"}.get(dtype.str[1:], dtype.str[1:])
    if dtype.kind == "U" and dtype.itemsize:
        return "u2"
    if dtype.names is not None or code not in CLASSES:
        raise UnsupportedError(f"{path}: MATLAB has no class for the dtype {dtype}; convert it first, with astype")
    return code


def stored_dims(shape: Shape, dtype: np.dtype[Any]) -> Shape:
    """Return the dimensions that MATLAB gives an array: at least two, the characters of text the last one.

    >>> stored_dims((5,), np.dtype("f8")), stored_dims((5,), np.dtype("U3"))
    ((1, 5), (5, 3))
    """
    dims = (*shape, dtype.itemsize // 4) if dtype.kind == "U" else shape
    return (1,) * (2 - len(dims)) + dims


def note(version: str, shape: Shape, dtype: np.dtype[Any]) -> bytes:
    """Return the text that a file begins with, 116 bytes."""
    more = len(stored_dims(shape, dtype)) - (dtype.kind == "U") > len(shape)
    return f"MATLAB {version} {NOTE}{f'{AXES}{len(shape)}' if more else ''}".encode().ljust(116)


def axes_of(header: bytes) -> int | None:
    """Return how many axes an array had that chunkarr wrote with less than MATLAB's two."""
    found = re.search(re.escape(NOTE + AXES).encode() + rb"([01])\b", header[:116])
    return None if found is None else int(found[1])


def restored(shape: Shape, axes: int | None) -> Shape:
    """Return ``shape`` without the axes that MATLAB has more than the array that chunkarr wrote.

    >>> restored((1, 5), 1), restored((1, 5), None)
    ((5,), (1, 5))
    """
    more = 0 if axes is None else len(shape) - axes
    return shape[more:] if more > 0 and all(n == 1 for n in shape[:more]) else shape


def _element(words: Words, kind: int, data: bytes) -> bytes:
    return struct.pack(words + "II", kind, len(data)) + data.ljust(padded(len(data)), b"\0")


class _Frame:
    """What is written around the numbers of a variable.

    Parameters
    ----------
    path, member, shape, dtype
        The variable.
    """

    def __init__(self, path: str, member: str, shape: Shape, dtype: np.dtype[Any]) -> None:
        self.code = check_kind(path, dtype)
        self.words: Words = ">" if dtype.str[0] == ">" else "<"
        self.stored = np.dtype(self.words + self.code)
        dims = stored_dims(shape, dtype)
        self.dims, self.parts = dims, 2 if dtype.kind == "c" else 1
        self.nbytes = prod(dims) * self.stored.itemsize  # of each part
        kind = CHAR if dtype.kind == "U" else CLASSES[self.code]
        flags = kind | (COMPLEX if self.parts == 2 else 0) | (LOGICAL if dtype.kind == "b" else 0)
        before = (
            _element(self.words, UINT32, struct.pack(self.words + "II", flags, 0))
            + _element(self.words, INT32, struct.pack(f"{self.words}{len(dims)}i", *(min(n, LIMIT) for n in dims)))
            + _element(self.words, INT8, member.encode())
        )
        total = len(before) + self.parts * (8 + padded(self.nbytes))
        if total > LIMIT or max(dims) > LIMIT:
            raise UnsupportedError(
                f"{path}: a variable of {total} B is more than the {LIMIT} B that versions before 7.3 hold; "
                'use version="7.3"'
            )
        stored = UTF16 if kind == CHAR else TYPES[self.code]
        self.tag = struct.pack(self.words + "II", stored, self.nbytes)  # before each part
        self.padding = bytes(padded(self.nbytes) - self.nbytes)  # after it
        self.matrix = struct.pack(self.words + "II", MATRIX, total) + before + self.tag
        mark = b"\x00\x01IM" if self.words == "<" else b"\x01\x00MI"
        self.header = note("5.0", shape, dtype) + bytes(8) + mark

    def tail(self) -> int:
        """Return how many bytes beside the numbers come after the first of them."""
        return self.parts * len(self.padding) + (self.parts - 1) * len(self.tag)


def units_of(path: str, block: Array, dtype: np.dtype[Any]) -> Array:
    """Return the UTF-16 units of text, shape ``(*block.shape, length)``."""
    codes = np.ascontiguousarray(block).reshape(*block.shape, 1).view(block.dtype.str[0] + "u4")
    odd = (codes > 0xFFFF) | ((codes >= 0xD800) & (codes < 0xE000))
    if odd.any():
        raise UnsupportedError(f"{path}: {chr(codes[odd][0])!a} does not fit one of MATLAB's characters of 16 bits")
    units: Array = codes.astype(dtype)
    return units


class FlatMatTarget(FlatTarget):
    """A new file of version 6."""

    def __init__(
        self,
        path: str,
        member: str,
        shape: Shape,
        dtype: np.dtype[Any],
        *,
        overwrite: bool,
        durability: fsio.Durability,
    ) -> None:
        self.frame = frame = _Frame(path, member, shape, dtype)
        text = dtype.kind == "U"
        super().__init__(
            path, frame.dims if text else shape, frame.stored if text else dtype, header=frame.header + frame.matrix,
            order="F", overwrite=overwrite, durability=durability, tail=frame.tail(),
        )  # fmt: skip
        self.shape, self.dtype = shape, dtype
        self.grid = Grid(shape, (1,) * len(shape))
        self._second = self.offset + len(frame.padding) + frame.nbytes + len(frame.tag)
        if frame.parts == 2:
            try:
                fsio.write_at(self._file.get(), frame.tag, self._second - len(frame.tag), self.part)
            except BaseException:
                self.abort()
                raise

    def write(self, region: Region, block: Array, scratch: Array) -> None:
        """Write ``block`` at ``region``; see `Target.write`."""
        if self.dtype.kind == "U":
            check_block(region, block, self.dtype)
            units = units_of(self.path, block, self.frame.stored)
            dims = self.frame.dims
            axes = (*region, (0, dims[-1]))
            axes, units = ((0, 1),) * (len(dims) - len(axes)) + axes, units[(None,) * (len(dims) - len(axes))]
            write_block(self._file, self.offset, dims[::-1], axes[::-1], block=units.T, scratch=scratch)
        elif self.frame.parts == 1:
            super().write(region, block, scratch)
        else:
            check_block(region, block, self.dtype)
            for place, part in ((self.offset, block.real), (self._second, block.imag)):
                write_block(self._file, place, self.shape[::-1], region[::-1], block=part.T, scratch=scratch)

    def scratch_bytes(self, region: Region) -> int:
        """Return the bytes of scratch that writing ``region`` may take; see `Target.scratch_bytes`."""
        if self.dtype.kind != "U":
            return super().scratch_bytes(region)
        dims = self.frame.dims
        axes = ((0, 1),) * (len(dims) - len(region) - 1) + (*region, (0, dims[-1]))
        return staging(dims[::-1], axes[::-1], 2) + 3 * region_size(region) * self.dtype.itemsize


class OrderedMatTarget(OrderedTarget):
    """A new file of version 7.

    Parameters
    ----------
    path, member, shape, dtype
        The file and its variable.
    level
        Of compression, 0 to 9.
    overwrite, durability
        As in `journal.publish`.
    """

    def __init__(
        self,
        path: str,
        member: str,
        shape: Shape,
        dtype: np.dtype[Any],
        *,
        level: int,
        overwrite: bool,
        durability: fsio.Durability,
    ) -> None:
        self.frame, self.level = _Frame(path, member, shape, dtype), level
        super().__init__(
            path, shape, dtype, grid=ordered_grid(shape, dtype.itemsize, "F"), order="F", overwrite=overwrite,
            durability=durability,
        )  # fmt: skip

    def _deflated(self, data: Any) -> bytes:
        """Return a piece of the stream, and of no use without those before and after it."""
        encoder = zlib.compressobj(self.level, wbits=-15)
        return encoder.compress(data) + encoder.flush(zlib.Z_FULL_FLUSH)

    def head(self, parts: Sequence[Part]) -> bytes:
        """Return the header, the tag of the stream, and its beginning."""
        stream = b"\x78\x9c" + self._deflated(self.frame.matrix)
        length = len(stream) + sum(part.length for part in parts) + len(self.tail(parts))
        if length > (1 << 32) - 1:
            raise UnsupportedError(f'{self.path}: its values, compressed, are {length} B; use version="7.3"')
        return self.frame.header + struct.pack(self.frame.words + "II", COMPRESSED, length) + stream

    def tail(self, parts: Sequence[Part]) -> bytes:
        """Return what pads the values, the end of the stream, and its checksum."""
        frame, check = self.frame, (zlib.adler32(self.frame.matrix), len(self.frame.matrix))
        for part in parts:
            check = _joined(check, part.note)
        rest = frame.padding
        if not parts and frame.parts == 2:
            rest = frame.tag  # of an empty array
        check = _joined(check, (zlib.adler32(rest), len(rest)))
        return self._deflated(rest) + b"\x03\x00" + struct.pack(">I", check[0])

    def encode(self, block: Array, box: Region) -> tuple[Any, Any]:
        """Return a box deflated, and checksum and length of what it was."""
        del box
        data = block.tobytes("F")
        return self._deflated(data), (zlib.adler32(data), len(data))

    def encoded_bytes(self, box: Region) -> int:
        """Return the bytes that `encode` of ``box`` holds at most: values, and what they are deflated to."""
        nbytes = region_size(box) * self.dtype.itemsize
        return 3 * nbytes + (nbytes >> 8) + (512 << 10)

    def pieces(self) -> int:
        """Return how many pieces the file has: one for each part of each box."""
        return self.grid.size * self.frame.parts

    def put(self, number: int, block: Array, box: Region) -> None:
        """Write box ``number``; all imaginary parts come after all real ones."""
        if self.frame.parts == 1:
            super().put(number, block, box)
            return
        count = self.grid.size
        self._boxes.put(number, *self.encode(block.real, box))
        data = block.imag.tobytes("F")
        if not number:
            data = self.frame.padding + self.frame.tag + data
        self._boxes.put(count + number, self._deflated(data), (zlib.adler32(data), len(data)))


def _joined(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    """Return the Adler checksum and the length of what two pieces, of which they are known, are together.

    >>> _joined((zlib.adler32(b"chunk"), 5), (zlib.adler32(b"arr"), 3)) == (zlib.adler32(b"chunkarr"), 8)
    True
    """
    (first, before), (second, length) = one, other
    low, high = first & 0xFFFF, first >> 16
    low_sum = (low + (second & 0xFFFF) - 1) % ADLER
    high_sum = (high + (second >> 16) + length * (low - 1)) % ADLER
    return high_sum << 16 | low_sum, before + length
