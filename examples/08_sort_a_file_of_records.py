"""Sort a file of records by two of their fields, in a fraction of the memory that they take.

Run it with a number of records to see it at another size.
"""

import os
import sys
import tempfile

import numpy as np

import chunkarr as ca
from chunkarr import jobs

COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
EVENT = np.dtype([("run", "<i4"), ("time", "<f8"), ("energy", "<f4"), ("detector", "S4")])


def make_events(path):
    """Write events in the order in which they arrived."""
    random = np.random.default_rng(8)
    events = np.lib.format.open_memmap(path, "w+", EVENT, (COUNT,))
    events["run"] = random.integers(0, 50, COUNT)
    events["time"] = random.random(COUNT)
    events["energy"] = random.exponential(5, COUNT)
    events["detector"] = random.choice([b"north", b"east", b"west"], COUNT)


folder = tempfile.mkdtemp()
source, target = os.path.join(folder, "events.npy"), os.path.join(folder, "sorted.npy")
make_events(source)

with ca.config.set(memory="16MiB"):
    report = jobs.sort(source, target, order=["run", "time"])
print(report)
assert report.memory <= 16 * 2**20

before, after = np.load(source, mmap_mode="r"), np.load(target, mmap_mode="r")
assert np.array_equal(after, np.sort(before, order=["run", "time"]))

events = ca.open(target)
first = events["energy"][events["run"] == 0]  # a count tells its shape
assert np.isclose(first.mean(), before["energy"][before["run"] == 0].mean(), rtol=1e-5)
print(f"{first.size} events of run 0, mean energy {float(first.mean()):.3f}")
