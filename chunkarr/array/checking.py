"""Whether stored values are those that were written, and whether values are the same."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from chunkarr import engine
from chunkarr.array.expression import Expression, as_node
from chunkarr.engine.schedule import scheduler
from chunkarr.engine.verifying import find_problems
from chunkarr.formats.digesting import DigestTarget
from chunkarr.graph import Load, Node, topological
from chunkarr.settings import format_bytes, scratch_directory

if TYPE_CHECKING:
    from chunkarr.formats.contract import Problem, Stored
    from chunkarr.grid import Shape
    from chunkarr.progress import Reporter

__all__ = ["Checking", "VerifyReport"]


@dataclass(frozen=True)
class VerifyReport:
    """What `Array.verify` found."""

    path: str
    format: str
    shape: Shape
    dtype: str
    chunks: int  # that were read; 1 where the format has none
    nbytes: int  # decoded bytes that were read
    checked_by: str  # what tells that stored bytes changed; "" if the format has nothing that does
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """Return the fields and `ok` as plain values, ready for JSON."""
        return {"ok": self.ok, **asdict(self)}

    def __str__(self) -> str:
        """Return a line for each problem, and one for all that was looked at."""
        lines = [f"{p.file}: chunk {p.chunk}: {p.error}: {p.reason}" for p in self.problems]
        found = "nothing is wrong" if self.ok else _counted(len(self.problems), "problem")
        read = f"{_counted(self.chunks, 'chunk')}, {format_bytes(self.nbytes)}"
        how = self.checked_by or f"{self.format} stores no checksums: only whether all can be read was checked"
        return "\n".join([*lines, f"{self.path}: {found} in {read} ({how})"])


class Checking(Expression):
    """Methods that check what is stored."""

    __slots__ = ()

    def verify(self, *, progress: bool | Reporter | None = None) -> VerifyReport:
        """Read everything that is stored and compare it with what was written.

        Returns
        -------
        VerifyReport
            Its `problems` list missing, empty, cut, flipped, swapped and foreign chunks; none is fatal.
            Formats without checksums (npy, raw) can only be found unreadable; the report says so.

        Raises
        ------
        TypeError
            For an expression, which is stored nowhere.

        Examples
        --------
        >>> import tempfile, chunkarr as ca
        >>> with tempfile.TemporaryDirectory() as d:
        ...     ca.save(d + "/x.zarr", ca.arange(10)).verify().ok
        True
        """
        stored, problems = find_problems(_stored(as_node(self)), progress=progress)
        return VerifyReport(
            path=stored.path,
            format=stored.format,
            shape=stored.shape,
            dtype=str(stored.dtype),
            chunks=1 if stored.contiguous else stored.grid.size,
            nbytes=math.prod(stored.shape) * stored.dtype.itemsize,
            checked_by=stored.checked_by(),
            problems=tuple(problems),
        )

    def digest(self, *, progress: bool | Reporter | None = None) -> str:
        """Return a digest of shape, dtype and values: equal for equal arrays, whatever file they are in.

        Chunks, byte order, order in memory and the padding of structured elements do not count; the bits
        of values do, so 0.0 and -0.0 differ. One pass, in parallel, within the budget.

        Examples
        --------
        >>> import chunkarr as ca, numpy as np
        >>> ca.arange(5, dtype="<i4").digest() == ca.asarray(np.arange(5, dtype=">i4")).digest()
        True
        """
        node = as_node(self)
        target = DigestTarget(node.shape, node.dtype, scratch_directory(), shared=not scheduler().here)
        engine.store(node, target, progress=progress)
        return target.value


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _stored(node: Node) -> Stored:
    """Return the stored array of a node, if that is all that it is."""
    if isinstance(node.op, Load) and node.op.stored.path:
        return node.op.stored
    below = (n.op.stored.path for n in topological([node], lambda _: False) if isinstance(n.op, Load))
    paths = list(dict.fromkeys(path for path in below if path))
    what = f"verify the arrays that it is made of ({', '.join(paths)})" if paths else "save it and verify that"
    raise TypeError(f"verify checks a stored array, and this is an expression of shape {node.shape}; {what}")
