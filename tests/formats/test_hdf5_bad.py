"""HDF5 files that are damaged, or that would have other files read."""

from __future__ import annotations

import os
import zlib

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkarr.errors import ChunkarrError, CorruptChunkError, FormatError, UnsafeInputError, UnsupportedError
from chunkarr.formats import hdf5
from chunkarr.formats.hdf5_filters import DecodeError, Filter, decode, inflate
from tests.formats.test_hdf5 import put, read


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "a.h5")


def test_no_such_file(path):
    with pytest.raises(FileNotFoundError):
        hdf5.open(path)


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n", b"plain text" * 100])
def test_not_hdf5(path, content):
    with open(path, "wb") as file:
        file.write(content)
    with pytest.raises(FormatError, match=r"a\.h5: cannot be read: "):
        hdf5.open(path)


def test_directory_and_pipe(tmp_path):
    with pytest.raises((FormatError, OSError)):
        hdf5.open(str(tmp_path))
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.h5")
        with pytest.raises(FormatError, match="not a regular file"):
            hdf5.open(str(tmp_path / "pipe.h5"))


def test_truncated(path):
    put(path, np.arange(10000))
    os.truncate(path, os.path.getsize(path) // 2)
    with pytest.raises(FormatError, match=r"a\.h5: cannot be read: it is cut short: .*eof = "):
        hdf5.open(path)


def test_left_open_by_a_writer(path, tmp_path):
    with h5py.File(path, "w", libver="latest") as file:
        file["x"] = np.arange(3)
        file.swmr_mode = True
        file.flush()
        with open(path, "rb") as source:
            content = source.read()
    with open(tmp_path / "b.h5", "wb") as copy:
        copy.write(content)
    with pytest.raises(FormatError, match="h5clear -s"):
        hdf5.open(str(tmp_path / "b.h5"))


def test_external_storage(path, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"\x07" * 12)
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (3,), "i4", external=[(str(secret), 0, 12)])
    with pytest.raises(UnsafeInputError, match=r"a\.h5::/x: keeps its values in 1 other file"):
        hdf5.open(path)
    assert [found[:3] for found in hdf5.members(path)] == [("/x", None, None)]
    assert read(hdf5.open(path, allow_external=True)).tolist() == [0x07070707] * 3


def test_virtual_data_set(path, tmp_path):
    put(tmp_path / "source.h5", np.arange(4))
    layout = h5py.VirtualLayout((4,), "i8")
    layout[...] = h5py.VirtualSource(str(tmp_path / "source.h5"), "x", (4,))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("x", layout)
    with pytest.raises(UnsafeInputError, match="is a virtual data set"):
        hdf5.open(path)
    assert read(hdf5.open(path, allow_external=True)).tolist() == [0, 1, 2, 3]


def test_links(path, tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["g/x"] = np.arange(4)
    with h5py.File(path, "w") as file:
        file["g/x"] = np.arange(3)
        file["out"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/g")
        file["g/soft"] = h5py.SoftLink("x")
        file["soft"] = h5py.SoftLink("/g/soft")
        file["sly"] = h5py.SoftLink("/out/x")
        file["round"] = h5py.SoftLink("/round")
        file["dangling"] = h5py.SoftLink("/nowhere")
    assert read(hdf5.open(path, member="soft")).tolist() == [0, 1, 2]
    for member in ("out/x", "/sly"):
        with pytest.raises(UnsafeInputError, match="through the external link 'out'"):
            hdf5.open(path, member=member)
        assert read(hdf5.open(path, member=member, allow_external=True)).tolist() == [0, 1, 2, 3]
    with pytest.raises(FormatError, match="more than 16 soft links"):
        hdf5.open(path, member="round")
    with pytest.raises(FormatError, match="no 'nowhere'"):
        hdf5.open(path, member="dangling")


def test_tag_that_names_python_objects(path):
    """A type's tag becomes a dtype; one of objects would make pointers of the file's bytes."""
    kind = h5py.h5t.create(h5py.h5t.OPAQUE, 8)
    kind.set_tag(b"NUMPY:|O")
    with h5py.File(path, "w") as file:
        h5py.h5d.create(file.id, b"x", kind, h5py.h5s.create_simple((2,)))
    with pytest.raises(UnsupportedError, match="the dtype object"):
        hdf5.open(path)


def test_absurd_shape_costs_nothing(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (1 << 40, 1 << 20), "u1", chunks=(1 << 10, 1 << 10), compression="gzip")
        file.create_dataset("y", (1 << 40, 1 << 20), "f8", chunks=(1 << 10, 1 << 10))
    huge = hdf5.open(path, member="x")
    assert not read(huge, ((1 << 39, (1 << 39) + 2), (5, 9))).any()
    with pytest.raises(FormatError, match="more than any file can hold"):
        hdf5.open(path, member="y")


def test_contiguous_beyond_the_end(path):
    put(path, np.arange(1000, dtype="u1"))
    with h5py.File(path) as file:
        offset = file["x"].id.get_offset()
    with open(path, "r+b") as raw:
        content = raw.read()
        layout = b"\x03\x01" + offset.to_bytes(8, "little")  # layout message, version 3, contiguous
        assert content.count(layout) == 1
        raw.seek(content.index(layout) + 2)
        raw.write((len(content) - 10).to_bytes(8, "little"))
    with pytest.raises(FormatError, match=r"a\.h5"):
        hdf5.open(path)


def damaged(path, change, **options):
    """Write a data set of four chunks, apply ``change`` to the second one's bytes, and open it."""
    put(path, np.arange(400, dtype="i4"), chunks=(100,), **options)
    with h5py.File(path) as file:
        info = file["x"].id.get_chunk_info(1)
    with open(path, "r+b") as raw:
        raw.seek(info.byte_offset)
        stored = raw.read(info.size)
        raw.seek(info.byte_offset)
        raw.write(change(stored))
    return hdf5.open(path)


def bomb(stored):
    return zlib.compress(bytes(401))[: len(stored)].ljust(len(stored))


@pytest.mark.parametrize(
    ("change", "options", "reason"),
    [
        (lambda stored: bytes([stored[0] ^ 1]) + stored[1:], {"fletcher32": True}, "fletcher32 checksum"),
        (lambda stored: stored[:9] + b"\xff" * 20 + stored[29:], {"compression": "gzip"}, "deflate stream is damaged"),
        (lambda stored: stored[:-2] + b"zz", {"compression": "gzip"}, "damaged"),
        (bomb, {"compression": "gzip"}, "decodes to more than 400 bytes"),
        (lambda stored: zlib.compress(b"few").ljust(len(stored)), {"compression": "gzip"}, "3 bytes instead of 400"),
    ],
)
def test_damaged_chunk(path, change, options, reason):
    stored = damaged(path, change, **options)
    assert read(stored, ((0, 100),)).tolist() == list(range(100))
    with pytest.raises(CorruptChunkError, match=rf"a\.h5::/x: the chunk at \(100,\) .*{reason}"):
        read(stored, ((50, 150),))


def test_stored_size_that_is_absurd(path):
    """A chunk may claim to be larger than its values: nothing of that size is read."""
    with h5py.File(path, "w") as file:
        made = file.create_dataset("x", (100,), "u1", chunks=(50,), compression="gzip")
        made.id.write_direct_chunk((0,), bytes(100_000))
    with pytest.raises(CorruptChunkError, match="100000 stored bytes, more than"):
        read(hdf5.open(path))


def test_lzf_that_is_damaged(path):
    stored = damaged(path, lambda stored: stored[:-1] + b"?", compression="lzf", fletcher32=True)
    with pytest.raises(CorruptChunkError, match=r"a\.h5::/x: "):
        read(stored)


def test_filter_that_is_not_there(path):
    with h5py.File(path, "w") as file:
        made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        made.set_chunk((5,))
        made.set_filter(32999, h5py.h5z.FLAG_OPTIONAL)
        h5py.h5d.create(file.id, b"x", h5py.h5t.STD_I32LE, h5py.h5s.create_simple((10,)), made)
    with pytest.raises(UnsupportedError, match=r"a\.h5::/x: is compressed with filter 32999 .*chunkarr\[hdf5plugin\]"):
        hdf5.open(path)


def test_file_cut_after_opening(path):
    put(path, np.arange(4000), chunks=(500,))
    stored = hdf5.open(path)
    read(stored)
    os.truncate(path, os.path.getsize(path) // 2)
    with pytest.raises(ChunkarrError):
        read(stored)


@given(st.binary(max_size=200), st.integers(0, 7), st.permutations(["deflate", "shuffle", "fletcher32"]))
def test_any_bytes_decode_or_say_why(stored, mask, names):
    filters = [Filter(name, 4) for name in names]
    first, second = np.zeros((2, 4000), np.uint8)
    first[: len(stored)] = np.frombuffer(stored, np.uint8)
    try:
        values, _ = decode(first, len(stored), mask, filters, nbytes=64, itemsize=4, second=second)
    except DecodeError:
        return
    assert values.size == 64


@settings(max_examples=30)
@given(st.binary(max_size=3000), st.integers(0, 3000))
def test_inflate_stays_within_its_buffer(values, room):
    packed = np.frombuffer(zlib.compress(values), np.uint8)
    into = np.full(room + 8, 0xEE, np.uint8)
    if room >= len(values):
        assert inflate(packed, into[:room]) == len(values)
        assert into[: len(values)].tobytes() == values
        cut = packed[: packed.size // 2]
        with pytest.raises(DecodeError, match="cut"):
            inflate(cut, into[:room])
    else:
        with pytest.raises(DecodeError, match="more than"):
            inflate(packed, into[:room])
    assert (into[room:] == 0xEE).all()
