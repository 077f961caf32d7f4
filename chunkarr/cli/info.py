"""``chunkarr info``: what a file holds, from its metadata alone."""

from __future__ import annotations

import math
from typing import Any

import click

from chunkarr.cli.formats import source_flags
from chunkarr.cli.options import as_json, describe_dtype
from chunkarr.settings import format_bytes

__all__ = ["command"]


@click.command("info")
@click.argument("source")
@source_flags
@click.option("--json", "json", is_flag=True, help="Print JSON.")
def command(source: str, options: dict[str, Any], json: bool) -> None:
    """Say what SOURCE holds; its values are not read.

    A member of a file is named as in file.h5::/group/x.
    """
    from chunkarr.formats.table import open_stored

    stored = open_stored(source, **options)
    chunks = None if stored.contiguous else stored.grid.steps
    size = math.prod(stored.shape)
    record = {
        "path": source,
        "format": stored.format,
        "shape": list(stored.shape),
        "dtype": describe_dtype(stored.dtype),
        "itemsize": stored.dtype.itemsize,
        "size": size,
        "nbytes": size * stored.dtype.itemsize,
        "chunks": None if chunks is None else list(chunks),
        "chunk_count": None if chunks is None else stored.grid.size,
    }
    if json:
        click.echo(as_json(record))
        return
    each = "none, contiguous"
    if chunks is not None:
        chunk_bytes = math.prod(chunks) * stored.dtype.itemsize
        each = f"{_extent(chunks)}, {format_bytes(chunk_bytes)} each, {stored.grid.size:,} in all"
    for name, value in (
        ("path", source),
        ("format", stored.format),
        ("shape", _extent(stored.shape)),
        ("dtype", f"{stored.dtype} ({stored.dtype.itemsize} bytes an element)"),
        ("size", f"{size:,} elements, {format_bytes(size * stored.dtype.itemsize)}"),
        ("chunks", each),
    ):
        click.echo(f"{name:<8}{value}")


def _extent(shape: tuple[int, ...]) -> str:
    """Return a shape as people write it."""
    return " × ".join(f"{n:,}" for n in shape) or "scalar"
