"""Text as NumPy writes and reads it."""

from __future__ import annotations

import io

import numpy as np
import pytest

import chunkarr as ca
from tests.oracle import same

RNG = np.random.default_rng(0)
WRITTEN = {
    "floats": (RNG.normal(size=(50, 3)), {}),
    "one axis": (RNG.normal(size=50), {}),
    "integers": (RNG.integers(-9, 9, (20, 4)), {"fmt": "%d", "delimiter": ","}),
    "formats": (RNG.normal(size=(20, 3)), {"fmt": ["%.3f", "%d", "%10.5g"], "delimiter": ";"}),
    "a row": (RNG.normal(size=(20, 2)), {"fmt": "%.3f and %.4e"}),
    "header and footer": (RNG.normal(size=(5, 2)), {"header": "a b\nc", "footer": "end", "comments": "% "}),
    "windows": (RNG.normal(size=(5, 2)), {"newline": "\r\n"}),
    "complex": (RNG.normal(size=(5, 2)) - 1j * RNG.normal(size=(5, 2)), {}),
    "special": (np.array([[np.nan, np.inf, -np.inf, -0.0, 5e-324]]), {}),
    "records": (np.array([(1, 2.5), (3, -4.5)], "i4,f8"), {"fmt": "%d %.3f"}),
    "no rows": (np.empty((0, 3)), {}),
    "small": (RNG.normal(size=(5, 2)).astype("f4"), {"fmt": "%s"}),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_savetxt_writes_what_numpy_writes(tmp_path, name):
    values, options = WRITTEN[name]
    np.savetxt(tmp_path / "expected", values, **options)
    ca.savetxt(tmp_path / "found", ca.asarray(values), **options)
    assert (tmp_path / "found").read_bytes() == (tmp_path / "expected").read_bytes()


def test_savetxt_of_many_boxes(tmp_path):
    values = RNG.normal(size=(60_000, 3))
    ca.savetxt(tmp_path / "x.csv", ca.asarray(values, chunks=(7_000, 3)), fmt="%.4f", delimiter=",")
    buffer = io.BytesIO()
    np.savetxt(buffer, values, fmt="%.4f", delimiter=",")
    assert (tmp_path / "x.csv").read_bytes() == buffer.getvalue()
    with pytest.raises(ca.TargetExistsError):
        ca.savetxt(tmp_path / "x.csv", values)
    with pytest.raises(ValueError, match="Expected 1D or 2D array, got 3D"):
        ca.savetxt(tmp_path / "y.csv", np.zeros((2, 2, 2)))
    with pytest.raises(ca.OptionError, match="2 formats for 3 columns"):
        ca.savetxt(tmp_path / "y.csv", values, fmt=["%f", "%f"])


@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.txt", "x.csv.gz", "x.csv.xz", "x.csv.bz2"])
def test_every_float_comes_back(tmp_path, name):
    values = RNG.integers(0, 2**64, (5_000, 4), dtype="u8").view("f8")
    values = np.where(np.isfinite(values), values, 0.1)
    values[0] = [np.nan, np.inf, -np.inf, -0.0]
    values[1] = [5e-324, 1.7976931348623157e308, 2.0**-1022, 2.0**70]
    values[2:40, 0] = 2.0 ** np.arange(-19, 19)
    values[40:60, 1] = 10.0 ** np.arange(-10, 10)
    values[60:, 2] = RNG.normal(size=4_940)
    values[60:, 3] = np.round(RNG.normal(size=4_940), 3)
    same(ca.save(tmp_path / name, values), values)
    same(ca.open(tmp_path / name), values)


@pytest.mark.parametrize("dtype", ["f4", "f2", "c16", "c8", "i8", "u8", "?", "M8[us]"])
def test_other_dtypes_come_back(tmp_path, dtype):
    raw = RNG.integers(0, 256, 16 * 300, dtype="u1")
    values = (raw & 1).astype(bool) if dtype == "?" else raw.view("u8" if dtype == "M8[us]" else dtype)[:300]
    if dtype == "M8[us]":
        values = (values % (1 << 55)).astype("i8").view(dtype)
    if values.dtype.kind in "fc":
        values = np.where(np.isfinite(values), values, values.dtype.type(1))
    same(ca.save(tmp_path / "x.csv", values), values)


def test_records_come_back_with_their_names(tmp_path):
    kind = np.dtype([("word", "U9"), ("n", "i4"), ("x", "f8")])
    words = ["plain", "with,comma", 'with "quote"', "with\nline", " blanks ", "# no", "", "ü"]
    values = np.array([(word, k, k / 3) for k, word in enumerate(words)], kind)
    ca.save(tmp_path / "x.csv", values)
    found = ca.open(tmp_path / "x.csv", dtype=kind).compute()
    assert found.tolist() == values.tolist()
    assert ca.open(tmp_path / "x.csv").dtype.names == kind.names


LOADED = {
    "floats": ("1 2\n3 4\n", {}),
    "a column": ("1\n2\n", {}),
    "a row": ("1 2 3\n", {}),
    "a number": ("7\n", {}),
    "a row kept": ("1 2 3\n", {"ndmin": 2}),
    "a column kept": ("1\n2\n", {"ndmin": 2}),
    "a number kept": ("7\n", {"ndmin": 1}),
    "delimiter": ("1,2\n3,4\n", {"delimiter": ","}),
    "integers": ("1,2\n3,4\n", {"delimiter": ",", "dtype": int}),
    "skip, use, most": ("a b c\n1 2 3\n4 5 6\n7 8 9\n", {"skiprows": 1, "usecols": (2, 0), "max_rows": 2}),
    "unpack": ("1 2\n3 4\n5 6\n", {"unpack": True}),
    "comments": ("% a\n1 2 % b\n3 4\n", {"comments": "%"}),
    "quotes": ('"1" "2"\n3 4\n', {"quotechar": '"'}),
    "records": ("1 2.5 foo\n3 4.5 bar\n", {"dtype": [("a", "i4"), ("b", "f8"), ("c", "U3")]}),
    "single precision": ("0.1 2\n3 4\n", {"dtype": "f4"}),
}


@pytest.mark.parametrize("name", LOADED)
def test_loadtxt_reads_what_numpy_reads(tmp_path, name):
    text, options = LOADED[name]
    (tmp_path / "x.txt").write_text(text)
    same(ca.loadtxt(tmp_path / "x.txt", **options), np.loadtxt(tmp_path / "x.txt", **options))


def test_fromregex_reads_what_numpy_reads(tmp_path):
    (tmp_path / "x.log").write_text("1312 foo\n1534  bar\n444   qux\n")
    kind = [("num", np.int64), ("key", "S3")]
    same(
        ca.fromregex(tmp_path / "x.log", r"(\d+)\s+(...)", kind),
        np.fromregex(tmp_path / "x.log", r"(\d+)\s+(...)", kind),
    )
    with pytest.raises(TypeError, match="structured"):
        ca.fromregex(tmp_path / "x.log", r"(\d+)", int)
