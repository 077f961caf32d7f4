"""NumPy is the oracle: the same values, dtype, shape and errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

__all__ = ["check", "same"]


def same(actual: Any, expected: Any, *, rtol: float = 0.0) -> None:
    """Assert that ``actual`` is what NumPy gave: dtype, shape and values, to the bit unless ``rtol`` is given.

    NaN equals NaN; zeros must have the same sign; dtypes must be equal, byte order included.
    """
    if isinstance(expected, tuple | list):
        assert isinstance(actual, tuple | list), type(actual)
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            same(one, other, rtol=rtol)
        return
    expected = np.asarray(expected)
    assert actual.shape == expected.shape, f"shape {actual.shape}, NumPy has {expected.shape}"
    assert actual.dtype == expected.dtype, f"dtype {actual.dtype!r}, NumPy has {expected.dtype!r}"
    values = np.asarray(actual)
    assert values.shape == expected.shape
    assert values.dtype == expected.dtype
    _same_values(values, expected, rtol)


def _same_values(values: np.ndarray, expected: np.ndarray, rtol: float) -> None:
    """Compare arrays of one dtype and shape; structured ones field by field, padding ignored."""
    if expected.dtype.names is not None:
        for name in expected.dtype.names:
            _same_values(values[name], expected[name], rtol)
        return
    if expected.dtype.kind not in "fc":
        np.testing.assert_array_equal(values, expected)
        return
    if expected.dtype.kind == "c":
        _same_values(values.real, expected.real, rtol)
        _same_values(values.imag, expected.imag, rtol)
        return
    if rtol:
        np.testing.assert_allclose(values, expected, rtol=rtol, atol=0, equal_nan=True)
        return
    np.testing.assert_array_equal(values, expected)
    zeros = expected == 0
    np.testing.assert_array_equal(np.signbit(values[zeros]), np.signbit(expected[zeros]), "signs of zeros")


def check(ours: Callable[[], Any], numpys: Callable[[], Any], *, message: bool = False, rtol: float = 0.0) -> None:
    """Assert that ``ours`` returns what ``numpys`` returns, or raises what it raises, lazily or not.

    An error of ours may be a subclass of NumPy's; with ``message`` its text must be NumPy's too.
    Floating-point warnings are ignored on both sides.
    """
    with np.errstate(all="ignore"):
        refusal: Exception | None = None
        try:
            expected = numpys()
        except Exception as error:  # noqa: BLE001  # whatever NumPy raises is the answer
            refusal = error
        if refusal is None:
            same(ours(), expected, rtol=rtol)
            return
        with pytest.raises(_public(refusal)) as raised:
            _evaluate(ours())
        assert not message or str(raised.value) == str(refusal)


def _public(error: Exception) -> type[Exception]:
    """Return the class of ``error``, or the first public one above it."""
    return next(kind for kind in type(error).__mro__ if kind.__module__ in ("builtins", "numpy.exceptions"))


def _evaluate(result: Any) -> None:
    """Compute a result, so that what it raises late is raised."""
    for part in result if isinstance(result, tuple | list) else (result,):
        np.asarray(part)
