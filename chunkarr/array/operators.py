"""Operators in place: stored arrays change on disk, other names are bound to a new expression."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from chunkarr.array.assigning import is_writable, seen_by, set_item, set_view
from chunkarr.array.expression import Expression, as_operand
from chunkarr.graph import Node
from chunkarr.ops import elementwise
from chunkarr.ops.assign import Everywhere

if TYPE_CHECKING:
    from chunkarr.array.assigning import What
    from chunkarr.array.drafts import Draft
    from chunkarr.grid import Shape

__all__ = ["InPlace"]


class InPlace(Expression):
    """``a += b`` and its kin: this dtype and shape are kept, or NumPy's errors raised."""

    __slots__ = ()

    def _in_place(self, ufunc: np.ufunc, other: Any) -> Self:
        if not is_writable(self):
            return self._with(_combined(ufunc, self._node, as_operand(other)))

        def make(draft: Draft | None, view: Node) -> What:
            theirs = seen_by(draft, other) if isinstance(other, Expression) else as_operand(other)
            node = _combined(ufunc, view, theirs)
            return Everywhere(node.shape), (node,)

        set_view(self, make)
        return self

    def __iadd__(self, other: Any) -> Self:
        """Return ``self + other`` in this dtype."""
        return self._in_place(np.add, other)

    def __isub__(self, other: Any) -> Self:
        """Return ``self - other`` in this dtype."""
        return self._in_place(np.subtract, other)

    def __imul__(self, other: Any) -> Self:
        """Return ``self * other`` in this dtype."""
        return self._in_place(np.multiply, other)

    def __itruediv__(self, other: Any) -> Self:
        """Return ``self / other`` in this dtype."""
        return self._in_place(np.true_divide, other)

    def __ifloordiv__(self, other: Any) -> Self:
        """Return ``self // other`` in this dtype."""
        return self._in_place(np.floor_divide, other)

    def __imod__(self, other: Any) -> Self:
        """Return ``self % other`` in this dtype."""
        return self._in_place(np.remainder, other)

    def __ipow__(self, other: Any) -> Self:
        """Return ``self ** other`` in this dtype."""
        return self._in_place(np.power, other)

    def __ilshift__(self, other: Any) -> Self:
        """Return ``self << other`` in this dtype."""
        return self._in_place(np.left_shift, other)

    def __irshift__(self, other: Any) -> Self:
        """Return ``self >> other`` in this dtype."""
        return self._in_place(np.right_shift, other)

    def __iand__(self, other: Any) -> Self:
        """Return ``self & other`` in this dtype."""
        return self._in_place(np.bitwise_and, other)

    def __ior__(self, other: Any) -> Self:
        """Return ``self | other`` in this dtype."""
        return self._in_place(np.bitwise_or, other)

    def __ixor__(self, other: Any) -> Self:
        """Return ``self ^ other`` in this dtype."""
        return self._in_place(np.bitwise_xor, other)

    def __imatmul__(self, other: Any) -> Self:
        """Return ``self @ other`` in this dtype; its shape must be this one."""
        product = np.matmul(self, other)
        if product.shape != self.shape:
            raise ValueError(f"output of shape {product.shape} cannot take the place of an array of shape {self.shape}")
        result: Self = product.astype(self.dtype, casting="same_kind")
        if not is_writable(self):
            return result
        set_item(self, ..., result)
        return self


def _combined(ufunc: np.ufunc, mine: Node, theirs: Any) -> Node:
    """Return ``ufunc(mine, theirs, out=mine)`` as a new node, with NumPy's errors."""
    empty = np.empty((0,), mine.dtype)
    ufunc(empty, np.empty((0,), theirs.dtype) if isinstance(theirs, Node) else theirs, out=empty)
    (node,) = elementwise.call(ufunc, [mine, theirs])
    if node.shape != mine.shape:
        raise ValueError(
            f"non-broadcastable output operand with shape {_plain(mine.shape)} doesn't match the broadcast shape "
            f"{_plain(node.shape)}"
        )
    return elementwise.astype(node, mine.dtype)


def _plain(shape: Shape) -> str:
    return "(" + ",".join(map(str, shape)) + ("," if len(shape) == 1 else "") + ")"
