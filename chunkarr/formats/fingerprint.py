"""What tells a stored array from any other, in another process and after a restart: enough to go on with a job."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import google_crc32c
import numpy as np

from chunkarr import fsio
from chunkarr.errors import UnsupportedError
from chunkarr.formats.contract import Stored
from chunkarr.formats.runs import plain

__all__ = ["describe_stored", "digest_of"]

END = 1 << 20  # bytes at each end of a file that are read
OPTIONS = (
    "order",
    "offset",
    "member",
    "missing",
    "meaning",
)  # attributes of stored arrays that say what their bytes mean


def describe_stored(stored: Stored) -> dict[str, Any]:
    """Return what tells ``stored`` from another array, as JSON can hold it.

    A file: size, time of last change, inode, checksums of its first and last MiB. A Zarr array with a
    manifest: its generation; without: its metadata, and name, size and time of every file. An array in
    memory: a digest of its values.

    Raises
    ------
    UnsupportedError
        If nothing tells it from another, as with scratch.
    """
    found: dict[str, Any] = {"shape": list(stored.shape), "dtype": repr(stored.dtype)}
    if stored.format == "memory":
        return {**found, "path": "an array in memory", "digest": digest_of(stored.array)}  # type: ignore[attr-defined]
    path = stored.path
    if stored.format == "scratch" or not path:
        raise UnsupportedError("a temporary array cannot be told from another one in a later run")
    found |= {name: getattr(stored, name) for name in OPTIONS if hasattr(stored, name)}
    found |= {"path": path if "://" in path else os.path.abspath(path), "format": stored.format}
    if os.path.isdir(path):
        return {**found, "generation": repr(stored.generation()), **_directory(path)}
    if os.path.isfile(path):
        return {**found, **_file(path)}
    return {**found, "generation": repr(stored.generation())}


def digest_of(array: np.ndarray[Any, Any]) -> str:
    """Return a digest of shape, dtype and bytes of ``array``, padding included; holds a megabyte at a time.

    It digests the checksum of each megabyte: ten times as fast as digesting the bytes, at a chance of
    one in 4e9 that another megabyte passes.

    >>> digest_of(np.arange(6).reshape(2, 3)) == digest_of(np.asfortranarray(np.arange(6).reshape(2, 3)))
    True
    """
    if array.dtype.hasobject:
        raise UnsupportedError("an array of Python objects cannot be told from another one in a later run")
    digest = hashlib.blake2b(repr((array.shape, array.dtype)).encode(), digest_size=16)
    if not array.nbytes:
        return digest.hexdigest()
    # What was broadcast is the same all along.
    values = array.view(plain(array.dtype))[tuple(slice(0, 1) if s == 0 else slice(None) for s in array.strides)]
    step = max(1, END // values.itemsize)
    flat = values.reshape(-1) if values.flags.c_contiguous else values.flat
    for start in range(0, values.size, step):
        piece = np.ascontiguousarray(flat[start : start + step])
        digest.update(int(google_crc32c.value(piece.view(np.uint8))).to_bytes(4, "little"))
    return digest.hexdigest()


def _file(path: str) -> dict[str, Any]:
    fd = fsio.open_read(path)
    try:
        state = os.fstat(fd)
        ends = []
        for start in (0, max(0, state.st_size - END)):
            piece = bytearray(min(END, state.st_size))
            fsio.read_into(fd, piece, start, path)
            ends.append(google_crc32c.value(bytes(piece)))
    finally:
        os.close(fd)
    return {
        "size": state.st_size,
        "mtime_ns": state.st_mtime_ns,
        "inode": state.st_ino,
        "first": ends[0],
        "last": ends[1],
    }


def _directory(path: str) -> dict[str, Any]:
    """Return what a Zarr directory holds: the seal of its manifest, else the state of every file."""
    manifest = os.path.join(path, ".chunkarr", "manifest")
    if os.path.isfile(manifest):
        return {"manifest": _file(manifest)}
    digest = hashlib.blake2b(digest_size=16)
    places = [path]
    while places:
        with os.scandir(places.pop()) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                state = entry.stat(follow_symlinks=False)
                digest.update(repr((entry.path[len(path) :], state.st_size, state.st_mtime_ns, state.st_ino)).encode())
                if entry.is_dir(follow_symlinks=False):
                    places.append(entry.path)
    return {"files": digest.hexdigest()}
