"""Time, and the only file that reads it. Everything else is told the time by a Clock.

Points in time are epoch seconds, UTC, as float. A virtual clock for tests is in `asfn.testing`.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import time
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

# A timer is looked at again at least this often, so that a clock set forward is noticed.
_LONGEST_TIMER_SECONDS: Final = 5.0
_FEW_TIMERS: Final = 100  # so many are never searched for those that are over


def fulfil(future: asyncio.Future[T], value: T) -> None:
    """Set a future's result, unless it has one: what a timer does to a future that others may end too."""
    if not future.done():
        future.set_result(value)


class Timer(Protocol):
    """A callback that waits for its moment."""

    def cancel(self) -> None:
        """Forget the callback. Harmless when it has run already."""


class Clock(Protocol):
    """Tells the time and waits for moments."""

    def now(self) -> float:
        """Epoch seconds."""

    def sleep_until(self, at: float) -> Awaitable[None]:
        """To be awaited at once: returns at the moment `at`, or at once when it has passed."""

    def call_at(self, at: float, callback: Callable[[], object]) -> Timer:
        """Run `callback` on the loop at the moment `at`, never before it."""

    def off_loop(self) -> AbstractContextManager[None]:
        """Wrap work done outside the loop (a thread, a socket): a virtual clock stands still meanwhile."""


class SystemClock:
    """The machine's clock. A clock that jumps back delays a timer, never lets it run early.

    All its timers stand in one heap behind one timer of the loop: a hundred thousand sleepers are to cost little.
    """

    now = staticmethod(time.time)

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._heap: list[_SystemTimer] = []
        self._handle: asyncio.TimerHandle | None = None
        self._armed_at = math.inf  # what the loop's timer stands for
        self._numbers = itertools.count()
        self._swept_above = _FEW_TIMERS

    def sleep_until(self, at: float) -> Awaitable[None]:
        loop = asyncio.get_running_loop()
        if at <= time.time():
            return asyncio.sleep(0)
        future: asyncio.Future[None] = loop.create_future()
        self._push(_SystemTimer(at, next(self._numbers), future), loop)
        return future

    def call_at(self, at: float, callback: Callable[[], object]) -> Timer:
        timer = _SystemTimer(at, next(self._numbers), callback)
        self._push(timer, asyncio.get_running_loop())
        return timer

    def off_loop(self) -> AbstractContextManager[None]:
        return nullcontext()

    def _push(self, timer: _SystemTimer, loop: asyncio.AbstractEventLoop) -> None:
        if loop is not self._loop:  # what waited on a loop that has ended never rings
            self._loop, self._heap, self._handle, self._armed_at = loop, [], None, math.inf
        elif len(self._heap) > self._swept_above:
            self._heap = [timer for timer in self._heap if not timer.is_over]
            heapq.heapify(self._heap)
            self._swept_above = max(_FEW_TIMERS, 2 * len(self._heap))
        heapq.heappush(self._heap, timer)
        if timer.at < self._armed_at:
            self._arm(timer.at)

    def _arm(self, at: float) -> None:
        assert self._loop is not None
        if self._handle is not None:
            self._handle.cancel()
        delay = min(max(at - time.time(), 0.0), _LONGEST_TIMER_SECONDS)
        self._armed_at = at
        self._handle = self._loop.call_later(delay, self._ring)

    def _ring(self) -> None:
        """Let every timer that is due run, each callback in a turn of its own; then wait for the next one."""
        heap, now = self._heap, time.time()
        assert self._loop is not None
        while heap and (heap[0].at <= now or heap[0].is_over):
            timer = heapq.heappop(heap)
            if isinstance(timer.rings, asyncio.Future):
                fulfil(timer.rings, None)
            elif timer.rings is not None:
                self._loop.call_soon(timer.run)
        self._handle, self._armed_at = None, math.inf
        if heap:
            self._arm(heap[0].at)


class _SystemTimer(Struct, order=True):
    """One entry of a clock's heap. rings: the callback, or the future of a sleeper; None: cancelled."""

    at: float
    number: int
    rings: Callable[[], object] | asyncio.Future[None] | None

    @property
    def is_over(self) -> bool:
        rings = self.rings
        return rings is None or (isinstance(rings, asyncio.Future) and rings.done())

    def run(self) -> None:
        rings, self.rings = self.rings, None
        if rings is not None:
            rings()  # type: ignore[operator]  # a future is not run

    def cancel(self) -> None:
        self.rings = None
