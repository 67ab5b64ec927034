"""The data flow of each state type: pure closures, no event loop."""

from __future__ import annotations

import random
from typing import Any

import pytest

from asfn._json import Json, JsonObject, Payload
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
    ("field", "source", "cause"),
    [
        ("Seconds", "'1'", "returned an unexpected result type. Expected 'number', but was 'string' for value: \"1\""),
        ("Seconds", "null", "Expected 'number', but was 'null' for value: null"),
        ("Seconds", "1.5", "The Seconds field cannot be parsed as an integer: 1.5"),
        ("Seconds", "-1", "Seconds must be between 0 and 99999999 but was: -1"),
        ("TimeoutSeconds", "0", "TimeoutSeconds must be between 1 and 99999999 but was: 0"),
        ("HeartbeatSeconds", "100000000", "HeartbeatSeconds must be between 1 and 99999999 but was: 100000000"),
        ("MaxConcurrency", "true", "Expected 'number', but was 'boolean' for value: true"),
        ("MaxConcurrency", "-1", "MaxConcurrency cannot be negative."),
    ],
)  # fmt: skip
def test_a_field_refuses_a_number_that_it_does_not_take(field: str, source: str, cause: str) -> None:
    kinds: dict[str, dict[str, Any]] = {
        "Seconds": {"Type": "Wait"},
        "MaxConcurrency": {"Type": "Map", "Items": [1], "ItemProcessor": ONE_PASS},
    }
    state = kinds.get(field, {"Type": "Task", "Resource": RESOURCE})
    with pytest.raises(StateFailed) as failed:
        begin({**state, field: f"{{% {source} %}}", "End": True}, {}, "JSONata")
    assert failed.value.error == "States.QueryEvaluationError"
    assert failed.value.location == field
    assert failed.value.cause.endswith(cause)


@pytest.mark.parametrize(
    ("credentials", "location", "cause"),
    [
        ({"RoleArn": "{% 5 %}"}, "Credentials/RoleArn", "Expected 'string', but was 'number' for value: 5"),
        ("{% 'arn:x' %}", "Credentials", "Expected 'object', but was 'string' for value: \"arn:x\""),
    ],
)
def test_credentials_of_a_wrong_type_can_be_caught_like_any_expression(
    credentials: Any, location: str, cause: str
) -> None:
    with pytest.raises(StateFailed) as failed:
        begin({"Type": "Task", "Resource": RESOURCE, "Credentials": credentials, "End": True}, {}, "JSONata")
    assert (failed.value.error, failed.value.location) == ("States.QueryEvaluationError", location)
    assert failed.value.cause.endswith(cause)


def test_a_field_takes_a_whole_number_however_it_came_about() -> None:
    assert begin({"Type": "Wait", "Seconds": "{% 0.5 + 1.5 %}", "End": True}, {}, "JSONata").at == NOW + 2


def test_error_and_cause_of_a_fail_are_cut_to_awss_lengths() -> None:
    state = {"Type": "Fail", "Error": "{% $pad('e', 300, 'e') %}", "Cause": "{% $pad('c', 40000, 'c') %}"}
    step = begin(state, {}, "JSONata")
    assert (step.error, step.cause) == ("e" * 256, "c" * 32_768)


def test_wait_takes_seconds_that_are_written_as_text() -> None:
    assert begin({"Type": "Wait", "SecondsPath": "$.s", "Next": "N"}, {"s": "7"}).at == NOW + 7


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        (
            1735689600,
            "The TimestampPath parameter does not reference a valid ISO-8601 extended offset date-time format",
        ),
        (None, "The TimestampPath parameter does not reference an input value: $.t"),
    ],
)
def test_wait_refuses_what_is_no_timestamp(value: object, cause: str) -> None:
    with pytest.raises(StateFailed) as failed:
        begin({"Type": "Wait", "TimestampPath": "$.t", "Next": "N"}, {"t": value})
    assert failed.value.cause.startswith(cause)


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        (1.5, "The SecondsPath parameter cannot be parsed as a long value: $.s == 1.5"),
        (-1, "The SecondsPath parameter references a negative value: $.s == -1"),
        (2_147_483_648, "Wait state delay is too long."),
        ({"raw": "3"}, 'The SecondsPath parameter cannot be parsed as a long value: $.s == {"raw":"3"}'),
        (True, "The SecondsPath parameter cannot be parsed as a long value: $.s == true"),
        ("1.5", "The SecondsPath parameter cannot be parsed as a long value: $.s == 1.5"),
        ("-1", "The SecondsPath parameter references a negative value: $.s == -1"),
        (None, "The SecondsPath parameter does not reference an input value: $.s"),
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


def test_wait_refuses_a_bad_input_path_before_it_waits() -> None:
    with pytest.raises(StateFailed, match="No results for path"):
        begin({"Type": "Wait", "Seconds": 9, "InputPath": "$.x", "End": True}, {})


def test_the_members_of_a_literal_object_are_items_with_a_key() -> None:
    state: dict[str, Any] = {"Type": "Map", "Items": {"a": 1, "b": "{% 1 + 1 %}"}, "ItemProcessor": ONE_PASS}
    fan_out = begin({**state, "End": True}, {}, "JSONata")
    assert (fan_out.count, fan_out.items) == (2, [1, 2])
    plain = compiled({**state, "End": True}, "JSONata").child_input
    chosen = compiled({**state, "ItemSelector": "{% $states.context.Map.Item %}", "End": True}, "JSONata").child_input
    assert plain is not None
    assert chosen is not None
    assert plain(scope({}), fan_out, 1).value == {"Key": "b", "Value": 2}
    assert chosen(scope({}), fan_out, 1).value == {"Index": 1, "Value": 2, "Key": "b"}


def test_map_without_a_limit_runs_forty_at_once() -> None:
    effect = begin({"Type": "Map", "ItemProcessor": ONE_PASS, "End": True}, [1] * 100)
    assert effect.concurrency == 40


def test_map_over_no_list_fails_in_awss_words() -> None:
    with pytest.raises(StateFailed, match=r'Reference path "\$.x" must point to array.') as caught:
        begin({"Type": "Map", "ItemsPath": "$.x", "ItemProcessor": ONE_PASS, "End": True}, {"x": 1})
    assert caught.value.prefixed, "as every error of a path is outside TestState"


@pytest.mark.parametrize(
    ("path", "document", "cause"),
    [
        ("$.chunks", {"a": 1}, 'Unable to apply step "chunks" to input {"a":1}'),
        ("$.found.objects", {"found": {"n": 0}}, 'Unable to apply step "objects" to input {"found":{"n":0}}'),
        ("$.a[1].b", {"a": [1]}, 'Unable to apply step "1" to input {"a":[1]}'),
        ("$v.x", {}, 'Unable to apply step "x" to input {"y":[]}'),
        ("$.x", "text", 'Unable to apply ReferencePath $.x to input "text"'),
    ],
)
def test_map_over_items_that_are_missing_names_the_step(path: str, document: Json, cause: str) -> None:
    with pytest.raises(StateFailed) as caught:
        begin({"Type": "Map", "ItemsPath": path, "ItemProcessor": ONE_PASS, "End": True}, document, v={"y": []})
    assert (caught.value.error, caught.value.cause) == ("States.ReferencePathConflict", cause)
    assert not caught.value.prefixed


def test_map_over_a_variable_without_a_value_names_the_path() -> None:
    with pytest.raises(StateFailed, match=r"Invalid path '\$v.x' : ") as caught:
        begin({"Type": "Map", "ItemsPath": "$v.x", "ItemProcessor": ONE_PASS, "End": True}, {})
    assert caught.value.error == "States.Runtime"


@pytest.mark.parametrize(
    "fields",
    [
        {"InputPath": "$.x"}, {"OutputPath": "$.x"}, {"Parameters": {"a.$": "$.x"}}, {"Parameters": {"a.$": "$"}},
        {"Parameters": {"a.$": "$.x[*]"}}, {"Parameters": {"a": [{"b.$": "$..x"}]}}, {"Assign": {"a.$": "$"}},
    ],
)  # fmt: skip
def test_no_path_is_applied_to_null(fields: JsonObject) -> None:
    with pytest.raises(StateFailed) as caught:
        begin({"Type": "Pass", "End": True, **fields}, None)
    assert (caught.value.error, caught.value.cause) == (
        "States.Runtime",
        "Unable to apply Path transformation to null or empty input.",
    )


@pytest.mark.parametrize(
    ("fields", "output"),
    [({}, None), ({"InputPath": "$", "OutputPath": "$"}, None), ({"Parameters": {"a.$": "$$.State.Name"}}, {"a": "S"})],
)
def test_null_goes_where_no_path_looks_at_it(fields: JsonObject, output: Json) -> None:
    assert begin({"Type": "Pass", "End": True, **fields}, None).output.value == output


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
