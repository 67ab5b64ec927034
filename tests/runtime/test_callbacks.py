"""Callbacks: a Task that waits for its token, the calls of whoever holds it, and which of them counts."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from asfn._json import Json, JsonObject, Payload
from asfn.engine import Engine
from asfn.errors import (
    AsfnError,
    EngineClosed,
    InvalidOutput,
    InvalidParameter,
    InvalidToken,
    TaskDoesNotExist,
    TaskFailed,
    TaskTimedOut,
)
from asfn.runtime.tokens import is_token, new_token
from asfn.store.memory import MemoryStore
from asfn.store.protocol import Store
from asfn.store.sqlite import SqliteStore
from asfn.tasks.protocol import Answer, Done, Submitted, TaskCall
from asfn.testing.faults import FaultyStore
from asfn.testing.loop import DEFAULT_START_AT, VirtualClock, run
from tests.runtime.callbacks import Desk, ask, end_of, engine_with, links, machine, start, states_of, types

ROOT = Path(__file__).parents[2]
MESSAGE = "Task Timed Out: 'Provided task does not exist anymore'"


def elapsed(clock: VirtualClock) -> float:
    return clock.now() - DEFAULT_START_AT


# --- the answer ------------------------------------------------------------------------------------------------------


def test_the_output_given_for_the_token_is_the_result_of_the_task() -> None:
    async def main(clock: VirtualClock) -> None:
        desk = Desk()
        async with engine_with(clock, desk) as engine:
            execution = await start(engine, machine(("Ask", ask("After")), ("After", {"Type": "Pass", "End": True})))
            await clock.sleep_until(clock.now() + 3600)
            await engine.tasks.succeed(await desk.token(), {"signed": True})
            assert await execution.result() == {"signed": True}
            assert (await links(execution))[:8] == [
                "1<0 ExecutionStarted",
                "2<0 TaskStateEntered",
                "3<2 TaskScheduled",
                "4<3 TaskStarted",
                "5<4 TaskSubmitted",
                "6<5 TaskSucceeded",
                "7<6 TaskStateExited",
                "8<7 PassStateEntered",
            ]
            details = (await execution.history())[5]["taskSucceededEventDetails"]
            assert (details["resourceType"], details["resource"]) == ("lambda", "invoke.waitForTaskToken")
            assert details["output"] == '{"signed":true}'

    run(main)


def test_the_text_of_an_output_is_kept_as_it_was_sent() -> None:
    async def main(clock: VirtualClock) -> None:
        desk = Desk()
        async with engine_with(clock, desk) as engine:
            execution = await start(engine, machine(("Ask", ask())))
            await engine.tasks.succeed(await desk.token(), output_text='{"a":  [1.0, 2]}')
            assert (await execution.describe()).output_text is None
            await execution.result()
            assert (await execution.describe()).output_text == '{"a":  [1.0, 2]}'

    run(main)


@pytest.mark.parametrize("waits", [False, True])
def test_an_answer_that_comes_before_the_call_has_returned_is_kept(waits: bool) -> None:
    async def main(clock: VirtualClock) -> None:
        desk = Desk()
        async with engine_with(clock, desk) as engine:

            async def early(token: str) -> None:
                await engine.tasks.succeed(token, "early")
                await asyncio.sleep(5 if waits else 0)

            desk.early = early
            execution = await start(engine, machine(("Ask", ask())))
            assert await execution.result() == "early"
            assert (await types(execution))[2:6] == ["TaskScheduled", "TaskStarted", "TaskSubmitted", "TaskSucceeded"]
            assert elapsed(clock) == (5 if waits else 0)

    run(main)


def test_a_call_that_fails_fails_the_task_whatever_its_token_was_told() -> None:
    async def main(clock: VirtualClock) -> None:
        desk = Desk()
        async with engine_with(clock, desk) as engine:

            async def early(token: str) -> None:
                await engine.tasks.succeed(token, "early")
                raise TaskFailed("Broken", "after all")

            desk.early = early
            execution = await start(engine, machine(("Ask", ask())))
            assert await end_of(execution) == ("FAILED", ["Broken", "after all"])
            assert (await types(execution))[2:5] == ["TaskScheduled", "TaskStarted", "TaskFailed"]

    run(main)


@pytest.mark.parametrize(
    ("error", "cause", "caught"),
    [
        ("Refused", "by the boss", {"Error": "Refused", "Cause": "by the boss"}),
        ("Refused", None, {"Error": "Refused", "Cause": None}),
        (None, None, {"Error": None, "Cause": None}),
    ],
)
def test_a_failure_sent_for_the_token_reaches_catch(error: str | None, cause: str | None, caught: Json) -> None:
    definition = machine(
        ("Ask", ask(Catch=[{"ErrorEquals": ["States.ALL"], "Next": "Caught"}])), ("Caught", {"Type": "Succeed"})
    )

    async def main(clock: VirtualClock) -> None:
        desk = Desk()
        async with engine_with(clock, desk) as engine:
            execution = await start(engine, definition)
            await engine.tasks.fail(await desk.token(), error, cause)
            assert await execution.result() == caught
            failed = (await execution.history())[5]
            assert failed["type"] == "TaskFailed"
            details = failed["taskFailedEventDetails"]
            assert {key: details[key] for key in details if key in ("error", "cause")} == {
                key: value for key, value in (("error", error), ("cause", cause)) if value is not None
            }

    run(main)


# --- what does not count ---------------------------------------------------------------------------------------------


async def refused(call: Any, error: type[AsfnError], text: str) -> None:
    with pytest.raises(error) as caught:
        await call
    assert str(caught.value) == text


def test_a_token_counts_once() -> None:
    async def main(clock: VirtualClock) -> None:
        desk, store = Desk(), MemoryStore()
        async with engine_with(clock, desk, store) as engine:
            execution = await start(engine, machine(("Ask", ask()), TimeoutSeconds=600))
            token = await desk.token()
            answers = [engine.tasks.succeed(token, number) for number in range(5)]
            ends = await asyncio.gather(*answers, return_exceptions=True)
            assert ends[0] is None
            assert [str(end) for end in ends[1:]] == [MESSAGE] * 4
            assert await execution.result() == 0
            await refused(engine.tasks.succeed(token, 9), TaskTimedOut, MESSAGE)
            await refused(engine.tasks.fail(token), TaskTimedOut, MESSAGE)
            await refused(engine.tasks.heartbeat(token), TaskTimedOut, MESSAGE)
            assert await states_of(store, [token]) == ["completed"]
            assert await store.token_news() == []

    run(main)


@pytest.mark.parametrize("text", ["", "x", "x" * 128, "A" * 128, "ü" * 128, "\ud800", "AAAA" * 600, "!" * 128])
def test_a_text_that_is_no_token_is_refused(text: str) -> None:
    async def main(clock: VirtualClock) -> None:
        async with engine_with(clock, Desk()) as engine:
            for call in (engine.tasks.succeed(text, 1), engine.tasks.fail(text), engine.tasks.heartbeat(text)):
                await refused(call, InvalidToken, "Invalid Token: 'Invalid token'")

    run(main)


def test_a_token_of_another_database_has_no_task() -> None:
    async def main(clock: VirtualClock) -> None:
        async with engine_with(clock, Desk()) as engine:
            token = new_token()
            for call in (engine.tasks.succeed(token, 1), engine.tasks.fail(token), engine.tasks.heartbeat(token)):
                with pytest.raises(TaskDoesNotExist):
                    await call

    run(main)


def test_tokens_are_long_random_and_told_from_changed_ones() -> None:
    tokens = {new_token() for _ in range(500)}
    assert len(tokens) == 500
    for token in tokens:
        assert is_token(token)
        assert len(token) == 128
        changed = token[:7] + ("A" if token[7] != "A" else "B") + token[8:]
        assert not is_token(changed)
    assert len({token[:20] for token in tokens}) == 500
    assert new_token(1_000_000.0)[:8] == new_token(1_000_000.0)[:8] != new_token(2_000_000.0)[:8]


@pytest.mark.parametrize("text", ["", "{", "{'a': 1}", "nul", '"\\ud800" x'])
def test_an_output_that_is_not_json_is_refused_and_leaves_the_token_open(text: str) -> None:
    async def main(clock: VirtualClock) -> None:
        desk = Desk()
        async with engine_with(clock, desk) as engine:
            execution = await start(engine, machine(("Ask", ask())))
            token = await desk.token()
            with pytest.raises(InvalidOutput):
                await engine.tasks.succeed(token, output_text=text)
            with pytest.raises(InvalidOutput):
                await engine.tasks.succeed(token, float("nan"))
            await engine.tasks.succeed(token, None)
            assert await execution.result() is None

    run(main)


def test_outputs_and_failures_over_the_limits_are_refused() -> None:
    async def main(clock: VirtualClock) -> None:
        desk = Desk()
        async with engine_with(clock, desk) as engine:
            execution = await start(engine, machine(("Ask", ask())))
            token = await desk.token()
            with pytest.raises(InvalidOutput, match="262145 bytes"):
                await engine.tasks.succeed(token, "x" * 262_143)
            with pytest.raises(InvalidParameter, match="at 'error' failed to satisfy constraint: Member must have"):
                await engine.tasks.fail(token, "x" * 257)
            with pytest.raises(InvalidParameter, match="less than or equal to 32768"):
                await engine.tasks.fail(token, "E", "x" * 32_769)
            with pytest.raises(InvalidParameter, match="error must be a text"):
                await engine.tasks.fail(token, "\ud800")
            with pytest.raises(TypeError):
                await engine.tasks.succeed(token, 1, output_text="1")
            await engine.tasks.succeed(token, "x" * 262_142)
            assert await execution.result() == "x" * 262_142

    run(main)


def test_a_failure_may_hold_any_character() -> None:
    cause = "\x00\x1f\u2028 \U0001f600 \" ' \\u0000 ü"

    async def main(clock: VirtualClock) -> None:
        desk = Desk()
        async with engine_with(clock, desk) as engine:
            execution = await start(engine, machine(("Ask", ask())))
            await engine.tasks.fail(await desk.token(), "E\x00", cause)
            assert await end_of(execution) == ("FAILED", ["E\x00", cause])

    run(main)


# --- clocks ----------------------------------------------------------------------------------------------------------


def test_timeout_seconds_ends_the_wait_and_a_later_answer_is_late() -> None:
    async def main(clock: VirtualClock) -> None:
        desk, store = Desk(), MemoryStore()
        async with engine_with(clock, desk, store) as engine:
            execution = await start(engine, machine(("Ask", ask(TimeoutSeconds=60))))
            assert await end_of(execution) == ("FAILED", ["States.Timeout", None])
            assert elapsed(clock) == 60
            assert (await types(execution))[4:] == ["TaskSubmitted", "TaskTimedOut", "ExecutionFailed"]
            await refused(engine.tasks.succeed(desk.tokens[0], 1), TaskTimedOut, MESSAGE)
            assert await states_of(store, desk.tokens) == ["timed_out"]
            assert await store.token_news() == []

    run(main)


def test_heartbeats_keep_a_task_alive_until_they_stop() -> None:
    definition = machine(
        ("Ask", ask(HeartbeatSeconds=10, Catch=[{"ErrorEquals": ["States.HeartbeatTimeout"], "Next": "Lost"}])),
        ("Lost", {"Type": "Succeed"}),
    )

    async def main(clock: VirtualClock) -> None:
        desk = Desk()
        async with engine_with(clock, desk) as engine:
            execution = await start(engine, definition)
            token = await desk.token()
            for _ in range(20):
                await clock.sleep_until(clock.now() + 9)
                await engine.tasks.heartbeat(token)
            assert await execution.result() == {"Error": "States.Timeout", "Cause": ""}
            assert elapsed(clock) == 20 * 9 + 10
            assert (await types(execution))[4:7] == ["TaskSubmitted", "TaskTimedOut", "TaskStateExited"]
            await refused(engine.tasks.heartbeat(token), TaskTimedOut, MESSAGE)

    run(main)


def test_a_heartbeat_without_heartbeat_seconds_is_taken_and_does_nothing() -> None:
    async def main(clock: VirtualClock) -> None:
        desk = Desk()
        async with engine_with(clock, desk) as engine:
            execution = await start(engine, machine(("Ask", ask(TimeoutSeconds=30))))
            await engine.tasks.heartbeat(await desk.token())
            assert (await end_of(execution))[0] == "FAILED"
            assert elapsed(clock) == 30

    run(main)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("clock_of", ["TimeoutSeconds", "HeartbeatSeconds"])
def test_of_an_answer_and_a_timeout_at_one_moment_exactly_one_counts(seed: int, clock_of: str) -> None:
    async def main(clock: VirtualClock) -> None:
        desk, store = Desk(), MemoryStore()
        async with engine_with(clock, desk, store) as engine:
            execution = await start(engine, machine(("Ask", {**ask(), clock_of: 60})))
            token = await desk.token()
            await clock.sleep_until(DEFAULT_START_AT + 60)
            try:
                await engine.tasks.succeed(token, "in time")
            except TaskTimedOut:
                assert await end_of(execution) == ("FAILED", ["States.Timeout", None])
                assert await states_of(store, [token]) == ["timed_out"]
            else:
                assert await end_of(execution) == ("SUCCEEDED", "in time")
                assert await states_of(store, [token]) == ["completed"]

    run(main, seed=seed)


def test_an_answer_that_is_being_written_when_the_time_is_up_counts() -> None:
    class SlowStore(MemoryStore):
        async def settle_tokens(self, settlements: Any) -> Any:
            answers = await super().settle_tokens(settlements)
            await asyncio.sleep(5)  # written, and not acknowledged yet
            return answers

    async def main(clock: VirtualClock) -> None:
        desk, store = Desk(), SlowStore()
        async with engine_with(clock, desk, store) as engine:
            execution = await start(engine, machine(("Ask", ask(TimeoutSeconds=60))))
            token = await desk.token()
            await clock.sleep_until(DEFAULT_START_AT + 58)
            answering = asyncio.ensure_future(engine.tasks.succeed(token, "in time"))
            assert await end_of(execution) == ("SUCCEEDED", "in time")
            await answering

    run(main)


def test_an_answer_outruns_the_timeout_of_a_call_that_never_returns() -> None:
    async def main(clock: VirtualClock) -> None:
        desk = Desk()
        async with engine_with(clock, desk) as engine:

            async def early(token: str) -> None:
                await engine.tasks.succeed(token, "early")
                await asyncio.get_running_loop().create_future()

            desk.early = early
            execution = await start(engine, machine(("Ask", ask(TimeoutSeconds=60))))
            assert await end_of(execution) == ("SUCCEEDED", "early")
            assert elapsed(clock) == pytest.approx(60, abs=3)

    run(main)


# --- retries, siblings, stops ----------------------------------------------------------------------------------------


def test_a_retry_gives_a_new_token_and_the_old_one_is_late() -> None:
    retry: Json = [{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 5}]

    async def main(clock: VirtualClock) -> None:
        desk, store = Desk(), MemoryStore()
        async with engine_with(clock, desk, store) as engine:
            execution = await start(engine, machine(("Ask", ask(Retry=retry, TimeoutSeconds=100))))
            first = await desk.token()
            await engine.tasks.fail(first, "Again")
            second = await desk.token(1)
            assert second != first
            await refused(engine.tasks.succeed(first, 1), TaskTimedOut, MESSAGE)
            third = await desk.token(2)  # the second times out
            await refused(engine.tasks.succeed(second, 2), TaskTimedOut, MESSAGE)
            await engine.tasks.succeed(third, 3)
            assert await execution.result() == 3
            assert await states_of(store, desk.tokens) == ["completed", "timed_out", "completed"]
            assert await store.token_news() == []

    run(main)


@pytest.mark.parametrize("how", ["answered", "call fails", "times out"])
def test_a_task_that_is_left_lets_go_of_its_token_while_the_execution_goes_on(how: str) -> None:
    definition = machine(
        ("Ask", ask("Nap", TimeoutSeconds=60, Catch=[{"ErrorEquals": ["States.ALL"], "Next": "Nap"}])),
        ("Nap", {"Type": "Wait", "Seconds": 1000, "End": True}),
    )

    async def main(clock: VirtualClock) -> None:
        desk, store = Desk(), MemoryStore()

        async def early(token: str) -> None:
            if how == "call fails":
                raise TaskFailed("Broken")

        desk.early = early
        async with engine_with(clock, desk, store) as engine:
            execution = await start(engine, definition)
            token = await desk.token()
            if how == "answered":
                await engine.tasks.succeed(token)
            await clock.sleep_until(clock.now() + 100)
            assert (await types(execution))[-1] == "WaitStateEntered"
            await refused(engine.tasks.succeed(token), TaskTimedOut, MESSAGE)
            states = {"answered": "completed", "call fails": "closed", "times out": "timed_out"}
            assert await states_of(store, [token]) == [states[how]]
            assert await store.token_news() == []
            assert engine._open_inbox()._waiting == {}

    run(main)


def both(*branches: JsonObject, **fields: Json) -> JsonObject:
    return {"Type": "Parallel", "Branches": list(branches), "End": True, **fields}


def test_a_branch_that_fails_closes_the_tokens_of_its_siblings() -> None:
    inner = both(machine(("Deep", ask())), machine(("Also", ask())))
    each: JsonObject = {"Type": "Map", "ItemProcessor": machine(("Item", ask())), "End": True, "ItemsPath": "$.items"}
    definition = machine(
        ("Both", both(machine(("Fails", ask())), machine(("Inner", inner)), machine(("Each", each)), Next="After")),
        ("After", ask()),
    )
    del definition["States"]["Both"]["End"]  # type: ignore[index, call-overload, arg-type, union-attr]
    definition["States"]["Both"]["Catch"] = [{"ErrorEquals": ["States.ALL"], "Next": "After"}]  # type: ignore[index, call-overload]

    async def main(clock: VirtualClock) -> None:
        desk, store = Desk(), MemoryStore()
        async with engine_with(clock, desk, store) as engine:
            execution = await start(engine, definition, {"items": [1, 2, 3]})
            await desk.have(6)
            await engine.tasks.fail(desk.tokens[0], "Boom")
            after = await desk.token(6)
            for token in desk.tokens[1:6]:
                await refused(engine.tasks.succeed(token, 1), TaskTimedOut, MESSAGE)
            assert await states_of(store, desk.tokens) == ["completed", *["closed"] * 5, "open"]
            await engine.tasks.succeed(after, "recovered")
            assert await execution.result() == "recovered"

    run(main)


@pytest.mark.parametrize("how", ["stop", "timeout"])
def test_the_end_of_the_execution_closes_its_tokens(how: str) -> None:
    definition = machine(("Both", both(machine(("A", ask())), machine(("B", ask())))), TimeoutSeconds=60)

    async def main(clock: VirtualClock) -> None:
        desk, store = Desk(), MemoryStore()
        async with engine_with(clock, desk, store) as engine:
            execution = await start(engine, definition)
            await desk.have(2)
            if how == "stop":
                await execution.stop("Enough")
            assert (await end_of(execution))[0] == ("ABORTED" if how == "stop" else "TIMED_OUT")
            assert await states_of(store, desk.tokens) == ["closed", "closed"]
            for token in desk.tokens:
                await refused(engine.tasks.succeed(token), TaskTimedOut, MESSAGE)
                await refused(engine.tasks.heartbeat(token), TaskTimedOut, MESSAGE)

    run(main)


def test_a_branch_that_fails_before_its_siblings_token_is_known_leaves_nothing_open() -> None:
    definition = machine(
        (
            "Both",
            both(machine(("A", ask())), machine(("Pass", {"Type": "Pass", "Next": "No"}), ("No", {"Type": "Fail"}))),
        )
    )

    async def main(clock: VirtualClock) -> None:
        desk, store = Desk(), MemoryStore()
        async with engine_with(clock, desk, store) as engine:
            assert (await end_of(await start(engine, definition)))[0] == "FAILED"
            assert desk.tokens == []
            assert {row.state for row in store._tokens.values()} <= {"closed"}

    run(main)


# --- jobs that were given their token --------------------------------------------------------------------------------


class Job:
    """Answers `.sync` tasks with a job that ends after 100 seconds; keeps what it was given."""

    def __init__(self, clock: VirtualClock) -> None:
        self.calls: list[TaskCall] = []
        self.cancelled: list[Json] = []
        self._clock = clock

    async def submit(self, call: TaskCall) -> Answer:
        self.calls.append(call)
        return Submitted(Payload({"job": 1}), {"ends": self._clock.now() + 100})

    async def poll(self, call: TaskCall, job: Json) -> Done | None:
        assert isinstance(job, dict)
        return Done(Payload("the job's")) if self._clock.now() >= job["ends"] else None  # type: ignore[operator]

    async def cancel(self, call: TaskCall, job: Json) -> None:
        self.cancelled.append(job)


@pytest.mark.parametrize("given", [True, False])
def test_a_job_that_was_given_its_token_may_be_ended_by_it(given: bool) -> None:
    state: JsonObject = {"Type": "Task", "Resource": "arn:aws:states:::batch:submitJob.sync", "End": True}
    state["Parameters"] = {"JobName": "j", "JobQueue": "q", "JobDefinition": "d"}
    if given:
        state["Parameters"]["Tags"] = {"token.$": "$$.Task.Token"}  # type: ignore[index, call-overload]

    async def main(clock: VirtualClock) -> None:
        store, job = MemoryStore(), Job(clock)
        engine = Engine(store, clock=clock)
        engine.route("arn:aws:states:::batch:*", job)
        async with engine:
            execution = await start(engine, machine(("Run", state)))
            await clock.sleep_until(clock.now() + 30)
            token = job.calls[0].token
            if given:
                assert token is not None
                assert token in job.calls[0].payload.text
                await engine.tasks.succeed(token, "the token's")
            else:
                assert token is None
                assert store._tokens == {}
            assert await execution.result() == ("the token's" if given else "the job's")
            assert elapsed(clock) == pytest.approx(30 if given else 100, abs=3)
            assert (await types(execution))[4:6] == ["TaskSubmitted", "TaskSucceeded"]
            if given:
                await refused(engine.tasks.succeed(token), TaskTimedOut, MESSAGE)  # type: ignore[arg-type]

    run(main)


# --- restarts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_wait_goes_on_in_the_next_engine_with_the_same_token(kind: str, tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        desk = Desk()
        store: Store = MemoryStore() if kind == "memory" else SqliteStore(tmp_path / "x.db", off_loop=clock.off_loop)
        async with engine_with(clock, desk, store) as engine:
            execution = await start(engine, machine(("Ask", ask(TimeoutSeconds=1000, HeartbeatSeconds=300))))
            token = await desk.token()
            await clock.sleep_until(clock.now() + 200)
        with pytest.raises(EngineClosed):
            await engine.tasks.succeed(token)
        await clock.sleep_until(clock.now() + 200)  # nobody could beat: the heartbeat's clock begins anew
        async with engine_with(clock, desk, store) as engine:
            execution = await engine.execution(execution.arn)
            await clock.sleep_until(clock.now() + 299)
            await engine.tasks.heartbeat(token)
            await clock.sleep_until(clock.now() + 100)
            await engine.tasks.succeed(token, {"after": "restart"})
            assert await execution.result() == {"after": "restart"}
        assert len(desk.tokens) == 1

    run(main)


def test_the_deadline_of_a_wait_is_the_one_that_was_stored() -> None:
    async def main(clock: VirtualClock) -> None:
        desk, store = Desk(), MemoryStore()
        async with engine_with(clock, desk, store) as engine:
            execution = await start(engine, machine(("Ask", ask(TimeoutSeconds=1000))))
            await desk.token()
        await clock.sleep_until(clock.now() + 400)
        async with engine_with(clock, desk, store) as engine:
            assert await end_of(await engine.execution(execution.arn)) == ("FAILED", ["States.Timeout", None])
            assert elapsed(clock) == 1000

    run(main)


@pytest.mark.parametrize("late", [False, True])
def test_an_answer_given_while_nobody_ran_the_execution_counts_even_past_its_deadline(late: bool) -> None:
    async def main(clock: VirtualClock) -> None:
        desk, store = Desk(), MemoryStore()
        async with engine_with(clock, desk, store) as engine:
            execution = await start(engine, machine(("Ask", ask(TimeoutSeconds=100))))
            token = await desk.token()
        row = await store.register_engine(clock.now(), 3600)  # another process, which answers and runs nothing
        other = engine_with(clock, desk, HiddenClaims(store))
        async with other:
            await other.tasks.succeed(token, "while away")
        await store.retire_engine(row)
        await clock.sleep_until(clock.now() + (1000 if late else 10))
        async with engine_with(clock, desk, store) as engine:
            assert await (await engine.execution(execution.arn)).result() == "while away"
        assert len(desk.tokens) == 1
        assert await store.token_news() == []

    run(main)


def test_a_call_whose_token_was_answered_before_the_engine_was_left_is_not_made_again() -> None:
    async def main(clock: VirtualClock) -> None:
        desk, store = Desk(), MemoryStore()
        async with engine_with(clock, desk, store, drain_seconds=0) as engine:

            async def early(token: str) -> None:
                await engine.tasks.succeed(token, "early")
                await asyncio.get_running_loop().create_future()

            desk.early = early
            execution = await start(engine, machine(("Ask", ask())))
            await desk.token()
            await asyncio.sleep(1)
        async with engine_with(clock, desk, store) as engine:
            assert await (await engine.execution(execution.arn)).result() == "early"
        assert len(desk.tokens) == 1

    run(main)


class HiddenClaims(FaultyStore):
    """A store in which an engine finds nothing to take over."""

    async def claim(self, engine: Any, now: float, *, dead: Any = (), limit: int = 1_000) -> list[Any]:
        return []

    async def retire_engine(self, engine: Any) -> None:
        await self.store.retire_engine(engine)


class Holder:
    """Whoever was given tokens, through all lives: answers each until that is acknowledged or refused."""

    def __init__(self) -> None:
        self.outputs: dict[str, Json] = {}
        self.acknowledged: set[str] = set()
        self.refused: set[str] = set()

    async def answer(self, engine: Engine, token: str) -> None:
        if token in self.acknowledged | self.refused:
            return
        try:
            if self.outputs[token] == "fail":
                await engine.tasks.fail(token, "Flaky", "once")
            else:
                await engine.tasks.succeed(token, self.outputs[token])
            self.acknowledged.add(token)
        except TaskTimedOut:
            self.refused.add(token)


FLOW = machine(
    ("First", ask("Each", Retry=[{"ErrorEquals": ["Flaky"], "IntervalSeconds": 1}], ResultPath="$.first")),
    (
        "Each",
        {
            "Type": "Map",
            "ItemsPath": "$.items",
            "MaxConcurrency": 2,
            "ItemProcessor": machine(("Item", ask())),
            "Next": "Last",
            "ResultPath": "$.each",
        },
    ),
    ("Last", ask(ResultPath="$.last")),
)
EXPECTED: Json = {"items": [1, 2, 3], "first": "First", "each": [1, 2, 3], "last": "Last"}
ARN = "arn:aws:states:us-east-1:123456789012:execution:machine:x"


def life(
    store: MemoryStore, holder: Holder, start_at: float, early: bool, **faults: Any
) -> tuple[int, bool, float, Json, list[str]]:
    """One process: (commits, died, when it was over, output, types of the history)."""

    async def main(clock: VirtualClock) -> tuple[int, bool, float, Json, list[str]]:
        desk = Desk()
        faulty = FaultyStore(store, **faults)
        engine = engine_with(clock, desk, faulty)

        async def given(token: str) -> None:
            if token not in holder.outputs:
                first = not holder.outputs
                value = desk.inputs[-1]
                holder.outputs[token] = "fail" if first else value if isinstance(value, int) else "Last"
                if isinstance(value, dict) and "first" not in value and not first:
                    holder.outputs[token] = "First"
            if early:
                await holder.answer(engine, token)

        desk.early = given

        async def work() -> Json:
            async with engine:
                if await store.execution(ARN) is None:
                    await engine.create_state_machine("machine", FLOW)
                    execution = await engine.start("machine", {"items": [1, 2, 3]}, name="x")
                else:
                    execution = await engine.execution(ARN)
                result = asyncio.ensure_future(execution.result())
                while not result.done():
                    for token in list(holder.outputs):
                        await holder.answer(engine, token)
                    await asyncio.wait([result], timeout=0.5)
                return await result

        working, crash = asyncio.ensure_future(work()), asyncio.ensure_future(faulty.crashed.wait())
        await asyncio.wait({working, crash}, return_when=asyncio.FIRST_COMPLETED)
        died = faulty.crashed.is_set()
        crash.cancel()
        output = None if died else working.result()
        row = await store.execution(ARN)
        kinds = []
        if row is not None:
            segments = await store.segments(row.key, limit=10_000)
            kinds = [part for segment in segments for part in segment.body.split('"') if part.startswith("Task")]
        return faulty.commits, died, clock.now(), output, kinds

    return run(main, start_at=start_at)


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("when", ["crash_before", "crash_after"])
def test_whichever_commit_a_process_dies_at_an_acknowledged_answer_counts_and_each_task_ends_once(
    early: bool, when: str
) -> None:
    commits, _, _, output, undisturbed = life(MemoryStore(), Holder(), DEFAULT_START_AT, early)
    assert output == EXPECTED
    for number in range(1, commits + 1):
        store, holder = MemoryStore(), Holder()
        _, died, over_at, _, _ = life(store, holder, DEFAULT_START_AT, early, **{when: number})
        assert died
        _, _, _, output, kinds = life(store, holder, over_at + 100, early)
        assert output == EXPECTED
        for kind in ("TaskStateEntered", "TaskSucceeded", "TaskFailed", "TaskStateExited"):
            assert kinds.count(kind) == undisturbed.count(kind), (number, kind)
        rows = {row.token: row for row in store._tokens.values()}
        assert {row.state for row in rows.values()} == {"completed"}
        assert all(rows[token].state == "completed" for token in holder.acknowledged)
        assert all(row.outcome is None for row in rows.values())


@pytest.mark.parametrize("first", range(2, 16, 3))
def test_two_deaths_in_a_row_change_nothing(first: int) -> None:
    for second in range(1, 14, 3):
        store, holder = MemoryStore(), Holder()
        _, died, over_at, output, _ = life(store, holder, DEFAULT_START_AT, True, crash_after=first)
        if died:
            _, died, over_at, output, _ = life(store, holder, over_at + 100, True, crash_before=second)
        if died:
            _, _, _, output, _ = life(store, holder, over_at + 100, True)
        assert output == EXPECTED


# --- thousands -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "count"), [("memory", 10_000), ("sqlite", 1_500)])
def test_thousands_of_open_callbacks_are_answered_in_random_order(kind: str, count: int, tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        desk = Desk()
        store: Store = MemoryStore() if kind == "memory" else SqliteStore(tmp_path / "x.db", off_loop=clock.off_loop)
        async with engine_with(clock, desk, store) as engine:
            await engine.create_state_machine("machine", machine(("Ask", ask(TimeoutSeconds=3600))))
            executions = await asyncio.gather(*(engine.start("machine", number) for number in range(count)))
            await desk.have(count)
            await clock.sleep_until(clock.now() + 60)
            order = list(range(count))
            random.Random(7).shuffle(order)
            by_number = dict(zip(desk.inputs, desk.tokens, strict=True))
            await asyncio.gather(*(engine.tasks.succeed(by_number[number], {"is": number}) for number in order))
            results = await asyncio.gather(*(execution.result() for execution in executions))
            assert results == [{"is": number} for number in range(count)]
            assert len(engine._open_inbox()._waiting) == 0
            assert await store.token_news() == []

    run(main)


# --- other processes -------------------------------------------------------------------------------------------------


@pytest.mark.real_time  # another process, and the polling of the file
async def test_another_process_answers_for_the_one_that_waits(tmp_path: Path) -> None:
    path = tmp_path / "flows.db"
    desk = Desk()
    engine = Engine(f"sqlite:///{path}")
    engine.register("ask", desk.ask)
    async with engine:
        each: JsonObject = {
            "Type": "Map",
            "ItemProcessor": machine(("Ask", ask(HeartbeatSeconds=50, TimeoutSeconds=60))),
            "End": True,
        }
        execution = await start(engine, machine(("Each", each)), [1, 2, 3, 4])
        await desk.have(4)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.runtime.outside", str(path), "succeed", *desk.tokens),
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdout=subprocess.PIPE,
        )
        output, _ = await process.communicate()
        assert process.returncode == 0
        assert output.decode().split() == ["answered"] * 4
        assert await execution.result(timeout=10) == [{"from": "outside"}] * 4
        with pytest.raises(TaskTimedOut):
            await engine.tasks.succeed(desk.tokens[0])


@pytest.mark.real_time  # heartbeats between two engines on one file
@pytest.mark.parametrize("goes_on", [True, False])
async def test_heartbeats_given_to_another_engine_count_until_they_stop(tmp_path: Path, goes_on: bool) -> None:
    path = tmp_path / "flows.db"
    desk = Desk()
    engine = Engine(f"sqlite:///{path}")
    engine.register("ask", desk.ask)
    async with engine, Engine(f"sqlite:///{path}", resume=False) as other:
        execution = await start(engine, machine(("Ask", ask(HeartbeatSeconds=2))))
        token = await desk.token()
        for _ in range(8):  # four seconds: twice as long as the task lives without a heartbeat
            await other.tasks.heartbeat(token)
            await asyncio.sleep(0.5)
        if goes_on:
            await other.tasks.succeed(token, "alive")
            assert await end_of(execution) == ("SUCCEEDED", "alive")
        else:
            assert await end_of(execution) == ("FAILED", ["States.Timeout", None])
            with pytest.raises(TaskTimedOut):
                await other.tasks.heartbeat(token)


@pytest.mark.real_time  # the polling of the file
async def test_an_answer_given_to_another_engine_is_noticed_at_once(tmp_path: Path) -> None:
    path = tmp_path / "flows.db"
    desk = Desk()
    engine = Engine(f"sqlite:///{path}")
    engine.register("ask", desk.ask)
    async with engine, Engine(f"sqlite:///{path}", resume=False) as other:
        await engine.create_state_machine("machine", machine(("Ask", ask())))
        delays = []
        for number in range(10):
            execution = await engine.start("machine", number)
            await other.tasks.succeed(await desk.token(number), number)
            answered_at = engine.clock.now()
            assert await execution.result() == number
            delays.append(engine.clock.now() - answered_at)
        assert sorted(delays)[5] < 0.2  # 50 ms, and what a busy machine adds
