"""Several arrays in one file: none is taken for another."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

import chunkarr as ca
from chunkarr.formats.fingerprint import describe_stored
from chunkarr.formats.table import open_stored


def test_cached_chunks_of_two_members_are_not_mixed_up(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("a", data=np.arange(100.0), chunks=(10,), compression="gzip")
        file.create_dataset("b", data=-np.arange(100.0), chunks=(10,), compression="gzip")
    a, b = ca.open(f"{path}::/a"), ca.open(f"{path}::/b")
    assert [float(x[k]) for k in (5, 6) for x in (a, b)] == [5, -5, 6, -6]


def test_members_are_told_apart_when_work_is_resumed(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("a", data=np.arange(3), chunks=(2,), compression="gzip")
        file.create_dataset("b", data=np.arange(3), chunks=(2,), compression="gzip")
    one, two = (describe_stored(open_stored(f"{path}::/{name}")) for name in "ab")
    assert (one.pop("member"), two.pop("member")) == ("/a", "/b")
    assert one == two
