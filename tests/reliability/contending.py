"""What processes do at the same time: two that count in overlapping regions, one that commits, one that reads."""

from __future__ import annotations

import os
import time

import numpy as np

from chunkarr.errors import GenerationChangedError
from chunkarr.grid import region_shape
from tests.reliability.cases import LAYOUTS, create, get, write
from tests.reliability.disk import Child

__all__ = ["commit_and_read", "count_in"]


def count_together(path: str, layout: str, rows: list[tuple[int, int]], times: int) -> None:
    """Add 1 to every element of each of ``rows``, ``times`` times, in a process each."""
    for child in [Child(count_up, path, layout, pair, times) for pair in rows]:
        child.result()


def count_in(layout: str, directory: str, times: int) -> None:
    """Make an array, let two processes count in it, and compare."""
    path = os.path.join(directory, "counted" + LAYOUTS[layout].suffix)
    expected = np.zeros((8, 200), "<i4")
    create(path, expected, LAYOUTS[layout])
    rows = [(0, 5), (2, 8)]
    count_together(path, layout, rows, times)
    for a, b in rows:
        expected[a:b] += times
    assert np.array_equal(get(LAYOUTS[layout].open(path)), expected), "updates are lost"


def commit_and_read(path: str, layout: str, seconds: float, done: str) -> tuple[int, int, int, int, list[str]]:
    """Read in one process while another one commits; return commits, and what `read_until` returns."""
    reader, writer = Child(read_until, path, layout, done), Child(commit_for, path, layout, seconds, done)
    return (writer.result(), *reader.result())


def count_up(path: str, layout: str, rows: tuple[int, int], times: int) -> None:
    """Add 1 to every element of some rows, ``times`` times, waiting for the other writer."""
    stored = LAYOUTS[layout].open(path, "r+", timeout=60.0, durability="process")
    for _ in range(times):
        with stored.update() as change:
            region = (rows, (0, change.shape[1]))
            write(change, region, get(change.before, region) + 1)
            change.commit()


def commit_for(path: str, layout: str, seconds: float, done: str) -> int:
    """Fill the array with 1, 2, 3 ... in one commit each; make the file ``done`` at the end; return the last."""
    stored = LAYOUTS[layout].open(path, "r+", durability="process")
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end:
        number += 1
        with stored.update() as change:
            region = tuple((0, n) for n in change.shape)
            write(change, region, np.full(region_shape(region), number, change.dtype))
            change.commit()
    with open(done, "w"):
        return number


def read_until(path: str, layout: str, done: str) -> tuple[int, int, int, list[str]]:
    """Read the whole array again and again; return reads, generations seen, retries, and what was wrong."""
    stored = LAYOUTS[layout].open(path)
    reads = retries = 0
    seen = [0]
    wrong = []
    while not os.path.exists(done):
        try:
            stored = stored.fresh() if reads % 2 else LAYOUTS[layout].open(path)
            values = get(stored)
        except GenerationChangedError:
            retries += 1
            continue
        reads += 1
        low, high = int(values.min()), int(values.max())
        if low != high or low < seen[-1]:
            wrong.append(f"read {reads}: {low} to {high} after {seen[-1]}")
        if low != seen[-1]:
            seen.append(low)
    return reads, len(seen), retries, wrong
