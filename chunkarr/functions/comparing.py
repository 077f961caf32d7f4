"""Compare two arrays of any size, element by element, in one pass over each."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr import engine
from chunkarr.array import Array, as_node, wrap
from chunkarr.ops import comparing
from chunkarr.ops.reduce import reduce

if TYPE_CHECKING:
    from chunkarr.graph import Node
    from chunkarr.grid import Shape
    from chunkarr.progress import Reporter

__all__ = ["DiffReport", "compare"]


@dataclass(frozen=True)
class DiffReport:
    """How two arrays differ."""

    same: bool  # nothing that counts differs
    shapes: tuple[Shape, Shape]
    dtypes: tuple[str, str]
    reason: str  # why elements were not compared; "" if they were
    size: int  # elements that were compared
    different: int  # elements that differ by more than the tolerances
    first_index: tuple[int, ...] | None  # of the first that does, in C order
    first_values: tuple[str, str] | None  # what is there
    max_abs: float | None  # largest absolute difference; None for text, bytes and structured elements
    max_rel: float | None  # largest difference relative to the second array; None for times too
    rtol: float
    atol: float

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, ready for JSON; infinities as text."""
        fields = asdict(self)
        for name in ("max_abs", "max_rel"):
            if fields[name] is not None and math.isinf(fields[name]):
                fields[name] = "inf"
        return fields

    def __str__(self) -> str:
        """Return what differs, a line each."""
        lines = []
        if self.shapes[0] != self.shapes[1]:
            lines.append(f"shapes differ: {self.shapes[0]} and {self.shapes[1]}")
        if self.dtypes[0] != self.dtypes[1]:
            lines.append(f"dtypes differ: {self.dtypes[0]} and {self.dtypes[1]}")
        if self.reason:
            lines.append(f"elements were not compared: {self.reason}")
        elif not self.different:
            close = " within the tolerances" if self.max_abs else ""
            lines.append(f"all {self.size:,} elements are equal{close}")
        else:
            lines.append(f"{self.different:,} of {self.size:,} elements differ")
        if self.first_values is not None:
            lines.append(f"the first at {self.first_index}: {self.first_values[0]} and {self.first_values[1]}")
        if self.max_abs:
            relative = "" if self.max_rel is None else f", {self.max_rel:.6g} relative to the second"
            lines.append(f"largest difference {self.max_abs:.6g}{relative}")
        return "\n".join(lines)


def compare(
    a: Any,
    b: Any,
    *,
    rtol: float = 0.0,
    atol: float = 0.0,
    values_only: bool = False,
    progress: bool | Reporter | None = None,
) -> DiffReport:
    """Return how ``a`` and ``b`` differ: shape, dtype, how many elements, where first, by how much.

    Parameters
    ----------
    a, b : array_like
        Arrays of any size and format. NaN equals NaN, in fields too.
    rtol, atol : float
        Numbers that differ by at most ``atol + rtol * abs(b)`` do not count as different.
    values_only : bool
        Let dtypes differ. Byte order and padding never count.
    progress : bool or reporter, optional
        Show progress on stderr.

    Examples
    --------
    >>> import chunkarr as ca
    >>> report = ca.compare([1.0, 2.0, 3.0], [1.0, 2.5, 3.0])
    >>> report.same, report.different, report.first_index, report.max_abs
    (False, 1, (1,), 0.5)
    >>> print(report)
    1 of 3 elements differ
    the first at (1,): 2.0 and 2.5
    largest difference 0.5, 0.2 relative to the second
    """
    for name, value in (("rtol", rtol), ("atol", atol)):
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} must be a finite number of 0 or more, is {value!r}")
    one, other = as_node(a), as_node(b)
    alike = comparing.same_dtype(one.dtype, other.dtype)
    names = (str(one.dtype), str(one.dtype) if alike else str(other.dtype))
    reason = comparing.incomparable(one.dtype, other.dtype)
    if one.shape != other.shape:
        reason = "the shapes differ"
    elif reason:
        reason = f"{reason} cannot be compared"
    count, index, gaps = 0, None, (0.0, 0.0)
    if not reason and 0 not in one.shape:
        count, index, gaps = _answers(one, other, rtol, atol, progress)
    kind = one.dtype.kind
    return DiffReport(
        same=not reason and not count and (alike or values_only),
        shapes=(one.shape, other.shape),
        dtypes=names,
        reason=reason,
        size=0 if reason else math.prod(one.shape),
        different=count,
        first_index=index,
        first_values=None if index is None else (_shown(one, index), _shown(other, index)),
        max_abs=None if reason or kind not in "biufcmM" else gaps[0],
        max_rel=None if reason or kind not in "biufc" else gaps[1],
        rtol=rtol,
        atol=atol,
    )


def _answers(
    one: Node, other: Node, rtol: float, atol: float, progress: bool | Reporter | None
) -> tuple[int, tuple[int, ...] | None, tuple[float, float]]:
    """Return how many elements differ, the index of the first, and the largest differences; one pass."""
    mask, absolute, relative = comparing.compare(one, other, rtol, atol)
    asked = [reduce(mask, "count_nonzero"), reduce(mask, "argmax"), reduce(absolute, "max"), reduce(relative, "max")]
    if one.dtype.kind not in "biufcmM":
        asked = asked[:2]
    count, first, *gaps = (value[()] for value in engine.compute(asked, progress=progress))
    index = tuple(int(i) for i in np.unravel_index(int(first), one.shape)) if count else None
    return int(count), index, (float(gaps[0]), float(gaps[1])) if gaps else (0.0, 0.0)


def _shown(node: Node, index: tuple[int, ...]) -> str:
    """Return one element as text."""
    array: Array = wrap(node)
    return str(array[index].compute()[()])
