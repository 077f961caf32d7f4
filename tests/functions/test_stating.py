"""Figures of arrays, by the function and by the command."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import chunkarr as ca
from chunkarr import engine
from chunkarr.cli.stats import command
from chunkarr.functions import ranking
from chunkarr.functions.stating import statistics
from chunkarr.ops import figures
from tests.strategies import arrays, chunked, chunks_of, shapes


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


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@settings(max_examples=30)
@given(
    x=arrays(st.sampled_from(["?", "i1", ">u2", "<i4", "<u8", ">i8", "f2", ">f4", "f8"]), shapes(3, 400)),
    shift=st.sampled_from([0, 0, 1e6]),
    data=st.data(),
)
def test_figures_are_those_of_numpy(x, shift, data):
    x = x + shift if shift and x.dtype.kind == "f" and x.dtype.itemsize == 8 else x
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "PIECE", data.draw(st.sampled_from([3, 7, 1 << 18])))
        found = statistics(chunked(x, data.draw(chunks_of(x.shape))), [0.0, 0.3, 1.0])
    numbers = x.astype("u1") if x.dtype == "?" else x
    gone = int(np.isnan(numbers).sum())
    assert (found["count"], found["nan"]) == (x.size - gone, gone)
    if not found["count"]:
        return
    assert found["min"] == np.nanmin(numbers)
    assert found["max"] == np.nanmax(numbers)
    quantiles = np.nanquantile(numbers, np.array([0.0, 0.3, 1.0])).tolist()
    assert list(found["quantiles"].values()) == pytest.approx(quantiles, rel=0, abs=0, nan_ok=True)
    with np.errstate(all="ignore"):
        mean, std = np.nanmean(numbers.astype("f8")), np.nanstd(numbers.astype("f8"))
    most = float(np.nanmax(np.abs(numbers.astype("f8"))))
    assert found["mean"] == pytest.approx(mean, rel=1e-13, abs=1e-13 * most, nan_ok=True)
    assert found["std"] == pytest.approx(std, rel=1e-12, abs=1e-12 * std, nan_ok=True)


def test_large_means_cost_the_spread_nothing(monkeypatch):
    monkeypatch.setattr(figures, "PIECE", 999)
    x = np.random.default_rng(0).random(50_000) + 1e9
    exact = math.sqrt(math.fsum((x - x.mean()) ** 2) / x.size - float((x - x.mean()).mean()) ** 2)
    assert statistics(chunked(x, (700,)), [0.5])["std"] == pytest.approx(exact, rel=1e-13)


@pytest.mark.parametrize(("dtype", "expected"), [("f8", ["visit", "pick_elements"]), ("u2", ["visit"])])
def test_one_pass_and_another_for_the_quantiles_of_wide_numbers(dtype, expected, monkeypatch):
    passes = []
    for module, name in ((engine, "visit"), (ranking, "tally"), (ranking, "pick_elements")):
        whole = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args, n=name, whole=whole: passes.append(n) or whole(*args))
    x = (np.random.default_rng(0).random(30_000) * 1000).astype(dtype)
    statistics(chunked(x, (5000,)), [0.25, 0.5, 0.75])
    assert passes == expected


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
    ran = CliRunner().invoke(command, [path, "--quantile", "0", "--quantile", "0.1,1", "--json"])
    assert json.loads(ran.output)["quantiles"] == {"0.0": 0.0, "0.1": 100.0, "1.0": 1000.0}


def test_the_command_on_records_looks_at_each_field_of_numbers(tmp_path):
    x = np.zeros(4, [("run", ">i4"), ("name", "S3"), ("pair", "f4", (2,))])
    x["run"], x["pair"] = [4, 1, 2, 3], [[np.nan, 1]] * 4
    np.save(tmp_path / "x.npy", x)
    ran = CliRunner().invoke(command, [str(tmp_path / "x.npy"), "--json", "--quantile", "0.5"])
    found = json.loads(ran.output)["fields"]
    assert found["run"] == statistics(x["run"], [0.5]) | {"quantiles": {"0.5": 2.5}}
    assert (found["pair"]["count"], found["pair"]["nan"]) == (4, 4)
    assert "name: no real numbers" in CliRunner().invoke(command, [str(tmp_path / "x.npy")]).output


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_command_writes_json_that_any_program_reads(tmp_path):
    np.save(tmp_path / "x.npy", [np.inf, 1, -np.inf])
    ran = CliRunner().invoke(command, [str(tmp_path / "x.npy"), "--json"])
    found = json.loads(ran.output, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert (found["min"], found["max"], found["mean"]) == ("-Infinity", "Infinity", "NaN")
