"""What a killed run left: finding it, and knowing whether it is of the same job."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr import fsio
from chunkarr.engine.recipe import describe_sources, differences, digest_recipe
from chunkarr.errors import ResumeMismatchError
from chunkarr.formats.progress_log import Record, read_log

if TYPE_CHECKING:
    from chunkarr.graph import Node

__all__ = ["Description", "Unfinished", "boot", "describe_job", "find_unfinished", "spare_unfinished"]

BOOT_ID = "/proc/sys/kernel/random/boot_id"

Description = dict[str, Any]  # as JSON can hold it


@dataclass
class Unfinished:
    """What an earlier run of a job left."""

    part: str
    lock: int | None  # held by the finder; None if the array is complete
    record: Record

    @property
    def complete(self) -> bool:
        """Say whether the array has its name already: only the log is left."""
        return self.lock is None

    def close(self) -> None:
        """Give up the lock, and leave everything as it is."""
        if self.lock is not None:
            os.close(self.lock)

    def tidy(self, path: str) -> None:
        """Remove what is left beside a complete array."""
        fsio.discard(fsio.log_beside(self.part))
        fsio.sweep(path)


def describe_job(node: Node, **target: Any) -> Description:
    """Return the fingerprint of writing ``node`` to a ``target`` of these options, as JSON can hold it.

    Raises
    ------
    UnsupportedError
        If the expression or a source is nothing that a later run can recognise.
    """
    root = sys.modules[__name__.partition(".")[0]]
    return {
        "versions": {"chunkarr": root.__version__, "numpy": np.__version__},
        "sources": describe_sources(node),
        "target": {name: _option(value) for name, value in target.items()},
        "recipe": digest_recipe(node),  # last: where anything else differs, it says no more
    }


def _option(value: Any) -> Any:
    return [int(n) for n in value] if isinstance(value, list | tuple | np.ndarray) else repr(value)


def find_unfinished(path: str, what: Description) -> Unfinished | None:
    """Return what a run of the same job left for ``path``, the fullest first; None if there is nothing.

    Raises
    ------
    ResumeMismatchError
        If there is something, but of another source, expression or layout; says what differs.
    """
    if fsio.calls.fcntl is None:  # without locks nobody knows whether a writer is alive
        return None
    best: Unfinished | None = None
    wrong: list[str] = []
    for part in fsio.unfinished(path):
        record = read_log(fsio.log_beside(part))
        if record is None:
            continue
        differ = _differences(record.head, what)
        if record.published is not None and record.published == _identity(path):
            if differ:
                continue
            return Unfinished(part, None, record)
        lock = _try_hold(part)
        if lock is None:
            continue
        found = Unfinished(part, lock, record)
        if differ or (best is not None and best.record.elements >= record.elements):
            wrong += differ
            found.close()
            continue
        if best is not None:
            best.close()
        best = found
    if best is None and wrong:
        raise ResumeMismatchError(
            f"{path}: the unfinished output was made from something else: {'; '.join(wrong)}; "
            "run it without resume to start anew"
        )
    return best


def spare_unfinished(path: str) -> list[int]:
    """Return locks that keep unfinished siblings of ``path`` from being swept until they are closed."""
    return [lock for lock in map(_try_hold, fsio.unfinished(path)) if lock is not None]


def _try_hold(part: str) -> int | None:
    try:
        return fsio.try_hold(part)
    except FileNotFoundError:
        return None


def _identity(path: str) -> tuple[int, int] | None:
    try:
        state = os.stat(path)
    except OSError:
        return None
    return state.st_dev, state.st_ino


def boot() -> str:
    """Return what changes when the machine starts anew, "" where it does not tell."""
    try:
        with open(BOOT_ID, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def _differences(head: Description, what: Description) -> list[str]:
    """Return in words why what a log's first line describes is not ``what``."""
    was = head.get("made of", {})
    found = []
    for name in dict.fromkeys((*was, *what)):
        old, new = was.get(name), what.get(name)
        if name == "sources" and isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
            for before, now in zip(old, new, strict=True):
                found += differences(before, now, f"source {now['path']}")
        elif name == "recipe":
            found += [] if found or old == new else ["the expression differs"]
        elif name == "sources":
            found += ["the sources differ"]
        else:
            found += differences(old, new, "" if name == "versions" else name)
    if not found and head.get("boot") not in ("", boot()):
        found.append('the machine was started anew, and with durability="process" what was written may be lost')
    return found
