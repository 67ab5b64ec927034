"""Real HTTP on loopback, through aiobotocore, against `tests/lambda_server.py`."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from aiobotocore.session import AioSession

from asfn.errors import TaskFailed
from asfn.tasks.lambda_ import LambdaHandler, _keepalive_socket
from asfn.tasks.protocol import Done
from asfn.testing.loop import VirtualClock, VirtualTimeLoop
from tests.lambda_server import (
    LambdaServer,
    Reply,
    breaks_down,
    drops_connection,
    echoes,
    raises,
    refuses,
    returns,
    text,
    throttled,
)
from tests.tasks.calls import FUNCTION_ARN, INVOKE, task_call

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from asfn._json import Payload
    from asfn.tasks.protocol import TaskCall

KEYS: dict[str, Any] = {"access_key_id": "TESTKEY", "secret_access_key": "secret"}


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_LAMBDA", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def server() -> AsyncIterator[LambdaServer]:
    async with LambdaServer() as listening:
        yield listening


@pytest.fixture(scope="module")
def session() -> AioSession:
    """One session for most tests: it keeps the service models it has read."""
    return AioSession()


@pytest.fixture
async def handler(server: LambdaServer, session: AioSession) -> AsyncIterator[LambdaHandler]:
    made = LambdaHandler(endpoint_url=server.url, session=session, **KEYS)
    yield made
    await made.aclose()


async def result(handler: LambdaHandler, call: TaskCall) -> Payload:
    answer = await handler.submit(call)
    assert isinstance(answer, Done)
    return answer.value


async def failure(handler: LambdaHandler, call: TaskCall) -> tuple[str | None, str]:
    with pytest.raises(TaskFailed) as failed:
        await handler.submit(call)
    return failed.value.error, failed.value.cause or ""


# --- success ---------------------------------------------------------------------------------------------


async def test_a_function_arn_sends_the_payloads_text_and_keeps_the_answers(
    server: LambdaServer, handler: LambdaHandler
) -> None:
    server.function("charge-card", text('{"a":  [1.0, 2]}'))
    answer = await result(handler, task_call(text='{"id" : 7}', resource=f"{FUNCTION_ARN}:prod"))
    assert answer.value == {"a": [1.0, 2]}
    assert answer.text == '{"a":  [1.0, 2]}'
    (request,) = server.invocations("charge-card")
    assert request.body == b'{"id" : 7}'
    assert request.path.endswith(
        "/arn%3Aaws%3Alambda%3Aus-east-1%3A111111111111%3Afunction%3Acharge-card%3Aprod/invocations"
    )


async def test_lambda_invoke_wraps_the_answer_as_aws_does(server: LambdaServer, handler: LambdaHandler) -> None:
    server.function("charge-card", returns({"receipt": 7}))
    parameters = {"FunctionName": "charge-card", "Payload": {"id": 7}, "Qualifier": "prod", "ClientContext": "e30="}
    value: Any = (await result(handler, task_call(parameters, INVOKE))).value
    assert list(value) == ["ExecutedVersion", "Payload", "SdkHttpMetadata", "SdkResponseMetadata", "StatusCode"]
    assert value["Payload"] == {"receipt": 7}
    assert list(value["SdkHttpMetadata"]["AllHttpHeaders"]) == [
        "X-Amz-Executed-Version",
        "x-amzn-Remapped-Content-Length",
        "Connection",
        "x-amzn-RequestId",
        "Content-Length",
        "Date",
        "X-Amzn-Trace-Id",
        "Content-Type",
    ]
    headers = value["SdkHttpMetadata"]["HttpHeaders"]
    assert headers["x-amzn-RequestId"] == value["SdkResponseMetadata"]["RequestId"]
    assert headers["Content-Length"] == "14"
    (request,) = server.invocations("charge-card")
    assert request.body == b'{"id":7}'
    assert request.query == {"Qualifier": "prod"}
    assert request.headers["x-amz-client-context"] == "e30="


@pytest.mark.parametrize(
    ("payload", "sent"),
    [(None, b""), ("0.0", b"0.0"), ("[1, 2]", b"[1, 2]"), ([1, 2], b"[1,2]"), ({}, b"{}")],
)
async def test_a_payload_text_is_sent_as_it_is_and_null_sends_none(
    server: LambdaServer, handler: LambdaHandler, payload: Any, sent: bytes
) -> None:
    server.function("f", echoes())
    value: Any = (await result(handler, task_call({"FunctionName": "f", "Payload": payload}, INVOKE))).value
    assert server.requests[0].body == sent
    assert value["Payload"] == json.loads(sent or b"{}")


async def test_event_and_dry_run_have_their_own_status_and_no_payload(
    server: LambdaServer, handler: LambdaHandler
) -> None:
    server.function("f")
    for kind, status in (("Event", 202), ("DryRun", 204)):
        value: Any = (await result(handler, task_call({"FunctionName": "f", "InvocationType": kind}, INVOKE))).value
        assert (value["StatusCode"], value["Payload"]) == (status, "")
        assert "ExecutedVersion" not in value
        assert server.requests[-1].headers["x-amz-invocation-type"] == kind


async def test_log_type_tail_brings_the_log_result(server: LambdaServer, handler: LambdaHandler) -> None:
    server.function("f", returns(1))
    value: Any = (await result(handler, task_call({"FunctionName": "f", "LogType": "Tail"}, INVOKE))).value
    assert list(value)[:3] == ["ExecutedVersion", "LogResult", "Payload"]


async def test_an_answer_that_is_no_json_stays_a_text_for_lambda_invoke_and_fails_a_function_arn(
    server: LambdaServer, handler: LambdaHandler
) -> None:
    server.function("charge-card", text("plain"))
    value: Any = (await result(handler, task_call({"FunctionName": "charge-card"}, INVOKE))).value
    assert value["Payload"] == "plain"
    error, cause = await failure(handler, task_call({}))
    assert error == "Lambda.Unknown"
    assert "not valid JSON" in cause


# --- errors ----------------------------------------------------------------------------------------------


async def test_an_exception_of_the_function_is_the_error_and_its_payload_the_cause(
    server: LambdaServer, handler: LambdaHandler
) -> None:
    server.function("charge-card", raises("CustomException", "", requestId="r", stackTrace=["  File\n"]))
    assert await failure(handler, task_call({})) == (
        "CustomException",
        '{"errorMessage": "", "errorType": "CustomException", "requestId": "r", "stackTrace": ["  File\\n"]}',
    )
    assert await failure(handler, task_call({"FunctionName": "charge-card"}, INVOKE)) == (
        "CustomException",
        '{"errorMessage":"","errorType":"CustomException","requestId":"r","stackTrace":["  File\\n"]}',
    )


async def test_a_timeout_of_the_function_has_the_name_the_sandbox_gives_or_is_unknown(
    server: LambdaServer, handler: LambdaHandler
) -> None:
    message = "RequestId: 1 Error: Task timed out after 3.00 seconds"
    server.function("charge-card", raises("Sandbox.Timedout", message), raises(None, message))
    error, cause = await failure(handler, task_call({}))
    assert error == "Sandbox.Timedout"
    assert json.loads(cause)["errorMessage"] == message
    error, cause = await failure(handler, task_call({}))
    assert error == "Lambda.Unknown"
    assert cause.endswith(f'Returned payload: {{"errorMessage": "{message}"}}')


@pytest.mark.parametrize(
    ("reply", "error", "cause"),
    [
        (
            throttled(),
            "Lambda.TooManyRequestsException",
            "Rate Exceeded. (Service: AWSLambda; Status Code: 429; Error Code: TooManyRequestsException; Request ID: ",
        ),
        (
            refuses(429, "ThrottlingException", "Rate exceeded"),
            "Lambda.TooManyRequestsException",
            "Rate exceeded (Service: AWSLambda; Status Code: 429; Error Code: ThrottlingException; Request ID: ",
        ),
        (
            breaks_down(),
            "Lambda.ServiceException",
            "The service encountered an internal error. (Service: AWSLambda; Status Code: 500; Error Code: ",
        ),
        (
            refuses(403, "AccessDeniedException", "User is not authorized"),
            "Lambda.AWSLambdaException",
            "User is not authorized (Service: AWSLambda; Status Code: 403; Error Code: AccessDeniedException; ",
        ),
        (
            refuses(502, "EC2ThrottledException", "slow"),
            "Lambda.EC2ThrottledException",
            "slow (Service: AWSLambda; Status Code: 502; Error Code: EC2ThrottledException; Request ID: ",
        ),
        (
            Reply(status=503, body=b"<html>busy</html>"),
            "Lambda.AWSLambdaException",
            "",
        ),
    ],
    ids=["throttled", "throttled otherwise", "service", "denied", "modelled", "gateway"],
)
async def test_an_error_of_the_service_is_told_in_sdk_v1_words_after_a_single_attempt(
    server: LambdaServer, handler: LambdaHandler, reply: Reply, error: str, cause: str
) -> None:
    server.function("charge-card", reply)
    got_error, got_cause = await failure(handler, task_call({}))
    assert got_error == error
    assert got_cause.startswith(cause)
    assert got_cause.endswith("; Proxy: null)")
    assert len(server.requests) == 1


async def test_an_unknown_function_is_not_found(server: LambdaServer, handler: LambdaHandler) -> None:
    error, cause = await failure(handler, task_call({"FunctionName": "nobody", "Payload": None}, INVOKE))
    assert error == "Lambda.ResourceNotFoundException"
    assert cause.startswith(
        "Function not found: arn:aws:lambda:us-east-1:111111111111:function:nobody:$LATEST "
        "(Service: AWSLambda; Status Code: 404; Error Code: ResourceNotFoundException; Request ID: "
    )


@pytest.mark.parametrize("amid_body", [False, True])
async def test_a_dropped_connection_is_a_client_exception_after_a_single_attempt(
    server: LambdaServer, handler: LambdaHandler, amid_body: bool
) -> None:
    server.function("charge-card", drops_connection(amid_body=amid_body))
    error, cause = await failure(handler, task_call({}))
    assert error == "Lambda.SdkClientException"
    assert cause.startswith("Unable to execute HTTP request: ")
    assert len(server.requests) == 1


async def test_a_refused_connection_is_a_client_exception() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    handler = LambdaHandler(endpoint_url=f"http://127.0.0.1:{port}", **KEYS)
    error, cause = await failure(handler, task_call({}))
    await handler.aclose()
    assert error == "Lambda.SdkClientException"
    assert cause == (
        f"Unable to execute HTTP request: Connect to 127.0.0.1:{port} failed: Connection refused (Connection refused)"
    )


async def test_a_host_that_is_not_known_is_a_client_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)  # no test asks a real name server
    handler = LambdaHandler(endpoint_url="http://lambda.invalid:80", **KEYS)
    assert await failure(handler, task_call({})) == (
        "Lambda.SdkClientException",
        "Unable to execute HTTP request: lambda.invalid: Name or service not known",
    )
    await handler.aclose()


@pytest.mark.real_time
async def test_an_answer_that_does_not_come_in_time_is_a_client_exception(server: LambdaServer) -> None:
    # real_time: the timeout under test is the HTTP client's own
    server.function("charge-card", returns(1).after(30))
    handler = LambdaHandler(endpoint_url=server.url, read_timeout_seconds=0.1, **KEYS)
    assert await failure(handler, task_call({})) == (
        "Lambda.SdkClientException",
        "Unable to execute HTTP request: Read timed out",
    )
    await handler.aclose()
    assert len(server.requests) == 1


async def test_missing_credentials_are_a_client_exception(server: LambdaServer) -> None:
    handler = LambdaHandler(endpoint_url=server.url)
    assert await failure(handler, task_call({})) == (
        "Lambda.SdkClientException",
        "Unable to load AWS credentials from any provider in the chain",
    )
    await handler.aclose()
    assert server.requests == []


async def test_a_cancelled_call_ends_and_leaves_the_handler_usable(
    server: LambdaServer, handler: LambdaHandler
) -> None:
    gate = asyncio.Event()
    server.function("charge-card", returns(1).held_by(gate), returns(2))
    running = asyncio.create_task(handler.submit(task_call({})))
    await server.wait_open(1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (await result(handler, task_call({}))).value == 2


# --- clients ---------------------------------------------------------------------------------------------


@pytest.mark.real_time
async def test_a_hundred_calls_overlap_and_share_one_client(server: LambdaServer, handler: LambdaHandler) -> None:
    # real_time: that the calls overlap is seen by a server that takes 200 ms over each
    server.function("charge-card", returns("warm"), echoes().after(0.2))
    await result(handler, task_call({}))
    answers = await asyncio.gather(*(result(handler, task_call(n)) for n in range(100)))
    assert [answer.value for answer in answers] == list(range(100))
    assert server.peak == 100
    assert server.connections <= 101
    assert len(handler._clients) == 1


async def test_first_calls_that_come_at_once_make_one_client(server: LambdaServer, handler: LambdaHandler) -> None:
    gate = asyncio.Event()
    server.function("charge-card", echoes().held_by(gate))
    running = [asyncio.create_task(result(handler, task_call(n))) for n in range(20)]
    await server.wait_open(20)
    gate.set()
    assert [(await task).value for task in running] == list(range(20))
    assert len(handler._clients) == 1


async def test_no_more_than_max_concurrency_connections_are_used(server: LambdaServer) -> None:
    handler = LambdaHandler(endpoint_url=server.url, max_concurrency=3, **KEYS)
    server.function("charge-card", echoes())
    await asyncio.gather(*(result(handler, task_call(n)) for n in range(30)))
    await handler.aclose()
    assert server.connections == 3
    assert server.peak <= 3


async def test_the_region_is_the_arns_then_the_arguments_then_the_configured_then_the_executions(
    server: LambdaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.function("charge-card")
    by_name = task_call({"FunctionName": "charge-card"}, INVOKE)
    by_arn = task_call({}, FUNCTION_ARN.replace("us-east-1", "ap-south-1"))

    async def signed_region(handler: LambdaHandler, call: TaskCall) -> str:
        await result(handler, call)
        await handler.aclose()
        return server.requests[-1].headers["authorization"].split("/")[2]

    assert await signed_region(LambdaHandler("eu-west-1", server.url, **KEYS), by_arn) == "ap-south-1"
    assert await signed_region(LambdaHandler("eu-west-1", server.url, **KEYS), by_name) == "eu-west-1"
    assert await signed_region(LambdaHandler(None, server.url, **KEYS), by_name) == "us-east-1"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "sa-east-1")
    assert await signed_region(LambdaHandler(None, server.url, **KEYS), by_name) == "sa-east-1"


async def test_credentials_and_endpoint_come_from_the_environment(
    server: LambdaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "FROMENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", server.url)
    server.function("charge-card", returns(1))
    handler = LambdaHandler()
    assert (await result(handler, task_call({}))).value == 1
    await handler.aclose()
    assert server.access_keys == ["FROMENV"]


async def test_a_role_is_assumed_once_and_signs_the_calls(
    server: LambdaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", server.url)
    server.function("charge-card", returns(1))
    handler = LambdaHandler(endpoint_url=server.url, **KEYS)
    role = "arn:aws:iam::222222222222:role/other"
    for call in (task_call({}, role_arn=role), task_call({}, role_arn=role), task_call({})):
        await result(handler, call)
    await handler.aclose()
    assert server.access_keys == ["ASSUMEDOTHER", "ASSUMEDOTHER", "TESTKEY"]
    assert [request.path for request in server.requests].count("/") == 1


async def test_a_role_that_cannot_be_assumed_fails_the_task(
    server: LambdaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", server.url)
    role = "arn:aws:iam::222222222222:role/closed"
    server.refused_roles.add(role)
    handler = LambdaHandler(endpoint_url=server.url, **KEYS)
    error, cause = await failure(handler, task_call({}, role_arn=role))
    await handler.aclose()
    assert error == "States.TaskFailed"
    assert cause.endswith(f" is not authorized to assume the task state's role, {role}.")


async def test_requests_are_inside_off_loop(server: LambdaServer) -> None:
    inside = 0
    seen: list[int] = []

    @contextmanager
    def off_loop() -> Iterator[None]:
        nonlocal inside
        inside += 1
        try:
            yield
        finally:
            inside -= 1

    gate = asyncio.Event()
    server.function("charge-card", returns(1).held_by(gate))
    handler = LambdaHandler(endpoint_url=server.url, off_loop=off_loop, **KEYS)
    running = asyncio.create_task(result(handler, task_call({})))
    await server.wait_open(1)
    seen.append(inside)
    gate.set()
    await running
    await handler.aclose()
    assert [*seen, inside] == [1, 0]


async def test_a_closed_handler_may_be_used_again(server: LambdaServer, handler: LambdaHandler) -> None:
    server.function("charge-card", returns(1))
    await handler.open("us-east-1")
    assert server.requests == []
    for _ in range(2):
        assert (await result(handler, task_call({}))).value == 1
        await handler.aclose()
    assert server.connections == 2


async def test_calls_in_a_row_use_one_connection(server: LambdaServer, handler: LambdaHandler) -> None:
    server.function("charge-card", returns(1))
    for _ in range(5):
        await result(handler, task_call({}))
    assert server.connections == 1


def test_a_clients_sockets_keep_silent_connections_alive() -> None:
    family, kind, protocol, name, address = socket.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)[0]
    with _keepalive_socket((family, kind, protocol, name, address)) as made:
        assert made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


def test_virtual_time_stands_still_while_a_request_is_open() -> None:
    async def main(loop: VirtualTimeLoop, clock: VirtualClock) -> tuple[float, Any]:
        async with LambdaServer() as server:
            gate = asyncio.Event()
            server.function("charge-card", returns(1).held_by(gate))
            handler = LambdaHandler(endpoint_url=server.url, off_loop=clock.off_loop, **KEYS)
            running = asyncio.create_task(result(handler, task_call({})))
            await server.wait_open(1)
            opened_at = loop.time()
            gate.set()
            answer = await running
            took = loop.time() - opened_at
            await handler.aclose()
            return took, answer.value

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, VirtualTimeLoop)
        assert runner.run(main(loop, VirtualClock(loop))) == (0, 1)
