"""WAV files: scipy reads and writes them as the oracle, 24 bits but for its shift."""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chunkarr as ca
from chunkarr.errors import FormatError, OptionError, UnsupportedError
from chunkarr.formats import wav
from chunkarr.formats.table import identify
from tests.oracle import same

wavfile = pytest.importorskip("scipy.io.wavfile")
FIXTURES = Path(wavfile.__file__).parent / "tests" / "data"


def numbers(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(5)
    if np.dtype(dtype).kind == "f":
        return rng.normal(size=shape).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)


@pytest.mark.parametrize("shape", [(7,), (7, 2), (5, 3), (0,), (1, 2)])
@pytest.mark.parametrize("dtype", ["u1", "<i2", "<i4", "<i8", "<f4", "<f8"])
def test_files_go_both_ways(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    values = numbers(dtype, shape)
    ours = ca.save(tmp_path / "ours.wav", values, rate=8000)
    same(ours.compute(), values)
    if values.size:
        wavfile.write(tmp_path / "theirs.wav", 8000, values)
        rate, found = wavfile.read(tmp_path / "ours.wav")
        assert rate == 8000
        same(found, values)
        same(ca.open(tmp_path / "theirs.wav")[::-1].compute(), values[::-1])
        assert wav.open(str(tmp_path / "theirs.wav")).rate == 8000


@pytest.mark.parametrize("shape", [(9,), (9, 2), (4, 5)])
def test_24_bits(tmp_path: Path, shape: tuple[int, ...]) -> None:
    values = numbers("i4", shape) >> 8
    same(ca.save(tmp_path / "a.wav", values, bits=24)[1:].compute(), values[1:])
    assert os.path.getsize(tmp_path / "a.wav") == 44 + -(-values.size * 3 // 2) * 2
    _, found = wavfile.read(tmp_path / "a.wav")
    same(found, values << 8)  # scipy puts the 24 bits into the upper ones


@pytest.mark.parametrize(("bits", "dtype"), [(8, "u1"), (16, "<i2"), (32, "<i4")])
def test_any_integers_that_fit(tmp_path: Path, bits: int, dtype: str) -> None:
    values = np.arange(100, dtype=">i8")
    same(ca.save(tmp_path / "a.wav", values, bits=bits).compute(), values.astype(dtype))
    same(wavfile.read(tmp_path / "a.wav")[1], values.astype(dtype))
    with pytest.raises(OverflowError, match="does not fit 8 unsigned bits"):
        ca.save(tmp_path / "b.wav", values - 1, bits=8)


def scipys_files() -> list[Any]:
    return [pytest.param(path, id=path.name) for path in sorted(FIXTURES.glob("*.wav"))]


@pytest.mark.filterwarnings("ignore::scipy.io.wavfile.WavFileWarning")
@pytest.mark.parametrize("path", scipys_files())
def test_scipys_files(path: Path) -> None:
    try:
        _, expected = wavfile.read(path)
    except ValueError:
        with pytest.raises((FormatError, UnsupportedError)):
            ca.open(path)
        return
    if "incomplete" in path.name or "early-eof" in path.name:
        with pytest.raises(FormatError, match='partial="drop"'):
            ca.open(path)
        found = ca.open(path, partial="drop").compute()
    else:
        found = ca.open(path).compute()
    bits = re.search(r"(\d+)bit", path.name)
    if bits is not None and expected.dtype.kind == "i":
        expected = expected >> (-int(bits[1]) % 64 // 8 * 8 % (8 * expected.itemsize))  # scipy fills the upper bits
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)


def riff(*chunks: tuple[bytes, bytes], kind: bytes = b"RIFF", order: str = "<") -> bytes:
    body = b"".join(
        name + struct.pack(f"{order}I", len(data)) + data + b"\0" * (len(data) % 2) for name, data in chunks
    )
    return kind + struct.pack(f"{order}I", 4 + len(body)) + b"WAVE" + body


def form(tag: int = 1, channels: int = 1, bits: int = 16, frame: int = 2, order: str = "<", more: bytes = b"") -> Any:
    return b"fmt ", struct.pack(f"{order}HHIIHH", tag, channels, 8000, 16000, frame, bits) + more


def test_big_endian_files_and_odd_chunks_before_the_data(tmp_path: Path) -> None:
    values = np.array([1, -2, 300], ">i2")
    (tmp_path / "a.wav").write_bytes(
        riff((b"LIST", b"odd"), form(order=">"), (b"data", values.tobytes()), kind=b"RIFX", order=">")
    )
    same(ca.open(tmp_path / "a.wav").compute(), values)
    wide = np.array([1, -2, 300, -8388608], "i4")
    data = b"".join(int(x).to_bytes(3, "big", signed=True) for x in wide)
    (tmp_path / "b.wav").write_bytes(riff(form(bits=24, frame=3, order=">"), (b"data", data), kind=b"RIFX", order=">"))
    same(ca.open(tmp_path / "b.wav").compute(), wide)


def test_sizes_of_64_bits(tmp_path: Path) -> None:
    values = np.arange(10, dtype="<i2")
    unknown = b"\xff" * 4
    ds64 = b"ds64" + struct.pack("<IQQQI", 28, 0, values.nbytes, 10, 0)
    name, data = form()
    content = b"RF64" + unknown + b"WAVE" + ds64 + name + struct.pack("<I", 16) + data + b"data" + unknown
    (tmp_path / "a.wav").write_bytes(content + values.tobytes() + b"LIST\0\0\0\0")
    same(ca.open(tmp_path / "a.wav").compute(), values)
    header = wav._header(6 << 30, floats=False, bits=16, channels=1, rate=8000)
    assert header[:4] == b"RF64"
    with open(tmp_path / "b.wav", "wb") as file:
        file.write(header)
        file.truncate(len(header) + (6 << 30))
    stored = wav.open(str(tmp_path / "b.wav"))
    assert stored.shape == (3 << 30,)
    assert ca.open(tmp_path / "b.wav")[-2:].compute().tolist() == [0, 0]


@pytest.mark.parametrize(
    ("content", "error", "reason"),
    [
        (b"", FormatError, "ends at byte 0, within its header"),
        (b"RIFF\0\0\0\0WAVX", FormatError, "not a WAV file"),
        (riff(form()), FormatError, "within its header"),
        (riff((b"data", b"ab"), form()), FormatError, 'come before the chunk "fmt "'),
        (riff(form(tag=2), (b"data", b"")), UnsupportedError, "coded in format 0x2"),
        (riff(form(tag=0xFFFE), (b"data", b"")), UnsupportedError, "coded in format 0xfffe"),
        (riff(form(channels=0), (b"data", b"")), FormatError, "0 channels"),
        (riff(form(frame=9, bits=72), (b"data", b"")), UnsupportedError, "samples of 72 bits in 9 B"),
        (riff(form(frame=2, bits=24), (b"data", b"")), UnsupportedError, "samples of 24 bits in 2 B"),
        (riff(form(tag=3), (b"data", b"")), UnsupportedError, "samples of 16 bits in 2 B"),
        (riff(form(), (b"data", b"abcd"))[:-1], FormatError, "header says 4 B of data, the file has 3 B"),
        (riff(form(), (b"data", b"abc")), FormatError, "3 B of data are 1 frames of 2 B and 1 B"),
        (riff(form(), *[(b"junk", b"")] * 10_000), FormatError, "no data within the first 10000 chunks"),
    ],
)
def test_files_that_are_none_are_refused(tmp_path: Path, content: bytes, error: Any, reason: str) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(error, match=reason):
        wav.open(str(tmp_path / "a.wav"))


@pytest.mark.parametrize(
    ("shape", "dtype", "options", "error", "reason"),
    [
        ((2, 3, 4), "i2", {}, UnsupportedError, "not shape"),
        ((), "i2", {}, UnsupportedError, "not shape"),
        ((2, 0), "i2", {}, UnsupportedError, "1 to 65535 channels"),
        ((2, 40000), "i2", {}, UnsupportedError, "more than 65535 B"),
        ((2,), "u2", {}, UnsupportedError, "no samples of dtype uint16; give bits="),
        ((2,), "c16", {}, UnsupportedError, "no samples of dtype complex128"),
        ((2,), ">f4", {}, UnsupportedError, "big-endian; use astype"),
        ((2,), "f4", {"bits": 16}, OptionError, "for integers, not 16"),
        ((2,), "i2", {"bits": 12}, OptionError, "bits is 8, 16, 24 or 32"),
        ((2,), "i2", {"rate": 0}, OptionError, "rate is the number of frames"),
        ((2,), "i2", {"rate": 8000.0}, OptionError, "rate is the number of frames"),
    ],
)
def test_what_no_file_can_hold(tmp_path: Path, shape: Any, dtype: str, options: Any, error: Any, reason: str) -> None:
    with pytest.raises(error, match=reason):
        wav.create(str(tmp_path / "a.wav"), shape, dtype, **options)
    assert os.listdir(tmp_path) == []


def test_the_content_says_that_it_is_a_wav_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(riff(form(), (b"data", b"ab")))
    assert identify(str(tmp_path / "a")).name == "wav"
    with pytest.raises(UnsupportedError, match="cannot be changed in place"):
        ca.open(tmp_path / "a", "r+")
