"""What a fan-out leaves in the history when more than one of its children fails."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest

from asfn._json import JsonObject
from asfn.engine import Engine
from asfn.errors import ExecutionFailed
from asfn.testing.loop import VirtualClock, run
from tests.runtime.workflows import each, machine, parallel


def failing_map(name: str) -> JsonObject:
    """A branch: a Map whose iterations fail at once."""
    return machine((name, each(machine((f"Refuse {name}", {"Type": "Fail", "Error": "No"})), ItemsPath="$")))


@pytest.mark.parametrize("seed", [None, 1, 2, 3])
def test_a_nested_map_that_failed_beside_the_first_failure_is_not_aborted_too(seed: int | None) -> None:
    async def main(clock: VirtualClock) -> Counter[str]:
        async with Engine(clock=clock) as engine:
            both = parallel(failing_map("One"), failing_map("Two"))
            await engine.create_state_machine("machine", machine(("Both", both)))
            execution = await engine.start("machine", [1])
            with suppress(ExecutionFailed):
                await execution.result()
            return Counter(str(event["type"]) for event in await execution.history())

    types = run(main, seed=seed)
    assert types["ExecutionFailed"] == 1
    assert types["MapStateFailed"] + types["MapStateAborted"] == 2, "each Map has one end"


def test_an_item_selector_that_fails_again_after_a_redrive_fails_at_that_moment() -> None:
    async def main(clock: VirtualClock) -> list[JsonObject]:
        only_map: JsonObject = {
            "Type": "Map",
            "QueryLanguage": "JSONata",
            "Items": [1],
            "ItemSelector": {"late": "{% $states.context.Nowhere %}"},
            "ItemProcessor": machine(("Pass", {"Type": "Pass", "End": True})),
            "End": True,
        }
        async with Engine(clock=clock) as engine:
            await engine.create_state_machine("machine", machine(("Each", only_map)))
            execution = await engine.start("machine")
            for _ in range(2):
                with pytest.raises(ExecutionFailed):
                    await execution.result()
                await asyncio.sleep(100)
                if (await execution.describe()).redrive_count == 0:
                    await execution.redrive()
            return await execution.history()

    history = run(main)
    assert [event["type"] for event in history].count("EvaluationFailed") == 2
    moments = [event["timestamp"] for event in history]
    assert moments == sorted(moments, key=float)


def iterations(concurrency: int, items: int) -> list[tuple[str, int]]:
    """What became of the iterations of a Map that fail at once: `("Started", 0)`, in order."""

    async def main(clock: VirtualClock) -> list[tuple[str, int]]:
        refuse = machine(("Refuse", {"Type": "Fail", "Error": "No"}))
        async with Engine(clock=clock) as engine:
            await engine.create_state_machine("machine", machine(("Each", each(refuse, concurrency))))
            execution = await engine.start("machine", list(range(items)))
            with suppress(ExecutionFailed):
                await execution.result()
            told = []
            for event in await execution.history():
                what = str(event["type"]).removeprefix("MapIteration")
                if what != event["type"]:
                    details: Any = event[f"mapIteration{what}EventDetails"]
                    told.append((what, details["index"]))
            return told

    return run(main)


def test_iterations_that_have_a_slot_have_started_when_the_first_one_fails_at_once() -> None:
    assert iterations(concurrency=0, items=3) == [
        ("Started", 0), ("Started", 1), ("Started", 2), ("Failed", 0), ("Aborted", 1), ("Aborted", 2),
    ]  # fmt: skip
    assert iterations(concurrency=2, items=3) == [("Started", 0), ("Started", 1), ("Failed", 0), ("Aborted", 1)]
    assert iterations(concurrency=1, items=3) == [("Started", 0), ("Failed", 0)]


def test_a_slot_that_is_freed_at_once_is_taken_by_the_next_iteration_at_once() -> None:
    async def main(clock: VirtualClock) -> list[tuple[str, Any, Any]]:
        async with Engine(clock=clock) as engine:
            only = machine(("Pass", {"Type": "Pass", "End": True}))
            await engine.create_state_machine("machine", machine(("Each", each(only, 2))))
            execution = await engine.start("machine", [0, 1, 2])
            await execution.result()
            return [(str(event["type"]), event["id"], event["previousEventId"]) for event in await execution.history()]

    assert run(main)[3:11] == [
        ("MapIterationStarted", 4, 3),
        ("MapIterationStarted", 5, 3),
        ("PassStateEntered", 6, 4),
        ("PassStateExited", 7, 6),
        ("MapIterationSucceeded", 8, 7),
        ("MapIterationStarted", 9, 7),
        ("PassStateEntered", 10, 5),
        ("PassStateExited", 11, 10),
    ]


def test_all_that_is_at_work_below_a_failed_branch_is_aborted_from_the_outside_in() -> None:
    async def main(clock: VirtualClock) -> list[tuple[str, Any]]:
        nap: JsonObject = {"Type": "Wait", "Seconds": 9, "End": True}
        below = machine(("Below", each(machine(("Nap", nap)), ItemsPath="$")))
        fails: JsonObject = {"Type": "Fail", "Error": "No"}
        late = machine(("First", {"Type": "Wait", "Seconds": 1, "Next": "Refuse"}), ("Refuse", fails))
        async with Engine(clock=clock) as engine:
            await engine.create_state_machine("machine", machine(("Both", parallel(below, late))))
            execution = await engine.start("machine", [1, 2])
            with suppress(ExecutionFailed):
                await execution.result()
            return [(str(event["type"]), event["previousEventId"]) for event in await execution.history()]

    history = run(main)
    refused = next(id for id, (kind, _) in enumerate(history, 1) if kind == "FailStateEntered")
    assert history[refused:-2] == [
        ("MapStateAborted", refused),
        ("MapIterationAborted", refused), ("WaitStateAborted", refused),
        ("MapIterationAborted", refused), ("WaitStateAborted", refused),
    ]  # fmt: skip
    assert history[-2] == ("ParallelStateFailed", refused)
