"""``chunkarr head``: the first rows, as NumPy prints them."""

from __future__ import annotations

from typing import Any

import click

from chunkarr.cli.formats import Sectioned, source_flags
from chunkarr.cli.options import memory_option

__all__ = ["command"]


@click.command("head", cls=Sectioned)
@click.argument("source")
@click.option("-n", "--rows", type=click.IntRange(0), default=10, show_default=True, help="Rows along the first axis.")
@source_flags
@memory_option()
def command(source: str, rows: int, options: dict[str, Any]) -> None:
    """Print the first rows of SOURCE; only they are read."""
    import numpy as np

    from chunkarr import io

    array = io.open(source, **options)
    values = (array[:rows] if array.ndim else array).compute()
    with np.printoptions(linewidth=120, threshold=1000):
        click.echo(str(values))
    if array.ndim and rows < array.shape[0]:
        click.echo(f"... {array.shape[0] - rows:,} more of {array.shape[0]:,}")
