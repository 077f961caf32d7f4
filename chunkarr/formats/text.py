"""Text: csv, tsv, columns between blanks or of fixed width, matches of a regular expression.

A text is read once when it is opened (`text_index`); then any rows of it can be read, from several threads, by
going through the block of rows that they are in.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from chunkarr import fsio
from chunkarr.errors import GenerationChangedError, OptionError, TargetExistsError, TextError, UnsupportedError
from chunkarr.formats.contract import Stored
from chunkarr.formats.flat import check_block, check_shape
from chunkarr.formats.runs import file_generation
from chunkarr.formats.text_dialect import Dialect
from chunkarr.formats.text_index import TEXT, Index, Reject, build_index, fault
from chunkarr.formats.text_parse import BadRow, Column, read_rows
from chunkarr.formats.text_sniff import Given, Guess, guess
from chunkarr.formats.text_source import STDIN, TextBytes, open_bytes
from chunkarr.formats.text_writer import create
from chunkarr.grid import Grid, Region, Shape

__all__ = ["TextStored", "create", "open"]

Array = np.ndarray[Any, Any]

PIECE = 256 << 10  # bytes whose values are worked out together: what that takes fits the cache
TEMPORARIES = 24  # bytes held for each of them meanwhile, at most
GUESSED = {"": "f8", "int": "i8", "missing": "f8", "float": "f8", "complex": "c16", "bool": "?"}


class TextStored(Stored):
    """Rows of a text.

    Parameters
    ----------
    path
        The file; "-" is what standard input had.
    source, dialect, index
        Its bytes, how it is written, where its rows are.
    columns
        Which of its columns are read, and as what.
    shape, dtype
        Of the array: its first axis counts rows.
    generation
        What `file_generation` said when it was read.
    options
        What to tell `open` so that nothing is guessed.
    """

    contiguous = False
    format = "text"

    def __init__(
        self,
        path: str,
        source: TextBytes,
        dialect: Dialect,
        index: Index,
        columns: tuple[Column, ...],
        *,
        shape: Shape,
        dtype: np.dtype[Any],
        generation: tuple[int, int, int],
        options: dict[str, Any],
    ) -> None:
        self.path, self.source, self.dialect, self.index = path, source, dialect, index
        self.columns, self.shape, self.dtype, self.found, self.options = columns, shape, dtype, generation, options
        self.portable = path != STDIN
        self.grid = Grid(shape, (index.step, *shape[1:]) if shape else ())

    def __getstate__(self) -> dict[str, Any]:
        """Return the state, in which a matrix of many columns of one type takes few bytes."""
        kinds = {column.dtype for column in self.columns}
        if len(kinds) > 1:
            return self.__dict__
        places = np.array([column.place for column in self.columns], np.uint32)
        packed = len(places) if (places == np.arange(len(places))).all() else places
        return {**self.__dict__, "columns": (packed, *kinds)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if not isinstance(self.columns[0], Column):
            packed, kind = state["columns"]
            places = range(packed) if isinstance(packed, int) else packed.tolist()
            self.columns = tuple(Column(place, kind) for place in places)

    def read(self, region: Region, out: Array, scratch: Array) -> None:
        """Fill ``out`` with ``region``; see `Stored.read`."""
        del scratch
        check_block(region, out, self.dtype)
        if not out.size:
            return
        first, behind = region[0] if region else (0, 1)
        step = self.index.step
        for block in range(first // step, -(-behind // step)):
            self._read_block(block, first, behind, region, out)
        if self.generation() != self.found:
            raise GenerationChangedError(f"{self.path}: changed while it was read, or since it was opened")

    def _read_block(self, block: int, first: int, behind: int, region: Region, out: Array) -> None:
        """Fill ``out`` with what rows of a block it has; ``first`` and ``behind`` are the rows of ``region``."""
        start, stop = (int(offset) for offset in self.index.offsets[block : block + 2])
        data = self.source.read(start, stop)
        if not data.endswith(self.dialect.newline):
            data += self.dialect.newline
        row, place = block * self.index.step, 0
        while place < len(data) and row < behind:
            end = self._cut(data, place)
            values = self._values(data[place:end], start + place)
            count = len(values[0])
            a, b = max(first, row), min(behind, row + count)
            if a < b:
                self._put(values, slice(a - row, b - row), region, out[a - first : b - first] if region else out)
            row, place = row + count, end
        if row < min(behind, (block + 1) * self.index.step):
            raise TextError(f"{self.path}: bytes {start} to {stop} have fewer rows than when it was opened")

    def _cut(self, data: bytes, start: int) -> int:
        """Return where the piece that begins at ``start`` may end: at the end of a row."""
        if len(data) - start <= PIECE * 5 // 4 or self.dialect.pattern:
            return len(data)
        quote = self.dialect.quote.encode()
        if quote and quote in data:
            return len(data)
        return data.find(self.dialect.newline, start + PIECE) + 1 or len(data)

    def _values(self, piece: bytes, start: int) -> list[Array]:
        low, high = np.searchsorted(self.index.rejected, [start, start + len(piece)])
        rejected = frozenset((self.index.rejected[low:high].astype(np.int64) - start).tolist())
        try:
            return read_rows(piece, self.dialect, self.columns, rejected)
        except BadRow as bad:
            if self.path != STDIN and self.generation() != self.found:
                raise GenerationChangedError(f"{self.path}: changed since it was opened") from None
            raise fault(self.path, self.source, self.dialect, start, bad) from None

    def _put(self, values: list[Array], rows: slice, region: Region, out: Array) -> None:
        """Copy some rows of the columns to ``out``, the same rows of the region."""
        names = self.dtype.names
        if names is not None:
            for name, column in zip(names, values, strict=True):
                out[name] = column[rows].reshape((-1, *[1] * (out.ndim - 1))) if out.ndim else column[rows][0]
            return
        rest = self.shape[1:]
        table = _side_by_side(values)[rows] if rest else values[0][rows]
        if not region:
            out[()] = table.reshape(-1)[0]
            return
        shaped = table.reshape(len(table), *rest)
        out[...] = shaped[(slice(None), *[slice(a, b) for a, b in region[1:]])]

    def scratch_bytes(self, region: Region) -> int:
        """Return the bytes that reading a block takes: its text, and what its values take while they are made."""
        del region
        longest = self.index.longest
        whole = longest if self.dialect.quote or self.dialect.pattern else min(longest, PIECE * 2)
        return 2 * longest + TEMPORARIES * whole

    def bytes_read(self, region: Region) -> int:
        """Return the decoded bytes of all blocks touched."""
        if not self.shape:
            return self.dtype.itemsize
        a, b = self.grid.span(region)[0]
        row = prod(self.shape[1:]) * self.dtype.itemsize
        return sum((stop - start) * row for start, stop in (self.grid.bounds(0, k) for k in range(a, b)))

    def generation(self) -> tuple[int, int, int]:
        """Return size, mtime_ns and inode of the file as it is now."""
        return self.found if self.path == STDIN else file_generation(self.path)

    def fresh(self) -> Stored:
        """Return the text as it is now; see `Stored.fresh`."""
        return self if self.generation() == self.found else open(self.path, **self.options)


def _side_by_side(values: list[Array]) -> Array:
    """Return columns as one array of rows; without copying if they are one."""
    if len(values) == 1:
        return values[0][:, None]
    base = values[0].base
    if base is not None and base.ndim == 2 and base.shape == (len(values[0]), len(values)):
        places = [v.__array_interface__["data"][0] for v in values]
        step = base.strides[1]
        if all(b - a == step for a, b in pairwise(places)):
            return base
    return np.stack(values, axis=1)


def open(  # noqa: A001 - what every format calls it
    path: str,
    mode: str = "r",
    *,
    delimiter: str | None = None,
    header: bool | None = None,
    names: str | Sequence[str] | None = None,
    dtype: Any = None,
    shape: Sequence[int] | None = None,
    usecols: Any = None,
    skiprows: int | None = None,
    comments: str | None = None,
    quote: str | None = None,
    missing: str | Sequence[str] = (),
    decimal: str | None = None,
    thousands: str | None = None,
    encoding: str | None = None,
    layout: str | None = None,
    widths: Any = (),
    regexp: str = "",
    rejects: str | None = None,
) -> TextStored:
    """Open a text, guessing what is not said.

    Parameters
    ----------
    path
        The file, compressed or not; "-": standard input.
    mode
        "r".
    delimiter
        One character, or "whitespace".
    header, names
        Whether the first row has the names of the columns; the names.
    dtype
        Of all fields, or a structured one with a field for each column.
    shape
        Of the array, where a row is more than one axis: (rows or -1, ...).
    usecols
        Which columns are read, by place or name.
    skiprows
        Lines before the header or the first row.
    comments, quote, decimal, thousands
        Characters; "" for none.
    missing
        Words that mean that there is no value: NaN, NaT.
    encoding
        Of the file.
    layout
        "matrix": rows and columns of one type; "records": a structured array.
    widths
        Bytes of each field, where they are fixed.
    regexp
        Each match is a row, each group a field, as `numpy.fromregex` has it.
    rejects
        A file for rows that are not as they should be; without, they are an error.

    Raises
    ------
    TextError
        Naming file, line and column.
    """
    if mode != "r":
        raise UnsupportedError(f'{path}: text is opened with mode="r"; save a changed copy')
    given = Given(
        delimiter, header, _words(names) if names is not None else None, skiprows, comments, quote,
        _words(missing), decimal, thousands, encoding, tuple(int(w) for w in _words(widths)), regexp,
    )  # fmt: skip
    if layout not in (None, "matrix", "records"):
        raise OptionError(f'layout is "matrix" or "records", not {layout!r}')
    generation = (0, 0, 0) if path == STDIN else file_generation(path)
    source = open_bytes(path, encoding)
    seen = guess(path, source, given)
    use = _use(path, usecols, seen.dialect)
    columns, kind, records = _columns(path, seen, use, dtype, layout)
    index = build_index(
        path, source, seen.dialect, columns, row_bytes=seen.row_bytes, guessed=dtype is None, reject=rejects is not None
    )
    if rejects is not None:
        _write_rejects(rejects, path, index.rejects)
    final = tuple(Column(c.place, d) for c, d in zip(columns, index.dtypes, strict=True))
    result = _result_dtype(final, kind, records, seen, use)
    if not records:
        final = tuple(Column(c.place, result) for c in final)
    extent = _shape(path, index.rows, final, result, records, shape)
    options = _said(seen, dtype, shape, usecols, records, rejects, given)
    return TextStored(
        path,
        source,
        seen.dialect,
        replace(index, dtypes=()),
        final,
        shape=extent,
        dtype=result,
        generation=generation,
        options=options,
    )


def _words(value: Any) -> tuple[str, ...]:
    """Return the words of a list, or of a text with commas."""
    if isinstance(value, str):
        return tuple(word.strip() for word in value.split(","))
    if isinstance(value, Iterable):
        return tuple(str(word) for word in value)
    return (str(value),)


def _use(path: str, usecols: Any, dialect: Dialect) -> tuple[int, ...]:
    """Return the places of the columns that are read."""
    if usecols is None:
        return tuple(range(dialect.columns))
    use = []
    for word in _words(usecols):
        if word in dialect.names:
            use.append(dialect.names.index(word))
            continue
        try:
            place = int(word)
        except ValueError:
            raise OptionError(f"{path}: there is no column {word!r}; there are {', '.join(dialect.names)}") from None
        if not -dialect.columns <= place < dialect.columns:
            raise OptionError(f"{path}: there is no column {place}; there are {dialect.columns}")
        use.append(place % dialect.columns)
    return tuple(use)


def _columns(
    path: str, seen: Guess, use: tuple[int, ...], dtype: Any, layout: str | None
) -> tuple[tuple[Column, ...], np.dtype[Any] | None, bool]:
    """Return the columns, the dtype that the user asked for, and whether the result is structured."""
    if dtype is None:
        guessed = [_guessed(seen.kinds[k], seen.fields[k]) for k in use]
        kinds = {d.kind for d in guessed}
        alike = kinds <= set("iufc") or len(kinds) <= 1
        if layout == "matrix" and not alike:
            raise OptionError(f"{path}: has columns of {', '.join(map(str, guessed))}, which are no matrix; see dtype=")
        records = layout == "records" or not alike
        if not records and len(kinds) > 1:
            guessed = [np.result_type(*guessed)] * len(use)
        return tuple(Column(k, d) for k, d in zip(use, guessed, strict=True)), None, records
    kind = np.dtype(dtype)
    if kind.names is None:
        if kind.kind not in "biufcMSU" or (kind.kind in "SU" and not kind.itemsize):
            kind = TEXT if kind.kind == "U" else kind
            if kind is not TEXT:
                raise UnsupportedError(f"{path}: text cannot be read as dtype {kind}")
        return tuple(Column(k, kind) for k in use), kind, layout == "records"
    fields = [kind[name] for name in kind.names]
    if len(fields) != len(use):
        raise OptionError(f"{path}: dtype has {len(fields)} fields for {len(use)} columns")
    if any(f.kind not in "biufcMSU" or f.subdtype for f in fields):
        raise UnsupportedError(f"{path}: text cannot be read as dtype {kind}")
    return tuple(Column(k, f) for k, f in zip(use, fields, strict=True)), kind, True


def _guessed(kind: str, texts: tuple[str, ...]) -> np.dtype[Any]:
    if kind == "text":
        return TEXT
    if kind != "time":
        return np.dtype(GUESSED[kind])
    if not any(":" in text for text in texts):
        return np.dtype("M8[D]")
    digits = max(len(text.partition(".")[2].rstrip("Z")) for text in texts)
    return np.dtype("M8[s]" if not digits else "M8[us]" if digits <= 6 else "M8[ns]")


def _result_dtype(
    columns: tuple[Column, ...], kind: np.dtype[Any] | None, records: bool, seen: Guess, use: tuple[int, ...]
) -> np.dtype[Any]:
    if not records:
        kinds = {c.dtype for c in columns}
        return kinds.pop() if len(kinds) == 1 else np.result_type(*kinds)
    if kind is not None and kind.names is not None:
        return kind
    names = seen.dialect.names or tuple(f"f{k}" for k in range(seen.dialect.columns))
    return np.dtype([(names[k], c.dtype) for k, c in zip(use, columns, strict=True)])


def _shape(
    path: str, rows: int, columns: tuple[Column, ...], dtype: np.dtype[Any], records: bool, shape: Sequence[int] | None
) -> Shape:
    """Return the shape of the array: one axis for one column, two for several."""
    width = 1 if records else len(columns)
    if shape is None:
        return (rows,) if records or width == 1 else (rows, width)
    asked = tuple(int(n) for n in shape)
    if asked and asked[0] == -1:
        asked = (rows, *asked[1:])
    check_shape(path, asked, dtype, OptionError)
    if prod(asked) == 0 and not rows:
        return asked
    if prod(asked) != rows * width or (asked and asked[0] != rows):
        raise OptionError(f"{path}: has {rows} rows of {width}, which is not shape {asked}")
    return asked


def _said(
    seen: Guess, dtype: Any, shape: Any, usecols: Any, records: bool, rejects: str | None, given: Given
) -> dict[str, Any]:
    """Return the options that say all that was guessed, for `open`."""
    dialect = seen.dialect
    options: dict[str, Any] = {"skiprows": seen.skipped}
    del options["skiprows"]
    if dialect.pattern:
        options["regexp"] = dialect.pattern
    elif dialect.widths:
        options["widths"] = tuple(b - a for a, b in dialect.widths)
    else:
        options["delimiter"] = dialect.delimiter or "whitespace"
    if not dialect.pattern:
        options["header"] = seen.header
    told = {
        "decimal": dialect.words.decimal if dialect.words.decimal != "." else None,
        "thousands": dialect.words.thousands or None,
        "comments": dialect.comments if dialect.comments != "#" else None,
        "quote": given.quote,
        "encoding": given.encoding or (dialect.words.encoding if dialect.words.encoding != "utf-8" else None),
        "missing": given.missing or None,
        "names": given.names,
        "skiprows": given.skiprows,
        "usecols": usecols,
        "dtype": dtype,
        "shape": shape,
        "layout": "records" if records else None,
        "rejects": rejects,
    }
    return options | {name: value for name, value in told.items() if value is not None}


FIRST = "# rejected rows of "


def _write_rejects(target: str, path: str, rejects: tuple[Reject, ...]) -> None:
    """Write the rows that were set aside, each below a comment that says where it was and why."""
    if os.path.exists(target):
        fd = fsio.open_read(target)
        try:
            head = bytearray(min(len(FIRST), os.fstat(fd).st_size))
            fsio.read_into(fd, head, 0, target)
        finally:
            os.close(fd)
        if head != FIRST.encode():
            raise TargetExistsError(f"{target}: exists already and holds no rejected rows; use another name")
        fsio.discard(target)
    if not rejects:
        return
    lines = [f"{FIRST}{path}\n".encode()]
    for bad in rejects:
        reason = bad.reason.replace("\n", " ").replace("\r", " ")
        place = f"{bad.line}:{bad.column}" if bad.column else f"{bad.line}"
        lines.append(f"# {path}:{place}: {reason}\n".encode() + bad.content + b"\n")
    part, lock = fsio.new_part(target)
    try:
        fsio.discard(part)
        fsio.write_new(part, b"".join(lines))
        fsio.publish(part, target, overwrite=False, durability="process")
    finally:
        os.close(lock)
