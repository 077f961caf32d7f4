"""The table of formats: how each is recognised, and the module that reads and writes it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from chunkarr import fsio, settings
from chunkarr.errors import FormatError, OptionError, TargetExistsError, UnsafeInputError
from chunkarr.formats.contract import Member, Stored, Target
from chunkarr.formats.rows import FORMATS, Format, sniff_hdf5, sniff_zarr
from chunkarr.grid import Shape

__all__ = [
    "FORMATS",
    "Format",
    "create_target",
    "format_of_new",
    "identify",
    "list_members",
    "open_stored",
    "place_of",
    "place_of_new",
    "reopening",
    "row_of",
    "split_member",
]

HEAD = 4096  # bytes of a file that recognising it may look at
SHOWN = 3  # suffixes of a format that an error names
ISOLATED = "chunkarr.formats.hdf5_isolated"  # imported where it is asked for


def split_member(path: str) -> tuple[str, str | None]:
    """Split what lies in a file from the file: ``file::member``.

    >>> split_member("f.h5::/g/x"), split_member("a.npy")
    (('f.h5', '/g/x'), ('a.npy', None))
    """
    path = os.fspath(path)
    file, mark, member = path.partition("::")
    if not mark or "://" in member:  # simplecache::s3://bucket/a.zarr is one address
        return path, None
    return file, member


def _named(name: str) -> Format:
    for row in FORMATS:
        if row.name == name:
            return row
    raise OptionError(f"format {name!r} is not known; there are {', '.join(row.name for row in FORMATS)}")


def _by_suffix(path: str) -> Format | None:
    name = path.rstrip("/").lower()
    return next((row for row in FORMATS if name.endswith(row.suffixes)), None)


def format_of_new(path: str, format: str | None = None) -> Format | None:  # noqa: A002 - the user's word
    """Return the format that a new array at ``path`` would have: the one named, else by its suffix, else None.

    Examples
    --------
    >>> format_of_new("x.h5").name
    'hdf5'
    """
    return _named(format) if format is not None else _by_suffix(split_member(path)[0])


def identify(path: str, format: str | None = None) -> Format:  # noqa: A002 - the user's word
    """Return the format of a file or directory: the one named, else by its content, else by its suffix.

    Parameters
    ----------
    path
        What is there, without ``::member``; for a new file only the suffix counts.
    format
        The name of a row of `FORMATS`.

    Raises
    ------
    FormatError
        If neither content nor suffix is known.
    FileNotFoundError
        If there is nothing at ``path``, whose suffix is not known either.
    OptionError
        If no format is called ``format``.

    Examples
    --------
    >>> identify("new.zarr").name
    'zarr'
    """
    if format is not None:
        return _named(format)
    if "://" in path:
        return _named("zarr")  # the one format that is read from stores that are not files
    row = _by_content(path) or _by_suffix(path) if path != "-" else _named("text")
    if row is not None and (row.directory or not os.path.isdir(path)):
        return row
    if not os.path.lexists(path):
        raise FileNotFoundError(2, os.strerror(2), path)
    kind = "directory" if os.path.isdir(path) else "file"
    raise _unknown(path, f"by its content and its name, this {kind}")


def _unknown(path: str, what: str) -> FormatError:
    known = ", ".join(f"{row.name} ({' '.join(row.suffixes[:SHOWN])})" for row in FORMATS)
    return FormatError(f"{path}: {what} is of no known format; there are {known}; another name, or format=, says which")


def _by_content(path: str) -> Format | None:
    if not os.path.exists(path):
        return None
    head = _head(path)
    return next((row for row in FORMATS if row.sniff(path, head)), None)


def row_of(path: str, format: str | None, options: Mapping[str, Any]) -> Format:  # noqa: A002 - the user's word
    """Return the format of a file that is opened with ``options``, which may say it where the file does not."""
    return (_by_options(path, options) if format is None else None) or identify(path, format)


def _by_options(path: str, options: Mapping[str, Any]) -> Format | None:
    """Return the format without a header that these options describe, unless the content says otherwise."""
    name = "packed" if options.keys() & {"layout", "bits"} else "raw" if "dtype" in options else None
    if name is None or path == "-" or os.path.isdir(path) or _by_content(path) is not None:
        return None
    return _named(name)


def reopening(row: Format, shape: Shape, dtype: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Return what opening a file takes besides its name, that was created with ``options``."""
    if not row.headless:
        return {}
    given = {"shape": shape, "dtype": dtype, **options}
    if row.name == "text" and not options.get("header_text"):  # words would be taken for names
        given["header"] = dtype.names is not None and options.get("fmt") is None
    return {name: value for name, value in given.items() if name in row.open_options and value is not None}


def _head(path: str) -> bytes:
    """Return the first bytes of a file; none of a directory."""
    if os.path.isdir(path):
        return b""
    fd = fsio.open_read(path)
    try:
        head = bytearray(min(HEAD, os.fstat(fd).st_size))
        fsio.read_into(fd, head, 0, path)
    finally:
        os.close(fd)
    return bytes(head)


def _check_options(row: Format, options: dict[str, Any], allowed: tuple[str, ...], verb: str) -> None:
    """Raise OptionError naming the options of ``options`` that are not allowed, and those that are."""
    unknown = sorted(set(options) - set(allowed))
    if unknown:
        takes = ", ".join(allowed) if allowed else "no options"
        raise OptionError(f"{verb} {row.name} does not take {', '.join(unknown)}; it takes {takes}")


def open_stored(path: str, mode: str = "r", format: str | None = None, **options: Any) -> Stored:  # noqa: A002
    """Open the array at ``path``, of whatever format it is.

    Parameters
    ----------
    path
        A file, a directory, or ``file::member``.
    mode
        "r", or "r+" to change the array.
    format
        The name of a format; by default the content says, then ``dtype=`` (it is raw) and ``layout=`` or ``bits=``
        (it is packed), then the suffix.
    **options
        What the format's `open` takes, and ``isolate``: whether files that a C library parses are parsed in a child
        process, for reading; the setting of that name says so by default.

    Raises
    ------
    FileNotFoundError
        If there is nothing at ``path``.
    FormatError
        If it is of no known format, or damaged.
    OptionError
        If the format does not take one of the options.
    """
    file, member = split_member(path)
    if file != "-" and not os.path.exists(file) and "://" not in file and not fsio.restore(file):
        raise FileNotFoundError(2, os.strerror(2), file)
    isolate = options.pop("isolate", None)
    row = row_of(file, format, options)
    _check_options(row, options, row.open_options, "opening")
    place, within = _locate(row, file, member)
    if row.name == "raw" and "dtype" not in options:
        raise OptionError(f"{file}: raw records need dtype=, and shape= unless they are one axis")
    if mode == "r" and _is_isolated(row, place, isolate):
        external = bool(options.get("allow_external"))
        elsewhere: Stored = import_module(ISOLATED).open_isolated(place, row.name, member, allow_external=external)
        return elsewhere
    opened: Stored = import_module(row.module).open(place, mode, **within, **options)
    return opened


def _is_isolated(row: Format, file: str, choice: bool | None) -> bool:
    wanted = settings.isolate() if choice is None else bool(choice)
    return wanted and row.by_library and sniff_hdf5(file, _head(file))


def _locate(row: Format, file: str, member: str | None) -> tuple[str, dict[str, Any]]:
    """Return the path that the format's module is given, and with it the member where a file holds several."""
    if member is None:
        return file, {}
    if not row.members:
        raise FormatError(f"{file}: a {row.name} file has no members, so there is no {member!r} in it")
    if not row.directory:
        return file, {"member": member}
    parts = [part for part in member.split("/") if part]
    if any(part in (".", "..") for part in parts):
        raise UnsafeInputError(f"{file}: member {member!r} leads outside")
    return os.path.join(file, *parts), {}


def list_members(path: str, format: str | None = None) -> list[Member]:  # noqa: A002 - the user's word
    """List the arrays at ``path``, where its format can hold several; nothing where it holds one.

    Raises
    ------
    FileNotFoundError
        If there is nothing at ``path``.
    FormatError
        If it is of no known format, or damaged.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     np.savez(directory + "/x.npz", a=np.zeros(3, "i2"), b=np.zeros((2, 2), "i2"))
    ...     [(found.name, found.shape) for found in list_members(directory + "/x.npz")]
    [('a', (3,)), ('b', (2, 2))]
    """
    if not os.path.exists(path) and "://" not in path and not fsio.restore(path):
        raise FileNotFoundError(2, os.strerror(2), path)
    row = identify(path, format)
    if _is_isolated(row, path, None):
        elsewhere: list[Member] = import_module(ISOLATED).list_isolated(path, row.name)
        return elsewhere
    listed: list[Member] = import_module(row.module).members(path) if row.members else []
    return listed


def place_of(path: str) -> str:
    """Return the file or directory that an array is in, which is there already.

    Raises
    ------
    FileNotFoundError
        If there is nothing at ``path``.
    """
    file, member = split_member(path)
    if not os.path.exists(file):
        raise FileNotFoundError(2, os.strerror(2), file)
    return _locate(identify(file), file, member)[0]


def place_of_new(path: str, format: str | None = None) -> tuple[Format, str, dict[str, Any]]:  # noqa: A002
    """Return the format of a new array, the file or directory that it will be, and the member where it is in one.

    Raises
    ------
    FormatError
        If neither ``format`` nor the suffix says the format, or if it has no members.

    Examples
    --------
    >>> row, place, within = place_of_new("all.zarr::run/x")
    >>> row.name, place, within
    ('zarr', 'all.zarr/run/x', {})
    """
    file, member = split_member(path)
    row = format_of_new(file, format)
    if row is None:
        raise _unknown(file, "the name of a new array says its format, and this one")
    return row, *_locate(row, file, member)


def _keep_others(file: str, member: str | None) -> None:
    """Raise TargetExistsError if writing ``file::member`` would replace other arrays in the file."""
    if member is None or not os.path.isfile(file):
        return
    try:
        names = [found.name for found in list_members(file)]
    except FormatError:  # there is nothing to keep
        return
    others = [name for name in names if name.strip("/") != member.strip("/")]
    if others:
        more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
        raise TargetExistsError(
            f"{file}: has {', '.join(others[:SHOWN])}{more}, which would go with the file that is replaced; "
            "use another file, or remove this one"
        )


def create_target(
    path: str,
    shape: Shape,
    dtype: Any,
    format: str | None = None,  # noqa: A002 - the user's word
    *,
    overwrite: bool = False,
    durability: fsio.Durability = "full",
    adopt: tuple[str, int] | None = None,
    **options: Any,
) -> Target:
    """Create an array at ``path`` that appears there on ``commit``.

    Parameters
    ----------
    path
        The file or directory to be; its suffix says of which format.
    shape, dtype
        What it will hold.
    format
        The name of a format, where the suffix does not say.
    overwrite
        Whether an array there may be replaced. A directory that holds no array is never replaced.
    durability
        "full": on the disk when ``commit`` returns; "process": safe against kill, not power loss.
    adopt
        An unfinished sibling of the same array and its lock, where the format is resumable: to go on with.
    **options
        What the format's `create` takes.

    Raises
    ------
    TargetExistsError
        If something is there that may not be replaced.
    FormatError
        If the suffix is of no known format.
    OptionError
        If the format does not take one of the options.
    """
    row, place, within = place_of_new(path, format)
    _check_options(row, options, row.create_options, "creating")
    fsio.refuse_existing(place, overwrite)
    _keep_others(place, within.get("member"))
    folder = os.path.dirname(os.path.abspath(split_member(path)[0]))
    if not os.path.isdir(folder):
        raise FileNotFoundError(2, "there is no such directory to make a file in", folder)
    if os.path.isdir(place) and os.listdir(place) and not sniff_zarr(place, b""):
        raise TargetExistsError(f"{place}: is a directory that holds no array; it is not replaced, use another name")
    if adopt is not None:
        within["adopt"] = adopt
    module, file = import_module(row.module), split_member(path)[0]
    if row.directory and place != file:
        module.make_groups(file, place)
    target: Target = module.create(place, shape, dtype, overwrite=overwrite, durability=durability, **within, **options)
    return target
