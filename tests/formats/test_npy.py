"""npy files: np.load and np.save are the oracle, and bad headers are refused before anything is believed."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkarr.errors import (
    ChunkarrError,
    FormatError,
    GenerationChangedError,
    OptionError,
    StaleExpressionError,
    UnsafeInputError,
    UnsupportedError,
)
from chunkarr.formats import npy
from chunkarr.grid import region_shape, region_slices, whole
from tests.oracle import same
from tests.strategies import arrays, dtypes, shapes

DESCR = "'descr': '<i4', 'fortran_order': False, "


def read(stored: Any, region: Any) -> np.ndarray:
    out = np.empty(region_shape(region), stored.dtype)
    stored.read(region, out, np.empty(stored.scratch_bytes(region), "u1"))
    return out


def file_of(header: str | bytes, data: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    raw = header if isinstance(header, bytes) else header.encode("latin-1")
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H" if version == (1, 0) else "<I", len(raw)) + raw + data


@given(data=st.data(), order=st.sampled_from("CF"), version=st.sampled_from([None, (1, 0), (2, 0), (3, 0)]))
def test_what_numpy_saves_is_read(data: st.DataObject, order: str, version: tuple[int, int] | None) -> None:
    values = np.asarray(data.draw(arrays()), order=order)
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "a.npy")
        with open(path, "wb") as file:
            np.lib.format.write_array(file, values, version)
        stored = npy.open(path)
        assert (stored.shape, stored.dtype) == (values.shape, values.dtype)
        expected = np.load(path)
        region = tuple((min(1, n), n) for n in values.shape)
        same(read(stored, region), expected[(*region_slices(region), ...)])
        same(read(stored, whole(values.shape)), expected)


@given(shape=shapes(max_size=10**9), dtype=dtypes(), order=st.sampled_from("CF"))
def test_headers_are_those_of_numpy_byte_for_byte(shape: tuple[int, ...], dtype: np.dtype, order: str) -> None:
    file = io.BytesIO()
    head = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": order == "F", "shape": shape}
    np.lib.format.write_array_header_1_0(file, head)
    assert npy.header_bytes(shape, dtype, order) == file.getvalue()


def test_headers_of_names_beyond_latin_1_are_of_version_3(tmp_path: Path) -> None:
    values = np.zeros(3, [("λ", "<f4")])
    with pytest.warns(UserWarning, match="format 3.0"):
        np.save(tmp_path / "a.npy", values)
    raw = (tmp_path / "a.npy").read_bytes()
    assert npy.header_bytes((3,), values.dtype) == raw[: -values.nbytes]
    assert npy.open(str(tmp_path / "a.npy")).dtype == values.dtype


def test_every_length_of_header_is_aligned_as_numpy_aligns_it() -> None:
    for length in range(1, 130):
        dtype = np.dtype([("x" * length, "<i4")])
        file = io.BytesIO()
        np.lib.format.write_array_header_1_0(file, {"descr": dtype.descr, "fortran_order": False, "shape": (1,)})
        assert npy.header_bytes((1,), dtype) == file.getvalue()


@pytest.mark.parametrize("order", ["C", "F"])
@given(values=arrays())
def test_numpy_loads_what_is_written(order: str, values: np.ndarray) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "a.npy")
        target = npy.create(path, values.shape, values.dtype, order=order, durability="process")
        region = whole(values.shape)
        target.write(region, values, np.empty(target.scratch_bytes(region), "u1"))
        target.commit()
        loaded = np.load(path)
        assert loaded.dtype == values.dtype
        same(loaded, values)
        assert loaded.size < 2 or loaded.ndim < 2 or loaded.flags.f_contiguous or order == "C"


def test_headers_of_python_2_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(
        file_of("{'descr': '<i4', 'fortran_order': False, 'shape': (2L, 3L), }", bytes(24))
    )
    assert npy.open(str(tmp_path / "a.npy")).shape == (2, 3)


BAD = {
    "empty file": (b"", "not an npy file"),
    "bad magic": (b"\x93NUMPX\x01\x00\x02\x00{}", "not an npy file"),
    "text": (b"1 2 3 4 5 6 7 8 9\n", "not an npy file"),
    "cut in the magic": (b"\x93NUM", "not an npy file"),
    "cut in the length": (b"\x93NUMPY\x02\x00\x01\x00", "ends at byte 10"),
    "version 4": (file_of("{}", version=(4, 0)), "version 4.0"),
    "version 1.7": (file_of("{}", version=(1, 7)), "version 1.7"),
    "cut in the header": (file_of("{" + DESCR + "'shape': (3,)}")[:-5], "header of 55 B, file has 50 B"),
    "header of 4 GiB": (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}", "header of 4294967295 B, at most 65536 B"),
    "header of 65 KiB": (file_of("{" + " " * 66_000 + "}", version=(2, 0)), "at most 65536 B"),
    "header not UTF-8": (file_of(b"{\xff}", version=(3, 0)), "not UTF-8 at byte 13"),
    "not a literal": (file_of("__import__('os').system('true')"), "not a literal"),
    "a call": (file_of("{" + DESCR + "'shape': tuple()}"), "not a literal"),
    "a list": (file_of("[1, 2]"), "is a list, not a dict"),
    "a set": (file_of("{1, 2}"), "is a set, not a dict"),
    "unhashable key": (file_of("{[]: 1}"), "not a literal"),
    "nested": (file_of("[" * 60_000), "nested deeper than 64"),
    "signs": (file_of("-" * 60_000 + "1"), "not a literal"),
    "sums": (file_of("1+" * 30_000 + "1"), "not a literal"),
    "attributes": (file_of("a." * 30_000 + "a"), "not a literal"),
    "brackets that do not match": (file_of("{(]}"), "not a literal"),
    "closed too often": (file_of("}" * 1000), "not a literal"),
    "escape that warns": (file_of(r"{'\d': 1}"), "not a literal"),
    "a long integer": (file_of("{" + DESCR + f"'shape': ({'9' * 5000},)}}"), "not a literal"),
    "key missing": (file_of("{" + DESCR + "}"), "has keys"),
    "key too many": (file_of("{" + DESCR + "'shape': (3,), 'x': 1}"), "has keys"),
    "keys of other types": (file_of("{" + DESCR + "3: (3,)}"), "has keys"),
    "fortran_order 1": (file_of("{'descr': '<i4', 'fortran_order': 1, 'shape': (3,)}"), '"fortran_order" is 1'),
    "shape a list": (file_of("{" + DESCR + "'shape': [3]}"), r'"shape" is \[3\], not a tuple'),
    "shape an integer": (file_of("{" + DESCR + "'shape': 3}"), '"shape" is 3, not a tuple'),
    "shape negative": (file_of("{" + DESCR + "'shape': (3, -1)}"), r'"shape"\[1\] must be an integer .* is -1'),
    "shape a float": (file_of("{" + DESCR + "'shape': (3.0,)}"), "is 3.0"),
    "shape 1e30": (file_of("{" + DESCR + "'shape': (1e30,)}"), r"is 1e\+30"),
    "shape a bool": (file_of("{" + DESCR + "'shape': (True,)}"), "is True"),
    "shape a string": (file_of("{" + DESCR + "'shape': ('3',)}"), "is '3'"),
    "shape None": (file_of("{" + DESCR + "'shape': (None,)}"), "is None"),
    "65 axes": (file_of("{" + DESCR + f"'shape': {(1,) * 65}}}", bytes(4)), "65 axes, at most 64"),
    "axis of 2**63": (file_of("{" + DESCR + f"'shape': ({1 << 63},)}}"), "must be an integer"),
    "product overflows": (file_of("{" + DESCR + f"'shape': ({1 << 40}, {1 << 40})}}"), r"more than 2\*\*63-1 B"),
    "product overflows to 0": (file_of("{" + DESCR + f"'shape': ({1 << 32}, {1 << 32})}}"), r"more than 2\*\*63-1 B"),
    "empty but absurd": (file_of("{" + DESCR + f"'shape': (0, {1 << 40}, {1 << 40})}}"), r"more than 2\*\*63-1 B"),
    "short": (file_of("{" + DESCR + "'shape': (1073741824,)}", b"abc"), "asks 4294967296 B .* file has 3 B of data"),
    "long": (file_of("{" + DESCR + "'shape': (2,)}", bytes(9)), "asks 8 B .* file has 9 B of data"),
    "long after empty": (file_of("{" + DESCR + "'shape': (0,)}", bytes(1)), "asks 0 B .* file has 1 B of data"),
}
BAD_DESCRS = {
    "unknown code": "'<y4'",
    "unknown size": "'<i3'",
    "huge": "'S99999999999'",
    "a number": "4",
    "None": "None",
    "fields of numbers": "[('a', 4)]",
    "fields of lists": "[['a', '<i4']]",
    "field without a dtype": "[('a',)]",
    "same name twice": "[('a', '<i4'), ('a', '<i4')]",
    "negative field shape": "[('a', '<i4', (-1,))]",
    "absurd field shape": "[('a', '<i4', (1000000, 1000000))]",
    "a shape": "('<f4', (2,))",
    "a union": "('<i4', [('a', '<i2')])",
    "an expression": "'i4,f8'",
    "a dict": "{'names': ['a'], 'formats': ['<i4']}",
    "deprecated": "'a5, <i4'",
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_with_file_and_reason(tmp_path: Path, name: str) -> None:
    content, reason = BAD[name]
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(FormatError, match=rf"x\.npy: .*{reason}"):
        npy.open(str(tmp_path / "x.npy"))


@pytest.mark.parametrize("name", BAD_DESCRS)
def test_bad_dtypes_are_refused(tmp_path: Path, name: str) -> None:
    text = f"{{'descr': {BAD_DESCRS[name]}, 'fortran_order': False, 'shape': (0,)}}"
    (tmp_path / "x.npy").write_bytes(file_of(text))
    with pytest.raises(FormatError, match=r'x\.npy: "descr" is'):
        npy.open(str(tmp_path / "x.npy"))


@pytest.mark.parametrize("dtype", ["O", [("a", "<i4"), ("b", "O")], [("a", [("b", "O", (2,))])]])
def test_python_objects_are_never_unpickled(tmp_path: Path, dtype: Any) -> None:
    path = str(tmp_path / "x.npy")
    np.save(path, np.zeros(3, dtype), allow_pickle=True)
    with pytest.raises(UnsafeInputError, match=r"x\.npy: holds Python objects .* never unpickles"):
        npy.open(path)
    with pytest.raises(UnsafeInputError, match="never pickles"):
        npy.create(str(tmp_path / "y.npy"), (3,), dtype)


def test_strings_of_variable_length_are_python_objects(tmp_path: Path) -> None:
    with pytest.raises(ChunkarrError):
        npy.create(str(tmp_path / "y.npy"), (3,), np.dtypes.StringDType())


def test_a_separator_that_is_no_space_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((3, 4), "<i4"))
    raw = bytearray((tmp_path / "x.npy").read_bytes())
    raw[69] = 0x1C  # white space for Python's regular expressions, not for its parser
    (tmp_path / "x.npy").write_bytes(raw)
    with pytest.raises(FormatError, match="not a literal"):
        npy.open(str(tmp_path / "x.npy"))


@given(data=st.data())
def test_damaged_headers_end_in_a_format_error_or_are_what_numpy_reads(data: st.DataObject) -> None:
    values = np.arange(12).astype(data.draw(st.sampled_from(["<i4", "S3", "M8[s]"]))).reshape(3, 4)
    file = io.BytesIO()
    np.save(file, values)
    raw = bytearray(file.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, 80))
        raw[place] = data.draw(st.integers(0, 255))
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "x.npy")
        Path(path).write_bytes(raw)
        stored = None
        with contextlib.suppress(FormatError):
            stored = npy.open(path)
        if stored is not None:
            loaded = np.load(io.BytesIO(raw))
            same(read(stored, whole(stored.shape)), loaded)


@pytest.mark.parametrize(
    "dtype",
    [
        np.dtype({"names": ["a", "b"], "formats": ["<i4", "<i4"], "offsets": [0, 2]}),
        np.dtype([(f"a_field_with_a_long_name_{i}", "<i4") for i in range(2000)]),
    ],
    ids=["overlapping fields", "too many fields"],
)
def test_dtypes_that_a_header_cannot_describe_are_unsupported(tmp_path: Path, dtype: np.dtype) -> None:
    with pytest.raises(UnsupportedError, match=r"header"):
        npy.create(str(tmp_path / "a.npy"), (3,), dtype)
    assert os.listdir(tmp_path) == []


def test_a_file_that_changed_since_it_was_opened_is_not_read(tmp_path: Path) -> None:
    path = str(tmp_path / "a.npy")
    np.save(path, np.zeros(3))
    stored = npy.open(path)
    np.save(path, np.ones(4))
    with pytest.raises(StaleExpressionError, match=r"a\.npy: changed since it was opened"):
        read(stored, ((0, 3),))


def test_a_file_cut_while_it_is_open_is_an_error_not_a_crash(tmp_path: Path) -> None:
    path = str(tmp_path / "a.npy")
    np.save(path, np.zeros(1000))
    stored = npy.open(path)
    read(stored, ((0, 3),))
    os.truncate(path, 500)
    with pytest.raises(GenerationChangedError, match=r"a\.npy: changed"):
        read(stored, ((0, 1000),))
    with pytest.raises(FormatError, match=r"a\.npy: header asks 8000 B"):
        stored.fresh()


@pytest.mark.parametrize("shape", [(-1,), (2.0,), (True,), (1 << 62, 4), (1,) * 65])
def test_impossible_shapes_are_not_created(tmp_path: Path, shape: Any) -> None:
    with pytest.raises(OptionError):
        npy.create(str(tmp_path / "a.npy"), shape, "<i4")
    assert os.listdir(tmp_path) == []


def test_options_that_make_no_sense_are_named(tmp_path: Path) -> None:
    path = str(tmp_path / "a.npy")
    np.save(path, np.zeros(3))
    with pytest.raises(OptionError, match='mode is "r" or "r\\+", not \'w\''):
        npy.open(path, "w")
    with pytest.raises(OptionError, match='durability is "full" or "process", not \'none\''):
        npy.open(path, "r+", durability="none")
    for timeout in (-1, "1", True, float("nan")):
        with pytest.raises(OptionError, match="timeout is a number of seconds"):
            npy.open(path, "r+", timeout=timeout)
    with pytest.raises(OptionError, match='order is "C" or "F"'):
        npy.create(str(tmp_path / "b.npy"), (3,), "<i4", order="K")
