"""What is stored and how it is changed: layouts, operations, and the judge of what is there afterwards."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chunkarr.errors import ChunkarrError
from chunkarr.formats.contract import Stored, Update
from chunkarr.formats.table import create_target, open_stored
from chunkarr.fsio import calls
from chunkarr.grid import Region, intersect, region_shape, region_slices, whole
from tests.reliability.disk import sizes

__all__ = [
    "LAYOUTS",
    "OPERATIONS",
    "Case",
    "Layout",
    "Operation",
    "assign",
    "cases",
    "create",
    "get",
    "named",
    "resize",
    "which",
    "write",
]

OLD = np.arange(70 * 200, dtype="<i4").reshape(70, 200) + 1  # 14 pages of a flat file, 6 chunks


@dataclass(frozen=True)
class Layout:
    """How an array lies at rest."""

    name: str
    suffix: str
    options: dict[str, Any] = field(default_factory=dict)  # of `create_target`
    order: str = "C"
    foreign: bool = False  # whether the array that is changed was written by zarr-python

    def open(self, path: str, mode: str = "r", **options: Any) -> Stored:
        """Open the array, whatever its length along the first axis is."""
        return open_stored(path, mode, **self.how(options))

    def how(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return the options of opening, with those that raw records need."""
        if self.suffix != ".raw":
            return options
        return {"dtype": OLD.dtype, "shape": (-1, OLD.shape[1]), "order": self.order} | options

    def make(self, path: str, values: np.ndarray[Any, Any]) -> None:
        """Write a new array, as chunkarr or as zarr-python does."""
        if not self.foreign:
            create(path, values, self)
            return
        import zarr

        zarr.create_array(path, data=values, chunks=self.options["chunks"], compressors="auto")

    def plain(self, path: str, columns: int = OLD.shape[1]) -> np.ndarray[Any, Any]:
        """Read the array without chunkarr; Zarr arrays with zarr-python and tensorstore."""
        if self.suffix == ".npy":
            return np.load(path)
        if self.suffix == ".raw":
            return np.fromfile(path, OLD.dtype).reshape(-1, columns)
        if self.suffix == ".h5":
            import h5py

            with h5py.File(path, "r") as file:
                return file["data"][...]
        import zarr

        values = np.asarray(zarr.open_array(path, mode="r")[...])
        if importlib.util.find_spec("tensorstore") is not None:
            import tensorstore

            spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": os.path.abspath(path)}}
            other = tensorstore.open(spec, context=tensorstore.Context()).result().read().result()
            assert np.array_equal(values, other), "zarr-python and tensorstore read different values"
        return values


LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout("zarr", ".zarr", {"chunks": (30, 120), "shards": False}),
        Layout("zarr-none", ".zarr", {"chunks": (40, 80), "codec": None, "shards": False}),
        Layout("zarr-fortran", ".zarr", {"chunks": (40, 120), "codec": "zstd", "order": "F", "shards": False}),
        Layout("zarr-shards", ".zarr", {"chunks": (20, 80), "shards": (40, 160)}),
        Layout("zarr-foreign", ".zarr", {"chunks": (30, 120), "shards": False}, foreign=True),
        Layout("npy", ".npy"),
        Layout("npy-fortran", ".npy", {"order": "F"}, order="F"),
        Layout("raw", ".raw"),
        Layout("hdf5", ".h5", {"chunks": (30, 120), "codec": "gzip"}),
    )
}


# --- what the formats offer, used as the face uses it --------------------------------------------


def create(path: str, values: np.ndarray[Any, Any], layout: Layout, **options: Any) -> None:
    """Write a new array."""
    target = create_target(path, values.shape, values.dtype, **layout.options, **options)
    try:
        for area in areas(target, whole(values.shape)):
            scratch = np.empty(target.scratch_bytes(area), np.uint8)
            target.write(area, values[region_slices(area)], scratch)
        target.commit()
    finally:
        target.abort()


def areas(target: Any, region: Region) -> list[Region]:
    """Return the regions in which ``region`` of ``target`` is written: whole boxes of its grid."""
    if all(step == 1 for step in target.grid.steps):
        return [region]
    return [target.grid.region(box) for box in target.grid.touching(region)]


def assign(stored: Stored, region: Region, values: np.ndarray[Any, Any]) -> None:
    """Write ``values`` at ``region`` of a stored array, in one transaction."""
    with stored.update() as change:
        write(change, region, values)
        change.commit()


def write(change: Update, region: Region, values: np.ndarray[Any, Any]) -> None:
    """Write ``values`` at ``region`` of an update: boxes are read, changed and written."""
    for area in areas(change, region):
        block = get(change.before, area)
        both = intersect(area, region)
        if both is not None:
            block[region_slices(both, area)] = values[region_slices(both, region)]
        change.write(area, block, np.empty(change.scratch_bytes(area), np.uint8))


def get(stored: Stored, region: Region | None = None) -> np.ndarray[Any, Any]:
    """Return the values of a region, zeros where it goes beyond the array."""
    region = whole(stored.shape) if region is None else region
    block = np.zeros(region_shape(region), stored.dtype)
    both = intersect(region, whole(stored.shape))
    if both is not None:
        part = np.empty(region_shape(both), stored.dtype)
        stored.read(both, part, np.empty(stored.scratch_bytes(both), np.uint8))
        block[region_slices(both, region)] = part
    return block


def resize(stored: Stored, shape: tuple[int, ...]) -> None:
    """Give a stored array another shape, in one transaction."""
    with stored.update(shape) as change:
        for area in change.stale:
            change.write(area, get(change.before, area), np.empty(change.scratch_bytes(area), np.uint8))
        change.commit()


# --- operations ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Operation:
    """A change: what is there before, what is there after each step, and the steps."""

    name: str
    old: np.ndarray[Any, Any] | None
    steps: tuple[tuple[Callable[[str, Layout], None], np.ndarray[Any, Any]], ...]  # what is done, what is there then
    suits: Callable[[Layout], bool] = lambda layout: True
    lax: int = 0  # steps of durability "process", which promise nothing when power is lost

    @property
    def new(self) -> np.ndarray[Any, Any]:
        """What is there at the end."""
        return self.steps[-1][1]


def changed(region: Region, values: Any, start: np.ndarray[Any, Any] = OLD) -> np.ndarray[Any, Any]:
    """Return a copy with ``values`` at ``region``."""
    new = start.copy()
    new[region_slices(region)] = values
    return new


def resized(shape: tuple[int, ...], start: np.ndarray[Any, Any] = OLD) -> np.ndarray[Any, Any]:
    """Return what ``resize`` makes: elements keep their indices, new ones are 0."""
    new = np.zeros(shape, start.dtype)
    both = tuple(slice(0, min(a, b)) for a, b in zip(shape, start.shape, strict=True))
    new[both] = start[both]
    return new


PART: Region = ((27, 33), (70, 170))
FAR: tuple[Region, ...] = (((2, 4), (5, 9)), ((62, 64), (180, 200)))
NEW = -np.arange(50 * 200, dtype="<i4").reshape(50, 200) - 1


def _create(path: str, layout: Layout) -> None:
    create(path, NEW, layout)


def _replace(path: str, layout: Layout) -> None:
    create(path, NEW, layout, overwrite=True)


def _assign(path: str, layout: Layout) -> None:
    assign(layout.open(path, "r+"), PART, np.full(region_shape(PART), -7, "<i4"))


def _assign_again(path: str, layout: Layout) -> None:
    assign(layout.open(path, "r+"), ((0, 9), (0, 200)), np.full((9, 200), -9, "<i4"))


def _assign_unsynced(path: str, layout: Layout) -> None:
    assign(layout.open(path, "r+", durability="process"), PART, np.full(region_shape(PART), -7, "<i4"))


def _replace_by_two_renames(path: str, layout: Layout) -> None:
    """Replace where the system cannot exchange directories."""
    library, calls._LIBC = calls._LIBC, None
    try:
        create(path, NEW, layout, overwrite=True)
    finally:
        calls._LIBC = library


def _scatter(path: str, layout: Layout) -> None:
    """Write at two places that are far from each other, in one transaction."""
    with layout.open(path, "r+").update() as change:
        for region in FAR:
            write(change, region, np.full(region_shape(region), -5, "<i4"))
        change.commit()


def _whole(path: str, layout: Layout) -> None:
    assign(layout.open(path, "r+"), whole(OLD.shape), -OLD)


def _resizing(*shape: int) -> Callable[[str, Layout], None]:
    return lambda path, layout: resize(layout.open(path, "r+"), shape)


def _append(path: str, layout: Layout) -> None:
    """Grow along the first axis and write there, in one transaction."""
    with layout.open(path, "r+").update((90, 200)) as change:
        write(change, ((70, 90), (0, 200)), np.full((20, 200), -3, "<i4"))
        change.commit()


def any_shape(layout: Layout) -> bool:
    """Say whether reopening tells the number of columns."""
    return layout.suffix != ".raw"


def ours(layout: Layout) -> bool:
    """Say whether chunkarr writes what is there before."""
    return not layout.foreign


_PART = changed(PART, -7)
OPERATIONS = {
    operation.name: operation
    for operation in (
        Operation("create", None, ((_create, NEW),), ours),
        Operation("replace", OLD, ((_replace, NEW),), ours),
        Operation("update", OLD, ((_assign, _PART),)),
        Operation("scattered", OLD, ((_scatter, changed(FAR[1], -5, changed(FAR[0], -5))),)),
        Operation("whole", OLD, ((_whole, -OLD),)),
        Operation("append", OLD, ((_append, np.vstack([OLD, np.full((20, 200), -3, "<i4")])),)),
        Operation("grow", OLD, ((_resizing(100, 320), resized((100, 320))),), any_shape),
        Operation("shrink", OLD, ((_resizing(40, 70), resized((40, 70))),), any_shape),
        Operation("cut", OLD, ((_resizing(65, 200), resized((65, 200))),)),
        Operation("reshape", OLD, ((_resizing(40, 320), resized((40, 320))),), any_shape),
        Operation(
            "sequence",
            OLD,
            (
                (_assign, _PART),
                (_resizing(65, 200), resized((65, 200), _PART)),
                (_resizing(70, 200), resized((70, 200), resized((65, 200), _PART))),
                (_assign_again, changed(((0, 9), (0, 200)), -9, resized((70, 200), resized((65, 200), _PART)))),
            ),
        ),
    )
}


def directories(layout: Layout) -> bool:
    """Say whether an array is a directory that chunkarr wrote."""
    return layout.suffix == ".zarr" and not layout.foreign


OPERATIONS["two-renames"] = Operation("two-renames", OLD, ((_replace_by_two_renames, NEW),), directories)
OPERATIONS["unsynced"] = Operation(
    "unsynced",
    OLD,
    ((_assign_unsynced, _PART), (_assign_again, changed(((0, 9), (0, 200)), -9, _PART))),
    lax=2,
)


@dataclass(frozen=True)
class Case:
    """An operation on a layout, and the judge of what it left."""

    layout: Layout
    operation: Operation

    @property
    def name(self) -> str:
        """How a test names it."""
        return f"{self.layout.name}-{self.operation.name}"

    def path(self, directory: str) -> str:
        """Return where the array is in ``directory``."""
        return os.path.join(directory, "a" + self.layout.suffix)

    def prepare(self, directory: str) -> None:
        """Make what is there before."""
        os.makedirs(directory)
        if self.operation.old is not None:
            self.layout.make(self.path(directory), self.operation.old)

    def run(self, directory: str, upto: int | None = None) -> None:
        """Do the steps, or the first few."""
        for step, _ in self.operation.steps[:upto]:
            step(self.path(directory), self.layout)

    def read(self, directory: str, mode: str = "r") -> np.ndarray[Any, Any] | None:
        """Return what is there now; None if there is nothing."""
        try:
            stored = self.layout.open(self.path(directory), mode)
        except FileNotFoundError as error:
            if isinstance(error, ChunkarrError):
                raise
            return None
        return get(stored)

    def states(self) -> list[np.ndarray[Any, Any] | None]:
        """Return what may be there: before, and after each step."""
        return [self.operation.old, *(values for _, values in self.operation.steps)]

    def expected_sizes(self, directory: str) -> list[dict[str, int]]:
        """Return which files there are before, and after each step, undisturbed."""
        found = []
        for upto in range(len(self.operation.steps) + 1):
            place = os.path.join(directory, "undisturbed")
            self.prepare(place)
            self.run(place, upto)
            self.read(place, "r+")
            found.append(sizes(place))
            shutil.rmtree(place)
        return found


def cases(*, layouts: tuple[str, ...] = (), operations: tuple[str, ...] = ()) -> list[Case]:
    """Return all cases, or those of the layouts and operations named."""
    return [
        Case(layout, operation)
        for layout in LAYOUTS.values()
        for operation in OPERATIONS.values()
        if operation.suits(layout)
        and (not layouts or layout.name in layouts)
        and (not operations or operation.name in operations)
    ]


def named(name: str) -> Case:
    """Return the case of that name."""
    return next(case for case in cases() if case.name == name)


def which(values: np.ndarray[Any, Any] | None, states: list[np.ndarray[Any, Any] | None]) -> int | None:
    """Return which of ``states`` the values are, exactly; None if a mix."""
    for number, state in enumerate(states):
        if values is None or state is None:
            if values is None and state is None:
                return number
        elif values.shape == state.shape and values.dtype == state.dtype and values.tobytes() == state.tobytes():
            return number
    return None
