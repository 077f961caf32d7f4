"""Run a job, or only plan it, and say what was done."""

from __future__ import annotations

import math
import os
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from chunkarr.formats.table import split_member
from chunkarr.settings import budget, format_bytes

if TYPE_CHECKING:
    from chunkarr.array.saving import Job
    from chunkarr.engine import Plan
    from chunkarr.progress import Reporter

__all__ = ["Report", "run", "stored_bytes"]


@dataclass(frozen=True)
class Report:
    """What a job did, or would do."""

    source: str  # the first of several
    target: str
    shape: tuple[int, ...]  # of the target
    dtype: str  # of the target, as NumPy writes it
    nbytes: int  # decoded bytes of the target; of `append`: that it grew by
    bytes_read: int  # decoded bytes read from the sources, whole chunks counted
    memory: int  # planned peak in bytes
    budget: int  # bytes that were allowed
    tasks: int
    seconds: float  # 0 if nothing was done
    stored: int  # bytes that the target takes on disk, 0 if nothing was done
    resumed: int = 0  # decoded bytes of the target that an earlier run had written
    sources: int = 1  # how many
    passes: int = 0  # how often the most-read source is read
    scratch: int = 0  # bytes of temporary files at the peak

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        """Return the report as sentences for people."""
        extent = " × ".join(map(str, self.shape)) or "scalar"
        more = f" and {self.sources - 1:,} more" if self.sources > 1 else ""
        what = f"{self.source}{more} -> {self.target}: {extent} {self.dtype}, {format_bytes(self.nbytes)}"
        planned = f"{format_bytes(self.memory)} of memory planned, {format_bytes(self.budget)} allowed"
        if not self.stored:
            passes = f"{_count(self.passes, 'pass', 'passes')} of {_count(self.tasks, 'task', 'tasks')}"
            files = f", {format_bytes(self.scratch)} of temporary files" if self.scratch else ""
            return f"{what}; would read {format_bytes(self.bytes_read)} in {passes}; {planned}{files}"
        rate = format_bytes(int((self.nbytes - self.resumed) / max(self.seconds, 1e-3)))
        again = f", {format_bytes(self.resumed)} of them by an earlier run" if self.resumed else ""
        return f"{what}{again}, {format_bytes(self.stored)} stored; {self.seconds:.2f} s, {rate}/s; {planned}"


def _count(number: int, one: str, several: str) -> str:
    return f"{number:,} {one if number == 1 else several}"


def run(
    job: Job,
    sources: list[str],
    progress: bool | Reporter | None,
    *,
    dry_run: bool,
    resume: bool,
    keep: bool | None,
) -> Report:
    """Do the job, or only plan it, and report."""
    node = job.node
    began = time.perf_counter()
    if dry_run:
        planned: Plan | None = job.plan()
    else:
        planned = job.run(progress, resume=resume, keep=resume if keep is None else keep)
    return Report(
        source=sources[0],
        target=job.path,
        shape=node.shape,
        dtype=str(node.dtype),
        nbytes=math.prod(node.shape) * node.dtype.itemsize,
        bytes_read=planned.bytes_read if planned is not None else 0,
        memory=planned.memory if planned is not None else 0,
        budget=budget(),
        tasks=planned.tasks if planned is not None else 0,
        seconds=0.0 if dry_run else time.perf_counter() - began,
        stored=0 if dry_run else stored_bytes(split_member(job.path)[0]),
        resumed=job.resumed,
        sources=len(sources),
        passes=planned.passes if planned is not None else 0,
        scratch=planned.scratch if planned is not None else 0,
    )


def stored_bytes(path: str) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    if not os.path.isdir(path):
        return os.path.getsize(path) if os.path.exists(path) else 0
    return sum(os.path.getsize(os.path.join(folder, name)) for folder, _, names in os.walk(path) for name in names)
