"""Floats by pyarrow: the same as without it, or left to the other ways."""

from __future__ import annotations

import numpy as np
import pytest

import chunkarr as ca
from chunkarr.formats import text, text_arrow, text_parse
from chunkarr.formats.text_arrow import floats_by_arrow
from tests.oracle import same

pytest.importorskip("pyarrow")


def test_the_same_doubles():
    values = np.random.default_rng(0).integers(0, 2**64, (4000, 3), dtype="u8").view("f8")
    values = np.where(np.isfinite(values), values, 0.1)
    piece = "".join(",".join(map(repr, row)) + "\n" for row in values.tolist()).encode()
    same(floats_by_arrow(piece, ",", 3, [0, 1, 2]), values)
    same(floats_by_arrow(piece, ",", 3, [2, 0]), values[:, [2, 0]])


@pytest.mark.parametrize(
    "line", ["1,2,3", "1", "1,", ",", "", "1,x", "1,1.2.3", "1,--2", "1,+", "nan,1", '"1",2', "1 ,2"]
)
def test_what_may_mean_something_else_is_left_to_others(line):
    assert floats_by_arrow(f"1,2\n{line}\n3,4\n".encode(), ",", 2, [0, 1]) is None


@pytest.mark.parametrize(
    "odd", ["1.5,2.5", "+1.5,2.5", "1.5D0,nan", " 1.5,2.5", ",2.5", "1.5,2.5 # comment", "1e400,1e-400"]
)
def test_large_texts_are_read_the_same_with_and_without(tmp_path, monkeypatch, odd):
    rows = [f"{k / 7!r},{k / 3!r}" for k in range(3_000)]
    rows[1_234] = odd
    (tmp_path / "x.csv").write_text("\n".join(rows))
    monkeypatch.setattr(text, "ARROW_FROM", 1 << 40)
    expected = ca.open(tmp_path / "x.csv").compute()
    for module, name in ((text, "ARROW_FROM"), (text_arrow, "LEAST"), (text_parse, "LEAST")):
        monkeypatch.setattr(module, name, 1)
    same(ca.open(tmp_path / "x.csv").compute(), expected)
