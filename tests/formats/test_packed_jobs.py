"""Packed integers, raw records with gaps and WAV files in jobs that fail in the middle and go on."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chunkarr as ca
from chunkarr import fsio, settings
from chunkarr.engine import resuming
from chunkarr.errors import UnsupportedError
from tests.oracle import same

MIB = 1 << 20
VALUES = np.random.default_rng(3).integers(0, 4096, (3000, 1001), dtype="u2")
TARGETS = {
    "x.npy": {},
    "x.zarr": {"chunks": (100, 1001)},
    "x.packed": {"layout": "mono12p"},  # a row begins within a byte: groups are shared between blocks
    "y.packed": {"layout": "raw12", "row_align": 16},
    "x.wav": {"bits": 24},
}
SOURCES: dict[str, dict[str, Any]] = {
    "a.packed": {"layout": "raw12", "shape": VALUES.shape},
    "a.raw": {"dtype": "<u2", "shape": VALUES.shape, "stride": 5},
}


class FullDisk:
    """Fail as a full disk does once ``room`` bytes were written to anything but logs."""

    def __init__(self, room: int) -> None:
        self.room = room

    def __call__(self, name: str, call: Any, args: Any) -> Any:
        if name in ("write", "pwrite", "writev"):
            size = sum(memoryview(a).nbytes for a in (args[1] if name == "writev" else args[1:2]))
            if not os.readlink(f"/proc/self/fd/{args[0]}").endswith(".log"):
                self.room -= size
            if self.room < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return call(*args)


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    ca.save(tmp_path / "a.packed", VALUES, layout="raw12")
    wide = np.zeros((VALUES.size, 5), "u1")
    wide[:, :2] = VALUES.reshape(-1, 1).view("u1")
    wide.tofile(tmp_path / "a.raw")
    return tmp_path


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="looks at the names of open files")
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("source", SOURCES)
def test_a_failed_save_goes_on(sources: Path, source: str, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resuming, "BATCH_BYTES", MIB // 8)
    with settings.config.set(memory="4MiB", workers=1):
        array = ca.open(sources / source, **SOURCES[source])
        with fsio.calls.watched(FullDisk(7 * MIB // 2)), pytest.raises(OSError, match="No space left"):
            ca.save(sources / target, array, resume=True, **TARGETS[target])
        assert not os.path.exists(sources / target)
        counted = FullDisk(1 << 40)
        with fsio.calls.watched(counted):
            found = ca.save(sources / target, array, resume=True, **TARGETS[target])
        assert (1 << 40) - counted.room < 0.9 * VALUES.size * (
            1.5 if found.format == "packed" else found.dtype.itemsize
        )
    with settings.config.set(memory="64MiB"):
        same(found.compute(), VALUES.astype(found.dtype))


def test_what_cannot_be_changed_in_place_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"packed arrays cannot be changed .*; save"):
        ca.create(tmp_path / "a.packed", (10,), "u2", layout="raw12")
    with pytest.raises(UnsupportedError, match=r"wav arrays cannot be changed"):
        ca.create(tmp_path / "a.wav", (10,), "i2")
    assert os.listdir(tmp_path) == []
