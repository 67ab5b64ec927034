"""Admission: no more run at once than may, in fair turns; what waits is durable, RUNNING, and can be asked for."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asfn._json import Json, JsonObject
from asfn.engine import Engine
from asfn.errors import EngineClosed, ExecutionFailed, InvalidParameter
from asfn.store.memory import MemoryStore
from asfn.store.protocol import Store
from asfn.store.sqlite import SqliteStore
from asfn.testing.faults import FaultyStore
from asfn.testing.loop import DEFAULT_START_AT, VirtualClock, run
from tests.runtime.callbacks import types
from tests.runtime.workflows import machine, task

WORK: JsonObject = machine(("Work", task("work")))
OpenStore = Callable[[VirtualClock], Store]


@pytest.fixture(params=["memory", "file"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> OpenStore:
    """Opens the same database on each loop it is asked for."""
    if request.param == "memory":
        store = MemoryStore()
        return lambda clock: store
    return lambda clock: SqliteStore(tmp_path / "flows.db", off_loop=clock.off_loop)


class Bench:
    """An engine whose function `work` takes ten seconds, or as many as its event says, and notes who is at work."""

    def __init__(self, clock: VirtualClock, **options: Any) -> None:
        self.begun: list[Any] = []
        self.at_work = 0
        self.most = 0
        self.clock = clock
        self.engine = Engine(options.pop("store", "memory://"), clock=clock, **options)
        self.engine.register("work", self.work)

    async def work(self, event: Any) -> Any:
        self.begun.append(event)
        self.at_work += 1
        self.most = max(self.most, self.at_work)
        try:
            await asyncio.sleep(event["seconds"] if isinstance(event, dict) and "seconds" in event else 10)
        finally:
            self.at_work -= 1
        return event

    async def start(self, count: int, machine: str = "m", **options: Any) -> list[Any]:
        """So many executions, with their numbers as inputs."""
        return [await self.engine.start(machine, number, **options) for number in range(count)]


async def statuses(engine: Engine) -> list[str]:
    return [info.status for info in await engine.list_executions(limit=1_000)]


# --- of an engine ----------------------------------------------------------------------------------------------------


def test_no_more_run_in_an_engine_than_may_and_they_begin_in_the_order_of_their_starts(open_store: OpenStore) -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, store=open_store(clock), max_concurrent_executions=3)
        async with bench.engine as engine:
            await engine.create_state_machine("m", WORK)
            executions = await bench.start(10)
            assert clock.now() == DEFAULT_START_AT  # a start never waits for its turn
            await asyncio.sleep(1)
            assert bench.begun == [0, 1, 2]
            assert await engine.store.queued_count() == 7
            assert await statuses(engine) == ["RUNNING"] * 10
            assert await executions[9].history() == []
            assert (await executions[9].describe()).status == "RUNNING"
            assert await asyncio.gather(*(execution.result() for execution in executions)) == list(range(10))
            assert bench.begun == list(range(10))
            assert bench.most == 3
            assert clock.now() == DEFAULT_START_AT + 40
            types_of_last = await types(executions[9])
            assert types_of_last[0] == "ExecutionStarted"
            assert (await executions[9].history())[0]["timestamp"] == DEFAULT_START_AT
            assert await engine.store.queued_count() == 0

    run(main)


def test_a_higher_priority_begins_first_and_the_oldest_within_it(open_store: OpenStore) -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, store=open_store(clock), max_concurrent_executions=1)
        async with bench.engine as engine:
            await engine.create_state_machine("m", WORK)
            for name, priority in (("first", 0), ("low", -1), ("a", 5), ("b", 7), ("c", 5), ("d", 7), ("zero", 0)):
                await engine.start("m", name, priority=priority)
                await asyncio.sleep(0.1)
            await engine.join()
            assert bench.begun == ["first", "b", "d", "a", "c", "zero", "low"]

    run(main)


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "3"])
def test_a_limit_is_a_positive_whole_number(limit: Any) -> None:
    with pytest.raises(InvalidParameter, match="max_concurrent_executions"):
        Engine(max_concurrent_executions=limit)


@pytest.mark.parametrize("priority", [1.5, "high", 2**40, True])
def test_a_priority_is_a_whole_number(priority: Any) -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock) as engine:
            await engine.create_state_machine("m", machine(("Say", {"Type": "Pass", "End": True})))
            with pytest.raises(InvalidParameter, match="priority"):
                await engine.start("m", priority=priority)
            assert await engine.list_executions() == []

    run(main)


def test_parked_executions_take_no_place_and_come_back_though_all_are_taken(open_store: OpenStore) -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, store=open_store(clock), max_concurrent_executions=2)
        async with bench.engine as engine:
            nap: JsonObject = {"Type": "Wait", "Seconds": 1000, "Next": "Work"}
            await engine.create_state_machine("naps", machine(("Nap", nap), ("Work", task("work"))))
            await engine.create_state_machine("m", WORK)
            sleepers = await bench.start(5, "naps")
            await asyncio.sleep(995)
            assert await engine.store.parked_count() == 5
            workers = [await engine.start("m", {"seconds": 500}) for _ in range(4)]
            await asyncio.sleep(10)
            assert [event for event in bench.begun if isinstance(event, int)] == list(range(5))
            await engine.join()
            for sleeper in sleepers:
                info = await sleeper.describe()
                assert info.stopped_at == info.started_at + 1010
            assert {(await worker.describe()).status for worker in workers} == {"SUCCEEDED"}

    run(main)


def test_the_same_start_again_while_it_is_queued_gives_that_execution() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, max_concurrent_executions=1)
        async with bench.engine as engine:
            await engine.create_state_machine("m", WORK)
            await engine.start("m", 0)
            queued = await engine.start("m", 1, name="x")
            again = await engine.start("m", 1, name="x")
            assert again.arn == queued.arn
            assert await again.result() == 1
            assert bench.begun == [0, 1]

    run(main)


# --- of a state machine ----------------------------------------------------------------------------------------------


def test_a_state_machine_never_has_more_than_its_limit_and_holds_up_no_other(open_store: OpenStore) -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, store=open_store(clock), max_concurrent_executions=4)
        async with bench.engine as engine:
            await engine.create_state_machine("narrow", WORK, max_concurrent_executions=1)
            await engine.create_state_machine("wide", WORK)
            assert (await engine.describe_state_machine("narrow")).max_concurrent_executions == 1
            for number in range(4):
                await engine.start("narrow", f"narrow {number}")
            for number in range(4):
                await engine.start("wide", f"wide {number}")
            await asyncio.sleep(5)
            assert sorted(bench.begun) == ["narrow 0", "wide 0", "wide 1", "wide 2"]
            await engine.join()
            assert [name for name in bench.begun if name.startswith("n")] == [f"narrow {n}" for n in range(4)]
            assert clock.now() == DEFAULT_START_AT + 40
            assert bench.most == 4

    run(main)


def test_parked_executions_count_for_their_state_machine(open_store: OpenStore) -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(open_store(clock), clock=clock) as engine:
            nap: JsonObject = {"Type": "Wait", "Seconds": 1000, "End": True}
            await engine.create_state_machine("m", machine(("Nap", nap)), max_concurrent_executions=2)
            for _ in range(6):
                await engine.start("m")
            await asyncio.sleep(500)
            assert (await engine.store.parked_count(), await engine.store.queued_count()) == (2, 4)
            await engine.join()
            assert clock.now() == DEFAULT_START_AT + 3000

    run(main)


def test_two_engines_share_one_limit_and_one_queue(open_store: OpenStore) -> None:
    async def main(clock: VirtualClock) -> None:
        store = open_store(clock)
        one = Bench(clock, store=store)
        two = Bench(clock, store=open_store(clock) if isinstance(store, SqliteStore) else store)
        async with one.engine, two.engine:
            await one.engine.create_state_machine("m", WORK, max_concurrent_executions=3)
            executions = [await (one, two)[number % 2].engine.start("m", number) for number in range(12)]
            results = await asyncio.gather(*(execution.result() for execution in executions))
            assert results == list(range(12))
            assert one.most + two.most >= 3
            assert max(one.most, two.most) <= 3
            assert sorted(one.begun + two.begun) == list(range(12))
            assert clock.now() < DEFAULT_START_AT + 45

    run(main)


def test_a_limit_can_be_raised_and_lifted_while_executions_are_queued() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock)
        async with bench.engine as engine:
            await engine.create_state_machine("m", WORK, max_concurrent_executions=1)
            await bench.start(6)
            await asyncio.sleep(1)
            assert bench.begun == [0]
            await engine.update_state_machine("m", max_concurrent_executions=3)
            await asyncio.sleep(1)
            assert bench.begun == [0, 1, 2]
            info = await engine.update_state_machine("m", max_concurrent_executions=math.inf)
            assert info.max_concurrent_executions is None
            await asyncio.sleep(1)
            assert bench.begun == [0, 1, 2, 3, 4, 5]

    run(main)


# --- what is asked of what waits -------------------------------------------------------------------------------------


def test_stopping_what_is_queued_ends_it_without_a_step(open_store: OpenStore) -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, store=open_store(clock), max_concurrent_executions=1)
        async with bench.engine as engine:
            await engine.create_state_machine("m", WORK)
            _, second, third = await bench.start(3)
            await second.stop("Enough", "of it")
            info = await second.describe()
            assert (info.status, info.error) == ("ABORTED", "Enough")
            assert (await types(second))[-1] == "ExecutionAborted"
            assert await third.result() == 2
            assert bench.begun == [0, 2]
            await second.redrive()
            assert await second.result() == 1

    run(main)


def test_a_pause_leaves_what_is_queued_in_its_place_and_it_begins_paused(open_store: OpenStore) -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, store=open_store(clock))
        async with bench.engine as engine:
            await engine.create_state_machine("m", WORK, max_concurrent_executions=1)
            _, second, third = await bench.start(3)
            await third.pause()
            await second.pause()
            await third.resume()
            info = await second.describe()
            assert (info.status, info.paused, info.queued) == ("RUNNING", True, True)
            assert await engine.store.queued_count() == 2
            await asyncio.sleep(50)
            assert bench.begun == [0]  # the second has begun, paused, and keeps the machine full
            assert await types(second) == ["ExecutionStarted"]
            assert await engine.store.queued_count() == 1
            await second.resume()
            assert await third.result() == 2
            assert bench.begun == [0, 1, 2]
            assert bench.most == 1

    run(main)


def test_a_stop_of_what_is_queued_survives_a_crash_at_any_moment_and_it_never_begins() -> None:
    for number in range(2, 12):
        store = MemoryStore()

        async def first(clock: VirtualClock, store: Store = store, number: int = number) -> None:
            faulty = FaultyStore(store, crash_after=number)
            bench = Bench(clock, store=faulty)

            async def work() -> None:
                async with bench.engine as engine:
                    await engine.create_state_machine("m", WORK, max_concurrent_executions=1)
                    _, second = await bench.start(2)
                    await second.stop("Enough")
                    await asyncio.sleep(100)

            working = asyncio.create_task(work())
            crash = asyncio.create_task(faulty.crashed.wait())
            await asyncio.wait({working, crash}, return_when=asyncio.FIRST_COMPLETED)
            crash.cancel()
            assert 1 not in bench.begun

        async def second(clock: VirtualClock, store: Store = store) -> list[str]:
            bench = Bench(clock, store=store)
            async with bench.engine as engine:
                await engine.join()
                assert bench.most <= 1
                return await statuses(engine)

        run(first)
        assert run(second, start_at=DEFAULT_START_AT + 1000) in (
            ["SUCCEEDED"],
            ["SUCCEEDED", "SUCCEEDED"],
            ["ABORTED", "SUCCEEDED"],
        )


def test_a_deadline_that_passes_in_the_queue_ends_the_execution_at_that_moment(open_store: OpenStore) -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, store=open_store(clock), max_concurrent_executions=1)
        async with bench.engine as engine:
            await engine.create_state_machine("m", {**WORK, "TimeoutSeconds": 30})
            await engine.start("m", {"seconds": 25})
            late = [await engine.start("m", {"seconds": 25, "number": number}) for number in range(3)]
            await asyncio.sleep(29)
            assert [(await execution.describe()).status for execution in late] == ["RUNNING"] * 3
            await asyncio.sleep(2)
            for execution in late:
                info = await execution.describe()
                assert (info.status, info.stopped_at) == ("TIMED_OUT", DEFAULT_START_AT + 30)
            assert len(bench.begun) == 2  # the first, and one that had 5 seconds left
            assert (await types(late[2])) == ["ExecutionStarted", "ExecutionTimedOut"]

    run(main)


def test_following_what_is_queued_waits_for_its_turn_and_sees_every_event() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, max_concurrent_executions=1)
        async with bench.engine as engine:
            await engine.create_state_machine("m", WORK)
            executions = await bench.start(3)
            seen = [event["type"] async for event in executions[2].events()]
            assert seen == await types(executions[2])
            assert seen[-1] == "ExecutionSucceeded"
            assert clock.now() == DEFAULT_START_AT + 30

    run(main)


# --- crashes, engines ------------------------------------------------------------------------------------------------


def test_what_an_engine_leaves_queued_begins_in_the_next_one(open_store: OpenStore) -> None:
    async def first(clock: VirtualClock) -> None:
        bench = Bench(clock, store=open_store(clock), max_concurrent_executions=2, drain_seconds=20)
        async with bench.engine as engine:
            await engine.create_state_machine("m", WORK)
            executions = await bench.start(6)
            await asyncio.sleep(1)
        with pytest.raises(EngineClosed):
            await executions[5].result()
        assert bench.begun == [0, 1]

    async def second(clock: VirtualClock) -> None:
        bench = Bench(clock, store=open_store(clock), max_concurrent_executions=2)
        async with bench.engine as engine:
            await engine.join()
            assert bench.begun == [2, 3, 4, 5]
            assert await statuses(engine) == ["SUCCEEDED"] * 6

    run(first)
    run(second, start_at=DEFAULT_START_AT + 100)


def test_the_end_of_an_execution_taken_over_makes_room_in_its_state_machine(open_store: OpenStore) -> None:
    async def first(clock: VirtualClock) -> None:
        bench = Bench(clock, store=open_store(clock), drain_seconds=0)
        async with bench.engine as engine:
            await engine.create_state_machine("m", WORK, max_concurrent_executions=1)
            await bench.start(2)
            await asyncio.sleep(1)

    async def second(clock: VirtualClock) -> None:
        bench = Bench(clock, store=open_store(clock))
        async with bench.engine as engine:
            await engine.join()
            assert bench.begun == [0, 1]
            assert await statuses(engine) == ["SUCCEEDED"] * 2

    run(first)
    run(second, start_at=DEFAULT_START_AT + 100)


@pytest.mark.parametrize("when", ["crash_before", "crash_after"])
def test_a_process_that_dies_at_any_commit_loses_and_doubles_nothing(when: str) -> None:
    for number in range(1, 30):
        store = MemoryStore()
        begun: list[Any] = []
        started: list[str] = []

        async def first(clock: VirtualClock, store: Store = store, number: int = number) -> bool:
            faulty = FaultyStore(store, **{when: number})
            bench = Bench(clock, store=faulty, max_concurrent_executions=2)

            async def work() -> None:
                async with bench.engine as engine:
                    await engine.create_state_machine("m", WORK, max_concurrent_executions=3)
                    for n in range(5):
                        execution = await engine.start("m", n, name=f"x{n}")
                        started.append(execution.arn)  # noqa: B023
                    await engine.join()

            working = asyncio.create_task(work())
            crash = asyncio.create_task(faulty.crashed.wait())
            await asyncio.wait({working, crash}, return_when=asyncio.FIRST_COMPLETED)
            crash.cancel()
            begun.extend(bench.begun)  # noqa: B023
            return faulty.crashed.is_set()

        async def second(clock: VirtualClock, store: Store = store) -> None:
            bench = Bench(clock, store=store, max_concurrent_executions=2)
            async with bench.engine as engine:
                await engine.join()
                infos = await engine.list_executions()
                assert {info.status for info in infos} <= {"SUCCEEDED"}
                assert set(started) <= {info.arn for info in infos}  # noqa: B023
                assert bench.most <= 3  # two, and what had begun before
            assert {*begun, *bench.begun} == {info.input for info in infos}  # noqa: B023
            assert (await store.queued_count(), await store.parked_count()) == (0, 0)

        died = run(first)
        run(second, start_at=DEFAULT_START_AT + 1000)
        if not died:
            assert number > 15
            return
    raise AssertionError("it did not end within so many commits")


def test_a_refused_admission_is_tried_again() -> None:
    async def main(clock: VirtualClock) -> None:
        store = FaultyStore(MemoryStore())
        bench = Bench(clock, store=store, max_concurrent_executions=1)
        async with bench.engine as engine:
            await engine.create_state_machine("m", WORK)
            executions = await bench.start(2)
            await asyncio.sleep(9.9)
            store._refuse.add(store.commits + 2)  # behind what the task and the end of the first one write
            assert await executions[1].result() == 1

    run(main)


@pytest.mark.parametrize("limited", ["engine", "machine"])
def test_an_engine_that_does_not_resume_begins_what_it_has_queued_itself(limited: str) -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, resume=False, max_concurrent_executions=1 if limited == "engine" else None)
        async with bench.engine as engine:
            limit = 1 if limited == "machine" else None
            await engine.create_state_machine("m", WORK, max_concurrent_executions=limit)
            executions = await bench.start(3)
            assert [await execution.result() for execution in executions] == [0, 1, 2]
            await engine.join()

    run(main)


# --- Express ---------------------------------------------------------------------------------------------------------


def test_express_executions_wait_in_memory_for_the_same_places() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, max_concurrent_executions=2)
        async with bench.engine as engine:
            await engine.create_state_machine("m", WORK, type="EXPRESS")
            executions = [await engine.start("m", number, priority=1 if number == 4 else 0) for number in range(5)]
            assert [await execution.result() for execution in executions] == list(range(5))
            assert bench.begun == [0, 1, 4, 2, 3]
            assert bench.most == 2

    run(main)


def test_express_executions_that_wait_can_be_stopped_time_out_and_are_let_go_with_the_engine() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, max_concurrent_executions=1, drain_seconds=0)
        async with bench.engine as engine:
            await engine.create_state_machine("m", {**WORK, "TimeoutSeconds": 200}, type="EXPRESS")
            await engine.start("m", {"seconds": 150})
            stopped, late, left = [await engine.start("m", {"seconds": 150, "n": n}) for n in range(3)]
            await stopped.stop("Enough")
            with pytest.raises(ExecutionFailed, match="Enough"):
                await stopped.result()
            waiting = asyncio.create_task(late.result())
            await asyncio.sleep(201)
            with pytest.raises(ExecutionFailed, match="TIMED_OUT"):
                await waiting
            assert len(bench.begun) == 2
            with pytest.raises(ExecutionFailed, match="TIMED_OUT"):
                await left.result()
            await engine.start("m", {"seconds": 150})
            last = await engine.start("m", 1)
            waiting = asyncio.create_task(last.result())
            await asyncio.sleep(1)
        with pytest.raises(EngineClosed):
            await waiting

    run(main)


def test_express_and_stored_executions_take_turns() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, max_concurrent_executions=2)
        async with bench.engine as engine:
            await engine.create_state_machine("fast", WORK, type="EXPRESS")
            await engine.create_state_machine("m", WORK)
            inputs: list[Json] = []
            executions = []
            for number in range(6):
                for name in ("fast", "m"):
                    inputs.append(f"{name} {number}")
                    executions.append(await engine.start(name, inputs[-1]))
            assert [await execution.result() for execution in executions] == inputs
            for begun in (bench.begun[index : index + 2] for index in range(0, 12, 2)):
                assert {name.split()[0] for name in begun} == {"fast", "m"}

    run(main)


# --- memory ----------------------------------------------------------------------------------------------------------


def test_a_loop_of_starts_keeps_no_more_in_memory_than_its_places(open_store: OpenStore) -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, store=open_store(clock), max_concurrent_executions=5)
        async with bench.engine as engine:
            await engine.create_state_machine("m", WORK)
            tasks = 0
            for number in range(300):
                await engine.start("m", number)
                tasks = max(tasks, len(asyncio.all_tasks()))
            assert tasks < 30
            assert await engine.store.queued_count() >= 290
            await engine.join()
            assert bench.begun == list(range(300))
            assert bench.most == 5

    run(main)
