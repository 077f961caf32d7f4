"""Variables of MATLAB files as arrays: numbers are stored as other types than they are, and column by column.

MATLAB stores whole numbers in the smallest integer type that holds them, logicals as bytes, the real and the
imaginary parts of complex numbers one after another, text as code units. So values are read by pieces of
their stored type, into scratch, and converted from there; where nothing needs converting they go straight
to where they are wanted. Compressed variables are read through `Inflated`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import numpy as np

from chunkarr.errors import CorruptChunkError
from chunkarr.formats.file_stored import READ, Access, FileStored
from chunkarr.formats.flat import check_block
from chunkarr.formats.inflating import Inflated, forward_grid
from chunkarr.formats.mat_text import decode_units, units_of_utf8
from chunkarr.formats.runs import Descriptor, bytes_moved, read_block, staging
from chunkarr.grid import Grid, Region, Shape, region_shape, region_size, region_slices

__all__ = ["Block", "Layout", "MatStored", "cut"]

Array = np.ndarray[Any, Any]
PIECE = 512 << 10  # bytes converted at once: they and what they become fit the second-level cache


@dataclass(frozen=True, slots=True)
class Block:
    """Numbers one after another, the first axis varying fastest."""

    offset: int  # of the first one, in the file or in what the stream decodes to
    dtype: np.dtype[Any]  # as stored


@dataclass(frozen=True)
class Layout:
    """What is needed to read a variable."""

    path: str
    member: str
    generation: tuple[int, int, int]
    shape: Shape  # as the user sees it
    dtype: np.dtype[Any]
    dims: Shape  # as stored: may have axes of length 1 before those of the user; text has its characters as last axis
    blocks: tuple[Block, ...]  # of real, or real and imaginary parts
    how: Literal["numbers", "text", "ascii", "utf8", "blank"] = "numbers"  # blank: text without stored characters
    stream: Inflated | None = None  # where the numbers are, if not in the file as they are
    nbytes: int = 0  # of text in UTF-8, which is decoded as a whole


def cut(region: Region, most: int) -> Iterator[Region]:
    """Cut ``region`` in pieces of at most ``most`` elements that follow each other, the first axis varying fastest.

    >>> list(cut(((0, 2), (0, 3)), 4))
    [((0, 2), (0, 2)), ((0, 2), (2, 3))]
    """
    pending = [region]
    while pending:
        part = pending.pop()
        extents = region_shape(part)
        if prod(extents) <= most or max(extents, default=1) == 1:
            yield part
            continue
        axis = max(k for k, n in enumerate(extents) if n > 1)
        a, b = part[axis]
        step = max(1, most // max(1, prod(extents[:axis])))
        cuts = [(start, min(start + step, b)) for start in range(a, b, step)] if step > 1 else []
        cuts = cuts or [(a, (a + b) // 2), ((a + b) // 2, b)]
        pending.extend((*part[:axis], one, *part[axis + 1 :]) for one in reversed(cuts))


class MatStored(FileStored):
    """An array of a MATLAB file of version 4 to 7."""

    format = "mat"
    order = "F"

    def __init__(self, layout: Layout, reopen: Callable[[Layout, Access], FileStored], access: Access = READ) -> None:
        self._found(layout.path, layout.generation, access)
        self.layout, self._reopen = layout, reopen
        self.shape, self.dtype = layout.shape, layout.dtype
        self.contiguous = layout.stream is None
        self.source = layout.stream or Descriptor(layout.path, writable=False)
        item = layout.blocks[0].dtype.itemsize if layout.blocks else 1
        self.grid = Grid(self.shape, self.shape) if self.contiguous else forward_grid(self.shape, item, "F")
        self.forward = not self.contiguous
        self.writable = self._checked = False

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.layout, self._reopen, self.access)

    def __repr__(self) -> str:
        return f"<MatStored {self.path}::{self.layout.member} {self.shape} {self.dtype}>"

    def reopen(self) -> FileStored:
        """Open the variable again, as it is now."""
        return self._reopen(self.layout, self.access)

    def checked_by(self) -> str:
        """Return what tells `problems` that stored bytes changed."""
        return "" if self.contiguous else "the adler32 of the variable"

    def read(self, region: Region, out: Array, scratch: Array) -> None:
        """Fill ``out`` with ``region``; see `Stored.read`."""
        check_block(region, out, self.dtype)
        if not out.size:
            return
        try:
            if isinstance(self.source, Descriptor):
                self.source.get(self.found)
            if self.layout.how == "numbers":
                self._read_numbers(self._stored(region), out[(None,) * self._lead], scratch)
            elif self.layout.how == "blank":
                out[...] = " " * self.layout.dims[-1]
            elif self.layout.how == "utf8":
                self._read_utf8(region, out)
            else:
                self._read_text(region, out, scratch)
            self._check_end(region)
        except CorruptChunkError:  # cut short, perhaps by a writer
            self.check_generation()
            raise
        self.check_generation()

    def _check_end(self, region: Region) -> None:
        """Once, when the last element was read: let the stream's checksum tell whether all was as it was written."""
        stream = self.layout.stream
        if stream is None or self._checked or not all(b == n for (_, b), n in zip(region, self.shape, strict=True)):
            return
        assert stream.size is not None
        stream.read_into(bytearray(1), stream.size - 1)
        self._checked = True

    @property
    def _lead(self) -> int:
        """How many axes of length 1 are stored before those of the user."""
        return len(self.layout.dims) - len(self.shape) - (self.layout.how != "numbers")

    def _stored(self, region: Region) -> Region:
        """Return ``region`` with all axes that are stored."""
        text = self.layout.how != "numbers"
        return (*((0, 1),) * self._lead, *region, *(((0, self.layout.dims[-1]),) if text else ()))

    def _read_numbers(self, region: Region, out: Array, scratch: Array) -> None:
        parts = (out.real, out.imag) if len(self.layout.blocks) == 2 else (out,)
        for block, part in zip(self.layout.blocks, parts, strict=True):
            if block.dtype == part.dtype:
                self._read_block(block, region, part, scratch)
                continue
            for piece in cut(region, PIECE // block.dtype.itemsize):
                values, rest = _room(region_shape(piece), block.dtype, scratch)
                self._read_block(block, piece, values, rest)
                target = part[region_slices(piece, region)]
                if target.dtype == bool:
                    np.not_equal(values, 0, out=target)
                else:
                    with np.errstate(all="ignore"):  # what MATLAB would not have written
                        np.copyto(target, values, casting="unsafe")

    def _read_block(self, block: Block, region: Region, out: Array, scratch: Array) -> None:
        dims = self.layout.dims
        read_block(self.source, block.offset, dims[::-1], region[::-1], out=out.T, scratch=scratch)

    def _read_text(self, region: Region, out: Array, scratch: Array) -> None:
        (block,) = self.layout.blocks
        length = self.layout.dims[-1]
        for piece in cut(region, max(1, PIECE // (4 * length))):
            stored = self._stored(piece)
            values, rest = _room(region_shape(stored), block.dtype, scratch)
            self._read_block(block, stored, values, rest)
            if self.layout.how == "ascii":
                values = np.where(values < 128, values, np.uint16(0xFFFD))
            out[region_slices(piece, region)] = decode_units(values)[(0,) * self._lead]

    def _read_utf8(self, region: Region, out: Array) -> None:
        raw = bytearray(self.layout.nbytes)
        self.source.read_into(raw, self.layout.blocks[0].offset)
        dims = self.layout.dims
        units = units_of_utf8(bytes(raw), prod(dims))
        if units is None:
            raise CorruptChunkError(
                f"{self.path}::{self.layout.member}: its text of {len(raw)} B has not the {prod(dims)} characters "
                f"that its dimensions {dims} need"
            )
        values = units.reshape(dims, order="F")[region_slices(self._stored(region))]
        out[...] = decode_units(values)[(0,) * self._lead]

    def scratch_bytes(self, region: Region) -> int:
        """Return the bytes of a piece as it is stored, and of what it becomes; see `Stored.scratch_bytes`."""
        if not region_size(region) or not self.layout.blocks:
            return 0
        stored = self._stored(region)
        moved = max(staging(self.layout.dims[::-1], stored[::-1], b.dtype.itemsize) for b in self.layout.blocks)
        if self.layout.how == "numbers":
            kinds = (self.dtype,) if len(self.layout.blocks) == 1 else (np.empty(0, self.dtype).real.dtype,) * 2
            if all(b.dtype == kind for b, kind in zip(self.layout.blocks, kinds, strict=True)):
                return moved
            return moved + min(PIECE, region_size(region) * max(b.dtype.itemsize for b in self.layout.blocks)) + 8
        if self.layout.how == "utf8":
            return self.layout.nbytes + 16 * prod(self.layout.dims)
        # decode_units makes UCS-4 of the units, twice where there are surrogates, which count here too.
        return moved + 16 * min(region_size(stored), max(PIECE // 4, self.layout.dims[-1]))

    def bytes_read(self, region: Region) -> int:
        """Return the bytes read for ``region``: where the variable is compressed, those of whole boxes."""
        if not region_size(region):
            return 0
        stored = self._stored(region if self.contiguous else self.grid.round_out(region))
        if self.contiguous:
            dims, axes = self.layout.dims[::-1], stored[::-1]
            return sum(bytes_moved(dims, axes, block.dtype.itemsize) for block in self.layout.blocks)
        return region_size(stored) * sum(block.dtype.itemsize for block in self.layout.blocks)


def _room(shape: Shape, dtype: np.dtype[Any], scratch: Array) -> tuple[Array, Array]:
    """Return an array at the beginning of ``scratch``, the first axis varying fastest, and what is left."""
    nbytes = -(-prod(shape) * dtype.itemsize // 8) * 8
    return np.ndarray(shape, dtype, scratch, order="F"), scratch[nbytes:]
