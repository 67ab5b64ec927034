"""What a state may answer: go on (`Transition`), end (`Success`, `Failure`), or ask for something outside (an effect).

Effects are plain data with absolute deadlines in epoch seconds, so that they can be stored as they are and performed
after a restart without evaluating anything again. What came of an effect is an outcome: `Success` or `Failure`, a type.
Those made for every state are Structs: made in C, and, as they are never part of a cycle, not tracked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from asfn._json import Json, Payload

FailureKind = Literal["task", "timeout", "heartbeat", "fail", "evaluation", "runtime", "limit"]

# errors.md section 5: these end the execution, whatever Retry and Catch say.
_TERMINAL: Final = frozenset({"runtime", "limit"})


class Transition(Struct, eq=False, gc=False):
    """The state is done; the machine goes on with state `next`. assigned: new values of variables, or None."""

    next: str
    output: Payload
    assigned: Mapping[str, Payload] | None = None


class Success(Struct, eq=False, gc=False):
    """A frame's or an effect's good end."""

    output: Payload
    assigned: Mapping[str, Payload] | None = None


def _writable(text: str | None) -> str | None:
    """The text as a history can hold it: a lone surrogate, which UTF-8 has no place for, becomes `?` as in Java [U]."""
    return text if text is None or text.isascii() else text.encode(errors="replace").decode()


class Failure:
    """A bad end: error name and cause, each None when there is none.

    kind tells where it comes from; `runtime` and `limit` cannot be retried or caught (errors.md section 5).
    location: of a JSONata error, for EvaluationFailed.   state: the state that failed, filled in by the interpreter.
    """

    __slots__ = ("cause", "error", "kind", "location", "state")

    def __init__(
        self,
        error: str | None,
        cause: str | None,
        kind: FailureKind = "task",
        location: str | None = None,
        state: str | None = None,
    ) -> None:
        self.error = _writable(error)
        self.cause = _writable(cause)
        self.kind = kind
        self.location = location
        self.state = state

    @property
    def terminal(self) -> bool:
        return self.kind in _TERMINAL

    def error_output(self) -> dict[str, Json]:
        """What a catcher sees: `{"Error": ..., "Cause": ...}`; missing parts as errors.md section 6 says."""
        blank = None if self.kind == "task" else ""
        return {
            "Error": blank if self.error is None else self.error,
            "Cause": blank if self.cause is None else self.cause,
        }

    def __repr__(self) -> str:
        return f"Failure({self.error!r}, {self.cause!r}, {self.kind!r})"


class CallTask(Struct, eq=False, gc=False):
    """Submit one attempt of a Task. timeout_at: absolute; timeout_seconds and heartbeat_seconds as the state set them.

    token: the task token that may end it, None when there is none; made by the runtime before the state was begun.
    """

    payload: Payload
    timeout_seconds: int | None = None
    timeout_at: float | None = None
    heartbeat_seconds: int | None = None
    role_arn: str | None = None
    token: str | None = None


class AwaitJob(Struct, eq=False, gc=False):
    """A Task was submitted and goes on elsewhere: poll `job` until it ends. `call` keeps deadlines and payload."""

    call: CallTask
    job: Json


class AwaitToken(Struct, eq=False, gc=False):
    """A Task goes on in other hands, until whoever holds the token of `call` ends it or a deadline passes.

    queued: it is an activity's, and no worker has taken it yet: its clocks stand still.
    """

    call: CallTask
    queued: bool = False


class SleepUntil(Struct, eq=False, gc=False):
    """Sleep to an absolute moment, then settle the state (Wait) or begin it again (a retry by retrier `retrier`)."""

    at: float
    then: Literal["settle", "begin"]
    retrier: int | None = None


class FanOut:
    """Run children: one per branch (no items) or one per item, at most `concurrency` at once.

    document: the effective input of the state: each branch's input, or what ItemSelector reads.
    items_payload: the list of items as one payload, None for branches.
    item_keys: member names where the items come from an object.
    """

    __slots__ = ("concurrency", "count", "document", "item_keys", "items", "items_payload")

    def __init__(
        self,
        count: int,
        concurrency: int,
        document: Payload,
        items_payload: Payload | None = None,
        item_keys: Sequence[str] | None = None,
    ) -> None:
        self.count = count
        self.concurrency = concurrency
        self.document = document
        self.items_payload = items_payload
        self.items = cast("Sequence[Json]", items_payload.value) if items_payload is not None else None
        self.item_keys = item_keys


Effect: TypeAlias = CallTask | AwaitJob | AwaitToken | SleepUntil | FanOut
Outcome: TypeAlias = Success | Failure
Step: TypeAlias = Transition | Success | Failure | CallTask | AwaitJob | AwaitToken | SleepUntil | FanOut
