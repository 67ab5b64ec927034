"""What a fan-out leaves in the history when more than one of its children fails."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress

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
