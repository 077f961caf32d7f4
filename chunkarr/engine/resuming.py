"""Jobs that go on where a killed run stopped: a target that logs what is done, and leaves out what was.

The log lies beside the hidden sibling. A batch, at most 256 MiB or what 5 seconds made, is on the disk
before the line that says so; so a line is never wrong, and a killed run repeats one batch at most. A
job that ends before its first batch is full writes no log. The next run of the same job, with ``resume``,
takes the sibling over if its lock is free and the fingerprint in the log is its own.

Where a stage before the last copies much to scratch, its scratch file is logged the same way: it stays
in the scratch directory until the job is done, or its hidden sibling is gone. It is not synced, and so
counts only as long as the machine runs.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import threading
import time
from typing import TYPE_CHECKING, Any

from chunkarr import fsio
from chunkarr.engine.unfinished import Description, Unfinished, boot, find_unfinished
from chunkarr.errors import FormatError, ResumeMismatchError, StaleExpressionError, UnsupportedError
from chunkarr.formats.contract import Target
from chunkarr.formats.progress_log import Coverage, LogFile, Record
from chunkarr.formats.scratch import JOB_NAME, ScratchArray
from chunkarr.grid import region_shape, region_size
from chunkarr.plan.stages import MapStage
from chunkarr.settings import scratch_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy as np

    from chunkarr.grid import Grid, Region
    from chunkarr.plan.stages import Plan

__all__ = ["KEPT", "Logged"]

BATCH_BYTES = 256 << 20  # written and not logged at most
BATCH_SECONDS = 5.0  # between two lines at most, where blocks take less
ROUNDS = 16  # at most, where other processes work
KEPT = "what was done is kept; run it again with resume=True to go on"
HOPELESS = (StaleExpressionError, FormatError, FloatingPointError)  # these would come again, or spoil the result


class _Remaining(Target):
    """A target of which parts are written already."""

    def __init__(self, inner: Target, levels: Sequence[Coverage]) -> None:
        self.inner, self.levels = inner, tuple(levels)
        self.shape, self.dtype, self.grid = inner.shape, inner.dtype, inner.grid
        self.distributable, self.part, self.order = inner.distributable, inner.part, inner.order

    def parts(self, region: Region) -> Iterable[Region]:
        """Return what of ``region`` is not written."""
        todo = [region]
        for level in self.levels:
            todo = [part for one in todo for part in level.missing(one)]
        return todo

    def write(self, region: Region, block: np.ndarray[Any, Any], scratch: np.ndarray[Any, Any]) -> None:
        """Write to the target."""
        self.inner.write(region, block, scratch)

    def scratch_bytes(self, region: Region) -> int:
        """Ask the target."""
        return self.inner.scratch_bytes(region)

    def commit(self) -> None:
        """Commit the target."""
        self.inner.commit()

    def abort(self) -> None:
        """Abort the target."""
        self.inner.abort()


class Logged(_Remaining):
    """A target that logs what is done, for a later run. Pickles without the log: only its creator writes that.

    Parameters
    ----------
    inner
        What is written: a target that has a ``part``.
    describe
        Returns the fingerprint of the job; called when the first batch is full.
    found
        What an earlier run left, which ``inner`` has adopted.
    keep
        Whether the unfinished array stays when the job fails.
    durable
        Whether a batch survives power loss, not only a killed process.
    owner
        The hidden sibling that this is scratch for; "" for the target of the job.
    """

    def __init__(
        self,
        inner: Target,
        describe: Callable[[], Description],
        *,
        found: Unfinished | None = None,
        keep: bool = False,
        durable: bool = True,
        owner: str = "",
    ) -> None:
        super().__init__(inner, found.record.levels if found else ())
        self._describe, self._keep, self._owner = describe, keep, owner
        self._durable = durable or not boot()
        self._log = LogFile(fsio.log_beside(inner.part), self._durable, found.record.length if found else 0)
        self.resumed = 0  # bytes that were there
        if found is not None:
            _check_marks(inner, found.record)  # whose levels are those here
            self.resumed = found.record.elements * inner.dtype.itemsize
        self._resuming = found is not None
        self._plan: Plan | None = None
        self._scratch: list[Logged] = []  # of the stages before the last
        self._blocks: Coverage | None = None  # in what the work is done; None where nothing is logged
        self._grid: Grid | None = self.levels[-1].grid if self.levels else None  # whose boxes the log counts
        self._pending: list[Region] = []
        self._bytes = 0  # pending
        self._since = 0.0  # when the last batch began
        self._lock, self._writing = threading.Lock(), threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return _Remaining, (self.inner, self.levels)

    def begin(self, planned: Plan) -> None:
        """Hear how the target will be written."""
        self._plan = planned
        last = planned.stages[-1] if planned.stages else None
        if isinstance(last, MapStage) and last.results[0].place == "target":
            self._count_in(last.blocks)

    def _count_in(self, blocks: Grid) -> None:
        """Begin to log what is done, in boxes of ``blocks``."""
        self._blocks, self._since = Coverage(blocks), time.monotonic()

    def scratch(self, number: int) -> Logged | None:
        """Return where stage ``number`` puts what it copies, if a later run may go on with that and it is much."""
        assert self._plan is not None, "the engine says what the plan is, then runs it"
        stage = self._plan.stages[number]
        result = stage.results[0]
        if self._blocks is None or result.place != "scratch" or result.nbytes < BATCH_BYTES:
            return None
        assert isinstance(stage, MapStage)
        try:
            job = self._describe()
        except UnsupportedError:
            return None
        if not self._log.there:  # the scratch counts as long as the sibling can be resumed
            self._log.append(self._head(job))
        stages = [(s.label, [(r.region, r.tile) for r in s.results]) for s in self._plan.stages[: number + 1]]
        what = {"job": job, "stages": repr(stages), "blocks": repr(stage.blocks)}
        digest = hashlib.blake2b(json.dumps(job, sort_keys=True).encode(), digest_size=8).hexdigest()
        name = f"{JOB_NAME}-{digest}-{number}"
        found = self._find_scratch(name, what)
        array = ScratchArray(
            scratch_directory(), region_shape(result.region), result.dtype, result.tile,
            name=name, adopt=None if found is None or found.lock is None else (found.part, found.lock),
        )  # fmt: skip
        logged = Logged(array, lambda: what, found=found, keep=self._keep, durable=False, owner=self.part)
        logged._count_in(stage.blocks)
        self._scratch.append(logged)
        return logged

    def _find_scratch(self, name: str, what: Description) -> Unfinished | None:
        """Return what an earlier run copied in the same way; remove what it copied in another."""
        base = os.path.join(scratch_directory(), name)
        found = None
        if self._resuming:
            with contextlib.suppress(ResumeMismatchError):
                found = find_unfinished(base, what)
        if found is None:
            fsio.sweep(base)
        return found

    @property
    def rounds(self) -> int:
        """Return in how many rounds other processes should work: they cannot tell what is done before a round ends."""
        return min(ROUNDS, 1 + math.prod(self.shape) * self.dtype.itemsize // BATCH_BYTES)

    def done(self, region: Region) -> None:
        """Note that ``region`` is written; log it when half a batch has come together.

        The other half may fill while that is brought to the disk.
        """
        with self._lock:
            self._pending.append(region)
            self._bytes += region_size(region) * self.dtype.itemsize
        if self._due():
            with self._writing:
                if self._due():
                    self._write_batch()

    def _due(self) -> bool:
        return self._bytes * 2 >= BATCH_BYTES or time.monotonic() - self._since >= BATCH_SECONDS

    def _write_batch(self) -> None:
        with self._lock:
            regions, self._pending, self._bytes, self._since = self._pending, [], 0, time.monotonic()
        if self._blocks is None or not regions:
            return
        lines: list[Description] = []
        if not self._log.there:
            try:
                lines.append(self._head(self._describe()))
            except UnsupportedError:  # nothing tells this job from another
                self._blocks = None
                return
        grid = self._blocks.grid
        if grid != self._grid:
            lines.append({"shape": grid.shape, "steps": grid.steps})
        marks = self.inner.settle(regions, durable=self._durable)
        lines.append({"boxes": [self._blocks.number(region) for region in regions], "marks": marks})
        self._log.append(*lines)
        self._grid = grid

    def _head(self, job: Description) -> Description:
        return {"v": 1, "made of": job, "boot": "" if self._durable else boot(), "for": self._owner}

    def commit(self) -> None:
        """Log which file is about to get the name, commit, and remove the log."""
        if self._log.there:
            state = os.stat(self.part)
            self._log.append({"device": state.st_dev, "inode": state.st_ino})
        self.inner.commit()
        self._drop_scratch()
        self._log.remove()

    def abort(self) -> None:
        """Remove the unfinished array and the log; never raises."""
        self._log.remove()  # first: half an array must not look as if it could be finished
        self._drop_scratch()
        self.inner.abort()

    def _drop_scratch(self) -> None:
        for logged in self._scratch:
            logged.abort()

    def fail(self, error: BaseException) -> None:
        """Keep what is done, and tell that in a note, if that is asked for and some use; else remove it."""
        if not self._keep or not self._log.there or isinstance(error, HOPELESS):
            self.abort()
            return
        for logged in (*self._scratch, self):
            logged.leave()
        error.add_note(KEPT)

    def leave(self) -> None:
        """Leave what is logged to a later run; remove it where that is nothing."""
        if self._log.there:
            self._log.close()
            self.inner.release()
        else:
            self.abort()


def _check_marks(target: Target, record: Record) -> None:
    """Forget those boxes of a log that are not as they were written."""
    found = []
    for level, logged in zip(record.levels, record.marks, strict=True):
        numbers = list(logged)
        found.append(dict(zip(numbers, target.settle([level.region(n) for n in numbers], durable=False), strict=True)))
    record.keep_intact(found)
