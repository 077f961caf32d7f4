"""Mutated files of every format: no crash, no hang, no memory beyond the budget, only chunkarr's errors."""

from __future__ import annotations

import sys

import pytest

from tests.hostile.cases import CASES
from tests.hostile.feeding import ALLOWED
from tests.reliability.server import Server

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, caps and reads /proc")

SHARE, ALL = 120, 1000


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(str(tmp_path_factory.mktemp("server"))) as running:
        yield running


@pytest.mark.parametrize("count", [SHARE, pytest.param(ALL, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("name", [case.name for case in CASES])
def test_mutated_files_are_read_or_refused(name, count, server, tmp_path, record_property):
    tally = server.ask("tests.hostile.feeding.feed", name, str(tmp_path), count, 0 if count == SHARE else 1)
    record_property("reached", (f"mutated files, {name}", tally.fed))
    assert tally.fed == count
    assert not tally.bad, f"{len(tally.bad)} of {count}:\n" + "\n".join(tally.bad[:5])
    assert tally.said, "no mutation was noticed: the fixture is not read"
    assert tally.peak <= ALLOWED


@pytest.mark.parametrize(
    ("trap", "words"), [("die", "SIGABRT"), ("spin", "SIGPROF"), ("swell", "MemoryError"), ("stumble", "IndexError")]
)
def test_what_must_not_be_is_noticed(trap, words, server, tmp_path):
    tally = server.ask("tests.hostile.feeding.feed", f"trap-{trap}", str(tmp_path), 1)
    assert (tally.fed, len(tally.bad)) == (1, 1)
    assert all(words in text for text in tally.bad)
