"""Text: csv of floats to npy within 256 MiB, and back; peers hold all of it in memory.

The core install of chunkarr is one contestant; with pyarrow, which it uses where it is installed, another.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bench.data import rows
from bench.harness import Case, Contestant, Data, Rows

__all__ = ["CASES"]

BUDGET = 256 << 20  # bytes
LIMIT = BUDGET * 11 // 10 + (32 << 20)  # bytes: what the process may measure
SHARE = 20  # of the rows, which `genfromtxt` reads


def _expected(data: Data) -> Rows:
    values = data.load("rows.npy")
    return Rows(values.shape, values.dtype, lambda part: np.asarray(values[part]))


def _moved(size: int) -> int:
    return size + rows(size).nbytes


# --- reading --------------------------------------------------------------------------------------------


def _read(data: Data, out: Path, *, arrow: bool) -> object:
    import chunkarr as ca
    from chunkarr.formats import text

    text.ARROW_FROM = 0 if arrow else 1 << 62
    with ca.config.set(memory=BUDGET):
        ca.convert(data.path("rows.csv"), out / "rows.npy", durability="process")
    return out / "rows.npy"


def _stored(values: np.ndarray[Any, Any], out: Path) -> Path:
    np.save(out / "rows.npy", values)
    return out / "rows.npy"


def _read_loadtxt(data: Data, out: Path) -> object:
    return _stored(np.loadtxt(data.path("rows.csv"), delimiter=","), out)


def _read_genfromtxt(data: Data, out: Path) -> object:
    count = rows(data.size).shape[0] // SHARE
    return _stored(np.genfromtxt(data.path("rows.csv"), delimiter=",", max_rows=count), out)


def _read_polars(data: Data, out: Path) -> object:
    import polars as pl

    return _stored(pl.read_csv(data.path("rows.csv"), has_header=False).to_numpy(), out)


def _read_duckdb(data: Data, out: Path) -> object:
    import duckdb

    with duckdb.connect() as base:
        found = base.execute("select * from read_csv(?, header=false)", [data.path("rows.csv")]).fetchnumpy()
    return _stored(np.stack(list(found.values()), axis=1), out)


# --- writing --------------------------------------------------------------------------------------------


def _write(data: Data, out: Path, *, arrow: bool) -> object:
    import chunkarr as ca
    from chunkarr.formats import text_writer

    text_writer.ARROW_FROM = 0 if arrow else 1 << 62
    with ca.config.set(memory=BUDGET):
        ca.savetxt(out / "rows.csv", ca.open(data.path("rows.npy")), fmt=None, delimiter=",", durability="process")
    return out / "rows.csv"


def _write_savetxt(data: Data, out: Path) -> object:
    np.savetxt(out / "rows.csv", data.load("rows.npy"), delimiter=",")
    return out / "rows.csv"


def _write_polars(data: Data, out: Path) -> object:
    import polars as pl

    pl.from_numpy(np.load(data.path("rows.npy"))).write_csv(out / "rows.csv", include_header=False)
    return out / "rows.csv"


def _write_pyarrow(data: Data, out: Path) -> object:
    import pyarrow as pa  # type: ignore[import-untyped]
    from pyarrow import csv

    values = np.load(data.path("rows.npy"))
    table = pa.table({str(k): values[:, k] for k in range(values.shape[1])})
    csv.write_csv(table, out / "rows.csv", csv.WriteOptions(include_header=False))
    return out / "rows.csv"


def _parsed(answer: Any) -> np.ndarray[Any, Any]:
    return np.loadtxt(answer, delimiter=",")


CASES = (
    Case(
        name="csv-read",
        work="csv of five columns of floats to npy, no fsync",
        inputs=("rows.npy", "rows.csv"),
        moved=_moved,
        expected=_expected,
        contestants=(
            Contestant("chunkarr", lambda data, out: _read(data, out, arrow=False), limit=LIMIT),
            Contestant(
                "chunkarr, with pyarrow", lambda data, out: _read(data, out, arrow=True), ("pyarrow",), limit=LIMIT
            ),
            Contestant("numpy, loadtxt", _read_loadtxt, target=1.0),
            Contestant("numpy, genfromtxt", _read_genfromtxt, target=7.0, share=1 / SHARE),
            Contestant("polars", _read_polars, ("polars",)),
            Contestant("DuckDB", _read_duckdb, ("duckdb",)),
        ),
    ),
    Case(
        name="csv-write",
        work="npy of five columns of floats to csv, no fsync",
        inputs=("rows.npy",),
        moved=_moved,
        expected=_expected,
        contestants=(
            Contestant("chunkarr", lambda data, out: _write(data, out, arrow=False), limit=LIMIT, finish=_parsed),
            Contestant(
                "chunkarr, with pyarrow",
                lambda data, out: _write(data, out, arrow=True),
                ("pyarrow",),
                limit=LIMIT,
                finish=_parsed,
            ),
            Contestant("numpy, savetxt", _write_savetxt, target=1.5, finish=_parsed),
            Contestant("polars", _write_polars, ("polars",), finish=_parsed),
            Contestant("pyarrow", _write_pyarrow, ("pyarrow",), finish=_parsed),
        ),
    ),
)
