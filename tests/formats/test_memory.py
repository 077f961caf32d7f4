"""Arrays in memory as sources and targets."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkarr.formats.memory import MemoryStored, MemoryTarget
from chunkarr.grid import region_slices, whole
from tests.oracle import same
from tests.strategies import arrays

NOTHING = np.empty(0, "u1")


@given(data=st.data())
def test_any_region_is_copied_both_ways(data: st.DataObject) -> None:
    values = data.draw(arrays())
    region = tuple((min(1, n), n) for n in values.shape)
    part = values[(*region_slices(region), ...)]
    source = MemoryStored(values)
    out = np.empty(part.shape, values.dtype, order="F")
    source.read(region, out, NOTHING)
    same(out, part)
    assert source.bytes_read(region) == part.nbytes
    result = np.zeros(values.shape[::-1], values.dtype).T
    target = MemoryTarget(result)
    target.write(region, out, NOTHING)
    target.commit()
    expected = np.zeros_like(values)
    expected[(*region_slices(region), ...)] = part
    same(result, expected)


def test_padding_is_copied_too() -> None:
    values = np.zeros(3, {"names": ["a"], "formats": ["u1"], "offsets": [2], "itemsize": 5})
    values.view("V5").view("u1")[...] = 7
    out = np.zeros_like(values)
    MemoryStored(values).read(((0, 3),), out, NOTHING)
    assert out.tobytes() == b"\x07" * 15


def test_the_view_is_read_only_and_free() -> None:
    values = np.arange(6)
    source = MemoryStored(values)
    assert np.shares_memory(source.array, values)
    assert values.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        source.array[0] = 1
    assert source.generation() == source.generation()


def test_python_objects_are_passed_on() -> None:
    values = np.array([{}, None], object)
    out = np.empty(2, object)
    MemoryStored(values).read(((0, 2),), out, NOTHING)
    assert out[0] is values[0]


def test_read_only_outputs_are_refused_as_numpy_does() -> None:
    values = np.zeros(3)
    values.flags.writeable = False
    with pytest.raises(ValueError, match="output array is read-only"):
        MemoryTarget(values)


def test_wrong_blocks_are_refused() -> None:
    target = MemoryTarget(np.zeros((2, 3)))
    assert not target.distributable
    with pytest.raises(TypeError, match="dtype"):
        target.write(whole((2, 3)), np.zeros((2, 3), "f4"), NOTHING)
    with pytest.raises(ValueError, match="shape"):
        target.write(whole((2, 3)), np.zeros((1, 3)), NOTHING)


def test_sources_are_pickled_with_their_values() -> None:
    source = pickle.loads(pickle.dumps(MemoryStored(np.arange(3))))
    out = np.empty(3, int)
    source.read(((0, 3),), out, NOTHING)
    assert out.tolist() == [0, 1, 2]
