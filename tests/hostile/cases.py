"""The formats that are fed with mutated files, a row each; a new format adds a row, and a fixture."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import google_crc32c
import numpy as np
import scipy.io
import scipy.sparse
from numcodecs import Zstd

import chunkarr as ca

__all__ = ["CASES", "TRAPS", "Case", "Inner"]


@dataclass(frozen=True)
class Inner:
    """What lies within a file under a checksum or compression that would refuse every mutation."""

    take: Callable[[bytes], bytes]  # out of the file
    put: Callable[[bytes, bytes], bytes]  # (file, content) -> the file with it


@dataclass(frozen=True)
class Case:
    """A format, or a way in which it stores something."""

    name: str
    make: Callable[[str], None]  # makes fixtures in an empty folder: files or arrays that are folders
    options: dict[str, Any] = field(default_factory=dict)  # of `chunkarr.open`
    inner: Inner | None = None
    format: str | None = None
    open: Callable[..., Any] = ca.open


def numbers(dtype: Any = "<f8", shape: tuple[int, ...] = (6, 10)) -> np.ndarray:
    """Return values of any dtype."""
    return np.arange(int(np.prod(shape)), dtype="f8").reshape(shape).astype(dtype)


RECORDS = np.array([(1, 2.5, b"ab"), (3, -1.0, b"c")], [("n", ">i4"), ("x", "<f8"), ("s", "S3")])


def make_npy(folder: str) -> None:
    """Make npy files of versions 1 and 2, C and Fortran, simple and structured."""
    np.save(folder + "/c.npy", numbers())
    np.save(folder + "/f.npy", np.asfortranarray(numbers(">i2", (3, 4, 5))))
    np.save(folder + "/r.npy", RECORDS)
    np.save(folder + "/u.npy", np.array(["ab", "c"]))
    with open(folder + "/v2.npy", "wb") as file:
        np.lib.format.write_array(file, numbers("u1"), (2, 0))


def make_raw(folder: str) -> None:
    """Make raw records."""
    numbers("<i4").tofile(folder + "/a.raw")


def make_packed(folder: str) -> None:
    """Make packed integers."""
    ca.save(folder + "/a.packed", numbers("u2"), layout="raw12")


def make_wav(folder: str) -> None:
    """Make WAV files of samples that NumPy has a type for, and of 24 bits."""
    ca.save(folder + "/a.wav", numbers("<i2"))
    ca.save(folder + "/b.wav", numbers("<f4", (60,)))
    ca.save(folder + "/c.wav", numbers("<i4"), bits=24)


def make_zarr(folder: str) -> None:
    """Make Zarr arrays of version 3."""
    ca.save(folder + "/a.zarr", numbers(), chunks=(4, 4))
    ca.save(folder + "/b.zarr", numbers("<u2"), chunks=(2, 5), shards=(4, 10), codec="zstd")
    ca.save(folder + "/c.zarr", numbers("i1"), chunks=(6, 10), codec="gzip")
    ca.save(folder + "/d.zarr", RECORDS, layout="columns")
    ca.save(folder + "/e.zarr", RECORDS)


def make_foreign_zarr(folder: str) -> None:
    """Make Zarr arrays that have no manifest, of versions 2 and 3."""
    import zarr

    codec = zarr.codecs.BloscCodec(cname="lz4", shuffle="shuffle")
    ways: dict[str, Any] = {
        "v2": {"zarr_format": 2},
        "v3": {},
        "blosc": {"compressors": [codec]},
        "gzip": {"compressors": [zarr.codecs.GzipCodec()]},
        "shards": {"shards": (6, 10), "compressors": [codec]},
    }
    for name, how in ways.items():
        made = zarr.create_array(f"{folder}/{name}.zarr", shape=(6, 10), chunks=(3, 5), dtype="f8", **how)
        made[...] = numbers()


def is_sealed(content: bytes) -> bool:
    """Say whether the last four bytes are the crc32c of what is before."""
    return google_crc32c.value(content[:-4]) == int.from_bytes(content[-4:], "little")


def take_sealed(content: bytes) -> bytes:
    """Return a chunk or a manifest without its checksum; any other file as it is."""
    return content[:-4] if is_sealed(content) else content


def put_sealed(content: bytes, inner: bytes) -> bytes:
    """Seal it again."""
    return inner + google_crc32c.value(inner).to_bytes(4, "little") if is_sealed(content) else inner


def make_hdf5(folder: str) -> None:
    """Make HDF5 files: chunked and filtered, contiguous, compact, compound."""
    import h5py

    with h5py.File(folder + "/a.h5", "w") as file:
        file.create_dataset("g/x", data=numbers(), chunks=(2, 5), compression="gzip", shuffle=True, fletcher32=True)
        file["y"] = numbers("i2")
        file["r"] = RECORDS
        file["t"] = ["text", "of", "any length"]
    with h5py.File(folder + "/b.h5", "w", libver="latest") as file:
        file.create_dataset("x", data=numbers(), chunks=(3, 5), maxshape=(None, None))


def make_fortran(folder: str) -> None:
    """Make a file of Fortran records."""
    record = numbers("<f8", (12,)).tobytes()
    mark = len(record).to_bytes(4, "little")
    with open(folder + "/a.dat", "wb") as file:
        file.write((mark + record + mark) * 5)


def make_npz(folder: str) -> None:
    """Make npz files, stored and deflated."""
    np.savez(folder + "/a.npz", a=numbers(), b=np.asfortranarray(numbers(">i2")), r=RECORDS)
    np.savez_compressed(folder + "/b.npz", a=numbers(), b=numbers("u1"))


def take_npy(content: bytes) -> bytes:
    """Return the first member of an npz file."""
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        return file.read(file.namelist()[0])


def put_npy(content: bytes, member: bytes) -> bytes:
    """Return an npz file with another first member, all checksums being right."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as file, zipfile.ZipFile(out, "w") as made:
        first, *rest = file.infolist()
        made.writestr(first.filename, member, first.compress_type)
        for info in rest:
            made.writestr(info.filename, file.read(info), info.compress_type)
    return out.getvalue()


def make_mat4(folder: str) -> None:
    """Make MATLAB files of version 4."""
    scipy.io.savemat(folder + "/a.mat", {"x": numbers(), "t": "text", "z": numbers() * 1j}, format="4")


MATLAB = {
    "x": numbers(),
    "i": numbers("i2"),
    "t": np.array(["ab", "cd"]),
    "c": np.array([numbers("u1"), "text"], object),
    "s": {"a": numbers("f4"), "b": {"deep": 1.0}},
    "z": numbers() * 1j,
    "l": numbers() > 5,
    "sparse": scipy.sparse.csc_array(np.eye(4)),
}


def make_mat5(folder: str) -> None:
    """Make a MATLAB file of version 6, not compressed."""
    scipy.io.savemat(folder + "/a.mat", MATLAB)


def make_mat7(folder: str) -> None:
    """Make a MATLAB file of version 7, compressed."""
    scipy.io.savemat(folder + "/a.mat", MATLAB, do_compression=True)


def make_mat73(folder: str) -> None:
    """Make a MATLAB file of version 7.3."""
    values = {"a": numbers(), "b": numbers() * 1j, "c": np.array(["ab", "cd"]), "d": numbers() > 5, "e": numbers()[:0]}
    for name, what in values.items():
        ca.save(f"{folder}/{name}.mat", what, version="7.3")


def take_mat7(content: bytes) -> bytes:
    """Return the first compressed variable of a MATLAB file, decompressed."""
    size = int.from_bytes(content[132:136], "little")
    return zlib.decompress(content[136 : 136 + size])


def put_mat7(content: bytes, variable: bytes) -> bytes:
    """Return the MATLAB file with another first variable."""
    size = int.from_bytes(content[132:136], "little")
    packed = zlib.compress(variable)
    return content[:132] + len(packed).to_bytes(4, "little") + packed + content[136 + size :]


def make_text(folder: str) -> None:
    """Make text files: numbers, records, quotes, dates, compressed ones."""
    rows = [f"{i},{i / 7},{i * 1e300},name {i}" for i in range(50)]
    texts = {
        "a.csv": "n,x,y,name\n" + "\n".join(rows),
        "b.tsv": "\n".join(f"{i}\t{i + 1}" for i in range(60)),
        "c.txt": "# comment\n" + "\n".join(f" {i:4d}  {i * 1.5:8.3f}" for i in range(60)),
        "d.csv": "t,v\n" + "\n".join(f'2024-01-{i:02d},"{i}"' for i in range(1, 29)),
    }
    for name, text in texts.items():
        with open(f"{folder}/{name}", "w") as file:
            file.write(text)
    with gzip.open(folder + "/e.csv.gz", "wt") as file:
        file.write(texts["a.csv"])


def make_packed_text(folder: str) -> None:
    """Make text files that are unpacked into scratch, or turned into UTF-8 there."""
    text = "".join(f"{i},{i / 7},name {i}\n" for i in range(60))
    contents = {"a.csv.bz2": bz2.compress(text.encode()), "b.csv.xz": lzma.compress(text.encode())}
    contents["c.csv.zst"] = Zstd(3).encode(text.encode())
    contents["d.csv"] = text.encode("utf-16")
    for name, content in contents.items():
        with open(f"{folder}/{name}", "wb") as file:
            file.write(content)


def make_fixed_text(folder: str) -> None:
    """Make a text file of fields of fixed width."""
    with open(folder + "/a.txt", "w") as file:
        file.writelines(f"{i:5d}{i * 1.5:8.3f}{'ab':>4}\n" for i in range(60))


def make_matching_text(folder: str) -> None:
    """Make a text file for a regular expression."""
    with open(folder + "/a.txt", "w") as file:
        file.writelines(f"x={i} y={i * 1.5}\n" for i in range(60))


def take_gzip(content: bytes) -> bytes:
    """Return what gzip packed; any other file as it is."""
    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content


def put_gzip(content: bytes, text: bytes) -> bytes:
    """Pack it again."""
    return gzip.compress(text) if content[:2] == b"\x1f\x8b" else text


CASES: tuple[Case, ...] = (
    Case("npy", make_npy),
    Case("raw", make_raw, {"dtype": "<i4", "shape": (-1, 10)}),
    Case("raw-fortran", make_fortran, {"dtype": "<f8", "markers": 4}),
    Case("packed", make_packed, {"layout": "raw12", "shape": (-1, 10)}),
    Case("wav", make_wav),
    Case("zarr", make_zarr, inner=Inner(take_sealed, put_sealed)),
    Case("zarr-foreign", make_foreign_zarr),
    Case("hdf5", make_hdf5, {"isolate": True}),
    Case("npz", make_npz, inner=Inner(take_npy, put_npy)),
    Case("mat4", make_mat4),
    Case("mat5", make_mat5),
    Case("mat7", make_mat7, inner=Inner(take_mat7, put_mat7)),
    Case("mat73", make_mat73, {"isolate": True}),
    Case("text", make_text, inner=Inner(take_gzip, put_gzip)),
    Case("text-packed", make_packed_text),
    Case("text-fixed", make_fixed_text, {"widths": (5, 8, 4)}),
    Case("text-matching", make_matching_text, {"regexp": r"x=(\d+) y=([\d.]+)"}),
)


def die(path: str, **_: Any) -> None:
    """Read as a broken C library would."""
    os.abort()


def spin(path: str, **_: Any) -> None:
    """Read for ever."""
    while True:
        zlib.crc32(b"")


def swell(path: str, **_: Any) -> None:
    """Believe what a file says of its size."""
    np.ones(1 << 30, "u1")


def stumble(path: str, **_: Any) -> None:
    """Raise what no caller expects."""
    raise IndexError(path)


TRAPS = tuple(Case(f"trap-{read.__name__}", make_npy, open=read) for read in (die, spin, swell, stumble))
