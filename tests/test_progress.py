"""Progress is shown on terminals only."""

from __future__ import annotations

import io
import sys

import pytest

from chunkarr import progress
from chunkarr.errors import OptionError


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self):
        return True


def test_silent_unless_stderr_is_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    for choice in (None, False, True):
        reporter = progress.reporter(choice)
        reporter.start(100, "work")
        reporter.advance(50)
        reporter.close()
        assert sys.stderr.getvalue() == ""


def test_a_terminal_sees_bytes_and_label(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    bar = progress.reporter(True)
    bar.advance(1)
    bar.start(2 * 2**20, "saving")
    bar.advance(2**20)
    bar.close()
    bar.close()
    assert "saving" in sys.stderr.getvalue()
    assert "2.00M" in sys.stderr.getvalue()


def test_a_reporter_of_ones_own_is_used():
    class Mine(progress.Silent):
        pass

    mine = Mine()
    assert progress.reporter(mine) is mine
    with pytest.raises(OptionError, match="advance"):
        progress.reporter("yes")
