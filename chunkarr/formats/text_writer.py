"""Write texts: each box of rows becomes lines, from which the same values are read."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import Any

import numpy as np

from chunkarr import fsio
from chunkarr.errors import OptionError, UnsupportedError
from chunkarr.formats.ordered import OrderedTarget, Part
from chunkarr.formats.text_arrow import lines_by_arrow, writes_alike
from chunkarr.formats.text_digits import floats_as_text
from chunkarr.grid import Grid, Region, Shape, region_shape

__all__ = ["TextTarget", "create"]

Array = np.ndarray[Any, Any]

ENCODINGS = ("utf-8", "latin-1", "ascii")  # in which digits are the bytes that they are in ASCII
AT_ONCE = 64 << 10  # doubles made text together: threads that do fewer ask for the interpreter too often
BOX = 512 << 10  # bytes of values in a box
TEXT_BOX = 16 << 20  # bytes that a box takes while it becomes text, at most
PACKERS: dict[str, Callable[[Any], Any]] = {
    ".gz": partial(gzip.compress, compresslevel=6, mtime=0),
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}
ARROW_FROM = 32 << 20  # bytes of values from which importing pyarrow pays
USUAL = (",", ";", "\t", " ", "|")  # delimiters that mean nothing else to pyarrow, and are in no number
WIDEST = {"b": 5, "i": 20, "u": 20, "f": 26, "c": 54, "M": 32}  # characters of a value, at most


class TextTarget(OrderedTarget):
    """A new text: a line for each index of the first axis.

    Parameters
    ----------
    path, shape, dtype, overwrite, durability
        As in `OrderedTarget`.
    delimiter, newline
        Between fields, and after lines.
    fmt
        Formats as of `numpy.savetxt`, one or one for each column; "": the shortest that is read as the same value.
    header, footer
        Lines before and after.
    """

    def __init__(
        self,
        path: str,
        shape: Shape,
        dtype: np.dtype[Any],
        *,
        delimiter: str,
        newline: str,
        fmt: str,
        header: str,
        footer: str,
        encoding: str,
        overwrite: bool,
        durability: fsio.Durability,
    ) -> None:
        self.delimiter, self.newline, self.fmt, self.encoding = delimiter, newline, fmt, encoding
        self._pack = PACKERS.get(os.path.splitext(path.lower())[1], _as_it_is)
        self._around = header, footer
        plain = len(delimiter.encode()) == 1 and delimiter not in "\n\x00\x01" and newline.isascii()
        self._quick = not fmt and dtype.kind == "f" and dtype.itemsize == 8 and plain and encoding in ENCODINGS
        large = prod(shape) * dtype.itemsize >= ARROW_FROM and delimiter in USUAL
        self._arrow = self._quick and large and writes_alike()
        self._fields = prod(shape[1:]) if dtype.names is None else len(dtype.names)
        self._empty = '""' if self._fields == 1 or not delimiter.strip() else ""  # a blank line would be no row
        self._wide = _width(dtype) + len(delimiter)
        rows = max(1, min(BOX // max(1, prod(shape[1:]) * dtype.itemsize), TEXT_BOX // self._row_bytes()))
        grid = Grid(shape, (rows, *shape[1:]) if shape else ())
        super().__init__(path, shape, dtype, grid=grid, overwrite=overwrite, durability=durability)

    def head(self, parts: Sequence[Part]) -> bytes:
        """Return the header."""
        del parts
        first: bytes = self._pack(self._around[0].encode(self.encoding))
        return first

    def tail(self, parts: Sequence[Part]) -> bytes:
        """Return the footer."""
        del parts
        return self._packed(self._around[1])

    def _packed(self, text: str) -> bytes:
        """Return text as it lies in the file; compressed, it is a stream of its own."""
        return self._pack(text.encode(self.encoding)) if text else b""

    def encoded_bytes(self, box: Region) -> int:
        """Return the bytes that a box takes while it becomes text: as Python's objects, and as text, twice."""
        return (region_shape(box)[0] if box else 1) * self._row_bytes()

    def _row_bytes(self) -> int:
        return self._fields * (250 + 3 * self._wide) + len(self.newline)

    def encode(self, block: Array, box: Region) -> tuple[Any, Any]:
        """Return the lines of a box."""
        del box
        rows = len(block) if block.ndim else 1
        table = block.reshape(rows, -1)
        if self.fmt:
            return self._packed(self._formatted(table)), None
        if self._quick:
            return self._pack(self._floats(table)), None
        columns = [table[:, 0][name] for name in self.dtype.names] if self.dtype.names is not None else [table]
        parts = [_texts(column, self.delimiter, self._empty) for column in columns]
        if len(parts) == 1 and columns[0].ndim == 2:
            width, flat = table.shape[1], parts[0]
            lines = [self.delimiter.join(flat[k : k + width]) for k in range(0, len(flat), width)]
        else:
            lines = [self.delimiter.join(row) for row in zip(*parts, strict=True)]
        lines.append("")
        return self._packed(self.newline.join(lines)), None

    def _floats(self, table: Array) -> Any:
        """Return the lines of a table of doubles."""
        lines = lines_by_arrow(table.astype(np.float64, copy=False), self.delimiter) if self._arrow else None
        if lines is None:
            lines = self._lines_of(table)
        return lines if self.newline == "\n" else bytes(lines).replace(b"\n", self.newline.encode())

    def _lines_of(self, table: Array) -> bytes:
        rows = max(1, AT_ONCE // max(1, table.shape[1]))
        pieces = [table[k : k + rows].astype(np.float64, copy=False) for k in range(0, len(table), rows)]
        return b"".join([floats_as_text(piece, self.delimiter, "\n") for piece in pieces])

    def _formatted(self, table: Array) -> str:
        """Return lines as `numpy.savetxt` makes them."""
        if self.dtype.names is not None:
            rows: Any = table[:, 0].tolist()
        elif self.dtype.kind == "c":
            rows = [tuple(x for z in row for x in (z.real, z.imag)) for row in table.tolist()]
        elif "s" in self.fmt or "r" in self.fmt:  # a number of few bits prints as one
            rows = [tuple(row) for row in table]
        else:
            rows = [tuple(row) for row in table.tolist()]
        try:
            text = "".join([self.fmt % row + self.newline for row in rows])
        except TypeError:
            raise OptionError(f"{self.path}: fmt {self.fmt!r} does not fit values of dtype {self.dtype}") from None
        return text.replace("+-", "-") if self.dtype.kind == "c" else text


def _as_it_is(text: Any) -> Any:
    return text


def _width(dtype: np.dtype[Any]) -> int:
    """Return the characters that a value takes at most; of a field the most, where there are several."""
    if dtype.names is not None:
        return max(_width(dtype[name]) for name in dtype.names)
    return WIDEST.get(dtype.kind) or 2 * dtype.itemsize + 2


def _texts(values: Array, delimiter: str, empty: str) -> list[str]:
    """Return the shortest texts that are read as the same values, in C order; ``empty`` for a text that is."""
    flat = np.ascontiguousarray(values).reshape(-1)
    kind = flat.dtype.kind
    if kind == "f" and flat.dtype.itemsize == 8:
        return list(map(repr, flat.tolist()))
    if kind in "fc":
        return [str(value) for value in flat]
    if kind in "iub":
        return list(map(str, flat.tolist()))
    if kind == "M":
        native = flat.astype(flat.dtype.newbyteorder("="))  # NumPy takes the bytes of others for its own
        return list(map(str, np.datetime_as_string(native).tolist()))
    texts = [v.decode("latin-1") for v in flat.tolist()] if kind == "S" else flat.tolist()
    return [_quoted(text, delimiter) or empty for text in texts]


def _quoted(text: str, delimiter: str) -> str:
    if delimiter in text or '"' in text or "\n" in text or "\r" in text or "#" in text or text != text.strip():
        return '"' + text.replace('"', '""') + '"'
    return text


def create(
    path: str,
    shape: Shape,
    dtype: Any,
    *,
    overwrite: bool = False,
    durability: fsio.Durability = "full",
    delimiter: str | None = None,
    newline: str = "\n",
    fmt: Any = None,
    header_text: str = "",
    footer_text: str = "",
    comments: str = "# ",
    encoding: str = "utf-8",
) -> TextTarget:
    """Create a text; see `TextTarget`.

    ``delimiter`` is a comma, in files called ``.tsv`` a tab, in ``.txt`` a blank. The fields of a structured array
    are named in the first line unless ``header_text`` says something else.
    """
    kind = np.dtype(dtype)
    _check_dtype(path, kind)
    if kind.names is not None and len(shape) > 1:
        raise UnsupportedError(f"{path}: records are written as text from one axis, not from shape {tuple(shape)}")
    if path.lower().endswith(".zst"):
        raise UnsupportedError(f"{path}: zst is read, not written; use .gz, .bz2 or .xz")
    mark = delimiter if delimiter is not None else _usual(path)
    if not mark or not newline:
        raise OptionError("delimiter and newline are at least one character")
    fields = len(kind.names) if kind.names is not None else prod(shape[1:])
    first = _commented(header_text, comments, newline)
    if not header_text and kind.names is not None and fmt is None:
        first = mark.join(_quoted(name, mark) for name in kind.names) + newline
    return TextTarget(
        path, tuple(shape), kind, delimiter=mark, newline=newline, fmt=_format(fmt, fields, kind, mark),
        header=first, footer=_commented(footer_text, comments, newline), encoding=encoding,
        overwrite=overwrite, durability=durability,
    )  # fmt: skip


def _usual(path: str) -> str:
    name = path.lower()
    return "\t" if name.endswith((".tsv", ".tab")) else " " if name.endswith(".txt") else ","


def _check_dtype(path: str, dtype: np.dtype[Any]) -> None:
    kinds = [dtype] if dtype.names is None else [dtype[name] for name in dtype.names]
    if any(kind.kind not in "biufcMSU" or kind.subdtype for kind in kinds):
        raise UnsupportedError(f"{path}: dtype {dtype} cannot be written as text")


def _commented(text: str, comments: str, newline: str) -> str:
    """Return lines as comments, as `numpy.savetxt` writes them."""
    return comments + text.replace("\n", "\n" + comments) + newline if text else ""


def _format(fmt: Any, fields: int, dtype: np.dtype[Any], delimiter: str) -> str:
    """Return the format of a row, as `numpy.savetxt` puts it together; "" for the shortest."""
    if fmt is None:
        return ""
    if isinstance(fmt, str):
        count = fmt.count("%")
        if count == 1:
            one = f" ({fmt}+{fmt}j)" if dtype.kind == "c" else fmt
            return delimiter.join([one] * fields)
        if count not in (fields, 2 * fields):
            raise OptionError(f"fmt {fmt!r} has {count} % formats for {fields} columns")
        return fmt
    if len(fmt) != fields:
        raise OptionError(f"fmt has {len(fmt)} formats for {fields} columns")
    return delimiter.join(map(str, fmt))
