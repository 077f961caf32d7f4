"""``chunkarr diff``: how two arrays differ."""

from __future__ import annotations

from typing import Any

import click

from chunkarr.cli.exits import DIFFERENT, INCOMPARABLE, failing
from chunkarr.cli.formats import Sectioned, fitting, source_flags
from chunkarr.cli.options import as_json, memory_option

__all__ = ["command"]


@click.command("diff", cls=Sectioned)
@click.argument("first")
@click.argument("second")
@click.option("--rtol", type=click.FloatRange(0), default=0.0, help="Difference, relative to SECOND, to ignore.")
@click.option("--atol", type=click.FloatRange(0), default=0.0, help="Difference to ignore.")
@click.option("--values-only", is_flag=True, help="Let element types differ.")
@source_flags
@memory_option()
@click.option("--json", "json", is_flag=True, help="Print the report as JSON.")
@click.option("--quiet", is_flag=True, help="Print nothing; the exit code tells.")
@click.pass_context
def command(
    context: click.Context, first: str, second: str, rtol: float, atol: float, values_only: bool,
    options: dict[str, Any], json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Compare the arrays in FIRST and SECOND: shape, element type, values.

    NaN equals NaN; formats, chunks and byte order do not matter. The exit code is 0 if they are the same, 1 if they
    differ, 4 if they could not be compared. Options apply to those whose format takes them.
    """
    from chunkarr import io
    from chunkarr.functions.comparing import compare

    with failing(INCOMPARABLE):
        one, other = (io.open(path, **fitting(path, options)) for path in (first, second))
        report = compare(one, other, rtol=rtol, atol=atol, values_only=values_only, progress=not quiet)
    if not quiet:
        click.echo(as_json({"paths": [first, second], **report.as_dict()}) if json else str(report))
    if not report.same:
        context.exit(DIFFERENT)
