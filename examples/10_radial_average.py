"""Average rings of a stack of images over the angle, in polar coordinates around their centre.

Run it with a number of images to see it at another size.
"""

import os
import sys
import tempfile

import numpy as np

import chunkarr as ca
from chunkarr import picture

COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 30
SIDE, RADII, ANGLES = 128, 60, 180


def make_images(path):
    """Write rings that grow from image to image, shape (COUNT, SIDE, SIDE)."""
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    radius, time = ca.asarray(np.hypot(y, x)), ca.arange(float(COUNT)).reshape(-1, 1, 1)
    rings = 100 + 80 * ca.cos(radius / 4 - time / 5) * ca.exp(-radius / 40)
    return ca.save(path, rings.astype("f4"), chunks=(1, SIDE, SIDE))


folder = tempfile.mkdtemp()
images = make_images(os.path.join(folder, "rings.zarr"))

# where each place of the polar grid lies in the images: the nearest pixel
angle, radius = np.meshgrid(np.linspace(0, 2 * np.pi, ANGLES, endpoint=False), np.arange(RADII))
row = np.rint(SIDE / 2 + radius * np.sin(angle)).astype(int)
column = np.rint(SIDE / 2 + radius * np.cos(angle)).astype(int)

polar = images[:, row, column]  # shape (COUNT, RADII, ANGLES); nothing was read yet
assert polar.shape == (COUNT, RADII, ANGLES)
profiles = ca.save(os.path.join(folder, "profiles.npy"), polar.mean(axis=2))
assert profiles.shape == (COUNT, RADII)

number = COUNT // 2
image = images[number].compute()
assert np.allclose(profiles[number], image[row, column].mean(axis=1), rtol=1e-5)
expected = 100 + 80 * np.cos(np.arange(RADII) / 4 - number / 5) * np.exp(-np.arange(RADII) / 40)
assert np.abs(profiles[number].compute() - expected).max() < 5  # what the nearest pixels are off

path = os.path.join(folder, "rings.png")
wide = np.repeat(np.repeat(profiles.compute(), 2, axis=1), max(1, SIDE // COUNT), axis=0)[:SIDE]
tall = np.pad(wide, ((0, SIDE - len(wide)), (0, 0)), mode="edge")
both = picture.enlarge(picture.beside([picture.stretch(image), picture.stretch(tall)]), 3)
caption = f"left: image {number}, right: mean over the angle,"
scale = f"radius 0 to {RADII - 1} across, image 0 to {COUNT - 1} down"
picture.write_png(path, picture.captioned(both, caption, scale))
print(f"{COUNT} profiles of {RADII} radii; an image beside the profiles of all, one a line: {path}")
