"""Where results go: into a new expression, or into the ndarray or stored array given as ``out=``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr import engine
from chunkarr.array.assigning import check_writable, seen_by, set_view
from chunkarr.array.expression import Expression, as_node
from chunkarr.array.values import broadcasts, cast
from chunkarr.graph import Node
from chunkarr.ops import elementwise, layout
from chunkarr.ops.assign import Everywhere, Somewhere

if TYPE_CHECKING:
    from chunkarr.array.assigning import What
    from chunkarr.array.drafts import Draft

__all__ = ["check_castable", "check_out", "deliver", "fill"]


def deliver(result: Expression, out: Any) -> Any:
    """Return ``result``, or write its values into ``out`` and return that.

    Raises
    ------
    ValueError
        If ``out`` is an Array that cannot be written to, or of another shape.
    TypeError
        If its dtype cannot hold the values; both before anything is computed.
    """
    if out is None:
        return result
    if isinstance(out, tuple) and len(out) == 1:
        return deliver(result, out[0])
    check_out(out)
    if out.shape != result.shape:
        raise ValueError(f"output array has shape {out.shape}, the result has shape {result.shape}")
    fill(out, as_node(result))
    return out


def check_out(out: Any) -> None:
    """Raise what NumPy raises for something that results cannot be written to."""
    if isinstance(out, Expression):
        check_writable(out, "output array")
    elif not isinstance(out, np.ndarray):
        raise TypeError("return arrays must be of ArrayType")


def check_castable(source: np.dtype[Any], target: np.dtype[Any], casting: Any) -> None:
    """Raise NumPy's TypeError if values of one dtype may not be cast to another."""
    np.copyto(np.empty(0, target), np.empty(0, source), casting=casting)


def fill(
    out: np.ndarray[Any, Any] | Expression, node: Node, casting: Any = "same_kind", mask: Node | None = None
) -> None:
    """Write values, which broadcast, into an ndarray or a stored array, where ``mask`` is true."""
    check_castable(node.dtype, out.dtype, casting)
    if isinstance(out, np.ndarray):
        if mask is not None:  # in the dtype of the target: its own values must not lose digits
            node = elementwise.select(mask, elementwise.astype(node, out.dtype), as_node(out.copy()))
        np.copyto(out, engine.compute([node])[0], casting=casting)
        return
    source = type(out)(node)

    def make(draft: Draft | None, view: Node) -> What:
        values = cast(broadcasts(seen_by(draft, source), view.shape), view.dtype, quiet=draft is None)
        if mask is None:
            return Everywhere(values.shape), (values,)
        where = layout.broadcast_to(mask, view.shape)
        return Somewhere(values.shape, where.shape), (values, where)

    set_view(out, make)
