"""Histograms under NumPy's names: computed at once, their results small and in memory.

Counts are NumPy's to the bit. A range that is not given takes a pass of its own; bins by a rule take the exact
statistics that the rule asks for. Sums of weights are made of 65,536 elements at a time, added pairwise.
"""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr import engine
from chunkarr.array import Array, as_node, implements, wrap
from chunkarr.functions import binrules
from chunkarr.functions.searching import searchsorted
from chunkarr.ops import elementwise
from chunkarr.ops.binning import BinCounter, GridCounter, ValueCounter, weighed
from chunkarr.ops.layout import reshape
from chunkarr.ops.reduce import reduce
from chunkarr.ops.sources import constant
from chunkarr.ops.tallying import tally

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chunkarr.graph import Node

__all__ = ["bincount", "digitize", "histogram", "histogram2d", "histogram_bin_edges", "histogramdd"]

_range = range  # parameters have its name
BOX = 1 << 16  # elements whose weights are summed together; no budget changes it


def _native(value: Any) -> Node:
    """Return an array in native byte order."""
    node = as_node(value)
    plain = node.dtype.newbyteorder("=")
    return node if node.dtype == plain else elementwise.astype(node, plain)


def _flat(node: Node) -> Node:
    return reshape(node, (math.prod(node.shape),))


def _summed(shape: tuple[int, ...], dtype: Any, inputs: Sequence[Node], function: Any) -> np.ndarray[Any, Any]:
    """Return the sums that ``function`` makes of boxes of elements and weights, added pairwise."""
    step = max(BOX, math.prod(shape))
    sums = weighed(shape, np.dtype(dtype), [_flat(n) for n in inputs], function, step)
    return engine.compute([reduce(sums, "sum", 0, dtype=np.dtype(dtype))])[0]


class _Weights:
    """What NumPy's function makes of samples, the last of which are weights; it can be pickled."""

    def __init__(self, name: str, bins: Any, limits: Any = None) -> None:
        self.name, self.bins, self.limits = name, bins, limits

    def __call__(self, *blocks: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Call it."""
        *samples, weights = blocks
        if self.name == "bincount":
            return np.bincount(samples[0], weights, self.bins)
        if self.name == "histogram":
            return np.histogram(samples[0], self.bins, self.limits, weights=weights)[0]
        return np.histogramdd(tuple(samples), self.bins, weights=weights)[0]


def _counted(node: Node) -> Node:
    """Return what NumPy counts: booleans as small integers, with its warning."""
    if node.dtype != np.bool_:
        return node
    np.histogram(np.zeros(1, np.bool_))
    return elementwise.astype(node, np.dtype(np.uint8))


def _with_weights(a: Any, weights: Any) -> tuple[Node, Node | None]:
    """Return what is counted and its weights, or raise what NumPy raises."""
    node = _counted(_native(a))
    by = None if weights is None else _native(weights)
    if by is not None and by.shape != node.shape:
        raise ValueError("weights should have the same shape as a.")
    return node, by


@implements(np.histogram)
def histogram(a: Any, bins: Any = 10, range: Any = None, density: Any = None, weights: Any = None) -> Any:  # noqa: A002
    """Return how many elements lie in each bin, and the edges of bins.

    Parameters
    ----------
    a : array_like
        Any size and shape.
    bins : int, array_like or str
        How many of one width, the edges, or a rule: "auto", "fd", "doane", "scott", "rice", "sturges", "sqrt";
        "stone" for arrays that fit in memory.
    range : (float, float), optional
        The least and the greatest value that count; by default those of the array.
    density : bool, optional
        Return densities, whose integral is 1.
    weights : array_like, optional
        Of the shape of ``a``; these are summed instead of ones.

    Returns
    -------
    hist : Array, shape (N,)
    bin_edges : Array, shape (N + 1,)

    Examples
    --------
    >>> import chunkarr as ca
    >>> counts, edges = ca.histogram(ca.asarray([1, 2, 1, 4]), bins=3)
    >>> counts.tolist(), edges.tolist()
    ([2, 1, 1], [1.0, 2.0, 3.0, 4.0])
    """
    node, by = _with_weights(a, weights)
    edges, uniform = binrules.bin_edges(node, bins, range, weighted=by is not None)
    if 0 in node.shape or len(edges) < 2:
        counts = np.zeros(max(0, len(edges) - 1), np.intp if by is None else by.dtype)
    elif by is None:
        (counts,) = engine.compute([tally(BinCounter(edges, uniform), [node])])
    else:
        args = (edges,) if uniform is None else (len(edges) - 1, uniform)
        counts = _summed((len(edges) - 1,), by.dtype, [node, by], _Weights("histogram", *args))
    if density:
        counts = counts / np.array(np.diff(edges), float) / counts.sum()
    return wrap(constant(counts)), wrap(constant(edges))


@implements(np.histogram_bin_edges)
def histogram_bin_edges(a: Any, bins: Any = 10, range: Any = None, weights: Any = None) -> Array:  # noqa: A002
    """Return the edges of bins that `histogram` would use; parameters as of that.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.histogram_bin_edges(ca.arange(5), bins=2).tolist()
    [0.0, 2.0, 4.0]
    """
    node, by = _with_weights(a, weights)
    edges, _ = binrules.bin_edges(node, bins, range, weighted=by is not None)
    return wrap(constant(edges))


@implements(np.histogramdd)
def histogramdd(
    sample: Any,
    bins: Any = 10,
    range: Any = None,  # noqa: A002
    density: Any = None,
    weights: Any = None,
) -> Any:
    """Return how many points lie in each box, and the edges along each axis.

    Parameters
    ----------
    sample : array_like of shape (N, D), or sequence of D arrays of shape (N,)
    bins : int, or sequence of int or array_like
        For all axes, or for each.
    range : sequence of (float, float) or None, optional
        The least and the greatest value that count along each axis.
    density, weights
        As of `histogram`; weights of shape (N,).

    Returns
    -------
    hist : Array of float64
    bin_edges : tuple of Array

    Examples
    --------
    >>> import chunkarr as ca
    >>> counts, edges = ca.histogramdd(ca.asarray([[0, 0], [1, 1], [1, 0]]), bins=2)
    >>> counts.tolist()
    [[1.0, 0.0], [1.0, 1.0]]
    """
    if isinstance(sample, Array | np.ndarray) and sample.ndim == 2:
        columns = [wrap(as_node(sample))[:, k] for k in _range(sample.shape[1])]
    else:
        columns = [wrap(as_node(column)).ravel() for column in sample]
    common = np.result_type(*(column.dtype for column in columns)).newbyteorder("=")
    nodes = [elementwise.astype(as_node(column), common) for column in columns]
    edges = binrules.grid_edges(nodes, bins, range)
    shape = tuple(max(0, len(e) - 1) for e in edges)
    by = None if weights is None else _native(weights)
    if 0 in (*nodes[0].shape, *shape):
        counts = np.zeros(shape)
    elif by is None:
        (flat,) = engine.compute([tally(GridCounter(edges), nodes)])
        counts = flat.reshape(shape).astype(float)
    else:
        if by.shape != nodes[0].shape:
            raise ValueError("The weights and list don't have the same length.")
        counts = _summed(shape, np.float64, [*nodes, by], _Weights("histogramdd", edges))
    if density:
        total = counts.sum()
        for k, e in enumerate(edges):
            counts = counts / np.diff(e).reshape([-1 if i == k else 1 for i in _range(len(edges))])
        counts /= total
    return wrap(constant(counts)), tuple(wrap(constant(e)) for e in edges)


@implements(np.histogram2d)
def histogram2d(
    x: Any,
    y: Any,
    bins: Any = 10,
    range: Any = None,  # noqa: A002
    density: Any = None,
    weights: Any = None,
) -> Any:
    """Return how many points lie in each rectangle, and the edges along both axes; parameters as of `histogramdd`."""
    if len(x) != len(y):
        raise ValueError("x and y must have the same length.")
    if hasattr(bins, "__len__") and len(bins) not in (1, 2):
        edges = np.asarray(bins)
        bins = [edges, edges]
    counts, (first, second) = histogramdd([x, y], bins, range, density, weights)
    return counts, first, second


@implements(np.bincount)
def bincount(x: Any, /, weights: Any = None, minlength: Any = 0) -> Array:
    """Return how often each number from zero on is there, or the sums of weights.

    Parameters
    ----------
    x : array_like of int, shape (N,)
        Not negative.
    weights : array_like, shape (N,), optional
    minlength : int
        The least length of the result.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.bincount(ca.asarray([1, 1, 3])).tolist()
    [0, 2, 0, 1]
    """
    node = _native(x)
    by = None if weights is None else _native(weights)
    probe = np.zeros((0 if 0 in node.shape else 1,) * node.ndim, node.dtype)
    wgt = {} if by is None else {"weights": np.zeros((0 if 0 in by.shape else 1,) * by.ndim, by.dtype)}
    empty = np.bincount(probe, minlength=minlength, **wgt)
    if 0 in node.shape:  # before the weights are looked at, as NumPy
        return wrap(constant(empty))
    if by is not None and by.shape != node.shape:
        raise ValueError("The weights and list don't have the same length.")
    low, high = (int(v) for v in engine.compute([reduce(node, "min", None), reduce(node, "max", None)]))
    if low < 0:
        np.bincount(np.array([low]))
    size = max(high + 1, operator.index(minlength))
    if by is None:
        return wrap(constant(engine.compute([tally(ValueCounter(size), [node])])[0]))
    return wrap(constant(_summed((size,), np.float64, [node, by], _Weights("bincount", size))))


@implements(np.digitize)
def digitize(x: Any, bins: Any, right: bool = False) -> Any:
    """Return, lazily, the number of the bin that each element lies in.

    Parameters
    ----------
    x : array_like
        Real.
    bins : array_like, shape (N,)
        Edges, ascending or descending.
    right : bool
        Whether bins hold their greater edge instead of the lesser.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.digitize(ca.asarray([0.2, 6.4, 3.0]), [0.0, 1.0, 2.5, 4.0]).tolist()
    [1, 4, 3]
    """
    node, edges = as_node(x), np.asarray(bins)
    np.digitize(np.zeros(0, node.dtype), edges)  # raises what NumPy raises
    side = "left" if right else "right"
    moves = np.flatnonzero(edges[1:] != edges[:-1])[:1]
    if moves.size and not (edges[moves] < edges[moves + 1]).all():  # as NumPy looks for the direction: NaN descend
        return len(edges) - searchsorted(edges[::-1], wrap(node), side=side)
    return searchsorted(edges, wrap(node), side=side)
