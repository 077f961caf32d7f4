"""One budget for the whole process: runs that are started at the same time share it, and wait if they must.

A run reserves its planned peak before it begins. Where that does not fit beside what others hold, it
waits its turn, first come first served. Work that is started from inside a run (a function given to
``block_reduce`` that computes something itself) does not wait, because the run waits for it.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections import deque
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["RESERVE", "Reserve", "trim"]

LITTLE = 64  # a need below this part of the budget never waits: looking at a few elements beside a long run
LARGE = 16 << 20  # bytes of a plan after which what the C library kept is given back to the system


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h


def _glibc(name: str) -> Callable[..., int] | None:
    """Return glibc's function of this name, None where there is another C library."""
    if not sys.platform.startswith("linux"):
        return None
    function: Callable[..., int] | None = getattr(ctypes.CDLL(None), name, None)
    return function


@cache
def _keep() -> None:
    """Let glibc keep what codecs free for their next call.

    A codec takes and frees some MiB for each chunk; by default glibc gives these pages back every time,
    and the faults of taking them anew are a fifth of the time of writing. `trim` gives them back after a run.
    """
    mallopt = _glibc("mallopt")
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 32 << 20)
        mallopt(M_TRIM_THRESHOLD, 128 << 20)


def trim() -> None:
    """Give back what codecs freed: glibc keeps some MiB for each thread that ever called one."""
    give_back = _glibc("malloc_trim")
    if give_back is not None:
        give_back(0)


class Reserve:
    """Bytes that the runs of this process have planned with, together.

    >>> reserve = Reserve()
    >>> with reserve.take(60, 100):
    ...     reserve.held
    60
    >>> reserve.held
    0
    """

    def __init__(self) -> None:
        self.held = 0  # bytes
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()
        self._thread = threading.local()

    @contextmanager
    def take(self, nbytes: int, allowed: int) -> Iterator[bool]:
        """Hold ``nbytes`` of the ``allowed`` bytes; yield whether others had to give back first."""
        waited = self._wait(nbytes, allowed)
        if nbytes >= LARGE:
            _keep()
        try:
            with self.inside():
                yield waited
        finally:
            if nbytes >= LARGE:
                trim()
            with self._changed:
                self.held -= nbytes
                self._changed.notify_all()

    def _wait(self, nbytes: int, allowed: int) -> bool:
        ticket = object()

        def ready() -> bool:
            return self._waiting[0] is ticket and (not self.held or self.held + nbytes <= allowed)

        with self._changed:
            if getattr(self._thread, "depth", 0) or nbytes * LITTLE <= allowed:
                self.held += nbytes
                return False
            self._waiting.append(ticket)
            try:
                waited = not ready()
                self._changed.wait_for(ready)
                self.held += nbytes
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()
        return waited

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Let this thread start more work without waiting: what it works for holds a reservation."""
        self._thread.depth = getattr(self._thread, "depth", 0) + 1
        try:
            yield
        finally:
            self._thread.depth -= 1


RESERVE = Reserve()
