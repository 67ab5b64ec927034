"""Step Functions Local's mock configuration (MockConfigFile.json), read as it is.

    {"StateMachines": {"order": {"TestCases": {"Busy": {"Pay": "PayBusyOnce"}}}},
     "MockedResponses": {"PayBusyOnce": {"0": {"Throw": {"Error": "Bank.Busy", "Cause": "later"}},
                                         "1-3": {"Return": {"paid": true}}}}}

Pure: it reads and checks. `mocks.py` answers tasks from it. Source: AWS Step Functions Developer Guide, "Mock
configuration file structure" [D].
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from asfn._json import JsonError, Payload, check_finite, decode
from asfn.errors import TaskFailed

if TYPE_CHECKING:
    from asfn._json import Json

V = TypeVar("V")
_INVOCATIONS: Final = re.compile(r"(\d+)(?:-(\d+))?")
Responses = tuple[tuple[int, int, Payload | TaskFailed], ...]


class MockConfigError(ValueError):
    """A mock configuration that cannot be used. Its text lists every finding with its place in the file."""


@dataclass(frozen=True, slots=True)
class MockedResponse:
    """What the invocations of one state in one execution get. `ranges`: first and last invocation, and the outcome."""

    name: str
    ranges: Responses

    def outcome(self, invocation: int) -> Payload | TaskFailed | None:
        """The result or the failure of an invocation, the first being 0; None where the file has none for it."""
        for first, last, outcome in self.ranges:
            if first <= invocation <= last:
                return outcome
        return None


@dataclass(frozen=True, slots=True)
class MockConfig:
    """A mock configuration that was read.

    source: the file's name, for messages.   cases: state machine -> test case -> state -> name of a response.
    """

    source: str
    cases: Mapping[str, Mapping[str, Mapping[str, str]]] = field(default_factory=dict)
    responses: Mapping[str, MockedResponse] = field(default_factory=dict)

    @classmethod
    def read(cls, config: str | os.PathLike[str] | Mapping[str, Any]) -> MockConfig:  # Any: JSON, checked here
        """Read a file, or a document that was read already.

        Raises OSError, and MockConfigError with all findings.
        """
        if isinstance(config, Mapping):
            return _Reader("the mock configuration").config(dict(config))
        path = Path(config)
        try:
            document = decode(path.read_bytes())
        except JsonError as error:
            raise MockConfigError(f"{path}: {error}") from error
        return _Reader(str(path)).config(document)

    def case(self, machine: str, case: str) -> dict[str, MockedResponse]:
        """State name -> response, for `machine#case`. A response is looked for only now, as Step Functions Local does.

        Raises MockConfigError for a machine, case or response that the file does not have.
        """
        cases = self._find(self.cases, machine, "/StateMachines", "state machine")
        states = self._find(cases, case, f"/StateMachines/{machine}/TestCases", "test case")
        return {
            state: self._find(self.responses, name, "/MockedResponses", f"response for state {state!r}")
            for state, name in states.items()
        }

    def _find(self, members: Mapping[str, V], name: str, place: str, what: str) -> V:
        found = members.get(name)
        if found is None:
            there = ", ".join(map(repr, members)) or "nothing"
            raise MockConfigError(f"{self.source}: {place} has no {what} {name!r}; it has {there}")
        return found


class _Reader:
    """Reads one document and collects every finding, each with its place as a JSON pointer."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.findings: list[str] = []

    def config(self, document: Any) -> MockConfig:  # Any: JSON, or what a caller took for it
        root = self.object(document, "")
        machines = self.object(root.get("StateMachines", {}), "/StateMachines")
        cases = {name: self.machine(value, f"/StateMachines/{name}") for name, value in machines.items()}
        mocked = self.object(root.get("MockedResponses", {}), "/MockedResponses")
        responses = {name: self.response(name, value, f"/MockedResponses/{name}") for name, value in mocked.items()}
        if isinstance(document, dict) and not root.keys() & {"StateMachines", "MockedResponses"}:
            self.add("", "has neither StateMachines nor MockedResponses")
        if self.findings:
            raise MockConfigError("\n".join(f"{self.source}: {finding}" for finding in self.findings))
        return MockConfig(self.source, cases, responses)

    def add(self, place: str, what: str) -> None:
        self.findings.append(f"{place or '/'} {what}")

    def object(self, value: Any, place: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            self.add(place, f"is {_kind(value)}; an object is needed")
            return {}
        return value

    def machine(self, value: Any, place: str) -> dict[str, dict[str, str]]:
        machine = self.object(value, place)
        if machine and "TestCases" not in machine:
            self.add(place, "has no TestCases")
        cases = self.object(machine.get("TestCases", {}), f"{place}/TestCases")
        return {name: self.test_case(states, f"{place}/TestCases/{name}") for name, states in cases.items()}

    def test_case(self, value: Any, place: str) -> dict[str, str]:
        states = self.object(value, place)
        for state, response in states.items():
            if not isinstance(response, str):
                self.add(f"{place}/{state}", f"is {_kind(response)}; the name of a mocked response is needed")
        return states

    def response(self, name: str, value: Any, place: str) -> MockedResponse:
        """One entry of MockedResponses. An empty one is legal: its states fail when they are reached [A] SFN Local."""
        ranges: list[tuple[int, int, Payload | TaskFailed]] = []
        for key, answer in self.object(value, place).items():
            outcome = self.outcome(answer, f"{place}/{key}")
            match = _INVOCATIONS.fullmatch(key)
            if match is None:
                self.add(f"{place}/{key}", 'is not an invocation: "0" or a range such as "1-3" is needed')
                continue
            first, last = int(match[1]), int(match[2] or match[1])
            if last < first:
                self.add(f"{place}/{key}", "ends before it begins")
            for other_first, other_last, _ in ranges:
                if first <= other_last and other_first <= last:
                    self.add(f"{place}/{key}", f"overlaps {_range(other_first, other_last)}")
            ranges.append((first, last, outcome))
        return MockedResponse(name, tuple(ranges))

    def outcome(self, value: Any, place: str) -> Payload | TaskFailed:
        answer = self.object(value, place)
        given = [member for member in ("Return", "Throw") if member in answer]
        if isinstance(value, dict) and len(given) != 1:
            self.add(place, "has both Return and Throw" if given else "has neither Return nor Throw")
        if given == ["Throw"]:
            return self.throw(answer["Throw"], f"{place}/Throw")
        return self.result(answer.get("Return"), f"{place}/Return")

    def result(self, value: Json, place: str) -> Payload:
        """The Payload of a Return: any JSON value, not objects only."""
        try:
            check_finite(value)
            return Payload.parse(Payload(value).text)
        except JsonError as error:
            self.add(place, f"cannot be a result: {error}")
            return Payload(None)

    def throw(self, value: Any, place: str) -> TaskFailed:
        failure = self.object(value, place)
        if isinstance(value, dict):
            for member in ("Error", "Cause"):
                if member not in failure:
                    self.add(place, f"has no {member}")
                elif not isinstance(failure[member], str):
                    self.add(f"{place}/{member}", f"is {_kind(failure[member])}; a string is needed")
        return TaskFailed(failure.get("Error"), failure.get("Cause"))


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else f"a {type(value).__name__}")


def _range(first: int, last: int) -> str:
    return f'"{first}"' if first == last else f'"{first}-{last}"'
