"""Between files, buffers, iterators and arrays; NumPy is the oracle."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chunkarr as ca
from chunkarr.errors import MemoryBudgetError, OptionError, TargetExistsError, UnsafeInputError, UnsupportedError
from chunkarr.functions import filing

RECORD = np.dtype([("a", "<i2"), ("b", ">f8")])


# --- npz ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["savez", "savez_compressed"])
def test_several_arrays_in_one_file(tmp_path: Path, name: str) -> None:
    arrays = [np.arange(7), np.float32(3), np.zeros((0, 2)), np.ones(3, RECORD), np.array(["a", "bcd"])]
    getattr(ca, name)(tmp_path / "x", *arrays, a=ca.arange(12).reshape(3, 4) * 2, b=[1, 2])
    getattr(np, name)(tmp_path / "y", *arrays, a=np.arange(12).reshape(3, 4) * 2, b=[1, 2])
    with np.load(tmp_path / "x.npz") as ours, np.load(tmp_path / "y.npz") as theirs:
        assert ours.files == [*(f"arr_{k}" for k in range(5)), "a", "b"]
        assert sorted(ours.files) == sorted(theirs.files)
        for key in theirs:
            assert (ours[key].dtype, ours[key].shape) == (theirs[key].dtype, theirs[key].shape)
            np.testing.assert_array_equal(ours[key], theirs[key])
            np.testing.assert_array_equal(ca.open(f"{tmp_path}/x.npz::{key}").compute(), theirs[key])
    with zipfile.ZipFile(tmp_path / "x.npz") as file:
        assert file.testzip() is None
        assert {member.compress_type for member in file.infolist()} == {8 if name == "savez_compressed" else 0}


def test_no_arrays_at_all(tmp_path: Path) -> None:
    ca.savez(tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz") as loaded:
        assert loaded.files == []


def test_savez_is_one_transaction(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    ca.savez(path, a=np.arange(3))
    with pytest.raises(TargetExistsError):
        ca.savez(path, a=np.arange(4))
    bad = ca.asarray(np.array(["1", "x"])).astype(int)
    with pytest.raises(ValueError, match="invalid literal"):
        ca.savez(path, a=np.arange(100), b=bad, overwrite=True)
    with pytest.raises(ValueError, match="Cannot use un-named variables and keyword arr_0"):
        ca.savez(path, 1, arr_0=2, overwrite=True)
    with pytest.raises(UnsafeInputError, match=r"x\.npz::b: dtype object"):
        ca.savez(path, a=np.arange(9), b=np.array([{}]), overwrite=True)
    with pytest.raises(OptionError, match="durability"):
        ca.savez(path, np.arange(9), durability="some", overwrite=True)
    with pytest.raises(OptionError, match="cannot be the name"):
        ca.savez(path, overwrite=True, **{"../a": np.arange(9)})
    with pytest.raises(TypeError, match="PathLike"):
        ca.savez(io.BytesIO(), np.arange(9))
    assert os.listdir(tmp_path) == ["x.npz"]
    assert ca.open(f"{path}::a").tolist() == [0, 1, 2]


def test_savez_of_what_is_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    ca.savez(path, a=np.arange(1000), b=np.ones(3))
    ca.savez(path, a=ca.open(f"{path}::a")[::-1], b=ca.open(f"{path}::b") * 2, overwrite=True)
    assert ca.open(f"{path}::a")[0] == 999
    assert ca.open(f"{path}::b").sum() == 6


@pytest.mark.parametrize("name", ["savez", "savez_compressed"])
def test_numpys_functions_write_arrays_of_any_size(tmp_path: Path, name: str) -> None:
    with ca.config.set(memory="24MiB"):
        array = ca.arange(4_000_000) % 7
        getattr(np, name)(tmp_path / "x.npz", array)
        getattr(np, name)(tmp_path / "x.npz", a=array)
        assert ca.open(tmp_path / "x.npz").sum() == int((np.arange(4_000_000) % 7).sum())


# --- bytes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [">i2", "f8", RECORD, ("<u2", (3,)), "S5"])
@pytest.mark.parametrize(("count", "offset"), [(-1, 0), (3, 0), (-1, 6), (1000, 1), (0, 0), (2, 5000)])
def test_fromfile_is_numpys(tmp_path: Path, dtype: Any, count: int, offset: int) -> None:
    (tmp_path / "x.dat").write_bytes(np.random.default_rng(0).bytes(997))
    expected = np.fromfile(tmp_path / "x.dat", dtype, count, offset=offset)
    found = ca.fromfile(tmp_path / "x.dat", dtype, count, offset=offset)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert found.tobytes() == expected.tobytes()


def test_fromfile_goes_on_where_an_open_file_stands(tmp_path: Path) -> None:
    np.arange(10, dtype="i4").tofile(tmp_path / "x.dat")
    with open(tmp_path / "x.dat", "rb") as ours, open(tmp_path / "x.dat", "rb") as theirs:
        for count, offset in ((2, 0), (3, 4), (-1, 0)):
            found = ca.fromfile(ours, "i4", count, offset=offset)
            assert found.tolist() == np.fromfile(theirs, "i4", count, offset=offset).tolist()
            assert ours.tell() == theirs.tell()


def test_fromfile_of_an_empty_file_and_what_it_refuses(tmp_path: Path) -> None:
    (tmp_path / "x.dat").write_bytes(b"")
    assert ca.fromfile(tmp_path / "x.dat").shape == (0,)
    with pytest.raises(UnsafeInputError):
        ca.fromfile(tmp_path / "x.dat", object)
    with pytest.raises(UnsupportedError, match='format="text"'):
        ca.fromfile(tmp_path / "x.dat", sep=" ")
    with pytest.raises(FileNotFoundError):
        ca.fromfile(tmp_path / "missing")


def test_frombuffer_is_numpys() -> None:
    raw = bytearray(range(200))
    for given in ({"dtype": "u1"}, {"dtype": ">i4", "count": 5, "offset": 3}, {"dtype": RECORD}):
        np.testing.assert_array_equal(ca.frombuffer(raw, **given).compute(), np.frombuffer(raw, **given))
    with pytest.raises(ValueError, match="buffer size must be a multiple"):
        ca.frombuffer(raw, "S7")


def test_fromiter_is_numpys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filing, "MEMORY", 1000)
    monkeypatch.setattr(filing, "SPOOL", 30_000)
    for n in (0, 1, 124, 125, 126, 1000, 1001, 30_001):
        found = ca.fromiter((k * k for k in range(n)), "f8")
        expected = np.fromiter((k * k for k in range(n)), "f8")
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        np.testing.assert_array_equal(found.compute(), expected)
    for dtype, items in (("S3", [b"a", b"abcd"]), (RECORD, [(1, 2.5)] * 300), (("i2", (3,)), [(1, 2, 3)] * 700)):
        expected = np.fromiter(iter(items), np.dtype(dtype))
        np.testing.assert_array_equal(ca.fromiter(iter(items), dtype).compute(), expected)
    assert ca.fromiter(iter(range(10)), int, 4).tolist() == [0, 1, 2, 3]
    endless = iter(int, 1)
    assert ca.fromiter(endless, "u1", 5000).shape == (5000,)


def test_fromiter_that_ends_too_early_or_fails() -> None:
    for function in (np.fromiter, ca.fromiter):
        with pytest.raises(ValueError, match="iterator too short: Expected 5 but iterator had only 3 items"):
            function(iter(range(3)), int, 5)
        with pytest.raises(ValueError, match="invalid literal"):
            function(iter(["x"]), int)
    with pytest.raises(UnsupportedError, match="no fixed number of bytes"):
        ca.fromiter([1], object)


def test_fromiter_of_more_than_memory_holds() -> None:
    with ca.config.set(memory="16MiB"):
        found = ca.fromiter(iter(range(3_000_000)), "i8")
        assert found.nbytes > 16 << 20
        assert found.sum() == 3_000_000 * 2_999_999 // 2


def test_tofile_writes_text_as_numpy_does(tmp_path: Path) -> None:
    for array in (
        np.arange(5),
        np.array([1.5, -0.0, np.nan, 1e300]),
        np.array([[True], [False]]),
        np.array(["a", "b c"]),
    ):
        for sep, form in ((",", "%s"), ("\n", "%r"), (" ; ", "<%s>")):
            if form != "%s" and array.dtype.kind == "U":
                continue
            with open(tmp_path / "theirs", "wb") as theirs, open(tmp_path / "ours", "wb") as ours:
                array.tofile(theirs, sep, form)
                ca.asarray(array).tofile(ours, sep, form)
            assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    with pytest.raises(UnsupportedError, match="savetxt"):
        ca.arange(3).tofile(tmp_path / "x", sep=",")


def test_lists_that_would_not_fit_are_refused() -> None:
    with ca.config.set(memory="16MiB"):
        array = ca.zeros(1_000_000, "u1")
        array.compute()
        with pytest.raises(MemoryBudgetError):
            array.tolist()
        assert array[:3].tolist() == [0, 0, 0]


def test_arrays_of_npz_files_pickle_as_recipes(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", a=np.arange(100_000))
    np.savez(tmp_path / "y.npz", a=np.arange(100_000))
    for name in ("x.npz", "y.npz"):
        array = ca.open(f"{tmp_path}/{name}::a")[::2] + 1
        raw = pickle.dumps(array)
        assert len(raw) < 3000
        np.testing.assert_array_equal(pickle.loads(raw).compute(), np.arange(100_000)[::2] + 1)
