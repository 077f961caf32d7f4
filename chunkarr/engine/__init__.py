"""Run a plan: bind results to stages, hand out tasks, warn once, leave nothing behind."""

from __future__ import annotations

import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.engine.schedule import Run, Scheduler, call_tasks, scheduler
from chunkarr.engine.tasks import combine_groups, run_map, run_reduce
from chunkarr.errors import StaleExpressionError
from chunkarr.formats.memory import MemoryStored, MemoryTarget
from chunkarr.formats.scratch import ScratchArray
from chunkarr.graph import Barrier, Load, Node, topological
from chunkarr.grid import Region, region_shape, region_slices, shift
from chunkarr.plan.planner import Output, plan
from chunkarr.plan.reducing import ReduceStage
from chunkarr.plan.stages import MapStage, Part, Plan, Result, Stage
from chunkarr.progress import reporter
from chunkarr.settings import budget, config, scratch_directory, workers

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from chunkarr.formats.contract import Stored, Target
    from chunkarr.progress import Reporter

__all__ = ["Output", "Plan", "compute", "make_plan", "remember", "store"]


def remember(nodes: Sequence[Node]) -> dict[Stored, Hashable]:
    """Return the generation of every stored array below ``nodes``."""
    return {
        n.op.stored: n.op.stored.generation() for n in topological(nodes, stop_at_memo=False) if isinstance(n.op, Load)
    }


def check_fresh(generations: Mapping[Stored, Hashable]) -> None:
    """Raise StaleExpressionError if a stored array is not as it was."""
    for stored, then in generations.items():
        now = stored.generation()
        if now != then:
            raise StaleExpressionError(
                f"{stored.path} changed after the expression was built (it was {then}, it is {now}); "
                "open it again and rebuild the expression"
            )


def make_plan(nodes: Sequence[Node]) -> Plan:
    """Plan the evaluation of ``nodes`` without running it."""
    return plan([Output(n) for n in nodes], budget(), workers())


def compute(nodes: Sequence[Node], *, progress: bool | Reporter | None = None) -> list[np.ndarray[Any, Any]]:
    """Return the values of ``nodes`` as new arrays, all in as few passes as they allow."""
    planned = plan([Output(n, _Promise(n)) for n in nodes], budget(), workers())  # type: ignore[arg-type]
    arrays = [np.empty(n.shape, n.dtype) for n in nodes]
    _execute(planned, [MemoryTarget(a) for a in arrays], nodes, progress)
    return arrays


class _Promise:
    """An array in memory that is only planned: refused before it is allocated."""

    def __init__(self, node: Node) -> None:
        self.array = True
        self.shape, self.dtype = node.shape, node.dtype
        from chunkarr.grid import Grid

        self.grid = Grid(node.shape, (1,) * len(node.shape))

    def scratch_bytes(self, region: Region) -> int:
        return 0


def store(node: Node, target: Target, *, progress: bool | Reporter | None = None) -> Plan:
    """Write the values of ``node`` to ``target`` and commit it; abort it if anything goes wrong."""
    try:
        planned = plan([Output(node, target)], budget(), workers())
        _execute(planned, [target], [node], progress)
        target.commit()
    except BaseException:
        target.abort()
        raise
    return planned


def _execute(planned: Plan, targets: Sequence[Target], nodes: Sequence[Node], progress: bool | Reporter | None) -> None:
    """Run all stages; floating-point events are reported once, in the caller's thread."""
    chosen = reporter(config.get("progress", False) if progress is None else progress)
    who = scheduler()
    run = Run(scratch_directory(), chosen)
    results: dict[int, Stored] = {}
    ends = iter(targets)
    events: dict[tuple[str, str], None] = {}
    chosen.start(sum(s.bytes_read + s.bytes_scratch for s in planned.stages), "chunkarr")
    try:
        for number, stage in enumerate(planned.stages):
            if isinstance(stage, MapStage):
                final = stage.results[0].place == "target"
                target = next(t for t in ends if 0 not in t.shape) if final else _make(stage.results[0])
                events.update(_run_map_stage(stage, target, results, run, who, str(number)))
                if not final:
                    results[stage.results[0].key] = _as_stored(target)
            elif isinstance(stage, ReduceStage):
                events.update(_run_reduce_stage(stage, results, run, who, str(number)))
    except BaseException:
        run.cancel()
        raise
    finally:
        run.close()
        chosen.close()
    _report(events)
    del nodes


def _make(result: Result) -> Target:
    shape = region_shape(result.region)
    if result.place == "memory":
        return MemoryTarget(np.empty(shape, result.dtype))
    return ScratchArray(scratch_directory(), shape, result.dtype, result.tile)


def _as_stored(target: Target) -> Stored:
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
    return list(zip(edges, edges[1:], strict=False))


def _run_map_stage(stage: MapStage, target: Target, results: Mapping[int, Stored], run: Run, who: Scheduler, label: str
                   ) -> list[tuple[str, str]]:
    from dataclasses import replace

    bound = replace(stage, flow=stage.flow.bind(_bound(stage, results)))
    local = who if target.distributable or who.here else Scheduler("threads", here=True, get=None)
    calls = _batches(stage.blocks.size, stage.tasks)
    answers = call_tasks(run, (bound, target), run_map, calls, stage.workers, local, label)
    return [event for answer in answers for event in answer]


def _run_reduce_stage(stage: ReduceStage, results: dict[int, Stored], run: Run, who: Scheduler, label: str
                      ) -> list[tuple[str, str]]:
    """Reduce group by group, combine the groups of each kept block, and put the values in their places."""
    from dataclasses import replace

    bound = replace(stage, flow=stage.flow.bind(_bound(stage, results)))
    ends = [_make(r) for r in stage.results]
    number = stage.kept_blocks.size * stage.groups
    answers = call_tasks(run, (bound,), run_reduce, _batches(number, 256), stage.workers, who, label)
    events = [event for _, seen in answers for event in seen]
    items = [item for values, _ in answers for item in values]
    del answers
    for block in range(stage.kept_blocks.size):
        if stage.groups == 1:
            values = items[block]
            items[block] = None
        else:
            values, seen = combine_groups(bound, block, items[block * stage.groups : (block + 1) * stage.groups])
            events.extend(seen)
        _place_values(stage, block, values, ends)
    for result, end in zip(stage.results, ends, strict=True):
        results[result.key] = _as_stored(end)
    return events


def _place_values(stage: ReduceStage, block: int, values: list[Any], ends: Sequence[Target]) -> None:
    """Write the values of one kept block to each result."""
    counts = stage.kept_blocks.counts
    index = tuple(int(i) for i in np.unravel_index(block, counts)) if counts else ()
    box = stage.kept_blocks.region(index)
    for value, end in zip(values, ends, strict=True):
        region = box
        if len(end.shape) != len(box):  # keepdims
            bounds = iter(box)
            region = tuple((0, 1) if k in stage.shaped.axes else next(bounds) for k in range(len(end.shape)))
        shaped = value.reshape(region_shape(region))
        if isinstance(end, MemoryTarget):
            end.array[(*region_slices(region), ...)] = shaped
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
