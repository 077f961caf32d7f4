"""Sort from file to file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from chunkarr.array import as_node
from chunkarr.array.saving import Job
from chunkarr.array.sorting import sorted_node
from chunkarr.errors import OptionError
from chunkarr.jobs.report import Report, run
from chunkarr.jobs.sources import Path, Sources, gather
from chunkarr.progress import Reporter

__all__ = ["sort"]


def sort(
    sources: Sources,
    target: Path,
    *,
    axis: int | None = -1,
    order: Sequence[str] | None = None,
    column: int | None = None,
    stable: bool = False,
    stack: int | None = None,
    concat: int | None = None,
    source_format: str | None = None,
    options: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    progress: bool | Reporter | None = None,
    dry_run: bool = False,
    resume: bool = False,
    keep: bool | None = None,
) -> Report:
    """Write the elements of an array in order, within the memory budget.

    Parameters
    ----------
    sources, target, stack, concat, source_format, options
        As of :func:`convert`.
    axis : int, optional
        Along which lines are sorted; None: all elements as one line.
    order : sequence of str, optional
        Fields of records to compare first.
    column : int, optional
        Sort the rows of a table by this column instead.
    stable : bool
        Keep the order of equal elements; rows of a table always do.
    overwrite, progress, dry_run, resume, keep
        As in :func:`convert`.

    Returns
    -------
    Report
        What was planned and, unless ``dry_run``, done.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> folder = tempfile.mkdtemp()
    >>> np.save(folder + "/a.npy", np.array([3.0, 1.0, 2.0]))
    >>> report = sort(folder + "/a.npy", folder + "/b.npy")
    >>> np.load(folder + "/b.npy").tolist()
    [1.0, 2.0, 3.0]
    """
    target = os.fspath(target)
    array, names = gather(sources, stack=stack, concat=concat, format=source_format, options=options)
    if column is None:
        node = sorted_node(array, axis, None, None if order is None else list(order), stable or None)
    else:
        if array.ndim != 2:
            raise OptionError(f"column={column} sorts the rows of a table; {names[0]} has {array.ndim} axes")
        node = as_node(array[array[:, column].argsort(stable=True)])
    job = Job(node, target, None, {}, overwrite=overwrite, durability=None)
    return run(job, names, progress, dry_run=dry_run, resume=resume, keep=keep)
