"""``chunkarr demo``: the main job on made-up camera frames."""

from __future__ import annotations

import click

from chunkarr.cli.options import as_bytes, memory_option

__all__ = ["command"]


@click.command("demo")
@click.option(
    "--size", type=as_bytes, metavar="BYTES", default="1GiB", show_default=True, help="Bytes of frames to make."
)
@memory_option("128MiB")
@click.option("--picture", default="chunkarr-demo.png", show_default=True, help="Where the picture goes.")
def command(size: int, picture: str) -> None:
    """Make camera frames larger than memory allows, reduce them, check the results, draw a picture.

    Temporary files take about three times the size, in the folder that TMPDIR names; they are removed.
    """
    from chunkarr import demo

    demo.run(size, picture, click.echo)
