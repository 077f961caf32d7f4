"""Runs of several threads share one budget, and none waits for itself."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

import chunkarr as ca
from chunkarr.engine.reserve import RESERVE, Reserve


def start(function):
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread


def test_a_second_thread_waits_until_there_is_room():
    reserve, began, done = Reserve(), threading.Event(), []

    def other():
        began.set()
        with reserve.take(50, 100) as waited:
            done.append((waited, reserve.held))

    with reserve.take(60, 100) as waited:
        assert not waited
        thread = start(other)
        assert began.wait(5)
        time.sleep(0.05)
        assert not done
    thread.join(5)
    assert done == [(True, 50)]
    assert reserve.held == 0


def test_what_fits_beside_others_does_not_wait():
    reserve, done = Reserve(), []

    def other():
        with reserve.take(40, 100) as waited:
            done.append((waited, reserve.held))

    with reserve.take(60, 100):
        start(other).join(5)
    assert done == [(False, 100)]


def test_large_work_is_not_overtaken_for_ever():
    reserve, order, release = Reserve(), [], threading.Event()

    def work(name, nbytes):
        with reserve.take(nbytes, 100):
            order.append(name)

    with reserve.take(60, 100):
        large = start(lambda: work("large", 90))
        while not reserve._waiting:
            time.sleep(0.001)
        small = start(lambda: work("small", 30))
        time.sleep(0.05)
        assert not order
        release.set()
    large.join(5)
    small.join(5)
    assert order == ["large", "small"]


def test_work_inside_a_run_and_small_looks_do_not_wait():
    reserve = Reserve()
    with reserve.take(100, 100), reserve.take(100, 100) as waited:
        assert not waited
        assert reserve.held == 200
        done = []
        start(lambda: done.append(reserve.take(1, 100).__enter__())).join(5)
        assert done == [False]


def test_a_reservation_is_given_back_after_an_error():
    reserve = Reserve()
    with pytest.raises(ZeroDivisionError), reserve.take(10, 100):
        raise ZeroDivisionError
    assert reserve.held == 0


def test_an_expression_computed_by_a_kernel_does_not_wait_for_its_own_run():
    a = ca.asarray(np.arange(1 << 19, dtype="f8"), chunks=1 << 15)

    def inner(block, axis):
        with ca.config.set(memory="8MiB"):
            ca.arange(1 << 17).compute()
        return block.max(axis=axis)

    answer = []
    thread = start(lambda: answer.append(ca.block_reduce(a, 1 << 14, inner).compute()))
    thread.join(20)
    assert not thread.is_alive()
    np.testing.assert_array_equal(answer[0], np.arange(1, 33) * (1 << 14) - 1)
    assert RESERVE.held == 0


def test_two_threads_together_hold_no_more_than_the_budget(monkeypatch):
    largest, real = [0], RESERVE._wait

    def noting(nbytes, allowed):
        waited = real(nbytes, allowed)
        largest[0] = max(largest[0], RESERVE.held)
        return waited

    monkeypatch.setattr(RESERVE, "_wait", noting)
    with ca.config.set(memory="32MiB"):
        a = ca.arange(2_500_000, dtype="f8")  # 20 MB as an ndarray
        results = []
        threads = [start(lambda: results.append(a.compute()[-1])) for _ in range(3)]
        for thread in threads:
            thread.join(20)
    assert results == [2_499_999] * 3
    assert 20_000_000 <= largest[0] <= 32 << 20
    assert RESERVE.held == 0
