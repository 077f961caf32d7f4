"""Strings of variable length in HDF5 files: the same as h5py reads, as long as the longest."""

from __future__ import annotations

import os
import pickle

import h5py
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import chunkarr as ca
from chunkarr.errors import ChunkarrError, CorruptChunkError, MemoryBudgetError, UnsupportedError
from chunkarr.formats import hdf5, hdf5_text
from chunkarr.formats.hdf5_text import TextHdf5
from chunkarr.grid import region_slices
from tests.formats.test_hdf5 import read, regions
from tests.strategies import chunks_of, shapes

TEXT = h5py.string_dtype()
OPTIONS = [{}, {"shuffle": True}, {"compression": "gzip"}, {"compression": "gzip", "shuffle": True}]
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)


def put(path, values, dtype=TEXT, **options):
    with h5py.File(path, "w", userblock_size=options.pop("userblock_size", None)) as file:
        file.create_dataset("x", data=values, dtype=dtype, **options)


def objects(values, shape):
    made = np.empty(len(values), object)
    made[:] = values
    return made.reshape(shape)


@given(st.data())
@example(data=None)
def test_any_region_of_what_h5py_wrote(tmp_path, data):
    path = str(tmp_path / "a.h5")
    if data is None:  # several heaps, and pieces of them
        values = objects([f"{k:>{k % 37}}é" for k in range(6000)], (60, 100))
        put(path, values, chunks=(50, 99))
        assert read(hdf5.open(path)).tolist() == values.tolist()
        return
    shape = data.draw(shapes(max_size=60))
    size = int(np.prod(shape))
    values = objects(data.draw(st.lists(TEXTS, min_size=size, max_size=size)), shape)
    options = {"userblock_size": data.draw(st.sampled_from([None, 512]))}
    if values.ndim and values.size and data.draw(st.booleans()):
        chunks = data.draw(chunks_of(shape))
        options |= {"chunks": tuple(map(min, chunks, shape)), **data.draw(st.sampled_from(OPTIONS))}
    put(path, values, **options)
    stored = hdf5.open(path)
    assert isinstance(stored, TextHdf5)
    longest = max(map(len, values.reshape(-1).tolist()), default=0)
    assert (stored.shape, stored.dtype) == (shape, np.dtype(f"<U{max(1, longest)}"))
    region = data.draw(regions(shape))
    out = read(stored, region, fortran=data.draw(st.booleans()))
    assert out.tolist() == values[(*region_slices(region), ...)].tolist()


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("isolate", [False, True])
def test_records_with_texts(tmp_path, compression, isolate):
    inner = np.dtype([("t", TEXT), ("d", "<f8")])
    kind = np.dtype(
        [("a", "u1"), ("s", TEXT), ("n", ">i4", (3,)), ("two", TEXT, (2,)), ("in", inner), ("z", "<c8"), ("f", "?")]
    )
    values = np.zeros(7, kind)
    for k in range(7):
        values[k] = (k, "x" * k, [k, -k, 1], ["ab", f"é{k}"], (f"{k}", k / 2), 1j * k, k % 2)
    path = tmp_path / "a.h5"
    put(path, values, kind, chunks=(3,), compression=compression) if compression else put(path, values, kind)
    array = ca.open(path, isolate=isolate)
    assert array.dtype == np.dtype(
        [
            ("a", "u1"), ("s", "U6"), ("n", ">i4", (3,)), ("two", "U2", (2,)), ("in", [("t", "U1"), ("d", "<f8")]),
            ("z", "<c8"), ("f", "?"),
        ]
    )  # fmt: skip
    found = np.asarray(array[1:6])
    with h5py.File(path) as file:
        theirs = file["x"][1:6]
    for name in ("a", "n", "z", "f"):
        assert found[name].tolist() == theirs[name].tolist()
    assert found["s"].tolist() == [text.decode() for text in theirs["s"]]
    assert found["two"].tolist() == [[text.decode() for text in pair] for pair in theirs["two"].tolist()]
    assert found["in"]["t"].tolist() == [text.decode() for text in theirs["in"]["t"]]
    assert found["in"]["d"].tolist() == theirs["in"]["d"].tolist()


def test_bytes_that_are_no_utf_8(tmp_path):
    put(tmp_path / "a.h5", [b"ab", b"\xff\xfe\xfd", b""])
    stored = hdf5.open(str(tmp_path / "a.h5"))
    assert (stored.dtype, read(stored).tolist()) == (np.dtype("S3"), [b"ab", b"\xff\xfe\xfd", b""])


def test_elements_never_written_are_empty(tmp_path):
    path = str(tmp_path / "a.h5")
    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_dataset("flat", (3,), TEXT)
        file.create_dataset("chunked", (5,), TEXT, chunks=(2,))[1] = "é"
        file.create_dataset("filled", (5,), TEXT, chunks=(2,), fillvalue="none")[:] = list("abcde")
        file.create_dataset("fill", (5,), TEXT, chunks=(2,), fillvalue="none")
        file.create_dataset("nothing", (0, 4), TEXT)
    assert read(hdf5.open(path, member="flat")).tolist() == [""] * 3
    assert read(hdf5.open(path, member="chunked")).tolist() == ["", "é", "", "", ""]
    assert read(hdf5.open(path, member="filled")).tolist() == list("abcde")
    assert hdf5.open(path, member="nothing").dtype == np.dtype("U1")
    with pytest.raises(UnsupportedError, match="and a fill value where none was written"):
        hdf5.open(path, member="fill")


def test_other_filters_are_refused_by_name(tmp_path):
    put(tmp_path / "a.h5", ["a", "b"], chunks=(2,), compression="lzf")
    with pytest.raises(UnsupportedError, match=r"a\.h5::/x: has strings of variable length .* behind filters"):
        hdf5.open(str(tmp_path / "a.h5"))


def test_texts_beyond_the_budget_are_refused(tmp_path):
    put(tmp_path / "a.h5", ["a", "b" * (1 << 20)])
    with ca.config.set(memory="1MiB"), pytest.raises(MemoryBudgetError, match=r"a\.h5::/x: has a text of 1048576 B"):
        hdf5.open(str(tmp_path / "a.h5"))
    with ca.config.set(memory="16MiB"), pytest.raises(MemoryBudgetError, match="takes 4194304 B as <U1048576"):
        hdf5.open(str(tmp_path / "a.h5"))
    assert [found[1:3] for found in hdf5.members(str(tmp_path / "a.h5"))] == [((2,), np.dtype("<U1048576"))]
    with ca.config.set(memory="64MiB"):
        assert [len(text) for text in ca.open(tmp_path / "a.h5").tolist()] == [1, 1 << 20]


def test_they_are_read_once_to_be_opened_and_only_listed_if_many(tmp_path, monkeypatch):
    path = str(tmp_path / "a.h5")
    put(path, ["a", "bc"])
    stored = hdf5.open(path)
    monkeypatch.setattr(hdf5_text, "_measure", None)
    assert hdf5.open(path).dtype == np.dtype("U2")
    kept = pickle.dumps(stored)
    assert len(kept) < 3000
    assert read(pickle.loads(kept)).tolist() == ["a", "bc"]
    monkeypatch.setattr(hdf5, "MEASURED", 1)
    assert hdf5.members(path)[0][:3] == ("/x", None, None)
    assert "(2,); opening it finds" in hdf5.members(path)[0].note


def test_they_are_not_changed_in_place(tmp_path):
    put(tmp_path / "a.h5", ["a", "bc"])
    array = ca.open(tmp_path / "a.h5", "r+")
    with pytest.raises((UnsupportedError, ValueError)):
        array[0] = "q"
    ca.save(tmp_path / "a.npy", array)
    assert np.load(tmp_path / "a.npy").tolist() == ["a", "bc"]
    assert array.tolist() == ["a", "bc"]


def test_a_file_that_changed_is_noticed(tmp_path):
    path = str(tmp_path / "a.h5")
    put(path, ["a", "bc"])
    stored = hdf5.open(path)
    put(path, ["a", "bcdefg"])
    with pytest.raises(ChunkarrError, match="changed"):
        read(stored)
    assert read(stored.fresh()).tolist() == ["a", "bcdefg"]


def damaged(path, sign, change):
    """Write texts, change what follows ``sign`` in the file, and open it."""
    put(path, ["abc", "defgh"])
    with open(path, "r+b") as file:
        content = file.read()
        at = content.index(sign)
        file.seek(at)
        file.write(change(content[at : at + 64]))
    return hdf5.open(path)


@pytest.mark.parametrize(
    ("sign", "change", "reason"),
    [
        (b"GCOL", lambda old: b"GCOX", "no heap of texts"),
        (b"GCOL", lambda old: old[:8] + (1 << 60).to_bytes(8, "little"), "no heap of texts"),
        (b"GCOL", lambda old: old[:24] + (2).to_bytes(8, "little"), r"a text of \d B has 2 B in its heap"),
        (b"GCOL", lambda old: old[:24] + (1 << 40).to_bytes(8, "little"), r"has no text \d"),
        (b"GCOL", lambda old: old[:16] + b"\x09", r"has no text \d"),
        (b"\x05\0\0\0", lambda old: old[:4] + (1 << 50).to_bytes(8, "little"), "a heap at byte"),
    ],
)
def test_damaged_heaps(tmp_path, sign, change, reason):
    with pytest.raises(CorruptChunkError, match=rf"a\.h5::/x: .*{reason}"):
        damaged(str(tmp_path / "a.h5"), sign, change)


@settings(max_examples=150)
@given(at=st.floats(0, 1), value=st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))
def test_any_byte_of_a_heap_may_be_wrong(tmp_path, at, value):
    path = str(tmp_path / "a.h5")
    if not os.path.exists(path):
        put(path, [f"text {k}" * (k % 5) for k in range(40)], chunks=(7,))
    with open(path, "rb") as file:
        content = bytearray(file.read())
    start = content.index(b"GCOL")
    content[start + int(at * 1500)] = value
    with open(tmp_path / "b.h5", "wb") as file:
        file.write(content)
    try:
        assert read(hdf5.open(str(tmp_path / "b.h5"))).shape == (40,)
    except ChunkarrError:
        return
