"""From expressions to a plan: order the barriers, cut costly edges, choose blocks within the budget.

The planner walks the graph once from the results down, to learn which region of each node is asked
for, and once up, turning each barrier into a stage whose result later stages read. Barriers of one
level over the same array and axes share a stage, and so a pass. Where a pass would read a source more
than about twice, a stage before it copies that source into scratch, in tiles that suit both sides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chunkarr.buffers import aligned, memory_error
from chunkarr.errors import MemoryBudgetError
from chunkarr.graph import Barrier, Load, Node, topological
from chunkarr.grid import Grid, Region, Shape, bounding, shift, whole
from chunkarr.ops.contract import EDGE, Contract
from chunkarr.ops.fetching import Fetch
from chunkarr.ops.gathering import Collect
from chunkarr.ops.reduce import Reduce
from chunkarr.ops.scans import Materialise
from chunkarr.ops.sorting import Sort
from chunkarr.plan.blocks import Choice, choose_blocks, source_sizes, stream_axes
from chunkarr.plan.collecting import plan_collection
from chunkarr.plan.contracting import ContractStage, first_panel, panels, plan_contraction
from chunkarr.plan.cutting import copied, costly, cut_sources, split_reads
from chunkarr.plan.fetching import plan_fetch
from chunkarr.plan.fuse import NARROW, Flow, flatten
from chunkarr.plan.reducing import ReduceStage, plan_reduction
from chunkarr.plan.sorting import plan_sort
from chunkarr.plan.stages import MapStage, Pending, Plan, Result
from chunkarr.plan.state import State, scratch_tile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chunkarr.formats.contract import Target

__all__ = ["Output", "plan", "scratch_tile"]

# Bytes that a block should have in one piece in a flat file: a call for less costs more than its copy. Half of them
# where that spares a copy of a source.
RUNS = (8 << 10, 4 << 10)


@dataclass(frozen=True, slots=True)
class Output:
    """A result that is asked for: a node, and the target it is written to; None to only plan."""

    node: Node
    target: Target | None = None


def plan(outputs: Sequence[Output], budget: int, workers: int, *, shared: bool = False) -> Plan:
    """Return how to compute ``outputs`` while holding at most ``budget`` bytes.

    ``shared``: tasks run in several processes, so what they write must be in files that all can see.

    Raises MemoryBudgetError, before any work, when that is impossible.
    """
    if not shared:
        try:
            return _plan(outputs, State(budget, workers, shared, keep=True))
        except MemoryBudgetError:
            pass  # what is kept in memory may be what there was no room for
    return _plan(outputs, State(budget, workers, shared))


def _plan(outputs: Sequence[Output], state: State) -> Plan:
    """Plan with a state that knows of nothing yet."""
    result_bytes = 0
    for output in outputs:
        if getattr(output.target, "array", None) is not None:
            result_bytes += math.prod(output.node.shape) * output.node.dtype.itemsize
    if result_bytes > state.budget:
        raise memory_error(
            "the result as an array in memory", result_bytes, state.budget, "write it to a file with .save(path)"
        )
    state.held = result_bytes
    roots = [o.node for o in outputs]
    asked = _demand(roots)
    once = _read_once(outputs, state)
    direct = {
        id(o.node)
        for o in outputs
        if id(o.node) in once and isinstance(o.node.op, Collect) and getattr(o.target, "array", None) is not None
    }
    for group in _barrier_groups(roots, asked):
        if id(group[0]) not in direct:
            _plan_group(group, asked, state, once)
    for output in outputs:
        if id(output.node) in direct:
            plan_collection(output.node, output.node.region, state, direct=True)
        else:
            _plan_output(output, state)
    return _summary(state, outputs)


def _read_once(outputs: Sequence[Output], state: State) -> set[int]:
    """Return the outputs, by id of their node, that only go where they were asked for, and are not tried again."""
    roots = [o.node for o in outputs]
    read = [id(i) for n in topological(roots) if n.memo is None for i in n.inputs] + [id(n) for n in roots]
    return {id(n) for n in roots if n.memo is None and not state.shared and read.count(id(n)) == 1}


def _demand(roots: Sequence[Node]) -> dict[int, Region]:
    """Return the region of each node that the roots need, by id."""
    asked: dict[int, Region] = {id(r): whole(r.shape) for r in roots if 0 not in r.shape}
    for node in reversed(topological(roots)):
        region = asked.get(id(node))
        if region is None or node.memo is not None:
            continue
        if isinstance(node.op, Materialise):
            region = asked[id(node)] = whole(node.shape)  # once, for all who will ask
        for source, need in zip(node.inputs, node.op.needs(region), strict=True):
            if need is not None:
                have = asked.get(id(source))
                asked[id(source)] = need if have is None else bounding(have, need)
    return asked


def _barrier_groups(roots: Sequence[Node], asked: Mapping[int, Region]) -> list[list[Node]]:
    """Return the barriers in an order in which they can be evaluated, those that share a pass together."""
    level: dict[int, int] = {}
    groups: dict[object, list[Node]] = {}
    for node in topological(roots):
        below = max((level[id(i)] for i in node.inputs), default=0) if node.memo is None else 0
        if isinstance(node.op, Barrier) and node.memo is None and id(node) in asked:
            below += 1
            key: object = id(node)
            if isinstance(node.op, Reduce):
                op = node.op
                kept = op.kept_region(asked[id(node)])
                key = (below, op.in_shape, op.axes, node.inputs[0].grid, kept)
            groups.setdefault((below, key), []).append(node)
        level[id(node)] = below
    return [nodes for _, nodes in sorted(groups.items(), key=lambda item: item[0][0])]  # type: ignore[index]


def _plan_group(nodes: list[Node], asked: Mapping[int, Region], state: State, once: set[int]) -> None:
    first = nodes[0]
    if isinstance(first.op, Reduce):
        _plan_reductions(nodes, asked, state)
    elif isinstance(first.op, Contract):
        _plan_contraction(first, asked[id(first)], state)
    elif isinstance(first.op, Collect):
        plan_collection(first, asked[id(first)], state, direct=False)
    elif isinstance(first.op, Sort):
        plan_sort(first, state, once=id(first) in once)
    elif isinstance(first.op, Fetch):
        plan_fetch(first, state)
    else:
        _plan_materialise(first, asked[id(first)], state)


def _plan_contraction(node: Node, region: Region, state: State) -> None:
    """Plan a matrix product over the tiles that hold ``region``."""
    op: Contract = node.op  # type: ignore[assignment]
    edges = (1,) * (node.ndim - 2) + (EDGE, EDGE)
    region = Grid(node.shape, edges).round_out(region)
    flow = flatten(node.inputs, state.known(node.inputs))
    result = state.place(region, node, written=True)
    fields, reads, useful = plan_contraction(flow, op, region, state.available, state.workers)
    often = costly(flow, reads, useful)
    if often:
        flow = copied(flow, often, panels(flow, *first_panel(fields)), panels(flow, region, (0, op.depth)), state)
        fields, reads, _ = plan_contraction(flow, op, region, state.available, state.workers)
    file_bytes, scratch_bytes = split_reads(flow, reads)
    label = f"matmul {'x'.join(map(str, node.shape))} over {op.depth}"
    state.add(
        ContractStage(
            flow=flow,
            results=(result,),
            label=label,
            bytes_read=file_bytes,
            bytes_scratch=scratch_bytes,
            tasks=state.tasks(fields["blocks"].size),
            **fields,
        )
    )
    state.resolved[id(node)] = Pending(node.shape, result)


def _plan_materialise(node: Node, region: Region, state: State) -> None:
    """Plan a barrier that only holds its input: no second evaluation, no second reading."""
    (source,) = node.inputs
    result = state.place(region, node, written=True)
    _add_map(source, region, (1,) * node.ndim, result, state, "evaluate once")
    state.resolved[id(node)] = Pending(node.shape, result)


def _plan_reductions(nodes: list[Node], asked: Mapping[int, Region], state: State) -> None:
    """Plan reductions of one array over the same axes as one stage."""
    reduces: list[Reduce] = [n.op for n in nodes]  # type: ignore[misc]
    inputs = [i for n in nodes for i in n.inputs]
    known, shape = state.known(inputs), reduces[0].in_shape
    flow = flatten(inputs, known, sink=shape)
    cells = nodes[0].inputs[0].grid
    kept = reduces[0].kept_region(asked[id(nodes[0])])
    results = tuple(state.place(asked[id(n)], n) for n in nodes)
    try:
        fields, reads = plan_reduction(flow, reduces, cells, kept, state.available, state.workers)
    except MemoryBudgetError:
        flow = flatten(inputs, known, sink=shape, widest=NARROW * len(inputs))
        fields, reads = plan_reduction(flow, reduces, cells, kept, state.available, state.workers)
    sink = len(flow.units) - 1
    (domain, *_) = reduces[0].needs(asked[id(nodes[0])])
    assert domain is not None
    flow, changed = cut_sources(flow, sink, domain, reads, _box_of(fields), state)
    if changed:
        fields, reads = plan_reduction(flow, reduces, cells, kept, state.available, state.workers)
    names = ", ".join(dict.fromkeys(r.row for r in reduces))
    label = f"{names} of {'x'.join(map(str, reduces[0].in_shape)) or '1'} over axes {reduces[0].axes}"
    file_bytes, scratch_bytes = split_reads(flow, reads)
    state.add(
        ReduceStage(
            flow=flow,
            results=results,
            label=label,
            bytes_read=file_bytes,
            bytes_scratch=scratch_bytes,
            tasks=state.tasks(fields["kept_blocks"].size * fields["groups"]),
            **fields,
        )
    )
    for node, result in zip(nodes, results, strict=True):
        state.resolved[id(node)] = Pending(node.shape, result)


def _box_of(fields: dict[str, object]) -> Region:
    """Return the region of one cell of a reduction, for choosing tiles."""
    shaped = fields["shaped"]
    index = tuple(n // 2 for n in shaped.cells.counts)  # type: ignore[attr-defined]
    region: Region = shaped.cells.region(index)  # type: ignore[attr-defined]
    return region


def _plan_output(output: Output, state: State) -> None:
    node, target = output.node, output.target
    if 0 in node.shape:
        return
    region = whole(node.shape)
    place = "target"
    result = Result(next(state.key), region, node.dtype, place)
    unit = target.unit if target is not None else (1,) * node.ndim
    _add_map(node, region, unit, result, state, "write" if target is not None else "evaluate", target)


def _add_map(
    node: Node,
    region: Region,
    unit: Shape,
    result: Result,
    state: State,
    label: str,
    target: Target | None = None,
) -> None:
    """Choose the blocks of a map stage, cutting edges first where it would read a source too often."""
    direct = result.place == "memory" or getattr(target, "array", None) is not None
    flat = target is not None and not direct and set(target.grid.steps) == {1}

    def extra(box: Region) -> int:
        if direct:
            return 0
        if target is not None:
            return aligned(target.scratch_bytes(box))
        return aligned(result.scratch_bytes(box)) if result.place == "scratch" else 0

    known = state.known([node])

    def choose(flow: Flow, run: int = RUNS[0]) -> Choice:
        return choose_blocks(
            flow,
            flow.roots[0],
            region=region,
            natural=node.grid.within(region),
            unit=unit,
            extra=extra,
            available=state.available,
            workers=state.workers,
            direct=direct,
            run=run // max(1, node.dtype.itemsize) if flat else 1,
            order=getattr(target, "order", "C") if flat else "C",
            what=label,
        )

    flow = flatten([node], known)
    try:
        choice = choose(flow)
    except MemoryBudgetError:
        flow = flatten([node], known, widest=NARROW)
        choice = choose(flow)
    sizes = source_sizes(flow, flow.roots[0], region) if flat else {}
    if flat and costly(flow, choice.reads, sizes):
        shorter = choose(flow, RUNS[1])
        choice = choice if costly(flow, shorter.reads, sizes) else shorter
    sample = shift(choice.grid.region(tuple(n // 2 for n in choice.grid.counts)), [a for a, _ in region])
    flow, changed = cut_sources(flow, flow.roots[0], region, choice.reads, sample, state)
    if changed:
        choice = choose(flow)
    file_bytes, scratch_bytes = split_reads(flow, choice.reads)
    state.add(
        MapStage(
            flow=flow,
            results=(result,),
            label=label,
            workers=choice.workers,
            allowance=choice.peak,
            peak=choice.peak * choice.workers,
            bytes_read=file_bytes,
            bytes_scratch=scratch_bytes,
            tasks=state.tasks(choice.grid.size),
            blocks=choice.grid,
            unit=unit,
            forward=stream_axes(flow, choice.grid, region),
        )
    )


def _summary(state: State, outputs: Sequence[Output]) -> Plan:
    """Add the stages up."""
    passes: dict[int, float] = {}
    for stage in state.stages:
        seen = {
            id(u.op.stored)
            for u in stage.flow.units
            if isinstance(u.op, Load) and u.op.stored.format not in ("memory", "scratch")
        }
        for key in seen:
            passes[key] = passes.get(key, 0) + 1
    return Plan(
        stages=tuple(state.stages),
        memory=max(state.peak, state.held),
        scratch=state.scratch,
        bytes_read=sum(s.bytes_read for s in state.stages),
        passes=int(max(passes.values(), default=0)),
        tasks=sum(s.tasks for s in state.stages),
        budget=state.budget,
        owners=tuple(state.owners),
        nbytes=sum(math.prod(o.node.shape) * o.node.dtype.itemsize for o in outputs),
    )
