"""Files nobody here wrote, and outputs that cannot be written: through the face, as a user meets them."""

from __future__ import annotations

import glob
import os
import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pytest
import scipy
import skimage

import chunkarr as ca
from tests.oracle import same

PACKAGES = (np, scipy, skimage)


def shipped(pattern):
    """Return the files of this pattern that NumPy, SciPy and scikit-image install."""
    return sorted(
        path
        for package in PACKAGES
        for path in glob.glob(os.path.join(os.path.dirname(package.__file__), "**", pattern), recursive=True)
    )


def test_every_npy_file_that_others_ship_is_read_or_refused_for_its_objects():
    paths = shipped("*.npy")
    assert len(paths) >= 5
    read = 0
    for path in paths:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old pickles
            try:
                expected = np.load(path, allow_pickle=False)
            except ValueError:
                with pytest.raises(ca.UnsafeInputError, match="never unpickles"):
                    ca.open(path)
                continue
        same(ca.open(path), expected)
        read += 1
    assert read >= 3


def test_an_image_of_scikit_image_as_raw_records(tmp_path):
    image = skimage.data.camera()
    (tmp_path / "camera.raw").write_bytes(b"head" + image.tobytes())
    a = ca.open(tmp_path / "camera.raw", dtype="u1", shape=(-1, 512), offset=4)
    same(a, image)
    small = ca.save(tmp_path / "small.zarr", ca.block_reduce(a, (2, 2), func=np.mean))
    same(small, skimage.measure.block_reduce(image, (2, 2), np.mean))


@pytest.mark.parametrize("name", ["out.npy", "out.raw", "out.zarr", "out.h5"])
def test_a_full_disk_leaves_the_old_file(tmp_path, name):
    path = tmp_path / name
    old = np.arange(1000.0)
    ca.save(path, old)
    code = f"""
        import resource, signal, sys
        import numpy as np, chunkarr as ca
        big = ca.asarray(np.random.default_rng(0).normal(size=(400, 1000)))
        ca.save(sys.argv[1] + ".first{os.path.splitext(name)[1]}", big[:2])  # everything is imported
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        try:
            ca.save(sys.argv[1], big, overwrite=True)
        except OSError as error:
            print("refused", error.errno, error.filename or error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.startswith("refused"), done.stderr
    assert str(tmp_path) in done.stdout
    reopened = ca.open(path, dtype="f8") if name.endswith(".raw") else ca.open(path)
    same(reopened, old)
    assert sorted(n for n in os.listdir(tmp_path) if n.startswith(".")) == []


@pytest.mark.parametrize("suffix", ["npy", "raw", "zarr", "h5"])
def test_a_target_that_cannot_be_made_names_its_path(tmp_path, suffix):
    (tmp_path / "file").write_text("not a directory")
    for path in (tmp_path / "file" / f"x.{suffix}", tmp_path / "nowhere" / f"x.{suffix}"):
        with pytest.raises(OSError, match=r"file|nowhere"):
            ca.save(path, np.ones(3))
    assert (tmp_path / "file").read_text() == "not a directory"


def test_a_chunk_that_was_deleted_flipped_or_cut_is_an_error_in_every_operation(tmp_path):
    x = np.random.default_rng(0).normal(size=(40, 30))
    a = ca.save(tmp_path / "a.zarr", x, chunks=(20, 30))
    chunk = tmp_path / "a.zarr" / "c" / "1" / "0"
    whole = chunk.read_bytes()
    flipped = whole[:99] + bytes([whole[99] ^ 4]) + whole[100:]
    for damaged, error in (
        (None, ca.MissingChunkError),
        (whole[:-9], ca.CorruptChunkError),
        (flipped, ca.CorruptChunkError),
    ):
        chunk.unlink()
        if damaged is not None:
            chunk.write_bytes(damaged)
        asks = (a.compute, a.sum().compute, lambda: float(a[39, 0]), lambda: ca.save(tmp_path / "b.npy", a.T))
        for ask in asks:
            with pytest.raises(error, match="c/1/0"):
                ask()
        assert not (tmp_path / "b.npy").exists()
        chunk.write_bytes(whole)
    same(ca.open(tmp_path / "a.zarr"), x)
