"""What a task does: compile its blocks, read, compute in cache, and put the result where it belongs.

A task holds one slab, asks before each block whether the run was cancelled, and gives back only values
that it copied out of the slab. Nothing here knows which scheduler runs it.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.buffers import aligned
from chunkarr.errors import CancelledError
from chunkarr.grid import Grid, Region, Shape, region_key, region_shape, region_size, shift, tiles
from chunkarr.ops.reductions import REDUCTIONS, Leaf, Reduction
from chunkarr.plan.blocks import halves
from chunkarr.plan.fuse import TILE, Fused
from chunkarr.plan.program import Flags, Program, compile_flow, moved, operand_keys, run
from chunkarr.plan.reducing import INNER, OUTER, ReduceStage, Shaped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from chunkarr.buffers import Slabs
    from chunkarr.formats.contract import Target
    from chunkarr.plan.holding import HoldStage
    from chunkarr.plan.stages import MapStage

__all__ = ["Context", "Turns", "boxes", "combine_groups", "map_block", "result_region", "run_map", "run_reduce"]

Block = np.ndarray[Any, Any]
State = tuple[Block, ...]


class Context:
    """What a task shares with the others of its run in this process."""

    def __init__(self, slabs: Slabs, cancelled: Callable[[], bool], advance: Callable[[int], None]) -> None:
        self.slabs, self.cancelled, self.advance = slabs, cancelled, advance

    def check(self) -> None:
        """Raise CancelledError if the run was cancelled."""
        if self.cancelled():
            raise CancelledError("the run was cancelled before it was complete; no output was left")


class Turns:
    """The numbers of blocks, each given to one task of this process: to the first that asks.

    Parameters
    ----------
    counts
        How many blocks there are along each axis.
    axes
        The order in which they come, as of nested loops: the axis along which they come first is the last.

    Examples
    --------
    >>> turns = Turns((2, 3), (1, 0))
    >>> next(turns), list(turns)
    (0, [3, 1, 4, 2, 5])
    """

    def __init__(self, counts: Shape, axes: Shape) -> None:
        strides = [math.prod(counts[k + 1 :]) for k in axes]
        loops = product(*(range(0, counts[k] * s, s) for k, s in zip(axes, strides, strict=True)))
        self._numbers = map(sum, loops)
        self._lock = threading.Lock()

    def __iter__(self) -> Turns:
        """Return this: who asks takes part."""
        return self

    def __next__(self) -> int:
        """Return the next number."""
        with self._lock:
            return next(self._numbers)


def boxes(grid: Grid, positions: Iterable[int]) -> Iterator[Region]:
    """Yield the boxes of ``grid`` at these ``positions`` in C order."""
    counts = grid.counts
    for position in positions:
        yield grid.region(tuple(int(i) for i in np.unravel_index(position, counts)) if counts else ())


def run_map(stage: MapStage, target: Target, numbers: Iterable[int], context: Context) -> list[tuple[str, str]]:
    """Compute the blocks of these ``numbers`` of a stage into ``target``; return floating-point events."""
    flags = Flags()
    origin = tuple(a for a, _ in stage.results[0].region)
    with context.slabs.take(stage.allowance) as slab, np.errstate(all="call", call=flags):
        for box in boxes(stage.blocks, numbers):
            context.check()
            for part in target.parts(box):
                map_block(stage, target, part, origin, slab, flags)
            target.done(box)
            context.advance(region_size(box) * target.dtype.itemsize)
    return list(flags.seen)


def map_block(
    stage: MapStage | HoldStage, target: Target, box: Region, origin: Shape, slab: Block, flags: Flags
) -> None:
    """Compute one block; one that turns out larger than planned is cut in two."""
    root = stage.flow.roots[0]
    whole = getattr(target, "array", None)  # memory: blocks are computed in place
    wanted, direct = {root: [shift(box, origin)]}, frozenset({root} if whole is not None else ())
    program = compile_flow(stage.flow, wanted, direct=direct)
    write = 0 if whole is not None else target.scratch_bytes(box)
    if aligned(program.nbytes) + write > slab.nbytes:
        program = compile_flow(stage.flow, wanted, direct=direct, thrifty=True)
    offset = aligned(program.nbytes)
    if offset + write > slab.nbytes:
        for half in halves(box, stage.unit, offset + write, stage.allowance):
            map_block(stage, target, half, origin, slab, flags)
        return
    if whole is not None:
        out = whole[region_key(box)]
        (block,) = run(program, slab, flags, {root: out})
        if not np.may_share_memory(block, out):
            out[...] = block
        return
    (block,) = run(program, slab, flags, order=target.order)
    target.write(box, block, slab[offset:])


class _Counter:
    """Combine a sequence of states as a ``fan``-ary tree over their positions."""

    def __init__(self, combine: Callable[[State, State], State], fan: int) -> None:
        self.combine, self.fan = combine, fan
        self.levels: list[tuple[State | None, int]] = []

    def push(self, state: State, level: int = 0) -> None:
        """Add the next state, which is a complete subtree of the given level (or the last one)."""
        while True:
            while len(self.levels) <= level:
                self.levels.append((None, 0))
            held, count = self.levels[level]
            state = state if held is None else self.combine(held, state)
            count += 1
            if count < self.fan:
                self.levels[level] = (state, count)
                return
            self.levels[level] = (None, 0)
            level += 1

    def finish(self) -> State:
        """Return the state of all."""
        result: State | None = None
        for held, _ in self.levels:
            if held is not None:
                result = held if result is None else self.combine(held, result)
        if result is None:
            raise AssertionError("nothing was combined")
        return result


def _kept_axes(shaped: Shaped) -> tuple[tuple[int, ...], int]:
    """Return the axes in the order (leading kept, reduced, trailing kept), and how many lead."""
    last = max(shaped.axes, default=-1)
    lead = tuple(k for k in shaped.kept if k < last)
    trail = tuple(k for k in shaped.kept if k > last)
    return (*lead, *shaped.axes, *trail), len(lead)


@dataclass(frozen=True, slots=True)
class _LeafIndex:
    """Map positions in a leaf, flattened along the reduced axes, to those of the whole array."""

    starts: tuple[int, ...]  # where the leaf starts along the reduced axes
    local: Shape  # its shape along them
    lengths: Shape  # that of the array

    def __call__(self, at: Block) -> Block:
        """Return the flat positions in C order."""
        if len(self.lengths) < 2:
            return at + sum(self.starts)
        places = np.unravel_index(at, self.local)
        moved = tuple(p + s for p, s in zip(places, self.starts, strict=True))
        return np.asarray(np.ravel_multi_index(moved, self.lengths))


@dataclass(frozen=True, slots=True)
class _Tile:
    """One leaf over one tile of the kept block, in a cell of a known shape."""

    keys: tuple[tuple[Any, ...], ...]  # what it is of each operand's block
    shape: Shape
    three: Shape  # (leading kept, reduced, trailing kept)
    leaf: tuple[slice, ...]  # along the reduced axes, within the cell


class _Cells:
    """Reduce cells tile by tile; what depends on their shapes only is worked out once."""

    def __init__(self, stage: ReduceStage, memory: Block, flags: Flags) -> None:
        self.stage, self.memory, self.flags = stage, memory, flags
        self.shaped = stage.shaped
        self.fused: Fused = stage.flow.units[-1].op  # type: ignore[assignment]
        self.order, self.lead = _kept_axes(self.shaped)
        self.straight = self.order == tuple(range(len(self.order)))
        self.rows: list[Reduction] = [REDUCTIONS[job.row] for job in stage.jobs]
        self.slots: dict[Shape, list[Block]] = {}
        self.limit = INNER if self.shaped.inner else OUTER
        self.inner = self.shaped.inner
        self.axes = self.shaped.axes
        self.lengths = tuple(self.shaped.shape[k] for k in self.axes)
        self.programs: dict[Shape, Program] = {}
        self.tilings: dict[Any, list[tuple[tuple[slice, ...], list[_Tile]]]] = {}

    def program(self, box: Region) -> Program:
        """Return the program of a cell: that of the last one of its shape, moved, where that can be."""
        flow, shape = self.stage.flow, region_shape(box)
        last = self.programs.get(shape)
        program = moved(last, flow, box) if last is not None else None
        if program is None:
            program = compile_flow(flow, {len(flow.units) - 1: [box]}, stream=True)
        self.programs[shape] = program
        return program

    def run(self, blocks: list[Block], box: Region) -> Iterator[tuple[tuple[slice, ...], list[State]]]:
        """Yield for each tile of the kept block its slices and the state of each job over this cell."""
        shapes = [b.shape for b in blocks]
        shape = region_shape(box)
        tiling = self.tilings.get((shape, *shapes))
        if tiling is None:
            tiling = self.tilings[(shape, *shapes)] = self._tiling(shape, shapes)
        starts = tuple(box[k][0] for k in self.axes)
        for kept_key, leaves in tiling:
            counters = [_Counter(row.combine, 2) for row in self.rows]
            for tile in leaves:
                self._leaf(blocks, tile, starts, counters)
            yield kept_key, [c.finish() for c in counters]

    def _tiling(self, shape: Shape, shapes: list[Shape]) -> list[tuple[tuple[slice, ...], list[_Tile]]]:
        """Cut a cell of ``shape`` into tiles: over the kept axes, and for each its leaves."""
        leaves = tiles(tuple(shape[k] for k in self.axes), self.limit)
        room = max(1, TILE // max(1, math.prod(leaves[0][1])))
        result = []
        for kept_key, kept_shape in tiles(tuple(shape[k] for k in self.shaped.kept), room):
            column = []
            for leaf_key, leaf_shape in leaves:
                key: Any = self.shaped.box(kept_key, leaf_key)  # type: ignore[arg-type]
                whole: Any = self.shaped.box(kept_shape, leaf_shape)  # type: ignore[arg-type]
                leads = math.prod(whole[k] for k in self.order[: self.lead])
                three = (leads, math.prod(leaf_shape), math.prod(kept_shape) // max(1, leads))
                keys = tuple(operand_keys(key, shapes))
                column.append(_Tile(keys, whole, three, leaf_key))
            result.append((kept_key, column))
        return result

    def _leaf(self, blocks: list[Block], tile: _Tile, starts: tuple[int, ...], counters: list[_Counter]) -> None:
        values: list[Any] = [b[k] for b, k in zip(blocks, tile.keys, strict=True)]
        if self.fused.steps:
            held = self.slots.get(tile.shape)
            if held is None:
                held = self.slots[tile.shape] = self.fused.carve(self.memory, tile.shape)
            values += held
            self.fused.evaluate(values, self.flags)
        self.flags.name = "reduce"
        offsets = tuple(s.start + a for s, a in zip(tile.leaf, starts, strict=True))
        index = _LeafIndex(offsets, tuple(s.stop - s.start for s in tile.leaf), self.lengths)
        ready: dict[int, Block] = {}
        at = 0
        for job, row, counter in zip(self.stage.jobs, self.rows, counters, strict=True):
            x = self._layout(values, self.fused.results[at], tile, ready)
            mask = self._layout(values, self.fused.results[at + 1], tile, ready) if job.masked else None
            at += 1 + job.masked
            counter.push(row.leaf(x, mask, Leaf(job.asked, job.states, self.inner, index)))

    def _layout(self, values: list[Any], place: int, tile: _Tile, ready: dict[int, Block]) -> Block:
        """Return a value as (leading kept, reduced, trailing kept)."""
        if place not in ready:
            value = values[place]
            if value.shape != tile.shape:
                value = np.broadcast_to(value, tile.shape)
            ready[place] = (value if self.straight else value.transpose(self.order)).reshape(tile.three)
        return ready[place]


def run_reduce(
    stage: ReduceStage, ends: tuple[Target | None, ...], start: int, stop: int, context: Context
) -> tuple[list[Any], list[tuple[str, str]]]:
    """Reduce the items ``start`` ... ``stop``, each one group of cells over one kept block.

    Returns per item, in order, the states of its jobs; where there is one group only, their values, or
    None for those that were written to their end.
    """
    flags = Flags()
    answers = []
    sink = len(stage.flow.units) - 1
    fused: Any = stage.flow.units[sink].op
    tile = min(TILE, math.prod(stage.shaped.cells.steps))
    temporaries = aligned(fused.temporary_bytes(tile))
    with context.slabs.take(stage.allowance + temporaries) as slab, np.errstate(all="call", call=flags):
        work = _Cells(stage, slab[:temporaries], flags)
        for item in range(start, stop):
            block, group = divmod(item, stage.groups)
            kept = shift(next(boxes(stage.kept_blocks, range(block, block + 1))), stage.kept_origin)
            states = _reduce_group(work, kept, group, slab[temporaries:], context)
            answers.append(_deliver(stage, block, kept, states, ends) if stage.groups == 1 else states)
    return answers, list(flags.seen)


def _reduce_group(work: _Cells, kept: Region, group: int, slab: Block, context: Context) -> list[State]:
    """Return the states of all jobs over one group of cells and one kept block."""
    stage, shaped = work.stage, work.shaped
    counters = [_Counter(row.combine, stage.fan_in) for row in work.rows]
    shape = region_shape(kept)
    cells = stage.cells_of(group)
    for reduced in boxes(shaped.reduced_grid, cells):
        context.check()
        held = [tuple(np.empty(shape, d) for d in job.states) for job in stage.jobs]
        for part, program in _fitting(work, kept, reduced, slab.nbytes):
            box = shaped.box(part, reduced)
            blocks = run(program, slab, work.flags)
            inside = region_key(part, kept)
            for tile_key, states in work.run(blocks, box):
                key: Any = (*tile_key, ...)
                for wholes, tile in zip(held, states, strict=True):
                    for whole, values in zip(wholes, tile, strict=True):
                        place = whole[inside][key]
                        place[...] = values.reshape(place.shape)
        for counter, state in zip(counters, held, strict=True):
            counter.push(state)
        context.advance(region_size(shaped.box(kept, reduced)) * work.fused.dtype.itemsize)
    return [c.finish() for c in counters]


def _fitting(work: _Cells, kept: Region, reduced: Region, nbytes: int) -> Iterator[tuple[Region, Program]]:
    """Yield parts of a kept block whose programs fit the slab: one, unless a cell needs more than was planned."""
    program = work.program(work.shaped.box(kept, reduced))
    if program.nbytes <= nbytes:
        yield kept, program
        return
    for half in halves(kept, (1,) * len(kept), program.nbytes, nbytes):
        yield from _fitting(work, half, reduced, nbytes)


def _deliver(
    stage: ReduceStage, block: int, kept: Region, states: list[State], ends: tuple[Target | None, ...]
) -> list[Block | None]:
    """Turn states into values, and write those that have an end: too many to be returned."""
    values: list[Block | None] = list(_finish(stage, kept, states))
    for k, end in enumerate(ends):
        value = values[k]
        if end is not None and value is not None:
            region = result_region(stage, block, len(end.shape))
            end.write(region, value.reshape(region_shape(region)), np.empty(end.scratch_bytes(region), np.uint8))
            values[k] = None
    return values


def result_region(stage: ReduceStage, block: int, ndim: int) -> Region:
    """Return where the values of a kept block lie in a result, which keepdims may have given more axes."""
    box = next(boxes(stage.kept_blocks, range(block, block + 1)))
    if len(box) == ndim:
        return box
    bounds = iter(box)
    return tuple((0, 1) if k in stage.shaped.axes else next(bounds) for k in range(ndim))


def _finish(stage: ReduceStage, kept: Region, states: list[State]) -> list[Block]:
    """Turn states into values of the kept block's shape."""
    shape = region_shape(kept)
    values = []
    for job, state in zip(stage.jobs, states, strict=True):
        flat = tuple(a.reshape(1, -1) for a in state)
        values.append(REDUCTIONS[job.row].finish(flat, job.asked, job.dtype).reshape(shape))
    return values


def combine_groups(
    stage: ReduceStage, block: int, parts: list[list[State]]
) -> tuple[list[Block], list[tuple[str, str]]]:
    """Combine the groups of one kept block, in order, and turn them into values."""
    flags = Flags()
    flags.name = "reduce"
    kept = shift(next(boxes(stage.kept_blocks, range(block, block + 1))), stage.kept_origin)
    with np.errstate(all="call", call=flags):
        counters = [_Counter(REDUCTIONS[job.row].combine, stage.fan_in) for job in stage.jobs]
        for part in parts:
            for counter, state in zip(counters, part, strict=True):
                counter.push(tuple(a.copy() for a in state), stage.level)
        values = _finish(stage, kept, [c.finish() for c in counters])
    return values, list(flags.seen)
