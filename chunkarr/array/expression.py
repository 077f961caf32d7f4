"""What every lazy array is and can be asked for: its description, and its values."""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from chunkarr import engine
from chunkarr.array.handles import handle_of, renewed
from chunkarr.array.recipes import flatten_recipe, rebuild
from chunkarr.errors import MemoryBudgetError, StaleExpressionError
from chunkarr.graph import Load, Node
from chunkarr.ops import elementwise
from chunkarr.ops.placing import root_of
from chunkarr.ops.sources import constant
from chunkarr.settings import budget, enough, format_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chunkarr.engine import Plan
    from chunkarr.grid import Shape

__all__ = ["Expression", "as_node", "as_operand", "check_fits", "evaluate", "no_out", "phantom"]

RETRIES = 20  # times that a view is read anew because the array changed while it was read
LISTED = 40  # bytes of an element in a list: a reference and a Python number
SHOWN = 1000  # elements up to which str() computes
SCALARS = (bool, int, float, complex, np.generic, str, bytes)  # these promote weakly, or are small


class Expression:
    """A node of the graph, with what NumPy's arrays tell about themselves."""

    __slots__ = ("__weakref__", "_handle", "_held")

    def __init__(self, node: Node) -> None:
        """Wrap a node; not for users, who call `chunkarr.asarray`."""
        self._held = node
        self._handle = handle_of(node)

    @property
    def _node(self) -> Node:
        """The node; of a view of a stored array, that of the array as it is now."""
        if self._handle is not None:
            root = self._handle.current()
            if root_of(self._held).op is not root.op:
                self._held = renewed(self._held, root)
        return self._held

    def _with(self, node: Node) -> Self:
        return type(self)(node)

    @property
    def shape(self) -> Shape:
        """Elements along each axis."""
        return self._node.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements, byte order included."""
        return self._node.dtype

    @property
    def ndim(self) -> int:
        """Number of axes, which never changes."""
        return len(self._held.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self._node.shape)

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return self._node.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.size * self.itemsize

    @property
    def chunks(self) -> Shape:
        """Elements along each axis of the boxes in which the array is best read."""
        return self._node.grid.steps

    @property
    def path(self) -> str | None:
        """Where a stored array lies; None for an expression."""
        op = self._node.op
        return (op.stored.path or None) if isinstance(op, Load) else None

    @property
    def format(self) -> str | None:
        """Name of a stored array's format; None for an expression."""
        op = self._node.op
        return op.stored.format if isinstance(op, Load) else None

    @property
    def device(self) -> str:
        """Always "cpu": the array API standard's word for where values are computed."""
        return "cpu"

    def to_device(self, device: str, /, *, stream: Any = None) -> Self:
        """Return this array, which is on the only device there is, "cpu"."""
        if stream is not None:
            raise ValueError("The stream argument to to_device() is not supported")
        if device != "cpu":
            raise ValueError(f"Unsupported device: {device}; the only one is 'cpu'")
        return self

    def __repr__(self) -> str:
        """Describe the array without computing anything."""
        where = f" {self.format} {self.path}" if self.path else ""
        return f"<chunkarr.Array {self.shape} {self.dtype}{where}>"

    def __str__(self) -> str:
        """Show the values of a small array, the description of a large one."""
        return str(self.compute()) if self.size <= SHOWN else repr(self)

    def __format__(self, spec: str) -> str:
        """Format the one element of an array without axes, or the text of any other."""
        return format(self.compute()[()] if not self.ndim else str(self), spec)

    def __len__(self) -> int:
        """Return the size of the first axis."""
        if not self.shape:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    # --- asking for values ------------------------------------------------------------------

    def compute(self, *, progress: Any = None) -> np.ndarray[Any, Any]:
        """Return the values as a new ndarray.

        Raises
        ------
        MemoryBudgetError
            If they do not fit the memory budget; `save` writes them to a file instead.
        """
        (values,) = evaluate([self], progress=progress)
        return values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        """Return the values as an ndarray, for ``np.asarray``; refused above the memory budget."""
        if copy is False:
            raise ValueError("an array without a copy was asked for, but the values must be read or computed first")
        values = self.compute()
        return values if dtype is None else values.astype(dtype, copy=False)

    def plan(self) -> Plan:
        """Return what computing this array would take: memory, scratch, bytes read, passes, tasks."""
        return engine.make_plan([self._node])

    def tolist(self) -> Any:
        """Return the values as nested lists, if these fit the memory budget: an element takes about 40 bytes there."""
        check_fits(self._node, self.nbytes + LISTED * self.size)
        return self.compute().tolist()

    def tobytes(self, order: str = "C") -> bytes:
        """Return the values as bytes, in C or Fortran order."""
        check_fits(self._node, 2 * self.nbytes)
        return self.compute().tobytes(order)  # type: ignore[arg-type]

    def __bool__(self) -> bool:
        """Return the truth of the one element."""
        if self.size != 1:
            return bool(np.empty(min(self.size, 2)))  # NumPy's own refusal
        return bool(self.compute())

    def __int__(self) -> int:
        """Return the one element as an int."""
        return int(self._single())

    def __float__(self) -> float:
        """Return the one element as a float."""
        return float(self._single())

    def __complex__(self) -> complex:
        """Return the one element as a complex number."""
        return complex(self._single())

    def __index__(self) -> int:
        """Return the one integer of an array without axes."""
        if self.ndim or self.dtype.kind not in "iu":
            raise TypeError("only integer scalar arrays can be converted to a scalar index")
        return operator.index(self.compute()[()])

    def _single(self) -> Any:
        if self.ndim:
            raise TypeError("only 0-dimensional arrays can be converted to Python scalars")
        return self.compute()[()]

    # --- copies -----------------------------------------------------------------------------

    def copy(self, order: str = "C") -> Self:  # noqa: ARG002 - memory layout is not the user's to see
        """Return the values as an expression of their own: assigning to it is refused, not written through.

        It belongs to the array as it is now, and is out of date once that changes; `compute` or save it to keep it.
        """
        node = self._node
        stored = self._handle is not None and self._handle.stored.writable
        return self._with(elementwise.copied(node) if stored else node)

    def __copy__(self) -> Self:
        """Return an array of the same values."""
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return an array of the same values."""
        return self.copy()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the recipe: stored arrays by their paths, arrays in memory by their values."""
        return _unpickle, (type(self), flatten_recipe(self._node))


def evaluate(arrays: Sequence[Expression], *, progress: Any = None) -> list[np.ndarray[Any, Any]]:
    """Return the values of Arrays; a view of a stored array that changes meanwhile is looked at again.

    Raises
    ------
    GenerationChangedError, StaleExpressionError
        If it changes again and again, or if an expression was built of an older state of it.
    """
    nodes = [array._held for array in arrays]  # noqa: SLF001 - `compute` looks whether that is the present state
    for _ in range(RETRIES):
        if len(nodes) == 1:
            check_fits(nodes[0], math.prod(nodes[0].shape) * nodes[0].dtype.itemsize)
        try:
            return engine.compute(nodes, progress=progress)
        except StaleExpressionError:
            before, nodes = nodes, [array._node for array in arrays]  # noqa: SLF001
            if all(one is other for one, other in zip(before, nodes, strict=True)):
                raise
    return engine.compute(nodes, progress=progress)


def _unpickle(kind: type[Expression], recipe: list[Any]) -> Expression:
    return kind(rebuild(recipe))


def check_fits(node: Node, nbytes: int) -> None:
    """Raise MemoryBudgetError if ``nbytes`` of values in memory are more than the budget allows."""
    allowed = budget()
    if nbytes > allowed:
        raise MemoryBudgetError(
            f"the values of {node.shape} {node.dtype} take {format_bytes(nbytes)}, the budget allows "
            f"{format_bytes(allowed)}; write them with .save(path), take a part by slicing, or raise the budget "
            f'with chunkarr.config.set(memory="{enough(math.ceil(nbytes * 1.25))}")'
        )


def as_node(value: Any) -> Node:
    """Return the node of an Array, or of anything that NumPy makes an array of."""
    return value._node if isinstance(value, Expression) else constant(value)  # noqa: SLF001


def as_operand(value: Any) -> Any:
    """Return what an elementwise call takes: a node, or a scalar as it is, which promotes weakly."""
    if isinstance(value, Expression):
        return value._node  # noqa: SLF001
    return value if isinstance(value, SCALARS) else constant(value)


def phantom(shape: Shape) -> np.ndarray[Any, Any]:
    """Return an ndarray of ``shape`` whose elements take no bytes: NumPy's own judge of axes and shapes.

    >>> phantom((10**6, 10**9)).transpose().shape
    (1000000000, 1000000)
    """
    return np.empty(shape, "V0")


def no_out(name: str, out: Any) -> None:
    """Refuse ``out=``: results are new expressions."""
    if out is not None:
        raise TypeError(f"{name}: out= is not supported; bind the result, or write it with .save(path)")
