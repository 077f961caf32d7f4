"""One change of a stored array while it is made: what the array was, and where new values go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chunkarr import engine
from chunkarr.array.handles import Handle, renewed
from chunkarr.ops.assign import Assign
from chunkarr.ops.placing import placed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chunkarr.array.expression import Expression
    from chunkarr.formats.contract import Update
    from chunkarr.graph import Node
    from chunkarr.ops.assign import Setter

__all__ = ["Draft", "UpdateDraft"]


class Draft:
    """A change that is being made of the array that ``load`` reads."""

    def __init__(self, handle: Handle, load: Node) -> None:
        self.handle, self.load = handle, load

    def seen(self, value: Expression) -> Node:
        """Return the node of an Array; of a view of this array, that of its values before this change."""
        held = value._held  # noqa: SLF001 - the face's own
        return renewed(held, self.load) if value._handle is self.handle else value._node  # noqa: SLF001

    def put(self, view: Node, setter: Setter, values: Sequence[Node]) -> None:
        """Set a view of ``load``."""
        place = placed(view)
        assert place is not None, "a view that can be assigned to has a place"
        self.change(Assign(self.load.dtype, place, setter), values)

    def change(self, op: Assign, values: Sequence[Node]) -> None:
        """Take over what ``op`` makes of the array and ``values``."""
        raise NotImplementedError


class UpdateDraft(Draft):
    """A change that is an update of its own."""

    def __init__(self, handle: Handle, update: Update) -> None:
        super().__init__(handle, handle.attach(update.before))
        self.update = update

    def change(self, op: Assign, values: Sequence[Node]) -> None:
        """Write it into the update."""
        engine.update(self.load, op, values, self.update)
