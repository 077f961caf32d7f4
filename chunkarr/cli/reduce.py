"""``chunkarr reduce``: blocks or whole axes, each reduced to one element."""

from __future__ import annotations

from typing import Any

import click

from chunkarr.cli.convert import chosen_type
from chunkarr.cli.exits import resumable
from chunkarr.cli.formats import deal, format_flags
from chunkarr.cli.joining import Joining, join_options, several, writing_options
from chunkarr.cli.options import as_json, as_shape, job_options

__all__ = ["command"]


@click.command("reduce", cls=Joining)
@click.argument("sources", metavar="SOURCE...", nargs=-1)
@click.argument("target")
@click.option("--block", type=as_shape, metavar="N,N,...", help="Elements of a block along each axis; it becomes one.")
@click.option("--axis", type=as_shape, metavar="N,N,...", help="Axes that vanish.  [default: all, without --block]")
@click.option("--func", default="mean", show_default=True, metavar="NAME", help="NumPy's function, as max or nanmean.")
@click.option("--keepdims", is_flag=True, help="Keep the axes of --axis, with one element.")
@join_options
@writing_options
@format_flags
@job_options
def command(
    sources: tuple[str, ...], target: str, block: Any, axis: Any, func: str, keepdims: bool,
    stack: int | None, concat: int | None,
    astype: Any, format_: str | None, source_format: str | None, of_target: dict[str, Any], given: dict[str, Any],
    overwrite: bool, resume: bool, dry_run: bool, json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Write what a function makes of blocks of SOURCE, or of whole axes, to TARGET.

    SOURCE is files, patterns and folders as in chunkarr convert, whose options these are.
    """
    from chunkarr import jobs
    from chunkarr.jobs.reducing import FUNCTIONS

    if func not in FUNCTIONS:
        raise click.UsageError(f"--func {func!r} is not one of {', '.join(FUNCTIONS)}")
    if block is not None and (axis is not None or keepdims):
        raise click.UsageError("--block keeps all axes: give either --block or --axis, --keepdims")
    names = several(sources)
    options, more = deal(names[0], source_format, target, format_, given, of_target)
    dtype = chosen_type(astype, more, options)
    with resumable():
        report = jobs.reduce(
            names, target, func=func, block=block, axis=axis, keepdims=keepdims, stack=stack, concat=concat,
            dtype=dtype, format=format_, source_format=source_format, options=options, overwrite=overwrite,
            progress=not quiet, dry_run=dry_run, resume=resume, keep=True, **more,
        )  # fmt: skip
    if not quiet:
        click.echo(as_json(report.as_dict()) if json else str(report))
