"""The `--db` option, and looking into a database without running anything in it.

A look opens the store alone: no engine is registered, so nothing is claimed or resumed, and another process may be
running the same file meanwhile.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import click

from asfn.cli.exits import Refused
from asfn.cli.output import plain
from asfn.errors import EngineClosed
from asfn.limits import Limits
from asfn.runtime.clock import SystemClock, fulfil
from asfn.runtime.handle import Execution, ExecutionInfo
from asfn.store.records import ExecutionQuery
from asfn.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from asfn._json import Json
    from asfn.runtime.clock import Clock
    from asfn.runtime.execution import Run
    from asfn.store.codec import Codec
    from asfn.store.protocol import Store
    from asfn.store.records import ExecutionRow, ExecutionStatus, MessageKind

VARIABLE: Final = "ASFN_DB"
CODEC_VARIABLE: Final = "ASFN_CODEC"
_SQLITE: Final = "sqlite:///"
_PAGE: Final = 500
_CANDIDATES: Final = 5
_LOOK_SECONDS: Final = 0.25


def db_option(*, required: bool, help: str) -> Callable[[Any], Any]:  # Any: what click decorates
    """`--db`, which falls back to the environment variable ASFN_DB."""
    return click.option(
        "--db", "database", envvar=VARIABLE, show_envvar=True, required=required, metavar="PATH|URL", help=help
    )


def url_of(database: str) -> str:
    """The URL of what `--db` names: a path, or a URL already. Raises Refused."""
    path = database.removeprefix(_SQLITE)
    if "://" in path:
        raise Refused(
            f"--db {plain(database)}: give the path of a file, or sqlite:///relative/path, or sqlite:////absolute/path"
        )
    if not path or "\0" in path:
        raise Refused(f"--db {plain(database)!r}: that is not the path of a file")
    if os.path.isdir(path):
        raise Refused(f"--db {plain(path)} is a folder: give the path of a file in it")
    folder = os.path.dirname(path)
    if folder and not os.path.isdir(folder):
        raise Refused(f"--db {plain(path)}: there is no folder {plain(folder)}; make it first")
    return _SQLITE + path


def url_of_existing(database: str) -> str:
    """The same, of a file that must be there already: to look at something is no reason to create it."""
    url = url_of(database)
    path = url.removeprefix(_SQLITE)
    try:
        size = os.stat(path).st_size
    except OSError as error:
        raise Refused(f"there is no database {plain(path)} ({error.strerror})") from error
    if size == 0:
        raise Refused(f"{plain(path)} is empty: nothing was ever run in it")
    return url


def codec_in_use() -> Codec | None:
    """The codec that the environment variable ASFN_CODEC names as MODULE:ATTR, or None. Raises Refused.

    ATTR is a codec, or a class or function that gives one when it is called.
    """
    spec = os.environ.get(CODEC_VARIABLE)
    if not spec:
        return None
    module, _, name = spec.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        codec = getattr(import_module(module), name)
        if isinstance(codec, type) or not hasattr(codec, "decode"):
            codec = codec()
        if not isinstance(codec.name, str) or not callable(codec.encode) or not callable(codec.decode):
            raise TypeError("its name, encode or decode is not what a codec has")
    except Exception as error:  # whatever the user's module does
        why = f"{type(error).__name__}: {error}"
        raise Refused(f"{CODEC_VARIABLE}={plain(spec)} names no codec as MODULE:ATTR ({plain(why, 500)})") from error
    checked: Codec = codec
    return checked


class Look:
    """A database as it stands, for reading. Implements what an execution's handle needs of its engine."""

    def __init__(self, store: Store, database: str) -> None:
        self.store = store
        self.clock: Clock = SystemClock()
        self.limits = Limits.aws()
        self._database = database

    def running(self, arn: str) -> Run | None:
        """None: whatever runs, runs elsewhere."""
        return None

    def follow(self) -> asyncio.Future[None]:
        """A future that is done after a moment: whoever follows looks again then."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self.clock.call_at(self.clock.now() + _LOOK_SECONDS, partial(fulfil, future, None))
        future.add_done_callback(lambda _: timer.cancel())
        return future

    async def take(self, row: ExecutionRow) -> None:
        """Nothing runs here."""

    def begun(self, arn: str) -> asyncio.Future[None]:
        """A future that is never done: nothing runs here."""
        return asyncio.get_running_loop().create_future()

    async def ask(self, arn: str, kind: MessageKind, error: str | None = None, cause: str | None = None) -> None:
        """Raises EngineClosed: that takes an engine."""
        raise EngineClosed(f"{arn} is only looked at: an engine is needed to {kind} it")

    async def redrive(
        self, row: ExecutionRow, client_token: str | None, from_state: str | None, input: Json | None
    ) -> float:
        """Raises EngineClosed: that takes an engine."""
        raise EngineClosed(f"{row.arn} is only looked at: an engine is needed to redrive it")

    async def executions(
        self,
        *,
        machine: str | None = None,
        status: ExecutionStatus | None = None,
        attributes: Mapping[str, str] | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[ExecutionInfo]:
        """Executions, newest first. machine: a state machine's name or ARN.   attributes: all of these."""
        found = 0
        async for row in self._rows(status, attributes or {}):
            if machine is not None and machine not in (row.state_machine_arn, _name(row.state_machine_arn)):
                continue
            if limit is not None and found >= limit:
                return
            found += 1
            yield ExecutionInfo.of(row)

    async def find(self, wanted: str) -> Execution:
        """The execution of this ARN, this name, or with a name that alone begins so. Raises Refused."""
        row = await self.store.execution(wanted) if wanted.startswith("arn:") else None
        if row is not None:
            return Execution(self, row)
        named = await self.store.executions(ExecutionQuery(name=wanted, limit=_CANDIDATES + 1))
        rows = named or [row async for row in self._beginning(wanted)]
        if len(rows) == 1:
            return Execution(self, rows[0])
        if rows:
            several = ", ".join(row.arn if named else row.name for row in rows[:_CANDIDATES])
            more = " and others" if len(rows) > _CANDIDATES else ""
            raise Refused(f"{plain(wanted)!r} may be one of {plain(several)}{more}: say which")
        raise Refused(f"there is no execution {plain(wanted)!r} in {plain(self._database)}")

    async def _beginning(self, wanted: str) -> AsyncIterator[ExecutionRow]:
        """Executions whose name or ARN begins so; a few are enough to see that it is not one."""
        found = 0
        async for row in self._rows(None, {}):
            if wanted and (row.name.startswith(wanted) or row.arn.startswith(wanted)):
                found += 1
                yield row
                if found > _CANDIDATES:
                    return

    async def _rows(self, status: ExecutionStatus | None, attributes: Mapping[str, str]) -> AsyncIterator[ExecutionRow]:
        before: tuple[float, int] | None = None
        while True:
            query = ExecutionQuery(status=status, attributes=attributes, before=before, limit=_PAGE)
            page = await self.store.executions(query)
            for row in page:
                yield row
            if len(page) < _PAGE:
                return
            before = (page[-1].started_at, page[-1].key)


def _name(state_machine_arn: str) -> str:
    return state_machine_arn.rpartition(":")[2]


@asynccontextmanager
async def looking_at(database: str) -> AsyncIterator[Look]:
    """Open a database for a look. Raises Refused when it is not there, StoreError when it cannot be read."""
    path = url_of_existing(database).removeprefix(_SQLITE)
    store = SqliteStore(path, codec=codec_in_use())
    await store.open()
    try:
        yield Look(store, path)
    finally:
        await store.close()
