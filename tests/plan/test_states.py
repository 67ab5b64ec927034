"""The data flow of each state type: pure closures, no event loop."""

from __future__ import annotations

import random
from typing import Any

import pytest

from asfn._json import Payload
from asfn.errors import StateFailed
from asfn.language.reader import load
from asfn.limits import Limits
from asfn.plan.effects import CallTask, Failure, FanOut, SleepUntil, Success, Transition
from asfn.plan.scope import ExecutionFacts, Scope
from asfn.plan.states import CompiledState, compile_machine

NOW = 1_000_000.0
RESOURCE = "arn:aws:lambda:us-east-1:123456789012:function:f"
ONE_PASS = {"StartAt": "P", "States": {"P": {"Type": "Pass", "End": True}}}


def compiled(state: dict[str, Any], language: str = "JSONPath") -> CompiledState:
    """The state, compiled inside a machine that has somewhere to go."""
    machine = {
        "QueryLanguage": language,
        "StartAt": "S",
        "States": {"S": state, "N": {"Type": "Succeed"}, "C": {"Type": "Succeed"}},
    }
    states = machine["States"]
    assert isinstance(states, dict)
    reachable = {state.get("Next"), state.get("Default")}
    reachable |= {rule["Next"] for rule in state.get("Choices", []) + state.get("Catch", [])}
    for name in ("N", "C"):
        if name not in reachable:
            del states[name]
    return compile_machine(load(machine), Limits.aws()).states["S"]


def scope(value: Any, variables: dict[str, Any] | None = None) -> Scope:
    facts = ExecutionFacts("arn:x", "x", "role", NOW, Payload(value), "arn:m", "m")
    made = Scope(facts, Payload(value), random.Random(1))
    made.now = made.entered_at = NOW
    made.state_name = "S"
    made.variables = {name: Payload(member) for name, member in (variables or {}).items()}
    return made


def begin(state: dict[str, Any], value: Any, language: str = "JSONPath", **variables: Any) -> Any:
    return compiled(state, language).begin(scope(value, variables))


def settle(state: dict[str, Any], value: Any, result: Any, language: str = "JSONPath") -> Any:
    closure = compiled(state, language).settle
    assert closure is not None
    return closure(scope(value), Payload(result))


def test_pass_hands_on_the_very_payload_it_got() -> None:
    surroundings = scope({"a": 1})
    step = compiled({"Type": "Pass", "Next": "N"}).begin(surroundings)
    assert isinstance(step, Transition)
    assert step.output is surroundings.input


def test_result_path_places_a_result_without_changing_the_input() -> None:
    value = {"a": {"b": 1}}
    step = begin({"Type": "Pass", "Result": 2, "ResultPath": "$.a.c", "Next": "N"}, value)
    assert step.output.value == {"a": {"b": 1, "c": 2}}
    assert value == {"a": {"b": 1}}


def test_parameters_read_the_input_after_input_path_and_result_path_writes_the_raw_input() -> None:
    state = {
        "Type": "Pass",
        "InputPath": "$.inner",
        "Parameters": {"x.$": "$.v"},
        "ResultPath": "$.out",
        "OutputPath": "$.out",
        "End": True,
    }
    step = begin(state, {"inner": {"v": 3}})
    assert isinstance(step, Success)
    assert step.output.value == {"x": 3}


def test_null_paths_give_empty_objects_and_throw_results_away() -> None:
    assert begin({"Type": "Pass", "InputPath": None, "End": True}, {"a": 1}).output.value == {}
    assert begin({"Type": "Pass", "OutputPath": None, "End": True}, {"a": 1}).output.value == {}
    assert begin({"Type": "Pass", "Result": 1, "ResultPath": None, "End": True}, {"a": 1}).output.value == {"a": 1}


def test_an_input_path_that_selects_nothing_fails_in_awss_words() -> None:
    with pytest.raises(StateFailed) as failed:
        begin({"Type": "Pass", "InputPath": "$.no.such", "End": True}, {"a": 1})
    assert (failed.value.error, failed.value.cause) == (
        "States.Runtime",
        "Invalid path '$.no.such' : Missing property in path $['no']",
    )


def test_assign_reads_old_variables_and_output_never_sees_new_ones() -> None:
    state = {"Type": "Pass", "Assign": {"a.$": "$.v", "b.$": "$a"}, "Parameters": {"seen.$": "$a"}, "End": True}
    step = begin({**state, "Assign": {"a.$": "$.seen", "b.$": "$a"}}, {}, a=1)
    assert {name: payload.value for name, payload in step.assigned.items()} == {"a": 1, "b": 1}
    assert step.output.value == {"seen": 1}


def test_wait_sleeps_to_an_absolute_moment() -> None:
    step = begin({"Type": "Wait", "SecondsPath": "$.s", "Next": "N"}, {"s": 7})
    assert isinstance(step, SleepUntil)
    assert (step.at, step.then) == (NOW + 7, "settle")


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        (1.5, "The SecondsPath parameter cannot be parsed as a long value: $.s == 1.5"),
        (-1, "The SecondsPath parameter references a negative value: $.s == -1"),
        (2_147_483_648, "Wait state delay is too long."),
    ],
)
def test_wait_refuses_bad_seconds(value: object, cause: str) -> None:
    with pytest.raises(StateFailed) as failed:
        begin({"Type": "Wait", "SecondsPath": "$.s", "Next": "N"}, {"s": value})
    assert failed.value.cause == cause


def test_task_timeouts_become_absolute_deadlines() -> None:
    step = begin({"Type": "Task", "Resource": RESOURCE, "TimeoutSeconds": 9, "HeartbeatSeconds": 2, "End": True}, {})
    assert isinstance(step, CallTask)
    assert (step.timeout_at, step.timeout_seconds, step.heartbeat_seconds) == (NOW + 9, 9, 2)


def test_task_result_passes_selector_then_path() -> None:
    state = {
        "Type": "Task",
        "Resource": RESOURCE,
        "ResultSelector": {"id.$": "$.order.id"},
        "ResultPath": "$.task",
        "Assign": {"raw.$": "$.order"},
        "Next": "N",
    }
    step = settle(state, {"keep": 1}, {"order": {"id": 5}})
    assert step.output.value == {"keep": 1, "task": {"id": 5}}
    assert step.assigned["raw"].value == {"id": 5}


def test_jsonata_output_and_assign_see_input_result_and_old_variables() -> None:
    state = {
        "Type": "Task",
        "Resource": RESOURCE,
        "Arguments": {"v": "{% $states.input.a %}"},
        "Output": {"sum": "{% $states.input.a + $states.result.b %}"},
        "Assign": {"x": "{% $states.result.b %}"},
        "Next": "N",
    }
    assert begin(state, {"a": 1}, "JSONata").payload.value == {"v": 1}
    step = settle(state, {"a": 1}, {"b": 2}, "JSONata")
    assert step.output.value == {"sum": 3}
    assert step.assigned["x"].value == 2


def test_catch_takes_the_error_output_past_the_states_own_output_fields() -> None:
    state = compiled(
        {
            "Type": "Task",
            "Resource": RESOURCE,
            "OutputPath": None,
            "Catch": [{"ErrorEquals": ["E"], "ResultPath": "$.error", "Assign": {"why.$": "$.Cause"}, "Next": "C"}],
            "Next": "N",
        }
    )
    assert state.recover is not None
    step = state.recover(scope({"a": 1}), Failure("E", "c"))
    assert isinstance(step, Transition)
    assert step.next == "C"
    assert step.output.value == {"a": 1, "error": {"Error": "E", "Cause": "c"}}
    assert step.assigned is not None
    assert step.assigned["why"].value == "c"


def test_recover_gives_the_failure_back_when_nothing_matches() -> None:
    state = compiled({"Type": "Task", "Resource": RESOURCE, "Next": "N"})
    failure = Failure("E", "c")
    assert state.recover is not None
    assert state.recover(scope({}), failure) is failure


def test_map_gives_each_item_its_selector_with_the_context_object() -> None:
    state = compiled(
        {
            "Type": "Map",
            "ItemsPath": "$.items",
            "ItemSelector": {"n.$": "$$.Map.Item.Index", "v.$": "$$.Map.Item.Value", "all.$": "$.k"},
            "MaxConcurrency": 2,
            "ItemProcessor": ONE_PASS,
            "End": True,
        }
    )
    surroundings = scope({"items": ["a", "b"], "k": 9})
    effect = state.begin(surroundings)
    assert isinstance(effect, FanOut)
    assert (effect.count, effect.concurrency) == (2, 2)
    assert state.child_input is not None
    assert state.child_input(surroundings, effect, 1).value == {"n": 1, "v": "b", "all": 9}


def test_map_without_a_limit_runs_forty_at_once() -> None:
    effect = begin({"Type": "Map", "ItemProcessor": ONE_PASS, "End": True}, [1] * 100)
    assert effect.concurrency == 40


def test_map_over_no_list_fails_in_awss_words() -> None:
    with pytest.raises(StateFailed, match=r'Reference path "\$.x" must point to array.'):
        begin({"Type": "Map", "ItemsPath": "$.x", "ItemProcessor": ONE_PASS, "End": True}, {"x": 1})


def test_choice_takes_the_first_rule_that_holds_with_its_own_assign() -> None:
    state = {
        "Type": "Choice",
        "Choices": [
            {"Variable": "$.n", "NumericGreaterThan": 5, "Next": "N", "Assign": {"big": True}},
            {"Variable": "$.n", "NumericGreaterThan": 1, "Next": "C"},
        ],
        "Assign": {"fell.$": "$.n"},
        "Default": "C",
    }
    big, small, none = (begin(state, {"n": value}) for value in (9, 3, 0))
    assert (big.next, big.assigned["big"].value) == ("N", True)
    assert (small.next, small.assigned) == ("C", None)
    assert (none.next, none.assigned["fell"].value) == ("C", 0)


def test_choice_without_match_and_default_fails() -> None:
    state = {"Type": "Choice", "Choices": [{"Variable": "$.n", "NumericEquals": 1, "Next": "N"}]}
    with pytest.raises(StateFailed, match="does not point to a next state"):
        begin(state, {"n": 2})


def test_jsonata_choice_does_not_evaluate_rules_after_the_first_true_one() -> None:
    state = {
        "Type": "Choice",
        "Choices": [
            {"Condition": "{% $states.input.n = 1 %}", "Next": "N", "Output": "{% $states.input.n %}"},
            {"Condition": "{% $states.input.no.such %}", "Next": "C"},
        ],
    }
    step = begin(state, {"n": 1}, "JSONata")
    assert (step.next, step.output.value) == ("N", 1)
    with pytest.raises(StateFailed, match="returned nothing"):
        begin(state, {"n": 2}, "JSONata")


def test_fail_reads_error_and_cause_from_paths_and_expressions() -> None:
    by_path = begin({"Type": "Fail", "ErrorPath": "$.e", "CausePath": "States.Format('{}!', $.e)"}, {"e": "X"})
    assert (by_path.error, by_path.cause, by_path.kind) == ("X", "X!", "fail")
    by_expression = begin({"Type": "Fail", "Error": "{% $states.input.e %}"}, {"e": "X"}, "JSONata")
    assert (by_expression.error, by_expression.cause) == ("X", None)
