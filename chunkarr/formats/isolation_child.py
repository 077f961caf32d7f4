"""The process that `isolation` starts: it parses what it is asked about, and answers."""

from __future__ import annotations

import json
import os
import sys
import warnings
from typing import Any

from chunkarr.errors import ChunkarrError
from chunkarr.formats.isolation import HEAD

__all__ = ["serve"]


def serve() -> None:
    """Answer until the asking process closes the pipe."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a library prints is no answer
    warnings.simplefilter("ignore")
    from chunkarr.formats.hdf5_isolated import answer

    _cap(int(sys.argv[2]))
    questions = sys.stdin.buffer
    while len(head := questions.read(HEAD.size)) == HEAD.size:
        question = json.loads(questions.read(HEAD.unpack(head)[0]))
        rest: Any = b""
        try:
            value, rest = answer(question)
            said: dict[str, Any] = {"value": value}
        except ChunkarrError as error:
            said = {"error": type(error).__name__, "text": str(error)}
        except OSError as error:
            said = {"error": "OSError", "errno": error.errno or 0, "text": error.strerror or str(error)}
        except Exception as error:  # noqa: BLE001 - the asking side tells the user
            said = {"error": type(error).__name__, "text": str(error)}
        text = json.dumps(said).encode()
        view = memoryview(rest).cast("B") if len(rest) else b""
        for part in (HEAD.pack(len(text), len(view)), text, view):
            _send(answers, part)


def _send(answers: Any, part: Any) -> None:
    view = memoryview(part)
    while view.nbytes:
        view = view[answers.write(view) :]


def _cap(room: int) -> None:
    """Let this process take ``room`` more bytes of memory, and leave no core file."""
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    limit = now + room if most == resource.RLIM_INFINITY else min(now + room, most)
    resource.setrlimit(resource.RLIMIT_AS, (limit, most))
