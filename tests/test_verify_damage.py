"""What `verify` calls whole is whole: damage of every kind that a disk, a backup or another program does.

The one rule checked: if `verify` finds nothing wrong, then shape, dtype and every value are what was
written; and if reading raises, `verify` finds something wrong. What one bit of metadata may mean is
tried bit by bit.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings

import numpy as np
import pytest
import zarr

import chunkarr as ca
from chunkarr.errors import ChunkarrError, ForeignChangeError
from chunkarr.formats.cache import CHUNKS
from chunkarr.formats.table import open_stored
from chunkarr.grid import whole

VALUES = np.random.default_rng(5).integers(-(2**31), 2**31, (13, 10)).astype("<i4")
LAYOUTS = {
    "plain": {"chunks": (4, 5)},
    "raw": {"chunks": (4, 5), "codec": None},
    "shards": {"chunks": (2, 5), "shards": (8, 5)},
    "fortran": {"chunks": (4, 5), "order": "F"},
}


def write(path, region, values):
    """Change a region in one transaction."""
    stored = open_stored(path, "r+")
    with stored.update() as change:
        before = np.empty(stored.shape, stored.dtype)
        everything = whole(stored.shape)
        stored.read(everything, before, np.empty(stored.scratch_bytes(everything), "u1"))
        before[tuple(slice(a, b) for a, b in region)] = values
        for box in change.grid:
            if any(a >= d or c >= b for (a, b), (c, d) in zip(box, region, strict=True)):
                continue
            change.write(box, before[tuple(slice(a, b) for a, b in box)], np.empty(change.scratch_bytes(box), "u1"))
        change.commit()
    return before


@pytest.fixture(params=LAYOUTS)
def saved(request, tmp_path):
    """Return an array of three generations, its values, and a copy of its first one."""
    path = str(tmp_path / "a.zarr")
    ca.save(path, VALUES, **LAYOUTS[request.param])
    shutil.copytree(path, str(tmp_path / "first.zarr"))
    write(path, ((2, 6), (3, 8)), 7)
    values = write(path, ((5, 13), (0, 10)), -1 - VALUES[5:13])
    return path, values, str(tmp_path / "first.zarr")


def found(path):
    """Return what is there: values or the error of reading them; and whether verify finds nothing wrong."""
    CHUNKS.clear()  # what was read before the damage
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            values = ca.open(path).compute()
        except (ChunkarrError, OSError) as error:
            values = error
        try:
            ok = ca.open(path).verify().ok
        except (ChunkarrError, OSError):
            ok = False
    return values, ok


def judge(path, expected, what, *, must_be_seen=True):
    """Check that damage is seen, or harmless."""
    values, ok = found(path)
    if isinstance(values, Exception):
        assert not ok, f"{what}: reading raises {values!r}, verify finds nothing"
        return
    same = (values.shape, values.dtype) == (expected.shape, expected.dtype) and values.tobytes() == expected.tobytes()
    assert same or not ok, f"{what}: values are others, verify finds nothing"
    assert same, f"{what}: values are others, and reading did not raise"
    assert not (must_be_seen and ok), f"{what}: was not seen"


def files(path, below=""):
    """Return the files of an array, relative to it."""
    root = os.path.join(path, below)
    return sorted(
        os.path.relpath(os.path.join(folder, name), path) for folder, _, names in os.walk(root) for name in names
    )


def replaced(path, name, content):
    """Write a file anew."""
    full = os.path.join(path, name)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    with open(full, "wb") as file:
        file.write(content)


def bytes_at(path, name):
    """Return a file's bytes."""
    with open(os.path.join(path, name), "rb") as file:
        return file.read()


def test_what_was_not_touched_is_whole(saved):
    path, values, _ = saved
    values_now, ok = found(path)
    np.testing.assert_array_equal(values_now, values)
    assert ok


def test_a_chunk_of_an_earlier_generation_is_seen(saved):
    path, values, first = saved
    for name in files(path, "c"):
        before, old = bytes_at(path, name), bytes_at(first, name)
        if before == old:
            continue
        replaced(path, name, old)
        judge(path, values, f"{name} of the first generation")
        replaced(path, name, before)
    assert found(path)[1]


def test_chunks_that_were_read_before_do_not_hide_other_metadata(saved):
    path, values, _ = saved
    meta = bytes_at(path, "zarr.json")
    ca.open(path).compute()
    replaced(path, "zarr.json", meta.replace(b"13", b"12", 1))
    with pytest.raises(ForeignChangeError):
        ca.open(path).compute()
    replaced(path, "zarr.json", meta)
    np.testing.assert_array_equal(ca.open(path).compute(), values)


def test_a_manifest_of_an_earlier_generation_is_seen(saved):
    path, values, first = saved
    names = [n for n in files(path, ".chunkarr") if os.path.getsize(os.path.join(path, n))]
    assert names
    for name in names:
        before = bytes_at(path, name)
        replaced(path, name, bytes_at(first, name))
        if bytes_at(first, name) != before:
            judge(path, values, f"{name} of the first generation")
        replaced(path, name, before)
    shutil.rmtree(os.path.join(path, ".chunkarr"))
    shutil.copytree(os.path.join(first, ".chunkarr"), os.path.join(path, ".chunkarr"))
    judge(path, values, "the whole manifest of the first generation")


def test_a_manifest_of_another_array_is_seen(saved, tmp_path, request):
    path, values, _ = saved
    layout = LAYOUTS[request.node.callspec.params["saved"]]
    other = str(tmp_path / "other.zarr")
    ca.save(other, VALUES[::-1].copy(), **layout)
    for name in files(path, ".chunkarr"):
        before = bytes_at(path, name)
        if name in files(other) and before and bytes_at(other, name) != before:
            replaced(path, name, bytes_at(other, name))
            judge(path, values, f"{name} of another array")
            replaced(path, name, before)
    for name in files(path, "c"):
        before = bytes_at(path, name)
        replaced(path, name, bytes_at(other, name))
        judge(path, values, f"{name} of another array")
        replaced(path, name, before)
    assert found(path)[1]


def test_a_manifest_that_is_gone_is_seen(saved):
    path, values, _ = saved
    for name in files(path, ".chunkarr"):
        before = bytes_at(path, name)
        if not before:
            continue
        os.unlink(os.path.join(path, name))
        judge(path, values, f"{name} is gone")
        replaced(path, name, before)
    shutil.rmtree(os.path.join(path, ".chunkarr"))
    judge(path, values, "the whole manifest is gone")


def test_another_writer_is_seen(saved):
    path, values, _ = saved
    zarr.open_array(path, mode="r+")[3, 3] = 99
    judge(path, values, "another writer changed an element")


def test_another_writer_that_grew_or_cut_it_is_seen(saved, tmp_path):
    path, values, _ = saved
    for shape in ((14, 10), (13, 11), (16, 10), (12, 10), (4, 5)):
        copy = str(tmp_path / "copy.zarr")
        shutil.copytree(path, copy)
        zarr.open_array(copy, mode="r+").resize(shape)
        judge(copy, values, f"another writer made the shape {shape}")
        shutil.rmtree(copy)


EDITS = {
    "fill_value": lambda m: m.update(fill_value=3),
    "dtype of the same size": lambda m: m.update(data_type="float32"),
    "unsigned": lambda m: m.update(data_type="uint32"),
    "shape": lambda m: m.update(shape=[10, 13]),
    "less": lambda m: m.update(shape=[12, 10]),
    "more": lambda m: m.update(shape=[16, 10]),
    "chunks": lambda m: m["chunk_grid"]["configuration"].update(chunk_shape=[5, 4]),
    "separator": lambda m: m["chunk_key_encoding"]["configuration"].update(separator="."),
    "no attributes": lambda m: m.update(attributes={}),
    "no checksums": lambda m: m.update(codecs=[c for c in m["codecs"] if c["name"] != "crc32c"]),
    "big-endian": lambda m: json.loads(json.dumps(m).replace('"little"', '"big"')),
}


@pytest.mark.parametrize("edit", EDITS)
def test_edited_metadata_are_seen(saved, edit):
    path, values, _ = saved
    meta = json.loads(bytes_at(path, "zarr.json"))
    meta = EDITS[edit](meta) or meta
    replaced(path, "zarr.json", json.dumps(meta).encode())
    judge(path, values, edit, must_be_seen=False)


def flips(path, name, step):
    """Yield a file's bytes with one bit flipped, for every ``step``-th bit."""
    content = bytes_at(path, name)
    for bit in range(0, 8 * len(content), step):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        yield bit, bytes(changed)
    replaced(path, name, content)


def flip_all(path, values, step):
    """Flip bits of every file."""
    for name in files(path):
        for bit, content in flips(path, name, step):
            replaced(path, name, content)
            judge(path, values, f"bit {bit} of {name}", must_be_seen=name != "zarr.json")


def test_flipped_bits_are_seen(saved):
    flip_all(*saved[:2], 97)


@pytest.mark.nightly
def test_every_flipped_bit_is_seen(saved):
    flip_all(*saved[:2], 1)


def test_bytes_too_many_and_chunks_too_many_are_seen(saved):
    path, values, _ = saved
    for name in files(path):
        before = bytes_at(path, name)
        if name == "zarr.json" or not before:
            continue
        for content in (
            before + b"\0",
            before + before,
            b"\0" + before,
            before[:-1],
            before[:4],
            b"",
            bytes(len(before)),
        ):
            replaced(path, name, content)
            judge(path, values, f"{name} of {len(content)} bytes instead of {len(before)}")
        replaced(path, name, before)
    some = files(path, "c")[0]
    for extra in ("c/9/9", "c/0/9", "c/5/0"):
        replaced(path, extra, bytes_at(path, some))
        judge(path, values, f"a chunk {extra} that is none")
        os.unlink(os.path.join(path, extra))
    assert found(path)[1]
