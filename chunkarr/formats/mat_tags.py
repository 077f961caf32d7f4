"""The elements that MATLAB's files from version 5 on consist of, read by a parser that believes nothing.

An element is a tag of eight bytes (type, size) and its data, padded to eight bytes. Up to four bytes of data
may lie in the tag itself: then the size is in the upper half of its first word. Elements of type `MATRIX`
hold other elements; those of type `COMPRESSED` hold one, as a zlib stream.
Source: https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from chunkarr.errors import FormatError
from chunkarr.formats.runs import Source

__all__ = [
    "COMPRESSED",
    "INT8",
    "INT32",
    "MATRIX",
    "NUMBERS",
    "UINT32",
    "UTF8",
    "UTF16",
    "Reader",
    "Tag",
    "Words",
    "padded",
]

Words = Literal["<", ">"]  # which byte of a word comes first

INT8, UINT8, INT32, UINT32, MATRIX, COMPRESSED, UTF8, UTF16 = 1, 2, 5, 6, 14, 15, 16, 17
NUMBERS = {
    INT8: "i1", UINT8: "u1", 3: "i2", 4: "u2", INT32: "i4", UINT32: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
    UTF8: "u1", UTF16: "u2", 18: "u4",
}  # fmt: skip  # type -> NumPy's code of what it holds; text: of its units
WINDOW = 4096  # bytes read at once of what describes data


class Tag(NamedTuple):
    """Where the data of an element lie."""

    kind: int
    start: int  # first byte of the data
    nbytes: int
    next: int  # where the next element begins

    @property
    def stop(self) -> int:
        """Byte after the data."""
        return self.start + self.nbytes


def padded(nbytes: int) -> int:
    """Return ``nbytes`` rounded up to whole words of eight.

    >>> padded(9), padded(8)
    (16, 8)
    """
    return -(-nbytes // 8) * 8


@dataclass(eq=False)
class Reader:
    """The bytes of a file, or of a variable that was compressed, and what reads elements from them.

    Parameters
    ----------
    origin
        What errors name.
    source
        What gives the bytes.
    size
        How many there are.
    words
        The byte order of all words and numbers.
    """

    origin: str
    source: Source
    size: int
    words: Words
    window: tuple[int, bytes] = (0, b"")  # what was read last, and where it begins

    def bad(self, at: int, reason: str) -> FormatError:
        """Return the error that says what is wrong at a byte."""
        return FormatError(f"{self.origin} @{at}: {reason}")

    def take(self, at: int, nbytes: int) -> bytes:
        """Return a few bytes."""
        start, held = self.window
        if not start <= at <= at + nbytes <= start + len(held):
            if at + nbytes > self.size:
                raise self.bad(at, f"asks {nbytes} B, {max(0, self.size - at)} B are there")
            piece = bytearray(max(nbytes, min(WINDOW, self.size - at)))
            self.source.read_into(piece, at)
            start, held = self.window = at, bytes(piece)
        return held[at - start : at - start + nbytes]

    def tag(self, at: int, stop: int) -> Tag:
        """Return the element at byte ``at``, all of which lies before ``stop``."""
        if stop - at < 8:
            raise self.bad(at, f"an element needs 8 B, {max(0, stop - at)} B are there")
        first, nbytes = struct.unpack(self.words + "II", self.take(at, 8))
        start, kind = at + 8, first
        if first >> 16:
            start, kind, nbytes = at + 4, first & 0xFFFF, first >> 16
            if nbytes > 4:
                raise self.bad(at, f"a small element has at most 4 B, not {nbytes} B")
        if kind not in NUMBERS and kind not in (MATRIX, COMPRESSED):
            raise self.bad(at, f"element type {kind} unknown")
        if start + nbytes > stop:
            raise self.bad(at, f"element of {nbytes} B, {stop - start} B are there")
        end = at + 8 if start == at + 4 else start + (nbytes if kind == COMPRESSED else padded(nbytes))
        return Tag(kind, start, nbytes, min(end, stop))

    def dtype(self, tag: Tag) -> np.dtype[np.generic]:
        """Return the dtype of the numbers that an element holds."""
        if tag.kind not in NUMBERS:
            raise self.bad(tag.start, f"element type {tag.kind} holds no numbers")
        return np.dtype(self.words + NUMBERS[tag.kind])

    def integers(self, tag: Tag, most: int) -> list[int]:
        """Return the integers of an element of at most ``most`` of 4 bytes."""
        if tag.kind not in (INT32, UINT32) or tag.nbytes % 4:
            raise self.bad(tag.start, f"element type {tag.kind} of {tag.nbytes} B, expected are integers of 4 B")
        if tag.nbytes > 4 * most:
            raise self.bad(tag.start, f"has {tag.nbytes // 4} integers, at most {most} are possible")
        # Some writers call signed ones unsigned; all read what is below 2**31 alike.
        return list(struct.unpack(f"{self.words}{tag.nbytes // 4}i", self.take(tag.start, tag.nbytes)))

    def text(self, tag: Tag, most: int) -> str:
        """Return the text of an element of at most ``most`` bytes, up to its first NUL."""
        if tag.kind not in (INT8, UINT8, UTF8):
            raise self.bad(tag.start, f"element type {tag.kind} is not a name")
        if tag.nbytes > most:
            raise self.bad(tag.start, f"name of {tag.nbytes} B, at most {most} B are possible")
        raw = self.take(tag.start, tag.nbytes).split(b"\0")[0]
        try:
            return raw.decode("ascii" if tag.kind == UTF8 else "latin-1")  # MATLAB's names are ASCII
        except UnicodeDecodeError as error:
            raise self.bad(tag.start, f"name {raw!r:.100} is not ASCII at its byte {error.start}") from None
