"""Turn a camera's packed RAW12 frames, a file each, into one Zarr array, and draw the mean frame.

Run it with a number of frames to see it at another size.
"""

import os
import sys
import tempfile

import numpy as np

import chunkarr as ca
from chunkarr import jobs, picture

COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 12
HEIGHT, WIDTH = 96, 128


def make_frame(number):
    """Return a frame of 12-bit values: a bright spot that moves, and noise."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    spot = 3000 * np.exp(-((y - 48) ** 2 + (x - 10 - 100 * number / COUNT) ** 2) / 200)
    return np.clip(np.random.default_rng(number).normal(200, 20, (HEIGHT, WIDTH)) + spot, 0, 4095).astype(np.uint16)


def pack_raw12(frame):
    """Return the bytes of MIPI RAW12: the high bytes of two pixels, then their low halves."""
    first, second = frame.reshape(-1, 2).T
    return np.stack([first >> 4, second >> 4, (second & 15) << 4 | (first & 15)], axis=1).astype(np.uint8)


folder = tempfile.mkdtemp()
for number in range(COUNT):
    pack_raw12(make_frame(number)).tofile(f"{folder}/frame{number + 1}.raw")  # frame10 comes after frame9

report = jobs.convert(
    folder + "/frame*.raw", folder + "/frames.zarr", stack=0, options={"layout": "raw12", "shape": (HEIGHT, WIDTH)}
)
print(report)

frames = ca.open(folder + "/frames.zarr")
assert frames.shape == (COUNT, HEIGHT, WIDTH)
assert frames.dtype == np.uint16
for number in (0, COUNT // 2, COUNT - 1):
    assert np.array_equal(frames[number], make_frame(number))

mean = frames.mean(axis=0).compute()
assert np.allclose(mean, np.mean([make_frame(number) for number in range(COUNT)], axis=0), rtol=1e-12)
grey = picture.enlarge(picture.stretch(mean), 4)
caption = f"mean of {COUNT} frames: black {mean.min():.0f}, white {mean.max():.0f}"
picture.write_png(os.path.join(folder, "mean.png"), picture.captioned(grey, caption))
print(f"the mean frame: {folder}/mean.png")
