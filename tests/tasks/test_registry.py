from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from asfn._json import Payload
from asfn.arn import parse_task_resource
from asfn.errors import InvalidName, TaskFailed, UnroutedResource
from asfn.tasks.protocol import Done
from asfn.tasks.registry import Registry
from tests.tasks.calls import INVOKE, task_call

if TYPE_CHECKING:
    from asfn._json import Json
    from asfn.tasks.protocol import Answer, TaskCall
    from asfn.tasks.registry import OnResume


class Named:
    """A handler that answers with its own name."""

    def __init__(self, name: str, on_resume: OnResume = "run") -> None:
        self.name = name
        self.on_resume = on_resume
        self.cancelled: list[Json] = []

    async def submit(self, call: TaskCall) -> Answer:
        return Done(Payload(self.name))

    async def poll(self, call: TaskCall, job: Json) -> Done | None:
        return Done(Payload([self.name, job]))

    async def cancel(self, call: TaskCall, job: Json) -> None:
        self.cancelled.append(job)


def lambda_arn(name: str, region: str = "us-east-1", account: str = "111111111111") -> str:
    return f"arn:aws:lambda:{region}:{account}:function:{name}"


async def answer(registry: Registry, resource: str, payload: Json = None) -> Json:
    handler = registry.resolve(parse_task_resource(resource))
    done = await handler.submit(task_call(payload, resource))
    assert isinstance(done, Done)
    return done.value.value


@pytest.mark.parametrize(
    "arn",
    [
        lambda_arn("charge-card"),
        lambda_arn("charge-card", "eu-west-1", "222222222222"),
        lambda_arn("charge-card:prod"),
        lambda_arn("charge-card:$LATEST"),
        "arn:aws-cn:lambda:cn-north-1:111111111111:function:charge-card:7",
    ],
)
async def test_a_name_answers_every_arn_of_that_function(arn: str) -> None:
    registry = Registry()
    registry.function("charge-card", Named("charge"))
    assert await answer(registry, arn) == "charge"


@pytest.mark.parametrize(
    "function_name",
    [
        "charge-card",
        "charge-card:prod",
        "111111111111:function:charge-card",
        "function:charge-card",
        lambda_arn("charge-card", "eu-west-1"),
        lambda_arn("charge-card:3"),
    ],
)
async def test_a_name_answers_lambda_invoke_with_every_form_of_function_name(function_name: str) -> None:
    registry = Registry()
    registry.function("charge-card", Named("charge"))
    assert await answer(registry, INVOKE, {"FunctionName": function_name}) == "charge"
    assert await answer(registry, f"{INVOKE}.waitForTaskToken", {"FunctionName": function_name}) == "charge"


async def test_an_exact_arn_beats_a_name_and_a_name_beats_a_route() -> None:
    registry = Registry()
    registry.route("arn:aws:lambda:*", Named("route"))
    registry.function("charge-card", Named("name"))
    registry.function(lambda_arn("charge-card", "eu-west-1"), Named("exact"))
    registry.function(lambda_arn("charge-card:beta", "eu-west-1"), Named("qualified"))
    assert await answer(registry, lambda_arn("charge-card", "eu-west-1")) == "exact"
    assert await answer(registry, lambda_arn("charge-card:prod", "eu-west-1")) == "exact"
    assert await answer(registry, lambda_arn("charge-card:beta", "eu-west-1")) == "qualified"
    assert await answer(registry, lambda_arn("charge-card")) == "name"
    assert await answer(registry, lambda_arn("other")) == "route"


async def test_the_route_with_more_literal_characters_wins_whatever_the_order() -> None:
    registry = Registry()
    registry.route("arn:aws:lambda:*:*:function:legacy-*", Named("legacy"))
    registry.route("arn:aws:lambda:*:*:function:*", Named("all"))
    registry.route("arn:aws:lambda:*:*:function:legacy-p*", Named("first"))
    registry.route("arn:aws:lambda:*:*:function:legacy-?a", Named("mark"))
    assert await answer(registry, lambda_arn("legacy-books")) == "legacy"
    assert await answer(registry, lambda_arn("books")) == "all"
    assert await answer(registry, lambda_arn("legacy-pb")) == "first"
    assert await answer(registry, lambda_arn("legacy-pa")) == "mark"  # as long, and later


async def test_a_registration_under_the_same_text_replaces_the_first() -> None:
    registry = Registry()
    for name in ("old", "new"):
        registry.function("charge-card", Named(name))
        registry.route("arn:aws:lambda:*:function:a*", Named(name))
    assert await answer(registry, lambda_arn("charge-card")) == "new"
    assert await answer(registry, lambda_arn("audit")) == "new"


async def test_a_route_over_function_arns_answers_lambda_invoke_with_the_executions_region_and_account() -> None:
    registry = Registry()
    registry.route("arn:aws:lambda:us-east-1:111111111111:function:legacy-*", Named("legacy"))
    registry.route(INVOKE, Named("integration"))
    assert await answer(registry, INVOKE, {"FunctionName": "legacy-books"}) == "legacy"
    assert await answer(registry, INVOKE, {"FunctionName": lambda_arn("legacy-books")}) == "legacy"
    assert await answer(registry, INVOKE, {"FunctionName": lambda_arn("legacy-books", "eu-west-1")}) == "integration"


async def test_qualifier_parameter_counts_as_part_of_the_arn() -> None:
    registry = Registry()
    registry.route("arn:aws:lambda:*:function:*:beta", Named("beta"))
    registry.route("arn:aws:lambda:*", Named("any"))
    assert await answer(registry, INVOKE, {"FunctionName": "f", "Qualifier": "beta"}) == "beta"
    assert await answer(registry, INVOKE, {"FunctionName": "f:beta"}) == "beta"
    assert await answer(registry, INVOKE, {"FunctionName": "f"}) == "any"


async def test_lambda_invoke_falls_back_to_its_own_route_for_functions_nobody_registered() -> None:
    registry = Registry()
    registry.function("charge-card", Named("charge"))
    registry.route("arn:aws:states:::lambda:*", Named("real"))
    assert await answer(registry, INVOKE, {"FunctionName": "charge-card"}) == "charge"
    assert await answer(registry, INVOKE, {"FunctionName": "ship"}) == "real"
    assert await answer(registry, f"{INVOKE}.waitForTaskToken", {"FunctionName": "ship"}) == "real"


async def test_a_function_registered_after_resolving_is_found_by_lambda_invoke() -> None:
    registry = Registry()
    handler = registry.resolve(parse_task_resource(INVOKE))
    registry.function("late", Named("late"))
    done = await handler.submit(task_call({"FunctionName": "late"}, INVOKE))
    assert done == Done(Payload("late"))


async def test_service_resources_are_routed_with_and_without_their_suffix() -> None:
    registry = Registry()
    registry.route("arn:aws:states:::sqs:sendMessage", Named("sqs"))
    registry.route("arn:aws:states:::ecs:runTask.sync", Named("ecs"))
    registry.route("arn:aws:states:::aws-sdk:*", Named("sdk"))
    assert await answer(registry, "arn:aws:states:::sqs:sendMessage") == "sqs"
    assert await answer(registry, "arn:aws:states:::sqs:sendMessage.waitForTaskToken") == "sqs"
    assert await answer(registry, "arn:aws:states:::ecs:runTask.sync") == "ecs"
    assert await answer(registry, "arn:aws:states:::aws-sdk:dynamodb:putItem") == "sdk"
    with pytest.raises(UnroutedResource):
        registry.resolve(parse_task_resource("arn:aws:states:::ecs:runTask"))


def test_brackets_and_dots_in_a_route_are_taken_literally() -> None:
    registry = Registry()
    registry.route("arn:aws:states:::ecs:runTask.s[xy]*", Named("never"))
    registry.route("arn:aws:states:::e.s:*", Named("never"))
    with pytest.raises(UnroutedResource):
        registry.resolve(parse_task_resource("arn:aws:states:::ecs:runTask.sync"))


def test_an_unrouted_function_names_its_arn_the_nearest_names_and_the_cure() -> None:
    registry = Registry()
    for name in ("charge-card", "charge-cash", "ship"):
        registry.function(name, Named(name))
    with pytest.raises(UnroutedResource) as refused:
        registry.resolve(parse_task_resource(lambda_arn("chrage-card")))
    text = str(refused.value)
    assert lambda_arn("chrage-card") in text
    assert "nearest registered names are 'charge-card'" in text
    assert "'ship'" not in text
    assert "engine.function('chrage-card')" in text


def test_an_unrouted_service_names_the_nearest_routes_or_what_there_is() -> None:
    registry = Registry()
    with pytest.raises(UnroutedResource, match="nothing is registered"):
        registry.resolve(parse_task_resource("arn:aws:states:::sqs:sendMessage"))
    registry.function("ship", Named("ship"))
    with pytest.raises(UnroutedResource, match="registered are 'ship'; "):
        registry.resolve(parse_task_resource("arn:aws:states:::dynamodb:putItem"))
    registry.route("arn:aws:states:::sqs:sendMessage", Named("sqs"))
    with pytest.raises(UnroutedResource, match="nearest registered names are 'arn:aws:states:::sqs:sendMessage'"):
        registry.resolve(parse_task_resource("arn:aws:states:::sqs:sendMesage"))


async def test_lambda_invoke_of_an_unknown_function_fails_as_on_aws_and_logs_the_nearest_names(
    caplog: pytest.LogCaptureFixture,
) -> None:
    registry = Registry()
    registry.function("charge-card", Named("charge"))
    handler = registry.resolve(parse_task_resource(INVOKE))
    with caplog.at_level(logging.WARNING, "asfn.tasks"), pytest.raises(TaskFailed) as failed:
        await handler.submit(task_call({"FunctionName": "charge-crad", "Payload": None}, INVOKE))
    assert failed.value.error == "Lambda.ResourceNotFoundException"
    cause = failed.value.cause or ""
    assert cause.startswith(
        "Function not found: arn:aws:lambda:us-east-1:111111111111:function:charge-crad:$LATEST "
        "(Service: AWSLambda; Status Code: 404; Error Code: ResourceNotFoundException; Request ID: "
    )
    assert cause.endswith("; Proxy: null)")
    assert "'charge-card'" in caplog.text


async def test_lambda_invoke_without_function_name_says_so() -> None:
    handler = Registry().resolve(parse_task_resource(INVOKE))
    with pytest.raises(TaskFailed) as failed:
        await handler.submit(task_call({"Payload": 1}, INVOKE))
    assert failed.value.error == "States.Runtime"
    assert failed.value.cause == (
        "The Parameters '{\"Payload\":1}' could not be used to start the Task: "
        "[The field 'FunctionName' is required but was missing]"
    )


@pytest.mark.parametrize("name", ["", "legacy-*", "a b", "function:f", "x/y", "arn:aws:lambda:*:f"])
def test_what_is_no_function_name_cannot_be_registered_as_one(name: str) -> None:
    with pytest.raises(InvalidName, match="neither a Lambda function's name nor an ARN"):
        Registry().function(name, Named("x"))


async def test_jobs_are_polled_and_cancelled_by_the_handler_of_the_function() -> None:
    registry = Registry()
    chosen = Named("charge")
    registry.function("charge-card", chosen)
    handler = registry.resolve(parse_task_resource(INVOKE))
    call = task_call({"FunctionName": "charge-card"}, INVOKE)
    assert await handler.poll(call, {"id": 1}) == Done(Payload(["charge", {"id": 1}]))
    await handler.cancel(call, {"id": 1})
    assert chosen.cancelled == [{"id": 1}]


def test_on_resume_is_that_of_the_handler_that_would_be_called() -> None:
    registry = Registry()
    registry.function("once", Named("once", on_resume="fail"))
    registry.function("often", Named("often"))
    assert registry.on_resume(task_call({}, lambda_arn("once"))) == "fail"
    assert registry.on_resume(task_call({"FunctionName": "once"}, INVOKE)) == "fail"
    assert registry.on_resume(task_call({"FunctionName": "often"}, INVOKE)) == "run"
    assert registry.on_resume(task_call({"FunctionName": "nobody"}, INVOKE)) == "run"
    with pytest.raises(UnroutedResource):
        registry.on_resume(task_call({}, lambda_arn("nobody")))
