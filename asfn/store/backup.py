"""A copy of an SQLite file while engines run on it: whole, checked, and never half-written under its name.

SQLite's online backup reads one snapshot, and in WAL mode nobody waits for a reader. The copy is made beside its final
name, checked, flushed and only then renamed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Final

import aiosqlite

from asfn.errors import StoreError
from asfn.store.shield import to_the_end
from asfn.store.sqlite_file import APPLICATION_ID, BUSY_SECONDS, is_too_short, refusal

if TYPE_CHECKING:
    from asfn.store.sqlite_file import Row

_SIDE_FILES: Final = ("", "-wal", "-shm", "-journal")


async def back_up(path: str, target: str, *, force: bool = False) -> int:
    """Copy the file at `path` to `target`; the copy's size in bytes.

    force: replace what is at `target`, which stays whole until the copy is. No engine runs in the copy: what is
    unfinished in it goes on as soon as an engine opens it, although the original may be running it too.
    Raises StoreError for a file that is not asfn's or is damaged, and for a target that exists or cannot be written;
    nothing is left at or beside the target then.
    """
    target, part = _names(path, target, force)
    return await to_the_end(_back_up(path, part, target, force))


def _names(path: str, target: str, force: bool) -> tuple[str, str]:
    """The full path of the target, and of the copy until it is whole. Raises StoreError."""
    target = os.path.abspath(target)
    if os.path.exists(target) and os.path.exists(path) and os.path.samefile(path, target):
        raise StoreError(f"{target} is the database itself: give another path")
    if os.path.lexists(target) and not force:
        raise StoreError(_exists(target))
    return target, os.path.join(os.path.dirname(target), f".{os.path.basename(target)}.{secrets.token_hex(4)}.part")


async def _back_up(path: str, part: str, target: str, force: bool) -> int:
    try:
        await _copy(path, part)
        return await asyncio.to_thread(_finish, path, part, target, force)
    except OSError as error:
        raise StoreError(f"{target} cannot be written ({error.strerror or error}): look at the disk") from error
    finally:
        for ending in _SIDE_FILES:
            with contextlib.suppress(OSError):
                os.unlink(part + ending)


def _finish(path: str, part: str, target: str, force: bool) -> int:
    _settle(part)
    os.chmod(part, os.stat(path).st_mode & 0o777)
    size_bytes = _flush(part)
    _publish(part, target, force)
    return size_bytes


async def _copy(path: str, part: str) -> None:
    if is_too_short(path):
        raise StoreError(f"{path} is not an SQLite database")
    try:
        sqlite3.connect(path).close()  # a connection that fails would leave aiosqlite's thread behind
        source = await aiosqlite.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    except sqlite3.Error as error:
        raise refusal(path, error) from error
    try:
        [(application_id,)] = await _rows(source, path, "PRAGMA application_id")
        if application_id != APPLICATION_ID:
            raise StoreError(f"{path} is a database of another application: give the path of one of asfn's")
        with closing(_create(part)) as copy:
            try:
                await source.backup(copy)
            except sqlite3.Error as error:
                raise refusal(path, error) from error
    finally:
        await source.close()


def _create(part: str) -> sqlite3.Connection:
    """An empty database that only its owner may read until it has its name."""
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        return sqlite3.connect(part, isolation_level=None, check_same_thread=False)  # the source's thread fills it
    except sqlite3.Error as error:
        raise refusal(part, error) from error


async def _rows(connection: aiosqlite.Connection, path: str, sql: str) -> list[Row]:
    try:
        return list(await connection.execute_fetchall(sql))  # type: ignore[arg-type]
    except sqlite3.Error as error:
        raise refusal(path, error) from error


def _settle(part: str) -> None:
    """Make the copy one plain file that belongs to no engine, and check it."""
    try:
        with closing(sqlite3.connect(part, isolation_level=None)) as copy:
            copy.execute("PRAGMA journal_mode = DELETE").fetchall()
            copy.execute("UPDATE executions SET owner = NULL WHERE status = 'RUNNING' AND owner IS NOT NULL")
            copy.execute("DELETE FROM engines")
            [(found,), *_] = copy.execute("PRAGMA quick_check(1)")
    except sqlite3.Error as error:
        raise refusal(part, error) from error
    if found != "ok":
        raise StoreError(f"the database is damaged, and a copy would be too ({found}): see `asfn doctor`")


def _flush(part: str) -> int:
    with open(part, "rb+") as file:
        os.fsync(file.fileno())
        return os.fstat(file.fileno()).st_size


def _publish(part: str, target: str, force: bool) -> None:
    """Give the copy its name, in one step, and make the name durable."""
    if force:
        os.replace(part, target)
    else:
        try:
            os.link(part, target)  # unlike a rename it never replaces what appeared meanwhile
        except FileExistsError as error:
            raise StoreError(_exists(target)) from error
        except OSError:  # a file system without hard links
            os.rename(part, target)
    with contextlib.suppress(OSError):  # not every platform opens a folder
        folder = os.open(os.path.dirname(target), os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _exists(target: str) -> str:
    return f"{target} exists: give another path, or say that it may be replaced (--force)"
