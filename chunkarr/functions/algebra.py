"""Products of matrices and vectors: NumPy's names, streamed in tiles.

All are `numpy.matmul` of transposed and reshaped arrays; slices of a product compute only what they need.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chunkarr.array import Array, as_node, implements, wrap
from chunkarr.array.outputs import deliver
from chunkarr.graph import Node
from chunkarr.ops import contract, elementwise, layout

__all__ = [
    "diagonal", "dot", "inner", "matmul", "matrix_transpose", "outer", "tensordot", "trace", "vdot", "vecdot",
]  # fmt: skip


def _cast(node: Node, dtype: Any) -> Node:
    return node if dtype is None else elementwise.astype(node, np.dtype(dtype), "same_kind")


def _flat(node: Node) -> Node:
    return layout.reshape(node, (math.prod(node.shape),))


def _conjugate(node: Node) -> Node:
    return elementwise.call(np.conjugate, (node,))[0] if node.dtype.kind == "c" else node


@implements(np.matmul)
def matmul(x1: Any, x2: Any, /, out: Any = None, *, dtype: Any = None, casting: str = "same_kind") -> Any:
    """Return the matrix product, of stacks of matrices too.

    Parameters
    ----------
    x1 : array_like, shape (..., M, K) or (K,)
    x2 : array_like, shape (..., K, N) or (K,)
    out : ndarray, optional
        Receives the values, at once.
    dtype : dtype, optional
        To compute in.
    casting : str
        Only "same_kind".

    Raises
    ------
    ValueError
        If an operand has no axes or the sizes do not fit.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.matmul(ca.arange(4).reshape(2, 2), [[1, 0], [0, 2]]).tolist()
    [[0, 2], [2, 6]]
    """
    one, other = _cast(as_node(x1), dtype), _cast(as_node(x2), dtype)
    del casting
    return deliver(wrap(contract.matmul(one, other)), out)


@implements(np.dot)
def dot(a: Any, b: Any, out: Any = None) -> Any:
    """Return the dot product: over the last axis of ``a`` and the last but one of ``b``.

    Parameters
    ----------
    a, b : array_like
        Scalars multiply; one axis each give their inner product; two axes each the matrix product.
    out : ndarray, optional
        Receives the values, at once.

    Examples
    --------
    >>> import chunkarr as ca
    >>> int(ca.dot(ca.asarray([1, 2, 3]), [4, 5, 6]))
    32
    """
    one, other = as_node(a), as_node(b)
    if one.ndim == 0 or other.ndim == 0:
        return deliver(wrap(elementwise.call(np.multiply, (one, other))[0]), out)
    axis = max(0, other.ndim - 2)
    if one.shape[-1] != other.shape[axis]:
        raise _not_aligned(one, other, axis)
    return deliver(_contracted(one, other, (one.ndim - 1,), (axis,)), out)


def _not_aligned(one: Node, other: Node, axis: int) -> ValueError:
    left, right = (str(n.shape).replace(" ", "") for n in (one, other))
    last = one.ndim - 1
    return ValueError(
        f"shapes {left} and {right} not aligned: {one.shape[last]} (dim {last}) != {other.shape[axis]} (dim {axis})"
    )


@implements(np.vdot)
def vdot(a: Any, b: Any, /) -> Array:
    """Return the dot product of the flattened arrays, the first one conjugated."""
    one, other = _conjugate(_flat(as_node(a))), _flat(as_node(b))
    if one.shape != other.shape:
        raise _not_aligned(one, other, 0)
    return wrap(contract.matmul(one, other))


@implements(np.inner)
def inner(a: Any, b: Any, /) -> Array:
    """Return the sum of products over the last axes of both."""
    one, other = as_node(a), as_node(b)
    if one.ndim == 0 or other.ndim == 0:
        return wrap(elementwise.call(np.multiply, (one, other))[0])
    if one.shape[-1] != other.shape[-1]:
        raise _not_aligned(one, other, other.ndim - 1)
    return _contracted(one, other, (one.ndim - 1,), (other.ndim - 1,))


@implements(np.outer)
def outer(a: Any, b: Any, out: Any = None) -> Any:
    """Return the products of all pairs of the flattened arrays, shape (M, N)."""
    one, other = wrap(_flat(as_node(a))), wrap(_flat(as_node(b)))
    result: Any = np.multiply(one[:, None], other[None, :])
    return deliver(result, out)


@implements(np.tensordot)
def tensordot(a: Any, b: Any, axes: Any = 2) -> Array:
    """Return the sum of products over pairs of axes.

    Parameters
    ----------
    a, b : array_like
    axes : int or pair of (ints or sequences of ints)
        So many last axes of ``a`` and first axes of ``b``, or the axes of each.

    Raises
    ------
    ValueError
        If paired axes differ in size.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.tensordot(ca.arange(6).reshape(2, 3), [1, 1, 1], 1).tolist()
    [3, 12]
    """
    one, other = as_node(a), as_node(b)
    left, right = _pairs(axes)
    if len(left) != len(right):
        raise ValueError("shape-mismatch for sum")
    if any(one.shape[i] != other.shape[k] for i, k in zip(left, right, strict=True)):  # IndexError as NumPy's
        raise ValueError("shape-mismatch for sum")
    plain = tuple(k % one.ndim for k in left), tuple(k % other.ndim for k in right)
    if any(len(set(axes)) != len(axes) for axes in plain):
        raise ValueError("axes of tensordot are repeated")
    return _contracted(one, other, *plain)


def _pairs(axes: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the axes of both arrays, as they were given."""
    try:
        left, right = axes
    except TypeError:
        return tuple(range(-axes, 0)), tuple(range(axes))
    pair = tuple((k,) if isinstance(k, int | np.integer) else tuple(k) for k in (left, right))
    return pair[0], pair[1]


def _contracted(one: Node, other: Node, left: tuple[int, ...], right: tuple[int, ...]) -> Array:
    """Sum products over paired axes: one product of matrices (M, K) and (K, N)."""
    rows = tuple(k for k in range(one.ndim) if k not in left)
    columns = tuple(k for k in range(other.ndim) if k not in right)
    lead, trail = tuple(one.shape[k] for k in rows), tuple(other.shape[k] for k in columns)
    depth = math.prod(one.shape[k] for k in left)
    first = layout.reshape(layout.transpose(one, rows + left), (math.prod(lead), depth))
    second = layout.reshape(layout.transpose(other, right + columns), (depth, math.prod(trail)))
    return wrap(layout.reshape(contract.matmul(first, second), lead + trail))


@implements(np.vecdot)
def vecdot(x1: Any, x2: Any, /, out: Any = None, *, axis: int = -1, dtype: Any = None) -> Any:
    """Return the dot products of vectors along an axis, the first ones conjugated.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.vecdot(ca.asarray([[1, 2], [3, 4]]), [1, 1]).tolist()
    [3, 7]
    """
    one, other = _cast(as_node(x1), dtype), _cast(as_node(x2), dtype)
    if one.ndim == 0 or other.ndim == 0:
        np.vecdot(np.zeros((1,) * one.ndim), np.zeros((1,) * other.ndim))  # NumPy refuses in its own words
    u, v = _conjugate(_last(one, axis)), _last(other, axis)
    if u.shape[-1] != v.shape[-1]:
        np.vecdot(*(np.broadcast_to(np.zeros(()), n.shape[-1:]) for n in (u, v)))
    row = layout.reshape(u, (*u.shape[:-1], 1, u.shape[-1]))
    column = layout.reshape(v, (*v.shape, 1))
    return deliver(wrap(contract.matmul(row, column))[..., 0, 0], out)


def _last(node: Node, axis: int) -> Node:
    """Move an axis to the end."""
    place = np.lib.array_utils.normalize_axis_index(axis, node.ndim)
    return layout.transpose(node, (*(k for k in range(node.ndim) if k != place), place))


@implements(np.matrix_transpose)
def matrix_transpose(x: Any, /) -> Array:
    """Return ``x`` with its last two axes exchanged."""
    node = as_node(x)
    if node.ndim < 2:
        raise ValueError(f"Input array must be at least 2-dimensional, but it is {node.ndim}")
    return wrap(layout.transpose(node, (*range(node.ndim - 2), node.ndim - 1, node.ndim - 2)))


@implements(np.diagonal)
def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Array:
    """Return the diagonal of two axes as the last axis.

    Parameters
    ----------
    a : array_like
        Of two axes or more.
    offset : int
        Above (positive) or below the main diagonal.
    axis1, axis2 : int
        The axes of the matrices.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.diagonal(ca.arange(9).reshape(3, 3), 1).tolist()
    [1, 5]
    """
    node = as_node(a)
    if node.ndim < 2:
        raise ValueError("diag requires an array of at least two dimensions")
    one = np.lib.array_utils.normalize_axis_index(axis1, node.ndim, "axis1")
    other = np.lib.array_utils.normalize_axis_index(axis2, node.ndim, "axis2")
    if one == other:
        raise ValueError("axis1 and axis2 cannot be the same")
    rest = tuple(k for k in range(node.ndim) if k not in (one, other))
    turned = layout.transpose(node, (*rest, one, other))
    rows, columns = turned.shape[-2:]
    length = max(0, min(rows + min(offset, 0), columns - max(offset, 0)))
    flat = wrap(layout.reshape(turned, (*turned.shape[:-2], rows * columns)))
    start = offset if offset >= 0 else -offset * columns
    return flat[..., start : start + length * (columns + 1) : columns + 1][..., :length]


@implements(np.trace)
def trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: Any = None) -> Any:
    """Return the sum of the diagonal; parameters as of `diagonal`."""
    return deliver(np.add.reduce(diagonal(a, offset, axis1, axis2), axis=-1, dtype=dtype), out)
