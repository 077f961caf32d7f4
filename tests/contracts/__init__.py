"""Suites that every row of a table must pass."""
