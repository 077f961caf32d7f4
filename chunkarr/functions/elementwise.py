"""Functions of single elements that are not ufuncs: NumPy's own are called on tiles, lazily."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.array import Array, as_node, implements, wrap
from chunkarr.array.expression import as_operand
from chunkarr.array.outputs import deliver
from chunkarr.errors import UnsupportedError
from chunkarr.functions.picking import nonzero
from chunkarr.graph import Node
from chunkarr.ops import elementwise, layout

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "allclose", "angle", "around", "array_equal", "array_equiv", "clip", "fix", "i0", "imag", "isclose", "iscomplex",
    "isneginf", "isposinf", "isreal", "nan_to_num", "real", "real_if_close", "round", "select", "sinc", "where",
]  # fmt: skip


class _OnTiles:
    """A NumPy function that does not take ``out=``, as a call on tiles."""

    def __init__(self, function: Callable[..., Any], kwargs: dict[str, Any]) -> None:
        self.function, self.kwargs, self.__name__ = function, kwargs, function.__name__

    def __call__(self, *tiles: Any, out: Any) -> None:
        """Store the function's values in ``out``."""
        out[...] = self.function(*tiles, **self.kwargs)


def _on_tiles(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Array:
    """Apply an elementwise NumPy function lazily; dtype and errors are those of arrays of size zero."""
    operands = [as_operand(a) for a in args]
    nodes = [a for a in operands if isinstance(a, Node)]
    if not nodes:
        operands[0] = as_node(operands[0])
        nodes = [operands[0]]
    if len(nodes) > 1:
        elementwise.broadcast_shape(np.logical_and, nodes, [n.shape for n in nodes])
    dtype = function(*(np.empty(0, a.dtype) if isinstance(a, Node) else a for a in operands), **kwargs).dtype
    return wrap(elementwise.map_tiles(_OnTiles(function, kwargs), operands, dtype))


# --- choosing -----------------------------------------------------------------------------------


@implements(np.where)
def where(condition: Any, x: Any = None, y: Any = None, /) -> Any:
    """Return elements of ``x`` where ``condition`` is true, else of ``y``; with one argument what `nonzero` returns.

    Parameters
    ----------
    condition, x, y : array_like
        Broadcast against each other.

    Examples
    --------
    >>> import chunkarr as ca
    >>> a = ca.asarray([1, 2, 3])
    >>> ca.where(a > 1, a, -1).tolist()
    [-1, 2, 3]
    """
    if x is None and y is None:
        return nonzero(condition)
    if x is None or y is None:
        raise ValueError("either both or neither of x and y should be given")
    operands = [as_node(condition), as_operand(x), as_operand(y)]
    nodes = [o for o in operands if isinstance(o, Node)]
    try:
        np.broadcast_shapes(*(n.shape for n in nodes))
    except ValueError:
        zeros = [np.broadcast_to(np.empty((), bool), o.shape) if isinstance(o, Node) else o for o in operands]
        np.where(*zeros)  # NumPy refuses in its own words
        raise
    return wrap(elementwise.select(operands[0], operands[1], operands[2]))


@implements(np.select)
def select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0) -> Array:
    """Return, element by element, the first of ``choicelist`` whose condition holds, else ``default``.

    Raises
    ------
    ValueError
        If the lists differ in length or are empty.
    TypeError
        If a condition is not boolean.

    Examples
    --------
    >>> import chunkarr as ca
    >>> a = ca.arange(5)
    >>> ca.select([a < 2, a > 3], [a, a * 10], -1).tolist()
    [0, 1, -1, -1, 40]
    """
    if len(condlist) != len(choicelist):
        raise ValueError("list of cases must be same length as list of conditions")
    if len(condlist) == 0:
        raise ValueError("select with an empty condition list is not possible")
    conditions = [as_node(c) for c in condlist]
    for number, condition in enumerate(conditions):
        if condition.dtype != bool:
            raise TypeError(f"invalid entry {number} in condlist: should be boolean ndarray")
    choices = [as_operand(c) for c in [*choicelist, default]]
    kinds = [np.empty(0, c.dtype) if isinstance(c, Node) else c for c in choices]
    dtype = np.result_type(*kinds)
    shapes = [c.shape for c in [*conditions, *choices] if isinstance(c, Node)]
    shape = np.broadcast_shapes(*shapes)
    cast = [elementwise.astype(as_node(c), dtype) for c in [*choicelist, default]]
    result = layout.broadcast_to(cast[-1], shape)
    for condition, choice in zip(reversed(conditions), reversed(cast[:-1]), strict=True):
        result = elementwise.select(condition, choice, result)
    return wrap(result)


@implements(np.clip)
def clip(
    a: Any,
    a_min: Any = None,
    a_max: Any = None,
    out: Any = None,
    *,
    min: Any = None,  # noqa: A002 - NumPy's name
    max: Any = None,  # noqa: A002
    **kwargs: Any,
) -> Any:
    """Return ``a`` with values below ``a_min`` or above ``a_max`` replaced by these.

    Parameters
    ----------
    a : array_like
    a_min, a_max : array_like or None
        Bounds, broadcast against ``a``; None is no bound.
    out : ndarray, optional
        Receives the values.
    min, max : array_like or None
        The same bounds, as the array API standard names them.
    **kwargs
        Keywords of ufuncs: ``dtype``, ``casting``.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.clip(ca.arange(6), 1, 4).tolist()
    [1, 1, 2, 3, 4, 4]
    """
    if (min is not None and a_min is not None) or (max is not None and a_max is not None):
        raise ValueError("Passing `min` or `max` keyword argument when `a_min` and `a_max` are provided is forbidden.")
    bounds = [
        as_operand(b) if b is not None else None
        for b in (min if a_min is None else a_min, max if a_max is None else a_max)
    ]
    (node,) = elementwise.call(np.clip, [as_node(a), *bounds], kwargs=kwargs)
    return deliver(wrap(node), out)


# --- rounding -----------------------------------------------------------------------------------


@implements(np.round)
def round(a: Any, decimals: int = 0, out: Any = None) -> Any:  # noqa: A001
    """Return ``a`` rounded to so many decimals, halves to even.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.round(ca.asarray([0.5, 1.25, 2.675]), 1).tolist()
    [0.5, 1.2, 2.7]
    """
    return deliver(_on_tiles(np.round, a, decimals=decimals), out)


@implements(np.around)
def around(a: Any, decimals: int = 0, out: Any = None) -> Any:
    """Return ``a`` rounded to so many decimals: `round` under another name."""
    return round(a, decimals, out)


@implements(np.fix)
def fix(x: Any, out: Any = None) -> Any:
    """Return ``x`` rounded towards zero."""
    return deliver(_on_tiles(np.trunc, x), out)


@implements(np.nan_to_num)
def nan_to_num(x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None) -> Array:
    """Return ``x`` with NaN and infinities replaced by numbers.

    Parameters
    ----------
    x : array_like
    copy : bool
        Must be true: an expression cannot be changed in place.
    nan : scalar
        For NaN.
    posinf, neginf : scalar, optional
        For infinities; the largest and the smallest number of the dtype by default.

    Examples
    --------
    >>> import chunkarr as ca, numpy as np
    >>> ca.nan_to_num(ca.asarray([1.0, np.nan, np.inf]), posinf=9.0).tolist()
    [1.0, 0.0, 9.0]
    """
    if not copy:
        raise ValueError("copy=False asks to change an expression in place, which is read-only; use the returned array")
    if any(np.ndim(value) for value in (nan, posinf, neginf) if value is not None):
        raise UnsupportedError("nan, posinf and neginf must be scalars; use where() to fill in arrays")
    return _on_tiles(np.nan_to_num, x, nan=nan, posinf=posinf, neginf=neginf)


# --- complex numbers ----------------------------------------------------------------------------


@implements(np.real)
def real(val: Any) -> Array:
    """Return the real part."""
    node = as_node(val)
    return _on_tiles(np.real, wrap(node)) if node.dtype.kind == "c" else wrap(node)


@implements(np.imag)
def imag(val: Any) -> Array:
    """Return the imaginary part: zeros for real numbers."""
    return _on_tiles(np.imag, val)


@implements(np.angle)
def angle(z: Any, deg: bool = False) -> Array:
    """Return the argument of complex numbers, in radians or degrees.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.angle(ca.asarray([1, 1j, -1]), deg=True).tolist()
    [0.0, 90.0, 180.0]
    """
    return _on_tiles(np.angle, z, deg=deg)


@implements(np.iscomplex)
def iscomplex(x: Any) -> Array:
    """Return where the imaginary part is not zero."""
    return _on_tiles(np.iscomplex, x)


@implements(np.isreal)
def isreal(x: Any) -> Array:
    """Return where the imaginary part is zero."""
    return _on_tiles(np.isreal, x)


@implements(np.real_if_close)
def real_if_close(a: Any, tol: float = 100) -> Array:
    """Return the real part if all imaginary parts are within ``tol`` epsilons of zero, else ``a``.

    Asks for the values: the answer's dtype depends on them.
    """
    values = wrap(as_node(a))
    if values.dtype.kind != "c":
        return values
    limit = np.finfo(values.dtype).eps * tol if tol > 1 else tol
    return real(values) if _all(np.less(np.absolute(imag(values)), limit)) else values


# --- special values -----------------------------------------------------------------------------


@implements(np.isneginf)
def isneginf(x: Any, out: Any = None) -> Any:
    """Return where elements are negative infinity."""
    return deliver(_on_tiles(np.isneginf, x), out)


@implements(np.isposinf)
def isposinf(x: Any, out: Any = None) -> Any:
    """Return where elements are positive infinity."""
    return deliver(_on_tiles(np.isposinf, x), out)


@implements(np.sinc)
def sinc(x: Any) -> Array:
    """Return sin(pi x) / (pi x), and 1 at zero."""
    return _on_tiles(np.sinc, x)


@implements(np.i0)
def i0(x: Any) -> Array:
    """Return the modified Bessel function of the first kind, order 0."""
    return _on_tiles(np.i0, x)


# --- comparing ----------------------------------------------------------------------------------


@implements(np.isclose)
def isclose(a: Any, b: Any, rtol: Any = 1.0e-5, atol: Any = 1.0e-8, equal_nan: bool = False) -> Array:
    """Return where ``abs(a - b) <= atol + rtol * abs(b)``.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.isclose(ca.asarray([1.0, 2.0]), [1.0 + 1e-9, 2.1]).tolist()
    [True, False]
    """
    return _on_tiles(_isclose, a, b, rtol, atol, equal_nan=equal_nan)


def _isclose(a: Any, b: Any, rtol: Any, atol: Any, *, equal_nan: bool) -> Any:
    return np.isclose(a, b, rtol, atol, equal_nan)


@implements(np.allclose)
def allclose(a: Any, b: Any, rtol: Any = 1.0e-5, atol: Any = 1.0e-8, equal_nan: bool = False) -> bool:
    """Say whether all elements are close; asks for the values."""
    return _all(isclose(a, b, rtol, atol, equal_nan))


@implements(np.array_equal)
def array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> bool:
    """Say whether shape and elements are equal; asks for the values in one pass.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.array_equal(ca.arange(3), [0, 1, 2])
    True
    """
    one, other = as_node(a1), as_node(a2)
    if one.shape != other.shape:
        return False
    same = np.equal(wrap(one), wrap(other))
    if equal_nan and (one.dtype.kind in "fcmM" or other.dtype.kind in "fcmM"):
        same = same | (np.isnan(wrap(one)) & np.isnan(wrap(other)))
    return _all(same)


@implements(np.array_equiv)
def array_equiv(a1: Any, a2: Any) -> bool:
    """Say whether elements are equal after broadcasting; asks for the values."""
    one, other = as_node(a1), as_node(a2)
    try:
        np.broadcast_shapes(one.shape, other.shape)
    except ValueError:
        return False
    return _all(np.equal(wrap(one), wrap(other)))


def _all(condition: Any) -> bool:
    return bool(np.logical_and.reduce(condition, axis=None))
