"""Nodes without inputs: stored arrays, and arrays that are a formula of their indices.

The grid of a stored array is that of its chunks, grown or cut to boxes of about ``CELL`` elements:
a function of shape and chunks alone, so that whatever is summed box by box is summed in the same
order on every machine and under every budget.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.formats.memory import MemoryStored
from chunkarr.formats.runs import plain
from chunkarr.graph import Kernel, Load, Node
from chunkarr.grid import Grid, Region, Shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chunkarr.formats.contract import Stored

__all__ = ["CELL", "arange", "constant", "full", "indices", "linspace", "load", "natural_grid"]

CELL = 4 << 20  # bytes in a box of a natural grid, where chunks leave the choice


def natural_grid(grid: Grid, itemsize: int, *, contiguous: bool, order: str = "C") -> Grid:
    """Return the grid of ``CELL``-sized boxes that suits an array stored on ``grid``.

    A contiguous array is cut into runs of whole rows. Chunks are never cut, but small ones are
    taken together, first along the axis that is fastest in memory.
    """
    shape = grid.shape
    axes = range(len(shape)) if order == "F" else range(len(shape) - 1, -1, -1)
    steps = [1] * len(shape) if contiguous else list(grid.steps)
    room = CELL // max(1, itemsize) // max(1, math.prod(steps))
    for axis in axes:
        if room <= 1:
            break
        step, n = steps[axis], shape[axis]
        times = min(room, -(-n // step)) if n else 1
        steps[axis] = step * times
        room //= max(1, times)
    return Grid(shape, tuple(steps), () if contiguous else grid.firsts)


def load(stored: Stored) -> Node:
    """Return the node that reads a stored array."""
    order = getattr(stored, "order", "C")
    grid = stored.grid if stored.contiguous else _cut_chunks(stored)
    return Node(Load(stored), (), natural_grid(grid, stored.dtype.itemsize, contiguous=stored.contiguous, order=order))


def _cut_chunks(stored: Stored) -> Grid:
    """Return the grid of the chunks, halved down to ``CELL`` where parts of a chunk can be read alone."""
    steps = list(stored.grid.steps)
    while math.prod(steps) * stored.dtype.itemsize > CELL:
        axis = next((k for k, s in enumerate(steps) if s > 1), None)
        if axis is None or steps[axis] % 2:
            break
        steps[axis] //= 2
        if stored.bytes_read(tuple((0, s) for s in steps)) > math.prod(steps) * stored.dtype.itemsize:
            return stored.grid
    return Grid(stored.shape, tuple(steps), stored.grid.firsts)


def constant(array: Any) -> Node:
    """Return the node of an array in memory: copied when small, else held as a read-only view."""
    values = np.asarray(array)
    if values.nbytes <= 1 << 16:
        kind = values.dtype if values.dtype.hasobject else plain(values.dtype)
        values = values.view(kind).copy().view(values.dtype)  # padding included
    values = values.view()
    values.flags.writeable = False
    return load(MemoryStored(values))


class Full(Kernel):
    """One value everywhere."""

    __slots__ = ("value",)

    def __init__(self, shape: Shape, dtype: np.dtype[Any], value: Any) -> None:
        super().__init__(shape, dtype)
        self.value = np.asarray(value).astype(self.dtype)  # NumPy's own cast and its errors

    def needs(self, region: Region) -> tuple[Region | None, ...]:  # noqa: ARG002
        """Need nothing."""
        return ()

    def kernel(self, blocks: Sequence[Any], region: Region, out: Any, scratch: Any) -> None:  # noqa: ARG002
        """Fill the block with the value."""
        out[...] = self.value


class Formula(Kernel):
    """``start + step * index`` along one axis, the same along all others; ``head`` holds the first values."""

    __slots__ = ("axis", "head", "start", "step")

    def __init__(
        self, shape: Shape, dtype: np.dtype[Any], axis: int, start: Any, step: Any, head: tuple[Any, ...] = ()
    ) -> None:
        super().__init__(shape, dtype)
        self.axis, self.start, self.step, self.head = axis, start, step, head

    def needs(self, region: Region) -> tuple[Region | None, ...]:  # noqa: ARG002
        """Need nothing."""
        return ()

    def kernel(self, blocks: Sequence[Any], region: Region, out: Any, scratch: Any) -> None:  # noqa: ARG002
        """Compute the values as NumPy does: index times step, plus start."""
        a, b = region[self.axis]
        index = np.arange(a, b)
        if self.dtype.kind in "fc":
            index = index.astype(np.result_type(self.dtype, np.float32))
        line = index * self.step
        line = line + self.start
        head = self.head[a:b]
        line[: len(head)] = head
        shape = [1] * len(self.shape)
        shape[self.axis] = b - a
        out[...] = line.astype(self.dtype, copy=False).reshape(shape)

    def scratch_bytes(self, region: Region) -> int:
        """Count the line and its temporaries."""
        a, b = region[self.axis]
        return 4 * (b - a) * max(8, self.dtype.itemsize)


def _generated(op: Kernel) -> Node:
    return Node(op, (), natural_grid(Grid(op.shape, op.shape), op.dtype.itemsize, contiguous=True))


def full(shape: Shape, value: Any, dtype: np.dtype[Any] | None = None) -> Node:
    """Return an array of one value, which takes no memory."""
    return _generated(Full(shape, np.asarray(value).dtype if dtype is None else np.dtype(dtype), value))


def arange(start: Any, stop: Any, step: Any, dtype: Any = None) -> Node:
    """Return ``np.arange(start, stop, step, dtype)`` without its memory.

    NumPy computes the first two values and repeats their difference, in the result's dtype.
    """
    length = max(0, math.ceil((stop - start) / step)) if start != stop else 0
    kind = np.arange(start, start + step, step).dtype if dtype is None else np.dtype(dtype)
    two = np.zeros(2, kind)
    for k in range(min(2, length)):
        two[k] = start + k * step  # only values that are there may be out of bounds
    # NumPy steps halves in single precision.
    wide = np.dtype(np.float32) if kind == np.float16 else kind.newbyteorder("=")
    first, second = two.astype(wide)
    step = second - first if length > 1 else second * 0
    return _generated(Formula((length,), kind, 0, first, step, (first, second)[:length]))


def linspace(start: Any, stop: Any, num: int, *, endpoint: bool, dtype: Any) -> Node:
    """Return ``np.linspace`` of scalars without its memory: index times step, plus start, and the end exact."""
    kind = np.linspace(start, stop, 2, dtype=dtype).dtype
    wide = np.linspace(start, stop, 2).dtype
    div = num - 1 if endpoint else num
    delta = np.subtract(stop, start, dtype=wide)
    step = delta / div if div > 0 else wide.type(np.nan)
    begin = np.asarray(start, dtype=wide)[()]
    last = stop if endpoint and num > 1 else None
    return _generated(Spaced((num,), kind, begin, step, delta, div, last))


class Spaced(Kernel):
    """``np.linspace``: index times step plus start, with its rules for tiny steps and integer dtypes."""

    __slots__ = ("delta", "div", "last", "start", "step")

    def __init__(
        self, shape: Shape, dtype: np.dtype[Any], start: Any, step: Any, delta: Any, div: int, last: Any
    ) -> None:
        super().__init__(shape, dtype)
        self.start, self.step, self.delta, self.div, self.last = start, step, delta, div, last

    def needs(self, region: Region) -> tuple[Region | None, ...]:  # noqa: ARG002
        """Need nothing."""
        return ()

    def kernel(self, blocks: Sequence[Any], region: Region, out: Any, scratch: Any) -> None:  # noqa: ARG002
        """Follow numpy.linspace line by line, on a range of its indices."""
        ((a, b),) = region
        line: Any = np.arange(a, b).astype(np.asarray(self.delta).dtype)
        if self.div > 0:
            line = line / self.div * self.delta if self.step == 0 else line * self.step
        else:
            line = line * self.delta
        line = line + self.start
        if self.last is not None and b == self.shape[0] and b > a:
            line[-1] = self.last
        if self.dtype.kind in "iu":
            np.floor(line, out=line)
        out[...] = line.astype(self.dtype, copy=False)

    def scratch_bytes(self, region: Region) -> int:
        """Count the line and its temporaries."""
        return 4 * 16 * (region[0][1] - region[0][0])


def indices(shape: Shape, axis: int, dtype: Any = int) -> Node:
    """Return the index along ``axis`` at every place of an array of ``shape``."""
    kind = np.dtype(dtype)
    return _generated(Formula(shape, kind, axis, kind.type(0), kind.type(1)))
