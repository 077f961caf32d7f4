"""Campaigns: kill at each call and at each call of the recovery; fail at each call."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import chunkarr as ca
from chunkarr.errors import CommittedNotAppliedError
from chunkarr.fsio import calls
from tests.reliability.cases import Case, create, get, named, which
from tests.reliability.disk import ERRORS, KILLED, WRITES, Failer, Killer, count, in_child, sizes

__all__ = ["Bench", "Check", "Tally", "errors", "kills"]

BATCH = 40  # places that are judged together

Check = Callable[[int | None], str]  # of the state that is found: what is wrong with it, or ""


@dataclass
class Tally:
    """What a campaign reached."""

    points: int = 0
    old: int = 0  # points after which the old array was there
    new: int = 0
    recoveries: int = 0  # points that were within a recovery
    said: dict[str, int] = field(default_factory=dict)  # exceptions by name
    bad: list[str] = field(default_factory=list)  # what should not be

    def __add__(self, other: Tally) -> Tally:
        said = dict(self.said)
        for name, number in other.said.items():
            said[name] = said.get(name, 0) + number
        return Tally(
            self.points + other.points,
            self.old + other.old,
            self.new + other.new,
            self.recoveries + other.recoveries,
            said,
            self.bad + other.bad,
        )


class Bench:
    """A case with what it needs: the state before, the files that may be there, places to work, the judge.

    Places that are to be judged are gathered and judged together, in one child.
    """

    def __init__(self, case: Case, directory: str) -> None:
        self.case = case
        self.directory = tempfile.mkdtemp(dir=directory)
        self.template = os.path.join(self.directory, "template")
        in_child(case.prepare, self.template)
        self.allowed = in_child(case.expected_sizes, self.directory)
        self.states = case.states()
        self.tally = Tally()
        self._waiting: list[tuple[str, str, Check]] = []
        self._places = 0

    def place(self, source: str | None = None) -> str:
        """Return a fresh copy of ``source``, or of the state before."""
        place = self.empty()
        shutil.copytree(source or self.template, place, symlinks=True)
        return place

    def empty(self) -> str:
        """Return the path of a new place, which is not there yet."""
        self._places += 1
        return os.path.join(self.directory, f"place-{self._places}")

    def count(self) -> list[str]:
        """Return the calls of the operation, undisturbed."""
        return in_child(lambda place: count(lambda: self.case.run(place)), self.place())

    def submit(self, place: str, where: str, check: Check = lambda state: "") -> None:
        """Have what is at ``place`` judged, and removed; ``check`` says what is wrong with the state found."""
        self.tally.points += 1
        self._waiting.append((place, where, check))
        if len(self._waiting) == BATCH:
            self._flush()

    def finish(self) -> Tally:
        """Judge what is waiting, remove everything, return what was reached."""
        self._flush()
        shutil.rmtree(self.directory)
        return self.tally

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        verdicts = in_child(lambda: [self._verdict(place) for place, _, _ in waiting])
        for (place, where, check), (state, wrong) in zip(waiting, verdicts, strict=True):
            complaints = [wrong or "a mix"] if wrong or state is None else []
            complaints += [said for said in [check(state)] if said and state is not None]
            self.tally.bad += [f"{where}: {said}" for said in complaints]
            self.tally.old += state == 0
            self.tally.new += state == len(self.states) - 1
            shutil.rmtree(place)

    def _verdict(self, place: str) -> tuple[int | None, str]:
        try:
            return self.judge(place)
        except Exception:  # noqa: BLE001 - whatever is raised is a finding
            return None, traceback.format_exc()[-1500:]

    def judge(self, place: str) -> tuple[int | None, str]:
        """Return which state is at ``place``, for every reader, before and after recovery, and what is wrong."""
        case = self.case
        if not os.path.lexists(case.path(place)):
            return self._judge_absent(place)
        first = which(case.read(place), self.states)
        second = which(case.read(place, "r+"), self.states)
        left = sizes(place)
        if second is None or first != second:
            return second, f"read as {first}, after recovery as {second}"
        wrong = []
        if left != self.allowed[second]:
            wrong.append(f"left {describe(left, self.allowed[second])}")
        plain = which(case.layout.plain(case.path(place)), self.states)
        if plain != second:
            wrong.append(f"a plain reader finds {plain}, not {second}")
        wrong += [f"verify: {problem}" for problem in case.layout.open(case.path(place)).problems()]
        again = which(case.read(place), self.states)
        if again != second:
            wrong.append(f"read again as {again}")
        self._still_works(place)
        return second, "; ".join(wrong)

    def _judge_absent(self, place: str) -> tuple[int | None, str]:
        """Nothing is at the path: right before a creation, whose next try leaves nothing else."""
        if self.states[0] is not None:
            # Only where directories cannot be exchanged: recovery puts the old one back.
            assert self.case.operation.name == "two-renames", "the array is gone"
            ca.recover(self.case.path(place))
            return self.judge(place)
        self.case.run(place)
        left = sizes(place)
        return 0, "" if left == self.allowed[-1] else f"left {describe(left, self.allowed[-1])}"

    def _still_works(self, place: str) -> None:
        """Replace the array: no lock and no leftover stands in the way."""
        create(self.case.path(place), np.ones((2, 200), "<i4"), self.case.layout, overwrite=True)
        assert np.all(get(self.case.layout.open(self.case.path(place))) == 1)


def describe(found: dict[str, int], allowed: dict[str, int]) -> str:
    """Say how two listings differ."""
    more = {name: size for name, size in found.items() if allowed.get(name) != size}
    less = {name: size for name, size in allowed.items() if name not in found}
    return f"besides: {more}, lacking: {less}"


def chosen(numbers: list[Any], share: float, seed: int) -> list[Any]:
    """Return about this share of the points."""
    if share >= 1:
        return numbers
    generator = np.random.default_rng(seed)
    return [number for number in numbers if generator.random() < share]


# --- kills ---------------------------------------------------------------------------------------


def kills(name: str, directory: str, share: float = 1.0, recovery: float = 1.0, seed: int = 0) -> Tally:
    """Kill the operation at each call, and each recovery at each call; judge what is left.

    ``share`` of the calls, ``recovery`` of those of the recoveries that they need.
    """
    case = named(name)
    bench = Bench(case, directory)
    names = bench.count()
    last = len(bench.states) - 1
    for at, torn in chosen([*points_of(names), (len(names), False)], share, seed):
        place = bench.place()
        ended = in_child(case.run, place, watcher=Killer(at, torn=torn)) == KILLED
        where = f"{name}: killed at {at} {names[at] if at < len(names) else 'end'}{' torn' if torn else ''}"
        if os.path.lexists(case.path(place)):
            _kill_recovery(bench, place, where, chance=(recovery, seed + at))
        bench.submit(place, where, lambda state, ended=ended: "" if ended or state == last else "lost after return")
    return bench.finish()


def points_of(names: list[str]) -> list[tuple[int, bool]]:
    """Return before which calls to kill, and which of them to tear instead."""
    return [(at, torn) for at, name in enumerate(names) for torn in ((False, True) if name in WRITES else (False,))]


def _kill_recovery(bench: Bench, crashed: str, where: str, chance: tuple[float, int]) -> None:
    """Kill the recovery of ``crashed`` at each of its calls."""
    place = bench.place(crashed)
    names = in_child(lambda: count(lambda: bench.case.read(place, "r+")))
    for at, torn in chosen(points_of(names), *chance):
        place = bench.place(crashed)
        in_child(bench.case.read, place, "r+", watcher=Killer(at, torn=torn))
        bench.tally.recoveries += 1
        bench.submit(place, f"{where}, recovery killed at {at} {names[at]}{' torn' if torn else ''}")


# --- errors --------------------------------------------------------------------------------------


def errors(name: str, directory: str, share: float = 1.0, seed: int = 0) -> Tally:
    """Fail at each call of the operation, with each error; judge what is said and what is there."""
    case = named(name)
    bench = Bench(case, directory)
    names = bench.count()
    points: list[tuple[int, int, str]] = [
        (at, code, how) for at in range(len(names)) for code in ERRORS for how in ("once", "lasting")
    ]
    points += [(at, errno.ENOSPC, "torn") for at, name in enumerate(names) if name in WRITES]
    before = sizes(bench.template)
    for at, code, how in chosen(points, share, seed):
        place = bench.place()
        watcher = Failer(at, code, lasting=how == "lasting", torn=how == "torn")
        where = f"{name}: {errno.errorcode[code]} at {at} {names[at]} {how}"
        try:
            said, left = in_child(_attempt, case, place, watcher)
        except (AssertionError, RuntimeError) as error:
            bench.tally.points += 1
            bench.tally.bad.append(f"{where}: {str(error)[-1500:]}")
            continue
        bench.tally.said[said] = bench.tally.said.get(said, 0) + 1
        bench.submit(place, where, lambda state, said=said: _expected(said, state, len(bench.states) - 1))
        if is_old(said) and how == "once" and names[at] not in ("unlink", "rmdir") and len(bench.states) == 2:
            extra = {name: size for name, size in left.items() if before.get(name, -1) < size}
            if extra:
                bench.tally.bad.append(f"{where}: space is not given back: {extra}")
    return bench.finish()


def is_old(said: str) -> bool:
    """Say whether an exception of this name says that nothing was changed."""
    return said not in ("", CommittedNotAppliedError.__name__)


def _expected(said: str, state: int | None, last: int) -> str:
    """Return what is wrong with an exception, given what is there; of several steps some may have been done."""
    if last == 1 and state != (0 if is_old(said) else 1):
        return f"{said or 'no exception'} was raised, but the {'new' if state else 'old'} array is there"
    return ""


def _attempt(case: Case, place: str, watcher: calls.Watcher) -> tuple[str, dict[str, int]]:
    """Run the operation under ``watcher``; return the name of what it raised, and which files are there then."""
    said = ""
    try:
        with calls.watched(watcher):
            case.run(place)
    except OSError as error:
        said = type(error).__name__
        if is_old(said) and error.errno not in ERRORS:
            raise
    return said, sizes(place)
