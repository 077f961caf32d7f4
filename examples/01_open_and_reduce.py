"""Open a file of raw camera frames, look at it, and reduce it without loading it."""

import os
import tempfile

import numpy as np

import chunkarr as ca

folder = tempfile.mkdtemp()
path = os.path.join(folder, "frames.raw")
values = np.random.default_rng(1).poisson(500, (40, 64, 96)).astype(">u2")
with open(path, "wb") as file:
    file.write(bytes(512))  # a header that is not ours to understand
    file.write(values.tobytes())

frames = ca.open(path, dtype=">u2", shape=(-1, 64, 96), offset=512)
assert frames.shape == (40, 64, 96)
assert frames.dtype == np.dtype(">u2")

mean = frames.mean(axis=0)  # an expression; nothing was read yet
assert mean.shape == (64, 96)
assert np.allclose(mean.compute(), values.mean(axis=0), rtol=1e-12)

low, high, overall = ca.compute(frames.min(), frames.max(), frames.mean())  # one pass for all three
assert (int(low), int(high)) == (values.min(), values.max())
assert np.isclose(float(overall), values.mean(), rtol=1e-12)
print(f"{frames.shape[0]} frames, values {int(low)} to {int(high)}, mean {float(overall):.2f}")
