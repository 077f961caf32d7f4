"""Many small changes of a stored array as one: kept in memory while they are few, on disk when the batch ends."""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr import engine
from chunkarr.array.drafts import Draft
from chunkarr.engine.updating import are_small, pieces, small_parts
from chunkarr.errors import ChunkarrError, UnsupportedError
from chunkarr.formats.contract import Stored
from chunkarr.graph import Load, Node, topological
from chunkarr.grid import Grid, Region, Shape, intersect, region_key, region_shape, region_size
from chunkarr.ops.assign import Assign, assign
from chunkarr.ops.scans import materialise
from chunkarr.selection import Pick, parse_key
from chunkarr.settings import budget, keep

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence

    from chunkarr.array.handles import Handle

__all__ = ["Batch", "Overlay", "batch"]

Block = np.ndarray[Any, Any]

BOX = 64 << 10  # bytes of a box of an array in which any region can be written
SIMPLE = (int, float, complex, np.number, np.bool_, np.ndarray)
NUMBERS = "biufc"  # kinds of dtypes that are cast to each other without fail
SHARE = 4  # part of the budget that changed boxes may take, which other work then does not have


class Batch:
    """One update held open. Boxes that are changed lie in memory; when they get many, the oldest go to the update."""

    def __init__(self, handle: Handle) -> None:
        self.handle = handle
        self.update = handle.stored.fresh().update()
        grid = self.update.grid
        self.grid = _tiles(grid.shape, self.update.dtype.itemsize) if set(grid.steps) <= {1} else grid
        self.boxes: OrderedDict[Shape, Block] = OrderedDict()  # changed boxes, the last one used at the end
        self.nbytes = 0  # of these
        self.limit = budget() // SHARE
        self.changes = 0
        self.failure: BaseException | None = None
        self._staged = self.update.staged()
        self._load: Node | None = None
        self._lock = threading.Lock()  # of ``boxes`` and ``_load``; the handle's is held while tasks read

    # --- what Arrays see -----------------------------------------------------------------------

    def current(self) -> Node:
        """Return the node that reads the array as it will be."""
        with self._lock:
            seen = self._load
            if seen is None:
                seen = self.handle.attach(Overlay(self))
            elif seen.op.generation != seen.op.stored.generation():  # type: ignore[attr-defined]
                seen = self.handle.again(seen)
            self._load = seen
            return seen

    def read(self, region: Region, out: Block, scratch: Block) -> None:
        """Fill ``out`` with what the update has, and what lies in memory over it."""
        with self._lock:  # a box that goes to the update meanwhile is still what it was
            boxes = [(self.grid.region(i), self.boxes[i]) for i in self.grid.touching(region) if i in self.boxes]
        if len(boxes) != 1 or boxes[0][0] != self.grid.round_out(region):
            self._staged.read(region, out, scratch)
        for box, block in boxes:
            common = intersect(box, region)
            if common is not None:
                out[region_key(common, region)] = block[region_key(common, box)]

    # --- what assignments do -------------------------------------------------------------------

    def draft(self) -> BatchDraft:
        """Begin one change among others."""
        if self.failure is not None:
            raise ChunkarrError(
                "an earlier change of this batch failed in the middle, so nothing of the batch will be written"
            ) from self.failure
        return BatchDraft(self)

    def set_now(self, key: Any, value: Any) -> bool:
        """Do ``array[key] = value`` in one box in memory, if that is all there is to it; say whether it was done."""
        dtype = self.update.dtype
        if dtype.kind not in NUMBERS or not isinstance(value, SIMPLE) or any(self.grid.firsts):
            return False
        if isinstance(value, np.ndarray) and value.dtype.kind not in NUMBERS:
            return False
        items = parse_key(key, self.grid.shape)
        kept = [item for item in items if item is not None]
        if len(kept) < len(items):
            return False
        index, local = [], list[Any]()
        for item, step in zip(kept, self.grid.steps, strict=True):
            if isinstance(item, Pick):
                box, inside = divmod(item.index, step)
                local.append(inside)
            elif item.step != 1 or not item.length:
                return False
            else:
                box, inside = divmod(item.start, step)
                if inside + item.length > step:
                    return False
                local.append(slice(inside, inside + item.length))
            index.append(box)
        if any(item is Ellipsis for item in (key if isinstance(key, tuple) else (key,))):
            local.append(Ellipsis)  # a view then, also where one element is left
        with self.handle.lock:
            self.draft()
            place = tuple(index)
            block = self.boxes.get(place)
            if block is None:
                region = self.grid.region(place)
                if region_size(region) * dtype.itemsize > self.limit:
                    return False
                block = self._box(place, region, wanted=True)
            block[(*local,)] = value
            self.changes += 1
        return True

    def change(self, op: Assign, values: Sequence[Node]) -> None:
        """Make one change: in memory if it is small, else in the update."""
        region = self.grid.round_out(op.place.region)
        parts = small_parts(op.touched(region, self.grid), op.dtype.itemsize, self.limit)
        try:
            if parts is not None and are_small(values):
                self._change_small(op, engine.compute(values) if values else [], parts)
            else:
                self._change_large(op, values)
        finally:
            self.changes += 1

    def _change_small(self, op: Assign, values: Sequence[Block], parts: Sequence[Region]) -> None:
        for part in parts:
            for index in self.grid.touching(part):
                box = self.grid.region(index)
                old, *needed = op.needs(box)
                block = self._box(index, box, wanted=old is not None)
                op.change(block, box, pieces(values, needed))

    def _box(self, index: Shape, box: Region, *, wanted: bool) -> Block:
        """Return a box to be changed, with its values if they are wanted."""
        block = self.boxes.get(index)
        if block is not None:
            with self._lock:
                self.boxes.move_to_end(index)
            return block
        while self.boxes and self.nbytes + region_size(box) * self.update.dtype.itemsize > self.limit:
            self._write_oldest()
        block = np.zeros(region_shape(box), self.update.dtype)
        if wanted:
            self._staged.read(box, block, np.empty(self._staged.scratch_bytes(box), np.uint8))
        with self._lock:
            self.boxes[index] = block
        self._hold(block.nbytes)
        return block

    def _hold(self, nbytes: int) -> None:
        self.nbytes += nbytes
        keep(nbytes)

    def _write_oldest(self) -> None:
        """Give the box that was used longest ago to the update."""
        index, block = next(iter(self.boxes.items()))
        box = self.grid.region(index)
        self.update.write(box, block, np.empty(self.update.scratch_bytes(box), np.uint8))
        with self._lock:
            del self.boxes[index]
        self._hold(-block.nbytes)

    def _flush(self) -> None:
        while self.boxes:
            self._write_oldest()
        engine.trim()  # what the boxes took, before work begins that plans with it

    def _change_large(self, op: Assign, values: Sequence[Node]) -> None:
        """Evaluate into the update, which then holds half of the change if that fails.

        Values that are computed from the array are evaluated first: the update shows what was written already.
        """
        own = [self._depends(value) for value in values]
        ready = [materialise(v) if mine else v for v, mine in zip(values, own, strict=True)]
        try:
            self._flush()
            old = self.handle.attach(self._staged)
            region = self.update.grid.round_out(op.place.region)
            node = assign(old, op.place, op.setter, ready)
            engine.write_region(node, self.update, region, lambda part: op.touched(part, self.update.grid), here=True)
        except BaseException as error:
            self.failure = error
            raise

    def _depends(self, value: Node) -> bool:
        loads = (n.op for n in topological([value]) if isinstance(n.op, Load))
        return any(isinstance(op.stored, Overlay) and op.stored.batch is self for op in loads)

    # --- its end -------------------------------------------------------------------------------

    def commit(self) -> None:
        """Put everything on disk."""
        try:
            with self.update:
                self.draft()
                self._flush()
                self.update.commit()
        finally:
            self._forget()

    def abort(self) -> None:
        """Forget everything."""
        self._forget()
        self.update.abort()

    def _forget(self) -> None:
        self.boxes.clear()
        self._hold(-self.nbytes)


def _tiles(shape: Shape, itemsize: int) -> Grid:
    """Return boxes of about `BOX` bytes, in runs of whole rows."""
    steps, room = [1] * len(shape), max(1, BOX // max(1, itemsize))
    for axis in range(len(shape) - 1, -1, -1):
        steps[axis] = max(1, min(shape[axis], room))
        room //= steps[axis]
        if room <= 1:
            break
    return Grid(shape, tuple(steps))


@contextmanager
def batch(handle: Handle) -> Iterator[None]:
    """Collect the changes made through ``handle``: all of them are on disk at the end, none after an exception."""
    with handle.lock:
        if handle.batch is not None:
            raise RuntimeError(f"{handle.stored.path}: a batch is open already; end it before another one begins")
        handle.batch = opened = Batch(handle)
    try:
        yield
    except BaseException:
        with handle.lock:
            handle.batch = None
            opened.abort()
        raise
    with handle.lock:
        handle.batch = None
        opened.commit()


class BatchDraft(Draft):
    """One change among those of a batch."""

    def __init__(self, batch: Batch) -> None:
        super().__init__(batch.handle, batch.current())
        self._batch = batch

    def change(self, op: Assign, values: Sequence[Node]) -> None:
        """Make it in the batch."""
        self._batch.change(op, values)


class Overlay(Stored):
    """The array as it will be when a batch ends."""

    writable, cacheable, portable = True, False, False

    def __init__(self, batch: Batch) -> None:
        before = batch.update.before
        self.batch = batch
        self.shape, self.dtype, self.grid = before.shape, before.dtype, before.grid
        self.contiguous, self.format, self.path = before.contiguous, before.format, before.path
        self._inner = batch.update.staged()

    def read(self, region: Region, out: Block, scratch: Block) -> None:
        """Read what was changed, and what was there."""
        self.batch.read(region, out, scratch)

    def scratch_bytes(self, region: Region) -> int:
        """Ask the update."""
        return self._inner.scratch_bytes(region)

    def bytes_read(self, region: Region) -> int:
        """Ask the update."""
        return self._inner.bytes_read(region)

    def generation(self) -> Hashable:
        """Count the changes; what was built in a batch is out of date after it."""
        changes = self.batch.changes if self.batch.handle.batch is self.batch else -1
        return "batch", id(self.batch), changes

    def __reduce__(self) -> tuple[object, ...]:
        """Refuse: what lies in memory is not seen elsewhere."""
        raise UnsupportedError(f"{self.path}: a batch of changes is open on it, which only this process sees; end it")
