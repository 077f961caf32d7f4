"""What a NumPy key with index arrays or masks means: which element goes to which place of the result.

Index arrays broadcast together to an *extent*; its axes stand in the result where the first array stood,
or in front when a slice, None or Ellipsis separates the arrays (ints count as arrays). Masks become the index
arrays of what is true in them. Arrays that vary along different axes of the extent, as those of `numpy.ix_`,
are kept apart in *groups*, and looked up each on its own: 1,000 rows and 1,000 columns are 2,000 indices.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count
from typing import Any

import numpy as np

from chunkarr.grid import Region, Shape, region_key
from chunkarr.selection import Item, Pick, Stride, is_integer

__all__ = ["Advanced", "Group", "Lookup", "Part", "parse_advanced", "within_stride"]

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

    def within(self, bounds: Sequence[tuple[int, int]]) -> Indices:
        """Return the positions, ascending, whose indices lie within ``bounds``, one for each of ``axes``."""
        if self.size > SCANNED:
            values, order = self.sorted
            first, last = np.searchsorted(values, bounds[0])
            chosen = np.sort(order[first:last])
            rest = zip(self.arrays[1:], bounds[1:], strict=True)
        else:
            chosen = np.arange(self.size)
            rest = zip(self.arrays, bounds, strict=True)
        for array, (low, high) in rest:
            indices = array[chosen]
            chosen = chosen[(indices >= low) & (indices < high)]
        return chosen


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
    source: Region  # the smallest region of the array that holds them
    result: Region  # the smallest region of the result that holds them

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

    def pieces(self, elements: int) -> Iterator[Part]:
        """Cut into parts of at most ``elements`` elements, or of one place of the extent."""
        if self.size <= elements or all(c.size <= 1 for c in self.chosen):
            yield self
            return
        longest = max(range(len(self.chosen)), key=lambda k: self.chosen[k].size)
        others = max(1, self.size // self.chosen[longest].size)
        step = max(1, elements // others)
        for start in range(0, self.chosen[longest].size, step):
            cut = self.chosen[longest][start : start + step]
            chosen = (*self.chosen[:longest], cut, *self.chosen[longest + 1 :])
            yield from replace(self, chosen=chosen).pieces(elements)


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

    def _axes(self) -> Iterator[tuple[Item | Lookup, int]]:
        """Yield each item that stands for an axis of the array, and that axis."""
        return zip((i for i in self.items if i is not None), count(), strict=False)

    def within(self, region: Region) -> Part | None:
        """Return the elements that lie in ``region`` of the array; None if there are none."""
        if 0 in self.shape:
            return None
        strides: list[tuple[int, int]] = []
        source = list(region)
        for item, axis in self._axes():
            if isinstance(item, Pick):
                if not region[axis][0] <= item.index < region[axis][1]:
                    return None
                source[axis] = (item.index, item.index + 1)
            elif isinstance(item, Stride):
                a, b = within_stride(item, *region[axis])
                if a >= b:
                    return None
                strides.append((a, b))
                ends = (item.start + a * item.step, item.start + (b - 1) * item.step)
                source[axis] = (min(ends), max(ends) + 1)
        chosen = []
        for group in self.groups:
            positions = group.within([region[axis] for axis in group.axes])
            if not positions.size:
                return None
            for axis, array in zip(group.axes, group.arrays, strict=True):
                indices = array[positions]
                source[axis] = (int(indices.min()), int(indices.max()) + 1)
            chosen.append(positions)
        return Part(self, tuple(chosen), tuple(strides), tuple(source), self._bounds(chosen, strides))

    def _bounds(self, chosen: Sequence[Indices], strides: Sequence[tuple[int, int]]) -> Region:
        """Return the smallest region of the result that holds what was chosen."""
        extent = [(0, 1)] * len(self.extent)
        for positions, group in zip(chosen, self.groups, strict=True):
            if group.along:
                places = np.unravel_index(positions, tuple(self.extent[axis] for axis in group.along))
                for axis, indices in zip(group.along, places, strict=True):
                    extent[axis] = (int(indices.min()), int(indices.max()) + 1)
        rest = self._rest(strides)
        return (*rest[: self.place], *extent, *rest[self.place :])

    def _rest(self, strides: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Return the bounds of the result's axes that are not the extent's."""
        ranges = iter(strides)
        kept = (item for item in self.items if item is None or isinstance(item, Stride))
        return [(0, 1) if item is None else next(ranges) for item in kept]

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
        bounds = list(zip((0,) * len(self.inner), self.inner, strict=True))
        for item, axis in self._axes():
            if isinstance(item, Pick):
                bounds[axis] = (item.index, item.index + 1)
            elif isinstance(item, Stride):
                ends = (item.start, item.start + (item.length - 1) * item.step)
                bounds[axis] = (min(ends), max(ends) + 1)
        for group in self.groups:
            for axis, array in zip(group.axes, group.arrays, strict=True):
                bounds[axis] = (int(array.min()), int(array.max()) + 1)
        return tuple(bounds)


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


def parse_advanced(key: Any, shape: Shape) -> Advanced:
    """Return what ``key``, of which at least one item is a list, an ndarray or a boolean, selects.

    Raises NumPy's errors, in its words: IndexError, and ValueError for ragged lists.

    >>> parse_advanced(([0, -1], slice(None)), (3, 4)).shape, parse_advanced(np.ones((3, 4), bool), (3, 4)).shape
    ((2, 4), (12,))
    """
    entries = _expanded(key, shape)
    apart = [entry is None or entry is Ellipsis or isinstance(entry, slice) for entry in entries]
    first, last = apart.index(False), len(apart) - apart[::-1].index(False)
    adjacent = not any(apart[first:last])
    place = sum(entry is not Ellipsis for entry in entries[:first]) if adjacent else 0
    items: list[Any] = []  # with index arrays and booleans where they stand
    axis = 0
    for entry in entries:
        if entry is None or isinstance(entry, bool):
            items.append(entry)
        elif isinstance(entry, slice):
            start, stop, step = entry.indices(shape[axis])
            items.append(Stride(start, step, len(range(start, stop, step))))
            axis += 1
        elif isinstance(entry, np.ndarray) and entry.ndim:
            found: tuple[Any, ...] = (entry,)
            if entry.dtype == bool:
                lengths = shape[axis : axis + entry.ndim]
                if any(m not in {0, n} for m, n in zip(entry.shape, lengths, strict=True)):  # NumPy lets 0 pass
                    raise _refusal(key, shape)
                found = entry.nonzero()
            items.extend(found)
            axis += len(found)
        elif entry is not Ellipsis:
            index = operator.index(entry)
            items.append(Pick(index % shape[axis] if shape[axis] else index))
            if not -shape[axis] <= index < shape[axis]:
                raise _refusal(key, shape)
            axis += 1
    return _assembled(items, place, adjacent, key, shape)


def _expanded(key: Any, shape: Shape) -> list[Any]:
    """Return the items of a key: slices for the axes that it leaves out, ndarrays for lists, bool for scalars.

    An Ellipsis stays, in front of its slices: even one that stands for no axis keeps arrays apart.
    """
    entries = [_entry(item, key, shape) for item in (key if isinstance(key, tuple) else (key,))]
    used = 0
    for entry in entries:
        if isinstance(entry, np.ndarray) and entry.dtype == bool:
            used += entry.ndim
        elif not (entry is None or entry is Ellipsis or isinstance(entry, bool)):
            used += 1
    dots = [number for number, entry in enumerate(entries) if entry is Ellipsis]
    if used > len(shape) or len(dots) > 1:
        raise _refusal(key, shape)
    at = dots[0] + 1 if dots else len(entries)
    entries[at:at] = [slice(None)] * (len(shape) - used)
    return entries


def _entry(item: Any, key: Any, shape: Shape) -> Any:
    """Return one item of a key as it is, or as an ndarray of integers or booleans."""
    if item is None or item is Ellipsis or isinstance(item, slice) or is_integer(item):
        return item
    values = np.asarray(item)  # ragged lists raise what they raise in NumPy
    if not values.size and not isinstance(item, np.ndarray):
        values = values.astype(np.int64)  # an empty list would be of floats
    if values.dtype.kind not in "biu" or values.dtype.hasobject:
        raise _refusal(key, shape)
    return values if values.ndim else values.item() if values.dtype == bool else int(values)


def _refusal(key: Any, shape: Shape) -> Exception:
    """Return NumPy's error for a key that an array of ``shape`` does not take."""
    try:
        np.empty(shape, "V0")[key]
    except Exception as error:  # noqa: BLE001 - whatever NumPy raises is the answer
        return error
    return IndexError(f"an array of shape {shape} cannot be indexed with this key")


def _assembled(items: list[Any], place: int, adjacent: bool, key: Any, shape: Shape) -> Advanced:
    """Bring the index arrays among ``items`` together in groups."""
    flags = [item for item in items if isinstance(item, bool)]
    arrays = [item for item in items if isinstance(item, np.ndarray)]
    if not arrays:  # booleans alone make an axis of size 1, or of none
        items.insert(items.index(flags[0]) if adjacent else 0, None)
    items = [item for item in items if not isinstance(item, bool)]
    try:
        extent = np.broadcast_shapes(*(a.shape for a in arrays), *((int(f),) for f in flags))
    except ValueError:
        raise _refusal(key, shape) from None
    axes = [axis for axis, item in enumerate(i for i in items if i is not None) if isinstance(item, np.ndarray)]
    if 0 not in extent:
        for array, axis in zip(arrays, axes, strict=True):
            if array.min() < -shape[axis] or array.max() >= shape[axis]:
                raise _refusal(key, shape)
    groups, lookups = _grouped(arrays, axes, extent, shape)
    numbered = iter(lookups)
    items = [next(numbered) if isinstance(item, np.ndarray) else item for item in items]
    rest = [1 if item is None else item.length for item in items if item is None or isinstance(item, Stride)]
    if not arrays:
        rest[place] = extent[0]
        return Advanced(shape, tuple(items), (), (), 0, tuple(rest))
    return Advanced(shape, tuple(items), groups, extent, place, (*rest[:place], *extent, *rest[place:]))


def _grouped(arrays: list[Any], axes: list[int], extent: Shape, shape: Shape) -> tuple[tuple[Group, ...], list[Lookup]]:
    """Return the groups of arrays that vary along common axes of the extent, and where each array is found."""
    padded = [array.reshape((1,) * (len(extent) - array.ndim) + array.shape) for array in arrays]
    sets: list[tuple[set[int], list[int]]] = []  # axes of the extent, and which arrays vary along them
    for number, array in enumerate(padded):
        along, members = {k for k, n in enumerate(array.shape) if n != 1}, [number]
        for other in [s for s in sets if s[0] & along]:
            sets.remove(other)
            along |= other[0]
            members = other[1] + members
        sets.append((along, members))
    groups: list[Group] = []
    lookups: dict[int, Lookup] = {}
    for along, members in sets:
        common = tuple(n if k in along else 1 for k, n in enumerate(extent))
        flat = tuple(_positive(np.broadcast_to(padded[m], common), shape[axes[m]]) for m in members)
        lookups |= {m: Lookup(len(groups), number) for number, m in enumerate(members)}
        groups.append(Group(tuple(axes[m] for m in members), tuple(sorted(along)), flat))
    return tuple(groups), [lookups[number] for number in range(len(arrays))]


def _positive(array: Any, size: int) -> Indices:
    """Return a flat copy of an index array whose negative indices count from the end of the axis."""
    indices: Indices = array.astype(np.int64).reshape(-1)
    np.add(indices, size, out=indices, where=indices < 0)
    return indices
