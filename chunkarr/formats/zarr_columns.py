"""Structured arrays as Zarr groups of one array per field: the layout that every reader of Zarr opens.

The group's attributes keep the dtype, so that chunkarr shows one structured array again. A field that is an
array itself has its axes last; one that is a structure is stored as records of bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Protocol

import google_crc32c
import numpy as np

from chunkarr import fsio
from chunkarr.errors import MetadataError, UnsupportedError
from chunkarr.formats.contract import Problem, Stored, Target, Update, ignore
from chunkarr.formats.zarr_dtypes import check_descr, descr_of, mark_of
from chunkarr.formats.zarr_json import Fields, load
from chunkarr.grid import Grid, Region, Shape, region_size, whole

__all__ = ["ColumnsStored", "ColumnsTarget", "FieldTarget", "fields_of", "open_columns"]

Array = np.ndarray[Any, Any]
VERSION = 1  # of the mark


def fields_of(path: str, dtype: np.dtype[Any]) -> dict[str, tuple[np.dtype[Any], Shape]]:
    """Return dtype and own axes of each field, whose names must do as names of arrays.

    Raises
    ------
    UnsupportedError
        If they do not.
    """
    found: dict[str, tuple[np.dtype[Any], Shape]] = {}
    for name in dtype.names or ():
        if not name or name.startswith((".", "__")) or set(name) & set("/\\\0") or name == "zarr.json":
            raise UnsupportedError(f'{path}: field {name!r} cannot be the name of an array; use layout="records"')
        base, axes = dtype[name].subdtype or (dtype[name], ())
        found[name] = base, axes
    if len({name.lower() for name in found}) < len(found):
        raise UnsupportedError(
            f'{path}: fields that differ in case only share a file on some systems; use layout="records"'
        )
    return found


def _inner(dtype: np.dtype[Any]) -> dict[str, Region]:
    """Return the region of each field's own axes."""
    return {name: whole(dtype[name].shape) for name in dtype.names or ()}


class FieldTarget(Protocol):
    """What a field is written to: a target within the hidden sibling, completed with the others."""

    grid: Grid

    def write(self, region: Region, block: Array, scratch: Array) -> None:
        """Write; see `Target.write`."""

    def scratch_bytes(self, region: Region) -> int:
        """Return the bytes; see `Target.scratch_bytes`."""

    def blank(self) -> None:
        """Let what was not written be the fill value."""

    def complete(self) -> None:
        """Write what makes it a whole array, within the hidden sibling."""

    def settle(self, regions: Sequence[Region], *, durable: bool) -> list[int]:
        """Return marks; see `Target.settle`."""


class ColumnsTarget(Target):
    """A structured array being written as one Zarr array per field.

    Parameters
    ----------
    path, part, lock
        The group to be, its hidden sibling and the lock of that; None for writers in other processes.
    shape, dtype
        Of the structured array.
    fields
        What each field is written to.
    overwrite, durability
        As in `fsio.publish`.
    """

    distributable = True

    def __init__(
        self,
        path: str,
        part: str,
        lock: int | None,
        shape: Shape,
        dtype: np.dtype[Any],
        fields: Mapping[str, FieldTarget],
        overwrite: bool,
        durability: fsio.Durability,
    ) -> None:
        self.recipe = (path, part, None, shape, dtype, fields, overwrite, durability)
        self.path, self.part, self.shape, self.dtype, self.fields = path, part, shape, dtype, dict(fields)
        self.overwrite, self.durability = overwrite, durability
        self.grid = Grid(shape, next(iter(self.fields.values())).grid.steps[: len(shape)])
        self._inner = _inner(dtype)
        self._owned = None if lock is None else fsio.Owned(self, part, lock)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as a recipe for writers, without the lock."""
        return ColumnsTarget, self.recipe

    def scratch_bytes(self, region: Region) -> int:
        """Return the bytes that the field that takes the most holds; see `Target.scratch_bytes`."""
        return max(target.scratch_bytes((*region, *self._inner[name])) for name, target in self.fields.items())

    def write(self, region: Region, block: Array, scratch: Array) -> None:
        """Write each field of ``block`` at ``region``; see `Target.write`."""
        for name, target in self.fields.items():
            target.write((*region, *self._inner[name]), block[name], scratch)

    def blank(self) -> None:
        """Let boxes that were not written hold the fill value; see `Target.blank`."""
        for target in self.fields.values():
            target.blank()

    def settle(self, regions: Sequence[Region], *, durable: bool) -> list[int]:
        """Return marks of what lies at each region, of all fields together; see `Target.settle`."""
        columns = [
            target.settle([(*region, *self._inner[name]) for region in regions], durable=durable)
            for name, target in self.fields.items()
        ]
        return [
            -1 if -1 in marks else int(google_crc32c.value(repr(marks).encode()))
            for marks in zip(*columns, strict=True)
        ]

    def commit(self) -> None:
        """Make the group appear under its name, whole; see `Target.commit`."""
        for target in self.fields.values():
            target.complete()
        mark = {"v": VERSION, "layout": "columns", "dtype": descr_of(self.dtype)}
        document = {"zarr_format": 3, "node_type": "group", "attributes": {"chunkarr": mark}}
        file = os.path.join(self.part, "zarr.json")
        fsio.discard(file)  # of a commit that failed
        fsio.write_new(file, json.dumps(document, indent=2).encode())
        if self.durability == "full":
            fsio.sync_tree(self.part)
        fsio.publish(self.part, self.path, self.overwrite, self.durability)
        self.abort()

    def release(self) -> None:
        """Give up the lock without removing the unfinished group; see `Target.release`."""
        if self._owned is not None:
            self._owned.release()

    def abort(self) -> None:
        """Remove the unfinished group; never raises, and does nothing to one that was committed."""
        if self._owned is not None:
            self._owned.remove()


def open_columns(path: str, missing: str | None, opener: Callable[[str, str | None], Stored]) -> ColumnsStored | None:
    """Open the group at ``path`` as the structured array that it is; None if it is a group of other arrays.

    Raises
    ------
    MetadataError
        If its fields are not those that its attributes say.
    """
    file = os.path.join(path, "zarr.json")
    try:
        document = load(file)
    except (FileNotFoundError, MetadataError):
        return None
    attributes = document.get("attributes")
    if document.get("node_type") != "group" or not isinstance(attributes, dict):
        return None
    fields = Fields(document, file)
    mark = mark_of(attributes, fields)
    if mark.get("layout") != "columns":
        return None
    dtype = check_descr(mark.get("dtype"), fields)
    columns: dict[str, Stored] = {}
    for name, (base, axes) in fields_of(path, dtype).items():
        try:
            columns[name] = opener(os.path.join(path, name), missing)
        except FileNotFoundError:
            raise MetadataError(f"{file}: says that there is a field {name!r}, but it has no array") from None
        found = columns[name].shape
        if columns[name].dtype != base or found[len(found) - len(axes) :] != axes:
            fields.fail(f"field {name!r} is {dtype[name]}, its array has shape {found} of {columns[name].dtype}")
    shapes = {column.shape[: len(column.shape) - dtype[name].ndim] for name, column in columns.items()}
    if len(shapes) != 1:
        fields.fail(f"its fields have shapes {sorted(shapes)}, not the same")
    return ColumnsStored(path, shapes.pop(), dtype, columns, missing, opener)


class ColumnsStored(Stored):
    """A structured array, stored as one Zarr array per field."""

    format = "zarr"
    contiguous = False

    def __init__(
        self,
        path: str,
        shape: Shape,
        dtype: np.dtype[Any],
        columns: dict[str, Stored],
        missing: str | None,
        opener: Callable[[str, str | None], Stored],
    ) -> None:
        self.path, self.shape, self.dtype, self.columns, self.missing = path, shape, dtype, columns, missing
        self._opener, self._inner = opener, _inner(dtype)
        self.grid = Grid(shape, next(iter(columns.values())).grid.steps[: len(shape)])
        self._own = self.generation()
        self._padded = sum(dtype[name].itemsize for name in columns) != dtype.itemsize

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as path, options and the fields' recipes."""
        return ColumnsStored, (self.path, self.shape, self.dtype, self.columns, self.missing, self._opener)

    def read(self, region: Region, out: Array, scratch: Array) -> None:
        """Fill each field of ``out``, and zeros between them; see `Stored.read`."""
        if self._padded:
            out.view(f"V{self.dtype.itemsize}")[...] = np.zeros((), f"V{self.dtype.itemsize}")
        for name, column in self.columns.items():
            column.read((*region, *self._inner[name]), out[name], scratch)

    def scratch_bytes(self, region: Region) -> int:
        """Return the bytes that the field that takes the most needs; see `Stored.scratch_bytes`."""
        return max(column.scratch_bytes((*region, *self._inner[name])) for name, column in self.columns.items())

    def bytes_read(self, region: Region) -> int:
        """Return the decoded bytes of all fields' chunks that ``region`` touches, padding between fields included."""
        fields = sum(column.bytes_read((*region, *self._inner[name])) for name, column in self.columns.items())
        return max(fields, region_size(region) * self.dtype.itemsize)

    def generation(self) -> Hashable:
        """Return what changes with the data of any field."""
        try:
            return tuple(column.generation() for column in self.columns.values())
        except FileNotFoundError as error:
            return "damaged", str(error)

    def fresh(self) -> Stored:
        """Return the array as it is now; see `Stored.fresh`."""
        return self if self.generation() == self._own else self._opener(self.path, self.missing)

    def update(self, shape: Shape | None = None) -> Update:
        """Refuse: each field is changed by itself."""
        del shape
        first = next(iter(self.columns))
        raise UnsupportedError(
            f'{self.path}: its fields are arrays of their own; open "{self.path}::{first}" to change one'
        )

    def checked_by(self) -> str:
        """Return what tells `problems` that stored bytes changed."""
        return next(iter(self.columns.values())).checked_by()

    def problems(self, share: tuple[int, int] = (0, 1), done: Callable[[int], object] = ignore) -> Iterator[Problem]:
        """Read every field and yield what is not as it was written; see `Stored.problems`."""
        return chain.from_iterable(column.problems(share, done) for column in self.columns.values())
