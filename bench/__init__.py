"""Benchmarks: each piece of work by chunkarr and by its peers, in one run, checked against NumPy."""

from __future__ import annotations

__all__: list[str] = []
