"""Medians, quantiles and percentiles under NumPy's names: exact, of arrays of any size.

Where the axes fit a task they are lazy, by NumPy's own functions block by block. Along longer axes, or of a whole
large array, they are found at once: the elements that NumPy would take are looked up by counting, usually in two
passes, at most in four of a budget that is not tiny; nothing is sorted but the few that share digits with them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chunkarr.array import Array, as_node, implements, wrap
from chunkarr.array.outputs import deliver
from chunkarr.functions.ranking import Ranking
from chunkarr.functions.reducing import broadcast_weights
from chunkarr.graph import Node
from chunkarr.ops.keys import has_keys
from chunkarr.ops.layout import broadcast_to, reshape, take_basic
from chunkarr.ops.quantiles import FUNCTIONS, along_axes, interpolated, medial_ranks, ranks_of
from chunkarr.ops.reduce import normalize_axes
from chunkarr.ops.sources import constant
from chunkarr.selection import Pick, Stride
from chunkarr.settings import budget

__all__ = ["median", "nanmedian", "nanpercentile", "nanquantile", "percentile", "quantile", "ranked"]

_NoValue: Any = np._NoValue  # noqa: SLF001 - NumPy's mark of an argument not given
WHOLE = 32  # the part of the budget up to which the elements of one answer are held whole


def _answer(
    name: str, a: Any, q: Any, axis: Any, out: Any, keepdims: Any, *, method: str | None = None, weights: Any = None
) -> Any:
    """Return what NumPy's function ``name`` returns; ``q`` and ``method`` are None for medians."""
    node = as_node(a)
    keep = bool(keepdims) and keepdims is not _NoValue
    if isinstance(q, Array):
        q = q.compute()
    given = {} if q is None else {"q": q if type(q) in (int, float) else np.asanyarray(q)}
    rule = {} if method is None else {"method": method}
    axes = normalize_axes(axis, node.ndim)
    if 0 in node.shape:
        values = None if weights is None else np.asarray(weights)
        extra = {} if weights is None else {"weights": values}
        empty = np.empty(node.shape, node.dtype)
        result = FUNCTIONS[name](empty, axis=axis, keepdims=keep, **given, **rule, **extra)
        return deliver(wrap(constant(np.asarray(result))), out)
    one = np.ones((1,) * node.ndim, node.dtype)
    extra = {} if weights is None else {"weights": np.ones_like(one, dtype=as_node(weights).dtype)}
    dtype = np.asarray(FUNCTIONS[name](one, axis=axes, **given, **rule, **extra)).dtype
    by = None if weights is None else broadcast_to(_checked(weights, node, axis), node.shape)
    share: Any = given.get("q")
    found = _found(name, node, axes, share.reshape(-1) if np.ndim(share) > 1 else share, dtype, rule, by)
    if np.ndim(share) > 1:
        found = reshape(found, (*np.shape(share), *found.shape[1:]))
    if keep:
        lead = found.shape[: np.ndim(q)]
        found = reshape(found, (*lead, *(1 if k in axes else n for k, n in enumerate(node.shape))))
    return deliver(wrap(found), out)


def _checked(weights: Any, node: Node, axis: Any) -> Node:
    """Return weights that broadcast against ``node``, or raise what NumPy raises; looks at all of them."""
    axes = None if axis is None else np.lib.array_utils.normalize_axis_tuple(axis, node.ndim, argname="axis")
    values = broadcast_weights(weights, wrap(node), axes)
    if bool((values < 0).any()):
        raise ValueError("Weights must be non-negative.")
    return values._node  # noqa: SLF001


def _found(
    name: str, node: Node, axes: tuple[int, ...], q: Any, dtype: np.dtype[Any], rule: dict[str, Any], by: Node | None
) -> Node:
    """Return the answers, the axes of ``q`` first, without the axes that are reduced."""
    each = math.prod(node.shape[k] for k in axes) * (node.dtype.itemsize + (0 if by is None else by.dtype.itemsize))
    if each <= budget() // WHOLE or by is not None or not has_keys(node.dtype):
        return along_axes(name, node, axes, q, dtype, rule, by)
    kept = [k for k in range(node.ndim) if k not in axes]
    places = tuple(node.shape[k] for k in kept)
    lead = () if q is None else np.shape(q)
    result = np.empty((*lead, *places), dtype)
    for index in np.ndindex(places):
        picks = iter(index)
        key = tuple(Stride(0, 1, n) if k in axes else Pick(next(picks)) for k, n in enumerate(node.shape))
        result[(..., *index)] = ranked(name, Ranking(take_basic(node, key)), q, rule)
    return constant(result)


def ranked(name: str, ranking: Ranking, q: Any, rule: dict[str, Any]) -> Any:
    """Return what NumPy's function ``name`` returns of all elements of an array that are looked up by rank."""
    function = FUNCTIONS[name]
    given = {} if q is None else {"q": q}
    if ranking.missing and (not name.startswith("nan") or not ranking.count):
        absent = np.array(["NaT" if ranking.dtype.kind in "mM" else np.nan]).astype(ranking.dtype)
        return function(absent, **given, **rule)
    count = ranking.count
    if q is None:
        return function(ranking.at(medial_ranks(count)))
    share = np.true_divide(q, 100, out=...) if name.endswith("percentile") else np.asanyarray(q)
    ranks = ranks_of(ranking.dtype, count, share, rule["method"])
    weak = type(q) in (int, float)
    return interpolated(ranking.at(ranks), ranks, count, share, rule["method"], weak=weak)


@implements(np.median)
def median(a: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False, keepdims: Any = False) -> Any:
    """Return the exact median over axes; NaN where there is one.

    Parameters
    ----------
    a : array_like
        Any size.
    axis : int, tuple of int or None
        All by default.
    out : ndarray, optional
        Receives the values, at once.
    overwrite_input : bool
        Nothing is ever overwritten.
    keepdims : bool
        Keep reduced axes with size 1.

    Examples
    --------
    >>> import chunkarr as ca
    >>> float(ca.median(ca.asarray([3.0, 1.0, 2.0, 10.0])))
    2.5
    """
    del overwrite_input
    return _answer("median", a, None, axis, out, keepdims)


@implements(np.nanmedian)
def nanmedian(a: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False, keepdims: Any = False) -> Any:
    """Return the exact median over axes, NaN left out; parameters as of `median`."""
    del overwrite_input
    return _answer("nanmedian", a, None, axis, out, keepdims)


@implements(np.quantile)
def quantile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: Any = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: Any = False,
    *,
    weights: Any = None,
) -> Any:
    """Return exact quantiles over axes, for each ``q`` in 0 ... 1; NaN where there is one.

    Parameters
    ----------
    a : array_like
        Any size.
    q : float or array_like of float
        Its axes come first in the result.
    axis, out, overwrite_input, keepdims
        As of `median`.
    method : str
        One of NumPy's thirteen.
    weights : array_like, optional
        With "inverted_cdf" only; the elements of one answer are held whole.

    Raises
    ------
    ValueError
        If ``q`` is out of range or ``method`` unknown.
    MemoryBudgetError
        If weights are given and the elements of one answer do not fit a task.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.quantile(ca.arange(11), [0.25, 0.5]).tolist()
    [2.5, 5.0]
    """
    del overwrite_input
    return _answer("quantile", a, q, axis, out, keepdims, method=method, weights=weights)


@implements(np.nanquantile)
def nanquantile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: Any = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: Any = False,
    *,
    weights: Any = None,
) -> Any:
    """Return exact quantiles over axes, NaN left out; parameters as of `quantile`."""
    del overwrite_input
    return _answer("nanquantile", a, q, axis, out, keepdims, method=method, weights=weights)


@implements(np.percentile)
def percentile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: Any = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: Any = False,
    *,
    weights: Any = None,
) -> Any:
    """Return exact percentiles over axes, for each ``q`` in 0 ... 100; other parameters as of `quantile`.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.percentile(ca.arange(1_000), [50, 99], method="lower").tolist()
    [499, 989]
    """
    del overwrite_input
    return _answer("percentile", a, q, axis, out, keepdims, method=method, weights=weights)


@implements(np.nanpercentile)
def nanpercentile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: Any = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: Any = False,
    *,
    weights: Any = None,
) -> Any:
    """Return exact percentiles over axes, NaN left out; parameters as of `percentile`."""
    del overwrite_input
    return _answer("nanpercentile", a, q, axis, out, keepdims, method=method, weights=weights)
