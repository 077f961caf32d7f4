"""Distinct elements: what NumPy finds, by each of the ways there are."""

from __future__ import annotations

import gc
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chunkarr as ca
from chunkarr.array import picking
from chunkarr.functions import distinct as face
from chunkarr.functions import sets
from chunkarr.ops import distinct, sorting
from tests.oracle import check, same
from tests.strategies import arrays, chunked, chunks_of, examples, shapes


@pytest.fixture(params=["small", "blocks", "merged", "table", "sorted"])
def way(request, monkeypatch):
    """Take another way than the size of the arrays asks for."""
    if request.param != "small":
        monkeypatch.setattr(face, "SMALL", 0)
        monkeypatch.setattr(distinct, "FEW", 0 if request.param == "merged" else 1 << 16)
        monkeypatch.setattr(distinct, "COUNTED", 1)
    if request.param in ("table", "sorted"):
        monkeypatch.setattr(face, "HELD", 1 << 40)  # nothing may be held
        monkeypatch.setattr(face, "TABLE", 1 << 40 if request.param == "sorted" else 2)
        monkeypatch.setattr(sets, "PART", 1 << 40 if request.param == "sorted" else 8)
        monkeypatch.setattr(sorting, "LINE", 0)
        monkeypatch.setattr(sorting, "PIECE", 64)
        monkeypatch.setattr(picking, "HELD", 1 << 50)
    return request.param


def plain(x):
    """Return an array without zeros of both signs: which one stands for both is no promise."""
    return x + x.dtype.type(0) if x.dtype.kind in "fc" else x


@settings(max_examples=examples(40))
@given(x=arrays(shape=shapes(3, 200)), data=st.data())
def test_unique(way, x, data):
    x = np.asarray(plain(x), x.dtype)
    a = chunked(x, data.draw(chunks_of(x.shape)))
    wanted = data.draw(st.tuples(*[st.booleans()] * 3))
    axis = data.draw(st.none() | st.integers(-x.ndim - 1, x.ndim))
    equal_nan = data.draw(st.booleans())
    check(lambda: np.unique(a, *wanted, axis=axis, equal_nan=equal_nan),
          lambda: np.unique(x, *wanted, axis=axis, equal_nan=equal_nan))  # fmt: skip


def test_the_inverse_of_nan_that_differ(way):
    parts = np.array([0, 1, np.nan])
    numbers = np.resize(parts[:, None] + 1j * np.array([2, np.nan, 0]), 60)
    records = np.zeros(60, [("a", "f4"), ("b", "i1")])
    records["a"], records["b"] = np.resize(parts, 60), np.arange(60) % 2
    rows = np.stack([np.resize(parts, 60), np.arange(60) % 4], 1)
    for x, axis, equal_nan in ((numbers, None, True), (numbers, None, False), (records, None, True), (rows, 0, True)):
        a = chunked(x, (7,) * x.ndim)
        same(np.unique(a, True, True, True, axis=axis, equal_nan=equal_nan),
             np.unique(x, True, True, True, axis=axis, equal_nan=equal_nan))  # fmt: skip


def test_nothing_that_one_way_held_is_left_for_the_next(monkeypatch):
    seen = []

    def sort(*args, real=face._by_sorting, **options):
        seen.append((sys.exception(), [o for o in gc.get_objects() if type(o) is distinct.Distinct]))
        return real(*args, **options)

    monkeypatch.setattr(face, "SMALL", 0)
    monkeypatch.setattr(face, "HELD", 1 << 40)
    monkeypatch.setattr(face, "_by_sorting", sort)
    x = np.random.default_rng(0).random(500)
    same(np.unique(chunked(x, (60,))), np.unique(x))
    assert seen == [(None, [])]


def test_wide_rows_fit_a_small_budget():
    x = np.random.default_rng(0).integers(0, 2, (3000, 500)).astype("f8")
    x[1::3] = x[::3]
    with ca.config.set(memory="64MiB"):
        same(np.unique(chunked(x, (500, 500)), True, True, True, axis=0), np.unique(x, True, True, True, axis=0))


@pytest.mark.parametrize("function", [np.unique_all, np.unique_counts, np.unique_inverse, np.unique_values])
def test_names_of_the_standard(function):
    x = np.array([[3, 1], [1, 2]])
    answer, numpys = function(chunked(x)), function(x)
    same(answer, np.sort(numpys) if isinstance(numpys, np.ndarray) else tuple(numpys))
    assert getattr(answer, "_fields", ()) == getattr(numpys, "_fields", ())


@settings(max_examples=examples(30))
@given(data=st.data())
def test_sets(way, data):
    kind = data.draw(st.sampled_from(["i1", "<u8", ">i4", "f8", "c8", "M8[s]", "U2"]))
    one, other = (np.asarray(plain(data.draw(arrays(kind, shapes(2, 60)))), kind) for _ in range(2))
    if one.dtype.kind in "iu":
        one, other = one % one.dtype.type(9), other % other.dtype.type(9)
    a = chunked(one, data.draw(chunks_of(one.shape)))
    b = data.draw(st.sampled_from([other, chunked(other)]))
    for function in (np.intersect1d, np.union1d, np.setdiff1d, np.setxor1d):
        check(lambda f=function: f(a, b), lambda f=function: np.asarray(f(one, other)))
    check(lambda: np.intersect1d(a, b, return_indices=True), lambda: np.intersect1d(one, other, return_indices=True))
    invert = data.draw(st.booleans())
    check(lambda: np.isin(a, b, invert=invert), lambda: np.isin(one, other, invert=invert))


def test_unique_integers_of_many_types_are_told_apart_exactly():
    x = np.array([2**63 - 1, 5, -1])
    y = np.array([2**63, 2**64 - 1, 5], "u8")
    same(ca.isin(chunked(x), y), np.array([False, True, False]))
    same(ca.isin(chunked(y), x), np.array([False, False, True]))


def test_wrong_kind_of_isin():
    for kind, dtype in (("tab", "i4"), ("table", "f8")):
        x = np.zeros(3, dtype)
        check(
            lambda x=x, k=kind: np.isin(chunked(x), x, kind=k), lambda x=x, k=kind: np.isin(x, x, kind=k), message=True
        )


def test_few_values_of_a_large_array_take_one_pass(tmp_path):
    x = np.random.default_rng(1).integers(-500, 500, 800_000).astype("i4")
    np.save(tmp_path / "x.npy", x)
    with ca.config.set(memory="32MiB"):
        for kind in ("i4", "f4"):
            a = ca.open(tmp_path / "x.npy").astype(kind)
            y = x.astype(kind)
            same(np.unique(a, return_counts=True), np.unique(y, return_counts=True))
            same(np.unique(a, True, True), np.unique(y, True, True))
            same(np.isin(a, [7, 9]), np.isin(y, [7, 9]))
