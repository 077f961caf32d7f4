"""Stored arrays as Arrays see them: always the current generation, whoever changed it."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Any

from chunkarr.errors import FormatError, StaleExpressionError
from chunkarr.graph import Load, Node, View
from chunkarr.grid import Grid
from chunkarr.ops import layout
from chunkarr.ops.placing import root_of
from chunkarr.ops.sources import load
from chunkarr.selection import Pick

if TYPE_CHECKING:
    from collections.abc import Hashable

    from chunkarr.array.batches import Batch
    from chunkarr.formats.contract import Stored

__all__ = ["Handle", "handle_of", "renewed"]


class Attached(Load):
    """A stored array read through a handle, which the Arrays that are views of it share."""

    __slots__ = ("grid", "handle")

    def __init__(self, stored: Stored, handle: Handle, grid: Grid) -> None:
        super().__init__(stored)
        self.handle, self.grid = weakref.ref(handle), grid

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what is read, not the handle: that belongs to this process."""
        return _detached, (self.stored, self.generation)


def _detached(stored: Stored, generation: Hashable) -> Load:
    op = Load(stored)
    op.generation = generation
    return op


class Handle:
    """A stored array that was opened: its current generation, and the batch of changes that is open on it."""

    __slots__ = ("__weakref__", "_load", "_stored", "batch", "lock")

    def __init__(self, stored: Stored) -> None:
        self._stored = stored
        self._load = self._attached(stored)
        self.batch: Batch | None = None
        self.lock = threading.RLock()  # of threads that change the array through this handle

    def _attached(self, stored: Stored) -> Node:
        grid = load(stored).grid
        return Node(Attached(stored, self, grid), (), grid)

    @property
    def stored(self) -> Stored:
        """The array as it was last seen."""
        return self._stored

    def current(self) -> Node:
        """Return the node that reads the array as it is now; in a batch, as it will be."""
        batch = self.batch
        if batch is not None:
            return batch.current()
        try:
            now = self._stored.fresh()
        except (OSError, FormatError):
            return self._load  # what it was can still be told; reading it raises the error
        if now is not self._stored:
            self._stored, self._load = now, self._attached(now)
        return self._load

    def again(self, node: Node) -> Node:
        """Return another node of what ``node`` of `attach` reads, at its present generation."""
        return Node(Attached(node.op.stored, self, node.grid), (), node.grid)  # type: ignore[attr-defined]

    def attach(self, stored: Stored) -> Node:
        """Return a node that reads another state of the array, of which views are views of this handle."""
        return self._attached(stored)


def handle_of(node: Node) -> Handle | None:
    """Return the handle of the stored array that ``node`` is a view of, None if it is no such view."""
    op = root_of(node).op
    if isinstance(op, Attached):
        return op.handle() or Handle(op.stored)
    if isinstance(op, Load) and op.stored.path:
        return Handle(op.stored)
    return None


def renewed(node: Node, root: Node) -> Node:
    """Return the view that ``node`` is, of ``root`` in the place of what it is a view of.

    Raises
    ------
    StaleExpressionError
        If the array has changed its shape or fields so that there is no such view any more.
    """
    chain: list[Node] = []
    while isinstance(node.op, View):
        chain.append(node)
        (node,) = node.inputs
    if node.op is root.op:
        root = node
    elif node.grid != _natural(node.op):
        root = Node(root.op, (), Grid(root.shape, node.grid.steps, node.grid.firsts))  # as rechunk asked
    below = root
    for link in reversed(chain):
        below = _link(link, below, root)
    return below


def _natural(op: Any) -> Grid:
    """Return the grid that the array that ``op`` reads has unless `rechunk` gave it another."""
    return op.grid if isinstance(op, Attached) else load(op.stored).grid


def _link(link: Node, below: Node, root: Node) -> Node:
    """Return the view that ``link`` is of another node."""
    op: Any = link.op
    if below.shape == link.inputs[0].shape and below.dtype == link.inputs[0].dtype:
        return Node(op, (below,), link.grid)
    try:
        if isinstance(op, layout.Transpose):
            return layout.transpose(below, op.axes)
        if isinstance(op, layout.Field):
            return layout.field(below, op.name)
        if isinstance(op, layout.Reinterpret):
            return layout.reinterpret(below, op.dtype)
        if isinstance(op, layout.BasicIndex) and _fits(op, below):
            return Node(op, (below,), link.grid)
    except (KeyError, ValueError, TypeError, IndexError):
        pass
    path = root.op.stored.path  # type: ignore[attr-defined]
    raise StaleExpressionError(
        f"{path} has shape {root.shape} and dtype {root.dtype} now, in which this view of shape {link.shape} is not; "
        "index the array again"
    )


def _fits(op: layout.BasicIndex, below: Node) -> bool:
    """Say whether everything that ``op`` takes is there."""
    items = [item for item in op.items if item is not None]
    if len(items) != below.ndim or below.dtype != op.dtype:
        return False
    for item, n in zip(items, below.shape, strict=True):
        if isinstance(item, Pick):
            if item.index >= n:
                return False
        elif item.length and max(item.start, item.start + (item.length - 1) * item.step) >= n:
            return False
    return True
