"""The formats, and arrays that are no format of the table, as cases of one suite."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from chunkarr.formats.contract import Stored, Target
from chunkarr.formats.table import create_target, open_stored
from tests.strategies import dtypes

__all__ = ["CASES", "Case"]


def no_options(shape: tuple[int, ...], dtype: np.dtype) -> dict[str, Any]:
    """Return no options: the file says what it holds."""
    return {}


@dataclass(frozen=True)
class Case:
    """A way to store an array that the suite tries."""

    name: str
    format: str  # the row's name in the table of formats
    suffix: str  # of the path
    create: Mapping[str, Any] = field(default_factory=dict)  # options of create_target
    open: Callable[[tuple[int, ...], np.dtype], dict[str, Any]] = no_options  # options of open_stored
    dtypes: st.SearchStrategy[np.dtype] = field(default_factory=dtypes)  # what it can hold

    def path(self, directory: os.PathLike[str] | str) -> str:
        """Return where the suite puts the array."""
        return os.path.join(directory, "a" + self.suffix)

    def create_target(self, directory: os.PathLike[str] | str, shape: Any, dtype: Any, **options: Any) -> Target:
        """Create the array in ``directory``."""
        return create_target(self.path(directory), shape, dtype, self.format, **self.create, **options)

    def open_stored(self, directory: os.PathLike[str] | str, shape: Any, dtype: Any) -> Stored:
        """Open what was created in ``directory``."""
        return open_stored(self.path(directory), **self.open(tuple(shape), np.dtype(dtype)))


def raw_options(shape: tuple[int, ...], dtype: np.dtype) -> dict[str, Any]:
    """Return what raw records need to be told."""
    return {"shape": shape, "dtype": dtype}


CASES: tuple[Case, ...] = (
    Case("npy", "npy", ".npy"),
    Case("npy-fortran", "npy", ".npy", create={"order": "F"}),
    Case("raw", "raw", ".raw", open=raw_options),
    Case(
        "raw-fortran",
        "raw",
        ".raw",
        create={"order": "F"},
        open=lambda shape, dtype: {**raw_options(shape, dtype), "order": "F"},
    ),
)
