"""Variables of MATLAB files of version 4: each a header of 20 bytes, its name, and its numbers column by column.

The first word says the byte order, the type of the numbers, and whether they are numbers, text or a sparse
matrix; then come rows, columns, whether there are imaginary parts, and the length of the name.
Source: https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chunkarr.errors import FormatError, UnsupportedError
from chunkarr.formats.contract import Member
from chunkarr.formats.mat5 import LINE_LIMIT
from chunkarr.formats.mat_stored import Block, Layout
from chunkarr.formats.mat_tags import Reader
from chunkarr.formats.mat_text import text_dtype, text_shape

__all__ = ["Variable4", "entries4", "find4", "variables4"]

HEADER = 20  # bytes
NAME_LIMIT = 4096  # bytes of a name
CODES = ("f8", "f4", "i4", "i2", "u2", "u1")
FULL, TEXT, SPARSE = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Variable4:
    """What describes a variable."""

    reader: Reader
    name: str
    kind: int
    dims: tuple[int, int]
    dtype: np.dtype[Any]  # of the numbers as stored
    is_complex: bool
    at: int  # where they begin
    size: int  # bytes of all of them


def variables4(reader: Reader) -> Iterator[Variable4]:
    """Yield the variables of a file, as they come."""
    at = 0
    while at < reader.size:
        if reader.size - at < HEADER:
            raise reader.bad(at, f"a variable needs {HEADER} B, {reader.size - at} B are there")
        raw = reader.take(at, HEADER)
        words = "<" if 0 <= struct.unpack("<i", raw[:4])[0] <= 5000 else ">"
        mopt, rows, columns, imaginary, length = struct.unpack(words + "5i", raw)
        order, code, kind = divmod(mopt, 1000)[0], mopt // 10 % 10, mopt % 10
        if not 0 <= mopt <= 5000 or mopt // 100 % 10 or code >= len(CODES) or kind > SPARSE:
            raise reader.bad(at, f"not a MATLAB file: {raw[:4]!r} begins no variable of any version")
        if order > 1:
            raise UnsupportedError(f"{reader.origin} @{at}: numbers in the format of a VAX or Cray (type {mopt})")
        if rows < 0 or columns < 0 or imaginary not in (0, 1) or not 1 <= length <= NAME_LIMIT:
            raise reader.bad(at, f"{rows} rows, {columns} columns, imaginary {imaginary}, name of {length} B")
        name = reader.take(at + HEADER, length).split(b"\0")[0].decode("latin-1")
        dtype = np.dtype((">" if order else "<") + CODES[code])
        size = rows * columns * dtype.itemsize * (1 + imaginary)
        start = at + HEADER + length
        if start + size > reader.size:
            raise reader.bad(at, f"{name!r} of {rows} × {columns} needs {size} B, {reader.size - start} B are there")
        if kind == TEXT and columns > LINE_LIMIT:
            raise UnsupportedError(f"{reader.origin} @{at}: {name!r} has lines of {columns} characters")
        yield Variable4(reader, name, kind, (rows, columns), dtype, bool(imaginary), start, size)
        at = start + size


def entries4(variable: Variable4) -> Iterator[Member]:
    """Yield the arrays that a variable is read as."""
    layouts, note = _layouts(variable), "text" if variable.kind == TEXT else ""
    if variable.kind == SPARSE:
        note = f"parts of a sparse matrix of shape {_sparse_shape(variable)}, rows and columns counted from 1"
    for layout in layouts:
        yield Member(layout.member, layout.shape, layout.dtype, note)


def find4(variable: Variable4, parts: list[str], stamp: tuple[str, tuple[int, int, int]]) -> Layout:
    """Return how a variable, or the part of it that ``parts`` name, lies in its file."""
    found = {layout.member: layout for layout in _layouts(variable)}
    name = "/".join((variable.name, *parts))
    if name not in found:
        what = "a sparse matrix, choose one of its parts" if variable.kind == SPARSE else "an array; there is"
        raise FormatError(f"{stamp[0]}: no array {name!r}: {variable.name!r} is {what} {list(found)}")
    return replace(found[name], path=stamp[0], generation=stamp[1])


def _sparse_shape(of: Variable4) -> tuple[int, ...]:
    """Return the shape that the last row of a sparse matrix holds."""
    item, found = of.dtype.itemsize, list[int]()
    for column in (1, 2):
        value = np.frombuffer(of.reader.take(of.at + column * of.dims[0] * item - item, item), of.dtype)[0]
        if not 0 <= value < 1 << 53:  # NaN is neither
            raise of.reader.bad(of.at, f"{of.name!r} is a sparse matrix of {value} rows or columns")
        found.append(int(value))
    return tuple(found)


def _layouts(of: Variable4) -> list[Layout]:
    item = of.dtype.itemsize

    def made(name: str, shape: Any, dtype: Any, dims: Any, offsets: Any, **more: Any) -> Layout:
        blocks = tuple(Block(offset, of.dtype) for offset in offsets)
        return Layout("", name, (0, 0, 0), shape, np.dtype(dtype), dims, blocks, **more)

    rows, columns = of.dims
    if of.kind == TEXT:
        words = ">" if of.dtype.str[0] == ">" else "<"
        how, offsets = ("text", (of.at,)) if rows * columns else ("blank", ())
        return [made(of.name, text_shape(of.dims), text_dtype(columns, words), of.dims, offsets, how=how)]
    if of.kind == SPARSE:
        # The last row holds the shape; a fourth column imaginary parts.
        count, column = rows - 1, rows * item
        if columns not in (3, 4) or not rows or of.is_complex:
            raise of.reader.bad(
                of.at, f"{of.name!r} is a sparse matrix stored as {rows} × {columns}, expected are 3 or 4 columns"
            )
        values = (of.at + 2 * column, of.at + 3 * column)[: columns - 2]
        kind = _complex(of.dtype) if columns == 4 else of.dtype
        return [
            made(f"{of.name}/data", (count,), kind, (count,), values),
            made(f"{of.name}/ir", (count,), of.dtype, (count,), (of.at,)),
            made(f"{of.name}/jc", (count,), of.dtype, (count,), (of.at + column,)),
        ]
    places = (of.at, of.at + of.size // 2) if of.is_complex else (of.at,)
    return [made(of.name, of.dims, _complex(of.dtype) if of.is_complex else of.dtype, of.dims, places)]


def _complex(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype((">" if dtype.str[0] == ">" else "<") + ("c8" if dtype.str[1:] == "f4" else "c16"))
