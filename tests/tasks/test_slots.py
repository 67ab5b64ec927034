"""Limits on how many calls of a function are made at once: order, cancellation, leaving, threads that go on."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from asfn.engine import Engine
from asfn.errors import EngineClosed, ExecutionFailed
from asfn.store.memory import MemoryStore
from asfn.tasks.function import FunctionHandler
from asfn.tasks.slots import Slots
from asfn.tasks.threads import WorkerThreads
from asfn.testing.loop import DEFAULT_START_AT, VirtualClock, run
from tests.runtime.workflows import each, machine, task
from tests.tasks.calls import task_call

if TYPE_CHECKING:
    from asfn._json import Json


# --- slots -----------------------------------------------------------------------------------------------------------


def test_who_waits_gets_a_slot_by_priority_then_in_order() -> None:
    async def main() -> None:
        slots, order = Slots(1), []

        async def hold(name: str, priority: int) -> None:
            await slots.acquire(priority)
            order.append(name)
            await asyncio.sleep(1)
            slots.release()

        waits = [("first", 0), ("a", 0), ("low", -1), ("high", 5), ("b", 0), ("higher", 9)]
        await asyncio.gather(*(hold(name, priority) for name, priority in waits))
        assert order == ["first", "higher", "high", "a", "b", "low"]

    run(main())


@pytest.mark.parametrize("seed", range(20))
def test_cancelled_waiters_leave_the_queue_and_lose_no_slot(seed: int) -> None:
    async def main() -> None:
        slots = Slots(2)
        holding: list[int] = []
        most = 0

        async def hold(index: int) -> None:
            nonlocal most
            await slots.acquire(index % 3)
            holding.append(index)
            most = max(most, len(holding))
            try:
                await asyncio.sleep(1)
            finally:
                holding.remove(index)
                slots.release()

        tasks = [asyncio.create_task(hold(index)) for index in range(30)]
        for at, victims in enumerate((range(0, 30, 4), range(1, 30, 5), range(2, 30, 7))):
            await asyncio.sleep(1 if at else 0.5)
            for victim in victims:
                tasks[victim].cancel()  # some of them in the very moment in which they get their slot
        await asyncio.gather(*tasks, return_exceptions=True)
        assert most == 2
        assert holding == []
        await asyncio.wait_for(asyncio.gather(slots.acquire(), slots.acquire()), 1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(slots.acquire(), 1)

    run(main(), seed=seed)


def test_places_of_those_who_went_away_are_cleared_while_nothing_moves() -> None:
    async def main() -> None:
        slots = Slots(1)
        await slots.acquire()
        for _ in range(1000):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(slots.acquire(), 1)
        assert len(slots._waiting) < 3
        slots.release()
        await asyncio.wait_for(slots.acquire(), 1)

    run(main())


def test_closing_sends_everybody_away() -> None:
    async def main() -> None:
        slots = Slots(1)
        await slots.acquire()
        waiting = asyncio.ensure_future(slots.acquire())
        await asyncio.sleep(1)
        slots.close()
        with pytest.raises(EngineClosed):
            await waiting
        with pytest.raises(EngineClosed):
            await slots.acquire()

    run(main())


@pytest.mark.parametrize(("limit", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)])
def test_a_limit_that_is_none_is_refused_when_the_function_is_registered(limit: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="max_concurrency"):
        Engine().register("work", lambda event: event, max_concurrency=limit)


# --- functions -------------------------------------------------------------------------------------------------------


class Workers:
    """A function that takes three seconds, and how many calls of it there were at once."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.now = 0
        self.most = 0
        self.began: list[tuple[float, Json]] = []

    async def work(self, event: Json) -> Json:
        self.began.append((self.clock.now() - DEFAULT_START_AT, event))
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(3)
        finally:
            self.now -= 1
        return event


def test_no_more_calls_than_the_limit_are_made_at_once_in_order_of_their_coming() -> None:
    async def main(clock: VirtualClock) -> None:
        workers = Workers(clock)
        engine = Engine(clock=clock)
        engine.function("work", max_concurrency=2)(workers.work)
        async with engine:
            await engine.create_state_machine("m", machine(("Work", task("work"))))
            executions = [await engine.start("m", number) for number in range(7)]
            assert await asyncio.gather(*(execution.result() for execution in executions)) == list(range(7))
        assert workers.most == 2
        assert workers.began == [(0, 0), (0, 1), (3, 2), (3, 3), (6, 4), (6, 5), (9, 6)]

    run(main)


def test_iterations_of_one_map_and_other_executions_share_the_limit() -> None:
    async def main(clock: VirtualClock) -> None:
        workers = Workers(clock)
        engine = Engine(clock=clock)
        engine.register("work", workers.work, max_concurrency=3)
        async with engine:
            await engine.create_state_machine("map", machine(("Each", each(machine(("Work", task("work"))), 10))))
            executions = [await engine.start("map", ["a"] * 6) for _ in range(2)]
            for execution in executions:
                assert await execution.result() == ["a"] * 6
        assert workers.most == 3
        assert clock.now() - DEFAULT_START_AT == pytest.approx(12)

    run(main)


def test_waiting_for_a_turn_counts_against_the_tasks_clocks() -> None:
    async def main(clock: VirtualClock) -> None:
        workers = Workers(clock)
        engine = Engine(clock=clock)
        engine.register("work", workers.work, max_concurrency=1)
        async with engine:
            await engine.create_state_machine("m", machine(("Work", {**task("work"), "TimeoutSeconds": 4})))
            first, second, third = [await engine.start("m", number) for number in range(3)]
            assert await first.result() == 0
            for late in (second, third):
                with pytest.raises(ExecutionFailed, match=r"States\.Timeout"):
                    await late.result()
                assert clock.now() - DEFAULT_START_AT == pytest.approx(4)
            assert await (await engine.start("m", 3)).result() == 3
        assert [event for _, event in workers.began] == [0, 1, 3]

    run(main)


def test_a_stopped_execution_leaves_the_queue() -> None:
    async def main(clock: VirtualClock) -> None:
        workers = Workers(clock)
        engine = Engine(clock=clock)
        engine.register("work", workers.work, max_concurrency=1)
        async with engine:
            await engine.create_state_machine("m", machine(("Work", task("work"))))
            first, second, third = [await engine.start("m", number) for number in range(3)]
            await asyncio.sleep(1)
            await second.stop()
            await first.stop()
            assert await third.result() == 2
        assert workers.began == [(0, 0), (1, 2)]

    run(main)


def test_leaving_begins_no_call_that_waits_and_the_next_engine_makes_it(caplog: pytest.LogCaptureFixture) -> None:
    async def main(clock: VirtualClock) -> None:
        store = MemoryStore()
        workers = Workers(clock)
        async with Engine(store, clock=clock) as engine:
            engine.register("work", workers.work, max_concurrency=1)
            await engine.create_state_machine("m", machine(("Work", task("work"))))
            executions = [await engine.start("m", number) for number in range(3)]
            await asyncio.sleep(1)
        assert clock.now() - DEFAULT_START_AT == pytest.approx(3)  # the first call was waited for, no other was begun
        assert [event for _, event in workers.began] == [0]
        assert [record for record in caplog.records if record.levelname == "ERROR"] == []
        async with engine:  # entered again: the slots are new
            results = [await (await engine.execution(execution.arn)).result() for execution in executions]
            assert results == [0, 1, 2]
        assert [event for _, event in workers.began] == [0, 1, 2]
        assert workers.most == 1

    run(main)


async def test_a_thread_whose_call_was_given_up_holds_its_slot_until_it_returns() -> None:
    go_on = threading.Event()
    began = asyncio.Event()
    running: list[Json] = []
    loop = asyncio.get_running_loop()

    def work(event: Json) -> Json:
        running.append(event)
        loop.call_soon_threadsafe(began.set)
        if event == "slow":
            go_on.wait(10)
        return event

    threads = WorkerThreads(2, "test")
    handler = FunctionHandler(work, executor=threads, now=lambda: 0.0, max_concurrency=1)
    slow = asyncio.ensure_future(handler.submit(task_call("slow")))
    await began.wait()
    slow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow
    quick = asyncio.ensure_future(handler.submit(task_call("quick")))
    await asyncio.sleep(0.05)
    assert running == ["slow"]
    go_on.set()
    await asyncio.wait_for(quick, 10)
    assert running == ["slow", "quick"]
    threads.shutdown()
