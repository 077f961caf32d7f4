"""Where the rows of a text are: one pass over its bytes makes it readable at any place.

The pass notes the byte of every so many rows, and looks whether the columns hold what the sample made believe:
integers become floats where one turns up, texts as wide as the widest is, other fields that are no numbers are an
error with file, line and column, or are set aside. Of columns of floats the pass looks only for bytes that
numbers do not have; what is wrong beyond that shows when the rows are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from chunkarr.errors import TextError
from chunkarr.formats.text_dialect import Dialect
from chunkarr.formats.text_parse import BadRow, Column, read_rows, rows_with_faults
from chunkarr.formats.text_source import TextBytes
from chunkarr.formats.text_survey import TEXT, Surveyor, notes_of, surely_floats
from chunkarr.formats.text_words import shown
from chunkarr.progress import reporter
from chunkarr.settings import config

__all__ = ["TEXT", "Index", "Reject", "build_index", "fault"]

Array = np.ndarray[Any, Any]

PIECE = 1 << 20  # bytes looked at together
LONGEST = 4 << 20  # twice the bytes of a line, at most
BLOCK = 1 << 20  # bytes of a block of rows, about
SHOWN = 16 << 20  # bytes of a text from which on progress is shown
REJECTS = 1_000_000  # rows that may be set aside
WIDER = {
    "i8": ("u8", "f8"),
    "u8": ("f8",),
    "M8[D]": ("M8[s]", "M8[us]", "M8[ns]"),
    "M8[s]": ("M8[us]", "M8[ns]"),
    "M8[us]": ("M8[ns]",),
}


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that was set aside."""

    line: int  # from 1
    column: int  # from 1; 0: the whole row
    reason: str
    content: bytes


@dataclass(frozen=True)
class Index:
    """Where the rows of a text are."""

    rows: int  # without those that were set aside
    step: int  # rows of a block
    offsets: Array  # uint64: the byte where each block begins, and where the last one ends
    dtypes: tuple[np.dtype[Any], ...]  # of the columns
    rejected: Array  # uint64: bytes where rows begin that are no rows
    rejects: tuple[Reject, ...] = field(default=(), compare=False)
    quoted: bool = True  # whether there may be quotes

    @property
    def longest(self) -> int:
        """Bytes of the largest block."""
        return int(np.diff(self.offsets).max(initial=0))


class _Builder:
    """The index while it is made."""

    def __init__(
        self, path: str, source: TextBytes, dialect: Dialect, columns: Sequence[Column], *, guessed: bool, reject: bool
    ) -> None:
        self.path, self.source, self.dialect = path, source, dialect
        self.columns, self.guessed, self.reject = list(columns), guessed, reject
        self.rows = 0
        self.wide = [1] * len(self.columns)  # characters of the longest text
        self.negative: set[int] = set()  # columns, as `columns` counts, that hold negative integers
        self.rejects: list[Reject] = []
        self.rejected: list[int] = []
        self.quoted = False

    def piece(self, start: int) -> bytearray:
        """Return some whole rows of the text, from byte ``start`` on."""
        length = PIECE
        while True:
            piece = self.source.buffer(start, start + length)
            ended = start + len(piece) >= self.source.size
            if ended and not piece.endswith(self.dialect.newline):
                piece += self.dialect.newline
            cut = len(piece) if ended else self._cut(piece)
            if not cut:
                length *= 2
                if length > LONGEST:
                    raise TextError(
                        f"{self.path}: the row at byte {start} has more than {LONGEST >> 21} MiB; is a quote open?"
                    )
                continue
            del piece[cut:]
            return piece

    def _cut(self, piece: bytearray) -> int:
        """Return the end of the last whole row."""
        dialect = self.dialect
        end = piece.rfind(dialect.newline) + 1
        quote = dialect.quote.encode()
        if not quote or quote not in piece:
            return end
        if dialect.comments and dialect.comments.encode() in piece:
            last = 0
            for line in dialect.lines(bytes(piece)):
                last = line.start
            return last
        outside = _outside(np.frombuffer(piece, np.uint8), quote[0], dialect.newline[0])
        return int(outside[-1]) + 1 if outside.size else 0

    def starts(self, piece: bytearray) -> Array:
        """Return where in ``piece`` rows begin."""
        dialect = self.dialect
        if dialect.pattern:
            return np.array([m.start() for m in dialect.matcher.finditer(piece)], np.int64)
        body = np.frombuffer(piece, np.uint8)
        ends = np.flatnonzero(body == dialect.newline[0])
        quote = dialect.quote.encode()
        slow = bool(dialect.comments) and dialect.comments.encode() in piece
        if quote and quote in piece and not slow:
            ends = _outside(body, quote[0], dialect.newline[0])
            if not ends.size or ends[-1] != body.size - 1:
                slow = True
        if slow:
            return np.array([line.start for line in dialect.lines(bytes(piece))], np.int64)
        starts = np.concatenate([[0], ends[:-1] + 1])
        if (body.take(starts) <= 32).any():  # some may be blank
            solid = body > 32
            if dialect.delimiter:
                solid |= body == ord(dialect.delimiter)
            solid = np.logical_or.reduceat(solid, starts)
            starts = starts[solid]
        return starts

    def check(self, start: int, piece: bytearray, rows: int) -> None:
        """Look whether the columns hold what they should; note rows that do not."""
        if not self.reject and surely_floats(np.frombuffer(piece, np.uint8), self.dialect, self.columns, rows):
            return
        whole = bytes(piece)
        while True:
            try:
                values = read_rows(whole, self.dialect, self.columns)
            except BadRow as bad:
                if not self._promote(bad, whole):
                    self._set_aside(start, whole, bad)
                    return
                continue
            self._note(*notes_of(values, self.columns))
            return

    def _note(self, negative: Sequence[bool], wide: Sequence[int]) -> None:
        self.negative |= {k for k, some in enumerate(negative) if some}
        self.wide = [max(pair) for pair in zip(self.wide, wide, strict=True)] if wide else self.wide

    def _promote(self, bad: BadRow, piece: bytes) -> bool:
        """Give a column that was taken for integers a type that holds what is there; say whether there is one."""
        if not self.guessed:
            return False
        for k, column in enumerate(self.columns):
            if column.place != bad.column:
                continue
            for kind in WIDER.get(column.dtype.str.lstrip("<>|="), ()):
                if kind == "u8" and k in self.negative:
                    continue
                wider = replace(column, dtype=np.dtype(kind))
                try:
                    read_rows(piece, self.dialect, [wider])
                except BadRow as other:
                    if other.start <= bad.start:
                        continue
                self.columns[k] = wider
                return True
        return False

    def _set_aside(self, start: int, piece: bytes, first: BadRow) -> None:
        if not self.reject:
            raise self._error(start, first)
        found: list[BadRow] = []
        rows_with_faults(piece, self.dialect, self.columns, found.append)
        ends = {line.start: line.content for line in self.dialect.lines(piece)}
        before = self._lines_before(start)
        for bad in found:
            if len(self.rejects) >= REJECTS:
                raise TextError(f"{self.path}: more than {REJECTS} rows are bad; is the delimiter right?")
            content = ends.get(bad.start, b"")
            self.rejects.append(Reject(before + bad.line + 1, bad.column + 1, bad.reason, content))
            self.rejected.append(start + bad.start)

    def _error(self, start: int, bad: BadRow) -> TextError:
        return fault(self.path, self.source, self.dialect, start, bad)

    def _lines_before(self, start: int) -> int:
        return count_lines(self.source, self.dialect, start)

    def run(self, step: int) -> Index:
        """Go over the text and return its index."""
        marks: list[Array] = []
        place, surveyor = self.dialect.start, Surveyor(self.source, self.dialect, wanted=not self.reject)
        bar = reporter(config.get("progress", False) and self.source.size >= SHOWN)
        bar.start(self.source.size, "rows")
        try:
            while place < self.source.size:
                for seen in surveyor.ahead(place, self.columns):
                    self._note(seen.negative, seen.wide)
                    marks.append(self._marked(seen.starts, step))
                    bar.advance(seen.end - place)
                    place = seen.end
                if place >= self.source.size:
                    break
                piece = self.piece(place)
                marks.append(self._marked(self._looked_at(place, piece), step))
                bar.advance(len(piece))
                place += len(piece)
        finally:
            bar.close()
        offsets = np.concatenate([*marks, [min(place, self.source.size)]]).astype(np.uint64)
        dtypes = tuple(
            np.dtype(f"U{wide}") if column.dtype == TEXT else column.dtype
            for column, wide in zip(self.columns, self.wide, strict=True)
        )
        return Index(
            self.rows, step, offsets, dtypes, np.array(self.rejected, np.uint64), tuple(self.rejects), self.quoted
        )

    def _looked_at(self, place: int, piece: bytearray) -> Array:
        """Return where rows begin in the text, of the piece at ``place``, which is checked."""
        self.quoted |= bool(self.dialect.quote) and self.dialect.quote.encode() in piece
        starts = self.starts(piece)
        self.check(place, piece, starts.size)
        bad = [start - place for start in self.rejected if start >= place]
        return place + (np.setdiff1d(starts, bad) if bad else starts)

    def _marked(self, starts: Array, step: int) -> Array:
        """Count rows; return where those of them begin that begin a block."""
        first = -self.rows % step
        self.rows += starts.size
        marked: Array = starts[first::step].astype(np.uint64)
        return marked


def _outside(body: Array, quote: int, newline: int) -> Array:
    """Return where lines end that are not within quotes."""
    ends = np.flatnonzero(body == newline)
    outside: Array = ends[np.searchsorted(np.flatnonzero(body == quote), ends) % 2 == 0]
    return outside


def build_index(
    path: str,
    source: TextBytes,
    dialect: Dialect,
    columns: Sequence[Column],
    *,
    row_bytes: float,
    guessed: bool,
    reject: bool,
) -> Index:
    """Go over a text once.

    Parameters
    ----------
    path, source, dialect
        The text: for errors, its bytes, how it is written.
    columns
        What is read, of which types.
    row_bytes
        Bytes of a row, about.
    guessed
        Whether integers may turn out to be floats, and texts longer.
    reject
        Whether bad rows are set aside; else they are an error.

    Raises
    ------
    TextError
        If a row or a field is not what it should be.
    """
    step = max(1, int(BLOCK / max(1.0, row_bytes)))
    step = step // 1024 * 1024 or step
    return _Builder(path, source, dialect, columns, guessed=guessed, reject=reject).run(step)


def count_lines(source: TextBytes, dialect: Dialect, stop: int) -> int:
    """Return how many lines there are before byte ``stop``."""
    pieces = range(0, stop, PIECE)
    return sum(source.read(at, min(at + PIECE, stop)).count(dialect.newline) for at in pieces)


def fault(path: str, source: TextBytes, dialect: Dialect, start: int, bad: BadRow) -> TextError:
    """Return the error that says where a bad row is; ``start`` is the byte where its piece begins."""
    line = count_lines(source, dialect, start) + bad.line + 1
    if bad.column < 0:
        return TextError(f"{path}:{line}: {bad.reason}")
    name = f" {shown(dialect.names[bad.column])}" if bad.column < len(dialect.names) else ""
    return TextError(f"{path}:{line}:{bad.column + 1}: in column {bad.column + 1}{name}: {bad.reason}")
