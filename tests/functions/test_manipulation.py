"""Operations that move elements: alone and in chains, on any array, they do what NumPy does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chunkarr as ca
from tests.oracle import check, same
from tests.strategies import arrays, basic_keys, chunked, chunks_of, shapes


def _axis(ndim):
    """Draw an axis, sometimes one that is not there."""
    return st.integers(-ndim - 1, ndim)


@st.composite
def _reshapes(draw, size):
    """Draw a shape of ``size`` elements, sometimes with a -1, sometimes a wrong one."""
    shape = []
    rest = size
    while rest > 1 and len(shape) < 4:
        divisors = [d for d in range(1, rest + 1) if rest % d == 0]
        shape.append(draw(st.sampled_from(divisors)))
        rest //= shape[-1]
    shape = [*shape, rest] if rest != 1 or not shape else shape
    if draw(st.booleans()):
        shape[draw(st.integers(0, len(shape) - 1))] = -1
    if draw(st.integers(0, 9)) == 0:
        shape.append(draw(st.integers(-1, 3)))
    return tuple(shape)


@st.composite
def moves(draw, shape):
    """Draw a move of an array of ``shape``: a name, and a function of (namespace, array)."""
    ndim, size = len(shape), int(np.prod(shape, dtype=int))
    one, two = draw(_axis(ndim)), draw(_axis(ndim))
    axes = draw(st.none() | _axis(ndim) | st.lists(_axis(ndim), max_size=3).map(tuple))
    order = draw(st.none() | st.permutations(range(ndim)).map(tuple) | st.permutations(range(-ndim, 0)).map(tuple))
    shift = draw(st.integers(-9, 9))
    new = draw(_reshapes(size))
    wide = (2, *(3 if n == 1 else n for n in shape))
    key = draw(basic_keys(shape))
    times = draw(st.integers(0, 2))
    reps = draw(st.integers(0, 3) | st.lists(st.integers(0, 2), max_size=3).map(tuple))
    quarter = draw(st.integers(-3, 5))
    move = {
        "reshape": lambda xp, a: xp.reshape(a, new),
        "reshape method": lambda _, a: a.reshape(*new),
        "ravel": lambda xp, a: xp.ravel(a),
        "flatten": lambda _, a: a.flatten(),
        "transpose": lambda xp, a: xp.transpose(a, order),
        "T": lambda _, a: a.T,
        "mT": lambda _, a: a.mT,
        "swapaxes": lambda xp, a: xp.swapaxes(a, one, two),
        "moveaxis": lambda xp, a: xp.moveaxis(a, one, two),
        "rollaxis": lambda xp, a: xp.rollaxis(a, one, two),
        "expand_dims": lambda xp, a: xp.expand_dims(a, () if axes is None else axes),
        "squeeze": lambda xp, a: xp.squeeze(a, axes),
        "broadcast_to": lambda xp, a: xp.broadcast_to(a, wide),
        "flip": lambda xp, a: xp.flip(a, axes),
        "fliplr": lambda xp, a: xp.fliplr(a),
        "flipud": lambda xp, a: xp.flipud(a),
        "roll": lambda xp, a: xp.roll(a, shift, axes),
        "rot90": lambda xp, a: xp.rot90(a, quarter, (one, two)),
        "index": lambda _, a: a[key],
        "atleast_1d": lambda xp, a: xp.atleast_1d(a),
        "atleast_2d": lambda xp, a: xp.atleast_2d(a),
        "atleast_3d": lambda xp, a: xp.atleast_3d(a),
        "concatenate": lambda xp, a: xp.concatenate([a, a[:1], a], one),
        "stack": lambda xp, a: xp.stack([a, a], one),
        "vstack": lambda xp, a: xp.vstack([a, a]),
        "hstack": lambda xp, a: xp.hstack([a, a]),
        "dstack": lambda xp, a: xp.dstack([a, a]),
        "column_stack": lambda xp, a: xp.column_stack([a, a]),
        "append": lambda xp, a: xp.append(a, a, axes if isinstance(axes, int) else None),
        "repeat": lambda xp, a: xp.repeat(a, times, axes if isinstance(axes, int) else None),
        "tile": lambda xp, a: xp.tile(a, reps),
    }
    return draw(st.sampled_from(sorted(move.items())))


@st.composite
def sources(draw):
    """Draw an ndarray and a chunkarr array of the same values."""
    x = draw(arrays(shape=shapes(max_size=200)))
    return x, chunked(x, draw(chunks_of(x.shape)))


def numpys(move, x):
    """Return what NumPy makes of ``x``; a scalar, which has lost its byte order, as an array of the dtype of ``x``."""
    result = move(np, x)
    return np.asarray(result, x.dtype) if isinstance(result, np.generic) else result


@given(sources(), st.data())
def test_one_move_is_numpys(source, data):
    x, a = source
    _, move = data.draw(moves(x.shape))
    check(lambda: move(ca, a), lambda: numpys(move, x))


@given(sources(), st.data())
def test_numpys_own_functions_do_the_same(source, data):
    x, a = source
    _, move = data.draw(moves(x.shape))
    check(lambda: move(np, a), lambda: numpys(move, x))


@given(sources(), st.integers(2, 4), st.data())
def test_moves_follow_each_other(source, count, data):
    x, a = source
    for _ in range(count):
        _, move = data.draw(moves(x.shape))
        try:
            moved = numpys(move, x)
        except (ValueError, IndexError, TypeError):
            continue
        if moved.size > 4000 or moved.ndim > 8:
            continue
        x, a = moved, move(ca, a)
    same(a, x)


SPLITS = ["split", "array_split", "hsplit", "vsplit", "dsplit", "unstack"]


@given(sources(), st.sampled_from(SPLITS), st.integers(0, 4) | st.lists(st.integers(-3, 9), max_size=3), st.data())
def test_splits_are_numpys(source, name, where, data):
    x, a = source
    axis = data.draw(_axis(x.ndim))
    if name == "unstack":
        check(lambda: ca.unstack(a, axis=axis), lambda: tuple(np.asarray(p, x.dtype) for p in np.unstack(x, axis=axis)))
    elif name in ("split", "array_split"):
        check(lambda: getattr(ca, name)(a, where, axis), lambda: getattr(np, name)(x, where, axis))
    else:
        check(lambda: getattr(ca, name)(a, where), lambda: getattr(np, name)(x, where))


WIDTHS = st.integers(0, 3) | st.tuples(st.integers(0, 3), st.integers(0, 3)) | st.integers(-1, 1)


PADDED = arrays(shape=shapes(3, 100), dtype=st.sampled_from(["<i4", ">f8", "?", "c16"]))


@given(PADDED, WIDTHS, st.integers(0, 5), st.data())
def test_padding_with_a_constant_is_numpys(x, width, value, data):
    a = chunked(x, data.draw(chunks_of(x.shape)))
    check(lambda: ca.pad(a, width, constant_values=value), lambda: np.pad(x, width, constant_values=value))


@given(sources(), sources())
def test_joining_different_arrays_is_numpys(left, right):
    (x, a), (y, b) = left, right
    check(lambda: ca.concatenate([a, b], axis=None), lambda: np.concatenate([x, y], axis=None))
    check(lambda: ca.concatenate([a, b]), lambda: np.concatenate([x, y]))
    check(lambda: ca.stack((a, y)), lambda: np.stack((x, y)))
    check(lambda: ca.broadcast_arrays(a, b), lambda: np.broadcast_arrays(x, y))


def test_joining_says_what_numpy_says():
    x, y = np.zeros((2, 3)), np.zeros((2, 4))
    a, b = chunked(x, (1, 2)), chunked(y, (1, 2))
    for one in (
        lambda xp, p, q: xp.concatenate([]),
        lambda xp, p, q: xp.concatenate([p, q]),
        lambda xp, p, q: xp.concatenate([p, q[0]]),
        lambda xp, p, q: xp.concatenate([p[0, 0], q[0, 0]]),
        lambda xp, p, q: xp.concatenate([p, p], 2),
        lambda xp, p, q: xp.stack([p, q]),
        lambda xp, p, q: xp.stack([]),
        lambda xp, p, q: xp.split(p, 2, 1),
        lambda xp, p, q: xp.reshape(p, (4, -1)),
        lambda xp, p, q: xp.reshape(p, (-1, -1)),
        lambda xp, p, q: xp.transpose(p, (0, 0)),
        lambda xp, p, q: xp.transpose(p, (0,)),
        lambda xp, p, q: xp.squeeze(p, 0),
        lambda xp, p, q: xp.expand_dims(p, (0, 0)),
        lambda xp, p, q: xp.moveaxis(p, (0, 1), 0),
        lambda xp, p, q: xp.rot90(p, 1, (0, 0)),
        lambda xp, p, q: xp.broadcast_to(p, (3, 3)),
    ):
        check(lambda one=one: one(ca, a, b), lambda one=one: one(np, x, y), message=True)


def test_blocks_are_put_together_as_numpy_does():
    x, y = np.arange(6).reshape(2, 3), np.ones((2, 2))
    a, b = chunked(x, (1, 2)), chunked(y, (2, 1))
    same(ca.block([[a, b], [b, a]]), np.block([[x, y], [y, x]]))
    same(np.block([a, b]), np.block([x, y]))
    same(ca.block([1, a[0]]), np.block([1, x[0]]))
    for bad in ([[a], b], [], (a, b)):
        plain = [[x], y] if isinstance(bad, list) and bad else type(bad)()
        check(lambda bad=bad: ca.block(bad), lambda plain=plain: np.block(plain))


def test_roll_takes_several_shifts_and_axes():
    x = np.arange(24).reshape(2, 3, 4)
    a = chunked(x, (1, 2, 3))
    for shift, axis in ((1, (0, 2)), ((1, -2), (1, 1)), ((5, 7), None), ([1, 2], 0), (((1, 2),), (0, 1))):
        check(lambda s=shift, k=axis: ca.roll(a, s, k), lambda s=shift, k=axis: np.roll(x, s, k))


@pytest.mark.parametrize("order", ["F", "A", "K"])
def test_other_element_orders_are_refused_by_name(order):
    a = ca.arange(6).reshape(2, 3)
    with pytest.raises(ca.UnsupportedError, match=f"order='{order}'"):
        a.ravel(order)
    with pytest.raises(ca.UnsupportedError, match="reshape"):
        ca.reshape(a, 6, order=order)


def test_what_is_not_supported_says_so():
    a = ca.arange(4)
    with pytest.raises(ca.UnsupportedError, match="repeats"):
        ca.repeat(a, [1, 2, 3, 4])
    with pytest.raises(ca.UnsupportedError, match="reflect"):
        ca.pad(a, 1, mode="reflect")
    with pytest.raises(TypeError, match="out="):
        ca.concatenate([a, a], out=np.zeros(8))
    with pytest.raises(TypeError, match=r"numpy\.kron"):
        np.kron(a, a)


def test_broadcasting_and_repeating_huge_arrays_takes_no_memory():
    huge = ca.broadcast_to(ca.arange(3), (10**9, 3))
    assert huge.nbytes == 24 * 10**9
    assert huge[10**8].tolist() == [0, 1, 2]
    assert ca.tile(ca.arange(3), 10**9)[3 * 10**8 + 1].item() == 1
    assert ca.concatenate([huge, huge]).T[2, -1].item() == 2
    assert huge.reshape(-1, 6)[7].tolist() == [0, 1, 2, 0, 1, 2]


def test_a_description_needs_no_values():
    a = ca.zeros((10**6, 10**6), ">c8")
    assert np.shape(a) == ca.shape(a) == (10**6, 10**6)
    assert np.ndim(a) == 2
    assert np.size(a, 1) == 10**6
    assert np.result_type(a, 1.0) == np.dtype("c8")
    assert np.iscomplexobj(a)
    assert not np.isrealobj(a)
    assert np.can_cast(a, "c16")
