"""``chunkarr stats``: count, extremes, mean, spread and exact quantiles."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click

from chunkarr.cli.formats import Sectioned, source_flags
from chunkarr.cli.options import as_json, describe_dtype, memory_option

if TYPE_CHECKING:
    from chunkarr.array import Array

__all__ = ["command"]

REAL = "biuf"  # kinds of dtypes that have figures


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
    "--quantile", "asked", type=_as_quantiles, metavar="Q,Q,...", multiple=True,
    help="Exact quantiles, in 0 ... 1; several times as well.  [default: 0.25,0.5,0.75]",
)  # fmt: skip
@source_flags
@memory_option()
@click.option("--json", "json", is_flag=True, help="Print JSON.")
def command(source: str, asked: tuple[list[float], ...], options: dict[str, Any], json: bool) -> None:
    """Print what SOURCE holds in figures: count, NaN, min, max, mean, std, exact quantiles.

    NaN are counted and left out of all other figures. One pass, and usually another one for the quantiles; of
    records, for each field that holds real numbers.
    """
    from chunkarr import io
    from chunkarr.functions.stating import statistics

    quantiles = [q for several in asked for q in several] or [0.25, 0.5, 0.75]
    array = io.open(source, **options)
    fields = _real_fields(array)
    found = {name: statistics(array[name], quantiles) for name in fields}
    figures = {"fields": found} if fields else statistics(array, quantiles)
    if json:
        record = {"path": source, "shape": list(array.shape), "dtype": describe_dtype(array.dtype), **figures}
        click.echo(as_json(_told(record)))
        return
    if not fields:
        _print(figures)
    for name in array.dtype.names or () if fields else ():
        click.echo(name if name in found else f"{name}: no real numbers")
        if name in found:
            _print(found[name], "  ")


def _real_fields(array: Array) -> list[str]:
    """Return the fields of records that hold real numbers."""
    return [name for name in array.dtype.names or () if array.dtype[name].base.kind in REAL]


def _print(figures: dict[str, Any], indent: str = "") -> None:
    """Print a figure a line."""
    for name, value in {**figures, **{f"q {q:g}": v for q, v in figures["quantiles"].items()}}.items():
        if name != "quantiles":
            text = f"{value:,}" if isinstance(value, int) else str(value)
            click.echo(f"{indent}{name:<8} {text}")


def _told(value: Any) -> Any:
    """Return a record with what JSON has no numbers for as text: NaN, Infinity, -Infinity, as protocol buffers do.

    >>> _told({"max": float("inf"), "min": 1.0})
    {'max': 'Infinity', 'min': 1.0}
    """
    if isinstance(value, dict):
        return {key: _told(v) for key, v in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
