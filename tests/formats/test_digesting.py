"""The digest: equal for equal arrays whatever they are stored in, another for any other array."""

from __future__ import annotations

import hashlib
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chunkarr as ca
from chunkarr.errors import UnsupportedError
from chunkarr.formats import digesting
from chunkarr.formats.digesting import DigestTarget, canonical_dtype, tile_shape
from chunkarr.grid import region_key, whole
from tests.contracts.cases import CASES
from tests.strategies import arrays, chunks_of, dtypes, shapes

PADDED = np.dtype({"names": ["a", "b"], "formats": ["u1", "<f4"], "offsets": [0, 4], "itemsize": 12})
NESTED = np.dtype([("flag", "?"), ("inner", [("pair", ">u2", (2, 3)), ("when", ">M8[us]")], (2,)), ("text", "<U3")])

KEEPING = ("npy", "npz", "raw", "zarr", "hdf5")  # formats that hold values of any dtype as they are


def by_hand(values):
    """Return the digest as the module describes it, written another way."""
    canonical = canonical_dtype(values.dtype)
    steps = tile_shape(values.shape, canonical.itemsize)
    hashes = []
    for index in np.ndindex(*(-(-n // s) for n, s in zip(values.shape, steps, strict=True))):
        tile = values[(*(slice(i * s, (i + 1) * s) for i, s in zip(index, steps, strict=True)), ...)]
        packed = b"".join(packed_bytes(tile.reshape(-1)[k : k + 1]) for k in range(tile.size))
        hashes.append(hashlib.sha256(packed).digest())
    head = json.dumps({"shape": values.shape, "dtype": digesting._describe(canonical)}, separators=(",", ":"))
    return "ca1:" + hashlib.sha256(head.encode() + b"".join(hashes)).hexdigest()


def packed_bytes(element):
    """Return the bytes of an array of one element, little-endian, without padding."""
    if element.dtype.names is None:
        return element.astype(element.dtype.newbyteorder("<")).tobytes()
    if element.size != 1:
        return b"".join(packed_bytes(element.reshape(-1)[k : k + 1]) for k in range(element.size))
    return b"".join(packed_bytes(element.reshape(1)[name]) for name in element.dtype.names)


def swapped(dtype):
    """Return the dtype in the other byte order, with padding at its end."""
    if dtype.names is None:
        return dtype.newbyteorder("S")
    fields = [(name, swapped(dtype.fields[name][0])) for name in dtype.names]
    packed = np.dtype(fields)
    offsets = [packed.fields[name][1] + 3 for name in packed.names]
    formats = [packed.fields[name][0] for name in packed.names]
    return np.dtype({
        "names": list(packed.names), "formats": formats, "offsets": offsets, "itemsize": packed.itemsize + 7,
    })  # fmt: skip


def recast(values, dtype):
    """Return equal values of another layout, with noise in the padding."""
    made = np.frombuffer(np.random.default_rng(1).bytes(values.size * dtype.itemsize), dtype).copy()
    made = made.reshape(values.shape)
    if dtype.names is None:
        made[...] = values
    else:
        for name in dtype.names:
            made[name] = values[name]
    return made


@given(values=arrays(shape=shapes(max_size=300)))
def test_the_digest_is_what_its_description_says(values):
    assert ca.asarray(values).digest() == by_hand(values)


@given(data=st.data(), dtype=dtypes() | st.sampled_from([PADDED, NESTED]))
def test_layout_chunks_and_blocks_do_not_count(data, dtype):
    values = data.draw(arrays(dtype=dtype, shape=shapes(max_size=300)))
    expected = ca.asarray(values).digest()
    other = recast(values, swapped(dtype))
    chunks = data.draw(chunks_of(values.shape))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digesting, "HELD", data.draw(st.sampled_from([0, 1 << 20])))
        assert ca.asarray(other, chunks=chunks).digest() == expected
        assert ca.asarray(np.asarray(values, order="F")).digest() == expected
        if values.ndim:
            assert ca.asarray(values[::-1])[::-1].digest() == expected


@pytest.mark.parametrize("case", [case for case in CASES if case.format in KEEPING], ids=lambda case: case.name)
@pytest.mark.parametrize("dtype", [">i2", "<f8", "S3", "<M8[us]", "padded"])
def test_every_format_that_keeps_a_dtype_has_the_same_digest(case, dtype, tmp_path):
    dtype = PADDED if dtype == "padded" else np.dtype(dtype)
    rng = np.random.default_rng(3)
    for shape in ((), (0, 3), (7, 5, 6)):
        values = recast(np.frombuffer(rng.bytes(math.prod(shape) * dtype.itemsize), dtype).reshape(shape), dtype)
        target = case.create_target(tmp_path, shape, dtype, overwrite=True)
        for box in target.grid if 0 not in shape else ():
            target.write(box, values[region_key(box)], np.empty(target.scratch_bytes(box), "u1"))
        target.commit()
        opened = ca.open(case.path(tmp_path), **case.open(shape, dtype))
        assert opened.digest() == ca.asarray(values).digest()


@given(data=st.data(), dtype=dtypes() | st.sampled_from([PADDED, NESTED]))
def test_one_flipped_bit_gives_another_digest(data, dtype):
    values = data.draw(arrays(dtype=dtype, shape=shapes(max_size=300).filter(math.prod)))
    packed = values.astype(canonical_dtype(dtype)).copy()
    raw = packed.reshape(-1).view(np.uint8)
    before = ca.asarray(packed.copy()).digest()
    raw[data.draw(st.integers(0, raw.size - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert ca.asarray(packed).digest() != before


def test_other_shapes_and_dtypes_have_other_digests():
    zeros = [np.zeros(6, "u1"), np.zeros((2, 3), "u1"), np.zeros((3, 2), "u1"), np.zeros((6, 1), "u1"),
             np.zeros(3, "u2"), np.zeros(6, "i1"), np.zeros(6, "?"), np.zeros(6, "S1"), np.zeros(6, "V1"),
             np.zeros(6, [("a", "u1")]), np.zeros(6, [("b", "u1")]), np.zeros(0, "u1"), np.zeros((0, 1), "u1"),
             np.zeros(0, "u2"), np.zeros((), "u1"), np.zeros(1, "M8[s]"), np.zeros(1, "M8[us]"), np.zeros(1, "i8"),
             np.zeros(1, [("a", "u1", (8,))]), np.zeros(1, [("a", "u1", (2, 4))]),
             np.array([-0.0]), np.array([0.0])]  # fmt: skip
    assert len({ca.asarray(z).digest() for z in zeros}) == len(zeros)


def test_the_bits_of_nan_are_kept():
    one, other = (np.array([bits], "u8").view("f8") for bits in (0x7FF0000000000001, 0x7FF8000000000000))
    assert np.isnan(one).all()
    assert ca.asarray(one).digest() != ca.asarray(other).digest()
    assert ca.asarray(one.astype(">f8").view(">f8")).digest() == ca.asarray(np.array(one, ">f8")).digest()
    big = np.array([0x7FF0000000000001], ">u8").view(">f8")
    assert ca.asarray(big).digest() == ca.asarray(one).digest()


def test_a_digest_does_not_change_between_versions():
    first = ca.arange(10, dtype="i8").digest()
    assert first == "ca1:7b561778ceb753a65be9d55af0c67d5c721198b48646052ca076dd0f46c33882"
    padded = ca.asarray(np.zeros((2, 2), PADDED)).digest()
    assert padded == "ca1:1d61bd67ccf5c2847c2beeea5bb77f77eaa2e00a652bf63cfa3e9442dc24a654"


def test_an_expression_has_the_digest_of_its_values():
    a = ca.arange(10_000).reshape(100, 100)
    values = np.arange(10_000).reshape(100, 100)
    assert (a.T * 2 + 1).digest() == ca.asarray(values.T * 2 + 1).digest()
    assert (a - a.mean(axis=0)).digest() == ca.asarray(values - values.mean(axis=0)).digest()


@pytest.mark.parametrize("dtype", ["g", "G", [("x", "f8"), ("y", "g")]])
def test_long_doubles_are_refused(dtype):
    with pytest.raises(UnsupportedError, match="astype"):
        ca.asarray(np.zeros(3, dtype)).digest()


@given(shape=shapes(max_size=10**6), itemsize=st.sampled_from([0, 1, 2, 3, 8, 24, 70_000]))
def test_tiles_follow_from_shape_and_itemsize_and_are_small(shape, itemsize):
    steps = tile_shape(shape, itemsize)
    assert len(steps) == len(shape)
    assert math.prod(steps) * itemsize <= max(digesting.TILE, itemsize)
    assert all(s & (s - 1) == 0 and s < 2 * max(1, n) for s, n in zip(steps, shape, strict=True))


@pytest.mark.parametrize("shared", [False, True])
def test_hashes_of_a_failed_run_are_removed(tmp_path, shared):
    target = DigestTarget((4, 4), np.dtype("f8"), str(tmp_path), shared=shared)
    assert target.distributable == shared
    target.write(whole((4, 4)), np.zeros((4, 4)), np.empty(target.scratch_bytes(whole((4, 4))), "u1"))
    target.abort()
    assert list(tmp_path.iterdir()) == []
