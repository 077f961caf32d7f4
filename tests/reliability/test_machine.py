"""Changes in any order, with kills and errors, equal NumPy's."""

from __future__ import annotations

import pytest

LAYOUTS = ("zarr", "zarr-fortran", "zarr-shards", "zarr-foreign", "npy", "npy-fortran", "raw", "hdf5")
RUNS = [("zarr", 6), ("zarr-shards", 4), ("npy", 5)] + [
    pytest.param(name, 40, marks=pytest.mark.nightly) for name in LAYOUTS
]


@pytest.mark.parametrize(("layout", "examples"), RUNS)
def test_a_stored_array_changes_as_an_ndarray(layout, examples, server, tmp_path, reached):
    assert server.ask("machine.run", layout, str(tmp_path), examples, 20) == 20 * examples
    reached("sequences of 20 steps", examples)
