"""The fingerprint of a job: of the expression and its sources, the same in every process that builds them alike.

A pickle will not do: it differs with what else was pickled, and with the order of sets. Here values are
told by kind and content, functions by their name and, where they are Python, their code; what cannot be
told apart (a generator of random numbers, an open file) makes the job one that cannot be resumed.
"""

from __future__ import annotations

import functools
import hashlib
import sys
import types
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.errors import UnsupportedError
from chunkarr.formats.fingerprint import describe_stored, digest_of
from chunkarr.graph import Load, topological
from chunkarr.grid import Grid
from chunkarr.ops.reduction_contract import NO_INITIAL

if TYPE_CHECKING:
    from chunkarr.formats.contract import Stored
    from chunkarr.graph import Node

__all__ = ["describe_sources", "differences", "digest_recipe"]

PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...), type(NotImplemented), slice, range, np.dtype)


def digest_recipe(node: Node) -> str:
    """Return a digest of what ``node`` computes from its sources.

    Raises
    ------
    UnsupportedError
        If part of it is nothing that a later run can recognise.
    """
    order = topological([node], lambda _: False)
    places = {id(n): k for k, n in enumerate(order)}
    sources = {id(stored): k for k, stored in enumerate(_sources(node))}
    told = _Telling()
    for n in order:
        told.tell((type(n.op), n.op.shape, n.op.dtype, n.grid, [places[id(i)] for i in n.inputs]))
        told.tell(sources[id(n.op.stored)] if isinstance(n.op, Load) else _attributes(n.op))
    return told.digest.hexdigest()


def describe_sources(node: Node) -> list[dict[str, Any]]:
    """Return what tells each stored array below ``node`` from others, in the order in which they are met."""
    return [describe_stored(stored) for stored in _sources(node)]


def _sources(node: Node) -> list[Stored]:
    found = [n.op.stored for n in topological([node], lambda _: False) if isinstance(n.op, Load)]
    return list({id(stored): stored for stored in found}.values())


def differences(was: Any, now: Any, name: str = "") -> list[str]:
    """Return in words where two descriptions differ.

    >>> differences({"size": 3, "path": "a"}, {"size": 4, "path": "a"}, "source")
    ['source: size was 3, is 4']
    """
    if isinstance(was, dict) and isinstance(now, dict):
        where = f"{name}: " if name else ""
        return [
            text
            for key in dict.fromkeys((*was, *now))
            for text in differences(was.get(key), now.get(key), f"{where}{key}")
        ]
    return [] if was == now else [f"{name} was {was}, is {now}"]


def _attributes(value: Any) -> dict[str, Any]:
    """Return the attributes of an object, those in slots too."""
    names = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    found = {name: getattr(value, name) for name in names if not name.startswith("__") and hasattr(value, name)}
    return found | getattr(value, "__dict__", {})


class _Telling:
    """A digest of Python values."""

    def __init__(self) -> None:
        self.digest = hashlib.blake2b(digest_size=16)
        self._tokens: dict[int, tuple[int, object]] = {}  # those that stand for themselves, kept: ids are reused
        self._within: list[int] = []  # ids of the objects that are being told

    def tell(self, value: Any) -> None:
        """Add a value."""
        kind = type(value)
        if isinstance(value, PLAIN):
            self._add(kind.__name__, repr(value))
        elif isinstance(value, np.generic):
            self._add("scalar", repr(value.dtype), value.tobytes().hex())
        elif isinstance(value, np.ndarray):
            self._add("array", digest_of(value))
        elif isinstance(value, list | tuple):
            self._add(kind.__qualname__, str(len(value)))
            for item in value:
                self.tell(item)
        elif isinstance(value, dict):
            self._add("dict", str(len(value)))
            for key in sorted(value, key=repr):
                self.tell(key)
                self.tell(value[key])
        elif isinstance(value, set | frozenset):
            self.tell(("set", *sorted(value, key=repr)))
        elif isinstance(value, Grid):
            self.tell((value.shape, value.steps, value.firsts))
        elif kind is object:
            self._add("token", str(self._tokens.setdefault(id(value), (len(self._tokens), value))[0]))
        elif id(value) in self._within:
            self._add("again", str(self._within.index(id(value))))
        else:
            self._within.append(id(value))
            self._tell_object(value)
            self._within.pop()

    def _add(self, *words: str) -> None:
        for word in words:
            raw = word.encode()
            self.digest.update(b"%d:" % len(raw) + raw)

    def _tell_object(self, value: Any) -> None:
        if isinstance(value, types.FunctionType):
            cells = [_content(cell) for cell in value.__closure__ or ()]
            self._add("function", value.__module__, value.__qualname__)
            self.tell((value.__code__, value.__defaults__, value.__kwdefaults__, cells))
        elif isinstance(value, types.CodeType):
            self.tell((value.co_code, value.co_consts, value.co_names, value.co_varnames, value.co_freevars))
        elif isinstance(value, types.MethodType):
            self.tell(("method", value.__func__, value.__self__))
        elif isinstance(value, functools.partial):
            self.tell(("partial", value.func, value.args, value.keywords))
        elif isinstance(value, types.ModuleType):
            self._add("module", value.__name__)
        elif isinstance(value, np.ufunc):
            self._tell_ufunc(value)
        elif _is_named(value):
            self._add("named", value.__module__, value.__qualname__)
        else:
            self._tell_attributes(value)

    def _tell_ufunc(self, ufunc: np.ufunc) -> None:
        """Add a ufunc by name and loops; one made of a Python function does not tell which."""
        if ufunc.__name__.endswith("(vectorized)"):
            raise _unknown(ufunc)
        self._add("ufunc", ufunc.__name__, *ufunc.types)

    def _tell_attributes(self, value: Any) -> None:
        kind, found = type(value), _attributes(value)
        if not found and value is not NO_INITIAL:
            raise _unknown(value)
        self._add("object", kind.__module__, kind.__qualname__)
        self.tell(found)


def _content(cell: types.CellType) -> Any:
    """Return what a variable of an enclosing function holds, Ellipsis if it was not set yet."""
    try:
        return cell.cell_contents
    except ValueError:
        return ...


def _is_named(value: Any) -> bool:
    """Say whether ``value`` is what its module offers under its name: a class, a compiled function."""
    found = sys.modules.get(getattr(value, "__module__", None) or "")
    for name in str(getattr(value, "__qualname__", "")).split("."):
        found = getattr(found, name, None)
    return found is value


def _unknown(value: Any) -> UnsupportedError:
    return UnsupportedError(
        f"the expression holds {value!r:.100}, which a later run cannot tell from another; save it without resume=True"
    )
