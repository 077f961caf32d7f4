"""Arrays as data: operations that say what they need, and nodes that link them.

An array is a shape, a dtype, a grid, ``needs(region)`` -> the regions of its inputs, and a kernel
that computes a block from blocks. An :class:`Op` holds all of that for one operation and links to
nothing, so that it can be pickled alone; a :class:`Node` links an op to the nodes it reads. There
are five kinds of op, one for each way of being evaluated:

============  ==========================================================================
Load          reads a stored array: the only op that does I/O
View          a NumPy view of its input's block: costs nothing
Elementwise   one call on tiles of its inputs: fused with its neighbours, cache-blocked
Kernel        computes a block from blocks of its inputs
Barrier       needs many input blocks for one of its own: evaluated first, on its own
============  ==========================================================================
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.grid import Grid, Region, Shape, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from chunkarr.formats.contract import Stored

__all__ = [
    "Barrier",
    "Elementwise",
    "Kernel",
    "Load",
    "Node",
    "Op",
    "Operand",
    "View",
    "broadcast_region",
    "has_memo",
    "topological",
]

Block = np.ndarray[Any, Any]


class Op:
    """What every operation has; ``dtype`` and ``shape`` are those of its result."""

    __slots__ = ("dtype", "shape")

    def __init__(self, shape: Shape, dtype: np.dtype[Any]) -> None:
        self.shape = tuple(shape)
        self.dtype = np.dtype(dtype)

    def needs(self, region: Region) -> tuple[Region | None, ...]:
        """Return the region of each input that ``region`` of the result depends on; None for nothing."""
        raise NotImplementedError


class Load(Op):
    """Read a stored array, as it was when the expression was built."""

    __slots__ = ("generation", "stored")

    def __init__(self, stored: Stored) -> None:
        super().__init__(stored.shape, stored.dtype)
        self.stored = stored
        self.generation = stored.generation()

    def needs(self, region: Region) -> tuple[Region | None, ...]:  # noqa: ARG002 - a source has no inputs
        """Need nothing: this is where the data come from."""
        return ()


class View(Op):
    """A result whose every block is a NumPy view of a block of the input."""

    __slots__ = ()

    def view(self, block: Block, region: Region) -> Block:
        """Return ``region`` of the result as a view of ``block``, which covers ``needs(region)[0]``."""
        raise NotImplementedError


class Kernel(Op):
    """A result whose blocks are computed from blocks."""

    __slots__ = ()

    def kernel(self, blocks: Sequence[Block | None], region: Region, out: Block, scratch: Block) -> None:
        """Fill ``out`` with ``region`` of the result; ``blocks`` cover ``needs(region)``."""
        raise NotImplementedError

    def scratch_bytes(self, region: Region) -> int:  # noqa: ARG002 - most kernels need none
        """Return how many bytes ``kernel`` holds besides its blocks and ``out``."""
        return 0


class Operand:
    """The place of input ``index`` among the arguments of an elementwise call."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index


class Elementwise(Op):
    """Output ``index`` of ``function(*args, out=outs, **kwargs)``; inputs broadcast against each other.

    ``args`` holds constants and :class:`Operand` places. Outputs of one call share its ``call`` token,
    so that a fused program computes them together. With ``where``, the output
    is zero where the mask is false.
    """

    __slots__ = ("args", "call", "dtypes", "function", "index", "kwargs", "shapes", "where")

    def __init__(
        self,
        shape: Shape,
        dtypes: tuple[np.dtype[Any], ...],
        function: Any,
        args: tuple[Any, ...],
        shapes: tuple[Shape, ...],
        *,
        kwargs: dict[str, Any] | None = None,
        index: int = 0,
        call: object = None,
        where: Operand | None = None,
    ) -> None:
        super().__init__(shape, dtypes[index])
        self.dtypes = dtypes
        self.function = function
        self.args = args
        self.shapes = shapes
        self.kwargs = kwargs or {}
        self.index = index
        self.call = call if call is not None else object()
        self.where = where

    def needs(self, region: Region) -> tuple[Region | None, ...]:
        """Need the same region of each input, but for axes that are broadcast."""
        return tuple(broadcast_region(region, shape) for shape in self.shapes)


class Barrier(Op):
    """A result that is computed as a whole, before what reads it."""

    __slots__ = ()


def broadcast_region(region: Region, shape: Shape) -> Region:
    """Return the part of an input of ``shape`` that broadcasts to ``region``.

    >>> broadcast_region(((2, 4), (5, 9)), (1,))
    ((0, 1),)
    """
    lead = len(region) - len(shape)
    return tuple((0, 1) if n == 1 else bounds for n, bounds in zip(shape, region[lead:], strict=True))


class Node:
    """An operation linked to the nodes that it reads: a lazy array below the face."""

    __slots__ = ("__weakref__", "grid", "inputs", "lock", "memo", "op")

    def __init__(self, op: Op, inputs: Iterable[Node] = (), grid: Grid | None = None) -> None:
        self.op = op
        self.inputs = tuple(inputs)
        self.grid = grid if grid is not None else Grid(op.shape, op.shape)
        self.memo: Stored | None = None  # the whole result of a barrier, once it was needed
        self.lock = threading.Lock()

    @property
    def shape(self) -> Shape:
        """Elements per axis."""
        return self.op.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy's dtype of the values."""
        return self.op.dtype

    @property
    def ndim(self) -> int:
        """How many axes there are."""
        return len(self.op.shape)

    @property
    def region(self) -> Region:
        """The region of the whole array."""
        return whole(self.op.shape)


def has_memo(node: Node) -> bool:
    """Say whether the values of ``node`` are held, so that nothing below it is needed."""
    return node.memo is not None


def topological(roots: Iterable[Node], stop: Callable[[Node], bool] = has_memo) -> list[Node]:
    """Return every node from ``roots`` down to where ``stop`` says so, once each, inputs first; iterative."""
    order: list[Node] = []
    seen: set[int] = set()
    for root in roots:
        stack = [(root, False)]
        while stack:
            node, done = stack.pop()
            if done:
                order.append(node)
            elif id(node) not in seen:
                seen.add(id(node))
                stack.append((node, True))
                if not stop(node):
                    stack.extend((i, False) for i in reversed(node.inputs) if id(i) not in seen)
    return order
