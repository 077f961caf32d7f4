"""Sort from file to file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from chunkarr.array import Array, as_node
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
    descending: bool = False,
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
    descending : bool
        The largest first, NaN last all the same; not of records.
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
    _check(array, names[0], axis, order, column)
    if descending and array.dtype.names and column is None:
        raise OptionError(f"descending=True: {names[0]} has records, which are sorted in ascending order only")
    if column is None:
        fields = None if order is None else list(order)
        node = sorted_node(array, axis, None, fields, stable or None, descending or None)
    else:
        node = as_node(array[array[:, column].argsort(stable=True, descending=descending)])
    job = Job(node, target, None, {}, overwrite=overwrite, durability=None)
    return run(job, names, progress, dry_run=dry_run, resume=resume, keep=keep)


def _check(array: Array, name: str, axis: int | None, order: Sequence[str] | None, column: int | None) -> None:
    """Raise OptionError for what the array in the file ``name`` cannot be sorted by."""
    fields = array.dtype.names or ()
    if order and not fields:
        raise OptionError(f"{name} has no fields to sort by: its elements are {array.dtype}, no records")
    for field in order or ():
        if field not in fields:
            raise OptionError(f"{name} has no field {field!r}; it has {', '.join(fields)}")
    if column is not None and order:
        raise OptionError(f"column={column} sorts the rows of a table, fields sort records: give one of them")
    if column is not None and array.ndim != 2:
        other = f"; sort by a field: {', '.join(fields)}" if fields else ""
        axes = f"{array.ndim} {'axis' if array.ndim == 1 else 'axes'}"
        raise OptionError(f"column={column} sorts the rows of a table, which has 2 axes; {name} has {axes}{other}")
    if column is not None and not -array.shape[1] <= column < array.shape[1]:
        raise OptionError(f"column={column}: {name} has {array.shape[1]} columns, the first of which is 0")
    if column is None and axis is not None and not -array.ndim <= axis < array.ndim:
        if not array.ndim:
            raise OptionError(f"{name} is one number, which has no axis to sort along")
        raise OptionError(
            f"axis={axis}: {name} has {array.ndim} axes, so it lies in {-array.ndim} ... {array.ndim - 1}"
        )
