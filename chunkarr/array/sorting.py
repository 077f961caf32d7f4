"""Putting arrays in order: as an expression, or where they are stored."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from chunkarr.array.assigning import check_writable, set_view
from chunkarr.array.dispatch import HANDLERS
from chunkarr.array.expression import Expression, as_node
from chunkarr.ops.assign import Everywhere
from chunkarr.ops.elementwise import astype
from chunkarr.ops.layout import reshape
from chunkarr.ops.sorting import argsort, sort
from chunkarr.ops.sources import full
from chunkarr.ops.turning import turned

if TYPE_CHECKING:
    from chunkarr.array.assigning import What
    from chunkarr.array.drafts import Draft
    from chunkarr.graph import Node

__all__ = ["Sorting", "sorted_node"]


class Sorting(Expression):
    """What sorts."""

    __slots__ = ()

    def sort(
        self, axis: int = -1, kind: Any = None, order: Any = None, *, stable: bool | None = None,
        descending: bool | None = None,
    ) -> None:  # fmt: skip
        """Sort a stored array, or a view of one, where it is stored: sorted on disk when this returns.

        A process that is killed meanwhile leaves the old array. `chunkarr.sort` returns a sorted copy instead.

        Parameters
        ----------
        axis, kind, order, stable, descending
            As of `chunkarr.sort`.

        Raises
        ------
        ValueError
            If this is not a stored array that was opened "r+".
        """
        check_writable(self, "sort: the array")
        np.empty((0,) * self.ndim, self.dtype).sort(operator.index(axis), kind, order, stable=stable)  # type: ignore[call-overload, unused-ignore]
        _check_descending(self, kind, descending)
        at, keep = axis % self.ndim, _is_stable(kind, stable)

        def make(_: Draft | None, view: Node) -> What:
            return Everywhere(view.shape), (_sorted(view, at, order, stable=keep, descending=bool(descending)),)

        set_view(self, make)

    def argsort(
        self, axis: int | None = -1, kind: Any = None, order: Any = None, *, stable: bool | None = None,
        descending: bool | None = None,
    ) -> Self:  # fmt: skip
        """Return the indices that would sort the array along an axis; see `chunkarr.argsort`."""
        np.argsort(np.empty((0,) * self.ndim, self.dtype), axis, kind, order, stable=stable)  # type: ignore[call-overload, unused-ignore]
        _check_descending(self, kind, descending)
        if not self.ndim:
            return self._with(full(np.argsort(np.zeros(()), axis).shape, 0, np.dtype(np.intp)))
        node, at = _line(self._node, axis)
        node = turned(node) if descending else node
        return self._with(argsort(node, at, order=order, stable=_is_stable(kind, stable)))

    def partition(self, kth: Any, axis: int = -1, kind: str = "introselect", order: Any = None) -> None:
        """Partition a stored array, or a view of one, where it is stored; `chunkarr.partition` returns a copy instead.

        A process that is killed meanwhile leaves the old array.

        Parameters
        ----------
        kth, axis, kind, order
            As of `chunkarr.partition`.

        Raises
        ------
        ValueError
            If this is not a stored array that was opened "r+".
        """
        check_writable(self, "partition: the array")
        at = int(np.lib.array_utils.normalize_axis_index(operator.index(axis), self.ndim))

        def make(_: Draft | None, view: Node) -> What:
            return Everywhere(view.shape), (as_node(HANDLERS[np.partition](self._with(view), kth, at, kind, order)),)

        set_view(self, make)

    def argpartition(self, kth: Any, axis: int | None = -1, kind: str = "introselect", order: Any = None) -> Self:
        """Return the indices that would partition the array along an axis; see `chunkarr.argpartition`."""
        found: Self = HANDLERS[np.argpartition](self, kth, axis, kind, order)
        return found

    def searchsorted(self, v: Any, side: Any = "left", sorter: Any = None) -> Self:
        """Return where values would be inserted into this sorted array; see `chunkarr.searchsorted`."""
        found: Self = HANDLERS[np.searchsorted](self, v, side, sorter)
        return found


def sorted_node(
    array: Expression, axis: int | None, kind: Any, order: Any, stable: bool | None, descending: bool | None = None
) -> Node:
    """Return the node of the sorted array; NumPy raises its errors for arguments that it refuses."""
    np.sort(np.empty((0,) * array.ndim, array.dtype), axis, kind, order, stable=stable)  # type: ignore[call-overload, unused-ignore]
    _check_descending(array, kind, descending)
    node, at = _line(array._node, axis)  # noqa: SLF001
    return _sorted(node, at, order, stable=_is_stable(kind, stable), descending=bool(descending))


def _sorted(node: Node, axis: int, order: Any, *, stable: bool, descending: bool) -> Node:
    """Return ``node`` sorted along an axis (0 <= axis < ndim), in either direction."""
    if not descending:
        return sort(node, axis, order=order, stable=stable)
    return astype(turned(sort(turned(node), axis, stable=stable)), node.dtype)


def _check_descending(array: Expression, kind: Any, descending: bool | None) -> None:
    """Raise what NumPy raises from version 2.5 on, where it knows ``descending``."""
    if descending is not None and kind is not None:
        raise ValueError("`kind` and keyword parameters can't be provided at the same time. Use only one of them.")
    if descending:
        turned(array._node)  # noqa: SLF001


def _is_stable(kind: Any, stable: bool | None) -> bool:
    return bool(stable) or (kind is not None and kind[:1].lower() in ("m", "s"))


def _line(node: Node, axis: int | None) -> tuple[Node, int]:
    """Return what is sorted along which axis: the flattened array where none is given."""
    if axis is None:
        size = int(np.prod(node.shape, dtype=np.int64))
        return reshape(node, (size,)), 0
    return node, operator.index(axis) % node.ndim
