"""Real files: opening, refusing, migrating, errors of the disk, and what is in the file afterwards."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from asfn._json import Payload
from asfn.errors import EngineFenced, StoreError
from asfn.store.records import ExecutionQuery, Progress, Segment
from asfn.store.sqlite import SqliteStore
from asfn.store.sqlite_file import APPLICATION_ID, MIGRATIONS, SqliteFile
from asfn.testing.loop import VirtualClock, run
from tests.store.samples import LARGE_TEXT, MACHINE, execution_arn, final, frame, machine_row, progress, row, start

if TYPE_CHECKING:
    from pathlib import Path

    from asfn.store.records import Commit


def query(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """Ask the file with a connection of its own."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def content(path: Path) -> bytes:
    return path.read_bytes()


def write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


async def refused(path: Path) -> str:
    """The text with which a store refuses to open the file, which must be unchanged afterwards."""
    before = content(path)
    store = SqliteStore(path)
    try:
        with pytest.raises(StoreError) as caught:
            await store.open()
    finally:
        await store.close()
    assert content(path) == before
    assert str(path) in str(caught.value)
    return str(caught.value)


# Opening and closing


async def test_a_new_file_has_the_whole_schema_its_version_and_its_application(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    await store.close()

    tables = {name for (name,) in query(path, "SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert tables >= {
        *("engines", "definitions", "state_machines", "executions", "frames", "segments", "payloads"),
        *("tokens", "inbox", "activities", "activity_tasks"),
    }
    assert query(path, "PRAGMA user_version") == [(len(MIGRATIONS),)]
    assert query(path, "PRAGMA application_id") == [(APPLICATION_ID,)]
    assert query(path, "PRAGMA journal_mode") == [("wal",)]


async def test_commits_are_flushed_to_the_disk(sqlite: SqliteStore) -> None:
    full = 2
    assert await sqlite._file.write("PRAGMA synchronous", {}) == [(full,)]


async def test_everything_is_there_after_closing_and_opening_again(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    engine = await store.register_engine(0.0, 30.0)
    await store.put_definition("d1", "{}")
    await store.put_state_machine(machine_row())
    await store.apply(engine, [start(1, engine), progress(1, 1, 2, frames=[frame("", LARGE_TEXT)])])
    await store.close()
    await store.close()

    await store.open()

    assert await store.execution(execution_arn("order-1")) == row(1, engine)
    assert [item.path for item in await store.frames(1)] == [""]
    assert [item.last_id for item in await store.segments(1)] == [2]
    assert await store.definition("d1") == "{}"
    assert await store.state_machines() == [machine_row()]
    assert (await store.register_engine(1.0, 30.0)).id > engine.id
    await store.close()


async def test_opening_an_open_store_changes_nothing(sqlite: SqliteStore) -> None:
    engine = await sqlite.register_engine(0.0, 30.0)
    await sqlite.open()
    assert await sqlite.apply(engine, [start(1, engine)]) == [None]


async def test_a_store_that_is_not_open_says_so(path: Path) -> None:
    store = SqliteStore(path)
    with pytest.raises(StoreError, match="is not open: open the store first"):
        await store.register_engine(0.0, 30.0)
    with pytest.raises(StoreError, match="is not open"):
        await store.executions(ExecutionQuery())


def test_a_store_may_be_opened_on_one_loop_after_another(path: Path) -> None:
    store = SqliteStore(path)

    async def use() -> int:
        await store.open()
        engines = await asyncio.gather(*(store.register_engine(0.0, 30.0) for _ in range(5)))
        await store.close()
        return len({engine.id for engine in engines})

    assert [asyncio.run(use()), asyncio.run(use())] == [5, 5]


async def test_many_stores_may_open_a_new_file_at_once(path: Path) -> None:
    stores = [SqliteStore(path) for _ in range(6)]

    await asyncio.gather(*(store.open() for store in stores))
    engines = await asyncio.gather(*(store.register_engine(0.0, 30.0) for store in stores))
    await asyncio.gather(*(store.close() for store in stores))

    assert len({engine.id for engine in engines}) == 6
    assert query(path, "PRAGMA integrity_check") == [("ok",)]


# Refusing


@pytest.mark.parametrize("garbage", [b"no database\n" * 500, b"x", b"SQLite format 3\0 not really"])
async def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(path: Path, garbage: bytes) -> None:
    write(path, garbage)

    assert "is not an SQLite database: give another path" in await refused(path)


@pytest.mark.parametrize("script", ["CREATE TABLE mine (a)", "PRAGMA application_id = 42", "PRAGMA user_version = 1"])
async def test_a_database_of_another_application_is_refused_and_left_as_it_is(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)

    assert "database of another application" in await refused(path)


async def test_a_file_of_a_newer_version_is_refused_and_left_as_it_is(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    await store.close()
    query(path, f"PRAGMA user_version = {len(MIGRATIONS) + 1}")

    text = await refused(path)

    assert f"written by a newer asfn (schema {len(MIGRATIONS) + 1}" in text
    assert "upgrade asfn" in text


async def test_an_empty_file_is_a_new_database(path: Path) -> None:
    write(path, b"")
    store = SqliteStore(path)
    await store.open()
    assert await store.state_machines() == []
    await store.close()


async def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "missing" / "flows.db")
    with pytest.raises(StoreError, match=r"missing/flows\.db cannot be opened: its folder must exist") as caught:
        await store.open()
    assert isinstance(caught.value.__cause__, sqlite3.OperationalError)


async def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        await SqliteStore(tmp_path).open()


@pytest.mark.parametrize("path", ["", ":memory:"])
async def test_the_memory_of_sqlite_is_refused(path: str) -> None:
    with pytest.raises(StoreError, match="use memory:// instead"):
        await SqliteStore(path).open()


# Migrations


GOOD = "-- adds; a table\nCREATE TABLE added (a);\nINSERT INTO added VALUES (1);\n"
BROKEN = "CREATE TABLE half (a);\nINSERT INTO nowhere VALUES (1);\n"


@pytest.mark.parametrize("existing", [True, False])
async def test_an_older_file_is_brought_to_the_current_version(path: Path, existing: bool) -> None:
    if existing:
        old = SqliteStore(path)
        await old.open()
        await old.put_definition("d1", "kept")
        await old.close()

    file = SqliteFile(path, migrations=[*MIGRATIONS, GOOD])
    await file.open()
    await file.close()

    assert query(path, "PRAGMA user_version") == [(len(MIGRATIONS) + 1,)]
    assert query(path, "SELECT a FROM added") == [(1,)]
    assert query(path, "SELECT text FROM definitions") == ([("kept",)] if existing else [])


async def test_a_migration_that_fails_leaves_the_file_at_its_version(path: Path) -> None:
    old = SqliteStore(path)
    await old.open()
    await old.put_definition("d1", "kept")
    await old.close()

    with pytest.raises(StoreError, match="nowhere"):
        await SqliteFile(path, migrations=[*MIGRATIONS, GOOD, BROKEN]).open()

    assert query(path, "PRAGMA user_version") == [(len(MIGRATIONS),)]
    assert query(path, "SELECT name FROM sqlite_master WHERE name IN ('added', 'half')") == []
    assert query(path, "SELECT text FROM definitions") == [("kept",)]


# Large payloads


async def test_a_large_payload_is_in_the_file_once_however_many_hold_it(sqlite: SqliteStore, path: Path) -> None:
    engine = await sqlite.register_engine(0.0, 30.0)
    await sqlite.apply(engine, [start(1, engine, input=Payload.parse(LARGE_TEXT)), start(2, engine)])
    for first_id in (1, 2):
        texts = [Payload.parse(LARGE_TEXT), Payload.parse(LARGE_TEXT)]
        await sqlite.apply(engine, [Progress(1, Segment(first_id, first_id, "[]", texts), [frame("", LARGE_TEXT)])])
    await sqlite.apply(engine, [progress(1, 3, 3, final=final(output=LARGE_TEXT))])

    digest = Payload.parse(LARGE_TEXT).digest
    assert query(path, "SELECT execution, digest, text FROM payloads") == [(1, digest, LARGE_TEXT)]
    assert query(path, "SELECT max(length(texts)) FROM segments") < [(200,)]
    assert query(path, "SELECT input, input_digest, output, output_digest FROM executions WHERE key = 1") == [
        (None, digest, None, digest)
    ]


async def test_a_lost_payload_is_reported_as_damage(sqlite: SqliteStore) -> None:
    engine = await sqlite.register_engine(0.0, 30.0)
    large = Payload.parse(LARGE_TEXT)
    await sqlite.apply(engine, [start(1, engine, input=large), Progress(1, Segment(1, 1, "[]", [large]))])
    await sqlite._file.write("DELETE FROM payloads", {})

    for reading in (sqlite.segments(1), sqlite.execution(execution_arn("order-1"))):
        with pytest.raises(StoreError, match=r"flows\.db is damaged: a payload .* is missing"):
            await reading


# What the disk refuses


async def test_a_full_disk_refuses_the_group_and_serves_again_when_freed(sqlite: SqliteStore) -> None:
    engine = await sqlite.register_engine(0.0, 30.0)
    await sqlite.apply(engine, [start(1, engine)])
    [(pages,)] = await sqlite._file.write("PRAGMA page_count", {})
    await sqlite._file.write(f"PRAGMA max_page_count = {pages}", {})

    huge = Payload("x" * 200_000)
    commits: list[Commit] = [start(2, engine), Progress(1, Segment(1, 1, "[]", [huge]), final=final())]
    with pytest.raises(StoreError, match=r"the disk of .*flows\.db is full: free some space") as caught:
        await sqlite.apply(engine, commits)
    assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
    assert await sqlite.execution(execution_arn("order-2")) is None
    assert await sqlite.execution(execution_arn("order-1")) == row(1, engine)

    await sqlite._file.write("PRAGMA max_page_count = 1000000", {})
    assert await sqlite.apply(engine, commits) == [None, None]
    assert len(await sqlite.segments(1)) == 1


async def test_a_read_only_file_refuses_to_write_and_still_reads(sqlite: SqliteStore) -> None:
    engine = await sqlite.register_engine(0.0, 30.0)
    await sqlite.apply(engine, [start(1, engine)])
    await sqlite._file.write("PRAGMA query_only = ON", {})

    with pytest.raises(StoreError, match=r"flows\.db is read-only: let this user write"):
        await sqlite.apply(engine, [start(2, engine)])

    assert await sqlite.execution(execution_arn("order-1")) == row(1, engine)
    await sqlite._file.write("PRAGMA query_only = OFF", {})
    assert await sqlite.apply(engine, [start(2, engine)]) == [None]


async def test_a_lock_held_too_long_is_reported_and_the_store_goes_on_after_it(sqlite: SqliteStore, path: Path) -> None:
    engine = await sqlite.register_engine(0.0, 30.0)
    await sqlite._file.write("PRAGMA busy_timeout = 20", {})
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=r"flows\.db has been locked by another process"):
            await sqlite.apply(engine, [start(1, engine)])
        with pytest.raises(StoreError, match="locked"):
            await sqlite.put_definition("d", "{}")

    assert await sqlite.apply(engine, [start(1, engine)]) == [None]


async def test_a_damaged_file_is_named(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    engine = await store.register_engine(0.0, 30.0)
    await store.apply(engine, [start(key, engine) for key in range(1, 1_000)])
    await store.close()
    good = content(path)
    half = len(good) // 2  # the schema stands before it
    write(path, good[:half] + b"\xa5" * (len(good) - half))

    await store.open()
    try:
        with pytest.raises(StoreError, match=r"flows\.db is damaged: restore a copy"):
            await store.executions(ExecutionQuery())
    finally:
        await store.close()


async def test_an_error_of_sqlite_without_a_sentence_still_names_the_file(sqlite: SqliteStore) -> None:
    with pytest.raises(StoreError, match=r"flows\.db refused an operation .*no such table: missing_table"):
        await sqlite._file.rows("SELECT * FROM missing_table")


# Cancelling


async def test_a_cancelled_apply_is_written_whole(sqlite: SqliteStore) -> None:
    engine = await sqlite.register_engine(0.0, 30.0)
    for step in range(40):
        key = step + 1
        task = asyncio.create_task(sqlite.apply(engine, [start(key, engine), progress(key, 1, 1, final=final())]))
        for _ in range(step):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        found = await sqlite.execution(execution_arn(f"order-{key}"))
        assert (found.status if found else None) in (None, "SUCCEEDED")
        assert len(await sqlite.segments(key)) == (0 if found is None else 1)

    assert await sqlite.apply(engine, [start(1_000, engine)]) == [None]


async def test_cancelled_reads_and_writes_leave_a_store_that_works(sqlite: SqliteStore) -> None:
    engine = await sqlite.register_engine(0.0, 30.0)
    for step in range(20):
        tasks = [
            asyncio.create_task(sqlite.put_definition(f"d{step}", "{}")),
            asyncio.create_task(sqlite.executions(ExecutionQuery())),
            asyncio.create_task(sqlite.claim(engine, 1.0)),
        ]
        for _ in range(step):
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    assert await sqlite.apply(engine, [start(1, engine)]) == [None]
    assert await sqlite.executions(ExecutionQuery()) == [row(1, engine)]


async def test_closing_waits_for_the_transaction_that_runs(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    engine = await store.register_engine(0.0, 30.0)
    writing = asyncio.create_task(store.apply(engine, [start(key, engine) for key in range(1, 300)]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    await store.close()

    assert await writing == [None] * 299
    assert query(path, "SELECT count(*) FROM executions") == [(299,)]


async def test_a_fenced_transaction_releases_its_lock(sqlite: SqliteStore, path: Path) -> None:
    engine = await sqlite.register_engine(0.0, 30.0)
    await sqlite.retire_engine(engine)
    with pytest.raises(EngineFenced, match=r"engine 1 in .*flows\.db"):
        await sqlite.apply(engine, [start(1, engine)])

    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("ROLLBACK")


# Two stores on one file


async def test_what_one_store_commits_another_reads(sqlite: SqliteStore, path: Path) -> None:
    other = SqliteStore(path)
    await other.open()
    engine = await sqlite.register_engine(0.0, 30.0)

    await sqlite.apply(engine, [start(1, engine)])

    assert await other.execution(execution_arn("order-1")) == row(1, engine)
    assert [item.id for item in await other.other_engines(await other.register_engine(0.0, 30.0))] == [engine.id]
    await other.close()


async def test_the_stamp_stays_until_somebody_commits(sqlite: SqliteStore, path: Path) -> None:
    engine = await sqlite.register_engine(0.0, 30.0)
    other = SqliteStore(path)
    await other.open()
    try:
        before = sqlite.stamp()
        assert before is not None
        await sqlite.executions(ExecutionQuery())
        assert sqlite.stamp() == other.stamp() == before
        await sqlite.apply(engine, [start(1, engine)])
        after = other.stamp()
        assert after != before
        await other.put_definition("d", "{}")
        assert sqlite.stamp() != after
    finally:
        await other.close()


async def test_of_two_stores_that_start_one_name_one_wins(sqlite: SqliteStore, path: Path) -> None:
    other = SqliteStore(path)
    await other.open()
    one, two = await sqlite.register_engine(0.0, 30.0), await other.register_engine(0.0, 30.0)

    [first], [second] = await asyncio.gather(
        sqlite.apply(one, [start(1, one, name="same")]), other.apply(two, [start(2, two, name="same")])
    )

    assert sorted([first is None, second is None]) == [False, True]
    assert len(await other.executions(ExecutionQuery())) == 1
    await other.close()


# Virtual time


def test_virtual_time_stands_still_while_sqlite_works(path: Path) -> None:
    async def main(clock: VirtualClock) -> list[float]:
        store = SqliteStore(path, off_loop=clock.off_loop)
        sleeper = asyncio.create_task(asyncio.sleep(3_600))
        began = clock.now()
        await store.open()
        engine = await store.register_engine(began, 30.0)
        for key in range(1, 20):
            await store.apply(engine, [start(key, engine)])
        await store.executions(ExecutionQuery())
        await store.close()
        worked = clock.now()
        await sleeper
        return [worked - began, clock.now() - began]

    assert run(main, seed=5) == [0.0, 3_600.0]


async def test_a_file_of_version_1_keeps_all_it_has_and_learns_what_is_new(path: Path) -> None:
    old = SqliteFile(path, migrations=MIGRATIONS[:1])
    await old.open()
    large = Payload.parse(LARGE_TEXT)
    for sql, values in (
        ("definitions VALUES (?, ?)", ("d1", "{}")),
        ("state_machines VALUES (?, 'orders', 'STANDARD', 'd1', 'role', 1, 2, NULL)", (MACHINE,)),
        ("segments VALUES (1, 1, 2, '[1,2]', ?)", (f'["{{}}",{{"sha256":"{large.digest}"}}]',)),
        ("payloads VALUES (1, ?, ?)", (large.digest, LARGE_TEXT)),
        ("frames VALUES (2, '', '1', '[\"{}\"]')", ()),
        ("tokens VALUES ('t', 2, '', 'open', NULL, 1, NULL, NULL)", ()),
    ):
        await old.write(f"INSERT INTO {sql}", values)  # type: ignore[arg-type]  # values by position
    for key, status, stopped_at in ((1, "FAILED", 9.0), (2, "RUNNING", None)):
        await old.write(
            "INSERT INTO executions (key, arn, name, state_machine_arn, digest, type, role_arn, status, started_at, "
            "stopped_at, redrive_count, input) VALUES (?, ?, ?, ?, 'd1', 'STANDARD', 'role', ?, 1, ?, 0, '{}')",
            (key, execution_arn(f"old-{key}"), f"old-{key}", MACHINE, status, stopped_at),  # type: ignore[arg-type]
        )
    await old.close()

    store = SqliteStore(path)
    await store.open()
    engine = await store.register_engine(100.0, 30.0)
    assert [row.key for row in await store.claim(engine, 100.0)] == [2]
    assert [item.path for item in await store.frames(2)] == [""]
    assert [[payload.text for payload in item.texts] for item in await store.segments(1)] == [["{}", LARGE_TEXT]]
    machine = await store.state_machine(MACHINE)
    assert machine is not None
    assert (machine.digest, machine.retention_days) == ("d1", None)
    machine.retention_days = 7
    await store.put_state_machine(machine)
    assert await store.state_machine(MACHINE) == machine
    archive = await store.archive(execution_arn("old-2"))
    assert archive is not None
    assert [token.token for token in archive.tokens] == ["t"]
    assert [row.key for row in await store.finished(MACHINE, "FAILED", before=50.0)] == [1]
    assert await store.bury([1], 50.0) == 1
    while await store.sweep(1):
        pass
    assert await store.segments(1) == []
    await store.close()
    assert query(path, "PRAGMA user_version") == [(len(MIGRATIONS),)]


async def test_an_older_file_may_be_migrated_while_others_wait_to_open_it(path: Path) -> None:
    old = SqliteFile(path, migrations=MIGRATIONS[:1])
    await old.open()
    await old.write("INSERT INTO definitions VALUES ('d1', '{}')", {})

    stores = [SqliteStore(path) for _ in range(4)]
    await asyncio.gather(*(store.open() for store in stores))

    assert [await store.definition("d1") for store in stores] == ["{}"] * 4
    assert await old.rows("SELECT text FROM definitions") == [("{}",)]  # whoever has it open reads on
    for store in stores:
        await store.close()
    await old.close()


def test_a_program_that_never_closes_its_store_ends_all_the_same(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys\nfrom asfn.store.sqlite import SqliteStore\nasyncio.run(SqliteStore(sys.argv[1]).open())\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "flows.db")], timeout=60, check=False)
    assert done.returncode == 0
