"""Virtual time: an asyncio event loop whose clock jumps to the next timer instead of waiting for it.

A wait of a year takes milliseconds, and a seed shuffles the order in which ready tasks run, so that hidden
ordering assumptions show; one seed is one schedule as long as nothing runs outside the loop. Only steps of
tasks are shuffled: I/O and transport callbacks keep their order, which sockets rely on. Time stands still
while work outside the loop (a database thread, a real request) is open, which `off_loop` counts.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import math
import random
import selectors
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

T = TypeVar("T")

DEFAULT_START_AT: Final = 1735689600.0
"""2025-01-01T00:00:00Z, where a virtual clock begins unless it is told otherwise."""

_LISTED_TASKS: Final = 8
# Epoch seconds are floats with steps of 0.24 microseconds: what is that near to a moment is due at it.
_SAME_MOMENT_SECONDS: Final = 1e-6


class Deadlock(RuntimeError):
    """Nothing can happen any more: no task is ready, no timer is set, and no work outside the loop is open.

    The text names the waiting tasks and the lines they wait at.
    """


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop on virtual time; `time()` begins at 0 and only ever jumps to the next timer.

    seed: shuffles the steps of ready tasks; None keeps asyncio's order.
    patience_seconds: real seconds to wait for work outside the loop before that is called a Deadlock as well.
    held: time moves only as far as `pass_time` says; waiting for more is a Deadlock. May be set at any moment.
    """

    def __init__(self, *, seed: int | None = None, patience_seconds: float = 60, held: bool = False) -> None:
        self.held = held
        self._virtual_time = 0.0
        self._stops: list[tuple[float, int, asyncio.Future[None]]] = []
        self._stop_numbers = count()
        self._open_work = 0
        self._patience_seconds = patience_seconds
        self._random = None if seed is None else random.Random(seed)
        self._steps: list[asyncio.Handle] = []
        self._step_context = contextvars.Context()
        super().__init__(_VirtualSelector(self._wait_limit, self._jump))

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._virtual_time

    @contextmanager
    def off_loop(self) -> Iterator[None]:
        """Counts one piece of work that goes on outside the loop; time stands still until it is left."""
        self._open_work += 1
        try:
            yield
        finally:
            self._open_work -= 1

    async def pass_time(self, seconds: float) -> None:
        """Let that much virtual time pass, and everything happen that is due until then, that moment included.

        Returns when nothing is left to do but to wait for later. Raises ValueError for a negative number.
        """
        if not seconds >= 0:
            raise ValueError(f"time cannot pass backwards: {seconds!r} seconds")
        reached: asyncio.Future[None] = self.create_future()
        heapq.heappush(self._stops, (self._virtual_time + seconds, next(self._stop_numbers), reached))
        await reached

    def call_soon(  # type: ignore[override]  # typeshed ties args to the callback
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """As asyncio's; with a seed, each place that a task step holds in the queue runs a random ready step."""
        if self._random is None or not isinstance(getattr(callback, "__self__", None), asyncio.Task):
            return super().call_soon(callback, *args, context=context)
        step = asyncio.Handle(callback, args, self, context)
        self._steps.append(step)
        super().call_soon(self._run_one_step, self._random, context=self._step_context)
        return step

    def _run_one_step(self, source: random.Random) -> None:
        steps = self._steps
        index = source.randrange(len(steps))
        steps[index], steps[-1] = steps[-1], steps[index]
        step = steps.pop()
        if not step.cancelled():
            step._run()

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]  # Any: asyncio's own signature
        """As asyncio's, counted as work outside the loop until the future is done."""
        future = super().run_in_executor(executor, func, *args)
        self._open_work += 1
        future.add_done_callback(self._executor_done)
        return future

    def _executor_done(self, future: asyncio.Future[Any]) -> None:
        self._open_work -= 1

    async def shutdown_default_executor(self, *args: Any, **options: Any) -> None:
        """As asyncio's: its threads are joined in real time."""
        with self.off_loop():
            await super().shutdown_default_executor(*args, **options)

    def _wait_limit(self) -> float:
        """Real seconds the selector may wait: 0 when no work outside the loop is open."""
        return self._patience_seconds if self._open_work else 0

    def _jump(self, seconds: float | None) -> None:
        """Nothing is ready and nothing came from outside: go to the next timer, or say that there is none."""
        if self._open_work:
            raise Deadlock(
                f"work outside the loop ({self._open_work} open) did not end within {self._patience_seconds} "
                f"real seconds{_waiting_tasks(self)}"
            )
        while self._stops and self._stops[0][2].done():  # whoever waited was cancelled
            heapq.heappop(self._stops)
        if self._stops and (seconds is None or self._virtual_time + seconds > self._stops[0][0] + _SAME_MOMENT_SECONDS):
            at, _, reached = heapq.heappop(self._stops)
            reached.set_result(None)
            self._move_to(max(at, self._virtual_time))
            return
        if seconds is None:
            raise Deadlock(
                "nothing is ready, no timer is set and no work outside the loop is open (work in threads or "
                f"on sockets has to be counted with off_loop()){_waiting_tasks(self)}"
            )
        if self.held and not self._stops:
            raise Deadlock(
                f"time is held, and nothing is due before {self._virtual_time + seconds:g} seconds on the loop's clock "
                f"(now: {self._virtual_time:g}): let time pass with clock.advance(){_waiting_tasks(self)}"
            )
        self._move_to(self._virtual_time + seconds)

    def _move_to(self, at: float) -> None:
        self._virtual_time = at
        # asyncio fires what is due before time() + resolution. Beyond half a year a nanosecond vanishes in that
        # sum, and a timer that is due would never fire.
        self._clock_resolution = max(1e-9, math.ulp(self._virtual_time))


class _VirtualSelector(selectors.DefaultSelector):
    """Never waits for a timer: asks whether it may wait for the outside, and reports the time to jump."""

    def __init__(self, wait_limit: Callable[[], float], jump: Callable[[float | None], None]) -> None:
        super().__init__()
        self._wait_limit = wait_limit
        self._jump = jump

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return super().select(0)
        events = super().select(self._wait_limit())
        if not events:
            self._jump(timeout)
        return events


def _waiting_tasks(loop: asyncio.AbstractEventLoop) -> str:
    tasks = sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())
    lines = [f"\n  {task.get_name()} waits at {_place(task)}" for task in tasks[:_LISTED_TASKS]]
    if len(tasks) > _LISTED_TASKS:
        lines.append(f"\n  and {len(tasks) - _LISTED_TASKS} more tasks")
    return "".join(lines)


def _place(task: asyncio.Task[Any]) -> str:
    """The innermost line of Python that a task is suspended in."""
    awaited: Any = task.get_coro()
    place = "an unknown line"
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "ag_frame", None)
        if frame is not None:
            place = f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
        awaited = getattr(awaited, "cr_await", None)
    return place


class VirtualClock:
    """The Clock of a virtual-time loop: `now()` is `start_at` plus the loop's time.

    start_at: epoch seconds that the loop's time 0 stands for.
    """

    def __init__(self, loop: VirtualTimeLoop, start_at: float = DEFAULT_START_AT) -> None:
        self._loop = loop
        self._start_at = start_at

    def now(self) -> float:
        """Virtual epoch seconds."""
        return self._start_at + self._loop.time()

    async def sleep_until(self, at: float) -> None:
        """Wait until the clock shows `at`, epoch seconds; one that has passed still lets other tasks run."""
        await asyncio.sleep(max(0.0, at - self.now()))

    def call_at(self, at: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        """Call back once when the clock shows `at`, epoch seconds; `cancel()` of the answer prevents it."""
        return self._loop.call_at(at - self._start_at, callback)

    @property
    def elapsed(self) -> timedelta:
        """Virtual time since the loop was made, to the microsecond."""
        return timedelta(seconds=self._loop.time())

    async def advance(
        self, seconds: float = 0, *, minutes: float = 0, hours: float = 0, days: float = 0, weeks: float = 0
    ) -> None:
        """Let virtual time pass, and everything happen that is due until then, that moment included.

        `advance(0)` only lets what is due now happen. Needed where time is held; elsewhere it does no more and no less
        than stop the test at that moment. Raises ValueError for a negative time.
        """
        time = timedelta(seconds=seconds, minutes=minutes, hours=hours, days=days, weeks=weeks)
        await self._loop.pass_time(time.total_seconds())

    @contextmanager
    def held(self) -> Iterator[None]:
        """Time moves only with `advance` inside of this, also for whoever waits elsewhere."""
        with self._holding(True):
            yield

    @contextmanager
    def free(self) -> Iterator[None]:
        """Time jumps as it does by default inside of this, where it is held otherwise."""
        with self._holding(False):
            yield

    @contextmanager
    def _holding(self, held: bool) -> Iterator[None]:
        before, self._loop.held = self._loop.held, held
        try:
            yield
        finally:
            self._loop.held = before

    @contextmanager
    def off_loop(self) -> Iterator[None]:
        """Around work outside the loop: a thread, a real request. Time stands still meanwhile."""
        with self._loop.off_loop():
            yield


def run(
    main: Callable[[VirtualClock], Coroutine[Any, Any, T]] | Coroutine[Any, Any, T],
    *,
    seed: int | None = None,
    start_at: float = DEFAULT_START_AT,
) -> T:
    """Run a coroutine to its end on a new virtual-time loop, as `asyncio.run` does on a real one.

    main: a coroutine, or a function that makes one from the loop's clock.   seed: see VirtualTimeLoop.
    Raises what the coroutine raises, and Deadlock.
    """
    with asyncio.Runner(loop_factory=lambda: VirtualTimeLoop(seed=seed)) as runner:
        if asyncio.iscoroutine(main):
            return runner.run(main)
        loop = runner.get_loop()
        assert isinstance(loop, VirtualTimeLoop)
        assert callable(main)
        return runner.run(main(VirtualClock(loop, start_at)))
