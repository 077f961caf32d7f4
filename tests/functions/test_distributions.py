"""Distributions that break what sorts by guesses: everything that orders or counts, by its ways for large arrays.

What is taken for too long for a task, for too much to be held and for too many to be counted is lowered, so that two
thousand elements are sorted in dozens of runs, distinct ones found by their neighbours, and quantiles digit by digit.
"""

from __future__ import annotations

import numpy as np
import pytest

from chunkarr import engine
from chunkarr.array import picking
from chunkarr.functions import distinct, ordering, quantiles, ranking, searching
from chunkarr.ops import distinct as merging
from chunkarr.ops import gathering, sorting
from chunkarr.plan import blocks
from tests.oracle import check, same
from tests.strategies import chunked

N = 2000
STEPS = np.arange(N)
DISTRIBUTIONS = {
    "all equal": np.full(N, 7.25),
    "two values": STEPS * 7919 % 2 == 1,
    "sorted": STEPS.astype("f4"),
    "reversed": STEPS[::-1] - 1000,
    "sawtooth": (STEPS % 37).astype(">i4"),
    "heavy duplicates": np.where(STEPS * 7919 % 11, 5.0, STEPS),
    "mostly NaN": np.where(STEPS % 3, np.nan, STEPS - 500.0),
    "nothing but NaN": np.full(N, np.nan, "f4"),
    "one huge outlier": np.append(np.sin(STEPS[1:]), 1e300),
    "a few bits apart": 1.0 + (STEPS * 7919 % 97) * 2.0**-52,
}
LAYOUTS = {"one chunk": ((N,), (N,)), "tiny chunks": ((N,), (17,)), "table of rows": ((N // 5, 5), (3, 5))}
FUNCTIONS = {
    "sort": lambda x: np.sort(x, axis=None, stable=True),
    "sort, unstable": lambda x: np.sort(x, axis=None),
    "sort along the first axis": lambda x: np.sort(x, axis=0),
    "argsort": lambda x: np.argsort(x, axis=None, kind="stable"),
    "unique": lambda x: np.unique(x, True, True, True),
    "unique, NaN distinct": lambda x: np.unique(x, return_counts=True, equal_nan=False),
    "quantiles": lambda x: np.quantile(x, [0, 0.001, 0.25, 0.5, 0.77, 1], method="linear"),
    "quantiles that are elements": lambda x: np.quantile(x, [0.1, 0.9999], method="inverted_cdf"),
    "quantiles without NaN": lambda x: np.nanquantile(x.astype("f8"), [0.05, 0.5, 0.999]),
    "median": np.median,
    "histogram": lambda x: np.histogram(x * 1, 20),
    "histogram of many bins": lambda x: np.histogram(x, 100, (-10, 1500)),
    "searchsorted": lambda x: np.searchsorted(np.sort(x, axis=None), x),
    "searchsorted, right": lambda x: np.searchsorted(np.sort(x.ravel()), x[::3], side="right"),
    "partition": lambda x: np.sort(np.partition(x, [3, 1000], axis=None)[:1001])[[0, 3, 1000]],
    "argpartition": lambda x: np.take_along_axis(x, np.argpartition(x, 7, axis=0), 0)[7:8],
    "nonzero": np.nonzero,
    "a mask": lambda x: x[x > 6],
    "lexsort": lambda x: np.lexsort((x.ravel(), (x.ravel() > 6) * 1)),
    "isin": lambda x: np.isin(x, x[::50]),
}


@pytest.fixture
def large(monkeypatch):
    """Treat two thousand elements as what a large array is."""
    for module, name, value in (
        (sorting, "LINE", 256),  # sorted in runs, read in pieces
        (sorting, "PIECE", 512),
        (blocks, "BLOCK", 1024),
        (ordering, "fits_a_task", lambda nodes, axis: False),
        (distinct, "SMALL", 0),  # distinct elements: neither all in memory nor in a table
        (distinct, "HELD", 1 << 40),
        (distinct, "TABLE", 1 << 40),
        (merging, "FEW", 0),
        (searching, "PART", 1 << 15),  # sorted arrays that are searched block by block
        (quantiles, "WHOLE", 10**18),  # quantiles by counting, digit by digit
        (ranking, "PICKED", 1 << 20),
        (gathering, "CELL", 0),
        (picking, "LARGE", 0),
    ):
        monkeypatch.setattr(module, name, value)


ALL = [
    pytest.param(name, function, layout, marks=() if (i + 2 * j + k) % 6 == 0 else pytest.mark.nightly)
    for i, name in enumerate(DISTRIBUTIONS)
    for j, function in enumerate(FUNCTIONS)
    for k, layout in enumerate(LAYOUTS)
]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("name", "function", "layout"), ALL)
def test_every_distribution(name, function, layout, large):
    shape, chunks = LAYOUTS[layout]
    x = DISTRIBUTIONS[name].reshape(shape)
    check(lambda: FUNCTIONS[function](chunked(x, chunks)), lambda: FUNCTIONS[function](x))


def test_a_sorted_expression_that_is_searched_in_many_parts_is_sorted_once(large, monkeypatch):
    planned = []
    monkeypatch.setattr(searching, "PART", 1 << 16)
    monkeypatch.setattr(engine, "run_sort", lambda *args, real=engine.run_sort: planned.append(args) or real(*args))
    x = np.random.default_rng(0).random(N)
    same(np.searchsorted(np.sort(chunked(x, (100,))), x), np.searchsorted(np.sort(x), x))
    boxes = {tuple(args[3:5]) for args in planned}
    assert len(planned) == len(boxes)
