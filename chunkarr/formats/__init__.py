"""Arrays at rest: what a format offers (`contract`), the formats, and the table of them (`table`)."""

from __future__ import annotations

__all__: list[str] = []
