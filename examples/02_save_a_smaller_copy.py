"""Subtract a dark frame, halve both sides, and save the result as Zarr in one pass."""

import os
import tempfile

import numpy as np

import chunkarr as ca

folder = tempfile.mkdtemp()
values = np.random.default_rng(2).integers(90, 4000, (30, 65, 96)).astype("u2")
np.save(os.path.join(folder, "stack.npy"), values)

stack = ca.open(os.path.join(folder, "stack.npy"))
dark = stack[:10].mean(axis=0)
small = ca.block_reduce(stack - dark, (1, 2, 2), func=np.mean)  # an odd side is padded, as scikit-image does
assert small.shape == (30, 33, 48)

target = os.path.join(folder, "small.zarr")
ca.save(target, small, chunks=(10, 33, 48))
saved = ca.open(target)
assert saved.shape == small.shape

corrected = values - values[:10].mean(axis=0)
expected = corrected[:, :64].reshape(30, 32, 2, 48, 2).mean(axis=(2, 4))
assert np.allclose(saved[:, :32].compute(), expected)
print(f"{values.nbytes:,} bytes became {saved.shape} {saved.dtype}")
