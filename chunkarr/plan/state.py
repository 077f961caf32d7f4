"""What the planner has decided so far: stages in order, where results are held, what that adds up to."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

from chunkarr.graph import topological
from chunkarr.grid import Region, Shape, region_shape, region_size
from chunkarr.plan.stages import Result, Stage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chunkarr.formats.contract import Stored
    from chunkarr.graph import Node

__all__ = ["State", "scratch_tile"]

TASKS = 24  # tasks for each worker that a pass is divided into: few enough to cost nothing, enough to end together
SHARED = 1000  # tasks where the workers are those of a cluster, however many


@dataclass
class State:
    """What the planner has decided so far."""

    budget: int
    workers: int
    shared: bool  # whether tasks run in several processes
    keep: bool = False  # whether memory that nothing else needs takes what would go to scratch
    key: count[int] = field(default_factory=count)
    stages: list[Stage] = field(default_factory=list)
    resolved: dict[int, Stored] = field(default_factory=dict)  # results of barriers, by id of their node
    owners: list[tuple[int, Node]] = field(default_factory=list)  # whole results in memory, kept on their node
    copies: dict[tuple[int, Region], Result] = field(default_factory=dict)  # scratch copies, by id of the stored
    held: int = 0  # bytes of results in memory
    scratch: int = 0  # bytes of results in scratch

    peak: int = 0  # bytes held at most: by a stage, and by the results that are there when it runs

    def add(self, stage: Stage) -> None:
        """Append a stage, which was planned with what is available now."""
        self.stages.append(stage)
        self.peak = max(self.peak, stage.peak + self.held)

    @property
    def available(self) -> int:
        """Bytes that the tasks of a stage may hold."""
        return self.budget - self.held

    def tasks(self, blocks: int) -> int:
        """Return how many tasks take so many blocks."""
        return min(blocks, SHARED if self.shared else TASKS * self.workers)

    def known(self, nodes: Sequence[Node]) -> dict[int, Stored]:
        """Return what is resolved below ``nodes``: stages before this one, and memoised results."""
        found = dict(self.resolved)
        for node in topological(nodes):
            if node.memo is not None:
                found[id(node)] = node.memo
        return found

    def place(self, region: Region, node: Node, *, written: bool = False) -> Result:
        """Choose where a result is held, and count it; ``written``: by the tasks, rather than returned by them."""
        nbytes = region_size(region) * node.dtype.itemsize
        small = 2 * nbytes <= max(1 << 20, self.budget // 4) and 2 * nbytes < self.available
        if small and not (written and self.shared):
            self.held += 2 * nbytes  # the pieces that tasks return, and the array they go into
            result = Result(next(self.key), region, node.dtype, "memory")
            if region == node.region and nbytes <= self.budget // 64:
                self.owners.append((result.key, node))
            return result
        self.scratch += nbytes
        return Result(next(self.key), region, node.dtype, "scratch", scratch_tile(node, region))


def scratch_tile(node: Node, region: Region) -> Shape:
    """Return tiles of about a megabyte along the grid of the node."""
    shape = region_shape(region)
    steps = [max(1, min(s, n)) for s, n in zip(node.grid.steps, shape, strict=True)]
    while math.prod(steps) * node.dtype.itemsize > 1 << 21:
        axis = max(range(len(steps)), key=lambda k: steps[k])
        steps[axis] = -(-steps[axis] // 2)
    return tuple(steps)
