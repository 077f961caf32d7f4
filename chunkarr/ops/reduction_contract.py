"""What a reduction is asked, what a leaf is told, and the record that answers.

An array is cut into *leaves*: tiles of shape (K, R, C), K and C along kept axes, R along the
reduced ones, flattened in C order. A `Reduction` turns each leaf into a *state*, a tuple of
arrays of shape (K, C), folds states together and makes the values of the result from the last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy as np

__all__ = ["NO_INITIAL", "Asked", "DType", "Leaf", "NoInitial", "Reduction", "State", "Tile", "numpy_answer"]

Tile: TypeAlias = np.ndarray[Any, Any]
DType: TypeAlias = np.dtype[Any]
State: TypeAlias = tuple[Tile, ...]


class NoInitial:
    """The type of `NO_INITIAL`: ``initial=`` was not given (None is a value of its own)."""

    def __repr__(self) -> str:
        """Return the name that users of the record see."""
        return "NO_INITIAL"

    def __reduce__(self) -> str:
        """Pickle as the one instance, so that ``is`` holds in every process."""
        return "NO_INITIAL"


NO_INITIAL: Final = NoInitial()


@dataclass(frozen=True, slots=True)
class Asked:
    """One call of a reduction, axes aside.

    Parameters
    ----------
    in_dtype
        dtype of the array, byte order included.
    dtype
        The ``dtype=`` argument, None when not given.
    masked
        Whether ``where=`` was given.
    initial
        The ``initial=`` argument, `NO_INITIAL` when not given.
    ddof
        Delta degrees of freedom (``var`` and ``std``).
    count
        Elements along the reduced axes: those behind each result when nothing is masked.
    """

    in_dtype: DType
    dtype: DType | None = None
    masked: bool = False
    initial: Any = NO_INITIAL
    ddof: float = 0
    count: int = 0


def _own_buffer(nbytes: int) -> Tile:
    return np.empty(nbytes, np.uint8)


def _as_it_is(local: Tile) -> Tile:
    return local


@dataclass(frozen=True, slots=True)
class Leaf:
    """What a leaf function is told beside the tile.

    Parameters
    ----------
    asked
        The call.
    state
        ``row.state(asked)``, computed once by the caller.
    inner
        Whether the array's last axis is reduced (then C is 1).
    index
        Maps local positions along R to flat C-order positions over the reduced axes of the
        whole array; increasing.
    scratch
        Gives an uninitialised, 16-byte aligned uint8 buffer of the given bytes; its contents
        are dead when the leaf function returns. A leaf asks at most once.
    """

    asked: Asked
    state: tuple[DType, ...]
    inner: bool
    index: Callable[[Tile], Tile] = field(default=_as_it_is)
    scratch: Callable[[int], Tile] = field(default=_own_buffer)

    def work(self, shape: tuple[int, ...], dtype: DType) -> Tile:
        """Return an uninitialised C-contiguous array of the given shape in the scratch buffer."""
        size = 1
        for length in shape:
            size *= length
        return self.scratch(size * dtype.itemsize)[: size * dtype.itemsize].view(dtype).reshape(shape)


@dataclass(frozen=True, slots=True)
class Reduction:
    """One reduction: how leaves are reduced, states combined, results made.

    Parameters
    ----------
    name
        Key of the row: NumPy's name of the function or of the ufunc.
    numpy
        The NumPy function that defines result dtype, errors and the answer for no elements.
    state
        ``(asked) -> dtypes`` of the state's arrays.
    leaf
        ``(x, mask, leaf) -> state``: x of shape (K, R, C), never written; mask bool of the same
        shape, or None; R at least 1. The state's arrays are new.
    combine
        ``(left, right) -> left``: left, which covers the lower indices, is updated in place.
    finish
        ``(state, asked, dtype) -> values`` of dtype ``row.result(asked)``, a new array or the
        state's; warns as NumPy does. ``initial`` is folded in here, once, and nowhere else.
    """

    name: str
    numpy: Callable[..., Any]
    state: Callable[[Reduction, Asked], tuple[DType, ...]]
    leaf: Callable[[Tile, Tile | None, Leaf], State]
    combine: Callable[[State, State], State]
    finish: Callable[[State, Asked, DType], Tile]

    def states(self, asked: Asked) -> tuple[DType, ...]:
        """Return the dtypes of the state's arrays."""
        return self.state(self, asked)

    def result(self, asked: Asked) -> DType:
        """Return the dtype of the result, native; raise NumPy's error for what NumPy refuses.

        Raises
        ------
        TypeError
            The dtype has no such reduction, or the function takes no such argument.
        ValueError
            ``where`` without ``initial`` for a ufunc that has no identity.
        """
        answer = numpy_answer(self.numpy, np.zeros(1, asked.in_dtype), asked)
        if asked.in_dtype.kind not in "?biufcmMSU":
            raise TypeError(f"{self.name} of {asked.in_dtype} is not supported: only plain numbers, times and strings")
        dtype: DType = answer.dtype
        return dtype

    def empty(self, asked: Asked) -> Tile:
        """Return the 0-d value of a reduction over no elements, with NumPy's warnings, or raise its error.

        To be called when the result has elements and the reduced axes have none.
        """
        return numpy_answer(self.numpy, np.zeros(0, asked.in_dtype), asked)


def numpy_answer(function: Callable[..., Any], x: Tile, asked: Asked) -> Tile:
    """Call NumPy's function on a 1-d array as it was asked; floating-point flags are ignored for one element."""
    options: dict[str, Any] = {}
    if asked.dtype is not None:
        options["dtype"] = asked.dtype
    if asked.initial is not NO_INITIAL:
        options["initial"] = asked.initial
    if asked.masked:
        options["where"] = np.ones(x.shape, bool)
    if x.size:
        with np.errstate(all="ignore"):
            return np.asarray(function(x, **options))
    return np.asarray(function(x, **options))
