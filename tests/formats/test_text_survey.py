"""Texts looked at in several threads: the same index as one that is made in one go, or none."""

from __future__ import annotations

import numpy as np
import pytest

import chunkarr as ca
from chunkarr.formats import text_index, text_survey
from tests.oracle import same


@pytest.fixture
def small(monkeypatch):
    """Let small texts be looked at in many spans."""
    for name, value in (("SPAN", 256), ("SLACK", 96), ("ENOUGH", 1), ("MEMORY", 1)):
        monkeypatch.setattr(text_survey, name, value)
    monkeypatch.setattr(text_index, "BLOCK", 700)
    with ca.config.set(workers=3):
        yield


def indexed(path, monkeypatch, patience, **options):
    monkeypatch.setattr(text_survey, "PATIENCE", patience)
    return ca.open(path, **options)


def rows(count, seed=0):
    values = np.random.default_rng(seed).normal(size=(count, 3))
    return [",".join(map(repr, row)) for row in values.tolist()]


CASES = {
    "floats": rows(400),
    "a quote in the middle": [*rows(200), '"1",2,3', *rows(200)],
    "a quoted end of line": [*rows(200), '"1\n",2,3', *rows(200)],
    "comments": [*rows(100), "# 1,2,3", *rows(200), "1,2,3 # more", *rows(9)],
    "blank lines": [*rows(100), "", *rows(200), "  ", "", *rows(9)],
    "a long row": [*rows(100), "1," + " " * 300 + "2,3", *rows(100)],
    "words": [*rows(100), "nan,inf,NA", *rows(100), ",,", *rows(99)],
    "integers": [f"{k},{k * 7},{-k}" for k in range(2000)],
    "a late float": [*(f"{k},{k},1" for k in range(1500)), "1,2.5,3", *("4,5,6" for _ in range(300))],
    "a late large one": [*(f"{k},{k},1" for k in range(1500)), f"{2**63},2,3", *("4,5,6" for _ in range(300))],
    "large after negative ones": [*(f"{-k},{k},1" for k in range(1500)), f"{2**63},2,3", *("4,5,6" for _ in range(9))],
    "texts": [f"{k},{'x' * (k % 37)},{k / 7!r}" for k in range(800)],
    "exponents": [f"{k}e-5,{k}E5,+{k}" for k in range(800)],
}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("case", CASES)
def test_the_index_of_one_thread(tmp_path, monkeypatch, small, case, end):
    path = tmp_path / "x.csv"
    for last in ("", end):
        path.write_bytes((end.join(CASES[case]) + last).encode())
        expected, found = indexed(path, monkeypatch, 0), indexed(path, monkeypatch, 4)
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        same(found.compute(), expected.compute())
        one, other = (a._node.op.stored.index for a in (found, expected))
        same(one.offsets, other.offsets)
        assert (one.rows, one.step) == (other.rows, other.step)


def test_a_bad_row_is_named_by_its_line(tmp_path, monkeypatch, small):
    path = tmp_path / "x.csv"
    path.write_text("\n".join([*(f"{k},2" for k in range(1200)), "7,word", "8,9"]))
    with pytest.raises(ca.TextError, match=r"x\.csv:1201:2: .*word"):
        indexed(path, monkeypatch, 4)
    path.write_text("\n".join([*(f"{k}.5,2" for k in range(1200)), "7.5,2,1", "8.5,9"]))
    with pytest.raises(ca.TextError, match=r"x\.csv:1201: has 3 fields"):
        indexed(path, monkeypatch, 4)


def test_threads_look_ahead_of_what_is_usual(tmp_path, monkeypatch, small):
    """Nothing of a text of floats is left to the slow way."""
    path = tmp_path / "x.csv"
    path.write_text("\n".join(rows(300)))
    monkeypatch.setattr(text_index._Builder, "piece", None)
    assert ca.open(path).shape == (300, 3)
