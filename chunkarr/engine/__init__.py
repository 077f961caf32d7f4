"""Run a plan: bind results to stages, hand out tasks, warn once, leave nothing behind."""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.engine.collection import put_returned, run_collect
from chunkarr.engine.contraction import one_blas_thread, run_contract
from chunkarr.engine.fetching import Routed, run_fetch, run_route
from chunkarr.engine.reserve import RESERVE, trim
from chunkarr.engine.resuming import Logged
from chunkarr.engine.schedule import HERE, Run, Scheduler, call_tasks, scheduler
from chunkarr.engine.small import compute_small, forget_chunks
from chunkarr.engine.sorting import merged, run_files, run_sort
from chunkarr.engine.tasks import Turns, boxes, combine_groups, result_region, run_map, run_reduce
from chunkarr.engine.updating import Window, are_small, change_bytes, small_parts, update_small
from chunkarr.errors import StaleExpressionError
from chunkarr.formats.memory import MemoryStored, MemoryTarget
from chunkarr.formats.scratch import ScratchArray
from chunkarr.graph import Load, Node, topological
from chunkarr.grid import Grid, region_key, region_shape
from chunkarr.ops.assign import Assign, assign
from chunkarr.ops.layout import take_basic
from chunkarr.ops.sources import load
from chunkarr.plan.collecting import CollectStage
from chunkarr.plan.contracting import ContractStage
from chunkarr.plan.fetching import FetchStage, RouteStage
from chunkarr.plan.planner import Output, plan, scratch_tile
from chunkarr.plan.program import Flags
from chunkarr.plan.reducing import ReduceStage
from chunkarr.plan.sorting import SortStage
from chunkarr.plan.stages import MapStage, Part, Plan, Result, Stage
from chunkarr.progress import reporter
from chunkarr.selection import Stride
from chunkarr.settings import budget, config, scratch_directory, workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from chunkarr.formats.contract import Stored, Target, Update
    from chunkarr.grid import Region
    from chunkarr.progress import Reporter

__all__ = ["Plan", "check_fresh", "compute", "make_plan", "settle", "store", "trim", "update", "visit", "write_region"]


def check_fresh(nodes: Sequence[Node]) -> None:
    """Raise StaleExpressionError if a stored array below ``nodes`` is not what it was."""
    for op in {n.op for n in topological(nodes, lambda _: False) if isinstance(n.op, Load)}:
        now = op.stored.generation()
        if now != op.generation:
            raise StaleExpressionError(
                f"{op.stored.path} changed after the expression was built (it was {op.generation}, it is {now}); "
                "open it again and rebuild the expression"
            )


def make_plan(nodes: Sequence[Node]) -> Plan:
    """Plan the evaluation of ``nodes`` without running it."""
    return plan([Output(n) for n in nodes], budget(), workers())


def compute(nodes: Sequence[Node], *, progress: bool | Reporter | None = None) -> list[np.ndarray[Any, Any]]:
    """Return the values of ``nodes`` as new arrays, all in as few passes as they allow."""
    check_fresh(nodes)
    flags = Flags()
    small = compute_small(nodes, budget(), flags)
    if small is not None:
        _report(flags.seen)
        return small
    nodes, who = _brought_here(nodes, _who(nodes), progress)
    planned = plan([Output(n, _Promise(n)) for n in nodes], budget(), workers())  # type: ignore[arg-type]
    with RESERVE.take(planned.memory, planned.budget) as waited:
        if waited:
            check_fresh(nodes)
        arrays = [np.empty(n.shape, n.dtype) for n in nodes]
        _execute(planned, [MemoryTarget(a) for a in arrays], who, progress)
    return arrays


class _Promise:
    """An array in memory that is only planned: refused before it is allocated."""

    def __init__(self, node: Node) -> None:
        self.array = True
        self.shape, self.dtype = node.shape, node.dtype
        self.grid = Grid(node.shape, (1,) * len(node.shape))
        self.unit = self.grid.steps


def store(node: Node, target: Target, *, progress: bool | Reporter | None = None) -> Plan:
    """Write the values of ``node`` to ``target`` and commit it; abort it if anything goes wrong."""
    try:
        who = _who([node])
        if not target.distributable:
            (node,), who = _brought_here([node], who, progress)
        planned = plan([Output(node, target)], budget(), workers(), shared=not who.here)
        if isinstance(target, Logged):
            target.begin(planned)
        with RESERVE.take(planned.memory, planned.budget):
            check_fresh([node])
            _execute(planned, [target], who, progress)
        check_fresh([node])
        target.commit()
    except BaseException as error:
        if isinstance(target, Logged):
            target.fail(error)
        else:
            target.abort()
        raise
    return planned


def _who(nodes: Sequence[Node]) -> Scheduler:
    """Return who runs the tasks: threads of this process where only that sees a source."""
    seen = (n.op.stored for n in topological(nodes) if isinstance(n.op, Load))
    return scheduler() if all(stored.portable for stored in seen) else HERE


def visit(node: Node, visitor: Target, held: int = 0, *, progress: bool | Reporter | None = None) -> None:
    """Hand each block of ``node`` to ``visitor.write`` once, in any order, from several threads of this process.

    ``held`` bytes of the budget are kept for what the visitor holds besides its ``scratch_bytes``.
    """
    (node,), who = _brought_here([node], _who([node]), progress)
    planned = plan([Output(node, visitor)], budget() - held, workers())
    with RESERVE.take(planned.memory + held, budget()):
        check_fresh([node])
        _execute(planned, [visitor], who, progress)


def settle(node: Node) -> Node:
    """Compute ``node`` now, once, into a scratch file that lives as long as the node that is returned."""
    if 0 in node.shape:
        return node
    end = ScratchArray(scratch_directory(), node.shape, node.dtype, scratch_tile(node, node.region))
    store(node, end)
    return load(end)


def update(old: Node, op: Assign, values: Sequence[Node], change: Update) -> None:
    """Write what ``op`` makes of ``old``, the array before the change, and ``values`` into ``change``.

    Only boxes that are touched are evaluated and written; ``change`` is left to be committed.
    """
    region = change.grid.round_out(op.place.region)
    touched = partial(op.touched, grid=change.grid)
    parts = small_parts(touched(region), op.dtype.itemsize, budget() // 8)
    if parts is not None and are_small(values):
        blocks = compute(values) if values else []
        with RESERVE.take(change_bytes(parts, op, change), budget()):
            update_small(op, blocks, change, parts)
        return
    write_region(assign(old, op.place, op.setter, values), change, region, touched)


def write_region(
    node: Node,
    change: Update,
    region: Region,
    touched: Callable[[Region], Iterable[Region]] | None = None,
    *,
    here: bool = False,
) -> None:
    """Write the touched parts of ``region``, by default all of it, of ``node``, the array after the change.

    ``here``: by threads of this process, whatever scheduler is active.
    """
    part = take_basic(node, tuple(Stride(a, 1, b - a) for a, b in region))
    target = Window(change, region, touched or (lambda box: (box,)))
    who = HERE if here else _who([part])
    if not target.distributable:
        (part,), who = _brought_here([part], who, None)
    planned = plan([Output(part, target)], budget(), workers(), shared=not who.here)
    with RESERVE.take(planned.memory, planned.budget):
        check_fresh([part])
        _execute(planned, [target], who, None)


def _brought_here(
    nodes: Sequence[Node], who: Scheduler, progress: bool | Reporter | None
) -> tuple[Sequence[Node], Scheduler]:
    """Return nodes that this process can evaluate alone, and the scheduler that does.

    Where tasks run in other processes, these compute the values into scratch files that all can see.
    """
    if who.here:
        return nodes, who
    check_fresh(nodes)
    full = [n for n in nodes if 0 not in n.shape]
    ends = [ScratchArray(scratch_directory(), n.shape, n.dtype, scratch_tile(n, n.region)) for n in full]
    outputs = [Output(n, e) for n, e in zip(full, ends, strict=True)]
    planned = plan(outputs, budget(), workers(), shared=True)
    with RESERVE.take(planned.memory, planned.budget):
        _execute(planned, ends, who, progress)
    found = {id(n): load(e) for n, e in zip(full, ends, strict=True)}
    return [found.get(id(n), n) for n in nodes], HERE


def _execute(planned: Plan, targets: Sequence[Target], who: Scheduler, progress: bool | Reporter | None) -> None:
    """Run all stages; floating-point events are reported once, in the caller's thread."""
    forget_chunks()
    chosen = reporter(config.get("progress", False) if progress is None else progress)
    run = Run(scratch_directory(), chosen)
    results: dict[int, Stored] = {}
    ends = iter(targets)
    events: dict[tuple[str, str], None] = {}
    chosen.start(sum(s.work for s in planned.stages), "chunkarr")
    try:
        for number, stage in enumerate(planned.stages):
            if isinstance(stage, MapStage):
                final = stage.results[0].place == "target"
                target = next(t for t in ends if 0 not in t.shape) if final else _make_for(stage, number, targets)
                events.update(_run_blocks(stage, target, run_map, results, run, who, str(number)))
                if not final:
                    results[stage.results[0].key] = _as_stored(target)
            elif isinstance(stage, ContractStage):
                target = _make(stage.results[0])
                with one_blas_thread():
                    events.update(_run_blocks(stage, target, run_contract, results, run, who, str(number)))
                results[stage.results[0].key] = _as_stored(target)
            elif isinstance(stage, CollectStage):
                final = stage.results[0].place == "target"
                target = next(t for t in ends if 0 not in t.shape) if final else _make(stage.results[0])
                events.update(_run_collection(stage, target, results, run, who, str(number)))
                if not final:
                    results[stage.results[0].key] = _as_stored(target)
            elif isinstance(stage, SortStage):
                events.update(_run_sort_stage(stage, results, run, who, str(number)))
            elif isinstance(stage, RouteStage):
                routed = _run_route_stage(stage, results, run, who, str(number), events)
            elif isinstance(stage, FetchStage):
                events.update(_run_fetch_stage(stage, routed, results, run, who, str(number)))
            elif isinstance(stage, ReduceStage):
                events.update(_run_reduce_stage(stage, results, run, who, str(number)))
    except BaseException:
        run.cancel()
        raise
    finally:
        run.close()
        chosen.close()
    for key, node in planned.owners:
        with node.lock:
            node.memo = results[key]
    _report(events)


def _make(result: Result) -> Target:
    shape = region_shape(result.region)
    if result.place == "memory":
        return MemoryTarget(np.empty(shape, result.dtype))
    return ScratchArray(scratch_directory(), shape, result.dtype, result.tile)


def _make_for(stage: MapStage, number: int, targets: Sequence[Target]) -> Target:
    """Return where a stage before the last puts its result: where a later run finds it, if the target is such."""
    target = targets[0].scratch(number) if targets and isinstance(targets[0], Logged) else None
    return _make(stage.results[0]) if target is None else target


def _as_stored(target: Target) -> Stored:
    if isinstance(target, Logged):
        target = target.inner
    if isinstance(target, MemoryTarget):
        return MemoryStored(target.array)
    assert isinstance(target, ScratchArray)
    return target


def _bound(stage: Stage, results: Mapping[int, Stored]) -> dict[int, Stored]:
    """Return the results that a stage reads, addressed as the whole array is."""
    found: dict[int, Stored] = {}
    for unit, result in stage.pending().items():
        stored, shape = results[result.key], stage.flow.units[unit].op.shape
        found[unit] = stored if stored.shape == shape else Part(stored, shape, result.region)
    return found


def _batches(number: int, tasks: int) -> list[tuple[int, int]]:
    """Cut ``number`` items into at most ``tasks`` runs of nearly equal length."""
    tasks = max(1, min(number, tasks))
    edges = [number * k // tasks for k in range(tasks + 1)]
    return list(pairwise(edges))


def _run_blocks(
    stage: MapStage | ContractStage,
    target: Target,
    task: Callable[..., Any],
    results: Mapping[int, Stored],
    run: Run,
    who: Scheduler,
    label: str,
) -> list[tuple[tuple[str, str], None]]:
    """Run a stage whose tasks write blocks to a target; return its floating-point events."""
    bound = replace(stage, flow=stage.flow.bind(_bound(stage, results)))
    calls: list[Any] = [(range(a, b),) for a, b in _batches(stage.blocks.size, stage.tasks)]
    if isinstance(stage, MapStage) and stage.forward and who.here:
        calls = [(Turns(stage.blocks.counts, stage.forward),)] * min(stage.workers, len(calls))
    # Other processes do not tell what they have done before all return: in rounds, so that some of it is logged.
    rounds = target.rounds if isinstance(target, Logged) and not who.here else 1
    answers: list[Any] = []
    for a, b in _batches(len(calls), rounds):
        answers += call_tasks(run, (bound, target), task, calls[a:b], stage.workers, who, f"{label}-{a}")
        if rounds > 1:
            for box in boxes(stage.blocks, range(calls[a][0].start, calls[b - 1][0].stop)):
                target.done(box)
    return [(event, None) for answer in answers for event in answer]


def _run_collection(
    stage: CollectStage, target: Target, results: Mapping[int, Stored], run: Run, who: Scheduler, label: str
) -> list[tuple[tuple[str, str], None]]:
    """Collect elements into an array in memory; return the floating-point events."""
    bound = replace(stage, flow=stage.flow.bind(_bound(stage, results)))
    assert isinstance(target, MemoryTarget)
    calls = _batches(stage.numbers.size, stage.tasks)
    shared = bound, None if stage.returned else target.array
    answers = call_tasks(run, shared, run_collect, calls, stage.workers, who, label)
    for _, found in answers:
        put_returned(bound, target.array, found)
    return [(event, None) for seen, _ in answers for event in seen]


def _run_sort_stage(
    stage: SortStage, results: dict[int, Stored], run: Run, who: Scheduler, label: str
) -> list[tuple[tuple[str, str], None]]:
    """Sort runs into scratch files; the result is a sorted array that is read out of them."""
    bound = replace(stage, flow=stage.flow.bind(_bound(stage, results)))
    values, places = run_files(stage)
    calls = _batches(stage.boxes.size, stage.tasks)
    try:
        answers = call_tasks(run, (bound, values, places), run_sort, calls, stage.workers, who, label)
    except BaseException:
        run.cancel()  # a task that is still at work, or its traceback, would keep the files
        for file in (values, places):
            if file is not None:
                file.remove()
        raise
    results[stage.results[0].key] = merged(stage, values, places, [s for found, _ in answers for s in found])
    return [(event, None) for _, seen in answers for event in seen]


def _run_route_stage(
    stage: RouteStage,
    results: Mapping[int, Stored],
    run: Run,
    who: Scheduler,
    label: str,
    events: dict[tuple[str, str], None],
) -> Routed:
    """Sort indices by slab, block by block."""
    bound = replace(stage, flow=stage.flow.bind(_bound(stage, results)))
    assert stage.routes is not None
    routed = Routed(stage.routes)
    calls = _batches(stage.boxes.size, stage.tasks)
    answers = call_tasks(run, (bound, routed), run_route, calls, stage.workers, who, label)
    routed.starts = np.stack([starts for found, _ in answers for starts in found])
    events.update((event, None) for _, seen in answers for event in seen)
    return routed


def _run_fetch_stage(
    stage: FetchStage, routed: Routed, results: dict[int, Stored], run: Run, who: Scheduler, label: str
) -> list[tuple[tuple[str, str], None]]:
    """Fetch rows slab by slab; the result puts them in order when it is read."""
    bound = replace(stage, flow=stage.flow.bind(_bound(stage, results)))
    calls = _batches(stage.boxes.size, stage.tasks)
    answers = call_tasks(run, (bound, routed), run_fetch, calls, stage.workers, who, label)
    results[stage.results[0].key] = routed.fetched()
    return [(event, None) for _, seen in answers for event in seen]


def _run_reduce_stage(
    stage: ReduceStage, results: dict[int, Stored], run: Run, who: Scheduler, label: str
) -> list[tuple[tuple[str, str], None]]:
    """Reduce group by group, combine the groups of each kept block, and put the values in their places."""
    bound = replace(stage, flow=stage.flow.bind(_bound(stage, results)))
    ends = [_make(r) for r in stage.results]
    number = stage.kept_blocks.size * stage.groups
    written = tuple(end if stage.groups == 1 and isinstance(end, ScratchArray) else None for end in ends)
    answers = call_tasks(run, (bound, written), run_reduce, _batches(number, stage.tasks), stage.workers, who, label)
    events = [event for _, seen in answers for event in seen]
    items = [item for values, _ in answers for item in values]
    del answers
    for block in range(stage.kept_blocks.size):
        if stage.groups == 1:
            values, items[block] = items[block], None
        else:
            values, seen = combine_groups(bound, block, items[block * stage.groups : (block + 1) * stage.groups])
            events.extend(seen)
        _place_values(stage, block, values, ends)
    for result, end in zip(stage.results, ends, strict=True):
        results[result.key] = _as_stored(end)
    return [(event, None) for event in events]


def _place_values(stage: ReduceStage, block: int, values: list[Any], ends: Sequence[Target]) -> None:
    """Write the values of one kept block to each result."""
    for value, end in zip(values, ends, strict=True):
        if value is None:  # the task has written it
            continue
        region = result_region(stage, block, len(end.shape))
        shaped = value.reshape(region_shape(region))
        if isinstance(end, MemoryTarget):
            end.array[region_key(region)] = shaped
        else:
            end.write(region, shaped, np.empty(end.scratch_bytes(region), np.uint8))


def _report(events: Mapping[tuple[str, str], None]) -> None:
    """Warn, raise or call as the caller's ``np.errstate`` asks, once for each event."""
    names = {"divide by zero": "divide", "overflow": "over", "underflow": "under", "invalid value": "invalid"}
    how = np.geterr()
    for kind, name in events:
        action = how.get(names.get(kind, ""), "ignore")
        message = f"{kind} encountered in {name}"
        if action == "raise":
            raise FloatingPointError(message)
        if action == "warn":
            warnings.warn(message, RuntimeWarning, stacklevel=4)
        elif action == "print":
            print(f"Warning: {message}")  # noqa: T201 - what NumPy does
        elif action in ("call", "log"):
            handler: Any = np.geterrcall()
            if action == "call" and handler is not None:
                handler(kind, 0)
            elif handler is not None:
                handler.write(f"Warning: {message}\n")
