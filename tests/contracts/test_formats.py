"""What every format keeps: values and dtypes, whole outputs or none, recipes instead of handles, planned scratch."""

from __future__ import annotations

import gc
import os
import pickle
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkarr.errors import OptionError, TargetExistsError
from chunkarr.formats.contract import Stored, Target
from chunkarr.formats.table import FORMATS
from chunkarr.grid import Grid, Region, region_shape, region_slices, whole
from tests.contracts.cases import CASES, Case
from tests.oracle import same
from tests.strategies import arrays

every_case = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])

GUARD = 64  # bytes after the scratch that nobody may touch


def scratch_of(nbytes: int) -> np.ndarray:
    """Return planned scratch of exactly ``nbytes`` bytes, with a guard behind it in the same memory."""
    room = np.full(nbytes + GUARD, 0xA5, "u1")
    return room[:nbytes]


def guard_is_whole(scratch: np.ndarray) -> bool:
    return bool((scratch.base[-GUARD:] == 0xA5).all())


def write_boxes(target: Target, values: np.ndarray, parts: int = 2) -> None:
    """Write ``values`` by regions of whole boxes, about ``parts`` along each axis, in a C-contiguous block each."""
    steps = tuple(
        step * max(1, -(-count // parts)) for step, count in zip(target.grid.steps, target.grid.counts, strict=True)
    )
    for region in Grid(target.shape, steps):
        scratch = scratch_of(target.scratch_bytes(region))
        target.write(region, np.array(values[(*region_slices(region), ...)], order="C"), scratch)
        assert guard_is_whole(scratch)


def read(stored: Stored, region: Region, order: str = "C") -> np.ndarray:
    scratch = scratch_of(stored.scratch_bytes(region))
    out = np.empty(region_shape(region), stored.dtype, order=order)
    stored.read(region, out, scratch)
    assert guard_is_whole(scratch)
    return out


def save(case: Case, directory: Path | str, values: np.ndarray, **options: object) -> None:
    target = case.create_target(directory, values.shape, values.dtype, **options)
    write_boxes(target, values)
    target.commit()


@st.composite
def regions(draw: st.DrawFn, shape: tuple[int, ...]) -> Region:
    pairs = []
    for n in shape:
        a = draw(st.integers(0, n))
        pairs.append((a, draw(st.integers(a, n))))
    return tuple(pairs)


def needs_axes(case: Case, axes: int) -> None:
    if case.axes < axes:
        pytest.skip(f"{case.format} has no arrays of {axes} axes")


def test_every_format_of_the_table_has_a_case() -> None:
    assert {case.format for case in CASES} == {row.name for row in FORMATS}


@every_case
@given(data=st.data())
def test_any_region_comes_back(case: Case, data: st.DataObject) -> None:
    values = case.fit(data.draw(arrays(dtype=case.dtypes)))
    with tempfile.TemporaryDirectory() as directory:
        target = case.create_target(directory, values.shape, values.dtype, durability="process")
        write_boxes(target, values, data.draw(st.integers(1, 3)))
        target.commit()
        stored = case.open_stored(directory, values.shape, values.dtype)
        assert (stored.shape, stored.dtype, stored.format) == (values.shape, values.dtype, case.format)
        assert stored.grid.shape == values.shape
        same(read(stored, whole(values.shape)), values)
        for _ in range(3):
            region = data.draw(regions(values.shape))
            found = read(stored, region, data.draw(st.sampled_from("CF")))
            same(found, values[(*region_slices(region), ...)])
            assert stored.bytes_read(region) >= found.nbytes
            assert stored.bytes_read(region) <= max(values.nbytes, np.prod(stored.grid.steps) * values.itemsize) * 2


@every_case
def test_blocks_and_outputs_may_have_any_strides(case: Case, tmp_path: Path) -> None:
    needs_axes(case, 3)
    values = case.fit(np.arange(6 * 10 * 14, dtype="<i4").reshape(6, 10, 14))
    wide = np.zeros((14, 20, 12), values.dtype)
    strided = wide[::-1, ::2, ::2].T
    strided[...] = values
    target = case.create_target(tmp_path, values.shape, values.dtype)
    target.write(whole(values.shape), strided, scratch_of(target.scratch_bytes(whole(values.shape))))
    target.commit()
    stored = case.open_stored(tmp_path, values.shape, values.dtype)
    region = ((1, 6), (2, 9), (0, 13))
    wide[...] = 999
    out = wide[::-1, ::2, ::2].T[region_slices(region)]
    stored.read(region, out, scratch_of(stored.scratch_bytes(region)))
    np.testing.assert_array_equal(out, values[region_slices(region)])
    assert (wide == 999).sum() == wide.size - out.size  # nothing beside the output


@every_case
def test_nothing_is_visible_before_the_commit(case: Case, tmp_path: Path) -> None:
    values = case.fit(np.arange(60, dtype="<f8").reshape(6, 10))
    target = case.create_target(tmp_path, values.shape, values.dtype)
    write_boxes(target, values)
    assert not os.path.exists(case.path(tmp_path))
    target.commit()
    assert os.listdir(tmp_path) == [os.path.basename(case.path(tmp_path))]


@every_case
def test_abort_leaves_nothing(case: Case, tmp_path: Path) -> None:
    values = case.fit(np.arange(60, dtype="<f8").reshape(6, 10))
    target = case.create_target(tmp_path, values.shape, values.dtype)
    write_boxes(target, values)
    target.abort()
    target.abort()
    assert os.listdir(tmp_path) == []


@every_case
def test_a_forgotten_target_leaves_nothing(case: Case, tmp_path: Path) -> None:
    values = case.fit(np.zeros((6, 10)))
    target = case.create_target(tmp_path, values.shape, values.dtype)
    write_boxes(target, values)
    del target
    gc.collect()
    assert os.listdir(tmp_path) == []


@every_case
def test_what_exists_is_replaced_only_on_request_and_whole(case: Case, tmp_path: Path) -> None:
    old, new = case.fit(np.zeros((6, 10), "<f8")), case.fit(np.ones((4, 3), "<i2"))
    save(case, tmp_path, old)
    with pytest.raises(TargetExistsError, match="overwrite=True"):
        case.create_target(tmp_path, new.shape, new.dtype)
    target = case.create_target(tmp_path, new.shape, new.dtype, overwrite=True)
    write_boxes(target, new)
    stored = case.open_stored(tmp_path, old.shape, old.dtype)
    same(read(stored, whole(old.shape)), old)
    before = stored.generation()
    assert before == stored.generation()
    target.commit()
    assert os.listdir(tmp_path) == [os.path.basename(case.path(tmp_path))]
    assert stored.generation() != before
    same(read(case.open_stored(tmp_path, new.shape, new.dtype), whole(new.shape)), new)


@every_case
def test_a_target_that_appeared_meanwhile_is_kept(case: Case, tmp_path: Path) -> None:
    values = case.fit(np.arange(60, dtype="<f8").reshape(6, 10))
    late = case.create_target(tmp_path, values.shape, values.dtype)
    write_boxes(late, values[::-1])
    save(case, tmp_path, values)
    with pytest.raises(TargetExistsError):
        late.commit()
    late.abort()
    assert os.listdir(tmp_path) == [os.path.basename(case.path(tmp_path))]
    same(read(case.open_stored(tmp_path, values.shape, values.dtype), whole(values.shape)), values)


@every_case
def test_a_source_is_pickled_as_a_recipe(case: Case, tmp_path: Path) -> None:
    values = case.fit(np.random.default_rng(0).normal(size=(100, 1000)))
    save(case, tmp_path, values)
    stored = case.open_stored(tmp_path, values.shape, values.dtype)
    for _ in range(2):  # before and after it has opened its file
        recipe = pickle.dumps(stored)
        assert len(recipe) < 10_000
        again = pickle.loads(recipe)
        assert (again.shape, again.dtype, again.grid, again.path) == (
            values.shape,
            values.dtype,
            stored.grid,
            stored.path,
        )
        assert again.generation() == stored.generation()
        same(read(again, ((3, 50), (7, 900))), values[3:50, 7:900])
        read(stored, whole(values.shape))


@every_case
def test_pickled_targets_write_but_do_not_own(case: Case, tmp_path: Path) -> None:
    values = case.fit(np.arange(600, dtype="<f8").reshape(60, 10))
    target = case.create_target(tmp_path, values.shape, values.dtype)
    if target.distributable:
        copy = pickle.loads(pickle.dumps(target))
        write_boxes(copy, values)
        del copy
        gc.collect()
    else:
        write_boxes(target, values)
    target.commit()
    same(read(case.open_stored(tmp_path, values.shape, values.dtype), whole(values.shape)), values)


@every_case
def test_threads_write_and_read_at_the_same_time(case: Case, tmp_path: Path) -> None:
    needs_axes(case, 3)
    values = np.random.default_rng(1).integers(0, 9, size=(64, 50, 30)).astype("<u2")
    target = case.create_target(tmp_path, values.shape, values.dtype)
    steps = tuple(s * -(-c // 4) for s, c in zip(target.grid.steps, target.grid.counts, strict=True))

    def write(region: Region) -> None:
        target.write(region, values[region_slices(region)], scratch_of(target.scratch_bytes(region)))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, Grid(values.shape, steps)))
        target.commit()
        stored = case.open_stored(tmp_path, values.shape, values.dtype)
        boxes = list(Grid(values.shape, (7, 11, 30)))
        for region, found in zip(boxes, pool.map(lambda region: read(stored, region), boxes), strict=True):
            np.testing.assert_array_equal(found, values[region_slices(region)])


@every_case
def test_an_unknown_option_is_named_with_the_known_ones(case: Case, tmp_path: Path) -> None:
    row = next(row for row in FORMATS if row.name == case.format)
    with pytest.raises(OptionError, match="does not take colour") as caught:
        case.create_target(tmp_path, (3,), "<i4", colour="red")
    assert all(option in str(caught.value) for option in row.create_options)
    assert os.listdir(tmp_path) == []


@every_case
def test_python_objects_are_refused(case: Case, tmp_path: Path) -> None:
    with pytest.raises((ValueError, NotImplementedError)):
        case.create_target(tmp_path, (3,), object)
    assert os.listdir(tmp_path) == []
