"""What is a view in NumPy writes through to the stored array; what is a copy refuses to be assigned to."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from tests.updating import changeable

VIEWS = {
    "index": lambda a: a[1:, ::-1],
    "transpose": lambda a: a.T,
    "swapaxes": lambda a: a.swapaxes(0, 1),
    "moveaxis": lambda a: np.moveaxis(a, 0, 1),
    "squeeze": lambda a: a[None].squeeze(0),
    "expand_dims": lambda a: np.expand_dims(a, 0),
    "same shape": lambda a: a.reshape(3, 4),
    "ravel of one axis": lambda a: a[0].ravel(),
    "flip": np.flip,
    "rot90": np.rot90,
    "split": lambda a: np.split(a, 3)[1],
    "unstack": lambda a: np.unstack(a)[0],
    "iteration": lambda a: next(iter(a)),
    "real": lambda a: a.real,
    "astype without copy": lambda a: a.astype(a.dtype, copy=False),
    "atleast_3d": np.atleast_3d,
}
COPIES = {
    "copy": lambda a: a.copy(),
    "np.copy": np.copy,
    "copy.copy": copy.copy,
    "copy.deepcopy": copy.deepcopy,
    "astype": lambda a: a.astype(a.dtype),
    "flatten": lambda a: a[0].flatten(),
    "roll by nothing": lambda a: np.roll(a, 0, axis=0),
    "delete nothing": lambda a: np.delete(a, [], axis=0),
    "delete the last": lambda a: np.delete(a, 2, axis=0),
    "insert nothing": lambda a: np.insert(a, 0, np.zeros((0, 4)), axis=0),
    "pad by nothing": lambda a: np.pad(a, 0),
    "tile once": lambda a: np.tile(a, 1),
    "repeat once": lambda a: np.repeat(a, 1, axis=0),
    "concatenate one": lambda a: np.concatenate([a]),
    "append nothing": lambda a: np.append(a, np.zeros((0, 4)), axis=0),
    "broadcast_to": lambda a: np.broadcast_to(a, (3, 4)),
    "clip": lambda a: a.clip(0, 100),
    "positive": lambda a: +a,
    "take": lambda a: np.take(a, [0, 1, 2], axis=0),
    "index arrays": lambda a: a[[0, 1, 2]],
    "sum over nothing": lambda a: np.sum(a, axis=()),
    "reshape": lambda a: a.reshape(-1),
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_write_through(name):
    x = np.arange(12.0).reshape(3, 4)
    a, disk = changeable(x, (2, 2))
    VIEWS[name](a)[...] = -1
    VIEWS[name](x)[...] = -1
    np.testing.assert_array_equal(disk.values, x)
    assert (x == -1).any()


@pytest.mark.parametrize("name", COPIES)
def test_copies_do_not_write_through(name):
    x = np.arange(12.0).reshape(3, 4)
    a, disk = changeable(x, (2, 2))
    result = COPIES[name](a)
    with pytest.raises(ValueError, match="read-only"):
        result[...] = -1
    np.testing.assert_array_equal(result, COPIES[name](x))
    result += 1  # binds the name to a new expression
    np.testing.assert_array_equal(result, COPIES[name](x) + 1)
    assert disk.commits == 0
