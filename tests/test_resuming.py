"""Jobs that go on after they were killed, interrupted, or failed: the same bytes, and little done twice."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import pickle
import random
import signal
import subprocess
import sys
import time

import dask
import numpy as np
import pytest

import chunkarr as ca
from chunkarr import engine, fsio, jobs, settings
from chunkarr.cli import run
from chunkarr.engine import resuming
from chunkarr.engine import unfinished as finding
from chunkarr.engine.schedule import Scheduler
from chunkarr.engine.unfinished import describe_job
from chunkarr.errors import ResumeMismatchError, StaleExpressionError, TargetExistsError, UnsupportedError
from chunkarr.formats.progress_log import read_log
from chunkarr.formats.scratch import sweep_scratch
from tests import oracle
from tests.reliability.disk import Failer
from tests.reliability.resuming import LAYOUTS, contents, litter
from tests.reliability.server import Server

linux = pytest.mark.skipif(sys.platform != "linux", reason="forks, reads /proc")
MIB = 1 << 20
VALUES = np.random.default_rng(5).normal(size=(1000, 800))  # 6.1 MiB
OUTPUTS = {
    "out.npy": {},
    "out.raw": {},
    "out.zarr": {"chunks": (50, 400)},
    "s.zarr": {"chunks": (20, 100), "shards": (100, 400)},
}


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch):
    monkeypatch.setattr(resuming, "BATCH_BYTES", MIB)
    with settings.config.set(memory="4MiB", workers=1):
        yield


@pytest.fixture
def source(tmp_path):
    """Return the path of an npy file that holds `VALUES`."""
    np.save(tmp_path / "source.npy", VALUES)
    return str(tmp_path / "source.npy")


class _FullDisk:
    """Fail as a full disk does once ``room`` bytes were written to anything but logs."""

    def __init__(self, room):
        self.room = room

    def __call__(self, name, call, args):
        if name in ("write", "pwrite", "writev"):
            size = sum(memoryview(a).nbytes for a in (args[1] if name == "writev" else args[1:2]))
            if not os.readlink(f"/proc/self/fd/{args[0]}").endswith(".log"):
                self.room -= size
            if self.room < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return call(*args)


def interrupted(job, room=4 * MIB):
    """Run ``job`` until the disk is full, and return the error."""
    with fsio.calls.watched(_FullDisk(room)), pytest.raises(OSError, match="No space left") as caught:
        job()
    return caught.value


def unfinished(directory):
    """Return the record of the one unfinished array in ``directory``."""
    (log,) = (name for name in litter(directory) if name.endswith(".log"))
    assert len(litter(directory)) == 2
    return read_log(os.path.join(directory, log))


def same(array, values):
    """Check values, shape and dtype, with memory for all of them."""
    with settings.config.set(memory="64MiB"):
        oracle.same(array, values)


class Ears:
    """A reporter that remembers what it hears."""

    def __init__(self):
        self.total, self.heard = 0, []

    def start(self, total_bytes, label):
        self.total = total_bytes

    def advance(self, n):
        self.heard.append(n)

    def close(self):
        pass


# --- killed ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A single-threaded process that forks and kills its children."""
    with Server(str(tmp_path_factory.mktemp("server"))) as running:
        yield running


@linux
@pytest.mark.parametrize("layout", LAYOUTS)
def test_killed_at_a_call_it_goes_on(server, tmp_path, layout):
    durability = "process" if layout == "raw" else "full"
    tally = server.ask("resuming.kills", layout, durability, 5, str(tmp_path))
    assert tally.bad == []
    assert tally.points == 5
    assert tally.resumed >= 2


@linux
@pytest.mark.nightly
@pytest.mark.parametrize("durability", ["full", "process"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_killed_at_any_call_it_goes_on(server, tmp_path, layout, durability):
    tally = server.ask("resuming.kills", layout, durability, 60, str(tmp_path))
    assert tally.bad == []
    assert tally.resumed >= 15


CHILD = """
import sys, time
from chunkarr import fsio
from chunkarr.cli import main
from chunkarr.engine import resuming

def slow(name, call, args):
    if name == "fsync":
        time.sleep(0.01)
    return call(*args)

resuming.BATCH_BYTES = 1 << 20
with fsio.calls.watched(slow):
    main()
"""


def start(*arguments):
    """Start the program, slowed down, in a process of its own."""
    command = [sys.executable, "-P", "-c", CHILD, *map(str, arguments)]
    return subprocess.Popen(command, cwd=os.path.sep, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_log(child, directory):
    """Wait until the first batch is logged; return whether the child runs still."""
    until = time.monotonic() + 60
    while child.poll() is None and time.monotonic() < until:
        if any(name.endswith(".log") for name in litter(directory)):
            return True
        time.sleep(0.002)
    return False


def end(child):
    """Return exit code and stderr of a child that ends."""
    _, told = child.communicate(timeout=60)
    return child.returncode, told


def killed_and_resumed(source, name, options, seconds):
    """Kill a conversion ``seconds`` after its first batch, go on, and compare; say whether it was killed in time."""
    directory = os.path.join(os.path.dirname(source), "made")
    os.mkdir(directory)
    arguments = ["convert", source, os.path.join(directory, name), "--memory", "4MiB", "--quiet", *options]
    child = start(*arguments)
    wait_for_log(child, directory)
    time.sleep(seconds)
    child.kill()
    code, told = end(child)
    assert code in (0, -signal.SIGKILL), told
    if litter(directory):  # else it was all done, but for leaving
        assert end(start(*arguments, "--resume")) == (0, "")
    assert litter(directory) == []
    wanted = os.path.join(directory, "wanted" + os.path.splitext(name)[1])
    with settings.config.set(durability="full"):  # as the program's
        assert run.run(["convert", source, wanted, "--quiet", *options]) == 0
    assert contents(os.path.join(directory, name)) == contents(wanted)
    return code != 0


KILLED = {
    "x.zarr": ["--chunks", "50,400"],
    "x.npy": [],
    "x.raw": [],
    "s.zarr": ["--chunks", "25,100", "--shards", "100,400"],
}


@linux
@pytest.mark.parametrize("name", ["x.zarr", "x.npy"])
def test_a_killed_program_is_resumed(source, name):
    assert killed_and_resumed(source, name, KILLED[name], 0.01)


@linux
@pytest.mark.nightly
@pytest.mark.parametrize("attempt", range(5))
@pytest.mark.parametrize("name", KILLED)
def test_a_program_killed_at_any_time_is_resumed(source, name, attempt):
    killed_and_resumed(source, name, KILLED[name], random.Random(attempt).uniform(0, 0.4))


@linux
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_program_says_how_to_go_on(source, tmp_path, number, code):
    directory = tmp_path / "made"
    directory.mkdir()
    arguments = ["convert", source, directory / "x.zarr", "--chunks", "50,400", "--memory", "4MiB", "--quiet"]
    child = start(*arguments)
    assert wait_for_log(child, directory)
    child.send_signal(number)
    got, told = end(child)
    assert got == code, told
    assert told == "chunkarr: interrupted; what was done is kept; run it again with --resume to go on\n"
    assert unfinished(directory).elements
    assert run.run([str(a) for a in [*arguments, "--resume"]]) == 0
    same(ca.open(directory / "x.zarr"), VALUES)
    assert litter(directory) == []


# --- failed ----------------------------------------------------------------------------------------


@linux
@pytest.mark.parametrize("name", OUTPUTS)
def test_a_failed_save_goes_on(tmp_path, source, name):
    made = tmp_path / "made"
    made.mkdir()
    expression = np.sqrt(abs(ca.open(source))) * 3
    save = functools.partial(ca.save, made / name, expression, resume=True, **OUTPUTS[name])
    error = interrupted(save)
    assert "resume=True" in error.__notes__[-1]
    written = unfinished(made).elements
    assert MIB // 8 <= written < VALUES.size
    same(save(), np.sqrt(abs(VALUES)) * 3)
    assert litter(made) == []
    ca.save(tmp_path / f"wanted-{name}", expression, **OUTPUTS[name])
    assert contents(str(made / name)) == contents(str(tmp_path / f"wanted-{name}"))


@linux
def test_the_program_says_three_when_it_can_go_on(source, tmp_path, capsys):
    made = tmp_path / "made"
    made.mkdir()
    command = ["convert", source, str(made / "x.npy"), "--quiet"]
    with fsio.calls.watched(_FullDisk(4 * MIB)):
        assert run.run(command) == 3
    assert "No space left on device; what was done is kept; run it again with --resume" in capsys.readouterr().err
    with fsio.calls.watched(_FullDisk(0)):  # not a batch is written
        assert run.run(["convert", source, str(made / "y.npy"), "--quiet"]) == 1
    assert run.run([*command, "--resume"]) == 0
    assert contents(str(made / "x.npy")) == contents(source)
    assert litter(made) == []


@linux
@pytest.mark.parametrize("name", OUTPUTS)
def test_without_resume_a_failure_leaves_nothing(tmp_path, source, name):
    made = tmp_path / "made"
    made.mkdir()
    interrupted(lambda: jobs.convert(source, made / name, **OUTPUTS[name]))
    assert os.listdir(made) == []


@linux
def test_what_can_be_resumed_stays_until_it_is_written_anew(tmp_path, source):
    made = tmp_path / "made"
    made.mkdir()
    interrupted(lambda: jobs.convert(source, made / "x.npy", keep=True))
    jobs.convert(source, made / "other.npy")
    jobs.convert(source, made / "x.npy", dry_run=True)
    with pytest.raises(ResumeMismatchError, match=r"order was None, is 'F'"):
        jobs.convert(source, made / "x.npy", order="F", resume=True)
    assert unfinished(made).elements
    jobs.convert(source, made / "x.npy")
    assert litter(made) == []


@linux
def test_it_can_fail_and_go_on_again_and_again(tmp_path, source):
    made = tmp_path / "made"
    made.mkdir()
    save = functools.partial(jobs.convert, source, made / "x.zarr", chunks=(50, 400), resume=True)
    seen = [0]
    for memory, workers in (("4MiB", 1), ("3MiB", 2), ("2MiB", 1)):  # other blocks each time
        with settings.config.set(memory=memory, workers=workers):
            interrupted(save, room=2 * MIB)
        seen.append(unfinished(made).elements)
    assert seen == sorted(set(seen))
    report = save()
    assert report.resumed == 8 * seen[-1]
    assert "by an earlier run" in str(report)
    same(ca.open(made / "x.zarr"), VALUES)


@linux
def test_progress_starts_from_what_is_there(tmp_path, source):
    made = tmp_path / "made"
    made.mkdir()
    save = functools.partial(jobs.convert, source, made / "x.npy", resume=True)
    interrupted(save)
    record = unfinished(made)
    there, logged = 8 * record.elements, record.marks[0]
    ears = Ears()
    save(progress=ears)
    assert sum(ears.heard[: len(logged)]) == there
    assert sum(ears.heard) == ears.total == VALUES.nbytes


@linux
@pytest.mark.parametrize("keep", [True, False])
def test_what_was_copied_to_scratch_stays_as_long_as_it_is_of_use(tmp_path, keep):
    made = tmp_path / "made"
    made.mkdir()
    scratch = str(tmp_path / "scratch")
    ca.save(tmp_path / "rows.zarr", VALUES, chunks=(5, 800), shards=False)
    rechunk = functools.partial(jobs.rechunk, tmp_path / "rows.zarr", made / "x.zarr", chunks=(1000, 8))
    with settings.config.set(memory="2MiB", scratch=scratch):
        error = interrupted(lambda: rechunk(keep=keep))
        if not keep:
            assert litter(made) == litter(scratch) == []
            return
        assert error.__notes__ == [resuming.KEPT]
        assert unfinished(made).elements == 0  # it was the copy that failed
        assert len(litter(scratch)) == 2
        assert sweep_scratch(scratch) == []
        rechunk(resume=True)
        same(ca.open(made / "x.zarr"), VALUES)
        assert litter(made) == litter(scratch) == []
        interrupted(lambda: rechunk(keep=True, overwrite=True))
        fsio.sweep(str(made / "x.zarr"))
        assert len(sweep_scratch(scratch)) == 1
        assert litter(scratch) == []


# --- refused ---------------------------------------------------------------------------------------


@linux
@pytest.mark.parametrize("change", ["time", "values", "size"])
def test_a_changed_source_is_refused(tmp_path, source, change):
    made = tmp_path / "made"
    made.mkdir()
    save = functools.partial(jobs.convert, source, made / "x.zarr", chunks=(50, 400), resume=True)
    interrupted(save)
    state = os.stat(source)
    if change == "values":
        with open(source, "r+b") as file:
            file.seek(-8, os.SEEK_END)
            file.write(b"changed!")
        os.utime(source, ns=(state.st_atime_ns, state.st_mtime_ns))
    elif change == "size":
        np.save(source, VALUES[:999])
    else:
        os.utime(source, ns=(0, 0))
    words = {"time": "mtime_ns was", "values": "last was", "size": "shape was"}[change]
    with pytest.raises(ResumeMismatchError, match=rf"source\.npy: {words}.*without resume"):
        save()
    assert unfinished(made).elements  # it stays


@linux
def test_a_changed_zarr_source_is_refused(tmp_path):
    made = tmp_path / "made"
    made.mkdir()
    ca.save(tmp_path / "a.zarr", VALUES, chunks=(50, 400))
    save = functools.partial(jobs.convert, tmp_path / "a.zarr", made / "x.npy", resume=True)
    interrupted(save)
    ca.save(tmp_path / "a.zarr", VALUES, chunks=(50, 400), overwrite=True)
    with pytest.raises(ResumeMismatchError, match=r"a\.zarr: (generation|manifest)"):
        save()


@linux
def test_another_expression_is_refused(tmp_path, source):
    made = tmp_path / "made"
    made.mkdir()
    a = ca.open(source)
    interrupted(lambda: ca.save(made / "x.npy", a + 1, resume=True))
    for other, word in ((a + 2, "expression"), (a + 1j, "dtype"), (a[:-1] + 1, "shape"), (a + VALUES, "sources")):
        with pytest.raises(ResumeMismatchError, match=word):
            ca.save(made / "x.npy", other, resume=True)
    same(ca.save(made / "x.npy", a + 1, resume=True), VALUES + 1)


@linux
def test_a_source_that_changes_meanwhile_is_refused_at_the_end(tmp_path, source):
    made = tmp_path / "made"
    made.mkdir()

    class Meddler(Ears):
        def advance(self, n):
            os.utime(source, ns=(5, 5))

    with pytest.raises(StaleExpressionError, match="changed"):
        jobs.convert(source, made / "x.npy", resume=True, progress=Meddler())
    assert os.listdir(made) == []


@linux
def test_a_running_job_is_left_alone(tmp_path, source):
    made = tmp_path / "made"
    made.mkdir()
    interrupted(lambda: jobs.convert(source, made / "x.npy", keep=True))
    (part,) = fsio.unfinished(str(made / "x.npy"))
    lock = fsio.try_hold(part)
    try:
        assert jobs.convert(source, made / "x.npy", resume=True).resumed == 0
    finally:
        os.close(lock)
    assert len(litter(made)) == 2


@linux
def test_after_a_restart_of_the_machine_only_what_was_synced_counts(tmp_path, source, monkeypatch):
    made = tmp_path / "made"
    made.mkdir()
    for name, durability in (("x.npy", "full"), ("y.npy", "process")):
        interrupted(lambda: jobs.convert(source, made / name, keep=True, durability=durability))  # noqa: B023
    monkeypatch.setattr(finding, "BOOT_ID", str(tmp_path / "boot_id"))
    (tmp_path / "boot_id").write_text("another")
    assert jobs.convert(source, made / "x.npy", resume=True).resumed
    with pytest.raises(ResumeMismatchError, match="started anew"):
        jobs.convert(source, made / "y.npy", resume=True)


# --- damage ----------------------------------------------------------------------------------------


@linux
@pytest.mark.parametrize("damage", ["torn", "flipped", "headless"])
def test_a_damaged_log_counts_up_to_the_damage(tmp_path, source, damage):
    made = tmp_path / "made"
    made.mkdir()
    save = functools.partial(jobs.convert, source, made / "x.npy", resume=True)
    interrupted(save)
    whole = unfinished(made).elements
    log = fsio.log_beside(fsio.unfinished(str(made / "x.npy"))[0])
    with open(log, "r+b") as file:
        if damage == "torn":
            file.truncate(os.path.getsize(log) - 3)
        else:
            file.seek(-20 if damage == "flipped" else 12, os.SEEK_END if damage == "flipped" else os.SEEK_SET)
            file.write(b"#")
    report = save()
    assert report.resumed < 8 * whole
    same(ca.open(made / "x.npy"), VALUES)
    assert litter(made) == []


@linux
@pytest.mark.parametrize("damage", ["cut", "removed", "other"])
def test_a_chunk_that_is_not_as_it_was_logged_is_made_again(tmp_path, source, damage):
    made = tmp_path / "made"
    made.mkdir()
    save = functools.partial(jobs.convert, source, made / "x.zarr", chunks=(50, 800), resume=True)
    interrupted(save)
    (part,) = fsio.unfinished(str(made / "x.zarr"))
    record = unfinished(made)
    first, second, *_ = sorted(region[0][0] // 50 for region in map(record.levels[0].region, record.marks[0]))
    chunk = os.path.join(part, "c", str(first), "0")
    if damage == "cut":
        os.truncate(chunk, 100)
    else:
        os.remove(chunk)
    if damage == "other":
        os.link(os.path.join(part, "c", str(second), "0"), chunk)
    assert save().resumed
    same(ca.open(made / "x.zarr"), VALUES)


@linux
def test_complete_but_for_the_log(tmp_path, source, monkeypatch):
    made = tmp_path / "made"
    made.mkdir()
    discard = fsio.discard
    monkeypatch.setattr(fsio, "discard", lambda path: None if path.endswith(".log") else discard(path))
    jobs.convert(source, made / "x.zarr", chunks=(50, 400))  # as if killed after it had its name
    monkeypatch.setattr(fsio, "discard", discard)
    assert len(litter(made)) == 1
    before = os.stat(made / "x.zarr")
    with pytest.raises(TargetExistsError):
        jobs.convert(source, made / "x.zarr", chunks=(50, 400))
    report = jobs.convert(source, made / "x.zarr", chunks=(50, 400), resume=True)
    assert report.resumed == VALUES.nbytes
    assert os.stat(made / "x.zarr").st_ino == before.st_ino
    assert litter(made) == []


# --- when there is nothing to go on with ------------------------------------------------------------


@pytest.mark.parametrize("name", ["x.npy", "x.raw", "x.zarr", "x.h5"])
@pytest.mark.parametrize("values", [np.float64(3), np.zeros((0, 4)), np.arange(5)], ids=["scalar", "empty", "small"])
def test_resume_may_always_be_asked_for(tmp_path, name, values):
    same(ca.save(tmp_path / name, values, resume=True), values)
    assert litter(tmp_path) == []


@linux
def test_hdf5_starts_over(tmp_path, source):
    made = tmp_path / "made"
    made.mkdir()
    save = functools.partial(jobs.convert, source, made / "x.h5", resume=True)
    interrupted(save)
    assert os.listdir(made) == []
    assert save().resumed == 0
    same(ca.open(made / "x.h5"), VALUES)


def test_a_small_job_writes_no_log(tmp_path):
    seen = []

    def watcher(name, call, args):
        seen.extend(a for a in args if isinstance(a, str) and a.endswith(".log"))
        return call(*args)

    with fsio.calls.watched(watcher):
        ca.save(tmp_path / "x.zarr", np.arange(1000.0))
    assert seen == []


# --- recipes ---------------------------------------------------------------------------------------


def expressions(k):
    """Return expressions of every kind, built anew."""
    a = ca.asarray(np.arange(100.0).reshape(10, 10))
    return [
        a + 1, a + 1.5, a * 2, np.add(a, a), a.T, a[::2], a[1:3], a.mean(axis=0), a.mean(axis=1), a.sum(initial=5.0),
        np.sum(a, axis=1, where=np.arange(10) > k), np.var(a, axis=0, ddof=1), ca.cumsum(a, axis=0), a @ a,
        ca.block_reduce(a, (2, 2), func=np.mean), ca.block_reduce(a, (2, 2), func=functools.partial(np.mean)),
        ca.block_reduce(a, (2, 2), func=lambda b, axis: np.sum(b, axis=axis) * k), ca.where(a > 2, a, 0),
        a.astype("f4"), np.divmod(a, 3)[0], np.divmod(a, 3)[1], ca.nan_to_num(a), ca.clip(a, 1, 2), ca.arange(100),
        ca.linspace(0, 1, 10), ca.concatenate([a, a]), ca.reshape(a, (5, 20)), ca.pad(a, 2), ca.full((3,), 7),
        ca.full((3,), 8), ca.round(a, 2), ca.select([a > 2], [a]), a[[1, 2]], a[[1, 3]], a[a > 5],
    ]  # fmt: skip


def test_recipes_tell_expressions_apart_and_know_them_again():
    known, again, other = ([describe_job(e._node) for e in expressions(k)] for k in (3, 3, 4))
    assert len({d["recipe"] for d in known}) == len(known)
    assert known == again
    changed = [a for a, b in zip(known, other, strict=True) if a != b]
    assert len(changed) == 2  # the function that closes over k, and the mask


def test_another_process_knows_a_recipe_again():
    code = """
import functools, numpy as np, chunkarr as ca
from chunkarr.engine.recipe import digest_recipe
a = ca.asarray(np.arange(6.0)) + 1
b = ca.block_reduce(a, 2, func=functools.partial(np.mean)).astype("f4")
print(digest_recipe(ca.where(b > 2, b, np.float32(3)).mean(keepdims=True)._node))
"""
    digests = {
        subprocess.run(
            [sys.executable, "-P", "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in "12"
    }
    assert len(digests) == 1


def test_what_no_later_run_can_know_again_is_refused(tmp_path):
    noise = np.random.default_rng(0)
    a = ca.block_reduce(ca.ones((4, 4)), (2, 2), func=lambda b, axis: np.mean(b, axis=axis) + 0 * noise.normal())
    with pytest.raises(UnsupportedError, match="cannot tell from another"):
        ca.save(tmp_path / "x.npy", a, resume=True)
    same(ca.save(tmp_path / "x.npy", a), np.ones((2, 2)))


# --- elsewhere -------------------------------------------------------------------------------------


@linux
def test_other_processes_log_in_rounds(tmp_path, source, monkeypatch):
    made = tmp_path / "made"
    made.mkdir()

    def get(graph, keys, workers):
        return dask.get(pickle.loads(pickle.dumps(graph)), keys)  # as it arrives elsewhere

    monkeypatch.setattr(engine, "scheduler", lambda: Scheduler("elsewhere", here=False, get=get))
    log = Failer(2, errno.ENOSPC)  # the third line

    def watcher(name, call, args):
        is_log = name == "pwrite" and os.readlink(f"/proc/self/fd/{args[0]}").endswith(".log")
        return log(name, call, args) if is_log else call(*args)

    save = functools.partial(jobs.convert, source, made / "x.npy", resume=True)
    with fsio.calls.watched(watcher), pytest.raises(OSError, match="No space"):
        save()
    assert 0 < unfinished(made).elements < VALUES.size
    assert save().resumed
    monkeypatch.undo()
    same(ca.open(made / "x.npy"), VALUES)


def test_the_names_of_another_array_are_left_alone(tmp_path):
    part = fsio.hidden_sibling(str(tmp_path / "x.npy"))
    for path in (part, fsio.log_beside(part)):
        with open(path, "xb"):
            pass
    assert fsio.unfinished(str(tmp_path / "x.npy")) == [part]
    assert fsio.unfinished(str(tmp_path / "x")) == []
    assert fsio.sweep(str(tmp_path / "x")) == []
    assert fsio.sweep(str(tmp_path / "x.npy")) == [part]
    assert os.listdir(tmp_path) == []
    with open(fsio.log_beside(part), "xb"), contextlib.suppress(FileNotFoundError):
        pass  # a log of what has got its name
    fsio.sweep(str(tmp_path / "x.npy"))
    assert os.listdir(tmp_path) == []
