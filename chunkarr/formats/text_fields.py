"""Where the fields of a text lie: many lines at once, in terms of the bytes that are no digits.

Of a number's bytes most are digits, so one pass over the bytes finds the others, and all that follows looks
at these: which separate fields and end lines, which are quoted, which belong to numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from chunkarr.formats.text_dialect import UNIT, Dialect
from chunkarr.formats.text_numbers import PAD, Fields, padded

__all__ = ["Irregular", "Table", "divide"]

Array = np.ndarray[Any, Any]

SPACE, TAB, LF, CR = b" \t\n\r"
WIDEST = 1000  # blanks beside a field that are worth taking away for all fields at a time


class Irregular(Exception):  # noqa: N818 - says what the piece is; never leaves this package
    """Lines of a piece have different numbers of fields, or there are comments and blank lines among them."""


@dataclass(slots=True)
class Table:
    """The fields of some rows, row after row."""

    fields: Fields
    rows: int
    columns: int

    def take(self, columns: tuple[int, ...]) -> Fields:
        """Return the fields of some columns, row after row, in the order of the file; stripped of blanks and quotes."""
        whole = self.fields
        if columns == tuple(range(self.columns)):
            return whole
        which = np.full(self.columns, -1)
        which[list(columns)] = np.arange(len(columns))
        row, column = np.divmod(whole.owners, self.columns)
        place = which.take(column)
        keep = np.flatnonzero(place >= 0)
        shape = (self.rows, self.columns)
        return Fields(
            whole.text,
            whole.starts.reshape(shape)[:, columns].reshape(-1),
            whole.stops.reshape(shape)[:, columns].reshape(-1),
            whole.marks.take(keep),
            whole.kinds.take(keep),
            row.take(keep) * len(columns) + place.take(keep),
        )


def divide(piece: bytes, dialect: Dialect) -> Table:
    """Return the fields of the lines of ``piece``, which ends with the end of a line.

    Raises
    ------
    Irregular
        If not all lines have ``dialect.columns`` fields, or one may be blank or have a comment.
    """
    if dialect.pattern:
        piece, dialect = _matches(piece, dialect), Dialect(dialect.columns, UNIT.decode(), comments="", quote="")
    text = padded(piece)
    body = text[PAD : PAD + len(piece)]
    places = np.flatnonzero((body - np.uint8(ord("0"))) > 9)
    kinds = body.take(places)
    places += PAD
    if dialect.comments and (kinds == ord(dialect.comments[0])).any():
        raise Irregular
    quoted = None
    if dialect.quote:
        quotes = kinds == ord(dialect.quote)
        if quotes.any():
            quoted = (np.cumsum(quotes) & 1).astype(bool)
            if quoted[-1]:  # never closed
                raise Irregular
    if dialect.widths:
        table = _fixed(text, places, kinds, dialect)
    elif dialect.delimiter is None:
        table = _by_blanks(text, places, kinds, quoted, dialect.columns)
    else:
        table = _by_delimiter(text, places, kinds, quoted, dialect)
    _strip(table.fields, dialect.quote)
    if dialect.columns == 1 and (table.fields.starts >= table.fields.stops).any():  # blank lines, perhaps
        raise Irregular
    return table


def _by_delimiter(text: Array, places: Array, kinds: Array, quoted: Array | None, dialect: Dialect) -> Table:
    assert dialect.delimiter is not None
    ends = kinds == LF
    separates = kinds == ord(dialect.delimiter)
    separates |= ends
    if quoted is not None:
        separates &= ~quoted
    at = np.flatnonzero(separates)
    columns = dialect.columns
    last = ends.take(at)
    rows = at.size // columns
    if at.size % columns or np.count_nonzero(last) != rows or not last[columns - 1 :: columns].all():
        raise Irregular
    stops = places.take(at)
    starts = np.empty_like(stops)
    starts[:1] = PAD
    np.add(stops[:-1], 1, out=starts[1:])
    owners = np.cumsum(separates)
    rest = np.flatnonzero(~separates)
    return Table(Fields(text, starts, stops, places.take(rest), kinds.take(rest), owners.take(rest)), rows, columns)


def _by_blanks(text: Array, places: Array, kinds: Array, quoted: Array | None, columns: int) -> Table:
    ends = kinds == LF
    blank = (kinds == SPACE) | (kinds == TAB) | (kinds == CR) | ends
    if quoted is not None:
        blank &= ~quoted
        ends &= ~quoted
    near = np.zeros(places.size + 1, bool)  # whether a blank follows another at once
    near[1:-1] = (places[1:] == places[:-1] + 1) & blank[1:] & blank[:-1]
    firsts, lasts = np.flatnonzero(blank & ~near[:-1]), np.flatnonzero(blank & ~near[1:])
    lines = np.concatenate([[0], np.cumsum(ends)])
    last = lines.take(lasts + 1) > lines.take(firsts)
    stops, after = places.take(firsts), places.take(lasts) + 1
    starts = np.concatenate([[PAD], after[:-1]])
    if stops.size and stops[0] == PAD:  # the text begins with blanks
        starts, stops, last = starts[1:], stops[1:], last[1:]
    rows = stops.size // columns
    if stops.size % columns or np.count_nonzero(last) != rows or not last[columns - 1 :: columns].all():
        raise Irregular
    rest = np.flatnonzero(~blank)
    owners = np.searchsorted(stops, places.take(rest), "right")
    return Table(Fields(text, starts, stops, places.take(rest), kinds.take(rest), owners), rows, columns)


def _fixed(text: Array, places: Array, kinds: Array, dialect: Dialect) -> Table:
    stops = places.take(np.flatnonzero(kinds == LF))
    starts = np.concatenate([[PAD], stops[:-1] + 1])
    stops = stops - (text.take(stops - 1) == CR)
    if (starts >= stops).any():
        raise Irregular
    first, behind = np.array(dialect.widths, np.int64).T
    begin = np.minimum(starts[:, None] + first, stops[:, None]).reshape(-1)
    end = np.minimum(starts[:, None] + behind, stops[:, None]).reshape(-1)
    owners = np.maximum(np.searchsorted(begin, places, "right") - 1, 0)
    inside = np.flatnonzero((places >= begin.take(owners)) & (places < end.take(owners)))
    fields = Fields(text, begin, end, places.take(inside), kinds.take(inside), owners.take(inside))
    return Table(fields, starts.size, len(dialect.widths))


def _matches(piece: bytes, dialect: Dialect) -> bytes:
    """Return a line for each match of the pattern, with its groups as fields."""
    rows = dialect.matcher.findall(piece)
    if dialect.columns > 1:
        rows = [UNIT.join(row) for row in rows]
    return b"\n".join(row.replace(b"\n", b" ") for row in rows) + b"\n" if rows else b""


def _strip(fields: Fields, quote: str) -> None:
    """Leave blanks and then quotes around fields, and the marks that they were, out of them."""
    kinds = fields.kinds
    blank = (kinds == SPACE) | (kinds == TAB) | (kinds == CR)
    marked = kinds == ord(quote) if quote else np.zeros(kinds.size, bool)
    if not (blank.any() or marked.any()):
        return
    text, starts, stops = fields.text, fields.starts.copy(), fields.stops.copy()
    _strip_blanks(text, starts, stops)
    if marked.any():
        wrapped = (stops - starts >= 2) & (text.take(starts) == ord(quote)) & (text.take(stops - 1) == ord(quote))
        starts += wrapped
        stops -= wrapped
    keep = np.flatnonzero((fields.marks >= starts.take(fields.owners)) & (fields.marks < stops.take(fields.owners)))
    fields.starts, fields.stops = starts, stops
    fields.marks, fields.kinds, fields.owners = fields.marks.take(keep), kinds.take(keep), fields.owners.take(keep)


def _strip_blanks(text: Array, starts: Array, stops: Array) -> None:
    for ends, step, shift in ((starts, 1, 0), (stops, -1, -1)):
        todo = np.arange(starts.size)
        for _ in range(WIDEST):
            byte = text.take(ends.take(todo) + shift)
            blank = (byte == SPACE) | (byte == TAB) | (byte == CR)
            todo = todo[blank & (starts.take(todo) < stops.take(todo))]
            if not todo.size:
                break
            ends[todo] += step
        else:
            raise Irregular
