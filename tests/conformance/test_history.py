from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest

from tests.conformance.compare import Matcher
from tests.conformance.history import history_difference
from tests.conformance.normalise import Placeholders

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.conformance.history import How

TOKENS = Placeholders(bindings={"<fn>": "f"}, wildcards=("<uuid:1>",))


def event(id: int, previous: int, type: str, **details: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"id": id, "previousEventId": previous, "type": type, "timestamp": "timestamp"}
    return {**found, "details": details} if details else found


def why(expected: Any, actual: Any, how: How = "ordered", lost: Sequence[str] = ()) -> str:
    difference = history_difference(expected, actual, Matcher(TOKENS), how, lost)
    return "" if difference is None else str(difference)


LINE = [
    event(1, 0, "ExecutionStarted", input={}),
    event(2, 0, "PassStateEntered", name="A"),
    event(3, 2, "PassStateExited", name="A", output="[1, 2]"),
    event(4, 3, "ExecutionSucceeded", output="[1, 2]"),
]

# Two branches of two events each, whose order is a matter of timing.
BRANCHES = [
    event(1, 0, "ExecutionStarted"),
    event(2, 0, "ParallelStateEntered", name="P"),
    event(3, 2, "ParallelStateStarted"),
    event(4, 3, "PassStateEntered", name="A"),
    event(5, 3, "PassStateEntered", name="B"),
    event(6, 4, "PassStateExited", name="A", output="1"),
    event(7, 5, "PassStateExited", name="B", output="2"),
    event(8, 7, "ParallelStateSucceeded"),
    event(9, 7, "ParallelStateExited", name="P"),
    event(10, 9, "ExecutionSucceeded"),
]
OTHER_ORDER = [
    event(1, 0, "ExecutionStarted"),
    event(2, 0, "ParallelStateEntered", name="P"),
    event(3, 2, "ParallelStateStarted"),
    event(4, 3, "PassStateEntered", name="B"),
    event(5, 4, "PassStateExited", name="B", output="2"),
    event(6, 3, "PassStateEntered", name="A"),
    event(7, 6, "PassStateExited", name="A", output="1"),
    event(8, 7, "ParallelStateSucceeded"),
    event(9, 7, "ParallelStateExited", name="P"),
    event(10, 9, "ExecutionSucceeded"),
]


@pytest.mark.parametrize("how", ["ordered", "prefix", "branches", "multiset"])
def test_a_history_equals_itself_whatever_the_times(how: How) -> None:
    later = [{**one, "timestamp": 1.5} for one in LINE]
    assert why(LINE, later, how) == ""
    assert why(BRANCHES, deepcopy(BRANCHES), how) == ""


@pytest.mark.parametrize(
    ("index", "change", "text"),
    [
        (2, {"previousEventId": 1}, "history[2] PassStateExited.previousEventId: expected 2, got 1"),
        (2, {"type": "TaskStateExited"}, "history[2]: expected PassStateExited 3<2, got TaskStateExited 3<2"),
        (2, {"details": {"name": "B", "output": "[1, 2]"}}, 'PassStateExited.details.name: expected "A", got "B"'),
        (2, {"details": {"name": "A", "output": "[1,2]"}}, 'output: expected "[1, 2]", got "[1,2]"'),
        (2, {"id": 4}, "history[2].id: expected 3, got 4"),
        (1, {"previousEventId": 2}, "history[1].previousEventId: expected an earlier event, got 2"),
    ],
)
def test_a_changed_event_is_found(index: int, change: dict[str, Any], text: str) -> None:
    changed = [{**one, **change} if at == index else one for at, one in enumerate(LINE)]
    assert text in why(LINE, changed)


def test_missing_and_additional_events_are_found() -> None:
    assert why(LINE, LINE[:3]) == "history[3]: expected ExecutionSucceeded 4<3, got the end"
    assert why(LINE[:3], LINE) == "history[3]: expected the end, got ExecutionSucceeded 4<3"


def test_a_recording_that_stops_early_is_compared_as_far_as_it_goes() -> None:
    assert why(LINE[:2], LINE, "prefix") == ""
    assert why(LINE, LINE[:2], "prefix") != ""


def test_branches_may_come_in_another_order() -> None:
    assert why(BRANCHES, OTHER_ORDER, "branches") == ""
    assert why(BRANCHES, OTHER_ORDER) != ""


@pytest.mark.parametrize(
    ("index", "change"),
    [
        (4, {"details": {"name": "B", "output": "3"}}),
        (4, {"previousEventId": 3}),
        (6, {"previousEventId": 4}),
        (7, {"previousEventId": 3}),
        (8, {"previousEventId": 2}),
        (9, {"previousEventId": 7}),
        (3, {"type": "WaitStateEntered"}),
    ],
)
def test_a_changed_event_in_a_branch_is_found(index: int, change: dict[str, Any]) -> None:
    changed = [{**one, **change} if at == index else one for at, one in enumerate(OTHER_ORDER)]
    assert why(BRANCHES, changed, "branches") != ""


def test_events_that_fit_several_find_the_pairing_that_fits_all() -> None:
    start = event(1, 0, "ExecutionStarted")
    expected = [start, event(2, 1, "E", key="<uuid:1>"), event(3, 1, "E", key="b")]
    actual = [start, event(2, 1, "E", key="b"), event(3, 1, "E", key="a")]
    assert why(expected, actual, "multiset") == ""
    assert why(expected, [*actual[:2], event(3, 1, "F", key="a")], "multiset") != ""


def test_lost_ids_and_lost_events_are_compared_as_a_multiset() -> None:
    wiped = [
        {**one, "id": [0], "previousEventId": 0} if one["id"] in (4, 5, 6, 7) else one
        for one in BRANCHES
        if one["type"] != "ParallelStateSucceeded"
    ]
    assert why(wiped, OTHER_ORDER, "multiset", ["ParallelStateSucceeded"]) == ""
    assert why(wiped, OTHER_ORDER, "multiset") != ""
    assert why(wiped, OTHER_ORDER[:-1], "multiset", ["ParallelStateSucceeded"]) != ""


def test_the_end_of_a_map_run_is_linked_as_aws_does_now() -> None:
    def map_run(link: int) -> list[dict[str, Any]]:
        return [
            event(1, 0, "ExecutionStarted"),
            event(2, 1, "MapRunStarted"),
            event(3, 2, "MapRunSucceeded"),
            event(4, link, "MapStateExited"),
        ]

    assert why(map_run(3), map_run(2)) == ""
    assert why(map_run(2), map_run(2)) == ""
    assert why(map_run(2), map_run(3)) != ""


def test_data_that_a_recording_decoded_is_compared_as_text() -> None:
    recorded = [event(1, 0, "PassStateExited", output=[1, {"a": None}])]
    assert why(recorded, [event(1, 0, "PassStateExited", output='[1,{"a":null}]')]) == ""
    assert why(recorded, [event(1, 0, "PassStateExited", output='[1, {"a": null}]')]) != ""
