"""Plan a matrix product: tiles of a fixed size, several of them held by a task so that less is read twice.

Each tile of the result is the sum, in order, of products of ``EDGE``-sized tiles; the edge is a
constant and BLAS runs on one thread, so that budget and workers change no bit. A task holds
``rows x columns`` tiles of the result and walks along the contracted axis.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

from chunkarr.buffers import aligned, memory_error
from chunkarr.graph import Load
from chunkarr.grid import Grid, Region, Shape, region_size, shift
from chunkarr.ops.contract import EDGE, Contract
from chunkarr.plan.program import Program, compile_flow
from chunkarr.plan.stages import Stage

if TYPE_CHECKING:
    from chunkarr.plan.fuse import Flow

__all__ = ["ContractStage", "plan_contraction"]


@dataclass(frozen=True)
class ContractStage(Stage):
    """Multiply stacks of matrices: the flow's two roots are a (..., M, K) and b (..., K, N)."""

    op: Contract | None = None
    blocks: Grid = field(default_factory=lambda: Grid((), ()))  # over the tiles of the result that are asked for
    origin: Shape = ()  # where they start
    deep: int = EDGE  # elements along the contracted axis that are read at once: whole edges
    copied: int = 0  # bytes of a tile of the second factor, copied because both factors read the same source

    @property
    def work(self) -> int:
        """Return the bytes of the result times the panels that each of its blocks adds up."""
        return self.results[0].nbytes * -(-self.op.depth // self.deep)  # type: ignore[union-attr]

    @property
    def sizes(self) -> tuple[int, int]:
        """Bytes of the accumulators, and of one product, that a task holds."""
        return _sizes(self.blocks.steps, self.op.dtype.itemsize)  # type: ignore[union-attr]


def _sizes(steps: Shape, itemsize: int) -> tuple[int, int]:
    rows, columns = steps[-2:]
    return aligned(rows * columns * itemsize), aligned(min(rows, EDGE) * min(columns, EDGE) * itemsize)


def panels(flow: Flow, region: Region, depth: tuple[int, int]) -> dict[int, list[Region]]:
    """Return what a product over ``region`` and a range of the contracted axis needs of the two roots."""
    wanted: dict[int, list[Region]] = {}
    wanted.setdefault(flow.roots[0], []).append((*region[:-1], depth))
    wanted.setdefault(flow.roots[1], []).append((*region[:-2], depth, region[-1]))
    return wanted


def first_panel(fields: dict[str, Any]) -> tuple[Region, tuple[int, int]]:
    """Return the region of a stage's first block, and the first range of the contracted axis."""
    grid: Grid = fields["blocks"]
    return shift(grid.region((0,) * len(grid.shape)), fields["origin"]), (0, fields["deep"])


def plan_contraction(
    flow: Flow, op: Contract, region: Region, available: int, workers: int
) -> tuple[dict[str, Any], dict[int, float], dict[int, float]]:
    """Return the fields of the stage, the bytes that it reads per Load unit, and those it has a use for.

    ``region`` is made of whole tiles. Raises MemoryBudgetError when one tile in one task does not fit.
    """
    shape = tuple(b - a for a, b in region)
    common = _loads(flow, flow.roots[0]) & _loads(flow, flow.roots[1])
    copied = aligned(EDGE * EDGE * op.dtype.itemsize) if common else 0
    best: tuple[float, dict[str, Any], Program, float] | None = None
    smallest = 0
    for rows, columns, deep in product((1, 2, 4, 8), (1, 2, 4, 8), (1, 2, 4)):
        steps = (1,) * (len(shape) - 2) + (min(rows * EDGE, shape[-2]), min(columns * EDGE, shape[-1]))
        fields: dict[str, Any] = {
            "op": op,
            "blocks": Grid(shape, steps),
            "origin": tuple(a for a, _ in region),
            "deep": min(deep * EDGE, op.depth),
            "copied": copied,
        }
        program = _largest(flow, fields, op.depth)
        held = program.nbytes + sum(_sizes(steps, op.dtype.itemsize)) + copied
        smallest = min(smallest or held, held)
        count = min(workers, available // held)
        if count < 1:
            continue
        blocks = fields["blocks"].size
        times = float(blocks * -(-op.depth // fields["deep"]))
        idle = workers / min(count, blocks)
        cost = (
            sum(program.bytes_read.values()) * times + op.depth * region_size(region) * op.dtype.itemsize / 64
        ) * idle
        if best is None or cost < best[0]:
            fields |= {"workers": count, "allowance": held, "peak": held * count}
            best = (cost, fields, program, times)
    if best is None:
        raise memory_error(f"matmul of tiles of {EDGE}x{EDGE} elements", smallest, available)
    _, fields, program, times = best
    useful: dict[int, float] = {}
    for step in program.steps:
        if isinstance(step.op, Load):
            useful[step.unit] = useful.get(step.unit, 0) + region_size(step.region) * step.op.dtype.itemsize * times
    return fields, {k: n * times for k, n in program.bytes_read.items()}, useful


def _largest(flow: Flow, fields: dict[str, Any], depth: int) -> Program:
    """Return the largest program among the blocks at the corners and in the middle, at both ends of the contraction."""
    grid: Grid = fields["blocks"]
    deep = fields["deep"]
    ends = {(0, deep), ((depth - 1) // deep * deep, depth)}
    middle = tuple(n // 2 for n in grid.counts)
    corners = set(product(*({0, n - 1} for n in grid.counts[-2:]))) | {middle[-2:]}
    programs = [
        compile_flow(flow, panels(flow, shift(grid.region((*middle[:-2], *corner)), fields["origin"]), end))
        for corner in corners
        for end in ends
    ]
    return max(programs, key=lambda p: p.nbytes)


def _loads(flow: Flow, root: int) -> set[int]:
    """Return the Load units below a unit."""
    found, stack = set[int](), [root]
    seen = set(stack)
    while stack:
        at = stack.pop()
        if isinstance(flow.units[at].op, Load):
            found.add(at)
        fresh = set(flow.units[at].inputs) - seen
        seen |= fresh
        stack.extend(fresh)
    return found
