"""The process of one contestant: ``worker.py CONNECTION CASE CONTESTANT TINY_DATA DATA SIZE OUT``.

It imports what the contestant needs, runs it once on the tiny data, says "ready", and then obeys: ``begin``
prepares, ``run`` answers with seconds, ``fetch`` with the answer (the path of a file if it is large). Its memory is
measured from outside.
"""

from __future__ import annotations

import resource
import sys
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":
    # The directory above goes last: an installed chunkarr is measured rather than a checkout.
    sys.path[0:1] = []
    sys.path.append(str(Path(__file__).resolve().parent.parent))

from bench.cases import CASES
from bench.data import TINY
from bench.harness import Data, clear

__all__ = ["main"]

SENT = 16 << 20  # bytes of an answer that go through the connection; larger ones go through a file


def main() -> None:
    """Serve the requests of `bench.measure`."""
    handle, case_name, name, tiny, root, size, out, limit = sys.argv[1:]
    connection: Connection[Any, Any] = Connection(int(handle))
    # A peer that takes all memory would be killed, and others with it; so it gets a MemoryError.
    resource.setrlimit(resource.RLIMIT_DATA, (int(limit), int(limit)))
    contestant = CASES[case_name].contestant(name)
    data, place = Data(Path(root), int(size)), Path(out)
    answer: Any = None
    try:
        contestant.begin(Data(Path(tiny), TINY), place)
        contestant.run(Data(Path(tiny), TINY), place)
        clear(place)
        connection.send(("ready", None))
        while (order := connection.recv()) != "stop":
            if order == "begin":
                answer = None
                contestant.begin(data, place)
                connection.send(("begun", None))
            elif order == "run":
                started = time.perf_counter()
                answer = contestant.run(data, place)
                connection.send(("seconds", time.perf_counter() - started))
            elif order == "fetch":
                connection.send(("answer", _sendable(answer, place)))
            else:
                answer = None
                clear(place)
                connection.send(("cleared", None))
    except EOFError:
        return  # whoever measures is gone
    except Exception as error:  # noqa: BLE001  # whatever a peer raises is its result
        traceback.print_exc()
        connection.send(("failed", f"{type(error).__name__}: {error}".splitlines()[0][:200]))


def _sendable(answer: Any, place: Path) -> Any:
    if isinstance(answer, np.ndarray) and answer.nbytes > SENT:
        np.save(place / "answer.npy", answer)
        return place / "answer.npy"
    return answer


if __name__ == "__main__":
    main()
