"""Reductions of random leaves, folded in random trees, against NumPy, and the bits of columns."""

from __future__ import annotations

import itertools
import math
import pickle
import warnings
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkarr.ops.reductions import NO_INITIAL, REDUCTIONS, Asked, Leaf, leaf_nbytes

Array = np.ndarray[Any, Any]

DTYPES = [
    *("?", "i1", "u1", "<i2", ">u2", "<i4", "<u4", ">i8", "<u8", "<f2", "<f4", ">f4", "<f8", ">f8", "g"),
    *("<c8", ">c16", "m8[s]", ">M8[ms]", "U3", "S2"),
]
LOOSE = {"sum", "prod", "mean", "var", "std", "add", "multiply", "hypot", "logaddexp", "logaddexp2"}


def is_loose(name: str) -> bool:
    """Whether the values depend on the order of floating-point operations."""
    return name.removeprefix("nan") in LOOSE


def tolerance(name: str, dtype: np.dtype[Any]) -> float:
    """Return the relative tolerance of a result: NumPy's own error counts too."""
    if dtype.kind not in "fc" or not is_loose(name):
        return 0.0
    return 400 * float(np.finfo(dtype).eps)


def random_values(rng: np.random.Generator, shape: tuple[int, ...], dtype: str, special: bool) -> Array:
    """Return values of any dtype; special ones (NaN, inf, NaT, zeros of both signs) on request."""
    kind = np.dtype(dtype).kind
    if kind in "fc":
        x = rng.normal(size=shape) + (1j * rng.normal(size=shape) if kind == "c" else 0)
        if special:
            odd = rng.choice([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0], size=shape)
            x = np.where(rng.random(shape) < 0.2, odd, x)
        return x.astype(dtype)
    if kind in "US":
        return rng.choice(["", "a", "b", "abc", "ab"], size=shape).astype(dtype)
    small = rng.integers(0 if kind == "u" else -3, 5, size=shape)
    if kind in "iu" and special:
        small = rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, size=shape, endpoint=True, dtype=dtype[-2:])
    values = (small % 2 if kind == "b" else small).astype(dtype)
    if kind in "mM" and special:
        values[rng.random(shape) < 0.1] = "NaT"
    return values


def cut(length: int, rng: np.random.Generator) -> list[slice]:
    """Cut a length into random pieces of at least one."""
    marks = np.flatnonzero(rng.random(max(length - 1, 0)) < 0.3) + 1
    edges = [0, *marks.tolist(), length]
    return [slice(a, b) for a, b in itertools.pairwise(edges) if b > a]


def reduce_by_leaves(
    name: str, x: Array, mask: Array | None, rng: np.random.Generator, *, inner: bool, asked: Asked | None = None
) -> Array:
    """Reduce axis 1 of x (K, R, C) leaf by leaf, adjacent states combined in random order."""
    row = REDUCTIONS[name]
    asked = asked or Asked(x.dtype, masked=mask is not None, count=x.shape[1])
    dtype, states = row.result(asked), row.states(asked)
    parts = []
    for piece in cut(x.shape[1], rng):
        start = piece.start
        leaf = Leaf(asked, states, inner, index=lambda local, start=start: local + start)
        tile = x[:, piece]
        tile.flags.writeable = False
        state = row.leaf(tile, None if mask is None else mask[:, piece], leaf)
        assert tuple(part.dtype for part in state) == states
        assert all(part.shape == (x.shape[0], x.shape[2]) and part.flags.writeable for part in state)
        parts.append(state)
    while len(parts) > 1:
        at = int(rng.integers(len(parts) - 1))
        parts[at : at + 2] = [row.combine(parts[at], parts[at + 1])]
    values = row.finish(parts[0], asked, dtype)
    assert values.dtype == dtype
    assert dtype.isnative
    return values


def outcome(function: Callable[[], Array]) -> tuple[str, Any, list[str]]:
    """Return what a call did: its value or error, and the warnings that are not about arithmetic."""
    with warnings.catch_warnings(record=True) as caught, np.errstate(all="ignore"):
        warnings.simplefilter("always")
        try:
            value = np.asarray(function())
        except (TypeError, ValueError) as error:
            builtin = TypeError if isinstance(error, TypeError) else ValueError
            return "error", (builtin, str(error)), []
    return "value", value, sorted({str(item.message) for item in caught})


def compare(name: str, expected: tuple[str, Any, list[str]], got: tuple[str, Any, list[str]]) -> None:
    """Assert the same value and dtype, or the same error, and the same warnings."""
    assert got[0] == expected[0], (got, expected)
    if expected[0] == "error":
        assert got[1] == expected[1]
        return
    assert got[2] == expected[2]
    want, have = expected[1], got[1]
    assert have.dtype == want.dtype
    rtol = tolerance(name, want.dtype)
    if rtol:
        with np.errstate(all="ignore"):
            np.testing.assert_allclose(have, want, rtol=rtol, atol=rtol * 4)
    else:
        np.testing.assert_array_equal(have, want)


@pytest.mark.parametrize("name", sorted(REDUCTIONS))
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), dtype=st.sampled_from(DTYPES), inner=st.booleans(), special=st.booleans())
def test_leaves_in_any_tree_give_numpy_answer(name: str, seed: int, dtype: str, inner: bool, special: bool) -> None:
    rng = np.random.default_rng(seed)
    if is_loose(name) and np.dtype(dtype).kind in "fc":
        special = False  # float sums with NaN and inf have a test of their own
    if name in ("gcd", "lcm") and special:
        special = False  # lcm overflows: then the order counts
    shape = (int(rng.integers(1, 4)), int(rng.integers(1, 20)), 1 if inner else int(rng.integers(1, 5)))
    x = random_values(rng, shape, dtype, special)
    row = REDUCTIONS[name]
    expected = outcome(lambda: row.numpy(x, axis=1))
    got = outcome(lambda: reduce_by_leaves(name, x, None, rng, inner=inner))
    compare(name, expected, got)


MASKED = sorted(set(REDUCTIONS) - {"ptp", "argmin", "argmax", "nanargmin", "nanargmax", "count_nonzero"})


@pytest.mark.parametrize("name", MASKED)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), dtype=st.sampled_from(DTYPES), inner=st.booleans(), start=st.sampled_from([None, 2]))
def test_where_and_initial_as_numpy(name: str, seed: int, dtype: str, inner: bool, start: int | None) -> None:
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 4)), int(rng.integers(1, 20)), 1 if inner else int(rng.integers(1, 5)))
    x = random_values(rng, shape, dtype, special=not is_loose(name) and name not in ("gcd", "lcm"))
    mask = rng.random(shape) < rng.choice([0.1, 0.7])
    options: dict[str, Any] = {"where": mask}
    if start is not None:
        options["initial"] = start
    row = REDUCTIONS[name]
    asked = Asked(x.dtype, masked=True, initial=NO_INITIAL if start is None else start, count=shape[1])
    expected = outcome(lambda: row.numpy(x, axis=1, **options))
    compare(name, expected, outcome(lambda: reduce_by_leaves(name, x, mask, rng, inner=inner, asked=asked)))


@pytest.mark.parametrize("name", ["nansum", "nanprod", "nanmean", "nanvar", "nanstd", "nanmax", "nanargmin"])
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), dtype=st.sampled_from(["<f2", "<f4", ">f8", "<c8", "<c16"]), share=st.floats(0, 1))
def test_nan_are_left_out(name: str, seed: int, dtype: str, share: float) -> None:
    rng = np.random.default_rng(seed)
    x = random_values(rng, (2, 30, 3), dtype, special=False)
    x[rng.random(x.shape) < share] = np.nan
    expected = outcome(lambda: REDUCTIONS[name].numpy(x, axis=1))
    compare(name, expected, outcome(lambda: reduce_by_leaves(name, x, None, rng, inner=False)))


@pytest.mark.parametrize("name", ["sum", "mean", "var", "nansum", "nanmean", "prod"])
@pytest.mark.parametrize("odd", [[np.nan], [np.inf], [-np.inf], [np.inf, -np.inf], [np.nan, np.inf]])
def test_nan_and_inf_spread_as_in_numpy(name: str, odd: list[float]) -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(1, 40, 2))
    x[0, rng.choice(40, len(odd), replace=False), 0] = odd
    expected = outcome(lambda: REDUCTIONS[name].numpy(x, axis=1))
    compare(name, expected, outcome(lambda: reduce_by_leaves(name, x, None, rng, inner=False)))


DTYPE_CASES = [
    *(("sum", "<f8", t) for t in ("f4", "i4", "f2", "c8", ">f8", "?", "S3")),
    *(("sum", "?", t) for t in ("i1", "f4", "?")),
    *(("mean", "<i4", t) for t in ("f2", "f4", "i4", "c8")),
    *(("mean", "<f2", t) for t in ("f2", "f8")),
    *(("var", "<i2", t) for t in ("f4", "c8")),
    *(("std", "<f4", t) for t in ("f8", "f2", "c16")),
    *(("nansum", "<f4", t) for t in ("f8", "i4")),
    *(("nanmean", "<f4", t) for t in ("f8", "i4")),
    *(("maximum", "<f8", t) for t in ("f4", "i4", "c8")),
    *(("bitwise_and", "<i4", t) for t in ("i8", "f4")),
    *(("logical_and", "<i4", t) for t in ("i4", "?")),
    *(("max", "<i4", "f4"), ("argmax", "<i4", "i4"), ("any", "<f4", "i4"), ("sum", "m8[s]", "f8")),
]


@pytest.mark.parametrize(("name", "in_dtype", "dtype"), DTYPE_CASES)
@pytest.mark.parametrize("inner", [False, True])
def test_dtype_argument_as_numpy(name: str, in_dtype: str, dtype: str, inner: bool) -> None:
    rng = np.random.default_rng(0)
    x = random_values(rng, (3, 17, 1), in_dtype, special=False)
    if np.dtype(in_dtype).kind == "f":
        x = np.abs(x * 10)
    asked = Asked(x.dtype, np.dtype(dtype), count=17)
    expected = outcome(lambda: REDUCTIONS[name].numpy(x, axis=1, dtype=np.dtype(dtype)))
    compare(name, expected, outcome(lambda: reduce_by_leaves(name, x, None, rng, inner=inner, asked=asked)))


def layouts(x: Array) -> list[Array]:
    """Return x in several memory layouts: order, reversed axes, gaps, offsets that are not aligned."""
    gaps = np.zeros(tuple(2 * n for n in x.shape), x.dtype)[::2, 1::2, ::2]
    gaps[...] = x
    turned = x[::-1, ::-1, ::-1].copy()[::-1, ::-1, ::-1]
    raw = np.zeros(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    raw[...] = x
    swapped = x.transpose(1, 0, 2).copy().transpose(1, 0, 2)
    return [np.asfortranarray(x), x.transpose(0, 2, 1).copy().transpose(0, 2, 1), swapped, gaps, turned, raw]


FLOATS = ["<f2", "<f4", "<f8", ">f8", "g", "<c8", "<c16", "<i4"]


@pytest.mark.parametrize("name", sorted(REDUCTIONS))
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("inner", [False, True])
def test_bits_of_a_column_depend_on_nothing_else(name: str, dtype: str, inner: bool) -> None:
    rng = np.random.default_rng(7)
    kept, rows, columns = (3, 2500, 1) if inner else (3, 64, 9)
    x = random_values(rng, (kept, rows, columns), dtype, special=name in ("max", "fmin", "minimum", "nansum"))
    if name == "min":
        x = np.where(rng.random(x.shape) < 0.5, 0.0, -0.0).astype(dtype)
    row = REDUCTIONS[name]
    asked = Asked(x.dtype, count=rows)
    try:
        row.result(asked)
    except TypeError:
        return
    leaf = Leaf(asked, row.states(asked), inner)
    with np.errstate(all="ignore"):
        whole = row.leaf(x, None, leaf)
        tiles = [(k, c, x) for k in cut(kept, rng) for c in cut(columns, rng)]
        tiles += [(slice(k, k + 1), slice(c, c + 1), x) for k in range(kept) for c in range(columns)]
        tiles += [(slice(0, 3), slice(0, n), other) for n in (columns, 1, 2, 5) for other in layouts(x)]
        for k, c, source in tiles:
            part = row.leaf(source[k, :, c], None, leaf)
            for mine, all_of_it in zip(part, whole, strict=True):
                want = np.ascontiguousarray(all_of_it[k, c])
                assert mine.tobytes() == want.tobytes() or _same_but_nan(mine, want), (name, dtype, k, c)


def _same_but_nan(a: Array, b: Array) -> bool:
    """Compare bits, any NaN being equal to any: `finish` gives them one pattern. Longdouble has padding."""
    if a.dtype == np.longdouble:
        return bool(np.array_equal(a, b, equal_nan=True) and np.array_equal(np.signbit(a), np.signbit(b)))
    if a.dtype.kind not in "fc":
        return False
    real = a.real.dtype
    a, b = np.ascontiguousarray(a).view(real).copy(), np.ascontiguousarray(b).view(real).copy()
    a[np.isnan(a)] = np.nan
    b[np.isnan(b)] = np.nan
    return a.tobytes() == b.tobytes()


@pytest.mark.parametrize("name", ["max", "fmax", "min", "fmin"])
def test_sign_of_zero_does_not_depend_on_order(name: str) -> None:
    zeros = np.array([0.0, -0.0] * 9).reshape(1, 18, 1)
    rng = np.random.default_rng(1)
    for _ in range(20):
        x = rng.permuted(zeros, axis=1).repeat(5, axis=2)
        got = reduce_by_leaves(name, x, None, rng, inner=False)
        assert (np.signbit(got) == (name in ("min", "fmin"))).all()


def test_nan_results_have_one_bit_pattern() -> None:
    strange = np.array([0x7FF8000000000123, 0xFFF8000000000456], np.uint64).view(np.float64)
    x = np.resize(strange, (2, 5, 4))
    for name in ("sum", "max", "nanmax", "mean", "var", "nanmean"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            got = reduce_by_leaves(name, x, None, np.random.default_rng(0), inner=False)
        assert got.tobytes() == np.full_like(got, np.nan).tobytes()


@pytest.mark.parametrize("upper", [True, False])
def test_index_ties_go_to_the_smallest_whatever_the_order(upper: bool) -> None:
    name = "argmax" if upper else "argmin"
    rng = np.random.default_rng(5)
    for dtype in ("<f8", "i1", "<c8", "M8[s]"):
        x = random_values(rng, (2, 40, 3), dtype, special=True)
        row = REDUCTIONS[name]
        asked = Asked(x.dtype, count=40)
        states = []
        for start in rng.permutation(range(0, 40, 4)):
            leaf = Leaf(asked, row.states(asked), inner=False, index=lambda local, start=start: local + start)
            states.append(row.leaf(x[:, start : start + 4], None, leaf))
        total = states[0]
        for state in states[1:]:
            total = row.combine(total, state)
        np.testing.assert_array_equal(row.finish(total, asked, np.dtype(np.int64)), row.numpy(x, axis=1))


@pytest.mark.parametrize("inner", [False, True])
@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
def test_sums_are_within_the_bound_of_a_pairwise_sum(dtype: str, inner: bool) -> None:
    rng = np.random.default_rng(11)
    rows = 40_000 if inner else 64
    x = (rng.normal(size=(2, rows, 1 if inner else 7)) * 10.0 ** rng.integers(-6, 6, (2, rows, 1))).astype(dtype)
    row = REDUCTIONS["sum"]
    asked = Asked(x.dtype, count=rows)
    (got,) = row.leaf(x, None, Leaf(asked, row.states(asked), inner))
    depth = 25 + math.log2(rows) if inner else rows
    for k in range(x.shape[0]):
        for c in range(x.shape[2]):
            column = x[k, :, c].tolist()
            error = abs(math.fsum([*column, -float(got[k, c])]))
            assert error <= depth * float(np.finfo(dtype).eps) / 2 * math.fsum(map(abs, column))


@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
@pytest.mark.parametrize("inner", [False, True])
def test_variance_of_a_large_mean_loses_nothing(dtype: str, inner: bool) -> None:
    rng = np.random.default_rng(2)
    mean = 1e9 if dtype == "<f8" else 1e4
    x = (mean + rng.normal(size=(1, 3000, 1 if inner else 3))).astype(dtype)
    got = reduce_by_leaves("var", x, None, rng, inner=inner)
    for c in range(x.shape[2]):
        exact = [Fraction(value) for value in x[0, :, c].tolist()]
        centre = sum(exact) / len(exact)
        truth = float(sum((value - centre) ** 2 for value in exact) / len(exact))
        assert abs(float(got[0, c]) - truth) <= truth * (1e-13 if dtype == "<f8" else 1e-6)


def test_mean_of_narrow_integers_is_exact() -> None:
    x = np.full((1, 60_001, 1), 65_535, np.uint16)
    x[0, 0] = 0
    got = reduce_by_leaves("mean", x, None, np.random.default_rng(0), inner=True)
    assert got[0, 0] == 65_535 * 60_000 / 60_001


@pytest.mark.parametrize("ddof", [0, 1, 5, 40, 0.5])
@pytest.mark.parametrize("name", ["var", "std", "nanvar", "nanstd"])
@pytest.mark.parametrize("dtype", ["<f8", "<i4"])
def test_ddof_and_its_warning_as_numpy(name: str, dtype: str, ddof: float) -> None:
    rng = np.random.default_rng(0)
    x = random_values(rng, (2, 5, 3), dtype, special=False)
    asked = Asked(x.dtype, ddof=ddof, count=5)
    expected = outcome(lambda: REDUCTIONS[name].numpy(x, axis=1, ddof=ddof))
    compare(name, expected, outcome(lambda: reduce_by_leaves(name, x, None, rng, inner=False, asked=asked)))


@pytest.mark.parametrize("name", sorted(REDUCTIONS))
@pytest.mark.parametrize("initial", [NO_INITIAL, 3, None])
def test_empty_reductions_as_numpy(name: str, initial: Any) -> None:
    options = {} if initial is NO_INITIAL else {"initial": initial}
    row = REDUCTIONS[name]
    expected = outcome(lambda: row.numpy(np.zeros(0), **options))
    compare(name, expected, outcome(lambda: row.empty(Asked(np.dtype(float), initial=initial))))


@pytest.mark.parametrize("dtype", [np.dtype(object), np.dtype("i4,f4"), np.dtype("V4")])
@pytest.mark.parametrize("name", sorted(REDUCTIONS))
def test_objects_and_structures_are_refused(name: str, dtype: np.dtype[Any]) -> None:
    with pytest.raises(TypeError):
        REDUCTIONS[name].result(Asked(dtype))


def test_initial_out_of_bounds_raises_before_any_work() -> None:
    with pytest.raises(OverflowError, match="300 out of bounds"):
        REDUCTIONS["max"].result(Asked(np.dtype("i1"), initial=300))


def test_rows_travel_between_processes() -> None:
    for row in REDUCTIONS.values():
        copy = pickle.loads(pickle.dumps(row))
        assert (copy.name, copy.numpy) == (row.name, row.numpy)
    assert pickle.loads(pickle.dumps(NO_INITIAL)) is NO_INITIAL


@pytest.mark.parametrize("name", ["sum", "var", "max", "nanmean", "argmax", "any"])
@pytest.mark.parametrize("dtype", ["?", "u2", "f4", "f8", "c16"])
def test_a_leaf_allocates_what_was_announced(name: str, dtype: str) -> None:
    import tracemalloc

    x = random_values(np.random.default_rng(0), (1, 64, 1024), dtype, special=True)
    mask = np.ones(x.shape, bool) if name in ("sum", "var", "nanmean") else None
    row = REDUCTIONS[name]
    asked = Asked(x.dtype, masked=mask is not None, count=64)
    leaf = Leaf(asked, row.states(asked), inner=False)
    tracemalloc.start()
    with np.errstate(all="ignore"):
        row.leaf(x, mask, leaf)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= leaf_nbytes(asked, x.size)


@pytest.mark.parametrize("name", ["nanmin", "nanmax"])
def test_slices_of_nat_only_warn_as_numpy(name: str) -> None:
    x = np.array(["NaT", 3, "NaT", "NaT"], "m8[s]").reshape(2, 2, 1)
    expected = outcome(lambda: REDUCTIONS[name].numpy(x, axis=1))
    assert expected[2] == ["All-NaN slice encountered"]
    compare(name, expected, outcome(lambda: reduce_by_leaves(name, x, None, np.random.default_rng(0), inner=True)))
