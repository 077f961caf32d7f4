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

    from chunkarr.formats.scratch import ScratchArray
    from chunkarr.ops.ordering import Ordering

__all__ = ["Merged", "PendingRuns", "Runs"]

Block = np.ndarray[Any, Any]
INDEX = np.dtype(np.int64)
CACHED = 1 << 19  # bytes of values that are sorted at a time, in the cache of a core


@dataclass(frozen=True)
class Runs:
    """How sorted runs lie: the arithmetic that plans and reads them."""

    shape: Shape  # of the result; the last axis is sorted
    run: int  # elements of a run, the last of a line cut short
    step: int  # elements from one sample to the next
    ordering: Ordering
    places: bool  # whether the result are the positions of the values, rather than the values

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
        """Return how many elements are read, at most, for ``length`` elements of a line."""
        return min(self.size, length + 2 * self.count * (self.step - 1) + 2 * self.step)

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
        reach, item = self.reach(length), self.ordering.dtype.itemsize
        window = self.step * item * 2 + 64 * self.count
        if not self.places:
            return aligned(reach * item) + self.ordering.sort_bytes(reach) + window
        piece = min(reach, CACHED // max(1, item) + (self.count + 1) * self.step)
        edges = 8 * self.count * (3 * reach * item // CACHED + 4) + 24 * (reach // self.step + self.count)
        merged = 2 * piece * (item + 8) + self.ordering.permutation_bytes(piece)
        return aligned(reach * item) + aligned(8 * reach) + merged + edges + window


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
        self, runs: Runs, values: ScratchArray, places: ScratchArray | None, samples: Sequence[Sequence[Block]]
    ) -> None:
        self.runs, self.values, self.places = runs, values, places
        self.shape, self.dtype = runs.shape, runs.dtype
        self.grid = Grid(self.shape, self.shape)
        self.samples: list[tuple[Block, Block]] = []  # for each line all samples in order, and the runs they are of
        for line in samples:
            together = np.concatenate(line)
            owner = np.repeat(np.arange(len(line), dtype=np.int32), [len(s) for s in line])
            order = runs.ordering.permutation(together)
            self.samples.append((together[order], owner[order]))

    def scratch_bytes(self, region: Region) -> int:
        """Count what sorting a part again holds."""
        return self.runs.held_bytes(region[-1][1] - region[-1][0])

    def bytes_read(self, region: Region) -> int:
        """Count what is read of the runs."""
        return _bytes_read(self.runs, region)

    def generation(self) -> Hashable:
        """Never change."""
        return self.values.path

    def read(self, region: Region, out: Block, scratch: Block) -> None:
        """Sort what lies around each part of a line, and take that."""
        for part in self.runs.lines(region):
            key: Any = tuple(a - o for (a, _), (o, _) in zip(part[:-1], region[:-1], strict=True))
            self._read_line(self.runs.line(part), part[-1], out[key], scratch)

    def _read_line(self, line: int, bounds: tuple[int, int], out: Block, scratch: Block) -> None:
        """Fill ``out`` with a part of one line."""
        runs = self.runs
        start, stop = bounds
        first, last = max(0, start - runs.count * (runs.step - 1)) // runs.step, -(-stop // runs.step)
        low, high = self.cuts(line, first), self.cuts(line, last)
        skip, count = start - int(low.sum()), int((high - low).sum())
        native = runs.ordering.native
        values = scratch[: count * native.itemsize].view(native) if native.itemsize else np.zeros(count, native)
        self._gather(self.values, line, low, high, values)
        if self.places is None:
            self._deliver(values, None, -skip, out)
            return
        at = aligned(values.nbytes)
        places = scratch[at : at + 8 * count].view(INDEX)
        self._gather(self.places, line, low, high, places)
        self._merge(values, places, self._edges(line, (first, last), low, high, values), skip, out)

    def _edges(self, line: int, samples: tuple[int, int], low: Block, high: Block, values: Block) -> Block:
        """Cut gathered parts of runs into pieces that fit the cache: return where each begins in ``values``, by run.

        Shape (pieces + 1, runs): piece k of run r is ``values[edges[k, r]:edges[k + 1, r]]``.
        """
        runs = self.runs
        begin = np.concatenate([[0], np.cumsum(high - low)])
        each = max(1, CACHED // max(1, runs.ordering.dtype.itemsize) // runs.step)
        chosen = np.arange(samples[0] + each, min(samples[1], len(self.samples[line][1])), each)
        edges = np.empty((len(chosen) + 2, runs.count), INDEX)
        edges[0], edges[-1] = begin[:-1], begin[1:]
        if chosen.size:
            all_values, owner = self.samples[line]
            owners, cut = owner[chosen - 1], all_values[chosen - 1]
            seen = owner[samples[0] : samples[1]]
            for number in range(runs.count):
                part = values[begin[number] : begin[number + 1]]
                if not len(part):
                    edges[1:-1, number] = begin[number]
                    continue
                found = runs.ordering.search_each(part, cut, owners > number)
                own = owners == number  # a sample lies at a multiple of the step in its own run
                if own.any():
                    before = np.cumsum(seen == number)[chosen[own] - samples[0] - 1]
                    known = self._sampled_before(line, samples[0], number)
                    found[own] = (known + before) * runs.step - low[number]
                edges[1:-1, number] = found + begin[number]
        return edges

    def _sampled_before(self, line: int, samples: int, number: int) -> int:
        """Return how many of the first ``samples`` samples are of one run."""
        return int(np.count_nonzero(self.samples[line][1][:samples] == number))

    def _merge(self, values: Block, places: Block, edges: Block, skip: int, out: Block) -> None:
        """Sort piece by piece, and bring the places of what lies behind ``skip`` to ``out``.

        Permutations jump within the values: pieces that fit the cache save more time than cutting them out takes.
        """
        done = -skip
        plain = seen_plain(values)  # fields would be copied one by one
        for lows, highs in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            slices = [slice(a, b) for a, b in zip(lows, highs, strict=True) if a < b]
            size = sum(s.stop - s.start for s in slices)
            if done + size > 0 and done < len(out) and size:
                piece = np.concatenate([plain[s] for s in slices]).view(values.dtype)
                self._deliver(piece, np.concatenate([places[s] for s in slices]), done, out)
            done += size

    def _deliver(self, values: Block, places: Block | None, at: int, out: Block) -> None:
        """Sort ``values``, which begin at ``at`` of ``out``, and bring what lies in it there."""
        ordering = self.runs.ordering
        a, b = max(0, -at), min(len(values), len(out) - at)
        if places is None:
            ordering.sort(values)
            if out.dtype == values.dtype:  # records would be copied field by field
                out, values = seen_plain(out), seen_plain(values)
            out[at + a : at + b] = values[a:b]
        else:
            out[at + a : at + b] = places[ordering.permutation(values)[a:b]]

    def _gather(self, source: ScratchArray, line: int, low: Block, high: Block, out: Block) -> None:
        """Read the same part of each run, one after another."""
        nothing = np.empty(0, np.uint8)
        at = 0
        for number, (a, b) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
            if a < b:
                first = line * self.runs.size + number * self.runs.run
                source.read(((first + a, first + b),), out[at : at + b - a], nothing)
                at += b - a

    def cuts(self, line: int, samples: int) -> Block:
        """Return for each run how many of its elements are not larger than the first ``samples`` samples."""
        runs = self.runs
        values, owner = self.samples[line]
        lengths = np.minimum(runs.run, runs.size - runs.run * np.arange(runs.count))
        if samples <= 0:
            return np.zeros_like(lengths)
        if samples > len(owner):
            return lengths
        value, last = values[samples - 1 : samples], int(owner[samples - 1])
        low = np.bincount(owner[:samples], minlength=runs.count) * runs.step
        high = np.minimum(low + runs.step - 1, lengths)
        window = np.empty(runs.step, values.dtype)
        for number in range(runs.count):
            a, b = int(low[number]), int(high[number])
            if a < b and number != last:
                first = line * runs.size + number * runs.run
                part = window[: b - a]
                self.values.read(((first + a, first + b),), part, np.empty(0, np.uint8))
                low[number] += runs.ordering.search(part, value, after=number < last)
        return low


def _bytes_read(runs: Runs, region: Region) -> int:
    *lines, length = region_shape(region)
    number = int(np.prod(lines, dtype=np.int64))
    return number * runs.reach(length) * (runs.ordering.dtype.itemsize + (8 if runs.places else 0))
