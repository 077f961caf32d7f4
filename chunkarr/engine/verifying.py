"""Look for problems in a stored array, on all cores and within the budget."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from chunkarr.buffers import memory_error
from chunkarr.engine.reserve import RESERVE
from chunkarr.engine.schedule import HERE, Run, call_tasks
from chunkarr.errors import GenerationChangedError
from chunkarr.formats.contract import PIECE
from chunkarr.grid import Region, region_size, tiles
from chunkarr.progress import reporter
from chunkarr.settings import budget, config, scratch_directory, workers

if TYPE_CHECKING:
    from chunkarr.engine.tasks import Context
    from chunkarr.formats.contract import Problem, Stored
    from chunkarr.progress import Reporter

__all__ = ["find_problems"]

SHARE = 32 << 20  # bytes that a task checks between two looks at whether the run was cancelled
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
    shares = max(1, min(total // SHARE, stored.grid.size if not stored.contiguous else total))
    chosen = reporter(config.get("progress", False) if progress is None else progress)
    with RESERVE.take(held * count, allowed):
        run = Run(scratch_directory(), chosen)
        chosen.start(total, "chunkarr")
        try:
            calls = [(k, shares) for k in range(shares)]
            answers = call_tasks(run, (stored,), _check, calls, count, HERE, "verify")
        except BaseException:
            run.cancel()
            raise
        finally:
            run.close()
            chosen.close()
    return [problem for answer in answers for problem in answer]


def _held(stored: Stored) -> int:
    """Return the bytes that checking one chunk holds."""
    box: Region = tuple((0, min(s, n)) for s, n in zip(stored.grid.steps, stored.shape, strict=True))
    if stored.contiguous:
        extent = next(iter(tiles(stored.shape, PIECE // max(1, stored.dtype.itemsize))), ((), stored.shape))[1]
        box = tuple((0, n) for n in extent)
    return region_size(box) * stored.dtype.itemsize + (stored.scratch_bytes(box) if region_size(box) else 0)


def _check(stored: Stored, share: int, shares: int, context: Context) -> list[Problem]:
    """Check one share."""
    context.check()
    found = list(stored.problems((share, shares)))
    total = math.prod(stored.shape) * stored.dtype.itemsize
    context.advance(total * (share + 1) // shares - total * share // shares)
    return found
