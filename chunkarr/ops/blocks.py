"""Downsampling by blocks, as scikit-image's ``block_reduce`` does it.

Source: ``skimage.measure.block_reduce``: the image is padded with ``cval`` at the end of each axis to
a whole number of blocks, seen as blocks, and ``func`` is called once on the axes within blocks.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.graph import Kernel, Node
from chunkarr.grid import Grid, Region, Shape, region_shape, tiles

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["block_reduce"]

Block = np.ndarray[Any, Any]
TILE = 1 << 18  # elements of the input that are reduced together, in cache
FEW = 64  # elements of a block up to which they are folded one by one: a pass over strided views each
FOLDS: dict[Any, np.ufunc] = {
    np.sum: np.add,
    np.mean: np.add,
    np.max: np.maximum,
    np.min: np.minimum,
    np.add.reduce: np.add,
    np.prod: np.multiply,
    np.any: np.logical_or,
    np.all: np.logical_and,
    np.amax: np.maximum,
    np.amin: np.minimum,
}


class BlockReduce(Kernel):
    """``func`` over boxes of ``block`` elements."""

    __slots__ = ("block", "cval", "func", "inner", "inner_dtype", "kwargs")

    def __init__(
        self,
        shape: Shape,
        dtype: np.dtype[Any],
        inner: Shape,
        inner_dtype: np.dtype[Any],
        block: Shape,
        func: Callable[..., Any],
        cval: Any,
        kwargs: dict[str, Any],
    ) -> None:
        super().__init__(shape, dtype)
        self.inner, self.inner_dtype, self.block = inner, inner_dtype, block
        self.func, self.cval, self.kwargs = func, cval, kwargs

    def needs(self, region: Region) -> tuple[Region | None, ...]:
        """Need the boxes, as far as the input goes."""
        return (tuple((a * s, min(b * s, n)) for (a, b), s, n in zip(region, self.block, self.inner, strict=True)),)

    def kernel(self, blocks: Sequence[Block | None], region: Region, out: Block, scratch: Block) -> None:  # noqa: ARG002
        """Pad, and reduce a few boxes at a time, so that temporaries stay in cache."""
        block: Any = blocks[0]
        full = tuple((b - a) * s for (a, b), s in zip(region, self.block, strict=True))
        if block.shape != full:
            widths = [(0, n - m) for n, m in zip(full, block.shape, strict=True)]
            block = np.pad(block, widths, mode="constant", constant_values=self.cval)
        if not out.ndim:
            out[...] = self.func(block, axis=(), **self.kwargs)
            return
        room = max(1, TILE // math.prod(self.block))
        for key, _ in tiles(out.shape, room):
            source = tuple(slice(k.start * s, k.stop * s) for k, s in zip(key, self.block, strict=True))
            self._reduce(block[source], out[key])

    def _reduce(self, block: Block, out: Block) -> None:
        fold = FOLDS.get(self.func) if not self.kwargs and math.prod(self.block) <= FEW else None
        if fold is not None and block.dtype.kind in "biuf" and block.dtype.isnative:
            self._fold(fold, block, out)
            return
        split: list[int] = []
        for n, s in zip(out.shape, self.block, strict=True):
            split += [n, s]
        ndim = out.ndim
        order = (*range(0, 2 * ndim, 2), *range(1, 2 * ndim, 2))
        seen = block.reshape(split).transpose(order)
        out[...] = self.func(seen, axis=tuple(range(ndim, 2 * ndim)), **self.kwargs)

    def _fold(self, ufunc: np.ufunc, block: Block, out: Block) -> None:
        """Combine the elements of each box axis by axis, all boxes at once; the strided last axis at the end."""
        wide = self._wide(block.dtype) if ufunc in (np.add, np.multiply) else self.dtype
        total = block
        for axis, size in enumerate(self.block):
            views = [total[(slice(None),) * axis + (slice(k, None, size),)] for k in range(size)]
            if size > 1:
                total = ufunc(views[0], views[1], dtype=wide)
            for view in views[2:]:
                ufunc(total, view, out=total)
        if self.func is np.mean:
            np.true_divide(total, math.prod(self.block), out=out, casting="same_kind")
        else:
            out[...] = total

    def _wide(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """Return the dtype of running sums: exact for small integers, NumPy's own otherwise."""
        count = math.prod(self.block)
        if self.func is np.mean and dtype.kind in "biu":
            small = dtype.itemsize <= 2 and count * (1 << 8 * dtype.itemsize) < 1 << 31
            return np.dtype(np.int32 if small else np.float64)
        if self.func is np.mean and dtype == np.float16:
            return np.dtype(np.float32)
        return self.dtype

    def scratch_bytes(self, region: Region) -> int:
        """Count the padded input, and the temporaries of a few rows."""
        (need,) = self.needs(region)
        full = math.prod((b - a) * s for (a, b), s in zip(region, self.block, strict=True))
        padded = 0 if need is not None and math.prod(region_shape(need)) == full else full * self.inner_dtype.itemsize
        tile = max(math.prod(self.block), min(full, TILE))
        return padded + 4 * max(8, self.inner_dtype.itemsize, self.dtype.itemsize) * tile


def block_reduce(
    node: Node, block_size: int | Sequence[int], func: Callable[..., Any], cval: Any, func_kwargs: dict[str, Any] | None
) -> Node:
    """Return ``skimage.measure.block_reduce`` of ``node``, lazily; the dtype comes from calling ``func``."""
    kwargs = dict(func_kwargs or {})
    if isinstance(block_size, int | np.integer):
        block = (int(block_size),) * node.ndim
    else:
        block = tuple(int(s) for s in block_size)
        if len(block) != node.ndim or any(s != t for s, t in zip(block, block_size, strict=True)):
            raise ValueError("`block_size` must be a scalar or have the same length as `image.shape`")
    if any(s < 1 for s in block):
        raise ValueError("Down-sampling factors must be >= 1. Use `skimage.transform.resize` to up-sample an image.")
    probe = np.zeros((1,) * node.ndim + (2,) * node.ndim, node.dtype)
    answer = np.asarray(func(probe, axis=tuple(range(node.ndim, 2 * node.ndim)), **kwargs))
    if answer.shape != (1,) * node.ndim:
        raise ValueError(
            f"func must reduce the axes it is given and keep the others: it made {answer.shape} of {probe.shape}"
        )
    shape = tuple(-(-n // s) for n, s in zip(node.shape, block, strict=True))
    steps = tuple(max(1, g // s) for g, s in zip(node.grid.steps, block, strict=True))
    op = BlockReduce(shape, answer.dtype, node.shape, node.dtype, block, func, cval, kwargs)
    return Node(op, (node,), Grid(shape, steps))
