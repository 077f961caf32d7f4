"""The short way for small results: one program, run where it was asked for, no plan and no scheduler."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.engine.reserve import RESERVE
from chunkarr.formats.cache import CHUNKS, Cached
from chunkarr.formats.memory import MemoryStored
from chunkarr.graph import Barrier, Load, Node, topological
from chunkarr.plan.fuse import flatten
from chunkarr.plan.program import Flags, compile_flow, run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chunkarr.formats.contract import Stored

__all__ = ["SMALL", "compute_small", "forget_chunks"]

SMALL = 1 << 20  # bytes of results up to which the short way is tried


def compute_small(nodes: Sequence[Node], budget: int, flags: Flags) -> list[np.ndarray[Any, Any]] | None:
    """Return the values of ``nodes``, or None if they are not small, need a barrier, or much memory."""
    nbytes = sum(math.prod(n.shape) * n.dtype.itemsize for n in nodes)
    if nbytes > min(SMALL, budget // 8) or any(0 in n.shape for n in nodes):
        return None
    if all(isinstance(n.op, Load) and isinstance(n.op.stored, MemoryStored) for n in nodes):
        return [n.op.stored.array.copy() for n in nodes]  # type: ignore[attr-defined]
    order = topological(nodes)
    if any(isinstance(n.op, Barrier) and n.memo is None for n in order):
        return None
    flow = flatten(nodes, {id(n): n.memo for n in order if n.memo is not None})
    flow = flow.bind(_cached(flow, budget))
    wanted: dict[int, Any] = {root: [node.region] for root, node in zip(flow.roots, nodes, strict=True)}
    program = compile_flow(flow, wanted)
    reads = sum(program.bytes_read.values())
    if program.nbytes + nbytes > budget // 4 or reads > budget // 8:
        return None
    with RESERVE.take(program.nbytes + nbytes + reads, budget), np.errstate(all="call", call=flags):
        blocks = run(program, np.empty(max(1, program.nbytes), np.uint8), flags)
        by_root = dict(zip(wanted, blocks, strict=True))
        values = [np.array(by_root[root], order="C", copy=True) for root in flow.roots]
    if RESERVE.held:  # a run began meanwhile, which counts on an empty cache
        forget_chunks()
    return values


def _cached(flow: Any, budget: int) -> dict[int, Stored]:
    """Return chunked sources seen through the cache of decoded chunks, where a chunk fits it."""
    found: dict[int, Stored] = {}
    for k, unit in enumerate(flow.units):
        op = unit.op
        if not isinstance(op, Load) or op.stored.contiguous or not op.stored.cacheable:
            continue
        if op.stored.format in ("scratch", "memory"):
            continue
        chunk = math.prod(op.stored.grid.steps) * op.dtype.itemsize
        if chunk <= budget // 16:
            found[k] = Cached(op.stored, op.generation, budget // 8)
    return found


def forget_chunks() -> None:
    """Empty the cache of decoded chunks, before a run that plans with the whole budget."""
    CHUNKS.clear()
