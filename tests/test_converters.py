"""From every format to npy and Zarr: the values, and the same bytes after an interruption."""

from __future__ import annotations

import filecmp
import os

import numpy as np
import pytest

import chunkarr as ca
from chunkarr import jobs
from chunkarr.engine import resuming
from chunkarr.plan import blocks

ROWS, COLUMNS = 15_000, 40
VALUES = np.random.default_rng(7).integers(0, 4096, (ROWS, COLUMNS))


class Interrupter:
    """A reporter that interrupts the work once a part of it is done."""

    def start(self, total_bytes, label):
        self.left = total_bytes // 2

    def advance(self, n):
        self.left -= n
        if self.left < 0:
            raise KeyboardInterrupt

    def close(self):
        pass


def make_csv(path):
    ca.save(path, VALUES.astype("f8"))


def make_npz(path):
    np.savez_compressed(path, a=VALUES.astype("f8"))


def make_mat(path):
    ca.save(path, VALUES.astype("f8"))


def make_mat73(path):
    ca.save(path, VALUES.astype("f8"), version="7.3")


def make_packed(path):
    ca.save(path, VALUES.astype("u2"), format="packed", layout="raw12")


def make_hdf5(path):
    ca.save(path, VALUES.astype("f8"), chunks=(100, 40))


def make_wav(path):
    ca.save(path, VALUES.astype("i2"))


SOURCES = {
    "a.csv": (make_csv, {}, None),
    "a.npz": (make_npz, {}, None),
    "a.mat": (make_mat, {}, None),
    "b.mat": (make_mat73, {"isolate": True}, None),
    "a.h5": (make_hdf5, {"isolate": True}, None),
    "a.raw": (make_packed, {"layout": "raw12", "shape": (-1, COLUMNS)}, None),
    "a.wav": (make_wav, {}, None),
    "stacked*.raw": (None, {"dtype": "<f8", "shape": (ROWS // 10, COLUMNS)}, 0),
}


@pytest.mark.parametrize("target", ["t.npy", pytest.param("t.zarr", marks=pytest.mark.nightly)])
@pytest.mark.parametrize("name", SOURCES)
def test_an_interrupted_conversion_goes_on(name, target, tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 64 << 10)  # bytes of a block: there are several
    monkeypatch.setattr(resuming, "BATCH_BYTES", 100 << 10)  # that are logged together
    make, options, concat = SOURCES[name]
    if make is None:
        for number, part in enumerate(np.split(VALUES.astype("<f8"), 10)):
            part.tofile(tmp_path / f"stacked{number}.raw")
    else:
        make(str(tmp_path / name))
    how = {"options": options, "concat": concat, **({"chunks": (100, COLUMNS)} if target == "t.zarr" else {})}
    source = str(tmp_path / name)
    with ca.config.set(memory="32MiB", workers=1):
        whole = jobs.convert(source, tmp_path / f"whole-{target}", **how)
        with pytest.raises(KeyboardInterrupt):
            jobs.convert(source, tmp_path / target, progress=Interrupter(), keep=True, **how)
        assert not (tmp_path / target).exists()
        report = jobs.convert(source, tmp_path / target, resume=True, **how)
    assert 0 < report.resumed <= report.nbytes
    assert report.memory <= whole.budget
    np.testing.assert_array_equal(ca.open(tmp_path / target), VALUES)
    if target == "t.npy":
        assert filecmp.cmp(tmp_path / target, tmp_path / f"whole-{target}", shallow=False)
    assert not [entry for entry in os.listdir(tmp_path) if entry.startswith(".")]
