"""What an array is: answered from its description, without reading it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from chunkarr.array import Array, implements
from chunkarr.io import asarray

__all__ = ["can_cast", "iscomplexobj", "isrealobj", "ndim", "result_type", "shape", "size"]


@implements(np.shape)
def shape(a: Any) -> tuple[int, ...]:
    """Return the elements along each axis.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.shape([[1, 2, 3]])
    (1, 3)
    """
    return asarray(a).shape


@implements(np.ndim)
def ndim(a: Any) -> int:
    """Return the number of axes.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.ndim(ca.zeros((2, 3)))
    2
    """
    return asarray(a).ndim


@implements(np.size)
def size(a: Any, axis: Any = None) -> int:
    """Return the number of elements, or of those along ``axis``.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.size(ca.zeros((2, 3))), ca.size(ca.zeros((2, 3)), 1)
    (6, 3)
    """
    array = asarray(a)
    if axis is None:
        return array.size
    return math.prod(array.shape[k] for k in normalize_axis_tuple(axis, array.ndim))


def _plain(value: Any) -> Any:
    return value.dtype if isinstance(value, Array) else value


@implements(np.result_type)
def result_type(*arrays_and_dtypes: Any) -> np.dtype[Any]:
    """Return the dtype that NumPy's promotion gives.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.result_type(ca.zeros(2, "i2"), 1.0)
    dtype('float64')
    """
    return np.result_type(*(_plain(x) for x in arrays_and_dtypes))


@implements(np.can_cast)
def can_cast(from_: Any, to: Any, casting: Any = "safe") -> bool:
    """Return whether NumPy's rule ``casting`` allows the cast.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.can_cast(ca.zeros(2), "f4")
    False
    """
    return np.can_cast(_plain(from_), to, casting)


@implements(np.iscomplexobj)
def iscomplexobj(x: Any) -> bool:
    """Return whether the dtype is complex.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.iscomplexobj(ca.zeros(2, complex))
    True
    """
    return asarray(x).dtype.kind == "c"


@implements(np.isrealobj)
def isrealobj(x: Any) -> bool:
    """Return whether the dtype is not complex.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.isrealobj(ca.zeros(2, complex))
    False
    """
    return not iscomplexobj(x)
