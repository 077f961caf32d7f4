"""Matrix products by streaming tiles."""

from __future__ import annotations

from typing import Any

import numpy as np

from chunkarr.graph import Barrier, Node
from chunkarr.grid import Grid, Region, Shape
from chunkarr.ops.elementwise import astype
from chunkarr.ops.layout import broadcast_to, take_basic
from chunkarr.ops.sources import full
from chunkarr.selection import Pick, Stride

__all__ = ["EDGE", "Contract", "matmul"]

EDGE = 512  # rows, columns and depth of a tile: a constant, so that the same bits come out everywhere


class Contract(Barrier):
    """``a @ b`` of stacks of matrices: a (..., M, K), b (..., K, N), the same leading axes."""

    __slots__ = ("depth",)

    def __init__(self, shape: Shape, dtype: np.dtype[Any], depth: int) -> None:
        super().__init__(shape, dtype)
        self.depth = depth  # K

    def needs(self, region: Region) -> tuple[Region | None, ...]:
        """Need whole rows of the first, whole columns of the second."""
        *lead, rows, columns = region
        return ((*lead, rows, (0, self.depth)), (*lead, (0, self.depth), columns))


def matmul(a: Node, b: Node) -> Node:
    """Return ``np.matmul(a, b)``: dtype, broadcasting of leading axes and errors are NumPy's."""
    dtype = np.matmul(np.zeros((1,) * a.ndim, a.dtype), np.zeros((1,) * b.ndim, b.dtype)).dtype
    lines = (a.ndim == 1, b.ndim == 1)
    if lines[0]:
        a = take_basic(a, (None, Stride(0, 1, a.shape[0])))
    if lines[1]:
        b = take_basic(b, (Stride(0, 1, b.shape[0]), None))
    if a.shape[-1] != b.shape[-2]:
        np.matmul(np.broadcast_to(np.zeros((), a.dtype), a.shape), np.broadcast_to(np.zeros((), b.dtype), b.shape))
    try:
        lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:  # NumPy refuses in its own words
        np.matmul(np.broadcast_to(np.zeros((), a.dtype), a.shape), np.broadcast_to(np.zeros((), b.dtype), b.shape))
        raise
    a = broadcast_to(astype(a, dtype), lead + a.shape[-2:])
    b = broadcast_to(astype(b, dtype), lead + b.shape[-2:])
    shape = (*lead, a.shape[-2], b.shape[-1])
    if 0 in shape or a.shape[-1] == 0:
        node = full(shape, np.zeros((), dtype)[()], dtype)
    else:
        steps = (1,) * len(lead) + (min(EDGE, shape[-2]), min(EDGE, shape[-1]))
        node = Node(Contract(shape, dtype, a.shape[-1]), (a, b), Grid(shape, steps))
    items: list[Any] = [Stride(0, 1, n) for n in shape]
    if lines[0]:
        items[-2] = Pick(0)
    if lines[1]:
        items[-1] = Pick(0)
    return take_basic(node, tuple(items)) if any(lines) else node
