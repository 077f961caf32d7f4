"""npz files, read in place or from deflated streams, and written; NumPy is the oracle."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import chunkarr as ca
from chunkarr import fsio
from chunkarr.errors import (
    CorruptChunkError,
    FormatError,
    OptionError,
    TargetExistsError,
    UnsafeInputError,
    UnsupportedError,
)
from chunkarr.formats import inflated_stored, npz_target, ordered, zip_members
from chunkarr.formats.npz_target import NpzFile, combine
from chunkarr.formats.table import HEAD, list_members, open_stored

PADDED = np.dtype({"names": ["a", "b"], "formats": ["<i2", ">f8"], "offsets": [0, 8], "itemsize": 24})
ARRAYS = {
    "zero_d": np.array(3.5),
    "empty": np.zeros((0, 3), "i4"),
    "one": np.array([7], ">u2"),
    "matrix": np.arange(600.0).reshape(20, 30),
    "fortran": np.asfortranarray(np.arange(600, dtype=">i4").reshape(20, 30)),
    "cube": np.asfortranarray(np.arange(210, dtype="u1").reshape(5, 6, 7)),
    "text": np.array(["a", "", "längst"]),
    "bytes": np.array([b"a", b"xyz"]),
    "times": np.array(["2020-01-01", "NaT"], "M8[D]"),
    "records": np.ones(5, PADDED),
    "bools": np.arange(9) % 2 == 0,
    "odd": np.arange(3, dtype="u1"),
    "group/inner": np.arange(4),
    "größe": np.arange(5),
}


@pytest.fixture(scope="module", params=["stored", "deflated"])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("npz") / "x.npz")
    (np.savez if request.param == "stored" else np.savez_compressed)(path, **ARRAYS)
    return path


@pytest.mark.parametrize("name", ARRAYS)
def test_members_are_what_numpy_loads(written: str, name: str) -> None:
    with np.load(written) as file:
        expected = file[name]
    array = ca.open(f"{written}::{name}")
    assert (array.shape, array.dtype, array.format) == (expected.shape, expected.dtype, "npz")
    np.testing.assert_array_equal(array.compute(), expected)
    assert ca.open(f"{written}::{name}.npy").shape == expected.shape
    if expected.ndim == 2 and expected.size:
        for key in (np.s_[3:7], np.s_[:, 4:6], np.s_[::-3, 5], np.s_[-1, -1]):
            np.testing.assert_array_equal(array[key], expected[key])


def test_members_are_listed(written: str) -> None:
    found = {member.name: member for member in list_members(written)}
    assert {name: (m.shape, m.dtype) for name, m in found.items()} == {
        name: (a.shape, a.dtype) for name, a in ARRAYS.items()
    }
    assert {m.note.split()[0] for m in found.values()} <= {"stored", "deflated"}


def test_the_only_array_needs_no_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", np.arange(3))
    assert ca.open(tmp_path / "x.npz").sum() == 3
    np.savez(tmp_path / "y.npz", np.arange(3), b=np.arange(4))
    with pytest.raises(FormatError, match=r"y.npz: has 2 arrays, choose one as .*y.npz::name; it has b, arr_0"):
        ca.open(tmp_path / "y.npz")
    with pytest.raises(FormatError, match="has no member 'c'; it has b, arr_0"):
        ca.open(f"{tmp_path}/y.npz::c")
    np.savez(tmp_path / "z.npz")
    with pytest.raises(FormatError, match="has 0 arrays"):
        ca.open(tmp_path / "z.npz")
    assert list_members(str(tmp_path / "z.npz")) == []


def bytes_of_npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asanyarray(array))
    return buffer.getvalue()


def zipped(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> str:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return str(path)


def test_other_members_are_named_but_not_opened(tmp_path: Path) -> None:
    path = zipped(
        tmp_path / "x.npz",
        {"a.npy": bytes_of_npy([1, 2]), "plain": bytes_of_npy([3]), "notes.txt": b"hello", "d/": b""},
    )
    found = {member.name: member for member in list_members(path)}
    assert sorted(found) == ["a", "notes.txt", "plain"]
    assert found["notes.txt"].shape is None
    assert found["notes.txt"].note.startswith("not an npy file")
    assert ca.open(path).compute().tolist() == [1, 2]
    with np.load(path) as file:
        assert ca.open(f"{path}::plain").compute().tolist() == file["plain"].tolist()
    with pytest.raises(FormatError, match=r"notes.txt: not an npy file"):
        ca.open(f"{path}::notes.txt")


def test_exact_names_come_first_as_in_numpy(tmp_path: Path) -> None:
    path = zipped(
        tmp_path / "x.npz", {"a.npy": bytes_of_npy([1]), "a": bytes_of_npy([2]), "b.npy.npy": bytes_of_npy([3])}
    )
    with np.load(path) as file:
        for name in ("a", "a.npy", "b.npy"):
            assert ca.open(f"{path}::{name}").compute().tolist() == file[name].tolist()


@pytest.mark.skipif(not hasattr(os, "preadv"), reason="reads are counted where they are positional")
def test_a_slice_of_a_stored_member_reads_little_besides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.arange(200_000.0).reshape(100, 2000)
    np.savez(tmp_path / "x.npz", a=x, b=x)
    read, preadv = list[int](), os.preadv

    def counting(*args: Any) -> int:
        read.append(preadv(*args))
        return read[-1]

    monkeypatch.setattr(os, "preadv", counting)
    np.testing.assert_array_equal(ca.open(f"{tmp_path}/x.npz::b")[40:50].compute(), x[40:50])
    assert sum(read) <= x[40:50].nbytes + HEAD + 1000, "what tells the format, the directory, the headers"


@pytest.mark.parametrize("place", ["front", "comment"])
def test_zip_files_with_something_around(tmp_path: Path, place: str) -> None:
    path = tmp_path / "x.npz"
    np.savez_compressed(path, a=np.arange(1000), b=np.arange(5))
    if place == "front":
        path.write_bytes(b"MZ executable" + path.read_bytes())
    else:
        with zipfile.ZipFile(path, "a") as file:
            file.comment = b"a comment with PK\5\6 in it" + bytes(40)
    assert ca.open(f"{path}::a").compute().tolist() == list(range(1000))
    assert ca.open(f"{path}::b").sum() == 10


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.array([{}, 1], object), b=np.arange(3))
    with pytest.raises(UnsafeInputError, match=r"x.npz::a: holds Python objects"):
        ca.open(f"{tmp_path}/x.npz::a")
    assert ca.open(f"{tmp_path}/x.npz::b").sum() == 3
    assert list_members(f"{tmp_path}/x.npz")[0].note.startswith("holds Python objects")


def patched(path: Path, old: bytes, new: bytes, count: int = -1) -> None:
    raw = path.read_bytes()
    assert old in raw
    path.write_bytes(raw.replace(old, new, count))


def entry_at(raw: bytes, number: int = 0) -> int:
    """Return where the directory's entry of a member begins."""
    at = -1
    for _ in range(number + 1):
        at = raw.index(b"PK\1\2", at + 1)
    return at


def change(path: Path, offset: int, kind: str, value: int, number: int = 0) -> None:
    """Change a field of a directory's entry."""
    raw = bytearray(path.read_bytes())
    struct.pack_into(kind, raw, entry_at(raw, number) + offset, value)
    path.write_bytes(raw)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_every_bad_directory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"

    def refused(match: str, error: type[Exception] = FormatError, member: str = "a") -> None:
        with pytest.raises(error, match=match):
            ca.open(f"{path}::{member}", format="npz")

    def fresh() -> bytes:
        np.savez_compressed(path, a=np.arange(2000), b=np.arange(5))
        return path.read_bytes()

    raw = fresh()
    for size in (0, 10, len(raw) - 1, len(raw) // 2):
        path.write_bytes(raw[:size])
        refused("not a whole zip file")
    path.write_bytes(raw[:100] + raw[200:])
    refused("zip directory of")
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.npy", bytes_of_npy([1]))
        file.writestr("a.npy", bytes_of_npy([2]))
    refused("two members of the name 'a.npy'")
    for name in ("../a.npy", "/a.npy", "b/../../a.npy", "..\\a.npy"):
        zipped(path, {name: bytes_of_npy([1])})
        refused("leads outside", UnsafeInputError)
    fresh()
    change(path, 8, "<H", 1)
    refused("x.npz::a.npy: is encrypted")
    fresh()
    change(path, 10, "<H", 14)
    refused(r"compressed by method 14 \(lzma\)", UnsupportedError)
    fresh()
    change(path, 42, "<L", 1)
    refused("no local header")
    fresh()
    change(path, 42, "<L", 0, number=1)
    refused("shares bytes with the next member")
    fresh()
    change(path, 20, "<L", 1 << 30)
    refused("reach into the directory")
    fresh()
    change(path, 24, "<L", 1 << 30)
    refused("deflate makes at most 1032 of 1")
    fresh()
    change(path, 28, "<H", 60_000)
    refused("ends within member 0")
    fresh()
    patched(path, b"PK\1\2", b"PK\1\3", 1)
    refused("the one after 0 is damaged")
    fresh()
    patched(path, b"a.npy", b"c.npy", 1)
    refused("the local header at byte 0 is another member's")
    raw = fresh()
    path.write_bytes(raw[:-12] + struct.pack("<H", 3) + raw[-10:])
    refused("several volumes", UnsupportedError)


def test_methods_that_numpy_reads_but_chunkarr_does_not_are_named(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.npz", {"a.npy": bytes_of_npy([1])}, zipfile.ZIP_BZIP2)
    with pytest.raises(UnsupportedError, match=r"method 12 \(bzip2\); known are stored and deflate"):
        ca.open(path)
    assert "bzip2" in list_members(path)[0].note


def test_members_longer_or_shorter_than_their_header(tmp_path: Path) -> None:
    raw = bytes_of_npy(np.arange(100))
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        for data in (raw + b"x", raw[:-1], raw[:50], raw[:3], b""):
            path = zipped(tmp_path / "x.npz", {"a.npy": data}, method)
            with pytest.raises(FormatError, match=r"x.npz::a: "):
                ca.open(path)


def test_declared_sizes_that_lie(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    raw = bytes_of_npy(np.arange(10_000))
    for size, reason in ((len(raw), "80128"), (len(raw) + 80_000, "decode to 80128 B, but 160128 B are declared")):
        head = bytes_of_npy(np.zeros(size - 128, "u1"))[:128]
        zipped(path, {"a.npy": head + raw[128:]}, zipfile.ZIP_DEFLATED)
        change(path, 24, "<L", size)
        array = ca.open(path)
        if size == len(raw):
            array.compute()
            change(path, 16, "<L", 1)
            array = ca.open(path)
            reason = "CRC-32 of its 80128 B"
        with pytest.raises(CorruptChunkError, match=reason):
            array.compute()
        out = np.zeros(1, array.dtype)
        open_stored(str(path)).read(((5, 6),), out, np.empty(1 << 10, "u1"))
        assert out[0] == np.frombuffer(raw, array.dtype, offset=128)[5], "what is before is read all the same"


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_verify_finds_every_flipped_byte(tmp_path: Path, save: Any) -> None:
    path = tmp_path / "x.npz"
    save(path, a=np.random.default_rng(0).integers(0, 9, 500), b=np.arange(3))
    raw = path.read_bytes()
    good = ca.open(f"{path}::a").verify()
    assert good.ok
    for place in range(55, raw.rindex(b"PK\3\4"), 97):  # behind the local header
        path.write_bytes(raw[:place] + bytes([raw[place] ^ 16]) + raw[place + 1 :])
        with contextlib.suppress(FormatError):  # within a header
            assert not ca.open(f"{path}::a").verify().ok, place


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the bytes that are asked of files."""
    read: list[int] = []
    real_into, real_each = fsio.read_into, fsio.read_each

    def into(fd: int, buffer: Any, offset: int, path: str = "") -> None:
        read.append(fsio.bytes_of(buffer).nbytes)
        real_into(fd, buffer, offset, path)

    def each(fd: int, views: Any, offsets: Any, path: str = "") -> None:
        listed = list(views)
        read.extend(view.nbytes for view in listed)
        real_each(fd, listed, offsets, path)

    monkeypatch.setattr(fsio, "read_into", into)
    monkeypatch.setattr(fsio, "read_each", each)
    return read


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_slice_of_a_stored_member_reads_its_own_bytes_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: Any
) -> None:
    values = np.asarray(np.random.default_rng(0).random((500, 400)), order=order)
    np.savez(tmp_path / "x.npz", other=np.arange(7, dtype="u1"), a=values)
    array = ca.open(f"{tmp_path}/x.npz::a")
    read = count_reads(monkeypatch)
    rows = np.s_[100:130] if order == "C" else np.s_[:, 100:130]
    for key in (rows, np.s_[7:8, 20:90] if order == "C" else np.s_[20:90, 7:8], np.s_[3, 5]):
        read.clear()
        np.testing.assert_array_equal(array[key].compute(), values[key])
        assert sum(read) == values[key].nbytes


def test_a_slice_of_a_deflated_member_decodes_from_the_nearest_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.random.default_rng(0).integers(0, 64, 12 << 20, "u1").reshape(-1, 1 << 10)
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        file.writestr("a.npy", bytes_of_npy(values))
    stored = open_stored(f"{tmp_path}/x.npz")
    out, scratch = np.empty((1, 1 << 10), "u1"), np.empty(1 << 20, "u1")
    stored.read(((12 * 1024 - 1, 12 * 1024), (0, 1024)), out, scratch)
    read = count_reads(monkeypatch)
    stored.read(((6_500, 6_501), (0, 1024)), out, scratch)
    np.testing.assert_array_equal(out[0], values[6_500])
    assert sum(read) <= 1.1 * (1 << 20), "of 9 MB that are compressed"


def test_reading_whole_boxes_counts_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inflated_stored, "BOX", 4000)
    values = np.arange(10_000.0).reshape(100, 100)
    np.savez_compressed(tmp_path / "x.npz", values)
    stored = open_stored(f"{tmp_path}/x.npz")
    assert stored.grid.steps == (5, 100)
    assert stored.bytes_read(((4, 6), (0, 1))) == 2 * 4000
    array = ca.open(tmp_path / "x.npz")
    np.testing.assert_array_equal(array.T[3:8].compute(), values.T[3:8])
    np.testing.assert_allclose(array.mean(axis=0).compute(), values.mean(axis=0), rtol=1e-15)


def test_a_changed_file_is_noticed_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    for save in (np.savez, np.savez_compressed):
        save(path, a=np.arange(5))
        array = ca.open(f"{path}::a")
        double = array * 2
        save(path, a=np.arange(5, 9))
        os.utime(path, ns=(1, 1))
        assert array.sum() == 26
        with pytest.raises(ca.StaleExpressionError):
            double.compute()


def test_nothing_is_changed_in_place(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", np.arange(5))
    with pytest.raises(UnsupportedError, match="save a changed copy"):
        ca.open(tmp_path / "x.npz", "r+")


def test_options_it_does_not_take(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", np.arange(5))
    with pytest.raises(OptionError, match="opening npz does not take shape"):
        ca.open(tmp_path / "x.npz", shape=3)


# --- writing -----------------------------------------------------------------------------------


def test_checksums_of_parts_combine() -> None:
    raw = np.random.default_rng(0).bytes(5000)
    for cut in (0, 1, 2, 999, 4999, 5000):
        assert combine(zlib.crc32(raw[:cut]), zlib.crc32(raw[cut:]), 5000 - cut) == zlib.crc32(raw)


@pytest.mark.parametrize("codec", ["none", "deflate", "deflate:1"])
@pytest.mark.parametrize("name", ARRAYS)
def test_numpy_loads_what_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, codec: str) -> None:
    monkeypatch.setattr(ordered, "BOX", 700)
    array = ARRAYS[name]
    path = f"{tmp_path}/x.npz::{name}"
    for order in ("C", "F"):
        ca.save(path, array, codec=codec, order=order, overwrite=True)
        with zipfile.ZipFile(tmp_path / "x.npz") as file:
            assert file.testzip() is None
        with np.load(tmp_path / "x.npz") as file:
            found = file[name]
        assert (found.dtype, found.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found, array)
        np.testing.assert_array_equal(ca.open(path).compute(), array)
        assert found.flags.f_contiguous or order == "C"


def test_values_of_stored_members_are_aligned(tmp_path: Path) -> None:
    file = NpzFile(str(tmp_path / "x.npz"), overwrite=False, durability="process")
    for name in ("a", "bb", "ccc"):
        target = file.member(name, (3,), np.dtype("u1"))
        target.write(((0, 3),), np.arange(3, dtype="u1"), np.empty(0, "u1"))
        target.commit()
    file.commit()
    for name in ("a", "bb", "ccc"):
        stored: Any = open_stored(f"{tmp_path}/x.npz::{name}")
        assert stored.offset % 64 == 0
    with np.load(tmp_path / "x.npz") as loaded:
        assert loaded.files == ["a", "bb", "ccc"]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    array=hnp.arrays(
        st.sampled_from(["u1", ">i4", "f8", "c16", "S3", "U2", "M8[s]"]),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=9),
    ),
    codec=st.sampled_from(["none", "deflate:1"]),
    order=st.sampled_from("CF"),
)
def test_round_trips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, array: np.ndarray[Any, Any], codec: str, order: str
) -> None:
    monkeypatch.setattr(ordered, "BOX", 64)
    monkeypatch.setattr(inflated_stored, "BOX", 100)
    path = str(tmp_path / "x.npz")
    ca.save(path, array, codec=codec, order=order, overwrite=True)
    with np.load(path) as file:
        assert file["arr_0"].tobytes() == array.tobytes()
    assert ca.open(path).compute().tobytes() == array.tobytes()


def test_large_places_and_sizes_are_zip64(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = npz_target._Entry(b"a.npy", 0, 1, 5 << 32, 5 << 32, 6 << 32)
    raw = entry.listed() + npz_target._end(1, len(entry.listed()), 12 << 32)
    path = tmp_path / "tail"
    path.write_bytes(raw)
    begin = 12 << 32

    def virtual(fd: int, path: str, offset: int, length: int) -> bytes:
        return (bytes(max(0, begin - offset)) + raw[max(0, offset - begin) :])[:length]

    monkeypatch.setattr(zip_members, "_bytes", virtual)
    found = zip_members.read_directory(str(path), begin + len(raw))
    assert [(m.name, m.size, m.packed, m.place) for m in found] == [("a.npy", 5 << 32, 5 << 32, 6 << 32)]


def test_members_written_by_zipfile_as_zip64(tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as file,
        file.open("a.npy", "w", force_zip64=True) as member,
    ):
        member.write(bytes_of_npy(np.arange(10)))
    assert ca.open(tmp_path / "x.npz").sum() == 45


def test_a_failed_save_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, np.arange(3))
    with pytest.raises(TargetExistsError):
        ca.save(path, np.arange(4))
    with pytest.raises(OptionError, match='codec is "none"'):
        ca.save(path, np.arange(4), codec="zstd", overwrite=True)
    with pytest.raises(OptionError, match="cannot be the name"):
        ca.save(f"{tmp_path}/y.npz::../x", np.arange(4))
    with pytest.raises(UnsafeInputError):
        create_object(path)
    assert os.listdir(tmp_path) == ["x.npz"]
    assert ca.open(path).sum() == 3


def create_object(path: Path) -> None:
    npz_target.create(str(path), (3,), object, overwrite=True)


def test_saving_onto_its_own_source(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez_compressed(path, np.arange(1000))
    ca.save(path, ca.open(path)[::-1], overwrite=True)
    assert ca.open(path)[:3].compute().tolist() == [999, 998, 997]


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_flipped_byte_of_a_stored_member_that_is_read_at_once_is_found(tmp_path: Path, order: Any) -> None:
    """It came back as another number, where `numpy.load` raises."""
    path = str(tmp_path / "a.npz")
    np.savez(path, a=np.array(np.arange(12.0).reshape(3, 4), order=order), empty=np.zeros((0, 3)))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[content.find(np.float64(5).tobytes())] ^= 1
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(FormatError, match="CRC-32"):
        ca.open(path + "::a").compute()
    assert ca.open(path + "::a")[2, 3] == 11
    assert ca.open(path + "::empty").compute().shape == (0, 3)
