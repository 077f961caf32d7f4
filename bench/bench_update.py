"""Changing stored arrays: overwriting, `a *= 1.01` in little memory, many small updates, reading with checks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench import peers
from bench.data import FULL, square
from bench.harness import Case, Contestant, Data, Rows

__all__ = ["CASES"]

BUDGET = 128 << 20  # bytes for `a *= 1.01`
LIMIT = BUDGET * 11 // 10 + (32 << 20)  # bytes: what the process may measure
UPDATES = 10_000  # small updates of one array
SHARE = 20  # one-by-one contestants do one in so many of them

Run = Callable[[Data, Path], object]
Chunks = Callable[[int], tuple[int, ...]]


def _eight(size: int) -> tuple[int, ...]:
    return square(size).chunks


def _one(size: int) -> tuple[int, ...]:
    """Return chunks of about 1 MB that divide the square."""
    return (375, 375) if size >= FULL else (8, 8)


def _target(out: Path) -> str:
    return str(out / "x.zarr")


# --- overwriting all of an array of uncompressed chunks -----------------------------------------------------


def _prepare_zarr(chunks: Chunks) -> Run:
    def prepare(data: Data, out: Path) -> object:
        import zarr

        with peers.pipeline("zarrs"):
            source = data.load("a.npy")
            target = zarr.create_array(
                _target(out), shape=source.shape, dtype="<f8", chunks=chunks(data.size), compressors=None, fill_value=0
            )
            step = 10 * chunks(data.size)[0]
            for start in range(0, source.shape[0], step):
                target[start : start + step] = source[start : start + step]
        return None

    return prepare


def _prepare_chunkarr(chunks: Chunks) -> Run:
    def prepare(data: Data, out: Path) -> object:
        import chunkarr as ca

        source = ca.open(data.path("a.npy"))
        ca.save(_target(out), source, chunks=chunks(data.size), codec="none", durability="process")
        return None

    return prepare


def _overwrite_chunkarr(durability: str) -> Run:
    def run(data: Data, out: Path) -> object:
        import chunkarr as ca

        a = ca.open(_target(out), "r+", durability=durability)
        a[...] = data.load("b.npy")
        return out / "x.zarr"

    return run


def _overwrite_zarr(pipeline: str, *, sync: bool = False) -> Run:
    def run(data: Data, out: Path) -> object:
        import zarr

        with peers.pipeline(pipeline):
            zarr.open_array(_target(out), mode="r+")[...] = data.load("b.npy")
        if sync:
            peers.sync_tree(out / "x.zarr")
        return out / "x.zarr"

    return run


def _overwrite_tensorstore(data: Data, out: Path) -> object:
    peers.tensorstore_open(_target(out), write=True).write(data.load("b.npy")).result()
    return out / "x.zarr"


def _overwrite(name: str, work: str, chunks: Chunks, durability: str, target: float) -> Case:
    zarr, ours = _prepare_zarr(chunks), _prepare_chunkarr(chunks)
    return Case(
        name=name,
        work=work,
        inputs=("a.npy", "b.npy"),
        moved=lambda size: 2 * square(size).nbytes,
        expected=lambda data: data.load("b.npy"),
        contestants=(
            Contestant("chunkarr", _overwrite_chunkarr(durability), ("chunkarr",), prepare=ours),
            Contestant(
                "zarr, default pipeline", _overwrite_zarr("default"), ("zarr", "dask"), target=target, prepare=zarr
            ),
            Contestant("zarr, zarrs", _overwrite_zarr("zarrs"), ("zarr", "zarrs", "dask"), prepare=zarr),
            Contestant(
                "zarr, default pipeline, fsync by hand",
                _overwrite_zarr("default", sync=True),
                ("zarr", "dask"),
                prepare=zarr,
            ),
            Contestant("tensorstore", _overwrite_tensorstore, ("tensorstore", "zarr", "zarrs"), prepare=zarr),
        ),
    )


# --- reading with every checksum compared ------------------------------------------------------------------


def _read_chunkarr(data: Data, out: Path) -> object:
    import chunkarr as ca

    with ca.config.set(memory=str(4 * square(data.size).nbytes)):
        return np.asarray(ca.open(_target(out)))


def _prepare_checked(data: Data, out: Path) -> object:
    """Write with chunkarr, uncompressed with crc32c: every contestant reads the same files."""
    return _prepare_chunkarr(_one)(data, out)


def _read_zarr(pipeline: str) -> Run:
    def run(data: Data, out: Path) -> object:
        import zarr

        with peers.pipeline(pipeline):
            return zarr.open_array(_target(out), mode="r")[...]

    return run


def _read_tensorstore(data: Data, out: Path) -> object:
    return peers.tensorstore_open(_target(out)).read().result()


# --- `a *= 1.01` -------------------------------------------------------------------------------------------

REPEATS = 4  # copies of the source, one below the other


def _prepare_tall(data: Data, out: Path) -> object:
    source = data.load("a.npy")
    rows = source.shape[0]
    target = np.lib.format.open_memmap(out / "tall.npy", "w+", source.dtype, (REPEATS * rows, source.shape[1]))
    for start in range(0, REPEATS * rows, rows // 8):
        target[start : start + rows // 8] = source[start % rows : start % rows + rows // 8]
    return None


def _prepare_tall_zarr(data: Data, out: Path) -> object:
    import chunkarr as ca

    source = ca.open(data.path("a.npy"))
    tall = ca.concatenate([source] * REPEATS)
    ca.save(str(out / "tall.zarr"), tall, chunks=_eight(data.size), durability="process")
    return None


def _scale_chunkarr(name: str) -> Run:
    def run(data: Data, out: Path) -> object:
        import chunkarr as ca

        with ca.config.set(memory=BUDGET):
            a = ca.open(str(out / name), "r+", durability="process")
            a *= 1.01
        return out / name

    return run


def _scale_memmap(data: Data, out: Path) -> object:
    a = np.load(out / "tall.npy", mmap_mode="r+")
    a *= 1.01
    a.flush()
    return out / "tall.npy"


def _scaled(data: Data) -> Rows:
    source = data.load("a.npy")
    rows = source.shape[0]
    shape = (REPEATS * rows, source.shape[1])

    def block(part: slice) -> np.ndarray[Any, Any]:
        return source[np.arange(*part.indices(shape[0])) % rows] * 1.01

    return Rows(shape, source.dtype, block)


# --- many small updates ------------------------------------------------------------------------------------


def _places(size: int, count: int, part: int) -> np.ndarray[Any, Any]:
    """Return corners of 2 x 2 elements in the first ``1 / part`` of rows and columns."""
    rng = np.random.default_rng(6)
    return rng.integers(0, max(4, square(size).shape[0] // part) - 4 + 1, (count, 2))


def _updated(part: int) -> Callable[[Data], Rows]:
    def expected(data: Data) -> Rows:
        values = np.array(data.load("a.npy"))
        for k, (i, j) in enumerate(_places(data.size, UPDATES, part)):
            values[i : i + 2, j : j + 2] = k
        return Rows(values.shape, values.dtype, lambda rows: values[rows])

    return expected


def _update_in_batch(part: int) -> Run:
    def run(data: Data, out: Path) -> object:
        import chunkarr as ca

        a = ca.open(_target(out), "r+", durability="process")
        with a.batch():
            for k, (i, j) in enumerate(_places(data.size, UPDATES, part)):
                a[i : i + 2, j : j + 2] = k
        return out / "x.zarr"

    return run


def _update_each(part: int) -> Run:
    def run(data: Data, out: Path) -> object:
        import chunkarr as ca

        a = ca.open(_target(out), "r+", durability="process")
        for k, (i, j) in enumerate(_places(data.size, UPDATES // SHARE, part)):
            a[i : i + 2, j : j + 2] = k
        return out / "x.zarr"

    return run


def _update_each_zarr(part: int) -> Run:
    def run(data: Data, out: Path) -> object:
        import zarr

        with peers.pipeline("default"):
            a = zarr.open_array(_target(out), mode="r+")
            for k, (i, j) in enumerate(_places(data.size, UPDATES // SHARE, part)):
                a[i : i + 2, j : j + 2] = k
        return out / "x.zarr"

    return run


def _updates(name: str, work: str, part: int) -> Case:
    ours, zarr = _prepare_chunkarr(_one), _prepare_zarr(_one)
    return Case(
        name=name,
        work=work,
        inputs=("a.npy",),
        moved=lambda size: 2 * UPDATES * 32,
        expected=_updated(part),
        contestants=(
            Contestant("chunkarr, in a batch", _update_in_batch(part), ("chunkarr",), prepare=ours),
            Contestant(
                "chunkarr, one by one", _update_each(part), ("chunkarr",), target=20.0, share=1 / SHARE, prepare=ours
            ),
            Contestant(
                "zarr, one by one",
                _update_each_zarr(part),
                ("zarr", "zarrs", "dask"),
                share=1 / SHARE,
                prepare=zarr,
            ),
        ),
    )


CASES = (
    _overwrite("overwrite-1mb", "1.15 GB overwritten, 1 MB raw chunks, no fsync", _one, "process", 1.0),
    _overwrite("overwrite-8mb", "1.15 GB overwritten, 8 MB raw chunks, no fsync", _eight, "process", 1.0),
    _overwrite("overwrite-1mb-full", "1.15 GB overwritten, 1 MB raw chunks, every file fsynced", _one, "full", 0.8),
    _overwrite("overwrite-8mb-full", "1.15 GB overwritten, 8 MB raw chunks, every file fsynced", _eight, "full", 0.8),
    Case(
        name="read-checked",
        work="raw Zarr with crc32c, 1 MB chunks, read into an ndarray, checks on",
        inputs=("a.npy",),
        moved=lambda size: square(size).nbytes,
        expected=lambda data: data.load("a.npy"),
        contestants=(
            Contestant("chunkarr", _read_chunkarr, ("chunkarr",), prepare=_prepare_checked),
            Contestant(
                "zarr, default pipeline",
                _read_zarr("default"),
                ("zarr", "dask", "chunkarr"),
                target=2.0,
                prepare=_prepare_checked,
            ),
            Contestant(
                "zarr, zarrs", _read_zarr("zarrs"), ("zarr", "zarrs", "dask", "chunkarr"), prepare=_prepare_checked
            ),
            Contestant("tensorstore", _read_tensorstore, ("tensorstore", "chunkarr"), prepare=_prepare_checked),
        ),
    ),
    Case(
        name="scale-npy",
        work="`a *= 1.01` on a 4.6 GB npy file within 128 MiB",
        inputs=("a.npy",),
        moved=lambda size: 2 * REPEATS * square(size).nbytes,
        expected=_scaled,
        contestants=(
            Contestant("chunkarr", _scale_chunkarr("tall.npy"), ("chunkarr",), limit=LIMIT, prepare=_prepare_tall),
            Contestant("numpy.memmap, in place, unsafe", _scale_memmap, prepare=_prepare_tall),
        ),
    ),
    Case(
        name="scale-zarr",
        work="`a *= 1.01` on a 4.6 GB array of blosc chunks within 128 MiB",
        inputs=("a.npy",),
        moved=lambda size: 2 * REPEATS * square(size).nbytes,
        expected=_scaled,
        contestants=(
            Contestant(
                "chunkarr", _scale_chunkarr("tall.zarr"), ("chunkarr",), limit=LIMIT, prepare=_prepare_tall_zarr
            ),
        ),
    ),
    _updates("updates", "10,000 updates of 2 x 2 elements in 64 of the 1 MB raw chunks, no fsync", 4),
    _updates("updates-wide", "10,000 updates of 2 x 2 elements all over 1,024 raw chunks of 1 MB, no fsync", 1),
)
