r"""NumPy's npy files, versions 1 to 3, read by a parser that believes nothing.

A file is ``\x93NUMPY``, two bytes of version, the header's length (2 bytes, little endian; 4 from
version 2 on), the header (a Python literal; UTF-8 in version 3, else Latin-1) and the block of bytes.
Source: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import ast
import os
import re
import struct
from math import prod
from typing import Any

import numpy as np

from chunkarr import fsio
from chunkarr.errors import FormatError, OptionError, UnsafeInputError, UnsupportedError
from chunkarr.formats import journal
from chunkarr.formats.file_stored import Access, check_access
from chunkarr.formats.flat import FlatTarget, Order, check_order, check_shape
from chunkarr.formats.flat_stored import FlatStored
from chunkarr.formats.runs import Descriptor, Source
from chunkarr.grid import Shape

__all__ = ["MAGIC", "create", "header_bytes", "open", "read_header"]

MAGIC = b"\x93NUMPY"
HEADER_LIMIT = 64 << 10  # bytes
DEPTH_LIMIT = 64  # brackets within brackets
GROWTH_DIGITS = 21  # room for the longest first axis, so that a file can grow without moving; as np.save
ALIGN = 64  # bytes; as np.save

# What a header may consist of. ast.literal_eval would take more, and deep enough nesting of it (signs,
# attributes, calls) overflows the parser's stack. Octal and named escapes are never written by repr.
_TOKEN = re.compile(
    r"""[ \t\n\r\f]+ | (?P<open>[\[({]) | (?P<close>[\])}]) | [,:] | True\b | False\b | None\b
      | u?'(?:[^'\\\n]|\\[\\'"abfnrtvxuU])*' | u?"(?:[^"\\\n]|\\[\\'"abfnrtvxuU])*"
      | [-+]? \d [\d.eE]* (?P<long>L)? """,
    re.VERBOSE,
)
_SCALAR = re.compile(r"[<>=|]?[A-Za-z?]\d{0,10}(?:\[\w+(?:/\w+)?\])?", re.ASCII)


def open(  # noqa: A001 - every format has an `open`
    path: str, mode: str = "r", *, durability: str | None = None, timeout: float = 0.0
) -> FlatStored:
    """Open an npy file.

    Parameters
    ----------
    path, mode
        The file; ``mode`` is "r", or "r+" to change it.
    durability
        "full": changes survive power loss; "process": the death of this process; None: as the setting says.
    timeout
        Seconds that a change waits for another writer.

    Raises
    ------
    FormatError
        If the file is not an npy file, or is shorter or longer than its header says.
    UnsafeInputError
        If it holds Python objects.

    Examples
    --------
    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = os.path.join(directory, "a.npy")
    ...     np.save(path, np.zeros((3, 2), ">i4", order="F"))
    ...     a = open(path)
    ...     a.shape, a.dtype, a.order
    ((3, 2), dtype('>i4'), 'F')
    """
    access = check_access(path, mode, durability, timeout)
    if access.mode == "r+":
        journal.tidy(journal.resolve(path))
    return _open(path, access)


def _open(path: str, access: Access) -> _NpyStored:
    def look(generation: tuple[int, int, int]) -> _NpyStored:
        source = Descriptor(path, writable=False)
        shape, dtype, order, offset = read_header(source, 0, generation[0], path)
        return _NpyStored(
            path, shape, dtype, format="npy", offset=offset, order=order, generation=generation, access=access
        )

    return journal.read_stable(journal.resolve(path), look)


def read_header(source: Source, start: int, size: int, path: str) -> tuple[Shape, np.dtype[Any], Order, int]:
    """Return shape, dtype, order and place of the values in the ``size`` bytes of ``source`` from ``start`` on.

    Raises
    ------
    FormatError
        If they are not those of an npy file, or fewer or more than the header says; errors name ``path``.
    UnsafeInputError
        If they hold Python objects.
    """
    text, offset = _header_text(source, start, size, path)
    shape, dtype, order = _parse(path, text)
    need, have = prod(shape) * dtype.itemsize, size - offset
    if need != have:
        raise FormatError(f"{path}: header asks {need} B for shape {shape} of dtype {dtype}, file has {have} B of data")
    return shape, dtype, order, start + offset


class _NpyStored(FlatStored):
    """The array of an npy file."""

    def reopen(self) -> _NpyStored:
        """Open the array again, as it is now."""
        return _open(self.path, self.access)

    def head(self, shape: Shape) -> bytes:
        """Return the header for ``shape``, of the length that it has, if it can."""
        return _fitted(header_bytes(shape, self.dtype, self.order), self.offset)


def _fitted(header: bytes, length: int) -> bytes:
    """Return ``header`` padded to ``length`` bytes in all, or as it is where that cannot be."""
    before = 10 if header[6] == 1 else 12
    if not len(header) <= length < before + min(HEADER_LIMIT, 1 << (16 if before == 10 else 32)):
        return header
    count = struct.pack("<H" if before == 10 else "<I", length - before)
    return header[:8] + count + header[before:-1].ljust(length - before - 1) + b"\n"


def _header_text(source: Source, begin: int, size: int, path: str) -> tuple[str, int]:
    """Return the header's text and the bytes before the data."""
    start = bytearray(min(12, size))
    source.read_into(start, begin)
    if start[:6] != MAGIC or len(start) < 10:
        raise FormatError(f"{path}: not an npy file: begins with {bytes(start[:6])!r}, not {MAGIC!r}")
    version = start[6], start[7]
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise FormatError(f"{path}: npy version {version[0]}.{version[1]}, known are 1.0, 2.0 and 3.0")
    kind, first = ("<H", 10) if version == (1, 0) else ("<I", 12)
    if len(start) < first:
        raise FormatError(f"{path}: ends at byte {size}, within the length of its header")
    (length,) = struct.unpack_from(kind, start, 8)
    if length > HEADER_LIMIT:
        raise FormatError(f"{path}: header of {length} B, at most {HEADER_LIMIT} B are read")
    if first + length > size:
        raise FormatError(f"{path}: header of {length} B, file has {size - first} B after its length")
    raw = bytearray(length)
    source.read_into(raw, begin + first)
    try:
        return raw.decode("utf-8" if version == (3, 0) else "latin-1"), first + length
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: header is not UTF-8 at byte {first + error.start}") from None


def _parse(path: str, text: str) -> tuple[Shape, np.dtype[Any], Order]:
    """Return shape, dtype and order that a header states."""
    header = _literal(path, text)
    if not isinstance(header, dict):
        raise FormatError(f"{path}: header is a {type(header).__name__}, not a dict")
    if set(header) != {"descr", "fortran_order", "shape"}:
        raise FormatError(
            f"{path}: header has keys {sorted(map(repr, header))}, not 'descr', 'fortran_order' and 'shape'"
        )
    fortran = header["fortran_order"]
    if not isinstance(fortran, bool):
        raise FormatError(f'{path}: "fortran_order" is {fortran!r}, not True or False')
    dtype = _dtype(path, header["descr"])
    if not isinstance(header["shape"], tuple):
        raise FormatError(f'{path}: "shape" is {header["shape"]!r}, not a tuple')
    return check_shape(path, header["shape"], dtype, FormatError), dtype, "F" if fortran else "C"


def _literal(path: str, text: str) -> Any:
    """Evaluate a header that consists of brackets, strings and numbers only."""
    position, depth, kept = 0, 0, []
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None:
            raise FormatError(f"{path}: header is not a literal at {text[position : position + 20]!r}")
        depth += bool(token["open"]) - bool(token["close"])
        if depth > DEPTH_LIMIT:
            raise FormatError(f"{path}: header nested deeper than {DEPTH_LIMIT}")
        kept.append(token[0][:-1] if token["long"] else token[0])  # 3L: written by Python 2
        position = token.end()
    try:
        return ast.literal_eval("".join(kept).strip())
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise FormatError(f"{path}: header is not a literal: {error}") from None


def _dtype(path: str, descr: Any) -> np.dtype[Any]:
    """Return the dtype that "descr" states."""
    if not _is_descr(descr):
        raise FormatError(f'{path}: "descr" is {descr!r:.200}, not a dtype')
    try:
        dtype: np.dtype[Any] = np.lib.format.descr_to_dtype(descr)
    except (TypeError, ValueError, OverflowError, SyntaxError, RecursionError) as error:
        raise FormatError(f'{path}: "descr" is {descr!r:.200}, not a dtype: {error}') from None
    if dtype.hasobject:
        raise UnsafeInputError(f"{path}: holds Python objects (dtype {dtype}); chunkarr never unpickles")
    if dtype.subdtype is not None:
        raise FormatError(f'{path}: "descr" is {descr!r:.200}: a dtype with a shape is not one of an array')
    return dtype


def _is_descr(descr: Any) -> bool:
    """Say whether ``descr`` is built as np.save builds it: a code, a pair with a shape, a list of fields."""
    if isinstance(descr, str):
        return _SCALAR.fullmatch(descr) is not None
    if isinstance(descr, tuple):
        return len(descr) == 2 and _is_descr(descr[0]) and _is_shape(descr[1])
    return isinstance(descr, list) and all(
        isinstance(field, tuple)
        and len(field) in (2, 3)
        and _is_name(field[0])
        and _is_descr(field[1])
        and _is_shape(field[2] if len(field) == 3 else ())
        for field in descr
    )


def _is_name(name: Any) -> bool:
    return isinstance(name, str) or (
        isinstance(name, tuple) and len(name) == 2 and all(isinstance(part, str) for part in name)
    )


def _is_shape(shape: Any) -> bool:
    sizes = shape if isinstance(shape, tuple) else (shape,)
    return all(type(n) is int and 0 <= n < 1 << 31 for n in sizes)


def header_bytes(shape: Shape, dtype: np.dtype[Any], order: Order = "C") -> bytes:
    """Return what `numpy.save` writes before the data of such an array, byte for byte.

    Raises
    ------
    UnsupportedError
        If an npy header cannot say what ``dtype`` is.

    Examples
    --------
    >>> header_bytes((3,), np.dtype("<i4"))[10:60]
    b"{'descr': '<i4', 'fortran_order': False, 'shape': "
    """
    try:
        descr = np.lib.format.dtype_to_descr(dtype)
        kept = np.lib.format.descr_to_dtype(descr) == dtype
    except (TypeError, ValueError) as error:
        raise UnsupportedError(f"an npy header cannot describe dtype {dtype}: {error}") from None
    if not kept:
        raise UnsupportedError(f"an npy header cannot describe dtype {dtype}: it would come back as {descr!r}")
    items = {"descr": descr, "fortran_order": order == "F", "shape": shape}
    text = "{" + "".join(f"{key!r}: {value!r}, " for key, value in items.items()) + "}"
    if shape:
        text += " " * (GROWTH_DIGITS - len(repr(shape[-1 if order == "F" else 0])))
    try:
        raw, version, kind = text.encode("latin-1"), 1, "<H"
    except UnicodeEncodeError:
        raw, version, kind = text.encode("utf-8"), 3, "<I"
    before = 8 + struct.calcsize(kind)
    length = len(raw) + 1 + ALIGN - (before + len(raw) + 1) % ALIGN  # a whole line more where none is needed
    if length >= HEADER_LIMIT:
        raise UnsupportedError(
            f"dtype of {len(dtype.names or ())} fields needs a header of {length} B, "
            f"an npy file that chunkarr reads has less than {HEADER_LIMIT} B"
        )
    return MAGIC + bytes((version, 0)) + struct.pack(kind, length) + raw.ljust(length - 1) + b"\n"


def create(
    path: str,
    shape: Shape,
    dtype: Any,
    *,
    order: str = "C",
    overwrite: bool = False,
    durability: fsio.Durability = "full",
    adopt: tuple[str, int] | None = None,
) -> FlatTarget:
    """Create an npy file that appears on ``commit``.

    Parameters
    ----------
    path, shape, dtype
        The file and what it will hold.
    order
        "C" or "F": whether the last or the first axis varies fastest.
    overwrite
        Whether a file of that name may be replaced.
    durability
        "full": on the disk when ``commit`` returns; "process": safe against kill, not power loss.
    adopt
        An unfinished sibling of the same file and its lock, to go on with instead of a new one.

    Raises
    ------
    TargetExistsError
        If the file exists and ``overwrite`` is False.
    UnsupportedError
        If an npy file cannot hold the dtype.
    OSError
        If there is no space for it.
    """
    path = os.fspath(path)
    kind = np.dtype(dtype)
    if kind.hasobject:
        raise UnsafeInputError(f"{path}: dtype {kind} holds Python objects; chunkarr never pickles")
    whole, order = check_shape(path, shape, kind, OptionError), check_order(order)
    header = header_bytes(whole, kind, order)
    return FlatTarget(
        path, whole, kind, header=header, order=order, overwrite=overwrite, durability=durability, adopt=adopt
    )
