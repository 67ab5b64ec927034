"""The contract of `Messages`, over every store."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from msgspec.structs import replace

from asfn.store.records import Message, Progress
from tests.store.samples import execution_arn, final, progress, start

if TYPE_CHECKING:
    from asfn.store.protocol import Store
    from asfn.store.records import EngineRow
    from asfn.store.sqlite import SqliteStore

STOP = Message(1, "stop", '{"error": "ü"}', 5.0)


async def test_a_posted_message_is_read_by_the_owner_until_it_is_dropped(store: Store, engine: EngineRow) -> None:
    other = await store.register_engine(0.0, 30.0)
    await store.apply(engine, [start(1, engine), start(2, engine), start(3, engine)])

    first = await store.post(STOP)
    second = await store.post(Message(2, "pause", "null", 4.0))
    third = await store.post(Message(1, "resume", "null", 6.0))

    assert first is not None
    assert second is not None
    assert third is not None
    assert await store.message(first) == replace(STOP, id=first)
    assert await store.messages(other) == []
    assert [(item.id, item.kind, item.execution) for item in await store.messages(engine)] == [
        (first, "stop", 1),
        (second, "pause", 2),
        (third, "resume", 1),
    ]
    await store.drop_messages([first, third, first, 99])
    assert await store.message(first) is None
    assert [item.id for item in await store.messages(engine)] == [second]


async def test_what_has_ended_or_never_was_gets_no_message(store: Store, engine: EngineRow) -> None:
    await store.apply(engine, [start(1, engine), progress(1, 1, 1, final=final())])

    assert await store.post(STOP) is None
    assert await store.post(replace(STOP, execution=99)) is None
    assert await store.messages(engine) == []


async def test_ids_are_never_given_twice(store: Store, engine: EngineRow) -> None:
    await store.apply(engine, [start(1, engine)])
    first = await store.post(STOP)
    assert first is not None
    await store.drop_messages([first])

    second = await store.post(STOP)

    assert second is not None
    assert second > first
    assert await store.message(first) is None


async def test_a_message_makes_a_parked_execution_due_and_follows_it(store: Store, engine: EngineRow) -> None:
    other = await store.register_engine(0.0, 30.0)
    await store.apply(engine, [start(1, engine), start(2, engine)])
    await store.apply(engine, [Progress(key, parked=True, wake_at=math.inf) for key in (1, 2)])

    await store.post(STOP)

    assert await store.next_wake() == 5.0
    assert await store.messages(engine) == []
    assert [item.key for item in await store.wake(other, 5.0)] == [1]
    assert [item.kind for item in await store.messages(other)] == ["stop"]


async def test_the_end_of_an_execution_takes_its_messages_along(store: Store, engine: EngineRow) -> None:
    await store.apply(engine, [start(1, engine), start(2, engine)])
    gone = await store.post(STOP)
    kept = await store.post(replace(STOP, execution=2))
    assert gone is not None
    assert kept is not None

    await store.apply(engine, [progress(1, 1, 1, final=final("ABORTED", None))])

    assert await store.message(gone) is None
    assert await store.message(kept) is not None
    assert [item.id for item in await store.messages(engine)] == [kept]


async def test_an_archive_brings_messages_and_a_place_in_the_queue_along(store: Store, engine: EngineRow) -> None:
    await store.put_definition("d1", "{}")
    await store.apply(engine, [start(1, queued=True, priority=7)])
    await store.post(STOP)
    await store.post(replace(STOP, kind="pause"))

    archive = await store.archive(execution_arn("order-1"))
    assert archive is not None
    assert [(item.kind, item.body, item.at) for item in archive.messages] == [
        ("stop", STOP.body, 5.0),
        ("pause", STOP.body, 5.0),
    ]
    archive.row.key, archive.row.arn = 2, execution_arn("copy")
    archive.messages = [replace(item, execution=2) for item in archive.messages]
    assert await store.restore(archive) is True

    copied = await store.execution(execution_arn("copy"))
    assert copied is not None
    assert (copied.queued, copied.priority) == (True, 7)
    assert [item.key for item in await store.admit(engine, 9.0, limit=1)] == [1]
    [again] = await store.wake(engine, 9.0, keys=[2])
    assert [(item.kind, item.execution) for item in await store.messages(engine)] == [
        ("stop", 1),
        ("pause", 1),
        ("stop", again.key),
        ("pause", again.key),
    ]


async def test_a_purge_leaves_no_message(coded: SqliteStore) -> None:
    engine = await coded.register_engine(0.0, 30.0)
    await coded.apply(engine, [start(1, engine)])
    await coded.post(STOP)
    await coded._file.write("UPDATE executions SET status = 'FAILED', stopped_at = 2.0", {})
    await coded.bury([1], 1_000.0)
    while await coded.sweep(100):
        pass

    assert await coded._file.rows("SELECT count(*) FROM inbox") == [(0,)]


async def test_a_body_is_written_through_the_codec(coded: SqliteStore) -> None:
    engine = await coded.register_engine(0.0, 30.0)
    await coded.apply(engine, [start(1, engine)])
    await coded.post(replace(STOP, body='"secret"'))

    [(body,)] = await coded._file.rows("SELECT body FROM inbox")
    assert "secret" not in body
    assert [item.body for item in await coded.messages(engine)] == ['"secret"']
