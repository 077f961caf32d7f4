"""Strict JSON of Zarr metadata: what a reader may trust before it allocates anything.

Python's parser takes more than JSON and more than is safe: NaN, duplicate keys (the last wins),
`true` where an integer is meant, documents of any size and depth. All are refused here.
"""

from __future__ import annotations

import json
import os
from typing import Any, NoReturn

from chunkarr import fsio
from chunkarr.errors import CorruptChunkError, MetadataError, UnsafeInputError

__all__ = ["Fields", "load", "parse"]

MAX_BYTES = 16 << 20  # bytes of a metadata document
MAX_DEPTH = 64  # nested lists and objects
MAX_NDIM = 64  # NumPy's limit
MAX_INT = 2**63 - 1


class _RefusedError(Exception):
    """Something that Python's parser takes and Zarr does not."""


def load(path: str) -> dict[str, Any]:
    """Return the JSON object in the file at ``path``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    MetadataError
        If it is not a JSON object within the limits of size and depth.
    """
    fd = -1
    try:
        fd = fsio.open_read(path, follow=False)
        size = os.fstat(fd).st_size
        if size > MAX_BYTES:
            raise MetadataError(f"{path}: {-(-size >> 20)} MiB exceeds {MAX_BYTES >> 20} MiB, the limit for metadata")
        raw = bytearray(size)
        fsio.read_into(fd, raw, 0, path)
    except FileNotFoundError:
        raise
    except UnsafeInputError as error:
        raise MetadataError(str(error)) from None
    except CorruptChunkError:
        raise MetadataError(f"{path}: was cut short while it was read; try again") from None
    except OSError as error:
        raise MetadataError(f"{path}: cannot be read: {error.strerror}") from error
    finally:
        if fd >= 0:
            os.close(fd)
    return parse(bytes(raw), path)


def parse(raw: bytes, path: str) -> dict[str, Any]:
    """Return ``raw`` as a JSON object; ``path`` names it in errors.

    >>> parse(b'{"shape": [2, 3]}', "a.zarr/zarr.json")
    {'shape': [2, 3]}
    >>> parse(b'{"shape": [2], "shape": [3]}', "a.zarr/zarr.json")
    Traceback (most recent call last):
    ...
    chunkarr.errors.MetadataError: a.zarr/zarr.json: key "shape" twice
    """
    try:
        text = raw.decode("utf-8")
        document = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise MetadataError(f"{path}: not valid JSON at byte {error.start}: not UTF-8") from None
    except json.JSONDecodeError as error:
        at = len(text[: error.pos].encode())
        raise MetadataError(f"{path}: not valid JSON at byte {at}: {error.msg}") from None
    except RecursionError:
        raise MetadataError(f"{path}: nested deeper than {MAX_DEPTH}") from None
    except _RefusedError as error:
        raise MetadataError(f"{path}: {error}") from None
    except ValueError:  # an integer of more digits than Python converts
        raise MetadataError(f"{path}: not valid JSON: a number has too many digits") from None
    if not isinstance(document, dict):
        raise MetadataError(f"{path}: must hold a JSON object, holds a {type(document).__name__}")
    _check_depth(document, path)
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise _RefusedError(f"key {json.dumps(key)} twice")
        result[key] = value
    return result


def _refuse_constant(word: str) -> NoReturn:
    raise _RefusedError(f"not valid JSON: {word} is not a JSON number")


def _check_depth(document: dict[str, Any], path: str) -> None:
    level: list[Any] = [document]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise MetadataError(f"{path}: nested deeper than {MAX_DEPTH}")


def _shown(value: Any) -> str:
    """Return ``value`` as JSON, short enough for a message."""
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


class Fields:
    """A JSON object whose fields are taken one by one, each checked.

    >>> Fields({"shape": [True]}, "a.zarr/zarr.json").ints("shape")
    Traceback (most recent call last):
    ...
    chunkarr.errors.MetadataError: a.zarr/zarr.json: "shape"[0] must be an integer 0...2**63-1, is true
    """

    def __init__(self, document: dict[str, Any], path: str) -> None:
        self.document = document
        self.path = path

    def fail(self, reason: str) -> NoReturn:
        """Raise MetadataError with the path and ``reason``."""
        raise MetadataError(f"{self.path}: {reason}")

    def need(self, key: str) -> Any:
        """Return the value of ``key``, which must be there."""
        if key not in self.document:
            self.fail(f'key "{key}" is missing')
        return self.document[key]

    def ints(self, key: str, least: int = 0, most: int = MAX_INT) -> tuple[int, ...]:
        """Return a list of integers ``least <= n <= most``, at most as many as NumPy has axes."""
        value = self.need(key)
        if not isinstance(value, list):
            self.fail(f'"{key}" must be a list of integers, is {_shown(value)}')
        if len(value) > MAX_NDIM:
            self.fail(f'"{key}" has {len(value)} axes; at most {MAX_NDIM} are allowed')
        for index, n in enumerate(value):
            if type(n) is not int or not least <= n <= most:
                limit = "2**63-1" if most == MAX_INT else str(most)
                self.fail(f'"{key}"[{index}] must be an integer {least}...{limit}, is {_shown(n)}')
        return tuple(value)

    def named(self, key: str) -> tuple[str, Fields]:
        """Return name and configuration of an extension point: ``"name"`` or ``{"name", "configuration"}``."""
        return self.as_named(self.need(key), f'"{key}"')

    def named_list(self, key: str) -> list[tuple[str, Fields]]:
        """Return name and configuration of each extension in a list."""
        value = self.need(key)
        if not isinstance(value, list):
            self.fail(f'"{key}" must be a list, is {_shown(value)}')
        return [self.as_named(item, f'"{key}"[{index}]') for index, item in enumerate(value)]

    def as_named(self, value: Any, where: str) -> tuple[str, Fields]:
        """Return ``value`` as a name and its configuration; ``where`` names it in errors."""
        if isinstance(value, str):
            return value, Fields({}, self.path)
        if not isinstance(value, dict) or not isinstance(value.get("name"), str):
            self.fail(f'{where} must be a name or an object with "name", is {_shown(value)}')
        inner = value.get("configuration", {})
        if not isinstance(inner, dict):
            self.fail(f'{where}: "configuration" must be an object, is {_shown(inner)}')
        return value["name"], Fields(inner, self.path)

    def one_of(self, key: str, *allowed: Any, default: Any = ...) -> Any:
        """Return the value of ``key``, one of ``allowed``; ``default`` if it is missing and a default is given."""
        value = self.need(key) if default is ... else self.document.get(key, default)
        if not any(type(value) is type(a) and value == a for a in allowed) and not (
            default is not ... and value == default
        ):
            choices = ", ".join(_shown(a) for a in allowed)
            self.fail(f'"{key}" must be one of {choices}, is {_shown(value)}')
        return value
