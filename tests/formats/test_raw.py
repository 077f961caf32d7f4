"""Raw records: np.memmap is the oracle; sizes that do not fit are refused."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkarr.errors import FormatError, OptionError, UnsafeInputError
from chunkarr.formats import raw
from chunkarr.grid import region_shape, region_slices, whole
from tests.oracle import same
from tests.strategies import arrays


def read(stored: Any, region: Any = None) -> np.ndarray:
    region = whole(stored.shape) if region is None else region
    out = np.empty(region_shape(region), stored.dtype)
    stored.read(region, out, np.empty(stored.scratch_bytes(region), "u1"))
    return out


@given(data=st.data(), order=st.sampled_from("CF"), offset=st.integers(0, 9), tail=st.integers(0, 9))
def test_any_region_is_that_of_a_map(data: st.DataObject, order: str, offset: int, tail: int) -> None:
    values = data.draw(arrays().filter(lambda a: a.size))
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "a.raw")
        Path(path).write_bytes(b"x" * offset + values.tobytes(order) + b"y" * tail)
        stored = raw.open(path, dtype=values.dtype, shape=values.shape, offset=offset, order=order)
        mapped = np.memmap(path, values.dtype, "r", offset, values.shape, order)
        region = tuple(sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in values.shape)
        region = tuple((a, b) for a, b in region)
        found, expected = read(stored, region), mapped[(*region_slices(region), ...)]
        same(found, expected)
        del mapped, expected


def test_records_of_a_fits_table() -> None:
    path = os.path.join(os.path.dirname(np.__file__), "_core", "tests", "data", "recarray_from_file.fits")
    if not os.path.exists(path):
        pytest.skip("NumPy's test data are not installed")
    dtype = [("a", ">f8"), ("b", ">i4"), ("c", "S5")]
    found = read(raw.open(path, dtype=dtype, shape=3, offset=5760))
    assert found.tolist() == np.memmap(path, dtype, "r", 5760, (3,)).tolist()
    np.testing.assert_allclose(found["a"], [5.1, 5.2, 5.3], rtol=1e-15)
    assert found["b"].tolist() == [61, 62, 63]
    assert found["c"].tolist() == [b"abcde", b"fghij", b"kl   "]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((-1,), (24,)), (-1, (24,)), ((-1, 4), (6, 4)), ((2, -1, 3), (2, 4, 3)), ((2, 3), (2, 3)), (5, (5,)), ((), ())],
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_one_axis_may_be_open(tmp_path: Path, shape: Any, expected: tuple[int, ...], order: str) -> None:
    path = str(tmp_path / "a.raw")
    np.arange(24, dtype=">u2").tofile(path)
    stored = raw.open(path, dtype=">u2", shape=shape, order=order)
    assert stored.shape == expected
    size = int(np.prod(expected))
    assert read(stored).tolist() == np.arange(size).reshape(expected, order=order).tolist()


def test_an_empty_file_has_no_records(tmp_path: Path) -> None:
    path = str(tmp_path / "a.raw")
    Path(path).write_bytes(b"")
    assert raw.open(path, dtype="<f8", shape=(-1, 3)).shape == (0, 3)
    assert read(raw.open(path, dtype="<f8")).tolist() == []


def bad(reason: str, error: type[Exception] = FormatError, **options: Any) -> Any:
    return pytest.param(options, error, reason, id=reason)


@pytest.mark.parametrize(
    ("options", "error", "reason"),
    [
        bad("23 B after the offset of 0 B are 5 records of 4 B and 3 B left over", dtype="<i4"),
        bad(
            "21 B after the offset of 2 B are 1 records of 12 B and 9 B left over", dtype="<i4", shape=(-1, 3), offset=2
        ),
        bad("has 23 B, less than the offset of 24 B", dtype="u1", offset=24),
        bad(r"shape \(6,\) of dtype int32 needs 24 B .* has 23 B there", dtype="<i4", shape=6),
        bad("never unpickles", UnsafeInputError, dtype="O"),
        bad("never unpickles ", UnsafeInputError, dtype=[("a", "O")]),
        bad("not one that NumPy knows", OptionError, dtype="float99"),
        bad("at least one byte", OptionError, dtype="V0"),
        bad("no shape of its own", OptionError, dtype=("<f4", (2,))),
        bad("at most one -1", OptionError, dtype="u1", shape=(-1, -1)),
        bad("no bytes per step", OptionError, dtype="u1", shape=(-1, 0)),
        bad(r'"shape"\[0\] must be an integer .* is -2', OptionError, dtype="u1", shape=(-2,)),
        bad(r"is 2\.0", OptionError, dtype="u1", shape=(2.0,)),
        bad("is True", OptionError, dtype="u1", shape=(True,)),
        bad(r"more than 2\*\*63-1 B", OptionError, dtype="<f8", shape=(1 << 40, 1 << 40)),
        bad("65 axes", OptionError, dtype="u1", shape=(1,) * 65),
        bad("offset is a number of bytes", OptionError, dtype="u1", offset=-1),
        bad("offset is a number of bytes, ", OptionError, dtype="u1", offset=1.5),
        bad('order is "C" or "F"', OptionError, dtype="u1", order="A"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, options: Any, error: type[Exception], reason: str) -> None:
    path = tmp_path / "a.raw"
    path.write_bytes(bytes(23))
    with pytest.raises(error, match=reason.strip()) as caught:
        raw.open(str(path), **options)
    assert error is OptionError or str(path) in str(caught.value)


def test_a_created_file_is_only_the_records(tmp_path: Path) -> None:
    values = np.arange(12, dtype=">i4").reshape(3, 4)
    for order in "CF":
        path = tmp_path / f"a{order}.raw"
        target = raw.create(str(path), values.shape, values.dtype, order=order)
        region = whole(values.shape)
        target.write(region, values, np.empty(target.scratch_bytes(region), "u1"))
        target.commit()
        assert path.read_bytes() == values.tobytes(order)
        with pytest.raises(RuntimeError, match="once"):
            target.commit()


def test_blocks_of_another_dtype_or_shape_are_refused(tmp_path: Path) -> None:
    target = raw.create(str(tmp_path / "a.raw"), (4,), ">i4")
    with pytest.raises(TypeError, match="the block is of dtype int32, the array of >i4"):
        target.write(((0, 4),), np.zeros(4, "<i4"), np.empty(16, "u1"))
    with pytest.raises(ValueError, match=r"the block has shape \(3,\), the region \(4,\)"):
        target.write(((0, 4),), np.zeros(3, ">i4"), np.empty(16, "u1"))
    target.abort()
