"""A server for the tests of a process, and a place for what they keep."""

from __future__ import annotations

import sys

import pytest

from tests.reliability.server import Server

if sys.platform != "linux":
    collect_ignore_glob = ["test_*.py"]  # forks, reads /proc


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A single-threaded process that forks and kills its children."""
    with Server(str(tmp_path_factory.mktemp("server"))) as running:
        yield running


@pytest.fixture
def reached(record_property):
    """Tell the summary at the end of the run how many points a test reached."""
    return lambda name, number: record_property("reached", (name, number))
