"""Assignment as an expression: the whole new array, of the old one and what is put into it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.formats.runs import plain
from chunkarr.graph import Kernel, Node, broadcast_region
from chunkarr.grid import Grid, Region, Shape, region_shape
from chunkarr.ops.layout import broadcast_to
from chunkarr.ops.placing import Place

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from chunkarr.lookups import Advanced, Part

__all__ = ["Everywhere", "Scattered", "Setter", "Somewhere", "assign", "copy_bytes"]

Block = np.ndarray[Any, Any]


class Setter:
    """How values get into a view: which of them a region needs, and how they are put there.

    Regions and blocks are those of the view; ``values`` are what `needs` asked for, in order.
    """

    __slots__ = ()

    def needs(self, part: Region) -> tuple[Region | None, ...]:
        """Return the region of each value that ``part`` of the view needs."""
        raise NotImplementedError

    def covers(self, part: Region) -> bool:
        """Say whether every element of ``part`` is replaced."""
        raise NotImplementedError

    def touches(self, part: Region) -> bool:
        """Say whether any element of ``part`` may be replaced."""
        del part
        return True

    def put(self, seen: Block, part: Region, values: Sequence[Block | None]) -> None:
        """Change ``seen``, which shows ``part`` of the view."""
        raise NotImplementedError

    def scratch_bytes(self, part: Region, itemsize: int) -> int:
        """Return the bytes that `put` holds besides its blocks."""
        del part, itemsize
        return 0


class Everywhere(Setter):
    """``view[...] = value``, which broadcasts."""

    __slots__ = ("value",)

    def __init__(self, value: Shape) -> None:
        self.value = value

    def needs(self, part: Region) -> tuple[Region | None, ...]:
        """Need what broadcasts to the part."""
        return (broadcast_region(part, self.value),)

    def covers(self, part: Region) -> bool:
        """Replace everything."""
        del part
        return True

    def put(self, seen: Block, part: Region, values: Sequence[Block | None]) -> None:
        """Assign as NumPy does."""
        del part
        seen[...] = values[0]


class Somewhere(Setter):
    """``np.copyto(view, value, where=mask)``, both of which broadcast."""

    __slots__ = ("mask", "value")

    def __init__(self, value: Shape, mask: Shape) -> None:
        self.value, self.mask = value, mask

    def needs(self, part: Region) -> tuple[Region | None, ...]:
        """Need what broadcasts to the part."""
        return broadcast_region(part, self.value), broadcast_region(part, self.mask)

    def covers(self, part: Region) -> bool:
        """Keep what the mask does not name."""
        del part
        return False

    def put(self, seen: Block, part: Region, values: Sequence[Block | None]) -> None:
        """Assign where the mask is true."""
        del part
        value, mask = values
        assert value is not None
        assert mask is not None
        np.copyto(seen, value, casting="unsafe", where=mask)


class Scattered(Setter):
    """``view[key] = value`` with index arrays, or ``ufunc.at(view, key, value)``; of equal places the last stays."""

    __slots__ = ("advanced", "ufunc", "value")

    def __init__(self, advanced: Advanced, value: Shape | None, ufunc: np.ufunc | None = None) -> None:
        self.advanced, self.value, self.ufunc = advanced, value, ufunc

    def needs(self, part: Region) -> tuple[Region | None, ...]:
        """Need the values for the indices that lie in the part."""
        found = self.advanced.within(part)
        if self.value is None:
            return ()
        return (None if found is None else broadcast_region(found.result, self.value),)

    def covers(self, part: Region) -> bool:
        """Keep what no index names."""
        del part
        return False

    def touches(self, part: Region) -> bool:
        """Look the indices up."""
        return self.advanced.within(part) is not None

    def put(self, seen: Block, part: Region, values: Sequence[Block | None]) -> None:
        """Assign at the indices that lie in the part."""
        found = self.advanced.within(part)
        if found is None:
            return
        if self.value is None:
            assert self.ufunc is not None
            view, key = found.of_array(seen, part)
            self.ufunc.at(view, key)
            return
        value = np.broadcast_to(values[0], region_shape(found.result))  # type: ignore[arg-type]
        self._put(found, seen, part, value)

    def _put(self, found: Part, seen: Block, part: Region, value: Block) -> None:
        view, key = found.of_array(seen, part)
        source, where = found.of_result(value, found.result)
        if self.ufunc is None:
            view[key] = source[where]
        else:
            self.ufunc.at(view, key, source[where])

    def scratch_bytes(self, part: Region, itemsize: int) -> int:
        """Count the values that are looked up, and their indices on both sides."""
        found = self.advanced.within(part)
        return 0 if found is None else found.size * (itemsize + 8 * (len(part) + len(self.advanced.extent) + 2))


class Assign(Kernel):
    """The array after a view of it was set."""

    __slots__ = ("place", "setter")

    def __init__(self, dtype: np.dtype[Any], place: Place, setter: Setter) -> None:
        super().__init__(place.root, dtype)
        self.place, self.setter = place, setter

    def needs(self, region: Region) -> tuple[Region | None, ...]:
        """Need the old array unless all of it is replaced, and what is put into the region."""
        part = self.place.within(region)
        if part is None:
            nothing = self.setter.needs(tuple((0, 1) for _ in self.place.shape))
            return (region, *(None for _ in nothing))
        covered = self.place.covers(region) and self.setter.covers(part)
        return (None if covered else region, *self.setter.needs(part))

    def kernel(self, blocks: Sequence[Block | None], region: Region, out: Block, scratch: Block) -> None:  # noqa: ARG002
        """Copy the old values, and put the new ones in their places."""
        old, *values = blocks
        if old is not None:
            copy_bytes(out, old)
        self.change(out, region, values)

    def change(self, block: Block, region: Region, values: Sequence[Block | None]) -> None:
        """Put the values in their places in ``block``, which holds the old values of ``region`` where they stay."""
        part = self.place.within(region)
        if part is not None:
            self.setter.put(self.place.view(block, region), part, values)

    def scratch_bytes(self, region: Region) -> int:
        """Ask the setter."""
        part = self.place.within(region)
        return 0 if part is None else self.setter.scratch_bytes(part, self.dtype.itemsize)

    def touched(self, region: Region, grid: Grid) -> Iterator[Region]:
        """Yield the parts of ``region``, whole boxes of ``grid``, that are changed."""
        for run in self.place.parts(region, grid, self.dtype.itemsize):
            if not isinstance(self.setter, Scattered):
                yield run
            elif set(grid.steps) <= {1}:
                yield from self._rows(run)
            else:
                for box in map(grid.region, grid.touching(run)):
                    part = self.place.within(box)
                    if part is not None and self.setter.touches(part):
                        yield box

    def _rows(self, region: Region) -> Iterator[Region]:
        """Yield the smallest region that holds the elements that are changed."""
        part = self.place.within(region)
        if part is not None and self.setter.touches(part):
            yield region


def copy_bytes(target: Block, source: Block) -> None:
    """Copy elements of one dtype with their padding."""
    if target.dtype.itemsize:
        kind = plain(target.dtype)
        target.view(kind)[...] = source.view(kind)


def assign(old: Node, place: Place, setter: Setter, values: Sequence[Node]) -> Node:
    """Return ``old`` after its view at ``place`` was set; ``values`` are those that ``setter`` needs, of its dtype."""
    if isinstance(setter, Everywhere) and place.is_whole:
        return broadcast_to(values[0], place.root)
    return Node(Assign(old.dtype, place, setter), (old, *values), old.grid)
