"""Elementwise calls: NumPy's ufuncs, and the few functions that act like them.

The dtype and the errors of a call come from calling the function on arrays of size zero: what NumPy
would answer is then what NumPy answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.graph import Elementwise, Node, Operand
from chunkarr.grid import Grid, Shape

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["astype", "broadcast_grid", "broadcast_shape", "call", "copied", "map_tiles", "select"]


def broadcast_shape(function: Callable[..., Any], nodes: Sequence[Node], shapes: Sequence[Shape]) -> Shape:
    """Return the shape that ``shapes`` broadcast to, or raise what ``function`` would."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        # Zero-stride arrays of the true shapes: NumPy refuses them with its own words.
        function(*(np.broadcast_to(np.empty((), n.dtype), n.shape) for n in nodes))
        raise


def broadcast_grid(shape: Shape, nodes: Sequence[Node]) -> Grid:
    """Return the grid of the largest input, completed along the axes that it broadcasts."""
    steps, firsts = list(shape), [0] * len(shape)
    for node in sorted(nodes, key=lambda n: n.op.dtype.itemsize * _size(n.shape)):
        lead = len(shape) - node.ndim
        for axis, n in enumerate(node.shape):
            if n == shape[lead + axis]:
                steps[lead + axis], firsts[lead + axis] = node.grid.steps[axis], node.grid.firsts[axis]
    return Grid(shape, tuple(steps), tuple(firsts))


def _size(shape: Shape) -> int:
    size = 1
    for n in shape:
        size *= n
    return size


def call(
    function: Any,
    args: Sequence[Any],
    *,
    where: Node | None = None,
    kwargs: dict[str, Any] | None = None,
) -> tuple[Node, ...]:
    """Call ``function`` elementwise on nodes and constants; one node per output.

    ``where`` masks the call as NumPy's ``where=`` does; elsewhere the result is zero.
    """
    kwargs = kwargs or {}
    inputs: list[Node] = []
    places: list[Any] = []

    def place(node: Node) -> Operand:
        inputs.append(node)
        return Operand(len(inputs) - 1)

    places.extend(place(arg) if isinstance(arg, Node) else arg for arg in args)
    shape = broadcast_shape(function, list(inputs), [n.shape for n in inputs])
    empties = [np.empty((0,), a.dtype) if isinstance(a, Node) else a for a in args]
    answer = function(*empties, **kwargs)
    outputs = answer if isinstance(answer, tuple) else (answer,)
    dtypes = tuple(o.dtype for o in outputs)
    where_place = place(where) if where is not None else None
    if where is not None:
        shape = np.broadcast_shapes(shape, where.shape)
    grid = broadcast_grid(shape, inputs)
    token = object()
    return tuple(
        Node(
            Elementwise(
                shape,
                dtypes,
                function,
                tuple(places),
                tuple(n.shape for n in inputs),
                kwargs=kwargs,
                index=index,
                call=token,
                where=where_place,
            ),
            inputs,
            grid,
        )
        for index in range(len(dtypes))
    )


def map_tiles(function: Any, args: Sequence[Any], dtype: np.dtype[Any]) -> Node:
    """Apply ``function(*tiles, out=tile)``, which is no ufunc, elementwise; the dtype is known."""
    inputs = [a for a in args if isinstance(a, Node)]
    shape = np.broadcast_shapes(*(n.shape for n in inputs))
    count = iter(range(len(inputs)))
    places = tuple(Operand(next(count)) if isinstance(a, Node) else a for a in args)
    op = Elementwise(shape, (np.dtype(dtype),), function, places, tuple(n.shape for n in inputs))
    return Node(op, inputs, broadcast_grid(shape, inputs))


def _cast(x: Any, out: Any) -> None:
    np.copyto(out, x, casting="unsafe")


def astype(node: Node, dtype: Any, casting: Any = "unsafe") -> Node:
    """Return ``node`` cast to ``dtype``; nothing happens where it has that dtype already."""
    kind = np.dtype(dtype)
    kind = np.empty(0, node.dtype).astype(kind, casting=casting).dtype
    return node if kind == node.dtype else map_tiles(_cast, (node,), kind)


def copied(node: Node) -> Node:
    """Return the values of ``node`` as a node that is no view of anything."""
    return map_tiles(_cast, (node,), node.dtype)


def _choose(condition: Any, x: Any, y: Any, out: Any) -> None:
    np.copyto(out, y, casting="unsafe")
    np.copyto(out, x, casting="unsafe", where=condition)


def select(condition: Node, x: Any, y: Any) -> Node:
    """Return ``np.where(condition, x, y)``, of nodes and constants."""
    empties = [np.empty((0,), a.dtype) if isinstance(a, Node) else a for a in (x, y)]
    dtype = np.where(np.empty((0,), bool), *empties).dtype
    x, y = (a if isinstance(a, Node) else np.asarray(a).astype(dtype) for a in (x, y))  # wraps, as NumPy's where
    condition = condition if condition.dtype == bool else call(np.not_equal, (condition, 0))[0]
    return map_tiles(_choose, (condition, x, y), dtype)
