"""Writing and reading whole arrays: `a - b` saved as blosc Zarr, a blosc Zarr array read into an ndarray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bench import peers
from bench.data import square
from bench.harness import Case, Contestant, Data, Rows

__all__ = ["CASES"]

INPUTS = ("a-blosc.zarr", "b-blosc.zarr")


def _difference(data: Data) -> Rows:
    a, b = data.load("a.npy"), data.load("b.npy")
    return Rows(a.shape, a.dtype, lambda rows: np.asarray(a[rows] - b[rows]))


# --- saving ---------------------------------------------------------------------------------------------


def _save_chunkarr(data: Data, out: Path, durability: str) -> object:
    import chunkarr as ca

    a, b = (ca.open(data.path(name)) for name in INPUTS)
    target = out / "difference.zarr"
    ca.save(str(target), a - b, chunks=square(data.size).chunks, durability=durability)
    return target


def _save_dask(data: Data, out: Path, pipeline: str, *, sync: bool = False) -> object:
    with peers.pipeline(pipeline):
        a, b = (peers.dask_open(data.path(name)) for name in INPUTS)
        target = peers.dask_save(a - b, out / "difference.zarr", square(data.size).chunks)
    if sync:
        peers.sync_tree(target)
    return target


def _save_tensorstore(data: Data, out: Path, *, sync: bool = False) -> object:
    a, b = (peers.tensorstore_open(data.path(name)) for name in INPUTS)
    chunks = square(data.size).chunks
    target = peers.tensorstore_create(out / "difference.zarr", a.shape, np.float64, chunks, sync=sync)

    def work(slices: peers.Slices, x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> None:
        target[slices].write(np.subtract(x, y, out=x), can_reference_source_data_indefinitely=True).result()

    for _ in peers.tensorstore_map(work, [a, b], peers.boxes(a.shape, chunks)):
        pass
    if sync:
        peers.sync_tree(out)  # tensorstore syncs the files that it writes, not their directories
    return out / "difference.zarr"


def _save_blosc2(data: Data, out: Path) -> object:
    a, b = (peers.blosc2_open(data.path(name)) for name in ("a-blosc.b2nd", "b-blosc.b2nd"))
    (a - b).compute(urlpath=str(out / "difference.b2nd"), mode="w", cparams=peers.blosc2_lz4())
    return out / "difference.b2nd"


# --- reading --------------------------------------------------------------------------------------------


def _read_chunkarr(data: Data, out: Path) -> object:
    import chunkarr as ca

    with ca.config.set(memory=str(4 * square(data.size).nbytes)):
        return np.asarray(ca.open(data.path(INPUTS[0])))


def _read_zarr(data: Data, pipeline: str) -> object:
    import zarr

    with peers.pipeline(pipeline):
        return zarr.open_array(data.path(INPUTS[0]), mode="r")[...]


def _read_dask(data: Data, pipeline: str) -> object:
    with peers.pipeline(pipeline):
        return peers.dask_open(data.path(INPUTS[0])).compute()


def _read_tensorstore(data: Data, out: Path) -> object:
    return peers.tensorstore_open(data.path(INPUTS[0])).read().result()


def _read_blosc2(data: Data, out: Path) -> object:
    return peers.blosc2_open(data.path("a-blosc.b2nd"))[:]


DASK, ZARRS, TENSORSTORE = ("dask", "zarr"), ("dask", "zarr", "zarrs"), ("tensorstore",)

CASES = (
    Case(
        name="save-process",
        work="`a - b` saved as blosc Zarr, no fsync",
        inputs=(*INPUTS, "a-blosc.b2nd", "b-blosc.b2nd"),
        moved=lambda size: 3 * square(size).nbytes,
        expected=_difference,
        contestants=(
            Contestant("chunkarr", lambda data, out: _save_chunkarr(data, out, "process"), ("chunkarr",)),
            Contestant("dask, default pipeline", lambda data, out: _save_dask(data, out, "default"), DASK, target=1.5),
            Contestant("dask, zarrs", lambda data, out: _save_dask(data, out, "zarrs"), ZARRS, target=1.0),
            Contestant("tensorstore", _save_tensorstore, TENSORSTORE, target=1.0),
            Contestant("blosc2", _save_blosc2, ("blosc2",)),
        ),
    ),
    Case(
        name="save-full",
        work="`a - b` saved as blosc Zarr, every file fsynced",
        inputs=INPUTS,
        moved=lambda size: 3 * square(size).nbytes,
        expected=_difference,
        contestants=(
            Contestant("chunkarr", lambda data, out: _save_chunkarr(data, out, "full"), ("chunkarr",)),
            Contestant(
                "dask, default pipeline, fsync by hand",
                lambda data, out: _save_dask(data, out, "default", sync=True),
                DASK,
                target=1.5,
            ),
            Contestant(
                "dask, zarrs, fsync by hand",
                lambda data, out: _save_dask(data, out, "zarrs", sync=True),
                ZARRS,
                target=1.0,
            ),
            Contestant(
                "tensorstore", lambda data, out: _save_tensorstore(data, out, sync=True), TENSORSTORE, target=1.0
            ),
        ),
    ),
    Case(
        name="read",
        work="blosc Zarr read into an ndarray",
        inputs=(INPUTS[0], "a-blosc.b2nd"),
        moved=lambda size: square(size).nbytes,
        expected=lambda data: data.load("a.npy"),
        contestants=(
            Contestant("chunkarr", _read_chunkarr, ("chunkarr",)),
            Contestant("dask, default pipeline", lambda data, out: _read_dask(data, "default"), DASK, target=1.5),
            Contestant("dask, zarrs", lambda data, out: _read_dask(data, "zarrs"), ZARRS),
            Contestant("zarr, zarrs", lambda data, out: _read_zarr(data, "zarrs"), ZARRS, target=1.0),
            Contestant("zarr, default pipeline", lambda data, out: _read_zarr(data, "default"), DASK),
            Contestant("tensorstore", _read_tensorstore, TENSORSTORE, target=1.0),
            Contestant("blosc2", _read_blosc2, ("blosc2",)),
        ),
    ),
)
