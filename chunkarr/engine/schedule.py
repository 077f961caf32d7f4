"""Hand a stage's tasks to dask: the only importer of dask.

A graph has one entry for what all tasks of a stage share and one per task. The threaded scheduler runs
it by default; the scheduler that dask is configured to use, or an active ``dask.distributed`` client,
runs it otherwise. A stage of one task is called directly: no scheduler, no import of dask.
"""

from __future__ import annotations

import os
import sys
import threading
import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chunkarr.buffers import Slabs
from chunkarr.engine.reserve import RESERVE
from chunkarr.engine.tasks import Context

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chunkarr.progress import Reporter

__all__ = ["HERE", "Run", "Scheduler", "call_tasks", "scheduler"]


@dataclass(frozen=True)
class Scheduler:
    """Who runs the tasks."""

    name: str  # as a person would say it
    here: bool  # whether tasks run in this process
    get: Callable[[dict[Any, Any], list[Any], int], Any] | None  # None: the threads of dask


TURN = 0.001  # seconds after which a thread lets others have the interpreter while tasks run; Python's own: 0.005

HERE = Scheduler("threads", here=True, get=None)


def scheduler() -> Scheduler:
    """Return what dask would use now, without importing it needlessly."""
    distributed = sys.modules.get("distributed")
    if distributed is not None:
        with suppress(ValueError):
            client = distributed.default_client()
            return Scheduler("distributed", here=False, get=lambda graph, keys, _: client.get(graph, keys))
    dask = sys.modules.get("dask")
    choice = dask.config.get("scheduler", None) if dask is not None else None
    if choice is None or choice in ("threads", "threading"):
        return HERE
    from dask.base import get_scheduler

    get = get_scheduler(scheduler=choice)  # type: ignore[no-untyped-call]
    here = choice in ("sync", "synchronous", "single-threaded")
    return Scheduler(str(choice), here=here, get=lambda graph, keys, workers: get(graph, keys, num_workers=workers))


class _ShortTurns:
    """A context in which threads wait less for the interpreter; of several at once the last restores what was set.

    A task asks for it after each read, write and sort, and needs it for some microseconds. Another that holds it for a
    millisecond of small steps would have it wait for five.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users, self._before, self._set = 0, 0.0, 0.0

    def __enter__(self) -> None:
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._before = sys.getswitchinterval()
                sys.setswitchinterval(min(self._before, TURN))
                self._set = sys.getswitchinterval()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if not self._users and sys.getswitchinterval() == self._set:  # nobody else changed it meanwhile
                sys.setswitchinterval(self._before)


SHORT_TURNS = _ShortTurns()


class Run:
    """What the tasks of one evaluation share; pickles as its name and the file that cancels it."""

    _here: dict[str, Run] = {}  # noqa: RUF012 - the runs of this process, by name

    def __init__(self, scratch: str, reporter: Reporter) -> None:
        self.name = uuid.uuid4().hex
        self.flag = os.path.join(scratch, f"cancel-{self.name}")
        self.reporter = reporter
        self.slabs = Slabs()
        self.active = 0
        self.idle = threading.Condition()
        self._cancelled = False
        Run._here[self.name] = self

    def __reduce__(self) -> tuple[Any, ...]:
        return (_remote, (self.name, self.flag))

    def cancelled(self) -> bool:
        """Say whether the run was cancelled."""
        return self._cancelled

    def cancel(self) -> None:
        """Ask all tasks to stop at their next block, and wait for those of this process."""
        self._cancelled = True
        with suppress(OSError), open(self.flag, "x", encoding="ascii"):
            pass
        with self.idle:
            self.idle.wait_for(lambda: self.active == 0, timeout=60)

    def close(self) -> None:
        """Give the memory back and forget the run."""
        Run._here.pop(self.name, None)
        self.slabs.clear()
        with suppress(OSError):
            os.unlink(self.flag)

    def call(self, function: Callable[..., Any], args: Sequence[Any]) -> Any:
        """Call a task function with a context."""
        with self.idle:
            self.active += 1
        try:
            with RESERVE.inside():
                return function(*args, Context(self.slabs, self.cancelled, self.reporter.advance))
        finally:
            with self.idle:
                self.active -= 1
                self.idle.notify_all()


class _Remote:
    """A run seen from a worker process."""

    def __init__(self, flag: str) -> None:
        self.flag = flag

    def call(self, function: Callable[..., Any], args: Sequence[Any]) -> Any:
        """Call a task function with a context of its own."""
        return function(*args, Context(Slabs(), lambda: os.path.exists(self.flag), lambda _: None))


def _remote(name: str, flag: str) -> Run | _Remote:
    return Run._here.get(name) or _Remote(flag)  # noqa: SLF001 - the class's own table


def _invoke(shared: tuple[Any, ...], function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    run, *rest = shared
    return run.call(function, (*rest, *args))


def call_tasks(
    run: Run,
    shared: tuple[Any, ...],
    function: Callable[..., Any],
    calls: Sequence[tuple[Any, ...]],
    workers: int,
    who: Scheduler,
    label: str,
) -> list[Any]:
    """Call ``function(*shared, *args, context)`` for each args of ``calls``; return the answers in order."""
    together = (run, *shared)
    if len(calls) == 1 and who.here:
        return [_invoke(together, function, calls[0])]
    from dask._task_spec import DataNode, Task, TaskRef

    name = f"{function.__name__}-{run.name[:8]}-{label}"
    common = f"shared-{name}"
    graph: dict[Any, Any] = {common: DataNode(common, together)}
    keys = []
    for number, args in enumerate(calls):
        # dask begins with the last name: with the first call, so that streams are decoded forward.
        key = (name, f"{len(calls) - number:06d}")
        graph[key] = Task(key, _invoke, TaskRef(common), function, args)
        keys.append(key)
    if who.get is not None:
        return list(who.get(graph, keys, workers))
    from dask.threaded import get

    with SHORT_TURNS:
        return list(get(graph, keys, num_workers=workers))
