"""What must hold when a simulated world is over: nothing lost, nothing doubled, nothing left, the same end as in calm.

Where the calm run shows that nothing depended on who was first, both runs must agree in every event of every branch
and in every call; elsewhere the invariants of histories count.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from asfn.runtime.handle import ExecutionInfo
from tests.grow.invariants import check_history, check_order, details
from tests.grow.reading import Broken
from tests.simulation.plan import draw
from tests.simulation.run import MOST_EVENTS, play

if TYPE_CHECKING:
    from asfn._json import JsonObject
    from tests.simulation.plan import Plan
    from tests.simulation.run import End, Ran, Sabotage
    from tests.simulation.workloads import Workload

Event = dict[str, Any]  # Any: an event as GetExecutionHistory shows it

_ENDS: Final = ("ExecutionSucceeded", "ExecutionFailed", "ExecutionTimedOut", "ExecutionAborted")
_WHERE: Final = ("id", "previousEventId", "timestamp")
_EVENT_ID: Final = re.compile(r"event id #\d+")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{128}")
_RACES: Final = ("ParallelStateFailed", "MapStateFailed", "MapIterationFailed", "MapIterationAborted")
# Where lines that run side by side meet, which event comes first depends on time: chains are cut here.
_CUTS: Final = ("MapIterationStarted", "MapStateSucceeded", "ParallelStateSucceeded", "ExecutionRedriven")


def check_seed(seed: int, sabotage: Sabotage | None = None, story: list[str] | None = None) -> Ran:
    """Play the plan of a seed and hold the result against the calm run. Raises Broken, and whatever went wrong.

    sabotage: see `play`.   story: gets a line for the plan, and for whatever happens.
    """
    plan = draw(seed)
    if story is not None:
        story += [*plan.told(), "in calm:"]
    calm = play(plan.calm, story=story)
    for end in calm.ends.values():
        check_end(plan, end)
    if story is not None:
        story.append("as planned:")
    ran = play(plan, sabotage, story)
    check_left(ran)
    for start in plan.starts:
        end, reference = ran.ends[start.name], calm.ends[start.name]
        check_end(plan, end)
        stopped = any(step.what == "stop" for step in start.meddling)
        if not stopped and is_steady(plan.workloads[start.machine], reference) and not waited_too_long(reference, end):
            ran.counts["compared"] += 1
            compare(start.name, reference, end)
        ran.counts[end.row.status] += 1
    return ran


def check_left(ran: Ran) -> None:
    """The store holds nothing that nobody needs."""
    if ran.left:
        raise Broken(f"left in the store: {', '.join(ran.left)}")


def check_end(plan: Plan, end: End) -> None:
    """What holds of every execution that has ended."""
    row, archive = end.row, end.archive
    if row.owner is not None or row.wake_at is not None or row.queued or row.paused:
        raise Broken(f"{row.name} has ended as {row}")
    if (row.status == "SUCCEEDED") and archive.frames:
        raise Broken(f"{row.name} has succeeded and has {len(archive.frames)} frames")
    if archive.work or archive.messages:
        raise Broken(f"{row.name} has ended with work {archive.work} and messages {archive.messages}")
    for token in archive.tokens:
        if token.state == "open" or token.outcome is not None:
            raise Broken(f"{row.name} has ended with a token {token}")
    check_segments(end)
    if end.followed is not None:
        check_followed(end)
    events: list[Event] = [dict(event) for event in end.history]
    check_entered(events)
    check_calls(events, end)
    workload = next(item for item in plan.workloads if f":{item.name}:" in row.arn)
    if row.redrive_count:
        check_redriven(events, end)
    else:
        check_history(end.history, ExecutionInfo.of(row), workload.definition)


def check_segments(end: End) -> None:
    """Every commit's events follow the ones before."""
    last = 0
    for segment in end.archive.segments:
        if segment.first_id != last + 1:
            raise Broken(f"{end.row.name}: events {segment.first_id} to {segment.last_id} follow event {last}")
        last = segment.last_id
    if last != len(end.history):
        raise Broken(f"{end.row.name}: {len(end.history)} events, the last is {last}")


def check_followed(end: End) -> None:
    """A client who read the events as they came has read the history, up to some end of it."""
    followed = end.followed
    assert followed is not None
    if followed != end.history[: len(followed)]:
        raise Broken(f"{end.row.name} was followed as {len(followed)} other events than its history has")
    if not followed or followed[-1]["type"] not in _ENDS:
        raise Broken(f"{end.row.name} was followed for {len(followed)} events, and that is no end")


def check_entered(events: list[Event]) -> None:
    """No event has two states entered behind it, but the start of a Parallel and a redrive."""
    by_id = {event["id"]: event for event in events}
    behind = Counter(event["previousEventId"] for event in events if event["type"].endswith("StateEntered"))
    for previous, count in behind.items():
        kind = by_id[previous]["type"] if previous else ""
        if count > 1 and kind not in ("ParallelStateStarted", "ExecutionRedriven"):
            raise Broken(f"{count} states are entered behind event {previous} {kind}")


def check_calls(events: list[Event], end: End) -> None:
    """No more calls than attempts that the history tells of, a repeated one counted once."""
    keys = {made.key for made in end.calls}
    scheduled = sum(event["type"] in ("TaskScheduled", "LambdaFunctionScheduled") for event in events)
    # A redrive makes the calls again that were in flight; their events stay, and new ones come.
    if len(keys) > scheduled:
        raise Broken(f"{end.row.name} made {len(keys)} calls, and its history knows {scheduled}: {sorted(keys)}")
    begun = sum(
        event["type"] in ("TaskSucceeded", "TaskFailed", "LambdaFunctionSucceeded", "LambdaFunctionFailed")
        for event in events
    )
    if begun > len(keys):
        raise Broken(f"{end.row.name} made {len(keys)} calls, and {begun} of them have ended: {sorted(keys)}")


def check_redriven(events: list[Event], end: End) -> None:
    """A history with ends in it: each but the last is followed by a redrive."""
    check_order(events)
    ends = [event["id"] for event in events if event["type"] in _ENDS]
    redrives = [event["id"] for event in events if event["type"] == "ExecutionRedriven"]
    if len(redrives) != end.row.redrive_count or ends != [*(id - 1 for id in redrives), len(events)]:
        raise Broken(f"{end.row.name}: ends {ends}, redrives {redrives} of {end.row.redrive_count}")
    last = events[-1]
    wanted = f"Execution{''.join(word.capitalize() for word in end.row.status.split('_'))}"
    if last["type"] != wanted:
        raise Broken(f"{end.row.name} is {end.row.status}, and its last event is {last['type']}")
    if end.row.output is not None and details(last)["output"] != end.row.output.text:
        raise Broken(f"{end.row.name}: the output of the last event is not the execution's")


# --- against the calm run ------------------------------------------------------------------------------------------


def is_steady(workload: Workload, calm: End) -> bool:
    """Whether nothing in the calm run depended on who was first, or on how long anything took."""
    if not workload.steady or len(calm.history) >= MOST_EVENTS - 1 or calm.row.status == "TIMED_OUT":
        return False
    types = Counter(str(event["type"]) for event in calm.history)
    if any(types[race] for race in _RACES):
        return False
    if _ends_in_a_branch(calm.history):
        return False
    return not any(event["type"] != "ExecutionFailed" and _EVENT_ID.search(json.dumps(event)) for event in calm.history)


def waited_too_long(calm: End, end: End) -> bool:
    """Whether an execution was queued for so long that its deadline came before it could end: those before it may sleep
    for months each, and in calm there are no limits.
    """
    row, quiet = end.row, calm.row
    assert row.stopped_at is not None
    assert quiet.stopped_at is not None
    entered = (event["timestamp"] for event in end.history if str(event["type"]).endswith("StateEntered"))
    began = next(entered, row.stopped_at)
    assert isinstance(began, float)
    return row.status == "TIMED_OUT" and began + (quiet.stopped_at - quiet.started_at) >= row.stopped_at


def _ends_in_a_branch(history: list[JsonObject]) -> bool:
    """Whether one of several branches failed first: here, or before a redrive, which starts no fan-out anew."""
    open_fan_outs = 0
    for event in history:
        kind = str(event["type"])
        if kind in ("MapStateStarted", "ParallelStateStarted"):
            open_fan_outs += 1
        elif kind in ("MapStateSucceeded", "ParallelStateSucceeded"):
            open_fan_outs -= 1
        elif kind in _ENDS and open_fan_outs:
            return True
    return False


def compare(name: str, calm: End, end: End) -> None:
    """The same end, the same events in every branch, the same calls."""
    for what in ("status", "error", "cause", "output", "failed_state", "redrive_count"):
        one, other = _plain(getattr(calm.row, what)), _plain(getattr(end.row, what))
        if one != other:
            raise Broken(f"{name}: {what} is {other}, in calm {one}"[:2_000])
    one_chains, other_chains = (Counter(chains(which.history)) for which in (calm, end))
    missing = [text[:300] for _, text in one_chains - other_chains][:4]
    more = [text[:300] for _, text in other_chains - one_chains][:4]
    if missing or more:
        raise Broken(f"{name}: transitions are missing: {missing}, or others are there: {more}"[:2_000])
    calls = ({(made.key, _plain(made.text)) for made in which.calls} for which in (calm, end))
    one_calls, other_calls = calls
    if one_calls != other_calls:
        raise Broken(f"{name}: calls {sorted(one_calls ^ other_calls)} are made here or in calm, not in both"[:2_000])


def _plain(value: Any) -> Any:  # Any: a column of a row
    """Without what differs between two runs: ids of events, moments, tokens."""
    text = getattr(value, "text", value)
    if not isinstance(text, str):
        return text
    return _TOKEN.sub("<token>", _TIME.sub("<time>", _EVENT_ID.sub("event id #", text)))


def chains(history: list[JsonObject]) -> list[tuple[int, str]]:
    """For each event, a hash of all it follows in its branch, and its text without ids and times."""
    found: dict[int, tuple[int, str]] = {0: (0, "")}
    for event in history:
        shown = _plain(
            json.dumps(
                {key: value for key, value in event.items() if key not in ("id", "previousEventId", "timestamp")}
            )
        )
        previous = event["previousEventId"]
        assert isinstance(previous, int)
        cut = event["type"] in _CUTS or _leaves_fan_out(event, history)
        link = found[0] if cut else found[previous]
        found[int(str(event["id"]))] = link if _may_be_missing(event) else (hash(link), shown)
    return [chain for id, chain in found.items() if id and not _may_be_missing(history[id - 1])]


def _may_be_missing(event: JsonObject) -> bool:
    """A callback that was answered before it was recorded that its call had come back is not called again."""
    return event["type"] == "TaskSubmitted" and str(details(dict(event))["resource"]).endswith(".waitForTaskToken")


def _leaves_fan_out(event: JsonObject, history: list[JsonObject]) -> bool:
    """The ...StateExited of a Parallel or Map links to the child that happened to be last."""
    if event["type"] not in ("MapStateExited", "ParallelStateExited"):
        return False
    previous = event["previousEventId"]
    assert isinstance(previous, int)
    return history[previous - 1]["type"] not in ("MapStateFailed", "ParallelStateFailed")
