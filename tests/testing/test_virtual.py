"""State machines tested the way a user would, with the engine of the `asfn` fixture but without pytest's part."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from asfn.errors import ExecutionFailed, TaskFailed, UnroutedResource
from asfn.testing import (
    Deadlock,
    ExecutionEnded,
    MockConfigError,
    ScriptError,
    VirtualClock,
    VirtualEngine,
    run,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from asfn._json import Json, JsonObject

    Test = Callable[[VirtualEngine], Awaitable[Any]]

YEAR_SECONDS = 365 * 86_400
SQS = "arn:aws:states:::sqs:sendMessage"
ACTIVITY = "arn:aws:states:us-east-1:123456789012:activity:approve"


def task(resource: str = SQS, **more: Any) -> JsonObject:
    if resource.startswith("arn:aws:states:::"):
        more = {"Parameters": {}, **more}
    return {"Type": "Task", "Resource": resource, **({"End": True} if "Next" not in more else {}), **more}


def machine(**states: Any) -> JsonObject:
    return {"StartAt": next(iter(states)), "States": states}


LOOP = machine(
    Poll=task(
        Parameters={"body.$": "$"},
        Retry=[{"ErrorEquals": ["Busy"], "MaxAttempts": 2, "IntervalSeconds": 1}],
        Next="Ready",
    ),
    Ready={
        "Type": "Choice",
        "Choices": [{"Variable": "$.ready", "BooleanEquals": True, "Next": "Done"}],
        "Default": "Wait",
    },
    Wait={"Type": "Wait", "Seconds": 60, "Next": "Poll"},
    Done={"Type": "Succeed"},
)
WORK = task("arn:aws:lambda:us-east-1:123456789012:function:work")
EACH = machine(Each={"Type": "Map", "ItemProcessor": machine(Work=WORK), "MaxConcurrency": 1, "End": True})


def check(test: Test, *, database: str = "memory://", seed: int | None = None, **definitions: JsonObject) -> Any:
    """Run a test on an engine with these state machines."""

    async def main(clock: VirtualClock) -> Any:
        async with VirtualEngine(database, clock=clock) as engine:
            for name, definition in definitions.items():
                await engine.create_state_machine(name, definition)
            return await test(engine)

    return run(main, seed=seed)


@pytest.mark.parametrize("seed", [None, 1, 2, 3])
def test_mocks_answer_in_their_order_and_the_path_shows_the_way(seed: int | None) -> None:
    async def test(engine: VirtualEngine) -> None:
        poll = engine.mock("Poll").returns({"ready": False}).raises("Busy", times=2).returns({"ready": True}).after(30)
        execution = await engine.start("loop", {"n": 1})
        assert await execution.result() == {"ready": True}
        assert execution.path == ["Poll", "Ready", "Wait", "Poll", "Ready", "Done"]
        assert poll.payloads == [{"body": {"n": 1}}, *[{"body": {"ready": False}}] * 3]
        assert [call.attempt for call in poll.calls] == [0, 0, 1, 2]
        assert engine.clock.elapsed == timedelta(seconds=60 + 1 + 2 + 30)

    check(test, loop=LOOP, seed=seed)


def test_the_last_answer_is_given_for_ever_unless_it_has_a_number() -> None:
    async def test(engine: VirtualEngine) -> None:
        engine.mock("Work").returns(1).returns(2)
        assert await (await engine.start("each", [0] * 5)).result() == [1, 2, 2, 2, 2]
        engine.mock("Work").returns(1, times=2)
        with pytest.raises(ScriptError, match="the mock of state 'Work' was called 1 times more than it has answers"):
            await (await engine.start("each", [0] * 3)).result()
        engine.mock("Work")
        with pytest.raises(ScriptError, match="the mock of state 'Work' has no answer"):
            await (await engine.start("each", [0])).result()

    check(test, each=EACH)


def test_a_mock_may_compute_its_answer_and_keeps_none_of_the_tests_own_values() -> None:
    async def double(payload: int) -> Json:
        if payload == 3:
            raise TaskFailed("Three")
        return {"twice": 2 * payload}

    async def test(engine: VirtualEngine) -> None:
        engine.mock("Work").runs(double)
        assert await (await engine.start("each", [1, 2])).result() == [{"twice": 2}, {"twice": 4}]
        with pytest.raises(ExecutionFailed, match="Three"):
            await (await engine.start("each", [3])).result()
        answer: JsonObject = {"a": 1}
        engine.mock("Work").returns(answer).runs(lambda payload: payload)
        answer["a"] = 2
        assert await (await engine.start("each", [1, 2])).result() == [{"a": 1}, 2]
        with pytest.raises(ValueError, match="nan"):
            engine.mock("Work").returns(float("nan"))

    check(test, each=EACH)


def test_a_mock_may_be_for_one_state_machine_only() -> None:
    async def test(engine: VirtualEngine) -> None:
        engine.mock("Work").returns("any")
        engine.mock("Work", machine="second").returns("second")
        assert await (await engine.start("first", [1])).result() == ["any"]
        assert await (await engine.start("second", [1])).result() == ["second"]

    check(test, first=EACH, second=EACH)


def test_functions_answer_states_that_are_not_mocked() -> None:
    async def test(engine: VirtualEngine) -> None:
        engine.register("double", lambda event: 2 * event)
        engine.mock("Mocked").returns("mocked")
        assert await (await engine.start("two", 4)).result() == ["mocked", 8]

    function = "arn:aws:lambda:us-east-1:123456789012:function:double"
    branches = [machine(Mocked=task(function)), machine(Real=task(function))]
    check(test, two=machine(P={"Type": "Parallel", "Branches": branches, "End": True}))


@pytest.mark.parametrize(
    ("resource", "parameters"),
    [(SQS, {}), ("arn:aws:states:::lambda:invoke", {"Parameters": {"FunctionName": "nobody", "Payload": {}}})],
)
def test_what_nobody_answers_stops_the_test_with_a_hint_instead_of_being_caught(
    resource: str, parameters: JsonObject
) -> None:
    async def test(engine: VirtualEngine) -> None:
        engine.mock("Shipp").returns(1)
        execution = await engine.start("m")
        with pytest.raises(UnroutedResource) as caught:
            await execution.result()
        assert "state 'Ship' is not mocked (mocked are 'Shipp'; use asfn.mock('Ship')), and no " in str(caught.value)

    catch = [{"ErrorEquals": ["States.ALL"], "Next": "Caught"}]
    check(test, m=machine(Ship=task(resource, Catch=catch, **parameters), Caught={"Type": "Succeed"}))


def test_sync_tasks_are_mocked_by_their_result() -> None:
    async def test(engine: VirtualEngine) -> list[Any]:
        engine.mock("Job").raises("Job.Broken").returns({"Status": "SUCCEEDED"}).after(600)
        execution = await engine.start("m")
        assert await execution.result() == {"Status": "SUCCEEDED"}
        return [event["type"] for event in await execution.history()]

    retry = [{"ErrorEquals": ["Job.Broken"], "IntervalSeconds": 1}]
    types = check(test, m=machine(Job=task("arn:aws:states:::glue:startJobRun.sync", Retry=retry)))
    attempt = ["TaskScheduled", "TaskStarted", "TaskSubmitted"]
    assert types[2:-2] == [*attempt, "TaskFailed", *attempt, "TaskSucceeded"]


WAITS = machine(Ask=task(f"{SQS}.waitForTaskToken", Parameters={"token.$": "$$.Task.Token"}, TimeoutSeconds=3600))


def test_the_test_answers_the_token_of_a_callback() -> None:
    async def test(engine: VirtualEngine) -> None:
        execution = await engine.start("ask")
        token = await execution.wait_for_token("Ask")
        await engine.clock.advance(minutes=59)
        await engine.tasks.succeed(token, {"approved": True})
        assert await execution.result() == {"approved": True}
        assert engine.clock.elapsed == timedelta(minutes=59)

    check(test, ask=WAITS)


def test_a_callback_that_nobody_answers_times_out() -> None:
    async def test(engine: VirtualEngine) -> None:
        execution = await engine.start("ask")
        await execution.wait_for_token("Ask")
        await engine.clock.advance(hours=25)
        with pytest.raises(ExecutionFailed, match=r"States\.Timeout"):
            await execution.result()

    check(test, ask=WAITS)


def test_each_token_of_a_state_is_given_once_and_functions_get_theirs_too() -> None:
    async def test(engine: VirtualEngine) -> None:
        seen = []

        @engine.function("ask")
        async def ask(event: dict[str, str]) -> None:
            seen.append(event["token"])

        execution = await engine.start("each", [1, 2, 3])
        tokens = [await execution.wait_for_token("Ask") for _ in range(3)]
        for number, token in enumerate(tokens):
            await engine.tasks.succeed(token, number)
        output = await execution.result()
        assert isinstance(output, list)
        assert sorted(map(str, output)) == ["0", "1", "2"]
        assert sorted(tokens) == sorted(seen)

    parameters = {"FunctionName": "ask", "Payload": {"token.$": "$$.Task.Token"}}
    ask = task("arn:aws:states:::lambda:invoke.waitForTaskToken", Parameters=parameters)
    check(test, each=machine(Each={"Type": "Map", "ItemProcessor": machine(Ask=ask), "End": True}))


def test_waiting_for_a_token_that_cannot_come_says_how_the_execution_ended() -> None:
    async def test(engine: VirtualEngine) -> None:
        execution = await engine.start("short")
        with pytest.raises(ExecutionEnded, match=r"ended as FAILED \(No: why\) before state 'Ask' opened a task token"):
            await execution.wait_for_token("Ask")
        with pytest.raises(ExecutionEnded, match=r"its path: \['Stop'\]"):
            await execution.wait_for_token("Ask")
        unrouted = await engine.start("unrouted")
        with pytest.raises(UnroutedResource, match="state 'Ship' is not mocked"):
            await unrouted.wait_for_token("Ask")

    check(
        test,
        short=machine(Stop={"Type": "Fail", "Error": "No", "Cause": "why"}),
        unrouted=machine(Ship=task(Next="Ask"), Ask=WAITS["States"]["Ask"]),  # type: ignore[index, call-overload]
    )


def test_a_mock_may_answer_for_the_holder_of_a_token_or_leave_it_to_the_test() -> None:
    async def test(engine: VirtualEngine) -> None:
        engine.mock("Ask").returns({"by": "mock"}, times=1).opens_token({"MessageId": "m"})
        assert await (await engine.start("ask")).result() == {"by": "mock"}
        execution = await engine.start("ask")
        token = await execution.wait_for_token("Ask")
        await engine.tasks.fail(token, "Refused", "by the test")
        with pytest.raises(ExecutionFailed, match="Refused: by the test"):
            await execution.result()
        submitted = next(event for event in await execution.history() if event["type"] == "TaskSubmitted")
        assert submitted["taskSubmittedEventDetails"]["output"] == '{"MessageId":"m"}'  # type: ignore[index, call-overload]

    check(test, ask=WAITS)


def test_activities_are_polled_by_the_test_or_mocked() -> None:
    async def test(engine: VirtualEngine) -> None:
        await engine.activities.create("approve")
        execution = await engine.start("m", {"id": 7})
        work = await engine.activities.poll("approve")
        assert work is not None
        await engine.tasks.succeed(work.token, "polled")
        assert await execution.result() == "polled"
        engine.mock("Approve").returns("mocked")
        assert await (await engine.start("m", {"id": 7})).result() == "mocked"

    check(test, m=machine(Approve=task(ACTIVITY)))


# --- MockConfigFile.json -------------------------------------------------------------------------------------------

CONFIG: JsonObject = {
    "StateMachines": {
        "loop": {"TestCases": {"Slow": {"Poll": "ReadyAtLast"}, "TooFew": {"Poll": "Once"}}},
        "each": {"TestCases": {"Counted": {"Work": "Numbers"}, "Hybrid": {}}},
        "ask": {"TestCases": {"Approved": {"Ask": "Yes"}}},
        "act": {"TestCases": {"Approved": {"Approve": "Yes"}}},
    },
    "MockedResponses": {
        "ReadyAtLast": {
            "0": {"Return": {"ready": False}},
            "1-2": {"Throw": {"Error": "Busy", "Cause": "later"}},
            "3": {"Return": {"ready": True}},
        },
        "Once": {"0": {"Return": {"ready": False}}},
        "Numbers": {"0": {"Return": 0}, "1": {"Return": 1}, "2": {"Return": 2}},
        "Yes": {"0": {"Return": {"approved": True}}},
    },
}


@pytest.mark.parametrize("database", ["memory", "sqlite"])
def test_a_test_case_is_chosen_at_the_start_and_counts_per_state_and_execution(tmp_path: Path, database: str) -> None:
    async def test(engine: VirtualEngine) -> None:
        engine.mock_config(CONFIG)
        first, second = await engine.start("loop#Slow"), await engine.start("loop#Slow")
        arn = "arn:aws:states:us-east-1:123456789012:stateMachine:each#Counted"
        third = await engine.start(arn, ["a", "b", "c"])
        assert await first.result() == await second.result() == {"ready": True}
        assert first.path == second.path == ["Poll", "Ready", "Wait", "Poll", "Ready", "Done"]
        assert await third.result() == [0, 1, 2]
        assert third.name != "each#Counted"
        assert third.state_machine_arn == arn.removesuffix("#Counted")

    url = "memory://" if database == "memory" else f"sqlite:///{tmp_path}/flows.db"
    check(test, database=url, loop=LOOP, each=EACH)


def test_an_invocation_without_a_response_fails_the_execution_past_retry_and_catch() -> None:
    async def test(engine: VirtualEngine) -> None:
        engine.mock_config(CONFIG)
        with pytest.raises(ExecutionFailed) as caught:
            await (await engine.start("loop#TooFew")).result()
        assert caught.value.error == "States.Runtime"
        assert caught.value.cause == (
            "the mock configuration: /MockedResponses/Once has no response for invocation 1 of state 'Poll'"
        )

    check(test, loop=LOOP)


def test_states_outside_of_the_test_case_go_to_mocks_and_mocks_go_before_it() -> None:
    async def test(engine: VirtualEngine) -> None:
        engine.mock_config(CONFIG)
        with pytest.raises(UnroutedResource, match="state 'Work' is not mocked"):
            await (await engine.start("each#Hybrid", [1])).result()
        engine.mock("Work").returns("mock")
        assert await (await engine.start("each#Hybrid", [1])).result() == ["mock"]
        assert await (await engine.start("each#Counted", [1])).result() == ["mock"]

    check(test, each=EACH)


def test_callbacks_and_activities_take_their_result_from_the_test_case() -> None:
    async def test(engine: VirtualEngine) -> None:
        engine.mock_config(CONFIG)
        assert await (await engine.start("ask#Approved")).result() == {"approved": True}
        assert await (await engine.start("act#Approved")).result() == {"approved": True}

    check(test, ask=WAITS, act=machine(Approve=task(ACTIVITY)))


def test_the_same_start_again_goes_on_in_its_test_case() -> None:
    async def test(engine: VirtualEngine) -> None:
        engine.mock_config(CONFIG)
        execution = await engine.start("loop#Slow", name="one")
        await engine.clock.advance(30)
        again = await engine.start("loop#Slow", name="one")
        assert again.arn == execution.arn
        assert await again.result() == {"ready": True}
        assert again.path == ["Poll", "Ready", "Wait", "Poll", "Ready", "Done"]

    check(test, loop=LOOP)


def test_a_test_case_without_a_configuration_or_an_unknown_one_is_refused() -> None:
    async def test(engine: VirtualEngine) -> None:
        with pytest.raises(MockConfigError, match=r"loop#Slow needs a mock configuration: call mock_config\(\.\.\.\)"):
            await engine.start("loop#Slow")
        engine.mock_config(CONFIG)
        with pytest.raises(MockConfigError, match="has no test case 'Fast'; it has 'Slow', 'TooFew'"):
            await engine.start("loop#Fast")
        assert await engine.list_executions() == []

    check(test, loop=LOOP)


# --- time and kinds of executions ----------------------------------------------------------------------------------


def test_a_year_of_daily_work_takes_no_time() -> None:
    async def test(engine: VirtualEngine) -> None:
        days = iter(range(1, 366))
        engine.mock("Work").runs(lambda payload: {"day": next(days)})
        execution = await engine.start("yearly", {"day": 0})
        assert await execution.result() == {"day": 365}
        assert engine.clock.elapsed == timedelta(days=364)
        assert execution.path.count("Sleep") == 364

    again = {"Variable": "$.day", "NumericLessThan": 365, "Next": "Sleep"}
    check(
        test,
        yearly=machine(
            Work=task(Next="Again"),
            Again={"Type": "Choice", "Choices": [again], "Default": "Done"},
            Sleep={"Type": "Wait", "Seconds": 86_400, "Next": "Work"},
            Done={"Type": "Succeed"},
        ),
    )


def test_express_executions_have_mocks_and_a_path_too() -> None:
    async def main(clock: VirtualClock) -> None:
        async with VirtualEngine(clock=clock) as engine:
            await engine.create_state_machine("loop", LOOP, type="EXPRESS")
            engine.mock_config(CONFIG)
            execution = await engine.start("loop#Slow")
            assert await execution.result() == {"ready": True}
            assert execution.path == ["Poll", "Ready", "Wait", "Poll", "Ready", "Done"]

    run(main)


def test_a_handle_found_again_knows_the_path() -> None:
    async def test(engine: VirtualEngine) -> None:
        engine.mock("Work").returns(0)
        execution = await engine.start("each", [1, 2])
        await execution.result()
        assert (await engine.execution(execution.arn)).path == ["Each", "Work", "Work"]

    check(test, each=EACH)


def test_waiting_for_what_never_comes_is_a_deadlock_not_a_hang() -> None:
    async def test(engine: VirtualEngine) -> None:
        engine.mock("Work").never_answers()
        execution = await engine.start("each", [1])
        with engine.clock.held():
            await execution.result()

    with pytest.raises(Deadlock, match="time is held"):
        check(test, each=EACH)


def test_after_and_times_are_checked() -> None:
    async def test(engine: VirtualEngine) -> None:
        with pytest.raises(ValueError, match=r"after\(\) belongs behind an answer"):
            engine.mock("Work").after(5)
        with pytest.raises(ValueError, match="times has to be 1 or more, not 0"):
            engine.mock("Work").returns(1, times=0)

    check(test)
