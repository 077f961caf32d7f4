"""From a file to a smaller one: blocks or whole axes, each reduced to one element."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from chunkarr import functions, io
from chunkarr.array import Array, as_node
from chunkarr.array.saving import Job
from chunkarr.errors import OptionError
from chunkarr.jobs.converting import check_layout
from chunkarr.jobs.report import Report, run
from chunkarr.jobs.sources import Path, Sources, gather
from chunkarr.progress import Reporter

__all__ = ["FUNCTIONS", "reduce"]

FUNCTIONS = (
    "mean", "sum", "min", "max", "std", "var", "median", "prod", "ptp", "any", "all", "count_nonzero",
    "nanmean", "nansum", "nanmin", "nanmax", "nanstd", "nanvar", "nanmedian", "nanprod",
)  # fmt: skip


def reduce(
    sources: Sources,
    target: Path,
    *,
    func: str = "mean",
    block: Sequence[int] | int | None = None,
    axis: Sequence[int] | int | None = None,
    keepdims: bool = False,
    stack: int | None = None,
    concat: int | None = None,
    dtype: Any = None,
    format: str | None = None,  # noqa: A002  # the word of chunkarr.save
    source_format: str | None = None,
    options: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    durability: str | None = None,
    progress: bool | Reporter | None = None,
    dry_run: bool = False,
    resume: bool = False,
    keep: bool | None = None,
    **layout: Any,
) -> Report:
    """Write what a function makes of blocks or of whole axes of an array, within the memory budget.

    Parameters
    ----------
    sources, target
        As of :func:`convert`, several ``sources`` with ``stack`` or ``concat``.
    func : str
        The name of a NumPy function that reduces: "mean", "sum", "max", "median", "nanmean" ...
    block : int or sequence of int, optional
        Elements of a block along each axis: each becomes one element, as `chunkarr.block_reduce` does it.
    axis : int or sequence of int, optional
        Without ``block``: the axes that vanish; all by default.
    keepdims : bool
        Keep these axes, with one element.
    dtype : dtype_like, optional
        Convert what comes out.
    stack, concat, format, source_format, options, overwrite, durability, progress, dry_run, resume, keep, **layout
        As in :func:`convert`.

    Returns
    -------
    Report
        What was planned and, unless ``dry_run``, done.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> np.save(folder + "/a.npy", np.arange(8.0).reshape(2, 4))
    >>> reduce(folder + "/a.npy", folder + "/b.npy", block=(2, 2)).shape
    (1, 2)
    >>> np.load(folder + "/b.npy")
    array([[2.5, 4.5]])
    """
    target = os.fspath(target)
    if func not in FUNCTIONS:
        raise OptionError(f"func={func!r} is not one of {', '.join(FUNCTIONS)}")
    if block is not None and (axis is not None or keepdims):
        raise OptionError(f"block={block!r} keeps all axes: give either block or axis, keepdims")
    given = {name: value for name, value in layout.items() if value is not None}
    check_layout(target, format, given)
    array, names = gather(sources, stack=stack, concat=concat, format=source_format, options=options)
    small = _reduced(array, func, block, axis, keepdims=keepdims)
    if dtype is not None:
        small = small.astype(np.dtype(dtype))
    job = Job(as_node(small), target, format, given, overwrite=overwrite, durability=durability)
    return run(job, names, progress, dry_run=dry_run, resume=resume, keep=keep)


def _reduced(
    array: Array, func: str, block: Sequence[int] | int | None, axis: Sequence[int] | int | None, *, keepdims: bool
) -> Array:
    if block is None:
        axes = axis if axis is None or isinstance(axis, int) else tuple(axis)
        return io.asarray(getattr(functions, func)(array, axis=axes, keepdims=keepdims))
    sizes = (block,) * array.ndim if isinstance(block, int) else tuple(block)
    if len(sizes) != array.ndim or any(size < 1 for size in sizes):
        raise OptionError(f"block={block!r}: one size of at least 1 is needed for each axis of shape {array.shape}")
    return functions.block_reduce(array, sizes, getattr(np, func))
