"""Purge and archives: what every store promises. Each test runs over all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from asfn._json import Payload
from asfn.store.records import ActivityTaskRow, Archive, ExecutionQuery, Taker, TokenChanges, TokenRow
from tests.store.samples import (
    LARGE_TEXT,
    MACHINE,
    execution_arn,
    final,
    frame,
    machine_row,
    progress,
    row,
    segment,
    start,
    texts,
)

if TYPE_CHECKING:
    from asfn.store.protocol import Store
    from asfn.store.records import EngineRow, ExecutionStatus

ACTIVITY = "arn:aws:states:us-east-1:123456789012:activity:pack"


async def finish(store: Store, engine: EngineRow, *keys: int, status: ExecutionStatus = "SUCCEEDED") -> None:
    """Executions that start at second `key` and end at 99.5, with a large payload each."""
    for key in keys:
        body = progress(key, 1, 2, frames=[frame("", LARGE_TEXT)])
        await store.apply(engine, [start(key, engine, attributes={"a": str(key)}), body])
        await store.apply(engine, [progress(key, 3, 3, final=final(status))])


async def names(store: Store) -> set[str]:
    return {execution.name for execution in await store.executions(ExecutionQuery())}


async def sweep_all(store: Store, limit: int) -> list[int]:
    """What each sweep deleted, until nothing is left."""
    counts = []
    while count := await store.sweep(limit):
        counts.append(count)
    return counts


# Purge


async def test_finished_executions_are_found_by_machine_and_status_oldest_first(
    store: Store, engine: EngineRow
) -> None:
    await finish(store, engine, 3, 1, 2)
    await finish(store, engine, 4, status="FAILED")
    await store.apply(engine, [start(5, engine), start(6, engine, state_machine_arn="other")])

    found = await store.finished(MACHINE, "SUCCEEDED", before=50.0)
    assert [(item.key, item.started_at, item.stopped_at) for item in found] == [
        (1, 1.0, 99.5), (2, 2.0, 99.5), (3, 3.0, 99.5)
    ]  # fmt: skip
    assert [item.key for item in await store.finished(MACHINE, "SUCCEEDED", before=3.0)] == [1, 2]
    assert [item.key for item in await store.finished(MACHINE, "SUCCEEDED", before=50.0, after=(1.0, 1))] == [2, 3]
    assert [item.key for item in await store.finished(MACHINE, "SUCCEEDED", before=50.0, limit=1)] == [1]
    assert [item.key for item in await store.finished(MACHINE, "FAILED", before=50.0)] == [4]
    assert await store.machines_of_executions() == sorted([MACHINE, "other"])


async def test_buried_executions_are_gone_at_once_and_their_names_are_free(store: Store, engine: EngineRow) -> None:
    await finish(store, engine, 1, 2)

    assert await store.bury([1, 77], 100.0) == 1

    assert await names(store) == {"order-2"}
    assert await store.execution(execution_arn("order-1")) is None
    assert await store.executions(ExecutionQuery(attributes={"a": "1"})) == []
    assert await store.apply(engine, [start(9, engine, name="order-1")]) == [None]


async def test_what_runs_or_ended_too_lately_is_not_buried(store: Store, engine: EngineRow) -> None:
    await finish(store, engine, 1)
    await store.apply(engine, [start(2, engine)])

    assert await store.bury([1, 2], 99.5) == 0
    assert await store.bury([1, 2], 99.6) == 1

    assert await names(store) == {"order-2"}


async def test_a_sweep_leaves_nothing_of_what_was_buried_and_everything_of_the_others(
    store: Store, engine: EngineRow
) -> None:
    await finish(store, engine, 1, 2)
    await store.bury([1], 100.0)

    counts = await sweep_all(store, 2)

    assert max(counts, default=0) <= 3  # the last one also counts the execution itself
    assert await store.sweep(100) == 0
    assert await store.segments(1) == []
    assert await store.frames(1) == []
    assert [item.last_id for item in await store.segments(2)] == [2, 3]
    [found] = await store.executions(ExecutionQuery(attributes={"a": "2"}))
    assert found.key == 2


async def test_tokens_and_queued_work_go_with_their_execution(store: Store, engine: EngineRow) -> None:
    changes = TokenChanges(
        opened=[TokenRow("t1", 1, "", 5.0), TokenRow("t2", 1, "", 5.0)],
        queued=[ActivityTaskRow("t1", ACTIVITY, 1, '{"w": 1}', 5.0)],
    )
    await store.apply(engine, [start(1, engine), start(2, engine), progress(1, 1, 1, tokens=changes)])
    other = TokenChanges(opened=[TokenRow("t3", 2, "", 5.0)], queued=[ActivityTaskRow("t3", ACTIVITY, 2, "{}", 6.0)])
    await store.apply(engine, [progress(2, 1, 1, tokens=other), progress(1, 2, 2, final=final())])

    await store.bury([1], 100.0)
    await sweep_all(store, 100)

    assert [token is None for token in await store.tokens(["t1", "t2", "t3"])] == [True, True, False]
    assert await store.waiting_activity_tasks([ACTIVITY]) == {ACTIVITY: 1}
    [taken] = await store.take_activity_tasks([Taker(ACTIVITY, None)], 7.0)
    assert taken is not None
    assert taken.token == "t3"


# Definitions


async def test_definitions_go_when_nobody_has_named_them_for_a_while(store: Store, engine: EngineRow) -> None:
    for digest in ("machine", "d1", "nobody"):
        await store.put_definition(digest, "{}")
    await store.put_state_machine(replace(machine_row(), digest="machine"))
    await finish(store, engine, 1)

    assert await store.forget_definitions(1_000.0, 60.0) == 0
    assert await store.forget_definitions(1_059.0, 60.0) == 0
    assert await store.forget_definitions(1_060.0, 60.0) == 1
    assert [await store.definition(digest) for digest in ("machine", "d1", "nobody")] == ["{}", "{}", None]

    await store.bury([1], 100.0)
    assert await store.forget_definitions(2_000.0, 60.0) == 0
    assert await store.forget_definitions(2_060.0, 60.0) == 1
    assert await store.definition("d1") is None


async def test_a_definition_that_is_put_again_or_used_again_stays(store: Store, engine: EngineRow) -> None:
    for digest in ("again", "used"):
        await store.put_definition(digest, "{}")
    assert await store.forget_definitions(1_000.0, 60.0) == 0
    await store.put_definition("again", "{}")
    await store.put_state_machine(replace(machine_row(), digest="used"))

    assert await store.forget_definitions(2_000.0, 60.0) == 0
    assert await store.forget_definitions(2_060.0, 60.0) == 1
    assert [await store.definition(digest) for digest in ("again", "used")] == [None, "{}"]

    await store.delete_state_machine(machine_row().arn)
    assert await store.forget_definitions(3_000.0, 60.0) == 0
    assert await store.definition("used") == "{}"


async def test_without_engines_unused_definitions_go_at_once(store: Store, engine: EngineRow) -> None:
    await store.put_definition("nobody", "{}")
    await store.retire_engine(engine)

    assert await store.forget_definitions(1.0, 3_600.0) == 1
    assert await store.definition("nobody") is None


# Archives


async def archived(store: Store, engine: EngineRow) -> Archive:
    """An unfinished execution with all that one may have."""
    await store.put_definition("d1", "{}")
    changes = TokenChanges(
        opened=[TokenRow("t1", 1, "", 5.0), TokenRow("t2", 1, "", 6.0)],
        queued=[ActivityTaskRow("t1", ACTIVITY, 1, '{"w": 1}', 5.0)],
    )
    commits = [
        start(1, engine, input=Payload.parse(LARGE_TEXT), attributes={"customer": "7"}),
        progress(1, 1, 2, frames=[frame("", LARGE_TEXT, "1.0"), frame("/0.0:P:1", "{}")], tokens=changes),
    ]
    await store.apply(engine, [*commits, start(2, engine)])
    await store.apply(engine, [replace(progress(1, 3, 3), segment=segment(3, 3, LARGE_TEXT, '{"a":  1}'))])
    archive = await store.archive(execution_arn("order-1"))
    assert archive is not None
    return archive


async def test_an_archive_holds_everything_of_one_execution(store: Store, engine: EngineRow) -> None:
    archive = await archived(store, engine)

    assert archive.row == row(1, engine, input=Payload.parse(LARGE_TEXT), attributes={"customer": "7"})
    assert archive.definition == "{}"
    assert [(item.first_id, item.last_id) for item in archive.segments] == [(1, 2), (3, 3)]
    assert texts(archive.segments[1].texts) == [LARGE_TEXT, '{"a":  1}']
    assert {item.path: texts(item.texts) for item in archive.frames} == {"": [LARGE_TEXT, "1.0"], "/0.0:P:1": ["{}"]}
    assert [token.token for token in archive.tokens] == ["t1", "t2"]
    assert archive.work == [ActivityTaskRow("t1", ACTIVITY, 1, '{"w": 1}', 5.0)]
    assert await store.archive(execution_arn("nobody")) is None


async def test_an_archive_is_restored_under_another_key_when_the_first_is_gone(store: Store, engine: EngineRow) -> None:
    archive = await archived(store, engine)
    assert await store.restore(archive) is False
    await store.apply(engine, [progress(1, 4, 4, final=final())])
    assert await store.restore(archive) is False
    await store.bury([1], 1_000.0)
    await sweep_all(store, 100)

    archive.row.key, archive.row.owner = 50, None
    archive.tokens = [replace(token, execution=50) for token in archive.tokens]
    archive.work = [replace(work, execution=50) for work in archive.work]
    assert await store.restore(archive) is True

    again = await store.archive(execution_arn("order-1"))
    assert again is not None
    assert again.row == archive.row
    assert [(item.first_id, item.last_id, item.body, texts(item.texts)) for item in again.segments] == [
        (item.first_id, item.last_id, item.body, texts(item.texts)) for item in archive.segments
    ]
    assert {item.path: (item.body, texts(item.texts)) for item in again.frames} == {
        item.path: (item.body, texts(item.texts)) for item in archive.frames
    }
    assert (again.tokens, again.work) == (archive.tokens, archive.work)
    assert [claimed.key for claimed in await store.claim(engine, 0.0)] == [50]
    assert await store.apply(engine, [progress(50, 4, 4, final=final())]) == [None]


async def test_an_archive_whose_token_is_there_is_not_restored(store: Store, engine: EngineRow) -> None:
    archive = await archived(store, engine)
    archive.row = replace(archive.row, key=50, arn=execution_arn("elsewhere"), name="elsewhere")

    assert await store.restore(archive) is False
    assert await store.execution(execution_arn("elsewhere")) is None


async def test_the_retention_of_a_state_machine_is_kept(store: Store) -> None:
    for retention_days in (None, 0.5, float("inf")):
        await store.put_state_machine(machine_row(retention_days=retention_days))
        assert await store.state_machine(machine_row().arn) == machine_row(retention_days=retention_days)
