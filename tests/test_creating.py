"""create: a new array of one value, opened to be changed."""

from __future__ import annotations

import os

import numpy as np
import pytest

import chunkarr as ca
from tests.oracle import same

RECORD = np.dtype([("x", "<f8"), ("n", ">i4")])


@pytest.mark.parametrize("suffix", [".zarr", ".npy", ".raw"])
@pytest.mark.parametrize(
    ("shape", "dtype", "fill"),
    [
        ((7, 5), "f4", 0),
        (6, ">i2", -3),
        ((4, 3), "f8", np.nan),
        ((), "u1", 200),
        ((0, 3), "f8", 1),
        ((5,), RECORD, 0),
        ((5,), RECORD, (1.5, 7)),
        ((3, 2), "S3", b"ab"),
        ((3,), "M8[D]", "2020-01-01"),
        ((3,), "f8", -0.0),
    ],
)
def test_a_new_array_holds_the_fill_value(suffix, shape, dtype, fill, tmp_path):
    a = ca.create(tmp_path / f"x{suffix}", shape, dtype, fill_value=fill)
    expected = np.zeros(shape, dtype)
    expected[...] = np.array(fill, dtype)
    same(a, expected)
    a[...] = np.ones((), dtype)
    expected[...] = np.ones((), dtype)
    same(a, expected)


def test_a_new_zarr_array_takes_no_space(tmp_path):
    a = ca.create(tmp_path / "x.zarr", (100_000, 100_000), "f8", fill_value=2.5, chunks=(1000, 1000))
    assert sum(os.path.getsize(os.path.join(d, f)) for d, _, files in os.walk(tmp_path) for f in files) < 1 << 20
    assert a[99_999, 5] == 2.5
    a[99_999, 5] = 1
    assert a[99_998:, 4:7].compute().tolist() == [[2.5, 2.5, 2.5], [2.5, 1.0, 2.5]]


def test_what_is_there_is_only_replaced_on_request(tmp_path):
    ca.create(tmp_path / "x.npy", 3)[:] = 1
    with pytest.raises(ca.TargetExistsError):
        ca.create(tmp_path / "x.npy", 4)
    assert ca.create(tmp_path / "x.npy", 4, overwrite=True).compute().tolist() == [0, 0, 0, 0]


def test_a_fill_value_that_the_dtype_cannot_hold_is_refused(tmp_path):
    with pytest.raises(OverflowError):
        ca.create(tmp_path / "x.zarr", 3, "u1", fill_value=300)
    assert list(tmp_path.iterdir()) == []
