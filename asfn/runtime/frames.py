"""Frames: where each branch of an execution stands, in memory and as rows.

One record, the same in both places. Only a frame's own coroutine changes it; between two awaits it agrees with the
events recorded so far. Paths: "" for the root; a child's is `parent/step.attempt:State/index`, so that a retried or
re-entered fan-out never meets the rows of an earlier one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from asfn._json import Payload
from asfn.plan.effects import AwaitJob, AwaitToken, CallTask, Failure, FanOut, SleepUntil, Success
from asfn.store.records import FrameRow

if TYPE_CHECKING:
    from asfn.plan.effects import Effect, Outcome
    from asfn.plan.scope import Scope
    from asfn.plan.states import CompiledMachine, CompiledState
    from asfn.runtime.fan_out import Children

_encode: Final = msgspec.json.Encoder().encode

Row = dict[str, Any]  # Any: a row is JSON that this module alone writes and reads


class Frame:
    """Where one branch stands.

    step: how many states it has entered.   entered: whether the state's Entered event is recorded.
    last_id: the event the next one links to.   entered_id, entered_previous: of the state's Entered event.
    effect: what it waits for.   outcome: how it ended.   children: of a fan-out in progress.
    done_id: the event that ended it as a child, once there is one: MapIterationSucceeded, or its own last one.
    stored: whether a row of it may be in the store.   restored: from its row, and no effect performed since.
    """

    __slots__ = (
        "children",
        "done_id",
        "effect",
        "entered",
        "entered_id",
        "entered_previous",
        "index",
        "last_id",
        "machine",
        "outcome",
        "parent",
        "path",
        "restored",
        "scope",
        "state",
        "step",
        "stored",
    )

    def __init__(
        self,
        machine: CompiledMachine,
        scope: Scope,
        last_id: int,
        parent: Frame | None = None,
        path: str = "",
        index: int = 0,
    ) -> None:
        self.machine = machine
        self.scope = scope
        self.last_id = last_id
        self.parent = parent
        self.path = path
        self.index = index
        self.state: CompiledState = machine.states[machine.start_at]
        self.step = 0
        self.entered = False
        self.entered_id = 0
        self.entered_previous = 0
        self.effect: Effect | None = None
        self.outcome: Outcome | None = None
        self.children: Children | None = None
        self.stored = False
        self.done_id = 0
        self.restored = False

    @property
    def token(self) -> str | None:
        """The open task token of the effect, if it has one."""
        effect = self.effect
        if isinstance(effect, CallTask):
            return effect.token
        return effect.call.token if isinstance(effect, AwaitJob | AwaitToken) else None

    @property
    def fan_out_path(self) -> str:
        """The path above the children of the fan-out the frame stands in."""
        return f"{self.path}/{self.step}.{self.scope.attempt}:{self.state.name}"


class _Texts:
    """Collects the payloads of one row; a row refers to them by position."""

    __slots__ = ("payloads",)

    def __init__(self, first: Payload) -> None:
        self.payloads: list[Payload] = [first]

    def __call__(self, payload: Payload) -> int:
        for position, known in enumerate(self.payloads):
            if known is payload:
                return position
        self.payloads.append(payload)
        return len(self.payloads) - 1


def frame_row(frame: Frame) -> FrameRow:
    """The row of a frame as it stands now."""
    scope = frame.scope
    texts = _Texts(scope.input)
    row: Row = {
        "state": frame.state.name,
        "step": frame.step,
        "last": frame.last_id,
        "input": 0,
    }
    if frame.entered:
        row["entered"] = [frame.entered_id, frame.entered_previous, scope.entered_at]
    if scope.attempt:
        row["attempt"] = scope.attempt
        row["retries"] = [[index, count] for index, count in scope.retries.items()]
    if scope.variables:
        row["variables"] = {name: texts(value) for name, value in scope.variables.items()}
    if scope.map_item is not None and (scope.parent is None or scope.map_item is not scope.parent.map_item):
        row["item"] = texts(Payload(scope.map_item))
    if scope.token is not None:
        row["token"] = scope.token
    if frame.effect is not None:
        row["effect"] = _effect_row(frame.effect, texts)
    if frame.outcome is not None:
        row["outcome"] = _outcome_row(frame.outcome, texts)
    if frame.done_id:
        row["done"] = frame.done_id
    frame.stored = True
    return FrameRow(frame.path, _encode(row).decode(), texts.payloads)


def restore(frame: Frame, stored: FrameRow) -> None:
    """Set a new frame to where its row says it stands."""
    row: Row = msgspec.json.decode(stored.body)
    texts = stored.texts
    scope = frame.scope
    frame.stored = frame.restored = True
    frame.state = frame.machine.states[row["state"]]
    frame.step = row["step"]
    frame.last_id = row["last"]
    scope.input = texts[row["input"]]
    scope.state_name = frame.state.name
    scope.counts_retries = frame.state.counts_retries
    if "entered" in row:
        frame.entered = True
        frame.entered_id, frame.entered_previous, scope.entered_at = row["entered"]
    scope.attempt = row.get("attempt", 0)
    scope.retries = dict(row.get("retries", ()))
    scope.variables = {name: texts[place] for name, place in row.get("variables", {}).items()}
    if "item" in row:
        item = texts[row["item"]].value
        assert isinstance(item, dict)
        scope.map_item = item
    scope.token = row.get("token")
    if "effect" in row:
        frame.effect = _read_effect(row["effect"], texts)
    if "outcome" in row:
        frame.outcome = _read_outcome(row["outcome"], texts)
    frame.done_id = row.get("done", 0)


def _call_row(call: CallTask, texts: _Texts) -> list[Any]:
    return [
        texts(call.payload),
        call.timeout_seconds,
        call.timeout_at,
        call.heartbeat_seconds,
        call.role_arn,
        call.token,
    ]


def _effect_row(effect: Effect, texts: _Texts) -> list[Any]:
    match effect:
        case CallTask():
            return ["call", *_call_row(effect, texts)]
        case AwaitJob():
            return ["job", _call_row(effect.call, texts), effect.job]
        case AwaitToken():
            return ["token", _call_row(effect.call, texts), effect.queued]
        case SleepUntil():
            return ["sleep", effect.at, effect.then, effect.retrier]
        case FanOut():
            items = None if effect.items_payload is None else texts(effect.items_payload)
            return ["fan", effect.count, effect.concurrency, texts(effect.document), items, effect.item_keys]


def _read_effect(row: list[Any], texts: Any) -> Effect:
    kind, *rest = row
    if kind == "call":
        return CallTask(texts[rest[0]], *rest[1:])
    if kind == "job":
        (place, *call), job = rest
        return AwaitJob(CallTask(texts[place], *call), job)
    if kind == "token":
        (place, *call), queued = rest
        return AwaitToken(CallTask(texts[place], *call), queued)
    if kind == "sleep":
        return SleepUntil(*rest)
    count, concurrency, document, items, keys = rest
    return FanOut(count, concurrency, texts[document], None if items is None else texts[items], keys)


def _outcome_row(outcome: Outcome, texts: _Texts) -> list[Any]:
    if isinstance(outcome, Success):
        return ["success", texts(outcome.output)]
    return ["failure", outcome.error, outcome.cause, outcome.kind, outcome.location, outcome.state]


def _read_outcome(row: list[Any], texts: Any) -> Outcome:
    if row[0] == "success":
        return Success(texts[row[1]])
    return Failure(*row[1:])
