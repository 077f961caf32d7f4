"""append and resize: the handle, the file and other handles see the new shape; old values never come back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chunkarr as ca
from tests.oracle import same
from tests.strategies import arrays, chunks_of, shapes
from tests.updating import changeable

LAYOUTS = {
    "zarr": (".zarr", {"chunks": (3, 4)}),
    "shards": (".zarr", {"chunks": (2, 2), "shards": (4, 4)}),
    "npy": (".npy", {}),
    "npy-fortran": (".npy", {"order": "F"}),
    "hdf5": (".h5", {}),
    "hdf5-chunked": (".h5", {"chunks": (3, 4), "codec": "gzip"}),
}


@pytest.fixture(params=LAYOUTS)
def opened(request, tmp_path):
    """Return what saves an array in a layout and opens it to be changed."""
    suffix, options = LAYOUTS[request.param]

    def make(x):
        ca.save(tmp_path / f"x{suffix}", x, overwrite=True, **options)
        return ca.open(tmp_path / f"x{suffix}", "r+")

    return make


@given(arrays(shape=shapes(3, 60).filter(len)), st.data())
def test_append_is_numpys_append(x, data):
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    shape = list(x.shape)
    shape[axis] = data.draw(st.integers(0, 5))
    values = data.draw(arrays(dtype=x.dtype, shape=tuple(shape)))
    a, disk = changeable(x, data.draw(st.none() | chunks_of(x.shape)))
    a.append(values, axis=axis)
    expected = np.concatenate([x, values], axis=axis, dtype=x.dtype)
    same(disk.values, expected)
    same(a, expected)
    assert disk.commits == (shape[axis] > 0)


def test_handles_and_views_follow_an_append(opened):
    x = np.arange(35.0).reshape(7, 5)
    a = opened(x)
    other, part, turned, sums = ca.open(a.path), a[2:4], a.T, a.sum(axis=0)
    a.append(np.ones((2, 5)))
    a.append([[1, 2, 3, 4, 5]])
    x = np.concatenate([x, np.ones((2, 5)), [[1, 2, 3, 4, 5]]])
    for array in (a, other, turned.T, ca.open(a.path)):
        same(array, x)
    same(part, x[2:4])
    with pytest.raises(ca.StaleExpressionError):
        sums.compute()
    a.append(a, axis=1)
    same(a, np.concatenate([x, x], axis=1))


def test_what_was_cut_does_not_come_back(opened):
    x = np.arange(1.0, 36.0).reshape(7, 5)
    a = opened(x)
    part = a[5:]
    a.resize(4, 3)
    same(a, x[:4, :3])
    with pytest.raises(ca.StaleExpressionError, match="index the array again"):
        part.compute()
    a.resize((8, 6))
    expected = np.zeros((8, 6))
    expected[:4, :3] = x[:4, :3]
    same(a, expected)
    same(ca.open(a.path), expected)
    same(part, expected[5:7, :5])


def test_arrays_of_no_elements_grow(opened):
    a = opened(np.zeros((0, 5)))
    a.append(np.arange(10.0).reshape(2, 5))
    same(a, np.arange(10.0).reshape(2, 5))
    a.resize(0, 5)
    assert a.shape == (0, 5)
    a.resize(3, 0)
    a.append(np.ones((3, 2)), axis=1)
    same(a, np.ones((3, 2)))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda a: a.append(np.ones((2, 4))), ValueError, "must match exactly"),
        (lambda a: a.append(np.ones(5)), ValueError, "2 axes, the values 1"),
        (lambda a: a.append(np.ones((1, 5), complex)), TypeError, "same_kind"),
        (lambda a: a.append([["x"] * 5]), ValueError, "could not convert"),
        (lambda a: a.append(np.ones((1, 5)), axis=2), ValueError, "axis 2"),
        (lambda a: a[1:].append(np.ones((1, 5))), ValueError, "only whole"),
        (lambda a: a.T.append(np.ones((5, 1)), axis=1), ValueError, "only whole"),
        (lambda a: (a + 1).append(np.ones((1, 5))), ValueError, "read-only"),
        (lambda a: ca.open(a.path).append(np.ones((1, 5))), ValueError, r'mode="r\+"'),
        (lambda a: a.resize(3), ValueError, "1 axes"),
        (lambda a: a.resize(3, -1), ValueError, "0 or more"),
        (lambda a: a.resize(3.0, 2), TypeError, "integer"),
    ],
)
def test_refusals_change_nothing(change, error, words, tmp_path):
    x = np.arange(10.0).reshape(2, 5)
    ca.save(tmp_path / "x.zarr", x, chunks=(2, 2))
    a = ca.open(tmp_path / "x.zarr", "r+")
    with pytest.raises(error, match=words):
        change(a)
    same(ca.open(tmp_path / "x.zarr"), x)
    a[0, 0] = 7  # the lock is free


def test_values_larger_than_what_fits_are_appended_block_by_block(tmp_path):
    x = ca.arange(500_000.0).reshape(1000, 500)
    a = ca.save(tmp_path / "x.zarr", x[:10], chunks=(64, 100))
    a = ca.open(tmp_path / "x.zarr", "r+")
    with ca.config.set(memory="2MiB"):
        a.append(x * 2)
        same(a[-3:], np.asarray(x[-3:]) * 2)
    assert a.shape == (1010, 500)


def test_two_handles_append_in_turn(tmp_path):
    ca.save(tmp_path / "x.npy", np.zeros(3))
    one, two = (ca.open(tmp_path / "x.npy", "r+") for _ in range(2))
    for k in range(5):
        one.append([2 * k])
        two.append([2 * k + 1])
    same(one, np.concatenate([np.zeros(3), np.arange(10.0)]))
    same(two, one.compute())
