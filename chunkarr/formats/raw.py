"""Raw records: a file without a header, described by whoever opens it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from chunkarr import fsio
from chunkarr.errors import FormatError, OptionError, UnsafeInputError, UnsupportedError
from chunkarr.formats import journal
from chunkarr.formats.file_stored import Access, check_access
from chunkarr.formats.flat import FlatTarget, Order, check_order, check_shape
from chunkarr.formats.flat_stored import FlatStored
from chunkarr.grid import Shape

__all__ = ["create", "open"]


def open(  # noqa: A001 - every format has an `open`
    path: str,
    mode: str = "r",
    *,
    dtype: Any,
    shape: Sequence[int] | int = (-1,),
    offset: Any = 0,
    order: str = "C",
    durability: str | None = None,
    timeout: float = 0.0,
) -> FlatStored:
    """Open a file of raw records.

    Parameters
    ----------
    path, mode
        The file; ``mode`` is "r", or "r+" to change it.
    dtype
        What a record is, as `numpy.dtype` takes it.
    shape
        Elements per axis; one may be -1: as many as the file holds. Without -1 the file may be longer.
    offset
        Bytes before the first record.
    order
        "C" or "F": whether the last or the first axis varies fastest.
    durability
        "full": changes survive power loss; "process": the death of this process; None: as the setting says.
    timeout
        Seconds that a change waits for another writer.

    Raises
    ------
    FormatError
        If the file is not a whole number of records, or too short for ``shape``.
    UnsafeInputError
        If ``dtype`` holds Python objects.

    Examples
    --------
    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = os.path.join(directory, "a.raw")
    ...     np.arange(6, dtype=">u2").tofile(path)
    ...     open(path, dtype=">u2", shape=(-1, 2)).shape
    (3, 2)
    """
    access = check_access(path, mode, durability, timeout)
    order = check_order(order)
    dtype = _record(path, dtype)
    if isinstance(offset, bool) or not isinstance(offset, int | np.integer) or offset < 0:
        raise OptionError(f"offset is a number of bytes, 0 or more, not {offset!r}")
    if access.mode == "r+":
        journal.tidy(journal.resolve(path))
    wanted = _Wanted((shape,) if isinstance(shape, int | np.integer) else tuple(shape))
    return _open(path, wanted, dtype, offset=int(offset), order=order, access=access)


@dataclass
class _Wanted:
    """The shape that was asked for; changes with the array, so that those who hold it find it again."""

    shape: tuple[int, ...]  # with at most one -1


def _open(path: str, wanted: _Wanted, dtype: np.dtype[Any], *, offset: int, order: Order, access: Access) -> _RawStored:
    def look(generation: tuple[int, int, int]) -> _RawStored:
        whole = _fit(path, wanted.shape, dtype, offset, generation[0])
        stored = _RawStored(
            path, whole, dtype, format="raw", offset=offset, order=order, generation=generation, access=access
        )
        stored.wanted = wanted
        return stored

    return journal.read_stable(journal.resolve(path), look)


class _RawStored(FlatStored):
    """The records of a raw file."""

    wanted: _Wanted

    def reopen(self) -> _RawStored:
        """Open the array again, as it is now."""
        return _open(self.path, self.wanted, self.dtype, offset=self.offset, order=self.order, access=self.access)

    def check_resize(self, shape: Shape) -> Shape:
        """Return ``shape`` if the array can have it: nothing else may lie behind the records."""
        end = self.offset + prod(self.shape) * self.dtype.itemsize
        if self.found[0] != end:
            raise UnsupportedError(
                f"{self.path}: {self.found[0] - end} B lie behind the {end} B that shape {self.shape} covers, "
                "so its shape cannot change; open it with -1 in shape to see all"
            )
        return super().check_resize(shape)

    def resized(self, shape: Shape) -> None:
        """Remember ``shape``, its -1 kept."""
        open_axis = self.wanted.shape.index(-1) if -1 in self.wanted.shape else None
        if open_axis is not None and 0 not in (*shape[:open_axis], *shape[open_axis + 1 :]):
            self.wanted.shape = (*shape[:open_axis], -1, *shape[open_axis + 1 :])
        else:
            self.wanted.shape = shape


def _record(path: str, dtype: Any) -> np.dtype[Any]:
    """Return ``dtype`` as a dtype whose bytes can be read and written as they are."""
    try:
        record: np.dtype[Any] = np.dtype(dtype)
    except (TypeError, ValueError, SyntaxError) as error:
        raise OptionError(f"dtype {dtype!r} is not one that NumPy knows: {error}") from None
    if record.hasobject:
        raise UnsafeInputError(f"{path}: dtype {record} holds Python objects; chunkarr never unpickles")
    if not record.itemsize or record.subdtype is not None:
        raise OptionError(f"a record has at least one byte and no shape of its own, unlike dtype {record}")
    return record


def _fit(path: str, wanted: tuple[int, ...], dtype: np.dtype[Any], offset: int, size: int) -> Shape:
    """Return ``wanted`` with its -1 replaced by what a file of ``size`` bytes holds."""
    if wanted.count(-1) > 1:
        raise OptionError(f"shape has at most one -1, not {wanted}")
    known = check_shape(path, tuple(n for n in wanted if n != -1), dtype, OptionError)
    record = prod(known) * dtype.itemsize  # bytes for each step along the open axis
    have = size - offset
    if have < 0:
        raise FormatError(f"{path}: has {size} B, less than the offset of {offset} B")
    if -1 not in wanted:
        if record > have:
            raise FormatError(
                f"{path}: shape {known} of dtype {dtype} needs {record} B after the offset of {offset} B, "
                f"the file has {have} B there"
            )
        return known
    if not record:
        raise OptionError(f"shape {wanted} has no bytes per step of its -1, so that the file's size says nothing")
    count, rest = divmod(have, record)
    if rest:
        raise FormatError(
            f"{path}: {have} B after the offset of {offset} B are {count} records of {record} B and {rest} B left "
            "over; check dtype, shape and offset"
        )
    place = wanted.index(-1)
    return (*known[:place], count, *known[place:])


def create(
    path: str,
    shape: Shape,
    dtype: Any,
    *,
    order: str = "C",
    overwrite: bool = False,
    durability: fsio.Durability = "full",
    adopt: tuple[str, int] | None = None,
) -> FlatTarget:
    """Create a file of raw records that appears on ``commit``.

    Parameters
    ----------
    path, shape, dtype
        The file and what it will hold.
    order
        "C" or "F": whether the last or the first axis varies fastest.
    overwrite
        Whether a file of that name may be replaced.
    durability
        "full": on the disk when ``commit`` returns; "process": safe against kill, not power loss.
    adopt
        An unfinished sibling of the same file and its lock, to go on with instead of a new one.

    Raises
    ------
    TargetExistsError
        If the file exists and ``overwrite`` is False.
    OSError
        If there is no space for it.
    """
    path = os.fspath(path)
    record = _record(path, dtype)
    return FlatTarget(
        path,
        check_shape(path, shape, record, OptionError),
        record,
        header=b"",
        order=check_order(order),
        overwrite=overwrite,
        durability=durability,
        adopt=adopt,
    )
