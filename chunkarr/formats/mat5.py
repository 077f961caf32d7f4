"""Variables of MATLAB files of versions 5 to 7: found among the elements of a file, nothing of their values read.

A variable is an element of type `MATRIX`, or a zlib stream of one: flags with its class, dimensions, name, and
then what its class needs: numbers, or for cells and structs elements of type `MATRIX` again. Members of those
are named as a path, ``s/field`` and ``c/0``; elements of cells and of arrays of structs by one index where they
are a vector, by all, as in ``c/0,2``, where they are not.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from chunkarr.errors import FormatError, UnsupportedError
from chunkarr.formats.contract import Member
from chunkarr.formats.flat import MAX_DIMS
from chunkarr.formats.inflating import Inflated
from chunkarr.formats.mat_stored import Block, Layout
from chunkarr.formats.mat_tags import COMPRESSED, MATRIX, UINT32, UTF8, Reader, Tag
from chunkarr.formats.mat_text import text_dtype, text_shape
from chunkarr.grid import Shape

__all__ = ["DEPTH_LIMIT", "LINE_LIMIT", "Variable", "entries", "find", "label", "variables"]

DEPTH_LIMIT = 64  # cells and structs within each other
NAME_LIMIT = 4096  # bytes of a name; MATLAB's have at most 63
FIELDS_LIMIT = 1 << 20  # bytes of the names of a struct's fields
LINE_LIMIT = ((1 << 31) - 1) // 4  # characters of a line that NumPy can hold
TEXT_LIMIT = 64 << 20  # bytes of text in UTF-8 that is not ASCII, which cannot be read in parts
CELL, STRUCT, OBJECT, CHAR, SPARSE, FUNCTION, OPAQUE = 1, 2, 3, 4, 5, 16, 17
CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
NAMES = {CELL: "cell", STRUCT: "struct", OBJECT: "object", FUNCTION: "function handle", OPAQUE: "object"}


@dataclass(frozen=True, eq=False)
class Variable:
    """What describes a variable, or a member of one."""

    reader: Reader
    name: str
    kind: int  # class
    dims: Shape
    is_complex: bool
    is_logical: bool
    at: int  # where what follows the name begins
    stop: int
    tag: int = 0  # where its own element begins
    class_name: str = ""  # of an object

    @property
    def is_container(self) -> bool:
        """Whether it has members that are variables themselves."""
        return self.kind in (CELL, STRUCT, OBJECT)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of its elements, as the user sees them."""
        if self.is_logical:
            return np.dtype(bool)
        code = CLASSES.get(self.kind, "f8")
        if self.is_complex:
            code = "c8" if code == "f4" else "c16"
        return np.dtype(self.reader.words + code)


def variables(reader: Reader, generation: tuple[int, int, int]) -> Iterator[Variable]:
    """Yield the variables of a file, as they come."""
    at = 128
    while at < reader.size:
        tag = reader.tag(at, reader.size)
        if tag.kind == COMPRESSED:
            inner = _inflated(reader, tag, generation)
            variable = read_variable(inner, inner.tag(0, inner.size), 0)
        elif tag.kind == MATRIX:
            variable = read_variable(reader, tag, at)
        else:
            raise reader.bad(at, f"element type {tag.kind} where a variable is expected")
        yield variable
        at = tag.next


def _inflated(reader: Reader, tag: Tag, generation: tuple[int, int, int]) -> Reader:
    """Return a reader of what a compressed element decodes to."""
    head = bytearray(min(tag.nbytes, 512))
    reader.source.read_into(head, tag.start)
    try:
        first = zlib.decompressobj().decompress(bytes(head), 8)
    except zlib.error as error:
        raise reader.bad(tag.start, f"its compressed data are damaged: {error}") from None
    if len(first) < 8:
        raise reader.bad(tag.start, f"its compressed data decode to {len(first)} B, an element needs 8 B")
    kind, nbytes = np.frombuffer(first, reader.words + "u4").tolist()
    if kind != MATRIX:
        raise reader.bad(tag.start, f"its compressed data hold element type {kind}, not a variable")
    # Deflate makes at most 1,032 bytes of one.
    if nbytes > 1032 * tag.nbytes + 1032:
        raise reader.bad(tag.start, f"its {tag.nbytes} compressed bytes claim to decode to {nbytes} B")
    origin = f"{reader.origin} @{tag.start}"
    stream = Inflated(reader.origin, tag.start, tag.nbytes, "zlib", 8 + nbytes, origin=origin, generation=generation)
    return Reader(f"{origin}, decoded", stream, 8 + nbytes, reader.words)


def read_variable(reader: Reader, tag: Tag, at: int) -> Variable:
    """Return what an element of type `MATRIX` describes."""
    if tag.kind != MATRIX:
        raise reader.bad(at, f"element type {tag.kind} where a variable is expected")
    if not tag.nbytes:  # the empty matrix, as an element of a cell
        return Variable(reader, "", 6, (0, 0), False, False, tag.start, tag.start, at)
    flags = reader.tag(tag.start, tag.stop)
    if flags.kind != UINT32 or flags.nbytes != 8:
        raise reader.bad(tag.start, f"element type {flags.kind} of {flags.nbytes} B where flags of 8 B are expected")
    word = int(np.frombuffer(reader.take(flags.start, 4), reader.words + "u4")[0])
    kind, place = word & 0xFF, flags.next
    dims: Shape = ()
    if kind not in (*CLASSES, *NAMES, CHAR, SPARSE):
        raise reader.bad(flags.start, f"variable of class {kind} unknown")
    if kind != OPAQUE:
        extents = reader.tag(place, tag.stop)
        dims, place = _dims(reader, extents), extents.next
    name = reader.tag(place, tag.stop)
    text, place, class_name = reader.text(name, NAME_LIMIT), name.next, ""
    if kind == OBJECT:
        of = reader.tag(place, tag.stop)
        class_name, place = reader.text(of, NAME_LIMIT), of.next
    is_complex, is_logical = bool(word & 0x800), bool(word & 0x200)
    if is_complex and (is_logical or kind == CHAR):
        raise reader.bad(flags.start, f"{'truth values' if is_logical else 'text'} with an imaginary part")
    return Variable(reader, text, kind, dims, is_complex, is_logical, place, tag.stop, at, class_name)


def _dims(reader: Reader, tag: Tag) -> Shape:
    dims = reader.integers(tag, MAX_DIMS)
    if len(dims) < 2 or min(dims) < 0:
        raise reader.bad(tag.start, f"dimensions {dims}, expected are at least two, none negative")
    if prod(n for n in dims if n) >= 1 << 59:
        raise reader.bad(tag.start, f"dimensions {dims} are more than any file can hold")
    return tuple(dims)


# --- members ---


def label(index: int, dims: Shape) -> str:
    """Return the name of an element of a cell or of an array of structs.

    >>> label(2, (1, 5)), label(2, (2, 5))
    ('2', '0,1')
    """
    if sum(n > 1 for n in dims) <= 1:
        return str(index)
    places = []
    for n in dims:
        places.append(str(index % n))
        index //= n
    return ",".join(places)


def _fields(of: Variable) -> tuple[list[str], int]:
    """Return the names of a struct's fields, and where its elements begin."""
    reader = of.reader
    width = reader.tag(of.at, of.stop)
    lengths = reader.integers(width, 1)
    if len(lengths) != 1 or not 0 < lengths[0] <= NAME_LIMIT:
        raise reader.bad(width.start, f"names of fields have {lengths} B, expected is one number up to {NAME_LIMIT}")
    names = reader.tag(width.next, of.stop)
    if names.nbytes > FIELDS_LIMIT or names.nbytes % lengths[0]:
        raise reader.bad(names.start, f"names of fields of {names.nbytes} B, {lengths[0]} B each, are not possible")
    raw, listed, seen = reader.take(names.start, names.nbytes), list[str](), dict[str, int]()
    for start in range(0, len(raw), lengths[0]):
        name = raw[start : start + lengths[0]].split(b"\0")[0].decode("latin-1")
        times = seen[name] = seen.get(name, -1) + 1
        listed.append(f"_{times}_{name}" if times else name)  # as scipy's loadmat calls them
    return listed, names.next


def children(of: Variable) -> Iterator[tuple[str, Variable]]:
    """Yield the members of a cell, struct or object with their names within it, as they come."""
    at, count, names = of.at, prod(of.dims), [""]
    if of.kind != CELL:
        names, at = _fields(of)
    for index in range(count if names else 0):
        for name in names:
            tag = of.reader.tag(at, of.stop)
            element = label(index, of.dims) if of.kind == CELL or count != 1 else ""
            yield "/".join(part for part in (element, name) if part), read_variable(of.reader, tag, at)
            at = tag.next


def entries(variable: Variable, name: str) -> Iterator[Member]:
    """Yield what there is in a variable that has no members, or in all members of it, at any depth."""
    pending: list[Iterator[tuple[str, Variable]]] = [iter([(name, variable)])]
    while pending:
        found = next(pending[-1], None)
        if found is None:
            pending.pop()
            continue
        path, here = found
        if not here.is_container:
            yield from _described(here, path)
            continue
        if len(pending) > DEPTH_LIMIT:
            raise here.reader.bad(here.at, f"variable {name!r} is nested deeper than {DEPTH_LIMIT}")
        pending.append(_within(path, here))


def _within(path: str, of: Variable) -> Iterator[tuple[str, Variable]]:
    return ((f"{path}/{inner}", child) for inner, child in children(of))


def _described(variable: Variable, name: str) -> Iterator[Member]:
    if variable.kind in NAMES:
        yield Member(name, None, None, f"{NAMES[variable.kind]}, not read")
    elif variable.kind == CHAR and variable.dims[-1] > LINE_LIMIT:
        yield Member(name, None, None, f"text of lines of {variable.dims[-1]} characters, not read")
    elif variable.kind == CHAR:
        yield Member(name, text_shape(variable.dims), text_dtype(variable.dims[-1], variable.reader.words), "text")
    elif variable.kind == SPARSE:
        note = f"parts of a sparse matrix of shape {variable.dims}, column by column"
        for part in sparse_parts(variable, name):
            yield Member(part.member, part.shape, part.dtype, note)
    else:
        yield Member(name, variable.dims, variable.dtype, "")


def find(variable: Variable, name: str, parts: list[str], stamp: tuple[str, tuple[int, int, int]]) -> Layout:
    """Return how the member ``parts`` of ``variable`` lies in its file.

    Raises
    ------
    FormatError
        If there is no such member, or if it has members itself.
    UnsupportedError
        If it is no array.
    """
    here, rest, where = variable, list(parts), name
    for _ in range(DEPTH_LIMIT):
        if not (here.is_container and rest):
            break
        here, used = _step(here, rest, where)
        rest, where = rest[used:], "/".join((where, *rest[:used]))
    if here.is_container:
        names = _first_names(here)
        raise FormatError(f"{stamp[0]}: {where!r} is a {NAMES[here.kind]} that has members, choose one: {names}")
    if here.kind in NAMES:
        raise UnsupportedError(f"{stamp[0]}: {where!r} is a {NAMES[here.kind]}, which chunkarr does not read")
    if here.kind == SPARSE:
        found = {part.member: part for part in sparse_parts(here, where)}
        wanted = "/".join((where, *rest))
        if wanted not in found:
            raise FormatError(
                f"{stamp[0]}: {where!r} is a sparse matrix of shape {here.dims}, choose one of its parts: {list(found)}"
            )
        layout = found[wanted]
    elif rest:
        raise FormatError(f"{stamp[0]}: {where!r} is an array, so there is no {'/'.join(rest)!r} in it")
    else:
        layout = text(here, where) if here.kind == CHAR else numbers(here, where)
    return replace(layout, path=stamp[0], generation=stamp[1])


def _first_names(of: Variable) -> list[str]:
    names = []
    for name, _ in children(of):
        names.append(name)
        if len(names) == 20:
            break
    return names


def _step(of: Variable, parts: list[str], where: str) -> tuple[Variable, int]:
    """Return the member of ``of`` that the first of ``parts`` name, and how many of them do."""
    for name, child in children(of):
        pieces = name.split("/")
        if parts[: len(pieces)] == pieces:
            return child, len(pieces)
    raise FormatError(
        f"{of.reader.origin}: there is no {'/'.join(parts)!r} in {where!r}, a {NAMES[of.kind]} of shape {of.dims} "
        f"that has {_first_names(of)}"
    )


# --- where values lie ---


def _layout(variable: Variable, name: str, shape: Shape, dtype: Any, blocks: tuple[Block, ...], **more: Any) -> Layout:
    source = variable.reader.source
    stream = source if isinstance(source, Inflated) else None
    dims = more.pop("dims", variable.dims)
    return Layout("", name, (0, 0, 0), shape, np.dtype(dtype), dims, blocks, stream=stream, **more)


def _block(variable: Variable, at: int, count: int) -> tuple[Block, int]:
    """Return where ``count`` numbers lie, and where the next element begins."""
    reader = variable.reader
    tag = reader.tag(at, variable.stop)
    dtype = reader.dtype(tag)
    if tag.nbytes != count * dtype.itemsize:
        raise reader.bad(
            at, f"{variable.name!r} of dimensions {variable.dims} needs {count * dtype.itemsize} B, has {tag.nbytes} B"
        )
    return Block(tag.start, dtype), tag.next


def numbers(variable: Variable, name: str) -> Layout:
    """Return where the numbers of a variable lie."""
    count, blocks, at = prod(variable.dims), list[Block](), variable.at
    if count:
        for _ in range(2 if variable.is_complex else 1):
            block, at = _block(variable, at, count)
            blocks.append(block)
    return _layout(variable, name, variable.dims, variable.dtype, tuple(blocks))


def text(variable: Variable, name: str) -> Layout:
    """Return where the code units of text lie."""
    reader, count = variable.reader, prod(variable.dims)
    if variable.dims[-1] > LINE_LIMIT:
        raise UnsupportedError(f"{reader.origin}: {name!r} has lines of {variable.dims[-1]} characters")
    shape, dtype = text_shape(variable.dims), text_dtype(variable.dims[-1], variable.reader.words)
    if not count or variable.stop == variable.at:
        return _layout(variable, name, shape, dtype, (), how="blank")
    tag = reader.tag(variable.at, variable.stop)
    if not tag.nbytes:  # some writers leave blanks out
        return _layout(variable, name, shape, dtype, (), how="blank")
    if tag.kind != UTF8:
        return _layout(variable, name, shape, dtype, (_block(variable, variable.at, count)[0],), how="text")
    block = Block(tag.start, np.dtype("u1"))
    if tag.nbytes == count:
        return _layout(variable, name, shape, dtype, (block,), how="ascii")
    if not count < tag.nbytes <= min(4 * count, TEXT_LIMIT):
        raise reader.bad(tag.start, f"text of {count} characters in UTF-8 cannot have {tag.nbytes} B")
    return _layout(variable, name, shape, dtype, (block,), how="utf8", nbytes=tag.nbytes)


def sparse_parts(variable: Variable, name: str) -> list[Layout]:
    """Return where the parts of a sparse matrix lie: values, their rows, and where each column begins."""
    reader = variable.reader
    rows = reader.tag(variable.at, variable.stop)
    starts, after = _block(variable, rows.next, variable.dims[1] + 1)
    kind = reader.dtype(rows)
    if kind.itemsize != 4 or starts.dtype.itemsize != 4 or len(variable.dims) != 2:
        raise reader.bad(variable.at, f"a sparse matrix of dimensions {variable.dims} with indices of type {kind}")
    (count,) = np.frombuffer(reader.take(starts.offset + 4 * variable.dims[1], 4), starts.dtype).tolist()
    if not 0 <= count <= rows.nbytes // 4:
        raise reader.bad(starts.offset, f"a sparse matrix with {count} values has {rows.nbytes // 4} rows of such")
    blocks, at = list[Block](), after
    for _ in range(2 if variable.is_complex else 1):
        tag = reader.tag(at, variable.stop)
        dtype = reader.dtype(tag)
        if variable.is_logical and tag.nbytes == count:  # of bytes, whatever type old MATLABs called them
            dtype = np.dtype("u1")
        if tag.nbytes < count * dtype.itemsize:
            raise reader.bad(at, f"{count} values of type {dtype} need {count * dtype.itemsize} B, has {tag.nbytes} B")
        blocks.append(Block(tag.start, dtype))
        at = tag.next
    words = reader.words
    return [
        _layout(variable, f"{name}/data", (count,), variable.dtype, tuple(blocks), dims=(count,)),
        _layout(variable, f"{name}/ir", (count,), words + "i4", (Block(rows.start, kind),), dims=(count,)),
        _layout(variable, f"{name}/jc", (variable.dims[1] + 1,), words + "i4", (starts,), dims=(variable.dims[1] + 1,)),
    ]
