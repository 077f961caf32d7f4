"""New files of packed integers, written by region."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import product
from math import prod
from typing import Any

import numpy as np

from chunkarr import fsio
from chunkarr.formats.contract import Target
from chunkarr.formats.flat import FlatTarget, Order, check_block
from chunkarr.formats.packed_codec import GUARD, carve, decode, decode_work, encode, encode_work
from chunkarr.formats.packed_stored import Placement, span_of
from chunkarr.formats.runs import Descriptor, staging, write_block
from chunkarr.grid import Grid, Region, Shape, region_key, region_shape

__all__ = ["PackedTarget"]

Array = np.ndarray[Any, Any]


class PackedTarget(Target):
    """A new file of packed integers, written as a hidden sibling.

    Where rows begin with a byte of their own, writers take whole groups of a row and share nothing. In one
    stream two regions may share a group: it is read, changed and written under a lock, in this process.

    Parameters
    ----------
    path, shape, dtype
        The file and what is written to it: integers or booleans.
    place, order
        Where the samples lie, and whether the last or the first axis of ``shape`` varies fastest.
    header, tail
        Bytes before and after them.
    overwrite, durability, adopt
        As of `FlatTarget`.
    """

    def __init__(
        self,
        path: str,
        shape: Shape,
        dtype: np.dtype[Any],
        place: Placement,
        *,
        header: bytes = b"",
        tail: int = 0,
        order: Order,
        overwrite: bool,
        durability: fsio.Durability,
        adopt: tuple[str, int] | None = None,
    ) -> None:
        self.path, self.shape, self.dtype, self.order = path, shape, dtype, order
        self.place, self.distributable = place, place.apart
        samples = place.layout.samples if place.apart else 1
        steps = (*(1 for _ in place.shape[1:]), samples)
        self.grid = Grid(shape, (steps[::-1] if order == "F" else steps) if shape else ())
        size = (prod(place.bytes_shape) if prod(shape) else 0) + tail
        self._bytes = FlatTarget(
            path, (size,), np.dtype(np.uint8), header=header, order="C", overwrite=overwrite,
            durability=durability, adopt=adopt,
        )  # fmt: skip
        self.part = self._bytes.part
        self._file = Descriptor(self.part, writable=True)
        self._edges = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_edges": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _edges=threading.Lock())

    def scratch_bytes(self, region: Region) -> int:
        """Return the bytes of scratch that writing ``region`` may take; see `Target.scratch_bytes`."""
        region = (region[::-1] if self.order == "F" else region) or ((0, 1),)
        if not all(a < b for a, b in region):
            return 0
        place = self.place
        if not place.apart:
            place, region = place.line, (span_of(place.shape, region),)
        layout, groups = place.layout, place.groups(region)
        held = groups * (layout.nbytes + layout.samples * layout.dtype(signed=False).itemsize) + GUARD + 64
        return (
            held + max(decode_work(1), encode_work(groups)) + staging(place.bytes_shape, place.in_bytes(region)[0], 1)
        )

    def write(self, region: Region, block: Array, scratch: Array) -> None:
        """Write ``block`` at ``region``; see `Target.write`.

        Raises
        ------
        OverflowError
            If a value does not fit its bits.
        """
        check_block(region, block, self.dtype)
        if not block.size:
            return
        self._check_values(region, block)
        block = block.T if self.order == "F" else block
        region = (region[::-1] if self.order == "F" else region) or ((0, 1),)
        block = block.reshape(1) if not block.ndim else block
        if self.place.apart:
            self._write_apart(self.place, region, block, scratch)
            return
        shape, axis = self.place.shape, len(region) - 1
        while axis and region[axis] == (0, shape[axis]) and block[(0,) * (axis - 1)].flags.c_contiguous:
            axis -= 1
        for index in product(*(range(b - a) for a, b in region[:axis])):
            box = (*((a + i, a + i + 1) for i, (a, _) in zip(index, region, strict=False)), *region[axis:])
            values = block[index]
            run = values if values.ndim == 1 else values.reshape(-1)
            self._write_apart(self.place.line, (span_of(shape, box),), run, scratch)

    def _check_values(self, region: Region, block: Array) -> None:
        bits, signed = self.place.layout.bits, self.place.signed != "no"
        low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
        least, most = int(block.min()), int(block.max())
        if low <= least and most <= high:
            return
        value = least if least < low else most
        found = np.unravel_index(int(block.argmin() if least < low else block.argmax()), block.shape)
        index = tuple(int(i) + a for i, (a, _) in zip(found, region, strict=True))
        raise OverflowError(
            f"{self.path}: value {value} at {index} does not fit {bits} {'signed' if signed else 'unsigned'} bits, "
            f"{low} to {high}; clip or scale it first"
        )

    def _write_apart(self, place: Placement, region: Region, block: Array, scratch: Array) -> None:
        """Write rows that lie apart, or a run of the only one, box by box."""
        layout, most = place.layout, place.groups(region)
        plain = layout.dtype(signed=False)
        packed, rest = carve(scratch, np.uint8, most * layout.nbytes + GUARD)
        values, rest = carve(rest, plain, most * layout.samples)
        work, staged = carve(rest, np.uint8, max(decode_work(1), encode_work(most)))
        origin = tuple((a, a) for a, _ in region)
        for box in place.pieces(region):
            inside, per_row = place.in_bytes(box)
            outer = region_shape(box[:-1])
            groups = per_row * prod(outer)
            samples = values[: groups * layout.samples]
            wide = samples.reshape(*outer, per_row * layout.samples)
            begin, width = box[-1][0] % layout.samples, box[-1][1] - box[-1][0]
            cut = begin > 0 or (box[-1][1] % layout.samples > 0 and box[-1][1] < place.shape[-1])
            with self._edges if cut else nullcontext():
                if cut:
                    self._read_edges(place, box, samples, packed, work)
                elif wide.shape[-1] > width:
                    wide[..., width:] = 0
                new = wide[..., begin : begin + width]
                np.copyto(new, block[region_key(box, origin)], casting="unsafe")
                if place.signed == "offset":
                    np.bitwise_xor(new, plain.type(1 << (layout.bits - 1)), out=new)
                encode(layout, samples, groups, packed, work)
                rows = packed[: groups * layout.nbytes].reshape(*outer, per_row * layout.nbytes)
                rows = rows[..., : inside[-1][1] - inside[-1][0]]
                write_block(self._file, self._bytes.offset, place.bytes_shape, inside, block=rows, scratch=staged)

    def _read_edges(self, place: Placement, box: Region, samples: Array, packed: Array, work: Array) -> None:
        """Put what the file has now into the first and the last group of ``samples``, of one row."""
        layout, ((start, stop),) = place.layout, place.in_bytes(box)[0]
        for group in {0, len(samples) // layout.samples - 1}:
            at = start + group * layout.nbytes
            self._file.read_into(packed[: min(layout.nbytes, stop - at)], self._bytes.offset + at)
            decode(layout, packed, 1, samples[group * layout.samples :][: layout.samples], work)

    # --- what becomes of the file ---

    def settle(self, regions: Sequence[Region], *, durable: bool) -> list[int]:
        """Return 0 for each region: the file has no checksums; see `Target.settle`."""
        return self._bytes.settle(regions, durable=durable)

    def release(self) -> None:
        """Give up the lock without removing the unfinished file; see `Target.release`."""
        self._file.close()
        self._bytes.release()

    def commit(self) -> None:
        """Make the file appear under its name; see `Target.commit`."""
        self._bytes.commit()
        self._file.close()

    def abort(self) -> None:
        """Remove the unfinished file; never raises."""
        self._file.close()
        self._bytes.abort()
