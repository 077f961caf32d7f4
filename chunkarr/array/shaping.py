"""The methods that move elements or see them as something else: lazy, most of them free."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from chunkarr.array.expression import Expression, phantom
from chunkarr.errors import GridError, UnsupportedError
from chunkarr.graph import Node
from chunkarr.grid import Grid
from chunkarr.ops import elementwise, layout
from chunkarr.ops.sources import full

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Shaping", "chunk_steps", "only_c_order"]


def only_c_order(order: Any, function: str) -> None:
    """Raise UnsupportedError for an element order that is not C."""
    if order not in {"C", "c", None}:
        if order in {"F", "A", "K", "f", "a", "k"}:
            raise UnsupportedError(
                f"{function}: order={order!r} is not supported, only 'C'; "
                "transpose() first to take elements in another order"
            )
        np.empty(1).reshape(-1, order=order)  # NumPy's own refusal


def chunk_steps(chunks: int | Sequence[int], shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the box that ``chunks`` asks for: one size for all axes or one per axis, -1 for a whole axis.

    >>> chunk_steps((2, -1), (5, 7))
    (2, 7)
    """
    steps: tuple[Any, ...] = (chunks,) * len(shape) if np.isscalar(chunks) else tuple(chunks)  # type: ignore[arg-type]
    if len(steps) != len(shape) or any(not isinstance(s, int | np.integer) or (s < 1 and s != -1) for s in steps):
        raise GridError(
            f"chunks {chunks} do not fit shape {shape}: one size of 1 or more per axis, -1 for a whole axis"
        )
    return tuple(max(1, n) if s == -1 else int(s) for s, n in zip(steps, shape, strict=True))


class Shaping(Expression):
    """Shapes, axes, dtypes seen another way; NumPy's signatures and errors."""

    __slots__ = ()

    @property
    def T(self) -> Self:  # noqa: N802 - NumPy's name
        """The array with its axes reversed."""
        return self.transpose()

    @property
    def mT(self) -> Self:  # noqa: N802 - NumPy's name
        """The array with its last two axes swapped."""
        if self.ndim < 2:
            raise ValueError("matrix transpose with ndim < 2 is undefined")
        return self.swapaxes(-1, -2)

    @property
    def real(self) -> Self:
        """The real part, a view; of real numbers the array itself."""
        return self._part("real") if self.dtype.kind == "c" else self

    @property
    def imag(self) -> Self:
        """The imaginary part, a view; of real numbers zeros."""
        if self.dtype.kind == "c":
            return self._part("imag")
        return self._with(full(self.shape, np.zeros((), self.dtype)[()], self.dtype))

    def _part(self, name: str) -> Self:
        half = np.empty(0, self.dtype).real.dtype
        pair = np.dtype([("real", half), ("imag", half)])
        return self._with(layout.field(layout.reinterpret(self._node, pair), name))

    def reshape(self, *shape: Any, order: str = "C", copy: bool | None = None) -> Self:  # noqa: ARG002 - never copies
        """Return the elements, in C order, under another shape of the same size; one -1 is worked out."""
        only_c_order(order, "reshape")
        return self._with(layout.reshape(self._node, phantom(self.shape).reshape(*shape).shape))

    def ravel(self, order: str = "C") -> Self:
        """Return the elements, in C order, along one axis."""
        only_c_order(order, "ravel")
        return self.reshape(-1) if self.size else self.reshape(0)

    def flatten(self, order: str = "C") -> Self:
        """Return the elements, in C order, along one axis."""
        only_c_order(order, "flatten")
        return self.ravel().copy()

    def transpose(self, *axes: Any) -> Self:
        """Return the array with its axes in the given order, reversed if there is none."""
        phantom(self.shape).transpose(*axes)
        if len(axes) == 1 and (axes[0] is None or np.iterable(axes[0])):
            axes = tuple(axes[0]) if axes[0] is not None else ()
            order = axes if axes or not self.ndim else tuple(reversed(range(self.ndim)))
        else:
            order = axes or tuple(reversed(range(self.ndim)))
        return self._with(layout.transpose(self._node, tuple(operator.index(a) % self.ndim for a in order)))

    def swapaxes(self, axis1: int, axis2: int, /) -> Self:
        """Return the array with two axes interchanged."""
        phantom(self.shape).swapaxes(axis1, axis2)
        order = list(range(self.ndim))
        order[axis1], order[axis2] = order[axis2], order[axis1]
        return self._with(layout.transpose(self._node, tuple(order)))

    def squeeze(self, axis: Any = None) -> Self:
        """Return the array without its axes of size 1, or without those named."""
        return self._with(layout.reshape(self._node, phantom(self.shape).squeeze(axis).shape))

    def repeat(self, repeats: int, axis: int | None = None) -> Self:
        """Return the array with each element repeated ``repeats`` times along an axis, or flattened."""
        if not isinstance(repeats, int | np.integer):
            raise UnsupportedError("repeat: repeats must be an int; a count for each element is not supported")
        if repeats < 0:
            raise ValueError("repeats may not contain negative values.")
        node = self._node if axis is not None and self.ndim else self.ravel()._node  # noqa: SLF001
        at = np.lib.array_utils.normalize_axis_index(operator.index(0 if axis is None else axis), node.ndim)
        head, n, tail = node.shape[:at], node.shape[at], node.shape[at + 1 :]
        wide = layout.broadcast_to(layout.reshape(node, (*head, n, 1, *tail)), (*head, n, int(repeats), *tail))
        return self._with(layout.reshape(wide, (*head, n * int(repeats), *tail))).copy()

    def astype(
        self,
        dtype: Any,
        order: str = "K",  # noqa: ARG002 - memory layout is not the user's to see
        casting: Any = "unsafe",
        subok: bool = True,  # noqa: ARG002 - there are no subclasses
        copy: bool = True,
    ) -> Self:
        """Return the array cast to ``dtype`` by NumPy's rules."""
        if np.dtype(dtype).hasobject:
            raise UnsupportedError("astype: Python objects are not supported; compute() a part and cast that")
        result = self._with(elementwise.astype(self._node, dtype, casting))
        return result.copy() if copy else result

    def view(self, dtype: Any = None) -> Self:
        """Return the same bytes seen as another dtype; the last axis may stretch or shrink."""
        return self if dtype is None else self._with(layout.reinterpret(self._node, dtype))

    def byteswap(self, inplace: bool = False) -> Self:
        """Return the values that the bytes of each element have in the reverse order."""
        if inplace:
            raise ValueError("byteswap: inplace=True is not possible: an expression is read-only; bind the result")
        swapped = self.dtype.newbyteorder("S")
        return self.copy() if swapped == self.dtype else self.view(swapped).astype(self.dtype)

    def rechunk(self, chunks: int | Sequence[int]) -> Self:
        """Return the array worked on in other boxes: one size for all axes or one per axis, -1 for a whole axis."""
        node = self._node
        return self._with(Node(node.op, node.inputs, Grid(node.shape, chunk_steps(chunks, node.shape))))
