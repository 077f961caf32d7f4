"""Plain numbers: what three words of each say is what Python's conversion of the field gives, or is left to it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkarr.formats import text_plain
from chunkarr.formats.text_dialect import Dialect
from chunkarr.formats.text_parse import Column, read_plainly, read_rows, row_by_row
from chunkarr.formats.text_plain import Room, divide_plain, places, plain_numbers
from chunkarr.formats.text_words import Words
from tests.oracle import same

F8 = np.dtype("f8")
FIELD = st.one_of(
    st.floats(allow_nan=False).map(repr),
    st.floats(-1e6, 1e6).map(lambda x: f"{x:.4f}"),
    st.integers(-(10**20), 10**20).map(str),
    st.from_regex(r"\A-?[0-9]{0,14}\.?[0-9]{0,14}\Z"),
    st.sampled_from(
        ["0", "-0", "-0.0", ".5", "5.", "00012", "+7", " 5 ", "nan", "-inf", "NA", "", "1e5", "0x1F", "1.5D3"]
    ),
)


def columns(count, dtype=F8):
    return [Column(k, np.dtype(dtype)) for k in range(count)]


def bits(values):
    return np.stack(values).view("u8").tolist()


@given(st.data(), st.integers(1, 4), st.sampled_from([",", "\t", ";", " "]), st.sampled_from(["\n", "\r\n"]))
def test_the_bits_of_the_slow_way(data, width, delimiter, end):
    rows = data.draw(st.lists(st.lists(FIELD, min_size=width, max_size=width), min_size=1, max_size=40))
    rows = [[field.strip() if delimiter == " " else field for field in row] for row in rows]
    usable = [row for row in rows if _has_value(row, width)]
    piece = "".join(delimiter.join(row) + end for row in usable).encode()
    dialect = Dialect(width, delimiter)
    assert bits(read_rows(piece, dialect, columns(width))) == bits(row_by_row(piece, dialect, columns(width)))


def _has_value(row, width):
    """Leave out what is no number, and lines that may be blank."""
    for field in row:
        try:
            Words().to_float(field.strip())
        except ValueError:
            return False
    return width > 1 or bool(row[0].strip())


@given(st.lists(st.tuples(st.integers(-(2**63), 2**64), st.integers(0, 9)), min_size=1, max_size=60))
def test_integers_beside_fractions(pairs):
    piece = "".join(f"{one},{one % 977}.{two}\n" for one, two in pairs).encode()
    found = read_rows(piece, Dialect(2), columns(2))
    assert bits(found) == bits(row_by_row(piece, Dialect(2), columns(2)))
    fits = [(one, two) for one, two in pairs if one < 2**63]
    piece = "".join(f"{one},{two}\n" for one, two in fits).encode()
    for column, expected in zip(read_rows(piece, Dialect(2), columns(2, "i8")), zip(*fits, strict=True), strict=False):
        assert column.tolist() == list(expected)


def test_nearly_all_are_read_without_python():
    values = np.random.default_rng(3).normal(size=(2_000, 4)) * 10.0 ** np.arange(4)
    piece = "".join(",".join(map(repr, row)) + "\n" for row in values.tolist()).encode()
    room = Room(len(piece))
    fields = divide_plain(room, *room.put(piece), Dialect(4))
    found, odd = plain_numbers(fields, F8, room)
    assert odd.size < 20
    same(np.delete(found, odd), np.delete(values.reshape(-1), odd))


def test_more_fields_than_are_worked_out_together(monkeypatch):
    monkeypatch.setattr(text_plain, "FIELDS", 7)
    values = np.random.default_rng(4).normal(size=(50, 3))
    piece = "".join(",".join(map(repr, row)) + "\n" for row in values.tolist()).encode()
    same(np.stack(read_rows(piece, Dialect(3), columns(3)), axis=1), values)


@pytest.mark.parametrize(
    ("piece", "use", "expected"),
    [
        (b'"1,2\n3",4\n', [1], [[4.0]]),  # two rows of two, if one did not know of quotes
        (b"# 1,2\n3,4\n", [1], [[4.0]]),
        (b"1,2 # 3\n5,6\n", [0], [[1.0, 5.0]]),
        (b'1,"2"\n3,4\n', [1], [[2.0, 4.0]]),
        (b"1,2\n\n3,4\n", [0, 1], [[1.0, 3.0], [2.0, 4.0]]),
        (b"1,2\n , \n3,4\n", [0], [[1.0, np.nan, 3.0]]),
    ],
)
def test_quotes_comments_and_blank_lines_are_not_plain(piece, use, expected):
    found = read_rows(piece, Dialect(2), [Column(k, F8) for k in use])
    same(np.array([column.tolist() for column in found]), np.array(expected))


@pytest.mark.parametrize("blank", ["", " ", "\t", "\r"])
def test_blank_lines_of_one_column(blank):
    piece = f"1\n{blank}\n2.5\n".encode()
    same(read_rows(piece, Dialect(1), columns(1))[0], np.array([1.0, 2.5]))


def test_signs_that_mean_something_else():
    """A dialect may give a sign or a point another meaning."""
    assert read_rows(b"1\n-2\n", Dialect(1, comments="-"), columns(1))[0].tolist() == [1.0]
    dialect = Dialect(2, ";", words=Words(decimal=","))
    assert bits(read_rows(b"1,5;-2\n3;,25\n", dialect, columns(2))) == bits([[1.5, 3.0], [-2.0, 0.25]])


def test_rows_of_other_lengths_are_left_to_others():
    for piece in (b"1,2\n3\n", b"1\n2,3\n", b"1,2,3\n4\n", b"\n1,2\n"):
        room = Room(len(piece))
        assert read_plainly(room, *room.put(piece), Dialect(2), columns(2)) is None


@given(st.lists(st.booleans(), min_size=1, max_size=200), st.integers(1, 40))
def test_places_are_those_of_flatnonzero(marks, every):
    mask = np.zeros(-(-len(marks) * every // 8) * 8, bool)
    mask[: len(marks) * every : every] = marks
    same(places(mask), np.flatnonzero(mask))
