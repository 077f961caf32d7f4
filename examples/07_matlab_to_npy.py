"""Take a variable out of a MATLAB file of version 7.3, within little memory, and check it against h5py.

Run it with a number of megabytes to see it at another size.
"""

import os
import sys
import tempfile

import h5py
import numpy as np

import chunkarr as ca
from chunkarr import jobs
from chunkarr.formats.table import list_members

MEGABYTES = int(sys.argv[1]) if len(sys.argv) > 1 else 4

folder = tempfile.mkdtemp()
source, target = os.path.join(folder, "run.mat"), os.path.join(folder, "stack.npy")
pages = max(2, MEGABYTES * 2**20 // (100 * 120 * 8))
y, x, t = ca.arange(100.0).reshape(-1, 1, 1), ca.arange(120.0).reshape(-1, 1), ca.arange(float(pages))
ca.save(source + "::stack", ca.sin(y / 9 + t) * ca.cos(x / 7), version="7.3")

for member in list_members(source):
    print(f"{member.name}: {member.shape} {member.dtype}")

with ca.config.set(memory="32MiB"):
    report = jobs.convert(source + "::stack", target, options={"isolate": True})  # parsed by a process of its own
print(report)

stack = np.load(target, mmap_mode="r")
assert stack.shape == (100, 120, pages)
assert report.memory <= 32 * 2**20
with h5py.File(source) as file:  # MATLAB stores the axes reversed
    assert np.array_equal(stack[..., 1], file["stack"][1].T)
y, x, t = np.ogrid[:3.0, :4.0, :2.0]
assert np.allclose(stack[:3, :4, :2], np.sin(y / 9 + t) * np.cos(x / 7))
