"""Counts of all elements, and the few among them that are wanted: each block is looked at once.

A tally adds up what a counter makes of each block, in memory: whole numbers, so that the order of blocks changes
nothing. A pick keeps those elements of each block that a picker names, in whatever order blocks come.
"""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from chunkarr.graph import Node
from chunkarr.grid import Grid, Region, Shape, region_size
from chunkarr.ops.gathering import Collect

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["Counter", "Picker", "pick_elements", "tally"]

Block = np.ndarray[Any, Any]
ADDING = threading.Lock()  # what tasks add to is one array


class Counter(Protocol):
    """Counts of a block; it can be pickled."""

    size: int  # how many counts there are

    def __call__(self, blocks: Sequence[Block]) -> Block:
        """Return the counts of flat blocks of native byte order, shape ``(size,)``, int64."""
        ...

    def held_bytes(self, elements: int) -> int:
        """Return what a call holds for a block of so many elements, its counts included."""
        ...


class Picker(Protocol):
    """The elements of a block that are wanted; it can be pickled."""

    def __call__(self, block: Block) -> Block:
        """Return them, of a flat block of native byte order."""
        ...

    def held_bytes(self, elements: int) -> int:
        """Return what a call holds for a block of so many elements."""
        ...


class _All(Collect):
    """Every element of the inputs, which have one shape, is looked at."""

    __slots__ = ("inputs", "itemsize", "source_shape", "target")

    nbytes = 0

    def __init__(self, shape: Shape, dtype: np.dtype[Any], inputs: Sequence[Node]) -> None:
        super().__init__(shape, dtype)
        self.source_shape, self.inputs = inputs[0].shape, len(inputs)
        self.itemsize = sum(n.dtype.itemsize for n in inputs)
        self.target: Block | None = None  # where results were put last

    @property
    def unit(self) -> Shape:  # type: ignore[override]
        """Boxes may be cut anywhere."""
        return (1,) * len(self.source_shape)

    def needs(self, region: Region) -> tuple[Region | None, ...]:  # noqa: ARG002 - all is needed for any part
        """Need everything."""
        return tuple(tuple((0, n) for n in self.source_shape) for _ in range(self.inputs))

    def restricted(self, region: Region) -> Self:  # noqa: ARG002
        """Return this: it is asked for as a whole."""
        return self

    def span(self, grid: Grid) -> Region:  # noqa: ARG002
        """Return the whole array."""
        return tuple((0, n) for n in self.source_shape)

    def boxes(self, grid: Grid, origin: Shape) -> np.ndarray[Any, np.dtype[np.int64]]:  # noqa: ARG002
        """Return all boxes."""
        return np.arange(math.prod(grid.counts))

    def wanted(self, box: Region) -> tuple[Region, ...]:
        """Read the box."""
        return (box,) * self.inputs

    def most(self, box: Region) -> tuple[Region, ...]:
        """Read the box."""
        return (box,) * self.inputs

    def _flat(self, blocks: Sequence[Block]) -> list[Block]:
        return [np.ascontiguousarray(block).reshape(-1) for block in blocks]


class Tally(_All):
    """The sum of a counter's counts over all blocks."""

    __slots__ = ("counter",)

    def __init__(self, counter: Counter, inputs: Sequence[Node]) -> None:
        super().__init__((counter.size,), np.dtype(np.int64), inputs)
        self.counter = counter

    def pick(self, blocks: Sequence[Block], wanted: Sequence[Region], box: Region) -> Iterator[Block]:  # noqa: ARG002
        """Count a block."""
        yield self.counter(self._flat(blocks))

    def put(self, out: Block, box: Region, values: Iterable[Block]) -> None:  # noqa: ARG002
        """Add the counts; the first ones are added to zeros."""
        for counts in values:
            with ADDING:
                if self.target is not out:
                    self.target = out
                    out[...] = 0
                out += counts

    def held_bytes(self, box: Region) -> int:
        """Count what the counter holds, and a block that has to be copied."""
        elements = region_size(box)
        return self.counter.held_bytes(elements) + self.itemsize * elements


class Pick(_All):
    """The elements that a picker names, of which there are as many as the result is long."""

    __slots__ = ("done", "picker")

    def __init__(self, picker: Picker, count: int, node: Node) -> None:
        super().__init__((count,), node.dtype, [node])
        self.picker = picker
        self.done = 0

    def pick(self, blocks: Sequence[Block], wanted: Sequence[Region], box: Region) -> Iterator[Block]:  # noqa: ARG002
        """Pick from a block."""
        yield self.picker(self._flat(blocks)[0])

    def put(self, out: Block, box: Region, values: Iterable[Block]) -> None:  # noqa: ARG002
        """Put the elements behind those that came before."""
        for found in values:
            with ADDING:
                if self.target is not out:
                    self.target, self.done = out, 0
                start, self.done = self.done, self.done + len(found)
            out[start : start + len(found)] = found

    def held_bytes(self, box: Region) -> int:
        """Count what the picker holds, and a block that has to be copied."""
        elements = region_size(box)
        return self.picker.held_bytes(elements) + self.itemsize * elements


def tally(counter: Counter, nodes: Sequence[Node]) -> Node:
    """Return the node of a counter's counts over arrays of one shape, which are not empty."""
    return Node(Tally(counter, nodes), nodes)


def pick_elements(picker: Picker, count: int, node: Node) -> Node:
    """Return the node of those ``count`` elements that a picker names, in no order."""
    return Node(Pick(picker, count, node), (node,))
