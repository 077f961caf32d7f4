"""``chunkarr info``: what a file holds, from its metadata alone."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from chunkarr.cli.formats import Sectioned, source_flags
from chunkarr.cli.options import as_json, describe_dtype
from chunkarr.settings import format_bytes

if TYPE_CHECKING:
    from chunkarr.formats.contract import Member

__all__ = ["command"]

SHOWN = 20  # names of columns that are printed


@click.command("info", cls=Sectioned)
@click.argument("source")
@source_flags
@click.option("--json", "json", is_flag=True, help="Print JSON.")
def command(source: str, options: dict[str, Any], json: bool) -> None:
    """Say what SOURCE holds; its values are not read.

    A member of a file is named as in file.h5::/group/x; of a file of several without a name, all are listed.
    """
    from chunkarr.formats.table import list_members, open_stored, row_of, split_member

    file, member = split_member(source)
    if member is None and os.path.exists(file):
        row = row_of(file, options.get("format"), options)
        found = list_members(file, row.name) if row.members and os.path.isdir(file) == row.directory else []
        alone = [one for one in found if one.dtype is not None]
        if found and (len(alone) != 1 or (row.directory and alone[0].name)):
            _list(source, row.name, found, json=json)
            return
    stored = open_stored(source, **options)
    chunks = None if stored.contiguous else stored.grid.steps
    size = math.prod(stored.shape)
    record = {
        "path": source,
        "format": stored.format,
        "shape": list(stored.shape),
        "dtype": describe_dtype(stored.dtype),
        "itemsize": stored.dtype.itemsize,
        "size": size,
        "nbytes": size * stored.dtype.itemsize,
        "chunks": None if chunks is None else list(chunks),
        "chunk_count": None if chunks is None else stored.grid.size,
    }
    if stored.labels:
        record["columns"] = list(stored.labels)
    if stored.options:
        record["options"] = {
            name: value if isinstance(value, int) else str(value) for name, value in stored.options.items()
        }
    if json:
        click.echo(as_json(record))
        return
    each = "none, contiguous"
    if chunks is not None:
        chunk_bytes = math.prod(chunks) * stored.dtype.itemsize
        each = f"{_extent(chunks)}, {format_bytes(chunk_bytes)} each, {stored.grid.size:,} in all"
    for name, value in (
        ("path", source),
        ("format", stored.format),
        ("shape", _extent(stored.shape)),
        ("dtype", f"{stored.dtype} ({stored.dtype.itemsize} bytes an element)"),
        ("size", f"{size:,} elements, {format_bytes(size * stored.dtype.itemsize)}"),
        ("chunks", each),
    ):
        click.echo(f"{name:<8}{value}")
    if stored.labels:
        rest = f" and {len(stored.labels) - SHOWN} more" if len(stored.labels) > SHOWN else ""
        click.echo(f"columns {', '.join(stored.labels[:SHOWN])}{rest}")
    if stored.options:
        click.echo(f"guessed chunkarr convert {shlex.quote(source)} OUTPUT {_flags(stored.options)}")


def _flags(options: Mapping[str, Any]) -> str:
    """Return options of a source as they are said on the command line."""
    said = []
    for name, value in options.items():
        many = isinstance(value, tuple | list)
        text = ",".join(map(str, value)) if many else str(value).lower() if isinstance(value, bool) else str(value)
        said.append(f"--{name.replace('_', '-')} {shlex.quote(text)}")
    return " ".join(said)


def _list(source: str, name: str, found: list[Member], *, json: bool) -> None:
    """Print what a file of several arrays holds."""
    if json:
        rows = [
            {
                "name": one.name,
                "shape": None if one.shape is None else list(one.shape),
                "dtype": None if one.dtype is None else describe_dtype(one.dtype),
                "note": one.note,
            }
            for one in found
        ]
        click.echo(as_json({"path": source, "format": name, "members": rows}))
        return
    many = f"{len(found):,} member{'' if len(found) == 1 else 's'}"
    click.echo(f"path    {source}\nformat  {name}\nholds   {many}, each named as in {source}::name")
    width = max(len(one.name) for one in found)
    for one in found:
        what = "" if one.shape is None or one.dtype is None else f"{_extent(one.shape)} {one.dtype}"
        click.echo(f"  {one.name:<{width}}  {what}{f'  ({one.note})' if one.note else ''}".rstrip())


def _extent(shape: tuple[int, ...]) -> str:
    """Return a shape as people write it."""
    return " × ".join(f"{n:,}" for n in shape) or "scalar"
