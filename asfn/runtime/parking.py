"""Parking: an execution that only waits is let go, and taken back when it is due, answered or asked for.

What is parked is rows and nothing else: no task, no timer, no entry in memory. One timer of the engine stands for the
earliest of all that are parked in the file, whoever parked them; a store lets only one engine take each of them.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from asfn.errors import AsfnError, EngineFenced
from asfn.plan.effects import AwaitToken, CallTask, FanOut, SleepUntil
from asfn.runtime.clock import fulfil
from asfn.runtime.grouped import Grouped

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from asfn.runtime.clock import Clock, Timer
    from asfn.runtime.execution import Run
    from asfn.runtime.frames import Frame
    from asfn.runtime.interpreter import Interpreter
    from asfn.store.protocol import Store
    from asfn.store.records import EngineRow, ExecutionRow
    from asfn.store.writer import Writer

logger = logging.getLogger("asfn.parking")

WAKES_AT_ONCE: Final = 1_000
"""How many executions are taken back before what they do first is written."""

_EXAMINED_PER_TURN: Final = 128
_LEAST_SECONDS: Final = 1.0  # what was taken back before it is due stays at least that long: somebody wants something
_TROUBLE_SECONDS: Final = 1.0
# Points in time are floats of a tenth of a microsecond; a timer may find its moment that much in the future.
_ROUNDING_SECONDS: Final = 1e-3


class Parking:
    """The executions that one engine lets go and takes back.

    seconds: how long the wait must be; math.inf: nothing is ever parked here.   wakes: whether executions that are due
    are taken back, or only those that somebody here asks for.   resume: goes on with rows that were taken back.
    let_go: told of an execution that is being parked, before that is durable.   failed: told of one whose parking the
    store refused; its `error` says why.
    """

    def __init__(
        self,
        *,
        store: Store,
        engine: EngineRow,
        writer: Writer,
        clock: Clock,
        seconds: float,
        wakes: bool,
        resume: Callable[[Sequence[ExecutionRow]], Awaitable[None]],
        let_go: Callable[[Run], None],
        failed: Callable[[Run], None],
    ) -> None:
        self._store = store
        self._engine = engine
        self._writer = writer
        self._clock = clock
        self._seconds = seconds
        self._wakes = wakes
        self._resume = resume
        self._let_go = let_go
        self._failed = failed
        self._waiting: OrderedDict[Run, float] = OrderedDict()  # to be examined, and when; the earliest first
        self._examining: asyncio.Task[None] | None = None
        self._examine_timer: Timer | None = None
        self._leaving: dict[int, asyncio.Future[Any]] = {}  # Any: what a commit answers; by key, until it is durable
        self._taking = Grouped(self._take, "asfn-taking")
        self._one_at_a_time = asyncio.Lock()
        self._looking: asyncio.Task[None] | None = None
        self._stirred = False
        self._wake_timer: Timer | None = None
        self._wake_at = math.inf
        self._rung_at = 0.0
        self._turns: list[asyncio.Future[None]] = []
        self._closed = False

    @property
    def parks(self) -> bool:
        """Whether anything is ever parked here."""
        return self._seconds < math.inf

    @property
    def busy(self) -> bool:
        """Whether executions are on their way out or in."""
        return bool(self._leaving) or self._looking is not None

    def turn(self) -> asyncio.Future[None]:
        """A future that is done when something has moved: was parked or taken back, began, or may have elsewhere."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._turns.append(future)
        return future

    def moved(self) -> None:
        """Let those look again who wait until nothing is left to run."""
        if not self._turns:
            return
        turns, self._turns = self._turns, []
        for future in turns:
            fulfil(future, None)

    # --- letting go ------------------------------------------------------------------------------------------------

    def allows(self, until: float) -> bool:
        """Whether a wait until then is long enough to park for."""
        return not self._closed and until - self._clock.now() > self._seconds

    def consider(self, run: Run) -> None:
        """A branch of a run has begun to wait: look at it once that has lasted."""
        if self._closed:
            return
        self._waiting[run] = at = self._clock.now() + max(self._seconds, _LEAST_SECONDS)
        self._waiting.move_to_end(run)
        if self._examine_timer is None and self._examining is None:
            self._examine_timer = self._clock.call_at(at, self._examine)

    def forget(self, run: Run) -> None:
        """A run has ended."""
        if self._waiting.pop(run, None) is not None and not self._waiting and self._examine_timer is not None:
            self._examine_timer.cancel()
            self._examine_timer = None

    def _examine(self) -> None:
        self._examine_timer = None
        if not self._closed:
            self._examining = asyncio.get_running_loop().create_task(self._examine_all(), name="asfn-parking")

    async def _examine_all(self) -> None:
        try:
            examined = 0
            while self._waiting:
                run, at = next(iter(self._waiting.items()))
                if at > self._clock.now() + _ROUNDING_SECONDS:
                    self._examine_timer = self._clock.call_at(at, self._examine)
                    return
                del self._waiting[run]
                run.park_if_it_waits()
                examined += 1
                if examined % _EXAMINED_PER_TURN == 0:
                    await self._writer.room()
                    await asyncio.sleep(0)
        finally:
            self._examining = None

    def leave(self, run: Run, parked: asyncio.Future[Any]) -> None:
        """A run has been parked; the future says when that is durable."""
        self.forget(run)
        self._let_go(run)
        self._leaving[run.row.key] = parked
        parked.add_done_callback(partial(self._left, run))

    def _left(self, run: Run, parked: asyncio.Future[Any]) -> None:
        del self._leaving[run.row.key]
        error = parked.exception() if not parked.cancelled() else None
        if error is not None:
            run.error = error
            self._failed(run)
        self.look()  # an answer may have come in the same moment
        self.moved()

    # --- taking back -----------------------------------------------------------------------------------------------

    async def take(self, keys: Sequence[int]) -> None:
        """Go on here with those of these executions that nobody has. Raises StoreError, EngineFenced, EngineClosed."""
        for taking in [self._taking.submit(key) for key in keys]:
            await taking

    async def _take(self, keys: Sequence[int]) -> list[None]:
        leaving = [self._leaving[key] for key in keys if key in self._leaving]
        if leaving:
            await asyncio.wait(leaving)
        async with self._one_at_a_time:
            await self._resume(await self._store.wake(self._engine, self._clock.now(), keys=keys, limit=len(keys)))
        return [None] * len(keys)

    def look(self) -> None:
        """Something was parked, answered or asked, here or elsewhere: see what is due, and when the next one is.

        Many calls are one look. The look goes on until nothing is due.
        """
        if self._closed or not self._wakes:
            return
        self._stirred = True
        if self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._look(), name="asfn-waking")

    async def _look(self) -> None:
        missed: float | None = None
        try:
            while self._stirred:
                self._stirred = False
                next_at = await self._store.next_wake()
                if next_at is None or next_at > self._now():
                    self._arm(math.inf if next_at is None else next_at)
                elif await self._wake_due() or next_at != missed:  # another engine was faster: there may be more
                    self._stirred, missed = True, next_at
                else:
                    self._arm(self._clock.now() + _TROUBLE_SECONDS)
        except EngineFenced:
            self._writer.fenced.set()
        except AsfnError as error:
            logger.warning("what is due cannot be read, trying again: %s", error)
            self._arm(self._clock.now() + _TROUBLE_SECONDS)
        finally:
            self._looking = None
            self.moved()

    async def _wake_due(self) -> bool:
        """Take back what is due, a batch at a time; whether there was any."""
        woken = False
        while not self._closed:
            await self._writer.room()
            async with self._one_at_a_time:
                rows = await self._store.wake(self._engine, self._now(), limit=WAKES_AT_ONCE)
                await self._resume(rows)
            woken = woken or bool(rows)
            if len(rows) < WAKES_AT_ONCE:
                break
            await asyncio.sleep(0)  # they take their first steps; what they write then fills the writer
        return woken

    def _now(self) -> float:
        now = self._clock.now()
        return self._rung_at if 0 < self._rung_at - now < _ROUNDING_SECONDS else now

    def _arm(self, at: float) -> None:
        if at == self._wake_at:
            return
        if self._wake_timer is not None:
            self._wake_timer.cancel()
        self._wake_at = at
        self._wake_timer = self._clock.call_at(at, self._ring) if at < math.inf and not self._closed else None

    def _ring(self) -> None:
        self._rung_at, self._wake_at, self._wake_timer = self._wake_at, math.inf, None
        self.look()

    async def close(self) -> None:
        """Park and wake nothing any more. What is on its way out goes on with the writer."""
        self._closed = True
        self._arm(math.inf)
        if self._examine_timer is not None:
            self._examine_timer.cancel()
        tasks = [task for task in (self._looking, self._examining) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._taking.close()
        self._waiting.clear()
        self.moved()


# --- what waits ----------------------------------------------------------------------------------------------------


def waits_until(interpreter: Interpreter, root: Frame) -> float | None:
    """When a clock next rings for one of the branches of an execution, math.inf: none does; None when one is at work.

    A branch waits when it sleeps, when it has a token without heartbeats that nobody has answered, or when the
    execution is paused and holds it back.
    """
    return _waits_until(interpreter, root, interpreter.held_frames() if interpreter.paused else ())


def _waits_until(interpreter: Interpreter, frame: Frame, held: Collection[Frame]) -> float | None:
    effect = frame.effect
    if frame.outcome is not None:
        return None
    if isinstance(effect, FanOut):
        return _children_wait_until(interpreter, frame, effect, held)
    if isinstance(effect, SleepUntil):
        return effect.at
    if isinstance(effect, AwaitToken):
        if not interpreter.inbox.is_silent(effect.call.token, effect.queued):
            return None
        if effect.queued:
            return math.inf
        if effect.call.heartbeat_seconds is not None:
            return None
        return effect.call.timeout_at if effect.call.timeout_at is not None else math.inf
    if frame in held and (effect is None or (isinstance(effect, CallTask) and effect.token is None)):
        return math.inf
    return None


def _children_wait_until(
    interpreter: Interpreter, frame: Frame, effect: FanOut, held: Collection[Frame]
) -> float | None:
    children = frame.children
    if children is None or children.stopped or (children.group is None and children.alive):
        return None
    starts_more = children.next < effect.count and children.alive < effect.concurrency
    if not interpreter.paused and (starts_more or not children.alive):
        return None
    earliest = math.inf
    for child in children.frames:
        if child is None or child.outcome is not None:
            continue
        at = _waits_until(interpreter, child, held)
        if at is None:
            return None
        earliest = min(earliest, at)
    return earliest
