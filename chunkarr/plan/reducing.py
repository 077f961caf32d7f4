"""Plan a reduction: which boxes are read in which order, and what a task holds of them.

The order of summation is a tree that depends on shape and source chunks only::

    leaf     at most 64 elements along the reduced axes (131,072 when the last axis is reduced), in cache
    cell     a box of the source's grid: its leaves are combined two by two
    array    cells in C order along the reduced axes, combined ``fan_in`` by ``fan_in``

A *group* is a complete subtree of ``fan_in ** level`` cells. Tasks take whole groups, so that how many
tasks there are, which is a matter of workers and budget, changes no bit. Kept axes may be cut anywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.buffers import memory_error
from chunkarr.grid import Grid, Region, Shape, region_shape, region_size, shift, whole
from chunkarr.ops.reductions import REDUCTIONS, Asked, leaf_nbytes
from chunkarr.plan.fuse import TILE, Flow, Fused
from chunkarr.plan.program import compile_flow
from chunkarr.plan.stages import Stage

if TYPE_CHECKING:
    from chunkarr.ops.reduce import Reduce

__all__ = ["Job", "ReduceStage", "Shaped", "fan_in", "plan_reduction"]

LEAST = 4096  # bytes of slab: blocks of a few elements may need more than those that are sampled
INNER = 1 << 17  # elements of a leaf along reduced axes, when the last axis is one of them
OUTER = 64  # the same otherwise: summed one by one, so few
SMALL = 4096  # results of a cell up to which partial results are cheap, and combined two by two


@dataclass(frozen=True, slots=True)
class Job:
    """One reduction of a stage."""

    row: str
    asked: Asked
    states: tuple[np.dtype[Any], ...]
    dtype: np.dtype[Any]
    masked: bool

    def state_bytes(self, results: int) -> int:
        """Return the bytes of a state for so many results."""
        return results * sum(d.itemsize for d in self.states)


@dataclass(frozen=True, slots=True)
class Shaped:
    """Where the reduced and the kept axes are, and the canonical cells."""

    shape: Shape  # of the array that is reduced
    axes: tuple[int, ...]  # reduced
    cells: Grid  # over the array

    @property
    def kept(self) -> tuple[int, ...]:
        """Axes that are kept."""
        return tuple(k for k in range(len(self.shape)) if k not in self.axes)

    @property
    def inner(self) -> bool:
        """Say whether the last axis is reduced."""
        return bool(self.shape) and len(self.shape) - 1 in self.axes

    @property
    def kept_grid(self) -> Grid:
        """The grid of cells along the kept axes."""
        return _project(self.cells, self.kept)

    @property
    def reduced_grid(self) -> Grid:
        """The grid of cells along the reduced axes."""
        return _project(self.cells, self.axes)

    def box(self, kept: Region, reduced: Region) -> Region:
        """Return the region of the array with these bounds along kept and reduced axes."""
        k, r = iter(kept), iter(reduced)
        return tuple(next(r) if axis in self.axes else next(k) for axis in range(len(self.shape)))


def _project(grid: Grid, axes: tuple[int, ...]) -> Grid:
    def take(values: Shape) -> Shape:
        return tuple(values[a] for a in axes)

    return Grid(take(grid.shape), take(grid.steps), take(grid.firsts))


def fan_in(shaped: Shaped) -> int:
    """Return how many cells are combined at a time: two where partial results are small."""
    return 2 if math.prod(shaped.kept_grid.steps) <= SMALL else 16


@dataclass(frozen=True)
class ReduceStage(Stage):
    """Reduce one pass over an array to one or several results."""

    jobs: tuple[Job, ...] = ()
    shaped: Shaped = field(default_factory=lambda: Shaped((), (), Grid((), ())))
    kept_blocks: Grid = field(default_factory=lambda: Grid((), ()))  # over the asked kept region
    kept_origin: Shape = ()
    fan_in: int = 2
    level: int = 0  # a group is fan_in ** level cells
    groups: int = 1  # groups along the reduced axes

    @property
    def work(self) -> int:
        """Return the bytes of the array that is reduced, over the asked part of the kept axes."""
        reduced = math.prod(self.shaped.reduced_grid.shape)
        return math.prod(self.kept_blocks.shape) * reduced * self.flow.units[-1].op.dtype.itemsize

    def cells_of(self, group: int) -> range:
        """Return the positions of a group's cells in the C order of the reduced grid."""
        each = self.fan_in**self.level
        return range(group * each, min((group + 1) * each, self.shaped.reduced_grid.size))


def _task_peak(
    flow: Flow, shaped: Shaped, jobs: tuple[Job, ...], kept: Region, levels: int
) -> tuple[int, int, dict[int, int]]:
    """Return the slab bytes, the other bytes, and the bytes read of the costliest cell over ``kept``."""
    slab, reads = 0, dict[int, int]()
    grid = shaped.reduced_grid
    counts = grid.counts
    picks = {tuple(0 for _ in counts), tuple(n - 1 for n in counts), tuple(n // 2 for n in counts)}
    sink = len(flow.units) - 1
    sampled = sum(region_size(grid.region(index)) for index in picks)
    share = region_size(whole(grid.shape)) / max(1, sampled)  # the last cell may be a short one
    for index in picks:
        region = shaped.box(kept, grid.region(index))
        program = compile_flow(flow, {sink: [region]}, stream=True)
        slab = max(slab, program.nbytes)
        for k, n in program.bytes_read.items():
            reads[k] = reads.get(k, 0) + n * share  # type: ignore[assignment]
    fused: Any = flow.units[sink].op
    assert isinstance(fused, Fused)
    tile = min(TILE, math.prod(shaped.cells.steps))
    held = fused.temporary_bytes(tile)
    held += max(leaf_nbytes(job.asked, tile) for job in jobs) + tile * fused.dtype.itemsize
    results = region_size(kept)
    small = min(results, TILE)
    held += sum(job.state_bytes(results) * levels + job.state_bytes(small) * 8 for job in jobs)
    held += max(results * job.dtype.itemsize for job in jobs)
    return slab, held, reads


def plan_reduction(
    flow: Flow,
    reductions: list[Reduce],
    cells: Grid,
    kept: Region,
    available: int,
    workers: int,
) -> tuple[dict[str, Any], dict[int, float]]:
    """Return the fields of the stage that runs ``reductions``, and the bytes it reads per Load unit.

    All have the same input shape and axes; ``kept`` is the region of results that is asked for.
    Raises MemoryBudgetError when one cell in one task does not fit.
    """
    first = reductions[0]
    shaped = Shaped(first.in_shape, first.axes, cells)
    jobs = tuple(Job(r.row, r.asked, REDUCTIONS[r.row].states(r.asked), r.dtype, r.asked.masked) for r in reductions)
    fan = fan_in(shaped)
    cell_count = shaped.reduced_grid.size
    depth = 1 + math.ceil(math.log(max(2, cell_count), fan))
    origin = tuple(a for a, _ in kept)
    blocks = shaped.kept_grid.within(kept)
    per_result = sum(j.state_bytes(1) for j in jobs)
    count = workers
    while True:
        box = shift(blocks.region(tuple(n // 2 for n in blocks.counts)), origin)
        group_level, groups = _grouping(fan, cell_count, blocks.size, count, per_result * region_size(kept), available)
        levels = min(depth, group_level + 1) + 1
        slab, held, reads = _task_peak(flow, shaped, jobs, box, levels)
        combining = per_result * region_size(box) * 2 if groups > 1 else 0
        partials = per_result * region_size(kept) * groups if groups > 1 else 0
        total = (slab + held) * count + combining + partials
        if total <= available:
            break
        cheaper = _smaller(blocks, flow, shaped, box, reads)
        if count > 1 and (cheaper is None or cheaper[1]):
            count -= 1
        elif cheaper is not None:
            blocks = cheaper[0]
        else:
            cell = region_shape(shaped.box(box, shaped.reduced_grid.region((0,) * len(first.axes))))
            raise memory_error(
                f"{first.row} over axes {first.axes}: one cell of {cell} elements",
                total,
                available,
            )
    fields = {
        "jobs": jobs,
        "shaped": shaped,
        "kept_blocks": blocks,
        "kept_origin": origin,
        "fan_in": fan,
        "level": group_level,
        "groups": groups,
        "workers": count,
        "allowance": max(slab, LEAST),
        "peak": total + count * max(0, LEAST - slab),
    }
    return fields, {k: n * blocks.size for k, n in reads.items()}


def _grouping(fan: int, cells: int, blocks: int, workers: int, state_bytes: int, available: int) -> tuple[int, int]:
    """Return the level of a group and how many there are: more than one only where that keeps workers busy."""
    level = math.ceil(math.log(max(1, cells), fan) - 1e-9) if cells > 1 else 0
    groups = 1
    while level > 0 and blocks * groups < 24 * workers:
        more = -(-cells // fan ** (level - 1))
        if more * state_bytes > available // 4 or blocks * more > 512:
            break
        level, groups = level - 1, more
    return level, groups


def _smaller(blocks: Grid, flow: Flow, shaped: Shaped, box: Region, reads: dict[int, int]) -> tuple[Grid, bool] | None:
    """Return the kept blocks halved, and whether that reads more; None if they cannot be halved."""
    axes = [k for k, s in enumerate(blocks.steps) if s > 1]
    if not axes:
        return None
    axis = axes[0]
    steps = tuple(-(-s // 2) if k == axis else s for k, s in enumerate(blocks.steps))
    half = Grid(blocks.shape, steps, tuple(f % s for f, s in zip(blocks.firsts, steps, strict=True)))
    a, b = box[axis]
    small = tuple((a, max(a + 1, (a + b) // 2)) if k == axis else bounds for k, bounds in enumerate(box))
    grid = shaped.reduced_grid
    region = shaped.box(small, grid.region(tuple(n // 2 for n in grid.counts)))
    program = compile_flow(flow, {len(flow.units) - 1: [region]}, stream=True)
    cost = sum(program.bytes_read.values()) * grid.size
    return half, cost > 0.7 * sum(reads.values())
