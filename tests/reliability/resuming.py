"""Campaigns: kill a conversion at each call that changes a disk, go on, and compare with an undisturbed one."""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import dask.threaded  # noqa: F401 - here, not in every child
import numcodecs.blosc  # noqa: F401 - the same
import numpy as np

import chunkarr as ca
from chunkarr import jobs, settings
from chunkarr.engine import resuming
from chunkarr.formats.contract import Stored
from chunkarr.formats.flat_stored import FlatStored
from chunkarr.formats.zarr import ZarrArray
from chunkarr.formats.zarr_manifest import load_root
from chunkarr.grid import Region, region_size
from tests.reliability.disk import KILLED, Counter, Killer, in_child

__all__ = ["LAYOUTS", "Tally", "contents", "kills", "litter"]

SHAPE = (1000, 800)  # 6.1 MiB of float64
BATCH = 1 << 20  # bytes of a batch in these jobs


@dataclass(frozen=True)
class Layout:
    """What is converted to."""

    suffix: str
    options: dict[str, Any]  # of `jobs.convert`
    memory: int = 2 << 20  # bytes: what a task holds is neither written nor logged
    rows: int = 0  # of the chunks of a Zarr source; 0: the source is npy


LAYOUTS = {
    "npy": Layout(".npy", {}),
    "npy-fortran": Layout(".npy", {"order": "F"}),
    "raw": Layout(".raw", {"dtype": ">f4"}),
    "zarr": Layout(".zarr", {"chunks": (70, 300)}),
    "rechunk": Layout(".zarr", {"chunks": (1000, 16)}, rows=5),  # through scratch
    "zarr-shards": Layout(".zarr", {"chunks": (20, 100), "shards": (80, 300)}, 4 << 20),
}


@dataclass
class Tally:
    """What a campaign reached."""

    points: int = 0
    resumed: int = 0  # points after which something was there to go on with
    bad: list[str] = field(default_factory=list)  # what should not be


def contents(path: str) -> dict[str, Any]:
    """Return the bytes of a file, or of each file of a directory; of a manifest all but its random identity."""
    if os.path.isfile(path):
        with open(path, "rb") as file:
            return {"": file.read()}
    found: dict[str, Any] = {}
    for place, _, names in os.walk(path):
        for name in names:
            file_path = os.path.join(place, name)
            key = os.path.relpath(file_path, path)
            if key == os.path.join(".chunkarr", "manifest"):
                root = load_root(file_path)
                assert root is not None
                found[key] = replace(root, identity=bytes(16))
            else:
                with open(file_path, "rb") as file:
                    found[key] = file.read()
    return found


def litter(directory: str) -> list[str]:
    """Return the hidden names in ``directory``, none if there is no such directory."""
    return [name for name in os.listdir(directory) if name.startswith(".")] if os.path.isdir(directory) else []


def kills(layout: str, durability: str, most: int, directory: str) -> Tally:
    """Kill a conversion at up to ``most`` of its calls, evenly spread, every other one torn; go on each time."""
    how = LAYOUTS[layout]
    place = tempfile.mkdtemp(dir=directory)
    source = os.path.join(place, "source.zarr" if how.rows else "source.npy")
    in_child(_make, source, how)
    wanted = os.path.join(place, "wanted" + how.suffix)
    tally = Tally()
    with settings.config.set(durability=durability, memory=how.memory, workers=1, scratch=os.path.join(place, "s")):
        counter = Counter()
        in_child(_convert, source, wanted, how, False)
        total = in_child(_count, counter, source, os.path.join(place, "counted" + how.suffix), how)
        expected = contents(wanted)
        for at in sorted({round(k) for k in np.linspace(0, total - 1, min(most, total))}):
            folder = os.path.join(place, str(at))
            os.mkdir(folder)
            _kill_once(at, source, os.path.join(folder, "out" + how.suffix), how, expected, tally)
            shutil.rmtree(folder)
    shutil.rmtree(place)
    return tally


def _make(source: str, how: Layout) -> None:
    values = np.random.default_rng(0).normal(size=SHAPE)
    with settings.config.set(memory="64MiB", durability="process"):
        ca.save(source, values, **({"chunks": (how.rows, SHAPE[1])} if how.rows else {}))


def _kill_once(at: int, source: str, target: str, how: Layout, expected: dict[str, Any], tally: Tally) -> None:
    with mmap.mmap(-1, 8) as shared:  # survives the child
        killed = in_child(_convert, source, target, how, False, shared, watcher=Killer(at, torn=bool(at % 2)))
        if killed != KILLED:
            tally.bad.append(f"{at}: was not killed")
        resumed = in_child(_convert, source, target, how, True, shared)
        (read,) = struct.unpack("q", shared[:])
    tally.points += 1
    tally.resumed += resumed > 0
    nbytes = SHAPE[0] * SHAPE[1] * 8
    if read > nbytes + BATCH + how.memory:
        tally.bad.append(f"{at}: read {read} B of {nbytes} B in both runs together")
    if contents(target) != expected:
        tally.bad.append(f"{at}: the result is another one")
    if left := litter(os.path.dirname(target)) + litter(settings.scratch_directory()):
        tally.bad.append(f"{at}: left {left}")


def _count(counter: Counter, source: str, target: str, how: Layout) -> int:
    from chunkarr.fsio import calls

    with calls.watched(counter):
        _convert(source, target, how, False)
    return len(counter.names)


def _convert(source: str, target: str, how: Layout, resume: bool, shared: Any = None) -> int:
    """Convert in small batches; add what is read to ``shared``; return what an earlier run had written."""
    resuming.BATCH_BYTES = BATCH
    if shared is not None:
        for kind in (FlatStored, ZarrArray):
            kind.read = _counting(kind.read, shared)  # type: ignore[method-assign]
    # An array that was completed and is there already is replaced: --overwrite is what a script would give.
    return jobs.convert(source, target, resume=resume, overwrite=resume, **how.options).resumed


def _counting(read: Callable[..., None], shared: mmap.mmap) -> Callable[..., None]:
    """Return ``read`` of a stored array, adding the bytes of each region to ``shared``."""

    def counted(self: Stored, region: Region, out: Any, scratch: Any) -> None:
        (before,) = struct.unpack("q", shared[:])
        shared[:] = struct.pack("q", before + region_size(region) * self.dtype.itemsize)
        read(self, region, out, scratch)

    return counted
