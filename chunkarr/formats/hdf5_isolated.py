"""HDF5 files, MATLAB's of version 7.3 too, that are parsed by a child process; see `isolation`.

The child hands back what describes an array: `Layout`, and where chunks are. Values of filters that chunkarr knows are
read and decoded here and never pass through the child; those that only the library can decode, do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np

from chunkarr.errors import FormatError
from chunkarr.formats import journal
from chunkarr.formats.contract import Member
from chunkarr.formats.file_stored import FileStored
from chunkarr.formats.hdf5_access import find, naming, opened
from chunkarr.formats.hdf5_filters import Filter
from chunkarr.formats.hdf5_layout import Layout, chunk_index, layout_as_json
from chunkarr.formats.hdf5_library import read_piece
from chunkarr.formats.hdf5_stored import ChunkedHdf5, ContiguousHdf5, LibraryHdf5
from chunkarr.formats.hdf5_text import TextHdf5
from chunkarr.formats.hdf5_types import PLACE, place_of
from chunkarr.formats.isolation import ask, dtype_as_json, dtype_of_json
from chunkarr.grid import region_shape

__all__ = ["answer", "list_isolated", "open_isolated"]

KINDS = ("contiguous", "chunked", "library")
READERS: tuple[Any, ...] = (ChunkedHdf5, LibraryHdf5, ContiguousHdf5)
FILTERS = ("deflate", "shuffle", "fletcher32")


# --- asking --------------------------------------------------------------------------------------


def open_isolated(path: str, format: str, member: str | None, *, allow_external: bool = False) -> FileStored:  # noqa: A002
    """Open an array of a file that the child parses; ``format`` is "hdf5" or "mat"."""

    def look(_generation: tuple[int, int, int]) -> FileStored:
        question = {"what": "open", "path": path, "format": format, "member": member, "external": allow_external}
        value, _ = ask(question)
        try:
            return _rebuilt(path, value)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FormatError(f"{path}: who parses it gave an answer that is none: {error}") from None

    return journal.read_stable(journal.resolve(path), look)


def list_isolated(path: str, format: str) -> list[Member]:  # noqa: A002 - the user's word
    """List what a file holds that the child parses."""
    value, _ = ask({"what": "members", "path": path, "format": format})
    try:
        return [
            Member(str(name), None if shape is None else _ints(shape), dtype and dtype_of_json(dtype), str(note))
            for name, shape, dtype, note in value
        ]
    except (TypeError, ValueError) as error:
        raise FormatError(f"{path}: who parses it gave an answer that is none: {error}") from None


def _rebuilt(path: str, value: dict[str, Any]) -> FileStored:
    layout = _layout_of_json(path, value["layout"])
    if value["class"] == "Mat73Stored":
        how, shape = str(value["how"]), _ints(value["shape"])
        stored: FileStored = import_module("chunkarr.formats.hdf5_matlab").Mat73Stored(
            str(value["member"]), layout, how, shape
        )
        return stored
    kinds: dict[str, Callable[[Layout], FileStored]] = {kind.__name__: kind for kind in READERS}
    if value["class"] == "TextHdf5":
        texts = tuple(str(np.dtype(kind).str) for kind in value["kinds"])
        if len(texts) != len(layout.texts) or any(kind[1] not in "US" for kind in texts):
            raise ValueError(f"{texts!r:.100} are no texts")
        return TextHdf5(kinds[value["raw"]](layout), texts)
    return kinds[value["class"]](layout)


def _ints(values: Any) -> tuple[int, ...]:
    whole = tuple(values)
    if not all(isinstance(n, int) and 0 <= n < 1 << 63 for n in whole):
        raise ValueError(f"{whole!r:.100} are no sizes")
    return whole


def _layout_of_json(path: str, said: dict[str, Any]) -> Layout:
    """Return what the child described; what would lead the reader outside the file is refused."""
    dtype, shape, chunk = dtype_of_json(said["dtype"]), _ints(said["shape"]), _ints(said["chunk"])
    filters = tuple(Filter(name, int(value)) for name, value in said["filters"])
    size, modified, inode = (int(n) for n in said["generation"])
    offset = None if said["offset"] is None else int(said["offset"])
    fill = bytes.fromhex(said["fill"])
    texts, heap = tuple(tuple(map(str, path)) for path in said["texts"]), int(said["heap"])
    bad = (
        said["kind"] not in KINDS
        or any(step.name not in FILTERS for step in filters)
        or (chunk and (len(chunk) != len(shape) or 0 in chunk))
        or (offset is not None and not 0 <= offset <= size)
        or said["order"] not in ("C", "F")
        or (said["kind"] == "chunked" and len(fill) != dtype.itemsize)
        or any(place_of(dtype, path) != PLACE for path in texts)
        or heap < 0
    )
    if bad:
        raise ValueError(f"{said!r:.200}")
    return Layout(
        path, str(said["member"]), (size, modified, inode), shape, dtype, said["kind"], offset, chunk, filters, fill,
        bool(said["complete"]), said["order"], bool(said["allow_external"]), isolated=True, texts=texts, heap=heap,
    )  # fmt: skip


# --- answering, in the child ---------------------------------------------------------------------


def answer(question: dict[str, Any]) -> tuple[Any, Any]:
    """Return what is asked: as JSON can hold it, and bytes."""
    return {"open": _open, "members": _members, "index": _index, "read": _read}[question["what"]](question)


def _open(question: dict[str, Any]) -> tuple[Any, bytes]:
    module = import_module(f"chunkarr.formats.{question['format']}")
    options = {"allow_external": True} if question["external"] else {}
    stored: Any = module.open(question["path"], member=question["member"], **options)
    said = {"class": type(stored).__name__, "layout": layout_as_json(stored.layout)}
    if said["class"] == "Mat73Stored":
        said |= {"member": stored.member, "how": stored.how, "shape": list(stored.shape)}
    if said["class"] == "TextHdf5":
        said |= {"kinds": stored.kinds, "raw": type(stored.raw).__name__}
    return said, b""


def _members(question: dict[str, Any]) -> tuple[Any, bytes]:
    module = import_module(f"chunkarr.formats.{question['format']}")
    listed: list[Member] = module.members(question["path"])
    return [[m.name, m.shape, None if m.dtype is None else dtype_as_json(m.dtype), m.note] for m in listed], b""


def _index(question: dict[str, Any]) -> tuple[Any, Any]:
    layout = replace(_layout_of_json(question["path"], question["layout"]), isolated=False)
    return None, chunk_index(layout).packed()


def _read(question: dict[str, Any]) -> tuple[Any, Any]:
    path, member = question["path"], question["member"]
    region = tuple((int(a), int(b)) for a, b in question["region"])
    values = np.empty(region_shape(region), dtype_of_json(question["dtype"]))
    with opened(path) as file, naming(path, member):
        dataset, _ = find(file, path, member, allow_external=question["external"])
        read_piece(dataset, region, values, np.empty(values.nbytes, np.uint8))
    return None, values.tobytes()
