"""Every error chunkarr raises itself: what was asked, what is allowed, what to do.

::

    ChunkarrError
    ├── FormatError (ValueError)          a file is not what it claims to be
    │   ├── MetadataError                 ... in its metadata
    │   ├── UnsafeInputError              reading it would run code or open other files
    │   ├── TextError                     a line or field of a text is not what its column holds
    │   └── CorruptChunkError             stored bytes do not match what was written
    │       ├── MissingChunkError (FileNotFoundError)
    │       └── ForeignChangeError        another writer than chunkarr changed them
    ├── UnsupportedError (NotImplementedError)   well formed, but beyond chunkarr
    ├── GridError (ValueError)            chunks or shards that cannot be
    ├── MemoryBudgetError (MemoryError)   the work cannot fit the budget
    ├── StaleExpressionError (RuntimeError)      a source changed after the expression was built
    │   └── GenerationChangedError        ... while it was read
    ├── ArrayLockedError (BlockingIOError)       another writer changes the array now
    ├── CommittedNotAppliedError (OSError)       a change is safe, but in its place only after the next open
    ├── ResumeMismatchError (RuntimeError)       the unfinished output was made from something else
    ├── TargetExistsError (FileExistsError)      an output is there already
    ├── CancelledError (RuntimeError)     the run was interrupted
    └── OptionError (TypeError, ValueError)      an option that this call does not take

Each is also the built-in exception that NumPy or Python would raise in its place, so code written
for NumPy keeps working.
"""

__all__ = [
    "ArrayLockedError",
    "CancelledError",
    "ChunkarrError",
    "CommittedNotAppliedError",
    "CorruptChunkError",
    "ForeignChangeError",
    "FormatError",
    "GenerationChangedError",
    "GridError",
    "MemoryBudgetError",
    "MetadataError",
    "MissingChunkError",
    "OptionError",
    "ResumeMismatchError",
    "StaleExpressionError",
    "TargetExistsError",
    "TextError",
    "UnsafeInputError",
    "UnsupportedError",
]


class ChunkarrError(Exception):
    """The root of chunkarr's own errors."""


class FormatError(ChunkarrError, ValueError):
    """A file is not a valid file of its format; names the file and the reason."""


class MetadataError(FormatError):
    """The metadata of a file are cut, absurd or contradict the file."""


class UnsafeInputError(FormatError):
    """Reading the file would run code from it or open files outside it."""


class TextError(FormatError):
    """A line or field of a text file is not what its column holds; names file, line and column."""


class CorruptChunkError(FormatError):
    """A stored chunk is truncated, flipped, or decodes to another size than declared."""


class MissingChunkError(CorruptChunkError, FileNotFoundError):
    """A chunk of an array that was completed is not there."""


class ForeignChangeError(CorruptChunkError):
    """A chunk is whole, but not the one that chunkarr wrote: another writer changed the array; see `adopt`."""


class UnsupportedError(ChunkarrError, NotImplementedError):
    """The input is well formed, but needs something that chunkarr does not have."""


class GridError(ChunkarrError, ValueError):
    """Chunks or shards that do not fit the array."""


class MemoryBudgetError(ChunkarrError, MemoryError):
    """The work cannot be done within the memory budget; raised before it starts."""


class StaleExpressionError(ChunkarrError, RuntimeError):
    """A source of an expression changed after the expression was built."""


class GenerationChangedError(StaleExpressionError):
    """An array changed while it was read, again and again; nothing mixed was returned."""


class ArrayLockedError(ChunkarrError, BlockingIOError):
    """Another writer holds the array; nothing was changed."""


class CommittedNotAppliedError(ChunkarrError, OSError):
    """A change was committed and will not be lost, but could not be put in place; the next open does that."""


class ResumeMismatchError(ChunkarrError, RuntimeError):
    """An unfinished output was made from another source or with other arguments; start without ``resume``."""


class TargetExistsError(ChunkarrError, FileExistsError):
    """The output exists already and ``overwrite=True`` was not given."""


class CancelledError(ChunkarrError, RuntimeError):
    """The run was cancelled before it was complete; no output was left."""


class OptionError(ChunkarrError, TypeError, ValueError):
    """An option that this call does not know, or a value that it does not take."""
