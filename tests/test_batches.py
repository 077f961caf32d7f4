"""Batches: many small changes are one, whatever happens in between."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chunkarr as ca
from chunkarr.array import wrap
from chunkarr.ops.sources import load
from tests.oracle import _public, same
from tests.strategies import arrays, basic_keys, chunks_of, numeric_dtypes, shapes
from tests.updating import QUIET, Held, changeable, planned


@pytest.mark.parametrize("chunks", [None, (7, 5)])
def test_a_batch_is_one_change(chunks):
    x = np.arange(600.0).reshape(40, 15)
    a, disk = changeable(x, chunks)
    other = changeable_again(disk)
    x = x.copy()
    view = a[5:30:2, 1:]
    with a.batch():
        for k in range(300):
            a[k % 40, k % 15] = k
            x[k % 40, k % 15] = k
        view[2] += 1
        x[5:30:2, 1:][2] += 1
        same(a, x)
        same(view, x[5:30:2, 1:])
        with planned():
            a[1:] = a[:-1]
        x[1:] = x[:-1].copy()
        a[a > 500] = -1
        x[x > 500] = -1
        a[[3, 3], [1, 2]] = [4, 5]
        x[[3, 3], [1, 2]] = [4, 5]
        same(a, x)
        same(other, np.arange(600.0).reshape(40, 15))
        assert disk.commits == 0
    assert disk.commits == 1
    for array in (a, view, other):
        same(array, x if array is not view else x[5:30:2, 1:])


VALUES = [1, 300, 2.5, 1j, float("nan"), True, np.float32(3), np.ones(1), [2], "x"]


@QUIET
@given(arrays(dtype=numeric_dtypes(), shape=shapes(3, 60).filter(len)), st.data())
def test_assignments_in_a_batch_are_numpys(x, data):
    a, disk = changeable(x, data.draw(st.none() | chunks_of(x.shape)))
    expected = x.copy()
    with a.batch():
        for _ in range(4):
            key = data.draw(basic_keys(x.shape))
            value = data.draw(st.sampled_from(VALUES))
            refusal = None
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    expected[key] = value
                except Exception as error:  # noqa: BLE001 - whatever NumPy raises is the answer
                    refusal = error
                if refusal is None:
                    a[key] = value
                else:
                    with pytest.raises(_public(refusal)):
                        a[key] = value
            same(a, expected)
    same(disk.values, expected)


def changeable_again(disk):
    """Return another handle of a disk."""
    return wrap(load(Held(disk)))


def test_a_batch_writes_nothing_after_an_exception():
    a, disk = changeable(np.zeros(10))

    def work():
        with a.batch():
            a[3] = 1
            raise KeyError("x")

    with pytest.raises(KeyError):
        work()
    assert disk.commits == 0
    assert disk.locked is None
    same(a, np.zeros(10))


def test_a_batch_with_a_change_that_failed_in_the_middle_is_lost():
    a, disk = changeable(np.zeros(60), (10,))
    words = ca.asarray(np.array(["1"] * 40 + ["x"] * 20), chunks=10)

    def work():
        with a.batch():
            a[0] = 5
            with planned(), pytest.raises(ValueError, match="could not convert"):
                a[...] = words
            with pytest.raises(ca.ChunkarrError, match="nothing of the batch"):
                a[1] = 3

    with pytest.raises(ca.ChunkarrError, match="nothing of the batch"):
        work()
    assert disk.commits == 0
    assert disk.locked is None
    a[1] = 3
    assert disk.values.sum() == 3


def test_batches_do_not_nest_and_end_with_their_context():
    a, disk = changeable(np.zeros(10))
    with a.batch():
        expression = a + 1
        with pytest.raises(RuntimeError, match="open already"), a[2:].batch():
            pass
        a[0] = 1
        with pytest.raises(ca.StaleExpressionError):
            expression.compute()
        later = a + 1
    with pytest.raises(ca.StaleExpressionError):
        later.compute()
    assert disk.commits == 1
    for target in (a + 1, ca.arange(3)):
        with pytest.raises(ValueError, match="read-only"):
            target.batch()


def test_a_batch_holds_few_boxes():
    x = np.zeros((200, 1000))
    a, disk = changeable(x, (1, 1000))
    with ca.config.set(memory="1MiB"), a.batch():
        for k in range(200):
            a[k, k] = k
        held = a._handle.batch.nbytes
        assert 0 < held <= (1 << 20) // 4
        same(a[150:, :200], np.diag(np.arange(200.0))[150:])
    same(disk.values[:, :200], np.diag(np.arange(200.0)))


def test_threads_share_a_handle_in_turn():
    a, disk = changeable(np.zeros(64), (8,))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda k: a.__setitem__(k, k + 1), range(64)))
        with a.batch():
            list(pool.map(lambda k: a.__setitem__(k, 2 * np.asarray(a[k])), range(64)))
    same(disk.values, 2 * np.arange(1.0, 65))
    assert disk.commits == 65


def test_a_new_axis_behind_the_last_one_in_a_batch(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(4.0))
    a = ca.open(tmp_path / "a.npy", "r+")
    with a.batch():
        a[0, None] = np.array([7.0])
        a[1:3, None] = [[8.0], [9.0]]
    assert np.load(tmp_path / "a.npy").tolist() == [7, 8, 9, 3]
