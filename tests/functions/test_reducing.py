"""Reductions and scans against NumPy: values, dtypes, errors, and the same bits however they are run."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chunkarr as ca
from chunkarr.functions import accumulating, reducing, sampling
from tests.oracle import check, same
from tests.strategies import arrays, chunked, chunks_of, shapes, stored

PLAIN = [np.sum, np.prod, np.min, np.max, np.ptp, np.mean, np.var, np.std, np.any, np.all, np.count_nonzero]
NAN = [np.nansum, np.nanprod, np.nanmin, np.nanmax, np.nanmean, np.nanvar, np.nanstd]
INDEX = [np.argmin, np.argmax, np.nanargmin, np.nanargmax]
WITH_INITIAL = [np.sum, np.prod, np.min, np.max, np.nansum, np.nanprod, np.nanmin, np.nanmax]
WITH_WHERE = [*WITH_INITIAL, np.mean, np.var, np.std, np.any, np.all, np.nanmean, np.nanvar, np.nanstd]
WITH_DTYPE = [np.sum, np.prod, np.mean, np.var, np.std, np.nansum, np.nanprod, np.nanmean, np.nanvar, np.nanstd]
SCANS = [np.cumsum, np.cumprod, np.nancumsum, np.nancumprod]
EXACT = {np.min, np.max, np.ptp, np.any, np.all, np.count_nonzero, np.nanmin, np.nanmax, *INDEX}

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of empty and all-NaN slices; asked for below


def axes_of(ndim):
    """Draw what may be given as ``axis=``: None, ints, tuples, now and then out of bounds or twice."""
    one = st.integers(-ndim - 1, ndim) if ndim == 0 else st.integers(-ndim, ndim - 1)
    return st.one_of(st.none(), one, st.lists(one, max_size=ndim, unique_by=lambda k: k % max(1, ndim)).map(tuple))


def numbers(kinds="?bhiqBHIQefdFD"):
    """Draw arrays of plain numbers that neither overflow nor cancel much, in both byte orders."""
    native = st.sampled_from(kinds).map(np.dtype)
    dtypes = st.tuples(native, st.sampled_from("<>")).map(lambda pair: pair[0].newbyteorder(pair[1]))
    return dtypes.flatmap(lambda dtype: arrays(dtype, shapes(3, 500)))


def close(actual, expected, x):
    """Compare sums within rounding: relative to what is summed, since terms may cancel."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype)
    if expected.dtype.kind not in "fc":
        np.testing.assert_array_equal(actual, expected)
        return
    eps = max(float(np.finfo(expected.dtype).eps), float(np.finfo(x.dtype).eps) if x.dtype.kind in "fc" else 0)
    finite = np.abs(x[np.isfinite(x)].astype("c16" if x.dtype.kind == "c" else "f8")) if x.size else np.zeros(1)
    size = float(finite.max(initial=1.0))
    parts = ((actual.real, expected.real), (actual.imag, expected.imag)) if actual.dtype.kind == "c" else ()
    for ours, numpys in parts or (
        (actual, expected),
    ):  # NumPy's comparison takes inf + 1j and inf + 2j for different infs
        np.testing.assert_allclose(ours, numpys, rtol=200 * eps, atol=200 * eps * size * max(1, x.size), equal_nan=True)


def compare(ours, numpys, x, *, exact):
    """Check as the oracle does; values within rounding unless they must be exact."""
    with np.errstate(all="ignore"):
        try:
            expected = numpys()
        except Exception:  # noqa: BLE001  # the oracle compares errors
            check(ours, numpys)
            return
        if exact or (x.dtype.kind in "?biu" and expected.dtype.kind in "?biu"):
            same(ours(), expected)
        else:
            close(ours(), expected, x)


@pytest.mark.parametrize("function", PLAIN + NAN, ids=lambda f: f.__name__)
@given(st.data())
@settings(max_examples=15)
def test_reduction_over_any_axes(function, data):
    kinds = {np.prod: "?bHIqdFf", np.nanprod: "?bHIqdFf", np.ptp: "bhiqBHIQefdFD"}
    x = data.draw(numbers(kinds.get(function, "?bhiqBHIQefdFD")))
    if function in {np.prod, np.nanprod} and x.dtype.kind in "fc":
        x = np.where(np.isfinite(x), np.sign(x.real), x).astype(x.dtype)  # exact, whatever the order
    a = chunked(x, data.draw(chunks_of(x.shape)))
    axis, keep = data.draw(axes_of(x.ndim)), data.draw(st.booleans())
    half = x.dtype.char == "e" and function not in EXACT  # NumPy rounds each step to half precision, we once
    if half:
        x = np.asarray(x, "f4")
        a = a.astype("f4")
    compare(lambda: function(a, axis=axis, keepdims=keep), lambda: function(x, axis=axis, keepdims=keep), x,
            exact=function in EXACT)  # fmt: skip


@pytest.mark.parametrize("function", WITH_WHERE, ids=lambda f: f.__name__)
@given(st.data())
@settings(max_examples=12)
def test_reduction_of_some_elements(function, data):
    x = data.draw(numbers("?bHqdf"))
    if function in {np.prod, np.nanprod}:
        x = np.sign(x) if x.dtype.kind != "b" else x
    a = chunked(x, data.draw(chunks_of(x.shape)))
    mask = data.draw(arrays("?", x.shape[data.draw(st.integers(0, x.ndim)) :]))
    options = {"axis": data.draw(axes_of(x.ndim)) if x.ndim else None, "where": mask}
    if function in WITH_INITIAL and data.draw(st.booleans()):
        options["initial"] = data.draw(st.sampled_from([0, 1, 3]))
    ours = options | {"where": chunked(mask)}
    compare(lambda: function(a, **ours), lambda: function(x, **options), x, exact=function in EXACT)


@pytest.mark.parametrize("function", WITH_DTYPE, ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", ["f4", "f8", "i8", "c16"])
def test_reduction_in_another_dtype(function, dtype):
    if dtype == "i8" and function.__name__.endswith(("var", "std")):
        return  # NumPy truncates the mean and each square, we truncate once
    x = np.arange(1, 13).reshape(3, 4) % 5
    compare(lambda: function(chunked(x, (2, 3)), dtype=dtype), lambda: function(x, dtype=dtype), x, exact=False)


@pytest.mark.parametrize("function", INDEX, ids=lambda f: f.__name__)
@given(st.data())
@settings(max_examples=25)
def test_place_of_an_extreme(function, data):
    x = data.draw(numbers())
    a = chunked(x, data.draw(chunks_of(x.shape)))
    axis = data.draw(st.none() | st.integers(-x.ndim - 1, x.ndim))
    check(lambda: function(a, axis), lambda: function(x, axis))
    check(lambda: function(a, keepdims=True), lambda: function(x, keepdims=True))


@given(numbers("iqfdF"), st.data())
def test_average(x, data):
    a = chunked(x, data.draw(chunks_of(x.shape)))
    axis = data.draw(axes_of(x.ndim))
    weights = data.draw(st.sampled_from([None, np.ones(x.shape), np.arange(x.size).reshape(x.shape), np.ones(2)]))
    compare(lambda: np.average(a, axis, weights), lambda: np.average(x, axis, weights), x, exact=False)


def test_average_by_weights_of_some_axes_and_their_sum():
    x = np.arange(24.0).reshape(2, 3, 4)
    a, w = chunked(x, (1, 2, 3)), np.arange(12.0).reshape(4, 3)
    ours = np.average(a, axis=(2, 1), weights=chunked(w), returned=True)
    same(ours, np.average(x, axis=(2, 1), weights=w, returned=True), rtol=1e-14)
    same(np.average(a, 0, returned=True), np.average(x, 0, returned=True))
    check(lambda: np.average(a, weights=a * 0), lambda: np.average(x, weights=x * 0), message=True)


def test_variance_about_a_given_mean_and_by_correction():
    x = np.arange(12.0).reshape(3, 4) ** 2
    a = chunked(x, 2)
    for ours, numpys in ((reducing.var, np.var), (reducing.std, np.std)):
        same(ours(a, axis=0, correction=1), numpys(x, axis=0, correction=1), rtol=1e-14)
        mean = x.mean(axis=0, keepdims=True)
        same(ours(a, axis=0, mean=mean), numpys(x, axis=0, mean=mean), rtol=1e-14)
        check(lambda f=ours: f(a, ddof=1, correction=1), lambda f=numpys: f(x, ddof=1, correction=1), message=True)
    with pytest.raises(ca.UnsupportedError, match="leave it out"):
        np.nanvar(a, mean=0.0)


@pytest.mark.parametrize("function", [np.min, np.max, np.ptp, np.argmin, np.argmax, np.nanargmax])
@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (0, 0)])
def test_reduction_of_no_elements(function, shape):
    x = np.zeros(shape)
    for axis in (None, 0, -1):
        check(lambda k=axis: function(chunked(x), k), lambda k=axis: function(x, k), message=True)


@pytest.mark.parametrize("axis", [2, -3, (0, 0), (0, 5), 1.5, "x"])
def test_bad_axis(axis):
    x = np.zeros((2, 3))
    check(lambda: np.sum(chunked(x), axis=axis), lambda: np.sum(x, axis=axis), message=True)


def test_mask_that_is_no_mask():
    x, mask = np.zeros((2, 3)), np.arange(3)
    check(lambda: np.sum(chunked(x), where=mask), lambda: np.sum(x, where=mask), message=True)
    check(lambda: np.max(chunked(x), where=[True, False, True]), lambda: np.max(x, where=[True, False, True]))


def test_no_elements_warn_as_in_numpy():
    with pytest.warns(RuntimeWarning, match="Mean of empty slice"):
        same(np.mean(chunked(np.zeros((0, 2))), axis=0), np.full(2, np.nan))
    with pytest.warns(RuntimeWarning, match="All-NaN slice encountered"):
        same(np.nanmax(chunked(np.full(4, np.nan), 2)), np.nan)


def test_all_nan_has_no_place_of_an_extreme():
    x = np.array([[1.0, np.nan], [np.nan, np.nan]])
    check(lambda: np.nanargmax(chunked(x, 1), axis=1), lambda: np.nanargmax(x, axis=1), message=True)


def test_results_go_to_out():
    x = np.arange(6).reshape(2, 3)
    out = np.zeros(3, "f4")
    assert np.sum(chunked(x), axis=0, out=out) is out
    same(out, np.sum(x, axis=0, out=np.zeros(3, "f4")))
    with pytest.raises(ValueError, match="output array has shape"):
        np.max(chunked(x), out=np.zeros(2))


# --- rounding and bits --------------------------------------------------------------------------


@given(st.integers(1, 400_000), st.integers(0, 2**16))
@settings(max_examples=15)
def test_sums_are_within_the_bound_of_pairwise_sums(size, seed):
    x = np.random.default_rng(seed).normal(size=size) * 10.0 ** np.random.default_rng(seed + 1).integers(-6, 6)
    exact, total = math.fsum(x), float(np.sum(chunked(x, max(1, size // 7))))
    bound = 2.0**-53 * (math.log2(size) + 4 + 128 / 8) * math.fsum(np.abs(x))  # runs of 128 in 8 lanes, then halves
    assert abs(total - exact) <= bound
    mean = float(np.mean(chunked(x.reshape(-1, 1), (max(1, size // 5), 1))))
    assert abs(mean - exact / size) <= (bound + 64 * 2.0**-53 * math.fsum(np.abs(x))) / size + 2.0**-53 * abs(mean)


def test_variance_of_large_means_is_exact():
    x = 1e9 + np.random.default_rng(5).integers(0, 2, 100_000).astype(float)
    assert float(np.var(chunked(x, 9_999))) == pytest.approx(np.var(x - 1e9), rel=1e-12)


def every_way(expression):
    """Return the bits of the values under several budgets, numbers of workers and schedulers."""
    import dask

    seen = set()
    for memory, workers, scheduler in [
        ("8MiB", 1, "threads"), ("8MiB", 3, "threads"), ("32MiB", 2, "sync"), ("256MiB", 2, "threads"),
        ("1GiB", 3, "threads"), ("1GiB", 1, "sync"),
    ]:  # fmt: skip
        with ca.config.set(memory=memory, workers=workers), dask.config.set(scheduler=scheduler):
            seen.add(np.asarray(expression()).tobytes())
    return seen


@pytest.mark.parametrize("axis", [None, 0, 1, 2, (0, 2)])
@pytest.mark.parametrize("function", [np.sum, np.mean, np.std, np.nanmean, np.prod], ids=lambda f: f.__name__)
def test_bits_do_not_depend_on_budget_workers_or_scheduler(tmp_path, function, axis):
    x = np.random.default_rng(3).normal(size=(30, 70, 90)).astype("f4") * 0.1 + 1
    a = stored(x, tmp_path / "x.zarr", chunks=(7, 16, 33))
    assert len(every_way(lambda: function(a, axis=axis))) == 1


@pytest.mark.parametrize("function", [np.sum, np.mean, np.var], ids=lambda f: f.__name__)
@pytest.mark.parametrize("axis", [0, 1])
def test_slices_of_a_reduction_have_its_bits(tmp_path, function, axis):
    x = np.random.default_rng(4).normal(size=(301, 257))
    a = stored(x, tmp_path / "x.zarr", chunks=(50, 60))
    whole = function(a, axis=axis).compute()
    for key in (slice(3, 7), slice(None, None, -1), slice(49, 52), 200):
        same(function(a, axis=axis)[key], whole[key])
    keep = function(a, axis=axis, keepdims=True)
    same(keep[:, 5:9] if axis == 0 else keep[5:9], whole[None, 5:9] if axis == 0 else whole[5:9, None])


def test_bits_of_scans_and_their_slices(tmp_path):
    x = np.random.default_rng(6).normal(size=(4000, 41))
    a = stored(x, tmp_path / "x.zarr", chunks=(300, 17))
    whole = np.cumsum(a, axis=0).compute()
    assert [*every_way(lambda: np.cumsum(a, axis=0))] == [whole.tobytes()]
    same(np.cumsum(a, axis=0)[1234:1240, 3], whole[1234:1240, 3])
    same(np.cumsum(a, axis=0)[-1], whole[-1])
    np.testing.assert_allclose(whole[-1], x.sum(axis=0), rtol=1e-11)


# --- scans --------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", SCANS, ids=lambda f: f.__name__)
@given(st.data())
@settings(max_examples=25)
def test_scan(function, data):
    x = data.draw(numbers("?bHiqfdD"))
    if "prod" in function.__name__:
        x = np.sign(x.real).astype(x.dtype) if x.dtype.kind != "b" else x
    a = chunked(x, data.draw(chunks_of(x.shape)))
    axis = data.draw(st.none() | st.integers(-x.ndim - 1, x.ndim))
    compare(lambda: function(a, axis), lambda: function(x, axis), x, exact=False)
    compare(lambda: function(a, axis, "f8"), lambda: function(x, axis, "f8"), x, exact=False)


@pytest.mark.parametrize("function", [np.cumulative_sum, np.cumulative_prod], ids=lambda f: f.__name__)
@given(st.data())
@settings(max_examples=25)
def test_scan_of_the_array_api(function, data):
    x = data.draw(numbers("?Biq"))
    a = chunked(x, data.draw(chunks_of(x.shape)))
    axis, first = data.draw(st.none() | st.integers(-x.ndim, x.ndim)), data.draw(st.booleans())
    check(lambda: function(a, axis=axis, include_initial=first), lambda: function(x, axis=axis, include_initial=first))


@pytest.mark.parametrize("ufunc", [np.add, np.maximum, np.fmin, np.logical_or, np.bitwise_xor, np.gcd, np.hypot])
@given(st.data())
@settings(max_examples=15)
def test_methods_of_ufuncs(ufunc, data):
    x = data.draw(numbers("?Biq"))
    a = chunked(x, data.draw(chunks_of(x.shape)))
    axis = data.draw(st.integers(-1, x.ndim))
    if ufunc is not np.hypot:
        check(lambda: ufunc.reduce(a, axis), lambda: ufunc.reduce(x, axis))
    if ufunc not in {np.gcd, np.hypot}:
        check(lambda: ufunc.accumulate(a, axis), lambda: ufunc.accumulate(x, axis))
    check(lambda: ufunc.outer(a, [1, 2]), lambda: ufunc.outer(x, [1, 2]))


def test_methods_of_ufuncs_that_are_refused():
    a = chunked(np.arange(4))
    for refused in (
        lambda: np.subtract.reduce(a), lambda: np.subtract.accumulate(a), lambda: np.add.reduceat(a, [0, 2]),
        lambda: np.interp(a, [0, 1], [0, 1]),
    ):  # fmt: skip
        with pytest.raises(TypeError, match="not implemented for chunkarr arrays"):
            refused()
    with pytest.raises(TypeError, match="cannot accumulate on a scalar"):
        np.add.accumulate(a[0])


# --- block_reduce -------------------------------------------------------------------------------


@given(arrays(st.sampled_from(["u1", ">u2", "i4", "f4", "f8"]), shapes(3, 400)), st.data())
@settings(max_examples=60)
def test_block_reduce(x, data):
    measure = pytest.importorskip("skimage.measure")
    size = data.draw(st.integers(1, 4) | st.tuples(*(st.integers(1, 4) for _ in x.shape)))
    func = data.draw(st.sampled_from([np.sum, np.mean, np.max, np.min, np.median]))
    cval = data.draw(st.sampled_from([0, 7]))
    if x.ndim == 0 or 0 in x.shape:
        return
    a = chunked(x, data.draw(chunks_of(x.shape)))
    with np.errstate(all="ignore"):
        expected = measure.block_reduce(x, size, func, cval)
        tight = x.dtype.kind == "f" and func in {np.sum, np.mean}
        close(sampling.block_reduce(a, size, func, cval), expected, x) if tight else same(
            sampling.block_reduce(a, size, func, cval), expected
        )


def test_block_reduce_passes_keywords_on_and_refuses():
    x = np.arange(64.0).reshape(8, 8)
    a = chunked(x, 3)
    same(sampling.block_reduce(a, 4, np.mean, func_kwargs={"dtype": "f4"}), x.reshape(2, 4, 2, 4).mean((1, 3), "f4"))
    with pytest.raises(ValueError, match="block_size"):
        sampling.block_reduce(a, (2, 2, 2))
    with pytest.raises(ValueError, match=">= 1"):
        sampling.block_reduce(a, 0)


def test_names_of_the_module_are_numpys():
    for module in (reducing, accumulating):
        assert all(hasattr(np, name) for name in module.__all__)
