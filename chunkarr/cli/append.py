"""``chunkarr append``: behind the last elements of a stored array."""

from __future__ import annotations

from typing import Any

import click

from chunkarr.cli.formats import source_flags
from chunkarr.cli.joining import Joining, several
from chunkarr.cli.options import as_dtype, as_json, memory_option
from chunkarr.formats.table import row_of, split_member

__all__ = ["command"]


@click.command("append", cls=Joining)
@click.argument("sources", metavar="SOURCE...", nargs=-1)
@click.argument("target")
@click.option("--axis", type=int, default=0, show_default=True, metavar="N", help="Which axis of TARGET grows.")
@click.option("--stack", type=int, metavar="[AXIS]", help="Join the sources along a new axis first.  [default: 0]")
@click.option("--astype", type=as_dtype, metavar="DTYPE", help="Convert the values first.")
@click.option("--source-format", help="Format of SOURCE.  [default: by its content]")
@source_flags
@memory_option()
@click.option("--dry-run", is_flag=True, help="Check and plan, write nothing.")
@click.option("--json", "json", is_flag=True, help="Print the report as JSON.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def command(
    sources: tuple[str, ...], target: str, axis: int, stack: int | None, astype: Any, source_format: str | None,
    options: dict[str, Any], dry_run: bool, json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Write the arrays in SOURCE behind the last elements of the array in TARGET.

    SOURCE is files, patterns and folders as in chunkarr convert. TARGET is longer by all of them when the command
    ends, or as it was.
    """
    from chunkarr import jobs

    names = several(sources)
    if "dtype" in options and "dtype" not in row_of(split_member(names[0])[0], source_format, options).open_options:
        raise click.UsageError("--dtype describes raw records, and SOURCE is not raw: give --astype")
    report = jobs.append(
        names, target, axis=axis, stack=stack, dtype=astype, source_format=source_format, options=options,
        progress=not quiet, dry_run=dry_run,
    )  # fmt: skip
    if not quiet:
        click.echo(as_json(report.as_dict()) if json else str(report))
