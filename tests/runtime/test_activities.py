"""Activities: a queue of work, workers that poll it, and Tasks whose clocks begin when somebody has taken theirs."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from asfn._json import Json, JsonObject
from asfn.engine import Engine
from asfn.errors import (
    ActivityDoesNotExist,
    EngineClosed,
    InvalidArn,
    InvalidName,
    InvalidParameter,
    TaskTimedOut,
)
from asfn.runtime.activities import ActivityTask
from asfn.store.memory import MemoryStore
from asfn.store.protocol import Store
from asfn.store.sqlite import SqliteStore
from asfn.testing.faults import FaultyStore
from asfn.testing.loop import DEFAULT_START_AT, VirtualClock, run
from tests.runtime.callbacks import ACTIVITY, REGION, end_of, links, machine, sign, start, types

ROOT = Path(__file__).parents[2]
ARN = f"{REGION}execution:machine:x"


def elapsed(clock: VirtualClock) -> float:
    return clock.now() - DEFAULT_START_AT


async def take(engine: Engine, worker_name: str | None = None) -> ActivityTask:
    task = await engine.activities.poll("sign", worker_name)
    assert task is not None
    return task


# --- work ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("worker_name", ["w 1", None])
def test_a_worker_takes_the_input_and_gives_the_result(worker_name: str | None) -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock) as engine:
            await engine.activities.create("sign")
            execution = await start(engine, machine(("Sign", sign("After")), ("After", {"Type": "Succeed"})), {"id": 7})
            task = await take(engine, worker_name)
            assert (task.input, task.input_text, task.activity_arn) == ({"id": 7}, '{"id":7}', ACTIVITY)
            await engine.tasks.succeed(task.token, {"signed": 7})
            assert await execution.result() == {"signed": 7}
            assert (await links(execution))[:6] == [
                "1<0 ExecutionStarted",
                "2<0 TaskStateEntered",
                "3<2 ActivityScheduled",
                "4<3 ActivityStarted",
                "5<4 ActivitySucceeded",
                "6<5 TaskStateExited",
            ]
            history = await execution.history()
            assert history[2]["activityScheduledEventDetails"] == {
                "resource": ACTIVITY,
                "input": '{"id":7}',
                "inputDetails": {"truncated": False},
            }
            assert history[3]["activityStartedEventDetails"] == (
                {} if worker_name is None else {"workerName": worker_name}
            )

    run(main)


def test_a_worker_may_fail_the_task_and_a_retry_queues_it_again() -> None:
    retry: Json = [{"ErrorEquals": ["Smudged"], "IntervalSeconds": 5, "MaxAttempts": 1}]

    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock) as engine:
            await engine.activities.create("sign")
            execution = await start(engine, machine(("Sign", sign(Retry=retry))))
            first = await take(engine)
            await engine.tasks.fail(first.token, "Smudged", "ink")
            second = await take(engine)
            assert second.token != first.token
            with pytest.raises(TaskTimedOut):
                await engine.tasks.succeed(first.token)
            await engine.tasks.fail(second.token, "Smudged", "again")
            assert await end_of(execution) == ("FAILED", ["Smudged", "again"])
            assert (await types(execution))[2:] == [
                *("ActivityScheduled", "ActivityStarted", "ActivityFailed"),
                *("ActivityScheduled", "ActivityStarted", "ActivityFailed", "ExecutionFailed"),
            ]

    run(main)


def test_a_worker_of_another_engine_on_the_same_store_hears_of_work_at_once() -> None:
    async def main(clock: VirtualClock) -> None:
        store = MemoryStore()
        async with Engine(store, clock=clock) as one, Engine(store, clock=clock) as other:
            await one.activities.create("sign")
            polling = asyncio.create_task(take(other))
            await asyncio.sleep(1)
            execution = await start(one, machine(("Sign", sign())))
            task = await polling
            assert elapsed(clock) == 1
            await other.tasks.succeed(task.token, "signed")
            assert await execution.result() == "signed"

    run(main)


def test_work_leaves_the_queue_for_good_when_it_was_taken() -> None:
    async def main(clock: VirtualClock) -> None:
        store = MemoryStore()
        async with Engine(store, clock=clock) as engine:
            await engine.activities.create("sign")
            execution = await start(engine, machine(("Sign", sign())))
            task = await take(engine)
            await asyncio.sleep(1)
            assert (await types(execution))[-1] == "ActivityStarted"
            assert (store._work, store._queues, store._news) == ({}, {}, {})
            assert (await store.tokens([task.token]))[0].state == "open"  # type: ignore[union-attr]
            await execution.stop()

    run(main)


@pytest.mark.parametrize("answers", [False, True])
def test_work_may_be_taken_and_done_before_its_own_engine_knows_that_it_is_queued(answers: bool) -> None:
    class SlowStore(MemoryStore):
        async def apply(self, engine: Any, commits: Any) -> Any:
            written = await super().apply(engine, commits)
            await asyncio.sleep(5)  # written, and not acknowledged yet
            return written

    async def main(clock: VirtualClock) -> None:
        async with Engine(SlowStore(), clock=clock) as engine:
            await engine.activities.create("sign")
            execution = await start(engine, machine(("Sign", sign(TimeoutSeconds=30))))
            task = None
            while task is None:
                task = await engine.activities.poll("sign", "w", 0.1)
            if answers:
                await engine.tasks.succeed(task.token, "ok")
                assert await end_of(execution) == ("SUCCEEDED", "ok")
            else:
                assert await end_of(execution) == ("FAILED", ["States.Timeout", None])
            assert (await types(execution)).count("ActivityStarted") == 1

    run(main)


def test_a_poll_waits_for_work_that_comes_later() -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock) as engine:
            await engine.activities.create("sign")
            polling = asyncio.ensure_future(take(engine))
            await clock.sleep_until(clock.now() + 50)
            await start(engine, machine(("Sign", sign())), 1)
            assert (await polling).input == 1
            assert elapsed(clock) == 50

    run(main)


def test_a_poll_ends_with_nothing_after_its_time() -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock) as engine:
            await engine.activities.create("sign")
            assert await engine.activities.poll("sign") is None
            assert elapsed(clock) == 60
            assert await engine.activities.poll(ACTIVITY, wait_seconds=2.5) is None
            assert await engine.activities.poll("sign", wait_seconds=0) is None
            assert elapsed(clock) == 62.5

    run(main)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@pytest.mark.parametrize("seed", range(4))
def test_many_workers_get_each_piece_of_work_once(seed: int, kind: str, tmp_path: Path) -> None:
    draw = random.Random(seed)

    async def main(clock: VirtualClock) -> None:
        store: Store = MemoryStore() if kind == "memory" else SqliteStore(tmp_path / "x.db", off_loop=clock.off_loop)
        done: list[Json] = []

        async def work(engine: Engine, name: str) -> None:
            while (task := await engine.activities.poll("sign", name, 100)) is not None:
                await clock.sleep_until(clock.now() + draw.random() * 10)
                done.append(task.input)
                await engine.tasks.succeed(task.token, task.input)

        async with Engine(store, clock=clock) as engine:
            await engine.activities.create("sign")
            each: JsonObject = {"Type": "Map", "ItemProcessor": machine(("Sign", sign())), "End": True}
            await engine.create_state_machine("machine", machine(("Each", each)))
            workers = [asyncio.ensure_future(work(engine, f"w{number}")) for number in range(30)]
            await asyncio.sleep(1)
            executions = [await engine.start("machine", [n * 10 + i for i in range(10)]) for n in range(12)]
            for n, execution in enumerate(executions):
                assert await execution.result() == [n * 10 + i for i in range(10)]
            await asyncio.gather(*workers)
            assert Counter(done) == Counter(range(120))

    run(main, seed=seed)


def test_a_poll_that_is_cancelled_takes_nothing() -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock) as engine:
            await engine.activities.create("sign")
            polling = [asyncio.ensure_future(take(engine, f"w{number}")) for number in range(3)]
            await asyncio.sleep(5)
            polling[0].cancel()
            await start(engine, machine(("Sign", sign())), 1)
            polling[1].cancel()
            assert (await polling[2]).input == 1

    run(main)


@pytest.mark.parametrize("turns", range(12))
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_work_taken_for_a_worker_that_went_away_is_given_to_the_next(turns: int, kind: str, tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        store: Store = MemoryStore() if kind == "memory" else SqliteStore(tmp_path / "x.db", off_loop=clock.off_loop)
        async with Engine(store, clock=clock) as engine:
            await engine.activities.create("sign")
            execution = await start(engine, machine(("Sign", sign())), 1)
            await asyncio.sleep(1)
            going = asyncio.ensure_future(take(engine, "gone"))
            for _ in range(turns):  # cancelled at every step of the taking
                await asyncio.sleep(0)
            going.cancel()
            await asyncio.wait([going])
            task = (await take(engine, "next")) if going.cancelled() else going.result()
            await engine.tasks.succeed(task.token, "ok")
            assert await execution.result() == "ok"
            assert (await types(execution)).count("ActivityStarted") == 1

    run(main)


# --- clocks ----------------------------------------------------------------------------------------------------------


def test_timeout_seconds_begins_when_a_worker_takes_the_work() -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock) as engine:
            await engine.activities.create("sign")
            execution = await start(engine, machine(("Sign", sign(TimeoutSeconds=10, HeartbeatSeconds=5))))
            await clock.sleep_until(clock.now() + 86_400)
            task = await take(engine, "w")
            await clock.sleep_until(clock.now() + 4)
            await engine.tasks.heartbeat(task.token)
            await clock.sleep_until(clock.now() + 4)
            await engine.tasks.heartbeat(task.token)
            assert await end_of(execution) == ("FAILED", ["States.Timeout", None])
            assert elapsed(clock) == 86_410
            history = await execution.history()
            assert history[2]["activityScheduledEventDetails"]["timeoutInSeconds"] == 10
            assert history[2]["activityScheduledEventDetails"]["heartbeatInSeconds"] == 5
            assert [event["type"] for event in history][3:] == [
                *("ActivityStarted", "ActivityTimedOut", "ExecutionFailed"),
            ]
            with pytest.raises(TaskTimedOut):
                await engine.tasks.succeed(task.token)

    run(main)


def test_a_worker_that_stops_beating_loses_its_task() -> None:
    definition = machine(
        (
            "Sign",
            sign(HeartbeatSeconds=5, Catch=[{"ErrorEquals": ["States.HeartbeatTimeout"], "Next": "Lost"}]),
        ),
        ("Lost", {"Type": "Succeed"}),
    )

    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock) as engine:
            await engine.activities.create("sign")
            execution = await start(engine, definition)
            task = await take(engine)
            for _ in range(10):
                await clock.sleep_until(clock.now() + 4)
                await engine.tasks.heartbeat(task.token)
            assert await execution.result() == {"Error": "States.Timeout", "Cause": ""}
            assert elapsed(clock) == 45

    run(main)


# --- activities that are not there, registrations --------------------------------------------------------------------


@pytest.mark.parametrize("deleted", [False, True])
def test_a_task_of_an_activity_that_does_not_exist_ends_the_execution(deleted: bool) -> None:
    state = sign(Catch=[{"ErrorEquals": ["States.ALL"], "Next": "No"}], Retry=[{"ErrorEquals": ["States.ALL"]}])

    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock) as engine:
            if deleted:
                await engine.activities.create("sign")
                await engine.activities.delete("sign")
            execution = await start(engine, machine(("Sign", state), ("No", {"Type": "Succeed"})))
            prefix = "An error occurred while executing the state 'Sign' (entered at the event id #2). "
            cause = f"{prefix}The activity {ACTIVITY} does not exist."
            assert await end_of(execution) == ("FAILED", ["States.Runtime", cause])
            assert await types(execution) == ["ExecutionStarted", "TaskStateEntered", "ExecutionFailed"]
            with pytest.raises(ActivityDoesNotExist) as caught:
                await engine.activities.poll("sign")
            assert str(caught.value) == f"Activity Does Not Exist: '{ACTIVITY}'"

    run(main)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_activities_are_created_once_described_listed_and_deleted(kind: str, tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        store: Store = MemoryStore() if kind == "memory" else SqliteStore(tmp_path / "x.db", off_loop=clock.off_loop)
        async with Engine(store, clock=clock) as engine:
            made = await engine.activities.create("sign")
            assert (made.arn, made.name, made.created_at) == (ACTIVITY, "sign", DEFAULT_START_AT)
            await clock.sleep_until(clock.now() + 10)
            assert await engine.activities.create("sign") == made
            elsewhere = "arn:aws:states:eu-west-1:999999999999:activity:file"
            foreign = await engine.activities.create(elsewhere)
            assert (foreign.arn, foreign.name) == (elsewhere, "file")
            assert await engine.activities.describe("sign") == made
            assert await engine.activities.describe(elsewhere) == foreign
            assert [info.name for info in await engine.activities.list()] == ["file", "sign"]
            await engine.activities.delete("sign")
            await engine.activities.delete(ACTIVITY)
            with pytest.raises(ActivityDoesNotExist):
                await engine.activities.describe("sign")
            assert [info.name for info in await engine.activities.list()] == ["file"]

    run(main)


@pytest.mark.parametrize("name", ["", "x" * 81, "a b", "a/b", "a,b", "a\x00"])
def test_a_bad_name_is_refused(name: str) -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock) as engine:
            with pytest.raises(InvalidName) as caught:
                await engine.activities.create(name)
            assert str(caught.value) == f"Invalid Name: '{name}'"

    run(main)


def test_other_arns_and_worker_names_that_are_too_long_are_refused() -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock) as engine:
            await engine.activities.create("sign")
            for arn in ("arn:aws:states:us-east-1:123456789012:stateMachine:sign", "arn:x", f"{ACTIVITY}:more"):
                with pytest.raises(InvalidArn):
                    await engine.activities.describe(arn)
            for worker_name in ("", "x" * 81, "\ud800"):
                with pytest.raises(InvalidParameter, match="workerName"):
                    await engine.activities.poll("sign", worker_name, 0)

    run(main)


def test_a_function_registered_for_an_activitys_arn_does_its_work() -> None:
    class Worker:
        async def submit(self, call: Any) -> Any:
            from asfn._json import Payload
            from asfn.tasks.protocol import Done

            return Done(Payload({"did": call.payload.value}))

        async def poll(self, call: Any, job: Any) -> Any: ...

        async def cancel(self, call: Any, job: Any) -> None: ...

    async def main(clock: VirtualClock) -> None:
        engine = Engine(clock=clock)
        engine.route(ACTIVITY, Worker())
        async with engine:
            execution = await start(engine, machine(("Sign", sign())), 1)
            assert await execution.result() == {"did": 1}
            assert (await types(execution))[2:5] == ["ActivityScheduled", "ActivityStarted", "ActivitySucceeded"]

    run(main)


# --- ends and restarts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("taken", [False, True])
def test_a_stopped_execution_takes_its_work_out_of_the_queue(taken: bool) -> None:
    async def main(clock: VirtualClock) -> None:
        store = MemoryStore()
        async with Engine(store, clock=clock) as engine:
            await engine.activities.create("sign")
            execution = await start(engine, machine(("Sign", sign())))
            await asyncio.sleep(1)
            task = await take(engine) if taken else None
            await execution.stop()
            assert await engine.activities.poll("sign", wait_seconds=0) is None
            assert (store._work, store._queues, store._news) == ({}, {}, {})
            if task is not None:
                with pytest.raises(TaskTimedOut):
                    await engine.tasks.succeed(task.token)

    run(main)


def test_leaving_the_engine_sends_waiting_workers_away() -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock) as engine:
            await engine.activities.create("sign")
            polling = [asyncio.ensure_future(take(engine)) for _ in range(3)]
            await asyncio.sleep(1)
        for poll in polling:
            with pytest.raises(EngineClosed):
                await poll
        with pytest.raises(EngineClosed):
            await engine.activities.poll("sign")

    run(main)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@pytest.mark.parametrize("taken", [False, True])
def test_queued_and_taken_work_outlives_the_engine(kind: str, taken: bool, tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        store: Store = MemoryStore() if kind == "memory" else SqliteStore(tmp_path / "x.db", off_loop=clock.off_loop)
        async with Engine(store, clock=clock) as engine:
            await engine.activities.create("sign")
            execution = await start(engine, machine(("Sign", sign(TimeoutSeconds=100))), 1)
            await asyncio.sleep(1)
            task = await take(engine, "w") if taken else None
        await clock.sleep_until(clock.now() + 50)
        async with Engine(store, clock=clock) as engine:
            execution = await engine.execution(execution.arn)
            if task is None:
                task = await take(engine, "w")
            await engine.tasks.succeed(task.token, "ok")
            assert await execution.result() == "ok"
            assert (await types(execution))[2:5] == ["ActivityScheduled", "ActivityStarted", "ActivitySucceeded"]

    run(main)


FLOW = machine(
    ("First", sign("Each", ResultPath="$.first")),
    (
        "Each",
        {
            "Type": "Map",
            "ItemsPath": "$.items",
            "ItemProcessor": machine(("Item", sign(Retry=[{"ErrorEquals": ["Flaky"]}]))),
            "End": True,
        },
    ),
)


class Worker:
    """A worker outside: it keeps what it took, in whatever engine, and answers until that counts or is refused."""

    def __init__(self) -> None:
        self.held: dict[str, Json] = {}
        self.failed = False

    async def work(self, engine: Engine, clock: VirtualClock) -> None:
        while True:
            for token, input in list(self.held.items()):
                try:
                    if input == 2 and not self.failed:
                        await engine.tasks.fail(token, "Flaky")
                        self.failed = True
                    else:
                        await engine.tasks.succeed(token, input)
                except TaskTimedOut:
                    self.failed = self.failed or input == 2
                del self.held[token]
            task = await engine.activities.poll("sign", "w", 5)
            if task is not None:
                self.held[task.token] = task.input
                await clock.sleep_until(clock.now() + 1)


def life(store: MemoryStore, worker: Worker, start_at: float, **faults: Any) -> tuple[int, bool, float, Json]:
    """One process with a worker: (commits, died, when it was over, output)."""

    async def main(clock: VirtualClock) -> tuple[int, bool, float, Json]:
        faulty = FaultyStore(store, **faults)

        async def work() -> Json:
            async with Engine(faulty, clock=clock) as engine:
                await engine.activities.create("sign")
                if await store.execution(ARN) is None:
                    execution = await start(engine, FLOW, {"items": [1, 2, 3]})
                else:
                    execution = await engine.execution(ARN)
                working = asyncio.ensure_future(worker.work(engine, clock))
                try:
                    return await execution.result()  # type: ignore[no-any-return]
                finally:
                    working.cancel()

        working, crash = asyncio.ensure_future(work()), asyncio.ensure_future(faulty.crashed.wait())
        await asyncio.wait({working, crash}, return_when=asyncio.FIRST_COMPLETED)
        died = faulty.crashed.is_set()
        crash.cancel()
        return faulty.commits, died, clock.now(), None if died else working.result()

    return run(main, start_at=start_at)


async def kinds(store: MemoryStore) -> Counter[str]:
    row = await store.execution(ARN)
    assert row is not None
    segments = await store.segments(row.key, limit=10_000)
    return Counter(part for segment in segments for part in segment.body.split('"') if part.startswith("Activity"))


@pytest.mark.parametrize("when", ["crash_before", "crash_after"])
def test_whichever_commit_a_process_dies_at_all_work_is_done_once(when: str) -> None:
    reference = MemoryStore()
    commits, _, _, output = life(reference, Worker(), DEFAULT_START_AT)
    assert output == [1, 2, 3]
    expected = asyncio.run(kinds(reference))
    lost = 0
    for number in range(1, commits + 1):
        store, worker = MemoryStore(), Worker()
        _, died, over_at, _ = life(store, worker, DEFAULT_START_AT, **{when: number})
        assert died
        taken = [row for row in store._tokens.values() if row.taken_at is not None and row.state == "open"]
        if any(row.token not in worker.held for row in taken):  # taken in the moment of the death: nobody has it
            lost += 1
            continue
        _, _, _, output = life(store, worker, over_at + 100)
        assert output == [1, 2, 3]
        assert asyncio.run(kinds(store)) == expected
        assert (store._work, store._queues, store._news) == ({}, {}, {})
    assert lost <= (5 if when == "crash_after" else 0)  # one for each time work was taken


# --- other processes -------------------------------------------------------------------------------------------------


@pytest.mark.real_time  # other processes, and the polling of the file
async def test_workers_in_other_processes_take_and_do_the_work(tmp_path: Path) -> None:
    path = tmp_path / "flows.db"
    async with Engine(f"sqlite:///{path}") as engine:
        await engine.activities.create("sign")
        processes = [
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.runtime.outside", str(path), "work", "sign", "5"),
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                stdout=subprocess.PIPE,
            )
            for _ in range(2)
        ]
        each: JsonObject = {"Type": "Map", "ItemProcessor": machine(("Sign", sign())), "End": True}
        execution = await start(engine, machine(("Each", each)), list(range(10)))
        assert await execution.result(timeout=60) == [number * 10 for number in range(10)]
        for process in processes:
            output, _ = await process.communicate()
            assert (process.returncode, output.decode().split()) == (0, ["worked"] * 5)
        names = {
            event["activityStartedEventDetails"]["workerName"]
            for event in await execution.history()
            if event["type"] == "ActivityStarted"
        }
        assert names == {f"process {process.pid}" for process in processes}
