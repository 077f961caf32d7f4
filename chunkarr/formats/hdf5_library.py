"""Regions of data sets through the HDF5 library, in pieces: what cannot be read or written without it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from h5py import h5d, h5s, h5t

from chunkarr.formats.runs import plain
from chunkarr.grid import Grid, Region, Shape, intersect, region_shape

__all__ = ["SLAB", "pieces", "read_piece", "write_piece"]

Array = np.ndarray[Any, Any]
SLAB = 1 << 20  # bytes asked of the library at once where there are no chunks


def pieces(region: Region, shape: Shape, chunk: Shape, item: int) -> Iterator[Region]:
    """Cut ``region`` at chunks, or, where ``chunk`` is (), in halves of halves until they are small.

    >>> list(pieces(((1, 5),), (9,), (4,), 8))
    [((1, 4),), ((4, 5),)]
    """
    if chunk:
        grid = Grid(shape, chunk)
        boxes = map(grid.region, grid.touching(region))
        yield from (common for box in boxes if (common := intersect(box, region)))
        return
    pending = [region]
    while pending:
        part = pending.pop()
        extents = region_shape(part)
        if max(extents, default=1) == 1 or math.prod(extents) * item <= SLAB:
            yield part
            continue
        axis = next(i for i, n in enumerate(extents) if n > 1)
        a, b = part[axis]
        cuts = ((a, (a + b) // 2), ((a + b) // 2, b))
        pending.extend((*part[:axis], cut, *part[axis + 1 :]) for cut in reversed(cuts))


def read_piece(dataset: h5d.DatasetID, region: Region, out: Array, scratch: Array) -> None:
    """Let the library read ``region``, axes as in the file, into ``scratch``; copy it to ``out``."""
    values = np.ndarray(out.shape, out.dtype, scratch)
    scratch[: values.nbytes] = 0  # bytes of padding are not the library's to write
    memory, space = _spaces(dataset, region)
    dataset.read(memory, space, values, h5t.py_create(dataset.dtype, logical=True))
    np.copyto(out.view(plain(out.dtype)), values.view(plain(out.dtype)))


def write_piece(dataset: h5d.DatasetID, region: Region, block: Array, scratch: Array) -> None:
    """Let the library write ``block``, copied to ``scratch``, at ``region``, axes as in the file."""
    values = np.ndarray(block.shape, block.dtype, scratch)
    np.copyto(values.view(plain(block.dtype)), block.view(plain(block.dtype)))
    memory, space = _spaces(dataset, region)
    dataset.write(memory, space, values, h5t.py_create(dataset.dtype, logical=True))


def _spaces(dataset: h5d.DatasetID, region: Region) -> tuple[Any, Any]:
    """Return what selects ``region`` in memory and in the file; the axes of array types are no axes there."""
    outer = region[: dataset.rank]
    if not outer:
        return h5s.ALL, h5s.ALL
    space = dataset.get_space()
    space.select_hyperslab(tuple(a for a, _ in outer), region_shape(outer))
    return h5s.create_simple(region_shape(outer)), space
