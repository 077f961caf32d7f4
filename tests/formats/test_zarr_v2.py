"""Zarr v2 arrays, as others write them, become v3: nothing is lost on the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr

import chunkarr as ca
from chunkarr.errors import UnsupportedError
from tests.oracle import same

pytestmark = pytest.mark.filterwarnings(
    "ignore::zarr.errors.ZarrUserWarning", "ignore::UserWarning", "ignore::zarr.errors.UnstableSpecificationWarning"
)

VALUES: dict[str, np.ndarray[Any, Any]] = {
    "u1": np.arange(60, dtype="u1").reshape(6, 10),
    ">i4": np.arange(60, dtype=">i4").reshape(6, 10) - 30,
    ">f8": np.array([np.nan, -0.0, np.inf, 1e300] * 15, ">f8").reshape(6, 10),
    "c16": (np.arange(60) * (1 + 2j)).reshape(6, 10),
    "?": (np.arange(60) % 3 == 0).reshape(6, 10),
    "S3": np.array([b"a", b"abc", b""] * 20).reshape(6, 10),
    "<U2": np.array(["a", "äb", ""] * 20).reshape(6, 10),
    ">U2": np.array(["a", "äb", ""] * 20).reshape(6, 10).astype(">U2"),
    "M8[ms]": np.array(["2020-01-01", "NaT"] * 30, "M8[ms]").reshape(6, 10),
    "struct": np.array([(k, k / 2) for k in range(60)], [("a", "<i2"), ("b", "<f8")]).reshape(6, 10),
    "struct-big": np.array([(k, k / 2) for k in range(60)], [("a", ">i2"), ("b", ">f8")]).reshape(6, 10),
}


def write_v2(path: Path, values: np.ndarray[Any, Any], *, order: str, compressor: Any, filters: Any, sep: str) -> None:
    """Write a v2 array by the specification alone: the library corrupts some types."""
    path.mkdir()
    chunks = (4, 4)
    document = {
        "zarr_format": 2,
        "shape": list(values.shape),
        "chunks": list(chunks),
        "dtype": np.lib.format.dtype_to_descr(values.dtype),
        "compressor": None if compressor is None else compressor.get_config(),
        "fill_value": None,
        "order": order,
        "filters": None if filters is None else [f.get_config() for f in filters],
        "dimension_separator": sep,
    }
    (path / ".zarray").write_text(json.dumps(document))
    for i in range(0, values.shape[0], 4):
        for j in range(0, values.shape[1], 4):
            block = np.zeros(chunks, values.dtype)
            part = values[i : i + 4, j : j + 4]
            block[: part.shape[0], : part.shape[1]] = part
            raw: Any = block.tobytes(order)  # type: ignore[arg-type]
            if filters is not None:
                raw = np.frombuffer(raw, values.dtype)
                for step in filters:
                    raw = step.encode(raw)
                raw = np.asarray(raw).tobytes()
            if compressor is not None:
                raw = compressor.encode(raw)
            place = path / f"{i // 4}{sep}{j // 4}"
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(raw)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("name", VALUES)
def test_every_type_survives(tmp_path: Path, name: str, order: str) -> None:
    values = VALUES[name]
    write_v2(tmp_path / "two.zarr", values, order=order, compressor=numcodecs.Zlib(1), filters=None, sep=".")
    found = ca.open(tmp_path / "two.zarr")
    assert found.dtype == values.dtype
    same(found, values)
    ca.convert(tmp_path / "two.zarr", tmp_path / "three.zarr")
    same(ca.open(tmp_path / "three.zarr"), values)
    assert ca.open(tmp_path / "three.zarr").dtype == values.dtype
    assert json.loads((tmp_path / "three.zarr" / "zarr.json").read_text())["zarr_format"] == 3
    if values.dtype.kind in "biufc":
        np.testing.assert_array_equal(zarr.open_array(tmp_path / "three.zarr", mode="r")[:], values)


CODECS = [None, numcodecs.Blosc("zstd"), numcodecs.Zstd(3), numcodecs.GZip(1), numcodecs.LZ4(), numcodecs.BZ2(1)]


@pytest.mark.parametrize("compressor", CODECS, ids=lambda codec: "none" if codec is None else codec.codec_id)
@pytest.mark.parametrize("sep", [".", "/"])
def test_every_compressor_is_read(tmp_path: Path, compressor: Any, sep: str) -> None:
    values = VALUES[">i4"]
    write_v2(tmp_path / "two.zarr", values, order="C", compressor=compressor, filters=None, sep=sep)
    ca.convert(tmp_path / "two.zarr", tmp_path / "three.zarr")
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "three.zarr", mode="r")[:], values)


def test_filters_are_undone(tmp_path: Path) -> None:
    values = VALUES["u1"].astype("<i4")
    filters = [numcodecs.Delta("<i4")]
    write_v2(tmp_path / "two.zarr", values, order="C", compressor=numcodecs.Zlib(1), filters=filters, sep=".")
    ca.convert(tmp_path / "two.zarr", tmp_path / "three.zarr")
    np.testing.assert_array_equal(ca.open(tmp_path / "three.zarr").compute(), values)


def test_text_of_any_length_is_named_as_what_cannot_be_read(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "x.zarr", shape=(3,), dtype=str, chunks=(2,), zarr_format=2)[:] = np.array(
        ["a", "bcd", ""], object
    )
    with pytest.raises(UnsupportedError, match=r"x\.zarr"):
        ca.open(tmp_path / "x.zarr")


def test_the_bytes_of_what_was_missing_are_the_fill_value(tmp_path: Path) -> None:
    array = zarr.create_array(tmp_path / "x.zarr", shape=(6,), dtype=">f4", chunks=(2,), zarr_format=2, fill_value=7.5)
    array[2:4] = 1
    ca.convert(tmp_path / "x.zarr", tmp_path / "y.zarr")
    assert ca.open(tmp_path / "y.zarr").tolist() == [7.5, 7.5, 1, 1, 7.5, 7.5]
