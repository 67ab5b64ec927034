"""Attributes of executions: written with the start, read back, and found by, in every store."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from asfn.store.queries import statements
from asfn.store.records import ExecutionQuery
from asfn.store.sqlite import SqliteStore
from asfn.store.sqlite_executions import list_query
from asfn.store.sqlite_file import MIGRATIONS, SqliteFile
from tests.store.samples import execution_arn, progress, start

if TYPE_CHECKING:
    from pathlib import Path

    from asfn.store.protocol import Store
    from asfn.store.records import EngineRow


async def keys(store: Store, attributes: dict[str, str], **members: Any) -> list[int]:
    return [row.key for row in await store.executions(ExecutionQuery(attributes=attributes, **members))]


async def test_attributes_read_back_in_the_order_of_their_names(store: Store, engine: EngineRow) -> None:
    attributes = {"customer": "7", "größe": "", "q'\"": "ü\u2028;--"}
    await store.apply(engine, [start(1, engine, attributes=attributes), start(2, engine)])

    first = await store.execution(execution_arn("order-1"))
    second = await store.execution(execution_arn("order-2"))

    assert first is not None
    assert second is not None
    assert list(first.attributes.items()) == list(attributes.items())
    assert second.attributes == {}


async def test_executions_are_found_by_all_the_attributes_asked_for(store: Store, engine: EngineRow) -> None:
    both, other, none = {"a": "1", "b": "2"}, {"a": "1", "b": "3"}, {"a": "2"}
    commits = [start(key, engine, attributes=given) for key, given in enumerate([both, other, none, {}], 1)]
    await store.apply(engine, [*commits])

    assert await keys(store, {"a": "1"}) == [2, 1]
    assert await keys(store, {"a": "1", "b": "2"}) == [1]
    assert await keys(store, {"b": "2", "a": "1"}) == [1]
    assert await keys(store, {"a": "1", "c": ""}) == []
    assert await keys(store, {"1": "a"}) == []
    assert await keys(store, {}) == [4, 3, 2, 1]


async def test_attributes_go_together_with_the_other_conditions(store: Store, engine: EngineRow) -> None:
    found = {"a": "1"}
    await store.apply(
        engine,
        [
            *[start(key, engine, attributes=found) for key in (1, 2, 3)],
            start(4, engine, attributes=found, state_machine_arn="arn:other"),
            start(5, engine, attributes=found, status="FAILED"),
            start(6, engine, attributes={"a": "2"}),
        ],
    )

    machine = "arn:aws:states:us-east-1:123456789012:stateMachine:orders"
    assert await keys(store, found, status="RUNNING") == [4, 3, 2, 1]
    assert await keys(store, found, state_machine_arn=machine) == [5, 3, 2, 1]
    assert await keys(store, found, statuses=["FAILED", "ABORTED"]) == [5]
    assert await keys(store, found, name="order-2") == [2]
    assert await keys(store, found, limit=2) == [5, 4]
    assert await keys(store, found, limit=2, before=(4.0, 4)) == [3, 2]


async def test_pages_of_executions_started_at_one_moment_have_no_gap_and_nothing_twice(
    store: Store, engine: EngineRow
) -> None:
    await store.apply(engine, [start(key, engine, started_at=5.0, attributes={"a": "1"}) for key in range(1, 8)])

    seen: list[int] = []
    before: tuple[float, int] | None = None
    while page := await keys(store, {"a": "1"}, limit=3, before=before):
        seen += page
        before = (5.0, page[-1])

    assert seen == [7, 6, 5, 4, 3, 2, 1]


async def test_a_start_of_a_taken_arn_leaves_the_attributes_of_the_first(store: Store, engine: EngineRow) -> None:
    await store.apply(engine, [start(1, engine, name="x", attributes={"a": "1"})])

    [holder] = await store.apply(engine, [start(2, engine, name="x", attributes={"a": "2"})])

    assert holder is not None
    assert holder.attributes == {"a": "1"}
    assert await keys(store, {"a": "2"}) == []


async def test_attributes_stay_with_an_execution_that_goes_on_and_is_claimed(store: Store, engine: EngineRow) -> None:
    await store.apply(engine, [start(1, engine, attributes={"a": "1"}), progress(1, 1, 2)])
    await store.retire_engine(engine)

    other = await store.register_engine(10.0, 30.0)
    [row] = await store.claim(other, 10.0)

    assert row.attributes == {"a": "1"}
    assert await keys(store, {"a": "1"}) == [1]


@pytest.mark.parametrize(
    "query",
    [
        ExecutionQuery(attributes={"a": "1"}),
        ExecutionQuery(attributes={"a": "1", "b": "2"}, before=(1.0, 1)),
        ExecutionQuery(attributes={"a": "1"}, state_machine_arn="m", status="FAILED"),
        ExecutionQuery(attributes={"a": "1"}, statuses=["FAILED"], name="n"),
    ],
)
def test_a_list_by_attributes_is_read_in_order_from_their_own_index(query: ExecutionQuery) -> None:
    sql, parameters = list_query(query)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for script in MIGRATIONS:
            for statement in statements(script):
                connection.execute(statement)
        steps = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters)]

    assert steps[0].startswith("SEARCH a USING PRIMARY KEY (name=? AND value=?")
    assert "SEARCH x USING INTEGER PRIMARY KEY (rowid=?)" in steps
    assert not any("TEMP B-TREE" in step for step in steps)


async def test_a_file_of_version_1_keeps_its_executions_and_takes_attributes(path: Path) -> None:
    old = SqliteFile(path, migrations=MIGRATIONS[:1])
    await old.open()
    await old.write(
        "INSERT INTO executions (key, arn, name, state_machine_arn, digest, type, role_arn, status, started_at, "
        "redrive_count, input) VALUES (1, :arn, 'old', 'm', 'd', 'STANDARD', 'r', 'RUNNING', 1.0, 0, '{}')",
        {"arn": execution_arn("old")},
    )
    await old.close()

    store = SqliteStore(path)
    await store.open()
    try:
        engine = await store.register_engine(0.0, 30.0)
        await store.apply(engine, [start(2, engine, attributes={"a": "1"})])
        found = await store.execution(execution_arn("old"))
        assert found is not None
        assert found.attributes == {}
        assert await keys(store, {"a": "1"}) == [2]
        assert await keys(store, {}) == [2, 1]
    finally:
        await store.close()
