"""Sorting: NumPy's names, arrays of any size."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from chunkarr.array import implements, wrap
from chunkarr.array.sorting import sorted_node
from chunkarr.io import asarray, open  # noqa: A004 - the package's own word

__all__ = ["argsort", "sort"]


@implements(np.sort)
def sort(
    a: Any, axis: int | None = -1, kind: str | None = None, order: Any = None, *, stable: bool | None = None,
    descending: bool | None = None,
) -> Any:  # fmt: skip
    """Return a sorted copy, within the memory budget.

    A line that does not fit a task is sorted in runs, through temporary files of the array's size; what is then
    read of the result, all or a slice, is merged from them.

    Parameters
    ----------
    a : array_like or path
        Any size.
    axis : int, optional
        None sorts the flattened array.
    kind : {"quicksort", "mergesort", "heapsort", "stable"}, optional
        As NumPy's: what matters is whether it is stable.
    order : str or sequence of str, optional
        Fields of records to compare first, second, ...; the others follow in their order.
    stable : bool, optional
        Whether equal elements keep their order.
    descending : bool, optional
        The largest first, NaN last all the same, as in NumPy 2.5; not of records, and not together with ``kind``.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.sort(ca.asarray([3, 1, 2])).tolist(), ca.sort(ca.asarray([3, 1, 2]), descending=True).tolist()
    ([1, 2, 3], [3, 2, 1])
    """
    array = open(a) if isinstance(a, str | os.PathLike) else asarray(a)
    return wrap(sorted_node(array, axis, kind, order, stable, descending))


@implements(np.argsort)
def argsort(
    a: Any, axis: int | None = -1, kind: str | None = None, order: Any = None, *, stable: bool | None = None,
    descending: bool | None = None,
) -> Any:  # fmt: skip
    """Return the indices that would sort an array, within the memory budget.

    Parameters
    ----------
    a : array_like
        Any size.
    axis, kind, order, stable, descending
        As of `sort`.

    Examples
    --------
    >>> import chunkarr as ca
    >>> a = ca.asarray([[3, 1], [1, 2], [2, 0]])
    >>> a[a[:, 1].argsort()].tolist()
    [[2, 0], [3, 1], [1, 2]]
    """
    return asarray(a).argsort(axis, kind, order, stable=stable, descending=descending)
