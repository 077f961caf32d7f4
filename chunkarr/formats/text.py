"""Text: csv, tsv, columns between blanks or of fixed width, matches of a regular expression.

A text is read once when it is opened (`text_index`); then any rows of it can be read, from several threads, by
going through the block of rows that they are in.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from chunkarr.errors import GenerationChangedError, OptionError, TextError, UnsupportedError
from chunkarr.formats.contract import Stored
from chunkarr.formats.flat import check_block
from chunkarr.formats.runs import file_generation
from chunkarr.formats.text_arrow import has_arrow
from chunkarr.formats.text_columns import columns_of, dtype_of, places_of, shape_of, words_of, write_rejects
from chunkarr.formats.text_dialect import Dialect
from chunkarr.formats.text_index import Index, build_index, fault
from chunkarr.formats.text_parse import SMALL, BadRow, Column, may_be_plain, read_by_arrow, read_plainly, read_rows
from chunkarr.formats.text_plain import Room, room_bytes
from chunkarr.formats.text_sniff import Given, Guess, guess
from chunkarr.formats.text_source import STDIN, TextBytes, open_bytes
from chunkarr.formats.text_writer import create
from chunkarr.grid import Grid, Region, Shape

__all__ = ["TextStored", "create", "open"]

Array = np.ndarray[Any, Any]

PIECE = 1 << 20  # bytes whose values are worked out together, at most
ARROW_FROM = 32 << 20  # bytes of a text from which importing it pays
ARROW_COLUMNS = 1000  # beyond them what it holds for each is more than the values
TEMPORARIES = 24  # bytes held for each of them meanwhile, at most


@dataclass(slots=True)
class _Ways:
    """Quick ways that are worth trying for the next lines."""

    plain: bool = False  # `text_plain`
    arrow: bool = False  # `text_arrow`


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

    @property
    def labels(self) -> Sequence[str]:  # type: ignore[override]  # a matrix may have a million
        """Return the names of the columns, if it is a matrix with a header."""
        names = self.dialect.names if self.dtype.names is None else ()
        return [names[column.place] for column in self.columns] if names else ()

    def __getstate__(self) -> dict[str, Any]:
        """Return the state, in which a matrix of many columns of one type takes few bytes."""
        state, kinds = dict(self.__dict__), {column.dtype for column in self.columns}
        if len(kinds) == 1:
            places = np.array([column.place for column in state.pop("columns")], np.uint32)
            state["packed"] = len(places) if (places == np.arange(len(places))).all() else places, kinds.pop()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        if "packed" in state:
            places, kind = state.pop("packed")
            every = range(places) if isinstance(places, int) else places.tolist()
            state["columns"] = tuple(Column(place, kind) for place in every)
        self.__dict__.update(state)

    def read(self, region: Region, out: Array, scratch: Array) -> None:
        """Fill ``out`` with ``region``; see `Stored.read`."""
        check_block(region, out, self.dtype)
        if not out.size:
            return
        longest = self.index.longest
        room = Room(longest, scratch if scratch.size >= room_bytes(longest) else None)
        first, behind = region[0] if region else (0, 1)
        step = self.index.step
        for block in range(first // step, -(-behind // step)):
            self._read_block(block, first, behind, region, out, room)
        if self.generation() != self.found:
            raise GenerationChangedError(f"{self.path}: changed while it was read, or since it was opened")

    def _read_block(self, block: int, first: int, behind: int, region: Region, out: Array, room: Room) -> None:
        """Fill ``out`` with what rows of a block it has; ``first`` and ``behind`` are the rows of ``region``."""
        start, stop = (int(offset) for offset in self.index.offsets[block : block + 2])
        begin, end = room.fill(self.source, start, stop, self.dialect.newline)
        row, size, ways = block * self.index.step, end - begin, _Ways()
        quoted = self.index.quoted and (room.text[begin:end] == ord(self.dialect.quote)).any()
        if not quoted and may_be_plain(self.dialect, self.columns):
            large = self.source.size >= ARROW_FROM and self.dialect.columns <= ARROW_COLUMNS
            ways.plain, ways.arrow = True, large and has_arrow()
        if not quoted and not ways.arrow and not self.dialect.pattern:
            size = min(PIECE, max(SMALL, int(self._spread() * room.fields * 7 / 8)))
        place = begin
        while place < end and row < behind:
            cut = end if end - place <= size * 5 // 4 else room.line_end(place + size, end, self.dialect.newline)
            values = self._values(room, place, cut, start - begin, ways)
            count = len(values[0])
            a, b = max(first, row), min(behind, row + count)
            if a < b:
                self._put(values, slice(a - row, b - row), region, out[a - first : b - first] if region else out)
            row, place = row + count, cut
        if row < min(behind, (block + 1) * self.index.step):
            raise TextError(f"{self.path}: bytes {start} to {stop} have fewer rows than when it was opened")

    def _spread(self) -> float:
        """Return the bytes of a field, about."""
        fields = max(1, self.shape[0] if self.shape else 1) * self.dialect.columns
        return (int(self.index.offsets[-1]) - int(self.index.offsets[0])) / fields

    def _values(self, room: Room, begin: int, end: int, origin: int, ways: _Ways) -> list[Array]:
        """Return the values of a part of the text in ``room``; byte k there is byte ``origin + k`` of the file."""
        start = origin + begin
        low, high = np.searchsorted(self.index.rejected, [start, start + end - begin])
        try:
            if low == high:
                values = self._quickly(room, begin, end, ways)
                if values is not None:
                    return values
            rejected = frozenset((self.index.rejected[low:high].astype(np.int64) - start).tolist())
            return read_rows(room.text[begin:end].tobytes(), self.dialect, self.columns, rejected, plain=False)
        except BadRow as bad:
            if self.path != STDIN and self.generation() != self.found:
                raise GenerationChangedError(f"{self.path}: changed since it was opened") from None
            raise fault(self.path, self.source, self.dialect, start, bad) from None

    def _quickly(self, room: Room, begin: int, end: int, ways: _Ways) -> list[Array] | None:
        """Return what `_values` does if that is as quick as it was before, or what was quick is not tried again."""
        if ways.arrow:
            values = read_by_arrow(room.text[begin:end], self.dialect, self.columns)
            if values is not None:
                return values
            ways.arrow = False
        if ways.plain:
            with suppress(ValueError):  # of a field: `read_rows` says which
                values = read_plainly(room, begin, end, self.dialect, self.columns)
                if values is not None:
                    return values
                ways.plain = False
        return None

    def _put(self, values: list[Array], rows: slice, region: Region, out: Array) -> None:
        """Copy some rows of the columns to ``out``, the same rows of the region."""
        names = self.dtype.names
        if names is not None:
            for name, column in zip(names, values, strict=True):
                out[name] = column[rows].reshape((-1, *[1] * (out.ndim - 1))) if out.ndim else column[rows][0]
            return
        rest = self.shape[1:]
        if len(rest) == 1 and out.ndim == 2 and values[0].flags.c_contiguous:
            first, behind = region[1]
            for k, column in enumerate(values[first:behind]):
                out[:, k] = column[rows]
            return
        table = _side_by_side(values)[rows] if rest else values[0][rows]
        if not region:
            out[()] = table.reshape(-1)[0]
            return
        shaped = table.reshape(len(table), *rest)
        out[...] = shaped[(slice(None), *[slice(a, b) for a, b in region[1:]])]

    def scratch_bytes(self, region: Region) -> int:
        """Return the bytes that reading a block takes: a `Room`, and what its values take while they are made."""
        del region
        longest = self.index.longest
        whole = longest if self.dialect.quote or self.dialect.pattern else min(longest, PIECE * 5 // 4)
        return room_bytes(longest) + TEMPORARIES * whole

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
    first, width = values[0], len(values)
    if width == 1:
        return first[:, None]
    item = first.dtype.itemsize
    whole = first.strides == (width * item,) and all(v.base is first.base for v in values)
    places = [v.__array_interface__["data"][0] for v in values] if whole else []
    if whole and all(b - a == item for a, b in pairwise(places)):
        return np.lib.stride_tricks.as_strided(first, (len(first), width), (width * item, item), writeable=False)
    return np.stack(values, axis=1)


def open(  # noqa: A001 - what every format calls it
    path: str,
    mode: str = "r",
    *,
    delimiter: str | None = None,
    header: bool | int | None = None,
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
        Whether the first row has the names of the columns (2: the second one has units); the names.
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
        raise UnsupportedError(f"{path}: text cannot be changed in place; save a changed copy")
    given = Given(
        delimiter, header, words_of(names) if names is not None else None, skiprows, comments, quote,
        words_of(missing), decimal, thousands, encoding, tuple(int(w) for w in words_of(widths)), regexp,
    )  # fmt: skip
    if layout not in (None, "matrix", "records"):
        raise OptionError(f'layout is "matrix" or "records", not {layout!r}')
    generation = (0, 0, 0) if path == STDIN else file_generation(path)
    source = open_bytes(path, encoding)
    seen = guess(path, source, given)
    use = places_of(path, usecols, seen.dialect)
    columns, kind, records = columns_of(path, seen, use, dtype, layout)
    index = build_index(
        path, source, seen.dialect, columns, row_bytes=seen.row_bytes, guessed=dtype is None, reject=rejects is not None
    )
    if rejects is not None:
        write_rejects(rejects, path, index.rejects)
    final = tuple(Column(c.place, d) for c, d in zip(columns, index.dtypes, strict=True))
    result = dtype_of(final, kind, records, seen, use)
    if not records:
        final = tuple(Column(c.place, result) for c in final)
    extent = shape_of(path, index.rows, final, result, records, shape)
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
        options["header"] = bool(seen.header) if seen.header < 2 else seen.header
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
