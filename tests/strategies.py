"""What hypothesis draws: shapes, dtypes, arrays, chunks, keys; and chunkarr arrays made of them."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

__all__ = [
    "advanced_keys",
    "arrays",
    "basic_keys",
    "chunked",
    "chunks_of",
    "dtypes",
    "examples",
    "numeric_dtypes",
    "shapes",
    "stored",
]

BOOLEANS = ["?"]
INTEGERS = [order + kind for kind in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8") for order in "<>"]
FLOATS = [order + kind for kind in ("f2", "f4", "f8") for order in "<>"]
COMPLEX = [order + kind for kind in ("c8", "c16") for order in "<>"]
TIMES = ["<M8[us]", ">M8[D]", "<m8[ns]", ">m8[s]"]
STRUCTURED = [
    np.dtype([("x", "<f8"), ("n", ">i4")]),
    np.dtype([("flag", "?"), ("pair", ">u2", (2,))]),
    np.dtype({"names": ["a", "b"], "formats": ["u1", "<f4"], "offsets": [0, 4], "itemsize": 12}),
]


def examples(count: int) -> int:
    """Return how many examples a slow test draws: ``count``, and 25 times as many in the nightly profile."""
    return count * max(1, settings.default.max_examples // 200)


def shapes(max_dims: int = 4, max_size: int = 2000) -> st.SearchStrategy[tuple[int, ...]]:
    """Draw shapes: 0-d, empty, size one, long and thin, and plain ones; ``max_size`` elements at most."""
    plain = hnp.array_shapes(min_dims=0, max_dims=max_dims, min_side=0, max_side=7)
    thin = st.permutations([max_size // 2] + [1] * min(max_dims - 1, 2)).map(tuple)
    ones = st.integers(0, max_dims).map(lambda ndim: (1,) * ndim)
    return st.one_of(plain, ones, thin).filter(lambda shape: math.prod(shape) <= max_size)


def numeric_dtypes() -> st.SearchStrategy[np.dtype]:
    """Draw booleans, integers, floats and complex numbers in both byte orders."""
    return st.sampled_from(BOOLEANS + INTEGERS + FLOATS + COMPLEX).map(np.dtype)


def dtypes() -> st.SearchStrategy[np.dtype]:
    """Draw every kind of dtype: numbers, times, fixed-width text and bytes, structured with padding."""
    return st.one_of(
        numeric_dtypes(), st.sampled_from(TIMES).map(np.dtype), st.sampled_from(["S3", "<U2", ">U2"]).map(np.dtype),
        st.sampled_from(STRUCTURED),
    )  # fmt: skip


@st.composite
def arrays(
    draw: st.DrawFn,
    dtype: st.SearchStrategy[np.dtype] | np.dtype | str | None = None,
    shape: st.SearchStrategy[tuple[int, ...]] | tuple[int, ...] | None = None,
) -> np.ndarray:
    """Draw an array; floats hold NaN, infinities and zeros of both signs.

    Its values come from a drawn seed, its first ones from hypothesis: so it is quick, and shrinks.
    """
    chosen = draw(_as_strategy(dtype, dtypes()).map(np.dtype))
    extent = draw(_as_strategy(shape, shapes()))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    values = np.asarray(_random(rng, extent, chosen), chosen)  # arithmetic on 0-d arrays gave a scalar
    if chosen.kind in "fc" and values.size:
        special = np.array(draw(st.lists(st.sampled_from([np.nan, np.inf, -np.inf, -0.0, 0.0]), max_size=4)), "f8")
        where = rng.integers(0, values.size, special.size)
        values.reshape(-1)[where] = special
    return values


def _as_strategy(given: Any, default: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return ``given`` if it is a strategy, what draws just it if it is a value, else ``default``."""
    if given is None:
        return default
    return given if isinstance(given, st.SearchStrategy) else st.just(given)


def _random(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return random values of any dtype, in C order."""
    if dtype.names is not None:
        result = np.zeros(shape, dtype)
        for name in dtype.names:
            field = dtype.fields[name][0]
            result[name] = _random(rng, shape + field.shape, field.base)
        return result
    if dtype.kind == "c":
        return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(dtype)
    if dtype.kind == "f":
        return (rng.normal(size=shape) * 8.0 ** rng.integers(-2, 4, size=shape)).astype(dtype)
    if dtype.kind == "b":
        return rng.integers(0, 2, size=shape).astype(dtype)
    if dtype.kind in "SU":
        return rng.integers(0, 500, size=shape).astype(str).astype(dtype)
    if dtype.kind in "mM":
        return rng.integers(-(10**6), 10**6, size=shape).astype(dtype)
    limits = np.iinfo(dtype)
    wide = rng.integers(limits.min, limits.max, size=shape, dtype=dtype.newbyteorder("="), endpoint=True)
    small = rng.integers(0, 5, size=shape)
    return np.where(rng.random(shape) < 0.5, wide, small.astype(wide.dtype)).astype(dtype).reshape(shape)


def chunks_of(shape: tuple[int, ...]) -> st.SearchStrategy[tuple[int, ...]]:
    """Draw chunk shapes for ``shape``: of one element, uneven at the end, whole, larger than the array."""
    return st.tuples(*(st.integers(max(1, n // 8), n + 2) for n in shape))


def basic_keys(shape: tuple[int, ...]) -> st.SearchStrategy[Any]:
    """Draw keys of integers, slices of any step, Ellipsis and None; some are out of bounds."""
    return hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True) | _wild_keys(shape)


@st.composite
def _wild_keys(draw: st.DrawFn, shape: tuple[int, ...]) -> Any:
    """Draw keys as people type them: too few, too many, beyond both ends, negative steps."""
    key: list[Any] = []
    for n in shape[: draw(st.integers(0, len(shape)))]:
        bound = st.none() | st.integers(-n - 2, n + 2)
        step = st.none() | st.integers(1, 4) | st.integers(-4, -1)
        key.append(draw(st.one_of(st.builds(slice, bound, bound, step), st.integers(-n - 1, n))))
    if draw(st.booleans()):
        key.insert(draw(st.integers(0, len(key))), draw(st.sampled_from([None, Ellipsis])))
    return key[0] if len(key) == 1 and draw(st.booleans()) else tuple(key)


@st.composite
def advanced_keys(draw: st.DrawFn, shape: tuple[int, ...]) -> Any:
    """Draw keys that mix ints, slices, None, Ellipsis, index arrays and lists of any shape, and masks."""
    common = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    key: list[Any] = []
    axis = 0
    while axis < len(shape):
        what = draw(st.sampled_from(["array", "array", "array", "mask", "slice", "int", "end"]))
        if what == "end":
            break
        rank = draw(st.integers(1, min(2, len(shape) - axis))) if what == "mask" else 1
        key.append(draw(_entries(what, shape[axis : axis + rank], common)))
        axis += rank
    for odd in draw(st.lists(st.sampled_from([None, Ellipsis, True, False, np.True_]), max_size=2)):
        key.insert(draw(st.integers(0, len(key))), odd)
    return key[0] if len(key) == 1 and draw(st.booleans()) else tuple(key)


@st.composite
def _entries(draw: st.DrawFn, what: str, lengths: tuple[int, ...], common: tuple[int, ...]) -> Any:
    """Draw one item of a key for axes of these lengths; index arrays broadcast to ``common``, most of them."""
    (n, *_) = lengths
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    if what == "slice":
        bound = st.none() | st.integers(-n - 1, n + 1)
        return slice(draw(bound), draw(bound), draw(st.none() | st.sampled_from([1, 2, 3, -1, -2])))
    if what == "int":
        return draw(st.integers(-n, max(0, n - 1)))
    if what == "mask":
        wrong = draw(st.integers(0, 20)) == 0
        mask = rng.random(tuple(m + wrong for m in lengths)) < draw(st.sampled_from([0, 0.5, 1]))
        return mask.tolist() if mask.size and draw(st.booleans()) else mask
    shape = tuple(1 if draw(st.integers(0, 3)) == 0 else m for m in common)[draw(st.integers(0, len(common))) :]
    low, high = (-n, max(n, 1)) if draw(st.integers(0, 15)) else (-n - 2, n + 2)
    values = rng.integers(low, high, shape)
    kinds = ["i8", "i4", ">i2", "i1"] + (["u8", "u1"] if np.all(values >= 0) else [])
    return values.tolist() if draw(st.booleans()) else values.astype(draw(st.sampled_from(kinds)))


def chunked(array: np.ndarray, chunks: tuple[int, ...] | None = None) -> Any:
    """Return a chunkarr Array in memory with the values of ``array``, cut into ``chunks``."""
    import chunkarr

    return chunkarr.asarray(array, chunks=chunks)


def stored(array: np.ndarray, path: str | os.PathLike[str], **options: Any) -> Any:
    """Save ``array`` under ``path`` and return the chunkarr Array that is stored there."""
    import chunkarr

    chunkarr.save(os.fspath(path), chunked(array), **options)
    return chunkarr.open(os.fspath(path))
