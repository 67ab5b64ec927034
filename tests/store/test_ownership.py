"""The contract of `Ownership`, over every store: what is parked, what is queued, and who gets it."""

from __future__ import annotations

import asyncio
import math
import random
import sqlite3
from typing import TYPE_CHECKING

import pytest
from msgspec import structs

from asfn.errors import EngineFenced
from asfn.store.memory import MemoryStore
from asfn.store.records import (
    ActivityTaskRow,
    Message,
    Progress,
    Redrive,
    Settlement,
    Start,
    Taker,
    TokenChanges,
    TokenRow,
)
from asfn.store.sqlite import SqliteStore
from tests.store.samples import (
    MACHINE,
    OTHER,
    THIRD,
    final,
    frame,
    keys,
    machine_row,
    park,
    parking,
    progress,
    queued,
    read,
    row,
    segment,
    start,
)

if TYPE_CHECKING:
    from pathlib import Path

    from asfn.store.protocol import Store
    from asfn.store.records import EngineRow, ExecutionRow

# --- parked ----------------------------------------------------------------------------------------------------------


async def test_a_parked_execution_belongs_to_nobody_and_is_left_alone_by_claims(
    store: Store, engine: EngineRow
) -> None:
    await park(store, engine, {1: 50.0, 2: math.inf, 3: None})
    other = await store.register_engine(0.0, 30.0)

    assert [((await read(store, key)).owner, (await read(store, key)).wake_at) for key in (1, 2, 3)] == [
        (None, 50.0),
        (None, math.inf),
        (None, None),
    ]
    assert await store.parked_count() == 2
    assert keys(await store.claim(other, 1_000.0, dead=[engine.id])) == [3]
    assert await store.parked_count() == 2


@pytest.mark.parametrize("grouped", [False, True])
async def test_an_execution_may_be_parked_in_the_group_that_starts_it(
    store: Store, engine: EngineRow, grouped: bool
) -> None:
    commits = [start(1, engine), progress(1, 1, 2, frames=[frame("")], parked=True, wake_at=7.0)]
    for group in [commits] if grouped else [[commit] for commit in commits]:
        await store.apply(engine, group)

    assert (await store.next_wake(), await store.parked_count()) == (7.0, 1)
    assert [item.path for item in await store.frames(1)] == [""]


async def test_what_follows_a_park_in_its_group_writes_nothing(store: Store, engine: EngineRow) -> None:
    await store.apply(engine, [start(1, engine), parking(1, 7.0), progress(1, 1, 1)])

    assert await store.segments(1) == []


async def test_due_executions_are_woken_earliest_first(store: Store, engine: EngineRow) -> None:
    await park(store, engine, {1: 30.0, 2: 20.0, 3: 10.0, 4: 30.1, 5: math.inf, 6: 20.0})

    woken = await store.wake(engine, 30.0)

    assert keys(woken) == [3, 2, 6, 1]
    assert woken[0] == row(3, engine) == await read(store, 3)
    assert await store.wake(engine, 30.0) == []
    assert (await store.next_wake(), await store.parked_count()) == (30.1, 2)


async def test_a_wake_takes_no_more_than_its_limit(store: Store, engine: EngineRow) -> None:
    await park(store, engine, {1: 30.0, 2: 20.0, 3: 10.0})

    assert keys(await store.wake(engine, 50.0, limit=2)) == [3, 2]
    assert keys(await store.wake(engine, 50.0, limit=2)) == [1]


async def test_the_next_wake_is_infinite_when_only_answers_wake_and_none_when_nothing_is_parked(
    store: Store, engine: EngineRow
) -> None:
    assert await store.next_wake() is None
    await park(store, engine, {1: math.inf, 2: math.inf})
    assert await store.next_wake() == math.inf
    assert keys(await store.wake(engine, 1e300)) == []
    await park(store, engine, {3: 8.0})
    assert await store.next_wake() == 8.0
    await store.wake(engine, 8.0)
    assert await store.next_wake() == math.inf
    await store.wake(engine, 8.0, keys=[1, 2])
    assert await store.next_wake() is None


async def test_keys_are_woken_due_or_not_unless_somebody_has_them(store: Store, engine: EngineRow) -> None:
    other = await store.register_engine(0.0, 30.0)
    await park(store, engine, {5: 900.0, 4: math.inf, 3: None})
    await store.apply(engine, [start(1, engine), start(2, other), queued(6), start(7, engine)])
    await store.apply(engine, [progress(7, 1, 1, final=final())])

    woken = await store.wake(other, 0.0, keys=[7, 6, 5, 5, 4, 3, 2, 1, 99])

    assert keys(woken) == [3, 4, 5, 6]
    assert {(item.owner, item.wake_at, item.queued) for item in woken} == {(other.id, None, False)}
    assert await store.wake(engine, 0.0, keys=[3, 4, 5, 6]) == []
    assert await store.wake(engine, 0.0, keys=[]) == []
    assert (await store.parked_count(), await store.queued_count()) == (0, 0)


async def test_of_two_engines_one_gets_a_due_execution(store: Store, engine: EngineRow) -> None:
    other = await store.register_engine(0.0, 30.0)
    await park(store, engine, dict.fromkeys(range(1, 51), 5.0))

    rounds = [store.wake(who, 6.0, limit=7) for _ in range(8) for who in (engine, other)]
    taken = [key for rows in await asyncio.gather(*rounds) for key in keys(rows)]

    assert sorted(taken) == list(range(1, 51))


async def test_an_execution_may_be_parked_again_and_again(store: Store, engine: EngineRow) -> None:
    await park(store, engine, {1: 50.0, 2: 60.0})
    for wake_at in (50.0, 10.0, math.inf, 50.0, 70.0, 50.0, 80.0):
        assert keys(await store.wake(engine, 0.0, keys=[1])) == [1]
        await store.apply(engine, [parking(1, wake_at)])

    assert await store.next_wake() == 60.0
    assert keys(await store.wake(engine, 79.0)) == [2]
    assert keys(await store.wake(engine, 80.0)) == [1]


async def test_a_woken_execution_goes_on_and_ends(store: Store, engine: EngineRow) -> None:
    await park(store, engine, {1: 5.0})
    await store.wake(engine, 5.0)
    await store.apply(engine, [progress(1, 1, 2), progress(1, 3, 3, final=final("FAILED", None))])

    assert (await read(store, 1)).status == "FAILED"
    assert await store.wake(engine, 50.0, keys=[1]) == []
    again = structs.replace(await read(store, 1), status="RUNNING", owner=engine.id, redrive_count=1, redriven_at=100.0)
    assert await store.apply(engine, [Redrive(again, Progress(1, segment(4, 4)))]) == [None]
    await store.apply(engine, [parking(1, 200.0)])
    assert await store.next_wake() == 200.0


async def test_retiring_sets_free_what_is_owned_and_leaves_what_is_parked_or_queued(
    store: Store, engine: EngineRow
) -> None:
    await park(store, engine, {1: 50.0})
    await store.apply(engine, [queued(2), start(3, engine)])
    await store.retire_engine(engine)
    other = await store.register_engine(0.0, 30.0)

    assert (await store.parked_count(), await store.queued_count()) == (1, 1)
    assert keys(await store.claim(other, 1.0)) == [3]
    assert keys(await store.wake(other, 50.0)) == [1]
    assert keys(await store.admit(other, 50.0, limit=9)) == [2]


async def test_a_fenced_engine_wakes_and_admits_nothing(store: Store, engine: EngineRow) -> None:
    await park(store, engine, {1: 5.0})
    await store.apply(engine, [queued(2)])
    other = await store.register_engine(0.0, 1_000.0)
    await store.claim(other, 6.0, dead=[engine.id])

    for taking in (
        store.wake(engine, 6.0),
        store.wake(engine, 6.0, keys=[1]),
        store.admit(engine, 6.0, limit=1),
        store.claim(engine, 6.0),
    ):
        with pytest.raises(EngineFenced):
            await taking
    assert keys(await store.wake(other, 6.0)) == [1]
    assert keys(await store.admit(other, 6.0, limit=1)) == [2]


async def test_a_claim_takes_no_more_than_its_limit_and_the_next_ones_the_rest(store: Store, engine: EngineRow) -> None:
    await store.apply(engine, [start(key, engine) for key in range(1, 8)])
    await store.apply(engine, [start(key) for key in range(8, 11)])
    other = await store.register_engine(0.0, 1_000.0)

    batches = [keys(await store.claim(other, 1.0, dead=[engine.id], limit=4)) for _ in range(4)]

    assert list(map(len, batches)) == [4, 4, 2, 0]
    assert sorted(key for batch in batches for key in batch) == list(range(1, 11))
    assert all(batch == sorted(batch) for batch in batches)


# --- the bell --------------------------------------------------------------------------------------------------------


def opening(*tokens: str, work: bool = False, key: int = 1) -> Progress:
    opened = [TokenRow(token, key, "", 1.0) for token in tokens]
    tasks = [ActivityTaskRow(token, "arn:activity", key, "{}", 1.0) for token in tokens] if work else []
    return Progress(key, tokens=TokenChanges(opened=opened, queued=tasks))


def answer(token: str, at: float) -> Settlement:
    return Settlement(token, "completed", '["success","1"]', at)


@pytest.mark.parametrize(("at", "wake_at"), [(40.0, 40.0), (60.0, 50.0)])
async def test_an_answer_makes_a_parked_execution_due(
    store: Store, engine: EngineRow, at: float, wake_at: float
) -> None:
    await store.apply(engine, [start(key, engine) for key in (1, 2, 3)])
    await store.apply(engine, [opening("a"), opening("b", key=2), opening("c", key=3)])
    await store.apply(engine, [parking(1, 50.0), parking(2, math.inf)])

    await store.settle_tokens([answer("a", at), answer("b", at), answer("c", at)])

    assert [(await read(store, key)).wake_at for key in (1, 2, 3)] == [wake_at, at, None]
    assert keys(await store.wake(engine, 60.0)) == [1, 2]

    assert (await read(store, 3)).owner == engine.id


async def test_the_earliest_of_several_answers_is_when_it_is_due(store: Store, engine: EngineRow) -> None:
    await store.apply(engine, [start(1, engine), opening("a", "b", "c")])
    await store.apply(engine, [parking(1, math.inf)])

    await store.settle_tokens([answer("a", 9.0), answer("b", 7.0), answer("x", 1.0), answer("a", 2.0)])
    assert await store.next_wake() == 7.0
    await store.settle_tokens([answer("c", 8.0)])
    assert await store.next_wake() == 7.0


async def test_a_beaten_timeout_wakes_nobody(store: Store, engine: EngineRow) -> None:
    await store.apply(engine, [start(1, engine), opening("a")])
    await store.beat_tokens(["a"], 6.0)
    await store.apply(engine, [parking(1, 50.0)])

    await store.settle_tokens([Settlement("a", "timed_out", "[]", 9.0, unless_beat_after=5.0)])

    assert await store.next_wake() == 50.0


async def test_a_worker_that_takes_the_work_makes_its_execution_due(store: Store, engine: EngineRow) -> None:
    await store.apply(engine, [start(1, engine), opening("a", work=True), parking(1, math.inf)])

    assert await store.take_activity_tasks([Taker("arn:activity", "w")] * 2, 30.0) != [None, None]

    assert await store.next_wake() == 30.0


@pytest.mark.parametrize("news", ["outcome", "taken", "message"])
async def test_an_execution_that_is_parked_after_the_news_is_due_at_once(
    store: Store, engine: EngineRow, news: str
) -> None:
    await store.apply(engine, [start(1, engine), opening("a", work=True), start(2, engine)])
    if news == "outcome":
        await store.settle_tokens([answer("a", 30.0)])
    elif news == "taken":
        await store.take_activity_tasks([Taker("arn:activity", "w")], 30.0)
    else:
        await store.post(Message(1, "stop", "{}", 30.0))

    await store.apply(engine, [parking(1, 50.0), parking(2, 40.0)])

    assert [(await read(store, key)).wake_at for key in (1, 2)] == [0.0, 40.0]
    assert keys(await store.wake(engine, 30.0)) == [1]


@pytest.mark.parametrize("together", [False, True])
async def test_news_that_the_execution_has_taken_do_not_keep_it_awake(
    store: Store, engine: EngineRow, together: bool
) -> None:
    await store.apply(engine, [start(1, engine), opening("a", "b", work=True)])
    await store.settle_tokens([answer("a", 30.0)])
    await store.take_activity_tasks([Taker("arn:activity", "w")] * 2, 30.0)
    taken = TokenChanges(noted=["b"], closed=[("a", 31.0)])

    if together:
        await store.apply(engine, [Progress(1, tokens=taken, parked=True, wake_at=50.0)])
    else:
        await store.apply(engine, [Progress(1, tokens=taken)])
        await store.apply(engine, [parking(1, 50.0)])

    assert await store.next_wake() == 50.0


# --- together --------------------------------------------------------------------------------------------------------


async def test_two_connections_to_one_file_share_what_is_due_and_what_is_queued(
    sqlite: SqliteStore, path: Path
) -> None:
    second = SqliteStore(path)
    await second.open()
    try:
        stores = (sqlite, second)
        engines = [await each.register_engine(0.0, 1e9) for each in stores]
        await sqlite.put_state_machine(machine_row(max_concurrent_executions=70))
        await park(sqlite, engines[0], dict.fromkeys(range(1, 41), 5.0))
        await second.apply(engines[1], [queued(key) for key in range(41, 91)])

        async def take(place: int) -> list[int]:
            mine: list[int] = []
            for _ in range(12):
                mine += keys(await stores[place].wake(engines[place], 6.0, limit=2))
                mine += keys(await stores[place].admit(engines[place], 6.0, limit=3))
            return mine

        taken = await asyncio.gather(take(0), take(1))
    finally:
        await second.close()

    assert sorted(taken[0] + taken[1]) == list(range(1, 71))
    for place, mine in enumerate(taken):
        assert {(await read(sqlite, key)).owner for key in mine} == {engines[place].id}


@pytest.mark.parametrize("seed", range(3))
async def test_both_stores_do_the_same_whatever_happens(sqlite: SqliteStore, seed: int) -> None:
    rng = random.Random(seed)
    stores = [MemoryStore(), sqlite]
    engines = []
    for each in stores:
        await each.put_state_machine(machine_row(max_concurrent_executions=5))
        engines.append([await each.register_engine(0.0, 1e9) for _ in range(2)])
    owned: dict[int, set[int]] = {0: set(), 1: set()}
    last_ids: dict[int, int] = {}
    machines = [MACHINE, OTHER, THIRD]

    async def both(call: str, who: int, *arguments: object, **options: object) -> list[ExecutionRow]:
        answers = [
            await getattr(each, call)(engines[place][who], *arguments, **options) for place, each in enumerate(stores)
        ]
        assert answers[0] == answers[1]
        owned[who] |= set(keys(answers[0]))
        return answers[0]

    for key in range(1, 150):
        who = rng.randrange(2)
        member = {"state_machine_arn": rng.choice(machines), "priority": rng.randrange(3)}
        begun = rng.random() < 0.3
        owner = engines[0][who] if begun else None
        deadline = None if begun else rng.choice([None, key + 30.0])
        commits: list[object] = [Start(row(key, owner, queued=not begun, wake_at=deadline, **member))]
        if begun:
            owned[who].add(key)
        for mine in rng.sample(sorted(owned[who]), min(len(owned[who]), 3)):
            owned[who].discard(mine)
            if rng.random() < 0.5:
                wake_at = rng.choice([math.inf, 0.0, float(rng.randrange(300)), None])
                commits.append(parking(mine, wake_at))
            else:
                last_ids[mine] = last_ids.get(mine, 0) + 1
                commits.append(Progress(mine, segment(last_ids[mine], last_ids[mine]), final=final()))
        for place, each in enumerate(stores):
            await each.apply(engines[place][who], commits)  # type: ignore[arg-type]
        await both("wake", who, float(key), limit=rng.randrange(1, 4))
        await both("admit", who, float(key), limit=rng.randrange(4))
        if rng.random() < 0.2:
            await both("claim", who, float(key), limit=100)
        if rng.random() < 0.2:
            await both("wake", who, float(key), keys=rng.sample(range(1, key + 1), min(key, 4)))
        for count in ("parked_count", "queued_count", "next_wake"):
            assert await getattr(stores[0], count)() == await getattr(stores[1], count)()


async def test_an_execution_whose_input_is_damaged_does_not_hold_up_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "flows.db"
    store = SqliteStore(path)
    await store.open()
    try:
        engine = await store.register_engine(0.0, 30.0)
        await park(store, engine, {1: 50.0, 2: 51.0, 3: 52.0})
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE executions SET input = '{\"half' WHERE key = 2")
        connection.close()
        assert keys(await store.wake(engine, 60.0)) == [1, 3]
        assert (await read(store, 1)).owner == engine.id
    finally:
        await store.close()
    assert "is damaged" in caplog.text
