"""The array that users hold: NumPy's face on a node of the graph.

The face is cut into rooms by subject; `Array` puts them together and adds indexing and NumPy's protocols.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from chunkarr.array.assigning import check_writable, set_item
from chunkarr.array.batches import batch
from chunkarr.array.checking import Checking
from chunkarr.array.dispatch import HANDLERS, call_ufunc, implements, outer_operands, reduce_ufunc
from chunkarr.array.expression import Expression, as_node
from chunkarr.array.growing import Growing
from chunkarr.array.operators import InPlace
from chunkarr.array.outputs import deliver
from chunkarr.array.picking import Picking, pick
from chunkarr.array.reducing import Reducing
from chunkarr.array.saving import Path, write, write_raw
from chunkarr.array.shaping import Shaping
from chunkarr.array.sorting import Sorting
from chunkarr.graph import Node
from chunkarr.ops import layout
from chunkarr.selection import is_basic, parse_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

__all__ = ["HANDLERS", "Array", "as_node", "implements", "wrap"]


class Array(InPlace, Growing, Shaping, Sorting, Reducing, Picking, Checking, NDArrayOperatorsMixin):
    """An array of any size, lazy until its values are asked for.

    Made by `chunkarr.open`, `chunkarr.asarray`, the functions of this package, and by NumPy's functions
    and operators on other Arrays. Slicing, arithmetic and reshaping read nothing. ``np.asarray``,
    ``float``, ``save`` and ``compute`` read and compute, block by block within the memory budget.

    Examples
    --------
    >>> import chunkarr as ca
    >>> a = ca.arange(12).reshape(3, 4)
    >>> (a * 2)[1:, ::-1].sum(axis=1)
    <chunkarr.Array (2,) int64>
    >>> np.asarray((a * 2)[1:, ::-1].sum(axis=1))
    array([44, 76])
    """

    __slots__ = ()
    __array_priority__ = 100.0

    # --- elements and parts ------------------------------------------------------------------

    def __getitem__(self, key: Any) -> Array:
        """Return a part of the array, lazily, by any key that NumPy takes.

        What ints, slices, None, Ellipsis and field names take is a view; what lists, integer arrays and masks
        take is an expression. A mask is counted at once, so that the shape is known.
        """
        if isinstance(key, str) or (isinstance(key, list) and key and all(isinstance(k, str) for k in key)):
            if self.dtype.names is None:
                np.empty((0,), self.dtype)[key]  # NumPy's own refusal
            return wrap(layout.field(self._node, key))
        if not is_basic(key):
            return wrap(pick(self, key))
        node = self._node
        return wrap(layout.take_basic(node, parse_key(key, node.shape)))

    def __setitem__(self, key: Any, value: Any) -> None:
        """Change the stored array that this is a view of, on disk when the statement returns.

        Keys and values are NumPy's; the value may be larger than memory and may be computed from this array.
        Expressions and arrays open for reading raise NumPy's ValueError.
        """
        set_item(self, key, value)

    def __iter__(self) -> Iterator[Array]:
        """Iterate over the first axis."""
        if not self.shape:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(self.shape[0]))

    def __contains__(self, value: Any) -> bool:
        """Return whether any element equals ``value``."""
        return bool((self == value).any())

    def item(self, *args: Any) -> Any:
        """Return one element as a Python scalar: the only one, or the one at a flat index or an index per axis."""
        if len(args) == 1 and isinstance(args[0], tuple):
            args = args[0]
        if not args:
            if self.size != 1:
                raise ValueError("can only convert an array of size 1 to a Python scalar")
            return self.compute().item()
        if len(args) == 1 and self.ndim != 1:
            if not -self.size <= args[0] < self.size:
                raise IndexError(f"index {args[0]} is out of bounds for size {self.size}")
            return self.ravel()[args[0]].compute().item()
        if len(args) != self.ndim:
            raise ValueError("incorrect number of indices for array")
        return self[args].compute().item()

    def batch(self) -> AbstractContextManager[None]:
        """Collect many small changes of a stored array, made through it or its views, into one.

        Reads within the context see them; other readers see all of them when it ends, or none after an exception.
        """
        return batch(check_writable(self))

    # --- to files ----------------------------------------------------------------------------

    def save(self, path: Path, **options: Any) -> Array:
        """Write the array to ``path``, whole or not at all; return it opened. Options as `chunkarr.save`."""
        return wrap(write(self._node, path, **options))

    def tofile(self, fid: Any, sep: str = "", format: str = "%s") -> None:  # noqa: A002 - NumPy's signature
        """Write the elements in C order, and nothing else, to a path or an open binary file, block by block.

        With ``sep`` an open file gets text: each element by ``format``, ``sep`` between them.
        """
        write_raw(self._node, fid, sep, format)

    # --- NumPy's protocols -------------------------------------------------------------------

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        """Return chunkarr, whose functions follow the array API standard."""
        if api_version not in {None, "2021.12", "2022.12", "2023.12", "2024.12", "2025.12"}:
            raise ValueError(f"array API version {api_version!r} is not known; the newest here is '2025.12'")
        return sys.modules[__name__.partition(".")[0]]

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """Do what NumPy's ufuncs do, lazily."""
        if any(not _is_known(x) for x in inputs):
            return NotImplemented
        if method == "__call__" and ufunc.signature is None:
            nodes = call_ufunc(ufunc, inputs, kwargs)
        elif method == "outer" and ufunc.signature is None:
            nodes = call_ufunc(ufunc, tuple(wrap(n) for n in outer_operands(*inputs)), kwargs)
        elif method == "reduce":
            out = kwargs.pop("out", None)
            return deliver(wrap(reduce_ufunc(ufunc, *inputs, **kwargs)), out)
        else:
            handler = HANDLERS.get(ufunc) if method == "__call__" else HANDLERS.get(getattr(np.ufunc, method))
            if handler is None:
                name = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
                raise TypeError(f"numpy.{name} is not implemented for chunkarr arrays")
            return handler(*inputs, **kwargs) if method == "__call__" else handler(ufunc, *inputs, **kwargs)
        results = tuple(wrap(n) if isinstance(n, Node) else n for n in nodes)
        return results[0] if len(results) == 1 else results

    def __array_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Do what NumPy's function does, lazily; refuse a function that would load the array whole."""
        if not all(issubclass(t, Expression | np.ndarray) for t in types):
            return NotImplemented
        handler = HANDLERS.get(func)
        if handler is None:
            name = f"{func.__module__}.{func.__name__}"
            raise TypeError(
                f"{name} is not implemented for chunkarr arrays; compute() a part that fits memory and call it on that"
            )
        return handler(*args, **kwargs)


def wrap(node: Node) -> Array:
    """Return the Array of a node."""
    return Array(node)


def _is_known(value: Any) -> bool:
    """Say whether an operand is ours or NumPy's to convert; others may know better what to do with us."""
    theirs = getattr(type(value), "__array_ufunc__", None)
    return theirs is None or isinstance(value, Expression | np.ndarray | np.generic)
