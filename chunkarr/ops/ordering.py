"""What is smaller: how the values of one dtype are put in order, alone or with their positions.

Values are compared as NumPy compares them: NaN and NaT are larger than all others, complex numbers go by their real
parts first, records by their fields. Permutations are always stable, because tasks that sort parts of the same equal
values must agree on who goes where.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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

    @property
    def by_permutation(self) -> bool:
        """Whether values are moved to where a permutation says: records, and floats that are equal and differ."""
        return bool(self.fields) or (self.stable and self.dtype.kind == "f")  # zeros of both signs, NaN

    def own(self, values: Block) -> Block:
        """Return contiguous ``values`` in the machine's byte order, changed in place."""
        if values.dtype == self.native or self.fields:
            return values
        return values.byteswap(inplace=True).view(self.native)

    def sort(self, values: Block) -> None:
        """Sort native values of shape (N,) in place."""
        if self.by_permutation:
            seen = seen_plain(values)
            seen[...] = seen.take(self.permutation(values))
        else:
            values.sort(kind="stable" if self.stable and self.dtype.kind not in SIMPLE else None)

    def permutation(self, values: Block) -> Block:
        """Return the positions of values of shape (N,) in ascending order, equal ones as they come."""
        if not self.fields:
            return permutation(values)
        if any(_is_odd(values.dtype[name]) for name in self.fields):
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
            name = self.fields[0] if self.fields else ""
            first = values.dtype[name] if name else self.dtype
            if first.kind in SIMPLE and not _is_odd(first):  # only equals of the first field are compared
                low, high = (int(np.searchsorted(values[name], value[name], side)[0]) for side in ("left", "right"))
                if low == high or len(self.fields) == 1:
                    return high if after else low
                if low or high < len(values):
                    return low + self.search(values[low:high], value, after=after)
            both = np.concatenate((values, value) if after else (value, values), dtype=values.dtype)  # else native
            return int(np.flatnonzero(self.permutation(both) == (len(values) if after else 0))[0])
        return int(np.searchsorted(values, value, "right" if after else "left")[0])

    def search_each(self, values: Block, cuts: Block, after: Block, low: Block, high: Block) -> Block:
        """Return where each of ``cuts`` goes in parts of ``values`` that are sorted.

        Parameters
        ----------
        values
            Shape (N,).
        cuts
            Shape (K,).
        after
            Shape (K, R): whether cut k goes behind its equals in part r.
        low, high
            Shape (K, R): where the part begins and ends. All are searched together, halving by halving.
        """
        if not _are_comparable(self.dtype):
            found = low.copy()
            for k, r in zip(*np.nonzero(low < high), strict=True):
                a, b = int(low[k, r]), int(high[k, r])
                found[k, r] += self.search(values[a:b], cuts[k : k + 1], after=bool(after[k, r]))
            return found
        low, high = low.copy(), high.copy()
        keys = list(_compared(cuts[:, None], self.fields))
        while (open_ := low < high).any():
            middle = (low + high) >> 1
            seen = values.take(middle, mode="clip")
            smaller = _are_smaller(_compared(seen, self.fields), keys, after)
            low = np.where(open_ & smaller, middle + 1, low)
            high = np.where(open_ & ~smaller, middle, high)
        return low

    def sort_bytes(self, count: int) -> int:
        """Return what sorting ``count`` values in place holds besides."""
        if self.by_permutation:
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


def _is_odd(dtype: np.dtype[Any]) -> bool:
    """Say whether a field is compared as only NumPy's own sort of records does: halves have their NaN first there."""
    return dtype.subdtype is not None or dtype.kind == "V" or dtype.char == "e"


def _are_comparable(dtype: np.dtype[Any]) -> bool:
    """Say whether values can be compared many at a time, as `_compared` takes them apart."""
    if dtype.names:
        return all(_are_comparable(dtype[name]) and dtype[name].char != "e" for name in dtype.names)
    return dtype.kind != "V"


def _compared(values: Block, fields: tuple[str, ...]) -> Iterator[Block]:
    """Yield what values are compared by, the first that differs deciding; NaN and NaT are larger than all others."""
    if fields:
        for name in fields:
            yield from _compared(values[name], values.dtype[name].names or ())
    elif values.dtype.kind == "c":
        yield np.isnan(values.real) * 2 + np.isnan(values.imag)
        yield values.real
        yield values.imag
    else:
        yield values


def _are_smaller(values: Iterable[Block], cuts: Iterable[Block], after: Block) -> Block:
    """Say which values are smaller than their cuts, or equal and ``after`` is true."""
    smaller: Block = np.zeros(after.shape, np.bool_)
    equal: Block = np.ones(after.shape, np.bool_)
    for value, cut in zip(values, cuts, strict=False):
        below, above = value < cut, value > cut
        if value.dtype.kind in "fmM":
            below |= (cut != cut) & (value == value)  # noqa: PLR0124 - only NaN and NaT differ from themselves
            above |= (value != value) & (cut == cut)  # noqa: PLR0124
        smaller |= equal & below
        equal &= ~(below | above)
        if not equal.any():
            break
    return smaller | (equal & after)
