"""Values turned round: those whose ascending order is the descending one of what they are made of.

Turned twice, values are what they were. Equal ones stay equal, so that a stable sort of turned values keeps their
order, and NaN and NaT stay what they are: they come last in both orders.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chunkarr.graph import Node
from chunkarr.ops.elementwise import astype, map_tiles

__all__ = ["turned"]

TOP: dict[str, Any] = {"S": np.uint8(255), "U": np.uint32(0x10FFFF)}  # the greatest unit of text


def turned(node: Node) -> Node:
    """Return the values of ``node`` turned round, in native byte order.

    Raises TypeError for records, which NumPy sorts in ascending order only.
    """
    if node.dtype.kind == "V":
        raise TypeError("records are sorted in ascending order only; turn the result round: a.sort()[::-1]")
    native = astype(node, node.dtype.newbyteorder("="))
    return map_tiles(_turn, (native,), native.dtype)


def _turn(x: Any, out: Any) -> None:
    """Turn a tile round.

    >>> out = np.empty(2, "U2")
    >>> _turn(np.array(["b", "ab"]), out), bool(out[0] < out[1])
    (None, True)
    """
    kind = x.dtype.kind
    if kind in TOP:
        units = np.ascontiguousarray(x).view(TOP[kind].dtype)
        out[...] = (TOP[kind] - units).view(x.dtype)
    elif kind == "M":
        np.negative(x.view(np.int64), out=out.view(np.int64))  # the integer of NaT has no negative: it stays
    elif kind in "biu":
        np.invert(x, out=out)
    else:
        np.negative(x, out=out)
