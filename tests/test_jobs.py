"""Conversions from file to file: values, reports, memory."""

from __future__ import annotations

import json
import os
import sys

import numpy as np
import pytest

import chunkarr as ca
from chunkarr import errors, jobs
from chunkarr.cli import run
from tests import memory_child
from tests.oracle import same

MIB = 2**20


def test_a_report_says_what_was_done(tmp_path):
    values = np.arange(600, dtype="<i4").reshape(20, 30)
    np.save(tmp_path / "a.npy", values)
    report = jobs.convert(tmp_path / "a.npy", tmp_path / "b.npy", dtype=">f8", order="F")
    np.testing.assert_array_equal(np.load(tmp_path / "b.npy"), values)
    assert np.load(tmp_path / "b.npy").flags.f_contiguous
    assert report.dtype == ">f8"
    assert (report.shape, report.nbytes) == ((20, 30), 4800)
    assert report.bytes_read >= values.nbytes
    assert report.stored == os.path.getsize(tmp_path / "b.npy")
    assert 0 < report.memory <= report.budget
    assert report.seconds > 0
    assert json.loads(json.dumps(report.as_dict()))["shape"] == [20, 30]
    assert "20 × 30" in str(report)


def test_a_dry_run_says_what_would_be_done(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(6.0))
    report = jobs.convert(tmp_path / "a.npy", tmp_path / "b.zarr", dry_run=True)
    assert (report.stored, report.seconds) == (0, 0)
    assert "would read" in str(report)
    assert os.listdir(tmp_path) == ["a.npy"]
    with pytest.raises(errors.TargetExistsError, match="overwrite=True"):
        jobs.convert(tmp_path / "a.npy", tmp_path / "a.npy", dry_run=True)


def test_a_file_can_be_converted_onto_itself(tmp_path):
    values = np.arange(6.0)
    np.save(tmp_path / "a.npy", values)
    jobs.convert(tmp_path / "a.npy", tmp_path / "a.npy", dtype="f4", overwrite=True)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), values.astype("f4"))


def test_what_a_folder_stores(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "x").write_bytes(bytes(10))
    (tmp_path / "y").write_bytes(bytes(5))
    assert jobs.stored_bytes(str(tmp_path)) == 15
    assert jobs.stored_bytes(str(tmp_path / "y")) == 5
    assert jobs.stored_bytes(str(tmp_path / "none")) == 0


def convert(source, target):
    """Convert raw bytes and return what was planned."""
    options = {"dtype": "u1", "shape": (-1, 1024)}
    return jobs.convert(source, target, options=options, overwrite=True, durability="process").memory


@pytest.mark.memory
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("suffix", ["npy", "zarr", "h5"])
def test_a_conversion_stays_within_its_budget(tmp_path, suffix):
    for name, size in (("small.raw", 4096), ("large.raw", 512 * MIB)):
        with open(tmp_path / name, "wb") as file:
            file.truncate(size)
    target = str(tmp_path / f"t.{suffix}")
    peak = memory_child.measure(
        convert,
        small=[str(tmp_path / "small.raw"), target],
        large=[str(tmp_path / "large.raw"), target],
        budget=64 * MIB,
    )
    peak.check()
    assert peak.planned > 0


def test_sort_from_file_to_file(tmp_path):
    table = np.random.default_rng(0).integers(0, 9, (50, 3))
    records = np.array([(2, 1.0), (1, 5.0), (1, 2.0)], "i4, f8")
    np.save(tmp_path / "a.npy", table)
    np.save(tmp_path / "r.npy", records)

    def command(*words):
        words = [str(tmp_path / w) if w.endswith((".npy", ".zarr")) else w for w in words]
        return run.run(["sort", *words, "--quiet"])

    for words, expected in (
        ([], np.sort(table)),
        (["--axis", "0", "--resume"], np.sort(table, 0)),
        (["--flat", "--memory", "64MiB"], np.sort(table, None)),
        (["--column", "1", "--resume"], table[table[:, 1].argsort(stable=True)]),
        (["--column", "1", "--descending"], table[(-table[:, 1]).argsort(stable=True)]),
        (["--flat", "--descending"], np.sort(table, None)[::-1]),
    ):
        assert command("a.npy", "b.zarr", "--overwrite", *words) == 0, words
        same(ca.open(tmp_path / "b.zarr"), expected)
    assert command("r.npy", "s.npy", "--order", "f1", "--order", "f0") == 0
    same(ca.open(tmp_path / "s.npy"), np.sort(records, order=["f1", "f0"]))
    assert command("a.npy", "c.npy", "--flat", "--column", "1") == 2
    assert not (tmp_path / "c.npy").exists()


@pytest.mark.parametrize(
    ("source", "words", "said"),
    [
        ("a", ["--axis", "2"], "--axis 2: a.npy has 2 axes, so it lies in -2 ... 1"),
        ("a", ["--column", "3"], "--column 3: a.npy has 3 columns"),
        ("a", ["--order", "run"], "a.npy has no fields to sort by"),
        ("r", ["--order", "nobody"], "r.npy has no field 'nobody'; it has f0, f1"),
        ("r", ["--column", "0"], "sort by a field: f0, f1"),
        ("r", ["--column", "0", "--order", "f0"], "give one of them"),
        ("r", ["--descending"], "--descending: r.npy has records"),
        ("z", [], "z.npy is one number"),
    ],
)
def test_what_cannot_be_sorted_by_is_told(source, words, said, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", np.zeros((5, 3)))
    np.save("r.npy", np.zeros(5, "i4, f8"))
    np.save("z.npy", np.zeros(()))
    assert run.run(["sort", f"{source}.npy", "c.npy", *words]) == 2
    assert said in capfd.readouterr().err
    assert not os.path.exists("c.npy")


def test_more_files_than_may_be_open(tmp_path):
    """Files that are joined are not all open at a time."""
    resource = pytest.importorskip("resource")
    for number in range(300):
        np.save(tmp_path / f"f{number}.npy", np.full((2, 3), number, "i2"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 64
    resource.setrlimit(resource.RLIMIT_NOFILE, (opened + 160, hard))
    try:
        report = jobs.convert(str(tmp_path / "f*.npy"), tmp_path / "a.npy", stack=0)
        again = jobs.append(str(tmp_path / "f?.npy"), tmp_path / "a.npy", stack=0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (report.sources, again.shape) == (300, (310, 2, 3))
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy")[:, 1, 2], [*range(300), *range(10)])
