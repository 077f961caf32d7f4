"""A quick look at a text in several threads: where its rows begin, in parts that show nothing unusual.

A text is looked at in spans of equal length; the rows that begin in a span are those behind the ends of lines in it.
That is so as long as there are no quotes, comments and blank lines. A span that may have one, or holds what
its columns should not, is not surveyed: the caller goes on from there on the slow way, which knows everything.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import numpy as np

from chunkarr import settings
from chunkarr.formats.text_dialect import Dialect
from chunkarr.formats.text_parse import BadRow, Column, read_rows
from chunkarr.formats.text_plain import Room, places
from chunkarr.formats.text_source import TextBytes

__all__ = ["TEXT", "Seen", "Surveyor", "notes_of", "surely_floats"]

Array = np.ndarray[Any, Any]
T = TypeVar("T")

TEXT = np.dtype("U")  # of a column of texts, as wide as the widest turns out to be
SPAN = 4 << 20  # bytes looked at together, at most: threads that look at few ask for the interpreter too often
SHARE = 64  # part of the budget that they may be
SLACK = 32 << 10  # bytes behind them in which their last row ends
ENOUGH = 8 << 20  # bytes of text from which threads are worth their start
MEMORY = 64 << 20  # bytes of budget from which several spans are held at the same time
PATIENCE = 4  # spans in vain until looking ahead is given up
FLOAT_BYTES = b"0123456789+-.eE\r\n"
_FIRST, _COUNT = ord("+"), 14  # bytes from + to 9: digits, signs, the point, and two that are looked for apart


@dataclass(frozen=True, slots=True)
class Seen:
    """Rows as they were expected, one after another."""

    end: int  # byte behind them
    starts: Array  # uint64: bytes where they begin
    negative: tuple[bool, ...] = ()  # which of the columns hold negative integers, where that was looked at
    wide: tuple[int, ...] = ()  # characters of the longest text in each


class Surveyor:
    """Looks at a text ahead of who indexes it.

    Parameters
    ----------
    source, dialect
        The text.
    wanted
        Whether to look at all.
    """

    def __init__(self, source: TextBytes, dialect: Dialect, *, wanted: bool) -> None:
        self.source, self.dialect = source, dialect
        self.patience = PATIENCE if wanted and self._can() else 0
        self.workers = settings.workers() if settings.budget() >= MEMORY and source.size >= ENOUGH else 1
        self.span = min(SPAN, settings.budget() // SHARE)

    def _can(self) -> bool:
        """Say whether quotes and comments show, and bytes are read as quickly anywhere."""
        numbers = FLOAT_BYTES.decode()
        hidden = any(mark in numbers for mark in self.dialect.quote + self.dialect.comments[:1])
        return self.source.parallel and not (hidden or self.dialect.pattern)

    def ahead(self, start: int, columns: Sequence[Column]) -> Iterator[Seen]:
        """Yield what is seen from byte ``start`` on, where a row begins, up to the end or something unusual."""
        if not self.patience:
            return
        rooms = SimpleQueue[Room]()

        def look(first: int) -> Seen | None:
            try:
                room = rooms.get_nowait()
            except Empty:
                room = Room(min(self.span + SLACK, self.source.size - start) + 2)
            seen = _look(room, self.source, self.dialect, columns, (first, first + self.span), top=first == start)
            rooms.put(room)
            return seen

        for seen in _in_order(look, range(start, self.source.size, self.span), self.workers):
            if seen is None:
                self.patience -= 1
                return
            self.patience = min(PATIENCE, self.patience + 1)
            yield seen


def _in_order(function: Callable[[int], T], items: Iterable[int], workers: int) -> Iterator[T]:
    """Yield what ``function`` makes of ``items``, in their order, some in advance."""
    if workers == 1:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting = deque[Future[T]]()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _look(
    room: Room, source: TextBytes, dialect: Dialect, columns: Sequence[Column], span: tuple[int, int], *, top: bool
) -> Seen | None:
    """Return the rows that begin in a span of bytes, or None if there is anything unusual.

    At the ``top`` a row begins with the span; else one that begins there is told by the byte before.
    """
    newline, (first, behind) = dialect.newline, span
    low, high = first - (not top), min(source.size, behind + SLACK)
    at, end = room.fill(source, low, high, newline if high == source.size else b"")
    body, ended = room.text[at:end], room.mask(0, end - at)
    np.equal(body, newline[0], out=ended[: body.size])
    ends = places(ended)
    last = int(np.searchsorted(ends, behind - 1 - low))  # the end of the last row
    if last == ends.size:
        if high < source.size:
            return None
        last -= 1
    starts = np.concatenate([[0], ends[:last] + 1]) if top else ends[:last] + 1
    piece = body[starts[0] : ends[last] + 1] if starts.size else body[:0]
    if (body.take(starts) <= ord(" ")).any():  # a blank line, perhaps
        return None
    rows, end = (starts + low).astype(np.uint64), low + int(ends[last]) + 1
    if surely_floats(piece, dialect, columns, starts.size, (room.mask(0, piece.size), room.mask(1, piece.size))):
        return Seen(end, rows)
    notes = _checked(piece.tobytes(), dialect, columns, starts.size)
    return None if notes is None else Seen(end, rows, *notes)


def surely_floats(
    piece: Array, dialect: Dialect, columns: Sequence[Column], rows: int, masks: tuple[Array, Array] | None = None
) -> bool:
    """Say whether there are only bytes that numbers have, and as many delimiters as rows make.

    ``masks`` are two arrays of as many bytes to work in.
    """
    if dialect.delimiter is None or dialect.widths or dialect.words.decimal != ".":
        return False
    if any(column.dtype.kind != "f" for column in columns):
        return False
    delimiter, work = ord(dialect.delimiter), masks or (np.empty(piece.size, bool), np.empty(piece.size, bool))
    mask, few = work[0][: piece.size], work[1][: piece.size].view(np.uint8)
    found = np.count_nonzero(np.equal(piece, delimiter, out=mask))
    if found != rows * (dialect.columns - 1):
        return False
    np.subtract(piece, _FIRST, out=few)
    usual = np.count_nonzero(np.less(few, _COUNT + 1, out=mask)) + rows
    usual += 0 if _FIRST <= delimiter <= _FIRST + _COUNT else found
    for other in b"eE\r":
        if usual < piece.size and other not in (delimiter, dialect.newline[0]):
            usual += np.count_nonzero(np.equal(piece, other, out=mask))
    others = [other for other in b",/" if other != delimiter]
    return usual == piece.size and not any(np.equal(piece, other, out=mask).any() for other in others)


def _checked(
    piece: bytes, dialect: Dialect, columns: Sequence[Column], rows: int
) -> tuple[tuple[bool, ...], tuple[int, ...]] | None:
    """Return what `Seen` has of the values of rows, or None if they are not as they should be."""
    if any(mark and mark.encode() in piece for mark in (dialect.quote, dialect.comments)):
        return None
    try:
        values = read_rows(piece, dialect, columns)
    except BadRow:
        return None
    if any(len(found) != rows for found in values):
        return None
    return notes_of(values, columns)


def notes_of(values: Sequence[Array], columns: Sequence[Column]) -> tuple[tuple[bool, ...], tuple[int, ...]]:
    """Return which columns hold negative integers, and how many characters the longest text in each has."""
    pairs = list(zip(values, columns, strict=True))
    negative = [found.dtype.kind == "i" and bool(found.size and found.min() < 0) for found, _ in pairs]
    return tuple(negative), tuple(found.dtype.itemsize // 4 if column.dtype == TEXT else 1 for found, column in pairs)
