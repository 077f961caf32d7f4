"""All cases, in the order of the table."""

from __future__ import annotations

from bench import (
    bench_block_reduce,
    bench_budget,
    bench_convert,
    bench_elementwise,
    bench_quantiles,
    bench_small_chunks,
    bench_sort,
    bench_store,
    bench_text,
    bench_update,
)
from bench.harness import Case

__all__ = ["CASES"]

CASES: dict[str, Case] = {
    case.name: case
    for module in (
        bench_elementwise,
        bench_store,
        bench_block_reduce,
        bench_small_chunks,
        bench_budget,
        bench_update,
        bench_sort,
        bench_quantiles,
        bench_text,
        bench_convert,
    )
    for case in module.CASES
}
