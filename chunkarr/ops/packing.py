"""Bits to bytes and back along an axis: eight elements for each byte, as `numpy.packbits` does it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from chunkarr.graph import Kernel, Node
from chunkarr.grid import Grid, Region, Shape, tiles

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["packbits", "unpackbits"]

Block = np.ndarray[Any, Any]
BitOrder = Literal["big", "little"]
TILE = 1 << 18  # bits at once, in cache


class _Bits(Kernel):
    """What both ways share."""

    __slots__ = ("axis", "bitorder", "inner")

    def __init__(self, shape: Shape, inner: Shape, axis: int, bitorder: BitOrder) -> None:
        super().__init__(shape, np.dtype(np.uint8))
        self.inner, self.axis, self.bitorder = inner, axis, bitorder

    def source(self, a: int, b: int) -> tuple[int, int]:
        """Return the range of the input that elements ``a`` to ``b`` depend on, of any length that is."""
        raise NotImplementedError

    def needs(self, region: Region) -> tuple[Region | None, ...]:
        """Need the same of other axes; None where the result lies behind the input."""
        n = self.inner[self.axis]
        a, b = self.source(*region[self.axis])
        if a >= n:
            return (None,)
        return ((*region[: self.axis], (a, min(b, n)), *region[self.axis + 1 :]),)

    def pieces(self, block: Block, region: Region, out: Block, limit: int) -> Any:
        """Yield parts of ``out``, the part of ``block`` that each depends on, and where along the axis it begins."""
        start = region[self.axis][0]
        origin = self.source(*region[self.axis])[0]
        for key, _ in tiles(out.shape, limit):
            first, last = key[self.axis].start + start, key[self.axis].stop + start
            a, b = self.source(first, last)
            part = (*key[: self.axis], slice(a - origin, b - origin), *key[self.axis + 1 :])
            yield out[key], block[part], first


class PackBits(_Bits):
    """Eight elements as the bits of one byte."""

    __slots__ = ()

    def source(self, a: int, b: int) -> tuple[int, int]:
        """Return eight elements for each."""
        return 8 * a, 8 * b

    def kernel(self, blocks: Sequence[Block | None], region: Region, out: Block, scratch: Block) -> None:  # noqa: ARG002
        """Pack some at a time; NumPy fills the last byte up with zeros."""
        block: Any = blocks[0]
        for part, values, _ in self.pieces(block, region, out, TILE // 8):
            part[...] = np.packbits(values, self.axis, self.bitorder)

    def scratch_bytes(self, region: Region) -> int:  # noqa: ARG002 - a piece has a size of its own
        """Count one piece: NumPy may copy its input."""
        return 9 * TILE


class UnpackBits(_Bits):
    """The bits of bytes, and zeros behind the last."""

    __slots__ = ()

    def source(self, a: int, b: int) -> tuple[int, int]:
        """Return the bytes that hold them."""
        return a // 8, -(-b // 8)

    def kernel(self, blocks: Sequence[Block | None], region: Region, out: Block, scratch: Block) -> None:  # noqa: ARG002
        """Unpack some at a time, whole bytes of which the wanted bits are taken."""
        block = blocks[0]
        if block is None:
            out[...] = 0
            return
        for part, values, first in self.pieces(block, region, out, TILE):
            bits = np.unpackbits(values, self.axis, bitorder=self.bitorder)
            before = (slice(None),) * self.axis
            bits = bits[(*before, slice(first % 8, first % 8 + part.shape[self.axis]))]
            found = bits.shape[self.axis]
            part[(*before, slice(found))] = bits
            part[(*before, slice(found, None))] = 0

    def scratch_bytes(self, region: Region) -> int:
        """Count one piece: bits of whole bytes, and what they were copied from."""
        others = math.prod(b - a for k, (a, b) in enumerate(region) if k != self.axis)
        return 2 * TILE + 16 * min(TILE, others)


def packbits(node: Node, axis: int, bitorder: BitOrder) -> Node:
    """Return the elements of ``node`` (integers, booleans) that are not zero as bits."""
    return _along(node, axis, -(-node.shape[axis] // 8), PackBits, bitorder, max(1, node.grid.steps[axis] // 8))


def unpackbits(node: Node, axis: int, count: int, bitorder: BitOrder) -> Node:
    """Return ``count`` bits of ``node`` (uint8) along an axis."""
    return _along(node, axis, count, UnpackBits, bitorder, 8 * node.grid.steps[axis])


def _along(node: Node, axis: int, length: int, kind: type[_Bits], bitorder: BitOrder, step: int) -> Node:
    shape = (*node.shape[:axis], length, *node.shape[axis + 1 :])
    steps = (*node.grid.steps[:axis], step, *node.grid.steps[axis + 1 :])
    firsts = node.grid.firsts
    if firsts[axis]:
        firsts = (*firsts[:axis], 0, *firsts[axis + 1 :])
    return Node(kind(shape, node.shape, axis, bitorder), (node,), Grid(shape, steps, firsts))
