"""NumPy's functions between text and arrays, of any size."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.array import Array, as_node, wrap
from chunkarr.array.saving import Job
from chunkarr.errors import OptionError, UnsupportedError
from chunkarr.formats.table import open_stored
from chunkarr.ops.layout import reshape, take_basic
from chunkarr.ops.sources import load
from chunkarr.selection import Stride

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chunkarr.array.saving import Path
    from chunkarr.progress import Reporter

__all__ = ["fromregex", "loadtxt", "savetxt"]


def savetxt(
    fname: Path,
    X: Any,
    fmt: str | Sequence[str] | None = "%.18e",
    delimiter: str = " ",
    newline: str = "\n",
    header: str = "",
    footer: str = "",
    comments: str = "# ",
    encoding: str | None = None,
    *,
    overwrite: bool = False,
    durability: str | None = None,
    progress: bool | Reporter | None = None,
) -> None:
    """Write an array of one or two axes as text, block by block, as :func:`numpy.savetxt` does, to the byte.

    Parameters
    ----------
    fname : str or path
        Compressed where it ends in ``.gz``, ``.bz2`` or ``.xz``.
    X : array_like
        Of any size; a structured one has one axis.
    fmt : str or sequence of str, optional
        None: for each number the shortest text that is read as the same number, which is the fastest, too.
    delimiter, newline, header, footer, comments, encoding
        As NumPy has them.
    overwrite : bool
        Replace what is there; otherwise TargetExistsError.
    durability, progress
        As in `save`.

    Examples
    --------
    >>> import tempfile, chunkarr as ca
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as d:
    ...     ca.savetxt(d + "/x.csv", ca.arange(6).reshape(2, 3) / 4, fmt=None, delimiter=",")
    ...     print(Path(d, "x.csv").read_text())
    0.0,0.25,0.5
    0.75,1.0,1.25
    <BLANKLINE>
    """
    node = as_node(X)
    if node.ndim not in (1, 2):
        raise ValueError(f"Expected 1D or 2D array, got {node.ndim}D array instead")
    options = {
        "fmt": fmt, "delimiter": delimiter, "newline": newline, "header_text": header, "footer_text": footer,
        "comments": comments, "encoding": encoding or "utf-8",
    }  # fmt: skip
    job = Job(node, os.fspath(fname), "text", options, overwrite=overwrite, durability=durability)
    job.run(progress, resume=False, keep=False)


def loadtxt(
    fname: Path,
    dtype: Any = float,
    comments: str | None = "#",
    delimiter: str | None = None,
    converters: None = None,
    skiprows: int = 0,
    usecols: int | Sequence[int] | None = None,
    unpack: bool = False,
    ndmin: int = 0,
    encoding: str | None = None,
    max_rows: int | None = None,
    *,
    quotechar: str | None = None,
) -> Array:
    r"""Return the array in a text as :func:`numpy.loadtxt` does, lazily; `open` guesses what is given here.

    Parameters
    ----------
    fname : str or path
        A file, compressed or not; "-" is standard input.
    dtype, comments, delimiter, skiprows, usecols, unpack, ndmin, encoding, max_rows, quotechar
        As NumPy has them; ``comments`` is one string. Fields without a value are NaN, where NumPy raises.
    converters
        None.

    Returns
    -------
    Array
        The text is read once to find its rows, and again where its values are asked for.

    Raises
    ------
    TextError
        Naming file, line and column of what is no number.

    Examples
    --------
    >>> import tempfile, chunkarr as ca
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as d:
    ...     _ = Path(d, "x.txt").write_text("1 2\n3 4\n")
    ...     print(ca.loadtxt(d + "/x.txt").sum(axis=0))
    [4. 6.]
    """
    if converters is not None:
        raise UnsupportedError("loadtxt: converters are not supported; convert the loaded array")
    if ndmin not in (0, 1, 2):
        raise OptionError(f"ndmin is 0, 1 or 2, not {ndmin!r}")
    stored = open_stored(
        os.fspath(fname), "r", "text", dtype=dtype, comments=comments or "", delimiter=delimiter or "whitespace",
        skiprows=skiprows, usecols=usecols, encoding=encoding, header=False, quote=quotechar or "",
    )  # fmt: skip
    node = load(stored)
    if max_rows is not None and max_rows < node.shape[0]:
        node = take_basic(node, (Stride(0, 1, max_rows), *[Stride(0, 1, n) for n in node.shape[1:]]))
    shape = node.shape
    if stored.dtype.names is None:
        wide = shape if len(shape) == 2 else (shape[0], 1)
        shape = wide if ndmin == 2 else tuple(n for n in wide if n != 1)
        shape = shape or (() if ndmin == 0 else (1,))
    elif ndmin == 0 and shape == (1,):
        shape = ()
    node = reshape(node, shape) if shape != node.shape else node
    return wrap(node).T if unpack and node.ndim == 2 else wrap(node)


def fromregex(file: Path, regexp: Any, dtype: Any, encoding: str | None = None) -> Array:
    r"""Return an array of what the groups of a regular expression match in a text, as :func:`numpy.fromregex`, lazily.

    Parameters
    ----------
    file : str or path
        The text; a match lies within a line.
    regexp : str or compiled expression
        Each match becomes an element, each group a field of it.
    dtype : dtype_like
        A structured one.
    encoding : str, optional
        Of the text.

    Examples
    --------
    >>> import tempfile, chunkarr as ca
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as d:
    ...     _ = Path(d, "x.log").write_text("run 12 took 1.5 s\nrun 13 took 2 s\n")
    ...     print(ca.fromregex(d + "/x.log", r"run (\d+) took (\S+)", [("run", int), ("s", float)]))
    [(12, 1.5) (13, 2. )]
    """
    kind = np.dtype(dtype)
    if kind.names is None:
        raise TypeError("dtype must be a structured datatype")
    pattern = getattr(regexp, "pattern", regexp)
    text = pattern.decode() if isinstance(pattern, bytes) else str(pattern)
    stored = open_stored(os.fspath(file), "r", "text", regexp=text, dtype=kind, encoding=encoding)
    return wrap(load(stored))
