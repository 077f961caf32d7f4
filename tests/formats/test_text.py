"""Texts as they come: what is guessed, what is said, what is wrong with them, and where."""

from __future__ import annotations

import bz2
import contextlib
import gc
import gzip
import io
import lzma
import os
import pickle
import subprocess
import sys
import time
import tracemalloc

import numpy as np
import pytest
from numcodecs import Zstd

import chunkarr as ca
from chunkarr.formats.table import open_stored
from chunkarr.formats.text_source import PIECE
from chunkarr.grid import whole
from tests.oracle import same

NAN, INF = np.nan, np.inf


def put(tmp_path, data, name="t.csv"):
    path = tmp_path / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return str(path)


def values(tmp_path, data, name="t.csv", **options):
    return ca.open(put(tmp_path, data, name), **options).compute()


# --- every row of the table of cases that other readers are known for ---

ROWS = {
    "late float after 3000 ints": ("1\n" * 3000 + "2.5\n", np.array([1.0] * 3000 + [2.5])),
    "late float far from every sample": ("1\n" * 200_000 + "2.5\n" + "1\n" * 300_000, None),
    "semicolon with decimal comma": ("1,5;2\n3;4,25\n", np.array([[1.5, 2.0], [3.0, 4.25]])),
    "empty fields": ("1,,3\n,5,\n", np.array([[1, NAN, 3], [NAN, 5, NAN]])),
    "quoted newline": ('"a\nb",1\nc,2\n', np.array([("a\nb", 1), ("c", 2)], "U3,i8")),
    "CR-only line ends": ("1,2\r3,4\r", np.array([[1, 2], [3, 4]])),
    "CRLF": ("1,2\r\n3,4\r\n", np.array([[1, 2], [3, 4]])),
    "UTF-16": ("a,b\n1,2\n".encode("utf-16"), np.array([[1, 2]])),
    "UTF-8 with a mark": (b"\xef\xbb\xbf1,2\n", np.array([[1, 2]])),
    "Latin-1": ("ü,1\né,2\n".encode("latin-1"), np.array([("ü", 1), ("é", 2)], "U1,i8")),
    "Fortran exponents": ("1.5D+03\n-2d-1\n", np.array([1500.0, -0.2])),
    "hexadecimal": ("0x1F\n12\n", np.array([31, 12])),
    "1.#INF, -1.#IND": ("1.#INF,-1.#IND\n-1.#INF,1.#QNAN\n", np.array([[INF, NAN], [-INF, NAN]])),
    "inf, -Infinity": ("inf\n-Infinity\n1\n", np.array([INF, -INF, 1.0])),
    "NA, nan(ind)": ("NA\nnan(ind)\n-nan(ind)\n1\n", np.array([NAN, NAN, NAN, 1.0])),
    "None": ("1,None\nNULL,2\n", np.array([[1, NAN], [NAN, 2]])),
    "2**64-1": ("1\n18446744073709551615\n", np.array([1, 2**64 - 1], "u8")),
    "-2**63": ("-9223372036854775808\n9223372036854775807\n", np.array([-(2**63), 2**63 - 1])),
    "2**65": ("36893488147419103232\n1\n", np.array([2.0**65, 1.0])),
    "+7, 007, blanks": ("+7,007, 5 \n1,2,3\n", np.array([[7, 7, 5], [1, 2, 3]])),
    "complex": ("(1+2j),3\n2-1j,4\n", np.array([[1 + 2j, 3], [2 - 1j, 4]])),
    "thousands": ('"1,234","2"\n"5,678,901","3"\n', np.array([[1234, 2], [5678901, 3]])),
    "blank lines": ("1,2\n\n   \n3,4\n\n", np.array([[1, 2], [3, 4]])),
    "sep= of spreadsheets": ("sep=;\n1;2\n3;4\n", np.array([[1, 2], [3, 4]])),
    "no last newline": ("1,2\n3,4", np.array([[1, 2], [3, 4]])),
    "nothing": ("", np.empty(0)),
}


@pytest.mark.parametrize("name", ROWS)
def test_what_readers_differ_on_is_read_rightly(tmp_path, name):
    data, expected = ROWS[name]
    found = values(tmp_path, data)
    if expected is None:
        expected = np.ones(500_001)
        expected[200_000] = 2.5
    if expected.dtype.names is not None:
        assert [found.dtype[n] for n in found.dtype.names] == [expected.dtype[n] for n in expected.dtype.names]
        assert found.tolist() == expected.tolist()
        return
    if expected.dtype.kind == "i" and name in ("hexadecimal", "thousands"):
        np.testing.assert_array_equal(found, expected)
        return
    same(found, expected)


BAD = {
    "ragged": ("1,2\n3,4\n5\n6,7\n", {}, r"t\.csv:3: has 1 fields, .* have 2"),
    "too long": ("1,2\n3,4,5\n6,7\n", {}, r"t\.csv:2: has 3 fields"),
    "a word": ("1,2\n3,4\n5,abc\n", {"dtype": "f8"}, r't\.csv:3:2: in column 2: "abc" is not a number'),
    "a word in a named column": ("a,b\n1,2\n3,x\n" + "1,2\n" * 9, {"dtype": "f8"}, r't\.csv:3:2: in column 2 "b": "x"'),
    "underscores": ("2\n1_000\n", {"dtype": "f8"}, r't\.csv:2:1: .*"1_000" is not a number'),
    "other digits": ("2\n٣\n", {"dtype": "f8"}, r"t\.csv:2:1: .*is not a number"),
    "two points": ("2\n1.2.3\n", {"dtype": "f8"}, r't\.csv:2:1: .*"1.2.3" is not a number'),
    "two exponents": ("2\n1e2e3\n", {"dtype": "f8"}, "is not a number"),
    "a point after the exponent": ("2\n1e2.5\n", {"dtype": "f8"}, "is not a number"),
    "a sign in the middle": ("2\n1-2\n", {"dtype": "f8"}, "is not a number"),
    "a sign alone": ("2\n-\n", {"dtype": "f8"}, "is not a number"),
    "a point alone": ("2\n.\n", {"dtype": "f8"}, "is not a number"),
    "an exponent alone": ("2\ne5\n", {"dtype": "f8"}, "is not a number"),
    "an exponent without digits": ("2\n1e\n", {"dtype": "f8"}, "is not a number"),
    "inner blanks": ("1 2,3\n4,5\n", {"dtype": "f8"}, '"1 2" is not a number'),
    "missing integer": ("1,\n2,3\n", {"dtype": "i8"}, r"t\.csv:1:2: .*missing, which an integer cannot be"),
    "an integer that does not fit": ("1\n300\n", {"dtype": "u1"}, r"t\.csv:2:1: .*300 does not fit uint8"),
    "a negative unsigned": ("1\n-3\n", {"dtype": "u8"}, r"t\.csv:2:1: .*-3 does not fit uint64"),
    "a float for an integer": ("1\n1.5\n", {"dtype": "i4"}, r't\.csv:2:1: .*"1.5" is not an integer'),
    "a word for a truth value": ("True\nmaybe\n", {"dtype": "?"}, r"t\.csv:2:1: .*neither true nor false"),
    "no time": ("2024-01-01\n2024-13-01\n", {"dtype": "M8[s]"}, r"t\.csv:2:1"),
    "NUL": ("1,2\n\0,4\n", {}, "NUL"),
    "an open quote": ('1,2\n"3,4\n' + "5,6\n" * 10, {"dtype": "f8"}, r"t\.csv:2"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_said_with_line_and_column(tmp_path, name):
    data, options, message = BAD[name]
    with pytest.raises(ca.TextError, match=message):
        values(tmp_path, data, format="text", **options)


def test_what_is_wrong_far_into_a_file_is_found_when_it_is_opened(tmp_path):
    lines = ["1.5,2.5"] * 400_000
    lines[300_001] = "1.5,2.5,3.5"
    with pytest.raises(ca.TextError, match=r"t\.csv:300002: has 3 fields"):
        ca.open(put(tmp_path, "\n".join(lines) + "\n"))
    lines[300_001] = "1.5,x"
    with pytest.raises(ca.TextError, match=r't\.csv:300002:2: in column 2: "x"'):
        ca.open(put(tmp_path, "\n".join(lines) + "\n"))


def test_bad_rows_are_set_aside(tmp_path):
    path = put(tmp_path, "a,b\n1,2\n3,x\n# c\n4\n5,6\n")
    rejects = str(tmp_path / "bad.csv")
    same(ca.open(path, dtype="f8", rejects=rejects).compute(), np.array([[1.0, 2.0], [5.0, 6.0]]))
    lines = (tmp_path / "bad.csv").read_text().splitlines()
    assert lines[1::2] == [f'# {path}:3:2: "x" is not a number', f"# {path}:5: has 1 fields, the lines before have 2"]
    assert lines[2::2] == ["3,x", "4"]
    same(ca.open(path, dtype="f8", rejects=rejects).compute(), np.array([[1.0, 2.0], [5.0, 6.0]]))  # written again
    other = put(tmp_path, "mine", "other.txt")
    with pytest.raises(ca.TargetExistsError):
        ca.open(path, dtype="f8", rejects=other)
    assert (tmp_path / "other.txt").read_text() == "mine"


def test_bad_rows_far_apart_are_left_out_of_any_region(tmp_path):
    rng = np.random.default_rng(0)
    table = rng.normal(size=(30_000, 3))
    lines = [",".join(map(repr, row)) for row in table.tolist()]
    bad = sorted(rng.choice(30_000, 50, replace=False).tolist())
    for k in bad:
        lines[k] = "1,2,oops"
    a = ca.open(put(tmp_path, "\n".join(lines)), dtype="f8", rejects=str(tmp_path / "bad"))
    expected = np.delete(table, bad, axis=0)
    same(a.compute(), expected)
    same(a[12_345:25_678:7, 1].compute(), expected[12_345:25_678:7, 1])


# --- what is guessed, and can be said ---

GUESSES = {
    "tabs": ("1\t2\n3\t4\n", {"delimiter": "\t"}),
    "bars": ("1|2\n3|4\n", {"delimiter": "|"}),
    "blanks": ("  1   2\n3 \t4  \n", {"delimiter": "whitespace"}),
    "commas and blanks": ("1, 2\n3 ,4\n", {"delimiter": ","}),
    "header": ("x,y\n1,2\n3,4\n", {"header": True}),
    "header and units": ("time,speed\n(s),(m/s)\n1,2\n3,4\n5,6\n", {"header": 2}),
    "preamble": ("Instrument X\nmeasured by me\nx,y\n1,2\n3,4\n", {"header": True}),
    "comments": ("# first\n1,2\n# 5,6\n3,4 # last\n", {"header": False}),
    "percent": ("% of MATLAB\n1,2\n3,4\n", {"comments": "%"}),
    "quotes": ('"1","2"\n"3","4"\n', {}),
}


@pytest.mark.parametrize("name", GUESSES)
def test_how_a_text_is_written_is_guessed_and_told(tmp_path, name):
    data, told = GUESSES[name]
    path = put(tmp_path, data)
    stored = open_stored(path)
    out = np.empty(stored.shape, stored.dtype)
    stored.read(whole(stored.shape), out, np.empty(0, "u1"))
    assert out.tolist()[:2] == [[1, 2], [3, 4]]
    assert {key: stored.options.get(key) for key in told} == told
    same(ca.open(path, **stored.options), ca.open(path).compute())


def test_names_and_records(tmp_path):
    path = put(tmp_path, 'name,n,x\nfoo,1,1.5\n"b,ar",2,\n')
    a = ca.open(path)
    assert a.dtype == np.dtype([("name", "U4"), ("n", "i8"), ("x", "f8")])
    found = a.compute()
    assert found["name"].tolist() == ["foo", "b,ar"]
    np.testing.assert_array_equal(found["x"], [1.5, NAN])
    same(ca.open(path, usecols=["x", "n"]).compute(), np.array([[1.5, 1], [NAN, 2]]))
    same(ca.open(path, usecols="n").compute(), np.array([1, 2]))
    kind = np.dtype([("a", "S4"), ("b", "i2"), ("c", "f4")])
    given = ca.open(path, dtype=kind).compute()
    assert given.dtype == kind
    assert given["a"].tolist() == [b"foo", b"b,ar"]
    numbers = ca.open(put(tmp_path, "a,b\n1,2.5\n", "n.csv"), layout="records").compute()
    assert numbers.dtype == np.dtype([("a", "i8"), ("b", "f8")])
    with pytest.raises(ca.OptionError, match="no column 'z'"):
        ca.open(path, usecols="z")
    with pytest.raises(ca.OptionError, match="no matrix"):
        ca.open(path, layout="matrix")


def test_double_quotes_within_quotes_and_words_as_they_are(tmp_path):
    a = ca.open(put(tmp_path, 'k,v\n"say ""hi""",1\nplain,2\n" wide ",3\n')).compute()
    assert a["k"].tolist() == ['say "hi"', "plain", " wide "]


def test_times(tmp_path):
    data = "t,x\n2024-01-01,1\n2024-02-03,2\n"
    assert values(tmp_path, data).dtype["t"] == np.dtype("M8[D]")
    found = values(tmp_path, "2024-01-01 12:00:00,1\n2024-01-01T12:00:01.25Z,2\n,3\n")
    assert found.dtype[0] == np.dtype("M8[us]")
    assert found["f0"].tolist()[1].microsecond == 250_000
    assert np.isnat(found["f0"][2])
    late = "2024-01-01\n" * 20_000 + "2024-01-01T01:02:03\n" + "2024-01-01\n" * 20_000
    assert values(tmp_path, late)[20_000] == np.datetime64("2024-01-01T01:02:03")


def test_decimal_thousands_missing_and_skipped_rows(tmp_path):
    same(
        values(tmp_path, "1.234,5;x\n2,5;1\n", decimal=",", thousands=".", missing="x"),
        np.array([[1234.5, NAN], [2.5, 1]]),
    )
    same(values(tmp_path, "junk\n1,2\n1 2\n3 4\n", skiprows=2, delimiter="whitespace"), np.array([[1, 2], [3, 4]]))
    same(values(tmp_path, "1 000;2\n3;4\n", thousands=" ", dtype="i8"), np.array([[1000, 2], [3, 4]]))
    same(values(tmp_path, "1,-999\n2,3\n", missing="-999", dtype="f8"), np.array([[1.0, NAN], [2.0, 3.0]]))


@pytest.mark.parametrize("rows", [1, 3000])  # few, and enough for each of the ways to read
def test_numbers_may_stand_for_what_is_missing(tmp_path, rows):
    data = "1,-999,7\n2,3,-999\n-999,-999.5,8\n" * rows
    expected = np.tile([[1, NAN, 7], [2, 3, NAN], [NAN, -999.5, 8]], (rows, 1))
    same(values(tmp_path, data, missing="-999"), expected)
    same(values(tmp_path, data.replace("7", "x"), missing="-999,x")[:1], np.array([[1, NAN, NAN]]))
    same(values(tmp_path, data.replace("-999.5", "5"), missing="-999"), np.where(expected == -999.5, 5, expected))
    with pytest.raises(ca.TextError, match="missing"):
        values(tmp_path, data.replace("-999.5", "5"), missing="-999", dtype="i8")


def test_fixed_width(tmp_path):
    a = values(tmp_path, "  1 2.5abc\n 10-3.5d e\n", "t.txt", widths=(3, 4, 3))
    assert a.tolist() == [(1, 2.5, "abc"), (10, -3.5, "d e")]
    same(values(tmp_path, "1234\n5678\n", "t.txt", widths="2,2"), np.array([[12, 34], [56, 78]]))
    same(values(tmp_path, "12\n5678\n", "t.txt", widths="2,2"), np.array([[12, NAN], [56, 78]]))


def test_regular_expressions_as_fromregex_has_them(tmp_path):
    data = "1312 foo\n1534  bar\nnothing\n444   qux\n"
    path = put(tmp_path, data, "t.log")
    expected = np.fromregex(path, r"(\d+)\s+(...)", [("num", np.int64), ("key", "S3")])
    same(ca.open(path, format="text", regexp=r"(\d+)\s+(...)", dtype=expected.dtype).compute(), expected)
    many = "".join(f"{k} t={k * 0.5}\nother line\n" for k in range(60_000))
    found = ca.open(put(tmp_path, many, "t.log"), format="text", regexp=r"^(\d+) t=(\S+)$")
    same(found.compute(), np.stack([np.arange(60_000), np.arange(60_000) * 0.5], 1))
    same(found[54_321:54_400].compute(), found.compute()[54_321:54_400])
    with pytest.raises(ca.OptionError, match="regexp"):
        ca.open(path, format="text", regexp="(")


# --- where the bytes come from ---


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_compressed_texts(tmp_path, suffix):
    table = np.random.default_rng(1).normal(size=(6_000, 3))
    text = "\n".join(",".join(map(repr, row)) for row in table.tolist()).encode()
    if suffix == ".zst":
        data = pytest.importorskip("pyarrow").compress(text, codec="zstd", asbytes=True)
    else:
        data = {".gz": gzip, ".bz2": bz2, ".xz": lzma}[suffix].compress(text)
    a = ca.open(put(tmp_path, data, f"t.csv{suffix}"))
    same(a.compute(), table)
    same(a[4_000:4_010].compute(), table[4_000:4_010])
    with pytest.raises(ca.FormatError):
        ca.open(put(tmp_path, data[: len(data) // 2], f"u.csv{suffix}"))


def test_streams_of_xz_one_after_another(tmp_path):
    streams = [lzma.compress(b"1,2\n" * n) for n in (3, 0, 5)]
    for padding in (0, 8, 3 << 20):
        data = bytes(padding).join(streams)
        same(ca.open(put(tmp_path, data, "t.csv.xz")).compute(), np.array([[1, 2]] * 8))
        with pytest.raises(ca.FormatError, match="damaged"):
            ca.open(put(tmp_path, data[:-9], "u.csv.xz"))
    with pytest.raises(ca.FormatError, match="damaged"):
        ca.open(put(tmp_path, streams[0] + b"x", "u.csv.xz"))


@pytest.mark.parametrize("suffix", [".xz", ".zst"])
def test_what_unpacks_a_text_fits_the_budget(tmp_path, suffix):
    """A dictionary of 64 MiB, which the file asks for, was allocated whatever the budget."""
    text = b"1,2\n" * 1000
    header = b"\x28\xb5\x2f\xfd\x00" + bytes([16 << 3])  # a frame with a window of 64 MiB
    data = lzma.compress(text, preset=9) if suffix == ".xz" else header + Zstd(1).encode(text)[6:]
    path = put(tmp_path, data, f"t.csv{suffix}")
    with ca.config.set(memory="32MiB"), pytest.raises(ca.MemoryBudgetError, match="32 MiB"):
        ca.open(path)
    if suffix == ".xz":
        with ca.config.set(memory="128MiB"):
            assert ca.open(path).shape == (1000, 2)


def test_a_zst_file_that_is_damaged_keeps_no_memory(tmp_path):
    """Each of them kept the mebibyte that pyarrow had read into."""
    pytest.importorskip("pyarrow")
    path = put(tmp_path, bytes(Zstd(1).encode(b"1,2\n" * 1000))[:-5], "t.csv.zst")
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(5):
            with pytest.raises(ca.FormatError):
                ca.open(path)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < 1 << 20
    finally:
        tracemalloc.stop()


def test_scratch_of_a_compressed_text_goes_with_it(tmp_path):
    scratch = tmp_path / "scratch"
    with ca.config.set(scratch=str(scratch)):
        a = ca.open(put(tmp_path, bz2.compress(b"1,2\n" * 1000), "t.csv.bz2"))
        assert len(os.listdir(scratch)) == 1
        assert a.sum() == 3000
        del a
    assert os.listdir(scratch) == []


def test_standard_input(tmp_path):
    code = "import chunkarr as ca; a = ca.open('-'); print(a.shape, a.dtype, a.sum())"
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    run = subprocess.run([sys.executable, "-c", code], input=b"1,2\n3,4\n", capture_output=True, cwd=root, check=True)
    assert run.stdout.decode().strip() == "(2, 2) int64 10"


@pytest.mark.parametrize("step", [-1, 0, 1])
def test_rows_that_lie_across_the_pieces_in_which_a_text_is_read(tmp_path, step):
    width = 16
    rows = 2 * PIECE // width
    lines = np.char.zfill(np.arange(rows).astype(f"U{width}"), width - 1 + (step > 0)).tolist()
    same(values(tmp_path, "\n".join(lines) + "\n" * (1 - step)), np.arange(rows))


def test_quoted_newlines_anywhere(tmp_path):
    words = [("a\nb" if k % 7 == 0 else "c,d" if k % 3 == 0 else "ef") for k in range(100_000)]
    text = "".join(f'"{w}",{k}\n' for k, w in enumerate(words))
    found = ca.open(put(tmp_path, text))
    assert found.shape == (100_000,)
    whole_ = found.compute()
    assert whole_["f0"].tolist() == words
    np.testing.assert_array_equal(whole_["f1"], np.arange(100_000))


def test_a_change_of_the_file_is_noticed(tmp_path):
    path = put(tmp_path, "1,2\n3,4\n")
    stored = open_stored(path)
    os.utime(path, ns=(1, 1))
    with pytest.raises(ca.GenerationChangedError):
        stored.read(whole(stored.shape), np.empty(stored.shape, stored.dtype), np.empty(0, "u1"))
    assert stored.fresh() is not stored
    again = pickle.loads(pickle.dumps(stored.fresh()))
    out = np.empty(again.shape, again.dtype)
    again.read(whole(again.shape), out, np.empty(0, "u1"))
    assert out.tolist() == [[1, 2], [3, 4]]


def test_shape_of_more_axes(tmp_path):
    data = "\n".join(",".join(str(12 * i + j) for j in range(12)) for i in range(5))
    same(values(tmp_path, data, shape=(-1, 3, 4)), np.arange(60).reshape(5, 3, 4))
    with pytest.raises(ca.OptionError, match="5 rows of 12"):
        values(tmp_path, data, shape=(-1, 5))


def test_options_that_cannot_be(tmp_path):
    path = put(tmp_path, "1,2\n3,4\n")
    for options in (
        {"delimiter": "ab"}, {"layout": "pile"}, {"names": "a"}, {"usecols": 5}, {"dtype": "f8,f8,f8"},
        {"skiprows": 99}, {"decimal": "xx"},
    ):  # fmt: skip
        with pytest.raises(ca.OptionError):
            ca.open(path, **options)
    with pytest.raises(ca.UnsupportedError):
        ca.open(path, dtype="O")
    with pytest.raises(ca.UnsupportedError):
        ca.open(path, "r+")


def test_a_folder_of_csv_to_an_array_within_a_small_budget(tmp_path):
    table = np.random.default_rng(2).normal(size=(60_000, 5))
    buffer = io.StringIO()
    np.savetxt(buffer, table, delimiter=",", fmt="%.17g")
    path = put(tmp_path, buffer.getvalue())
    with ca.config.set(memory="64MiB"):
        ca.convert(path, tmp_path / "t.npy")
        ca.convert(path, tmp_path / "t.zarr")
    same(np.load(tmp_path / "t.npy"), table)
    same(ca.open(tmp_path / "t.zarr").compute(), table)


@pytest.mark.parametrize(
    "data",
    [
        b'"' + b"1,2\n" * 2_000_000,
        b'1,2\n"' + b"#,\n" * 1_000_000,
        b"1,2\n" + b" " * 3_000_000 + b"1,2\n",
        b'"' * 3_000_000,
    ],
    ids=["open quote", "marks in quotes", "blanks", "quotes"],
)
def test_hostile_lines_are_refused_or_read_soon(tmp_path, data):
    begin = time.perf_counter()
    with contextlib.suppress(ca.FormatError):
        ca.open(put(tmp_path, data), dtype="f8").sum()
    assert time.perf_counter() - begin < 20
