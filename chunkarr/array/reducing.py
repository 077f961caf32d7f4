"""The methods that make few values of many, and those that change values one by one."""

from __future__ import annotations

import math
from typing import Any, Self, cast

import numpy as np

from chunkarr.array.dispatch import as_mask
from chunkarr.array.expression import Expression, as_operand
from chunkarr.array.outputs import deliver
from chunkarr.ops import elementwise
from chunkarr.ops.reduce import normalize_axes, reduce
from chunkarr.ops.reductions import NO_INITIAL
from chunkarr.ops.sources import full

__all__ = ["Reducing"]

_NoValue: Any = np._NoValue  # noqa: SLF001 - NumPy's mark of an argument not given


class Reducing(Expression):
    """Sums, extremes, moments: NumPy's signatures, dtypes and errors; each is one pass over the data."""

    __slots__ = ()

    def _reduce(
        self, row: str, axis: Any, out: Any, where: Any = True, *, dtype: Any = None, keepdims: Any = False,
        initial: Any = NO_INITIAL, ddof: float = 0,
    ) -> Self:  # fmt: skip
        given = NO_INITIAL if initial is _NoValue else initial
        keep = False if keepdims is _NoValue else bool(keepdims)
        node = reduce(
            self._node, row, axis, dtype=dtype, keepdims=keep, where=as_mask(True if where is _NoValue else where),
            initial=given, ddof=ddof,
        )  # fmt: skip
        return cast("Self", deliver(self._with(node), out))

    def sum(
        self, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False,
        initial: Any = NO_INITIAL, where: Any = True,
    ) -> Self:  # fmt: skip
        """Return the sum over ``axis``, no less exact than NumPy's pairwise sum."""
        return self._reduce("sum", axis, out, where, dtype=dtype, keepdims=keepdims, initial=initial)

    def prod(
        self, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False,
        initial: Any = NO_INITIAL, where: Any = True,
    ) -> Self:  # fmt: skip
        """Return the product over ``axis``."""
        return self._reduce("prod", axis, out, where, dtype=dtype, keepdims=keepdims, initial=initial)

    def min(
        self, axis: Any = None, out: Any = None, keepdims: bool = False, initial: Any = NO_INITIAL, where: Any = True
    ) -> Self:
        """Return the least element over ``axis``; NaN if there is one."""
        return self._reduce("min", axis, out, where, keepdims=keepdims, initial=initial)

    def max(
        self, axis: Any = None, out: Any = None, keepdims: bool = False, initial: Any = NO_INITIAL, where: Any = True
    ) -> Self:
        """Return the greatest element over ``axis``; NaN if there is one."""
        return self._reduce("max", axis, out, where, keepdims=keepdims, initial=initial)

    def any(self, axis: Any = None, out: Any = None, keepdims: bool = False, *, where: Any = True) -> Self:
        """Return whether any element over ``axis`` is true."""
        return self._reduce("any", axis, out, where, keepdims=keepdims)

    def all(self, axis: Any = None, out: Any = None, keepdims: bool = False, *, where: Any = True) -> Self:
        """Return whether all elements over ``axis`` are true."""
        return self._reduce("all", axis, out, where, keepdims=keepdims)

    def mean(
        self, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False, *, where: Any = True
    ) -> Self:
        """Return the mean over ``axis``."""
        return self._reduce("mean", axis, out, where, dtype=dtype, keepdims=keepdims)

    def var(
        self, axis: Any = None, dtype: Any = None, out: Any = None, ddof: float = 0, keepdims: bool = False, *,
        where: Any = True, mean: Any = None, correction: Any = None,
    ) -> Self:  # fmt: skip
        """Return the variance over ``axis``: the sum of squared deviations divided by the count less ``ddof``.

        It is found in one pass, exact for large means too. Deviations are from ``mean`` where one is given.
        """
        ddof = _degrees(ddof, correction)
        if mean is not None and mean is not _NoValue:
            return cast("Self", deliver(self._about(mean, axis, dtype, ddof, keepdims, where), out))
        return self._reduce("var", axis, out, where, dtype=dtype, keepdims=keepdims, ddof=ddof)

    def std(
        self, axis: Any = None, dtype: Any = None, out: Any = None, ddof: float = 0, keepdims: bool = False, *,
        where: Any = True, mean: Any = None, correction: Any = None,
    ) -> Self:  # fmt: skip
        """Return the standard deviation over ``axis``, the root of `var`."""
        ddof = _degrees(ddof, correction)
        if mean is not None and mean is not _NoValue:
            variance = self._about(mean, axis, dtype, ddof, keepdims, where)
            root = self._with(elementwise.call(np.sqrt, [variance._node])[0])  # noqa: SLF001
            return cast("Self", deliver(root, out))
        return self._reduce("std", axis, out, where, dtype=dtype, keepdims=keepdims, ddof=ddof)

    def _about(self, mean: Any, axis: Any, dtype: Any, ddof: float, keepdims: Any, where: Any) -> Self:
        """Return the mean squared deviation from a given mean, step by step as NumPy."""
        (off,) = elementwise.call(np.subtract, [self._node, as_operand(mean)])
        if off.dtype.kind == "c":
            (size,) = elementwise.call(np.abs, [off])
            (square,) = elementwise.call(np.square, [size])
        else:
            (square,) = elementwise.call(np.square, [off])
        wide = np.dtype(np.float64) if dtype is None and self.dtype.kind in "biu" else dtype
        total = self._with(square)._reduce("sum", axis, None, where, dtype=wide, keepdims=keepdims)  # noqa: SLF001
        if where is True:
            axes = normalize_axes(axis, self.ndim)
            count: Any = max(math.prod(self.shape[k] for k in axes) - ddof, 0)
        else:
            seen = full(self.shape, 1, np.dtype(np.int64))
            number = self._with(seen)._reduce("sum", axis, None, where, keepdims=keepdims)  # noqa: SLF001
            (less,) = elementwise.call(np.subtract, [number._node, ddof])  # noqa: SLF001
            (count,) = elementwise.call(np.maximum, [less, 0])
        (result,) = elementwise.call(np.true_divide, [total._node, count])  # noqa: SLF001
        return self._with(elementwise.astype(result, total.dtype))

    def argmin(self, axis: int | None = None, out: Any = None, *, keepdims: bool = False) -> Self:
        """Return where the least element is along ``axis``, or in the flattened array."""
        return self._reduce("argmin", _one_axis(axis), out, keepdims=keepdims)

    def argmax(self, axis: int | None = None, out: Any = None, *, keepdims: bool = False) -> Self:
        """Return where the greatest element is along ``axis``, or in the flattened array."""
        return self._reduce("argmax", _one_axis(axis), out, keepdims=keepdims)

    # --- scans and products live with their functions, which NumPy's names lead to ---------------

    def cumsum(self, axis: int | None = None, dtype: Any = None, out: Any = None) -> Self:
        """Return the running sum along ``axis``, or of the flattened array."""
        return cast("Self", np.cumsum(self, axis=axis, dtype=dtype, out=out))

    def cumprod(self, axis: int | None = None, dtype: Any = None, out: Any = None) -> Self:
        """Return the running product along ``axis``, or of the flattened array."""
        return cast("Self", np.cumprod(self, axis=axis, dtype=dtype, out=out))

    def dot(self, b: Any, out: Any = None) -> Self:
        """Return the dot product with ``b``."""
        return cast("Self", np.dot(self, b, out=out))

    # --- one by one --------------------------------------------------------------------------

    def clip(self, min: Any = None, max: Any = None, out: Any = None, **kwargs: Any) -> Self:  # noqa: A002
        """Return the values, those below ``min`` and above ``max`` replaced by these."""
        limits = [None if limit is None else as_operand(limit) for limit in (min, max)]
        return cast(
            "Self", deliver(self._with(elementwise.call(np.clip, [self._node, *limits], kwargs=kwargs)[0]), out)
        )

    def round(self, decimals: int = 0, out: Any = None) -> Self:
        """Return the values rounded to so many decimals, halves to even."""
        return cast("Self", deliver(self._with(elementwise.call(np.round, [self._node, decimals])[0]), out))

    def conj(self) -> Self:
        """Return the complex conjugates."""
        if self.dtype.kind in "biuf":
            return self
        return self._with(elementwise.call(np.conjugate, [self._node])[0])

    def conjugate(self) -> Self:
        """Return the complex conjugates."""
        return self.conj()


def _degrees(ddof: float, correction: Any) -> float:
    if correction is None or correction is _NoValue:
        return ddof
    if ddof:
        raise ValueError("ddof and correction can't be provided simultaneously.")
    result: float = correction
    return result


def _one_axis(axis: Any) -> Any:
    if isinstance(axis, tuple | list):
        raise TypeError(f"'{type(axis).__name__}' object cannot be interpreted as an integer")
    return axis
