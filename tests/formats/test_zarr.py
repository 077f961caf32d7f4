"""Zarr arrays read and written by chunkarr, against NumPy and against what other libraries write and read."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chunkarr.errors import (
    GridError,
    MetadataError,
    MissingChunkError,
    OptionError,
    StaleExpressionError,
    TargetExistsError,
    UnsupportedError,
)
from chunkarr.formats import zarr as zarr_format
from chunkarr.grid import region_shape, region_slices, whole

RECORD = np.dtype({"names": ["a", "b"], "formats": [">f4", "i2"], "offsets": [1, 7], "itemsize": 12})
NATIVE = ["?", "i1", ">i2", "<u4", "f2", ">f4", "f8", "c8", ">c16"]
OTHER = ["S5", "<U3", ">U2", "V7", "M8[ns]", ">M8[25s]", "m8[D]", RECORD, "g"]


def read(stored, region=None, out=None):
    region = whole(stored.shape) if region is None else region
    out = np.empty(region_shape(region), stored.dtype) if out is None else out
    stored.read(region, out, np.empty(stored.scratch_bytes(region), np.uint8))
    return out


def write(path, values, **options):
    target = zarr_format.create(path, values.shape, values.dtype, durability="process", **options)
    for region in target.grid:
        target.write(region, values[(*region_slices(region), ...)], np.empty(target.scratch_bytes(region), np.uint8))
    target.commit()
    return zarr_format.open(path)


def some(shape, dtype, seed=0):
    """Return random bytes as values of ``dtype`` that compare equal to themselves."""
    dtype = np.dtype(dtype)
    rng = np.random.default_rng(seed)
    if dtype.kind in "biufcmM" and dtype.char != "g":
        return rng.integers(0, 2 if dtype.kind == "b" else 100, shape).astype(dtype)
    if dtype.kind == "U":
        return rng.integers(0, 10, shape).astype(dtype)
    values = np.zeros(shape, dtype)
    if dtype.char == "g":
        values[...] = rng.random(shape)
        return values
    values.reshape(-1).view("u1")[...] = rng.integers(1, 60, values.nbytes)
    return values


def same(got, expected):
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    # As bytes: NumPy's copies of structures lose their padding.
    raw = f"V{got.dtype.itemsize}"
    assert got.view(raw).tobytes() == expected.view(raw).tobytes()


@pytest.mark.parametrize("dtype", NATIVE + OTHER, ids=str)
@pytest.mark.parametrize("shards", [False, (4, 6)])
def test_any_dtype_comes_back_to_the_byte(tmp_path, dtype, shards):
    values = some((5, 7), dtype)
    stored = write(tmp_path / "a.zarr", values, chunks=(2, 3), shards=shards)
    same(read(stored), values)
    same(read(stored, ((1, 4), (2, 7))), values[1:4, 2:7])


@pytest.mark.parametrize("codec", ["blosc-lz4", "blosc-zstd", "zstd", "zstd:5", "gzip:1", "none", None])
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_codec_is_read_equal_here_and_by_others(tmp_path, codec, order):
    zarr = pytest.importorskip("zarr")
    values = some((7, 9, 4), ">i4")
    for shards in (False, (4, 8, 4)):
        path = tmp_path / f"a{shards}.zarr"
        stored = write(path, values, chunks=(2, 4, 4), shards=shards, codec=codec, order=order)
        same(read(stored), values)
        np.testing.assert_array_equal(zarr.open_array(path, mode="r")[...], values)


def test_tensorstore_and_zarrs_read_what_is_written(tmp_path):
    tensorstore = pytest.importorskip("tensorstore")
    for dtype, options in [("f4", {}), ("u2", {"shards": (8, 8), "order": "F"}), ("S3", {"codec": "zstd"})]:
        values = some((9, 13), dtype)
        path = tmp_path / f"{dtype}.zarr"
        write(path, values, chunks=(4, 4), **options)
        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path)}}
        got = tensorstore.open(spec).result().read().result()
        same(np.ascontiguousarray(got).view(dtype).reshape(values.shape), values)


def zarr_arrays():
    """Yield names and options of arrays that zarr-python writes."""
    from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, GzipCodec, TransposeCodec, ZstdCodec

    for name, codecs in {
        "blosc-lz4": [BloscCodec(cname="lz4")],
        "blosc-zstd": [BloscCodec(cname="zstd", shuffle="bitshuffle")],
        "zstd-checksum": [ZstdCodec(level=3, checksum=True)],
        "gzip-crc": [GzipCodec(), Crc32cCodec()],
        "crc": [Crc32cCodec()],
        "none": None,
    }.items():
        yield name, {"compressors": codecs}
        yield f"{name} sharded", {"compressors": codecs, "shards": (4, 6, 10)}
    yield "transposed", {"filters": [TransposeCodec(order=(2, 0, 1))], "compressors": [ZstdCodec()]}
    yield "transposed raw", {"filters": [TransposeCodec(order=(1, 2, 0))], "compressors": None}
    yield "transposed sharded", {"filters": [TransposeCodec(order=(2, 0, 1))], "shards": (4, 6, 10)}
    yield "big endian", {"serializer": BytesCodec(endian="big")}
    yield "v2 keys", {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
    yield "dots", {"chunk_key_encoding": {"name": "default", "separator": "."}}


def test_arrays_of_zarr_python_v3(tmp_path):
    zarr = pytest.importorskip("zarr")
    values = some((5, 9, 11), "i4")
    for number, (name, options) in enumerate(zarr_arrays()):
        path = tmp_path / f"{number}.zarr"
        array = zarr.create_array(path, shape=values.shape, chunks=(2, 3, 5), dtype="i4", fill_value=7, **options)
        array[:4] = values[:4]
        stored = zarr_format.open(path)
        assert type(stored) is zarr_format.ZarrArray, name
        expected = array[...]
        np.testing.assert_array_equal(read(stored), expected, err_msg=name)
        for region in [((1, 4), (2, 8), (3, 11)), ((4, 5), (0, 9), (0, 1)), ((0, 2), (3, 6), (5, 10))]:
            np.testing.assert_array_equal(read(stored, region), expected[region_slices(region)], err_msg=name)


@pytest.mark.parametrize("dtype", ["i4", ">f8", "?", "c8", "S4", "<U3", ">U2", "M8[s]", [("x", ">i2"), ("y", "f4")]])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_zarr_python_v2(tmp_path, dtype, order):
    zarr = pytest.importorskip("zarr")
    numcodecs = pytest.importorskip("numcodecs")
    values = some((5, 7), dtype)
    codecs = [numcodecs.Blosc(), numcodecs.Zstd(), numcodecs.GZip(), numcodecs.Zlib(), None]
    for number, compressor in enumerate(codecs):
        path = tmp_path / f"{number}.zarr"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            array = zarr.create_array(
                path, shape=(5, 7), chunks=(2, 3), dtype=values.dtype, zarr_format=2, order=order,
                compressors=compressor, chunk_key_encoding={"name": "v2", "separator": "./"[number % 2]},
            )  # fmt: skip
            array[...] = values
        stored = zarr_format.open(path)
        assert type(stored) is zarr_format.ZarrArray
        same(read(stored), values)


def test_arrays_of_tensorstore_and_zarrs(tmp_path):
    tensorstore = pytest.importorskip("tensorstore")
    values = some((9, 13), "u2")
    for number, codecs in enumerate([
        [{"name": "bytes", "configuration": {"endian": "big"}}, {"name": "gzip", "configuration": {"level": 1}}],
        [{"name": "sharding_indexed", "configuration": {
            "chunk_shape": [2, 4], "index_location": "start",
            "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
            "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]}}],
    ]):  # fmt: skip
        path = tmp_path / f"{number}.zarr"
        metadata = {
            "shape": [9, 13], "data_type": "uint16", "codecs": codecs, "fill_value": 3,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [4, 8]}},
        }  # fmt: skip
        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path)}, "metadata": metadata}
        tensorstore.open(spec, create=True).result().write(values).result()
        same(read(zarr_format.open(path)), values)


def test_arrays_written_through_the_zarrs_pipeline(tmp_path):
    zarr = pytest.importorskip("zarr")
    pytest.importorskip("zarrs")
    values = some((9, 13), "f4")
    with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}):
        array = zarr.create_array(tmp_path / "a", shape=(9, 13), chunks=(2, 4), shards=(4, 8), dtype="f4")
        array[...] = values
        write(tmp_path / "b", values, chunks=(2, 4), shards=(4, 8))
        np.testing.assert_array_equal(zarr.open_array(tmp_path / "b", mode="r")[...], values)
    same(read(zarr_format.open(tmp_path / "a")), values)


def test_the_rest_is_read_through_zarr_python(tmp_path):
    zarr = pytest.importorskip("zarr")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, dtype, options in [
            ("strings", "S4", {}),
            ("unicode", "<U3", {}),
            ("records", [("x", "<i2"), ("y", "<f4")], {}),
            ("dates", "M8[s]", {}),
            ("lz4", "i4", {"compressors": [zarr.codecs.numcodecs.LZ4()]}),
            ("delta", "i4", {"filters": [zarr.codecs.numcodecs.Delta(dtype="<i4")]}),
        ]:
            values = some((5, 7), dtype)
            array = zarr.create_array(tmp_path / name, shape=(5, 7), chunks=(2, 3), dtype=values.dtype, **options)
            array[...] = values
            stored = zarr_format.open(tmp_path / name)
            same(read(pickle.loads(pickle.dumps(stored)), ((1, 5), (2, 6))), values[1:5, 2:6])
            assert stored.bytes_read(((0, 1), (2, 4))) == 2 * 2 * 3 * values.dtype.itemsize
            assert stored.scratch_bytes(((0, 1), (0, 1))) >= 2 * 2 * 3 * values.dtype.itemsize


def test_a_zip_keeps_dtype_and_completeness(tmp_path):
    pytest.importorskip("zarr")
    import shutil

    values = some((5, 7), RECORD)
    write(tmp_path / "a.zarr", values, chunks=(2, 3))
    shutil.make_archive(tmp_path / "a", "zip", tmp_path / "a.zarr")
    same(read(zarr_format.open(tmp_path / "a.zip"), ((1, 4), (0, 7))), values[1:4])
    (tmp_path / "a.zarr/c/1/1/0").unlink()
    shutil.make_archive(tmp_path / "b", "zip", tmp_path / "a.zarr")
    with pytest.raises(MissingChunkError, match=r"c/1/1/0"):
        read(zarr_format.open(tmp_path / "b.zip"))


@st.composite
def cases(draw):
    ndim = draw(st.integers(0, 3))
    shape = tuple(draw(st.integers(0, 9)) for _ in range(ndim))
    chunks = tuple(draw(st.integers(1, 5)) for _ in range(ndim))
    shards = draw(st.sampled_from([False, True]))
    shards = tuple(c * draw(st.integers(1, 3)) for c in chunks) if shards else False
    bounds = [sorted(draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in shape]
    return shape, chunks, shards, tuple(map(tuple, bounds))


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    case=cases(),
    dtype=st.sampled_from([*NATIVE, *OTHER]),
    codec=st.sampled_from(["blosc-lz4", "zstd:1", "gzip:1", None]),
    order=st.sampled_from("CF"),
    layout=st.sampled_from("CFR"),
)
def test_any_region_equals_numpy(tmp_path_factory, case, dtype, codec, order, layout):
    shape, chunks, shards, region = case
    values = some(shape, dtype)
    path = tmp_path_factory.mktemp("any") / "a.zarr"
    stored = write(path, values, chunks=chunks, shards=shards, codec=codec, order=order)
    expected = values[(*region_slices(region), ...)]
    out = np.empty(expected.shape, stored.dtype, order="F" if layout == "F" else "C")
    if layout == "R" and out.ndim:
        out = out[::-1]
    same(read(stored, region, out), expected)
    if shape and 0 not in shape:
        touched = [-(-b // c) - a // c if b > a else 0 for (a, b), c in zip(region, chunks, strict=True)]
        if codec or shards:
            assert stored.bytes_read(region) == np.prod(touched) * np.prod(chunks) * values.dtype.itemsize


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_ranges_of_uncompressed_chunks(tmp_path_factory, data):
    """Foreign uncompressed chunks are read by ranges, also where the gaps are wide."""
    from chunkarr.formats import zarr_chunks

    shape = data.draw(st.tuples(*[st.integers(1, 9)] * 3))
    chunks = data.draw(st.tuples(*[st.integers(1, 9)] * 3))
    order = data.draw(st.permutations(range(3)))
    path = tmp_path_factory.mktemp("raw")
    values = some(shape, "i2")
    write_uncompressed(path, values, chunks, order)
    bounds = [sorted(data.draw(st.tuples(st.integers(0, n - 1), st.integers(1, n)))) for n in shape]
    region = tuple((a, max(b, a + 1)) for a, b in bounds)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zarr_chunks, "GAP", data.draw(st.sampled_from([0, 8, 1 << 16])))
        stored = zarr_format.open(path)
        same(read(stored, region), np.ascontiguousarray(values[region_slices(region)]))
    assert stored.bytes_read(region) == np.prod(region_shape(region)) * 2


def write_uncompressed(path, values, chunks, order=None):
    """Write plain Zarr v3 by hand: no compressor, no checksum."""
    codecs = [{"name": "bytes", "configuration": {"endian": "little"}}]
    order = list(range(values.ndim)) if order is None else order
    codecs.insert(0, {"name": "transpose", "configuration": {"order": list(order)}})
    counts = [-(-n // c) for n, c in zip(values.shape, chunks, strict=True)]
    for index in np.ndindex(*counts):
        chunk = np.zeros(chunks, values.dtype)
        box = values[tuple(slice(i * c, (i + 1) * c) for i, c in zip(index, chunks, strict=True))]
        chunk[tuple(map(slice, box.shape))] = box
        file = path.joinpath("c", *map(str, index))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(chunk.transpose(order).tobytes())
    document = {
        "zarr_format": 3, "node_type": "array", "shape": list(values.shape), "data_type": values.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunks)}},
        "chunk_key_encoding": {"name": "default"}, "fill_value": 0, "codecs": codecs,
    }  # fmt: skip
    (path / "zarr.json").write_text(json.dumps(document))


def test_a_write_covers_many_boxes_and_any_strides(tmp_path):
    values = some((20, 30), "f4")
    target = zarr_format.create(tmp_path / "a", (20, 30), "f4", chunks=(4, 7), attributes={"unit": "K"})
    scratch = np.empty(target.scratch_bytes(((0, 20), (0, 30))), np.uint8)
    target.write(((0, 8), (0, 30)), values[:8], scratch)
    clone = pickle.loads(pickle.dumps(target))
    clone.write(((8, 20), (0, 14)), np.asfortranarray(values)[8:, :14], scratch)
    with pytest.raises(MissingChunkError, match="16 of 25"):
        target.commit()
    clone.write(((8, 20), (14, 30)), values[::-1][::-1][8:, 14:], scratch)
    clone.write(((8, 12), (14, 21)), values[8:12, 14:21], scratch)  # a task that ran again
    target.commit()
    same(read(zarr_format.open(tmp_path / "a")), values)
    document = json.loads((tmp_path / "a/zarr.json").read_text())
    assert document["attributes"]["unit"] == "K"
    mark = {"v": 1, "complete": True, "manifest": True, "dtype": "<f4", "generation": 1}
    assert document["attributes"]["chunkarr"] == mark
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_blocks_that_do_not_fit_are_refused(tmp_path):
    target = zarr_format.create(tmp_path / "a", (8,), "f4", chunks=4)
    with pytest.raises(GridError, match="whole boxes"):
        target.write(((0, 3),), np.zeros(3, "f4"), np.empty(1000, np.uint8))
    with pytest.raises(OptionError, match="does not fit"):
        target.write(((0, 4),), np.zeros(4, "f8"), np.empty(1000, np.uint8))
    target.abort()
    target.abort()
    assert list(tmp_path.iterdir()) == []


def test_only_zarr_data_are_replaced(tmp_path):
    values = some((4,), "i2")
    write(tmp_path / "a", values)
    with pytest.raises(TargetExistsError):
        zarr_format.create(tmp_path / "a", (4,), "i2")
    before = zarr_format.open(tmp_path / "a")
    pickled = pickle.dumps(before)
    assert pickle.loads(pickled).generation() == before.generation()
    same(read(write(tmp_path / "a", values + 1, overwrite=True)), values + 1)
    with pytest.raises(StaleExpressionError):
        pickle.loads(pickled)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("keep")
    with pytest.raises(TargetExistsError, match="no Zarr data"):
        zarr_format.create(tmp_path / "mine", (4,), "i2", overwrite=True)
    assert (tmp_path / "mine/letter.txt").read_text() == "keep"


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"chunks": (0, 2)}, GridError, "chunks"),
        ({"chunks": (2,)}, GridError, "1 axes"),
        ({"chunks": (2.5, 2)}, GridError, "integer"),
        ({"chunks": (2**40, 1)}, GridError, "are allowed"),
        ({"chunks": (2**40, 1), "codec": None}, GridError, "are allowed"),
        ({"chunks": (2, 2), "shards": (3, 2)}, GridError, "whole numbers"),
        ({"codec": "lzma"}, OptionError, "blosc-lz4"),
        ({"codec": "zstd:99"}, OptionError, "22"),
        ({"fill_value": "x"}, OptionError, "fill_value"),
        ({"fill_value": 2**40, "dtype": "u1"}, OptionError, "fill_value"),
        ({"fill_value": 1, "dtype": "S3"}, OptionError, "bytes"),
        ({"access": "diagonal"}, OptionError, "cube"),
        ({"order": "K"}, OptionError, "order"),
        ({"durability": "none"}, OptionError, "durability"),
        ({"attributes": {"x": float("nan")}}, OptionError, "JSON"),
        ({"attributes": {"chunkarr": 1}}, OptionError, "own"),
        ({"dtype": object}, UnsupportedError, "fixed number"),
        ({"shape": (-1, 2)}, GridError, "shape"),
        ({"shape": (2**40, 2**40)}, GridError, "2\\*\\*63"),
    ],
)
def test_create_checks_before_it_makes_anything(tmp_path, options, error, match):
    options = {"shape": (4, 4), "dtype": "f4"} | options
    with pytest.raises(error, match=match):
        zarr_format.create(tmp_path / "a", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("codec", ["blosc-lz4", "zstd:1", "gzip:1", None])
@pytest.mark.parametrize("layout", [{}, {"order": "F"}, {"shards": (512, 512)}], ids=str)
def test_nothing_of_the_size_of_a_chunk_is_allocated(tmp_path, codec, layout):
    values = np.random.default_rng(0).integers(0, 4, (512, 512), "u2")  # chunks of 128 KiB
    options = {"chunks": (256, 256), "shards": False, "codec": codec} | layout
    target = zarr_format.create(tmp_path / "a", values.shape, values.dtype, durability="process", **options)
    region = whole(values.shape)
    limit = target.scratch_bytes(region)
    scratch = np.empty(limit, np.uint8)
    target.write(((0, 512), (0, 512)), values, scratch)  # imports the codec
    tracemalloc.start()
    target.write(region, values, scratch)
    written = tracemalloc.get_traced_memory()[1]
    target.commit()
    stored = zarr_format.open(tmp_path / "a")
    part = ((3, 300), (5, 512))
    scratch, out = np.empty(stored.scratch_bytes(part), np.uint8), np.empty((297, 507), "u2")
    stored.read(part, out, scratch)
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    stored.read(part, out, scratch)
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    np.testing.assert_array_equal(out, values[3:300, 5:512])
    assert written < limit
    # Inflating takes pieces of 256 KiB at most, whatever the chunk.
    assert peak < (600 << 10 if codec == "gzip:1" else 20 << 10)


def test_a_group_names_its_arrays(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"/g'"):
        write(tmp_path / "g/temperature", some((4,), "f4"))
    (tmp_path / "g").mkdir()
    write(tmp_path / "g/temperature", some((4,), "f4"))
    (tmp_path / "g/zarr.json").write_text('{"zarr_format": 3, "node_type": "group"}')
    with pytest.raises(MetadataError, match=r"name one of its arrays, as group.zarr::name: temperature"):
        zarr_format.open(tmp_path / "g")


def test_threads_share_one_array(tmp_path):
    values = some((64, 48), "f4")
    stored = write(tmp_path / "a", values, chunks=(4, 6), shards=(16, 12))
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda a: read(stored, ((a, a + 8), (3, 41))), range(0, 56, 3)))
    for a, part in zip(range(0, 56, 3), parts, strict=True):
        same(part, np.ascontiguousarray(values[a : a + 8, 3:41]))


def test_fill_values_round_trip(tmp_path):
    zarr = pytest.importorskip("zarr")
    nan = np.array(0x7FC00123, "u4").view("f4")[()]
    for number, (dtype, fill) in enumerate(
        [("f4", np.nan), ("f4", nan), ("f8", -np.inf), ("c8", complex(1, np.inf)), ("?", True), ("u8", 2**64 - 1)]
    ):
        path = tmp_path / str(number)
        values = np.zeros(3, dtype)
        stored = write(path, values, chunks=2, fill_value=fill)
        assert stored.meta.fill.tobytes() == np.array(fill, dtype).tobytes()
        np.testing.assert_array_equal(zarr.open_array(path, mode="r").fill_value, np.array(fill, dtype))


def test_nothing_heavy_is_imported(tmp_path):
    write(tmp_path / "a", some((9,), "f4"), codec="zstd")
    program = (
        "import sys, numpy as np; from chunkarr.formats import zarr as z; s = z.open(sys.argv[1]);"
        "s.read(((0, 9),), np.empty(9, 'f4'), np.empty(s.scratch_bytes(((0, 9),)), 'u1'));"
        "bad = {'zarr', 'dask', 'h5py', 'scipy'} & set(sys.modules); assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "a")], check=True)
