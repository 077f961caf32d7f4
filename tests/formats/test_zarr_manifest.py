"""The manifest of Zarr arrays: each damage is seen, named and listed; what others changed can be adopted."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import zarr

from chunkarr.errors import (
    ArrayLockedError,
    ChunkarrError,
    CorruptChunkError,
    ForeignChangeError,
    MissingChunkError,
    UnsupportedError,
)
from chunkarr.formats import zarr as zarr_format
from chunkarr.formats import zarr_manifest
from chunkarr.formats.zarr_manifest import ABSENT, ENTRY, PAGE, Draft, Manifest, Root, current, load_root, resized
from chunkarr.formats.zarr_txn import staged_name
from chunkarr.formats.zarr_verify import adopt
from tests.formats.test_zarr_update import LAYOUTS, RECORD, VALUES, change, foreign, make, put, read

CHUNK = "c/0/1"


def check(path, error, match, places):
    """Read an array that is damaged, and list what is wrong with it."""
    stored = zarr_format.open(path)
    with pytest.raises(error, match=match) as caught:
        read(stored)
    assert type(caught.value) is error
    assert str(path) in str(caught.value)
    found = list(stored.problems())
    assert [problem.chunk for problem in found] == places
    assert found[0].error == error.__name__
    assert found[0].path == str(path)
    assert found[0].file.startswith(str(path))
    shares = [problem for k in range(3) for problem in stored.problems((k, 3))]
    assert sorted(shares, key=repr) == sorted(found, key=repr)


def damage(path, what):
    file = path / CHUNK
    raw = file.read_bytes()
    if what == "missing":
        file.unlink()
    elif what == "swapped":
        other = path / "c/1/1"
        file.write_bytes(other.read_bytes())
        other.write_bytes(raw)
    elif what == "link":
        shutil.move(file, path.parent / "elsewhere")
        file.symlink_to(path.parent / "elsewhere")
    elif what == "directory":
        file.unlink()
        file.mkdir()
    else:
        changes = {"empty": b"", "short": raw[:-1], "long": raw + b"x", "twice": raw + raw}
        changes["flipped"] = raw[:9] + bytes([raw[9] ^ 4]) + raw[10:]
        changes["tail"] = raw[:-1] + bytes([raw[-1] ^ 1])
        file.write_bytes(changes[what])


@pytest.mark.parametrize(
    ("what", "error", "match"),
    [
        ("missing", MissingChunkError, "is missing, but it was written"),
        ("empty", CorruptChunkError, r"is empty, the manifest says|has 0 B"),
        ("short", CorruptChunkError, "the manifest says"),
        ("long", CorruptChunkError, "the manifest says"),
        ("twice", CorruptChunkError, "the manifest says"),
        ("flipped", CorruptChunkError, "crc32c"),
        ("tail", CorruptChunkError, "crc32c"),
        ("swapped", ForeignChangeError, "another writer than chunkarr changed it"),
        ("link", CorruptChunkError, "symbolic link"),
        ("directory", CorruptChunkError, "is not a file"),
    ],
)
@pytest.mark.parametrize("layout", ["plain", "raw", "fortran"])
def test_damage_to_a_chunk(tmp_path, layout, what, error, match):
    path = tmp_path / "a"
    make(path, VALUES, **LAYOUTS[layout])
    damage(path, what)
    check(path, error, match, [CHUNK, "c/1/1"] if what == "swapped" else [CHUNK])
    np.testing.assert_array_equal(read(zarr_format.open(path), ((6, 7), (0, 10))), VALUES[6:])  # the others are there


@pytest.mark.parametrize(
    ("what", "error", "match", "inner"),
    [
        ("missing", MissingChunkError, "is missing, but it was written", [(0, 0), (1, 0)]),
        ("empty", CorruptChunkError, "too few for its index", [(0, 0), (1, 0)]),
        ("short", CorruptChunkError, "its index", [(0, 0), (1, 0)]),
        ("long", CorruptChunkError, "its index", [(0, 0), (1, 0)]),
        ("flipped", CorruptChunkError, "inner chunk at byte 0 crc32c", [(0, 0)]),
        ("directory", CorruptChunkError, "is not a file", [(0, 0), (1, 0)]),
    ],
)
def test_damage_to_a_shard(tmp_path, what, error, match, inner):
    path = tmp_path / "a"
    make(path, VALUES, **LAYOUTS["shards"])
    damage(path, what)
    check(path, error, match, [f"{CHUNK} inner {index}" for index in inner])


def test_swapped_shards_and_what_a_shard_holds_besides(tmp_path):
    path = tmp_path / "a"
    values = np.arange(24 * 16.0).reshape(24, 16)
    make(path, values, chunks=(3, 4), shards=(6, 8))
    damage(path, "swapped")
    places = [f"c/{i}/1 inner {index}" for i in (0, 1) for index in [(0, 0), (0, 1), (1, 0), (1, 1)]]
    check(path, ForeignChangeError, "inner chunk at byte 0 crc32c", places)
    damage(path, "swapped")
    damage(path, "twice")
    stored = zarr_format.open(path)
    np.testing.assert_array_equal(read(stored), values)
    assert [problem.chunk for problem in stored.problems()] == [CHUNK]


@pytest.mark.parametrize("layout", ["plain", "shards", "raw"])
def test_what_zarr_python_changed_is_refused_until_it_is_adopted(tmp_path, layout):
    path = tmp_path / "a"
    stored = make(path, VALUES, **LAYOUTS[layout])
    old = stored.generation()
    array = zarr.open_array(path, mode="r+")
    array[0, 5] = -1
    array[3:6, 0:4] = 0  # which zarr-python stores as nothing
    with pytest.raises(CorruptChunkError):
        read(zarr_format.open(path))
    assert len({problem.chunk for problem in zarr_format.open(path).problems()}) == 2
    text = adopt(str(path))
    assert "1 differ" in text if layout == "shards" else "2 differ" in text
    expected = array[...]
    adopted = zarr_format.open(path, "r+", durability="process")
    np.testing.assert_array_equal(read(adopted), expected)
    assert list(adopted.problems()) == []
    assert adopted.generation() != old
    assert not any("txn" in name for name in os.listdir(path / ".chunkarr"))
    change(adopted, expected + 1)
    np.testing.assert_array_equal(read(adopted.fresh()), expected + 1)


def test_a_shape_that_zarr_python_changed(tmp_path):
    path = tmp_path / "a"
    make(path, VALUES, **LAYOUTS["plain"])
    zarr.open_array(path, mode="r+").resize((5, 6))
    check(path, ForeignChangeError, r"says shape \(5, 6\), the manifest \(7, 10\)", ["zarr.json"])
    with pytest.raises(ForeignChangeError):
        zarr_format.open(path, "r+").update()
    adopt(str(path))
    stored = zarr_format.open(path, "r+", durability="process")
    change(stored, VALUES, boxes=(), shape=(7, 10))
    expected = np.zeros((7, 10))
    expected[:5, :6] = VALUES[:5, :6]
    np.testing.assert_array_equal(read(stored.fresh()), expected)  # not what the cut chunks still hold
    assert list(stored.fresh().problems()) == []


@pytest.mark.parametrize(("old", "new"), [('"<f8"', '">f8"'), ('"level": 1', '"level": 2'), ('"F"', '"F"')])
def test_metadata_that_matter_are_told_from_those_that_do_not(tmp_path, old, new):
    path = tmp_path / "a"
    make(path, VALUES, codec="gzip:1")
    text = (path / "zarr.json").read_text()
    (path / "zarr.json").write_text(text.replace(old, new))
    if "f8" in old:
        check(path, ForeignChangeError, "says other types, chunks or codecs", ["zarr.json"])
    else:
        np.testing.assert_array_equal(read(zarr_format.open(path)), VALUES)


def test_metadata_that_lead_away_from_the_manifest(tmp_path):
    path = tmp_path / "a"
    make(path, VALUES)
    document = json.loads((path / "zarr.json").read_text())
    document["codecs"].append({"name": "numcodecs.adler32"})
    (path / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(ForeignChangeError, match="adler32"):
        zarr_format.open(path)


# --- the manifest itself ---


@pytest.mark.parametrize("name", ["manifest", "pages/0"])
def test_damage_to_the_manifest(tmp_path, name):
    path = tmp_path / "a"
    make(path, VALUES, **LAYOUTS["plain"])
    file = path / ".chunkarr" / name
    raw = file.read_bytes()
    place = ".chunkarr/manifest" if name == "manifest" else "manifest page 0"
    step = 7 if name == "pages/0" else 1
    for position in range(0, len(raw), step):  # every byte of the root
        file.write_bytes(raw[:position] + bytes([raw[position] ^ 16]) + raw[position + 1 :])
        with pytest.raises(CorruptChunkError):
            read(zarr_format.open(path))
    for changed in (b"", raw[:-1], raw + b"\0", raw[:50]):
        file.write_bytes(changed)
        check(path, CorruptChunkError, "adopt", [place])
    file.unlink()
    check(path, MissingChunkError, "adopt", [place])
    file.mkdir()
    check(path, CorruptChunkError, "is not a file", [place])
    file.rmdir()
    (tmp_path / "b").write_bytes(raw)
    file.symlink_to(tmp_path / "b")
    check(path, CorruptChunkError, "symbolic link", [place])
    file.unlink()
    with pytest.raises(CorruptChunkError):
        change(zarr_format.open(path, "r+"), VALUES, boxes={0})
    assert "manifest of it that could be read" in adopt(str(path)) or name != "manifest"
    np.testing.assert_array_equal(read(zarr_format.open(path)), VALUES)
    assert list(zarr_format.open(path).problems()) == []


def test_a_manifest_that_is_gone(tmp_path):
    path = tmp_path / "a"
    make(path, VALUES)
    shutil.rmtree(path / ".chunkarr")
    check(path, MissingChunkError, "says that there is a manifest", [".chunkarr/manifest"])
    for missing in ("fill", "error"):  # what can be had
        np.testing.assert_array_equal(read(zarr_format.open(path, missing=missing)), VALUES)
    adopt(str(path))
    np.testing.assert_array_equal(read(zarr_format.open(path)), VALUES)


def test_an_array_written_before_there_were_manifests(tmp_path):
    path = tmp_path / "a"
    make(path, VALUES, **LAYOUTS["plain"])
    shutil.rmtree(path / ".chunkarr")
    text = (path / "zarr.json").read_text()
    (path / "zarr.json").write_text(text.replace('"manifest": true,', ""))
    stored = zarr_format.open(path, "r+", durability="process")
    np.testing.assert_array_equal(read(stored), VALUES)
    with stored.update() as update:
        put(update, ((0, 3), (0, 4)), -VALUES)
        update.commit()
    (path / "c/2/2").unlink()
    with pytest.raises(MissingChunkError, match="chunk c/2/2"):  # it is complete, and not recorded
        read(stored.fresh())
    assert adopt(str(path)).startswith("recorded 9 stored chunks")
    assert not read(zarr_format.open(path))[6:, 8:].any()


@pytest.mark.parametrize("which", ["COMMIT", "page-0", "c+0+0", "removed", "last!zarr.json"])
def test_damage_to_a_change_that_is_committed_and_not_in_place(tmp_path, which):
    path = tmp_path / "a"
    stored = make(path, VALUES, **LAYOUTS["plain"])
    shutil.copytree(path, tmp_path / "old")
    shape = (9, 4)
    new = np.zeros(shape)
    new[:7] = -VALUES[:, :4]
    change(stored, new, shape=shape)
    # Take the change out of its place again.
    staged = tmp_path / "old/.chunkarr/txn-2"
    staged.mkdir()
    for name in os.listdir(path / "c"):
        shutil.copy(path / "c" / name / "0", staged / staged_name(f"c/{name}/0"))
    shutil.copy(path / ".chunkarr/manifest", staged / "COMMIT")
    shutil.copy(path / ".chunkarr/pages/0", staged / "page-0")
    shutil.copy(path / "zarr.json", staged / "last!zarr.json")
    gone = b"c/0/1\nc/0/2"
    (staged / "removed").write_bytes(gone + int(zarr_manifest.google_crc32c.value(gone)).to_bytes(4, "little"))
    path = tmp_path / "old"
    np.testing.assert_array_equal(read(zarr_format.open(path)), new)
    raw = (staged / which).read_bytes()
    (staged / which).write_bytes(raw[:-6] + bytes([raw[-6] ^ 1]) + raw[-5:])
    if which == "removed":
        with pytest.raises(CorruptChunkError, match="does not match its checksum"):
            zarr_format.open(path, "r+")
        return
    with pytest.raises(ChunkarrError):  # the old array must not come back in silence
        read(zarr_format.open(path))
    if which == "COMMIT":
        with pytest.raises(CorruptChunkError, match="do not match their checksum"):
            zarr_format.open(path, "r+")
        adopt(str(path))
        np.testing.assert_array_equal(read(zarr_format.open(path)), VALUES)


def test_chunk_files_that_belong_nowhere_are_listed(tmp_path):
    path = tmp_path / "a"
    make(path, VALUES, **LAYOUTS["plain"])
    shutil.copy(path / CHUNK, path / "c/0/9")
    shutil.copy(path / CHUNK, path / "c/0/1.bak")
    (path / "README").write_text("a note of the user")
    np.testing.assert_array_equal(read(zarr_format.open(path)), VALUES)
    assert sorted(problem.chunk for problem in zarr_format.open(path).problems()) == ["c/0/1.bak", "c/0/9"]


def test_a_chunk_where_none_was_written_is_foreign(tmp_path):
    path = tmp_path / "a"
    stored = make(path, VALUES, **LAYOUTS["plain"])
    change(stored, VALUES, boxes=(), shape=(12, 10))
    shutil.copy(path / CHUNK, path / "c/3")
    os.mkdir(path / "c/new")
    os.replace(path / "c/3", path / "c/new/0")
    os.rename(path / "c/new", path / "c/3")
    check(path, ForeignChangeError, "was never written", ["c/3/0"])


# --- adopt ---


def test_damaged_chunks_are_not_adopted(tmp_path):
    path = tmp_path / "a"
    make(path, VALUES, **LAYOUTS["plain"])
    before = (path / ".chunkarr/manifest").read_bytes()
    damage(path, "flipped")
    with pytest.raises(CorruptChunkError, match=CHUNK):
        adopt(str(path))
    assert (path / ".chunkarr/manifest").read_bytes() == before
    assert sorted(os.listdir(path / ".chunkarr")) == ["lock", "manifest", "pages"]


@pytest.mark.parametrize("kind", ["v2", "v3 shards"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_arrays_of_others_can_be_adopted(tmp_path, kind):
    path = tmp_path / "a"
    array = foreign(path, kind)
    array[0:6, 0:8] = 0
    assert "there was no manifest" in adopt(str(path))
    stored = zarr_format.open(path)
    np.testing.assert_array_equal(read(stored), array[...])
    array[6, 9] = 5
    with pytest.raises(CorruptChunkError):
        read(stored)


def test_adopting_waits_for_no_writer_and_leaves_nothing(tmp_path):
    path = tmp_path / "a"
    stored = make(path, VALUES)
    with stored.update(), pytest.raises(ArrayLockedError):
        adopt(str(path))
    with pytest.raises(FileNotFoundError):
        adopt(str(tmp_path / "nothing"))
    assert not (tmp_path / "nothing").exists()
    zarr.create_array(
        tmp_path / "b", shape=(4,), dtype="f4", chunks=(2,), filters=[zarr.codecs.TransposeCodec(order=(0,))]
    )
    document = json.loads((tmp_path / "b/zarr.json").read_text())
    document["codecs"].append({"name": "numcodecs.adler32"})
    (tmp_path / "b/zarr.json").write_text(json.dumps(document))
    with pytest.raises(UnsupportedError, match="through zarr-python"):
        adopt(str(tmp_path / "b"))
    assert not (tmp_path / "b/.chunkarr").exists()


# --- records ---


def root_of(shape, chunk, shard=None, **options):
    values = {
        "identity": b"x" * 16,
        "generation": 7,
        "fingerprint": 1,
        "loose": False,
        "soft": False,
        "pages": b"",
    } | options
    return Root(shape=shape, chunk=chunk, shard=shard, **values)


@pytest.mark.parametrize(
    "root",
    [root_of((), ()), root_of((5, 0), (2, 2)), root_of((9,), (2,), (4,), loose=True), root_of((3,), (1,), soft=True)],
)
def test_a_root_comes_back_as_it_was(tmp_path, root):
    full = replace(root, pages=b"abcd" * -(-root.entries // PAGE))
    (tmp_path / "root").write_bytes(full.pack())
    assert load_root(str(tmp_path / "root")) == full
    assert load_root(str(tmp_path / "none")) is None
    assert current(str(tmp_path)) is None


def test_entries_of_windows_over_several_pages(tmp_path):
    root = root_of((100, 90), (1, 1))
    draft = Draft(str(tmp_path), root, None)
    entries = np.zeros(9000, ENTRY)
    entries["length"], entries["crc"] = np.arange(9000), np.arange(9000)[::-1]
    draft.record(0, entries[:5000])
    draft.record(5000, entries[5000:])
    grid = entries.reshape(100, 90)
    for spans in [
        ((0, 100), (0, 90)),
        ((44, 47), (30, 60)),
        ((45, 46), (45, 46)),
        ((99, 100), (0, 90)),
        ((3, 3), (0, 9)),
    ]:
        expected = grid[tuple(slice(*span) for span in spans)].reshape(-1).tolist()
        assert draft.at(0, root.counts, spans) == expected
    sealed, pages = draft.seal()
    assert sorted(pages) == [0, 1, 2]
    (tmp_path / ".chunkarr/pages").mkdir(parents=True)
    for number, raw in pages.items():
        (tmp_path / ".chunkarr/pages" / str(number)).write_bytes(raw)
    manifest = Manifest(str(tmp_path), sealed, "")
    smaller = resized(manifest, root_of((101, 80), (1, 1)), stored=True, change="")
    moved = np.full((101, 80), ABSENT, ENTRY)
    moved[:100] = grid[:, :80]
    assert smaller.at(0, (101, 80), ((0, 101), (0, 80))) == moved.reshape(-1).tolist()
    longer = resized(manifest, root_of((120, 90), (1, 1)), stored=True, change="")
    assert sorted(longer.changed) == [2]  # the pages before stay as they are


def test_only_some_pages_are_kept_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(zarr_manifest, "KEPT", 2)
    values = np.arange(150 * 150, dtype="i2").reshape(150, 150)
    stored = make(tmp_path / "a", values, chunks=(1, 1), shards=(50, 50))
    assert stored.manifest.root.entries > 4 * PAGE
    np.testing.assert_array_equal(read(stored), values)
    assert len(stored.manifest._pages) == 2


def test_records_have_a_manifest_too(tmp_path):
    values = np.zeros((5, 6), RECORD)
    stored = make(tmp_path / "a", values, chunks=(2, 2))
    assert (tmp_path / "a/c/0/0/0").exists()
    change(stored, values, boxes={4}, shape=(3, 3))
    assert list(stored.fresh().problems()) == []
    (tmp_path / "a/c/0/0/0").unlink()
    with pytest.raises(MissingChunkError):
        read(stored.fresh())
