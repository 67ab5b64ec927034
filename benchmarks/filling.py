"""Files with very many executions, built with the engine's own commits: one is run and recorded, then applied again
and again under other names, in groups, through `Store.apply`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from copy import copy
from typing import Any, Final

from asfn import Engine
from asfn._json import Payload
from asfn.arn import Arns, ordered_uuid
from asfn.store.engines import first_key
from asfn.store.memory import MemoryStore
from asfn.store.records import Commit, EngineRow, ExecutionRow, Progress, Start
from asfn.store.sqlite import SqliteStore
from benchmarks.throughput import price

GROUP: Final = 1_000  # executions in one transaction


class Recording(MemoryStore):
    """Keeps every commit that is applied."""

    def __init__(self) -> None:
        super().__init__()
        self.commits: list[Commit] = []

    async def apply(self, engine: EngineRow, commits: Sequence[Commit]) -> list[ExecutionRow | None]:
        self.commits += commits
        return await super().apply(engine, commits)


async def record(name: str, definition: dict[str, Any], input: Any) -> list[Commit]:
    """The commits of one execution, until it has ended, or waits for a minute or more."""
    store = Recording()
    engine = Engine(store, drain_seconds=0)
    engine.register("price", price)
    async with engine:
        await engine.create_state_machine(name, definition)
        execution = await engine.start(name, input)
        for _ in range(1_000):  # turns of the loop; nothing here waits for time
            await asyncio.sleep(0)
            if (await execution.describe()).status != "RUNNING":
                break
        return list(store.commits)


async def fill(
    path: str, name: str, definition: dict[str, Any], count: int, *, parked_from: float | None = None
) -> None:
    """Add so many executions of a machine to a file: finished, or, with parked_from, parked.

    parked_from: the first of them is due then, each next one a millisecond later.
    """
    start, *rest = await record(name, definition, {"id": 0, "seconds": 10_000_000})
    assert isinstance(start, Start)
    await _register(path, name, definition)
    store = SqliteStore(path)
    await store.open()
    try:
        engine = await store.register_engine(start.row.started_at, 1e9)
        key = first_key(engine.id)
        for first in range(0, count, GROUP):
            commits: list[Commit] = []
            for n in range(first, min(first + GROUP, count)):
                due = parked_from + n / 1_000 if parked_from is not None else None
                commits += _again(start.row, rest, key + n, n, engine.id, due)
            await store.apply(engine, commits)
        await store.retire_engine(engine)
    finally:
        await store.close()


def _again(row: ExecutionRow, rest: Sequence[Commit], key: int, n: int, owner: int, due: float | None) -> list[Commit]:
    """The recorded commits for another execution."""
    another = row.copy()
    another.key, another.owner = key, owner
    another.started_at = row.started_at - 3_600 + n / 1_000
    another.name = name = ordered_uuid(another.started_at)  # as one is called that is started without a name
    another.arn = Arns("us-east-1", "123456789012").execution(row.state_machine_arn.rpartition(":")[2], name)
    another.input = Payload.parse(row.input.text)
    commits: list[Commit] = [Start(another)]
    for commit in rest:
        assert isinstance(commit, Progress)
        again = copy(commit)
        again.key = key
        if due is not None and commit is rest[-1]:
            again.parked, again.wake_at = True, due
        commits.append(again)
    return commits


async def _register(path: str, name: str, definition: dict[str, Any]) -> None:
    engine = Engine(f"sqlite:///{path}")
    engine.register("price", price)
    async with engine:
        await engine.create_state_machine(name, definition)
