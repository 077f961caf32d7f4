"""Guess how a text is written from its head, its middle and its tail; what the user says is not guessed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from chunkarr.errors import OptionError, TextError
from chunkarr.formats.text_dialect import Dialect
from chunkarr.formats.text_source import TextBytes
from chunkarr.formats.text_words import MISSING, Words, kind_of, merge

__all__ = ["Given", "Guess", "guess"]

SAMPLE = 64 << 10  # bytes looked at at each of three places, more where lines are long
MOST_SAMPLE = 4 << 20
ROWS = 400  # of each, at most
FEW = 4  # rows that are looked at however long they are
FIELDS = 2000  # of a row, whose kinds tell the delimiter
PREAMBLE = 100  # lines before the header, at most
CANDIDATES = ("\t", ";", ",", "|", None)
MOST_COLUMNS = 1_000_000
_COMMA = re.compile(r"[+-]?[0-9]*,[0-9]+([eE][+-]?[0-9]+)?")
_THOUSANDS = re.compile(r"[+-]?[0-9]{1,3}(,[0-9]{3})+(\.[0-9]*)?")
_SEP = re.compile(rb"sep=(.)\r?\n", re.IGNORECASE)


@dataclass(frozen=True)
class Given:
    """What the user said of a text; None: to be guessed."""

    delimiter: str | None = None  # "whitespace": any run of blanks
    header: int | None = None  # rows of names and units: 0, 1 or 2
    names: tuple[str, ...] | None = None
    skiprows: int | None = None  # lines
    comments: str | None = None
    quote: str | None = None
    missing: tuple[str, ...] = ()  # besides those that are known
    decimal: str | None = None
    thousands: str | None = None
    encoding: str | None = None
    widths: tuple[int, ...] = ()
    regexp: str = ""


@dataclass(frozen=True)
class Guess:
    """How a text is written, and what its columns seem to hold."""

    dialect: Dialect
    kinds: tuple[str, ...]  # of each column, of `text_words.KINDS`
    fields: tuple[tuple[str, ...], ...]  # a few of each column
    row_bytes: float  # of a row, about
    skipped: int  # lines before the first row
    header: int  # how many of them have names and units


@dataclass(frozen=True, slots=True)
class _Row:
    start: int  # byte in the text
    content: bytes


def guess(path: str, source: TextBytes, given: Given) -> Guess:
    """Return how the text at ``path`` is written.

    Raises
    ------
    TextError
        If it is no text, or empty where something must be known of it.
    """
    head = source.read(0, SAMPLE)
    if b"\0" in head:
        raise TextError(f'{path}: holds NUL bytes: this is no text, or needs encoding="utf-16"')
    start = 3 if head.startswith(b"\xef\xbb\xbf") else 0
    newline = b"\r" if b"\r" in head and b"\n" not in head else b"\n"
    head, start = _skipped(path, source, head, start, newline, given.skiprows or 0)
    told = _SEP.match(head, start) if given.skiprows is None else None
    if told:
        start = told.end()
        given = given if given.delimiter else replace(given, delimiter=told[1].decode("latin-1"))
    head = _lengthened(source, head, newline)
    others = _samples(source, newline, len(head))
    encoding = given.encoding or _encoding([head, *others], ended=source.size <= len(head))
    dialect = Dialect(
        1, ",", comments=_comments(head[start:], given), newline=newline, start=start,
        quote='"' if given.quote is None else given.quote,
        words=Words(encoding=encoding, missing=(*MISSING, *given.missing)),
    )  # fmt: skip
    if given.regexp:
        return _by_pattern(path, dialect, given, head, others)
    rows = _rows(head, start, dialect, ended=source.size <= len(head))
    more = [_rows(piece, 0, dialect, ended=True)[1:] for piece in others]
    return _finish(path, dialect, given, rows, more, source.size)


def _skipped(path: str, source: TextBytes, head: bytes, start: int, newline: bytes, count: int) -> tuple[bytes, int]:
    """Return the head, longer where that is needed, and where ``count`` lines behind ``start`` end."""
    for _ in range(count):
        while (end := head.find(newline, start)) < 0 and len(head) < min(source.size, MOST_SAMPLE):
            head = source.read(0, 4 * len(head))
        if start == len(head) or (end < 0 and len(head) < source.size):
            raise OptionError(f"{path}: skiprows={count} is more than there are in the first {len(head)} B")
        start = end + 1 if end >= 0 else len(head)
    return (head if len(head) - start >= SAMPLE else source.read(0, start + SAMPLE)), start


def _lengthened(source: TextBytes, head: bytes, newline: bytes) -> bytes:
    """Return so much of the text that its later half has whole lines."""
    while head.count(newline, len(head) // 2) < 2 and len(head) < min(source.size, MOST_SAMPLE):
        head = source.read(0, 4 * len(head))
    return head


def _samples(source: TextBytes, newline: bytes, size: int) -> list[bytes]:
    """Return whole lines from the middle and the end, with one before them that may be cut."""
    places = [place for place in (source.size // 2, source.size - size) if place >= size]
    found = []
    for place in places:
        piece = source.read(place, place + size)
        found.append(piece[: piece.rfind(newline) + 1])
    return found


def _encoding(pieces: Sequence[bytes], *, ended: bool) -> str:
    """Return "utf-8", or "latin-1" where that is not what the bytes are."""
    for piece in pieces:
        inner = piece if ended else piece[4 : max(4, len(piece) - 4)].lstrip(bytes(range(0x80, 0xC0)))
        try:
            inner.decode()
        except UnicodeDecodeError as error:
            if ended or error.start < len(inner) - 4:
                return "latin-1"
    return "utf-8"


def _comments(head: bytes, given: Given) -> str:
    if given.comments is not None:
        return given.comments
    return "%" if head.lstrip().startswith(b"%") else "#"


def _rows(piece: bytes, start: int, dialect: Dialect, *, ended: bool) -> list[_Row]:
    rows: list[_Row] = []
    for line in dialect.lines(piece[start:]):
        rows.append(_Row(start + line.start, line.content))
        if len(rows) > ROWS + PREAMBLE or (len(rows) > FEW and line.start > 2 * SAMPLE):
            return rows
    return rows if ended or len(rows) < 2 else rows[:-1]  # the last one may be cut


def _finish(path: str, dialect: Dialect, given: Given, rows: list[_Row], more: list[list[_Row]], size: int) -> Guess:
    """Guess from the rows of the head and of other places."""
    if given.widths:
        ends = [sum(given.widths[: k + 1]) for k in range(len(given.widths))]
        spans = tuple((end - width, end) for end, width in zip(ends, given.widths, strict=True))
        dialect = replace(dialect, widths=spans, columns=len(spans), quote=given.quote or "")
    else:
        dialect = _choose(path, dialect, given, rows)
    if dialect.columns > MOST_COLUMNS:
        raise TextError(f"{path}: a row has {dialect.columns} fields, at most {MOST_COLUMNS} are possible")
    split = [(row, [dialect.words.text(f) for f in dialect.split(row.content)]) for row in rows]
    skip = _preamble(split, dialect.columns) if given.skiprows is None else 0
    body = [fields for _, fields in split[skip:] if len(fields) == dialect.columns]
    for piece in more:
        others = [[dialect.words.text(field) for field in dialect.split(row.content)] for row in piece]
        alike = [fields for fields in others if len(fields) == dialect.columns]
        if len(alike) >= 0.8 * len(others):  # else it begins within quotes, so that all is taken for its opposite
            body += alike
    dialect = replace(dialect, words=_words(dialect, given, body[1:] or body))
    width = dialect.columns
    header = _header_rows(body, dialect.words, given, path)
    kinds = [""] * width
    for fields in body[header:]:
        kinds = [merge(kind, kind_of(text, dialect.words)) for kind, text in zip(kinds, fields, strict=True)]
    names = given.names or (tuple(body[0]) if header else ())
    if names and len(names) != width:
        raise OptionError(f"{path}: {len(names)} names for {width} columns")
    first = skip + header
    begin = split[first][0].start if first < len(split) else (size if split else dialect.start)
    data = [row for row, _ in split[first:]]
    spread = (data[-1].start - data[0].start) / (len(data) - 1) if len(data) > 1 else size or 1
    columns = list(zip(*body[header : header + ROWS], strict=True)) if body[header:] else [()] * width
    return Guess(
        replace(dialect, names=_distinct(names), start=begin), tuple(kinds), tuple(map(tuple, columns)),
        float(spread), first, header,
    )  # fmt: skip


def _choose(path: str, dialect: Dialect, given: Given, rows: list[_Row]) -> Dialect:
    """Return the dialect with its delimiter and number of columns."""
    said = given.delimiter
    if said is not None:
        if said != "whitespace" and len(said.encode()) != 1:
            raise OptionError(f'delimiter is one character of ASCII, "whitespace" or None, not {said!r}')
        candidates: tuple[str | None, ...] = (None if said == "whitespace" else said,)
    else:
        first = "\t" if path.lower().endswith((".tsv", ".tab")) else None
        candidates = tuple(sorted(CANDIDATES, key=lambda c: c != first or c is None))
    best, best_score = replace(dialect, delimiter=candidates[0] if said is not None else ","), (0.0, 0.0)
    for candidate in candidates:
        trial = replace(dialect, delimiter=candidate)
        split = [trial.split(row.content) for row in rows[-200:]]
        if not split:
            break
        columns, often = Counter(map(len, split)).most_common(1)[0]
        if columns < 2 and said is None:
            continue
        texts = [trial.words.text(field) for found in split if len(found) == columns for field in found[:FIELDS]]
        good = sum(_is_value(text, trial) for text in texts)
        score = (float(often / len(split) >= 0.8), good / max(1, len(texts)))
        if score > best_score or best.columns == 1:
            best, best_score = replace(trial, columns=max(1, columns)), max(score, best_score)
    return best


def _is_value(text: str, dialect: Dialect) -> bool:
    return kind_of(text, dialect.words) != "text" or (dialect.delimiter != "," and bool(_COMMA.fullmatch(text)))


def _preamble(split: list[tuple[_Row, list[str]]], columns: int) -> int:
    """Return how many lines come before the table: of other lengths, and not all of numbers."""
    for k, (_, fields) in enumerate(split[:PREAMBLE]):
        if len(fields) == columns or all(kind_of(text, Words()) != "text" for text in fields):
            return k
    return 0


def _words(dialect: Dialect, given: Given, body: list[list[str]]) -> Words:
    """Return how numbers are written: a decimal comma and separators of thousands are looked for."""
    words = dialect.words
    decimal, thousands = given.decimal, given.thousands
    commas = [text for fields in body for text in fields if _COMMA.fullmatch(text) or _THOUSANDS.fullmatch(text)]
    grouped = [text for text in commas if _THOUSANDS.fullmatch(text)]
    if decimal is None:
        several = any(text.count(",") > 1 or "." in text for text in grouped)
        decimal = "," if commas and dialect.delimiter != "," and not several else "."
    if thousands is None:
        thousands = "," if grouped and len(grouped) == len(commas) and decimal == "." else ""
    for name, value in (("decimal", decimal), ("thousands", thousands)):
        if len(value.encode()) > 1 or (name == "decimal" and not value):
            raise OptionError(f"{name} is one character of ASCII, not {value!r}")
    return replace(words, decimal=decimal, thousands=thousands)


def _header_rows(body: list[list[str]], words: Words, given: Given, path: str) -> int:
    """Return how many rows of ``body`` are names and units: columns of numbers do not begin with words."""
    if given.header is not None:
        return int(given.header)
    if not body or not body[0] or all(not text for text in body[0]):
        return 0
    kinds = [[kind_of(text, words) for text in fields] for fields in body[:3]]
    first = kinds[0]
    if any(kind not in ("text", "missing") for kind in first):
        return 0
    below = [""] * len(first)
    for fields in body[2:] or body[1:]:
        below = [merge(kind, kind_of(text, words)) for kind, text in zip(below, fields, strict=True)]
    numbers = [k for k, kind in enumerate(below) if kind not in ("text", "missing", "")]
    if numbers:
        told = any(first[k] == "text" for k in numbers)
        units = told and len(body) > 3 and all(kinds[1][k] in ("text", "missing") for k in numbers)
        units = units and any(kinds[1][k] == "text" for k in numbers)
        return (2 if units else 1) if told else 0
    unique = len(set(body[0])) == len(body[0]) and all(body[0])
    return int(
        unique and len(body[0]) + len(body) > 2 and path.lower().endswith((".csv", ".tsv", ".csv.gz", ".tsv.gz"))
    )


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Return ``names`` with numbers after those that are empty or repeat."""
    found: dict[str, int] = {}  # and how often each came
    for k, name in enumerate(names):
        new = first = name or f"f{k}"
        while new in found:
            found[first] = found.get(first, 1) + 1
            new = f"{first}_{found[first]}"
        found[new] = 1
    return tuple(found)


def _by_pattern(path: str, dialect: Dialect, given: Given, head: bytes, others: list[bytes]) -> Guess:
    """Guess what the groups of a regular expression match."""
    dialect = replace(dialect, pattern=given.regexp, comments="", quote="")
    try:
        matcher = dialect.matcher
    except re.error as error:
        raise OptionError(f"regexp {given.regexp!r}: {error}") from None
    dialect = replace(dialect, columns=max(1, matcher.groups))
    if given.names and len(given.names) != dialect.columns:
        raise OptionError(f"{path}: {len(given.names)} names for {dialect.columns} groups")
    rows, starts = [], []
    for piece in (head[dialect.start :], *others):
        for match, _ in zip(matcher.finditer(piece), range(ROWS), strict=False):
            rows.append([dialect.words.text(group or b"") for group in match.groups() or (match[0],)])
            starts.append(match.start())
    dialect = replace(dialect, words=_words(replace(dialect, delimiter="\x1f"), given, rows))
    kinds = [""] * dialect.columns
    for fields in rows:
        kinds = [merge(kind, kind_of(text, dialect.words)) for kind, text in zip(kinds, fields, strict=True)]
    columns: list[Any] = list(zip(*rows, strict=True)) if rows else [()] * dialect.columns
    size = max(1.0, len(head) / max(1, len(rows)))
    return Guess(
        replace(dialect, names=_distinct(given.names or ())), tuple(kinds), tuple(map(tuple, columns)), size, 0, 0
    )
