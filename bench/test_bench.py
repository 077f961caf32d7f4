"""Every contestant of every case runs once on tiny data and is compared with NumPy, so that none can rot.

``pytest bench --benchmark-enable`` times them on these data, which says little: see ``python -m bench``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.cases import CASES
from bench.data import DATASETS, make
from bench.harness import Case, Contestant, Data, Rows, check
from bench.measure import measure
from bench.report import record, table

__all__: list[str] = []

# Peers may warn as they like.
pytestmark = pytest.mark.filterwarnings("default")

PAIRS = [
    pytest.param(case, contestant, id=f"{case.name}-{contestant.name.replace(', ', '-').replace(' ', '_')}")
    for case in CASES.values()
    for contestant in case.contestants
]


@pytest.mark.parametrize(("case", "contestant"), PAIRS)
def test_contestant_gives_numpys_answer(
    case: Case, contestant: Contestant, tiny: Data, tmp_path: Path, benchmark: Any
) -> None:
    for module in contestant.missing():
        pytest.skip(f"{module} is not installed")
    for name in case.inputs:
        if name.endswith(".b2nd"):
            pytest.importorskip("blosc2")
        if name.endswith(".parquet"):
            pytest.importorskip("polars")
        if name == "v7.mat":
            pytest.importorskip("scipy")
        make(tiny, name)
    expected = case.expected(tiny)
    contestant.begin(tiny, tmp_path / "out")
    # pytest-benchmark repeats; what is stored must be stored anew.
    result = benchmark.pedantic(contestant.run, args=(tiny, tmp_path / "out"), rounds=1, iterations=1)
    contestant.verify(result, expected, case.rtol)


def test_check_refuses_another_answer(tiny: Data) -> None:
    case = CASES["count-npy"]
    for name in case.inputs:
        make(tiny, name)
    expected = np.asarray(case.expected(tiny))
    with pytest.raises(AssertionError):
        check(expected + 1, expected, 1e-12)
    with pytest.raises(AssertionError, match="NumPy gives int64"):
        check(expected.astype(float), expected, 0)


def test_check_refuses_other_rows() -> None:
    expected = np.array([(1.0, 2), (2.0, 1)], "f8,i8")
    check(Rows(expected.shape, expected.dtype, lambda rows: expected[rows]), expected, 0)
    other = expected[::-1].copy()
    with pytest.raises(AssertionError):
        check(Rows(other.shape, other.dtype, lambda rows: other[rows]), expected, 0)


def test_measuring_in_processes(tiny: Data) -> None:
    case = CASES["std-npy"]
    results = measure(case, tiny, rounds=2, only=["numpy.memmap", "numpy.memmap, tiles by hand"])
    assert [len(r.seconds) for r in results] == [2, 2], [r.failure for r in results]
    assert "numpy.memmap, tiles by hand" in table({case.name: record(case, tiny.size, results, 0.0)})


def test_every_input_is_used() -> None:
    sources = {source for source, _ in DATASETS.values()}
    assert {name for case in CASES.values() for name in case.inputs} | sources >= DATASETS.keys()
