"""Parts of an array that lists, index arrays and masks take: in a key, or by a function."""

from __future__ import annotations

import math
import operator
from typing import Any, Self

import numpy as np

from chunkarr import engine, settings
from chunkarr.advanced import parse_advanced
from chunkarr.array.expression import Expression, as_node
from chunkarr.errors import UnsupportedError
from chunkarr.graph import Node
from chunkarr.grid import Grid, Shape
from chunkarr.lookups import Advanced, Group, Lookup
from chunkarr.ops import elementwise
from chunkarr.ops.compressing import Hits, compress, count_runs, run_grid
from chunkarr.ops.fetching import take_far
from chunkarr.ops.gathering import take_advanced
from chunkarr.ops.layout import broadcast_to, reshape, take_basic
from chunkarr.ops.sources import constant, indices
from chunkarr.selection import is_basic, parse_key

__all__ = ["Picking", "pick", "take_where", "truth", "with_numbers", "with_values"]

LARGE = 1 << 20  # elements of a mask from which on it is never held whole
HELD = 24  # bytes that looking one index up holds


class Picking(Expression):
    """``take``, ``compress`` and ``nonzero``: NumPy's signatures and errors."""

    __slots__ = ()

    def take(self, indices: Any, axis: int | None = None, out: None = None, mode: str = "raise") -> Self:
        """Return the elements at ``indices`` along an axis, of the flattened array if it is None.

        Indices out of bounds raise IndexError; with mode "wrap" they are counted around, with "clip" the nearest is
        taken, negative ones being the first.
        """
        if out is not None:
            raise TypeError("take: out= is not supported by the method; use chunkarr.take")
        node, at = _on_axis(self._node, axis)
        before = (slice(None),) * at
        if isinstance(indices, Expression) and _are_far(node, (*before, indices)):
            return self._with(_picked_far(node, (*before, _far_places(indices, node.shape[at], mode))))
        places = _places(indices, node.shape, at, mode)
        others = (*node.shape[:at], *node.shape[at + 1 :])
        if not math.prod(others):  # nothing lies there, whatever the indices
            shape = (*node.shape[:at], *places.shape, *node.shape[at + 1 :])
            return self._with(constant(np.empty(shape, node.dtype)))
        return self._with(_picked(node, (*before, places if places.ndim else places.item())))

    def compress(self, condition: Any, axis: int | None = None, out: None = None) -> Self:
        """Return the slices along an axis where a condition, which may be shorter, is true; flattened if it is None."""
        if out is not None:
            raise TypeError("compress: out= is not supported by the method; use chunkarr.compress")
        mask = as_node(condition)
        if mask.ndim != 1:
            raise ValueError("condition must be a 1-d array")
        node, at = _on_axis(self._node, axis)
        if at == 0 and mask.shape[0] == node.shape[0]:
            return self._with(take_where([node], truth(mask))[0])
        return self._with(node).take(np.flatnonzero(engine.compute([truth(mask)])[0]), at)

    def nonzero(self) -> tuple[Self, ...]:
        """Return the indices of the elements that are not zero, an array for each axis; counts them now."""
        if not self.shape:
            np.empty(()).nonzero()  # NumPy refuses in its own words
        places = [indices(self.shape, axis) for axis in range(self.ndim)]
        return tuple(self._with(node) for node in take_where(places, truth(self._node)))


def _on_axis(node: Node, axis: Any) -> tuple[Node, int]:
    """Return an array and the axis that is meant, flattened where none is given."""
    if axis is None:
        return reshape(node, (math.prod(node.shape),)), 0
    node = node if node.ndim else reshape(node, (1,))
    return node, np.lib.array_utils.normalize_axis_index(operator.index(axis), node.ndim)


def _places(given: Any, shape: Shape, axis: int, mode: str) -> np.ndarray[Any, Any]:
    """Return the indices along ``axis`` that `take` means, as int64, or raise what NumPy raises."""
    size = shape[axis]
    arrays = isinstance(given, np.ndarray | Expression)
    values = np.asarray(given) if arrays else np.array(given, np.int64)  # NumPy cuts floats of lists, as here
    np.empty(1).take(np.empty(0, values.dtype), mode=mode)  # type: ignore[call-overload]
    places: np.ndarray[Any, Any] = values.astype(np.int64)
    looked_at = math.prod(shape[:axis]) and (mode == "raise" or not (size or not math.prod(shape[axis + 1 :])))
    if places.size and looked_at:
        for bound in (places.min(), places.max()):
            if not -size <= bound < size:
                first = places[(places < -size) | (places >= size)].flat[0]
                np.empty(size, "V0").take(first)
    if mode == "wrap" and size:
        places = np.asarray(places % size)
    if mode == "clip":
        places = np.asarray(places.clip(0, max(0, size - 1)))
    return places


def _far_places(given: Any, size: int, mode: str) -> Any:
    """Return an Array of the indices that `take` means, or raise what NumPy raises for its arguments."""
    np.empty(1).take(np.empty(0, given.dtype), mode=mode)  # type: ignore[call-overload]
    if mode == "raise" or not size:
        return given
    return given % size if mode == "wrap" else np.clip(given, 0, size - 1)


def _picked(node: Node, key: Any) -> Node:
    if is_basic(key):
        return take_basic(node, parse_key(key, node.shape))
    return take_advanced(node, parse_advanced(key, node.shape))


def truth(node: Node) -> Node:
    """Return where ``node`` is not zero: text not empty, any field of a record not zero."""
    kind = np.dtype(bool)
    if node.dtype.kind in "biufcmM":
        return elementwise.astype(node, kind)
    return elementwise.map_tiles(_not_zero, (node,), kind)


def _not_zero(x: Any, out: Any) -> None:
    """Ask NumPy's ``nonzero``, whose answer for text and records no cast gives."""
    found = np.atleast_1d(out)
    found[...] = False
    found[np.atleast_1d(x).nonzero()] = True


def pick(array: Expression, key: Any) -> Node:
    """Return the node of ``array[key]`` for a key that is not basic; Arrays in it are computed.

    A large mask alone is not: it is counted, block by block, so that the shape is known. Nor are indices that do
    not fit the budget together with what they select: these are looked up when the result is.

    Raises
    ------
    IndexError, ValueError
        As NumPy raises them; for indices that do not fit the budget when they are looked up.
    UnsupportedError
        If a mask stands beside such indices.
    """
    node = array._node  # noqa: SLF001
    key = with_numbers(key)
    if is_basic(key):
        return _picked(node, key)
    if _are_far(node, key):
        return _picked_far(node, key if isinstance(key, tuple) else (key,))
    mask = key[0] if isinstance(key, tuple) and len(key) == 1 else key
    if isinstance(mask, Expression | np.ndarray) and mask.dtype == bool and mask.ndim and mask.size > LARGE:
        if mask.shape != array.shape[: mask.ndim]:
            parse_advanced(np.broadcast_to(np.False_, mask.shape), array.shape)  # raises
        (result,) = take_where([node], as_node(mask))
        return result
    return take_advanced(node, parse_advanced(with_values(key), array.shape))


def _are_far(node: Node, key: Any) -> bool:
    """Say whether a key has indices, computed by Arrays, that do not fit the budget together with what they select."""
    items = key if isinstance(key, tuple) else (key,)
    size = max((i.size for i in items if isinstance(i, Expression) and i.dtype.kind in "iu" and i.ndim), default=0)
    row = math.prod(node.shape[len(items) :]) * node.dtype.itemsize
    return 2 * size * (HELD + row) > settings.budget()


def _picked_far(node: Node, key: tuple[Any, ...]) -> Node:
    """Return ``node[key]`` for index arrays larger than memory: the key is understood with one index for each."""
    arrays: list[Node] = []
    stood = []
    for item in key:
        listed = isinstance(item, list) or (isinstance(item, Expression | np.ndarray) and item.ndim)
        if listed:
            given = as_node(item)
            if given.dtype.kind == "b":
                raise UnsupportedError("a mask beside index arrays larger than memory; take its nonzero() first")
            if given.dtype.kind not in "iu":
                raise IndexError("arrays used as indices must be of integer (or boolean) type")
            arrays.append(given)
        stood.append(np.zeros((1,) * arrays[-1].ndim, np.int64) if listed else item)
    one = parse_advanced(tuple(stood), node.shape)
    extent = np.broadcast_shapes(*(array.shape for array in arrays))
    size = (math.prod(extent),)
    flat = [reshape(broadcast_to(array, extent), size) for array in arrays]
    axes = [axis for item, axis in one.placed() if isinstance(item, Lookup)]
    lookups = (Lookup(0, number) for number in range(len(axes)))
    items = tuple(next(lookups) if isinstance(item, Lookup) else item for item in one.items)
    group = Group(tuple(axes), tuple(range(len(extent))), ())
    after = one.place + len(one.extent)
    shape = (*one.shape[: one.place], *extent, *one.shape[after:])
    return take_far(node, Advanced(node.shape, items, (group,), extent, one.place, shape), [flat])


def take_where(nodes: list[Node], mask: Node) -> list[Node]:
    """Return the elements of each node where ``mask``, of the shape of its leading axes, is true; counts it now."""
    if math.prod(mask.shape) <= max(LARGE, 0):
        (values,) = engine.compute([mask])
        return [take_advanced(node, parse_advanced(values, node.shape)) for node in nodes]
    widest = max(nodes, key=lambda n: n.dtype.itemsize)
    runs = run_grid(Grid(mask.shape, widest.grid.steps[: mask.ndim]))
    (counts,) = engine.compute([count_runs(mask, runs)])
    hits = Hits.of(runs, counts)
    return [compress(node, mask, hits) for node in nodes]


def with_numbers(key: Any) -> Any:
    """Return a key with the numbers that Arrays of integers without axes in it hold."""
    items = key if isinstance(key, tuple) else (key,)
    if not any(isinstance(i, Expression) and not i.ndim and i.dtype.kind in "iu" for i in items):
        return key
    numbers = (int(i) if isinstance(i, Expression) and not i.ndim and i.dtype.kind in "iu" else i for i in items)
    return tuple(numbers) if isinstance(key, tuple) else next(numbers)


def with_values(key: Any) -> Any:
    """Return a key with the values of the Arrays in it.

    Raises IndexError, as NumPy does, for Arrays that are neither of integers nor of booleans.
    """
    items = key if isinstance(key, tuple) else (key,)
    for item in items:
        if isinstance(item, Expression) and item.dtype.kind not in "biu":
            raise IndexError("arrays used as indices must be of integer (or boolean) type")
    values = tuple(item.compute() if isinstance(item, Expression) else item for item in items)
    return values if isinstance(key, tuple) else values[0]
