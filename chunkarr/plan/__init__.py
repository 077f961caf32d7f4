"""Decide how expressions are evaluated: grids, cuts, programs, memory. Pure: nothing is read or run here."""

from __future__ import annotations

__all__: list[str] = []
