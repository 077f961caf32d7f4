"""Lost power: traces of the calls, and every state of the disk that they may leave, replayed.

The model. A disk holds what was synced, and of what was not any part:

- The calls up to some moment were made (every prefix of the trace).
- Names (made, renamed, removed) last once their directory was synced; before that each of them alone may be
  there or not, in any combination. A rename lasts when either of its directories was synced, and never by half.
- Bytes and lengths of a file last once the file was synced; before that each write is there whole, by half,
  or not at all, or the file has its new length and zeros in it.

This is harsher than ext4, xfs and btrfs, which keep the order of names.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain, combinations
from typing import Any

import numpy as np

from chunkarr.fsio import calls
from tests.reliability.cases import Case, named
from tests.reliability.crashing import Bench, Tally
from tests.reliability.disk import in_child

__all__ = ["Disk", "Tracer", "losses"]

FULL_SUBSETS = 5  # of so many names that may be lost all combinations are tried, of more some
SAMPLES = 12  # combinations tried then
FATES = ("full", "half", "none", "zeros")  # of a write that was not synced
FORGIVEN = {"chmod", "utime"}  # calls that change neither names nor bytes
FIRST_NEW = 1 << 62  # numbers of files made since; inode numbers are smaller

Entry = tuple[int, str]  # a directory's number, and a name in it


@dataclass(frozen=True)
class Event:
    """One call: the names it sets, the bytes it writes, or what it makes last."""

    names: tuple[tuple[Entry, int | None], ...] = ()  # entries and what they then name, None for nothing
    file: int = -1  # whose bytes change
    data: bytes = b""
    offset: int = -1  # where they go; -1: the file is cut or lengthened to `size`
    size: int = -1
    synced: int = -1  # file or directory that lasts from now on
    mark: bool = False  # a step of the operation returned here
    made: int = -1  # the file or directory that the names are of, if it is new
    is_dir: bool = False


class Tracer:
    """Watches the calls below a directory and turns them into events; nothing else may change files there."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.events: list[Event] = []
        self._numbers: dict[int, int] = {}  # of files made since, by inode
        self._lock = threading.RLock()

    def __call__(self, name: str, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        with self._lock:
            before = self._before(name, args)
            result = call(*args)
            event = self._event(name, args, before, result)
            if event is not None:
                self.events.append(event)
            return result

    def mark(self) -> None:
        """Note that a step returned."""
        self.events.append(Event(mark=True))

    def _before(self, name: str, args: tuple[Any, ...]) -> Any:
        """Return what must be known from before the call."""
        if name == "open":
            return os.path.lexists(args[0])
        if name in ("rename", "exchange"):
            return self._number(args[0]), self._number(args[1]) if os.path.lexists(args[1]) else None
        if name == "write":
            with open(f"/proc/self/fdinfo/{args[0]}") as file:
                flags = int(file.read().split("flags:")[1].split()[0], 8)
            if flags & os.O_APPEND:
                return os.fstat(args[0]).st_size
        return os.lseek(args[0], 0, os.SEEK_CUR) if name in ("write", "writev") else None

    def _event(self, name: str, args: tuple[Any, ...], before: Any, result: Any) -> Event | None:
        if name == "open":
            if args[1] & os.O_CREAT and not before:
                return self._made(args[0], is_dir=False)
            return Event(file=self._number(result), size=0) if args[1] & os.O_TRUNC else None
        if name == "mkdir":
            return self._made(args[0], is_dir=True)
        if name in ("pwrite", "write", "writev"):
            data = b"".join(bytes(view) for view in args[1]) if name == "writev" else bytes(args[1])
            offset = args[2] if name == "pwrite" else before
            return Event(file=self._number(args[0]), data=data[:result], offset=offset)
        if name == "truncate":
            return Event(file=self._number(args[0]), size=args[1])
        if name == "reserve":
            return Event(file=self._number(args[0]), offset=args[1] + args[2])
        if name == "fsync":
            return Event(synced=self._number(args[0]))
        if name in ("rename", "exchange"):
            other = before[1] if name == "exchange" else None
            return (
                None if result is False else Event(((self._entry(args[0]), other), (self._entry(args[1]), before[0])))
            )
        if name == "link":
            return Event(((self._entry(args[1]), self._number(args[0])),))
        if name in ("unlink", "rmdir"):
            return Event(((self._entry(args[0]), None),))
        assert name in FORGIVEN, f"the model does not know {name}"
        return None

    def _made(self, path: str, *, is_dir: bool) -> Event:
        # Systems give numbers of removed files to new ones: ours are unique.
        self._numbers[inode(path)] = new = FIRST_NEW + len(self.events)
        return Event(((self._entry(path), new),), made=new, is_dir=is_dir)

    def _number(self, file: str | int) -> int:
        """Return the number by which the model knows a path or a descriptor."""
        found = inode(file)
        return self._numbers.get(found, found)

    def _entry(self, path: str) -> Entry:
        directory, name = os.path.split(os.path.abspath(path))
        return self._number(os.path.realpath(directory)), name


def inode(file: str | int) -> int:
    """Return the inode number of a path or a descriptor."""
    return os.fstat(file).st_ino if isinstance(file, int) else os.lstat(file).st_ino


@dataclass
class File:
    """A file's bytes: those that last, and the writes since."""

    lasting: bytes = b""
    writes: list[Event] = field(default_factory=list)

    def value(self, fates: dict[int, str]) -> bytes:
        """Return the bytes when each write has its fate (full where none is given)."""
        data = bytearray(self.lasting)
        for index, event in enumerate(self.writes):
            fate = fates.get(index, "full")
            if fate == "none":
                continue
            if event.offset < 0:
                data = data[: event.size].ljust(event.size, b"\0")
                continue
            part = event.data if fate == "full" else event.data[: len(event.data) // 2]
            end = event.offset + (len(event.data) if fate == "zeros" else len(part))
            old = len(data)
            data = data.ljust(end, b"\0")
            if fate != "zeros":
                data[event.offset : end] = part
            elif event.offset < old:
                # What was there stays; only the length beyond is new.
                continue
        return bytes(data)


class Disk:
    """What a disk holds after some calls: what lasts, and what may or may not."""

    def __init__(self, root: str) -> None:
        self.root = inode(root)
        self.names: dict[Entry, int] = {}  # that last
        self.directories: set[int] = {self.root}
        self.files: dict[int, File] = {}
        self.pending: list[Event] = []  # names that may be lost
        self._load(root)

    def _load(self, directory: str) -> None:
        with os.scandir(directory) as entries:
            for item in entries:
                status = item.stat(follow_symlinks=False)
                self.names[inode(directory), item.name] = status.st_ino
                if stat.S_ISDIR(status.st_mode):
                    self.directories.add(status.st_ino)
                    self._load(item.path)
                else:
                    with open(item.path, "rb") as file:
                        self.files[status.st_ino] = File(file.read())

    def apply(self, event: Event) -> None:
        """Do one more call."""
        if event.made >= 0:
            if event.is_dir:
                self.directories.add(event.made)
            else:
                self.files[event.made] = File()
        if event.names:
            self.pending.append(event)
        elif event.synced in self.directories:
            self._sync_names(event.synced)
        elif event.synced >= 0:
            file = self.files[event.synced]
            file.lasting, file.writes = file.value({}), []
        elif event.file >= 0:
            self.files[event.file].writes.append(event)

    def _sync_names(self, directory: int) -> None:
        """Make the names in a directory last, and what happened to the same names before."""
        kept: list[Event] = []
        entries: set[Entry] = set()
        lasting = []
        for event in reversed(self.pending):
            touched = {place for place, _ in event.names}
            if touched & entries or any(place == directory for place, _ in touched):
                entries |= touched
                lasting.append(event)
            else:
                kept.append(event)
        for event in reversed(lasting):
            self._set(self.names, event)
        self.pending = kept[::-1]

    @staticmethod
    def _set(names: dict[Entry, int], event: Event) -> None:
        for place, file in event.names:
            if file is None:
                names.pop(place, None)
            else:
                names[place] = file

    def subsets(self, generator: np.random.Generator) -> Iterator[tuple[int, ...]]:
        """Yield which of the pending names are there: all, none, each alone missing, each alone there, and others."""
        count = len(self.pending)
        every = range(count)
        if count <= FULL_SUBSETS:
            yield from chain.from_iterable(combinations(every, size) for size in range(count + 1))
            return
        yield ()
        yield tuple(every)
        for one in generator.permutation(count)[:SAMPLES]:
            yield (int(one),)
            yield tuple(index for index in every if index != one)
            yield tuple(range(int(one)))  # as a journal would have it
        for _ in range(SAMPLES):
            yield tuple(np.flatnonzero(generator.random(count) < 0.5).tolist())

    def tree(self, subset: tuple[int, ...]) -> dict[str, int]:
        """Return the paths below the root that there are when ``subset`` of the pending names is."""
        names = dict(self.names)
        for index in subset:
            self._set(names, self.pending[index])
        below: dict[int, list[tuple[str, int]]] = {}
        for (directory, name), file in names.items():
            below.setdefault(directory, []).append((name, file))
        found: dict[str, int] = {}
        stack = [("", self.root)]
        while stack:
            prefix, directory = stack.pop()
            for name, file in below.get(directory, ()):
                path = os.path.join(prefix, name)
                found[path] = file
                if file in self.directories:
                    stack.append((path, file))
        return found

    def states(self, generator: np.random.Generator) -> Iterator[tuple[tuple[str, bytes | None], ...]]:
        """Yield the states that power loss may leave: each path with its bytes, None for a directory."""
        for subset in self.subsets(generator):
            tree = self.tree(subset)
            loose = sorted({file for file in tree.values() if file in self.files and self.files[file].writes})
            for fates in self._fates(loose, generator):
                yield tuple(
                    sorted(
                        (path, None if file in self.directories else self.files[file].value(fates.get(file, {})))
                        for path, file in tree.items()
                    )
                )

    def _fates(self, loose: list[int], generator: np.random.Generator) -> Iterator[dict[int, dict[int, str]]]:
        """Yield fates of the writes that were not synced: one for all, one file's alone, and mixed ones."""
        if not loose:
            yield {}
            return
        for fate in FATES:
            yield {file: dict.fromkeys(range(len(self.files[file].writes)), fate) for file in loose}
        for file in generator.permutation(loose)[:4]:
            fate = FATES[1 + int(generator.integers(3))]
            yield {int(file): dict.fromkeys(range(len(self.files[int(file)].writes)), fate)}
        for _ in range(2):
            yield {
                file: {i: FATES[int(generator.integers(4))] for i in range(len(self.files[file].writes))}
                for file in loose
            }


# --- the campaign --------------------------------------------------------------------------------


def losses(
    name: str, directory: str, limit: int = 1000, seed: int = 0, without: tuple[str, ...] = ()
) -> tuple[Tally, int]:
    """Replay up to ``limit`` states that power loss during a case may leave; judge each.

    ``without`` are calls that do nothing ("fsync": the control). Returns the tally, and how many different
    states there were before the limit.
    """
    case = named(name)
    bench = Bench(case, directory)
    place = bench.place()
    disk = Disk(place)
    events = in_child(trace, case, place, without)
    generator = np.random.default_rng(seed)
    states: dict[tuple[Any, ...], tuple[int, int]] = {}  # of each, how many steps had returned, and the last moment
    done = 0
    for index in range(len(events) + 1):
        for state in disk.states(generator):
            # The most that must be there: a state may also be left by a later moment, which promises more.
            if done >= case.operation.lax:
                states[state] = done, index
        if index < len(events):
            disk.apply(events[index])
            done += events[index].mark
    for state in spread(states, limit, generator):
        promised, moment = states[state]
        place = bench.empty()
        lay(place, state)

        def check(found: int | None, promised: int = promised) -> str:
            return f"state {found} is there, though step {promised} had returned" if (found or 0) < promised else ""

        bench.submit(place, f"{name}: power lost before call {moment}", check)
    return bench.finish(), len(states)


def spread(states: dict[Any, tuple[int, int]], limit: int, generator: np.random.Generator) -> list[Any]:
    """Return up to ``limit`` states, from every moment about as many."""
    moments: dict[int, list[Any]] = {}
    for state, (_, moment) in states.items():
        moments.setdefault(moment, []).append(state)
    for group in moments.values():
        generator.shuffle(group)
    picked: list[Any] = []
    while len(picked) < min(limit, len(states)):
        picked += [group.pop() for group in moments.values() if group][: limit - len(picked)]
    return picked


def trace(case: Case, place: str, without: tuple[str, ...]) -> list[Event]:
    """Run a case and return its calls as events."""
    tracer = Tracer(place)

    def watcher(name: str, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        return None if name in without else tracer(name, call, args)

    with calls.watched(watcher):
        for step, _ in case.operation.steps:
            step(case.path(place), case.layout)
            tracer.mark()
    return tracer.events


def lay(place: str, state: tuple[tuple[str, bytes | None], ...]) -> None:
    """Make the files of a state."""
    os.makedirs(place)
    for path, data in state:
        full = os.path.join(place, path)
        if data is None:
            os.mkdir(full)
        else:
            with open(full, "wb") as file:
                file.write(data)
