"""NumPy's functions between files, buffers, iterators and arrays, of any size."""

from __future__ import annotations

import operator
import os
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr import engine
from chunkarr.array import Array, as_node, implements, wrap
from chunkarr.errors import OptionError, UnsafeInputError, UnsupportedError
from chunkarr.formats.scratch import ScratchArray
from chunkarr.io import asarray
from chunkarr.io import open as open_array
from chunkarr.ops.layout import concatenate, take_basic
from chunkarr.ops.sources import load
from chunkarr.selection import Stride
from chunkarr.settings import budget, scratch_directory
from chunkarr.settings import durability as default_durability

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from chunkarr.array.saving import Path
    from chunkarr.graph import Node
    from chunkarr.progress import Reporter

__all__ = ["frombuffer", "fromfile", "fromiter", "savez", "savez_compressed"]

TILE = 1 << 20  # bytes of a tile of what came from an iterator
MEMORY = 4 << 20  # bytes up to which it stays in memory
SPOOL = 1 << 30  # bytes of a scratch file at most


# --- npz -----------------------------------------------------------------------------------------


def savez(
    file: Path,
    *args: Any,
    overwrite: bool = False,
    durability: str | None = None,
    progress: bool | Reporter | None = None,
    **kwds: Any,
) -> None:
    """Write several arrays to one npz file, block by block; it appears whole or not at all.

    Parameters
    ----------
    file : str or path
        ``.npz`` is appended if it does not end so.
    *args, **kwds : array_like
        The arrays, of any size; those without a name are called arr_0, arr_1, ... They may depend on what is at
        ``file``.
    overwrite : bool
        Replace what is there; otherwise TargetExistsError.
    durability, progress
        As of `save`.

    Examples
    --------
    >>> import tempfile, numpy as np, chunkarr as ca
    >>> with tempfile.TemporaryDirectory() as d:
    ...     ca.savez(d + "/x.npz", ca.arange(3), squares=ca.arange(3) ** 2)
    ...     with np.load(d + "/x.npz") as loaded:
    ...         print(loaded["arr_0"], loaded["squares"], ca.open(d + "/x.npz::squares").max())
    [0 1 2] [0 1 4] 4
    """
    _save_all(file, args, kwds, False, overwrite, durability, progress)


def savez_compressed(
    file: Path,
    *args: Any,
    overwrite: bool = False,
    durability: str | None = None,
    progress: bool | Reporter | None = None,
    **kwds: Any,
) -> None:
    """Write several arrays to one npz file as `savez` does, deflated by all workers.

    Examples
    --------
    >>> import tempfile, numpy as np, chunkarr as ca
    >>> with tempfile.TemporaryDirectory() as d:
    ...     ca.savez_compressed(d + "/x", zeros=ca.zeros((1000, 1000)))
    ...     print(np.load(d + "/x.npz")["zeros"].shape)
    (1000, 1000)
    """
    _save_all(file, args, kwds, True, overwrite, durability, progress)


def _save_all(
    file: Path,
    args: tuple[Any, ...],
    kwds: dict[str, Any],
    compressed: bool,
    overwrite: bool,
    durability: str | None,
    progress: bool | Reporter | None,
) -> None:
    from chunkarr.formats.npy import header_bytes  # not at start-up
    from chunkarr.formats.npz_target import LEVEL, NpzFile

    name = os.fspath(file)
    if not isinstance(name, str):
        raise TypeError(f"savez: file is a path, not {type(file).__name__}")
    path = name if name.endswith(".npz") else f"{name}.npz"
    given = {f"arr_{k}": value for k, value in enumerate(args)}
    for both in given.keys() & kwds.keys():
        raise ValueError(f"Cannot use un-named variables and keyword {both}")
    nodes = {key: as_node(value) for key, value in (given | kwds).items()}
    for key, node in nodes.items():
        if node.dtype.hasobject:
            raise UnsafeInputError(f"{path}::{key}: dtype {node.dtype} holds Python objects; chunkarr never pickles")
        header_bytes(node.shape, node.dtype)
    how: Any = default_durability() if durability is None else durability
    if how not in {"full", "process"}:
        raise OptionError(f'durability is "full" or "process", not {durability!r}')
    level = LEVEL if compressed else 0
    container = NpzFile(path, overwrite=overwrite, durability=how)
    try:
        for key, node in nodes.items():
            engine.store(node, container.member(key, node.shape, node.dtype, level=level), progress=progress)
        engine.check_fresh(list(nodes.values()))
        container.commit()
    except BaseException:
        container.abort()
        raise


def _numpys(*, compressed: bool) -> Any:
    """Return what NumPy's function does with an Array: it replaces the file without being asked."""

    def save_all(file: Any, *args: Any, allow_pickle: bool = True, **kwds: Any) -> None:
        del allow_pickle  # nothing is pickled
        _save_all(file, args, kwds, compressed, True, None, None)

    return save_all


implements(np.savez)(_numpys(compressed=False))
implements(np.savez_compressed)(_numpys(compressed=True))


# --- from bytes ------------------------------------------------------------------------------------


def fromfile(file: Any, dtype: Any = float, count: int = -1, sep: str = "", offset: int = 0) -> Array:
    """Open the elements that lie in a binary file one after another; nothing is read.

    Parameters
    ----------
    file : str, path or open file
        An open file is read from where it stands, and then stands behind the elements.
    dtype : dtype
        Of an element.
    count : int
        How many; -1 for all. There may be fewer, and a part of an element at the end is left out, as NumPy does;
        ``ca.open(file, dtype=...)`` refuses both.
    sep : str
        Text is not read here: ``ca.open(file, format="text")`` does that.
    offset : int
        Bytes before the first element.

    Examples
    --------
    >>> import tempfile, numpy as np, chunkarr as ca
    >>> with tempfile.TemporaryDirectory() as d:
    ...     np.arange(5, dtype=">i2").tofile(d + "/x.dat")
    ...     print(ca.fromfile(d + "/x.dat", ">i2", offset=2).compute())
    [1 2 3 4]
    """
    if sep:
        raise UnsupportedError('fromfile: text (sep) is read by chunkarr.open(file, format="text")')
    kind, many, skipped = np.dtype(dtype), operator.index(count), operator.index(offset)
    base, inner = kind.subdtype or (kind, ())
    stream = file if hasattr(file, "fileno") else None
    path = os.fspath(file if stream is None else stream.name)
    begin = skipped + (0 if stream is None else stream.tell())
    if base.hasobject:
        raise UnsafeInputError(f"{path}: dtype {base} holds Python objects; chunkarr never unpickles")
    if begin < 0 or not kind.itemsize:
        raise ValueError(f"fromfile: offset {offset} and dtype {dtype}: bytes from 0 on, elements of at least one")
    there = max(0, os.stat(path).st_size - begin) // kind.itemsize
    n = there if many < 0 else min(many, there)
    if stream is not None:
        stream.seek(begin + n * kind.itemsize)
    if not n:
        return asarray(np.empty((0, *inner), base))
    return open_array(path, format="raw", dtype=base, shape=(n, *inner), offset=begin)


def frombuffer(buffer: Any, dtype: Any = float, count: int = -1, offset: int = 0) -> Array:
    """Return what a buffer in memory holds as an Array; more than 64 KiB are not copied but seen read-only.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.frombuffer(b"abcdef", "S2").tolist()
    [b'ab', b'cd', b'ef']
    """
    return asarray(np.frombuffer(buffer, dtype, count, offset))


def fromiter(iter: Iterable[Any], dtype: Any, count: int = -1) -> Array:  # noqa: A002 - NumPy's name
    """Return the items of an iterator as an Array; more than 4 MiB go to a scratch file, piece by piece.

    Parameters
    ----------
    iter : iterable
        Of numbers, text or tuples, as many as there are.
    dtype : dtype
        Of an element; not Python objects.
    count : int
        How many to take; -1 for all.

    Raises
    ------
    ValueError
        If there are fewer than ``count``.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.fromiter((k * k for k in range(5)), int).sum().compute()
    array(30)
    """
    kind, many = np.dtype(dtype), operator.index(count)
    if kind.hasobject or not kind.itemsize:
        raise UnsupportedError(f"fromiter: dtype {kind} has no fixed number of bytes; give one that has")
    items = islice(iter, many) if many >= 0 else chain(iter)
    parts, total = [], 0
    for piece in _pieces(items, kind, min(MEMORY, budget() // 16)):
        parts.append(piece)
        total += piece.shape[0]
    if total < many:
        raise ValueError(f"iterator too short: Expected {many} but iterator had only {total} items.")
    return wrap(parts[0] if len(parts) == 1 else concatenate(parts, 0))


def _pieces(items: Iterator[Any], kind: np.dtype[Any], limit: int) -> Iterator[Node]:
    """Yield nodes of the items: one in memory if they take less than ``limit`` bytes, else scratch arrays."""
    step = max(1, limit // kind.itemsize)
    piece = np.fromiter(islice(items, step), kind)
    if len(piece) < step:
        yield as_node(piece)
        return
    capacity = 8 * step
    while len(piece):
        shape = (capacity, *piece.shape[1:])
        tile = (max(1, TILE // kind.itemsize), *piece.shape[1:])
        spool, done = ScratchArray(scratch_directory(), shape, piece.dtype, tile), 0
        room = np.empty(spool.scratch_bytes(tuple((0, n) for n in piece.shape)), np.uint8)
        while len(piece) and done < capacity:
            spool.write(((done, done + len(piece)), *((0, n) for n in piece.shape[1:])), piece, room)
            done += len(piece)
            piece = np.fromiter(islice(items, step), kind)
        yield take_basic(load(spool), (Stride(0, 1, done), *(Stride(0, 1, n) for n in piece.shape[1:])))
        capacity = min(2 * capacity, max(step, SPOOL // kind.itemsize))
