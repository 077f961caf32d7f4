"""Shapes and axes: nothing is computed, nothing is copied."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from chunkarr.array import Array, implements, wrap
from chunkarr.array.expression import phantom
from chunkarr.errors import UnsupportedError
from chunkarr.io import asarray
from chunkarr.ops import layout

__all__ = [
    "astype",
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "broadcast_arrays",
    "broadcast_to",
    "copy",
    "expand_dims",
    "flip",
    "fliplr",
    "flipud",
    "moveaxis",
    "permute_dims",
    "ravel",
    "reshape",
    "roll",
    "rollaxis",
    "rot90",
    "squeeze",
    "swapaxes",
    "transpose",
]


@implements(np.reshape)
def reshape(a: Any, /, shape: Any, order: str = "C", *, copy: bool | None = None) -> Array:
    """Return the elements of ``a``, in C order, under another shape of the same size; one -1 is worked out.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.reshape(ca.arange(6), (2, -1)).shape
    (2, 3)
    """
    return asarray(a).reshape(shape, order=order, copy=copy)


@implements(np.ravel)
def ravel(a: Any, order: str = "C") -> Array:
    """Return the elements of ``a``, in C order, along one axis.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.ravel(ca.zeros((2, 3))).shape
    (6,)
    """
    return asarray(a).ravel(order)


@implements(np.transpose)
def transpose(a: Any, axes: Any = None) -> Array:
    """Return ``a`` with its axes in the given order, reversed if there is none.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.transpose(ca.zeros((2, 3, 4)), (1, 0, -1)).shape
    (3, 2, 4)
    """
    return asarray(a).transpose(axes)


permute_dims = transpose  # the array API standard's name, as in NumPy


@implements(np.swapaxes)
def swapaxes(a: Any, axis1: int, axis2: int) -> Array:
    """Return ``a`` with two axes interchanged.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.swapaxes(ca.zeros((2, 3, 4)), 0, 2).shape
    (4, 3, 2)
    """
    return asarray(a).swapaxes(axis1, axis2)


@implements(np.moveaxis)
def moveaxis(a: Any, source: Any, destination: Any) -> Array:
    """Return ``a`` with axes ``source`` at the places ``destination``, the others in their order.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.moveaxis(ca.zeros((2, 3, 4)), 0, -1).shape
    (3, 4, 2)
    """
    array = asarray(a)
    sources = normalize_axis_tuple(source, array.ndim, "source")
    places = normalize_axis_tuple(destination, array.ndim, "destination")
    if len(sources) != len(places):
        raise ValueError("`source` and `destination` arguments must have the same number of elements")
    order = [n for n in range(array.ndim) if n not in sources]
    for place, axis in sorted(zip(places, sources, strict=True)):
        order.insert(place, axis)
    return array.transpose(order)


@implements(np.rollaxis)
def rollaxis(a: Any, axis: int, start: int = 0) -> Array:
    """Return ``a`` with ``axis`` moved before the axis that is at ``start``.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.rollaxis(ca.zeros((2, 3, 4)), 2).shape
    (4, 2, 3)
    """
    array = asarray(a)
    np.rollaxis(phantom(array.shape), axis, start)  # NumPy's own errors
    order = list(range(array.ndim))
    axis %= array.ndim
    start = start + array.ndim if start < 0 else start
    order.insert(start - (axis < start), order.pop(axis))
    return array.transpose(order)


@implements(np.expand_dims)
def expand_dims(a: Any, axis: Any) -> Array:
    """Return ``a`` with axes of size 1 at the places ``axis`` of the result.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.expand_dims(ca.arange(3), (0, 2)).shape
    (1, 3, 1)
    """
    array = asarray(a)
    return array.reshape(np.expand_dims(phantom(array.shape), axis).shape)


@implements(np.squeeze)
def squeeze(a: Any, axis: Any = None) -> Array:
    """Return ``a`` without its axes of size 1, or without those named.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.squeeze(ca.zeros((1, 3, 1)), 0).shape
    (3, 1)
    """
    return asarray(a).squeeze(axis)


@implements(np.broadcast_to)
def broadcast_to(array: Any, shape: Any, subok: bool = False) -> Array:  # noqa: ARG001 - there are no subclasses
    """Return ``array`` repeated along new and size-1 axes to ``shape``, without memory.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.broadcast_to(ca.arange(2), (2, 2)).tolist()
    [[0, 1], [0, 1]]
    """
    node = asarray(array)._node  # noqa: SLF001
    return wrap(layout.broadcast_to(node, np.broadcast_to(phantom(node.shape), shape).shape)).copy()


@implements(np.broadcast_arrays)
def broadcast_arrays(*args: Any, subok: bool = False) -> tuple[Array, ...]:  # noqa: ARG001 - there are no subclasses
    """Return all arrays broadcast to their common shape.

    Examples
    --------
    >>> import chunkarr as ca
    >>> [x.shape for x in ca.broadcast_arrays(ca.zeros((2, 1)), ca.zeros(3))]
    [(2, 3), (2, 3)]
    """
    arrays = [asarray(x) for x in args]
    shape = np.broadcast_shapes(*(a.shape for a in arrays))
    return tuple(broadcast_to(a, shape) for a in arrays)


@implements(np.flip)
def flip(m: Any, axis: Any = None) -> Array:
    """Return ``m`` reversed along ``axis``, all axes if None.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.flip(ca.arange(4).reshape(2, 2), 1).tolist()
    [[1, 0], [3, 2]]
    """
    node = asarray(m)._node  # noqa: SLF001
    axes = tuple(range(node.ndim)) if axis is None else normalize_axis_tuple(axis, node.ndim)
    return wrap(layout.flip(node, axes))


@implements(np.fliplr)
def fliplr(m: Any) -> Array:
    """Return ``m`` reversed along its second axis.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.fliplr(ca.arange(4).reshape(2, 2)).tolist()
    [[1, 0], [3, 2]]
    """
    if asarray(m).ndim < 2:
        raise ValueError("Input must be >= 2-d.")
    return flip(m, 1)


@implements(np.flipud)
def flipud(m: Any) -> Array:
    """Return ``m`` reversed along its first axis.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.flipud(ca.arange(3)).tolist()
    [2, 1, 0]
    """
    if asarray(m).ndim < 1:
        raise ValueError("Input must be >= 1-d.")
    return flip(m, 0)


@implements(np.roll)
def roll(a: Any, shift: Any, axis: Any = None) -> Array:
    """Return ``a`` with its elements shifted along ``axis``; those that leave at one end enter at the other.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.roll(ca.arange(5), 2).tolist()
    [3, 4, 0, 1, 2]
    """
    array = asarray(a)
    if axis is None:
        return roll(array.ravel(), shift, 0).reshape(array.shape)
    axes = normalize_axis_tuple(axis, array.ndim, allow_duplicate=True)
    pairs = np.broadcast(shift, axes)
    if pairs.ndim > 1:
        raise ValueError("'shift' and 'axis' should be scalars or 1D sequences")
    node = array._node  # noqa: SLF001
    total = dict.fromkeys(range(array.ndim), 0)
    for amount, at in pairs:
        total[int(at)] += int(amount)
    for at, amount in total.items():
        node = layout.moved(node, amount, at)
    return wrap(node).copy()


@implements(np.rot90)
def rot90(m: Any, k: int = 1, axes: Any = (0, 1)) -> Array:
    """Return ``m`` rotated ``k`` times by 90 degrees, from the first of two axes towards the second.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.rot90(ca.arange(4).reshape(2, 2)).tolist()
    [[1, 3], [0, 2]]
    """
    array = asarray(m)
    np.rot90(phantom(array.shape), k, axes)  # NumPy's own errors
    first, second = (operator.index(x) % array.ndim for x in axes)
    k %= 4
    if k == 2:
        return flip(array, (first, second))
    if k == 1:
        return flip(array, second).swapaxes(first, second)
    return flip(array.swapaxes(first, second), second) if k else array


def _at_least(arys: tuple[Any, ...], shape: Any) -> Any:
    arrays = [asarray(a) for a in arys]
    results = tuple(a.reshape(shape(a.shape)) for a in arrays)
    return results[0] if len(results) == 1 else results


@implements(np.atleast_1d)
def atleast_1d(*arys: Any) -> Any:
    """Return each array with one axis or more.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.atleast_1d(5.0).shape
    (1,)
    """
    return _at_least(arys, lambda s: s or (1,))


@implements(np.atleast_2d)
def atleast_2d(*arys: Any) -> Any:
    """Return each array with two axes or more; new ones come first.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.atleast_2d(ca.arange(3)).shape
    (1, 3)
    """
    return _at_least(arys, lambda s: (1,) * (2 - len(s)) + s)


@implements(np.atleast_3d)
def atleast_3d(*arys: Any) -> Any:
    """Return each array with three axes or more, as NumPy places them.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.atleast_3d(ca.arange(3)).shape, ca.atleast_3d(ca.zeros((2, 3))).shape
    ((1, 3, 1), (2, 3, 1))
    """
    return _at_least(arys, lambda s: {0: (1, 1, 1), 1: (1, *s, 1), 2: (*s, 1)}.get(len(s), s))


@implements(np.astype)
def astype(x: Any, dtype: Any, /, *, copy: bool = True, device: str | None = None) -> Array:
    """Return ``x`` cast to ``dtype``.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.astype(ca.arange(2), ">f4").dtype.str
    '>f4'
    """
    if not isinstance(x, Array | np.ndarray):
        raise TypeError(f"Input should be a NumPy array. It is a {type(x)} instead.")
    if device not in {None, "cpu"}:
        raise ValueError(f'Device not understood. Only "cpu" is allowed, but received: {device}')
    return asarray(x).astype(dtype, copy=copy)


@implements(np.copy)
def copy(a: Any, order: str = "K", subok: bool = False) -> Array:  # noqa: ARG001 - expressions never change
    """Return ``a`` as an Array; an ndarray is copied, so that it may change afterwards.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.copy([1, 2]).tolist()
    [1, 2]
    """
    if order not in {"K", "C", "F", "A"}:
        raise UnsupportedError(f"copy: order={order!r} is not known; memory layout is not kept, leave it out")
    return a.copy() if isinstance(a, Array) else asarray(np.array(a))
