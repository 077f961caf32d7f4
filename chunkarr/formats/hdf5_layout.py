"""What is needed to read a data set without the HDF5 library: a frozen record, and the index of its chunks."""

from __future__ import annotations

import json
import math
from array import array
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Literal

import h5py
import numpy as np
from h5py import h5a, h5d, h5i, h5p, h5s, h5t, h5z

from chunkarr.errors import FormatError, GenerationChangedError, UnsafeInputError, UnsupportedError
from chunkarr.formats.flat import Order
from chunkarr.formats.hdf5_access import LOCK, find, has_filter, naming, opened
from chunkarr.formats.hdf5_filters import Filter
from chunkarr.formats.hdf5_types import has_texts, numpy_dtype, text_dtype
from chunkarr.formats.isolation import ask, dtype_as_json
from chunkarr.formats.runs import file_generation
from chunkarr.grid import Shape

__all__ = [
    "ATTRIBUTE",
    "ChunkIndex",
    "Layout",
    "chunk_index",
    "describe",
    "layout_as_json",
]

ATTRIBUTE = b"chunkarr"  # a JSON object on data sets that chunkarr wrote: v, complete, order, shape
_BUILT_IN: dict[int, Literal["deflate", "shuffle", "fletcher32"]] = {
    h5z.FILTER_DEFLATE: "deflate",
    h5z.FILTER_SHUFFLE: "shuffle",
    h5z.FILTER_FLETCHER32: "fletcher32",
}


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the values of a data set are and how they are stored. Axes as in the file."""

    path: str
    member: str
    generation: tuple[int, int, int]  # size in bytes, mtime_ns, inode
    shape: Shape
    dtype: np.dtype[Any]
    kind: Literal["contiguous", "chunked", "library"]  # library: read through HDF5
    offset: int | None  # first byte of contiguous values; None if never written
    chunk: Shape  # elements per axis of a chunk; () if not chunked
    filters: tuple[Filter, ...]
    fill: bytes  # one element: the value where nothing was written
    complete: bool  # chunkarr wrote every chunk, so that a missing one is an error
    order: Order  # F: the user's axes are those of the file reversed
    allow_external: bool
    isolated: bool = False  # a child process parses the file; see `isolation`
    texts: tuple[tuple[str, ...], ...] = ()  # fields that hold places of texts, see `hdf5_types`; () is the element
    heap: int = 0  # byte that such places count from


class ChunkIndex:
    """Where the chunks of a data set are: compact, and looked up by the chunk's place in its grid."""

    def __init__(self, places: np.ndarray[Any, Any], starts: Any, sizes: Any, masks: Any) -> None:
        order = np.argsort(places, kind="stable")
        self._places = places[order]  # int64, sorted
        self._starts = np.asarray(starts, np.int64)[order]
        self._sizes = np.asarray(sizes, np.int64)[order]
        self._masks = np.asarray(masks, np.uint32)[order]
        self._dense = bool(places.size) and int(self._places[-1]) == places.size - 1

    def find(self, place: int) -> tuple[int, int, int] | None:
        """Return byte offset, stored size and filter mask of a chunk, or None if it was never written."""
        i = place if self._dense else int(np.searchsorted(self._places, place))
        if i >= self._places.size or self._places[i] != place:
            return None
        return int(self._starts[i]), int(self._sizes[i]), int(self._masks[i])

    def packed(self) -> bytes:
        """Return all that is known, as bytes that `unpacked` takes."""
        return np.array([self._places, self._starts, self._sizes, self._masks], "<i8").tobytes()

    @classmethod
    def unpacked(cls, raw: bytes, boxes: int, nbytes: int) -> ChunkIndex:
        """Return what was packed, of a data set of so many chunks in a file of so many bytes.

        Raises
        ------
        ValueError
            If it names other places.
        """
        rows = np.frombuffer(raw, "<i8").reshape(4, -1)
        places, starts, sizes, _ = rows
        if rows.size and not (
            rows.min() >= 0 and places.max() < boxes and (starts <= nbytes).all() and (sizes <= nbytes - starts).all()
        ):
            raise ValueError("chunks outside the file")
        return cls(*rows)


@lru_cache(maxsize=8)
def _load_index(layout: Layout) -> ChunkIndex:
    """Ask the library once for the chunks of a data set."""
    if layout.isolated:
        return _ask_index(layout)
    rows: list[array[int]] = [array("q") for _ in range(4)]
    corners, starts, sizes, masks = rows

    def note(info: Any) -> None:
        corners.extend(info.chunk_offset)
        starts.append(info.byte_offset)
        sizes.append(info.size)
        masks.append(info.filter_mask)

    with opened(layout.path) as file, naming(layout.path, layout.member):
        dataset, _ = find(file, layout.path, layout.member)
        if hasattr(dataset, "chunk_iter"):
            dataset.chunk_iter(note)
        else:
            for i in range(dataset.get_num_chunks()):
                note(dataset.get_chunk_info(i))
        rank = dataset.rank
    shape, chunk = layout.shape[:rank], layout.chunk[:rank]
    counts = [-(-n // c) for n, c in zip(shape, chunk, strict=True)]
    where = np.frombuffer(corners, np.int64).reshape(-1, rank) // np.array(chunk, np.int64)
    if where.size and ((where < 0) | (where >= np.array(counts))).any():
        raise FormatError(f"{layout.path}::{layout.member}: has chunks outside its shape {shape}")
    steps = np.array([math.prod(counts[axis + 1 :]) for axis in range(rank)], np.int64)
    return ChunkIndex(where @ steps, starts, sizes, masks)


def _ask_index(layout: Layout) -> ChunkIndex:
    """Ask the child that parses the file for the chunks of a data set."""
    boxes = math.prod(-(-n // c) for n, c in zip(layout.shape, layout.chunk, strict=True))
    size = layout.generation[0]
    question = {"what": "index", "path": layout.path, "layout": layout_as_json(layout)}
    _, raw = ask(question, limit=32 * min(boxes, size))
    try:
        return ChunkIndex.unpacked(raw, boxes, size)
    except ValueError as error:
        raise FormatError(f"{layout.path}::{layout.member}: its chunks cannot be found: {error}") from None


def layout_as_json(layout: Layout) -> dict[str, Any]:
    """Return a layout as JSON can hold it."""
    return {
        **asdict(layout),
        "dtype": dtype_as_json(layout.dtype),
        "filters": [[step.name, step.parameter] for step in layout.filters],
        "fill": layout.fill.hex(),
    }


def chunk_index(layout: Layout) -> ChunkIndex:
    """Return the index of a chunked data set; the last few are kept.

    Raises
    ------
    GenerationChangedError
        If the file changed after ``layout`` was made.
    """
    with LOCK:
        now = file_generation(layout.path)
        if now != layout.generation:
            raise GenerationChangedError(
                f"{layout.path}: changed since it was opened: (size, mtime_ns, inode) was {layout.generation}, "
                f"is {now}; open it again"
            )
        return _load_index(layout)


# --- describing ----------------------------------------------------------------------------------


def describe(
    dataset: h5d.DatasetID,
    path: str,
    member: str,
    generation: tuple[int, int, int],
    *,
    outside: bool,
    allow_external: bool,
    texts: bool = False,
) -> Layout:
    """Describe an open data set; nothing of its data is read.

    With ``texts``, strings of variable length are described as the places where they are; else they are refused.

    Raises
    ------
    UnsafeInputError
        If its values lie in other files and ``allow_external`` is False.
    UnsupportedError
        If its type or a filter is beyond chunkarr.
    FormatError
        If it has no shape, or claims more bytes than the file has.
    """
    where = f"{path}::{member}"
    made = dataset.get_create_plist()  # before the shape: asking a virtual data set for it may open its sources
    stored = made.get_layout()
    virtual, files = stored == h5d.VIRTUAL, made.get_external_count()
    if (virtual or files) and not allow_external:
        what = "is a virtual data set" if virtual else f"keeps its values in {files} other file(s)"
        raise UnsafeInputError(f"{where}: {what}; pass allow_external=True if you trust it")
    if dataset.get_space().get_simple_extent_type() == h5s.NULL:
        raise FormatError(f"{where}: has no shape (a null dataspace), so it is not an array")
    kind_id = dataset.get_type()
    paths: tuple[tuple[str, ...], ...] = ()
    if texts and has_texts(kind_id):
        (dtype, paths), exact = text_dtype(kind_id, where), True
    else:
        dtype, exact = numpy_dtype(kind_id, where)
    inner = dtype.shape
    shape = (*(int(n) for n in dataset.shape), *inner)
    if math.prod(shape) * dtype.base.itemsize >= 1 << 63:
        raise FormatError(f"{where}: claims shape {shape}, more than any file can hold")
    direct = exact and not (outside or virtual or files)
    if inner and not direct:
        raise UnsupportedError(f"{where}: values of type {dtype} are read only where they are stored as they are")
    filters = _filters(made, where)
    chunk = (*made.get_chunk(), *inner) if stored == h5d.CHUNKED else ()
    kind: Literal["contiguous", "chunked", "library"] = "library"
    offset = None
    if direct and stored == h5d.CONTIGUOUS:
        kind, offset = "contiguous", _extent(dataset, math.prod(shape) * dtype.base.itemsize, generation[0], where)
    elif direct and chunk and filters is not None and _addresses_are_absolute(dataset):
        kind = "chunked"
    unwritten = kind == "contiguous" and offset is None and bool(math.prod(shape))
    heap = _check_texts(dataset, kind, math.prod(shape), where, unwritten=unwritten) if paths else 0
    fill = bytes(dtype.base.itemsize) if paths else _fill(made, kind_id, dtype, where)
    order, complete = _own_attribute(dataset, shape)
    return Layout(
        path, member, generation, shape, dtype.base, kind, offset, chunk, filters or (), fill,
        complete, order, allow_external, texts=paths, heap=heap,
    )  # fmt: skip


def _check_texts(dataset: h5d.DatasetID, kind: str, size: int, where: str, *, unwritten: bool) -> int:
    """Return what the places of texts count from, if they can be read where they are."""
    what = "has strings of variable length"
    if kind == "library" and size:
        raise UnsupportedError(f"{where}: {what} that are compact, in other files, or behind filters other than gzip's")
    made = h5i.get_file_id(dataset).get_create_plist()
    if made.get_sizes() != (8, 8):
        raise UnsupportedError(f"{where}: {what} in a file of addresses of {made.get_sizes()[0]} B, not 8 B")
    stored = dataset.get_create_plist()
    if stored.fill_value_defined() == h5d.FILL_VALUE_USER_DEFINED and h5py.Dataset(dataset).fillvalue:
        if kind == "chunked":
            counts = (-(-n // c) for n, c in zip(dataset.shape, stored.get_chunk(), strict=True))
            unwritten = dataset.get_num_chunks() < math.prod(counts)
        if unwritten:
            raise UnsupportedError(f"{where}: {what}, and a fill value where none was written")
    return int(made.get_userblock())


def _extent(dataset: h5d.DatasetID, nbytes: int, size: int, where: str) -> int | None:
    """Return where contiguous values begin, or None if they were never written."""
    offset = dataset.get_offset()
    if (
        offset is None or not nbytes or not dataset.get_storage_size()
    ):  # the library moves even no offset by user blocks
        return None
    if offset + nbytes > size:
        raise FormatError(f"{where}: claims bytes {offset} to {offset + nbytes} of a file of {size} bytes")
    if dataset.get_storage_size() < nbytes:
        raise FormatError(f"{where}: stores {dataset.get_storage_size()} bytes, but its shape and type need {nbytes}")
    return int(offset)


def _addresses_are_absolute(dataset: h5d.DatasetID) -> bool:
    """Say whether the library counts the bytes of a user block in the addresses of chunks."""
    user_block = h5i.get_file_id(dataset).get_create_plist().get_userblock()
    return bool(user_block == 0 or h5py.version.hdf5_version_tuple >= (2, 0, 0))


def _filters(made: h5p.PropDCID, where: str) -> tuple[Filter, ...] | None:
    """Return the filters of a data set, or None if the library must undo them."""
    steps: list[Filter] | None = []
    for i in range(made.get_nfilters()):
        code, _, values, name = made.get_filter(i)
        if code in _BUILT_IN:
            if steps is not None:
                steps.append(Filter(_BUILT_IN[code], int(values[0]) if values else 0))
            continue
        if not has_filter(code):
            raise UnsupportedError(
                f"{where}: is compressed with filter {code} ({name.decode(errors='replace')!r}), which is not there; "
                "pip install 'chunkarr[hdf5plugin]' brings the usual ones"
            )
        steps = None
    return None if steps is None else tuple(steps)


def _own_attribute(dataset: h5d.DatasetID, shape: Shape) -> tuple[Order, bool]:
    """Return order and completeness as chunkarr noted them, or what holds for others' data sets."""
    if not h5a.exists(dataset, ATTRIBUTE):
        return "C", False
    attribute = h5a.open(dataset, ATTRIBUTE)
    text_type = attribute.get_type()
    if attribute.shape or not isinstance(text_type, h5t.TypeStringID) or text_type.is_variable_str():
        return "C", False
    text = np.zeros((), f"S{min(text_type.get_size(), 4096)}")
    attribute.read(text)
    try:
        note = json.loads(text.tobytes().rstrip(b"\0"))
        known = isinstance(note, dict) and note.get("v") == 1 and note.get("shape") == list(shape)
    except ValueError:
        return "C", False
    # Whoever resized the data set since made chunks that chunkarr did not write.
    return ("F" if known and note.get("order") == "F" else "C"), bool(known and note.get("complete") is True)


def _fill(made: h5p.PropDCID, kind_id: h5t.TypeID, dtype: np.dtype[Any], where: str) -> bytes:
    """Return the value of elements that were never written."""
    if made.fill_value_defined() != h5d.FILL_VALUE_USER_DEFINED:
        return bytes(dtype.base.itemsize)
    if dtype.shape:
        raise UnsupportedError(f"{where}: a fill value of type {dtype} is beyond chunkarr")
    value = np.zeros((), kind_id.dtype)
    made.get_fill_value(value)
    return value.tobytes()
