"""Doubles as text: what Python's ``repr`` gives, to the byte."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkarr.formats.text_digits import floats_as_text

RNG = np.random.default_rng(0)


def check(values):
    values = np.asarray(values, "f8")
    expected = "".join(f"{x!r}\n" for x in values.tolist()).encode()
    assert floats_as_text(values.reshape(-1, 1), ",", "\n") == expected


@given(st.lists(st.floats(), min_size=1, max_size=60))
def test_any_double_is_as_python_prints_it(values):
    check(values)


@given(st.lists(st.floats(1e-5, 1e7), min_size=1, max_size=60), st.integers(0, 17))
def test_usual_numbers_are_as_python_prints_them(values, places):
    check(values)
    check([round(-x, places) for x in values])


@given(st.lists(st.tuples(st.integers(0, 2**53), st.integers(-66, -30)), min_size=1, max_size=60))
def test_sums_of_few_powers_of_two_are_as_python_prints_them(pairs):
    check([m * 2.0**e for m, e in pairs])


MANY = {
    "normal": RNG.normal(size=20_000),
    "any size": 10.0 ** RNG.uniform(-6, 8, 20_000),
    "integers": RNG.integers(-(10**7), 10**7, 20_000).astype("f8"),
    "decimals": np.round(RNG.normal(size=20_000) * 1000, 3),
    "single precision": RNG.normal(size=20_000).astype("f4").astype("f8"),
    "powers of two": 2.0 ** np.arange(-40, 40),
    "powers of ten": np.concatenate([10.0 ** np.arange(-9, 18), np.nextafter(10.0 ** np.arange(-9, 18), 0)]),
    "15 digits": np.round(RNG.uniform(0, 10, 20_000), 14),
}


@pytest.mark.parametrize("name", MANY)
def test_many_doubles_are_as_python_prints_them(name):
    check(MANY[name])


def test_rows_and_columns():
    table = np.array([[0.5, np.nan, -0.0], [1e-7, 2.0, 1e22]])
    assert floats_as_text(table, ";", "\n") == b"0.5;nan;-0.0\n1e-07;2.0;1e+22\n"
    assert floats_as_text(np.empty((2, 0)), ",", "\n") == b"\n\n"
    assert floats_as_text(np.empty((0, 2)), ",", "\n") == b""
