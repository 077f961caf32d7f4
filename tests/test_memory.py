"""No operation holds more than the budget allows, on arrays eight times as large.

Each case runs in a child process (`memory_child`): planned peak <= budget, and what the child holds at
most <= 1.1 x budget + 32 MiB, or MemoryBudgetError before any work. The sources take next to no disk:
flat files are sparse, chunked ones have one chunk of noise, linked under every chunk's name.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
import pytest

import chunkarr as ca
from chunkarr import engine
from chunkarr.errors import MemoryBudgetError
from chunkarr.formats import zarr as zarr_format
from chunkarr.jobs import convert
from tests import memory_child

pytestmark = [pytest.mark.memory, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]

MIB = 2**20
RATIO = 8  # bytes of a source for each byte of the budget


# --- sources -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layout:
    """How a source lies on disk; ``chunk`` None stands for whole rows."""

    chunk: tuple[int | None, ...] = ()  # elements; () is npy
    codec: str = "none"
    shard: tuple[int, ...] | None = None


LAYOUTS = {
    "npy": Layout(),
    "plain": Layout((1024, 1024)),
    "lz4": Layout((1024, 1024), "blosc-lz4"),
    "small": Layout((64, 64), "blosc-lz4"),
    "shards": Layout((128, 128), "blosc-lz4", (1024, 1024)),
    "rows": Layout((64, None), "blosc-lz4"),
}


def make_npy(path, shape, dtype):
    """Make an npy file of zeros that takes no disk."""
    with open(path, "wb") as file:
        head = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": tuple(shape)}
        np.lib.format.write_array_header_1_0(file, head)
        file.truncate(file.tell() + math.prod(shape) * np.dtype(dtype).itemsize)
    return path


def make_zarr(path, shape, dtype, layout):
    """Make a Zarr array whose chunk files are all the same file."""
    chunk = tuple(min(n, m) if n else m for n, m in zip(layout.chunk, shape, strict=True))
    unit = chunk if layout.shard is None else tuple(min(n, m) for n, m in zip(layout.shard, shape, strict=True))
    shards = False if layout.shard is None else unit
    target = zarr_format.create(path, unit, dtype, chunks=chunk, shards=shards, codec=layout.codec)
    noise = (np.random.default_rng(0).random(unit) * 100).astype(dtype)
    region = tuple((0, n) for n in unit)
    target.write(region, noise, np.empty(target.scratch_bytes(region), np.uint8))
    target.commit()
    meta = os.path.join(path, "zarr.json")
    with open(meta, encoding="utf-8") as file:
        document = json.load(file)
    document["shape"] = list(shape)
    with open(meta, "w", encoding="utf-8") as file:
        json.dump(document, file)
    first = last = os.path.join(path, "c", *["0"] * len(shape))
    boxes = product(*(range(-(-n // u)) for n, u in zip(shape, unit, strict=True)))
    for number, index in enumerate(boxes):
        name = os.path.join(path, "c", *map(str, index))
        if name == first:
            continue
        os.makedirs(os.path.dirname(name), exist_ok=True)
        if number % 50_000:
            os.link(last, name)
        else:  # a file has at most 65,000 names
            last = shutil.copy(last, name)
    ca.adopt(path)  # the manifest knows of one chunk only
    return path


def shape_of(nbytes, itemsize):
    """Return (M, N), M about as large as N, of so many bytes, in whole chunks."""
    columns = 1024
    while 2 * columns * columns * itemsize <= nbytes:
        columns *= 2
    return nbytes // itemsize // columns, columns


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    """Return a maker of sources; each is made once."""
    folder = tmp_path_factory.mktemp("sources")
    made = {}

    def make(kind, shape, dtype="f8"):
        key = f"{kind}-{'x'.join(map(str, shape))}-{np.dtype(dtype).str[1:]}-{len(np.dtype(dtype))}"
        if key not in made:
            layout, path = LAYOUTS[kind], str(folder / key)
            made[key] = (
                make_zarr(path + ".zarr", shape, dtype, layout)
                if layout.chunk
                else make_npy(path + ".npy", shape, dtype)
            )
        return made[key]

    yield make
    shutil.rmtree(folder, ignore_errors=True)


# --- operations ----------------------------------------------------------------------------------


def saved(suffix, expression, **options):
    """Return the operation that saves an expression of two sources."""
    return lambda a, b, out: expression(a, b).save(f"{out}/x{suffix}", **options)


def computed(*expressions):
    """Return the operation that computes expressions of two sources, one after another."""
    return lambda a, b, out: [np.asarray(e(a, b)) for e in expressions]


def square(a):
    """Return the largest square that starts at the corner."""
    return a[: min(a.shape), : min(a.shape)]


def reduced(function, size):
    """Return the operation that saves a downsampled source."""
    return lambda a, b, out: ca.block_reduce(a, (size, size), function).save(f"{out}/x.zarr")


def conversions(a, b, out):
    """Convert through all formats."""
    names = [a.path, f"{out}/1.zarr", f"{out}/2.h5", f"{out}/3.raw"]
    for left, right in pairwise(names):
        convert(left, right)
        if left != a.path:
            shutil.rmtree(left) if os.path.isdir(left) else os.unlink(left)


def many_sources(a, b, out):
    """Add twelve arrays, each opened on its own."""
    total = ca.open(a.path)
    for _ in range(5):
        total = total + ca.open(a.path) + ca.open(b.path)
    return float((total + ca.open(b.path)).sum())


def scattered(a, b, out):
    """Read half a million elements that lie anywhere, of an expression, and rows in any order."""
    rng = np.random.default_rng(0)
    rows, columns = (rng.integers(0, n, min(1 << 19, a.size)) for n in a.shape)
    some = rng.permutation(a.shape[0])[: 1 + a.shape[0] // 64]
    return (a - b)[rows, columns].compute(), a[some].sum(axis=1).compute()


def changing(work):
    """Return the operation that changes a copy of the first source, which takes next to no disk at first."""

    def run(a, b, out):
        path = f"{out}/changed{os.path.splitext(a.path)[1]}"
        if os.path.isdir(a.path):
            shutil.copytree(a.path, path, copy_function=os.link)
        else:
            with open(a.path, "rb") as old, open(path, "wb") as new:
                new.write(old.read(4096))
                new.truncate(os.path.getsize(a.path))
        work(ca.open(path, "r+"), b)
        shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)

    return run


def scaled(c, b):
    """Change every element."""
    c *= 2


def shifted(c, b):
    """Write rows where others were, and every third one again."""
    c[1:] = c[:-1]
    c[::3, ::-2] /= 2


def masked(c, b):
    """Change what a mask selects, to one value and by what is there."""
    c[c > 50] = 1
    c[b < 0] += 1


def longer(c, b):
    """Append values that are larger than the budget, the array itself too."""
    c.append(b * 2)
    c.append(c[: b.shape[0]])
    c.resize(c.shape[0] // 2, c.shape[1] - 1)


def scattered_into(c, b):
    """Change elements and rows that lie anywhere, and a great part of the array in a batch with many small ones."""
    rng = np.random.default_rng(0)
    rows, columns = (rng.integers(0, n, min(1 << 17, c.size)) for n in c.shape)
    c[rows, columns] = np.arange(rows.size)
    np.add.at(c, (rows, columns), 1)
    with c.batch():
        for row in np.sort(rows[:2000]):
            c[row, :3] = row
        c[1:] = c[:-1]


def two_threads(a, b, out):
    """Compute in two threads of the user at once."""
    with ThreadPoolExecutor(2) as pool:
        works = [lambda: a.std(axis=1).compute(), lambda: (a - b).save(f"{out}/x.npy"), lambda: a.max(axis=0).compute()]
        return [work.result() for work in [pool.submit(work) for work in works]]


@dataclass(frozen=True)
class Case:
    """One operation, and what it is run on."""

    work: Callable
    kinds: str = "npy plain lz4"  # layouts
    dtype: object = "f8"
    ratio: float = RATIO  # bytes of a source for each byte of the budget
    tall: bool = False  # (M, 1024) instead of about square
    quick: str = ""  # layouts of the default run


ALL = "npy plain lz4 small shards rows"
RECORD = [("x", "f8"), ("k", "i4"), ("name", "S4")]
CASES = {
    # one pass, and its kernels
    "count": Case(computed(lambda a, b: (np.sqrt(a * a + b * b) > 1).sum()), ALL, quick="lz4"),
    "mean_0": Case(computed(lambda a, b: ((a - b) ** 2).mean(axis=0)), ALL, quick="plain"),
    "std_1": Case(computed(lambda a, b: a.std(axis=1)), ALL),
    "sums": Case(computed(lambda a, b: a.sum(axis=0), lambda a, b: a.sum(axis=1), lambda a, b: a.sum()), ALL),
    "mins": Case(computed(lambda a, b: a.min(axis=0), lambda a, b: a.min(axis=1), lambda a, b: a.min())),
    "vars": Case(computed(lambda a, b: a.var(axis=0), lambda a, b: a.var(axis=1), lambda a, b: a.var()), ALL),
    "tall_var": Case(computed(lambda a, b: a.var(axis=1), lambda a, b: a.var(axis=0)), tall=True),
    "argmax": Case(computed(lambda a, b: a.argmax(axis=0), lambda a, b: a.argmax(axis=1), lambda a, b: a.argmax())),
    "nanmean": Case(computed(lambda a, b: np.nanmean(a, axis=0), lambda a, b: np.nanmean(a, axis=1))),
    "any_where": Case(computed(*(lambda a, b, k=k: (a > 1e9).any(axis=k, where=b > 0) for k in (0, 1)))),
    "several": Case(lambda a, b, out: ca.compute(a.min(), a.max(), a.mean(), a.std())),
    "many_sources": Case(many_sources, ALL, quick="plain"),
    "two_threads": Case(two_threads, quick="lz4"),
    "field": Case(computed(lambda a, b: a["k"].sum(), lambda a, b: a["x"].mean(axis=0)), "npy", dtype=RECORD),
    # element by element into files
    "save_zarr": Case(saved(".zarr", lambda a, b: a - b), ALL, quick="lz4"),
    "save_npy": Case(saved(".npy", lambda a, b: a - b), ALL),
    "save_hdf5": Case(saved(".h5", lambda a, b: a - b), ALL, quick="npy"),
    "save_hdf5_gzip": Case(saved(".h5", lambda a, b: a - b, codec="gzip"), "lz4", ratio=2),
    "save_shards": Case(saved(".zarr", lambda a, b: a - b, shards=(1024, 1024), chunks=(128, 128)), "npy lz4"),
    "astype": Case(saved(".npy", lambda a, b: a.astype("f4"))),
    "save_record": Case(saved(".zarr", lambda a, b: a), "npy", dtype=RECORD),
    "block_reduce": Case(reduced(np.mean, 2), ALL, dtype="u2", quick="lz4"),
    "block_reduce_median": Case(reduced(np.median, 2), "lz4", dtype="u2", ratio=4),
    "block_reduce_pad": Case(reduced(np.mean, 3), "npy lz4", dtype="u2"),
    "convert": Case(conversions, "npy lz4", quick=""),
    # what is stored
    "digest": Case(lambda a, b, out: a.digest(), ALL, quick="plain"),
    "digest_expression": Case(lambda a, b, out: (a - b).T.digest(), "npy lz4"),
    "digest_record": Case(lambda a, b, out: a.digest(), "npy", dtype=RECORD),
    "compare": Case(lambda a, b, out: ca.compare(a, b), ALL, quick="lz4"),
    "compare_record": Case(lambda a, b, out: ca.compare(a, b), "npy", dtype=RECORD),
    "verify": Case(lambda a, b, out: a.verify(), ALL, quick="lz4"),
    # elements move
    "full_read": Case(computed(lambda a, b: a), ALL, ratio=0.5, quick="lz4"),
    "full_difference": Case(computed(lambda a, b: a - b), "npy lz4 small", ratio=0.25),
    "a_plus_a_t": Case(saved(".zarr", lambda a, b: square(a) + square(a).T), "npy plain lz4 rows", quick="rows"),
    "centered": Case(saved(".zarr", lambda a, b: a - a.mean(axis=0)), ALL),
    "rechunk": Case(saved(".zarr", lambda a, b: a, access="columns"), "npy plain lz4 small rows"),
    "rechunk_thin": Case(lambda a, b, out: a.save(f"{out}/x.zarr", chunks=(a.shape[0], 16)), "npy rows", quick="rows"),
    "transpose": Case(saved(".npy", lambda a, b: a.T), "npy plain lz4 rows"),
    "reshape": Case(saved(".npy", lambda a, b: a.reshape(-1, a.shape[1] // 4)), "npy plain lz4 rows"),
    "interleave": Case(saved(".npy", lambda a, b: a.T.reshape(a.shape[1] // 2, -1)), "npy lz4 rows"),
    "ravel_columns": Case(saved(".npy", lambda a, b: a.T.reshape(-1)), "npy lz4"),
    "concatenate": Case(saved(".npy", lambda a, b: np.concatenate([a, b], axis=1)), "npy plain lz4 rows"),
    "stack": Case(saved(".npy", lambda a, b: np.stack([a, b], axis=-1)), "npy lz4"),
    "roll": Case(saved(".npy", lambda a, b: np.roll(a, 37, axis=0)), "npy plain lz4 rows"),
    "flip": Case(saved(".zarr", lambda a, b: a[::-1, ::-2]), "npy plain lz4 rows"),
    # elements by index or mask
    "scattered": Case(scattered, "npy plain lz4 rows", ratio=4, quick="lz4"),
    "rows_in_order": Case(saved(".npy", lambda a, b: a[np.flatnonzero(np.arange(len(a)) % 3)]), "npy lz4 rows"),
    "mask_few": Case(computed(lambda a, b: a[a > 99.9], lambda a, b: b[a[:, 0] > 99]), "npy lz4 small rows"),
    "mask_most": Case(saved(".npy", lambda a, b: a[b < 50]), "npy plain lz4 rows", quick="npy"),
    # stored arrays change
    "scale": Case(changing(scaled), ALL, ratio=4, quick="lz4 npy"),
    "shift": Case(changing(shifted), ALL, ratio=4),
    "mask": Case(changing(masked), ALL, ratio=2, quick="plain"),
    "append": Case(changing(longer), ALL, ratio=2, quick="shards"),
    "scatter": Case(changing(scattered_into), ALL, ratio=2, quick="npy"),
    # barriers
    "cumsum_0": Case(saved(".npy", lambda a, b: a.cumsum(axis=0)), ALL, quick="lz4"),
    "cumsum_1": Case(saved(".npy", lambda a, b: a.cumsum(axis=1)), ALL),
    "cumsum_flat": Case(saved(".npy", lambda a, b: a.cumsum()), "npy lz4 rows"),
    "cumsum_sliced": Case(computed(lambda a, b: a.cumsum(axis=0)[-3:], lambda a, b: a.cumsum(axis=1)[:, -3:])),
    "cumsum_f4": Case(saved(".npy", lambda a, b: a.cumsum(axis=0, dtype="f8")), "lz4", dtype="f4"),
    "matmul_tall": Case(saved(".npy", lambda a, b: a.T @ b), "npy lz4", tall=True, quick="lz4"),
    "matmul": Case(saved(".npy", lambda a, b: a @ b.T), "npy plain lz4", ratio=2),
    "tensordot": Case(saved(".npy", lambda a, b: np.tensordot(a, b, axes=((0,), (0,)))), "npy", tall=True),
}  # fmt: skip


def perform(name, paths, folder):
    """Do a case's work; return the largest plan of what it ran."""
    return perform_work(CASES[name].work, paths, folder)


def perform_work(work, paths, folder):
    """Do work on sources; return the largest plan of what it ran."""
    for name_of_library in ("dask.threaded", "threadpoolctl"):
        importlib.import_module(name_of_library)

    planned = []
    real = engine.plan

    def noting(*args, **options):
        plan = real(*args, **options)
        planned.append(plan.memory)  # not the plan: it holds arrays that the work has done with
        return plan

    with tempfile.TemporaryDirectory(dir=folder) as out, ca.config.set(scratch=out, durability="process"):
        engine.plan = noting
        try:
            kept = work(*(ca.open(path) for path in paths), out)
        finally:
            engine.plan = real
        del kept
    return max(planned, default=0)


def measured(name, kind, budget, source, folder):
    """Run a case on a small and a large source, and return its peak."""
    case = CASES[name]
    itemsize = np.dtype(case.dtype).itemsize
    size = int(budget * case.ratio) // itemsize * itemsize
    large = (size // itemsize // 1024, 1024) if case.tall else shape_of(size, itemsize)
    small, large = (source(kind, shape, case.dtype) for shape in ((16, 16), large))
    return memory_child.measure(
        perform,
        small=[name, [small] * 2, str(folder)],
        large=[name, [large] * 2, str(folder)],
        budget=budget,
        timeout=600,
    )


QUICK = [(name, kind) for name, case in CASES.items() for kind in case.quick.split()]
WHOLE = [(name, kind) for name, case in CASES.items() for kind in case.kinds.split()]


@pytest.mark.parametrize(("name", "kind"), QUICK)
def test_work_on_large_arrays_stays_within_the_budget(name, kind, source, tmp_path):
    measured(name, kind, 64 * MIB, source, tmp_path).check()


@pytest.mark.nightly
@pytest.mark.parametrize("budget", [64 * MIB, 128 * MIB, 256 * MIB])
@pytest.mark.parametrize(("name", "kind"), WHOLE)
def test_all_work_on_large_arrays_stays_within_the_budget(name, kind, budget, source, tmp_path):
    measured(name, kind, budget, source, tmp_path).check()


# --- refusals ------------------------------------------------------------------------------------


def refusal(work, budget):
    """Run ``work`` within ``budget``; return what the refusal says, after checking that it cost nothing."""
    before = memory_child.anonymous_bytes()
    with ca.config.set(memory=budget), pytest.raises(MemoryBudgetError) as caught:
        work()
    assert memory_child.anonymous_bytes() - before < 4 * MIB
    message = str(caught.value)
    assert "MiB" in message
    assert "raise" in message
    return message


@pytest.fixture
def unreadable(source, tmp_path, monkeypatch):
    """Return an Array of 32 MiB in chunks of 8 MiB that fails the test when anything of it is read."""
    array = ca.open(source("lz4", (4096, 1024)))

    def read(*_):
        pytest.fail("was read before it was refused")

    monkeypatch.setattr(type(array._node.op.stored), "read", read)
    return array


def test_a_chunk_larger_than_the_budget_is_refused(unreadable):
    message = refusal(lambda: unreadable.sum().compute(), 6 * MIB)
    assert "6.0 MiB" in message
    assert "smaller chunks" in message


@pytest.mark.parametrize("work", [np.asarray, lambda a: a.compute(), lambda a: (a + 1).compute()])
def test_a_result_larger_than_the_budget_names_the_file(unreadable, work):
    message = refusal(lambda: work(unreadable), 24 * MIB)
    assert "32 MiB" in message
    assert "24 MiB" in message
    assert ".save(" in message


def test_results_that_together_exceed_the_budget_name_the_file(unreadable):
    message = refusal(lambda: ca.compute(unreadable[:2048], unreadable[2048:] + 1), 24 * MIB)
    assert "32 MiB" in message
    assert ".save(" in message


@pytest.mark.parametrize("suffix", [".npy", ".zarr", ".h5", ".raw"])
def test_a_refused_save_leaves_no_file(unreadable, suffix, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    refusal(lambda: (unreadable + 1).save(folder / f"x{suffix}"), 6 * MIB)
    assert list(folder.iterdir()) == []


def test_a_refused_save_keeps_the_old_file(unreadable, tmp_path):
    np.save(tmp_path / "x.npy", np.arange(3))
    refusal(lambda: unreadable.save(tmp_path / "x.npy", overwrite=True), 6 * MIB)
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), np.arange(3))


def test_a_matrix_product_whose_tiles_do_not_fit_is_refused(source):
    a = ca.open(source("npy", (2048, 2048)))
    message = refusal(lambda: (a @ a).sum().compute(), 4 * MIB)
    assert "512x512" in message


def test_sources_that_do_not_fit_together_are_read_one_after_another(source):
    path = source("lz4", (2048, 1024))
    with ca.config.set(memory=64 * MIB):
        total = sum((ca.open(path) for _ in range(7)), start=ca.open(path))
        assert total.sum().plan().memory <= 64 * MIB
        one = ca.open(path).compute()
        np.testing.assert_array_equal((total + 0).max().compute(), (8 * one).max())
