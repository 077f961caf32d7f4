"""Zarr groups: directories of arrays and of other groups."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator

from chunkarr import fsio
from chunkarr.errors import ChunkarrError, FormatError, MetadataError, UnsupportedError
from chunkarr.formats.contract import Member, Stored
from chunkarr.formats.zarr_json import load

__all__ = ["list_arrays", "make_groups"]

DEPTH_LIMIT = 64  # groups within groups
GROUP = {"zarr_format": 3, "node_type": "group", "attributes": {}}


def list_arrays(path: str, opener: Callable[[str], Stored]) -> list[Member]:
    """List the arrays of a local Zarr group at any depth; one without a name where ``path`` is an array itself.

    Symbolic links are not followed.

    Raises
    ------
    UnsupportedError
        If ``path`` is not a directory: what is in a zip file or a bucket is not listed.
    """
    if not os.path.isdir(path):
        raise UnsupportedError(f"{path}: is no directory; what is in a Zarr store elsewhere is not listed")
    return list(_walk(path, "", 0, opener))


def _walk(path: str, name: str, depth: int, opener: Callable[[str], Stored]) -> Iterator[Member]:
    """Yield the arrays in ``path``, itself included."""
    kind = _kind(path)
    if kind == "array" or depth == DEPTH_LIMIT:
        try:
            stored = opener(path)
        except (ChunkarrError, OSError) as error:
            yield Member(name, None, None, str(error))
        else:
            yield Member(name, stored.shape, stored.dtype)
    elif kind == "group" or not depth:
        with os.scandir(path) as entries:
            inside = sorted(e.name for e in entries if e.is_dir(follow_symlinks=False) and not e.name.startswith("."))
        for child in inside:
            yield from _walk(os.path.join(path, child), f"{name}/{child}" if name else child, depth + 1, opener)


def _kind(path: str) -> str:
    """Return "group", "array" or "" as the metadata in a directory say; damaged ones are an array's."""
    if os.path.isfile(os.path.join(path, "zarr.json")):
        try:
            document = load(os.path.join(path, "zarr.json"))
            mark = document.get("attributes", {}).get("chunkarr", {})
            return "group" if document.get("node_type") == "group" and mark.get("layout") != "columns" else "array"
        except (MetadataError, AttributeError):
            return "array"
    if os.path.isfile(os.path.join(path, ".zarray")):
        return "array"
    return "group" if os.path.isfile(os.path.join(path, ".zgroup")) else ""


def make_groups(root: str, place: str) -> None:
    """Make the directories from ``root`` to the one above ``place`` groups, where they are not there yet.

    Raises
    ------
    FormatError
        If one of them is an array.
    """
    directory, below = root.rstrip("/") or root, os.path.relpath(place, root).split(os.sep)
    for part in below:
        if _kind(directory) == "array":
            raise FormatError(f"{directory}: is a Zarr array, not a group, so nothing can be stored in it")
        if not os.path.exists(directory):
            fsio.calls.mkdir(directory)
            fsio.write_new(os.path.join(directory, "zarr.json"), json.dumps(GROUP).encode())
        directory = os.path.join(directory, part)
