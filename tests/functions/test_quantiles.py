"""Medians and quantiles: NumPy's to the bit, held whole or found by counting."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chunkarr as ca
from chunkarr.functions import quantiles, ranking
from chunkarr.ops import ranking as sieves
from tests.oracle import check, same
from tests.strategies import chunked, chunks_of, shapes

METHODS = (
    "inverted_cdf", "averaged_inverted_cdf", "closest_observation", "interpolated_inverted_cdf", "hazen", "weibull",
    "linear", "median_unbiased", "normal_unbiased", "lower", "higher", "midpoint", "nearest",
)  # fmt: skip
DTYPES = ("?", "i1", "u1", "<i2", ">u2", "<i4", "<u8", "<i8", "<f2", "<f4", ">f4", "<f8", ">f8", "<m8[s]", "<M8[ms]")
LIKE = {"all equal": 1, "two values": 2, "few": 5, "many": 10**6}


@contextlib.contextmanager
def by_counting(*, picked: int = 4, tables: int = 32):
    """Look elements up by their keys, however few there are; with a huge ``picked``, to the last digit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantiles, "WHOLE", 10**18)
        patch.setattr(ranking, "PICKED", picked)
        patch.setattr(ranking, "TABLES", tables)
        patch.setattr(sieves, "FEW", 2)
        yield


def made(shape, dtype, seed, like, gaps):
    """Return values of a dtype: some distribution, both signs, infinities, and missing ones."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-like, like + 1, shape)
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            x = (x * rng.choice([0.1, 1e-30, 1e30, 1e300])).astype(dtype)
        x = np.where(rng.random(shape) < 0.02, np.inf, x).astype(dtype) + 0  # one kind of zero: their order is open
    x = x.astype(dtype)
    if gaps and dtype.kind in "fmM":
        x = np.where(rng.random(shape) < gaps, np.array("NaT" if dtype.kind in "mM" else np.nan, dtype), x)
    return np.asarray(x, dtype)


def cases():
    return st.builds(
        made, shapes(3, 300), st.sampled_from(DTYPES), st.integers(0, 999), st.sampled_from(list(LIKE.values())),
        st.sampled_from([0, 0, 0.1, 1]),
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("counted", [None, 4, 10**18], ids=["whole", "counted", "to the last digit"])
@settings(deadline=None)
@given(x=cases(), data=st.data())
def test_quantiles_are_those_of_numpy(counted, x, data):
    a = chunked(x, data.draw(chunks_of(x.shape)))
    name = data.draw(st.sampled_from(["quantile", "nanquantile", "percentile", "nanpercentile"]))
    if name.startswith("nan") and x.dtype.kind == "f":  # of nothing but NaN NumPy's dtype is another for smaller ones
        x = x.astype("f8")
        a = a.astype("f8")
    scale = 100 if "percentile" in name else 1
    q = data.draw(st.sampled_from([0, 0.5, 1.0, [0.1, 0.5, 0.99], [], [[0.3, 1], [0.0, 0.6]], 1.1, np.float32(0.3)]))
    q = q if np.ndim(q) == 0 and type(q) is not float else np.multiply(q, scale) if np.ndim(q) else q * scale
    axis = data.draw(st.none() | st.integers(-x.ndim - 1, x.ndim) | st.just(tuple(range(x.ndim))[:2]))
    method, keep = data.draw(st.sampled_from((*METHODS, "cubic"))), data.draw(st.booleans())
    if name.startswith("nan") and x.dtype.kind in "fmM" and np.isnan(x).all():
        method = "linear" if method == "cubic" else method  # where nothing is left NumPy does not look at the method
    with by_counting(picked=counted, tables=4096) if counted else contextlib.nullcontext():
        if isinstance(axis, tuple) and name.startswith("nan"):
            q = np.ravel(q) if np.ndim(q) else q  # of more axes NumPy's result is transposed
        check(
            lambda: getattr(np, name)(a, q, axis, method=method, keepdims=keep),
            lambda: np.asarray(getattr(np, name)(x, q, axis, method=method, keepdims=keep)),
        )


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("counted", [False, True])
@settings(deadline=None)
@given(x=cases(), data=st.data())
def test_medians_are_those_of_numpy(counted, x, data):
    x = x.view("m8[ms]") if x.dtype.kind == "M" else x  # NumPy has medians of no dates, but for NaT alone
    a = chunked(x, data.draw(chunks_of(x.shape)))
    axis = data.draw(st.none() | st.integers(-x.ndim - 1, x.ndim))
    keep = data.draw(st.booleans())
    with by_counting() if counted else contextlib.nullcontext():
        for function in (np.median, np.nanmedian):
            check(
                lambda f=function: f(a, axis, keepdims=keep), lambda f=function: np.asarray(f(x, axis, keepdims=keep))
            )


def test_strange_missing_values_and_both_infinities():
    bits = np.array([0x7FF0 << 48, 0xFFF0 << 48, (0x7FF0 << 48) + 1, (0xFFF0 << 48) + 1, 0x3FF0 << 48], "u8")
    x = np.repeat(bits, [5, 4, 3, 2, 1]).view("f8")
    a = chunked(x, (4,))
    with by_counting():
        same(
            np.nanquantile(a, [0.0, 0.2, 0.5, 1.0], method="lower"), np.nanquantile(x, [0, 0.2, 0.5, 1], method="lower")
        )
        assert np.isnan(float(ca.median(a)))


def test_weights():
    rng = np.random.default_rng(0)
    x, w = rng.random((20, 7)), rng.random((20, 7))
    a, b = chunked(x, (6, 3)), chunked(w, (5, 7))
    for axis in (None, 0, 1):
        expected = np.quantile(x, [0.2, 0.7], axis, method="inverted_cdf", weights=w)
        same(ca.quantile(a, [0.2, 0.7], axis, method="inverted_cdf", weights=b), expected)
    same(
        ca.percentile(a, 30, 0, method="inverted_cdf", weights=w[:, 0]),
        np.percentile(x, 30, 0, method="inverted_cdf", weights=w[:, 0]),
    )
    with pytest.raises(ValueError, match="non-negative"):
        ca.quantile(a, 0.5, method="inverted_cdf", weights=-b)
    with pytest.raises(ValueError, match="inverted_cdf"):
        ca.quantile(a, 0.5, weights=b)


def test_results_go_into_an_ndarray():
    x = np.arange(12.0).reshape(3, 4)
    out = np.empty(4)
    assert ca.median(chunked(x, (2, 2)), axis=0, out=out) is out
    assert out.tolist() == [4, 5, 6, 7]


def test_two_passes_over_what_spreads_and_four_over_what_does_not(monkeypatch):
    passes = []
    for name in ("tally", "pick_elements"):
        whole = getattr(ranking, name)
        monkeypatch.setattr(ranking, name, lambda *args, whole=whole: passes.append(args) or whole(*args))
    spread, equal = np.random.default_rng(0).random(100_000), np.full(100_000, 0.1)
    for x, picked, expected in ((spread, 4, 2), (equal, 2**20, 4)):
        passes.clear()
        with by_counting(picked=picked), ca.config.set(memory="64MiB"):
            same(ca.median(chunked(x, (5_000,))), np.median(x))
        assert len(passes) == expected


def test_what_comes_after_a_median_fits_a_small_budget():
    x = np.random.default_rng(0).random((64, 80_000))
    with ca.config.set(memory="32MiB"):
        same(ca.median(chunked(x, (64, 80_000)), axis=0).max(), np.median(x, axis=0).max())
