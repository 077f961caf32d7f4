"""Find data sets in an HDF5 file without following anything out of it.

HDF5 files can name other files: by external links, external storage and virtual data sets. A path is
therefore walked component by component, looking at each link before it is opened. Nothing here keeps
a handle: files are opened under one lock, asked, and closed.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections import deque
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import h5py
from h5py import h5d, h5g, h5l, h5o, h5z

from chunkarr import fsio
from chunkarr.errors import ChunkarrError, FormatError, UnsafeInputError

__all__ = ["LOCK", "data_sets", "find", "has_filter", "naming", "open_file", "opened"]

LOCK = threading.RLock()  # one caller in HDF5 at a time
SOFT_LINKS = 16  # soft links followed on the way to one object
_HINTS = (
    ("signature not found", "it is not an HDF5 file"),
    ("truncated file", "it is cut short: {error}"),
    (
        "already open for write",
        "a writer has it open, or died with it open; wait for the writer, or run 'h5clear -s' on a copy",
    ),
)


def _forget_lock() -> None:
    """Give a forked child a lock that no thread of its parent holds."""
    LOCK.__init__()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_lock)


@contextlib.contextmanager
def naming(path: str, member: str = "") -> Iterator[None]:
    """Turn what the HDF5 library raises into a FormatError that names the file."""
    try:
        yield
    except ChunkarrError:
        raise
    except (OSError, RuntimeError, LookupError, ArithmeticError, ValueError, TypeError) as error:
        where = f"{path}::{member}" if member else path
        reason = next((hint for sign, hint in _HINTS if sign in str(error)), "the HDF5 library says: {error}")
        raise FormatError(f"{where}: cannot be read: {reason.format(error=error)}") from error


def open_file(path: str) -> h5py.File:
    """Open a file for reading: no file lock (read-only media have none), no cache of chunks.

    Raises
    ------
    FileNotFoundError, PermissionError, IsADirectoryError
        If the system does not open it.
    FormatError
        If it is not a whole HDF5 file.
    """
    fd = fsio.open_read(path)
    try:
        mode = os.fstat(fd).st_mode
    finally:
        os.close(fd)
    if not stat.S_ISREG(mode):
        raise FormatError(f"{path}: is not a regular file")
    with naming(path):
        for locking in (False, "best-effort"):  # the library wants what this process may have it open with
            try:
                return h5py.File(path, "r", locking=locking, rdcc_nbytes=0)
            except OSError as error:
                if "flag values don't match" not in str(error):
                    raise
        return h5py.File(path, "r", locking=True, rdcc_nbytes=0)


@contextlib.contextmanager
def opened(path: str) -> Iterator[h5py.File]:
    """Open ``path`` under the lock and close it afterwards."""
    with LOCK:
        file = open_file(path)
        try:
            with naming(path):
                yield file
        finally:
            file.close()


def find(file: h5py.File, path: str, member: str, *, allow_external: bool = False) -> tuple[h5d.DatasetID, bool]:
    """Open the data set ``member`` of an open file.

    Hard links are followed, soft links too as far as they end in hard ones.

    Returns
    -------
    dataset : h5py.h5d.DatasetID
        Open, but nothing of its data or shape has been asked for.
    outside : bool
        Whether an external link led to another file.

    Raises
    ------
    UnsafeInputError
        If a link leads out of the file and ``allow_external`` is False.
    FormatError
        If there is no such data set.
    """
    root = file["/"].id
    here: Any = root
    names = deque(member.split("/"))
    soft, outside = 0, False
    while names:
        name = names.popleft()
        if name in ("", "."):
            continue
        kind = _link_kind(here, name, path, member)
        if kind == h5l.TYPE_SOFT:
            soft += 1
            if soft > SOFT_LINKS:
                raise FormatError(f"{path}: {member!r} leads through more than {SOFT_LINKS} soft links")
            target = os.fsdecode(here.links.get_val(name.encode()))
            names.extendleft(reversed(target.split("/")))
            here = root if target.startswith("/") else here
            continue
        if kind != h5l.TYPE_HARD:
            if not allow_external:
                raise UnsafeInputError(
                    f"{path}: {member!r} leads to another file through the external link {name!r}; "
                    "pass allow_external=True if you trust it"
                )
            outside = True
        here = h5o.open(here, name.encode())
    if not isinstance(here, h5d.DatasetID):
        what = "a group: name what is in it" if isinstance(here, h5g.GroupID) else "not a data set"
        raise FormatError(f"{path}: {member!r} is {what}")
    made = here.get_create_plist()
    for i in range(made.get_nfilters()):
        has_filter(made.get_filter(i)[0])
    return here, outside


def has_filter(code: int) -> bool:
    """Say whether the library can undo a filter; those of hdf5plugin are brought in when one is missing."""
    if not h5z.filter_avail(code):
        with contextlib.suppress(ImportError):
            import_module("hdf5plugin")
    return bool(h5z.filter_avail(code) and h5z.get_filter_info(code) & h5z.FILTER_CONFIG_DECODE_ENABLED)


def _link_kind(here: Any, name: str, path: str, member: str) -> int:
    """Return the kind of the link ``name`` in the group ``here``, which must have it."""
    if not isinstance(here, h5g.GroupID):
        raise FormatError(f"{path}: {member!r} is not there: {name!r} is looked for in something that is not a group")
    if not here.links.exists(name.encode()):
        known = sorted(os.fsdecode(entry) for entry in here)[:20]
        raise FormatError(f"{path}: {member!r} is not there: no {name!r} in its group, which has {known}")
    return int(here.links.get_info(name.encode()).type)


def data_sets(file: h5py.File) -> Iterator[tuple[str, h5d.DatasetID]]:
    """Yield each data set that hard links lead to, once, with its name."""
    seen = set()
    pending: list[tuple[str, Any]] = [("", file["/"].id)]
    while pending:
        name, place = pending.pop()
        if isinstance(place, h5d.DatasetID):
            yield name, place
            continue
        if not isinstance(place, h5g.GroupID):
            continue
        found = []
        for entry in sorted(place):
            if place.links.get_info(entry).type != h5l.TYPE_HARD:
                continue
            child = h5o.open(place, entry)
            address = h5o.get_info(child).addr
            if address not in seen:
                seen.add(address)
                found.append((f"{name}/{os.fsdecode(entry)}", child))
        pending.extend(reversed(found))
