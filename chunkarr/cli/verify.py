"""``chunkarr verify``: is everything that is stored as it was written."""

from __future__ import annotations

from typing import Any

import click

from chunkarr.cli.exits import FAILED
from chunkarr.cli.formats import Sectioned, source_flags
from chunkarr.cli.options import as_json, memory_option

__all__ = ["command"]


@click.command("verify", cls=Sectioned)
@click.argument("source")
@source_flags
@memory_option()
@click.option("--json", "json", is_flag=True, help="Print the report as JSON.")
@click.option("--quiet", is_flag=True, help="Print nothing; the exit code tells.")
@click.pass_context
def command(
    context: click.Context, source: str, options: dict[str, Any],
    json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Read all of SOURCE and list what is not as it was written.

    Missing, empty, cut, flipped, swapped and foreign chunks are found by their checksums. Formats that store
    none (npy, raw) are only read; the report says so. The exit code is 1 if anything is wrong.
    """
    from chunkarr import io

    array = io.open(source, **options)
    report = array.verify(progress=not quiet)
    if not quiet:
        click.echo(as_json(report.as_dict()) if json else str(report))
    if not report.ok:
        context.exit(FAILED)
