"""Scratch of what sorts: planned before the start, an error that helps where the disk is full, nothing left behind."""

from __future__ import annotations

import errno
import gc
import os
import resource
import signal
import tempfile
import threading

import dask
import numpy as np
import pytest

import chunkarr as ca
from chunkarr.formats import scratch
from chunkarr.fsio import calls
from chunkarr.functions import distinct, searching
from chunkarr.ops import sorting
from chunkarr.plan import sorting as planning
from tests.oracle import same

N = 40_000
WORKS = {
    "sort": lambda a: ca.sort(a).save(f"{a.path}.sorted.npy"),
    "argsort": lambda a: np.argsort(a).compute(),
    "unique": lambda a: np.unique(a, return_index=True)[1].compute(),
    "searchsorted": lambda a: np.searchsorted(np.sort(a), a[::9]).compute(),
    "sort in place": lambda a: ca.open(a.path, "r+").sort(),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return the directory of temporary files; little is enough to need some."""
    monkeypatch.setattr(planning, "PLENTY", 1 << 40)  # so that nothing is kept in memory
    monkeypatch.setattr(sorting, "LINE", 1 << 10)
    monkeypatch.setattr(sorting, "PIECE", 1 << 14)
    monkeypatch.setattr(distinct, "SMALL", 0)
    monkeypatch.setattr(distinct, "HELD", 1 << 40)
    monkeypatch.setattr(searching, "PART", 1 << 13)
    with ca.config.set(scratch=str(tmp_path / "temporary")):
        yield tmp_path / "temporary"


@pytest.fixture
def a(tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random(N))
    return ca.open(tmp_path / "x.npy")


def left(folder):
    """Return the temporary files that are there when nobody needs any."""
    gc.collect()
    return os.listdir(folder) if folder.exists() else []


class Writes:
    """Counts the bytes that are written below a directory; fails, or kills, from some write on."""

    def __init__(self, folder, at=10**9, code=0):
        self.folder, self.at, self.code = str(folder), at, code
        self.number = self.nbytes = 0
        self.lock = threading.Lock()

    def __call__(self, name, call, args):
        if name != "pwrite" or not os.readlink(f"/proc/self/fd/{args[0]}").startswith(self.folder):
            return call(*args)
        with self.lock:
            self.number += 1
            self.nbytes += memoryview(args[1]).nbytes
            if self.number >= self.at:
                if not self.code:
                    os.kill(os.getpid(), signal.SIGKILL)
                raise OSError(self.code, os.strerror(self.code))
        return call(*args)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="reads /proc")
@pytest.mark.parametrize(("function", "item"), [(np.sort, 8), (np.argsort, 16)])
def test_scratch_is_planned(function, item, folder, a):
    plan = function(a).plan()
    assert plan.scratch == item * N
    assert not folder.exists()
    writes = Writes(folder)
    with calls.watched(writes):
        function(a).save(f"{a.path}.out.npy")
    assert writes.nbytes == plan.scratch
    assert left(folder) == []


@pytest.mark.parametrize("name", WORKS)
@pytest.mark.parametrize("at", [1, 3])
def test_a_full_disk_is_a_clear_error(name, at, folder, a):
    before = a.compute()
    names = set(os.listdir(os.path.dirname(a.path)))
    with calls.watched(Writes(folder, at, errno.ENOSPC)), pytest.raises(OSError, match="No space left") as caught:
        WORKS[name](a)
    assert caught.value.errno == errno.ENOSPC
    assert str(folder) in str(caught.value)
    assert "config.set(scratch=" in str(caught.value)
    del caught
    assert left(folder) == []
    assert {n for n in set(os.listdir(os.path.dirname(a.path))) - names if not n.endswith(".lock")} <= {"temporary"}
    same(ca.open(a.path), before)
    WORKS[name](ca.open(a.path))
    assert left(folder) == []


def test_a_limit_of_the_size_of_files_is_a_clear_error(folder, a):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 * N, before[1]))
    try:
        with pytest.raises(OSError, match=r"for temporary files in .*config.set\(scratch=") as caught:
            np.argsort(a).compute()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.errno == errno.EFBIG
    del caught
    assert left(folder) == []


@pytest.mark.parametrize("name", ["sort", "argsort"])
def test_what_a_kill_leaves_goes_with_the_next_use(name, folder, a, monkeypatch):
    child = os.fork()
    if not child:
        try:
            with dask.config.set(scheduler="sync"), calls.watched(Writes(folder, 3)):
                WORKS[name](a)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert left(folder) != []
    monkeypatch.setattr(scratch, "_swept", set())  # as in a new process
    WORKS[name](a)
    assert left(folder) == []


@pytest.fixture
def memory_folder(folder):
    """Return a directory of temporary files on a file system in memory."""
    if not os.path.isdir("/dev/shm"):
        pytest.skip("needs a file system in memory")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory, ca.config.set(scratch=directory):
        yield directory


@pytest.mark.parametrize("function", [np.sort, np.argsort])
def test_scratch_in_memory_is_given_back_as_it_is_read(function, memory_folder, a, monkeypatch):
    monkeypatch.setattr(sorting, "PIECE", 1 << 16)
    monkeypatch.setattr(planning, "RUN", 1 << 17)
    given = []

    def watch(name, call, args):
        before = os.fstat(args[0]).st_blocks if name == "give_back" else 0
        result = call(*args)
        if name == "give_back":
            given.append(512 * (before - os.fstat(args[0]).st_blocks))
        return result

    with calls.watched(watch), dask.config.set(scheduler="sync"):
        function(a).save(f"{a.path}.out.npy")
        scratch_bytes = function(a).plan().scratch
        assert sum(given) > scratch_bytes // 2
        assert np.array_equal(np.load(f"{a.path}.out.npy"), function(np.load(a.path)))
        del given[:]
        twice = function(a)
        twice = (twice[1:] - twice[:-1]).compute()
        assert not given
    assert np.array_equal(twice, np.diff(function(np.load(a.path))))
    assert os.listdir(memory_folder) == []


def test_runs_that_fit_beside_the_tasks_go_into_no_file(folder, a, monkeypatch):
    assert ca.sort(a).plan().scratch == a.nbytes
    monkeypatch.setattr(planning, "PLENTY", 3)
    plan = ca.sort(a).plan()
    assert plan.scratch == 0
    assert plan.memory >= a.nbytes
    writes = Writes(folder)
    with calls.watched(writes):
        ca.sort(a).save(f"{a.path}.out.npy")
    assert writes.nbytes == 0
    assert np.array_equal(np.load(f"{a.path}.out.npy"), np.sort(np.load(a.path)))
