"""``chunkarr head``: the first rows, as NumPy prints them."""

from __future__ import annotations

from typing import Any

import click

from chunkarr.cli.options import as_dtype, memory_option, raw_options, source_options

__all__ = ["command"]


@click.command("head")
@click.argument("source")
@click.option("-n", "--rows", type=click.IntRange(0), default=10, show_default=True, help="Rows along the first axis.")
@click.option("--dtype", type=as_dtype, metavar="DTYPE", help="Element type of raw records.")
@raw_options
@memory_option()
def command(source: str, rows: int, dtype: Any, shape: Any, offset: int | None, order: str | None) -> None:
    """Print the first rows of SOURCE; only they are read."""
    import numpy as np

    from chunkarr import io

    array = io.open(source, **source_options(dtype=dtype, shape=shape, offset=offset, order=order))
    values = (array[:rows] if array.ndim else array).compute()
    with np.printoptions(linewidth=120, threshold=1000):
        click.echo(str(values))
    if array.ndim and rows < array.shape[0]:
        click.echo(f"... {array.shape[0] - rows:,} more of {array.shape[0]:,}")
