"""One call of a task handler under its deadline and heartbeat.

A handler runs in an asyncio task of its own, is cancelled once, and gets a grace period; then the state settles, and
the engine keeps the task, logs it and counts it as an orphan. An execution is never held up by a handler that
swallows its cancellation (DESIGN section 6).
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from asfn.errors import EngineClosed, TaskFailed
from asfn.runtime.clock import fulfil

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from asfn.runtime.clock import Clock, Timer
    from asfn.runtime.inbox import Waiting

logger = logging.getLogger("asfn.calls")

GRACE_SECONDS: Final = 2.0
T = TypeVar("T")
Late = Literal["timeout", "heartbeat"]
Answered = Literal["answered"]


class Calls:
    """All handler calls of one engine that are in the air, orphans included."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tasks: set[asyncio.Task[Any]] = set()
        self._quiet: list[asyncio.Future[None]] = []
        self._flying = 0
        self.orphans = 0
        self.closing = False

    async def gate(self) -> None:
        """Pass, unless the engine is closing: then wait to be parked. Stands before every effect."""
        if self.closing:
            await asyncio.get_running_loop().create_future()

    async def settled(self, until: float) -> None:
        """Return when no submission is in flight and all answers are recorded, or at the moment `until`.

        Orphans and the polling of jobs do not count: jobs are found again by their stored identity.
        """
        if not self._flying:
            return
        quiet: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._quiet.append(quiet)
        # Durations run by the loop's clock: no date that jumps makes them longer.
        timer = asyncio.get_running_loop().call_later(max(0.0, until - self._clock.now()), fulfil, quiet, None)
        try:
            await quiet
        finally:
            timer.cancel()

    async def submission(
        self, work: Coroutine[Any, Any, T], name: str, deadline_at: float | None, heartbeat: Heartbeat | None
    ) -> T | Late | Answered:
        """As `supervise`, for work that closing the engine waits for."""
        self._flying += 1
        try:
            return await self.supervise(work, name, deadline_at, heartbeat)
        except EngineClosed:  # the call waited for its turn, and was not made
            if not self.closing:
                raise
        finally:
            # Whoever waits for quiet wakes a turn later; the caller goes on at once and has recorded its answer then.
            self._flying -= 1
            if not self._flying:
                for quiet in self._quiet:
                    fulfil(quiet, None)
        await self.gate()
        raise AssertionError("nothing passes a gate that is closed")

    async def supervise(
        self,
        work: Coroutine[Any, Any, T],
        name: str,
        deadline_at: float | None,
        heartbeat: Heartbeat | None,
        waiting: Waiting | None = None,
    ) -> T | Late | Answered:
        """The answer of `work`, or which of the two clocks ran out first. Raises what the work raises.

        waiting: the task's token, whose answer ends the work too.
        Cancelling the caller cancels the work, without waiting for it.
        """
        loop = asyncio.get_running_loop()
        task: asyncio.Task[T] = loop.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        done: asyncio.Future[Late | Answered | None] = loop.create_future()
        task.add_done_callback(lambda _: fulfil(done, None))
        timer: Timer | None = None
        if deadline_at is not None:
            timer = self._clock.call_at(deadline_at, partial(fulfil, done, "timeout"))
        if heartbeat is not None:
            heartbeat.watch(self._clock, done)
        if waiting is not None:
            waiting.watch(done)
        try:
            late = await done
        except asyncio.CancelledError:
            self._abandon(task)
            raise
        finally:
            if timer is not None:
                timer.cancel()
            if heartbeat is not None:
                heartbeat.close()
            if waiting is not None:
                waiting.close()
        if late is None:
            return task.result()
        await self._release(task)
        return late

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Cancel a submitted job, best effort: nobody waits, and what it raises is logged and dropped."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(_log_failure)

    async def _release(self, task: asyncio.Task[Any]) -> None:
        """Cancel a late handler and wait the grace period for its clean-up."""
        task.cancel()
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()
        task.add_done_callback(lambda _: fulfil(ended, None))
        timer = loop.call_later(GRACE_SECONDS, fulfil, ended, None)
        try:
            await ended
        finally:
            timer.cancel()
        if not task.done():
            self._orphan(task)
        elif not task.cancelled() and (error := task.exception()) is not None:
            logger.info("handler %s raised %s after its deadline", task.get_name(), _named(error))

    def _abandon(self, task: asyncio.Task[Any]) -> None:
        """Cancel a handler whose execution goes away; a timer looks whether it went too."""
        if task.done():
            if not task.cancelled():
                task.exception()  # seen, so that asyncio does not report it as lost
            return
        task.cancel()
        task.add_done_callback(lambda task: task.cancelled() or task.exception())
        timer = asyncio.get_running_loop().call_later(GRACE_SECONDS, self._look_after, task)
        task.add_done_callback(lambda _: timer.cancel())

    def _look_after(self, task: asyncio.Task[Any]) -> None:
        if not task.done():
            self._orphan(task)

    def _orphan(self, task: asyncio.Task[Any]) -> None:
        self.orphans += 1
        logger.warning("handler %s ignores its cancellation and goes on unseen", task.get_name())

    async def drain(self) -> None:
        """Cancel whatever is still in the air and give it one grace period. Used when the engine closes."""
        tasks = {task for task in self._tasks if not task.done()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=GRACE_SECONDS)


def _log_failure(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.warning("%s failed with %s", task.get_name(), _named(error))


def _named(error: BaseException) -> str:
    """What a log may say of an error: its kind. Its text, or a failure's cause, may hold an execution's data."""
    name = type(error).__name__
    return f"{name} {error.error}" if isinstance(error, TaskFailed) else name


class Heartbeat:
    """Rings when no beat came for `seconds`. `beat` may be called from any thread. since: the last one."""

    def __init__(self, seconds: float) -> None:
        self.since = 0.0
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._clock: Clock | None = None
        self._timer: Timer | None = None
        self._done: asyncio.Future[Any] | None = None  # Any: the callers put their own kinds of end into it

    def watch(self, clock: Clock, done: asyncio.Future[Any], since: float | None = None) -> None:
        """Let the future end with "heartbeat". since: the last beat, when it was not now."""
        self._clock = clock
        self._done = done
        self._restart(since)

    def beat(self) -> None:
        """The work is alive: the clock starts again."""
        if self._done is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._restart)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._done = None

    def _restart(self, since: float | None = None) -> None:
        if self._done is None or self._done.done() or self._clock is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        done = self._done
        self.since = self._clock.now() if since is None else since
        self._timer = self._clock.call_at(self.since + self._seconds, partial(fulfil, done, "heartbeat"))
