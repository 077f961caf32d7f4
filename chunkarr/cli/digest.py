"""``chunkarr digest``: what tells whether two files hold the same array."""

from __future__ import annotations

from typing import Any

import click

from chunkarr.cli.formats import Sectioned, fitting, source_flags
from chunkarr.cli.options import as_json, describe_dtype, memory_option

__all__ = ["command"]


@click.command("digest", cls=Sectioned)
@click.argument("sources", nargs=-1, required=True)
@source_flags
@memory_option()
@click.option("--json", "json", is_flag=True, help="Print JSON.")
def command(sources: tuple[str, ...], options: dict[str, Any], json: bool) -> None:
    """Print a digest of the shape, dtype and values of each of SOURCES.

    It is the same for the same array in any format, with any chunks and byte order. Options apply to those whose
    format takes them.
    """
    from chunkarr import io

    for source in sources:
        array = io.open(source, **fitting(source, options))
        digest = array.digest(progress=True)
        if json:
            record = {"path": source, "digest": digest, "shape": list(array.shape)}
            click.echo(as_json({**record, "dtype": describe_dtype(array.dtype)}))
        else:
            click.echo(f"{digest}  {source}")
