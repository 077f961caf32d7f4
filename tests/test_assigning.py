"""Assignment to stored arrays: what NumPy does, in one transaction, whatever the key, the value and the chunks."""

from __future__ import annotations

import contextlib
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chunkarr as ca
from chunkarr.engine import updating
from tests.oracle import _public, same
from tests.strategies import advanced_keys, arrays, basic_keys, chunks_of, numeric_dtypes, shapes
from tests.updating import changeable

QUIET = pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::numpy.exceptions.ComplexWarning")

LITERALS = [0, -1, 1, 300, 2.7, float("nan"), 1 - 2j, True, None, "5", "x", b"7", (), [], (1, 2), [[3]], [1, [2, 3]]]
SCALARS = [
    np.int64(300),
    np.float64("nan"),
    np.complex128(2j),
    np.bool_(True),
    np.str_("12"),
    np.datetime64("2020-01-02"),
]


@contextlib.contextmanager
def planned(yes=True):
    """Let every change take the way of large ones: a plan, blocks, tasks."""
    before = updating.FEW
    updating.FEW = -1 if yes else before
    try:
        yield
    finally:
        updating.FEW = before


def agree(x, chunks, ours, numpys, *, large=False, also=()):
    """Assert that a stored array is after ``ours(a)`` what ``x`` is after ``numpys(x)``, or that both refuse."""
    a, disk = changeable(x, chunks)
    expected = x.copy()
    refusal = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            numpys(expected)
        except Exception as error:  # noqa: BLE001 - whatever NumPy raises is the answer
            refusal = error
    with planned(large):
        if refusal is None:
            ours(a)
            same(disk.values, expected)
            assert disk.commits <= 1
        else:
            with pytest.raises((_public(refusal), *also)):
                ours(a)
            assert disk.commits == 0
            same(disk.values, x)
    assert disk.locked is None


def setter(key, value):
    def change(a):
        a[key] = value

    return change


@st.composite
def values_for(draw, shape, dtype):
    """Draw what may be assigned to a selection of ``shape``: what fits, and what does not."""
    kind = draw(st.sampled_from(["array", "array", "array", "same", "literal", "scalar", "wrong"]))
    if kind == "literal":
        return draw(st.sampled_from(LITERALS))
    if kind == "scalar":
        return draw(st.sampled_from(SCALARS))
    extent = list(shape[draw(st.integers(0, len(shape))) :])
    for k in range(len(extent)):
        if draw(st.integers(0, 4)) == 0:
            extent[k] = 1
    if kind == "wrong" and extent:
        extent[draw(st.integers(0, len(extent) - 1))] += 1
    extent = [1] * draw(st.integers(0, 1)) + extent
    chosen = dtype if kind == "same" else draw(st.one_of(numeric_dtypes(), st.just(dtype)))
    values = draw(arrays(dtype=chosen, shape=tuple(extent)))
    return values.tolist() if draw(st.integers(0, 4)) == 0 else values


def selected_shape(x, key):
    try:
        return np.empty(x.shape, "V0")[key].shape
    except Exception:  # noqa: BLE001
        return x.shape


@QUIET
@given(arrays(shape=shapes(3, 120)), st.data())
def test_assignment_is_numpys(x, data):
    key = data.draw(st.one_of(basic_keys(x.shape), advanced_keys(x.shape)))
    value = data.draw(values_for(selected_shape(x, key), x.dtype))
    chunks = data.draw(st.none() | chunks_of(x.shape))
    also = ()
    try:
        x[key]
    except IndexError:
        also = (IndexError,)  # where key and value are both wrong, either may be named
    agree(x, chunks, setter(key, value), setter(key, value), large=data.draw(st.booleans()), also=also)
