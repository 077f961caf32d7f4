"""The measurement of memory sees what is held, and only that."""

from __future__ import annotations

import sys
import time

import numpy as np
import pytest

from tests import memory_child

pytestmark = [pytest.mark.memory, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]

MIB = 2**20


def hold(size, planned):
    """Hold ``size`` bytes of memory that is touched, for a few samples."""
    block = np.ones(size, np.uint8)
    time.sleep(0.02)
    return planned + int(block[0]) - 1


def refuse(size):
    """Refuse all but small work."""
    from chunkarr.errors import MemoryBudgetError

    if size > MIB:
        raise MemoryBudgetError("needs more")


def test_memory_held_for_a_moment_is_seen():
    peak = memory_child.measure(hold, small=[1000, 1], large=[150 * MIB, 7], budget=64 * MIB)
    assert 150 * MIB <= peak.measured < 160 * MIB
    assert peak.planned == 7
    with pytest.raises(AssertionError, match="held"):
        peak.check()


def test_a_plan_beyond_the_budget_is_seen():
    peak = memory_child.measure(hold, small=[1000, 1], large=[1000, 65 * MIB], budget=64 * MIB)
    assert peak.measured < MIB
    with pytest.raises(AssertionError, match="planned"):
        peak.check()


def test_a_refusal_is_no_success():
    peak = memory_child.measure(refuse, small=[1], large=[2 * MIB], budget=64 * MIB)
    peak.check(may_refuse=True)
    with pytest.raises(AssertionError, match="needs more"):
        peak.check()
