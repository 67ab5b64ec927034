from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import pytest

from asfn.engine import Engine
from asfn.errors import AsfnError
from asfn.store.memory import MemoryStore
from asfn.testing import FaultyStore, VirtualClock, VirtualEngine, run
from asfn.testing.coverage import Coverage, watch_engines
from asfn.testing.recording import RecordingStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from asfn._json import Json, JsonObject
    from asfn.store.protocol import Store

SQS = "arn:aws:states:::sqs:sendMessage"
DONE: JsonObject = {"Type": "Succeed"}


@pytest.fixture
def coverage() -> Iterator[Coverage]:
    """Counts what every engine of the test runs."""
    counted = Coverage()
    undo = watch_engines(counted)
    yield counted
    undo()


def machine(**states: Any) -> JsonObject:
    return {"StartAt": next(iter(states)), "States": states}


def task(**more: Any) -> JsonObject:
    if "Arguments" not in more:
        more = {"Parameters": {}, **more}
    return {"Type": "Task", "Resource": SQS, **({"End": True} if "Next" not in more else {}), **more}


def catch(error: str, to: str) -> JsonObject:
    return {"ErrorEquals": [error], "Next": to}


def retry(error: str, attempts: int = 3) -> JsonObject:
    return {"ErrorEquals": [error], "MaxAttempts": attempts, "IntervalSeconds": 1}


def each(processor: JsonObject, **more: Any) -> JsonObject:
    return {"Type": "Map", "ItemProcessor": processor, **({"End": True} if "Next" not in more else {}), **more}


def play(
    definition: JsonObject,
    *inputs: Json,
    mocks: Callable[[VirtualEngine], object] = lambda engine: None,
    type: Any = "STANDARD",
) -> None:
    """Run executions of one state machine to their ends."""

    async def main(clock: VirtualClock) -> None:
        async with VirtualEngine(clock=clock) as engine:
            await engine.create_state_machine("m", definition, type=type)
            mocks(engine)
            for input in inputs:
                await engine.start("m", input)
            await engine.join()

    run(main)


def missed(coverage: Coverage) -> list[str]:
    (counted,) = coverage.machines
    return counted.missed


CHOICE = machine(
    Route={
        "Type": "Choice",
        "Choices": [
            {"Variable": "$", "NumericLessThan": 10, "Next": "Small"},
            {"Variable": "$", "NumericLessThan": 100, "Next": "Large"},
            {"Variable": "$", "NumericGreaterThan": 1000, "Next": "Small"},
        ],
        "Default": "Other",
    },
    Small=DONE,
    Large=DONE,
    Other=DONE,
)


def test_rules_and_default_of_a_choice_are_ways_of_their_own(coverage: Coverage) -> None:
    play(CHOICE, 5)
    assert missed(coverage) == [
        "Large was never entered",
        "Other was never entered",
        "Route -- Choices[1] -> Large",
        "Route -- Default -> Other",
    ]
    assert coverage.percent == pytest.approx(100 * 3 / 7)
    play(CHOICE, 50, 500, 5000)
    assert missed(coverage) == []
    assert coverage.percent == 100


def test_ways_out_of_states_that_were_never_entered_are_not_listed_twice(coverage: Coverage) -> None:
    definition = machine(Work=task(Catch=[catch("No", "B")], Next="A"), A=DONE, B={"Type": "Pass", "Next": "A"})
    play(definition, {}, mocks=lambda engine: engine.mock("Work").returns(1))
    assert missed(coverage) == ["B was never entered", "Work -- Catch[0] -> B"]


@pytest.mark.parametrize(
    ("error", "taken"),
    [("First", "Catch[0]"), ("Second", "Catch[1]"), ("Third", "Catch[2]"), (None, "Next")],
)
@pytest.mark.parametrize("apart", [True, False], ids=["own targets", "one target"])
def test_catchers_and_next_are_told_apart_even_with_one_target(
    coverage: Coverage, error: str | None, taken: str, apart: bool
) -> None:
    targets = ["A", "B", "C", "D"] if apart else ["A"] * 4
    catchers = [catch(name, to) for name, to in zip(("First", "Second", "States.ALL"), targets, strict=False)]
    definition = machine(Work=task(Catch=catchers, Next=targets[3]), **dict.fromkeys(targets, DONE))

    def mocks(engine: VirtualEngine) -> None:
        mock = engine.mock("Work")
        mock.raises(error) if error is not None else mock.returns(1)

    play(definition, {}, mocks=mocks)
    (counted,) = coverage.machines
    assert [way.by for way in counted.taken] == [taken]


def test_timeouts_are_caught_as_what_they_are(coverage: Coverage) -> None:
    catchers = [catch("States.TaskFailed", "A"), catch("States.Timeout", "A")]
    definition = machine(Work=task(TimeoutSeconds=5, Catch=catchers, Next="A"), A=DONE)
    play(definition, {}, mocks=lambda engine: engine.mock("Work").never_answers())
    assert missed(coverage) == ["Work -- Next -> A", "Work -- Catch[0] -> A"]


def test_retriers_are_ways_back_into_their_state(coverage: Coverage) -> None:
    retriers = [retry("Never"), retry("Busy"), retry("Off", attempts=0)]
    play(
        machine(Work=task(Retry=retriers)),
        {},
        mocks=lambda engine: engine.mock("Work").raises("Busy", times=2).returns(1),
    )
    assert missed(coverage) == ["Work -- Retry[0]"]


@pytest.mark.parametrize("inner_retries", [True, False])
def test_retries_of_nested_fan_outs_belong_to_the_fan_out_that_begins_again(
    coverage: Coverage, inner_retries: bool
) -> None:
    one = [retry("Busy", attempts=1)]
    inner = each(machine(Work=task()), **({"Retry": one} if inner_retries else {}))
    outer = each(machine(Inner=inner), Retry=one)
    play(
        machine(Outer=outer),
        [[1], [2]],
        mocks=lambda engine: engine.mock("Work").raises("Busy", times=1 if inner_retries else 2).returns(1),
    )
    assert missed(coverage) == (["Outer -- Retry[0]"] if inner_retries else [])


def test_a_parallel_that_catches_after_its_retries(coverage: Coverage) -> None:
    parallel: JsonObject = {
        "Type": "Parallel",
        "Branches": [machine(A=task()), machine(B={"Type": "Pass", "End": True})],
        "Retry": [retry("Busy", attempts=1)],
        "Catch": [catch("Other", "End"), catch("Busy", "End")],
        "Next": "End",
    }
    play(machine(Both=parallel, End=DONE), {}, mocks=lambda engine: engine.mock("A").raises("Busy"))
    assert missed(coverage) == ["Both -- Next -> End", "Both -- Catch[0] -> End"]


def test_jsonata_errors_are_followed_to_their_catcher_and_retrier(coverage: Coverage) -> None:
    work = task(
        Arguments="{% $states.input.missing %}",
        Retry=[retry("Busy"), retry("States.QueryEvaluationError", attempts=1)],
        Catch=[catch("Busy", "A"), catch("States.QueryEvaluationError", "A")],
        Next="A",
    )
    play({**machine(Work=work, A=DONE), "QueryLanguage": "JSONata"}, {})
    assert missed(coverage) == ["Work -- Next -> A", "Work -- Catch[0] -> A", "Work -- Retry[0]"]


def test_express_executions_are_counted_too(coverage: Coverage) -> None:
    play(CHOICE, 5, 50, 500, type="EXPRESS")
    assert missed(coverage) == []


def test_two_definitions_under_one_name_are_two_machines(coverage: Coverage) -> None:
    play(CHOICE, 5)
    play(machine(A=DONE), {})
    lines = coverage.report()
    assert [line.split()[:2] for line in lines if line.startswith("m ")] == [
        ["m", f"({counted.digest[:8]})"] for counted in coverage.machines
    ]
    assert lines[-1].split() == ["TOTAL", "3/5", "1/3", "50%"]


def test_a_machine_that_was_only_registered_is_listed(coverage: Coverage) -> None:
    play(CHOICE)
    assert coverage.percent == 0
    assert len(missed(coverage)) == 4


def test_an_execution_that_goes_on_in_another_engine_is_followed(coverage: Coverage, tmp_path: Path) -> None:
    definition = machine(A={"Type": "Wait", "Seconds": 60, "Next": "B"}, B=DONE)

    async def main(clock: VirtualClock) -> None:
        for begins in (True, False):
            async with Engine(f"sqlite:///{tmp_path}/flows.db", clock=clock) as engine:
                if begins:
                    await engine.create_state_machine("m", definition)
                    await engine.start("m")
                else:
                    await engine.join()

    run(main)
    assert missed(coverage) == []


def test_a_store_that_died_in_a_test_can_be_left(coverage: Coverage) -> None:
    async def main() -> None:
        faulty = FaultyStore(MemoryStore())
        faulty.crashed.set()
        store = cast("Store", faulty)
        await RecordingStore(store, coverage.observer(store)).close()

    run(main())
    assert coverage.machines == []


def test_engines_are_left_alone_again_afterwards() -> None:
    counted = Coverage()
    undo = watch_engines(counted)
    undo()
    play(CHOICE, 5)
    assert counted.machines == []


def test_counts_of_several_processes_add_up() -> None:
    def count(*inputs: Json) -> list[dict[str, Any]]:
        counted = Coverage()
        undo = watch_engines(counted)
        play(CHOICE, *inputs)
        undo()
        return json.loads(json.dumps(counted.dump()))  # type: ignore[no-any-return]

    total = Coverage()
    total.merge(count(5))
    total.merge(count(50))
    assert missed(total) == ["Other was never entered", "Route -- Default -> Other"]
    total.merge(count(500))
    assert total.report() == [
        "state machine     states       ways  cover",
        "m                    4/4        3/3   100%",
        "TOTAL                4/4        3/3   100%",
    ]


def test_errors_of_the_caller_are_not_hidden(coverage: Coverage) -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock) as engine:
            with pytest.raises(AsfnError):
                await engine.start("nobody")

    run(main)
    assert coverage.machines == []
