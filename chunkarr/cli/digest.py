"""``chunkarr digest``: what tells whether two files hold the same array."""

from __future__ import annotations

from typing import Any

import click

from chunkarr.cli.options import (
    as_dtype,
    as_json,
    describe_dtype,
    holds_raw_records,
    memory_option,
    raw_options,
    source_options,
)

__all__ = ["command"]


@click.command("digest")
@click.argument("sources", nargs=-1, required=True)
@click.option("--dtype", type=as_dtype, metavar="DTYPE", help="Element type of raw records.")
@raw_options
@memory_option()
@click.option("--json", "json", is_flag=True, help="Print JSON.")
def command(
    sources: tuple[str, ...], dtype: Any, shape: Any, offset: int | None, order: str | None, json: bool
) -> None:
    """Print a digest of the shape, dtype and values of each of SOURCES.

    It is the same for the same array in any format, with any chunks and byte order. Options of raw records apply to
    those that are raw.
    """
    from chunkarr import io

    raw = source_options(dtype=dtype, shape=shape, offset=offset, order=order)
    for source in sources:
        array = io.open(source, **(raw if holds_raw_records(source) else {}))
        digest = array.digest(progress=True)
        if json:
            record = {"path": source, "digest": digest, "shape": list(array.shape)}
            click.echo(as_json({**record, "dtype": describe_dtype(array.dtype)}))
        else:
            click.echo(f"{digest}  {source}")
