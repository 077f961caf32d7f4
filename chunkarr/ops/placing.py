"""Where a view of a stored array lies in it: pure, so that what is assigned to the view finds its place.

Slices, new axes, transposes and fields of a stored array are views of it. A `Place` composes any
chain of them into one mapping, which says for a region of the stored array (the *root*) which part of the
view lies in it, and shows that part of the view in a block of the root.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.graph import Load, Node, View
from chunkarr.grid import Grid, Region, Shape
from chunkarr.ops.layout import BasicIndex, Field, Reinterpret, Subarray, Transpose
from chunkarr.selection import Item, Pick, Stride

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Place", "placed", "root_of"]

Block = np.ndarray[Any, Any]
Step = str | tuple[str, ...] | np.dtype[Any]

SKIPPED = 64 << 10  # bytes that lie between two rows of a flat file for which it is worth writing them apart


@dataclass(frozen=True, slots=True)
class Place:
    """A view of a stored array, in coordinates of that array.

    >>> place = Place.whole((10, 4)).indexed((Stride(8, -2, 3), Pick(1)))
    >>> place.shape, place.region
    ((3,), ((4, 9), (1, 2)))
    >>> place.within(((0, 8), (0, 4)))
    ((1, 3),)
    >>> place.view(np.arange(32).reshape(8, 4), ((0, 8), (0, 4)))
    array([25, 17])
    """

    root: Shape  # elements per axis of the stored array
    axes: tuple[Pick | Stride, ...]  # what is taken of each axis of the root, then of those of subarray fields
    order: tuple[int | None, ...]  # per axis of the view: which of ``axes`` it walks; None for a new axis
    path: tuple[Step, ...]  # fields from an element of the root down to one of the view
    shape: Shape  # elements per axis of the view

    @classmethod
    def whole(cls, shape: Shape) -> Place:
        """Return the view that is the whole array."""
        return cls(shape, tuple(Stride(0, 1, n) for n in shape), tuple(range(len(shape))), (), tuple(shape))

    # --- composing -----------------------------------------------------------------------------

    def indexed(self, items: Sequence[Item]) -> Place:
        """Return a parsed basic key of this view."""
        axes, order, shape = list(self.axes), list[int | None](), list[int]()
        walked = iter(zip(self.order, self.shape, strict=True))
        for item in items:
            if item is None:
                order.append(None)
                shape.append(1)
                continue
            axis, _ = next(walked)
            if axis is not None:
                axes[axis] = _composed(axes[axis], item)
            if isinstance(item, Stride):
                order.append(axis)
                shape.append(item.length)
        return replace(self, axes=tuple(axes), order=tuple(order), shape=tuple(shape))

    def transposed(self, axes: Sequence[int]) -> Place:
        """Return this view with its axis ``axes[i]`` as axis ``i``."""
        return replace(self, order=tuple(self.order[a] for a in axes), shape=tuple(self.shape[a] for a in axes))

    def entered(self, name: Step, inner: Shape = ()) -> Place:
        """Return a field of this view, whose own axes are ``inner``, or its elements seen as a dtype of their size."""
        first = len(self.axes)
        return replace(
            self,
            axes=(*self.axes, *(Stride(0, 1, n) for n in inner)),
            order=(*self.order, *range(first, first + len(inner))),
            path=(*self.path, name),
            shape=(*self.shape, *inner),
        )

    # --- asking --------------------------------------------------------------------------------

    @property
    def region(self) -> Region:
        """The smallest region of the root that holds the view; of no elements if the view has none."""
        return tuple(_span(item) for item in self.axes[: len(self.root)])

    @property
    def is_whole(self) -> bool:
        """Whether the view is the array itself."""
        return self == Place.whole(self.root)

    @property
    def dense(self) -> bool:
        """Whether every byte of ``region`` belongs to the view."""
        return not self.path and all(isinstance(i, Pick) or abs(i.step) == 1 or i.length < 2 for i in self.axes)

    def covers(self, region: Region) -> bool:
        """Say whether every byte of ``region`` belongs to the view."""
        if self.path:
            return False
        for item, (a, b) in zip(self.axes, region, strict=True):
            lo, hi = _hit(item, a, b)
            if hi - lo != b - a:
                return False
        return True

    def within(self, region: Region) -> Region | None:
        """Return the part of the view that lies in ``region`` of the root; None if there is none."""
        if 0 in self.shape:
            return None
        ndim = len(self.root)
        hits = [_hit(item, *bounds) for item, bounds in zip(self.axes, region, strict=False)]
        if any(lo >= hi for lo, hi in hits):
            return None
        hits += [(0, i.length) if isinstance(i, Stride) else (0, 1) for i in self.axes[ndim:]]
        return tuple((0, 1) if axis is None else hits[axis] for axis in self.order)

    def view(self, block: Block, region: Region) -> Block:
        """Return ``within(region)`` of the view as a NumPy view of ``block``, which holds ``region`` of the root.

        ``region`` has elements of the view: `within` is not None.
        """
        seen: Any = block
        for step in self.path:
            seen = seen.view(step) if isinstance(step, np.dtype) else seen[list(step) if type(step) is tuple else step]
        inner = ((0, n) for n in seen.shape[len(region) :])
        key = [_local(item, *bounds) for item, bounds in zip(self.axes, (*region, *inner), strict=True)]
        seen = seen[(*key, ...)]
        kept = [k for k, item in enumerate(self.axes) if isinstance(item, Stride)]
        seen = seen.transpose([kept.index(axis) for axis in self.order if axis is not None])
        result: Block = seen[(*(None if axis is None else slice(None) for axis in self.order), ...)]
        return result

    def parts(self, region: Region, grid: Grid, itemsize: int) -> Iterator[Region]:
        """Yield the parts of ``region``, made of whole boxes of ``grid``, that the view has elements in.

        Where any region can be written (boxes of one element) rows are only told apart if much lies
        between them.
        """
        if 0 in self.shape:
            return
        row, runs = itemsize, list[list[tuple[int, int]]]()
        flat = set(grid.steps) <= {1}
        for axis in range(len(region) - 1, -1, -1):
            item, bounds = self.axes[axis], region[axis]
            apart = not flat or (isinstance(item, Stride) and abs(item.step) * row >= SKIPPED)
            runs.insert(0, _runs(item, bounds, grid, axis) if apart else _joined(item, bounds))
            row *= bounds[1] - bounds[0]
        yield from product(*runs)


def _composed(outer: Pick | Stride, item: Pick | Stride) -> Pick | Stride:
    """Return ``item`` of what ``outer`` takes."""
    assert isinstance(outer, Stride), "an axis that was picked from has gone"
    if isinstance(item, Pick):
        return Pick(outer.start + item.index * outer.step)
    return Stride(outer.start + item.start * outer.step, outer.step * item.step, item.length)


def _span(item: Pick | Stride) -> tuple[int, int]:
    if isinstance(item, Pick):
        return item.index, item.index + 1
    if not item.length:
        return 0, 0
    last = item.start + (item.length - 1) * item.step
    return min(item.start, last), max(item.start, last) + 1


def _hit(item: Pick | Stride, a: int, b: int) -> tuple[int, int]:
    """Return which of the indices of ``item``, counted from its first, lie in [a, b)."""
    if isinstance(item, Pick):
        return (0, 1) if a <= item.index < b else (0, 0)
    start, step, length = item.start, item.step, item.length
    if step > 0:
        lo, hi = -((start - a) // step), -((start - b) // step)
    else:
        lo, hi = -((b - 1 - start) // -step), (start - a) // -step + 1
    lo, hi = max(0, lo), min(length, hi)
    return (lo, hi) if lo < hi else (0, 0)


def _local(item: Pick | Stride, a: int, b: int) -> int | slice:
    """Return what takes the indices of ``item`` in [a, b) from an axis that begins at ``a``."""
    if isinstance(item, Pick):
        return item.index - a
    lo, hi = _hit(item, a, b)
    if lo == hi:
        return slice(0, 0)
    first, last = item.start + lo * item.step - a, item.start + (hi - 1) * item.step - a
    if item.step > 0:
        return slice(first, last + 1, item.step)
    return slice(first, last - 1 if last else None, item.step)


def _joined(item: Pick | Stride, bounds: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the one run from the first to the last index of ``item`` in ``bounds``."""
    lo, hi = _span(item)
    lo, hi = max(lo, bounds[0]), min(hi, bounds[1])
    return [(lo, hi)] if lo < hi and _hit(item, *bounds) != (0, 0) else []


def _runs(item: Pick | Stride, bounds: tuple[int, int], grid: Grid, axis: int) -> list[tuple[int, int]]:
    """Return the runs of boxes along ``axis`` that hold an index of ``item``."""
    runs: list[tuple[int, int]] = []
    a, b = bounds
    for box in range(grid.locate(axis, a), grid.locate(axis, b - 1) + 1) if a < b else ():
        lo, hi = grid.bounds(axis, box)
        if _hit(item, lo, hi) == (0, 0):
            continue
        if runs and runs[-1][1] == lo:
            runs[-1] = (runs[-1][0], hi)
        else:
            runs.append((lo, hi))
    return runs


def root_of(node: Node) -> Node:
    """Return the node that ``node`` is a view of, itself if it is none."""
    while isinstance(node.op, View):
        (node,) = node.inputs
    return node


def placed(node: Node) -> Place | None:
    """Return where ``node`` lies in the stored array that it is a view of; None if it is no such view."""
    chain: list[Any] = []
    while isinstance(node.op, View):
        chain.append(node.op)
        (node,) = node.inputs
    if not isinstance(node.op, Load):
        return None
    place = Place.whole(node.shape)
    for op in reversed(chain):
        if isinstance(op, BasicIndex):
            place = place.indexed(op.items)
        elif isinstance(op, Transpose):
            place = place.transposed(op.axes)
        elif isinstance(op, Subarray):
            place = place.entered(op.name, op.shape[op.outer :])  # type: ignore[arg-type]
        elif isinstance(op, Field):
            place = place.entered(tuple(op.name) if isinstance(op.name, list) else op.name)
        elif isinstance(op, Reinterpret) and op.before == op.after:
            place = place.entered(op.dtype)
        else:
            return None
    return place
