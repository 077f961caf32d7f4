"""How each peer is set up, as its own documentation advises.

Libraries are imported when first used: a process holds only those of its own contestant.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np

from bench.harness import Rows

__all__ = [
    "AHEAD",
    "CPUS",
    "MULTIPLE",
    "TILE",
    "blosc2_lz4",
    "blosc2_open",
    "boxes",
    "dask_open",
    "dask_save",
    "duckdb_open",
    "parquet_rows",
    "pipeline",
    "polars_save",
    "polars_scan",
    "row_tiles",
    "sync_tree",
    "tensorstore_create",
    "tensorstore_map",
    "tensorstore_open",
    "threaded",
    "zarr_create",
]

CPUS = len(os.sched_getaffinity(0))
MULTIPLE = 2  # storage chunks along each axis that a dask task reads: faster here than 1 and 3
AHEAD = 4  # chunks that a tensorstore loop asks for before it needs them
TILE = 1 << 16  # elements: 512 KiB of f8, which stays in the cache of a core

Slices = tuple[slice, ...]


# --- zarr-python and dask ---------------------------------------------------------------------------

PIPELINES = {
    "default": "zarr.core.codec_pipeline.BatchedCodecPipeline",
    "zarrs": "zarrs.ZarrsCodecPipeline",
}


@contextmanager
def pipeline(name: str) -> Iterator[None]:
    """Let zarr-python encode and decode with its ``default`` pipeline or with ``zarrs``, and dask use threads."""
    import dask
    import zarr

    with zarr.config.set({"codec_pipeline.path": PIPELINES[name]}), dask.config.set(scheduler="threads"):
        yield


def dask_open(path: str, multiple: int = MULTIPLE) -> Any:
    """Open a Zarr array as a dask.array; a task reads ``multiple`` storage chunks along each axis."""
    import dask.array
    import zarr

    stored = zarr.open_array(path, mode="r")
    chunks = tuple(min(n * multiple, m) for n, m in zip(stored.chunks, stored.shape, strict=True))
    return dask.array.from_zarr(stored, chunks=chunks)  # type: ignore[no-untyped-call]


def zarr_create(path: Path, shape: Sequence[int], dtype: Any, chunks: Sequence[int]) -> Any:
    """Create a Zarr v3 array of blosc-lz4 chunks with zarr-python."""
    import zarr
    from zarr.codecs import BloscCodec

    codec = BloscCodec(cname="lz4", clevel=5, shuffle="shuffle")
    return zarr.create_array(
        path, shape=tuple(shape), dtype=dtype, chunks=tuple(chunks), compressors=codec, fill_value=0
    )


def dask_save(array: Any, path: Path, chunks: Sequence[int]) -> Path:
    """Store a dask.array as blosc-lz4 Zarr, in blocks of `MULTIPLE` whole storage chunks along each axis."""
    import dask.array

    array = array.rechunk(tuple(min(n * MULTIPLE, m) for n, m in zip(chunks, array.shape, strict=True)))
    dask.array.store(array, zarr_create(path, array.shape, array.dtype, chunks), lock=False)
    return path


def sync_tree(directory: Path) -> None:
    """Return when every file and directory below ``directory`` is on the disk."""
    for place, _, names in os.walk(directory):
        for name in (*names, "."):
            fd = os.open(os.path.join(place, name), os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)


# --- tensorstore --------------------------------------------------------------------------------------

LZ4: dict[str, Any] = {"cname": "lz4", "clevel": 5, "shuffle": "shuffle"}


def _context(*, sync: bool) -> dict[str, Any]:
    return {
        "data_copy_concurrency": {"limit": CPUS},
        "file_io_concurrency": {"limit": 2 * CPUS},
        "file_io_sync": sync,
        "cache_pool": {"total_bytes_limit": 0},
    }


def tensorstore_open(path: str, *, write: bool = False) -> Any:
    """Open a Zarr array with tensorstore, without a cache of decoded chunks; with ``write``, to change it."""
    import tensorstore

    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path)}, "context": _context(sync=False)}
    return tensorstore.open(spec, read=True, write=write).result()


def tensorstore_create(
    path: Path, shape: Sequence[int], dtype: Any, chunks: Sequence[int], *, sync: bool = False
) -> Any:
    """Create a Zarr v3 array of blosc-lz4 chunks with tensorstore; with ``sync`` each file is fsynced."""
    import tensorstore

    typesize = {"typesize": np.dtype(dtype).itemsize}
    codecs = [
        {"name": "bytes", "configuration": {"endian": "little"}},
        {"name": "blosc", "configuration": LZ4 | typesize},
    ]
    spec = {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": str(path)},
        "metadata": {
            "shape": list(shape),
            "data_type": np.dtype(dtype).name,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunks)}},
            "codecs": codecs,
            "fill_value": 0,
        },
        "context": _context(sync=sync),
        "create": True,
        "delete_existing": True,
    }
    return tensorstore.open(spec).result()


def tensorstore_map(kernel: Callable[..., Any], stores: Sequence[Any], regions: Iterable[Slices]) -> Iterator[Any]:
    """Yield ``kernel(slices, *blocks)`` of each region in order, with several regions read ahead, NumPy in threads."""

    def work(slices: Slices, reads: list[Any]) -> Any:
        return kernel(slices, *(read.result() for read in reads))

    with ThreadPoolExecutor(CPUS) as pool:
        pending: deque[Any] = deque()
        for slices in regions:
            pending.append(pool.submit(work, slices, [store[slices].read() for store in stores]))
            if len(pending) > AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


# --- blosc2 -------------------------------------------------------------------------------------------


def blosc2_open(path: str) -> Any:
    """Open a blosc2 array on disk."""
    import blosc2  # type: ignore[import-untyped]

    return blosc2.open(path, mode="r")


def blosc2_lz4() -> Any:
    """Return the compression of what blosc2 stores: that of the Zarr arrays."""
    import blosc2

    return blosc2.CParams(codec=blosc2.Codec.LZ4, clevel=5)


# --- NumPy by hand ------------------------------------------------------------------------------------


def boxes(shape: Sequence[int], steps: Sequence[int]) -> Iterator[Slices]:
    """Yield the slices of each box of a regular grid, in C order.

    >>> list(boxes((3,), (2,)))
    [(slice(0, 2, None),), (slice(2, 3, None),)]
    """
    axes = [[slice(i, min(i + step, n)) for i in range(0, n, step)] for n, step in zip(shape, steps, strict=True)]
    return product(*axes)


def row_tiles(shape: Sequence[int]) -> list[slice]:
    """Return slices of whole rows of a matrix, about `TILE` elements each."""
    step = max(1, TILE // shape[1])
    return [slice(i, min(i + step, shape[0])) for i in range(0, shape[0], step)]


def threaded(work: Callable[[Sequence[slice]], Any], tiles: Sequence[slice], threads: int) -> list[Any]:
    """Return ``work`` of each of at most ``threads`` equal runs of tiles, done at the same time."""
    threads = min(threads, len(tiles))
    cuts = [len(tiles) * i // threads for i in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, [tiles[i:j] for i, j in pairwise(cuts)]))


# --- polars and DuckDB --------------------------------------------------------------------------------


def polars_scan(path: str, **options: Any) -> Any:
    """Open a Parquet file lazily with polars."""
    import polars as pl

    return pl.scan_parquet(path, **options)


def polars_save(frame: Any, path: Path, compression: str = "uncompressed") -> Path:
    """Run a lazy frame on polars' streaming engine into a Parquet file."""
    frame.sink_parquet(path, compression=compression, engine="streaming")
    return path


@contextmanager
def duckdb_open(scratch: Path, memory: int) -> Iterator[Any]:
    """Connect to DuckDB as its guide to work larger than memory advises; it spills into ``scratch``."""
    import duckdb

    settings: dict[str, Any] = {
        "memory_limit": f"{memory >> 20}MiB",
        "threads": CPUS,
        "temp_directory": str(scratch),
        "preserve_insertion_order": False,
    }
    with duckdb.connect(config=settings) as connection:
        yield connection


def parquet_rows(path: Path, dtype: Any) -> Rows:
    """Return the rows of a Parquet file: of its one column, or of its columns as the fields of ``dtype``."""
    import polars as pl

    frame, kind = pl.scan_parquet(path), np.dtype(dtype)

    def block(rows: slice) -> np.ndarray[Any, Any]:
        part = frame.slice(rows.start, rows.stop - rows.start).collect()
        if kind.names is None:
            return np.asarray(part.to_series().to_numpy(), kind)
        values = np.empty(part.height, kind)
        for name in kind.names:
            values[name] = part[name].to_numpy()
        return values

    return Rows((frame.select(pl.len()).collect().item(),), kind, block)
