"""What an EvaluationFailed links to: the last event before the step that failed (history.md section 3, rule 13)."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from asfn._json import Json, JsonObject
from asfn.engine import Engine
from asfn.errors import ExecutionFailed
from asfn.testing import ScriptedTasks, VirtualClock, answers, run
from tests.runtime.workflows import each, machine, task


def links(definition: JsonObject, answer: Json = None) -> list[tuple[Any, Any, Any]]:
    """Type, id and previous id of the events of an execution whose input is `[1, 2]`."""

    async def main(clock: VirtualClock) -> list[tuple[Any, Any, Any]]:
        tasks = ScriptedTasks({"Call": [answers(answer)] * 2})
        async with Engine(clock=clock, resolver=tasks) as engine:
            await engine.create_state_machine("machine", {**definition, "QueryLanguage": "JSONata"})
            execution = await engine.start("machine", [1, 2])
            with suppress(ExecutionFailed):
                await execution.result()
            return [(event["type"], event["id"], event["previousEventId"]) for event in await execution.history()]

    return run(main)


def failures(definition: JsonObject, answer: Json = None) -> list[tuple[Any, Any]]:
    """Id and previous id of each EvaluationFailed."""
    return [(own, previous) for kind, own, previous in links(definition, answer) if kind == "EvaluationFailed"]


NOWHERE = "{% $states.context.Nowhere %}"
RETRY: Json = [{"ErrorEquals": ["States.QueryEvaluationError"], "MaxAttempts": 1}]


def test_a_field_that_fails_on_entry_is_linked_to_the_event_before_the_entered_one() -> None:
    assert failures(machine(("First", {"Type": "Pass", "Next": "Call"}), ("Call", task("f", Arguments=NOWHERE)))) == [
        (5, 3)
    ]


def test_an_output_that_fails_after_the_work_is_linked_to_the_end_of_the_work() -> None:
    kinds = links(machine(("Call", task("f", Output=NOWHERE))), 1)
    assert kinds[4:6] == [("LambdaFunctionSucceeded", 5, 4), ("EvaluationFailed", 6, 5)]


def test_an_output_that_fails_after_a_wait_is_linked_to_the_entered_event() -> None:
    wait: JsonObject = {"Type": "Wait", "Seconds": 1, "Output": NOWHERE, "End": True}
    assert failures(machine(("Wait", wait))) == [(3, 2)]


def test_arguments_that_fail_in_a_further_attempt_are_linked_to_the_failure_before() -> None:
    assert failures(machine(("Call", task("f", Arguments=NOWHERE, Retry=RETRY)))) == [(3, 0), (4, 3)]


def test_an_item_selector_that_fails_is_linked_to_the_start_of_the_map() -> None:
    only = each(machine(("Pass", {"Type": "Pass", "End": True})), ItemSelector=NOWHERE)
    assert links(machine(("Each", only)))[2:5] == [
        ("MapStateStarted", 3, 2),
        ("EvaluationFailed", 4, 3),
        ("MapStateFailed", 5, 4),
    ]


def test_the_output_of_a_map_that_fails_is_linked_to_its_last_iteration() -> None:
    only = each(machine(("Pass", {"Type": "Pass", "End": True})), 1, Output=NOWHERE)
    kinds = links(machine(("Each", only)))
    assert kinds[-5:-2] == [
        ("MapIterationSucceeded", 11, 10),
        ("MapStateSucceeded", 12, 11),
        ("EvaluationFailed", 13, 11),
    ]


def test_a_catcher_that_fails_comes_after_the_end_of_its_map() -> None:
    refuse = machine(("Refuse", {"Type": "Fail", "Error": "No"}))
    only = each(refuse, 1, Catch=[{"ErrorEquals": ["States.ALL"], "Output": NOWHERE, "Next": "Done"}])
    assert links(machine(("Each", only), ("Done", {"Type": "Succeed"})))[5:] == [
        ("MapIterationFailed", 6, 5),
        ("MapStateFailed", 7, 5),
        ("EvaluationFailed", 8, 7),
        ("ExecutionFailed", 9, 8),
    ]
