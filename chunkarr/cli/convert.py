"""``chunkarr convert``: from file to file."""

from __future__ import annotations

from typing import Any

import click

from chunkarr.cli.exits import resumable
from chunkarr.cli.options import (
    as_dtype,
    as_json,
    as_shape,
    holds_raw_records,
    job_options,
    raw_options,
    source_options,
)

__all__ = ["command"]


@click.command("convert")
@click.argument("source")
@click.argument("target")
@click.option(
    "--dtype", type=as_dtype, metavar="DTYPE", help="Element type of raw records; of any other SOURCE, as --astype."
)
@raw_options
@click.option("--astype", type=as_dtype, metavar="DTYPE", help="Element type of TARGET; values are converted.")
@click.option("--format", "format_", help="Format of TARGET.  [default: by its suffix]")
@click.option("--chunks", type=as_shape, metavar="N,N,...", help="Shape of the chunks of TARGET.")
@click.option("--shards", type=as_shape, metavar="N,N,...", help="Shape of the shards of a Zarr TARGET.")
@click.option("--codec", help="Compression of TARGET.")
@job_options
def command(
    source: str, target: str, dtype: Any, shape: Any, offset: int | None, order: str | None, astype: Any,
    format_: str | None, chunks: Any, shards: Any, codec: str | None,
    overwrite: bool, resume: bool, dry_run: bool, json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Copy the array in SOURCE to TARGET, which appears when it is whole.

    The formats are npy, raw, zarr and hdf5; a member of a file is named as in file.h5::/group/x.
    If it is interrupted or killed, the same command with --resume goes on; to HDF5 it starts over.
    """
    from chunkarr import jobs

    raw = source_options(shape=shape, offset=offset, order=order)
    if dtype is not None and holds_raw_records(source):
        raw["dtype"] = dtype
    elif dtype is not None:
        if astype is not None:
            raise click.UsageError("--dtype describes raw records, and SOURCE is not raw: give --astype alone")
        astype = dtype
    with resumable():
        report = jobs.convert(
            source, target, dtype=astype, format=format_, chunks=chunks, shards=shards, codec=codec,
            overwrite=overwrite, progress=not quiet, dry_run=dry_run, resume=resume, keep=True, options=raw,
        )  # fmt: skip
    if not quiet:
        click.echo(as_json(report.as_dict()) if json else str(report))
