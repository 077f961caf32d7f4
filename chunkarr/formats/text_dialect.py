"""How a text is divided into lines and fields, said as data, and done one line at a time.

This is the slow way, in plain Python: for the sample that guesses are made of, for what has comments or blank
lines, and to say in which line and column something is wrong. `text_fields` does the same many lines at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from chunkarr.formats.text_words import Words

__all__ = ["BLANKS", "Dialect", "Line"]

BLANKS = b" \t"
_BLANK = re.compile(rb"[ \t]+")
UNIT = b"\x1f"  # between what the groups of a regular expression matched


@dataclass(frozen=True, slots=True)
class Line:
    """A row of a text: one line, or several where quotes go on over its end."""

    number: int  # lines before it in the piece
    start: int  # its first byte in the piece
    content: bytes  # without its end and without comments


@dataclass(frozen=True)
class Dialect:
    """How the rows of a text are written."""

    columns: int  # fields of a row
    delimiter: str | None = ","  # one character; None: any run of blanks
    names: tuple[str, ...] = ()  # of the columns, if they have any
    start: int = 0  # byte where the first row begins
    comments: str = "#"  # begins a comment at the start of a line or after a blank; "": nothing does
    quote: str = '"'  # around fields; "": nothing is
    newline: bytes = b"\n"  # or a lone carriage return
    words: Words = field(default_factory=Words)
    widths: tuple[tuple[int, int], ...] = ()  # bytes of a line that each field takes, where widths are fixed
    pattern: str = ""  # a regular expression of which each match is a row and each group a field

    @cached_property
    def matcher(self) -> re.Pattern[bytes]:
        """The regular expression."""
        return re.compile(self.pattern.encode(self.words.encoding), re.MULTILINE)

    @cached_property
    def _blanks(self) -> bytes:
        """What a blank line may hold: blanks that separate fields make it a row of empty fields."""
        return b" \t\r\n\f\v".replace((self.delimiter or "\n").encode(), b"")

    @cached_property
    def _comment(self) -> re.Pattern[bytes]:
        mark = re.escape(self.comments.encode(self.words.encoding))
        before = re.escape(self.delimiter.encode(self.words.encoding)) if self.delimiter else b" "
        return re.compile(rb"(?:^|(?<=[ \t" + before + rb"]))" + mark)

    def lines(self, piece: bytes) -> Iterator[Line]:
        """Yield what of ``piece`` is a row: not blank, not a comment."""
        number = start = 0
        while start < len(piece):
            stop = self._end(piece, start)
            content = self._uncommented(piece[start:stop].removesuffix(b"\r"))
            if content.strip(self._blanks):
                yield Line(number, start, content)
            number += piece.count(self.newline, start, stop) + 1
            start = stop + len(self.newline)

    def _end(self, piece: bytes, start: int) -> int:
        """Return where the row that begins at ``start`` ends: not within quotes."""

        def line_end(place: int) -> int:
            found = piece.find(self.newline, place)
            return len(piece) if found < 0 else found

        stop, quote = line_end(start), self.quote.encode()
        if not quote or self._in_comment(piece[start:stop]):
            return stop
        inside = piece.count(quote, start, stop) % 2
        while inside and stop < len(piece):
            closing = piece.find(quote, stop)
            if closing < 0:
                return len(piece)
            begin, stop = stop, line_end(closing)
            inside = (inside + piece.count(quote, begin, stop)) % 2
        return stop

    def _in_comment(self, content: bytes) -> bool:
        return bool(self.comments) and content.lstrip().startswith(self.comments.encode())

    def _uncommented(self, content: bytes) -> bytes:
        """Return a line without the comment in it."""
        if not self.comments or self.comments.encode() not in content:
            return content
        if self._in_comment(content):
            return b""
        place = 0
        for k, part in enumerate(content.split(self.quote.encode()) if self.quote else [content]):
            match = self._comment.search(content, place, place + len(part)) if k % 2 == 0 else None
            if match is not None:
                before = content[: match.start()]
                return before.rstrip(BLANKS) if self.delimiter not in ("\t", " ") else before
            place += len(part) + 1
        return content

    def split(self, content: bytes) -> list[bytes]:
        """Return the fields of a row."""
        if self.pattern:
            match = self.matcher.search(content)
            groups = () if match is None else match.groups() or (match[0],)
            return [group or b"" for group in groups]
        if self.widths:
            return [content[a:b] for a, b in self.widths]
        delimiter, quote = self.delimiter.encode() if self.delimiter else None, self.quote.encode()
        if not quote or quote not in content:
            return content.split(delimiter)
        if delimiter and delimiter not in content:
            return [content]
        fields, parts = [], list[bytes]()
        for k, part in enumerate(content.split(quote)):
            pieces = [part] if k % 2 else part.split(delimiter) if delimiter else _BLANK.split(part)
            parts += (quote, pieces[0]) if k else pieces[:1]
            for other in pieces[1:]:
                fields.append(b"".join(parts))
                parts = [other]
        fields.append(b"".join(parts))
        return fields if delimiter else [field for field in fields if field]

    def tidy(self, piece: bytes, rejected: frozenset[int] = frozenset()) -> bytes:
        """Return the rows of ``piece`` alone, a line each; those that begin at ``rejected`` are left out."""
        if rejected or (self.quote and self.quote.encode() in piece):
            rows = [line.content for line in self.lines(piece) if line.start not in rejected]
        else:
            rows = [line for line in piece.replace(b"\r\n", b"\n").split(self.newline) if line.strip(self._blanks)]
            if self.comments and self.comments.encode() in piece:
                rows = [row for line in rows if (row := self._uncommented(line)).strip(self._blanks)]
        return b"\n".join(rows) + b"\n" if rows else b""
