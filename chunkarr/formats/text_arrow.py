"""Floats out of text and as text by pyarrow, where it is installed: the same doubles and bytes in less time.

What it refuses is read without it, and so are pieces where a result is not finite, because it takes other words
for nan than chunkarr does. So what is read does not depend on it.

It writes the shortest digits too, but not always in the same way: 1 is not 1.0, and exponents begin elsewhere.
Numbers that it spells differently are left to ``repr``, as `text_digits` leaves some. So what is written does not
depend on it either.
"""

from __future__ import annotations

from functools import cache, lru_cache
from importlib import import_module
from typing import Any

import numpy as np

__all__ = ["floats_by_arrow", "has_arrow", "lines_by_arrow", "writes_alike"]

Array = np.ndarray[Any, Any]

SMALLEST, LARGEST = 1e-4, 1e10  # numbers that are spelled alike unless they are whole
RARE = 64  # of which one in so many may be left to repr


@cache
def _arrow() -> Any:
    """Return pyarrow with its reader of csv, or None."""
    try:
        import_module("pyarrow.csv")
        return import_module("pyarrow")
    except ImportError:
        return None


def has_arrow() -> bool:
    """Say whether pyarrow is installed; imports it."""
    return _arrow() is not None


@lru_cache(16)
def _options(delimiter: str, columns: int, use: tuple[int, ...]) -> tuple[Any, Any, list[str]]:
    """Return how to parse and convert, and the names of the columns."""
    arrow, names = _arrow(), [str(k) for k in range(columns)]
    wanted = [names[k] for k in use]
    types = dict.fromkeys(wanted, arrow.float64())
    return (
        arrow.csv.ParseOptions(delimiter=delimiter, quote_char=False, ignore_empty_lines=False),
        arrow.csv.ConvertOptions(column_types=types, include_columns=wanted, null_values=[], check_utf8=False),
        names,
    )


def floats_by_arrow(body: Array, delimiter: str, columns: int, use: tuple[int, ...]) -> list[Array] | None:
    """Return some columns of lines as doubles, or None if it is not sure of them.

    ``body`` are the bytes of the lines.
    """
    arrow = _arrow()
    if arrow is None or not body.size:
        return None
    parse, convert, names = _options(delimiter, columns, use)
    read = arrow.csv.ReadOptions(use_threads=False, block_size=body.size + 1, column_names=names)
    try:
        table = arrow.csv.read_csv(
            arrow.py_buffer(body), read_options=read, parse_options=parse, convert_options=convert
        )
    except arrow.ArrowInvalid:
        return None
    found = [column.to_numpy() for column in table.columns]
    return found if all(np.isfinite(values).all() for values in found) else None


@cache
def writes_alike() -> bool:
    """Say whether pyarrow is there and spells numbers between `SMALLEST` and `LARGEST` as ``repr`` does."""
    probes = [SMALLEST, 1.5e-4, -0.1, 2 / 3, 12345.678, 123456789.25, float(np.nextafter(LARGEST, 0))]
    return has_arrow() and _arrow().array(probes).cast(_arrow().string()).to_pylist() == list(map(repr, probes))


def lines_by_arrow(table: Array, delimiter: str) -> Any:
    r"""Return a buffer of what `text_digits.floats_as_text` gives with ``"\n"``, or None where that is as quick.

    ``table`` has shape (rows, columns); `writes_alike` is true.
    """
    sizes = np.abs(table)
    with np.errstate(invalid="ignore"):  # of NaN that signals
        whole = table == np.rint(table)
    other = (sizes < SMALLEST) | ~(sizes < LARGEST) | whole
    if np.count_nonzero(other) > table.size // RARE:
        return None
    arrow = _arrow()
    text = [_spelled(column, mask) for column, mask in zip(table.T, other.T, strict=True)]
    batch = arrow.record_batch(text, names=[str(k) for k in range(len(text))])
    stream = arrow.BufferOutputStream()
    options = arrow.csv.WriteOptions(include_header=False, delimiter=delimiter, quoting_style="none")
    arrow.csv.write_csv(batch, stream, options)
    return stream.getvalue()


def _spelled(column: Array, other: Array) -> Any:
    """Return a column as texts, those at ``other`` as ``repr`` has them."""
    arrow = _arrow()
    text = arrow.array(np.ascontiguousarray(column)).cast(arrow.string())
    places = np.flatnonzero(other).tolist()
    if not places:
        return text
    words = arrow.array(list(map(repr, column[other].tolist())))
    parts, start = list[Any](), 0
    for k, place in enumerate(places):  # replace_with_mask takes longer where few are replaced
        parts += (text.slice(start, place - start), words.slice(k, 1))
        start = place + 1
    return arrow.concat_arrays([*parts, text.slice(start)])
