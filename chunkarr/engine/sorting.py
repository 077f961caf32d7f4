"""Tasks that sort runs: each evaluates a part of a line, sorts it, keeps or writes it, and returns its samples."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.engine.holding import held_box
from chunkarr.engine.tasks import boxes
from chunkarr.formats.overflow import Overflow
from chunkarr.formats.runs import seen_plain
from chunkarr.grid import region_size
from chunkarr.plan.merging import INDEX, Merged
from chunkarr.plan.program import Flags
from chunkarr.settings import scratch_directory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chunkarr.engine.tasks import Context
    from chunkarr.grid import Region
    from chunkarr.plan.sorting import SortStage

__all__ = ["merged", "run_files", "run_sort"]

Block = np.ndarray[Any, Any]


def run_files(stage: SortStage) -> tuple[Overflow, Overflow | None]:
    """Make the temporary arrays for sorted values, and for their positions where these are asked for."""
    runs = stage.runs
    assert runs is not None
    size, directory = math.prod(runs.shape), scratch_directory()
    values = Overflow(directory, size, runs.ordering.native, held=runs.kept)
    return values, Overflow(directory, size, INDEX, held=runs.kept) if runs.places else None


def run_sort(
    stage: SortStage, values: Overflow, places: Overflow | None, start: int, stop: int, context: Context
) -> tuple[list[Block], list[tuple[str, str]]]:
    """Sort the runs ``start`` ... ``stop``; return the samples of each, and floating-point events."""
    flags = Flags()
    samples = []
    with context.slabs.take(stage.allowance) as slab, np.errstate(all="call", call=flags):
        for box in boxes(stage.boxes, range(start, stop)):
            samples += _sort_box(stage, box, values, places, slab, flags, context)
            context.advance(region_size(box) * values.dtype.itemsize)
    return samples, list(flags.seen)


def _sort_box(
    stage: SortStage,
    box: Region,
    values: Overflow,
    places: Overflow | None,
    slab: Block,
    flags: Flags,
    context: Context,
) -> list[Block]:
    """Sort the runs of a box and return the samples of each."""
    runs = stage.runs
    assert runs is not None
    ordering = runs.ordering
    all_values = ordering.own(held_box(stage, box, slab, flags, context))
    first = runs.line(box) * runs.size + box[-1][0]
    samples = []
    for start in range(0, len(all_values), runs.run):
        context.check()
        run = all_values[start : start + runs.run]
        if places is None and not ordering.by_permutation:
            ordering.sort(run)
        else:
            order = ordering.permutation(run)
            run = seen_plain(run).take(order).view(run.dtype)
            if places is not None:
                order += box[-1][0] + start
                places.write(first + start, order)
        values.write(first + start, run)
        samples.append(run[runs.step - 1 :: runs.step].copy())
    return samples


def merged(stage: SortStage, values: Overflow, places: Overflow | None, samples: Sequence[Block]) -> Merged:
    """Return the sorted array that the runs make; ``samples`` are those of all runs, in order."""
    runs = stage.runs
    assert runs is not None
    count = runs.count
    lines = [samples[k : k + count] for k in range(0, len(samples), count)]
    return Merged(runs, values, places, lines)
