"""Admission: which executions begin, and which of them wait for their turn, so that no more run at once than may.

What waits is a row in the store, or, of an Express execution that is stored nowhere, an object in this engine. The
highest priority begins first, then the oldest start, whatever its state machine; a full state machine holds up no
other. Without limits nothing here costs anything.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import math
from typing import TYPE_CHECKING, Final

from asfn.errors import AsfnError, EngineFenced, InvalidParameter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from asfn.runtime.clock import Clock, Timer
    from asfn.runtime.execution import Run
    from asfn.store.protocol import Store
    from asfn.store.records import EngineRow, ExecutionRow
    from asfn.store.writer import Writer

logger = logging.getLogger("asfn.admission")

_ADMITTED_AT_ONCE: Final = 1_000
_TROUBLE_SECONDS: Final = 1.0


def check_limit(most: float | None) -> int | None:
    """A limit, when it is one; None and math.inf: there is none. Raises InvalidParameter."""
    if most is None or most == math.inf:
        return None
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:
        raise InvalidParameter(f"max_concurrent_executions must be 1 or more, or math.inf for any number, not {most!r}")
    return most


class Admission:
    """The places of one engine, and the queue for them.

    limit: how many executions may run here at once; None: any number.   live: how many do.
    begin: runs rows that were admitted.   moved: told when it may be that nothing waits any more.
    others: whether executions that other engines have queued begin here too; if not, those that stand before one of
    this engine's own do all the same.
    """

    def __init__(
        self,
        *,
        store: Store,
        engine: EngineRow,
        writer: Writer,
        clock: Clock,
        limit: int | None,
        others: bool,
        live: Callable[[], int],
        begin: Callable[[Sequence[ExecutionRow]], Awaitable[None]],
        moved: Callable[[], None],
    ) -> None:
        self._store = store
        self._engine = engine
        self._writer = writer
        self._clock = clock
        self._limit = limit
        self._others = others
        self._live = live
        self._begin = begin
        self._moved = moved
        self._starting = 0  # places of executions whose start is under way
        self._queued = False  # whether the store may have queued executions
        self._own: dict[int, str] = {}  # ARNs by key of those this engine has queued, where only these count
        self._blocked = False  # whether only state machines that are full have any
        self._unlimited: set[str] = set()  # ARNs of state machines that are known to have no limit
        self._held: list[tuple[int, int, Run]] = []  # Express executions, as a heap: minus priority, number
        self._numbers = itertools.count()
        self._express_next = True
        self._stirred = False
        self._admitting: asyncio.Task[None] | None = None
        self._retry: Timer | None = None
        self._closed = False

    @property
    def busy(self) -> bool:
        """Whether something is being admitted, or waits in this engine's memory."""
        return self._admitting is not None or bool(self._held)

    @property
    def queues(self) -> bool:
        """Whether the store may have queued executions that begin here."""
        return self._queued

    # --- starts ----------------------------------------------------------------------------------------------------

    def must_queue(self, machine_arn: str, machine_limit: int | None) -> bool:
        """Whether a new execution has to be queued. If not it has a place now, until `placed`."""
        if machine_limit is not None:
            self._unlimited.discard(machine_arn)
            return True
        if self._limit is None:
            if self._queued:
                self._unlimited.add(machine_arn)
            return False
        if self._queued or self._held or self._free() <= 0:
            return True
        self._starting += 1
        return False

    def placed(self) -> None:
        """The execution that was given a place has begun, or has not been started after all."""
        if self._limit is not None:
            self._starting -= 1
            self.stir()

    def queued(self, row: ExecutionRow) -> None:
        """A row of this engine stands in the queue, durably."""
        self._queued = True
        self._blocked = False
        if not self._others:
            self._own[row.key] = row.arn
        self.stir()

    def must_hold(self) -> bool:
        """Whether a new execution that is stored nowhere has to wait."""
        return self._limit is not None and (bool(self._held) or self._free() <= 0)

    def hold(self, run: Run) -> None:
        """Begin an execution that is stored nowhere when it is its turn."""
        heapq.heappush(self._held, (-run.row.priority, next(self._numbers), run))
        self.stir()

    # --- turns -----------------------------------------------------------------------------------------------------

    def ended(self, machine_arn: str) -> None:
        """An execution does not run here any more."""
        if self._held or (self._queued and (not self._blocked or machine_arn not in self._unlimited)):
            self.stir()

    async def look(self) -> None:
        """Others may have queued executions, or ended some that kept a state machine full."""
        if not self._queued and self._others and not self._closed:
            self._queued = await self._store.queued_count(at_most=1) > 0
        if self._queued:
            self.stir()

    def stir(self) -> None:
        """Let begin what may. Many calls are one."""
        if self._closed or not (self._queued or self._held):
            return
        self._stirred = True
        if self._admitting is None:
            self._admitting = asyncio.get_running_loop().create_task(self._admit(), name="asfn-admission")

    async def _admit(self) -> None:
        try:
            while self._stirred and not self._closed:
                self._stirred = False
                await self._writer.room()
                self._begin_held(self._share())
                if self._queued:
                    await self._begin_queued()
                    self._begin_held(self._free())  # places that the stored ones cannot take
        except EngineFenced:
            self._writer.fenced.set()
        except AsfnError as error:
            logger.warning("queued executions cannot be read, trying again: %s", error)
            self._retry = self._clock.call_at(self._clock.now() + _TROUBLE_SECONDS, self.stir)
        finally:
            self._admitting = None
            self._moved()

    def _share(self) -> int:
        """How many places are for Express executions: when stored ones wait too, they take turns."""
        free = self._free()
        if free <= 0 or not self._queued:
            return free
        share = (free + self._express_next) // 2
        if self._held and free % 2:
            self._express_next = not self._express_next
        return share

    def _begin_held(self, free: int) -> None:
        while free > 0 and self._held:
            _, _, run = heapq.heappop(self._held)
            if run.begin_held():
                free -= 1

    async def _begin_queued(self) -> None:
        wanted = min(self._free(), _ADMITTED_AT_ONCE)
        if wanted <= 0:
            return
        self._starting += wanted
        try:
            rows = await self._store.admit(self._engine, self._clock.now(), limit=wanted)
            await self._begin(rows)
        finally:
            self._starting -= wanted
        for row in rows:
            self._own.pop(row.key, None)
        if len(rows) == wanted:
            self._stirred = True
            return
        self._blocked = True
        queued = await self._any_queued()
        if not self._stirred:  # nothing was queued meanwhile
            self._queued = queued

    async def _any_queued(self) -> bool:
        if self._others:
            return await self._store.queued_count(at_most=1) > 0
        for key, arn in list(self._own.items()):  # another engine may have begun it
            row = await self._store.execution(arn)
            if row is None or not row.queued:
                self._own.pop(key, None)
        return bool(self._own)

    def _free(self) -> int:
        if self._limit is None:
            return _ADMITTED_AT_ONCE
        return self._limit - self._live() - self._starting

    async def close(self) -> None:
        """Admit nothing any more."""
        self._closed = True
        if self._retry is not None:
            self._retry.cancel()
        if self._admitting is not None:
            self._admitting.cancel()
            await asyncio.wait([self._admitting])
        held, self._held = self._held, []
        for _, _, run in held:
            run.abandon()
