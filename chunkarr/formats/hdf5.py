"""HDF5: data sets of one file, read by region, and new files of one data set.

The HDF5 library runs one caller at a time. It is asked for what describes a data set, once; values
are then read and decoded here, in as many threads as there are. Only what the library alone can do
(other filters, converted types) goes through it.
"""

from __future__ import annotations

import math
import os
from dataclasses import replace
from typing import Any

import numpy as np

from chunkarr.errors import FormatError, GridError, MemoryBudgetError, OptionError, UnsupportedError
from chunkarr.formats import journal
from chunkarr.formats.contract import Member, Stored, Target
from chunkarr.formats.file_stored import check_access
from chunkarr.formats.flat import check_order, check_shape
from chunkarr.formats.hdf5_access import data_sets, naming, opened
from chunkarr.formats.hdf5_filters import Filter
from chunkarr.formats.hdf5_layout import Layout, describe
from chunkarr.formats.hdf5_stored import open_member, stored_of
from chunkarr.formats.hdf5_target import ChunkedTarget, ContiguousTarget, default_chunks
from chunkarr.formats.runs import file_generation
from chunkarr.fsio import Durability
from chunkarr.grid import Shape

__all__ = ["create", "members", "open"]

AXES = 32  # of a data set; HDF5's limit
MEASURED = 1 << 20  # strings of variable length that are read to list a data set


def members(path: str) -> list[Member]:
    """List the data sets of a file.

    Each is listed once, under the first name by which hard links lead to it.

    Raises
    ------
    FormatError
        If the file is not a whole HDF5 file.

    Examples
    --------
    >>> import h5py, os, tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = os.path.join(directory, "a.h5")
    ...     with h5py.File(path, "w") as file:
    ...         file["scan/counts"] = np.zeros((2, 3), ">u2")
    ...     members(path)
    [Member(name='/scan/counts', shape=(2, 3), dtype=dtype('>u2'), note='')]
    """
    path = os.fspath(path)
    journal.settle(journal.resolve(path))
    generation = file_generation(path)
    listed = []
    with opened(path) as file:
        for name, dataset in data_sets(file):
            try:
                with naming(path, name):
                    layout = describe(dataset, path, name, generation, outside=False, allow_external=False, texts=True)
                    listed.append(_listed(layout))
            except (FormatError, UnsupportedError, MemoryBudgetError) as error:
                listed.append(Member(name, None, None, str(error).removeprefix(f"{path}::{name}: ")))
    return listed


def _listed(layout: Layout) -> Member:
    shape = layout.shape[::-1] if layout.order == "F" else layout.shape
    if not layout.texts:
        return Member(layout.member, shape, layout.dtype)
    if math.prod(shape) > MEASURED:
        note = f"strings of variable length, {shape}; opening it finds how long they are"
        return Member(layout.member, None, None, note)
    return Member(layout.member, shape, stored_of(layout).dtype)


def open(  # noqa: A001 - every format has an `open`
    path: str,
    mode: str = "r",
    *,
    member: str | None = None,
    allow_external: bool = False,
    durability: str | None = None,
    timeout: float = 0.0,
    unsafe_inplace: bool = False,
) -> Stored:
    """Open a data set of an HDF5 file.

    Parameters
    ----------
    path, mode
        The file; ``mode`` is "r", or "r+" to change the data set.
    member
        The data set's name, "/group/name"; not needed if the file has only one.
    allow_external
        Whether values may come from other files: external links and storage, virtual data sets. What
        changes in those files is not noticed.
    durability
        "full": changes survive power loss; "process": the death of this process; None: as the setting says.
    timeout
        Seconds that a change waits for another writer.
    unsafe_inplace
        Whether changes are copied into the file instead of making it anew. They are whole after a kill
        all the same, once chunkarr opened the file; but who has it open then, with the HDF5 library, may
        see a mix, or find the file damaged.

    Raises
    ------
    FormatError
        If the file is not a whole HDF5 file, or has no such data set.
    UnsafeInputError
        If reading would open other files.
    UnsupportedError
        If type or compression of the data set are beyond chunkarr.

    Examples
    --------
    >>> import h5py, os, tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = os.path.join(directory, "a.h5")
    ...     with h5py.File(path, "w") as file:
    ...         file["scan/counts"] = np.arange(6, dtype=">u2").reshape(2, 3)
    ...     a = open(path, member="/scan/counts")
    ...     out = np.empty((2, 1), a.dtype)
    ...     a.read(((0, 2), (1, 2)), out, np.empty(1000, np.uint8))
    >>> a.shape, out.tolist()
    ((2, 3), [[1], [4]])
    """
    path = os.fspath(path)
    access = check_access(path, mode, durability, timeout)
    if access.mode == "r+":
        journal.tidy(journal.resolve(path))
    access = replace(access, inplace=bool(unsafe_inplace))
    return open_member(path, member, allow_external=allow_external, access=access)


def create(
    path: str,
    shape: Shape,
    dtype: Any,
    *,
    member: str = "/data",
    chunks: Shape | int | None = None,
    codec: str = "gzip:1",
    order: str = "C",
    overwrite: bool = False,
    durability: Durability = "full",
) -> Target:
    """Create an HDF5 file of one data set; it appears on ``commit``.

    Parameters
    ----------
    path, shape, dtype
        The file and what it will hold. Times and Unicode text become opaque bytes, tagged as h5py does.
    member
        The data set's name; groups on the way are made.
    chunks
        Elements per axis of a chunk, or one number for all axes; None: chunks of about 1 MiB, or none
        at all with ``codec="none"``.
    codec
        "gzip:0" to "gzip:9", "gzip" (as "gzip:1"), "lzf" or "none". Compressed values are shuffled first,
        and every chunk has a checksum (fletcher32).
    order
        "F" stores the axes reversed, so that the first one varies fastest, and notes it in an attribute;
        chunkarr restores them, other readers see the transposed array.
    overwrite
        Whether a file of that name may be replaced, all its data sets with it.
    durability
        "full": on the disk when ``commit`` returns; "process": safe against kill, not power loss.

    Raises
    ------
    TargetExistsError
        If the file exists and ``overwrite`` is False.
    UnsupportedError
        If HDF5 has no type for ``dtype``.
    GridError
        If ``chunks`` do not fit.

    Examples
    --------
    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = os.path.join(directory, "a.h5")
    ...     target = create(path, (4, 3), ">u2", chunks=(2, 3))
    ...     rows = ((0, 4), (0, 3))
    ...     target.write(rows, np.ones((4, 3), ">u2"), np.empty(target.scratch_bytes(rows), np.uint8))
    ...     target.commit()
    ...     members(path)
    [Member(name='/data', shape=(4, 3), dtype=dtype('>u2'), note='')]
    """
    path = os.fspath(path)
    kind = np.dtype(dtype)
    whole, order = check_shape(path, shape, kind, OptionError), check_order(order)
    if len(whole) > AXES:
        raise UnsupportedError(f"{path}: HDF5 has at most {AXES} axes, not {len(whole)}")
    if not any(part not in ("", ".") for part in member.split("/")) or member.endswith("/"):
        raise OptionError(f'{path}: member is a name such as "/data", not {member!r}')
    level = _level(codec)
    options: dict[str, Any] = {"member": member, "order": order, "overwrite": overwrite, "durability": durability}
    fitted = None if chunks is None else _check_chunks(path, whole, chunks)
    if not whole or 0 in whole or (fitted is None and codec == "none"):
        return ContiguousTarget(path, whole, kind, **options)
    fitted = fitted or default_chunks(whole, kind.itemsize)
    filters = [Filter("fletcher32")]
    if level is not None:
        filters.insert(0, Filter("deflate", level))
    if codec != "none" and kind.itemsize > 1:
        filters.insert(0, Filter("shuffle", kind.itemsize))
    return ChunkedTarget(path, whole, kind, chunks=fitted, filters=tuple(filters), lzf=codec == "lzf", **options)


def _level(codec: str) -> int | None:
    """Return the level of gzip, or None for another codec."""
    if codec in ("none", "lzf"):
        return None
    name, _, level = codec.partition(":")
    if name != "gzip" or level not in ("", *map(str, range(10))) or codec == "gzip:":
        raise OptionError(f'codec is "gzip", "gzip:0" to "gzip:9", "lzf" or "none", not {codec!r}')
    return int(level or 1)


def _check_chunks(path: str, shape: Shape, chunks: Shape | int) -> Shape:
    chunks = (chunks,) * len(shape) if isinstance(chunks, int) else chunks
    if len(chunks) != len(shape) or any(c < 1 for c in chunks):
        raise GridError(f"{path}: chunks {chunks} for shape {shape}: one integer >= 1 per axis is needed")
    return tuple(min(int(c), n) or 1 for c, n in zip(chunks, shape, strict=True))
