"""Nothing that sorts, searches or counts holds more than the budget allows, on arrays eight times as large.

As in `test_memory`, each case runs in a child process. Values are random, or in order, and lie on the disk: what these
functions hold depends on them.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
from dataclasses import dataclass

import numpy as np
import pytest

import chunkarr as ca
from tests import memory_child
from tests.test_memory import MIB, perform_work

pytestmark = [pytest.mark.memory, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]

WRITTEN = 1 << 20  # elements that are written at a time


def random_values(rng, start, count):
    return rng.random(count)


def integers(rng, start, count):
    return rng.integers(-500_000, 500_000, count, dtype="i4")


def ascending(rng, start, count):
    return np.arange(start, start + count, dtype="f8") / 8


def far_apart(rng, start, count):
    return rng.integers(-(1 << 62), 1 << 62, count) // (1 << 43) * (1 << 43)


def make(path, values, nbytes, shape):
    """Write an npy file of about so many bytes."""
    rng = np.random.default_rng(0)
    dtype = values(rng, 0, 1).dtype
    size = nbytes // dtype.itemsize // math.prod(shape) * math.prod(shape)
    out = np.lib.format.open_memmap(path, "w+", dtype, (size // math.prod(shape), *shape))
    flat = out.reshape(-1)
    for start in range(0, size, WRITTEN):
        flat[start : start + WRITTEN] = values(rng, start, min(WRITTEN, size - start))
    return path


# --- operations ----------------------------------------------------------------------------------


def sort(a, _, out):
    ca.sort(a).save(f"{out}/x.npy")
    found = np.load(f"{out}/x.npy", mmap_mode="r")
    assert (np.diff(found[:: max(1, len(found) // 1000)]) >= 0).all()


def sort_zarr(a, _, out):
    stored = ca.save(f"{out}/a.zarr", a, codec="blosc-lz4")
    np.sort(stored, axis=None).save(f"{out}/x.zarr", codec="blosc-lz4")


def sort_along(axis):
    return lambda a, b, out: np.sort(a, axis).save(f"{out}/x.npy")


def argsort(a, _, out):
    np.argsort(a).save(f"{out}/x.npy")


def sort_in_place(a, _, out):
    path = shutil.copyfile(a.path, f"{out}/x.npy")
    ca.open(path, "r+").sort()
    found = np.load(path, mmap_mode="r")
    assert (np.diff(found[:: max(1, len(found) // 1000)]) >= 0).all()


def median(a, _, out):
    return float(np.median(a))


def quantiles(a, _, out):
    return np.asarray(np.quantile(a, [0.01, 0.25, 0.5, 0.75, 0.99]))


def unique(a, _, out):
    values, counts = np.unique(a, return_counts=True)
    assert int(counts.sum()) == a.size
    return values.size


def unique_inverse(a, _, out):
    values, inverse = np.unique(a, return_inverse=True)
    inverse.save(f"{out}/x.npy")
    return values.size


def histogram(a, _, out):
    counts, _ = np.histogram(a, 100)
    assert int(counts.sum()) == a.size


def figures(a, _, out):
    from chunkarr.functions.stating import statistics

    return statistics(a, [0.25, 0.5, 0.75])


def searchsorted(a, b, out):
    """Look up many in a large sorted array, then all of a large one in a small one."""
    wanted = np.random.default_rng(1).random(1 << 17) * a.size / 8
    found = np.asarray(np.searchsorted(a, wanted))
    assert (found == np.minimum(np.ceil(wanted * 8), a.size)).all()
    return int(np.searchsorted(np.sort(wanted), b).max())


def isin(a, _, out):
    return int(np.isin(a, np.arange(0, 500_000, 7)).sum())


def partition(a, _, out):
    return np.asarray(np.partition(a, a.size // 2)[a.size // 2 - 5 : a.size // 2 + 5])


def masks(a, _, out):
    return int(np.flatnonzero(a > 0.9).size), np.asarray(np.extract(a > 0.999, a)).size


def lexsort(a, _, out):
    np.lexsort((a, a > 0)).save(f"{out}/x.npy")


def gather(a, _, out):
    """Read by as many indices as there are elements, in no order."""
    a[(a * a.size).astype("i8")].save(f"{out}/x.npy")
    found = np.load(f"{out}/x.npy", mmap_mode="r")
    values = np.load(a.path, mmap_mode="r")
    places = np.linspace(0, a.size - 1, 1000).astype(np.intp)
    assert (found[places] == values[(values[places] * a.size).astype("i8")]).all()


def sort_table(a, _, out):
    a[a[:, 1].argsort()].save(f"{out}/x.npy")
    found = np.load(f"{out}/x.npy", mmap_mode="r")
    assert (np.diff(found[:: max(1, len(found) // 1000), 1]) >= 0).all()


def records_by_field(a, _, out):
    t = a.view([("key", "f8"), ("rest", ">i4", (2,))])
    np.sort(t, order="key").save(f"{out}/x.npy")
    np.argsort(t, order=["rest", "key"]).save(f"{out}/y.npy")


def text(a, _, out):
    np.sort(a.view("S16")).save(f"{out}/x.npy")


def complex_numbers(a, _, out):
    np.sort(a.view("c16"), stable=True).save(f"{out}/x.npy")


def largest_first(a, _, out):
    ca.sort(a, descending=True).save(f"{out}/x.npy")
    ca.argsort(a, descending=True).save(f"{out}/y.npy")


def argsort_along(axis):
    return lambda a, b, out: np.argsort(a, axis).save(f"{out}/x.npy")


def partition_in_place(a, _, out):
    ca.open(shutil.copyfile(a.path, f"{out}/x.npy"), "r+").partition(a.size // 3)


def along_an_axis(a, _, out):
    np.take_along_axis(a, np.argpartition(a, 7, axis=0), 0).save(f"{out}/x.npy")


def indices_of_many(a, _, out):
    np.argwhere(a > 0.5).save(f"{out}/x.npy")
    np.compress(np.arange(a.shape[1]) % 3 == 0, a, axis=1).save(f"{out}/y.npy")
    a[:, np.arange(a.shape[1]) % 2 == 0].save(f"{out}/z.npy")


def unique_rows(a, _, out):
    values, counts = np.unique(np.floor(a * 50), return_counts=True, axis=0)
    values.save(f"{out}/x.npy")
    return counts.size


def quantiles_along(a, _, out):
    return np.asarray(np.nanquantile(a, [0.1, 0.5], axis=0)), np.asarray(np.median(a, axis=1).max())


def counts(a, _, out):
    np.asarray(np.histogram(a, 50, weights=a)[0])
    np.asarray(np.histogram2d(a[::2], a[1::2], 30)[0])
    np.asarray(np.bincount((a * 1000).astype("i4"), a))
    np.asarray(np.histogram(a, "fd")[0])
    np.digitize(a, np.linspace(0, 1, 1000)).save(f"{out}/x.npy")


def sets(a, _, out):
    half = a.size // 2
    for function in (np.union1d, np.intersect1d, np.setdiff1d, np.setxor1d):
        function(a[: half + 1000], a[half:]).save(f"{out}/x.npy", overwrite=True)


def searchsorted_with_sorter(a, _, out):
    np.searchsorted(a, a[:: max(1, a.size >> 17)], "right", sorter=np.argsort(a)).save(f"{out}/x.npy")


def gather_rows(a, _, out):
    rows = (a[:, 0] * len(a)).astype("i8")
    a[rows, ::-1].save(f"{out}/x.npy")
    np.take(a, rows, axis=0, mode="wrap").save(f"{out}/x.npy", overwrite=True)


def in_turn(*works):
    """Return the operation that does one after another."""
    return lambda a, b, out: [work(a, b, out) for work in works]


@dataclass(frozen=True)
class Case:
    """One operation, what it is run on, and how much of that is."""

    work: object
    values: object = random_values
    shape: tuple[int, ...] = ()  # of what the first axis counts
    ratio: float = 8  # bytes of the source for each byte of the budget
    quick: float = 0  # the same in the default run; 0: not in it


CASES = {
    "sort": Case(sort, quick=8),
    "sort integers": Case(sort, far_apart),
    "sort zarr": Case(sort_zarr),
    "sort in place": Case(sort_in_place),
    "sort long columns": Case(sort_along(0), shape=(3,)),
    "sort rows": Case(sort_along(1), shape=(1000,)),
    "argsort": Case(argsort),
    "median": Case(median),
    "quantiles": Case(quantiles),
    "figures": Case(figures),
    "unique": Case(unique, integers),
    "unique of many": Case(unique, far_apart, ratio=4),
    "unique with the inverse": Case(unique_inverse, far_apart, ratio=2),
    "histogram": Case(histogram),
    "searchsorted": Case(searchsorted, ascending),
    "isin": Case(isin, integers),
    "partition": Case(partition),
    "masks": Case(masks),
    "lexsort": Case(lexsort, ratio=2),
    "gather": Case(gather, quick=1),
    "records by field": Case(records_by_field, ratio=4),
    "text": Case(text),
    "complex numbers": Case(complex_numbers),
    "largest first": Case(largest_first, ratio=4),
    "argsort long columns": Case(argsort_along(0), shape=(3,), ratio=4),
    "partition in place": Case(partition_in_place),
    "along an axis": Case(along_an_axis, shape=(3,), ratio=2),
    "indices of many": Case(indices_of_many, shape=(300,), ratio=4),
    "unique rows": Case(unique_rows, shape=(3,), ratio=4),
    "quantiles along axes": Case(quantiles_along, shape=(5,)),
    "counts": Case(counts),
    "sets": Case(sets, far_apart, ratio=2),
    "searchsorted with a sorter": Case(searchsorted_with_sorter, ratio=2),
    "gather rows": Case(gather_rows, shape=(20,), ratio=4),
    "sort a table": Case(sort_table, shape=(3,)),
    "counting": Case(in_turn(median, quantiles, histogram, figures), quick=4),
    "all in turn": Case(in_turn(argsort, searchsorted, unique, isin, sort_in_place), ascending, ratio=2, quick=1),
}


def perform(name, paths, folder):
    """Do a case's work; return the largest plan of what it ran."""
    return perform_work(CASES[name].work, paths, folder)


def measured(name, budget, ratio, folder):
    """Run a case on a small and a large source, and return its peak."""
    case = CASES[name]
    small, large = (
        make(str(folder / f"{kind}.npy"), case.values, int(nbytes), case.shape)
        for kind, nbytes in (("small", 1 << 14), ("large", budget * ratio))
    )
    peak = memory_child.measure(
        perform, small=[name, [small] * 2, str(folder)], large=[name, [large] * 2, str(folder)], budget=budget,
        timeout=900,
    )  # fmt: skip
    os.unlink(large)
    return peak


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.quick])
def test_order_of_large_arrays_stays_within_the_budget(name, tmp_path):
    measured(name, 64 * MIB, CASES[name].quick, tmp_path).check()


@pytest.mark.nightly
@pytest.mark.parametrize("budget", [64 * MIB, 128 * MIB, 512 * MIB])
@pytest.mark.parametrize("name", CASES)
def test_order_of_all_large_arrays_stays_within_the_budget(name, budget, tmp_path):
    measured(name, budget, CASES[name].ratio, tmp_path).check()
