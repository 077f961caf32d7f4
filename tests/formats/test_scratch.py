"""Scratch arrays: any region, no litter, also after a kill."""

from __future__ import annotations

import errno
import gc
import os
import pickle
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkarr.errors import GridError, UnsupportedError
from chunkarr.formats.scratch import ScratchArray, sweep_scratch
from chunkarr.grid import Grid, Region, region_shape, region_slices, whole
from tests.strategies import chunks_of, dtypes, shapes


def room(array: ScratchArray, region: Region) -> np.ndarray:
    return np.empty(array.scratch_bytes(region), "u1")


def read(array: ScratchArray, region: Region) -> np.ndarray:
    out = np.empty(region_shape(region), array.dtype)
    array.read(region, out, room(array, region))
    return out


@st.composite
def regions(draw: st.DrawFn, shape: tuple[int, ...]) -> Region:
    starts = [draw(st.integers(0, n)) for n in shape]
    return tuple((a, draw(st.integers(a, n))) for a, n in zip(starts, shape, strict=True))


@given(data=st.data(), dtype=dtypes(), order=st.sampled_from("CF"))
def test_any_region_is_written_and_read(data: st.DataObject, dtype: np.dtype, order: str) -> None:
    shape = data.draw(shapes(max_dims=3, max_size=500))
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as directory:
        array = ScratchArray(directory, shape, dtype, data.draw(chunks_of(shape)))
        expected = np.zeros(shape, f"V{dtype.itemsize}")
        for _ in range(4):
            region = data.draw(regions(shape))
            extent = region_shape(region)
            block = np.frombuffer(rng.bytes(expected[(*region_slices(region), ...)].nbytes), f"V{dtype.itemsize}")
            block = np.asarray(block.reshape(extent), order=order)
            array.write(region, block.view(dtype), room(array, region))
            expected[(*region_slices(region), ...)] = block
            region = data.draw(regions(shape))
            found = read(array, region)
            assert found.tobytes() == expected[(*region_slices(region), ...)].tobytes()
            assert array.bytes_read(region) >= found.nbytes
        array.remove()
        assert os.listdir(directory) == []


def test_rows_in_columns_out(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(300, 500))
    array = ScratchArray(str(tmp_path), values.shape, values.dtype, (64, 128))

    def write(region: Region) -> None:
        array.write(region, values[region_slices(region)], room(array, region))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, Grid(values.shape, (7, 500))))
        columns = list(Grid(values.shape, (300, 11)))
        for region, found in zip(columns, pool.map(lambda region: read(array, region), columns), strict=True):
            np.testing.assert_array_equal(found, values[region_slices(region)])
    assert array.bytes_read(whole(values.shape)) == values.nbytes


def test_small_runs_are_read_in_whole_rows_of_tiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = ScratchArray(str(tmp_path), (1000, 64), "f8", (1000, 64))
    calls = []
    preadv = os.preadv
    monkeypatch.setattr(os, "preadv", lambda *args: calls.append(1) or preadv(*args))
    read(array, ((0, 1000), (3, 4)))  # 1,000 runs of 8 bytes within 512 KB
    assert len(calls) <= 3
    assert array.bytes_read(((0, 1000), (3, 4))) <= 1000 * 64 * 8


def test_the_file_is_sparse_and_private(tmp_path: Path) -> None:
    array = ScratchArray(str(tmp_path), (1 << 20, 1000), "u1", (1 << 18, 1000))
    state = os.stat(array.path)
    assert state.st_size == 1000 << 20
    assert state.st_blocks * 512 < 1 << 20
    if os.name != "nt":
        assert state.st_mode & 0o077 == 0


def test_it_goes_with_its_object_but_not_with_copies(tmp_path: Path) -> None:
    array = ScratchArray(str(tmp_path), (4,), "i4", (2,))
    copy = pickle.loads(pickle.dumps(array))
    copy.write(((0, 4),), np.arange(4, dtype="i4"), room(copy, ((0, 4),)))
    copy.remove()
    del copy
    gc.collect()
    assert read(array, ((0, 4),)).tolist() == [0, 1, 2, 3]
    del array
    gc.collect()
    assert os.listdir(tmp_path) == []


CHILD = """
import os, signal, sys
from chunkarr.formats.scratch import ScratchArray
array = ScratchArray(sys.argv[1], (4,), "i4", (2,))
if sys.argv[2] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "fork":
    child = os.fork()
    if child == 0:
        array.__dict__["_owned"].remove()
        os._exit(0)
    os.waitpid(child, 0)
    assert os.path.exists(array.path)
"""


@pytest.mark.skipif(os.name == "nt", reason="signals and locks of POSIX")
def test_it_goes_with_its_process_or_with_the_next_use(tmp_path: Path) -> None:
    def run(how: str) -> None:
        subprocess.run([sys.executable, "-c", CHILD, str(tmp_path), how], check=how != "kill")

    run("fork")
    assert os.listdir(tmp_path) == []
    run("kill")
    (litter,) = os.listdir(tmp_path)
    alive = ScratchArray(str(tmp_path), (4,), "i4", (2,))
    assert os.listdir(tmp_path) == [os.path.basename(alive.path)]
    assert sweep_scratch(str(tmp_path)) == []
    run("kill")
    assert len(sweep_scratch(str(tmp_path))) == 1
    assert os.path.exists(alive.path)
    assert litter != os.path.basename(alive.path)


def test_a_full_disk_is_an_error_before_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_blocks=20, f_bavail=10, f_frsize=4096))
    with pytest.raises(OSError, match="scratch array needs 80000 B, the disk has 40960 B free") as caught:
        ScratchArray(str(tmp_path), (10_000,), "f8", (1000,))
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path))
    assert os.listdir(tmp_path) == []


def test_a_disk_that_fills_up_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    array = ScratchArray(str(tmp_path), (4,), "i4", (2,))
    monkeypatch.setattr(os, "pwrite", fail)
    with pytest.raises(OSError, match="No space left") as caught:
        array.write(((0, 4),), np.zeros(4, "i4"), room(array, ((0, 4),)))
    assert caught.value.filename == array.path


@pytest.mark.parametrize("tile", [(2,), (2, 0), (2, 2, 2)])
def test_tiles_that_do_not_fit_are_refused(tmp_path: Path, tile: tuple[int, ...]) -> None:
    with pytest.raises(GridError, match="does not fit shape"):
        ScratchArray(str(tmp_path), (4, 4), "i4", tile)


def test_python_objects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="Python objects"):
        ScratchArray(str(tmp_path), (4,), object, (2,))
