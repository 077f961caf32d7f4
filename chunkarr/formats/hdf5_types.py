"""Types of HDF5 files, and the dtypes that stand for them.

A string of variable length lies in a heap, and where it belongs is its *place*: `PLACE`, 16 bytes that say which
heap, and which object in it. Arrays of such strings are read as arrays of places first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import numpy as np
from h5py import h5t

from chunkarr.errors import UnsupportedError

__all__ = ["PLACE", "Path", "has_texts", "numpy_dtype", "place_of", "storage_dtype", "text_dtype", "with_texts"]

Path = tuple[str, ...]  # names of fields, from the outermost on
PLACE = np.dtype([("size", "<u4"), ("heap", "<u8"), ("index", "<u4")])
_BEYOND = {
    h5t.REFERENCE: "references to other objects",
    h5t.VLEN: "values of variable length",
    h5t.TIME: "the HDF5 type for times",
}


def numpy_dtype(kind_id: h5t.TypeID, where: str) -> tuple[np.dtype[Any], bool]:
    """Return the dtype of an HDF5 type, and whether stored bytes are its bytes.

    Raises
    ------
    UnsupportedError
        If NumPy has no such type, or only as Python objects.
    """
    reason = _beyond(kind_id)
    if reason is None:
        try:
            dtype = kind_id.dtype
        except (TypeError, ValueError, NotImplementedError, RuntimeError, LookupError) as error:
            reason = str(error)
        else:
            # A type's tag may name any dtype: one of Python objects would be pointers read from the file.
            reason = f"the dtype {dtype}" if dtype.hasobject else None
    if reason is not None:
        raise UnsupportedError(f"{where}: has {reason}, which chunkarr does not read")
    try:
        exact = bool(kind_id.equal(h5t.py_create(dtype, logical=True)))
    except (TypeError, ValueError, NotImplementedError):
        exact = False
    return _plain(dtype), exact and dtype.itemsize == kind_id.get_size()


def _beyond(kind_id: h5t.TypeID) -> str | None:
    """Name what in a type has no place in an array, or return None."""
    kind = kind_id.get_class()
    if kind in _BEYOND:
        return _BEYOND[kind]
    if kind == h5t.STRING and kind_id.is_variable_str():
        return "strings of variable length"
    if kind == h5t.ARRAY:
        return _beyond(kind_id.get_super())
    if kind == h5t.COMPOUND:
        parts = (_beyond(kind_id.get_member_type(i)) for i in range(kind_id.get_nmembers()))
        return next((part for part in parts if part), None)
    return None


def _plain(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return ``dtype`` without the metadata that h5py hangs on it."""
    if dtype.subdtype is not None:
        return np.dtype((_plain(dtype.base), dtype.shape))
    if dtype.names is None:
        return np.dtype(dtype.str)
    fields = [dtype.fields[name] for name in dtype.names]  # type: ignore[index]
    return np.dtype(
        {
            "names": list(dtype.names),
            "formats": [_plain(field[0]) for field in fields],
            "offsets": [field[1] for field in fields],
            "itemsize": dtype.itemsize,
        }
    )


def storage_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return ``dtype`` with the marks that h5py needs to store times and Unicode text.

    Raises
    ------
    UnsupportedError
        If HDF5 has no type for it.
    """
    if dtype.subdtype is not None:
        return np.dtype((storage_dtype(dtype.base), dtype.shape))
    if dtype.names is not None:
        fields = [dtype.fields[name] for name in dtype.names]  # type: ignore[index]
        formats: Sequence[Any] = [storage_dtype(field[0]) for field in fields]
        offsets = [field[1] for field in fields]
        return np.dtype(
            {"names": list(dtype.names), "formats": formats, "offsets": offsets, "itemsize": dtype.itemsize}
        )
    if dtype.kind in "mMU" and dtype.itemsize:
        marked: np.dtype[Any] = h5py.opaque_dtype(dtype)
        return marked
    if dtype.kind not in "biufcSV" or dtype.itemsize == 0:
        raise UnsupportedError(f"HDF5 has no type for the dtype {dtype}; convert it first")
    return dtype


# --- texts ---------------------------------------------------------------------------------------


def has_texts(kind_id: h5t.TypeID) -> bool:
    """Say whether a type is, or has fields of, strings of variable length."""
    kind = kind_id.get_class()
    if kind == h5t.STRING:
        return bool(kind_id.is_variable_str())
    if kind == h5t.ARRAY:
        return has_texts(kind_id.get_super())
    if kind == h5t.COMPOUND:
        return any(has_texts(kind_id.get_member_type(i)) for i in range(kind_id.get_nmembers()))
    return False


def text_dtype(kind_id: h5t.TypeID, where: str) -> tuple[np.dtype[Any], tuple[Path, ...]]:
    """Return the dtype of the bytes at rest of a type that `has_texts`, and which of its fields are `PLACE`.

    Raises
    ------
    UnsupportedError
        If something else in the type is not read, or not as it is stored.
    """
    dtype, paths, _ = _at_rest(kind_id, where)
    return dtype, tuple(paths)


def _at_rest(kind_id: h5t.TypeID, where: str) -> tuple[np.dtype[Any], list[Path], int]:
    """Return dtype, paths of texts, and by how many bytes the type is longer at rest than the library says."""
    if not has_texts(kind_id):
        dtype, exact = numpy_dtype(kind_id, where)
        if not exact:
            raise UnsupportedError(f"{where}: has {dtype}, stored otherwise, beside strings of variable length")
        return dtype, [], 0
    kind = kind_id.get_class()
    if kind == h5t.STRING:
        return PLACE, [()], PLACE.itemsize - kind_id.get_size()
    if kind == h5t.ARRAY:
        base, paths, more = _at_rest(kind_id.get_super(), where)
        if paths != [()] or base.shape:
            raise UnsupportedError(f"{where}: has arrays of compounds of strings of variable length")
        dims = kind_id.get_array_dims()
        return np.dtype((base, dims)), paths, more * math.prod(dims)
    names, formats, offsets, found, grown = [], [], [], [], 0
    for i in sorted(range(kind_id.get_nmembers()), key=kind_id.get_member_offset):
        dtype, paths, more = _at_rest(kind_id.get_member_type(i), where)
        name = kind_id.get_member_name(i).decode("utf-8", "surrogateescape")
        names.append(name)
        formats.append(dtype)
        offsets.append(kind_id.get_member_offset(i) + grown)
        found += [(name, *path) for path in paths]
        grown += more
    whole: Any = {"names": names, "formats": formats, "offsets": offsets, "itemsize": kind_id.get_size() + grown}
    return np.dtype(whole), found, grown


def with_texts(dtype: np.dtype[Any], kinds: Mapping[Path, str], path: Path = ()) -> np.dtype[Any]:
    """Return ``dtype`` with dtypes of text in place of `PLACE`, and no padding between fields that have such.

    >>> with_texts(np.dtype([("n", "i4"), ("s", PLACE, (2,))]), {("s",): "<U3"})
    dtype([('n', '<i4'), ('s', '<U3', (2,))])
    """
    if path in kinds:
        return np.dtype((kinds[path], dtype.shape))
    if not any(known[: len(path)] == path for known in kinds):
        return dtype
    fields: Mapping[str, Any] = dtype.fields or {}
    return np.dtype([(name, with_texts(fields[name][0], kinds, (*path, name))) for name in dtype.names or ()])


def place_of(dtype: np.dtype[Any], path: Path) -> np.dtype[Any]:
    """Return the dtype of the field at ``path``, without its axes.

    >>> place_of(np.dtype([("n", "i4"), ("s", PLACE, (2,))]), ("s",)) == PLACE
    True
    """
    for name in path:
        dtype = dtype[name]
    return dtype.base
