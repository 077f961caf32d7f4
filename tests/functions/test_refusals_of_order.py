"""What NumPy refuses to sort, search or count is refused with its own class of error."""

from __future__ import annotations

import numpy as np
import pytest

from tests.oracle import check
from tests.strategies import chunked

PLAIN = np.arange(12.0).reshape(3, 4)
EMPTY = np.zeros((0, 4))
LINE = np.arange(5)
RECORDS = np.zeros(4, "f8,i4")
WHERE = {"plain": PLAIN, "empty": EMPTY, "line": LINE, "records": RECORDS, "0-d": np.array(3.0), "nothing": LINE[:0]}
CALLS = {
    # axes
    "sort: axis": lambda x: np.sort(x, 2),
    "sort: axis of another kind": lambda x: np.sort(x, 1.5),
    "argsort: axis": lambda x: np.argsort(x, -3),
    "partition: axis": lambda x: np.partition(x, 0, 2),
    "argpartition: axis": lambda x: np.argpartition(x, 0, -3),
    "lexsort: axis": lambda x: np.lexsort((x, x), 2),
    "take_along_axis: axis": lambda x: np.take_along_axis(x, np.zeros(x.shape, int), 2),
    "unique: axis": lambda x: np.unique(x, axis=2),
    "median: axis": lambda x: np.median(x, 2),
    "nanmedian: axis": lambda x: np.nanmedian(x, -3),
    "quantile: axis": lambda x: np.quantile(x, 0.5, axis=2),
    "percentile: axis twice": lambda x: np.percentile(x, 50, axis=(0, 0)),
    # kinds, orders, methods
    "sort: kind": lambda x: np.sort(x, kind="bogus"),
    "argsort: kind": lambda x: np.argsort(x, kind="bogus"),
    "sort: kind and stable": lambda x: np.sort(x, kind="heapsort", stable=True),
    "partition: kind": lambda x: np.partition(x, 0, kind="quick"),
    "sort: order": lambda x: np.sort(x, order="nobody"),
    "argsort: order twice": lambda x: np.argsort(x, order=["f0", "f0"]),
    "partition: order": lambda x: np.partition(x, 0, order="nobody"),
    "searchsorted: side": lambda x: np.searchsorted(x, [1], side="middle"),
    "quantile: method": lambda x: np.quantile(x, 0.5, method="bogus"),
    "isin: kind": lambda x: np.isin(x, [1], kind="bogus"),
    "histogram: rule": lambda x: np.histogram(x, "bogus"),
    # what is out of range
    "partition: kth": lambda x: np.partition(x, 99),
    "argpartition: kth of another kind": lambda x: np.argpartition(x, 1.5),
    "quantile: q above 1": lambda x: np.quantile(x, 1.1),
    "nanquantile: q below 0": lambda x: np.nanquantile(x, [-0.1, 0.5]),
    "percentile: q above 100": lambda x: np.percentile(x, 101),
    "quantile: weights": lambda x: np.quantile(x, 0.5, method="inverted_cdf", weights=[1, 2]),
    "histogram: no bins": lambda x: np.histogram(x, 0),
    "histogram: bins in no order": lambda x: np.histogram(x, [3, 1]),
    "histogram: range turned": lambda x: np.histogram(x, 3, (2, 1)),
    "histogram: range without end": lambda x: np.histogram(x, 3, (0, np.inf)),
    "histogram: weights": lambda x: np.histogram(x, 3, weights=[1.0]),
    "bincount": lambda x: np.bincount(x - 1),
    "bincount: minlength": lambda x: np.bincount(x, minlength=-1),
    "digitize: bins": lambda x: np.digitize(x, [1, 3, 2]),
    "searchsorted: sorter": lambda x: np.searchsorted(x, [1], sorter=[0]),
    "take_along_axis: places": lambda x: np.take_along_axis(x, np.full((3, 1), 9), 1),
    "take_along_axis: kind of places": lambda x: np.take_along_axis(x, np.zeros(x.shape), -1),
    "compress: axis": lambda x: np.compress([True], x, 2),
    # plain calls, which empty arrays and scalars may not have
    "sort": np.sort,
    "sort, flat": lambda x: np.sort(x, None),
    "argsort": lambda x: np.argsort(x, kind="stable"),
    "lexsort": lambda x: np.lexsort((x,)),
    "lexsort of none": lambda x: np.lexsort(()),
    "median": np.median,
    "quantile": lambda x: np.quantile(x, 0.5),
    "quantile along an axis": lambda x: np.quantile(x, 0.5, axis=0),
    "histogram": lambda x: np.histogram(x, 3),
    "histogram by a rule": lambda x: np.histogram(x, "auto"),
    "nonzero": np.nonzero,
    "argwhere": np.argwhere,
    "searchsorted": lambda x: np.searchsorted(x, 1),
    "unique": lambda x: np.unique(x, True, True, True),
    "partition": lambda x: np.partition(x, 0),
}


UNKNOWN = {("nonzero", "records"), ("argwhere", "records"), ("histogram: no bins", "records")}  # refused otherwise


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("name", "what"), [(n, w) for n in CALLS for w in WHERE if (n, w) not in UNKNOWN])
def test_arguments_are_judged_as_numpy_judges_them(name, what):
    x = WHERE[what]
    check(lambda: CALLS[name](chunked(x)), lambda: CALLS[name](x))
