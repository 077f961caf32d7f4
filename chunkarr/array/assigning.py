"""Assignment to stored arrays: the place as NumPy finds it, the values as NumPy takes them, one transaction."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr import engine
from chunkarr.advanced import parse_advanced
from chunkarr.array import picking
from chunkarr.array.drafts import Draft, UpdateDraft
from chunkarr.array.expression import Expression, as_node
from chunkarr.array.picking import with_numbers, with_values
from chunkarr.array.values import as_element, as_values, broadcasts, cast, settled
from chunkarr.graph import Load, Node
from chunkarr.grid import Grid
from chunkarr.ops import layout
from chunkarr.ops.assign import Everywhere, Scattered, Setter, Somewhere
from chunkarr.ops.compressing import Hits, count_runs, run_grid
from chunkarr.ops.masking import Ranked, in_place_of
from chunkarr.ops.placing import placed
from chunkarr.ops.sources import constant
from chunkarr.selection import is_basic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from chunkarr.array.handles import Handle
    from chunkarr.grid import Shape
    from chunkarr.lookups import Advanced

__all__ = [
    "What",
    "advanced_of",
    "check_writable",
    "is_writable",
    "scattered",
    "seen_by",
    "set_item",
    "set_view",
    "transaction",
]

What = tuple[Setter, "Sequence[Node]"]


@contextmanager
def transaction(handle: Handle) -> Iterator[Draft]:
    """Hold the array's lock; what was put into the draft is on disk, as one, when the context ends."""
    with handle.lock:
        if handle.batch is not None:
            yield handle.batch.draft()
            return
        with handle.stored.fresh().update() as update:
            yield UpdateDraft(handle, update)
            update.commit()


def is_writable(array: Expression) -> bool:
    """Say whether ``array`` is a view of a stored array that was opened "r+"."""
    handle = array._handle  # noqa: SLF001
    return handle is not None and handle.stored.writable and placed(array._held) is not None  # noqa: SLF001


def check_writable(array: Expression, what: str = "assignment destination") -> Handle:
    """Return the handle of the stored array that ``array`` is a view of; raise NumPy's ValueError if it is none."""
    handle = array._handle  # noqa: SLF001
    if handle is None or placed(array._held) is None:  # noqa: SLF001
        raise ValueError(
            f"{what} is read-only: this is an expression of shape {array.shape}; "
            "save it with .save(path) or compute() it, then assign"
        )
    if not handle.stored.writable:
        raise ValueError(
            f'{what} is read-only: {handle.stored.path} is open for reading; open it with mode="r+" to change it'
        )
    return handle


def set_view(view: Expression, make: Callable[[Draft | None, Node], What]) -> None:
    """Set a view in one transaction.

    ``make`` returns the setter and its values for the view that it is given. It is called once without a
    draft, so that it raises its errors before anything is locked, and once with that of the transaction.
    """
    handle = check_writable(view)
    empty = not view.size
    if empty or handle.batch is None:
        make(None, view._node)  # noqa: SLF001
    if empty:
        return
    with transaction(handle) as draft:
        target = draft.seen(view)
        setter, values = make(draft, target)
        draft.put(target, setter, values)


def set_item(array: Any, key: Any, value: Any) -> None:
    """Do ``array[key] = value``."""
    handle = array._handle  # noqa: SLF001
    if handle is None or not handle.stored.writable:
        check_writable(array)
    fields = isinstance(key, str) or (isinstance(key, list) and key and all(isinstance(k, str) for k in key))
    if not fields and not is_basic(key):
        key = with_numbers(key)
    if not fields and is_basic(key):
        batch = None if handle is None else handle.batch
        if batch is not None and isinstance(array._held.op, Load) and batch.set_now(key, value):  # noqa: SLF001
            return
    if fields or is_basic(key):
        view = array[key]
        if isinstance(value, Expression) and _same_view(value, view):
            return  # what remains to be done of ``array[key] += ...``
        single = not fields and view.ndim == 0 and not _has_ellipsis(key)
        set_view(view, _basic(value, single=single))
        return
    mask = _mask_of(key, array.shape)
    if mask is not None:
        make = _masked(mask, value, array) or _masked_apart(mask, value, array)
        if make is not None:
            set_view(array, make)
            return
    set_view(array, scattered(advanced_of(key, array.shape), value))


def advanced_of(key: Any, shape: Shape) -> Advanced:
    """Return what a key with index arrays selects; Arrays in it are computed."""
    return parse_advanced(with_values(key), shape)


def _has_ellipsis(key: Any) -> bool:
    return any(item is Ellipsis for item in (key if isinstance(key, tuple) else (key,)))


def _same_view(value: Expression, view: Expression) -> bool:
    if value._handle is None or value._handle is not view._handle:  # noqa: SLF001
        return False
    return placed(value._node) == placed(view._node)  # noqa: SLF001


def seen_by(draft: Draft | None, value: Any) -> Any:
    """Return the node of an Array as the draft sees it; other values as they are."""
    if not isinstance(value, Expression):
        return value
    return value._node if draft is None else draft.seen(value)  # noqa: SLF001


def _basic(value: Any, *, single: bool) -> Callable[[Draft | None, Node], What]:
    """Return what sets a whole view; ``single``: an element that was picked by integers alone."""
    ready: list[Any] = []

    def make(draft: Draft | None, view: Node) -> What:
        if single and not (isinstance(value, Expression) and value.ndim == 0):
            if not ready:
                ready.append(as_element(value, view.dtype))
            return Everywhere(()), (ready[0],)
        if not ready:
            ready.append(settled(as_values(value, view.dtype, view.ndim), view.dtype))
        node = cast(broadcasts(seen_by(draft, ready[0]), view.shape), view.dtype, quiet=draft is None)
        return Everywhere(node.shape), (node,)

    return make


def _mask_of(key: Any, shape: Shape) -> Any:
    """Return a key that is one mask, an Array or an ndarray, of the shape of the first axes; else None."""
    if isinstance(key, tuple) and len(key) == 1:
        (key,) = key
    if isinstance(key, list) and key and isinstance(key[0], bool | list | np.bool_):
        key = np.asarray(key)
    if isinstance(key, bool | np.bool_) and not shape:
        return np.asarray(key)
    if not isinstance(key, Expression | np.ndarray) or key.dtype != bool or not key.ndim:
        return None
    if key.shape != shape[: key.ndim]:
        axis = next((k for k, (n, m) in enumerate(zip(key.shape, shape, strict=False)) if n != m), None)
        if axis is None:
            raise IndexError(
                f"too many indices for array: array is {len(shape)}-dimensional, but {key.ndim} were indexed"
            )
        raise IndexError(
            f"boolean index did not match indexed array along axis {axis}; size of axis is {shape[axis]} but size of "
            f"corresponding boolean axis is {key.shape[axis]}"
        )
    return key


def _masked(mask: Any, value: Any, array: Expression) -> Callable[[Draft | None, Node], What] | None:
    """Return what sets elements where a mask is true to one value, or one for each of the other axes.

    None where the values differ from one place of the mask to the next.
    """
    ndim = mask.ndim
    rest = array.shape[ndim:]
    values = settled(as_values(value, array.dtype, None), array.dtype)
    if not rest and values.ndim > 1:
        raise TypeError(
            "NumPy boolean array indexing assignment requires a 0 or 1-dimensional input, input has "
            f"{values.ndim} dimensions"
        )
    leading = values.shape[: max(0, values.ndim - len(rest))]
    if any(n != 1 for n in leading):
        return None

    def make(draft: Draft | None, view: Node) -> What:
        node = cast(broadcasts(seen_by(draft, values), rest), view.dtype, quiet=draft is None)
        where = seen_by(draft, mask)
        where = where if isinstance(where, Node) else constant(where)
        where = layout.reshape(where, (*where.shape, *(1,) * len(rest)))
        return Somewhere(node.shape, where.shape), (node, where)

    return make


def _masked_apart(mask: Any, value: Any, array: Expression) -> Callable[[Draft | None, Node], What] | None:
    """Return what sets elements where a large mask is true, each to a value of its own; None for small masks."""
    if mask.size <= picking.LARGE:
        return None
    node, values = as_node(mask), as_node(as_values(value, array.dtype, None))
    rest = array.shape[mask.ndim :]
    everywhere = in_place_of(values, node, array.shape)
    if everywhere is None:
        runs = run_grid(Grid(node.shape, array._node.grid.steps[: node.ndim]))  # noqa: SLF001
        hits = Hits.of(runs, engine.compute([count_runs(node, runs)])[0])
        values = layout.broadcast_to(broadcasts(values, (hits.size, *rest)), (hits.size, *rest))
        if not hits.size:
            return _masked(mask, np.zeros((), array.dtype), array)
        setter: Setter = Ranked(hits)
    else:
        values, node = everywhere, layout.reshape(node, (*node.shape, *(1 for _ in rest)))
        setter = Somewhere(values.shape, node.shape)

    def make(draft: Draft | None, view: Node) -> What:
        return setter, (cast(values, view.dtype, quiet=draft is None), node)

    return make


def scattered(advanced: Advanced, value: Any, ufunc: np.ufunc | None = None) -> Callable[[Draft | None, Node], What]:
    """Return what sets the elements that index arrays select."""
    ready: list[Any] = []

    def make(draft: Draft | None, view: Node) -> What:
        if not ready:
            ready.append(settled(as_values(value, view.dtype, None), view.dtype))
        node = cast(broadcasts(seen_by(draft, ready[0]), advanced.shape), view.dtype, quiet=draft is None)
        return Scattered(advanced, node.shape, ufunc), (node,)

    return make
