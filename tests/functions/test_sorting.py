"""Sorting: what NumPy returns or raises, by a task, and in runs where lines are taken as too long for one."""

from __future__ import annotations

import math
import os
import re
import signal

import dask
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chunkarr as ca
from chunkarr.formats.scratch import ScratchArray
from chunkarr.fsio import calls
from chunkarr.ops import sorting
from chunkarr.ops.ordering import ordering_of
from chunkarr.plan import blocks, merging
from chunkarr.plan import sorting as planning
from tests.memory_child import measure
from tests.oracle import check, same
from tests.strategies import arrays, chunked, chunks_of, dtypes, examples, numeric_dtypes, shapes

RECORD = np.dtype([("a", "i2"), ("b", ">f8"), ("c", "S3")], align=True)
N = 2003


WAYS = {
    "whole": {"cached": 1 << 20, "run": 1 << 20, "slack": 64, "few": 8, "kept": 1},
    "pieces": {"cached": 128, "run": 1 << 20, "slack": 64, "few": 8, "kept": 0},
    "short runs": {"cached": 128, "run": 64, "slack": 64, "few": 8, "kept": 0.4},
    "few samples": {"cached": 128, "run": 300, "slack": 1, "few": 1 / 64, "kept": 0},
}


@pytest.fixture(params=WAYS)
def runs(request, monkeypatch):
    """Let everything of more than 256 bytes be sorted in runs, which are read in pieces of 512 bytes."""
    way = WAYS[request.param]
    monkeypatch.setattr(merging, "CACHED", way["cached"])
    monkeypatch.setattr(merging, "COUNTED", 30)
    monkeypatch.setattr(planning, "RUN", way["run"])
    monkeypatch.setattr(planning, "SLACK", way["slack"])
    monkeypatch.setattr(planning, "FEW", way["few"])
    monkeypatch.setattr(planning, "_kept", lambda runs, _box, _state: int(way["kept"] * math.prod(runs.shape)))
    monkeypatch.setattr(sorting, "LINE", 256)
    monkeypatch.setattr(sorting, "PIECE", 512)
    monkeypatch.setattr(blocks, "BLOCK", 1024)
    monkeypatch.setattr(ScratchArray, "give_back", spoil)


def spoil(array, starts, ends):
    """Overwrite what will not be read again, so that a wrong result tells where that was not true."""
    for a, b in zip(starts.tolist(), ends.tolist(), strict=True):
        if a < b:
            spoilt = np.frombuffer(b"\xa5" * (b - a) * array.dtype.itemsize, array.dtype)
            array.write(((a, b),), spoilt, np.empty(0, "u1"))


def some(kind, rng, n=N):
    """Return values of one dtype with many duplicates, and with those that are hard to compare."""
    small = rng.integers(0, 50, n)
    if kind == "records":
        x = np.zeros(n, RECORD)
        x["a"], x["b"], x["c"] = rng.integers(0, 4, n), small, rng.integers(0, 9, n).astype("S3")
        x["b"][::17] = np.nan
        return x
    dtype = np.dtype(kind)
    if dtype.kind in "fc":
        return np.where(rng.random(n) < 0.2, np.nan, np.where(small, small - 20, -0.0)).astype(dtype)
    if dtype.kind in "mM":
        x = small.astype(dtype)
        x[::7] = "NaT"
        return x
    return small.astype(dtype)


KINDS = ["?", "i1", ">i2", "u4", "i8", "u8", "f2", "f4", ">f8", "g", "c8", ">c16", "M8[s]", ">m8[ms]", "S3", ">U2"]
DISTRIBUTIONS = {
    "equal": np.full(N, 7.0),
    "two values": np.arange(N) * 7919 % 2,
    "sorted": np.arange(N, dtype="f4"),
    "reversed": np.arange(N, dtype="f4")[::-1],
    "sawtooth": np.arange(N) % 37,
    "duplicates": np.arange(N) * 7919 % 11,
    "nan": np.where(np.arange(N) % 3, np.nan, np.arange(N)),
    "outlier": np.append(np.zeros(N - 1), 1e300),
}


@given(arrays(dtype=dtypes(), shape=shapes(3, 300)), st.data())
def test_within_a_task(x, data):
    a = chunked(x, data.draw(chunks_of(x.shape)))
    axis = data.draw(st.none() | st.integers(-x.ndim - 1, x.ndim))
    kind = data.draw(st.sampled_from([None, "stable", "quicksort", "heapsort", "mergesort", "bogus"]))
    order = data.draw(st.sampled_from([None, None, "x", *(x.dtype.names or ())]))
    if kind is None or x.dtype.kind not in "fc":
        check(lambda: np.argsort(a, axis, "stable", order), lambda: np.argsort(x, axis, "stable", order))
    check(
        lambda: np.sort(a, axis, kind, order) + 0 if x.dtype.kind in "fc" else np.sort(a, axis, kind, order),
        lambda: np.sort(x, axis, kind, order) + 0 if x.dtype.kind in "fc" else np.sort(x, axis, kind, order),
    )


@pytest.mark.parametrize("kind", [*KINDS, "records"])
def test_every_dtype_in_runs(kind, runs, tmp_path):
    x = some(kind, np.random.default_rng(0))
    np.save(tmp_path / "x.npy", x)
    a = ca.open(tmp_path / "x.npy")
    same(np.sort(a, stable=True), np.sort(x, stable=True))
    same(a.argsort(stable=True), x.argsort(stable=True))
    if kind != "records":
        np.testing.assert_array_equal(np.sort(a), np.sort(x))
    else:
        same(np.sort(a, order="b", stable=True), np.sort(x, order="b", stable=True))
        same(np.argsort(a, order=["c", "a"], stable=True), np.argsort(x, order=["c", "a"], stable=True))


@pytest.mark.parametrize(
    "fields",
    [
        [("flag", "?"), ("pair", ">u2", (2,))], [("pair", ">u2", (2,))],
        [("in", [("q", "i1"), ("r", ">f4")]), ("s", "i1")],
        [("in", [("q", "i1"), ("r", ">i4", (2,))])], [("z", ">c8"), ("t", ">M8[s]")], [("void", "V2"), ("u", ">U1")],
        [("half", ">f2"), ("s", "i1")], [("s", "i1"), ("in", [("q", "i1"), ("r", "f2")])],
    ],
    ids=str,
)  # fmt: skip
def test_records_of_all_that_there_is_in_runs(fields, runs):
    x = np.zeros(700, fields)
    whole = np.random.default_rng(0).integers(0, 256, (700, x.itemsize), dtype="u1")
    leaf = np.random.default_rng(1).integers(-3, 300, (700, 2))
    for name in x.dtype.names:
        kind = x.dtype[name]
        if kind.names:
            x[name]["q"], x[name]["r"] = (
                leaf[:, 0] % 3,
                leaf[:, : 2 if kind["r"].shape else 1].reshape(x[name]["r"].shape),
            )
        elif kind.kind == "V" and not kind.subdtype:
            x[name] = np.ascontiguousarray(whole[:, :2]).view("V2")[:, 0]
        else:
            x[name] = leaf[:, : 2 if kind.shape else 1].reshape(x[name].shape).astype(kind.base)
    for part in [x[n] for n in x.dtype.names] + [x[n]["r"] for n in x.dtype.names if n == "in"]:
        if part.dtype.kind == "f":
            part[::5] = np.nan
    x = x[np.arange(700) * 7919 % 300]
    a = chunked(x, (90,))
    same(np.sort(a, stable=True), np.sort(x, stable=True))
    same(np.argsort(a, stable=True), np.argsort(x, stable=True))
    same(np.unique(a, True, True, True), np.unique(x, True, True, True))


@pytest.mark.parametrize("runs", ["short runs"], indirect=True)
@pytest.mark.parametrize("kind", KINDS)
def test_every_dtype_in_runs_with_the_largest_first(kind, runs, tmp_path):
    x = some(kind, np.random.default_rng(0))
    gone = np.isnan(x) if x.dtype.kind in "fcmM" else np.zeros(N, bool)
    rank = np.unique(x[~gone], return_inverse=True)[1]
    places = np.concatenate([np.flatnonzero(~gone)[np.argsort(-rank, kind="stable")], np.flatnonzero(gone)])
    np.save(tmp_path / "x.npy", x)
    a = ca.open(tmp_path / "x.npy", "r+")
    same(ca.sort(a, stable=True, descending=True), x[places])
    same(a.argsort(stable=True, descending=True), places)
    np.testing.assert_array_equal(ca.sort(a.reshape(1, -1), descending=True)[0, 3:], x[places][3:])
    a.sort(descending=True)
    np.testing.assert_array_equal(np.load(a.path), x[places])


def test_the_largest_first_as_numpy_refuses_it():
    a = chunked(np.arange(3.0))
    for wrong in ({"kind": "stable", "descending": True}, {"kind": "stable", "descending": False}):
        for function in (ca.sort, ca.argsort):
            with pytest.raises(ValueError, match="can't be provided at the same time"):
                function(a, **wrong)
    with pytest.raises(TypeError, match="records"):
        ca.sort(chunked(np.zeros(3, RECORD)), descending=True)
    if np.lib.NumpyVersion(np.__version__) >= "2.5.0":
        same(np.sort(a, descending=True), np.sort(np.arange(3.0), descending=True))
        same(np.argsort(a, descending=True), np.argsort(np.arange(3.0), descending=True))


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_every_distribution_in_runs(name, runs):
    x = DISTRIBUTIONS[name]
    a = chunked(x, (100,))
    same(np.sort(a), np.sort(x))
    same(np.argsort(a), np.argsort(x, stable=True))
    planned = np.sort(a).plan().memory
    assert planned == np.sort(chunked(np.random.default_rng(0).random(N).astype(x.dtype), (100,))).plan().memory


def test_a_stable_sort_neither_loses_nor_makes_signs(runs):
    x = np.random.default_rng(0).choice([0.0, -0.0, 1.0, np.nan, -np.nan], N)
    got = np.sort(ca.asarray(x), stable=True).compute()
    assert np.signbit(got[got == 0]).sum() == np.signbit(x[x == 0]).sum()
    assert np.signbit(got[np.isnan(got)]).sum() == np.signbit(x[np.isnan(x)]).sum()


@settings(max_examples=examples(25))
@given(arrays(dtype=numeric_dtypes(), shape=shapes(3, 2000)), st.data())
def test_any_axis_in_runs(x, data):
    a = chunked(x, data.draw(chunks_of(x.shape)))
    axis = data.draw(st.none() | st.integers(-x.ndim, max(0, x.ndim - 1)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorting, "LINE", data.draw(st.sampled_from([0, 64])))
        patch.setattr(sorting, "PIECE", data.draw(st.sampled_from([1, 100])))
        patch.setattr(blocks, "BLOCK", 200)
        patch.setattr(merging, "CACHED", data.draw(st.sampled_from([1, 50])))
        patch.setattr(planning, "RUN", data.draw(st.sampled_from([1, 40, 1 << 20])))
        patch.setattr(planning, "SLACK", data.draw(st.sampled_from([1, 64])))
        check(lambda: np.sort(a, axis, stable=True), lambda: np.sort(x, axis, stable=True))
        check(lambda: np.argsort(a, axis, stable=True), lambda: np.argsort(x, axis, stable=True))


def test_a_slice_of_a_sorted_expression(runs):
    x = np.random.default_rng(0).random((60, 40))
    a = chunked(x, (7, 7))
    same(np.sort(a.T * 2, axis=None)[5:2000:3], np.sort(x * 2, axis=None)[5:2000:3])
    same(np.sort(a, axis=0)[-1] - np.sort(a, axis=0)[0], np.ptp(x, axis=0))
    same(a[a[:, 1].argsort()], x[x[:, 1].argsort()])


def test_arguments_that_numpy_refuses():
    x = np.arange(6.0).reshape(2, 3)
    a = ca.asarray(x)
    for call in (
        lambda y: np.sort(y, 2), lambda y: np.sort(y, kind="no"), lambda y: np.sort(y, order="f"),
        lambda y: np.argsort(y, kind="stable", stable=True), lambda y: np.sort(y, kind="stable", stable=False),
        lambda y: np.argsort(y, -3), lambda y: np.sort(y.view("f8,f8,f8"), order="g"), lambda y: np.sort(y[0, 0]),
        lambda y: np.argsort(y[0, 0]), lambda y: np.sort(y, 1.0),
    ):  # fmt: skip
        check(lambda call=call: call(a), lambda call=call: call(x))
    with pytest.raises(ValueError, match="read-only"):
        (a + 1).sort()


@pytest.mark.parametrize("suffix", [".npy", ".zarr", ".h5"])
def test_sorted_in_place(suffix, runs, tmp_path):
    x = np.random.default_rng(0).random((40, 60))
    path = tmp_path / f"x{suffix}"
    ca.save(path, x)
    a = ca.open(path, "r+")
    a.sort(0)
    x.sort(0)
    same(ca.open(path), x)
    a[3].sort(kind="stable")
    x[3].sort()
    same(ca.open(path), x)
    with pytest.raises(np.exceptions.AxisError):
        a.sort(2)
    same(ca.sort(path, axis=None), np.sort(x, axis=None))


def sort_in_place(path, watch):
    """Sort a stored array where it is, in one thread; ``watch`` sees each call that changes a disk."""
    with dask.config.set(scheduler="sync"), calls.watched(watch):
        ca.open(path, "r+").sort()


def sort_and_die(path, number):
    """Sort in a child that is killed behind its so many-th call; return whether it was."""
    child = os.fork()
    if not child:
        seen = []

        def watch(name, call, args):
            result = call(*args)
            seen.append(name)
            if len(seen) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        try:
            sort_in_place(path, watch)
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("suffix", [".npy", ".zarr"])
@pytest.mark.parametrize("runs", ["short runs"], indirect=True)
@pytest.mark.parametrize("everywhere", [False, pytest.param(True, marks=pytest.mark.nightly)])
def test_a_killed_sort_in_place_leaves_the_old_array_or_the_sorted_one(everywhere, suffix, runs, tmp_path):
    x = np.random.default_rng(0).random(N)

    def stored(name):
        options = {"chunks": (N // 9,)} if suffix == ".zarr" else {}
        return ca.save(tmp_path / f"{name}{suffix}", x, **options).path

    names = []
    ca.open(stored("first"), "r+").sort()  # makes the directory of temporary files
    sort_in_place(stored("whole"), lambda name, call, args: names.append(name) or call(*args))
    total = len(names)
    outcomes = []
    last = total - (60 if everywhere else 12)  # what is put in place lies behind it
    for number in [*range(1, last, 5 if everywhere else total // 2), *range(last, total + 1)]:
        path = stored(number)
        assert sort_and_die(path, number) or number > total - 3  # what a collected array removes may be missing
        found = ca.open(path, "r+").compute()
        assert np.array_equal(found, x) or np.array_equal(found, np.sort(x)), number
        outcomes.append(np.array_equal(found, x))
    assert outcomes == sorted(outcomes, reverse=True)  # from some call on it is the sorted one
    assert set(outcomes) == {True, False}


def sort_file(source, target):
    """Sort a file into another; return the planned peak."""
    node = ca.sort(source)
    planned = node.plan().memory
    node.save(target, overwrite=True)
    return planned


@pytest.mark.memory
def test_memory_of_a_large_sort(tmp_path):
    small, large = tmp_path / "small.npy", tmp_path / "large.npy"
    np.save(small, np.zeros(10))
    np.save(large, np.random.default_rng(0).random(12 << 20))
    peak = measure(
        sort_file, small=[str(small), str(tmp_path / "o.npy")], large=[str(large), str(tmp_path / "o.npy")],
        budget=16 << 20,
    )  # fmt: skip
    peak.check()
    found = np.load(tmp_path / "o.npy", mmap_mode="r")
    assert (np.diff(found[::1000]) >= 0).all()
    assert len(found) == 12 << 20


@pytest.mark.memory
@pytest.mark.nightly
def test_memory_of_a_sort_of_thirty_budgets(tmp_path):
    small, large, out = tmp_path / "small.npy", tmp_path / "large.npy", tmp_path / "o.npy"
    np.save(small, np.zeros(10))
    x = np.random.default_rng(0).random(60 << 20)
    np.save(large, x)
    peak = measure(sort_file, small=[str(small), str(out)], large=[str(large), str(out)], budget=16 << 20)
    peak.check()
    x.sort()
    assert np.array_equal(np.load(out, mmap_mode="r"), x)


@pytest.mark.parametrize("times", [8, 64, 1 << 14])
def test_lines_of_many_budgets_are_sorted_or_refused_with_a_budget_that_does(times, tmp_path):
    path, size = tmp_path / "sparse.npy", times * (64 << 20) // 8
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (size,)})
        file.truncate(file.tell() + 8 * size)
    with ca.config.set(memory="64MiB"):
        if times < 1000:
            assert ca.sort(ca.open(path)).plan().memory <= 64 << 20
            return
        with pytest.raises(ca.errors.MemoryBudgetError, match=f"sorting {size} elements of 8 B") as refused:
            ca.sort(ca.open(path)).plan()
    enough = re.search(r'memory="([^"]+)"', str(refused.value))
    assert enough is not None
    with ca.config.set(memory=enough[1].replace(" ", "")):
        ca.sort(ca.open(path)).plan()


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60))
def test_permutations_are_stable(pairs):
    x = np.array(pairs, [("a", "f8"), ("b", "i4")])
    for order in (None, "b"):
        same(ordering_of(x.dtype, order, stable=True).permutation(x), np.argsort(x, order=order, kind="stable"))
    same(ordering_of(np.dtype("f8"), None, stable=False).permutation(x["a"].copy()), np.argsort(x["a"], kind="stable"))
