"""What a job reads: files, patterns and folders in the order that people expect, as one array."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from chunkarr import io
from chunkarr.array import Array
from chunkarr.errors import FormatError, OptionError
from chunkarr.formats.table import identify, split_member
from chunkarr.functions import joining

__all__ = ["Path", "Sources", "expand", "gather", "natural"]

Path = str | os.PathLike[str]
Sources = Path | Sequence[Path]

SHOWN = 5  # kinds of files that an error names


def natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts names as people do: numbers in them by their value.

    Examples
    --------
    >>> sorted(["run10.npy", "run9.npy", "Run1.npy"], key=natural)
    ['Run1.npy', 'run9.npy', 'run10.npy']
    """
    return [(int(part), "") if part.isdecimal() else (-1, part.casefold()) for part in re.split(r"(\d+)", name)]


def expand(sources: Sources) -> list[str]:
    """Return the files that ``sources`` name, each with its ``::member``.

    A file stands for itself; a pattern (``*``, ``?``, ``[...]``, ``**``) for what it matches, a folder that is no
    array for the files in it: these in natural order, ``f9`` before ``f10``. What is named explicitly keeps its order.

    Raises
    ------
    FileNotFoundError
        If a pattern matches nothing.
    FormatError
        If a folder holds nothing, or files of several kinds.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for i in (10, 9):
    ...         np.save(f"{folder}/f{i}.npy", i)
    ...     [os.path.basename(path) for path in expand(folder + "/*.npy")]
    ['f9.npy', 'f10.npy']
    """
    names: Iterable[Path] = [sources] if isinstance(sources, str | os.PathLike) else sources
    found: list[str] = []
    for name in names:
        file, member = split_member(os.fspath(name))
        files = [file] if "://" in file or file == "-" else _files(file)
        found += [f"{f}::{member}" for f in files] if member is not None else files
    if not found:
        raise OptionError("no sources were given; name at least one file, pattern or folder")
    return found


def _files(path: str) -> list[str]:
    if not os.path.exists(path) and glob.has_magic(path):
        matches = sorted(glob.glob(path, recursive=True), key=natural)
        if not matches:
            raise FileNotFoundError(2, "no file matches this pattern", path)
        return matches
    if os.path.isdir(path) and not _is_array(path):
        return _inside(path)
    return [path]


def _is_array(path: str) -> bool:
    try:
        return identify(path).directory
    except FormatError:
        return False


def _inside(folder: str) -> list[str]:
    """Return the files of a folder, which must be of one kind."""
    names = sorted((n for n in os.listdir(folder) if not n.startswith(".")), key=natural)
    paths = [os.path.join(folder, name) for name in names]
    files = [path for path in paths if not os.path.isdir(path) or _is_array(path)]
    kinds = Counter(os.path.splitext(path)[1].lower() or "no suffix" for path in files)
    if len(kinds) != 1:
        listed = ", ".join(f"{count} of {kind}" for kind, count in kinds.most_common(SHOWN)) or "no files"
        raise FormatError(f"{folder}: is a folder with {listed}; name the files with a pattern, as {folder}/*.npy")
    return files


def gather(
    sources: Sources,
    *,
    stack: int | None = None,
    concat: int | None = None,
    format: str | None = None,  # noqa: A002 - the word of chunkarr.open
    options: Mapping[str, Any] | None = None,
) -> tuple[Array, list[str]]:
    """Open what ``sources`` name as one array, and return it with the names.

    Parameters
    ----------
    sources
        As `expand` takes them.
    stack, concat : int, optional
        The axis along which several are joined: a new one, or one that they have. One of them, for several sources.
    format, options
        Of each source, as `chunkarr.open` takes them.

    Raises
    ------
    OptionError
        If several sources are to be one array, and nothing says how.
    FormatError
        If their shapes do not fit; names the first two that differ.
    """
    names = expand(sources)
    if stack is not None and concat is not None:
        raise OptionError(f"stack={stack} makes a new axis, concat={concat} uses one that is there: give one of them")
    if len(names) > 1 and stack is None and concat is None:
        raise OptionError(
            f"{len(names)} sources, from {names[0]} to {names[-1]}, are to be one array: give stack=0 for a new first "
            "axis, or concat=0 for one after another along the first axis"
        )
    arrays = [_open(name, format, options or {}) for name in names]
    if stack is None and concat is None:
        return arrays[0], names
    return _join(arrays, names, stack, concat), names


def _open(name: str, format: str | None, options: Mapping[str, Any]) -> Array:  # noqa: A002 - the user's word
    try:
        return io.open(name, format=format, **options)
    except OptionError as error:
        if name not in str(error):
            error.add_note(f"the source is {name}")
        raise


def _join(arrays: list[Array], names: list[str], new: int | None, along: int | None) -> Array:
    ndim = arrays[0].ndim + (new is not None)
    axis = new if new is not None else along
    word = "concat" if new is None else "stack"
    assert axis is not None, "the caller knows one of them"
    if not -ndim <= axis < ndim:
        has = f"{names[0]} has {arrays[0].ndim} axes"
        raise OptionError(f"{word} along axis {axis}: {has}, so it lies in {-ndim} ... {ndim - 1}")
    at = axis % ndim
    fixed = [a.shape if new is not None else (*a.shape[:at], *a.shape[at + 1 :]) for a in arrays]
    for name, array, rest in zip(names, arrays, fixed, strict=True):
        if array.ndim != arrays[0].ndim or rest != fixed[0]:
            but = "" if new is not None else f" but for axis {at}"
            both = f"{name}: has shape {array.shape}, and {names[0]} {arrays[0].shape}"
            raise FormatError(f"{both}; {word}={axis} needs equal shapes{but}")
    join = joining.concatenate if new is None else joining.stack
    kinds = {a.dtype for a in arrays}
    return join(arrays, at, dtype=kinds.pop() if len(kinds) == 1 else None)  # NumPy alone would make it native
