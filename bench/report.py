"""The table: what was measured, kept as JSON beside the README, and shown between the README's markers."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench.cases import CASES
from bench.harness import Case
from bench.measure import Measured

__all__ = ["machine", "record", "rewrite", "table"]

BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
PACKAGES = (
    "numpy",
    "dask",
    "zarr",
    "zarrs",
    "blosc2",
    "tensorstore",
    "numcodecs",
    "polars",
    "duckdb",
    "pyarrow",
    "scipy",
    "h5py",
    "imagecodecs",
)

Entry = Mapping[str, Any]


def machine() -> str:
    """Return one line on processor, cores, memory, system and versions."""
    model = platform.processor() or platform.machine()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return (
        f"{model}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB, {platform.system()} "
        f"{platform.release()}, Python {platform.python_version()}, {', '.join(_versions())}"
    )


def _versions() -> list[str]:
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return found


def record(case: Case, size: int, results: list[Measured], load: float) -> dict[str, Any]:
    """Return what was measured of one case as plain data, for JSON."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "load": round(load, 2),  # runnable processes of others when it began, of the last minute
        "moved": case.moved(size),
        "contestants": {
            m.name: {"failure": m.failure}
            if m.failure
            else {
                "seconds": [round(s, 5) for s in m.seconds],
                "median": round(m.median, 5),
                "processor": round(statistics.median(m.processor), 2),
                "peak": m.peak,
            }
            | ({"read": m.read, "reads": reads(size)} if (reads := case.contestant(m.name).reads) else {})
            for m in results
        },
    }


HEAD = """\
| work | by | median | processor time | GB/s | chunkarr is faster by | at least | peak memory |
|---|---|--:|--:|--:|--:|--:|--:|"""


def table(entries: Mapping[str, Entry]) -> str:
    """Return the cases' measurements as a markdown table, with the machines below."""
    rows = [HEAD]
    machines: dict[str, list[str]] = {}
    for name, case in CASES.items():
        if name in entries:
            rows += _rows(case, entries[name])
            entry = entries[name]
            machines.setdefault(f"{entry['date']}: {entry['machine']}", []).append(f"{name} {entry['load']}")
    notes = [f"{text}. Load when each case began: {', '.join(names)}." for text, names in machines.items()]
    return "\n".join([*rows, "", "\n\n".join(notes)]).rstrip()


def _rows(case: Case, entry: Entry) -> list[str]:
    rows: list[str] = []
    found = entry["contestants"]
    first = found.get(case.contestants[0].name, {}).get("median")
    for contestant in case.contestants:
        if contestant.name not in found:
            continue
        got, work = found[contestant.name], case.work if not rows else ""
        if "median" not in got:
            rows.append(f"| {work} | {contestant.name} | {got['failure']} | | | | | |")
            continue
        median, ratio, goal = got["median"], "", ""
        if first is not None and contestant is not case.contestants[0]:
            lead = median / first
            met = contestant.target is None or lead >= contestant.target
            ratio = f"{lead:.2f}" if met else f"**{lead:.2f}**"
            goal = "" if contestant.target is None else f"{contestant.target:g}"
        name = contestant.name if contestant.share == 1 else f"{contestant.name} ({contestant.share:.0%}, extrapolated)"
        if "read" in got:
            text = f"{got['read']:,} bytes read of {got['reads']:,}"
            name += f" ({text})" if got["read"] <= got["reads"] else f" (**{text}**)"
        rows.append(
            f"| {work} | {name} | {_seconds(median)} | {_processor(got)} | {entry['moved'] / median / 1e9:.2f} "
            f"| {ratio} | {goal} | {_memory(got['peak'], contestant.limit)} |"
        )
    return rows


def _seconds(value: float) -> str:
    return f"{value:.3f} s" if value < 10 else f"{value:.1f} s"


def _processor(got: Mapping[str, Any]) -> str:
    return f"{got['processor']:.2f} s" if "processor" in got else ""


def _memory(peak: int, limit: int | None) -> str:
    text = f"{peak / 2**20:.0f} MiB"
    if limit is None:
        return text
    return f"{text} of {limit / 2**20:.0f}" if peak <= limit else f"**{text} of {limit / 2**20:.0f}**"


def rewrite(directory: Path, entries: Mapping[str, Entry]) -> None:
    """Merge measurements into ``results.json`` and show all of them in the README of ``directory``."""
    kept = directory / "results.json"
    old = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    merged = {name: (old | dict(entries))[name] for name in CASES if name in old or name in entries}
    kept.write_text(json.dumps(merged, indent=1) + "\n", encoding="utf-8")
    readme = directory / "README.md"
    before, rest = readme.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    readme.write_text(f"{before}{BEGIN}\n{table(merged)}\n{END}{after}", encoding="utf-8")
