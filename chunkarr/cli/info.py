"""``chunkarr info``: what a file holds, from its metadata alone."""

from __future__ import annotations

import math
from typing import Any

import click

from chunkarr.cli.options import as_dtype, as_json, describe_dtype, raw_options, source_options
from chunkarr.settings import format_bytes

__all__ = ["command"]


@click.command("info")
@click.argument("source")
@click.option("--dtype", type=as_dtype, metavar="DTYPE", help="Element type of raw records.")
@raw_options
@click.option("--json", "json", is_flag=True, help="Print JSON.")
def command(source: str, dtype: Any, shape: Any, offset: int | None, order: str | None, json: bool) -> None:
    """Say what SOURCE holds; its values are not read.

    A member of a file is named as in file.h5::/group/x.
    """
    from chunkarr import io

    array = io.open(source, **source_options(dtype=dtype, shape=shape, offset=offset, order=order))
    count = math.prod(-(-n // c) for n, c in zip(array.shape, array.chunks, strict=True))
    record = {
        "path": source,
        "format": array.format,
        "shape": list(array.shape),
        "dtype": describe_dtype(array.dtype),
        "itemsize": array.dtype.itemsize,
        "size": array.size,
        "nbytes": array.nbytes,
        "chunks": list(array.chunks),
        "chunk_count": count,
    }
    if json:
        click.echo(as_json(record))
        return
    chunk_bytes = math.prod(array.chunks) * array.dtype.itemsize
    for name, value in (
        ("path", source),
        ("format", array.format),
        ("shape", _extent(array.shape)),
        ("dtype", f"{array.dtype} ({array.dtype.itemsize} bytes an element)"),
        ("size", f"{array.size:,} elements, {format_bytes(array.nbytes)}"),
        ("chunks", f"{_extent(array.chunks)}, {format_bytes(chunk_bytes)} each, {count:,} in all"),
    ):
        click.echo(f"{name:<8}{value}")


def _extent(shape: tuple[int, ...]) -> str:
    """Return a shape as people write it."""
    return " × ".join(f"{n:,}" for n in shape) or "scalar"
