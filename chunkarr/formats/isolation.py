"""A child process that parses files which only a C library can parse: its crash is an error here, not a crash.

Questions go to the child as JSON. An answer is JSON, and behind it bytes, of a number that the asking side knows to
be possible; nothing is unpickled. The child has a limit of memory, each answer one of time. It is started at the first
question, kept for the next, and started again after it died.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import struct
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np

from chunkarr import errors, settings
from chunkarr.errors import ChunkarrError, FormatError, UnsupportedError

__all__ = ["HEAD", "ask", "dtype_as_json", "dtype_of_json"]

HEAD = struct.Struct("<QQ")  # bytes of the JSON and of what comes behind it
SECONDS = 60.0  # for an answer
JSON_LIMIT = 64 << 20  # bytes of an answer's JSON
ROOM = 512 << 20  # bytes of memory that the child may take besides twice the budget
BOOT = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from chunkarr.formats.isolation_child import serve
serve()
"""


class _Child:
    """The process, and the lock of who asks."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        """Return the running process."""
        if self.process is not None and self.process.poll() is None:
            return self.process
        self.stop()
        if not sys.executable or os.name != "posix":
            raise UnsupportedError("isolate=True starts another Python, which is not possible here")
        limit = str(ROOM + 2 * settings.budget())
        command = [sys.executable, "-P", "-c", BOOT, json.dumps([os.path.abspath(p) for p in sys.path]), limit]
        self.process = subprocess.Popen(  # noqa: S603 - this Python, and no part of it is input
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
        )
        return self.process

    def stop(self) -> None:
        """End the process."""
        if self.process is None:
            return
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        self.process.wait()
        self.process = None

    def forget(self) -> None:
        """Leave the process to the parent of this one, which has been forked."""
        self.lock = threading.RLock()
        if self.process is not None:
            for pipe in (self.process.stdin, self.process.stdout):
                if pipe is not None:
                    pipe.close()
            self.process.returncode = 0  # nobody here may wait for it
        self.process = None


_CHILD = _Child()
atexit.register(_CHILD.stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_CHILD.forget)


def ask(question: dict[str, Any], into: np.ndarray[Any, Any] | None = None, limit: int = 0) -> tuple[Any, bytes]:
    """Return the child's answer to a question: what JSON says, and bytes.

    Parameters
    ----------
    question
        With ``path``, the file that it is about, and ``what`` is asked.
    into
        Where the bytes go, which must be as many, instead of being returned; uint8.
    limit
        How many bytes are taken at most, without ``into``.

    Raises
    ------
    FormatError
        If the child dies or does not answer in time.
    ChunkarrError, OSError
        What the child raised.
    """
    name = question["path"]
    whole = os.path.abspath(name)  # the child may be in another folder
    with _CHILD.lock:
        process = _CHILD.start()
        deadline = time.monotonic() + SECONDS
        try:
            answer, rest = _converse(process, {**question, "path": whole}, into, limit, deadline)
        except (OSError, EOFError, ValueError, TimeoutError) as error:
            code = None if isinstance(error, TimeoutError) else _ended(process)
            _CHILD.stop()
            if isinstance(error, TimeoutError):
                raise FormatError(f"{name}: who parses it gave no answer in {SECONDS:g} s") from None
            how = f"signal {-code}" if code is not None and code < 0 else f"{error}"
            raise FormatError(f"{name}: who parses it died of it ({how}); the file is damaged or hostile") from None
        except BaseException:
            _CHILD.stop()  # interrupted in the middle of an answer
            raise
    if "error" in answer:
        raise _error({**answer, "text": str(answer.get("text", "")).replace(whole, name)}, name)
    return answer.get("value"), rest


def _ended(process: subprocess.Popen[bytes]) -> int | None:
    try:
        return process.wait(5)
    except subprocess.TimeoutExpired:
        return None


def _converse(
    process: subprocess.Popen[bytes],
    question: dict[str, Any],
    into: np.ndarray[Any, Any] | None,
    limit: int,
    deadline: float,
) -> tuple[dict[str, Any], bytes]:
    assert process.stdin is not None
    assert process.stdout is not None
    text = json.dumps(question).encode()
    process.stdin.write(HEAD.pack(len(text), 0) + text)
    fd = process.stdout.fileno()
    words, size = HEAD.unpack(_receive(fd, bytearray(HEAD.size), deadline))
    if words > JSON_LIMIT:
        raise ValueError(f"an answer of {words} B")
    answer = json.loads(bytes(_receive(fd, bytearray(words), deadline)))
    if not isinstance(answer, dict):
        raise ValueError("an answer that is none")  # noqa: TRY004 - the value of the answer
    expected = into.nbytes if into is not None else limit
    if size > expected or (into is not None and "error" not in answer and size != expected):
        raise ValueError(f"{size} B where at most {expected} B are expected")
    buffer: Any = memoryview(into)[:size] if into is not None else bytearray(size)
    _receive(fd, buffer, deadline)
    return answer, b"" if into is not None else bytes(buffer)


def _receive(fd: int, buffer: Any, deadline: float) -> Any:
    view = memoryview(buffer)
    while view.nbytes:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([fd], [], [], left)[0]:
            raise TimeoutError
        count = os.readv(fd, [view])
        if not count:
            raise EOFError("the answer ended early")
        view = view[count:]
    return buffer


def _error(answer: dict[str, Any], name: str) -> BaseException:
    """Return the error that an answer stands for; only chunkarr's own and the system's are believed."""
    kind, text = answer.get("error"), str(answer.get("text", ""))
    if kind == "OSError":
        return OSError(int(answer.get("errno", 0)), text, name)
    found = getattr(errors, str(kind), None)
    if isinstance(found, type) and issubclass(found, ChunkarrError):
        return found(text)
    return FormatError(f"{name}: cannot be parsed: {kind}: {text}")


# --- dtypes as JSON ------------------------------------------------------------------------------


def dtype_as_json(dtype: np.dtype[Any]) -> Any:
    """Return a dtype as JSON can hold it.

    >>> dtype_as_json(np.dtype([("x", "<f8", (2,))]))
    {'names': ['x'], 'formats': [['<f8', [2]]], 'offsets': [0], 'itemsize': 16}
    """
    if dtype.subdtype is not None:
        return [dtype_as_json(dtype.base), list(dtype.shape)]
    if dtype.names is None:
        return dtype.str
    fields = [dtype.fields[name] for name in dtype.names]  # type: ignore[index]
    return {
        "names": list(dtype.names),
        "formats": [dtype_as_json(field[0]) for field in fields],
        "offsets": [field[1] for field in fields],
        "itemsize": dtype.itemsize,
    }


def dtype_of_json(value: Any) -> np.dtype[Any]:
    """Return the dtype that JSON stands for; never one of Python objects.

    >>> dtype_of_json(["<f8", [3]])
    dtype(('<f8', (3,)))

    Raises
    ------
    FormatError
        If it stands for none.
    """
    try:
        dtype = _dtype(value)
    except (TypeError, ValueError, KeyError, RecursionError, SyntaxError) as error:
        raise FormatError(f"{value!r:.100} is no dtype: {error}") from None
    if dtype.hasobject:
        raise FormatError(f"{dtype} holds Python objects")
    return dtype


def _dtype(value: Any) -> np.dtype[Any]:
    how: Any = str(value)
    if isinstance(value, list):
        base, shape = value
        how = _dtype(base), tuple(map(int, shape))
    elif isinstance(value, dict):
        how = {**value, "formats": [_dtype(part) for part in value["formats"]]}
    dtype: np.dtype[Any] = np.dtype(how)
    return dtype
