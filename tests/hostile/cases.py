"""The formats that are fed with mutated files, a row each; a new format adds a row, and a fixture."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

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


def make_fortran(folder: str) -> None:
    """Make a file of Fortran records."""
    record = numbers("<f8", (12,)).tobytes()
    mark = len(record).to_bytes(4, "little")
    with open(folder + "/a.dat", "wb") as file:
        file.write((mark + record + mark) * 5)


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


def make_foreign_zarr(folder: str) -> None:
    """Make Zarr arrays that have no manifest, of versions 2 and 3."""
    import zarr

    for version in (2, 3):
        name = f"{folder}/v{version}.zarr"
        made = zarr.create_array(name, shape=(6, 10), chunks=(3, 5), dtype="f8", zarr_format=version)
        made[...] = numbers()


def make_hdf5(folder: str) -> None:
    """Make HDF5 files: chunked and filtered, contiguous, compact, compound."""
    import h5py

    with h5py.File(folder + "/a.h5", "w") as file:
        file.create_dataset("g/x", data=numbers(), chunks=(2, 5), compression="gzip", shuffle=True, fletcher32=True)
        file["y"] = numbers("i2")
        file["r"] = RECORDS
    with h5py.File(folder + "/b.h5", "w", libver="latest") as file:
        file.create_dataset("x", data=numbers(), chunks=(3, 5), maxshape=(None, None))


CASES: tuple[Case, ...] = (
    Case("npy", make_npy),
    Case("raw", make_raw, {"dtype": "<i4", "shape": (-1, 10)}),
    Case("raw-fortran", make_fortran, {"dtype": "<f8", "markers": 4}),
    Case("packed", make_packed, {"layout": "raw12", "shape": (-1, 10)}),
    Case("wav", make_wav),
    Case("zarr", make_zarr),
    Case("zarr-foreign", make_foreign_zarr),
    Case("hdf5", make_hdf5, {"isolate": True}),
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
