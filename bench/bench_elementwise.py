"""Fused expressions and reductions of two arrays of 1 GB: `sum(sqrt(a*a+b*b) > 1)`, `mean((a-b)**2)`, `std(a)`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench import peers
from bench.data import square
from bench.harness import Case, Contestant, Data

__all__ = ["CASES"]

Array = np.ndarray[Any, Any]
Function = Callable[..., Any]


# --- the work, as one writes it for NumPy, dask and chunkarr --------------------------------------------


def _count(a: Any, b: Any) -> Any:
    return np.sum(np.sqrt(a * a + b * b) > 1)


def _mean(a: Any, b: Any) -> Any:
    return np.mean((a - b) ** 2, axis=0)


def _std(a: Any) -> Any:
    return np.std(a, axis=1)


def _chunkarr(expression: Function, names: Sequence[str]) -> Callable[[Data, Path], object]:
    def run(data: Data, out: Path) -> object:
        import chunkarr as ca

        return np.asarray(expression(*(ca.open(data.path(name)) for name in names)))

    return run


def _dask(expression: Function, names: Sequence[str], pipeline: str) -> Callable[[Data, Path], object]:
    def run(data: Data, out: Path) -> object:
        with peers.pipeline(pipeline):
            return np.asarray(expression(*(peers.dask_open(data.path(name)) for name in names)).compute())

    return run


# --- blosc2: its own methods, which its lazy expressions fuse -------------------------------------------


def _blosc2_count(a: Any, b: Any) -> Any:
    import blosc2  # type: ignore[import-untyped]

    return (blosc2.sqrt(a * a + b * b) > 1).sum()


def _blosc2_mean(a: Any, b: Any) -> Any:
    return ((a - b) ** 2).mean(axis=0)


def _blosc2_std(a: Any) -> Any:
    return a.std(axis=1)


def _blosc2(expression: Function, names: Sequence[str]) -> Callable[[Data, Path], object]:
    def run(data: Data, out: Path) -> object:
        return np.asarray(expression(*(peers.blosc2_open(data.path(name)) for name in names))[()])

    return run


# --- tensorstore: a loop over chunks ---------------------------------------------------------------------


def _count_tiles(a: Array, b: Array) -> int:
    """Count in tiles that stay in cache; ``a`` and ``b`` are matrices of one shape."""
    count = 0
    for rows in peers.row_tiles(a.shape):
        x, y = a[rows] * a[rows], b[rows] * b[rows]
        np.sqrt(np.add(x, y, out=x), out=x)
        count += int(np.count_nonzero(x > 1))
    return count


def _square_sums(a: Array, b: Array) -> Array:
    """Sum the squared differences along axis 0, in tiles: ``(M, N) -> (N,)``."""
    total = np.zeros(a.shape[1])
    for rows in peers.row_tiles(a.shape):
        x = a[rows] - b[rows]
        total += np.multiply(x, x, out=x).sum(axis=0)
    return total


def _moments(a: Array) -> tuple[Array, Array]:
    """Return mean and sum of squared deviations of each row: ``(M, N) -> (M,), (M,)``."""
    mean, m2 = np.empty(a.shape[0]), np.empty(a.shape[0])
    for rows in peers.row_tiles(a.shape):
        mean[rows] = a[rows].mean(axis=1)
        x = a[rows] - mean[rows, None]
        m2[rows] = np.multiply(x, x, out=x).sum(axis=1)
    return mean, m2


def _tensorstore_count(data: Data, names: Sequence[str]) -> object:
    stores = [peers.tensorstore_open(data.path(name)) for name in names]
    regions = peers.boxes(stores[0].shape, stores[0].chunk_layout.read_chunk.shape)
    return np.int64(sum(peers.tensorstore_map(lambda _, a, b: _count_tiles(a, b), stores, regions)))


def _tensorstore_mean(data: Data, names: Sequence[str]) -> object:
    stores = [peers.tensorstore_open(data.path(name)) for name in names]
    regions = peers.boxes(stores[0].shape, stores[0].chunk_layout.read_chunk.shape)
    total = np.zeros(stores[0].shape[1])
    for columns, part in peers.tensorstore_map(lambda s, a, b: (s[1], _square_sums(a, b)), stores, regions):
        total[columns] += part
    return total / stores[0].shape[0]


def _tensorstore_std(data: Data, names: Sequence[str]) -> object:
    store = peers.tensorstore_open(data.path(names[0]))
    regions = peers.boxes(store.shape, store.chunk_layout.read_chunk.shape)
    count, mean, m2 = np.zeros(store.shape[0]), np.zeros(store.shape[0]), np.zeros(store.shape[0])
    for (rows, columns), (part_mean, part_m2) in peers.tensorstore_map(lambda s, a: (s, _moments(a)), [store], regions):
        size = columns.stop - columns.start
        delta, total = part_mean - mean[rows], count[rows] + size
        m2[rows] += part_m2 + delta * delta * (count[rows] * size / total)
        mean[rows] += delta * (size / total)
        count[rows] = total
    return np.sqrt(m2 / count)


# --- numpy.memmap: as one writes it, and in tiles by hand -----------------------------------------------


def _memmap(expression: Function, names: Sequence[str]) -> Callable[[Data, Path], object]:
    def run(data: Data, out: Path) -> object:
        return np.asarray(expression(*(data.load(name) for name in names)))

    return run


def _memmap_tiles(
    tiles: Function, combine: Function, names: Sequence[str], threads: int
) -> Callable[[Data, Path], object]:
    def run(data: Data, out: Path) -> object:
        arrays = [data.load(name) for name in names]

        def work(rows: Sequence[slice]) -> Any:
            whole = slice(rows[0].start, rows[-1].stop)
            return tiles(*(array[whole] for array in arrays))

        return combine(peers.threaded(work, peers.row_tiles(arrays[0].shape), threads), arrays[0].shape)

    return run


def _std_of_moments(parts: list[tuple[Array, Array]], shape: tuple[int, ...]) -> Array:
    return np.asarray(np.sqrt(np.concatenate([m2 for _, m2 in parts]) / shape[1]))


# --- the table -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Work:
    """One expression, said in each contestant's way."""

    key: str
    text: str
    inputs: str  # one letter each
    expression: Function
    blosc2: Function
    tensorstore: Callable[[Data, Sequence[str]], object]
    tiles: Function  # of whole rows
    combine: Function  # of the answers of `tiles` and the shape
    lead: float  # over plain numpy.memmap
    rtol: float = 0.0

    def expected(self, data: Data) -> Array:
        """Return NumPy's answer."""
        return np.asarray(self.expression(*(data.load(f"{letter}.npy") for letter in self.inputs)))

    def moved(self, size: int) -> int:
        """Return the bytes read."""
        return len(self.inputs) * square(size).nbytes


WORK = (
    Work(
        "count",
        "sum(sqrt(a*a+b*b) > 1)",
        "ab",
        _count,
        _blosc2_count,
        _tensorstore_count,
        _count_tiles,
        lambda parts, _: np.int64(sum(parts)),
        lead=2.0,
    ),
    Work(
        "mean",
        "mean((a-b)**2, axis=0)",
        "ab",
        _mean,
        _blosc2_mean,
        _tensorstore_mean,
        _square_sums,
        lambda parts, shape: sum(parts) / shape[0],
        lead=1.2,
        rtol=1e-12,
    ),
    Work(
        "std",
        "std(a, axis=1)",
        "a",
        _std,
        _blosc2_std,
        _tensorstore_std,
        _moments,
        _std_of_moments,
        lead=1.2,
        rtol=1e-12,
    ),
)


def _zarr_case(work: Work, stored: str) -> Case:
    names = [f"{letter}-{stored}.zarr" for letter in work.inputs]
    others = [f"{letter}-{stored}.b2nd" for letter in work.inputs]
    return Case(
        name=f"{work.key}-{stored}",
        work=f"`{work.text}`, {'uncompressed' if stored == 'raw' else 'blosc-lz4'} Zarr",
        inputs=(*names, *others),
        moved=work.moved,
        expected=work.expected,
        contestants=(
            Contestant("chunkarr", _chunkarr(work.expression, names), ("chunkarr",)),
            Contestant("dask, zarrs", _dask(work.expression, names, "zarrs"), ("dask", "zarr", "zarrs"), target=2.5),
            Contestant("dask, default pipeline", _dask(work.expression, names, "default"), ("dask", "zarr")),
            Contestant("blosc2", _blosc2(work.blosc2, others), ("blosc2",), target=1.3),
            Contestant("tensorstore", lambda data, out: work.tensorstore(data, names), ("tensorstore",), target=1.3),
        ),
        rtol=work.rtol,
    )


def _npy_case(work: Work) -> Case:
    names = [f"{letter}.npy" for letter in work.inputs]
    return Case(
        name=f"{work.key}-npy",
        work=f"`{work.text}`, npy",
        inputs=tuple(names),
        moved=work.moved,
        expected=work.expected,
        contestants=(
            Contestant("chunkarr", _chunkarr(work.expression, names), ("chunkarr",)),
            Contestant("numpy.memmap", _memmap(work.expression, names), target=work.lead),
            Contestant("numpy.memmap, tiles by hand", _memmap_tiles(work.tiles, work.combine, names, 1)),
            Contestant(
                "numpy.memmap, tiles and threads by hand", _memmap_tiles(work.tiles, work.combine, names, peers.CPUS)
            ),
        ),
        rtol=work.rtol,
    )


CASES = (
    *(_zarr_case(work, stored) for stored in ("raw", "blosc") for work in WORK),
    *(_npy_case(work) for work in WORK),
)
