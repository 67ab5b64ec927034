"""Stop, pause and resume of what another engine runs: on one loop, from another process, and when the owner dies."""

from __future__ import annotations

import asyncio
import math
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from asfn._json import Json, JsonObject
from asfn.engine import Engine
from asfn.errors import ExecutionDoesNotExist, ExecutionFailed
from asfn.runtime.handle import Execution
from asfn.runtime.lookout import ring_all
from asfn.store.memory import MemoryStore
from asfn.store.protocol import Store
from asfn.store.records import Message
from asfn.store.sqlite import SqliteStore
from asfn.testing.faults import FaultyStore
from asfn.testing.loop import DEFAULT_START_AT, VirtualClock, run
from tests.runtime.owner import SLOW
from tests.runtime.workflows import each, machine, task

Kind = pytest.mark.parametrize("kind", ["memory", "file"])
NAP: JsonObject = {"Type": "Wait", "Seconds": 10_000, "End": True}


def opener(kind: str, tmp_path: Path, clock: VirtualClock) -> Callable[[], Store]:
    """Gives each engine its store: one memory for all, or a connection of its own to one file."""
    memory = MemoryStore()
    return lambda: memory if kind == "memory" else SqliteStore(tmp_path / "two.db", off_loop=clock.off_loop)


class Pair:
    """Two engines on one store: `mine` runs executions, `yours` asks for things."""

    def __init__(self, clock: VirtualClock, stores: Callable[[], Store]) -> None:
        self.clock = clock
        self.calls: list[str] = []
        self.mine, self.yours = self._engine("mine", stores()), self._engine("yours", stores())

    def _engine(self, name: str, store: Store) -> Engine:
        engine = Engine(store, clock=self.clock)

        @engine.function("work")
        async def work(event: Json) -> Json:
            self.calls.append(name)
            await asyncio.sleep(5)
            return event

        return engine

    async def start(self, definition: JsonObject, input: Json = None) -> Execution:
        """An execution of the one, as the other sees it; it has begun."""
        await self.mine.create_state_machine("m", definition)
        execution = await self.mine.start("m", {} if input is None else input, name="x")
        await asyncio.sleep(1)
        return await self.yours.execution(execution.arn)


async def end_of(execution: Execution) -> tuple[str, str | None, str | None]:
    info = await execution.describe()
    return info.status, info.error, info.cause


@Kind
@pytest.mark.parametrize("seed", range(4))
def test_one_engine_stops_what_another_runs(kind: str, seed: int, tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        pair = Pair(clock, opener(kind, tmp_path, clock))
        async with pair.mine, pair.yours:
            execution = await pair.start(machine(("Each", each(machine(("Work", task("work"))), 2))), [1, 2, 3])
            await execution.stop("Enough", "said the other")
            assert await end_of(execution) == ("ABORTED", "Enough", "said the other")
            assert pair.mine.running(execution.arn) is None
            last = (await execution.history())[-1]
            assert (last["type"], last["executionAbortedEventDetails"]) == (
                "ExecutionAborted",
                {"error": "Enough", "cause": "said the other"},
            )
            await execution.stop("Late")
            assert await end_of(execution) == ("ABORTED", "Enough", "said the other")
        assert clock.now() - DEFAULT_START_AT < 2  # nobody waited for a look: the engines rang
        assert pair.calls == ["mine", "mine"]

    run(main, seed=seed)


@Kind
def test_pause_and_resume_reach_the_engine_that_runs_the_execution(kind: str, tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        pair = Pair(clock, opener(kind, tmp_path, clock))
        work = {**task("work"), "Next": "Again"}
        del work["End"]
        async with pair.mine, pair.yours:
            execution = await pair.start(machine(("Work", work), ("Again", task("work"))), 7)
            await execution.pause()
            assert (await execution.describe()).paused
            await clock.sleep_until(DEFAULT_START_AT + 100)
            assert pair.calls == ["mine"]
            await execution.resume()
            assert not (await execution.describe()).paused
            assert await execution.result() == 7
        assert len(pair.calls) == 2  # the second perhaps by the other: what is paused for long is parked

    run(main)


@Kind
def test_what_is_asked_in_turn_is_done_in_turn(kind: str, tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        pair = Pair(clock, opener(kind, tmp_path, clock))
        async with pair.mine, pair.yours:
            execution = await pair.start(machine(("Work", task("work"))))
            for paused in (True, False, True, False, True):
                await (execution.pause() if paused else execution.resume())
                assert (await execution.describe()).paused is paused
            asked = [execution.resume(), execution.pause(), execution.resume(), execution.stop("S")]
            await asyncio.gather(*asked)
            assert await end_of(execution) == ("ABORTED", "S", None)

    run(main)


def test_each_message_is_acted_on_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(clock: VirtualClock) -> None:
        pair = Pair(clock, opener("memory", Path(), clock))
        dropped: list[int] = []
        drop = pair.mine.store.drop_messages

        async def counted(ids: Sequence[int]) -> None:
            dropped.extend(ids)
            await drop(ids)

        monkeypatch.setattr(pair.mine.store, "drop_messages", counted)
        async with pair.mine, pair.yours:
            execution = await pair.start(machine(("Work", task("work"))))
            await asyncio.gather(*(execution.pause() for _ in range(10)), *(execution.resume() for _ in range(10)))
            ring_all()
            await asyncio.sleep(1)
            assert len(dropped) == 20
            assert len(set(dropped)) == 20

    run(main)


@Kind
def test_what_does_not_exist_is_an_error(kind: str, tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        pair = Pair(clock, opener(kind, tmp_path, clock))
        async with pair.mine, pair.yours:
            execution = await pair.start(machine(("Say", {"Type": "Pass", "End": True})))
            await execution.stop()
            await execution.pause()
            assert (await execution.describe()).status == "SUCCEEDED"
            execution.arn += "-not"
            with pytest.raises(ExecutionDoesNotExist):
                await execution.stop()

    run(main)


def test_a_hundred_executions_are_stopped_at_once(tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        pair = Pair(clock, opener("file", tmp_path, clock))
        async with pair.mine, pair.yours:
            await pair.mine.create_state_machine("m", machine(("Work", task("work"))))
            started = [await pair.mine.start("m", number) for number in range(100)]
            theirs = [await pair.yours.execution(execution.arn) for execution in started]
            await asyncio.gather(*(execution.stop(str(number)) for number, execution in enumerate(theirs)))
            ends = [await end_of(execution) for execution in theirs]
            assert ends == [("ABORTED", str(number), None) for number in range(100)]

    run(main)


@Kind
def test_an_execution_nobody_owns_is_taken_over_by_the_one_who_asks(kind: str, tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        pair = Pair(clock, opener(kind, tmp_path, clock))
        async with pair.yours:
            async with pair.mine:
                execution = await pair.start(machine(("Nap", NAP)))
            assert (await pair.yours.describe_state_machine("m")).name == "m"
            await execution.stop("Enough")
            assert await end_of(execution) == ("ABORTED", "Enough", None)

    run(main)


@Kind
@pytest.mark.parametrize("what", ["stop", "pause"])
def test_when_the_owner_dies_whoever_goes_on_finds_the_message(kind: str, what: str, tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        stores = opener(kind, tmp_path, clock)
        pair = Pair(clock, stores)
        dying = FaultyStore(stores())
        pair.mine = pair._engine("mine", dying)
        living = asyncio.ensure_future(_until_cancelled(pair.mine))
        async with pair.yours:
            await asyncio.sleep(1)
            execution = await pair.start(SLOW)
            dying.crashed.set()  # its lease runs out 30 seconds after it began
            await (execution.stop("Enough") if what == "stop" else execution.pause())
            assert clock.now() - DEFAULT_START_AT > 29
            if what == "stop":
                assert await end_of(execution) == ("ABORTED", "Enough", None)
                assert pair.calls == ["mine"]
            else:
                assert (await execution.describe()).paused
                await execution.resume()
                await execution.result()
                assert pair.calls == ["mine", "yours"]
            living.cancel()
        await dying.disconnect()

    run(main)


async def _until_cancelled(engine: Engine) -> None:
    """An engine whose store has died never leaves: the loop is torn down around it."""
    async with engine:
        await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("what", ["stop", "pause"])
def test_a_message_that_waits_for_an_execution_is_acted_on_by_the_engine_that_claims_it(what: Any) -> None:
    async def main(clock: VirtualClock) -> None:
        store = MemoryStore()
        async with Engine(store, clock=clock) as engine:
            await engine.create_state_machine("m", machine(("Nap", NAP)))
            execution = await engine.start("m", name="x")
            row = await store.execution(execution.arn)
            assert row is not None
        assert await store.post(Message(row.key, what, '["E",null]', clock.now())) is not None
        async with Engine(store, clock=clock) as engine:
            execution = await engine.execution(execution.arn)
            await asyncio.sleep(1)
            info = await execution.describe()
            assert (info.status, info.paused) == (("ABORTED", False) if what == "stop" else ("RUNNING", True))
            assert await store.messages(next(iter(store._engines.values()))) == []

    run(main)


def test_what_was_asked_before_by_somebody_who_died_does_not_undo_what_is_asked_now() -> None:
    async def main(clock: VirtualClock) -> None:
        store = MemoryStore()
        async with Engine(store, clock=clock) as engine:
            await engine.create_state_machine("m", machine(("Nap", NAP)))
            execution = await engine.start("m", name="x")
            await asyncio.sleep(1)
            row = await store.execution(execution.arn)
            assert row is not None
            assert await store.post(Message(row.key, "pause", "[null,null]", clock.now())) is not None
            await execution.resume()
            ring_all()
            await asyncio.sleep(1)
            assert not (await execution.describe()).paused

    run(main)


def test_a_refused_write_leaves_the_message_for_the_next_look() -> None:
    async def main(clock: VirtualClock) -> None:
        memory = MemoryStore()
        faulty = FaultyStore(memory)
        mine, yours = Engine(faulty, clock=clock, park_seconds=math.inf), Engine(memory, clock=clock)
        async with mine, yours:
            await mine.create_state_machine("m", machine(("Nap", NAP)))
            started = await mine.start("m", name="x")
            await asyncio.sleep(1)
            execution = await yours.execution(started.arn)
            faulty._refuse = {faulty.commits + 1}
            asked = asyncio.ensure_future(execution.pause())
            await asyncio.sleep(10)
            assert not asked.done()
            assert not (await execution.describe()).paused
            ring_all()
            await asked
            assert (await execution.describe()).paused

    run(main)


# --- other processes -------------------------------------------------------------------------------------------------


@asynccontextmanager
async def owner(path: Path, *names: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Another process that runs executions with these names, once all of them have called their function."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.runtime.owner", str(path), *names, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        called = {(await asyncio.wait_for(process.stdout.readline(), 30)).decode().strip() for _ in names}
        assert called == {f"called {name}" for name in names}
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def found(engine: Engine, name: str) -> Execution:
    [info] = await engine.list_executions(name=name)
    return await engine.execution(info.arn)


@pytest.mark.real_time
async def test_another_process_stops_pauses_and_resumes_what_it_runs(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with owner(path, "a", "b") as process, Engine(f"sqlite:///{path}") as engine:
        first, second = await found(engine, "a"), await found(engine, "b")
        await asyncio.wait_for(first.stop("Enough", "from outside"), 20)
        assert await end_of(first) == ("ABORTED", "Enough", "from outside")
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 20) == b"ended a ABORTED\n"
        await asyncio.wait_for(second.pause(), 20)
        assert (await second.describe()).paused
        await asyncio.wait_for(second.resume(), 20)
        assert not (await second.describe()).paused
        waiting = asyncio.ensure_future(second.result())
        followed = asyncio.ensure_future(_types(second))
        await asyncio.wait_for(second.stop(), 20)
        with pytest.raises(ExecutionFailed, match="ABORTED"):
            await asyncio.wait_for(waiting, 20)
        assert (await asyncio.wait_for(followed, 20))[-1] == "ExecutionAborted"
        assert await asyncio.wait_for(process.wait(), 20) == 0


async def _types(execution: Execution) -> list[Json]:
    return [event["type"] async for event in execution.events()]


@pytest.mark.real_time
@pytest.mark.parametrize("what", ["stop", "pause"])
async def test_an_owner_that_is_killed_between_the_message_and_the_act_changes_nothing(
    what: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.db"
    calls: list[str] = []
    engine = Engine(f"sqlite:///{path}")

    @engine.function("work")
    async def work(event: Json, context: Any) -> None:
        calls.append(context.execution_name)

    async with owner(path, "a") as process, engine:
        execution = await found(engine, "a")
        process.send_signal(signal.SIGSTOP)  # it cannot act any more, and holds its lock
        asked = asyncio.ensure_future(execution.stop("Enough") if what == "stop" else execution.pause())
        while not await _has_message(path):  # noqa: ASYNC110  # another process writes it
            await asyncio.sleep(0.02)
        assert not asked.done()
        process.kill()
        await asyncio.wait_for(asked, 20)
        if what == "stop":
            assert await end_of(execution) == ("ABORTED", "Enough", None)
        else:
            assert (await execution.describe()).paused
            await execution.resume()
            await asyncio.wait_for(execution.result(), 20)
            assert calls == ["a"]


async def _has_message(path: Path) -> bool:
    store = SqliteStore(path)
    await store.open()
    try:
        return await store.message(1) is not None
    finally:
        await store.close()


@pytest.mark.real_time
async def test_many_who_wait_for_other_engines_share_one_watcher(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    reads = 0

    class Counting(SqliteStore):
        async def execution(self, arn: str) -> Any:
            nonlocal reads
            reads += 1
            return await super().execution(arn)

    async with owner(path, "a") as process, Engine(Counting(path)) as engine:
        handles = [await found(engine, "a") for _ in range(50)]
        waiting = [asyncio.ensure_future(handle.result()) for handle in handles]
        await asyncio.sleep(0.5)
        before = reads
        await asyncio.sleep(2)
        assert reads - before <= 3 * 50  # nothing was written meanwhile but perhaps a lease; each looking 4 times: 400
        await handles[0].stop()
        ends = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 20)
        assert {type(end) for end in ends} == {ExecutionFailed}
        await process.wait()
