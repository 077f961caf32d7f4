"""A stored array in memory that can be changed: a double of the formats that keep arrays on disk."""

from __future__ import annotations

import contextlib
import threading
import warnings
from itertools import count

import numpy as np
import pytest

from chunkarr.array import wrap
from chunkarr.engine import updating
from chunkarr.errors import ArrayLockedError
from chunkarr.formats.contract import Stored, Update
from chunkarr.grid import Grid, region_key, region_shape, region_size
from chunkarr.ops.sources import load
from tests.oracle import _public, same

__all__ = ["QUIET", "Disk", "Held", "agree", "changeable", "planned", "setter"]

QUIET = pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::numpy.exceptions.ComplexWarning")


NUMBER = count()  # decoded chunks are kept by path and generation


class Disk:
    """What several handles see: the values, how often they changed, and who holds the lock."""

    def __init__(self, values, chunks=None):
        self.values, self.path = np.array(values), f"/held/{next(NUMBER)}"
        self.chunks = (1,) * self.values.ndim if chunks is None else chunks
        self.generation, self.locked = 0, None
        self.read, self.written, self.commits = [], [], 0


class Held(Stored):
    """One generation of a `Disk`."""

    format, writable = "held", True

    def __init__(self, disk):
        self.disk, self.values, self.at, self.path = disk, disk.values, disk.generation, disk.path
        self.shape, self.dtype = self.values.shape, self.values.dtype
        self.grid = Grid(self.shape, disk.chunks)
        self.contiguous = set(disk.chunks) <= {1}

    def read(self, region, out, scratch):
        self.disk.read.append(region)
        assert out.dtype == self.dtype
        out[...] = self.values[region_key(region)]

    def scratch_bytes(self, region):
        return 0

    def bytes_read(self, region):
        return region_size(self.grid.round_out(region)) * self.dtype.itemsize

    def generation(self):
        return self.disk.generation

    def fresh(self):
        return self if self.at == self.disk.generation else Held(self.disk)

    def update(self, shape=None):
        return Change(self.disk, self.fresh(), self.shape if shape is None else shape)


class Change(Update):
    """An update of a `Disk`."""

    distributable = False

    def __init__(self, disk, before, shape):
        if disk.locked is not None:
            raise ArrayLockedError("held: is being changed")
        disk.locked = self
        self.disk, self.before, self.shape, self.dtype = disk, before, tuple(shape), before.dtype
        self.grid = Grid(self.shape, disk.chunks)
        self.values = np.zeros(self.shape, self.dtype)
        both = tuple(slice(0, min(a, b)) for a, b in zip(shape, before.shape, strict=True))
        self.values[both] = before.values[both]
        self.boxes, self._lock = [], threading.Lock()

    def write(self, region, block, scratch):
        assert self.disk.locked is self
        assert block.dtype == self.dtype
        assert block.shape == region_shape(region)
        assert self.grid.round_out(region) == region
        with self._lock:
            self.values[region_key(region)] = block
            self.boxes.append(region)

    def scratch_bytes(self, region):
        return 0

    def staged(self):
        seen = Held(self.disk)
        seen.values, seen.shape = self.values, self.shape
        seen.grid = self.grid
        return seen

    def commit(self):
        assert self.disk.locked is self
        self.disk.values, self.disk.locked = self.values, None
        self.disk.generation += 1
        self.disk.commits += 1
        self.disk.written.append(self.boxes)

    def abort(self):
        if self.disk.locked is self:
            self.disk.locked = None


def changeable(values, chunks=None):
    """Return an Array of a new `Disk`, and that disk; without chunks any region can be written."""
    disk = Disk(values, chunks)
    return wrap(load(Held(disk))), disk


@contextlib.contextmanager
def planned(yes=True):
    """Let every change take the way of large ones: a plan, blocks, tasks."""
    before = updating.FEW
    updating.FEW = -1 if yes else before
    try:
        yield
    finally:
        updating.FEW = before


def agree(x, chunks, ours, numpys, *, large=False, also=()):
    """Assert that a stored array is after ``ours(a)`` what ``x`` is after ``numpys(x)``, or that both refuse."""
    a, disk = changeable(x, chunks)
    expected = x.copy()
    refusal = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            numpys(expected)
        except Exception as error:  # noqa: BLE001 - whatever NumPy raises is the answer
            refusal = error
    with planned(large):
        if refusal is None:
            ours(a)
            same(disk.values, expected)
            assert disk.commits <= 1
        else:
            with pytest.raises((_public(refusal), *also)):
                ours(a)
            assert disk.commits == 0
            same(disk.values, x)
    assert disk.locked is None


def setter(key, value):
    def change(a):
        a[key] = value

    return change
