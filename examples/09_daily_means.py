"""Reduce hourly measurements of many stations to daily means and extremes, and draw the year.

Run it with a number of days to see it at another size.
"""

import os
import sys
import tempfile

import numpy as np

import chunkarr as ca
from chunkarr import picture

DAYS = int(sys.argv[1]) if len(sys.argv) > 1 else 365
STATIONS = 200


def make_measurements(path):
    """Write temperatures of each hour and station, shape (24 * DAYS, STATIONS): seasons, days, weather."""
    hour = ca.arange(24.0 * DAYS).reshape(-1, 1)
    station = ca.arange(float(STATIONS))
    season = -10 * ca.cos(hour * (2 * np.pi / (24 * 365)))
    daytime = -5 * ca.cos(hour * (2 * np.pi / 24))
    weather = 3 * ca.sin(hour / 77 + station / 9)
    return ca.save(path, (10 + season + daytime + weather).astype("f4"), chunks=(24 * 30, STATIONS))


folder = tempfile.mkdtemp()
hourly = make_measurements(os.path.join(folder, "hourly.zarr"))

daily = ca.block_reduce(hourly, (24, 1), func=np.mean)  # nothing was computed yet
warmest = ca.block_reduce(hourly, (24, 1), func=np.max)
assert daily.shape == warmest.shape == (DAYS, STATIONS)
means = ca.save(os.path.join(folder, "daily.zarr"), daily)
low, high = ca.compute(means.min(), warmest.max())
print(f"{DAYS} days of {STATIONS} stations: daily means from {float(low):.1f}, hours up to {float(high):.1f}")

some = slice(DAYS // 2, DAYS // 2 + 5)
copy = hourly[some.start * 24 : some.stop * 24].compute()
assert np.allclose(means[some], copy.reshape(-1, 24, STATIONS).mean(axis=1), rtol=1e-5)
assert np.array_equal(warmest[some], copy.reshape(-1, 24, STATIONS).max(axis=1))

path = os.path.join(folder, "year.png")
grey = picture.enlarge(picture.stretch(picture.shrink(means.compute().T, 800)), 2)
caption = f"day 1 to {DAYS} across, station 1 to {STATIONS} down"
scale = f"daily means: black {float(means.min()):.1f}, white {float(means.max()):.1f} degrees"
picture.write_png(path, picture.captioned(grey, caption, scale))
print(f"stations down, days across: {path}")
