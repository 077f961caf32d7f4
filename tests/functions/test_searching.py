"""Searching sorted arrays, and order along an axis: what NumPy returns, or raises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chunkarr as ca
from chunkarr.array import picking
from chunkarr.functions import searching
from tests.oracle import check, same
from tests.strategies import arrays, chunked, chunks_of, examples, numeric_dtypes, shapes


@pytest.fixture(params=["held", "large"])
def size(request, monkeypatch):
    """Treat the sorted array as one that does not fit memory."""
    if request.param == "large":
        monkeypatch.setattr(searching, "PART", 1 << 24)  # a few bytes of the budget
        monkeypatch.setattr(picking, "HELD", 1 << 50)
    return request.param


@settings(max_examples=examples(60))
@given(
    x=arrays(numeric_dtypes() | st.sampled_from(["M8[s]", "U2"]), st.integers(0, 90).map(lambda n: (n,))),
    data=st.data(),
)
def test_searchsorted(size, x, data):
    x.sort()
    kinds = numeric_dtypes() if x.dtype.kind in "biufc" else st.just(x.dtype)
    v = data.draw(arrays(kinds, shapes(2, 40)))
    v = np.asarray(np.where(np.random.default_rng(3).random(v.shape) < 0.5, np.resize(x, v.shape), v)) if x.size else v
    a, b = chunked(x, data.draw(chunks_of(x.shape))), chunked(v, data.draw(chunks_of(v.shape)))
    side = data.draw(st.sampled_from(["left", "right", "left", "right", "up"]))
    check(lambda: np.searchsorted(a, b, side), lambda: np.searchsorted(x, v, side))
    order = np.random.default_rng(5).permutation(x.size)
    back = np.argsort(order)
    mixed = x[order]
    check(lambda: np.searchsorted(chunked(mixed), v, side, back), lambda: np.searchsorted(mixed, v, side, back))


@pytest.mark.parametrize("sorter", [[0], [0, 1, 2, 3], [[0, 1, 2]], [0.0, 1.0, 2.0]])
def test_wrong_sorters(sorter):
    x = np.arange(3)
    check(lambda: np.searchsorted(chunked(x), [1], sorter=sorter), lambda: np.searchsorted(x, [1], sorter=sorter))


def test_wrong_arguments_of_searchsorted():
    x = np.arange(6).reshape(2, 3)
    check(lambda: np.searchsorted(chunked(x), [1]), lambda: np.searchsorted(x, [1]), message=True)
    same(ca.searchsorted([1, 2], 2), np.intp(1))
