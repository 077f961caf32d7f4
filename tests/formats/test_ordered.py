"""Files that can only be written in order, written in any order."""

from __future__ import annotations

import gc
import os
import pickle
import random
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from chunkarr import fsio
from chunkarr.errors import GridError, MissingChunkError, TargetExistsError, UnsupportedError
from chunkarr.formats.ordered import OrderedTarget, ordered_grid
from chunkarr.fsio import calls
from chunkarr.grid import Grid, region_size, region_slices


class Letters(OrderedTarget):
    """Each box as its values in brackets, after a count of bytes and before the numbers of values."""

    def head(self, parts):
        return b"%08d" % sum(part.length for part in parts)

    def encode(self, block, box):
        values = block.reshape(-1, order=self.order)
        return b"[" + b" ".join(b"%d" % v for v in values.tolist()) + b"]", values.size

    def encoded_bytes(self, box):
        return region_size(box) * 22 + 2

    def tail(self, parts):
        return ",".join(str(part.note) for part in parts).encode()


def letters(path, shape, steps, order="C", overwrite=False):
    grid = Grid(shape, steps)
    return Letters(str(path), shape, np.dtype("i8"), grid=grid, order=order, overwrite=overwrite, durability="process")


def put(target, values, region):
    target.write(region, values[(*region_slices(region), ...)], np.empty(target.scratch_bytes(region), "u1"))


@pytest.mark.parametrize("seed", range(6))
def test_boxes_in_any_order_from_many_threads_make_the_file_in_order(tmp_path, seed):
    values = np.arange(60 * 3).reshape(60, 3)
    target = letters(tmp_path / "x", values.shape, (1, 3))
    regions = list(Grid(values.shape, (seed + 1, 3)))
    random.Random(seed).shuffle(regions)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda region: put(target, values, region), regions))
    target.commit()
    body = b"".join(b"[%d %d %d]" % tuple(row) for row in values.tolist())
    assert (tmp_path / "x").read_bytes() == b"%08d" % len(body) + body + b",".join([b"3"] * 60)
    assert os.listdir(tmp_path) == ["x"]


def test_boxes_larger_than_what_is_copied_at_once_come_out_of_the_spool(tmp_path):
    values = np.random.default_rng(0).integers(0, 1 << 60, (4, 30_000))
    target = letters(tmp_path / "x", values.shape, (1, 30_000))
    for i in (2, 1, 3, 0):
        put(target, values, ((i, i + 1), (0, 30_000)))
    target.commit()
    body = b"".join(b"[" + b" ".join(b"%d" % v for v in row) + b"]" for row in values.tolist())
    assert (tmp_path / "x").read_bytes()[8:-23] == body


def test_fortran_boxes_follow_each_other_along_the_last_axis(tmp_path):
    values = np.arange(12).reshape(3, 4)
    target = letters(tmp_path / "x", (3, 4), (3, 1), order="F")
    for region in reversed(list(target.grid)):
        put(target, values, region)
    target.commit()
    assert (tmp_path / "x").read_bytes()[8:] == b"[0 4 8][1 5 9][2 6 10][3 7 11]3,3,3,3"


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("shape", [(), (0,), (1,), (7, 5), (3, 1, 9), (2, 0, 3), (1, 1000)])
def test_the_boxes_of_a_grid_follow_each_other_in_memory(tmp_path, shape, order):
    values = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    for nbytes in (8, 40, 64, 1 << 20):
        grid = ordered_grid(shape, 8, order, nbytes)
        assert all(region_size(box) * 8 <= max(8, nbytes) for box in grid)
        target = Letters(
            str(tmp_path / f"{nbytes}"), shape, values.dtype, grid=grid, order=order, overwrite=False,
            durability="process",
        )  # fmt: skip
        for box in reversed(list(grid)):
            put(target, values, box)
        target.commit()
        body = (tmp_path / f"{nbytes}").read_bytes()[8:].rpartition(b"]")[0].replace(b"][", b" ").strip(b"[")
        np.testing.assert_array_equal(np.array(body.split(), int), values.ravel(order))


def test_what_was_not_written_is_an_error_or_zeros(tmp_path):
    values = np.arange(1, 7).reshape(3, 2)
    target = letters(tmp_path / "x", (3, 2), (1, 2))
    put(target, values, ((1, 2), (0, 2)))
    with pytest.raises(MissingChunkError, match="2 of 3 boxes"):
        target.commit()
    target.blank()
    target.commit()
    assert (tmp_path / "x").read_bytes()[8:] == b"[0 0][3 4][0 0]2,2,2"


def test_regions_that_cut_boxes_and_boxes_that_come_twice_are_refused(tmp_path):
    values = np.arange(6).reshape(3, 2)
    target = letters(tmp_path / "x", (3, 2), (2, 2))
    with pytest.raises(GridError, match="whole boxes"):
        put(target, values, ((0, 1), (0, 2)))
    put(target, values, ((2, 3), (0, 2)))
    with pytest.raises(RuntimeError, match="before"):
        put(target, values, ((2, 3), (0, 2)))
    with pytest.raises(UnsupportedError, match="threads"):
        pickle.dumps(target)


def test_nothing_stays_of_what_was_aborted_or_forgotten(tmp_path):
    for end in ("abort", "forget"):
        target = letters(tmp_path / "x", (3, 2), (1, 2))
        put(target, np.zeros((3, 2), int), ((2, 3), (0, 2)))
        assert len(os.listdir(tmp_path)) == 2  # the file and its spool
        if end == "abort":
            target.abort()
        del target
        gc.collect()
        assert os.listdir(tmp_path) == []


def test_a_file_that_is_there_is_kept_until_the_commit(tmp_path):
    (tmp_path / "x").write_bytes(b"old")
    with pytest.raises(TargetExistsError):
        letters(tmp_path / "x", (1, 2), (1, 2))
    target = letters(tmp_path / "x", (1, 2), (1, 2), overwrite=True)
    put(target, np.zeros((1, 2), int), ((0, 1), (0, 2)))
    assert (tmp_path / "x").read_bytes() == b"old"
    target.commit()
    assert (tmp_path / "x").read_bytes() == b"00000005[0 0]2"


def test_an_error_of_any_call_leaves_the_old_file_and_nothing_else(tmp_path):
    values = np.arange(6).reshape(3, 2)
    count = 0

    def run(fail_at):
        seen = 0

        def watch(name, call, args):
            nonlocal seen
            seen += 1
            if seen == fail_at:
                raise OSError(28, "No space left on device")
            return call(*args)

        with calls.watched(watch):
            target = letters(tmp_path / "x", (3, 2), (1, 2), overwrite=True)
            try:
                for i in (1, 2, 0):
                    put(target, values, ((i, i + 1), (0, 2)))
                target.commit()
            finally:
                target.abort()
        return seen

    (tmp_path / "x").write_bytes(b"old")
    count = run(0)
    (tmp_path / "x").write_bytes(b"old")
    for k in range(1, count):
        try:
            run(k)
        except OSError:
            assert (tmp_path / "x").read_bytes() == b"old"
        gc.collect()
        (tmp_path / "x").write_bytes(b"old")
        fsio.sweep(str(tmp_path / "x"))
        assert os.listdir(tmp_path) == ["x"], k


def test_what_a_kill_leaves_is_swept_by_the_next_writer(tmp_path):
    code = """
        import os, signal, sys
        import numpy as np
        from tests.formats.test_ordered import letters, put
        target = letters(sys.argv[1], (3, 2), (1, 2))
        put(target, np.zeros((3, 2), int), ((2, 3), (0, 2)))
        os.kill(os.getpid(), signal.SIGKILL)
    """
    path = str(tmp_path / "x")
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    child = subprocess.run([sys.executable, "-c", textwrap.dedent(code), path], cwd=root, check=False)
    assert child.returncode == -signal.SIGKILL
    assert len(os.listdir(tmp_path)) == 2
    assert not os.path.exists(path)
    letters(path, (3, 2), (1, 2)).abort()
    assert os.listdir(tmp_path) == []
