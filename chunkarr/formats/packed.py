"""Packed integers: samples of 1 to 32 bits without gaps between them, as cameras and converters write them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial as bind
from math import prod
from typing import Any

import numpy as np

from chunkarr import fsio
from chunkarr.errors import FormatError, OptionError, UnsupportedError
from chunkarr.formats import journal
from chunkarr.formats.file_stored import READ, Access, check_access
from chunkarr.formats.flat import Order, check_order, check_shape
from chunkarr.formats.packed_layouts import Layout, layout_of
from chunkarr.formats.packed_stored import PackedStored, Placement, Signed
from chunkarr.formats.packed_target import PackedTarget
from chunkarr.formats.raw_gaps import count_of
from chunkarr.grid import Shape

__all__ = ["create", "open"]

SIGNED: dict[Any, Signed] = {False: "no", True: "twos", "offset": "offset"}


@dataclass(frozen=True)
class _Asked:
    """What the opener of a file said about it, so that it can be opened again."""

    layout: Layout
    signed: Signed
    shape: tuple[int, ...]  # with at most one -1
    offset: int  # bytes before the first sample
    footer: int  # bytes after the last one
    row_stride: int | None  # bytes from row to row
    row_align: int | None  # or: rows begin at multiples of it
    order: Order
    drop: bool  # whether what is no whole element or row at the end is left out


def open(  # noqa: A001 - every format has an `open`
    path: str,
    mode: str = "r",
    *,
    layout: str | None = None,
    bits: Any = None,
    bitorder: str | None = None,
    signed: bool | str = False,
    shape: Sequence[int] | int = (-1,),
    offset: Any = 0,
    footer: Any = 0,
    row_stride: Any = None,
    row_align: Any = None,
    order: str = "C",
    partial: str = "error",
) -> PackedStored:
    """Open a file of packed integers.

    Parameters
    ----------
    path, mode
        The file; ``mode`` is "r".
    layout
        A name: "raw10", "raw12", "raw14" (MIPI, as V4L2's SRGGB12P), "mono10p", "mono12p", "mono14p",
        "mono10packed", "mono12packed" (GenICam), "24le", "24be", "v210".
    bits, bitorder
        Instead of a name: samples of 1 to 32 bits that follow each other, the first one beginning at the
        least ("little") or the most significant bit ("big") of its byte.
    signed
        True: two's complement; "offset": offset binary; False: no negative numbers.
    shape
        Elements per axis; one may be -1: as many as the file holds. Without -1 the file may be longer.
    offset, footer
        Bytes before the first sample and after the last.
    row_stride, row_align
        Bytes from the beginning of one row (along the last axis) to that of the next; or a number of bytes of
        which that is the next multiple. Without, rows follow each other without gaps, also within bytes.
    order
        "C" or "F": whether the last or the first axis varies fastest. A row is along the axis that does.
    partial
        "error" or "drop": what becomes of bits at the end that are no whole element (with -1 in ``shape``).

    Returns
    -------
    PackedStored
        Of the smallest integer dtype that holds the samples.

    Raises
    ------
    FormatError
        If the file is not a whole number of samples, or too short for ``shape``.

    Examples
    --------
    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = os.path.join(directory, "a.bin")
    ...     np.array([0x21, 0x43, 0x65], "u1").tofile(path)
    ...     a = open(path, bits=4, bitorder="little", shape=(2, -1))
    ...     a.shape, a.dtype
    ((2, 3), dtype('uint8'))
    """
    access = check_access(path, mode, None, 0.0)
    if access.mode == "r+":
        raise UnsupportedError(f"{path}: packed integers cannot be changed in place; save a changed copy")
    if partial not in ("error", "drop"):
        raise OptionError(f'partial is "error" or "drop", not {partial!r}')
    asked = _Asked(
        layout_of(layout, bits, bitorder),
        _signed(signed),
        (int(shape),) if isinstance(shape, int | np.integer) else tuple(shape),
        count_of("offset", offset),
        count_of("footer", footer),
        None if row_stride is None else count_of("row_stride", row_stride, least=1),
        None if row_align is None else count_of("row_align", row_align, least=1),
        check_order(order),
        partial == "drop",
    )
    return _open(path, asked, access)


def _signed(signed: Any) -> Signed:
    if signed not in SIGNED:
        raise OptionError(f'signed is False, True (two\'s complement) or "offset" (offset binary), not {signed!r}')
    return SIGNED[signed]


def _open(path: str, asked: _Asked, access: Access = READ) -> PackedStored:
    def look(generation: tuple[int, int, int]) -> PackedStored:
        shape, stride = _fit(path, asked, generation[0])
        return PackedStored(
            path,
            shape,
            Placement.of(shape, asked.layout, stride, asked.signed, asked.order),
            format="packed",
            offset=asked.offset,
            order=asked.order,
            generation=generation,
            again=bind(_open, path, asked),
            access=access,
        )

    return journal.read_stable(journal.resolve(path), look)


def _row_bytes(layout: Layout, width: int, row_stride: int | None, row_align: int | None) -> int:
    """Return the bytes from row to row; 0 where rows follow each other without gaps."""
    if row_stride is not None and row_align is not None:
        raise OptionError(f"row_stride={row_stride} says where rows begin, row_align={row_align} too; give one of them")
    need = layout.span(width)
    if row_align is not None:
        return max(1, -(-need // row_align) * row_align)
    if row_stride is None:
        return 0
    if row_stride < need:
        raise OptionError(f"row_stride is {row_stride} B, but a row of {width} samples ({layout.name}) has {need} B")
    return row_stride


def _fit(path: str, asked: _Asked, size: int) -> tuple[Shape, int]:
    """Return the shape, its -1 replaced by what a file of ``size`` bytes holds, and the bytes from row to row."""
    if asked.shape.count(-1) > 1:
        raise OptionError(f"shape has at most one -1, not {asked.shape}")
    dtype = asked.layout.dtype(asked.signed != "no")
    known = check_shape(path, tuple(n for n in asked.shape if n != -1), dtype, OptionError)
    have = size - asked.offset - asked.footer
    if have < 0:
        raise FormatError(f"{path}: has {size} B, less than offset {asked.offset} B and footer {asked.footer} B")
    place = asked.shape.index(-1) if -1 in asked.shape else None
    fast = 0 if asked.order == "F" else len(asked.shape) - 1
    gaps = asked.row_stride is not None or asked.row_align is not None
    if gaps and place is not None and place == fast:
        raise OptionError(f"shape {asked.shape}: the length of rows that do not follow each other must be given")
    width = asked.shape[fast] if gaps and asked.shape else 1
    stride = _row_bytes(asked.layout, int(width), asked.row_stride, asked.row_align) if gaps else 0
    if place is not None:
        step = prod(known)
        count = _count(path, asked, step // width if gaps and width else step, have, stride, width)
        known = (*known[:place], count, *known[place:])
        known = check_shape(path, known, dtype, FormatError)
    need = _need(known, asked, stride, width)
    if need > have:
        raise FormatError(
            f"{path}: shape {known} of {asked.layout.name} integers needs {need} B after the offset of "
            f"{asked.offset} B, the file has {have} B there"
        )
    return known, stride


def _need(shape: Shape, asked: _Asked, stride: int, width: int) -> int:
    """Return the bytes that an array of ``shape`` takes, without what may follow its last row."""
    total = prod(shape)
    if not stride or not total:
        return asked.layout.span(total)
    return (total // width - 1) * stride + asked.layout.span(width)


def _count(path: str, asked: _Asked, step: int, have: int, stride: int, width: int) -> int:
    """Return how many steps of the open axis ``have`` bytes hold: each of ``step`` samples, or of ``step`` rows."""
    layout = asked.layout
    if not step or (stride and not width):
        raise OptionError(f"shape {asked.shape} has no bytes per step of its -1, so that the file's size says nothing")
    if stride:
        rows, left = divmod(have, stride)
        if left >= layout.span(width):  # the last row may lack its gap
            rows, left = rows + 1, 0
        count, unit = rows // step, f"{step} rows of {stride} B"
        left += rows % step * stride
    else:
        many = "" if step == 1 else f"rows of {step} "
        count, unit = layout.fits(have) // step, f"{many}{layout.bits}-bit values"
        # Bits of padding are a few that a writer left after an odd number of values; nobody says that they are.
        left = (
            8 * have - count * step * layout.bits
            if layout.nbytes * 8 == layout.samples * layout.bits
            else (have - layout.span(count * step))
        )
    if left and not asked.drop:
        what = "B" if stride or layout.nbytes * 8 != layout.samples * layout.bits else "bits"
        raise FormatError(
            f"{path}: {have} B is not a whole number of {unit} ({layout.name}): {left} {what} are left over; "
            'check layout, shape and offset, give the shape, or pass partial="drop"'
        )
    return count


def create(
    path: str,
    shape: Shape,
    dtype: Any,
    *,
    layout: str | None = None,
    bits: Any = None,
    bitorder: str | None = None,
    signed: bool | str = False,
    row_stride: Any = None,
    row_align: Any = None,
    order: str = "C",
    overwrite: bool = False,
    durability: fsio.Durability = "full",
    adopt: tuple[str, int] | None = None,
) -> PackedTarget:
    """Create a file of packed integers that appears on ``commit``.

    Parameters
    ----------
    path, shape, dtype
        The file and what it will hold: any integers or booleans whose values the layout has room for.
    layout, bits, bitorder, signed, row_stride, row_align, order
        As in `open`. Gaps between rows are zeros.
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
    UnsupportedError
        If ``dtype`` is not one of integers.
    """
    path, kind = os.fspath(path), np.dtype(dtype)
    if kind.kind not in "biu":
        raise UnsupportedError(f"{path}: packed integers cannot hold dtype {kind}; use astype to make integers of it")
    found, order, how = layout_of(layout, bits, bitorder), check_order(order), _signed(signed)
    whole = check_shape(path, shape, kind, OptionError)
    width = (whole[0 if order == "F" else -1]) if whole else 1
    stride = _row_bytes(
        found,
        width,
        None if row_stride is None else count_of("row_stride", row_stride, least=1),
        None if row_align is None else count_of("row_align", row_align, least=1),
    )
    place = Placement.of(whole, found, stride, how, order)
    return PackedTarget(path, whole, kind, place, order=order, overwrite=overwrite, durability=durability, adopt=adopt)
