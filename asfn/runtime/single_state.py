"""TestState: one state run by itself, its work mocked or really done, and what came of it in AWS's form.

`state_request.py` reads and refuses requests; `plan/inspect.py` runs the state and keeps what its stages gave.
"""

from __future__ import annotations

import random as random_module
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from asfn._json import Json, JsonObject, Payload
from asfn.arn import Arns, new_uuid
from asfn.errors import InvalidParameter, TaskFailed, UnroutedResource
from asfn.language.model import MISSING, MapState
from asfn.limits import Limits
from asfn.plan.effects import CallTask, Failure, FanOut, SleepUntil, Success, Transition
from asfn.plan.inspect import Inspector, Recovery, inspection_data
from asfn.plan.scope import ExecutionFacts, Scope
from asfn.runtime.calls import Calls, Heartbeat
from asfn.runtime.clock import SystemClock
from asfn.runtime.state_request import SINGLE_STATE_NAME, read_request
from asfn.tasks.protocol import Done, TaskCall

if TYPE_CHECKING:
    from random import Random

    from asfn.plan.effects import Step
    from asfn.runtime.clock import Clock
    from asfn.runtime.state_request import Request, StateRequest
    from asfn.tasks.protocol import Answer, Resolver

LONGEST_RUN_SECONDS: Final = 300.0
"""A test that takes longer fails with States.Timeout [D]."""

_THRESHOLD: Final = "The specified tolerated failure threshold was exceeded"


@dataclass(frozen=True, slots=True)
class StateRun:
    """One tested state.

    response: AWS's answer.   inspector: the stages, for more than AWS tells.   step: how the state was left.
    woken_at: when a Wait ends, waited for or not.
    """

    request: StateRequest
    response: JsonObject
    inspector: Inspector
    step: Step
    recovery: Recovery | None
    woken_at: float | None = None


async def run_state(
    request: Request,
    *,
    resolver: Resolver | None = None,
    clock: Clock | None = None,
    limits: Limits | None = None,
    random: Random | None = None,
    arns: Arns | None = None,
    waits: bool = True,
) -> StateRun:
    """AWS's TestState. The request has the members of AWS's call, the response of what is returned those of its answer.

    `{"definition": "{\\"Type\\": \\"Pass\\", \\"End\\": true}"}` gives `{"output": "{}", "status": "SUCCEEDED"}`.
    resolver: finds the handler of a Task without a mock.   waits: whether a Wait really waits, for five minutes at
    most, as it does on AWS; else it is left at once.
    Raises DefinitionError and UnsupportedState (InvalidDefinition), InvalidParameter (ValidationException), InvalidArn,
    InvalidExecutionInput, and UnroutedResource when nobody answers the Task.
    """
    asked = read_request(request)
    clock = clock or SystemClock()
    scope = _scope(asked, arns or Arns(), clock.now(), random or random_module.Random())
    inspector = Inspector(asked.state, limits or Limits.aws(), scope, asked.reader_items)
    step = inspector.begin()
    if isinstance(step, FanOut) and asked.mock is not None:
        _check_iterations(asked, step)
    woken_at: float | None = None
    if isinstance(step, (CallTask, FanOut, SleepUntil)):
        if isinstance(step, SleepUntil):
            woken_at = step.at
            outcome = await _sleep(step, scope, clock) if waits else Success(scope.input)
        else:
            outcome = await _work(asked, inspector, step, resolver, clock)
        scope.now = clock.now()
        step = inspector.settle(outcome.output) if isinstance(outcome, Success) else outcome
    recovery = inspector.recover(step) if isinstance(step, Failure) else None
    response = _response(asked, inspector, step, recovery)
    return StateRun(asked, response, inspector, step, recovery, woken_at)


def _scope(asked: StateRequest, arns: Arns, now: float, random: Random) -> Scope:
    """What the state may see. Without a context object: that of an Express execution of a nameless machine [A]."""
    machine, name = new_uuid(), new_uuid()
    facts = ExecutionFacts(
        arn=f"arn:{arns.partition}:states:{arns.region}:{arns.account}:express:{machine}:{name}",
        name=name,
        role_arn=asked.role_arn,
        started_at=now,
        input=asked.input,
        machine_arn=arns.state_machine(machine),
        machine_name=machine,
        express=True,
        redrive_count=None,
    )
    scope = Scope(facts, asked.input, random)
    scope.state_name = SINGLE_STATE_NAME
    scope.entered_at = scope.now = now
    scope.attempt = asked.retry_count
    scope.retries = dict.fromkeys(range(len(getattr(asked.state, "retry", ()))), asked.retry_count)
    assert isinstance(asked.variables.value, dict)
    scope.variables = {name: Payload(value) for name, value in asked.variables.value.items()}
    if asked.context is not MISSING:
        scope.context_override = asked.context
    return scope


def _check_iterations(asked: StateRequest, step: FanOut) -> None:
    """More iterations cannot have failed than there are: as many as the mocked result has items, else the items."""
    if asked.iteration_failures is None or not isinstance(asked.state, MapState):
        return
    if asked.iteration_failures > _iterations(asked, step):
        raise InvalidParameter("Map iteration failure count must be less than or equal to the number of Map iterations")


def _iterations(asked: StateRequest, step: FanOut) -> int:
    result = asked.mock.result if asked.mock is not None else None
    return len(result.value) if result is not None and isinstance(result.value, list) else step.count


# --- the state's work ----------------------------------------------------------------------------------------------


async def _work(
    asked: StateRequest,
    inspector: Inspector,
    step: CallTask | FanOut,
    resolver: Resolver | None,
    clock: Clock,
) -> Success | Failure:
    """The outcome of the state's work: the mocked one, or what really came of it."""
    if asked.mock is not None:
        if asked.mock.failure is not None:
            return asked.mock.failure
        assert asked.mock.result is not None
        failed = asked.iteration_failures or 0
        if isinstance(step, FanOut) and inspector.exceeds_tolerance(failed, _iterations(asked, step)):
            return Failure("States.ExceedToleratedFailureThreshold", _THRESHOLD)
        return Success(asked.mock.result)
    assert isinstance(step, CallTask)  # a fan-out without a mock was refused
    return await _call(asked, inspector.scope, step, resolver, clock, clock.now() + LONGEST_RUN_SECONDS)


async def _sleep(step: SleepUntil, scope: Scope, clock: Clock) -> Success | Failure:
    ends_at = clock.now() + LONGEST_RUN_SECONDS
    await clock.sleep_until(min(step.at, ends_at))
    return Success(scope.input) if step.at <= ends_at else Failure("States.Timeout", None, "timeout")


async def _call(
    asked: StateRequest, scope: Scope, step: CallTask, resolver: Resolver | None, clock: Clock, ends_at: float
) -> Success | Failure:
    resource = asked.resource
    assert resource is not None
    if resolver is None:
        raise UnroutedResource(f"no handler answers {resource.text}: give a mock, or a resolver that knows one")
    handler = resolver.resolve(resource)
    heartbeat = Heartbeat(step.heartbeat_seconds) if step.heartbeat_seconds is not None else None
    call = TaskCall(
        resource=resource,
        payload=step.payload,
        execution_arn=scope.facts.arn,
        execution_name=scope.facts.name,
        state_machine_arn=scope.facts.machine_arn,
        state_name=asked.state.name,
        attempt=scope.attempt,
        idempotency_key=scope.facts.arn,
        deadline_at=step.timeout_at,
        heartbeat_seconds=step.heartbeat_seconds,
        role_arn=step.role_arn,
        token=step.token,
        heartbeat=heartbeat.beat if heartbeat is not None else _no_heartbeat,
    )
    deadline_at = ends_at if step.timeout_at is None else min(ends_at, step.timeout_at)
    try:
        answer: Answer | str = await Calls(clock).supervise(
            handler.submit(call), f"TestState:{asked.state.name}", deadline_at, heartbeat
        )
    except TaskFailed as error:
        return Failure(error.error, error.cause, "runtime" if error.error == "States.Runtime" else "task")
    if isinstance(answer, Done):
        return Success(answer.value)
    if isinstance(answer, str):
        return Failure("States.Timeout", None, "heartbeat" if answer == "heartbeat" else "timeout")
    raise TypeError(f"the handler of {resource.text} submitted a job, where the answer itself was asked for")


def _no_heartbeat() -> None:
    """A task without HeartbeatSeconds may beat all the same."""


# --- the answer ----------------------------------------------------------------------------------------------------


def _response(asked: StateRequest, inspector: Inspector, step: Step, recovery: Recovery | None) -> JsonObject:
    """AWS's members; an absent value is an absent member."""
    response: JsonObject = {}
    last = recovery.step if recovery is not None else step
    failure = step if isinstance(step, Failure) else None
    if isinstance(last, Failure):
        failure = last  # of the state, or of the catcher that took its failure
    if failure is not None:
        response |= {name: text for name, text in _failure_members(failure).items() if text is not None}
    if asked.level != "INFO":
        response["inspectionData"] = inspection_data(inspector, _variables(asked, last), recovery)
    if isinstance(last, (Success, Transition)):
        response["output"] = last.output.text
    if isinstance(last, Transition):
        response["nextState"] = last.next
    if isinstance(last, Failure):
        response["status"] = "FAILED"
    elif isinstance(last, SleepUntil):
        response["status"] = "RETRIABLE"
    else:
        response["status"] = "CAUGHT_ERROR" if failure is not None else "SUCCEEDED"
    return response


def _failure_members(failure: Failure) -> dict[str, Json]:
    return {"error": failure.error, "cause": failure.cause}


def _variables(asked: StateRequest, last: Step) -> Payload | None:
    """The variables after the state: those given and those it assigned [M]; None when there are none [A]."""
    assigned = last.assigned if isinstance(last, (Success, Transition)) else None
    if not assigned:
        return asked.variables if asked.variables.value else None
    assert isinstance(asked.variables.value, dict)
    return Payload({**asked.variables.value, **{name: payload.value for name, payload in assigned.items()}})
