"""``chunkarr convert``: from files to a file, of any formats."""

from __future__ import annotations

import os
from typing import Any

import click

from chunkarr.cli.exits import resumable
from chunkarr.cli.formats import deal, format_flags
from chunkarr.cli.joining import Joining, join_options, several, writing_options
from chunkarr.cli.options import as_json, job_options

__all__ = ["command"]


@click.command("convert", cls=Joining)
@click.argument("sources", metavar="SOURCE...", nargs=-1)
@click.argument("target")
@join_options
@click.option("--append", is_flag=True, help="If TARGET is there, write behind its last elements, along --concat or 0.")
@writing_options
@format_flags
@job_options
def command(
    sources: tuple[str, ...], target: str, stack: int | None, concat: int | None, append: bool,
    astype: Any, format_: str | None, source_format: str | None, of_target: dict[str, Any], given: dict[str, Any],
    overwrite: bool, resume: bool, dry_run: bool, json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Copy the array in SOURCE to TARGET, which appears when it is whole.

    SOURCE is a file, a pattern such as 'run*.npy' or a folder of files of one kind; several are taken in natural
    order, f9 before f10, and need --stack or --concat. A member of a file is named as in file.h5::/group/x. The
    formats are recognised; what a file does not tell, options say. If the work is interrupted or killed, the same
    command with --resume goes on; where that is not possible it starts over.
    """
    from chunkarr import jobs

    names = several(sources)
    options, more = deal(names[0], source_format, target, format_, given, of_target)
    dtype = chosen_type(astype, more, options)
    if append and (overwrite or resume):
        raise click.UsageError("--append goes neither with --overwrite nor with --resume: it is done or not done")
    with resumable():
        if append and os.path.exists(target.partition("::")[0]):
            if more:
                raise click.UsageError(f"--append keeps TARGET as it is made: {', '.join(more)} cannot be given")
            report = jobs.append(
                names, target, axis=concat or 0, stack=stack, dtype=dtype, source_format=source_format, options=options,
                progress=not quiet, dry_run=dry_run,
            )  # fmt: skip
        else:
            if append and stack is None and concat is None and len(names) > 1:
                concat = 0
            report = jobs.convert(
                names, target, stack=stack, concat=concat, dtype=dtype, format=format_, source_format=source_format,
                options=options, overwrite=overwrite, progress=not quiet, dry_run=dry_run, resume=resume, keep=True,
                **more,
            )  # fmt: skip
    if not quiet:
        click.echo(as_json(report.as_dict()) if json else str(report))


def chosen_type(astype: Any, layout: dict[str, Any], options: dict[str, Any]) -> Any:
    """Return the element type to convert to: ``--astype``, or ``--dtype`` where that describes no source."""
    if "dtype" in options or "dtype" not in layout:
        return astype
    if astype is not None:
        raise click.UsageError("--dtype describes raw records, and SOURCE is not raw: give --astype alone")
    return layout.pop("dtype")
