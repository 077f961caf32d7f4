"""Files one after another, into a new file or behind what is there."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from chunkarr import io
from chunkarr.array import Array, as_node
from chunkarr.formats.table import identify, split_member
from chunkarr.graph import Load
from chunkarr.grid import Grid, Region
from chunkarr.jobs.converting import convert
from chunkarr.jobs.report import Report, stored_bytes
from chunkarr.jobs.sources import Path, Sources, gather
from chunkarr.plan.planner import Output, plan
from chunkarr.progress import Reporter
from chunkarr.settings import budget, config, workers

__all__ = ["append", "concat"]


def concat(sources: Sources, target: Path, *, axis: int = 0, **how: Any) -> Report:
    """Write arrays one after another along an axis; :func:`convert` with ``concat=axis``, and what it takes.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> np.save(folder + "/a.npy", np.arange(3))
    >>> concat([folder + "/a.npy"] * 2, folder + "/b.npy").shape
    (6,)
    """
    return convert(sources, target, concat=axis, **how)


def append(
    sources: Sources,
    target: Path,
    *,
    axis: int = 0,
    stack: int | None = None,
    dtype: Any = None,
    source_format: str | None = None,
    options: Mapping[str, Any] | None = None,
    durability: str | None = None,
    progress: bool | Reporter | None = None,
    dry_run: bool = False,
) -> Report:
    """Write arrays behind the last elements of a stored array, which is as it was or longer by all of them.

    Parameters
    ----------
    sources
        As of :func:`convert`.
    target : path
        An array that is there, of a format that can change (npy, raw, zarr, hdf5).
    axis : int
        Which axis grows. Several sources are joined along it, unless ``stack`` is given.
    stack : int, optional
        Join several sources along a new axis first.
    dtype, source_format, options, durability, progress
        As in :func:`convert`. The target's dtype must hold the values by NumPy's same-kind rule.
    dry_run : bool
        Check and plan everything, write nothing.

    Returns
    -------
    Report
        With the shape that the target has then; ``nbytes`` are those that it grew by.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    TypeError
        If the target's dtype cannot hold that of the values.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> np.save(folder + "/a.npy", np.arange(3))
    >>> append(folder + "/a.npy", folder + "/a.npy").shape
    (6,)
    """
    target, began = os.fspath(target), time.perf_counter()
    more, names = gather(
        sources, stack=stack, concat=axis if stack is None else None, format=source_format, options=options
    )
    if dtype is not None:
        more = more.astype(np.dtype(dtype))
    old = _open(target, "r" if dry_run else "r+", more, durability)
    at, shape = _joined(old, more, axis)
    planned = plan([Output(as_node(more), _Window(old, more))], budget(), workers())  # type: ignore[arg-type]
    if not dry_run:
        with config.set(progress=progress is True):
            old.append(more, at)
    return Report(
        source=names[0],
        target=target,
        shape=shape,
        dtype=str(old.dtype),
        nbytes=math.prod(more.shape) * old.dtype.itemsize,
        bytes_read=planned.bytes_read,
        memory=planned.memory,
        budget=budget(),
        tasks=planned.tasks,
        seconds=0.0 if dry_run else time.perf_counter() - began,
        stored=0 if dry_run else stored_bytes(split_member(target)[0]),
        sources=len(names),
        passes=planned.passes,
        scratch=planned.scratch,
    )


class _Window:
    """The end of a stored array, as something that is planned to be written: a box of it raw and encoded."""

    def __init__(self, old: Array, more: Array) -> None:
        self.shape, self.dtype = more.shape, old.dtype
        op = as_node(old).op
        flat = isinstance(op, Load) and op.stored.contiguous
        self.grid = Grid(more.shape, (1,) * more.ndim if flat else old.chunks)
        self.unit = self.grid.steps

    def scratch_bytes(self, region: Region) -> int:  # noqa: ARG002 - that of a target
        """Return the bytes that writing a box holds besides its values."""
        return 2 * math.prod(self.grid.steps) * self.dtype.itemsize


def _open(target: str, mode: str, more: Array, durability: str | None) -> Array:
    """Open what is to grow; raw records are described by what comes behind them."""
    file = split_member(target)[0]
    given: dict[str, Any] = {} if durability is None or mode == "r" else {"durability": durability}
    if os.path.exists(file) and identify(file).name == "raw":
        given |= {"dtype": more.dtype, "shape": (-1, *more.shape[1:])}
    return io.open(target, mode, **given)


def _joined(old: Array, more: Array, axis: int) -> tuple[int, tuple[int, ...]]:
    """Return the axis and the shape of both together, or raise NumPy's errors before anything is read."""
    at = np.lib.array_utils.normalize_axis_index(axis, old.ndim)
    if more.ndim != old.ndim:
        raise ValueError(f"append: the array has shape {old.shape}, the values {more.shape}: as many axes are needed")
    np.copyto(np.empty(0, old.dtype), np.empty(0, more.dtype), casting="same_kind")
    whole = list(old.shape)
    whole[at] += more.shape[at]
    rest = [(*a.shape[:at], *a.shape[at + 1 :]) for a in (old, more)]
    if rest[0] != rest[1]:
        raise ValueError(
            f"append: the array has shape {old.shape}, the values {more.shape}: they differ beside axis {at}"
        )
    return at, tuple(whole)
