"""Floats out of text by pyarrow, where it is installed: it reads the same numbers, in half the time.

It gets nothing but digits, signs, points, exponents, delimiters and ends of lines, and what it refuses of that
is read here; so the result does not depend on it.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

__all__ = ["HARMLESS", "LEAST", "floats_by_arrow", "has_arrow"]

HARMLESS = b"0123456789+-.eE\r\n"  # bytes that mean the same to pyarrow, besides the delimiter
LEAST = 512 << 10  # bytes from which it is worth its calls


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


def floats_by_arrow(piece: bytes, delimiter: str, columns: int, use: list[int]) -> np.ndarray[Any, Any] | None:
    """Return some columns of the lines of ``piece`` as doubles, shape (lines, len(use)), or None if it is not sure."""
    arrow = _arrow()
    if arrow is None or piece.translate(None, HARMLESS + delimiter.encode()):
        return None
    names = [str(k) for k in range(columns)]
    wanted = [names[k] for k in use]
    try:
        table = arrow.csv.read_csv(
            arrow.py_buffer(piece),
            read_options=arrow.csv.ReadOptions(use_threads=False, block_size=len(piece) + 1, column_names=names),
            parse_options=arrow.csv.ParseOptions(delimiter=delimiter, quote_char=False, ignore_empty_lines=False),
            convert_options=arrow.csv.ConvertOptions(
                column_types=dict.fromkeys(wanted, arrow.float64()),
                include_columns=wanted,
                null_values=[],
                check_utf8=False,
            ),
        )
    except arrow.ArrowInvalid:
        return None
    result = np.empty((table.num_rows, len(use)))
    for k, column in enumerate(table.columns):
        if column.null_count:
            return None
        result[:, k] = column.to_numpy()
    return result
