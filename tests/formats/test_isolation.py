"""HDF5 files that a child process parses: the same values, and its death is an error."""

from __future__ import annotations

import os
import pickle
import signal
import sys

import h5py
import numpy as np
import pytest

import chunkarr as ca
from chunkarr.cli import run
from chunkarr.errors import FormatError, UnsafeInputError
from chunkarr.formats import isolation
from chunkarr.formats.table import list_members
from tests.oracle import same

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="starts a process and caps it")

VALUES = {
    "/g/gzip": np.arange(600.0).reshape(60, 10),
    "/g/lzf": np.arange(600, dtype=">i2").reshape(60, 10),
    "/plain": np.arange(12, dtype="u1").reshape(3, 4),
    "/records": np.array([(1, 2.5, b"ab"), (2, 0.0, b"")], [("n", ">i4"), ("x", "<f8"), ("s", "S3")]),
    "/empty": np.zeros((0, 3), "f4"),
    "/scalar": np.array(7.5),
}


@pytest.fixture
def path(tmp_path):
    name = str(tmp_path / "a.h5")
    with h5py.File(name, "w") as file:
        for member, values in VALUES.items():
            chunked = {"chunks": (7, 3), "compression": member[3:]} if member.startswith("/g/") else {}
            file.create_dataset(member, data=values, **chunked)
    return name


@pytest.fixture
def unparsed(monkeypatch):
    """Let nothing be parsed in this process."""

    def refuse(*_arguments, **_options):
        raise AssertionError("parsed in this process")

    monkeypatch.setattr(h5py, "File", refuse)


def test_the_same_values(path, unparsed):
    for member, values in VALUES.items():
        opened = ca.open(f"{path}::{member}", isolate=True)
        same(opened, values)
        same(pickle.loads(pickle.dumps(opened)), values)
        if values.ndim == 2 and len(values):
            same(opened[1:3, ::2], values[1:3, ::2])


def test_a_path_is_of_the_folder_that_this_process_is_in(path, tmp_path, monkeypatch):
    same(ca.open(path + "::/plain", isolate=True), VALUES["/plain"])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    ca.save("a.h5", np.arange(3))
    same(ca.open("a.h5", isolate=True), np.arange(3))
    with pytest.raises(FormatError, match=r"^a\.h5: '/g/none' is not there"):
        ca.open("a.h5::/g/none", isolate=True)


def test_members_are_listed(path, unparsed):
    with ca.config.set(isolate=True):
        listed = list_members(path)
    assert {member.name: (member.shape, member.dtype) for member in listed} == {
        name: (values.shape, values.dtype) for name, values in VALUES.items()
    }


def test_matlab(tmp_path, request):
    values = np.arange(30.0).reshape(5, 6)
    ca.save(tmp_path / "a.mat", values, version="7.3")
    request.getfixturevalue("unparsed")
    opened = ca.open(tmp_path / "a.mat", isolate=True)
    same(opened, values)
    same(pickle.loads(pickle.dumps(opened)), values)


def test_commands_isolate(path, unparsed, tmp_path, capsys):
    assert run.run(["info", path + "::/g/gzip"]) == 0
    assert run.run(["convert", path + "::/g/lzf", str(tmp_path / "t.npy"), "--quiet"]) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "t.npy"), VALUES["/g/lzf"])
    assert "60 × 10" in capsys.readouterr().out


def test_errors_come_back(path):
    with pytest.raises(FormatError, match=r"a\.h5: '/g/none' is not there"):
        ca.open(path + "::/g/none", isolate=True)
    with pytest.raises(FormatError, match="6 data sets"):
        ca.open(path, isolate=True)
    with pytest.raises(FileNotFoundError):
        ca.open(path + "x.h5", isolate=True)
    with h5py.File(path, "a") as file:
        file["out"] = h5py.ExternalLink("/etc/passwd", "/x")
    with pytest.raises(UnsafeInputError, match="external link"):
        ca.open(path + "::/out", isolate=True)


def test_what_changed_is_asked_for_again(path, unparsed, request):
    opened = ca.open(path + "::/plain", isolate=True)
    same(opened, VALUES["/plain"])
    request.getfixturevalue("monkeypatch").undo()
    with h5py.File(path, "a") as file:
        file["plain"][0, 0] = 99
    os.utime(path, ns=(1, 1))
    assert opened[0, 0] == 99


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_a_child_that_dies_is_an_error_and_no_more(path, number, monkeypatch):
    same(ca.open(path + "::/plain", isolate=True), VALUES["/plain"])
    process = isolation._CHILD.process
    monkeypatch.setattr(process, "poll", lambda: None)  # it dies with the question on its way
    os.kill(process.pid, number)
    with pytest.raises(FormatError, match=rf"a\.h5: who parses it died of it \(signal {int(number)}\)"):
        isolation.ask({"what": "open", "path": path})
    same(ca.open(path + "::/plain", isolate=True), VALUES["/plain"])


def test_a_child_that_does_not_answer_is_an_error(path, monkeypatch):
    same(ca.open(path + "::/plain", isolate=True), VALUES["/plain"])
    monkeypatch.setattr(isolation, "SECONDS", 0.2)
    os.kill(isolation._CHILD.process.pid, signal.SIGSTOP)
    with pytest.raises(FormatError, match=r"a\.h5: who parses it gave no answer in 0.2 s"):
        ca.open(path + "::/plain", isolate=True)
    monkeypatch.undo()
    same(ca.open(path + "::/plain", isolate=True), VALUES["/plain"])


def test_a_child_that_lies_is_an_error(path, monkeypatch):
    """An answer is checked before anything is made of it."""
    from chunkarr.formats import hdf5_isolated

    real = hdf5_isolated.ask
    for wrong in (
        {"kind": "mmap"}, {"offset": 1 << 40}, {"offset": -1}, {"dtype": "O"}, {"chunk": [0, 3]}, {"shape": [-1, 4]},
        {"filters": [["evil", 1]]}, {"shape": "abc"},
    ):  # fmt: skip

        def lie(question, wrong=wrong):
            value, rest = real(question)
            return {**value, "layout": {**value["layout"], **wrong}}, rest

        monkeypatch.setattr(hdf5_isolated, "ask", lie)
        with pytest.raises(FormatError):
            ca.open(path + "::/plain", isolate=True)


def test_it_is_a_setting():
    with pytest.raises(ca.OptionError, match="isolate"), ca.config.set(isolate="yes"):
        pass
