"""Lost power: every state of the disk that the calls may leave is the old array or the new one, and none is lost."""

from __future__ import annotations

import numpy as np
import pytest

from tests.reliability.cases import cases
from tests.reliability.power import Disk, Event, File, inode
from tests.reliability.test_crashing import DIAGONAL

ALL = [case.name for case in cases()]
QUICK = [*DIAGONAL[::2], "zarr-foreign-update", "zarr-unsynced", "npy-scattered"]
RUNS = [*((name, 25) for name in QUICK), *(pytest.param(name, 300, marks=pytest.mark.nightly) for name in ALL)]


@pytest.mark.parametrize(("name", "limit"), RUNS)
def test_power_losses(name, limit, server, tmp_path, reached):
    tally, possible = server.ask("power.losses", name, str(tmp_path), limit)
    reached("states after power loss", tally.points)
    assert not tally.bad, "\n".join(tally.bad[:5])
    assert tally.points == min(limit, possible)


@pytest.mark.parametrize("name", ["zarr-shards-update", "npy-append"])
def test_without_fsync_the_same_test_finds_bad_states(name, server, tmp_path):
    tally, _ = server.ask("power.losses", name, str(tmp_path), 100, 0, ("fsync",))
    assert any("had returned" in bad for bad in tally.bad)
    assert any("Error" in bad or "a mix" in bad for bad in tally.bad)


# --- the model itself ----------------------------------------------------------------------------


def states(disk):
    """Return all states as dictionaries."""
    return [dict(state) for state in disk.states(np.random.default_rng(0))]


def test_a_name_lasts_once_its_directory_is_synced(tmp_path):
    disk = Disk(str(tmp_path))
    root = inode(str(tmp_path))
    disk.apply(Event((((root, "a"), 7),), made=7))
    assert {} in states(disk)
    assert {"a": b""} in states(disk)
    disk.apply(Event(synced=root))
    assert states(disk) == [{"a": b""}]


def test_bytes_that_are_not_synced_are_there_whole_by_half_or_not(tmp_path):
    (tmp_path / "a").write_bytes(b"old!")
    disk = Disk(str(tmp_path))
    file = inode(str(tmp_path / "a"))
    disk.apply(Event(file=file, data=b"newer!", offset=0))
    found = {state["a"] for state in states(disk)}
    assert found == {b"newer!", b"new!", b"old!", b"old!\0\0"}
    disk.apply(Event(synced=file))
    assert states(disk) == [{"a": b"newer!"}]


def test_a_rename_is_never_half_done_and_lasts_with_either_directory(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_bytes(b"1")
    root, below, file = (inode(str(tmp_path / name)) for name in ("", "d", "d/a"))
    rename = Event((((below, "a"), None), ((root, "b"), file)))
    for synced in (root, below):
        disk = Disk(str(tmp_path))
        disk.apply(rename)
        assert states(disk) == [{"d": None, "d/a": b"1"}, {"b": b"1", "d": None}]
        disk.apply(Event(synced=synced))
        assert states(disk) == [{"b": b"1", "d": None}]


def test_a_name_that_lasts_brings_what_happened_to_it_before(tmp_path):
    disk = Disk(str(tmp_path))
    root = inode(str(tmp_path))
    disk.apply(Event((((root, "d"), 5),), made=5, is_dir=True))
    disk.apply(Event(synced=root))
    disk.apply(Event((((5, "a"), 7),), made=7))
    disk.apply(Event((((5, "a"), None), ((root, "b"), 7))))
    disk.apply(Event(synced=root))
    assert states(disk) == [{"b": b"", "d": None}]


def test_zeros_lie_only_where_the_file_grew():
    file = File(b"old!", [Event(file=1, data=b"newer!", offset=2)])
    assert file.value({0: "zeros"}) == b"old!\0\0\0\0"
    assert file.value({0: "half"}) == b"olnew"
