"""Open, create, save: between files and Arrays."""

from __future__ import annotations

import operator
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr import engine
from chunkarr.array import Array, as_node, wrap
from chunkarr.array.expression import evaluate
from chunkarr.array.saving import Path, write
from chunkarr.errors import UnsupportedError
from chunkarr.formats.table import create_target, format_of_new, identify, open_stored, reopening, split_member
from chunkarr.ops.sources import full
from chunkarr.ops.sources import load as load_node
from chunkarr.settings import durability as default_durability

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chunkarr.progress import Reporter

__all__ = ["asarray", "compute", "create", "load", "open", "save"]


def open(path: Path, mode: str = "r", *, format: str | None = None, **options: Any) -> Array:  # noqa: A001, A002
    """Open the array at ``path``; nothing is read but what describes it.

    Parameters
    ----------
    path : str or path
        A file or directory; a member as ``file.h5::/group/x``.
    mode : "r" or "r+"
        For reading, or to be changed too: what is assigned to the array or a view of it is on disk when the
        statement returns, whole or not at all.
    format : str, optional
        "npy", "raw", "zarr" or "hdf5"; otherwise the content says it, then the suffix.
    **options
        What the format takes: raw needs ``dtype``, and takes ``shape`` (one -1), ``offset``, ``order``. With
        "r+" ``durability`` ("full": a change survives power loss when it returns; "process": the death of this
        process; the setting of that name says which by default) and ``timeout``, the seconds that a change waits
        for another writer before it raises ArrayLockedError; 0 by default.

    Returns
    -------
    Array
        Of the stored shape and dtype, byte order kept. It and its views always show the array as it is now;
        expressions made of it belong to the array as it was, and raise StaleExpressionError after a change.

    Raises
    ------
    FormatError
        If the file is not a whole file of its format; names the file and the reason.
    UnsafeInputError
        If reading it would run code or open other files.
    OptionError
        If the format does not take an option.

    Examples
    --------
    >>> import tempfile, numpy as np, chunkarr as ca
    >>> with tempfile.TemporaryDirectory() as d:
    ...     np.save(d + "/x.npy", np.arange(6).reshape(2, 3))
    ...     a = ca.open(d + "/x.npy", "r+")
    ...     a[:, 0] *= 10
    ...     print(a[1].sum(), np.load(d + "/x.npy")[1])
    39 [30  4  5]
    """
    return wrap(load_node(open_stored(os.fspath(path), mode, format, **options)))


def create(
    path: Path,
    shape: int | Sequence[int],
    dtype: Any = np.float64,
    *,
    fill_value: Any = 0,
    format: str | None = None,  # noqa: A002 - the field's name
    overwrite: bool = False,
    durability: str | None = None,
    **options: Any,
) -> Array:
    """Make a new array in which every element is ``fill_value``, and open it to be changed.

    Parameters
    ----------
    path : str or path
        Its suffix gives the format: ``.npy``, ``.raw``, ``.zarr``, ``.h5``.
    shape, dtype
        Of the array.
    fill_value
        Zarr keeps that of numbers in its metadata, zeros take no writing in any format; others are written.
    format : str, optional
        Instead of the suffix.
    overwrite : bool
        Replace what is there; otherwise TargetExistsError.
    durability : "full" or "process", optional
        As of `save`, and of the changes that are made through the returned array.
    **options
        What the format takes, as in `save`.

    Returns
    -------
    Array
        The new array, opened "r+".

    Examples
    --------
    >>> import tempfile, chunkarr as ca
    >>> with tempfile.TemporaryDirectory() as d:
    ...     a = ca.create(d + "/x.zarr", (3, 4), "i2")
    ...     a[1] = 7
    ...     print(a.sum(), ca.open(d + "/x.zarr").sum())
    28 28
    """
    name, kind = os.fspath(path), np.dtype(dtype)
    extent = (operator.index(shape),) if np.ndim(shape) == 0 else tuple(map(operator.index, shape))  # type: ignore[arg-type]
    value = np.zeros((), kind)
    value[()] = fill_value
    row = format_of_new(name, format)
    if row is not None and "durability" not in row.open_options:  # which says how changes are made
        raise UnsupportedError(f"{name}: {row.name} arrays cannot be changed once they are written; save a whole array")
    empty = not any(value.tobytes())
    known = row is not None and "fill_value" in row.create_options and kind.kind in "biufc"
    if known and not empty:
        options["fill_value"] = value[()]
    how: Any = default_durability() if durability is None else durability
    target = create_target(name, extent, kind, format, overwrite=overwrite, durability=how, **options)
    if not empty and not known:
        engine.store(full(extent, value, kind), target)
    else:
        try:
            target.blank()
            target.commit()
        except BaseException:
            target.abort()
            raise
    given: dict[str, Any] = {"durability": durability}
    given |= reopening(identify(split_member(name)[0], format), extent, kind, options)
    return open(name, "r+", format=format, **given)


def load(path: Path, *, format: str | None = None, **options: Any) -> np.ndarray[Any, Any]:  # noqa: A002
    """Return the whole array at ``path`` as an ndarray, if it fits the memory budget.

    Raises
    ------
    MemoryBudgetError
        If it does not; `open` it and work on it in place.
    """
    return open(path, format=format, **options).compute()


def save(
    path: Path,
    array: Any,
    *,
    format: str | None = None,  # noqa: A002 - the field's name
    overwrite: bool = False,
    durability: str | None = None,
    progress: bool | Reporter | None = None,
    resume: bool = False,
    **options: Any,
) -> Array:
    """Write ``array`` to ``path``, block by block; it appears there whole or not at all.

    Parameters
    ----------
    path : str or path
        Its suffix gives the format: ``.npy``, ``.raw``, ``.zarr``, ``.h5``.
    array : array_like
        An Array of any size, or anything NumPy makes an array of. It may depend on what is at ``path``.
    format : str, optional
        Instead of the suffix.
    overwrite : bool
        Replace what is there; otherwise TargetExistsError.
    durability : "full" or "process", optional
        Survive power loss (default), or only the death of this process.
    progress : bool or reporter, optional
        Show progress on stderr.
    resume : bool
        Go on with what an earlier run that did the same left unfinished, and leave what this one does if it
        fails. Zarr, npy and raw; HDF5 starts over. The result is that of an undisturbed run, bit for bit.
    **options
        What the format takes: zarr ``chunks``, ``shards``, ``codec``; hdf5 ``chunks``, ``codec``; npy ``order``.

    Returns
    -------
    Array
        The saved array, opened.

    Raises
    ------
    ResumeMismatchError
        With ``resume``, if what was left was made of another source or expression, or for another layout.
    UnsupportedError
        With ``resume``, if the expression holds something that a later run cannot recognise.

    Examples
    --------
    >>> import tempfile, chunkarr as ca
    >>> with tempfile.TemporaryDirectory() as d:
    ...     b = ca.save(d + "/x.zarr", ca.arange(10) ** 2)
    ...     print(b[-1], b.format)
    81 zarr
    """
    node = write(
        as_node(array), path, format=format, overwrite=overwrite, durability=durability, progress=progress,
        resume=resume, **options,
    )  # fmt: skip
    return wrap(node)


def asarray(values: Any, chunks: int | tuple[int, ...] | None = None) -> Array:
    """Return ``values`` as an Array; an ndarray over 64 KiB is not copied but seen read-only.

    Parameters
    ----------
    values : array_like
        An Array is returned as it is.
    chunks : int or tuple of int, optional
        The boxes in which it is worked on, per axis or for all.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.asarray([[1, 2], [3, 4]], chunks=1).chunks
    (1, 1)
    """
    if isinstance(values, Array) and chunks is None:
        return values
    node = as_node(values)
    if chunks is None:
        return wrap(node)
    return wrap(node).rechunk(chunks)


def compute(*arrays: Any, progress: bool | Reporter | None = None) -> tuple[np.ndarray[Any, Any], ...]:
    """Return the values of several arrays, computed together: what they share is read once.

    Examples
    --------
    >>> import chunkarr as ca
    >>> a = ca.arange(5)
    >>> [int(x) for x in ca.compute(a.min(), a.max(), a.sum())]
    [0, 4, 10]
    """
    return tuple(evaluate([wrap(as_node(a)) for a in arrays], progress=progress))
