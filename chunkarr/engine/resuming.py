"""Jobs that go on where a killed run stopped: a target that logs what is done, and leaves out what was.

The log lies beside the hidden sibling. A batch, at most 256 MiB or what 5 seconds made, is on the disk
before the line that says so; so a line is never wrong, and a killed run repeats one batch at most. A
job that ends before its first batch is full writes no log. The next run of the same job, with ``resume``,
takes the sibling over if its lock is free and the fingerprint in the log is its own.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr import fsio
from chunkarr.engine.recipe import describe_sources, differences, digest_recipe
from chunkarr.errors import FormatError, ResumeMismatchError, StaleExpressionError, UnsupportedError
from chunkarr.formats.contract import Target
from chunkarr.formats.progress_log import Coverage, LogFile, Record, read_log
from chunkarr.grid import region_size
from chunkarr.plan.stages import MapStage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from chunkarr.graph import Node
    from chunkarr.grid import Region
    from chunkarr.plan.stages import Plan

__all__ = ["KEPT", "Logged", "Unfinished", "describe_job", "find_unfinished", "spare_unfinished"]

BATCH_BYTES = 256 << 20  # written and not logged at most
ROUNDS = 16  # at most, where other processes work
BATCH_SECONDS = 5.0  # between two lines at most, where blocks take less
KEPT = "what was done is kept; run it again with resume=True to go on"
HOPELESS = (StaleExpressionError, FormatError, FloatingPointError)  # these would come again, or spoil the result
BOOT_ID = "/proc/sys/kernel/random/boot_id"

Description = dict[str, Any]


@dataclass
class Unfinished:
    """What an earlier run of a job left."""

    part: str
    lock: int | None  # held by the finder; None if the array is complete
    record: Record

    @property
    def complete(self) -> bool:
        """Say whether the array has its name already: only the log is left."""
        return self.lock is None

    def close(self) -> None:
        """Give up the lock, and leave everything as it is."""
        if self.lock is not None:
            os.close(self.lock)

    def tidy(self, path: str) -> None:
        """Remove what is left beside a complete array."""
        fsio.discard(fsio.log_beside(self.part))
        fsio.sweep(path)


def describe_job(node: Node, **target: Any) -> Description:
    """Return the fingerprint of writing ``node`` to a ``target`` of these options, as JSON can hold it.

    Raises
    ------
    UnsupportedError
        If the expression or a source is nothing that a later run can recognise.
    """
    root = sys.modules[__name__.partition(".")[0]]
    return {
        "versions": {"chunkarr": root.__version__, "numpy": np.__version__},
        "sources": describe_sources(node),
        "recipe": digest_recipe(node),
        "target": {name: _option(value) for name, value in target.items()},
    }


def _option(value: Any) -> Any:
    return [int(n) for n in value] if isinstance(value, list | tuple | np.ndarray) else repr(value)


def find_unfinished(path: str, what: Description) -> Unfinished | None:
    """Return what a run of the same job left for ``path``, the fullest first; None if there is nothing.

    Raises
    ------
    ResumeMismatchError
        If there is something, but of another source, expression or layout; says what differs.
    """
    if fsio.calls.fcntl is None:  # without locks nobody knows whether a writer is alive
        return None
    best: Unfinished | None = None
    wrong: list[str] = []
    for part in fsio.unfinished(path):
        record = read_log(fsio.log_beside(part))
        if record is None:
            continue
        differ = _differences(record.head, what)
        if record.published is not None and record.published == _identity(path):
            if differ:
                continue
            return Unfinished(part, None, record)
        lock = _try_hold(part)
        if lock is None:
            continue
        found = Unfinished(part, lock, record)
        if differ or (best is not None and best.record.elements >= record.elements):
            wrong += differ
            found.close()
            continue
        if best is not None:
            best.close()
        best = found
    if best is None and wrong:
        raise ResumeMismatchError(
            f"{path}: the unfinished output was made from something else: {'; '.join(wrong)}; "
            "run it without resume to start anew"
        )
    return best


def spare_unfinished(path: str) -> list[int]:
    """Return locks that keep unfinished siblings of ``path`` from being swept until they are closed."""
    return [lock for lock in map(_try_hold, fsio.unfinished(path)) if lock is not None]


def _try_hold(part: str) -> int | None:
    try:
        return fsio.try_hold(part)
    except FileNotFoundError:
        return None


def _identity(path: str) -> tuple[int, int] | None:
    try:
        state = os.stat(path)
    except OSError:
        return None
    return state.st_dev, state.st_ino


def _boot() -> str:
    """Return what changes when the machine starts anew, "" where it does not tell."""
    try:
        with open(BOOT_ID, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def _differences(head: Description, what: Description) -> list[str]:
    """Return in words why what a log's first line describes is not ``what``."""
    was = head.get("made of", {})
    found = differences(was.get("versions"), what["versions"])
    sources = was.get("sources", [])
    if len(sources) != len(what["sources"]):
        found.append(f"sources were {len(sources)}, are {len(what['sources'])}")
    else:
        for old, new in zip(sources, what["sources"], strict=True):
            found += differences(old, new, f"source {new['path']}")
    found += differences(was.get("target"), what["target"], "target")
    if not found and was.get("recipe") != what["recipe"]:
        found.append("the expression differs")
    if not found and head.get("boot") not in ("", _boot()):
        found.append('the machine was started anew, and with durability="process" what was written may be lost')
    return found


class _Remaining(Target):
    """A target of which parts are written already."""

    def __init__(self, inner: Target, levels: Sequence[Coverage]) -> None:
        self.inner, self.levels = inner, tuple(levels)
        self.shape, self.dtype, self.grid = inner.shape, inner.dtype, inner.grid
        self.distributable, self.part = inner.distributable, inner.part

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
    """

    def __init__(
        self,
        inner: Target,
        describe: Callable[[], Description],
        *,
        found: Unfinished | None = None,
        keep: bool = False,
        durable: bool = True,
    ) -> None:
        super().__init__(inner, found.record.levels if found else ())
        self._describe, self._keep, self._durable = describe, keep, durable or not _boot()
        self._log = LogFile(fsio.log_beside(inner.part), self._durable, found.record.length if found else 0)
        self.resumed = 0  # bytes that were there
        if found is not None:
            _check_marks(inner, found.record)  # whose levels are those here
            self.resumed = found.record.elements * inner.dtype.itemsize
        self._blocks: Coverage | None = None  # in what the work is done; None before `begin`
        self._grid = self.levels[-1].grid if self.levels else None  # whose boxes the log counts
        self._pending: list[Region] = []
        self._bytes = 0  # pending
        self._since = 0.0  # when the last batch began
        self._lock, self._writing = threading.Lock(), threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return _Remaining, (self.inner, self.levels)

    def begin(self, planned: Plan) -> None:
        """Hear in which blocks the target will be written."""
        last = planned.stages[-1] if planned.stages else None
        if isinstance(last, MapStage) and last.results[0].place == "target":
            self._blocks = Coverage(last.blocks)
        self._since = time.monotonic()

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
                lines.append({"v": 1, "made of": self._describe(), "boot": "" if self._durable else _boot()})
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

    def commit(self) -> None:
        """Log which file is about to get the name, commit, and remove the log."""
        if self._log.there:
            state = os.stat(self.part)
            self._log.append({"device": state.st_dev, "inode": state.st_ino})
        self.inner.commit()
        self._log.remove()

    def abort(self) -> None:
        """Remove the unfinished array and the log; never raises."""
        self._log.remove()  # first: half an array must not look as if it could be finished
        self.inner.abort()

    def fail(self, error: BaseException) -> None:
        """Keep what is done, and tell that in a note, if that is asked for and some use; else remove it."""
        if not self._keep or not self._log.there or isinstance(error, HOPELESS):
            self.abort()
            return
        self._log.close()
        self.inner.release()
        error.add_note(KEPT)


def _check_marks(target: Target, record: Record) -> None:
    """Forget those boxes of a log that are not as they were written."""
    found = []
    for level, logged in zip(record.levels, record.marks, strict=True):
        numbers = list(logged)
        found.append(dict(zip(numbers, target.settle([level.region(n) for n in numbers], durable=False), strict=True)))
    record.keep_intact(found)
