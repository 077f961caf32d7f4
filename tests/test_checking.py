"""What `Array.verify` and its command say about whole and damaged arrays."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

import chunkarr as ca
from chunkarr.cli import run
from chunkarr.errors import GenerationChangedError, MemoryBudgetError
from chunkarr.formats.zarr import ZarrArray
from tests.contracts.cases import CASES

VALUES = np.arange(7 * 5 * 6, dtype="<i4").reshape(7, 5, 6)


def made(case, directory, values=VALUES):
    """Save values in the format of a case, and open them."""
    options = case.create(values.shape, values.dtype)
    ca.save(case.path(directory), values, format=case.format, **options)
    return ca.open(case.path(directory), **case.open(values.shape, values.dtype))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_whole_array_has_no_problems(case, tmp_path):
    for number, given in enumerate((VALUES, VALUES[:0], VALUES[0, 0, 0])):
        (tmp_path / str(number)).mkdir()
        values = case.fit(np.asarray(given))
        report = made(case, tmp_path / str(number), values).verify()
        assert report.ok
        assert report.problems == ()
        assert (report.shape, report.format) == (values.shape, case.format)
        assert report.nbytes == values.nbytes
        assert "nothing is wrong" in str(report)
        assert json.loads(json.dumps(report.as_dict()))["ok"] is True


@pytest.mark.parametrize("case", [c for c in CASES if c.format in ("npy", "raw")], ids=lambda case: case.name)
def test_a_format_without_checksums_says_so(case, tmp_path):
    report = made(case, tmp_path).verify()
    assert report.checked_by == ""
    assert "no checksums" in str(report)


def test_what_is_stored_nowhere_cannot_be_verified(tmp_path):
    a = ca.save(tmp_path / "a.npy", np.arange(3))
    with pytest.raises(TypeError, match=r"expression of shape \(3,\); verify the arrays.*a\.npy"):
        (a + 1).verify()
    with pytest.raises(TypeError, match="save it"):
        ca.arange(3).verify()
    with pytest.raises(TypeError, match="save it"):
        ca.asarray([1, 2]).verify()


def chunk_files(path):
    """Return the files of the chunks below a Zarr array."""
    return sorted(os.path.join(folder, name) for folder, _, names in os.walk(os.path.join(path, "c")) for name in names)


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_problems_are_listed_by_all_shares(tmp_path, workers):
    path = str(tmp_path / "a.zarr")
    a = ca.save(path, VALUES, chunks=(2, 3, 3))
    files = chunk_files(path)
    assert len(files) == 16
    for name in files[::3]:
        with open(name, "r+b") as file:
            file.seek(5)
            byte = file.read(1)
            file.seek(5)
            file.write(bytes([byte[0] ^ 4]))
    with ca.config.set(workers=workers):
        report = a.verify()
    assert not report.ok
    assert len(report.problems) == len(files[::3])
    assert {p.error for p in report.problems} == {"CorruptChunkError"}
    for name in files[::3]:
        assert os.path.relpath(name, path) in str(report)


def test_a_chunk_that_does_not_fit_the_budget_is_refused_before_it_is_read(tmp_path):
    a = ca.save(tmp_path / "a.zarr", np.zeros((512, 512)), chunks=(512, 512))
    with ca.config.set(memory="1MiB"), pytest.raises(MemoryBudgetError, match="checking one chunk"):
        a.verify()


def test_an_array_that_changes_is_checked_again(tmp_path, monkeypatch):
    a = ca.save(tmp_path / "a.zarr", VALUES, chunks=(2, 3, 3))
    times = []

    def problems(self, share, done):
        times.append(share)
        if len(times) < 3:
            raise GenerationChangedError("changed")
        yield from ()

    monkeypatch.setattr(ZarrArray, "problems", problems)
    assert a.verify().ok
    assert len(times) >= 3
    monkeypatch.setattr(
        ZarrArray, "problems", lambda self, share, done: (_ for _ in ()).throw(GenerationChangedError("no"))
    )
    with pytest.raises(GenerationChangedError, match="5 times"):
        a.verify()


def test_a_check_ends_when_what_it_reports_to_fails(tmp_path):
    a = ca.save(tmp_path / "a.zarr", VALUES, chunks=(2, 3, 3))

    class Reporter:
        def start(self, total, label):
            self.done = []

        def advance(self, nbytes):
            self.done.append(nbytes)
            if len(self.done) == 3:
                raise KeyboardInterrupt

        def close(self):
            pass

    with ca.config.set(workers=1), pytest.raises(KeyboardInterrupt):
        a.verify(progress=Reporter())


# --- commands --------------------------------------------------------------------------------------


@pytest.fixture
def command(capsys):
    """Return what runs one command line in this process: (exit code, stdout, stderr)."""

    def call(*arguments):
        code = run.run([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return call


def test_verify_tells_by_its_exit_code(command, tmp_path):
    path = str(tmp_path / "a.zarr")
    ca.save(path, VALUES, chunks=(2, 3, 3))
    code, out, err = command("verify", path)
    assert (code, err) == (0, "")
    assert out.startswith(f"{path}: nothing is wrong in 16 chunks, ")
    os.truncate(chunk_files(path)[3], 7)
    os.unlink(chunk_files(path)[9])
    code, out, err = command("verify", path)
    assert (code, err) == (1, "")
    assert "CorruptChunkError" in out
    assert "MissingChunkError" in out
    assert "2 problems" in out
    code, out, err = command("verify", path, "--json")
    record = json.loads(out)
    assert (code, err, record["ok"]) == (1, "", False)
    assert {p["error"] for p in record["problems"]} == {"CorruptChunkError", "MissingChunkError"}
    assert command("verify", path, "--quiet") == (1, "", "")


def test_digests_of_several_files_are_told_with_their_names(command, tmp_path):
    for name in ("a.npy", "b.zarr", "c.h5"):
        ca.save(tmp_path / name, VALUES if name != "b.zarr" else VALUES.astype(">i4"))
    code, out, err = command("digest", *(tmp_path / name for name in ("a.npy", "b.zarr", "c.h5")))
    assert (code, err) == (0, "")
    lines = [line.split("  ") for line in out.splitlines()]
    assert [path for _, path in lines] == [str(tmp_path / name) for name in ("a.npy", "b.zarr", "c.h5")]
    assert {digest for digest, _ in lines} == {ca.asarray(VALUES).digest()}
    assert json.loads(command("digest", tmp_path / "a.npy", "--json")[1])["digest"] == lines[0][0]
