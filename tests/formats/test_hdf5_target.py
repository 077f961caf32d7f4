"""Writing HDF5: whole or absent, and as h5py reads it."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys
import threading

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkarr import fsio
from chunkarr.errors import GridError, MissingChunkError, OptionError, TargetExistsError, UnsupportedError
from chunkarr.formats import hdf5
from chunkarr.grid import region_slices, whole
from tests.formats.test_hdf5 import put, read, same
from tests.strategies import arrays, chunks_of, dtypes, shapes

CODECS = ["none", "lzf", "gzip", "gzip:0", "gzip:1", "gzip:9"]


def write(target, values, region=None):
    region = whole(target.shape) if region is None else region
    target.write(region, values[(*region_slices(region), ...)], np.empty(target.scratch_bytes(region), np.uint8))


def write_all(target, values):
    write(target, values)
    target.commit()


@given(st.data())
def test_what_is_written_is_what_both_read(tmp_path, data):
    values = data.draw(arrays(dtypes(), shapes(max_size=400)))
    chunks = data.draw(st.none() | chunks_of(values.shape))
    order, codec = data.draw(st.sampled_from("CF")), data.draw(st.sampled_from(CODECS))
    path = str(tmp_path / "a.h5")
    target = hdf5.create(
        path, values.shape, values.dtype, member="/g/x", chunks=chunks, codec=codec, order=order, overwrite=True
    )
    rows = target.grid.steps[0] if values.ndim else 1
    pieces = (
        [((a, min(a + rows, values.shape[0])), *whole(values.shape[1:])) for a in range(0, values.shape[0], rows)]
        if values.ndim
        else [()]
    )
    for region in reversed(pieces):
        write(target, np.array(values, order=data.draw(st.sampled_from("CF"))), region)
    target.commit()
    stored = hdf5.open(path)
    assert (stored.shape, stored.dtype, stored.order) == (values.shape, values.dtype, order)
    assert same(read(stored), values)
    with h5py.File(path) as file:
        theirs = np.asarray(file["g/x"][()])
        assert same(theirs.T if order == "F" else theirs, values)
        assert file["g/x"].dtype == values.dtype
    assert os.listdir(tmp_path) == ["a.h5"]


def test_what_the_file_says_of_itself(tmp_path):
    target = hdf5.create(str(tmp_path / "a.h5"), (10, 9), "i4", chunks=(4, 99))
    assert (target.grid.steps, target.distributable) == ((4, 9), False)
    write(target, np.zeros((10, 9), "i4"))
    target.commit()
    with h5py.File(tmp_path / "a.h5") as file:
        made = file["data"]
        found = (made.chunks, made.compression, made.compression_opts, made.shuffle, made.fletcher32)
        assert found == ((4, 9), "gzip", 1, True, True)
        assert made.id.get_create_plist().fill_value_defined() == h5py.h5d.FILL_VALUE_USER_DEFINED
        assert h5py.h5o.get_info(made.id).mtime == 0


def test_one_number_for_all_axes(tmp_path):
    target = hdf5.create(str(tmp_path / "a.h5"), (10, 9, 2), "i4", chunks=4)
    assert target.grid.steps == (4, 4, 2)
    target.abort()


def test_the_same_values_make_the_same_bytes(tmp_path):
    for name in "ab":
        target = hdf5.create(str(tmp_path / name), (30,), "f8", chunks=(8,))
        write(target, np.arange(30.0))
        target.commit()
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_values_that_do_not_compress_are_stored_as_they_are(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, 5000, "u1")
    target = hdf5.create(str(tmp_path / "a.h5"), values.shape, "u1", chunks=(1000,))
    write(target, values)
    target.commit()
    with h5py.File(tmp_path / "a.h5") as file:
        info = file["data"].id.get_chunk_info(0)
        assert (info.size, info.filter_mask) == (1015, 0)  # in a frame: HDF5 forgets masks where sizes stay
        assert np.array_equal(file["data"][()], values)


def test_threads_write_at_once(tmp_path):
    values = np.random.default_rng(0).integers(0, 99, (64, 50))
    target = hdf5.create(str(tmp_path / "a.h5"), values.shape, values.dtype, chunks=(4, 7))
    work = [threading.Thread(target=write, args=(target, values, ((i, i + 4), (0, 50)))) for i in range(0, 64, 4)]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    target.commit()
    assert np.array_equal(read(hdf5.open(str(tmp_path / "a.h5"))), values)


@pytest.mark.parametrize("codec", ["none", "gzip"])
def test_absent_until_committed(tmp_path, codec):
    path = str(tmp_path / "a.h5")
    target = hdf5.create(path, (4,), "i4", codec=codec)
    write(target, np.arange(4, dtype="i4"))
    assert not os.path.exists(path)
    target.abort()
    target.abort()
    assert os.listdir(tmp_path) == []
    with pytest.raises(RuntimeError, match="was committed or aborted"):
        write(target, np.arange(4, dtype="i4"))
    with pytest.raises(RuntimeError, match="once"):
        target.commit()


@pytest.mark.parametrize("codec", ["none", "gzip", "lzf"])
def test_forgotten_target_leaves_nothing(tmp_path, codec):
    write(hdf5.create(str(tmp_path / "a.h5"), (4,), "i4", codec=codec), np.arange(4, dtype="i4"))
    assert os.listdir(tmp_path) == []


def test_process_that_ends_without_commit(tmp_path):
    code = (
        "import sys, numpy as np; from chunkarr.formats import hdf5\n"
        "t = hdf5.create(sys.argv[1], (40,), 'i4', chunks=(10,))\n"
        "t.write(((0, 10),), np.ones(10, 'i4'), np.empty(9000, 'u1'))\n"
    )
    command = [sys.executable, "-W", "error", "-c", code, str(tmp_path / "a.h5")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr, os.listdir(tmp_path)) == (0, "", [])


def test_old_file_stays_unless_overwritten(tmp_path):
    path = str(tmp_path / "a.h5")
    put(path, np.arange(3))
    with pytest.raises(TargetExistsError, match=r"a\.h5: exists already"):
        hdf5.create(path, (4,), "i4")
    target = hdf5.create(path, (4,), "i4", overwrite=True)
    assert read(hdf5.open(path)).tolist() == [0, 1, 2]
    write(target, np.arange(4, dtype="i4"))
    target.commit()
    assert read(hdf5.open(path)).tolist() == [0, 1, 2, 3]


def test_chunk_that_nobody_wrote(tmp_path):
    target = hdf5.create(str(tmp_path / "a.h5"), (10,), "i4", chunks=(4,))
    write(target, np.arange(10, dtype="i4"), ((0, 4),))
    with pytest.raises(MissingChunkError, match="2 of 3 chunks were not written"):
        target.commit()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("codec", ["none", "gzip", "lzf"])
def test_full_disk(tmp_path, monkeypatch, codec):
    path = str(tmp_path / "a.h5")
    put(path, np.arange(3))
    target = hdf5.create(path, (4000,), "f8", codec=codec, overwrite=True)

    def full(fd, buffer, offset, path=""):
        raise OSError(errno.ENOSPC, "No space left on device", path)

    with monkeypatch.context() as patch:
        patch.setattr(fsio.transfer, "_pwrite", full)
        with pytest.raises(OSError, match="No space left") as caught:
            write_all(target, np.random.default_rng(0).random(4000))
        target.abort()
    assert caught.value.errno == errno.ENOSPC
    assert os.listdir(tmp_path) == ["a.h5"]
    assert read(hdf5.open(path)).tolist() == [0, 1, 2]


def test_only_the_creator_writes(tmp_path):
    target = hdf5.create(str(tmp_path / "a.h5"), (4,), "i4")
    with pytest.raises(UnsupportedError, match=r"a\.h5: an HDF5 file is written by the process that created it"):
        pickle.dumps(target)
    target.abort()


@pytest.mark.parametrize(
    ("shape", "dtype", "options", "error", "reason"),
    [
        ((4,), "S0", {}, UnsupportedError, r"no type for the dtype \|S0"),
        ((4,), "O", {}, UnsupportedError, "no type for the dtype object"),
        ((4,), "i4", {"codec": "zstd"}, OptionError, "not 'zstd'"),
        ((4,), "i4", {"codec": "gzip:10"}, OptionError, "not 'gzip:10'"),
        ((4,), "i4", {"order": "A"}, OptionError, "'A'"),
        ((4,), "i4", {"member": "/"}, OptionError, "not '/'"),
        ((4, 4), "i4", {"chunks": (4,)}, GridError, "one integer >= 1 per axis"),
        ((4, 4), "i4", {"chunks": (4, 0)}, GridError, "one integer >= 1 per axis"),
        ((1 << 40,), "i4", {"chunks": (1 << 31,)}, GridError, "4 GiB"),
        ((-1,), "i4", {}, OptionError, "shape"),
        ((1,) * 33, "i4", {}, UnsupportedError, "at most 32 axes"),
    ],
)
def test_refused_before_anything_is_made(tmp_path, shape, dtype, options, error, reason):
    with pytest.raises(error, match=reason):
        hdf5.create(str(tmp_path / "a.h5"), shape, dtype, **options)
    assert os.listdir(tmp_path) == []


def test_region_across_chunks_is_refused(tmp_path):
    target = hdf5.create(str(tmp_path / "a.h5"), (10,), "i4", chunks=(4,))
    with pytest.raises(GridError, match="whole chunks"):
        write(target, np.arange(10, dtype="i4"), ((0, 5),))
    target.abort()
