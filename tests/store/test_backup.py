"""Backups: whole, checked, never half-written, and made while the file is written to."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from asfn.errors import StoreError
from asfn.store.backup import back_up
from asfn.store.records import ExecutionQuery
from asfn.store.sqlite import SqliteStore
from tests.store.samples import LARGE_TEXT, execution_arn, frame, progress, start

if TYPE_CHECKING:
    from pathlib import Path


async def filled(path: Path, count: int = 3) -> SqliteStore:
    store = SqliteStore(path)
    await store.open()
    engine = await store.register_engine(0.0, 30.0)
    for key in range(1, count + 1):
        await store.apply(engine, [start(key, engine), progress(key, 1, 2, frames=[frame("", LARGE_TEXT)])])
    return store


def spoil(path: Path, table: str) -> None:
    """Overwrite the first page of a table."""
    content = bytearray(path.read_bytes())
    with closing(sqlite3.connect(path)) as connection:
        [(page,)] = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchall()
    content[(page - 1) * 4096 : page * 4096] = b"\xff" * 4096
    path.write_bytes(content)


async def test_a_backup_holds_everything_and_belongs_to_no_engine(path: Path) -> None:
    store = await filled(path)
    target = path.with_name("copy.db")

    size_bytes = await back_up(str(path), str(target))
    await store.close()

    assert target.stat().st_size == size_bytes
    copy = SqliteStore(target)
    await copy.open()
    engine = await copy.register_engine(1.0, 30.0)
    assert engine.id == 2
    assert [row.key for row in await copy.claim(engine, 1.0)] == [1, 2, 3]
    assert [item.last_id for item in await copy.segments(1)] == [2]
    assert [item.path for item in await copy.frames(1)] == [""]
    await copy.close()
    assert {item.name for item in path.parent.iterdir()} == {"flows.db", "copy.db"}


async def test_a_backup_is_one_plain_file_that_may_be_moved(path: Path) -> None:
    store = await filled(path)
    target = path.with_name("copy.db")
    await back_up(str(path), str(target))
    with closing(sqlite3.connect(f"file:{target}?mode=ro&immutable=1", uri=True)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert connection.execute("SELECT count(*) FROM executions").fetchone() == (3,)
    await store.close()


async def test_a_backup_made_while_commits_go_on_is_one_moment_of_them(path: Path) -> None:
    store = await filled(path, 200)
    engine = await store.register_engine(0.0, 30.0)
    target = path.with_name("copy.db")
    copying = asyncio.create_task(back_up(str(path), str(target)))
    key = 1_000
    while not copying.done():
        commits = [start(key, engine), progress(key, 1, 2, frames=[frame("", LARGE_TEXT)])]
        assert await store.apply(engine, commits) == [None, None]
        key += 1
    assert await copying > 0
    assert key > 1_001  # commits did not wait for the copy

    copy = SqliteStore(target)
    await copy.open()
    rows = await copy.executions(ExecutionQuery(limit=100_000))
    keys = sorted(row.key for row in rows)
    assert keys[:200] == list(range(1, 201))
    assert keys[200:] == list(range(1_000, 1_000 + len(keys) - 200))
    assert [len(await copy.segments(key)) for key in keys] == [1] * len(keys)
    await copy.close()
    await store.close()


async def test_what_exists_is_replaced_only_by_force(path: Path) -> None:
    store = await filled(path)
    target = path.with_name("copy.db")
    target.write_text("precious")

    with pytest.raises(StoreError, match=r"copy\.db exists: give another path"):
        await back_up(str(path), str(target))
    assert target.read_text() == "precious"
    await back_up(str(path), str(target), force=True)
    await store.close()

    copy = SqliteStore(target)
    await copy.open()
    assert await copy.execution(execution_arn("order-1")) is not None
    await copy.close()


async def test_what_appears_meanwhile_is_not_replaced_either(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await filled(path)
    target = path.with_name("copy.db")
    monkeypatch.setattr(os, "fsync", lambda _: target.write_text("precious"))
    with pytest.raises(StoreError, match="exists"):
        await back_up(str(path), str(target))
    assert target.read_text() == "precious"
    assert {item.name for item in path.parent.iterdir()} >= {"flows.db", "copy.db"}
    assert [item.name for item in path.parent.iterdir() if item.name.endswith(".part")] == []
    await store.close()


async def test_a_backup_that_fails_leaves_nothing_and_keeps_the_old_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await filled(path)
    target = path.with_name("copy.db")
    await back_up(str(path), str(target))
    before = target.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"copy\.db cannot be written \(No space left on device\)"):
        await back_up(str(path), str(target), force=True)
    assert target.read_bytes() == before
    assert [item.name for item in path.parent.iterdir() if item.name.endswith(".part")] == []
    await store.close()


async def test_a_damaged_file_is_not_backed_up(path: Path) -> None:
    store = await filled(path, 50)
    await store.close()
    spoil(path, "segments")

    with pytest.raises(StoreError, match="damaged"):
        await back_up(str(path), str(path.with_name("copy.db")))
    assert not path.with_name("copy.db").exists()


async def test_other_files_and_the_file_itself_are_refused(path: Path) -> None:
    other = path.with_name("other.db")
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE mine (a)")
    with pytest.raises(StoreError, match="database of another application"):
        await back_up(str(other), str(path.with_name("copy.db")))
    with pytest.raises(StoreError, match="is the database itself"):
        await back_up(str(other), str(other), force=True)
    assert {item.name for item in path.parent.iterdir()} == {"other.db"}

    await (await filled(path)).close()
    with pytest.raises(StoreError, match="cannot be written"):
        await back_up(str(path), str(path.with_name("no") / "copy.db"))
    assert {item.name for item in path.parent.iterdir()} == {"other.db", "flows.db"}
