from __future__ import annotations

import asyncio
import contextvars
import functools
import json
import logging
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from asfn.errors import TaskFailed
from asfn.tasks.function import FunctionHandler, TaskContext
from asfn.tasks.protocol import Done
from tests.tasks.calls import FUNCTION_ARN, INVOKE, task_call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from asfn._json import Payload
    from asfn.tasks.protocol import TaskCall

NOW = 1_735_689_600.0


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2, thread_name_prefix="worker") as threads:
        yield threads


@pytest.fixture
def wrap(executor: ThreadPoolExecutor) -> Callable[..., FunctionHandler]:
    def wrapped(function: Callable[..., Any], **options: Any) -> FunctionHandler:
        return FunctionHandler(function, executor=executor, now=lambda: NOW, **options)

    return wrapped


async def result(handler: FunctionHandler, call: TaskCall) -> Payload:
    answer = await handler.submit(call)
    assert isinstance(answer, Done)
    return answer.value


async def failure(handler: FunctionHandler, call: TaskCall) -> TaskFailed:
    with pytest.raises(TaskFailed) as failed:
        await handler.submit(call)
    return failed.value


# --- calling ---------------------------------------------------------------------------------------------


async def test_an_asynchronous_function_is_called_on_the_loop_with_event_and_context(wrap: Any) -> None:
    async def charge(event: Any, ctx: TaskContext) -> Any:
        return {
            "event": event,
            "state": ctx.state_name,
            "thread": threading.current_thread() is threading.main_thread(),
        }

    value = (await result(wrap(charge), task_call({"id": 7}))).value
    assert value == {"event": {"id": 7}, "state": "Charge", "thread": True}


async def test_a_synchronous_function_runs_in_the_given_threads_and_leaves_the_loop_free(wrap: Any) -> None:
    entered, release = threading.Event(), threading.Event()

    def charge(event: Any) -> Any:
        entered.set()
        assert release.wait(10)
        return threading.current_thread().name

    running = asyncio.create_task(result(wrap(charge), task_call({})))
    assert await asyncio.to_thread(entered.wait, 10)  # the loop turns while the function blocks its thread
    release.set()
    assert str((await running).value).startswith("worker")


async def test_context_variables_are_carried_into_the_thread(wrap: Any) -> None:
    tenant = contextvars.ContextVar("tenant", default="nobody")
    tenant.set("acme")
    assert (await result(wrap(lambda event: tenant.get()), task_call({}))).value == "acme"


async def test_work_in_a_thread_is_inside_off_loop_and_work_on_the_loop_is_not(wrap: Any) -> None:
    opened = 0

    @contextmanager
    def off_loop() -> Iterator[None]:
        nonlocal opened
        opened += 1
        yield
        opened += 10

    async def on_loop(event: Any) -> int:
        return opened

    assert (await result(wrap(on_loop, off_loop=off_loop), task_call({}))).value == 0
    assert (await result(wrap(lambda event: opened, off_loop=off_loop), task_call({}))).value == 1
    assert opened == 11


class Callables:
    async def asynchronous(self, event: Any, ctx: Any) -> Any:
        return ctx.attempt

    def synchronous(self, event: Any, context: Any = None) -> Any:
        return context.attempt

    async def __call__(self, event: Any) -> Any:
        return "called"

    @staticmethod
    def one(event: Any, scale: int = 2) -> Any:
        return event * scale

    @staticmethod
    def many(*parameters: Any) -> Any:
        return len(parameters)


async def plain(event: Any, ctx: Any, extra: str = "") -> str:
    return f"plain{extra}"


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (Callables().asynchronous, 4),
        (Callables().synchronous, 4),
        (Callables(), "called"),
        (Callables.one, 42),
        (Callables.many, 2),
        (functools.partial(plain, extra="!"), "plain!"),
        (lambda event: plain(event, None), "plain"),
        (str, "21"),
    ],
)
async def test_every_usual_form_of_callable_is_accepted(wrap: Any, function: Any, expected: Any) -> None:
    assert (await result(wrap(function), task_call(21, attempt=4))).value == expected


@pytest.mark.parametrize(
    "function", [lambda: 1, lambda a, b, c: 1, lambda event, *, needed: 1], ids=["none", "three", "keyword"]
)
def test_a_function_that_cannot_take_an_event_is_refused_when_it_is_registered(wrap: Any, function: Any) -> None:
    with pytest.raises(TypeError, match=r"must take \(event\) or \(event, ctx\)"):
        wrap(function)


def test_on_resume_is_kept_and_checked(wrap: Any) -> None:
    assert wrap(str).on_resume == "run"
    assert wrap(str, on_resume="fail").on_resume == "fail"
    with pytest.raises(ValueError, match="on_resume"):
        wrap(str, on_resume="never")


async def test_the_context_tells_where_the_call_comes_from(wrap: Any) -> None:
    beats: list[int] = []
    seen: list[TaskContext] = []
    call = task_call(
        {}, f"{FUNCTION_ARN}:7", attempt=2, deadline_at=NOW + 30.5, token="tok", heartbeat=lambda: beats.append(1)
    )

    def charge(event: Any, ctx: TaskContext) -> None:
        seen.append(ctx)
        ctx.heartbeat()

    await result(wrap(charge), call)
    ctx = seen[0]
    assert (ctx.execution_arn, ctx.execution_name) == (call.execution_arn, "order-7")
    assert (ctx.state_machine_arn, ctx.attempt, ctx.token) == (call.state_machine_arn, 2, "tok")
    assert (ctx.idempotency_key, ctx.deadline_at) == (call.idempotency_key, NOW + 30.5)
    assert ctx.remaining_seconds() == 30.5
    assert ctx.get_remaining_time_in_millis() == 30_500
    assert (ctx.function_name, ctx.function_version) == ("charge-card", "7")
    assert ctx.invoked_function_arn == f"{FUNCTION_ARN}:7"
    assert beats == [1]


async def test_without_a_deadline_the_time_left_is_endless_and_after_it_none(wrap: Any) -> None:
    seen: list[float] = []

    async def charge(event: Any, ctx: TaskContext) -> None:
        seen.append(ctx.remaining_seconds())
        seen.append(ctx.get_remaining_time_in_millis())

    await result(wrap(charge), task_call({}))
    await result(wrap(charge), task_call({}, deadline_at=NOW - 1))
    assert seen == [math.inf, 900_000, 0, 0]


async def test_the_request_id_is_the_same_for_a_repeated_attempt_and_differs_for_the_next(wrap: Any) -> None:
    handler = wrap(lambda event, ctx: ctx.aws_request_id)
    first, again, retry = [(await result(handler, task_call({}, attempt=n))).value for n in (0, 0, 1)]
    assert first == again != retry


# --- event and result ------------------------------------------------------------------------------------


async def test_what_a_function_does_to_its_event_does_not_reach_the_engines_payload(wrap: Any) -> None:
    def spoil(event: Any) -> Any:
        event["lines"].append("spoiled")
        return event

    call = task_call({"lines": [1]})
    answer = await result(wrap(spoil), call)
    assert call.payload.value == {"lines": [1]}
    assert answer.value == {"lines": [1, "spoiled"]}
    nested = task_call({"FunctionName": "f", "Payload": {"lines": [1]}}, INVOKE)
    await result(wrap(spoil), nested)
    assert nested.payload.value == {"FunctionName": "f", "Payload": {"lines": [1]}}


async def test_what_a_function_does_to_its_result_afterwards_does_not_reach_the_engine(wrap: Any) -> None:
    kept: dict[str, Any] = {"lines": []}
    answer = await result(wrap(lambda event: kept), task_call({}))
    kept["lines"].append("late")
    assert answer.value == {"lines": []}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": [1, 2.0, None, True]}, '{"b": 1, "a": [1, 2.0, null, true]}'),
        ((1, (2,)), "[1, [2]]"),
        ({1: "one"}, '{"1": "one"}'),
        ("é\u2028", '"é\u2028"'),
        (2**80, str(2**80)),
        (Decimal("1.5"), "1.5"),
        (b'"HelloWorld!"', '"HelloWorld!"'),
        (None, "null"),
    ],
)
async def test_a_result_is_printed_as_lambdas_python_runtime_prints_it(wrap: Any, value: Any, text: str) -> None:
    answer = await result(wrap(lambda event: value), task_call({}))
    assert answer.text == text
    assert answer.value == json.loads(text)


def endless() -> list[Any]:
    loop: list[Any] = []
    loop.append(loop)
    return loop


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (datetime(2025, 1, 1), "Object of type datetime is not JSON serializable"),
        ({1, 2}, "Object of type set is not JSON serializable"),
        (math.nan, "Out of range float values are not JSON compliant"),
        ([{"x": -math.inf}], "Out of range float values are not JSON compliant"),
        (Decimal("NaN"), "Out of range float values are not JSON compliant"),
        ({(1, 2): 3}, "keys must be str"),
        (endless(), "Circular reference detected"),
        ("\ud800", "surrogates not allowed"),
        (b"not json", "not valid JSON"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_result_that_is_no_json_fails_as_a_lambda_marshalling_error(
    wrap: Any, value: Any, message: str, asynchronous: bool
) -> None:
    async def coroutine(event: Any) -> Any:
        return value

    failed = await failure(wrap(coroutine if asynchronous else lambda event: value), task_call({}))
    assert failed.error == "Runtime.MarshalError"
    cause = json.loads(failed.cause or "")
    assert cause["errorMessage"].startswith("Unable to marshal response: ")
    assert message in cause["errorMessage"]
    assert cause["stackTrace"] == []


# --- failures --------------------------------------------------------------------------------------------


class CustomException(Exception):
    """Has a message that str() does not show."""

    def __init__(self, message: str) -> None:
        self.message = message


async def async_raises(event: Any) -> None:
    raise CustomException("hidden")


def sync_raises(event: Any) -> None:
    raise ValueError("bad card")


async def test_an_exception_fails_the_task_as_on_lambda_with_blanks_for_a_function_arn(wrap: Any) -> None:
    failed = await failure(wrap(sync_raises), task_call({}))
    assert failed.error == "ValueError"
    cause = failed.cause or ""
    assert cause.startswith('{"errorMessage": "bad card", "errorType": "ValueError", "requestId": "')
    document = json.loads(cause)
    assert list(document) == ["errorMessage", "errorType", "requestId", "stackTrace"]
    (frame,) = document["stackTrace"]
    assert frame.startswith(f'  File "{__file__}", line ')
    assert frame.endswith('in sync_raises\n    raise ValueError("bad card")\n')


async def test_lambda_invoke_tells_the_same_exception_compact(wrap: Any) -> None:
    failed = await failure(wrap(async_raises), task_call({"FunctionName": "f"}, INVOKE))
    assert failed.error == "CustomException"
    assert (failed.cause or "").startswith('{"errorMessage":"hidden","errorType":"CustomException","requestId":"')
    (frame,) = json.loads(failed.cause or "")["stackTrace"]
    assert frame.endswith('in async_raises\n    raise CustomException("hidden")\n')


@pytest.mark.parametrize("resource", [FUNCTION_ARN, INVOKE])
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_task_failed_passes_as_it_is(wrap: Any, asynchronous: bool, resource: str) -> None:
    def synchronous(event: Any) -> None:
        raise TaskFailed("Card.Declined", "issuer said no")

    async def coroutine(event: Any) -> None:
        synchronous(event)

    failed = await failure(wrap(coroutine if asynchronous else synchronous), task_call({"FunctionName": "f"}, resource))
    assert (failed.error, failed.cause) == ("Card.Declined", "issuer said no")


async def test_task_failed_may_have_neither_name_nor_cause_and_anything_else_becomes_text(wrap: Any) -> None:
    async def bare(event: Any) -> None:
        raise TaskFailed

    async def strange(event: Any) -> None:
        raise TaskFailed("E\ud800", ValueError("inner"))  # type: ignore[arg-type]

    failed = await failure(wrap(bare), task_call({}))
    assert (failed.error, failed.cause) == (None, None)
    failed = await failure(wrap(strange), task_call({}))
    assert (failed.error, failed.cause) == ("E\\ud800", "inner")


def unprintable(event: Any) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    raise Mute


def stop(event: Any) -> None:
    raise StopIteration("end")


def surrogate(event: Any) -> None:
    raise KeyError("\ud800")


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (unprintable, "Mute", "Mute has no text: str() raised RuntimeError"),
        (stop, "StopIteration", "end"),
        (surrogate, "KeyError", "'\\ud800'"),
    ],
)
async def test_awkward_exceptions_of_a_thread_are_told_too(wrap: Any, function: Any, error: str, message: str) -> None:
    failed = await failure(wrap(function), task_call({}))
    assert failed.error == error
    assert json.loads(failed.cause or "")["errorMessage"] == message


@pytest.mark.parametrize(("code", "status"), [(None, 0), (3, 3), ("bye", 1)])
async def test_sys_exit_ends_the_task_and_not_the_engine(wrap: Any, code: Any, status: int) -> None:
    async def leave(event: Any) -> None:
        raise SystemExit(code)

    def leave_thread(event: Any) -> None:
        raise SystemExit(code)

    for function in (leave, leave_thread):
        failed = await failure(wrap(function), task_call({}))
        assert failed.error == "Runtime.ExitError"
        assert json.loads(failed.cause or "")["errorMessage"].endswith(
            f"Error: Runtime exited with error: exit status {status}"
        )


# --- cancellation ----------------------------------------------------------------------------------------


async def test_cancellation_reaches_an_asynchronous_function_and_is_not_swallowed(wrap: Any) -> None:
    started, cleaned = asyncio.Event(), asyncio.Event()

    async def wait(event: Any) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    running = asyncio.create_task(wrap(wait).submit(task_call({})))
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert cleaned.is_set()


async def test_cancelling_a_call_does_not_wait_for_its_thread(wrap: Any) -> None:
    entered, release = threading.Event(), threading.Event()

    def block(event: Any) -> None:
        entered.set()
        release.wait(10)

    running = asyncio.create_task(wrap(block).submit(task_call({})))
    assert await asyncio.to_thread(entered.wait, 10)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not release.is_set()
    release.set()


async def test_a_cancellation_of_the_functions_own_making_is_a_failure(wrap: Any) -> None:
    async def inner_cancelled(event: Any) -> None:
        inner = asyncio.create_task(asyncio.Event().wait())
        inner.cancel()
        await inner

    failed = await failure(wrap(inner_cancelled), task_call({}))
    assert failed.error == "CancelledError"


# --- lambda:invoke ---------------------------------------------------------------------------------------


async def test_lambda_invoke_wraps_the_result_in_awss_members_and_order(wrap: Any) -> None:
    value: Any = (
        await result(wrap(lambda event: event), task_call({"FunctionName": "f", "Payload": {"foo": "foo-1"}}, INVOKE))
    ).value
    assert list(value) == ["ExecutedVersion", "Payload", "SdkHttpMetadata", "SdkResponseMetadata", "StatusCode"]
    assert (value["ExecutedVersion"], value["Payload"], value["StatusCode"]) == ("$LATEST", {"foo": "foo-1"}, 200)
    http = value["SdkHttpMetadata"]
    assert list(http) == ["AllHttpHeaders", "HttpHeaders", "HttpStatusCode"]
    assert list(http["AllHttpHeaders"]) == [
        "X-Amz-Executed-Version",
        "x-amzn-Remapped-Content-Length",
        "Connection",
        "x-amzn-RequestId",
        "Content-Length",
        "Date",
        "X-Amzn-Trace-Id",
        "Content-Type",
    ]
    assert list(http["HttpHeaders"]) == [
        "Connection",
        "Content-Length",
        "Content-Type",
        "Date",
        "X-Amz-Executed-Version",
        "x-amzn-Remapped-Content-Length",
        "x-amzn-RequestId",
        "X-Amzn-Trace-Id",
    ]
    assert http["AllHttpHeaders"]["Content-Length"] == ["16"]  # with the blank Python prints, as recorded
    assert http["HttpHeaders"]["Date"] == "Wed, 01 Jan 2025 00:00:00 GMT"
    assert http["HttpHeaders"]["x-amzn-RequestId"] == value["SdkResponseMetadata"]["RequestId"]


@pytest.mark.parametrize(
    ("parameters", "event"),
    [
        ({}, {}),
        ({"Payload": None}, {}),
        ({"Payload": ""}, {}),
        ({"Payload": "0.0"}, 0.0),
        ({"Payload": '"Hello"'}, "Hello"),
        ({"Payload": "{}"}, {}),
        ({"Payload": ["x"]}, ["x"]),
        ({"Payload": 0}, 0),
        ({"Payload": False}, False),
    ],
)
async def test_the_payload_parameter_becomes_the_event(wrap: Any, parameters: Any, event: Any) -> None:
    value: Any = (await result(wrap(lambda event: event), task_call({"FunctionName": "f", **parameters}, INVOKE))).value
    assert value["Payload"] == event
    assert type(value["Payload"]) is type(event)


async def test_a_payload_text_that_is_no_json_is_refused_before_the_function_runs(wrap: Any) -> None:
    called: list[Any] = []
    failed = await failure(wrap(called.append), task_call({"FunctionName": "f", "Payload": "hello"}, INVOKE))
    assert failed.error == "Lambda.InvalidRequestContentException"
    assert (failed.cause or "").startswith("Could not parse request body into json: ")
    assert called == []


async def test_an_event_invocation_answers_at_once_and_runs_the_function_behind(wrap: Any) -> None:
    done = asyncio.Event()
    release = asyncio.Event()

    async def later(event: Any, ctx: TaskContext) -> None:
        await release.wait()
        done.set()

    handler = wrap(later)
    call = task_call({"FunctionName": "f", "InvocationType": "Event"}, INVOKE, deadline_at=NOW)
    value: Any = (await result(handler, call)).value
    assert (value["Payload"], value["StatusCode"]) == ("", 202)
    assert "ExecutedVersion" not in value
    assert not done.is_set()
    release.set()
    await asyncio.wait_for(done.wait(), 5)


async def test_a_failing_event_invocation_is_logged_and_a_lasting_one_ends_with_the_handler(
    wrap: Any, caplog: pytest.LogCaptureFixture
) -> None:
    ended = asyncio.Event()

    async def work(event: Any) -> None:
        if event == "fail":
            raise TaskFailed("Oops", "secret")
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    handler = wrap(work)
    for payload in ('"fail"', '"last"'):
        await handler.submit(task_call({"FunctionName": "f", "InvocationType": "Event", "Payload": payload}, INVOKE))
    with caplog.at_level(logging.WARNING, "asfn.tasks"):
        await asyncio.sleep(0)
        await handler.aclose()
    assert ended.is_set()
    assert "function 'f', invoked as an Event by state 'Charge'" in caplog.text


async def test_a_dry_run_calls_nothing(wrap: Any) -> None:
    called: list[Any] = []
    call = task_call({"FunctionName": "f", "InvocationType": "DryRun"}, INVOKE)
    value: Any = (await result(wrap(called.append), call)).value
    assert value["StatusCode"] == 204
    assert called == []


async def test_log_type_tail_adds_a_log_result_and_a_version_is_executed_as_named(wrap: Any) -> None:
    parameters = {"FunctionName": "f", "LogType": "Tail", "Qualifier": "12"}
    value: Any = (await result(wrap(lambda event: 1), task_call(parameters, INVOKE))).value
    assert list(value)[:3] == ["ExecutedVersion", "LogResult", "Payload"]
    assert value["ExecutedVersion"] == "12"


@pytest.mark.parametrize(
    ("parameters", "error", "cause"),
    [
        ([1], "States.Runtime", "[The value has an invalid format]"),
        ({}, "States.Runtime", "[The field 'FunctionName' is required but was missing]"),
        ({"FunctionName": 1}, "States.Runtime", "[The value of the field 'FunctionName' has an invalid format]"),
        ({"FunctionName": "f", "Frob": 1}, "States.Runtime", "[The field 'Frob' is not supported by Step Functions]"),
        ({"FunctionName": "no blanks"}, "Lambda.AWSLambdaException", "Value 'no blanks' at 'functionName' failed to"),
        (
            {"FunctionName": "f", "InvocationType": "Maybe"},
            "Lambda.AWSLambdaException",
            "enum value set: [Event, DryRun, RequestResponse]",
        ),
    ],
)
async def test_parameters_that_aws_refuses_fail_the_task(wrap: Any, parameters: Any, error: str, cause: str) -> None:
    failed = await failure(wrap(str), task_call(parameters, INVOKE))
    assert failed.error == error
    assert cause in (failed.cause or "")
