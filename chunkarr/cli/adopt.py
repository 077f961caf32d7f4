"""``chunkarr adopt``: take what another program wrote as right."""

from __future__ import annotations

import click

from chunkarr.cli.options import as_json

__all__ = ["command"]


@click.command("adopt")
@click.argument("path")
@click.option("--json", "json", is_flag=True, help="Print the report as JSON.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def command(path: str, json: bool, quiet: bool) -> None:
    """Accept what another program changed on purpose in the Zarr array at PATH, so that reading it raises no more.

    The checksums that chunkarr keeps are made anew from what is there. Chunks that cannot be decoded are damaged, not
    changed: they are refused, and nothing is accepted.
    """
    from chunkarr import upkeep

    done = upkeep.adopt(path)
    if not quiet:
        click.echo(as_json({"path": path, "done": done}) if json else f"{path}: {done}")
