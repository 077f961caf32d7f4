"""``chunkarr diff``: how two arrays differ."""

from __future__ import annotations

from typing import Any

import click

from chunkarr.cli.exits import DIFFERENT, INCOMPARABLE, failing
from chunkarr.cli.options import as_dtype, as_json, holds_raw_records, memory_option, raw_options, source_options

__all__ = ["command"]


@click.command("diff")
@click.argument("first")
@click.argument("second")
@click.option("--rtol", type=click.FloatRange(0), default=0.0, help="Difference, relative to SECOND, to ignore.")
@click.option("--atol", type=click.FloatRange(0), default=0.0, help="Difference to ignore.")
@click.option("--values-only", is_flag=True, help="Let element types differ.")
@click.option("--dtype", type=as_dtype, metavar="DTYPE", help="Element type of raw records.")
@raw_options
@memory_option()
@click.option("--json", "json", is_flag=True, help="Print the report as JSON.")
@click.option("--quiet", is_flag=True, help="Print nothing; the exit code tells.")
@click.pass_context
def command(
    context: click.Context, first: str, second: str, rtol: float, atol: float, values_only: bool,
    dtype: Any, shape: Any, offset: int | None, order: str | None, json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Compare the arrays in FIRST and SECOND: shape, element type, values.

    NaN equals NaN; formats, chunks and byte order do not matter. The exit code is 0 if they are the same, 1 if they
    differ, 4 if they could not be compared. Options of raw records apply to those that are raw.
    """
    from chunkarr import io
    from chunkarr.functions.comparing import compare

    raw = source_options(dtype=dtype, shape=shape, offset=offset, order=order)
    with failing(INCOMPARABLE):
        one, other = (io.open(path, **(raw if holds_raw_records(path) else {})) for path in (first, second))
        report = compare(one, other, rtol=rtol, atol=atol, values_only=values_only, progress=not quiet)
    if not quiet:
        click.echo(as_json({"paths": [first, second], **report.as_dict()}) if json else str(report))
    if not report.same:
        context.exit(DIFFERENT)
