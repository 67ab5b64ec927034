from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from asfn._json import Payload
from asfn.arn import parse_task_resource
from asfn.engine import Engine
from asfn.errors import ExecutionFailed, TaskFailed
from asfn.tasks.protocol import Done, Submitted, TaskCall
from asfn.testing import (
    Deadlock,
    ScriptedTasks,
    ScriptError,
    VirtualClock,
    answers,
    fails,
    never_answers,
    run,
    submits,
)

if TYPE_CHECKING:
    from pathlib import Path

    from asfn._json import Json
    from asfn.testing import Scripted

LAMBDA = "arn:aws:states:::lambda:invoke"


def call(state_name: str, payload: Json = None, key: str = "first") -> TaskCall:
    return TaskCall(
        resource=parse_task_resource(LAMBDA),
        payload=Payload(payload),
        execution_arn="arn:aws:states:us-east-1:123456789012:execution:m:e",
        execution_name="e",
        state_machine_arn="arn:aws:states:us-east-1:123456789012:stateMachine:m",
        state_name=state_name,
        attempt=0,
        idempotency_key=key,
        deadline_at=None,
        heartbeat_seconds=None,
        role_arn=None,
        token=None,
        heartbeat=lambda: None,
    )


def test_attempts_take_their_answers_in_order() -> None:
    tasks = ScriptedTasks({"Pay": [fails("Card.Declined", "no money"), answers({"id": 7})]})

    async def main() -> Json:
        with pytest.raises(TaskFailed) as caught:
            await tasks.submit(call("Pay", key="a"))
        assert (caught.value.error, caught.value.cause) == ("Card.Declined", "no money")
        done = await tasks.submit(call("Pay", key="b"))
        assert isinstance(done, Done)
        return done.value.value

    assert tasks.left() == {"Pay": 2}
    assert run(main()) == {"id": 7}
    assert tasks.left() == {}
    assert [made.idempotency_key for made in tasks.calls] == ["a", "b"]


def test_a_failure_is_a_new_exception_each_time() -> None:
    scripted = fails("Boom")
    tasks = ScriptedTasks({"A": [scripted], "B": [scripted]})

    async def main() -> list[BaseException]:
        return [await _error(tasks, "A"), await _error(tasks, "B")]

    first, second = run(main())
    assert first is not second


async def _error(tasks: ScriptedTasks, state_name: str) -> BaseException:
    with pytest.raises(TaskFailed) as caught:
        await tasks.submit(call(state_name))
    return caught.value


def test_a_call_repeated_after_a_crash_gets_the_answer_it_had() -> None:
    tasks = ScriptedTasks({"Pay": [answers(1), answers(2)]})

    async def main() -> list[object]:
        made = [await tasks.submit(call("Pay", key=key)) for key in ("a", "a", "b", "a")]
        return [answer.value.value for answer in made if isinstance(answer, Done)]

    assert run(main()) == [1, 1, 2, 1]


def test_answers_with_a_condition_are_found_by_payload() -> None:
    tasks = ScriptedTasks(
        {
            "Item": [
                answers("two").when({"n": 2}),
                answers("big").when(lambda payload: isinstance(payload, int) and payload > 9),
                answers("any"),
            ]
        }
    )

    async def main() -> list[object]:
        payloads: list[Json] = [10, {"n": 3}, {"n": 2}]
        made = [await tasks.submit(call("Item", payload, str(payload))) for payload in payloads]
        return [answer.value.value for answer in made if isinstance(answer, Done)]

    assert run(main()) == ["big", "any", "two"]


@pytest.mark.parametrize(
    ("scripts", "payload", "text"),
    [
        ({}, 1, "state 'Pay' called arn:aws:states:::lambda:invoke (attempt 0), but its script of 0 is used up"),
        ({"Pay": [answers(1).when(2)]}, 1, "none of the 1 answers left fits"),
    ],
)
def test_a_call_without_an_answer_says_what_the_script_lacks(
    scripts: dict[str, list[Scripted]], payload: Json, text: str
) -> None:
    tasks = ScriptedTasks(scripts)
    with pytest.raises(ScriptError) as caught:
        run(tasks.submit(call("Pay", payload)))
    assert text in str(caught.value)
    assert len(tasks.complaints) == 1
    assert text in tasks.complaints[0]


def test_a_delay_is_loop_time() -> None:
    tasks = ScriptedTasks({"Slow": [answers("late").after(3600)]})

    async def main(clock: VirtualClock) -> float:
        start = clock.now()
        await tasks.submit(call("Slow"))
        return clock.now() - start

    assert run(main) == 3600.0


def test_an_attempt_without_an_answer_waits_for_ever() -> None:
    with pytest.raises(Deadlock):
        run(ScriptedTasks({"Lost": [never_answers()]}).submit(call("Lost")))


def test_a_submitted_job_ends_when_it_is_polled() -> None:
    tasks = ScriptedTasks(
        {
            "Job": [
                submits({"JobId": 1}, then=answers("done").after(60)),
                submits({"JobId": 2}, then=fails("Job.Failed")),
            ]
        }
    )

    async def main(clock: VirtualClock) -> tuple[object, float]:
        first, second = call("Job", key="a"), call("Job", key="b")
        submitted = [await tasks.submit(made) for made in (first, second)]
        assert all(isinstance(answer, Submitted) for answer in submitted)
        start = clock.now()
        jobs = [answer.job for answer in submitted if isinstance(answer, Submitted)]
        done = await tasks.poll(first, jobs[0])
        with pytest.raises(TaskFailed, match=r"Job\.Failed"):
            await tasks.poll(second, jobs[1])
        await tasks.cancel(second, jobs[1])
        assert tasks.cancelled == [(second, jobs[1])]
        assert done is not None
        return done.value.value, clock.now() - start

    assert run(main) == ("done", 60.0)


# --- through an engine ---------------------------------------------------------------------------------------------

RETRIED: dict[str, object] = {
    "StartAt": "Pay",
    "States": {
        "Pay": {
            "Type": "Task",
            "Resource": LAMBDA,
            "Parameters": {"FunctionName": "pay", "Payload.$": "$"},
            "TimeoutSeconds": 5,
            "Retry": [{"ErrorEquals": ["Card.Busy", "States.Timeout"], "IntervalSeconds": 3600, "MaxAttempts": 2}],
            "End": True,
        }
    },
}


def _execute(tasks: ScriptedTasks, definition: dict[str, object], seed: int | None = None) -> tuple[Json, float]:
    async def main(clock: VirtualClock) -> tuple[Json, float]:
        async with Engine(clock=clock, resolver=tasks) as engine:
            await engine.create_state_machine("orders", definition)
            start = clock.now()
            execution = await engine.start("orders", {"order": 1})
            return await execution.result(), clock.now() - start

    return run(main, seed=seed)


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_retries_and_timeouts_of_a_state_machine_run_on_virtual_time(seed: int | None) -> None:
    tasks = ScriptedTasks({"Pay": [fails("Card.Busy"), never_answers(), answers("paid")]})
    output, seconds = _execute(tasks, RETRIED, seed)
    assert output == "paid"
    assert [(made.attempt, made.payload.value) for made in tasks.calls] == [
        (attempt, {"FunctionName": "pay", "Payload": {"order": 1}}) for attempt in range(3)
    ]
    assert 3600 + 5 + 7200 <= seconds < 3600 + 5 + 7200 + 10


def test_a_script_that_runs_out_stops_the_execution_with_its_own_error() -> None:
    tasks = ScriptedTasks({"Pay": [fails("Card.Busy")]})
    with pytest.raises(ScriptError, match="attempt 1"):
        _execute(tasks, RETRIED)


def test_a_scripted_failure_fails_the_execution() -> None:
    with pytest.raises(ExecutionFailed) as caught:
        _execute(ScriptedTasks({"Pay": [fails("Card.Declined", "no")]}), RETRIED)
    assert (caught.value.error, caught.value.cause, caught.value.state) == ("Card.Declined", "no", "Pay")


def test_items_of_a_map_find_their_answers_under_every_seed() -> None:
    definition: dict[str, object] = {
        "StartAt": "Each",
        "States": {
            "Each": {
                "Type": "Map",
                "ItemsPath": "$.items",
                "ItemProcessor": {
                    "StartAt": "Work",
                    "States": {
                        "Work": {"Type": "Task", "Resource": "arn:aws:lambda:us-east-1:123456789012:function:w",
                                 "End": True}
                    },
                },
                "End": True,
            }
        },
    }  # fmt: skip

    async def main(clock: VirtualClock) -> Json:
        tasks = ScriptedTasks({"Work": [answers(n * n).when(n).after(10 - n) for n in range(8)]})
        async with Engine(clock=clock, resolver=tasks) as engine:
            await engine.create_state_machine("squares", definition)
            execution = await engine.start("squares", {"items": list(range(8))})
            return await execution.result()

    for seed in range(5):
        assert run(main, seed=seed) == [n * n for n in range(8)]


def test_a_year_passes_at_once_on_a_file_too(tmp_path: Path) -> None:
    definition: dict[str, object] = {
        "StartAt": "Wait",
        "States": {
            "Wait": {"Type": "Wait", "Seconds": 300 * 86_400, "Next": "Work"},
            "Work": {"Type": "Task", "Resource": LAMBDA, "Parameters": {"FunctionName": "w"}, "End": True},
        },
    }

    async def main(clock: VirtualClock) -> tuple[Json, float]:
        tasks = ScriptedTasks({"Work": [answers("done")]})
        async with Engine(f"sqlite:///{tmp_path}/flows.db", clock=clock, resolver=tasks) as engine:
            await engine.create_state_machine("slow", definition)
            start = clock.now()
            execution = await engine.start("slow")
            return await execution.result(), clock.now() - start

    assert run(main, seed=1) == ("done", 300 * 86_400)


def test_scripted_values_are_immutable() -> None:
    scripted = answers(1)
    assert scripted.after(5) == replace(scripted, delay_seconds=5)
    assert scripted.delay_seconds == 0


def test_a_parsed_payload_keeps_its_text() -> None:
    async def main() -> str:
        answer = await ScriptedTasks({"A": [answers(Payload.parse("[1,  2]"))]}).submit(call("A"))
        await asyncio.sleep(0)
        assert isinstance(answer, Done)
        return answer.value.text

    assert run(main()) == "[1,  2]"
