"""Tasks that multiply matrices tile by tile, BLAS on one thread."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkarr.engine.tasks import boxes
from chunkarr.grid import Region, region_shape, shift
from chunkarr.ops.contract import EDGE
from chunkarr.plan.blocks import halves
from chunkarr.plan.contracting import panels
from chunkarr.plan.program import Flags, compile_flow, run

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from chunkarr.engine.tasks import Context
    from chunkarr.formats.contract import Target
    from chunkarr.plan.contracting import ContractStage

__all__ = ["one_blas_thread", "run_contract"]

Block = np.ndarray[Any, Any]

_lock = threading.Lock()
_inside = 0  # tasks of this process that multiply now
_limits: Any = None


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep BLAS on one thread while any task of this process multiplies.

    The thread that asks for the product must enter first: OpenBLAS 0.3.31 ignores the setting from some
    threads once the main thread has changed it (and obeys the main thread always).
    """
    global _inside, _limits  # noqa: PLW0603 - the setting is the process's
    from threadpoolctl import threadpool_limits

    with _lock:
        _inside += 1
        if _inside == 1:
            _limits = threadpool_limits(1, "blas")
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _limits.restore_original_limits()


def run_contract(
    stage: ContractStage, target: Target, numbers: Iterable[int], context: Context
) -> list[tuple[str, str]]:
    """Multiply the blocks of these ``numbers`` of a stage into ``target``; return floating-point events."""
    flags = Flags()
    flags.name = "matmul"
    with context.slabs.take(stage.allowance) as slab, np.errstate(all="call", call=flags), one_blas_thread():
        for box in boxes(stage.blocks, numbers):
            _multiply(stage, target, box, slab, flags, context)
    return list(flags.seen)


def _multiply(stage: ContractStage, target: Target, box: Region, slab: Block, flags: Flags, context: Context) -> None:
    op: Any = stage.op
    region = shift(box, stage.origin)
    sums_bytes, one_bytes = stage.sizes
    shape = region_shape(box)[-2:]
    size = shape[0] * shape[1] * op.dtype.itemsize
    sums = slab[:size].view(op.dtype).reshape(shape)
    one, after = slab[sums_bytes : sums_bytes + one_bytes], sums_bytes + one_bytes
    spare = slab[after : after + stage.copied]
    memory = slab[after + stage.copied :]
    for at in range(0, op.depth, stage.deep):
        context.check()
        depth = (at, min(at + stage.deep, op.depth))
        program = compile_flow(stage.flow, panels(stage.flow, region, depth))
        if program.nbytes > memory.nbytes:  # larger than those the plan looked at: start again with halves
            for half in halves(box, (1,) * (len(box) - 2) + (EDGE, EDGE), program.nbytes, memory.nbytes):
                _multiply(stage, target, half, slab, flags, context)
            return
        blocks = run(program, memory, flags)
        a, b = (block.reshape(block.shape[-2:]) for block in blocks)
        flags.name = "matmul"
        _accumulate(a, b, sums, (one, spare), first=at == 0)
        context.advance(size)
    target.write(box, sums.reshape(region_shape(box)), np.empty(target.scratch_bytes(box), np.uint8))


def _accumulate(a: Block, b: Block, sums: Block, memory: tuple[Block, Block], *, first: bool) -> None:
    """Add ``a @ b`` to ``sums``, one tile of each at a time, in the order of the contracted axis.

    Factors that share memory are told apart by a copy: NumPy hands ``x @ x.T`` to another BLAS routine,
    of other bits, and whether the two share memory depends on the plan.
    """
    one, spare = memory
    for k in range(0, a.shape[1], EDGE):
        for j in range(0, sums.shape[1], EDGE):
            right = b[k : k + EDGE, j : j + EDGE]
            if spare.nbytes:
                right = _copied(right, spare)
            for i in range(0, sums.shape[0], EDGE):
                part = sums[i : i + EDGE, j : j + EDGE]
                if first and k == 0:
                    np.matmul(a[i : i + EDGE, k : k + EDGE], right, out=part)
                    continue
                held = one[: part.nbytes].view(part.dtype).reshape(part.shape)
                np.matmul(a[i : i + EDGE, k : k + EDGE], right, out=held)
                np.add(part, held, out=part)


def _copied(tile: Block, memory: Block) -> Block:
    """Return a copy of ``tile`` in ``memory``, in the same order of axes."""
    turned = tile.strides[0] < tile.strides[1]
    copy = memory[: tile.nbytes].view(tile.dtype).reshape(tile.shape[::-1] if turned else tile.shape)
    copy = copy.T if turned else copy
    copy[...] = tile
    return copy
