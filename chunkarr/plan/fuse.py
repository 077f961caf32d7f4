"""From nodes to a flow: a flat list of units, with neighbouring elementwise calls fused into one.

A :class:`Flow` links by position, so that it pickles flat however long the chain of calls was. An
elementwise call joins the group of its consumers when all of them are elementwise, of its shape and
in one group; what several groups read is computed once, as a block. A group is evaluated tile by
tile: a few tens of thousands of elements pass through all its calls while they are in cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.buffers import aligned
from chunkarr.graph import Barrier, Elementwise, Load, Node, Op, Operand, broadcast_region, topological

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from chunkarr.formats.contract import Stored
    from chunkarr.grid import Region, Shape

__all__ = ["NARROW", "TILE", "Const", "Flow", "Fused", "Step", "Unit", "flatten"]

NARROW = 2  # blocks that a group reads where reading all sources together does not fit
TILE = 1 << 17  # elements that pass through a group of calls together


@dataclass(frozen=True, slots=True)
class Const:
    """An argument that is the same for all tiles."""

    value: Any


@dataclass(frozen=True, slots=True)
class Step:
    """One call on values of a tile; ints are positions among operands first, then slots."""

    name: str  # as NumPy's warnings call it
    function: Callable[..., Any]
    args: tuple[int | Const, ...]
    outs: tuple[int, ...]
    kwargs: dict[str, Any]
    where: int | None = None


class Fused(Op):
    """A group of elementwise calls as one operation on blocks.

    ``shapes`` are those of the operands; ``slots`` the dtypes of the temporaries, each one tile long;
    ``results`` the positions of the group's values that are read outside.
    """

    __slots__ = ("results", "shapes", "slots", "steps")

    def __init__(
        self,
        shape: Shape,
        dtype: np.dtype[Any],
        shapes: tuple[Shape, ...],
        steps: tuple[Step, ...],
        slots: tuple[np.dtype[Any], ...],
        results: tuple[int, ...],
    ) -> None:
        super().__init__(shape, dtype)
        self.shapes, self.steps, self.slots, self.results = shapes, steps, slots, results

    def needs(self, region: Region) -> tuple[Region | None, ...]:
        """Need the same region of each operand, but for axes that are broadcast."""
        return tuple(broadcast_region(region, shape) for shape in self.shapes)

    def temporary_bytes(self, elements: int) -> int:
        """Return the bytes of all slots for tiles of ``elements``."""
        return sum(aligned(elements * d.itemsize) for d in self.slots)

    def carve(self, memory: np.ndarray[Any, Any], shape: Shape) -> list[np.ndarray[Any, Any]]:
        """Return the slots as arrays of a tile's shape, laid out in ``memory``."""
        size = 1
        for n in shape:
            size *= n
        result, at = [], 0
        for dtype in self.slots:
            nbytes = size * dtype.itemsize
            result.append(memory[at : at + nbytes].view(dtype).reshape(shape))
            at += aligned(nbytes)
        return result

    def evaluate(self, values: list[Any], flags: Any) -> None:
        """Run all steps; ``values`` holds operand tiles, then slots."""
        for step in self.steps:
            flags.name = step.name
            args = [values[a] if type(a) is int else a.value for a in step.args]  # type: ignore[union-attr]
            outs = [values[o] for o in step.outs]
            if step.where is None:
                step.function(*args, out=outs[0] if len(outs) == 1 else tuple(outs), **step.kwargs)
                continue
            for out in outs:
                out[...] = 0
            step.function(
                *args, out=outs[0] if len(outs) == 1 else tuple(outs), where=values[step.where], **step.kwargs
            )


@dataclass(frozen=True, slots=True)
class Unit:
    """One operation of a flow."""

    op: Op
    inputs: tuple[int, ...]  # positions of the units that it reads


@dataclass(frozen=True, slots=True)
class Flow:
    """Units, inputs first, and the positions of those whose values are asked for."""

    units: tuple[Unit, ...]
    roots: tuple[int, ...]

    def bind(self, sources: Mapping[int, Stored]) -> Flow:
        """Return this flow with the sources at some positions replaced."""
        units = tuple(Unit(Load(sources[k]), ()) if k in sources else unit for k, unit in enumerate(self.units))
        return Flow(units, self.roots)


class _Group:
    """Members of a fused group, in topological order, and the nodes that it reads."""

    def __init__(self, shape: Shape, reads: Iterable[int] = ()) -> None:
        self.shape = shape
        self.members: list[Node] = []
        self.reads = set(reads)  # ids of the nodes that it reads

    def takes(self, node: Node, widest: int | None) -> bool:
        """Say whether ``node`` may join: a group of its shape that then reads no more than ``widest`` nodes."""
        if self.shape != node.shape or widest is None:
            return self.shape == node.shape
        together = self.reads - {id(node)} | {id(i) for i in node.inputs}
        return len(together) <= max(widest, len(self.reads))

    def add(self, node: Node) -> None:
        self.members.append(node)
        self.reads.discard(id(node))
        self.reads.update(id(i) for i in node.inputs)


def _assign(
    order: Sequence[Node], roots: Sequence[Node], leaf: Callable[[Node], bool], sink: Shape | None, widest: int | None
) -> dict[int, _Group]:
    """Give each elementwise node its group, consumers first."""
    consumers: dict[int, list[Node | None]] = {id(n): [] for n in order}
    for node in order:
        if not leaf(node):
            for source in node.inputs:
                consumers[id(source)].append(node)
    for root in roots:
        consumers[id(root)].append(None)
    last = _Group(sink, (id(r) for r in roots)) if sink is not None else None
    groups: dict[int, _Group] = {}
    for node in reversed(order):
        if not isinstance(node.op, Elementwise) or leaf(node):
            continue
        readers = {id(g): g for g in (last if c is None else groups.get(id(c)) for c in consumers[id(node)])}
        group = next(iter(readers.values())) if len(readers) == 1 else None
        if group is None or not group.takes(node, widest):
            group = _Group(node.shape)
        group.add(node)
        groups[id(node)] = group
    if last is not None:
        groups[-1] = last
    return groups


def flatten(
    roots: Sequence[Node], resolved: Mapping[int, Stored], *, sink: Shape | None = None, widest: int | None = None
) -> Flow:
    """Return the flow that computes ``roots``.

    ``resolved`` gives the stored results of barriers (and of cut edges) by the id of their node. With
    ``sink``, the shape of all roots, the flow ends in one fused unit whose results are the roots: what
    a reduction consumes tile by tile. Otherwise each root is a unit of its own. A group reads at most
    ``widest`` blocks, if that is given: more groups, which need not hold all that they read together.
    """

    def leaf(node: Node) -> bool:
        return id(node) in resolved or not node.inputs

    order = topological(roots, lambda node: id(node) in resolved)
    position = {id(n): k for k, n in enumerate(order)}
    groups = _assign(order, roots, leaf, sink, widest)
    last = groups.pop(-1, None)
    for each in {id(g): g for g in groups.values()}.values():
        each.members.sort(key=lambda n: position[id(n)])
    units: list[Unit] = []
    placed: dict[int, int] = {}

    def emit(op: Op, inputs: Sequence[Node]) -> int:
        units.append(Unit(op, tuple(placed[id(i)] for i in inputs)))
        return len(units) - 1

    for node in order:
        group = groups.get(id(node))
        if group is not None:
            if group is not last and node is group.members[-1]:
                op, operands = _fuse(group.members, (node,), group.shape)
                placed[id(node)] = emit(op, operands)
            continue
        if id(node) in resolved:
            placed[id(node)] = emit(Load(resolved[id(node)]), ())
        else:
            if isinstance(node.op, Barrier):
                raise AssertionError("a barrier was not evaluated before what reads it")
            placed[id(node)] = emit(node.op, node.inputs)
    if last is None:
        return Flow(tuple(units), tuple(placed[id(r)] for r in roots))
    op, operands = _fuse(last.members, roots, last.shape)
    return Flow((*units, Unit(op, tuple(placed[id(i)] for i in operands))), (len(units),))


class _Slots:
    """The temporaries of a group: a slot is reused once no later step reads it."""

    def __init__(self, base: int) -> None:
        self.base = base  # operands come before slots in the numbering of values
        self.dtypes: list[np.dtype[Any]] = []
        self.free: list[int] = []

    def take(self, dtype: np.dtype[Any]) -> int:
        """Return the value number of a slot for ``dtype``."""
        for k in self.free:
            if self.dtypes[k] == dtype:
                self.free.remove(k)
                return self.base + k
        self.dtypes.append(dtype)
        return self.base + len(self.dtypes) - 1

    def give(self, values: Iterable[int]) -> None:
        """Let slots be reused; operands among the values are left alone."""
        self.free.extend(v - self.base for v in values if v >= self.base)


def _operands(members: Sequence[Node], results: Sequence[Node]) -> list[Node]:
    """Return the nodes that a group reads, each once."""
    inside = {id(m) for m in members}
    read = {id(n): n for m in members for n in m.inputs} | {id(r): r for r in results}
    return [n for key, n in read.items() if key not in inside]


def _fuse(members: Sequence[Node], results: Sequence[Node], shape: Shape) -> tuple[Fused, list[Node]]:
    """Turn a group into steps over operands and reused slots."""
    operands = _operands(members, results)
    value = {id(n): k for k, n in enumerate(operands)}
    slots = _Slots(len(operands))
    calls: dict[int, list[Node]] = {}
    for member in members:
        calls.setdefault(id(member.op.call), []).append(member)  # type: ignore[attr-defined]
    last_use = _last_uses(members, results, calls)
    steps: list[Step] = []
    for at, nodes in enumerate(calls.values()):
        op: Any = nodes[0].op
        inputs = [value[id(i)] for i in nodes[0].inputs]
        dying = {value[id(i)] for i in nodes[0].inputs if last_use.get(id(i)) == at}
        in_place = isinstance(op.function, np.ufunc) and op.where is None and len(op.dtypes) == 1
        if in_place:  # a ufunc may write where it reads; other functions may read again later
            slots.give(dying)
        outs = tuple(slots.take(dtype) for dtype in op.dtypes)
        for node in nodes:
            value[id(node)] = outs[node.op.index]  # type: ignore[attr-defined]
        slots.give(set(outs) - {value[id(n)] for n in nodes})
        if not in_place:
            slots.give(dying)
        steps.append(_step(op, inputs, outs))
    places = tuple(value[id(r)] for r in results)
    shapes = tuple(n.shape for n in operands)
    return Fused(shape, results[0].dtype, shapes, tuple(steps), tuple(slots.dtypes), places), operands


def _step(op: Elementwise, inputs: Sequence[int], outs: tuple[int, ...]) -> Step:
    """Return a call with its operands replaced by the values that they are."""
    name = getattr(op.function, "__name__", "call").lstrip("_")
    args = tuple(inputs[a.index] if isinstance(a, Operand) else Const(a) for a in op.args)
    return Step(name, op.function, args, outs, op.kwargs, None if op.where is None else inputs[op.where.index])


def _last_uses(members: Sequence[Node], results: Sequence[Node], calls: Mapping[int, list[Node]]) -> dict[int, int]:
    """Return the last step that reads each member; results are never released."""
    last: dict[int, int] = {}
    for at, nodes in enumerate(calls.values()):
        for source in nodes[0].inputs:
            last[id(source)] = at
    for result in results:
        last[id(result)] = len(members) + 1
    return last
