"""Open, create, save: between files and Arrays."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr import engine
from chunkarr.array import Array, as_node, wrap
from chunkarr.errors import GridError
from chunkarr.formats.table import create_target, open_stored
from chunkarr.graph import Node
from chunkarr.grid import Grid
from chunkarr.ops.sources import load as load_node
from chunkarr.settings import durability as default_durability

if TYPE_CHECKING:
    from chunkarr.progress import Reporter

__all__ = ["asarray", "compute", "load", "open", "save"]

Path = str | os.PathLike[str]


def open(path: Path, mode: str = "r", *, format: str | None = None, **options: Any) -> Array:  # noqa: A001, A002, ANN401
    """Open the array at ``path``; nothing is read but what describes it.

    Parameters
    ----------
    path : str or path
        A file or directory; a member as ``file.h5::/group/x``.
    mode : "r"
        Read only.
    format : str, optional
        "npy", "raw", "zarr" or "hdf5"; otherwise the content says it, then the suffix.
    **options
        What the format takes: raw needs ``dtype``, and takes ``shape`` (one -1), ``offset``, ``order``.

    Returns
    -------
    Array
        Of the stored shape and dtype, byte order kept.

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
    ...     print(ca.open(d + "/x.npy")[1].sum())
    12
    """
    return wrap(load_node(open_stored(os.fspath(path), mode, format, **options)))


def load(path: Path, *, format: str | None = None, **options: Any) -> np.ndarray[Any, Any]:  # noqa: A002, ANN401
    """Return the whole array at ``path`` as an ndarray, if it fits the memory budget.

    Raises
    ------
    MemoryBudgetError
        If it does not; `open` it and work on it in place.
    """
    return open(path, format=format, **options).compute()


def save(  # noqa: PLR0913 - keyword only
    path: Path, array: Any, *, format: str | None = None, overwrite: bool = False, durability: str | None = None,  # noqa: A002, ANN401
    progress: bool | Reporter | None = None, **options: Any,  # noqa: ANN401
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
    **options
        What the format takes: zarr ``chunks``, ``shards``, ``codec``; hdf5 ``chunks``, ``codec``; npy ``order``.

    Returns
    -------
    Array
        The saved array, opened.

    Examples
    --------
    >>> import tempfile, chunkarr as ca
    >>> with tempfile.TemporaryDirectory() as d:
    ...     b = ca.save(d + "/x.zarr", ca.arange(10) ** 2)
    ...     print(b[-1], b.format)
    81 zarr
    """
    node = as_node(array)
    name = os.fspath(path)
    how = default_durability() if durability is None else durability
    target = create_target(
        name, node.shape, node.dtype, format, overwrite=overwrite, durability=how,  # type: ignore[arg-type]
        **{k: v for k, v in options.items() if v is not None},
    )
    engine.store(node, target, progress=progress)
    raw = {"dtype": node.dtype, "shape": node.shape, "order": options.get("order") or "C"}
    opened = open_stored(name, "r", format) if not _is_raw(target) else open_stored(name, "r", "raw", **raw)
    return wrap(load_node(opened))


def _is_raw(target: Any) -> bool:  # noqa: ANN401
    return getattr(target, "format", "") == "raw"


def asarray(values: Any, chunks: int | tuple[int, ...] | None = None) -> Array:  # noqa: ANN401
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
    steps = (chunks,) * node.ndim if isinstance(chunks, int) else tuple(chunks)
    if len(steps) != node.ndim or any(s < 1 for s in steps):
        raise GridError(f"chunks {chunks} do not fit shape {node.shape}: one size of 1 or more per axis")
    return wrap(Node(node.op, node.inputs, Grid(node.shape, steps)))


def compute(*arrays: Any, progress: bool | Reporter | None = None) -> tuple[np.ndarray[Any, Any], ...]:  # noqa: ANN401
    """Return the values of several arrays, computed together: what they share is read once.

    Examples
    --------
    >>> import chunkarr as ca
    >>> a = ca.arange(5)
    >>> [int(x) for x in ca.compute(a.min(), a.max(), a.sum())]
    [0, 4, 10]
    """
    return tuple(engine.compute([as_node(a) for a in arrays], progress=progress))


