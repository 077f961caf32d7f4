"""Feed mutated files to chunkarr, in a child process whose memory and time are capped.

The child writes the number of each mutation to shared memory before it reads the file, so that its death names the
mutation; a new child goes on behind it. What counts as good: values, one of chunkarr's errors, or an OSError.
"""

from __future__ import annotations

import gc
import mmap
import os
import pickle
import resource
import shutil
import signal
import struct
import time
import traceback
import warnings
from dataclasses import dataclass, field
from typing import Any

from chunkarr import settings
from chunkarr.errors import ChunkarrError
from chunkarr.formats.table import open_stored
from tests.hostile.cases import CASES, TRAPS, Case
from tests.hostile.mutating import mutate

__all__ = ["Tally", "feed"]

CPU = 2.0  # seconds of work on one file: more is a hang
WALL = 20.0  # seconds in which even a busy machine comes to an end
BUDGET = 64 << 20  # bytes; what the server that this runs in sets
ALLOWED = int(1.1 * BUDGET) + (32 << 20)  # bytes of resident memory
ADDRESSES = 384 << 20  # bytes of address space, in which allocators are generous
BEYOND = "UnsupportedError"  # of what is in a file, well formed, that chunkarr does not read
LISTED = 20  # members of a file that are read
WHOLE = 1 << 20  # bytes that are read of an array; of a larger one its corners


@dataclass
class Tally:
    """What came out."""

    fed: int = 0
    read: int = 0  # arrays, and lists of them, that could be read
    said: dict[str, int] = field(default_factory=dict)  # errors by name
    bad: list[str] = field(default_factory=list)
    peak: int = 0  # bytes of memory that reading added
    slowest: float = 0.0  # seconds of one file

    def add(self, other: Tally) -> None:
        """Add what another child reached."""
        self.fed, self.read = self.fed + other.fed, self.read + other.read
        for name, number in other.said.items():
            self.said[name] = self.said.get(name, 0) + number
        self.bad += other.bad
        self.peak, self.slowest = max(self.peak, other.peak), max(self.slowest, other.slowest)


def feed(name: str, folder: str, count: int, seed: int = 0) -> Tally:
    """Feed ``count`` mutated files of a case."""
    case = next(case for case in (*CASES, *TRAPS) if case.name == name)
    made, work = os.path.join(folder, "made"), os.path.join(folder, "work")
    os.mkdir(made)
    _in_child(lambda: case.make(made), capped=False)
    where = mmap.mmap(-1, 8)
    total = Tally()
    number = 0
    while number < count:
        status, tally = _in_child(lambda start=number: _feed_from(case, made, work, start, count, seed, where))
        if tally is not None:
            total.add(tally)
            break
        died = struct.unpack("q", where[:8])[0]
        how = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"exit {status}"
        total.bad.append(f"{name} mutation {died}: the reader died ({how})")
        total.fed += died + 1 - number
        number = died + 1
    return total


def _in_child(work: Any, *, capped: bool = True) -> tuple[int, Any]:
    """Run ``work`` in a fork; return how it ended and what it returned, None if it died."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reader)
            if capped:
                _cap()
            answer = pickle.dumps(work())
            with os.fdopen(writer, "wb") as pipe:
                pipe.write(answer)
            code = 0
        except BaseException:  # noqa: BLE001 - the child must end here
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    if not capped and status:
        raise RuntimeError("the fixtures could not be made")
    return status, pickle.loads(answer) if answer and not status else None


def _status(word: str) -> int:
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(word + ":")) << 10


def _cap() -> None:
    limit = _status("VmSize") + ADDRESSES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)


def _feed_from(case: Case, made: str, work: str, start: int, count: int, seed: int, where: mmap.mmap) -> Tally:
    files = sorted(os.path.join(at, name) for at, _, names in os.walk(made) for name in names)
    tally, before = Tally(), _status("VmRSS")
    warnings.simplefilter("ignore")
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(made, work)
    if not start and case in CASES:
        _read_unchanged(case, made, tally)
    for number in range(start, count):
        where[:8] = struct.pack("q", number)
        victim = files[number % len(files)]
        array = _damage(case, made, work, victim, number + (seed << 32))
        signal.setitimer(signal.ITIMER_PROF, CPU)
        signal.setitimer(signal.ITIMER_REAL, WALL)
        began = time.process_time()
        _read(case, array, number, tally)
        tally.slowest = max(tally.slowest, time.process_time() - began)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        tally.fed += 1
        shutil.copyfile(victim, os.path.join(work, os.path.relpath(victim, made)))
    gc.collect()
    tally.peak = _status("VmHWM") - before
    return tally


def _read_unchanged(case: Case, made: str, tally: Tally) -> None:
    """Read the fixtures themselves: what is wrong with them would hide what is wrong with their mutations."""
    first = Tally()
    for name in sorted(os.listdir(made)):
        _read(case, os.path.join(made, name), -1, first)
    tally.bad += first.bad + [f"{case.name}: unchanged files raise {name}" for name in first.said if name != BEYOND]


def _damage(case: Case, made: str, work: str, victim: str, number: int) -> str:
    """Write a mutated file; return the path of the array that it belongs to."""
    inside = os.path.relpath(victim, made)
    with open(victim, "rb") as file:
        content = file.read()
    if case.inner is not None and number % 2:
        changed = case.inner.put(content, mutate(case.inner.take(content), number))
    else:
        changed = mutate(content, number)
    with open(os.path.join(work, inside), "wb") as file:
        file.write(changed)
    return os.path.join(work, inside.split(os.sep)[0])


def _read(case: Case, array: str, number: int, tally: Tally) -> None:
    """Open and read all that the file holds, array by array; note what came out."""
    paths = [array]
    _try(case, array, number, tally, lambda: paths.__setitem__(slice(None), _arrays(array, case)))
    for path in paths:
        _try(case, path, number, tally, lambda path=path: _values(case, path))


def _values(case: Case, path: str) -> None:
    """Read an array, of a large one the corners."""
    opened = case.open(path, format=case.format, **case.options)
    if opened.nbytes <= WHOLE:
        opened.compute()
        list(open_stored(path, "r", case.format, **case.options).problems())
    else:
        opened[tuple(slice(0, 2) for _ in opened.shape)].compute()
        opened[tuple(slice(-2, None) for _ in opened.shape)].compute()


def _try(case: Case, array: str, number: int, tally: Tally, work: Any) -> None:
    try:
        work()
        tally.read += 1
    except (ChunkarrError, OSError) as error:
        name = type(error).__name__
        tally.said[name] = tally.said.get(name, 0) + 1
    except BaseException:  # noqa: BLE001 - what must not be
        text = "".join(traceback.format_exc(limit=-4))
        tally.bad.append(f"{case.name} mutation {number}, {os.path.basename(array)}: {text}")


def _arrays(path: str, case: Case) -> list[str]:
    """Return what a file of several arrays holds, or the file itself."""
    from chunkarr.formats.table import identify, list_members

    if not identify(path, case.format).members or os.path.isdir(path):
        return [path]
    with settings.config.set(isolate=case.options.get("isolate")):
        listed = [member.name for member in list_members(path, case.format)][:LISTED]
    return [f"{path}::{name}" for name in listed] or [path]
