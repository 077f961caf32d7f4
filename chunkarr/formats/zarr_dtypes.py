"""Types in Zarr metadata: NumPy's descriptions in JSON, fill values, and chunkarr's own mark."""

from __future__ import annotations

import base64
import binascii
import math
from typing import Any

import numpy as np

from chunkarr.errors import UnsupportedError
from chunkarr.formats.zarr_json import Fields

__all__ = ["NUMERIC", "check_descr", "descr_of", "fill_json", "fill_scalar", "is_native", "mark_of"]

NUMERIC = frozenset(
    ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
     "float16", "float32", "float64", "complex64", "complex128")
)  # fmt: skip
VERSION = 1  # of the mark
NONFINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def is_native(dtype: np.dtype[Any]) -> bool:
    """Say whether Zarr v3's core has ``dtype``, in one byte order or the other.

    >>> is_native(np.dtype(">c16")), is_native(np.dtype("M8[s]"))
    (True, False)
    """
    return dtype.kind in "biufc" and dtype.name in NUMERIC


def descr_of(dtype: np.dtype[Any]) -> Any:
    """Return ``dtype`` as JSON can hold it, checked to come back equal.

    Raises
    ------
    UnsupportedError
        If ``dtype`` holds Python objects or strings of any length, or has no description.
    """
    if dtype.hasobject or dtype.kind not in "biufcSUVMm" or dtype.itemsize == 0:
        raise UnsupportedError(f"dtype {dtype} cannot be stored in Zarr: its values have no fixed number of bytes")
    descr = np.lib.format.dtype_to_descr(dtype)
    if np.lib.format.descr_to_dtype(descr) != dtype:
        raise UnsupportedError(f"dtype {dtype} cannot be stored in Zarr: NumPy's description of it is not complete")
    return descr


def check_descr(descr: Any, fields: Fields) -> np.dtype[Any]:
    """Return the dtype that JSON describes as `numpy.lib.format.dtype_to_descr` does."""
    try:
        dtype = np.lib.format.descr_to_dtype(_tuples(descr))
    except (TypeError, ValueError, KeyError, IndexError, SyntaxError, OverflowError):
        fields.fail(f"dtype {str(descr)[:60]!r} is not known to NumPy")
    if dtype.hasobject:
        raise UnsupportedError(f"{fields.path}: holds Python objects; chunkarr never unpickles")
    if dtype.itemsize == 0 or dtype.subdtype is not None or dtype.kind not in "biufcSUVMm":
        fields.fail(f"dtype {str(descr)[:60]!r} has no fixed number of bytes")
    return dtype


def _tuples(descr: Any) -> Any:
    """Return a description with the tuples that JSON made lists."""
    if isinstance(descr, str):
        return descr
    if not isinstance(descr, list) or not descr:
        raise TypeError(descr)
    result = []
    for field in descr:
        if not isinstance(field, list) or len(field) not in (2, 3):
            raise TypeError(field)
        name = tuple(field[0]) if isinstance(field[0], list) else field[0]
        names = name if isinstance(name, tuple) else (name,)
        if not all(isinstance(word, str) for word in names):
            raise TypeError(field)
        shape = field[2] if len(field) == 3 else []
        if not isinstance(shape, list) or not all(type(n) is int and 0 <= n < 2**31 for n in shape):
            raise TypeError(field)
        result.append((name, _tuples(field[1]), *([tuple(shape)] if len(field) == 3 else [])))
    return result


def mark_of(attributes: dict[str, Any], fields: Fields) -> dict[str, Any]:
    """Return what chunkarr noted in the attributes; empty for arrays of others."""
    mark = attributes.get("chunkarr")
    if mark is None:
        return {}
    if not isinstance(mark, dict) or type(mark.get("v")) is not int:
        fields.fail('attribute "chunkarr" must be an object with "v"')
    if mark["v"] > VERSION:
        raise UnsupportedError(f"{fields.path}: was written by a newer chunkarr (mark v{mark['v']}); install that")
    if type(mark.get("generation", 0)) is not int:
        fields.fail('attribute "chunkarr": "generation" must be an integer')
    return mark


def fill_scalar(dtype: np.dtype[Any], value: Any, fields: Fields) -> Any:
    """Return the fill value that JSON ``value`` means, as a scalar or 0-d array of ``dtype``."""
    try:
        return _fill(dtype, value)
    except (TypeError, ValueError, OverflowError, binascii.Error):
        fields.fail(f'"fill_value" {str(value)[:60]!r} is not a value of {dtype}')


def _fill(dtype: np.dtype[Any], value: Any) -> Any:
    if value is None or (dtype.kind in "SV" and value == 0):
        return np.zeros((), dtype)[()]
    kind = dtype.kind
    if kind == "b" and type(value) is bool:
        return dtype.type(value)
    if kind in "iu" and type(value) is int:
        limits = np.iinfo(dtype)
        if limits.min <= value <= limits.max:
            return dtype.type(value)
    if kind == "f":
        return _float(dtype, value)
    if kind == "c" and isinstance(value, list) and len(value) == 2:
        part = np.dtype(f"{dtype.byteorder}f{dtype.itemsize // 2}")
        both = np.array([_float(part, value[0]), _float(part, value[1])], part)
        return both.view(dtype)[0]
    if kind in "SV" and isinstance(value, str):
        raw = base64.b64decode(value, validate=True)
        return np.frombuffer(raw.ljust(dtype.itemsize, b"\0"), dtype, 1)[0]
    if kind == "U" and isinstance(value, str):
        return np.array(value, dtype)[()]
    if kind in "Mm" and (value == "NaT" or type(value) is int):
        return np.array(np.iinfo(np.int64).min if value == "NaT" else value, "i8").view(f"{kind}8[{_unit(dtype)}]")[()]
    if kind in "iu" and type(value) is float and value.is_integer():
        return dtype.type(int(value))
    raise TypeError(value)


def _unit(dtype: np.dtype[Any]) -> str:
    unit, count = np.datetime_data(dtype)
    return f"{count}{unit}"


def _float(dtype: np.dtype[Any], value: Any) -> Any:
    if isinstance(value, str):
        if value in NONFINITE:
            return dtype.type(NONFINITE[value])
        if value.startswith("0x") and len(value) == 2 + 2 * dtype.itemsize:
            return np.frombuffer(bytes.fromhex(value[2:]), dtype.newbyteorder(">"))[0]
    elif type(value) in (int, float):
        return dtype.type(value)
    raise TypeError(value)


def fill_json(dtype: np.dtype[Any], value: Any) -> Any:
    """Return the fill value ``value`` of a numeric ``dtype`` as Zarr v3 writes it.

    >>> fill_json(np.dtype("f8"), np.nan), fill_json(np.dtype("u1"), 7)
    ('NaN', 7)
    """
    scalar = np.asarray(value).astype(dtype.newbyteorder("="))[()]
    if dtype.kind == "c":
        part = np.dtype(f"f{dtype.itemsize // 2}")
        return [fill_json(part, scalar.real), fill_json(part, scalar.imag)]
    if dtype.kind == "f" and not np.isfinite(scalar):
        if not np.isnan(scalar):
            return "Infinity" if scalar > 0 else "-Infinity"
        raw = np.array(scalar, dtype.newbyteorder(">")).tobytes()
        quiet = np.array(np.nan, dtype.newbyteorder(">")).tobytes()
        return "NaN" if raw == quiet else "0x" + raw.hex()
    return scalar.item()
