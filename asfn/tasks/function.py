"""A Python function as the handler of Tasks, answering and failing as a Lambda function does.

Coroutine functions run on the engine's loop, all others in the engine's worker threads, never on the loop.
What the function gets and returns is its own: the event is decoded anew for it, and its result is printed
before it is kept, so nothing it does to either reaches the engine's data.
"""

from __future__ import annotations

import asyncio
import contextvars
import decimal
import inspect
import json
import logging
import math
import traceback
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from asfn._json import JsonError, decode
from asfn.errors import TaskFailed
from asfn.tasks.invocation import (
    LATEST,
    Invocation,
    function_error,
    function_of,
    function_result,
    http_headers,
    invoke_result,
    is_invoke,
    read_invocation,
    request_id_of,
    tail,
    unreadable_event,
)
from asfn.tasks.protocol import Done
from asfn.tasks.slots import Slots
from asfn.tasks.threads import WorkerThreads

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor, Future
    from contextlib import AbstractContextManager

    from asfn._json import Json, Payload
    from asfn.tasks.protocol import Answer, TaskCall
    from asfn.tasks.registry import OnResume

_LOG: Final = logging.getLogger("asfn.tasks")
_LAMBDA_MAXIMUM_SECONDS: Final = 900.0
_CLOSING_SECONDS: Final = 2.0  # how long closing waits for functions that were cancelled


class TaskContext:
    """What a function may know about the Task it works for. May be used from any thread; made by the engine.

    Also has the members of Lambda's own context object, so that a function written for Lambda runs unchanged:
    aws_request_id, function_name, function_version, invoked_function_arn and get_remaining_time_in_millis.
    """

    __slots__ = ("_call", "_detached", "_now")

    def __init__(self, call: TaskCall, now: Callable[[], float], *, detached: bool = False) -> None:
        self._call = call
        self._now = now
        self._detached = detached  # an Event invocation outlives its Task, and the Task's deadline

    @property
    def execution_arn(self) -> str:
        return self._call.execution_arn

    @property
    def execution_name(self) -> str:
        return self._call.execution_name

    @property
    def state_machine_arn(self) -> str:
        return self._call.state_machine_arn

    @property
    def state_name(self) -> str:
        return self._call.state_name

    @property
    def resource(self) -> str:
        """The Task's Resource."""
        return self._call.resource.text

    @property
    def attempt(self) -> int:
        """0 first, counting every retry of this visit to the state."""
        return self._call.attempt

    @property
    def idempotency_key(self) -> str:
        """The same when a crash repeats this attempt, different for every other attempt.

        Give it to whatever must not happen twice.
        """
        return self._call.idempotency_key

    @property
    def deadline_at(self) -> float | None:
        """Epoch seconds; None without TimeoutSeconds."""
        return None if self._detached else self._call.deadline_at

    @property
    def token(self) -> str | None:
        """The task token of a `.waitForTaskToken` Task."""
        return self._call.token

    @property
    def aws_request_id(self) -> str:
        """A UUID as stable as the idempotency key, from which it is made."""
        return request_id_of(self._call)

    @property
    def function_name(self) -> str:
        """The name the Task calls the function by; a Resource's action when that is no function."""
        function = function_of(self._call)
        return self._call.resource.action if function is None else function.name

    @property
    def invoked_function_arn(self) -> str:
        function = function_of(self._call)
        return self._call.resource.text if function is None else function.arn

    @property
    def function_version(self) -> str:
        function = function_of(self._call)
        return _version(None if function is None else function.qualifier)

    def remaining_seconds(self) -> float:
        """Seconds until the deadline, 0 once it has passed; infinite without one."""
        deadline_at = self.deadline_at
        return math.inf if deadline_at is None else max(0.0, deadline_at - self._now())

    def heartbeat(self) -> None:
        """Tell the engine that the work goes on: HeartbeatSeconds counts anew."""
        self._call.heartbeat()

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the deadline, at most Lambda's 15 minutes."""
        return int(min(self.remaining_seconds(), _LAMBDA_MAXIMUM_SECONDS) * 1000)


class FunctionHandler:
    """Answers Tasks with a Python function of `(event)` or `(event, ctx)`, asynchronous or not.

    The function returns a JSON value (tuples become lists, Decimals numbers, bytes are taken as JSON text, as
    Lambda does) and raises TaskFailed to fail with a name of its choice; any other exception fails the Task
    as it would on Lambda: its class name, and a JSON document with message and stack trace.
    executor: the engine's worker threads.   now: epoch seconds.   off_loop: entered around work in a thread.
    on_resume: "run" calls the function again after a crash, "fail" fails the Task; the runtime reads it.
    max_concurrency: how many calls are made at once; further ones wait, by their executions' priority, then in order.
        A call whose Task has timed out counts until the function returns.
    Raises TypeError for a function that cannot be called so.
    """

    def __init__(
        self,
        function: Callable[..., Any],  # Any: the event and the result are the user's own types
        *,
        executor: Executor,
        now: Callable[[], float],
        off_loop: Callable[[], AbstractContextManager[None]] = nullcontext,
        on_resume: OnResume = "run",
        max_concurrency: int | None = None,
    ) -> None:
        if on_resume not in ("run", "fail"):
            raise ValueError(f"on_resume is {on_resume!r}: use 'run' or 'fail'")
        self.on_resume: OnResume = on_resume
        self._function = function
        self._takes_context = _takes_context(function)
        self._is_asynchronous = _is_asynchronous(function)
        self._executor = executor
        self._now = now
        self._off_loop = off_loop
        self._detached: set[asyncio.Task[None]] = set()
        self._slots = Slots(max_concurrency) if max_concurrency is not None else None

    async def submit(self, call: TaskCall) -> Answer:
        """Call the function. Raises TaskFailed; a cancellation reaches a coroutine function."""
        if is_invoke(call.resource):
            return Done(await self._invoke(call, request_id_of(call)))
        try:
            text = await self._run(decode(call.payload.text), TaskContext(call, self._now))
        except _Raised as raised:
            raise function_error(raised.payload, optimised=False) from raised.__cause__
        return Done(function_result(text))

    async def poll(self, call: TaskCall, job: Json) -> Done | None:
        """Never called: a function is done when `submit` is."""
        raise NotImplementedError("a Python function submits no jobs")

    async def cancel(self, call: TaskCall, job: Json) -> None:
        """Never called: a function is done when `submit` is."""

    def dismiss(self) -> None:
        """The engine is being left: calls that wait for their turn are not made; they end with EngineClosed."""
        if self._slots is not None:
            self._slots.close()

    async def aclose(self) -> None:
        """Cancel the functions that InvocationType Event left running, and wait for them."""
        tasks = tuple(self._detached)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_CLOSING_SECONDS)
        if self._slots is not None:  # calls that go on all the same hold the old ones
            self._slots = Slots(self._slots.limit)

    async def _invoke(self, call: TaskCall, request_id: str) -> Payload:
        """`lambda:invoke`: the function's answer wrapped as the service wraps it."""
        invocation = read_invocation(call)
        try:
            event = decode(invocation.event or "{}")
        except JsonError as error:
            raise unreadable_event(error, request_id) from error
        if invocation.invocation_type == "DryRun":
            return self._result("", 204, invocation, request_id)
        if invocation.invocation_type == "Event":
            self._detach(event, TaskContext(call, self._now, detached=True))
            return self._result("", 202, invocation, request_id)
        try:
            text = await self._run(event, TaskContext(call, self._now))
        except _Raised as raised:
            raise function_error(raised.payload, optimised=True) from raised.__cause__
        return self._result(text, 200, invocation, request_id)

    def _detach(self, event: Json, context: TaskContext) -> None:
        """Run the function behind the Task's back; a crash loses it, and it is not tried again when it fails.

        The Task is over before the function, so no task group can hold it: this handler does, until `aclose`.
        """
        task = asyncio.get_running_loop().create_task(self._run_detached(event, context))
        self._detached.add(task)
        task.add_done_callback(self._detached.discard)

    async def _run_detached(self, event: Json, context: TaskContext) -> None:
        try:
            await self._run(event, context)
        except Exception:  # nobody waits for it: the log is the only place left to say so
            _LOG.warning(
                "function %r, invoked as an Event by state %r of %s, failed",
                context.function_name,
                context.state_name,
                context.execution_arn,
                exc_info=True,
            )

    async def _run(self, event: Json, context: TaskContext) -> str:
        """The JSON text of the function's result. Raises TaskFailed as the function did, and _Raised.

        event: the function's own, decoded for this call: it may be changed.
        """
        slots = self._slots
        if slots is not None:
            await slots.acquire(context._call.priority)
        try:
            if self._is_asynchronous:
                return await self._run_on_loop(lambda: self._call(event, context), context)
            run = contextvars.copy_context().run
            with self._off_loop():
                thread = self._executor.submit(run, self._run_in_thread, event, context)
                try:
                    answer = await asyncio.wrap_future(thread)
                except asyncio.CancelledError:
                    if self._goes_on(thread) and slots is not None:
                        thread.add_done_callback(partial(_release, slots))
                        slots = None
                    raise
            return answer if isinstance(answer, str) else await self._run_on_loop(lambda: answer, context)
        finally:
            if slots is not None:
                slots.release()

    def _goes_on(self, thread: Future[Any]) -> bool:  # Any: what the function returns, which nobody waits for
        """Whether a call in a thread that was given up runs on: a thread cannot be cancelled."""
        if isinstance(self._executor, WorkerThreads):
            return self._executor.abandon(thread)
        return not thread.cancel() and not thread.done()

    # Any: what the user's function returns, awaitable or not; `_marshal` judges it.
    def _call(self, event: Json, context: TaskContext) -> Any:
        return self._function(event, context) if self._takes_context else self._function(event)

    async def _run_on_loop(self, start: Callable[[], Any], context: TaskContext) -> str:
        """The printed result of what `start` gives to await."""
        try:
            value = await start()
        except TaskFailed as error:
            raise _checked(error) from error
        except asyncio.CancelledError as error:
            if (task := asyncio.current_task()) is None or task.cancelling():
                raise
            # Nobody cancelled this call: the function let the cancellation of something of its own escape.
            raise _Raised.by(error, context) from error
        except SystemExit as error:
            raise _Raised.by_exit(error, context) from error
        except Exception as error:
            raise _Raised.by(error, context) from error
        return _marshal(value, context)

    def _run_in_thread(self, event: Json, context: TaskContext) -> Any:
        """The printed result, or the awaitable that the function gave.

        Exceptions are told here, where they are raised: a future cannot carry StopIteration, nor the loop
        SystemExit.
        """
        try:
            value = self._call(event, context)
        except TaskFailed as error:
            raise _checked(error) from error
        except SystemExit as error:
            raise _Raised.by_exit(error, context) from error
        except Exception as error:
            raise _Raised.by(error, context) from error
        return value if inspect.isawaitable(value) else _marshal(value, context)

    def _result(self, text: str, status: int, invocation: Invocation, request_id: str) -> Payload:
        """The result of lambda:invoke, with the headers that Lambda would send."""
        from email.utils import formatdate

        ran = status == 200
        version = _version(invocation.function.qualifier) if ran else None
        now = self._now()
        headers = {
            "x-amzn-remapped-content-length": "0",
            "connection": "keep-alive",
            "x-amzn-requestid": request_id,
            "content-length": str(len(text.encode())),
            "date": formatdate(now, usegmt=True),
            "x-amzn-trace-id": f"Root=1-{int(now):08x}-{request_id.replace('-', '')[:24]};Sampled=0",
        }
        if version is not None:
            headers |= {"x-amz-executed-version": version, "content-type": "application/json"}
        log = f"START RequestId: {request_id} Version: {version}\nEND RequestId: {request_id}\n"
        return invoke_result(
            text,
            status=status,
            headers=http_headers(headers),
            request_id=request_id,
            executed_version=version,
            log_result=tail(log) if ran and invocation.log_tail else None,
        )


def _release(slots: Slots, _: Future[Any]) -> None:
    slots.release_from_thread()


class _Raised(Exception):
    """The function failed. payload: the error document, as Lambda's runtime for Python prints it."""

    def __init__(self, message: str, name: str, request_id: str, stack_trace: list[str]) -> None:
        document: dict[str, Json] = {
            "errorMessage": _printable(message),
            "errorType": name,
            "requestId": request_id,
            "stackTrace": [_printable(line) for line in stack_trace],
        }
        self.payload = _print(document)
        super().__init__(self.payload)

    @classmethod
    def by(cls, error: BaseException, context: TaskContext) -> _Raised:
        """An exception left the function: its class, its text, and its stack without the engine's frames."""
        try:
            message = str(error)
        except Exception as unprintable:
            message = f"{type(error).__name__} has no text: str() raised {type(unprintable).__name__}"
        return cls(message, type(error).__name__, context.aws_request_id, _stack_trace(error))

    @classmethod
    def by_exit(cls, error: SystemExit, context: TaskContext) -> _Raised:
        """sys.exit ends a Lambda sandbox, and must not end the engine's process. Text [R]."""
        status = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
        request_id = context.aws_request_id
        message = f"RequestId: {request_id} Error: Runtime exited with error: exit status {status}"
        return cls(message, "Runtime.ExitError", request_id, _stack_trace(error))


def _stack_trace(error: BaseException) -> list[str]:
    """The stack as Lambda shows it: no frames of the runtime, one text per frame, without markers."""
    frames = [
        (frame.filename, frame.lineno or 0, frame.name, frame.line)
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    own = next((index for index, frame in enumerate(frames) if frame[0] != __file__), len(frames))
    return traceback.format_list(frames[own:])


def _marshal(value: Any, context: TaskContext) -> str:  # Any: a user's return value, judged here
    """The JSON text of a result. Raises _Raised for what is no JSON, as Lambda's `Runtime.MarshalError`."""
    try:
        if isinstance(value, bytes | bytearray):
            text = value.decode()
            decode(text)
        else:
            text = _print(value)
            text.encode()
        return text
    except (TypeError, ValueError, RecursionError) as error:
        raise _Raised(
            f"Unable to marshal response: {error}", "Runtime.MarshalError", context.aws_request_id, []
        ) from error


def _number(value: object) -> float:
    if isinstance(value, decimal.Decimal):
        return float(value)
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


# As Lambda's runtime prints: a blank after `,` and `:` [A]; NaN and infinities, which it lets pass, are
# refused.
_print: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_number).encode


def _printable(text: str) -> str:
    """The text without lone surrogates, which no JSON text in UTF-8 can hold."""
    return text.encode(errors="backslashreplace").decode()


def _checked(error: TaskFailed) -> TaskFailed:
    """The failure a function raised, with an error and a cause that are texts whatever it gave for them."""
    parts = [part if part is None else _printable(str(part)) for part in (error.error, error.cause)]
    return error if parts == [error.error, error.cause] else TaskFailed(*parts)


def _version(qualifier: str | None) -> str:
    """The version that runs for a qualifier. What an alias points to is unknown here, so it is $LATEST."""
    return qualifier if qualifier is not None and qualifier.isdecimal() else LATEST


def _is_asynchronous(function: Callable[..., Any]) -> bool:
    """Whether calling it gives a coroutine: a coroutine function, a partial or an object of such."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def _takes_context(function: Callable[..., Any]) -> bool:
    """Whether to call `f(event, ctx)`. An optional second parameter counts when named ctx or context."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        return False  # a built-in that does not tell: it takes the event
    kinds = inspect.Parameter
    positional = [item for item in parameters if item.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)]
    any_number = any(item.kind is kinds.VAR_POSITIONAL for item in parameters)
    required = [item for item in positional if item.default is kinds.empty]
    named = [item for item in parameters if item.kind is kinds.KEYWORD_ONLY and item.default is kinds.empty]
    if len(required) > 2 or named or not (positional or any_number):
        name = getattr(function, "__qualname__", repr(function))
        raise TypeError(f"{name} cannot answer a Task: it must take (event) or (event, ctx)")
    if len(required) == 2 or (any_number and len(positional) < 2):
        return True
    return len(positional) > 1 and positional[1].name in ("ctx", "context")
