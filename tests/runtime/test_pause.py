"""Pause and resume: no new step in between, what is in flight ends, no deadline moves, a restart changes nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from asfn._json import Json, JsonObject
from asfn.engine import Engine
from asfn.errors import ExecutionFailed, InvalidArn, StoreError, TaskFailed
from asfn.runtime.handle import Execution
from asfn.store.memory import MemoryStore
from asfn.store.sqlite import SqliteStore
from asfn.testing.faults import FaultyStore
from asfn.testing.loop import DEFAULT_START_AT, VirtualClock, run
from tests.runtime.lives import ARN, Workflow, check, live, undisturbed
from tests.runtime.workflows import (
    CAUGHT_MAP,
    JOBS,
    JSONATA,
    NESTED_MAPS,
    TASK_IN_MAP_IN_PARALLEL,
    VARIABLES,
    each,
    machine,
    parallel,
    task,
)

CALLBACK = "arn:aws:states:::lambda:invoke.waitForTaskToken"


class Bench:
    """An engine whose function `work` takes ten seconds, notes its events, and gives them back; "bad" fails."""

    def __init__(self, clock: VirtualClock, **options: Any) -> None:
        self.begun: list[Any] = []
        self.ended: list[Any] = []
        self.engine = Engine(options.pop("store", None) or MemoryStore(), clock=clock, **options)

        async def work(event: Any) -> Any:
            self.begun.append(event)
            await asyncio.sleep(10)
            self.ended.append(event)
            if event == "bad":
                raise TaskFailed("Bad", "as asked")
            return event

        self.engine.register("work", work)

    async def start(self, definition: JsonObject, input: Json = None) -> Execution:
        await self.engine.create_state_machine("machine", definition)
        return await self.engine.start("machine", input, name="x")


async def last_type(execution: Execution) -> object:
    return (await execution.history())[-1]["type"]


TWO = machine(("One", task("work", "Two")), ("Two", task("work")))


def test_what_is_in_flight_ends_and_is_recorded_and_the_next_state_waits() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock)
        async with bench.engine:
            execution = await bench.start(TWO, 1)
            await asyncio.sleep(5)
            await execution.pause()
            assert (await execution.describe()).paused
            await asyncio.sleep(100)
            assert bench.ended == [1]
            assert await last_type(execution) == "TaskStateExited"
            assert (await execution.describe()).status == "RUNNING"
            await execution.resume()
            assert not (await execution.describe()).paused
            assert await execution.result() == 1
            assert bench.begun == [1, 1]
            info = await execution.describe()
            assert info.stopped_at == info.started_at + 115

    run(main)


def test_an_execution_that_is_paused_as_it_starts_calls_nothing() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock)
        async with bench.engine:
            execution = await bench.start(TWO, 1)
            await execution.pause()
            await asyncio.sleep(50)
            assert bench.begun == []
            await execution.resume()
            await execution.resume()
            assert await execution.result() == 1

    run(main)


def test_no_iteration_begins_while_a_map_is_paused_and_those_at_work_end() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock)
        async with bench.engine:
            items = machine(("Items", each(machine(("Work", task("work"))), 2)))
            both = parallel(items, machine(("Other", task("work"))))
            execution = await bench.start(machine(("Both", both)), [1, 2, 3, 4])
            await asyncio.sleep(5)
            await execution.pause()
            await asyncio.sleep(100)
            assert sorted(map(str, bench.ended)) == ["1", "2", "[1, 2, 3, 4]"]
            types = [event["type"] for event in await execution.history()]
            assert types.count("MapIterationSucceeded") == 2
            assert types.count("MapIterationStarted") == 2
            await execution.resume()
            assert await execution.result() == [[1, 2, 3, 4], [1, 2, 3, 4]]
            assert len(bench.begun) == 5

    run(main)


def test_a_sibling_that_fails_while_the_map_is_paused_ends_it_and_the_catcher_waits() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock)
        async with bench.engine:
            nap: JsonObject = {"Type": "Wait", "SecondsPath": "$.s", "Next": "Work"}
            items = each(
                machine(("Nap", nap), ("Work", task("work", InputPath="$.v"))),
                2,
                next="Mend",
                Catch=[{"ErrorEquals": ["Bad"], "Next": "Mend", "ResultPath": "$[0]"}],
            )
            input: Json = [{"s": 1, "v": 1}, {"s": 6, "v": "bad"}, {"s": 0, "v": 3}, {"s": 0, "v": 4}]
            execution = await bench.start(machine(("Items", items), ("Mend", task("work"))), input)
            await asyncio.sleep(8)
            await execution.pause()
            await asyncio.sleep(100)
            assert bench.begun == [1, "bad"]
            assert await last_type(execution) == "MapStateExited"
            await execution.resume()
            result = await execution.result()
            assert isinstance(result, list)
            assert result[0] == {"Error": "Bad", "Cause": "as asked"}

    run(main)


def test_no_deadline_moves() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock)
        async with bench.engine:
            nap: JsonObject = {"Type": "Wait", "Seconds": 60, "Next": "More"}
            more: JsonObject = {"Type": "Wait", "Seconds": 7, "End": True}
            execution = await bench.start(machine(("Nap", nap), ("More", more)), 1)
            await asyncio.sleep(10)
            await execution.pause()
            await asyncio.sleep(20)
            await execution.resume()
            await execution.result()
            info = await execution.describe()
            assert info.stopped_at == info.started_at + 67

    run(main)


def test_a_machine_times_out_while_it_is_paused() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock)
        async with bench.engine:
            execution = await bench.start({**TWO, "TimeoutSeconds": 30}, 1)
            await asyncio.sleep(5)
            await execution.pause()
            with pytest.raises(ExecutionFailed, match="TIMED_OUT"):
                await execution.result()
            info = await execution.describe()
            assert (info.stopped_at, info.paused) == (info.started_at + 30, False)

    run(main)


def test_a_retry_waits_for_the_pause_to_end() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock)
        async with bench.engine:
            retry: Json = [{"ErrorEquals": ["Bad"], "IntervalSeconds": 2, "MaxAttempts": 1}]
            execution = await bench.start(machine(("Work", task("work", Retry=retry))), "bad")
            await asyncio.sleep(5)
            await execution.pause()
            await asyncio.sleep(50)
            assert bench.begun == ["bad"]
            assert await last_type(execution) == "LambdaFunctionFailed"
            await execution.resume()
            with pytest.raises(ExecutionFailed, match="Bad"):
                await execution.result()
            assert bench.begun == ["bad", "bad"]

    run(main)


def test_a_callback_that_is_answered_during_a_pause_is_recorded() -> None:
    async def main(clock: VirtualClock) -> None:
        tokens: list[str] = []
        engine = Engine(clock=clock)
        engine.register("ask", lambda event: tokens.append(event["token"]))
        async with engine:
            ask: JsonObject = {
                "Type": "Task",
                "Resource": CALLBACK,
                "Parameters": {"FunctionName": "ask", "Payload": {"token.$": "$$.Task.Token"}},
                "Next": "Done",
            }
            await engine.create_state_machine("machine", machine(("Ask", ask), ("Done", {"Type": "Succeed"})))
            execution = await engine.start("machine", 1, name="x")
            await asyncio.sleep(5)
            await execution.pause()
            await engine.tasks.succeed(tokens[0], {"yes": 1})
            await asyncio.sleep(5)
            assert await last_type(execution) == "TaskStateExited"
            await execution.resume()
            assert await execution.result() == {"yes": 1}

    run(main)


def test_stop_works_while_paused_and_what_was_stopped_can_be_redriven() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock)
        async with bench.engine:
            execution = await bench.start(TWO, 1)
            await asyncio.sleep(5)
            await execution.pause()
            await asyncio.sleep(20)
            await execution.stop("Enough")
            info = await execution.describe()
            assert (info.status, info.error, info.paused) == ("ABORTED", "Enough", False)
            await execution.pause()  # of what has ended: nothing
            await execution.resume()
            await execution.redrive()
            assert await execution.result() == 1

    run(main)


def test_a_pause_that_cannot_be_stored_is_none() -> None:
    async def main(clock: VirtualClock) -> None:
        store = FaultyStore(MemoryStore(), refuse=[3])
        bench = Bench(clock, store=store)
        async with bench.engine:
            execution = await bench.start(TWO, 1)
            await asyncio.sleep(5)
            assert store.commits == 2
            with pytest.raises(StoreError, match="refuse"):
                await execution.pause()
            assert await execution.result() == 1
            assert not (await execution.describe()).paused

    run(main)


def test_the_last_of_pauses_and_resumes_counts() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock)
        async with bench.engine:
            execution = await bench.start(TWO, 1)
            await execution.pause()
            await asyncio.gather(execution.resume(), execution.pause())
            await asyncio.sleep(50)
            assert len(bench.begun) <= 1
            assert (await execution.describe()).paused
            resuming = asyncio.ensure_future(execution.resume())
            await asyncio.sleep(0)
            resuming.cancel()  # the caller goes away
            assert await execution.result() == 1

    run(main)


def test_an_express_execution_is_not_paused() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock)
        async with bench.engine:
            await bench.engine.create_state_machine("quick", TWO, type="EXPRESS")
            execution = await bench.engine.start("quick", 1)
            with pytest.raises(InvalidArn):
                await execution.pause()
            await execution.result()

    run(main)


# --- restarts --------------------------------------------------------------------------------------------------------


def test_a_pause_survives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "pause.db"

    async def first(clock: VirtualClock) -> None:
        bench = Bench(clock, store=SqliteStore(path, off_loop=clock.off_loop))
        async with bench.engine:
            execution = await bench.start(TWO, 1)
            await asyncio.sleep(5)
            await execution.pause()
            await asyncio.sleep(20)

    async def second(clock: VirtualClock) -> None:
        bench = Bench(clock, store=SqliteStore(path, off_loop=clock.off_loop))
        async with bench.engine:
            execution = await bench.engine.execution(ARN)
            await asyncio.sleep(1_000)
            assert (await execution.describe()).paused
            assert bench.begun == []
            await execution.resume()
            assert await execution.result() == 1
            assert bench.begun == [1]

    run(first)
    run(second, start_at=DEFAULT_START_AT + 1_000)


def test_a_call_that_a_restart_cut_off_is_not_repeated_before_the_pause_ends() -> None:
    store = MemoryStore()

    async def first(clock: VirtualClock) -> None:
        bench = Bench(clock, store=store, drain_seconds=0)
        async with bench.engine:
            execution = await bench.start(TWO, 1)
            await asyncio.sleep(5)
            await execution.pause()

    async def second(clock: VirtualClock) -> None:
        bench = Bench(clock, store=store)
        async with bench.engine:
            execution = await bench.engine.execution(ARN)
            await asyncio.sleep(50)
            assert bench.begun == []
            await execution.resume()
            assert await execution.result() == 1
            assert bench.begun == [1, 1]

    run(first)
    run(second, start_at=DEFAULT_START_AT + 100)


def test_a_paused_execution_that_was_restarted_is_stopped_or_times_out() -> None:
    async def first(clock: VirtualClock, store: MemoryStore) -> None:
        bench = Bench(clock, store=store, drain_seconds=0)
        async with bench.engine:
            execution = await bench.start({**TWO, "TimeoutSeconds": 500}, 1)
            await asyncio.sleep(5)
            await execution.pause()

    async def second(clock: VirtualClock, store: MemoryStore, stops: bool) -> None:
        async with Engine(store, clock=clock, resolver=Bench(clock).engine._registry) as engine:
            execution = await engine.execution(ARN)
            if stops:
                await asyncio.sleep(5)
                await execution.stop()
            with pytest.raises(ExecutionFailed, match="ABORTED" if stops else "TIMED_OUT"):
                await execution.result()
            info = await execution.describe()
            assert info.stopped_at == info.started_at + (105 if stops else 500)

    for stops in (True, False):
        store = MemoryStore()
        run(lambda clock, store=store: first(clock, store))  # type: ignore[misc]
        run(
            lambda clock, store=store, stops=stops: second(clock, store, stops),  # type: ignore[misc]
            start_at=DEFAULT_START_AT + 100,
        )


def test_waits_of_restored_iterations_go_on_during_a_pause_and_no_other_begins() -> None:
    nap = machine(("Nap", {"Type": "Wait", "Seconds": 200, "Next": "Work"}), ("Work", task("work")))
    definition = machine(("Items", each(nap, 2)))
    store = MemoryStore()

    async def first(clock: VirtualClock) -> None:
        bench = Bench(clock, store=store)
        async with bench.engine:
            execution = await bench.start(definition, [1, 2, 3])
            await asyncio.sleep(5)
            await execution.pause()

    async def second(clock: VirtualClock) -> None:
        bench = Bench(clock, store=store)
        async with bench.engine:
            execution = await bench.engine.execution(ARN)
            await asyncio.sleep(150)
            types = [event["type"] for event in await execution.history()]
            assert types.count("WaitStateExited") == 2
            assert types.count("TaskStateEntered") == 0
            await execution.resume()
            assert await execution.result() == [1, 2, 3]
            assert sorted(bench.begun) == [1, 2, 3]
            info = await execution.describe()
            assert info.stopped_at == info.started_at + 250 + 10 + 210

    run(first)
    run(second, start_at=DEFAULT_START_AT + 100)


@pytest.mark.parametrize(
    "workflow",
    [TASK_IN_MAP_IN_PARALLEL, CAUGHT_MAP, NESTED_MAPS, VARIABLES, JOBS, JSONATA],
    ids=lambda workflow: workflow.name,
)
def test_a_pause_at_any_commit_and_a_restart_during_it_change_nothing_that_is_done(workflow: Workflow) -> None:
    reference = undisturbed(workflow)
    for number in range(2, reference.commits + 1, 2):
        store = MemoryStore()
        paused = live(workflow, store, pause_at=number)
        if paused.end is not None:
            check(reference, [paused])
            continue
        idle = live(workflow, store, start_at=paused.over_at + 100)
        assert idle.calls == []
        assert idle.history == paused.history
        last = live(workflow, store, start_at=idle.over_at + 100, resume=True)
        check(reference, [paused, idle, last])


def test_a_pause_does_not_return_before_the_end_that_makes_it_needless_is_durable() -> None:
    async def main(clock: VirtualClock) -> None:
        store = FaultyStore(MemoryStore(), crash_before=3)
        bench = Bench(clock, store=store)

        async def entered() -> None:
            async with bench.engine:
                execution = await bench.start(machine(("Work", task("work"))))
                await asyncio.sleep(10)  # the task has ended, and its end is on its way into a store that has died
                await execution.pause()

        pausing = asyncio.create_task(entered())
        await asyncio.sleep(60)
        assert store.crashed.is_set()
        assert bench.ended == [{}]
        assert not pausing.done()

    run(main)
