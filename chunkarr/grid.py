"""Pure integers: regions, and the regular grids that cut arrays into boxes.

A *region* is one ``(start, stop)`` pair per axis: unit step, absolute, in bounds. A *grid* says
where an array is cut: along axis ``i`` at ``first[i] + k * step[i]``. Grids are only regular ones;
where an operation would make an irregular grid (a strided slice, a concatenation), the nearest
regular one is used, because a grid decides speed and summation order, never correctness.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any

__all__ = [
    "Grid",
    "Region",
    "Shape",
    "bounding",
    "contains",
    "intersect",
    "region_key",
    "region_shape",
    "region_size",
    "region_slices",
    "shift",
    "tiles",
    "whole",
]

Region = tuple[tuple[int, int], ...]
Shape = tuple[int, ...]


def whole(shape: Sequence[int]) -> Region:
    """Return the region that covers an array of ``shape``.

    >>> whole((2, 3))
    ((0, 2), (0, 3))
    """
    return tuple((0, n) for n in shape)


def region_shape(region: Region) -> Shape:
    """Return the shape of the values in ``region``."""
    return tuple(b - a for a, b in region)


def region_size(region: Region) -> int:
    """Return the number of elements in ``region``."""
    return math.prod(b - a for a, b in region)


def region_slices(region: Region, origin: Region | None = None) -> tuple[slice, ...]:
    """Return ``region`` as slices, relative to the corner of ``origin`` if one is given.

    >>> region_slices(((4, 6),), ((3, 9),))
    (slice(1, 3, None),)
    """
    if origin is None:
        return tuple(slice(a, b) for a, b in region)
    return tuple(slice(a - o, b - o) for (a, b), (o, _) in zip(region, origin, strict=True))


def shift(region: Region, offsets: Sequence[int]) -> Region:
    """Return ``region`` moved by ``offsets`` elements along each axis."""
    return tuple((a + d, b + d) for (a, b), d in zip(region, offsets, strict=True))


def intersect(one: Region, other: Region) -> Region | None:
    """Return the region common to both, or None if there is none.

    >>> intersect(((0, 4),), ((2, 9),))
    ((2, 4),)
    """
    both = tuple((max(a, c), min(b, d)) for (a, b), (c, d) in zip(one, other, strict=True))
    return both if all(a < b for a, b in both) else None


def bounding(one: Region, other: Region) -> Region:
    """Return the smallest region that contains both."""
    return tuple((min(a, c), max(b, d)) for (a, b), (c, d) in zip(one, other, strict=True))


def contains(outer: Region, inner: Region) -> bool:
    """Say whether ``inner`` lies within ``outer``."""
    return all(a <= c and d <= b for (a, b), (c, d) in zip(outer, inner, strict=True))


def region_key(region: Region, origin: Region | None = None) -> Any:
    """Return what indexes an array to a view of ``region``: its slices, and an Ellipsis for arrays without axes.

    >>> region_key(((4, 6),), ((3, 9),))
    (slice(1, 3, None), Ellipsis)
    """
    return (*region_slices(region, origin), ...)


@dataclass(frozen=True, slots=True)
class Grid:
    """A regular grid over an array; boxes at the edges are cut short.

    >>> grid = Grid((5, 4), (2, 4))
    >>> grid.counts, grid.region((2, 0))
    ((3, 1), ((4, 5), (0, 4)))
    """

    shape: Shape  # elements per axis of the array
    steps: Shape  # elements per axis of a box, each >= 1
    firsts: Shape = ()  # first inner boundary per axis, 0 <= first < step; () means 0 everywhere

    def __post_init__(self) -> None:
        """Normalise steps and firsts, so that equal grids compare equal."""
        steps = tuple(max(1, min(s, n)) if n else 1 for s, n in zip(self.steps, self.shape, strict=True))
        firsts = self.firsts or (0,) * len(self.shape)
        # An origin is only meaningful relative to the step that the caller gave.
        firsts = tuple(
            f % max(s, 1) if f % max(s, 1) < n else 0 for f, s, n in zip(firsts, self.steps, self.shape, strict=True)
        )
        object.__setattr__(self, "steps", steps)
        object.__setattr__(self, "firsts", firsts)

    @property
    def counts(self) -> Shape:
        """Boxes along each axis."""
        return tuple(
            (bool(f) + -(-(n - f) // s)) if n else 0
            for n, s, f in zip(self.shape, self.steps, self.firsts, strict=True)
        )

    @property
    def size(self) -> int:
        """Boxes altogether."""
        return math.prod(self.counts)

    def bounds(self, axis: int, index: int) -> tuple[int, int]:
        """Return start and stop of box ``index`` along ``axis``."""
        n, s, f = self.shape[axis], self.steps[axis], self.firsts[axis]
        if f:
            return (0, min(f, n)) if index == 0 else (f + (index - 1) * s, min(f + index * s, n))
        return index * s, min((index + 1) * s, n)

    def region(self, index: Sequence[int]) -> Region:
        """Return the region of box ``index``."""
        return tuple(self.bounds(axis, i) for axis, i in enumerate(index))

    def locate(self, axis: int, position: int) -> int:
        """Return which box along ``axis`` holds element ``position``."""
        s, f = self.steps[axis], self.firsts[axis]
        if f:
            return 0 if position < f else 1 + (position - f) // s
        return position // s

    def span(self, region: Region) -> tuple[tuple[int, int], ...]:
        """Return per axis the range of boxes that ``region`` touches."""
        return tuple(
            (self.locate(axis, a), self.locate(axis, b - 1) + 1) if a < b else (0, 0)
            for axis, (a, b) in enumerate(region)
        )

    def touching(self, region: Region) -> Iterator[tuple[int, ...]]:
        """Yield the index of each box that ``region`` touches, in C order."""
        return product(*(range(a, b) for a, b in self.span(region)))

    def round_out(self, region: Region) -> Region:
        """Return ``region`` grown to whole boxes."""
        return tuple(
            (self.bounds(axis, a)[0], self.bounds(axis, b - 1)[1]) if a < b else lohi
            for axis, ((a, b), lohi) in enumerate(zip(self.span(region), region, strict=True))
        )

    def within(self, region: Region) -> Grid:
        """Return the same boxes over ``region`` alone, counted from its corner."""
        firsts = tuple(f - a for f, (a, _) in zip(self.firsts, region, strict=True))
        return Grid(region_shape(region), self.steps, firsts)

    def __iter__(self) -> Iterator[Region]:
        """Yield the region of every box, in C order."""
        return (self.region(index) for index in product(*map(range, self.counts)))


@lru_cache(256)
def tiles(shape: Shape, limit: int) -> tuple[tuple[tuple[slice, ...], Shape], ...]:
    """Cut ``shape`` into boxes of at most ``limit`` elements: whole trailing axes, then a range of one.

    >>> [s for _, s in tiles((3, 4), 8)]
    [(2, 4), (1, 4)]
    """
    steps: list[int] = []
    room = max(1, limit)
    for n in reversed(shape):
        step = max(1, min(n, room))
        steps.insert(0, step)
        room //= step
        if step < n:
            room = 1
    ranges = [[(a, min(a + s, n)) for a in range(0, n, s)] for n, s in zip(shape, steps, strict=True)]
    return tuple((tuple(slice(a, b) for a, b in box), tuple(b - a for a, b in box)) for box in product(*ranges))
