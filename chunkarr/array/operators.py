"""Operators in place: the name is bound to a new expression, with NumPy's same-kind check."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from chunkarr.array.expression import Expression, as_operand
from chunkarr.graph import Node
from chunkarr.ops import elementwise

if TYPE_CHECKING:
    from chunkarr.grid import Shape

__all__ = ["InPlace"]


class InPlace(Expression):
    """``a += b`` and its kin: this dtype and shape are kept, or NumPy's errors raised."""

    __slots__ = ()

    def _in_place(self, ufunc: np.ufunc, other: Any) -> Self:
        theirs = as_operand(other)
        empty = np.empty((0,), self.dtype)
        ufunc(empty, np.empty((0,), theirs.dtype) if isinstance(theirs, Node) else theirs, out=empty)
        (node,) = elementwise.call(ufunc, [self._node, theirs])
        if node.shape != self.shape:
            raise ValueError(
                f"non-broadcastable output operand with shape {_plain(self.shape)} doesn't match the broadcast shape "
                f"{_plain(node.shape)}"
            )
        return self._with(elementwise.astype(node, self.dtype))

    def __iadd__(self, other: Any) -> Self:
        """Return ``self + other`` in this dtype, as a new expression."""
        return self._in_place(np.add, other)

    def __isub__(self, other: Any) -> Self:
        """Return ``self - other`` in this dtype, as a new expression."""
        return self._in_place(np.subtract, other)

    def __imul__(self, other: Any) -> Self:
        """Return ``self * other`` in this dtype, as a new expression."""
        return self._in_place(np.multiply, other)

    def __itruediv__(self, other: Any) -> Self:
        """Return ``self / other`` in this dtype, as a new expression."""
        return self._in_place(np.true_divide, other)

    def __ifloordiv__(self, other: Any) -> Self:
        """Return ``self // other`` in this dtype, as a new expression."""
        return self._in_place(np.floor_divide, other)

    def __imod__(self, other: Any) -> Self:
        """Return ``self % other`` in this dtype, as a new expression."""
        return self._in_place(np.remainder, other)

    def __ipow__(self, other: Any) -> Self:
        """Return ``self ** other`` in this dtype, as a new expression."""
        return self._in_place(np.power, other)

    def __ilshift__(self, other: Any) -> Self:
        """Return ``self << other`` in this dtype, as a new expression."""
        return self._in_place(np.left_shift, other)

    def __irshift__(self, other: Any) -> Self:
        """Return ``self >> other`` in this dtype, as a new expression."""
        return self._in_place(np.right_shift, other)

    def __iand__(self, other: Any) -> Self:
        """Return ``self & other`` in this dtype, as a new expression."""
        return self._in_place(np.bitwise_and, other)

    def __ior__(self, other: Any) -> Self:
        """Return ``self | other`` in this dtype, as a new expression."""
        return self._in_place(np.bitwise_or, other)

    def __ixor__(self, other: Any) -> Self:
        """Return ``self ^ other`` in this dtype, as a new expression."""
        return self._in_place(np.bitwise_xor, other)

    def __imatmul__(self, other: Any) -> Self:
        """Return ``self @ other`` in this dtype, as a new expression; its shape must be this one."""
        product = np.matmul(self, other)
        if product.shape != self.shape:
            raise ValueError(f"output of shape {product.shape} cannot take the place of an array of shape {self.shape}")
        result: Self = product.astype(self.dtype, casting="same_kind")
        return result


def _plain(shape: Shape) -> str:
    return "(" + ",".join(map(str, shape)) + ("," if len(shape) == 1 else "") + ")"
