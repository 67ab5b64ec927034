"""Starting executions: names, inputs, refusals, and what can be seen of them: describe, list, history, events."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from asfn._json import Json, JsonObject
from asfn.engine import Engine
from asfn.errors import (
    EngineClosed,
    ExecutionAlreadyExists,
    ExecutionDoesNotExist,
    ExecutionFailed,
    InvalidArn,
    InvalidExecutionInput,
    InvalidName,
    StateMachineDoesNotExist,
    StoreError,
    UnroutedResource,
)
from asfn.store.memory import MemoryStore
from asfn.testing.faults import FaultyStore
from asfn.testing.loop import VirtualClock, run
from tests.runtime.workflows import machine, task

WAITS: JsonObject = machine(
    ("Nap", {"Type": "Wait", "Seconds": 10, "Next": "Say"}), ("Say", {"Type": "Pass", "Result": "said", "End": True})
)


def test_the_same_name_and_input_while_it_runs_is_the_same_execution() -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock) as engine:
            await engine.create_state_machine("m", WAITS)
            first = await engine.start("m", {"a": 1, "b": 2}, name="x")
            await asyncio.sleep(1)
            second = await engine.start("m", {"b": 2, "a": 1}, name="x")
            assert second.arn == first.arn
            assert await second.result() == "said"
            assert len(await engine.list_executions()) == 1

    run(main)


def test_many_starts_of_one_name_at_once_make_one_execution() -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock) as engine:
            await engine.create_state_machine("m", WAITS)
            started = await asyncio.gather(*(engine.start("m", {}, name="x") for _ in range(20)))
            assert {execution.arn for execution in started} == {started[0].arn}
            assert await asyncio.gather(*(execution.result() for execution in started)) == ["said"] * 20

    run(main)


def test_the_name_of_a_running_execution_with_another_input_is_refused() -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock) as engine:
            await engine.create_state_machine("m", WAITS)
            await engine.start("m", {"a": 1}, name="x")
            with pytest.raises(ExecutionAlreadyExists):
                await engine.start("m", {"a": 2}, name="x")

    run(main)


def test_the_name_of_a_closed_execution_is_refused_whatever_the_input() -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock) as engine:
            await engine.create_state_machine("m", WAITS)
            await (await engine.start("m", {"a": 1}, name="x")).result()
            with pytest.raises(ExecutionAlreadyExists):
                await engine.start("m", {"a": 1}, name="x")
            await engine.create_state_machine("other", WAITS)
            assert await (await engine.start("other", {}, name="x")).result() == "said"  # names are per machine

    run(main)


def test_a_start_whose_caller_goes_away_runs_all_the_same() -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock) as engine:
            await engine.create_state_machine("m", WAITS)
            for turns in range(6):
                starting = asyncio.ensure_future(engine.start("m", {}, name=f"x{turns}"))
                for _ in range(turns):
                    await asyncio.sleep(0)
                starting.cancel()
                await asyncio.wait([starting])
            await asyncio.sleep(60)
            infos = await engine.list_executions()
            assert infos
            assert {info.status for info in infos} == {"SUCCEEDED"}

    run(main)


def test_what_cannot_be_started_leaves_nothing_behind() -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock) as engine:
            await engine.create_state_machine("m", WAITS)
            await engine.create_state_machine("unrouted", machine(("Work", task("charge-crad"))))
            engine.register("charge-card", lambda event: event)
            with pytest.raises(StateMachineDoesNotExist, match="nowhere"):
                await engine.start("nowhere")
            with pytest.raises(UnroutedResource, match=r"function:charge-crad.*charge-card"):
                await engine.start("unrouted")
            with pytest.raises(InvalidName):
                await engine.start("m", {}, name="no blanks")
            with pytest.raises(InvalidExecutionInput):
                await engine.start("m", input_text="{")
            with pytest.raises(InvalidExecutionInput):
                await engine.start("m", {"n": float("nan")})
            with pytest.raises(InvalidExecutionInput, match="262144"):
                await engine.start("m", "x" * 262_144)
            with pytest.raises(TypeError):
                await engine.start("m", {}, input_text="{}")
            assert await engine.list_executions() == []

    run(main)


def test_the_text_of_an_input_is_kept_as_it_was_written() -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock) as engine:
            await engine.create_state_machine("m", machine(("Say", {"Type": "Pass", "End": True})))
            execution = await engine.start("m", input_text='{ "n" : 1.0 }')
            assert await execution.result() == {"n": 1.0}
            info = await execution.describe()
            assert (info.input_text, info.output_text) == ('{ "n" : 1.0 }', '{ "n" : 1.0 }')

    run(main)


def test_changing_the_input_after_a_start_changes_nothing() -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock) as engine:
            await engine.create_state_machine("m", machine(("Nap", {"Type": "Wait", "Seconds": 1, "End": True})))
            given: dict[str, Any] = {"list": [1]}
            execution = await engine.start("m", given)
            given["list"].append(2)
            assert await execution.result() == {"list": [1]}

    run(main)


def test_a_store_that_refuses_one_write_fails_that_start_alone() -> None:
    async def main(clock: VirtualClock) -> None:
        store = FaultyStore(MemoryStore(), refuse=[1])
        async with Engine(store, clock=clock) as engine:
            await engine.create_state_machine("m", WAITS)
            with pytest.raises(StoreError, match="refuse"):
                await engine.start("m", {}, name="x")
            assert await (await engine.start("m", {}, name="x")).result() == "said"

    run(main)


@pytest.mark.parametrize("refused", [2, 3, 4])
def test_a_store_that_refuses_one_write_stops_an_execution_loudly_and_leaves_it_resumable(refused: int) -> None:
    async def main(clock: VirtualClock) -> None:
        calls: list[str] = []

        async def work(event: Json, context: Any) -> str:
            calls.append(context.idempotency_key)
            return "done"

        inner = MemoryStore()
        definition = machine(("Work", task("work", "Nap")), ("Nap", {"Type": "Wait", "Seconds": 5, "End": True}))
        async with Engine(FaultyStore(inner, refuse=[refused]), clock=clock) as engine:
            engine.register("work", work)
            await engine.create_state_machine("m", definition)
            execution = await engine.start("m", {}, name="x")
            await asyncio.sleep(60)
            with pytest.raises(StoreError, match="refuse"):  # asked later, it still says so
                await execution.result()
            assert (await execution.describe()).status == "RUNNING"
        async with Engine(inner, clock=clock) as engine:
            engine.register("work", work)
            resumed = await engine.execution(execution.arn)
            assert await resumed.result() == "done"
            assert [event["id"] for event in await resumed.history()] == list(range(1, 10))
        assert len(set(calls)) == 1

    run(main)


# --- looking ---------------------------------------------------------------------------------------------------------


def test_a_list_is_newest_first_and_is_paged_and_filtered() -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock) as engine:
            await engine.create_state_machine("m", WAITS)
            fails = machine(("No", {"Type": "Fail", "Error": "No", "Cause": "never"}))
            await engine.create_state_machine("fails", fails)
            for number in range(5):
                await engine.start("m", {"n": number}, name=f"x{number}")
                await asyncio.sleep(1)
            with pytest.raises(ExecutionFailed):
                await (await engine.start("fails", name="f")).result()
            names = [info.name for info in await engine.list_executions()]
            assert names == ["f", "x4", "x3", "x2", "x1", "x0"]
            page = await engine.list_executions(machine="m", limit=2)
            assert [info.name for info in page] == ["x4", "x3"]
            page = await engine.list_executions(machine="m", limit=2, before=page[-1])
            assert [info.name for info in page] == ["x2", "x1"]
            [failed] = await engine.list_executions(status="FAILED")
            assert (failed.error, failed.cause, failed.state) == ("No", "never", "No")
            assert [info.name for info in await engine.list_executions(name="x3")] == ["x3"]
            await engine.join()
            assert len(await engine.list_executions(status="SUCCEEDED")) == 5

    run(main)


def test_an_execution_that_does_not_exist_is_an_error() -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock) as engine:
            with pytest.raises(ExecutionDoesNotExist):
                await engine.execution("arn:aws:states:us-east-1:123456789012:execution:m:none")

    run(main)


def test_a_result_may_be_waited_for_with_a_limit_and_the_execution_goes_on() -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock) as engine:
            await engine.create_state_machine("m", WAITS)
            execution = await engine.start("m")
            with pytest.raises(TimeoutError):
                await execution.result(timeout=2)
            assert await execution.result(timeout=100) == "said"

    run(main)


async def _followed(execution: Any, after: int = 0) -> list[int]:
    return [event["id"] async for event in execution.events(after=after)]


@pytest.mark.parametrize("seed", [None, 1, 2, 3])
def test_followers_see_every_event_once_whenever_they_join(seed: int | None) -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock) as engine:
            engine.register("work", lambda event: event)
            states: list[tuple[str, JsonObject]] = []
            for number in range(5):
                states.append((f"Nap{number}", {"Type": "Wait", "Seconds": 1, "Next": f"Work{number}"}))
                states.append((f"Work{number}", task("work", f"Nap{number + 1}")))
            await engine.create_state_machine(
                "m", machine(*states, ("Nap5", {"Type": "Wait", "Seconds": 1, "End": True}))
            )
            execution = await engine.start("m")
            followers = []
            for _ in range(8):
                followers.append(asyncio.ensure_future(_followed(execution)))
                await asyncio.sleep(0.9)
            everything = [event["id"] for event in await execution.history()]
            assert everything == list(range(1, len(everything) + 1))
            for follower in followers:
                assert await follower == everything
            assert await _followed(execution) == everything
            assert await _followed(execution, after=7) == everything[7:]

    run(main, seed=seed)


def test_a_follower_may_stop_following() -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock) as engine:
            await engine.create_state_machine("m", WAITS)
            execution = await engine.start("m")
            events = execution.events()
            assert [(await anext(events))["id"] for _ in range(2)] == [1, 2]
            await events.aclose()  # type: ignore[attr-defined]  # an async generator
            assert await execution.result() == "said"

    run(main)


def test_a_follower_is_told_when_the_engine_is_left() -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock) as engine:
            await engine.create_state_machine("m", WAITS)
            execution = await engine.start("m")
            following = asyncio.ensure_future(_followed(execution))
            await asyncio.sleep(1)
        with pytest.raises(EngineClosed):
            await following

    run(main)


def test_a_follower_is_told_what_stopped_the_execution() -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(FaultyStore(MemoryStore(), refuse=[3]), clock=clock) as engine:
            await engine.create_state_machine("m", WAITS)
            execution = await engine.start("m")
            with pytest.raises(StoreError, match="refuse"):
                await _followed(execution)

    run(main)


def test_history_can_be_read_in_pieces() -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock) as engine:
            await engine.create_state_machine("m", WAITS)
            execution = await engine.start("m")
            await execution.result()
            whole = await execution.history()
            assert await execution.history(limit=3) == whole[:3]
            assert await execution.history(after=2, limit=2) == whole[2:4]
            assert await execution.history(after=99) == []

    run(main)


# --- express ---------------------------------------------------------------------------------------------------------


def test_an_express_execution_gives_its_result_and_keeps_no_history() -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock) as engine:
            engine.register("work", lambda event: {"n": event["n"] + 1})
            await engine.create_state_machine("e", machine(("Work", task("work"))), type="EXPRESS")
            one = await engine.start("e", {"n": 1}, name="x")
            two = await engine.start("e", {"n": 2}, name="x")  # Express names need not be unique
            assert [await one.result(), await two.result()] == [{"n": 2}, {"n": 3}]
            assert one.arn != two.arn
            assert (await one.describe()).status == "SUCCEEDED"
            with pytest.raises(InvalidArn):
                await one.history()
            with pytest.raises(InvalidArn):
                await _followed(one)

    run(main)


def test_an_express_execution_ends_after_five_minutes_or_when_stopped() -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock) as engine:
            definition = machine(("Nap", {"Type": "Wait", "Seconds": 5_000, "End": True}))
            await engine.create_state_machine("e", definition, type="EXPRESS")
            begun = clock.now()
            one, two = await engine.start("e"), await engine.start("e")
            await two.stop("Enough")
            assert (await two.describe()).status == "ABORTED"
            with pytest.raises(ExecutionFailed, match="TIMED_OUT"):
                await one.result()
            assert clock.now() - begun == pytest.approx(300)

    run(main)
