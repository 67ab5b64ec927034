"""Many, large, deep: what a single execution or a single engine must carry."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from asfn._json import JsonObject
from asfn.engine import Engine
from asfn.errors import ExecutionFailed
from asfn.limits import Limits
from asfn.store.memory import MemoryStore
from asfn.testing.loop import VirtualClock, run
from tests.runtime.lives import Reply, Workflow, check, live, live_on, undisturbed
from tests.runtime.workflows import each, machine, parallel, task


class Gauge:
    """Counts how many calls are in the air."""

    def __init__(self) -> None:
        self.now = self.most = self.calls = 0

    async def __call__(self, event: Any) -> Any:
        self.calls += 1
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(1 + self.calls % 3)
        self.now -= 1
        return event


@pytest.mark.parametrize(("wanted", "items", "most"), [(1, 7, 1), (3, 20, 3), (0, 100, 40), (60, 100, 40), (5, 2, 2)])
@pytest.mark.parametrize("seed", [None, 4])
def test_no_more_iterations_than_max_concurrency_are_alive(
    wanted: int, items: int, most: int, seed: int | None
) -> None:
    async def main(clock: VirtualClock) -> None:
        gauge = Gauge()
        async with Engine(clock=clock) as engine:
            engine.register("work", gauge)
            await engine.create_state_machine("m", machine(("Items", each(machine(("Work", task("work"))), wanted))))
            execution = await engine.start("m", list(range(items)))
            assert await execution.result() == list(range(items))
        assert gauge.most == most
        assert gauge.calls == items

    run(main, seed=seed)


@pytest.mark.parametrize("leave_after", [1, 4, 7])
def test_living_iterations_keep_their_slots_over_a_restart(leave_after: int) -> None:
    async def main(clock: VirtualClock) -> None:
        store, definition = MemoryStore(), machine(("Items", each(machine(("Work", task("work"))), 3)))
        for first in (True, False):
            gauge = Gauge()
            engine = Engine(store, clock=clock, drain_seconds=0)
            engine.register("work", gauge)
            async with engine:
                await engine.create_state_machine("m", definition)
                if first:
                    execution = await engine.start("m", list(range(12)), name="x")
                    await asyncio.sleep(leave_after)
                else:
                    execution = await engine.execution(execution.arn)
                    assert await execution.result() == list(range(12))
            assert gauge.most == min(3, gauge.calls)

    run(main)


def test_a_history_holds_25000_events_and_not_one_more() -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock) as engine:
            await engine.create_state_machine("m", FOREVER)
            execution = await engine.start("m")
            with pytest.raises(ExecutionFailed) as caught:
                await execution.result()
            assert caught.value.status == "FAILED"
            assert caught.value.error == "States.Runtime"
            assert "25000" in str(caught.value.cause)
            history = await execution.history()
            assert len(history) == 25_000
            assert history[-1]["type"] == "ExecutionFailed"
            assert [event["id"] for event in history] == list(range(1, 25_001))

    run(main)


@pytest.mark.parametrize("limit", range(8, 33))
def test_a_history_may_be_full_anywhere_in_a_fan_out(limit: int) -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock, limits=Limits(history_events=limit)) as engine:
            engine.register("work", Gauge())
            branches = parallel(
                machine(
                    ("Items", each(machine(("Work", task("work"))), 2, Catch=INSIDE, ItemsPath="$.items")),
                    ("Inside", {"Type": "Succeed"}),
                ),
                machine(("Nap", {"Type": "Wait", "Seconds": 5, "End": True})),
                Catch=CATCH,
            )
            definition = machine(("Both", branches), ("Caught", {"Type": "Succeed"}))
            await engine.create_state_machine("m", definition)
            execution = await engine.start("m", {"items": [1, 2, 3]})
            with pytest.raises(ExecutionFailed) as caught:
                await execution.result()
            assert caught.value.error == "States.Runtime"
            history = await execution.history()
            assert [event["id"] for event in history] == list(range(1, len(history) + 1))
            assert len(history) <= limit
            assert history[-1]["type"] == "ExecutionFailed"

    run(main)


CATCH: Any = [{"ErrorEquals": ["States.ALL"], "Next": "Caught"}]
INSIDE: Any = [{"ErrorEquals": ["States.ALL"], "Next": "Inside"}]
FOREVER = machine(
    ("One", {"Type": "Pass", "Next": "Two"}),
    ("Two", {"Type": "Choice", "Choices": [{"Variable": "$.out", "IsPresent": True, "Next": "Out"}], "Default": "One"}),
    ("Out", {"Type": "Succeed"}),
)


def test_a_loop_of_pure_states_lets_others_run() -> None:
    async def main(clock: VirtualClock) -> None:
        turns = 0
        async with Engine(clock=clock) as engine:
            await engine.create_state_machine("m", FOREVER)
            execution = await engine.start("m")
            waiting = asyncio.ensure_future(execution.result())
            while not waiting.done():
                turns += 1
                await asyncio.sleep(0)
            assert isinstance(waiting.exception(), ExecutionFailed)
        assert turns > 100

    run(main)


@pytest.mark.parametrize(
    "processor", [machine(("Say", {"Type": "Pass", "End": True})), machine(("Work", task("work")))]
)
def test_a_map_over_ten_thousand_items_keeps_their_order(processor: JsonObject) -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock, limits="relaxed") as engine:
            engine.register("work", Gauge())
            await engine.create_state_machine("m", machine(("Items", each(processor, 500))))
            execution = await engine.start("m", list(range(10_000)))
            assert await execution.result() == list(range(10_000))
            last = (await execution.history(after=20_000))[-1]
            assert last["type"] == "ExecutionSucceeded"

    run(main)


def _nest(depth: int) -> JsonObject:
    inner = machine(("Work", task("work")))
    for level in range(depth):
        state = each(inner) if level % 2 else parallel(inner)
        inner = machine((f"Level{level}", state))
    return inner


def test_fan_outs_may_be_nested_deeply_and_recover() -> None:
    value: Any = 1
    for _ in range(6):
        value = [value]
    workflow = Workflow("deep", _nest(12), value, lambda *_: Reply({"deep": True}))
    reference = undisturbed(workflow)
    for number in range(1, reference.commits + 1):
        store = MemoryStore()
        first = live(workflow, store, crash_after=number)
        check(reference, [first, live_on(workflow, store, first)])


def test_a_failure_rises_through_many_levels() -> None:
    async def main(clock: VirtualClock) -> None:
        async def work(event: Any) -> None:
            raise ValueError("deep")

        async with Engine(clock=clock) as engine:
            engine.register("work", work)
            await engine.create_state_machine("m", _nest_parallel(50))
            execution = await engine.start("m")
            with pytest.raises(ExecutionFailed, match="deep"):
                await execution.result()
            types = [event["type"] for event in await execution.history()]
            assert types.count("ParallelStateFailed") == 50

    run(main)


def _nest_parallel(depth: int) -> JsonObject:
    inner = machine(("Work", task("work")))
    for level in range(depth):
        inner = machine((f"Level{level}", parallel(inner)))
    return inner


@pytest.mark.real_time
async def test_five_thousand_executions_wait_call_and_finish_in_one_process(tmp_path: Path) -> None:
    count = 5_000
    definition = machine(
        ("Nap", {"Type": "Wait", "SecondsPath": "$.nap", "Next": "Work"}),
        ("Work", task("work", "Say")),
        ("Say", {"Type": "Pass", "End": True}),
    )
    called: list[int] = []

    async def work(event: Any) -> Any:
        called.append(event["n"])
        return {"n": event["n"] * 2}

    async with Engine(f"sqlite:///{tmp_path / 'many.db'}") as engine:
        engine.register("work", work)
        await engine.create_state_machine("m", definition)
        starts = (engine.start("m", {"n": n, "nap": 1 + n % 2}, name=f"x{n}") for n in range(count))
        executions = await asyncio.gather(*starts)
        results = await asyncio.gather(*(execution.result(timeout=120) for execution in executions))
        assert results == [{"n": n * 2} for n in range(count)]
        assert sorted(called) == list(range(count))
        for execution in executions[:: count // 20]:
            assert [event["id"] for event in await execution.history()] == list(range(1, 12))
