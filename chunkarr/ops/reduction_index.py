"""argmin, argmax and their nan variants: the smallest flat index of the extreme.

The index is the position in C order over the reduced axes of the whole array. A NaN (NaT) is more
extreme than any number, and ties go to the smaller index, so that the result does not depend on
the order in which states are combined.
"""

from __future__ import annotations

import numpy as np

from chunkarr.ops.reduction_contract import Asked, DType, Leaf, Reduction, State, Tile

__all__ = ["combine_index", "finish_index", "finish_nan_index", "index_state", "leaf_index", "leaf_nan_index"]

_INDEX = np.dtype(np.int64)


def index_state(row: Reduction, asked: Asked) -> tuple[DType, ...]:
    """Return the dtypes of (index, value), and of (seen,) when NaN are left out."""
    row.result(asked)
    value = asked.in_dtype.newbyteorder("=")
    if row.name.startswith("nan") and value.kind in "fc":
        return _INDEX, value, np.dtype(bool)
    return _INDEX, value


def leaf_index(upper: bool, x: Tile, mask: Tile | None, leaf: Leaf) -> State:  # noqa: ARG001 - NumPy has no `where` here
    """Return the index and the value of the extreme of each column."""
    local = np.argmax(x, axis=1) if upper else np.argmin(x, axis=1)
    value = np.take_along_axis(x, local[:, None, :], axis=1)[:, 0, :]
    return leaf.index(local).astype(_INDEX), value.astype(leaf.state[1])


def leaf_nan_index(upper: bool, x: Tile, mask: Tile | None, leaf: Leaf) -> State:
    """Return index, value, and whether there was a number; NaN count as the other extreme, as in NumPy."""
    if x.dtype.kind not in "fc":
        return leaf_index(upper, x, mask, leaf)
    absent = np.isnan(x)
    if not absent.any():
        return *leaf_index(upper, x, mask, leaf), np.ones((x.shape[0], x.shape[2]), bool)
    numbers = leaf.work(x.shape, leaf.state[1])
    np.copyto(numbers, x)
    np.copyto(numbers, -np.inf if upper else np.inf, where=absent)
    return *leaf_index(upper, numbers, mask, leaf), np.any(~absent, axis=1)


def combine_index(upper: bool, left: State, right: State) -> State:
    """Keep the more extreme value, the smaller index of equal ones."""
    (index, value, *seen), (other_index, other, *other_seen) = left, right
    with np.errstate(invalid="ignore"):  # NumPy compares complex NaN with a flag
        take = other > value if upper else other < value
        tie = other == value
    if value.dtype.kind in "fcmM":
        mine_nan, other_nan = np.isnan(value), np.isnan(other)
        take = (take & ~mine_nan) | (other_nan & ~mine_nan)
        tie |= mine_nan & other_nan
    take |= tie & (other_index < index)
    np.copyto(index, other_index, where=take)
    np.copyto(value, other, where=take)
    for mine, theirs in zip(seen, other_seen, strict=True):
        np.logical_or(mine, theirs, out=mine)
    return left


def finish_index(state: State, asked: Asked, dtype: DType) -> Tile:  # noqa: ARG001 - one signature for all rows
    """Return the indices."""
    return state[0].astype(dtype, copy=False)


def finish_nan_index(state: State, asked: Asked, dtype: DType) -> Tile:
    """Return the indices.

    Raises
    ------
    ValueError
        A slice has no number.
    """
    if len(state) > 2 and not state[2].all():
        raise ValueError("All-NaN slice encountered")
    return finish_index(state, asked, dtype)
