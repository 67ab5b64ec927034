"""TimeoutSeconds, HeartbeatSeconds and the machine's own TimeoutSeconds, with handlers that behave and that do not."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from asfn._json import Json, JsonObject
from asfn.engine import Engine
from asfn.errors import ExecutionFailed, TaskFailed
from asfn.store.memory import MemoryStore
from asfn.store.sqlite import SqliteStore
from asfn.tasks.function import TaskContext
from asfn.testing.loop import VirtualClock, run
from tests.runtime.lives import ARN, Reply, Workflow, live, live_on
from tests.runtime.workflows import JOB, each, machine, parallel, task


def engine_with(clock: VirtualClock, **functions: Callable[..., Any]) -> Engine:
    engine = Engine(clock=clock)
    for name, function in functions.items():
        engine.register(name, function)
    return engine


async def outcome(engine: Engine, definition: JsonObject, input: Json = None) -> tuple[Any, list[JsonObject]]:
    """(output or ExecutionFailed, history) of one execution."""
    await engine.create_state_machine("machine", definition)
    execution = await engine.start("machine", {} if input is None else input, name="x")
    try:
        result: Any = await execution.result()
    except ExecutionFailed as failed:
        result = failed
    return result, await execution.history()


def types(history: list[JsonObject]) -> list[str]:
    return [str(event["type"]) for event in history]


async def hang(event: Json) -> None:
    await asyncio.get_running_loop().create_future()


CATCH_TIMEOUT: Json = [{"ErrorEquals": ["States.Timeout"], "ResultPath": "$.error", "Next": "Caught"}]


def test_a_task_that_exceeds_its_timeout_fails_with_states_timeout_at_that_moment() -> None:
    async def main(clock: VirtualClock) -> None:
        start = clock.now()
        async with engine_with(clock, hang=hang) as engine:
            failed, history = await outcome(engine, machine(("Hang", task("hang", TimeoutSeconds=30))))
        assert (failed.status, failed.error, failed.state) == ("FAILED", "States.Timeout", "Hang")
        assert "LambdaFunctionTimedOut" in types(history)
        assert float(history[-1]["timestamp"]) - start == pytest.approx(30)  # type: ignore[arg-type]

    run(main)


@pytest.mark.parametrize("field", ["TimeoutSeconds", "HeartbeatSeconds"])
def test_a_timeout_is_caught_like_any_error(field: str) -> None:
    async def main(clock: VirtualClock) -> None:
        state = task("hang", "Caught", Catch=CATCH_TIMEOUT, **{field: 5})
        async with engine_with(clock, hang=hang) as engine:
            output, history = await outcome(engine, machine(("Hang", state), ("Caught", {"Type": "Succeed"})))
        assert output["error"]["Error"] == "States.Timeout"
        assert types(history)[-3:] == ["SucceedStateEntered", "SucceedStateExited", "ExecutionSucceeded"]

    run(main)


def test_a_timeout_is_retried_and_each_attempt_has_a_deadline_of_its_own() -> None:
    async def main(clock: VirtualClock) -> None:
        deadlines: list[float | None] = []

        async def slow(event: Json, context: TaskContext) -> str:
            deadlines.append(context.deadline_at)
            await asyncio.sleep(20 if context.attempt < 2 else 1)
            return "at last"

        start = clock.now()
        state = task("slow", TimeoutSeconds=10, Retry=[{"ErrorEquals": ["States.Timeout"], "IntervalSeconds": 5}])
        async with engine_with(clock, slow=slow) as engine:
            output, _ = await outcome(engine, machine(("Slow", state)))
        assert output == "at last"
        assert deadlines == [pytest.approx(start + at) for at in (10, 25, 45)]

    run(main)


def test_beats_keep_a_task_alive_and_their_absence_ends_it() -> None:
    async def main(clock: VirtualClock) -> None:
        async def beating(event: Json, context: TaskContext) -> None:
            for _ in range(5):
                await asyncio.sleep(8)
                context.heartbeat()
            await asyncio.get_running_loop().create_future()

        start = clock.now()
        async with engine_with(clock, beating=beating) as engine:
            failed, history = await outcome(engine, machine(("Beat", task("beating", HeartbeatSeconds=10))))
        assert failed.error == "States.Timeout"
        assert float(history[-1]["timestamp"]) - start == pytest.approx(50)  # type: ignore[arg-type]

    run(main)


def test_a_heartbeat_timeout_matches_states_heartbeat_timeout() -> None:
    async def main(clock: VirtualClock) -> None:
        catch: Json = [{"ErrorEquals": ["States.HeartbeatTimeout"], "Next": "Caught"}]
        state = task("hang", "Caught", HeartbeatSeconds=5, TimeoutSeconds=50, Catch=catch)
        async with engine_with(clock, hang=hang) as engine:
            _, history = await outcome(engine, machine(("Hang", state), ("Caught", {"Type": "Succeed"})))
        assert types(history)[-1] == "ExecutionSucceeded"

    run(main)


@pytest.mark.real_time
async def test_a_function_in_a_worker_thread_beats_from_there() -> None:
    def beating(event: Json, context: TaskContext) -> str:
        for _ in range(14):
            time.sleep(0.1)
            context.heartbeat()
        return threading.current_thread().name

    async with Engine() as engine:
        engine.register("beating", beating)
        output, _ = await outcome(engine, machine(("Beat", task("beating", HeartbeatSeconds=1))))
    assert output.startswith("asfn-function")


@pytest.mark.real_time
async def test_a_function_that_blocks_its_thread_is_left_behind_at_its_deadline() -> None:
    release = threading.Event()

    def block(event: Json) -> str:
        release.wait(30)
        return "too late"

    async with Engine() as engine:
        engine.register("block", block)
        engine.register("quick", lambda event: "done")
        state = task("block", "Caught", TimeoutSeconds=1, Catch=CATCH_TIMEOUT)
        output, history = await outcome(engine, machine(("Block", state), ("Caught", task("quick"))))
        release.set()
    assert output == "done"
    assert types(history).count("LambdaFunctionTimedOut") == 1


def test_a_handler_that_swallows_its_cancellation_holds_nobody_up() -> None:
    async def main(clock: VirtualClock) -> None:
        cancellations: list[float] = []

        async def stubborn(event: Json) -> str:
            while len(cancellations) < 3:
                try:
                    await asyncio.get_running_loop().create_future()
                except asyncio.CancelledError:
                    cancellations.append(clock.now())
            return "nobody hears this"

        start = clock.now()
        async with engine_with(clock, stubborn=stubborn) as engine:
            state = task("stubborn", "Caught", TimeoutSeconds=10, Catch=CATCH_TIMEOUT)
            output, history = await outcome(engine, machine(("Hang", state), ("Caught", {"Type": "Succeed"})))
            assert output["error"]["Error"] == "States.Timeout"
            assert len(cancellations) == 1
            assert clock.now() - start <= 13
            left_at = clock.now()
        assert clock.now() - left_at <= 3  # leaving gives the orphan one grace period, not the drain's time
        assert types(history)[-1] == "ExecutionSucceeded"

    run(main)


def test_a_handler_may_clean_up_after_its_deadline() -> None:
    async def main(clock: VirtualClock) -> None:
        cleaned = []

        async def tidy(event: Json) -> None:
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                await asyncio.sleep(1)
                cleaned.append(clock.now())

        async with engine_with(clock, tidy=tidy) as engine:
            failed, _ = await outcome(engine, machine(("Tidy", task("tidy", TimeoutSeconds=3))))
        assert failed.error == "States.Timeout"
        assert len(cleaned) == 1

    run(main)


class Strange(BaseException):
    """Not an Exception: what a framework raises to unwind a task."""


@pytest.mark.parametrize(
    ("raised", "error"),
    [
        (SystemExit(3), "Runtime.ExitError"),
        (asyncio.CancelledError(), "CancelledError"),
        (ValueError("x"), "ValueError"),
    ],
    ids=repr,
)
def test_what_a_function_raises_fails_its_task_and_not_the_engine(raised: BaseException, error: str) -> None:
    async def main(clock: VirtualClock) -> None:
        async def raising(event: Json) -> None:
            raise raised

        async with engine_with(clock, raising=raising, fine=lambda event: "fine") as engine:
            failed, _ = await outcome(engine, machine(("Raise", task("raising"))))
            assert (failed.status, failed.error) == ("FAILED", error)
            await engine.create_state_machine("other", machine(("Fine", task("fine"))))
            assert await (await engine.start("other")).result() == "fine"

    run(main)


@pytest.mark.parametrize("raised", [Strange("odd"), GeneratorExit()], ids=repr)
def test_a_foreign_base_exception_stops_one_execution_and_no_other(raised: BaseException) -> None:
    async def main(clock: VirtualClock) -> None:
        async def raising(event: Json) -> None:
            raise raised

        async with engine_with(clock, raising=raising, fine=lambda event: "fine") as engine:
            await engine.create_state_machine("machine", machine(("Raise", task("raising"))))
            await engine.create_state_machine("other", machine(("Fine", task("fine"))))
            execution = await engine.start("machine", name="x")
            with pytest.raises(type(raised)):
                await execution.result()
            assert (await execution.describe()).status == "RUNNING"  # resumable: the workflow itself did not fail
            assert await (await engine.start("other")).result() == "fine"

    run(main)


# --- the machine's own TimeoutSeconds --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "state",
    [
        {"Type": "Wait", "Seconds": 1_000, "End": True},
        task("hang", Catch=[{"ErrorEquals": ["States.ALL"], "Next": "Never"}]),
        parallel(machine(("Inner", task("hang"))), machine(("Nap", {"Type": "Wait", "Seconds": 999, "End": True}))),
        each(machine(("Inner", task("hang"))), ItemsPath="$.items"),
        task("hang", Retry=[{"ErrorEquals": ["States.ALL"]}]),
    ],
    ids=["wait", "task", "parallel", "map", "retried task"],
)
def test_an_execution_ends_as_timed_out_whatever_it_is_doing(state: JsonObject) -> None:
    async def main(clock: VirtualClock) -> None:
        start = clock.now()
        definition = machine(("First", state), ("Never", {"Type": "Succeed"}), TimeoutSeconds=60)
        if "Catch" not in state:
            del definition["States"]["Never"]  # type: ignore[union-attr,arg-type]  # nothing leads to it
        async with engine_with(clock, hang=hang) as engine:
            failed, history = await outcome(engine, definition, {"items": [1, 2]})
            info = await (await engine.execution(ARN)).describe()
        assert (failed.status, failed.error) == ("TIMED_OUT", None)
        assert info.stopped_at == pytest.approx(start + 60)
        assert types(history)[-1] == "ExecutionTimedOut"
        assert history[-1]["previousEventId"] == 0

    run(main)


# --- deadlines that pass while nobody runs ---------------------------------------------------------------------------


def reply(state: str, payload: Any, attempt: int) -> Reply:
    return Reply({"state": state}, seconds=40)


def test_a_task_whose_deadline_passed_while_the_process_was_down_is_not_called_again() -> None:
    catch: Json = [{"ErrorEquals": ["States.Timeout"], "ResultPath": "$.error", "Next": "After"}]
    definition = machine(("Work", task("work", "After", TimeoutSeconds=50, Catch=catch)), ("After", task("after")))
    workflow = Workflow("", definition, {}, reply)
    store = MemoryStore()
    first = live(workflow, store, crash_after=2)
    assert [call.state_name for call in first.calls] in ([], ["Work"])
    second = live_on(workflow, store, first)
    assert [call.state_name for call in second.calls] == ["After"]
    assert "LambdaFunctionTimedOut" in types(second.history)
    assert second.end is not None
    assert second.end[0] == "SUCCEEDED"


def test_a_job_whose_deadline_passed_while_the_process_was_down_is_cancelled_and_not_polled() -> None:
    state: JsonObject = {"Type": "Task", "Resource": JOB, "Parameters": {}, "TimeoutSeconds": 50, "End": True}
    workflow = Workflow("", machine(("Job", state)), {}, lambda *_: Reply(job=True, seconds=500))
    store = MemoryStore()
    first = live(workflow, store, crash_after=3)
    second = live_on(workflow, store, first)
    assert second.calls == []
    assert second.end == ("FAILED", ["States.Timeout", None])
    assert len(second.cancelled) == 1


def test_an_execution_whose_time_ran_out_while_the_process_was_down_makes_no_call() -> None:
    definition = machine(("Work", task("work")), TimeoutSeconds=50)
    workflow = Workflow("", definition, {}, reply)
    store = MemoryStore()
    first = live(workflow, store, crash_after=2)
    second = live_on(workflow, store, first)
    assert second.calls == []
    assert second.end == ("TIMED_OUT", [None, None])
    assert second.history[-1]["type"] == "ExecutionTimedOut"


def test_a_wait_that_ended_while_the_process_was_down_goes_on_at_once() -> None:
    async def wait(clock: VirtualClock, store: MemoryStore, drain: bool) -> float:
        async with Engine(store, clock=clock) as engine:
            await engine.create_state_machine("m", machine(("Nap", {"Type": "Wait", "Seconds": 50, "End": True})))
            if drain:
                await engine.start("m", name="x")
            else:
                await engine.join()
        return clock.now()

    store = MemoryStore()
    begun = run(lambda clock: wait(clock, store, True))
    resumed = run(lambda clock: wait(clock, store, False), start_at=begun + 1_000)
    assert resumed == pytest.approx(begun + 1_000)


# --- retries ---------------------------------------------------------------------------------------------------------


def test_a_retrier_grows_its_delay_up_to_max_delay_seconds() -> None:
    async def main(clock: VirtualClock) -> None:
        called: list[float] = []

        async def failing(event: Json) -> None:
            called.append(clock.now())
            raise TaskFailed("No")

        retry: Json = [
            {"ErrorEquals": ["No"], "IntervalSeconds": 2, "BackoffRate": 3, "MaxAttempts": 4, "MaxDelaySeconds": 10}
        ]
        async with engine_with(clock, failing=failing) as engine:
            failed, _ = await outcome(engine, machine(("Fail", task("failing", Retry=retry))))
        assert failed.error == "No"
        gaps = [after - before for before, after in pairwise(called)]
        assert gaps == pytest.approx([2, 6, 10, 10])

    run(main)


def test_a_jittered_delay_is_drawn_once_and_kept_over_a_crash() -> None:
    retry: Json = [
        {"ErrorEquals": ["No"], "IntervalSeconds": 1_000, "MaxAttempts": 1, "JitterStrategy": "FULL"},
    ]
    workflow = Workflow(
        "", machine(("Work", task("work", Retry=retry))), {}, lambda state, payload, attempt: Reply(error="No")
    )
    store = MemoryStore()
    reference = live(workflow, MemoryStore())
    first = live(workflow, store, crash_after=3)  # start, before the call, before the sleep
    assert first.died
    second = live_on(workflow, store, first)
    assert second.end is not None
    scheduled = [event["timestamp"] for event in second.history if event["type"] == "LambdaFunctionScheduled"]
    expected = [event["timestamp"] for event in reference.history if event["type"] == "LambdaFunctionScheduled"]
    assert scheduled == pytest.approx(expected, abs=0.01)


def test_a_repeated_call_gets_the_very_payload_of_the_first() -> None:
    definition = machine(
        ("Work", task("work", Parameters={"id.$": "States.UUID()", "n.$": "States.MathRandom(1, 9999)"}))
    )
    workflow = Workflow("", definition, {}, lambda *_: Reply(seconds=40))
    store = MemoryStore()

    async def first_life(clock: VirtualClock) -> tuple[str, float]:
        seen: list[str] = []

        async def work(event: Any) -> None:
            seen.append(event["id"])
            await asyncio.get_running_loop().create_future()

        engine = Engine(store, clock=clock, drain_seconds=1)
        engine.register("work", work)
        async with engine:
            await engine.create_state_machine("machine", definition)
            await engine.start("machine", {}, name="x")
            await asyncio.sleep(5)
        return seen[0], clock.now()

    seen, over_at = run(first_life)
    second = live(workflow, store, start_at=over_at + 1)
    [call] = second.calls
    assert isinstance(call.payload.value, dict)
    assert call.payload.value["id"] == seen


def test_a_file_keeps_deadlines_over_a_restart(tmp_path: Any) -> None:
    workflow = Workflow("", machine(("Work", task("work", TimeoutSeconds=50))), {}, reply)

    def store(clock: VirtualClock) -> SqliteStore:
        return SqliteStore(tmp_path / "a.db", off_loop=clock.off_loop)

    first = live(workflow, store, crash_after=2)
    second = live_on(workflow, store, first)
    assert second.calls == []
    assert second.end == ("FAILED", ["States.Timeout", None])
