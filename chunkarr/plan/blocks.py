"""Choose the blocks of a pass: large enough to be fast, small enough for the budget, aligned to chunks.

Candidates are tried by compiling them: the slab of a program says what a block holds, its reads say
what a block costs. Nothing is guessed from the kind of operation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from chunkarr.buffers import memory_error
from chunkarr.graph import Load
from chunkarr.grid import Grid, Region, Shape, region_shape, region_size, shift
from chunkarr.plan.program import Program, compile_flow

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from chunkarr.plan.fuse import Flow

    Wanted = Callable[[Region], Mapping[int, list[Region]]]

__all__ = ["BLOCK", "Choice", "choose_blocks", "halves", "stream_axes"]

BLOCK = 8 << 20  # bytes of slab and result that a block aims at when chunks leave the choice
REREAD = 2.05  # times a source may be read in one pass before a scratch copy is better


@dataclass(frozen=True, slots=True)
class Choice:
    """Blocks over a region and what they cost."""

    grid: Grid  # over the asked region, starting at zero
    peak: int  # bytes of slab for the largest block sampled
    reads: dict[int, float]  # per Load unit of the flow: bytes read in the whole pass, estimated
    workers: int

    def amplification(self, sizes: dict[int, int]) -> dict[int, float]:
        """Return per Load unit how often its bytes are read."""
        return {k: n / max(1, sizes[k]) for k, n in self.reads.items()}


def _samples(grid: Grid) -> list[Region]:
    """Return up to a handful of boxes: corners and the middle of each axis."""
    picks = [sorted({0, n // 2, n - 1}) for n in grid.counts]
    boxes = list(product(*picks))
    if len(boxes) > 9:
        boxes = [boxes[0], boxes[-1], tuple(p[len(p) // 2] for p in picks), *boxes[1 :: max(1, len(boxes) // 6)]][:9]
    return [grid.region(b) for b in dict.fromkeys(boxes)]


def _try(
    flow: Flow, root: int, grid: Grid, origin: Shape, extra: Callable[[Region], int], wanted: Wanted, direct: bool
) -> tuple[int, dict[int, float]]:
    """Return the peak of sampled blocks, and the bytes that a pass reads per Load unit."""
    peak, reads, size = 0, dict[int, float](), 0
    for box in _samples(grid):
        region = shift(box, origin)
        program: Program = compile_flow(flow, wanted(region), direct=frozenset({root}) if direct else frozenset())
        peak = max(peak, program.nbytes + extra(box))
        size += region_size(box)
        for k, n in program.bytes_read.items():
            reads[k] = reads.get(k, 0) + n
    total = math.prod(grid.shape)
    return peak, {k: n * total / max(1, size) for k, n in reads.items()}


def _aligned_steps(unit: Shape, natural: Grid, shape: Shape) -> list[int]:
    """Return a block of whole units that also holds whole boxes of the natural grid, if that is near."""
    steps = []
    for u, s, n in zip(unit, natural.steps, shape, strict=True):
        both = math.lcm(u, s)
        step = both if both <= max(4 * u, s, 1) else u * max(1, round(s / u))
        steps.append(max(1, min(step, -(-n // u) * u)))
    return steps


def choose_blocks(
    flow: Flow,
    root: int,
    region: Region,
    natural: Grid,
    unit: Shape,
    extra: Callable[[Region], int],
    available: int,
    workers: int,
    *,
    direct: bool = False,
    wanted: Wanted | None = None,
    run: int = 1,
    order: str = "C",
    what: str = "the computation",
) -> Choice:
    """Return blocks of whole ``unit`` boxes over ``region`` that ``workers`` tasks can hold in ``available`` bytes.

    ``extra`` gives the bytes that writing a box holds; ``wanted`` what a block needs of units of the flow, if that
    is not just the block of ``root``; ``run`` how many elements a block should have one
    after another in this ``order`` of the array, where its values go to a file without chunks. Raises
    MemoryBudgetError when one unit in one task does not fit.
    """
    origin = tuple(a for a, _ in region)
    shape = region_shape(region)
    itemsize = max(1, flow.units[root].op.dtype.itemsize)
    steps = _aligned_steps(unit, natural, shape)
    if run > 1:
        steps = _lengthen(steps, shape, run) if order == "C" else _lengthen(steps[::-1], shape[::-1], run)[::-1]
        natural = Grid(shape, tuple(steps))
    steps = _grow(steps, unit, shape, BLOCK // itemsize // 2, order)

    def attempt(candidate: list[int]) -> tuple[int, dict[int, float]]:
        grid = Grid(shape, tuple(candidate))
        return _try(flow, root, grid, origin, extra, wanted or (lambda block: {root: [block]}), direct)

    peak, reads = attempt(steps)
    count = workers
    while peak * count > available:
        smaller = _halve(steps, unit, natural)
        if smaller is None:
            if count > 1:
                count -= 1
                continue
            raise memory_error(f"{what}: one block of {tuple(steps)} elements", peak, available)
        steps = smaller
        peak, reads = attempt(steps)
    steps, peak, reads = _less_reading(steps, peak, reads, shape, available // count, attempt)
    return Choice(Grid(shape, tuple(steps)), peak, reads, count)


def _grow(steps: list[int], unit: Shape, shape: Shape, elements: int, order: str) -> list[int]:
    """Take small boxes together, along the axis that varies fastest first, up to ``elements``."""
    room = elements // max(1, math.prod(steps))
    for axis in range(len(steps)) if order == "F" else range(len(steps) - 1, -1, -1):
        if room <= 1:
            break
        times = min(room, -(-shape[axis] // steps[axis])) if shape[axis] else 1
        steps[axis] *= max(1, times)
        room //= max(1, times)
    return [min(s, -(-n // u) * u) if n else 1 for s, u, n in zip(steps, unit, shape, strict=True)]


def _lengthen(steps: list[int], shape: Shape, run: int) -> list[int]:
    """Stretch the last axes until a block has runs of ``run`` elements, and shorten those before them as much.

    >>> _lengthen([4096, 16], (4096, 4096), 256), _lengthen([16, 4096, 1], (4096, 4096, 2), 256)
    ([256, 256], [8, 4096, 2])
    """
    size, longer, axis = max(math.prod(steps), run), list(steps), len(steps)
    while run > 1 and axis:
        axis -= 1
        longer[axis] = max(1, min(shape[axis], max(steps[axis], run)))
        run = -(-run // longer[axis]) if longer[axis] >= shape[axis] else 1
    while math.prod(longer) > size and max(longer[:axis], default=1) > 1:
        widest = longer.index(max(longer[:axis]))
        longer[widest] = -(-longer[widest] // 2)
    return longer


def _halve(steps: list[int], unit: Shape, natural: Grid) -> list[int] | None:
    """Halve the block along its best axis: the first one that leaves whole grid boxes, else the longest."""

    def half(axis: int) -> int:
        return max(unit[axis], steps[axis] // 2 // unit[axis] * unit[axis])

    axes = [k for k, s in enumerate(steps) if s > unit[k]]
    if not axes:
        return None
    whole = [k for k in axes if half(k) >= natural.steps[k]]
    axis = whole[0] if whole else max(axes, key=lambda k: steps[k] // unit[k])
    return [half(k) if k == axis else s for k, s in enumerate(steps)]


def _less_reading(
    steps: list[int],
    peak: int,
    reads: dict[int, float],
    shape: Shape,
    allowance: int,
    attempt: Callable[[list[int]], tuple[int, dict[int, float]]],
) -> tuple[list[int], int, dict[int, float]]:
    """Stretch the block along axes as long as that saves reading and fits."""
    while True:
        best = None
        for axis, n in enumerate(shape):
            if steps[axis] >= n:
                continue
            wider = [min(2 * s, n) if k == axis else s for k, s in enumerate(steps)]
            new_peak, new_reads = attempt(wider)
            if new_peak <= allowance and sum(new_reads.values()) < 0.9 * sum(reads.values()):
                gain = sum(new_reads.values())
                if best is None or gain < best[0]:
                    best = (gain, wider, new_peak, new_reads)
        if best is None:
            return steps, peak, reads
        _, steps, peak, reads = best


def halves(box: Region, unit: Shape, needed: int, allowed: int) -> tuple[Region, Region]:
    """Cut ``box`` in two at a multiple of ``unit``; raise MemoryBudgetError where it is one unit."""
    axes = [k for k, (a, b) in enumerate(box) if b - a > unit[k]]
    if not axes:
        raise memory_error(f"a block of {region_shape(box)} elements", needed, allowed)
    axis = max(axes, key=lambda k: (box[k][1] - box[k][0]) // unit[k])
    a, b = box[axis]
    middle = a + max(1, (b - a) // 2 // unit[axis]) * unit[axis]
    low = tuple((a, middle) if k == axis else x for k, x in enumerate(box))
    high = tuple((middle, b) if k == axis else x for k, x in enumerate(box))
    return low, high


def stream_axes(flow: Flow, blocks: Grid, region: Region) -> Shape:
    """Return the axes of ``blocks``, over ``region``, as of nested loops that follow a stream from its beginning.

    The axis along which blocks lie nearest to each other in it comes last. No axes where no source is a stream.
    """
    streams = [k for k, u in enumerate(flow.units) if isinstance(u.op, Load) and u.op.stored.forward]
    if not streams:
        return ()
    stored: Any = flow.units[streams[0]].op.stored  # type: ignore[attr-defined]
    order = -1 if getattr(stored, "order", "C") == "F" else 1
    strides = [math.prod(stored.shape[::order][k + 1 :]) for k in range(len(stored.shape))][::order]

    def begin(block: tuple[int, ...]) -> int:
        box = shift(blocks.region(block), [a for a, _ in region])
        read = [step.region for step in compile_flow(flow, {flow.roots[0]: [box]}).steps if step.unit == streams[0]]
        return min((sum(a * s for (a, _), s in zip(r, strides, strict=True)) for r in read), default=0)

    ways = {
        k: begin(tuple(int(k == axis) for axis in range(len(blocks.counts))))
        for k, n in enumerate(blocks.counts)
        if n > 1
    }
    return tuple(sorted(range(len(blocks.counts)), key=lambda k: -ways.get(k, 0)))


def source_sizes(flow: Flow, root: int, region: Region) -> dict[int, int]:
    """Return per Load unit the bytes that one whole reading of what ``region`` needs takes."""
    program = compile_flow(flow, {root: [region]})
    sizes = dict(program.bytes_read)
    for k, unit in enumerate(flow.units):
        if isinstance(unit.op, Load):
            sizes.setdefault(k, 0)
    return sizes
