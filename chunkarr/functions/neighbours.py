"""Functions of an element and its neighbours along an axis, made of slices and ufuncs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chunkarr.array import Array, as_node, implements, wrap
from chunkarr.graph import Node
from chunkarr.ops import layout

__all__ = ["cross", "diff", "ediff1d", "trapezoid"]


def _along(ndim: int, axis: int, cut: slice) -> tuple[slice, ...]:
    """Return a key that cuts one axis."""
    return tuple(cut if k == axis else slice(None) for k in range(ndim))


def _joined(parts: list[Array], axis: int) -> Array:
    """Concatenate arrays of one dimensionality, with NumPy's errors."""
    if len({p.shape[:axis] + p.shape[axis + 1 :] for p in parts}) > 1 or len({p.ndim for p in parts}) > 1:
        np.concatenate([np.broadcast_to(np.empty((), bool), p.shape) for p in parts], axis)
    return wrap(layout.concatenate([as_node(p) for p in parts], axis))


@implements(np.diff)
def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Array:
    """Return differences of neighbours along an axis, ``n`` times.

    Parameters
    ----------
    a : array_like
    n : int
        How often.
    axis : int
        The last by default.
    prepend, append : array_like, optional
        Put before and after ``a`` first; scalars stand for one element.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.diff(ca.asarray([1, 4, 9, 16])).tolist()
    [3, 5, 7]
    """
    values = wrap(as_node(a))
    if n == 0:
        return values
    if n < 0:
        raise ValueError(f"order must be non-negative but got {n!r}")
    if values.ndim == 0:
        raise ValueError("diff requires input that is at least one dimensional")
    axis = int(np.lib.array_utils.normalize_axis_index(axis, values.ndim))
    parts = [values]
    if prepend is not None:
        parts.insert(0, _border(prepend, values, axis))
    if append is not None:
        parts.append(_border(append, values, axis))
    if len(parts) > 1:
        values = _joined(parts, axis)
    op = np.not_equal if values.dtype == bool else np.subtract
    for _ in range(n):
        upper, lower = _along(values.ndim, axis, slice(1, None)), _along(values.ndim, axis, slice(None, -1))
        values = op(values[upper], values[lower])  # type: ignore[assignment]
    return values


def _border(border: Any, values: Array, axis: int) -> Array:
    node = as_node(border)
    if node.ndim == 0:
        node = layout.broadcast_to(node, tuple(1 if k == axis else n for k, n in enumerate(values.shape)))
    return wrap(node)


@implements(np.ediff1d)
def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Array:
    """Return differences of neighbours of the flattened array, with values put before and after."""
    node = as_node(ary)
    flat = wrap(layout.reshape(node, (math.prod(node.shape),)))
    result: Any = np.subtract(flat[1:], flat[:-1])
    for name, given in (("to_begin", to_begin), ("to_end", to_end)):
        if given is None:
            continue
        border = as_node(given)
        if not np.can_cast(border.dtype, flat.dtype, casting="same_kind"):
            raise TypeError(f"dtype of `{name}` must be compatible with input `ary` under the `same_kind` rule.")
        line = as_node(wrap(border).reshape(-1).astype(flat.dtype))
        result = _joined([wrap(line), result] if name == "to_begin" else [result, wrap(line)], 0)
    return wrap(as_node(result))


@implements(np.trapezoid)
def trapezoid(y: Any, x: Any = None, dx: float = 1.0, axis: int = -1) -> Array:
    """Integrate along an axis by the trapezoidal rule.

    Examples
    --------
    >>> import chunkarr as ca
    >>> float(ca.trapezoid(ca.asarray([1.0, 2.0, 3.0])))
    4.0
    """
    values = wrap(as_node(y))
    axis = int(np.lib.array_utils.normalize_axis_index(axis, values.ndim))
    steps: Any = dx
    if x is not None:
        places = wrap(as_node(x))
        steps = diff(places, axis=-1 if places.ndim == 1 else axis)
        if places.ndim == 1:
            shape = tuple(steps.shape[0] if k == axis else 1 for k in range(values.ndim))
            steps = wrap(layout.reshape(as_node(steps), shape))
    upper, lower = _along(values.ndim, axis, slice(1, None)), _along(values.ndim, axis, slice(None, -1))
    result: Array = np.add.reduce(steps * (values[upper] + values[lower]) / 2.0, axis=axis)
    return result


@implements(np.cross)
def cross(a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> Array:
    """Return the cross product of vectors of three elements along an axis.

    Raises
    ------
    ValueError
        If the vectors have another length.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.cross(ca.asarray([1, 0, 0]), [0, 1, 0]).tolist()
    [0, 0, 1]
    """
    if axis is not None:
        axisa = axisb = axisc = axis
    one, other = as_node(a), as_node(b)
    if one.ndim < 1 or other.ndim < 1:
        raise ValueError("At least one array has zero dimension")
    u, v = wrap(_last(one, axisa, "axisa")), wrap(_last(other, axisb, "axisb"))
    if u.shape[-1] != 3 or v.shape[-1] != 3:
        raise ValueError(f"vectors of a cross product have 3 elements, these have {u.shape[-1]} and {v.shape[-1]}")
    dtype = np.promote_types(u.dtype, v.dtype)
    (u0, u1, u2), (v0, v1, v2) = ([w[..., k].astype(dtype) for k in range(3)] for w in (u, v))
    parts = [u1 * v2 - u2 * v1, u2 * v0 - u0 * v2, u0 * v1 - u1 * v0]
    joined = _joined([p[..., None] for p in parts], parts[0].ndim)
    place = np.lib.array_utils.normalize_axis_index(axisc, joined.ndim, "axisc")
    axes = list(range(joined.ndim - 1))
    axes.insert(place, joined.ndim - 1)
    return wrap(layout.transpose(as_node(joined), tuple(axes)))


def _last(node: Node, axis: int, name: str) -> Node:
    """Move an axis to the end."""
    place = np.lib.array_utils.normalize_axis_index(axis, node.ndim, name)
    return layout.transpose(node, (*(k for k in range(node.ndim) if k != place), place))
