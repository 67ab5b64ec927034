"""The fold of a history into visits, on small histories and on all that were recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from asfn.cli.progress import Progress

if TYPE_CHECKING:
    from asfn._json import Json, JsonObject
    from asfn.cli.progress import Change

RECORDINGS = Path(__file__).parents[2].parent / "shared" / "conformance" / "asl"


def history(*events: tuple[int, int, str] | tuple[int, int, str, JsonObject]) -> list[JsonObject]:
    """Events from (id, previous, type, details); the id is the time as well."""
    made: list[JsonObject] = []
    for id_, previous, type_, *rest in events:
        details: Json = dict(rest[0]) if rest else {}
        made.append(
            {
                "id": id_,
                "previousEventId": previous,
                "type": type_,
                "timestamp": float(id_),
                "someEventDetails": details,
            }
        )
    return made


def replay(events: list[JsonObject]) -> tuple[Progress, list[Change]]:
    progress = Progress()
    changes = [progress.apply(event) for event in events]
    return progress, [change for change in changes if change is not None]


def test_a_state_that_is_left_has_succeeded_and_knows_how_long_it_took() -> None:
    progress, changes = replay(
        history(
            (1, 0, "ExecutionStarted"),
            (2, 0, "PassStateEntered", {"name": "A"}),
            (5, 2, "PassStateExited", {"name": "A"}),
            (6, 5, "ExecutionSucceeded"),
        )
    )
    [visit] = progress.visits
    assert (visit.name, visit.kind, visit.standing, visit.entered_at, visit.left_at) == ("A", "Pass", "succeeded", 2, 5)
    assert [change.what for change in changes] == ["began", "entered", "left", "ended"]
    assert changes[2].seconds == 3
    assert (progress.status, progress.began_at, progress.ended_at) == ("SUCCEEDED", 1, 6)


def test_a_failed_attempt_is_retrying_until_the_next_one_is_scheduled() -> None:
    begun = history(
        (1, 0, "ExecutionStarted"),
        (2, 0, "TaskStateEntered", {"name": "A"}),
        (3, 2, "LambdaFunctionScheduled"),
        (4, 3, "LambdaFunctionStarted"),
        (5, 4, "LambdaFunctionFailed", {"error": "E", "cause": "why"}),
    )
    progress, changes = replay(begun)
    [visit] = progress.visits
    assert (visit.standing, visit.error, visit.cause, visit.attempts) == ("retrying", "E", "why", 1)
    assert changes[-1].what == "attempt failed"
    again = progress.apply(history((6, 5, "LambdaFunctionScheduled"))[0])
    assert again is not None
    assert again.what == "retried"
    assert (visit.standing, visit.attempts) == ("running", 2)


def test_a_state_that_is_left_after_its_failure_has_caught_it() -> None:
    progress, changes = replay(
        history(
            (1, 0, "ExecutionStarted"),
            (2, 0, "TaskStateEntered", {"name": "A"}),
            (3, 2, "TaskScheduled"),
            (4, 3, "TaskTimedOut", {"error": "States.Timeout"}),
            (5, 4, "TaskStateExited", {"name": "A"}),
            (6, 5, "FailStateEntered", {"name": "B"}),
            (7, 6, "ExecutionFailed", {"error": "E", "cause": "why"}),
        )
    )
    assert [(visit.name, visit.standing) for visit in progress.visits] == [("A", "caught"), ("B", "failed")]
    assert (changes[-2].what, changes[-1].what, changes[-1].error) == ("entered", "ended", "E")
    assert progress.status == "FAILED"


def test_iterations_of_a_map_are_told_apart_when_a_slot_frees() -> None:
    progress, _ = replay(
        history(
            (1, 0, "ExecutionStarted"),
            (2, 0, "MapStateEntered", {"name": "M"}),
            (3, 2, "MapStateStarted", {"length": 2}),
            (4, 3, "MapIterationStarted", {"name": "M", "index": 0}),
            (5, 4, "PassStateEntered", {"name": "P"}),
            (6, 5, "PassStateExited", {"name": "P"}),
            (7, 6, "MapIterationSucceeded", {"name": "M", "index": 0}),
            (8, 6, "MapIterationStarted", {"name": "M", "index": 1}),
            (9, 8, "PassStateEntered", {"name": "P"}),
        )
    )
    whole, *inner = progress.visits
    assert (whole.length, whole.finished) == (2, 1)
    assert [(visit.label, visit.depth, visit.parent, visit.standing) for visit in inner] == [
        ("[0] P", 1, whole, "succeeded"),
        ("[1] P", 1, whole, "running"),
    ]
    assert progress.open_visits() == [whole, inner[1]]


def test_branches_of_a_failed_parallel_are_aborted_and_the_error_is_its_own() -> None:
    progress, changes = replay(
        history(
            (1, 0, "ExecutionStarted"),
            (2, 0, "ParallelStateEntered", {"name": "P"}),
            (3, 2, "ParallelStateStarted"),
            (4, 3, "WaitStateEntered", {"name": "W"}),
            (5, 3, "TaskStateEntered", {"name": "T"}),
            (6, 5, "TaskScheduled"),
            (7, 6, "TaskFailed", {"error": "E"}),
            (8, 7, "TaskStateAborted"),
            (9, 7, "WaitStateAborted"),
            (10, 7, "ParallelStateFailed"),
            (11, 10, "ParallelStateExited", {"name": "P"}),
            (12, 11, "SucceedStateEntered", {"name": "S"}),
        )
    )
    assert {visit.name: visit.standing for visit in progress.visits} == {
        "P": "caught",
        "W": "aborted",
        "T": "failed",
        "S": "running",
    }
    assert progress.visits[0].error == "E"
    assert progress.visits[-1].parent is None
    assert "caught" in [change.what for change in changes]


def test_a_stopped_execution_has_no_open_visit() -> None:
    progress, _ = replay(
        history(
            (1, 0, "ExecutionStarted"),
            (2, 0, "WaitStateEntered", {"name": "W"}),
            (3, 0, "ExecutionAborted", {"error": "Manual"}),
        )
    )
    assert progress.status == "ABORTED"
    assert progress.visits[0].standing == "aborted"


def recorded_histories() -> list[tuple[str, list[JsonObject]]]:
    """Whole histories of single executions, by case; timestamps are their place, for none is recorded."""
    found = []
    for path in sorted(RECORDINGS.glob("*/*.json")):
        case = json.loads(path.read_text())
        expected = case.get("expected")
        if not isinstance(expected, dict) or case.get("incomplete_history"):
            continue
        events = expected.get("history")
        if not isinstance(events, list) or [event.get("id") for event in events] != list(range(1, len(events) + 1)):
            continue
        found.append((case["id"], [{**event, "timestamp": float(event["id"])} for event in events]))
    return found


def test_every_recorded_history_leaves_the_visits_as_its_events_say() -> None:
    histories = recorded_histories()
    if not histories:
        pytest.skip("the recordings are not beside this project")
    wrong = [case for case, events in histories if not agrees(events)]
    assert len(histories) > 300
    assert wrong == []


def agrees(events: list[JsonObject]) -> bool:
    """Whether each Exited closed a visit of its own name, each Entered opened one, and the end left none open."""
    progress = Progress()
    left = []
    for event in events:
        change = progress.apply(event)
        if change is not None and change.what in ("left", "caught"):
            assert change.visit is not None
            left.append(change.visit.name)
    exited = [name_of(event) for event in events if str(event["type"]).endswith("StateExited")]
    entered = [name_of(event) for event in events if str(event["type"]).endswith("StateEntered")]
    ended = str(events[-1]["type"]).startswith("Execution")
    return (
        left == exited
        and [visit.name for visit in progress.visits] == entered
        and not (ended and progress.open_visits())
        and all(visit.depth < 10 for visit in progress.visits)
    )


def name_of(event: JsonObject) -> str:
    [details] = [value for name, value in event.items() if name.endswith("EventDetails")]
    assert isinstance(details, dict)
    return str(details["name"])


def test_the_output_of_a_map_that_fails_after_its_iterations_is_the_maps_own_failure() -> None:
    progress, _ = replay(
        history(
            (1, 0, "ExecutionStarted"),
            (2, 0, "MapStateEntered", {"name": "Each"}),
            (3, 2, "MapStateStarted", {"length": 1}),
            (4, 3, "MapIterationStarted", {"name": "Each", "index": 0}),
            (5, 4, "PassStateEntered", {"name": "In"}),
            (6, 5, "PassStateExited", {"name": "In"}),
            (7, 6, "MapIterationSucceeded", {"name": "Each", "index": 0}),
            (8, 7, "MapStateSucceeded"),
            (9, 7, "EvaluationFailed", {"state": "Each", "error": "E", "cause": "C"}),
            (10, 9, "MapStateFailed"),
            (11, 10, "ExecutionFailed", {"error": "E", "cause": "C"}),
        )
    )
    assert [(visit.name, visit.standing, visit.error) for visit in progress.visits] == [
        ("Each", "failed", "E"),
        ("In", "succeeded", None),
    ]
