"""Time, and the only file that reads it. Everything else is told the time by a Clock.

Points in time are epoch seconds, UTC, as float. A virtual clock for tests is in `asfn.testing`.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

# A timer is looked at again at least this often, so that a clock set forward is noticed.
_LONGEST_TIMER_SECONDS: Final = 3600.0


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

    async def sleep_until(self, at: float) -> None:
        """Return at the moment `at`, or at once when it has passed."""

    def call_at(self, at: float, callback: Callable[[], object]) -> Timer:
        """Run `callback` on the loop at the moment `at`, never before it."""

    def off_loop(self) -> AbstractContextManager[None]:
        """Wrap work done outside the loop (a thread, a socket): a virtual clock stands still meanwhile."""


class SystemClock:
    """The machine's clock. A clock that jumps back delays a timer, never lets it run early."""

    def now(self) -> float:
        return time.time()

    async def sleep_until(self, at: float) -> None:
        if at <= time.time():
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self.call_at(at, partial(fulfil, future, None))
        try:
            await future
        finally:
            timer.cancel()

    def call_at(self, at: float, callback: Callable[[], object]) -> Timer:
        return _SystemTimer(at, callback)

    def off_loop(self) -> AbstractContextManager[None]:
        return nullcontext()


class _SystemTimer:
    """Re-arms itself until the wall clock, not the loop's, has reached the moment."""

    __slots__ = ("_at", "_callback", "_handle")

    def __init__(self, at: float, callback: Callable[[], object]) -> None:
        self._at = at
        self._callback = callback
        self._arm(at - time.time())

    def _arm(self, seconds: float) -> None:
        delay = min(max(seconds, 0.0), _LONGEST_TIMER_SECONDS)
        self._handle = asyncio.get_running_loop().call_later(delay, self._ring)

    def _ring(self) -> None:
        left = self._at - time.time()
        if left > 0:
            self._arm(left)
        else:
            self._callback()

    def cancel(self) -> None:
        self._handle.cancel()
