"""``chunkarr stats``: count, extremes, mean, spread and exact quantiles."""

from __future__ import annotations

from typing import Any

import click

from chunkarr.cli.formats import Sectioned, source_flags
from chunkarr.cli.options import as_json, describe_dtype, memory_option

__all__ = ["command"]


def _as_quantiles(text: str) -> list[float]:
    """Return numbers in 0 ... 1 given with commas between them."""
    try:
        found = [float(word) for word in text.split(",")]
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not a list of numbers; write for example 0.25,0.5,0.75") from error
    if not all(0 <= q <= 1 for q in found):
        raise click.BadParameter(f"quantiles lie in 0 ... 1, asked for {text}")
    return found


@click.command("stats", cls=Sectioned)
@click.argument("source")
@click.option(
    "--quantile", "quantiles", type=_as_quantiles, metavar="Q,Q,...", default="0.25,0.5,0.75", show_default=True,
    help="Exact quantiles, in 0 ... 1.",
)  # fmt: skip
@source_flags
@memory_option()
@click.option("--json", "json", is_flag=True, help="Print JSON.")
def command(source: str, quantiles: list[float], options: dict[str, Any], json: bool) -> None:
    """Print what SOURCE holds in figures: count, NaN, min, max, mean, std, exact quantiles.

    NaN are counted and left out of all other figures. One pass, and usually another one for the quantiles.
    """
    from chunkarr import io
    from chunkarr.functions.stating import statistics

    array = io.open(source, **options)
    figures = statistics(array, quantiles)
    if json:
        record = {"path": source, "shape": list(array.shape), "dtype": describe_dtype(array.dtype), **figures}
        click.echo(as_json(record))
        return
    for name, value in {**figures, **{f"q {q:g}": v for q, v in figures["quantiles"].items()}}.items():
        if name != "quantiles":
            click.echo(f"{name:<8} {value:,}" if isinstance(value, int) else f"{name:<8} {value}")
