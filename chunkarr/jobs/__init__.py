"""Work from file to file, with a report of what was done."""

from __future__ import annotations

from chunkarr.jobs.converting import convert, rechunk
from chunkarr.jobs.growing import append, concat
from chunkarr.jobs.reducing import reduce
from chunkarr.jobs.report import Report, stored_bytes
from chunkarr.jobs.sorting import sort

__all__ = ["Report", "append", "concat", "convert", "rechunk", "reduce", "sort", "stored_bytes"]
