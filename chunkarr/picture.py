"""Pictures of arrays without an image library: grey values, stretched, tiled, captioned, written as PNG.

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

__all__ = ["beside", "captioned", "enlarge", "histogram", "shrink", "stretch", "write_png"]

Pixels = np.ndarray[Any, np.dtype[np.uint8]]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Five rows of three pixels for each character, an octal digit a row.
GLYPHS = {
    " ": "00000", ",": "00024", "-": "00700", ".": "00002", "/": "11244", ":": "02020",
    "0": "75557", "1": "26227", "2": "71747", "3": "71717", "4": "55711", "5": "74717", "6": "74757", "7": "71111",
    "8": "75757", "9": "75717", "A": "25755", "B": "65656", "C": "34443", "D": "65556", "E": "74747", "F": "74744",
    "G": "34553", "H": "55755", "I": "72227", "J": "11152", "K": "55655", "L": "44447", "M": "57755", "N": "65555",
    "O": "25552", "P": "65644", "Q": "25563", "R": "65655", "S": "34216", "T": "72222", "U": "55557", "V": "55552",
    "W": "55775", "X": "55255", "Y": "55222", "Z": "71247",
}  # fmt: skip


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


def enlarge(pixels: Pixels, times: int) -> Pixels:
    """Return a picture whose pixels are squares of ``times`` pixels.

    Examples
    --------
    >>> enlarge(np.array([[1, 2]], np.uint8), 2)
    array([[1, 1, 2, 2],
           [1, 1, 2, 2]], dtype=uint8)
    """
    return np.repeat(np.repeat(pixels, times, axis=0), times, axis=1)


def captioned(pixels: Pixels, *lines: str) -> Pixels:
    """Return a picture with lines of text under it, black on white, as wide as the widest of them.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (H, W)
        The picture.
    *lines : str
        Letters, which come out as capitals, digits and ``,-./:``; what else there is is left blank.

    Examples
    --------
    >>> captioned(np.zeros((2, 3), np.uint8), "1").shape
    (22, 16)
    """
    drawn = [_drawn(line) for line in lines]
    width = max(pixels.shape[1], *(line.shape[1] for line in drawn))
    parts = [np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=255) for part in (pixels, *drawn)]
    return np.vstack(parts)


def _drawn(line: str, scale: int = 2, margin: int = 4) -> Pixels:
    """Return a line of text, each pixel of its glyphs a square."""
    rows = [[int(GLYPHS.get(c, GLYPHS[" "])[k], 8) for c in line.upper()] for k in range(5)]
    bits = (np.array(rows, np.uint8)[:, :, None] >> np.array([2, 1, 0], np.uint8)) & 1  # shape (5, characters, 3)
    spaced = np.pad(bits, ((margin // 2, margin - margin // 2), (0, 0), (0, 1))).reshape(5 + margin, -1)
    return np.pad(
        enlarge(((1 - spaced) * 255).astype(np.uint8), scale), ((1, 1), (margin, margin)), constant_values=255
    )


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
