"""Properties of grown machines and of broken definitions: the short, deterministic run of `tests/fuzz.py`."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from asfn._json import JsonObject
from tests.fuzz import Finding, main, numbers, run_case
from tests.grow.checks import SCHEDULES, check_definition, check_runs
from tests.grow.invariants import check_history
from tests.grow.machines import Grown, grow
from tests.grow.reading import Broken
from tests.grow.running import Ran, run_grown
from tests.grow.strategies import machines

State = dict[str, Any]  # Any: the fields of a grown state


def _run(kind: str, of: range) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    for number in of:
        outcome = run_case("input" if kind == "input" else "machine", number)
        assert not isinstance(outcome, Finding), f"{outcome.error}\nat {outcome.place}\n{outcome.replay}"
        outcomes[outcome] += 1
    return outcomes


def test_no_input_gets_anything_but_a_definition_error_or_a_model_that_compiles() -> None:
    outcomes = _run("input", range(2_000))
    assert set(outcomes) == {"unreadable", "refused", "accepted"}
    assert min(outcomes.values()) > 100


def test_grown_machines_end_and_keep_every_invariant_under_every_schedule() -> None:
    outcomes = _run("machine", range(100))
    assert outcomes["SUCCEEDED"] > 30
    assert outcomes["FAILED"] > 10


@settings(
    max_examples=40,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(machines(most_states=8))
def test_any_machine_survives_printing_and_ends_the_same_under_every_schedule(grown: Grown) -> None:
    check_definition(grown)
    check_runs(grown, SCHEDULES)


def test_one_seed_is_one_machine_and_one_schedule_one_history() -> None:
    assert grow(5) == grow(5)
    assert grow(5).definition != grow(6).definition
    grown = next(grown for grown in map(grow, range(100)) if grown.type == "STANDARD" and not _takes_tokens(grown))
    assert run_grown(grown, 3).history == run_grown(grown, 3).history


def _takes_tokens(grown: Grown) -> bool:
    return "waitForTaskToken" in json.dumps(grown.definition)


# --- what is grown -------------------------------------------------------------------------------------------------


def _states(machine: JsonObject, depth: int = 0) -> Iterator[tuple[int, State]]:
    fields: Any = machine["States"]
    for state in fields.values():
        yield depth, state
        inner = [*state.get("Branches", ()), *(state[key] for key in ("ItemProcessor", "Iterator") if key in state)]
        for nested in inner:
            yield from _states(nested, depth + 1)


@cache
def _grown_states() -> list[tuple[int, State]]:
    return [found for seed in range(400) for found in _states(grow(seed).definition)]


def test_all_eight_state_types_are_grown_nested_and_in_both_languages() -> None:
    types = Counter(state["Type"] for _, state in _grown_states())
    assert set(types) == {"Pass", "Task", "Choice", "Wait", "Succeed", "Fail", "Parallel", "Map"}
    assert min(types.values()) > 50
    assert max(depth for depth, _ in _grown_states()) >= 3
    languages = {grow(seed).definition.get("QueryLanguage", "JSONPath") for seed in range(20)}
    assert languages == {"JSONPath", "JSONata"}


@pytest.mark.parametrize("kind", ["Task", "Map", "Parallel"])
@pytest.mark.parametrize("field", ["Retry", "Catch", "Assign", "ResultPath", "ResultSelector", "Output", "OutputPath"])
def test_the_fields_of_work_are_grown_on_each_state_that_has_them(kind: str, field: str) -> None:
    assert any(field in state for _, state in _grown_states() if state["Type"] == kind)


@pytest.mark.parametrize(
    "text",
    [
        "TimeoutSeconds", "HeartbeatSeconds", "SecondsPath", "Timestamp", "TimestampPath", "States.MathAdd(",
        "States.Format(", "States.ArrayPartition(", "$map(", "$$.Map.Item.Index", "$states.errorOutput", "ErrorPath",
        "waitForTaskToken", "ecs:runTask.sync", "MaxConcurrency", "JitterStrategy", '"Not"', "StringMatches",
    ],
)  # fmt: skip
def test_the_parts_of_the_language_are_grown(text: str) -> None:
    assert any(text in json.dumps([state]) for _, state in _grown_states())


# --- the invariants notice -----------------------------------------------------------------------------------------


@cache
def _ran() -> Ran:
    """A history with a fan-out in it that succeeded."""
    for seed in range(200):
        ran = run_grown(grow(seed), None)
        types = Counter(str(event["type"]) for event in ran.history)
        if types["MapIterationSucceeded"] > 1 and types["ExecutionSucceeded"] and types["ChoiceStateExited"]:
            return ran
    raise AssertionError("no such machine was grown")


def _without(type_: str) -> Callable[[list[State]], list[State]]:
    """Takes the last event of a type out and closes the gap in the ids."""

    def damage(events: list[State]) -> list[State]:
        lost = next(event for event in reversed(events) if event["type"] == type_)
        left = [event for event in events if event is not lost]
        for event in left:
            if event["previousEventId"] == lost["id"]:
                event["previousEventId"] = lost["previousEventId"]
            for key in ("id", "previousEventId"):
                event[key] -= event[key] > lost["id"]
        return left

    return damage


def _changed(type_: str, **members: Any) -> Callable[[list[State]], list[State]]:
    def damage(events: list[State]) -> list[State]:
        next(event for event in reversed(events) if event["type"] == type_).update(members)
        return events

    return damage


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda events: events[:-1], "0 ends"),
        (lambda events: events[1:], "stands where 1 should"),
        (_without("MapIterationSucceeded"), "without all its iterations"),
        (_without("MapIterationStarted"), "belongs to no Map|without having started|follows MapStateStarted|not in"),
        (_without("ChoiceStateExited"), "follows ChoiceStateEntered|was never left"),
        (_without("MapStateSucceeded"), "has not ended"),
        (_changed("ChoiceStateExited", timestamp=0.0), "is older"),
        (_changed("ChoiceStateExited", previousEventId=10_000), "links to 10000"),
        (_changed("ExecutionSucceeded", type="ExecutionFailed"), "the status is SUCCEEDED"),
    ],
)
def test_a_damaged_history_is_noticed(damage: Callable[[list[State]], list[State]], told: str) -> None:
    ran = _ran()
    check_history(ran.history, ran.info)
    events: Any = copy.deepcopy(ran.history)
    with pytest.raises(Broken, match=told):
        check_history(damage(events), ran.info)


# --- the command ---------------------------------------------------------------------------------------------------


def test_a_run_that_is_cut_short_has_seen_its_share_of_inputs_and_machines() -> None:
    cases = list(numbers(7, 30, 10))
    assert sorted(number for kind, number in cases if kind == "input") == list(range(7, 37))
    assert sorted(number for kind, number in cases if kind == "machine") == list(range(7, 17))
    assert Counter(kind for kind, _ in cases[:20]) == {"input": 15, "machine": 5}


def test_the_command_counts_its_cases_and_succeeds_when_nothing_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--inputs", "30", "--machines", "2", "--seed", "3"]) == 0
    assert "30 inputs, 2 machines" in capsys.readouterr().out
