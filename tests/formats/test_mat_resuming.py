"""Jobs from MATLAB files that were killed go on; jobs to them leave nothing, and start over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import chunkarr as ca
from chunkarr import jobs
from chunkarr.engine import resuming

VALUES = np.round(np.cumsum(np.random.default_rng(0).normal(size=(400, 5000)), axis=0), 1)  # 15.3 MiB
CHILD = """
import os, signal, sys
from chunkarr import fsio, jobs
from chunkarr.engine import resuming
from chunkarr.settings import config

def kill(name, call, args):
    global room
    if name in ("write", "pwrite", "writev") and (room := room - 1) < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return call(*args)

source, target, room = sys.argv[1], sys.argv[2], int(sys.argv[3])
resuming.BATCH_BYTES = 1 << 20
with config.set(memory="8MiB", workers=1), fsio.calls.watched(kill):
    jobs.convert(source, target, resume=True, order="F")
"""
linux = pytest.mark.skipif(sys.platform != "linux", reason="the child is killed by a signal")


def killed(source: str, target: str, writes: int) -> None:
    command = [sys.executable, "-c", CHILD, source, target, str(writes)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr


@linux
@pytest.mark.parametrize("version", ["6", "7", "7.3"])
def test_a_killed_job_from_a_matlab_file_goes_on(tmp_path: Path, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resuming, "BATCH_BYTES", 1 << 20)
    source, target = str(tmp_path / "a.mat"), str(tmp_path / "a.npy")
    ca.save(source, VALUES, version=version)
    with ca.config.set(memory="8MiB", workers=1):
        killed(source, target, 5)
        assert not os.path.exists(target)
        report = jobs.convert(source, target, resume=True, order="F")
    assert 0 < report.resumed < VALUES.nbytes
    np.testing.assert_array_equal(np.load(target), VALUES)
    assert sorted(os.listdir(tmp_path)) == ["a.mat", "a.npy"]


@linux
@pytest.mark.parametrize("version", ["6", "7", "7.3"])
def test_a_killed_job_to_a_matlab_file_leaves_the_old_one(tmp_path: Path, version: str) -> None:
    source, target = str(tmp_path / "a.npy"), str(tmp_path / "a.mat")
    np.save(source, VALUES)
    ca.save(target, VALUES[:3], version=version)
    before = Path(target).read_bytes()
    command = CHILD.replace('resume=True, order="F"', f"overwrite=True, version={version!r}")
    done = subprocess.run(
        [sys.executable, "-c", command, source, target, "3"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert Path(target).read_bytes() == before
    ca.save(target, ca.open(source), overwrite=True, version=version)
    np.testing.assert_array_equal(np.asarray(ca.open(target)), VALUES)
    assert sorted(os.listdir(tmp_path)) == ["a.mat", "a.npy"]
