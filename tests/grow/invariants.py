"""What must hold of every history, whatever the machine: read off history.md, sections 1 to 3.

Each function looks at one thing and raises Broken with the event that is wrong.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from tests.grow.reading import Broken

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from asfn._json import JsonObject
    from asfn.runtime.handle import ExecutionInfo

Event = dict[str, Any]  # Any: an event as GetExecutionHistory shows it

_ENDS: Final = {
    "ExecutionSucceeded": "SUCCEEDED",
    "ExecutionFailed": "FAILED",
    "ExecutionTimedOut": "TIMED_OUT",
    "ExecutionAborted": "ABORTED",
}
_MOST_AT_ONCE: Final = 40  # iterations of an inline Map
_TEXT_MEMBERS: Final = ("input", "output", "parameters")


def check_history(history: list[JsonObject], info: ExecutionInfo, definition: JsonObject | None = None) -> None:
    """Every invariant of one finished execution. definition: for the bounds that it sets."""
    events: list[Event] = [dict(event) for event in history]
    check_order(events)
    check_end(events, info)
    check_texts(events)
    _Lines(events, dict(_named_states(definition)) if definition is not None else {}).check()


def details(event: Event) -> Event:
    """The details member of an event; empty where it has none."""
    for name, value in event.items():
        if name.endswith("EventDetails"):
            found: Event = value
            return found
    return {}


def check_order(events: list[Event]) -> None:
    """Ids without gaps from 1; each links back; time never goes back."""
    at = 0.0
    for expected, event in enumerate(events, 1):
        if event["id"] != expected:
            raise Broken(f"event {event['id']} stands where {expected} should")
        if not 0 <= event["previousEventId"] < event["id"]:
            raise Broken(f"event {event['id']} links to {event['previousEventId']}")
        if event["timestamp"] < at:
            raise Broken(f"event {event['id']} is older than the one before it")
        at = event["timestamp"]


def check_end(events: list[Event], info: ExecutionInfo) -> None:
    """One start, one end that is last, and both agree with what DescribeExecution says."""
    if events[0]["type"] != "ExecutionStarted" or details(events[0])["input"] != info.input_text:
        raise Broken("the history does not begin with ExecutionStarted and the input")
    ends = [event for event in events if event["type"] in _ENDS]
    if len(ends) != 1 or ends[0] is not events[-1]:
        raise Broken(f"{len(ends)} ends, the last event is {events[-1]['type']}")
    last, told = events[-1], details(events[-1])
    if _ENDS[last["type"]] != info.status:
        raise Broken(f"the status is {info.status}, the last event {last['type']}")
    if info.stopped_at is None or info.stopped_at < info.started_at:
        raise Broken(f"stopped at {info.stopped_at}, started at {info.started_at}")
    if info.status == "SUCCEEDED" and told["output"] != info.output_text:
        raise Broken("the output of the last event is not the execution's")
    if info.status == "FAILED" and (told.get("error"), told.get("cause")) != (info.error, info.cause):
        raise Broken("the error of the last event is not the execution's")
    if info.status != "SUCCEEDED" and info.output_text is not None:
        raise Broken("an output without a success")


def check_texts(events: list[Event]) -> None:
    """Inputs, outputs, parameters and assigned values are JSON texts."""
    for event in events:
        told = details(event)
        texts = [told[name] for name in _TEXT_MEMBERS if name in told]
        texts += told.get("assignedVariables", {}).values()
        for text in texts:
            try:
                json.loads(text, parse_constant=_refuse)
            except (ValueError, TypeError) as error:
                raise Broken(f"event {event['id']} {event['type']} holds no JSON: {text!r:.100}") from error
        if ("assignedVariables" in told) != ("assignedVariablesDetails" in told):
            raise Broken(f"event {event['id']} has only half of its assigned variables")


def _named_states(machine: JsonObject) -> Iterator[tuple[str, Event]]:
    fields: Any = machine["States"]
    for name, state in fields.items():
        yield name, state
        inner = [*state.get("Branches", ()), *(state[key] for key in ("ItemProcessor", "Iterator") if key in state)]
        for nested in inner:
            yield from _named_states(nested)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


class _FanOut:
    """One run of the children of a Parallel or Map: from its ...StateStarted to whatever ended it."""

    def __init__(self, started: Event, parent: Event) -> None:
        self.started = started
        self.parent = parent
        self.counts: Counter[tuple[str, int]] = Counter()
        self.succeeded = False
        self.over = False
        self.alive = 0

    @property
    def kind(self) -> str:
        return str(self.started["type"]).removesuffix("StateStarted")


class _Lines:
    """The lines of control of a history: which state an event belongs to, and in which fan-out.

    states: by name, as they are defined; a state that is not among them has no bounds.
    """

    def __init__(self, events: list[Event], states: Mapping[str, Event]) -> None:
        self.events = events
        self.states = states
        self.tried: Counter[int] = Counter()  # by id of a StateEntered: how often its work was begun
        self.state: dict[int, Event] = {}  # event id -> the StateEntered it belongs to, or that came last in its line
        self.around: dict[int, _FanOut | None] = {0: None}  # event id -> the fan-out it stands in
        self.open: dict[int, Event] = {}  # id of a StateEntered -> itself, while it has not been left
        self.fan_outs: list[_FanOut] = []
        self.running: dict[int, _FanOut] = {}  # id of a StateEntered -> its latest fan-out
        self.failed: set[int] = set()  # ids of StateEntered events of fan-outs that failed for good

    def check(self) -> None:
        for event in self.events[1:]:
            self.take(event)
        self.check_fan_outs()
        self.check_open()

    def take(self, event: Event) -> None:
        """Place an event, and see that nothing goes on where a fan-out is over."""
        self.place(event)
        if event is self.events[-1] or str(event["type"]).endswith(("Failed", "Aborted")):
            return
        fan_out = self.around.get(event["id"])
        while fan_out is not None:
            if fan_out.over:
                raise Broken(f"event {event['id']} {event['type']} comes after the end of its {fan_out.kind}")
            fan_out = self.around[fan_out.parent["id"]]

    def place(self, event: Event) -> None:
        kind, previous = str(event["type"]), event["previousEventId"]
        told = details(event)
        if kind.endswith("StateEntered"):
            self.enter(event)
        elif kind.endswith("StateExited"):
            self.leave(event, self.entered_before(event, told["name"]))
        elif kind in ("ParallelStateStarted", "MapStateStarted"):
            self.start(event)
        elif kind.startswith("MapIteration"):
            self.iteration(event, told)
        elif kind in ("ParallelStateSucceeded", "MapStateSucceeded"):
            fan_out = self.fan_out_that_ends(event)
            fan_out.succeeded = fan_out.over = True
        elif kind in ("ParallelStateFailed", "MapStateFailed"):
            entered = self.fans_out(event)
            self.failed.add(entered["id"])
            if entered["id"] in self.running:
                self.running[entered["id"]].over = True
        elif kind == "EvaluationFailed":
            entered = self.evaluated(event, told["state"])
            self.state[event["id"]] = entered
            self.around[event["id"]] = self.around[entered["id"]]
        elif previous:
            self.state[event["id"]] = self.state[previous]
            self.around[event["id"]] = self.around[previous]
            if kind.endswith("Scheduled"):
                self.tries(event, self.state[previous])

    def tries(self, event: Event, entered: Event) -> None:
        """The work of a state begins, for the first time or again: no more often than its retriers allow."""
        self.tried[entered["id"]] += 1
        name = details(entered)["name"]
        retriers = self.states.get(name, {}).get("Retry", ())
        most = 1 + sum(retrier.get("MaxAttempts", 3) for retrier in retriers)
        if name in self.states and self.tried[entered["id"]] > most:
            raise Broken(f"event {event['id']} tries {name!r} more than {most} times")

    def enter(self, event: Event) -> None:
        """A state is entered: with what the state before it in this line gave."""
        previous = self.events[event["previousEventId"] - 1] if event["previousEventId"] else None
        if previous is not None and str(previous["type"]).endswith("StateExited"):
            if details(previous)["output"] != details(event)["input"]:
                raise Broken(f"event {event['id']} does not take what event {previous['id']} gave")
        elif previous is not None and previous["type"] not in ("ParallelStateStarted", "MapIterationStarted"):
            raise Broken(f"event {event['id']} {event['type']} follows {previous['type']}")
        self.around[event["id"]] = self.around_of(previous)
        self.state[event["id"]] = event
        self.open[event["id"]] = event

    def around_of(self, previous: Event | None) -> _FanOut | None:
        """The fan-out that an event stands in which follows this one."""
        if previous is None:
            return None
        if previous["type"] in ("ParallelStateStarted", "MapStateStarted"):
            return next(fan_out for fan_out in self.fan_outs if fan_out.started is previous)
        return self.around[previous["id"]]

    def entered_before(self, event: Event, name: str) -> Event:
        """The StateEntered that a StateExited closes: the open one of this name in the line that it links to."""
        previous = event["previousEventId"]
        candidates = [entered for entered in self.open.values() if details(entered)["name"] == name]
        for entered in candidates:
            if self.belongs(previous, entered):
                return entered
        raise Broken(f"event {event['id']} leaves {name!r}, which is not open in its line")

    def belongs(self, event_id: int, entered: Event) -> bool:
        """Whether an event is of a state, or of a child that ran inside it."""
        state = self.state.get(event_id)
        while state is not None:
            if state is entered:
                return True
            fan_out = self.around[state["id"]]
            state = fan_out.parent if fan_out is not None else None
        return False

    def leave(self, event: Event, entered: Event) -> None:
        kinds = [str(item["type"]).removesuffix(end) for item, end in ((entered, "Entered"), (event, "Exited"))]
        if kinds[0] != kinds[1]:
            raise Broken(f"event {event['id']} {event['type']} closes {entered['type']}")
        fan_out = self.running.get(entered["id"])
        previous = self.events[event["previousEventId"] - 1]["type"]
        failed = previous in ("ParallelStateFailed", "MapStateFailed", "EvaluationFailed")
        if fan_out is not None and not fan_out.succeeded and not failed:
            raise Broken(f"event {event['id']} leaves a {fan_out.kind} that has not ended")
        del self.open[entered["id"]]
        self.state[event["id"]] = entered
        self.around[event["id"]] = self.around[entered["id"]]

    def start(self, event: Event) -> None:
        """A fan-out starts: after its Entered, or again after what failed."""
        state = self.fans_out(event)
        if state["id"] in self.running:
            self.running[state["id"]].over = True
        started = _FanOut(event, state)
        self.fan_outs.append(started)
        self.tries(event, state)
        self.running[state["id"]] = started

    def fans_out(self, event: Event) -> Event:
        """The Parallel or Map that a ...StateStarted or ...StateFailed is of: the innermost one that may still go on.

        It need not be running: what it gave may have failed in its Output, and its Items before anything ran.
        """
        wanted = f"{str(event['type']).removesuffix('StateStarted').removesuffix('StateFailed')}StateEntered"
        state: Event | None = self.state[event["previousEventId"]]
        while state is not None:
            if state["type"] == wanted and state["id"] in self.open and state["id"] not in self.failed:
                self.state[event["id"]] = state
                self.around[event["id"]] = self.around[state["id"]]
                return state
            fan_out = self.around[state["id"]]
            state = fan_out.parent if fan_out is not None else None
        raise Broken(f"event {event['id']} {event['type']} belongs to no open state")

    def iteration(self, event: Event, told: Event) -> None:
        previous = event["previousEventId"]
        if previous == 0:
            raise Broken(f"event {event['id']} {event['type']} links to nothing")
        what = str(event["type"]).removeprefix("MapIteration")
        at_work = what == "Aborted"
        fan_out = self.fan_out_at_work(event, told) if at_work else self.fan_out_of(event, told["name"])
        fan_out.counts[what, told["index"]] += 1
        fan_out.over = fan_out.over or what == "Failed"
        fan_out.alive += 1 if what == "Started" else -1
        if fan_out.alive > self.most_at_once(told["name"]):
            raise Broken(f"event {event['id']} starts an iteration too many at once")
        if not 0 <= told["index"] < details(fan_out.started)["length"]:
            raise Broken(f"event {event['id']} counts an iteration that is none")
        self.state[event["id"]] = self.state[previous] if what != "Started" else fan_out.parent
        self.around[event["id"]] = fan_out if what != "Failed" else self.around[previous]

    def most_at_once(self, name: str) -> int:
        """How many iterations of a Map may run side by side, as far as the definition says it in a number."""
        most = self.states.get(name, {}).get("MaxConcurrency", 0)
        return most if isinstance(most, int) and 0 < most < _MOST_AT_ONCE else _MOST_AT_ONCE

    def fan_out_of(self, event: Event, name: str) -> _FanOut:
        """The running fan-out of a Map of this name in the line of an event."""
        state: Event | None = self.state[event["previousEventId"]]
        while state is not None:
            fan_out = self.running.get(state["id"])
            if fan_out is not None and details(state)["name"] == name:
                return fan_out
            outer = self.around[state["id"]]
            state = outer.parent if outer is not None else None
        raise Broken(f"event {event['id']} {event['type']} belongs to no Map that runs")

    def fan_out_at_work(self, event: Event, told: Event) -> _FanOut:
        """The Map whose iteration was aborted: around what failed, or else at work below something around that."""
        name, index = told["name"], told["index"]
        around = []
        state: Event | None = self.state[event["previousEventId"]]
        while state is not None:
            around.append(self.running.get(state["id"]))
            outer = self.around[state["id"]]
            state = outer.parent if outer is not None else None
        for fan_out in (*around, *self.fan_outs):
            if fan_out is None or details(fan_out.parent)["name"] != name or ("Started", index) not in fan_out.counts:
                continue
            if not any((what, index) in fan_out.counts for what in ("Succeeded", "Failed", "Aborted")):
                return fan_out
        raise Broken(f"event {event['id']} aborts an iteration of {name!r} that is not at work")

    def fan_out_that_ends(self, event: Event) -> _FanOut:
        kind = str(event["type"]).removesuffix("StateSucceeded")
        state: Event | None = self.state[event["previousEventId"]]
        while state is not None:
            fan_out = self.running.get(state["id"])
            if (
                fan_out is not None
                and fan_out.kind == kind
                and not fan_out.succeeded
                and state["id"] not in self.failed
            ):
                self.state[event["id"]] = state
                self.around[event["id"]] = self.around[state["id"]]
                return fan_out
            outer = self.around[state["id"]]
            state = outer.parent if outer is not None else None
        raise Broken(f"event {event['id']} {event['type']} ends nothing that runs")

    def evaluated(self, event: Event, name: str) -> Event:
        """The open state whose expression failed; the event links to what came before that step (rule 13)."""
        previous = event["previousEventId"]
        for entered in reversed(self.open.values()):
            enters = previous == entered["previousEventId"]
            if details(entered)["name"] == name and (enters or self.belongs(previous, entered)):
                return entered
        raise Broken(f"event {event['id']} tells of {name!r}, which is not open where it links to")

    def check_fan_outs(self) -> None:
        """A fan-out that succeeded ran every child once to its end; any other one had a reason not to."""
        for fan_out in self.fan_outs:
            counts = fan_out.counts
            if any(count > 1 for count in counts.values()):
                raise Broken(f"an iteration of event {fan_out.started['id']} is told of twice: {counts}")
            self.check_iterations(fan_out)
            for what, index in counts:
                if what != "Started" and ("Started", index) not in counts:
                    raise Broken(f"iteration {index} of event {fan_out.started['id']} {what} without having started")
            if fan_out.succeeded and fan_out.kind == "Map":
                indexes = range(details(fan_out.started)["length"])
                if set(counts) != {(what, i) for i in indexes for what in ("Started", "Succeeded")}:
                    raise Broken(f"the Map of event {fan_out.started['id']} succeeded without all its iterations")

    def check_iterations(self, fan_out: _FanOut) -> None:
        """Of a Map that failed by one of its iterations, each one that had started has its end."""
        ends = Counter(index for what, index in fan_out.counts if what != "Started")
        if any(count > 1 for count in ends.values()):
            raise Broken(f"an iteration of event {fan_out.started['id']} ended twice: {fan_out.counts}")
        failed = [index for what, index in fan_out.counts if what == "Failed"]
        if len(failed) > 1:
            raise Broken(f"{len(failed)} iterations of event {fan_out.started['id']} failed")
        started = {index for what, index in fan_out.counts if what == "Started"}
        if failed and started != set(ends):
            raise Broken(f"iterations of event {fan_out.started['id']} have no end: {fan_out.counts}")

    def check_open(self) -> None:
        """A state that was never left failed itself, or stood in a fan-out or an execution that failed."""
        succeeded = self.events[-1]["type"] == "ExecutionSucceeded"
        for entered in self.open.values():
            fan_out = self.around[entered["id"]]
            if fan_out is None and succeeded:
                raise Broken(f"event {entered['id']} {entered['type']} was never left, and the execution succeeded")
            if fan_out is not None and fan_out.succeeded:
                raise Broken(f"event {entered['id']} {entered['type']} was never left, and its fan-out succeeded")
