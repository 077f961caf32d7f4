"""Look for problems in a stored array, on all cores and within the budget."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from chunkarr.buffers import memory_error
from chunkarr.engine.reserve import RESERVE
from chunkarr.engine.schedule import HERE, Run, call_tasks
from chunkarr.errors import GenerationChangedError
from chunkarr.formats.contract import PIECE
from chunkarr.grid import region_size, tiles, whole
from chunkarr.progress import reporter
from chunkarr.settings import budget, config, scratch_directory, workers

if TYPE_CHECKING:
    from chunkarr.engine.tasks import Context
    from chunkarr.formats.contract import Problem, Stored
    from chunkarr.progress import Reporter

__all__ = ["find_problems"]

ATTEMPTS = 5  # times an array that others change is read again


def find_problems(stored: Stored, *, progress: bool | Reporter | None = None) -> tuple[Stored, list[Problem]]:
    """Return the array as it is now, and what is wrong with it.

    Raises
    ------
    MemoryBudgetError
        If one chunk does not fit the budget.
    GenerationChangedError
        If others changed the array each time that it was read.
    """
    for _ in range(ATTEMPTS):
        stored = stored.fresh()
        try:
            return stored, _once(stored, progress)
        except GenerationChangedError:
            continue
    raise GenerationChangedError(f"{stored.path}: was changed while it was checked, {ATTEMPTS} times; try again later")


def _once(stored: Stored, progress: bool | Reporter | None) -> list[Problem]:
    """Check every share of the chunks."""
    total, allowed = math.prod(stored.shape) * stored.dtype.itemsize, budget()
    held = _held(stored)
    if held > allowed:
        raise memory_error("checking one chunk", held, allowed)
    count = min(workers(), allowed // max(1, held))
    chosen = reporter(config.get("progress", False) if progress is None else progress)
    with RESERVE.take(held * count, allowed):
        run = Run(scratch_directory(), chosen)
        chosen.start(total, "chunkarr")
        try:
            calls = [(k, count) for k in range(count)]
            answers = call_tasks(run, (stored,), _check, calls, count, HERE, "verify")
        except BaseException:
            run.cancel()
            raise
        finally:
            run.close()
            chosen.close()
    return sorted((problem for answer in answers for problem in answer), key=lambda p: (p.file, p.chunk))


def _held(stored: Stored) -> int:
    """Return the bytes that checking one chunk holds."""
    if 0 in stored.shape:
        return 0
    extent = stored.grid.steps
    if stored.contiguous:
        extent = tiles(stored.shape, PIECE // max(1, stored.dtype.itemsize))[0][1]
    box = whole(extent)
    return max(PIECE, region_size(box) * stored.dtype.itemsize) + stored.scratch_bytes(box)


def _check(stored: Stored, share: int, shares: int, context: Context) -> list[Problem]:
    """Check one share."""

    def done(nbytes: int) -> None:
        context.check()
        context.advance(nbytes)

    return list(stored.problems((share, shares), done))
