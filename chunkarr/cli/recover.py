"""``chunkarr recover``: finish or drop what a killed writer left."""

from __future__ import annotations

import click

from chunkarr.cli.options import as_json

__all__ = ["command"]


@click.command("recover")
@click.argument("path")
@click.option("--drop-unfinished", is_flag=True, help="Remove unfinished outputs that --resume could go on with, too.")
@click.option("--json", "json", is_flag=True, help="Print the report as JSON.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def command(path: str, drop_unfinished: bool, json: bool, quiet: bool) -> None:
    """Put the array at PATH, or all Zarr arrays below it, in order after a writer was killed.

    A committed change is put in its place, one that was not committed is dropped, and hidden files of outputs that
    never appeared are removed. Opening an array for writing does the same.
    """
    from chunkarr import upkeep

    report = upkeep.recover(path, drop_unfinished=drop_unfinished)
    if not quiet:
        click.echo(as_json(report.as_dict()) if json else str(report))
