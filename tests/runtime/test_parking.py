"""Parking: what only waits leaves memory, comes back when it is due, answered or asked for, and nothing is lost."""

from __future__ import annotations

import asyncio
import gc
import math
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from asfn._json import Json, JsonObject
from asfn.engine import Engine
from asfn.errors import TaskFailed, TaskTimedOut
from asfn.runtime.execution import Run
from asfn.runtime.handle import ExecutionInfo
from asfn.runtime.observers import Observer
from asfn.store.memory import MemoryStore
from asfn.store.protocol import Store
from asfn.store.sqlite import SqliteStore
from asfn.tasks.function import TaskContext
from asfn.testing.faults import FaultyStore
from asfn.testing.loop import VirtualClock, run
from tests.runtime.callbacks import Desk, ask, end_of, sign, types
from tests.runtime.lives import CountingStore, Life, Reply, Workflow, check, live, live_on, undisturbed
from tests.runtime.workflows import RETRY, each, machine, parallel, task

DAY = 86_400
OpenStore = Callable[[VirtualClock], Store]


@pytest.fixture(params=["memory", "file"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> OpenStore:
    """Opens the same database on each loop it is asked for."""
    if request.param == "memory":
        store = MemoryStore()
        return lambda clock: store
    return lambda clock: SqliteStore(tmp_path / "flows.db", off_loop=clock.off_loop)


def nap(seconds: float, next: str | None = None) -> JsonObject:
    return {"Type": "Wait", "Seconds": seconds, **({"End": True} if next is None else {"Next": next})}


async def begin(engine: Engine, definition: JsonObject, input: Json = None, name: str = "x") -> Any:  # Any: Execution
    await engine.create_state_machine("machine", definition)
    return await engine.start("machine", {} if input is None else input, name=name)


async def row_of(engine: Engine, execution: Any) -> Any:  # Any: an ExecutionRow, there for sure
    row = await engine.store.execution(execution.arn)
    assert row is not None
    return row


async def is_parked(engine: Engine, execution: Any) -> bool:
    row = await row_of(engine, execution)
    parked = row.wake_at is not None
    assert not (parked and (engine.running(execution.arn) is not None or row.owner is not None))
    return parked


def runs_in_memory() -> int:
    gc.collect()
    return sum(isinstance(thing, Run) for thing in gc.get_objects())


# --- a wait ----------------------------------------------------------------------------------------------------------


def test_a_long_wait_is_parked_at_once_and_goes_on_at_its_very_moment(open_store: OpenStore) -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(open_store(clock), clock=clock) as engine:
            execution = await begin(engine, machine(("Long", nap(30 * DAY, "Longer")), ("Longer", nap(400))))
            await asyncio.sleep(1)
            assert await is_parked(engine, execution)
            row = await row_of(engine, execution)
            assert row.wake_at == row.started_at + 30 * DAY
            await asyncio.sleep(30 * DAY)
            assert await is_parked(engine, execution)
            await engine.join()
            info = await execution.describe()
            assert (info.status, info.stopped_at) == ("SUCCEEDED", info.started_at + 30 * DAY + 400)
            assert [(event["type"], event["timestamp"] - info.started_at) for event in await execution.history()] == [
                ("ExecutionStarted", 0),
                ("WaitStateEntered", 0),
                ("WaitStateExited", 30 * DAY),
                ("WaitStateEntered", 30 * DAY),
                ("WaitStateExited", 30 * DAY + 400),
                ("ExecutionSucceeded", 30 * DAY + 400),
            ]

    run(main)


def test_a_short_wait_stays_and_so_does_one_without_end_to_parking() -> None:
    async def main(clock: VirtualClock) -> None:
        for options, seconds in (({}, 59), ({"park_seconds": 600}, 500), ({"park_seconds": math.inf}, 10 * DAY)):
            async with Engine(clock=clock, **options) as engine:  # type: ignore[arg-type]  # one option or none
                execution = await begin(engine, machine(("Nap", nap(seconds))))
                await asyncio.sleep(seconds - 1)
                assert engine.running(execution.arn) is not None
                assert await execution.result() == {}

    run(main)


def test_what_is_parked_leaves_nothing_in_memory() -> None:
    async def main(clock: VirtualClock) -> None:
        before = runs_in_memory()
        desk = Desk()
        engine = Engine(clock=clock)
        engine.register("ask", desk.ask)
        async with engine:
            both = parallel(machine(("Ask", ask())), machine(("Nap", nap(5 * DAY))), next="Long")
            definition = machine(("Both", both), ("Long", nap(DAY)))
            await engine.create_state_machine("machine", definition)
            for number in range(20):
                await engine.start("machine", number)
            await asyncio.sleep(300)
            assert await engine.store.parked_count() == 20
            assert runs_in_memory() == before
            assert len(asyncio.all_tasks()) < 12
            for token in desk.tokens:
                await engine.tasks.succeed(token, 1)
            await engine.join()
            assert runs_in_memory() == before
            assert {info.status for info in await engine.list_executions()} == {"SUCCEEDED"}

    run(main)


def test_list_describe_and_history_of_what_is_parked_show_it_running(open_store: OpenStore) -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(open_store(clock), clock=clock) as engine:
            execution = await begin(engine, machine(("Long", nap(DAY))))
            await asyncio.sleep(1)
            assert (await execution.describe()).status == "RUNNING"
            assert [info.arn for info in await engine.list_executions(status="RUNNING")] == [execution.arn]
            assert await types(execution) == ["ExecutionStarted", "WaitStateEntered"]
            assert await is_parked(engine, execution)  # looking wakes nobody

    run(main)


def test_whoever_waits_for_the_result_keeps_the_execution_live(open_store: OpenStore) -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(open_store(clock), clock=clock) as engine:
            execution = await begin(engine, machine(("Long", nap(DAY, "Then")), ("Then", nap(DAY))))
            await asyncio.sleep(100)
            assert await is_parked(engine, execution)
            with pytest.raises(TimeoutError):
                await execution.result(timeout=1000)
            assert engine.running(execution.arn) is not None
            await asyncio.sleep(61)
            assert await is_parked(engine, execution)  # nobody waits any more
            started_at = (await execution.describe()).started_at
            results = await asyncio.gather(*(execution.result() for _ in range(5)))
            assert results == [{}] * 5
            assert clock.now() == started_at + 2 * DAY

    run(main)


def test_following_events_takes_it_back_and_sees_each_once(open_store: OpenStore) -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(open_store(clock), clock=clock) as engine:
            execution = await begin(engine, machine(("Long", nap(DAY, "Then")), ("Then", nap(DAY))))
            await asyncio.sleep(100)
            seen = [event["id"] async for event in execution.events()]
            assert seen == [1, 2, 3, 4, 5, 6]

    run(main)


def test_a_follower_who_goes_away_lets_it_be_parked_again() -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock) as engine:
            execution = await begin(engine, machine(("Long", nap(DAY))))
            await asyncio.sleep(1)

            async def follow() -> None:
                async for _ in execution.events():
                    pass

            following = asyncio.create_task(follow())
            await asyncio.sleep(500)
            assert engine.running(execution.arn) is not None
            following.cancel()
            await asyncio.wait([following])
            await asyncio.sleep(100)
            assert await is_parked(engine, execution)

    run(main)


# --- deadlines -------------------------------------------------------------------------------------------------------


def test_the_timeout_of_a_parked_execution_is_exact(open_store: OpenStore) -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(open_store(clock), clock=clock) as engine:
            execution = await begin(engine, {**machine(("Long", nap(DAY))), "TimeoutSeconds": 7000})
            await asyncio.sleep(100)
            assert (await row_of(engine, execution)).wake_at == (await row_of(engine, execution)).started_at + 7000
            await asyncio.sleep(6950)
            info = await execution.describe()
            assert (info.status, info.stopped_at) == ("TIMED_OUT", info.started_at + 7000)

    run(main)


def test_a_deadline_that_passed_while_nobody_ran_it_counts_when_somebody_does(open_store: OpenStore) -> None:
    async def first(clock: VirtualClock) -> None:
        async with Engine(open_store(clock), clock=clock) as engine:
            execution = await begin(engine, {**machine(("Long", nap(DAY))), "TimeoutSeconds": 7000})
            await asyncio.sleep(100)
            assert await is_parked(engine, execution)

    async def second(clock: VirtualClock) -> None:
        async with Engine(open_store(clock), clock=clock) as engine:
            await engine.join()
            [info] = await engine.list_executions()
            assert (info.status, info.stopped_at) == ("TIMED_OUT", info.started_at + 7000)

    run(first)
    run(second, start_at=1735689600.0 + 20_000)


def test_a_retry_delay_is_parked_and_counts_on(open_store: OpenStore) -> None:
    async def main(clock: VirtualClock) -> None:
        calls: list[float] = []

        def work(event: Any) -> None:
            calls.append(clock.now())
            raise TaskFailed("Flaky", "again")

        engine = Engine(open_store(clock), clock=clock)
        engine.register("work", work)
        async with engine:
            retry: Json = [{"ErrorEquals": ["Flaky"], "IntervalSeconds": 1000, "MaxAttempts": 2, "BackoffRate": 2.0}]
            execution = await begin(engine, machine(("Work", task("work", Retry=retry))))
            await asyncio.sleep(500)
            assert await is_parked(engine, execution)
            await engine.join()
            assert (await execution.describe()).status == "FAILED"
            assert [at - calls[0] for at in calls] == [0, 1000, 3000]

    run(main)


# --- tokens ----------------------------------------------------------------------------------------------------------


def test_a_callback_is_parked_when_it_has_lasted_and_the_answer_wakes_it(open_store: OpenStore) -> None:
    async def main(clock: VirtualClock) -> None:
        desk = Desk()
        engine = Engine(open_store(clock), clock=clock)
        engine.register("ask", desk.ask)
        async with engine:
            execution = await begin(engine, machine(("Ask", ask())))
            await asyncio.sleep(50)
            assert engine.running(execution.arn) is not None
            await asyncio.sleep(20)
            assert await is_parked(engine, execution)
            assert (await row_of(engine, execution)).wake_at > clock.now() + 300 * DAY  # its execution's own deadline
            await asyncio.sleep(20 * DAY)
            await engine.tasks.succeed(desk.tokens[0], {"yes": 1})
            assert await execution.result() == {"yes": 1}
            assert len(desk.tokens) == 1

    run(main)


def test_a_callback_times_out_while_it_is_parked_and_its_token_with_it(open_store: OpenStore) -> None:
    async def main(clock: VirtualClock) -> None:
        desk = Desk()
        engine = Engine(open_store(clock), clock=clock)
        engine.register("ask", desk.ask)
        async with engine:
            execution = await begin(engine, machine(("Ask", ask(TimeoutSeconds=5000))))
            await engine.join()
            info = await execution.describe()
            assert (info.status, info.error, info.stopped_at) == ("FAILED", "States.Timeout", info.started_at + 5000)
            with pytest.raises(Exception, match="Task Timed Out"):
                await engine.tasks.succeed(desk.tokens[0], 1)

    run(main)


def test_a_callback_with_heartbeats_is_never_parked() -> None:
    async def main(clock: VirtualClock) -> None:
        desk = Desk()
        engine = Engine(clock=clock)
        engine.register("ask", desk.ask)
        async with engine:
            execution = await begin(engine, machine(("Ask", ask(HeartbeatSeconds=1000))))
            await asyncio.sleep(900)
            assert engine.running(execution.arn) is not None
            assert (await end_of(execution))[0] == "FAILED"

    run(main)


def test_an_activity_that_waits_for_a_worker_is_parked_and_the_worker_wakes_it(open_store: OpenStore) -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(open_store(clock), clock=clock) as engine:
            await engine.activities.create("sign")
            execution = await begin(engine, machine(("Sign", sign())), {"id": 7})
            await asyncio.sleep(100)
            assert await is_parked(engine, execution)
            work = await engine.activities.poll("sign", "me", 10)
            assert work is not None
            assert work.input == {"id": 7}
            await asyncio.sleep(100)
            assert await is_parked(engine, execution)
            assert (await types(execution))[-1] == "ActivityStarted"
            await engine.tasks.succeed(work.token, "signed")
            assert await execution.result() == "signed"

    run(main)


def test_an_answer_that_comes_while_the_execution_is_being_parked_wakes_it() -> None:
    async def main(clock: VirtualClock) -> None:
        desk = Desk()
        answers: list[asyncio.Task[None]] = []
        store = FaultyStore(MemoryStore())
        engine = Engine(store, clock=clock)
        engine.register("ask", desk.ask)

        def answer() -> None:
            answers.append(asyncio.create_task(engine.tasks.succeed(desk.tokens[0], "just then")))

        async with engine:
            execution = await begin(engine, machine(("Ask", ask())))
            await asyncio.sleep(30)
            store._at[store.commits + 1] = answer  # the next commit is the one that parks it
            await asyncio.sleep(40)
            await engine.join()
            assert answers
            assert await execution.result() == "just then"
            assert len(desk.tokens) == 1

    run(main)


# --- fan-outs --------------------------------------------------------------------------------------------------------


def test_a_fan_out_whose_branches_all_wait_is_parked_whole_and_goes_on_in_order(open_store: OpenStore) -> None:
    async def main(clock: VirtualClock) -> None:
        calls: list[Any] = []

        async def work(event: Any) -> Any:
            calls.append(event)
            await asyncio.sleep(5)
            return event

        engine = Engine(open_store(clock), clock=clock)
        engine.register("work", work)
        async with engine:
            item = machine(("Nap", {"Type": "Wait", "SecondsPath": "$", "Next": "Work"}), ("Work", task("work")))
            execution = await begin(engine, machine(("Items", each(item, 2))), [3000, 1000, 2000, 500])
            await asyncio.sleep(100)
            assert await is_parked(engine, execution)
            row = await row_of(engine, execution)
            assert row.wake_at == row.started_at + 1000
            await asyncio.sleep(1000)
            assert await is_parked(engine, execution)  # 1000 is done, 2000 has begun beside 3000
            assert calls == [1000]
            await engine.join()
            assert calls == [1000, 3000, 2000, 500]
            assert await execution.result() == [3000, 1000, 2000, 500]
            ids = [event["id"] for event in await execution.history()]
            assert ids == list(range(1, len(ids) + 1))

    run(main)


def test_nothing_is_parked_while_a_branch_works() -> None:
    async def main(clock: VirtualClock) -> None:
        async def work(event: Any) -> None:
            await asyncio.sleep(1000)

        engine = Engine(clock=clock)
        engine.register("work", work)
        async with engine:
            branches = parallel(machine(("Nap", nap(DAY))), machine(("Work", task("work"))))
            execution = await begin(engine, machine(("Both", branches)))
            await asyncio.sleep(990)
            assert engine.running(execution.arn) is not None
            await asyncio.sleep(80)
            assert await is_parked(engine, execution)

    run(main)


# --- what is asked of it ---------------------------------------------------------------------------------------------


def test_stopping_what_is_parked_ends_it_at_once_and_it_can_be_redriven(open_store: OpenStore) -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(open_store(clock), clock=clock) as engine:
            execution = await begin(engine, machine(("Long", nap(DAY))))
            await asyncio.sleep(100)
            await execution.stop("Enough", "of it")
            info = await execution.describe()
            assert (info.status, info.error, info.stopped_at) == ("ABORTED", "Enough", info.started_at + 100)
            assert (await types(execution))[-1] == "ExecutionAborted"
            assert await engine.store.parked_count() == 0
            await execution.redrive()
            await engine.join()
            assert (await execution.describe()).status == "SUCCEEDED"

    run(main)


def test_pause_holds_a_parked_execution_at_the_end_of_its_wait_until_it_is_resumed(open_store: OpenStore) -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(open_store(clock), clock=clock) as engine:
            execution = await begin(engine, machine(("Long", nap(1000, "Then")), ("Then", nap(500))))
            await asyncio.sleep(100)
            await execution.pause()
            await asyncio.sleep(100)
            assert await is_parked(engine, execution)
            assert (await row_of(engine, execution)).paused
            await asyncio.sleep(5000)
            assert (await types(execution))[-1] == "WaitStateExited"  # the wait has ended as it should
            assert await is_parked(engine, execution)
            await execution.resume()
            info = await execution.describe()
            await engine.join()
            info = await execution.describe()
            assert (info.status, info.stopped_at) == ("SUCCEEDED", info.started_at + 5200 + 500)

    run(main)


def test_a_paused_execution_that_waits_for_nothing_else_is_parked_and_times_out_there(open_store: OpenStore) -> None:
    async def main(clock: VirtualClock) -> None:
        engine = Engine(open_store(clock), clock=clock)
        engine.register("work", lambda event: "done")
        async with engine:
            two = {**machine(("Nap", nap(5, "Work")), ("Work", task("work"))), "TimeoutSeconds": 90_000}
            execution = await begin(engine, two)
            await execution.pause()
            await asyncio.sleep(200)
            assert await is_parked(engine, execution)
            await engine.join()
            info = await execution.describe()
            assert (info.status, info.stopped_at) == ("TIMED_OUT", info.started_at + 90_000)

    run(main)


# --- engines ---------------------------------------------------------------------------------------------------------


def test_the_next_engine_wakes_what_the_last_one_parked_and_nothing_earlier(open_store: OpenStore) -> None:
    async def first(clock: VirtualClock) -> None:
        async with Engine(open_store(clock), clock=clock) as engine:
            await engine.create_state_machine("machine", machine(("Long", nap(DAY))))
            for number in range(5):
                await engine.start("machine", number, name=f"x{number}")
                await asyncio.sleep(10)

    async def second(clock: VirtualClock) -> None:
        async with Engine(open_store(clock), clock=clock) as engine:
            assert await engine.store.parked_count() == 5
            assert await engine._running().join() is None
            infos = await engine.list_executions()
            assert {info.status for info in infos} == {"SUCCEEDED"}
            assert {info.stopped_at - info.started_at for info in infos if info.stopped_at} == {DAY}

    run(first)
    run(second, start_at=1735689600.0 + 1000)


def test_two_engines_on_one_database_wake_each_execution_once(open_store: OpenStore) -> None:
    async def main(clock: VirtualClock) -> None:
        store = open_store(clock)
        calls: list[int] = []

        def engine() -> Engine:
            made = Engine(open_store(clock) if isinstance(store, SqliteStore) else store, clock=clock)
            made.register("work", calls.append)
            return made

        async with engine() as one, engine() as two:
            await one.create_state_machine("machine", machine(("Long", nap(1000, "Work")), ("Work", task("work"))))
            for number in range(30):
                await (one, two)[number % 2].start("machine", number)
            await asyncio.sleep(100)
            assert await one.store.parked_count() == 30
            await asyncio.gather(one.join(), two.join())
            assert sorted(calls) == list(range(30))
            assert {info.status for info in await two.list_executions()} == {"SUCCEEDED"}

    run(main)


def test_a_living_engine_wakes_what_another_parked_before_it_left(open_store: OpenStore) -> None:
    async def main(clock: VirtualClock) -> None:
        store = open_store(clock)
        async with Engine(store, clock=clock) as stays:
            await stays.create_state_machine("machine", machine(("Long", nap(1000))))
            other = open_store(clock) if isinstance(store, SqliteStore) else store
            async with Engine(other, clock=clock) as leaves:
                execution = await leaves.start("machine")
                await asyncio.sleep(10)
            await stays.join()
            info = await (await stays.execution(execution.arn)).describe()
            assert (info.status, info.stopped_at) == ("SUCCEEDED", info.started_at + 1000)

    run(main)


def test_an_engine_that_does_not_resume_takes_nothing_over_unless_it_is_asked(open_store: OpenStore) -> None:
    async def first(clock: VirtualClock) -> None:
        async with Engine(open_store(clock), clock=clock) as engine:
            await begin(engine, machine(("Long", nap(1000))), name="parked")
            await engine.create_state_machine("short", machine(("Short", nap(50))))
            await engine.start("short", name="left")
            await asyncio.sleep(1)

    async def second(clock: VirtualClock) -> None:
        async with Engine(open_store(clock), clock=clock, resume=False) as engine:
            mine = await engine.start("machine", name="mine")
            await asyncio.sleep(300)
            assert engine.running(mine.arn) is not None  # nobody would wake it here
            await engine.join()
            infos = {info.name: info.status for info in await engine.list_executions()}
            assert infos == {"parked": "RUNNING", "left": "RUNNING", "mine": "SUCCEEDED"}
            parked = await engine.execution(mine.arn.replace(":mine", ":parked"))
            assert await parked.result() == {}
            infos = {info.name: info.status for info in await engine.list_executions()}
            assert infos == {"parked": "SUCCEEDED", "left": "RUNNING", "mine": "SUCCEEDED"}

    run(first)
    run(second, start_at=1735689600.0 + 10)


def test_an_engine_that_is_fenced_while_it_parks_leaves_it_to_the_other() -> None:
    async def main(clock: VirtualClock) -> None:
        store = FaultyStore(MemoryStore(), fence_at=2)
        async with Engine(store, clock=clock) as engine:
            execution = await begin(engine, machine(("Long", nap(1000))))
            await asyncio.sleep(10)
            assert store.usurper is not None
            assert engine.running(execution.arn) is None
            assert (await row_of(engine, execution)).owner == store.usurper.id
            await store.retire_engine(store.usurper)
        async with Engine(store, clock=clock) as engine:
            assert await (await engine.execution(execution.arn)).result() == {}

    run(main)


@pytest.mark.parametrize("number", [2, 3])
def test_a_parking_that_the_store_refuses_leaves_the_execution_as_it_was(number: int) -> None:
    async def main(clock: VirtualClock) -> None:
        store = FaultyStore(MemoryStore(), refuse=[number])
        async with Engine(store, clock=clock) as engine:
            execution = await begin(engine, machine(("Long", nap(1000, "Longer")), ("Longer", nap(1000))))
            await asyncio.sleep(1001)
            assert (await execution.describe()).status == "RUNNING"
        async with Engine(store, clock=clock) as engine:
            await engine.join()
            assert (await execution_of(engine)).status == "SUCCEEDED"

    async def execution_of(engine: Engine) -> ExecutionInfo:
        [info] = await engine.list_executions()
        return info

    run(main)


# --- observers -------------------------------------------------------------------------------------------------------


def test_parking_is_no_change_of_status_and_waking_is_no_second_start() -> None:
    class Notes(Observer):
        def __init__(self) -> None:
            self.told: list[str] = []

        def status_changed(self, execution: ExecutionInfo) -> None:
            self.told.append(execution.status)

        def execution_parked(self, execution: ExecutionInfo, error: BaseException | None, at: float) -> None:
            assert error is None
            self.told.append("parked")

        def execution_resumed(self, execution: ExecutionInfo, at: float) -> None:
            self.told.append("resumed")

    async def main(clock: VirtualClock) -> None:
        notes = Notes()
        async with Engine(clock=clock, observers=[notes]) as engine:
            await begin(engine, machine(("Long", nap(1000, "Longer")), ("Longer", nap(1000))))
            await engine.join()
        assert notes.told == ["RUNNING", "parked", "resumed", "parked", "resumed", "SUCCEEDED"]

    run(main)


# --- crashes ---------------------------------------------------------------------------------------------------------

LONG_WAITS = Workflow(
    "Waits in a Parallel, beside a Map with long retry delays and a wait in each iteration",
    machine(
        ("First", nap(5000, "Both")),
        (
            "Both",
            parallel(
                machine(("Nap", nap(40_000, "After")), ("After", task("after"))),
                machine(
                    (
                        "Items",
                        each(
                            machine(
                                ("Work", task("work", "Rest", Retry=[{**RETRY[0], "IntervalSeconds": 3000}])),  # type: ignore[index,dict-item]
                                ("Rest", nap(7000)),
                            ),
                            2,
                        ),
                    )
                ),
                next="Last",
            ),
        ),
        ("Last", task("last", Parameters={"all.$": "$"})),
    ),
    [1, 2, 3],
    lambda state, payload, attempt: (
        Reply(error="Flaky") if state == "Work" and payload == 2 and attempt == 0 else Reply({"state": state})
    ),
)


def lives_until_the_end(store: MemoryStore, lives: list[Life], **options: Any) -> list[Life]:
    return [*lives, live_on(LONG_WAITS, store, lives[-1], **options)]


def test_the_waits_of_the_machine_that_is_made_to_crash_are_parked_indeed() -> None:
    reference = undisturbed(LONG_WAITS, park_seconds=600, waits=False)
    assert reference.end is not None
    assert reference.end[0] == "SUCCEEDED"
    assert reference.parks >= 5
    assert undisturbed(LONG_WAITS, park_seconds=math.inf).end == reference.end


@pytest.mark.parametrize("when", ["crash_before", "crash_after"])
def test_a_process_that_dies_at_any_commit_is_followed_by_one_that_finishes(when: str) -> None:
    options: Any = {"park_seconds": 600, "waits": False}
    reference = undisturbed(LONG_WAITS, **options)
    for number in range(1, reference.commits + 1):
        store = MemoryStore()
        first = live(LONG_WAITS, store, **{when: number}, **options)
        assert first.died
        check(reference, lives_until_the_end(store, [first], **options))


def test_a_process_that_dies_while_it_recovers_is_followed_by_another() -> None:
    options: Any = {"park_seconds": 600, "waits": False}
    reference = undisturbed(LONG_WAITS, **options)
    for first_at in range(1, reference.commits + 1, 2):
        for second_at in range(1, reference.commits - first_at + 2, 2):
            store = MemoryStore()
            first = live(LONG_WAITS, store, crash_after=first_at, **options)
            second = live_on(LONG_WAITS, store, first, crash_after=second_at, **options)
            lives = [first, second]
            if second.died:
                lives = lives_until_the_end(store, lives, **options)
            check(reference, lives)


def test_stopping_at_any_commit_ends_it_and_nothing_follows() -> None:
    options: Any = {"park_seconds": 600, "waits": False}
    reference = undisturbed(LONG_WAITS, **options)
    for number in range(2, reference.commits):
        life = live(LONG_WAITS, MemoryStore(), stop_at=number, **options)
        assert life.end == ("ABORTED", ["Stopped", "by the test"])
        assert life.history[-1]["type"] == "ExecutionAborted"
        assert [event["id"] for event in life.history] == list(range(1, len(life.history) + 1))


@pytest.mark.parametrize("event", ["leave_at", "pause_at"])
def test_leaving_or_pausing_at_any_commit_changes_nothing_that_is_done(event: str) -> None:
    options: Any = {"park_seconds": 600, "waits": False}
    reference = undisturbed(LONG_WAITS, **options)
    for number in range(2, reference.commits + 1):
        store = MemoryStore()
        first = live(LONG_WAITS, store, **{event: number}, **options)
        lives = [first]
        if first.end is None:
            lives.append(live_on(LONG_WAITS, store, first, resume=True, **options))
        check(reference, lives)


# --- crashes with callbacks ------------------------------------------------------------------------------------------

CALLBACKS = machine(
    (
        "Both",
        parallel(
            machine(("Nap", nap(4000))),
            machine(
                (
                    "Items",
                    each(
                        machine(
                            (
                                "Work",
                                task(
                                    "work",
                                    "Ask",
                                    Retry=[{"ErrorEquals": ["Flaky"], "IntervalSeconds": 3000, "MaxAttempts": 2}],
                                ),
                            ),
                            ("Ask", ask("Rest", ResultPath="$.answer")),
                            ("Rest", nap(700)),
                        ),
                        2,
                    ),
                )
            ),
        ),
    ),
)


class People:
    """Whoever answers the tokens, 2000 seconds after each was given, in whichever engine there is then."""

    def __init__(self) -> None:
        self.answers: dict[str, Json] = {}  # by token
        self.done: set[str] = set()

    async def answer(self, engine: Engine, clock: VirtualClock) -> None:
        while True:
            for token in [token for token in self.answers if token not in self.done]:
                await clock.sleep_until(clock.now() + 2000)
                with suppress(TaskTimedOut):  # the process died before it could say that the answer counts
                    await engine.tasks.succeed(token, self.answers[token])
                self.done.add(token)
            await clock.sleep_until(clock.now() + 300)

    def ask(self, event: dict[str, Any]) -> None:
        self.answers[event["token"]] = {"for": event["input"]["n"]}

    def work(self, event: dict[str, int], context: TaskContext) -> Json:
        if event["n"] == 2 and context.attempt == 0:
            raise TaskFailed("Flaky", "once")
        return {"n": event["n"]}


def _callback_life(store: Store, people: People, start_at: float, **faults: Any) -> tuple[float, int, int]:
    """One process; when it was over, how many commits it wrote, and how often it parked the execution."""

    async def main(clock: VirtualClock) -> tuple[float, int, int]:
        faulty = CountingStore(store, **faults)

        async def work() -> None:
            engine = Engine(faulty, clock=clock, park_seconds=200)
            engine.register("ask", people.ask)
            engine.register("work", people.work)
            async with engine:
                await engine.create_state_machine("machine", CALLBACKS)
                if not await engine.list_executions():
                    await engine.start("machine", [{"n": 1}, {"n": 2}, {"n": 3}], name="x")
                answering = asyncio.create_task(people.answer(engine, clock))
                await engine.join()
                answering.cancel()

        working = asyncio.create_task(work())
        crash = asyncio.create_task(faulty.crashed.wait())
        await asyncio.wait({working, crash}, return_when=asyncio.FIRST_COMPLETED)
        crash.cancel()
        if not faulty.crashed.is_set():
            working.result()
        return clock.now(), faulty.commits, faulty.parks

    return run(main, start_at=start_at)


def _callback_end(store: Store) -> tuple[str, Json, Counter[str]]:
    """How the execution ended, and how many events of each type it has."""

    async def main(clock: VirtualClock) -> tuple[str, Json, Counter[str]]:
        async with Engine(store, clock=clock, resume=False) as engine:
            [info] = await engine.list_executions()
            events = await (await engine.execution(info.arn)).history()
            assert [event["id"] for event in events] == list(range(1, len(events) + 1))
            assert await store.parked_count() == 0
            return info.status, info.output, Counter(str(event["type"]) for event in events)

    return run(main)


@pytest.mark.parametrize("when", ["crash_before", "crash_after"])
def test_callbacks_retries_and_waits_in_branches_survive_a_crash_at_any_commit_and_another_behind_it(when: str) -> None:
    store, at = MemoryStore(), 1735689600.0
    _, commits, parks = _callback_life(store, People(), at)
    reference = _callback_end(store)
    assert reference[0] == "SUCCEEDED"
    assert parks >= 4
    for number in range(1, commits + 1):
        store, people = MemoryStore(), People()
        over_at, _, _ = _callback_life(store, people, at, **{when: number})
        over_at, _, _ = _callback_life(store, people, over_at + 100, crash_after=1 + number % 5)
        _callback_life(store, people, over_at + 100)
        assert _callback_end(store) == reference
