"""Running sums and other scans of blocks, with an error no worse than a pairwise sum's.

NumPy's cumsum adds one element after the other: its error grows with the length. Here an axis is
cut into segments of 128 elements, anchored at the block's start. Each is scanned by itself, the
totals of the segments are scanned in the same way, and every segment gets the total of all before
it: O(128 + log n) roundings an element instead of O(n). Products are treated alike; integers, extremes and
logic, where the order cannot show, are scanned by NumPy.

Blocks of one array are chained by carries::

    totals[i] = scan_total(np.add, block[i], axis)        # one pass over the data
    carries = exclusive_scan(np.add, np.stack(totals), 0)
    scan_block(np.add, block[i], axis, carries[i] if i else None, out[i])

The bits of an element depend on its line along the axis only, not on the block's other axes.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np

from chunkarr.ops.reduction_fold import combine_values, neutral

__all__ = ["SCANS", "exclusive_scan", "scan_block", "scan_dtype", "scan_total", "total_dtype"]

Block: TypeAlias = np.ndarray[Any, Any]
DType: TypeAlias = np.dtype[Any]

SEGMENT: Final = 128  # elements; the bits of results depend on it
BATCH: Final = 65_536  # elements scanned at a time when only the totals are wanted
LINES: Final = 16  # lines side by side from which they are scanned together

SCANS: Final[tuple[np.ufunc, ...]] = (
    np.add,
    np.multiply,
    np.maximum,
    np.minimum,
    np.fmax,
    np.fmin,
    np.logical_and,
    np.logical_or,
    np.logical_xor,
    np.bitwise_and,
    np.bitwise_or,
    np.bitwise_xor,
)


def scan_dtype(ufunc: np.ufunc, in_dtype: DType, dtype: DType | None = None) -> DType:
    """Return the dtype of ``ufunc.accumulate``, as NumPy; raise what NumPy raises.

    Examples
    --------
    >>> scan_dtype(np.add, np.dtype("i1")), scan_dtype(np.maximum, np.dtype(">f4"))
    (dtype('int64'), dtype('float32'))
    """
    if in_dtype.kind in "OVT":
        raise TypeError(f"{ufunc.__name__}.accumulate of {in_dtype} is not supported: only plain numbers and times")
    out: DType = np.asarray(ufunc.accumulate(np.zeros(1, in_dtype), dtype=dtype)).dtype
    return out


def total_dtype(dtype: DType) -> DType:
    """Return the dtype of totals and carries for results of `dtype`: float32 for float16, else the same."""
    return np.dtype(np.float32) if dtype == np.float16 else dtype


def scan_block(ufunc: np.ufunc, x: Block, axis: int, carry: Block | None, out: Block, *, nan: bool = False) -> Block:
    """Scan a block along an axis, starting from a carry.

    Parameters
    ----------
    ufunc
        One of `SCANS`.
    x
        The block, not written.
    axis
        Non-negative axis of x.
    carry
        Scan of all before the block, of dtype `total_dtype` and the shape of x without `axis`;
        None for the first block.
    out
        Receives the result; shape of x, dtype `scan_dtype`; no overlap with x.
    nan
        Count NaN as the identity (``nancumsum``, ``nancumprod``).

    Returns
    -------
    ndarray
        `out`.

    Examples
    --------
    >>> scan_block(np.add, np.arange(4.0), 0, np.asarray(10.0), np.empty(4))
    array([10., 11., 13., 16.])
    """
    if not x.size:
        return out
    work = total_dtype(out.dtype)
    target = out if out.dtype == work and out.dtype.isnative else np.empty(out.shape, work)
    lines = np.moveaxis(target, axis, 0)
    _scan(ufunc, _first(ufunc, x, axis, work, nan=nan), lines)
    if carry is not None:
        start = np.broadcast_to(carry, lines.shape[1:]).astype(work)
        _prepend(ufunc, start[None], lines)
    if target is not out:
        np.copyto(out, target, casting="unsafe")
    return out


def scan_total(ufunc: np.ufunc, x: Block, axis: int, dtype: DType | None = None, *, nan: bool = False) -> Block:
    """Return the last element of each line of a scan without carry, to the bit.

    Parameters
    ----------
    ufunc, x, axis, nan
        As for `scan_block`.
    dtype
        ``dtype=`` argument of the scan.

    Returns
    -------
    ndarray
        Shape of x without `axis`, of dtype `total_dtype`; the neutral element where the axis has
        no elements. A float16 scan is this, rounded.

    Examples
    --------
    >>> scan_total(np.multiply, np.array([[1, 2], [3, 4]]), 1)
    array([ 2, 12])
    """
    work = total_dtype(scan_dtype(ufunc, x.dtype, dtype))
    if not x.shape[axis]:
        return np.full(x.shape[:axis] + x.shape[axis + 1 :], neutral(ufunc, work), work)
    if work.kind in "biu" and not nan:
        total: Block = np.asarray(ufunc.reduce(x, axis=axis, dtype=work))
        return total
    return np.asarray(_total(ufunc, _first(ufunc, x, axis, work, nan=nan)))


def exclusive_scan(ufunc: np.ufunc, totals: Block, axis: int) -> Block:
    """Return for each position along `axis` the scan of all totals before it: the carries of blocks.

    Parameters
    ----------
    ufunc
        One of `SCANS`.
    totals
        Results of `scan_total`, stacked along `axis`.
    axis
        Non-negative axis of totals.

    Returns
    -------
    ndarray
        Shape and dtype of totals. The first entry is the neutral element: the first block has no carry.

    Examples
    --------
    >>> exclusive_scan(np.add, np.array([3.0, 4.0, 5.0]), 0)
    array([0., 3., 7.])
    """
    out = np.empty(totals.shape, totals.dtype)
    lines = np.moveaxis(out, axis, 0)
    source = np.moveaxis(totals, axis, 0)
    lines[:1] = neutral(ufunc, totals.dtype)
    if len(source) > 1:
        _scan(ufunc, source[:-1], lines[1:])
    return out


def _is_segmented(ufunc: np.ufunc, dtype: DType) -> bool:
    """Whether the order of operations shows in the result, so that scans are cut into segments."""
    return ufunc in (np.add, np.multiply) and dtype.kind in "fc"


def _first(ufunc: np.ufunc, x: Block, axis: int, dtype: DType, *, nan: bool) -> Block:
    """Return x with `axis` first, NaN replaced, in `dtype` where the scan itself does not cast."""
    if nan and x.dtype.kind in "fc":
        x = np.where(np.isnan(x), neutral(ufunc, x.dtype), x)
    if dtype.kind == "b":
        x = x.astype(bool, copy=False)
    elif x.dtype != dtype:
        x = (x.real if x.dtype.kind == "c" and dtype.kind != "c" else x).astype(dtype)
    return np.moveaxis(x, axis, 0)


def _scan(ufunc: np.ufunc, x: Block, out: Block) -> None:
    """Scan x (N, ...) along its first axis into out."""
    length = x.shape[0]
    if not _is_segmented(ufunc, out.dtype) or length <= SEGMENT:
        _accumulate(ufunc, x[None], out[None])
        return
    count = length // SEGMENT
    inside = _segments(out, count)
    _accumulate(ufunc, _segments(x, count), inside)
    before = np.empty((count, *out.shape[1:]), out.dtype)  # of each segment but the first: all that precedes it
    _scan(ufunc, inside[:, -1].copy(), before)
    _prepend(ufunc, before[: count - 1, None], inside[1:])
    if count * SEGMENT < length:
        rest = out[count * SEGMENT :]
        _accumulate(ufunc, x[None, count * SEGMENT :], rest[None])
        _prepend(ufunc, before[count - 1 :], rest)


def _segments(x: Block, count: int) -> Block:
    """Return the first `count` segments of x (N, ...) as a view (count, SEGMENT, ...)."""
    return x[: count * SEGMENT].reshape(count, SEGMENT, *x.shape[1:])


def _accumulate(ufunc: np.ufunc, x: Block, out: Block) -> None:
    """Scan x (S, N, ...) one by one along its second axis into out."""
    if not _is_wide(ufunc, x):
        ufunc.accumulate(x, axis=1, out=out)
        return
    out[:, 0] = x[:, 0]  # NumPy goes down one line after the other: 10 ns an element
    for at in range(1, x.shape[1]):
        ufunc(out[:, at - 1], x[:, at], out=out[:, at])


def _last(ufunc: np.ufunc, x: Block) -> Block:
    """Return the last elements (S, ...) of the lines that `_accumulate` makes of x (S, N, ...)."""
    if not _is_wide(ufunc, x):
        scanned: Block = ufunc.accumulate(x, axis=1)
        return scanned[:, -1]
    last = x[:, 0].copy()
    for at in range(1, x.shape[1]):
        ufunc(last, x[:, at], out=last)
    return last


def _is_wide(ufunc: np.ufunc, x: Block) -> bool:
    """Whether lines are scanned together: enough of them, side by side, with the bits of each alone."""
    if x[0, 0].size < LINES or abs(x.strides[-1]) >= abs(x.strides[1]):
        return False
    return x.dtype.kind in "biumM" or (x.dtype.kind == "f" and ufunc in (np.add, np.multiply))


def _prepend(ufunc: np.ufunc, start: Block, values: Block) -> None:
    """Store ``ufunc(start, values)`` in values (N, ...); start has length 1 along the first axis."""
    if ufunc in (np.maximum, np.minimum, np.fmax, np.fmin) or values.dtype.kind == "c":
        combine_values(ufunc, values, np.broadcast_to(start, values.shape))
    else:
        ufunc(start, values, out=values)


def _total(ufunc: np.ufunc, x: Block) -> Block:
    """Return the last element of the scan of x (N, ...)."""
    length = x.shape[0]
    if not _is_segmented(ufunc, x.dtype) or length <= SEGMENT:
        return _chain(ufunc, x)
    whole = (length - 1) // SEGMENT  # segments before the last one
    inside = _segments(x, whole)
    ends = np.empty((whole, *x.shape[1:]), x.dtype)
    batch = max(1, BATCH // (inside[:1].size or 1))
    for start in range(0, whole, batch):
        ends[start : start + batch] = _last(ufunc, inside[start : start + batch])
    last = _chain(ufunc, x[whole * SEGMENT :])[None]
    _prepend(ufunc, _total(ufunc, ends)[None], last)
    result: Block = last[0]
    return result


def _chain(ufunc: np.ufunc, x: Block) -> Block:
    """Return the last element of NumPy's own accumulate, without the ones before it."""
    last = x[:1]
    for start in range(0, x.shape[0], SEGMENT):
        piece = x[start : start + SEGMENT]
        joined = piece if start == 0 else np.concatenate([last, piece])
        last = _last(ufunc, joined[None])
    result: Block = last[0].copy()
    return result
