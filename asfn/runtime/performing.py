"""What an effect does outside, and what the history says of a Task: scheduled, started, submitted, succeeded, failed.

`interpreter.py` decides when; here stand the ways to a handler, a job, a token and a queue. Nothing is begun before the
caller's barrier has returned. A failure of the work is an outcome; an exception is a fault of ours or of the set-up.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from asfn._json import Payload
from asfn.errors import StateFailed, TaskFailed, UnroutedResource
from asfn.plan.effects import AwaitJob, AwaitToken, CallTask, Failure, Success
from asfn.runtime.calls import Heartbeat
from asfn.runtime.history import error_details, scheduled_details, task_details, task_event
from asfn.runtime.inbox import TIMED_OUT
from asfn.runtime.tokens import new_token, read_outcome
from asfn.store.records import ActivityTaskRow, TokenRow
from asfn.tasks.activity import ActivityQueue
from asfn.tasks.protocol import Done, Submitted, TaskCall

if TYPE_CHECKING:
    from asfn.arn import TaskResource
    from asfn.plan.effects import Effect, Outcome
    from asfn.plan.states import CompiledState
    from asfn.runtime.calls import Answered, Late
    from asfn.runtime.clock import Clock
    from asfn.runtime.frames import Frame
    from asfn.runtime.inbox import Waiting
    from asfn.runtime.interpreter import Interpreter
    from asfn.tasks.protocol import Answer, Handler

logger = logging.getLogger("asfn.interpreter")

_POLL_SECONDS: Final = 1.0


class Queued(NamedTuple):
    """A Task's activity was looked up, and its work can be queued if it exists."""

    exists: bool


class Taken(NamedTuple):
    """A worker has taken an activity's work, at a moment."""

    worker_name: str | None
    at: float


News: TypeAlias = Submitted | Done | Queued | Taken
"""What may come of an effect that has not ended: Done is the answer of a call whose result comes by its token."""


# --- doing ---------------------------------------------------------------------------------------------------------


async def perform(interpreter: Interpreter, frame: Frame, effect: CallTask | AwaitJob | AwaitToken) -> Outcome | News:
    """Do what a Task asks for, and give what came of it."""
    waiting: Waiting | None = None
    if frame.token is not None:
        waiting = interpreter.inbox.expect(frame.token)
        if frame.restored:
            await interpreter.inbox.look_up(waiting)
    if isinstance(effect, AwaitToken):
        assert waiting is not None
        return await _await_token(interpreter, frame, effect, waiting)
    if waiting is not None and waiting.outcome is not None:  # answered while nobody ran: no call
        return _ended(interpreter, frame, waiting.outcome)
    return await _call(interpreter, frame, effect, waiting)


async def _call(
    interpreter: Interpreter, frame: Frame, effect: CallTask | AwaitJob, waiting: Waiting | None
) -> Outcome | News:
    call, job = (effect.call, effect.job) if isinstance(effect, AwaitJob) else (effect, None)
    heartbeat = Heartbeat(call.heartbeat_seconds) if call.heartbeat_seconds is not None else None
    handler, task_call = interpreter.handler(frame), _task_call(interpreter, frame, call, heartbeat)
    if isinstance(handler, ActivityQueue):
        return Queued(await interpreter.inbox.has_activity(task_call.resource.text))
    if call.timeout_at is not None and call.timeout_at <= interpreter.clock.now():  # passed while nobody ran: no call
        return await _late(interpreter, frame, "timeout", waiting)
    if frame.restored and isinstance(effect, CallTask) and interpreter.resolver.on_resume(task_call) == "fail":
        return Failure("States.TaskFailed", "The call was interrupted by a crash and is not to be repeated.")
    name = _call_name(interpreter, frame)
    if waiting is not None:
        waiting.heartbeat = heartbeat
    answer: Answer | Late | Answered
    try:
        if isinstance(effect, AwaitJob):
            work = _poll(handler, task_call, job, interpreter.clock)
            answer = await interpreter.calls.supervise(work, name, call.timeout_at, heartbeat, waiting)
        else:
            work = handler.submit(task_call)
            answer = await interpreter.calls.submission(work, name, call.timeout_at, heartbeat)
    except TaskFailed as error:
        return _task_failure(interpreter, error)
    if answer == "answered":
        assert waiting is not None
        assert waiting.outcome is not None
        return _ended(interpreter, frame, waiting.outcome)
    if isinstance(answer, str):
        return await _late(interpreter, frame, answer, waiting)
    if isinstance(effect, CallTask) and task_call.resource.pattern == "waitForTaskToken":
        return answer  # the result is whatever its token brings
    return answer if isinstance(answer, Submitted) else Success(answer.value)


async def _late(interpreter: Interpreter, frame: Frame, late: Late, waiting: Waiting | None) -> Outcome:
    """A clock has run out: the task's failure, unless its token was answered before."""
    if waiting is None:
        return _ended(interpreter, frame, TIMED_OUT[late])
    await interpreter.inbox.time_out(waiting, late)
    assert waiting.outcome is not None
    return _ended(interpreter, frame, waiting.outcome)


async def _await_token(interpreter: Interpreter, frame: Frame, effect: AwaitToken, waiting: Waiting) -> Outcome | News:
    """What comes first of an answer and the task's clocks; for queued work, of a worker that takes it."""
    call = effect.call
    if effect.queued:
        assert frame.state.resource is not None
        interpreter.inbox.offer(frame.state.resource.text)
        await interpreter.inbox.taken(waiting)
        if waiting.taken is not None:
            return Taken(*waiting.taken)
    heartbeat = Heartbeat(call.heartbeat_seconds) if call.heartbeat_seconds is not None else None
    return _ended(interpreter, frame, await interpreter.inbox.outcome(waiting, call.timeout_at, heartbeat))


def _ended(interpreter: Interpreter, frame: Frame, text: str) -> Outcome:
    """What a token's outcome means for its task. A clock cancels the job behind it, an answer does not [U]."""
    kind, rest = read_outcome(text)
    if kind == "success":
        assert rest[0] is not None
        return Success(Payload.parse(rest[0]))
    if kind == "failure":
        return _task_failure(interpreter, TaskFailed(*rest))
    cancel_jobs(interpreter, frame)
    return Failure("States.Timeout", None, kind)  # type: ignore[arg-type]  # "timeout" or "heartbeat"


def _task_failure(interpreter: Interpreter, error: TaskFailed) -> Failure:
    """A handler's failure, its texts cut to AWS's lengths (asl.md section 9). States.Runtime stays terminal."""
    limits = interpreter.limits
    name = error.error[: limits.error_characters] if error.error is not None else None
    cause = error.cause[: limits.cause_characters] if error.cause is not None else None
    return Failure(name, cause, "runtime" if name == "States.Runtime" else "task")


def _task_call(interpreter: Interpreter, frame: Frame, call: CallTask, heartbeat: Heartbeat | None) -> TaskCall:
    """What is asked of a handler."""
    state, facts = frame.state, interpreter.facts
    assert state.resource is not None
    return TaskCall(
        resource=state.resource,
        payload=call.payload,
        execution_arn=facts.arn,
        execution_name=facts.name,
        state_machine_arn=facts.machine_arn,
        state_name=state.name,
        attempt=frame.scope.attempt,
        idempotency_key=_idempotency_key(interpreter, frame),
        deadline_at=call.timeout_at,
        heartbeat_seconds=call.heartbeat_seconds,
        role_arn=call.role_arn,
        token=call.token,
        heartbeat=heartbeat.beat if heartbeat is not None else _no_heartbeat,
        priority=facts.priority,
    )


def _idempotency_key(interpreter: Interpreter, frame: Frame) -> str:
    """The same after a crash, another for every attempt, redrive and child (DESIGN section 5)."""
    facts = interpreter.facts
    return f"{facts.arn}/{facts.redrive_count or 0}{frame.path}/{frame.step}.{frame.scope.attempt}"


def _call_name(interpreter: Interpreter, frame: Frame) -> str:
    return f"{interpreter.facts.name}:{frame.state.name}"


def _no_heartbeat() -> None:
    """A task without HeartbeatSeconds may beat all the same."""


async def _poll(handler: Handler, call: TaskCall, job: object, clock: Clock) -> Answer:
    """Ask for the end of a submitted job until there is one."""
    while True:
        done = await handler.poll(call, job)  # type: ignore[arg-type]
        if done is not None:
            return done
        await clock.sleep_until(clock.now() + _POLL_SECONDS)


def cancel_jobs(interpreter: Interpreter, frame: Frame) -> None:
    """Cancel the submitted jobs that a frame and its children wait for, best effort: nobody waits for that."""
    effect = frame.effect
    if frame.outcome is not None:
        return
    if isinstance(effect, AwaitJob):
        try:
            handler = interpreter.handler(frame)
        except UnroutedResource as error:
            logger.warning("a job of %s cannot be cancelled: %s", interpreter.facts.arn, error)
        else:
            work = handler.cancel(_task_call(interpreter, frame, effect.call, None), effect.job)
            interpreter.calls.spawn(work, f"cancel {_call_name(interpreter, frame)}")
    if frame.children is not None:
        for child in frame.children.frames:
            if child is not None and child.outcome is None:
                cancel_jobs(interpreter, child)


# --- recording -----------------------------------------------------------------------------------------------------


def open_task(interpreter: Interpreter, frame: Frame, state: CompiledState, call: CallTask) -> None:
    """Record that a Task begins, unless it goes into a queue: that is scheduled once its activity is known to exist."""
    resource = state.resource
    assert resource is not None
    if call.payload is not frame.scope.input:
        interpreter.check_size(call.payload, state.name)
    if resource.family != "activity" or not isinstance(interpreter.resolver.resolve(resource), ActivityQueue):
        _schedule(interpreter, frame, resource, call)
        frame.last_id = interpreter.journal.record(
            task_event(resource, "Started"), frame.last_id, frame.scope.now, extra=task_details(resource)
        )


def _schedule(interpreter: Interpreter, frame: Frame, resource: TaskResource, call: CallTask) -> None:
    """Record that a task is scheduled; its token, if it has one, is known with the same barrier."""
    if call.token is not None:
        if resource.pattern.startswith("sync") and call.token not in call.payload.text:
            call.token = None  # it goes to nobody
        else:
            _open_token(interpreter, frame, resource, call)
    frame.last_id = interpreter.journal.record(
        task_event(resource, "Scheduled"),
        frame.last_id,
        frame.scope.now,
        payload=call.payload,
        extra=scheduled_details(resource, call, interpreter.region),
    )


def _open_token(interpreter: Interpreter, frame: Frame, resource: TaskResource, call: CallTask) -> None:
    token, key, now = call.token, interpreter.journal.key, frame.scope.now
    assert token is not None
    queued = resource.family == "activity"
    work = ActivityTaskRow(token, resource.text, key, call.payload.text, now) if queued else None
    interpreter.journal.open_token(TokenRow(token, key, frame.path, now), work)
    interpreter.inbox.expect(token)


def take_news(interpreter: Interpreter, frame: Frame, state: CompiledState, effect: Effect, news: News) -> None:
    """Record how far a Task has come, and let the frame wait for the rest."""
    if isinstance(news, Queued):
        assert isinstance(effect, CallTask)
        _queued(interpreter, frame, state, effect, news)
    elif isinstance(news, Taken):
        assert isinstance(effect, AwaitToken)
        _taken(interpreter, frame, effect.call, news)
    else:
        assert isinstance(effect, CallTask)
        _submitted(interpreter, frame, state, effect, news)


def _submitted(
    interpreter: Interpreter, frame: Frame, state: CompiledState, effect: CallTask, submitted: Submitted | Done
) -> None:
    resource = state.resource
    assert resource is not None
    if resource.family == "service":  # there is no such event of a function; its handler may submit a job still
        frame.last_id = interpreter.journal.record(
            task_event(resource, "Submitted"),
            frame.last_id,
            frame.scope.now,
            payload=submitted.answer if isinstance(submitted, Submitted) else submitted.value,
            extra=task_details(resource),
        )
    frame.effect = AwaitJob(effect, submitted.job) if isinstance(submitted, Submitted) else AwaitToken(effect)


def _queued(interpreter: Interpreter, frame: Frame, state: CompiledState, call: CallTask, queued: Queued) -> None:
    """Put work into its activity's queue, with a token; its clocks begin when a worker takes it [A] asl.md 7.2."""
    assert state.resource is not None
    if not queued.exists:
        raise StateFailed("States.Runtime", f"The activity {state.resource.text} does not exist.")
    token = new_token(interpreter.clock.now())
    waits = CallTask(call.payload, call.timeout_seconds, None, call.heartbeat_seconds, call.role_arn, token=token)
    _schedule(interpreter, frame, state.resource, waits)
    frame.effect = AwaitToken(waits, queued=True)


def _taken(interpreter: Interpreter, frame: Frame, call: CallTask, taken: Taken) -> None:
    assert call.token is not None
    extra = {"workerName": taken.worker_name} if taken.worker_name is not None else None
    frame.last_id = interpreter.journal.record("ActivityStarted", frame.last_id, frame.scope.now, extra=extra)
    interpreter.journal.note_work(call.token)
    if call.timeout_seconds is not None:
        timeout_at = taken.at + call.timeout_seconds
        call = CallTask(
            call.payload, call.timeout_seconds, timeout_at, call.heartbeat_seconds, call.role_arn, call.token
        )
    frame.effect = AwaitToken(call)


def record_success(interpreter: Interpreter, frame: Frame, state: CompiledState, outcome: Success) -> Failure | None:
    """Record a Task's result. One over the limit is an ordinary failure of the task instead, by the recording
    (asl.md 7.10): that is recorded and given.
    """
    resource, limits = state.resource, interpreter.limits
    assert resource is not None
    if outcome.output.size_bytes > limits.payload_bytes:
        name = resource.text if resource.family != "service" else resource.service
        kind = "limit" if limits.data_limit_is_terminal else "task"
        cause = interpreter.too_large(name).cause
        failure = Failure("States.DataLimitExceeded", cause, kind)  # type: ignore[arg-type]
        record_failure(interpreter, frame, state, failure)
        return failure
    frame.last_id = interpreter.journal.record(
        task_event(resource, "Succeeded"),
        frame.last_id,
        frame.scope.now,
        payload=outcome.output,
        extra=task_details(resource),
    )
    return None


def record_failure(interpreter: Interpreter, frame: Frame, state: CompiledState, failure: Failure) -> None:
    """Record that a Task failed or was too late."""
    resource = state.resource
    assert resource is not None
    what = "TimedOut" if failure.kind in ("timeout", "heartbeat") else "Failed"
    frame.last_id = interpreter.journal.record(
        task_event(resource, what),
        frame.last_id,
        frame.scope.now,
        extra=task_details(resource, error_details(failure)) or {},
    )
