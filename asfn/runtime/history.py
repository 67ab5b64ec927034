"""History events: how they are kept, and the shapes AWS shows them in, built here and nowhere else.

A segment is the JSON text of the events of one commit, in which payloads stand as positions in a list beside it, so
that Exited and the next Entered share one text; it is put together as the interpreter records. Source: history.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from asfn.store.records import Segment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asfn._json import Json, JsonObject, Payload
    from asfn.arn import TaskResource
    from asfn.plan.effects import CallTask, Failure

_encode: Final = msgspec.json.Encoder().encode

ENTERED: Final = {
    kind: f"{kind}StateEntered" for kind in ("Pass", "Task", "Choice", "Wait", "Parallel", "Map", "Succeed", "Fail")
}
EXITED: Final = {kind: f"{kind}StateExited" for kind in ENTERED if kind != "Fail"}
ABORTED: Final = {kind: f"{kind}StateAborted" for kind in ("Task", "Wait", "Parallel", "Map")}

# What the payload of an event is called in its details, and whether `...Details` with `truncated` stands beside it.
_PAYLOAD: Final[dict[str, tuple[str, bool]]] = {
    "ExecutionStarted": ("input", True),
    "ExecutionRedriven": ("input", False),  # beyond AWS: an input the caller gave
    "ExecutionSucceeded": ("output", True),
    "TaskScheduled": ("parameters", False),
    "TaskSubmitted": ("output", True),
    "TaskSucceeded": ("output", True),
    "LambdaFunctionScheduled": ("input", True),
    "LambdaFunctionSucceeded": ("output", True),
    "ActivityScheduled": ("input", True),
    "ActivitySucceeded": ("output", True),
    **dict.fromkeys(ENTERED.values(), ("input", True)),
    **dict.fromkeys(EXITED.values(), ("output", True)),
}

# Types without a details member (history.md section 2).
_BARE: Final = frozenset(
    {
        "ParallelStateStarted", "ParallelStateSucceeded", "ParallelStateFailed", "MapStateSucceeded", "MapStateFailed",
        "MapRunSucceeded", "MapRunAborted", "LambdaFunctionStarted", *ABORTED.values(),
    }
)  # fmt: skip


def _details_member(type_: str) -> str | None:
    if type_ in _BARE:
        return None
    if type_.endswith("StateEntered"):
        return "stateEnteredEventDetails"
    if type_.endswith("StateExited"):
        return "stateExitedEventDetails"
    return f"{type_[0].lower()}{type_[1:]}EventDetails"


_MEMBERS: Final[dict[str, str | None]] = {}


class OpenSegment:
    """The events of the next commit, kept from the start as a stored segment has them; ids follow each other."""

    __slots__ = ("_places", "_rows", "_texts", "first_id")

    def __init__(self, first_id: int) -> None:
        self.first_id = first_id
        self._rows: list[tuple[Any, ...]] = []  # Any: a row is read back by position in `shapes`
        self._texts: list[Payload] = []
        self._places: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def add(
        self,
        type_: str,
        previous: int,
        at: float,
        name: str | None,
        payload: Payload | None,
        extra: Mapping[str, Json] | None,
        assigned: Mapping[str, Payload] | None,
    ) -> None:
        """Append an event. name: of the state or Map.   extra: details without payload and name."""
        position: int | None = None
        if payload is not None:
            places = self._places
            position = places.get(id(payload))
            if position is None:
                position = places[id(payload)] = len(places)
                self._texts.append(payload)
        if extra is None and assigned is None:
            self._rows.append((previous, type_, at, name, position))
        elif assigned is None:
            self._rows.append((previous, type_, at, name, position, extra))
        else:
            places_by_name = {variable: self._place(value) for variable, value in assigned.items()}
            self._rows.append((previous, type_, at, name, position, extra, places_by_name))

    def _place(self, payload: Payload) -> int:
        position = self._places.setdefault(id(payload), len(self._texts))
        if position == len(self._texts):
            self._texts.append(payload)
        return position

    def close(self) -> Segment:
        """What is to be stored of it."""
        last_id = self.first_id + len(self._rows) - 1
        return Segment(self.first_id, last_id, _encode(self._rows).decode(), self._texts)


def shapes(segment: Segment) -> list[JsonObject]:
    """The events of a stored segment as GetExecutionHistory gives them; timestamps are epoch seconds."""
    texts = [payload.text for payload in segment.texts]
    events: list[JsonObject] = []
    for offset, row in enumerate(msgspec.json.decode(segment.body)):
        previous, type_, at, name, position = row[:5]
        details: JsonObject = {}
        if name is not None:
            details["name"] = name
        if position is not None:
            member, truncation = _PAYLOAD[type_]
            details[member] = texts[position]
            if truncation:
                details[f"{member}Details"] = {"truncated": False}
        if len(row) > 5 and row[5] is not None:
            details |= row[5]
        if len(row) > 6:
            details["assignedVariables"] = {name: texts[place] for name, place in row[6].items()}
            details["assignedVariablesDetails"] = {"truncated": False}
        event: JsonObject = {
            "timestamp": at,
            "type": type_,
            "id": segment.first_id + offset,
            "previousEventId": previous,
        }
        if type_ not in _MEMBERS:
            _MEMBERS[type_] = _details_member(type_)
        wrapper = _MEMBERS[type_]
        if wrapper is not None:
            event[wrapper] = details
        events.append(event)
    return events


def entered_input(segment: Segment, name: str) -> Payload | None:
    """What a state was entered with in this segment, the last time; None when it was not."""
    found: Payload | None = None
    for row in msgspec.json.decode(segment.body):
        if row[3] == name and row[1].endswith("StateEntered"):
            found = segment.texts[row[4]]
    return found


def error_details(failure: Failure) -> JsonObject:
    """`error` and `cause`, each only when the failure has it."""
    details: JsonObject = {}
    if failure.error is not None:
        details["error"] = failure.error
    if failure.cause is not None:
        details["cause"] = failure.cause
    return details


_FAMILY: Final = {"lambda": "LambdaFunction", "activity": "Activity", "service": "Task"}


def task_event(resource: TaskResource, what: str) -> str:
    """The event type of a task's family: `task_event(resource, "Succeeded")` is LambdaFunctionSucceeded or another."""
    return _FAMILY[resource.family] + what


def task_details(resource: TaskResource, more: Mapping[str, Json] | None = None) -> JsonObject | None:
    """Details of a task event: the Task* family names its resource in every one of them, the others in none."""
    if resource.family == "service":
        return {"resourceType": resource.resource_type, "resource": resource.resource, **(more or {})}
    return dict(more) if more else None


def scheduled_details(resource: TaskResource, call: CallTask, region: str) -> JsonObject:
    """Details of TaskScheduled, LambdaFunctionScheduled and ActivityScheduled, without the payload."""
    details: JsonObject = {"resource": resource.resource}
    if resource.family == "service":
        details = {"resourceType": resource.resource_type, "resource": resource.resource, "region": region}
    if call.timeout_seconds is not None:
        details["timeoutInSeconds"] = call.timeout_seconds
    if call.heartbeat_seconds is not None and resource.family != "lambda":
        details["heartbeatInSeconds"] = call.heartbeat_seconds
    if call.role_arn is not None:
        details["taskCredentials"] = {"roleArn": call.role_arn}
    return details
