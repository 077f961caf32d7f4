"""Several arrays in one file: none is taken for another."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr

import chunkarr as ca
from chunkarr.errors import FormatError, UnsafeInputError
from chunkarr.formats.fingerprint import describe_stored
from chunkarr.formats.table import list_members, open_stored


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


def test_arrays_are_saved_into_groups_that_zarr_opens(tmp_path: Path) -> None:
    path = f"{tmp_path}/all.zarr"
    ca.save(f"{path}::run/x", np.arange(6).reshape(2, 3))
    ca.save(f"{path}::run/y", np.arange(3.0))
    ca.save(f"{path}::z", np.array(["a", "b"]))
    group = zarr.open_group(path, mode="r")
    assert sorted(group) == ["run", "z"]
    assert group["run/x"][:].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert [member[:3] for member in list_members(path)] == [
        ("run/x", (2, 3), np.dtype("i8")),
        ("run/y", (3,), np.dtype("f8")),
        ("z", (2,), np.dtype("U1")),
    ]
    assert ca.open(f"{path}::run/y").sum() == 3
    with pytest.raises(FormatError, match="is a Zarr array, not a group"):
        ca.save(f"{path}::run/x/inner", np.arange(3))
    with pytest.raises(UnsafeInputError, match="leads outside"):
        ca.save(f"{path}::../x", np.arange(3))


def test_groups_of_others_are_listed(tmp_path: Path) -> None:
    for version, name in ((2, "two.zarr"), (3, "three.zarr")):
        group = zarr.open_group(tmp_path / name, mode="w", zarr_format=version)
        group.create_group("g").create_array("a", shape=(4, 5), dtype="f4", chunks=(2, 5))
        group.create_array("b", shape=(3,), dtype="i2", chunks=(2,))
        (tmp_path / name / "b" / "other").mkdir()
        assert [member[:3] for member in list_members(str(tmp_path / name))] == [
            ("b", (3,), np.dtype("i2")),
            ("g/a", (4, 5), np.dtype("f4")),
        ]
    (tmp_path / "three.zarr" / "b" / "zarr.json").write_text("{")
    damaged = list_members(str(tmp_path / "three.zarr"))[0]
    assert damaged[:3] == ("b", None, None)
    assert "not valid JSON" in damaged.note


def test_an_array_lists_itself_and_links_are_not_followed(tmp_path: Path) -> None:
    ca.save(tmp_path / "a.zarr", np.arange(3))
    assert [member[:2] for member in list_members(f"{tmp_path}/a.zarr")] == [("", (3,))]
    ca.save(f"{tmp_path}/g.zarr::x", np.arange(3))
    (tmp_path / "g.zarr" / "link").symlink_to(tmp_path / "a.zarr")
    assert [member.name for member in list_members(f"{tmp_path}/g.zarr")] == ["x"]
    ca.save(tmp_path / "a.npy", np.arange(3))
    assert list_members(f"{tmp_path}/a.npy") == []
    with pytest.raises(FileNotFoundError):
        list_members(f"{tmp_path}/missing.npz")
