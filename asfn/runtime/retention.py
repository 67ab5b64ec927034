"""Deletes executions that ended longer ago than their state machine keeps them: a little at a time, for ever.

Only finished executions go. Chunks are small, and between two of them the purge rests longer than it worked, so that
the commits of living executions hardly notice it. A purge that was cut off goes on where it stood.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Final

from asfn.errors import AsfnError, InvalidParameter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from asfn.runtime.clock import Clock
    from asfn.store.protocol import Store
    from asfn.store.records import ExecutionStatus

    Work = Callable[[list[int], float], Awaitable[int]]

logger = logging.getLogger("asfn.retention")

DAY_SECONDS: Final = 86_400.0
_ENDED: Final[tuple[ExecutionStatus, ...]] = ("SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED")
_CHUNK_EXECUTIONS: Final = 100
_CHUNK_ROWS: Final = 250
_PAGE: Final = 1_000
_FIRST_SECONDS: Final = 60.0
_INTERVAL_SECONDS: Final = 3_600.0
_REST_SECONDS: Final = 0.02
_REST_FACTOR: Final = 4
# How long a definition must have been unused before it goes while engines run.
_GRACE_SECONDS: Final = 3_600.0


def check_retention(days: float | None) -> float | None:
    """The days, when they can be kept to. math.inf keeps for ever. Raises InvalidParameter."""
    if days is not None and (isinstance(days, bool) or not isinstance(days, (int, float)) or not days >= 0):
        raise InvalidParameter(f"retention_days must be 0 or more days, or math.inf to keep for ever, not {days!r}")
    return None if days is None else float(days)


class Retention:
    """Purges the executions of one store.

    default_days: for state machines that have no retention of their own, and for those that were deleted.
    """

    def __init__(self, store: Store, clock: Clock, default_days: float) -> None:
        self._store = store
        self._clock = clock
        self._default_days = default_days

    async def run(self) -> None:
        """Purge once an hour, until cancelled. What the store refuses is logged and tried again later."""
        await self._clock.sleep_until(self._clock.now() + _FIRST_SECONDS)
        while True:
            try:
                deleted = await self.purge()
                if deleted:
                    logger.info("%d executions were older than their retention and were deleted", deleted)
            except AsfnError as error:
                logger.warning("the purge of old executions was refused, trying again in an hour: %s", error)
            await self._clock.sleep_until(self._clock.now() + _INTERVAL_SECONDS)

    async def purge(self, *, older_than_days: float | None = None, state_machine_arn: str | None = None) -> int:
        """Delete the finished executions that are due, with all they left; how many.

        older_than_days: since they ended; None: each state machine's own retention.   state_machine_arn: only of it.
        Definitions that nobody names any more go as well.
        """
        await self._sweep()
        deleted = await self._each(older_than_days, state_machine_arn, self._delete)
        await self._forget_definitions()
        return deleted

    async def count(self, *, older_than_days: float | None = None, state_machine_arn: str | None = None) -> int:
        """How many executions `purge` would delete now."""
        return await self._each(older_than_days, state_machine_arn, _count)

    async def _each(self, days: float | None, state_machine_arn: str | None, work: Work) -> int:
        """Do something with the keys of all executions that are due, in chunks; the sum of what it gives."""
        own = {row.arn: row.retention_days for row in await self._store.state_machines()}
        now = self._clock.now()
        done = 0
        for arn in await self._store.machines_of_executions():
            kept = own.get(arn)
            kept_days = days if days is not None else kept if kept is not None else self._default_days
            if state_machine_arn in (None, arn) and not math.isinf(kept_days):
                for status in _ENDED:
                    done += await self._each_of(arn, status, now - kept_days * DAY_SECONDS, work)
        return done

    async def _each_of(self, arn: str, status: ExecutionStatus, before: float, work: Work) -> int:
        after = (-math.inf, 0)
        done = 0
        while True:
            began = self._clock.now()
            page = await self._store.finished(arn, status, before=before, after=after, limit=_PAGE)
            keys = [row.key for row in page if row.stopped_at < before]
            for place in range(0, len(keys), _CHUNK_EXECUTIONS):
                done += await work(keys[place : place + _CHUNK_EXECUTIONS], before)
            if len(page) < _PAGE:
                return done
            after = (page[-1].started_at, page[-1].key)
            await self._rest(began)

    async def _delete(self, keys: list[int], before: float) -> int:
        began = self._clock.now()
        deleted = await self._store.bury(keys, before)
        await self._rest(began)
        await self._sweep()
        return deleted

    async def _sweep(self) -> None:
        began = self._clock.now()
        while await self._store.sweep(_CHUNK_ROWS):
            await self._rest(began)
            began = self._clock.now()

    async def _forget_definitions(self) -> None:
        began = self._clock.now()
        while await self._store.forget_definitions(began, _GRACE_SECONDS):
            await self._rest(began)
            began = self._clock.now()

    async def _rest(self, began: float) -> None:
        now = self._clock.now()
        await self._clock.sleep_until(now + max(_REST_SECONDS, _REST_FACTOR * min(now - began, 1.0)))


async def _count(keys: list[int], before: float) -> int:
    return len(keys)
