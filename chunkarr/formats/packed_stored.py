"""Packed integers in a file, read by region; and where an element's bits lie.

Which bytes hold an element is known from its index, so a region costs its own bytes, rounded out to
whole groups of samples. There are two cases. Rows that begin with a byte of their own (padded ones,
and rows of whole groups) are read box by box. In one stream through all axes a row may begin within
a byte: it is read run by run, or whole spans of short runs at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from chunkarr.errors import CorruptChunkError
from chunkarr.formats.file_stored import READ, Access, FileStored
from chunkarr.formats.flat import Order, check_block
from chunkarr.formats.packed_codec import GUARD, carve, decode, decode_work
from chunkarr.formats.packed_layouts import Layout
from chunkarr.formats.runs import Descriptor, read_block, staging
from chunkarr.grid import Grid, Region, Shape, region_key, region_shape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["PIECE", "PackedStored", "Placement", "Signed"]

Array = np.ndarray[Any, Any]
Signed = Literal["no", "twos", "offset"]  # how negative numbers are said: not, two's complement, offset binary

PIECE = 1 << 16  # samples decoded at once: in the second-level cache, and calls cost little beside it
CALL = 2e-5  # seconds to read and decode one run from Python
SAMPLE = 1e-9  # seconds to decode one sample


@dataclass(frozen=True)
class Placement:
    """Where the samples of an array lie, the last axis fastest."""

    shape: Shape  # of the array in the order of the file, at least one axis
    layout: Layout
    stride: int  # bytes from row to row; 0: rows follow each other without gaps
    signed: Signed = "no"

    @classmethod
    def of(cls, shape: Shape, layout: Layout, stride: int, signed: Signed, order: Order) -> Placement:
        """Return the placement of an array of ``shape``; a stride of 0 is replaced where rows are whole groups."""
        shape = (shape[::-1] if order == "F" else shape) or (1,)
        if not stride and (shape[-1] % layout.samples == 0 or prod(shape[:-1]) <= 1):
            stride = layout.span(shape[-1])
        return cls(shape, layout, stride, signed)

    @property
    def apart(self) -> bool:
        """Whether every row begins with a byte of its own, so that they can be read and written box by box."""
        return bool(self.stride)

    @property
    def bytes_shape(self) -> Shape:
        """Bytes per axis: rows of ``stride``, or one stream."""
        return (*self.shape[:-1], self.stride) if self.apart else (self.layout.span(prod(self.shape)),)

    @cached_property
    def line(self) -> Placement:
        """The same samples as one axis."""
        size = prod(self.shape)
        return Placement((size,), self.layout, max(1, self.layout.span(size)), self.signed)

    def pieces(self, region: Region) -> Iterator[Region]:
        """Cut ``region`` of rows that lie apart into boxes of about `PIECE` samples, at whole groups."""
        *outer, (p, q) = region
        samples, wide, rows = self.layout.samples, q - p, self.rows(region)
        steps = [1] * len(outer)
        for axis in range(len(outer) - 1, -1, -1):
            steps[axis] = max(1, min(outer[axis][1] - outer[axis][0], rows))
            rows //= steps[axis]
            if steps[axis] < outer[axis][1] - outer[axis][0]:
                break
        first = 0
        if self.inner(region) < -(-q // samples) - p // samples:
            wide, first = self.inner(region) * samples, -p % samples
        for box in Grid(region_shape(region), (*steps, wide), (*(0 for _ in outer), first)):
            yield tuple((a + start, b + start) for (a, b), (start, _) in zip(box, region, strict=True))

    def inner(self, region: Region) -> int:
        """Return the groups of a row that a piece of ``region`` takes at most."""
        p, q = region[-1]
        return min(-(-q // self.layout.samples) - p // self.layout.samples, max(1, PIECE // self.layout.samples))

    def rows(self, region: Region) -> int:
        """Return the rows that a piece of ``region`` takes at most."""
        room = PIECE // (self.layout.samples * max(1, self.inner(region)))
        return max(1, min(prod(b - a for a, b in region[:-1]), room))

    def groups(self, region: Region) -> int:
        """Return the groups that a piece of ``region`` has at most."""
        return self.inner(region) * self.rows(region)

    def in_bytes(self, region: Region) -> tuple[Region, int]:
        """Return the bytes that hold ``region`` of rows that lie apart, and the groups of each row that it touches."""
        p, q = region[-1]
        first, last = p // self.layout.samples, -(-q // self.layout.samples)
        stop = self.layout.span(min(last * self.layout.samples, self.shape[-1]))
        return (*region[:-1], (first * self.layout.nbytes, stop)), last - first


def span_of(shape: Shape, region: Region) -> tuple[int, int]:
    """Return the first element of ``region`` of a C-ordered array, and the one behind its last.

    >>> span_of((4, 10), ((1, 3), (2, 5)))
    (12, 25)
    """
    first = last = 0
    for n, (a, b) in zip(shape, region, strict=True):
        first, last = first * n + a, last * n + b - 1
    return first, last + 1


def strides_of(shape: Shape) -> Shape:
    """Return the elements from one index to the next along each axis of a C-ordered array.

    >>> strides_of((4, 10))
    (10, 1)
    """
    return tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))


def extend_sign(samples: Array, bits: int, signed: Signed) -> None:
    """Turn unsigned samples of ``bits`` bits into signed ones of their whole width, in place."""
    if signed == "offset":
        np.bitwise_xor(samples, samples.dtype.type(1 << (bits - 1)), out=samples)
    spare = 8 * samples.itemsize - bits
    if signed != "no" and spare:
        values = samples.view(f"i{samples.itemsize}")
        np.left_shift(values, values.dtype.type(spare), out=values)
        np.right_shift(values, values.dtype.type(spare), out=values)


class PackedStored(FileStored):
    """An array of packed integers at an offset in a file.

    Parameters
    ----------
    path, format
        The file, and the name of its format's row.
    shape, order
        Of the array; ``order`` "F": the first axis varies fastest.
    place
        Where its samples lie.
    offset
        Bytes before the first.
    generation, access
        What `file_generation` said when the file was found good, and what it was opened for.
    again
        Opens the array as it is now; can be pickled.
    """

    contiguous = True

    def __init__(
        self,
        path: str,
        shape: Shape,
        place: Placement,
        *,
        format: str,  # noqa: A002 - the contract's word
        offset: int,
        order: Order,
        generation: tuple[int, int, int],
        again: Callable[[], FileStored],
        access: Access = READ,
    ) -> None:
        self._found(path, generation, access)
        self.format, self.shape, self.order, self.offset = format, shape, order, offset
        self.dtype = place.layout.dtype(place.signed != "no")
        self.grid = Grid(shape, shape)
        self.place, self.meaning = place, f"{place.layout.name} {place.signed} {place.stride}"
        self.source = Descriptor(path, writable=False)
        self._again = again

    def reopen(self) -> FileStored:
        """Open the array again, as it is now."""
        return self._again()

    def _in_file(self, region: Region) -> Region:
        """Return ``region`` in the order of the file."""
        return (region[::-1] if self.order == "F" else region) or ((0, 1),)

    def scratch_bytes(self, region: Region) -> int:
        """Return the bytes of scratch that reading ``region`` may take; see `Stored.scratch_bytes`."""
        region = self._in_file(region)
        if not all(a < b for a, b in region):
            return 0
        if self.place.apart:
            return _scratch(self.place, region)
        span = span_of(self.place.shape, region)
        return _scratch(self.place.line, (span,)) + min(span[1] - span[0], PIECE) * self.dtype.itemsize + 16

    def bytes_read(self, region: Region) -> int:
        """Return the decoded bytes of ``region``: no others are read, but for less than a group at its ends."""
        return prod(region_shape(region)) * self.dtype.itemsize

    def read(self, region: Region, out: Array, scratch: Array) -> None:
        """Fill ``out`` with ``region``; see `Stored.read`."""
        check_block(region, out, self.dtype)
        if out.size:
            target = out.T if self.order == "F" else out
            try:
                self.source.get(self.found)
                if self.place.apart:
                    _read_apart(
                        self, self.place, self._in_file(region), target[None] if not out.ndim else target, scratch
                    )
                else:
                    _read_stream(self, self._in_file(region), target, scratch)
            except CorruptChunkError:  # cut short, perhaps by a writer
                self.check_generation()
                raise
        self.check_generation()


def _scratch(place: Placement, region: Region) -> int:
    """Return the bytes that reading ``region`` of rows that lie apart takes."""
    groups = place.groups(region)
    item = place.layout.dtype(signed=False).itemsize
    held = groups * (place.layout.nbytes + place.layout.samples * item) + GUARD + 48
    return held + decode_work(groups) + staging(place.bytes_shape, place.in_bytes(region)[0], 1)


def _read_apart(stored: PackedStored, place: Placement, region: Region, out: Array, scratch: Array) -> None:
    """Fill ``out`` with ``region`` of rows that lie apart, box by box."""
    layout, most = place.layout, place.groups(region)
    plain = layout.dtype(signed=False)
    packed, rest = carve(scratch, np.uint8, most * layout.nbytes + GUARD)
    values, rest = carve(rest, plain, most * layout.samples)
    work, staged = carve(rest, np.uint8, decode_work(most))
    origin = tuple((a, a) for a, _ in region)
    for box in place.pieces(region):
        inside, per_row = place.in_bytes(box)
        outer = region_shape(box[:-1])
        groups = per_row * prod(outer)
        rows = packed[: groups * layout.nbytes].reshape(*outer, per_row * layout.nbytes)
        rows = rows[..., : inside[-1][1] - inside[-1][0]]
        read_block(stored.source, stored.offset, place.bytes_shape, inside, out=rows, scratch=staged)
        target = out[region_key(box, origin)]
        begin = box[-1][0] % layout.samples
        if target.size == groups * layout.samples and target.flags.c_contiguous:
            samples = target.reshape(-1).view(plain)
            decode(layout, packed, groups, samples, work)
            extend_sign(samples, layout.bits, place.signed)
            continue
        samples = values[: groups * layout.samples]
        decode(layout, packed, groups, samples, work)
        extend_sign(samples, layout.bits, place.signed)
        wide = samples.view(out.dtype).reshape(*outer, per_row * layout.samples)
        target[...] = wide[..., begin : begin + target.shape[-1]]


def _read_stream(stored: PackedStored, region: Region, out: Array, scratch: Array) -> None:
    """Fill ``out`` with ``region`` of rows that may begin within a byte."""
    place, strides = stored.place, strides_of(stored.place.shape)
    axis, direct = _way(place.shape, region, out)
    item = out.itemsize
    room = min(np.subtract(*span_of(place.shape, region)[::-1]), PIECE)
    values, rest = carve(scratch, out.dtype, int(room))
    origin = tuple((a, a) for a, _ in region)
    for index in product(*(range(a, b) for a, b in region[:axis])):
        box = (*((i, i + 1) for i in index), *region[axis:])
        p, q = span_of(place.shape, box)
        target = out[tuple(i - a for i, (a, _) in zip(index, origin, strict=False))]
        if direct:
            _read_apart(stored, place.line, ((p, q),), target.reshape(-1) if target.ndim != 1 else target, rest)
            continue
        _read_apart(stored, place.line, ((p, q),), values[: q - p], rest)
        target[...] = np.ndarray(target.shape, out.dtype, values, 0, tuple(s * item for s in strides[axis:]))


def _way(shape: Shape, region: Region, out: Array) -> tuple[int, bool]:
    """Return the axes that are walked index by index, and whether what is left is one run in file and memory."""
    last = len(shape) - 1
    best, way = float("inf"), (last, True)
    for axis in range(last + 1):
        part = out[(0,) * axis]
        p, q = span_of(shape[axis:], region[axis:])
        direct = axis == last or (q - p == part.size and part.flags.c_contiguous)
        if not direct and q - p > PIECE:
            continue
        seconds = prod(b - a for a, b in region[:axis]) * (CALL + (q - p) * SAMPLE)
        if seconds < best:
            best, way = seconds, (axis, direct)
    return way
