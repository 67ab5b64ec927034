"""Files that an older asfn wrote: they keep all they have, and what is new works in them."""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest_asyncio
from msgspec.structs import replace

from asfn.store.doctor import examine
from asfn.store.records import Message, Progress
from asfn.store.sqlite import SqliteStore
from asfn.store.sqlite_file import MIGRATIONS, SqliteFile
from tests.store.samples import MACHINE, execution_arn, final, machine_row, progress, start

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from asfn.store.records import ExecutionRow

INSERT = (
    "INSERT INTO executions (key, arn, name, state_machine_arn, digest, type, role_arn, status, started_at, stopped_at,"
    " redrive_count, input, owner, wake_at, paused) VALUES (?, ?, ?, ?, 'd1', 'STANDARD', 'role', ?, ?, ?, 0, '{}', ?,"
    " ?, 0)"
)
STORED = {"role_arn": "role", "created_at": 1.0, "updated_at": 2.0}


def execution(key: int, status: str, owner: int | None, wake_at: float | None) -> tuple[object, ...]:
    stopped_at = None if status == "RUNNING" else 90.0
    arn = execution_arn(f"order-{key}")
    return (key, arn, f"order-{key}", MACHINE, status, float(key), stopped_at, owner, wake_at)


@pytest_asyncio.fixture
async def file_of_version_2(path: Path) -> None:
    """Executions: 1 of a dead engine, 2 of a living one, 3 of nobody, 4 waiting for a date, 5 failed."""
    old = SqliteFile(path, migrations=MIGRATIONS[:2])
    await old.open()
    await old.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("INSERT INTO definitions VALUES ('d1', '{}')")
        connection.execute(
            "INSERT INTO state_machines VALUES (?, 'orders', 'STANDARD', 'd1', 'role', 1, 2, NULL, 9)", (MACHINE,)
        )
        connection.execute("INSERT INTO engines VALUES (1, 1, 50, 0), (2, 1, 5000, 0)")
        for row in (
            execution(1, "RUNNING", 1, None),
            execution(2, "RUNNING", 2, None),
            execution(3, "RUNNING", None, None),
            execution(4, "RUNNING", None, 300.0),
            execution(5, "FAILED", None, None),
        ):
            connection.execute(INSERT, row)
        connection.execute("INSERT INTO segments VALUES (5, 1, 2, '[1,2]', NULL)")
        connection.execute("INSERT INTO attributes VALUES ('customer', '7', 5, 5)")


@pytest_asyncio.fixture
async def brought_forward(path: Path, file_of_version_2: None) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path)
    await store.open()
    yield store
    await store.close()


async def test_a_file_of_version_2_keeps_what_it_has(brought_forward: SqliteStore, path: Path) -> None:
    store = brought_forward

    assert await store.state_machine(MACHINE) == replace(machine_row(retention_days=9.0), **STORED)
    found = await store.execution(execution_arn("order-5"))
    assert found is not None
    assert (found.status, found.attributes, found.queued, found.priority) == ("FAILED", {"customer": "7"}, False, 0)
    assert [item.last_id for item in await store.segments(5)] == [2]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def keys(rows: list[ExecutionRow]) -> list[int]:
    return [row.key for row in rows]


async def test_executions_of_a_file_of_version_2_are_claimed_woken_and_limited(brought_forward: SqliteStore) -> None:
    store = brought_forward
    engine = await store.register_engine(100.0, 1e6)

    assert keys(await store.claim(engine, 100.0)) == [1, 3]
    assert (await store.next_wake(), await store.parked_count()) == (300.0, 1)
    machine = await store.state_machine(MACHINE)
    assert machine is not None
    machine.max_concurrent_executions = 4
    await store.put_state_machine(machine)
    await store.apply(engine, [start(9, queued=True)])
    assert await store.admit(engine, 100.0, limit=9) == []
    assert keys(await store.wake(engine, 300.0)) == [4]
    assert await store.admit(engine, 300.0, limit=9) == []
    await store.apply(engine, [progress(4, 1, 1, final=final())])
    assert keys(await store.admit(engine, 300.0, limit=9)) == [9]
    await store.apply(engine, [Progress(9, parked=True, wake_at=math.inf)])
    assert await store.post(Message(9, "stop", "{}", 400.0)) == 1
    assert await store.next_wake() == 400.0


async def test_the_doctor_finds_nothing_new_in_a_file_that_was_brought_forward(
    brought_forward: SqliteStore, path: Path
) -> None:
    report = examine(str(path), has_died=lambda *_: False)

    assert report.current
    assert {finding.kind for finding in report.findings} == {"definition"}  # its digest is a made-up one
