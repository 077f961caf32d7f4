"""Numbers out of text: every one the nearest double, as Python's own conversion has it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkarr.formats.text_dialect import Dialect
from chunkarr.formats.text_parse import BadRow, Column, read_rows, row_by_row
from chunkarr.formats.text_words import Words

F8 = np.dtype("f8")


def read(texts, dtype=F8):
    piece = "".join(text + "\n" for text in texts).encode()
    return read_rows(piece, Dialect(1), [Column(0, np.dtype(dtype))])[0]


def bits(values):
    return np.asarray(values, "f8").view("u8").tolist()


def check(texts):
    assert bits(read(texts)) == bits([float(text) for text in texts])


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=50))
def test_what_python_prints_comes_back_to_the_bit(numbers):
    check([repr(x) for x in numbers])
    check([f"{x:.17g}" for x in numbers])
    check([f"{x:.18e}" for x in numbers])


@given(st.lists(st.integers(-(2**53), 2**53), min_size=1, max_size=50), st.integers(0, 16))
def test_few_digits_are_the_nearest(numbers, places):
    """Those of one text that are all of few digits take a shorter way."""
    check([f"{n // 10**places}.{n % 10**places:0{places}d}" if places else str(n) for n in map(abs, numbers)])
    check([f"-{n:.{places}f}" for n in map(abs, numbers)])


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=50))
def test_doubles_of_any_bits_come_back(patterns):
    numbers = np.array(patterns, "u8").view("f8")
    check([repr(x) for x in numbers[np.isfinite(numbers)].tolist()] or ["0"])


DIGITS = st.text("0123456789", max_size=25)
SIGN = st.sampled_from(["", "+", "-"])


@given(st.lists(st.tuples(SIGN, DIGITS, st.sampled_from(["", "."]), DIGITS, SIGN, st.integers(0, 330)), min_size=1))
def test_numbers_of_any_length_are_the_nearest(parts):
    texts = []
    for sign, whole, point, rest, esign, power in parts:
        digits = whole + point + rest if point else whole
        if digits.strip(".") == "":
            digits += "7"
        texts += [sign + digits, f"{sign}{digits}e{esign}{power}"]
    check(texts)


@given(st.lists(st.tuples(st.integers(2**52, 2**53 - 1), st.integers(-60, 60)), min_size=1, max_size=40))
def test_halves_between_two_doubles_are_rounded_to_even(pairs):
    from fractions import Fraction

    texts = []
    for mantissa, power in pairs:
        half = Fraction(2 * mantissa + 1) * Fraction(2) ** (power - 1)
        if half.denominator == 1:
            texts += [str(half.numerator), str(half.numerator - 1), str(half.numerator + 1)]
        else:
            places = half.denominator.bit_length() - 1
            digits = str(half.numerator * 5**places).rjust(places + 1, "0")
            text = f"{digits[:-places]}.{digits[-places:]}"
            texts += [text, text + "1", text[:-1] + "4", text[:17]]
    check(texts)


def test_edges():
    check(
        ["0", "-0", "0.0", "-0.0e5", "00", ".5", "5.", "-.5e-3", "1e22", "1e23", "9007199254740993", "1e308", "1e309"]
    )
    check(["4.9e-324", "2.4703282292062327e-324", "2.4703282292062328e-324", "2.2250738585072011e-308", "1e-400"])
    check(["1.7976931348623157e308", "1.7976931348623159e308", "18446744073709551615", "18446744073709551616"])
    check(["9999999999999999999", "99999999999999999999", "0." + "0" * 30 + "1", "1" + "0" * 30, "1e0000001", "1E+5"])


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=50))
def test_integers_are_exact(numbers):
    assert read([str(n) for n in numbers], "i8").tolist() == numbers
    assert read([f"{n:+023d}" for n in numbers], "i8").tolist() == numbers
    positive = [abs(n) * 2 for n in numbers if abs(n) < 2**63] or [0]
    assert read([str(n) for n in positive], "u8").tolist() == positive


@pytest.mark.parametrize(("dtype", "text"), [("i1", "128"), ("u1", "-1"), ("i8", str(2**63)), ("u8", str(2**64))])
def test_integers_that_do_not_fit_are_refused(dtype, text):
    with pytest.raises(BadRow, match="does not fit"):
        read(["1", text], dtype)


TEXT = st.text("0123456789+-.eEdD ,\t#\"\nnaNAinfx_;'", max_size=60)


@given(TEXT, st.sampled_from([",", None, ";", "\t"]), st.integers(1, 3), st.sampled_from(["f8", "i8", "U8"]))
def test_the_three_ways_to_read_agree_on_anything(text, delimiter, count, dtype):
    """The quick way finds what plain Python finds, or leaves it to it."""
    dialect = Dialect(count, delimiter, words=Words(decimal="," if delimiter == ";" else "."))
    columns = [Column(k, np.dtype(dtype)) for k in range(count)]
    piece = text.encode() + b"\n"

    def outcome(way):
        try:
            return [bits(v) if dtype == "f8" else v.tolist() for v in way(piece, dialect, columns)]
        except BadRow as bad:
            return bad.line, bad.start, bad.column, bad.reason

    found = outcome(read_rows)
    expected = outcome(row_by_row)
    if isinstance(found, list) and dtype == "f8":  # NaN has many bits
        nan = [[np.isnan(np.array(v, "u8").view("f8")).tolist() for v in way] for way in (found, expected)]
        assert nan[0] == nan[1]
        found, expected = (
            [[0 if n else x for x, n in zip(v, m, strict=True)] for v, m in zip(w, nan[0], strict=True)]
            for w in (found, expected)
        )
    assert found == expected
