"""One SQLite file through aiosqlite: opening, refusing, migrating, reading, and transactions that end.

Two connections, so that a long read never waits behind the writer, nor the writer behind it (WAL). A transaction is
work that runs whole in SQLite's thread: one hop, however many statements. Everything that waits for SQLite's threads
happens inside `off_loop`. It knows statements, not what they mean: see sqlite.py.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar

import aiosqlite

from asfn.errors import StoreError
from asfn.store.codec import Sealing
from asfn.store.queries import load, statements
from asfn.store.shield import to_the_end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from asfn.store.codec import Codec

T = TypeVar("T")
Row: TypeAlias = tuple[Any, ...]  # SQLite types its cells, not its rows

APPLICATION_ID: Final = int.from_bytes(b"asfn", "big")
MIGRATIONS: Final = (load("schema.sql"), *(load(f"migrations/{version}.sql") for version in (2, 3, 4)))
"""Scripts that bring a file from one version to the next; PRAGMA user_version is how many of them it has seen."""

BUSY_SECONDS: Final = 10.0
OLDEST_SQLITE: Final = (3, 37)  # STRICT tables; RETURNING needs 3.35
_CODEC_VERSION: Final = 2  # from which on a file knows of codecs
_WAL_ATTEMPTS: Final = 20
_SMALLEST_DATABASE_BYTES: Final = 512

_NO_PARAMETERS: Final[dict[str, Any]] = {}

# What to say for SQLite's primary result codes (sqlite.org/rescode.html); {path} is the file.
_SENTENCES: Final = {
    sqlite3.SQLITE_FULL: "the disk of {path} is full: free some space; nothing of this write was kept",
    sqlite3.SQLITE_READONLY: "{path} is read-only: let this user write the file and its folder",
    sqlite3.SQLITE_CANTOPEN: "{path} cannot be opened: its folder must exist and be writable",
    sqlite3.SQLITE_PERM: "{path} cannot be opened: this user must be able to read and write it",
    sqlite3.SQLITE_BUSY: (
        f"{{path}} has been locked by another process for more than {BUSY_SECONDS:.0f} seconds: "
        "end the program that holds it, or try again"
    ),
    sqlite3.SQLITE_CORRUPT: "{path} is damaged: restore a copy, or rescue it with `sqlite3 FILE .recover`",
    sqlite3.SQLITE_NOTADB: "{path} is not an SQLite database: give another path; the file was left as it is",
    sqlite3.SQLITE_IOERR: "the disk of {path} failed: look at the system's log, then try again",
}


def refusal(path: str, error: Exception) -> StoreError:
    """What to tell the user for an error of SQLite: one sentence with the file and what to do, and SQLite's
    own words.
    """
    code = getattr(error, "sqlite_errorcode", None)
    sentence = _SENTENCES.get(code & 0xFF) if code is not None else None
    return StoreError(f"{(sentence or '{path} refused an operation').format(path=path)} (SQLite says: {error})")


def is_too_short(path: str) -> bool:
    """Whether a file is there that is shorter than any database: SQLite takes one of a single byte for an empty
    database, and would write over it. The size is asked for without opening the file: closing it again would drop
    the locks that SQLite holds on it in this process.
    """
    try:
        return 0 < os.stat(path).st_size < _SMALLEST_DATABASE_BYTES
    except OSError:  # missing or forbidden: SQLite says which
        return False


class Transaction:
    """The statements of one open transaction, in SQLite's thread."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def rows(self, sql: str, parameters: Mapping[str, Any] | Sequence[Any] = _NO_PARAMETERS) -> list[Row]:
        """Run a statement and give all its rows."""
        return self._connection.execute(sql, parameters).fetchall()

    def many(self, sql: str, parameters: Sequence[Sequence[Any]]) -> None:
        """Run a statement once for each member of `parameters`; nothing happens for none."""
        if parameters:
            self._connection.executemany(sql, parameters)


class _Whole(Generic[T]):
    """A transaction from its BEGIN to its COMMIT. result: of its work, once it has run."""

    __slots__ = ("_begin", "_work", "result")

    result: T

    def __init__(self, begin: str, work: Callable[[Transaction], T]) -> None:
        self._begin = begin
        self._work = work

    def run(self, connection: sqlite3.Connection) -> None:
        if connection.in_transaction:  # a rollback that could not run, on a disk that failed
            connection.rollback()
        try:
            connection.execute(self._begin)
            self.result = self._work(Transaction(connection))
            connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # SQLite may have rolled back by itself; the first error counts
                connection.rollback()
            raise


class _Connection(sqlite3.Connection):
    """Runs a whole transaction where others run a script: aiosqlite takes that to its thread, and back, in one hop."""

    def executescript(self, whole: _Whole[Any], /) -> sqlite3.Cursor:  # type: ignore[override]
        whole.run(self)
        return self.cursor()


class SqliteFile:
    """Connections to one file. All methods raise StoreError for whatever SQLite refuses.

    off_loop: makes the context entered while SQLite works, so that a loop with virtual time knows to wait
    for it. migrations: scripts that bring a file to the current version; others are given by tests.
    sealing: the codec at work on this file, once it is open; None without one.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        off_loop: Callable[[], AbstractContextManager[object]] = nullcontext,
        migrations: Sequence[str] = MIGRATIONS,
        codec: Codec | None = None,
    ) -> None:
        self.path = str(path)
        self.codec = codec
        self.sealing: Sealing | None = None
        self._off_loop = off_loop
        self._migrations = migrations
        self._writer: aiosqlite.Connection | None = None
        self._reader: aiosqlite.Connection | None = None
        self._turn = asyncio.Lock()

    async def open(self) -> None:
        """Connect, creating the file where there is none, and bring it to the current version.

        Refused, and left as they are: files that are no database, those of another application, and those
        of a newer version.
        """
        if self._writer is not None:
            return
        self._turn = asyncio.Lock()  # a lock belongs to one event loop
        try:
            with self._off_loop(), self._refusals():
                await to_the_end(self._open())
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Disconnect, after the transaction that is running. Calling it twice does no harm."""
        await to_the_end(self._close())

    async def rows(self, sql: str, parameters: Mapping[str, Any] | Sequence[Any] = _NO_PARAMETERS) -> list[Row]:
        """Read on the reading connection: what was committed last."""
        connection = self._connected(self._reader)
        with self._off_loop(), self._refusals():
            return list(await connection.execute_fetchall(sql, parameters))  # type: ignore[arg-type]

    async def write(self, sql: str, parameters: Mapping[str, Any]) -> list[Row]:
        """Run one writing statement, a transaction by itself; gives what it returns."""
        async with self._turn:
            connection = self._connected(self._writer)
            with self._off_loop(), self._refusals():
                return list(await connection.execute_fetchall(sql, parameters))  # type: ignore[arg-type]

    async def data_version(self) -> int:
        """A number that changes when another connection than the writing one has committed."""
        connection = self._connected(self._writer)
        with self._off_loop(), self._refusals():
            [(version,)] = await connection.execute_fetchall("PRAGMA data_version")
            return int(version)

    def stamp(self) -> tuple[int, int] | None:
        """Date and size of what commits are written to, which tells for next to nothing that nobody has committed.

        Dates have the grain of the file system, so now and then the version is to be asked for all the same.
        """
        try:
            found = os.stat(f"{self.path}-wal")
        except OSError:  # not made yet
            return None
        return found.st_mtime_ns, found.st_size

    async def transaction(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` between BEGIN IMMEDIATE and COMMIT, in SQLite's thread; whatever it raises rolls back. Durable
        when it returns.

        A caller that is cancelled waits for the end of the transaction, which is then not cut in two.
        """
        return await to_the_end(self._transact(work))

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Run `work`, which reads, on what was committed last: all of it sees one moment. Others wait for their turn
        to read meanwhile: see `snapshot`.
        """
        return await self._run(self._connected(self._reader), _Whole("BEGIN", work))

    async def snapshot(self, work: Callable[[Transaction], T]) -> T:
        """As `read`, for work that takes long: nobody waits for it."""
        return await to_the_end(self._snapshot(work))

    async def _transact(self, work: Callable[[Transaction], T]) -> T:
        async with self._turn:
            return await self._run(self._connected(self._writer), _Whole("BEGIN IMMEDIATE", work))

    async def _snapshot(self, work: Callable[[Transaction], T]) -> T:
        self._connected(self._reader)
        with self._off_loop(), self._refusals():
            connection = await self._connect()
            try:
                await connection.execute_fetchall("PRAGMA query_only = ON")
                return await self._run(connection, _Whole("BEGIN", work))
            finally:
                await connection.close()

    async def _run(self, connection: aiosqlite.Connection, whole: _Whole[T]) -> T:
        with self._off_loop(), self._refusals():
            await connection.executescript(whole)  # see _Connection
            return whole.result

    def _connected(self, connection: aiosqlite.Connection | None) -> aiosqlite.Connection:
        if connection is None:
            raise StoreError(f"{self.path} is not open: open the store first")
        return connection

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise refusal(self.path, error) from error

    async def _open(self) -> None:
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise StoreError(
                f"{self.path} needs SQLite 3.37 or newer, and this Python has {sqlite3.sqlite_version}: "
                "use a newer Python build"
            )
        if self.path in {"", ":memory:"}:
            raise StoreError("SQLite's own memory databases are not shared by connections: use memory:// instead")
        if is_too_short(self.path):
            raise StoreError(_SENTENCES[sqlite3.SQLITE_NOTADB].format(path=self.path))
        # A connection that fails leaves aiosqlite's thread calling a loop that may be closed by then; so try first.
        sqlite3.connect(self.path).close()
        self._writer = writer = await self._connect()
        await self._version(writer)
        await self._use_wal(writer)
        await writer.execute_fetchall("PRAGMA synchronous = FULL")
        await writer.execute_fetchall("PRAGMA journal_size_limit = 67108864")
        await writer.execute_fetchall("PRAGMA cache_size = -16384")
        await self._migrate(writer)
        if len(self._migrations) >= _CODEC_VERSION:
            self.sealing = await self._agree_on_codec(writer)
        self._reader = await self._connect()
        await self._reader.execute_fetchall("PRAGMA query_only = ON")

    async def _close(self) -> None:
        async with self._turn:
            reader, self._reader = self._reader, None
            writer, self._writer = self._writer, None
            with self._off_loop(), self._refusals():
                try:
                    if reader is not None:
                        await reader.close()
                finally:
                    if writer is not None:
                        await writer.close()

    async def _connect(self) -> aiosqlite.Connection:
        connection = aiosqlite.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None, factory=_Connection)
        thread = getattr(connection, "_thread", None)
        if isinstance(thread, threading.Thread):
            thread.daemon = True  # a program whose loop was torn down around the store must be able to end
        return await connection

    async def _version(self, connection: aiosqlite.Connection) -> int:
        """As `_check`, of one moment: another process may be making the file."""
        await connection.execute_fetchall("BEGIN")
        try:
            return await self._check(connection)
        finally:
            if connection.in_transaction:
                await connection.execute_fetchall("ROLLBACK")

    async def _check(self, connection: aiosqlite.Connection) -> int:
        """The file's version. Raises StoreError when the file is not ours to write; nothing is written
        here.
        """
        [(application_id,)] = await connection.execute_fetchall("PRAGMA application_id")
        [(version,)] = await connection.execute_fetchall("PRAGMA user_version")
        [(tables,)] = await connection.execute_fetchall("SELECT count(*) FROM sqlite_master")
        if application_id == 0 and version == 0 and tables == 0:
            return 0
        if application_id != APPLICATION_ID:
            raise StoreError(
                f"{self.path} is a database of another application: give another path; the file was left as it is"
            )
        if version > len(self._migrations):
            raise StoreError(
                f"{self.path} was written by a newer asfn (schema {version}; this one knows up to "
                f"{len(self._migrations)}): upgrade asfn; the file was left as it is"
            )
        return int(version)

    async def _use_wal(self, connection: aiosqlite.Connection) -> None:
        """Switch to WAL. SQLite answers "locked" at once, without its busy wait, when two processes do so
        together; an empty write transaction is the wait it lacks.
        """
        for attempt in range(1, _WAL_ATTEMPTS + 1):
            try:
                [(mode,)] = await connection.execute_fetchall("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if attempt == _WAL_ATTEMPTS or error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
                await connection.execute_fetchall("BEGIN IMMEDIATE")
                await connection.execute_fetchall("COMMIT")
            else:
                break
        if mode != "wal":
            raise StoreError(
                f"{self.path} cannot be used in WAL mode (it stays in {mode}): "
                "put it on a local disk, not a network one"
            )

    async def _agree_on_codec(self, connection: aiosqlite.Connection) -> Sealing | None:
        """The file's codec, which must be the one that was given. A file without executions takes the given one."""
        if self.codec is None:
            if names := list(await connection.execute_fetchall("SELECT name FROM codec")):
                raise StoreError(f"{self.path} was written with the codec {names[0][0]!r}: open it with that codec")
            return None
        await connection.execute_fetchall("BEGIN IMMEDIATE")
        try:
            sealing = await self._sealing(connection, self.codec)
            await connection.execute_fetchall("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                await connection.rollback()
            raise
        return sealing

    async def _sealing(self, connection: aiosqlite.Connection, codec: Codec) -> Sealing:
        rows = list(await connection.execute_fetchall("SELECT name, probe FROM codec"))
        if rows and rows[0][0] != codec.name:
            raise StoreError(
                f"{self.path} was written with the codec {rows[0][0]!r}, not {codec.name!r}: open it with its own"
            )
        if rows:
            try:
                return Sealing.of(codec, rows[0][1])
            except StoreError as error:
                raise StoreError(f"{self.path}: {error}") from error
        for table in ("executions", "purged", "engines"):
            if list(await connection.execute_fetchall(f"SELECT 1 FROM {table} LIMIT 1")):
                raise StoreError(
                    f"{self.path} is used without a codec: begin a new file with the codec {codec.name!r}, "
                    "and bring executions over with `asfn export` and `asfn import`"
                )
        sealing, probe = Sealing.new(codec)
        await connection.execute_fetchall("INSERT INTO codec (name, probe) VALUES (?, ?)", (codec.name, probe))
        return sealing

    async def _migrate(self, connection: aiosqlite.Connection) -> None:
        if await self._version(connection) == len(self._migrations):
            return
        await connection.execute_fetchall("BEGIN IMMEDIATE")
        try:
            for script in self._migrations[await self._check(connection) :]:
                for statement in statements(script):
                    await connection.execute_fetchall(statement)
            await connection.execute_fetchall(f"PRAGMA application_id = {APPLICATION_ID}")
            await connection.execute_fetchall(f"PRAGMA user_version = {len(self._migrations)}")
            await connection.execute_fetchall("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                await connection.rollback()
            raise
