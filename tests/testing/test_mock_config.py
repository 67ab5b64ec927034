from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from asfn._json import Payload
from asfn.errors import TaskFailed
from asfn.testing import MockConfig, MockConfigError

if TYPE_CHECKING:
    from pathlib import Path

CONFIG: dict[str, Any] = {
    "StateMachines": {
        "order": {
            "TestCases": {
                "Good": {"Charge": "Charged"},
                "Busy": {"Charge": "BusyTwice", "Ship": "Shipped"},
                "Unfinished": {"Charge": "NotWrittenYet"},
                "Hollow": {"Charge": "Nothing"},
            }
        },
        "empty": {"TestCases": {}},
    },
    "MockedResponses": {
        "Charged": {"0": {"Return": {"id": 1}}},
        "BusyTwice": {
            "0-1": {"Throw": {"Error": "Bank.Busy", "Cause": "later"}},
            "2": {"Return": [1, "two", None, 12345678901234567890123]},
            "4-10": {"Return": None},
        },
        "Shipped": {"0": {"Return": "any JSON"}},
        "Nothing": {},
    },
}


def test_invocations_get_their_response_by_number_and_range() -> None:
    busy = MockConfig.read(CONFIG).case("order", "Busy")["Charge"]
    outcomes = [busy.outcome(invocation) for invocation in range(12)]
    assert [str(outcome) for outcome in outcomes[:2]] == ["Bank.Busy: later"] * 2
    assert all(isinstance(outcome, TaskFailed) for outcome in outcomes[:2])
    assert outcomes[2:] == [
        Payload([1, "two", None, 12345678901234567890123]),
        None,
        *[Payload(None)] * 7,
        None,
    ]


def test_a_file_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "MockConfigFile.json"
    path.write_text(json.dumps(CONFIG))
    config = MockConfig.read(path)
    assert list(config.cases["order"]) == ["Good", "Busy", "Unfinished", "Hollow"]
    assert config.case("order", "Good")["Charge"].outcome(0) == Payload({"id": 1})


@pytest.mark.parametrize(
    ("machine", "case", "complaint"),
    [
        ("orders", "Good", "/StateMachines has no state machine 'orders'; it has 'order', 'empty'"),
        ("order", "Bad", "/StateMachines/order/TestCases has no test case 'Bad'; it has 'Good', 'Busy', 'Unf"),
        ("empty", "Good", "/StateMachines/empty/TestCases has no test case 'Good'; it has nothing"),
        ("order", "Unfinished", "/MockedResponses has no response for state 'Charge' 'NotWrittenYet'; it has 'Ch"),
    ],
)
def test_what_the_file_does_not_have_is_said_when_it_is_chosen(machine: str, case: str, complaint: str) -> None:
    with pytest.raises(MockConfigError) as caught:
        MockConfig.read(CONFIG).case(machine, case)
    assert complaint in str(caught.value)


def test_a_response_without_any_invocation_is_legal() -> None:
    assert MockConfig.read(CONFIG).case("order", "Hollow")["Charge"].outcome(0) is None


@pytest.mark.parametrize(
    ("document", "complaints"),
    [
        ({"StateMachines": []}, ["/StateMachines is an array; an object is needed"]),
        ({"MockedResponse": {}}, ["/ has neither StateMachines nor MockedResponses"]),
        ({"StateMachines": 7}, ["/StateMachines is a number; an object is needed"]),
        ({"StateMachines": {"m": {"Cases": {}}}}, ["/StateMachines/m has no TestCases"]),
        (
            {"StateMachines": {"m": {"TestCases": {"c": {"S": {"0": {}}}, "d": None}}}},
            [
                "/StateMachines/m/TestCases/c/S is an object; the name of a mocked response is needed",
                "/StateMachines/m/TestCases/d is null; an object is needed",
            ],
        ),
        (
            {"MockedResponses": {"r": {"first": {"Return": 1}, "3-1": {"Return": 1}, "-1": {"Return": 1}}}},
            [
                '/MockedResponses/r/first is not an invocation: "0" or a range such as "1-3" is needed',
                "/MockedResponses/r/3-1 ends before it begins",
                '/MockedResponses/r/-1 is not an invocation: "0" or a range such as "1-3" is needed',
            ],
        ),
        (
            {"MockedResponses": {"r": {"0-2": {"Return": 1}, "2": {"Return": 1}, "3": {"Return": 1}}}},
            ['/MockedResponses/r/2 overlaps "0-2"'],
        ),
        (
            {"MockedResponses": {"r": {"0": {}, "1": {"Return": 1, "Throw": {}}, "2": "x"}}},
            [
                "/MockedResponses/r/0 has neither Return nor Throw",
                "/MockedResponses/r/1 has both Return and Throw",
                "/MockedResponses/r/2 is a string; an object is needed",
            ],
        ),
        (
            {"MockedResponses": {"r": {"0": {"Throw": {"Error": 5}}, "1": {"Throw": "E"}}}},
            [
                "/MockedResponses/r/0/Throw/Error is a number; a string is needed",
                "/MockedResponses/r/0/Throw has no Cause",
                "/MockedResponses/r/1/Throw is a string; an object is needed",
            ],
        ),
        (
            {"MockedResponses": {"r": {"0": {"Return": [float("nan")]}}}},
            ["/MockedResponses/r/0/Return cannot be a result: $[0] is nan, which JSON cannot hold"],
        ),
    ],
)
def test_a_malformed_file_is_refused_with_every_place_that_is_wrong(document: Any, complaints: list[str]) -> None:
    with pytest.raises(MockConfigError) as caught:
        MockConfig.read(document)
    lines = str(caught.value).splitlines()
    assert len(lines) == len(complaints)
    for line, complaint in zip(lines, complaints, strict=True):
        assert line.startswith(f"the mock configuration: {complaint}")


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(MockConfigError, match=r"list\.json: / is an array; an object is needed"):
        MockConfig.read(tmp_path / "list.json")


@pytest.mark.parametrize("text", ["{", '{"a": NaN}', ""])
def test_a_file_that_is_not_json_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mocks.json"
    path.write_text(text)
    with pytest.raises(MockConfigError, match=r"mocks\.json: not valid JSON"):
        MockConfig.read(path)
