"""New MATLAB files of version 7.3 of one variable: HDF5 files with what MATLAB wants to find in them."""

from __future__ import annotations

from typing import Any

import numpy as np

from chunkarr.errors import OptionError
from chunkarr.formats.contract import Target
from chunkarr.formats.flat import check_block
from chunkarr.formats.hdf5_filters import Filter
from chunkarr.formats.hdf5_matlab import DTYPE
from chunkarr.formats.hdf5_target import ChunkedTarget, ContiguousTarget, default_chunks
from chunkarr.formats.mat_writer import check_kind, note, stored_dims, units_of
from chunkarr.fsio import Durability
from chunkarr.grid import Grid, Region, Shape, region_size

__all__ = ["Mat73Target"]

Array = np.ndarray[Any, Any]
USER_BLOCK = 512  # bytes before the HDF5 file
NAMES = {
    "f8": "double", "f4": "single", "i1": "int8", "u1": "uint8", "i2": "int16", "u2": "uint16", "i4": "int32",
    "u4": "uint32", "i8": "int64", "u8": "uint64",
}  # fmt: skip


class Mat73Target(Target):
    """A new file of version 7.3.

    Parameters
    ----------
    path, member, shape, dtype
        The file and its variable.
    codec
        "gzip:0" to "gzip:9", "gzip" (as "gzip:1") or "none". Compressed values are shuffled first.
    overwrite, durability
        As in `journal.publish`.
    """

    distributable = False

    def __init__(
        self,
        path: str,
        member: str,
        shape: Shape,
        dtype: np.dtype[Any],
        *,
        codec: str,
        overwrite: bool,
        durability: Durability,
    ) -> None:
        name, _, level = codec.partition(":")
        if codec != "none" and (name != "gzip" or level not in ("", *map(str, range(10)))):
            raise OptionError(
                f'{path}: codec of version "7.3" is "gzip", "gzip:0" to "gzip:9" or "none", not {codec!r}'
            )
        self.path, self.shape, self.dtype = path, shape, dtype
        self._dims = dims = stored_dims(shape, dtype)
        self._empty = 0 in dims
        self._kind, attributes = _type(path, dtype)
        if self._empty:
            attributes |= {"MATLAB_empty": np.uint8(1), DTYPE: np.bytes_(dtype.str.encode())}
        options: dict[str, Any] = {
            "member": f"/{member}", "order": "F", "overwrite": overwrite, "durability": durability,
            "user_block": (note("7.3", shape, dtype) + bytes(8) + b"\x00\x02IM").ljust(USER_BLOCK, b"\0"),
            "attributes": attributes,
        }  # fmt: skip
        self._lead = len(dims) - len(shape) - (dtype.kind == "U")  # axes of length 1 before those of the user
        self._inner: ContiguousTarget | ChunkedTarget
        if self._empty:
            values = np.array(dims, "<u8")
            self._inner = ContiguousTarget(path, values.shape, values.dtype, **options)
            self._inner.write(((0, len(dims)),), values, np.empty(0, np.uint8))
            self.grid = Grid(shape, shape)
            return
        if codec == "none":
            self._inner = ContiguousTarget(path, dims, self._kind, **options)
        else:
            shuffle = (Filter("shuffle", self._kind.itemsize),) if self._kind.itemsize > 1 else ()
            filters = (*shuffle, Filter("deflate", int(level or 1)), Filter("fletcher32"))
            chunks = default_chunks(dims, self._kind.itemsize)
            self._inner = ChunkedTarget(path, dims, self._kind, chunks=chunks, filters=filters, **options)
        self.grid = Grid(shape, self._inner.grid.steps[self._lead :][: len(shape)])

    def write(self, region: Region, block: Array, scratch: Array) -> None:
        """Write ``block`` at ``region``; see `Target.write`."""
        check_block(region, block, self.dtype)
        if self._empty or not block.size:
            return
        values = units_of(self.path, block, self._kind) if self.dtype.kind == "U" else block.view(self._kind)
        self._inner.write(self._stored(region), values[(None,) * self._lead], scratch)

    def _stored(self, region: Region) -> Region:
        text = ((0, self._dims[-1]),) if self.dtype.kind == "U" else ()
        return (*((0, 1),) * self._lead, *region, *text)

    def scratch_bytes(self, region: Region) -> int:
        """Return the bytes that writing ``region`` holds; see `Target.scratch_bytes`."""
        if self._empty:
            return 0
        text = 3 * region_size(region) * self.dtype.itemsize if self.dtype.kind == "U" else 0
        return self._inner.scratch_bytes(self._stored(region)) + text

    def blank(self) -> None:
        """Leave chunks that were not written out; see `Target.blank`."""
        self._inner.blank()

    def commit(self) -> None:
        """Make the file appear under its name; see `Target.commit`."""
        self._inner.commit()

    def abort(self) -> None:
        """Remove the unfinished file; never raises."""
        self._inner.abort()


def _type(path: str, dtype: np.dtype[Any]) -> tuple[np.dtype[Any], dict[str, Any]]:
    """Return the dtype that values are stored as, and the attributes that say what they stand for."""
    code, order = check_kind(path, dtype), dtype.str[0].replace("|", "<")
    stored = np.dtype(order + code)
    if dtype.kind == "U":
        return stored, {"MATLAB_class": np.bytes_(b"char"), "MATLAB_int_decode": np.int32(2)}
    if dtype.kind == "b":
        return stored, {"MATLAB_class": np.bytes_(b"logical"), "MATLAB_int_decode": np.int32(1)}
    if dtype.kind == "c":
        stored = np.dtype([("real", stored), ("imag", stored)])
    return stored, {"MATLAB_class": np.bytes_(NAMES[code].encode())}
