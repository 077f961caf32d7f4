"""Packed integers: a reference that shifts bit by bit, written from the layouts' descriptions, is the oracle."""

from __future__ import annotations

import os
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chunkarr as ca
from chunkarr.errors import CorruptChunkError, FormatError, GenerationChangedError, OptionError, UnsupportedError
from chunkarr.formats import packed, packed_stored
from chunkarr.formats.packed_codec import GUARD, decode, decode_work, encode, encode_work
from chunkarr.formats.packed_layouts import NAMES, Layout, layout_of, stream
from chunkarr.grid import Region, region_shape, region_slices, whole
from tests.oracle import same

CAMERA = ("raw10", "raw12", "raw14", "mono10packed", "mono12packed", "v210")
STREAMS = [stream(bits, bitorder) for bits in range(1, 33) for bitorder in ("little", "big")]


def pack_stream(samples: list[int], bits: int, bitorder: str) -> bytes:
    """Pack by one large integer: its lowest bits are the first bytes ("little"), or its highest ("big")."""
    size = -(-len(samples) * bits // 8)
    total = 0
    if bitorder == "little":
        for place, sample in enumerate(samples):
            total |= sample << (place * bits)
        return total.to_bytes(size, "little")
    for sample in samples:
        total = total << bits | sample
    return (total << (8 * size - len(samples) * bits)).to_bytes(size, "big")


def pack_camera(name: str, samples: list[int]) -> bytes:
    """Pack whole groups as the documents of MIPI CSI-2, GigE Vision and v210 draw them."""
    out = bytearray()
    if name in ("raw10", "raw14"):
        low = int(name[3:]) - 8
        for p in zip(*[iter(samples)] * 4, strict=True):
            rest = sum((x & ((1 << low) - 1)) << (low * k) for k, x in enumerate(p))
            out += bytes(x >> low for x in p) + rest.to_bytes(low // 2, "little")
    elif name == "raw12":
        for a, b in zip(*[iter(samples)] * 2, strict=True):
            out += bytes((a >> 4, b >> 4, (a & 15) | (b & 15) << 4))
    elif name == "mono10packed":
        for a, b in zip(*[iter(samples)] * 2, strict=True):
            out += bytes((a >> 2, (a & 3) | (b & 3) << 4, b >> 2))
    elif name == "mono12packed":
        for a, b in zip(*[iter(samples)] * 2, strict=True):
            out += bytes((a >> 4, (a & 15) | (b & 15) << 4, b >> 4))
    else:
        for a, b, c in zip(*[iter(samples)] * 3, strict=True):
            out += (a | b << 10 | c << 20).to_bytes(4, "little")
    return bytes(out)


def reference(layout: Layout, samples: list[int]) -> bytes:
    """Pack ``samples``, not necessarily whole groups."""
    if layout.name in CAMERA:
        padded = samples + [0] * (-len(samples) % layout.samples)
        return pack_camera(layout.name, padded)[: layout.span(len(samples))]
    bitorder = "big" if layout.name.endswith(("big", "be")) else "little"
    return pack_stream(samples, layout.bits, bitorder)


layouts = st.one_of(st.sampled_from(STREAMS), st.sampled_from(list(NAMES.values())))


def options_of(layout: Layout) -> dict[str, Any]:
    if layout.name in NAMES:
        return {"layout": layout.name}
    return {"bits": layout.bits, "bitorder": layout.name.split()[1]}


def random_samples(rng: np.random.Generator, bits: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return integers of ``bits`` bits; the largest, the least and others."""
    values = rng.integers(0, 1 << bits, shape, dtype=np.uint64)
    values[rng.random(shape) < 0.1] = (1 << bits) - 1
    return values


def encoded(value: int, bits: int, signed: Any) -> int:
    """Return the bits of a value."""
    return value + (1 << (bits - 1)) if signed == "offset" else value & ((1 << bits) - 1)


def read(stored: Any, region: Region | None = None, order: str = "C") -> np.ndarray:
    region = whole(stored.shape) if region is None else region
    out = np.empty(region_shape(region), stored.dtype, order=order)
    room = np.full(stored.scratch_bytes(region) + 64, 0xA5, "u1")
    stored.read(region, out, room[:-64])
    assert (room[-64:] == 0xA5).all()
    return out


@pytest.mark.parametrize("layout", STREAMS + list(NAMES.values()), ids=lambda layout: layout.name)
def test_every_width_and_layout_both_ways(layout: Layout) -> None:
    groups = 11
    values = random_samples(np.random.default_rng(layout.bits), layout.bits, (groups * layout.samples,))
    values = values.astype(layout.dtype(signed=False))
    expected = np.frombuffer(reference(layout, values.tolist()), "u1")
    assert expected.nbytes == groups * layout.nbytes
    found = np.full(expected.nbytes + GUARD, 0xA5, "u1")
    encode(layout, values, groups, found[:-GUARD], np.empty(encode_work(groups), "u1"))
    np.testing.assert_array_equal(found[:-GUARD], expected)
    assert (found[-GUARD:] == 0xA5).all()
    back = np.empty_like(values)
    decode(layout, found, groups, back, np.empty(decode_work(groups), "u1"))
    np.testing.assert_array_equal(back, values)


@given(data=st.data(), layout=layouts, signed=st.sampled_from([False, True, "offset"]), order=st.sampled_from("CF"))
def test_any_region_of_any_file(data: st.DataObject, layout: Layout, signed: Any, order: str) -> None:
    shape = data.draw(st.lists(st.integers(0, 9), min_size=0, max_size=3).map(tuple))
    align = data.draw(st.sampled_from([None, 1, 16]))
    offset = data.draw(st.integers(0, 5))
    samples = random_samples(np.random.default_rng(data.draw(st.integers(0, 9))), layout.bits, shape)
    bits = layout.bits
    values = samples.astype("i8")
    if signed:
        values -= 1 << (bits - 1)
    rows = [[encoded(v, bits, signed) for v in row] for row in rows_of(values, order)]
    if align is None:
        body = reference(layout, [x for row in rows for x in row])
    else:
        width = max(1, -(-layout.span(len(rows[0]) if rows else 0) // align) * align)
        body = b"".join(reference(layout, row).ljust(width, b"\xff") for row in rows)
    dtype = layout.dtype(bool(signed))
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "a.bin")
        Path(path).write_bytes(b"#" * offset + body + b"tail")
        given_options = {**options_of(layout), "signed": signed, "order": order, "row_align": align}
        stored = packed.open(path, shape=shape, offset=offset, **given_options)
        same(read(stored), values.astype(dtype))
        for _ in range(3):
            region = tuple(tuple(sorted((data.draw(st.integers(0, n)), data.draw(st.integers(0, n))))) for n in shape)
            same(
                read(stored, region, data.draw(st.sampled_from("CF"))),
                values.astype(dtype)[(*region_slices(region), ...)],
            )
        new = os.path.join(directory, "b.packed")
        ca.save(new, values, **given_options)
        assert Path(new).stat().st_size == len(body)
        same(ca.open(new, shape=shape, **given_options).compute(), values.astype(dtype))


def rows_of(values: np.ndarray, order: str) -> list[list[int]]:
    lines = values.T if order == "F" else values
    return lines.reshape(-1, lines.shape[-1] if lines.ndim else 1).tolist() if lines.size else []


@given(data=st.data(), layout=layouts, piece=st.integers(1, 70))
def test_small_pieces_make_no_difference(data: st.DataObject, layout: Layout, piece: int) -> None:
    shape = data.draw(st.sampled_from([(150,), (13, 17), (5, 4, 11), (3, 1, 40)]))
    values = random_samples(np.random.default_rng(3), layout.bits, shape).astype(layout.dtype(signed=False))
    stride = data.draw(st.sampled_from([None, layout.span(shape[-1]) + 3]))
    region = tuple(tuple(sorted((data.draw(st.integers(0, n)), data.draw(st.integers(0, n))))) for n in shape)
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as directory:
        patch.setattr(packed_stored, "PIECE", piece)
        path = os.path.join(directory, "a.packed")
        stored_options = {**options_of(layout), "row_stride": stride}
        target = packed.create(path, shape, values.dtype, **stored_options)
        cut = [sorted({0, data.draw(st.integers(0, n)), n}) for n in shape]
        if target.distributable:
            cut[-1] = [x - x % layout.samples if x < shape[-1] else x for x in cut[-1]]
        for box in boxes(cut):
            room = np.full(target.scratch_bytes(box) + 64, 0xA5, "u1")
            target.write(box, np.asfortranarray(values[region_slices(box)]), room[:-64])
            assert (room[-64:] == 0xA5).all()
        target.commit()
        if stride is None:
            assert Path(path).read_bytes() == reference(layout, values.reshape(-1).tolist())
        stored = packed.open(path, shape=shape, **stored_options)
        same(read(stored), values)
        same(read(stored, region, "F"), values[region_slices(region)])


def boxes(cut: list[list[int]]) -> list[Region]:
    found: list[Region] = [()]
    for places in cut:
        found = [(*box, pair) for box in found for pair in pairwise(places)]
    return found


@pytest.mark.parametrize(
    ("name", "usual"),
    [
        ("MIPI RAW12", "raw12"),
        ("SRGGB10P", "raw10"),
        ("sgrbg14p", "raw14"),
        ("BayerRG12p", "mono12p"),
        ("BayerGB10Packed", "mono10packed"),
        ("Mono12Packed", "mono12packed"),
        ("24-LE", "24le"),
    ],
)
def test_other_names(name: str, usual: str) -> None:
    assert layout_of(name).name == usual


def bad(reason: str, error: type[Exception] = OptionError, **options: Any) -> Any:
    return pytest.param(options, error, reason, id=reason)


@pytest.mark.parametrize(
    ("options", "error", "reason"),
    [
        bad("packed integers need layout= one of raw10,"),
        bad("layout 'raw11' is not known", layout="raw11"),
        bad("says bits and bitorder already", layout="raw12", bits=12),
        bad("bits is an integer, 1 to 32, not 33", bits=33, bitorder="big"),
        bad("not 0", bits=0, bitorder="big"),
        bad("not True", bits=True, bitorder="big"),
        bad("not 12.0", bits=12.0, bitorder="big"),
        bad('bits=12 needs bitorder="little"', bits=12),
        bad("not 'msb'", bits=12, bitorder="msb"),
        bad("signed is False, True .* not 'yes'", layout="raw12", signed="yes"),
        bad("at most one -1", layout="raw12", shape=(-1, -1)),
        bad("offset is a number of bytes, 0 or more, not -1", layout="raw12", offset=-1),
        bad("footer is a number of bytes, 0 or more, not 1.5", layout="raw12", footer=1.5),
        bad("row_stride is a number of bytes, 1 or more, not 0", layout="raw12", row_stride=0, shape=(2, 2)),
        bad("row_stride is 2 B, but a row of 2 samples .raw12. has 3 B", layout="raw12", row_stride=2, shape=(2, 2)),
        bad("give one of them", layout="raw12", row_stride=3, row_align=4, shape=(2, 2)),
        bad("length of rows that do not follow each other", layout="raw12", row_stride=3),
        bad("no bytes per step", layout="raw12", shape=(-1, 0)),
        bad('partial is "error" or "drop"', layout="raw12", partial="pad"),
        bad('order is "C" or "F"', layout="raw12", order="K"),
        bad("1001 B is not a whole number of 12-bit values .* 4 bits are left over", FormatError, layout="mono12p"),
        bad(
            "1001 B is not a whole number of rows of 7 10-bit values",
            FormatError,
            bits=10,
            bitorder="big",
            shape=(-1, 7),
        ),
        bad(
            "1001 B is not a whole number of 1 rows of 20 B", FormatError, layout="raw12", row_stride=20, shape=(-1, 9)
        ),
        bad("1 B are left over", FormatError, layout="v210"),
        bad("less than offset 1000 B and footer 2 B", FormatError, layout="raw12", offset=1000, footer=2),
        bad(r"shape \(668,\) of raw12 integers needs 1002 B .* has 1001 B", FormatError, layout="raw12", shape=668),
        bad(r"more than 2\*\*63-1 B", OptionError, bits=1, bitorder="big", shape=(1 << 40, 1 << 40)),
        bad("cannot be changed in place", UnsupportedError, layout="raw12", mode="r+"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, options: Any, error: type[Exception], reason: str) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(1001))
    with pytest.raises(error, match=reason) as caught:
        packed.open(str(path), **options)
    assert error is OptionError or str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"layout": "mono12p", "partial": "drop"}, (667,)),
        ({"layout": "mono12p", "footer": 2}, (666,)),
        ({"layout": "mono12p", "shape": 667}, (667,)),
        ({"layout": "raw10", "offset": 1}, (800,)),
        ({"bits": 1, "bitorder": "big", "shape": (-1, 8)}, (1001, 8)),
        ({"layout": "v210", "offset": 1}, (750,)),
        ({"layout": "raw12", "shape": (-1, 4), "row_stride": 100, "partial": "drop"}, (10, 4)),
        ({"layout": "raw12", "shape": (-1, 4), "row_stride": 10, "offset": 5}, (100, 4)),  # the last row lacks its gap
        ({"layout": "raw12", "shape": (4, -1), "row_stride": 10, "offset": 1, "order": "F"}, (4, 100)),
        ({"layout": "raw12", "shape": (-1, 5, 4), "row_stride": 10, "partial": "drop"}, (20, 5, 4)),
        ({"layout": "raw12", "shape": ()}, ()),
    ],
)
def test_one_axis_may_be_open(tmp_path: Path, options: Any, shape: tuple[int, ...]) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(1001))
    stored = packed.open(str(path), **options)
    assert stored.shape == shape
    assert not read(stored).any()


def test_an_empty_file_has_no_samples(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"")
    assert packed.open(str(tmp_path / "a.bin"), layout="raw12").shape == (0,)
    assert packed.open(str(tmp_path / "a.bin"), layout="raw12", shape=(-1, 4), row_stride=8).shape == (0, 4)


@pytest.mark.parametrize(
    ("values", "options", "reason"),
    [
        (
            np.array([[0, 1], [2, 4096]]),
            {"layout": "raw12"},
            r"value 4096 at \(1, 1\) does not fit 12 unsigned bits, 0 to 4095",
        ),
        (np.array([5, -1], "i2"), {"layout": "raw12"}, r"value -1 at \(1,\)"),
        (np.array([-9], ">i4"), {"bits": 4, "bitorder": "big", "signed": True}, "does not fit 4 signed bits, -8 to 7"),
        (np.array([1 << 63], "u8"), {"bits": 32, "bitorder": "big"}, "value 9223372036854775808"),
    ],
)
def test_values_that_do_not_fit_are_refused(tmp_path: Path, values: Any, options: Any, reason: str) -> None:
    with pytest.raises(OverflowError, match=reason):
        ca.save(tmp_path / "a.packed", values, **options)
    assert os.listdir(tmp_path) == []


def test_floats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="cannot hold dtype float64; use astype"):
        ca.save(tmp_path / "a.packed", np.zeros(3), layout="raw12")


def test_a_camera_dump_is_an_array_like_any_other(tmp_path: Path) -> None:
    frames = random_samples(np.random.default_rng(0), 12, (4, 30, 50)).astype("u2")
    rows = frames.reshape(-1, 50).tolist()
    dump = tmp_path / "scan.raw"
    dump.write_bytes(b"H" * 64 + b"".join(pack_camera("raw12", row).ljust(96, b"\0") for row in rows))
    a = ca.open(dump, layout="SRGGB12P", shape=(-1, 30, 50), offset=64, row_align=32)
    assert (a.shape, a.dtype, a.format) == ((4, 30, 50), np.dtype("u2"), "packed")
    same(a[::2, 5:20:3, ::-1].compute(), frames[::2, 5:20:3, ::-1])
    same(a.mean(axis=0).compute(), frames.mean(axis=0))
    with ca.config.set(memory="16 MiB"):
        ca.save(tmp_path / "scan.npy", a)
    same(np.load(tmp_path / "scan.npy"), frames)


def test_a_file_that_is_cut_or_changed_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.packed"
    ca.save(path, np.arange(4000, dtype="u2"), layout="raw12")
    stored = packed.open(str(path), layout="raw12")
    os.truncate(path, 100)
    with pytest.raises((CorruptChunkError, GenerationChangedError)):
        read(stored)
    os.truncate(path, 99)
    assert stored.fresh().shape == (66,)
