"""What the program's exit code says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

__all__ = [
    "DIFFERENT",
    "DONE",
    "FAILED",
    "INCOMPARABLE",
    "RESUMABLE",
    "SIGNALLED",
    "USAGE",
    "FailedError",
    "failing",
    "resumable",
]

DONE = 0
FAILED = 1  # bad input too; `verify`: something is wrong
DIFFERENT = 1  # `diff`: the arrays are not the same
USAGE = 2
RESUMABLE = 3  # incomplete, but --resume goes on from there
INCOMPARABLE = 4  # `diff`: an array could not be read
SIGNALLED = 128  # plus the number of the signal


class FailedError(Exception):
    """A command failed, and the exit code says more than that; its cause says why."""

    def __init__(self, code: int) -> None:
        """Take the exit code."""
        super().__init__(f"exit code {code}")
        self.code = code


@contextmanager
def failing(code: int) -> Iterator[None]:
    """End the command with ``code`` if the work within fails; wrong usage stays wrong usage.

    >>> with failing(4):
    ...     pass
    """
    try:
        yield
    except (click.ClickException, click.exceptions.Exit, click.Abort, FailedError):
        raise
    except Exception as error:
        raise FailedError(code) from error


@contextmanager
def resumable() -> Iterator[None]:
    """End the command with `RESUMABLE` if the work within fails, but left what ``--resume`` goes on with.

    >>> with resumable():
    ...     pass
    """
    try:
        yield
    except Exception as error:
        from chunkarr.engine.resuming import KEPT

        if KEPT in getattr(error, "__notes__", ()):
            raise FailedError(RESUMABLE) from error
        raise
