"""The array that users hold: attributes, methods, protocols, copies and long chains."""

from __future__ import annotations

import copy
import io
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chunkarr as ca
from chunkarr.array import wrap
from chunkarr.formats.contract import Stored
from chunkarr.grid import Grid, region_size, region_slices
from chunkarr.ops.sources import load
from tests.oracle import check, same
from tests.strategies import arrays, chunked, chunks_of, dtypes, numeric_dtypes, shapes

TARGETS = ["i1", "u2", ">i4", "f2", ">f4", "f8", "c8", ">c16", "?"]


class Counting(Stored):
    """An array at rest that notes which regions are read."""

    contiguous, format, path = True, "counting", ""

    def __init__(self, values):
        self.values, self.shape, self.dtype, self.reads = values, values.shape, values.dtype, []
        self.grid = Grid(self.shape, self.shape)

    def read(self, region, out, scratch):
        self.reads.append(region)
        out[...] = self.values[region_slices(region)]

    def scratch_bytes(self, region):
        return 0

    def bytes_read(self, region):
        return region_size(region) * self.dtype.itemsize

    def generation(self):
        return 0


@given(arrays(), st.data())
def test_attributes_are_numpys(x, data):
    a = chunked(x, data.draw(chunks_of(x.shape)))
    for name in ("shape", "dtype", "ndim", "size", "itemsize", "nbytes", "device"):
        assert getattr(a, name) == getattr(x, name), name
    for name in ("T", "mT"):
        check(lambda name=name: getattr(a, name), lambda name=name: getattr(x, name))
    if x.ndim:
        assert len(a) == len(x)
    same(a.copy(), x)
    if x.dtype.names is None:  # padding is not a value
        assert a.tobytes() == x.tobytes()
        assert a.tobytes("F") == x.tobytes("F")


@given(arrays(dtype=numeric_dtypes()), st.data())
def test_parts_of_numbers_are_numpys(x, data):
    a = chunked(x, data.draw(chunks_of(x.shape)))
    same(a.real, x.real)
    same(a.imag, x.imag)
    same(a[..., None].imag[..., 0], x.imag)
    check(a.conj, lambda: np.asarray(x.conj()))
    check(a.byteswap, x.byteswap)
    if x.dtype.kind != "b" and x.ndim:  # NumPy's scalars have lost the byte order
        check(lambda: a.round(1), lambda: np.asarray(x.round(1)))


@given(arrays(dtype=numeric_dtypes()), st.sampled_from(TARGETS), st.sampled_from(["unsafe", "same_kind", "safe", "no"]))
@pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")
def test_casts_are_numpys(x, dtype, casting):
    if x.dtype.kind in "fc":
        with np.errstate(all="ignore"):
            x = np.asarray(np.nan_to_num(x * x.dtype.type(0.001), posinf=1, neginf=2), x.dtype)
        x = np.asarray(np.clip(x, 0, 100), x.dtype)
    check(lambda: chunked(x).astype(dtype, casting=casting), lambda: x.astype(dtype, casting=casting))


@given(arrays(shape=shapes(3, 200)), dtypes(), st.data())
def test_views_are_numpys(x, dtype, data):
    a = chunked(x, data.draw(chunks_of(x.shape)))
    check(lambda: a.view(dtype), lambda: x.view(dtype))


REDUCTIONS = ["sum", "prod", "min", "max", "mean", "var", "std", "any", "all", "argmin", "argmax"]


@given(arrays(dtype=st.sampled_from(["<i4", ">u2", "?"]), shape=shapes(3, 200)), st.sampled_from(REDUCTIONS), st.data())
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_reductions_are_numpys(x, name, data):
    a = chunked(x, data.draw(chunks_of(x.shape)))
    axis = data.draw(st.none() | st.integers(-x.ndim - 1, x.ndim) | st.just(tuple(range(x.ndim))[:2]))
    options = {"axis": axis, "keepdims": data.draw(st.booleans())}
    if not name.startswith("arg") and name not in ("min", "max") and x.ndim and data.draw(st.booleans()):
        options["where"] = data.draw(arrays(dtype="?", shape=x.shape))
    check(
        lambda: getattr(a, name)(**options), lambda: np.asarray(getattr(x, name)(**options)),
        rtol=1e-12 if name in ("mean", "var", "std") else 0,
    )  # fmt: skip


@pytest.mark.parametrize("where", [True, np.array([True, False, True, True])])
@pytest.mark.parametrize("dtype", ["f8", "i4", "c16", "f4"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_deviations_from_a_given_mean_are_numpys(dtype, where):
    x = (np.arange(12).reshape(3, 4) * (1 + (2j if dtype == "c16" else 0))).astype(dtype)
    a = chunked(x, (2, 3))
    for name in ("var", "std"):
        known = {"mean": x.mean(1, keepdims=True), "axis": 1, "ddof": 1, "keepdims": True}
        for options in ({"mean": 1.5, "axis": 0}, known):
            ours = getattr(a, name)(**options, where=where)
            same(ours, getattr(x, name)(**options, where=where), rtol=1e-6)
        same(getattr(a, name)(correction=1), np.asarray(getattr(np, name)(x, correction=1)), rtol=1e-6)


def test_items_are_numpys():
    x = np.arange(6, dtype=">i2").reshape(2, 3)
    a = chunked(x, (1, 2))
    for args in ((4,), (-1,), (1, 2), ((0, 1),), (), (6,), (-7,), (1, 2, 0), (5, 0)):
        check(lambda args=args: np.asarray(a.item(*args)), lambda args=args: np.asarray(x.item(*args)), message=True)
    assert a.tolist() == x.tolist()
    assert [r.tolist() for r in a] == x.tolist()
    assert 4 in a
    assert 9 not in a


def test_conversions_are_numpys():
    for value in (3, 2.5, True):
        a = ca.asarray(value)
        assert (int(a), float(a), complex(a), bool(a)) == (int(value), float(value), complex(value), bool(value))
        assert f"{a:.1f}" == f"{np.asarray(value):.1f}"
    assert [10, 20, 30][ca.asarray(1)] == 20
    for bad in (int, float, complex, bool, iter):
        check(lambda bad=bad: bad(ca.asarray([1, 2]) if bad is not iter else ca.asarray(1)),
              lambda bad=bad: bad(np.asarray([1, 2]) if bad is not iter else np.asarray(1)))  # fmt: skip
    check(lambda: bool(ca.zeros(0)), lambda: bool(np.zeros(0)), message=True)
    with pytest.raises(TypeError):
        hash(ca.arange(3))


def test_clip_takes_one_limit_or_two():
    x = np.arange(-5, 5.0).reshape(2, 5)
    a = chunked(x, (1, 3))
    for limits in ((-1, 2), (None, 2), (0, None), (x[0], 3.5)):
        same(a.clip(*limits), x.clip(*limits))


def test_operators_in_place_bind_new_expressions():
    x = np.arange(6, dtype="i4").reshape(2, 3)
    a = b = chunked(x, (1, 2))
    b += 3
    b *= x
    b <<= 1
    same(b, ((x + 3) * x) << 1)
    same(a, x)
    with pytest.raises(TypeError, match="same_kind"):
        b /= 2
    with pytest.raises(ValueError, match="non-broadcastable"):
        b += np.ones((4, 2, 3), "i4")
    with pytest.raises(ValueError, match="read-only"):
        b[0] = 1


def test_ufunc_methods_do_what_numpy_does():
    x = np.arange(1, 7.0).reshape(2, 3)
    a = chunked(x, (1, 2))
    same(np.multiply.outer(a, a[0]), np.multiply.outer(x, x[0]))
    same(np.maximum.reduce(a, axis=1), np.maximum.reduce(x, axis=1))
    same(np.add.reduce(a, axis=None, initial=5, keepdims=True), np.add.reduce(x, axis=None, initial=5, keepdims=True))
    out = np.zeros((2, 3))
    assert np.add(a, 1, out=out) is out
    same(out, x + 1)
    where = x > 2
    same(np.sqrt(a, where=chunked(where), out=out.copy()), np.sqrt(x, where=where, out=x + 1))
    same(np.divmod(a, 2), np.divmod(x, 2))
    with pytest.raises(ValueError, match="read-only"):
        np.add.at(a, 0, 1)
    with pytest.raises(TypeError, match="fft"):
        np.fft.fft(a)
    with pytest.raises(ValueError, match="read-only"):
        np.add(a, 1, out=a)


def test_the_namespace_is_the_package():
    a = ca.arange(3)
    assert a.__array_namespace__() is ca
    assert a.__array_namespace__(api_version="2024.12") is ca
    assert a.to_device("cpu") is a
    with pytest.raises(ValueError, match="cpu"):
        a.to_device("gpu")
    with pytest.raises(ValueError, match="1999"):
        a.__array_namespace__(api_version="1999.12")


@given(arrays(shape=shapes(3, 300)), st.data())
def test_pickles_and_copies_are_the_same_array(x, data):
    x.flags.writeable = False
    a = chunked(x, data.draw(chunks_of(x.shape)))[..., None].T
    for other in (pickle.loads(pickle.dumps(a)), copy.copy(a), copy.deepcopy(a)):
        assert other.chunks == a.chunks
        same(other, x[..., None].T)


def test_a_pickled_stored_array_is_a_recipe(tmp_path):
    x = np.arange(100_000.0)
    np.save(tmp_path / "x.npy", x)
    a = ca.open(tmp_path / "x.npy") * 2
    data = pickle.dumps(a)
    assert len(data) < 5000
    same(pickle.loads(data), x * 2)
    np.save(tmp_path / "x.npy", x[1:])
    with pytest.raises((ca.StaleExpressionError, ca.FormatError)):
        pickle.loads(data).compute()


def test_long_chains_and_doublings_read_each_block_once():
    source = Counting(np.arange(1000.0))
    chain = double = wrap(load(source)).rechunk(100)
    for _ in range(10_000):
        chain = chain + 1
    for _ in range(40):
        double = double + double
    same(chain, np.arange(1000.0) + 10_000)
    assert sum(b - a for ((a, b),) in source.reads) == 1000
    source.reads.clear()
    same(double, np.arange(1000.0) * 2.0**40)
    assert sum(b - a for ((a, b),) in source.reads) == 1000
    same(pickle.loads(pickle.dumps(chain[:3])), np.arange(3.0) + 10_000)
    same(pickle.loads(pickle.dumps(double[:3])), np.arange(3.0) * 2.0**40)


def test_results_asked_together_share_their_reading():
    source = Counting(np.arange(1000.0))
    a = wrap(load(source)).rechunk(100)
    low, high, total = ca.compute(a.min(), a.max(), (a * 2).sum())
    assert (low, high, total) == (0, 999, 999_000)
    assert sum(b - a for ((a, b),) in source.reads) == 1000


def test_values_go_to_files_in_c_order(tmp_path):
    x = np.arange(24, dtype=">i4").reshape(2, 3, 4)
    a = chunked(x, (1, 2, 3)).T
    a.tofile(tmp_path / "x.bin")
    assert (tmp_path / "x.bin").read_bytes() == x.T.tobytes()
    file = io.BytesIO()
    a.tofile(file)
    assert file.getvalue() == x.T.tobytes()
    with pytest.raises(ca.UnsupportedError, match="text"):
        a.tofile(tmp_path / "x.txt", sep=",")
    saved = a.save(tmp_path / "x.npy")
    assert saved.format == "npy"
    same(saved, x.T)
    with pytest.raises(ca.TargetExistsError):
        a.save(tmp_path / "x.npy")
    assert a.save(tmp_path / "x.npy", overwrite=True).path == str(tmp_path / "x.npy")


@pytest.mark.parametrize(("chunks", "steps"), [(2, (2, 2)), ((1, -1), (1, 7)), (-1, (5, 7)), ((9, 3), (5, 3))])
def test_rechunked_arrays_are_the_same(chunks, steps):
    x = np.arange(35).reshape(5, 7)
    a = ca.asarray(x).rechunk(chunks)
    assert a.chunks == steps
    same(a, x)


@pytest.mark.parametrize("chunks", [0, (1, 2, 3), (1, -2), (1.5, 1), ()])
def test_chunks_that_cannot_be_are_refused(chunks):
    with pytest.raises(ca.GridError, match="one size of 1 or more per axis"):
        ca.zeros((5, 7)).rechunk(chunks)


def test_what_does_not_fit_is_refused_before_it_is_made():
    a = ca.zeros(10**12)
    for asked in (a.compute, a.tobytes, a.tolist, lambda: np.asarray(a)):
        with pytest.raises(ca.MemoryBudgetError, match=r"save\(path\)"):
            asked()
    with pytest.raises(ValueError, match="copy"):
        np.asarray(a[:3], copy=False)
    assert "1000000000000" in str(a) == repr(a)
    assert str(ca.arange(3)) == "[0 1 2]"
