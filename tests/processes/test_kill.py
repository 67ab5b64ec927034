"""Real processes, killed at many moments of their run: the next process on the file finishes what they began."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import asfn
from asfn._json import JsonObject
from asfn.engine import Engine
from asfn.runtime.history import shapes
from asfn.store.records import ExecutionQuery
from asfn.store.sqlite import SqliteStore
from tests.processes.worker import Functions
from tests.runtime.lives import chains, settled_keys

ROOT = Path(asfn.__file__).parent.parent
KILLS = 20
AT_ONCE = 4

pytestmark = pytest.mark.real_time


class Process:
    """One worker process on a database."""

    def __init__(self, database: Path) -> None:
        self.database = database
        self.calls = database.with_suffix(".calls")

    async def start(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.processes.worker", str(self.database), str(self.calls)),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def finish(self) -> dict[str, Any]:
        """Run a process to its end and give what it printed."""
        process = await self.start()
        out, err = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0, err.decode()
        end: dict[str, Any] = json.loads(out.decode().splitlines()[-1])
        return end

    async def killed_at(self, event: int, seconds: float = 0) -> None:
        """Run a process and kill it once it has told of this event; 0 kills it while it starts.

        seconds: to let it go on after that, towards the next commit, into a call or a sleep.
        """
        process = await self.start()
        assert process.stdout is not None
        told = 0
        while told < event and (line := await process.stdout.readline()).strip().isdigit():
            told = int(line)
        await asyncio.sleep(seconds)
        if process.returncode is None:
            process.kill()
        await process.communicate()

    def keys(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []


async def durable_history(database: Path) -> list[JsonObject]:
    """What a dead process left in the file; empty when it did not come that far."""
    store = SqliteStore(database)
    try:
        await store.open()
        rows = await store.executions(ExecutionQuery())
        segments = [segment for row in rows for segment in await store.segments(row.key, limit=10_000)]
        return [event for segment in segments for event in shapes(segment)]
    finally:
        await store.close()


def check_end(end: dict[str, Any], reference: dict[str, Any]) -> None:
    history = end["history"]
    assert end["output"] == reference["output"]
    assert [event["id"] for event in history] == list(range(1, len(history) + 1))
    assert Counter(chains(history)) == Counter(chains(reference["history"]))


@dataclass(frozen=True)
class Reference:
    """What a process did that nobody disturbed."""

    end: dict[str, Any]
    keys: set[str]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    process = Process(tmp_path_factory.mktemp("undisturbed") / "undisturbed.db")
    end = asyncio.run(process.finish())
    return Reference(end, set(process.keys()))


async def test_a_process_killed_at_any_moment_is_followed_by_one_that_finishes(
    tmp_path: Path, reference: Reference
) -> None:
    slots = asyncio.Semaphore(AT_ONCE)

    async def kill_and_finish(number: int) -> int:
        async with slots:
            process = Process(tmp_path / f"{number}.db")
            await process.killed_at(len(reference.end["history"]) * number // KILLS, number % 4 * 0.013)
            before = await durable_history(process.database)
            called = process.keys()
            end = await process.finish()
            check_end(end, reference.end)
            assert chains(before) == chains(end["history"])[: len(before)]
            again = process.keys()[len(called) :]
            assert not settled_keys(before) & set(again)
            assert set(process.keys()) == reference.keys
            assert all(count <= 2 for count in Counter(process.keys()).values())
            return len(before)

    stood = await asyncio.gather(*(kill_and_finish(number) for number in range(KILLS)))
    assert any(0 < events < len(reference.end["history"]) for events in stood)  # some were killed in the middle


async def test_one_order_survives_many_kills_in_a_row(tmp_path: Path, reference: Reference) -> None:
    process = Process(tmp_path / "unlucky.db")
    stood = 0
    for event in (4, 9, 17, 26):
        await process.killed_at(event)
        before = await durable_history(process.database)
        assert len(before) >= stood
        stood = len(before)
    check_end(await process.finish(), reference.end)
    assert set(process.keys()) == reference.keys


async def test_a_running_engine_takes_over_from_a_process_that_is_killed(tmp_path: Path, reference: Reference) -> None:
    process = Process(tmp_path / "shared.db")
    worker = await process.start()
    assert worker.stdout is not None
    assert (await asyncio.wait_for(worker.stdout.readline(), 60)).strip() == b"1"
    engine = Engine(f"sqlite:///{process.database}", lease_seconds=0.6)
    Functions(process.calls).register(engine)
    async with engine:
        [info] = await engine.list_executions(name="order-7")
        execution = await engine.execution(info.arn)
        worker.kill()
        await worker.communicate()
        output = await execution.result(timeout=60)
        history = await execution.history()
    assert [event["id"] for event in history] == list(range(1, len(history) + 1))
    check_end({"output": output, "history": history}, reference.end)


async def test_processes_that_start_the_same_order_together_run_it_once(tmp_path: Path) -> None:
    process = Process(tmp_path / "together.db")
    ends = await asyncio.gather(*(process.finish() for _ in range(3)))
    assert ends[0] == ends[1] == ends[2]
    assert all(count == 1 for count in Counter(process.keys()).values())
