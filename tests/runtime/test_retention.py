"""Retention: what ended long ago goes by itself, and nothing else does."""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from asfn.engine import Engine
from asfn.errors import ExecutionDoesNotExist, InvalidParameter, StoreError
from asfn.limits import Limits
from asfn.runtime.retention import DAY_SECONDS, Retention
from asfn.store.memory import MemoryStore
from asfn.testing.loop import VirtualClock, run

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

PASS = {"StartAt": "P", "States": {"P": {"Type": "Pass", "End": True}}}
OTHER = {"StartAt": "Q", "States": {"Q": {"Type": "Pass", "End": True}}}
WAIT = {"StartAt": "W", "States": {"W": {"Type": "Wait", "SecondsPath": "$.seconds", "End": True}}}


def with_engine(work: Callable[[Engine, VirtualClock], Coroutine[Any, Any, None]], **options: Any) -> None:
    """Run `work` in an engine on virtual time. Any: the engine's options."""

    async def main(clock: VirtualClock) -> None:
        async with Engine(clock=clock, **options) as engine:
            await work(engine, clock)

    run(main, seed=1)


async def names(engine: Engine) -> set[str]:
    return {info.name for info in await engine.list_executions(limit=10_000)}


async def run_one(engine: Engine, machine: str, name: str) -> None:
    await (await engine.start(machine, name=name)).result()


async def later(clock: VirtualClock, days: float) -> None:
    await clock.sleep_until(clock.now() + days * DAY_SECONDS)


def test_each_state_machine_keeps_its_executions_as_long_as_it_says() -> None:
    async def work(engine: Engine, clock: VirtualClock) -> None:
        for name, days in (("short", 1), ("default", None), ("never", math.inf), ("deleted", 1)):
            await engine.create_state_machine(name, PASS, retention_days=days)
            await run_one(engine, name, name)
        await engine.delete_state_machine("deleted")
        assert await engine.purge() == 0
        await later(clock, 1.01)
        assert await engine.purge() == 1
        assert await names(engine) == {"default", "never", "deleted"}
        await later(clock, 89)
        assert await engine.purge() == 2
        assert await names(engine) == {"never"}

    with_engine(work)


def test_the_time_counts_from_the_end_and_not_from_the_start() -> None:
    async def work(engine: Engine, clock: VirtualClock) -> None:
        await engine.create_state_machine("wait", WAIT, retention_days=10)
        execution = await engine.start("wait", {"seconds": 30 * int(DAY_SECONDS)}, name="long")
        await later(clock, 29)
        assert await engine.purge() == 0
        await execution.result()
        await later(clock, 9.9)
        assert await engine.purge() == 0
        await later(clock, 0.2)
        assert await engine.purge() == 1

    with_engine(work)


def test_what_runs_is_never_deleted() -> None:
    async def work(engine: Engine, clock: VirtualClock) -> None:
        await engine.create_state_machine("wait", WAIT, retention_days=0)
        execution = await engine.start("wait", {"seconds": 40 * int(DAY_SECONDS)})
        await later(clock, 39)
        assert await engine.purge(older_than_days=0) == 0
        assert await execution.result() == {"seconds": 40 * int(DAY_SECONDS)}

    with_engine(work)


def test_a_purge_may_be_asked_for_by_age_and_by_machine() -> None:
    async def work(engine: Engine, clock: VirtualClock) -> None:
        for name in ("a", "b"):
            await engine.create_state_machine(name, PASS, retention_days=math.inf)
            await run_one(engine, name, name)
        await later(clock, 2)
        assert await engine.purge(older_than_days=3) == 0
        assert await engine.purge(older_than_days=1, machine="a") == 1
        assert await names(engine) == {"b"}

    with_engine(work)


def test_a_name_is_free_again_after_the_purge() -> None:
    async def work(engine: Engine, clock: VirtualClock) -> None:
        await engine.create_state_machine("pass", PASS)
        await run_one(engine, "pass", "again")
        old = (await engine.list_executions())[0]
        await later(clock, 91)
        await engine.purge()
        with pytest.raises(ExecutionDoesNotExist):
            await engine.execution(old.arn)
        await run_one(engine, "pass", "again")
        assert (await engine.list_executions())[0].started_at > old.started_at

    with_engine(work)


def test_definitions_of_deleted_executions_go_too() -> None:
    async def work(engine: Engine, clock: VirtualClock) -> None:
        await engine.create_state_machine("m", PASS)
        await run_one(engine, "m", "old")
        row = await engine.store.state_machine(engine.arns.state_machine("m"))
        assert row is not None
        await engine.update_state_machine("m", OTHER)
        await later(clock, 91)
        await engine.purge()
        assert await engine.store.definition(row.digest) is not None  # marked now, deleted later
        await later(clock, 1)
        await engine.purge()
        assert await engine.store.definition(row.digest) is None
        await run_one(engine, "m", "new")

    with_engine(work)


def test_the_retention_can_be_changed_without_a_new_revision() -> None:
    async def work(engine: Engine, clock: VirtualClock) -> None:
        created = await engine.create_state_machine("m", PASS, retention_days=5)
        assert created.retention_days == 5
        updated = await engine.update_state_machine("m", retention_days=math.inf)
        assert (updated.retention_days, updated.revision_id) == (math.inf, None)
        assert (await engine.update_state_machine("m", OTHER)).retention_days == math.inf
        assert (await engine.describe_state_machine("m")).retention_days == math.inf

    with_engine(work)


@pytest.mark.parametrize("days", [-1, math.nan, "90", True])
def test_a_retention_that_is_no_length_of_time_is_refused(days: Any) -> None:
    async def work(engine: Engine, clock: VirtualClock) -> None:
        with pytest.raises(InvalidParameter, match="retention_days must be 0 or more"):
            await engine.create_state_machine("m", PASS, retention_days=days)
        assert await engine.list_state_machines() == []

    with_engine(work)


def test_limits_give_the_default() -> None:
    async def work(engine: Engine, clock: VirtualClock) -> None:
        await engine.create_state_machine("m", PASS)
        await run_one(engine, "m", "x")
        await later(clock, 8)
        assert await engine.purge() == 1

    assert Limits.aws().retention_days == 90
    with_engine(work, limits=Limits(retention_days=7))


class Meter(MemoryStore):
    """Tells how a purge uses the store, and may refuse."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self.buried: list[int] = []
        self.moments: list[float] = []
        self.refuse = 0
        self._clock = clock

    async def bury(self, keys: Sequence[int], before: float) -> int:
        if self.refuse:
            self.refuse -= 1
            raise StoreError("the disk is full")
        self.buried.append(len(keys))
        self.moments.append(self._clock.now())
        return await super().bury(keys, before)


def test_the_loop_purges_every_hour_in_small_steps_with_rests_and_survives_refusals(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main(clock: VirtualClock) -> None:
        store = Meter(clock)
        async with Engine(store, clock=clock) as engine:
            await engine.create_state_machine("m", PASS, retention_days=1)
            await asyncio.gather(*(run_one(engine, "m", f"x{number}") for number in range(1_234)))
            await later(clock, 2)
            await engine.create_state_machine("n", PASS, retention_days=1)
            await run_one(engine, "n", "young")
            store.refuse = 1
            task = asyncio.create_task(Retention(store, clock, 90).run())
            await clock.sleep_until(clock.now() + 120)
            assert store.buried == []  # refused, and to be tried again
            await clock.sleep_until(clock.now() + 3_700)
            assert await names(engine) == {"young"}
            await later(clock, 1)
            assert await names(engine) == set()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        assert sum(store.buried) == 1_235
        assert max(store.buried) <= 100
        assert all(b - a >= 0.0199 for a, b in zip(store.moments, store.moments[1:], strict=False))

    run(main, seed=3)
    assert "the disk is full" in caplog.text


def test_a_purge_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        async with Engine(f"sqlite:///{tmp_path}/flows.db", clock=clock) as engine:
            await engine.create_state_machine("m", PASS, retention_days=1)
            for number in range(150):
                await run_one(engine, "m", f"x{number}")
            await later(clock, 2)
            purging = asyncio.create_task(engine.purge())
            while len(await names(engine)) == 150:  # noqa: ASYNC110  # looks from outside, as any program may
                await asyncio.sleep(0.001)
            purging.cancel()
            with suppress(asyncio.CancelledError):
                await purging
            left = len(await names(engine))
            assert 0 < left < 150
            assert await engine.purge() == left
            assert await engine.store.sweep(1) == 0

    run(main)


@pytest.mark.real_time
async def test_an_engine_is_left_at_once_while_its_purge_waits(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with Engine(f"sqlite:///{tmp_path}/flows.db") as engine:
        await engine.create_state_machine("m", PASS)
        assert any(task.get_name() == "asfn-retention" for task in asyncio.all_tasks())
    assert not any(task.get_name() == "asfn-retention" for task in asyncio.all_tasks())
    assert loop.time() - began < 5
