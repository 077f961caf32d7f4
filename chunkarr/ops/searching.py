"""Looking elements up in a sorted array, and functions of whole lines, as kernels.

The sorted array is held in memory; the elements that are looked up may be of any number. A line is all elements along
an axis: functions of NumPy that work along one are called on blocks that hold it whole.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.graph import Kernel, Node
from chunkarr.grid import Grid, Region, Shape, region_size
from chunkarr.ops.elementwise import astype
from chunkarr.ops.sources import CELL
from chunkarr.settings import budget

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["contained", "fits_a_task", "located", "on_lines"]

Block = np.ndarray[Any, Any]
PIECE = 1 << 16  # elements that are looked up at a time


class Lookup(Kernel):
    """What shares the look-up: the second input, sorted, is needed whole."""

    __slots__ = ("inner", "known")

    def __init__(self, shape: Shape, dtype: Any, inner: np.dtype[Any], known: int) -> None:
        super().__init__(shape, np.dtype(dtype))
        self.inner, self.known = inner, known

    def needs(self, region: Region) -> tuple[Region | None, ...]:
        """Need the elements, and all that they are looked up in."""
        return region, ((0, self.known),)

    def scratch_bytes(self, region: Region) -> int:
        """Count what NumPy holds for a few elements."""
        return min(PIECE, region_size(region)) * (24 + 4 * self.inner.itemsize)

    def kernel(self, blocks: Sequence[Block | None], region: Region, out: Block, scratch: Block) -> None:
        """Look a few elements up at a time."""
        values, known = blocks
        assert values is not None
        assert known is not None
        if not out.ndim:
            out[...] = self.look(values.reshape(1), known)[0]
            return
        row = max(1, math.prod(out.shape[1:]))
        if row > PIECE:
            for index in range(len(out)):
                self.kernel((values[index], known), region[1:], out[index], scratch)
            return
        step = max(1, PIECE // row)
        for start in range(0, len(out), step):
            out[start : start + step] = self.look(values[start : start + step], known)

    def look(self, values: Block, known: Block) -> Block:
        """Return the answer for each of ``values``."""
        raise NotImplementedError


class Located(Lookup):
    """Where elements would be inserted."""

    __slots__ = ("side",)

    def __init__(self, shape: Shape, inner: np.dtype[Any], known: int, side: Any) -> None:
        super().__init__(shape, np.intp, inner, known)
        self.side = side

    def look(self, values: Block, known: Block) -> Block:
        """Search."""
        found: Block = np.searchsorted(known, values, self.side)
        return found


class Contained(Lookup):
    """Whether elements are among those of the second input, or with ``invert`` whether they are not."""

    __slots__ = ("invert",)

    def __init__(self, shape: Shape, inner: np.dtype[Any], known: int, *, invert: bool) -> None:
        super().__init__(shape, bool, inner, known)
        self.invert = invert

    def look(self, values: Block, known: Block) -> Block:
        """Search, and compare with what is there."""
        place = np.searchsorted(known, values)
        np.minimum(place, known.size - 1, out=place)
        found: Block = known[place] != values if self.invert else known[place] == values
        return found


def located(node: Node, known: Node, side: Any = "left") -> Node:
    """Return ``np.searchsorted(known, node, side)``, for ``known`` in memory; of any two dtypes that compare."""
    common = np.promote_types(node.dtype, known.dtype)
    op = Located(node.shape, common, known.shape[0], side)
    return Node(op, (astype(node, common), astype(known, common)), node.grid)


def contained(node: Node, known: Node, *, invert: bool = False) -> Node:
    """Return which elements are among ``known``, which is sorted, in memory, and not empty."""
    common = np.promote_types(node.dtype, known.dtype)
    op = Contained(node.shape, common, known.shape[0], invert=invert)
    return Node(op, (astype(node, common), astype(known, common)), node.grid)


class OnLines(Kernel):
    """A function of blocks that hold whole lines along an axis."""

    __slots__ = ("axis", "function", "inner", "lengths")

    def __init__(
        self,
        shape: Shape,
        dtype: np.dtype[Any],
        axis: int,
        function: Callable[..., Block],
        inner: Sequence[tuple[Shape, np.dtype[Any]]],
    ) -> None:
        super().__init__(shape, dtype)
        self.axis, self.function = axis, function
        self.lengths = tuple(s for s, _ in inner)
        self.inner = sum(d.itemsize * s[axis] for s, d in inner)  # bytes of a line of all inputs

    def needs(self, region: Region) -> tuple[Region | None, ...]:
        """Need the lines whole, but for axes that are broadcast."""
        return tuple(
            tuple(
                (0, n) if k == self.axis or n == 1 < self.shape[k] else bounds
                for k, (n, bounds) in enumerate(zip(shape, region, strict=True))
            )
            for shape in self.lengths
        )

    def kernel(self, blocks: Sequence[Block | None], region: Region, out: Block, scratch: Block) -> None:  # noqa: ARG002
        """Call the function, and keep what is asked for."""
        a, b = region[self.axis]
        out[...] = self.function(*blocks)[(slice(None),) * self.axis + (slice(a, b),)]

    def scratch_bytes(self, region: Region) -> int:
        """Count copies of the inputs, the whole result, and an order."""
        lines = region_size(region) // max(1, region[self.axis][1] - region[self.axis][0])
        return 2 * lines * (self.inner + self.shape[self.axis] * (8 + self.dtype.itemsize))


def fits_a_task(nodes: Sequence[Node], axis: int) -> bool:
    """Say whether lines along an axis are so short that a task holds some of them."""
    line = sum(n.shape[axis] * (n.dtype.itemsize + 8) for n in nodes)
    return 8 * line <= budget() // 4


def on_lines(
    function: Callable[..., Block], nodes: Sequence[Node], axis: int, dtype: Any, length: int | None = None
) -> Node:
    """Return ``function`` of blocks of the nodes, of equal shapes but for ``axis`` and axes of length 1.

    ``length`` is that of the result along the axis, by default that of the first node.
    """
    first = nodes[0]
    full = [max(n.shape[k] for n in nodes) if all(n.shape[k] for n in nodes) else 0 for k in range(first.ndim)]
    full[axis] = first.shape[axis] if length is None else length
    shape = tuple(full)
    inner = [(n.shape, n.dtype) for n in nodes]
    op = OnLines(shape, np.dtype(dtype), axis, function, inner)
    natural = max(nodes, key=lambda n: math.prod(n.shape)).grid
    steps = [shape[k] if k == axis else min(natural.steps[k], shape[k]) for k in range(first.ndim)]
    line = max(1, op.inner)
    for k in range(first.ndim):
        others = math.prod(s for j, s in enumerate(steps) if j not in (k, axis))
        if k != axis:
            steps[k] = max(1, min(steps[k], 4 * CELL // (line * max(1, others))))
    return Node(op, nodes, Grid(shape, tuple(max(1, s) for s in steps)))
