"""What `recover` and `adopt` leave: the old array or the new one, and nothing beside it."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import zarr

import chunkarr as ca
from chunkarr import fsio, upkeep
from chunkarr.cli import run
from chunkarr.errors import ArrayLockedError, ForeignChangeError
from chunkarr.formats.table import open_stored
from chunkarr.fsio import calls

OLD = np.arange(900 * 8, dtype="<i4").reshape(900, 8)
NEW = OLD.copy()
NEW[2:7, 3:] *= -3
SUFFIXES = [".npy", ".zarr"]


class KilledError(BaseException):
    """The process is gone: no call of it does anything any more."""


class Killer:
    """Let a number of calls through; then nothing changes the disk any more."""

    def __init__(self, left):
        self.left, self.done = left, 0

    def __call__(self, name, call, args):
        if self.done >= self.left:
            raise KilledError
        self.done += 1
        return call(*args)


@pytest.fixture
def command(capsys):
    """Return what runs one command line in this process: (exit code, stdout, stderr)."""

    def call(*arguments):
        code = run.run([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return call


def assign(path):
    """Change a region of the array in one transaction."""
    stored = open_stored(path, "r+")
    with stored.update() as change:
        boxes = change.grid if path.endswith(".zarr") else [((2, 7), (3, 8))]
        for box in boxes:
            values = NEW[tuple(slice(a, b) for a, b in box)]
            change.write(box, values, np.empty(change.scratch_bytes(box), "u1"))
        change.commit()


def save(path, values=OLD, **options):
    """Save values in small chunks."""
    return ca.save(path, values, **({"chunks": (400, 4)} if path.endswith(".zarr") else {}), **options)


def killed(work, path, at):
    """Do ``work`` on a path, and die at call ``at``; return whether that was before its end."""
    killer = Killer(at)
    try:
        with calls.watched(killer):
            work(path)
    except KilledError:
        return True
    return False


def names(path):
    """Return what lies beside a path, and in it but for its chunks."""
    folder = os.path.dirname(path)
    inside = os.path.join(path, ".chunkarr")
    return sorted(os.listdir(folder)), sorted(os.listdir(inside)) if os.path.isdir(inside) else []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_recovery_finishes_or_drops_a_change(tmp_path, suffix):
    path = str(tmp_path / "a") + suffix
    save(path)
    clean = names(path)
    seen, at, finished = set(), 0, False
    while not finished:
        finished = not killed(assign, path, at)
        report = upkeep.recover(path)
        values = ca.load(path)
        which = "new" if (values == NEW).all() else "old"
        np.testing.assert_array_equal(values, NEW if which == "new" else OLD)
        assert names(path)[0] == clean[0]
        assert not [name for name in names(path)[1] if name.startswith("txn")]
        assert ca.open(path).verify().ok
        seen.add((which, bool(report.done)))
        assert not upkeep.recover(path).done
        if which == "new":
            save(path, OLD, overwrite=True)
        at += 1
    assert {("old", True), ("new", True), ("new", False)} <= seen


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_recovery_removes_what_never_appeared(tmp_path, suffix):
    path = str(tmp_path / "a") + suffix
    _, lock = fsio.new_part(path, directory=suffix == ".zarr")
    os.close(lock)
    assert len(os.listdir(tmp_path)) == 1
    report = upkeep.recover(path)
    assert len(report.done) == 1
    assert "removed an unfinished output" in str(report)
    assert os.listdir(tmp_path) == []
    assert "nothing to do" in str(upkeep.recover(path))


def test_a_writer_at_work_is_left_alone(tmp_path):
    path = str(tmp_path / "a.zarr")
    save(path)
    with open_stored(path, "r+").update() as change:
        box = next(iter(change.grid))
        values = NEW[tuple(slice(a, b) for a, b in box)]
        change.write(box, values, np.empty(change.scratch_bytes(box), "u1"))
        with pytest.raises(ArrayLockedError):
            upkeep.recover(path)
        part, lock = fsio.new_part(path, directory=True)
        assert len(os.listdir(tmp_path)) == 2
    assert upkeep.recover(path).done == ()
    os.close(lock)
    assert upkeep.recover(path).done == (f"removed an unfinished output, {part}",)


def test_what_can_be_resumed_is_dropped_only_on_request(tmp_path):
    path = str(tmp_path / "a.npy")
    save(path)
    part, lock = fsio.new_part(path, size=10)
    os.close(lock)
    (tmp_path / os.path.basename(fsio.publishing.log_beside(part))).write_bytes(b"")
    report = upkeep.recover(path)
    assert (report.done, report.unfinished) == ((), (part,))
    assert "resumed" in str(report)
    report = upkeep.recover(path, drop_unfinished=True)
    assert (len(report.done), report.unfinished) == (1, ())
    assert os.listdir(tmp_path) == ["a.npy"]


def test_all_arrays_in_a_directory_are_recovered(tmp_path, command):
    root = str(tmp_path / "group")
    paths = [os.path.join(root, "c", "x.zarr"), os.path.join(root, "y.zarr")]
    for path in paths:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        save(path)
        with pytest.raises(KilledError), calls.watched(Killer(8)):
            assign(path)
    code, out, err = command("recover", root)
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == 2
    assert os.path.join("c", "x.zarr") in out
    code, out, _ = command("recover", root, "--json")
    assert (code, json.loads(out)["done"]) == (0, [])
    assert command("recover", root, "--quiet") == (0, "", "")


# --- adopt -----------------------------------------------------------------------------------------


def test_what_another_program_changed_can_be_adopted(tmp_path, command):
    path = str(tmp_path / "g.zarr" / "a")
    os.makedirs(os.path.dirname(path))
    save(path, format="zarr")
    zarr.open_array(path, mode="r+")[3, 3] = -5
    with pytest.raises(ForeignChangeError, match="adopt"):
        ca.load(path)
    assert not ca.open(path).verify().ok
    code, out, err = command("adopt", f"{tmp_path / 'g.zarr'}::a")
    assert (code, err) == (0, "")
    assert "1 differ" in out
    expected = OLD.copy()
    expected[3, 3] = -5
    np.testing.assert_array_equal(ca.load(path), expected)
    assert ca.open(path).verify().ok
    assert json.loads(command("adopt", path, "--json")[1])["done"].count("0 differ") == 1


def test_another_shape_can_be_adopted(tmp_path):
    path = str(tmp_path / "a.zarr")
    save(path)
    zarr.open_array(path, mode="r+").resize((900, 11))
    assert not ca.open(path).verify().ok
    assert "recorded" in ca.adopt(path)
    a = ca.open(path)
    assert a.shape == (900, 11)
    assert a.verify().ok
    np.testing.assert_array_equal(a[:, :8].compute(), OLD)
    np.testing.assert_array_equal(a[:, 8:].compute(), 0)


def test_damage_is_not_adopted(tmp_path, command):
    path = str(tmp_path / "a.zarr")
    save(path)
    file = os.path.join(path, "c", "1", "0")
    os.truncate(file, os.path.getsize(file) - 3)
    code, out, err = command("adopt", path)
    assert (code, out) == (1, "")
    assert "c/1/0" in err
    assert not ca.open(path).verify().ok
    assert command("adopt", tmp_path / "none.zarr")[0] == 1


def test_a_file_that_another_program_changed_can_drop_a_committed_change(tmp_path):
    path = str(tmp_path / "a.npy")
    save(path)
    at = 0
    while not os.path.exists(tmp_path / ".a.npy.commit"):
        assert killed(assign, path, at)
        at += 1
    other = OLD.copy()
    other[:, 5] = 5
    time = os.stat(path).st_mtime_ns
    with open(path, "r+b") as file:  # another program, not knowing that a change waits
        file.seek(-OLD.nbytes, os.SEEK_END)
        file.write(other.tobytes())
    os.utime(path, ns=(time + 10**9, time + 10**9))
    with pytest.raises(ForeignChangeError):
        upkeep.recover(path)
    assert "dropped" in ca.adopt(path)
    np.testing.assert_array_equal(ca.load(path), other)
    assert os.listdir(tmp_path) == ["a.npy"]
    assert "nothing to adopt" in ca.adopt(path)


def test_adopting_a_file_finishes_a_committed_change(tmp_path):
    path = str(tmp_path / "a.npy")
    save(path)
    at = 0
    while not os.path.exists(tmp_path / ".a.npy.commit"):
        assert killed(assign, path, at)
        at += 1
    ca.adopt(path)
    np.testing.assert_array_equal(ca.load(path), NEW)
