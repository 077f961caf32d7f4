"""Commands that take several sources: how these become one array, and where the options of formats go."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

from chunkarr.cli.formats import Sectioned, pairs
from chunkarr.cli.options import as_dtype

__all__ = ["Joining", "join_options", "several", "writing_options"]

Command = TypeVar("Command", bound=Callable[..., Any])


class Joining(Sectioned):
    """A command whose ``--stack`` takes an axis or nothing: click would take the next file for it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Give ``--stack`` its default where no number follows."""
        given = [
            "--stack=0" if word == "--stack" and not re.fullmatch(r"-?\d+", after) else word
            for word, after in zip(args, [*args, ""][1:], strict=True)
        ]
        return super().parse_args(ctx, given)


def join_options(command: Command) -> Command:
    """Add what says how several sources become one array."""
    for option in (
        click.option("--concat", type=int, metavar="AXIS", help="Join several along an axis that they have."),
        click.option("--stack", type=int, metavar="[AXIS]", help="Join several along a new axis.  [default: 0]"),
    ):
        command = option(command)
    return command


def writing_options(command: Command) -> Command:
    """Add what says how values and formats change on the way to TARGET."""
    for option in (
        click.option(
            "--target-option", "of_target", metavar="NAME=VALUE", multiple=True, callback=pairs,
            help="An option that the format of TARGET takes, where that of SOURCE takes it too.",
        ),
        click.option("--source-format", help="Format of SOURCE.  [default: by its content]"),
        click.option("--format", "format_", help="Format of TARGET.  [default: by its suffix]"),
        click.option("--astype", type=as_dtype, metavar="DTYPE", help="Element type of TARGET; values are converted."),
    ):  # fmt: skip
        command = option(command)
    return command


def several(sources: tuple[str, ...]) -> list[str]:
    """Return the files that ``sources`` name: patterns and folders as `chunkarr.jobs.sources.expand` sees them."""
    from chunkarr.jobs.sources import expand

    if not sources:
        raise click.UsageError("missing TARGET: give at least one SOURCE, and then TARGET")
    return expand(list(sources))
