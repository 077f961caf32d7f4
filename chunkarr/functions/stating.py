"""What an array holds, in a few figures: one pass, and usually another for quantiles."""

from __future__ import annotations

from typing import Any

import numpy as np

from chunkarr import engine
from chunkarr.array import as_node
from chunkarr.errors import UnsupportedError
from chunkarr.functions.quantiles import nanquantile, ranked
from chunkarr.functions.ranking import Ranking
from chunkarr.io import asarray
from chunkarr.ops.figures import Figures

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
    plain = np.dtype(np.uint8) if array.dtype == np.bool_ else array.dtype.newbyteorder("=")
    node = as_node(array if array.dtype == plain else array.astype(plain))
    seen = Figures(node)
    if array.size:
        engine.visit(node, seen, seen.held_bytes())
    figures: dict[str, Any] = {"count": seen.count, "nan": array.size - seen.count}
    if not seen.count:
        return {**figures, **dict.fromkeys(("min", "max", "mean", "std")), "quantiles": dict.fromkeys(quantiles)}
    mean, std = seen.spread()
    figures |= {"min": seen.low.item(), "max": seen.high.item(), "mean": mean, "std": std}
    q = np.array(quantiles)
    if seen.digits is None:
        found = nanquantile(array, q).tolist()
    else:
        found = ranked("nanquantile", Ranking(node, seen.digits), q, {"method": "linear"}).tolist()
    return {**figures, "quantiles": dict(zip(quantiles, found, strict=True))}
