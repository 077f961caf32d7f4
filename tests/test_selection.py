"""What a basic key means, as items per axis."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkarr.selection import Pick, Stride, is_basic, parse_key
from tests.strategies import basic_keys, shapes


def _refusal(x, key):
    """Return what NumPy says of a key that it refuses."""
    try:
        x[key]
    except IndexError as error:
        return str(error)
    return None


@given(shapes(), st.data())
def test_items_say_where_each_element_comes_from(shape, data):
    key = data.draw(basic_keys(shape))
    x = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    refusal = _refusal(x, key)
    if refusal is not None:
        with pytest.raises(IndexError) as raised:
            parse_key(key, shape)
        assert str(raised.value) == refusal
        return
    expected = np.asarray(x[key])
    items = parse_key(key, shape)
    plain = []
    for item in items:
        if isinstance(item, Pick):
            plain.append(item.index)
        elif isinstance(item, Stride):
            plain.append(slice(None) if not item.length else np.s_[item.start + item.step * np.arange(item.length)])
    lengths = [1 if i is None else i.length for i in items if not isinstance(i, Pick)]
    assert tuple(lengths) == expected.shape
    if expected.size:
        places = [[p] if isinstance(p, int) else p for p in plain]
        np.testing.assert_array_equal(x[np.ix_(*places)].reshape(expected.shape) if places else x, expected)


BASIC = [1, np.int8(1), (), None, ..., np.s_[:2], np.s_[0, None, ..., :1], np.array(3)]


@pytest.mark.parametrize("key", BASIC, ids=str)
def test_basic_keys_are_known(key):
    assert is_basic(key)


@pytest.mark.parametrize("key", [True, [1], np.array([1]), np.array(True), 1.0, "a", (0, [1]), np.True_], ids=str)
def test_other_keys_are_not_basic(key):
    assert not is_basic(key)
