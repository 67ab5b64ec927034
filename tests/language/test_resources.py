"""Resource ARNs: their parts, and which integrations AWS offers."""

from __future__ import annotations

import pytest

from asfn.language.resources import OPTIMISED, REQUIRED_PARAMETERS, is_offered, known_integrations, parse_resource


def test_a_lambda_arn_gives_name_and_qualifier() -> None:
    resource = parse_resource("arn:aws-cn:lambda:cn-north-1:123456789012:function:pay:$LATEST")
    assert resource is not None
    assert (resource.kind, resource.partition, resource.region) == ("lambda", "aws-cn", "cn-north-1")
    assert (resource.account, resource.name, resource.qualifier) == ("123456789012", "pay", "$LATEST")


def test_a_lambda_arn_with_words_for_region_and_account_is_taken_as_aws_takes_it() -> None:
    resource = parse_resource("arn:aws:lambda:your-region:your-account-id:function:yourFunction")
    assert resource is not None
    assert (resource.name, resource.qualifier) == ("yourFunction", None)


def test_an_activity_arn_gives_its_name() -> None:
    resource = parse_resource("arn:aws:states:us-east-1:123456789012:activity:approve.it")
    assert resource is not None
    assert (resource.kind, resource.service, resource.name) == ("activity", "states", "approve.it")


@pytest.mark.parametrize(
    ("text", "kind", "service", "action", "pattern"),
    [
        ("sqs:sendMessage", "optimised", "sqs", "sendMessage", ""),
        ("sqs:sendMessage.waitForTaskToken", "optimised", "sqs", "sendMessage", "waitForTaskToken"),
        ("states:startExecution.sync", "optimised", "states", "startExecution", "sync"),
        ("states:startExecution.sync:2", "optimised", "states", "startExecution", "sync:2"),
        ("emr-serverless:startJobRun.sync", "optimised", "emr-serverless", "startJobRun", "sync"),
        ("aws-sdk:dynamodb:query", "sdk", "dynamodb", "query", ""),
        ("aws-sdk:sfn:startExecution.waitForTaskToken", "sdk", "sfn", "startExecution", "waitForTaskToken"),
        ("http:invoke", "optimised", "http", "invoke", ""),
    ],
)
def test_an_integration_gives_service_action_and_pattern(
    text: str, kind: str, service: str, action: str, pattern: str
) -> None:
    resource = parse_resource(f"arn:aws:states:::{text}")
    assert resource is not None
    assert (resource.kind, resource.service, resource.action, resource.pattern) == (kind, service, action, pattern)
    assert is_offered(resource)


@pytest.mark.parametrize(
    "text",
    [
        "dynamodb:query",
        "lambda:invoke.sync",
        "sqs:sendMessage.sync",
        "glue:startJobRun.waitForTaskToken",
        "glue:startJobRun.sync:2",
        "nosuch:action",
        "s3:getObject",
        "aws-sdk:nosuch:action",
        "aws-sdk:dynamodb:query.sync",
    ],
)
def test_what_aws_does_not_offer_is_known(text: str) -> None:
    resource = parse_resource(f"arn:aws:states:::{text}")
    assert resource is not None
    assert not is_offered(resource)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "f",
        "arn:aws:swf:us-east-1:123456789012:task:X",
        "arn:aws::lambda:us-east-1:123456789012:function:f",
        "arn:aws:lambda:us-east-1:123456789012:f",
        "arn:aws:lambda:us-east-1:123456789012:function:f:",
        "arn:aws:lambda:us-east-1:123456789012:function:f:v:w",
        "arn:aws:lambda:us-east-1:123456789012:function:${name}",
        "arn:aws:states:::sqs",
        "arn:aws:states:::sqs:sendMessage.waitForToken",
        "arn:aws:states:::aws-sdk:dynamodb",
        "arn:aws:states:us-east-1:123456789012:stateMachine:m",
    ],
)
def test_what_no_task_can_call_is_no_resource(text: str) -> None:
    resource = parse_resource(text)
    assert resource is None or not is_offered(resource)


def test_the_tables_agree_with_each_other() -> None:
    integrations = known_integrations()
    assert len(integrations) == len(set(integrations))
    assert all(f"{service}:{action}" for service, actions in OPTIMISED.items() for action in actions)
    assert {name for name in REQUIRED_PARAMETERS if name not in integrations} == set()
