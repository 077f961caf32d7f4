"""Basic indexing of anything that is stored: NumPy's values, shapes and errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chunkarr as ca
from tests.oracle import check, same
from tests.strategies import STRUCTURED, advanced_keys, arrays, basic_keys, chunked, chunks_of, dtypes, shapes


def numpys(x, key):
    """Return ``x[key]`` as an array of the dtype of ``x``: NumPy's scalars have lost its byte order."""
    part = x[key]
    return np.asarray(part, x.dtype) if isinstance(part, np.generic) else part


@given(arrays(), st.data())
def test_keys_mean_what_numpy_means(x, data):
    x.flags.writeable = False
    a = chunked(x, data.draw(chunks_of(x.shape)))
    key = data.draw(basic_keys(x.shape))
    check(lambda: a[key], lambda: numpys(x, key))


@given(arrays(shape=shapes(3, 200)), st.data())
def test_keys_of_keys_mean_what_numpy_means(x, data):
    a = chunked(x, data.draw(chunks_of(x.shape)))
    for _ in range(3):
        key = data.draw(basic_keys(x.shape))
        try:
            x = numpys(x, key)
        except IndexError:
            continue
        a = a[key]
    same(a, x)


@pytest.mark.parametrize("suffix", ["npy", "zarr", "h5"])
@settings(max_examples=15)
@given(data=st.data())
def test_stored_arrays_are_indexed_where_they_lie(suffix, data, tmp_path_factory):
    x = data.draw(arrays(dtype=dtypes().filter(lambda d: d.kind not in "MmUV"), shape=shapes(3, 300)))
    options = {"order": data.draw(st.sampled_from("CF"))} if suffix == "npy" else {}
    if suffix != "npy" and x.ndim:
        drawn = zip(data.draw(chunks_of(x.shape)), x.shape, strict=True)
        options["chunks"] = tuple(min(c, max(1, n)) for c, n in drawn)
    a = ca.save(tmp_path_factory.mktemp("stored") / f"x.{suffix}", x, **options)
    for _ in range(4):
        key = data.draw(basic_keys(x.shape))
        check(lambda key=key: a[key], lambda key=key: numpys(x, key))


@pytest.mark.parametrize("dtype", STRUCTURED, ids=str)
def test_fields_are_views(dtype):
    x = np.zeros((3, 4), dtype)
    for number, name in enumerate(dtype.names):
        x[name] = np.arange(12).reshape(3, 4)[(...,) + (None,) * (x[name].ndim - 2)] + number
    a = chunked(x, (2, 3))
    for name in dtype.names:
        same(a[name], x[name])
        same(a[::-2][name][:, 1:], x[::-2][name][:, 1:])
    names = list(dtype.names)
    same(a[names[:1]], x[names[:1]])
    same(a[names[::-1]][1], x[names[::-1]][1])
    for bad in ("nope", ["nope"], [*names, "nope"]):
        check(lambda bad=bad: a[bad], lambda bad=bad: x[bad])


@given(arrays(shape=shapes(4, 300)), st.data())
def test_arrays_and_masks_take_what_they_take_in_numpy(x, data):
    x.flags.writeable = False
    a = chunked(x, data.draw(chunks_of(x.shape)))
    key = data.draw(advanced_keys(x.shape))
    check(lambda: a[key], lambda: numpys(x, key), message=True)


WRONG = [1.5, "x", (0, 1.0), (0, 0, 0), 3, -4, (..., ...), (slice(None), 9), np.array([0.5]), {1: 2}, 1j, np.s_[::0]]


@pytest.mark.parametrize("key", WRONG, ids=str)
def test_wrong_keys_raise_what_numpy_raises(key):
    x = np.arange(12).reshape(3, 4)
    check(lambda: chunked(x)[key], lambda: x[key])


def test_arrays_without_axes_are_indices(tmp_path):
    x = np.array([[3, 1, 2], [0, 5, 4]])
    a = chunked(x, (1, 2))
    same(a[ca.asarray(1)], x[1])
    same(a[:, a[0].argmin()], x[:, x[0].argmin()])
    same(a[ca.asarray(-1), None, [0, 2]], x[np.array(-1), None, [0, 2]])
    for wrong in (2, 1.5):
        check(lambda w=wrong: a[ca.asarray(w)], lambda w=wrong: x[np.array(w)])
    b = ca.open(ca.save(tmp_path / "x.npy", x).path, "r+")
    b[b[0].argmin(), b[1].argmax()] = 9
    b[b[:, 0].argmax(), [0, 2]] += 1
    x[1, 1] = 9
    x[0, [0, 2]] += 1
    same(b, x)


def test_numpy_integers_are_indices():
    a = ca.arange(12).reshape(3, 4)
    assert a[np.int8(1), np.array(2)].item() == 6
    assert a[np.uint64(2)].shape == (4,)
