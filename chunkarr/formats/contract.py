"""What a format must offer: arrays at rest that can be read by region, and targets written by region."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Self

import numpy as np

from chunkarr.errors import CorruptChunkError, UnsupportedError
from chunkarr.grid import Grid, Region, Shape, region_shape, region_size, tiles

__all__ = ["Member", "Problem", "Stored", "Target", "Update", "ignore"]

PIECE = 4 << 20  # bytes read at once of an array without chunks


def ignore(nbytes: int) -> None:
    """Do nothing: nobody asked how far work is."""


class Member(NamedTuple):
    """An array in a file that can hold several; shape and dtype are None where chunkarr cannot read it."""

    name: str  # what stands after "::" in its path
    shape: Shape | None
    dtype: np.dtype[Any] | None
    note: str = ""  # how it is stored, or why it cannot be read


@dataclass(frozen=True)
class Problem:
    """Something in a stored array that is not as it was written."""

    path: str  # of the array
    chunk: str  # which chunk or other part, as the format names it
    file: str  # where it lies
    error: str  # name of the error that reading it raises
    reason: str  # what is wrong, with values


class Stored(ABC):
    """An array at rest, as it was when it was opened. Cheap to hold, safe to share between threads.

    It stands for one generation: `read` returns values of that one, or raises GenerationChangedError
    where the file cannot give them any more. Pickling keeps (path, options, generation) and reopens
    where it is used: no handle, no data.
    """

    shape: Shape
    dtype: np.dtype[Any]  # as the user sees it, byte order and padding included
    grid: Grid  # storage chunks (what one codec call decodes); one box if contiguous
    contiguous: bool  # True if any region can be read alone at the cost of its own bytes
    format: str  # name of the row in the table of formats
    path: str  # where it lies; "" for arrays in memory
    cacheable: bool = True  # whether decoded chunks may be kept from one small read to the next
    portable: bool = True  # whether other processes can read it, too
    options: Mapping[str, Any] = MappingProxyType({})  # what says to `open` all that was guessed of the file
    labels: Sequence[str] = ()  # names of the columns of a matrix, where the file has them
    forward: bool = False  # whether it is decoded from its beginning, so that its boxes are best read in their order
    writable: bool = False  # whether it was opened "r+", so that `update` is offered

    @abstractmethod
    def read(self, region: Region, out: np.ndarray[Any, Any], scratch: np.ndarray[Any, Any]) -> None:
        """Fill ``out`` (of the region's shape, this dtype, any strides) with ``region``.

        ``scratch`` is a uint8 array of at least ``scratch_bytes(region)`` bytes, owned by the calling
        task; its content is lost. Allocates nothing of the size of a chunk besides.
        Raises CorruptChunkError, MissingChunkError or ForeignChangeError naming array, chunk and file,
        GenerationChangedError if the array changed since it was opened.
        """

    @abstractmethod
    def scratch_bytes(self, region: Region) -> int:
        """Return the bytes that ``read`` of ``region`` needs besides ``out`` (encoded + decoded temporaries)."""

    @abstractmethod
    def bytes_read(self, region: Region) -> int:
        """Return the decoded bytes that reading ``region`` costs: whole chunks counted."""

    @abstractmethod
    def generation(self) -> Hashable:
        """Return what changes when the stored data change (size, mtime_ns, inode; manifest), read afresh."""

    def fresh(self) -> Stored:
        """Return the array as it is now: this object if nothing changed, else a new one with the same options."""
        return self

    def update(self, shape: Shape | None = None) -> Update:
        """Begin a change, holding the array's lock; what a killed writer left is finished or dropped first.

        With ``shape`` the array has that shape (as many axes) after the change: elements keep their
        indices, new ones read as the fill value (0 where a format has none), cut ones are gone for good.

        Raises
        ------
        ArrayLockedError
            If another writer, in this process or another, holds the array (after waiting as long as ``timeout=``
            of `open` says).
        UnsupportedError
            If this format or this array cannot be changed in place.
        """
        del shape
        raise UnsupportedError(f"{self.path or 'an array in memory'}: cannot be changed in place; save a changed copy")

    def checked_by(self) -> str:
        """Return what tells `problems` that stored bytes changed; "" where nothing does: it only tries to read."""
        return ""

    def problems(self, share: tuple[int, int] = (0, 1), done: Callable[[int], object] = ignore) -> Iterator[Problem]:
        """Read everything and yield what is not as it was written; holds a chunk at a time.

        ``share`` (k, n) takes the k-th of n parts of the chunks, so that n threads do it together; what is
        not part of a chunk belongs to share 0. ``done`` is called now and then with the bytes that were read
        since; what it raises ends the search.
        """
        limit = PIECE // max(1, self.dtype.itemsize)
        boxes = (
            self.grid
            if not self.contiguous
            else (tuple((s.start, s.stop) for s in box) for box, _ in tiles(self.shape, limit))
        )
        which, of = share
        for box in islice(boxes, which, None, of):
            try:
                self.read(box, np.empty(region_shape(box), self.dtype), np.empty(self.scratch_bytes(box), np.uint8))
            except (CorruptChunkError, OSError) as error:
                yield Problem(self.path, str(box), self.path, type(error).__name__, str(error))
            done(region_size(box) * self.dtype.itemsize)


class Target(ABC):
    """A new array being written: a hidden sibling that appears under its name on ``commit`` or never.

    Life: the coordinator creates it, tasks call ``write`` (any thread; other processes if
    ``distributable``), the coordinator calls ``commit`` or ``abort``. Pickles as a recipe for writers.
    """

    shape: Shape
    dtype: np.dtype[Any]
    grid: Grid  # unit of writing: a shard, else a chunk, else 1-element boxes where any region can be written
    distributable: bool  # False: only this process may write (HDF5)
    order: Literal["C", "F"] = "C"  # of elements in the file, where any region can be written
    part: str = ""  # the hidden sibling, where a later run can go on with it; "" where it starts over

    @property
    def unit(self) -> Shape:
        """Blocks that are written are whole boxes of this shape, but at the array's ends: of ``grid``."""
        return self.grid.steps

    def parts(self, region: Region) -> Iterable[Region]:
        """Return the parts of ``region`` (whole boxes of ``grid``) that are to be written; usually all of it."""
        return (region,)

    def done(self, region: Region) -> None:
        """Hear that all parts of ``region`` were written; usually nothing."""
        del region

    def settle(self, regions: Sequence[Region], *, durable: bool) -> list[int]:
        """Return for each of ``regions``, which were written, a mark of what lies there, -1 if that is not whole.

        With ``durable`` it survives power loss when this returns. For targets that have a ``part``.
        """
        raise NotImplementedError

    def release(self) -> None:
        """Give up ``part`` without removing it, so that a later run can adopt it."""
        raise NotImplementedError

    def blank(self) -> None:  # noqa: B027 - new flat files read as zeros already
        """Let all that was not written until now read as the fill value, 0 where a format has none."""

    @abstractmethod
    def write(self, region: Region, block: np.ndarray[Any, Any], scratch: np.ndarray[Any, Any]) -> None:
        """Write ``block`` (any strides, this dtype) at ``region``, made of whole boxes of ``grid``."""

    @abstractmethod
    def scratch_bytes(self, region: Region) -> int:
        """Return the bytes that ``write`` of ``region`` holds besides ``block`` (one chunk raw + encoded)."""

    @abstractmethod
    def commit(self) -> None:
        """Make the array appear, whole, under its name: fsync, then rename."""

    @abstractmethod
    def abort(self) -> None:
        """Remove every trace of the unfinished array; never raises."""


class Update(Target):
    """A change of a stored array: the boxes that are written replace those that are there, on ``commit``.

    Boxes that are not written stay as they are. Until ``commit`` every reader sees the old array, and
    ``before`` stays readable; afterwards every reader sees the new one, also when the process dies in
    between. Holds the array's lock until ``commit`` or ``abort``; a context manager that aborts what
    was not committed. ``shape``, ``dtype`` and ``grid`` are those after the change.
    """

    before: Stored  # the array when the lock was taken: the newest generation
    stale: tuple[Region, ...] = ()  # boxes that a new shape makes it necessary to write: cut ones at the edge

    @abstractmethod
    def staged(self) -> Stored:
        """Return the array as it would be after ``commit`` now: what was written over what was there."""

    def __enter__(self) -> Self:
        """Return the update itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Abort, unless it was committed."""
        self.abort()
