"""What a key with index arrays and masks means, and which of its elements lie in a region."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkarr import lookups as module
from chunkarr.advanced import parse_advanced
from chunkarr.grid import Grid, region_key
from chunkarr.selection import is_basic
from tests.strategies import advanced_keys, chunks_of, shapes


def _answer(x, key):
    """Return what NumPy takes, or how it refuses."""
    try:
        return x[key], None
    except (IndexError, ValueError) as error:
        return None, error


def _drawn(data):
    """Draw an array of distinct elements and a key that is not basic, what NumPy answers, and the parsed key."""
    shape = data.draw(shapes(4, 300))
    key = data.draw(advanced_keys(shape).filter(lambda k: not is_basic(k)))
    x = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    expected, refusal = _answer(x, key)
    if refusal is not None:
        with pytest.raises(type(refusal)) as raised:
            parse_advanced(key, shape)
        assert str(raised.value) == str(refusal)
        return x, key, None, None
    parsed = parse_advanced(key, shape)
    assert parsed.shape == expected.shape
    return x, key, expected, parsed


@pytest.mark.parametrize("scanned", [0, 1024])
@given(data=st.data())
def test_parts_of_a_grid_are_the_whole_selection(scanned, data):
    x, _, expected, parsed = _drawn(data)
    if parsed is None:
        return
    found = np.full(parsed.shape, -1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SCANNED", scanned)
        _gather(data, x, parsed, found)
    np.testing.assert_array_equal(found, expected)


def _gather(data, x, parsed, found):
    for region in Grid(x.shape, data.draw(chunks_of(x.shape))):
        for part in parsed.parts(region, data.draw(st.integers(1, 20))):
            view, key = part.of_array(x[region_key(region)], region)
            place, where = part.of_result(found, tuple((0, n) for n in parsed.shape))
            place[where] = view[key]
            tight, key = part.of_array(x[region_key(part.source)], part.source)
            place, where = part.of_result(found[region_key(part.result)], part.result)
            np.testing.assert_array_equal(tight[key], place[where])


@given(st.data())
def test_writing_by_parts_is_writing_at_once(data):
    x, key, expected, parsed = _drawn(data)
    if parsed is None:
        return
    values = -1 - np.arange(expected.size).reshape(expected.shape)
    ours, theirs = x.copy(), x.copy()
    theirs[key] = values
    for region in Grid(x.shape, data.draw(chunks_of(x.shape))):
        part = parsed.within(region)
        if part is not None:
            view, places = part.of_array(ours[region_key(region)], region)
            value, where = part.of_result(values[region_key(part.result)], part.result)
            view[places] = value[where]
    np.testing.assert_array_equal(ours, theirs)


@given(st.data())
def test_a_restricted_selection_is_a_part_of_the_result(data):
    x, _, expected, parsed = _drawn(data)
    if parsed is None or 0 in parsed.shape:
        return
    region = tuple(sorted((data.draw(st.integers(0, n - 1)), data.draw(st.integers(0, n - 1)))) for n in parsed.shape)
    region = tuple((a, b + 1) for a, b in region)
    less = parsed.restricted(region)
    assert less.shape == tuple(b - a for a, b in region)
    part = less.within(less.span())
    assert part.source == less.span()
    assert part.result == tuple((0, n) for n in less.shape)
    found = np.full(less.shape, -1)
    view, key = part.of_array(x[region_key(part.source)], part.source)
    place, where = part.of_result(found, part.result)
    place[where] = view[key]
    np.testing.assert_array_equal(found, expected[region_key(region)])


def test_many_indices_are_looked_up_as_few_are(monkeypatch):
    indices = np.random.default_rng(3).integers(0, 50, (2, 3000))
    parsed = parse_advanced((indices[0], indices[1]), (50, 50))
    (group,) = parsed.groups
    quick = group.within([(10, 20), (5, 30)])
    monkeypatch.setattr(module, "SCANNED", 1 << 20)
    np.testing.assert_array_equal(quick, group.within([(10, 20), (5, 30)]))
    assert quick.size > 100


def test_an_outer_product_of_indices_takes_no_product_of_memory():
    parsed = parse_advanced(np.ix_(range(1000), range(2000)), (1000, 2000))
    assert parsed.shape == (1000, 2000)
    assert parsed.nbytes < 10 * 8 * 3000


def test_indices_are_copied():
    indices = np.array([1, 2])
    parsed = parse_advanced(indices, (5,))
    indices[:] = 0
    assert parsed.groups[0].arrays[0].tolist() == [1, 2]
