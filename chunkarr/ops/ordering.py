"""What is smaller: how the values of one dtype are put in order, alone or with their positions.

Values are compared as NumPy compares them: NaN and NaT are larger than all others, complex numbers go by their real
parts first, records by their fields. Permutations are always stable, because tasks that sort parts of the same equal
values must agree on who goes where.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from chunkarr.formats.runs import seen_plain
from chunkarr.ops.keys import has_keys
from chunkarr.ops.permuting import groups_of, permutation, permutation_and_ties

__all__ = ["Ordering", "ordering_of"]

Block = np.ndarray[Any, Any]
SIMPLE = "biufmM"  # kinds whose NaNs, if any, are all alike


@dataclass(frozen=True)
class Ordering:
    """How values of a dtype are ordered."""

    dtype: np.dtype[Any]  # as the user sees it
    fields: tuple[str, ...] = ()  # of records, those that are compared first in front
    stable: bool = False  # whether values that are equal, but not the same, keep their order

    @property
    def native(self) -> np.dtype[Any]:
        """The dtype of values while they are sorted: the machine's byte order, but records as they are."""
        return self.dtype if self.fields else self.dtype.newbyteorder("=")

    def own(self, values: Block) -> Block:
        """Return contiguous ``values`` in the machine's byte order, changed in place."""
        if values.dtype == self.native or self.fields:
            return values
        return values.byteswap(inplace=True).view(self.native)

    def sort(self, values: Block) -> None:
        """Sort native values of shape (N,) in place."""
        if self.fields or (self.stable and self.dtype.kind == "f"):  # equal floats may differ: zeros of both signs, NaN
            seen = seen_plain(values)
            seen[...] = seen.take(self.permutation(values))
        else:
            values.sort(kind="stable" if self.stable and self.dtype.kind not in SIMPLE else None)

    def permutation(self, values: Block) -> Block:
        """Return the positions of values of shape (N,) in ascending order, equal ones as they come."""
        if not self.fields:
            return permutation(values)
        if any(_is_nested(values.dtype[name]) for name in self.fields):
            return np.argsort(values, order=list(self.fields), kind="stable")
        name, *others = self.fields
        first = _column(values, name)
        if not has_keys(first.dtype):
            return np.lexsort([_column(values, n) for n in reversed(self.fields)])
        if not others:
            return permutation(first)
        order, tied = permutation_and_ties(first)
        if tied.size:
            at, group = groups_of(tied)
            these = order[at]
            keys = [_column(values, n)[these] for n in reversed(others)]
            order[at] = these[np.lexsort((*keys, group))]
        return order

    def search(self, values: Block, value: Block, *, after: bool) -> int:
        """Return where ``value``, of shape (1,), goes in sorted ``values``: before its equals or after them."""
        if self.dtype.kind == "V":
            name = self.fields[0] if self.fields else None
            if name is not None and values.dtype[name].kind in SIMPLE:  # only equals of the first field are compared
                low, high = (int(np.searchsorted(values[name], value[name], side)[0]) for side in ("left", "right"))
                if low == high or len(self.fields) == 1:
                    return high if after else low
                if low or high < len(values):
                    return low + self.search(values[low:high], value, after=after)
            both = np.concatenate((values, value) if after else (value, values))
            return int(np.flatnonzero(self.permutation(both) == (len(values) if after else 0))[0])
        return int(np.searchsorted(values, value, "right" if after else "left")[0])

    def search_each(self, values: Block, cuts: Block, after: Block) -> Block:
        """Return where each of ``cuts`` goes in sorted ``values``: behind its equals where ``after`` is true."""
        if self.dtype.kind != "V":
            low, high = (np.searchsorted(values, cuts, side) for side in ("left", "right"))
            return np.where(after, high, low)
        if not self.fields or not has_keys(values.dtype[self.fields[0]]):
            each = (self.search(values, cuts[k : k + 1], after=bool(a)) for k, a in enumerate(after))
            return np.fromiter(each, np.intp, len(after))
        first, keys = _column(values, self.fields[0]), _column(cuts, self.fields[0])
        low, high = (np.searchsorted(first, keys, side) for side in ("left", "right"))
        found: Block = np.where(after, high, low)
        for k in np.flatnonzero(high > low) if len(self.fields) > 1 else ():
            found[k] = low[k] + self.search(values[low[k] : high[k]], cuts[k : k + 1], after=bool(after[k]))
        return found

    def sort_bytes(self, count: int) -> int:
        """Return what sorting ``count`` values in place holds besides."""
        if self.fields or (self.stable and self.dtype.kind == "f"):
            return self.permutation_bytes(count) + count * self.dtype.itemsize
        return count * self.dtype.itemsize // 2 if self.dtype.kind in "cSUV" else 0

    def permutation_bytes(self, count: int) -> int:
        """Return what `permutation` of ``count`` values holds, its result included."""
        return count * (24 + self.dtype.itemsize * (2 if self.fields else 1) + (24 if len(self.fields) > 1 else 0))


def ordering_of(dtype: np.dtype[Any], order: Any, *, stable: bool) -> Ordering:
    """Return the ordering of values of ``dtype`` by the fields named first, then by the others.

    >>> ordering_of(np.dtype("i4, f8, u1"), "f1", stable=False).fields
    ('f1', 'f0', 'f2')
    """
    names = dtype.names or ()
    given = () if order is None else (order,) if isinstance(order, str) else tuple(order)
    return Ordering(dtype, (*given, *(n for n in names if n not in given)), stable)


def _column(values: Block, name: str) -> Block:
    """Return a field of records, contiguous and in native byte order."""
    return np.ascontiguousarray(values[name], values.dtype[name].newbyteorder("="))


def _is_nested(dtype: np.dtype[Any]) -> bool:
    return dtype.subdtype is not None or dtype.kind == "V"
