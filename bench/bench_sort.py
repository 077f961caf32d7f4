"""Sorting within 512 MiB: vectors, records by a field, places in order, each axis of a cube.

Besides the peers, the vectors show what reading and writing the same bytes twice costs, by plain copying: a sort
that does not fit in memory must at least do that.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench import peers
from bench.data import RECORD, cube, vector
from bench.harness import Case, Contestant, Data

__all__ = ["BUDGET", "CASES", "LIMIT"]

BUDGET = 512 << 20  # bytes
LIMIT = BUDGET * 11 // 10 + (32 << 20)  # bytes: what the process may measure
COPIED = 16 << 20  # bytes that a plain copy holds
SLAB = 16 << 20  # bytes that a loop over slabs sorts at a time

Array = np.ndarray[Any, Any]
Run = Callable[[Data, Path], object]


def _answer(dtype: Any) -> Callable[[Any], object]:
    """Return what reads a peer's Parquet file as rows of ``dtype``."""
    return partial(peers.parquet_rows, dtype=dtype)


# --- chunkarr ---------------------------------------------------------------------------------------------


def _chunkarr(work: Callable[[Any], Any], source: str, target: str = "result.npy", **options: Any) -> Run:
    def run(data: Data, out: Path) -> object:
        import chunkarr as ca

        with ca.config.set(memory=BUDGET, scratch=out / "scratch"):
            result = work(ca.open(data.path(source)))
            ca.save(str(out / target), result, durability="process", **options)
        return out / target

    return run


def _sort(a: Any, **options: Any) -> Any:
    import chunkarr as ca

    return ca.sort(a, **options)


def _argsort(a: Any) -> Any:
    import chunkarr as ca

    return ca.argsort(a)


# --- peers ------------------------------------------------------------------------------------------------


def _polars(source: str, compression: str = "uncompressed") -> Run:
    def run(data: Data, out: Path) -> object:
        frame = peers.polars_scan(data.path(source)).sort("x")
        return peers.polars_save(frame, out / "result.parquet", compression)

    return run


def _polars_places(data: Data, out: Path) -> object:
    frame = peers.polars_scan(data.path("records.parquet"), row_index_name="i")
    return peers.polars_save(frame.select("x", "i").sort("x").select("i"), out / "result.parquet")


def _duckdb(select: str, source: str) -> Run:
    """Order by ``x`` what ``select`` takes from ``source``, into Parquet with the compression of its choice."""

    def run(data: Data, out: Path) -> object:
        with peers.duckdb_open(out / "spill", BUDGET) as connection:
            table = f"read_parquet('{data.path(source)}', file_row_number={select == 'file_row_number'})"
            query = f"SELECT {select} FROM {table} ORDER BY x"
            connection.execute(f"COPY ({query}) TO '{out / 'result.parquet'}' (FORMAT parquet)")
        return out / "result.parquet"

    return run


# --- NumPy ------------------------------------------------------------------------------------------------


def _numpy(work: Callable[[Array], Array], source: str) -> Run:
    """Read everything, work, write everything."""

    def run(data: Data, out: Path) -> object:
        np.save(out / "result.npy", work(np.load(data.path(source))))
        return out / "result.npy"

    return run


def _sorted_in_place(values: Array) -> Array:
    values.sort()
    return values


def _by_field(values: Array) -> Array:
    return values[np.argsort(values["x"])]


def _copy(source: str, target: Path) -> None:
    buffer = memoryview(bytearray(COPIED))
    with open(source, "rb", buffering=0) as read, open(target, "wb", buffering=0) as write:
        while count := read.readinto(buffer):
            write.write(buffer[:count])


def _copy_twice(source: str) -> Run:
    def run(data: Data, out: Path) -> object:
        _copy(data.path(source), out / "between.npy")
        _copy(str(out / "between.npy"), out / "result.npy")
        return out / "result.npy"

    return run


def _sorted_copy(path: Any) -> object:
    """Return what was copied in order: no element is missing."""
    return _sorted_in_place(np.load(path))


def _by_slabs(axis: int, threads: int) -> Run:
    """Sort slabs that hold ``axis`` whole and lie together as far as they can, between two maps."""

    def run(data: Data, out: Path) -> object:
        source = data.load("cube.npy")
        target = np.lib.format.open_memmap(out / "result.npy", "w+", source.dtype, source.shape)
        across = 1 if axis == 0 else 0
        step = max(1, SLAB // threads * source.shape[across] // source.nbytes)
        lead = (slice(None),) * across

        def work(start: int) -> None:
            slab = (*lead, slice(start, start + step))
            target[slab] = np.sort(source[slab], axis=axis)

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, range(0, source.shape[across], step)))
        target.flush()
        return out / "result.npy"

    return run


def _by_slabs_in_order(axis: int) -> Run:
    """Sort slabs of whole rows of the first axis, written to a file one behind the other: cheaper than a map."""

    def run(data: Data, out: Path) -> object:
        source = data.load("cube.npy")
        step = max(1, SLAB * source.shape[0] // source.nbytes)
        with open(out / "result.npy", "wb") as target:
            np.lib.format.write_array_header_1_0(target, np.lib.format.header_data_from_array_1_0(source))
            for start in range(0, source.shape[0], step):
                np.sort(source[start : start + step], axis=axis).tofile(target)
        return out / "result.npy"

    return run


# --- the table --------------------------------------------------------------------------------------------


def _vector_case(millions: int, share: int) -> Case:
    npy, parquet = f"s{millions}.npy", f"s{millions}.parquet"
    return Case(
        name=f"sort-{millions}",
        work=f"sort {millions} M f8 from file to file within 512 MiB",
        inputs=(npy, parquet),
        moved=lambda size: 2 * vector(share)(size).nbytes,
        expected=lambda data: np.sort(data.load(npy)),
        contestants=(
            Contestant("chunkarr, npy", _chunkarr(_sort, npy), ("chunkarr",), limit=LIMIT),
            Contestant("polars, streaming, Parquet", _polars(parquet), ("polars",), target=2.5, finish=_answer("f8")),
            Contestant(
                "DuckDB, Parquet", _duckdb("x", parquet), ("duckdb", "polars"), target=8.0, finish=_answer("f8")
            ),
            Contestant("numpy, all in memory, npy", _numpy(_sorted_in_place, npy)),
            Contestant("plain copy, twice", _copy_twice(npy), target=0.25, finish=_sorted_copy),
        ),
    )


def _codec_case(codec: str) -> Case:
    zarr, parquet = f"r100-{codec}.zarr", f"r100-{codec}.parquet"
    return Case(
        name=f"sort-{codec}",
        work=f"sort 100 M f8 from and to {codec} within 512 MiB",
        inputs=("r100.npy", zarr, parquet),
        moved=lambda size: 2 * vector(10)(size).nbytes,
        expected=lambda data: np.sort(data.load("r100.npy")),
        contestants=(
            Contestant(
                "chunkarr, blosc Zarr",
                _chunkarr(_sort, zarr, "result.zarr", codec=f"blosc-{codec}"),
                ("chunkarr", "zarr"),
                limit=LIMIT,
            ),
            Contestant(
                "polars, streaming, Parquet",
                _polars(parquet, codec),
                ("polars",),
                target=2.0,
                finish=_answer("f8"),
            ),
        ),
    )


def _axis_case(axis: int) -> Case:
    return Case(
        name=f"sort-axis{axis}",
        work=f"sort a cube of 2 GB of f8 along axis {axis}, npy, within 512 MiB",
        inputs=("cube.npy",),
        moved=lambda size: 2 * cube(size).nbytes,
        expected=lambda data: np.sort(data.load("cube.npy"), axis=axis),
        contestants=(
            Contestant("chunkarr", _chunkarr(partial(_sort, axis=axis), "cube.npy"), ("chunkarr",), limit=LIMIT),
            Contestant("numpy.memmap, slabs by hand", _by_slabs(axis, 1), target=1.3),
            Contestant("numpy.memmap, slabs and threads by hand", _by_slabs(axis, peers.CPUS)),
            *([Contestant("numpy.memmap, slabs written in order by hand", _by_slabs_in_order(axis))] if axis else []),
        ),
    )


RECORDS = Case(
    name="sort-records",
    work="sort 50 M records of 16 bytes by a field within 512 MiB",
    inputs=("records.npy", "records.parquet"),
    moved=lambda size: 2 * vector(20, RECORD)(size).nbytes,
    expected=lambda data: _by_field(data.load("records.npy")),
    contestants=(
        Contestant("chunkarr, npy", _chunkarr(partial(_sort, order="x"), "records.npy"), ("chunkarr",), limit=LIMIT),
        Contestant(
            "polars, streaming, Parquet", _polars("records.parquet"), ("polars",), target=1.5, finish=_answer(RECORD)
        ),
        Contestant(
            "DuckDB, Parquet",
            _duckdb("x, place", "records.parquet"),
            ("duckdb", "polars"),
            target=4.0,
            finish=_answer(RECORD),
        ),
        Contestant("numpy, argsort and take in memory, npy", _numpy(_by_field, "records.npy")),
    ),
)

PLACES = Case(
    name="argsort",
    work="argsort of 50 M f8 within 512 MiB",
    inputs=("keys.npy", "records.parquet"),
    moved=lambda size: 2 * vector(20)(size).nbytes,
    expected=lambda data: np.argsort(data.load("keys.npy"), stable=True),
    contestants=(
        Contestant("chunkarr, npy", _chunkarr(_argsort, "keys.npy"), ("chunkarr",), limit=LIMIT),
        Contestant("polars, streaming, Parquet", _polars_places, ("polars",), target=1.5, finish=_answer("i8")),
        Contestant(
            "DuckDB, Parquet",
            _duckdb("file_row_number", "records.parquet"),
            ("duckdb", "polars"),
            target=4.0,
            finish=_answer("i8"),
        ),
        Contestant("numpy, all in memory, npy", _numpy(np.argsort, "keys.npy")),
    ),
)

CASES = (
    _vector_case(100, 10),
    _vector_case(250, 4),
    _codec_case("lz4"),
    _codec_case("zstd"),
    RECORDS,
    PLACES,
    *(_axis_case(axis) for axis in range(3)),
)
