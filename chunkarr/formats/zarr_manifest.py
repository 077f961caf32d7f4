"""The manifest of a Zarr array: how long each stored chunk is, and its checksum.

A chunk's own checksum tells that its bytes are whole, not that they are the ones that belong there: a
lost, swapped, stale or foreign chunk passes it. The manifest tells. It is also what makes a reader see
one generation without a lock: a chunk that does not match the manifest that the reader holds belongs
to another generation.

In the array's directory::

    .chunkarr/lock          what a writer locks
    .chunkarr/manifest      the root: identity, generation, shape, checksum of each page; sealed by a crc32c
    .chunkarr/pages/<k>     4096 entries of 12 bytes each
    .chunkarr/txn-<g>/      a change being made; see `zarr_txn`

An entry is (length, crc32c): stored bytes of a chunk, and the crc32c that ends them where the array's
codecs write one, else their own. Chunks of one stored object lie together, objects in C order.
"""

from __future__ import annotations

import math
import os
import struct
import threading
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import google_crc32c
import numpy as np

from chunkarr import fsio
from chunkarr.errors import CorruptChunkError, MissingChunkError, UnsafeInputError
from chunkarr.formats.zarr_dtypes import descr_of
from chunkarr.formats.zarr_meta import ArrayMeta
from chunkarr.grid import Shape

__all__ = [
    "ABSENT",
    "ADVICE",
    "ENTRY",
    "NOT_RECORDED",
    "PAGE",
    "PLACE",
    "Draft",
    "Manifest",
    "Root",
    "current",
    "fingerprint",
    "first_root",
    "load_root",
    "resized",
]

PLACE = ".chunkarr"  # directory in the array's
PAGE = 4096  # entries of a page
KEPT = 64  # pages kept in memory, 48 KiB each
MAX_ROOT = 1 << 28  # bytes of a root: that of 2**38 chunks
VERSION = 1
ADVICE = "restore it, or accept what is there with `chunkarr adopt`"

ENTRY = np.dtype([("length", "<i8"), ("crc", "<u4")])
ABSENT = np.array((-1, 0), ENTRY)[()]  # never written: reads as the fill value
NOT_RECORDED = np.array((-3, 0), ENTRY)[()]  # written by others, before there was a manifest

_HEAD = struct.Struct("<8sHHI16sQQ")  # magic, version, flags, fingerprint, identity, generation, axes
_MAGIC = b"ckarrman"
_LOOSE, _SOFT = 1, 2  # flags


@dataclass(frozen=True)
class Root:
    """The root of a manifest: one generation of an array, with the checksum of each of its pages."""

    identity: bytes  # 16 random bytes: an array that replaces another one has another identity
    generation: int  # counted up by each change
    fingerprint: int  # of the metadata; see `fingerprint`
    shape: Shape
    chunk: Shape
    shard: Shape | None
    loose: bool  # whether chunks may hold other values than fill beyond the array's edge
    soft: bool  # whether a chunk was written that was never synced
    pages: bytes  # crc32c of each page, 4 bytes each

    @property
    def key(self) -> tuple[str, int]:
        """What tells this generation from all others."""
        return self.identity.hex(), self.generation

    @property
    def counts(self) -> Shape:
        """Stored objects along each axis."""
        return tuple(-(-n // s) for n, s in zip(self.shape, self.shard or self.chunk, strict=True))

    @property
    def per_object(self) -> int:
        """Chunks that one stored object can hold."""
        return math.prod(s // c for s, c in zip(self.shard, self.chunk, strict=True)) if self.shard else 1

    @property
    def entries(self) -> int:
        """Entries of all pages together."""
        return math.prod(self.counts) * self.per_object

    def is_of(self, meta: ArrayMeta) -> bool:
        """Say whether it counts the chunks that the metadata name."""
        return (self.shape, self.chunk, self.shard or ()) == (meta.shape, meta.chunk, meta.shard or ())

    def first(self, index: Shape) -> int:
        """Return the number of the first entry of the stored object at ``index``."""
        number = 0
        for i, n in zip(index, self.counts, strict=True):
            number = number * n + i
        return number * self.per_object

    def page_size(self, page: int) -> int:
        """Return the entries of page ``page``."""
        return min(PAGE, self.entries - page * PAGE)

    def pack(self) -> bytes:
        """Return the root as it is stored."""
        shapes = (*self.shape, *self.chunk, *(self.shard or (0,) * len(self.shape)))
        flags = _LOOSE * self.loose + _SOFT * self.soft
        head = _HEAD.pack(
            _MAGIC, VERSION, flags, self.fingerprint, self.identity, self.generation, len(self.shape)
        ) + struct.pack(f"<{len(shapes)}Q", *shapes)
        body = head + self.pages
        return body + int(google_crc32c.value(body)).to_bytes(4, "little")


def _unpack(raw: bytes, file: str) -> Root:
    """Return the root that ``raw`` holds, checked."""
    if len(raw) < _HEAD.size + 4 or google_crc32c.value(raw[:-4]) != int.from_bytes(raw[-4:], "little"):
        raise CorruptChunkError(f"{file}: the {len(raw)} B of this manifest do not match their checksum; {ADVICE}")
    magic, version, flags, mark, identity, generation, ndim = _HEAD.unpack_from(raw)
    if magic != _MAGIC or version != VERSION or ndim > 64:
        raise CorruptChunkError(f"{file}: is not a manifest of version {VERSION}; {ADVICE}")
    start = _HEAD.size + 24 * ndim
    if len(raw) < start + 4:
        raise CorruptChunkError(f"{file}: is too short for {ndim} axes; {ADVICE}")
    numbers = struct.unpack_from(f"<{3 * ndim}Q", raw, _HEAD.size)
    shape, chunk, shard = (numbers[i * ndim : (i + 1) * ndim] for i in range(3))
    root = Root(
        identity, generation, mark, shape, chunk, shard if any(shard) else None,
        bool(flags & _LOOSE), bool(flags & _SOFT), raw[start:-4],
    )  # fmt: skip
    if (
        0 in chunk
        or any(n >= 1 << 63 for n in numbers)
        or any(s < c or s % c for s, c in zip(root.shard or (), chunk, strict=False))
    ):
        raise CorruptChunkError(f"{file}: has shape {shape}, chunks {chunk}, shards {shard}, which cannot be; {ADVICE}")
    if len(root.pages) != 4 * -(-root.entries // PAGE):
        raise CorruptChunkError(
            f"{file}: has {len(root.pages) // 4} pages, its {root.entries} chunks need another number; {ADVICE}"
        )
    return root


def load_root(file: str) -> Root | None:
    """Return the root in ``file``, None if there is no such file.

    Raises
    ------
    CorruptChunkError
        If it is damaged.
    """
    fd = _open(file)
    if fd is None:
        return None
    try:
        return _unpack(_content(fd, MAX_ROOT, file), file)
    finally:
        os.close(fd)


def _open(file: str) -> int | None:
    """Open a file of the manifest; None if it is not there."""
    try:
        return fsio.open_read(file, follow=False)
    except FileNotFoundError:
        return None
    except UnsafeInputError as error:
        raise CorruptChunkError(str(error)) from None
    except OSError as error:
        raise _unreadable(file, error) from None


def _content(fd: int, limit: int, file: str) -> bytes:
    """Return the bytes of an open file, ``limit`` at most."""
    try:
        raw = bytearray(min(os.fstat(fd).st_size, limit))
        fsio.read_into(fd, raw, 0, file)
    except CorruptChunkError:
        raise
    except OSError as error:
        raise _unreadable(file, error) from None
    return bytes(raw)


def _unreadable(file: str, error: OSError) -> Exception:
    if os.path.isdir(file) or isinstance(error, NotADirectoryError):
        return CorruptChunkError(f"{file}: is not a file; {ADVICE}")
    return OSError(error.errno, error.strerror, file)


def current(path: str) -> tuple[Root, str] | None:
    """Return the newest root of the array in directory ``path`` and the directory of its change.

    The directory is "" where the change was put in place, else that of a change that was committed and
    not yet put in place: its files count before those in the array's own places. None if the array
    has no manifest.

    Raises
    ------
    CorruptChunkError
        If the manifest is damaged, or was there and is missing.
    """
    place = os.path.join(path, PLACE)
    file = os.path.join(place, "manifest")
    missing = 0
    while True:
        fd = _open(file)
        if fd is None and not os.path.isdir(place):
            return None
        try:
            root = None if fd is None else _unpack(_content(fd, MAX_ROOT, file), file)
            change = os.path.join(place, f"txn-{root.generation + 1 if root else 1}")
            commit = load_root(os.path.join(change, "COMMIT"))
            follows = commit is not None and (
                root is None or (commit.identity, commit.generation) == (root.identity, root.generation + 1)
            )
            if commit is not None and follows:
                return commit, change
            # A change may have been put in place between the two looks. While it is open, no other file has its number.
            if fd is not None and not _is_still(fd, file):
                continue
        finally:
            if fd is not None:
                os.close(fd)
        if commit is not None:
            raise CorruptChunkError(f"{change}/COMMIT: does not belong to this manifest; {ADVICE}")
        if root is not None:
            return root, ""
        if not os.path.exists(os.path.join(place, "pages")):
            return None
        missing += 1  # the first time, the first change may have been put in place meanwhile
        if missing > 1:
            raise MissingChunkError(f"{file}: is missing, but its pages are there; {ADVICE}")


def _is_still(fd: int, file: str) -> bool:
    """Say whether ``file`` is the one that is open."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(file, follow_symlinks=False))
    except OSError:
        return False


def fingerprint(meta: ArrayMeta) -> int:
    """Return a checksum of what the metadata say of the bytes of chunks; not of attributes."""
    coding = meta.encoding
    facts = (
        meta.shape, meta.chunk, meta.shard, str(descr_of(meta.dtype)), str(descr_of(meta.stored)),
        coding.perm, coding.big, coding.compressor, coding.crc, meta.index_crc, meta.index_first,
        meta.key_prefix, meta.key_separator, meta.key_suffix, meta.fill.tobytes().hex(),
    )  # fmt: skip
    return int(google_crc32c.value(repr(facts).encode()))


def first_root(meta: ArrayMeta, generation: int, *, loose: bool, soft: bool) -> Root:
    """Return the root, without checksums yet, of an array that has no manifest."""
    identity = os.urandom(16)
    return Root(
        identity, generation, fingerprint(meta), meta.shape, meta.chunk, meta.shard, loose=loose, soft=soft, pages=b""
    )


class Manifest:
    """The entries of one generation, read page by page when they are asked for; threads may share it."""

    def __init__(self, path: str, root: Root, change: str) -> None:
        self.path = path  # of the array
        self.root = root
        self.change = change  # directory whose pages count first, or ""
        self._pages: dict[int, np.ndarray[Any, Any]] = {}
        self._lock = threading.Lock()

    def page(self, number: int) -> np.ndarray[Any, Any]:
        """Return page ``number``, dtype ENTRY; not to be written to.

        Raises
        ------
        CorruptChunkError
            If it is not the page that the root says.
        """
        page = self._pages.get(number)
        if page is None:
            page = self._load(number)
            with self._lock:
                while len(self._pages) >= KEPT:
                    del self._pages[next(iter(self._pages))]
                self._pages[number] = page
        return page

    def _load(self, number: int) -> np.ndarray[Any, Any]:
        nbytes = self.root.page_size(number) * ENTRY.itemsize
        name = os.path.join(PLACE, "pages", str(number))
        file = os.path.join(self.path, name)
        raw = _load_page(os.path.join(self.change, f"page-{number}"), nbytes) if self.change else None
        if raw is None:
            raw = _load_page(file, nbytes)
        wanted = int.from_bytes(self.root.pages[4 * number : 4 * number + 4], "little")
        if raw is None:
            raise MissingChunkError(f"{self.path}: {name} of the manifest is missing; file {file}; {ADVICE}")
        found = google_crc32c.value(raw)
        if found != wanted:
            raise CorruptChunkError(
                f"{self.path}: {name}: crc32c {found:08x}, the manifest says {wanted:08x}; file {file}; {ADVICE}"
            )
        return np.frombuffer(raw, ENTRY)

    def at(self, first: int, counts: Shape, spans: tuple[tuple[int, int], ...]) -> list[tuple[int, int]]:
        """Return (length, crc) of the chunks in a window, in C order.

        Parameters
        ----------
        first
            Number of the first entry of the box that ``counts`` chunks along each axis make.
        counts, spans
            Shape of that box, and the range of chunks along each axis that is asked for.
        """
        strides = [math.prod(counts[axis + 1 :]) for axis in range(len(counts))]
        start = first + sum(a * s for (a, _), s in zip(spans, strides, strict=True))
        total = math.prod(b - a for a, b in spans)
        if total == 1:
            number, row = divmod(start, PAGE)
            return [self.page(number)[row].item()]
        offsets = np.zeros((), np.int64)
        for (a, b), stride in zip(spans, strides, strict=True):
            offsets = np.add.outer(offsets, np.arange(b - a) * stride)
        numbers = offsets.reshape(-1) + start
        found = np.empty(total, ENTRY)
        pages = numbers // PAGE  # ascending
        cuts = [0, *(np.flatnonzero(np.diff(pages)) + 1).tolist(), total] if total else []
        for a, b in pairwise(cuts):
            found[a:b] = self.page(int(pages[a]))[numbers[a:b] - pages[a] * PAGE]
        return list(zip(found["length"].tolist(), found["crc"].tolist(), strict=True))


class Draft(Manifest):
    """The entries of the generation that a change makes: those before it, and what was recorded since.

    Parameters
    ----------
    path, root, change
        As of `Manifest`; the root's checksums are made by `seal`.
    base
        The entries before; None where none is recorded.
    """

    def __init__(self, path: str, root: Root, base: Manifest | None, change: str = "") -> None:
        super().__init__(path, root, change)
        self.base = base
        self.changed: dict[int, np.ndarray[Any, Any]] = {}

    def page(self, number: int) -> np.ndarray[Any, Any]:
        """Return page ``number`` as it is now."""
        page = self.changed.get(number)
        if page is None:
            page = self.base.page(number) if self.base else np.full(self.root.page_size(number), NOT_RECORDED, ENTRY)
        return page

    def record(self, first: int, entries: np.ndarray[Any, Any]) -> None:
        """Note ``entries``, numbers ``first`` and following."""
        done = 0
        with self._lock:
            while done < len(entries):
                number, row = divmod(first + done, PAGE)
                if number not in self.changed:
                    self.changed[number] = self.page(number).copy()
                page = self.changed[number]
                part = entries[done : done + len(page) - row]
                page[row : row + len(part)] = part
                done += len(part)

    def seal(self) -> tuple[Root, dict[int, bytes]]:
        """Return the root of what was recorded, and the pages that differ from those before."""
        crcs = np.zeros(-(-self.root.entries // PAGE), "<u4")
        if self.base is not None:
            old = np.frombuffer(self.base.root.pages, "<u4")[: len(crcs)]
            crcs[: len(old)] = old
        else:
            for number in range(len(crcs)):
                self.changed.setdefault(number, self.page(number))
        pages = {number: page.tobytes() for number, page in sorted(self.changed.items())}
        for number, raw in pages.items():
            crcs[number] = google_crc32c.value(raw)
        return replace(self.root, pages=crcs.tobytes()), pages


def resized(base: Manifest, root: Root, *, stored: bool, change: str) -> Draft:
    """Return the entries of ``base`` where the shape of ``root`` puts them; new ones are `ABSENT`.

    Parameters
    ----------
    base, root, change
        The entries before, the root after, and the directory of the change.
    stored
        Whether the pages of ``base`` are files, so that those that stay as they are need not be written.
    """
    tail = (root.per_object,)
    old = np.concatenate([np.empty(0, ENTRY), *map(base.page, range(-(-base.root.entries // PAGE)))])
    new = np.full((*root.counts, *tail), ABSENT, ENTRY)
    common = tuple(slice(0, min(a, b)) for a, b in zip(base.root.counts, root.counts, strict=True))
    new[common] = old.reshape(*base.root.counts, *tail)[common]
    flat = new.reshape(-1)
    draft = Draft(base.path, root, base if stored else None, change)
    for number in range(-(-root.entries // PAGE)):
        page = flat[number * PAGE : (number + 1) * PAGE]
        before = old[number * PAGE : (number + 1) * PAGE]
        if not stored or page.tobytes() != before.tobytes():
            draft.changed[number] = page.copy()
    return draft


def _load_page(file: str, nbytes: int) -> bytes | None:
    """Return the bytes of a page, at most one more than it should have; None if it is not there."""
    fd = _open(file)
    if fd is None:
        return None
    try:
        return _content(fd, nbytes + 1, file)
    finally:
        os.close(fd)
