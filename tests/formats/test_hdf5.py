"""Reading HDF5: values, types and names as h5py has them."""

from __future__ import annotations

import os
import pickle
import threading

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numcodecs import Fletcher32

import chunkarr as ca
from chunkarr.errors import FormatError, MissingChunkError, OptionError, StaleExpressionError, UnsupportedError
from chunkarr.formats import hdf5
from chunkarr.formats.flat_stored import FlatStored
from chunkarr.formats.hdf5_stored import ChunkedHdf5, LibraryHdf5
from chunkarr.formats.hdf5_types import storage_dtype
from chunkarr.formats.table import list_members
from chunkarr.grid import region_shape, region_slices, whole
from tests.strategies import arrays, chunks_of, dtypes, shapes

FILTERS = [
    {},
    {"shuffle": True},
    {"fletcher32": True},
    {"compression": "gzip"},
    {"compression": "gzip", "shuffle": True},
    {"compression": "gzip", "compression_opts": 1, "shuffle": True, "fletcher32": True},
    {"compression": "lzf", "shuffle": True},
]


def read(stored, region=None, *, fortran=False):
    region = whole(stored.shape) if region is None else region
    out = np.empty(region_shape(region), stored.dtype, order="F" if fortran else "C")
    out.reshape(-1, order="A").view(np.uint8)[:] = 0xA5
    stored.read(region, out, np.full(stored.scratch_bytes(region), 0x5A, np.uint8))
    return out


def put(path, values, name="x", **options):
    with h5py.File(path, "w") as file:
        marked = storage_dtype(values.dtype)
        file.create_dataset(name, data=values.astype(marked), dtype=marked, **options)


def same(one, other):
    """Compare bytes, not those of padding: NumPy's own copies lose them."""
    if other.dtype.names is not None:
        return all(same(one[name], other[name]) for name in other.dtype.names)
    return one.astype(other.dtype).tobytes() == other.tobytes()


def regions(shape):
    ends = [st.tuples(st.integers(0, n), st.integers(0, n)).map(sorted).map(tuple) for n in shape]
    return st.tuples(*ends)


@given(st.data())
def test_any_region_of_what_h5py_wrote(tmp_path, data):
    values = data.draw(arrays(dtypes(), shapes(max_size=400)))
    options = {}
    if values.ndim and values.size and data.draw(st.booleans()):
        chunks = data.draw(chunks_of(values.shape))
        options = {"chunks": tuple(map(min, chunks, values.shape)), **data.draw(st.sampled_from(FILTERS))}
    path = str(tmp_path / "a.h5")
    put(path, values, **options)
    stored = hdf5.open(path)
    assert (stored.shape, stored.dtype, stored.format) == (values.shape, values.dtype, "hdf5")
    assert stored.dtype.metadata is None
    region = data.draw(regions(values.shape))
    out = read(stored, region, fortran=data.draw(st.booleans()))
    assert same(out, values[(*region_slices(region), ...)])


@pytest.mark.parametrize("options", FILTERS, ids=str)
def test_what_reads_what(tmp_path, options):
    put(tmp_path / "a.h5", np.arange(60, dtype=">i4").reshape(6, 10), chunks=(4, 3), **options)
    stored = hdf5.open(str(tmp_path / "a.h5"))
    library = options.get("compression") == "lzf"
    assert type(stored) is (LibraryHdf5 if library else ChunkedHdf5)
    assert stored.grid.steps == (4, 3)
    assert stored.bytes_read(((3, 5), (2, 4))) == (4 * 4 * 3 * 4 if options else 4 * 4)
    assert stored.contiguous is not bool(options)


def test_contiguous_values_are_a_flat_file(tmp_path):
    put(tmp_path / "a.h5", np.arange(6.0))
    assert isinstance(hdf5.open(str(tmp_path / "a.h5")), FlatStored)


def test_elements_never_written_are_the_fill_value(tmp_path):
    path = str(tmp_path / "a.h5")
    pair = np.dtype([("a", ">i2"), ("b", "f4")])
    with h5py.File(path, "w") as file:
        file.create_dataset("contiguous", (3,), "i4", fillvalue=7)
        chunked = file.create_dataset("chunked", (10, 4), ">f8", chunks=(4, 4), fillvalue=-1.5, compression="gzip")
        chunked[4:8] = 2
        file.create_dataset("pairs", (3,), pair, chunks=(2,), fillvalue=np.array((5, 0.5), pair))
        file.create_dataset("times", (3,), h5py.opaque_dtype(np.dtype("M8[s]")), chunks=(2,))
    assert read(hdf5.open(path, member="contiguous")).tolist() == [7, 7, 7]
    expected = np.full((10, 4), -1.5)
    expected[4:8] = 2
    assert np.array_equal(read(hdf5.open(path, member="chunked")), expected)
    assert read(hdf5.open(path, member="pairs")).tolist() == [(5, 0.5)] * 3
    assert read(hdf5.open(path, member="times")).tolist() == np.zeros(3, "M8[s]").tolist()


def test_chunk_absent_from_an_array_that_chunkarr_completed(tmp_path):
    path = str(tmp_path / "a.h5")
    with h5py.File(path, "w") as file:
        made = file.create_dataset("x", (10,), "i4", chunks=(4,))
        made[:4] = 1
        made.attrs["chunkarr"] = np.bytes_(b'{"v": 1, "complete": true, "order": "C", "shape": [10]}')
    stored = hdf5.open(path)
    assert read(stored, ((0, 4),)).tolist() == [1] * 4
    with pytest.raises(MissingChunkError, match=r"a\.h5::/x: the chunk at \(4,\) is missing"):
        read(stored, ((3, 5),))


@pytest.mark.parametrize("note", [b"[]", b"{", b'{"v": 1}', b"\xff", b"1" * 5000])
def test_attribute_that_is_not_ours_is_not_believed(tmp_path, note):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.arange(3)
        file["x"].attrs["chunkarr"] = np.bytes_(note)
    assert read(hdf5.open(str(tmp_path / "a.h5"))).tolist() == [0, 1, 2]


def test_types_of_other_writers(tmp_path):
    path = str(tmp_path / "a.h5")
    ten_bits = h5py.h5t.STD_I16LE.copy()
    ten_bits.set_precision(10)
    text = h5py.h5t.C_S1.copy()
    text.set_size(4)
    with h5py.File(path, "w") as file:
        file.create_dataset("enum", data=[1, 2], dtype=h5py.enum_dtype({"A": 1, "B": 2}, ">i2"))
        file.create_dataset("utf8", data=[b"\xc3\xa4"], dtype=h5py.string_dtype("utf-8", 4))
        file.create_dataset("inner", (2,), np.dtype(("i4", (2, 3))))[...] = np.arange(12).reshape(2, 2, 3)
        for name, kind in (("bits", ten_bits), ("text", text)):
            h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create_simple((2,)))
        file["bits"][...] = [-3, 300]
        file["text"].id.write(h5py.h5s.ALL, h5py.h5s.ALL, np.array([b"ab", b"abc"], "S4"))
    enum = hdf5.open(path, member="enum")
    assert (enum.dtype, enum.dtype.metadata, read(enum).tolist()) == (np.dtype(">i2"), None, [1, 2])
    assert read(hdf5.open(path, member="utf8")).tolist() == ["ä".encode()]
    assert read(hdf5.open(path, member="bits")).tolist() == [-3, 300]
    assert read(hdf5.open(path, member="text")).tolist() == [b"ab", b"abc"]
    inner = hdf5.open(path, member="inner")
    assert inner.shape == (2, 2, 3)
    assert read(inner, ((1, 2), (0, 2), (1, 3))).tolist() == [[[7, 8], [10, 11]]]


def test_compact_values(tmp_path):
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made.set_layout(h5py.h5d.COMPACT)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        h5py.h5d.create(file.id, b"x", h5py.h5t.STD_I32BE, h5py.h5s.create_simple((3, 2)), made)
        file["x"][...] = np.arange(6).reshape(3, 2)
    assert read(hdf5.open(str(tmp_path / "a.h5")), ((1, 3), (0, 1))).tolist() == [[2], [4]]


def test_user_block_moves_all_addresses(tmp_path):
    path = str(tmp_path / "a.h5")
    with h5py.File(path, "w", userblock_size=512) as file:
        file["flat"] = np.arange(5)
        file.create_dataset("chunked", data=np.arange(50), chunks=(7,), compression="gzip")
    assert read(hdf5.open(path, member="flat")).tolist() == list(range(5))
    assert read(hdf5.open(path, member="chunked")).tolist() == list(range(50))


def test_chunks_that_deflate_skipped(tmp_path):
    path = str(tmp_path / "a.h5")
    values = np.random.default_rng(0).integers(0, 256, (30,), dtype="u1")
    put(path, values, chunks=(8,), compression="gzip", fletcher32=True)
    checked = Fletcher32().encode(values[8:16][::-1].copy())
    with h5py.File(path, "r+") as file:
        file["x"].id.write_direct_chunk((8,), checked, filter_mask=1)
    values[8:16] = values[8:16][::-1].copy()
    assert np.array_equal(read(hdf5.open(path)), values)


def test_shuffle_of_another_size_than_the_element(tmp_path):
    values = np.arange(40, dtype="u1")
    put(tmp_path / "a.h5", values.view("i4"), chunks=(5,), shuffle=True)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        made.set_chunk((5,))
        made.set_fletcher32()
        made.set_shuffle()
        made.set_deflate(1)
        dataset = h5py.h5d.create(file.id, b"x", h5py.h5t.STD_I32LE, h5py.h5s.create_simple((10,)), made)
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, values.view("i4"))
    assert np.array_equal(read(hdf5.open(str(tmp_path / "a.h5"))), values.view("i4"))
    assert np.array_equal(read(hdf5.open(str(tmp_path / "b.h5"))), values.view("i4"))  # checksum within, odd bytes over


def test_members_and_choice(tmp_path):
    path = str(tmp_path / "a.h5")
    with h5py.File(path, "w") as file:
        file["g/x"] = np.zeros((2, 3), ">f4")
        file["g/again"] = file["g/x"]
        file["words"] = ["a", "bc"]
        file["g/loop"] = file["g"]
        file["nothing"] = h5py.Empty("f4")
        file["soft"] = h5py.SoftLink("g/../missing")
    names = [member.name for member in hdf5.members(path)]
    assert names == ["/g/again", "/nothing", "/words"]
    assert hdf5.members(path)[0][:3] == ("/g/again", (2, 3), np.dtype(">f4"))
    assert hdf5.members(path)[2][:3] == ("/words", (2,), np.dtype("U2"))
    with pytest.raises(FormatError, match=r"3 data sets, choose one as .*::name: \['/g/again', "):
        hdf5.open(path)
    assert hdf5.open(path, member="/g/loop/loop//x").shape == (2, 3)
    with pytest.raises(FormatError, match=r"no 'y' in its group, which has \['again', 'loop', 'x'\]"):
        hdf5.open(path, member="g/y")
    with pytest.raises(FormatError, match="is a group: name what is in it"):
        hdf5.open(path, member="g")
    with pytest.raises(FormatError, match="not a group"):
        hdf5.open(path, member="g/x/y")
    with pytest.raises(FormatError, match="null dataspace"):
        hdf5.open(path, member="nothing")
    with pytest.raises(OptionError, match='mode is "r" or "r\\+"'):
        hdf5.open(path, "w", member="g/x")


@pytest.mark.parametrize(
    ("dtype", "reason"),
    [
        (h5py.vlen_dtype("i4"), "values of variable length"),
        (h5py.ref_dtype, "references to other objects"),
        (h5py.regionref_dtype, "references to other objects"),
        (np.dtype([("n", "i4"), ("r", h5py.ref_dtype)]), "references to other objects"),
        (np.dtype([("s", h5py.string_dtype()), ("r", h5py.ref_dtype)]), "references to other objects"),
        (np.dtype((np.dtype([("s", h5py.string_dtype())]), (2,))), "arrays of compounds of strings"),
    ],
)
def test_types_without_place_in_an_array(tmp_path, dtype, reason):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", (2,), dtype)
    with pytest.raises(UnsupportedError, match=rf"a\.h5::/x: has {reason}"):
        hdf5.open(str(tmp_path / "a.h5"))


def test_pickled_without_handle(tmp_path):
    path = str(tmp_path / "a.h5")
    values = np.arange(1000).reshape(50, 20)
    for options in ({}, {"chunks": (7, 7), "compression": "gzip"}, {"chunks": (7, 7), "compression": "lzf"}):
        put(path, values, **options)
        stored = hdf5.open(path)
        read(stored)
        kept = pickle.dumps(stored)
        assert len(kept) < 2000
        assert np.array_equal(read(pickle.loads(kept)), values)


@pytest.mark.parametrize("compression", [None, "gzip", "lzf"])
def test_file_that_changed_is_noticed(tmp_path, compression):
    path = str(tmp_path / "a.h5")
    options = {"chunks": (10,), "compression": compression} if compression else {}
    put(path, np.arange(100), **options)
    stored = hdf5.open(path)
    before = stored.generation()
    put(path, np.arange(101), **options)
    assert stored.generation() != before
    with pytest.raises(StaleExpressionError, match=r"a\.h5: changed (while it was read, or )?since"):
        read(stored)


def test_file_is_free_for_its_owner_between_reads(tmp_path):
    put(tmp_path / "a.h5", np.arange(100), chunks=(10,), compression="lzf")
    stored = hdf5.open(str(tmp_path / "a.h5"))
    read(stored)
    put(tmp_path / "a.h5", np.arange(3))  # h5py refuses to truncate a file that is open


def test_threads_read_at_once(tmp_path):
    path = str(tmp_path / "a.h5")
    values = np.random.default_rng(1).integers(0, 99, (200, 150))
    put(path, values, chunks=(16, 33), compression="gzip", shuffle=True, fletcher32=True)
    stored = hdf5.open(path)
    start, wrong = threading.Barrier(4), []

    def work(seed):
        rng = np.random.default_rng(seed)
        start.wait()
        for _ in range(10):
            region = tuple(tuple(sorted(rng.integers(0, n + 1, 2).tolist())) for n in values.shape)
            if not np.array_equal(read(stored, region), values[region_slices(region)]):
                wrong.append(region)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def shipped():
    from h5py import tests

    directory = os.path.join(os.path.dirname(tests.__file__), "data_files")
    found = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
    return [os.path.join(directory, name) for name in found if name.endswith(".h5")]


@pytest.mark.parametrize("path", shipped(), ids=os.path.basename)
def test_files_that_h5py_ships(path):
    for name, shape, dtype, _ in hdf5.members(path):
        if dtype is None:
            with pytest.raises((FormatError, UnsupportedError)):
                hdf5.open(path, member=name)
            continue
        with h5py.File(path) as file:
            expected = file[name][()]
        values = read(hdf5.open(path, member=name))
        assert (values.shape, shape) == (np.shape(expected), np.shape(expected))
        if dtype.kind == "U":
            assert values.tolist() == np.array(expected, "S").astype("U").tolist()
        else:
            assert values.tobytes() == expected.tobytes()


@settings(max_examples=25)
@given(cut=st.floats(0, 1), flip=st.integers(0, 1 << 30), value=st.integers(0, 255))
def test_contract_of_scratch(tmp_path, cut, flip, value):
    """Exactly `scratch_bytes` are enough, whatever the region."""
    path = str(tmp_path / "a.h5")
    values = np.full((40, 30), value, "u2")
    put(path, values, chunks=(1 + flip % 13, 1 + flip % 11), compression="gzip", shuffle=bool(flip & 1))
    rows = int(cut * 40)
    region = ((rows, 40), (flip % 30, 30))
    assert np.array_equal(read(hdf5.open(path), region), values[region_slices(region)])


@pytest.mark.parametrize("locking", [None, False, True, "best-effort"])
def test_a_file_that_this_process_has_open_is_read(tmp_path, locking):
    """The HDF5 library opens a file twice only with the same way of locking."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["g/x"] = np.arange(5)
        file["none"] = h5py.Empty("f4")
    with h5py.File(tmp_path / "a.h5", locking=locking):
        assert ca.open(f"{tmp_path}/a.h5::/g/x").compute().tolist() == [0, 1, 2, 3, 4]
        noted = {member.name: member.note for member in list_members(str(tmp_path / "a.h5"))}
        assert noted["/none"].startswith("has no shape")
    with pytest.raises(ca.FormatError, match="'/g' is a group"):
        ca.open(f"{tmp_path}/a.h5::/g")
