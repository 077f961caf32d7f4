"""What a record is, said as text: a NumPy code, a list of fields, or a C structure.

>>> record_type("<f8"), record_type("[('a', '>f8'), ('b', 'S5')]").itemsize
(dtype('float64'), 13)
>>> record_type("struct { uint8_t flag; double energy; char name[4]; };").itemsize
24
>>> record_type("packed struct { uint8_t flag; double energy; char name[4]; };").itemsize
13

Text comes from command lines and files, so it is parsed, never evaluated.
"""

from __future__ import annotations

import ast
import re
from math import prod
from typing import Any

import numpy as np

from chunkarr.errors import OptionError

__all__ = ["record_type"]

LIMIT = 64 << 10  # characters of a description
DEPTH = 64  # brackets within brackets

_NAMED = {
    "char": "S1", "signed char": "i1", "unsigned char": "u1", "bool": "?", "_Bool": "?",
    "short": "i2", "short int": "i2", "unsigned short": "u2", "unsigned short int": "u2",
    "int": "i4", "signed int": "i4", "signed": "i4", "unsigned int": "u4", "unsigned": "u4",
    "long long": "i8", "long long int": "i8", "unsigned long long": "u8", "unsigned long long int": "u8",
    "float": "f4", "double": "f8", "float complex": "c8", "double complex": "c16",
    **{f"{u}int{bits}{t}": f"{u or 'i'}{bits // 8}" for u in ("", "u") for bits in (8, 16, 32, 64) for t in ("", "_t")},
}  # fmt: skip
_TOKEN = re.compile(r"\s+|/\*.*?\*/|//[^\n]*|(?P<word>[A-Za-z_]\w*)|(?P<number>\d+)|(?P<mark>[{}\[\];,])", re.DOTALL)
_PACKED = re.compile(r"__attribute__\s*\(\(\s*packed\s*\)\)|#pragma\s+pack\s*\(\s*1\s*\)|\bpacked\b")


def record_type(text: str) -> np.dtype[Any]:
    """Return the dtype that ``text`` describes.

    Parameters
    ----------
    text
        What `numpy.dtype` takes as a string; a list of fields as Python or JSON writes it,
        ``[["a", "<f8"], ["b", "u1", 3]]``; or a C structure, aligned as compilers do unless it is marked
        ``packed`` (also by ``__attribute__((packed))`` or ``#pragma pack(1)``). ``char name[n]`` is text.

    Raises
    ------
    OptionError
        If it is none of these.
    """
    shown = f"dtype {text[:200]!r}"
    if len(text) > LIMIT:
        raise OptionError(f"{shown}... has {len(text)} characters, at most {LIMIT} are read")
    _check_depth(text, shown)
    bare = text.strip()
    try:
        if bare.startswith(("[", "{")):
            fields: np.dtype[Any] = np.dtype(_fields(ast.literal_eval(bare)))
            return fields
        if re.search(r"\bstruct\b|[{};]", bare):
            return _Structure(bare, shown).read()
        return np.dtype(bare)
    except OptionError:
        raise
    except (TypeError, ValueError, SyntaxError, OverflowError, RecursionError, MemoryError) as error:
        raise OptionError(f"{shown} is not one that NumPy knows: {error}") from None


def _check_depth(text: str, shown: str) -> None:
    depth = 0
    for mark in re.findall(r"[\[({\])}]", text):
        depth += 1 if mark in "[({" else -1
        if depth > DEPTH:
            raise OptionError(f"{shown} is nested deeper than {DEPTH}")


def _fields(given: Any) -> Any:
    """Return a literal as `numpy.dtype` takes it: fields are tuples, shapes too."""
    if isinstance(given, dict):
        return {key: [_fields(one) for one in value] if key == "formats" else value for key, value in given.items()}
    if not isinstance(given, list):
        return given
    fields = []
    for field in given:
        if not isinstance(field, list | tuple) or len(field) not in (2, 3):
            raise OptionError(f"a field is [name, dtype] or [name, dtype, shape], not {field!r:.100}")
        shape = tuple(tuple(one) if isinstance(one, list) else one for one in field[2:])
        fields.append((field[0], _fields(field[1]), *shape))
    return fields


class _Structure:
    """A C structure, read token by token."""

    def __init__(self, text: str, shown: str) -> None:
        self.aligned = _PACKED.search(text) is None
        self.shown = shown
        self.tokens = self._cut(_PACKED.sub(" ", text))
        self.at = 0

    def _cut(self, text: str) -> list[str]:
        tokens, position = [], 0
        while position < len(text):
            token = _TOKEN.match(text, position)
            if token is None:
                raise OptionError(
                    f"{self.shown}: {text[position : position + 20]!r} is not read; there are numbers, char, arrays "
                    "and structures, no pointers and no bit fields (see layout= for packed integers)"
                )
            if token.lastgroup:
                tokens.append(token[0])
            position = token.end()
        return tokens

    def _take(self, expected: str = "") -> str:
        found = self.tokens[self.at] if self.at < len(self.tokens) else "its end"
        if expected and found != expected:
            raise OptionError(f"{self.shown}: {expected!r} is expected, not {found!r}")
        self.at += 1
        return found

    def _next(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def read(self) -> np.dtype[Any]:
        """Return the dtype of the whole text: ``[typedef] struct [name] { ... } [name] [;]``, or fields alone."""
        if self._next() == "typedef":
            self._take()
        if self._next() != "struct":
            record = self._body("")
        else:
            self._take()
            record = self._braces()
            while self._next().isidentifier():
                self._take()
            if self._next() == ";":
                self._take()
        if self._next():
            raise OptionError(f"{self.shown}: {self._next()!r} comes after the structure")
        return record

    def _braces(self) -> np.dtype[Any]:
        if self._next().isidentifier():
            self._take()
        self._take("{")
        record = self._body("}")
        self._take("}")
        return record

    def _body(self, end: str) -> np.dtype[Any]:
        fields: list[Any] = []
        while self._next() != end:
            if not self._next():
                self._take(end)
            if self._next() == "struct":
                self._take()
                kind: Any = self._braces()
                words = ["struct"]
            else:
                words = []
                while self._next().isidentifier():
                    words.append(self._take())
                self.at -= 1  # the last word is the first name
                kind = self._kind(" ".join(words[:-1]))
            fields.append(self._declared(kind))
            while self._next() == ",":
                self._take()
                fields.append(self._declared(kind))
            self._take(";")
        if not fields:
            raise OptionError(f"{self.shown}: a structure has at least one field")
        return np.dtype(fields, align=self.aligned)

    def _kind(self, name: str) -> str:
        if name not in _NAMED:
            hint = "; it has 4 or 8 bytes: write int32_t or int64_t" if "long" in name else ""
            raise OptionError(f"{self.shown}: type {name!r} is not known{hint}; there are {', '.join(sorted(_NAMED))}")
        return _NAMED[name]

    def _declared(self, kind: Any) -> tuple[Any, ...]:
        """Return a field: a name, and the sizes behind it."""
        name, sizes = self._take(), []
        if not name.isidentifier():
            raise OptionError(f"{self.shown}: a name is expected, not {name!r}")
        while self._next() == "[":
            self._take()
            size = self._take()
            if not size.isdigit():
                raise OptionError(f"{self.shown}: the size of {name} is a number, not {size!r}")
            sizes.append(int(size))
            self._take("]")
        if prod(sizes) >= 1 << 31:
            raise OptionError(f"{self.shown}: {name} has {prod(sizes)} elements")
        if isinstance(kind, str) and kind == "S1" and sizes:
            kind = f"S{sizes.pop()}"
        return (name, kind, tuple(sizes)) if sizes else (name, kind)
