"""Bits packed into bytes and taken out of them, lazily, for arrays of any size."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from chunkarr.array import Array, implements, wrap
from chunkarr.array.expression import as_node
from chunkarr.graph import Node
from chunkarr.ops import layout, packing

__all__ = ["packbits", "unpackbits"]


def _on_axis(a: Any, axis: Any, call: Callable[..., Any], bitorder: Any) -> tuple[Node, int]:
    """Return an array of at least one axis, and the axis that is meant; flattened where none is given."""
    node = as_node(a)
    call(np.zeros((0,) * node.ndim, node.dtype), axis, bitorder=bitorder)  # raises what NumPy raises
    if axis is None or not node.ndim:
        return (node if node.ndim == 1 else layout.reshape(node, (wrap(node).size,))), 0
    return node, np.lib.array_utils.normalize_axis_index(operator.index(axis), node.ndim)


@implements(np.packbits)
def packbits(a: Any, /, axis: int | None = None, bitorder: Any = "big") -> Array:
    """Return elements as bits, eight to a byte; the last byte is filled up with zeros.

    Parameters
    ----------
    a : array_like of integers or booleans
        What is not zero is a bit that is set.
    axis : int, optional
        Along which bits are packed. None: the flattened array.
    bitorder : "big" or "little"
        Whether the first element is the most or the least significant bit.

    Returns
    -------
    Array
        Of uint8. For samples of more than one bit see ``save(..., bits=, bitorder=)``.

    Examples
    --------
    >>> import chunkarr as ca
    >>> print(ca.packbits(ca.arange(10) > 6))
    [  1 192]
    """
    node, at = _on_axis(a, axis, np.packbits, bitorder)
    return wrap(packing.packbits(node, at, bitorder))


@implements(np.unpackbits)
def unpackbits(a: Any, /, axis: int | None = None, count: int | None = None, bitorder: Any = "big") -> Array:
    """Return the bits of bytes, one to an element.

    Parameters
    ----------
    a : array_like of uint8
        The bytes.
    axis : int, optional
        Along which they are unpacked. None: the flattened array.
    count : int, optional
        How many along the axis, zeros behind the last; a negative one leaves so many out at the end.
    bitorder : "big" or "little"
        Whether the most or the least significant bit is the first.

    Returns
    -------
    Array
        Of uint8, zeros and ones.

    Examples
    --------
    >>> import chunkarr as ca
    >>> print(ca.unpackbits(ca.asarray([1, 192]).astype("u1"), count=10))
    [0 0 0 0 0 0 0 1 1 1]
    """
    node, at = _on_axis(a, axis, np.unpackbits, bitorder)
    length = 8 * node.shape[at]
    if count is not None:
        wanted = operator.index(count)
        if -wanted > length:
            raise ValueError(f"-count larger than number of elements: count={wanted}, {length} bits along the axis")
        length = wanted if wanted >= 0 else length + wanted
    return wrap(packing.unpackbits(node, at, length, bitorder))
