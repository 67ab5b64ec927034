"""Executions whose outermost frame sleeps: they hold no task, and can be stopped, left and paused at every turn."""

from __future__ import annotations

import asyncio
import math
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import pytest

from asfn._json import JsonObject
from asfn.engine import Engine
from asfn.errors import ExecutionFailed, TaskFailed
from asfn.runtime.clock import Clock, SystemClock
from asfn.runtime.handle import Execution
from asfn.store.memory import MemoryStore
from asfn.testing.loop import DEFAULT_START_AT, VirtualClock, run
from tests.runtime.workflows import machine, task

RETRY = {"ErrorEquals": ["States.ALL"], "IntervalSeconds": 40, "MaxAttempts": 1}
WAIT: JsonObject = {"Type": "Wait", "Seconds": 100}
NAP: JsonObject = {"Type": "Wait", "TimestampPath": "$.until", "Next": "Then"}
SLEEPY = machine(("First", {**WAIT, "Next": "Then"}), ("Then", task("work")))
TURNS = range(14)  # so many turns of the loop after a start everything stands still

asked_by: ContextVar[str] = ContextVar("asked_by", default="nobody")


def engine_on(store: MemoryStore, clock: Clock) -> Engine:
    engine = Engine(store, clock=clock, park_seconds=math.inf)

    async def work(event: Any) -> Any:
        return [event, asked_by.get()]

    engine.register("work", work)
    return engine


async def begin(engine: Engine, definition: JsonObject = SLEEPY) -> Execution:
    await engine.create_state_machine("machine", definition)
    return await engine.start("machine", 1, name="x")


def tasks_of(execution: Execution) -> int:
    return sum(running.get_name() == execution.name for running in asyncio.all_tasks())


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_a_sleeper_holds_no_task_until_its_time_has_come() -> None:
    async def main(clock: VirtualClock) -> None:
        async with engine_on(MemoryStore(), clock) as engine:
            execution = await begin(engine)
            await asyncio.sleep(50)
            assert tasks_of(execution) == 0
            assert await execution.result() == [1, "nobody"]
            assert clock.now() == DEFAULT_START_AT + 100
            types = [event["type"] for event in await execution.history()]
            assert types == [
                "ExecutionStarted", "WaitStateEntered", "WaitStateExited", "TaskStateEntered",
                "LambdaFunctionScheduled", "LambdaFunctionStarted", "LambdaFunctionSucceeded", "TaskStateExited",
                "ExecutionSucceeded",
            ]  # fmt: skip

    run(main)


def test_what_runs_after_a_sleep_sees_the_context_of_the_start_and_not_of_whoever_slept_too() -> None:
    async def main() -> None:
        clock = SystemClock()  # whose timers share one of the loop
        async with engine_on(MemoryStore(), clock) as engine:
            await engine.create_state_machine("machine", machine(("First", NAP), ("Then", task("work"))))
            until = datetime.fromtimestamp(clock.now() + 0.3, UTC).isoformat().replace("+00:00", "Z")
            executions = []
            for name in ("ann", "bob"):
                asked_by.set(name)
                executions.append(await engine.start("machine", {"until": until}))
            asked_by.set("nobody")
            assert [(await execution.result())[1] for execution in executions] == ["ann", "bob"]
            assert clock.now() >= datetime.fromisoformat(until).timestamp()

    asyncio.run(main())


def test_a_retry_rests_as_a_wait_does() -> None:
    async def main(clock: VirtualClock) -> None:
        calls: list[float] = []

        async def fail_once(event: Any) -> Any:
            calls.append(clock.now() - DEFAULT_START_AT)
            if len(calls) == 1:
                raise TaskFailed("Bad", "as asked")
            return asked_by.get()

        async with engine_on(MemoryStore(), clock) as engine:
            engine.register("fail_once", fail_once)
            asked_by.set("ann")
            execution = await begin(engine, machine(("Only", task("fail_once", Retry=[RETRY]))))
            await asyncio.sleep(20)
            assert (tasks_of(execution), calls) == (0, [0])
            assert await execution.result() == "ann"
            assert calls == [0, 40]

    run(main)


@pytest.mark.parametrize("count", TURNS)
def test_a_stop_at_any_turn_ends_it_there(count: int) -> None:
    async def main(clock: VirtualClock) -> None:
        async with engine_on(MemoryStore(), clock) as engine:
            execution = await begin(engine)
            await turns(count)
            await execution.stop("Enough")
            with pytest.raises(ExecutionFailed, match="Enough"):
                await execution.result()
            assert (clock.now(), tasks_of(execution)) == (DEFAULT_START_AT, 0)
            await engine.join()
            types = [event["type"] for event in await execution.history()]
            assert types in (
                ["ExecutionStarted", "WaitStateEntered", "ExecutionAborted"],
                ["ExecutionStarted", "ExecutionAborted"],
            )

    run(main)


@pytest.mark.parametrize("count", TURNS)
def test_an_engine_left_at_any_turn_leaves_it_where_it_stands(count: int) -> None:
    async def main(clock: VirtualClock) -> None:
        store = MemoryStore()
        async with engine_on(store, clock) as engine:
            execution = await begin(engine)
            await turns(count)
        assert tasks_of(execution) == 0
        await asyncio.sleep(30)
        async with engine_on(store, clock) as engine:
            execution = await engine.execution(execution.arn)
            assert await execution.result() == [1, "nobody"]
            assert clock.now() == DEFAULT_START_AT + 100
            ids = [event["id"] for event in await execution.history()]
            assert ids == list(range(1, 10))

    run(main)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 50])
def test_a_pause_lets_it_sleep_to_its_end_and_holds_back_the_next_state(count: int) -> None:
    async def main(clock: VirtualClock) -> None:
        async with engine_on(MemoryStore(), clock) as engine:
            execution = await begin(engine)
            await turns(count)
            await execution.pause()
            await asyncio.sleep(150)
            assert (await execution.history())[-1]["type"] == "WaitStateExited"
            await execution.resume()
            assert await execution.result() == [1, "nobody"]
            assert clock.now() == DEFAULT_START_AT + 150

    run(main)


def test_its_deadline_ends_it_in_its_sleep() -> None:
    async def main(clock: VirtualClock) -> None:
        async with engine_on(MemoryStore(), clock) as engine:
            execution = await begin(engine, {**SLEEPY, "TimeoutSeconds": 60})
            with pytest.raises(ExecutionFailed, match="TIMED_OUT"):
                await execution.result()
            assert (clock.now(), tasks_of(execution)) == (DEFAULT_START_AT + 60, 0)

    run(main)
