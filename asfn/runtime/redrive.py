"""Redrive: what may be redriven, and how the frames of an execution that has ended come to stand again.

Everything that failed or was aborted is done again from where it stood; finished branches and iterations stay. The
frames change before anything is durable: `Journal.redrive` hands them over together with ExecutionRedriven. Source:
api.md section 7, history.md section 4; links and repeated Started events [U].
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from asfn.errors import InvalidParameter
from asfn.plan.effects import Failure, FanOut, SleepUntil, Success
from asfn.runtime.fan_out import adopt
from asfn.runtime.history import entered_input
from asfn.runtime.texts import check_text

if TYPE_CHECKING:
    from asfn._json import Json, Payload
    from asfn.limits import Limits
    from asfn.plan.states import CompiledMachine
    from asfn.runtime.frames import Frame
    from asfn.runtime.interpreter import Interpreter
    from asfn.store.protocol import Store
    from asfn.store.records import ExecutionRow

RedriveStatus = Literal["REDRIVABLE", "NOT_REDRIVABLE"]

REDRIVABLE_SECONDS: Final = 14 * 86_400
_TOKEN_SECONDS: Final = 15 * 60
_TOKENS_KEPT: Final = 10
_TOKEN_CHARACTERS: Final = 64


class Detour(Struct, frozen=True):
    """A redrive beyond AWS: enter a state of the outermost machine.

    state: its name; None: the one the execution ended in.   replaced: whether the caller gave the input.
    """

    state: str | None
    input: Payload
    replaced: bool


def refusal(row: ExecutionRow, now: float, last_event_id: int, limits: Limits, deleting: bool) -> str | None:
    """Why an execution cannot be redriven, in AWS's words [M]; None when it can. [U] which reason comes first."""
    if row.status in ("RUNNING", "SUCCEEDED"):
        return f"Execution is {row.status} and cannot be redriven"
    if deleting:
        return "State machine is in DELETING status"
    if last_event_id >= limits.history_events - 1:
        return "Execution history event limit exceeded"
    if now - row.started_at >= limits.execution_seconds:
        return "Execution has exceeded the max execution time"
    if row.stopped_at is not None and now - row.stopped_at > REDRIVABLE_SECONDS:
        return "Execution redrivable period exceeded"
    return None


async def find_refusal(store: Store, row: ExecutionRow, now: float, limits: Limits) -> str | None:
    """The same of a row of this store: reads what the rules ask for."""
    if row.status in ("RUNNING", "SUCCEEDED"):
        return refusal(row, now, 0, limits, deleting=False)
    deleting = await store.state_machine(row.state_machine_arn) is None
    return refusal(row, now, await store.last_event_id(row.key), limits, deleting)


def repeated_at(row: ExecutionRow, client_token: str, now: float) -> float | None:
    """When this very request was carried out within the last 15 minutes; None when it is a new one (api.md 4)."""
    for token, at in row.redrive_tokens:
        if token == client_token and now - at <= _TOKEN_SECONDS:
            return at
    return None


def check_client_token(token: str) -> None:
    """Raises InvalidParameter for a token that AWS would not take."""
    check_text(token, "clientToken", _TOKEN_CHARACTERS)
    if not token:
        raise InvalidParameter(
            "1 validation error detected: Value '' at 'clientToken' failed to satisfy constraint: "
            "Member must have length greater than or equal to 1"
        )


async def find_detour(
    store: Store, row: ExecutionRow, machine: CompiledMachine, state: str | None, given: Payload | None
) -> Detour | None:
    """Where a redrive goes on beyond AWS; None when it is AWS's own. Raises InvalidParameter."""
    if state is not None and state not in machine.states:
        raise InvalidParameter(f"the outermost machine of {row.arn} has no state {state!r}")
    if given is not None:
        return Detour(state, given, replaced=True)
    if state is None:
        return None
    found, after = None, 0
    while segments := await store.segments(row.key, after_id=after):
        for segment in segments:
            found = entered_input(segment, state) or found
        after = segments[-1].last_id
    if found is None:
        raise InvalidParameter(f"{row.arn} has never entered the state {state!r}: give its input too")
    return Detour(state, found, replaced=False)


def redriven_row(row: ExecutionRow, now: float, owner: int, client_token: str | None) -> ExecutionRow:
    """The row of an execution that has ended as it stands once it runs again."""
    again = row.copy()
    again.status = "RUNNING"
    again.stopped_at = again.error = again.cause = again.failed_state = None
    again.redrive_count += 1
    again.redriven_at = now
    again.owner = owner
    if client_token is not None:
        again.redrive_tokens = (*again.redrive_tokens, (client_token, now))[-_TOKENS_KEPT:]
    return again


def revive(interpreter: Interpreter, root: Frame, redrive_count: int, detour: Detour | None) -> None:
    """Record ExecutionRedriven, and let the frames stand where what failed or was aborted is done again.

    It links to the end of the execution, and what follows in each branch links to it [U].
    """
    journal = interpreter.journal
    extra: dict[str, Json] = {"redriveCount": redrive_count}
    if detour is not None:
        extra["fromState"] = detour.state or root.state.name
    redriven_id = journal.record(
        "ExecutionRedriven",
        journal.last_id,
        interpreter.clock.now(),
        payload=detour.input if detour is not None and detour.replaced else None,
        extra=extra,
    )
    if detour is None:
        _revive(interpreter, root, redriven_id)
        return
    _reset(interpreter, root, redriven_id)
    if detour.state is not None:
        root.state = root.machine.states[detour.state]
    root.entered = False
    root.scope.input = detour.input


def _revive(interpreter: Interpreter, frame: Frame, redriven_id: int) -> None:
    """A frame, and what is below it. Fresh rows of all: the stored ones are dropped with the redrive."""
    if isinstance(frame.outcome, Success):
        interpreter.journal.touch(frame)
        return
    effect, children, failure = frame.effect, frame.children, frame.outcome
    # After States.DataLimitExceeded all branches and iterations run again.
    too_large = isinstance(failure, Failure) and failure.error == "States.DataLimitExceeded"
    keeps = isinstance(effect, FanOut) and children is not None and not too_large
    if not keeps:
        _forget(interpreter, frame)
    _stand(interpreter, frame, redriven_id)
    if keeps:
        assert children is not None
        frame.effect = effect
        kept = [child for child in children.frames if child is not None]
        for child in kept:
            child.path = f"{frame.fan_out_path}/{child.index}"  # the attempt in it has gone back to 0
            _revive(interpreter, child, redriven_id)
        adopt(frame, kept)
    elif frame.state.kind == "Fail":
        frame.entered = False
    elif frame.state.kind == "Pass" and frame.entered:  # it exits and is not run; [U] with its input
        frame.effect = SleepUntil(interpreter.clock.now(), "settle")


def _reset(interpreter: Interpreter, frame: Frame, redriven_id: int) -> None:
    _forget(interpreter, frame)
    _stand(interpreter, frame, redriven_id)


def _stand(interpreter: Interpreter, frame: Frame, redriven_id: int) -> None:
    """The frame stands in its state without an effect or an outcome; retriers count from 0 again."""
    scope = frame.scope
    interpreter.forget_token(frame.token)
    frame.outcome = frame.effect = frame.children = None
    frame.done_id = 0
    frame.last_id = redriven_id
    frame.restored = False
    scope.attempt = 0
    scope.retries = {}
    scope.token = None
    interpreter.journal.touch(frame)


def _forget(interpreter: Interpreter, frame: Frame) -> None:
    """Everything below a frame goes."""
    if frame.children is not None:
        for child in frame.children.frames:
            if child is not None:
                interpreter.forget_token(child.token)
                _forget(interpreter, child)
