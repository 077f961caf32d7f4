"""Selections by index arrays: which element goes to which place of the result, and which lie in a region.

Index arrays broadcast together to an *extent*; its axes stand in the result where the first array stood,
or in front when a slice, None or Ellipsis separates the arrays (ints count as arrays). Masks become the index
arrays of what is true in them. Arrays that vary along different axes of the extent, as those of `numpy.ix_`,
are kept apart in *groups*, and looked up each on its own: 1,000 rows and 1,000 columns are 2,000 indices.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count, product
from typing import Any

import numpy as np

from chunkarr.grid import Region, Shape, region_key, whole
from chunkarr.selection import Item, Pick, Stride

__all__ = ["Advanced", "Group", "Indices", "Lookup", "Part", "within_stride"]

Indices = np.ndarray[Any, np.dtype[np.int64]]
SCANNED = 1024  # indices up to which a look-up goes through all of them


@dataclass(frozen=True, slots=True)
class Lookup:
    """An axis of the array that is indexed by an index array."""

    group: int  # which of the key's groups the array belongs to
    number: int  # which of the group's arrays it is


@dataclass(frozen=True, eq=False)
class Group:
    """Index arrays that vary along the same axes of the extent, flattened in C order."""

    axes: Shape  # of the array: what is indexed
    along: Shape  # axes of the extent that they vary along; along the others they repeat
    arrays: tuple[Indices, ...]  # one for each of ``axes``, of one length; 0 <= index < size of the axis

    @property
    def size(self) -> int:
        """Indices in each array."""
        return int(self.arrays[0].size)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays, and of their order."""
        return 8 * self.size * (len(self.arrays) + 2 * (self.size > SCANNED))

    @cached_property
    def sorted(self) -> tuple[Indices, Indices]:
        """The first array in ascending order, and where each index stood; equal ones keep their order."""
        order = np.argsort(self.arrays[0], kind="stable")
        return self.arrays[0][order], order

    def prepare(self) -> None:
        """Sort the indices, if there are many, before several threads ask for that at once."""
        if self.size > SCANNED:
            _ = self.sorted

    def candidates(self, bounds: Sequence[tuple[int, int]]) -> Indices:
        """Return the positions whose first index lies within its bounds, in any order; of few indices all."""
        if self.size <= SCANNED:
            return np.arange(self.size)
        values, order = self.sorted
        first, last = np.searchsorted(values, bounds[0])
        return order[first:last]

    def chosen(self, candidates: Indices, bounds: Sequence[tuple[int, int]]) -> Indices:
        """Return those of the candidates whose indices lie within ``bounds``, one for each of ``axes``."""
        known = self.size > SCANNED  # where the first index lies
        for array, (low, high) in zip(self.arrays[known:], bounds[known:], strict=True):
            indices = array[candidates]
            candidates = candidates[(indices >= low) & (indices < high)]
        return candidates

    def within(self, bounds: Sequence[tuple[int, int]]) -> Indices:
        """Return the positions, ascending, whose indices lie within ``bounds``, one for each of ``axes``."""
        return np.sort(self.chosen(self.candidates(bounds), bounds))


@dataclass(frozen=True, eq=False)
class Part:
    """Those elements of a selection that lie in one region of the array, in the order of the result.

    ``of_array`` and ``of_result`` give a view and a key each, so that ``view[key]`` are the same elements in the
    same order on both sides::

        view, key = part.of_array(block, region)
        place, where = part.of_result(values, part.result)
        place[where] = view[key]   # reading
        view[key] = place[where]   # writing; of places that come twice the last one stays
    """

    advanced: Advanced
    chosen: tuple[Indices, ...]  # positions in each group
    strides: tuple[tuple[int, int], ...]  # for each Stride the range of its elements

    @cached_property
    def source(self) -> Region:
        """The smallest region of the array that holds them."""
        advanced = self.advanced
        bounds = list(whole(advanced.inner))
        strides = iter(self.strides)
        for item, axis in advanced.placed():
            if isinstance(item, Lookup):
                indices = advanced.groups[item.group].arrays[item.number][self.chosen[item.group]]
                bounds[axis] = (int(indices.min()), int(indices.max()) + 1)
            else:
                bounds[axis] = (item.index, item.index + 1) if isinstance(item, Pick) else _span(item, *next(strides))
        return tuple(bounds)

    @cached_property
    def result(self) -> Region:
        """The smallest region of the result that holds them."""
        advanced = self.advanced
        extent = [(0, 1)] * len(advanced.extent)
        for positions, group in zip(self.chosen, advanced.groups, strict=True):
            if group.along:
                places = np.unravel_index(positions, tuple(advanced.extent[axis] for axis in group.along))
                for axis, indices in zip(group.along, places, strict=True):
                    extent[axis] = (int(indices.min()), int(indices.max()) + 1)
        strides = iter(self.strides)
        kept = (item for item in advanced.items if item is None or isinstance(item, Stride))
        rest = [(0, 1) if item is None else next(strides) for item in kept]
        return (*rest[: advanced.place], *extent, *rest[advanced.place :])

    @property
    def size(self) -> int:
        """Elements altogether."""
        return math.prod(c.size for c in self.chosen) * self.row

    @property
    def row(self) -> int:
        """Elements for each place of the extent."""
        return math.prod(b - a for a, b in self.strides)

    def _mesh(self, group: int, values: Indices) -> Indices:
        """Return values of a group as they broadcast against those of the others."""
        shape = [1] * len(self.chosen)
        shape[group] = -1
        return values.reshape(shape)

    def of_array(self, block: Any, region: Region) -> tuple[Any, Any]:
        """Return a view of ``block``, which holds ``region`` of the array, and the key of the elements in it."""
        key: list[Any] = []
        lookups: list[int] = []  # axes of the view that are looked up
        picks: list[Indices] = []
        strides = iter(self.strides)
        bounds = iter(region)
        place = 0
        for item in self.advanced.items:
            if item is None:
                key.append(None)
                place += 1
                continue
            low, _ = next(bounds)
            if isinstance(item, Pick):
                key.append(item.index - low)
                continue
            if isinstance(item, Lookup):
                key.append(slice(None))
                lookups.append(place)
                indices = self.advanced.groups[item.group].arrays[item.number][self.chosen[item.group]]
                picks.append(self._mesh(item.group, indices - low))
            else:
                key.append(_steps(item, *next(strides), low))
            place += 1
        view = np.moveaxis(block[(*key, ...)], lookups, range(len(lookups)))
        return view, (*picks, ...)

    def of_result(self, values: Any, region: Region) -> tuple[Any, Any]:
        """Return a view of ``values``, which hold ``region`` of the result, and the key of the elements in it."""
        advanced = self.advanced
        first, width = advanced.place, len(advanced.extent)
        key: list[Any] = [slice(None)] * len(region)
        strides = iter(self.strides)
        rest = (axis for axis in count() if not first <= axis < first + width)
        for item, axis in zip((i for i in advanced.items if i is None or isinstance(i, Stride)), rest, strict=False):
            if item is not None:
                a, b = next(strides)
                key[axis] = slice(a - region[axis][0], b - region[axis][0])
        view = np.moveaxis(values[(*key, ...)], range(first, first + width), range(width))
        where: list[Any] = [0] * width
        for axis in range(width):
            where[axis] = np.zeros((1,) * len(self.chosen), np.int64)
        for number, group in enumerate(advanced.groups):
            lengths = tuple(advanced.extent[axis] for axis in group.along)
            places = np.unravel_index(self.chosen[number], lengths) if group.along else ()
            for axis, indices in zip(group.along, places, strict=True):
                where[axis] = self._mesh(number, indices - region[first + axis][0])
        return view, (*where, ...)


@dataclass(frozen=True, eq=False)
class Advanced:
    """What a key with index arrays selects."""

    inner: Shape  # of the array that is indexed
    items: tuple[Item | Lookup, ...]  # one for each of its axes, and None for each new one
    groups: tuple[Group, ...]
    extent: Shape  # of the index arrays, broadcast together
    place: int  # axis of the result where the axes of the extent begin
    shape: Shape = field(default=())  # of the result

    @property
    def nbytes(self) -> int:
        """Bytes of the index arrays and of what look-ups keep."""
        return sum(g.nbytes for g in self.groups)

    @property
    def ascending(self) -> bool:
        """Whether the result holds elements in the order in which the array does, but for repeated ones."""
        return all(len(g.arrays) == 1 and bool(np.all(g.arrays[0][1:] >= g.arrays[0][:-1])) for g in self.groups)

    def placed(self) -> Iterator[tuple[Pick | Stride | Lookup, int]]:
        """Yield each item that stands for an axis of the array, and that axis."""
        return zip((i for i in self.items if i is not None), count(), strict=False)

    def within(self, region: Region) -> Part | None:
        """Return the elements that lie in ``region`` of the array, in the order of the result; None if there are none.

        Holds about 32 bytes for each of its index arrays and of the indices found.
        """
        strides = self._strides(region)
        if strides is None:
            return None
        chosen = tuple(group.within([region[axis] for axis in group.axes]) for group in self.groups)
        return Part(self, chosen, strides) if all(c.size for c in chosen) else None

    def parts(self, region: Region, elements: int) -> Iterator[Part]:
        """Yield the elements that lie in ``region`` in any order, about ``elements`` of them at a time.

        At least those for one place of the extent come together.
        """
        strides = self._strides(region)
        if strides is None:
            return
        room = max(1, elements // math.prod(b - a for a, b in strides))
        runs = []
        for group in self.groups:
            bounds = [region[axis] for axis in group.axes]
            found = group.candidates(bounds)
            step = max(1, min(room, found.size))
            room //= step
            runs.append(_runs(group, found, bounds, step))
        yield from (Part(self, chosen, strides) for chosen in _products(runs))

    def everything(self, elements: int) -> Iterator[Part]:
        """Yield all elements, about ``elements`` of them at a time."""
        strides = self._strides(whole(self.inner))
        if strides is None:
            return
        room = max(1, elements // math.prod(b - a for a, b in strides))
        runs = []
        for group in self.groups:
            step = max(1, min(room, group.size))
            room //= step
            runs.append(_all(group, step))
        yield from (Part(self, chosen, strides) for chosen in _products(runs))

    def _strides(self, region: Region) -> tuple[tuple[int, int], ...] | None:
        """Return the range of each Stride in ``region``; None if nothing lies in it."""
        if 0 in self.shape:
            return None
        strides: list[tuple[int, int]] = []
        for item, axis in self.placed():
            if isinstance(item, Pick) and not region[axis][0] <= item.index < region[axis][1]:
                return None
            if isinstance(item, Stride):
                strides.append(within_stride(item, *region[axis]))
                if strides[-1][0] >= strides[-1][1]:
                    return None
        return tuple(strides)

    def restricted(self, region: Region) -> Advanced:
        """Return the selection of ``region`` of the result alone."""
        bounds = region[self.place : self.place + len(self.extent)]
        groups = []
        for group in self.groups:
            lengths = tuple(self.extent[axis] for axis in group.along)
            key = region_key(tuple(bounds[axis] for axis in group.along))
            groups.append(replace(group, arrays=tuple(a.reshape(lengths)[key].reshape(-1) for a in group.arrays)))
        rest = iter((*region[: self.place], *region[self.place + len(self.extent) :]))
        items: list[Item | Lookup] = []
        for item in self.items:
            if isinstance(item, Pick | Lookup):
                items.append(item)
                continue
            a, b = next(rest)
            items.append(None if item is None else Stride(item.start + a * item.step, item.step, b - a))
        shape, extent = (tuple(b - a for a, b in r) for r in (region, bounds))
        return replace(self, items=tuple(items), groups=tuple(groups), extent=extent, shape=shape)

    def span(self) -> Region:
        """Return the smallest region of the array that holds all elements, of which there are some."""
        strides = tuple((0, item.length) for item in self.items if isinstance(item, Stride))
        return Part(self, (slice(None),) * len(self.groups), strides).source  # type: ignore[arg-type]


def within_stride(item: Stride, low: int, high: int) -> tuple[int, int]:
    """Return the range of the elements of ``item`` that lie in ``low`` ... ``high`` of the axis.

    >>> within_stride(Stride(1, 3, 4), 4, 10), within_stride(Stride(9, -2, 5), 0, 6)
    ((1, 3), (2, 5))
    """
    if item.step < 0:
        low, high = item.start - high + 1, item.start - low + 1
    else:
        low, high = low - item.start, high - item.start
    step = abs(item.step)
    return max(0, -(-low // step)), min(item.length, -(-high // step))


def _steps(item: Stride, first: int, last: int, low: int) -> slice:
    """Return a range of the elements of ``item`` as a slice of a block that begins at ``low``."""
    start = item.start + first * item.step - low
    stop = item.start + last * item.step - low
    return slice(start, stop if stop >= 0 else None, item.step)


def _span(item: Stride, first: int, last: int) -> tuple[int, int]:
    """Return the bounds of a range of the elements of ``item``."""
    ends = (item.start + first * item.step, item.start + (last - 1) * item.step)
    return min(ends), max(ends) + 1


def _runs(group: Group, candidates: Indices, bounds: list[tuple[int, int]], step: int) -> Iterator[Indices]:
    """Yield the chosen ones among the candidates, looking at ``step`` of them at a time."""
    for at in range(0, candidates.size, step):
        chosen = group.chosen(candidates[at : at + step], bounds)
        if chosen.size:
            yield chosen


def _all(group: Group, step: int) -> Iterator[Indices]:
    """Yield all positions, ``step`` of them at a time."""
    return (np.arange(at, min(at + step, group.size)) for at in range(0, group.size, step))


def _products(runs: Sequence[Iterator[Indices]]) -> Iterator[tuple[Indices, ...]]:
    """Yield every choice of a run for each group; those of the first group are made one at a time."""
    if not runs:  # booleans alone: no index arrays
        yield ()
        return
    rest = [list(run) for run in runs[1:]]
    for head in runs[0]:
        yield from ((head, *tail) for tail in product(*rest))
