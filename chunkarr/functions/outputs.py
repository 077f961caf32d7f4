"""Where results go: into an Array, or into the ndarray given as ``out=``."""

from __future__ import annotations

from typing import Any

import numpy as np

from chunkarr import engine
from chunkarr.array import Array, as_node

__all__ = ["deliver"]


def deliver(result: Array, out: Any) -> Any:
    """Return ``result``, or write its values into the ndarray ``out`` and return that.

    Raises
    ------
    ValueError
        If ``out`` is an Array, which is read-only, or of another shape.
    TypeError
        If its dtype cannot hold the values; both before anything is computed.
    """
    if out is None:
        return result
    if isinstance(out, tuple) and len(out) == 1:
        return deliver(result, out[0])
    if isinstance(out, Array):
        raise ValueError(  # noqa: TRY004 - NumPy's class
            "output array is read-only: an expression cannot be written to; use the returned array"
        )
    if not isinstance(out, np.ndarray):
        raise TypeError("return arrays must be of ArrayType")
    if out.shape != result.shape:
        raise ValueError(f"output array has shape {out.shape}, the result has shape {result.shape}")
    np.copyto(np.empty(0, out.dtype), np.empty(0, result.dtype), casting="same_kind")
    np.copyto(out, engine.compute([as_node(result)])[0], casting="same_kind")
    return out
