"""Programs: a flow compiled for given regions into linear steps over one slab of memory.

Compiling walks the flow twice. Backwards it collects which regions of each unit are needed, and takes
overlapping ones together, so that each source region is read once. Forwards it emits one step per
(unit, region), and gives each block a place in the slab from its first to its last use. The size of
the slab is therefore known before anything runs: it is the peak of the program.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.buffers import aligned, memory_error
from chunkarr.graph import Kernel, Load, View
from chunkarr.grid import Region, bounding, contains, region_key, region_shape, region_size, region_slices, tiles
from chunkarr.plan.fuse import TILE, Flow, Fused

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Flags", "Program", "compile_flow", "moved", "run"]

Block = np.ndarray[Any, Any]


class Flags:
    """Floating-point events of a task, each once, as NumPy would word them.

    Passed as ``np.errstate(call=...)``; ``name`` is the call that is running.
    """

    def __init__(self) -> None:
        self.name = ""
        self.seen: dict[tuple[str, str], None] = {}

    def __call__(self, kind: str, flag: int) -> None:  # noqa: ARG002 - NumPy's signature
        """Note that ``kind`` happened."""
        self.seen[kind, self.name] = None


class _Step:
    """One (unit, region); ``target`` is the place of its block in the slab, or None."""

    __slots__ = ("gives", "inputs", "op", "region", "scratch", "shape", "target", "unit")

    def __init__(self, unit: int, op: Any, region: Region, gives: int) -> None:
        self.unit, self.op, self.region, self.gives = unit, op, region, gives
        self.shape = region_shape(region)
        self.inputs: list[tuple[int, tuple[slice, ...] | None] | None] = []
        self.target: tuple[int, int] | None = None  # offset and bytes
        self.scratch: tuple[int, int] = (0, 0)


class Program:
    """Steps over a slab of ``nbytes``; ``results`` are the values of the requested (unit, region)."""

    __slots__ = ("bytes_read", "nbytes", "results", "steps", "values")

    def __init__(self) -> None:
        self.steps: list[_Step] = []
        self.results: list[tuple[int, tuple[slice, ...] | None]] = []
        self.values = 0  # how many blocks there are
        self.nbytes = 0  # bytes of slab
        self.bytes_read: dict[int, int] = {}  # per Load unit: whole chunks counted


class _Slab:
    """First-fit placement of blocks by lifetime."""

    def __init__(self) -> None:
        self.live: list[tuple[int, int]] = []  # (offset, end), sorted
        self.peak = 0

    def take(self, nbytes: int) -> tuple[int, int]:
        size = aligned(nbytes)
        at = 0
        for offset, end in self.live:
            if offset - at >= size:
                break
            at = max(at, end)
        self.live.append((at, at + size))
        self.live.sort()
        self.peak = max(self.peak, at + size)
        return at, nbytes

    def give(self, place: tuple[int, int]) -> None:
        self.live.remove((place[0], place[0] + aligned(place[1])))


def _cost(op: Any, region: Region) -> int:
    return op.stored.bytes_read(region) if isinstance(op, Load) else region_size(region)


def _merged(op: Any, regions: list[Region], *, thrifty: bool) -> list[Region]:
    """Take regions together where reading their bounding box costs no more than reading each.

    With ``thrifty`` only those within another: a bounding box may hold more than the regions do.
    """
    unique = list(dict.fromkeys(regions))
    if len(unique) == 1:
        return unique
    done: list[Region] = []
    for candidate in unique:
        region = candidate
        k = 0
        while k < len(done):
            other = done[k]
            both = bounding(region, other)
            if both in (other, region) or (
                not thrifty
                and region_size(both) <= 2 * (region_size(region) + region_size(other))
                and _cost(op, both) <= _cost(op, region) + _cost(op, other)
            ):
                region = both
                done.pop(k)
                k = 0
            else:
                k += 1
        done.append(region)
    return done


def _requests(flow: Flow, wanted: Mapping[int, list[Region]], *, thrifty: bool) -> list[list[Region]]:
    """Return per unit the regions that must be computed, overlaps taken together."""
    needed: list[list[Region]] = [[] for _ in flow.units]
    for root, regions in wanted.items():
        needed[root].extend(regions)
    for k in range(len(flow.units) - 1, -1, -1):
        if not needed[k]:
            continue
        unit = flow.units[k]
        needed[k] = _merged(unit.op, needed[k], thrifty=thrifty)
        for region in needed[k]:
            for source, need in zip(unit.inputs, unit.op.needs(region), strict=True):
                if need is not None:
                    needed[source].append(need)
    return needed


def compile_flow(
    flow: Flow,
    wanted: Mapping[int, list[Region]],
    *,
    direct: frozenset[int] = frozenset(),
    stream: bool = False,
    thrifty: bool = False,
) -> Program:
    """Compile ``flow`` for regions of some units.

    Units in ``direct`` are roots whose block goes straight into memory that the caller hands to
    ``run``. With ``stream``, the last unit is a fused sink: its operands become the results.
    With ``thrifty``, regions that overlap are held each on its own where their bounding box is larger.
    """
    program = Program()
    needed = _requests(flow, wanted, thrifty=thrifty)
    places: list[list[tuple[Region, int]]] = [[] for _ in flow.units]

    def refer(unit: int, region: Region) -> tuple[int, tuple[slice, ...] | None]:
        for have, value in places[unit]:
            if have == region:
                return value, None
            if contains(have, region):
                return value, region_slices(region, have)
        raise AssertionError("a block was not scheduled")

    for k, unit in enumerate(flow.units):
        if stream and k == len(flow.units) - 1:
            break
        for region in needed[k]:
            step = _Step(k, unit.op, region, program.values)
            places[k].append((region, program.values))
            program.values += 1
            for source, need in zip(unit.inputs, unit.op.needs(region), strict=True):
                step.inputs.append(None if need is None else refer(source, need))
            if isinstance(unit.op, Load):
                program.bytes_read[k] = program.bytes_read.get(k, 0) + unit.op.stored.bytes_read(region)
            program.steps.append(step)
    for root, regions in wanted.items():
        if stream:
            sink = flow.units[root]
            for region in regions:
                needs = zip(sink.inputs, sink.op.needs(region), strict=True)
                program.results.extend(refer(source, need) for source, need in needs if need is not None)
        else:
            program.results.extend(refer(root, region) for region in regions)
    _place(program, direct)
    return program


def moved(program: Program, flow: Flow, region: Region) -> Program | None:
    """Return a streamed program for another region of the same shape; None where it must be compiled anew.

    Where the sink reads sources alone, all that changes is which region of each is read.
    """
    sink = flow.units[-1]
    if len(program.steps) != len(sink.inputs) or any(flow.units[k].inputs for k in sink.inputs):
        return None
    needs = dict(zip(sink.inputs, sink.op.needs(region), strict=True))
    other = Program()
    other.results, other.values, other.nbytes = program.results, program.values, program.nbytes
    for old in program.steps:
        need = needs.get(old.unit)
        if need is None or region_shape(need) != old.shape:
            return None
        step = _Step(old.unit, old.op, need, old.gives)
        step.target, step.scratch = old.target, old.scratch
        if _scratch_bytes(step.op, step) > old.scratch[1]:
            return None
        other.steps.append(step)
    return other


def _place(program: Program, direct: frozenset[int]) -> None:
    """Give each block and scratch its place in the slab."""
    last: dict[int, int] = {value: len(program.steps) for value, _ in program.results}
    roots: dict[int, int] = {}  # a view lives as long as its block: value -> value that owns the memory
    for at, step in enumerate(program.steps):
        for ref in step.inputs:
            if ref is not None:
                last[ref[0]] = max(last.get(ref[0], 0), at)
    for step in reversed(program.steps):
        if isinstance(step.op, View) and step.inputs[0] is not None:
            source = step.inputs[0][0]
            last[source] = max(last.get(source, 0), last.get(step.gives, 0))
            roots[step.gives] = source
    slab = _Slab()
    ends: dict[int, list[tuple[int, int]]] = {}
    for at, step in enumerate(program.steps):
        op = step.op
        nbytes = region_size(step.region) * op.dtype.itemsize
        if isinstance(op, View) or _array_of(op) is not None:
            pass
        elif not (step.unit in direct and last.get(step.gives) == len(program.steps)):
            step.target = slab.take(nbytes)
            ends.setdefault(last.get(step.gives, at), []).append(step.target)
        scratch = _scratch_bytes(op, step)
        if scratch:
            step.scratch = slab.take(scratch)
            slab.give(step.scratch)
        for place in ends.pop(at, ()):
            slab.give(place)
    program.nbytes = slab.peak


def _array_of(op: Any) -> Block | None:
    return getattr(op.stored, "array", None) if isinstance(op, Load) else None


def _scratch_bytes(op: Any, step: _Step) -> int:
    if isinstance(op, Fused):
        return op.temporary_bytes(min(TILE, region_size(step.region)))
    if isinstance(op, Load):
        if _array_of(op) is not None:
            return 0
        # Blocks of the slab are contiguous, into which some formats decode without a copy.
        own = None if step.target is None else getattr(op.stored, "block_scratch_bytes", None)
        return (own or op.stored.scratch_bytes)(step.region)
    if isinstance(op, Kernel):
        return op.scratch_bytes(step.region)
    return 0


def run(
    program: Program, slab: Block, flags: Flags, outs: Mapping[int, Block] | None = None, *, order: str | None = None
) -> list[Block]:
    """Run ``program`` in ``slab`` and return its results: views of the slab, valid until it is used again.

    With ``order``, that of what they are written to, values that are only read may come in Fortran order.
    """
    if program.nbytes > slab.nbytes:  # slices of a short slab would overlap without a word
        raise memory_error("a block", program.nbytes, slab.nbytes)
    values: list[Any] = [None] * program.values
    for step in program.steps:
        op = step.op
        blocks: list[Any] = [
            None if r is None else (values[r[0]] if r[1] is None else values[r[0]][r[1]]) for r in step.inputs
        ]
        if isinstance(op, View):
            values[step.gives] = op.view(blocks[0], step.region)
            continue
        array = _array_of(op)
        if array is not None:
            values[step.gives] = array[region_key(step.region)]
            continue
        if step.target is None:
            out = outs[step.unit]  # type: ignore[index]
        elif not op.dtype.itemsize:  # empty text: nothing to lay out
            out = np.empty(step.shape, op.dtype)
        else:
            at, nbytes = step.target
            turned = order is not None and len(program.steps) == 1 and _turned(op, order)
            out = slab[at : at + nbytes].view(op.dtype).reshape(step.shape, order="F" if turned else "C")
        at, nbytes = step.scratch
        scratch = slab[at : at + nbytes]
        if isinstance(op, Load):
            op.stored.read(step.region, out, scratch)
        elif isinstance(op, Fused):
            _run_fused(op, blocks, out, scratch, flags)
        else:
            flags.name = type(op).__name__.lower()
            op.kernel(blocks, step.region, out, scratch)
        values[step.gives] = out
    return [values[v] if cut is None else values[v][cut] for v, cut in program.results]


def _turned(op: Any, order: str) -> bool:
    """Say whether values that are stored with the first axis varying fastest are best read so.

    What is written in C order is turned by those who read chunks, chunk by chunk, in cache.
    """
    stored = getattr(op, "stored", None)
    if stored is None or getattr(stored, "order", "C") != "F":
        return False
    return order == "F" or bool(stored.contiguous or stored.forward)


def operand_keys(key: tuple[slice, ...], shapes: list[tuple[int, ...]]) -> list[Any]:
    """Return what indexes each operand's block to the tile ``key``: axes of size 1 are kept whole."""
    return [
        (*(s if n != 1 else slice(0, 1) for s, n in zip(key[len(key) - len(shape) :], shape, strict=True)), ...)
        for shape in shapes
    ]


def _run_fused(op: Fused, blocks: list[Any], out: Block, scratch: Block, flags: Flags) -> None:
    """Evaluate a group tile by tile; its one result is written into ``out`` by the step that makes it."""
    result = op.results[0]
    shapes = [b.shape for b in blocks]
    count = len(blocks)
    slots: dict[tuple[int, ...], list[Block]] = {}
    # The other slots keep their places; the slot of the result is never touched, its pages stay unused.
    for key, shape in tiles(out.shape, TILE):
        part: Any = (*key, ...)
        held = slots.get(shape)
        if held is None:
            held = slots[shape] = op.carve(scratch, shape)
        values = [b[k] for b, k in zip(blocks, operand_keys(key, shapes), strict=True)]
        values += held
        if result >= count:
            values[result] = out[part]
            op.evaluate(values, flags)
        else:
            out[part] = values[result]
