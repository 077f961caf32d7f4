"""``chunkarr rechunk``: the same array in other chunks."""

from __future__ import annotations

from typing import Any

import click

from chunkarr.cli.exits import resumable
from chunkarr.cli.options import as_json, as_shape, job_options

__all__ = ["command"]


@click.command("rechunk")
@click.argument("source")
@click.argument("target")
@click.option("--chunks", type=as_shape, metavar="N,N,...", help="Shape of the chunks of TARGET.")
@click.option("--shards", type=as_shape, metavar="N,N,...", help="Shape of the shards of a Zarr TARGET.")
@click.option("--codec", help="Compression of TARGET.")
@job_options
def command(
    source: str, target: str, chunks: Any, shards: Any, codec: str | None,
    overwrite: bool, resume: bool, dry_run: bool, json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Copy the array in SOURCE into other chunks, within the memory budget.

    TARGET is of a format that has chunks: zarr or hdf5. If it is interrupted or killed, the same command with
    --resume goes on; to HDF5 it starts over.
    """
    from chunkarr import jobs

    if chunks is None and shards is None:
        raise click.UsageError("give --chunks or --shards: the shape that they are to have")
    with resumable():
        report = jobs.rechunk(
            source, target, chunks=chunks, shards=shards, codec=codec,
            overwrite=overwrite, progress=not quiet, dry_run=dry_run, resume=resume, keep=True,
        )  # fmt: skip
    if not quiet:
        click.echo(as_json(report.as_dict()) if json else str(report))
