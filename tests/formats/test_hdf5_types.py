"""Types of HDF5 files as h5py makes them: read with the dtype that NumPy has for them, and written back."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chunkarr as ca
from chunkarr.formats import hdf5
from chunkarr.formats.table import list_members
from chunkarr.grid import region_slices
from tests.formats.test_hdf5 import FILTERS, read, regions, same
from tests.strategies import arrays, chunks_of, shapes

ALIGNED = np.dtype([("a", "<i2"), ("b", ">f8", (2,)), ("c", "?")], align=True)
NESTED = np.dtype(
    {
        "names": ["flag", "in", "text", "z", "pairs"],
        "formats": ["?", ALIGNED, "S5", "<c8", (np.dtype([("x", ">u2"), ("y", "<f2")]), (2, 2))],
        "offsets": [1, 8, 48, 56, 64],
        "itemsize": 96,
    }
)
TIMED = np.dtype([("t", "<M8[ns]"), ("d", ">m8[s]"), ("name", "<U3")])
TYPES = ["?", "<f2", ">f2", "<c8", ">c16", ">i8", "<u1", ">M8[us]", "<M8[D]", "<m8[ns]", "S3", "V4", ALIGNED, NESTED]


def marked(dtype, *, enum):
    """Return ``dtype`` as h5py is to store it: times opaque, integers as an enum if asked."""
    if dtype.names is not None:
        fields = [dtype.fields[name] for name in dtype.names]
        return np.dtype(
            {
                "names": list(dtype.names),
                "formats": [np.dtype((marked(f[0].base, enum=enum), f[0].shape)) for f in fields],
                "offsets": [f[1] for f in fields],
                "itemsize": dtype.itemsize,
            }
        )
    if dtype.kind in "mMU":
        return h5py.opaque_dtype(dtype)
    if enum and dtype.kind in "iu":
        return h5py.enum_dtype({"NONE": 0, "SOME": 1, "ALL": 100}, dtype)
    return dtype


def random(dtype, shape, seed):
    """Return values of any dtype; bytes of padding are 0."""
    made = np.zeros(shape, dtype)
    if dtype.names is not None:
        for name in dtype.names:
            kind = dtype.fields[name][0]
            made[name] = random(kind.base, (*shape, *kind.shape), seed + 1)
        return made
    rng = np.random.default_rng(seed)
    numbers = rng.integers(0, 100, shape)
    if dtype.kind == "V":
        return np.frombuffer(rng.bytes(made.nbytes), dtype).reshape(shape)
    return (numbers.astype(str) if dtype.kind in "SU" else numbers).astype(dtype)


@given(st.data())
def test_any_type_in_any_layout(tmp_path, data):
    dtype = np.dtype(data.draw(st.sampled_from([*TYPES, TIMED])))
    shape = data.draw(shapes(max_size=100))
    values = random(dtype, shape, data.draw(st.integers(0, 99)))
    options = {}
    if values.ndim and values.size and data.draw(st.booleans()):
        chunks = data.draw(chunks_of(shape))
        options = {"chunks": tuple(map(min, chunks, shape)), **data.draw(st.sampled_from(FILTERS))}
    path = str(tmp_path / "a.h5")
    stored_as = marked(dtype, enum=data.draw(st.booleans()))
    with h5py.File(path, "w") as file:
        made = file.create_dataset("x", shape, stored_as, **options)
        made.id.write(h5py.h5s.ALL, h5py.h5s.ALL, values.astype(stored_as), h5py.h5t.py_create(stored_as, logical=True))
    stored = hdf5.open(path)
    assert (stored.shape, stored.dtype.metadata) == (shape, None)
    assert (stored.dtype.names, stored.dtype.itemsize) == (dtype.names, dtype.itemsize)
    assert stored.dtype.str == dtype.str
    region = data.draw(regions(shape))
    assert same(read(stored, region), values[(*region_slices(region), ...)])


@pytest.mark.parametrize("dtype", [*TYPES, TIMED], ids=str)
@pytest.mark.parametrize("codec", ["none", "gzip"])
def test_saved_and_read_by_both(tmp_path, dtype, codec):
    values = random(np.dtype(dtype), (7, 3), 5)
    ca.save(tmp_path / "a.h5", values, codec=codec)
    assert same(np.asarray(ca.open(tmp_path / "a.h5")), values)
    with h5py.File(tmp_path / "a.h5") as file:
        assert same(file["data"][()], values)


def test_enums_of_false_and_true_are_bool_and_others_their_integers(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["bool"] = np.array([[True, False, True]])
        for name, kind in (("small", "i1"), ("big", ">u4")):
            file.create_dataset(name, data=[2, 1, 2], dtype=h5py.enum_dtype({"A": 1, "B": 2}, kind))
        file.create_dataset("two", data=[0, 1], dtype=h5py.enum_dtype({"OFF": 0, "ON": 1}, "i1"))
    found = {name: (shape, dtype) for name, shape, dtype, _ in list_members(str(tmp_path / "a.h5"))}
    assert found == {
        "/big": ((3,), np.dtype(">u4")),
        "/bool": ((1, 3), np.dtype("?")),
        "/small": ((3,), np.dtype("i1")),
        "/two": ((2,), np.dtype("i1")),
    }
    assert ca.open(f"{tmp_path}/a.h5::bool").tolist() == [[True, False, True]]
    assert ca.open(f"{tmp_path}/a.h5::big").tolist() == [2, 1, 2]


def test_files_of_netcdf_4_open(tmp_path):
    """What netCDF4 and h5netcdf write: dimension scales, references in attributes, order of creation, fill values."""
    path = tmp_path / "a.nc"
    values = np.arange(24, dtype="<i2").reshape(2, 3, 4)
    with h5py.File(path, "w", track_order=True) as file:
        file.attrs["_NCProperties"] = np.bytes_(b"version=2,h5netcdf=1.3")
        for n, (name, size) in enumerate((("time", 2), ("lat", 3))):
            file[name] = np.arange(size, dtype=">f4")
            file[name].make_scale(name)
            file[name].attrs["_Netcdf4Dimid"] = n
        file.create_dataset("bare", (4,), ">f4").make_scale("This is a netCDF dimension but not a netCDF variable. 4")
        made = file.create_dataset(
            "t", data=values, chunks=(1, 3, 4), compression="gzip", shuffle=True, fillvalue=-99, maxshape=(None, 3, 4)
        )
        made.attrs["_FillValue"] = np.array([-99], "<i2")
        for axis, name in enumerate(("time", "lat", "bare")):
            made.dims[axis].attach_scale(file[name])
        file.create_dataset("name", data=["a", "bcd"], dtype=h5py.string_dtype(), chunks=(2,))
        file.create_group("sub")["x"] = np.float64(3)
    listed = [found[:3] for found in list_members(str(path))]
    assert sorted(listed) == [
        ("/bare", (4,), np.dtype(">f4")),
        ("/lat", (3,), np.dtype(">f4")),
        ("/name", (2,), np.dtype("<U3")),
        ("/sub/x", (), np.dtype("<f8")),
        ("/t", (2, 3, 4), np.dtype("<i2")),
        ("/time", (2,), np.dtype(">f4")),
    ]
    assert np.array_equal(np.asarray(ca.open(f"{path}::t")[:, 1:]), values[:, 1:])
    assert ca.open(f"{path}::bare").tolist() == [0.0] * 4
    assert ca.open(f"{path}::sub/x").tolist() == 3


@given(st.data())
def test_arrays_of_arrays_add_axes(tmp_path, data):
    inner = data.draw(st.sampled_from([(2,), (2, 3), (1,)]))
    values = data.draw(
        arrays(st.sampled_from(["<f4", ">i2", "<c8"]), shapes(max_dims=2, max_size=40).map(lambda s: (*s, *inner)))
    )
    kind = np.dtype((values.dtype, inner))
    shape = values.shape[: values.ndim - len(inner)]
    options = {"chunks": shape, "compression": "gzip"} if shape and 0 not in shape and data.draw(st.booleans()) else {}
    path = str(tmp_path / "a.h5")
    with h5py.File(path, "w") as file:
        made = file.create_dataset("x", shape, kind, **options)
        if values.size:
            made[...] = values
    stored = hdf5.open(path)
    assert (stored.shape, stored.dtype) == (values.shape, values.dtype)
    assert same(read(stored), values)
