"""A term: one registration of an engine in its store, from its row to the end of the lease or of the engine.

It holds what belongs to that row: the advisory lock, the writer that commits under its epoch, and the supervisor of
the executions it owns. When another engine has taken over, the term ends and the engine begins another one.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from asfn.errors import StoreError
from asfn.runtime.calls import Calls
from asfn.runtime.clock import SystemClock
from asfn.runtime.liveness import EngineLock
from asfn.store.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable

    from asfn.runtime.clock import Clock
    from asfn.runtime.supervisor import Supervisor
    from asfn.store.protocol import Store
    from asfn.store.records import EngineRow

logger = logging.getLogger("asfn.term")


class Term:
    """Made by `begin`; ended by `leave`, or by `abandon` once `lost` has returned."""

    def __init__(
        self,
        store: Store,
        row: EngineRow,
        lock: EngineLock | None,
        writer: Writer,
        writing: asyncio.Task[None],
        watching: asyncio.Task[None] | None,
        supervisor: Supervisor,
    ) -> None:
        self.supervisor = supervisor
        self._store = store
        self._row = row
        self._lock = lock
        self._writer = writer
        self._writing = writing
        self._watching = watching

    @classmethod
    async def begin(
        cls,
        store: Store,
        clock: Clock,
        lease_seconds: float,
        supervise: Callable[[EngineRow, Writer, Calls], Supervisor],
    ) -> Term:
        """Register a new engine row. Nothing is claimed yet. Raises StoreError.

        On the system's clock and a file the lease is renewed, and engines that died are looked for, until the end.
        """
        row = await store.register_engine(clock.now(), lease_seconds)
        path: str | None = getattr(store, "path", None)
        lock = None
        if path is not None:
            lock = EngineLock(path, row.id)
            lock.acquire()
        writer = Writer(store, row)
        writing = asyncio.create_task(writer.run(), name="asfn-writer")
        supervisor = supervise(row, writer, Calls(clock))
        watching = None
        if path is not None and isinstance(clock, SystemClock):
            watching = asyncio.create_task(supervisor.watch_over(path, lease_seconds), name="asfn-supervisor")
        return cls(store, row, lock, writer, writing, watching, supervisor)

    async def claim(self) -> None:
        """Take over the executions that nobody runs, and resume them, if this engine does so. Raises StoreError."""
        await self.supervisor.begin(getattr(self._store, "path", None))

    async def lost(self) -> None:
        """Return when another engine has taken over: a commit was refused, or the lease was not there to renew."""
        fenced = asyncio.create_task(self._writer.fenced.wait(), name="asfn-fence")
        try:
            await asyncio.wait({fenced, self._watching or fenced}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            fenced.cancel()
        watching = self._watching
        if watching is not None and watching.done() and not watching.cancelled() and watching.exception() is not None:
            logger.error("the lease is not renewed any more", exc_info=watching.exception())

    async def abandon(self) -> None:
        """The executions are another engine's: cancel them here, and write nothing."""
        await self._stop_watching()
        await self.supervisor.abandon()
        await self._end()

    async def drain(self, seconds: float) -> None:
        """Let handler calls in flight end, at most for `seconds`, and park all executions."""
        await self._stop_watching()
        await self.supervisor.drain(seconds)

    async def leave(self) -> None:
        """Write what is left, and give up every execution to whoever comes next. After `drain`."""
        await self._end(retire=True)

    async def _end(self, retire: bool = False) -> None:
        given_up = False
        try:
            await self._writer.close()
            await self._writing
            if retire and not self._writer.fenced.is_set():
                await self._store.retire_engine(self._row)
            given_up = True
        except StoreError as error:  # a full disk keeps nobody from leaving
            logger.warning("the executions of this engine stay its own until others see that it has gone: %s", error)
        finally:
            if self._lock is not None:
                self._lock.release(gone=not given_up)

    async def _stop_watching(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
