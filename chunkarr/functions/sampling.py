"""Reducing arrays block by block to smaller ones, as scikit-image does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.array import Array, as_node, wrap
from chunkarr.ops import blocks

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["block_reduce"]


def block_reduce(
    image: Any,
    block_size: int | tuple[int, ...] = 2,
    func: Callable[..., Any] = np.sum,
    cval: Any = 0,
    func_kwargs: dict[str, Any] | None = None,
) -> Array:
    """Return ``func`` of each block of ``image``: `skimage.measure.block_reduce`.

    Parameters
    ----------
    image : array_like
    block_size : int or tuple of int
        Elements of a block along each axis, or along all.
    func : callable
        Takes a block and ``axis``, a tuple of axes that it must reduce: `numpy.mean`, `numpy.max` ...
    cval : scalar
        What the image is continued with to whole blocks.
    func_kwargs : dict, optional
        Passed on to ``func``.

    Examples
    --------
    >>> import chunkarr as ca, numpy as np
    >>> ca.block_reduce(ca.arange(16).reshape(4, 4), (2, 2), np.mean).tolist()
    [[2.5, 4.5], [10.5, 12.5]]
    """
    return wrap(blocks.block_reduce(as_node(image), block_size, func, cval, func_kwargs))
