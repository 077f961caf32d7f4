"""Filters that HDF5 has not: hdf5plugin brings them, when a data set needs one."""

from __future__ import annotations

import subprocess
import sys

import h5py
import numpy as np
import pytest

import chunkarr as ca

hdf5plugin = pytest.importorskip("hdf5plugin")

READING = """
import sys, chunkarr as ca, numpy as np
assert "hdf5plugin" not in sys.modules
a = ca.open(sys.argv[1])
assert "hdf5plugin" in sys.modules
print(int(np.asarray(a[5:9, 30:50]).sum()))
"""


@pytest.mark.parametrize("name", ["Blosc", "Blosc2", "Zstd", "LZ4", "Bitshuffle"])
@pytest.mark.parametrize("isolate", [False, True])
def test_values_of_other_filters(tmp_path, name, isolate):
    values = np.arange(1000, dtype="<i4").reshape(10, 100)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=values, chunks=(3, 40), **getattr(hdf5plugin, name)())
    stored = ca.open(tmp_path / "a.h5", isolate=isolate)
    assert np.array_equal(np.asarray(stored), values)
    assert np.array_equal(np.asarray(stored[4:7, 35:90]), values[4:7, 35:90])


def test_it_is_imported_when_a_data_set_needs_it(tmp_path):
    values = np.arange(1000, dtype="<i4").reshape(10, 100)
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=values, chunks=(3, 40), **hdf5plugin.Zstd())
    command = [sys.executable, "-P", "-c", READING, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.strip(), done.returncode) == (str(values[5:9, 30:50].sum()), 0), done.stderr
