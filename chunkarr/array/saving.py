"""Write the values of an expression: to a file that appears whole, or to an open one."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr import engine
from chunkarr.engine.resuming import Logged
from chunkarr.engine.unfinished import describe_job, find_unfinished, spare_unfinished
from chunkarr.errors import UnsupportedError
from chunkarr.formats.table import (
    create_target,
    format_of_new,
    identify,
    open_stored,
    place_of_new,
    reopening,
    split_member,
)
from chunkarr.graph import Load, topological
from chunkarr.ops.layout import reshape, take_basic
from chunkarr.ops.sources import load
from chunkarr.plan.planner import Output, plan
from chunkarr.selection import Stride
from chunkarr.settings import budget, workers
from chunkarr.settings import durability as default_durability

if TYPE_CHECKING:
    from chunkarr.engine import Plan
    from chunkarr.engine.unfinished import Unfinished
    from chunkarr.formats.contract import Target
    from chunkarr.graph import Node
    from chunkarr.grid import Shape
    from chunkarr.progress import Reporter

__all__ = ["Job", "Path", "chunks_of_sources", "write", "write_raw"]

LEAST, MOST = 256 << 10, 16 << 20  # bytes of a chunk that is taken over from a source

TEXT_BYTES = 256  # that an element takes while it becomes text, about

Path = str | os.PathLike[str]


def write(
    node: Node,
    path: Path,
    *,
    format: str | None = None,  # noqa: A002 - the field's name
    overwrite: bool = False,
    durability: str | None = None,
    progress: bool | Reporter | None = None,
    resume: bool = False,
    **options: Any,
) -> Node:
    """Write ``node`` to ``path`` and return the node that reads it; see `chunkarr.save`."""
    name = os.fspath(path)
    _store(node, name, format, overwrite, durability, progress, resume, options)
    row = identify(split_member(name)[0], format)
    return load(open_stored(name, "r", format, **reopening(row, node.shape, node.dtype, options)))


def _store(
    node: Node,
    name: str,
    format: str | None,  # noqa: A002 - the field's name
    overwrite: bool,
    durability: str | None,
    progress: bool | Reporter | None,
    resume: bool,
    options: dict[str, Any],
) -> None:
    given = {k: v for k, v in options.items() if v is not None}
    if not given.keys() & {"chunks", "shards", "access"} and given.get("codec") != "none":
        row = format_of_new(name, format)
        steps = chunks_of_sources(node)
        if row is not None and "chunks" in row.create_options and steps is not None:
            given["chunks"] = steps
    job = Job(node, name, format, given, overwrite=overwrite, durability=durability)
    job.run(progress, resume=resume, keep=resume)


class Job:
    """The values of a node on their way into a new array.

    Parameters
    ----------
    node
        Whose values.
    path, format, options, overwrite, durability
        As in `create_target`; durability None is the setting.
    """

    def __init__(
        self,
        node: Node,
        path: str,
        format: str | None,  # noqa: A002 - the field's name
        options: dict[str, Any],
        *,
        overwrite: bool,
        durability: str | None,
    ) -> None:
        self.node, self.path, self.format, self.options = node, path, format, options
        self.overwrite = overwrite
        self.durability: Any = default_durability() if durability is None else durability
        self.row, self.place, _ = place_of_new(path, format)
        self.resumed = 0  # bytes that an earlier run had written

    def plan(self) -> Plan:
        """Check everything and plan; what an earlier run left stays."""
        locks = spare_unfinished(self.place)
        try:
            target = self._create(None)
            try:
                return plan([Output(self.node, target)], budget(), workers())
            finally:
                target.abort()
        finally:
            for lock in locks:
                os.close(lock)

    def run(self, progress: bool | Reporter | None, *, resume: bool, keep: bool) -> Plan | None:
        """Write and commit; return the plan, None if an earlier run had completed the array.

        ``resume`` goes on with what that run left, ``keep`` leaves what this one did if it fails.
        """
        if not self.row.resumable:
            return engine.store(self.node, self._create(None), progress=progress)
        found = find_unfinished(self.place, self._describe()) if resume else None
        if found is not None and found.complete:
            found.tidy(self.place)
            self.resumed = math.prod(self.node.shape) * self.node.dtype.itemsize
            return None
        inner = self._create(found)
        try:
            target = Logged(inner, self._describe, found=found, keep=keep, durable=self.durability == "full")
        except BaseException:
            inner.release()  # what was found stays
            raise
        self.resumed = target.resumed
        return engine.store(self.node, target, progress=progress)

    def _create(self, found: Unfinished | None) -> Target:
        adopt = None if found is None or found.lock is None else (found.part, found.lock)
        try:
            return create_target(
                self.path, self.node.shape, self.node.dtype, self.format, overwrite=self.overwrite,
                durability=self.durability, adopt=adopt, **self.options,
            )  # fmt: skip
        except BaseException:
            if found is not None:
                found.close()
            raise

    def _describe(self) -> dict[str, Any]:
        """Return the fingerprint of the job, of sources that are as they were when it was built."""
        engine.check_fresh([self.node])
        about = {"format": self.row.name, "shape": self.node.shape, "dtype": self.node.dtype, **self.options}
        return describe_job(self.node, **about)


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


def write_raw(node: Node, file: Any, sep: str, form: str = "%s") -> None:
    """Write the elements of ``node`` in C order and nothing else, block by block, as ``ndarray.tofile``.

    With ``sep`` each becomes text by ``form``.
    """
    named = isinstance(file, str | os.PathLike)
    if named and not sep:
        _store(node, os.fspath(file), "raw", True, None, None, False, {})
        return
    if named and sep:
        raise UnsupportedError('tofile: text (sep) goes to an open file, as open(name, "wb"); savetxt writes files')
    flat = reshape(node, (_size(node),))
    each = node.dtype.itemsize + (TEXT_BYTES if sep else 0)
    step = max(1, budget() // 8 // max(1, each))
    for start in range(0, flat.shape[0], step):
        part = take_basic(flat, (Stride(start, 1, min(step, flat.shape[0] - start)),))
        (values,) = engine.compute([part])
        if sep:
            words = [str(item) if form in {"", "%s"} else form % item for item in values.tolist()]
            file.write(((sep if start else "") + sep.join(words)).encode())
        else:
            file.write(values.view(np.uint8).data)


def _size(node: Node) -> int:
    size = 1
    for n in node.shape:
        size *= n
    return size
