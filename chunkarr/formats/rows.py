"""The rows of the table of formats: what each is called, how it is recognised, what its modules take."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from chunkarr import fsio

__all__ = ["FORMATS", "Format", "sniff_hdf5", "sniff_zarr"]

ZARR_MARKS = ("zarr.json", ".zarray", ".zgroup")
TEXT_SUFFIXES = (".csv", ".tsv", ".txt", ".tab", ".asc", ".prn")
COMPRESSED = {".gz": b"\x1f\x8b", ".bz2": b"BZh", ".xz": b"\xfd7zXZ\0", ".zst": b"\x28\xb5\x2f\xfd"}
NOT_TEXT = bytes({*range(32)} - {*b"\t\n\r\f"})
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True)
class Format:
    """A format: a row of the table."""

    name: str  # what ``format=`` takes
    suffixes: tuple[str, ...]  # lower case, with the dot; the first is the usual one
    sniff: Callable[[str, bytes], bool]  # (path, first bytes; none of a directory) -> whether it is this one
    module: str  # has `open` and `create`; imported when used
    open_options: tuple[str, ...]  # keywords of its `open` besides path and mode
    create_options: tuple[str, ...]  # keywords of its `create` besides path, shape, dtype, overwrite, durability
    summary: str  # a line for users
    directory: bool = False  # whether an array is a directory
    by_library: bool = False  # whether a C library may parse it, which a damaged file may crash; see `isolation`
    members: bool = False  # whether ``::member`` names one of several arrays
    resumable: bool = False  # whether a later run can go on with an unfinished array
    headless: bool = False  # whether a file does not say what it holds, so that opening it takes what made it


def sniff_npy(path: str, head: bytes) -> bool:  # noqa: ARG001 - the row's signature
    return head.startswith(b"\x93NUMPY")


def sniff_nothing(path: str, head: bytes) -> bool:  # noqa: ARG001 - the row's signature
    return False  # raw records look like anything


def sniff_npz(path: str, head: bytes) -> bool:
    """Recognise a zip file, of Zarr too, by its first member, an empty one by its name."""
    if head.startswith(b"PK\3\4"):
        return head[30 : 30 + int.from_bytes(head[26:28], "little")].endswith(b".npy")
    return head.startswith(b"PK\5\6") and path.lower().endswith(".npz")


def sniff_wav(path: str, head: bytes) -> bool:  # noqa: ARG001 - the row's signature
    return head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and head[8:12] == b"WAVE"


def sniff_zarr(path: str, head: bytes) -> bool:
    """Recognise a directory of Zarr metadata."""
    return not head and any(os.path.isfile(os.path.join(path, mark)) for mark in ZARR_MARKS)


def sniff_mat(path: str, head: bytes) -> bool:
    """Find the mark of versions 5 to 7.3; a file of version 4 is known by its suffix only."""
    if head[124:128] in (b"\x00\x02IM", b"\x02\x00MI"):
        return head[:6] == b"MATLAB" and sniff_hdf5(path, head)
    return head[124:128] in (b"\x00\x01IM", b"\x01\x00MI")


def sniff_hdf5(path: str, head: bytes) -> bool:
    """Find the signature at 0, 512, 1024, 2048, ...: a user block of any such size may come before."""
    if head.startswith(HDF5_SIGNATURE):
        return True
    if len(head) <= 512:
        return False
    fd = fsio.open_read(path)
    try:
        size, place, found = os.fstat(fd).st_size, 512, bytearray(len(HDF5_SIGNATURE))
        while place + len(found) <= size:
            fsio.read_into(fd, found, place, path)
            if found == HDF5_SIGNATURE:
                return True
            place *= 2
    finally:
        os.close(fd)
    return False


def sniff_text(path: str, head: bytes) -> bool:
    """Recognise text by its suffix, and that its bytes are some, compressed or not; .dat by its bytes alone."""
    name = path.lower()
    inner, packed = os.path.splitext(name)
    if packed in COMPRESSED:
        return inner.endswith((*TEXT_SUFFIXES, ".dat")) and (not head or head.startswith(COMPRESSED[packed]))
    if name.endswith(TEXT_SUFFIXES):
        wide = head.startswith((b"\xff\xfe", b"\xfe\xff"))
        return os.path.isfile(path) and (wide or head.translate(None, NOT_TEXT) == head)
    lines = name.endswith(".dat") and b"\n" in head and head.isascii()
    return lines and head.translate(None, NOT_TEXT) == head


FORMATS: tuple[Format, ...] = (
    Format(
        name="npy",
        suffixes=(".npy",),
        sniff=sniff_npy,
        module="chunkarr.formats.npy",
        open_options=("durability", "timeout"),
        create_options=("order",),
        summary="NumPy's array file: one uncompressed array, C or Fortran order, any dtype",
        resumable=True,
    ),
    Format(
        name="npz",
        suffixes=(".npz",),
        sniff=sniff_npz,
        module="chunkarr.formats.npz",
        open_options=(),
        create_options=("codec", "order"),
        summary="NumPy's zip file of arrays, stored or deflated: path.npz::name",
        members=True,
    ),
    Format(
        name="zarr",
        suffixes=(".zarr", ".zarr.zip"),
        sniff=sniff_zarr,
        module="chunkarr.formats.zarr",
        open_options=("missing", "durability", "timeout"),
        create_options=("chunks", "shards", "codec", "fill_value", "order", "attributes", "access", "layout"),
        summary="Zarr: a directory of compressed, checksummed chunks",
        directory=True,
        members=True,
        resumable=True,
    ),
    Format(
        name="mat",
        suffixes=(".mat",),
        sniff=sniff_mat,
        module="chunkarr.formats.mat",
        open_options=("durability", "timeout"),
        create_options=("version", "codec"),
        summary="MATLAB: variables of versions 4 to 7.3, x.mat::s/field; written as 7, version= 6 or 7.3",
        by_library=True,
        members=True,
    ),
    Format(
        name="hdf5",
        suffixes=(".h5", ".hdf5", ".hdf", ".he5", ".nxs", ".nc"),
        sniff=sniff_hdf5,
        module="chunkarr.formats.hdf5",
        open_options=("allow_external", "durability", "timeout", "unsafe_inplace"),
        create_options=("chunks", "codec", "order"),
        summary="HDF5: datasets in a file, path.h5::/group/dataset",
        by_library=True,
        members=True,
    ),
    Format(
        name="text",
        suffixes=(*TEXT_SUFFIXES, *(suffix + packed for suffix in TEXT_SUFFIXES for packed in COMPRESSED)),
        sniff=sniff_text,
        module="chunkarr.formats.text",
        open_options=(
            "delimiter",
            "header",
            "names",
            "dtype",
            "shape",
            "usecols",
            "skiprows",
            "comments",
            "quote",
            "missing",
            "decimal",
            "thousands",
            "encoding",
            "layout",
            "widths",
            "regexp",
            "rejects",
        ),
        create_options=("delimiter", "newline", "fmt", "header_text", "footer_text", "comments", "encoding"),
        summary="Text: csv, tsv, columns of fixed width, any regular expression; gz, bz2, xz, zst; - is standard input",
        headless=True,
    ),
    Format(
        name="wav",
        suffixes=(".wav", ".wave", ".rf64"),
        sniff=sniff_wav,
        module="chunkarr.formats.wav",
        open_options=("partial",),
        create_options=("rate", "bits"),
        summary="WAV: sound samples of 8 to 64 bits, a column a channel; RF64 beyond 4 GiB",
        resumable=True,
    ),
    Format(
        name="raw",
        suffixes=(".raw", ".bin", ".dat"),
        sniff=sniff_nothing,
        module="chunkarr.formats.raw",
        open_options=(
            "dtype",
            "shape",
            "offset",
            "footer",
            "stride",
            "byteorder",
            "markers",
            "record",
            "order",
            "partial",
            "durability",
            "timeout",
        ),
        create_options=("order",),
        summary="Raw records without a header: dtype=, shape= and offset= say what they are",
        resumable=True,
        headless=True,
    ),
    Format(
        name="packed",
        suffixes=(".packed",),
        sniff=sniff_nothing,
        module="chunkarr.formats.packed",
        open_options=(
            "layout",
            "bits",
            "bitorder",
            "signed",
            "shape",
            "offset",
            "footer",
            "row_stride",
            "row_align",
            "order",
            "partial",
        ),
        create_options=("layout", "bits", "bitorder", "signed", "row_stride", "row_align", "order"),
        summary="Packed integers of 1 to 32 bits: layout=, or bits= and bitorder=, and shape= say what they are",
        resumable=True,
        headless=True,
    ),
)
