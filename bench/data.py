"""The inputs: made once per size from fixed seeds, the same bytes in every format.

Floats are normal deviates rounded to multiples of 2**-16, as from an instrument of fixed resolution: blosc-lz4 with
byte shuffle makes them 2.3 times smaller. Frames are Poisson counts, as from a camera: 2 times smaller.
Files are written by zarr-python (with the zarrs pipeline where there is one) and by blosc2, not by chunkarr.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bench.harness import Data

__all__ = ["DATASETS", "TINY", "Layout", "cube", "frames", "make", "many", "rows", "square", "twelve", "vector", "wide"]

TINY = 1 << 16  # bytes of an input in the tests and before the memory is measured
RECORD = np.dtype([("x", "<f8"), ("place", "<i8")])
FULL = 64 << 20  # sizes from here on get real chunks; below, small ones, so that tiny runs still have many


@dataclass(frozen=True)
class Layout:
    """Shape and chunks of one input."""

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: str | np.dtype[Any] = "<f8"

    @property
    def nbytes(self) -> int:
        """Bytes of the whole array."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


Maker = Callable[[Data, Path], None]
Sizes = Callable[[int], Layout]
Values = Callable[[Layout, int, slice], np.ndarray[Any, Any]]


def square(size: int) -> Layout:
    """Return a square f8 matrix of at least ``size`` bytes in square chunks (8 MB).

    >>> square(10**9)
    Layout(shape=(12000, 12000), chunks=(1000, 1000), dtype='<f8')
    """
    edge = 1000 if size >= FULL else 16
    n = -(-math.isqrt(size // 8) // edge) * edge
    return Layout((n, n), (edge, edge))


def wide(size: int) -> Layout:
    """Return a square f8 matrix of at least twice ``size`` bytes in chunks of whole rows (12.8 MB at 2 GB).

    >>> wide(10**9)
    Layout(shape=(16000, 16000), chunks=(100, 16000), dtype='<f8')
    """
    shape = square(2 * size).shape
    return Layout(shape, (shape[0] // (160 if size >= FULL else 8), shape[1]))


def frames(size: int) -> Layout:
    """Return a stack of uint16 frames of at least twice ``size`` bytes, a frame a chunk (8 MB)."""
    edge = 2048 if size >= FULL else 32
    return Layout((max(2, -(-2 * size // (2 * edge * edge))), edge, edge), (1, edge, edge), "<u2")


def many(size: int) -> Layout:
    """Return a vector of f8 in chunks of 32 KiB: 100,000 of them (3.3 GB) at 1 GB.

    >>> many(10**9)
    Layout(shape=(409600000,), chunks=(4096,), dtype='<f8')
    """
    edge = 4096 if size >= FULL else 32
    count = max(500, size // 10_000) // 250 * 250
    return Layout((count * edge,), (edge,))


def vector(share: int, dtype: str | np.dtype[Any] = "<f8") -> Sizes:
    """Return the layout of a vector of ``1 / share`` elements for each byte of the size, in chunks of 10**6.

    >>> vector(10)(10**9)
    Layout(shape=(100000000,), chunks=(1000000,), dtype='<f8')
    """
    return lambda size: Layout((max(64, size // share),), (10**6 if size >= FULL else 1000,), dtype)


def rows(size: int) -> Layout:
    """Return five columns of f8 that take about ``size`` bytes as text: 10 million rows at 1 GB.

    >>> rows(10**9)
    Layout(shape=(10000000, 5), chunks=(100000, 5), dtype='<f8')
    """
    return Layout((max(50, size // 100), 5), (100_000 if size >= FULL else 100, 5))


def cube(size: int) -> Layout:
    """Return a cube of f8 of about twice ``size`` bytes.

    >>> cube(10**9)
    Layout(shape=(630, 630, 630), chunks=(2, 630, 630), dtype='<f8')
    """
    edge = round((size / 4) ** (1 / 3))
    return Layout((edge, edge, edge), (2, edge, edge))


def twelve(size: int) -> Layout:
    """Return a vector of as many uint16 as make twice ``size`` bytes at 12 bits each."""
    return Layout((size // 3 * 4,), (10**6 if size >= FULL else 1000,), "<u2")


def _normal(layout: Layout, seed: int, rows: slice) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng([seed, rows.start])
    values = rng.standard_normal((rows.stop - rows.start, *layout.shape[1:]))
    np.ldexp(np.rint(np.ldexp(values, 16, out=values), out=values), -16, out=values)
    return values


def _precise(layout: Layout, seed: int, rows: slice) -> np.ndarray[Any, Any]:
    """Return normal deviates of full precision: hardly any value comes twice."""
    rng = np.random.default_rng([seed, rows.start])
    return rng.standard_normal((rows.stop - rows.start, *layout.shape[1:]))


def _records(layout: Layout, seed: int, rows: slice) -> np.ndarray[Any, Any]:
    """Return records of the keys of `_precise` and of their places."""
    values = np.empty(rows.stop - rows.start, layout.dtype)
    values["x"], values["place"] = _precise(layout, seed, rows), np.arange(rows.start, rows.stop)
    return values


def _thousand(layout: Layout, seed: int, rows: slice) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng([seed, rows.start])
    return np.asarray(rng.integers(0, 1000, rows.stop - rows.start), layout.dtype)


def _tenth(layout: Layout, seed: int, rows: slice) -> np.ndarray[Any, Any]:
    """Return whole numbers below a tenth of their count."""
    rng = np.random.default_rng([seed, rows.start])
    return np.asarray(rng.integers(0, layout.shape[0] // 10, rows.stop - rows.start), layout.dtype)


def _spread(layout: Layout, seed: int, rows: slice) -> np.ndarray[Any, Any]:
    """Return as many distinct values as `_tenth`, all over the range of int32."""
    return (_tenth(layout, seed, rows).astype("<u4") * np.uint32(2654435761)).view("<i4")


def _decimals(layout: Layout, seed: int, rows: slice) -> np.ndarray[Any, Any]:
    """Return normal deviates of four decimals, as instruments write them."""
    return np.asarray(np.rint(_precise(layout, seed, rows) * 1e4) / 1e4)


def _samples(layout: Layout, seed: int, rows: slice) -> np.ndarray[Any, Any]:
    """Return whole numbers of 12 bits."""
    rng = np.random.default_rng([seed, rows.start])
    return np.asarray(rng.integers(0, 4096, rows.stop - rows.start), layout.dtype)


def _counts(layout: Layout, seed: int, rows: slice) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng([seed, rows.start])
    values = rng.standard_normal((rows.stop - rows.start, *layout.shape[1:]), dtype="f4")
    # A Poisson variable of mean 200, to the precision of its normal limit; the exact one takes minutes.
    counts: np.ndarray[Any, Any] = np.rint(values * np.sqrt(200) + 200).astype("<u2")
    return counts


def _row_blocks(layout: Layout) -> Iterator[slice]:
    """Yield the rows of one row of chunks at a time (of many chunks, for a vector)."""
    step = layout.chunks[0] * (max(1, min(250, 2**20 // layout.chunks[0])) if len(layout.shape) == 1 else 1)
    for start in range(0, layout.shape[0], step):
        yield slice(start, min(start + step, layout.shape[0]))


def _npy(sizes: Sizes, seed: int, values: Values = _normal) -> Maker:
    def write(data: Data, path: Path) -> None:
        layout = sizes(data.size)
        target = np.lib.format.open_memmap(path, "w+", np.dtype(layout.dtype), layout.shape)
        for rows in _row_blocks(layout):
            target[rows] = values(layout, seed, rows)
        target.flush()

    return write


def _csv(source: str) -> Maker:
    """Return a maker of a text of an npy input, of the shortest numbers that say which doubles they are."""

    def write(data: Data, path: Path) -> None:
        with path.open("w") as file:
            for row in data.load(source):
                file.write(",".join(map(repr, row.tolist())) + "\n")

    return write


def _zarr(
    source: str,
    sizes: Sizes,
    *,
    blosc: bool,
    cname: Literal["lz4", "zstd"] = "lz4",
    chunks: Sizes | None = None,
    shards: int | None = None,
) -> Maker:
    """Return a maker of a Zarr v3 copy of an npy input; ``shards`` is in chunks a side."""

    def write(data: Data, path: Path) -> None:
        import zarr
        from zarr.codecs import BloscCodec

        layout, values = (chunks or sizes)(data.size), data.load(source)
        level = {"lz4": 5, "zstd": 3}[cname]
        codec = BloscCodec(cname=cname, clevel=level, shuffle="shuffle") if blosc else None
        with ExitStack() as stack:
            if find_spec("zarrs"):
                stack.enter_context(zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}))
            target = zarr.create_array(
                path,
                shape=layout.shape,
                dtype=layout.dtype,
                chunks=layout.chunks,
                compressors=codec,
                fill_value=0,
                shards=tuple(n * shards for n in layout.chunks) if shards else None,
            )
            for rows in _row_blocks(layout):
                target[rows] = values[rows]

    return write


def _blosc2(source: str, *, clevel: int) -> Maker:
    """Return a maker of a blosc2 copy of an npy input, in the chunks and blocks that blosc2 chooses."""

    def write(data: Data, path: Path) -> None:
        import blosc2  # type: ignore[import-untyped]

        cparams = blosc2.CParams(codec=blosc2.Codec.LZ4, clevel=clevel)
        blosc2.asarray(np.array(data.load(source)), urlpath=str(path), mode="w", cparams=cparams)

    return write


def _parquet(source: str, compression: Literal["lz4", "uncompressed", "zstd"]) -> Maker:
    """Return a maker of a Parquet copy of a vector, written by polars: a column ``x``, or one for each field."""

    def write(data: Data, path: Path) -> None:
        import polars as pl

        values = np.array(data.load(source))
        columns = {"x": values} if values.dtype.names is None else {n: values[n].copy() for n in values.dtype.names}
        pl.DataFrame(columns).write_parquet(path, compression=compression)

    return write


def _mat(source: str) -> Maker:
    """Return a maker of a MATLAB file of version 7, the variable deflated by scipy."""

    def write(data: Data, path: Path) -> None:
        from scipy.io import savemat  # type: ignore[import-untyped]

        savemat(path, {"x": data.load(source)}, do_compression=True)

    return write


def _mat73(source: str) -> Maker:
    """Return a maker of a MATLAB file of version 7.3 as MATLAB writes it: dimensions reversed, gzip of level 3."""

    def write(data: Data, path: Path) -> None:
        import h5py

        values = data.load(source)
        across = 64 if data.size >= FULL else 8
        with h5py.File(path, "w", userblock_size=512) as file:
            chunks = (across, 2 * across)
            x = file.create_dataset(
                "x", values.shape[::-1], "<f8", chunks=chunks, compression="gzip", compression_opts=3
            )
            x.attrs["MATLAB_class"] = np.bytes_("double")
            for start in range(0, x.shape[0], 16 * across):
                x[start : start + 16 * across] = values[:, start : start + 16 * across].T
        with open(path, "r+b") as head:
            head.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")

    return write


def _npz(source: str) -> Maker:
    """Return a maker of an npz file of one member that is not compressed."""

    def write(data: Data, path: Path) -> None:
        np.savez(path, a=data.load(source))

    return write


def _packed(source: str) -> Maker:
    """Return a maker of a file of samples of 12 bits, the highest bit first, two in three bytes."""

    def write(data: Data, path: Path) -> None:
        values = data.load(source)
        with open(path, "wb") as raw:
            for start in range(0, len(values), 1 << 20):
                even, odd = values[start : start + (1 << 20)].reshape(-1, 2).T
                parts = (even >> 4, (even & 15) << 4 | odd >> 8, odd & 255)
                raw.write(np.stack(parts, axis=1).astype("u1").tobytes())

    return write


def _coarse(size: int) -> Layout:
    layout = many(size)
    return Layout(layout.shape, (layout.chunks[0] * 250,))


def _wide_square(size: int) -> Layout:
    return square(2 * size)


# In this order: a copy is made from the npy file above it.
DATASETS: dict[str, tuple[str | None, Maker]] = {
    "a.npy": (None, _npy(square, 1)),
    "b.npy": (None, _npy(square, 2)),
    "a-raw.zarr": ("a.npy", _zarr("a.npy", square, blosc=False)),
    "b-raw.zarr": ("b.npy", _zarr("b.npy", square, blosc=False)),
    "a-blosc.zarr": ("a.npy", _zarr("a.npy", square, blosc=True)),
    "b-blosc.zarr": ("b.npy", _zarr("b.npy", square, blosc=True)),
    "a-raw.b2nd": ("a.npy", _blosc2("a.npy", clevel=0)),
    "b-raw.b2nd": ("b.npy", _blosc2("b.npy", clevel=0)),
    "a-blosc.b2nd": ("a.npy", _blosc2("a.npy", clevel=5)),
    "b-blosc.b2nd": ("b.npy", _blosc2("b.npy", clevel=5)),
    "frames.npy": (None, _npy(frames, 3, _counts)),
    "frames.zarr": ("frames.npy", _zarr("frames.npy", frames, blosc=True)),
    "many.npy": (None, _npy(many, 4)),
    "many-8m.zarr": ("many.npy", _zarr("many.npy", many, blosc=True, chunks=_coarse)),
    "many-32k.zarr": ("many.npy", _zarr("many.npy", many, blosc=True)),
    "many-shards.zarr": ("many.npy", _zarr("many.npy", many, blosc=True, shards=250)),
    "x.npy": (None, _npy(_wide_square, 5)),
    "rows.npy": (None, _npy(rows, 6, _precise)),
    "rows.csv": ("rows.npy", _csv("rows.npy")),
    "x-squares.zarr": ("x.npy", _zarr("x.npy", _wide_square, blosc=True)),
    "x-rows.zarr": ("x.npy", _zarr("x.npy", wide, blosc=True)),
    "s100.npy": (None, _npy(vector(10), 7, _precise)),
    "s100.parquet": ("s100.npy", _parquet("s100.npy", "uncompressed")),
    "s200.npy": (None, _npy(vector(5), 8, _precise)),
    "s200.parquet": ("s200.npy", _parquet("s200.npy", "uncompressed")),
    "s250.npy": (None, _npy(vector(4), 9, _precise)),
    "s250.parquet": ("s250.npy", _parquet("s250.npy", "uncompressed")),
    "r100.npy": (None, _npy(vector(10), 10)),
    "r100-lz4.zarr": ("r100.npy", _zarr("r100.npy", vector(10), blosc=True)),
    "r100-zstd.zarr": ("r100.npy", _zarr("r100.npy", vector(10), blosc=True, cname="zstd")),
    "r100-lz4.parquet": ("r100.npy", _parquet("r100.npy", "lz4")),
    "r100-zstd.parquet": ("r100.npy", _parquet("r100.npy", "zstd")),
    "keys.npy": (None, _npy(vector(20), 11, _precise)),
    "records.npy": (None, _npy(vector(20, RECORD), 11, _records)),
    "records.parquet": ("records.npy", _parquet("records.npy", "uncompressed")),
    "cube.npy": (None, _npy(cube, 12, _precise)),
    "thousand.npy": (None, _npy(vector(10, "<i4"), 13, _thousand)),
    "thousand.parquet": ("thousand.npy", _parquet("thousand.npy", "zstd")),
    "tenth.npy": (None, _npy(vector(10, "<i4"), 14, _tenth)),
    "tenth.parquet": ("tenth.npy", _parquet("tenth.npy", "uncompressed")),
    "spread.npy": (None, _npy(vector(10, "<i4"), 14, _spread)),
    "spread.parquet": ("spread.npy", _parquet("spread.npy", "uncompressed")),
    "decimals.npy": (None, _npy(rows, 16, _decimals)),
    "decimals.csv": ("decimals.npy", _csv("decimals.npy")),
    "v7.mat": ("a.npy", _mat("a.npy")),
    "v73.mat": ("a.npy", _mat73("a.npy")),
    "a.npz": ("a.npy", _npz("a.npy")),
    "twelve.npy": (None, _npy(twelve, 17, _samples)),
    "twelve.raw": ("twelve.npy", _packed("twelve.npy")),
}


def make(data: Data, name: str) -> None:
    """Make the input ``name``, and what it is copied from, unless it is there.

    Written under another name and renamed, so that what is there is whole.
    """
    source, write = DATASETS[name]
    if source is not None:
        make(data, source)
    final = data.root / name
    if final.exists():
        return
    part = final.with_name("part-" + name)
    if part.is_dir():
        shutil.rmtree(part)
    part.unlink(missing_ok=True)
    write(data, part)
    os.rename(part, final)
    # What is still to be written back would disturb the measurements.
    os.sync()
