"""Floats by pyarrow: the same as without it, or left to the other ways."""

from __future__ import annotations

import numpy as np
import pytest

import chunkarr as ca
from chunkarr.formats import text, text_writer
from chunkarr.formats.text_arrow import floats_by_arrow, lines_by_arrow, writes_alike
from chunkarr.formats.text_digits import floats_as_text
from tests.oracle import same

pytest.importorskip("pyarrow")


def body(text):
    return np.frombuffer(text.encode(), np.uint8)


def test_the_same_doubles():
    values = np.random.default_rng(0).integers(0, 2**64, (4000, 3), dtype="u8").view("f8")
    values = np.where(np.isfinite(values), values, 0.1)
    piece = body("".join(",".join(map(repr, row)) + "\n" for row in values.tolist()))
    for use in ((0, 1, 2), (2, 0)):
        same(np.stack(floats_by_arrow(piece, ",", 3, use), axis=1), values[:, use])


@pytest.mark.parametrize(
    "line",
    [
        "1,2,3",
        "1",
        "1,",
        ",",
        "",
        "1,x",
        "1,1.2.3",
        "1,--2",
        "1,+",
        "nan,1",
        "1,-nan(1)",
        "inf,1",
        "1e400,1",
        "0x1F,1",
        '"1",2',
        "true,1",
    ],
)
def test_what_may_mean_something_else_is_left_to_others(line):
    assert floats_by_arrow(body(f"1,2\n{line}\n3,4\n"), ",", 2, (0, 1)) is None


@pytest.mark.parametrize(
    "odd", ["1.5,2.5", "+1.5,2.5", "1.5D0,nan", " 1.5,2.5", ",2.5", "1.5,2.5 # comment", "1e400,1e-400"]
)
def test_large_texts_are_read_the_same_with_and_without(tmp_path, monkeypatch, odd):
    rows = [f"{k / 7!r},{k / 3!r}" for k in range(3_000)]
    rows[1_234] = odd
    (tmp_path / "x.csv").write_text("\n".join(rows))
    monkeypatch.setattr(text, "ARROW_FROM", 1 << 40)
    expected = ca.open(tmp_path / "x.csv").compute()
    monkeypatch.setattr(text, "ARROW_FROM", 1)
    same(ca.open(tmp_path / "x.csv").compute(), expected)


RNG = np.random.default_rng(1)
TABLES = {
    "normal": RNG.normal(size=(3_000, 3)),
    "decimals": np.round(RNG.normal(size=(3_000, 3)) * 1000, 3),
    "any size": 10.0 ** RNG.uniform(-3.9, 9.9, (3_000, 3)),
    "single precision": RNG.normal(size=(3_000, 3)).astype("f4").astype("f8"),
    "one column": RNG.normal(size=(3_000, 1)),
}


@pytest.mark.parametrize("odd", [1.0, -0.0, 1e-5, 5e-324, 1e10, 1e22, np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("name", TABLES)
def test_written_to_the_byte_as_without_pyarrow(name, odd):
    assert writes_alike()
    table = TABLES[name].copy()
    for place in ((0, 0), (1_500, -1), (1_501, -1), (-1, 0)):
        table[place] = odd
    expected = "".join(";".join(map(repr, row)) + "\n" for row in table.tolist())
    assert bytes(lines_by_arrow(table, ";")) == expected.encode() == floats_as_text(table, ";", "\n")


def test_many_that_are_spelled_otherwise_are_written_without_it():
    assert lines_by_arrow(np.arange(1e4).reshape(-1, 2), ",") is None


@pytest.mark.parametrize(
    "options", [{}, {"delimiter": ";"}, {"newline": "\r\n"}, {"delimiter": '"'}, {"delimiter": "e"}]
)
@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz", "x.tsv"])
def test_files_do_not_depend_on_it(tmp_path, monkeypatch, options, name):
    written = []
    for start in (1, 1 << 60):
        monkeypatch.setattr(text_writer, "ARROW_FROM", start)
        ca.savetxt(tmp_path / name, TABLES["normal"], fmt=None, **options)
        written.append((tmp_path / name).read_bytes())
        (tmp_path / name).unlink()
    assert written[0] == written[1]


def test_tables_of_thousands_of_columns_are_read_without_pyarrow(tmp_path, monkeypatch):
    """It held 120 MiB for 20,000 columns where 40 were allowed, and took twice the time."""

    def refuse(*_arguments):
        raise AssertionError("asked pyarrow")

    monkeypatch.setattr(text, "ARROW_FROM", 0)
    monkeypatch.setattr(text, "read_by_arrow", refuse)
    table = np.random.default_rng(0).normal(size=(3, 1001))
    np.savetxt(tmp_path / "t.csv", table, "%.17g", ",")
    assert np.array_equal(ca.open(tmp_path / "t.csv", dtype="f8").compute(), table)
    np.savetxt(tmp_path / "u.csv", table[:, :9], "%.17g", ",")
    with pytest.raises(AssertionError, match="asked pyarrow"):
        ca.open(tmp_path / "u.csv", dtype="f8").compute()
