"""Every file call that changes something, and the reads beside them: the one place that knows the platform."""

from __future__ import annotations

from chunkarr.fsio import calls
from chunkarr.fsio.locking import ArrayLock
from chunkarr.fsio.publishing import (
    Durability,
    Owned,
    for_each,
    hidden_sibling,
    hold,
    log_beside,
    new_part,
    publish,
    refuse_existing,
    restore,
    sweep,
    sync_dir,
    sync_file,
    sync_tree,
    try_hold,
    unfinished,
)
from chunkarr.fsio.transfer import (
    PIECE,
    bytes_of,
    discard,
    make_dir,
    open_new,
    open_read,
    open_write,
    read_each,
    read_into,
    write_at,
    write_new,
)

__all__ = [
    "PIECE",
    "ArrayLock",
    "Durability",
    "Owned",
    "bytes_of",
    "calls",
    "discard",
    "for_each",
    "hidden_sibling",
    "hold",
    "log_beside",
    "make_dir",
    "new_part",
    "open_new",
    "open_read",
    "open_write",
    "publish",
    "read_each",
    "read_into",
    "refuse_existing",
    "restore",
    "sweep",
    "sync_dir",
    "sync_file",
    "sync_tree",
    "try_hold",
    "unfinished",
    "write_at",
    "write_new",
]
