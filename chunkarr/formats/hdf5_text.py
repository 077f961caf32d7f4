"""Data sets of HDF5 whose elements are, or have, strings of variable length, as arrays of fixed width.

They become ``U`` as long as the longest, or ``S`` where one is not UTF-8. How long that is, is found by reading
all of them once, a piece at a time, when the data set is opened.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from threading import Lock
from typing import Any

import numpy as np

from chunkarr import settings
from chunkarr.buffers import aligned
from chunkarr.errors import CorruptChunkError, FormatError, MemoryBudgetError
from chunkarr.formats.file_stored import FileStored
from chunkarr.formats.flat import check_block
from chunkarr.formats.hdf5_heaps import Heaps
from chunkarr.formats.hdf5_layout import Layout
from chunkarr.formats.hdf5_library import pieces
from chunkarr.formats.hdf5_types import Path, with_texts
from chunkarr.formats.runs import Descriptor, plain
from chunkarr.grid import Region, intersect, region_shape, region_size, region_slices, whole

__all__ = ["TextHdf5"]

Array = np.ndarray[Any, Any]
COUNT = 4096  # elements whose texts are looked up together
BATCH = 1 << 20  # bytes of texts that are held as objects, but for one that is longer
OBJECTS = 2 << 20  # bytes that so many objects take besides
SHARE = 8  # an element takes at most this part of the budget
_KEPT = 16  # data sets whose longest texts are remembered
_KNOWN: dict[Layout, tuple[str, ...]] = {}
_LOCK = Lock()


class TextHdf5(FileStored):
    """A data set with strings of variable length.

    Parameters
    ----------
    raw
        The data set as an array of the places where the strings are.
    kinds
        The dtype of each text of an element, as `Layout.texts` lists them; None: as found by reading them.
    """

    format = "hdf5"

    def __init__(self, raw: FileStored, kinds: tuple[str, ...] | None = None) -> None:
        layout: Layout = raw.layout  # type: ignore[attr-defined]  # every class of data sets has it
        self._found(raw.path, raw.found, raw.access)
        self.writable = False
        self.raw, self.layout, self.member, self.order = raw, layout, layout.member, layout.order
        self._blank = layout.kind == "library" or (layout.kind == "contiguous" and layout.offset is None)
        self._heaps = Heaps(
            Descriptor(raw.path, writable=False), layout.heap, raw.found[0], f"{raw.path}::{layout.member}"
        )
        self.shape, self.grid = raw.shape, raw.grid
        self.kinds = _measured(self) if kinds is None else kinds
        self._texts = dict(zip(layout.texts, self.kinds, strict=True))
        self.dtype = with_texts(layout.dtype, self._texts)
        if self.dtype.itemsize * SHARE > settings.budget():
            raise MemoryBudgetError(
                f"{raw.path}::{layout.member}: an element takes {self.dtype.itemsize} B as {self.dtype}, with its "
                f"longest text, and the budget is {settings.budget()} B: at least {SHARE} times as much is needed"
            )
        # Chunks of places may be many more bytes as texts: then it is better to decode the places again.
        self.contiguous = raw.contiguous or math.prod(self.grid.steps) * self.dtype.itemsize > BATCH

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.raw, self.kinds)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path}::{self.member} {self.shape} {self.dtype}>"

    def reopen(self) -> FileStored:
        """Open the data set again, as it is now."""
        return self.raw.reopen()

    def read(self, region: Region, out: Array, scratch: Array) -> None:
        """Fill ``out`` with ``region``; see `Stored.read`."""
        check_block(region, out, self.dtype)
        if not out.size:
            return
        try:
            for part, places in self.places(region, scratch):
                key: Any = (*region_slices(part, region), ...)  # with "...", no axes give an array, too
                self._fill(places, out[key], ())
        except FormatError:  # of a file that is being written, perhaps
            self.check_generation()
            raise
        self.check_generation()

    def scratch_bytes(self, region: Region) -> int:
        """Return the bytes of the places of a chunk, of what reading them takes, and of texts as objects."""
        if not region_size(region):
            return 0
        return self.places_bytes(region) + 2 * self.dtype.itemsize + BATCH + OBJECTS

    def bytes_read(self, region: Region) -> int:
        """Return the bytes of the texts, which are not known apart from their places, as they are read."""
        box = region if self.contiguous else self.grid.round_out(region)
        return region_size(box) * self.dtype.itemsize

    def places_bytes(self, region: Region) -> int:
        """Return the bytes of scratch that `places` takes."""
        return self._room(region) + self.raw.scratch_bytes(region)

    def _room(self, region: Region) -> int:
        most = math.prod(self.grid.steps) if self.layout.chunk else COUNT
        return aligned(min(most, region_size(region)) * self.layout.dtype.itemsize)

    def places(self, region: Region, scratch: Array) -> Iterator[tuple[Region, Array]]:
        """Yield parts of ``region`` of at most `COUNT` elements, and the bytes at rest of their elements."""
        if self._blank:
            for part in _cut(region):
                yield part, np.zeros(region_shape(part), self.layout.dtype)
            return
        room = self._room(region)
        chunked = bool(self.layout.chunk)
        boxes = map(self.grid.region, self.grid.touching(region)) if chunked else _cut(region)
        for box in boxes:
            common = intersect(box, region)
            assert common is not None
            values = np.ndarray(region_shape(common), self.layout.dtype, scratch[:room])
            self.raw.read(common, values, scratch[room:])
            for part in _cut(common):
                key: Any = (*region_slices(part, common), ...)
                yield part, values[key]

    def _fill(self, places: Array, out: Array, path: Path) -> None:
        """Fill ``out`` with what ``places``, at ``path`` in an element, stands for."""
        kind = self._texts.get(path)
        if kind is not None:
            values = self._decoded(places.reshape(-1), np.dtype(kind))
            out[...] = values.reshape(out.shape)
        elif any(known[: len(path)] == path for known in self._texts):
            for name in out.dtype.names or ():
                self._fill(places[name], out[name], (*path, name))
        else:
            np.copyto(out.view(plain(out.dtype)), places.view(plain(places.dtype)))

    def _decoded(self, places: Array, dtype: np.dtype[Any]) -> Array:
        values = np.zeros(places.size, dtype)
        limit = dtype.itemsize // 4 if dtype.kind == "U" else dtype.itemsize
        for k, texts in self.batches(places, dtype.itemsize):
            try:
                found: list[Any] = [text.decode() for text in texts] if dtype.kind == "U" else texts
            except UnicodeDecodeError as error:
                raise CorruptChunkError(f"{self.path}::{self.member}: a text is not UTF-8 any more: {error}") from None
            if max(map(len, found)) > limit:
                raise CorruptChunkError(f"{self.path}::{self.member}: a text is longer than the {limit} found before")
            values[k : k + len(found)] = found
        return values

    def batches(self, places: Array, longest: int) -> Iterator[tuple[int, list[bytes]]]:
        """Yield the texts of ``places``, one axis, in order, few at a time, with the first one's number."""
        sizes = np.minimum(places["size"], longest + 1)
        ends = np.cumsum(sizes, dtype=np.int64)
        k = 0
        while k < places.size:
            before = int(ends[k - 1]) if k else 0
            stop = max(k + 1, int(np.searchsorted(ends, before + BATCH, "right")))
            if int(places["size"][k:stop].max()) > longest:
                raise CorruptChunkError(
                    f"{self.path}::{self.member}: a text of {int(places['size'][k:stop].max())} B is longer "
                    f"than the {longest} B that were found before"
                )
            yield k, self._heaps.texts(places[k:stop])
            k = stop


def _cut(region: Region) -> Iterator[Region]:
    """Cut a region into parts of at most `COUNT` elements."""
    return pieces(region, (), (), -(-(1 << 20) // COUNT))


def _measured(stored: TextHdf5) -> tuple[str, ...]:
    """Return the dtype of each text of an element; the last few are remembered."""
    kinds = _KNOWN.get(stored.layout)
    if kinds is None:
        kinds = tuple(_measure(stored))
        stored.check_generation()
        with _LOCK:
            _KNOWN[stored.layout] = kinds
            if len(_KNOWN) > _KEPT:
                del _KNOWN[next(iter(_KNOWN))]
    return kinds


def _measure(stored: TextHdf5) -> Iterator[str]:
    """Yield the dtype of each text of an element: all are read, a piece at a time."""
    region, paths, budget = whole(stored.shape), stored.layout.texts, settings.budget()
    where, room = f"{stored.path}::{stored.member}", stored.places_bytes(region)
    if room > budget:
        raise MemoryBudgetError(f"{where}: a chunk takes {room} B to read, and the budget is {budget} B")
    longest, characters = dict.fromkeys(paths, 1), dict.fromkeys(paths, 1)  # -1 characters: not UTF-8
    for _, places in stored.places(region, np.empty(room, np.uint8)) if region_size(region) else ():
        for path in paths:
            field = _field(places, path)
            most = int(field["size"].max(initial=0))
            if most * SHARE > budget:
                raise MemoryBudgetError(f"{where}: has a text of {most} B, and the budget is {budget} B: at least "
                                        f"{SHARE} times as much is needed")  # fmt: skip
            for _, texts in stored.batches(field, most):
                longest[path] = max(longest[path], *map(len, texts))
                characters[path] = _more_characters(texts, characters[path])
    for path in paths:
        yield f"<U{characters[path]}" if characters[path] > 0 else f"S{longest[path]}"


def _field(places: Array, path: Path) -> Array:
    """Return the places at ``path``, as one axis."""
    for name in path:
        places = places[name]
    return places.reshape(-1)


def _more_characters(texts: list[bytes], before: int) -> int:
    """Return the characters of the longest text, ``before`` if that is more, -1 if one is not UTF-8."""
    if before < 0:
        return -1
    try:
        return max(before, *(len(text) if text.isascii() else len(text.decode()) for text in texts))
    except UnicodeDecodeError:
        return -1
