"""TestState's data: stages of one state, and that watching a state changes nothing of what it does."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from asfn._json import Payload
from asfn.errors import AsfnError, StateFailed
from asfn.language.model import MISSING, MapState
from asfn.language.reader import build_state, load
from asfn.limits import Limits
from asfn.plan.effects import CallTask, Failure, FanOut, SleepUntil, Success, Transition
from asfn.plan.inspect import Inspector, Reading, explain_choice, inspection_data, readings
from asfn.plan.scope import ExecutionFacts, Scope
from asfn.plan.states import compile_machine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asfn.language.model import StateMachine
    from asfn.plan.effects import Step

NOW = 1_000_000.0
CALL = "arn:aws:states:::lambda:invoke"
INNER = {"StartAt": "P", "States": {"P": {"Type": "Pass", "End": True}}}
RECORDED = Path(__file__).parents[3] / "shared" / "conformance" / "asl"


def scope(text: str, variables: dict[str, Any] | None = None) -> Scope:
    payload = Payload.parse(text)
    facts = ExecutionFacts("arn:x", "x", "role", NOW, payload, "arn:m", "m")
    made = Scope(facts, payload, random.Random(1))
    made.now = made.entered_at = NOW
    made.state_name = "S"
    made.variables = {name: Payload(value) for name, value in (variables or {}).items()}
    return made


def inspector(fields: dict[str, Any], text: str = "{}", **variables: Any) -> Inspector:
    return Inspector(build_state("S", fields), Limits.aws(), scope(text, variables))


def stages(found: Inspector) -> dict[str, Any]:
    return {stage.field: stage.gave.value for stage in found.stages}


def data(found: Inspector) -> dict[str, Any]:
    return inspection_data(found, None, None)


# --- stages --------------------------------------------------------------------------------------------------------


def test_every_stage_of_a_jsonpath_task_is_seen_in_order() -> None:
    found = inspector(
        {
            "Type": "Task",
            "Resource": CALL,
            "InputPath": "$.a",
            "Parameters": {"FunctionName": "f", "x.$": "$.b"},
            "ResultSelector": {"y.$": "$.Payload"},
            "ResultPath": "$.out",
            "OutputPath": "$.out",
            "Assign": {"v.$": "$.Payload"},
            "Next": "N",
        },
        '{"a": {"b": 1}}',
    )
    assert isinstance(found.begin(), CallTask)
    step = found.settle(Payload.parse('{"Payload": 2}'))
    assert isinstance(step, Transition)
    assert step.output.value == {"y": 2}
    assert [(stage.field, stage.gave.value) for stage in found.stages] == [
        ("InputPath", {"b": 1}),
        ("Parameters", {"FunctionName": "f", "x": 1}),
        ("result", {"Payload": 2}),
        ("Assign", {"v": 2}),
        ("ResultSelector", {"y": 2}),
        ("ResultPath", {"a": {"b": 1}, "out": {"y": 2}}),
        ("OutputPath", {"y": 2}),
    ]


def test_stages_that_the_state_does_not_have_repeat_the_one_before_in_its_own_text() -> None:
    found = inspector({"Type": "Task", "Resource": CALL, "End": True}, '{ "a": 1 }')
    found.begin()
    found.settle(Payload.parse("[1, 2]"))
    assert data(found) == {
        "input": '{ "a": 1 }',
        "afterInputPath": '{ "a": 1 }',
        "afterParameters": '{ "a": 1 }',
        "result": "[1, 2]",
        "afterResultSelector": "[1, 2]",
        "afterResultPath": "[1, 2]",
    }


def test_input_path_null_is_seen_though_literal_parameters_do_not_need_it() -> None:
    found = inspector({"Type": "Pass", "InputPath": None, "Parameters": {"k": 1}, "End": True}, '{"a": 1}')
    found.begin()
    assert (stages(found)["InputPath"], stages(found)["Parameters"]) == ({}, {"k": 1})


@pytest.mark.parametrize(
    ("fields", "members"),
    [
        ({"Type": "Pass"}, {"afterInputPath", "afterParameters", "afterResultSelector", "afterResultPath"}),
        ({"Type": "Pass", "Result": 1}, {"result", "afterResultSelector", "afterResultPath"}),
        ({"Type": "Pass", "QueryLanguage": "JSONata", "Output": 1}, set()),
        ({"Type": "Succeed"}, {"afterInputPath"}),
        ({"Type": "Fail", "Error": "E"}, {"afterInputPath"}),
        ({"Type": "Fail", "QueryLanguage": "JSONata"}, set()),
        ({"Type": "Wait", "Seconds": 1}, {"afterInputPath"}),
        ({"Type": "Choice", "Choices": [{"Variable": "$.a", "IsPresent": False, "Next": "N"}]}, {"afterInputPath"}),
        (
            {"Type": "Choice", "QueryLanguage": "JSONata", "Choices": [{"Condition": True, "Next": "N"}]},
            set(),
        ),
        ({"Type": "Task", "Resource": CALL, "QueryLanguage": "JSONata"}, {"afterArguments", "result"}),
        ({"Type": "Parallel", "Branches": [INNER]}, {"afterResultSelector", "afterResultPath"}),
        ({"Type": "Parallel", "Branches": [INNER], "QueryLanguage": "JSONata", "Arguments": 1}, set()),
        (
            {"Type": "Map", "ItemProcessor": INNER, "ItemsPath": "$.l"},
            {"afterInputPath", "afterItemsPath", "afterResultSelector", "afterResultPath", "maxConcurrency"},
        ),
        (
            {"Type": "Map", "ItemProcessor": INNER, "QueryLanguage": "JSONata", "Items": [1]},
            {"maxConcurrency"},
        ),
    ],
)
def test_each_type_and_language_tells_the_members_that_aws_tells(fields: dict[str, Any], members: set[str]) -> None:
    found = inspector({"End": True, **fields}, '{"l": [1]}')
    step = found.begin()
    if isinstance(step, (CallTask, FanOut, SleepUntil)):
        step = found.settle(Payload([]))
    assert isinstance(step, (Success, Transition, Failure))
    assert set(data(found)) == {"input", *members}


def test_a_failed_stage_leaves_the_ones_before_it() -> None:
    found = inspector({"Type": "Map", "ItemProcessor": INNER, "ItemsPath": "$.l", "End": True}, '{"l": 1}')
    step = found.begin()
    assert isinstance(step, Failure)
    assert (step.error, step.cause) == ("States.Runtime", 'Reference path "$.l" must point to array.')
    assert set(data(found)) == {"input", "afterInputPath"}


def test_a_wait_that_fails_has_taken_its_input_path() -> None:
    found = inspector({"Type": "Wait", "SecondsPath": "$.n", "InputPath": "$.l", "End": True}, '{"l": {"n": -1}}')
    assert isinstance(found.begin(), Failure)
    assert data(found) == {"input": '{"l": {"n": -1}}', "afterInputPath": '{"n":-1}'}


def test_causes_have_no_prefix_and_name_the_field() -> None:
    fields = {"Type": "Pass", "QueryLanguage": "JSONata", "Output": "{% $states.input.no %}", "End": True}
    step = inspector(fields).begin()
    assert isinstance(step, Failure)
    assert step.cause == (
        "The JSONata expression '$states.input.no' specified for the field 'Output' returned nothing (undefined)."
    )


def test_items_keep_the_text_they_have_in_the_input() -> None:
    fields: dict[str, Any] = {"Type": "Map", "ItemProcessor": INNER, "ItemsPath": "$.a.l", "End": True}
    found = inspector(fields, '{"l": [0], "a": {"l": [1,  "two"]}}')
    found.begin()
    assert data(found)["afterItemsPath"] == '[1,  "two"]'


# --- Map -----------------------------------------------------------------------------------------------------------


def test_item_selector_shows_the_input_of_every_iteration() -> None:
    selector = {"v.$": "$$.Map.Item.Value", "i.$": "$$.Map.Item.Index", "k.$": "$.k"}
    fields = {"Type": "Map", "ItemProcessor": INNER, "ItemsPath": "$.l", "ItemSelector": selector, "End": True}
    found = inspector(fields, '{"l": [5, 6], "k": 0}')
    found.begin()
    assert json.loads(data(found)["afterItemSelector"]) == [{"v": 5, "i": 0, "k": 0}, {"v": 6, "i": 1, "k": 0}]


def test_what_an_item_reader_read_takes_the_place_of_items() -> None:
    processor: dict[str, Any] = {**INNER, "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}}
    fields: dict[str, Any] = {
        "Type": "Map",
        "QueryLanguage": "JSONata",
        "ItemReader": {
            "Resource": "arn:aws:states:::s3:getObject",
            "ReaderConfig": {"InputType": "JSON", "ItemsPointer": "/a"},
            "Arguments": {"Bucket": "{% $states.input.b %}", "Key": "k"},
        },
        "ItemBatcher": {"MaxItemsPerBatch": 2, "BatchInput": {"n": "{% 1 + 1 %}"}},
        "ItemProcessor": processor,
        "End": True,
    }
    found = Inspector(build_state("S", fields), Limits.aws(), scope('{"b": "bucket"}'), [1, 2, 3])
    step = found.begin()
    assert isinstance(step, FanOut)
    assert step.count == 3
    assert stages(found)["ItemReader/Arguments"] == {"Bucket": "bucket", "Key": "k"}
    assert data(found)["afterItemsPointer"] == "[1,2,3]"
    assert json.loads(data(found)["afterItemBatcher"]) == [
        {"BatchInput": {"n": 2}, "Items": [1, 2]},
        {"BatchInput": {"n": 2}, "Items": [3]},
    ]


@pytest.mark.parametrize(
    ("fields", "failed", "exceeds"),
    [
        ({}, 3, False),
        ({"ToleratedFailureCount": 1}, 1, False),
        ({"ToleratedFailureCount": 1}, 2, True),
        ({"ToleratedFailureCount": 0}, 1, True),
        ({"ToleratedFailureCountPath": "$.two"}, 2, False),
        ({"ToleratedFailureCountPath": "$.two"}, 3, True),
        ({"ToleratedFailurePercentage": 50}, 2, False),
        ({"ToleratedFailurePercentage": 50}, 3, True),
        ({"ToleratedFailurePercentagePath": "$.text"}, 1, True),
        ({"ToleratedFailureCount": 3, "ToleratedFailurePercentage": 25}, 2, True),
    ],
)
def test_tolerance_is_exceeded_by_more_than_either_bound(fields: dict[str, Any], failed: int, exceeds: bool) -> None:
    base = {"Type": "Map", "ItemProcessor": INNER, "ItemsPath": "$.l", "End": True}
    found = inspector({**base, **fields}, '{"l": [1, 2, 3, 4], "two": 2, "text": "12.5"}')
    assert isinstance(found.begin(), FanOut)
    assert found.exceeds_tolerance(failed, 4) is exceeds


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"ToleratedFailureCountPath": "$.minus"}, "ToleratedFailureCount cannot be negative."),
        ({"ToleratedFailurePercentagePath": "$.minus"}, "ToleratedFailurePercentage must be between 0 and 100."),
        (
            {"ToleratedFailurePercentagePath": "$.word"},
            'The ToleratedFailurePercentagePath field refers to value "word" which is not a valid float: $.word',
        ),
        (
            {"ToleratedFailureCountPath": "$.half"},
            'The ToleratedFailureCountPath field refers to value "1.5" which is not a valid integer: $.half',
        ),
    ],
)
def test_a_bad_tolerance_is_a_runtime_error_in_awss_words(fields: dict[str, Any], cause: str) -> None:
    base = {"Type": "Map", "ItemProcessor": INNER, "ItemsPath": "$.l", "End": True}
    step = inspector({**base, **fields}, '{"l": [], "minus": -1, "word": "word", "half": 1.5}').begin()
    assert isinstance(step, Failure)
    assert (step.error, step.cause, step.terminal) == ("States.Runtime", cause, True)


# --- Retry and Catch -----------------------------------------------------------------------------------------------

RETRIED: dict[str, Any] = {
    "Type": "Task",
    "Resource": CALL,
    "Retry": [
        {"ErrorEquals": ["Other"]},
        {"ErrorEquals": ["E"], "IntervalSeconds": 2, "MaxAttempts": 3, "BackoffRate": 1.5},
    ],
    "Catch": [{"ErrorEquals": ["Other"], "Next": "N"}, {"ErrorEquals": ["States.ALL"], "Next": "C"}],
    "End": True,
}


@pytest.mark.parametrize(
    ("count", "error", "expected"),
    [
        (0, "E", {"retryIndex": 1, "retryBackoffIntervalSeconds": 2}),
        (1, "E", {"retryIndex": 1, "retryBackoffIntervalSeconds": 3}),
        (2, "E", {"retryIndex": 1, "retryBackoffIntervalSeconds": 4}),
        (3, "E", {"catchIndex": 1}),
        (0, "X", {"catchIndex": 1}),
        (0, "States.Runtime", None),
    ],
)
def test_error_details_name_who_took_the_failure(count: int, error: str, expected: dict[str, Any] | None) -> None:
    found = inspector(RETRIED)
    found.scope.retries = dict.fromkeys(range(2), count)
    found.begin()
    failure = Failure(error, None, "runtime" if error == "States.Runtime" else "task")
    assert inspection_data(found, None, found.recover(failure)).get("errorDetails") == expected


def test_a_catchers_own_failure_is_what_is_left() -> None:
    catch = [{"ErrorEquals": ["States.ALL"], "Output": "{% $states.input.no %}", "Next": "C"}]
    found = inspector({"Type": "Task", "QueryLanguage": "JSONata", "Resource": CALL, "Catch": catch, "End": True})
    found.begin()
    left = found.recover(Failure("E", "c")).step
    assert isinstance(left, Failure)
    assert left.location == "Catch[0]/Output"


def test_a_task_result_over_the_limit_is_a_failure_that_can_be_caught() -> None:
    found = inspector(RETRIED)
    found.begin()
    step = found.settle(Payload("x" * 300_000))
    assert isinstance(step, Failure)
    assert (step.error, step.terminal) == ("States.DataLimitExceeded", False)
    assert "The state/task 'lambda' returned" in str(step.cause)


# --- expressions and rules -----------------------------------------------------------------------------------------


def test_readings_put_each_path_beside_what_it_gave() -> None:
    written: Any = {"a.$": "$.x", "b": {"c.$": "States.UUID()", "d": "$.literal"}, "e": [{"f.$": "$$"}]}
    gave: Any = {"a": 1, "b": {"c": "u", "d": "$.literal"}, "e": [{"f": {}}]}
    assert list(readings(written, gave, "JSONPath")) == [
        Reading("/a.$", "$.x", 1),
        Reading("/b/c.$", "States.UUID()", "u"),
        Reading("/e/0/f.$", "$$", {}),
    ]


def test_readings_of_jsonata_are_the_expressions() -> None:
    written: Any = {"a": "{% 1 %}", "b": ["text", "{% 2 %}"], "c.$": "$.x"}
    gave: Any = {"a": 1, "b": ["text", 2], "c.$": "$.x"}
    assert list(readings(written, gave, "JSONata")) == [Reading("/a", "{% 1 %}", 1), Reading("/b/1", "{% 2 %}", 2)]


def test_choice_rules_show_what_their_paths_saw_and_stop_where_aws_stops() -> None:
    fields = {
        "Type": "Choice",
        "InputPath": "$.in",
        "Choices": [
            {
                "And": [
                    {"Variable": "$.a", "NumericEquals": 2},
                    {"Variable": "$.missing", "StringEquals": "never looked at"},
                ],
                "Next": "N",
            },
            {"Or": [{"Variable": "$.a", "NumericEqualsPath": "$.b"}, {"Variable": "$.a", "IsNull": True}], "Next": "M"},
            {"Variable": "$.a", "IsPresent": True, "Next": "N"},
        ],
    }
    found = inspector(fields, '{"in": {"a": 1, "b": 1}}')
    step = found.begin()
    assert isinstance(step, Transition)
    assert step.next == "M"
    first, second, third = explain_choice(found)
    assert (first.text, first.outcome) == ("And", False)
    assert [(part.text, part.outcome, part.saw) for part in first.parts] == [
        ("$.a NumericEquals 2", False, (("$.a", 1),)),
        ('$.missing StringEquals "never looked at"', None, ()),
    ]
    assert second.outcome is True
    assert second.parts[0].saw == (("$.a", 1), ("$.b", 1))
    assert second.parts[1].outcome is None
    assert (third.outcome, third.saw) == (None, ())


def test_a_path_that_finds_nothing_is_shown_so() -> None:
    fields = {"Type": "Choice", "Choices": [{"Not": {"Variable": "$.no", "IsPresent": True}, "Next": "N"}]}
    found = inspector(fields)
    found.begin()
    [rule] = explain_choice(found)
    assert (rule.outcome, rule.parts[0].saw) == (True, (("$.no", MISSING),))


def test_jsonata_conditions_show_their_outcome_up_to_the_first_true_one() -> None:
    choices = [{"Condition": f"{{% $states.input.n = {n} %}}", "Next": "N"} for n in (1, 2, 3)]
    found = inspector({"Type": "Choice", "QueryLanguage": "JSONata", "Choices": choices}, '{"n": 2}')
    found.begin()
    assert [rule.outcome for rule in explain_choice(found)] == [False, True, None]


# --- the same plan -------------------------------------------------------------------------------------------------


def described(step: Step) -> tuple[Any, ...]:
    """What is comparable of a step."""
    if isinstance(step, (Transition, Success)):
        assigned = {name: value.text for name, value in (step.assigned or {}).items()}
        return (type(step), getattr(step, "next", None), step.output.text, assigned)
    if isinstance(step, Failure):
        return (Failure, step.error, step.cause)
    if isinstance(step, SleepUntil):
        return (SleepUntil, step.at, step.then, step.retrier)
    if isinstance(step, CallTask):
        return (CallTask, step.payload.text, step.timeout_seconds, step.heartbeat_seconds, step.role_arn)
    assert isinstance(step, FanOut)
    items = step.items_payload.text if step.items_payload is not None else None
    return (FanOut, step.count, step.concurrency, step.document.text, items)


def states_of(machine: StateMachine) -> Iterator[tuple[StateMachine, str]]:
    for name, state in machine.states.items():
        yield machine, name
        for inner in (*getattr(state, "branches", ()), *filter(None, [getattr(state, "processor", None)])):
            yield from states_of(inner)


def unwatched(machine: StateMachine, name: str, text: str) -> tuple[Any, ...]:
    """Where the plan's own closures lead, with `{"r": 1}` as the result of any work."""
    compiled = compile_machine(machine, Limits.aws()).states[name]
    surroundings = scope(text)
    surroundings.counts_retries = compiled.counts_retries
    steps: list[Step] = []
    try:
        steps.append(compiled.begin(surroundings))
        if compiled.settle is not None and isinstance(steps[0], (CallTask, FanOut, SleepUntil)):
            steps.append(compiled.settle(surroundings, Payload({"r": 1})))
    except StateFailed as error:
        steps.append(Failure(error.error, error.cause))
    return tuple(described(step) for step in steps)


def watched(machine: StateMachine, name: str, text: str) -> tuple[Any, ...]:
    """The same, watched."""
    found = Inspector(machine.states[name], Limits.aws(), scope(text))
    steps = [found.begin()]
    if isinstance(steps[0], (CallTask, FanOut, SleepUntil)):
        steps.append(found.settle(Payload({"r": 1})))
    return tuple(described(step) for step in steps)


@pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded cases are not beside this checkout")
def test_a_watched_state_goes_where_the_same_state_goes_unwatched() -> None:
    compared = 0
    for path in sorted(RECORDED.glob("*/*.json")):
        case = json.loads(path.read_text())
        if case["kind"] != "execution" or "definition" not in case:
            continue
        try:
            machine = load(json.dumps(case["definition"]))
        except AsfnError:
            continue
        text = json.dumps(case.get("input", {}))
        for holder, name in states_of(machine):
            state = holder.states[name]
            if isinstance(state, MapState) and state.mode == "DISTRIBUTED":
                continue  # runs differ there: fields of distributed mode are evaluated by the inspector alone
            compared += 1
            assert watched(holder, name, text) == unwatched(holder, name, text), (path.name, name)
    assert compared > 500
