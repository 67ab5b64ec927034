"""Made-up answers of services against the services' API models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from asfn.arn import parse_task_resource
from asfn.tasks.answers import answer_fault, java_name

if TYPE_CHECKING:
    from asfn.tasks.answers import Mode

START = "states:startExecution"


def fault(resource: str, answer: Any, mode: Mode = "STRICT") -> str | None:
    return answer_fault(parse_task_resource(f"arn:aws:states:::{resource}"), answer, mode)


@pytest.mark.parametrize(
    ("resource", "answer", "expected"),
    [
        (START, {}, "Required field 'ExecutionArn' is missing"),
        (START, {"ExecutionArn": "a"}, "Required field 'StartDate' is missing"),
        (START, {"ExecutionArn": "a", "StartDate": None}, "Required field 'StartDate' is missing"),
        (START, {"executionArn": "a", "startDate": "d"}, "Required field 'ExecutionArn' is missing"),
        (START, {"ExecutionArn": "a", "StartDate": "2026"}, None),
        (START, {"ExecutionArn": "a", "StartDate": "2026", "other": [1]}, None),
        (START, {"ExecutionArn": "", "StartDate": "2026"}, "Field 'ExecutionArn' is smaller than the minimum length"),
        (START, {"ExecutionArn": "a" * 257, "StartDate": "2026"}, "Field 'ExecutionArn' exceeds the maximum length"),
        ("dynamodb:getItem", {"Item": {"id": {"S": "a"}, "n": {"L": [{"N": "1"}]}}}, None),
        ("dynamodb:getItem", {"Item": {"id": {"S": 1}}}, "Field 'S' must be a string"),
        ("dynamodb:getItem", {"Item": {"id": {"L": [{"BOOL": "x"}]}}}, "Field 'BOOL' must be a boolean"),
        ("dynamodb:getItem", {"Item": {"id": {"SS": ["a", 1]}}}, "Field 'SS' must be a string"),
        ("dynamodb:getItem", {"Item": ["a"]}, "Field 'Item' must be an object"),
        ("sqs:sendMessage", {"MD5OfMessageBody": 1}, "Field 'MD5OfMessageBody' must be a string"),
        ("aws-sdk:sqs:sendMessage", {"Md5OfMessageBody": 1}, "Field 'Md5OfMessageBody' must be a string"),
        ("aws-sdk:sfn:describeExecution", {}, "Required field 'ExecutionArn' is missing"),
        (
            "aws-sdk:dynamodb:putItem",
            {"ConsumedCapacity": {"CapacityUnits": True}},
            "Field 'CapacityUnits' must be a number",
        ),
        ("aws-sdk:cloudwatchlogs:describeLogGroups", {"LogGroups": {}}, "Field 'LogGroups' must be an array"),
        (
            "aws-sdk:secretsmanager:getSecretValue",
            {"VersionStages": [""]},
            "Field 'VersionStages' is smaller than the minimum length",
        ),
        ("aws-sdk:lambda:getFunction", {"Configuration": {"MemorySize": 128, "Timeout": 1}}, None),
        (
            "aws-sdk:lambda:getFunction",
            {"Configuration": {"MemorySize": 127}},
            "Field 'MemorySize' is less than the minimum value",
        ),
        (
            "aws-sdk:lambda:getFunction",
            {"Configuration": {"MemorySize": 10_241}},
            "Field 'MemorySize' exceeds the maximum value",
        ),
        ("aws-sdk:s3:getObject", {"StorageClass": "GLACIER", "ETag": "x"}, None),
        ("aws-sdk:s3:getObject", {"StorageClass": "Papyrus"}, "Field 'StorageClass' is not an expected value"),
        ("ecs:runTask.sync", {"Tags": 1}, "Field 'Tags' must be an array"),
        ("glue:startJobRun.sync", {"Attempt": "1"}, "Field 'Attempt' must be a number"),
        ("states:startExecution.sync", {}, "Required field 'ExecutionArn' is missing"),
        ("sqs:sendMessage", [], "Mocked result must be an object"),
    ],
)
def test_a_fault_is_told_in_awss_words(resource: str, answer: Any, expected: str | None) -> None:
    assert fault(resource, answer) == expected


def test_present_looks_only_at_members_that_are_there() -> None:
    assert fault(START, {}, "PRESENT") is None
    assert fault(START, {"StartDate": 1}, "PRESENT") == "Field 'StartDate' must be a string"


def test_none_looks_at_nothing() -> None:
    assert fault(START, {"StartDate": 1}, "NONE") is None


@pytest.mark.parametrize(
    ("resource", "answer"),
    [
        ("lambda:invoke", {"Payload": {"any": ["thing"]}, "SdkHttpMetadata": {"HttpStatusCode": 200}}),
        (
            "states:startExecution.sync:2",
            {
                "ExecutionArn": "a",
                "StateMachineArn": "m",
                "StartDate": "d",
                "Status": "SUCCEEDED",
                "Output": {"parsed": 1},
            },
        ),
        ("sqs:sendMessage.waitForTaskToken", ["whatever", "SendTaskSuccess", "gave"]),
        ("http:invoke", {"ResponseBody": 1}),
        ("apigateway:invoke", "text"),
        ("eks:runJob.sync", {"status": {}}),
        ("elasticmapreduce:addStep", {"StepId": "s"}),
        ("aws-sdk:neverheardof:doThis", {"a": 1}),
        ("aws-sdk:s3:neverHeardOf", {"a": 1}),
    ],
)
def test_where_no_model_tells_anything_goes(resource: str, answer: Any) -> None:
    assert fault(resource, answer) is None


def test_functions_and_activities_answer_with_any_json() -> None:
    for arn in ("arn:aws:lambda:us-east-1:123456789012:function:f", "arn:aws:states:us-east-1:123456789012:activity:a"):
        assert answer_fault(parse_task_resource(arn), 1, "STRICT") is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("SSEKMSKeyId", "SsekmsKeyId"),
        ("ETag", "ETag"),
        ("DBInstanceArn", "DbInstanceArn"),
        ("executionArn", "ExecutionArn"),
        ("MD5OfMessageBody", "Md5OfMessageBody"),
        ("AllHttpHeaders", "AllHttpHeaders"),
    ],
)
def test_sdk_members_are_named_as_the_java_sdk_names_them(name: str, expected: str) -> None:
    assert java_name(name) == expected
