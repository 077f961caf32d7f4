"""Damage to every stored file: reading raises or gives what was written, and verifying lists it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator

import numpy as np

from chunkarr.errors import ChunkarrError
from tests.reliability.cases import Case, named, which
from tests.reliability.crashing import Bench, Tally, chosen
from tests.reliability.disk import KILLED, Killer, in_child

__all__ = ["damages", "pending"]

POSITIONS = 6  # bytes of each file that are flipped

Damage = tuple[str, Callable[[str, str], None]]  # what happens; does it to a file in a tree


def damages_of(root: str, name: str, names: list[str], generator: np.random.Generator) -> Iterator[Damage]:
    """Yield what may happen to the file ``name`` of a tree that has ``names``."""
    data = read(root, name)
    size = len(data)
    places = generator.integers(0, max(size, 1), POSITIONS)
    seals = size - generator.integers(1, 300, 2 * POSITIONS)  # what says how to read the rest is often at the end
    for at in sorted({0, size // 2, size - 1, *places.tolist(), *seals.tolist()}):
        if 0 <= at < size:
            bit = 1 << int(generator.integers(8))
            yield f"bit {bit} of byte {at} flipped", putting(data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :])
    for start in (0, size // 2):
        zeros = data[:start] + bytes(size - start)
        if zeros != data:
            yield f"zeros from byte {start} on", putting(zeros)
    for length in sorted({size // 2, size - 1, max(0, size - 4), 0}):
        if 0 <= length < size:
            yield f"cut to {length} of {size} bytes", putting(data[:length])
    yield "longer", putting(data + b"\0")
    yield "gone", remove
    yield "a directory", replace_by_directory
    yield "a link to a copy", replace_by_link
    siblings = [other for other in names if other != name and os.path.dirname(other) == os.path.dirname(name)]
    for other in generator.permutation(siblings or names)[:2].tolist():
        if read(root, other) != data:
            yield f"exchanged with {other}", swapping(other)
            yield f"a copy of {other}", copying(other)


def read(root: str, name: str) -> bytes:
    """Return the bytes of a file."""
    with open(os.path.join(root, name), "rb") as file:
        return file.read()


def swapping(other: str) -> Callable[[str, str], None]:
    """Return what exchanges a file with ``other``, of the same tree."""

    def swap(root: str, name: str) -> None:
        one, two = os.path.join(root, name), os.path.join(root, other)
        os.rename(two, one + "~")
        os.rename(one, two)
        os.rename(one + "~", one)

    return swap


def copying(other: str) -> Callable[[str, str], None]:
    """Return what writes the bytes of ``other`` into a file."""

    def copy(root: str, name: str) -> None:
        shutil.copyfile(os.path.join(root, other), os.path.join(root, name))

    return copy


def putting(data: bytes) -> Callable[[str, str], None]:
    """Return what writes a file in place."""

    def put(root: str, name: str) -> None:
        with open(os.path.join(root, name), "wb") as file:
            file.write(data)

    return put


def remove(root: str, name: str) -> None:
    """Remove a file."""
    os.unlink(os.path.join(root, name))


def replace_by_directory(root: str, name: str) -> None:
    """Put a directory in the place of a file."""
    remove(root, name)
    os.mkdir(os.path.join(root, name))


def replace_by_link(root: str, name: str) -> None:
    """Put a symbolic link in the place of a file, to a copy elsewhere."""
    elsewhere = os.path.join(root, "elsewhere")
    shutil.move(os.path.join(root, name), elsewhere)
    os.symlink(elsewhere, os.path.join(root, name))


def files_of(root: str) -> list[str]:
    """Return every file below ``root``."""
    return sorted(
        os.path.relpath(os.path.join(place, name), root) for place, _, names in os.walk(root) for name in names
    )


def chosen_damages(root: str, share: float, seed: int) -> list[tuple[str, Damage]]:
    """Return files of a tree that carry checksums, each with something that may happen to it."""
    generator = np.random.default_rng(seed)
    names = files_of(root)
    sealed = [name for name in names if name.startswith(".") or os.sep in name]  # not a flat file itself
    return chosen([(name, how) for name in sealed for how in damages_of(root, name, sealed, generator)], share, seed)


# --- campaigns -----------------------------------------------------------------------------------


def damages(name: str, directory: str, share: float = 1.0, seed: int = 0) -> Tally:
    """Damage each file of an array that was written, each way; read and verify it."""
    bench = Bench(named(name), directory)
    place = bench.place()
    in_child(bench.case.run, place)
    tally = in_child(try_damages, bench.case, place, [bench.states[-1]], chosen_damages(place, share, seed))
    shutil.rmtree(bench.directory)
    return tally


def pending(name: str, directory: str, share: float = 1.0, seed: int = 0) -> Tally:
    """Damage what a killed writer left, at each call: old, new, or refused, before and after recovery."""
    bench = Bench(named(name), directory)
    tally = Tally()
    for at in range(1, len(bench.count())):
        place = bench.place()
        assert in_child(bench.case.run, place, watcher=Killer(at)) == KILLED
        todo = chosen_damages(place, share, seed + at)
        tally += in_child(try_pending, bench.case, place, [*bench.states, None], todo)
        shutil.rmtree(place)
    shutil.rmtree(bench.directory)
    return tally


def damaged(source: str, todo: list[tuple[str, Damage]]) -> Iterator[tuple[str, str, str]]:
    """Yield a damaged copy of ``source``, the file and what happened to it, for each of ``todo``."""
    place = source + "-damaged"
    for name, (how, damage) in todo:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(source, place, symlinks=True)
        damage(place, name)
        yield place, name, how


def attempt(case: Case, place: str, values: list[np.ndarray | None], mode: str = "r") -> str:
    """Read an array; return "" if it has one of ``values``, the name of the error, or "silent"."""
    try:
        found = case.read(place, mode)
    except (ChunkarrError, OSError) as error:
        return type(error).__name__
    if found is None and all(value is not None for value in values):
        return "FileNotFoundError"
    return "" if which(found, values) is not None else "silent"


def try_damages(case: Case, source: str, values: list[np.ndarray | None], todo: list[tuple[str, Damage]]) -> Tally:
    """Damage a stored array; what is read must be one of ``values``, or refused and listed."""
    tally = Tally()
    for place, name, how in damaged(source, todo):
        tally.points += 1
        said = attempt(case, place, values)
        tally.said[said] = tally.said.get(said, 0) + 1
        if said == "silent":
            tally.bad.append(f"{case.name}: {name} {how}: read without an error, but not what was written")
        inside = name.split(os.sep)[1:]
        stored = inside[:1] in (["c"], [".chunkarr"]) and inside[-1] != "lock"
        if (said or stored) and not listed(case, place):
            tally.bad.append(f"{case.name}: {name} {how}: {said or 'read well'}, but verifying finds nothing")
    return tally


def listed(case: Case, place: str) -> bool:
    """Say whether verifying finds something, or refuses."""
    try:
        return any(True for _ in case.layout.open(case.path(place)).problems())
    except (ChunkarrError, OSError):
        return True


def try_pending(case: Case, source: str, values: list[np.ndarray | None], todo: list[tuple[str, Damage]]) -> Tally:
    """Damage what a killed writer left; read it, recover it, read again."""
    tally = Tally()
    for place, name, how in damaged(source, todo):
        for when, mode in (("read", "r"), ("recovered", "r+"), ("read after recovery", "r")):
            tally.points += 1
            said = attempt(case, place, values, mode)
            tally.said[said] = tally.said.get(said, 0) + 1
            if said == "silent":
                tally.bad.append(f"{case.name}: {name} {how}: {when} as a mix")
    return tally
