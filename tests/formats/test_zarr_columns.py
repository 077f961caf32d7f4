"""Structured arrays as Zarr groups of one array per field."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import chunkarr as ca
from chunkarr.errors import CorruptChunkError, MetadataError, OptionError, UnsupportedError
from chunkarr.formats.table import create_target, list_members, open_stored
from tests.oracle import same

DTYPES = {
    "plain": np.dtype([("a", "<i2"), ("b", "<f8")]),
    "big": np.dtype([("a", ">i2"), ("b", ">f8"), ("c", ">c16")]),
    "padded": np.dtype({"names": ["a", "b"], "formats": ["u1", "<f8"], "offsets": [3, 8], "itemsize": 24}),
    "nested": np.dtype([("a", "?"), ("b", [("x", ">i4"), ("y", "S3")])]),
    "own-axes": np.dtype([("a", "<i2", (2, 3)), ("b", "M8[s]")]),
    "text": np.dtype([("a", "U4"), ("b", "S2")]),
}


def some(dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Return values of all bytes that stand for any."""
    values = np.zeros(shape, dtype)
    rng = np.random.default_rng(0)

    def fill(part: np.ndarray[Any, Any]) -> None:
        if part.dtype.names:
            for name in part.dtype.names:
                fill(part[name])
        elif part.dtype.kind in "SU":
            part[...] = rng.integers(0, 99, part.shape).astype(part.dtype)
        else:
            part[...] = rng.integers(0, 2, part.shape).astype(part.dtype)

    fill(values)
    return values


@pytest.mark.parametrize("shape", [(11,), (5, 7), (), (0, 3)])
@pytest.mark.parametrize("name", DTYPES)
def test_round_trips(tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    values = some(DTYPES[name], shape)
    path = tmp_path / "x.zarr"
    saved = ca.save(path, values, layout="columns", chunks=tuple(max(1, n // 2) for n in shape) or None)
    assert (saved.dtype, saved.shape) == (values.dtype, values.shape)
    same(saved, values)
    assert saved.compute().tobytes() == values.tobytes(), "zeros in the padding"
    if shape == (5, 7):
        same(saved[1:4, ::2], values[1:4, ::2])
        same(saved["a"][2:], values["a"][2:])


def test_every_reader_opens_the_fields(tmp_path: Path) -> None:
    values = some(DTYPES["big"], (30,))
    ca.save(tmp_path / "x.zarr", values, layout="columns", chunks=7)
    group = zarr.open_group(tmp_path / "x.zarr", mode="r")
    assert sorted(group) == ["a", "b", "c"]
    for name in group:
        np.testing.assert_array_equal(group[name][:], values[name])
    field = ca.open(f"{tmp_path}/x.zarr::b", "r+")
    field[3] = 77
    whole = ca.open(tmp_path / "x.zarr")
    assert whole[3].compute()["b"] == 77
    assert [member[:2] for member in list_members(f"{tmp_path}/x.zarr")] == [("", (30,))]
    with pytest.raises((UnsupportedError, ValueError)):
        ca.open(tmp_path / "x.zarr", "r+")[0] = values[0]


def test_it_is_converted_from_and_to_records(tmp_path: Path) -> None:
    values = some(DTYPES["padded"], (100,))
    ca.save(tmp_path / "r.zarr", values)
    ca.convert(tmp_path / "r.zarr", tmp_path / "c.zarr", layout="columns")
    ca.convert(tmp_path / "c.zarr", tmp_path / "x.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), values)
    assert os.path.isdir(tmp_path / "c.zarr" / "b")


def test_a_change_makes_expressions_stale_and_pickles_reopen(tmp_path: Path) -> None:
    values = some(DTYPES["plain"], (9,))
    array = ca.save(tmp_path / "x.zarr", values, layout="columns")
    same(pickle.loads(pickle.dumps(array)), values)
    double = array["b"] * 2
    ca.save(tmp_path / "x.zarr", values[::-1], layout="columns", overwrite=True)
    with pytest.raises(ca.StaleExpressionError):
        double.compute()
    same(array, values[::-1])


def test_it_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = create_target(str(tmp_path / "x.zarr"), (4,), DTYPES["plain"], layout="columns", chunks=2)
    target.write(((0, 2),), np.zeros(2, DTYPES["plain"]), np.empty(target.scratch_bytes(((0, 2),)), "u1"))
    with pytest.raises(ca.MissingChunkError):
        target.commit()
    target.abort()
    assert os.listdir(tmp_path) == []


def test_damage_is_found(tmp_path: Path) -> None:
    path = tmp_path / "x.zarr"
    array = ca.save(path, some(DTYPES["plain"], (400,)), layout="columns", chunks=100)
    assert array.verify().ok
    chunk = path / "b" / "c" / "2"
    raw = bytearray(chunk.read_bytes())
    raw[30] ^= 1
    chunk.write_bytes(raw)
    assert not ca.open(path).verify().ok
    with pytest.raises(CorruptChunkError):
        ca.open(path).compute()


def test_groups_that_contradict_themselves(tmp_path: Path) -> None:
    path = tmp_path / "x.zarr"
    ca.save(path, some(DTYPES["plain"], (4,)), layout="columns")
    document = json.loads((path / "zarr.json").read_text())
    for dtype in (
        [["a", "<i2"], ["z", "<f8"]],
        [["a", "<i4"], ["b", "<f8"]],
        [["a", "<i2", [4]], ["b", "<f8"]],
        7,
        None,
    ):
        document["attributes"]["chunkarr"]["dtype"] = dtype
        (path / "zarr.json").write_text(json.dumps(document))
        with pytest.raises(MetadataError):
            open_stored(str(path))


def test_what_cannot_be_a_group(tmp_path: Path) -> None:
    for name in ("a/b", ".x", "..", "__x"):
        with pytest.raises(UnsupportedError, match="cannot be the name of an array"):
            ca.save(tmp_path / "x.zarr", np.zeros(3, [(name, "i2")]), layout="columns")
    with pytest.raises(UnsupportedError, match="differ in case"):
        ca.save(tmp_path / "x.zarr", np.zeros(3, [("a", "i2"), ("A", "i2")]), layout="columns")
    with pytest.raises(OptionError, match='layout is "records" or "columns"'):
        ca.save(tmp_path / "x.zarr", np.zeros(3, [("a", "i2")]), layout="rows")
    assert os.listdir(tmp_path) == []
    same(ca.save(tmp_path / "x.zarr", np.arange(3), layout="columns"), np.arange(3))
