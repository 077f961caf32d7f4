"""Measuring: contestants of a case in processes of their own, taking turns, watched from outside.

Round 0 warms up. In each round every contestant runs once, in the order of the table; only one runs at a time. While
it runs, the anonymous memory of its process (RssAnon + RssShmem) is read every few milliseconds; its peak is
reported less the value after it imported its libraries and ran once on tiny data. The answer of the first and of the
last round is compared with NumPy's.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bench.data import TINY, make
from bench.harness import Case, Contestant, Data, Oracle

__all__ = ["Measured", "anonymous_bytes", "measure", "read_bytes"]

SAMPLE = 0.004  # seconds between two looks at the memory
CAP = 12 << 30  # bytes of private memory that a contestant may ask for
PATIENCE = 900.0  # seconds that one run may take


@dataclass
class Measured:
    """What one contestant did."""

    name: str
    seconds: list[float] = field(default_factory=list)  # one per round, extrapolated to the whole work
    processor: list[float] = field(default_factory=list)  # of all threads, user and system; as ``seconds``
    peak: int = 0  # bytes of anonymous memory above the baseline
    read: int = 0  # bytes that the last run read by calls of the system, from files and from caches of them
    failure: str = ""  # why there are no figures; "" if there are

    @property
    def median(self) -> float:
        """Seconds, the median of the rounds."""
        return statistics.median(self.seconds)


class RunError(Exception):
    """A contestant raised, died, took too long or answered wrongly."""


def anonymous_bytes(pid: int) -> int:
    """Return RssAnon + RssShmem of a process, 0 if it is gone."""
    total = 0
    try:
        with open(f"/proc/{pid}/status", "rb") as status:
            for line in status:
                if line.startswith((b"RssAnon:", b"RssShmem:")):
                    total += int(line.split()[1]) << 10
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return total


def read_bytes(pid: int) -> int:
    """Return the bytes that a process has read by calls of the system so far, 0 if it is gone."""
    try:
        with open(f"/proc/{pid}/io", "rb") as counts:
            return int(counts.readline().split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def processor_seconds(pid: int) -> float:
    """Return the processor time that a process and its ended children have taken so far, 0 if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as counts:
            fields = counts.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def read_all(path: Path) -> None:
    """Read a file, or all files of a directory, so that they are where reading is quick."""
    room = bytearray(1 << 20)
    for file in [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file()):
        with file.open("rb", 0) as stream:
            while stream.readinto(room):
                pass


class Runner:
    """A contestant's process, its connection and its memory."""

    def __init__(self, case: Case, contestant: Contestant, data: Data, tiny: Data) -> None:
        """Start the process and wait until it has run on the tiny data."""
        self.contestant = contestant
        self.measured = Measured(contestant.name)
        ours, theirs = multiprocessing.Pipe()
        self.connection: Connection[Any, Any] = ours
        place = data.root / f"out-{case.contestants.index(contestant)}"
        worker = Path(__file__).with_name("worker.py")
        arguments = (theirs.fileno(), case.name, contestant.name, tiny.root, data.root, data.size, place, CAP)
        self.process = subprocess.Popen(
            [sys.executable, str(worker), *map(str, arguments)], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
        )
        theirs.close()
        self.baseline = 0
        try:
            self._receive("ready")
            self.baseline = anonymous_bytes(self.process.pid)
        except RunError as failed:
            self.fail(str(failed))

    def turn(self, inputs: Sequence[Path], expected: Oracle | None, rtol: float, *, count: bool) -> None:
        """Read ``inputs``, run once; compare the answer if ``expected`` is given; keep the time if ``count``."""
        if self.measured.failure:
            return
        try:
            self._ask("begin", "begun")
            for path in inputs:
                read_all(path)
            before, busy = read_bytes(self.process.pid), processor_seconds(self.process.pid)
            seconds = self._ask("run", "seconds") / self.contestant.share
            read = read_bytes(self.process.pid) - before
            busy = (processor_seconds(self.process.pid) - busy) / self.contestant.share
            if expected is not None and (self.contestant.share == 1 or self.contestant.head):
                self.contestant.verify(self._ask("fetch", "answer"), expected, rtol)
            self._ask("clear", "cleared")
        except (RunError, AssertionError) as failed:
            self.fail(" ".join(str(failed).split())[:200])
            return
        if count:
            self.measured.seconds.append(seconds)
            self.measured.processor.append(busy)
            self.measured.read = read

    def fail(self, why: str) -> None:
        """Note why there are no figures and end the process."""
        self.measured.failure = why or "failed"
        self.process.kill()

    def close(self) -> None:
        """End the process."""
        if self.process.poll() is None:
            try:
                self.connection.send("stop")
                self.process.wait(10)
            except (OSError, subprocess.TimeoutExpired):
                self.process.kill()
        self.process.wait()
        self.connection.close()

    def _ask(self, order: str, kind: str) -> Any:
        try:
            self.connection.send(order)
        except OSError:
            raise RunError("the process died") from None
        return self._receive(kind)

    def _receive(self, kind: str) -> Any:
        deadline = time.monotonic() + PATIENCE
        while not self.connection.poll(SAMPLE):
            if kind == "seconds":
                self.measured.peak = max(self.measured.peak, anonymous_bytes(self.process.pid) - self.baseline)
            if time.monotonic() > deadline:
                raise RunError(f"not done after {PATIENCE:.0f} s")
        try:
            got, value = self.connection.recv()
        except (EOFError, OSError):
            raise RunError(f"the process died with exit status {self.process.wait()}") from None
        if got != kind:
            raise RunError(str(value))
        return value


def measure(case: Case, data: Data, rounds: int = 5, only: Sequence[str] = ()) -> list[Measured]:
    """Measure a case's contestants, or those named in ``only``, on data that are made where they are missing.

    Parameters
    ----------
    rounds
        Timed runs of each contestant, after one that warms up.

    Returns
    -------
    list of Measured
        One per contestant, in the order of the table.
    """
    tiny = Data(data.root / "tiny", TINY)
    for place in (tiny, data):
        place.root.mkdir(parents=True, exist_ok=True)
        for name in case.inputs:
            make(place, name)
    expected, inputs = case.expected(data), [data.root / name for name in case.inputs]
    results, runners = [], []
    for contestant in case.contestants:
        if only and contestant.name not in only:
            continue
        missing = contestant.missing()
        if missing:
            results.append(Measured(contestant.name, failure=f"not installed: {', '.join(missing)}"))
            continue
        runners.append(Runner(case, contestant, data, tiny))
        results.append(runners[-1].measured)
    try:
        for turn in range(rounds + 1):
            for runner in runners:
                runner.turn(inputs, expected if turn in (0, rounds) else None, case.rtol, count=turn > 0)
                os.sync()
    finally:
        for runner in runners:
            runner.close()
    return results
