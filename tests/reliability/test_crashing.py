"""Kills and errors at every call that changes the disk: the old array or the new one, and nothing besides."""

from __future__ import annotations

import pytest

from tests.reliability.cases import LAYOUTS, OPERATIONS, cases, named

# A default run visits each layout and each operation, but not each pair.
DIAGONAL = [
    "zarr-create", "zarr-update", "zarr-append", "zarr-none-replace", "zarr-none-shrink", "zarr-fortran-whole",
    "zarr-fortran-cut", "zarr-shards-update", "zarr-shards-grow", "zarr-shards-reshape", "npy-replace", "npy-update",
    "npy-append", "npy-fortran-cut", "raw-update", "raw-sequence", "hdf5-replace", "hdf5-update", "zarr-foreign-append",
    "zarr-two-renames", "npy-unsynced", "raw-scattered",
]  # fmt: skip
ALL = [case.name for case in cases()]
RUNS = [*((name, False) for name in DIAGONAL), *(pytest.param(name, True, marks=pytest.mark.nightly) for name in ALL)]


def test_the_default_run_visits_every_layout_and_operation():
    assert {named(name).layout.name for name in DIAGONAL} == set(LAYOUTS)
    assert {named(name).operation.name for name in DIAGONAL} == set(OPERATIONS)


@pytest.mark.parametrize(("name", "whole"), RUNS)
def test_kills(name, whole, server, tmp_path, reached):
    tally = server.ask("crashing.kills", name, str(tmp_path), *((1.0, 0.3) if whole else (0.12, 0.02)))
    reached("kill points", tally.points)
    reached("kill points in recoveries", tally.recoveries)
    assert not tally.bad, "\n".join(tally.bad[:5])
    assert tally.points >= 1
    if whole:
        assert tally.old
        assert tally.new


@pytest.mark.parametrize(("name", "whole"), RUNS)
def test_errors(name, whole, server, tmp_path, reached):
    tally = server.ask("crashing.errors", name, str(tmp_path), 0.15 if whole else 0.02)
    reached("errors", tally.points)
    assert not tally.bad, "\n".join(tally.bad[:5])
    assert tally.points >= 1
    if whole:
        assert tally.old
