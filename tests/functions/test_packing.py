"""packbits and unpackbits: NumPy is the oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chunkarr as ca
from chunkarr.ops import packing
from tests.oracle import check, same
from tests.strategies import chunks_of

shapes = st.lists(st.integers(0, 20), max_size=3).map(tuple)


def draw(data: st.DataObject, dtype: str) -> tuple[np.ndarray, Any]:
    shape = data.draw(shapes)
    values = np.random.default_rng(data.draw(st.integers(0, 9))).integers(0, 256, shape).astype(dtype)
    values[values.astype("i8") % 3 == 0] = 0
    axis = data.draw(st.none() | st.integers(-len(shape) - 1, len(shape)))
    return values, axis


@given(
    data=st.data(), dtype=st.sampled_from(["?", "u1", ">i4", "u8", "f4"]), bitorder=st.sampled_from(["big", "little"])
)
def test_packbits_is_numpys(data: st.DataObject, dtype: str, bitorder: str) -> None:
    values, axis = draw(data, dtype)
    ours = ca.asarray(values, data.draw(chunks_of(values.shape)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "TILE", data.draw(st.sampled_from([8, 24, 1 << 18])))
        check(lambda: ca.packbits(ours, axis, bitorder), lambda: np.packbits(values, axis, bitorder))


@given(
    data=st.data(),
    dtype=st.sampled_from(["u1", "u1", "u1", "i1"]),
    bitorder=st.sampled_from(["big", "little"]),
    count=st.none() | st.integers(-200, 200),
)
def test_unpackbits_is_numpys(data: st.DataObject, dtype: str, bitorder: str, count: int | None) -> None:
    values, axis = draw(data, dtype)
    ours = ca.asarray(values, data.draw(chunks_of(values.shape)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "TILE", data.draw(st.sampled_from([1, 7, 1 << 18])))
        check(
            lambda: ca.unpackbits(ours, axis, count, bitorder),
            lambda: numpys_unpackbits(values, axis, count, bitorder),
        )


def numpys_unpackbits(values: np.ndarray, *options: Any) -> np.ndarray:
    """Return what NumPy returns, but zeros for no bytes: there NumPy 2.4 leaves memory as it finds it."""
    found = np.unpackbits(values, *options)
    return found if values.size else np.zeros_like(found)


@given(data=st.data())
def test_slices_read_what_they_need(data: st.DataObject) -> None:
    values = np.random.default_rng(0).integers(0, 256, (6, 40), dtype="u1")
    start, stop, step = data.draw(st.integers(0, 400)), data.draw(st.integers(0, 400)), data.draw(st.integers(1, 9))
    bits = ca.unpackbits(ca.asarray(values, (4, 7)), axis=1, count=350)
    key = (slice(1, 5), slice(start, stop, step))
    same(bits[key].compute(), np.unpackbits(values, axis=1, count=350)[key])
    same(ca.packbits(bits, axis=1)[key].compute(), np.packbits(np.unpackbits(values, axis=1, count=350), axis=1)[key])


@pytest.mark.parametrize("call", ["packbits", "unpackbits"])
def test_a_bit_order_that_is_none_is_refused_as_numpy_refuses_it(call: str) -> None:
    values = np.arange(9, dtype="u1")
    check(
        lambda: getattr(ca, call)(ca.asarray(values), bitorder="middle"),
        lambda: getattr(np, call)(values, bitorder="middle"),
        message=True,
    )


def test_numpys_functions_dispatch() -> None:
    packed = np.packbits(ca.arange(20) % 2 == 0)
    assert isinstance(packed, ca.Array)
    assert np.unpackbits(packed, count=20).sum() == 10


def test_they_go_through_files_larger_than_the_budget_of_one_block(tmp_path: Any) -> None:
    values = np.random.default_rng(0).integers(0, 2, 3_000_000).astype(bool)
    ca.save(tmp_path / "a.zarr", values, chunks=100_000)
    with ca.config.set(memory="8 MiB"):
        packed = ca.save(tmp_path / "b.npy", ca.packbits(ca.open(tmp_path / "a.zarr")))
        ca.save(tmp_path / "c.npy", ca.unpackbits(packed, count=len(values)))
    same(np.load(tmp_path / "b.npy"), np.packbits(values))
    same(np.load(tmp_path / "c.npy"), values.view("u1"))
