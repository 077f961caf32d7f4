"""Operations that move elements and change none: all of them lazy, most of them views."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.graph import Kernel, Node, View
from chunkarr.grid import Grid, Region, Shape, intersect, region_slices, shift
from chunkarr.ops.elementwise import astype
from chunkarr.ops.sources import CELL, full
from chunkarr.selection import Item, Pick, Stride

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["broadcast_to", "concatenate", "field", "flip", "moved", "reinterpret", "reshape", "take_basic", "transpose"]

Block = np.ndarray[Any, Any]


class BasicIndex(View):
    """Ints, slices of any step, and new axes."""

    __slots__ = ("items",)

    def __init__(self, shape: Shape, dtype: np.dtype[Any], items: tuple[Item, ...]) -> None:
        super().__init__(shape, dtype)
        self.items = items

    def needs(self, region: Region) -> tuple[Region | None, ...]:
        """Need the range that each slice spans."""
        bounds = iter(region)
        result = []
        for item in self.items:
            if isinstance(item, Pick):
                result.append((item.index, item.index + 1))
                continue
            a, b = next(bounds)
            if item is None:
                continue
            ends = (item.start + a * item.step, item.start + (b - 1) * item.step)
            result.append((min(ends), max(ends) + 1))
        return (tuple(result),)

    def view(self, block: Block, region: Region) -> Block:  # noqa: ARG002 - the block is as long as it must be
        """Stride over the block."""
        key: list[Any] = []
        for item in self.items:
            if isinstance(item, Pick):
                key.append(0)
            elif item is None:
                key.append(None)
            else:
                key.append(slice(None, None, item.step))
        result: Block = block[(*key, ...)]  # the Ellipsis keeps a 0-d result an array
        return result


def take_basic(node: Node, items: tuple[Item, ...]) -> Node:
    """Return ``node[key]`` of a parsed basic key."""
    shape: list[int] = []
    steps: list[int] = []
    firsts: list[int] = []
    axis = 0
    for item in items:
        if item is None:
            shape.append(1)
            steps.append(1)
            firsts.append(0)
            continue
        if isinstance(item, Stride):
            step, first = node.grid.steps[axis], node.grid.firsts[axis]
            stride = abs(item.step)
            shape.append(item.length)
            steps.append(max(1, step // stride))
            offset = (first - item.start) if item.step > 0 else (item.start + 1 - first)
            firsts.append((offset // stride) % max(1, step // stride))
        axis += 1
    if tuple(shape) == node.shape and all(isinstance(i, Stride) and i.step == 1 for i in items):
        return node
    grid = Grid(tuple(shape), tuple(steps), tuple(firsts))
    return Node(BasicIndex(tuple(shape), node.dtype, items), (node,), grid)


def flip(node: Node, axes: Sequence[int]) -> Node:
    """Return ``node`` reversed along ``axes``."""
    items = tuple(Stride(n - 1, -1, n) if axis in axes and n else Stride(0, 1, n) for axis, n in enumerate(node.shape))
    return take_basic(node, items)


def moved(node: Node, amount: int, axis: int) -> Node:
    """Return ``node`` rolled by ``amount`` along one axis."""
    n = node.shape[axis]
    cut = (-amount) % n if n else 0
    if cut == 0:
        return node

    def part(start: int, stop: int) -> Node:
        items = tuple(
            Stride(start, 1, stop - start) if k == axis else Stride(0, 1, m) for k, m in enumerate(node.shape)
        )
        return take_basic(node, items)

    return concatenate([part(cut, n), part(0, cut)], axis, node.dtype)


class Transpose(View):
    """Axes in another order."""

    __slots__ = ("axes",)

    def __init__(self, shape: Shape, dtype: np.dtype[Any], axes: tuple[int, ...]) -> None:
        super().__init__(shape, dtype)
        self.axes = axes

    def needs(self, region: Region) -> tuple[Region | None, ...]:
        """Need the same bounds on the axes they came from."""
        result = list(region)
        for bounds, axis in zip(region, self.axes, strict=True):
            result[axis] = bounds
        return (tuple(result),)

    def view(self, block: Block, region: Region) -> Block:  # noqa: ARG002
        """Transpose the block."""
        return block.transpose(self.axes)


def transpose(node: Node, axes: tuple[int, ...]) -> Node:
    """Return ``node`` with axis ``axes[i]`` as its axis ``i``."""
    if axes == tuple(range(node.ndim)):
        return node

    def permute(values: Sequence[int]) -> Shape:
        return tuple(values[a] for a in axes)

    grid = Grid(permute(node.shape), permute(node.grid.steps), permute(node.grid.firsts))
    return Node(Transpose(grid.shape, node.dtype, axes), (node,), grid)


class Broadcast(View):
    """Axes of size 1 repeated, and new axes in front."""

    __slots__ = ("inner",)

    def __init__(self, shape: Shape, dtype: np.dtype[Any], inner: Shape) -> None:
        super().__init__(shape, dtype)
        self.inner = inner

    def needs(self, region: Region) -> tuple[Region | None, ...]:
        """Need the one element of each axis that is repeated."""
        lead = len(region) - len(self.inner)
        kept = zip(self.inner, self.shape[lead:], region[lead:], strict=True)
        return (tuple((0, 1) if n == 1 != m else bounds for n, m, bounds in kept),)

    def view(self, block: Block, region: Region) -> Block:
        """Broadcast the block to the region's shape."""
        return np.broadcast_to(block, tuple(b - a for a, b in region))


def broadcast_to(node: Node, shape: Shape) -> Node:
    """Return ``np.broadcast_to(node, shape)``, with NumPy's error."""
    np.broadcast_to(np.broadcast_to(np.empty((), bool), node.shape), shape)
    if shape == node.shape:
        return node
    lead = len(shape) - node.ndim
    steps = list(shape[:lead]) + [
        s if n == m else m for s, n, m in zip(node.grid.steps, node.shape, shape[lead:], strict=True)
    ]
    firsts = [0] * lead + [
        f if n == m else 0 for f, n, m in zip(node.grid.firsts, node.shape, shape[lead:], strict=True)
    ]
    room = CELL // max(1, node.dtype.itemsize)
    for axis in range(len(shape) - 1, -1, -1):  # a repeated axis is cut where a box would get too large
        repeated = axis < lead or node.shape[axis - lead] != shape[axis]
        if repeated:
            steps[axis] = max(1, min(steps[axis], room))
        room //= max(1, steps[axis])
    grid = Grid(shape, tuple(steps), tuple(firsts))
    return Node(Broadcast(shape, node.dtype, node.shape), (node,), grid)


class Field(View):
    """One field of structured elements, or several as a structure."""

    __slots__ = ("name",)

    def __init__(self, shape: Shape, dtype: np.dtype[Any], name: str | list[str]) -> None:
        super().__init__(shape, dtype)
        self.name = name

    def needs(self, region: Region) -> tuple[Region | None, ...]:
        """Need the same elements, whole; a subarray field has axes of its own at the end."""
        return (region,)

    def view(self, block: Block, region: Region) -> Block:  # noqa: ARG002
        """Take the field of the block."""
        result: Block = block[self.name]
        return result


class Subarray(Field):
    """A field that is an array itself: its axes come after those of the elements."""

    __slots__ = ("outer",)

    def __init__(self, shape: Shape, dtype: np.dtype[Any], name: str, outer: int) -> None:
        super().__init__(shape, dtype, name)
        self.outer = outer  # axes of the elements

    def needs(self, region: Region) -> tuple[Region | None, ...]:
        """Need the elements of the leading axes."""
        return (region[: self.outer],)

    def view(self, block: Block, region: Region) -> Block:
        """Take the field, then the part of its own axes."""
        key = (slice(None),) * self.outer + region_slices(region[self.outer :])
        result: Block = block[self.name][key]
        return result


def field(node: Node, name: str | list[str]) -> Node:
    """Return a field of structured elements by name, or several by a list of names; NumPy's errors."""
    sample = np.empty((0,), node.dtype)[name]
    if sample.ndim > 1 and isinstance(name, str):
        inner = sample.shape[1:]
        shape = node.shape + inner
        grid = Grid(shape, node.grid.steps + inner, node.grid.firsts + (0,) * len(inner))
        return Node(Subarray(shape, sample.dtype, name, node.ndim), (node,), grid)
    return Node(Field(node.shape, sample.dtype, name), (node,), node.grid)


class Reinterpret(View):
    """The same bytes as another dtype; the last axis stretches or shrinks."""

    __slots__ = ("after", "before")

    def __init__(self, shape: Shape, dtype: np.dtype[Any], before: int) -> None:
        super().__init__(shape, dtype)
        self.before, self.after = before, self.dtype.itemsize

    def needs(self, region: Region) -> tuple[Region | None, ...]:
        """Need the elements that hold the bytes of the region's last axis."""
        if self.before == self.after:
            return (region,)
        (*lead, (a, b)) = region
        return ((*lead, (a * self.after // self.before, -(-b * self.after // self.before))),)

    def view(self, block: Block, region: Region) -> Block:
        """View the block's bytes; the executor hands over a block whose last axis is contiguous."""
        if self.before != self.after and block.strides[-1] != block.itemsize:
            block = np.ascontiguousarray(block)
        seen: Block = block.view(self.dtype)
        if self.before > self.after:
            a, b = region[-1]
            skip = a % (self.before // self.after)
            seen = seen[..., skip : skip + b - a]
        return seen


def reinterpret(node: Node, dtype: Any) -> Node:
    """Return ``node.view(dtype)`` with NumPy's rules and errors."""
    kind = np.dtype(dtype)
    if kind == node.dtype:
        return Node(Reinterpret(node.shape, kind, node.dtype.itemsize), (node,), node.grid)
    small = np.empty(node.shape[-1:] if node.ndim else (), bool)  # only its last axis matters
    last = node.shape[-1] if node.ndim else 1
    probe = np.lib.stride_tricks.as_strided(
        np.empty(1, node.dtype),
        (1,) * max(0, node.ndim - 1) + small.shape,
        (0,) * max(0, node.ndim - 1) + (node.dtype.itemsize,) * small.ndim,
    )
    seen = probe.view(kind) if last * node.dtype.itemsize < 1 << 20 else _checked_view(node, kind)
    shape = (*node.shape[:-1], seen.shape[-1]) if node.ndim else ()
    steps = list(node.grid.steps)
    if node.ndim:
        steps[-1] = max(1, steps[-1] * node.dtype.itemsize // kind.itemsize)
    return Node(Reinterpret(shape, kind, node.dtype.itemsize), (node,), Grid(shape, tuple(steps)))


def _checked_view(node: Node, kind: np.dtype[Any]) -> Block:
    """Ask NumPy for the shape of the view of a long last axis, without its memory."""
    nbytes = node.shape[-1] * node.dtype.itemsize
    np.empty(0, node.dtype).view(kind)
    if nbytes % kind.itemsize:
        raise ValueError(
            "When changing to a larger dtype, its size must be a divisor of the total size in bytes of the last axis "
            "of the array."
        )
    return np.broadcast_to(np.empty((), kind), (nbytes // kind.itemsize,))


class Concatenate(Kernel):
    """Arrays one after another along an axis."""

    __slots__ = ("axis", "offsets")

    def __init__(self, shape: Shape, dtype: np.dtype[Any], axis: int, offsets: tuple[int, ...]) -> None:
        super().__init__(shape, dtype)
        self.axis, self.offsets = axis, offsets  # offsets: where each input starts, and the end

    def _bounds(self, region: Region, index: int) -> Region | None:
        box = list(region)
        box[self.axis] = (self.offsets[index], self.offsets[index + 1])
        return intersect(region, tuple(box))

    def needs(self, region: Region) -> tuple[Region | None, ...]:
        """Need the overlap with each input."""
        result = []
        for index in range(len(self.offsets) - 1):
            common = self._bounds(region, index)
            back = [0] * len(region)
            back[self.axis] = -self.offsets[index]
            result.append(shift(common, back) if common else None)
        return tuple(result)

    def kernel(self, blocks: Sequence[Block | None], region: Region, out: Block, scratch: Block) -> None:  # noqa: ARG002
        """Copy each part to its place."""
        for index, block in enumerate(blocks):
            common = self._bounds(region, index)
            if common is not None and block is not None:
                out[region_slices(common, region)] = block


def concatenate(nodes: Sequence[Node], axis: int, dtype: Any = None, casting: Any = "same_kind") -> Node:
    """Return ``np.concatenate`` of nodes that have at least one axis; errors and dtype are NumPy's."""
    empties = [np.broadcast_to(np.empty((), n.dtype), (0,)) for n in nodes]
    kind = np.concatenate(empties, dtype=dtype, casting=casting).dtype
    nodes = [astype(n, kind) for n in nodes]
    offsets = [0]
    for node in nodes:
        offsets.append(offsets[-1] + node.shape[axis])
    shape = list(nodes[0].shape)
    shape[axis] = offsets[-1]
    largest = max(nodes, key=lambda n: math.prod(n.shape))
    grid = Grid(tuple(shape), largest.grid.steps, largest.grid.firsts if largest is nodes[0] else ())
    return Node(Concatenate(grid.shape, kind, axis, tuple(offsets)), nodes, grid)


class Reshape(Kernel):
    """The same elements in C order under another shape.

    Axes fall into independent groups, such as (4, 6, 5) -> (24, 5) with groups (4, 6) -> (24) and
    (5) -> (5). Within a group, a box of the result is grown to the run of elements that spans it; the
    input's part is the run of rows that holds that run.
    """

    __slots__ = ("groups", "inner")

    def __init__(self, shape: Shape, dtype: np.dtype[Any], inner: Shape) -> None:
        super().__init__(shape, dtype)
        self.inner = inner
        self.groups = reshape_groups(inner, self.shape)

    def _spans(self, region: Region) -> list[tuple[int, int, Region, Region]]:
        """Return per group the run of elements [lo, hi), and the boxes of result and input that hold it."""
        result = []
        for (i0, i1), (o0, o1) in self.groups:
            outer, shape = region[o0:o1], self.shape[o0:o1]
            box = _as_run(outer, shape)
            lo, hi = _flat_bounds(box, shape)
            result.append((lo, hi, box, _run_to_box(lo, hi, self.inner[i0:i1])))
        return result

    def needs(self, region: Region) -> tuple[Region | None, ...]:
        """Need the rows that hold the run of each group."""
        return (tuple(bounds for *_, box in self._spans(region) for bounds in box),)

    def kernel(self, blocks: Sequence[Block | None], region: Region, out: Block, scratch: Block) -> None:  # noqa: ARG002
        """View the rows as runs, cut the run out, and view it as the box."""
        (block,) = blocks
        if block is None:
            return
        spans = self._spans(region)
        flat_key: list[Any] = []
        middle: list[int] = []
        cut: list[Any] = []
        runs: list[int] = []
        for ((i0, i1), (o0, o1)), (lo, hi, box, rows) in zip(self.groups, spans, strict=True):
            base, top = _flat_bounds(rows, self.inner[i0:i1])
            runs.append(top - base)
            flat_key.append(slice(lo - base, hi - base))
            middle.extend(b - a for a, b in box)
            cut.extend(region_slices(region[o0:o1], box))
        seen = block.reshape(runs)[tuple(flat_key)]
        if math.prod(middle) == math.prod(b - a for a, b in region):
            np.copyto(
                out.reshape(seen.shape) if out.flags.c_contiguous else out,
                seen if out.flags.c_contiguous else seen.reshape(middle),
            )
        else:
            out[...] = seen.reshape(middle)[tuple(cut)]

    def scratch_bytes(self, region: Region) -> int:
        """Count the copies that NumPy's reshape may make of a block with other strides."""
        (need,) = self.needs(region)
        rows = math.prod(b - a for a, b in need or ())
        return 2 * rows * self.dtype.itemsize


def reshape_groups(inner: Shape, outer: Shape) -> tuple[tuple[tuple[int, int], tuple[int, int]], ...]:
    """Return the finest groups of axes of ``inner`` and ``outer`` that hold the same elements.

    >>> reshape_groups((4, 6, 5), (24, 5))
    (((0, 2), (0, 1)), ((2, 3), (1, 2)))
    """
    groups = []
    i = o = 0
    while i < len(inner) or o < len(outer):
        i0, o0, left, right = i, o, 1, 1
        if i < len(inner):
            left, i = inner[i], i + 1
        if o < len(outer):
            right, o = outer[o], o + 1
        while left != right:
            if left < right and i < len(inner):
                left, i = left * inner[i], i + 1
            else:
                right, o = right * outer[o], o + 1
        groups.append(((i0, i), (o0, o)))
    return tuple(groups)


def _flat_bounds(box: Region, shape: Shape) -> tuple[int, int]:
    lo = last = 0
    for (a, b), n in zip(box, shape, strict=True):
        lo, last = lo * n + a, last * n + b - 1
    return lo, last + 1


def _as_run(box: Region, shape: Shape) -> Region:
    """Grow ``box`` to one that holds a single run of elements: a range of one axis, all of those after it."""
    pivot = next((k for k, (a, b) in enumerate(box) if b - a > 1), len(box))
    return tuple(bounds if k <= pivot else (0, n) for k, (bounds, n) in enumerate(zip(box, shape, strict=True)))


def _run_to_box(lo: int, hi: int, shape: Shape) -> Region:
    """Return the smallest single-run box of ``shape`` that holds the elements [lo, hi)."""
    result: list[tuple[int, int]] = []
    inner = math.prod(shape)
    for k, n in enumerate(shape):
        inner //= n
        a, b = lo // inner, (hi - 1) // inner + 1
        result.append((a, b))
        if b - a > 1:
            result.extend((0, m) for m in shape[k + 1 :])
            break
        lo, hi = lo - a * inner, hi - a * inner
    return tuple(result)


def reshape(node: Node, shape: Shape) -> Node:
    """Return the elements of ``node`` in C order under ``shape``, of the same size."""
    if shape == node.shape:
        return node
    if math.prod(shape) == 0:
        return full(shape, np.zeros((), node.dtype)[()], node.dtype)
    squeezed = [n for n in node.shape if n != 1]
    if squeezed == [n for n in shape if n != 1]:  # only axes of size 1 come or go
        items: list[Item] = [Pick(0) if n == 1 else Stride(0, 1, n) for n in node.shape]
        kept = [i for i in items if isinstance(i, Stride)]
        core = take_basic(node, tuple(items)) if len(kept) < len(items) else node
        axes = iter(kept)
        return take_basic(core, tuple(None if n == 1 else next(axes) for n in shape))
    steps: list[int] = []
    for (i0, i1), (o0, o1) in reshape_groups(node.shape, shape):
        inner, outer = node.shape[i0:i1], shape[o0:o1]
        if len(inner) == len(outer) == 1:
            steps.append(node.grid.steps[i0])
            continue
        room = max(1, _box_run(node.grid.steps[i0:i1], inner))
        part: list[int] = []
        for n in reversed(outer):
            part.insert(0, min(n, room))
            room = max(1, room // n)
        steps.extend(part)
    return Node(Reshape(shape, node.dtype, node.shape), (node,), Grid(shape, tuple(steps)))


def _box_run(steps: Shape, shape: Shape) -> int:
    """Return the elements of a run of whole rows that is as tall as a grid box."""
    run = 1
    for k, (s, n) in enumerate(zip(steps, shape, strict=True)):
        if s > 1 or k == len(shape) - 1:
            return s * math.prod(shape[k + 1 :])
        run *= n
    return run
