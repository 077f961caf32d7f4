"""Which format a path is of, and what its row says."""

from __future__ import annotations

import importlib
import inspect
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chunkarr as ca
from chunkarr.errors import FormatError, OptionError, TargetExistsError, UnsafeInputError
from chunkarr.formats.table import FORMATS, Format, create_target, identify, open_stored, split_member

every_row = pytest.mark.parametrize("row", FORMATS, ids=[row.name for row in FORMATS])
SIGNATURE = b"\x89HDF\r\n\x1a\n"


@every_row
def test_the_options_of_a_row_are_those_of_its_module(row: Format) -> None:
    module = importlib.import_module(row.module)
    opening = set(inspect.signature(module.open).parameters) - {"path", "mode", "member"}
    creating = set(inspect.signature(module.create).parameters)
    creating -= {"path", "shape", "dtype", "overwrite", "durability", "member"}
    assert opening == set(row.open_options)
    assert creating - {"adopt"} == set(row.create_options)
    assert ("adopt" in creating) == row.resumable


def test_names_and_suffixes_are_unique() -> None:
    suffixes = [suffix for row in FORMATS for suffix in row.suffixes]
    assert len(set(suffixes)) == len(suffixes)
    assert len({row.name for row in FORMATS}) == len(FORMATS)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.dat", b"\x93NUMPY\x01\x00", "npy"),
        ("a.npy", SIGNATURE, "hdf5"),
        ("a", bytes(512) + SIGNATURE, "hdf5"),
        ("a", bytes(8192) + SIGNATURE + bytes(100), "hdf5"),
        ("a.raw", bytes(600), "raw"),
        ("a.RAW", b"", "raw"),
        ("a.npy", b"", "npy"),
        ("a.h5", b"text", "hdf5"),
    ],
)
def test_the_content_counts_before_the_suffix(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert identify(str(tmp_path / name)).name == expected


@pytest.mark.parametrize("mark", ["zarr.json", ".zarray", ".zgroup"])
def test_zarr_is_a_directory_with_a_mark(tmp_path: Path, mark: str) -> None:
    (tmp_path / mark).write_bytes(b"{}")
    assert identify(str(tmp_path)).name == "zarr"


@pytest.mark.parametrize("name", ["a.xyz", "a", "npy"])
def test_what_is_not_known_is_told_what_is(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(bytes(600))
    with pytest.raises(FormatError, match="no known format") as caught:
        identify(str(tmp_path / name))
    assert all(row.name in str(caught.value) for row in FORMATS)
    with pytest.raises(FormatError, match="no known format"):
        identify(str(tmp_path))
    with pytest.raises(FormatError, match="no known format"):
        create_target(str(tmp_path / "new.xyz"), (3,), "<i4")


def test_a_directory_called_npy_is_not_one(tmp_path: Path) -> None:
    (tmp_path / "a.npy").mkdir()
    with pytest.raises(FormatError, match="this directory is of no known format"):
        open_stored(str(tmp_path / "a.npy"))


def test_a_dtype_makes_unknown_content_raw_but_known_content_stays(tmp_path: Path) -> None:
    (tmp_path / "a.fits").write_bytes(bytes(24))
    assert open_stored(str(tmp_path / "a.fits"), dtype="<i4").shape == (6,)
    np.save(tmp_path / "a.npy", np.zeros(3))
    with pytest.raises(OptionError, match="opening npy does not take dtype; it takes durability, timeout"):
        open_stored(str(tmp_path / "a.npy"), dtype="<i4")
    assert open_stored(str(tmp_path / "a.npy"), format="raw", dtype="u1").shape == (
        (tmp_path / "a.npy").stat().st_size,
    )


def test_raw_records_need_a_dtype(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(bytes(24))
    with pytest.raises(OptionError, match="raw records need dtype="):
        open_stored(str(tmp_path / "a.raw"))


def test_unknown_formats_and_options_are_named_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="format 'nope' is not known; there are npy, "):
        identify("a.npy", "nope")
    (tmp_path / "a.raw").write_bytes(b"")
    with pytest.raises(OptionError, match="opening raw does not take colour; it takes dtype, shape, offset, "):
        open_stored(str(tmp_path / "a.raw"), colour=1)
    with pytest.raises(OptionError, match="creating npy does not take chunks, codec; it takes order"):
        create_target(str(tmp_path / "a.npy"), (3,), "<i4", codec="x", chunks=(3,))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("f.h5::/g/x", ("f.h5", "/g/x")),
        ("a.npy", ("a.npy", None)),
        ("a:b.npy", ("a:b.npy", None)),
        ("f.h5::", ("f.h5", "")),
        ("simplecache::s3://b/a.zarr", ("simplecache::s3://b/a.zarr", None)),
    ],
)
def test_members_are_split_off(path: str, expected: Any) -> None:
    assert split_member(path) == expected


def test_members_where_there_are_none(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(3))
    with pytest.raises(FormatError, match="a npy file has no members, so there is no 'x' in it"):
        open_stored(str(tmp_path / "a.npy") + "::x")
    (tmp_path / "zarr.json").write_bytes(b"{}")
    with pytest.raises(UnsafeInputError, match="leads outside"):
        open_stored(str(tmp_path) + "::../x")


def test_what_is_absent_is_a_file_not_found_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.npy"):
        open_stored(str(tmp_path / "absent.npy"))


def test_directories_that_are_no_arrays_are_never_replaced(tmp_path: Path) -> None:
    home = tmp_path / "home.zarr"
    home.mkdir()
    (home / "letter").write_text("dear")
    with pytest.raises(TargetExistsError, match="holds no array"):
        create_target(str(home), (3,), "<i4", overwrite=True)
    with pytest.raises(TargetExistsError, match="overwrite=True"):
        create_target(str(home), (3,), "<i4")
    assert os.listdir(home) == ["letter"]


@pytest.mark.parametrize("name", ["a.h5", "a.npz", "a.mat"])
def test_a_member_that_is_replaced_takes_no_others_with_it(tmp_path, name):
    """The file was replaced by one that had the new array alone."""
    path = str(tmp_path / name)
    ca.save(path + "::x", np.arange(3))
    ca.save(path + "::x", np.arange(4), overwrite=True)
    with pytest.raises(ca.TargetExistsError, match="x, which would go"):
        ca.save(path + "::y", np.arange(5), overwrite=True)
    assert ca.open(path + "::x").compute().tolist() == [0, 1, 2, 3]
    ca.save(path, np.arange(2), overwrite=True)
    assert ca.open(path).compute().tolist() == [0, 1]
