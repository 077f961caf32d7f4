"""A benchmark as data: what is read, what NumPy says, who does it, and how far ahead chunkarr must be.

A `Case` is one row of a table in a ``bench_*`` module. Its first contestant is the one that the case is
about; every other contestant is compared with it. A contestant is a function of the data and of an empty
directory for its output; it starts from paths, so opening counts. It returns an ndarray, a scalar, or the
`Path` of what it stored.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Case", "Contestant", "Data", "Oracle", "Rows", "check", "clear"]

CHECK_BYTES = 16 << 20  # bytes compared at a time


@dataclass(frozen=True)
class Data:
    """Where the inputs of one size lie."""

    root: Path
    size: int  # bytes that one input array has at least

    def path(self, name: str) -> str:
        """Return the path of the input ``name``."""
        return str(self.root / name)

    def load(self, name: str) -> np.ndarray[Any, Any]:
        """Return the npy input ``name`` as a read-only map."""
        array: np.ndarray[Any, Any] = np.load(self.root / name, mmap_mode="r")
        return array


@dataclass(frozen=True)
class Rows:
    """An answer too large to hold: computed or read for a slice of rows when it is compared.

    >>> Rows((4,), np.dtype(int), lambda rows: np.arange(4)[rows] * 10)[1:3]
    array([10, 20])
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    block: Callable[[slice], np.ndarray[Any, Any]]

    def __getitem__(self, key: slice, /) -> np.ndarray[Any, Any]:
        """Return the rows of ``key``."""
        return self.block(key)


Oracle = np.ndarray[Any, Any] | Rows  # NumPy's answer
Run = Callable[[Data, Path], object]


@dataclass(frozen=True)
class Contestant:
    """One way to do the work of a case."""

    name: str
    run: Run
    requires: tuple[str, ...] = ()  # modules besides NumPy; the contestant is skipped where one is missing
    target: float | None = None  # its time divided by that of the case's first contestant: at least this
    share: float = 1.0  # part of the work it does; its time is divided by it (extrapolated), its answer not checked
    head: bool = False  # whether that part is the first rows, so that its answer is checked nevertheless
    reads: Callable[[int], int] | None = None  # size -> bytes that it may read at most, by calls of the system
    limit: int | None = None  # bytes of anonymous memory it may add at most
    prepare: Run | None = None  # puts what the work changes into the directory, before each run; not timed
    finish: Callable[[Any], object] | None = None  # brings its answer into the form of NumPy's; not timed

    def begin(self, data: Data, place: Path) -> None:
        """Leave ``place`` as a run finds it."""
        clear(place)
        if self.prepare is not None:
            self.prepare(data, place)

    def finished(self, answer: object) -> object:
        """Return ``answer`` in the form in which it is compared with NumPy's."""
        return answer if self.finish is None else self.finish(answer)

    def verify(self, answer: object, expected: Oracle, rtol: float) -> None:
        """Compare ``answer`` with NumPy's, as far as it goes; see `check`."""
        if self.share == 1:
            check(self.finished(answer), expected, rtol)
        elif self.head:
            found = self.finished(answer)
            found = np.asarray(_stored(found) if isinstance(found, Path) else found)
            if not len(found):
                raise AssertionError("got no rows")
            check(found, np.asarray(expected[: len(found)]), rtol)

    def missing(self) -> list[str]:
        """Return the modules that it needs and that are not installed."""
        return [name for name in self.requires if find_spec(name) is None]


@dataclass(frozen=True)
class Case:
    """One piece of work."""

    name: str
    work: str  # as the table shows it
    inputs: tuple[str, ...]  # names in `bench.data.DATASETS`
    moved: Callable[[int], int]  # size -> bytes read and written, uncompressed
    expected: Callable[[Data], Oracle]
    contestants: tuple[Contestant, ...]
    rtol: float = 0.0  # 0: equal to NumPy's to the bit

    def contestant(self, name: str) -> Contestant:
        """Return the contestant called ``name``."""
        return next(c for c in self.contestants if c.name == name)


def check(result: object, expected: Oracle, rtol: float) -> None:
    """Compare a contestant's answer with NumPy's, some rows at a time, or columns where chunks are columns.

    Raises
    ------
    AssertionError
        If shape, dtype or values differ.

    Examples
    --------
    >>> check(np.float64(3), np.asarray(3.0), 0)
    """
    found = _stored(result) if isinstance(result, Path) else result if isinstance(result, Rows) else np.asarray(result)
    if tuple(found.shape) != expected.shape or found.dtype != expected.dtype:
        raise AssertionError(f"got {found.dtype} {found.shape}, NumPy gives {expected.dtype} {expected.shape}")
    chunks = getattr(found, "chunks", None)
    axis = 0
    if chunks and isinstance(expected, np.ndarray):  # along which there are most chunks: each is decoded once
        axis = max(range(expected.ndim), key=lambda k: expected.shape[k] / max(1, chunks[k]))
    for part in _slices(expected.shape, expected.dtype.itemsize, axis):
        if rtol:
            np.testing.assert_allclose(found[part], expected[part], rtol=rtol, atol=0)
        else:
            np.testing.assert_array_equal(found[part], expected[part])


def _slices(shape: Sequence[int], itemsize: int, axis: int) -> list[Any]:
    if not shape:
        return [()]
    step = max(1, CHECK_BYTES // max(1, math.prod(shape) // max(1, shape[axis]) * itemsize))
    ranges = [slice(start, min(start + step, shape[axis])) for start in range(0, shape[axis], step)]
    return ranges if axis == 0 else [(slice(None),) * axis + (r,) for r in ranges]


def _stored(path: Path) -> Any:
    """Open what a contestant stored, with the reference reader of its format."""
    if path.suffix == ".npy":
        return np.load(path, mmap_mode="r")
    if path.suffix == ".zarr":
        import zarr

        return zarr.open_array(path, mode="r")
    import blosc2  # type: ignore[import-untyped]

    return blosc2.open(str(path), mode="r")


def clear(directory: Path) -> None:
    """Leave an empty directory at ``directory``."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
