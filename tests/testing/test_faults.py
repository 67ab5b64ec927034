"""The store that fails on purpose fails at the commit it was told, and keeps exactly what came before."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from asfn._json import Payload
from asfn.errors import EngineFenced, StoreError
from asfn.store.memory import MemoryStore
from asfn.store.records import EngineRow, ExecutionQuery, ExecutionRow, Message, Progress, Start
from asfn.testing.faults import FaultyStore


def starts(engine: EngineRow, *keys: int) -> list[Start]:
    return [
        Start(
            ExecutionRow(key, f"arn:{key}", f"x{key}", "arn:m", "d", "STANDARD", "r", Payload({}), 0.0, owner=engine.id)
        )
        for key in keys
    ]


async def kept(store: MemoryStore) -> list[int]:
    return sorted(row.key for row in await store.executions(ExecutionQuery()))


@pytest.mark.parametrize(("fault", "expected"), [("crash_before", [1, 2, 3]), ("crash_after", [1, 2, 3, 4])])
async def test_a_crash_in_the_middle_of_a_group_keeps_the_commits_before_it(fault: str, expected: list[int]) -> None:
    inner = MemoryStore()
    faulty = FaultyStore(inner, crash_before=4) if fault == "crash_before" else FaultyStore(inner, crash_after=4)
    engine = await faulty.register_engine(0, 30)
    await faulty.apply(engine, starts(engine, 1, 2))
    dying = asyncio.ensure_future(faulty.apply(engine, starts(engine, 3, 4, 5)))
    await faulty.crashed.wait()
    assert await kept(inner) == expected
    reading = asyncio.ensure_future(faulty.execution("arn:1"))
    await asyncio.sleep(0)
    assert not dying.done()
    assert not reading.done()
    await faulty.retire_engine(engine)  # a dead process retires nothing
    assert [row.id for row in await inner.other_engines(EngineRow(99, 1, 0))] == [engine.id]
    for task in (dying, reading):
        task.cancel()
    await asyncio.wait([dying, reading])


async def test_a_refused_write_is_refused_whole_and_once() -> None:
    inner = MemoryStore()
    faulty = FaultyStore(inner, refuse=[2])
    engine = await faulty.register_engine(0, 30)
    with pytest.raises(StoreError, match="refuse"):
        await faulty.apply(engine, starts(engine, 1, 2, 3))
    assert await kept(inner) == []
    await faulty.apply(engine, starts(engine, 1, 2, 3))
    assert await kept(inner) == [1, 2, 3]
    assert faulty.commits == 3


async def test_another_engine_takes_over_before_the_chosen_commit() -> None:
    inner = MemoryStore()
    faulty = FaultyStore(inner, fence_at=2)
    engine = await faulty.register_engine(0, 30)
    await faulty.apply(engine, starts(engine, 1))
    with pytest.raises(EngineFenced):
        await faulty.apply(engine, starts(engine, 2))
    row = await inner.execution("arn:1")
    assert row is not None
    assert faulty.usurper is not None
    assert row.owner == faulty.usurper.id


async def test_callbacks_run_just_before_their_commit() -> None:
    seen: list[tuple[int, int]] = []

    def note(number: int) -> None:
        seen.append((number, faulty.commits))

    faulty = FaultyStore(MemoryStore(), at={number: partial(note, number) for number in (1, 3)})
    engine = await faulty.register_engine(0, 30)
    await faulty.apply(engine, starts(engine, 1, 2))
    assert seen == [(1, 0)]
    await faulty.apply(engine, starts(engine, 3))
    assert seen == [(1, 0), (3, 2)]


async def test_takings_and_messages_count_as_commits_when_there_is_something_to_take() -> None:
    inner = MemoryStore()
    faulty = FaultyStore(inner)
    engine = await faulty.register_engine(0, 30)
    parked, held = starts(engine, 1, 2)
    held.row.owner, held.row.queued = None, True
    await faulty.apply(engine, [parked, held])
    assert await faulty.wake(engine, 5.0) == []
    await faulty.apply(engine, [Progress(1, parked=True, wake_at=9.0)])
    assert await faulty.wake(engine, 5.0) == []
    assert faulty.commits == 3

    assert await faulty.post(Message(1, "stop", "{}", 5.0)) == 1
    assert [row.key for row in await faulty.wake(engine, 5.0)] == [1]
    assert [row.key for row in await faulty.admit(engine, 5.0, limit=1)] == [2]
    assert await faulty.admit(engine, 5.0, limit=1) == []
    assert faulty.commits == 6
    await faulty.wake(engine, 5.0, keys=[7])
    assert faulty.commits == 7


@pytest.mark.parametrize(("fault", "owner"), [("crash_before", None), ("crash_after", 1)])
async def test_a_crash_at_a_taking_happens_before_or_after_it(fault: str, owner: int | None) -> None:
    inner = MemoryStore()
    faulty = FaultyStore(inner, crash_before=3) if fault == "crash_before" else FaultyStore(inner, crash_after=3)
    engine = await faulty.register_engine(0, 30)
    await faulty.apply(engine, [*starts(engine, 1), Progress(1, parked=True, wake_at=9.0)])
    waking = asyncio.ensure_future(faulty.wake(engine, 9.0))
    await faulty.crashed.wait()

    row = await inner.execution("arn:1")
    assert row is not None
    assert row.owner == owner
    assert not waking.done()
    waking.cancel()
    await asyncio.wait([waking])
