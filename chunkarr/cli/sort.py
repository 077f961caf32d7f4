"""``chunkarr sort``: the same elements in order, within the memory budget."""

from __future__ import annotations

from typing import Any

import click

from chunkarr.cli.exits import resumable
from chunkarr.cli.formats import Sectioned, source_flags
from chunkarr.cli.options import as_json, job_options

__all__ = ["command"]


@click.command("sort", cls=Sectioned)
@click.argument("source")
@click.argument("target")
@source_flags
@click.option("--axis", type=int, metavar="N", help="Axis along which lines are sorted.  [default: the last]")
@click.option("--flat", is_flag=True, help="Sort all elements as one line.")
@click.option("--order", "fields", multiple=True, metavar="FIELD", help="Field of records to compare; several in turn.")
@click.option("--column", type=int, metavar="N", help="Sort the rows of a table by one of its columns.")
@click.option("--descending", is_flag=True, help="The largest first, NaN last; not of records.")
@click.option("--stable", is_flag=True, help="Keep the order of equal elements.")
@job_options
def command(
    source: str, target: str, axis: int | None, flat: bool, fields: tuple[str, ...], column: int | None,
    descending: bool, stable: bool, options: dict[str, Any], overwrite: bool, resume: bool, dry_run: bool, json: bool,
    quiet: bool,
) -> None:  # fmt: skip
    """Write the elements of SOURCE, sorted, to TARGET.

    Lines that do not fit the memory are sorted through temporary files as large as the array.
    """
    from chunkarr import jobs

    if sum((axis is not None, flat, column is not None)) > 1:
        raise click.UsageError("give one of --axis, --flat and --column")
    with resumable():
        report = jobs.sort(
            source, target, axis=None if flat else -1 if axis is None else axis, order=fields or None, column=column,
            stable=stable, descending=descending, source_format=options.pop("format", None), options=options,
            overwrite=overwrite, progress=not quiet, dry_run=dry_run, resume=resume, keep=True,
        )  # fmt: skip
    if not quiet:
        click.echo(as_json(report.as_dict()) if json else str(report))
