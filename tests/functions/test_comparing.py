"""How two arrays differ: NumPy on whole arrays is the oracle."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chunkarr as ca
from chunkarr.cli import run
from chunkarr.functions.comparing import compare
from tests.strategies import arrays, chunks_of, dtypes, numeric_dtypes, shapes

PADDED = np.dtype({"names": ["a", "b"], "formats": ["u1", "<f4"], "offsets": [0, 4], "itemsize": 12})


def equal(one, other):
    """Say whether two elements are equal; NaN equals NaN, in fields too."""
    if one.dtype.names is not None:
        return all(
            equal(x, y)
            for name in one.dtype.names
            for x, y in zip(np.atleast_1d(one[name]).reshape(-1), np.atleast_1d(other[name]).reshape(-1), strict=True)
        )
    return bool(one == other or (one != one and other != other))


def changed(data, values):
    """Return a copy in which a few bytes are others."""
    other = values.copy()
    raw = np.frombuffer(other.data if other.dtype.kind not in "mM" else other.view("i8").data, "u1")
    for _ in range(data.draw(st.integers(0, 3)) if raw.size else 0):
        at = data.draw(st.integers(0, other.size - 1))
        other.reshape(-1)[at] = data.draw(arrays(dtype=values.dtype, shape=(1,)))[0]
    return other


@given(data=st.data(), dtype=dtypes() | st.just(PADDED))
def test_what_differs_is_counted_and_the_first_is_named(data, dtype):
    one = data.draw(arrays(dtype=dtype, shape=shapes(max_size=200)))
    other = changed(data, one)
    mask = [not equal(x, y) for x, y in zip(one.reshape(-1), other.reshape(-1), strict=True)]
    chunks = [data.draw(chunks_of(one.shape)) for _ in range(2)]
    report = compare(ca.asarray(one, chunks=chunks[0]), ca.asarray(other, chunks=chunks[1]))
    assert report.same == (not any(mask))
    assert (report.size, report.different, report.reason) == (one.size, sum(mask), "")
    assert report.first_index == (np.unravel_index(mask.index(True), one.shape) if any(mask) else None)
    if any(mask):
        assert report.first_values == (str(one[report.first_index]), str(other[report.first_index]))


@given(data=st.data(), dtype=numeric_dtypes(), dtype2=numeric_dtypes())
def test_the_largest_differences_are_numpys(data, dtype, dtype2):
    shape = data.draw(shapes(max_size=200))
    one, other = data.draw(arrays(dtype=dtype, shape=shape)), data.draw(arrays(dtype=dtype2, shape=shape))
    wide = "c16" if "c" in (dtype.kind, dtype2.kind) else "f8"
    exact = dtype.kind in "biu" and dtype2.kind in "biu"
    kind = object if exact else wide
    with np.errstate(all="ignore"):
        gap = np.asarray(np.abs(one.astype(kind) * 1 - other.astype(kind) * 1)).astype("f8")
        unequal = (one != other) & ~((one != one) & (other != other))
        gap = np.where(unequal, np.nan_to_num(gap, nan=np.inf, posinf=np.inf), 0)
        relative = np.where(unequal, np.nan_to_num(gap / np.abs(other.astype(wide)), nan=np.inf, posinf=np.inf), 0)
    report = compare(one, other, values_only=True)
    expected = gap.max(initial=0)
    assert report.max_abs == pytest.approx(expected, rel=1e-12)
    assert report.max_rel == pytest.approx(relative.max(initial=0), rel=1e-12)
    assert report.same == (not unequal.any())


@given(data=st.data(), dtype=st.sampled_from(["f8", ">f4", "i4", "u1"]))
def test_tolerances_are_those_of_isclose(data, dtype):
    one = data.draw(arrays(dtype=dtype, shape=shapes(max_size=200)))
    other = changed(data, one)
    rtol, atol = data.draw(st.sampled_from([(0, 0.5), (1e-3, 0), (0.25, 2)]))
    close = np.isclose(one.astype("f8"), other.astype("f8"), rtol, atol, equal_nan=True)
    report = compare(one, other, rtol=rtol, atol=atol)
    assert report.different == np.count_nonzero(~close)
    assert report.same == close.all()


def test_large_integers_are_told_apart():
    report = compare(np.array([2**63 - 1, 0], "i8"), np.array([-(2**63), 0], "i8"))
    assert (report.different, report.max_abs) == (1, float(2**64 - 1))
    report = compare(np.array([2**63 - 1], "i8"), np.array([2**63 - 2], "u8"), values_only=True)
    assert (report.different, report.max_abs) == (1, 1.0)


def test_times_differ_in_their_unit():
    one = np.array(["2026-01-01", "NaT", "2026-01-03"], "M8[D]")
    report = compare(one, np.array(["2026-01-01", "NaT", "2026-01-05"], "M8[D]"))
    assert (report.different, report.max_abs, report.max_rel) == (1, 2.0, None)
    assert compare(one, np.array(["2026-01-01", "2026-01-01", "2026-01-03"], "M8[D]")).max_abs == math.inf


def test_byte_order_and_padding_are_no_difference():
    values = np.arange(3, dtype="<i4")
    assert compare(values, values.astype(">i4")).same
    packed = np.dtype([("a", "u1"), ("b", ">f4")])
    one = np.array([(1, 2.0)], PADDED)
    assert compare(one, one.astype(packed)).same


def test_other_shapes_and_dtypes_are_different_without_being_read():
    report = compare(np.zeros((2, 3)), np.zeros((3, 2)))
    assert (report.same, report.reason, report.different) == (False, "the shapes differ", 0)
    assert "shapes differ: (2, 3) and (3, 2)" in str(report)
    report = compare(np.zeros(3), np.zeros(3, "S3"))
    assert (report.same, report.max_abs) == (False, None)
    assert "numbers and bytes cannot be compared" in str(report)
    assert "fields" in compare(np.zeros(3, [("a", "u1")]), np.zeros(3, [("b", "u1")])).reason
    assert "shapes" in compare(np.zeros(3, [("a", "u1", 2)]), np.zeros(3, [("a", "u1", 3)])).reason
    assert "raw" in compare(np.zeros(3, "V3"), np.zeros(3, "V4")).reason
    report = compare(np.zeros(3), np.zeros(3, "f4"))
    assert (report.same, report.different) == (False, 0)
    assert "dtypes differ: float64 and float32" in str(report)
    assert compare(np.zeros(3), np.zeros(3, "f4"), values_only=True).same


@pytest.mark.parametrize("shape", [(0,), (3, 0), ()])
def test_arrays_with_nothing_in_them_are_the_same(shape):
    report = compare(np.zeros(shape), np.zeros(shape))
    assert (report.same, report.size, report.max_abs) == (True, math.prod(shape), 0.0)
    assert json.loads(json.dumps(report.as_dict()))["same"] is True


def test_each_array_is_read_once(tmp_path):
    values = np.arange(600.0).reshape(20, 30)
    one, other = ca.save(tmp_path / "a.zarr", values, chunks=(7, 7)), ca.save(tmp_path / "a.npy", values)
    read = []
    for array in (one, other):
        kind = type(array._node.op.stored)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kind, "read", noting(kind.read, read))
            assert compare(one, other).same
    assert sum(read) == 2 * values.size


def noting(read, sizes):
    def noted(self, region, out, scratch):
        sizes.append(out.size)
        read(self, region, out, scratch)

    return noted


@pytest.mark.parametrize("bad", [{"rtol": -1}, {"atol": math.nan}, {"rtol": math.inf}])
def test_tolerances_are_finite(bad):
    with pytest.raises(ValueError, match="finite"):
        compare([1], [1], **bad)


# --- command ---------------------------------------------------------------------------------------


@pytest.fixture
def command(capsys):
    """Return what runs one command line in this process: (exit code, stdout, stderr)."""

    def call(*arguments):
        code = run.run([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return call


def test_diff_tells_by_its_exit_code(command, tmp_path):
    values = np.arange(12.0).reshape(3, 4)
    ca.save(tmp_path / "a.npy", values)
    ca.save(tmp_path / "b.zarr", values.astype(">f8"), chunks=(2, 2))
    code, out, err = command("diff", tmp_path / "a.npy", tmp_path / "b.zarr")
    assert (code, out, err) == (0, "all 12 elements are equal\n", "")
    values[1, 2] += 0.5
    ca.save(tmp_path / "c.raw", values)
    raw = ["--dtype", "f8", "--shape=3,4"]
    code, out, err = command("diff", tmp_path / "a.npy", tmp_path / "c.raw", *raw, "--json")
    record = json.loads(out)
    assert (code, err, record["different"], record["first_index"]) == (1, "", 1, [1, 2])
    assert command("diff", tmp_path / "a.npy", tmp_path / "c.raw", *raw, "--atol", 0.5)[0] == 0
    assert command("diff", tmp_path / "a.npy", tmp_path / "c.raw", *raw, "--quiet") == (1, "", "")


def test_what_cannot_be_compared_is_four(command, tmp_path):
    ca.save(tmp_path / "a.npy", np.arange(3))
    code, out, err = command("diff", tmp_path / "a.npy", tmp_path / "none.npy")
    assert (code, out) == (4, "")
    assert err.startswith("chunkarr: error: ")
    assert "none.npy" in err
    assert len(err.splitlines()) == 1
    assert command("diff", tmp_path / "a.npy")[0] == 2
    assert command("diff", tmp_path / "a.npy", tmp_path / "a.npy", "--rtol", "-1")[0] == 2
