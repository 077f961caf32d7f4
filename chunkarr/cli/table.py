"""The table of commands. A row names its module, which is imported when the command is used."""

from __future__ import annotations

import difflib
import importlib
from dataclasses import dataclass

import click

__all__ = ["COMMANDS", "Commands", "Row"]


@dataclass(frozen=True)
class Row:
    """One command."""

    name: str
    module: str  # holds the command as `command`
    summary: str  # what `chunkarr --help` says


COMMANDS = (
    Row("info", "chunkarr.cli.info", "Say what an array file holds."),
    Row("head", "chunkarr.cli.head", "Print the first rows of an array."),
    Row("convert", "chunkarr.cli.convert", "Copy an array to another file, of any format."),
    Row("concat", "chunkarr.cli.concat", "Write arrays one after another to a new file."),
    Row("append", "chunkarr.cli.append", "Write arrays behind the end of one that is there."),
    Row("reduce", "chunkarr.cli.reduce", "Reduce blocks or whole axes of an array to a smaller one."),
    Row("rechunk", "chunkarr.cli.rechunk", "Copy an array into other chunks."),
    Row("sort", "chunkarr.cli.sort", "Write the elements of an array in order."),
    Row("verify", "chunkarr.cli.verify", "Check that all that is stored is as it was written."),
    Row("digest", "chunkarr.cli.digest", "Print what equal arrays have in common, whatever their format."),
    Row("stats", "chunkarr.cli.stats", "Print count, extremes, mean, spread and exact quantiles."),
    Row("diff", "chunkarr.cli.diff", "Compare the arrays in two files, of any formats."),
    Row("recover", "chunkarr.cli.recover", "Finish or drop what a killed writer left."),
    Row("adopt", "chunkarr.cli.adopt", "Accept what another program changed in a Zarr array."),
    Row("demo", "chunkarr.cli.demo", "Show the main job on made-up camera frames, and check it."),
)


class Commands(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names in the order of the table."""
        return [row.name for row in COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        """Import and return a command; a name that there is not is wrong usage."""
        for row in COMMANDS:
            if row.name == cmd_name:
                command: click.Command = importlib.import_module(row.module).command
                return command
        close = difflib.get_close_matches(cmd_name, [row.name for row in COMMANDS], 1)
        meant = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(row.name for row in COMMANDS)}"
        raise click.UsageError(f"there is no command {cmd_name!r}; {meant}", ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the table without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(row.name, row.summary) for row in COMMANDS])
