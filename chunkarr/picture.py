"""Pictures of arrays without an image library: grey values, stretched, tiled, written as PNG.

A PNG file is a signature and chunks of length, type, data and CRC-32; the pixels are one zlib stream
of rows, each after a byte that names its filter, 0 for none (W3C PNG specification, sections 5 and 9).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from chunkarr import fsio

__all__ = ["beside", "histogram", "shrink", "stretch", "write_png"]

Pixels = np.ndarray[Any, np.dtype[np.uint8]]

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def write_png(path: str, pixels: Pixels) -> None:
    """Write grey pixels as a PNG file, which appears when it is whole.

    Parameters
    ----------
    path : str
        Where; a file that is there is replaced.
    pixels : ndarray of uint8, shape (H, W)
        0 is black, 255 white; both sides at least 1.

    Raises
    ------
    ValueError
        If the pixels are of another dtype or shape.

    Examples
    --------
    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_png(os.path.join(folder, "grey.png"), np.full((2, 3), 128, np.uint8))
    ...     os.listdir(folder)
    ['grey.png']
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.size == 0:
        raise ValueError(f"pixels must be uint8 of shape (H, W), are {pixels.dtype} of shape {pixels.shape}")
    height, width = pixels.shape
    rows = np.zeros((height, width + 1), np.uint8)
    rows[:, 1:] = pixels
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)  # 8 bits, grey, deflate, not interlaced
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 6)), (b"IEND", b"")]
    unfinished = fsio.hidden_sibling(path)
    chunks = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    ]
    try:
        fsio.write_new(unfinished, SIGNATURE, *chunks)
        fsio.publish(unfinished, path, overwrite=True, durability="process")
    finally:
        fsio.discard(unfinished)


def stretch(values: np.ndarray[Any, Any], low: float = 0.5, high: float = 99.5) -> Pixels:
    """Return ``values`` as grey pixels, black at the percentile ``low``, white at ``high``.

    Examples
    --------
    >>> stretch(np.array([[0.0, 1.0, 2.0]]), 0, 100)
    array([[  0, 128, 255]], dtype=uint8)
    """
    black, white = np.percentile(values, [low, high])
    scaled = (values - black) * (255.0 / (white - black) if white > black else 0.0)
    pixels: Pixels = np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)
    return pixels


def shrink(values: np.ndarray[Any, Any], side: int) -> np.ndarray[Any, Any]:
    """Return the means of equal blocks of an image, so that neither side exceeds ``side`` pixels.

    Rows and columns that do not fill a block at the far ends are left out.

    Examples
    --------
    >>> shrink(np.arange(8.0).reshape(2, 4), 2)
    array([[2.5, 4.5]])
    """
    step = max(1, -(-max(values.shape) // side))
    height, width = (max(1, n // step) for n in values.shape)
    high, wide = (min(step, n) for n in values.shape)
    blocks = values[: height * high, : width * wide].reshape(height, high, width, wide)
    means: np.ndarray[Any, Any] = blocks.mean(axis=(1, 3))
    return means


def histogram(values: np.ndarray[Any, Any], width: int, height: int) -> Pixels:
    """Return a picture of how often values occur, as white bars of one pixel on black.

    Counts are drawn as their square roots, so that rare values show.

    Examples
    --------
    >>> histogram(np.array([1, 1, 1, 1, 2]), 2, 2)
    array([[255,   0],
           [255, 255]], dtype=uint8)
    """
    counts, _ = np.histogram(values, bins=width)
    tops = np.sqrt(counts / max(counts.max(), 1)) * height
    return np.where(height - np.arange(height)[:, None] <= np.rint(tops), 255, 0).astype(np.uint8)


def beside(pictures: Sequence[Pixels], gap: int = 8) -> Pixels:
    """Return pictures of one height side by side, ``gap`` white pixels between them.

    Examples
    --------
    >>> beside([np.zeros((1, 2), np.uint8), np.zeros((1, 1), np.uint8)], gap=1)
    array([[  0,   0, 255,   0]], dtype=uint8)
    """
    white = np.full((pictures[0].shape[0], gap), 255, np.uint8)
    return np.hstack([part for picture in pictures for part in (white, picture)][1:])
