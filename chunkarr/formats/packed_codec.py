"""Packed integers to arrays and back, a few megabytes a millisecond, with NumPy alone.

Samples are not taken one by one. As many as fit are loaded as one machine word, by a strided view of
the bytes whose elements overlap (a group of 3 bytes read as a word of 4). Bits that move by the same
distance move together: ``word & mask`` shifted, for each distance; the sum is as many finished
samples side by side as the word has room for. A group of two 12-bit samples is one load and two or
three such moves, all of them vector instructions in cache.

`moves` finds the distances from the layout; `decoding` tries the word sizes, byte orders and samples
per word, and takes the cheapest. Back, `encoding` does the same where a word's bytes are its own, and
goes byte by byte for layouts whose samples straddle.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from chunkarr.formats.packed_layouts import Layout

__all__ = ["GUARD", "carve", "decode", "decode_work", "encode", "encode_work"]

Array = np.ndarray[Any, Any]
Move = tuple[int, int]  # mask of bits, and by how many places they go up

GUARD = 8  # bytes after the packed ones that a load may touch
MOVE = 0.18  # nanoseconds for and, shift and or of 8 bytes, measured; a third of it each
LOAD, STORE = 0.3, 0.35  # nanoseconds for a strided load or store of one word


@dataclass(frozen=True)
class Step:
    """How some samples of each group are decoded at once."""

    at: int  # byte of the group where the word begins
    load: str  # dtype of the word in the file
    moves: tuple[Move, ...]
    first: int  # the first of the samples
    count: int  # how many


def _moves(pairs: list[tuple[int, int]]) -> tuple[Move, ...]:
    """Return the moves that bring each bit ``pair[0]`` to ``pair[1]``."""
    masks: dict[int, int] = {}
    for source, target in pairs:
        masks[target - source] = masks.get(target - source, 0) | 1 << source
    return tuple((mask, distance) for distance, mask in masks.items())


def _lane(k: int, count: int) -> int:
    """Return which part of a word, from the least significant on, is the ``k``-th in memory."""
    return k if sys.byteorder == "little" else count - 1 - k


def _step(layout: Layout, lane: int, first: int, count: int, load: str) -> Step | None:
    """Return how to decode ``count`` samples from ``first`` on with words of ``load``; None if they do not fit."""
    size = np.dtype(load).itemsize
    used = [place // 8 for bits in layout.places[first : first + count] for place in bits]
    at = min(used)
    if max(used) - at >= size or count * lane > 8 * size:
        return None
    pairs = []
    for k, bits in enumerate(layout.places[first : first + count]):
        for j, place in enumerate(bits):
            byte = place // 8 - at
            source = 8 * (byte if load[0] == "<" else size - 1 - byte) + place % 8
            pairs.append((source, lane * _lane(k, count) + j))
    return Step(at, load, _moves(pairs), first, count)


@lru_cache(None)
def decoding(layout: Layout, lane: int) -> tuple[Step, ...]:
    """Return the steps that decode a group into samples of ``lane`` bits: those that cost least.

    >>> from chunkarr.formats.packed_layouts import layout_of
    >>> [(step.load, step.count, len(step.moves)) for step in decoding(layout_of("mono12p"), 16)]
    [('<u4', 2, 2)]
    """
    best: tuple[float, tuple[Step, ...]] | None = None
    for load in ("<u4", ">u4", "<u8", ">u8"):
        for count in (8, 4, 2, 1):
            if layout.samples % count:
                continue
            steps = [_step(layout, lane, first, count, load) for first in range(0, layout.samples, count)]
            chosen = tuple(step for step in steps if step is not None)
            if len(chosen) < len(steps):
                continue
            share = int(load[2]) / 8
            store = 0.0 if len(steps) == 1 and count * lane == 64 * share else STORE
            cost = sum(LOAD + store + MOVE * share * len(step.moves) for step in chosen)
            if best is None or cost < best[0]:
                best = cost, chosen
    assert best is not None  # one sample of up to 32 bits always fits a word of 64
    return best[1]


def _word(count: int, lane: int) -> np.dtype[Any]:
    return np.dtype(f"u{count * lane // 8}")


def _apply(moves: tuple[Move, ...], x: Array, t: Array, out: Array) -> None:
    """Fill ``out`` with the bits of ``x``, moved; ``x`` is lost, ``t`` (as long) too."""
    word = x.dtype.type
    for number, (mask, up) in enumerate(moves):
        last = number == len(moves) - 1
        to = out if number == 0 else x if last else t
        np.bitwise_and(x, word(mask), out=to)
        if up > 0:
            np.left_shift(to, word(up), out=to)
        elif up < 0:
            np.right_shift(to, word(-up), out=to)
        if number:
            np.bitwise_or(out, to, out=out)


def carve(work: Array, dtype: Any, count: int) -> tuple[Array, Array]:
    """Return an array of ``count`` elements at the beginning of ``work`` (uint8), and what is left of it.

    >>> first, rest = carve(np.zeros(64, np.uint8), "u4", 3)
    >>> first.nbytes, rest.nbytes
    (12, 48)
    """
    array: Array = np.ndarray((count,), dtype, work)
    return array, work[-(-array.nbytes // 16) * 16 :]


def _three(work: Array, dtype: Any, count: int) -> tuple[Array, Array, Array]:
    x, rest = carve(work, dtype, count)
    t, rest = carve(rest, dtype, count)
    return x, t, carve(rest, dtype, count)[0]


def decode_work(groups: int) -> int:
    """Return the bytes that decoding ``groups`` groups at once holds besides input and output."""
    return 3 * (8 * groups + 16)


def decode(layout: Layout, packed: Array, groups: int, out: Array, work: Array) -> None:
    """Fill ``out`` (contiguous, unsigned) with the samples of ``groups`` whole groups.

    ``packed`` (uint8, contiguous) has `GUARD` bytes behind the groups, of any value; ``work`` has
    `decode_work` bytes. Allocates nothing.
    """
    lane = 8 * out.itemsize
    for step in decoding(layout, lane):
        native = np.dtype(step.load).newbyteorder("=")
        x, t, acc = _three(work, native, groups)
        np.copyto(x, np.ndarray((groups,), step.load, packed, step.at, (layout.nbytes,)))
        word = _word(step.count, lane)
        target = np.ndarray((groups,), word, out, step.first * out.itemsize, (layout.samples * out.itemsize,))
        if word == native and target.flags.c_contiguous:
            _apply(step.moves, x, t, target)
        else:
            _apply(step.moves, x, t, acc)
            np.copyto(target, acc, casting="unsafe")


@lru_cache(None)
def _encoding(layout: Layout, lane: int) -> tuple[tuple[int, int, int, int, tuple[Move, ...]], ...]:
    """Return first byte, bytes, first sample, samples and moves of steps whose bytes are their own; () if none are."""
    for count in (8, 4, 2, 1):
        if layout.samples % count or count * lane > 64:
            continue
        steps = []
        for first in range(0, layout.samples, count):
            bits = [(k, j, place) for k in range(count) for j, place in enumerate(layout.places[first + k])]
            at = min(place for *_, place in bits) // 8
            end = max(place for *_, place in bits) // 8 + 1
            if end - at > 8:
                break
            pairs = [(lane * _lane(k, count) + j, place - 8 * at) for k, j, place in bits]
            steps.append((at, end - at, first, count, _moves(pairs)))
        byte = 0
        for at, size, *_ in steps:
            if at < byte:
                break
            byte = at + size
        else:
            if len(steps) * count == layout.samples:
                return tuple(steps)
    return ()


def encode_work(groups: int) -> int:
    """Return the bytes that encoding ``groups`` groups at once holds besides input and output."""
    return 3 * (8 * groups + 16)


def encode(layout: Layout, samples: Array, groups: int, packed: Array, work: Array) -> None:
    """Fill ``packed`` (uint8, contiguous) with ``groups`` whole groups of ``samples`` (contiguous, unsigned).

    Bits of a sample above the layout's are ignored. ``work`` has `encode_work` bytes.
    """
    item, stride = samples.itemsize, layout.samples * samples.itemsize
    steps = _encoding(layout, 8 * item)
    x, t, acc = _three(work, np.uint64, groups)
    for at, size, first, count, moves in steps:
        np.copyto(x, np.ndarray((groups,), _word(count, 8 * item), samples, first * item, (stride,)))
        _apply(moves, x, t, acc)
        if sys.byteorder == "big":
            acc.byteswap(inplace=True)
        piece = f"V{size}"
        np.copyto(
            np.ndarray((groups,), piece, packed, at, (layout.nbytes,)), np.ndarray((groups,), piece, acc, 0, (8,))
        )
    if steps:
        return
    for byte in range(layout.nbytes):
        acc[...] = 0
        for k, bits in enumerate(layout.places):
            for mask, up in _moves([(j, place % 8) for j, place in enumerate(bits) if place // 8 == byte]):
                np.copyto(x, np.ndarray((groups,), samples.dtype, samples, k * item, (stride,)))
                _apply(((mask, up),), x, t, t)
                np.bitwise_or(acc, t, out=acc)
        np.copyto(packed[byte : groups * layout.nbytes : layout.nbytes], acc, casting="unsafe")
