"""Write the values of an expression: to a file that appears whole, or to an open one."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr import engine
from chunkarr.errors import UnsupportedError
from chunkarr.formats.table import create_target, format_of_new, identify, open_stored
from chunkarr.graph import Load, topological
from chunkarr.ops.layout import reshape, take_basic
from chunkarr.ops.sources import load
from chunkarr.selection import Stride
from chunkarr.settings import budget
from chunkarr.settings import durability as default_durability

if TYPE_CHECKING:
    from chunkarr.graph import Node
    from chunkarr.grid import Shape
    from chunkarr.progress import Reporter

__all__ = ["Path", "chunks_of_sources", "write", "write_raw"]

LEAST, MOST = 256 << 10, 16 << 20  # bytes of a chunk that is taken over from a source

Path = str | os.PathLike[str]


def write(
    node: Node,
    path: Path,
    *,
    format: str | None = None,  # noqa: A002 - the field's name
    overwrite: bool = False,
    durability: str | None = None,
    progress: bool | Reporter | None = None,
    **options: Any,
) -> Node:
    """Write ``node`` to ``path`` and return the node that reads it; see `chunkarr.save`."""
    name = os.fspath(path)
    _store(node, name, format, overwrite, durability, progress, options)
    if identify(name, format).name != "raw":
        return load(open_stored(name, "r", format))
    order = options.get("order") or "C"
    return load(open_stored(name, "r", "raw", dtype=node.dtype, shape=node.shape, order=order))


def _store(
    node: Node,
    name: str,
    format: str | None,  # noqa: A002 - the field's name
    overwrite: bool,
    durability: str | None,
    progress: bool | Reporter | None,
    options: dict[str, Any],
) -> None:
    how: Any = default_durability() if durability is None else durability
    given = {k: v for k, v in options.items() if v is not None}
    if not given.keys() & {"chunks", "shards", "access"} and given.get("codec") != "none":
        row = format_of_new(name, format)
        steps = chunks_of_sources(node)
        if row is not None and "chunks" in row.create_options and steps is not None:
            given["chunks"] = steps
    target = create_target(name, node.shape, node.dtype, format, overwrite=overwrite, durability=how, **given)
    engine.store(node, target, progress=progress)


def chunks_of_sources(node: Node) -> Shape | None:
    """Return the chunks that let the largest chunked source be read once, if they are of a usual size.

    None where no source is chunked: any chunks are as good then.
    """
    sources = [n.op.stored for n in topological([node]) if isinstance(n.op, Load) and not n.op.stored.contiguous]
    if not sources:
        return None
    largest = max(sources, key=lambda s: math.prod(s.shape) * s.dtype.itemsize)
    candidates = [largest.grid.steps] if largest.shape == node.shape else []
    for steps in (*candidates, node.grid.steps):
        if LEAST <= math.prod(steps) * node.dtype.itemsize <= MOST:
            return steps
    return None


def write_raw(node: Node, file: Any, sep: str) -> None:
    """Write the elements of ``node`` in C order and nothing else, block by block, as ``ndarray.tofile``."""
    if sep:
        raise UnsupportedError("tofile: text (sep) is not supported; use sep='' for binary")
    if isinstance(file, str | os.PathLike):
        _store(node, os.fspath(file), "raw", True, None, None, {})
        return
    flat = reshape(node, (_size(node),))
    step = max(1, budget() // 8 // max(1, node.dtype.itemsize))
    for start in range(0, flat.shape[0], step):
        part = take_basic(flat, (Stride(start, 1, min(step, flat.shape[0] - start)),))
        file.write(engine.compute([part])[0].view(np.uint8).data)


def _size(node: Node) -> int:
    size = 1
    for n in node.shape:
        size *= n
    return size
