"""The same answers from a dask.distributed cluster of processes."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import chunkarr as ca
from chunkarr.functions import accumulating, reducing  # noqa: F401  # register what NumPy's functions do
from tests.oracle import same
from tests.strategies import chunked, stored

pytestmark = [pytest.mark.distributed, pytest.mark.filterwarnings("ignore")]  # of the cluster's own


@pytest.fixture(scope="module")
def client():
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, memory_limit=0,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):  # fmt: skip
        yield client


@pytest.fixture
def source(tmp_path):
    x = np.random.default_rng(8).normal(size=(600, 500))
    return x, stored(x, tmp_path / "x.zarr", chunks=(60, 100))


def test_sum_has_the_bits_of_the_threads(client, source):
    import dask

    _, a = source
    with dask.config.set(scheduler="threads"):
        here = np.sum(a, axis=0).compute()
    there = np.sum(a, axis=0).compute()
    assert here.tobytes() == there.tobytes()


def test_save(client, source, tmp_path):
    x, a = source
    ca.save(tmp_path / "y.zarr", a * 2 + 1)
    same(ca.open(tmp_path / "y.zarr"), x * 2 + 1)


def test_several_results_and_an_operand_in_memory(client, source):
    x, a = source
    least, most = ca.compute(np.min(a + chunked(x, 100)), np.max(a))
    same(least, (x + x).min())
    same(most, x.max())


def test_scan_and_scratch(client, source):
    x, a = source
    with ca.config.set(memory="16MiB"):
        np.testing.assert_allclose(np.cumsum(a, axis=0)[-5:].compute(), np.cumsum(x, axis=0)[-5:], rtol=1e-10)
        same((a[:500] + a[:500].T)[3:9], (x[:500] + x[:500].T)[3:9])


def test_elements_by_index_and_by_mask(client, source, monkeypatch):
    from chunkarr.array import picking
    from chunkarr.ops import gathering

    monkeypatch.setattr(gathering, "CELL", 0)  # nothing is near enough to be lazy
    monkeypatch.setattr(picking, "LARGE", 0)
    x, a = source
    rows = np.random.default_rng(1).integers(-600, 600, 700)
    same((a * 2)[rows, 3:9], (x * 2)[rows, 3:9])
    same(a[rows][:, ::-1] + 1, x[rows][:, ::-1] + 1)
    same(a[a > 1], x[x > 1])
    same(a[a > 1].max(), x[x > 1].max())


ORDERED = {
    "sort": lambda a: np.sort(a, axis=None),
    "sort along an axis": lambda a: np.sort(a[:, :20], axis=0),
    "argsort": lambda a: np.argsort(a, axis=None),
    "median": np.median,
    "quantiles": lambda a: np.quantile(a, [0.01, 0.3, 0.9]),
    "quantiles along an axis": lambda a: np.quantile(a, [0.3, 0.9], axis=1),
    "unique": lambda a: np.unique(np.round(a, 1), return_counts=True),
    "unique by sorting": lambda a: np.unique(a, True, True),
    "histogram": lambda a: np.histogram(a, 50),
    "searchsorted": lambda a: np.searchsorted(np.sort(a, axis=None), a[0]),
    "gather": lambda a: a[np.argsort(a[:, 1])],
    "lexsort": lambda a: np.lexsort((a[:, 0], a[:, 1] > 0)),
    "partition": lambda a: np.sort(np.partition(a, 30_000, axis=None)[:30_001]),
    "take_along_axis": lambda a: np.take_along_axis(a[:, :5], np.argsort(a[:, :5], axis=0, stable=True), 0),
    "nonzero": lambda a: np.nonzero(a > 1),
}


@pytest.mark.parametrize("name", ORDERED)
def test_order_has_the_bits_of_the_threads(name, client, source, monkeypatch):
    import dask

    from chunkarr.array import picking
    from chunkarr.functions import distinct, ordering, quantiles, searching
    from chunkarr.ops import sorting

    monkeypatch.setattr(sorting, "LINE", 1 << 12)
    monkeypatch.setattr(sorting, "PIECE", 1 << 18)
    monkeypatch.setattr(distinct, "SMALL", 0)
    monkeypatch.setattr(distinct, "HELD", 1 << 14)
    monkeypatch.setattr(quantiles, "WHOLE", 10**18 if "axis" not in name else 32)
    monkeypatch.setattr(searching, "PART", 1 << 8)
    monkeypatch.setattr(picking, "HELD", 1 << 50)  # rows are fetched by indices in scratch
    monkeypatch.setattr(ordering, "fits_a_task", lambda nodes, axis: False)
    x, a = source
    with dask.config.set(scheduler="threads"):
        here = ORDERED[name](a)
        here = [np.asarray(part) for part in (here if isinstance(here, tuple) else (here,))]
    there = ORDERED[name](a)
    there = [np.asarray(part) for part in (there if isinstance(there, tuple) else (there,))]
    assert [part.tobytes() for part in here] == [part.tobytes() for part in there]
    numpys = ORDERED[name](x)
    same(tuple(there), numpys if isinstance(numpys, tuple) else (numpys,))


def test_floating_point_events_come_back(client, source):
    _, a = source
    with pytest.warns(RuntimeWarning, match="divide by zero encountered in divide"):
        assert np.isinf(np.sum(np.divide(1.0, a * 0.0 + 0.0)).compute())


def test_errors_come_back(client, tmp_path):
    a = stored(np.ones((100, 100)), tmp_path / "x.zarr", chunks=(10, 10), codec=None)
    chunk = next(p for p in (tmp_path / "x.zarr" / "c").rglob("*") if p.is_file())
    chunk.write_bytes(chunk.read_bytes()[:-3])
    with warnings.catch_warnings(), pytest.raises(ca.FormatError):
        np.sum(a).compute()


def test_digests_and_comparisons(client, source):
    x, a = source
    here = chunked(x).digest()
    assert a.digest() == here
    assert (a + 0).digest() == here
    report = ca.compare(a, x)
    assert (report.same, report.different) == (True, 0)
    x[3, 4] += 1
    assert ca.compare(a, x).first_index == (3, 4)


@pytest.mark.parametrize("suffix", [".zarr", ".npy"])
def test_stored_arrays_change(client, suffix, tmp_path):
    x = np.random.default_rng(1).normal(size=(900, 500))
    options = {"chunks": (90, 100)} if suffix == ".zarr" else {}
    ca.save(tmp_path / f"x{suffix}", x, **options)
    a = ca.open(tmp_path / f"x{suffix}", "r+")
    a *= 2
    x *= 2
    a[1:] = a[:-1]
    x[1:] = x[:-1].copy()
    a[a > 1] += 1
    x[x > 1] += 1
    a.append(a[:10])
    x = np.concatenate([x, x[:10]])
    same(a, x)
    with a.batch():
        a[0, 0] = 5
        x[0, 0] = 5
        a[2:] = a[:-2]
        x[2:] = x[:-2].copy()
        same(a, x)
        same((a + 1).save(tmp_path / "y.npy"), x + 1)
    same(ca.open(a.path), x)
