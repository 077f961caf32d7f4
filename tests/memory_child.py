"""Measure the memory that an operation adds to a process: in a child, outside the checkout.

The child imports what the operation uses by running it once on a small input, then says so. The parent
notes RssAnon + RssShmem, lets it run on the large input and samples every two milliseconds: anonymous
and shared memory, so that the page cache of files that are read does not count.

An operation is a function at the top of a test module. It gets plain arguments (paths, numbers), does
its work and returns what it planned, in bytes::

    def mean(path):
        result = chunkarr.open(path).mean()
        planned = result.plan().memory
        result.compute()
        return planned

    peak = measure(mean, small=[str(tiny)], large=[str(big)], budget=64 * 2**20)
    peak.check()
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Peak", "anonymous_bytes", "measure"]

SLACK = 32 * 2**20  # bytes above 1.1 times the budget: the interpreter's own growth
INTERVAL = 0.002  # seconds between samples


@dataclass(frozen=True)
class Peak:
    """What one operation planned and held, in bytes."""

    budget: int
    planned: int
    measured: int  # most that was added to the child while the operation ran
    refused: str  # message of MemoryBudgetError if the operation was refused, else ""
    seconds: float

    def check(self, *, may_refuse: bool = False) -> None:
        """Assert the promise: planned within the budget, measured within 1.1 times it plus 32 MiB."""
        assert may_refuse or not self.refused, self.refused
        assert self.planned <= self.budget, f"planned {self.planned:,} bytes of {self.budget:,}"
        assert self.measured <= 1.1 * self.budget + SLACK, f"held {self.measured:,} bytes of {self.budget:,}"


def anonymous_bytes(process: int | str = "self") -> int:
    """Return RssAnon + RssShmem of a process in bytes; 0 once it has ended."""
    try:
        with open(f"/proc/{process}/status", encoding="ascii", errors="replace") as status:
            lines = dict(line.split(":", 1) for line in status if line.startswith(("RssAnon", "RssShmem")))
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(text.split()[0]) * 1024 for text in lines.values())


def measure(
    operation: Callable[..., int | None],
    *,
    small: Sequence[Any],
    large: Sequence[Any],
    budget: int,
    workers: int = 2,
    timeout: float = 120,
) -> Peak:
    """Run ``operation(*small)``, then ``operation(*large)`` in a fresh process, and return its peak."""
    command = [sys.executable, "-P", os.path.abspath(__file__), operation.__module__, operation.__qualname__]
    environment = os.environ | {"CHUNKARR_MEMORY": str(budget), "CHUNKARR_WORKERS": str(workers)}
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder, env=environment
        ) as child,
    ):
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            _exchange(child, list(small))
            baseline = anonymous_bytes(child.pid)
            started = time.monotonic()
            child.stdin.write(json.dumps(list(large)) + "\n")
            child.stdin.flush()
            peak = baseline
            os.set_blocking(child.stdout.fileno(), False)
            while not (line := child.stdout.readline()):
                peak = max(peak, anonymous_bytes(child.pid))
                assert child.poll() is None, f"the child ended with {child.returncode}"
                assert time.monotonic() < started + timeout, f"no answer in {timeout} s"
                time.sleep(INTERVAL)
        finally:
            child.stdin.close()
            if child.poll() is None:
                child.kill()
    answer = json.loads(line)
    assert "error" not in answer, answer["error"]
    return Peak(budget, answer["planned"], peak - baseline, answer["refused"], time.monotonic() - started)


def _exchange(child: subprocess.Popen[str], arguments: list[Any]) -> None:
    """Send arguments to the child and wait for its answer."""
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(json.dumps(arguments) + "\n")
    child.stdin.flush()
    answer = json.loads(child.stdout.readline() or '{"error": "the child died on the small input"}')
    assert "error" not in answer, answer["error"]


def _load_tests() -> None:
    """Make the package of the tests importable: it is not installed, and the folder is not on the path."""
    folder = os.path.dirname(os.path.abspath(__file__))
    spec = importlib.util.spec_from_file_location(
        "tests", os.path.join(folder, "__init__.py"), submodule_search_locations=[folder]
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules["tests"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


def _child(module: str, name: str) -> None:
    """Run the operation once for each line of arguments on stdin and answer with one line."""
    _load_tests()
    from chunkarr.errors import MemoryBudgetError

    operation = getattr(importlib.import_module(module), name)
    for line in sys.stdin:
        try:
            answer: dict[str, Any] = {"planned": operation(*json.loads(line)) or 0, "refused": ""}
        except MemoryBudgetError as error:
            answer = {"planned": 0, "refused": str(error)}
        except Exception as error:  # noqa: BLE001  # the parent fails the test with it
            answer = {"error": f"{type(error).__name__}: {error}"}
        gc.collect()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _child(*sys.argv[1:])
