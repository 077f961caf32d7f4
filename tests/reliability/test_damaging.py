"""Damage to every stored file of a Zarr array, and to what a killed writer left: nothing is silent."""

from __future__ import annotations

import pytest

CHUNKED = ("zarr", "zarr-none", "zarr-fortran", "zarr-shards")
RUNS = [(name, 0.1) for name in CHUNKED] + [pytest.param(name, 1.0, marks=pytest.mark.nightly) for name in CHUNKED]
PENDING = [("zarr-shrink", 0.01), ("npy-update", 0.03)] + [
    pytest.param(f"{layout}-{operation}", 0.1, marks=pytest.mark.nightly)
    for layout in ("zarr", "zarr-shards", "npy", "raw")
    for operation in ("update", "append", "cut")
]


@pytest.mark.parametrize("operation", ["create", "update", "reshape"])
@pytest.mark.parametrize(("layout", "share"), RUNS)
def test_damage_is_refused_and_listed(layout, operation, share, server, tmp_path, reached):
    tally = server.ask("damaging.damages", f"{layout}-{operation}", str(tmp_path), share)
    reached("damaged files", tally.points)
    assert not tally.bad, "\n".join(tally.bad[:5])
    assert {"CorruptChunkError", "MetadataError"} & set(tally.said)
    if share == 1:
        assert {"CorruptChunkError", "MissingChunkError", "ForeignChangeError", "MetadataError"} <= set(tally.said)


@pytest.mark.parametrize(("name", "share"), PENDING)
def test_damage_to_what_a_killed_writer_left_makes_no_mix(name, share, server, tmp_path, reached):
    tally = server.ask("damaging.pending", name, str(tmp_path), share)
    reached("damaged files of killed writers", tally.points)
    assert not tally.bad, "\n".join(tally.bad[:5])
    assert len(tally.said) > 1
