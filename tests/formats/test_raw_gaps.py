"""Records with gaps, markers, footers and remainders: np.memmap and scipy's FortranFile are the oracles."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chunkarr as ca
from chunkarr.errors import CorruptChunkError, FormatError, OptionError, UnsupportedError
from chunkarr.formats import raw, raw_gaps
from chunkarr.grid import region_slices
from tests.formats.test_raw import read
from tests.oracle import same

scipy_io = pytest.importorskip("scipy.io")
FIXTURES = Path(scipy_io.__file__).parent / "tests" / "data"
needs_fixtures = pytest.mark.skipif(not FIXTURES.is_dir(), reason="scipy's test data are not installed")


def draw_region(data: st.DataObject, shape: tuple[int, ...]) -> Any:
    return tuple(tuple(sorted((data.draw(st.integers(0, n)), data.draw(st.integers(0, n))))) for n in shape)


@given(
    data=st.data(),
    gap=st.integers(0, 40),
    dtype=st.sampled_from(["u1", ">i4", "c16", [("a", "u1"), ("b", "<f8")]]),
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple),
    order=st.sampled_from("CF"),
    whole_gap=st.booleans(),
)
def test_a_stride_leaves_gaps_out(data: Any, gap: int, dtype: Any, shape: Any, order: str, whole_gap: bool) -> None:
    kind = np.dtype(dtype)
    values = np.frombuffer(np.random.default_rng(0).bytes(int(np.prod(shape)) * kind.itemsize), kind)
    body = b"".join(values[i : i + 1].tobytes() + b"\xa5" * gap for i in range(len(values)))
    body = body if whole_gap or not gap else body[:-gap]
    expected = values.reshape(shape, order=order).view("u1" if kind.itemsize == 1 else f"V{kind.itemsize}")
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr(raw_gaps, "SMALL", data.draw(st.sampled_from([0, 16 << 10])))
        patch.setattr(raw_gaps, "SPAN", data.draw(st.sampled_from([1, 60, 1 << 18])))
        path = os.path.join(directory, "a.raw")
        Path(path).write_bytes(b"head" + body + b"foot!")
        wanted = (-1, *shape[1:])
        options = {"dtype": dtype, "shape": wanted, "offset": 4, "footer": 5, "stride": kind.itemsize + gap}
        stored = raw.open(path, order=order, **options)
        assert stored.shape == shape
        same(read(stored).view(expected.dtype), expected)
        region = draw_region(data, shape)
        same(read(stored, region).view(expected.dtype), expected[region_slices(region)])


@pytest.mark.parametrize("options", [{"footer": 3, "stride": 4}, {"footer": 3}, {"partial": "drop"}])
def test_what_lies_behind_the_records_is_left_out(tmp_path: Path, options: Any) -> None:
    path = str(tmp_path / "a.raw")
    Path(path).write_bytes(np.arange(5, dtype="<i4").tobytes() + b"end")
    assert read(raw.open(path, dtype="<i4", **options)).tolist() == [0, 1, 2, 3, 4]


def test_dropped_remainders_of_strides(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(bytes(23))
    assert raw.open(str(tmp_path / "a.raw"), dtype="<i4", stride=5, partial="drop").shape == (4,)
    assert raw.open(str(tmp_path / "a.raw"), dtype="<i4", stride=19).shape == (2,)
    assert raw.open(str(tmp_path / "a.raw"), dtype="<i4", shape=(-1, 2), partial="drop").shape == (2, 2)


@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_the_byte_order_may_be_said_apart(tmp_path: Path, byteorder: str) -> None:
    dtype = np.dtype([("a", "<i2"), ("b", ">f8"), ("c", "S3")]).newbyteorder("<" if byteorder == "little" else ">")
    values = np.array([(1, 2.5, b"x"), (-3, 4.0, b"abc")], dtype)
    values.tofile(tmp_path / "a.raw")
    text = "[['a', 'i2'], ['b', 'f8'], ['c', 'S3']]"
    same(ca.open(tmp_path / "a.raw", dtype=text, byteorder=byteorder).compute(), values)


# --- Fortran ---


def fortran_files() -> list[Any]:
    found = sorted(FIXTURES.glob("fortran-s*.dat")) if FIXTURES.is_dir() else []
    return [pytest.param(path, id=path.name) for path in found]


@needs_fixtures
@pytest.mark.parametrize("path", fortran_files())
def test_scipys_fortran_files(path: Path) -> None:
    match = re.fullmatch(r"fortran-(\w+)-(\d+)x(\d+)x(\d+)\.dat", path.name)
    assert match is not None
    dtype, shape = match[1].replace("s", "<"), tuple(int(n) for n in match.groups()[1:])
    with scipy_io.FortranFile(path, "r", "<u4") as file:
        expected = file.read_record(dtype).reshape(shape, order="F")
    stored = raw.open(str(path), dtype=dtype, shape=shape, order="F", markers=4)
    same(read(stored), expected)
    assert raw.open(str(path), dtype=dtype, markers=4).shape == (expected.size,)


@needs_fixtures
@pytest.mark.parametrize(("name", "dtype"), [("mixed", "<i4,<f4,<i8,2<f8"), ("3x3d-2i", "(3,3)<f8,2<i4")])
def test_scipys_records_of_several_types(name: str, dtype: str) -> None:
    path = FIXTURES / f"fortran-{name}.dat"
    with scipy_io.FortranFile(path, "r", "<u4") as file:
        expected = file.read_record(dtype)
    same(read(raw.open(str(path), dtype=dtype, markers=4, record=0)), expected)


def test_records_of_several_lengths_are_read_one_at_a_time(tmp_path: Path) -> None:
    path = str(tmp_path / "a.dat")
    written = [np.arange(5, dtype="<f8"), np.zeros(0, "<f8"), np.arange(3, dtype="<f8")]
    with scipy_io.FortranFile(path, "w") as file:
        for values in written:
            file.write_record(values)
    for which, values in enumerate(written):
        same(read(raw.open(path, dtype="<f8", markers=4, record=which)), values)
    with pytest.raises(FormatError, match="no marker of 4 B at byte 88: the records end at byte 88"):
        raw.open(path, dtype="<f8", markers=4, record=3)
    with pytest.raises(FormatError, match="records of several lengths are read one at a time, with record="):
        raw.open(path, dtype="<f8", markers=4)


@given(data=st.data(), width=st.sampled_from([4, 8]), order=st.sampled_from("<>"), nbytes=st.integers(1, 50))
def test_equal_records_are_one_array(data: Any, width: int, order: str, nbytes: int) -> None:
    count = data.draw(st.integers(1, 9))
    values = np.frombuffer(np.random.default_rng(1).bytes(count * nbytes), "u1").reshape(count, nbytes)
    mark = np.array(nbytes, f"{order}i{width}").tobytes()
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr(raw_gaps, "SMALL", data.draw(st.sampled_from([0, 16 << 10])))
        path = os.path.join(directory, "a.dat")
        Path(path).write_bytes(b"#" + b"".join(mark + row.tobytes() + mark for row in values))
        stored = raw.open(path, dtype="u1", shape=(-1, nbytes), offset=1, markers=width)
        same(read(stored), values)
        region = draw_region(data, values.shape)
        same(read(stored, region), values[region_slices(region)])
        which = data.draw(st.integers(0, count - 1))
        same(read(raw.open(path, dtype="u1", offset=1, markers=width, record=which)), values[which])


@pytest.mark.parametrize("small", [0, 16 << 10])
def test_a_marker_in_the_middle_that_differs_is_noticed(tmp_path: Path, small: int, monkeypatch: Any) -> None:
    monkeypatch.setattr(raw_gaps, "SMALL", small)
    mark = np.array(8, "<i4").tobytes()
    content = bytearray((mark + bytes(8) + mark) * 5)
    content[32] = 9
    (tmp_path / "a.dat").write_bytes(content)
    stored = raw.open(str(tmp_path / "a.dat"), dtype="<f8", markers=4)
    assert read(stored, ((0, 2),)).tolist() == [0, 0]
    with pytest.raises(CorruptChunkError, match="record 2 at byte 36 has a marker of"):
        read(stored)


def bad(reason: str, content: bytes = bytes(23), error: type[Exception] = FormatError, **options: Any) -> Any:
    return pytest.param(content, options, error, reason, id=reason)


@pytest.mark.parametrize(
    ("content", "options", "error", "reason"),
    [
        bad("4 records 5 B apart and 3 B left over", stride=5),
        bad("stride is a number of bytes, 4 or more, not 3", error=OptionError, stride=3),
        bad("footer is a number of bytes", error=OptionError, footer=-1),
        bad("less than the offset of 20 B and the footer of 4 B", offset=20, footer=4),
        bad('byteorder is "little" or "big"', error=OptionError, byteorder="<"),
        bad('partial is "error" or "drop"', error=OptionError, partial="pad"),
        bad("markers is 4 or 8", error=OptionError, markers=2),
        bad("say markers=4 or 8 too", error=OptionError, record=1),
        bad("both say what is between", error=OptionError, markers=4, stride=8),
        bad("record is a record's number, 0 or more, not -1", error=OptionError, markers=4, record=-1),
        bad("the Fortran record at byte 0 is empty", markers=4),
        bad("no marker of 8 B at byte 0: the records end at byte 3", b"abc", markers=8),
        bad("says -1 B .negative: a part of a longer record", b"\xff" * 30, markers=4),
        bad("says 1684234849 B, 23 B follow", b"abcd" * 5 + b"xyz", markers=4),
        bad("no whole number of Fortran records of 4 B", b"\4\0\0\0abcd\4\0\0\0!", markers=4),
        bad("says 4 B, the one behind them 5 B", b"\4\0\0\0abcd\5\0\0\0!", markers=4),
        bad("28 B are no whole number", b"\4\0\0\0abcd\4\0\0\0" * 2 + b"abcd", markers=4),
        bad("cannot be changed", error=UnsupportedError, stride=8, mode="r+"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, content: bytes, options: Any, error: Any, reason: str) -> None:
    path = tmp_path / "a.dat"
    path.write_bytes(content)
    with pytest.raises(error, match=reason):
        raw.open(str(path), dtype="<i4", **options)


def test_what_follows_fortran_records_may_be_dropped(tmp_path: Path) -> None:
    (tmp_path / "a.dat").write_bytes(b"\4\0\0\0abcd\4\0\0\0" * 2 + b"abcd")
    assert read(raw.open(str(tmp_path / "a.dat"), dtype="S4", markers=4, partial="drop")).tolist() == [b"abcd"] * 2
