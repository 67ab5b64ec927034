"""Stop, and leaving the engine: what is in flight, what only waits, and what comes back when it is entered again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from asfn._json import Json, JsonObject
from asfn.engine import Engine
from asfn.errors import EngineClosed, ExecutionFailed
from asfn.store.memory import MemoryStore
from asfn.store.sqlite import SqliteStore
from asfn.testing.loop import DEFAULT_START_AT, VirtualClock, run
from tests.runtime.lives import Reply, Workflow, live, live_on
from tests.runtime.workflows import JOB, each, machine, parallel, task

NAP: JsonObject = {"Type": "Wait", "Seconds": 10_000, "End": True}


def engine_with(clock: VirtualClock, store: MemoryStore | SqliteStore, **functions: Callable[..., Any]) -> Engine:
    engine = Engine(store, clock=clock)
    for name, function in functions.items():
        engine.register(name, function)
    return engine


async def start(engine: Engine, definition: JsonObject, input: Json = None, name: str = "x") -> Any:
    await engine.create_state_machine("machine", definition)
    return await engine.start("machine", {} if input is None else input, name=name)


# --- leaving ---------------------------------------------------------------------------------------------------------


def test_leaving_waits_for_a_call_in_flight_and_keeps_its_answer() -> None:
    async def main(clock: VirtualClock) -> None:
        store, calls = MemoryStore(), []

        async def work(event: Json) -> str:
            calls.append(clock.now())
            await asyncio.sleep(3)
            return "done"

        definition = machine(("Work", task("work", "Nap")), ("Nap", NAP))
        async with engine_with(clock, store, work=work) as engine:
            execution = await start(engine, definition)
            await asyncio.sleep(1)
        assert clock.now() - DEFAULT_START_AT == pytest.approx(3)
        async with engine_with(clock, store, work=work) as engine:
            assert await (await engine.execution(execution.arn)).result() == "done"
        assert len(calls) == 1

    run(main)


@pytest.mark.parametrize("seed", range(8))
def test_the_answer_of_a_branch_is_kept_while_its_sibling_sleeps_for_hours(seed: int) -> None:
    async def main(clock: VirtualClock) -> None:
        store, calls = MemoryStore(), []

        async def work(event: Json) -> str:
            calls.append(event)
            await asyncio.sleep(3)
            return "done"

        branches = parallel(machine(("Work", task("work"))), machine(("Nap", NAP)))
        async with engine_with(clock, store, work=work) as engine:
            execution = await start(engine, machine(("Both", branches)))
            await asyncio.sleep(1)
        async with engine_with(clock, store, work=work) as engine:
            assert await (await engine.execution(execution.arn)).result() == ["done", {}]
        assert len(calls) == 1

    run(main, seed=seed)


def test_the_answer_of_a_branch_is_durable_before_its_sibling_wakes() -> None:
    branches = parallel(machine(("Work", task("work"))), machine(("Nap", NAP)))
    workflow = Workflow("", machine(("Both", branches), ("After", task("after"))), {}, lambda *_: Reply())
    workflow.definition["States"]["Both"] |= {"Next": "After"}  # type: ignore[index,operator,call-overload]
    del workflow.definition["States"]["Both"]["End"]  # type: ignore[index,union-attr,call-overload,arg-type]
    store = MemoryStore()
    first = live(workflow, store, crash_after=3)  # start, before the call and the sleep, the end of the first branch
    assert first.died
    assert first.over_at < DEFAULT_START_AT + 5
    second = live_on(workflow, store, first)
    assert [call.state_name for call in second.calls] == ["After"]


def test_leaving_parks_what_only_waits_at_once() -> None:
    async def main(clock: VirtualClock) -> None:
        store = MemoryStore()
        async with engine_with(clock, store) as engine:
            execution = await start(engine, machine(("Nap", NAP)))
            waiting = asyncio.ensure_future(execution.result())
            await asyncio.sleep(1)
        assert clock.now() - DEFAULT_START_AT == pytest.approx(1)
        with pytest.raises(EngineClosed, match="goes on where it stands"):
            await waiting
        async with engine_with(clock, store) as engine:
            assert await (await engine.execution(execution.arn)).result() == {}
        assert clock.now() - DEFAULT_START_AT == pytest.approx(10_000)

    run(main)


def test_leaving_does_not_wait_for_a_job_that_is_polled() -> None:
    state: JsonObject = {"Type": "Task", "Resource": JOB, "Parameters": {}, "End": True}
    workflow = Workflow("", machine(("Job", state)), {}, lambda *_: Reply(job=True, seconds=500))
    store = MemoryStore()
    first = live(workflow, store, leave_at=3)
    assert first.over_at == pytest.approx(DEFAULT_START_AT)
    assert first.cancelled == []
    second = live_on(workflow, store, first)
    assert second.calls == []
    assert second.end is not None
    assert second.end[0] == "SUCCEEDED"


def test_a_call_that_takes_longer_than_the_drain_is_cancelled_and_made_again() -> None:
    async def main(clock: VirtualClock) -> None:
        store, keys, cancelled = MemoryStore(), [], []

        async def work(event: Json, context: Any) -> str:
            keys.append(context.idempotency_key)
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.append(clock.now())
                raise
            return "done"

        async with engine_with(clock, store, work=work) as engine:
            execution = await start(engine, machine(("Work", task("work"))))
            await asyncio.sleep(1)
        assert clock.now() - DEFAULT_START_AT == pytest.approx(6)
        assert len(cancelled) == 1
        async with engine_with(clock, store, work=work) as engine:
            assert await (await engine.execution(execution.arn)).result() == "done"
        assert len(keys) == 2
        assert len(set(keys)) == 1

    run(main)


def test_no_new_call_is_made_while_leaving() -> None:
    async def main(clock: VirtualClock) -> None:
        store, calls = MemoryStore(), []

        async def work(event: Any) -> Any:
            calls.append(event)
            await asyncio.sleep(2)
            return event

        definition = machine(("Items", each(machine(("One", task("work", "Two")), ("Two", task("work"))), 1)))
        async with engine_with(clock, store, work=work) as engine:
            execution = await start(engine, definition, [1, 2])
            await asyncio.sleep(1)
        assert calls == [1]
        async with engine_with(clock, store, work=work) as engine:
            assert await (await engine.execution(execution.arn)).result() == [1, 2]
        assert calls == [1, 1, 2, 2]  # two states, each once for each item

    run(main)


def test_leaving_right_after_a_start_loses_nothing() -> None:
    async def main(clock: VirtualClock) -> None:
        store = MemoryStore()
        async with engine_with(clock, store) as engine:
            execution = await start(engine, machine(("Say", {"Type": "Pass", "Result": 1, "End": True})))
        async with engine_with(clock, store) as engine:
            assert await (await engine.execution(execution.arn)).result() == 1

    run(main)


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_a_cancellation_while_leaving_cuts_the_wait_short_and_nothing_else(seed: int | None) -> None:
    async def main(clock: VirtualClock) -> None:
        store, keys = MemoryStore(), []

        async def work(event: Json, context: Any) -> str:
            keys.append(context.idempotency_key)
            await asyncio.sleep(4 if len(keys) == 1 else 1)
            return "done"

        async def program() -> None:
            async with engine_with(clock, store, work=work) as engine:
                await start(engine, machine(("Work", task("work"))))
                await asyncio.sleep(1)

        running = asyncio.ensure_future(program())
        await asyncio.sleep(2)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert clock.now() - DEFAULT_START_AT == pytest.approx(2)
        async with engine_with(clock, store, work=work) as engine:  # at once, not only after the lease
            [info] = await engine.list_executions()
            assert await (await engine.execution(info.arn)).result() == "done"
        assert len(keys) == 2
        assert len(set(keys)) == 1

    run(main, seed=seed)


def test_an_engine_may_be_entered_again_functions_in_threads_included() -> None:
    async def main(clock: VirtualClock) -> None:
        engine = engine_with(clock, MemoryStore(), sync=lambda event: event["n"] + 1)
        for n in range(3):
            async with engine:
                execution = await start(engine, machine(("Sync", task("sync"))), {"n": n}, f"x{n}")
                assert await execution.result() == n + 1

    run(main)


def test_an_engine_that_is_running_is_not_entered_again() -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock) as engine:
            with pytest.raises(RuntimeError, match="entered already"):
                await engine.__aenter__()

    run(main)


def test_outside_its_block_an_engine_says_that_it_is_closed() -> None:
    async def main(clock: VirtualClock) -> None:
        engine = Engine(clock=clock)
        with pytest.raises(EngineClosed):
            await engine.start("machine")
        async with engine:
            await engine.create_state_machine("m", machine(("Nap", NAP)))
            execution = await engine.start("m")
        for refused in (engine.list_executions(), engine.join(), execution.result(), execution.stop()):
            with pytest.raises(EngineClosed):
                await refused

    run(main)


# --- stop ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "state",
    [
        NAP,
        task("hang"),
        task("hang", Retry=[{"ErrorEquals": ["States.ALL"]}], Catch=[{"ErrorEquals": ["States.ALL"], "Next": "Fine"}]),
        parallel(machine(("Inner", task("hang"))), machine(("Nap", NAP))),
        each(machine(("Inner", each(machine(("Deep", task("hang"))), ItemsPath="$.inner")))),
    ],
    ids=["wait", "task", "caught task", "parallel", "nested map"],
)
def test_stop_ends_every_branch_and_is_durable_when_it_returns(state: JsonObject) -> None:
    async def main(clock: VirtualClock) -> None:
        ended = []

        async def hang(event: Json) -> None:
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                ended.append(event)

        states: list[tuple[str, JsonObject]] = [("First", state), ("Fine", {"Type": "Succeed"})]
        async with engine_with(clock, MemoryStore(), hang=hang) as engine:
            definition = machine(*states[: 2 if "Catch" in state else 1])
            execution = await start(engine, definition, [{"inner": [1, 2]}, {"inner": [3]}])
            await asyncio.sleep(1)
            await execution.stop("Manual", "enough")
            info = await execution.describe()
            assert (info.status, info.error, info.cause) == ("ABORTED", "Manual", "enough")
            history = await execution.history()
            assert history[-1]["type"] == "ExecutionAborted"
            assert history[-1]["executionAbortedEventDetails"] == {"error": "Manual", "cause": "enough"}
            with pytest.raises(ExecutionFailed, match="ABORTED"):
                await execution.result()
            await asyncio.sleep(0)
            assert len(ended) == str(state).count("hang") * (3 if state["Type"] == "Map" else 1)
            await execution.stop("Again")  # changes nothing
            assert (await execution.describe()).error == "Manual"

    run(main)


@pytest.mark.parametrize("turns", range(6))
def test_stop_right_after_a_start_ends_it(turns: int) -> None:
    async def main(clock: VirtualClock) -> None:
        async with engine_with(clock, MemoryStore(), work=lambda event: event) as engine:
            execution = await start(engine, machine(("Work", task("work"))))
            for _ in range(turns):
                await asyncio.sleep(0)
            await execution.stop()
            info = await execution.describe()
            assert info.status == "ABORTED"
            assert (await execution.history())[0]["type"] == "ExecutionStarted"

    run(main)


def test_stop_cancels_the_jobs_that_are_polled() -> None:
    state: JsonObject = {"Type": "Task", "Resource": JOB, "Parameters": {}, "End": True}
    workflow = Workflow(
        "", machine(("Items", each(machine(("Job", state))))), [1, 2], lambda *_: Reply(job=True, seconds=500)
    )
    for commit in (3, 4):
        life = live(workflow, MemoryStore(), stop_at=commit)
        assert life.end is not None
        assert life.end[0] == "ABORTED"
        assert len(life.cancelled) == 2


def test_a_failing_branch_cancels_the_jobs_of_its_siblings() -> None:
    job: JsonObject = {"Type": "Task", "Resource": JOB, "Parameters": {}, "End": True}
    branches = parallel(
        machine(("Work", task("work"))), machine(("Inner", each(machine(("Job", job)), ItemsPath="$.items")))
    )
    workflow = Workflow(
        "",
        machine(("Both", branches)),
        {"items": [1, 2]},
        lambda state, *_: Reply(error="No", seconds=9) if state == "Work" else Reply(job=True, seconds=500),
    )
    life = live(workflow, MemoryStore())
    assert life.end is not None
    assert life.end[0] == "FAILED"
    assert len(life.cancelled) == 2


def test_the_first_of_two_stops_counts() -> None:
    async def main(clock: VirtualClock) -> None:
        async with engine_with(clock, MemoryStore()) as engine:
            execution = await start(engine, machine(("Nap", NAP)))
            await asyncio.gather(execution.stop("One"), execution.stop("Two"))
            assert (await execution.describe()).error == "One"

    run(main)


def test_an_execution_that_is_being_stopped_is_stopped_though_the_engine_is_left() -> None:
    async def main(clock: VirtualClock) -> None:
        store = MemoryStore()
        async with engine_with(clock, store) as engine:
            execution = await start(engine, machine(("Nap", NAP)))
            await asyncio.sleep(1)
            stopping = asyncio.ensure_future(execution.stop("Now"))
            await asyncio.sleep(0)
        await stopping
        row = await store.execution(execution.arn)
        assert row is not None
        assert row.status == "ABORTED"

    run(main)
