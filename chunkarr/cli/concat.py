"""``chunkarr concat``: one after another, into a new file."""

from __future__ import annotations

from typing import Any

import click

from chunkarr.cli.convert import chosen_type
from chunkarr.cli.exits import resumable
from chunkarr.cli.formats import Sectioned, deal, format_flags
from chunkarr.cli.joining import several, writing_options
from chunkarr.cli.options import as_json, job_options

__all__ = ["command"]


@click.command("concat", cls=Sectioned)
@click.argument("sources", metavar="SOURCE...", nargs=-1)
@click.argument("target")
@click.option("--axis", type=int, default=0, show_default=True, metavar="N", help="Along which axis.")
@writing_options
@format_flags
@job_options
def command(
    sources: tuple[str, ...], target: str, axis: int,
    astype: Any, format_: str | None, source_format: str | None, of_target: dict[str, Any], given: dict[str, Any],
    overwrite: bool, resume: bool, dry_run: bool, json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Write the arrays in SOURCE one after another to TARGET, which appears when it is whole.

    SOURCE is files, patterns and folders as in chunkarr convert, whose options these are.
    """
    from chunkarr import jobs

    names = several(sources)
    options, more = deal(names[0], source_format, target, format_, given, of_target)
    dtype = chosen_type(astype, more, options)
    with resumable():
        report = jobs.concat(
            names, target, axis=axis, dtype=dtype, format=format_, source_format=source_format,
            options=options, overwrite=overwrite, progress=not quiet, dry_run=dry_run, resume=resume, keep=True, **more,
        )  # fmt: skip
    if not quiet:
        click.echo(as_json(report.as_dict()) if json else str(report))
