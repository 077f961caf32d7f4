"""What an array holds, in a few figures."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from chunkarr.array import Array
from chunkarr.errors import UnsupportedError
from chunkarr.functions.quantiles import nanquantile
from chunkarr.functions.reducing import count_nonzero, nanmax, nanmean, nanmin, nanstd
from chunkarr.io import asarray, compute

__all__ = ["statistics"]


def statistics(a: Any, quantiles: list[float]) -> dict[str, Any]:
    """Return count, nan, min, max, mean, std and quantiles of real numbers, as Python's own; NaN left out.

    Figures that nothing is left for are None.

    Examples
    --------
    >>> statistics([1.0, 2.0, 6.0, np.nan], [0.5])["mean"]
    3.0
    """
    array = asarray(a)
    if array.dtype.kind not in "biuf":
        raise UnsupportedError(f"figures of dtype {array.dtype} are not known; they are of real numbers")
    figures: dict[str, Any] = {"count": 0, "nan": 0, **dict.fromkeys(("min", "max", "mean", "std"))}
    if array.size:
        figures.update(_moments(array.astype(np.uint8) if array.dtype == np.bool_ else array))
    if not figures["count"]:
        return {**figures, **dict.fromkeys(("min", "max", "mean", "std")), "quantiles": dict.fromkeys(quantiles)}
    numbers = array.astype(np.uint8) if array.dtype == np.bool_ else array
    found = nanquantile(numbers, np.array(quantiles)).tolist()
    return {**figures, "quantiles": dict(zip(quantiles, found, strict=True))}


def _moments(array: Array) -> dict[str, Any]:
    """Return counts, extremes and moments, found in one pass."""
    names = ("nan", "min", "max", "mean", "std")
    rows = (nanmin(array), nanmax(array), nanmean(array, dtype=np.float64), nanstd(array, dtype=np.float64))
    absent = count_nonzero(np.isnan(array))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of nothing but NaN: the count tells
        figures = {name: value.item() for name, value in zip(names, compute(absent, *rows), strict=True)}
    return {"count": array.size - figures["nan"], **figures}
