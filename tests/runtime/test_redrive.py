"""Redrive: what is done again, what is kept, AWS's rules, and a process that dies at any commit of a redriven run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from asfn._json import Json, JsonObject
from asfn.engine import Engine
from asfn.errors import (
    ExecutionFailed,
    ExecutionNotRedrivable,
    InvalidArn,
    InvalidExecutionInput,
    InvalidParameter,
    TaskFailed,
)
from asfn.limits import Limits
from asfn.runtime.handle import Execution
from asfn.store.memory import MemoryStore
from asfn.store.protocol import Store
from asfn.store.records import Redrive
from asfn.store.sqlite import SqliteStore
from asfn.testing.faults import FaultyStore
from asfn.testing.loop import DEFAULT_START_AT, VirtualClock, run
from tests.runtime.lives import ARN, Reply, Tasks, chains
from tests.runtime.workflows import JOB, RETRY, each, machine, parallel, task

DAY = 86_400.0
CALLBACK = "arn:aws:states:::lambda:invoke.waitForTaskToken"


class Bench:
    """An engine with one function, `work`, whose answers `script` gives by (state name, event)."""

    def __init__(self, clock: VirtualClock, script: Callable[[str, Any], Json], **options: Any) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.keys: list[str] = []
        self.engine = Engine(options.pop("store", None) or MemoryStore(), clock=clock, **options)

        async def work(event: Any, context: Any) -> Any:
            self.calls.append((context.state_name, event))
            self.keys.append(context.idempotency_key)
            await asyncio.sleep(1)
            return script(context.state_name, event)

        self.engine.register("work", work)

    async def fail(self, definition: JsonObject, input: Json = None) -> Execution:
        """An execution that has ended, and did not succeed."""
        await self.engine.create_state_machine("machine", definition)
        execution = await self.engine.start("machine", input, name="x")
        with pytest.raises(ExecutionFailed):
            await execution.result()
        return execution


class Switch:
    """A script: what `broken` holds fails, the rest gives its event back."""

    def __init__(self, *broken: Any, error: str = "Broken") -> None:
        self.broken = list(broken)
        self.error = error

    def __call__(self, state: str, event: Any) -> Json:
        if state in self.broken or event in self.broken:
            raise TaskFailed(self.error, f"{state}: {event}")
        return event  # type: ignore[no-any-return]


def on_loop(main: Callable[[VirtualClock], Coroutine[Any, Any, None]]) -> None:
    run(main)


def types(history: list[JsonObject]) -> list[str]:
    return [str(event["type"]) for event in history]


def after_redrive(history: list[JsonObject]) -> list[JsonObject]:
    last = max(number for number, event in enumerate(history) if event["type"] == "ExecutionRedriven")
    return history[last:]


# --- states ----------------------------------------------------------------------------------------------------------


def test_a_failed_task_is_scheduled_again_without_being_entered_again() -> None:
    async def main(clock: VirtualClock) -> None:
        script = Switch("Work")
        bench = Bench(clock, script)
        async with bench.engine:
            definition = machine(
                ("First", task("work", "Work")), ("Work", task("work", "After", Retry=RETRY)), ("After", task("work"))
            )
            execution = await bench.fail(definition, {"n": 1})
            ended = await execution.describe()
            assert (ended.redrive_status, ended.redrive_status_reason) == ("REDRIVABLE", None)
            script.broken.clear()
            await asyncio.sleep(10)
            assert await execution.redrive() == clock.now()
            running = await execution.describe()
            assert (running.status, running.stopped_at, running.error) == ("RUNNING", None, None)
            assert (running.redrive_count, running.redriven_at) == (1, ended.stopped_at + 10)  # type: ignore[operator]
            assert running.redrive_status_reason == "Execution is RUNNING and cannot be redriven"
            assert await execution.result() == {"n": 1}
            assert [state for state, _ in bench.calls] == ["First", "Work", "Work", "After"]
            assert len(set(bench.keys)) == 4
            history = await execution.history()
            assert [event["id"] for event in history] == list(range(1, len(history) + 1))
            again = after_redrive(history)
            assert types(again)[:5] == [
                "ExecutionRedriven", "LambdaFunctionScheduled", "LambdaFunctionStarted", "LambdaFunctionSucceeded",
                "TaskStateExited",
            ]  # fmt: skip
            assert again[0]["executionRedrivenEventDetails"] == {"redriveCount": 1}
            assert types(history)[-len(again) - 1] == "ExecutionFailed"
            assert again[0]["previousEventId"] == len(history) - len(again)
            assert again[1]["previousEventId"] == again[0]["id"]

    on_loop(main)


def test_the_context_object_tells_of_the_redrive() -> None:
    async def main(clock: VirtualClock) -> None:
        script = Switch("Work")
        bench = Bench(clock, script)
        async with bench.engine:
            tell: Json = {
                "c.$": "$$.Execution.RedriveCount",
                "t.$": "$$.Execution.RedriveTime",
                "r.$": "$$.State.RetryCount",
            }
            definition = machine(("Work", task("work", "Tell")), ("Tell", task("work", Parameters=tell)))
            execution = await bench.fail(definition, 1)
            script.broken.clear()
            await execution.redrive()
            assert await execution.result() == {"c": 1, "t": "2025-01-01T00:00:01Z", "r": 0}

    on_loop(main)


def test_retries_count_from_nought_and_a_timeout_starts_again() -> None:
    async def main(clock: VirtualClock) -> None:
        script = Switch("Work", error="Flaky")
        bench = Bench(clock, script)
        async with bench.engine:
            definition = machine(("Work", task("work", Retry=RETRY, TimeoutSeconds=5)), TimeoutSeconds=30)
            execution = await bench.fail(definition, 1)
            assert len(bench.calls) == 4
            await asyncio.sleep(100)  # far beyond both timeouts of the first run
            await execution.redrive()
            with pytest.raises(ExecutionFailed, match="FAILED"):
                await execution.result()
            assert len(bench.calls) == 8
            script.broken.clear()
            await execution.redrive()
            assert await execution.result() == 1
            assert (await execution.describe()).redrive_count == 2
            assert [event["executionRedrivenEventDetails"] for event in await execution.history()
                    if event["type"] == "ExecutionRedriven"] == [{"redriveCount": 1}, {"redriveCount": 2}]  # fmt: skip

    on_loop(main)


def test_what_timed_out_runs_again_for_as_long_as_the_first_time() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, Switch())
        async with bench.engine:
            nap: JsonObject = {"Type": "Wait", "Seconds": 20, "Next": "Work"}
            execution = await bench.fail(machine(("Nap", nap), ("Work", task("work")), TimeoutSeconds=15), 1)
            ended = await execution.describe()
            assert ended.status == "TIMED_OUT"
            await asyncio.sleep(3)
            at = await execution.redrive()
            with pytest.raises(ExecutionFailed, match="TIMED_OUT"):
                await execution.result()
            assert (await execution.describe()).stopped_at == at + 15
            assert types(await execution.history()).count("WaitStateEntered") == 1

    on_loop(main)


def test_a_wait_whose_moment_has_passed_exits_at_once() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, Switch())
        async with bench.engine:
            nap: JsonObject = {"Type": "Wait", "Timestamp": "2025-01-01T00:00:20Z", "End": True}
            await bench.engine.create_state_machine("machine", machine(("Nap", nap)))
            execution = await bench.engine.start("machine", 1, name="x")
            await asyncio.sleep(5)
            await execution.stop()
            assert (await execution.describe()).status == "ABORTED"
            await asyncio.sleep(60)
            at = await execution.redrive()
            assert await execution.result() == 1
            assert (await execution.describe()).stopped_at == at
            assert types(after_redrive(await execution.history())) == [
                "ExecutionRedriven", "WaitStateExited", "ExecutionSucceeded",
            ]  # fmt: skip

    on_loop(main)


def test_a_fail_state_is_entered_again_and_fails_again() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, Switch())
        async with bench.engine:
            execution = await bench.fail(machine(("No", {"Type": "Fail", "Error": "No", "Cause": "never"})), 1)
            await execution.redrive()
            with pytest.raises(ExecutionFailed, match="never"):
                await execution.result()
            assert types(after_redrive(await execution.history())) == [
                "ExecutionRedriven", "FailStateEntered", "ExecutionFailed",
            ]  # fmt: skip

    on_loop(main)


def test_a_failed_pass_exits_without_being_run() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, Switch())
        async with bench.engine:
            bad: JsonObject = {"Type": "Pass", "Parameters": {"x.$": "$.missing"}, "Next": "Both"}
            inner: JsonObject = {"Type": "Pass", "InputPath": "$.missing", "End": True}
            definition = machine(("Bad", bad), ("Both", parallel(machine(("Worse", inner)))))
            execution = await bench.fail(definition, {"n": 1})
            await execution.redrive()
            with pytest.raises(ExecutionFailed):
                await execution.result()
            await execution.redrive()
            assert await execution.result() == [{"n": 1}]
            assert types(after_redrive(await execution.history())) == [
                "ExecutionRedriven", "PassStateExited", "ParallelStateSucceeded", "ParallelStateExited",
                "ExecutionSucceeded",
            ]  # fmt: skip

    on_loop(main)


def test_a_choice_evaluates_its_rules_again() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, Switch())
        async with bench.engine:
            rule: JsonObject = {"Variable": "$.n", "NumericEquals": 2, "Next": "Done"}
            definition = machine(
                ("Which", {"Type": "Choice", "Choices": [rule]}), ("Done", {"Type": "Succeed"})
            )  # fmt: skip
            execution = await bench.fail(definition, {"n": 1})
            await execution.redrive()
            with pytest.raises(ExecutionFailed):
                await execution.result()
            assert types(after_redrive(await execution.history())) == ["ExecutionRedriven", "ExecutionFailed"]
            await execution.redrive(input={"n": 2})
            assert await execution.result() == {"n": 2}

    on_loop(main)


# --- fan-outs --------------------------------------------------------------------------------------------------------


MAP_IN_PARALLEL = machine(
    ("Set", {"Type": "Pass", "Assign": {"kept": "yes"}, "Next": "Both"}),
    (
        "Both",
        parallel(
            machine(("Items", each(machine(("Work", task("work", Retry=RETRY))), 2, ItemsPath="$.items"))),
            machine(("Other", task("work", Parameters={"other": 1}))),
            machine(("Nap", {"Type": "Wait", "Seconds": 500, "End": True})),
            ResultSelector={"items.$": "$[0]", "kept.$": "$kept"},
        ),
    ),
)


def test_finished_iterations_and_branches_are_kept_and_only_the_others_run_again() -> None:
    async def main(clock: VirtualClock) -> None:
        script = Switch(4)
        bench = Bench(clock, script)
        async with bench.engine:
            execution = await bench.fail(MAP_IN_PARALLEL, {"items": [1, 2, 3, 4, 5, 6]})
            first = len(bench.calls)
            script.broken.clear()
            await execution.redrive()
            assert await execution.result() == {"items": [1, 2, 3, 4, 5, 6], "kept": "yes"}
            # 3 ended in the same turn as 4 failed; 5 and 6 had not begun.
            again = [event for _, event in bench.calls[first:]]
            assert 4 in again
            assert {5, 6} <= set(again)
            assert not {1, 2} & set(again)
            assert {"other": 1} not in again
            assert len(set(bench.keys)) == len(bench.keys)
            history = await execution.history()
            done: list[Any] = [
                event["mapIterationSucceededEventDetails"]["index"]  # type: ignore[index,call-overload]
                for event in history
                if event["type"] == "MapIterationSucceeded"
            ]
            assert sorted(done) == [0, 1, 2, 3, 4, 5]
            assert types(history).count("ParallelStateStarted") == 1
            assert types(history).count("MapStateStarted") == 1

    on_loop(main)


def test_all_branches_run_again_after_a_data_limit() -> None:
    async def main(clock: VirtualClock) -> None:
        answers: dict[str, Json] = {"Small": "s", "Large": "x" * 900}
        limits = Limits(payload_bytes=1_000)
        bench = Bench(clock, lambda state, event: answers[state], limits=limits)
        async with bench.engine:
            branches = parallel(
                machine(("Small", task("work"))),
                machine(("Large", task("work"))),
                ResultSelector={"a.$": "$", "b.$": "$"},
            )
            execution = await bench.fail(machine(("Both", branches)), 1)
            assert (await execution.describe()).error == "States.DataLimitExceeded"
            answers["Large"] = "l"
            await execution.redrive()
            assert await execution.result() == {"a": ["s", "l"], "b": ["s", "l"]}
            assert sorted(state for state, _ in bench.calls) == ["Large", "Large", "Small", "Small"]
            assert types(await execution.history()).count("ParallelStateStarted") == 2

    on_loop(main)


def test_a_fan_out_that_was_retried_in_vain_is_redriven_from_its_last_attempt() -> None:
    async def main(clock: VirtualClock) -> None:
        script = Switch("Bad", error="Flaky")
        bench = Bench(clock, script)
        async with bench.engine:
            both = parallel(
                machine(("Good", task("work"))),
                machine(("Nap", {"Type": "Wait", "Seconds": 2, "Next": "Bad"}), ("Bad", task("work"))),
                Retry=[{"ErrorEquals": ["Flaky"], "MaxAttempts": 2}],
            )
            execution = await bench.fail(machine(("Both", both)), 7)
            assert [state for state, _ in bench.calls] == ["Good", "Bad"] * 3
            await execution.redrive()  # fails again: two fresh retries, in which the whole Parallel runs
            with pytest.raises(ExecutionFailed):
                await execution.result()
            assert [state for state, _ in bench.calls[6:]] == ["Bad", *["Good", "Bad"] * 2]
            script.broken.clear()
            await execution.redrive()
            assert await execution.result() == [7, 7]
            assert [state for state, _ in bench.calls[11:]] == ["Bad"]
            assert len(set(bench.keys)) == len(bench.keys)

    on_loop(main)


def test_a_catcher_sees_what_fails_after_a_redrive() -> None:
    async def main(clock: VirtualClock) -> None:
        script = Switch(2, error="First")
        bench = Bench(clock, script)
        async with bench.engine:
            items = each(
                machine(("Work", task("work"))),
                next="Caught",
                Catch=[{"ErrorEquals": ["Second"], "Next": "Caught", "ResultPath": "$[0]"}],
            )
            execution = await bench.fail(machine(("Items", items), ("Caught", {"Type": "Succeed"})), [1, 2, 3])
            script.error = "Second"
            await execution.redrive()
            result = await execution.result()
            assert isinstance(result, list)
            assert result[0] == {"Error": "Second", "Cause": "Work: 2"}
            assert await bench.engine.store.frames(1) == []

    on_loop(main)


def test_a_callback_task_is_redriven_with_a_new_token() -> None:
    async def main(clock: VirtualClock) -> None:
        tokens: list[str] = []

        def script(state: str, event: Any) -> Json:
            tokens.append(event["token"])
            return {}

        bench = Bench(clock, script)
        async with bench.engine:
            call: JsonObject = {
                "Type": "Task",
                "Resource": CALLBACK,
                "Parameters": {"FunctionName": "work", "Payload": {"token.$": "$$.Task.Token"}},
                "End": True,
            }
            await bench.engine.create_state_machine("machine", machine(("Both", parallel(machine(("Ask", call))))))
            execution = await bench.engine.start("machine", 1, name="x")
            await asyncio.sleep(5)
            await bench.engine.tasks.fail(tokens[0], "No")
            with pytest.raises(ExecutionFailed, match="No"):
                await execution.result()
            await execution.redrive()
            await asyncio.sleep(5)
            assert len(set(tokens)) == 2
            await bench.engine.tasks.succeed(tokens[1], {"yes": True})
            assert await execution.result() == [{"yes": True}]

    on_loop(main)


# --- rules -----------------------------------------------------------------------------------------------------------


def test_what_runs_or_succeeded_is_not_redriven() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, Switch())
        async with bench.engine:
            await bench.engine.create_state_machine("machine", machine(("Work", task("work"))))
            execution = await bench.engine.start("machine", 1, name="x")
            with pytest.raises(ExecutionNotRedrivable, match=r"^Execution is RUNNING and cannot be redriven$"):
                await execution.redrive()
            await execution.result()
            with pytest.raises(ExecutionNotRedrivable, match=r"^Execution is SUCCEEDED and cannot be redriven$"):
                await execution.redrive()
            info = await execution.describe()
            assert (info.redrive_status, info.redrive_status_reason) == (
                "NOT_REDRIVABLE", "Execution is SUCCEEDED and cannot be redriven",
            )  # fmt: skip

    on_loop(main)


def test_fourteen_days_after_its_end_an_execution_cannot_be_redriven() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, Switch("Work"))
        async with bench.engine:
            execution = await bench.fail(machine(("Work", task("work"))), 1)
            await asyncio.sleep(14 * DAY)
            await execution.redrive()
            with pytest.raises(ExecutionFailed):
                await execution.result()
            await asyncio.sleep(14 * DAY + 1)
            with pytest.raises(ExecutionNotRedrivable, match=r"^Execution redrivable period exceeded$"):
                await execution.redrive()

    on_loop(main)


def test_a_full_history_and_a_deleted_machine_cannot_be_redriven() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, Switch("Work"), limits=Limits(history_events=8))
        async with bench.engine:
            execution = await bench.fail(machine(("Work", task("work"))), 1)
            await execution.redrive()
            with pytest.raises(ExecutionFailed):
                await execution.result()
            with pytest.raises(ExecutionNotRedrivable, match=r"^Execution history event limit exceeded$"):
                await execution.redrive()
            await bench.engine.delete_state_machine("machine")
            info = await execution.describe()
            assert info.redrive_status_reason == "State machine is in DELETING status"

    on_loop(main)


def test_a_year_after_its_start_an_execution_cannot_be_redriven_and_no_redrive_outlasts_it() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, Switch())
        async with bench.engine:
            nap: JsonObject = {"Type": "Wait", "Seconds": int(400 * DAY), "End": True}
            await bench.engine.create_state_machine("machine", machine(("Nap", nap)))
            execution = await bench.engine.start("machine", 1, name="x")
            await asyncio.sleep(360 * DAY)
            await execution.stop()
            await asyncio.sleep(DAY)
            await execution.redrive()
            with pytest.raises(ExecutionFailed, match="TIMED_OUT"):
                await execution.result()
            ended = await execution.describe()
            assert ended.stopped_at == ended.started_at + 365 * DAY
            with pytest.raises(ExecutionNotRedrivable, match=r"^Execution has exceeded the max execution time$"):
                await execution.redrive()

    on_loop(main)


def test_the_same_client_token_within_a_quarter_of_an_hour_changes_nothing() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, Switch("Work"))
        async with bench.engine:
            execution = await bench.fail(machine(("Work", task("work"))), 1)
            at = await execution.redrive(client_token="one")
            with pytest.raises(ExecutionFailed):
                await execution.result()
            await asyncio.sleep(10)
            assert await execution.redrive(client_token="one") == at
            assert (await execution.describe()).redrive_count == 1
            assert await execution.redrive(client_token="two") == clock.now()
            with pytest.raises(ExecutionFailed):
                await execution.result()
            await asyncio.sleep(901)
            await execution.redrive(client_token="one")
            with pytest.raises(ExecutionFailed):
                await execution.result()
            assert (await execution.describe()).redrive_count == 3
            for wrong in ("", "x" * 65):
                with pytest.raises(InvalidParameter, match="clientToken"):
                    await execution.redrive(client_token=wrong)

    on_loop(main)


def test_of_two_redrives_at_once_one_is_carried_out() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, Switch("Work"))
        async with bench.engine:
            execution = await bench.fail(machine(("Work", task("work"))), 1)
            results = await asyncio.gather(execution.redrive(), execution.redrive(), return_exceptions=True)
            assert sorted(type(result).__name__ for result in results) == ["ExecutionNotRedrivable", "float"]
            with pytest.raises(ExecutionFailed):
                await execution.result()
            assert len(bench.calls) == 2

    on_loop(main)


def test_an_express_execution_is_not_redriven() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, Switch("Work"))
        async with bench.engine:
            await bench.engine.create_state_machine("quick", machine(("Work", task("work"))), type="EXPRESS")
            execution = await bench.engine.start("quick", 1)
            with pytest.raises(ExecutionFailed):
                await execution.result()
            with pytest.raises(InvalidArn):
                await execution.redrive()
            assert (await execution.describe()).redrive_status is None

    on_loop(main)


def test_a_machine_that_was_updated_meanwhile_is_redriven_as_it_was() -> None:
    async def main(clock: VirtualClock) -> None:
        script = Switch("Work")
        bench = Bench(clock, script)
        async with bench.engine:
            execution = await bench.fail(machine(("Work", task("work"))), 1)
            await bench.engine.update_state_machine("machine", machine(("New", {"Type": "Fail"})))
            script.broken.clear()
            await execution.redrive()
            assert await execution.result() == 1

    on_loop(main)


# --- beyond AWS ------------------------------------------------------------------------------------------------------


THREE = machine(
    ("One", task("work", "Two", Assign={"one.$": "$"}, ResultPath=None)),
    ("Two", parallel(machine(("In", task("work"))), next="Three", ResultPath="$.two")),
    ("Three", task("work", Parameters={"n.$": "$.n", "one.$": "$one"})),
)


def test_a_redrive_from_an_earlier_state_enters_it_again_with_what_it_had() -> None:
    async def main(clock: VirtualClock) -> None:
        script = Switch("Three")
        bench = Bench(clock, script)
        async with bench.engine:
            execution = await bench.fail(THREE, {"n": 1})
            script.broken.clear()
            await execution.redrive(from_state="Two")
            assert await execution.result() == {"n": 1, "one": {"n": 1}}
            assert [state for state, _ in bench.calls] == ["One", "In", "Three", "In", "Three"]
            again = after_redrive(await execution.history())
            assert again[0]["executionRedrivenEventDetails"] == {"redriveCount": 1, "fromState": "Two"}
            assert (again[1]["type"], again[1]["previousEventId"]) == ("ParallelStateEntered", again[0]["id"])

    on_loop(main)


def test_a_redrive_with_another_input_says_so_in_the_history() -> None:
    async def main(clock: VirtualClock) -> None:
        script = Switch("In")
        bench = Bench(clock, script)
        async with bench.engine:
            execution = await bench.fail(THREE, {"n": 1})
            script.broken.clear()
            await execution.redrive(input={"n": 5})
            assert await execution.result() == {"n": 5, "one": {"n": 1}}
            again = after_redrive(await execution.history())
            assert again[0]["executionRedrivenEventDetails"] == {
                "input": '{"n":5}', "redriveCount": 1, "fromState": "Two",
            }  # fmt: skip
            assert (await execution.describe()).input == {"n": 1}

    on_loop(main)


def test_a_redrive_from_a_state_that_is_not_there_or_was_never_entered_is_refused() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, Switch("Two", "In"))
        async with bench.engine:
            execution = await bench.fail(THREE, {"n": 1})
            for state in ("Nowhere", "In"):  # In is not a state of the outermost machine
                with pytest.raises(InvalidParameter, match=state):
                    await execution.redrive(from_state=state)
            with pytest.raises(InvalidParameter, match="give its input"):
                await execution.redrive(from_state="Three")
            with pytest.raises(InvalidExecutionInput):
                await execution.redrive(input="x" * 300_000)
            assert (await execution.describe()).status == "FAILED"
            await execution.redrive(from_state="Three", input={"n": 9})
            assert await execution.result() == {"n": 9, "one": {"n": 1}}

    on_loop(main)


def test_those_who_watch_are_told_that_the_execution_runs_again() -> None:
    async def main(clock: VirtualClock) -> None:
        script = Switch("Work")
        bench = Bench(clock, script)
        told: list[tuple[str, int]] = []
        bench.engine.on_status_change(lambda info: told.append((info.status, info.redrive_count)))
        async with bench.engine:
            execution = await bench.fail(machine(("Work", task("work", "After")), ("After", task("work"))), 1)
            script.broken.clear()
            await execution.redrive()
            events = [event async for event in execution.events()]
            assert events == await execution.history()
            await execution.result()
        assert told == [("RUNNING", 0), ("FAILED", 0), ("RUNNING", 1), ("SUCCEEDED", 1)]

    on_loop(main)


def test_a_job_that_was_stopped_is_submitted_again() -> None:
    async def main(clock: VirtualClock) -> None:
        def reply(state: str, payload: Any, attempt: int) -> Reply:
            return Reply({"n": 1}, job=True, seconds=60)

        tasks = Tasks(reply, clock)
        async with Engine(clock=clock, resolver=tasks) as engine:
            job: JsonObject = {"Type": "Task", "Resource": JOB, "Parameters": {"n": 1}, "End": True}
            await engine.create_state_machine("machine", machine(("Both", parallel(machine(("Job", job))))))
            execution = await engine.start("machine", 1, name="x")
            await asyncio.sleep(10)
            await execution.stop()
            await asyncio.sleep(10)
            assert len(tasks.cancelled) == 1
            await execution.redrive()
            assert await execution.result() == [{"n": 1, "key": tasks.calls[1].idempotency_key}]
            assert tasks.calls[0].idempotency_key != tasks.calls[1].idempotency_key
            assert len(tasks.cancelled) == 1

    on_loop(main)


# --- crashes ---------------------------------------------------------------------------------------------------------


def failed_store(clock: VirtualClock) -> Coroutine[Any, Any, tuple[MemoryStore, float]]:
    """A store with MAP_IN_PARALLEL's execution as it failed."""

    async def fail() -> tuple[MemoryStore, float]:
        store = MemoryStore()
        bench = Bench(clock, Switch(4), store=store)
        async with bench.engine:
            await bench.fail(MAP_IN_PARALLEL, {"items": [1, 2, 3, 4, 5]})
        return store, clock.now()

    return fail()


async def redriven_life(store: Store, clock: VirtualClock, faults: dict[str, Any]) -> tuple[FaultyStore, Bench]:
    """A process that redrives the execution, unless that was done before, and stays until it ends or dies."""
    faulty = FaultyStore(store, **faults)
    bench = Bench(clock, Switch(), store=faulty)

    async def work() -> None:
        async with bench.engine:
            execution = await bench.engine.execution(ARN)
            if (await execution.describe()).status == "FAILED":
                await execution.redrive(client_token="once")
            assert await execution.result() == {"items": [1, 2, 3, 4, 5], "kept": "yes"}

    working = asyncio.ensure_future(work())
    crash = asyncio.ensure_future(faulty.crashed.wait())
    await asyncio.wait({working, crash}, return_when=asyncio.FIRST_COMPLETED)
    if not faulty.crashed.is_set():
        working.result()
    crash.cancel()
    return faulty, bench


async def history_of(store: Store, clock: VirtualClock) -> list[JsonObject]:
    async with Engine(store, clock=clock) as engine:
        return await (await engine.execution(ARN)).history()


@pytest.mark.parametrize("when", ["crash_before", "crash_after"])
def test_a_process_that_dies_at_any_commit_of_a_redriven_run_is_followed_by_one_that_finishes(when: str) -> None:
    async def reference(clock: VirtualClock) -> tuple[int, list[JsonObject]]:
        store, _ = await failed_store(clock)
        faulty, _ = await redriven_life(store, clock, {})
        return faulty.commits, await history_of(store, clock)

    commits, expected = run(reference)
    assert commits > 5
    for number in range(1, commits + 1):

        async def first(clock: VirtualClock, number: int = number) -> tuple[MemoryStore, float, list[str]]:
            store, _ = await failed_store(clock)
            faulty, bench = await redriven_life(store, clock, {when: number})
            assert faulty.crashed.is_set()
            return store, clock.now(), bench.keys

        store, over_at, keys = run(first)

        async def second(clock: VirtualClock, store: MemoryStore = store) -> tuple[list[str], list[JsonObject]]:
            _, bench = await redriven_life(store, clock, {})
            return bench.keys, await history_of(store, clock)

        more, history = run(second, start_at=over_at + 100)
        assert [event["id"] for event in history] == list(range(1, len(history) + 1))
        assert types(history).count("ExecutionRedriven") == 1
        assert sorted(text for _, text in chains(history)) == sorted(text for _, text in chains(expected))
        assert set(keys) <= {*keys, *more}
        assert len(set(more)) == len(more)


def test_a_process_that_dies_while_it_recovers_a_redriven_run_is_followed_by_another() -> None:
    endings = set()
    for first_at, second_at in [(first, second) for first in range(1, 9) for second in range(1, 8)]:
        endings.add(tuple(run_with_two_deaths(first_at, second_at)))
    assert len(endings) == 1


def run_with_two_deaths(first_at: int, second_at: int) -> list[str]:
    """What the redriven execution recorded in the end, sorted."""

    async def first(clock: VirtualClock) -> tuple[MemoryStore, float]:
        store, _ = await failed_store(clock)
        await redriven_life(store, clock, {"crash_after": first_at})
        return store, clock.now()

    store, over_at = run(first)

    async def second(clock: VirtualClock) -> float:
        await redriven_life(store, clock, {"crash_after": second_at})
        return clock.now()

    over_at = run(second, start_at=over_at + 100)

    async def third(clock: VirtualClock) -> list[JsonObject]:
        await redriven_life(store, clock, {})
        return await history_of(store, clock)

    history = run(third, start_at=over_at + 100)
    assert [event["id"] for event in history] == list(range(1, len(history) + 1))
    assert types(history).count("ExecutionRedriven") == 1
    return sorted(text for _, text in chains(history))


def test_a_file_keeps_what_a_redrive_in_another_process_needs(tmp_path: Path) -> None:
    path = tmp_path / "redrive.db"
    script = Switch(4)

    async def first(clock: VirtualClock) -> None:
        bench = Bench(clock, script, store=SqliteStore(path, off_loop=clock.off_loop))
        async with bench.engine:
            await bench.fail(MAP_IN_PARALLEL, {"items": [1, 2, 3, 4, 5], "large": "y" * 3_000})

    async def second(clock: VirtualClock) -> None:
        script.broken.clear()
        bench = Bench(clock, script, store=SqliteStore(path, off_loop=clock.off_loop))
        async with bench.engine:
            execution = await bench.engine.execution(ARN)
            await execution.redrive()
            assert await execution.result() == {"items": [1, 2, 3, 4, 5], "kept": "yes"}
            assert not {1, 2} & {event for _, event in bench.calls if isinstance(event, int)}

    run(first)
    run(second, start_at=DEFAULT_START_AT + DAY)


def test_a_caller_that_goes_away_does_not_undo_the_redrive() -> None:
    async def main(clock: VirtualClock) -> None:
        script = Switch("Work")
        store = MemoryStore()
        bench = Bench(clock, script, store=store)
        written: list[Any] = []
        apply = store.apply

        async def slow(engine: Any, commits: Any) -> Any:
            if any(isinstance(commit, Redrive) for commit in commits):
                written.append(commits)
                await asyncio.sleep(1)
            return await apply(engine, commits)

        store.apply = slow  # type: ignore[method-assign]
        async with bench.engine:
            execution = await bench.fail(machine(("Work", task("work"))), 1)
            script.broken.clear()
            redriving = asyncio.ensure_future(execution.redrive())
            await asyncio.sleep(0.5)
            redriving.cancel()
            await asyncio.sleep(1)
            assert redriving.cancelled()
            assert await execution.result() == 1

    on_loop(main)
