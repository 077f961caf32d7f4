"""The distinct elements of an array: NumPy's ``unique`` and its kin, for arrays larger than memory.

There are three ways. A small array is NumPy's. Where distinct values are few, one pass finds them block by block.
Else the array is sorted, in scratch, and a value is distinct where it differs from its neighbour.
"""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib import _arraysetops_impl as numpys

from chunkarr import engine
from chunkarr.array import as_node, implements, wrap
from chunkarr.array.picking import take_where
from chunkarr.graph import Node
from chunkarr.io import asarray
from chunkarr.ops import elementwise, layout, sorting
from chunkarr.ops.distinct import Distinct, TooManyError
from chunkarr.ops.reduce import reduce
from chunkarr.ops.searching import located
from chunkarr.ops.sources import arange, constant, full
from chunkarr.ops.tables import Table
from chunkarr.settings import budget

if TYPE_CHECKING:
    from chunkarr.ops.distinct import Run

__all__ = ["unique", "unique_all", "unique_counts", "unique_inverse", "unique_values"]

SMALL = 8 << 20  # bytes of an array up to which NumPy is called, if the budget allows
TABLE = 2  # part of the budget that a table of all integers between the least and the largest may take
HELD = 32  # part of the budget that distinct values may take


@implements(np.unique)
def unique(
    ar: Any,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
    *,
    equal_nan: bool = True,
    sorted: bool = True,  # noqa: A002 - NumPy's name
) -> Any:
    """Return the distinct elements, sorted; they are found now.

    Parameters
    ----------
    ar : array_like
        Any size. Few distinct values take one pass; many a sort in scratch.
    return_index, return_inverse, return_counts : bool
        Whether to return the index of the first of each, where each element of ``ar`` lies among the distinct
        ones, and how many there are of each.
    axis : int, optional
        Distinct slices along an axis, compared element by element; None: distinct elements.
    equal_nan : bool
        Whether NaN are one value.
    sorted : bool
        They are in any case.

    Examples
    --------
    >>> import chunkarr as ca
    >>> values, counts = ca.unique(ca.asarray([3, 1, 3]), return_counts=True)
    >>> values.tolist(), counts.tolist()
    ([1, 3], [1, 2])
    """
    node = as_node(ar)
    wanted = (return_index, return_inverse, return_counts)
    nbytes = math.prod(node.shape) * node.dtype.itemsize
    if nbytes <= min(SMALL, budget() // 16) or 0 in node.shape or not node.ndim:
        (values,) = engine.compute([node])
        answer: Any = np.unique(values, *wanted, axis, equal_nan=equal_nan, sorted=sorted)  # type: ignore[call-overload]
        return tuple(asarray(x) for x in answer) if isinstance(answer, tuple) else asarray(answer)
    if axis is not None:
        axis = int(np.lib.array_utils.normalize_axis_index(axis, node.ndim))
    if axis is None or node.ndim == 1:
        return _delivered(_unique(node, wanted, equal_nan=equal_nan), node.shape)
    return _delivered(*_unique_slices(node, axis, wanted, equal_nan=equal_nan))


def _delivered(found: list[Node | None], shape: tuple[int, ...]) -> Any:
    """Return what was asked for: alone, or as a tuple; the inverse has the array's shape."""
    values, index, inverse, counts = found
    if inverse is not None:
        inverse = layout.reshape(inverse, shape)
    results = tuple(wrap(n) for n in (values, index, inverse, counts) if n is not None)
    return results[0] if len(results) == 1 else results


def _unique_slices(
    node: Node, axis: int, wanted: tuple[bool, bool, bool], *, equal_nan: bool
) -> tuple[list[Node | None], tuple[int, ...]]:
    """Find distinct slices along an axis: seen as records, whose fields are compared one after another."""
    order = (axis, *(k for k in range(node.ndim) if k != axis))
    front = layout.transpose(node, order)
    width = math.prod(front.shape[1:])
    records = np.dtype([(f"f{k}", node.dtype) for k in range(width)])
    rows = elementwise.copied(layout.reshape(front, (front.shape[0], width)))
    seen = layout.reshape(layout.reinterpret(rows, records), (front.shape[0],))
    values, *rest = _unique(seen, wanted, equal_nan=equal_nan)
    assert values is not None
    back = layout.reinterpret(layout.reshape(elementwise.copied(values), (*values.shape, 1)), node.dtype)
    shaped = layout.reshape(back, (values.shape[0], *front.shape[1:]))
    return [layout.transpose(shaped, tuple(int(k) for k in np.argsort(order))), *rest], (front.shape[0],)


def _unique(node: Node, wanted: tuple[bool, bool, bool], *, equal_nan: bool) -> list[Node | None]:
    """Return distinct values, first flat indices, inverse (flat) and counts, None for what is not wanted."""
    index, inverse, counts = wanted
    found = _by_blocks(node, index=index, counts=counts, equal_nan=equal_nan)
    if found is None:
        return _by_table(node, wanted) or _by_sorting(node, wanted, equal_nan=equal_nan)
    values, first, number = found
    if inverse and not _is_found(values, equal_nan=equal_nan):
        return _by_sorting(node, wanted, equal_nan=equal_nan)
    flat = layout.reshape(node, (math.prod(node.shape),))
    return [
        constant(values),
        None if first is None else constant(first),
        located(flat, constant(values)) if inverse else None,
        None if number is None else constant(number),
    ]


def _by_blocks(node: Node, *, index: bool, counts: bool, equal_nan: bool) -> Run | None:
    """Find distinct values block by block; None if they are too many.

    Nothing of what was held is left then: another way would hold it besides its own, by the frames of the error, too.
    """
    limit = budget() // HELD
    visitor = Distinct(node, index=index, counts=counts, equal_nan=equal_nan, limit=limit)
    with contextlib.suppress(TooManyError):
        engine.visit(node, visitor, Distinct.held_bytes(limit))
        return visitor.found()
    return None


def _by_table(node: Node, wanted: tuple[bool, bool, bool]) -> list[Node | None] | None:
    """Count all integers between the least and the largest, if these are near; None if another way must be taken."""
    index, inverse, counts = wanted
    if index or inverse or node.dtype.kind not in "iu":
        return None
    low, high = (int(x) for x in engine.compute([reduce(node, "minimum"), reduce(node, "maximum")]))
    held = Table.held_bytes(node.dtype, low, high)
    if held > budget() // TABLE or not -(1 << 62) < low <= high < 1 << 62:
        return None
    visitor = Table(node, low, high)
    engine.visit(node, visitor, held)
    values, number = visitor.found()
    return [constant(values), None, None, constant(number) if counts else None]


def _by_sorting(node: Node, wanted: tuple[bool, bool, bool], *, equal_nan: bool) -> list[Node | None]:
    """Sort, and compare neighbours."""
    index, inverse, counts = wanted
    flat = layout.reshape(node, (math.prod(node.shape),))
    ordered = engine.settle(sorting.sort(flat, 0))
    compare = _differ_unless_nan if equal_nan else _differ
    upper, lower = (as_node(wrap(ordered)[cut]) for cut in (slice(1, None), slice(None, -1)))
    differs = elementwise.map_tiles(compare, (upper, lower), np.dtype(bool))
    new = layout.concatenate([full((1,), np.True_), differs], 0)
    size = flat.shape[0]
    taken = [ordered]
    order: Node | None = None
    if index or inverse:
        order = engine.settle(sorting.argsort(flat, 0, stable=True))
        if index:
            taken.append(order)
    if counts:
        taken.append(arange(0, size, 1))
    found = iter(take_where(taken, new))
    values = next(found)
    first = next(found) if index else None
    number = None
    if counts:
        starts = wrap(engine.settle(next(found)))
        ends = layout.concatenate([as_node(starts[1:]), constant(np.array([size]))], 0)
        number = as_node(wrap(ends) - starts)
    back = None
    if inverse:
        assert order is not None
        rank = engine.settle(as_node(np.cumsum(wrap(new)) - 1))
        back = as_node(wrap(rank)[wrap(sorting.argsort(order, 0))])
    return [values, first, back, number]


def _differ(x: Any, y: Any, out: Any) -> None:
    out[...] = x != y


def _differ_unless_nan(x: Any, y: Any, out: Any) -> None:
    out[...] = x != y
    if x.dtype.kind in "cfmM":
        out &= ~(np.isnan(x) & np.isnan(y))


def _is_found(values: np.ndarray[Any, Any], *, equal_nan: bool) -> bool:
    """Say whether looking an element up among ``values`` finds where it is.

    It does not where NaN are distinct, or complex ones that differ in the other part are one value, nor in records
    with NaN, nor of arrays: NumPy sorts those by their bytes as they lie, and looks them up in native order.
    """
    if values.dtype.kind == "c" or (values.dtype.kind in "fmM" and not equal_nan):
        return not values.size or not np.isnan(values[-1])
    if values.dtype.names is None:
        return True
    plain = all(kind.subdtype is None and kind.names is None for kind, *_ in (values.dtype.fields or {}).values())
    return plain and bool((values == values).all())  # noqa: PLR0124 - NaN equal nothing


@implements(np.unique_all)
def unique_all(x: Any) -> Any:
    """Return distinct values, their first indices, the inverse and the counts; NaN are distinct.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.unique_all(ca.asarray([5, 5])).counts.tolist()
    [2]
    """
    return numpys.UniqueAllResult(
        *unique(x, return_index=True, return_inverse=True, return_counts=True, equal_nan=False)
    )


@implements(np.unique_counts)
def unique_counts(x: Any) -> Any:
    """Return distinct values and their counts; NaN are distinct.

    Examples
    --------
    >>> import chunkarr as ca
    >>> [r.tolist() for r in ca.unique_counts(ca.asarray([5, 5]))]
    [[5], [2]]
    """
    return numpys.UniqueCountsResult(*unique(x, return_counts=True, equal_nan=False))


@implements(np.unique_inverse)
def unique_inverse(x: Any) -> Any:
    """Return distinct values and where each element lies among them; NaN are distinct.

    Examples
    --------
    >>> import chunkarr as ca
    >>> [r.tolist() for r in ca.unique_inverse(ca.asarray([5, 5]))]
    [[5], [0, 0]]
    """
    return numpys.UniqueInverseResult(*unique(x, return_inverse=True, equal_nan=False))


@implements(np.unique_values)
def unique_values(x: Any) -> Any:
    """Return distinct values, sorted; NaN are distinct.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.unique_values(ca.asarray([5, 5])).tolist()
    [5]
    """
    return unique(x, equal_nan=False)
