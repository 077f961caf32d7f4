"""How integers of 1 to 32 bits lie in bytes: streams of bits in both orders, and the layouts that cameras name.

A layout repeats: a *group* of samples fills a whole number of bytes. It is said as data: for each
sample of a group, for each of its bits from the least significant on, where that bit lies.

============================  =====================================================================
``bits=12, bitorder=``        a stream of bits; "little": from the least significant bit of each byte
``raw10, raw12, raw14``       MIPI CSI-2, as V4L2's SRGGB12P: the high 8 bits of each, then the low bits
``mono10p, mono12p, mono14p`` GenICam PFNC: a stream, "little"
``mono10packed, ...12packed`` GigE Vision: two high bytes, the low bits of both between them
``24le, 24be``                three bytes, as in WAV and BDF files
``v210``                      three 10-bit samples in each little-endian 32-bit word
============================  =====================================================================

Sources: kernel.org, V4L2 "10-bit Bayer formats" and following; EMVA, Pixel Format Naming Convention 2.4.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from math import gcd
from typing import Any

import numpy as np

from chunkarr.errors import OptionError

__all__ = ["NAMES", "Layout", "layout_of", "stream"]

Bits = tuple[int, ...]  # of one sample, least significant first: 8 * byte of the group + bit of that byte


@dataclass(frozen=True)
class Layout:
    """How samples lie in bytes.

    >>> layout_of("raw12").places[1][:5]
    (20, 21, 22, 23, 8)
    """

    name: str  # as messages say it
    bits: int  # of a sample
    nbytes: int  # of a group
    places: tuple[Bits, ...] = field(repr=False)  # for each sample of a group

    @property
    def samples(self) -> int:
        """Samples of a group."""
        return len(self.places)

    def span(self, count: int) -> int:
        """Return the bytes that ``count`` samples take: the last group ends with the last byte it uses.

        >>> layout_of("raw12").span(3), layout_of("mono12p").span(3), stream(1, "big").span(9)
        (6, 5, 2)
        """
        groups, rest = divmod(count, self.samples)
        used = max((place for bits in self.places[:rest] for place in bits), default=-1)
        return groups * self.nbytes + used // 8 + 1

    def fits(self, nbytes: int) -> int:
        """Return how many samples are whole within ``nbytes`` bytes."""
        groups, rest = divmod(nbytes, self.nbytes)
        return groups * self.samples + max(k for k in range(self.samples) if self.span(k) <= rest)

    def dtype(self, signed: bool) -> np.dtype[Any]:
        """Return the smallest dtype that holds the samples.

        >>> layout_of("24le").dtype(True)
        dtype('int32')
        """
        size = next(size for size in (1, 2, 4, 8) if self.bits <= 8 * size)
        return np.dtype(f"{'i' if signed else 'u'}{size}")


@lru_cache(None)
def stream(bits: int, bitorder: str, name: str = "") -> Layout:
    """Return the layout in which samples of ``bits`` bits follow each other without gaps.

    >>> stream(4, "little").places, stream(4, "big").places
    (((0, 1, 2, 3), (4, 5, 6, 7)), ((4, 5, 6, 7), (0, 1, 2, 3)))
    """
    samples = 8 // gcd(bits, 8)
    places = []
    for k in range(samples):
        run = range(k * bits, (k + 1) * bits)
        places.append(tuple(run) if bitorder == "little" else tuple(8 * (p // 8) + 7 - p % 8 for p in reversed(run)))
    return Layout(name or f"{bits}-bit {bitorder}", bits, samples * bits // 8, tuple(places))


def _mipi(bits: int) -> Layout:
    """High bytes of four (or two) samples, then what is left of each, first sample in the lowest bits."""
    count, low = (2, 4) if bits == 12 else (4, bits - 8)
    places = [
        tuple(8 * count + k * low + j for j in range(low)) + tuple(8 * k + j for j in range(8)) for k in range(count)
    ]
    return Layout(f"raw{bits}", bits, count + count * low // 8, tuple(places))


def _gige(bits: int) -> Layout:
    """Two high bytes with the low bits of both between them, the second's in the upper half."""
    places = [(*range(8 + 4 * k, bits + 4 * k), *range(16 * k, 16 * k + 8)) for k in range(2)]
    return Layout(f"mono{bits}packed", bits, 3, tuple(places))


NAMES: dict[str, Layout] = {
    **{f"raw{bits}": _mipi(bits) for bits in (10, 12, 14)},
    **{f"mono{bits}p": stream(bits, "little", f"mono{bits}p") for bits in (10, 12, 14)},
    **{f"mono{bits}packed": _gige(bits) for bits in (10, 12)},
    "24le": stream(24, "little", "24le"),
    "24be": stream(24, "big", "24be"),
    "v210": Layout("v210", 10, 4, tuple(tuple(range(10 * k, 10 * k + 10)) for k in range(3))),
}

# What the same layouts are called for sensors with a colour filter, and with the standard's name before.
_OTHER_NAMES = (
    (re.compile(r"mipi(raw\d+)"), r"\1"),
    (re.compile(r"s(?:rggb|bggr|gbrg|grbg)(10|12|14)p"), r"raw\1"),
    (re.compile(r"bayer(?:rg|bg|gb|gr)(\d+p|\d+packed)"), r"mono\1"),
)


def layout_of(layout: str | None = None, bits: Any = None, bitorder: str | None = None) -> Layout:
    """Return the layout of that name, or the stream of ``bits`` in ``bitorder``.

    Parameters
    ----------
    layout
        A name of `NAMES`, also as V4L2 and GenICam write it for colour sensors ("SRGGB12P", "BayerRG12p");
        case, blanks, "-" and "_" do not count.
    bits
        1 to 32, instead of a name.
    bitorder
        "little" or "big", as of `numpy.packbits`: which bit of a byte is the first.

    Raises
    ------
    OptionError
        If it is not clear which layout is meant, or there is none such.

    Examples
    --------
    >>> layout_of("MIPI RAW12").name, layout_of(bits=3, bitorder="big").nbytes
    ('raw12', 3)
    """
    known = f"layout= one of {', '.join(NAMES)}, or bits= 1 to 32 with bitorder="
    if layout is not None:
        if bits is not None or bitorder is not None:
            raise OptionError(f"layout={layout!r} says bits and bitorder already; give {known}")
        name = re.sub(r"[\s_-]", "", str(layout)).lower()
        for pattern, usual in _OTHER_NAMES:
            match = pattern.fullmatch(name)
            name = match.expand(usual) if match else name
        if name not in NAMES:
            raise OptionError(f"layout {layout!r} is not known; give {known}")
        return NAMES[name]
    if bits is None:
        raise OptionError(f"packed integers need {known}")
    if isinstance(bits, bool) or not isinstance(bits, int | np.integer) or not 1 <= bits <= 32:
        raise OptionError(f"bits is an integer, 1 to 32, not {bits!r}")
    if bitorder not in ("little", "big"):
        raise OptionError(
            f'bits={bits} needs bitorder="little" (the first sample begins at the least significant bit of its '
            f'byte) or "big" (at the most significant one), not {bitorder!r}'
        )
    return stream(int(bits), bitorder)
