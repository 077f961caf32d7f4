"""The main job on made-up data: camera frames larger than the memory that may be used.

The frames are what a camera sees of a drifting sky: a dark pattern, light that falls off towards the
corners, shot noise, stars that move. They are written as raw records, one frame at a time, converted to
Zarr, and reduced; each result is compared with NumPy's on a part that NumPy can hold.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import numpy as np

from chunkarr import io, jobs, picture
from chunkarr.errors import ChunkarrError
from chunkarr.functions.sampling import block_reduce
from chunkarr.settings import budget, config, format_bytes

__all__ = ["MemoryWatch", "make_frames", "run"]

HEADER = 512  # bytes before the first frame, as many cameras write
DTYPE = np.dtype("<u2")
STARS = 60
STRIP = 8  # rows of every frame that NumPy computes again
INTERVAL = 0.005  # seconds between samples of memory


class MemoryWatch(threading.Thread):
    """Samples the anonymous and shared memory of this process while it runs.

    Examples
    --------
    >>> with MemoryWatch() as watch:
    ...     block = np.ones(2**22)
    >>> watch.peak >= 0
    True
    """

    def __init__(self) -> None:
        super().__init__(name="chunkarr-memory-watch", daemon=True)
        self.peak = 0  # most bytes above what there was on entry
        self._start_bytes = 0
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        self._start_bytes = anonymous_bytes()
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        """Sample until the end."""
        while True:
            self.peak = max(self.peak, anonymous_bytes() - self._start_bytes)
            if self._ended.wait(INTERVAL):
                return


def anonymous_bytes() -> int:
    """Return RssAnon + RssShmem of this process in bytes; 0 where the system does not tell."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            return sum(int(line.split()[1]) for line in status if line.startswith(("RssAnon", "RssShmem"))) * 1024
    except OSError:
        return 0


@dataclass
class _Steps:
    """What was done, how fast, with how much memory."""

    say: Callable[[str], object]
    peak: int = 0  # bytes, over the steps that chunkarr did
    rows: list[tuple[str, float]] = field(default_factory=list)

    @contextmanager
    def step(self, label: str, nbytes: int, *, ours: bool = True) -> Iterator[None]:
        """Time a step that moves ``nbytes`` bytes of frames, and print its row."""
        began = time.perf_counter()
        with MemoryWatch() as watch:
            yield
        seconds = time.perf_counter() - began
        self.rows.append((label, seconds))
        if ours:
            self.peak = max(self.peak, watch.peak)
        memory = format_bytes(watch.peak) if sys.platform == "linux" else "?"
        self.say(f"{label:<52}{seconds:8.2f}{nbytes / seconds / 1e9:8.2f}{memory:>12}")


def make_frames(path: str, count: int, side: int, seed: int = 2026) -> None:
    """Write ``count`` frames of ``side`` × ``side`` pixels after a header of 512 bytes, one at a time.

    Parameters
    ----------
    path : str
        File of raw records, little-endian uint16, to write.
    count, side : int
        Frames, and pixels along both sides of each.
    seed : int
        The same seed makes the same frames.

    Examples
    --------
    >>> path = os.path.join(tempfile.mkdtemp(), "frames.raw")
    >>> make_frames(path, 3, 16)
    >>> os.path.getsize(path) == 512 + 3 * 16 * 16 * 2
    True
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j].astype(np.float32)
    light = 900 * (1 - 0.35 * (x * x + y * y)) ** 2  # electrons of sky, fewer towards the corners
    dark = 100 + 12 * rng.standard_normal((1, side), np.float32) + 3 * rng.standard_normal((side, side), np.float32)
    level = (dark + light).astype(np.float32)
    noise_scale = np.sqrt(np.maximum(light, 0) + 25).astype(np.float32)
    noise = rng.standard_normal(side * side * 3 // 2, np.float32)  # frames take it from random places on
    stars = np.column_stack([rng.uniform(0, side, (STARS, 2)), rng.exponential(6000, STARS)])
    reach = np.arange(-6, 7)
    frame = np.empty((side, side), np.float32)
    with open(path, "wb") as file:
        file.write(b"chunkarr demo frames, <u2".ljust(HEADER))
        for number in range(count):
            start = int(rng.integers(0, noise.size - frame.size + 1))
            np.multiply(noise_scale, noise[start : start + frame.size].reshape(frame.shape), out=frame)
            frame += level
            place = stars[:, :2, None] + np.array([[0.11], [0.07]]) * number  # (stars, 2, 1)
            near = place.astype(int) + reach  # (stars, 2, reach): rows and columns around each star
            fall_off = np.exp(-((near - place) ** 2) / 6)
            spots = stars[:, 2, None, None] * fall_off[:, 0, :, None] * fall_off[:, 1, None, :]
            near %= side
            np.add.at(frame, (near[:, 0, :, None], near[:, 1, None, :]), spots.astype(np.float32))
            np.clip(frame, 0, 65535, out=frame)
            file.write(frame.astype(DTYPE))


def _arrange(size: int) -> tuple[int, int]:
    """Return how many frames, of which side, make up about ``size`` bytes: at least 16 of them."""
    side = 1024
    while side > 32 and size < 16 * side * side * DTYPE.itemsize:
        side //= 2
    return max(4, size // (side * side * DTYPE.itemsize)), side


def run(size: int, picture_path: str, say: Callable[[str], object]) -> None:
    """Make frames, convert and reduce them within the budget, check, draw; ``say`` prints lines.

    Parameters
    ----------
    size : int
        Bytes of frames to make.
    picture_path : str
        PNG file to write.
    say : callable
        Takes each line of the report.

    Raises
    ------
    ChunkarrError
        If a result is not what NumPy gives.
    OSError
        If the temporary folder has no room for about three times ``size``.
    """
    count, side = _arrange(size)
    nbytes = count * side * side * DTYPE.itemsize
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free < 3 * nbytes:
        wanted = f"needs {format_bytes(3 * nbytes)}, {format_bytes(free)} are free; set TMPDIR or a smaller --size"
        raise OSError(f"{tempfile.gettempdir()}: {wanted}")
    say(
        f"{count} frames of {side} × {side} uint16, {format_bytes(nbytes)}, within {format_bytes(budget())} of memory\n"
    )
    with (
        tempfile.TemporaryDirectory(prefix="chunkarr-demo-") as folder,
        config.set(scratch=os.path.join(folder, "scratch")),
    ):
        tiny = os.path.join(folder, "tiny")
        os.mkdir(tiny)
        _work(tiny, 4, 32, _Steps(lambda _: None))  # imports everything, so that what follows is the work's own
        say(f"{'step':<52}{'seconds':>8}{'GB/s':>8}{'memory':>12}")
        steps = _Steps(say)
        mean, std, checks = _work(folder, count, side, steps)
        _draw(picture_path, mean, std)
    say("")
    for check in checks:
        say(f"checked: {check}")
    if sys.platform == "linux":
        say(f"peak of anonymous memory: {format_bytes(steps.peak)} of {format_bytes(budget())} allowed")
    say(f"picture: {picture_path} (mean, standard deviation, histogram of the means)")


def _work(
    folder: str, count: int, side: int, steps: _Steps
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], list[str]]:
    """Do the steps in ``folder``; return the mean, the standard deviation, and what was checked."""
    raw, stack, small = (os.path.join(folder, name) for name in ("frames.raw", "frames.zarr", "small.zarr"))
    nbytes = count * side * side * DTYPE.itemsize
    layout: dict[str, Any] = {"dtype": DTYPE, "shape": (-1, side, side), "offset": HEADER}
    durable = "process"  # these files need not survive a power failure
    with steps.step("make the frames with NumPy, a raw file", nbytes, ours=False):
        make_frames(raw, count, side)
    with steps.step("convert the raw file to Zarr", nbytes):
        jobs.convert(raw, stack, options=layout, durability=durable)
    frames = io.open(stack)
    with steps.step("mean and std per pixel; min, max, mean, std of all", nbytes):
        mean, std, *of_all = io.compute(
            frames.mean(axis=0), frames.std(axis=0), frames.min(), frames.max(), frames.mean(), frames.std()
        )
    with steps.step("means of 2 × 2 blocks, float32, saved as Zarr", nbytes):
        io.save(small, block_reduce(frames, (1, 2, 2), func=np.mean).astype(np.float32), durability=durable)
    with steps.step("compare every value of the raw file and the Zarr", 2 * nbytes):
        original = io.open(raw, **layout)
        differ = int((original != frames).sum())
    checks = list(_check(raw, small, mean, std, [float(value) for value in of_all], differ))
    return mean, std, checks


def _check(
    raw: str, small: str, mean: np.ndarray[Any, Any], std: np.ndarray[Any, Any], of_all: list[float], differ: int
) -> Iterator[str]:
    """Compare the results with NumPy's on a strip of every frame, and with each other."""
    side = mean.shape[0]
    frames = np.memmap(raw, DTYPE, "r", HEADER).reshape(-1, side, side)
    rows = slice(side // 2, side // 2 + STRIP)
    strip = frames[:, rows]
    _expect(differ == 0, f"{differ} values of the Zarr array are not those of the raw file")
    yield f"all {frames.size:,} values of the Zarr array are those of the raw file"
    _expect(np.allclose(mean[rows], strip.mean(axis=0), rtol=1e-12, atol=0), "the means are not NumPy's")
    _expect(np.allclose(std[rows], strip.std(axis=0), rtol=1e-10, atol=1e-10), "the deviations are not NumPy's")
    yield f"mean and standard deviation are NumPy's on rows {rows.start} to {rows.stop - 1} of every frame"
    reduced = io.open(small)
    for number in (0, len(frames) - 1):
        blocks = frames[number].reshape(side // 2, 2, side // 2, 2).mean(axis=(1, 3)).astype(np.float32)
        _expect(np.array_equal(reduced[number].compute(), blocks), f"the blocks of frame {number} are not NumPy's")
    yield "2 × 2 means are NumPy's, to the bit, in the first and the last frame"
    low, high, overall, spread = of_all
    _expect(low <= strip.min() and high >= strip.max(), "the extremes do not enclose the values")
    _expect(np.isclose(overall, mean.mean(), rtol=1e-12), "the mean of the means is not the mean of all")
    together = np.sqrt((std**2).mean() + mean.var())
    _expect(np.isclose(spread, together, rtol=1e-9), "the variances within and between pixels do not add up")
    yield f"min {low:.0f}, max {high:.0f}, mean {overall:.3f}, std {spread:.3f} agree with the sums over pixels"


def _expect(holds: Any, otherwise: str) -> None:
    """Raise ChunkarrError unless a check holds."""
    if not holds:
        raise ChunkarrError(f"the demo failed: {otherwise}")


def _draw(path: str, mean: np.ndarray[Any, Any], std: np.ndarray[Any, Any]) -> None:
    """Write the two images and the histogram of the means as one picture."""
    images = [picture.stretch(picture.shrink(values, 512), 0.5, 98) for values in (mean, std)]
    height = images[0].shape[0]
    middle = mean[mean <= np.percentile(mean, 98)]  # without the stars
    drawn = picture.beside([*images, picture.histogram(middle, max(height // 2, 8), height)])
    picture.write_png(path, picture.captioned(drawn, "mean, standard deviation, how often means occur"))
