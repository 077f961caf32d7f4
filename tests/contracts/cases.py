"""The formats, and arrays that are no format of the table, as cases of one suite."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from chunkarr.formats.contract import Stored, Target
from chunkarr.formats.table import create_target, open_stored
from tests.strategies import dtypes, numeric_dtypes

__all__ = ["CASES", "Case"]


Options = Callable[[tuple[int, ...], np.dtype], dict[str, Any]]  # of an array's shape and dtype


def no_options(shape: tuple[int, ...], dtype: np.dtype) -> dict[str, Any]:
    """Return no options: the file says what it holds."""
    return {}


@dataclass(frozen=True)
class Case:
    """A way to store an array that the suite tries."""

    name: str
    format: str  # the row's name in the table of formats
    suffix: str  # of the path
    create: Options = no_options  # of create_target
    open: Options = no_options  # of open_stored
    dtypes: st.SearchStrategy[np.dtype] = field(default_factory=dtypes)  # what it can hold
    fit: Callable[[np.ndarray], np.ndarray] = lambda values: values  # to values that it can hold
    axes: int = 64  # that it can hold

    def path(self, directory: os.PathLike[str] | str) -> str:
        """Return where the suite puts the array."""
        return os.path.join(directory, "a" + self.suffix)

    def create_target(self, directory: os.PathLike[str] | str, shape: Any, dtype: Any, **options: Any) -> Target:
        """Create the array in ``directory``."""
        given = self.create(tuple(shape), np.dtype(dtype))
        return create_target(self.path(directory), shape, dtype, self.format, **given, **options)

    def open_stored(self, directory: os.PathLike[str] | str, shape: Any, dtype: Any) -> Stored:
        """Open what was created in ``directory``."""
        return open_stored(self.path(directory), **self.open(tuple(shape), np.dtype(dtype)))


def raw_options(shape: tuple[int, ...], dtype: np.dtype) -> dict[str, Any]:
    """Return what raw records need to be told."""
    return {"shape": shape, "dtype": dtype}


def fortran(shape: tuple[int, ...], dtype: np.dtype) -> dict[str, Any]:
    """Return what makes the first axis vary fastest."""
    return {"order": "F"}


def chunked(**options: Any) -> Options:
    """Return options that cut each axis in about three chunks, and ``options``."""
    return lambda shape, dtype: {"chunks": tuple(max(1, -(-n // 3)) for n in shape), **options}


def sharded(shape: tuple[int, ...], dtype: np.dtype) -> dict[str, Any]:
    """Return shards of up to two chunks along each axis."""
    chunks = tuple(max(1, -(-n // 4)) for n in shape)
    return {"chunks": chunks, "shards": tuple(2 * n for n in chunks)}


def without_text() -> st.SearchStrategy[np.dtype]:
    """Draw what HDF5 has types for."""
    return dtypes().filter(lambda dtype: dtype.kind != "U")


def packed(**options: Any) -> dict[str, Any]:
    """Return a case of integers of 12 or 13 bits."""
    return {
        "create": lambda shape, dtype: options,
        "open": lambda shape, dtype: {"shape": shape, **options},
        "dtypes": st.just(np.dtype("u2")),
        "fit": lambda values: np.abs(values).astype("u2") & 0xFFF,
    }


def sound(values: np.ndarray) -> np.ndarray:
    """Return ``values`` as a WAV file can say them: one axis, or several channels."""
    return values if values.ndim == 2 and values.shape[1] > 1 else values.reshape(-1)


def samples() -> st.SearchStrategy[np.dtype]:
    """Draw what WAV files have samples of."""
    return st.sampled_from(["u1", "<i2", "<i4", "<i8", "<f4", "<f8"]).map(np.dtype)


def matlab_numbers() -> st.SearchStrategy[np.dtype]:
    """Draw the numbers that MATLAB has classes for."""
    return numeric_dtypes().filter(lambda dtype: dtype.str[1:] != "f2")


def version(name: str) -> Options:
    """Return what chooses a version of MATLAB's files."""
    return lambda shape, dtype: {"version": name}


def described(shape: tuple[int, ...], dtype: np.dtype) -> dict[str, Any]:
    """Return what a text of numbers does not say."""
    return {"shape": shape, "dtype": dtype, "header": False}


CASES: tuple[Case, ...] = (
    Case("npy", "npy", ".npy"),
    Case("npy-fortran", "npy", ".npy", create=fortran),
    Case("npz", "npz", ".npz"),
    Case("npz-fortran", "npz", ".npz", create=fortran),
    Case("npz-deflated", "npz", ".npz", create=lambda shape, dtype: {"codec": "deflate:1"}),
    Case("raw", "raw", ".raw", open=raw_options),
    Case(
        "raw-fortran",
        "raw",
        ".raw",
        create=fortran,
        open=lambda shape, dtype: {**raw_options(shape, dtype), "order": "F"},
    ),
    Case("zarr", "zarr", ".zarr", create=chunked()),
    Case("zarr-zstd", "zarr", ".zarr", create=chunked(codec="zstd")),
    Case("zarr-fortran", "zarr", ".zarr", create=chunked(codec=None, order="F")),
    Case("zarr-shards", "zarr", ".zarr", create=sharded),
    Case("zarr-columns", "zarr", ".zarr", create=chunked(layout="columns")),
    Case("mat-6", "mat", ".mat", create=version("6"), dtypes=matlab_numbers()),
    Case("mat-7", "mat", ".mat", create=version("7"), dtypes=matlab_numbers()),
    Case("mat-7.3", "mat", ".mat", create=version("7.3"), dtypes=matlab_numbers()),
    Case("hdf5", "hdf5", ".h5", dtypes=without_text()),
    Case("hdf5-gzip", "hdf5", ".h5", create=chunked(codec="gzip"), dtypes=without_text()),
    Case("text", "text", ".csv", open=described, dtypes=numeric_dtypes()),
    Case("text-blanks", "text", ".txt.gz", open=described, dtypes=numeric_dtypes()),
    Case("packed", "packed", ".packed", **packed(layout="raw12")),
    Case("packed-stream", "packed", ".packed", **packed(bits=13, bitorder="big")),
    Case("packed-fortran", "packed", ".packed", **packed(bits=12, bitorder="little", row_align=32, order="F")),
    Case("wav", "wav", ".wav", dtypes=samples(), fit=sound, axes=2),
)
