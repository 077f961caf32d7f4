"""The edges of bins: given, of one width, or by one of NumPy's rules from exact statistics of the whole array."""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr import engine
from chunkarr.array import Array, wrap
from chunkarr.errors import UnsupportedError
from chunkarr.functions.quantiles import percentile
from chunkarr.ops.reduce import reduce
from chunkarr.settings import budget

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chunkarr.graph import Node

__all__ = ["bin_edges", "grid_edges"]

Block = np.ndarray[Any, Any]
HELD = 64  # the part of the budget up to which NumPy applies a rule to the array itself


def _extremes(nodes: Sequence[Node]) -> list[Block]:
    """Return the least and the greatest element of each array, in one pass where that is possible."""
    asked = [reduce(n, row, None) for n in nodes for row in ("min", "max")]
    values = engine.compute(asked)
    return [np.array([low[()], high[()]], low.dtype) for low, high in zip(values[::2], values[1::2], strict=True)]


def bin_edges(node: Node, bins: Any, limits: Any, *, weighted: bool) -> tuple[Block, tuple[Any, Any] | None]:
    """Return the edges, and where bins have one width the range that counts, or raise what NumPy raises."""
    empty = np.empty(0, node.dtype)
    if 0 in node.shape or (not isinstance(bins, str) and np.ndim(bins)):
        edges = np.histogram_bin_edges(empty, bins, limits, weights=empty if weighted else None)
        return edges, None
    if isinstance(bins, str):
        np.histogram_bin_edges(empty, bins, limits, weights=empty if weighted else None)
    elif limits is not None:
        np.histogram_bin_edges(empty, bins, limits)
    both = np.asarray(limits) if limits is not None else _extremes([node])[0]
    first, last = limits if limits is not None else (both[0], both[1])
    stand_in = empty if limits is not None else both
    if isinstance(bins, str):
        if node.dtype.itemsize * wrap(node).size <= budget() // HELD:
            edges = np.histogram_bin_edges(wrap(node).compute(), bins, limits)
        else:
            np.histogram_bin_edges(stand_in, 1, limits)  # a range that is not finite raises
            edges = np.histogram_bin_edges(stand_in, _number(wrap(node), bins, limits, first, last), limits)
    else:
        edges = np.histogram_bin_edges(stand_in, bins, limits)
    if first == last:
        first, last = first - 0.5, last + 0.5
    return edges, (first, last)


def _number(a: Array, rule: str, limits: Any, first: Any, last: Any) -> int:
    """Return how many bins a rule makes."""
    if limits is not None:
        a = a[(a >= first) & (a <= last)]
    if not a.size:
        return 1
    if first == last:
        first, last = first - 0.5, last + 0.5
    width = _width(a, rule)
    if not width:
        return 1
    if a.dtype.kind in "iu" and width < 1:
        width = 1.0
    return int(np.ceil(_difference(first, last) / width))


def _difference(first: Any, last: Any) -> float:
    """Return ``last - first``, of integers without overflow."""
    if isinstance(first, np.integer) and isinstance(last, np.integer):
        return float(int(last) - int(first))
    return float(last - first)


def _width(a: Array, rule: str) -> float:
    """Return the width of bins, by the formulas that NumPy documents for `histogram_bin_edges`."""
    n = a.size
    (both,) = _extremes([a._node])  # noqa: SLF001
    spread = _difference(both[0], both[1])
    if rule == "sqrt":
        return spread / math.sqrt(n)
    if rule == "sturges":
        return spread / (math.log2(n) + 1.0)
    if rule == "rice":
        return float(spread / (2.0 * n ** (1.0 / 3)))
    if rule == "scott":
        return float((24.0 * np.pi**0.5 / n) ** (1.0 / 3.0) * float(a.std()))
    if rule == "doane":
        return _doane(a, n, spread)
    if rule in ("fd", "auto"):
        upper, lower = percentile(a, [75, 25]).compute()
        width = float(2.0 * (upper - lower) * n ** (-1.0 / 3.0))
        if rule == "fd":
            return width
        return min(max(width, spread / math.sqrt(n) / 2), spread / (math.log2(n) + 1.0))
    raise UnsupportedError(
        f"bins={rule!r} of {n:,} elements would take a pass for each number of bins that it tries; use 'auto' or 'fd'"
    )


def _doane(a: Array, n: int, spread: float) -> float:
    """Return the width by Doane's rule, which asks for the skewness."""
    sigma = float(a.std())
    if n <= 2 or not sigma > 0.0:
        return 0.0
    skewness = float((((a - float(a.mean())) / sigma) ** 3).mean())
    expected = np.sqrt(6.0 * (n - 2) / ((n + 1.0) * (n + 3)))
    return float(spread / (1.0 + np.log2(n) + np.log2(1.0 + abs(skewness) / expected)))


def grid_edges(nodes: Sequence[Node], bins: Any, limits: Any) -> list[Block]:
    """Return the edges along each axis, or raise what NumPy raises."""
    count = len(nodes)
    try:
        if len(bins) != count:
            raise ValueError("The dimension of bins must be equal to the dimension of the sample x.")
        each = list(bins)
    except TypeError:
        each = count * [bins]
    if limits is not None and len(limits) != count:
        raise ValueError("range argument must have one entry per dimension")
    limits = [None] * count if limits is None else list(limits)
    asked = [k for k in range(count) if np.ndim(each[k]) == 0 and limits[k] is None and 0 not in nodes[k].shape]
    found = dict(zip(asked, _extremes([nodes[k] for k in asked]), strict=True)) if asked else {}
    samples = [found.get(k, np.empty(0, nodes[k].dtype)) for k in range(count)]
    edges = []
    for k in range(count):  # one axis at a time: the samples that stand in differ in length
        range_ = None if limits[k] is None else [limits[k]]
        number = each[k] if np.ndim(each[k]) else _whole(each[k], k, samples[k], range_)
        _, (along,) = np.histogramdd((samples[k],), [number], range_)
        edges.append(np.asarray(along))
    return edges


def _whole(number: Any, axis: int, sample: Block, limits: Any) -> int:
    """Return a number of bins, or raise what NumPy raises, for the axis and in its order."""
    if number < 1:
        raise ValueError(f"`bins[{axis}]` must be positive, when an integer")
    np.histogramdd((sample,), [1], limits)
    try:
        return operator.index(number)
    except TypeError as error:
        raise TypeError(f"`bins[{axis}]` must be an integer, when a scalar") from error
