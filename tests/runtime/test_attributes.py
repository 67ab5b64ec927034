"""Attributes through the engine: given at the start, bounded, seen and searched for."""

from __future__ import annotations

from typing import Any

import pytest

from asfn.engine import Engine
from asfn.errors import InvalidParameter
from asfn.runtime.attributes import check_attributes
from asfn.store.memory import MemoryStore
from asfn.testing.loop import VirtualClock, run
from tests.runtime.workflows import machine

PASSES = machine(("A", {"Type": "Pass", "End": True}))


def test_executions_are_listed_by_the_attributes_they_were_started_with() -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock) as engine:
            await engine.create_state_machine("m", PASSES)
            for name, customer in (("a", "7"), ("b", "8"), ("c", "7")):
                started = await engine.start("m", name=name, attributes={"customer": customer, "region": "eu"})
                await started.result()
                await clock.sleep_until(clock.now() + 1)
            found = await engine.list_executions(attributes={"customer": "7"})
            assert [info.name for info in found] == ["c", "a"]
            assert found[0].attributes == {"customer": "7", "region": "eu"}
            [older] = await engine.list_executions(attributes={"customer": "7"}, before=found[0])
            assert older.name == "a"
            assert await engine.list_executions(attributes={"customer": "7", "region": "us"}) == []
            assert len(await engine.list_executions(attributes={})) == 3

    run(main)


def test_attributes_are_described_and_survive_the_engine() -> None:
    async def main(clock: VirtualClock) -> None:
        store = MemoryStore()
        given = {"customer": "7"}
        async with Engine(store, clock=clock) as engine:
            await engine.create_state_machine("m", PASSES)
            execution = await engine.start("m", name="x", attributes=given)
            given["customer"] = "changed"
            assert (await execution.describe()).attributes == {"customer": "7"}
        async with Engine(store, clock=clock) as engine:
            [found] = await engine.list_executions(attributes={"customer": "7"})
            assert found.name == "x"

    run(main)


def test_attributes_never_reach_the_state_machine() -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock) as engine:
            shown = {"Type": "Pass", "Parameters": {"all.$": "$$"}, "End": True}
            await engine.create_state_machine("m", machine(("A", shown)))
            execution = await engine.start("m", attributes={"customer": "seven"})
            assert "seven" not in str(await execution.result())
            assert "seven" not in str(await execution.history())

    run(main)


def test_an_express_execution_shows_its_attributes() -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock) as engine:
            await engine.create_state_machine("m", PASSES, type="EXPRESS")
            execution = await engine.start("m", attributes={"customer": "7"})
            assert (await execution.describe()).attributes == {"customer": "7"}

    run(main)


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({f"a{number}": "" for number in range(51)}, "at most 50 attributes, not 51"),
        ({"": "x"}, "has 0 characters; 1 to 128"),
        ({"a" * 129: "x"}, "has 129 characters; 1 to 128"),
        ({"a": "x" * 257}, "value of attribute 'a' has 257 characters; 0 to 256"),
        ({"a": 7}, "value of attribute 'a' is of type int"),
        ({7: "a"}, "is of type int"),
        ({"a": None}, "is of type NoneType"),
        ({"a": "\ud800"}, "cannot be stored"),
        ({"a\0": "x"}, "cannot be stored"),
    ],
)
def test_attributes_out_of_bounds_are_refused_without_naming_a_value(attributes: Any, said: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        check_attributes(attributes)
    assert said in str(caught.value)
    assert "xxx" not in str(caught.value)


def test_attributes_at_the_bounds_are_taken() -> None:
    most = {f"{number:0128}": "x" * 256 for number in range(50)}
    assert check_attributes(most) == most
    assert check_attributes({"b": "", "a": "😀"}) == {"a": "😀", "b": ""}
    assert check_attributes(None) == {}


def test_a_refused_start_leaves_nothing_behind() -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock) as engine:
            await engine.create_state_machine("m", PASSES)
            with pytest.raises(InvalidParameter):
                await engine.start("m", attributes={"": ""})
            with pytest.raises(InvalidParameter):
                await engine.list_executions(attributes={"": ""})
            assert await engine.list_executions() == []

    run(main)
