"""The values of some lines of a text: all at once where they are as expected, else one by one.

There are three ways, each tried where the one before does not know what to do: the fields of all lines found
together; the same after comments, blank lines and rejected rows are taken out; and plain Python, row by row,
which knows everything, or says in which line and column what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chunkarr.formats.text_arrow import floats_by_arrow
from chunkarr.formats.text_dialect import Dialect
from chunkarr.formats.text_fields import Irregular, divide
from chunkarr.formats.text_numbers import DOT, Fields, read_numbers, to_floats, to_integers
from chunkarr.formats.text_plain import Plain, Room, divide_plain, plain_numbers
from chunkarr.formats.text_words import GIVEN_TIME, Words, missing_numbers, parse

__all__ = [
    "BadRow",
    "Column",
    "may_be_plain",
    "read_by_arrow",
    "read_plainly",
    "read_rows",
    "row_by_row",
    "rows_with_faults",
]

Array = np.ndarray[Any, Any]

RARE = 64  # fields that are converted one by one without further ado
SMALL = 4096  # bytes that are looked at row by row without further ado
_TIMES = re.compile(rf"(?:(?:{GIVEN_TIME.pattern})\n)*")


@dataclass(frozen=True, slots=True)
class Column:
    """A column that is read."""

    place: int  # in the file, from 0
    dtype: np.dtype[Any]


class BadRow(Exception):  # noqa: N818 - becomes a TextError where the path is known
    """A row that is not what the text is said to hold."""

    def __init__(self, line: int, start: int, column: int, reason: str) -> None:
        super().__init__(reason)
        self.line, self.start = line, start  # lines, and bytes, of the piece before it
        self.column = column  # from 0; -1: of the whole row
        self.reason = reason


def read_rows(
    piece: bytes,
    dialect: Dialect,
    columns: Sequence[Column],
    rejected: frozenset[int] = frozenset(),
    *,
    plain: bool = True,
) -> list[Array]:
    """Return the values of each of ``columns`` in the lines of ``piece``, the last of which has an end, too.

    ``plain`` says that `read_plainly` may know how. Columns of one numeric dtype are views of one array, a row
    of it for each line.

    Raises
    ------
    BadRow
        Where a line or field is not as it should be.
    """
    if dialect.pattern:
        with suppress(Irregular, ValueError):
            return _together(piece, dialect, columns, plain=plain)
        return row_by_row(piece, dialect, columns, rejected)
    values = _quickly(piece, dialect, columns, rejected, plain=plain)
    if values is not None:
        return values
    cut = piece.find(dialect.newline, len(piece) // 2) + 1
    if len(piece) < SMALL or not 0 < cut < len(piece) or (dialect.quote and dialect.quote.encode() in piece):
        return row_by_row(piece, dialect, columns, rejected)
    one = read_rows(piece[:cut], dialect, columns, rejected)
    try:
        other = read_rows(piece[cut:], dialect, columns, frozenset(start - cut for start in rejected))
    except BadRow as bad:
        lines = piece.count(dialect.newline, 0, cut)
        raise BadRow(bad.line + lines, bad.start + cut, bad.column, bad.reason) from None
    return [np.concatenate(pair) for pair in zip(one, other, strict=True)]


def _quickly(
    piece: bytes, dialect: Dialect, columns: Sequence[Column], rejected: frozenset[int], *, plain: bool
) -> list[Array] | None:
    """Return what `read_rows` does, or None where that takes plain Python."""
    if not rejected:
        try:
            return _together(piece, dialect, columns, plain=plain)
        except Irregular:
            pass
        except ValueError:  # of a field: the lines are as they should be
            return None
    tidied, tidy = dialect.tidy(piece, rejected), replace(dialect, comments="", newline=b"\n")
    with suppress(Irregular, ValueError):
        return _together(tidied, tidy, columns)
    return None


def _together(piece: bytes, dialect: Dialect, columns: Sequence[Column], *, plain: bool = True) -> list[Array]:
    """Return the values of ``columns``; ValueError if a field has none."""
    if not piece:
        return [np.empty(0, column.dtype) for column in columns]
    if plain and may_be_plain(dialect, columns):
        room = Room(len(piece))
        found = read_plainly(room, *room.put(piece), dialect, columns)
        if found is not None:
            return found
    if dialect.newline == b"\r":
        piece = piece.replace(b"\r", b"\n")
    dtypes = {column.dtype for column in columns}
    table = divide(piece, dialect)
    if len(dtypes) == 1 and columns[0].dtype.kind in "fiu":
        order, places = _order(columns)
        values = _values(table.take(order), columns[0].dtype, dialect).reshape(table.rows, len(order))
        return [values[:, place] for place in places]
    return [_values(table.take((column.place,)), column.dtype, dialect) for column in columns]


def _order(columns: Sequence[Column]) -> tuple[tuple[int, ...], list[int]]:
    """Return the places in the file of what ``columns`` name, ascending, and which of these each column is."""
    order = sorted({column.place for column in columns})
    where = {place: k for k, place in enumerate(order)}
    return tuple(order), [where[column.place] for column in columns]


def may_be_plain(dialect: Dialect, columns: Sequence[Column]) -> bool:
    """Say whether `read_plainly` is worth trying."""
    if not dialect.delimiter or dialect.widths or dialect.pattern:
        return False
    digits = "0123456789-" + dialect.words.decimal
    telling = any(mark[:1] in digits for mark in (dialect.delimiter, dialect.quote, dialect.comments) if mark)
    return not telling and all(column.dtype.kind in "fiu" for column in columns)


def read_plainly(room: Room, begin: int, end: int, dialect: Dialect, columns: Sequence[Column]) -> list[Array] | None:
    """Return what `read_rows` does of a part of the text in ``room``, or None where that takes more than plain numbers.

    Raises
    ------
    ValueError
        If a field has no value.
    """
    plain = divide_plain(room, begin, end, dialect)
    marks = [mark.encode() for mark in (dialect.quote, dialect.comments) if mark]
    some = len({column.place for column in columns}) < dialect.columns
    if plain is None or (some and _has_any(room.text[begin:end], marks)):
        return None
    held: dict[int, Array] = {}
    for dtype in {column.dtype for column in columns}:
        alike = [k for k, column in enumerate(columns) if column.dtype == dtype]
        order, places = _order([columns[k] for k in alike])
        fields = plain.take(order)
        values, odd = plain_numbers(fields, dtype, room)
        if odd.size and (odd.size > RARE + values.size // 16 or not _alone(fields, odd, marks)):
            return None
        table = _settled(values, odd, fields, dtype, dialect.words).reshape(plain.rows, len(order))
        held |= {k: table[:, place] for k, place in zip(alike, places, strict=True)}
    return [held[k] for k in range(len(columns))]


def read_by_arrow(body: Array, dialect: Dialect, columns: Sequence[Column]) -> list[Array] | None:
    """Return columns of doubles as pyarrow reads them from lines, if it is there and can."""
    if dialect.newline != b"\n" or dialect.words.decimal != "." or any(c.dtype != np.float64 for c in columns):
        return None
    use = tuple(column.place for column in columns)
    marks = [mark.encode() for mark in (dialect.quote, dialect.comments) if mark]
    some = len(set(use)) < dialect.columns
    if len(set(use)) < len(use) or (some and _has_any(body, marks)):
        return None
    assert dialect.delimiter is not None, "the caller has looked"
    found = floats_by_arrow(body, dialect.delimiter, dialect.columns, use)
    missing = missing_numbers(dialect.words)
    if found is None or any((values == number).any() for values in found for number in missing):
        return None
    return found


def _has_any(body: Array, marks: Sequence[bytes]) -> bool:
    return any((body == mark[0]).any() for mark in marks)


def _alone(fields: Plain, odd: Array, marks: Sequence[bytes]) -> bool:
    """Say whether fields that are no plain numbers are fields for all that: no part of a comment, quote, blank line."""
    for field in _bytes(fields, odd):
        if any(mark in field for mark in marks) or (fields.columns == 1 and not field.strip()):
            return False
    return True


def _values(fields: Fields, dtype: np.dtype[Any], dialect: Dialect) -> Array:
    words = dialect.words
    if dtype.kind in "fiu":
        values, odd = _numbers(fields, dtype, words)
        return _settled(values, odd, fields, dtype, words)
    if dtype.kind == "M":
        return _times([text or "NaT" for text in _texts(fields, dialect)], dtype, words)
    if dtype.kind in "SU":
        texts = _texts(fields, dialect)
        return np.array([t.encode(words.encoding) for t in texts] if dtype.kind == "S" else texts, dtype)
    every = np.arange(fields.starts.size)
    return np.array(list(_converted(fields, every, dtype, words)), dtype)


def _settled(values: Array, odd: Array, fields: Fields | Plain, dtype: np.dtype[Any], words: Words) -> Array:
    """Return numbers as ``dtype``, those at ``odd`` and those that mean that there is none converted one by one."""
    missing = missing_numbers(words)
    if missing:
        odd = np.concatenate([odd, *(np.flatnonzero(values == number) for number in missing)])
    for place, value in zip(odd.tolist(), _converted(fields, odd, dtype, words), strict=True):
        values[place] = value
    return values if values.dtype == dtype else _narrow(values, dtype)


def _numbers(fields: Fields, dtype: np.dtype[Any], words: Words) -> tuple[Array, Array]:
    """Return numbers and the indices of those fields that have to be looked at one by one."""
    if words.decimal != ".":
        kinds = fields.kinds.copy()
        kinds[fields.kinds == DOT] = 0
        kinds[fields.kinds == ord(words.decimal)] = DOT
        fields = replace(fields, kinds=kinds)
    numbers = read_numbers(fields)
    if dtype.kind == "f":
        return to_floats(numbers)
    return to_integers(numbers, np.uint64 if dtype.kind == "u" else np.int64)


def _narrow(values: Array, dtype: np.dtype[Any]) -> Array:
    """Convert 64-bit numbers; ValueError where integers do not fit."""
    if dtype.kind != "f" and values.size:
        limits = np.iinfo(dtype)
        if values.min() < limits.min or values.max() > limits.max:
            raise ValueError("out of range")
    with np.errstate(over="ignore"):  # as where one number is read, it becomes infinite
        return values.astype(dtype)


def _converted(fields: Fields | Plain, which: Array, dtype: np.dtype[Any], words: Words) -> Iterator[Any]:
    """Yield the values of some fields, each different one converted once."""
    known: dict[bytes, Any] = {}
    for field in _bytes(fields, which):
        if field not in known:
            if len(known) > 10_000:
                known.clear()
            known[field] = parse(words, field.decode(words.encoding).strip(), dtype)
        yield known[field]


def _bytes(fields: Fields | Plain, which: Array) -> Iterator[bytes]:
    if not which.size:
        return
    starts, stops = fields.starts.take(which), fields.stops.take(which)
    first = int(starts.min())
    data = fields.text[first : stops.max()].tobytes()
    for start, stop in zip((starts - first).tolist(), (stops - first).tolist(), strict=True):
        yield data[start:stop]


def _texts(fields: Fields, dialect: Dialect) -> list[str]:
    """Return the fields as text, with what was doubled within quotes single."""
    encoding, quote = dialect.words.encoding, dialect.quote
    texts = [field.decode(encoding) for field in _bytes(fields, np.arange(fields.starts.size))]
    if quote and (fields.kinds == ord(quote)).any():
        wrapped = (fields.text.take(fields.starts - 1) == ord(quote)).tolist()
        texts = [t.replace(quote * 2, quote) if w else t for t, w in zip(texts, wrapped, strict=True)]
    return texts


def _times(texts: list[str], dtype: np.dtype[Any], words: Words) -> Array:
    if not _TIMES.fullmatch("\n".join(texts) + "\n" if texts else ""):
        texts = ["NaT" if text in words.missing else text for text in texts]
        if not _TIMES.fullmatch("\n".join(texts) + "\n"):
            raise ValueError("not times")
    times = np.full(len(texts), "NaT", dtype)
    known = [k for k, text in enumerate(texts) if text != "NaT"]
    if known:
        found = np.array([texts[k].removesuffix("Z") for k in known], "M8")  # of the unit that they need
        times[known] = found.astype(dtype)
        if not (times[known] == found).all():
            raise ValueError("finer than the unit")
    return times


def row_by_row(
    piece: bytes, dialect: Dialect, columns: Sequence[Column], rejected: frozenset[int] = frozenset()
) -> list[Array]:
    """Return what `read_rows` does, in plain Python."""
    values: list[list[Any]] = [[] for _ in columns]
    for line, start, fields in _rows(piece, dialect):
        if start in rejected:
            continue
        for held, value in zip(values, _row(line, start, fields, dialect, columns), strict=True):
            held.append(value)
    return [np.array(held, column.dtype) for held, column in zip(values, columns, strict=True)]


def rows_with_faults(
    piece: bytes, dialect: Dialect, columns: Sequence[Column], note: Callable[[BadRow], object]
) -> None:
    """Call ``note`` with what is wrong with each bad row of ``piece``."""
    for line, start, fields in _rows(piece, dialect):
        try:
            _row(line, start, fields, dialect, columns)
        except BadRow as bad:
            note(bad)


def _rows(piece: bytes, dialect: Dialect) -> Iterator[tuple[int, int, list[bytes]]]:
    """Yield the lines before, the first byte and the fields of each row."""
    if not dialect.pattern:
        for line in dialect.lines(piece):
            yield line.number, line.start, dialect.split(line.content)
        return
    number = place = 0
    for match in dialect.matcher.finditer(piece):
        number += piece.count(b"\n", place, match.start())
        place = match.start()
        yield number, place, [group or b"" for group in match.groups() or (match[0],)]


def _row(line: int, start: int, fields: list[bytes], dialect: Dialect, columns: Sequence[Column]) -> list[Any]:
    if len(fields) != dialect.columns:
        few = f"has {len(fields)} fields, the lines before have {dialect.columns}"
        raise BadRow(line, start, -1, few)
    values = []
    for column in columns:
        try:
            values.append(parse(dialect.words, dialect.words.text(fields[column.place]), column.dtype))
        except ValueError as error:
            raise BadRow(line, start, column.place, str(error)) from None
    return values
