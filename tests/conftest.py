"""Profiles of hypothesis, the number of processes, and an own scratch directory and memory budget."""

from __future__ import annotations

import os

import hypothesis
import pytest

from chunkarr import settings

EXAMPLES = {"dev": 50, "again": 50, "ci": 100, "nightly": 5000}

for name, count in EXAMPLES.items():
    hypothesis.settings.register_profile(
        name,
        max_examples=count,
        derandomize=name in ("ci", "again"),
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
    )
hypothesis.settings.load_profile(os.environ.get("CHUNKARR_TEST_PROFILE", "dev"))


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Run everything in up to four processes, but files named on the command line in this one."""
    whole = list(config.args) == config.getini("testpaths")
    return min(settings.usable_cores(), 4) if whole else 0


def pytest_report_header() -> str:
    """Say which chunkarr is being tested."""
    import chunkarr

    return f"chunkarr: {os.path.dirname(chunkarr.__file__ or '?')}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many points the proof of reliability reached."""
    totals: dict[str, int] = {}
    for report in [*terminalreporter.stats.get("passed", ()), *terminalreporter.stats.get("failed", ())]:
        for kind, value in getattr(report, "user_properties", ()):
            if kind == "reached":
                totals[value[0]] = totals.get(value[0], 0) + value[1]
    if totals:
        terminalreporter.section("reached")
    for name, number in sorted(totals.items()):
        terminalreporter.write_line(f"{name}: {number:,}")


@pytest.fixture(autouse=True)
def _own_settings(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest):
    """Give each test the same settings whatever the machine, and undo what it sets."""
    scratch = tmp_path_factory.getbasetemp() / "scratch"
    with settings.config.set(memory="256MiB", workers=2, scratch=str(scratch), durability="process", progress=False):
        yield
