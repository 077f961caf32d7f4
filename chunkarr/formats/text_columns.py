"""What is read of a text: which columns, as what, in which shape; and where the rows go that cannot be read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from math import prod
from typing import Any

import numpy as np

from chunkarr import fsio
from chunkarr.errors import OptionError, TargetExistsError, UnsupportedError
from chunkarr.formats.flat import check_shape
from chunkarr.formats.text_dialect import Dialect
from chunkarr.formats.text_index import TEXT, Reject
from chunkarr.formats.text_parse import Column
from chunkarr.formats.text_sniff import Guess
from chunkarr.grid import Shape

__all__ = ["columns_of", "dtype_of", "places_of", "shape_of", "words_of", "write_rejects"]

GUESSED = {"": "f8", "int": "i8", "missing": "f8", "float": "f8", "complex": "c16", "bool": "?"}
FIRST = "# rejected rows of "


def words_of(value: Any) -> tuple[str, ...]:
    """Return the words of a list, or of a text with commas."""
    if isinstance(value, str):
        return tuple(word.strip() for word in value.split(","))
    if isinstance(value, Iterable):
        return tuple(str(word) for word in value)
    return (str(value),)


def places_of(path: str, usecols: Any, dialect: Dialect) -> tuple[int, ...]:
    """Return the places of the columns that are read."""
    if usecols is None:
        return tuple(range(dialect.columns))
    use = []
    for word in words_of(usecols):
        if word in dialect.names:
            use.append(dialect.names.index(word))
            continue
        try:
            place = int(word)
        except ValueError:
            raise OptionError(f"{path}: there is no column {word!r}; there are {', '.join(dialect.names)}") from None
        if not -dialect.columns <= place < dialect.columns:
            raise OptionError(f"{path}: there is no column {place}; there are {dialect.columns}")
        use.append(place % dialect.columns)
    return tuple(use)


def columns_of(
    path: str, seen: Guess, use: tuple[int, ...], dtype: Any, layout: str | None
) -> tuple[tuple[Column, ...], np.dtype[Any] | None, bool]:
    """Return the columns, the dtype that the user asked for, and whether the result is structured."""
    if dtype is None:
        guessed = [_guessed(seen.kinds[k], seen.fields[k]) for k in use]
        kinds = {d.kind for d in guessed}
        alike = kinds <= set("iufc") or len(kinds) <= 1
        if layout == "matrix" and not alike:
            raise OptionError(f"{path}: has columns of {', '.join(map(str, guessed))}, which are no matrix; see dtype=")
        records = layout == "records" or not alike
        if not records and len(kinds) > 1:
            guessed = [np.result_type(*guessed)] * len(use)
        return tuple(Column(k, d) for k, d in zip(use, guessed, strict=True)), None, records
    kind = np.dtype(dtype)
    if kind.names is None:
        if kind.kind not in "biufcMSU" or (kind.kind in "SU" and not kind.itemsize):
            kind = TEXT if kind.kind == "U" else kind
            if kind is not TEXT:
                raise UnsupportedError(f"{path}: text cannot be read as dtype {kind}")
        return tuple(Column(k, kind) for k in use), kind, layout == "records"
    fields = [kind[name] for name in kind.names]
    if len(fields) != len(use):
        raise OptionError(f"{path}: dtype has {len(fields)} fields for {len(use)} columns")
    if any(f.kind not in "biufcMSU" or f.subdtype for f in fields):
        raise UnsupportedError(f"{path}: text cannot be read as dtype {kind}")
    return tuple(Column(k, f) for k, f in zip(use, fields, strict=True)), kind, True


def _guessed(kind: str, texts: tuple[str, ...]) -> np.dtype[Any]:
    if kind == "text":
        return TEXT
    if kind != "time":
        return np.dtype(GUESSED[kind])
    if not any(":" in text for text in texts):
        return np.dtype("M8[D]")
    digits = max(len(text.partition(".")[2].rstrip("Z")) for text in texts)
    return np.dtype("M8[s]" if not digits else "M8[us]" if digits <= 6 else "M8[ns]")


def dtype_of(
    columns: tuple[Column, ...], kind: np.dtype[Any] | None, records: bool, seen: Guess, use: tuple[int, ...]
) -> np.dtype[Any]:
    """Return the dtype of the array that ``columns`` make."""
    if not records:
        kinds = {c.dtype for c in columns}
        return kinds.pop() if len(kinds) == 1 else np.result_type(*kinds)
    if kind is not None and kind.names is not None:
        return kind
    names = seen.dialect.names or tuple(f"f{k}" for k in range(seen.dialect.columns))
    return np.dtype([(names[k], c.dtype) for k, c in zip(use, columns, strict=True)])


def shape_of(
    path: str, rows: int, columns: tuple[Column, ...], dtype: np.dtype[Any], records: bool, shape: Sequence[int] | None
) -> Shape:
    """Return the shape of the array: one axis for one column, two for several."""
    width = 1 if records else len(columns)
    if shape is None:
        return (rows,) if records or width == 1 else (rows, width)
    asked = tuple(int(n) for n in shape)
    if asked and asked[0] == -1:
        asked = (rows, *asked[1:])
    check_shape(path, asked, dtype, OptionError)
    if prod(asked) == 0 and not rows:
        return asked
    if prod(asked) != rows * width or (asked and asked[0] != rows):
        raise OptionError(f"{path}: has {rows} rows of {width}, which is not shape {asked}")
    return asked


def write_rejects(target: str, path: str, rejects: tuple[Reject, ...]) -> None:
    """Write the rows that were set aside, each below a comment that says where it was and why."""
    if os.path.exists(target):
        fd = fsio.open_read(target)
        try:
            head = bytearray(min(len(FIRST), os.fstat(fd).st_size))
            fsio.read_into(fd, head, 0, target)
        finally:
            os.close(fd)
        if head != FIRST.encode():
            raise TargetExistsError(f"{target}: exists already and holds no rejected rows; use another name")
        fsio.discard(target)
    if not rejects:
        return
    lines = [f"{FIRST}{path}\n".encode()]
    for bad in rejects:
        reason = bad.reason.replace("\n", " ").replace("\r", " ")
        place = f"{bad.line}:{bad.column}" if bad.column else f"{bad.line}"
        lines.append(f"# {path}:{place}: {reason}\n".encode() + bad.content + b"\n")
    part, lock = fsio.new_part(target)
    try:
        fsio.discard(part)
        fsio.write_new(part, b"".join(lines))
        fsio.publish(part, target, overwrite=False, durability="process")
    finally:
        os.close(lock)
