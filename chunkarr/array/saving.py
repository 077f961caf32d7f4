"""Write the values of an expression: to a file that appears whole, or to an open one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr import engine
from chunkarr.errors import UnsupportedError
from chunkarr.formats.table import create_target, open_stored
from chunkarr.ops.layout import reshape, take_basic
from chunkarr.ops.sources import load
from chunkarr.selection import Stride
from chunkarr.settings import budget
from chunkarr.settings import durability as default_durability

if TYPE_CHECKING:
    from chunkarr.graph import Node
    from chunkarr.progress import Reporter

__all__ = ["Path", "write", "write_raw"]

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
    how: Any = default_durability() if durability is None else durability
    given = {k: v for k, v in options.items() if v is not None}
    target = create_target(name, node.shape, node.dtype, format, overwrite=overwrite, durability=how, **given)
    engine.store(node, target, progress=progress)
    if getattr(target, "format", "") != "raw":
        return load(open_stored(name, "r", format))
    order = options.get("order") or "C"
    return load(open_stored(name, "r", "raw", dtype=node.dtype, shape=node.shape, order=order))


def write_raw(node: Node, file: Any, sep: str) -> None:
    """Write the elements of ``node`` in C order and nothing else, block by block, as ``ndarray.tofile``."""
    if sep:
        raise UnsupportedError("tofile: text (sep) is not supported; use sep='' for binary")
    if isinstance(file, str | os.PathLike):
        write(node, file, format="raw", overwrite=True)
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
