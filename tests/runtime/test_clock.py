"""The machine's clock: one heap of timers behind one timer of the loop. Real time, in hundredths of a second."""

from __future__ import annotations

import asyncio
import time
from functools import partial

import pytest

from asfn.runtime.clock import SystemClock


def test_timers_ring_in_the_order_of_their_moments_and_never_before_them() -> None:
    rung: list[tuple[int, float]] = []

    async def main() -> None:
        clock = SystemClock()
        start = clock.now()
        for place in (3, 1, 2, 5, 4):
            at = start + place / 100
            clock.call_at(at, partial(lambda place, at: rung.append((place, clock.now() - at)), place, at))
        await clock.sleep_until(start + 0.06)
        await asyncio.sleep(0)

    asyncio.run(main())
    assert [place for place, _ in rung] == [1, 2, 3, 4, 5]
    assert all(late >= 0 for _, late in rung)


def test_a_sleep_to_a_moment_that_has_passed_still_lets_others_run() -> None:
    turns: list[str] = []

    async def main() -> None:
        clock = SystemClock()
        other = asyncio.create_task(_note(turns, "other"))
        await clock.sleep_until(clock.now() - 1)
        turns.append("sleeper")
        await other

    asyncio.run(main())
    assert turns == ["other", "sleeper"]


async def _note(turns: list[str], who: str) -> None:
    turns.append(who)


def test_a_cancelled_timer_never_rings_not_even_when_it_was_due_already() -> None:
    rung: list[str] = []

    async def main() -> None:
        clock = SystemClock()
        at = clock.now() + 0.01
        second = clock.call_at(at + 1e-6, lambda: rung.append("second"))
        clock.call_at(at, second.cancel)
        _stall(0.02)  # both are due in the same turn
        await clock.sleep_until(at + 0.03)
        second.cancel()

    asyncio.run(main())
    assert rung == []


def test_a_callback_that_raises_stops_no_other_timer() -> None:
    rung: list[str] = []

    async def main() -> None:
        clock = SystemClock()
        seen: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append(context))
        at = clock.now() + 0.01
        clock.call_at(at, partial(int, "no number"))
        clock.call_at(at, lambda: rung.append("other"))
        await clock.sleep_until(at + 0.01)
        await asyncio.sleep(0)
        assert isinstance(seen[0]["exception"], ValueError)

    asyncio.run(main())
    assert rung == ["other"]


def test_sleepers_that_were_cancelled_do_not_pile_up() -> None:
    async def main() -> None:
        clock = SystemClock()
        kept = clock.call_at(clock.now() + 3600, lambda: None)
        for _ in range(20):
            sleepers = [asyncio.ensure_future(clock.sleep_until(clock.now() + 1800)) for _ in range(100)]
            timers = [clock.call_at(clock.now() + 1800, lambda: None) for _ in range(100)]
            for sleeper in sleepers:
                sleeper.cancel()
            for timer in timers:
                timer.cancel()
        assert len(clock._heap) < 500
        assert kept in clock._heap

    asyncio.run(main())


def test_a_clock_serves_one_loop_after_the_other() -> None:
    clock = SystemClock()

    async def leave_one() -> None:
        clock.call_at(clock.now() + 0.01, lambda: pytest.fail("its loop has ended"))

    async def sleep() -> float:
        at = clock.now() + 0.03
        await clock.sleep_until(at)
        return clock.now() - at

    asyncio.run(leave_one())
    assert asyncio.run(sleep()) >= 0


def _stall(seconds: float) -> None:
    time.sleep(seconds)
