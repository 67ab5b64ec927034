"""Express executions: kept in memory or stored, their five minutes, and loops that never end."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from asfn._json import Json, JsonObject
from asfn.engine import Engine
from asfn.errors import DefinitionError, ExecutionFailed, InvalidArn
from asfn.store.memory import MemoryStore
from asfn.store.sqlite import SqliteStore
from asfn.testing.faults import FaultyStore
from asfn.testing.loop import DEFAULT_START_AT, VirtualClock, run
from tests.runtime.workflows import each, machine, task

NAP: JsonObject = {"Type": "Wait", "Seconds": 10_000, "End": True}
LOOP: JsonObject = {
    "StartAt": "Add",
    "States": {
        "Add": {"Type": "Pass", "Parameters": {"n.$": "States.MathAdd($.n, 1)"}, "Next": "Enough"},
        "Enough": {
            "Type": "Choice",
            "Choices": [{"Variable": "$.n", "NumericGreaterThanEqualsPath": "$$.Execution.Input.most", "Next": "Done"}],
            "Default": "Again",
        },
        "Again": {"Type": "Pass", "Next": "Add"},
        "Done": {"Type": "Succeed"},
    },
}


def engine_on(store: Any, clock: VirtualClock, **options: Any) -> Engine:
    engine = Engine(store, clock=clock, express="stored", **options)

    @engine.function("work")
    async def work(event: Json) -> Json:
        await asyncio.sleep(1)
        return event

    return engine


async def start(engine: Engine, definition: JsonObject, input: Json = None, **options: Any) -> Any:
    await engine.create_state_machine("m", definition, type="EXPRESS")
    return await engine.start("m", {} if input is None else input, **options)


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_a_stored_execution_has_a_row_and_a_history_and_is_listed(kind: str, tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        store = MemoryStore() if kind == "memory" else SqliteStore(tmp_path / "a.db", off_loop=clock.off_loop)
        async with engine_on(store, clock) as engine:
            execution = await start(
                engine, machine(("Each", each(machine(("Work", task("work"))), 2))), [1, 2], name="x"
            )
            assert await execution.result() == [1, 2]
            info = await (await engine.execution(execution.arn)).describe()
            assert (info.type, info.status, info.name, info.output) == ("EXPRESS", "SUCCEEDED", "x", [1, 2])
            assert info.redrive_status is None
            assert [info.arn for info in await engine.list_executions(status="SUCCEEDED")] == [execution.arn]
            types = [event["type"] for event in await execution.history()]
            assert (types[0], types[-1], types.count("TaskSucceeded") + types.count("LambdaFunctionSucceeded")) == (
                "ExecutionStarted",
                "ExecutionSucceeded",
                2,
            )
            assert [event["type"] async for event in execution.events()] == types
            again = await engine.start("m", [3], name="x")  # names of Express executions may be used again
            assert again.arn != execution.arn
            assert await again.result() == [3]
            with pytest.raises(InvalidArn, match="express"):
                await again.redrive()

    run(main)


def test_without_it_nothing_is_stored() -> None:
    async def main(clock: VirtualClock) -> None:
        store = MemoryStore()
        async with Engine(store, clock=clock) as engine:
            execution = await start(engine, machine(("Say", {"Type": "Pass", "End": True})), 5)
            assert await execution.result() == 5
            assert await engine.list_executions() == []
            with pytest.raises(InvalidArn, match="express"):
                await execution.history()

    run(main)


@pytest.mark.parametrize("when", ["crash_before", "crash_after"])
@pytest.mark.parametrize("number", range(1, 6))
@pytest.mark.parametrize("express", ["stored", "memory"])  # of the engine that finds it: what is stored stays stored
def test_whichever_commit_a_process_dies_at_the_next_one_goes_on(number: int, when: str, express: Any) -> None:
    async def first(store: MemoryStore, clock: VirtualClock) -> None:
        faulty = FaultyStore(store, **{when: number})
        engine = engine_on(faulty, clock)
        living = asyncio.ensure_future(_one(engine))
        dead = asyncio.ensure_future(faulty.crashed.wait())
        await asyncio.wait({living, dead}, return_when=asyncio.FIRST_COMPLETED)

    async def second(store: MemoryStore, clock: VirtualClock) -> None:
        engine = engine_on(store, clock)
        engine._express = express
        async with engine:
            found = await engine.list_executions()
            if when == "crash_before" and number == 1:
                assert found == []
                return
            execution = await engine.execution(found[0].arn)
            assert await execution.result() == 7
            assert (await execution.describe()).status == "SUCCEEDED"
            history = await execution.history()
            assert [event["id"] for event in history] == list(range(1, 13))
            assert history[-1]["type"] == "ExecutionSucceeded"

    store = MemoryStore()
    run(partial(first, store))
    run(partial(second, store), start_at=DEFAULT_START_AT + 100)


async def _one(engine: Engine) -> None:
    async with engine:
        first: JsonObject = {**task("work"), "Next": "After"}
        del first["End"]
        execution = await start(engine, machine(("Work", first), ("After", task("work"))), 7)
        await execution.result()


@pytest.mark.parametrize("express", ["stored", "memory"])
@pytest.mark.parametrize("state", [NAP, {**NAP, "Seconds": 299}, task("hang")], ids=["wait", "shorter", "task"])
def test_five_minutes_are_exact(express: Any, state: JsonObject) -> None:
    async def main(clock: VirtualClock) -> None:
        engine = Engine(clock=clock, express=express)

        @engine.function("hang")
        async def hang(event: Json) -> None:
            await asyncio.get_running_loop().create_future()

        async with engine:
            execution = await start(engine, machine(("Wait", state)))
            if state.get("Seconds") == 299:
                await execution.result()
                assert clock.now() == DEFAULT_START_AT + 299
                return
            with pytest.raises(ExecutionFailed, match="TIMED_OUT"):
                await execution.result()
            info = await execution.describe()
            assert (clock.now(), info.stopped_at) == (DEFAULT_START_AT + 300, DEFAULT_START_AT + 300)

    run(main)


def test_the_five_minutes_go_on_while_nobody_runs_it() -> None:
    async def first(store: MemoryStore, clock: VirtualClock) -> None:
        async with engine_on(store, clock) as engine:
            await start(engine, machine(("Nap", NAP)), name="x")
            await asyncio.sleep(1)

    async def second(store: MemoryStore, clock: VirtualClock) -> None:
        async with engine_on(store, clock) as engine:
            [info] = await engine.list_executions()
            with pytest.raises(ExecutionFailed, match="TIMED_OUT"):
                await (await engine.execution(info.arn)).result()
            assert clock.now() == pytest.approx(DEFAULT_START_AT + 300)

    store = MemoryStore()
    run(partial(first, store))
    run(partial(second, store), start_at=DEFAULT_START_AT + 200)


def test_stop_and_pause_work_on_stored_ones() -> None:
    async def main(clock: VirtualClock) -> None:
        async with engine_on(MemoryStore(), clock) as engine:
            execution = await start(engine, machine(("Nap", NAP)))
            await execution.pause()
            assert (await execution.describe()).paused
            await execution.resume()
            await execution.stop("Enough")
            assert (await execution.describe()).error == "Enough"

    run(main)


def test_what_express_may_not_do_is_refused_all_the_same() -> None:
    async def main(clock: VirtualClock) -> None:
        async with engine_on(MemoryStore(), clock) as engine:
            state = {**task("work"), "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken"}
            with pytest.raises(DefinitionError):
                await start(engine, machine(("Work", state)))

    run(main)


@pytest.mark.parametrize("express", ["stored", "memory"])
def test_a_loop_that_never_ends_ends_with_the_five_minutes(express: Any) -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock, express=express) as engine:
            execution = await start(engine, LOOP, {"n": 0, "most": 1e9})
            with pytest.raises(ExecutionFailed, match="TIMED_OUT"):
                await execution.result()
            assert (await execution.describe()).stopped_at == DEFAULT_START_AT + 300

    run(main)


def test_a_long_loop_goes_on_to_its_end_while_time_passes() -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock) as engine:
            execution = await start(engine, LOOP, {"n": 0, "most": 3_000})  # 9,000 transitions
            assert await execution.result() == {"n": 3_000}
            assert 5 < clock.now() - DEFAULT_START_AT < 10

    run(main)


def test_another_word_is_refused() -> None:
    with pytest.raises(ValueError, match="express"):
        Engine(express="file")  # type: ignore[arg-type]
