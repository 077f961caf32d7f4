"""Exact quantiles, distinct elements and histograms within 512 MiB."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench import peers
from bench.bench_sort import BUDGET, LIMIT
from bench.data import square, vector
from bench.harness import Case, Contestant, Data

__all__ = ["CASES"]

FIVE = (0.01, 0.1, 0.25, 0.75, 0.99)
SIX = (0.5, *FIVE)

Array = np.ndarray[Any, Any]
Run = Callable[[Data, Path], object]


def _chunkarr(work: Callable[[Any], object], source: str) -> Run:
    def run(data: Data, out: Path) -> object:
        import chunkarr as ca

        with ca.config.set(memory=BUDGET, scratch=out / "scratch"):
            return work(ca.open(data.path(source)))

    return run


def _numpy(work: Callable[[Array], object], source: str) -> Run:
    def run(data: Data, out: Path) -> object:
        return work(np.load(data.path(source)))

    return run


def _fetched(query: str, source: str) -> Run:
    """Let DuckDB answer ``query``, which says TABLE for the file."""

    def run(data: Data, out: Path) -> object:
        with peers.duckdb_open(out / "spill", BUDGET) as connection:
            return connection.execute(query.replace("TABLE", f"'{data.path(source)}'")).fetchnumpy()

    return run


# --- median and quantiles -----------------------------------------------------------------------------------


def _quantiles(a: Any, q: float | tuple[float, ...]) -> object:
    """Return NumPy's quantiles, of an Array by chunkarr, of an ndarray of our own by NumPy in place."""
    if isinstance(a, np.ndarray):
        return np.quantile(a, q, overwrite_input=True) if isinstance(q, tuple) else np.median(a, overwrite_input=True)
    return np.asarray(np.quantile(a, q) if isinstance(q, tuple) else np.median(a))


def _polars_median(data: Data, out: Path) -> object:
    import polars as pl

    frame = peers.polars_scan(data.path("s200.parquet")).select(pl.col("x").median())
    return frame.collect(engine="in-memory").item()


def _polars_quantiles(q: tuple[float, ...]) -> Run:
    """All in one list: faster than a column for each."""

    def run(data: Data, out: Path) -> object:
        import polars as pl

        frame = peers.polars_scan(data.path("s200.parquet"))
        found = frame.select(pl.col("x").quantile(list(q), "linear")).collect(engine="streaming")
        return found.item().to_numpy()

    return run


def _number(answer: Any) -> object:
    return np.float64(answer["m"][0])


def _numbers(answer: Any) -> object:
    return np.array(list(answer["m"][0]), float)


MEDIAN = Case(
    name="median",
    work="exact median of 200 M f8 within 512 MiB",
    inputs=("s200.npy", "s200.parquet"),
    moved=lambda size: vector(5)(size).nbytes,
    expected=lambda data: np.asarray(np.median(data.load("s200.npy"))),
    contestants=(
        Contestant("chunkarr, npy", _chunkarr(partial(_quantiles, q=0.5), "s200.npy"), ("chunkarr",), limit=LIMIT),
        Contestant("polars, Parquet", _polars_median, ("polars",), target=3.0),
        Contestant("polars, as a quantile, Parquet", _polars_quantiles((0.5,)), ("polars",), finish=lambda a: a[0]),
        Contestant("numpy, all in memory, npy", _numpy(partial(_quantiles, q=0.5), "s200.npy"), target=3.0),
        Contestant(
            "DuckDB, Parquet", _fetched("SELECT median(x) AS m FROM TABLE", "s200.parquet"), ("duckdb",), finish=_number
        ),
    ),
    rtol=1e-12,
)

QUANTILES = Case(
    name="quantiles",
    work="exact median and five quantiles of 200 M f8 within 512 MiB",
    inputs=("s200.npy", "s200.parquet"),
    moved=lambda size: vector(5)(size).nbytes,
    expected=lambda data: np.quantile(data.load("s200.npy"), SIX),
    contestants=(
        Contestant("chunkarr, npy", _chunkarr(partial(_quantiles, q=SIX), "s200.npy"), ("chunkarr",), limit=LIMIT),
        Contestant("polars, Parquet", _polars_quantiles(SIX), ("polars",), target=3.0),
        Contestant("numpy, all in memory, npy", _numpy(partial(_quantiles, q=SIX), "s200.npy"), target=3.0),
        Contestant(
            "DuckDB, Parquet",
            _fetched(f"SELECT quantile_cont(x, {list(SIX)}) AS m FROM TABLE", "s200.parquet"),
            ("duckdb",),
            finish=_numbers,
        ),
    ),
    rtol=1e-12,
)


# --- distinct elements ----------------------------------------------------------------------------------------


def _distinct_chunkarr(a: Any) -> object:
    return tuple(np.asarray(part) for part in np.unique(a, return_counts=True))


def _distinct_numpy(values: Array) -> object:
    return np.unique(values, return_counts=True)


def _distinct_polars(source: str, *, ordered: bool) -> Run:
    def run(data: Data, out: Path) -> object:
        import polars as pl

        frame = peers.polars_scan(data.path(source)).group_by("x").agg(pl.len())
        found = (frame.sort("x") if ordered else frame).collect(engine="streaming")
        return found["x"].to_numpy(), found["len"].to_numpy()

    return run


def _ordered(answer: Any) -> object:
    """Return values and counts in the order of the values."""
    order = np.argsort(answer[0])
    return np.stack([np.asarray(part, np.int64)[order] for part in answer])


def _distinct_case(name: str, work: str) -> Case:
    npy, parquet = f"{name}.npy", f"{name}.parquet"
    return Case(
        name=f"unique-{name}",
        work=f"unique with counts of 100 M int32, {work}, within 512 MiB",
        inputs=(npy, parquet),
        moved=lambda size: vector(10, "<i4")(size).nbytes,
        expected=lambda data: np.stack(np.unique(data.load(npy), return_counts=True)),
        contestants=(
            Contestant("chunkarr, npy", _chunkarr(_distinct_chunkarr, npy), ("chunkarr",), limit=LIMIT),
            Contestant(
                "polars, streaming, in no order, Parquet",
                _distinct_polars(parquet, ordered=False),
                ("polars",),
                target=1.0,
                finish=_ordered,
            ),
            Contestant(
                "polars, streaming, in order, Parquet",
                _distinct_polars(parquet, ordered=True),
                ("polars",),
                target=1.0,
                finish=_ordered,
            ),
            Contestant(
                "DuckDB, in order, Parquet",
                _fetched("SELECT x, count(*) AS n FROM TABLE GROUP BY x ORDER BY x", parquet),
                ("duckdb",),
                finish=lambda answer: _ordered((answer["x"], answer["n"])),
            ),
            Contestant("numpy, all in memory, npy", _numpy(_distinct_numpy, npy), finish=_ordered),
        ),
    )


# --- histograms -----------------------------------------------------------------------------------------------


def _histogram(a: Any, bins: int) -> object:
    counts, edges = np.histogram(a, bins)
    return np.concatenate([counts, edges])


def _histogram_dask(bins: int, pipeline: str) -> Run:
    """Two passes: dask takes no histogram without the range."""

    def run(data: Data, out: Path) -> object:
        import dask
        import dask.array

        with peers.pipeline(pipeline):
            a = peers.dask_open(data.path("a-raw.zarr"))
            low, high = dask.compute(a.min(), a.max())  # type: ignore[attr-defined, no-untyped-call]
            counts, edges = dask.array.histogram(a, bins, range=(low, high))  # type: ignore[no-untyped-call]
            return np.concatenate([counts.compute(), edges])

    return run


def _histogram_case(bins: int) -> Case:
    return Case(
        name=f"histogram-{bins}",
        work=f"histogram of {bins} bins with automatic range of 1.15 GB of f8 within 512 MiB",
        inputs=("a.npy", "a-raw.zarr"),
        moved=lambda size: square(size).nbytes,
        expected=lambda data: np.asarray(_histogram(data.load("a.npy"), bins)),
        contestants=(
            Contestant(
                "chunkarr, raw Zarr",
                _chunkarr(partial(_histogram, bins=bins), "a-raw.zarr"),
                ("chunkarr",),
                limit=LIMIT,
            ),
            Contestant(
                "dask, zarrs, two passes, raw Zarr",
                _histogram_dask(bins, "zarrs"),
                ("dask", "zarr", "zarrs"),
                target=2.0,
            ),
            Contestant(
                "dask, default pipeline, two passes, raw Zarr", _histogram_dask(bins, "default"), ("dask", "zarr")
            ),
            Contestant("numpy, all in memory, npy", _numpy(partial(_histogram, bins=bins), "a.npy")),
        ),
    )


CASES = (
    MEDIAN,
    QUANTILES,
    _distinct_case("thousand", "1,000 distinct"),
    _distinct_case("tenth", "10 M distinct and dense"),
    _distinct_case("spread", "10 M distinct all over the range"),
    _histogram_case(10),
    _histogram_case(100),
)
