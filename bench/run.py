"""The command: ``python -m bench [CASE ...]`` measures and prints the table."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.cases import CASES
from bench.data import DATASETS
from bench.harness import Case, Data
from bench.measure import Measured, measure
from bench.report import machine, record, rewrite, table

__all__ = ["main"]

UNITS = {"": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def parse_size(text: str) -> int:
    """Return the bytes that ``text`` means.

    >>> parse_size("1GiB"), parse_size("64 kB")
    (1073741824, 64000)
    """
    match = re.fullmatch(r"(\d+) ?([A-Za-z]*)", text)
    if match is None or match[2] not in UNITS:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number and one of {', '.join(filter(None, UNITS))}")
    return int(match[1]) * UNITS[match[2]]


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "cases", nargs="*", metavar="CASE", help=f"which, or the start of their names; all: {' '.join(CASES)}"
    )
    parser.add_argument("--size", type=parse_size, default=10**9, help="bytes of one input at least (1GB)")
    parser.add_argument("--rounds", type=int, default=5, help="timed runs of each contestant (5)")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="only this contestant (repeatable)")
    parser.add_argument("--data", type=Path, help="keep and reuse the inputs here; without it they are temporary")
    parser.add_argument("--markdown", action="store_true", help="print the table as markdown")
    parser.add_argument("--write", action="store_true", help="put the table into bench/README.md")
    options = parser.parse_args(argv)
    names = [name for name in CASES if not options.cases or any(name.startswith(c) for c in options.cases)]
    if not names:
        parser.error(f"no case starts with {' or '.join(options.cases)}; there are: {' '.join(CASES)}")
    options.names = names
    return options


def main(argv: list[str] | None = None) -> None:
    """Measure the cases that ``argv`` asks for."""
    options = _arguments(argv)
    # A terminated run removes its gigabytes too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    entries: dict[str, Any] = {}
    with ExitStack() as stack:
        root = options.data or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        data = Data(root / str(options.size), options.size)
        print(machine(), file=sys.stderr)
        for i, name in enumerate(options.names):
            case, load = CASES[name], os.getloadavg()[0]
            results = measure(case, data, options.rounds, options.only)
            entries[name] = record(case, options.size, results, load)
            if not options.markdown:
                _show(case, results)
            if options.write:
                rewrite(Path(__file__).parent, entries)
            for out in data.root.glob("out-*"):
                shutil.rmtree(out)
            if options.data is None:
                _drop(data, (CASES[later] for later in options.names[i + 1 :]))
    if options.markdown:
        print(table(entries))


def _show(case: Case, results: list[Measured]) -> None:
    print(f"\n{case.name}: {case.work}")
    first = results[0].median if not results[0].failure else None
    for result in results:
        if result.failure:
            print(f"  {result.name:42} {result.failure}")
            continue
        lead = f"{result.median / first:6.2f} x" if first and result is not results[0] else " " * 8
        spread = f"{min(result.seconds):.3f} - {max(result.seconds):.3f}"
        print(
            f"  {result.name:42} {result.median:8.3f} s  {lead}  {spread:>15}  {result.peak / 2**20:6.0f} MiB"
            + (f"  {result.read} bytes read" if case.contestant(result.name).reads else "")
        )
    sys.stdout.flush()


def _drop(data: Data, later: Iterable[Case]) -> None:
    """Remove the inputs that no later case reads, so that the data stay within the page cache."""
    needed = {name for case in later for name in case.inputs}
    needed |= {source for name in needed if (source := DATASETS[name][0]) is not None}
    for name in DATASETS.keys() - needed:
        path = data.root / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
