"""Moves of elements say which regions they need, no larger than they must be."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkarr.graph import Kernel, View
from chunkarr.grid import contains, region_shape, region_slices, whole
from chunkarr.ops import layout
from chunkarr.ops.sources import constant
from tests.strategies import shapes


@st.composite
def regions(draw, shape):
    """Draw a region of an array of ``shape`` that is not empty."""
    bounds = []
    for n in shape:
        a = draw(st.integers(0, n - 1))
        bounds.append((a, draw(st.integers(a + 1, n))))
    return tuple(bounds)


def evaluate(node, region):
    """Compute ``region`` of a node whose inputs are in memory from no more than what it says it needs."""
    needs = node.op.needs(region)
    blocks = []
    for source, need in zip(node.inputs, needs, strict=True):
        assert need is None or contains(whole(source.shape), need)
        blocks.append(None if need is None else source.op.stored.array[region_slices(need)].copy())
    if isinstance(node.op, View):
        return node.op.view(blocks[0], region)
    assert isinstance(node.op, Kernel)
    out = np.empty(region_shape(region), node.dtype)
    node.op.kernel(blocks, region, out, np.empty(node.op.scratch_bytes(region), np.uint8))
    return out


FULL = shapes(3, 200).filter(lambda s: math.prod(s) > 0)


@given(FULL, st.data())
def test_a_region_of_a_reshape_needs_only_its_rows(shape, data):
    x = np.arange(math.prod(shape)).reshape(shape)
    size = x.size
    first = data.draw(st.sampled_from([d for d in range(1, size + 1) if size % d == 0]))
    node = layout.reshape(constant(x), (first, size // first))
    if not isinstance(node.op, layout.Reshape):
        return
    region = data.draw(regions(node.shape))
    np.testing.assert_array_equal(evaluate(node, region), x.reshape(node.shape)[region_slices(region)])


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.data())
def test_a_region_of_a_concatenation_needs_only_its_parts(lengths, data):
    parts = [np.arange(3 * n).reshape(3, n) + 100 * k for k, n in enumerate(lengths)]
    node = layout.concatenate([constant(p) for p in parts], 1)
    region = data.draw(regions(node.shape))
    np.testing.assert_array_equal(evaluate(node, region), np.concatenate(parts, 1)[region_slices(region)])
    needed = sum(math.prod(region_shape(need)) for need in node.op.needs(region) if need is not None)
    assert needed == math.prod(region_shape(region))


@pytest.mark.parametrize("make", [
    lambda n: layout.transpose(n, (2, 0, 1)),
    lambda n: layout.flip(n, (0, 2)),
    lambda n: layout.broadcast_to(n, (2, 3, 4, 5)),
    lambda n: layout.reinterpret(n, np.dtype("u1")),
    lambda n: layout.reinterpret(n, np.dtype("M8[s]")),
])  # fmt: skip
@given(data=st.data())
def test_a_region_of_a_view_is_that_region_of_all(make, data):
    x = np.arange(60).reshape(3, 4, 5)
    node = make(constant(x))
    region = data.draw(regions(node.shape))
    everything = evaluate(node, whole(node.shape))
    np.testing.assert_array_equal(evaluate(node, region), everything[region_slices(region)])


@given(FULL, FULL)
def test_groups_of_a_reshape_hold_as_many_elements_on_both_sides(one, other):
    if math.prod(one) != math.prod(other):
        other = (math.prod(one),)
    groups = layout.reshape_groups(one, other)
    for (i0, i1), (o0, o1) in groups:
        assert math.prod(one[i0:i1]) == math.prod(other[o0:o1])
    assert [g[0][1] for g in groups][-1:] == ([len(one)] if groups else [])


def test_splitting_an_axis_reads_only_the_rows_asked_for():
    node = layout.reshape(constant(np.zeros((1000, 10))), (10, 100, 10))
    assert node.op.needs(((3, 4), (5, 8), (2, 3))) == (((305, 308), (2, 3)),)


def test_rolling_keeps_the_byte_order():
    node = layout.moved(constant(np.arange(5, dtype=">i2")), 2, 0)
    assert node.dtype == np.dtype(">i2")
    np.testing.assert_array_equal(evaluate(layout.concatenate([constant(np.ones(2))], 0), ((0, 1),)), [1.0])


def test_padding_of_records_is_copied_with_them():
    dtype = np.dtype({"names": ["a"], "formats": ["u1"], "offsets": [3], "itemsize": 8})
    x = np.arange(16, dtype="u1").view(dtype)
    assert constant(x).op.stored.array.tobytes() == bytes(range(16))
