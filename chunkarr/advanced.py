"""What a NumPy key with index arrays or masks means, with NumPy's own errors.

Its parsed form is `chunkarr.lookups.Advanced`. Masks become the index arrays of what is true in them.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from chunkarr.grid import Shape
from chunkarr.lookups import Advanced, Group, Indices, Lookup
from chunkarr.selection import Pick, Stride, is_integer

__all__ = ["parse_advanced"]


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
