"""Watchers of `chunkarr.fsio.calls`: count, kill, fail; and children that are killed."""

from __future__ import annotations

import errno
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable
from typing import Any

from chunkarr.fsio import calls

__all__ = ["ERRORS", "KILLED", "Child", "Counter", "Failer", "Killer", "count", "in_child", "sizes"]

KILLED = "killed"  # what `in_child` returns of a child that a `Killer` ended
WRITES = {"pwrite": 1, "write": 1, "writev": 1}  # calls that can be torn, and where their bytes are
PATIENCE = 60  # seconds a child may take


class Counter:
    """Counts the calls and remembers their names."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._lock = threading.Lock()

    def __call__(self, name: str, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        with self._lock:
            self.names.append(name)
        return call(*args)


class Killer(Counter):
    """Ends the process, without any clean-up, before call ``at`` (or after half of it is written)."""

    def __init__(self, at: int, *, torn: bool = False) -> None:
        super().__init__()
        self.at, self.torn = at, torn

    def __call__(self, name: str, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        with self._lock:
            number = len(self.names)
            self.names.append(name)
            if number == self.at:
                if self.torn:
                    half(name, call, args)
                os.kill(os.getpid(), signal.SIGKILL)
        return call(*args)


class Failer(Counter):
    """Raises OSError with ``code`` at call ``at``, or from there on; ``torn``: after half of it is written."""

    def __init__(self, at: int, code: int, *, lasting: bool = False, torn: bool = False) -> None:
        super().__init__()
        self.at, self.code, self.lasting, self.torn = at, code, lasting, torn

    def __call__(self, name: str, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        with self._lock:
            number = len(self.names)
            self.names.append(name)
        if number == self.at or (self.lasting and number > self.at):
            if self.torn and number == self.at:
                half(name, call, args)
            raise OSError(self.code, os.strerror(self.code), *(a for a in args[:1] if isinstance(a, str)))
        return call(*args)


def half(name: str, call: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """Do half of a write, nothing of other calls."""
    if name == "writev":
        data = b"".join(bytes(view) for view in args[1])
        os.write(args[0], data[: len(data) // 2])
    elif name in WRITES:
        fd, data, *offset = args
        call(fd, memoryview(bytes(data))[: len(bytes(data)) // 2], *offset)


def count(function: Callable[[], Any]) -> list[str]:
    """Return the names of the calls that ``function`` makes."""
    counter = Counter()
    with calls.watched(counter):
        function()
    return counter.names


class Child:
    """A forked process that runs ``function(*args)``, under ``watcher`` if there is one."""

    def __init__(self, function: Callable[..., Any], *args: Any, watcher: calls.Watcher | None = None) -> None:
        reading, writing = os.pipe()
        self._process = os.fork()
        if not self._process:
            _run_child(function, args, watcher, writing)
        os.close(writing)
        self._pipe = os.fdopen(reading, "rb")

    def result(self) -> Any:
        """Return what the function returns, `KILLED` if the process was killed; raise what it raises."""
        with self._pipe as pipe:
            raw = pipe.read()
        status = os.waitpid(self._process, 0)[1]
        if os.WIFSIGNALED(status):
            if os.WTERMSIG(status) == signal.SIGKILL:
                return KILLED
            raise RuntimeError(f"the child died of {signal.Signals(os.WTERMSIG(status)).name}")
        good, result = pickle.loads(raw)
        if not good:
            raise AssertionError(result)
        return result


def in_child(function: Callable[..., Any], *args: Any, watcher: calls.Watcher | None = None) -> Any:
    """Return what ``function(*args)`` returns in a child, as `Child.result` does."""
    return Child(function, *args, watcher=watcher).result()


def _run_child(function: Callable[..., Any], args: tuple[Any, ...], watcher: Any, writing: int) -> None:
    """Send the result, or the text of the exception, and end without clean-up."""
    signal.alarm(PATIENCE)
    try:
        if watcher is None:
            answer = True, function(*args)
        else:
            with calls.watched(watcher):
                answer = True, function(*args)
    except BaseException:  # noqa: BLE001 - told to the parent
        answer = False, traceback.format_exc()
    with os.fdopen(writing, "wb") as pipe:
        pickle.dump(answer, pipe)
    os._exit(0)


def sizes(directory: str) -> dict[str, int]:
    """Return what is below ``directory``: the path of each file with its size, of each directory with -1."""
    found = {}
    for place, directories, files in os.walk(directory):
        below = os.path.relpath(place, directory)
        found |= {os.path.normpath(os.path.join(below, name)): -1 for name in directories}
        found |= {
            os.path.normpath(os.path.join(below, name)): os.lstat(os.path.join(place, name)).st_size for name in files
        }
    return found


ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EINTR)
