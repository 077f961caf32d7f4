"""Tell how far work is: bytes done, rate and time left, on stderr when that is a terminal."""

from __future__ import annotations

import sys
from typing import Any, Protocol, runtime_checkable

from chunkarr.errors import OptionError

__all__ = ["Bar", "Reporter", "Silent", "reporter"]


@runtime_checkable
class Reporter(Protocol):
    """What hears how far work is; ``advance`` is called from any thread."""

    def start(self, total_bytes: int, label: str) -> None:
        """Begin work that will move ``total_bytes`` bytes."""

    def advance(self, n: int) -> None:
        """Note that ``n`` more bytes are done."""

    def close(self) -> None:
        """End the report, whether the work was finished or not."""


class Silent:
    """A reporter that says nothing."""

    def start(self, total_bytes: int, label: str) -> None:
        """Say nothing."""

    def advance(self, n: int) -> None:
        """Say nothing."""

    def close(self) -> None:
        """Say nothing."""


class Bar:
    """A line on stderr with bytes, rate and time left."""

    def __init__(self) -> None:
        """Make a bar that shows nothing before ``start``."""
        self._bar: Any = None

    def start(self, total_bytes: int, label: str) -> None:
        """Show the bar; tqdm is imported here, on first use."""
        from tqdm import tqdm

        self.close()
        self._bar = tqdm(
            total=total_bytes,
            desc=label,
            unit="B",
            unit_scale=True,
            unit_divisor=1024,
            file=sys.stderr,
            leave=False,
            mininterval=0.2,
        )

    def advance(self, n: int) -> None:
        """Move the bar by ``n`` bytes."""
        if self._bar is not None:
            self._bar.update(n)

    def close(self) -> None:
        """Remove the bar from the terminal."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def reporter(choice: bool | Reporter | None) -> Reporter:
    """Return the reporter that ``choice`` asks for.

    Parameters
    ----------
    choice : bool, Reporter or None
        True: a bar if stderr is a terminal. False or None: silence. A reporter: itself.

    Raises
    ------
    OptionError
        If it is none of these.

    Examples
    --------
    >>> type(reporter(None)).__name__
    'Silent'
    """
    if choice is None or choice is False:
        return Silent()
    if choice is True:
        return Bar() if sys.stderr is not None and sys.stderr.isatty() else Silent()
    if isinstance(choice, Reporter):
        return choice
    raise OptionError(f"progress must be True, False, None or have start, advance and close; is {choice!r}")
