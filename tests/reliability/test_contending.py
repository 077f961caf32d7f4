"""Several processes on one array: no update of two writers is lost, no reader sees a mix."""

from __future__ import annotations

import numpy as np
import pytest

from tests.reliability.cases import LAYOUTS, create

IN_PLACE = ("zarr", "zarr-shards", "npy", "raw")


@pytest.mark.parametrize(
    ("layout", "times"),
    [("zarr", 40), *(pytest.param(name, 300, marks=pytest.mark.nightly) for name in LAYOUTS)],
)
def test_two_writers_lose_nothing(layout, times, server, tmp_path, reached):
    server.ask("contending.count_in", layout, str(tmp_path), times)
    reached("updates of two writers", 2 * times)


@pytest.mark.parametrize(
    ("layout", "seconds"),
    [("zarr", 1.0), ("npy", 1.0), *(pytest.param(name, 8.0, marks=pytest.mark.nightly) for name in IN_PLACE)],
)
def test_a_reader_during_commits_sees_whole_generations(layout, seconds, server, tmp_path, reached):
    path = str(tmp_path / ("a" + LAYOUTS[layout].suffix))
    create(path, np.zeros((8, 200), "<i4"), LAYOUTS[layout])
    done = str(tmp_path / "done")
    commits, reads, seen, retries, wrong = server.ask("contending.commit_and_read", path, layout, seconds, done)
    assert not wrong, wrong[:5]
    assert reads >= 250 * seconds, f"{reads} reads, {retries} retries, {commits} commits"
    assert seen >= 5
    reached("reads during commits", reads)
    reached("commits during reads", commits)
