"""MATLAB's files of version 7.3, which are HDF5 files in which attributes say what a data set stands for.

Axes are stored reversed; complex numbers as pairs; logicals and text as integers; of an empty array its dimensions;
cells and arrays of structs as references to what lies in ``/#refs#``; sparse matrices as groups of their parts.
Values are read as those of any data set, and then taken for what they stand for.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from math import prod
from typing import Any, Literal

import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5i, h5l, h5o, h5r, h5t

from chunkarr import fsio
from chunkarr.errors import ChunkarrError, FormatError, UnsupportedError
from chunkarr.formats import journal
from chunkarr.formats.contract import Member
from chunkarr.formats.file_stored import READ, Access, FileStored
from chunkarr.formats.flat import check_block
from chunkarr.formats.hdf5_access import naming, opened
from chunkarr.formats.hdf5_layout import Layout, describe
from chunkarr.formats.hdf5_stored import ChunkedHdf5, ContiguousHdf5, LibraryHdf5
from chunkarr.formats.mat5 import DEPTH_LIMIT, LINE_LIMIT, label
from chunkarr.formats.mat_text import decode_units, text_dtype, text_shape
from chunkarr.formats.mat_writer import axes_of, restored
from chunkarr.grid import Grid, Region, Shape, region_shape, region_size

__all__ = ["DTYPE", "Mat73Stored", "members73", "open73"]

Array = np.ndarray[Any, Any]
How = Literal["same", "logical", "text", "empty"]
WALKED = 100_000  # groups and data sets looked at to list what a file has
REFERENCES = 1 << 20  # elements of a cell
ATTRIBUTE_LIMIT = 1 << 16  # bytes of an attribute that is looked at
DTYPE = "chunkarr_dtype"  # attribute of an empty array that chunkarr wrote: what MATLAB does not tell apart
HIDDEN = ("#refs#", "#subsystem#")
NUMERIC = {"double": "f8", "single": "f4", "logical": "?", "char": "U1"} | {
    f"{name}int{8 * size}": f"{code}{size}" for name, code in (("", "i"), ("u", "u")) for size in (1, 2, 4, 8)
}


class Mat73Stored(FileStored):
    """An array of a MATLAB file of version 7.3.

    Parameters
    ----------
    member
        Its name in the file, as the user says it.
    layout
        What describes the data set, its type being that of the values; of an empty array only what is known.
    how
        What is to be made of the values.
    shape
        As the user sees it.
    access
        What it was opened for.
    """

    format = "mat"
    order = "F"

    def __init__(self, member: str, layout: Layout, how: How, shape: Shape, access: Access = READ) -> None:
        self._found(layout.path, layout.generation, access)
        self.member, self.layout, self.how, self.shape = member, layout, how, shape
        self.writable = False
        self.inner: ChunkedHdf5 | ContiguousHdf5 | LibraryHdf5 | None = None
        self.contiguous, self.dtype = True, layout.dtype
        dims = layout.shape[::-1]
        if how == "logical":
            self.dtype = np.dtype(bool)
        elif how == "text":
            self.dtype = text_dtype(dims[-1], layout.dtype.str[0].replace("|", "<"))
        if how == "empty":
            self.grid = Grid(shape, shape)
            return
        self.inner = _inner(layout)
        self.contiguous = self.inner.contiguous
        self._lead = len(dims) - len(shape) - (how == "text")  # axes of length 1 before those of the user
        self.grid = Grid(shape, self.inner.grid.steps[self._lead :][: len(shape)])

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.member, self.layout, self.how, self.shape, self.access)

    def __repr__(self) -> str:
        return f"<Mat73Stored {self.path}::{self.member} {self.shape} {self.dtype}>"

    def reopen(self) -> FileStored:
        """Open the array again, as it is now."""
        if self.layout.isolated:  # who asks imports what is here
            again: FileStored = import_module("chunkarr.formats.hdf5_isolated").open_isolated(
                self.path, "mat", self.member
            )
            return again

        def look(generation: tuple[int, int, int]) -> Mat73Stored:
            return open73(self.path, self.member, generation, self.access)

        return journal.read_stable(journal.resolve(self.path), look)

    def checked_by(self) -> str:
        """Return what tells `problems` that stored bytes changed."""
        return self.inner.checked_by() if self.inner is not None else ""

    def read(self, region: Region, out: Array, scratch: Array) -> None:
        """Fill ``out`` with ``region``; see `Stored.read`."""
        check_block(region, out, self.dtype)
        if self.inner is None or not out.size:
            return
        stored = self._stored(region)
        if self.how == "text":
            nbytes = -(-region_size(stored) * self.layout.dtype.itemsize // 8) * 8
            units = np.ndarray(region_shape(stored), self.layout.dtype, scratch, order="F")
            self.inner.read(stored, units, scratch[nbytes:])
            out[...] = decode_units(units)[(0,) * self._lead]
        elif self.how == "logical":
            values = out.view(self.layout.dtype)
            self.inner.read(stored, values[(None,) * self._lead], scratch)
            np.not_equal(values, 0, out=out)  # element by element in its own place
        else:
            self.inner.read(stored, out[(None,) * self._lead], scratch)

    def _stored(self, region: Region) -> Region:
        text = ((0, self.layout.shape[0]),) if self.how == "text" else ()
        return (*((0, 1),) * self._lead, *region, *text)

    def scratch_bytes(self, region: Region) -> int:
        """Return the bytes that reading takes, of text the units and what they become too."""
        if self.inner is None or not region_size(region):
            return 0
        stored = self._stored(region)
        text = region_size(stored) * (16 + self.layout.dtype.itemsize) + 8 if self.how == "text" else 0
        return self.inner.scratch_bytes(stored) + text

    def bytes_read(self, region: Region) -> int:
        """Return the bytes of the whole chunks touched, of ``region`` alone where nothing is encoded."""
        return self.inner.bytes_read(self._stored(region)) if self.inner is not None and region_size(region) else 0


def _inner(layout: Layout) -> ChunkedHdf5 | ContiguousHdf5 | LibraryHdf5:
    if layout.kind == "chunked":
        return ChunkedHdf5(layout)
    return LibraryHdf5(layout) if layout.kind == "library" or layout.offset is None else ContiguousHdf5(layout)


# --- what attributes say -------------------------------------------------------------------------


def _attribute(of: Any, name: bytes) -> Any:
    """Return the value of a small attribute, or None."""
    if not h5a.exists(of, name) or h5a.open(of, name).get_storage_size() > ATTRIBUTE_LIMIT:
        return None
    return h5py.AttributeManager(_Object(of))[name.decode()]


class _Object:
    """What h5py takes for an object that has attributes."""

    def __init__(self, of: Any) -> None:
        self.id, self._id = of, of


def _class(of: Any) -> str:
    value = _attribute(of, b"MATLAB_class")
    return value.decode("latin-1") if isinstance(value, bytes) else value if isinstance(value, str) else ""


def _number(of: Any, name: bytes) -> int:
    """Return an integer that is an attribute, 0 where there is none."""
    value = np.asarray(_attribute(of, name))
    return int(value.reshape(-1)[0]) if value.dtype.kind in "iu" and value.size == 1 else 0


def _is_references(of: Any) -> bool:
    return isinstance(of, h5d.DatasetID) and of.get_type().get_class() == h5t.REFERENCE


def _is_object(of: Any) -> bool:
    """Say whether it stands for an object of a class that only MATLAB knows."""
    return bool(h5a.exists(of, b"MATLAB_object_decode")) or _class(of) == "function_handle"


# --- members -------------------------------------------------------------------------------------


def _children(place: Any) -> Iterator[tuple[str, Any]]:
    """Yield the members of a group, cell, or array of structs, with their names within it."""
    if isinstance(place, h5d.DatasetID):
        dims = tuple(int(n) for n in place.shape[::-1])
        for index, reference in enumerate(_references(place)):
            yield label(index, dims), _dereference(place, reference)
        return
    names = [entry for entry in place if place.links.get_info(entry).type == h5l.TYPE_HARD]
    fields = [(name.decode("utf-8", "replace"), h5o.open(place, name)) for name in _in_order(place, names)]
    of_structs = fields and all(_is_references(of) and not _class(of) for _, of in fields)
    if not of_structs:
        yield from fields
        return
    dims = tuple(int(n) for n in fields[0][1].shape[::-1])
    columns = [_references(of) for _, of in fields]
    if len({len(column) for column in columns}) != 1:
        raise FormatError(f"fields of an array of structs have {[len(column) for column in columns]} elements")
    for index, row in enumerate(zip(*columns, strict=True)):
        for (field, of), reference in zip(fields, row, strict=True):
            yield f"{label(index, dims)}/{field}", _dereference(of, reference)


def _in_order(place: Any, names: list[bytes]) -> list[bytes]:
    """Return the names of a struct's fields in MATLAB's order, where that is noted."""
    noted = _attribute(place, b"MATLAB_fields")
    if not isinstance(noted, np.ndarray) or noted.dtype != object:
        return sorted(names)
    fields = [b"".join(bytes(letter) for letter in field) for field in noted.reshape(-1)]
    return fields if sorted(fields) == sorted(names) else sorted(names)


def _references(dataset: Any) -> Any:
    if prod(dataset.shape) > REFERENCES:
        raise UnsupportedError(f"a cell of {prod(dataset.shape)} elements; at most {REFERENCES} are read")
    return h5py.Dataset(dataset)[()].reshape(-1)


def _dereference(where: Any, reference: Any) -> Any:
    if not reference:
        raise FormatError("a cell refers to nothing")
    return h5r.dereference(reference, where)


def _has_members(of: Any) -> bool:
    """Say whether it is a struct, a cell or an array of structs."""
    if isinstance(of, h5g.GroupID):
        return not _is_object(of) and not h5a.exists(of, b"MATLAB_sparse")
    return _is_references(of) and _class(of) == "cell" and not _number(of, b"MATLAB_empty")


def _top(file: h5py.File) -> Iterator[tuple[str, Any]]:
    root = file["/"].id
    for entry in sorted(root):
        name = entry.decode("utf-8", "replace")
        if name not in HIDDEN and root.links.get_info(entry).type == h5l.TYPE_HARD:
            yield name, h5o.open(root, entry)


def _within(path: str, of: Any) -> Iterator[tuple[str, Any]]:
    return ((f"{path}/{name}", child) for name, child in _children(of))


def _walk(file: h5py.File) -> Iterator[tuple[str, Any]]:
    """Yield everything that is no struct and no cell, at any depth."""
    pending, above = [_top(file)], list[int]()
    for _ in range(WALKED):
        found = next(pending[-1], None)
        if found is None:
            pending.pop()
            if not pending:
                return
            above.pop()
            continue
        path, here = found
        if not _has_members(here):
            yield path, here
            continue
        address = int(h5o.get_info(here).addr)
        if address in above or len(pending) > DEPTH_LIMIT:
            raise FormatError(f"{path!r} is within itself, or nested deeper than {DEPTH_LIMIT}")
        above.append(address)
        pending.append(_within(path, here))


def members73(path: str, generation: tuple[int, int, int]) -> Iterator[Member]:
    """Yield what a file holds."""
    axes = _axes(path)
    with opened(path) as file, naming(path):
        for name, here in _walk(file):
            yield from _described(path, name, here, generation, axes)


def _described(path: str, name: str, here: Any, generation: Any, axes: int | None) -> Iterator[Member]:
    """Yield the arrays that something without members is read as."""
    sparse = isinstance(here, h5g.GroupID) and h5a.exists(here, b"MATLAB_sparse")
    parts = [(f"{name}/{part}", of) for part, of in _sparse_parts(here)] if sparse else [(name, here)]
    note = f"parts of a sparse matrix of {_number(here, b'MATLAB_sparse')} rows, column by column" if sparse else ""
    for part, of in parts:
        if _is_object(of) or not isinstance(of, h5d.DatasetID) or _is_references(of):
            yield Member(part, None, None, f"object of class {_class(of)}, not read")
            continue
        try:
            with naming(path, part):
                stored = _stored(path, part, of, generation, axes, READ)
        except ChunkarrError as error:
            yield Member(part, None, None, str(error))
            continue
        yield Member(part, stored.shape, stored.dtype, note or ("text" if stored.dtype.kind == "U" else ""))


def _sparse_parts(group: Any) -> list[tuple[str, Any]]:
    """Return the parts of a sparse matrix that are there: without values only where columns begin."""
    names = [name for name in (b"data", b"ir", b"jc") if name in group]
    return [
        (name.decode(), h5o.open(group, name)) for name in names if group.links.get_info(name).type == h5l.TYPE_HARD
    ]


def _axes(path: str) -> int | None:
    """Return how many axes chunkarr noted that the array had, in the text before the HDF5 file."""
    head = bytearray(116)
    fd = fsio.open_read(path)
    try:
        fsio.read_into(fd, head, 0, path)
    finally:
        os.close(fd)
    return axes_of(bytes(head))


# --- opening -------------------------------------------------------------------------------------


def open73(path: str, member: str, generation: tuple[int, int, int], access: Access) -> Mat73Stored:
    """Open an array; see `mat.open`."""
    if access.mode == "r+":
        raise UnsupportedError(
            f"{path}::{member}: arrays in MATLAB files of version 7.3 cannot be changed in place; save a changed copy, "
            'or open it with format="hdf5"'
        )
    axes = _axes(path)
    with opened(path) as file, naming(path, member):
        here = _find(path, file, member)
        return _stored(path, member, here, generation, axes, access)


def _find(path: str, file: h5py.File, member: str) -> h5d.DatasetID:
    rest, where = [part for part in member.split("/") if part], ""
    known, here = _top(file), None
    for _ in range(DEPTH_LIMIT):
        names = []
        for name, child in known:
            pieces = name.split("/")
            if rest[: len(pieces)] == pieces:
                here, rest, where = child, rest[len(pieces) :], "/".join((where, *pieces)).strip("/")
                break
            names.append(name)
        else:
            raise FormatError(f"{path}: there is no {'/'.join(rest)!r} in {where or '/'!r}, there are {names[:20]}")
        if not rest and isinstance(here, h5d.DatasetID) and not _has_members(here):
            return here
        if _is_object(here):
            raise UnsupportedError(
                f"{path}: {where!r} is an object of class {_class(here)}, which chunkarr does not read"
            )
        sparse = isinstance(here, h5g.GroupID) and bool(h5a.exists(here, b"MATLAB_sparse"))
        if not rest:
            names = [name for name, _ in (_sparse_parts(here) if sparse else _children(here))][:20]
            raise FormatError(f"{path}: {where!r} has members, choose one: {names}")
        if not sparse and not _has_members(here):
            raise FormatError(f"{path}: {where!r} is an array, so there is no {'/'.join(rest)!r} in it")
        known = iter(_sparse_parts(here)) if sparse else _children(here)
    raise FormatError(f"{path}: {member!r} is nested deeper than {DEPTH_LIMIT}")


def _stored(
    path: str, member: str, here: h5d.DatasetID, generation: tuple[int, int, int], axes: int | None, access: Access
) -> Mat73Stored:
    """Return the array that a data set stands for."""
    kind = _class(here)
    if _is_object(here) or (_is_references(here) and not _number(here, b"MATLAB_empty")):
        raise UnsupportedError(f"{path}: {member!r} is an object of class {kind}, which is not read")
    name = (h5i.get_name(here) or b"").decode("utf-8", "replace")
    layout = describe(here, path, name, generation, outside=False, allow_external=False)
    layout = replace(layout, order="F")
    if _number(here, b"MATLAB_empty"):
        return _empty(member, layout, here, kind, axes if "/" not in member else None, access)
    names, dims = layout.dtype.names, layout.shape[::-1]
    how: How = "same"
    if names is not None and len(names) == 2 and [n.lower() for n in names] == ["real", "imag"]:
        layout = replace(layout, dtype=_complex(layout.dtype))
    elif kind == "logical" and layout.dtype.itemsize == 1 and layout.dtype.kind in "iu":
        how = "logical"
    elif kind == "char" and layout.dtype.kind in "iu" and dims:
        if not 0 < dims[-1] <= LINE_LIMIT:
            raise UnsupportedError(f"{path}: {member!r} has lines of {dims[-1]} characters")
        how = "text"
    shape = text_shape(dims) if how == "text" else dims
    return Mat73Stored(member, layout, how, restored(shape, axes) if "/" not in member else shape, access)


def _complex(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the complex dtype that has the bytes of a pair, or that pair where there is none."""
    fields = [dtype[name] for name in dtype.names or ()]
    if fields[0] != fields[1] or fields[0].kind != "f" or dtype.itemsize != 2 * fields[0].itemsize:
        return dtype
    return np.dtype(f"{fields[0].str[0]}c{dtype.itemsize}") if dtype.itemsize in (8, 16) else dtype


def _empty(member: str, layout: Layout, here: Any, kind: str, axes: int | None, access: Access) -> Mat73Stored:
    """Return the empty array whose dimensions a data set holds."""
    if len(layout.shape) != 1 or not 1 <= layout.shape[0] <= 64 or layout.dtype.kind not in "iu":
        raise FormatError(f"{layout.path}: {member!r} is empty, but holds no dimensions: {layout.shape} {layout.dtype}")
    dims = tuple(int(n) for n in h5py.Dataset(here)[()])
    if prod(dims) or min(dims) < 0 or max(dims) >= 1 << 63:
        raise FormatError(f"{layout.path}: {member!r} is empty, but has dimensions {dims}")
    noted = _attribute(here, DTYPE.encode())
    known = isinstance(noted, bytes) and re.fullmatch(rb"[<>|](b1|[iufcU]\d{1,9})", noted)
    dtype = np.dtype(noted.decode() if known else "<" + NUMERIC.get(kind, "f8"))
    shape = dims[:-1] if dtype.kind == "U" and known else text_shape(dims) if kind == "char" else dims
    shape = restored(shape, axes)
    empty = replace(layout, dtype=dtype, shape=shape[::-1], kind="library", chunk=(), filters=(), fill=b"")
    return Mat73Stored(member, empty, "empty", shape, access)
