"""Arrays put together, cut apart and repeated: each part is read where it lies."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from chunkarr.array import Array, implements, wrap
from chunkarr.array.expression import no_out, phantom
from chunkarr.errors import UnsupportedError
from chunkarr.functions.creation import full
from chunkarr.functions.manipulation import atleast_1d, atleast_2d, atleast_3d
from chunkarr.io import asarray
from chunkarr.ops import layout

__all__ = [
    "append",
    "array_split",
    "block",
    "column_stack",
    "concat",
    "concatenate",
    "dsplit",
    "dstack",
    "hsplit",
    "hstack",
    "pad",
    "repeat",
    "split",
    "stack",
    "tile",
    "unstack",
    "vsplit",
    "vstack",
]


@implements(np.concatenate)
def concatenate(
    arrays: Any, /, axis: Any = 0, out: None = None, *, dtype: Any = None, casting: Any = "same_kind"
) -> Array:
    """Return arrays one after another along ``axis``; flattened first if it is None.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.concatenate([ca.arange(2), ca.arange(3)]).tolist()
    [0, 1, 0, 1, 2]
    """
    no_out("concatenate", out)
    parts = [asarray(a) for a in arrays]
    if axis is None:
        parts, axis = [a.ravel() for a in parts], 0
    if not parts:
        raise ValueError("need at least one array to concatenate")
    if not parts[0].ndim:
        raise ValueError("zero-dimensional arrays cannot be concatenated")
    axis = normalize_axis_index(operator.index(axis), parts[0].ndim)
    rest = {a.shape[:axis] + a.shape[axis + 1 :] if a.ndim == parts[0].ndim else None for a in parts}
    if len(rest) > 1:
        np.concatenate([phantom(a.shape) for a in parts], axis)  # NumPy's own refusal
    return wrap(layout.concatenate([a._node for a in parts], axis, dtype, casting))  # noqa: SLF001


concat = concatenate  # the array API standard's name, as in NumPy


@implements(np.stack)
def stack(arrays: Any, axis: int = 0, out: None = None, *, dtype: Any = None, casting: Any = "same_kind") -> Array:
    """Return arrays of one shape along a new axis.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.stack([ca.arange(2), ca.arange(2)], axis=1).tolist()
    [[0, 0], [1, 1]]
    """
    no_out("stack", out)
    parts = [asarray(a) for a in arrays]
    if not parts:
        raise ValueError("need at least one array to stack")
    if len({a.shape for a in parts}) > 1:
        raise ValueError("all input arrays must have the same shape")
    at = normalize_axis_index(operator.index(axis), parts[0].ndim + 1)
    wide = [a.reshape((*a.shape[:at], 1, *a.shape[at:])) for a in parts]
    return concatenate(wide, at, dtype=dtype, casting=casting)


def _list(arrays: Any) -> list[Any]:
    return arrays if isinstance(arrays, list) else [arrays]


@implements(np.vstack)
def vstack(tup: Any, *, dtype: Any = None, casting: Any = "same_kind") -> Array:
    """Return arrays one below the other: along the first axis, 1-d ones as rows.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.vstack([ca.arange(2), ca.arange(2)]).tolist()
    [[0, 1], [0, 1]]
    """
    return concatenate(_list(_each(atleast_2d, tup)), 0, dtype=dtype, casting=casting)


@implements(np.hstack)
def hstack(tup: Any, *, dtype: Any = None, casting: Any = "same_kind") -> Array:
    """Return arrays side by side: along the second axis, 1-d ones along the first.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.hstack([ca.arange(2), ca.arange(2)]).tolist()
    [0, 1, 0, 1]
    """
    parts = _each(atleast_1d, tup)
    return concatenate(parts, 0 if parts and parts[0].ndim == 1 else 1, dtype=dtype, casting=casting)


@implements(np.dstack)
def dstack(tup: Any) -> Array:
    """Return arrays one behind the other: along the third axis.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.dstack([ca.arange(2), ca.arange(2)]).tolist()
    [[[0, 0], [1, 1]]]
    """
    return concatenate(_each(atleast_3d, tup), 2)


def _each(function: Any, arrays: Any) -> list[Array]:
    return [function(a) for a in arrays]


@implements(np.column_stack)
def column_stack(tup: Any) -> Array:
    """Return 1-d arrays as the columns of a 2-d array; 2-d ones are kept.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.column_stack([ca.arange(2), ca.arange(2)]).tolist()
    [[0, 0], [1, 1]]
    """
    parts = [asarray(a) for a in tup]
    return concatenate([a if a.ndim >= 2 else a.reshape(a.size, 1) for a in parts], 1)


@implements(np.block)
def block(arrays: Any) -> Array:
    """Return an array put together from nested lists of blocks; the innermost lists go along the last axis.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.block([[ca.ones((1, 1), int), ca.zeros((1, 2), int)]]).tolist()
    [[1, 0, 0]]
    """
    depth = _depth(arrays)
    ndim = max(depth, *(asarray(leaf).ndim for leaf in _leaves(arrays)))

    def build(item: Any, level: int) -> Array:
        if isinstance(item, list):
            return concatenate([build(i, level + 1) for i in item], ndim - depth + level)
        array = asarray(item)
        return array.reshape((1,) * (ndim - array.ndim) + array.shape)

    return build(arrays, 0)


def _leaves(item: Any) -> list[Any]:
    return [leaf for i in item for leaf in _leaves(i)] if isinstance(item, list) else [item]


def _depth(item: Any) -> int:
    """Return how deep blocks lie in nested lists; the same for all, or NumPy's errors."""
    if isinstance(item, tuple):
        raise TypeError("arrays is a tuple. Only lists can be used to arrange blocks, and np.block does not allow "
                        "implicit conversion from tuple to ndarray.")  # fmt: skip
    if not isinstance(item, list):
        return 0
    depths = {_depth(i) for i in item}
    if not depths:
        raise ValueError("List at arrays cannot be empty")
    if len(depths) > 1:
        raise ValueError(f"List depths are mismatched: blocks lie {sorted(depths)} lists deep, all must be alike")
    return 1 + depths.pop()


@implements(np.append)
def append(arr: Any, values: Any, axis: int | None = None) -> Array:
    """Return ``values`` after ``arr`` along ``axis``; both flattened if it is None.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.append(ca.arange(2), [7]).tolist()
    [0, 1, 7]
    """
    return concatenate((arr, values), axis)


@implements(np.unstack)
def unstack(x: Any, /, *, axis: int = 0) -> tuple[Array, ...]:
    """Return the parts of ``x`` along ``axis``, without that axis.

    Examples
    --------
    >>> import chunkarr as ca
    >>> [u.tolist() for u in ca.unstack(ca.arange(4).reshape(2, 2))]
    [[0, 1], [2, 3]]
    """
    array = asarray(x)
    if not array.ndim:
        raise ValueError("Input array must be at least 1-d.")
    at = normalize_axis_index(axis, array.ndim)
    return tuple(array[(slice(None),) * at + (k,)] for k in range(array.shape[at]))


@implements(np.array_split)
def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Array]:
    """Return ``ary`` cut along ``axis`` into so many parts of nearly equal size, or at the given indices.

    Examples
    --------
    >>> import chunkarr as ca
    >>> [p.tolist() for p in ca.array_split(ca.arange(5), 2)]
    [[0, 1, 2], [3, 4]]
    """
    array = asarray(ary)
    total = array.shape[axis]
    axis %= array.ndim
    if np.ndim(indices_or_sections):
        edges = [0, *(operator.index(i) for i in indices_or_sections), total]
    else:
        sections = int(indices_or_sections)
        if sections <= 0:
            raise ValueError("number sections must be larger than 0.")
        each, extra = divmod(total, sections)
        edges = [k * each + min(k, extra) for k in range(sections + 1)]
    return [array[(slice(None),) * axis + (slice(a, b),)] for a, b in pairwise(edges)]


@implements(np.split)
def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Array]:
    """Return ``ary`` cut along ``axis`` into so many equal parts, or at the given indices.

    Examples
    --------
    >>> import chunkarr as ca
    >>> [p.tolist() for p in ca.split(ca.arange(4), 2)]
    [[0, 1], [2, 3]]
    """
    array = asarray(ary)
    if not np.ndim(indices_or_sections) and array.shape[axis] % indices_or_sections:
        raise ValueError("array split does not result in an equal division")
    return array_split(array, indices_or_sections, axis)


@implements(np.hsplit)
def hsplit(ary: Any, indices_or_sections: Any) -> list[Array]:
    """Return ``ary`` split along its second axis, a 1-d array along its first.

    Examples
    --------
    >>> import chunkarr as ca
    >>> [p.shape for p in ca.hsplit(ca.zeros((2, 4)), 2)]
    [(2, 2), (2, 2)]
    """
    array = asarray(ary)
    if not array.ndim:
        raise ValueError("hsplit only works on arrays of 1 or more dimensions")
    return split(array, indices_or_sections, min(1, array.ndim - 1))


@implements(np.vsplit)
def vsplit(ary: Any, indices_or_sections: Any) -> list[Array]:
    """Return ``ary`` split along its first axis.

    Examples
    --------
    >>> import chunkarr as ca
    >>> [p.shape for p in ca.vsplit(ca.zeros((2, 4)), 2)]
    [(1, 4), (1, 4)]
    """
    if asarray(ary).ndim < 2:
        raise ValueError("vsplit only works on arrays of 2 or more dimensions")
    return split(ary, indices_or_sections, 0)


@implements(np.dsplit)
def dsplit(ary: Any, indices_or_sections: Any) -> list[Array]:
    """Return ``ary`` split along its third axis.

    Examples
    --------
    >>> import chunkarr as ca
    >>> [p.shape for p in ca.dsplit(ca.zeros((1, 1, 4)), [1])]
    [(1, 1, 1), (1, 1, 3)]
    """
    if asarray(ary).ndim < 3:
        raise ValueError("dsplit only works on arrays of 3 or more dimensions")
    return split(ary, indices_or_sections, 2)


@implements(np.repeat)
def repeat(a: Any, repeats: Any, axis: int | None = None) -> Array:
    """Return ``a`` with each element repeated ``repeats`` times along ``axis``, or flattened.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.repeat(ca.arange(2), 2).tolist()
    [0, 0, 1, 1]
    """
    return asarray(a).repeat(repeats, axis)


@implements(np.tile)
def tile(A: Any, reps: Any) -> Array:
    """Return ``A`` repeated ``reps`` times along each axis, the last ones first.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.tile(ca.arange(2), (2, 2)).tolist()
    [[0, 1, 0, 1], [0, 1, 0, 1]]
    """
    array = asarray(A)
    times = tuple(operator.index(r) for r in reps) if np.iterable(reps) else (operator.index(reps),)
    ndim = max(array.ndim, len(times))
    times = (1,) * (ndim - len(times)) + times
    shape = (1,) * (ndim - array.ndim) + array.shape
    if any(t < 0 for t in times):
        raise ValueError("negative dimensions are not allowed")
    pairs = array.reshape(tuple(m for n in shape for m in (1, n)))._node  # noqa: SLF001
    wide = layout.broadcast_to(pairs, tuple(m for t, n in zip(times, shape, strict=True) for m in (t, n)))
    return wrap(layout.reshape(wide, tuple(t * n for t, n in zip(times, shape, strict=True)))).copy()


@implements(np.pad)
def pad(array: Any, pad_width: Any, mode: str = "constant", **kwargs: Any) -> Array:
    """Return ``array`` with ``pad_width`` elements of ``constant_values`` (0) before and after each axis.

    Raises
    ------
    UnsupportedError
        If ``mode`` is not "constant".

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.pad(ca.ones(2, int), (1, 2)).tolist()
    [0, 1, 1, 0, 0]
    """
    judge: Any = np.pad
    judge(np.zeros(1), 0, mode, **kwargs)  # NumPy's own refusal of modes and arguments
    if mode != "constant":
        raise UnsupportedError(f"pad: mode={mode!r} is not supported, only 'constant'")
    result = asarray(array)
    widths = _pairs(pad_width, result.ndim, "pad_width")
    values = _pairs(kwargs.get("constant_values", 0), result.ndim, "constant_values")
    for axis, (width, value) in enumerate(zip(widths, values, strict=True)):
        parts: list[Array] = []
        for amount, fill in zip(width, value, strict=True):
            count = operator.index(amount)
            shape = (*result.shape[:axis], count, *result.shape[axis + 1 :])
            parts.append(full(shape, fill.astype(result.dtype), result.dtype))
        parts.insert(1, result)
        result = concatenate([p for p in parts if p.shape[axis]] or [result], axis, dtype=result.dtype)
    return result


def _pairs(given: Any, ndim: int, name: str) -> Sequence[Sequence[Any]]:
    """Return NumPy's spellings of (before, after) for each axis in the long one."""
    if isinstance(given, dict):
        given = [given.get(k, given.get(k - ndim, (0, 0))) for k in range(ndim)]
        given = [(g, g) if np.ndim(g) == 0 else g for g in given]
    pairs = np.asarray(given)
    if name == "pad_width" and pairs.dtype.kind not in "iu":
        raise TypeError("`pad_width` must be of integral type.")
    if name == "pad_width" and (pairs < 0).any():
        raise ValueError("index can't contain negative values")
    spread: Any = np.broadcast_to(pairs, (ndim, 2))
    return [(before, after) for before, after in spread]
