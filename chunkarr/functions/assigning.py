"""NumPy's functions that change an array, on stored arrays: each is one transaction."""

from __future__ import annotations

from typing import Any

import numpy as np

from chunkarr.array import Array, implements
from chunkarr.array.assigning import advanced_of, scattered, seen_by, set_item, set_view
from chunkarr.array.drafts import Draft
from chunkarr.array.expression import Expression, as_node
from chunkarr.array.outputs import check_castable, check_out, fill
from chunkarr.array.values import as_values, cast
from chunkarr.errors import UnsupportedError
from chunkarr.graph import Node
from chunkarr.ops import elementwise
from chunkarr.ops.assign import Everywhere, Scattered
from chunkarr.ops.editing import cycled
from chunkarr.selection import is_basic

__all__ = ["copyto", "place", "put", "putmask"]


def _numpys(function: Any, target: Any, *args: Any, **options: Any) -> Any:
    """Call NumPy's function on an ndarray, Arrays among the arguments computed."""
    known = [a.compute() if isinstance(a, Expression) else a for a in args]
    given = {k: v.compute() if isinstance(v, Expression) else v for k, v in options.items()}
    return function(target, *known, **given)


def _computed(values: Any) -> np.ndarray[Any, Any]:
    return values.compute() if isinstance(values, Expression) else np.asarray(values)


@implements(np.copyto)
def copyto(dst: Any, src: Any, casting: Any = "same_kind", where: Any = True) -> None:
    """Write the values of ``src``, broadcast, into a stored array, where ``where`` is true.

    Parameters
    ----------
    dst : Array or ndarray
        A stored array opened "r+", or a view of one.
    src : array_like
        May be larger than memory.
    casting : str
        What may be cast to the dtype of ``dst``, as in NumPy.
    where : array_like of bool
        Broadcasts to ``dst``.

    Examples
    --------
    >>> import tempfile, chunkarr as ca
    >>> with tempfile.TemporaryDirectory() as d:
    ...     a = ca.create(d + "/x.npy", 4, "i4")
    ...     ca.copyto(a, ca.arange(4), where=ca.arange(4) > 1)
    ...     print(a)
    [0 0 2 3]
    """
    if not isinstance(dst, Expression):
        _numpys(np.copyto, dst, src, casting=casting, where=where)
        return
    check_out(dst)
    if not isinstance(src, Expression | np.ndarray):
        cell = np.asarray(src)
        if not cell.ndim:
            cell = np.zeros(1, dst.dtype)
            np.copyto(cell, src, casting=casting)  # Python's scalars have no dtype of their own
            cell = cell.reshape(())
        src = cell
    mask = None if where is True else elementwise.astype(as_node(where), bool, casting="safe")
    fill(dst, as_node(src), casting, mask)


@implements(np.put)
def put(a: Any, ind: Any, v: Any, mode: str = "raise") -> None:
    """Set elements by their flat indices; values are repeated as often as needed.

    Parameters
    ----------
    a : Array or ndarray
        A stored array opened "r+", or a view of one.
    ind : array_like of int
        Indices into the flattened array.
    v : array_like
        The values.
    mode : "raise", "wrap" or "clip"
        What happens to indices out of bounds.
    """
    if not isinstance(a, Expression):
        _numpys(np.put, a, ind, v, mode)
        return
    check_out(a)
    flat = _flat_indices(_computed(ind) if isinstance(ind, Expression) else ind, mode)
    values = _cyclic(v, a.dtype, flat.size)
    if flat.size and not a.size:
        _inside(flat, 0, mode)  # raises, whatever the values
    if not flat.size or not values.size:
        return
    flat = _inside(flat, a.size, mode)
    target = a if a.ndim else a[None]  # type: ignore[index]
    advanced = advanced_of(np.unravel_index(flat, target.shape), target.shape)
    set_view(target, scattered(advanced, np.resize(values, flat.size)))


def _flat_indices(ind: Any, mode: str) -> np.ndarray[Any, Any]:
    """Return flat indices as an array, with NumPy's errors."""
    if mode not in {"raise", "wrap", "clip"}:
        np.put(np.empty(1), [0], 0, mode=mode)  # type: ignore[arg-type]  # NumPy's own refusal
    if isinstance(ind, np.ndarray):
        check_castable(ind.dtype, np.dtype(np.intp), "safe")
    return np.array(ind, dtype=np.intp).reshape(-1)


def _inside(flat: np.ndarray[Any, Any], size: int, mode: str) -> np.ndarray[Any, Any]:
    """Return the indices that are meant, none of them negative, with NumPy's errors."""
    if not size:
        raise IndexError("cannot replace elements of an empty array")
    if mode == "wrap":
        return flat % size
    if mode == "clip":
        return flat.clip(0, size - 1)
    for index in (flat.min(), flat.max()):
        if not -size <= index < size:
            raise IndexError(f"index {index} is out of bounds for axis 0 with size {size}")
    return np.where(flat < 0, flat + size, flat)


def _check_safe(values: Any, dtype: np.dtype[Any]) -> None:
    """Raise NumPy's TypeError for arrays whose values ``dtype`` may not hold; scalars and lists are judged by value."""
    if isinstance(values, Expression | np.ndarray):
        check_castable(values.dtype, dtype, "safe")


def _cyclic(values: Any, dtype: np.dtype[Any], count: int) -> np.ndarray[Any, Any]:
    """Return the first ``count`` of the values, flattened and cast, all of them if there are fewer."""
    if isinstance(values, Expression):
        flat: Any = values.reshape(-1) if values.size else values  # type: ignore[attr-defined]
        values = flat[:count].compute()
    given = values if isinstance(values, np.ndarray) else np.asarray(values, dtype)
    result: np.ndarray[Any, Any] = given.reshape(-1)[:count].astype(dtype)
    return result


def _same_size(name: str, a: Any, mask: Any) -> Any:
    """Return a mask as booleans of the array's shape."""
    mask = mask if isinstance(mask, Expression) else np.asarray(mask)
    if mask.size != a.size:
        raise ValueError(f"{name}: mask and data must be the same size")
    return mask.reshape(a.shape).astype(bool)


@implements(np.putmask)
def putmask(a: Any, mask: Any, values: Any) -> None:
    """Set the elements where a mask is true to those of ``values`` at the same flat index, repeated if it is shorter.

    Parameters
    ----------
    a : Array or ndarray
        A stored array opened "r+", or a view of one.
    mask : array_like of bool
        Of the same size.
    values : array_like
        Of the same shape: may be larger than memory. Else what fits it.
    """
    if not isinstance(a, Expression):
        _numpys(np.putmask, a, mask, values)
        return
    check_out(a)
    where = _same_size("putmask", a, mask)
    _check_safe(values, a.dtype)
    given: Any = as_values(values, a.dtype, None)
    if not given.size or not a.size:
        return
    node = cast(as_node(given), a.dtype)
    if node.shape != a.shape and given.size > 1:
        node = cycled(node, a.shape)
    fill(a, node if given.size > 1 else _first(node), "unsafe", as_node(where))


def _first(node: Node) -> Node:
    """Return the only element as an array without axes."""
    return as_node(Array(node).reshape(()))


@implements(np.place)
def place(arr: Any, mask: Any, vals: Any) -> None:
    """Set the elements where a mask is true to ``vals``, one after another, repeated as often as needed.

    Parameters
    ----------
    arr : Array or ndarray
        A stored array opened "r+", or a view of one.
    mask : array_like of bool
        Of the same size. Its true elements are counted, in memory, unless there is one value.
    vals : array_like
        As many as are needed are read.
    """
    if not isinstance(arr, Expression):
        _numpys(np.place, arr, mask, vals)
        return
    check_out(arr)
    where = _same_size("place", arr, mask)
    _check_safe(vals, arr.dtype)
    known = vals if isinstance(vals, Expression) else np.asarray(vals)
    if known.size == 1:
        set_item(arr, where, known.reshape(()))  # type: ignore[union-attr]
        return
    found = _computed(where)
    count = int(np.count_nonzero(found))
    values = _cyclic(vals, arr.dtype, count)
    if not count:
        return
    if not values.size:
        raise ValueError("Cannot insert from an empty array!")
    set_item(arr, found, np.resize(values, count))


@implements(np.ufunc.at)
def at(ufunc: np.ufunc, a: Any, indices: Any, *b: Any) -> None:
    """Do what ``ufunc.at`` does: unbuffered, so that equal indices count as often as they come."""
    if not isinstance(a, Expression):
        _numpys(ufunc.at, a, indices, *b)
        return
    check_out(a)
    operands = [x if isinstance(x, Expression) else np.asarray(x) for x in b]
    empty = [np.empty(0, x.dtype) for x in operands]
    ufunc.at(np.empty(1, a.dtype), np.empty(0, np.intp), *empty)  # NumPy's refusals
    if isinstance(indices, str):
        raise UnsupportedError(f"{ufunc.__name__}.at: index a field first: {ufunc.__name__}.at(a[{indices!r}], ...)")
    if is_basic(indices):
        view: Any = a[indices]  # type: ignore[index]

        def combine(draft: Draft | None, seen: Node) -> Any:
            (node,) = elementwise.call(ufunc, [seen, *(_operand(draft, x) for x in operands)])
            if node.shape != seen.shape:
                raise ValueError("array is not broadcastable to correct shape")
            node = elementwise.astype(node, seen.dtype)
            return Everywhere(node.shape), (node,)

        set_view(view, combine)
        return
    advanced = advanced_of(indices, a.shape)

    def scatter(draft: Draft | None, seen: Node) -> Any:
        del seen
        values = [_operand(draft, x) for x in operands]
        for node in values:
            if np.broadcast_shapes(node.shape, advanced.shape) != advanced.shape:
                raise ValueError("array is not broadcastable to correct shape")
        return Scattered(advanced, values[0].shape if values else None, ufunc), values

    set_view(a, scatter)


def _operand(draft: Draft | None, value: Any) -> Node:
    """Return the node of an operand as the draft sees it."""
    return seen_by(draft, value) if isinstance(value, Expression) else as_node(value)
