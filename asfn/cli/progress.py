"""What a history tells about states: a fold of events into visits, one visit for each time a state was entered.

Pure and synchronous: the live view, the plain lines and `asfn show` draw from it. An event names its state only now
and then, so the links between events (history.md section 3) say which visit it belongs to.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asfn._json import Json, JsonObject

Standing = Literal["running", "waiting", "retrying", "succeeded", "caught", "failed", "aborted"]
OPEN: Final[frozenset[Standing]] = frozenset({"running", "waiting", "retrying"})

What = Literal["entered", "attempt failed", "retried", "left", "caught", "failed", "began", "ended"]


@dataclass(slots=True, eq=False)
class Visit:
    """One visit to a state. at: epoch seconds.   attempts: of its work, 1 without a retry; 0 for a state without work.

    parent: the Parallel or Map around it.   index: of the Map's iteration it belongs to.
    length, finished: of a Map's iterations.   error, cause: of the last attempt that failed.
    """

    name: str
    kind: str
    entered_at: float
    parent: Visit | None = None
    index: int | None = None
    standing: Standing = "running"
    left_at: float | None = None
    attempts: int = 0
    error: str | None = None
    cause: str | None = None
    length: int | None = None
    finished: int = 0
    children: list[Visit] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        return self.standing in OPEN

    @property
    def depth(self) -> int:
        """How many Parallels and Maps are around it."""
        return sum(1 for _ in self.around())

    def around(self) -> Iterator[Visit]:
        """The Parallels and Maps around it, inner ones first."""
        visit = self.parent
        while visit is not None:
            yield visit
            visit = visit.parent

    @property
    def label(self) -> str:
        """Its name, behind the index of its iteration where it is in a Map: `[3] Pack`."""
        return self.name if self.index is None else f"[{self.index}] {self.name}"


@dataclass(frozen=True, slots=True)
class Change:
    """What one event changed. visit: None for the execution as a whole.   seconds: how long the visit took so far."""

    what: What
    at: float
    visit: Visit | None = None
    seconds: float = 0.0
    error: str | None = None
    cause: str | None = None
    status: str | None = None


@dataclass(slots=True)
class _Place:
    """Where the line of control stands after an event: in a visit, or (opens) inside it, at the start of a child."""

    visit: Visit | None
    opens: bool = False
    index: int | None = None


class Progress:
    """The visits of one execution, in the order in which its states were entered. Feed it every event, in order.

    began_at, ended_at: of the execution, epoch seconds.   last_id: of the last event taken.
    """

    def __init__(self) -> None:
        self.visits: list[Visit] = []
        self.status = "RUNNING"
        self.last_id = 0
        self.began_at = 0.0
        self.ended_at: float | None = None
        self._places: dict[int, _Place] = {0: _Place(None)}
        self._entered: dict[tuple[int, str], Visit] = {}

    def open_visits(self) -> list[Visit]:
        """The visits that have not ended, in the order of entering."""
        return [visit for visit in self.visits if visit.is_open]

    def apply(self, event: JsonObject) -> Change | None:
        """Take the next event, in GetExecutionHistory's shape; what it changed for somebody who watches."""
        id_, type_ = event["id"], event["type"]
        previous, at = event["previousEventId"], event["timestamp"]
        assert isinstance(id_, int)
        assert isinstance(previous, int)
        assert isinstance(type_, str)
        assert isinstance(at, (int, float))
        self.last_id = id_
        place = self._places.get(previous) or self._places[0]
        details = _details(event)
        after, change = self._take(type_, details, place, previous, float(at))
        self._places[id_] = after
        return change

    def _take(
        self, type_: str, details: JsonObject, place: _Place, previous: int, at: float
    ) -> tuple[_Place, Change | None]:
        if type_.startswith("Execution"):
            return self._execution(type_, details, place, at)
        if type_.endswith("StateEntered"):
            return self._enter(type_.removesuffix("StateEntered"), details, place, previous, at)
        if type_.endswith("StateExited"):
            return self._leave(details, place, at)
        if type_.startswith("MapIteration"):
            return self._iteration(type_, details, place)
        if type_.startswith(("MapState", "ParallelState")):
            return self._fan_out(type_, details, place, at)
        if type_.endswith("StateAborted"):
            return place, None  # the fan-out around it closes what is open in it
        if type_ == "EvaluationFailed":
            name = str(details.get("state"))
            around = next((each for each in _outwards(place.visit) if each.name == name), place.visit)
            return self._attempt_failed(self._entered.get((previous, name)) or around, details, at)
        return self._work(type_, details, place, at)

    # --- the execution ---------------------------------------------------------------------------------------------

    def _execution(self, type_: str, details: JsonObject, place: _Place, at: float) -> tuple[_Place, Change | None]:
        if type_ in ("ExecutionStarted", "ExecutionRedriven"):
            self.status, self.ended_at = "RUNNING", None
            if type_ == "ExecutionStarted":
                self.began_at = at
            return place, Change("began", at)
        self.status, self.ended_at = _ENDS.get(type_, "FAILED"), at
        for visit in self.open_visits():
            self._close(visit, "failed" if visit is place.visit and self.status == "FAILED" else "aborted", at)
        error, cause = _text(details.get("error")), _text(details.get("cause"))
        return place, Change("ended", at, error=error, cause=cause, status=self.status)

    # --- states ----------------------------------------------------------------------------------------------------

    def _enter(
        self, kind: str, details: JsonObject, place: _Place, previous: int, at: float
    ) -> tuple[_Place, Change | None]:
        before = place.visit
        if place.opens:
            parent, index = before, place.index
        else:
            parent, index = (before.parent, before.index) if before is not None else (None, None)
        visit = Visit(str(details.get("name", "")), kind, at, parent, index)
        if parent is not None:
            parent.children.append(visit)
        self.visits.append(visit)
        self._entered[previous, visit.name] = visit
        if kind == "Wait":
            visit.standing = "waiting"
        elif kind == "Fail":
            self._close(visit, "failed", at)
        return _Place(visit), Change("entered", at, visit)

    def _leave(self, details: JsonObject, place: _Place, at: float) -> tuple[_Place, Change | None]:
        name = details.get("name")
        visit = next((each for each in _outwards(place.visit) if each.name == name), place.visit)
        if visit is None:
            return place, None
        caught = visit.standing == "retrying"
        self._close(visit, "caught" if caught else "succeeded", at)
        what: What = "caught" if caught else "left"
        return _Place(visit), Change(what, at, visit, at - visit.entered_at, visit.error, visit.cause)

    def _close(self, visit: Visit, standing: Standing, at: float) -> None:
        visit.standing = standing
        visit.left_at = at
        for child in visit.children:
            if child.is_open:
                self._close(child, "aborted", at)

    # --- work ------------------------------------------------------------------------------------------------------

    def _work(self, type_: str, details: JsonObject, place: _Place, at: float) -> tuple[_Place, Change | None]:
        """Events of a Task: scheduled, started, submitted, succeeded, failed, timed out."""
        visit = place.visit
        if visit is None or type_.startswith("MapRun"):
            return place, None
        if type_.endswith("Scheduled"):
            return self._attempt(visit, at)
        if type_.endswith(("Failed", "TimedOut")):
            return self._attempt_failed(visit, details, at)
        return _Place(visit), None

    def _attempt(self, visit: Visit, at: float) -> tuple[_Place, Change | None]:
        visit.attempts += 1
        visit.standing = "running"
        change = Change("retried", at, visit, at - visit.entered_at, visit.error) if visit.attempts > 1 else None
        return _Place(visit), change

    def _attempt_failed(self, visit: Visit | None, details: JsonObject, at: float) -> tuple[_Place, Change | None]:
        if visit is None:
            return _Place(None), None
        visit.error, visit.cause = _text(details.get("error")), _text(details.get("cause"))
        visit.standing = "retrying"  # until the next event says whether it is retried, caught, or the end
        return _Place(visit), Change("attempt failed", at, visit, at - visit.entered_at, visit.error, visit.cause)

    # --- fan-outs --------------------------------------------------------------------------------------------------

    def _fan_out(self, type_: str, details: JsonObject, place: _Place, at: float) -> tuple[_Place, Change | None]:
        kind = "Map" if type_.startswith("Map") else "Parallel"
        visit = next((each for each in _outwards(place.visit) if each.kind == kind and each.is_open), None)
        if visit is None:
            return place, None
        if type_.endswith("Started"):
            for child in visit.children:
                if child.is_open:
                    self._close(child, "aborted", at)
            length = details.get("length")
            visit.length, visit.finished = (length if isinstance(length, int) else None), 0
            _, change = self._attempt(visit, at)
            return _Place(visit, opens=True), change
        if type_.endswith("Failed"):
            broken = place.visit if place.visit is not visit else None
            error, cause = (broken.error, broken.cause) if broken is not None else (visit.error, visit.cause)
            for child in visit.children:
                if child.is_open:
                    self._close(child, "failed" if child is broken else "aborted", at)
            return self._attempt_failed(visit, {"error": error, "cause": cause}, at)
        return _Place(visit), None

    def _iteration(self, type_: str, details: JsonObject, place: _Place) -> tuple[_Place, Change | None]:
        name = details.get("name")
        visit = next((each for each in _outwards(place.visit) if each.name == name), None)
        if visit is None:
            return place, None
        if type_ == "MapIterationStarted":
            index = details.get("index")
            return _Place(visit, opens=True, index=index if isinstance(index, int) else None), None
        if type_ == "MapIterationSucceeded":
            visit.finished += 1
        return _Place(place.visit), None


_ENDS: Final = {
    "ExecutionSucceeded": "SUCCEEDED",
    "ExecutionFailed": "FAILED",
    "ExecutionTimedOut": "TIMED_OUT",
    "ExecutionAborted": "ABORTED",
}


def _outwards(visit: Visit | None) -> Iterator[Visit]:
    """The visit itself, then the Parallels and Maps around it."""
    if visit is not None:
        yield visit
        yield from visit.around()


def _details(event: JsonObject) -> JsonObject:
    for name, value in event.items():
        if name.endswith("EventDetails") and isinstance(value, dict):
            return value
    return {}


def _text(value: Json) -> str | None:
    return value if isinstance(value, str) else None
