"""Task-owned memory: one slab a running task, reused from block to block.

A program knows the size and place of each of its buffers before it runs, so a task needs one
allocation: a slab of anonymous pages. Reusing its pages avoids the page faults that make fresh
memory three times slower than touched memory, and closing it gives them back to the system at once,
which the C allocator does not promise.
"""

from __future__ import annotations

import math
import mmap
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.errors import MemoryBudgetError
from chunkarr.settings import budget, enough, format_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ALIGNMENT", "Slabs", "aligned", "memory_error"]

ALIGNMENT = 64  # bytes: a cache line, and the widest vector register


def aligned(nbytes: int) -> int:
    """Round ``nbytes`` up to a whole number of cache lines.

    >>> aligned(65)
    128
    """
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def _allocate(nbytes: int) -> np.ndarray[Any, Any]:
    if nbytes < 1 << 20:
        return np.empty(aligned(nbytes), np.uint8)
    private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
    pages = mmap.mmap(-1, nbytes, **private)  # shared pages, the default, are seldom huge
    with suppress(AttributeError, OSError):  # not on every system; only speed is lost
        pages.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(pages, np.uint8)


class Slabs:
    """The slabs of one run: as many as tasks run at once, each handed from task to task.

    >>> slabs = Slabs()
    >>> with slabs.take(100) as slab:
    ...     slab.nbytes >= 100, slab.dtype
    (True, dtype('uint8'))
    """

    def __init__(self) -> None:
        self._free: list[np.ndarray[Any, Any]] = []
        self._lock = threading.Lock()

    @contextmanager
    def take(self, nbytes: int) -> Iterator[np.ndarray[Any, Any]]:
        """Lend a uint8 array of at least ``nbytes`` bytes, of undefined content."""
        with self._lock:
            slab = self._free.pop() if self._free else None
        if slab is None or slab.nbytes < nbytes:
            slab = None  # let its pages go before new ones are asked for
            slab = _allocate(max(nbytes, 1))
        try:
            yield slab
        finally:
            with self._lock:
                self._free.append(slab)

    def clear(self) -> None:
        """Give all pages back."""
        with self._lock:
            self._free.clear()


def memory_error(what: str, needed: int, allowed: int, instead: str = "use smaller chunks") -> MemoryBudgetError:
    """Return the error for work that cannot fit; ``instead`` is what to do where the budget stays.

    ``allowed`` is what the budget leaves where results and other work hold the rest.
    """
    whole = needed + max(0, budget() - allowed)
    return MemoryBudgetError(
        f"{what} needs {format_bytes(needed)}, the budget allows {format_bytes(allowed)}; "
        f'raise it with chunkarr.config.set(memory="{enough(math.ceil(whole * 1.1))}") or {instead}'
    )
