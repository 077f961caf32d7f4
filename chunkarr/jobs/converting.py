"""From any file to any other: convert, rechunk."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from chunkarr.array import as_node
from chunkarr.array.saving import Job
from chunkarr.errors import OptionError
from chunkarr.formats.table import format_of_new
from chunkarr.jobs.report import Report, run
from chunkarr.jobs.sources import Path, Sources, gather
from chunkarr.progress import Reporter

__all__ = ["check_layout", "convert", "rechunk"]


def convert(
    sources: Sources,
    target: Path,
    *,
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
    """Copy arrays from files to a file of any format, within the memory budget.

    Parameters
    ----------
    sources : path or sequence of path
        Files, patterns such as ``"run*.npy"``, folders of files of one kind; a member as ``file.h5::/x``. What a
        pattern or a folder stands for comes in natural order, f9 before f10.
    target : path
        It appears when it is whole; what was there before stays until then.
    stack, concat : int, optional
        Join several sources along a new axis, or along one that they have.
    dtype : dtype_like, optional
        Convert the values, as ``astype`` does.
    format, overwrite, durability, progress
        As in :func:`chunkarr.save`.
    source_format, options : str, mapping, optional
        ``format`` and the other options of :func:`chunkarr.open` for the sources: what their format does not tell,
        such as ``dtype, shape, offset, order`` of raw records.
    dry_run : bool
        Check and plan everything, write nothing.
    resume : bool
        Go on with what an earlier run of the same job left unfinished, if there is such; as in `chunkarr.save`.
    keep : bool, optional
        Leave the unfinished output for a later run with ``resume`` if this one fails or is interrupted.
        By default with ``resume`` only. What a killed process leaves is there in any case.
    **layout
        What the target's format takes: ``chunks, shards, codec`` of zarr, ``order`` of npy ...

    Returns
    -------
    Report
        What was planned and, unless ``dry_run``, done.

    Raises
    ------
    OptionError
        If there are several sources and nothing says how to join them, or a format does not take an option.
    FormatError
        If a source is damaged, or shapes do not fit each other.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> for i in (1, 2, 10):
    ...     np.save(f"{folder}/f{i}.npy", np.full((2, 3), i))
    >>> report = convert(folder + "/f*.npy", folder + "/a.zarr", stack=0, dtype="f4")
    >>> report.shape, report.dtype, report.nbytes
    ((3, 2, 3), 'float32', 72)
    """
    target = os.fspath(target)
    given = {name: value for name, value in layout.items() if value is not None}
    check_layout(target, format, given)
    array, names = gather(sources, stack=stack, concat=concat, format=source_format, options=options)
    if dtype is not None:
        array = array.astype(np.dtype(dtype))
    job = Job(as_node(array), target, format, given, overwrite=overwrite, durability=durability)
    return run(job, names, progress, dry_run=dry_run, resume=resume, keep=keep)


def check_layout(target: str, format: str | None, layout: Mapping[str, Any]) -> None:  # noqa: A002 - the user's word
    """Raise OptionError for an option that the target's format does not take, and say where others belong."""
    row = format_of_new(target, format)
    unknown = sorted(layout.keys() - set(row.create_options)) if row is not None else []
    if row is not None and unknown:
        takes = ", ".join(row.create_options) or "no options"
        raise OptionError(
            f"{target}: {row.name} does not take {', '.join(unknown)}; it takes {takes}; what a source takes goes into "
            "options="
        )


def rechunk(
    source: Path,
    target: Path,
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
