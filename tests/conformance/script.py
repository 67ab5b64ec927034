"""Turning the recorded outcomes of a case's tasks into scripted tasks.

A recording keeps results decoded; where the history shows the text AWS printed, that text is what the task returns,
because data that no field touches keeps its text.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from asfn._json import Payload
from asfn.testing import answers, fails, never_answers, submits
from tests.conformance.cases import named_states
from tests.conformance.compare import Matcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from asfn._json import Json
    from asfn.testing import Scripted
    from tests.conformance.cases import Case
    from tests.conformance.normalise import Placeholders


_RESULTS: Final = (
    "taskSucceededEventDetails",
    "taskSubmittedEventDetails",
    "lambdaFunctionSucceededEventDetails",
    "activitySucceededEventDetails",
)


class Texts:
    """The JSON texts that stand in a recording, by their value: those of task results first, then all others.

    Any: recorded JSON of every shape.
    """

    def __init__(self, expected: dict[str, Any]) -> None:
        self._by_value: dict[str, str] = {}
        for event in expected.get("history") or ():
            self._collect([details for member, details in event.items() if member in _RESULTS])
        self._collect(expected)

    def of(self, value: Any) -> str | None:
        """The text in which the recording shows this value; None when it shows none."""
        return self._by_value.get(_key(value))

    def objects(self) -> list[tuple[dict[str, Any], str]]:
        """Every object that stands in the recording as text, with that text."""
        found = ((json.loads(key), text) for key, text in self._by_value.items() if key[:1] == "{")
        return [(value, text) for value, text in found]

    def _collect(self, recorded: Any) -> None:
        if isinstance(recorded, str):
            try:
                value = json.loads(recorded)
            except ValueError:
                return
            self._by_value.setdefault(_key(value), recorded)
        elif isinstance(recorded, dict):
            for member in recorded.values():
                self._collect(member)
        elif isinstance(recorded, list):
            for item in recorded:
                self._collect(item)


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def scripts_of(case: Case, texts: Texts, placeholders: Placeholders) -> dict[str, list[Scripted]]:
    """The answers of a case's tasks by state. texts: of what AWS answered, bound.

    Where branches run at once, an attempt is found by its payload, else by its position.
    """
    by_payload = bool(case.data.get("unordered"))
    scripts: dict[str, list[Scripted]] = {}
    for state_name, attempts in (case.data.get("tasks") or {}).items():
        script = scripts.setdefault(state_name, [])
        for attempt in attempts:
            scripted = attempt_of(attempt, texts)
            if by_payload:
                payload = attempt.get("parameters", attempt.get("input"))
                scripted = scripted.when(_fits(placeholders.bind(payload), placeholders))
            script.append(scripted)
    if case.data.get("tasks_best_effort"):  # an attempt may stand under another state's name
        names = [state_name for state_name, _ in named_states(case.data["definition"])]
        others = {name: [item for key in scripts if key != name for item in scripts[key]] for name in names}
        scripts = {name: [*scripts.get(name, ()), *others[name]] for name in names}
    return scripts


def attempt_of(attempt: dict[str, Any], texts: Texts) -> Scripted:
    """What came of one recorded attempt."""
    outcome = attempt.get("outcome")
    if outcome is None or outcome.get("timeout"):
        scripted = never_answers()
    elif "output" in outcome:
        scripted = answers(_result(outcome["output"], texts))
    else:
        scripted = fails(outcome.get("error"), _cause(outcome.get("cause"), attempt["resource"], texts))
    if "submitted" in attempt:
        scripted = submits(_result(attempt["submitted"], texts), scripted)
    return scripted


def _result(value: Any, texts: Texts) -> Payload:
    text = None if isinstance(value, dict) else texts.of(value)
    return Payload(value) if text is None else Payload.parse(text)


def _cause(cause: Any, resource: str, texts: Texts) -> str | None:
    """The text of a cause. Recorded as an object it was JSON: with blanks when a function's own ARN was called."""
    if cause is None or isinstance(cause, str):
        return cause
    text = texts.of(cause)
    if text is not None:
        return text
    return json.dumps(cause) if ":lambda:" in resource else json.dumps(cause, separators=(",", ":"))


def _fits(expected: Any, placeholders: Placeholders) -> Callable[[Json], bool]:
    return lambda payload: Matcher(placeholders).difference(expected, payload) is None
