"""Several engines on one store: who runs what, what an engine that lost its lease may still do, who takes over."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from asfn._json import JsonObject
from asfn.engine import Engine
from asfn.errors import EngineFenced, StoreError, UnroutedResource
from asfn.runtime.liveness import EngineLock, is_dead, lock_path, locked_ids
from asfn.store.memory import MemoryStore
from asfn.store.records import EngineRow
from asfn.store.sqlite import SqliteStore
from asfn.testing.faults import FaultyStore
from asfn.testing.loop import VirtualClock, run
from tests.runtime.lives import ARN, Life, Tasks, Workflow, check, live, undisturbed
from tests.runtime.workflows import NESTED_MAPS, RETRIED_PARALLEL, TASK_IN_MAP_IN_PARALLEL, machine, task

NAP: JsonObject = {"Type": "Wait", "Seconds": 50, "End": True}


@pytest.mark.parametrize(
    "workflow", [TASK_IN_MAP_IN_PARALLEL, NESTED_MAPS, RETRIED_PARALLEL], ids=lambda workflow: workflow.name
)
def test_an_engine_that_lost_its_lease_writes_nothing_more_and_another_finishes(workflow: Workflow) -> None:
    reference = undisturbed(workflow)
    for number in range(2, reference.commits + 1):
        store = MemoryStore()
        fenced = run(partial(_fenced_life, workflow, store, number))
        assert fenced.commits == number - 1
        last = live(workflow, store, start_at=fenced.over_at + 200)
        check(reference, [fenced, last])


async def _fenced_life(workflow: Workflow, store: MemoryStore, number: int, clock: VirtualClock) -> Life:
    faulty = FaultyStore(store, fence_at=number)
    tasks = Tasks(workflow.script, clock)
    async with Engine(faulty, clock=clock, resolver=tasks) as engine:
        await engine.create_state_machine("machine", workflow.definition)
        execution = await engine.start("machine", workflow.input, name="x")
        with pytest.raises(EngineFenced):
            await execution.result()
        await asyncio.sleep(1)
        assert engine.running(ARN) is None  # registered anew, without what was taken over
    assert faulty.usurper is not None
    return Life(tasks.calls, [], faulty.commits, False, clock.now(), None, [], 0, set())


def test_two_engines_on_one_file_run_their_own_executions_and_see_each_others(tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        ran: list[tuple[str, str]] = []
        definition = machine(("Nap", {"Type": "Wait", "Seconds": 9, "Next": "Work"}), ("Work", task("work")))

        def engine(name: str) -> Engine:
            engine = Engine(f"sqlite:///{tmp_path / 'two.db'}", clock=clock)

            async def work(event: Any) -> Any:
                ran.append((name, event))
                await asyncio.sleep(1)
                return event

            engine.register("work", work)
            return engine

        async with engine("one") as one, engine("two") as two:
            await one.create_state_machine("m", definition)
            mine = [await one.start("m", f"one-{n}", name=f"one-{n}") for n in range(5)]
            yours = [await two.start("m", f"two-{n}", name=f"two-{n}") for n in range(5)]
            seen = [await two.execution(execution.arn) for execution in mine]
            assert await asyncio.gather(*(execution.result() for execution in seen)) == [f"one-{n}" for n in range(5)]
            assert await asyncio.gather(*(execution.result() for execution in yours)) == [f"two-{n}" for n in range(5)]
            assert [event["id"] async for event in seen[0].events()] == list(range(1, 10))
            assert len(await one.list_executions()) == 10
        assert sorted(ran) == [(name, f"{name}-{n}") for name in ("one", "two") for n in range(5)]

    run(main)


def test_what_one_engine_leaves_the_next_takes_and_a_living_one_keeps_its_own(tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        path = f"sqlite:///{tmp_path / 'turns.db'}"
        async with Engine(path, clock=clock) as keeper:
            await keeper.create_state_machine("m", machine(("Nap", NAP)))
            kept = await keeper.start("m", 1, name="kept")
            async with Engine(path, clock=clock) as leaver:
                left = await leaver.start("m", 2, name="left")
            async with Engine(path, clock=clock) as taker:
                assert taker.running(left.arn) is not None
                assert taker.running(kept.arn) is None
                assert keeper.running(kept.arn) is not None
                assert await (await taker.execution(left.arn)).result() == 2
            assert await kept.result() == 1

    run(main)


def test_an_execution_is_resumed_though_its_function_is_missing_and_says_so(tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        store = MemoryStore()
        definition = machine(("Nap", {"Type": "Wait", "Seconds": 5, "Next": "Work"}), ("Work", task("work")))
        async with Engine(store, clock=clock) as engine:
            engine.register("work", lambda event: "done")
            await engine.create_state_machine("machine", definition)
            await engine.start("machine", name="x")
        async with Engine(store, clock=clock) as engine:
            execution = await engine.execution(ARN)
            with pytest.raises(UnroutedResource, match="work"):
                await execution.result()
            assert (await execution.describe()).status == "RUNNING"
        async with Engine(store, clock=clock) as engine:
            engine.register("work", lambda event: "done")
            assert await (await engine.execution(ARN)).result() == "done"

    run(main)


def test_one_execution_that_cannot_be_read_back_does_not_keep_the_others_waiting() -> None:
    async def main(clock: VirtualClock) -> None:
        store = MemoryStore()
        async with Engine(store, clock=clock) as engine:
            await engine.create_state_machine("m", machine(("Nap", NAP)))
            broken = await engine.start("m", 1, name="broken")
            whole = await engine.start("m", 2, name="whole")
            await asyncio.sleep(1)
        row = await store.execution(broken.arn)
        assert row is not None
        [frame] = await store.frames(row.key)
        frame.body = frame.body.replace("Nap", "Gone")
        async with Engine(store, clock=clock) as engine:
            assert await (await engine.execution(whole.arn)).result() == 2

    run(main)


# --- liveness --------------------------------------------------------------------------------------------------------


def test_a_lock_tells_the_living_from_the_dead(tmp_path: Path) -> None:
    database = str(tmp_path / "a.db")
    assert not is_dead(database, 1)  # never made: the lease decides
    lock = EngineLock(database, 1)
    lock.acquire()
    assert not is_dead(database, 1)
    Path(lock_path(database, 2)).touch()  # what a killed process leaves
    assert is_dead(database, 2)
    assert is_dead(database, 2)
    lock.release()
    assert not is_dead(database, 1)
    assert not Path(lock_path(database, 1)).exists()


@pytest.mark.real_time
async def test_an_engine_clears_away_locks_of_dead_engines_without_a_row(tmp_path: Path) -> None:
    database = str(tmp_path / "a [1].db")
    async with Engine(f"sqlite:///{database}") as living:
        held = EngineLock(database, 800)  # of one that was taken over, and has not noticed yet
        held.acquire()
        killed = EngineLock(database, 900)
        killed.acquire()
        killed.release(gone=True)
        assert sorted(locked_ids(database)) == [1, 800, 900]
        async with Engine(f"sqlite:///{database}"):
            assert sorted(locked_ids(database)) == [1, 2, 800]
        held.release()
        assert len(await living.store.other_engines(EngineRow(0, 1, 0.0))) == len(locked_ids(database)) == 1


@pytest.mark.real_time
async def test_a_running_engine_renews_its_lease_and_is_not_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "lease.db"
    async with Engine(f"sqlite:///{path}", lease_seconds=0.3) as engine:
        await engine.create_state_machine("m", machine(("Say", {"Type": "Pass", "End": True})))
        async with Engine(f"sqlite:///{path}", lease_seconds=0.3) as other:
            execution = await other.start("m", 1)
            await execution.result()
            await asyncio.sleep(0.5)  # longer than the lease: renewed, so nobody is fenced
            assert await (await other.start("m", 2)).result() == 2
            assert await (await engine.start("m", 3)).result() == 3


@pytest.mark.real_time
async def test_an_idle_engine_notices_that_it_was_fenced_and_stops_its_executions(tmp_path: Path) -> None:
    path = tmp_path / "fenced.db"
    async with Engine(f"sqlite:///{path}", lease_seconds=0.3) as engine:
        await engine.create_state_machine("m", machine(("Nap", NAP)))
        execution = await engine.start("m", 1)
        usurper = SqliteStore(path)
        await usurper.open()
        row = await usurper.register_engine(engine.clock.now(), 60)
        others = await usurper.other_engines(row)
        claimed = await usurper.claim(row, engine.clock.now(), dead=[other.id for other in others])
        assert [row.arn for row in claimed] == [execution.arn]
        with pytest.raises(EngineFenced):
            await execution.result(timeout=20)
        assert engine.running(execution.arn) is None
        for _ in range(500):
            with suppress(EngineFenced):
                other = await engine.start("m", 2)
                break
            await asyncio.sleep(0.02)
        assert engine.running(other.arn) is not None
        await usurper.retire_engine(row)
        for _ in range(500):  # nobody runs the first one any more: it comes back with the next claim
            if engine.running(execution.arn) is not None:
                break
            await asyncio.sleep(0.02)
        assert engine.running(execution.arn) is not None
        await usurper.close()


def test_a_fenced_engine_registers_anew_and_goes_on_with_new_executions() -> None:
    async def main(clock: VirtualClock) -> None:
        store = FaultyStore(MemoryStore(), fence_at=3)
        calls: list[Any] = []

        async def work(event: Any) -> Any:
            calls.append(event)
            await asyncio.sleep(1)
            return event

        async with Engine(store, clock=clock) as engine:
            engine.register("work", work)
            await engine.create_state_machine("m", machine(("One", task("work", "Two")), ("Two", task("work"))))
            first = await engine.start("m", 1, name="first")
            with pytest.raises(EngineFenced):
                await first.result()
            assert store.usurper is not None
            await asyncio.sleep(1)
            second = await engine.start("m", 2, name="second")
            assert await second.result() == 2
            assert calls == [1, 2, 2]
            assert (await first.describe()).status == "RUNNING"
            await store.retire_engine(store.usurper)
        async with Engine(store, clock=clock) as engine:
            engine.register("work", work)
            again = await engine.execution(first.arn)
            assert await again.result() == 1

    run(main)


@pytest.mark.real_time
async def test_an_execution_goes_on_when_the_store_that_refused_a_write_is_well_again(tmp_path: Path) -> None:
    calls: list[str] = []

    async def work(event: Any, context: Any) -> str:
        calls.append(context.idempotency_key)
        return "done"

    store = FaultyStore(SqliteStore(tmp_path / "ill.db"), refuse=[3])
    async with Engine(store, lease_seconds=0.3) as engine:
        engine.register("work", work)
        nap: JsonObject = {"Type": "Wait", "Seconds": 0, "Next": "Work"}
        await engine.create_state_machine("m", machine(("Nap", nap), ("Work", task("work"))))
        execution = await engine.start("m", 1)
        with pytest.raises(StoreError, match="refuse"):
            await execution.result(timeout=20)
        for _ in range(500):
            if (await execution.describe()).status != "RUNNING":
                break
            await asyncio.sleep(0.02)
        assert await execution.result() == "done"
        ids = [event["id"] for event in await execution.history()]
        assert ids == list(range(1, 10))
    assert len(set(calls)) == 1
