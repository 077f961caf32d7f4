"""Converting files: text of few digits or with an extra, MATLAB, packed samples, a slice of an npz member.

Text of doubles with all their digits (17), read with core dependencies, and text written are in `bench_text`; how
floats are parsed depends on their digits, so here they have four decimals too.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from bench import peers
from bench.data import FULL, rows, square, twelve
from bench.harness import Case, Contestant, Data

__all__ = ["CASES"]

BUDGET = 256 << 20  # bytes for text
LIMIT = BUDGET * 11 // 10 + (32 << 20)  # bytes: what the process may measure
MATLAB_BUDGET, MATLAB_LIMIT = 96 << 20, 128 << 20  # bytes
SLAB = 24 << 20  # bytes of packed samples decoded at a time by hand; a multiple of 3
BATCH = 100_000  # rows that a peer hands over at a time
ROWS = 100  # rows of the slice of an npz member
DIRECTORY = 8 << 10  # bytes of directory and headers that may be read besides

Array = np.ndarray[Any, Any]
Run = Callable[[Data, Path], object]


def _arrow(*, used: bool) -> AbstractContextManager[object]:
    """Let chunkarr read text with pyarrow however short it is, or as where it is not installed."""
    return patch("chunkarr.formats.text.ARROW_FROM", 0 if used else 1 << 62)


def _convert(
    source: str,
    target: str,
    memory: int,
    *,
    within: Callable[[], AbstractContextManager[object]] = nullcontext,
    opened: dict[str, Any] | None = None,
    **options: Any,
) -> Run:
    """Open with the options ``opened``, save with the others."""

    def run(data: Data, out: Path) -> object:
        import chunkarr as ca

        with within(), ca.config.set(memory=memory, scratch=out / "scratch"):
            ca.save(str(out / target), ca.open(data.path(source), **(opened or {})), durability="process", **options)
        return out / target

    return run


# --- text -> npy ------------------------------------------------------------------------------------------


def _loadtxt(source: str) -> Run:
    def run(data: Data, out: Path) -> object:
        np.save(out / "result.npy", np.loadtxt(data.path(source), delimiter=","))
        return out / "result.npy"

    return run


def _genfromtxt(source: str, share: int) -> Run:
    def run(data: Data, out: Path) -> object:
        count = max(1, rows(data.size).shape[0] // share)
        np.save(out / "result.npy", np.genfromtxt(data.path(source), delimiter=",", max_rows=count))
        return out / "result.npy"

    return run


def _polars_read(source: str) -> Run:
    """Let polars read all on all threads; its columns are stored as they lie."""

    def run(data: Data, out: Path) -> object:
        import polars as pl

        frame = pl.read_csv(data.path(source), has_header=False)
        np.save(out / "result.npy", frame.to_numpy(order="fortran"))
        return out / "result.npy"

    return run


def _append(out: Path, count: int, batches: Any) -> Path:
    """Write batches of columns as rows of an npy file, one behind the other."""
    header = {"descr": "<f8", "fortran_order": False, "shape": (count, 5)}
    with open(out / "result.npy", "wb") as target:
        np.lib.format.write_array_header_1_0(target, header)
        for batch in batches:
            np.stack([column.to_numpy() for column in batch.columns], axis=1).tofile(target)
    return out / "result.npy"


def _duckdb_read(source: str) -> Run:
    """Let DuckDB read on all threads, in order, and hand over batches of Arrow."""

    def run(data: Data, out: Path) -> object:
        with peers.duckdb_open(out / "spill", BUDGET) as connection:
            connection.execute("SET preserve_insertion_order = true")
            found = connection.sql(f"SELECT * FROM read_csv('{data.path(source)}', header=false)")
            return _append(out, rows(data.size).shape[0], found.to_arrow_reader(BATCH))

    return run


def _pyarrow_read(source: str) -> Run:
    """Let pyarrow read all on all threads."""

    def run(data: Data, out: Path) -> object:
        from pyarrow import csv  # type: ignore[import-untyped]

        found = csv.read_csv(data.path(source), csv.ReadOptions(autogenerate_column_names=True))
        return _append(out, found.num_rows, found.to_batches())

    return run


def _csv_case(name: str, source: str, digits: str, *, extra: bool) -> Case:
    ours = Contestant(
        "chunkarr with pyarrow" if extra else "chunkarr, core dependencies",
        _convert(f"{source}.csv", "result.npy", BUDGET, within=lambda: _arrow(used=extra)),
        ("chunkarr", "pyarrow") if extra else ("chunkarr",),
        limit=LIMIT,
    )
    others = (
        Contestant("polars, all in memory", _polars_read(f"{source}.csv"), ("polars",), target=1.0),
        Contestant("DuckDB, batches", _duckdb_read(f"{source}.csv"), ("duckdb", "pyarrow"), target=1.0),
        Contestant("pyarrow, all in memory", _pyarrow_read(f"{source}.csv"), ("pyarrow",)),
    )
    plain = (
        Contestant("np.loadtxt, all in memory", _loadtxt(f"{source}.csv"), target=1.0),
        Contestant(
            "np.genfromtxt",
            _genfromtxt(f"{source}.csv", 50),
            target=7.0,
            share=1 / 50,
            head=True,
        ),
    )
    return Case(
        name=name,
        work=f"csv of 10 M rows of 5 floats of {digits} to npy within 256 MiB",
        inputs=(f"{source}.npy", f"{source}.csv"),
        moved=lambda size: 2 * rows(size).nbytes,
        expected=lambda data: data.load(f"{source}.npy"),
        contestants=(ours, *(others if extra else plain)),
    )


# --- MATLAB -----------------------------------------------------------------------------------------------


def _loadmat(data: Data, out: Path) -> object:
    from scipy.io import loadmat  # type: ignore[import-untyped]

    np.save(out / "result.npy", loadmat(data.path("v7.mat"), variable_names=["x"])["x"])
    return out / "result.npy"


def _edges(size: int) -> tuple[int, int]:
    """Return chunks of a Zarr array that are whole chunks of the MATLAB file."""
    return (1024, 1024) if size >= FULL else (16, 16)


def _chunkarr_73(data: Data, out: Path) -> object:
    return _convert("v73.mat", "result.zarr", BUDGET, chunks=_edges(data.size), codec="blosc-lz4")(data, out)


def _h5py_loop(pipeline: str) -> Run:
    """Read as many columns as a chunk of the target has, which are whole chunks of the source, and write them."""

    def run(data: Data, out: Path) -> object:
        import h5py

        with h5py.File(data.path("v73.mat")) as file, peers.pipeline(pipeline):
            x, chunks = file["x"], _edges(data.size)
            target = peers.zarr_create(out / "result.zarr", x.shape[::-1], x.dtype, chunks)
            for start in range(0, x.shape[0], chunks[1]):
                target[:, start : start + chunks[1]] = x[start : start + chunks[1]].T
        return out / "result.zarr"

    return run


MAT = Case(
    name="mat-v7",
    work="MATLAB v7, a deflated variable of 1.15 GB, to npy in less than 128 MiB",
    inputs=("a.npy", "v7.mat"),
    moved=lambda size: 2 * square(size).nbytes,
    expected=lambda data: data.load("a.npy"),
    contestants=(
        Contestant(
            "chunkarr", _convert("v7.mat", "result.npy", MATLAB_BUDGET, order="F"), ("chunkarr",), limit=MATLAB_LIMIT
        ),
        Contestant(
            "chunkarr, to rows", _convert("v7.mat", "result.npy", MATLAB_BUDGET), ("chunkarr",), limit=MATLAB_LIMIT
        ),
        Contestant("scipy loadmat, np.save", _loadmat, ("scipy",), target=1.0),
    ),
)

MAT73 = Case(
    name="mat-v73",
    work="MATLAB v7.3, gzip, to blosc Zarr",
    inputs=("a.npy", "v73.mat"),
    moved=lambda size: 2 * square(size).nbytes,
    expected=lambda data: data.load("a.npy"),
    contestants=(
        Contestant("chunkarr", _chunkarr_73, ("chunkarr",), limit=LIMIT),
        Contestant("h5py loop, zarr, default pipeline", _h5py_loop("default"), ("h5py", "zarr", "dask"), target=2.0),
        Contestant("h5py loop, zarr, zarrs", _h5py_loop("zarrs"), ("h5py", "zarrs", "dask")),
    ),
)


# --- packed samples ---------------------------------------------------------------------------------------


def _imagecodecs(data: Data, out: Path) -> object:
    """Decode slabs, one behind the other."""
    import imagecodecs

    (count,) = twelve(data.size).shape
    header = {"descr": "<u2", "fortran_order": False, "shape": (count,)}
    with open(data.path("twelve.raw"), "rb") as source, open(out / "result.npy", "wb") as target:
        np.lib.format.write_array_header_1_0(target, header)
        while slab := source.read(SLAB):
            imagecodecs.packints_decode(slab, "u2", 12).tofile(target)
    return out / "result.npy"


def _imagecodecs_threads(data: Data, out: Path) -> object:
    """Decode slabs in a thread per core, each to its place."""
    import imagecodecs

    (count,) = twelve(data.size).shape
    step = SLAB // 8
    with open(data.path("twelve.raw"), "rb", 0) as source, open(out / "result.npy", "wb", 0) as target:
        np.lib.format.write_array_header_1_0(target, {"descr": "<u2", "fortran_order": False, "shape": (count,)})
        begin = target.tell()

        def work(start: int) -> None:
            slab = imagecodecs.packints_decode(os.pread(source.fileno(), step, start), "u2", 12)
            os.pwrite(target.fileno(), slab.data, begin + start // 3 * 4)

        with ThreadPoolExecutor(peers.CPUS) as pool:
            list(pool.map(work, range(0, count // 2 * 3, step)))
    return out / "result.npy"


def _copy(data: Data, out: Path) -> object:
    buffer = memoryview(bytearray(SLAB))
    with open(data.path("twelve.npy"), "rb", 0) as source, open(out / "result.npy", "wb", 0) as target:
        while count := source.readinto(buffer):
            target.write(buffer[:count])
    return out / "result.npy"


TWELVE = Case(
    name="twelve-bit",
    work="2 GB of samples of 12 bits to npy of uint16",
    inputs=("twelve.npy", "twelve.raw"),
    moved=lambda size: twelve(size).nbytes * 7 // 4,
    expected=lambda data: data.load("twelve.npy"),
    contestants=(
        Contestant(
            "chunkarr",
            _convert(
                "twelve.raw",
                "result.npy",
                BUDGET,
                opened={"format": "packed", "bits": 12, "bitorder": "big"},
            ),
            ("chunkarr",),
            limit=LIMIT,
        ),
        Contestant("imagecodecs.packints_decode, slabs", _imagecodecs, ("imagecodecs",), target=1.0),
        Contestant("imagecodecs.packints_decode, slabs and threads", _imagecodecs_threads, ("imagecodecs",)),
        Contestant("plain copy of the result", _copy),
    ),
)


# --- npz --------------------------------------------------------------------------------------------------


def _some(data: Data) -> slice:
    """Return the rows that are asked for: in the middle."""
    first = square(data.size).shape[0] // 2
    return slice(first, first + min(ROWS, square(data.size).shape[0] // 4))


def _asked(size: int) -> int:
    """Return the bytes asked for, and of a directory and headers."""
    edge = square(size).shape[0]
    return min(ROWS, edge // 4) * edge * 8 + DIRECTORY


def _slice_chunkarr(data: Data, out: Path) -> object:
    import chunkarr as ca

    del out
    return np.asarray(ca.open(data.path("a.npz") + "::a")[_some(data)])


def _slice_numpy(data: Data, out: Path) -> object:
    del out
    with np.load(data.path("a.npz")) as file:
        return file["a"][_some(data)].copy()


NPZ = Case(
    name="npz-slice",
    work="100 rows (9.6 MB) of a member of 1.15 GB of an npz file",
    inputs=("a.npy", "a.npz"),
    moved=lambda size: _asked(size) - DIRECTORY,
    expected=lambda data: np.array(data.load("a.npy")[_some(data)]),
    contestants=(
        Contestant("chunkarr", _slice_chunkarr, ("chunkarr",), reads=_asked),
        Contestant("np.load", _slice_numpy, target=1.0, reads=_asked),
    ),
)

CASES = (
    _csv_case("csv-read-extra", "rows", "17 digits", extra=True),
    _csv_case("csv-decimals", "decimals", "4 decimals", extra=False),
    _csv_case("csv-decimals-extra", "decimals", "4 decimals", extra=True),
    MAT,
    MAT73,
    TWELVE,
    NPZ,
)
