"""Work from file to file, with a report of what was done."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from chunkarr import io
from chunkarr.array import as_node
from chunkarr.array.saving import Job
from chunkarr.array.sorting import sorted_node
from chunkarr.engine import Plan
from chunkarr.errors import OptionError
from chunkarr.formats.table import split_member
from chunkarr.progress import Reporter
from chunkarr.settings import budget, format_bytes

__all__ = ["Report", "convert", "rechunk", "sort"]


@dataclass(frozen=True)
class Report:
    """What a conversion did, or would do."""

    source: str
    target: str
    shape: tuple[int, ...]
    dtype: str  # of the target, as NumPy writes it
    nbytes: int  # decoded bytes of the target
    bytes_read: int  # decoded bytes read from the source, whole chunks counted
    memory: int  # planned peak in bytes
    budget: int  # bytes that were allowed
    tasks: int
    seconds: float  # 0 if nothing was done
    stored: int  # bytes that the target takes on disk, 0 if nothing was done
    resumed: int = 0  # decoded bytes of the target that an earlier run had written

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        """Return the report as sentences for people."""
        extent = " × ".join(map(str, self.shape)) or "scalar"
        what = f"{self.source} -> {self.target}: {extent} {self.dtype}, {format_bytes(self.nbytes)}"
        planned = f"{format_bytes(self.memory)} of memory planned, {format_bytes(self.budget)} allowed"
        if not self.stored:
            return f"{what}; would read {format_bytes(self.bytes_read)} in {self.tasks} tasks; {planned}"
        rate = (self.nbytes - self.resumed) / max(self.seconds, 1e-9) / 1e9
        again = f", {format_bytes(self.resumed)} of them by an earlier run" if self.resumed else ""
        return f"{what}{again}, {format_bytes(self.stored)} stored; {self.seconds:.2f} s, {rate:.2f} GB/s; {planned}"


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    dtype: Any = None,
    format: str | None = None,  # noqa: A002  # the word of chunkarr.save
    chunks: Sequence[int] | None = None,
    shards: Sequence[int] | None = None,
    codec: str | None = None,
    order: str | None = None,
    overwrite: bool = False,
    durability: str | None = None,
    progress: bool | Reporter | None = None,
    dry_run: bool = False,
    resume: bool = False,
    keep: bool | None = None,
    options: Mapping[str, Any] | None = None,
) -> Report:
    """Copy an array from one file to another of any format, within the memory budget.

    Parameters
    ----------
    source, target : path
        The target appears when it is whole; what was there before stays until then.
    dtype : dtype_like, optional
        Convert the values, as ``astype`` does.
    format, chunks, shards, codec, order, overwrite, durability, progress
        As in :func:`chunkarr.save`.
    dry_run : bool
        Check and plan everything, write nothing.
    resume : bool
        Go on with what an earlier run of the same job left unfinished, if there is such; as in `chunkarr.save`.
    keep : bool, optional
        Leave the unfinished output for a later run with ``resume`` if this one fails or is interrupted.
        By default with ``resume`` only. What a killed process leaves is there in any case.
    options : mapping, optional
        What :func:`chunkarr.open` needs to know of the source: ``dtype, shape, offset, order`` of raw records.

    Returns
    -------
    Report
        What was planned and, unless ``dry_run``, done.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> np.save(folder + "/a.npy", np.arange(6.0).reshape(2, 3))
    >>> report = convert(folder + "/a.npy", folder + "/a.zarr", dtype="f4")
    >>> report.shape, report.dtype, report.nbytes
    ((2, 3), 'float32', 24)
    """
    source, target = os.fspath(source), os.fspath(target)
    array = io.open(source, **(options or {}))
    if dtype is not None:
        array = array.astype(np.dtype(dtype))
    given = {"chunks": chunks, "shards": shards, "codec": codec, "order": order}
    layout = {name: value for name, value in given.items() if value is not None}
    job = Job(as_node(array), target, format, layout, overwrite=overwrite, durability=durability)
    return _run(job, source, progress, dry_run=dry_run, resume=resume, keep=keep)


def _run(
    job: Job, source: str, progress: bool | Reporter | None, *, dry_run: bool, resume: bool, keep: bool | None
) -> Report:
    """Do the job, or only plan it, and report."""
    node = job.node
    began = time.perf_counter()
    if dry_run:
        planned: Plan | None = job.plan()
    else:
        planned = job.run(progress, resume=resume, keep=resume if keep is None else keep)
    return Report(
        source=source,
        target=job.path,
        shape=node.shape,
        dtype=str(node.dtype),
        nbytes=math.prod(node.shape) * node.dtype.itemsize,
        bytes_read=planned.bytes_read if planned is not None else 0,
        memory=planned.memory if planned is not None else 0,
        budget=budget(),
        tasks=planned.tasks if planned is not None else 0,
        seconds=0.0 if dry_run else time.perf_counter() - began,
        stored=0 if dry_run else stored_bytes(split_member(job.path)[0]),
        resumed=job.resumed,
    )


def sort(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    axis: int | None = -1,
    order: Sequence[str] | None = None,
    column: int | None = None,
    stable: bool = False,
    overwrite: bool = False,
    progress: bool | Reporter | None = None,
    dry_run: bool = False,
    resume: bool = False,
    keep: bool | None = None,
) -> Report:
    """Write the elements of an array in order, within the memory budget.

    Parameters
    ----------
    source, target : path
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
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> np.save(folder + "/a.npy", np.array([3.0, 1.0, 2.0]))
    >>> report = sort(folder + "/a.npy", folder + "/b.npy")
    >>> np.load(folder + "/b.npy").tolist()
    [1.0, 2.0, 3.0]
    """
    source, target = os.fspath(source), os.fspath(target)
    array = io.open(source)
    if column is None:
        node = sorted_node(array, axis, None, None if order is None else list(order), stable or None)
    else:
        if array.ndim != 2:
            raise OptionError(f"column={column} sorts the rows of a table; {source} has {array.ndim} axes")
        node = as_node(array[array[:, column].argsort(stable=True)])
    return _run(
        Job(node, target, None, {}, overwrite=overwrite, durability=None), source, progress,
        dry_run=dry_run, resume=resume, keep=keep,
    )  # fmt: skip


def rechunk(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    chunks: Sequence[int] | None = None,
    shards: Sequence[int] | None = None,
    codec: str | None = None,
    overwrite: bool = False,
    durability: str | None = None,
    progress: bool | Reporter | None = None,
    dry_run: bool = False,
    resume: bool = False,
    keep: bool | None = None,
) -> Report:
    """Copy an array into other chunks, within the memory budget, through temporary files where that reads less.

    Parameters
    ----------
    source, target : path
        The target is of a format that has chunks (zarr, hdf5); onto itself with ``overwrite``.
    chunks, shards : sequence of int
        Elements per axis of what is encoded at once, and of a file that holds several of these; at least one.
    codec, overwrite, durability, progress, dry_run, resume, keep
        As in :func:`convert`.

    Returns
    -------
    Report
        What was planned and, unless ``dry_run``, done.

    Examples
    --------
    >>> import tempfile, chunkarr as ca
    >>> folder = tempfile.mkdtemp()
    >>> rows = ca.save(folder + "/rows.zarr", np.arange(64.0).reshape(8, 8), chunks=(1, 8))
    >>> report = rechunk(folder + "/rows.zarr", folder + "/columns.zarr", chunks=(8, 1))
    >>> report.shape, report.nbytes
    ((8, 8), 512)
    """
    if chunks is None and shards is None:
        raise OptionError("rechunk needs chunks= or shards=: the shape that they are to have")
    return convert(
        source, target, chunks=chunks, shards=shards, codec=codec, overwrite=overwrite, durability=durability,
        progress=progress, dry_run=dry_run, resume=resume, keep=keep,
    )  # fmt: skip


def stored_bytes(path: str) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    if not os.path.isdir(path):
        return os.path.getsize(path) if os.path.exists(path) else 0
    return sum(os.path.getsize(os.path.join(folder, name)) for folder, _, names in os.walk(path) for name in names)
