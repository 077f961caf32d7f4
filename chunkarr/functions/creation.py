"""Arrays that are a formula of their indices: they take no memory, whatever their size."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.array import Array, as_node, implements, wrap
from chunkarr.array.expression import phantom
from chunkarr.errors import UnsupportedError
from chunkarr.io import asarray
from chunkarr.ops import elementwise, layout, sources

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "arange",
    "empty",
    "empty_like",
    "eye",
    "fromfunction",
    "full",
    "full_like",
    "identity",
    "indices",
    "linspace",
    "meshgrid",
    "ones",
    "ones_like",
    "tri",
    "tril",
    "triu",
    "zeros",
    "zeros_like",
]

NUMBERS = (bool, int, float, np.bool_, np.integer, np.floating)


def _check_device(device: Any) -> None:
    if device not in {None, "cpu"}:
        raise ValueError(f'Device not understood. Only "cpu" is allowed, but received: {device}')


def _number(value: Any, function: str, name: str) -> Any:
    """Return a scalar as NumPy's or Python's number; refuse everything else."""
    if isinstance(value, Array | np.ndarray):
        if value.ndim:
            raise UnsupportedError(f"{function}: {name} has shape {value.shape}; only scalars are supported")
        value = np.asarray(value)[()]
    if not isinstance(value, NUMBERS):
        raise UnsupportedError(f"{function}: {name} is {value!r}; only real numbers are supported")
    return value


def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None, *, device: str | None = None) -> Array:
    """Return the numbers from ``start`` (0 if only one is given) up to and without ``stop``, ``step`` apart.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.arange(2, 12, 3).tolist()
    [2, 5, 8, 11]
    """
    _check_device(device)
    if stop is None:
        start, stop = 0, start
    start, stop = _number(start, "arange", "start"), _number(stop, "arange", "stop")
    step = _number(1 if step is None else step, "arange", "step")
    if dtype is None:  # that of the types alone, which no length must be made for
        judge: Any = np.arange
        dtype = judge(type(start)(0), type(stop)(0), type(step)(1)).dtype
    if np.dtype(dtype).kind not in "iufc":
        if np.dtype(dtype).kind != "b" or (stop - start) / step > 2:
            np.arange(0.0, 3.0, dtype=dtype)  # NumPy's own refusal
            raise UnsupportedError(f"arange: dtype {np.dtype(dtype)} is not supported; cast with astype")
        few: Any = np.arange
        return asarray(few(start, stop, step, dtype))
    return wrap(sources.arange(start, stop, step, dtype))


def linspace(
    start: Any,
    stop: Any,
    num: Any = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
    *,
    device: str | None = None,
) -> Any:
    """Return ``num`` numbers evenly spaced from ``start`` to ``stop``, which is the last if ``endpoint``.

    With ``retstep`` return the pair of the array and the spacing.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.linspace(0, 1, 5).tolist()
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    _check_device(device)
    num = operator.index(num)
    if num < 0:
        raise ValueError(f"Number of samples, {num}, must be non-negative.")
    start, stop = _scalar(start), _scalar(stop)
    np.lib.array_utils.normalize_axis_index(axis, 1)
    line = wrap(sources.linspace(start, stop, num, endpoint=endpoint, dtype=dtype))
    if not retstep:
        return line
    parts = num - 1 if endpoint else num
    return line, np.linspace(start, stop, 2, retstep=True)[1] / (parts if parts > 0 else np.nan)


def _scalar(value: Any) -> Any:
    if isinstance(value, complex | np.complexfloating):
        return value
    return _number(value, "linspace", "start or stop")


def _filled(shape: Any, value: np.ndarray[Any, Any], device: str | None) -> Array:
    """Return an array of one value; a subarray dtype has added axes to ``value``."""
    _check_device(device)
    if value.dtype.hasobject:
        raise UnsupportedError("arrays of Python objects are not supported; choose a dtype of fixed size")
    extent = phantom(shape).shape
    if not value.ndim:
        return wrap(sources.full(extent, value[()], value.dtype))
    return broadcast(value, extent + value.shape)


def broadcast(value: np.ndarray[Any, Any], shape: tuple[int, ...]) -> Array:
    """Return values in memory, repeated to ``shape``."""
    return wrap(layout.broadcast_to(as_node(value), shape))


def zeros(shape: Any, dtype: Any = float, order: str = "C", *, device: str | None = None) -> Array:  # noqa: ARG001
    """Return an array of zeros.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.zeros((2, 3), "u1")
    <chunkarr.Array (2, 3) uint8>
    """
    return _filled(shape, np.zeros((), dtype), device)


def empty(shape: Any, dtype: Any = float, order: str = "C", *, device: str | None = None) -> Array:  # noqa: ARG001
    """Return an array of zeros: nothing is ever left unset.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.empty(2).tolist()
    [0.0, 0.0]
    """
    return _filled(shape, np.zeros((), dtype), device)


def ones(shape: Any, dtype: Any = None, order: str = "C", *, device: str | None = None) -> Array:  # noqa: ARG001
    """Return an array of ones.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.ones(3, int).tolist()
    [1, 1, 1]
    """
    return _filled(shape, np.ones((), dtype), device)


def full(
    shape: Any,
    fill_value: Any,
    dtype: Any = None,
    order: str = "C",  # noqa: ARG001 - memory layout is not the user's to see
    *,
    device: str | None = None,
) -> Array:
    """Return an array of one value, or of values that broadcast to ``shape``.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.full((2, 2), [1, 7]).tolist()
    [[1, 7], [1, 7]]
    """
    _check_device(device)
    kind = np.asarray(fill_value).dtype if dtype is None else np.dtype(dtype)
    kind = np.empty(0, kind).dtype
    if kind.hasobject:
        raise UnsupportedError("arrays of Python objects are not supported; choose a dtype of fixed size")
    extent = phantom(shape).shape
    if np.ndim(fill_value):
        return wrap(layout.broadcast_to(elementwise.astype(as_node(fill_value), kind), extent))
    given = np.asarray(fill_value) if isinstance(fill_value, Array) else fill_value
    if 0 in extent:  # NumPy's cast, and its errors, of which there are fewer without elements
        np.full((0,), given, kind)
        return wrap(sources.full(extent, np.zeros((), kind)[()], kind))
    return wrap(sources.full(extent, np.full((), given, kind)[()], kind))


def _like(a: Any, shape: Any) -> Any:
    return np.shape(a) if shape is None else shape


def _kind(a: Any, dtype: Any) -> np.dtype[Any]:
    return as_node(a).dtype if dtype is None else np.dtype(dtype)


@implements(np.zeros_like)
def zeros_like(
    a: Any,
    dtype: Any = None,
    order: str = "K",  # noqa: ARG001 - NumPy's signature
    subok: bool = True,  # noqa: ARG001 - NumPy's signature
    shape: Any = None,
    *,
    device: str | None = None,
) -> Array:
    """Return zeros of the shape and dtype of ``a``.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.zeros_like(ca.arange(3)).tolist()
    [0, 0, 0]
    """
    return _filled(_like(a, shape), np.zeros((), _kind(a, dtype)), device)


@implements(np.empty_like)
def empty_like(
    a: Any,
    /,
    dtype: Any = None,
    order: str = "K",  # noqa: ARG001 - NumPy's signature
    subok: bool = True,  # noqa: ARG001 - NumPy's signature
    shape: Any = None,
    *,
    device: str | None = None,
) -> Array:
    """Return zeros of the shape and dtype of ``a``: nothing is ever left unset.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.empty_like(ca.arange(3), shape=(2, 2))
    <chunkarr.Array (2, 2) int64>
    """
    return _filled(_like(a, shape), np.zeros((), _kind(a, dtype)), device)


@implements(np.ones_like)
def ones_like(
    a: Any,
    dtype: Any = None,
    order: str = "K",  # noqa: ARG001 - NumPy's signature
    subok: bool = True,  # noqa: ARG001 - NumPy's signature
    shape: Any = None,
    *,
    device: str | None = None,
) -> Array:
    """Return ones of the shape and dtype of ``a``.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.ones_like(ca.zeros(2)).tolist()
    [1.0, 1.0]
    """
    return _filled(_like(a, shape), np.ones((), _kind(a, dtype)), device)


@implements(np.full_like)
def full_like(
    a: Any,
    fill_value: Any,
    dtype: Any = None,
    order: str = "K",  # noqa: ARG001 - memory layout is not the user's to see
    subok: bool = True,  # noqa: ARG001 - there are no subclasses
    shape: Any = None,
    *,
    device: str | None = None,
) -> Array:
    """Return an array of the shape and dtype of ``a``, filled with ``fill_value``.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.full_like(ca.zeros(2), 7).tolist()
    [7.0, 7.0]
    """
    return full(_like(a, shape), fill_value, _kind(a, dtype), device=device)


def _places(n: int, m: int) -> tuple[Array, Array]:
    return arange(n).reshape(n, 1), arange(m).reshape(1, m)


def eye(
    N: Any,
    M: Any = None,
    k: int = 0,
    dtype: Any = float,
    order: str = "C",  # noqa: ARG001 - memory layout is not the user's to see
    *,
    device: str | None = None,
) -> Array:
    """Return an (N, M) array of zeros with ones on the ``k``-th diagonal.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.eye(2, 3, 1, int).tolist()
    [[0, 1, 0], [0, 0, 1]]
    """
    _check_device(device)
    rows, columns = _places(*phantom((N, N if M is None else M)).shape)
    result: Array = (rows == columns - operator.index(k)).astype(dtype)
    return result


def identity(n: Any, dtype: Any = None) -> Array:
    """Return the (n, n) identity matrix.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.identity(2).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    return eye(n, dtype=float if dtype is None else dtype)


def tri(N: Any, M: Any = None, k: int = 0, dtype: Any = float) -> Array:
    """Return an (N, M) array with ones at and below the ``k``-th diagonal.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.tri(2, 3, dtype=int).tolist()
    [[1, 0, 0], [1, 1, 0]]
    """
    rows, columns = _places(*phantom((N, N if M is None else M)).shape)
    result: Array = (rows >= columns - k).astype(dtype)
    return result


@implements(np.tril)
def tril(m: Any, k: int = 0) -> Array:
    """Return ``m`` with zeros above its ``k``-th diagonal, in each of its last two axes' planes.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.tril(ca.ones((2, 2), int)).tolist()
    [[1, 0], [1, 1]]
    """
    return _triangle(m, k, lower=True)


@implements(np.triu)
def triu(m: Any, k: int = 0) -> Array:
    """Return ``m`` with zeros below its ``k``-th diagonal, in each of its last two axes' planes.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.triu(ca.ones((2, 2), int)).tolist()
    [[1, 1], [0, 1]]
    """
    return _triangle(m, k, lower=False)


def _triangle(m: Any, k: int, *, lower: bool) -> Array:
    array = asarray(m)
    if not array.ndim:
        raise TypeError(f"{'tril' if lower else 'triu'}: an array of 1 or more dimensions is needed, not 0")
    n, columns = (array.shape * 2)[-2:] if array.ndim == 1 else array.shape[-2:]
    mask = tri(n, columns, k if lower else k - 1, bool)._node  # noqa: SLF001
    zero = np.zeros((), array.dtype)[()]
    kept = array._node  # noqa: SLF001
    node = elementwise.select(mask, kept, zero) if lower else elementwise.select(mask, zero, kept)
    return wrap(node)


def indices(dimensions: Any, dtype: Any = int, sparse: bool = False) -> Any:
    """Return the index along each axis at every place of a grid: (N, ...), or N arrays that broadcast if sparse.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.indices((2, 2)).tolist()
    [[[0, 0], [1, 1]], [[0, 1], [0, 1]]]
    """
    shape = phantom(tuple(dimensions)).shape
    if sparse:
        return tuple(_along(arange(n, dtype=dtype), k, len(shape)) for k, n in enumerate(shape))
    if not shape:
        return zeros((0,), dtype)
    planes = [layout.reshape(sources.indices(shape, k, dtype), (1, *shape)) for k in range(len(shape))]
    return wrap(layout.concatenate(planes, 0, dtype))


def _along(line: Array, axis: int, ndim: int) -> Array:
    """Return a 1-d array along one of ``ndim`` axes."""
    return line.reshape(tuple(line.size if k == axis else 1 for k in range(ndim)))


@implements(np.meshgrid)
def meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> tuple[Array, ...]:  # noqa: ARG001
    """Return the coordinates of a grid from those of its axes; ``indexing`` "xy" swaps the first two axes.

    Examples
    --------
    >>> import chunkarr as ca
    >>> x, y = ca.meshgrid(ca.arange(3), ca.arange(2))
    >>> y.tolist()
    [[0, 0, 0], [1, 1, 1]]
    """
    if indexing not in {"xy", "ij"}:
        raise ValueError("Valid values for `indexing` are 'xy' and 'ij'.")
    count = len(xi)
    places = list(range(count))
    if indexing == "xy" and count > 1:
        places[:2] = [1, 0]
    lines = [asarray(x).ravel() for x in xi]
    spread = [_along(x, p, count) for x, p in zip(lines, places, strict=True)]
    if sparse:
        return tuple(spread)
    shape = np.broadcast_shapes(*(x.shape for x in spread))
    return tuple(wrap(layout.broadcast_to(x._node, shape)) for x in spread)  # noqa: SLF001


def fromfunction(function: Callable[..., Any], shape: Any, *, dtype: Any = float, **kwargs: Any) -> Any:
    """Call ``function`` on the indices along each axis of ``shape``, which are lazy, and return what it returns.

    Examples
    --------
    >>> import chunkarr as ca
    >>> ca.fromfunction(lambda i, j: i + 10 * j, (2, 2), dtype=int).tolist()
    [[0, 10], [1, 11]]
    """
    extent = phantom(tuple(shape)).shape
    return function(*(wrap(sources.indices(extent, k, dtype)) for k in range(len(extent))), **kwargs)
