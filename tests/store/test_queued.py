"""The contract of `Ownership`, over every store: what is queued, and how many of a state machine may begin."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from msgspec import structs

from asfn.store.queries import load, named
from asfn.store.records import (
    Message,
    Progress,
    Redrive,
)
from asfn.store.sqlite import SqliteStore
from tests.store.samples import (
    MACHINE,
    OTHER,
    THIRD,
    final,
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
    from asfn.store.protocol import Store
    from asfn.store.records import EngineRow


async def test_a_queued_start_is_durable_and_left_alone_by_claims_and_wakes(store: Store, engine: EngineRow) -> None:
    wanted = queued(1, priority=3)
    assert await store.apply(engine, [wanted]) == [None]

    assert await read(store, 1) == wanted.row
    assert (await read(store, 1)).queued is True
    assert await store.claim(engine, 100.0) == []
    assert await store.wake(engine, 1e9) == []
    assert await store.apply(engine, [progress(1, 1, 1)]) == [None]
    assert await store.segments(1) == []
    assert (await store.queued_count(), await store.parked_count()) == (1, 0)


async def test_counts_go_no_further_than_they_are_asked_to(store: Store, engine: EngineRow) -> None:
    await park(store, engine, dict.fromkeys(range(1, 6), 9.0))
    await store.apply(engine, [queued(key) for key in range(6, 9)])

    for at_most, parked, waiting in ((None, 5, 3), (9, 5, 3), (2, 2, 2), (1, 1, 1), (0, 0, 0)):
        assert await store.parked_count(at_most=at_most) == parked
        assert await store.queued_count(at_most=at_most) == waiting


async def test_a_queued_execution_is_woken_at_its_deadline_whatever_a_limit_says(
    store: Store, engine: EngineRow
) -> None:
    await store.put_state_machine(machine_row(max_concurrent_executions=0))
    await store.apply(engine, [queued(1, wake_at=50.0), queued(2, wake_at=40.0), queued(3), queued(4, wake_at=60.0)])
    await park(store, engine, {5: 45.0})

    assert (await store.next_wake(), await store.parked_count(), await store.queued_count()) == (40.0, 1, 4)
    assert await read(store, 1) == row(1, queued=True, wake_at=50.0)
    assert keys(await store.wake(engine, 45.0)) == [2, 5]
    assert (await store.next_wake(), await store.parked_count(), await store.queued_count()) == (50.0, 0, 3)
    [late] = await store.wake(engine, 50.0)
    assert (late.key, late.owner, late.queued, late.wake_at) == (1, engine.id, False, None)
    await store.put_state_machine(machine_row())
    assert keys(await store.admit(engine, 50.0, limit=9)) == [3, 4]
    assert await store.next_wake() is None


async def test_a_message_does_not_let_a_queued_execution_begin(store: Store, engine: EngineRow) -> None:
    await store.apply(engine, [queued(1), queued(2, wake_at=50.0)])

    for key in (1, 2):
        assert await store.post(Message(key, "stop", "{}", 5.0)) is not None

    assert await store.wake(engine, 49.0) == []
    assert keys(await store.wake(engine, 49.0, keys=[1, 2])) == [1, 2]
    assert [item.execution for item in await store.messages(engine)] == [1, 2]


async def test_higher_priorities_are_admitted_first_and_then_the_oldest(store: Store, engine: EngineRow) -> None:
    await store.apply(
        engine,
        [
            queued(1, started_at=9.0),
            queued(2, started_at=5.0),
            queued(3, started_at=9.0, priority=2, state_machine_arn=OTHER),
            queued(4, started_at=7.0, state_machine_arn=OTHER),
            queued(5, started_at=5.0, priority=-1),
            queued(6, started_at=8.0, priority=2),
            queued(7, started_at=5.0, state_machine_arn=THIRD),
        ],
    )

    assert await store.admit(engine, 10.0, limit=0) == []
    first = await store.admit(engine, 10.0, limit=3)
    assert keys(first) == [6, 3, 2]
    assert first[0] == row(6, engine, started_at=8.0, priority=2) == await read(store, 6)
    assert keys(await store.admit(engine, 10.0, limit=100)) == [7, 4, 1, 5]
    assert await store.admit(engine, 10.0, limit=100) == []
    assert await store.queued_count() == 0


async def test_a_full_machine_hides_no_others(store: Store, engine: EngineRow) -> None:
    await store.put_state_machine(machine_row(max_concurrent_executions=2))
    await store.apply(engine, [queued(key, priority=5) for key in range(1, 40)])
    await store.apply(engine, [queued(50, state_machine_arn=OTHER), queued(51, state_machine_arn=THIRD)])

    assert keys(await store.admit(engine, 1.0, limit=3)) == [1, 2, 50]
    assert keys(await store.admit(engine, 1.0, limit=3)) == [51]
    assert await store.admit(engine, 1.0, limit=3) == []


async def test_whatever_has_begun_and_not_ended_counts_for_the_limit(store: Store, engine: EngineRow) -> None:
    other = await store.register_engine(0.0, 30.0)
    await store.put_state_machine(machine_row(max_concurrent_executions=4))
    await store.apply(engine, [start(1, engine), start(2, engine), start(3, engine), queued(4), queued(5), queued(6)])
    await store.apply(engine, [parking(1, math.inf), parking(2, None)])

    assert keys(await store.admit(other, 1.0, limit=9)) == [4]
    await store.apply(other, [progress(4, 1, 1, final=final())])
    await store.apply(engine, [progress(3, 1, 1, final=final("FAILED", None))])
    assert keys(await store.admit(other, 1.0, limit=1)) == [5]
    assert keys(await store.admit(engine, 1.0, limit=9)) == [6]
    await store.apply(engine, [queued(7)])
    assert await store.admit(engine, 1.0, limit=9) == []


async def test_a_limit_counts_what_had_begun_before_it_was_set(store: Store, engine: EngineRow) -> None:
    await store.put_state_machine(machine_row())
    await store.apply(engine, [start(1, engine), start(2, engine), queued(3), queued(4)])
    await store.put_state_machine(machine_row(max_concurrent_executions=3))
    assert await store.state_machine(MACHINE) == machine_row(max_concurrent_executions=3)

    assert keys(await store.admit(engine, 1.0, limit=9)) == [3]
    assert await store.admit(engine, 1.0, limit=9) == []
    await store.put_state_machine(machine_row(max_concurrent_executions=None))
    assert keys(await store.admit(engine, 1.0, limit=9)) == [4]


async def test_a_limit_below_what_runs_admits_nothing_and_one_of_zero_neither(store: Store, engine: EngineRow) -> None:
    await store.apply(engine, [start(1, engine), start(2, engine), queued(3)])
    for limit in (1, 2, 0):
        await store.put_state_machine(machine_row(max_concurrent_executions=limit))
        assert await store.admit(engine, 1.0, limit=9) == []
    await store.delete_state_machine(MACHINE)
    assert keys(await store.admit(engine, 1.0, limit=9)) == [3]


async def test_a_redriven_execution_counts_for_the_limit_again(store: Store, engine: EngineRow) -> None:
    await store.apply(engine, [start(1, engine), progress(1, 1, 1, final=final("FAILED", None))])
    await store.put_state_machine(machine_row(max_concurrent_executions=1))
    again = structs.replace(await read(store, 1), status="RUNNING", owner=engine.id, redrive_count=1, redriven_at=100.0)
    await store.apply(engine, [Redrive(again, Progress(1, segment(2, 2))), queued(2)])

    assert await store.admit(engine, 1.0, limit=1) == []
    await store.apply(engine, [progress(1, 3, 3, final=final())])
    assert keys(await store.admit(engine, 1.0, limit=1)) == [2]


async def test_an_end_and_a_redrive_in_one_group_count_once(store: Store, engine: EngineRow) -> None:
    await store.put_state_machine(machine_row(max_concurrent_executions=2))
    await store.apply(engine, [start(1, engine)])
    again = row(1, engine, redrive_count=1, redriven_at=100.0)
    failed = progress(1, 1, 1, final=final("FAILED", None))
    assert await store.apply(engine, [failed, Redrive(again, Progress(1, segment(2, 2))), queued(2), queued(3)])

    assert keys(await store.admit(engine, 1.0, limit=9)) == [2]
    await store.apply(engine, [progress(1, 3, 3, final=final())])
    assert keys(await store.admit(engine, 1.0, limit=9)) == [3]
    other = await store.register_engine(0.0, 30.0)
    assert keys(await store.claim(other, 1.0, dead=[engine.id])) == [2, 3]


async def test_two_engines_never_admit_one_execution_nor_more_than_the_limit(store: Store, engine: EngineRow) -> None:
    other = await store.register_engine(0.0, 30.0)
    await store.put_state_machine(machine_row(max_concurrent_executions=10))
    await store.apply(engine, [queued(key) for key in range(1, 31)])

    rounds = [store.admit(who, 1.0, limit=3) for _ in range(4) for who in (engine, other)]
    taken = [key for rows in await asyncio.gather(*rounds) for key in keys(rows)]

    assert sorted(taken) == list(range(1, 11))


async def test_a_limit_counts_however_many_had_begun(store: Store, engine: EngineRow) -> None:
    for first in (1, 1_001):
        await store.apply(engine, [start(key, engine) for key in range(first, first + 1_000)])
    await store.apply(engine, [start(key, engine) for key in range(2_001, 2_501)])
    await store.apply(engine, [queued(key) for key in range(3_000, 3_003)])
    await store.put_state_machine(machine_row(max_concurrent_executions=2_501))

    assert keys(await store.admit(engine, 1.0, limit=9)) == [3_000]


async def test_a_count_that_a_process_left_unfinished_is_finished_by_the_next_that_admits(sqlite: SqliteStore) -> None:
    engine = await sqlite.register_engine(0.0, 30.0)
    await sqlite.apply(engine, [start(1, engine), start(2, engine), queued(3), queued(4)])
    await sqlite.put_state_machine(machine_row(max_concurrent_executions=3))
    await sqlite._file.write("UPDATE executions SET limited = 0", {})
    await sqlite._file.write("UPDATE state_machines SET counted = 0", {})

    assert keys(await sqlite.admit(engine, 1.0, limit=9)) == [3]


async def test_a_machine_that_is_being_counted_admits_nothing(sqlite: SqliteStore) -> None:
    engine = await sqlite.register_engine(0.0, 30.0)
    await sqlite.put_state_machine(machine_row(max_concurrent_executions=3))
    await sqlite.apply(engine, [queued(1), queued(2, state_machine_arn=OTHER)])
    rooms = named(load("ownership.sql"))["select_rooms"]

    assert await sqlite._file.rows(rooms) == [(MACHINE, 3), (OTHER, -1)]
    await sqlite._file.write("UPDATE state_machines SET counted = 0", {})
    assert await sqlite._file.rows(rooms) == [(OTHER, -1)]


async def test_only_what_is_queued_can_be_paused_without_an_owner_and_it_keeps_its_place(
    store: Store, engine: EngineRow
) -> None:
    await store.apply(engine, [queued(1), queued(2), start(3, engine)])
    await park(store, engine, {4: 9.0})

    assert await store.pause_queued(1, True) is True
    for key in (3, 4, 99):
        assert await store.pause_queued(key, True) is False
    assert [(await read(store, key)).paused for key in (1, 2, 3, 4)] == [True, False, False, False]
    assert await store.pause_queued(2, True) is True
    assert await store.pause_queued(2, False) is True
    assert [(row.key, row.paused) for row in await store.admit(engine, 0.0, limit=9)] == [(1, True), (2, False)]
    assert await store.pause_queued(1, False) is False
