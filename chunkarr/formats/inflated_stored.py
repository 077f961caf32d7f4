"""Arrays that lie as one block of bytes in a deflated stream: read by region, from any thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from chunkarr.buffers import aligned
from chunkarr.errors import CorruptChunkError, UnsupportedError
from chunkarr.formats.contract import Problem, Update, ignore
from chunkarr.formats.flat import Order, check_block
from chunkarr.formats.flat_stored import FlatStored
from chunkarr.formats.inflating import BOX, Inflated, forward_grid
from chunkarr.formats.runs import read_block
from chunkarr.grid import Region, Shape, region_size

__all__ = ["InflatedStored"]

Array = np.ndarray[Any, Any]


class InflatedStored(FlatStored):
    """An array whose bytes are those of an `Inflated` from ``offset`` on.

    The grid's boxes follow each other in the stream, so that work on the whole array decodes it once.

    Parameters
    ----------
    stream
        What the bytes are read from.
    member
        The array's name in the file.
    shape, dtype, format, offset, order, generation
        As of `FlatStored`; ``offset`` counts decoded bytes.
    """

    contiguous = False

    def __init__(
        self,
        stream: Inflated,
        member: str,
        shape: Shape,
        dtype: np.dtype[Any],
        *,
        format: str,  # noqa: A002 - the contract's word
        offset: int,
        order: Order,
        generation: tuple[int, int, int],
    ) -> None:
        super().__init__(
            stream.path, shape, dtype, format=format, offset=offset, order=order, generation=generation
        )  # fmt: skip
        self.stream, self.member = stream, member
        self.grid = forward_grid(shape, dtype.itemsize, order, BOX)
        self.forward = True

    def read(self, region: Region, out: Array, scratch: Array) -> None:
        """Fill ``out`` with ``region``; see `Stored.read`."""
        check_block(region, out, self.dtype)
        shape, region = self.in_file(self.shape, region)
        try:
            read_block(
                self.stream, self.offset, shape, region, out=out.T if self.order == "F" else out, scratch=scratch
            )
        except CorruptChunkError:  # of a file that is being written, perhaps
            self.check_generation()
            raise
        self.check_generation()

    def bytes_read(self, region: Region) -> int:
        """Return the bytes of the boxes that ``region`` touches: they are decoded as a whole."""
        boxes = (self.grid.region(index) for index in self.grid.touching(region))
        return sum(map(region_size, boxes)) * self.dtype.itemsize

    def update(self, shape: Shape | None = None) -> Update:
        """Refuse: nothing within a deflated stream can be changed in place."""
        del shape
        raise UnsupportedError(f"{self.path}::{self.member}: is compressed as a whole; save a changed copy")

    def checked_by(self) -> str:
        """Return what tells `problems` that stored bytes changed."""
        return "the checksum of the compressed stream"

    def problems(self, share: tuple[int, int] = (0, 1), done: Callable[[int], object] = ignore) -> Iterator[Problem]:
        """Decode the stream from end to end, one thread's work, and say where it is damaged; see `Stored.problems`."""
        which, _ = share
        if which:
            return
        box: Any = self.grid.region((0,) * len(self.shape)) if self.grid.size else None
        try:
            if box is not None:
                out, scratch = np.empty(0, self.dtype), np.empty(aligned(self.scratch_bytes(box)), np.uint8)
                for region in self.grid:
                    extents = tuple(b - a for a, b in region)
                    out = out if out.shape == extents else np.empty(extents, self.dtype)
                    self.read(region, out, scratch)
                    done(out.nbytes)
            self.stream.measure()
        except (CorruptChunkError, OSError) as error:
            yield Problem(self.path, self.member, self.path, type(error).__name__, str(error))
