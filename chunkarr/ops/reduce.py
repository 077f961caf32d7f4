"""Reductions as operations: which row of the table, over which axes, asked how."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.graph import Barrier, Node
from chunkarr.grid import Grid, Region, Shape
from chunkarr.ops.layout import broadcast_to
from chunkarr.ops.reductions import NO_INITIAL, REDUCTIONS, Asked
from chunkarr.ops.sources import full

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Reduce", "normalize_axes", "reduce"]


class Reduce(Barrier):
    """Row ``row`` of the table of reductions over ``axes`` of the first input; the second is a mask."""

    __slots__ = ("asked", "axes", "in_shape", "keepdims", "row")

    def __init__(
        self,
        shape: Shape,
        dtype: np.dtype[Any],
        row: str,
        axes: tuple[int, ...],
        in_shape: Shape,
        asked: Asked,
        *,
        keepdims: bool,
    ) -> None:
        super().__init__(shape, dtype)
        self.row, self.axes, self.in_shape, self.asked, self.keepdims = row, axes, in_shape, asked, keepdims

    @property
    def kept(self) -> tuple[int, ...]:
        """Axes of the input that the result keeps."""
        return tuple(k for k in range(len(self.in_shape)) if k not in self.axes)

    def kept_region(self, region: Region) -> Region:
        """Return a region of the result without the axes that keepdims added."""
        return tuple(region[k] for k in self.kept) if self.keepdims else region

    def needs(self, region: Region) -> tuple[Region | None, ...]:
        """Need everything along the reduced axes."""
        bounds = iter(self.kept_region(region))
        box = tuple((0, n) if k in self.axes else next(bounds) for k, n in enumerate(self.in_shape))
        return (box, box) if self.asked.masked else (box,)


def normalize_axes(axis: Any, ndim: int) -> tuple[int, ...]:
    """Return sorted axes in 0 ... ndim - 1; None is all of them. Raises AxisError and ValueError as NumPy."""
    if axis is None:
        return tuple(range(ndim))
    return tuple(sorted(np.lib.array_utils.normalize_axis_tuple(axis, ndim)))


def reduce(
    node: Node,
    row: str,
    axis: Any = None,
    *,
    dtype: Any = None,
    keepdims: bool = False,
    where: Node | None = None,
    initial: Any = NO_INITIAL,
    ddof: float = 0,
) -> Node:
    """Return the reduction of ``node`` by the row ``row``; dtype and errors are NumPy's."""
    judged = "f8" if node.dtype.kind in "fc" else "i1"  # nan functions of integers are others, with other rules
    REDUCTIONS[row].numpy(np.ones((1,) * node.ndim, judged), axis=axis)  # NumPy judges the axes
    axes = normalize_axes(axis, node.ndim) if node.ndim else ()
    count = math.prod(node.shape[k] for k in axes)
    asked = Asked(
        node.dtype,
        None if dtype is None else np.dtype(dtype),
        masked=where is not None,
        initial=initial,
        ddof=ddof,
        count=count,
    )
    result = REDUCTIONS[row].result(asked)
    shape = tuple(1 if k in axes else n for k, n in enumerate(node.shape) if keepdims or k not in axes)
    if count == 0:
        return full(shape, REDUCTIONS[row].empty(asked)[()], result)
    if 0 in shape:
        return full(shape, np.zeros((), result)[()], result)
    steps = tuple(1 if k in axes else s for k, s in enumerate(node.grid.steps) if keepdims or k not in axes)
    firsts = tuple(0 if k in axes else f for k, f in enumerate(node.grid.firsts) if keepdims or k not in axes)
    op = Reduce(shape, result, row, axes, node.shape, asked, keepdims=keepdims)
    inputs: Sequence[Node] = (node,)
    if where is not None:
        inputs = (node, broadcast_to(where, node.shape))
    return Node(op, inputs, Grid(shape, steps, firsts))
