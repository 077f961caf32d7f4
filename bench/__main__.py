"""Run the benchmarks: ``python -m bench --help``."""

from __future__ import annotations

from bench.run import main

__all__: list[str] = []

main()
