"""What NumPy's ufuncs and functions do when they meet an Array."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from chunkarr.array.expression import Expression, as_node, as_operand
from chunkarr.array.handles import handle_of
from chunkarr.array.outputs import check_out, fill
from chunkarr.errors import UnsupportedError
from chunkarr.graph import Load, Node, topological
from chunkarr.ops import elementwise, layout
from chunkarr.ops.reduce import reduce
from chunkarr.ops.reductions import NO_INITIAL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["HANDLERS", "as_mask", "call_ufunc", "implements", "outer_operands", "reduce_ufunc"]

Function = TypeVar("Function", bound="Callable[..., Any]")

HANDLERS: dict[Any, Callable[..., Any]] = {}  # NumPy's functions -> ours

# ufunc.reduce(x) -> row of the table of reductions
REDUCING = {
    np.add: "sum",
    np.multiply: "prod",
    np.maximum: "maximum",
    np.minimum: "minimum",
    np.fmax: "fmax",
    np.fmin: "fmin",
    np.logical_and: "logical_and",
    np.logical_or: "logical_or",
    np.logical_xor: "logical_xor",
    np.bitwise_and: "bitwise_and",
    np.bitwise_or: "bitwise_or",
    np.bitwise_xor: "bitwise_xor",
    np.gcd: "gcd",
    np.lcm: "lcm",
    np.hypot: "hypot",
    np.logaddexp: "logaddexp",
    np.logaddexp2: "logaddexp2",
}


def implements(function: Any) -> Callable[[Function], Function]:
    """Register the decorated function as what NumPy's ``function`` does with an Array."""

    def register(ours: Function) -> Function:
        HANDLERS[function] = ours
        return ours

    return register


def as_mask(where: Any) -> Node | None:
    """Return the node of a ``where=`` argument, None for True; masks that are not boolean raise NumPy's TypeError."""
    if where is True:
        return None
    node = as_node(where)
    return elementwise.astype(node, bool, casting="safe")


def call_ufunc(ufunc: np.ufunc, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """Build the expression of a ufunc call, one node per output; what is given as ``out=`` is filled."""
    asked = dict(kwargs)
    out = asked.pop("out", None)
    mask = as_mask(asked.pop("where", True))
    asked.pop("subok", None)
    asked.pop("order", None)  # memory layout is not the user's to see
    outs = out if isinstance(out, tuple) else (out,) * ufunc.nout
    for target in outs:
        if target is not None:
            check_out(target)
    casting = asked.get("casting", "same_kind")
    nodes = elementwise.call(ufunc, [as_operand(i) for i in inputs], where=mask, kwargs=asked)
    _check_apart(ufunc, nodes, outs)
    results: list[Any] = []
    for node, target in zip(nodes, outs, strict=True):
        if target is not None:
            fill(target, node, casting, mask)
        results.append(node if target is None else target)
    return results


def _check_apart(ufunc: np.ufunc, nodes: Sequence[Node], outs: Sequence[Any]) -> None:
    """Refuse to write one of several results to an array that the others are computed of."""
    if len(outs) < 2:
        return
    handles = {id(o._handle) for o in outs if isinstance(o, Expression)}  # noqa: SLF001
    for node in topological(nodes):
        handle = handle_of(node) if isinstance(node.op, Load) else None
        if handle is not None and id(handle) in handles:
            raise UnsupportedError(
                f"{ufunc.__name__}: {node.op.stored.path} is both an operand and one of several outputs; "  # type: ignore[attr-defined]
                "leave out= away and assign the results one after another, the first of them saved or computed"
            )


def reduce_ufunc(
    ufunc: np.ufunc,
    array: Any,
    axis: Any = 0,
    dtype: Any = None,
    keepdims: bool = False,
    initial: Any = NO_INITIAL,
    where: Any = True,
) -> Node:
    """Return the node of ``ufunc.reduce(array, ...)``."""
    if ufunc not in REDUCING:
        raise TypeError(f"numpy.{ufunc.__name__}.reduce is not implemented for chunkarr arrays")
    given = {} if initial is NO_INITIAL or initial is np._NoValue else {"initial": initial}  # noqa: SLF001
    node = as_node(array)
    return reduce(node, REDUCING[ufunc], axis, dtype=dtype, keepdims=keepdims, where=as_mask(where), **given)


def outer_operands(left: Any, right: Any) -> tuple[Node, Node]:
    """Return the two operands of ``ufunc.outer`` with axes that broadcast against each other."""
    one, other = as_node(left), as_node(right)
    return layout.reshape(one, one.shape + (1,) * other.ndim), other
