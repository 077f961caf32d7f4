"""MATLAB files of version 7.3: files made with h5py as MATLAB makes them, and h5py's view of those written here."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
import pytest

import chunkarr as ca
from chunkarr.errors import FormatError, OptionError, UnsupportedError
from chunkarr.formats import mat
from chunkarr.formats.table import identify
from chunkarr.grid import Grid, region_shape, region_slices, whole

HEAD = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"


def read(stored: Any, region: Any = None) -> np.ndarray:
    region = whole(stored.shape) if region is None else region
    out = np.empty(region_shape(region), stored.dtype)
    stored.read(region, out, np.empty(stored.scratch_bytes(region), "u1"))
    return out


class Maker:
    """Makes a file as MATLAB does; `put` returns what is there, so that cells can refer to it."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.file = h5py.File(path, "w", userblock_size=512)
        self.count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()
        with open(self.path, "r+b") as file:
            file.write(HEAD)

    def put(self, name: str, values: Any, kind: str, **attributes: Any) -> h5py.Dataset:
        more = {"chunks": True, "compression": "gzip", "shuffle": True} if np.size(values) > 1000 else {}
        made = self.file.create_dataset(name, data=np.asarray(values).T, **more)
        made.attrs["MATLAB_class"] = np.bytes_(kind)
        for attribute, value in attributes.items():
            made.attrs[attribute] = value
        return made

    def cell(self, name: str, members: Any, kind: str | None = "cell") -> h5py.Dataset:
        rows, columns = len(members), len(members[0])
        made = self.file.create_dataset(name, (columns, rows), h5py.ref_dtype)
        for i in range(rows):
            for j in range(columns):
                made[j, i] = members[i][j].ref
        if kind:
            made.attrs["MATLAB_class"] = np.bytes_(kind)
        return made

    def hidden(self, values: Any, kind: str = "double", **attributes: Any) -> h5py.Dataset:
        self.count += 1
        return self.put(f"#refs#/{self.count}", values, kind, **attributes)


def units(text: list[str]) -> np.ndarray:
    return np.array([[ord(c) for c in line] for line in text], "<u2")


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A file with everything that FORMATS lists."""
    with Maker(tmp_path / "a.mat") as make:
        make.put("x", np.arange(24.0).reshape(2, 3, 4), "double")
        make.put("big", np.arange(30000, dtype="i4").reshape(100, 300), "int32")
        pairs = np.zeros((2, 3), [("real", "<f8"), ("imag", "<f8")])
        pairs["real"], pairs["imag"] = np.arange(6).reshape(2, 3), -1.5
        make.put("z", pairs, "double")
        make.put("yes", np.array([[1, 0, 2]], "u1"), "logical", MATLAB_int_decode=np.int32(1))
        make.put("t", units(["one", "two"]), "char", MATLAB_int_decode=np.int32(2))
        make.put("none", np.array([0, 5], "<u8"), "single", MATLAB_empty=np.uint8(1))
        make.put("blank", np.array([0, 0], "<u8"), "char", MATLAB_empty=np.uint8(1))
        make.put("s/f", [[5.0]], "double")
        make.put("s/u/v", [[6.0, 7.0]], "double")
        make.file["s"].attrs["MATLAB_class"] = make.file["s/u"].attrs["MATLAB_class"] = np.bytes_("struct")
        inner = make.cell("#refs#/inner", [[make.hidden([[9.0]])]])
        make.cell("c", [[make.hidden([[1.0, 2.0]]), inner], [make.hidden(units(["hi"]), "char"), make.hidden([[3.0]])]])
        rows = make.file.create_group("rows")
        rows.attrs["MATLAB_class"] = np.bytes_("struct")
        make.cell("rows/a", [[make.hidden([[1.0]]), make.hidden([[2.0]])]], kind=None)
        make.cell("rows/b", [[make.hidden([[3.0]]), make.hidden(units(["four"]), "char")]], kind=None)
        sparse = make.file.create_group("sp")
        sparse.attrs["MATLAB_class"], sparse.attrs["MATLAB_sparse"] = np.bytes_("double"), np.uint64(4)
        make.file["sp/data"], make.file["sp/ir"], make.file["sp/jc"] = [1.5, 2.5], [0, 3], [0, 1, 1, 2]
        string = make.put("str", np.array([[3707764736, 2, 1, 1, 1, 1]], "<u4"), "string")
        string.attrs["MATLAB_object_decode"] = np.int32(3)
        fun = make.file.create_group("fun")
        fun.attrs["MATLAB_class"] = np.bytes_("function_handle")
    return str(tmp_path / "a.mat")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("x", np.arange(24.0).reshape(2, 3, 4)),
        ("big", np.arange(30000, dtype="i4").reshape(100, 300)),
        ("z", np.arange(6).reshape(2, 3) - 1.5j),
        ("yes", np.array([[True, False, True]])),
        ("t", np.array(["one", "two"])),
        ("none", np.zeros((0, 5), "f4")),
        ("blank", np.zeros((0,), "U1")),
        ("s/f", np.array([[5.0]])),
        ("s/u/v", np.array([[6.0, 7.0]])),
        ("c/0,0", np.array([[1.0, 2.0]])),
        ("c/0,1/0", np.array([[9.0]])),
        ("c/1,0", np.array(["hi"])),
        ("rows/1/a", np.array([[2.0]])),
        ("rows/1/b", np.array(["four"])),
        ("sp/data", np.array([1.5, 2.5])),
        ("sp/ir", np.array([0, 3])),
        ("sp/jc", np.array([0, 1, 1, 2])),
    ],
)
def test_what_a_data_set_stands_for_is_read(path: str, name: str, expected: np.ndarray) -> None:
    stored = mat.open(path, member=name)
    assert stored.format == "mat"
    found = read(stored)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_array_equal(found, expected)
    listed = {entry.name: entry for entry in mat.members(path)}
    assert (listed[name].shape, listed[name].dtype) == (expected.shape, expected.dtype)
    again = pickle.loads(pickle.dumps(stored))
    region = tuple((n // 3, n) for n in expected.shape)
    np.testing.assert_array_equal(read(again, region), expected[region_slices(region)])
    np.testing.assert_array_equal(np.asarray(ca.open(f"{path}::{name}")), expected)


def test_what_is_beside_the_variables_is_not_listed_and_objects_are_named(path: str) -> None:
    listed = {entry.name: entry for entry in mat.members(path)}
    assert not any(name.startswith("#") for name in listed)
    assert len(listed) == 22
    assert {name: entry.note for name, entry in listed.items() if entry.dtype is None} == {
        "fun": "object of class function_handle, not read",
        "str": "object of class string, not read",
    }
    assert listed["sp/data"].note == "parts of a sparse matrix of 4 rows, column by column"
    for name in ("fun", "str", "fun/x"):
        with pytest.raises(UnsupportedError, match="is an object of class"):
            mat.open(path, member=name)


def test_what_is_not_there_is_told_what_is(path: str) -> None:
    for member, reason in [
        ("y", r"there is no 'y' in '/', there are \['big', 'blank', 'c'"),
        ("s", r"'s' has members, choose one: \['f', 'u'\]"),
        ("s/g", r"there is no 'g' in 's', there are \['f', 'u'\]"),
        ("c", r"choose one: \['0,0', '1,0', '0,1', '1,1'\]"),
        ("rows", r"choose one: \['0/a', '0/b', '1/a', '1/b'\]"),
        ("sp", r"choose one: \['data', 'ir', 'jc'\]"),
        ("x/0", "'x' is an array"),
        (None, "has 20 arrays, choose one"),
    ]:
        with pytest.raises(FormatError, match=reason):
            mat.open(path, member=member)
    with pytest.raises(UnsupportedError, match="cannot be changed in place"):
        ca.open(path + "::x", "r+")


def test_the_order_of_fields_is_matlabs(tmp_path: Path) -> None:
    with Maker(tmp_path / "a.mat") as make:
        make.put("s/zeta", [[1.0]], "double")
        make.put("s/alpha", [[2.0]], "double")
        fields = np.empty(2, object)
        fields[:] = [np.array([letter.encode() for letter in name], "S1") for name in ("zeta", "alpha")]
        make.file["s"].attrs.create("MATLAB_fields", fields, dtype=h5py.vlen_dtype(np.dtype("S1")))
    assert [entry.name for entry in mat.members(str(tmp_path / "a.mat"))] == ["s/zeta", "s/alpha"]


def test_cells_within_themselves_and_contradictions_are_refused(tmp_path: Path) -> None:
    with Maker(tmp_path / "a.mat") as make:
        cell = make.cell("c", [[make.hidden([[1.0]])]])
        cell[0, 0] = cell.ref
    with pytest.raises(FormatError, match="within itself"):
        mat.members(str(tmp_path / "a.mat"))
    with pytest.raises(FormatError, match="nested deeper"):
        mat.open(str(tmp_path / "a.mat"), member="c" + "/0" * 70)
    with Maker(tmp_path / "b.mat") as make:
        make.put("full", np.array([3, 5], "<u8"), "double", MATLAB_empty=np.uint8(1))
        make.cell("nowhere", [[make.hidden([[1.0]])]])
        make.file["nowhere"][0, 0] = h5py.Reference()
    with pytest.raises(FormatError, match="is empty, but has dimensions"):
        mat.open(str(tmp_path / "b.mat"), member="full")
    with pytest.raises(FormatError, match="refers to nothing"):
        mat.open(str(tmp_path / "b.mat"), member="nowhere/0")


def test_a_file_is_known_by_its_content(path: str, tmp_path: Path) -> None:
    os.rename(path, tmp_path / "a.h5")
    assert identify(str(tmp_path / "a.h5")).name == "mat"
    with h5py.File(tmp_path / "b.mat", "w") as file:
        file["x"] = np.arange(6.0).reshape(2, 3)
    assert identify(str(tmp_path / "b.mat")).name == "hdf5"
    assert ca.open(str(tmp_path / "b.mat"), format="mat").shape == (3, 2)


# --- writing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["gzip", "none"])
@pytest.mark.parametrize("code", ["?", "i1", "<u2", ">i4", "<f4", ">f8", "<c8", ">c16", "<U3", ">U2"])
@pytest.mark.parametrize("shape", [(), (5,), (0,), (0, 3), (3, 5), (200, 3, 350)])
def test_what_is_written_comes_back_and_is_as_matlab_has_it(tmp_path: Path, shape: Any, code: str, codec: str) -> None:
    if len(shape) == 3 and code not in (">f8", "<c8", "?"):
        return  # several chunks: a few types
    rng = np.random.default_rng(0)
    values = np.asarray(rng.integers(0, 2 if code == "?" else 99, size=shape)).astype(code)
    if values.dtype.kind == "c":
        values = np.asarray(values + 2j * rng.normal(size=shape), code)
    path = str(tmp_path / "a.mat")
    target = mat.create(path, shape, code, version="7.3", codec=codec, member="x")
    steps = tuple(s * max(1, -(-c // 2)) for s, c in zip(target.grid.steps, target.grid.counts, strict=True))
    for region in Grid(shape, steps):
        target.write(region, values[(*region_slices(region), ...)], np.empty(target.scratch_bytes(region), "u1"))
    target.commit()
    assert os.listdir(tmp_path) == ["a.mat"]
    stored = mat.open(path)
    assert (stored.shape, stored.dtype) == (shape, values.dtype)
    np.testing.assert_array_equal(read(stored), values)
    assert Path(path).read_bytes()[:10] == b"MATLAB 7.3"
    with h5py.File(path) as file:
        assert file.userblock_size == 512
        kinds = {"b": b"logical", "U": b"char", "f": b"double", "c": b"double"}
        if values.dtype.itemsize > 4 or values.dtype.kind in "bU":
            assert file["x"].attrs["MATLAB_class"] == (b"single" if code == "<c8" else kinds[values.dtype.kind])
        if 0 in shape:
            assert file["x"].attrs["MATLAB_empty"] == 1
        elif values.dtype.kind in "iuf":
            np.testing.assert_array_equal(file["x"][()].T, values.reshape((1,) * (2 - values.ndim) + shape))


def test_arrays_beyond_the_older_versions_become_version_7_3(tmp_path: Path) -> None:
    target = mat.create(str(tmp_path / "a.mat"), (1 << 29,), "f8")
    target.abort()
    assert type(target).__name__ == "Mat73Target"
    with pytest.raises(OptionError, match="codec"):
        mat.create(str(tmp_path / "a.mat"), (3,), "f8", version="7.3", codec="lzf")
    assert os.listdir(tmp_path) == []
