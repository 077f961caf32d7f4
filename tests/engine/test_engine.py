"""Running plans: schedulers, stale sources, cancelling, and a cluster of processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

import chunkarr as ca
from chunkarr.engine import schedule
from chunkarr.formats import inflating
from chunkarr.formats.inflating import Inflated
from chunkarr.functions import accumulating, reducing  # noqa: F401  # register what NumPy's functions do
from tests.oracle import same
from tests.strategies import chunked, stored


@pytest.mark.parametrize("scheduler", ["threads", "sync"])
def test_every_scheduler_of_this_process(tmp_path, scheduler):
    import dask

    x = np.random.default_rng(0).normal(size=(300, 200))
    a = stored(x, tmp_path / "x.zarr", chunks=(30, 50))
    with dask.config.set(scheduler=scheduler):
        same(np.sum(a > 0, axis=0), np.sum(x > 0, axis=0))
        ca.save(tmp_path / "y.zarr", a * 2)
    same(ca.open(tmp_path / "y.zarr"), x * 2)


@pytest.mark.parametrize("name", ["x.npy", "x.zarr"])
def test_a_source_that_changed_is_refused(tmp_path, name):
    a = stored(np.arange(100), tmp_path / name)
    total = np.sum(a)
    ca.save(tmp_path / name, chunked(np.arange(50, 150)), overwrite=True)
    with pytest.raises(ca.StaleExpressionError, match="open it again"):
        total.compute()
    assert int(np.sum(ca.open(tmp_path / name))) == sum(range(50, 150))


@pytest.mark.parametrize("name", ["x.npy", "x.zarr"])
def test_saving_onto_its_own_source(tmp_path, name):
    x = np.arange(40_000.0).reshape(200, 200)
    a = stored(x, tmp_path / name)
    saved = ca.save(tmp_path / name, a[::-1] + a.T, overwrite=True)
    same(saved, x[::-1] + x.T)


@pytest.mark.parametrize("name", ["y.npy", "y.zarr", "y.h5"])
def test_a_failing_task_leaves_the_target_as_it_was(tmp_path, name):
    ca.save(tmp_path / name, np.arange(3))
    bad = np.divide(1.0, chunked(np.zeros(10), 3))
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        ca.save(tmp_path / name, bad, overwrite=True)
    same(ca.open(tmp_path / name), np.arange(3))
    assert os.listdir(tmp_path) == [name]


def test_one_array_in_several_threads(tmp_path):
    x = np.random.default_rng(1).normal(size=(400, 300))
    a = stored(x, tmp_path / "x.zarr", chunks=(64, 64))
    centred = np.abs(a - np.mean(a, axis=0)).max()
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(float(centred))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4
    assert len(set(answers)) == 1


SLOW = """
    import sys, numpy as np, chunkarr as ca
    x = ca.asarray(np.ones((400, 1000)), chunks=(4, 1000))
    for _ in range({calls}):
        x = np.hypot(x, 1.0) + np.sin(x)
    big = ca.asarray(np.broadcast_to(np.float64(1), (4000, 400, 1000)), chunks=(1, 40, 1000)) * x
    print("ready", flush=True)
    {work}
"""


@pytest.mark.parametrize("work", ["ca.save(sys.argv[1], big)", "print((big + big).sum().compute())"])
def test_interrupt_stops_within_two_seconds_and_leaves_nothing(tmp_path, work):
    out, scratch = tmp_path / "out.zarr", tmp_path / "scratch"
    environment = os.environ | {"CHUNKARR_MEMORY": "64MiB", "CHUNKARR_WORKERS": "2", "CHUNKARR_SCRATCH": str(scratch)}
    code = textwrap.dedent(SLOW).format(calls=40, work=work)
    with subprocess.Popen(
        [sys.executable, "-P", "-c", code, str(out)], cwd=tmp_path, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as child:  # fmt: skip
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            time.sleep(1.0)
            assert child.poll() is None, child.stderr.read()
            child.send_signal(signal.SIGINT)
            started = time.monotonic()
            _, error = child.communicate(timeout=20)
            seconds = time.monotonic() - started
        finally:
            child.kill()
    assert seconds < 2
    assert "KeyboardInterrupt" in error
    assert child.returncode in {-signal.SIGINT, 130}
    left = [name for name in os.listdir(tmp_path) if name != "scratch"]
    assert left == []
    assert not scratch.exists() or not [n for n in os.listdir(scratch) if n.startswith("cancel")]


@pytest.mark.parametrize("turned", [False, True])
def test_a_stream_is_decoded_once_whatever_axes_its_boxes_follow(tmp_path, monkeypatch, turned):
    import dask

    pages = np.repeat(np.arange(3 * 2048, dtype="u1"), 4096).reshape(3, 2048, 4096).T  # two boxes of 4 MiB, three times
    ca.save(tmp_path / "x.mat", pages, version="7")
    monkeypatch.setattr(inflating, "SPREAD", 1)  # decoders that are kept, as if the stream were long
    monkeypatch.setattr(inflating, "RECENT", 3)
    given, decode = [], Inflated._decode

    def counting(*args):
        data = decode(*args)
        given.append(len(data))
        return data

    monkeypatch.setattr(Inflated, "_decode", counting)
    with dask.config.set(scheduler="sync"):
        a = ca.open(tmp_path / "x.mat")
        a = a.T if turned else a
        ca.save(tmp_path / "x.npy", a, order="C" if turned else "F")
    same(np.load(tmp_path / "x.npy"), pages.T if turned else pages)
    assert sum(given) <= 1.1 * pages.size


def test_threads_wait_less_for_the_interpreter_while_tasks_run(monkeypatch):
    usual, seen = sys.getswitchinterval(), []
    monkeypatch.setattr(schedule, "_invoke", lambda *_: seen.append(sys.getswitchinterval()))
    run = schedule.Run("", None)
    with schedule.SHORT_TURNS:  # as another run would have it
        schedule.call_tasks(run, (), len, [(), ()], 2, schedule.HERE, "x")
        assert sys.getswitchinterval() < usual
    assert len(seen) == 2
    assert max(seen) < 1.01 * schedule.TURN
    assert sys.getswitchinterval() == usual
    try:
        with schedule.SHORT_TURNS:
            sys.setswitchinterval(2 * usual)  # what somebody sets meanwhile stays
        assert sys.getswitchinterval() == 2 * usual
    finally:
        sys.setswitchinterval(usual)
