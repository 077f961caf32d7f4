"""Plan a matrix product: tiles of a fixed size, several of them held by a task so that less is read twice.

Each tile of the result is the sum, in order, of products of ``EDGE``-sized tiles; the edge is a
constant and BLAS runs on one thread, so that budget and workers change no bit. A task holds
``rows x columns`` tiles of the result and walks along the contracted axis.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

from chunkarr.buffers import aligned
from chunkarr.grid import Grid, Region, Shape
from chunkarr.ops.contract import EDGE, Contract
from chunkarr.plan.blocks import memory_error
from chunkarr.plan.program import compile_flow
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

    @property
    def sizes(self) -> tuple[int, int]:
        """Bytes of the accumulators, and of one product, that a task holds."""
        return _sizes(self.blocks.steps, self.op.dtype.itemsize)  # type: ignore[union-attr]


def _sizes(steps: Shape, itemsize: int) -> tuple[int, int]:
    rows, columns = steps[-2:]
    return aligned(rows * columns * itemsize), aligned(min(rows, EDGE) * min(columns, EDGE) * itemsize)


def plan_contraction(flow: Flow, op: Contract, region: Region, available: int, workers: int) -> tuple[dict[str, Any], dict[int, float]]:
    """Return the fields of the stage, and the bytes that it reads per Load unit.

    ``region`` is made of whole tiles. Raises MemoryBudgetError when one tile in one task does not fit.
    """
    shape = tuple(b - a for a, b in region)
    origin = tuple(a for a, _ in region)
    lead = (1,) * (len(shape) - 2)
    best: tuple[float, Any, Any] | None = None
    smallest = 0
    for rows, columns, deep in product((1, 2, 4, 8), (1, 2, 4, 8), (1, 2, 4)):
        steps = (*lead, min(rows * EDGE, shape[-2]), min(columns * EDGE, shape[-1]))
        grid = Grid(shape, steps)
        box = tuple((a + o, b + o) for (a, b), o in zip(grid.region((0,) * len(shape)), origin, strict=True))
        depth = (0, min(deep * EDGE, op.depth))
        wanted = {flow.roots[0]: [(*box[:-1], depth)]}
        wanted.setdefault(flow.roots[1], []).append((*box[:-2], depth, box[-1]))
        program = compile_flow(flow, wanted)
        accumulators, one = _sizes(steps, op.dtype.itemsize)
        held = program.nbytes + accumulators + one
        smallest = min(smallest or held, held)
        count = min(workers, available // held)
        if count < 1:
            continue
        times = grid.size * -(-op.depth // depth[1])
        reads = {k: n * float(times) for k, n in program.bytes_read.items()}
        cost = (sum(reads.values()) + 1) * (1 if count == workers or grid.size == 1 else workers / count)
        cost *= 1.5 if grid.size < workers else 1
        if best is None or cost < best[0]:
            fields = {
                "op": op, "blocks": grid, "origin": origin, "deep": depth[1], "workers": count,
                "allowance": program.nbytes + accumulators + one, "peak": held * count, "tasks": min(512, grid.size),
            }
            best = (cost, fields, reads)
    if best is None:
        raise memory_error(f"matmul of tiles of {EDGE}x{EDGE} elements", smallest, available)
    return best[1], best[2]
