"""A bound on how many calls of one function are made at once, fair to those who wait.

Who waits gets a slot by priority, higher first, then by arrival. Waiting is part of the call: TimeoutSeconds and
HeartbeatSeconds count, and a call that is cancelled leaves the queue.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from contextlib import suppress

from asfn.errors import EngineClosed


class Slots:
    """At most `limit` holders at once, on one event loop.

    Raises ValueError for a limit below 1, TypeError for one that is no whole number.
    """

    def __init__(self, limit: int) -> None:
        if not isinstance(limit, int) or isinstance(limit, bool):
            raise TypeError(f"max_concurrency is {limit!r}: give a whole number, or None for no limit")
        if limit < 1:
            raise ValueError(f"max_concurrency is {limit}: at least one call must be possible")
        self.limit = limit
        self._free = limit
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._arrivals = itertools.count()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._left = 0

    async def acquire(self, priority: int = 0) -> None:
        """Wait for a slot. Raises EngineClosed when the engine is left before there is one."""
        if self._closed:
            raise EngineClosed("the engine is being left: the call was not made")
        self._loop = asyncio.get_running_loop()
        if self._free:  # then nobody waits
            self._free -= 1
            return
        turn: asyncio.Future[None] = self._loop.create_future()
        heapq.heappush(self._waiting, (-priority, next(self._arrivals), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled() and turn.done() and turn.exception() is None:
                self.release()  # the slot came in the same moment
            else:
                self._forget_one()
            raise

    def _forget_one(self) -> None:
        """Somebody left the queue; its place is cleared when half of all places are empty."""
        self._left += 1
        if self._left * 2 > len(self._waiting):
            self._waiting = [place for place in self._waiting if not place[2].done()]
            heapq.heapify(self._waiting)
            self._left = 0

    def release(self) -> None:
        """Give a slot back, on the loop."""
        self._free += 1
        while self._free and self._waiting:
            _, _, turn = heapq.heappop(self._waiting)
            if turn.done():
                self._left = max(0, self._left - 1)
            else:
                self._free -= 1
                turn.set_result(None)

    def release_from_thread(self) -> None:
        """Give a slot back, from another thread; the loop may be gone."""
        assert self._loop is not None
        with suppress(RuntimeError):  # the loop was closed: nobody waits there any more
            self._loop.call_soon_threadsafe(self.release)

    def close(self) -> None:
        """Nobody gets a slot any more: those who wait go away with EngineClosed."""
        self._closed = True
        waiting, self._waiting = self._waiting, []
        for _, _, turn in waiting:
            if not turn.done():
                turn.set_exception(EngineClosed("the engine is being left: the call was not made"))
