"""Sorted runs seen as one sorted array, of which any part can be read alone.

A line of ``size`` elements was sorted run by run, and every ``step``-th element of each sorted run was kept as a
sample. In the samples of all runs together, sorted, the first j name a cut: what is not larger than the j-th. How
many elements lie before a cut is known to within ``runs * step``, whatever the distribution, because a run has less
than ``step`` elements between two of its samples. To read elements [a, b) of the result it is enough to read what
lies between a cut that is surely before ``a`` and one that is surely behind ``b``, from all runs, and to sort that.

Equal values are told apart by their run and their place in it, so that a cut goes through constant data as through any
other, and so that the order is stable.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.buffers import aligned
from chunkarr.formats.contract import Stored
from chunkarr.formats.runs import seen_plain
from chunkarr.grid import Grid, Region, Shape, region_shape
from chunkarr.plan.stages import Pending, Result

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from chunkarr.formats.overflow import Overflow
    from chunkarr.ops.ordering import Ordering

__all__ = ["Merged", "PendingRuns", "Runs"]

Block = np.ndarray[Any, Any]
Indices = np.ndarray[Any, np.dtype[np.int64]]
INDEX = np.dtype(np.int64)
CACHED = 2 << 20  # bytes of values that are sorted at a time, in the cache of a core: fewer would take longer to cut
COUNTED = 1 << 14  # samples from one count of their runs to the next


@dataclass(frozen=True)
class Runs:
    """How sorted runs lie: the arithmetic that plans and reads them."""

    shape: Shape  # of the result; the last axis is sorted
    run: int  # elements of a run, the last of a line cut short
    step: int  # elements from one sample to the next
    ordering: Ordering
    places: bool  # whether the result are the positions of the values, rather than the values
    once: bool = False  # whether each element is read once, so that its run need not be kept afterwards
    kept: int = 0  # elements of all lines, from the first on, that are held in memory rather than in scratch

    @property
    def size(self) -> int:
        """Elements of a line."""
        return self.shape[-1]

    @property
    def count(self) -> int:
        """Runs of a line."""
        return -(-self.size // self.run)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the result."""
        return INDEX if self.places else self.ordering.dtype

    def reach(self, length: int) -> int:
        """Return how many elements are sorted, at most, for ``length`` elements of a line."""
        return min(self.size, length + 2 * self.count * (self.step - 1) + 2 * self.step)

    def gathered(self, length: int) -> int:
        """Return how many elements are read, at most, for ``length`` elements of a line."""
        return min(self.size, self.reach(length) + 2 * self.count * (self.step - 1))

    def cut_numbers(self, bounds: tuple[int, int], samples: int) -> Indices:
        """Return after how many of ``samples`` samples cuts are made to read elements ``bounds``.

        One lies before them, one behind, and what lies between two fits the cache, as far as runs and step allow.
        """
        first = max(0, bounds[0] - self.count * (self.step - 1)) // self.step
        last = -(-bounds[1] // self.step)
        each = max(1, CACHED // max(1, self.ordering.dtype.itemsize) // self.step)
        return np.array([first, *range(first + each, min(last, samples), each), min(last, samples + 1)])

    def own_numbers(self, bounds: tuple[int, int], samples: int) -> Indices:
        """Return between which samples lies what only reading elements ``bounds`` needs; see `cut_numbers`."""
        return np.array(
            [
                min(-(-bounds[0] // self.step), samples + 1),
                max(0, bounds[1] - self.count * (self.step - 1)) // self.step if bounds[1] < self.size else samples + 1,
            ]
        )

    @property
    def item_bytes(self) -> int:
        """What is held or stored of an element between the passes: its value, its place if it is asked for."""
        return max(1, self.ordering.dtype.itemsize) + (8 if self.places else 0)

    @property
    def sampled_bytes(self) -> int:
        """Return what the samples of all lines hold."""
        return math.prod(self.shape) // self.step * (self.ordering.dtype.itemsize + 16)

    def lines(self, region: Region) -> list[Region]:
        """Return the part of each line that ``region`` has."""
        return [(*((i, i + 1) for i in index), region[-1]) for index in product(*(range(a, b) for a, b in region[:-1]))]

    def line(self, part: Region) -> int:
        """Return the number of the line that a part belongs to."""
        number = 0
        for (at, _), n in zip(part[:-1], self.shape[:-1], strict=True):
            number = number * n + at
        return number

    def held_bytes(self, length: int) -> int:
        """Return what reading ``length`` elements of a line holds besides them."""
        item, gathered = self.ordering.dtype.itemsize, self.gathered(length)
        piece = min(gathered, CACHED // max(1, item) + (self.count + 1) * self.step)
        cuts = 3 * gathered * item // CACHED + 4
        edges = self.count * (cuts * (72 + 4 * item) + 200) + 24 * (gathered // self.step + self.count)
        if self.places or self.ordering.by_permutation:
            work = self.ordering.permutation_bytes(piece) + piece * item
        else:
            work = self.ordering.sort_bytes(piece) + piece * item
        values = (
            aligned(gathered * item) + aligned(8 * gathered) + 8 * piece if self.places else aligned(gathered * item)
        )
        return values + 2 * aligned(piece * max(item, 8)) + work + edges


class PendingRuns(Pending):
    """A sorted array before its runs are there: enough to plan with."""

    def __init__(self, result: Result, runs: Runs) -> None:
        super().__init__(runs.shape, result)
        self.runs = runs

    def scratch_bytes(self, region: Region) -> int:
        """Count what sorting a part again holds."""
        return self.runs.held_bytes(region[-1][1] - region[-1][0])

    def bytes_read(self, region: Region) -> int:
        """Count what is read of the runs."""
        return _bytes_read(self.runs, region)


@dataclass(frozen=True, eq=False)
class _Samples:
    """All samples of a line in order; the first j of them name a cut."""

    values: Block
    owners: Indices  # the run that each is of
    counted: Indices  # of the first 0, ``every``, 2 * ``every``, ... samples, how many are of each run
    every: int

    @classmethod
    def of(cls, line: Sequence[Block], ordering: Ordering) -> _Samples:
        """Put the samples of the runs of a line, one after another, in order."""
        together = np.concatenate(line, dtype=line[0].dtype)  # else native, arrays in records too
        owner = np.repeat(np.arange(len(line)), [len(s) for s in line])
        order = ordering.permutation(together)
        owner = owner[order]
        every = max(COUNTED, 16 * len(line))
        parts = [np.bincount(owner[a : a + every], minlength=len(line)) for a in range(0, len(owner), every)]
        counted = np.cumsum([np.zeros(len(line), np.int64), *parts], axis=0)
        return cls(together[order], owner, counted, every)

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self.owners)

    def before(self, numbers: Indices) -> Indices:
        """Return for each of ascending ``numbers`` of samples how many are of each run: shape (numbers, runs)."""
        result = np.empty((len(numbers), self.counted.shape[1]), np.int64)
        at, row = 0, self.counted[0]
        for k, number in enumerate(numbers.tolist()):
            if number // self.every > at // self.every or not k:
                at = min(number, self.size) // self.every * self.every
                row = self.counted[at // self.every]
            row = row + np.bincount(self.owners[at:number], minlength=len(row))
            at = number
            result[k] = row
        return result

    def edges(self, numbers: Indices, low: Indices, end: Indices, values: Block, runs: Runs) -> Indices:
        """Return where each cut goes through each run, as places in ``values``.

        It lies less than a step behind ``low`` (shape as of `before`), and not behind the run's ``end``. A cut of more
        samples than there are is behind everything.
        """
        edges = low.copy()
        edges[numbers > self.size] = end
        real = np.flatnonzero((numbers > 0) & (numbers <= self.size))
        cuts, owners = self.values[numbers[real] - 1], self.owners[numbers[real] - 1][:, None]
        here = np.arange(len(end))
        lows = low[real]
        highs = np.where(owners == here, lows, np.minimum(lows + runs.step - 1, end))  # known where the sample is from
        edges[real] = runs.ordering.search_each(values, cuts, owners > here, lows, highs)
        return edges


class Merged(Stored):
    """The sorted array that runs make; pickles with its samples.

    Parameters
    ----------
    runs
        How they lie.
    values, places
        The sorted values of each run, all lines after one another, and where each was in its line; no places
        where values are asked for.
    samples
        For each line those of its runs.
    """

    format = "scratch"
    path = ""
    contiguous = True

    def __init__(
        self, runs: Runs, values: Overflow, places: Overflow | None, samples: Sequence[Sequence[Block]]
    ) -> None:
        self.runs, self.values, self.places = runs, values, places
        self.shape, self.dtype = runs.shape, runs.dtype
        self.grid = Grid(self.shape, self.shape)
        self.samples = [_Samples.of(line, runs.ordering) for line in samples]

    def scratch_bytes(self, region: Region) -> int:
        """Count what sorting a part again holds."""
        return self.runs.held_bytes(region[-1][1] - region[-1][0])

    def bytes_read(self, region: Region) -> int:
        """Count what is read of the runs."""
        return _bytes_read(self.runs, region)

    def generation(self) -> Hashable:
        """Never change."""
        return id(self.values)

    def read(self, region: Region, out: Block, scratch: Block) -> None:
        """Sort what lies around each part of a line, and take that."""
        for part in self.runs.lines(region):
            key: Any = tuple(a - o for (a, _), (o, _) in zip(part[:-1], region[:-1], strict=True))
            self._read_line(self.runs.line(part), part[-1], out[key], scratch)

    def _read_line(self, line: int, bounds: tuple[int, int], out: Block, scratch: Block) -> None:
        """Fill ``out`` with a part of one line."""
        runs, samples = self.runs, self.samples[line]
        numbers = runs.cut_numbers(bounds, samples.size)
        before = samples.before(numbers)
        lengths = np.minimum(runs.run, runs.size - runs.run * np.arange(runs.count))
        low = before[0] * runs.step
        high = np.minimum(before[-1] * runs.step + runs.step - 1, lengths)
        count = int((high - low).sum())
        native = runs.ordering.native
        values = scratch[: count * native.itemsize].view(native) if native.itemsize else np.zeros(count, native)
        first = line * runs.size + runs.run * np.arange(runs.count)
        self.values.read_runs(first + low, high - low, values)
        places = None
        if self.places is not None:
            at = aligned(values.nbytes)
            places = scratch[at : at + 8 * count].view(INDEX)
            self.places.read_runs(first + low, high - low, places)
        begin = np.cumsum(high - low) - (high - low)
        edges = samples.edges(numbers, before * runs.step - low + begin, begin + high - low, values, runs)
        skip = bounds[0] - int((edges[0] - begin + low).sum())
        self._merge(values, places, edges, skip, out)
        if runs.once:
            self._give_back(line, bounds, lengths)

    def _give_back(self, line: int, bounds: tuple[int, int], lengths: Indices) -> None:
        """Free what was read for a part of a line and for no other, in the scratch of the runs."""
        runs, samples = self.runs, self.samples[line]
        numbers = runs.own_numbers(bounds, samples.size)
        if numbers[0] >= numbers[1]:
            return
        before = samples.before(numbers)
        low = np.minimum(before[0] * runs.step + runs.step - 1, lengths) if bounds[0] else np.zeros_like(lengths)
        high = before[1] * runs.step if bounds[1] < runs.size else lengths
        first = line * runs.size + runs.run * np.arange(runs.count)
        for array in (self.values, self.places):
            if array is not None:
                array.give_back(first + low, first + np.maximum(low, high))

    def _merge(self, values: Block, places: Block | None, edges: Indices, skip: int, out: Block) -> None:
        """Sort piece by piece, each in the cache, and bring what lies behind ``skip`` to ``out``."""
        done = -skip
        sizes = (edges[1:] - edges[:-1]).sum(axis=1)
        room = np.empty(int(sizes.max()), values.dtype)
        places_room = None if places is None else np.empty(len(room), INDEX)
        plain, plain_room = seen_plain(values), seen_plain(room)  # fields would be copied one by one
        inside = places is None and not self.runs.ordering.by_permutation and out.dtype == values.dtype
        for lows, highs, size in zip(edges[:-1].tolist(), edges[1:].tolist(), sizes.tolist(), strict=True):
            if done + size > 0 and done < len(out) and size:
                slices = list(map(slice, lows, highs))
                if inside and done >= 0 and done + size <= len(out):
                    np.concatenate(list(map(values.__getitem__, slices)), out=out[done : done + size])
                    self.runs.ordering.sort(out[done : done + size])
                else:
                    np.concatenate(list(map(plain.__getitem__, slices)), out=plain_room[:size])
                    if places is not None and places_room is not None:
                        np.concatenate(list(map(places.__getitem__, slices)), out=places_room[:size])
                    self._deliver(room[:size], places_room, done, out)
            done += size

    def _deliver(self, values: Block, places: Block | None, at: int, out: Block) -> None:
        """Sort ``values``, which begin at ``at`` of ``out``, and bring what lies in it there."""
        ordering = self.runs.ordering
        a, b = max(0, -at), min(len(values), len(out) - at)
        out = out[at + a : at + b]
        if places is not None:
            places.take(ordering.permutation(values)[a:b], out=out, mode="clip")  # "raise" would copy once more
            return
        seen = values
        if out.dtype == values.dtype:  # records would be copied field by field
            out, seen = seen_plain(out), seen_plain(values)
        if not ordering.by_permutation:
            ordering.sort(values)
            out[...] = seen[a:b]
        elif out.dtype == seen.dtype:
            seen.take(ordering.permutation(values)[a:b], out=out, mode="clip")
        else:
            out[...] = seen.take(ordering.permutation(values)[a:b])


def _bytes_read(runs: Runs, region: Region) -> int:
    *lines, length = region_shape(region)
    number = int(np.prod(lines, dtype=np.int64))
    return number * runs.gathered(length) * (runs.ordering.dtype.itemsize + (8 if runs.places else 0))
