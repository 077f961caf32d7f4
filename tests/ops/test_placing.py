"""Chains of views, composed into one place in the stored array."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import chunkarr as ca
from chunkarr.grid import Grid, region_key, region_shape
from chunkarr.ops.placing import placed
from tests.strategies import arrays, basic_keys, chunks_of, shapes


@st.composite
def chains(draw, x):
    """Draw steps, each a function of an array that makes a view of it."""
    steps = []
    view = x
    for _ in range(draw(st.integers(0, 4))):
        kinds = ["index", "transpose", *(["field", "fields"] if view.dtype.names else [])]
        kind = draw(st.sampled_from(kinds))
        if kind == "index":
            key = draw(basic_keys(view.shape))
            try:
                after = view[key]
            except IndexError:
                continue
            if not isinstance(after, np.ndarray) or not np.may_share_memory(after, x):
                continue
            step = lambda v, key=key: v[key]  # noqa: E731 - a step is data here
        elif kind == "transpose":
            axes = tuple(draw(st.permutations(range(view.ndim))))
            step = lambda v, axes=axes: v.transpose(axes)  # noqa: E731
        else:
            name = draw(st.sampled_from(view.dtype.names)) if kind == "field" else list(view.dtype.names[::-1])
            step = lambda v, name=name: v[name]  # noqa: E731
        steps.append(step)
        view = step(view)
    return steps


@given(arrays(shape=shapes(3, 60).filter(lambda s: 0 not in s)), st.data())
def test_a_place_shows_the_view_in_blocks_of_the_root(x, data):
    steps = data.draw(chains(x))
    view, lazy = x, ca.asarray(x)
    for step in steps:
        view, lazy = step(view), step(lazy)
    place = placed(lazy._node)
    assert place.shape == view.shape
    numbers = np.arange(view.size).reshape(view.shape)
    seen = np.zeros(view.shape, int)
    for box in Grid(x.shape, data.draw(chunks_of(x.shape))):
        part = place.within(box)
        if part is None:
            continue
        shown = place.view(x[region_key(box)], box)
        assert shown.shape == region_shape(part)
        assert shown.tobytes() == view[region_key(part)].tobytes()
        assert np.shares_memory(shown, x)
        seen[region_key(part)] += 1
        count = np.zeros(region_shape(box), bool)
        if not place.path:
            place.view(count, box)[...] = True
        assert place.covers(box) == bool(count.all())
    assert (seen == 1).all(), numbers[seen != 1]


@given(shapes(3, 300).filter(lambda s: 0 not in s), st.data())
def test_parts_are_the_boxes_that_are_touched(shape, data):
    key = data.draw(basic_keys(shape))
    marks = np.zeros(shape, bool)
    try:
        marks[key] = True
    except IndexError:
        return
    place = placed(ca.asarray(np.zeros(shape))[key]._node)
    grid = Grid(shape, data.draw(chunks_of(shape)))
    written = np.zeros(shape, int)
    whole = grid.round_out(tuple((0, n) for n in shape))
    for part in place.parts(whole, grid, 8):
        assert part == grid.round_out(part)
        written[region_key(part)] += 1
    for box in grid if set(grid.steps) != {1} else ():  # boxes of one element are those of a flat file
        assert set(np.unique(written[region_key(box)])) == {int(marks[region_key(box)].any())}, box
    ones = Grid(shape, (1,) * len(shape))
    written[...] = 0
    for part in place.parts(whole, ones, 1 << 16):
        written[region_key(part)] += 1
    assert (written[marks] == 1).all()
