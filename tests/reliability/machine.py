"""A machine that changes a stored array in any order, with kills and errors, and compares it with NumPy."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from dataclasses import dataclass, replace
from typing import Any

import hypothesis
import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

import chunkarr as ca
from chunkarr.errors import CommittedNotAppliedError
from chunkarr.fsio import calls
from tests.reliability.cases import LAYOUTS, Layout, resized, which
from tests.reliability.disk import KILLED, Failer, Killer, in_child, sizes

__all__ = ["Change", "run"]

START = np.arange(24 * 150, dtype="<i4").reshape(24, 150)  # 4 pages of a flat file, 9 chunks
ROWS = 60  # that it grows to
CALLS = 45  # at one of so many a change is killed or fails


@dataclass(frozen=True)
class Change:
    """A change as data: done to an Array by `on_array`, to an ndarray by `on_ndarray`."""

    kind: str
    key: Any = None
    value: int = 0
    several: tuple[Any, ...] = ()

    def on_ndarray(self, values: np.ndarray) -> np.ndarray:
        """Return the values after the change."""
        if self.kind == "append":
            return np.concatenate([values, np.full((self.value % 5 + 1, values.shape[1]), self.value, values.dtype)])
        if self.kind == "resize":
            return resized(self.key, values)
        values = values.copy()
        self._assign(values)
        return values

    def on_array(self, array: ca.Array) -> None:
        """Change a stored array."""
        if self.kind == "append":
            array.append(np.full((self.value % 5 + 1, array.shape[1]), self.value, array.dtype))
        elif self.kind == "resize":
            array.resize(self.key)
        elif self.kind == "batch":
            with array.batch():
                self._assign(array)
        else:
            self._assign(array)

    def _assign(self, target: Any) -> None:
        if self.kind == "set":
            target[self.key] = self.value
        elif self.kind == "add":
            target[self.key] += self.value
        elif self.kind == "shift":
            target[1:] = target[:-1]
        elif self.kind == "where":
            target[target > self.value] = -self.value
        else:
            for key, value in self.several:
                target[key] = value


def spans(n: int) -> st.SearchStrategy[Any]:
    """Draw an integer or a slice of any step within an axis of ``n``."""
    whole = st.builds(slice, st.integers(-n, n), st.integers(-n, n), st.sampled_from([1, 1, 1, 2, -1, -3, 7]))
    return st.one_of(whole, st.builds(slice, st.none()), st.integers(-n, n - 1)) if n else st.builds(slice, st.none())


def keys(shape: tuple[int, ...]) -> st.SearchStrategy[Any]:
    """Draw keys of slices, integers and lists."""
    places = st.lists(st.integers(-shape[0], shape[0] - 1), min_size=1, max_size=4) if shape[0] else st.nothing()
    return st.one_of(st.tuples(*map(spans, shape)), spans(shape[0]), places)


@st.composite
def changes(draw: st.DrawFn, shape: tuple[int, ...], layout: Layout) -> Change:
    """Draw a change of an array of this shape."""
    value = draw(st.integers(0, 5000))
    kind = draw(st.sampled_from(["set", "set", "add", "shift", "where", "append", "resize", "batch"]))
    if kind == "resize":
        columns = st.just(shape[1]) if layout.suffix == ".raw" else st.integers(0, 200)
        return Change(kind, (draw(st.integers(0, ROWS)), draw(columns)))
    if kind == "append" and shape[0] > ROWS:
        kind = "shift"
    if kind in ("set", "add"):
        return Change(kind, draw(keys(shape)), value)
    if kind == "batch":
        several = draw(st.lists(st.tuples(keys(shape), st.integers(0, 99)), min_size=1, max_size=6))
        return Change(kind, several=tuple(several))
    return Change(kind, value=value)


class Machine(RuleBasedStateMachine):
    """Two handles on one array, and the ndarray that it must be."""

    layout: Layout
    directory: str

    def __init__(self) -> None:
        super().__init__()
        self.place = tempfile.mkdtemp(dir=self.directory)
        self.path = os.path.join(self.place, "a" + self.layout.suffix)

    @initialize()
    def begin(self) -> None:
        """Make the array and open it twice."""
        self.values = START
        options = {**self.layout.options}
        if "chunks" in options:
            options["chunks"] = (10, 60)
        if options.get("shards"):
            options["chunks"], options["shards"] = (5, 30), (10, 60)
        layout = replace(self.layout, options=options)
        in_child(layout.make, self.path, START)
        self.handles = [self._open("r+"), self._open("r+")]

    def _open(self, mode: str) -> ca.Array:
        options = self.layout.how({})
        if "shape" in options:
            options["shape"] = (-1, START.shape[1])
        return ca.open(self.path, mode, **options)

    @rule(data=st.data(), which_handle=st.integers(0, 1))
    def change(self, data: st.DataObject, which_handle: int) -> None:
        """Change the array."""
        change = data.draw(changes(self.values.shape, self.layout))
        change.on_array(self.handles[which_handle])
        self.values = change.on_ndarray(self.values)

    @rule(data=st.data(), at=st.integers(0, CALLS), torn=st.booleans())
    def change_and_kill(self, data: st.DataObject, at: int, torn: bool) -> None:
        """Change the array in a process that is killed at a call, if it makes so many."""
        change = data.draw(changes(self.values.shape, self.layout))

        def work() -> None:
            change.on_array(self._open("r+"))

        done = in_child(work, watcher=Killer(at, torn=torn))
        self._find(change, must=1 if done != KILLED else None)

    @rule(
        data=st.data(),
        which_handle=st.integers(0, 1),
        at=st.integers(0, CALLS),
        code=st.sampled_from([errno.ENOSPC, errno.EIO, errno.EACCES]),
        lasting=st.booleans(),
    )
    def change_and_fail(self, data: st.DataObject, which_handle: int, at: int, code: int, lasting: bool) -> None:
        """Change the array while a call fails."""
        change = data.draw(changes(self.values.shape, self.layout))
        must = 1
        try:
            with calls.watched(Failer(at, code, lasting=lasting)):
                change.on_array(self.handles[which_handle])
        except CommittedNotAppliedError:
            pass
        except OSError as error:
            if error.errno not in (code, errno.EEXIST):  # what could not be removed may be in the way
                raise
            must = 0
        self._find(change, must=must)

    def _find(self, change: Change, must: int | None) -> None:
        """Take over which of old and new is there."""
        states = [self.values, change.on_ndarray(self.values)]
        found = which(self._open("r").compute(), states if must is None else states[must : must + 1])
        assert found is not None, f"{change}: neither old nor new, or not state {must}"
        self.values = states[found if must is None else must]

    @rule(which_handle=st.integers(0, 1))
    def reopen(self, which_handle: int) -> None:
        """Open the array anew."""
        self.handles[which_handle] = self._open("r+")

    @rule(data=st.data(), which_handle=st.integers(0, 1))
    def read(self, data: st.DataObject, which_handle: int) -> None:
        """Read a part."""
        key = data.draw(keys(self.values.shape))
        found = self.handles[which_handle][key].compute()
        assert np.array_equal(found, self.values[key])

    @invariant()
    def every_handle_sees_the_array(self) -> None:
        """Compare both handles with NumPy."""
        for handle in getattr(self, "handles", ()):
            assert handle.shape == self.values.shape
            assert which(handle.compute(), [self.values]) == 0

    def teardown(self) -> None:
        """Open for writing a last time: nothing is left over, and others read the same."""
        if hasattr(self, "values"):
            array = self._open("r+")
            assert which(array.compute(), [self.values]) == 0
            plain = in_child(self.layout.plain, self.path, self.values.shape[1])
            assert np.array_equal(plain, self.values)
            left = [name for name in sizes(self.place) if ".part" in name or "txn" in name or "journal" in name]
            assert not left
        shutil.rmtree(self.place, ignore_errors=True)


def run(name: str, where: str, examples: int, steps: int, random: bool = False) -> int:
    """Run the machine on a layout; return how many steps were taken at most."""

    class Own(Machine):
        layout = LAYOUTS[name]
        directory = where

    run_state_machine_as_test(
        Own,
        settings=hypothesis.settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=not random,
            database=None,
            deadline=None,
            suppress_health_check=list(hypothesis.HealthCheck),
            print_blob=False,
        ),
    )
    return examples * steps
