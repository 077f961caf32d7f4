"""Convert npy to HDF5 and to Zarr from Python; the command line does the same."""

import os
import tempfile

import numpy as np

import chunkarr as ca
from chunkarr import jobs

folder = tempfile.mkdtemp()
values = np.random.default_rng(3).normal(size=(50, 40)).astype(">f8")
source = os.path.join(folder, "a.npy")
np.save(source, values)

report = jobs.convert(source, os.path.join(folder, "a.h5"))
assert report.shape == (50, 40)
jobs.convert(os.path.join(folder, "a.h5"), os.path.join(folder, "a.zarr"), dtype=">f4", chunks=(25, 40))

copy = ca.open(os.path.join(folder, "a.zarr"))
assert copy.dtype == np.dtype(">f4")
assert np.array_equal(copy.compute(), values.astype(">f4"))
print(report)
