"""Many chunks: the sum of 3.3 GB in 100,000 chunks of 32 KiB, and of those in shards, against chunks of 8 MB.

The values are multiples of 2**-16, so their sum is exact in any order.
Here a target below 1 is how much slower than the 8 MB chunks it may be: 0.125 is eight times.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench import peers
from bench.data import many
from bench.harness import Case, Contestant, Data

__all__ = ["CASES"]

ZARRS = ("dask", "zarr", "zarrs")
DASK_SHARE = 0.02  # 2,000 of the 100,000 chunks: all of them take minutes

Run = Callable[[Data, Path], object]


def _chunkarr(name: str) -> Run:
    def run(data: Data, out: Path) -> object:
        import chunkarr as ca

        return np.asarray(np.sum(ca.open(data.path(name))))

    return run


def _dask(name: str, multiple: int, share: float = 1.0) -> Run:
    def run(data: Data, out: Path) -> object:
        with peers.pipeline("zarrs"):
            array = peers.dask_open(data.path(name), multiple)
            return np.asarray(array[: int(share * array.shape[0])].sum().compute())

    return run


def _tensorstore(name: str) -> Run:
    def run(data: Data, out: Path) -> object:
        store = peers.tensorstore_open(data.path(name))
        # One request for 250 chunks: tensorstore reads them side by side, and Python is asked once.
        regions = peers.boxes(store.shape, (250 * many(data.size).chunks[0],))
        return np.float64(sum(peers.tensorstore_map(_sum, [store], regions)))

    return run


def _sum(_: peers.Slices, block: np.ndarray[Any, Any]) -> Any:
    return block.sum()


def _case(name: str, work: str, stored: str, target: float) -> Case:
    return Case(
        name=name,
        work=work,
        inputs=("many-8m.zarr", stored),
        moved=lambda size: many(size).nbytes,
        expected=lambda data: np.asarray(np.sum(data.load("many.npy"))),
        contestants=(
            Contestant("chunkarr", _chunkarr(stored), ("chunkarr",)),
            Contestant("chunkarr, 8 MB chunks", _chunkarr("many-8m.zarr"), ("chunkarr",), target=target),
            Contestant("dask, zarrs, a task a chunk", _dask(stored, 1, DASK_SHARE), ZARRS, share=DASK_SHARE),
            Contestant("dask, zarrs, a task 250 chunks", _dask(stored, 250), ZARRS),
            Contestant("dask, zarrs, 8 MB chunks", _dask("many-8m.zarr", peers.MULTIPLE), ZARRS),
            Contestant("tensorstore", _tensorstore(stored), ("tensorstore",)),
        ),
    )


CASES = (
    _case("small-chunks", "sum of 100,000 chunks of 32 KiB, blosc Zarr", "many-32k.zarr", 1 / 8),
    _case("shards", "sum of 100,000 chunks of 32 KiB in shards of 8 MB, blosc Zarr", "many-shards.zarr", 1 / 4),
)
