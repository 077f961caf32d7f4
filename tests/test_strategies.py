"""The tools of the tests do what they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import oracle, strategies


@given(st.data())
def test_drawn_arrays_are_what_was_asked(data):
    dtype = data.draw(strategies.dtypes())
    shape = data.draw(strategies.shapes())
    array = data.draw(strategies.arrays(dtype, shape))
    assert array.dtype == dtype
    assert array.shape == shape
    chunks = data.draw(strategies.chunks_of(shape))
    assert len(chunks) == len(shape)
    assert all(c >= 1 for c in chunks)
    key = data.draw(strategies.basic_keys(shape))
    oracle.check(lambda: array[key], lambda: array.copy()[key], message=True)


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (np.zeros(2), np.zeros(3)),
        (np.zeros(2), np.zeros(2, "f4")),
        (np.zeros(2), np.zeros(2, ">f8")),
        (np.zeros(2), -np.zeros(2)),
        (np.array([1.0]), np.array([np.nextafter(1.0, 2.0)])),
        (np.array([np.nan]), np.array([1.0])),
        (np.array([1 + 1j]), np.array([1 - 1j])),
        ((np.zeros(1),), (np.zeros(1), np.zeros(1))),
    ],
)
def test_the_oracle_sees_every_difference(actual, expected):
    oracle.same(actual, actual)
    with pytest.raises(AssertionError):
        oracle.same(actual, expected)


def test_the_oracle_compares_errors():
    array = np.zeros(3)
    oracle.check(lambda: array[5], lambda: array[5], message=True)
    oracle.check(lambda: np.sum(array, axis=2), lambda: np.sum(array, axis=2), message=True)
    with pytest.raises(BaseException, match="DID NOT RAISE"):
        oracle.check(lambda: array, lambda: array[5])
    with pytest.raises(ValueError, match="no"):
        oracle.check(lambda: int("no"), lambda: array[5])
    with pytest.raises(IndexError):
        oracle.check(lambda: array[5], lambda: array)
