"""Zarr arrays that are cut, absurd, damaged or hostile: each ends in chunkarr's own error, in little memory."""

from __future__ import annotations

import copy
import json
import os
import tracemalloc
import zlib

import google_crc32c
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chunkarr.errors import ChunkarrError, CorruptChunkError, MetadataError, MissingChunkError, UnsupportedError
from chunkarr.formats import zarr as zarr_format
from chunkarr.grid import region_slices, whole

VALUES = np.arange(40, dtype="i4").reshape(4, 10)
PLAIN = {
    "zarr_format": 3,
    "node_type": "array",
    "shape": [4, 10],
    "data_type": "int32",
    "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [4, 10]}},
    "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
    "fill_value": 0,
    "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
    "attributes": {},
}


def read(stored):
    region = whole(stored.shape)
    out = np.empty(stored.shape, stored.dtype)
    stored.read(region, out, np.empty(stored.scratch_bytes(region), np.uint8))
    return out


def write(path, values=VALUES, **options):
    target = zarr_format.create(path, values.shape, values.dtype, durability="process", **options)
    for region in target.grid:
        target.write(region, values[region_slices(region)], np.empty(target.scratch_bytes(region), np.uint8))
    target.commit()
    return path


def put(path, text):
    path.mkdir(exist_ok=True)
    file = path / "zarr.json"
    if isinstance(text, dict):
        text = json.dumps(text)
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def changed(place, value):
    """Return the plain document with the value at ``place`` (keys joined by dots) replaced; ... removes it."""
    document = copy.deepcopy(PLAIN)
    inner = document
    *outer, last = [int(key) if key.isdigit() else key for key in place.split(".")]
    for key in outer:
        inner = inner[key]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return document


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "not valid JSON at byte 0"),
        (json.dumps(PLAIN)[:-7], "not valid JSON at byte"),
        (b"\xff\xfe\x00", "not valid JSON at byte 0: not UTF-8"),
        ("[" * 100_000, "nested deeper than 64"),
        ('{"a": ' + "[" * 70 + "]" * 70 + "}", "nested deeper than 64"),
        ("[]", "must hold a JSON object"),
        ('{"shape": [1], "shape": [2]}', 'key "shape" twice'),
        ('{"fill_value": NaN}', "NaN is not"),
        ('{"fill_value": -Infinity}', "Infinity is not"),
        ('{"shape": [' + "9" * 5000 + "]}", "too many digits"),
        ('{"zarr_format": 4}', '"zarr_format" must be one of 3, is 4'),
        ('{"zarr_format": 3, "node_type": "group"}', "is a Zarr group"),
    ],
)
def test_metadata_that_are_not_json_of_zarr(tmp_path, text, match):
    with pytest.raises(MetadataError, match=match) as caught:
        zarr_format.open(put(tmp_path / "a", text))
    assert str(tmp_path / "a/zarr.json") in str(caught.value)


def test_metadata_of_more_than_16_mib_are_not_read(tmp_path):
    put(tmp_path / "a", PLAIN)
    with (tmp_path / "a/zarr.json").open("ab") as file:
        file.truncate(17 << 20)
    with pytest.raises(MetadataError, match="17 MiB exceeds 16 MiB"):
        zarr_format.open(tmp_path / "a")


@pytest.mark.parametrize(
    ("place", "value", "match"),
    [
        ("shape", ..., 'key "shape" is missing'),
        ("shape", [-1, 10], r'"shape"\[0\] must be an integer 0\.\.\.2\*\*63-1, is -1'),
        ("shape", [4, 1e30], r'"shape"\[1\] must be an integer .* is 1e\+30'),
        ("shape", [100.5, 1], "is 100.5"),
        ("shape", [True, 1], "is true"),
        ("shape", ["100", 1], 'is "100"'),
        ("shape", [2**63, 1], "must be an integer"),
        ("shape", [2**40, 2**40], r"exceeds 2\*\*63-1"),
        ("shape", [0, 2**62], r"exceeds 2\*\*63-1"),
        ("shape", [1] * 1_000_000, "1000000 axes; at most 64"),
        ("shape", 4, "must be a list"),
        ("chunk_grid.configuration.chunk_shape", [0, 10], "must be an integer 1"),
        ("chunk_grid.configuration.chunk_shape", [-10, 10], "is -10"),
        ("chunk_grid.configuration.chunk_shape", [2**40, 1], "chunk 1099511627776 x 1 x 4 B = 4 TiB"),
        ("chunk_grid.configuration.chunk_shape", [10], "has 1 axes, the array has 2"),
        ("chunk_grid.configuration", {}, 'key "chunk_shape" is missing'),
        ("chunk_grid", 7, '"chunk_grid" must be a name or an object'),
        ("chunk_key_encoding.configuration.separator", "../", "must be one of"),
        ("fill_value", ..., 'key "fill_value" is missing'),
        ("fill_value", "x", '"fill_value"'),
        ("fill_value", 2**31, '"fill_value"'),
        ("fill_value", [1], '"fill_value"'),
        ("codecs", {}, '"codecs" must be a list'),
        ("codecs", [{"name": "transpose", "configuration": {"order": [0, 0]}}], "permutation"),
        ("codecs", [{"name": "bytes"}], 'needs "endian"'),
        ("codecs", [{"configuration": {}}], "must be a name or an object"),
        ("attributes", [], '"attributes" must be an object'),
        ("attributes", {"chunkarr": 1}, '"chunkarr" must be an object'),
        ("attributes", {"chunkarr": {"v": 1, "dtype": "<f4"}}, "attributes say dtype"),
        ("attributes", {"chunkarr": {"v": 1, "dtype": "<S4", "layout": "records"}}, "records of 4 B"),
        ("attributes", {"chunkarr": {"v": 1, "dtype": [["a"]]}}, "not known to NumPy"),
        ("attributes", {"chunkarr": {"v": 1, "dtype": "<i4", "generation": "x"}}, "generation"),
    ],
)
def test_absurd_metadata(tmp_path, place, value, match):
    with pytest.raises(MetadataError, match=match):
        zarr_format.open(put(tmp_path / "a", changed(place, value)))


@pytest.mark.parametrize(
    ("place", "value", "match"),
    [
        ("codecs", [*PLAIN["codecs"], {"name": "evil"}], 'codec "evil"'),
        ("data_type", "int7", "int7"),
        ("data_type", "object", "object"),
        ("surprise", {"name": "x"}, '"surprise" must be understood'),
        ("storage_transformers", [{"name": "x"}], "storage transformers"),
        ("chunk_key_encoding", {"name": "hashed"}, "hashed"),
        ("attributes", {"chunkarr": {"v": 2}}, "newer chunkarr"),
        ("attributes", {"chunkarr": {"v": 1, "dtype": "|O"}}, "never unpickles"),
    ],
)
def test_what_nothing_here_can_read(tmp_path, place, value, match):
    with pytest.raises(UnsupportedError, match=match):
        zarr_format.open(put(tmp_path / "a", changed(place, value)))


def test_an_unknown_key_that_need_not_be_understood_is_passed_over(tmp_path):
    put(tmp_path / "a", changed("surprise", {"must_understand": False}))
    assert zarr_format.open(tmp_path / "a").shape == (4, 10)


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        ("dtype", "|O", UnsupportedError),
        ("dtype", "evil", MetadataError),
        ("dtype", [["a", "<f4"], 3], MetadataError),
        ("compressor", {"id": "evil"}, UnsupportedError),
        ("compressor", 7, MetadataError),
        ("filters", [{"id": "pickle"}], UnsupportedError),
        ("order", "K", MetadataError),
        ("chunks", [0, 1], MetadataError),
    ],
)
def test_bad_v2_metadata(tmp_path, key, value, error):
    document = {
        "zarr_format": 2, "shape": [4, 10], "chunks": [4, 10], "dtype": "<i4", "compressor": None,
        "fill_value": 0, "order": "C", "filters": None, key: value,
    }  # fmt: skip
    (tmp_path / ".zarray").write_text(json.dumps(document))
    with pytest.raises(error):
        zarr_format.open(tmp_path)


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="No Zarr array there"):
        zarr_format.open(tmp_path)
    (tmp_path / "file.zarr").write_bytes(b"x" * 100)
    with pytest.raises(MetadataError, match="neither a directory nor a zip"):
        zarr_format.open(tmp_path / "file.zarr")
    (tmp_path / ".zgroup").write_text("{}")
    with pytest.raises(MetadataError, match="is a Zarr group"):
        zarr_format.open(tmp_path)
    (tmp_path / "b").mkdir()
    (tmp_path / "b/zarr.json").symlink_to("/etc/passwd")
    with pytest.raises(MetadataError, match="symbolic link"):
        zarr_format.open(tmp_path / "b")


LAYOUTS = [
    {"codec": codec, "chunks": chunks, "shards": shards}
    for codec in ("blosc-lz4", "zstd", "gzip", None)
    for chunks, shards in [((4, 5), False), ((3, 4), False), ((2, 2), (4, 6))]
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: "-".join(map(str, layout.values())))
def test_every_damage_of_a_chunk_file_is_found(tmp_path, layout):
    path = write(tmp_path / "a", **layout)
    file = path / "c/0/1"
    good = file.read_bytes()

    def refused(raw, error=CorruptChunkError):
        file.write_bytes(raw)
        with pytest.raises(error) as caught:
            read(zarr_format.open(path))
        assert "c/0/1" in str(caught.value)
        assert str(path) in str(caught.value)

    for raw in (b"", good[:1], good[:-1], good[: len(good) // 2], good + b"\0", bytes(len(good))):
        refused(raw)
    if not layout["shards"]:  # bytes that a shard's index does not point to are allowed
        refused(good + good)
    for at in range(0, len(good), max(1, len(good) // 40)):
        flipped = bytearray(good)
        flipped[at] ^= 0x10
        refused(bytes(flipped))
    file.unlink()
    stored = zarr_format.open(path)
    with pytest.raises(MissingChunkError, match="c/0/1") as caught:
        read(stored)
    assert isinstance(caught.value, FileNotFoundError)
    assert str(path) in str(caught.value)
    file.symlink_to(path / "c/0/0")
    with pytest.raises(CorruptChunkError, match="symbolic link"):
        read(stored)
    file.unlink()
    file.mkdir()
    with pytest.raises(CorruptChunkError, match="not a file"):
        read(stored)
    file.rmdir()
    os.mkfifo(file)
    with pytest.raises(CorruptChunkError):
        read(stored)
    file.unlink()
    file.write_bytes(good)
    np.testing.assert_array_equal(read(stored), VALUES)
    file.unlink()
    got = read(zarr_format.open(path, missing="fill"))
    assert (got[0, 0], got[0, 7]) == (0, 0)
    assert got[0, 2] == 2


def test_a_directory_that_is_a_link_is_refused(tmp_path):
    path = write(tmp_path / "a", chunks=(2, 5))
    (path / "c/1").rename(tmp_path / "elsewhere")
    (path / "c/1").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CorruptChunkError, match="symbolic link"):
        read(zarr_format.open(path))
    (path / "c/1").unlink()
    (path / "c/1").write_bytes(b"x")
    with pytest.raises(CorruptChunkError, match="not a file"):
        read(zarr_format.open(path))


def test_missing_chunks_of_others_are_fill_values_unless_refused(tmp_path):
    put(tmp_path / "a", changed("fill_value", 7))
    assert (read(zarr_format.open(tmp_path / "a")) == 7).all()
    with pytest.raises(MissingChunkError):
        read(zarr_format.open(tmp_path / "a", missing="error"))
    before = zarr_format.open(tmp_path / "a").generation()
    (tmp_path / "a/c").mkdir()
    assert zarr_format.open(tmp_path / "a").generation() != before


def encode(codec, raw):
    if codec == "blosc":
        from numcodecs import blosc

        return blosc.compress(raw, b"lz4", 5, 1)
    if codec == "zstd":
        from numcodecs import zstd

        return zstd.compress(raw, 1)
    stream = zlib.compressobj(1, zlib.DEFLATED, 31)
    return stream.compress(raw) + stream.flush()


def hide_zstd_size(frame):
    """Return a zstd frame of one raw or RLE block of many bytes that does not say its size."""
    del frame
    block = ((128 << 10) << 3 | 1 << 1).to_bytes(3, "little") + b"\0"
    last = ((128 << 10) << 3 | 1 << 1 | 1).to_bytes(3, "little") + b"\0"
    return b"\x28\xb5\x2f\xfd\x00\x58" + block * 200 + last


@pytest.mark.parametrize("codec", ["blosc", "zstd", "gzip", "zstd-unsized"])
@pytest.mark.parametrize("crc", [False, True])
def test_a_chunk_that_decodes_to_more_or_less_costs_no_memory(tmp_path, codec, crc):
    name = codec.partition("-")[0]
    codecs = [*PLAIN["codecs"], {"name": name, "configuration": {}}, *([{"name": "crc32c"}] if crc else [])]
    path = put(tmp_path / "a", changed("codecs", codecs))
    (path / "c/0").mkdir(parents=True)
    stored = zarr_format.open(path)
    read_nothing_first(stored)
    for nbytes in (64 << 20, 161, 159, 0):
        raw = encode(name, bytes(nbytes))
        raw = hide_zstd_size(raw) if codec == "zstd-unsized" else raw
        raw = raw[:1184] if name == "gzip" else raw  # what fits in the file that is allowed
        (path / "c/0/0").write_bytes(raw + google_crc32c.value(raw).to_bytes(4, "little") * crc)
        tracemalloc.start()
        with pytest.raises(CorruptChunkError):
            read(stored)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 1 << 20


def read_nothing_first(stored):
    """Import the codec before memory is measured."""
    assert (read(stored) == 0).all()


def test_an_index_that_lies_is_refused(tmp_path):
    path = write(tmp_path / "a", chunks=(2, 5), shards=(4, 10))
    file = path / "c/0/0"
    good = file.read_bytes()
    index = np.frombuffer(good[-68:-4], "<u8").copy().reshape(-1, 2)
    for entry in ([2**63, 10], [0, 2**40], [len(good), 8], [0, 0], [2**64 - 1, 5], [2**64 - 2, 2]):
        index[1] = entry
        raw = index.tobytes()
        file.write_bytes(good[:-68] + raw + google_crc32c.value(raw).to_bytes(4, "little"))
        with pytest.raises(CorruptChunkError, match="index says"):
            read(zarr_format.open(path))
    index[1] = 2**64 - 1
    raw = index.tobytes()
    file.write_bytes(good[:-68] + raw + google_crc32c.value(raw).to_bytes(4, "little"))
    with pytest.raises(MissingChunkError):
        read(zarr_format.open(path))
    expected = VALUES.copy()
    expected[:2, 5:] = 0
    np.testing.assert_array_equal(read(zarr_format.open(path, missing="fill")), expected)


def test_absurd_shards(tmp_path):
    path = write(tmp_path / "a", chunks=(2, 5), shards=(4, 10))
    good = json.loads((path / "zarr.json").read_text())
    for chunk, match in [([3, 5], "whole numbers"), ([0, 5], "integer 1"), ([2], "1 axes")]:
        document = copy.deepcopy(good)
        document["codecs"][0]["configuration"]["chunk_shape"] = chunk
        with pytest.raises(MetadataError, match=match):
            zarr_format.open(put(path, document))
    document = copy.deepcopy(good)
    document["codecs"][0]["configuration"]["chunk_shape"] = [1, 1]
    document["chunk_grid"]["configuration"]["chunk_shape"] = [2**15, 2**15]
    with pytest.raises(MetadataError, match="index of a shard"):
        zarr_format.open(put(path, document))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mutated_metadata_end_in_chunkarrs_errors(tmp_path_factory, data):
    text = bytearray(json.dumps(PLAIN).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at : at + data.draw(st.integers(0, 4))] = data.draw(st.sampled_from(
            [b"", b"9", b"-1", b"1e9", b"null", b"true", b"[", b"}", b'"', b"\xff", b"18446744073709551616"]
        ))  # fmt: skip
    path = put(tmp_path_factory.mktemp("mutant") / "a", bytes(text))
    stored, message = None, ""
    try:
        stored = zarr_format.open(path)
    except ChunkarrError as error:
        message = str(error)
    if stored is None:
        assert str(path) in message
    else:
        assert stored.dtype.itemsize > 0
        assert len(stored.shape) == len(stored.grid.steps)
