"""Histograms: NumPy's counts to the bit, its edges and errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chunkarr as ca
from chunkarr.functions import binrules
from chunkarr.ops import binning
from tests.oracle import check, same
from tests.strategies import chunked, chunks_of, shapes

RULES = ("auto", "fd", "doane", "scott", "rice", "sturges", "sqrt")


def made(shape, dtype, seed, high):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return np.asarray((rng.standard_normal(shape) * high).astype(dtype))
    return np.asarray(rng.integers(0, high + 1, shape).astype(dtype))


def cases():
    return st.builds(
        made, shapes(3, 300), st.sampled_from(["<f8", ">f8", "<f4", "<f2", "<i8", "u1", ">i2"]), st.integers(0, 999),
        st.sampled_from([0, 1, 7, 100]),
    )  # fmt: skip


def gaps(x):
    """Return ``x`` with a NaN, if it can hold one."""
    x = x.copy()
    if x.size and x.dtype.kind == "f":
        x.flat[0] = np.nan
    return x


@pytest.mark.parametrize("tile", [4, 1 << 14])
@settings(deadline=None)
@given(x=cases(), data=st.data())
def test_counts_and_edges(tile, x, data):
    x = gaps(x) if data.draw(st.integers(0, 9)) == 0 else x
    a = chunked(x, data.draw(chunks_of(x.shape)))
    bins = data.draw(
        st.sampled_from([1, 3, 15, 25, 100, 300, 0, 2.5, [0, 1, 5], [1, 1, 2.5], [3, 1], "nothing", [[1]]])
    )
    limits = data.draw(st.sampled_from([None, None, (0, 1), (0.5, 7), (3, 3), (2, 1), (0, np.inf)]))
    density = data.draw(st.sampled_from([None, None, True])) if x.size else None
    with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):
        patch.setattr(binning, "TILE", tile)
        patch.setattr(binning, "PLACED", tile)
        patch.setattr(binning, "COUNTED", 3 * tile)
        check(lambda: np.histogram(a, bins, limits, density), lambda: np.histogram(x, bins, limits, density))
        check(lambda: np.histogram_bin_edges(a, bins, limits), lambda: np.histogram_bin_edges(x, bins, limits))


@pytest.mark.parametrize("bins", [1, 14, 15, 100, 255, 256, 257, 1000])
@pytest.mark.parametrize(
    ("dtype", "limits"),
    [
        ("f8", (-1.0, 2.0)),
        ("f8", (0.1, 0.7)),
        ("f8", (1e9, 1e9 + 1)),
        ("f4", (np.float32(-1), np.float32(2))),
        ("i2", (-9, 30)),
    ],
)
def test_elements_on_edges_and_next_to_them(bins, dtype, limits):
    first, last = limits
    edges = np.histogram_bin_edges(np.zeros(0, dtype), bins, limits)
    near = [edges, np.nextafter(edges, -np.inf), np.nextafter(edges, np.inf)]
    near += [edges + k * 2e-16 * max(map(abs, limits)) for k in (-9, 9)]
    wide = np.random.default_rng(0).uniform(first - 0.1 * (last - first), last + 0.1 * (last - first), 150_000)
    inside = np.random.default_rng(1).uniform(first, last, 150_000)
    far = np.array([np.nan, np.inf, -np.inf, 1e300, -1e300]) if dtype == "f8" else np.array([first - 1, last + 1])
    x = np.concatenate([inside, *near, *near, wide, far]).astype(dtype)
    counter = binning.BinCounter(edges, limits)
    np.testing.assert_array_equal(counter([x]), np.histogram(x, bins, limits)[0])
    np.testing.assert_array_equal(counter([edges.astype(dtype)]), np.histogram(edges.astype(dtype), bins, limits)[0])


@settings(deadline=None)
@given(x=cases(), data=st.data())
def test_weights_are_summed(x, data):
    x = x.astype("f8") if x.dtype == "f2" else x
    w = np.random.default_rng(data.draw(st.integers(0, 9))).random(x.shape)
    w = w.astype(data.draw(st.sampled_from(["f8", "f4", "c16"])))
    a, b = chunked(x, data.draw(chunks_of(x.shape))), chunked(w, data.draw(chunks_of(x.shape)))
    bins = data.draw(st.sampled_from([3, 30, [0, 1, 5]]))
    for actual, expected in zip(
        np.histogram(a, bins, weights=b), np.histogram(x.ravel(), bins, weights=w.ravel()), strict=True
    ):
        same(actual, expected, rtol=1e-5)


def test_many_weights_do_not_depend_on_the_budget():
    rng = np.random.default_rng(0)
    x, w = rng.random(300_000), rng.random(300_000)
    a, b = chunked(x, (7_000,)), chunked(w, (50_000,))
    counts = [ca.histogram(a, 5, weights=b)[0].tolist()]
    with ca.config.set(memory="16MiB", workers=1):
        counts.append(ca.histogram(a, 5, weights=b)[0].tolist())
    assert counts[0] == counts[1]
    np.testing.assert_allclose(counts[0], np.histogram(x, 5, weights=w)[0], rtol=1e-14)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("limits", [None, (-0.5, 1.25)])
@pytest.mark.parametrize("kind", ["f8", "i4", "equal"])
def test_rules(rule, limits, kind, monkeypatch):
    x = np.random.default_rng(1).gamma(2.0, 10.0 if kind == "i4" else 1.0, 5_000)
    x = np.ones(100) if kind == "equal" else x.astype(kind)
    monkeypatch.setattr(binrules, "HELD", 10**18)
    same(ca.histogram_bin_edges(chunked(x, (700,)), rule, limits), np.histogram_bin_edges(x, rule, limits))


def test_a_rule_that_would_take_many_passes(monkeypatch):
    x = np.random.default_rng(1).random(300)
    same(ca.histogram_bin_edges(chunked(x, (70,)), "stone"), np.histogram_bin_edges(x, "stone"))
    monkeypatch.setattr(binrules, "HELD", 10**18)
    with pytest.raises(ca.UnsupportedError, match="stone"):
        ca.histogram(chunked(x, (70,)), "stone")
    with pytest.raises(TypeError, match="weighted"):
        ca.histogram(chunked(x, (70,)), "fd", weights=x)


@settings(deadline=None)
@given(data=st.data())
def test_several_axes(data):
    n = data.draw(st.sampled_from([0, 1, 50, 300]))
    x = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, 6, (n, 2)) * data.draw(
        st.sampled_from([1, 0.5])
    )
    a = chunked(x, data.draw(chunks_of(x.shape)))
    bins = data.draw(st.sampled_from([4, [2, 3], [[0, 1, 2], 3], [1], 0, [2.5, 1], [[2, 1], 3]]))
    limits = data.draw(st.sampled_from([None, None, [(0, 2), None], [(0, 1)]]))
    w = np.arange(n) / 8 if data.draw(st.booleans()) else None
    density = data.draw(st.booleans()) if n else None
    with np.errstate(all="ignore"):
        check(
            lambda: flat(np.histogramdd(a, bins, limits, density, w)),
            lambda: flat(np.histogramdd(x, bins, limits, density, w)),
        )


def test_columns_of_two_dtypes_are_brought_to_one():
    x, y = np.arange(9, dtype="f4") / 10, np.arange(9) * 2**53 + 1
    same(ca.histogram2d(chunked(x), chunked(y), 4), np.histogram2d(x, y, 4))
    same(flat(ca.histogramdd([chunked(x), x.astype(">f4")], 4)), flat(np.histogramdd([x, x.astype(">f4")], 4)))


def test_edges_without_a_bin():
    x = np.arange(9.0)
    for bins in ([5], []):
        check(lambda b=bins: np.histogram(chunked(x, (4,)), b), lambda b=bins: np.histogram(x, b))
        check(lambda b=bins: np.histogram(chunked(x[:0]), b), lambda b=bins: np.histogram(x[:0], b))
        check(lambda b=bins: np.histogram(chunked(x), b, weights=x), lambda b=bins: np.histogram(x, b, weights=x))


def test_wrong_arguments_are_looked_at_in_the_order_of_numpy():
    x = np.arange(9.0)
    a = chunked(x, (4,))
    check(lambda: np.histogram_bin_edges(a, 3, weights=[1.0]), lambda: np.histogram_bin_edges(x, 3, weights=[1.0]))
    turned = [(3, 1), (3, 1)]
    check(lambda: np.histogram2d(a, a, [2.5, 2], turned), lambda: np.histogram2d(x, x, [2.5, 2], turned), message=True)


def flat(found):
    counts, edges = found
    return counts, *edges


def test_two_axes():
    x, y = np.random.default_rng(0).random((2, 100))
    for bins in (5, [3, 4], [0, 0.2, 0.5, 1], [[0, 0.5, 1], 3], [[0, 1], [0.1, 0.2, 0.3]], [[0.5], 2]):
        same(ca.histogram2d(chunked(x, (9,)), chunked(y, (20,)), bins), np.histogram2d(x, y, bins))
    with pytest.raises(ValueError, match="same length"):
        ca.histogram2d(chunked(x, (9,)), y[1:])


@settings(deadline=None)
@given(x=cases(), data=st.data())
def test_bincount(x, data):
    x = x - data.draw(st.sampled_from([0, 0, 0, 1])) if x.dtype.kind == "i" else x
    x = x.ravel() if data.draw(st.integers(0, 5)) else x
    a = chunked(x, data.draw(chunks_of(x.shape)))
    least = data.draw(st.sampled_from([0, 5, 1000, -1]))
    weights = data.draw(st.sampled_from([None, np.arange(x.size) / 4, np.ones(3)]))
    check(lambda: np.bincount(a, weights, least), lambda: np.bincount(x, weights, least))


@settings(deadline=None)
@given(x=cases(), data=st.data())
def test_digitize(x, data):
    a = chunked(x, data.draw(chunks_of(x.shape)))
    bins = data.draw(st.sampled_from([[0, 1, 5], [5.5, 1, 0.0], [1, 1], [1, 3, 2], [2.0], [], [np.nan] * 2, [7, 7, 1]]))
    right = data.draw(st.booleans())
    check(lambda: np.digitize(a, bins, right), lambda: np.asarray(np.digitize(x, bins, right)))


def test_booleans_count_as_integers():
    x = np.array([True, False, True])
    with pytest.warns(RuntimeWarning):
        same(ca.histogram(chunked(x), 2), np.histogram(x, 2))
