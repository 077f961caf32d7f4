"""New files whose boxes have a length that only encoding tells: text, deflated members, compressed variables.

Such a file can only be written from its beginning to its end, while tasks finish in any order. A box whose
turn has come goes to the end of the file at once; one that comes early waits in a spool, a second hidden
sibling, and is copied when the boxes before it are there. So most bytes are written once, and memory holds
no more than the boxes that are being encoded.
"""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NoReturn

import numpy as np

from chunkarr import fsio
from chunkarr.errors import GridError, MissingChunkError, UnsupportedError
from chunkarr.formats import journal
from chunkarr.formats.contract import Target
from chunkarr.formats.flat import Order, check_block
from chunkarr.formats.runs import Descriptor
from chunkarr.grid import Grid, Region, Shape, region_key, region_shape

__all__ = ["OrderedTarget", "Part", "Sequencer", "ordered_grid"]

Array = np.ndarray[Any, Any]

BOX = 1 << 20  # bytes of values in a box: enough to make a call of Python cheap, few enough for many threads
COPIED = 256 << 10  # bytes moved at once from the spool


@dataclass(frozen=True, slots=True)
class Part:
    """What is kept of an encoded box."""

    length: int  # bytes
    note: Any = None  # what `OrderedTarget.encode` said of it: a checksum, perhaps


def ordered_grid(shape: Shape, itemsize: int, order: Order = "C", nbytes: int = BOX) -> Grid:
    """Return boxes of about ``nbytes`` that follow each other in memory of this order.

    >>> ordered_grid((1000, 1 << 14), 8).steps
    (8, 16384)
    >>> ordered_grid((1 << 20, 100), 8, "F").steps
    (131072, 1)
    """
    axes = shape[::-1] if order == "F" else shape
    room, steps = max(1, nbytes // max(1, itemsize)), list[int]()
    for n in reversed(axes):
        steps.insert(0, max(1, min(n, room)))
        room = room // max(1, n) if n <= room else 1
    return Grid(shape, tuple(steps[::-1] if order == "F" else steps))


class Sequencer:
    """Puts numbered pieces one after another into a file, in whatever order they come.

    Parameters
    ----------
    file
        Where they go.
    offset
        Byte of the first one.
    path
        The file that will be published: beside it lies the spool.
    """

    def __init__(self, file: Descriptor, offset: int, path: str) -> None:
        self.end = offset  # where the next piece goes
        self.parts: dict[int, Part] = {}
        self._file, self._path, self._next = file, path, 0
        self._early: dict[int, int] = {}  # number of a piece in the spool -> its offset there
        self._spool: Descriptor | None = None
        self._owned: fsio.Owned | None = None
        self._filled = 0  # bytes of the spool in use
        self._buffer = bytearray()
        self._lock = threading.Lock()

    def put(self, number: int, data: Any, note: Any = None) -> None:
        """Write piece ``number`` (from 0 on, each once); from any thread."""
        view = fsio.bytes_of(data)
        with self._lock:
            if number in self.parts:
                raise RuntimeError(f"{self._path}: piece {number} was written before")
            if number == self._next:
                self._file.write_at(view, self.end)
                self._took(number, view.nbytes, note)
                self._catch_up()
                return
            if self._filled and not self._early:
                self._filled = 0  # all was copied: begin again
            self._opened().write_at(view, self._filled)
            self._early[number] = self._filled
            self._filled += view.nbytes
            self.parts[number] = Part(view.nbytes, note)

    def _took(self, number: int, length: int, note: Any) -> None:
        self.parts[number] = Part(length, note)
        self.end += length
        self._next = number + 1

    def _opened(self) -> Descriptor:
        """Return the spool."""
        if self._spool is None:
            part, lock = fsio.new_part(self._path)
            self._owned = fsio.Owned(self, part, lock)
            self._spool = Descriptor(part, writable=True)
        return self._spool

    def _catch_up(self) -> None:
        """Copy what waits in the spool and has its turn now."""
        while self._next in self._early:
            number = self._next
            place, part = self._early[number], self.parts[number]
            self._copy(place, part.length)
            del self._early[number]
            self._took(number, part.length, part.note)

    def _copy(self, place: int, length: int) -> None:
        self._buffer = self._buffer or bytearray(COPIED)
        buffer = memoryview(self._buffer)
        for start in range(0, length, COPIED):
            piece = buffer[: min(COPIED, length - start)]
            self._opened().read_into(piece, place + start)
            self._file.write_at(piece, self.end + start)

    def in_order(self, count: int) -> list[Part]:
        """Return what is known of pieces 0 to ``count``; all must have come."""
        if self._next != count:
            raise MissingChunkError(f"{self._path}: {count - len(self.parts)} of {count} boxes were not written")
        return [self.parts[number] for number in range(count)]

    def close(self) -> None:
        """Remove the spool; never raises."""
        if self._spool is not None:
            self._spool.close()
        if self._owned is not None:
            self._owned.remove()


class OrderedTarget(Target):
    """A new file of a head, the boxes of a grid encoded one after another, and a tail.

    A subclass says what these are (`head`, `encode`, `tail`), and how long a box may become.

    Parameters
    ----------
    path
        The file to be.
    shape, dtype, grid
        What it holds, and the boxes in which it is encoded: as `ordered_grid` makes them.
    order
        "C": boxes follow each other as the grid yields them; "F": the first axis varies fastest.
    overwrite, durability
        As in `journal.publish`.
    """

    distributable = False

    def __init__(
        self,
        path: str,
        shape: Shape,
        dtype: np.dtype[Any],
        *,
        grid: Grid,
        order: Order = "C",
        overwrite: bool,
        durability: fsio.Durability,
    ) -> None:
        self.path, self.shape, self.dtype, self.grid, self.order = path, shape, dtype, grid, order
        self._overwrite, self._durability, self._blank = overwrite, durability, False
        fsio.refuse_existing(path, overwrite)
        fsio.sweep(path)
        head = self.head(())
        self._part, lock = fsio.new_part(path)
        self._owned = fsio.Owned(self, self._part, lock)
        self._file = Descriptor(self._part, writable=True)
        self._head, self._boxes = len(head), Sequencer(self._file, len(head), path)
        try:
            self._file.write_at(head, 0)
        except BaseException:
            self.abort()  # now, not when the error and with it this object is forgotten
            raise

    def __reduce__(self) -> NoReturn:
        raise UnsupportedError(
            f"{self.path}: such a file is written by the process that created it only; "
            "use threads, or write Zarr and convert"
        )

    @abstractmethod
    def head(self, parts: Sequence[Part]) -> bytes:
        """Return what comes before the boxes: first asked with no parts, and with all of them before the commit.

        Both times it has as many bytes.
        """

    @abstractmethod
    def encode(self, block: Array, box: Region) -> tuple[Any, Any]:
        """Return the bytes of a box (a buffer) and what `tail` should know of it; called from any thread.

        ``block`` has any strides; holds at most `encoded_bytes` besides.
        """

    @abstractmethod
    def encoded_bytes(self, box: Region) -> int:
        """Return the bytes that `encode` of ``box`` holds besides the block, result included, at most."""

    def tail(self, parts: Sequence[Part]) -> bytes:
        """Return what comes after the boxes, of which ``parts`` are in their order."""
        del parts
        return b""

    def scratch_bytes(self, region: Region) -> int:
        """Return the bytes that encoding a box holds; see `Target.scratch_bytes`."""
        del region
        return self.encoded_bytes(tuple((0, step) for step in self.grid.steps)) + COPIED

    def write(self, region: Region, block: Array, scratch: Array) -> None:
        """Write ``block`` at ``region``; see `Target.write`."""
        del scratch
        check_block(region, block, self.dtype)
        if not block.size:
            return
        if self.grid.round_out(region) != region:
            raise GridError(f"{self.path}: region {region} is not made of whole boxes of {self.grid.steps}")
        for index in self.grid.touching(region):
            box = self.grid.region(index)
            self.put(self._number(index), block[region_key(box, region)], box)

    def put(self, number: int, block: Array, box: Region) -> None:
        """Encode and write box ``number``."""
        self._boxes.put(number, *self.encode(block, box))

    def pieces(self) -> int:
        """Return how many pieces the boxes are written as."""
        return self.grid.size

    def _number(self, index: Sequence[int]) -> int:
        """Return which box in the file's order is at ``index`` of the grid."""
        pairs = list(zip(index, self.grid.counts, strict=True))
        number = 0
        for i, count in pairs[::-1] if self.order == "F" else pairs:
            number = number * count + i
        return number

    def blank(self) -> None:
        """Let boxes that were not written hold zeros; see `Target.blank`."""
        self._blank = True

    def commit(self) -> None:
        """Make the file appear under its name; see `Target.commit`."""
        if not self._owned.alive:
            raise RuntimeError(f"{self.path}: a target is committed or aborted once")
        if self._blank:
            self._fill()
        parts = self._boxes.in_order(self.pieces() if prod(self.shape) else 0)
        head, tail = self.head(parts), self.tail(parts)
        assert len(head) == self._head, "the head has as many bytes as at first"
        self._file.write_at(head, 0)
        self._file.write_at(tail, self._boxes.end)
        if self._durability == "full":
            fsio.sync_file(self._file.get())
        self._file.close()
        self._boxes.close()
        journal.publish(self._part, self.path, self._overwrite, self._durability)
        self._owned.remove()

    def _fill(self) -> None:
        """Write zeros where nothing was written."""
        for index in self.grid.touching(tuple((0, n) for n in self.shape)):
            if self._number(index) not in self._boxes.parts:
                box = self.grid.region(index)
                self.put(self._number(index), np.zeros(region_shape(box), self.dtype), box)

    def abort(self) -> None:
        """Remove the unfinished file; never raises."""
        self._file.close()
        self._boxes.close()
        self._owned.remove()
