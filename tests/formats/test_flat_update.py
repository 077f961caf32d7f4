"""Changes of npy and raw files: NumPy is the oracle, and at every moment the file is the old or the new one."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
import stat
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkarr.errors import (
    ArrayLockedError,
    CommittedNotAppliedError,
    CorruptChunkError,
    ForeignChangeError,
    GenerationChangedError,
    OptionError,
    UnsupportedError,
)
from chunkarr.formats import journal, npy, patch, raw, redo
from chunkarr.formats.contract import Stored
from chunkarr.fsio import calls
from chunkarr.grid import Region, region_shape, region_slices, whole
from tests.oracle import same
from tests.strategies import arrays

CONTENT = 9000  # bytes of a file that is large enough for some pages to stay


@dataclass(frozen=True)
class Kind:
    """A way in which an array lies in a file."""

    name: str
    suffix: str
    order: str = "C"
    offset: int = 0

    def save(self, path: str, values: np.ndarray) -> None:
        if self.suffix == ".npy":
            np.save(path, np.asarray(values, order=self.order))
        else:
            Path(path).write_bytes(b"p" * self.offset + values.tobytes(self.order))

    def open(self, path: str, like: np.ndarray, mode: str = "r+", **options: Any) -> Any:
        if self.suffix == ".npy":
            return npy.open(path, mode, **options)
        shape = like.shape
        if like.ndim and all(shape):
            slow = 0 if self.order == "C" else like.ndim - 1
            shape = (*shape[:slow], -1, *shape[slow + 1 :])
        return raw.open(path, mode, dtype=like.dtype, shape=shape, offset=self.offset, order=self.order, **options)


KINDS = (
    Kind("npy", ".npy"),
    Kind("npy-fortran", ".npy", "F"),
    Kind("raw", ".raw"),
    Kind("raw-offset-fortran", ".raw", "F", 4100),
)
every_kind = pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])


def scratch(holder: Any, region: Region) -> np.ndarray:
    return np.full(holder.scratch_bytes(region), 0xA5, "u1")


def read(stored: Any, region: Region | None = None) -> np.ndarray:
    region = whole(stored.shape) if region is None else region
    out = np.empty(region_shape(region), stored.dtype)
    stored.read(region, out, scratch(stored, region))
    return out


def put(update: Any, region: Region, values: np.ndarray) -> None:
    update.write(region, values, scratch(update, region))


def resized(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    out = np.zeros(shape, values.dtype)
    common = (*map(slice, map(min, shape, values.shape)), ...)
    out[common] = values[common]
    return out


def change(stored: Any, new: np.ndarray, *regions: Region) -> None:
    """Give the array the shape of ``new`` and write these regions of it."""
    with stored.update(None if new.shape == stored.shape else new.shape) as update:
        for region in regions:
            put(update, region, new[(*region_slices(region), ...)])
        update.commit()


@st.composite
def regions(draw: st.DrawFn, shape: tuple[int, ...]) -> Region:
    return tuple(tuple(sorted((draw(st.integers(0, n)), draw(st.integers(0, n))))) for n in shape)


# --- values --------------------------------------------------------------------------------------


@every_kind
@given(data=st.data())
@settings(max_examples=40)
def test_regions_and_shapes_are_those_of_numpy(kind: Kind, data: st.DataObject) -> None:
    values = data.draw(arrays())
    if kind.suffix == ".raw" and not values.dtype.itemsize:
        return
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "a" + kind.suffix)
        kind.save(path, values)
        stored = kind.open(path, values, durability="process")
        expected = values.copy()
        for _ in range(3):
            shape = None
            if data.draw(st.booleans()):
                shape = tuple(data.draw(st.integers(0, n + 3)) for n in expected.shape)
            with stored.update(shape) as update:
                after = expected if shape is None else resized(expected, shape)
                for _ in range(data.draw(st.integers(0, 3))):
                    region = data.draw(regions(after.shape))
                    block = data.draw(arrays(dtype=st.just(values.dtype), shape=st.just(region_shape(region))))
                    after = after.copy()
                    after[(*region_slices(region), ...)] = block
                    put(update, region, block if data.draw(st.booleans()) else np.asarray(block, order="F"))
                same(read(update.staged()), after)
                region = data.draw(regions(after.shape))
                same(read(update.staged(), region), after[(*region_slices(region), ...)])
                same(read(update.before), expected)
                if data.draw(st.booleans()):
                    update.commit()
                    expected = after
            stored = stored.fresh()
            same(read(stored), expected)
            assert os.listdir(directory) == ["a" + kind.suffix]
        if kind.suffix == ".npy":
            same(np.load(path), expected)
        else:
            data_only = Path(path).read_bytes().removeprefix(b"p" * kind.offset)
            assert len(data_only) == expected.nbytes
            same(np.ndarray(expected.shape, expected.dtype, data_only, order=kind.order), expected)


@pytest.mark.parametrize("page", [16, 64])
@given(data=st.data())
@settings(max_examples=60)
def test_pages_of_any_size_keep_what_lies_beside(page: int, data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=3)))
    values = np.arange(np.prod(shape), dtype="<u2").reshape(shape)
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as monkey:
        monkey.setattr(patch, "PAGE", page)
        monkey.setattr(patch, "NEAR", data.draw(st.sampled_from([0, 40, 1000])))
        monkey.setattr(redo, "PIECE", data.draw(st.sampled_from([64, 1 << 20])))
        path = os.path.join(directory, "a.npy")
        np.save(path, values)
        stored = npy.open(path, "r+", durability="process")
        expected = values.copy()
        with stored.update() as update:
            for i in range(data.draw(st.integers(1, 4))):
                region = data.draw(regions(shape))
                expected[region_slices(region)] = 1000 + i
                put(update, region, np.full(region_shape(region), 1000 + i, "<u2"))
                part = data.draw(regions(shape))
                same(read(update.staged(), part), expected[region_slices(part)])
            update.commit()
        same(np.load(path), expected)


def test_threads_may_write_what_shares_pages(tmp_path: Path) -> None:
    values = np.arange(300 * 400, dtype="<i8").reshape(300, 400)
    np.save(tmp_path / "a.npy", values)
    stored = npy.open(str(tmp_path / "a.npy"), "r+")
    with stored.update() as update, ThreadPoolExecutor(8) as pool:
        boxes = [((a, a + 60), (b, b + 7)) for a in range(0, 300, 60) for b in range(0, 399, 7)]
        list(pool.map(lambda box: put(update, box, -values[region_slices(box)]), boxes))
        update.commit()
    values[:, :399] *= -1
    same(np.load(tmp_path / "a.npy"), values)


def test_a_later_write_wins(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(5000))
    stored = npy.open(str(tmp_path / "a.npy"), "r+")
    with stored.update() as update:
        generations = set()
        for i in range(1, 4):
            put(update, ((i, 4000),), np.full(4000 - i, float(i)))
            generations.add(update.staged().generation())
        assert len(generations) == 3
        update.commit()
    same(np.load(tmp_path / "a.npy")[:5], np.array([0.0, 1, 2, 3, 3]))


@every_kind
def test_shrinking_and_growing_gives_zeros(kind: Kind, tmp_path: Path) -> None:
    path = str(tmp_path / f"a{kind.suffix}")
    values = np.arange(1, 6001, dtype="<i4").reshape(60, 100)
    kind.save(path, values)
    stored = kind.open(path, values)
    for shape in [(60, 70), (60, 100), (20, 100), (60, 100), (0, 100), (3, 100)]:
        change(stored, np.zeros(shape, "<i4"))
        values, stored = resized(values, shape), stored.fresh()
        same(read(stored), values)


def test_raw_records_keep_their_shape_for_who_holds_them(tmp_path: Path) -> None:
    path = str(tmp_path / "a.raw")
    np.arange(6, dtype="<i2").tofile(path)
    fixed = raw.open(path, "r+", dtype="<i2", shape=(3, 2))
    change(fixed, np.arange(10, dtype="<i2").reshape(5, 2), ((3, 5), (0, 2)))
    assert fixed.fresh().shape == (5, 2)
    assert pickle.loads(pickle.dumps(fixed)).fresh().shape == (5, 2)
    assert raw.open(path, dtype="<i2", shape=(3, 2)).shape == (3, 2)
    free = raw.open(path, "r+", dtype="<i2", shape=(-1, 2))
    change(free, np.zeros((5, 3), "<i2"))
    assert free.fresh().shape == (5, 3)
    assert free.fresh().fresh().wanted.shape == (-1, 3)
    with pytest.raises(UnsupportedError, match="18 B lie behind the 12 B"):
        raw.open(path, "r+", dtype="<i2", shape=(2, 3)).update((3, 3))
    with raw.open(path, "r+", dtype="<i2", shape=(2, 3)).update() as update:  # what lies behind stays
        put(update, ((0, 2), (0, 3)), np.full((2, 3), 7, "<i2"))
        update.commit()
    assert os.path.getsize(path) == 30


def test_a_header_without_room_moves_the_elements(tmp_path: Path) -> None:
    path = str(tmp_path / "a.npy")
    values = np.arange(6, dtype="<i4").reshape(2, 3)
    text = b"{'descr':'<i4','fortran_order':False,'shape':(2,3)}\n"
    Path(path).write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + values.tobytes())
    stored = npy.open(path, "r+")
    change(stored, -values, ((1, 2), (0, 3)))
    assert Path(path).read_bytes()[10:].startswith(text)
    change(stored, resized(values, (40, 3)))
    values[1] *= -1
    same(np.load(path), resized(values, (40, 3)))
    assert stored.fresh().offset == 128
    change(stored, resized(values, (10**6, 3)))
    assert stored.fresh().offset == 128  # there is room for 21 digits


def test_headers_keep_their_version_and_place(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with path.open("wb") as file:
        np.lib.format.write_array(file, np.arange(4.0), (2, 0))
    stored = npy.open(str(path), "r+")
    change(stored, resized(np.arange(4.0), (9,)))
    same(np.load(path), resized(np.arange(4.0), (9,)))
    assert stored.fresh().offset == stored.offset


# --- at every moment -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Operation:
    """A change of an array of 60 x 100, of which some make the file anew and some are copied into it."""

    name: str
    shape: tuple[int, int] = (60, 100)
    regions: tuple[Region, ...] = ()
    linked: bool = False  # the file has a second name, which must stay its
    durability: str = "full"


ALL = ((0, 60), (0, 100))
OPERATIONS = (
    Operation("part", regions=(((3, 5), (10, 20)), ((41, 42), (0, 100)))),
    Operation("part, without fsync", regions=(((3, 5), (10, 20)),), durability="process"),
    Operation("whole", regions=(ALL,)),
    Operation("most", regions=(((5, 60), (0, 100)),)),
    Operation("whole, linked", regions=(ALL,), linked=True),
    Operation("append", (70, 100), (((60, 70), (0, 100)), ((0, 1), (3, 4)))),
    Operation("append much", (200, 100), (((60, 200), (0, 100)),)),
    Operation("shrink", (30, 100)),
    Operation("columns", (60, 120), (((0, 60), (100, 120)),)),
    Operation("columns, linked", (60, 70), linked=True),
)


def make(operation: Operation, kind: Kind, directory: Path) -> tuple[str, np.ndarray, np.ndarray]:
    """Return path, old and new values."""
    directory.mkdir(exist_ok=True)
    path = str(directory / f"a{kind.suffix}")
    old = np.arange(6000, dtype=">i4").reshape(60, 100)
    new = resized(old, operation.shape)
    for region in operation.regions:
        new[region_slices(region)] = -1 - np.arange(new[region_slices(region)].size).reshape(region_shape(region))
    kind.save(path, old)
    if operation.linked:
        os.link(path, directory / "second")
    return path, old, new


def run(operation: Operation, kind: Kind, path: str, old: np.ndarray, new: np.ndarray) -> None:
    change(kind.open(path, old, durability=operation.durability), new, *operation.regions)


class Camera:
    """Copy a directory before every call that changes it, and between the halves of every write."""

    def __init__(self, directory: Path, album: Path) -> None:
        self.directory, self.album, self.taken = directory, album, 0

    def shoot(self) -> None:
        shutil.copytree(self.directory, self.album / str(self.taken), copy_function=shutil.copyfile)
        self.taken += 1

    def __call__(self, name: str, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        self.shoot()
        if name == "pwrite":
            half = len(args[1]) // 2
            call(args[0], args[1][:half], args[2])
            self.shoot()
            call(args[0], args[1][half:], args[2] + half)
            return len(args[1])
        return call(*args)


def state(kind: Kind, directory: Path, old: np.ndarray, new: np.ndarray, mode: str) -> str:
    """Open what a killed writer left; say which array it is, and that nothing is left over."""
    path = str(directory / f"a{kind.suffix}")
    found = read(kind.open(path, old, mode))
    names = {"old": old, "new": new}
    states = [name for name, values in names.items() if found.shape == values.shape and (found == values).all()]
    assert len(states) == 1, found
    if mode == "r+":
        assert not [name for name in os.listdir(directory) if name.startswith(".")]
    assert not journal.pending(path)
    if kind.suffix == ".npy":
        same(np.load(path), names[states[0]])
    return states[0]


@pytest.mark.parametrize("operation", OPERATIONS, ids=[operation.name for operation in OPERATIONS])
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(KINDS[0], id="npy"),
        pytest.param(Kind("raw", ".raw", "C", 4100), id="raw", marks=pytest.mark.nightly),
    ],
)
def test_killed_at_any_call(operation: Operation, kind: Kind, tmp_path: Path) -> None:
    if kind.suffix == ".raw" and "columns" in operation.name:
        return  # who opens raw records must know the length of their rows
    path, old, new = make(operation, kind, tmp_path / "live")
    camera = Camera(tmp_path / "live", tmp_path)
    with calls.watched(camera):
        run(operation, kind, path, old, new)
    camera.shoot()
    states = []
    for i in range(camera.taken):
        again = Camera(tmp_path / str(i), tmp_path / f"again{i}")
        with calls.watched(again):
            states.append(state(kind, tmp_path / str(i), old, new, "r+" if i % 2 else "r"))
        for j in range(again.taken):  # killed while it recovers
            assert state(kind, tmp_path / f"again{i}" / str(j), old, new, "r" if j % 2 else "r+") == states[-1]
    assert states == sorted(states, reverse=True)  # old until the commit point, new ever after
    assert set(states) == {"old", "new"}


@pytest.mark.parametrize("operation", OPERATIONS, ids=[operation.name for operation in OPERATIONS])
@pytest.mark.parametrize("code", [errno.ENOSPC, pytest.param(errno.EINTR, marks=pytest.mark.nightly)])
def test_an_error_at_any_call_says_which_array_it_is(operation: Operation, code: int, tmp_path: Path) -> None:
    kind = KINDS[0]
    seen = set()
    for k in range(1000):
        directory = tmp_path / str(k)
        path, old, new = make(operation, kind, directory)
        before = journal.file_generation(path)
        count = 0

        def fail(name: str, call: Callable[..., Any], args: tuple[Any, ...], k: int = k) -> Any:
            nonlocal count
            count += 1
            if count == k + 1:
                raise OSError(code, os.strerror(code))
            return call(*args)

        raised: type[BaseException] | None = None
        with calls.watched(fail):
            try:
                run(operation, kind, path, old, new)
            except OSError as error:
                raised = type(error)
        left = {name for name in os.listdir(directory) if name.startswith(".")}
        if raised is not None and raised is not CommittedNotAppliedError:
            assert not left
            assert journal.file_generation(path) == before
        expected = "old" if raised not in (None, CommittedNotAppliedError) else "new"
        assert state(kind, directory, old, new, "r+") == expected, (k, raised)
        seen.add(raised)
        if count <= k:
            break
        shutil.rmtree(directory)
    assert CommittedNotAppliedError in seen or operation.durability == "process"
    assert len(seen) == 3


def test_a_write_that_failed_is_not_committed(tmp_path: Path) -> None:
    path, old, _ = make(OPERATIONS[0], KINDS[0], tmp_path)
    with npy.open(path, "r+").update() as update:
        put(update, ((0, 1), (0, 100)), old[:1])

        def fail(name: str, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
            raise OSError(errno.ENOSPC, "full")

        with calls.watched(fail), pytest.raises(OSError, match=r"full: .*journal"):
            put(update, ((9, 30), (0, 100)), old[9:30])
        with pytest.raises(RuntimeError, match="not after a failed write"):
            update.commit()
    same(np.load(path), old)


# --- several at a time ---------------------------------------------------------------------------


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    path, old, new = make(OPERATIONS[0], KINDS[0], tmp_path)
    one, two = npy.open(path, "r+"), npy.open(path, "r+", timeout=5)
    reverse = old[:, ::-1].copy()
    with one.update() as update:
        put(update, ((0, 1), (0, 100)), new[:1])
        with pytest.raises(ArrayLockedError, match="another writer"):
            one.update()
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(change, two, reverse, ALL)
            assert npy.open(path, "r+").shape == (60, 100)  # leaves what a living writer stages
            update.commit()
            waiting.result()
    same(np.load(path), reverse)


def test_what_was_read_is_of_one_generation(tmp_path: Path) -> None:
    path = str(tmp_path / "a.npy")
    np.save(path, np.zeros(20_000))
    writer = npy.open(path, "r+", durability="process", timeout=10)
    stop = threading.Event()

    def write() -> None:
        for i in range(1, 60):
            values = np.full(20_000, float(i))
            with writer.update() as update:
                for a in range(0, 20_000, 2_000):  # one page in each of many, or all
                    b = a + (2_000 if i % 2 else 100)
                    put(update, ((a, b),), values[a:b])
                update.commit()
        stop.set()

    thread = threading.Thread(target=write)
    thread.start()
    stored, good, changed = npy.open(path), 0, 0
    while not stop.is_set():
        stored = stored.fresh()
        try:
            found = read(stored)
        except GenerationChangedError:
            changed += 1
            continue
        good += 1
        pages = found.reshape(10, 2_000)
        assert (pages == pages[:1]).all()
        assert (pages[0, :100] >= pages[0, 100]).all()
        assert len(set(pages[0].tolist())) <= 2
    thread.join()
    assert good >= 5
    same(np.load(path)[::2_000], np.full(10, 59.0))


def test_a_reader_finishes_what_a_killed_writer_committed(tmp_path: Path) -> None:
    path, old, new = make(OPERATIONS[0], KINDS[0], tmp_path)
    reader = npy.open(path)
    committed(path, old, new, OPERATIONS[0])
    assert reader.generation() != reader.found
    with pytest.raises(GenerationChangedError, match="changed while it was read"):
        read(reader)
    same(np.load(path), old)
    same(read(reader.fresh()), new)
    same(np.load(path), new)


def committed(path: str, old: np.ndarray, new: np.ndarray, operation: Operation) -> None:
    """Leave the file as a writer does that is killed at the commit point."""

    class Killed(BaseException):
        pass

    def kill(name: str, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        result = call(*args)
        if name == "rename":
            raise Killed
        return result

    with calls.watched(kill), pytest.raises(Killed):
        run(operation, KINDS[0], path, old, new)
    assert journal.pending(path)


def test_recover_says_what_it_did(tmp_path: Path) -> None:
    path, old, new = make(OPERATIONS[0], KINDS[0], tmp_path)
    assert journal.recover(path) is None
    committed(path, old, new, OPERATIONS[0])
    assert journal.recover(path) == "finished a committed change of 8192 B"
    same(np.load(path), new)
    Path(journal.journal_file(path)).write_bytes(b"unfinished")
    assert journal.recover(path) == "dropped a change that was not committed"
    with npy.open(path, "r+").update(), pytest.raises(ArrayLockedError):
        journal.recover(path)
    assert os.listdir(tmp_path) == ["a.npy"]


def test_a_damaged_commit_is_refused(tmp_path: Path) -> None:
    path, old, new = make(OPERATIONS[0], KINDS[0], tmp_path)
    committed(path, old, new, OPERATIONS[0])
    name = journal.commit_file(path)
    good = Path(name).read_bytes()
    file = Path(path).read_bytes()
    assert len(good) > 24_000
    at = [128 + 300 * 4, len(good) - 60, len(good) - 3]  # a changed page, the index, the mark
    for i in at:
        Path(name).write_bytes(good[:i] + bytes([good[i] ^ 1]) + good[i + 1 :])
        with pytest.raises(CorruptChunkError, match=r"a\.npy\.commit: .*remove it to keep the array as it is"):
            npy.open(path)
        assert Path(path).read_bytes() == file
    for size in (0, 10, len(good) - 1):
        Path(name).write_bytes(good[:size])
        with pytest.raises(CorruptChunkError, match="not that of a committed change"):
            npy.open(path)
    Path(name).write_bytes(good)
    same(read(npy.open(path)), new)


def test_a_commit_is_not_applied_to_another_file(tmp_path: Path) -> None:
    path, old, new = make(OPERATIONS[0], KINDS[0], tmp_path)
    committed(path, old, new, OPERATIONS[0])
    for other in (old[:30], old * 3):
        np.save(path, other)
        with pytest.raises(ForeignChangeError, match="changed by another writer after the change"):
            npy.open(path)
        same(np.load(path), other)
    os.unlink(journal.commit_file(path))
    same(read(npy.open(path)), old * 3)


def test_a_writer_that_replaced_the_file_leaves_the_next_ones_journal(tmp_path: Path) -> None:
    path, old, new = make(OPERATIONS[2], KINDS[0], tmp_path)
    others = []

    def follow(name: str, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        result = call(*args)
        if name == "rename" and not others:  # the lock is that of the old file
            others.append(npy.open(path, "r+").update())
            put(others[0], ((0, 1), (0, 100)), old[:1])
        return result

    with calls.watched(follow):
        run(OPERATIONS[2], KINDS[0], path, old, new)
    others[0].commit()
    new[0] = old[0]
    same(np.load(path), new)


def test_saving_over_an_array_waits_for_its_changes(tmp_path: Path) -> None:
    path, old, new = make(OPERATIONS[0], KINDS[0], tmp_path)
    target = npy.create(path, (3,), "<i2", overwrite=True)
    target.write(((0, 3),), np.arange(3, dtype="<i2"), scratch(target, ((0, 3),)))
    with npy.open(path, "r+").update(), pytest.raises(ArrayLockedError):
        target.commit()
    same(np.load(path), old)
    committed(path, old, new, OPERATIONS[0])
    target.commit()
    assert os.listdir(tmp_path) == ["a.npy"]
    same(read(npy.open(path)), np.arange(3, dtype="<i2"))
    KINDS[0].save(path, old)
    committed(path, old, new, OPERATIONS[0])
    os.unlink(path)
    target = npy.create(path, (2,), "<i2")
    target.commit()
    same(read(npy.open(path)), np.zeros(2, "<i2"))


def test_another_program_that_writes_meanwhile_is_noticed(tmp_path: Path) -> None:
    path, old, new = make(OPERATIONS[0], KINDS[0], tmp_path)
    with npy.open(path, "r+").update() as update:
        put(update, ((0, 1), (0, 100)), new[:1])
        np.save(path, old * 5)
        with pytest.raises(GenerationChangedError, match="another program changed it meanwhile"):
            update.commit()
    same(np.load(path), old * 5)
    assert os.listdir(tmp_path) == ["a.npy"]


# --- the file ------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", OPERATIONS[:5], ids=[operation.name for operation in OPERATIONS[:5]])
def test_permissions_links_and_names_stay(operation: Operation, tmp_path: Path) -> None:
    path, old, new = make(operation, KINDS[0], tmp_path / "there")
    os.chmod(path, 0o640)
    link = tmp_path / "link.npy"
    link.symlink_to(path)
    before = os.stat(path)
    run(operation, KINDS[0], str(link), old, new)
    assert link.is_symlink()
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o640
    assert os.stat(path).st_nlink == before.st_nlink
    assert os.stat(path).st_mtime_ns > before.st_mtime_ns
    same(np.load(path), new)
    if operation.linked:
        same(np.load(tmp_path / "there" / "second"), new)
    assert set(os.listdir(tmp_path)) == {"there", "link.npy"}


def test_whole_changes_are_written_once_and_small_ones_cost_little(tmp_path: Path) -> None:
    path = str(tmp_path / "a.npy")
    values = np.arange(1 << 20, dtype="<i4").reshape(1024, 1024)
    np.save(path, values)
    written = 0

    def count(name: str, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        nonlocal written
        result = call(*args)
        written += result if name == "pwrite" else 0
        return result

    stored = npy.open(path, "r+")
    with calls.watched(count):
        change(stored, values + 1, *(((a, a + 128), (0, 1024)) for a in range(0, 1024, 128)))
    assert values.nbytes <= written < 1.02 * values.nbytes
    written = 0
    with calls.watched(count):
        change(stored, values + 2, ((5, 6), (7, 8)))
    assert written < 3 * 4096
    written = 0
    with calls.watched(count):  # a column: every page is touched
        change(stored, values + 3, *(((a, a + 128), (5, 6)) for a in range(0, 1024, 128)))
    assert written < 1.2 * values.nbytes


def test_a_time_that_does_not_pass_is_set_later(tmp_path: Path) -> None:
    path, old, new = make(OPERATIONS[0], KINDS[0], tmp_path)
    future = 2**62
    os.utime(path, ns=(future, future))
    run(OPERATIONS[0], KINDS[0], path, old, new)
    assert os.stat(path).st_mtime_ns > future


def test_very_long_names(tmp_path: Path) -> None:
    name = "n" * 250 + ".npy"
    np.save(tmp_path / name, np.zeros(3))
    change(npy.open(str(tmp_path / name), "r+"), np.ones(3), ((0, 2),))
    same(np.load(tmp_path / name), np.array([1.0, 1, 0]))
    assert journal.commit_file("a/" + name) != journal.commit_file("a/" + "n" * 249 + "m.npy")


def test_what_cannot_be_changed_says_so(tmp_path: Path) -> None:
    path, _, _ = make(OPERATIONS[0], KINDS[0], tmp_path)
    with pytest.raises(UnsupportedError, match='open it with mode="r\\+"'):
        npy.open(path).update()
    stored = npy.open(path, "r+")
    with pytest.raises(OptionError, match="the axes stay as many"):
        stored.update((6000,))
    with pytest.raises(OptionError, match="must be an integer"):
        stored.update((-1, 100))
    with stored.update() as update, pytest.raises(UnsupportedError, match="holds its lock"):
        pickle.dumps(update)
    with stored.update() as update:
        with pytest.raises(ValueError, match="the block has shape"):
            put(update, ((0, 1), (0, 100)), np.zeros((2, 100), ">i4"))
        with pytest.raises(UnsupportedError):
            pickle.dumps(update.staged())
    assert os.listdir(tmp_path) == ["a.npy"]
    os.chmod(path, 0o444)
    if os.geteuid():
        with pytest.raises(PermissionError):
            npy.open(path, "r+")


def test_a_forgotten_update_lets_go(tmp_path: Path) -> None:
    path, _, _ = make(OPERATIONS[0], KINDS[0], tmp_path)
    stored: Stored = npy.open(path, "r+")
    update = stored.update()
    del update
    with stored.update():
        pass
    assert os.listdir(tmp_path) == ["a.npy"]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_leaves_the_change_to_its_parent(tmp_path: Path) -> None:
    path, _, new = make(OPERATIONS[0], KINDS[0], tmp_path)
    with npy.open(path, "r+").update() as update:
        put(update, ALL, new)
        pid = os.fork()
        if not pid:
            try:
                update.abort()
            finally:
                os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        update.commit()
    same(np.load(path), new)
    with npy.open(path, "r+").update():
        pass
