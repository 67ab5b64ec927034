"""TestState requests: what is refused, what the state answers, and real work in place of a mock."""

from __future__ import annotations

import json
from typing import Any

import pytest

from asfn.arn import Arns
from asfn.engine import Engine
from asfn.errors import (
    AsfnError,
    DefinitionError,
    InvalidArn,
    InvalidExecutionInput,
    InvalidParameter,
    TaskFailed,
    UnroutedResource,
    UnsupportedState,
)
from asfn.runtime.single_state import run_state
from asfn.testing import ScriptedTasks, VirtualClock, answers, fails, never_answers, run

ROLE = "arn:aws:iam::123456789012:role/r"
FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:f"
PASS: dict[str, Any] = {"Type": "Pass", "End": True}
TASK: dict[str, Any] = {"Type": "Task", "Resource": FUNCTION, "End": True}
START: dict[str, Any] = {
    "Type": "Task",
    "Resource": "arn:aws:states:::states:startExecution",
    "Parameters": {"StateMachineArn": "any"},
    "End": True,
}
SYNC: dict[str, Any] = {**START, "Resource": "arn:aws:states:::states:startExecution.sync"}
INNER = {"StartAt": "P", "States": {"P": PASS}}
OTHER = {"StartAt": "Q", "States": {"Q": PASS}}
PARALLEL: dict[str, Any] = {"Type": "Parallel", "Branches": [INNER, OTHER], "End": True}
MAP: dict[str, Any] = {"Type": "Map", "ItemProcessor": INNER, "End": True}
RESULT = {"result": "{}"}
STARTED = {"result": '{"ExecutionArn": "a", "StartDate": "d"}'}


def answered(
    definition: Any, *, seconds: list[float] | None = None, tasks: ScriptedTasks | None = None, **request: Any
) -> dict[str, Any]:
    """The response; `seconds` gets how long it took by the clock."""

    async def main(clock: VirtualClock) -> dict[str, Any]:
        began = clock.now()
        asked = {"definition": json.dumps(definition), **request}
        response = (await run_state(asked, resolver=tasks, clock=clock, arns=Arns(account="123456789012"))).response
        if seconds is not None:
            seconds.append(clock.now() - began)
        return response

    return run(main)


def output(response: dict[str, Any]) -> Any:
    return json.loads(response["output"])


# --- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("definition", "request_members", "kind", "message"),
    [
        (PASS, {"mock": RESULT}, InvalidParameter, "State type 'Pass' is not supported when a mock is specified"),
        (
            {"Type": "Wait", "Seconds": 1, "End": True},
            {"mock": {"errorOutput": {"error": "E"}}},
            InvalidParameter,
            "State type 'Wait' is not supported when a mock is specified",
        ),
        (
            TASK,
            {"mock": {"result": "{}", "errorOutput": {"error": "E"}}},
            InvalidParameter,
            "A test mock should have only one of the following fields: [result, errorOutput].",
        ),
        (
            TASK,
            {"mock": {"fieldValidationMode": "NONE"}},
            InvalidParameter,
            "A test mock should have only one of the following fields: [result, errorOutput].",
        ),
        (
            TASK,
            {"mock": {"result": "no JSON", "fieldValidationMode": "NONE"}},
            InvalidParameter,
            "Mocked result must be valid JSON",
        ),
        (TASK, {}, InvalidParameter, "RoleArn must be specified when testing a Task state"),
        (
            SYNC,
            {"roleArn": ROLE},
            UnsupportedState,
            "TestState API does not support .sync service integrations when a mock is not specified.",
        ),
        (
            MAP,
            {"roleArn": ROLE},
            UnsupportedState,
            (
                "TestState API does not support Map or Parallel states. Supported state types include: "
                "[Task, Wait, Pass, Succeed, Fail, Choice]"
            ),
        ),
        (
            MAP,
            {"stateConfiguration": {"mapIterationFailureCount": 1}},
            InvalidParameter,
            "TestState does not support MapIterationFailureCount when a mock is not specified.",
        ),
        (
            TASK,
            {"mock": RESULT, "revealSecrets": True},
            InvalidParameter,
            "TestState does not support RevealSecrets when a mock is specified.",
        ),
        (MAP, {"mock": RESULT}, InvalidParameter, "Mocked result must be an array."),
        (PARALLEL, {"mock": RESULT}, InvalidParameter, "Mocked result must be an array."),
        (
            PARALLEL,
            {"mock": {"result": "[1]"}},
            InvalidParameter,
            "Mocked result must contain the same number of items as number of Parallel branches.",
        ),
        (
            MAP,
            {"mock": {"result": "[1]"}, "input": "[1]", "stateConfiguration": {"mapIterationFailureCount": 2}},
            InvalidParameter,
            "Map iteration failure count must be less than or equal to the number of Map iterations",
        ),
        (
            START,
            {"mock": RESULT},
            InvalidParameter,
            "Mock result schema validation error: Required field 'ExecutionArn' is missing",
        ),
        (INNER, {"stateName": "nope"}, InvalidParameter, "State not found in definition"),
        (
            PASS,
            {"inspectionLevel": "ALL"},
            InvalidParameter,
            "Member must satisfy enum value set: [INFO, DEBUG, TRACE]",
        ),
        (PASS, {"input": "{"}, InvalidExecutionInput, "State Machine Execution Input: 'Invalid execution input.'"),
        (PASS, {"input": "{a: 1}"}, InvalidExecutionInput, "Input: 'Unexpected character ('a' (code 97)): was "),
        (PASS, {"roleArn": "me"}, InvalidArn, "Invalid Arn: 'Invalid ARN prefix: me'"),
        (PASS, {"stateName": ""}, InvalidParameter, "Member must have length greater than or equal to 1"),
        (PASS, {"input": " " * 262_145}, InvalidParameter, "Member must have length less than or equal to 262144"),
        (PASS, {"stateConfiguration": 1}, InvalidParameter, "'stateConfiguration' must be an object"),
        (TASK, {"mock": {"errorOutput": {"error": 5}}}, InvalidParameter, "'mock.errorOutput.error' must be a text"),
        (
            TASK,
            {"mock": RESULT, "stateConfiguration": {"retrierRetryCount": -1}},
            InvalidParameter,
            "Member must have value greater than or equal to 0",
        ),
        (PASS, {"variables": "[]"}, InvalidParameter, "Variables must be a JSON object"),
        (PASS, {"variables": '{"states": 1}'}, InvalidParameter, "Invalid variable name: 'states'"),
        (
            {**PASS, "Branches": []},
            {},
            DefinitionError,
            "/States/StateName: Field 'Branches' is not supported",
        ),
        (TASK, {"roleArn": ROLE}, UnroutedResource, f"no handler answers {FUNCTION}"),
    ],
)
def test_a_bad_request_is_refused_in_awss_words(
    definition: Any, request_members: dict[str, Any], kind: type[AsfnError], message: str
) -> None:
    with pytest.raises(kind) as caught:
        answered(definition, **request_members)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("definition", "context", "detail"),
    [
        (START, {"pokemon": {}}, "Field 'pokemon' is not allowed"),
        (START, {"Execution": {"pokemon": 1}}, "Field 'pokemon' is not allowed"),
        (START, {"Execution": {"StartTime": 1}}, "Execution.StartTime must be a string"),
        (START, {"State": {"RetryCount": "0"}}, "State.RetryCount must be a number"),
        (START, {"StateMachine": "x"}, "StateMachine must be an object"),
        (START, {"Map": {}}, "'Map' field is not supported when mocking a Context object"),
        (
            START,
            {"Task": {"Token": "t"}},
            (
                "Context object contains 'Task' when state is not a Task state with a '.sync' or '.waitForTaskToken' "
                "service integration pattern"
            ),
        ),
        (START, [], "Context must be a JSON object"),
    ],
)
def test_a_bad_context_object_is_refused(definition: Any, context: Any, detail: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        answered(definition, mock=STARTED, context=json.dumps(context))
    assert str(caught.value) == f"Invalid Context object provided: {detail}"


# --- mocked --------------------------------------------------------------------------------------------------------


def test_a_given_context_object_takes_the_place_of_the_whole_one() -> None:
    definition = {**START, "ResultSelector": {"context.$": "$$"}}
    assert output(answered(definition, mock=STARTED, context="{}")) == {"context": {}}
    wait = {**definition, "Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken"}
    context = {"Task": {"Token": "t"}, "Execution": {"Input": {"any": 1}}}
    assert output(answered(wait, mock=RESULT, context=json.dumps(context))) == {"context": context}


@pytest.mark.parametrize("language", ["JSONPath", "JSONata"])
def test_an_item_selector_sees_the_given_context_object_and_its_item(language: str) -> None:
    selectors = {
        "JSONPath": {"item.$": "$$.Map.Item.Value", "state.$": "$$.State.Name"},
        "JSONata": {"item": "{% $states.context.Map.Item.Value %}", "state": "{% $states.context.State.Name %}"},
    }
    definition = {**MAP, "QueryLanguage": language, "ItemSelector": selectors[language]}
    response = answered(
        definition, input="[7]", mock={"result": "[1]"}, context='{"State": {"Name": "Given"}}', inspectionLevel="DEBUG"
    )
    assert json.loads(response["inspectionData"]["afterItemSelector"]) == [{"item": 7, "state": "Given"}]


def test_without_a_context_it_is_that_of_a_nameless_express_execution() -> None:
    definition = {"Type": "Pass", "Parameters": {"c.$": "$$"}, "End": True}
    context = output(answered(definition, input='{"a": 1}'))["c"]
    machine, name = context["StateMachine"]["Name"], context["Execution"]["Name"]
    assert list(context) == ["Execution", "StateMachine", "State"]
    assert list(context["Execution"]) == ["Id", "Input", "Name", "RoleArn", "StartTime"]
    assert context["Execution"]["Id"] == f"arn:aws:states:us-east-1:123456789012:express:{machine}:{name}"
    assert (context["Execution"]["Input"], context["Execution"]["RoleArn"]) == ({"a": 1}, None)
    assert (context["State"]["Name"], "RetryCount" in context["State"]) == ("StateName", False)


def test_a_state_is_found_by_name_inside_a_map() -> None:
    machine = {
        "StartAt": "M",
        "QueryLanguage": "JSONata",
        "States": {
            "M": {
                **MAP,
                "ItemProcessor": {
                    "StartAt": "Deep",
                    "States": {"Deep": {"Type": "Pass", "Output": "{% 1 + 1 %}", "End": True}},
                },
            }
        },
    }
    assert answered(machine, stateName="Deep") == {"output": "2", "status": "SUCCEEDED"}


def test_variables_are_read_and_told_with_those_the_state_assigns() -> None:
    definition = {
        "Type": "Pass",
        "QueryLanguage": "JSONata",
        "Output": "{% $a %}",
        "Assign": {"b": "{% $a + 1 %}"},
        "End": True,
    }
    response = answered(definition, variables='{"a": 1}', inspectionLevel="DEBUG")
    assert response["output"] == "1"
    assert json.loads(response["inspectionData"]["variables"]) == {"a": 1, "b": 2}


def test_variables_are_not_told_where_there_are_none() -> None:
    assert "variables" not in answered(PASS, variables="{}", inspectionLevel="TRACE")["inspectionData"]


def test_info_tells_no_inspection_data() -> None:
    assert answered(PASS) == {"output": "{}", "status": "SUCCEEDED"}


@pytest.mark.parametrize(
    ("retries", "expected"),
    [
        (0, {"status": "RETRIABLE", "error": "E", "cause": "c"}),
        (
            3,
            {
                "status": "CAUGHT_ERROR",
                "error": "E",
                "cause": "c",
                "nextState": "C",
                "output": '{"Error":"E","Cause":"c"}',
            },
        ),
    ],
)
def test_a_mocked_error_goes_through_retry_and_then_catch(retries: int, expected: dict[str, Any]) -> None:
    definition = {
        **TASK,
        "Retry": [{"ErrorEquals": ["E"]}],
        "Catch": [{"ErrorEquals": ["States.TaskFailed"], "Next": "C"}],
    }
    mock = {"errorOutput": {"error": "E", "cause": "c"}}
    assert answered(definition, mock=mock, stateConfiguration={"retrierRetryCount": retries}) == expected


def test_a_mocked_timeout_is_not_a_failed_task() -> None:
    definition = {**TASK, "Catch": [{"ErrorEquals": ["States.TaskFailed"], "Next": "C"}]}
    response = answered(definition, mock={"errorOutput": {"error": "States.Timeout"}})
    assert response == {"status": "FAILED", "error": "States.Timeout"}


def test_the_retry_count_is_in_the_context_object() -> None:
    definition = {**TASK, "ResultSelector": {"n.$": "$$.State.RetryCount"}}
    assert output(answered(definition, mock=RESULT, stateConfiguration={"retrierRetryCount": 2})) == {"n": 2}


def test_more_failed_iterations_than_tolerated_fail_the_map() -> None:
    definition = {**MAP, "ToleratedFailureCount": 1}
    asked: dict[str, Any] = {"mock": {"result": "[0, 0, 1]"}, "input": "[1, 2, 3]"}
    good = answered(definition, **asked, stateConfiguration={"mapIterationFailureCount": 1})
    assert good == {"output": "[0, 0, 1]", "status": "SUCCEEDED"}
    bad = answered(definition, **asked, stateConfiguration={"mapIterationFailureCount": 2})
    assert bad == {
        "error": "States.ExceedToleratedFailureThreshold",
        "cause": "The specified tolerated failure threshold was exceeded",
        "status": "FAILED",
    }


@pytest.mark.parametrize(
    ("config", "text", "items"),
    [
        ({"InputType": "JSON"}, "[1, 2]", [1, 2]),
        ({"InputType": "JSON", "ItemsPointer": "/a/0/b"}, '{"a": [{"b": [3]}]}', [3]),
        ({"InputType": "JSON"}, '{"k": 1}', [{"Key": "k", "Value": 1}]),
        ({"InputType": "JSONL"}, '{"a": 1}\n\n2\n', [{"a": 1}, 2]),
        (
            {"InputType": "CSV", "CSVHeaderLocation": "FIRST_ROW"},
            'h,i\n1,"a,b"\n2\n',
            [{"h": "1", "i": "a,b"}, {"h": "2", "i": ""}],
        ),
        (
            {"InputType": "CSV", "CSVHeaderLocation": "GIVEN", "CSVHeaders": ["x"], "CSVDelimiter": "PIPE"},
            "1|2\n",
            [{"x": "1"}],
        ),
    ],
)
def test_reader_data_is_read_as_the_item_reader_would(config: dict[str, Any], text: str, items: list[Any]) -> None:
    definition = {
        "Type": "Map",
        "ItemReader": {
            "Resource": "arn:aws:states:::s3:getObject",
            "ReaderConfig": config,
            "Parameters": {"Bucket": "b", "Key": "k"},
        },
        "ItemSelector": {"item.$": "$$.Map.Item.Value"},
        "ItemProcessor": {**INNER, "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}},
        "End": True,
    }
    response = answered(
        definition,
        mock={"result": "[]"},
        stateConfiguration={"mapItemReaderData": text},
        inspectionLevel="DEBUG",
    )
    selected = json.loads(response["inspectionData"]["afterItemSelector"])
    assert [item["item"] for item in selected] == items


# --- really done ---------------------------------------------------------------------------------------------------


def test_a_task_without_a_mock_is_called_with_its_evaluated_payload() -> None:
    tasks = ScriptedTasks({"StateName": [answers({"n": 1})]})
    definition = {**TASK, "Parameters": {"x.$": "$.a"}, "ResultPath": "$.out"}
    response = answered(definition, tasks=tasks, roleArn=ROLE, input='{"a": 5}', inspectionLevel="DEBUG")
    assert output(response) == {"a": 5, "out": {"n": 1}}
    assert response["inspectionData"]["afterParameters"] == '{"x":5}'


def test_a_called_tasks_failure_can_be_caught() -> None:
    tasks = ScriptedTasks({"StateName": [fails("Boom", "why")]})
    definition = {**TASK, "Catch": [{"ErrorEquals": ["Boom"], "Next": "C"}]}
    response = answered(definition, tasks=tasks, roleArn=ROLE)
    assert (response["status"], response["nextState"], response["cause"]) == ("CAUGHT_ERROR", "C", "why")


@pytest.mark.parametrize(("fields", "seconds"), [({}, 300), ({"TimeoutSeconds": 7}, 7), ({"HeartbeatSeconds": 5}, 5)])
def test_a_call_ends_at_its_timeout_and_after_five_minutes_at_last(fields: dict[str, Any], seconds: float) -> None:
    took: list[float] = []
    tasks = ScriptedTasks({"StateName": [never_answers()]})
    response = answered({**TASK, **fields}, tasks=tasks, roleArn=ROLE, seconds=took)
    assert response == {"error": "States.Timeout", "status": "FAILED"}
    assert took == [pytest.approx(seconds, abs=3)]


def test_a_wait_waits_and_one_of_more_than_five_minutes_times_out() -> None:
    took: list[float] = []
    short = answered({"Type": "Wait", "Seconds": 60, "Next": "N"}, input='{"a": 1}', seconds=took)
    assert short == {"output": '{"a": 1}', "nextState": "N", "status": "SUCCEEDED"}
    long = answered({"Type": "Wait", "Seconds": 3600, "Next": "N"}, seconds=took)
    assert long == {"error": "States.Timeout", "status": "FAILED"}
    assert took == [pytest.approx(60), pytest.approx(300)]


def test_an_engine_tests_a_state_with_its_own_functions() -> None:
    async def main(clock: VirtualClock) -> list[dict[str, Any]]:
        engine = Engine(clock=clock)

        @engine.function("f")
        def f(event: dict[str, Any]) -> Any:
            if event.get("bad"):
                raise TaskFailed("Bad", "so")
            return {"twice": event["n"] * 2}

        async with engine:
            asked = {"definition": json.dumps(TASK), "roleArn": ROLE}
            good = await engine.test_state({**asked, "input": '{"n": 4}'})
            bad = await engine.test_state({**asked, "input": '{"bad": 1}'})
            wait = await engine.test_state(
                {"definition": '{"Type": "Wait", "Seconds": 9999, "End": true}'}, waits=False
            )
        assert wait.woken_at == pytest.approx(clock.now() + 9999)
        return [good.response, bad.response, wait.response]

    assert run(main) == [
        {"output": '{"twice": 8}', "status": "SUCCEEDED"},
        {"error": "Bad", "cause": "so", "status": "FAILED"},
        {"output": "{}", "status": "SUCCEEDED"},
    ]
