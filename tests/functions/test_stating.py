"""Figures of arrays, by the function and by the command."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

import chunkarr as ca
from chunkarr.cli.stats import command
from chunkarr.functions.stating import statistics
from tests.strategies import chunked


def test_figures_leave_missing_values_out():
    x = np.random.default_rng(0).random((30, 20))
    x[3, 4] = np.nan
    found = statistics(chunked(x, (7, 20)), [0.0, 0.5])
    assert found["count"] == 599
    assert found["nan"] == 1
    assert found["min"] == np.nanmin(x) == found["quantiles"][0.0]
    assert found["max"] == np.nanmax(x)
    assert found["mean"] == pytest.approx(np.nanmean(x), rel=1e-14)
    assert found["std"] == pytest.approx(np.nanstd(x), rel=1e-14)
    assert found["quantiles"][0.5] == np.nanmedian(x)


@pytest.mark.parametrize("x", [np.zeros((0, 3)), np.full(3, np.nan)])
def test_of_nothing_there_are_no_figures(x):
    found = statistics(x, [0.5])
    assert found["count"] == 0
    assert found["mean"] is None
    assert found["quantiles"] == {0.5: None}


def test_whole_numbers_and_booleans_and_others():
    assert statistics(np.arange(5), [0.5]) == {
        "count": 5, "nan": 0, "min": 0, "max": 4, "mean": 2.0, "std": pytest.approx(2**0.5), "quantiles": {0.5: 2.0},
    }  # fmt: skip
    assert statistics(np.array([True, False]), [1.0])["mean"] == 0.5
    with pytest.raises(ca.UnsupportedError, match="complex"):
        statistics(np.zeros(3, complex), [0.5])


def test_the_command(tmp_path):
    path = str(tmp_path / "x.npy")
    np.save(path, np.arange(1001.0))
    ran = CliRunner().invoke(command, [path, "--quantile", "0.1,0.9", "--json"])
    assert ran.exit_code == 0, ran.output
    assert json.loads(ran.output)["quantiles"] == {"0.1": 100.0, "0.9": 900.0}
    ran = CliRunner().invoke(command, [path])
    assert "count    1,001" in ran.output
    assert "q 0.5    500.0" in ran.output
    assert CliRunner().invoke(command, [path, "--quantile", "1.5"]).exit_code == 2
