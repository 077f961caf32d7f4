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
from chunkarr.formats.raw_gaps import Gapped, count_of, find_records
from chunkarr.formats.record_types import record_type
from chunkarr.formats.runs import Descriptor
from chunkarr.grid import Shape

__all__ = ["create", "open"]


def open(  # noqa: A001 - every format has an `open`
    path: str,
    mode: str = "r",
    *,
    dtype: Any,
    shape: Sequence[int] | int = (-1,),
    offset: Any = 0,
    footer: Any = 0,
    stride: Any = None,
    byteorder: str | None = None,
    markers: Any = None,
    record: Any = None,
    order: str = "C",
    partial: str = "error",
    durability: str | None = None,
    timeout: float = 0.0,
) -> FlatStored:
    """Open a file of raw records.

    Parameters
    ----------
    path, mode
        The file; ``mode`` is "r", or "r+" to change it.
    dtype
        What a record is, as `numpy.dtype` takes it; as text also a list of fields, or a C structure
        (see `record_types`).
    shape
        Elements per axis; one may be -1: as many as the file holds. Without -1 the file may be longer.
    offset, footer
        Bytes before the first record and after the last.
    stride
        Bytes from one record to the next, where that is more than a record has.
    byteorder
        "little" or "big", instead of what ``dtype`` says.
    markers
        4 or 8: the bytes of the markers before and after each record of a sequential Fortran file.
    record
        Of such a file, the one record that is meant; without it all records are, which are of one length.
    order
        "C" or "F": whether the last or the first axis varies fastest.
    partial
        "error" or "drop": what becomes of bytes at the end that are no whole record (with -1 in ``shape``).
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
    if partial not in ("error", "drop"):
        raise OptionError(f'partial is "error" or "drop", not {partial!r}')
    kind = _in_order(_record(path, dtype), byteorder)
    lies = _Lies(
        count_of("offset", offset),
        count_of("footer", footer),
        None if stride is None else count_of("stride", stride, kind.itemsize),
        markers,
        record,
        partial == "drop",
    )
    if access.mode == "r+":
        if lies.gaps:
            raise UnsupportedError(f"{path}: records with gaps or markers cannot be changed; save a changed copy")
        journal.tidy(journal.resolve(path))
    wanted = _Wanted((int(shape),) if isinstance(shape, int | np.integer) else tuple(shape))
    return _open(path, wanted, kind, lies=lies, order=order, access=access)


@dataclass(frozen=True)
class _Lies:
    """Where the records lie in the file, as far as it was said."""

    offset: int  # bytes before the first
    footer: int  # bytes after the last
    stride: int | None  # bytes from one to the next, if not what a record has
    markers: Any  # bytes of Fortran markers, if there are any
    record: Any  # which Fortran record; None: all
    drop: bool  # whether what is no whole record at the end is left out

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        if self.markers is None and self.record is not None:
            raise OptionError("record= chooses a record of a Fortran file; say markers=4 or 8 too")
        if self.markers is not None and self.stride is not None:
            raise OptionError(f"stride={self.stride} and markers={self.markers} both say what is between records")

    @property
    def gaps(self) -> bool:
        return self.stride is not None or self.markers is not None


@dataclass
class _Wanted:
    """The shape that was asked for; changes with the array, so that those who hold it find it again."""

    shape: tuple[int, ...]  # with at most one -1


def _open(path: str, wanted: _Wanted, dtype: np.dtype[Any], *, lies: _Lies, order: Order, access: Access) -> _RawStored:
    def look(generation: tuple[int, int, int]) -> _RawStored:
        have = generation[0] - lies.offset - lies.footer
        if have < 0:
            after = f" and the footer of {lies.footer} B" if lies.footer else ""
            raise FormatError(f"{path}: has {generation[0]} B, less than the offset of {lies.offset} B{after}")
        offset, source = lies.offset, None
        if lies.gaps:
            offset, have, source = _without_gaps(path, dtype, lies, have)
        whole = _fit(path, wanted.shape, dtype, have, lies)
        stored = _RawStored(
            path, whole, dtype, format="raw", offset=offset, order=order, generation=generation, access=access
        )
        stored.wanted, stored.lies, stored.meaning = wanted, lies, repr(lies)
        if source is not None:
            stored.source = source  # type: ignore[assignment]  # a file without its gaps is read as a file is
        return stored

    return journal.read_stable(journal.resolve(path), look)


def _without_gaps(path: str, dtype: np.dtype[Any], lies: _Lies, have: int) -> tuple[int, int, Gapped | None]:
    """Return the byte of the first record and the bytes of all, gaps left out, and what reads them so."""
    file = Descriptor(path, writable=False)
    if lies.markers is not None:
        found = find_records(path, lies.offset, lies.offset + have, lies.markers, lies.record, drop=lies.drop)
        if found.count == 1:
            return found.start, found.nbytes, None
        return 0, found.count * found.nbytes, Gapped(file, found.start, found.nbytes, found.period, found.marker)
    item, stride = dtype.itemsize, lies.stride or dtype.itemsize
    count, left = divmod(have, stride)
    if left >= item:  # the last one may lack its gap
        count, left = count + 1, 0
    if left and not lies.drop:
        raise FormatError(
            f"{path}: {have} B after the offset of {lies.offset} B are {count} records {stride} B apart "
            f'and {left} B left over, less than the {item} B of a record; check stride, or pass partial="drop"'
        )
    return 0, count * item, Gapped(file, lies.offset, item, stride)


class _RawStored(FlatStored):
    """The records of a raw file."""

    wanted: _Wanted
    lies: _Lies
    meaning: str

    def reopen(self) -> _RawStored:
        """Open the array again, as it is now."""
        return _open(self.path, self.wanted, self.dtype, lies=self.lies, order=self.order, access=self.access)

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
        record: np.dtype[Any] = record_type(dtype) if isinstance(dtype, str) else np.dtype(dtype)
    except OptionError:
        raise
    except (TypeError, ValueError, SyntaxError) as error:
        raise OptionError(f"dtype {dtype!r} is not one that NumPy knows: {error}") from None
    if record.hasobject:
        raise UnsafeInputError(f"{path}: dtype {record} holds Python objects; chunkarr never unpickles")
    if not record.itemsize or record.subdtype is not None:
        raise OptionError(f"a record has at least one byte and no shape of its own, unlike dtype {record}")
    return record


def _in_order(dtype: np.dtype[Any], byteorder: str | None) -> np.dtype[Any]:
    if byteorder is None:
        return dtype
    if byteorder not in ("little", "big"):
        raise OptionError(f'byteorder is "little" or "big", not {byteorder!r}')
    return dtype.newbyteorder("<" if byteorder == "little" else ">")


def _fit(path: str, wanted: tuple[int, ...], dtype: np.dtype[Any], have: int, lies: _Lies) -> Shape:
    """Return ``wanted`` with its -1 replaced by what ``have`` bytes of records hold."""
    if wanted.count(-1) > 1:
        raise OptionError(f"shape has at most one -1, not {wanted}")
    known = check_shape(path, tuple(n for n in wanted if n != -1), dtype, OptionError)
    record = prod(known) * dtype.itemsize  # bytes for each step along the open axis
    if -1 not in wanted:
        if record > have:
            raise FormatError(
                f"{path}: shape {known} of dtype {dtype} needs {record} B after the offset of {lies.offset} B, "
                f"the file has {have} B there"
            )
        return known
    if not record:
        raise OptionError(f"shape {wanted} has no bytes per step of its -1, so that the file's size says nothing")
    count, rest = divmod(have, record)
    if rest and not lies.drop:
        raise FormatError(
            f"{path}: {have} B after the offset of {lies.offset} B are {count} records of {record} B and {rest} B left "
            'over; check dtype, shape and offset, or pass partial="drop"'
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
