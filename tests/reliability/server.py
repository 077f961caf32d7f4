"""A single-threaded process that runs campaigns: forking is only safe where no other thread runs.

`Server` starts it and asks; `serve` is what it does. Questions and answers are pickled over pipes.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import traceback
from typing import Any, Self

__all__ = ["Server", "serve"]

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))

# `tests` is loaded from where it lies, and nothing else is: chunkarr is the one that is being tested.
BOOT = """
import importlib.util, sys
root = sys.argv[1]
for name in ("tests", "tests.reliability"):
    place = root + "/" + name.replace(".", "/")
    spec = importlib.util.spec_from_file_location(name, place + "/__init__.py", submodule_search_locations=[place])
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
from tests.reliability.server import serve
serve()
"""


class Server:
    """Runs functions of this package's modules in a process of its own."""

    def __init__(self, directory: str, package: str | None = None) -> None:
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}  # whose threads would be there when it forks
        if package is not None:  # another copy of chunkarr than the one under test
            environment["PYTHONPATH"] = package
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the server
        command = [sys.executable, "-P", "-W", "error", "-c", BOOT, ROOT]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
            cwd=directory,
        )

    def ask(self, name: str, *args: Any, seconds: int = 600) -> Any:
        """Return what ``module.function(*args)`` returns there; raise AssertionError with what it raises."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            pickle.dump((name, args, seconds), self._process.stdin)
            self._process.stdin.flush()
            good, answer = pickle.load(self._process.stdout)
        except (EOFError, BrokenPipeError):
            self._process.wait()
            self._log.seek(0)
            text = self._log.read().decode(errors="replace")[-4000:]
            raise AssertionError(f"{name}: the server ended with {self._process.returncode}: {text}") from None
        if not good:
            raise AssertionError(answer)
        return answer

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        assert self._process.stdout is not None
        self._process.stdout.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def serve() -> None:
    """Answer until the asking process closes the pipe."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    for name in ("zarr", "h5py", "numcodecs.zstd", "chunkarr.formats.zarr", "chunkarr.formats.hdf5"):
        importlib.import_module(name)  # once here, not in every child
    settings = importlib.import_module("chunkarr.settings")
    settings.config.set(memory="64MiB", workers=1, progress=False, durability="full").__enter__()
    while True:
        try:
            name, args, seconds = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        signal.alarm(seconds)
        try:
            module, _, function = name.rpartition(".")
            whole = module if module.startswith("tests.") else f"tests.reliability.{module}"
            answer = True, getattr(importlib.import_module(whole), function)(*args)
        except BaseException:  # noqa: BLE001 - told to the asking process
            answer = False, traceback.format_exc()
        signal.alarm(0)
        pickle.dump(answer, answers)
        answers.flush()
