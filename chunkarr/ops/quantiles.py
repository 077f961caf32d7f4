"""Quantiles: of blocks that hold whole axes by NumPy itself; of more by NumPy's rules on the elements they name."""

from __future__ import annotations

import math
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.graph import Kernel, Node
from chunkarr.grid import Grid, Region, Shape, region_size
from chunkarr.ops.sources import CELL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["FUNCTIONS", "along_axes", "interpolated", "medial_ranks", "ranks_of"]

Block = np.ndarray[Any, Any]
Indices = np.ndarray[Any, np.dtype[np.int64]]
RULES: Any = import_module("numpy.lib._function_base_impl")  # NumPy's own rules, which have no public name

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "median": np.median,
    "nanmedian": np.nanmedian,
    "nanpercentile": np.nanpercentile,
    "nanquantile": np.nanquantile,
    "percentile": np.percentile,
    "quantile": np.quantile,
}


class AlongAxes(Kernel):
    """NumPy's function of blocks that are whole along some axes; the axes of ``q`` come first."""

    __slots__ = ("axes", "in_shape", "itemsize", "kwargs", "name", "q", "weighted")

    def __init__(
        self,
        shape: Shape,
        dtype: np.dtype[Any],
        name: str,
        node: Node,
        axes: tuple[int, ...],
        q: Any,
        kwargs: dict[str, Any],
        *,
        weighted: bool,
    ) -> None:
        super().__init__(shape, dtype)
        self.name, self.axes, self.q, self.kwargs, self.weighted = name, axes, q, kwargs, weighted
        self.in_shape, self.itemsize = node.shape, node.dtype.itemsize

    def needs(self, region: Region) -> tuple[Region | None, ...]:
        """Need the whole of the axes."""
        kept = iter(region[np.ndim(self.q) :] if self.q is not None else region)
        box = tuple((0, n) if k in self.axes else next(kept) for k, n in enumerate(self.in_shape))
        return (box, box) if self.weighted else (box,)

    def kernel(self, blocks: Sequence[Block | None], region: Region, out: Block, scratch: Block) -> None:  # noqa: ARG002
        """Call NumPy."""
        block, *weights = blocks
        kwargs = dict(self.kwargs)
        if self.weighted:
            kwargs["weights"] = weights[0]
        if self.q is not None:
            kwargs["q"] = self.q
            if np.ndim(self.q):
                kwargs["q"] = self.q[tuple(slice(a, b) for a, b in region[: np.ndim(self.q)])]
        out[...] = FUNCTIONS[self.name](block, axis=self.axes, **kwargs)

    def scratch_bytes(self, region: Region) -> int:
        """Count NumPy's copies; with weights also an order and their sums."""
        (box, *_) = self.needs(region)
        assert box is not None
        each = 4 * self.itemsize + (40 if self.weighted else 8)
        return region_size(box) * each + 4 * region_size(region) * max(8, self.dtype.itemsize)


def along_axes(
    name: str, node: Node, axes: tuple[int, ...], q: Any, dtype: np.dtype[Any], kwargs: dict[str, Any],
    weights: Node | None = None,
) -> Node:  # fmt: skip
    """Return the node of NumPy's function ``name`` over ``axes``, which a task holds whole.

    ``q`` is None for medians, a scalar, or an ndarray, whose axes come first.
    """
    lead = () if q is None else np.shape(q)
    kept = [k for k in range(node.ndim) if k not in axes]
    shape = (*lead, *(node.shape[k] for k in kept))
    op = AlongAxes(shape, dtype, name, node, axes, q, kwargs, weighted=weights is not None)
    room = CELL // max(1, node.dtype.itemsize * math.prod(node.shape[k] for k in axes))
    steps: list[int] = []
    for k in reversed(kept):  # a box of the result comes from about one cell of the source
        steps.insert(0, max(1, min(node.grid.steps[k], room)))
        room //= steps[0]
    return Node(op, (node,) if weights is None else (node, weights), Grid(shape, (*lead, *steps)))


def _virtual(dtype: np.dtype[Any], count: int, q: Block, method: str) -> tuple[Block, Indices, Indices | None]:
    """Return where quantiles lie among ``count`` sorted elements, and which elements these are between."""
    rule = RULES._QuantileMethods[method]  # noqa: SLF001 - the oracle itself
    virtual = np.asanyarray(rule["get_virtual_index"](count, q))
    if rule["fix_gamma"] is None or (method == "linear" and np.issubdtype(virtual.dtype, np.integer)):
        return virtual, virtual.astype(np.int64) % count, None
    below, above = RULES._get_indexes(np.empty(0, dtype), virtual, count)  # noqa: SLF001
    return virtual, below, above


def ranks_of(dtype: np.dtype[Any], count: int, q: Block, method: str) -> Indices:
    """Return the ascending ranks, among ``count`` elements, of those that quantiles are made of."""
    _, below, above = _virtual(dtype, count, q, method)
    both = below.reshape(-1) if above is None else np.concatenate([below.reshape(-1), above.reshape(-1)])
    return np.unique(both % count)


def interpolated(values: Block, ranks: Indices, count: int, q: Block, method: str, *, weak: bool) -> Any:
    """Return the quantiles ``q`` of ``count`` elements, of which those at ``ranks`` are ``values``.

    ``weak`` says that ``q`` was a Python number, so that it does not widen the dtype.
    """
    virtual, below, above = _virtual(values.dtype, count, q, method)
    lower = values[np.searchsorted(ranks, below % count)]
    if above is None:
        return lower
    upper = values[np.searchsorted(ranks, above % count)]
    gamma = RULES._get_gamma(virtual, below, RULES._QuantileMethods[method])  # noqa: SLF001
    return RULES._lerp(lower, upper, float(gamma) if weak else gamma)  # noqa: SLF001


def medial_ranks(count: int) -> Indices:
    """Return the ranks of the one or two elements in the middle.

    >>> medial_ranks(5).tolist(), medial_ranks(4).tolist()
    ([2], [1, 2])
    """
    return np.unique([(count - 1) // 2, count // 2])
