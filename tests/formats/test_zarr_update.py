"""Zarr arrays changed in place: the values, the shape, the locks, what other libraries and other handles read."""

from __future__ import annotations

import errno
import gc
import json
import os
import pickle
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import chunkarr as ca
from chunkarr.errors import (
    ArrayLockedError,
    CommittedNotAppliedError,
    CorruptChunkError,
    GenerationChangedError,
    GridError,
    MemoryBudgetError,
    OptionError,
    UnsupportedError,
)
from chunkarr.formats import zarr as zarr_format
from chunkarr.formats import zarr_manifest
from chunkarr.formats.zarr_txn import recover
from chunkarr.fsio import calls
from chunkarr.grid import region_key, region_shape, whole

RECORD = np.dtype({"names": ["a", "b"], "formats": [">f4", "i2"], "offsets": [1, 7], "itemsize": 12})
LAYOUTS = {
    "plain": {"chunks": (3, 4), "shards": False},
    "raw": {"chunks": (3, 4), "shards": False, "codec": None},
    "fortran": {"chunks": (3, 4), "shards": False, "order": "F", "codec": "gzip:1"},
    "shards": {"chunks": (3, 4), "shards": (6, 8), "codec": "zstd"},
    "filled": {"chunks": (2, 5), "shards": False, "fill_value": 7},
    "one": {"chunks": (7, 10), "shards": False},
}
every_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)


def read(stored, region=None):
    region = whole(stored.shape) if region is None else region
    out = np.empty(region_shape(region), stored.dtype)
    stored.read(region, out, np.empty(stored.scratch_bytes(region), np.uint8))
    return out


def put(target, region, values):
    block = values[region_key(region)].copy()
    target.write(region, block, np.empty(target.scratch_bytes(region), np.uint8))


def make(path, values, **options):
    target = zarr_format.create(path, values.shape, values.dtype, durability="process", **options)
    for region in target.grid:
        put(target, region, values)
    target.commit()
    return zarr_format.open(path, "r+", durability="process")


def change(stored, values, boxes=None, shape=None):
    """Commit ``values`` in the boxes of these numbers, or in all."""
    with stored.update(shape) as update:
        for number, region in enumerate(update.grid):
            if boxes is None or number in boxes:
                put(update, region, values)
        update.commit()


def names(path):
    return sorted(
        os.path.relpath(os.path.join(where, name), path) for where, _, found in os.walk(path) for name in found
    )


def others_read(path, values):
    """Compare with what zarr-python and tensorstore read, where they know the dtype."""
    np.testing.assert_array_equal(zarr.open_array(path, mode="r")[...], values)
    tensorstore = pytest.importorskip("tensorstore")
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path)}}
    np.testing.assert_array_equal(tensorstore.open(spec).result().read().result(), values)


VALUES = np.arange(70, dtype="f8").reshape(7, 10)


# --- values ---


@every_layout
def test_a_change_is_seen_whole_when_it_is_committed(tmp_path, layout):
    stored = make(tmp_path / "a", VALUES, **layout)
    old = stored.generation()
    new = VALUES.copy()
    with stored.update() as update:
        boxes = list(update.grid)[::2]
        for region in boxes:
            new[region_key(region)] *= -1
            put(update, region, new)
        np.testing.assert_array_equal(read(stored), VALUES)
        np.testing.assert_array_equal(read(update.before), VALUES)
        np.testing.assert_array_equal(read(update.staged()), new)
        others_read(tmp_path / "a", VALUES)
        update.commit()
    with pytest.raises(GenerationChangedError, match="changed while it was read"):
        read(stored)
    fresh = stored.fresh()
    assert fresh.writable
    assert fresh.fresh() is fresh
    assert fresh.generation() == stored.generation() != old
    np.testing.assert_array_equal(read(fresh), new)
    others_read(tmp_path / "a", new)
    assert list(fresh.problems()) == []
    assert not [name for name in names(tmp_path / "a") if "txn" in name]


@pytest.mark.parametrize("dtype", ["?", ">i2", "S5", "<U3", ">M8[s]", RECORD, "c8"], ids=str)
@pytest.mark.parametrize("shards", [False, (4, 4)])
def test_every_kind_of_dtype_can_be_changed_and_resized(tmp_path, dtype, shards):
    values = np.zeros((5, 6), dtype)
    raw = np.random.default_rng(0).integers(0, 2, (5, 6, values.itemsize), np.uint8)
    values.view(np.uint8).reshape(raw.shape)[...] = raw
    values = np.array(values)  # without the bytes between fields
    stored = make(tmp_path / "a", values, chunks=(2, 2), shards=shards)
    change(stored, values[::-1], boxes={0, 1})
    with stored.update() as update:
        first, second = list(update.grid)[:2]
    expected = values.copy()
    for region in (first, second):
        expected[region_key(region)] = values[::-1][region_key(region)]
    np.testing.assert_array_equal(read(stored.fresh()), expected)
    change(stored, expected, boxes=(), shape=(7, 3))
    grown = np.zeros((7, 3), dtype)
    grown[:5] = expected[:, :3]
    again = stored.fresh()
    assert again.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(read(again), grown)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1,)])
def test_arrays_without_axes_or_elements(tmp_path, shape):
    values = np.full(shape, 3, "i4")
    stored = make(tmp_path / "a", values)
    change(stored, values + 1)
    np.testing.assert_array_equal(read(stored.fresh()), values + 1)
    assert list(stored.fresh().problems()) == []
    if shape:
        change(stored, np.zeros(0), boxes=(), shape=(2,) * len(shape))
        grown = np.zeros((2,) * len(shape), "i4")
        grown[tuple(slice(n) for n in shape)] = 4
        np.testing.assert_array_equal(read(stored.fresh()), grown)


def test_a_box_that_is_written_again_is_replaced(tmp_path):
    stored = make(tmp_path / "a", VALUES, **LAYOUTS["shards"])
    with stored.update() as update:
        region = next(iter(update.grid))
        put(update, region, VALUES + 1)
        staged = update.staged()
        seen = staged.generation()
        np.testing.assert_array_equal(read(staged, region), (VALUES + 1)[region_key(region)])
        put(update, region, VALUES + 2)
        assert staged.generation() != seen
        np.testing.assert_array_equal(read(staged, region), (VALUES + 2)[region_key(region)])
        update.commit()
    np.testing.assert_array_equal(read(stored.fresh(), region), (VALUES + 2)[region_key(region)])


def test_several_threads_write_one_change(tmp_path):
    values = np.arange(64 * 64.0).reshape(64, 64)
    stored = make(tmp_path / "a", values, chunks=(4, 4), shards=False)
    with stored.update() as update, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda region: put(update, region, -values), update.grid))
        update.commit()
    np.testing.assert_array_equal(read(stored.fresh()), -values)
    assert list(stored.fresh().problems()) == []


@every_layout
def test_what_other_processes_write_is_committed(tmp_path, layout):
    stored = make(tmp_path / "a", VALUES, **layout)
    with stored.update() as update:
        writer = pickle.loads(pickle.dumps(update))
        for region in update.grid:
            put(writer, region, VALUES + 1)
        with pytest.raises(UnsupportedError, match="the process that began it"):
            writer.commit()
        writer.abort()
        update.commit()
    np.testing.assert_array_equal(read(stored.fresh()), VALUES + 1)
    assert list(stored.fresh().problems()) == []


def test_an_array_of_a_generation_travels(tmp_path):
    stored = make(tmp_path / "a", VALUES)
    pickled = pickle.dumps(stored)
    np.testing.assert_array_equal(read(pickle.loads(pickled)), VALUES)
    change(stored, -VALUES)
    with pytest.raises(ca.StaleExpressionError, match="open it again"):
        pickle.loads(pickled)


def test_a_change_that_changes_nothing_is_no_generation(tmp_path):
    stored = make(tmp_path / "a", VALUES)
    before = names(tmp_path / "a")
    change(stored, VALUES, boxes=())
    with stored.update():
        pass
    with stored.update() as update:
        put(update, whole(VALUES.shape), -VALUES)
    assert stored.fresh() is stored
    assert names(tmp_path / "a") == before


def test_a_change_is_over_after_its_end(tmp_path):
    stored = make(tmp_path / "a", VALUES)
    update = stored.update()
    update.commit()
    update.abort()
    for use in (update.commit, update.staged):
        with pytest.raises(UnsupportedError, match="this change is over"):
            use()


# --- shapes ---


@every_layout
@pytest.mark.parametrize(
    "shapes", [[(9, 13)], [(4, 5), (8, 11)], [(12, 10)], [(0, 3), (5, 5)], [(3, 4), (7, 10)], [(2, 20), (20, 2)]]
)
def test_resize_keeps_what_stays_and_never_brings_back_what_went(tmp_path, layout, shapes):
    values = VALUES
    stored = make(tmp_path / "a", values, **layout)
    for shape in shapes:
        new = np.full(shape, layout.get("fill_value", 0), values.dtype)
        common = tuple(slice(min(a, b)) for a, b in zip(shape, values.shape, strict=True))
        new[common] = values[common]
        with stored.update(shape) as update:
            np.testing.assert_array_equal(read(update.staged()), new)
            np.testing.assert_array_equal(read(update.before), values)
            update.commit()
        values, stored = new, stored.fresh()
        assert stored.shape == shape
        np.testing.assert_array_equal(read(stored), values)
        others_read(tmp_path / "a", values)
        assert list(stored.problems()) == []


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_resize_and_write_at_once_as_numpy(tmp_path, data):
    path = tmp_path / "a"
    shutil.rmtree(path, ignore_errors=True)
    ndim = data.draw(st.integers(1, 3))
    sizes = st.tuples(*[st.integers(0, 9)] * ndim)
    chunk = data.draw(st.tuples(*[st.integers(1, 4)] * ndim))
    factor = data.draw(st.sampled_from([None, 1, 2]))
    shards = False if factor is None else tuple(c * factor for c in chunk)
    values = np.random.default_rng(0).integers(1, 100, data.draw(sizes)).astype("i2")
    stored = make(path, values, chunks=chunk, shards=shards, fill_value=5, order=data.draw(st.sampled_from("CF")))
    for _ in range(data.draw(st.integers(1, 3))):
        shape = data.draw(sizes)
        new = np.full(shape, 5, values.dtype)
        common = tuple(slice(min(a, b)) for a, b in zip(shape, values.shape, strict=True))
        new[common] = values[common]
        with stored.update(shape) as update:
            boxes = list(update.grid)
            for region in data.draw(st.lists(st.sampled_from(boxes), max_size=3)) if boxes else []:
                new[region_key(region)] += 1
                put(update, region, new)
            update.commit()
        values = new
        np.testing.assert_array_equal(read(stored.fresh()), values)
        assert list(stored.fresh().problems()) == []
    np.testing.assert_array_equal(zarr.open_array(path, mode="r")[...], values)


def test_a_shorter_array_has_fewer_files(tmp_path):
    stored = make(tmp_path / "a", VALUES, **LAYOUTS["plain"])
    change(stored, VALUES, boxes=(), shape=(3, 10))
    kept = [name for name in names(tmp_path / "a") if name.startswith("c/")]
    assert kept == ["c/0/0", "c/0/1", "c/0/2"]
    assert sorted(os.listdir(tmp_path / "a/c")) == ["0"]


def test_the_pages_of_a_long_manifest_follow_the_shape(tmp_path):
    values = np.arange(100 * 100, dtype="i2").reshape(100, 100)
    stored = make(tmp_path / "a", values, chunks=(1, 1), shards=(50, 50))
    pages = tmp_path / "a/.chunkarr/pages"
    assert sorted(os.listdir(pages)) == ["0", "1", "2"]
    inode = os.stat(pages / "0").st_ino
    with stored.update() as update:
        put(update, list(update.grid)[-1], -values)
        update.commit()
    assert os.stat(pages / "0").st_ino == inode  # of the other shards
    values[50:, 50:] *= -1
    np.testing.assert_array_equal(read(stored.fresh()), values)
    change(stored, values, boxes=(), shape=(50, 60))
    assert sorted(os.listdir(pages)) == ["0", "1"]
    np.testing.assert_array_equal(read(stored.fresh()), values[:50, :60])
    change(stored, values, boxes=(), shape=(120, 60))
    assert sorted(os.listdir(pages)) == ["0", "1", "2", "3"]
    np.testing.assert_array_equal(read(stored.fresh())[:50], values[:50, :60])
    assert not read(stored.fresh())[50:].any()


def test_chunks_that_others_left_outside_do_not_come_back(tmp_path):
    stored = make(tmp_path / "a", VALUES, **LAYOUTS["plain"])
    os.mkdir(tmp_path / "a/c/3")
    for name in ("c/3/0", "c/0/3", "c/0/17"):
        shutil.copy(tmp_path / "a/c/0/0", tmp_path / "a" / name)
    change(stored, VALUES, boxes=(), shape=(10, 13))
    grown = np.zeros((10, 13))
    grown[:7, :10] = VALUES
    np.testing.assert_array_equal(read(stored.fresh()), grown)
    others_read(tmp_path / "a", grown)


@pytest.mark.parametrize(
    ("shape", "error", "match"),
    [
        ((7,), GridError, "has 1 axes, the array has 2"),
        ((7, -1), GridError, "each must be 0"),
        ((7, 2**60), GridError, r"exceeds 2\*\*63-1"),
        ((2**40, 10), MemoryBudgetError, "manifest of"),
    ],
)
def test_shapes_that_cannot_be(tmp_path, shape, error, match):
    stored = make(tmp_path / "a", VALUES, **LAYOUTS["plain"])
    before = names(tmp_path / "a")
    with pytest.raises(error, match=match):
        stored.update(shape)
    assert names(tmp_path / "a") == before
    stored.update().abort()


# --- arrays of others ---


def foreign(path, kind):
    """Write `VALUES` with zarr-python."""
    options = {"shape": VALUES.shape, "dtype": VALUES.dtype, "chunks": (3, 4)}
    if kind.startswith("v2"):
        from numcodecs import GZip

        compressor = {"v2": "auto", "v2 gzip": GZip(3), "v2 none": None}[kind.removesuffix(" F").removesuffix(" big")]
        options |= {"zarr_format": 2, "compressors": compressor, "order": "F" if kind.endswith("F") else "C"}
        if kind.endswith("big"):
            options["dtype"] = ">f8"
    elif kind == "v3 shards":
        options |= {"shards": (6, 8)}
    elif kind == "v3 bitshuffle":
        options |= {"compressors": zarr.codecs.BloscCodec(cname="zstd", clevel=2, shuffle="bitshuffle")}
    elif kind == "v3 none":
        options |= {"compressors": None}
    elif kind == "v3 big":
        options |= {"serializer": zarr.codecs.BytesCodec(endian="big"), "compressors": zarr.codecs.GzipCodec(level=1)}
    elif kind == "v3 index first":
        options |= {
            "chunks": (6, 8),
            "compressors": None,
            "serializer": zarr.codecs.ShardingCodec(chunk_shape=(3, 4), index_location="start"),
        }
    array = zarr.create_array(path, **options)
    array[...] = VALUES
    return array


KINDS = ["v2", "v2 gzip F", "v2 none big", "v3", "v3 shards", "v3 bitshuffle", "v3 none", "v3 big", "v3 index first"]


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::zarr.errors.ZarrUserWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_arrays_of_others_can_be_changed(tmp_path, kind):
    path = tmp_path / "a"
    foreign(path, kind)
    before = names(path)
    stored = zarr_format.open(path, "r+", durability="process")
    stored.update().abort()
    assert names(path) == before  # nothing of chunkarr's before the first change
    new = VALUES.copy()
    with stored.update() as update:
        region = list(update.grid)[-1]
        new[region_key(region)] = -1
        put(update, region, new.astype(stored.dtype))
        update.commit()
    with pytest.raises(GenerationChangedError):
        read(stored)
    stored = stored.fresh()
    np.testing.assert_array_equal(read(stored), new)
    np.testing.assert_array_equal(zarr.open_array(path, mode="r")[...], new)
    change(stored, new, boxes=(), shape=(5, 6))
    change(stored, new, boxes=(), shape=(8, 9))
    grown = np.zeros((8, 9))
    grown[:5, :6] = new[:5, :6]
    np.testing.assert_array_equal(read(stored.fresh()), grown)
    np.testing.assert_array_equal(zarr.open_array(path, mode="r")[...], grown)
    assert list(stored.fresh().problems()) == []


def test_the_lock_of_a_first_change_that_was_killed_goes(tmp_path):
    foreign(tmp_path / "a", "v3")
    before = names(tmp_path / "a")
    (tmp_path / "a/.chunkarr").mkdir()
    (tmp_path / "a/.chunkarr/lock").touch()
    zarr_format.open(tmp_path / "a", "r+")
    assert names(tmp_path / "a") == before
    assert not (tmp_path / "a/.chunkarr").exists()


def test_what_lies_beyond_the_edge_of_others_chunks_is_not_shown(tmp_path):
    path = tmp_path / "a"
    foreign(path, "v3").resize((5, 6))  # zarr-python leaves the old values in the chunks that are cut
    stored = zarr_format.open(path, "r+", durability="process")
    change(stored, VALUES, boxes=(), shape=(7, 10))
    expected = np.zeros((7, 10))
    expected[:5, :6] = VALUES[:5, :6]
    np.testing.assert_array_equal(read(stored.fresh()), expected)
    np.testing.assert_array_equal(zarr.open_array(path, mode="r")[...], expected)


@pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning")
def test_what_is_read_through_zarr_python_is_not_changed(tmp_path):
    zarr.create_array(tmp_path / "a", shape=(4,), dtype="i4", filters=[zarr.codecs.numcodecs.Delta(dtype="i4")])
    with pytest.raises(UnsupportedError, match="read through zarr-python and cannot be changed"):
        zarr_format.open(tmp_path / "a", "r+")


def test_codecs_configured_in_unknown_ways_are_refused_before_anything_is_written(tmp_path):
    foreign(tmp_path / "a", "v3 bitshuffle")
    text = (tmp_path / "a/zarr.json").read_text()
    (tmp_path / "a/zarr.json").write_text(text.replace('"cname": "zstd"', '"cname": "best"'))
    before = names(tmp_path / "a")
    with pytest.raises(UnsupportedError, match="so no chunk can be written"):
        zarr_format.open(tmp_path / "a", "r+").update()
    assert names(tmp_path / "a") == before


# --- options, places, locks ---


@pytest.mark.parametrize(
    ("mode", "options", "match"),
    [("w", {}, "mode 'w'"), ("r+", {"durability": "none"}, "durability="), ("r+", {"timeout": -1}, "timeout=-1")],
)
def test_options_that_cannot_be(tmp_path, mode, options, match):
    make(tmp_path / "a", VALUES)
    with pytest.raises(OptionError, match=match):
        zarr_format.open(tmp_path / "a", mode, **options)


def test_an_array_opened_to_be_read_is_not_changed(tmp_path):
    make(tmp_path / "a", VALUES)
    stored = zarr_format.open(tmp_path / "a")
    assert not stored.writable
    with pytest.raises(UnsupportedError, match=r'mode="r\+"'):
        stored.update()


def test_blocks_that_do_not_fit_are_refused(tmp_path):
    stored = make(tmp_path / "a", VALUES, **LAYOUTS["plain"])
    with stored.update() as update:
        scratch = np.empty(update.scratch_bytes(((0, 3), (0, 4))), np.uint8)
        for region, dtype, error in [
            (((0, 2), (0, 4)), "f8", GridError),
            (((0, 3), (8, 12)), "f8", GridError),
            (((0, 3), (0, 4)), "f4", OptionError),
        ]:
            with pytest.raises(error):
                update.write(region, np.zeros(region_shape(region), dtype), scratch)


@pytest.mark.parametrize("what", ["directory", "link", "place"])
def test_nothing_is_written_through_links_or_over_directories(tmp_path, what):
    stored = make(tmp_path / "a", VALUES, **LAYOUTS["plain"])
    (tmp_path / "outside").mkdir()
    if what == "directory":
        os.unlink(tmp_path / "a/c/0/0")
        os.mkdir(tmp_path / "a/c/0/0")
    elif what == "link":
        shutil.rmtree(tmp_path / "a/c/0")
        os.symlink(tmp_path / "outside", tmp_path / "a/c/0")
    else:
        shutil.move(tmp_path / "a/.chunkarr", tmp_path / "outside/.chunkarr")
        os.symlink(tmp_path / "outside/.chunkarr", tmp_path / "a/.chunkarr")
    with pytest.raises(CorruptChunkError, match=r"is a directory|symbolic link"), stored.update() as update:
        put(update, ((0, 3), (0, 4)), VALUES)
    assert "txn-2" not in str(names(tmp_path))


def test_one_writer_at_a_time(tmp_path):
    stored = make(tmp_path / "a", VALUES)
    with stored.update() as update:
        with pytest.raises(ArrayLockedError, match="another writer holds it"):
            zarr_format.open(tmp_path / "a", "r+").update()
        with pytest.raises(ArrayLockedError):
            recover(str(tmp_path / "a"))
        new = zarr_format.create(tmp_path / "a", VALUES.shape, VALUES.dtype, overwrite=True)
        put(new, whole(VALUES.shape), -VALUES)
        with pytest.raises(ArrayLockedError):  # the change must not end in the new array
            new.commit()
        put(update, whole(VALUES.shape), VALUES + 1)
        update.commit()
    new.commit()
    np.testing.assert_array_equal(read(stored.fresh()), -VALUES)


def test_a_writer_waits_as_long_as_it_is_told(tmp_path):
    stored = make(tmp_path / "a", VALUES)
    patient = zarr_format.open(tmp_path / "a", "r+", timeout=20)
    update = stored.update()
    put(update, whole(VALUES.shape), VALUES + 1)
    later = threading.Timer(0.1, update.commit)
    later.start()
    with patient.update() as second:
        np.testing.assert_array_equal(read(second.before), VALUES + 1)
    later.join()
    with stored.update():
        start = time.monotonic()
        with pytest.raises(ArrayLockedError, match=r"after 0\.05 s"):
            zarr_format.open(tmp_path / "a", "r+", timeout=0.05).update()
        assert time.monotonic() - start >= 0.05


def test_a_forgotten_change_is_dropped(tmp_path):
    stored = make(tmp_path / "a", VALUES)
    before = names(tmp_path / "a")
    update = stored.update()
    put(update, whole(VALUES.shape), -VALUES)
    del update
    gc.collect()
    assert names(tmp_path / "a") == before
    stored.update().abort()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_has_no_part_in_the_change(tmp_path):
    stored = make(tmp_path / "a", VALUES)
    update = stored.update()
    put(update, whole(VALUES.shape), VALUES + 1)
    ready, done = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        code = 1
        try:
            update.abort()
            try:
                update.commit()
            except UnsupportedError:
                code = 0
            os.write(ready[1], b"x")
            os.read(done[0], 1)
        finally:
            os._exit(code)
    os.read(ready[0], 1)
    update.commit()
    zarr_format.open(tmp_path / "a", "r+").update().abort()  # while the child lives
    os.write(done[1], b"x")
    assert os.waitpid(child, 0)[1] == 0
    np.testing.assert_array_equal(read(stored.fresh()), VALUES + 1)
    for fd in (*ready, *done):
        os.close(fd)


# --- kills, errors, readers ---


class Copies:
    """Keeps a copy of an array as it is before each changing call, and where half of a write was done."""

    def __init__(self, path, room):
        self.path, self.room, self.found = path, room, []
        self.one = threading.Lock()

    def __call__(self, name, call, args):
        self.keep(name)
        if name in ("write", "pwrite") and len(args[1]) > 1:
            done = call(args[0], args[1][: len(args[1]) // 2], *args[2:])
            self.keep(f"half {name}")
            return done
        return call(*args)

    def keep(self, name):
        with self.one:
            place = self.room / str(len(self.found))
            shutil.copytree(self.path, place, symlinks=True)
            self.found.append((name, place))


def grow(stored):
    new = np.zeros((8, 13))
    new[:7, :10] = VALUES
    new[6:] = 5
    with stored.update(new.shape) as update:
        for region in update.grid:
            if region[0][1] > 6:
                put(update, region, new)
        update.commit()
    return new


def shrink(stored):
    with stored.update((4, 5)) as update:
        update.commit()
    return VALUES[:4, :5]


def overwrite(stored):
    change(stored, -VALUES, boxes={0, 2, 3})
    return read(stored.fresh())


@pytest.mark.parametrize(("kind", "operation"), [("plain", overwrite), ("shards", grow), ("v3", shrink)])
def test_a_copy_made_at_any_call_is_the_old_array_or_the_new_one(tmp_path, kind, operation):
    if kind == "v3":
        foreign(tmp_path / "a", kind)
    else:
        make(tmp_path / "a", VALUES, **LAYOUTS[kind])
    root = tmp_path / "a/.chunkarr/manifest"
    old = root.read_bytes() if root.exists() else b""
    watcher = Copies(tmp_path / "a", tmp_path)
    with calls.watched(watcher):
        new = operation(zarr_format.open(tmp_path / "a", "r+", durability="full"))
    watcher.keep("end")
    end = names(tmp_path / "a")
    seen = set()
    for number, (name, place) in enumerate(watcher.found):
        before = names(place)
        root = place / ".chunkarr/manifest"
        after = ".chunkarr/txn-" in str(before) and any(one.endswith("/COMMIT") for one in before)
        after = after or (root.exists() and root.read_bytes() != old)
        seen.add(after)
        expected = new if after else VALUES
        np.testing.assert_array_equal(read(zarr_format.open(place)), expected, err_msg=f"{number} {name}")
        assert names(place) == before  # a reader changes nothing
        if number % 3:
            continue
        (tmp_path / f"again-{number}").mkdir()
        inner = Copies(place, tmp_path / f"again-{number}")
        with calls.watched(inner if number % 2 else lambda name, call, args: call(*args)):
            recovered = zarr_format.open(place, "r+")
        np.testing.assert_array_equal(read(recovered), expected, err_msg=f"{number} {name}")
        assert list(recovered.problems()) == []
        np.testing.assert_array_equal(zarr.open_array(place, mode="r")[...], expected)
        assert not any("txn" in one for one in names(place))
        assert not after or names(place) == end
        for _, second in inner.found[number % 5 :: 5]:  # killed again while it recovered
            np.testing.assert_array_equal(read(zarr_format.open(second, "r+")), expected)
            assert not any("txn" in one for one in names(second))
    assert seen == {False, True}


@pytest.mark.parametrize("operation", [overwrite, grow, shrink])
def test_an_error_at_any_call_says_which_array_is_there(tmp_path, operation):
    new = operation(make(tmp_path / "count", VALUES, **LAYOUTS["plain"]))
    total = 0
    said = set()
    while True:
        path = tmp_path / str(total)
        shutil.rmtree(tmp_path / "template", ignore_errors=True)
        stored = make(tmp_path / "template", VALUES, **LAYOUTS["plain"])
        shutil.move(tmp_path / "template", path)
        stored = zarr_format.open(path, "r+")
        left = [total]

        def fail(name, call, args, left=left):
            left[0] -= 1
            if left[0] == -1:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return call(*args)

        raised = None
        try:
            with calls.watched(fail):
                operation(stored)
        except OSError as error:
            raised = error
            said.add(type(error))
            assert error.errno == errno.ENOSPC  # noqa: PT017 - which class it has is what is tested
        expected = VALUES if type(raised) is OSError else new
        assert (read(zarr_format.open(path)) == expected).all(), total
        change(stored, expected + 1)
        np.testing.assert_array_equal(read(stored.fresh()), expected + 1)
        assert not any("txn" in name for name in names(path))
        if left[0] >= 0:
            break
        total += 1
    assert said == {OSError, CommittedNotAppliedError}
    assert total > 12


class KilledError(BaseException):
    """What a test raises where a process would die."""


def die_after_the_commit(operation, path):
    """Change an array, and die before anything is put in place."""
    dead = []

    def watch(name, call, args):
        if dead or (name == "rename" and not os.path.basename(args[0]).startswith("COMMIT")):
            dead.append(name)
            raise KilledError
        return call(*args)

    with calls.watched(watch), pytest.raises(KilledError):
        operation(zarr_format.open(path, "r+"))
    gc.collect()


@pytest.mark.parametrize("operation", [overwrite, grow, shrink])
@pytest.mark.parametrize("kind", ["plain", "shards"])
def test_readers_take_what_is_committed_and_not_in_place(tmp_path, kind, operation):
    new = operation(make(tmp_path / "b", VALUES, **LAYOUTS[kind]))
    make(tmp_path / "a", VALUES, **LAYOUTS[kind])
    die_after_the_commit(operation, tmp_path / "a")
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "a", mode="r")[...], VALUES)
    reader = zarr_format.open(tmp_path / "a")
    np.testing.assert_array_equal(read(reader), new)
    assert list(reader.problems()) == []
    np.testing.assert_array_equal(read(pickle.loads(pickle.dumps(reader))), new)
    assert recover(str(tmp_path / "a")) == "finished the committed change to generation 2"
    assert recover(str(tmp_path / "a")) is None
    np.testing.assert_array_equal(read(reader), new)
    others_read(tmp_path / "a", new)


@pytest.mark.parametrize("kind", ["plain", "v3"])
def test_a_change_that_is_put_in_place_while_a_reader_looks(tmp_path, monkeypatch, kind):
    path = tmp_path / "a"
    if kind == "v3":
        foreign(path, kind)
    else:
        make(path, VALUES, **LAYOUTS[kind])
    stored = zarr_format.open(path)
    die_after_the_commit(overwrite, path)
    load_root, looks = zarr_manifest.load_root, []

    def look(file):
        looks.append(file)
        if len(looks) == 1:  # the root was read, the change is about to be
            monkeypatch.undo()
            recover(str(path))
            monkeypatch.setattr(zarr_manifest, "load_root", look)
        return load_root(file)

    monkeypatch.setattr(zarr_manifest, "load_root", look)
    root, pending = zarr_manifest.current(str(path))
    assert len(looks) > 1
    assert not pending
    assert stored.generation() == root.key == zarr_format.open(path).generation()
    with pytest.raises(GenerationChangedError):
        read(stored)


def test_a_reader_during_a_change_sees_one_generation(tmp_path):
    stored = make(tmp_path / "a", VALUES, **LAYOUTS["plain"])
    handles = []

    def look(name, call, args):
        result = call(*args)
        for handle in [*handles[:4], zarr_format.open(tmp_path / "a")]:
            try:
                values = read(handle)
            except GenerationChangedError:
                assert handle in handles  # not one that was opened now
                continue
            assert len(np.unique(values - VALUES)) == 1
        handles.insert(0, zarr_format.open(tmp_path / "a"))
        return result

    with calls.watched(look):
        change(stored, VALUES + 1)
        change(stored.fresh(), VALUES + 2)
    np.testing.assert_array_equal(read(zarr_format.open(tmp_path / "a")), VALUES + 2)


def test_durability_says_whether_files_are_synced(tmp_path):
    stored = make(tmp_path / "a", VALUES, **LAYOUTS["plain"])
    seen = []

    def watch(name, call, args):
        seen.append(name)
        return call(*args)

    with calls.watched(watch):
        change(stored, -VALUES)
    assert "fsync" not in seen
    seen.clear()
    with ca.config.set(durability="full"), calls.watched(watch):
        change(zarr_format.open(tmp_path / "a", "r+"), VALUES)
    assert seen.count("fsync") >= 12 + 5  # each chunk, the page, the root, and the directories
    commit = seen.index("rename")
    assert seen[commit + 1] == "fsync"


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="descriptors have no names here")
def test_a_durable_change_makes_those_before_it_durable(tmp_path):
    make(tmp_path / "a", VALUES, **LAYOUTS["plain"])
    synced = []

    def watch(name, call, args):
        if name == "fsync":
            synced.append(os.path.relpath(os.readlink(f"/proc/self/fd/{args[0]}"), tmp_path))
        return call(*args)

    stored = zarr_format.open(tmp_path / "a", "r+", durability="full")
    with calls.watched(watch):
        change(stored, VALUES, boxes={0})
    assert {"a/c/2/2", "a/zarr.json", "a/c", "."} <= set(synced)
    synced.clear()
    with calls.watched(watch):
        change(stored, VALUES, boxes={0})
    assert "a/c/2/2" not in synced
    change(zarr_format.open(tmp_path / "a", "r+", durability="process"), VALUES, boxes={4})
    synced.clear()
    with calls.watched(watch):
        change(stored, VALUES, boxes={0})
    assert "a/c/1/1" in synced


def test_attributes_that_others_set_stay(tmp_path):
    stored = make(tmp_path / "a", VALUES)
    zarr.open_array(tmp_path / "a", mode="r+").attrs["unit"] = "K"
    np.testing.assert_array_equal(read(stored), VALUES)
    change(stored, VALUES, boxes=(), shape=(3, 3))
    document = json.loads((tmp_path / "a/zarr.json").read_text())
    assert document["attributes"]["unit"] == "K"
    assert document["shape"] == [3, 3]
