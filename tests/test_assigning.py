"""Assignment to stored arrays: what NumPy does, in one transaction, whatever the key, the value and the chunks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chunkarr as ca
from chunkarr import engine
from chunkarr.array import picking
from chunkarr.ops.compressing import Compress, Masked
from tests.oracle import same
from tests.strategies import advanced_keys, arrays, basic_keys, chunked, chunks_of, numeric_dtypes, shapes
from tests.updating import QUIET, agree, changeable, planned, setter

LITERALS = [0, -1, 1, 300, 2.7, float("nan"), 1 - 2j, True, None, "5", "x", b"7", (), [], (1, 2), [[3]], [1, [2, 3]]]
SCALARS = [
    np.int64(300),
    np.float64("nan"),
    np.complex128(2j),
    np.bool_(True),
    np.str_("12"),
    np.datetime64("2020-01-02"),
]


@st.composite
def values_for(draw, shape, dtype):
    """Draw what may be assigned to a selection of ``shape``: what fits, and what does not."""
    kind = draw(st.sampled_from(["array", "array", "array", "same", "literal", "scalar", "wrong"]))
    if kind == "literal":
        return draw(st.sampled_from(LITERALS))
    if kind == "scalar":
        return draw(st.sampled_from(SCALARS))
    extent = list(shape[draw(st.integers(0, len(shape))) :])
    for k in range(len(extent)):
        if draw(st.integers(0, 4)) == 0:
            extent[k] = 1
    if kind == "wrong" and extent:
        extent[draw(st.integers(0, len(extent) - 1))] += 1
    extent = [1] * draw(st.integers(0, 1)) + extent
    chosen = dtype if kind == "same" else draw(st.one_of(numeric_dtypes(), st.just(dtype)))
    values = draw(arrays(dtype=chosen, shape=tuple(extent)))
    return values.tolist() if draw(st.integers(0, 4)) == 0 else values


def selected_shape(x, key):
    try:
        return np.empty(x.shape, "V0")[key].shape
    except Exception:  # noqa: BLE001
        return x.shape


@QUIET
@given(arrays(shape=shapes(3, 120)), st.data())
def test_assignment_is_numpys(x, data):
    key = data.draw(st.one_of(basic_keys(x.shape), advanced_keys(x.shape)))
    value = data.draw(values_for(selected_shape(x, key), x.dtype))
    chunks = data.draw(st.none() | chunks_of(x.shape))
    also = ()
    try:
        x[key]
    except IndexError:
        also = (IndexError,)  # where key and value are both wrong, either may be named
    agree(x, chunks, setter(key, value), setter(key, value), large=data.draw(st.booleans()), also=also)


# --- in place --------------------------------------------------------------------------------------

RECORD = np.dtype([("energy", "<f8"), ("flag", ">i2"), ("pair", "f4", (2,))])
TABLE = np.zeros(30, RECORD)
TABLE["energy"], TABLE["flag"], TABLE["pair"] = np.arange(30) / 4, np.arange(30) % 3, np.arange(60).reshape(30, 2)


def scale_field(t):
    t["energy"] *= 0.98


def reset_where(t):
    t[t["flag"] == 0] = 0


def shift_pair(t):
    t["pair"][3:9, 1] += 5


def two_fields(t):
    t[["flag", "energy"]] = np.ones((), [("a", "i8"), ("b", "f4")])


def one_record(t):
    t[-1] = (1.5, 7, [8, 9])


def half_of_some(t):
    t["energy"][t["flag"] == 1] /= 2


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("chunks", [None, (7,)])
@pytest.mark.parametrize("change", [scale_field, reset_where, shift_pair, two_fields, one_record, half_of_some])
def test_fields_change_in_one_transaction(change, chunks, large):
    agree(TABLE, chunks, change, change, large=large)


def double(a):
    a *= 2


def halve_column(a):
    a[:, 1] /= 2


def halve_every_third(a):
    a[0::3] /= 2


def more_where_large(a):
    a[a > 30] += 1


def more_at_indices(a):
    a[[1, 5, 1]] += 10


def shift_down(a):
    a[1:] = a[:-1]


def reverse(a):
    a[...] = a[::-1, ::-1]


def from_the_middle(a):
    a[2:8:2] = a[3:6] - a.mean(axis=0)


def by_its_own_view(a):
    b = a[::-2, 1:]
    b += b[::-1]


def matrix(a):
    a[:4] @= np.arange(16.0).reshape(4, 4)


def power(a):
    a[1, 2] **= 2


def one_row_for_many(a):
    a[a[:, 0] > 12] = np.arange(4.0)


def each_its_own(a):
    a[a > 36] = np.arange(3.0)


STATEMENTS = [
    double, halve_column, halve_every_third, more_where_large, more_at_indices, shift_down, reverse, from_the_middle,
    by_its_own_view, matrix, power, one_row_for_many, each_its_own,
]  # fmt: skip


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("chunks", [None, (3, 3), (4, 1)])
@pytest.mark.parametrize("change", STATEMENTS)
def test_statements_are_one_transaction(change, chunks, large):
    x = np.arange(40.0).reshape(10, 4)
    agree(x, chunks, change, change, large=large)
    a, disk = changeable(x, chunks)
    with planned(large):
        change(a)
    assert disk.commits == 1


def test_names_stay_bound_to_the_stored_array():
    a, disk = changeable(np.arange(6.0))
    same_array = a
    a += 1
    assert a is same_array
    b = a + 0
    b += 1
    assert disk.commits == 1
    same(b, np.arange(6.0) + 2)


def test_only_what_is_touched_is_written():
    a, disk = changeable(np.zeros((20, 20)), (5, 5))
    a[7, ::10] = 1
    assert sorted(disk.written[-1]) == [((5, 10), (0, 5)), ((5, 10), (10, 15))]
    with planned():
        a[[0, 19], [0, 19]] = 1
    assert sorted(disk.written[-1]) == [((0, 5), (0, 5)), ((15, 20), (15, 20))]
    disk.read.clear()
    a[5:15, 5:10] = 3
    assert disk.read == []
    a[3:3] = 5
    assert disk.commits == 3


def test_rows_far_apart_in_a_flat_file_are_written_apart():
    a, disk = changeable(np.zeros((64, 1 << 13)))
    a[::16] = 1
    assert [region[0] for region in disk.written[-1]] == [(0, 1), (16, 17), (32, 33), (48, 49)]


# --- refusals ----------------------------------------------------------------------------------------


def test_expressions_and_arrays_open_for_reading_refuse(tmp_path):
    a, disk = changeable(np.arange(6.0))
    for target in (a + 1, a[[1, 2]], a.reshape(2, 3)[0], ca.arange(3)):
        with pytest.raises(ValueError, match="read-only: this is an expression"):
            target[0] = 1
    b = ca.save(tmp_path / "x.npy", np.arange(3))
    with pytest.raises(ValueError, match=r'read-only: .*x\.npy is open for reading; open it with mode="r\+"'):
        b[0] = 1
    c = b
    b += 1
    assert b is not c
    assert np.load(tmp_path / "x.npy").tolist() == [0, 1, 2]
    assert disk.commits == 0


def test_a_locked_array_is_left_alone():
    a, disk = changeable(np.arange(6.0))
    with disk_lock(a), pytest.raises(ca.ArrayLockedError):
        a[0] = 9
    a[0] = 9
    assert disk.values[0] == 9


def disk_lock(a):
    return a._handle.stored.update()


@pytest.mark.parametrize("large", [False, True])
def test_values_that_fail_while_they_are_computed_leave_the_old_array(large):
    a, disk = changeable(np.arange(60.0), (7,))
    words = ca.asarray(np.array(["1"] * 40 + ["x"] * 20), chunks=10)
    with planned(large), pytest.raises(ValueError, match="could not convert"):
        a[...] = words
    assert disk.locked is None
    assert disk.commits == 0
    same(a, np.arange(60.0))


def test_what_is_lost_in_a_cast_is_told_once():
    a, _ = changeable(np.zeros((400, 400), "i4"), (100, 100))
    big = ca.full((400, 400), 1e300)
    with planned(), pytest.warns(RuntimeWarning, match="invalid value encountered in cast") as caught:
        a[...] = big
    assert len(caught) == 1
    with planned(), pytest.warns(np.exceptions.ComplexWarning) as caught:
        a[...] = ca.full((400, 400), 1 + 2j)
    assert len(caught) == 1
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        a[...] = ca.ones((400, 400)) / 0


# --- masks too large to be held -------------------------------------------------------------------------


def log_where(a):
    a[a > 30] = np.sqrt(a[a > 30]) + a[0, 0]


def log_where_named(a):
    mask = a > 30
    a[mask] = np.log(a[mask] - 30) * 2 + a[mask]


def rows_by_a_mask(a):
    mask = a[:, 1] > 8
    a[mask] -= np.arange(4.0)


def rows_of_their_own(a):
    mask = a[:, 1] > 8
    a[mask] = a[:7] * 10


def ranked(a):
    mask = (a % 3) == 0
    a[mask] = np.arange(14.0)


def ranked_view(a):
    b = a.T[::-1, 1:]
    b[b > 20] = np.arange(18.0)


def nothing_is_true(a):
    a[a > 1000] = np.zeros(0)


def too_few(a):
    a[a > 30] = np.arange(3.0)


MASKED = [log_where, log_where_named, rows_by_a_mask, rows_of_their_own, ranked, ranked_view, nothing_is_true, too_few]


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("chunks", [None, (3, 3), (4, 1)])
@pytest.mark.parametrize("change", [*MASKED, more_where_large, each_its_own])
def test_large_masks_do_what_small_ones_do(change, chunks, large, monkeypatch):
    monkeypatch.setattr(picking, "LARGE", 0)
    x = np.arange(40.0).reshape(10, 4)
    agree(x, chunks, change, change, large=large)


@given(arrays(dtype="f8", shape=shapes(3, 80).filter(lambda s: s and 0 not in s)), st.data())
def test_values_go_to_true_elements_in_order(x, data):
    ndim = data.draw(st.integers(1, x.ndim))
    mask = data.draw(arrays(dtype="?", shape=x.shape[:ndim]))
    values = np.arange(float(x[mask].size)).reshape(x[mask].shape)
    before, picking.LARGE = picking.LARGE, 0
    try:
        agree(x, data.draw(st.none() | chunks_of(x.shape)), setter(chunked(mask), values), setter(mask, values))
    finally:
        picking.LARGE = before


def test_what_a_large_mask_picks_is_not_picked_to_be_changed(monkeypatch):
    monkeypatch.setattr(picking, "LARGE", 0)
    a, _ = changeable(np.arange(40.0).reshape(10, 4), (3, 3))
    plans = []
    real = engine.plan
    monkeypatch.setattr(engine, "plan", lambda *args, **options: plans.append(real(*args, **options)) or plans[-1])
    with planned():
        a[a > 30] += 1
    (last,) = plans[-1].stages
    assert not any(isinstance(u.op, Compress | Masked) for u in last.flow.units)


# --- generations -------------------------------------------------------------------------------------


def test_views_follow_and_expressions_belong_to_what_was():
    x = np.arange(24.0).reshape(6, 4)
    a, _ = changeable(x, (2, 2))
    view, turned, expression, total = a[1:3], a.T, a * 2, a.sum()
    assert float(total) == x.sum()
    a[2] = 100
    x[2] = 100
    same(view, x[1:3])
    same(turned, x.T)
    for old in (expression, total):
        with pytest.raises(ca.StaleExpressionError, match="open it again"):
            old.compute()
    a += view.sum()
    same(a, x + x[1:3].sum())


def test_rechunked_views_write_through_and_keep_their_boxes():
    a, disk = changeable(np.zeros((8, 8)), (2, 2))
    b = a.rechunk(4)
    b[1] = 5
    assert b.chunks == (4, 4)
    assert disk.values[1].tolist() == [5] * 8
    same(b, disk.values)


def test_parts_of_complex_numbers_are_written_through():
    x = np.zeros((3, 2), complex)
    a, disk = changeable(x, (2, 2))
    a.real[1:] = 3
    a.imag[0] += 2
    x.real[1:] = 3
    x.imag[0] += 2
    same(disk.values, x)


# --- larger than memory --------------------------------------------------------------------------------


def test_values_larger_than_the_budget_are_written_block_by_block(tmp_path):
    a = ca.create(tmp_path / "x.zarr", (1200, 1000), "f8", chunks=(50, 100))
    x = np.arange(1_200_000.0).reshape(1200, 1000)
    x[1:] = x[:-1].copy()
    x[x > 1000] += 1
    x[::2, ::-1] = x[::2].copy()
    fifth = np.count_nonzero(x % 5 == 0)
    x[x % 5 == 0] = np.arange(fifth)
    with ca.config.set(memory="3MiB"):
        a[...] = ca.arange(1_200_000.0).reshape(1200, 1000)
        a[1:] = a[:-1]
        a[a > 1000] += 1
        a[::2, ::-1] = a[::2]
        a[a % 5 == 0] = ca.arange(fifth)
    same(ca.open(a.path), x)


def test_a_change_that_cannot_fit_is_refused_before_it_begins(tmp_path):
    a = ca.create(tmp_path / "x.zarr", (2048, 1024), chunks=(1024, 1024))
    with ca.config.set(memory="4MiB"), pytest.raises(ca.MemoryBudgetError, match="raise it"):
        a += 1
    a[0, 0] = 1
    assert float(a.sum()) == 1


# --- formats -----------------------------------------------------------------------------------------

LAYOUTS = {
    "zarr": (".zarr", {"chunks": (3, 3)}),
    "shards": (".zarr", {"chunks": (2, 2), "shards": (4, 4)}),
    "npy": (".npy", {}),
    "npy-fortran": (".npy", {"order": "F"}),
    "raw": (".raw", {}),
    "hdf5": (".h5", {}),
    "hdf5-chunked": (".h5", {"chunks": (3, 4), "codec": "gzip"}),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_format_takes_the_statements(layout, tmp_path):
    suffix, options = LAYOUTS[layout]
    x = np.arange(40.0).reshape(10, 4)
    path = tmp_path / f"x{suffix}"
    ca.save(path, x, **options)
    given = {"dtype": "f8", "shape": (-1, 4)} if suffix == ".raw" else {}
    a = ca.open(path, "r+", **given)
    reader = ca.open(path, **given)
    for change in STATEMENTS[:-1]:
        change(a)
        change(x)
        same(a, x)
    with a.batch():
        for k in range(10):
            a[k, k % 4] -= 1
            x[k, k % 4] -= 1
    same(reader, x)
    same(ca.open(path, **given), x)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
