"""Deflated bytes read at any place."""

from __future__ import annotations

import gzip
import pickle
import threading
import time
import zlib
from pathlib import Path
from random import Random

import numpy as np
import pytest

from chunkarr.errors import CorruptChunkError, GenerationChangedError
from chunkarr.formats import inflating
from chunkarr.formats.inflating import Inflated, Kind, forward_grid
from chunkarr.formats.runs import file_generation, read_block

FINE = 1 << 10  # bytes, so that small streams have many decoders kept


@pytest.fixture(autouse=True)
def fine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"FINE": FINE, "INPUT": 100, "LEAST": 20, "OUTPUT": 300, "SPREAD": 8, "RECENT": 4}.items():
        monkeypatch.setattr(inflating, name, value)


def some_bytes(size: int, seed: int = 0) -> bytes:
    """Return bytes that deflate makes about half of."""
    return np.random.default_rng(seed).integers(0, 16, size, "u1").tobytes()


def encode(data: bytes, kind: Kind) -> bytes:
    window = {"raw": -15, "zlib": 15, "gzip": 31}[kind]
    stream = zlib.compressobj(6, zlib.DEFLATED, window)
    return stream.compress(data) + stream.flush()


def stored(tmp_path: Path, encoded: bytes, *, before: bytes = b"", after: bytes = b"") -> str:
    path = tmp_path / "stream"
    path.write_bytes(before + encoded + after)
    return str(path)


def read(source: Inflated, start: int, stop: int) -> bytes:
    part = bytearray(stop - start)
    source.read_into(part, start)
    return bytes(part)


@pytest.mark.parametrize("kind", ["raw", "zlib", "gzip"])
def test_reads_any_place_of_every_kind(tmp_path: Path, kind: Kind) -> None:
    data, random = some_bytes(40_000), Random(1)
    encoded = encode(data, kind)
    path = stored(tmp_path, encoded, before=b"xyz", after=b"more")
    source = Inflated(path, 3, len(encoded), kind, len(data), check=zlib.crc32(data))
    for _ in range(200):
        start = random.randrange(len(data))
        stop = min(len(data), start + random.choice([1, 10, 2000, 40_000]))
        assert read(source, start, stop) == data[start:stop]
    assert len(source._kept) <= 8 + 4 + 1, "decoders are thinned out"


def test_measures_streams_of_unknown_size(tmp_path: Path) -> None:
    data = some_bytes(20_001)
    source = Inflated(stored(tmp_path, encode(data, "gzip")), 0, None, "gzip", None)
    assert read(source, 5, 50) == data[5:50]
    assert source.measure() == len(data) == source.size
    assert source.measure() == len(data)
    assert read(source, 20_000, 20_001) == data[-1:]


def test_gzip_streams_in_a_row_are_one(tmp_path: Path) -> None:
    one, two = some_bytes(3000), some_bytes(4000, 1)
    path = stored(tmp_path, gzip.compress(one) + b"\0" * 250 + gzip.compress(b"") + gzip.compress(two), after=b"\0" * 9)
    source = Inflated(path, 0, None, "gzip", None)
    assert source.measure() == 7000
    assert read(source, 2990, 3010) == (one + two)[2990:3010]
    with pytest.raises(CorruptChunkError, match="damaged"):
        Inflated(stored(tmp_path, gzip.compress(one), after=b"no gzip"), 0, None, "gzip", None).measure()


def test_empty_streams(tmp_path: Path) -> None:
    source = Inflated(stored(tmp_path, encode(b"", "zlib")), 0, None, "zlib", None)
    assert source.measure() == 0
    source.read_into(bytearray(), 0)
    assert Inflated(stored(tmp_path, encode(b"", "raw")), 0, None, "raw", 0, check=0).measure() == 0


def test_reads_many_pieces_in_one_walk(tmp_path: Path) -> None:
    values = np.arange(20_000, dtype="<u2").reshape(100, 200)
    source = Inflated(stored(tmp_path, encode(values.tobytes(), "raw")), 0, None, "raw", values.nbytes)
    out = np.empty((50, 7), "<u2")
    read_block(source, 0, (100, 200), ((30, 80), (100, 107)), out=out, scratch=np.empty(1 << 18, "u1"))
    np.testing.assert_array_equal(out, values[30:80, 100:107])
    views = [bytearray(3) for _ in range(4)]
    source.read_each(views, (39_000, 7, 20_000, 0))
    assert [bytes(view) for view in views] == [values.tobytes()[n : n + 3] for n in (39_000, 7, 20_000, 0)]


def test_every_damage_is_named(tmp_path: Path) -> None:
    data = some_bytes(5000)
    encoded = encode(data, "raw")

    def error(encoded: bytes, size: int, check: int) -> str:
        source = Inflated(stored(tmp_path, encoded), 0, len(encoded), "raw", size, check=check, origin="x.npz::a")
        with pytest.raises(CorruptChunkError, match=r"^x.npz::a: ") as caught:
            read(source, 0, size)
        with pytest.raises(CorruptChunkError):
            source.measure()
        return str(caught.value)

    good = zlib.crc32(data)
    assert "cut short at byte 1000" in error(encoded[:1000], 5000, good)
    assert "decode to 5000 B, but 5001 B are declared" in error(encoded, 5001, good)
    assert "more than the 4999 B" in error(encoded, 4999, zlib.crc32(data[:-1]))
    assert f"{good:08x}, 00000001 was written" in error(encoded, 5000, 1)
    assert "damaged after decoded byte 0" in error(b"\xff" * 100, 5000, good)


def test_unread_damage_at_the_end_is_found_by_measure(tmp_path: Path) -> None:
    encoded = bytearray(encode(some_bytes(5000), "zlib"))
    encoded[-1] ^= 1
    source = Inflated(stored(tmp_path, bytes(encoded)), 0, None, "zlib", 5000)
    read(source, 0, 4000)
    with pytest.raises(CorruptChunkError, match="incorrect data check"):
        source.measure()


def test_beyond_the_end_of_unknown_size(tmp_path: Path) -> None:
    source = Inflated(stored(tmp_path, encode(b"abc", "zlib")), 0, None, "zlib", None)
    with pytest.raises(CorruptChunkError, match="decode to 3 B, but 10 B were to be read"):
        read(source, 2, 10)
    with pytest.raises(CorruptChunkError):
        read(source, 12, 13)


def test_a_bomb_gives_no_more_than_asked_for(tmp_path: Path) -> None:
    encoded = encode(bytes(3_000_000), "raw")
    assert len(encoded) < 4000
    source = Inflated(stored(tmp_path, encoded), 0, None, "raw", 10)
    with pytest.raises(CorruptChunkError, match="more than the 10 B"):
        read(source, 0, 10)


def test_threads_read_together(tmp_path: Path) -> None:
    data = some_bytes(60_000)
    source = Inflated(stored(tmp_path, encode(data, "raw")), 0, None, "raw", len(data), check=zlib.crc32(data))
    wrong: list[int] = []
    done: list[int] = []

    def work(seed: int) -> None:
        random = Random(seed)
        pieces = [(start, 500) for start in range(seed * 500, len(data), 1500)]
        pieces += [(random.randrange(len(data) - 10), 10) for _ in range(30)]
        wrong.extend(start for start, size in pieces if read(source, start, start + size) != data[start : start + size])
        done.append(seed)

    threads = [threading.Thread(target=work, args=(seed,), daemon=True) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert (wrong, sorted(done)) == ([], [0, 1, 2])


def test_reading_forward_decodes_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = some_bytes(50_000)
    source = Inflated(stored(tmp_path, encode(data, "raw")), 0, None, "raw", len(data))
    given: list[int] = []
    decode = source._decode
    monkeypatch.setattr(source, "_decode", lambda *args: given.append(len(result := decode(*args))) or result)
    for start in range(0, 50_000, 777):
        read(source, start, min(start + 777, 50_000))
    assert sum(given) == 50_000
    given.clear()
    read(source, 30_000, 30_001)
    assert sum(given) <= 50_000 // 8 + 2 * FINE, "from the nearest decoder that was kept"


def test_threads_that_take_turns_decode_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, step = some_bytes(200_000), 5_000
    source = Inflated(stored(tmp_path, encode(data, "raw")), 0, None, "raw", len(data), check=zlib.crc32(data))
    given: list[int] = []
    decode = source._decode
    monkeypatch.setattr(source, "_decode", lambda *args: given.append(len(result := decode(*args))) or result)
    turns, lock, wrong = iter(range(0, len(data), step)), threading.Lock(), list[int]()

    def work() -> None:
        while True:
            with lock:
                start = next(turns, None)
            if start is None:
                return
            if read(source, start, start + step) != data[start : start + step]:
                wrong.append(start)
            time.sleep(0.002)  # what a task does with what it read

    threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert not wrong
    assert sum(given) <= 1.2 * len(data), "a thread that is overtaken at the start decodes a piece again"


def test_kept_decoders_hold_little_of_what_was_read_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inflating, "INPUT", 10_000)
    data = some_bytes(100_000)
    source = Inflated(stored(tmp_path, encode(data, "raw")), 0, None, "raw", len(data))
    read(source, 0, 50_500)
    held = [len(kept.data) + len(kept.stream.unconsumed_tail) for kept in source._kept.values()]
    assert len(held) > 4
    assert max(held) <= 300


def test_pickles_as_a_recipe_and_closes(tmp_path: Path) -> None:
    data = some_bytes(5000)
    source = Inflated(stored(tmp_path, encode(data, "zlib")), 0, None, "zlib", 5000, origin="there")
    assert read(source, 100, 200) == data[100:200]
    again = pickle.loads(pickle.dumps(source))
    assert len(pickle.dumps(source)) < 500
    assert (again.size, again.origin) == (5000, "there")
    assert read(again, 100, 200) == data[100:200]
    source.close()
    assert read(source, 100, 200) == data[100:200]


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    path = stored(tmp_path, encode(b"abc", "zlib"))
    source = Inflated(path, 0, None, "zlib", 3, generation=file_generation(path))
    stored(tmp_path, encode(b"abcdefghijkl", "zlib"))
    with pytest.raises(GenerationChangedError):
        read(source, 0, 3)


@pytest.mark.parametrize(
    ("shape", "order", "steps"),
    [
        ((), "C", ()),
        ((0, 3), "C", (1, 3)),
        ((10, 10), "C", (2, 10)),
        ((10, 10), "F", (10, 2)),
        ((3, 100), "C", (1, 20)),
        ((100, 3, 5), "F", (20, 1, 1)),
        ((4, 2, 5), "C", (2, 2, 5)),
    ],
)
def test_boxes_are_runs_of_bytes(shape: tuple[int, ...], order: str, steps: tuple[int, ...]) -> None:
    assert forward_grid(shape, 8, order, 160).steps == steps
