"""The commands of ``chunkarr``: they parse, call and print; the work is done elsewhere."""

from __future__ import annotations

from chunkarr.cli.run import main

__all__ = ["main"]
