"""What a plan is made of: stages, run one after another, each a few hundred independent tasks.

A stage reads stored arrays and results of earlier stages, and makes one result: values in memory,
values in scratch files, or a target that the caller gave. Everything here is plain data; the engine
turns it into a graph of tasks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.formats.contract import Stored
from chunkarr.formats.runs import staging
from chunkarr.graph import Load
from chunkarr.grid import Grid, Region, Shape, region_shape, region_size, shift
from chunkarr.settings import format_bytes

if TYPE_CHECKING:
    from collections.abc import Hashable

    from chunkarr.graph import Node
    from chunkarr.plan.fuse import Flow

__all__ = ["MapStage", "Part", "Pending", "Plan", "Result", "Stage"]


@dataclass(frozen=True, slots=True)
class Result:
    """Where the result of a stage is held until the run ends."""

    key: int
    region: Region  # the part of the node's values that is asked for
    dtype: np.dtype[Any]
    place: str  # "memory", "scratch" or "target"
    tile: Shape = ()  # of a scratch array

    @property
    def nbytes(self) -> int:
        """Bytes of the values."""
        return region_size(self.region) * self.dtype.itemsize

    def scratch_bytes(self, box: Region) -> int:
        """Return what moving a box to or from the scratch tiles holds."""
        widest = tuple((0, min(b - a, t)) for (a, b), t in zip(box, self.tile, strict=True))
        return staging(self.tile, widest, self.dtype.itemsize)


class Pending(Stored):
    """The result of an earlier stage, before it is there: enough to plan with."""

    def __init__(self, shape: Shape, result: Result) -> None:
        self.shape, self.dtype, self.result = tuple(shape), result.dtype, result
        self.grid = Grid(self.shape, self.shape)
        self.contiguous = True
        self.format, self.path = "memory" if result.place == "memory" else "scratch", ""
        if result.place == "memory" and region_shape(result.region) == self.shape:
            self.array = np.broadcast_to(np.zeros((), self.dtype), self.shape)

    def read(self, region: Region, out: np.ndarray[Any, Any], scratch: np.ndarray[Any, Any]) -> None:
        """Fail: the engine binds the real result first."""
        del region, out, scratch
        raise AssertionError("a result was read before its stage ran")

    def scratch_bytes(self, region: Region) -> int:
        """Count what a scratch array of these tiles will ask for."""
        return 0 if self.result.place == "memory" else self.result.scratch_bytes(region)

    def bytes_read(self, region: Region) -> int:
        """Count the bytes of the region."""
        return region_size(region) * self.dtype.itemsize

    def generation(self) -> Hashable:
        """Never change."""
        return 0


class Part(Stored):
    """A stored part of an array, addressed as the whole array is."""

    def __init__(self, inner: Stored, shape: Shape, region: Region) -> None:
        self.inner, self.region = inner, region
        self.shape, self.dtype = tuple(shape), inner.dtype
        self.grid, self.contiguous = Grid(self.shape, self.shape), True
        self.format, self.path = inner.format, inner.path
        self._back = tuple(-a for a, _ in region)

    def read(self, region: Region, out: np.ndarray[Any, Any], scratch: np.ndarray[Any, Any]) -> None:
        """Read from the part."""
        self.inner.read(shift(region, self._back), out, scratch)

    def scratch_bytes(self, region: Region) -> int:
        """Ask the part."""
        return self.inner.scratch_bytes(shift(region, self._back))

    def bytes_read(self, region: Region) -> int:
        """Ask the part."""
        return self.inner.bytes_read(shift(region, self._back))

    def generation(self) -> Hashable:
        """Ask the part."""
        return self.inner.generation()


@dataclass(frozen=True)
class Stage:
    """One pass over its sources."""

    flow: Flow
    results: tuple[Result, ...]
    label: str  # what the stage does, for people
    workers: int  # tasks that run at once
    allowance: int  # bytes of slab that one task may use
    peak: int  # bytes that all tasks together hold, without results
    bytes_read: int  # from files that were there before; whole chunks counted
    bytes_scratch: int  # read back from scratch
    tasks: int

    @property
    def work(self) -> int:
        """Return the bytes that the stage goes through, as its tasks report them: those of its results."""
        return sum(r.nbytes for r in self.results)

    def pending(self) -> dict[int, Result]:
        """Return the earlier results that the flow reads, by position of their unit."""
        return {
            k: unit.op.stored.result
            for k, unit in enumerate(self.flow.units)
            if isinstance(unit.op, Load) and isinstance(unit.op.stored, Pending)
        }


@dataclass(frozen=True)
class MapStage(Stage):
    """Compute blocks of one array and put each where it belongs."""

    blocks: Grid = field(default_factory=lambda: Grid((), ()))  # over the asked region
    unit: Shape = ()  # a block may be cut at multiples of this
    forward: Shape = ()  # axes in the order in which blocks are best begun, as of nested loops; (): in any order


@dataclass(frozen=True)
class Plan:
    """What a computation will do, before it does it.

    ``print(plan)`` shows it; the numbers are attributes.
    """

    stages: tuple[Stage, ...]
    memory: int  # bytes held at the peak, results in memory included
    scratch: int  # bytes of temporary files at the peak
    bytes_read: int  # bytes read from the sources, whole chunks counted, all passes together
    passes: int  # how often the most-read source is read
    tasks: int  # tasks given to the scheduler
    budget: int  # bytes allowed
    nbytes: int = 0  # bytes of the result
    owners: tuple[tuple[int, Node], ...] = field(default=(), repr=False)  # small results that their node keeps

    def __str__(self) -> str:
        """Show the plan as a small table."""
        lines = [
            f"memory   {format_bytes(self.memory)} of {format_bytes(self.budget)} allowed",
            f"scratch  {format_bytes(self.scratch)}",
            f"reads    {format_bytes(self.bytes_read)} in {self.passes} pass{'' if self.passes == 1 else 'es'}",
            f"tasks    {self.tasks}",
        ]
        for number, stage in enumerate(self.stages, 1):
            place = " and ".join(dict.fromkeys(r.place for r in stage.results))
            lines.append(
                f"  {number}. {stage.label} -> {place}: {stage.tasks} tasks on {stage.workers} workers, "
                f"{format_bytes(stage.peak)} held"
            )
        return "\n".join(lines)
