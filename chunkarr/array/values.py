"""Values to be assigned, as NumPy takes them: scalars, sequences, text, records, arrays of any size."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from chunkarr.array.expression import Expression, as_node
from chunkarr.graph import Node
from chunkarr.grid import Shape
from chunkarr.ops import elementwise, layout
from chunkarr.ops.sources import constant
from chunkarr.selection import Pick, Stride

__all__ = ["as_element", "as_values", "broadcasts", "cast", "settled"]

SMALL = 1 << 16  # bytes of values that are cast at once


def as_element(value: Any, dtype: np.dtype[Any]) -> Node:
    """Return what ``array[i, j] = value`` stores: one element, with NumPy's errors."""
    cell = np.zeros((1,), dtype)
    cell[0] = value.compute() if isinstance(value, Expression) else value
    return constant(cell.reshape(()))


def as_values(value: Any, dtype: np.dtype[Any], ndim: int | None) -> Any:
    """Return an ndarray or Array as it is, else what NumPy makes of ``value`` for a view of ``ndim`` axes.

    ``ndim`` is None for what index arrays and masks select, for which NumPy is more lenient.

    Raises
    ------
    OverflowError, ValueError, TypeError
        What NumPy raises for values that ``dtype`` cannot hold, and for sequences nested deeper than ``ndim``.
    """
    if isinstance(value, Expression | np.ndarray):
        return value
    if hasattr(value, "__array__") and not isinstance(value, np.generic):
        return np.asarray(value)
    if ndim is None:
        return np.asarray(value, dtype)
    try:
        shape = np.asarray(value, dtype).shape
    except Exception:  # noqa: BLE001 - assigning it raises what NumPy raises
        shape = ()
    stand_in = np.zeros((1,) * (ndim - len(shape)) + shape[:ndim], dtype)
    stand_in[...] = value
    return stand_in


def settled(value: Any, dtype: np.dtype[Any]) -> Any:
    """Return a small ndarray as a constant of ``dtype``, with what NumPy warns of or raises; others as they are."""
    if not isinstance(value, np.ndarray) or value.nbytes > SMALL:
        return value
    return constant(value if value.dtype == dtype else value.astype(dtype))


def broadcasts(value: Any, shape: Shape) -> Any:
    """Return ``value`` without leading axes of size 1 that are too many, if it broadcasts to ``shape``.

    Raises ValueError as NumPy does otherwise.
    """
    given: Shape = value.shape
    extra = max(0, len(given) - len(shape))
    kept = given[extra:]
    fits = all(n in (1, m) for n, m in zip(reversed(kept), reversed(shape), strict=False))
    if not fits or any(n != 1 for n in given[:extra]):
        raise ValueError(f"could not broadcast input array from shape {_plain(given)} into shape {_plain(shape)}")
    if not extra:
        return value
    if isinstance(value, Node):
        return layout.take_basic(value, (*(Pick(0),) * extra, *(Stride(0, 1, n) for n in kept)))
    return value[(0,) * extra]


def _plain(shape: Shape) -> str:
    return "(" + ",".join(map(str, shape)) + ("," if len(shape) == 1 else "") + ")"


def cast(value: Any, dtype: np.dtype[Any], *, quiet: bool = False) -> Node:
    """Return the node of ``value`` cast as assignment casts: to anything, with NumPy's warnings unless ``quiet``.

    Of a small ndarray the caller casts with `settled` first, once.
    """
    node = value if isinstance(value, Node) else as_node(value)
    if node.dtype.kind == "c" and dtype.kind in "iuf":
        if not quiet:  # here, because NumPy would warn in each task
            message = "Casting complex values to real discards the imaginary part"
            warnings.warn(message, np.exceptions.ComplexWarning, stacklevel=5)
        half = np.empty(0, node.dtype).real.dtype
        pair = np.dtype([("real", half), ("imag", half)])
        node = layout.field(layout.reinterpret(node, pair), "real")
    return elementwise.astype(node, dtype)
