"""Elements by their indices, and the indices of elements: NumPy's names, shapes always known."""

from __future__ import annotations

from typing import Any

import numpy as np

from chunkarr.array import Array, implements, wrap
from chunkarr.array.outputs import deliver
from chunkarr.array.picking import take_where, truth
from chunkarr.functions.joining import stack
from chunkarr.io import asarray
from chunkarr.ops import layout
from chunkarr.ops.sources import arange

__all__ = ["argwhere", "compress", "extract", "flatnonzero", "nonzero", "take"]


@implements(np.take)
def take(a: Any, indices: Any, axis: int | None = None, out: Any = None, mode: str = "raise") -> Any:
    """Return the elements at ``indices`` along an axis.

    Parameters
    ----------
    a : array_like
        Any size: each block that holds elements is read once.
    indices : array_like of int
        Their shape takes the place of the axis. Those of an Array that do not fit the budget together with the
        result are sorted in scratch, the elements fetched in the order of ``a``, and put back where they belong.
    axis : int, optional
        None: of the flattened array.
    out : ndarray, optional
        Receives the values, at once.
    mode : {"raise", "wrap", "clip"}
        What is done with indices out of bounds.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.take(ca.arange(10) ** 2, [[1, 2], [-1, 3]]).tolist()
    [[1, 4], [81, 9]]
    """
    return deliver(asarray(a).take(indices, axis, mode=mode), out)


@implements(np.compress)
def compress(condition: Any, a: Any, axis: int | None = None, out: Any = None) -> Any:
    """Return the slices along an axis where a condition is true.

    Parameters
    ----------
    condition : array_like, shape (N,)
        What is not zero counts as true; may be shorter than the axis.
    a : array_like
    axis : int, optional
        None: of the flattened array.
    out : ndarray, optional
        Receives the values, at once.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.compress([0, 1], ca.arange(6).reshape(3, 2), axis=0).tolist()
    [[2, 3]]
    """
    return deliver(asarray(a).compress(condition, axis), out)


@implements(np.extract)
def extract(condition: Any, arr: Any) -> Array:
    """Return the elements of ``arr`` where ``condition`` is true, in C order.

    Examples
    --------
    >>> import chunkarr as ca
    >>> a = ca.arange(6).reshape(2, 3)
    >>> ca.extract(a % 2 == 0, a).tolist()
    [0, 2, 4]
    """
    mask, array = asarray(condition), asarray(arr)
    if mask.shape == array.shape and mask.ndim:
        return wrap(take_where([array._node], truth(mask._node))[0])  # noqa: SLF001
    return array.ravel().compress(mask.ravel())


@implements(np.nonzero)
def nonzero(a: Any) -> tuple[Array, ...]:
    """Return the indices of the elements that are not zero, an array for each axis; counts them now.

    Examples
    --------
    >>> import chunkarr as ca
    >>> [x.tolist() for x in ca.nonzero(ca.eye(2))]
    [[0, 1], [0, 1]]
    """
    found: tuple[Array, ...] = asarray(a).nonzero()
    return found


@implements(np.flatnonzero)
def flatnonzero(a: Any) -> Array:
    """Return the positions in C order of the elements that are not zero; counts them now.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.flatnonzero(ca.eye(2)).tolist()
    [0, 3]
    """
    array = asarray(a)
    if not array.ndim:
        array = array.reshape(1)
    places = layout.reshape(arange(0, array.size, 1), array.shape)
    return wrap(take_where([places], truth(array._node))[0])  # noqa: SLF001


@implements(np.argwhere)
def argwhere(a: Any) -> Array:
    """Return the indices of the elements that are not zero, a row for each, shape (N, ndim); counts them now.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.argwhere(ca.eye(2)).tolist()
    [[0, 0], [1, 1]]
    """
    array = asarray(a)
    if not array.ndim:
        return argwhere(array.reshape(1))[:, :0]
    return stack(array.nonzero(), axis=1)
