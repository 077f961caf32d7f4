"""Stored arrays that grow and shrink."""

from __future__ import annotations

import operator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr import engine
from chunkarr.array.assigning import check_writable, seen_by
from chunkarr.array.drafts import UpdateDraft
from chunkarr.array.expression import Expression, as_node
from chunkarr.array.values import as_values, cast
from chunkarr.grid import Shape
from chunkarr.ops.layout import concatenate
from chunkarr.ops.placing import placed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from chunkarr.array.handles import Handle

__all__ = ["Growing"]


class Growing(Expression):
    """What makes a stored array longer or shorter."""

    __slots__ = ()

    def append(self, values: Any, axis: int = 0) -> None:
        """Write values behind the last ones of a stored array, which is that much longer then.

        Parameters
        ----------
        values : array_like
            Of the array's shape but for ``axis``; an Array may be larger than memory, or this array itself.
        axis : int
            Which axis grows. Where the array lies in an uncompressed file, growing along its slowest axis writes
            the new values only, along another the whole file.

        Raises
        ------
        ValueError
            If the shapes do not fit, or if this is not a whole stored array that was opened "r+".
        TypeError
            If this dtype cannot hold that of ``values`` by NumPy's same-kind rule.
        """
        handle = self._grows("append")
        at = np.lib.array_utils.normalize_axis_index(operator.index(axis), self.ndim)
        if not isinstance(values, Expression | np.ndarray):
            values = as_values(values, self.dtype, None)
        more = values.shape
        _check_appended(self.shape, self.dtype, values, at)
        if not more[at]:
            return

        def longer(shape: Shape) -> Shape:
            return (*shape[:at], shape[at] + more[at], *shape[at + 1 :])

        with _reshaping(handle, longer) as draft:
            old, change = draft.load, draft.update
            given = seen_by(draft, values)
            new = cast(given if isinstance(values, Expression) else as_node(given), old.dtype)
            whole = [(0, n) for n in change.shape]
            whole[at] = (old.shape[at], change.shape[at])
            if 0 not in change.shape:
                node = concatenate([old, new], at, old.dtype) if old.shape[at] else new
                engine.write_region(node, change, change.grid.round_out(tuple(whole)))

    def resize(self, *shape: int | Sequence[int]) -> None:
        """Give a stored array another shape: elements keep their indices.

        Elements that were not there read as the fill value (0 unless the array has another); elements that are
        cut off are gone: they do not come back when the array grows again.

        Parameters
        ----------
        *shape : int or tuple of int
            As many axes as there are.

        Raises
        ------
        ValueError
            If the number of axes is another, a size is negative, or this is not a whole array opened "r+".
        """
        handle = self._grows("resize")
        given: Any = shape[0] if len(shape) == 1 and np.iterable(shape[0]) else shape
        wanted = tuple(operator.index(n) for n in given)
        if len(wanted) != self.ndim:
            raise ValueError(f"resize: shape {wanted} has {len(wanted)} axes, the array has {self.ndim}")
        if any(n < 0 for n in wanted):
            raise ValueError(f"resize: all elements of shape {wanted} must be 0 or more")
        if wanted != self.shape:
            with _reshaping(handle, lambda _: wanted):
                pass

    def _grows(self, what: str) -> Handle:
        """Return the handle of the stored array that this is, as a whole."""
        handle = check_writable(self, what + ": the array")
        place = placed(self._node)
        if place is None or not place.is_whole:
            raise ValueError(f"{what}: this is a part of {handle.stored.path}; only whole arrays change shape")
        if handle.batch is not None:
            raise ValueError(f"{what}: a batch of changes is open on {handle.stored.path}; end it first")
        return handle


def _check_appended(shape: Shape, dtype: np.dtype[Any], values: Any, axis: int) -> None:
    """Raise NumPy's errors for values that cannot be joined to an array along ``axis``, or are of another kind."""
    flat = [np.empty((*s[:axis], 0, *s[axis + 1 :]), "V0") for s in (shape, values.shape) if len(s) > axis]
    if len(flat) < 2 or values.ndim != len(shape):
        raise ValueError(
            "all the input array dimensions except for the concatenation axis must match exactly: the array has "
            f"{len(shape)} axes, the values {values.ndim}"
        )
    np.concatenate(flat, axis)
    np.copyto(np.empty(0, dtype), np.empty(0, values.dtype), casting="same_kind")


@contextmanager
def _reshaping(handle: Handle, shape: Callable[[Shape], Shape]) -> Iterator[UpdateDraft]:
    """Hold an update to the shape that ``shape`` makes of the present one; commit it when the context ends."""
    with handle.lock:
        while True:
            seen = handle.stored.fresh()
            update = seen.update(shape(seen.shape))
            if update.before.shape == seen.shape:
                break
            update.abort()  # another writer was quicker
        with update:
            yield UpdateDraft(handle, update)
            update.commit()
