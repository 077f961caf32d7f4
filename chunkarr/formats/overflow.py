"""A temporary array that begins in memory, as far as there is room, and goes on in scratch."""

from __future__ import annotations

from typing import Any

import numpy as np

from chunkarr.formats.runs import seen_plain
from chunkarr.formats.scratch import ScratchArray

__all__ = ["Overflow"]

Array = np.ndarray[Any, Any]
NOTHING = np.empty(0, np.uint8)


class Overflow:
    """A temporary array of one axis, written and read in runs, from many threads.

    Parameters
    ----------
    directory
        Where the part that does not fit in memory goes; see `ScratchArray`.
    size, dtype
        Elements, without Python objects.
    held
        How many of them, from the first on, are held in memory. Only if that is 0 can the array be pickled.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     a = Overflow(directory, 6, "i4", held=2)
    ...     a.write(0, np.arange(6, dtype="i4"))
    ...     out = np.empty(4, "i4")
    ...     a.read_runs(np.array([1, 4]), np.array([2, 2]), out)
    ...     a.remove()
    >>> out
    array([1, 2, 4, 5], dtype=int32)
    """

    def __init__(self, directory: str, size: int, dtype: Any, *, held: int) -> None:
        self.size, self.dtype, self.held = size, np.dtype(dtype), held
        self.array = np.empty(held, self.dtype)
        rest = size - held
        self.file = ScratchArray(directory, (rest,), self.dtype, (max(1, rest),)) if rest or not held else None

    def write(self, start: int, block: Array) -> None:
        """Write ``block`` (contiguous, one axis) from element ``start`` on."""
        inside = min(max(0, self.held - start), len(block))
        if inside:
            seen_plain(self.array)[start : start + inside] = seen_plain(block)[:inside]
        if self.file is not None and inside < len(block):
            first = start + inside - self.held
            self.file.write(((first, first + len(block) - inside),), block[inside:], NOTHING)

    def read_runs(self, starts: Array, lengths: Array, out: Array) -> None:
        """Fill ``out`` (one axis, contiguous) with runs, in ascending order, one after another."""
        inside = np.minimum(starts + lengths, self.held) - np.minimum(starts, self.held)
        at = int(inside.sum())
        if at:
            array = seen_plain(self.array)
            runs = zip(starts.tolist(), inside.tolist(), strict=True)
            np.concatenate([array[a : a + n] for a, n in runs if n], out=seen_plain(out)[:at])
        if self.file is not None:
            self.file.read_runs(np.maximum(starts, self.held) - self.held, lengths - inside, out[at:])

    def give_back(self, starts: Array, ends: Array) -> None:
        """Free what runs take in scratch, if that is in memory; nobody reads them again."""
        if self.file is not None:
            self.file.give_back(np.maximum(starts - self.held, 0), np.maximum(ends - self.held, 0))

    def remove(self) -> None:
        """Remove the file now; never raises."""
        if self.file is not None:
            self.file.remove()
