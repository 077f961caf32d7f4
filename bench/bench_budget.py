"""Work on 2 GB within 256 MiB: `a + a.T`, `x - x.mean(axis=0)`, a rechunk from rows to columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench import peers
from bench.data import square, wide
from bench.harness import Case, Contestant, Data, Rows

__all__ = ["CASES"]

BUDGET = 256 << 20  # bytes
LIMIT = BUDGET * 11 // 10 + (32 << 20)  # bytes: what the process may measure

Run = Callable[[Data, Path], object]
Chunks = Callable[[int], tuple[int, ...]]


def _squares(size: int) -> tuple[int, ...]:
    return square(2 * size).chunks


def _rows(size: int) -> tuple[int, ...]:
    return wide(size).chunks


def _columns(size: int) -> tuple[int, ...]:
    return wide(size).chunks[::-1]


# --- the work, as one writes it for dask and chunkarr ----------------------------------------------------


def _symmetric(x: Any) -> Any:
    return x + x.T


def _centred(x: Any) -> Any:
    return x - x.mean(axis=0)


def _same(x: Any) -> Any:
    return x


def _chunkarr(expression: Callable[[Any], Any], source: str, chunks: Chunks) -> Run:
    def run(data: Data, out: Path) -> object:
        import chunkarr as ca

        with ca.config.set(memory=BUDGET):
            result = expression(ca.open(data.path(source)))
            ca.save(str(out / "result.zarr"), result, chunks=chunks(data.size), durability="process")
        return out / "result.zarr"

    return run


def _dask(expression: Callable[[Any], Any], source: str, chunks: Chunks) -> Run:
    def run(data: Data, out: Path) -> object:
        with peers.pipeline("zarrs"):
            result = expression(peers.dask_open(data.path(source)))
            return peers.dask_save(result, out / "result.zarr", chunks(data.size))

    return run


# --- others that keep within bounds ----------------------------------------------------------------------


def _strips(shape: Sequence[int], chunk: int, axis: int) -> list[peers.Slices]:
    """Return full-length strips across ``axis``, made of whole chunks, of at most half the budget."""
    other = shape[1 - axis]
    width = max(1, BUDGET // 2 // (8 * other * chunk)) * chunk
    strips = [slice(i, min(i + width, shape[axis])) for i in range(0, shape[axis], width)]
    return [(s, slice(0, other)) if axis == 0 else (slice(0, other), s) for s in strips]


def _rechunk_two_steps(data: Data, out: Path) -> object:
    """As rechunker does: strips of rows into tiles on disk, strips of columns out of them; zarr-python and zarrs."""
    import zarr

    with peers.pipeline("zarrs"):
        source = zarr.open_array(data.path("x-rows.zarr"), mode="r")
        chunks, target_chunks = source.chunks, _columns(data.size)
        down, across = _strips(source.shape, chunks[0], 0), _strips(source.shape, target_chunks[1], 1)
        tiles = (down[0][0].stop, across[0][1].stop)
        between = zarr.create_array(
            out / "between.zarr", shape=source.shape, dtype=source.dtype, chunks=tiles, compressors=None, fill_value=0
        )
        for strip in down:
            between[strip] = source[strip]
        target = peers.zarr_create(out / "result.zarr", source.shape, source.dtype, target_chunks)
        for strip in across:
            target[strip] = between[strip]
    return out / "result.zarr"


def _rechunk_tensorstore(data: Data, out: Path) -> object:
    """Copy strips of columns of half the budget; each reads every chunk of rows."""
    source = peers.tensorstore_open(data.path("x-rows.zarr"))
    chunks = _columns(data.size)
    target = peers.tensorstore_create(out / "result.zarr", source.shape, np.float64, chunks)
    for strip in _strips(source.shape, chunks[1], 1):
        target[strip].write(source[strip]).result()
    return out / "result.zarr"


def _centred_tensorstore(data: Data, out: Path) -> object:
    source = peers.tensorstore_open(data.path("x-squares.zarr"))
    chunks = _squares(data.size)
    total = np.zeros(source.shape[1])
    for columns, part in peers.tensorstore_map(
        lambda s, x: (s[1], x.sum(axis=0)), [source], peers.boxes(source.shape, chunks)
    ):
        total[columns] += part
    mean = total / source.shape[0]
    target = peers.tensorstore_create(out / "result.zarr", source.shape, np.float64, chunks)

    def work(slices: peers.Slices, block: np.ndarray[Any, Any]) -> None:
        np.subtract(block, mean[slices[1]], out=block)
        target[slices].write(block, can_reference_source_data_indefinitely=True).result()

    for _ in peers.tensorstore_map(work, [source], peers.boxes(source.shape, chunks)):
        pass
    return out / "result.zarr"


# --- the oracle ------------------------------------------------------------------------------------------


def _expect_symmetric(data: Data) -> Rows:
    x = data.load("x.npy")
    return Rows(x.shape, x.dtype, lambda rows: np.asarray(x[rows] + x[:, rows].T))


def _expect_centred(data: Data) -> Rows:
    x = data.load("x.npy")
    mean = np.mean(x, axis=0)
    return Rows(x.shape, x.dtype, lambda rows: np.asarray(x[rows] - mean))


# --- the table -------------------------------------------------------------------------------------------


def _case(
    name: str,
    work: str,
    source: str,
    expression: Callable[[Any], Any],
    chunks: Chunks,
    expected: Callable[[Data], Any],
    others: tuple[Contestant, ...] = (),
) -> Case:
    return Case(
        name=name,
        work=f"{work}, saved, within 256 MiB",
        inputs=(source,),
        moved=lambda size: 2 * wide(size).nbytes,
        expected=expected,
        contestants=(
            Contestant("chunkarr", _chunkarr(expression, source, chunks), ("chunkarr",), limit=LIMIT),
            Contestant("dask, zarrs", _dask(expression, source, chunks), ("dask", "zarr", "zarrs"), target=2.0),
            *others,
        ),
    )


CASES = (
    _case(
        "symmetric-squares",
        "`a + a.T`, chunks of 1000 x 1000",
        "x-squares.zarr",
        _symmetric,
        _squares,
        _expect_symmetric,
    ),
    _case("symmetric-rows", "`a + a.T`, chunks of 100 x 16000", "x-rows.zarr", _symmetric, _rows, _expect_symmetric),
    _case(
        "centred",
        "`x - x.mean(axis=0)`",
        "x-squares.zarr",
        _centred,
        _squares,
        _expect_centred,
        (Contestant("tensorstore, two passes", _centred_tensorstore, ("tensorstore",)),),
    ),
    _case(
        "rechunk",
        "rechunk from rows to columns",
        "x-rows.zarr",
        _same,
        _columns,
        lambda data: data.load("x.npy"),
        (
            Contestant("zarr, zarrs, in two steps as rechunker", _rechunk_two_steps, ("dask", "zarr", "zarrs")),
            Contestant("tensorstore, by strips", _rechunk_tensorstore, ("tensorstore",)),
        ),
    ),
)
