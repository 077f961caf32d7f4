"""MATLAB files, versions 4 to 7: scipy's loadmat is the oracle, on its own test files and on what savemat writes."""

from __future__ import annotations

import glob
import os
import pickle
import struct
import tempfile
import warnings
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chunkarr as ca
from chunkarr.errors import ChunkarrError, CorruptChunkError, FormatError, OptionError, UnsupportedError
from chunkarr.formats import mat
from chunkarr.formats.mat5 import label
from chunkarr.grid import Grid, region_shape, region_slices, whole

matlab = pytest.importorskip("scipy.io.matlab", reason="scipy, whose loadmat is the oracle, is not installed")
sparse = pytest.importorskip("scipy.sparse")
DATA = os.path.join(os.path.dirname(matlab.__file__), "tests", "data")
FILES = sorted(map(os.path.basename, glob.glob(os.path.join(DATA, "*.mat"))))
BROKEN = {  # what scipy refuses, and what we say of it
    "bad_miuint32.mat": "none negative",
    "bad_miutf8_array_name.mat": "is not ASCII",
    "corrupted_zlib_checksum.mat": "incorrect data check",
    "corrupted_zlib_data.mat": "decode to more than the 26840 B",
    "debigged_m4.mat": "needs 3221225472 B, 1002 B are there",
    "malformed1.mat": "element of 658840 B, 2072 B are there",
}
needs_files = pytest.mark.skipif(not FILES, reason="this scipy was installed without its test files")


def read(stored: Any, region: Any = None) -> np.ndarray:
    region = whole(stored.shape) if region is None else region
    out = np.empty(region_shape(region), stored.dtype)
    stored.read(region, out, np.empty(stored.scratch_bytes(region), "u1"))
    return out


def load(path: str, name: str | None = None) -> np.ndarray:
    return read(mat.open(path, member=name))


def loadmat(path: str) -> dict[str, Any]:
    """Return what scipy reads; its mat_dtype=True has the right classes but drops imaginary parts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # duplicate names, functions
        return {"typed": matlab.loadmat(path, mat_dtype=True), "plain": matlab.loadmat(path)}


def leaves(name: str, typed: Any, plain: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield every array within what scipy read, under the name that it has here."""
    if type(typed).__name__ in ("MatlabFunction", "MatlabOpaque"):
        yield name, None, None
    elif sparse.issparse(typed) or (typed.dtype != object and typed.dtype.names is None):
        yield name, typed, plain
    else:
        places = [index[::-1] for index in np.ndindex(typed.shape[::-1])]
        for number, place in enumerate(places):
            inside = name if typed.dtype.names and len(places) == 1 else f"{name}/{label(number, typed.shape)}"
            for field in typed.dtype.names or [None]:
                one, other = (x[place] if field is None else x[place][field] for x in (typed, plain))
                if isinstance(one, np.ndarray) or sparse.issparse(one):
                    yield from leaves(inside if field is None else f"{inside}/{field}", one, other)


def check(path: str, name: str, typed: Any, plain: Any) -> None:
    """Compare an array with what scipy read."""
    if typed is None:
        with pytest.raises(UnsupportedError, match=r"function handle|object"):
            load(path, name)
    elif sparse.issparse(typed):
        data, rows, columns = (load(path, f"{name}/{part}") for part in ("data", "ir", "jc"))
        data, rows, columns = (x.astype(x.dtype.newbyteorder("=")) for x in (data, rows, columns))
        if "counted from 1" in next(e.note for e in mat.members(path) if e.name == f"{name}/ir"):  # version 4
            found = sparse.coo_array((data, (rows.astype("i4") - 1, columns.astype("i4") - 1)), typed.shape)
        else:
            found = sparse.csc_array((data, rows, columns), typed.shape)
        np.testing.assert_array_equal(found.toarray(), typed.toarray())
        assert np.iscomplexobj(data) == np.iscomplexobj(plain)
    else:
        found = load(path, name)
        expected = plain if np.iscomplexobj(plain) else typed
        assert found.shape == expected.shape
        assert found.dtype.newbyteorder("=") == expected.dtype.newbyteorder("=")
        np.testing.assert_array_equal(found, expected)


@needs_files
@pytest.mark.parametrize("name", [name for name in FILES if name not in BROKEN and "hdf5" not in name])
def test_scipys_files_are_read_as_scipy_reads_them(name: str) -> None:
    path = os.path.join(DATA, name)
    content = loadmat(path)
    listed = {entry.name: entry for entry in mat.members(path)}
    seen = 0
    for variable, typed in content["typed"].items():
        if variable.startswith("__"):
            continue
        for leaf, one, other in leaves(variable, typed, content["plain"][variable]):
            check(path, leaf, one, other)
            if one is not None and not sparse.issparse(one):
                assert listed[leaf].shape == one.shape
            seen += 1
    assert seen or not any(entry.dtype for entry in listed.values())


@needs_files
@pytest.mark.parametrize("name", [name for name in FILES if name in BROKEN])
def test_scipys_broken_files_are_refused(name: str) -> None:
    path = os.path.join(DATA, name)
    with pytest.raises(FormatError, match=BROKEN[name]) as caught:
        load(path)
    assert name in str(caught.value)


# --- what savemat writes -------------------------------------------------------------------------


def saved(path: Path, compressed: bool = False, **arrays: Any) -> str:
    matlab.savemat(path, arrays, do_compression=compressed)
    return str(path)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    "values",
    [
        np.arange(24.0).reshape(2, 3, 4),
        np.arange(12, dtype="u2").reshape(3, 4),
        np.random.default_rng(0).normal(size=(70, 90)),
        np.array([[1 + 2j, -0.0 - 1j]]),
        np.array([[True, False, True]]),
        np.array([["ab", "cd€"], ["e", ""]]),
        np.zeros((0, 5)),
        np.array([["one"]]),
    ],
    ids=str,
)
def test_any_part_is_read(tmp_path: Path, values: np.ndarray, compressed: bool) -> None:
    path = saved(tmp_path / "a.mat", compressed, x=values)
    stored = mat.open(path)
    expected = loadmat(path)["plain"]["x"]
    np.testing.assert_array_equal(read(stored), expected)
    for region in [tuple((n // 3, n) for n in stored.shape), tuple((0, -(-n // 2)) for n in stored.shape)]:
        np.testing.assert_array_equal(read(stored, region), expected[region_slices(region)])
    assert stored.contiguous != compressed or stored.layout.how == "blank"
    again = pickle.loads(pickle.dumps(stored))
    np.testing.assert_array_equal(read(again), expected)


def test_whole_numbers_stored_as_bytes_are_doubles_again(tmp_path: Path) -> None:
    values = np.arange(600.0).reshape(20, 30) % 251
    raw = bytearray(Path(saved(tmp_path / "a.mat", x=values.astype("u1"))).read_bytes())
    raw[raw.index(struct.pack("<II", 6, 8)) + 8] = 6  # a double whose numbers are stored as bytes
    (tmp_path / "a.mat").write_bytes(raw)
    stored = mat.open(str(tmp_path / "a.mat"))
    assert stored.dtype == np.dtype("<f8")
    np.testing.assert_array_equal(read(stored), values)
    np.testing.assert_array_equal(read(stored, ((3, 9), (5, 28))), values[3:9, 5:28])
    out = np.zeros((40, 60))[::2, ::-2]
    stored.read(whole(stored.shape), out, np.empty(stored.scratch_bytes(whole(stored.shape)), "u1"))
    np.testing.assert_array_equal(out, values)


def test_members_are_named_and_chosen(tmp_path: Path) -> None:
    cell = np.empty((2, 2), object)
    cell[...] = [[np.arange(3.0), "text"], [{"deep": np.ones((2, 2))}, np.zeros((0, 0))]]
    path = saved(tmp_path / "a.mat", x=np.eye(3), s={"t": np.arange(4), "u": {"v": 5.0}}, c=cell)
    names = [entry.name for entry in mat.members(path)]
    assert names == ["x", "s/t", "s/u/v", "c/0,0", "c/1,0/deep", "c/0,1", "c/1,1"]
    np.testing.assert_array_equal(np.asarray(ca.open(path + "::s/u/v")), [[5.0]])
    np.testing.assert_array_equal(np.asarray(ca.open(path + "::c/1,0/deep")), np.ones((2, 2)))
    with pytest.raises(FormatError, match=r"has 7 arrays, choose one.*'s/t'"):
        mat.open(path)
    with pytest.raises(FormatError, match=r"there is no variable 'y', there are \['x', 's', 'c'\]"):
        mat.open(path, member="y")
    with pytest.raises(FormatError, match=r"'s' is a struct that has members, choose one: \['t', 'u'\]"):
        mat.open(path, member="s")
    with pytest.raises(FormatError, match="no 'w' in 's', a struct"):
        mat.open(path, member="s/w")
    with pytest.raises(FormatError, match="'x' is an array"):
        mat.open(path, member="x/0")


def test_a_later_variable_replaces_an_earlier_one_of_its_name(tmp_path: Path) -> None:
    one, two = (Path(saved(tmp_path / f"{n}.mat", x=np.full((1, 2), n))).read_bytes() for n in (1.0, 2.0))
    (tmp_path / "a.mat").write_bytes(one + two[128:])
    np.testing.assert_array_equal(load(str(tmp_path / "a.mat"), "x"), [[2.0, 2.0]])
    assert len(mat.members(str(tmp_path / "a.mat"))) == 1


def test_surrogates_become_characters(tmp_path: Path) -> None:
    path = Path(saved(tmp_path / "a.mat", x="abcd"))
    raw = path.read_bytes()
    data = struct.pack("<II", 16, 4) + b"abcd\0\0\0\0" if b"abcd" in raw else b""
    assert data, "savemat stores text as UTF-8"
    pair = struct.pack("<II", 17, 8) + "a😀d".encode("utf-16-le")
    at = raw.index(b"abcd")
    small = raw[at - 4 : at] == struct.pack("<HH", 16, 4)
    start = at - (4 if small else 8)
    size = 8 if small else 16
    fixed = raw[:start] + pair + raw[start + size :]
    fixed = fixed[:132] + struct.pack("<I", len(fixed) - 136) + fixed[136:]
    path.write_bytes(fixed)
    assert load(str(path)).tolist() == ["a😀d"]


def test_threads_read_a_compressed_variable_together(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 99, size=(300, 5000)).astype("f8")
    stored = mat.open(saved(tmp_path / "a.mat", compressed=True, x=values + 1j))
    boxes = list(stored.grid)
    assert len(boxes) > 2
    with ThreadPoolExecutor(4) as pool:
        for box, part in zip(boxes, pool.map(lambda box: read(stored, box), boxes), strict=True):
            np.testing.assert_array_equal(part, values[region_slices(box)] + 1j)


def test_values_change_in_place_where_they_are_stored_as_they_are(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.mat", x=np.zeros((3, 4)), y=np.ones((2, 2)))
    array = ca.open(path + "::x", "r+")
    array[1, 2:] = 7
    expected = np.zeros((3, 4))
    expected[1, 2:] = 7
    np.testing.assert_array_equal(matlab.loadmat(path)["x"], expected)
    np.testing.assert_array_equal(matlab.loadmat(path)["y"], np.ones((2, 2)))
    with pytest.raises(UnsupportedError, match="cannot be changed in place"):
        ca.open(saved(tmp_path / "b.mat", compressed=True, x=np.ones(3)), "r+")


# --- writing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("version", ["6", "7"])
@pytest.mark.parametrize("code", ["?", "i1", "u2", "i8", "f4", "f8", "c8", "c16"])
@pytest.mark.parametrize("shape", [(), (5,), (0,), (0, 3), (3, 5), (130, 2, 1100)])
def test_scipy_reads_what_is_written(tmp_path: Path, shape: Any, code: str, version: str, order: str) -> None:
    if len(shape) == 3 and (code not in ("c8", "f8") or order == ">"):
        return  # several boxes: once real, once complex
    dtype = np.dtype(order + code)
    rng = np.random.default_rng(0)
    values = np.asarray(
        rng.integers(0, 99, size=shape) + (1j * rng.normal(size=shape) if dtype.kind == "c" else 0), dtype
    )
    path = str(tmp_path / "a.mat")
    target = mat.create(path, shape, dtype, version=version, member="x")
    steps = tuple(s * max(1, -(-c // 3)) for s, c in zip(target.grid.steps, target.grid.counts, strict=True))
    for region in reversed(list(Grid(shape, steps))):
        target.write(region, values[(*region_slices(region), ...)], np.empty(target.scratch_bytes(region), "u1"))
    target.commit()
    expected = values.reshape((1,) * (2 - values.ndim) + shape)
    np.testing.assert_array_equal(matlab.loadmat(path)["x"], expected)
    assert os.listdir(tmp_path) == ["a.mat"]
    stored = mat.open(path)
    assert (stored.shape, stored.dtype) == (shape, dtype)
    assert mat.members(path)[0].shape == shape
    np.testing.assert_array_equal(read(stored), values)


@pytest.mark.parametrize("shape", [(), (4,), (2, 3)])
def test_text_is_written_as_lines_of_characters(tmp_path: Path, shape: Any) -> None:
    words = np.array(["one", "zwei", "trois", "4", "€", ""] * 2)[: int(np.prod(shape))].reshape(shape)
    path = str(tmp_path / "a.mat")
    ca.save(path, words)
    np.testing.assert_array_equal(np.asarray(ca.open(path)), words)
    found = np.char.rstrip(matlab.loadmat(path)["data"], "\0 ")
    np.testing.assert_array_equal(found.reshape(shape), words)
    with pytest.raises(UnsupportedError, match="16 bits"):
        ca.save(str(tmp_path / "b.mat"), np.array(["😀"]))
    assert os.listdir(tmp_path) == ["a.mat"]


def test_what_matlab_has_no_class_for_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    path = str(tmp_path / "a.mat")
    for dtype in ("f2", "M8[s]", "S3", [("a", "f8")], "c32"):
        with pytest.raises(UnsupportedError, match="MATLAB has no class"):
            mat.create(path, (3,), dtype)
    for version in ("6", "7"):
        with pytest.raises(UnsupportedError, match=r'use version="7\.3"'):
            mat.create(path, (1 << 29,), "f8", version=version)
    with pytest.raises(OptionError, match="letters"):
        mat.create(path, (3,), "f8", member="1x")
    for version in ("5", 6.5, "7.30"):
        with pytest.raises(OptionError, match="version is"):
            mat.create(path, (3,), "f8", version=version)
    with pytest.raises(OptionError, match="codec"):
        mat.create(path, (3,), "f8", codec="blosc")
    assert os.listdir(tmp_path) == []


# --- hostile files -------------------------------------------------------------------------------


def element(kind: int, data: bytes) -> bytes:
    return struct.pack("<II", kind, len(data)) + data.ljust(-(-len(data) // 8) * 8, b"\0")


def matrix(kind: int, *parts: bytes, dims: tuple[int, ...] = (1, 1), name: bytes = b"x") -> bytes:
    head = element(6, struct.pack("<II", kind, 0)) + element(5, struct.pack(f"<{len(dims)}i", *dims))
    return element(14, head + element(1, name) + b"".join(parts))


def file_of(directory: Path, *variables: bytes) -> str:
    path = directory / "a.mat"
    path.write_bytes(b"MATLAB 5.0".ljust(124) + b"\x00\x01IM" + b"".join(variables))
    return str(path)


def deflated(data: bytes) -> bytes:
    packed = zlib.compress(data)
    return struct.pack("<II", 15, len(packed)) + packed


def nested(depth: int) -> bytes:
    inner = matrix(6, element(9, bytes(8)), name=b"")
    for _ in range(depth):
        inner = matrix(1, inner, name=b"")
    return matrix(1, inner)


@pytest.mark.parametrize(
    ("variable", "reason"),
    [
        (element(0x4D00, b"12345678"), "@128: element type 19712 unknown"),
        (struct.pack("<II", 14, 1 << 31), "element of 2147483648 B, 0 B are there"),
        (b"\x0e\x00\x00", "an element needs 8 B, 3 B are there"),
        (element(9, bytes(8)), "element type 9 where a variable is expected"),
        (matrix(6, element(9, bytes(8)), dims=(1 << 30, 1 << 30)), "more than any file can hold"),
        (matrix(6, element(9, bytes(8)), dims=(1 << 20, 1 << 20)), "needs 8796093022208 B, has 8 B"),
        (matrix(6, element(9, bytes(8)), dims=(-1, 1)), "none negative"),
        (matrix(6, element(9, bytes(8)), dims=(1,) * 65), "has 65 integers, at most 64"),
        (matrix(99, element(9, bytes(8))), "class 99 unknown"),
        (matrix(9 | 0xA00, element(2, b"1"), element(2, b"1")), "truth values with an imaginary part"),
        (matrix(4 | 0x800, element(4, bytes(2)), element(4, bytes(2))), "text with an imaginary part"),
        (matrix(4, element(17, bytes(4)), dims=(1, 1 << 29)), "lines of 536870912 characters"),
        (matrix(4, element(16, b"\xff" * 100), dims=(1, 3)), "in UTF-8 cannot have 100 B"),
        (matrix(2, element(5, struct.pack("<i", -1)), element(1, b"a")), "names of fields have"),
        (matrix(2, element(5, struct.pack("<i", 8)), element(1, b"a" * 9)), "names of fields of 9 B"),
        (matrix(5, element(5, bytes(4)), element(5, struct.pack("<2i", 0, 9)), element(9, bytes(8))), "has 1 rows"),
        (deflated(element(9, bytes(8))), "hold element type 9"),
        (deflated(b"1234"), "decode to 4 B"),
        (struct.pack("<II", 15, 8) + b"notadeflate"[:8], "compressed data are damaged"),
        (deflated(struct.pack("<II", 14, 1 << 30)), "claim to decode to 1073741824 B"),
        (deflated(matrix(6, element(9, bytes(800)), dims=(10, 10))[:-8]), "its compressed data decode to"),
        (deflated(matrix(6, element(9, bytes(800)), dims=(10, 10)) + b"more"), "decode to more than"),
        (nested(70), "nested deeper than 64"),
    ],
)
def test_what_contradicts_the_file_is_refused(tmp_path: Path, variable: bytes, reason: str) -> None:
    path = file_of(tmp_path, variable)
    with pytest.raises((FormatError, UnsupportedError), match=reason) as caught:
        load(path)
    assert str(caught.value).startswith(path)


def test_functions_and_objects_are_named_and_not_read(tmp_path: Path) -> None:
    numbers = matrix(6, element(9, struct.pack("<d", 5.0)), name=b"n")
    opaque = element(14, element(6, struct.pack("<II", 17, 0)) + element(1, b"when") + element(1, b"MCOS"))
    path = file_of(tmp_path, matrix(16, matrix(6, element(9, bytes(8))), name=b"f"), opaque, numbers)
    assert [(e.name, e.note) for e in mat.members(path)] == [
        ("f", "function handle, not read"),
        ("when", "object, not read"),
        ("n", ""),
    ]
    with pytest.warns(UserWarning, match="'n' is its only array; skipped: 'f' is function handle"):
        assert load(path).tolist() == [[5.0]]
    for name in ("f", "when"):
        with pytest.raises(UnsupportedError, match="which chunkarr does not read"):
            mat.open(path, member=name)


def test_no_matlab_file_is_told_so(tmp_path: Path) -> None:
    for content, reason in [(b"", "is empty"), (b"\0" * 300, "name of 0 B"), (b"text " * 50, "begins no variable")]:
        (tmp_path / "a.mat").write_bytes(content)
        with pytest.raises(FormatError, match=reason):
            ca.open(str(tmp_path / "a.mat"))


def test_text_and_integers_stored_as_doubles_may_be_anything(tmp_path: Path) -> None:
    odd = np.array([[65.0, np.nan, -1.0, 1e300, 66.0]])
    (tmp_path / "a.mat").write_bytes(struct.pack("<5i", 1, 1, 5, 0, 2) + b"t\0" + odd.tobytes())
    (line,) = load(str(tmp_path / "a.mat"), "t").tolist()
    assert line[0] == "A"
    assert line[-1] == "B"
    path = file_of(tmp_path, matrix(10, element(9, odd.tobytes()), dims=(1, 5)))
    assert load(path)[0, [0, 4]].tolist() == [65, 66]


def test_a_flipped_byte_of_a_compressed_variable_is_found(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 200, size=(40, 50)).astype("f8")
    path = Path(saved(tmp_path / "a.mat", compressed=True, x=values))
    raw = path.read_bytes()
    for at in range(136, len(raw), 97):
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 4]) + raw[at + 1 :])
        with pytest.raises(FormatError):
            load(str(path))
    path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 4]))
    with pytest.raises(CorruptChunkError, match="incorrect data check"):
        load(str(path))


@given(st.data())
def test_mutations_give_values_or_errors_of_chunkarr(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as directory:
        version = data.draw(st.sampled_from(["4", "5"]))
        path = os.path.join(directory, "a.mat")
        cell = np.empty((1, 2), object)
        cell[...] = [[np.arange(3.0), "text"]]
        content = {"x": np.eye(3), "t": "words"} | ({"c": cell, "s": {"f": 1j}} if version == "5" else {})
        matlab.savemat(path, content, format=version)
        raw = bytearray(Path(path).read_bytes())
        for _ in range(data.draw(st.integers(1, 3))):
            at = data.draw(st.integers(0, len(raw) - 4))
            raw[at : at + 4] = data.draw(
                st.sampled_from(
                    [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\0\0\0", b"\0\0\0\x80", b"\x0e\0\0\0", b"\1\0\1\0"]
                )
            )
        Path(path).write_bytes(raw)
        try:
            for entry in mat.members(path):
                if entry.dtype is not None:
                    load(path, entry.name)
        except ChunkarrError:
            return
