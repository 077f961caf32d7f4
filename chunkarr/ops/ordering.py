"""What is smaller: how the values of one dtype are put in order, alone or with their positions.

Values are compared as NumPy compares them: NaN and NaT are larger than all others, complex numbers go by their real
parts first, records by their fields. Permutations are always stable, because tasks that sort parts of the same equal
values must agree on who goes where.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

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
        if self.fields:
            values[...] = values.take(self.permutation(values))
        else:
            values.sort(kind="stable" if self.stable else None)

    def permutation(self, values: Block) -> Block:
        """Return the positions of values of shape (N,) in ascending order, equal ones as they come."""
        if not self.fields:
            return _positions(values)
        if any(_is_nested(values.dtype[name]) for name in self.fields):
            return np.argsort(values, order=list(self.fields), kind="stable")
        first, *rest = (
            np.ascontiguousarray(values[name], values.dtype[name].newbyteorder("=")) for name in self.fields
        )
        if first.dtype.kind not in SIMPLE:
            return np.lexsort((*reversed(rest), first))
        order = _positions(first)
        tied = _tied(first[order]) if rest else np.zeros(0, bool)
        if tied.any():
            at = np.flatnonzero(np.append(tied, False) | np.append(False, tied))
            these = order[at]
            order[at] = these[np.lexsort((*(key[these] for key in reversed(rest)), _groups(tied, at)))]
        return order

    def search(self, values: Block, value: Block, *, after: bool) -> int:
        """Return where ``value``, of shape (1,), goes in sorted ``values``: before its equals or after them."""
        if self.dtype.kind == "V":
            both = np.concatenate((values, value) if after else (value, values))
            return int(np.flatnonzero(self.permutation(both) == (len(values) if after else 0))[0])
        return int(np.searchsorted(values, value, "right" if after else "left")[0])

    def sort_bytes(self, count: int) -> int:
        """Return what sorting ``count`` values in place holds besides."""
        if self.fields:
            return self.permutation_bytes(count) + count * self.dtype.itemsize
        return count * self.dtype.itemsize // 2 if self.stable or self.dtype.kind in "cSUV" else 0

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


def _positions(values: Block) -> Block:
    """Return the stable permutation that sorts simple values: by the fastest sort, ties put right afterwards."""
    if values.dtype.kind not in SIMPLE or values.dtype.itemsize < 4:
        return np.argsort(values, kind="stable")
    order = np.argsort(values)
    tied = _tied(values[order])
    number = int(np.count_nonzero(tied))
    if number > len(values) // 8:
        del order, tied
        return np.argsort(values, kind="stable")
    if number:
        at = np.flatnonzero(np.append(tied, False) | np.append(False, tied))
        these = order[at]
        order[at] = these[np.lexsort((these, _groups(tied, at)))]
    return order


def _groups(tied: Block, at: Block) -> Block:
    """Return for positions ``at`` the number of the group of equal values that each is in."""
    return np.cumsum(np.append(True, ~tied), dtype=np.int64)[at]


def _tied(ordered: Block) -> Block:
    """Say for each sorted value but the last whether the next one is its equal."""
    one, other = ordered[:-1], ordered[1:]
    tied: Block = one == other
    if ordered.dtype.kind in "fmM":
        nan = np.isnat if ordered.dtype.kind in "mM" else np.isnan
        tied |= nan(one) & nan(other)
    return tied


def _is_nested(dtype: np.dtype[Any]) -> bool:
    return dtype.subdtype is not None or dtype.kind == "V"
