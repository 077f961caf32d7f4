"""Assignment through a mask as large as the array, of values that are told apart: in one pass, nothing gathered."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.graph import Elementwise, Node, Operand, topological
from chunkarr.grid import Region, Shape, region_size
from chunkarr.ops.assign import Setter
from chunkarr.ops.compressing import Compress, Hits, Masked
from chunkarr.ops.elementwise import broadcast_grid
from chunkarr.ops.layout import Reshape, reshape
from chunkarr.ops.scans import Materialise

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Ranked", "in_place_of"]

Block = np.ndarray[Any, Any]


class Ranked(Setter):
    """``view[mask] = value``: the k-th true element gets the k-th value; the mask is of the leading axes."""

    __slots__ = ("hits",)

    def __init__(self, hits: Hits) -> None:
        self.hits = hits

    def _runs(self, part: Region) -> Region:
        """Return the range of runs, along each axis, that a part touches."""
        return self.hits.runs.span(part[: len(self.hits.runs.shape)])

    def _ranks(self, part: Region) -> tuple[int, int]:
        """Return the range of values for all runs between the first and the last that a part touches."""
        runs, counts = self._runs(part), self.hits.runs.counts
        first = int(np.ravel_multi_index([a for a, _ in runs], counts))
        last = int(np.ravel_multi_index([b - 1 for _, b in runs], counts))
        return int(self.hits.offsets[first]), int(self.hits.offsets[last + 1])

    def needs(self, part: Region) -> tuple[Region | None, ...]:
        """Need the values of all runs that are touched, and their mask."""
        lo, hi = self._ranks(part)
        if lo == hi:
            return None, None
        ndim = len(self.hits.runs.shape)
        return ((lo, hi), *part[ndim:]), self.hits.runs.round_out(part[:ndim])

    def covers(self, part: Region) -> bool:
        """Keep what the mask does not name."""
        del part
        return False

    def touches(self, part: Region) -> bool:
        """Look the counts up."""
        key = tuple(slice(a, b) for a, b in self._runs(part))
        return bool(self.hits.counts[key].any())

    def put(self, seen: Block, part: Region, values: Sequence[Block | None]) -> None:
        """Go through the runs, which count on from where they begin."""
        value, mask = values
        if value is None or mask is None:
            return
        grid, (lo, _) = self.hits.runs, self._ranks(part)
        inner = part[: mask.ndim]
        corner = [a for a, _ in grid.round_out(inner)]
        for index in grid.touching(inner):
            run = grid.region(index)
            here = tuple(slice(a - c, b - c) for (a, b), c in zip(run, corner, strict=True))
            places = mask[here].nonzero()
            chosen = np.ones(places[0].size, np.bool_)
            target = []
            for place, (start, _), (a, b) in zip(places, run, inner, strict=True):
                local = place + (start - a)
                chosen &= (local >= 0) & (local < b - a)
                target.append(local)
            first = int(self.hits.starts[index]) - lo
            seen[tuple(t[chosen] for t in target)] = value[first : first + chosen.size][chosen]

    def scratch_bytes(self, part: Region, itemsize: int) -> int:
        """Count the places of one run, and its values."""
        ndim = len(self.hits.runs.shape)
        row = region_size(part[ndim:])
        return math.prod(self.hits.runs.steps) * (8 * (3 * ndim + 2) + 2 * row * itemsize)


def in_place_of(value: Node, mask: Node, shape: Shape) -> Node | None:
    """Return what ``value``, computed element by element of what ``mask`` picks, is at the places that it picks.

    So ``a[m] = f(a[m])`` becomes ``f(a)`` where ``m`` is true: nothing has to be picked. None where ``value`` is
    made of anything else that differs from one place to the next.

    Parameters
    ----------
    value
        As long as there are true elements in ``mask``.
    mask
        Of the first axes of an array of ``shape``.
    """
    rest = shape[mask.ndim :]
    wide = reshape(mask, (*mask.shape, *(1 for _ in rest)))
    made: dict[int, Node] = {}
    for node in topological([value], lambda n: not isinstance(n.op, Elementwise)):
        op = node.op
        if not isinstance(op, Elementwise):
            source = _picked_by(node, mask)
            if source is not None and source.shape != shape:
                return None
            if source is None and len(node.shape) > len(rest) and node.shape[0] != 1:
                return None
            made[id(node)] = node if source is None else source
            continue
        if op.where is not None or not (isinstance(op.function, np.ufunc) or _is_cast(op)):
            return None
        if len(op.shape) != 1 + len(rest):  # of what does not differ from place to place
            made[id(node)] = node
            continue
        made[id(node)] = _wider(op, [made[id(i)] for i in node.inputs], wide, shape)
    found = made[id(value)]
    return found if found.shape == shape else None


def _picked_by(node: Node, mask: Node) -> Node | None:
    """Return what ``node`` picks from by ``mask``, None if it is nothing of the kind."""
    if isinstance(node.op, Materialise):
        (node,) = node.inputs
    if isinstance(node.op, Masked):
        source, by = node.inputs
        return source if by is mask else None
    if isinstance(node.op, Compress):
        source, by = (i.inputs[0] if isinstance(i.op, Reshape) else i for i in node.inputs)
        return source if by is mask else None
    return None


def _is_cast(op: Elementwise) -> bool:
    """Say whether a call casts numbers: that harms no element that is not picked."""
    return len(op.args) == 1 and op.function.__name__ == "_cast" and op.dtype.kind in "biufc"


def _wider(op: Elementwise, inputs: Sequence[Node], mask: Node, shape: Shape) -> Node:
    """Return a call for all places instead of those that are picked; a ufunc still sees those alone."""
    masked = isinstance(op.function, np.ufunc)
    nodes = (*inputs, mask) if masked else tuple(inputs)
    wider = Elementwise(
        shape,
        op.dtypes,
        op.function,
        op.args,
        tuple(n.shape for n in nodes),
        kwargs=op.kwargs,
        index=op.index,
        where=Operand(len(inputs)) if masked else None,
    )
    return Node(wider, nodes, broadcast_grid(shape, nodes))
