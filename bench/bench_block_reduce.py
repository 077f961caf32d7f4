"""Downsampling: the 2x2 mean of every frame of a 2 GB stack of uint16, saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bench import peers
from bench.data import frames
from bench.harness import Case, Contestant, Data, Rows

__all__ = ["CASES"]

FACTORS = (1, 2, 2)


def _small_chunks(data: Data) -> tuple[int, ...]:
    """Chunks of the result: those of the stack with each frame halved, again about 8 MB as f8."""
    return tuple(n // f for n, f in zip(frames(data.size).chunks, FACTORS, strict=True))


def _mean_2x2(block: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the means of 2x2 pixels: ``(K, M, N) -> (K, M/2, N/2)``, f8, exact for uint16."""
    total: np.ndarray[Any, Any] = np.add(block[:, ::2, ::2], block[:, 1::2, ::2], dtype=np.float64)
    total += block[:, ::2, 1::2]
    total += block[:, 1::2, 1::2]
    total *= 0.25
    return total


def _expected(data: Data) -> Rows:
    stack = data.load("frames.npy")
    shape = tuple(n // f for n, f in zip(stack.shape, FACTORS, strict=True))
    return Rows(shape, np.dtype(np.float64), lambda rows: _mean_2x2(stack[rows]))


def _chunkarr(data: Data, out: Path) -> object:
    import chunkarr as ca

    result = ca.block_reduce(ca.open(data.path("frames.zarr")), FACTORS, func=np.mean)
    ca.save(str(out / "small.zarr"), result, chunks=_small_chunks(data), durability="process")
    return out / "small.zarr"


def _dask(data: Data, out: Path, pipeline: str) -> object:
    import dask.array as da

    with peers.pipeline(pipeline):
        stack = peers.dask_open(data.path("frames.zarr"))
        small = da.coarsen(np.mean, stack, {1: 2, 2: 2})
        return peers.dask_save(small, out / "small.zarr", _small_chunks(data))


def _tensorstore(data: Data, out: Path) -> object:
    stack = peers.tensorstore_open(data.path("frames.zarr"))
    chunks = _small_chunks(data)
    shape = tuple(n // f for n, f in zip(stack.shape, FACTORS, strict=True))
    target = peers.tensorstore_create(out / "small.zarr", shape, np.float64, chunks)

    def work(slices: peers.Slices, block: np.ndarray[Any, Any]) -> None:
        place = tuple(slice(s.start // f, s.stop // f) for s, f in zip(slices, FACTORS, strict=True))
        target[place].write(_mean_2x2(block), can_reference_source_data_indefinitely=True).result()

    for _ in peers.tensorstore_map(work, [stack], peers.boxes(stack.shape, frames(data.size).chunks)):
        pass
    return out / "small.zarr"


CASES = (
    Case(
        name="block-reduce",
        work="`block_reduce(stack, (1, 2, 2), np.mean)` of uint16 frames, saved as blosc Zarr (f8)",
        inputs=("frames.zarr",),
        moved=lambda size: 2 * frames(size).nbytes,  # a quarter of the elements, four times the bytes each
        expected=_expected,
        contestants=(
            Contestant("chunkarr", _chunkarr, ("chunkarr",)),
            Contestant(
                "dask.coarsen, zarrs",
                lambda data, out: _dask(data, out, "zarrs"),
                ("dask", "zarr", "zarrs"),
                target=5.0,
            ),
            Contestant(
                "dask.coarsen, default pipeline",
                lambda data, out: _dask(data, out, "default"),
                ("dask", "zarr"),
                target=5.0,
            ),
            Contestant("tensorstore, 2x2 means by hand", _tensorstore, ("tensorstore",)),
        ),
    ),
)
