"""The commands that README.md shows do what it says: each is run where its inputs are."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import warnings

import numpy as np
import pytest

import chunkarr as ca
from chunkarr.cli import run

README = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "README.md")
MAKERS = ("convert", "concat", "reduce", "rechunk", "sort")  # their last argument is made by them
SHOWN = ("demo",)  # has a test of its own, which is smaller


def commands():
    """Return the lines of README.md that call the program, without comments."""
    with open(README, encoding="utf-8") as file:
        lines = re.findall(r"^\$ chunkarr (.+)$", file.read(), re.MULTILINE)
    return [line for line in lines if line.split()[0] not in SHOWN]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Return a folder with a file of every name that README.md uses."""
    folder = tmp_path_factory.mktemp("inputs")
    values = np.random.default_rng(0).integers(0, 4096, (2, 64, 64)).astype(">u2")
    np.save(folder / "scan.npy", values)
    np.save(folder / "big.npy", np.random.default_rng(1).normal(size=(30, 40)))
    with open(folder / "scan.raw", "wb") as file:
        file.write(bytes(512))
        file.truncate(512 + 2048 * 2048 * 2)
    ca.save(folder / "scan.zarr", values)
    ca.save(f"{folder}/scan.h5::/entry/data", values)
    ca.save(folder / "frames.zarr", values)
    ca.save(f"{folder}/run.mat::stack", values.astype("f8"))
    np.savez(folder / "data.npz", a=values, b=np.arange(3))
    (folder / "frames").mkdir()
    for number in (1, 2, 10):
        (folder / "frames" / f"frame{number}.raw").write_bytes(bytes(2048 * 2048 * 3 // 2))
    for name in ("table", "day1", "day2", "day3"):
        np.savetxt(folder / f"{name}.csv", values[0, :9, :3], "%d", ",", header="time,x,y", comments="")
    ca.save(folder / "days.zarr", values[0, :9, :3].astype("f8"))
    return folder


@pytest.mark.parametrize("line", commands())
def test_a_command_of_the_readme(line, inputs, tmp_path, monkeypatch, capsys):
    shutil.copytree(inputs, tmp_path / "here", symlinks=True)
    monkeypatch.chdir(tmp_path / "here")
    arguments = shlex.split(line, comments=True)
    if arguments[0] in MAKERS:
        named = [word for word in arguments[1:] if re.fullmatch(r"[\w./-]+\.\w+", word)]
        target = tmp_path / "here" / named[-1]
        shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lines on stderr, on the command line
        code = run.run(arguments)
    said = capsys.readouterr()
    assert code == 0, said.err
    assert said.out.strip()


def test_there_are_commands():
    assert len(commands()) >= 10
