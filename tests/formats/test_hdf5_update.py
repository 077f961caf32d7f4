"""Changes of HDF5 data sets: h5py reads what NumPy says, all else in the file stays, and no moment shows half."""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkarr.errors import (
    ArrayLockedError,
    CommittedNotAppliedError,
    GenerationChangedError,
    GridError,
    UnsupportedError,
)
from chunkarr.formats import hdf5, journal
from chunkarr.formats.hdf5_filters import Filter, encode, gather
from chunkarr.formats.hdf5_stored import ChunkedHdf5, ContiguousHdf5, LibraryHdf5
from chunkarr.fsio import calls
from chunkarr.grid import Grid, region_shape, region_slices, whole
from tests.formats.test_flat_update import Camera, put, read, regions, resized
from tests.oracle import same

CHUNKED = {
    "gzip": {"chunks": (4, 5), "compression": "gzip", "shuffle": True},
    "checked": {"chunks": (4, 5), "compression": 4, "fletcher32": True},
    "plain": {"chunks": (3, 3)},
    "library": {"chunks": (4, 4), "compression": "lzf"},
}
LAYOUTS = {**CHUNKED, "contiguous": {}}
every_layout = pytest.mark.parametrize("layout", LAYOUTS)


def make(path: str, values: np.ndarray, layout: str = "gzip", **options: Any) -> None:
    """Write a file of several data sets, groups and attributes."""
    with h5py.File(path, "w") as file:
        file.attrs["title"] = "all"
        data = file.create_dataset("g/x", data=values, **{**LAYOUTS[layout], **options})
        data.attrs["unit"] = "mm"
        data.attrs["scale"] = np.arange(3.0)
        data.attrs["nothing"] = h5py.Empty("f4")
        data.attrs["words"] = ["one", "zwölf"]
        file["other"] = np.arange(300.0)
        file.create_dataset("packed", data=np.arange(5000), chunks=(100,), compression="gzip")
        file["soft"] = h5py.SoftLink("/g/x")


def check(path: str, values: np.ndarray) -> None:
    """Compare the data set, and see that all else is as `make` wrote it."""
    with h5py.File(path) as file:
        found = file["g/x"]
        same(np.asarray(found[()], found.dtype), values)
        assert file.attrs["title"] == "all"
        assert found.attrs["unit"] == "mm"
        assert found.attrs["scale"].tolist() == [0, 1, 2]
        assert isinstance(found.attrs["nothing"], h5py.Empty)
        assert list(found.attrs["words"]) == ["one", "zwölf"]
        assert file["other"][()].tolist() == list(range(300))
        assert file["packed"][()].tolist() == list(range(5000))
        assert file["soft"].shape == values.shape


def write_boxes(update: Any, new: np.ndarray, boxes: Any) -> None:
    for box in boxes:
        put(update, box, new[(*region_slices(box), ...)])


def change(stored: Any, new: np.ndarray, count: int | None = None) -> None:
    """Give the array the shape of ``new`` and write its first ``count`` boxes."""
    with stored.update(None if new.shape == stored.shape else new.shape) as update:
        write_boxes(update, new, list(boxes_of(update))[:count])
        update.commit()


def boxes_of(update: Any) -> Grid:
    return update.grid if update.grid.steps != (1,) * len(update.shape) else Grid(update.shape, update.shape)


# --- values --------------------------------------------------------------------------------------


@every_layout
@pytest.mark.parametrize("inplace", [False, True])
@given(data=st.data())
@settings(max_examples=15)
def test_regions_and_shapes_are_those_of_numpy(layout: str, inplace: bool, data: st.DataObject) -> None:
    dtype = np.dtype(data.draw(st.sampled_from(["<i4", ">f8", "u1", "S3", "?", [("a", "<i2"), ("b", ">f4")]])))
    shape = (data.draw(st.integers(4, 13)), data.draw(st.integers(5, 13)))
    values = (np.arange(shape[0] * shape[1]) % 2).astype("u1").reshape(shape).astype(dtype)
    limits = data.draw(st.sampled_from([None, (None, None), (20, None)])) if layout != "contiguous" else None
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "a.h5")
        make(path, values, layout, maxshape=limits)
        stored = hdf5.open(path, "r+", member="g/x", durability="process", unsafe_inplace=inplace)
        expected = values
        for i in range(3):
            shape = tuple(data.draw(st.integers(1, n + 4)) for n in expected.shape)
            shape = None if data.draw(st.booleans()) else shape
            after = expected.copy() if shape is None else resized(expected, shape)
            new = np.arange(after.size).reshape(after.shape).astype(dtype)
            with stored.update(shape) as update:
                for box in data.draw(st.permutations(list(boxes_of(update)))):
                    if not data.draw(st.integers(0, 2)):
                        after[region_slices(box)] = new[region_slices(box)]
                        put(update, box, np.asarray(new[region_slices(box)], order=data.draw(st.sampled_from("CF"))))
                same(read(update.staged()), after)
                part = data.draw(regions(after.shape))
                same(read(update.staged(), part), after[region_slices(part)])
                same(read(update.before), expected)
                if i % 2 == 0:
                    update.commit()
                    expected = after
            check(path, expected)
            stored = stored.fresh()
            same(read(stored), expected)
            assert os.listdir(directory) == ["a.h5"]


@pytest.mark.parametrize(
    ("layout", "kind"), [("gzip", ChunkedHdf5), ("library", LibraryHdf5), ("contiguous", ContiguousHdf5)]
)
def test_pickles_keep_what_an_array_was_opened_for(layout: str, kind: type, tmp_path: Path) -> None:
    path = str(tmp_path / "a.h5")
    values = np.arange(120.0).reshape(10, 12)
    make(path, values, layout)
    stored = hdf5.open(path, "r+", member="g/x", timeout=3)
    again = pickle.loads(pickle.dumps(stored))
    assert type(again) is type(stored) is kind
    assert (again.writable, again.access) == (True, stored.access)
    change(again, -values)
    check(path, -values)
    assert pickle.loads(pickle.dumps(again.fresh())).generation() == again.fresh().found


@pytest.mark.parametrize("codec", ["gzip", "lzf", "none"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_what_chunkarr_wrote_stays_complete_and_in_its_order(codec: str, order: str, tmp_path: Path) -> None:
    path = str(tmp_path / "a.h5")
    values = np.arange(70, dtype="<i2").reshape(7, 10)
    chunks = None if codec == "none" else (3, 4)
    target = hdf5.create(path, values.shape, values.dtype, codec=codec, order=order, chunks=chunks)
    put(target, whole(values.shape), values)
    target.commit()
    stored = hdf5.open(path, "r+")
    change(stored, -values)
    stored = stored.fresh()
    same(read(stored), -values)
    assert stored.layout.complete
    bigger = resized(-values, (9, 13))
    with stored.update(bigger.shape) as update:
        update.commit()
    stored = stored.fresh()
    same(read(stored), bigger)
    assert stored.order == order
    assert stored.layout.complete == (chunks is None)  # chunks that nobody wrote are fill
    change(stored, bigger + 1)
    with stored.fresh().update((5, 4)) as update:
        update.commit()
    stored = stored.fresh()
    same(read(stored), (bigger + 1)[:5, :4])
    assert stored.layout.complete


def test_shrinking_and_growing_gives_the_fill_value(tmp_path: Path) -> None:
    path = str(tmp_path / "a.h5")
    for options in ({"maxshape": (None, None)}, {}, {"chunks": None, "compression": None, "shuffle": None}):
        values = np.arange(1, 121, dtype="<i4").reshape(10, 12)
        make(path, values, fillvalue=-5, **options)
        stored = hdf5.open(path, "r+", member="/g/x")
        for shape in [(10, 7), (10, 12), (3, 12), (11, 12), (1, 1), (12, 9)]:
            with stored.update(shape) as update:
                update.commit()
            grown = np.full(shape, -5, "<i4")
            common = tuple(map(slice, map(min, shape, values.shape)))
            grown[common] = values[common]
            values, stored = grown, stored.fresh()
            same(read(stored), values)
            check(path, values)


def test_chunks_that_were_never_written_and_axes_of_types(tmp_path: Path) -> None:
    path = str(tmp_path / "a.h5")
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (6, 8), "<i4", chunks=(3, 4), fillvalue=7, compression="gzip")
        file.create_dataset("y", (5,), np.dtype(("<f4", (2, 3))), chunks=(2,), compression="gzip")
        file.create_dataset("z", (), "<f8", data=1.0)
    stored = hdf5.open(path, "r+", member="x")
    with stored.update() as update:
        put(update, ((3, 6), (0, 4)), np.zeros((3, 4), "<i4"))
        update.commit()
    expected = np.full((6, 8), 7, "<i4")
    expected[3:, :4] = 0
    same(read(stored.fresh()), expected)
    inner = hdf5.open(path, "r+", member="y")
    values = np.arange(30, dtype="<f4").reshape(5, 2, 3)
    change(inner, values)
    same(read(inner.fresh()), values)
    with pytest.raises(UnsupportedError, match="belong to the type of its elements"):
        inner.fresh().update((5, 2, 4))
    point = hdf5.open(path, "r+", member="z")
    with point.update() as update:
        put(update, (), np.array(2.5))
        update.commit()
    with h5py.File(path) as file:
        same(file["x"][()], expected)
        same(file["y"][()], values)
        assert file["z"][()] == 2.5


def test_a_chunk_that_left_a_filter_out_is_written_anew_in_as_many_bytes(tmp_path: Path) -> None:
    path = str(tmp_path / "a.h5")
    values = np.arange(100, dtype="<i4")
    filters = (Filter("shuffle", 4), Filter("deflate", 4))
    size = len(encode(gather(values, (100,), True, np.empty(400, "u1")), filters))
    with h5py.File(path, "w") as file:
        data = file.create_dataset("x", (100,), "<i4", chunks=(100,), compression="gzip", shuffle=True)
        data.id.write_direct_chunk((0,), bytes(size), 1)
    change(hdf5.open(path, "r+"), values)
    with h5py.File(path) as file:
        same(file["x"][()], values)
        assert file["x"].id.get_chunk_info(0).filter_mask == 0
        assert file["x"].id.get_chunk_info(0).size != size


def test_threads_encode_at_the_same_time(tmp_path: Path) -> None:
    path = str(tmp_path / "a.h5")
    values = np.random.default_rng(0).integers(0, 9, (64, 50)).astype("<i4")
    make(path, values, chunks=(8, 10))
    with hdf5.open(path, "r+", member="g/x").update() as update, ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda box: put(update, box, -values[region_slices(box)]), update.grid))
        update.commit()
    check(path, -values)


# --- at every moment -----------------------------------------------------------------------------


def run(path: str, new: np.ndarray, inplace: bool) -> None:
    change(hdf5.open(path, "r+", member="g/x", unsafe_inplace=inplace, durability="full"), new)


def state(path: str, old: np.ndarray, new: np.ndarray, mode: str) -> str:
    found = read(hdf5.open(path, mode, member="g/x"))
    which = "old" if found.shape == old.shape and (found == old).all() else "new"
    check(path, old if which == "old" else new)
    if mode == "r+":
        assert os.listdir(os.path.dirname(path)) == ["a.h5"]
    return which


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("layout", ["gzip", "contiguous"])
@pytest.mark.parametrize("shape", [pytest.param((9, 11), marks=pytest.mark.nightly), (13, 11)])
def test_killed_at_any_call(layout: str, inplace: bool, shape: tuple[int, int], tmp_path: Path) -> None:
    live = tmp_path / "live"
    live.mkdir()
    old = np.arange(99.0).reshape(9, 11)
    new = -resized(old + 1, shape)
    make(str(live / "a.h5"), old, layout)
    camera = Camera(live, tmp_path)
    with calls.watched(camera):
        run(str(live / "a.h5"), new, inplace)
    camera.shoot()
    states = []
    for i in range(camera.taken):
        again = Camera(tmp_path / str(i), tmp_path / f"again{i}")
        with calls.watched(again):
            states.append(state(str(tmp_path / str(i) / "a.h5"), old, new, "r+" if i % 2 else "r"))
        for j in range(0, again.taken, 3):
            assert state(str(tmp_path / f"again{i}" / str(j) / "a.h5"), old, new, "r+") == states[-1]
    assert states == sorted(states, reverse=True)
    assert set(states) == {"old", "new"}


@pytest.mark.parametrize("inplace", [False, True])
def test_an_error_at_any_call_says_which_array_it_is(inplace: bool, tmp_path: Path) -> None:
    old = np.arange(99.0).reshape(9, 11)
    new = resized(-old, (12, 11))
    seen = set()
    for k in range(1000):
        directory = tmp_path / str(k)
        directory.mkdir()
        path = str(directory / "a.h5")
        make(path, old)
        count = 0

        def fail(name: str, call: Callable[..., Any], args: tuple[Any, ...], k: int = k) -> Any:
            nonlocal count
            count += 1
            if count == k + 1:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return call(*args)

        raised: type[BaseException] | None = None
        with calls.watched(fail):
            try:
                run(path, new, inplace)
            except OSError as error:
                raised = type(error)
        if raised not in (None, CommittedNotAppliedError):
            assert os.listdir(directory) == ["a.h5"]
        assert state(path, old, new, "r+") == ("old" if raised not in (None, CommittedNotAppliedError) else "new")
        seen.add(raised)
        if count <= k:
            break
        shutil.rmtree(directory)
    assert len(seen) == 3


def make_new(path: str, codec: str, values: np.ndarray, seen: list[Any]) -> None:
    """Note in ``seen`` that the file was made, or what prevented it."""
    try:
        target = hdf5.create(path, values.shape, values.dtype, codec=codec, durability="full")
        try:
            put(target, whole(values.shape), values)
            target.commit()
        finally:
            target.abort()
    except OSError as error:
        seen.append(error)
        raise
    seen.append("made")


@pytest.mark.parametrize("codec", ["gzip", "lzf", "none"])
def test_an_error_while_a_file_is_made_is_that_error_and_leaves_nothing(codec: str, tmp_path: Path) -> None:
    values = np.arange(40.0).reshape(4, 10)
    for k in range(1000):
        count = 0

        def fail(name: str, call: Callable[..., Any], args: tuple[Any, ...], k: int = k) -> Any:
            nonlocal count
            count += 1
            if count == k + 1:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return call(*args)

        seen: list[Any] = []
        with calls.watched(fail), contextlib.suppress(OSError):
            make_new(str(tmp_path / "a.h5"), codec, values, seen)
        if seen == ["made"]:
            break
        assert [error.errno for error in seen] == [errno.EIO]
        if isinstance(seen[0], CommittedNotAppliedError):
            os.unlink(tmp_path / "a.h5")
        assert os.listdir(tmp_path) == []
    assert k > 10
    assert os.listdir(tmp_path) == ["a.h5"]


def test_chunks_may_be_left_blank(tmp_path: Path) -> None:
    for codec in ("gzip", "lzf", "none"):
        path = str(tmp_path / f"{codec}.h5")
        target = hdf5.create(path, (4, 10), "i4", codec=codec, chunks=None if codec == "none" else (2, 5))
        put(target, ((2, 4), (0, 5)), np.ones((2, 5), "i4"))
        target.blank()
        target.commit()
        expected = np.zeros((4, 10), "i4")
        expected[2:, :5] = 1
        stored = hdf5.open(path, "r+")
        same(read(stored), expected)
        change(stored, expected + 1)
        same(read(stored.fresh()), expected + 1)
        assert stored.fresh().layout.complete


def test_small_changes_in_place_write_little(tmp_path: Path) -> None:
    path = str(tmp_path / "a.h5")
    values = np.random.default_rng(0).normal(size=(100, 2000))
    make(path, values, chunks=(10, 100))
    written = 0

    def count(name: str, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        nonlocal written
        result = call(*args)
        written += result if name == "pwrite" else 0
        return result

    with calls.watched(count):
        change(hdf5.open(path, "r+", member="g/x", unsafe_inplace=True), -values, 1)
    assert written < 100_000
    written = 0
    with calls.watched(count):  # made anew, but written once
        change(hdf5.open(path, "r+", member="g/x"), values, 1)
    assert os.path.getsize(path) <= written < os.path.getsize(path) + 100_000
    check(path, values)


# --- several at a time ---------------------------------------------------------------------------


@every_layout
def test_one_writer_and_readers_of_one_generation(layout: str, tmp_path: Path) -> None:
    path = str(tmp_path / "a.h5")
    values = np.arange(120.0).reshape(10, 12)
    make(path, values, layout)
    reader, stored = hdf5.open(path, member="g/x"), hdf5.open(path, "r+", member="g/x")
    with h5py.File(path, locking=False) as foreign, stored.update() as update:
        with pytest.raises(ArrayLockedError):
            stored.update()
        write_boxes(update, -values, boxes_of(update))
        same(read(reader), values)
        same(foreign["g/x"][()], values)
        update.commit()
        if layout != "contiguous":
            same(foreign["g/x"][()], values)
    with pytest.raises(GenerationChangedError):
        read(reader)
    same(read(reader.fresh()), -values)


def test_what_cannot_be_changed_says_so(tmp_path: Path) -> None:
    path = str(tmp_path / "a.h5")
    values = np.arange(120.0).reshape(10, 12)
    make(path, values)
    stored = hdf5.open(path, "r+", member="g/x")
    with pytest.raises(UnsupportedError, match='mode="r\\+"'):
        hdf5.open(path, member="g/x").update()
    with stored.update() as update:
        with pytest.raises(GridError, match="whole chunks"):
            put(update, ((0, 3), (0, 5)), np.zeros((3, 5)))
        with pytest.raises(UnsupportedError, match="holds its lock"):
            pickle.dumps(update)
        with pytest.raises(UnsupportedError, match="holds its lock"):
            pickle.dumps(update.staged())
    with h5py.File(path, "r+") as file:
        file["again"] = file["g/x"]
        file["away"] = h5py.ExternalLink("b.h5", "/g/x")
    shutil.copy(path, tmp_path / "b.h5")
    with pytest.raises(UnsupportedError, match="a fixed size and several names"):
        hdf5.open(path, "r+", member="g/x").update((11, 3))
    with pytest.raises(UnsupportedError, match="values in other files"):
        hdf5.open(path, "r+", member="away", allow_external=True).update()
    assert set(os.listdir(tmp_path)) == {"a.h5", "b.h5"}
    check(path, values)


def test_a_forgotten_update_lets_go(tmp_path: Path) -> None:
    path = str(tmp_path / "a.h5")
    values = np.arange(120.0).reshape(10, 12)
    make(path, values)
    stored = hdf5.open(path, "r+", member="g/x")
    update = stored.update()
    put(update, ((0, 4), (0, 5)), np.zeros((4, 5)))
    del update
    with stored.update():
        pass
    assert os.listdir(tmp_path) == ["a.h5"]
    check(path, values)
    assert not journal.pending(path)


def test_empty_regions_are_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "a.h5")
    make(path, np.arange(120.0).reshape(10, 12))
    stored = hdf5.open(path, "r+", member="g/x")
    with stored.update() as update:
        put(update, ((0, 0), (0, 12)), np.zeros((0, 12)))
        update.commit()
    assert stored.fresh() is stored
    assert region_shape(whole(stored.shape)) == (10, 12)
