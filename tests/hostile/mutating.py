"""Bytes that are almost right: one mutation of a file's content, chosen by a number."""

from __future__ import annotations

import random
import re

__all__ = ["MAGIC", "mutate"]

MAGIC = (
    0, 1, -1, 127, 128, 255, 2**15 - 1, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1, 2**63,
)  # fmt: skip
WORDS = (b"-1", b"0", b"1e999", b"NaN", b"99999999999999999999", b"1.5", b"true", b'"', b"[" * 200, b"\0", b"\xff\xfe")
HEAD = 512  # bytes at the front that are changed as often as all others


def mutate(content: bytes, number: int) -> bytes:
    """Return ``content`` with one or two changes, the same for the same number.

    >>> mutate(b"content", 3) == mutate(b"content", 3)
    True
    """
    chance = random.Random(number)
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2))):
        chance.choice((_bits, _bits, _magic, _magic, _magic, _splice, _cut, _word))(data, chance)
    if bytes(data) == content:
        data += b"?"
    return bytes(data)


def _place(data: bytearray, chance: random.Random, room: int = 1) -> int:
    end = len(data) if chance.random() < 0.5 else min(len(data), HEAD)
    return chance.randrange(max(1, end - room + 1))


def _bits(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.choice((1, 1, 2, 8)) if data else 0):
        data[_place(data, chance)] ^= 1 << chance.randrange(8)


def _magic(data: bytearray, chance: random.Random) -> None:
    """Put an integer that programs trip over where one may be, in any width and byte order."""
    width = chance.choice((1, 2, 4, 4, 8, 8))
    at = _place(data, chance, width)
    at -= at % width if chance.random() < 0.8 else 0
    value = chance.choice(MAGIC) % (1 << 8 * width)
    data[at : at + width] = value.to_bytes(width, chance.choice(("little", "big")))


def _splice(data: bytearray, chance: random.Random) -> None:
    """Copy, insert or remove a piece."""
    start, size = _place(data, chance), chance.choice((1, 4, 8, 32, 200))
    piece = data[start : start + size]
    at = _place(data, chance)
    kind = chance.randrange(3)
    if kind == 0:
        data[at : at + len(piece)] = piece
    elif kind == 1:
        data[at:at] = piece
    else:
        del data[at : at + size]


def _cut(data: bytearray, chance: random.Random) -> None:
    """Cut the end off, or put something behind it."""
    if chance.random() < 0.7:
        del data[_place(data, chance) :]
    else:
        data += chance.choice((b"\0" * 9, b"\n", bytes(data[:100]), b"\xff" * 100))


def _word(data: bytearray, chance: random.Random) -> None:
    """Replace a number or a name that is written as text."""
    found = list(re.finditer(rb"[0-9.+-]+|[A-Za-z_]+", bytes(data[: 8 * HEAD])))
    if found:
        a, b = chance.choice(found).span()
        data[a:b] = chance.choice(WORDS)
